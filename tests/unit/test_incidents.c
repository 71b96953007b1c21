/* The newest halts and fences: the right ones, in the right order, and no more than there is room
 * for. */
#include "incidents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_empty_at_first(void **state)
{
	struct incident list[INCIDENTS_MAX];
	struct incidents incidents;

	incidents_init(&incidents);
	assert_int_equal(incidents_read(&incidents, list), 0);
	incidents_finish(&incidents);
}

static void test_newest_first_and_the_oldest_give_way(void **state)
{
	struct incident list[INCIDENTS_MAX];
	struct incidents incidents;
	char reason[32];

	incidents_init(&incidents);
	for (int i = 0; i < INCIDENTS_MAX + 5; i++) {
		snprintf(reason, sizeof(reason), "reason %d", i);
		incidents_add(&incidents, 1000 + i, i % 3, i % 2 ? "halted" : "fenced", reason);
	}
	assert_int_equal(incidents_read(&incidents, list), INCIDENTS_MAX);
	for (int i = 0; i < INCIDENTS_MAX; i++) {
		int number = INCIDENTS_MAX + 4 - i;

		snprintf(reason, sizeof(reason), "reason %d", number);
		assert_int_equal(list[i].at_ms, 1000 + number);
		assert_int_equal(list[i].partition, number % 3);
		assert_string_equal(list[i].what, number % 2 ? "halted" : "fenced");
		assert_string_equal(list[i].reason, reason);
	}
	incidents_finish(&incidents);
}

static void test_a_long_reason_is_cut(void **state)
{
	struct incident list[INCIDENTS_MAX];
	struct incidents incidents;
	char reason[2 * ERROR_TEXT_MAX];

	memset(reason, 'x', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	incidents_init(&incidents);
	incidents_add(&incidents, 1, 0, "halted", reason);
	assert_int_equal(incidents_read(&incidents, list), 1);
	assert_int_equal(strlen(list[0].reason), ERROR_TEXT_MAX - 1);
	incidents_finish(&incidents);
}

static void test_nobody_wants_to_know(void **state)
{
	incidents_add(NULL, 1, 0, "halted", "for nothing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_at_first),
		cmocka_unit_test(test_newest_first_and_the_oldest_give_way),
		cmocka_unit_test(test_a_long_reason_is_cut),
		cmocka_unit_test(test_nobody_wants_to_know),
	};

	return cmocka_run_group_tests_name("incidents", tests, NULL, NULL);
}
