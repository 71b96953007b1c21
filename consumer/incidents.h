/*
 * The newest halts, fences and lost leases of this process, for people: /status shows them.
 *
 * A ring: the oldest give way.  Written by the partitions' threads, which do so seldom, and read by
 * HTTP's; a mutex guards it.  Nothing here decides anything, and a restart forgets it; what must
 * not be forgotten is in the log, and a halt in `partition_offsets` as well.
 */
#ifndef CONSUMER_INCIDENTS_H
#define CONSUMER_INCIDENTS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define INCIDENTS_MAX 32

struct incident {
	int64_t at_ms; /* since the epoch, UTC */
	int32_t partition;
	const char *what; /* a constant: "halted" */
	char reason[ERROR_TEXT_MAX];
};

struct incidents {
	pthread_mutex_t lock;
	uint64_t added; /* the newest is in ring[(added - 1) % INCIDENTS_MAX] */
	struct incident ring[INCIDENTS_MAX];
};

void incidents_init(struct incidents *incidents);
void incidents_finish(struct incidents *incidents);

/* NULL is allowed: nobody wants to know. */
void incidents_add(struct incidents *incidents, int64_t at_ms, int32_t partition, const char *what,
	const char *reason);

/* Copies them, the newest first; how many. */
size_t incidents_read(struct incidents *incidents, struct incident ret_list[INCIDENTS_MAX]);

#endif
