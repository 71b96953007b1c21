/*
 * The leases of one instance: announcing, renewing, taking its fair share, giving up its surplus,
 * and stopping in time when the database cannot be reached.
 *
 * One driver (a thread in the daemon, the simulator in tests) calls leader_tick.  Nothing here
 * trusts the machine's wall clock: expiry is judged by the database, and the owner's own limit
 * by a monotonic clock that counts suspended time, from before a renewal was sent.
 *
 * Invariant: leader_valid(partition) is false from two thirds of the TTL after the start of the
 * last renewal that succeeded; the flush's epoch check is what really fences.
 */
#ifndef LEADER_LEADER_H
#define LEADER_LEADER_H

#include "lease_plan.h"

/*
 * What the leader tells the instance; called from within leader_tick.  After `acquired` the
 * partition is the instance's until it calls leader_drained, once for each `acquired`; surplus and
 * lost may still come, at most once each and in this order, also when the instance has let go and
 * leader_drained is only on its way.
 */
struct leader_events {
	/* The lease is ours under this epoch: recover and run. */
	void (*acquired)(void *context, int32_t partition, int64_t epoch);
	/* Should go to somebody else, or the instance stops: flush, then leader_drained. */
	void (*surplus)(void *context, int32_t partition);
	/* Gone (another epoch, an offset that its owner did not write, or not renewed in time):
	 * drop everything at once, then leader_drained.  fenced: somebody else may be writing; else
	 * only time ran out. */
	void (*lost)(void *context, int32_t partition, bool fenced);
	/*
	 * The offsets that the owner's own flushes may have written: anything else that the
	 * database holds means that it failed over or that another has written.  Called before
	 * (*ret_low) and after (*ret_high) the row was read.  While nothing is known yet: INT64_MIN
	 * and INT64_MAX.
	 */
	int64_t (*offset_low)(void *context, int32_t partition);
	int64_t (*offset_high)(void *context, int32_t partition);
	/* The leases were read, for metrics; the view is the leader's.  NULL: not wanted. */
	void (*viewed)(void *context, const struct lease_view *view);
	void *context;
};

struct leader_config {
	char consumer_id[LEASE_CONSUMER_ID_MAX + 1]; /* no two instances have the same */
	int32_t partitions;                          /* of the topic */
	bool all;                                    /* may own all, or */
	const int32_t *eligible;                     /* these, ascending; copied */
	size_t eligible_count;
	int64_t ttl_ms; /* at least 3000: an acquire may wait a second for a row's lock */
};

struct leader;

/* The store stays the caller's and outlives the leader. */
struct leader *leader_create(const struct leader_config *config, struct lease_store *store,
	const struct leader_events *events);

/* Releases nothing: that is what leader_stop is for. */
void leader_destroy(struct leader *leader);

/*
 * Does what is due at now_ms (monotonic, counting suspended time): tells what has run out, then
 * calls the store at most once, for what is most urgent.  Returns in how many milliseconds it wants
 * to be called again, 0 while there is more to do.  Errors are logged by the caller: *err holds the
 * last one, and *ret_failed says whether there was one.
 */
int64_t leader_tick(struct leader *leader, int64_t now_ms, bool *ret_failed, struct error *err);

/*
 * The instance has let go of a partition (flushed after `surplus`, or dropped after `lost` or a
 * fence or halt): the lease is released if it is still ours.  Any thread; the caller wakes the
 * driver, so that the next owner need not wait for the next tick.
 */
void leader_drained(struct leader *leader, int32_t partition);

/* Whether a flush of this partition may begin now.  Any thread. */
bool leader_valid(const struct leader *leader, int32_t partition, int64_t now_ms);

/* From now on nothing is acquired and everything is surplus.  Any thread; wake the driver. */
void leader_stop(struct leader *leader);

/*
 * After leader_stop: nothing is owned any more, and the membership is withdrawn; or the database
 * has been out of reach for a whole TTL, and what we held there expires by itself.  Any thread.
 */
bool leader_stopped(const struct leader *leader);

/*
 * Nothing was acquired or renewed for a whole TTL: whatever the database knows of us has expired.
 * A driver that is still waiting for its answer may be interrupted (lease_store.h).  Any thread.
 */
bool leader_out_of_reach(const struct leader *leader, int64_t now_ms);

/* What the plan gives us we own, and nothing else, as of the last tick.  For /readyz.  Any thread.
 */
bool leader_settled(const struct leader *leader);

#endif
