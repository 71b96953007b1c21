/* The table of database errors: what is tried again, what means a new connection, what halts. */
#include "db_errors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void assert_all(enum db_result expected, const unsigned *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct db_error *error = db_errors_find(numbers[i]);

		if (!error || error->result != expected)
			fail_msg("error %u should be %s", numbers[i], db_errors_text(expected));
	}
}

#define ASSERT_ALL(expected, ...)                                                                  \
	assert_all((expected), (const unsigned[]){__VA_ARGS__},                                    \
		sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

/* Nothing transient may halt a partition or lose an event: CONTRACT section 1. */
static void test_transient_errors_are_tried_again(void **state)
{
	(void)state;
	ASSERT_ALL(DB_RETRY, 1205, 1213, 1020, 1040, 1203, 1047);
	ASSERT_ALL(DB_RETRY, 1021, 1114, 3, 28, 1026, 1030); /* full disks */
}

static void test_lost_connections_are_made_anew(void **state)
{
	(void)state;
	ASSERT_ALL(DB_LOST, 2002, 2003, 2006, 2013, 2055, 1053, 1158, 1159, 1160, 1161, 4031, 1927);
}

/* A primary that became a replica: only a new connection finds the new primary. */
static void test_read_only_servers_are_left(void **state)
{
	(void)state;
	ASSERT_ALL(DB_LOST, 1290, 1836, 1792);
}

/* Whether such a COMMIT took place is unknown: it must be settled, not sent again. */
static void test_open_commits_are_settled(void **state)
{
	(void)state;
	ASSERT_ALL(DB_LOST, 1180, 1053, 3100);
}

static void test_matters_of_people_halt(void **state)
{
	(void)state;
	ASSERT_ALL(DB_HALT, 1044, 1045, 1049, 1054, 1142, 1146, 1227, 1419); /* rights and schema */
	ASSERT_ALL(DB_HALT, 1261, 1262, 1264, 1265, 1366, 1406, 1062, 1064); /* data, bugs */
	ASSERT_ALL(DB_HALT, 1148, 3948, 4166, 2068, 1153, 1197);             /* settings */
}

static void test_local_infile_says_how_to_set_it(void **state)
{
	const unsigned numbers[] = {1148, 3948, 4166};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_non_null(strstr(
			db_errors_remedy(numbers[i], "HY000"), "SET GLOBAL local_infile=ON"));
}

/* What nobody knows is neither tried for ever nor passed over. */
static void test_unknown_errors_go_by_their_kind(void **state)
{
	(void)state;
	assert_null(db_errors_find(1999));
	assert_int_equal(db_errors_result(1999, "HY000"), DB_HALT);
	assert_int_equal(db_errors_result(3999, "42000"), DB_HALT);
	assert_int_equal(db_errors_result(1999, "08S01"), DB_LOST);
	assert_int_equal(db_errors_result(1999, "40001"), DB_RETRY);
	assert_int_equal(db_errors_result(2999, "HY000"), DB_LOST);
	assert_int_equal(db_errors_result(5013, "HY000"), DB_LOST);
	assert_int_equal(db_errors_result(0, ""), DB_HALT);
	assert_string_equal(db_errors_remedy(2999, "HY000"), "a new connection is made by itself");
	assert_non_null(strstr(db_errors_remedy(1999, "HY000"), "not known"));
}

/* The search is binary; a remedy is part of a sentence. */
static void test_the_table_is_in_order(void **state)
{
	size_t count;
	const struct db_error *table = db_errors_table(&count);

	(void)state;
	assert_true(count > 100);
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(table[i].remedy);

		if (i > 0)
			assert_true(table[i - 1].number < table[i].number);
		assert_true(table[i].result > DB_OK && table[i].result <= DB_HALT);
		assert_true(length > 10 && length < 200);
		assert_true(table[i].remedy[length - 1] != '.');
		assert_ptr_equal(db_errors_find(table[i].number), &table[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transient_errors_are_tried_again),
		cmocka_unit_test(test_lost_connections_are_made_anew),
		cmocka_unit_test(test_read_only_servers_are_left),
		cmocka_unit_test(test_open_commits_are_settled),
		cmocka_unit_test(test_matters_of_people_halt),
		cmocka_unit_test(test_local_infile_says_how_to_set_it),
		cmocka_unit_test(test_unknown_errors_go_by_their_kind),
		cmocka_unit_test(test_the_table_is_in_order),
	};

	return cmocka_run_group_tests_name("db_errors", tests, NULL, NULL);
}
