/* Several publishers through random faults with a seed, held to what publisher_world.h checks. */
#include "publisher_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t random_below(struct world *w, uint64_t bound)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % bound;
}

/* A partition gets an owner: by a hand-over, or from one that does not know it yet. */
static void random_handover(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int owner = (int)random_below(w, OWNERS);
	struct partition_truth *truth = &w->truth[partition];

	if (!w->pubs[owner])
		return;
	if (truth->owner >= 0 && random_below(w, 2))
		world_end(w, truth->owner, partition);
	world_begin_with(w, owner, partition, random_below(w, 8) == 0);
}

static void random_crash(struct world *w)
{
	int owner = (int)random_below(w, OWNERS);

	if (w->pubs[owner])
		world_crash(w, owner);
	world_start(w, owner);
}

static void random_end(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int owner = (int)random_below(w, OWNERS);

	if (w->truth[partition].began[owner])
		world_end(w, owner, partition);
}

static void random_commit(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int64_t first = partition + PARTITIONS * (1 + (int64_t)random_below(w, 30));

	if (w->truth[partition].owner >= 0)
		world_commit(w, first, 1 + random_below(w, 12));
}

static void random_meanwhile(struct world *w)
{
	switch (random_below(w, 8)) {
	case 0:
		random_end(w);
		break;
	case 1:
		random_handover(w);
		break;
	case 2:
	case 3:
		random_commit(w);
		break;
	}
}

static void random_steps(struct world *w)
{
	w->meanwhile = random_below(w, 2) ? random_meanwhile : NULL;
	for (uint64_t i = random_below(w, 12); i; i--) {
		int owner = (int)random_below(w, OWNERS);

		if (w->pubs[owner])
			publisher_step(w->pubs[owner], w->now_ms);
		world_check(w);
	}
	w->meanwhile = NULL;
}

/* A version that an owner once published: whatever happens to Redis, it is never missed there. */
static void random_probe(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int owner = (int)random_below(w, OWNERS);
	const struct partition_truth *truth = &w->truth[partition];
	struct publisher_probe probes[PUBLISHER_PROBES_MAX] = {0};
	size_t count;

	if (!w->pubs[owner] || !truth->began[owner])
		return;
	for (count = 0; count < 4 && truth->count; count++) {
		const struct change *c = &truth->changes[random_below(w, truth->count)];

		probes[count].image = (struct snapshot_image){world_key(c->account_id),
			world_available(c->account_id, c->version), 7, c->version, w->now_ms};
		probes[count].last_offset = c->offset;
	}
	publisher_probe(w->pubs[owner], partition, probes, count);
	for (int i = 0; i < 4; i++)
		random_steps(w);
	if (!w->truth[partition].began[owner])
		return;
	count = publisher_probed(w->pubs[owner], partition, probes);
	for (size_t i = 0; i < count; i++) {
		const struct snapshot_image *found = &probes[i].found;

		w->probed += probes[i].covered;
		if (probes[i].covered && found->version < probes[i].image.version)
			fail_msg("account %" PRId64 " is missed in vain: version %" PRId64
				 " of %" PRId64,
				found->key.account_id, found->version, probes[i].image.version);
	}
}

static void random_fault(struct world *w)
{
	struct snapshot_memory_faults *faults = snapshot_memory_faults(w->server);
	struct snapshot_memory_copy *copy;

	switch (random_below(w, 12)) {
	case 0:
		snapshot_memory_flushall(w->server);
		break;
	case 1:
		snapshot_memory_restart(w->server);
		break;
	case 2:
		snapshot_memory_fail_over(w->server, random_below(w, 30));
		break;
	case 3:
		snapshot_memory_fail_over(w->server, random_below(w, 30));
		snapshot_memory_cut(w->server);
		break;
	case 4:
		snapshot_memory_cut(w->server);
		break;
	case 5:
		faults->unreachable = !faults->unreachable;
		break;
	case 6:
		faults->publishes = 1 + (unsigned)random_below(w, 3);
		faults->publish_written = random_below(w, SLICE + 1);
		break;
	case 7:
		faults->markers_refused = 1;
		break;
	case 8:
		faults->markers_unsettled = 1;
		break;
	case 9:
		faults->connects = 1 + (unsigned)random_below(w, 3);
		break;
	case 10:
		w->table.failures = 1 + (unsigned)random_below(w, 3);
		break;
	case 11:
		copy = snapshot_memory_save(w->server);
		random_commit(w);
		random_steps(w);
		snapshot_memory_restore(w->server, copy);
		snapshot_memory_copy_destroy(copy);
		break;
	}
}

static void random_life(struct world *w)
{
	for (int i = 0; i < 150; i++) {
		uint64_t die = random_below(w, 100);

		if (die < 40)
			random_commit(w);
		else if (die < 50)
			random_handover(w);
		else if (die < 53)
			random_crash(w);
		else if (die < 57)
			random_end(w);
		else if (die < 67)
			random_fault(w);
		else if (die < 80)
			random_probe(w);
		w->now_ms += (int64_t)random_below(w, 200);
		world_check(w);
		random_steps(w);
	}
}

/* When everything works again, and each partition has one owner, Redis becomes equal. */
static void heal(struct world *w)
{
	*snapshot_memory_faults(w->server) = (struct snapshot_memory_faults){0};
	w->table.failures = 0;
	for (int owner = 0; owner < OWNERS; owner++)
		if (w->pubs[owner])
			world_crash(w, owner);
	world_start(w, 0);
	for (int32_t i = 0; i < PARTITIONS; i++)
		world_begin(w, 0, i);
	world_run_for(w, 2 * CHECK_MS);
	for (int32_t i = 0; i < PARTITIONS; i++)
		world_assert_complete(w, i);
}

static void test_random_faults(void **state)
{
	const char *seed_text = getenv("PUBLISHER_SEED");
	const char *rounds_text = getenv("PUBLISHER_LIVES");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	uint64_t lives = rounds_text ? strtoull(rounds_text, NULL, 10) : 200;

	uint64_t probed = 0;

	(void)state;
	for (uint64_t life = seed; life < seed + lives; life++) {
		static struct world world;

		print_message("# PUBLISHER_SEED=%" PRIu64 " PUBLISHER_LIVES=1\n", life);
		world_init(&world);
		world.random = life * UINT64_C(0x9e3779b97f4a7c15) | 1;
		world.config.pending_max = 20 + random_below(&world, 60);
		world_crash(&world, 0);
		world_start(&world, 0);
		random_life(&world);
		heal(&world);
		world_finish(&world);
		probed += world.probed;
	}
	print_message("# %" PRIu64 " probes that count\n", probed);
	assert_true(probed >= lives / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_faults),
	};

	return cmocka_run_group_tests(tests, world_group_set_up, world_group_tear_down);
}
