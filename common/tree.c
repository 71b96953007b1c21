/*
 * See tree.h.
 *
 * libyaml's event interface is used rather than its documents, because only events show anchors and
 * aliases.  The recursion is as deep as TREE_DEPTH_MAX.
 */
#include "tree.h"

#include "mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
	struct tree *tree;
	yaml_parser_t parser;
	yaml_event_t event; /* the one looked at */
	struct error *err;
};

static int refuse_at(
	const struct tree *tree, int line, int column, struct error *err, const char *message)
{
	if (tree->one_line)
		error_set(err, -EINVAL, "%s: %s", tree->source, message);
	else
		error_set(err, -EINVAL, "%s:%d:%d: %s", tree->source, line, column, message);
	/* A message may show a piece of the text, which must not begin a line of its own. */
	for (char *c = err ? err->text : NULL; c && *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return -EINVAL;
}

static int refuse_mark(struct reader *r, yaml_mark_t mark, const char *message)
{
	return refuse_at(r->tree, (int)mark.line + 1, (int)mark.column + 1, r->err, message);
}

static int refuse_event(struct reader *r, const char *message)
{
	return refuse_mark(r, r->event.start_mark, message);
}

/* Line and column of a byte, for what libyaml has no mark for. */
static yaml_mark_t mark_of(const char *text, size_t offset)
{
	yaml_mark_t mark = {.index = offset};

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			mark.column++;
		}
	}
	return mark;
}

static int refuse_syntax(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	yaml_mark_t mark = p->problem_mark;
	char message[200];

	if (p->error == YAML_READER_ERROR)
		mark = mark_of((const char *)p->input.string.start, p->problem_offset);
	snprintf(message, sizeof(message), "not valid YAML: %s%s%s%s",
		p->problem ? p->problem : "unknown error", p->context ? " (" : "",
		p->context ? p->context : "", p->context ? ")" : "");
	return refuse_mark(r, mark, message);
}

/* Goes on to the next event. */
static int advance(struct reader *r)
{
	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event))
		return refuse_syntax(r);
	return 0;
}

static void free_nodes(struct tree_node *node)
{
	while (node) {
		struct tree_node *next = node->next;

		free_nodes(node->first);
		free(node->text);
		free(node->key);
		free(node);
		node = next;
	}
}

/* Refuses what a configuration has no use for. */
static int check_event(struct reader *r, int depth)
{
	const yaml_event_t *event = &r->event;
	const yaml_char_t *anchor = NULL;
	const yaml_char_t *tag = NULL;

	if (event->type == YAML_ALIAS_EVENT) {
		anchor = event->data.alias.anchor;
	} else if (event->type == YAML_SCALAR_EVENT) {
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
	} else if (event->type == YAML_SEQUENCE_START_EVENT) {
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
	} else if (event->type == YAML_MAPPING_START_EVENT) {
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
	}
	if (anchor)
		return refuse_event(r, "anchors (&) and aliases (*) are not supported; "
				       "write the value out, or in quotes if it is text");
	if (tag)
		return refuse_event(r, "tags (!) are not supported; "
				       "write the value without one, or in quotes if it is text");
	if (depth > TREE_DEPTH_MAX)
		return refuse_event(r, "nested too deep");
	return 0;
}

/* A node of the event looked at, which stays. */
static struct tree_node *new_node(const struct reader *r)
{
	struct tree_node *node = xcalloc(1, sizeof(*node));

	node->line = (int)r->event.start_mark.line + 1;
	node->column = (int)r->event.start_mark.column + 1;
	return node;
}

static int read_scalar(struct reader *r, struct tree_node *node)
{
	const char *text = (const char *)r->event.data.scalar.value;

	if (strlen(text) != r->event.data.scalar.length)
		return refuse_event(r, "a NUL byte in a value");
	node->kind = TREE_SCALAR;
	node->text = xstrdup(text);
	node->plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	return 0;
}

static int read_node(struct reader *r, int depth, struct tree_node **ret_node);

static int read_list(struct reader *r, int depth, struct tree_node *list)
{
	struct tree_node **end = &list->first;
	int rc;

	list->kind = TREE_LIST;
	for (;;) {
		rc = advance(r);
		if (rc < 0 || r->event.type == YAML_SEQUENCE_END_EVENT)
			return rc;
		rc = read_node(r, depth + 1, end);
		if (rc < 0)
			return rc;
		end = &(*end)->next;
	}
}

/* The key that is looked at: its text, which the caller frees. */
static int read_key(struct reader *r, const struct tree_node *map, char **ret_key)
{
	const char *key = (const char *)r->event.data.scalar.value;
	char message[160];
	size_t keys = 0;
	int rc = check_event(r, 0);

	if (rc < 0)
		return rc;
	if (r->event.type != YAML_SCALAR_EVENT || strlen(key) != r->event.data.scalar.length)
		return refuse_event(r, "a key that is not text; expected NAME: VALUE");
	for (const struct tree_node *node = map->first; node; node = node->next) {
		if (strcmp(node->key, key) == 0) {
			snprintf(message, sizeof(message),
				"\"%.64s\" is given twice, first in line %d; "
				"expected each name once",
				key, node->key_line);
			return refuse_event(r, message);
		}
		keys++;
	}
	if (keys >= TREE_KEYS_MAX)
		return refuse_event(r, "too many names in one mapping");
	*ret_key = xstrdup(key);
	return 0;
}

static int read_map(struct reader *r, int depth, struct tree_node *map)
{
	struct tree_node **end = &map->first;
	int rc;

	map->kind = TREE_MAP;
	for (;;) {
		char *key = NULL;
		yaml_mark_t mark;

		rc = advance(r);
		if (rc < 0 || r->event.type == YAML_MAPPING_END_EVENT)
			return rc;
		mark = r->event.start_mark;
		rc = read_key(r, map, &key);
		if (rc == 0)
			rc = advance(r);
		if (rc == 0)
			rc = read_node(r, depth + 1, end);
		if (rc != 0) {
			free(key);
			return rc;
		}
		(*end)->key = key;
		(*end)->key_line = (int)mark.line + 1;
		(*end)->key_column = (int)mark.column + 1;
		end = &(*end)->next;
	}
}

/* The node that begins with the event looked at.  On error nothing is returned. */
static int read_node(struct reader *r, int depth, struct tree_node **ret_node)
{
	struct tree_node *node;
	int rc = check_event(r, depth);

	if (rc < 0)
		return rc;
	node = new_node(r);
	if (r->event.type == YAML_SCALAR_EVENT)
		rc = read_scalar(r, node);
	else if (r->event.type == YAML_SEQUENCE_START_EVENT)
		rc = read_list(r, depth, node);
	else
		rc = read_map(r, depth, node);
	if (rc < 0)
		free_nodes(node);
	else
		*ret_node = node;
	return rc;
}

static int read_stream(struct reader *r)
{
	int rc = advance(r); /* stream start */

	if (rc == 0)
		rc = advance(r); /* document start, or the stream's end */
	if (rc < 0 || r->event.type == YAML_STREAM_END_EVENT)
		return rc;
	rc = advance(r);
	if (rc == 0)
		rc = read_node(r, 1, &r->tree->root);
	if (rc == 0)
		rc = advance(r); /* document end */
	if (rc == 0)
		rc = advance(r);
	if (rc == 0 && r->event.type != YAML_STREAM_END_EVENT)
		return refuse_event(r, "a second document; expected one");
	return rc;
}

static int check_bytes(const struct tree *tree, const char *text, size_t length, struct error *err)
{
	const char *nul = length ? memchr(text, 0, length) : NULL;

	if (length > TREE_BYTES_MAX)
		return error_set(err, -EINVAL, "%s: %zu bytes; expected at most %d", tree->source,
			length, TREE_BYTES_MAX);
	if (nul) {
		yaml_mark_t mark = mark_of(text, (size_t)(nul - text));

		return refuse_at(tree, (int)mark.line + 1, (int)mark.column + 1, err,
			"a NUL byte; expected YAML in UTF-8");
	}
	return 0;
}

int tree_parse(struct tree *tree, const char *source, bool one_line, const char *text,
	size_t length, struct error *err)
{
	struct reader r = {.tree = tree, .err = err};
	int rc;

	*tree = (struct tree){.source = xstrdup(source), .one_line = one_line};
	rc = check_bytes(tree, text, length, err);
	if (rc < 0)
		return rc;
	if (!yaml_parser_initialize(&r.parser))
		return error_set(err, -EINVAL, "%s: no memory to read it", source);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
	rc = read_stream(&r);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	return rc;
}

void tree_finish(struct tree *tree)
{
	free_nodes(tree->root);
	free(tree->source);
	*tree = (struct tree){0};
}

bool tree_is_null(const struct tree_node *node)
{
	return node->kind == TREE_SCALAR && node->plain &&
	       (node->text[0] == '\0' || !strcmp(node->text, "~") || !strcmp(node->text, "null") ||
		       !strcmp(node->text, "Null") || !strcmp(node->text, "NULL"));
}

static int refuse_args(const struct tree *tree, int line, int column, struct error *err,
	const char *format, va_list args)
{
	char message[ERROR_TEXT_MAX];

	vsnprintf(message, sizeof(message), format, args);
	return refuse_at(tree, line, column, err, message);
}

int tree_error(const struct tree *tree, const struct tree_node *node, struct error *err,
	const char *format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = refuse_args(tree, node->line, node->column, err, format, args);
	va_end(args);
	return rc;
}

int tree_key_error(const struct tree *tree, const struct tree_node *node, struct error *err,
	const char *format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = refuse_args(tree, node->key_line, node->key_column, err, format, args);
	va_end(args);
	return rc;
}
