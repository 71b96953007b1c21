/*
 * A partition in the daemon: its thread, and its place among the flushers, for one lease.
 *
 * The worker owns the reader and the topic that it is given.  It ends by itself when the partition
 * does; the instance then joins and destroys it.
 *
 * A database that hangs holds no worker longer than the lease: when that is lost, whatever is asked
 * or written for this partition is interrupted, and nothing of another one.  A COMMIT that was
 * under way may have happened or not; the partition forgets it either way, and the next owner reads
 * next_offset.
 */
#ifndef CONSUMER_WORKER_H
#define CONSUMER_WORKER_H

#include "flusher.h"
#include "incidents.h"
#include "partition.h"

/* What a worker is given, and what it uses.  `ended` is called once, from the worker's thread, when
 * it no longer needs anything. */
struct worker_edges {
	struct store *reader;
	/* Whether a call on it waits for its turn; NULL: none ever does.  Any thread. */
	bool (*reader_waits)(struct store *reader);
	/* Ends a call on it that only a start needs; NULL: none takes long.  Any thread. */
	void (*reader_hurry)(struct store *reader);
	struct flushers *flushers;
	struct topic *topic;
	struct publisher *publisher; /* NULL: Redis is off */
	const struct clock *clock;
	struct budget *budget;
	struct partition_metrics *metrics;
	struct incidents *incidents; /* NULL: none are kept */
	bool (*lease_valid)(void *context, int32_t partition, int64_t now_ms);
	void (*ended)(void *context);
	void *context;
};

struct worker;

struct worker *worker_start(
	const struct partition_config *config, const struct worker_edges *edges);

/* Frees, after worker_ended: then no thread has anything to wait for. */
void worker_join(struct worker *worker);

bool worker_ended(const struct worker *worker);

/* Any thread. */
void worker_drain(struct worker *worker);
void worker_lose(struct worker *worker, bool fenced);
void worker_halt(struct worker *worker, const char *reason);
int64_t worker_offset_low(const struct worker *worker);
int64_t worker_offset_high(const struct worker *worker);

/* When the thread last ended a turn, by the clock's now_ms: for /healthz.  Now, while it waits for
 * its turn to ask the database: then it is those before it that may be stuck. */
int64_t worker_beat_ms(const struct worker *worker);

#endif
