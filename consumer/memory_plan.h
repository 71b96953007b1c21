/*
 * How the memory that an instance may use (consumer.memory_max) is laid out before anything is
 * taken: each partition that it may own needs two batches, the ids it remembers, what librdkafka
 * prefetches, and room for the balances of two batches.  The rest is for balances.
 *
 * Where the wanted sizes do not leave half of the memory for balances, they are lowered (not below
 * their least), so that the defaults work for one partition and for hundreds.  Each time that is
 * halved which saves the most.
 */
#ifndef CONSUMER_MEMORY_PLAN_H
#define CONSUMER_MEMORY_PLAN_H

#include "error.h"
#include "partition.h"

struct memory_plan {
	size_t max_bytes;       /* all of it */
	size_t partition_bytes; /* what a partition takes at start, prefetch included */
	size_t fixed_bytes;     /* for all partitions that the instance may own */
	size_t balances_bytes;  /* left for balances beyond the least */
	/* Of each partition, no more than wanted: */
	size_t fetch_bytes; /* librdkafka's queue */
	size_t dedupe_ids;
	size_t batch_max_events;
	size_t batch_max_bytes;
	bool lowered; /* something is less than wanted */
};

/*
 * `wanted` has batch_max_events, batch_max_bytes and dedupe_ids as configured; other_bytes is what
 * is no partition's: the process itself, and what may wait for Redis.  -ENOMEM, with the remedy, if
 * the least does not fit.
 */
int memory_plan(const struct partition_config *wanted, size_t max_bytes, size_t fetch_bytes,
	size_t other_bytes, int32_t partitions, struct memory_plan *ret_plan, struct error *err);

#endif
