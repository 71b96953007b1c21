/* See failover.h. */
#include "failover.h"

#include <inttypes.h>
#include <stdlib.h>

#include "checkers.h"
#include "mem.h"
#include "node.h"
#include "relays.h"

#define CLOCKS_APART_US 2000000            /* the two servers' */
#define IDLE_MAX_US     INT64_C(200000000) /* by then the owners have noticed, or gone on */

struct standby {
	struct memory_database db;
	struct lease_db leases;
	struct partition_offset_row offsets[WORLD_PARTITIONS_MAX];
	uint64_t since; /* the step at which it has stopped following */
};

static void stop_following(struct world *w)
{
	struct standby *standby = w->standby = xcalloc(1, sizeof *standby);

	standby->since = w->steps;
	memory_database_copy(&standby->db, &w->db, standby->offsets);
	lease_store_memory_db_init(&standby->leases, standby->offsets, w->partitions, NULL, NULL);
	lease_store_memory_db_restore(&standby->leases, &w->leases);
	if (w->relays)
		relays_stop_following(w->relays);
}

void failover_finish(struct world *w)
{
	if (!w->standby)
		return;
	lease_store_memory_db_finish(&w->standby->leases);
	memory_database_finish(&w->standby->db);
	free(w->standby);
	w->standby = NULL;
}

static void count(struct world *w)
{
	bool flushing = false;

	for (int i = 0; i < w->node_count; i++)
		flushing |= node_flushes(w->nodes[i]);
	world_count(w, FAULT_DB_FAILED_OVER);
	if (flushing)
		world_count(w, FAULT_DB_FAILED_OVER_FLUSHING);
	if (w->calm)
		world_count(w, FAULT_DB_FAILED_OVER_IDLE);
}

/* What the checkers know of a partition whose rows go back. */
static void go_back(struct world *w, int32_t p)
{
	const struct partition_offset_row *now = &w->offsets[p];
	const struct partition_offset_row *then = &w->standby->offsets[p];

	if (then->next_offset < now->next_offset)
		world_count(w, FAULT_DB_WENT_BACK);
	if (then->epoch < now->epoch)
		world_count(w, FAULT_DB_LOST_EPOCH);
	world_trace(w,
		"partition %d: next_offset goes back from %" PRId64 " to %" PRId64
		", the epoch from %" PRId64 " to %" PRId64,
		p, now->next_offset, then->next_offset, now->epoch, then->epoch);
	w->checked_rows[p] = w->checked_dead[p] = w->checked_offset[p] = 0;
	w->checked_epoch[p] = then->epoch;
}

static void take_over(struct world *w)
{
	struct standby *standby = w->standby;

	world_trace(w,
		"the database fails over to a copy as it was at step %" PRIu64
		", behind by %" PRIu64 " flushes",
		standby->since, w->db.commits - standby->db.commits);
	count(w);
	for (int32_t p = 0; p < w->partitions; p++)
		go_back(w, p);
	lease_store_memory_db_restore(&w->leases, &standby->leases);
	memory_database_fail_over(&w->db, &standby->db);
	if (w->relays)
		relays_fail_over(w->relays);
	w->server_skew_us += random_between(&w->random, -CLOCKS_APART_US, CLOCKS_APART_US);
	world_doubt_leases(w);
	failover_finish(w);
	check_step(w);
}

/* More often while an owner is about to ask for the row of an old duplicate: it may be gone. */
static int64_t chance(const struct world *w)
{
	for (int i = 0; i < w->node_count; i++)
		if (node_relearns(w->nodes[i]))
			return 30 * w->rates.fail_over;
	return w->rates.fail_over;
}

void failover_step(struct world *w)
{
	if (!w->standby && random_chance(&w->random, w->rates.standby))
		stop_following(w);
	else if (w->standby && random_chance(&w->random, chance(w)))
		take_over(w);
}

static bool is_behind(const struct world *w)
{
	for (int32_t p = 0; p < w->partitions; p++)
		if (w->standby->offsets[p].next_offset < w->offsets[p].next_offset)
			return true;
	return false;
}

void failover_visit(struct world *w)
{
	int64_t end_us = w->now_us + IDLE_MAX_US;
	uint64_t commits;

	if (!w->standby || !is_behind(w))
		return;
	take_over(w);
	commits = w->db.commits;
	while (!world_at_rest(w)) {
		world_step(w);
		if (w->db.commits != commits)
			end_us = w->now_us + IDLE_MAX_US;
		commits = w->db.commits;
		if (w->now_us > end_us)
			world_fail(w, "idle owners have not noticed that the database went back");
	}
}
