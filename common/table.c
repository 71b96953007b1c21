/* See table.h.  The cells are the table's own. */
#include "table.h"

#include "mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define GAP "  "

void table_init(struct table *table, const char *const *titles, size_t columns)
{
	*table = (struct table){.titles = titles, .columns = columns};
}

void table_finish(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){0};
}

static void make_harmless(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

void table_add(struct table *table, const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = xstrdup("");
	va_end(args);
	make_harmless(text);
	if (table->count == table->capacity) {
		table->capacity = table->capacity ? 2 * table->capacity : 64;
		table->cells = xrealloc(table->cells, table->capacity * sizeof(*table->cells));
	}
	table->cells[table->count++] = text;
}

static bool is_right(const struct table *table, size_t column)
{
	return table->titles[column][0] == '>';
}

static const char *title_of(const struct table *table, size_t column)
{
	return table->titles[column] + is_right(table, column);
}

/* Columns on the screen: the characters of UTF-8 text. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void find_widths(const struct table *table, size_t *widths)
{
	for (size_t c = 0; c < table->columns; c++)
		widths[c] = width_of(title_of(table, c));
	for (size_t i = 0; i < table->count; i++) {
		size_t width = width_of(table->cells[i]);

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
}

/* The last column is not filled up: no line ends in blanks. */
static void print_cell(
	const struct table *table, size_t column, const char *text, size_t width, FILE *file)
{
	bool last = column + 1 == table->columns;
	int blanks = (int)(width - width_of(text));

	if (is_right(table, column))
		fprintf(file, "%*s%s", blanks, "", text);
	else
		fprintf(file, "%s%*s", text, last ? 0 : blanks, "");
	fputs(last ? "\n" : GAP, file);
}

void table_print(const struct table *table, FILE *file)
{
	size_t *widths = xcalloc(table->columns, sizeof(*widths));

	assert(table->count % table->columns == 0);
	find_widths(table, widths);
	for (size_t c = 0; c < table->columns; c++)
		print_cell(table, c, title_of(table, c), widths[c], file);
	for (size_t i = 0; i < table->count; i++) {
		size_t c = i % table->columns;

		print_cell(table, c, table->cells[i], widths[c], file);
	}
	free(widths);
}
