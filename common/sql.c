/* See sql.h. */
#include "sql.h"

#include "mem.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sql_value sql_text(const char *text)
{
	return text ? SQL_SPAN(text, strlen(text)) : SQL_NULL;
}

void sql_init(struct sql *q)
{
	*q = (struct sql){0};
}

void sql_finish(struct sql *q)
{
	free(q->text);
	*q = (struct sql){0};
}

void sql_clear(struct sql *q)
{
	q->length = 0;
}

/* Makes room for `length` more bytes and a NUL, and returns where they go. */
static char *room(struct sql *q, size_t length)
{
	size_t needed = q->length + length + 1;

	if (needed > q->capacity) {
		q->capacity = needed > 2 * q->capacity ? needed : 2 * q->capacity;
		q->text = xrealloc(q->text, q->capacity);
	}
	return q->text + q->length;
}

static void add_bytes(struct sql *q, const char *bytes, size_t length)
{
	memcpy(room(q, length), bytes, length);
	q->length += length;
	q->text[q->length] = '\0';
}

void sql_add(struct sql *q, const char *text)
{
	add_bytes(q, text, strlen(text));
}

/* The character that stands for c behind a backslash; 0 if c stands for itself. */
static char escape_of(char c)
{
	switch (c) {
	case '\0':
		return '0';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\x1a':
		return 'Z';
	case '\\':
	case '\'':
	case '"':
		return c;
	default:
		return 0;
	}
}

static void add_quoted(struct sql *q, const char *bytes, size_t length)
{
	char *out = room(q, 2 * length + 2);
	char *begin = out;

	*out++ = '\'';
	for (size_t i = 0; i < length; i++) {
		char escape = escape_of(bytes[i]);

		if (escape)
			*out++ = '\\';
		*out++ = escape ? escape : bytes[i];
	}
	*out++ = '\'';
	*out = '\0';
	q->length += (size_t)(out - begin);
}

static void add_hex(struct sql *q, const char *bytes, size_t length)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = room(q, 2 * length + 3);

	*out++ = 'X';
	*out++ = '\'';
	for (size_t i = 0; i < length; i++) {
		*out++ = digits[(unsigned char)bytes[i] >> 4];
		*out++ = digits[(unsigned char)bytes[i] & 15];
	}
	*out++ = '\'';
	*out = '\0';
	q->length += 2 * length + 3;
}

void sql_add_value(struct sql *q, const struct sql_value *value)
{
	char number[24];

	switch (value->kind) {
	case SQL_KIND_NULL:
		sql_add(q, "NULL");
		break;
	case SQL_KIND_INT:
		snprintf(number, sizeof(number), "%" PRId64, value->integer);
		sql_add(q, number);
		break;
	case SQL_KIND_TEXT:
		add_quoted(q, value->bytes, value->length);
		break;
	case SQL_KIND_BYTES:
		add_hex(q, value->bytes, value->length);
		break;
	}
}

void sql_build(struct sql *q, const char *text, const struct sql_value *values, size_t count)
{
	const char *mark;

	while ((mark = strchr(text, '?'))) {
		assert(count > 0);
		add_bytes(q, text, (size_t)(mark - text));
		sql_add_value(q, values++);
		count--;
		text = mark + 1;
	}
	assert(count == 0);
	sql_add(q, text);
}

/* Reads "<label>: <number>" and the blanks behind it. */
static bool read_count(const char **text, const char *label, int64_t *ret_count)
{
	size_t length = strlen(label);
	char *end;

	if (strncmp(*text, label, length) != 0 || !isdigit((unsigned char)(*text)[length]))
		return false;
	*ret_count = strtoll(*text + length, &end, 10);
	*text = end + strspn(end, " ");
	return true;
}

bool sql_parse_counts(const char *info, struct sql_counts *ret_counts)
{
	struct sql_counts counts;

	if (!info || !read_count(&info, "Records: ", &counts.records) ||
		!read_count(&info, "Deleted: ", &counts.deleted) ||
		!read_count(&info, "Skipped: ", &counts.skipped) ||
		!read_count(&info, "Warnings: ", &counts.warnings) || *info != '\0')
		return false;
	*ret_counts = counts;
	return true;
}

/* Behind a comment that begins at text, or text itself. */
static const char *skip_comment(const char *text)
{
	const char *end;

	if (text[0] == '-' && text[1] == '-' && (isspace((unsigned char)text[2]) || !text[2])) {
		end = strchr(text, '\n');
		return end ? end + 1 : text + strlen(text);
	}
	if (text[0] == '/' && text[1] == '*' && text[2] != '!') {
		end = strstr(text + 2, "*/");
		return end ? end + 2 : text + strlen(text);
	}
	return text;
}

/* Behind a quoted text that begins at text, or text itself. */
static const char *skip_quoted(const char *text)
{
	char quote = *text;

	if (quote != '\'' && quote != '"' && quote != '`')
		return text;
	for (text++; *text && *text != quote; text++) {
		if (*text == '\\' && quote != '`' && text[1])
			text++;
	}
	return *text ? text + 1 : text;
}

static const char *skip_blanks(const char *text)
{
	const char *next;

	for (;;) {
		while (isspace((unsigned char)*text) || *text == ';')
			text++;
		next = skip_comment(text);
		if (next == text)
			return text;
		text = next;
	}
}

bool sql_next_statement(const char **cursor, const char **ret_text, size_t *ret_length)
{
	const char *begin = skip_blanks(*cursor);
	const char *end = begin;

	while (*end && *end != ';') {
		const char *next = skip_comment(end);

		if (next == end)
			next = skip_quoted(end);
		end = next == end ? end + 1 : next;
	}
	*cursor = end;
	*ret_text = begin;
	while (end > begin && isspace((unsigned char)end[-1]))
		end--;
	*ret_length = (size_t)(end - begin);
	return end > begin;
}
