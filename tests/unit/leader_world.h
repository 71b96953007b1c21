/*
 * A world for leaders: one database, one time, some instances with a leader each, and what an
 * instance does with its partitions reduced to what the lease is for: recover, flush in two steps
 * (the transaction is open in between), let go.  Beside them borrowers (lease_borrow.h), whose
 * transactions leave the offset where it is, as a replay's do.
 *
 * The world checks at every step what must hold whatever happens:
 * - at most one of them all believes in a partition (unless the database failed over shortly
 * before);
 * - at most one believes in it under the epoch that the database lets commit;
 * - no epoch of a partition is handed out twice, and each is above all before it;
 * - a partition is acquired, surplus and lost in this order, each at most once, until it is let go.
 */
#ifndef TESTS_LEADER_WORLD_H
#define TESTS_LEADER_WORLD_H

#include "leader.h"
#include "lease_borrow.h"
#include "lease_store_memory.h"

#define WORLD_PARTITIONS_MAX 64
#define WORLD_INSTANCES_MAX  4
#define WORLD_BORROWERS_MAX  2
#define WORLD_TTL_MS         10000
#define WORLD_STEP_US        5000

struct work {
	bool mine; /* from `acquired` until leader_drained */
	bool surplus;
	bool lost;
	int64_t epoch;
	int64_t acquired_us;
	bool known; /* recovered: next_offset was read */
	int64_t next_offset;
	int64_t flush_end; /* of the open transaction; 0: there is none */
	int64_t flush_begun_us;
	bool commit_unknown; /* flush_end was committed, or not */
};

struct instance {
	struct world *world;
	bool running;
	char consumer_id[LEASE_CONSUMER_ID_MAX + 1];
	struct leader *leader;
	struct lease_store_memory *store;
	struct work works[WORLD_PARTITIONS_MAX];
	int64_t boot_us;       /* when its clock read 0 */
	int64_t clock_percent; /* how fast it runs: 100, or not quite */
	int64_t tick_us;       /* the next one */
	int64_t paused_until_us;
	int64_t unreachable_until_us;
	bool idle;      /* flushes nothing */
	bool reluctant; /* does not finish draining */
	/* What happened so far. */
	int calls;
	int failures;
	int acquired;
	int surplus;
	int lost_fenced;
	int lost_time;
};

struct borrower {
	struct world *world;
	bool running;
	int32_t partition;
	struct lease_borrow *borrow;
	struct lease_store_memory *store;
	int64_t boot_us;
	int64_t tick_us;
	int64_t paused_until_us;
	int64_t begun_us; /* of the open transaction; 0: there is none */
	int64_t commits;
	bool returning;
	int calls;
};

struct world {
	int64_t now_us;
	int64_t ttl_ms; /* WORLD_TTL_MS; of those started from now on */
	int32_t partitions;
	struct partition_offset_row offsets[WORLD_PARTITIONS_MAX];
	struct lease_db db;
	int64_t last_epoch[WORLD_PARTITIONS_MAX]; /* of all ever told */
	struct instance instances[WORLD_INSTANCES_MAX];
	struct borrower borrowers[WORLD_BORROWERS_MAX];
	int64_t borrowed;          /* how often one has got its partition */
	int64_t latency_us_max;    /* of each half of a call */
	int64_t hang_us_max;       /* one call in a hundred takes up to this; 0: none does */
	int64_t doubtful_until_us; /* a fail-over: two may believe for a while */
	int64_t commits;
	uint64_t random;
	uint64_t seed;
};

void world_init(struct world *world, int32_t partitions, uint64_t seed);
void world_finish(struct world *world);
uint64_t world_draw(struct world *world, uint64_t limit);

/* list NULL: may own all. */
struct instance *world_start(
	struct world *world, int index, const char *consumer_id, const int32_t *list, size_t count);

/* SIGKILL: its open transactions are rolled back, its rows stay. */
void world_kill(struct instance *instance);

/* It begins to ask, under this name; once `returning` is set it gives back, and has ended. */
struct borrower *world_borrow(struct world *world, int index, const char *who, int32_t partition);

/* SIGKILL. */
void world_kill_borrower(struct borrower *borrower);

/* The borrower believes in its partition now. */
bool borrower_valid(const struct borrower *borrower);

void world_step(struct world *world);
void world_run(struct world *world, int64_t ms);

/* The instance that believes in the partition now; -1: none. */
int world_owner(const struct world *world, int32_t partition);
int world_owned(const struct world *world, int index);

/* Every instance that runs is settled, and every partition that may be owned is. */
bool world_settled(const struct world *world);

/* Runs until settled; how long that took, or fails after limit_ms. */
int64_t world_settle(struct world *world, int64_t limit_ms);

/* The database as it is, to come back to it later.  Freed with world_forget. */
struct lease_db *world_copy(const struct world *world);
void world_fail_over(struct world *world, const struct lease_db *copy);
void world_forget(struct lease_db *copy);

int64_t instance_now_ms(const struct instance *instance);
void instance_tick(struct instance *instance);
bool instance_valid(const struct instance *instance, int32_t partition);

#endif
