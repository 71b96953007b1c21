/*
 * The leader, story by story: how fast a lease changes hands, when its owner stops believing in it,
 * and what it makes of answers that never came.  The world (leader_world.h) checks at every step
 * that no two believe in one partition.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "leader_world.h"
#include "mem.h"

#define A 0
#define B 1
#define C 2

static int setup(void **state)
{
	*state = xcalloc(1, sizeof(struct world));
	return 0;
}

static int teardown(void **state)
{
	world_finish(*state);
	free(*state);
	return 0;
}

static struct instance *start_settled(struct world *world, int index, const char *consumer_id)
{
	struct instance *instance = world_start(world, index, consumer_id, NULL, 0);

	world_settle(world, 5000);
	return instance;
}

/* Steps until nobody believes in the partition, or fails. */
static int64_t until_unowned(struct world *world, int32_t partition, int64_t limit_ms)
{
	int64_t begun_us = world->now_us;

	while (world_owner(world, partition) >= 0) {
		assert_true(world->now_us < begun_us + limit_ms * 1000);
		world_step(world);
	}
	return (world->now_us - begun_us) / 1000;
}

static int64_t until_owner(struct world *world, int32_t partition, int index, int64_t limit_ms)
{
	int64_t begun_us = world->now_us;

	while (world_owner(world, partition) != index) {
		assert_true(world->now_us < begun_us + limit_ms * 1000);
		world_step(world);
	}
	return (world->now_us - begun_us) / 1000;
}

/* One tick when it is due, and no step of the world: nothing else happens. */
static void tick_alone(struct instance *instance)
{
	instance->world->now_us += WORLD_STEP_US;
	if (instance->world->now_us >= instance->tick_us)
		instance_tick(instance);
}

/* Sharing -------------------------------------------------------------------------------------- */

static void test_a_single_instance_owns_all_at_once(void **state)
{
	struct world *world = *state;

	world_init(world, 64, 1);
	world_start(world, A, "a", NULL, 0);
	assert_in_range(world_settle(world, 5000), 0, 1000);
	assert_int_equal(world_owned(world, A), 64);
	/* prepare, announce, a view every 250 ms; each call waits twice */
	assert_in_range(world->instances[A].calls, 2 * 64, 2 * (64 + 10));
}

static void test_a_newcomer_gets_its_half_within_a_second(void **state)
{
	struct world *world = *state;

	world_init(world, 64, 1);
	start_settled(world, A, "a");
	world_start(world, B, "b", NULL, 0);
	world_run(world, 1500);
	assert_int_equal(world_owned(world, A), 32);
	assert_int_equal(world_owned(world, B), 32);
	assert_int_equal(world->instances[A].surplus, 32);
	assert_true(world_settled(world));
}

static void test_three_share_evenly_and_stay_as_they_are(void **state)
{
	struct world *world = *state;
	int acquired = 0;

	world_init(world, 10, 1);
	world_start(world, A, "a", NULL, 0);
	world_start(world, B, "b", NULL, 0);
	world_start(world, C, "c", NULL, 0);
	world_run(world, 3000);
	for (int i = 0; i < 3; i++) {
		assert_in_range(world_owned(world, i), 3, 4);
		acquired += world->instances[i].acquired;
	}
	world_run(world, 60000);
	for (int i = 0; i < 3; i++)
		acquired -= world->instances[i].acquired;
	assert_int_equal(acquired, 0);
	assert_true(world->commits > 1000);
}

static void test_restricted_members_get_only_what_they_may(void **state)
{
	static const int32_t first[] = {0, 1};
	static const int32_t second[] = {1, 2, 3};
	struct world *world = *state;

	world_init(world, 5, 1);
	world_start(world, A, "a", first, 2);
	world_start(world, B, "b", second, 3);
	world_run(world, 3000);
	assert_int_equal(world_owner(world, 0), A);
	assert_int_equal(world_owner(world, 1), A);
	assert_int_equal(world_owner(world, 2), B);
	assert_int_equal(world_owner(world, 3), B);
	assert_int_equal(world_owner(world, 4), -1);
	assert_true(world_settled(world));
}

/* While the surplus drains slowly, the view changes; no more than the surplus is given up. */
static void test_a_slow_hand_over_gives_up_no_more_than_the_surplus(void **state)
{
	struct world *world = *state;

	world_init(world, 9, 1);
	start_settled(world, A, "a")->reluctant = true;
	world_start(world, B, "b", NULL, 0);
	world_run(world, 1000);
	assert_int_equal(world->instances[A].surplus, 4);
	world_start(world, C, "c", NULL, 0);
	world_run(world, 1000);
	assert_int_equal(world->instances[A].surplus, 6);
	for (int i = 0; i < 50; i++) {
		world->instances[A].reluctant = i % 2;
		world_run(world, 100);
	}
	assert_int_equal(world->instances[A].surplus, 6);
	assert_int_equal(world_owned(world, A), 3);
	assert_true(world_settled(world));
}

/* Take-over ------------------------------------------------------------------------------------ */

static void test_a_killed_ones_partitions_are_taken_soon_after_they_expire(void **state)
{
	struct world *world = *state;
	int64_t renewed_us;

	world_init(world, 8, 1);
	start_settled(world, A, "a");
	start_settled(world, B, "b");
	world_run(world, 20000);
	renewed_us = world->db.rows[0].expires_us;
	for (int32_t p = 0; p < 8; p++) {
		if (world_owner(world, p) == A && world->db.rows[p].expires_us > renewed_us)
			renewed_us = world->db.rows[p].expires_us;
	}
	renewed_us -= WORLD_TTL_MS * 1000;
	world_kill(&world->instances[A]);
	while (world_owned(world, B) < 8)
		world_step(world);
	assert_in_range((world->now_us - renewed_us) / 1000, WORLD_TTL_MS, WORLD_TTL_MS + 500);
}

static void test_a_clean_stop_hands_over_at_once(void **state)
{
	struct world *world = *state;
	struct instance *a;
	int64_t begun_us;

	world_init(world, 16, 1);
	a = start_settled(world, A, "a");
	start_settled(world, B, "b");
	world_run(world, 1000);
	begun_us = world->now_us;
	leader_stop(a->leader);
	while (a->running)
		world_step(world);
	assert_in_range((world->now_us - begun_us) / 1000, 0, 1000);
	assert_int_equal(world->db.member_count, 1);
	while (world_owned(world, B) < 16)
		world_step(world);
	assert_in_range((world->now_us - begun_us) / 1000, 0, 1000);
}

/* Steps until the leases of an instance have been renewed. */
static void until_renewed(struct world *world, int index)
{
	int32_t p = 0;
	int64_t expires_us;

	while (world_owner(world, p) != index)
		p++;
	expires_us = world->db.rows[p].expires_us;
	while (world->db.rows[p].expires_us == expires_us)
		world_step(world);
}

/* One partition drains for long; the others need not wait for it. */
static void test_a_stop_hands_over_each_as_it_has_drained(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 4, 1);
	a = start_settled(world, A, "a");
	start_settled(world, B, "b");
	world_run(world, 2000);
	assert_int_equal(world_owned(world, B), 2);
	a->reluctant = true;
	until_renewed(world, A); /* the next regular announcement is far */
	leader_stop(a->leader);
	world_run(world, 500);
	for (int32_t p = 0; p < 4; p++) {
		if (!a->works[p].mine)
			continue;
		a->works[p].mine = false;
		leader_drained(a->leader, p);
		break;
	}
	world_run(world, 500);
	assert_int_equal(world_owned(world, B), 3);
	assert_int_equal(world_owned(world, A), 1);
}

static void test_stopping_before_anything_was_done_needs_no_database(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 2, 1);
	a = world_start(world, A, "a", NULL, 0);
	leader_stop(a->leader);
	a->unreachable_until_us = INT64_MAX;
	world_step(world);
	assert_false(a->running);
	assert_int_equal(a->calls, 0);
}

/* The database is away: the instance goes when what it held has expired, and not earlier. */
static void test_a_stop_without_a_database_ends_after_the_ttl(void **state)
{
	struct world *world = *state;
	struct instance *a;
	int64_t expires_us;

	world_init(world, 4, 1);
	a = start_settled(world, A, "a");
	world_run(world, 5000);
	a->unreachable_until_us = INT64_MAX;
	leader_stop(a->leader);
	expires_us = world->db.rows[0].expires_us;
	while (a->running)
		world_step(world);
	assert_in_range(world->now_us, expires_us - 50000, expires_us + 1000000);
}

static void take_four_seconds(void *context, bool lock)
{
	((struct instance *)context)->world->now_us += 4000000;
}

/* And if it hangs, so that every call takes long: none is begun that is of no use any more. */
static void test_a_stop_with_a_database_that_hangs_ends_after_the_ttl(void **state)
{
	struct world *world = *state;
	struct instance *a;
	int64_t expires_us;

	world_init(world, 4, 1);
	a = start_settled(world, A, "a");
	world_run(world, 5000);
	a->unreachable_until_us = INT64_MAX;
	a->store->on_wait = take_four_seconds;
	leader_stop(a->leader);
	expires_us = world->db.rows[0].expires_us;
	while (a->running) {
		assert_true(leader_out_of_reach(a->leader, instance_now_ms(a)) ==
			    (world->now_us >= expires_us - 50000));
		world_step(world);
	}
	assert_in_range(world->now_us, expires_us - 50000, expires_us + 4600000);
}

static void test_a_stop_waits_for_what_has_not_drained(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 4, 1);
	a = start_settled(world, A, "a");
	a->reluctant = true;
	leader_stop(a->leader);
	world_run(world, 60000);
	assert_true(a->running);
	assert_int_equal(world_owned(world, A), 4); /* they are renewed all the time */
	a->reluctant = false;
	world_run(world, 500);
	assert_false(a->running);
}

/* Belief --------------------------------------------------------------------------------------- */

static void test_an_owner_cut_off_stops_at_two_thirds_of_the_ttl(void **state)
{
	struct world *world = *state;
	struct instance *a;
	int64_t sent_us;

	world_init(world, 1, 1);
	a = start_settled(world, A, "a");
	world_run(world, 15000);
	a->unreachable_until_us = world->now_us + 15000000;
	sent_us = world->db.rows[0].expires_us - WORLD_TTL_MS * 1000; /* or some ms before */
	until_unowned(world, 0, WORLD_TTL_MS);
	assert_in_range((world->now_us - sent_us) / 1000, 6640, 6680);
	world_run(world, 1000);
	assert_int_equal(a->lost_time, 1);
	assert_int_equal(a->lost_fenced, 0);
	assert_in_range(until_owner(world, 0, A, 20000), 1000, 15000);
	assert_true(world->now_us < a->unreachable_until_us + 1500000);
}

static void test_a_cut_of_half_the_ttl_loses_nothing(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 4, 1);
	a = start_settled(world, A, "a");
	for (int i = 0; i < 20; i++) {
		world_run(world, 2000 + i * 100);
		a->unreachable_until_us = world->now_us + 2800000;
		world_run(world, 3000);
	}
	assert_int_equal(a->acquired, 4);
	assert_int_equal(world_owned(world, A), 4);
}

/* The answer of a renewal comes after 5 s: belief is counted from before it was sent. */
static void slow_renewal(void *context, bool lock)
{
	struct instance *instance = context;

	instance->world->now_us += 2500000;
}

static void test_belief_is_counted_from_before_the_renewal_was_sent(void **state)
{
	struct world *world = *state;
	struct instance *a;
	struct error err;
	bool failed;
	int64_t sent_ms;

	world_init(world, 1, 1);
	a = start_settled(world, A, "a");
	world_run(world, 4000);
	a->paused_until_us = INT64_MAX; /* the test ticks in its place */
	world_run(world, 4000);
	a->store->on_wait = slow_renewal;
	sent_ms = instance_now_ms(a);
	leader_tick(a->leader, sent_ms, &failed, &err);
	assert_false(failed);
	assert_int_equal(instance_now_ms(a), sent_ms + 5000);
	assert_true(leader_valid(a->leader, 0, sent_ms + 6665));
	assert_false(leader_valid(a->leader, 0, sent_ms + 6666));
	assert_false(leader_valid(a->leader, 0, INT64_MAX));
}

/* A machine that was suspended wakes: the first thing it hears is that its time ran out. */
static void test_waking_from_suspension_drops_everything_first(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 3, 1);
	a = start_settled(world, A, "a");
	a->paused_until_us = world->now_us + 9000000;
	world_run(world, 8990);
	assert_int_equal(a->lost_time, 0);
	assert_int_equal(world_owned(world, A), 0);
	while (a->lost_time == 0)
		world_step(world);
	assert_int_equal(a->lost_time, 3);
}

static void test_an_idle_owner_notices_an_offset_that_went_back(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 2, 1);
	a = start_settled(world, A, "a");
	world_run(world, 2000);
	a->idle = true;
	world_run(world, 500);
	world->offsets[1].next_offset -= 1;
	world_run(world, WORLD_TTL_MS / 3 + 100);
	assert_int_equal(a->lost_fenced, 1);
	assert_int_equal(world_owner(world, 0), A);
	assert_in_range(until_owner(world, 1, A, 2000), 0, 1500); /* recovers from there */
	assert_int_equal(a->works[1].next_offset, world->offsets[1].next_offset);
}

static void test_an_offset_from_nowhere_is_noticed_too(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 1, 1);
	a = start_settled(world, A, "a");
	a->idle = true;
	world_run(world, 500);
	world->offsets[0].next_offset += 1;
	world_run(world, WORLD_TTL_MS / 3 + 100);
	assert_int_equal(a->lost_fenced, 1);
}

static void test_a_new_epoch_is_noticed_at_the_next_look(void **state)
{
	struct world *world = *state;
	struct lease_db *copy;
	struct instance *a;

	world_init(world, 4, 1);
	a = world_start(world, A, "a", NULL, 0);
	a->idle = true;
	while (world->db.row_count == 0)
		tick_alone(a);
	copy = world_copy(world);
	world_settle(world, 2000);
	world_run(world, 1000);
	world_fail_over(world, copy);
	world_run(world, 400);
	world_forget(copy);
	assert_int_equal(a->lost_fenced, 4);
	assert_in_range(world_settle(world, 5000), 0, 1500);
	assert_int_equal(world_owned(world, A), 4);
}

static void test_another_epoch_alone_is_noticed_at_the_next_look(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 2, 1);
	a = start_settled(world, A, "a");
	a->idle = true;
	for (int i = 0; i < 20; i++) {
		world_run(world, 2000 + i * 37);
		world->db.rows[1].epoch += 7;
		world->db.rows[1].expires_us = world->now_us; /* and its holder is gone again */
		world_run(world, 300);
		assert_int_equal(a->lost_fenced, i + 1);
	}
}

/* Nothing but the renewal's answer says so: the lease is not believed in a moment longer. */
static void test_a_renewal_that_matched_no_row_is_a_fence(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 2, 1);
	a = start_settled(world, A, "a");
	world->now_us += 4000000; /* renewal and look are due; the former comes first */
	world->db.rows[1].epoch += 7;
	instance_tick(a);
	assert_int_equal(a->lost_fenced, 1);
	assert_int_equal(a->lost_time, 0);
	assert_int_equal(world_owner(world, 0), A);
	assert_int_equal(world_owner(world, 1), -1);
}

/* An instance that lets go by itself (fenced, failed) gets the partition again, but not in a hot
 * loop. */
static void test_what_was_let_go_is_acquired_again_after_a_pause(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 1, 1);
	a = start_settled(world, A, "a");
	for (int i = 0; i < 200; i++) {
		if (a->works[0].mine) {
			a->works[0].mine = false;
			a->works[0].flush_end = 0;
			world->offsets[0].locked_by = NULL;
			leader_drained(a->leader, 0);
		}
		world_run(world, 50);
	}
	assert_in_range(a->acquired, 7, 11); /* in 10 s */
	assert_true(a->calls < 300);
}

/* Acquiring ------------------------------------------------------------------------------------ */

/*
 * The COMMIT of an acquire was executed and its answer lost.  The epoch in the row is ours by name,
 * but is never believed in: it is released, and the partition acquired under a new one.
 */
static void test_an_acquire_without_an_answer_is_not_adopted(void **state)
{
	struct world *world = *state;
	struct instance *a;
	int64_t lost_epoch;

	world_init(world, 1, 1);
	a = world_start(world, A, "a", NULL, 0);
	while (world->db.rows[0].epoch == 0) {
		/* prepare, announce, read: the fourth call is the acquire */
		a->store->lose_answer = a->calls >= 6;
		tick_alone(a);
	}
	lost_epoch = world->db.rows[0].epoch;
	assert_false(a->works[0].mine);
	assert_int_equal(a->failures, 1);
	assert_in_range(until_owner(world, 0, A, 3000), 0, 500);
	assert_true(a->works[0].epoch > lost_epoch);
	assert_int_equal(a->acquired, 1);
}

/* And a stop does not leave it behind. */
static void test_a_stop_releases_what_was_acquired_without_an_answer(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 1, 1);
	a = world_start(world, A, "a", NULL, 0);
	while (world->db.rows[0].epoch == 0) {
		a->store->lose_answer = a->calls >= 6;
		tick_alone(a);
	}
	leader_stop(a->leader);
	world_run(world, 500);
	assert_false(a->running);
	assert_int_equal(a->acquired, 0);
	assert_true(world->db.rows[0].expires_us < world->now_us);
}

/* The same, but the COMMIT takes effect only after the view was read again. */
static void test_an_acquire_that_takes_effect_late_is_found(void **state)
{
	struct world *world = *state;
	struct instance *a;
	struct lease_db_row *row;
	int calls;

	world_init(world, 1, 1);
	a = world_start(world, A, "a", NULL, 0);
	row = &world->db.rows[0];
	while (a->failures == 0) {
		a->store->fail_before = a->calls >= 6;
		tick_alone(a);
	}
	calls = a->calls;
	while (a->calls == calls)
		tick_alone(a); /* looks, and sees nothing */
	strcpy(row->consumer_id, "a");
	row->epoch = world->now_us;
	row->expires_us = world->now_us + WORLD_TTL_MS * 1000;
	world->offsets[0].epoch = row->epoch;
	assert_in_range(until_owner(world, 0, A, 3000), 0, 1000);
	assert_true(a->works[0].epoch == row->epoch);
}

/* A lease in our name that we never tried for (we were restarted under the same id, and the one
 * before may be alive): neither believed in nor taken away; it expires. */
static void test_a_lease_in_our_name_is_no_proof(void **state)
{
	struct world *world = *state;
	struct instance *a;
	int64_t expires_us;

	world_init(world, 2, 1);
	a = start_settled(world, A, "a");
	world_run(world, 1000);
	world_kill(a);
	expires_us = world->db.rows[0].expires_us;
	a = world_start(world, A, "a", NULL, 0);
	while (world->now_us < expires_us) {
		assert_int_equal(a->acquired, 0);
		assert_int_equal(world->db.rows[0].expires_us, expires_us);
		world_step(world);
	}
	assert_in_range(until_owner(world, 0, A, 1000), 0, 500);
}

static void slow_call(void *context, bool lock)
{
	struct instance *instance = context;

	instance->world->now_us += 150000;
}

/*
 * Stopped owners hold the locks of some rows: an attempt waits up to a second and more, and yet no
 * renewal of the others is late, however short the TTL, and the others are not kept waiting.
 */
static void slow_lock(void *context, bool lock)
{
	struct instance *instance = context;

	instance->calls++;
	instance->world->now_us += lock ? (int64_t)world_draw(instance->world, 1400000) : 1000;
}

static void locked_rows(struct world *world, int64_t ttl_ms, int32_t locked)
{
	struct instance *a;
	int lock;

	world_init(world, 8, 1);
	world->ttl_ms = ttl_ms;
	for (int32_t p = 0; p < locked; p++)
		world->offsets[p].locked_by = &lock;
	a = world_start(world, A, "a", NULL, 0);
	a->store->on_wait = slow_lock;
	world_run(world, 600000);
	assert_int_equal(world_owned(world, A), 8 - locked);
	assert_int_equal(a->lost_time, 0);
	assert_int_equal(a->acquired, 8 - locked);
	assert_in_range(a->failures, 250, 1400); /* it is said each time */
	for (int32_t p = 0; p < locked; p++)
		world->offsets[p].locked_by = NULL;
	assert_in_range(world_settle(world, 5000), 0, 1800);
	assert_int_equal(world_owned(world, A), 8);
}

static void test_locked_rows_do_not_delay_renewals(void **state)
{
	locked_rows(*state, WORLD_TTL_MS, 3);
}

static void test_a_locked_row_does_not_delay_renewals_of_a_short_ttl(void **state)
{
	locked_rows(*state, 3000, 1);
}

/* A deadlock, or a server that does not wait for locks: no hot loop. */
static void no_time(void *context, bool lock)
{
}

static void test_a_lock_that_is_refused_at_once_is_asked_for_calmly(void **state)
{
	struct world *world = *state;
	struct instance *a;
	int lock;

	world_init(world, 2, 1);
	world->offsets[0].locked_by = &lock;
	a = world_start(world, A, "a", NULL, 0);
	a->store->on_wait = no_time;
	world_run(world, 13000);
	assert_in_range(a->failures, 8, 11);
}

/* One partition whose rows are broken keeps nobody from acquiring the others. */
static const struct lease_store_ops *sound_ops;

static int broken_acquire(struct lease_store *store, const char *consumer_id, int32_t partition,
	int64_t ttl_ms, int64_t *ret_epoch, struct error *err)
{
	if (partition == 0)
		return error_set(err, -EIO, "partition 0 is broken");
	return sound_ops->acquire(store, consumer_id, partition, ttl_ms, ret_epoch, err);
}

static void test_a_partition_that_cannot_be_acquired_is_not_in_the_way(void **state)
{
	struct world *world = *state;
	static struct lease_store_ops ops; /* outlives a test that fails */
	struct instance *a;

	world_init(world, 8, 1);
	a = world_start(world, A, "a", NULL, 0);
	sound_ops = a->store->store.ops;
	ops = *sound_ops;
	ops.acquire = broken_acquire;
	a->store->store.ops = &ops;
	world_run(world, 500);
	assert_int_equal(world_owned(world, A), 7);
	world_run(world, 30000);
	assert_in_range(a->failures, 30, 110);
	a->store->store.ops = sound_ops;
}

/* Each call takes longer than the time between two looks: all is acquired even so. */
static void test_a_slow_database_does_not_starve_acquires(void **state)
{
	struct world *world = *state;

	world_init(world, 8, 1);
	world_start(world, A, "a", NULL, 0)->store->on_wait = slow_call;
	assert_in_range(world_settle(world, 20000), 0, 10000);
}

/* And all the acquiring does not keep it from seeing that another has come. */
static void test_acquires_do_not_starve_looks(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 64, 1);
	a = world_start(world, A, "a", NULL, 0);
	a->store->on_wait = slow_call;
	world_run(world, 2000);
	world_start(world, B, "b", NULL, 0)->store->on_wait = slow_call;
	world_run(world, 60000);
	assert_true(world_settled(world));
	assert_in_range(a->acquired, 32, 40);
}

static void test_a_halted_partition_is_nobodys_until_resumed(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 2, 1);
	a = start_settled(world, A, "a");
	world_run(world, 1000);
	world->offsets[0].halted = true; /* its owner writes that, and lets go */
	world_run(world, 30000);
	assert_false(a->works[0].mine);
	assert_int_equal(world_owner(world, 0), -1);
	assert_true(world->db.rows[0].expires_us < world->now_us);
	assert_true(world_settled(world));
	world->offsets[0].halted = false;
	assert_in_range(until_owner(world, 0, A, 2000), 0, 1000);
}

/* Steps until the borrower is in this state, or fails. */
static int64_t until_borrower(struct world *world, const struct borrower *borrower,
	enum lease_borrow_state state, int64_t limit_ms)
{
	int64_t begun_us = world->now_us;

	while (lease_borrow_state(borrower->borrow) != state) {
		assert_true(world->now_us < begun_us + limit_ms * 1000);
		world_step(world);
	}
	return (world->now_us - begun_us) / 1000;
}

static void until_given_back(struct world *world, struct borrower *borrower)
{
	borrower->returning = true;
	while (borrower->running)
		world_step(world);
}

static void test_a_borrower_gets_the_partition_after_a_flush_and_gives_it_back(void **state)
{
	struct world *world = *state;
	struct borrower *borrower;
	struct instance *a;

	world_init(world, 2, 1);
	a = start_settled(world, A, "a");
	start_settled(world, B, "b");
	borrower = world_borrow(world, 0, "replay", 0);
	assert_in_range(until_borrower(world, borrower, LEASE_BORROW_HELD, 2000), 1, 1500);
	assert_true(lease_borrow_epoch(borrower->borrow) > world->last_epoch[0]);
	assert_int_equal(world_owner(world, 0), -1);
	assert_int_equal(a->surplus + world->instances[B].surplus, a->works[1].mine ? 2 : 1);
	assert_int_equal(a->lost_fenced + a->lost_time, 0);
	world_run(world, 5 * WORLD_TTL_MS);
	assert_true(borrower_valid(borrower));
	assert_true(borrower->commits > 100);
	assert_int_equal(world_owner(world, 0), -1);
	assert_int_equal(world_owned(world, A) + world_owned(world, B), 1);
	until_given_back(world, borrower);
	world_run(world, 600);
	assert_true(world_owner(world, 0) >= 0);
	assert_true(world_settled(world));
}

static void test_nobody_is_forced_a_borrower_waits(void **state)
{
	struct world *world = *state;
	struct borrower *borrower;
	struct instance *a;

	world_init(world, 1, 1);
	a = start_settled(world, A, "a");
	a->reluctant = true;
	borrower = world_borrow(world, 0, "replay", 0);
	world_run(world, 3 * WORLD_TTL_MS);
	assert_int_equal(lease_borrow_state(borrower->borrow), LEASE_BORROW_ASKING);
	assert_string_equal(lease_borrow_rival(borrower->borrow), "a");
	a->reluctant = false;
	assert_in_range(until_borrower(world, borrower, LEASE_BORROW_HELD, 2000), 1, 1000);
}

static void test_the_second_borrower_is_told_who_asks(void **state)
{
	struct world *world = *state;
	struct borrower *first;
	struct borrower *second;

	world_init(world, 1, 1);
	start_settled(world, A, "a");
	first = world_borrow(world, 0, "replay-1", 0);
	world_run(world, 100);
	second = world_borrow(world, 1, "replay-2", 0);
	until_borrower(world, second, LEASE_BORROW_REFUSED, 1000);
	assert_string_equal(lease_borrow_rival(second->borrow), "replay-1");
	until_given_back(world, second);
	assert_string_equal(world->db.rows[0].requested_by, "replay-1");
	until_borrower(world, first, LEASE_BORROW_HELD, 2000);
}

static void test_a_killed_borrower_is_forgotten(void **state)
{
	struct world *world = *state;
	struct borrower *borrower;
	struct instance *a;

	world_init(world, 1, 1);
	a = start_settled(world, A, "a");
	a->reluctant = true;
	borrower = world_borrow(world, 0, "replay", 0);
	world_run(world, 1000);
	world_kill_borrower(borrower); /* while it waits */
	a->reluctant = false;
	until_unowned(world, 0, 1000);
	assert_in_range(until_owner(world, 0, A, 20000), 0, LEASE_REQUEST_MS + 1000);
	borrower = world_borrow(world, 0, "replay-2", 0);
	until_borrower(world, borrower, LEASE_BORROW_HELD, 2000);
	world_run(world, 20000);
	world_kill_borrower(borrower); /* while it works */
	assert_in_range(until_owner(world, 0, A, 20000), 6000, WORLD_TTL_MS + 1000);
}

static void test_a_borrower_that_cannot_renew_stops_by_its_own_clock(void **state)
{
	struct world *world = *state;
	struct borrower *borrower;

	world_init(world, 1, 1);
	start_settled(world, A, "a");
	borrower = world_borrow(world, 0, "replay", 0);
	until_borrower(world, borrower, LEASE_BORROW_HELD, 2000);
	world_run(world, 10);
	borrower->store->unreachable = true;
	assert_in_range(until_borrower(world, borrower, LEASE_BORROW_LOST, 10000),
		WORLD_TTL_MS / 3 - 100, WORLD_TTL_MS * 2 / 3 + 100);
	assert_true(world->db.rows[0].expires_us > world->now_us);
	borrower->store->unreachable = false;
	until_given_back(world, borrower);
	assert_in_range(until_owner(world, 0, A, 2000), 0, 1000);
}

static void test_a_lost_answer_costs_a_borrower_a_moment(void **state)
{
	struct world *world = *state;
	struct borrower *borrower;

	world_init(world, 1, 1);
	borrower = world_borrow(world, 0, "replay", 0);
	world->db.row_count = 1;
	while (borrower->calls < 2) /* the request */
		world_step(world);
	borrower->store->lose_answer = 1; /* of the acquire */
	assert_in_range(until_borrower(world, borrower, LEASE_BORROW_HELD, 2000), 1, 1000);
	assert_int_equal(lease_borrow_epoch(borrower->borrow), world->db.rows[0].epoch);
}

static void test_a_halted_partition_can_be_borrowed_and_stays_halted(void **state)
{
	struct world *world = *state;
	struct borrower *borrower;

	world_init(world, 1, 1);
	start_settled(world, A, "a");
	world->offsets[0].halted = true;
	until_unowned(world, 0, 2000);
	borrower = world_borrow(world, 0, "replay", 0);
	until_borrower(world, borrower, LEASE_BORROW_HELD, 2000);
	world_run(world, 2000);
	assert_true(borrower->commits > 0);
	until_given_back(world, borrower);
	world_run(world, 2000);
	assert_true(world->offsets[0].halted);
	assert_int_equal(world_owner(world, 0), -1);
}

static void test_a_foreign_offset_or_epoch_ends_a_borrowing(void **state)
{
	struct world *world = *state;
	struct borrower *borrower;

	world_init(world, 2, 1);
	start_settled(world, A, "a");
	borrower = world_borrow(world, 0, "replay", 0);
	until_borrower(world, borrower, LEASE_BORROW_HELD, 2000);
	world_run(world, 100);
	world->offsets[0].next_offset += 5;
	assert_in_range(until_borrower(world, borrower, LEASE_BORROW_LOST, 10000), 0,
		WORLD_TTL_MS / 3 + 100);
	borrower = world_borrow(world, 1, "replay-2", 1);
	until_borrower(world, borrower, LEASE_BORROW_HELD, 2000);
	world->db.rows[1].epoch++;
	assert_in_range(until_borrower(world, borrower, LEASE_BORROW_LOST, 10000), 0,
		WORLD_TTL_MS / 3 + 100);
}

static void test_rows_that_were_deleted_are_made_again(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 4, 1);
	a = start_settled(world, A, "a");
	world_run(world, 1000);
	world->db.row_count = 3;
	world_run(world, 2000);
	assert_in_range(a->failures, 1, 3);
	assert_int_equal(world->db.row_count, 4);
	assert_true(world_settled(world));
}

static void test_a_store_that_fails_is_asked_calmly_and_not_forgotten(void **state)
{
	struct world *world = *state;
	struct instance *a;

	world_init(world, 4, 1);
	a = world_start(world, A, "a", NULL, 0);
	a->unreachable_until_us = world->now_us + 30000000;
	world_run(world, 30000);
	assert_in_range(a->failures, 60, 150);
	assert_in_range(world_settle(world, 5000), 0, 1000);
}

/* Every order ---------------------------------------------------------------------------------- */

enum happening {
	TIME_PASSES,
	MUCH_TIME_PASSES,
	LETS_GO,
	FENCED,
	OFFSET_MOVES,
	HALT_OR_RESUME,
	ANSWER_IS_LOST,
	CUT_OFF,
	ANOTHER_COMES_OR_GOES,
	STOP,
	HAPPENINGS,
};

static void happen(struct world *world, enum happening what)
{
	struct instance *a = &world->instances[A];

	if (what == FENCED || what == OFFSET_MOVES)
		world->offsets[0].locked_by = NULL; /* the server has ended the transaction */
	switch (what) {
	case TIME_PASSES:
		world_run(world, 300);
		break;
	case MUCH_TIME_PASSES:
		world_run(world, 11000);
		break;
	case LETS_GO:
		a->reluctant = !a->reluctant;
		break;
	case FENCED:
		world->db.rows[0].epoch++;
		world->offsets[0].epoch++;
		world->last_epoch[0]++;
		break;
	case OFFSET_MOVES:
		world->offsets[0].next_offset++;
		break;
	case HALT_OR_RESUME:
		world->offsets[0].halted = !world->offsets[0].halted;
		break;
	case ANSWER_IS_LOST:
		if (a->running)
			a->store->lose_answer++;
		break;
	case CUT_OFF:
		a->unreachable_until_us = world->now_us + 8000000;
		break;
	case ANOTHER_COMES_OR_GOES:
		if (!world->instances[B].running)
			world_start(world, B, "b", NULL, 0);
		else
			leader_stop(world->instances[B].leader);
		break;
	case STOP:
		if (a->running)
			leader_stop(a->leader);
		break;
	case HAPPENINGS:
		break;
	}
}

/* All sequences of four: the leader's table of transitions and the world's checks hold, and in the
 * end everybody has let go. */
static void run_sequence(struct world *world, unsigned sequence)
{
	world_init(world, 2, sequence);
	world->latency_us_max = 1;
	world_start(world, A, "a", NULL, 0);
	world_run(world, sequence % 2 ? 50 : 0);
	for (unsigned rest = sequence; rest; rest /= HAPPENINGS) {
		happen(world, rest % HAPPENINGS);
		world_run(world, 60);
	}
	world->instances[A].reluctant = false;
	for (int i = A; i <= B; i++) {
		if (world->instances[i].running)
			leader_stop(world->instances[i].leader);
	}
	for (int i = 0; world->instances[A].running || world->instances[B].running; i++) {
		if (i > 3000)
			fail_msg("sequence %u does not end", sequence);
		world_step(world);
	}
	world_finish(world);
}

static void test_every_order_of_what_may_happen(void **state)
{
	struct world *world = xcalloc(1, sizeof(*world));

	for (unsigned sequence = 0; sequence < 10 * 10 * 10 * 10; sequence++)
		run_sequence(world, sequence);
	free(world);
}

#define story(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		story(test_a_single_instance_owns_all_at_once),
		story(test_a_newcomer_gets_its_half_within_a_second),
		story(test_three_share_evenly_and_stay_as_they_are),
		story(test_restricted_members_get_only_what_they_may),
		story(test_a_slow_hand_over_gives_up_no_more_than_the_surplus),
		story(test_a_killed_ones_partitions_are_taken_soon_after_they_expire),
		story(test_a_clean_stop_hands_over_at_once),
		story(test_a_stop_hands_over_each_as_it_has_drained),
		story(test_stopping_before_anything_was_done_needs_no_database),
		story(test_a_stop_without_a_database_ends_after_the_ttl),
		story(test_a_stop_with_a_database_that_hangs_ends_after_the_ttl),
		story(test_a_stop_waits_for_what_has_not_drained),
		story(test_an_owner_cut_off_stops_at_two_thirds_of_the_ttl),
		story(test_a_cut_of_half_the_ttl_loses_nothing),
		story(test_belief_is_counted_from_before_the_renewal_was_sent),
		story(test_waking_from_suspension_drops_everything_first),
		story(test_an_idle_owner_notices_an_offset_that_went_back),
		story(test_an_offset_from_nowhere_is_noticed_too),
		story(test_a_new_epoch_is_noticed_at_the_next_look),
		story(test_another_epoch_alone_is_noticed_at_the_next_look),
		story(test_a_renewal_that_matched_no_row_is_a_fence),
		story(test_what_was_let_go_is_acquired_again_after_a_pause),
		story(test_an_acquire_without_an_answer_is_not_adopted),
		story(test_a_stop_releases_what_was_acquired_without_an_answer),
		story(test_an_acquire_that_takes_effect_late_is_found),
		story(test_a_lease_in_our_name_is_no_proof),
		story(test_locked_rows_do_not_delay_renewals),
		story(test_a_locked_row_does_not_delay_renewals_of_a_short_ttl),
		story(test_a_lock_that_is_refused_at_once_is_asked_for_calmly),
		story(test_a_partition_that_cannot_be_acquired_is_not_in_the_way),
		story(test_a_slow_database_does_not_starve_acquires),
		story(test_acquires_do_not_starve_looks),
		story(test_a_halted_partition_is_nobodys_until_resumed),
		story(test_a_borrower_gets_the_partition_after_a_flush_and_gives_it_back),
		story(test_nobody_is_forced_a_borrower_waits),
		story(test_the_second_borrower_is_told_who_asks),
		story(test_a_killed_borrower_is_forgotten),
		story(test_a_borrower_that_cannot_renew_stops_by_its_own_clock),
		story(test_a_lost_answer_costs_a_borrower_a_moment),
		story(test_a_halted_partition_can_be_borrowed_and_stays_halted),
		story(test_a_foreign_offset_or_epoch_ends_a_borrowing),
		story(test_rows_that_were_deleted_are_made_again),
		story(test_a_store_that_fails_is_asked_calmly_and_not_forgotten),
		cmocka_unit_test(test_every_order_of_what_may_happen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
