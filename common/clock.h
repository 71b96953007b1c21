/*
 * Time, as an edge: the daemon's clocks are clock_system; the simulator brings its own.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

struct clock {
	/* Milliseconds that never go back and count the time that the machine was suspended. */
	int64_t (*now_ms)(const struct clock *clock);
	/* The same in microseconds, for measuring durations. */
	int64_t (*now_us)(const struct clock *clock);
	/* Milliseconds since the epoch, UTC; may jump.  For people and metrics, never to decide. */
	int64_t (*wall_ms)(const struct clock *clock);
};

extern const struct clock clock_system;

/* So many milliseconds (0 or more) from now, for a condition variable with CLOCK_MONOTONIC. */
struct timespec clock_deadline(int64_t timeout_ms);

#endif
