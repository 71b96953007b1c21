/*
 * The options as people read them, printed from the table in options.c.
 */
#ifndef COMMON_MANUAL_H
#define COMMON_MANUAL_H

#include <stdio.h>

/* What `ledgerd --help-config` prints: plain text, at most 80 columns. */
void manual_print_help(FILE *file);

/* docs/CONFIG.md */
void manual_print_markdown(FILE *file);

/* deploy/ledgerd.sample.yaml: every option with its default and a comment. */
void manual_print_sample(FILE *file);

#endif
