/*
 * What the kernel says of this process, for the metrics.  Reads /proc; caches nothing; any thread.
 */
#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_stats {
	int64_t cpu_us;     /* user and system, of all threads */
	int64_t started_ms; /* since the epoch */
	int64_t resident_bytes;
	int64_t virtual_bytes;
	int64_t threads;
	int64_t open_fds;
	int64_t max_fds; /* -1: no limit */
};

/* false: /proc cannot be read. */
bool process_read(struct process_stats *ret_stats);

#endif
