/*
 * A world for publishers: a Redis in memory, an array for a database, owners that flush.
 *
 * What must hold at every moment (world_check, called after every single step): a marker that says
 * "complete up to M" under the server's present identity is true; Redis has no version that was not
 * committed, and none with other amounts; publisher_offset does not go back and is never beyond the
 * marker that it rests on.
 */
#ifndef TESTS_PUBLISHER_WORLD_H
#define TESTS_PUBLISHER_WORLD_H

#include "array_store.h"
#include "publisher.h"
#include "snapshot_memory.h"

#define PARTITIONS 4
#define CHECK_MS   INT64_C(1000)
#define OWNERS     2
#define PENDING    1000
#define SLICE      ((size_t)4)

/* A balance that got this version by the event at this offset. */
struct change {
	int64_t account_id;
	int64_t offset;
	int64_t version;
};

struct partition_truth {
	struct change *changes;
	size_t count;
	size_t capacity;
	int64_t next_offset;
	int64_t redis_offset; /* as stored by the newest flush */
	int owner;            /* -1: nobody */
	bool began[OWNERS];   /* who thinks that it owns the partition */
	int64_t seen[OWNERS]; /* the newest publisher_offset of each */
};

struct world {
	struct array_table table;
	struct snapshot_memory *server;
	struct publisher *pubs[OWNERS];
	struct publisher_config config;
	struct partition_truth truth[PARTITIONS];
	int64_t now_ms;
	uint64_t random;
	uint64_t publishers; /* made so far: each has a seed of its own */
	unsigned wakes;
	unsigned marker_writes;
	uint64_t probed;                         /* answers that count, in random_probe */
	char marker_at_end[SNAPSHOT_MARKER_MAX]; /* of partition 1, for test_end_during_a_call */
	void (*meanwhile)(struct world *w);      /* what other threads do during a call to Redis */
};

/* Balances.  What one is at a version: nothing else may ever be in Redis. */
struct balance_key world_key(int64_t account_id);
i128 world_available(int64_t account_id, int64_t version);

void world_init(struct world *w);
void world_finish(struct world *w);

/* For cmocka: *state is a world with owner 0.  The log of a group of tests shows errors alone. */
int world_set_up(void **state);
int world_tear_down(void **state);
int world_group_set_up(void **state);
int world_group_tear_down(void **state);

void world_start(struct world *w, int owner);

/* The owner's process dies. */
void world_crash(struct world *w, int owner);

/* The rows of a flush as the database has them; accounts belong to partition account_id %
 * PARTITIONS. */
struct touched world_change(struct world *w, int64_t account_id);

/* A flush of the partition's owner that changes accounts first, first + PARTITIONS, ... */
void world_commit(struct world *w, int64_t first, size_t count);

/* An owner takes a partition, and lets it go. */
void world_begin(struct world *w, int owner, int32_t partition);
void world_begin_with(struct world *w, int owner, int32_t partition, bool rebuild);
void world_end(struct world *w, int owner, int32_t partition);

/* An owner that has published `count` accounts of partition 1 and is at rest: accounts 1, 5, 9 ...
 */
void world_settle(struct world *w, size_t count);

/* A big enough rebuild of partition 1 that is under way: the token is written, the scan began. */
void world_begin_rebuild(struct world *w);

/* Steps of owner 0's publisher: one, until there is nothing to do for the moment, for so long
 * (nothing wakes it).  How long it wants to wait, in ms. */
int64_t world_step(struct world *w);
int64_t world_run(struct world *w);
void world_run_for(struct world *w, int64_t ms);

void world_check(struct world *w);

/* Versions; 0: none. */
int64_t world_committed(const struct world *w, int64_t account_id);
int64_t world_in_redis(const struct world *w, int64_t account_id);

/* The offset of the partition's marker if it is complete under the server's present identity, or
 * -1. */
int64_t world_marker(const struct world *w, int32_t partition);

/* Of owner 0's publisher. */
int64_t world_offset(const struct world *w, int32_t partition);

struct publisher_stats world_stats(const struct world *w, int owner);

/* All that is committed of the partition is in Redis, and the publisher knows it. */
void world_assert_complete(const struct world *w, int32_t partition);

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

#endif
