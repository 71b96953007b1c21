/* Topics that cannot be written wait longer and longer, and no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "topics_aside.h"

static size_t count_at(const struct topics_aside *aside, int64_t now_ms)
{
	const char *names[TOPICS_ASIDE_MAX];

	return topics_aside_now(aside, now_ms, names);
}

static void test_a_topic_is_left_out_for_a_second_at_first(void **state)
{
	struct topics_aside aside = {0};
	const char *names[TOPICS_ASIDE_MAX];

	assert_true(topics_aside_put(&aside, "orders", 5000));
	assert_int_equal(topics_aside_now(&aside, 5999, names), 1);
	assert_string_equal(names[0], "orders");
	assert_int_equal(count_at(&aside, 6000), 0);
}

static void test_the_wait_doubles_up_to_a_minute(void **state)
{
	static const int64_t waits_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
	struct topics_aside aside = {0};
	int64_t now_ms = 0;

	for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
		assert_true(topics_aside_put(&aside, "orders", now_ms));
		assert_int_equal(count_at(&aside, now_ms + waits_ms[i] - 1), 1);
		now_ms += waits_ms[i];
		assert_int_equal(count_at(&aside, now_ms), 0);
	}
}

static void test_a_batch_that_went_out_forgets_whose_time_was_over(void **state)
{
	struct topics_aside aside = {0};

	topics_aside_put(&aside, "orders", 0);
	topics_aside_put(&aside, "orders", 1000);
	topics_aside_put(&aside, "later", 2500);
	topics_aside_forget(&aside, 3000);
	assert_int_equal(count_at(&aside, 3000), 1); /* "later" is still left out */
	topics_aside_put(&aside, "orders", 3000);
	assert_int_equal(count_at(&aside, 3600), 1); /* "later" is back, and "orders" waits */
	assert_int_equal(count_at(&aside, 4000), 0); /* a second, as at first */
}

static void test_there_is_room_for_so_many_and_for_others_when_their_time_is_over(void **state)
{
	struct topics_aside aside = {0};
	char name[16];

	for (int i = 0; i < TOPICS_ASIDE_MAX; i++) {
		snprintf(name, sizeof name, "topic-%d", i);
		assert_true(topics_aside_put(&aside, name, i));
	}
	assert_false(topics_aside_put(&aside, "one more", 999));
	assert_true(topics_aside_put(&aside, "one more", 1000));
	assert_int_equal(count_at(&aside, 1000), TOPICS_ASIDE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_topic_is_left_out_for_a_second_at_first),
		cmocka_unit_test(test_the_wait_doubles_up_to_a_minute),
		cmocka_unit_test(test_a_batch_that_went_out_forgets_whose_time_was_over),
		cmocka_unit_test(
			test_there_is_room_for_so_many_and_for_others_when_their_time_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
