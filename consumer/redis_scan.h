/*
 * Walks over the keys of Redis that match a pattern, on a connection of its own (SCAN).  A key that
 * is there all the time is met at least once; one that comes or goes meanwhile, perhaps.
 *
 * Blocking, with the timeouts and errors of redis_connection.h.
 */
#ifndef CONSUMER_REDIS_SCAN_H
#define CONSUMER_REDIS_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "error.h"

struct redis_scan;

/* Connects.  The configuration outlives it; the pattern is a constant, as SCAN's MATCH takes it. */
int redis_scan_open(const struct config *cfg, const char *pattern, struct redis_scan **ret_scan,
	struct error *err);
void redis_scan_close(struct redis_scan *scan);

/* The next keys, some thousand; each is good for the length of the call.  *ret_ended: that was all.
 */
typedef void redis_scan_fn(void *context, const char *key, size_t length);
int redis_scan_next(struct redis_scan *scan, redis_scan_fn *fn, void *context, bool *ret_ended,
	struct error *err);

#endif
