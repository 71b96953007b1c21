/*
 * The simulated world: one database, one Redis, one topic, one clock, and a few instances of the
 * real consumer core, all in one thread.  A seed decides the sizes, the rates of faults, and at
 * every step who acts and what fails.
 *
 * A step is one call into the core: one turn of a partition, one statement of a flush, one tick of
 * a leader, one step of a publisher.  An instance that is killed vanishes between two such calls;
 * one that is stopped sleeps between two, and wakes believing that no time has passed.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdio.h>

#include "faults.h"
#include "lease_store_memory.h"
#include "oracle.h"
#include "random.h"
#include "sample.h"
#include "snapshot_memory.h"
#include "store_memory.h"
#include "topic_memory.h"
#include "workload.h"

#define WORLD_PARTITIONS_MAX  3
#define WORLD_NODES_MAX       3
#define WORLD_TTL_MS          10000
#define WORLD_OUT_OF_RANGE_MS 30000

struct borrower;
struct relays;
struct replayer;
struct node;
struct standby;

/* Chances are of ten thousand, at each call or step. */
struct world_rates {
	int64_t store_retry;
	int64_t store_lost_before;
	int64_t store_lost_after;
	int64_t lease_fails;
	int64_t lease_answer_lost;
	int64_t redis_fails;
	int64_t redis_loses;
	int64_t slow;
	int64_t standby;     /* a copy of the database stops following; 0: there is none */
	int64_t fail_over;   /* such a copy takes over */
	int64_t server_jump; /* a clock */
	int64_t wall_jump;
	int64_t kafka_away;
	int64_t crash;
	int64_t pause;
	int64_t stall;
	int64_t stop;
	int64_t send;
	int64_t truncate;
	int64_t borrow;
};

/* Who changes Redis by hand (vandal.h). */
struct vandal {
	bool at_work;
	bool hurry; /* others may still have something to write */
	int32_t partition;
	int64_t epoch;               /* of the owner who is to find it */
	struct snapshot_image right; /* what should be there */
	enum drift expected;
	bool unreadable; /* nothing was left there that an older image yields to */
	unsigned found;  /* how often it was told */
};

struct world {
	uint64_t seed;
	struct random random;
	struct world_rates rates;
	bool again;  /* the log and its oracle are another world's, who frees them */
	bool one_id; /* all instances were given the same consumer_id */
	bool calm;   /* no more faults and no more messages: everything must come to rest */

	int64_t now_us;
	int64_t server_skew_us; /* of the database's clock */
	int32_t partitions;
	int64_t messages_max;
	int64_t uneasy_until_us; /* there are faults at least until then */
	bool tight; /* balances get no more memory than they must have, and are evicted */

	struct memory_log logs[WORLD_PARTITIONS_MAX];
	struct topic_memory_faults kafka;
	struct oracle oracles[WORLD_PARTITIONS_MAX];
	struct workload workload;
	int64_t sent;

	struct partition_offset_row offsets[WORLD_PARTITIONS_MAX];
	struct memory_database db;
	struct lease_db leases;
	struct standby *standby; /* a copy of the database that no longer follows, or NULL */
	struct snapshot_memory *redis;
	struct vandal vandal;

	struct node *nodes[WORLD_NODES_MAX];
	int node_count;
	struct borrower *borrower;
	struct relays *relays;                /* NULL: nothing comes through the outbox */
	struct replayer *replayer;            /* NULL: nobody tampers with the rows */
	bool truncated[WORLD_PARTITIONS_MAX]; /* beyond what was processed, once */
	int truncations;

	/* for the checkers */
	uint64_t commits_seen;
	int64_t checked_rows[WORLD_PARTITIONS_MAX]; /* journal rows compared so far */
	int64_t checked_dead[WORLD_PARTITIONS_MAX];
	int64_t checked_offset[WORLD_PARTITIONS_MAX]; /* next_offset when last looked */
	int64_t checked_epoch[WORLD_PARTITIONS_MAX];
	int64_t furthest[WORLD_PARTITIONS_MAX]; /* next_offset, fail-overs or not */
	struct epochs {
		int64_t *epochs; /* that were ever handed out */
		size_t count, capacity;
	} epochs[WORLD_PARTITIONS_MAX];
	int last_owner[WORLD_PARTITIONS_MAX]; /* a node's number + 1; 0: none yet */
	/* Until then an instance may believe in a lease that the server knows nothing of. */
	int64_t leases_doubtful_until_us;

	FILE *trace; /* NULL: silent */
	bool failed; /* told by world_fail */
	uint64_t steps;
	struct faults faults; /* what was done to it */
};

void world_init(struct world *w, uint64_t seed, FILE *trace);

/* A world that reads the log of another, at rest, from its beginning: calm, with one node. */
void world_init_again(struct world *w, const struct world *other);

void world_finish(struct world *w);

/* One step of somebody, and some time passes. */
void world_step(struct world *w);

/* Nothing is left to do: the log is consumed, Redis is equal to the database. */
bool world_at_rest(struct world *w);

void world_count(struct world *w, enum fault fault);

/* What becomes of a call of the database that `who` makes now; time may pass. */
enum memory_fault world_store_fault(struct world *w, const char *who, const char *call);

/* The same for the leases' store: before a call (a tick), while it is executed, and after it. */
void world_lease_faults(struct world *w, struct lease_store_memory *store);
void world_lease_waits(struct world *w, const struct lease_store_memory *store);
void world_count_lease_faults(struct world *w, const struct lease_store_memory *store);

/* The database's clock, microseconds since the epoch. */
int64_t world_server_us(const struct world *w);

/* The leases went back, or the server's clock jumped: what instances believe in may be over. */
void world_doubt_leases(struct world *w);

void world_trace(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Fails the run with the seed, the step and what was found. */
_Noreturn void world_fail(struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
