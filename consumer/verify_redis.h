/*
 * Redis against account_balances: every balance that ever changed has its hash, with the same
 * amounts and version, and there is no key of another balance.
 *
 * Redis follows the database, so that under a running daemon the two are never quite the same.
 * What differs is looked at again, with new values from both, until it agrees or has been seen to
 * move on; only what stays different for some seconds is a difference.
 */
#ifndef CONSUMER_VERIFY_REDIS_H
#define CONSUMER_VERIFY_REDIS_H

#include "clock.h"
#include "config.h"
#include "snapshot.h"
#include "verify_journal.h"

struct verify_redis_config {
	const struct config *cfg;
	const struct clock *clock;
	struct verify_journal *journal; /* outside of a snapshot */
	struct snapshot *snapshot;      /* connected */
	struct verify_report *report;
	int32_t partition; /* the one to look at, or -1: all */
	int32_t partitions;
	size_t memory_bytes; /* for the keys that are known; with less, the database is asked more
			      */
	uint64_t seed;
};

/* 0, or a negative code if it could not be finished. */
int verify_redis(const struct verify_redis_config *config, struct error *err);

#endif
