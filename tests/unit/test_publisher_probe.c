/* The publisher as the drift sampler asks it: what is in Redis of these balances? */
#include "publisher_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Asks for accounts first, first + PARTITIONS, ... as they are committed. */
static void probe(struct world *w, int64_t first, size_t count)
{
	struct publisher_probe probes[PUBLISHER_PROBES_MAX] = {0};

	for (size_t i = 0; i < count; i++) {
		int64_t account_id = first + (int64_t)i * PARTITIONS;
		const struct partition_truth *truth = &w->truth[account_id % PARTITIONS];
		int64_t version = world_committed(w, account_id);

		probes[i].image = (struct snapshot_image){world_key(account_id),
			world_available(account_id, version), 7, version, w->now_ms};
		for (size_t j = 0; j < truth->count; j++)
			if (truth->changes[j].account_id == account_id)
				probes[i].last_offset = truth->changes[j].offset;
	}
	publisher_probe(w->pubs[0], (int32_t)(first % PARTITIONS), probes, count);
}

static size_t answers(struct world *w, struct publisher_probe *probes)
{
	return publisher_probed(w->pubs[0], 1, probes);
}

static void test_probes_are_answered_once(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	unsigned wakes;

	world_settle(w, 3);
	wakes = w->wakes;
	probe(w, 1, 3);
	assert_true(w->wakes > wakes);
	assert_int_equal(answers(w, probes), 0);
	world_run(w);
	assert_int_equal(answers(w, probes), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(probes[i].found.key.account_id, 1 + 4 * i);
		assert_int_equal(probes[i].found.version, 1);
		assert_true(probes[i].found.available == world_available(1 + 4 * (int64_t)i, 1));
		assert_true(probes[i].covered);
	}
	assert_int_equal(answers(w, probes), 0);
}

static void test_probe_tells_what_was_changed_by_hand(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	struct snapshot_image gone = {.key = world_key(1)};
	struct snapshot_image ahead = {world_key(5), 1, 2, 3, 4};
	struct snapshot_image strange = {.key = world_key(9), .version = SNAPSHOT_UNREADABLE};

	world_settle(w, 3);
	snapshot_memory_tamper(w->server, &gone);
	snapshot_memory_tamper(w->server, &ahead);
	snapshot_memory_tamper(w->server, &strange);
	probe(w, 1, 3);
	assert_int_equal(publisher_step(w->pubs[0], w->now_ms), 0);
	assert_int_equal(answers(w, probes), 3);
	assert_int_equal(probes[0].found.version, 0);
	assert_int_equal(probes[1].found.version, 3);
	assert_true(probes[1].found.available == 1 && probes[1].found.frozen == 2);
	assert_int_equal(probes[2].found.version, SNAPSHOT_UNREADABLE);
	for (size_t i = 0; i < 3; i++)
		assert_true(probes[i].covered);
}

/* What waits, is on its way, or has no marker behind it, may be missing. */
static void test_probe_covers_only_what_was_published(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	world_settle(w, 3);
	world_commit(w, 1, 2);
	for (int steps = 0; steps < 2; steps++) { /* it waits; it is in a slice */
		probe(w, 1, 3);
		world_step(w);
		assert_int_equal(answers(w, probes), 3);
		assert_false(probes[0].covered);
		assert_false(probes[1].covered);
		assert_true(probes[2].covered);
		world_step(w);
	}
	world_run(w); /* with a marker */
	world_commit(w, 1, 1);
	world_run(w); /* too soon for the next one */
	assert_int_equal(world_stats(w, 0).pending, 0);
	probe(w, 1, 3);
	world_run(w);
	assert_int_equal(answers(w, probes), 3);
	assert_false(probes[0].covered);
	assert_true(probes[1].covered && probes[2].covered);
	world_run_for(w, CHECK_MS);
	probe(w, 1, 3);
	world_run(w);
	assert_int_equal(answers(w, probes), 3);
	assert_true(probes[0].covered && probes[1].covered && probes[2].covered);
}

static void test_first_probe_is_the_one_that_is_answered(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	world_settle(w, 3);
	probe(w, 1, 1);
	probe(w, 5, 2);
	world_run(w);
	assert_int_equal(answers(w, probes), 1);
	assert_int_equal(probes[0].found.key.account_id, 1);
}

/* All is missing, and nothing of it is drift: it is being filled. */
static void test_probe_of_an_emptied_redis_means_nothing(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	world_settle(w, 10);
	snapshot_memory_flushall(w->server);
	probe(w, 1, 10);
	world_run(w);
	assert_int_equal(answers(w, probes), 0);
	world_run_for(w, CHECK_MS / 2); /* it was noticed by that, before the next check */
	assert_int_equal(world_stats(w, 0).rebuilds, 2);
	world_assert_complete(w, 1);
	probe(w, 1, 10);
	world_run(w);
	assert_int_equal(answers(w, probes), 10);
}

/* Neither does what a fail-over lost, with the marker that spoke of it. */
static void test_probe_after_a_fail_over_means_nothing(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	world_settle(w, 4);
	world_commit(w, 1, 4);
	world_run_for(w, CHECK_MS / 2);
	world_assert_complete(w, 1);
	assert_int_equal(snapshot_memory_fail_over(w->server, 3), 3);
	probe(w, 1, 4);
	world_run(w);
	assert_int_equal(answers(w, probes), 0);
}

static void test_probe_waits_for_a_connection(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	world_settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	probe(w, 1, 1);
	world_run_for(w, CHECK_MS);
	assert_int_equal(answers(w, probes), 0);
	snapshot_memory_faults(w->server)->unreachable = false;
	world_run_for(w, 2 * PUBLISHER_BACKOFF_MAX_MS);
	assert_int_equal(answers(w, probes), 1);
}

/* The database has gone back: Redis is ahead of it until the log has brought the same again. */
static void test_probe_behind_the_marker_means_nothing(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	int64_t marker;

	world_settle(w, 8);
	marker = world_marker(w, 1);
	publisher_begin(w->pubs[0], 1, marker - 4, marker - 4, NULL, 0, false);
	for (int i = 0; i < 10; i++)
		publisher_step(w->pubs[0], w->now_ms);
	probe(w, 1, 2);
	for (int i = 0; i < 10; i++)
		publisher_step(w->pubs[0], w->now_ms);
	assert_int_equal(answers(w, probes), 0);
	publisher_offer(w->pubs[0], 1, NULL, 0, w->now_ms, marker);
	probe(w, 1, 2);
	for (int i = 0; i < 10; i++)
		publisher_step(w->pubs[0], w->now_ms);
	assert_int_equal(answers(w, probes), 2);
}

static void begin_anew(struct world *w)
{
	w->meanwhile = NULL;
	world_end(w, 0, 1);
	world_begin(w, 0, 1);
}

static void test_partition_begins_anew_during_a_probe(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	world_settle(w, 3);
	probe(w, 1, 3);
	w->meanwhile = begin_anew;
	world_run(w);
	assert_null(w->meanwhile);
	assert_int_equal(answers(w, probes), 0);
}

static void mend(struct world *w, int64_t account_id, int64_t version)
{
	struct snapshot_image image = {
		world_key(account_id), world_available(account_id, version), 7, version, w->now_ms};

	publisher_mend(w->pubs[0], 1, &image, 1);
}

static void test_mended_is_written_again(void **state)
{
	struct world *w = *state;
	struct snapshot_image gone = {.key = world_key(1)};

	world_settle(w, 3);
	snapshot_memory_tamper(w->server, &gone);
	mend(w, 1, 1);
	assert_int_equal(world_stats(w, 0).pending, 1);
	for (int i = 0; world_stats(w, 0).pending; i++) {
		publisher_step(w->pubs[0], w->now_ms);
		assert_true(i < 10);
	}
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
}

/* Or the same drift would be told twice. */
static void test_probe_does_not_cover_what_is_being_mended(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	world_settle(w, 3);
	mend(w, 1, 1);
	for (int steps = 0; steps < 2; steps++) { /* it waits; it is in a slice */
		probe(w, 1, 3);
		world_step(w);
		assert_int_equal(answers(w, probes), 3);
		assert_false(probes[0].covered);
		assert_true(probes[1].covered && probes[2].covered);
		world_step(w);
	}
	assert_int_equal(world_stats(w, 0).pending, 0);
	probe(w, 1, 3);
	world_step(w);
	assert_int_equal(answers(w, probes), 3);
	assert_true(probes[0].covered);
}

/* A newer image waits, or is in Redis already. */
static void test_mending_never_goes_back(void **state)
{
	struct world *w = *state;

	world_settle(w, 1);
	world_commit(w, 1, 1);
	mend(w, 1, 1);
	assert_int_equal(world_stats(w, 0).pending, 1);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_in_redis(w, 1), 2);
	mend(w, 1, 1);
	world_run_for(w, CHECK_MS);
	assert_int_equal(world_in_redis(w, 1), 2);
	world_assert_complete(w, 1);
}

static void test_replaced_keys_are_counted(void **state)
{
	struct world *w = *state;
	struct snapshot_image strange = {.key = world_key(5), .version = SNAPSHOT_UNREADABLE};

	world_settle(w, 3);
	snapshot_memory_tamper(w->server, &strange);
	world_commit(w, 1, 3);
	while (world_stats(w, 0).pending)
		publisher_step(w->pubs[0], w->now_ms);
	assert_int_equal(world_stats(w, 0).replaced, 1);
	world_run_for(w, CHECK_MS);
	world_assert_complete(w, 1);
	assert_int_equal(world_stats(w, 0).replaced, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_probes_are_answered_once),
		WORLD_TEST(test_probe_tells_what_was_changed_by_hand),
		WORLD_TEST(test_probe_covers_only_what_was_published),
		WORLD_TEST(test_first_probe_is_the_one_that_is_answered),
		WORLD_TEST(test_probe_of_an_emptied_redis_means_nothing),
		WORLD_TEST(test_probe_after_a_fail_over_means_nothing),
		WORLD_TEST(test_probe_waits_for_a_connection),
		WORLD_TEST(test_probe_behind_the_marker_means_nothing),
		WORLD_TEST(test_partition_begins_anew_during_a_probe),
		WORLD_TEST(test_mended_is_written_again),
		WORLD_TEST(test_probe_does_not_cover_what_is_being_mended),
		WORLD_TEST(test_mending_never_goes_back),
		WORLD_TEST(test_replaced_keys_are_counted),
	};

	return cmocka_run_group_tests(tests, world_group_set_up, world_group_tear_down);
}
