/*
 * Reads rows as LOAD DATA does: CHARACTER SET binary, FIELDS TERMINATED BY '\t' ESCAPED BY '\\',
 * LINES TERMINATED BY '\n'.  Written from the database's manual, not from the encoder.
 */
#ifndef TESTS_UNIT_ROWS_H
#define TESTS_UNIT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct rows_field {
	bool null;
	char *bytes; /* in rows.bytes, followed by a NUL */
	size_t length;
};

struct rows {
	char *bytes;
	struct rows_field *fields; /* row by row */
	size_t field_count;
	size_t row_count;
	size_t columns; /* of every row; 0 if the rows differ, or the text does not end with one */
};

static inline char rows_unescape(char letter)
{
	switch (letter) {
	case '0':
		return '\0';
	case 'b':
		return '\b';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'Z':
		return '\x1a';
	default:
		return letter;
	}
}

/* Reads one field into *field, its bytes to `to`; returns the place of its terminator, or the end.
 */
static inline const char *rows_read_field(
	const char *at, const char *end, struct rows_field *field, char *to)
{
	const char *begin = at;

	*field = (struct rows_field){.bytes = to};
	while (at < end && *at != '\t' && *at != '\n') {
		if (*at == '\\' && at + 1 < end) {
			*to++ = rows_unescape(at[1]);
			at += 2;
		} else {
			*to++ = *at++;
		}
	}
	field->null = at - begin == 2 && !memcmp(begin, "\\N", 2);
	field->length = (size_t)(to - field->bytes);
	*to = '\0';
	return at;
}

static inline void rows_read(struct rows *rows, const char *text, size_t length)
{
	const char *end = text + length;
	size_t in_row = 0;
	bool even = true;
	char *to;

	rows->bytes = to = malloc(2 * length + 1);
	rows->fields = malloc((length + 1) * sizeof(*rows->fields));
	rows->field_count = rows->row_count = rows->columns = 0;
	for (const char *at = text; at < end; at++) {
		struct rows_field *field = &rows->fields[rows->field_count++];

		at = rows_read_field(at, end, field, to);
		to += field->length + 1;
		in_row++;
		even = even && at < end;
		if (at < end && *at == '\t')
			continue;
		even = even && (!rows->row_count || in_row == rows->columns);
		rows->columns = in_row;
		rows->row_count++;
		in_row = 0;
	}
	if (!even || in_row)
		rows->columns = 0;
}

static inline void rows_finish(struct rows *rows)
{
	free(rows->bytes);
	free(rows->fields);
}

static inline const struct rows_field *rows_at(const struct rows *rows, size_t row, size_t column)
{
	return &rows->fields[row * rows->columns + column];
}

#endif
