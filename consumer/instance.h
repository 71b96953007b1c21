/*
 * One instance of the daemon: its leases, and a worker for each partition that it owns.
 *
 * A thread of its own ticks the leader, starts a worker for what was acquired, and joins those that
 * ended.  The workers share flushers and connections for reading, as many of the one as of the
 * other.  How a worker's edges are made is the caller's: main gives the real ones, a test those in
 * memory.
 */
#ifndef CONSUMER_INSTANCE_H
#define CONSUMER_INSTANCE_H

#include "leader.h"
#include "worker.h"

struct instance_config {
	struct leader_config leader;
	struct partition_config partition; /* .partition and .epoch are filled in for each */
	int flushers;                      /* threads and connections that write; as many read */
	int64_t keepalive_ms;              /* an idle connection is used that often */
};

struct instance_edges {
	struct store *(*store_create)(void *context); /* any thread */
	struct topic *(*topic_create)(void *context, int32_t partition);
	void *context;
	struct lease_store *lease_store;
	struct publisher *publisher; /* NULL: Redis is off */
	const struct clock *clock;
	struct budget *budget;
	struct partition_metrics *metrics; /* one a partition of the topic */
	struct incidents *incidents;       /* NULL: none are kept */
};

struct instance;

struct instance *instance_start(
	const struct instance_config *config, const struct instance_edges *edges);

/*
 * Flushes, releases every lease, and ends the thread.  What cannot be flushed within a TTL is
 * dropped: the next owner reads it again.  If MySQL is away or hangs, it gives up when the leases
 * have expired: after a TTL, and a third of one for a log-in that is under way.
 */
void instance_stop(struct instance *instance);
void instance_destroy(struct instance *instance);

/* Halts every partition that it owns: the topic is not what ledger_meta records. */
void instance_halt(struct instance *instance, const char *reason);

/* For /healthz and /readyz. */
struct instance_health {
	int64_t leader_beat_ms;
	int64_t oldest_worker_beat_ms; /* INT64_MAX: no worker */
	int owned;
	int running;
	bool settled;                      /* the plan and what we own agree */
	char leader_error[ERROR_TEXT_MAX]; /* "" after a tick that succeeded */
};

void instance_health(struct instance *instance, struct instance_health *ret_health);

#endif
