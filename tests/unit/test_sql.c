/* Statements as text: quoting, counts of LOAD DATA, and where a script's statements end. */
#include "sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void assert_built(
	const char *expected, const char *text, const struct sql_value *values, size_t count)
{
	struct sql q;

	sql_init(&q);
	sql_build(&q, text, values, count);
	assert_int_equal(q.length, strlen(expected));
	assert_string_equal(q.text, expected);
	sql_finish(&q);
}

static void test_values_take_the_place_of_marks(void **state)
{
	const struct sql_value values[] = {SQL_INT(INT64_MIN), SQL_TEXT("it's"), SQL_NULL,
		SQL_BYTES("\x00\xff'", 3), SQL_TEXT(NULL), SQL_SPAN("abcdef", 2)};

	(void)state;
	assert_built("a=-9223372036854775808 AND b='it\\'s', NULL X'00FF27' (NULL) 'ab'",
		"a=? AND b=?, ? ? (?) ?", values, 6);
	assert_built("SELECT 1", "SELECT 1", NULL, 0);
	assert_built("''", "?", &SQL_SPAN("", 0), 1);
	assert_built("X''", "?", &SQL_BYTES("", 0), 1);
}

/* A mark that came in with a value is not a mark. */
static void test_values_are_not_read_again(void **state)
{
	const struct sql_value values[] = {SQL_TEXT("?"), SQL_INT(2)};

	(void)state;
	assert_built("'?' 2", "? ?", values, 2);
}

/* What a MySQL server makes of a quoted text; NULL if it ends early or too late. */
static const char *unquote(const char *text, size_t *ret_length)
{
	static char out[1024];
	size_t length = 0;

	if (*text++ != '\'')
		return NULL;
	for (; *text != '\''; text++) {
		const char *escape = NULL;

		if (!*text)
			return NULL;
		if (*text == '\\') {
			escape = strchr("n\nr\rZ\x1a", *++text);
			if (*text == '0')
				out[length++] = '\0';
			else
				out[length++] = escape && strchr("nrZ", *text) ? escape[1] : *text;
		} else {
			out[length++] = *text;
		}
	}
	*ret_length = length;
	return text[1] ? NULL : out;
}

/* Every byte, and every pair with a quote or backslash, comes back, and none ends the text. */
static void test_any_byte_stays_within_its_quotes(void **state)
{
	(void)state;
	for (int a = 0; a < 256; a++) {
		for (int b = 0; b < 256; b++) {
			char bytes[2] = {(char)a, (char)b};
			const char *back;
			size_t length = 0;
			struct sql q;

			sql_init(&q);
			sql_add_value(&q, &SQL_SPAN(bytes, 2));
			back = unquote(q.text, &length);
			assert_non_null(back);
			assert_int_equal(length, 2);
			assert_memory_equal(back, bytes, 2);
			sql_finish(&q);
		}
	}
}

static void test_a_text_grows_and_starts_again(void **state)
{
	struct sql q;

	(void)state;
	sql_init(&q);
	for (int i = 0; i < 10000; i++)
		sql_add(&q, "0123456789");
	assert_int_equal(q.length, 100000);
	assert_int_equal(strlen(q.text), 100000);
	sql_clear(&q);
	sql_add(&q, "x");
	assert_string_equal(q.text, "x");
	sql_finish(&q);
}

static void test_counts_are_read(void **state)
{
	struct sql_counts counts;

	(void)state;
	assert_true(
		sql_parse_counts("Records: 20000  Deleted: 1  Skipped: 2  Warnings: 3", &counts));
	assert_int_equal(counts.records, 20000);
	assert_int_equal(counts.deleted, 1);
	assert_int_equal(counts.skipped, 2);
	assert_int_equal(counts.warnings, 3);
}

/* What cannot be read must not pass for "nothing was skipped". */
static void test_other_texts_are_no_counts(void **state)
{
	struct sql_counts counts;

	(void)state;
	assert_false(sql_parse_counts(NULL, &counts));
	assert_false(sql_parse_counts("", &counts));
	assert_false(sql_parse_counts("Records: 3  Duplicates: 0  Warnings: 0", &counts));
	assert_false(sql_parse_counts("Records: 3  Deleted: 0  Skipped: 0", &counts));
	assert_false(
		sql_parse_counts("Records: 3  Deleted: 0  Skipped: 0  Warnings: 0 x", &counts));
	assert_false(sql_parse_counts("Rows matched: 1  Changed: 1  Warnings: 0", &counts));
}

static void assert_statement(const char **cursor, const char *expected)
{
	const char *text;
	size_t length;
	bool found = sql_next_statement(cursor, &text, &length);

	assert_int_equal(found, expected != NULL);
	if (!expected)
		return;
	assert_int_equal(length, strlen(expected));
	assert_memory_equal(text, expected, length);
}

static void test_a_script_is_taken_apart(void **state)
{
	const char *script = "-- a; b\n\n/* c; */ SELECT 1;\n"
			     "INSERT INTO t VALUES ('a;b', \"c\\\";d\", `e;f`) -- g; h\n ;;"
			     "SELECT 2 /* ; */ + 3";

	(void)state;
	assert_statement(&script, "SELECT 1");
	assert_statement(&script, "INSERT INTO t VALUES ('a;b', \"c\\\";d\", `e;f`) -- g; h");
	assert_statement(&script, "SELECT 2 /* ; */ + 3");
	assert_statement(&script, NULL);
	assert_statement(&script, NULL);
}

static void test_scripts_without_statements(void **state)
{
	const char *const scripts[] = {
		"", "  \n", ";", "-- only\n-- comments", "/* open", "-- x;\n;\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		const char *cursor = scripts[i];

		assert_statement(&cursor, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values_take_the_place_of_marks),
		cmocka_unit_test(test_values_are_not_read_again),
		cmocka_unit_test(test_any_byte_stays_within_its_quotes),
		cmocka_unit_test(test_a_text_grows_and_starts_again),
		cmocka_unit_test(test_counts_are_read),
		cmocka_unit_test(test_other_texts_are_no_counts),
		cmocka_unit_test(test_a_script_is_taken_apart),
		cmocka_unit_test(test_scripts_without_statements),
	};

	return cmocka_run_group_tests_name("sql", tests, NULL, NULL);
}
