/*
 * Leaders in a world where everything happens, by seed: pauses longer than the TTL, a database that
 * is out of reach, answers lost, calls that hang, clocks a fifth too fast or slow, SIGKILL, clean
 * stops, restarts under the same id, fail-overs to a copy that is behind, halts, and borrowers to
 * whom the same things happen.
 *
 * What must hold at every step the world checks itself (leader_world.h).  Here we check what must
 * hold afterwards: once it is calm, everything that may be owned is, in fair shares.
 *
 * LEADER_SEED=n runs that one seed; LEADER_SEEDS=n so many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "leader_world.h"
#include "mem.h"

#define PARTITIONS  8
#define INSTANCES   3
#define CHAOS_STEPS 30000 /* 150 s and what the calls take */
#define SEEDS       60

static void start_any(struct world *world, int index)
{
	int32_t list[PARTITIONS];
	size_t count = 0;
	char id[16];

	/* Half of the time the id of its earlier life, whose leases may not have expired. */
	snprintf(id, sizeof(id), "%c%d", 'a' + index, (int)world_draw(world, 2));
	for (int32_t p = 0; p < PARTITIONS; p++) {
		if (world_draw(world, 4))
			list[count++] = p;
	}
	world_start(world, index, id, world_draw(world, 4) ? NULL : list, count)->clock_percent =
		80 + (int64_t)world_draw(world, 41);
}

static void disturb_instance(struct world *world, struct instance *instance)
{
	int64_t while_us = (int64_t)world_draw(world, 25000000);

	switch (world_draw(world, 8)) {
	case 0:
		instance->paused_until_us = world->now_us + while_us;
		break;
	case 1:
	case 2:
		instance->unreachable_until_us = world->now_us + while_us / 2;
		break;
	case 3:
		instance->store->fail_before += (int)world_draw(world, 3);
		break;
	case 4:
	case 5:
		instance->store->lose_answer += 1 + (int)world_draw(world, 2);
		break;
	case 6:
		leader_stop(instance->leader);
		break;
	case 7:
		world_kill(instance);
		break;
	}
}

static void disturb_database(struct world *world, struct lease_db **copy)
{
	int32_t p = (int32_t)world_draw(world, PARTITIONS);

	switch (world_draw(world, 5)) {
	case 0:
		world_forget(*copy);
		*copy = world_copy(world);
		break;
	case 1:
		if (*copy && world_draw(world, 2))
			world_fail_over(world, *copy);
		break;
	case 2:
		world->offsets[p].halted = true;
		break;
	case 3:
	case 4:
		world->offsets[p].halted = false;
		break;
	}
}

static void borrow_any(struct world *world, int index)
{
	static unsigned number;
	char who[16];

	/* Often the same partition as the other one. */
	snprintf(who, sizeof(who), "replay-%u", ++number);
	world_borrow(world, index, who,
		(int32_t)world_draw(world, world_draw(world, 2) ? 1 : PARTITIONS));
}

static void disturb_borrower(struct world *world, struct borrower *borrower)
{
	switch (world_draw(world, 6)) {
	case 0:
		borrower->paused_until_us = world->now_us + (int64_t)world_draw(world, 25000000);
		break;
	case 1:
		borrower->store->fail_before += (int)world_draw(world, 3);
		break;
	case 2:
		borrower->store->lose_answer += 1 + (int)world_draw(world, 2);
		break;
	case 3:
		world_kill_borrower(borrower);
		break;
	default:
		borrower->returning = true;
		break;
	}
}

static void disturb(struct world *world, struct lease_db **copy)
{
	for (int i = 0; i < INSTANCES; i++) {
		struct instance *instance = &world->instances[i];

		if (!instance->running && world_draw(world, 400) == 0)
			start_any(world, i);
		else if (instance->running && world_draw(world, 600) == 0)
			disturb_instance(world, instance);
	}
	for (int i = 0; i < WORLD_BORROWERS_MAX; i++) {
		struct borrower *borrower = &world->borrowers[i];

		if (!borrower->running && world_draw(world, 800) == 0)
			borrow_any(world, i);
		else if (borrower->running && world_draw(world, 800) == 0)
			disturb_borrower(world, borrower);
	}
	if (world_draw(world, 500) == 0)
		disturb_database(world, copy);
}

static void calm_down(struct world *world)
{
	world->hang_us_max = 0;
	for (int32_t p = 0; p < PARTITIONS; p++)
		world->offsets[p].halted = p == 0 && world_draw(world, 2);
	for (int i = 0; i < INSTANCES; i++) {
		struct instance *instance = &world->instances[i];

		if (instance->running) {
			instance->paused_until_us = 0;
			instance->unreachable_until_us = 0;
			instance->store->fail_before = 0;
			instance->store->lose_answer = 0;
		}
	}
	for (int i = 0; i < WORLD_BORROWERS_MAX; i++) {
		struct borrower *borrower = &world->borrowers[i];

		if (borrower->running && world_draw(world, 2))
			world_kill_borrower(borrower);
		else if (borrower->running)
			borrower->returning = true;
		borrower->paused_until_us = 0;
	}
	world_run(world, LEASE_REQUEST_MS);
	world_run(world, 2 * world->ttl_ms); /* what has to expire does; who stops has gone */
	world_settle(world, 5000);
}

static bool is_unrestricted(const struct world *world, const char *consumer_id)
{
	for (size_t m = 0; m < world->db.member_count; m++) {
		if (strcmp(world->db.members[m].member.consumer_id, consumer_id) == 0)
			return world->db.members[m].member.all;
	}
	return false;
}

/* As long as some instance may own all, each partition that is not halted is owned; and if all may
 * own all, the shares are even. */
static void assert_shared(const struct world *world)
{
	int running = 0;
	int unrestricted = 0;
	int least = PARTITIONS;
	int most = 0;

	for (int i = 0; i < INSTANCES; i++) {
		int owned = world_owned(world, i);

		if (!world->instances[i].running)
			continue;
		running++;
		unrestricted += is_unrestricted(world, world->instances[i].consumer_id);
		least = owned < least ? owned : least;
		most = owned > most ? owned : most;
	}
	for (int32_t p = 0; p < PARTITIONS && unrestricted; p++) {
		if ((world_owner(world, p) < 0) != world->offsets[p].halted)
			fail_msg("seed %lu: partition %d", world->seed, p);
	}
	if (running && unrestricted == running && most > least + 1)
		fail_msg("seed %lu: shares from %d to %d", world->seed, least, most);
}

/* Adds how many flushes were committed, and how often a partition was borrowed. */
static void run_seed(struct world *world, uint64_t seed, int64_t *commits, int64_t *borrowed)
{
	struct lease_db *copy = NULL;

	world_init(world, PARTITIONS, seed);
	world->ttl_ms = (int64_t[]){3000, 10000, 30000}[world_draw(world, 3)];
	world->latency_us_max = 1 + (int64_t)world_draw(world, 20000);
	world->hang_us_max = world_draw(world, 2) ? 12000000 : 0;
	for (int i = 0; i < INSTANCES; i++)
		start_any(world, i);
	for (int i = 0; i < CHAOS_STEPS; i++) {
		disturb(world, &copy);
		world_step(world);
	}
	calm_down(world);
	assert_shared(world);
	*commits += world->commits;
	*borrowed += world->borrowed;
	world_forget(copy);
	world_finish(world);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_whatever_happens(void **state)
{
	struct world *world = xcalloc(1, sizeof(*world));
	uint64_t only = number("LEADER_SEED", 0);
	uint64_t seeds = only ? only : number("LEADER_SEEDS", SEEDS);
	int64_t commits = 0;
	int64_t borrowed = 0;

	for (uint64_t seed = only ? only : 1; seed <= seeds; seed++)
		run_seed(world, seed, &commits, &borrowed);
	assert_true(commits > 1000); /* else nothing was tested */
	assert_true(only || borrowed > (int64_t)seeds);
	free(world);
}

/* When the lease of a partition was renewed last, by the database's clock. */
static int64_t last_renewal_us(const struct world *world, int index)
{
	int64_t last_us = 0;

	for (int32_t p = 0; p < world->partitions; p++) {
		if (world_owner(world, p) == index && world->db.rows[p].expires_us > last_us)
			last_us = world->db.rows[p].expires_us;
	}
	return last_us - WORLD_TTL_MS * 1000;
}

static void test_the_killed_ones_are_replaced_within_a_second_of_expiry(void **state)
{
	struct world *world = xcalloc(1, sizeof(*world));

	for (uint64_t seed = 1; seed <= 200; seed++) {
		int64_t renewed_us;

		world_init(world, 32, seed);
		for (int i = 0; i < INSTANCES; i++)
			world_start(world, i, (const char *[]){"a", "b", "c"}[i], NULL, 0);
		world_run(world, 3000 + (int64_t)world_draw(world, 10000));
		renewed_us = last_renewal_us(world, 1);
		assert_in_range(world_owned(world, 1), 10, 11);
		world_kill(&world->instances[1]);
		while (world_owned(world, 0) + world_owned(world, 2) < 32)
			world_step(world);
		if (world->now_us > renewed_us + (WORLD_TTL_MS + 1000) * 1000)
			fail_msg("seed %lu: after %ld ms", seed,
				(world->now_us - renewed_us) / 1000);
		world_finish(world);
	}
	free(world);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whatever_happens),
		cmocka_unit_test(test_the_killed_ones_are_replaced_within_a_second_of_expiry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
