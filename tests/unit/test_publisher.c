/* The publisher: rounds, beginnings and ends, limits, and several instances, rule by rule. */
#include "publisher_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* Rounds --------------------------------------------------------------------------------------- */

static void test_newest_version_of_each_balance_is_written_once(void **state)
{
	struct world *w = *state;
	uint64_t before;

	world_settle(w, 3);
	before = world_stats(w, 0).published;
	for (int i = 0; i < 10; i++)
		world_commit(w, 1, 3);
	assert_int_equal(world_stats(w, 0).pending, 3);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_in_redis(w, 1), 11);
	assert_int_equal(world_stats(w, 0).published, before + 3);
	assert_int_equal(world_stats(w, 0).pending, 0);
	world_assert_complete(w, 1);
}

/* The offset is for the next owner: it may move only when nothing below is missing any more. */
static void test_offset_moves_only_after_the_whole_round(void **state)
{
	struct world *w = *state;
	int64_t before;

	world_settle(w, 3);
	before = world_offset(w, 1);
	world_commit(w, 1, SLICE * 3);
	for (int i = 0; world_stats(w, 0).pending; i++) {
		assert_int_equal(world_offset(w, 1), before);
		assert_int_equal(world_marker(w, 1), before);
		assert_int_equal(world_step(w), 0);
		assert_true(i < 20);
	}
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
}

static void test_a_step_writes_one_slice(void **state)
{
	struct world *w = *state;

	world_settle(w, 1);
	world_commit(w, 1, SLICE * 5);
	for (int i = 0; world_stats(w, 0).pending; i++) {
		uint64_t before = world_stats(w, 0).published;

		world_step(w);
		assert_true(world_stats(w, 0).published - before <= SLICE);
		assert_true(i < 20);
	}
}

/* A partition with much to write must not keep the others waiting. */
static void test_partitions_take_turns(void **state)
{
	struct world *w = *state;

	world_settle(w, 1);
	world_begin(w, 0, 2);
	world_run_for(w, 2 * CHECK_MS);
	world_commit(w, 1, SLICE * 10);
	world_commit(w, 2, 1);
	for (int i = 0; i < 4; i++)
		world_step(w);
	assert_int_equal(world_in_redis(w, 2), 1);
	assert_true(world_stats(w, 0).pending >= SLICE * 8);
}

static void test_offers_during_a_round_wait_for_the_next(void **state)
{
	struct world *w = *state;

	world_settle(w, 2 * SLICE);
	world_commit(w, 1, 2 * SLICE);
	world_step(w);
	world_step(w); /* the first half of the round is out */
	world_commit(w, 1, 2 * SLICE);
	assert_int_equal(world_stats(w, 0).pending, 4 * SLICE);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_in_redis(w, 1), 3);
	world_assert_complete(w, 1);
}

static void test_what_did_not_change_is_not_written(void **state)
{
	struct world *w = *state;
	struct touched same = {.key = world_key(1)}; /* a journal row that was refused */
	struct touched never = {.key = world_key(5)};
	struct publisher_stats before;

	world_settle(w, 1);
	before = world_stats(w, 0);
	same.before.version = same.after.version = 1;
	w->truth[1].next_offset += 2;
	publisher_offer(w->pubs[0], 1, &same, 1, w->now_ms, w->truth[1].next_offset - 1);
	publisher_offer(w->pubs[0], 1, &never, 1, w->now_ms, w->truth[1].next_offset);
	assert_int_equal(world_stats(w, 0).pending, 0);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_stats(w, 0).published, before.published);
	world_assert_complete(w, 1); /* the offset moves nevertheless */
}

static void test_failed_slice_is_sent_again(void **state)
{
	struct world *w = *state;
	int64_t before;

	world_settle(w, 1);
	before = world_offset(w, 1);
	world_commit(w, 1, SLICE);
	for (size_t written = 0; written <= SLICE; written++) {
		snapshot_memory_faults(w->server)->publishes = 1;
		snapshot_memory_faults(w->server)->publish_written = written;
		w->now_ms += world_run(w);
		assert_int_equal(world_stats(w, 0).failed, written + 1);
		assert_int_equal(world_offset(w, 1), before);
		assert_int_equal(world_stats(w, 0).pending, SLICE);
	}
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
}

/* Under steady load something always waits; the offset must move on all the same. */
static void test_offset_moves_under_steady_load(void **state)
{
	struct world *w = *state;
	int64_t before;

	world_settle(w, 1);
	before = world_offset(w, 1);
	for (int i = 0; i < 60; i++) {
		world_commit(w, 1, SLICE);
		world_step(w);
		w->now_ms += 20;
		assert_true(world_stats(w, 0).pending > 0);
	}
	assert_true(world_offset(w, 1) > before + (int64_t)(30 * SLICE));
}

static void test_marker_follows_by_itself_but_not_for_every_round(void **state)
{
	struct world *w = *state;
	unsigned before;

	world_settle(w, 1);
	before = w->marker_writes;
	for (int i = 0; i < 100; i++) {
		world_commit(w, 1, 1);
		world_run(w);
	}
	assert_int_equal(w->marker_writes, before + 1);
	assert_in_range(world_run(w), 1, PUBLISHER_MARKER_INTERVAL_MS);
	world_run_for(w, PUBLISHER_MARKER_INTERVAL_MS);
	world_run(w);
	world_assert_complete(w, 1);
	assert_int_equal(w->marker_writes, before + 2);
}

static void test_wakes_its_driver(void **state)
{
	struct world *w = *state;
	unsigned before = w->wakes;

	world_begin(w, 0, 1);
	assert_true(w->wakes > before);
	world_run(w);
	before = w->wakes;
	world_commit(w, 1, 1);
	assert_true(w->wakes > before);
}

/* Beginning and ending ------------------------------------------------------------------------- */

/* What a crash kept from being published, the next owner publishes; without reading everything. */
static void test_next_owner_publishes_from_the_stored_offset(void **state)
{
	struct world *w = *state;
	unsigned scans;

	world_settle(w, 4);
	world_commit(w, 1, 2); /* stores the offset so far */
	world_commit(w, 1, 4);
	world_crash(w, 0);
	scans = w->table.scans;
	world_start(w, 0);
	world_begin(w, 0, 1);
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(w->table.scans, scans);
	assert_int_equal(world_stats(w, 0).published, 4);
}

static void test_first_owner_ever_writes_all(void **state)
{
	struct world *w = *state;

	for (int64_t account_id = 1; account_id < 100; account_id += PARTITIONS)
		world_change(w, account_id);
	w->truth[1].redis_offset = w->truth[1].next_offset; /* as if Redis were another one */
	world_begin(w, 0, 1);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_stats(w, 0).rebuilds, 1);
	world_assert_complete(w, 1);
}

static void test_too_many_to_list_writes_all(void **state)
{
	struct world *w = *state;

	world_settle(w, 4);
	world_commit(w, 1, 4);
	world_end(w, 0, 1);
	world_begin_with(w, 0, 1, true);
	assert_int_equal(world_stats(w, 0).rebuilding, 1);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_stats(w, 0).rebuilds, 2); /* the first one is settle's */
	assert_int_equal(world_stats(w, 0).rebuilding, 0);
	world_assert_complete(w, 1);
}

/* redis.host was changed to another server and back: the first one is intact, but old. */
static void test_server_that_once_held_a_copy_is_not_trusted(void **state)
{
	struct world *w = *state;
	struct snapshot_memory *first = w->server;
	struct snapshot_memory *second = snapshot_memory_create(2);

	world_settle(w, 4);
	world_crash(w, 0);
	w->server = second;
	world_start(w, 0);
	world_begin(w, 0, 1);
	world_commit(w, 1, 4);
	world_run_for(w, 2 * CHECK_MS);
	world_commit(w, 5, 1); /* stores the offset that was reached in the second */
	world_run_for(w, 2 * CHECK_MS);
	world_crash(w, 0);
	w->server = first;
	world_start(w, 0);
	world_begin(w, 0, 1);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	snapshot_memory_destroy(second);
}

/* A clean stop: the last flush reaches Redis although its partition is not ours any more. */
static void test_what_waits_is_written_after_the_end(void **state)
{
	struct world *w = *state;
	int64_t marked;

	world_settle(w, 4);
	world_commit(w, 1, 10);
	world_step(w);
	world_end(w, 0, 1);
	marked = world_marker(w, 1);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_in_redis(w, 37), 1);
	assert_int_equal(world_stats(w, 0).pending, 0);
	assert_int_equal(world_marker(w, 1), marked); /* is not ours to write */
	world_begin(w, 0, 1);
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
}

static void test_waiting_of_an_ended_partition_is_dropped_first_without_a_rebuild(void **state)
{
	struct world *w = *state;

	w->config.pending_max = 50;
	world_crash(w, 0);
	world_start(w, 0);
	world_begin(w, 0, 2);
	world_settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	world_commit(w, 1, 40);
	world_end(w, 0, 1);
	world_commit(w, 2, 20);
	assert_int_equal(world_stats(w, 0).pending, 20);
	assert_int_equal(world_stats(w, 0).rebuilding, 0);
	world_begin(w, 0, 1); /* and the next owner has it from the database */
	snapshot_memory_faults(w->server)->unreachable = false;
	world_run_for(w, 3 * CHECK_MS);
	world_assert_complete(w, 1);
	world_assert_complete(w, 2);
}

/* The slice that is out when a partition ends says nothing about the partition that begins anew. */
static void test_answer_for_an_ended_partition_means_nothing(void **state)
{
	struct world *w = *state;

	world_settle(w, 2);
	world_commit(w, 1, 2);
	world_step(w); /* the slice is taken */
	world_end(w, 0, 1);
	world_begin(w, 0, 1);
	world_commit(w, 9, SLICE);
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
}

/* Without waiting for the next check. */
static void test_begin_reads_the_marker_at_once(void **state)
{
	struct world *w = *state;

	world_settle(w, 4);
	world_commit(w, 1, 2);
	world_end(w, 0, 1);
	world_begin(w, 0, 1);
	w->now_ms += PUBLISHER_MARKER_INTERVAL_MS;
	world_run(w);
	world_assert_complete(w, 1);
}

static void end_and_begin(struct world *w)
{
	w->meanwhile = NULL;
	world_end(w, 0, 1);
	world_begin(w, 0, 1);
	world_commit(w, 9, SLICE);
}

/* Whatever call is under way when a partition ends and begins anew, its answer is not for the new
 * one. */
static void test_partition_begins_anew_during_a_call(void **state)
{
	for (int after = 0; after < 20; after++) {
		struct world *w = *state;

		world_settle(w, 10);
		snapshot_memory_restart(w->server);
		world_commit(w, 1, 2);
		for (int i = 0; i < after; i++)
			w->now_ms += world_step(w);
		w->meanwhile = end_and_begin;
		world_run_for(w, 2 * CHECK_MS);
		assert_null(w->meanwhile);
		world_assert_complete(w, 1);
		world_finish(w);
		world_init(w);
	}
}

/* Limits --------------------------------------------------------------------------------------- */

static void test_too_many_waiting_drops_the_largest_and_rebuilds(void **state)
{
	struct world *w = *state;

	w->config.pending_max = 50;
	world_crash(w, 0);
	world_start(w, 0);
	world_begin(w, 0, 2);
	world_settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	world_commit(w, 2, 10);
	world_commit(w, 1, 40);
	assert_int_equal(world_stats(w, 0).pending, 50);
	assert_int_equal(world_stats(w, 0).rebuilding, 0);
	world_commit(w, 42, 1); /* one too many, of partition 2; but partition 1 has most */
	assert_int_equal(world_stats(w, 0).pending, 11);
	assert_int_equal(world_stats(w, 0).rebuilding, 1);
	world_commit(w, 1, 40);
	world_commit(w, 161, 40); /* not kept: the scan will see them */
	assert_int_equal(world_stats(w, 0).pending, 11);
	world_run_for(w, 3 * CHECK_MS);
	assert_false(world_stats(w, 0).connected);

	snapshot_memory_faults(w->server)->unreachable = false;
	world_run_for(w, 4 * CHECK_MS);
	world_assert_complete(w, 1);
	world_assert_complete(w, 2);
	assert_int_equal(world_stats(w, 0).rebuilds, 3); /* two at first */
}

static void test_overflow_during_a_rebuild_begins_it_again(void **state)
{
	struct world *w = *state;

	w->config.pending_max = 50;
	world_crash(w, 0);
	world_start(w, 0);
	world_begin_rebuild(w);
	world_commit(w, 1, 40);
	world_commit(w, 161, 40);
	assert_int_equal(world_stats(w, 0).rebuilding, 1);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).rebuilds, 3);
}

static void overflow(struct world *w)
{
	w->meanwhile = NULL;
	world_commit(w, 1, 50);
	world_commit(w, 201, 50);
}

/* What was dropped while a call was under way must not be forgotten because the call went well. */
static void test_overflow_during_a_call(void **state)
{
	for (int after = 0; after < 30; after++) {
		struct world *w = *state;

		w->config.pending_max = 50;
		world_crash(w, 0);
		world_start(w, 0);
		world_settle(w, 10);
		snapshot_memory_flushall(w->server);
		w->now_ms += CHECK_MS;
		for (int i = 0; i < after; i++) {
			if (i == after / 2)
				world_commit(w, 1, 2);
			w->now_ms += world_step(w);
		}
		w->meanwhile = overflow;
		world_run_for(w, 2 * CHECK_MS);
		assert_null(w->meanwhile);
		world_assert_complete(w, 1);
		world_finish(w);
		world_init(w);
	}
}

static void end_all(struct world *w)
{
	w->meanwhile = NULL;
	world_end(w, 0, 1);
	snprintf(w->marker_at_end, sizeof w->marker_at_end, "%s",
		snapshot_memory_marker(w->server, 1));
}

static void test_end_during_a_call(void **state)
{
	for (int after = 0; after < 20; after++) {
		struct world *w = *state;

		world_settle(w, 10);
		snapshot_memory_flushall(w->server);
		w->now_ms += CHECK_MS;
		for (int i = 0; i < after; i++)
			w->now_ms += world_step(w);
		w->meanwhile = end_all;
		world_run_for(w, 2 * CHECK_MS);
		assert_null(w->meanwhile);
		assert_int_equal(world_stats(w, 0).rebuilding, 0);
		assert_int_equal(world_stats(w, 0).pending, 0);
		assert_string_equal(snapshot_memory_marker(w->server, 1), w->marker_at_end);
		world_finish(w);
		world_init(w);
	}
}

static void test_backoff_grows_to_its_cap_and_starts_over(void **state)
{
	struct world *w = *state;
	int64_t longest_ms = 0;

	world_settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	world_commit(w, 1, 1);
	for (int i = 0; i < 20; i++) {
		int64_t wait_ms = world_run(w);
		int64_t base_ms = (int64_t)PUBLISHER_BACKOFF_MIN_MS << (i < 10 ? i : 10);

		if (base_ms > PUBLISHER_BACKOFF_MAX_MS)
			base_ms = PUBLISHER_BACKOFF_MAX_MS;
		assert_in_range(wait_ms, base_ms / 2, base_ms);
		assert_int_equal(world_step(w), wait_ms); /* woken early: the rest of the pause */
		if (wait_ms > longest_ms)
			longest_ms = wait_ms;
		w->now_ms += wait_ms;
	}
	assert_true(longest_ms > PUBLISHER_BACKOFF_MAX_MS / 2);
	snapshot_memory_faults(w->server)->unreachable = false;
	world_run_for(w, 3 * CHECK_MS);
	world_assert_complete(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	world_commit(w, 1, 1);
	assert_in_range(world_run(w), 1, PUBLISHER_BACKOFF_MIN_MS);
}

/* A server that takes connections and refuses to be written to must not be hammered. */
static void test_backoff_grows_when_only_writing_fails(void **state)
{
	struct world *w = *state;
	int64_t wait_ms = 0;

	world_settle(w, 1);
	world_commit(w, 1, 1);
	snapshot_memory_faults(w->server)->publishes = 1000;
	for (int i = 0; i < 10; i++)
		w->now_ms += wait_ms = world_run(w);
	assert_true(wait_ms >= PUBLISHER_BACKOFF_MAX_MS / 2);
	snapshot_memory_faults(w->server)->publishes = 0;
	world_run_for(w, 3 * CHECK_MS);
	world_assert_complete(w, 1);
}

static void test_idle_publisher_sleeps_until_the_next_check(void **state)
{
	struct world *w = *state;

	world_settle(w, 1);
	world_run_for(w, CHECK_MS);
	assert_in_range(world_run(w), 1, CHECK_MS);
	w->now_ms += world_run(w);
	assert_int_equal(world_run(w), CHECK_MS);
}

/* Several instances ---------------------------------------------------------------------------- */

static void test_stopped_owner_that_wakes_leaves_the_next_one_alone(void **state)
{
	struct world *w = *state;

	world_settle(w, 4);
	world_commit(w, 1, 4);
	world_step(w); /* stops with a slice in its hands */
	w->truth[1].owner = -1;
	world_start(w, 1);
	world_begin(w, 1, 1);
	for (int i = 0; i < 3; i++) {
		world_commit(w, 1, 4);
		w->now_ms += CHECK_MS;
		for (int j = 0; j < 50; j++)
			publisher_step(w->pubs[1], w->now_ms);
	}
	assert_int_equal(world_in_redis(w, 1), 5);
	world_run_for(w, 3 * CHECK_MS); /* and wakes */
	assert_int_equal(world_in_redis(w, 1), 5);
	assert_int_equal(publisher_offset(w->pubs[1], 1), w->truth[1].next_offset);
	assert_int_equal(world_stats(w, 0).rebuilds, 1);
	for (int j = 0; j < 50; j++)
		publisher_step(w->pubs[1], w->now_ms);
	assert_int_equal(world_stats(w, 1).rebuilds, 0);
	assert_true(world_stats(w, 0).stale > 0);
}

static void run_second(struct world *w)
{
	for (int i = 0; i < 100; i++) {
		publisher_step(w->pubs[1], w->now_ms);
		w->now_ms += 10;
		world_check(w);
	}
}

/* What waited from before is older than what the owner in between has published. */
static void test_partition_comes_back_while_its_last_round_waits(void **state)
{
	struct world *w = *state;

	world_settle(w, 4);
	world_commit(w, 1, 4);
	world_step(w); /* the slice is taken */
	world_end(w, 0, 1);
	world_start(w, 1);
	world_begin(w, 1, 1);
	world_commit(w, 1, 4);
	run_second(w);
	world_commit(w, 1, 1); /* stores the offset so far */
	run_second(w);
	world_end(w, 1, 1);
	world_begin(w, 0, 1);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_newest_version_of_each_balance_is_written_once),
		WORLD_TEST(test_offset_moves_only_after_the_whole_round),
		WORLD_TEST(test_a_step_writes_one_slice),
		WORLD_TEST(test_partitions_take_turns),
		WORLD_TEST(test_offers_during_a_round_wait_for_the_next),
		WORLD_TEST(test_what_did_not_change_is_not_written),
		WORLD_TEST(test_failed_slice_is_sent_again),
		WORLD_TEST(test_offset_moves_under_steady_load),
		WORLD_TEST(test_marker_follows_by_itself_but_not_for_every_round),
		WORLD_TEST(test_wakes_its_driver),
		WORLD_TEST(test_next_owner_publishes_from_the_stored_offset),
		WORLD_TEST(test_first_owner_ever_writes_all),
		WORLD_TEST(test_too_many_to_list_writes_all),
		WORLD_TEST(test_server_that_once_held_a_copy_is_not_trusted),
		WORLD_TEST(test_what_waits_is_written_after_the_end),
		WORLD_TEST(test_waiting_of_an_ended_partition_is_dropped_first_without_a_rebuild),
		WORLD_TEST(test_answer_for_an_ended_partition_means_nothing),
		WORLD_TEST(test_begin_reads_the_marker_at_once),
		WORLD_TEST(test_partition_begins_anew_during_a_call),
		WORLD_TEST(test_too_many_waiting_drops_the_largest_and_rebuilds),
		WORLD_TEST(test_overflow_during_a_rebuild_begins_it_again),
		WORLD_TEST(test_overflow_during_a_call),
		WORLD_TEST(test_end_during_a_call),
		WORLD_TEST(test_backoff_grows_to_its_cap_and_starts_over),
		WORLD_TEST(test_backoff_grows_when_only_writing_fails),
		WORLD_TEST(test_idle_publisher_sleeps_until_the_next_check),
		WORLD_TEST(test_stopped_owner_that_wakes_leaves_the_next_one_alone),
		WORLD_TEST(test_partition_comes_back_while_its_last_round_waits),
	};

	return cmocka_run_group_tests(tests, world_group_set_up, world_group_tear_down);
}
