/*
 * Statements as text: values are quoted by their type, so that nothing from outside becomes SQL.
 *
 *     sql_build(&q, "SELECT epoch FROM leader_locks WHERE id = ? AND consumer_id = ?",
 *             values, 2);
 *
 * Texts are constants of the program; everything else goes through a `struct sql_value`.  The
 * escapes are right for a session in utf8mb4 without NO_BACKSLASH_ESCAPES, which db_connect sees
 * to.  Pure.
 */
#ifndef COMMON_SQL_H
#define COMMON_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sql_kind { SQL_KIND_NULL, SQL_KIND_INT, SQL_KIND_TEXT, SQL_KIND_BYTES };

struct sql_value {
	enum sql_kind kind;
	int64_t integer;
	const char *bytes; /* of TEXT and BYTES */
	size_t length;
};

#define SQL_NULL    ((struct sql_value){.kind = SQL_KIND_NULL})
#define SQL_INT(v)  ((struct sql_value){.kind = SQL_KIND_INT, .integer = (v)})
#define SQL_TEXT(v) sql_text((v)) /* NUL-terminated UTF-8; NULL is SQL's NULL */
#define SQL_SPAN(v, n)                                                                             \
	((struct sql_value){.kind = SQL_KIND_TEXT, .bytes = (v), .length = (n)}) /* UTF-8 */
#define SQL_BYTES(v, n)                                                                            \
	((struct sql_value){.kind = SQL_KIND_BYTES, .bytes = (v), .length = (n)}) /* any bytes */

struct sql_value sql_text(const char *text);

/* A text that grows.  `text` is NUL-terminated once anything was added. */
struct sql {
	char *text;
	size_t length;
	size_t capacity;
};

void sql_init(struct sql *q);
void sql_finish(struct sql *q);
void sql_clear(struct sql *q);

/* Appends a constant of the program. */
void sql_add(struct sql *q, const char *text);
void sql_add_value(struct sql *q, const struct sql_value *value);

/* Appends text with each `?` replaced by a value; their numbers are equal, or it is a bug. */
void sql_build(struct sql *q, const char *text, const struct sql_value *values, size_t count);

/* What the server says of a LOAD DATA. */
struct sql_counts {
	int64_t records;
	int64_t deleted;
	int64_t skipped;
	int64_t warnings;
};

/* Reads "Records: 3  Deleted: 0  Skipped: 0  Warnings: 0"; false if it is anything else. */
bool sql_parse_counts(const char *info, struct sql_counts *ret_counts);

/*
 * Finds the next statement of a script, without its semicolon, blanks and leading comments: a
 * statement ends at a semicolon outside of quotes and comments.  Begins at *cursor, which moves
 * behind it.  false: there is none.
 */
bool sql_next_statement(const char **cursor, const char **ret_text, size_t *ret_length);

#endif
