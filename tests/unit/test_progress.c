/* Times left against worlds whose end is known. */
#include "fixture.h"

#include "progress.h"

/* Reads `reads` and is sent `sent` events a second, for so many seconds, from `left` events on. */
struct flow {
	int64_t now_ms;
	struct progress_sum sum;
};

static void run(
	struct progress *progress, struct flow *flow, int64_t reads, int64_t sent, int seconds)
{
	for (int i = 0; i < seconds; i++) {
		int64_t left;

		flow->sum.end += sent;
		left = flow->sum.end - flow->sum.committed;
		flow->sum.committed += left < reads ? left : reads;
		flow->now_ms += 1000;
		progress_look(progress, &flow->sum, flow->now_ms);
	}
}

static struct flow behind(int64_t left)
{
	return (struct flow){
		.now_ms = 5000, .sum = {.committed = 777, .end = 777 + left, .key = 9}};
}

static void test_nothing_is_known_at_first(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(1000000);
	struct progress_report report = progress_report(&progress);

	assert_int_equal(report.left, PROGRESS_UNKNOWN);
	run(&progress, &flow, 1000, 0, 1);
	report = progress_report(&progress);
	assert_int_equal(report.left, 999000);
	assert_int_equal(report.per_second, PROGRESS_UNKNOWN);
	assert_int_equal(report.seconds, PROGRESS_UNKNOWN);
	assert_int_equal(progress_news(&progress, flow.now_ms), PROGRESS_NO_NEWS);
}

static void test_the_time_left_is_true(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(1000000);

	run(&progress, &flow, 10000, 0, 5);
	for (int left_s = 95; left_s > 0; left_s--) {
		struct progress_report report = progress_report(&progress);

		assert_int_equal(report.seconds, left_s);
		assert_int_equal(report.per_second, 10000);
		assert_int_equal(report.left, left_s * 10000);
		run(&progress, &flow, 10000, 0, 1);
	}
	assert_int_equal(progress_report(&progress).seconds, 0);
}

/* What comes meanwhile has to be worked off, too. */
static void test_producers_that_go_on_are_counted(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(600000);

	run(&progress, &flow, 10000, 4000, 10);
	assert_int_equal(progress_report(&progress).left, 540000);
	assert_int_equal(progress_report(&progress).seconds, 90);
	run(&progress, &flow, 10000, 4000, 90);
	assert_int_equal(progress_report(&progress).left, 0);
}

static void test_a_gap_that_grows_has_no_end(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(600000);

	run(&progress, &flow, 1000, 1000, 10);
	assert_int_equal(progress_report(&progress).seconds, PROGRESS_UNKNOWN);
	run(&progress, &flow, 1000, 2000, 40);
	assert_int_equal(progress_report(&progress).seconds, PROGRESS_UNKNOWN);
	assert_int_equal(progress_report(&progress).per_second, 1000);
	run(&progress, &flow, 0, 0, 40);
	assert_int_equal(progress_report(&progress).per_second, 0);
	assert_int_equal(progress_news(&progress, flow.now_ms), PROGRESS_BEHIND);
}

/* It is the last half minute that counts, not what was before. */
static void test_a_change_of_speed_is_seen(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(10000000);

	run(&progress, &flow, 100, 0, 1000);
	run(&progress, &flow, 10000, 0, PROGRESS_LOOKS);
	assert_int_equal(progress_report(&progress).per_second, 10000);
}

/* Another partition's events are no progress. */
static void test_other_partitions_are_measured_anew(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(1000000);

	run(&progress, &flow, 10000, 0, 10);
	flow.sum = (struct progress_sum){.committed = 5000000, .end = 9000000, .key = 10};
	run(&progress, &flow, 0, 0, 1);
	assert_int_equal(progress_report(&progress).left, 4000000);
	assert_int_equal(progress_report(&progress).per_second, PROGRESS_UNKNOWN);
	run(&progress, &flow, 20000, 0, 10);
	assert_int_equal(progress_report(&progress).per_second, 20000);
}

static void test_news_come_now_and_then(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(1000000);
	int behind_count = 0, caught_up = 0;

	for (int i = 0; i < 120; i++) {
		enum progress_news news;

		run(&progress, &flow, 10000, 0, 1);
		news = progress_news(&progress, flow.now_ms);
		behind_count += news == PROGRESS_BEHIND;
		caught_up += news == PROGRESS_CAUGHT_UP;
		if (news == PROGRESS_CAUGHT_UP)
			assert_in_range(progress_report(&progress).left, 0, 49999);
	}
	assert_int_equal(behind_count, 10);
	assert_int_equal(caught_up, 1);
}

/* A busy log always has some batches that are not committed: nobody wants to read of it. */
static void test_a_busy_log_is_no_news(void **state)
{
	struct progress progress = {0};
	struct flow flow = behind(100000);

	for (int i = 0; i < 60; i++) {
		run(&progress, &flow, 100000, 100000, 1);
		assert_int_equal(progress_news(&progress, flow.now_ms), PROGRESS_NO_NEWS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_known_at_first),
		cmocka_unit_test(test_the_time_left_is_true),
		cmocka_unit_test(test_producers_that_go_on_are_counted),
		cmocka_unit_test(test_a_gap_that_grows_has_no_end),
		cmocka_unit_test(test_a_change_of_speed_is_seen),
		cmocka_unit_test(test_other_partitions_are_measured_anew),
		cmocka_unit_test(test_news_come_now_and_then),
		cmocka_unit_test(test_a_busy_log_is_no_news),
	};

	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
