/*
 * `ledgerd snapshot rebuild`: makes Redis equal to account_balances, also where Redis is ahead,
 * while owners commit and publish.  A machine of steps, one call of an edge each.
 *
 * Two passes: all balances in the order of their key; then all keys of Redis that the first pass
 * has not met.  Both go through the same rounds, batch by batch:
 *
 *     look     what stands in Redis at each key
 *     ask      where that cannot be: the database again, after Redis
 *     write    what is missing or behind, by last write wins, as the publisher does
 *     force    what still cannot be: set back or deleted, if what was seen still stands there
 *
 * What was forced is looked at and asked for in another round.
 *
 * Why this is safe beside an owner.  It publishes after its commit, so a version that was seen in
 * Redis and is higher than what the database has *afterwards* was never committed in this database.
 * Only such a key is forced, and only if nobody has written it meanwhile: no image of an owner is
 * ever taken back.  An image that an owner published in vain, because the wrong one had a higher
 * version, was committed before: the round after the force finds it in the database.  Everything
 * else is last write wins with what is committed.  So it may end after any step, and begin again;
 * but if it ends right after a force, that key may be behind until its next change.
 *
 * The database must not go back to an older copy in the middle of it.  Markers are left alone: they
 * say that Redis has at least what it had to have, which stays true.  Pure: the edges are the
 * caller's, connected.
 */
#ifndef CONSUMER_REBUILD_H
#define CONSUMER_REBUILD_H

#include "snapshot.h"
#include "store.h"

/* redis_scan_next, or what stands for it: hands over some keys; *ret_ended: those were the last. */
typedef void rebuild_key_fn(void *context, const char *key, size_t length);
typedef int rebuild_scan_fn(
	void *context, rebuild_key_fn *fn, void *fn_context, bool *ret_ended, struct error *err);

struct rebuild_config {
	struct store *store;
	struct snapshot *snapshot;
	rebuild_scan_fn *scan;
	void *scan_context;
	int32_t partition; /* the one whose balances are looked at, or -1: all */
	int32_t partitions;
	size_t batch_max;    /* balances in a batch; 0: a default */
	size_t memory_bytes; /* for the keys that were met; with less, the database is asked more */
	uint64_t seed;
};

struct rebuild_counts {
	int64_t written;      /* were missing or behind */
	int64_t mended;       /* were ahead, had other amounts, or none that can be */
	int64_t deleted;      /* keys of no balance */
	int64_t unchanged;    /* were right */
	int64_t foreign;      /* keys of another form than ours; left alone */
	char foreign_key[64]; /* the first of them, "" if there is none */
};

struct rebuild;

struct rebuild *rebuild_create(const struct rebuild_config *config);
void rebuild_destroy(struct rebuild *r);

/* One call of an edge.  *ret_done: all is looked at.  A negative code, and it cannot go on. */
int rebuild_step(struct rebuild *r, bool *ret_done, struct error *err);

/* Nothing that was begun is unfinished: a good moment to end early. */
bool rebuild_between(const struct rebuild *r);

const struct rebuild_counts *rebuild_counts(const struct rebuild *r);

#endif
