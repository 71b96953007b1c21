/* /healthz and /readyz: the text and the status that probes and people see. */
#include "health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_live(
	const struct health_beat *beats, size_t count, int64_t now_ms, int status, const char *body)
{
	char *text;

	assert_int_equal(health_live(beats, count, now_ms, &text), status);
	assert_string_equal(text, body);
	free(text);
}

static void assert_ready(
	const struct health_condition *conditions, size_t count, int status, const char *body)
{
	char *text;

	assert_int_equal(health_ready(conditions, count, &text), status);
	assert_string_equal(text, body);
	free(text);
}

static void test_loops_that_turn_are_well(void **state)
{
	const struct health_beat beats[] = {{"leader", 1000, 5000}, {"partition 0", 6000, 0}};

	assert_live(beats, 2, 6000, 200, "ok leader\nok partition 0\n");
}

static void test_a_loop_that_stands_still_is_named(void **state)
{
	const struct health_beat beats[] = {{"leader", 1000, 5000}, {"publisher", 1000, 4999}};

	assert_live(beats, 2, 6000, 503,
		"ok leader\n"
		"stuck: publisher: no sign of life for 5000 ms, at most 4999 are allowed\n");
}

/* A beat may be newer than the time that was read before it. */
static void test_a_beat_after_now_is_well(void **state)
{
	const struct health_beat beats[] = {{"leader", 7000, 10}};

	assert_live(beats, 1, 6000, 200, "ok leader\n");
}

static void test_nothing_to_look_at_is_well(void **state)
{
	assert_live(NULL, 0, 6000, 200, "ok\n");
	assert_ready(NULL, 0, 200, "ok\n");
}

static void test_ready_has_a_line_for_each_condition(void **state)
{
	const struct health_condition conditions[] = {
		{"mysql", true, NULL}, {"kafka", true, ""}, {"leases", true, "3 of 3 partitions"}};

	assert_ready(conditions, 3, 200, "ok mysql\nok kafka\nok leases: 3 of 3 partitions\n");
}

static void test_one_that_does_not_hold_is_enough(void **state)
{
	const struct health_condition conditions[] = {{"mysql", true, NULL},
		{"kafka", false, "127.0.0.1:9092 does not answer"}, {"halted", false, NULL},
		{"redis", true, NULL}};

	assert_ready(conditions, 4, 503,
		"ok mysql\nnot ready: kafka: 127.0.0.1:9092 does not answer\n"
		"not ready: halted\nok redis\n");
}

/* A server's message must not look like another condition. */
static void test_a_detail_stays_on_its_line(void **state)
{
	const struct health_condition conditions[] = {{"mysql", false, "one\nok mysql\r\ttwo"}};

	assert_ready(conditions, 1, 503, "not ready: mysql: one ok mysql  two\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loops_that_turn_are_well),
		cmocka_unit_test(test_a_loop_that_stands_still_is_named),
		cmocka_unit_test(test_a_beat_after_now_is_well),
		cmocka_unit_test(test_nothing_to_look_at_is_well),
		cmocka_unit_test(test_ready_has_a_line_for_each_condition),
		cmocka_unit_test(test_one_that_does_not_hold_is_enough),
		cmocka_unit_test(test_a_detail_stays_on_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
