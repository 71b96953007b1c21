/*
 * A table for people: columns as wide as what is in them, numbers to the right.  Pure but for the
 * file that it is printed to.
 */
#ifndef COMMON_TABLE_H
#define COMMON_TABLE_H

#include <stddef.h>
#include <stdio.h>

struct table {
	const char *const *titles; /* a title that begins with '>' is of a column to the right */
	size_t columns;
	char **cells; /* row by row */
	size_t count; /* of cells */
	size_t capacity;
};

/* titles: constants, `columns` of them. */
void table_init(struct table *table, const char *const *titles, size_t columns);
void table_finish(struct table *table);

/* Adds the next cell; after the last column comes the next row. */
void table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The last row is complete.  Bytes that a terminal would act on are shown as '?'. */
void table_print(const struct table *table, FILE *file);

#endif
