/*
 * The threads that drive the flushes of all partitions, each with a connection of its own, so that
 * hundreds of partitions need only a few of both.
 *
 * A flush is driven by one thread at a time: one statement after the other.  Flushes are taken in
 * the order in which they were submitted, but those that are driven alone for a group come first.
 * One that wants to wait before it tries again gives its thread back meanwhile, and stands at the
 * end of the line afterwards; so a partition whose rows somebody else has locked holds a thread for
 * one lock wait at a time (a second).  And the last thread is never given to a flush that has
 * failed before: whatever many partitions wait for, the others go on.
 *
 * Small flushes that wait are driven together, as one transaction (flush_group.h).  A group that is
 * full goes at once.  One that is not waits until no other such is on its way, but no longer than
 * for 10 ms, and gathers what is submitted meanwhile: so with few events there is one transaction
 * after the other, with what has come during the one before, in place of one for each partition.
 * Those of a group that did not succeed are driven alone.
 *
 * Whether a flush may begin at all is asked when a thread has it, as it may have waited for long.
 *
 * Between submit and the end of its flush the machine is the threads'; before and after, the
 * partition's.  Nobody drives a flush that is not on its way, so a partition whose flush has ended
 * may go.
 */
#ifndef CONSUMER_FLUSHER_H
#define CONSUMER_FLUSHER_H

#include "clock.h"
#include "flush.h"
#include "metrics.h"

#define FLUSHER_THREADS_MAX 256

struct flushers;

struct flushers_config {
	int threads;                                  /* 1 to FLUSHER_THREADS_MAX */
	int64_t keepalive_ms;                         /* an idle connection is used that often */
	struct store *(*store_create)(void *context); /* any thread */
	void *context;
};

/* Starts the threads.  The clock outlives them. */
struct flushers *flushers_start(const struct flushers_config *config, const struct clock *clock);

/* Ends them, whatever they wait for.  No flush is on its way. */
void flushers_stop(struct flushers *flushers);

/* A partition's place in the line. */
struct flusher {
	struct flush flush;
	struct flushers *flushers;
	struct partition_metrics *metrics;
	/* Both from any thread; they must not wait. */
	bool (*wanted)(void *context); /* whether the flush may begin, also once more: the lease */
	void (*ended)(void *context);  /* it has ended */
	void *context;
	/* The threads': */
	struct flusher *next; /* in a line, or of those that a thread drives together */
	bool alone;           /* a group with it did not succeed */
	int64_t queued_us;    /* since when it waits for a thread */
	int64_t begun_us;     /* submitted */
	int64_t due_ms;       /* while it wants to wait: until then */
	atomic_bool busy;
};

/* The callers' fields are set. */
void flusher_init(struct flusher *flusher, uint64_t seed);

/* No flush is on its way. */
void flusher_finish(struct flusher *flusher);

/* The machine was started with flush_start: drive it. */
void flusher_submit(struct flusher *flusher);
bool flusher_busy(const struct flusher *flusher);

/* After flush_abandon: if no thread drives the flush, it ends now.  Any thread. */
void flusher_abandoned(struct flusher *flusher);

/* The same; and if a thread drives it, the call that waits for the database fails. */
void flusher_interrupt(struct flusher *flusher);

#endif
