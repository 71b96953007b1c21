/*
 * A small YAML text as a tree, with the line and column of everything in it.
 *
 * Only what a configuration needs: one document of mappings, lists and scalars.  Refused, with the
 * place named: anchors, aliases, tags, a second document, the same key twice, keys that are not
 * text, NUL bytes, text that is nested deeper than TREE_DEPTH_MAX or longer than TREE_BYTES_MAX.
 * Scalars are not interpreted; whether one was quoted is kept, since only a plain one may be a
 * number.
 *
 * The tree owns everything in it, its copy of the source's name included.
 */
#ifndef COMMON_TREE_H
#define COMMON_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

#define TREE_DEPTH_MAX 8
#define TREE_BYTES_MAX (1024 * 1024)
#define TREE_KEYS_MAX  1000 /* in one mapping */

enum tree_kind { TREE_SCALAR, TREE_LIST, TREE_MAP };

struct tree_node {
	enum tree_kind kind;
	int line, column; /* from 1 */
	bool plain;       /* a scalar without quotes */
	char *text;       /* of a scalar: NUL-terminated, without NUL bytes */
	char *key;        /* under which it stands in a mapping; else NULL */
	int key_line, key_column;
	struct tree_node *first; /* of a list or mapping: its children, in order */
	struct tree_node *next;
};

struct tree {
	char *source;           /* a file's name, or an environment variable's */
	bool one_line;          /* messages name the source alone, without line and column */
	struct tree_node *root; /* NULL: the document is empty */
};

/*
 * Reads text[0..length).  0, or -EINVAL with a message that begins with the place; either way the
 * tree is to be finished.
 */
int tree_parse(struct tree *tree, const char *source, bool one_line, const char *text,
	size_t length, struct error *err);
void tree_finish(struct tree *tree);

/* A scalar without quotes that YAML takes for "no value": nothing, ~ or null. */
bool tree_is_null(const struct tree_node *node);

/* Write "<place>: <message>" and return -EINVAL: the place of a node, or of its key. */
int tree_error(const struct tree *tree, const struct tree_node *node, struct error *err,
	const char *format, ...) __attribute__((format(printf, 4, 5)));
int tree_key_error(const struct tree *tree, const struct tree_node *node, struct error *err,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
