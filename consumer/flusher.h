/*
 * A thread that drives a partition's flush machine: one statement after the other, with the pauses
 * that the machine asks for.  Between submit and the end of the flush the machine is the thread's;
 * before and after, the partition's.
 */
#ifndef CONSUMER_FLUSHER_H
#define CONSUMER_FLUSHER_H

#include <pthread.h>

#include "clock.h"
#include "flush.h"
#include "metrics.h"
#include "wakeup.h"

struct flusher {
	struct flush flush;
	const struct clock *clock;
	struct partition_metrics *metrics;
	int64_t keepalive_ms;  /* an idle connection is used at least so often */
	void (*ended)(void *); /* a flush has ended; called by the thread */
	void *ended_context;
	pthread_t thread;
	struct wakeup wakeup;
	atomic_bool busy;
	atomic_bool stop;
};

/* Starts the thread.  The store is used by it alone from now on. */
void flusher_start(struct flusher *flusher, struct store *store, uint64_t seed);

/* The machine was started with flush_start: drive it. */
void flusher_submit(struct flusher *flusher);
bool flusher_busy(const struct flusher *flusher);

/* Ends a pause between two attempts: something has changed (flush_abandon). */
void flusher_interrupt(struct flusher *flusher);

/* Ends the thread, waiting for it; no flush is on its way. */
void flusher_stop(struct flusher *flusher);
void flusher_finish(struct flusher *flusher);

#endif
