/*
 * The connections that partitions share for reading: a few for hundreds of partitions.
 *
 * Each partition has a store of its own here, which lends itself a connection for the length of
 * one call.  Whoever asks first is served first, but calls that read much (the newest ids, what
 * changed since Redis was complete) have all connections but one at most: partitions that are
 * starting do not keep the running ones waiting, nor the other way round.
 *
 * A connection that was silent for long is tried before it is lent, and made anew if it is gone.
 * An interrupt hits the call of its own partition alone.
 */
#ifndef CONSUMER_READERS_H
#define CONSUMER_READERS_H

#include "clock.h"
#include "store.h"

struct readers;

struct readers_config {
	int connections;
	int64_t silence_max_ms; /* after which a connection is tried before it is used */
	struct store *(*store_create)(void *context); /* any thread */
	void *context;
};

/* Does not connect.  The clock outlives it. */
struct readers *readers_create(const struct readers_config *config, const struct clock *clock);

/* Its stores are destroyed. */
void readers_destroy(struct readers *readers);

/*
 * A partition's store, destroyed like any other.  It can do what a partition needs of its reader:
 * connect, interrupt, halt and the questions of fetch.c, recover.c and sample.c; the other
 * functions are NULL.
 */
struct store *readers_store(struct readers *readers);

/* Whether a call on one of these waits for a connection.  Any thread. */
bool readers_store_waits(struct store *store);

/* Its partition is to be given up: a call that reads much ends with STORE_LOST now, and so does
 * each that is begun later.  What it needs to flush it may still read.  Any thread. */
void readers_store_hurry(struct store *store);

#endif
