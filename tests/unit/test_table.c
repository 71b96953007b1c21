/* Tables for people: widths, sides, and no control characters from outside. */
#include "table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_printed(const struct table *table, const char *expected)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	table_print(table, file);
	fclose(file);
	assert_string_equal(text, expected);
	free(text);
}

static void test_columns_are_as_wide_as_needed(void **state)
{
	static const char *const titles[] = {"NAME", ">NUMBER", "LAST"};
	struct table table;

	(void)state;
	table_init(&table, titles, 3);
	assert_printed(&table, "NAME  NUMBER  LAST\n");
	table_add(&table, "%s", "a");
	table_add(&table, "%d", 7);
	table_add(&table, "x");
	table_add(&table, "%s", "longer name");
	table_add(&table, "%d", 12345678);
	table_add(&table, "the last column is not filled");
	assert_printed(&table, "NAME           NUMBER  LAST\n"
			       "a                   7  x\n"
			       "longer name  12345678  the last column is not filled\n");
	table_finish(&table);
}

/* Ids and reasons come from outside: none may begin a line or paint the terminal. */
static void test_control_characters_are_harmless(void **state)
{
	static const char *const titles[] = {"A", ">B"};
	struct table table;

	(void)state;
	table_init(&table, titles, 2);
	table_add(&table, "x\n\x1b[31m\ty\x7f");
	table_add(&table, "\xc3\xa4"); /* one character of two bytes */
	assert_printed(&table, "A           B\nx??[31m?y?  \xc3\xa4\n");
	table_finish(&table);
}

static void test_many_rows(void **state)
{
	static const char *const titles[] = {">N"};
	struct table table;
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	(void)state;
	table_init(&table, titles, 1);
	for (int i = 0; i < 1000; i++)
		table_add(&table, "%d", i);
	table_print(&table, file);
	fclose(file);
	assert_int_equal(length, 1001 * 4);
	free(text);
	table_finish(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns_are_as_wide_as_needed),
		cmocka_unit_test(test_control_characters_are_harmless),
		cmocka_unit_test(test_many_rows),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
