/*
 * One option's value: from YAML into its field of struct config, and back.
 *
 * A field is either as value_set left it or all zero (no value yet); value_clear frees what it
 * owns.
 */
#ifndef COMMON_VALUE_H
#define COMMON_VALUE_H

#include <stdio.h>

#include "config.h"
#include "options.h"
#include "tree.h"

/* 0, and the field's value is replaced; or -EINVAL with the place, and it is as it was. */
int value_set(struct config *cfg, const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, struct error *err);

/* Writes the value as YAML in one line, secrets as "<redacted>". */
void value_print(const struct config *cfg, const struct option_row *option, FILE *file);

void value_clear(struct config *cfg, const struct option_row *option);

#endif
