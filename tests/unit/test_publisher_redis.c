/* The publisher when Redis loses what it had: what it notices, and how it fills it again. */
#include "publisher_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Losing Redis --------------------------------------------------------------------------------- */

static void test_emptied_redis_is_noticed_and_filled(void **state)
{
	struct world *w = *state;

	world_settle(w, 20);
	snapshot_memory_flushall(w->server);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 2);
}

static void test_emptied_redis_stops_the_offset_at_once(void **state)
{
	struct world *w = *state;
	int64_t before;

	world_settle(w, 20);
	before = world_offset(w, 1);
	snapshot_memory_flushall(w->server);
	world_commit(w, 1, 1);
	while (snapshot_memory_count(w->server) < 20) {
		assert_int_equal(world_offset(w, 1), before);
		if (world_step(w) > 0)
			w->now_ms += 10;
	}
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
}

/* Emptied while it was being filled: what came before is gone again. */
static void test_emptied_during_a_rebuild_is_rebuilt_again(void **state)
{
	for (int after = 0; after < 25; after++) {
		struct world *w = *state;

		world_settle(w, 20);
		snapshot_memory_restart(w->server);
		w->now_ms += CHECK_MS;
		for (int i = 0; i < after; i++)
			w->now_ms += world_step(w);
		snapshot_memory_flushall(w->server);
		world_run_for(w, 3 * CHECK_MS);
		world_assert_complete(w, 1);
		world_finish(w);
		world_init(w);
	}
}

static void test_restarted_redis_is_filled(void **state)
{
	struct world *w = *state;

	world_settle(w, 20);
	world_commit(w, 1, 3);
	snapshot_memory_restart(w->server);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
}

/* Demoted, resynchronized and promoted again under an open connection: only the identity tells. */
static void test_fail_over_is_noticed_without_a_broken_connection(void **state)
{
	struct world *w = *state;

	world_settle(w, 4);
	world_commit(w, 1, 4);
	world_run_for(w, CHECK_MS);
	snapshot_memory_fail_over(w->server, 3);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 2);
}

static void test_reconnect_looks_who_is_there_before_it_writes(void **state)
{
	struct world *w = *state;

	world_settle(w, 20);
	snapshot_memory_fail_over(w->server, 3);
	snapshot_memory_cut(w->server);
	world_commit(w, 1, 1);
	for (int i = 0; world_stats(w, 0).rebuilding == 0; i++) {
		w->now_ms += world_step(w);
		assert_true(i < 10);
	}
	assert_true(w->now_ms < 1000000 + 3 * CHECK_MS);
	assert_int_equal(world_in_redis(w, 1), 1);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
}

static void test_older_copy_is_filled(void **state)
{
	struct world *w = *state;
	struct snapshot_memory_copy *copy;

	world_settle(w, 10);
	copy = snapshot_memory_save(w->server);
	world_commit(w, 1, 4);
	world_run_for(w, CHECK_MS);
	snapshot_memory_restore(w->server, copy);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	snapshot_memory_copy_destroy(copy);
}

static void test_broken_connection_alone_is_no_reason_to_rebuild(void **state)
{
	struct world *w = *state;

	world_settle(w, 20);
	for (int i = 0; i < 10; i++) {
		world_commit(w, 1, 2 * SLICE);
		world_step(w);
		snapshot_memory_cut(w->server);
		world_run_for(w, 3 * CHECK_MS);
		world_assert_complete(w, 1);
	}
	assert_int_equal(world_stats(w, 0).rebuilds, 1);
}

static void test_lost_answer_to_a_marker_is_no_reason_to_rebuild(void **state)
{
	struct world *w = *state;

	world_settle(w, 20);
	world_commit(w, 1, 1);
	snapshot_memory_faults(w->server)->markers_unsettled = 1;
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	world_commit(w, 1, 1);
	snapshot_memory_faults(w->server)->markers_refused = 1;
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 1);
}

/* Rebuilds ------------------------------------------------------------------------------------- */

/* Adds balances of a partition that nobody owns here. */
static void add_others(struct world *w, int32_t partition, size_t count)
{
	for (size_t i = 0; i < count; i++)
		world_change(w, partition + (int64_t)(i * PARTITIONS) + PARTITIONS);
}

static void test_rebuild_writes_only_what_it_is_for(void **state)
{
	struct world *w = *state;
	uint64_t before;

	world_settle(w, 10);
	add_others(w, 2, 30);
	world_begin(w, 0, 3);
	world_commit(w, 3, 10);
	world_run_for(w, 2 * CHECK_MS);
	before = world_stats(w, 0).published;
	world_end(w, 0, 1);
	world_begin_with(w, 0, 1, true);
	world_run_for(w, 2 * CHECK_MS);
	assert_int_equal(world_stats(w, 0).published - before, 10);
	assert_int_equal(world_in_redis(w, 6), 0);
	world_assert_complete(w, 1);
	world_assert_complete(w, 3);
}

static void test_partitions_share_a_scan(void **state)
{
	struct world *w = *state;
	unsigned scans;

	add_others(w, 2, 40);
	scans = w->table.scans;
	for (int32_t i = 0; i < PARTITIONS; i++)
		world_begin(w, 0, i);
	world_run_for(w, CHECK_MS);
	assert_int_equal(w->table.scans - scans, 40 / SLICE + 1);
	assert_int_equal(world_stats(w, 0).rebuilds, PARTITIONS);
	for (int32_t i = 0; i < PARTITIONS; i++)
		world_assert_complete(w, i);
}

/* One that comes while others are scanned was not scanned from the beginning: it waits. */
static void test_late_partition_has_a_scan_of_its_own(void **state)
{
	struct world *w = *state;

	world_begin_rebuild(w);
	add_others(w, 2, 5);
	w->truth[2].redis_offset = w->truth[2].next_offset;
	world_begin(w, 0, 2);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	world_assert_complete(w, 2);
}

static void test_rounds_go_on_during_a_rebuild(void **state)
{
	struct world *w = *state;

	world_begin_rebuild(w);
	world_commit(w, 1 + 39 * PARTITIONS, 1); /* the last one of the scan */
	for (int i = 0; world_in_redis(w, 1 + 39 * PARTITIONS) < 2; i++) {
		w->now_ms += world_step(w);
		assert_true(i < 6);
	}
	assert_int_equal(world_marker(w, 1), -1);
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
}

/* The scan must go on when there is always something newer to write. */
static void test_rebuild_ends_under_steady_load(void **state)
{
	struct world *w = *state;

	world_begin_rebuild(w);
	for (int i = 0; world_marker(w, 1) < 0; i++) {
		world_commit(w, 1, SLICE);
		w->now_ms += world_step(w);
		assert_true(i < 200);
	}
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
}

static void test_balances_behind_the_scan_are_not_forgotten(void **state)
{
	struct world *w = *state;

	world_begin_rebuild(w);
	assert_int_equal(world_in_redis(w, 1), 1);
	world_commit(w, 1, 1);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_in_redis(w, 1), 2);
	world_assert_complete(w, 1);
}

static void test_rebuild_goes_on_after_a_broken_connection(void **state)
{
	struct world *w = *state;
	unsigned scans;

	world_begin_rebuild(w);
	scans = w->table.scans;
	snapshot_memory_cut(w->server);
	world_run_for(w, 3 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 2);
	assert_true(w->table.scans - scans <= 30 / SLICE + 2);
}

static void test_rebuild_begins_again_on_another_server(void **state)
{
	struct world *w = *state;

	world_begin_rebuild(w);
	snapshot_memory_fail_over(w->server, 5);
	snapshot_memory_cut(w->server);
	world_run_for(w, 3 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 3);
}

static void test_next_owner_finishes_a_rebuild(void **state)
{
	struct world *w = *state;

	world_begin_rebuild(w);
	world_crash(w, 0);
	world_start(w, 0);
	world_begin(w, 0, 1);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 1);
}

static void test_rounds_go_on_while_the_database_is_away(void **state)
{
	struct world *w = *state;

	world_begin_rebuild(w);
	w->table.failures = 5;
	world_commit(w, 1, 1);
	for (int i = 0; world_in_redis(w, 1) < 2; i++) {
		w->now_ms += world_step(w);
		assert_true(i < 10);
	}
	assert_true(w->table.failures > 0);
	world_run_for(w, 20 * CHECK_MS);
	assert_int_equal(w->table.failures, 0);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 2);
}

/* Rows of a scan that failed are not used. */
static void test_failed_scan_is_read_again(void **state)
{
	struct world *w = *state;
	uint64_t before;

	world_begin_rebuild(w);
	before = world_stats(w, 0).published - snapshot_memory_count(w->server);
	for (int i = 0; i < 3; i++) {
		w->table.failures = 1;
		while (w->table.failures)
			w->now_ms += world_step(w);
	}
	world_run_for(w, 10 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).published - before, 40);
}

static void test_scan_ends_with_its_last_partition(void **state)
{
	struct world *w = *state;
	unsigned scans;

	world_begin_rebuild(w);
	scans = w->table.scans;
	world_end(w, 0, 1);
	world_run_for(w, 2 * CHECK_MS);
	assert_true(w->table.scans <= scans + 1);
	world_begin(w, 0, 1);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_emptied_redis_is_noticed_and_filled),
		WORLD_TEST(test_emptied_redis_stops_the_offset_at_once),
		WORLD_TEST(test_emptied_during_a_rebuild_is_rebuilt_again),
		WORLD_TEST(test_restarted_redis_is_filled),
		WORLD_TEST(test_fail_over_is_noticed_without_a_broken_connection),
		WORLD_TEST(test_reconnect_looks_who_is_there_before_it_writes),
		WORLD_TEST(test_older_copy_is_filled),
		WORLD_TEST(test_broken_connection_alone_is_no_reason_to_rebuild),
		WORLD_TEST(test_lost_answer_to_a_marker_is_no_reason_to_rebuild),
		WORLD_TEST(test_rebuild_writes_only_what_it_is_for),
		WORLD_TEST(test_partitions_share_a_scan),
		WORLD_TEST(test_late_partition_has_a_scan_of_its_own),
		WORLD_TEST(test_rounds_go_on_during_a_rebuild),
		WORLD_TEST(test_rebuild_ends_under_steady_load),
		WORLD_TEST(test_balances_behind_the_scan_are_not_forgotten),
		WORLD_TEST(test_rebuild_goes_on_after_a_broken_connection),
		WORLD_TEST(test_rebuild_begins_again_on_another_server),
		WORLD_TEST(test_next_owner_finishes_a_rebuild),
		WORLD_TEST(test_rounds_go_on_while_the_database_is_away),
		WORLD_TEST(test_failed_scan_is_read_again),
		WORLD_TEST(test_scan_ends_with_its_last_partition),
	};

	return cmocka_run_group_tests(tests, world_group_set_up, world_group_tear_down);
}
