/* See metrics.h.  Counting; the exposition is in metrics_text.c. */
#include "metrics.h"

#include <stdlib.h>

#include "mem.h"

/* Bounds -------------------------------------------------------------------------------------- */

/*
 * Each list of bounds is a macro that hands them to another one, X(bound, argument), so that the
 * tables for the search are made by the compiler and cannot disagree with it.
 */

/* clang-format off */

/* Milliseconds from the event's time stamp to its commit: finest where the goals are.  The replay
 * of a backlog gives days: above every bound. */
#define LATENCY_MS(X, a)                                                                           \
	X(1, a) X(2, a) X(5, a) X(10, a) X(20, a) X(30, a) X(50, a) X(75, a) X(100, a) X(150, a)   \
	X(200, a) X(300, a) X(500, a) X(1000, a) X(2000, a) X(5000, a) X(10000, a) X(30000, a)     \
	X(60000, a)

/* Microseconds of a step of a flush: 0.5 ms to 30 s. */
#define FLUSH_US(X, a)                                                                             \
	X(500, a) X(1000, a) X(2000, a) X(5000, a) X(10000, a) X(20000, a) X(30000, a) X(50000, a) \
	X(75000, a) X(100000, a) X(150000, a) X(200000, a) X(300000, a) X(500000, a)               \
	X(1000000, a) X(2000000, a) X(5000000, a) X(10000000, a) X(30000000, a)

/* Events of a flush: batch_max_events is 20,000 by default and 100,000 at most. */
#define EVENTS(X, a)                                                                               \
	X(1, a) X(2, a) X(5, a) X(10, a) X(20, a) X(50, a) X(100, a) X(200, a) X(500, a)           \
	X(1000, a) X(2000, a) X(5000, a) X(10000, a) X(20000, a) X(50000, a) X(100000, a)

/* clang-format on */

#define UPPER(bound, a)     (bound),
#define ONE(bound, a)       +1
#define IS_BELOW(bound, a)  +((bound) < (a))
#define BELOW(list, octave) (0 list(IS_BELOW, INT64_C(1) << (octave)))
#define BELOW_4(list, o)    BELOW(list, o), BELOW(list, o + 1), BELOW(list, o + 2), BELOW(list, o + 3)
#define BELOW_16(list, o)                                                                          \
	BELOW_4(list, o), BELOW_4(list, o + 4), BELOW_4(list, o + 8), BELOW_4(list, o + 12)

#define BOUNDS(list, unit)                                                                         \
	{                                                                                          \
		.count = (0 list(ONE, 0)), .divisor = (unit),                                      \
		.upper = {list(UPPER, 0) INT64_MAX, INT64_MAX},                                    \
		.below = {BELOW_16(list, 0), BELOW_16(list, 16)},                                  \
	}

const struct histogram_bounds bounds_latency_ms = BOUNDS(LATENCY_MS, 1000);
const struct histogram_bounds bounds_flush_us = BOUNDS(FLUSH_US, 1000000);
const struct histogram_bounds bounds_events = BOUNDS(EVENTS, 1);

/* Errors by number ---------------------------------------------------------------------------- */

/* The place of a number, taken for it if it is new; METRICS_ERRNOS if there is none left. */
static int place_of(struct errno_counters *c, int number)
{
	if (number == 0)
		return METRICS_ERRNOS;
	for (int i = 0; i < METRICS_ERRNOS; i++) {
		int there = 0;

		if (atomic_compare_exchange_strong(&c->number[i], &there, number) ||
			there == number)
			return i;
	}
	return METRICS_ERRNOS;
}

void errno_counters_add(struct errno_counters *c, int number)
{
	atomic_fetch_add_explicit(&c->count[place_of(c, number)], 1, memory_order_relaxed);
}

/* A partition, the process -------------------------------------------------------------------- */

void partition_metrics_enter(struct partition_metrics *metrics, enum partition_state state)
{
	counter_add(&metrics->entered[state], 1);
	gauge_set(&metrics->state, state);
}

void metrics_init(struct metrics *metrics, int32_t partition_count)
{
	size_t count = (size_t)partition_count;

	*metrics = (struct metrics){.partition_count = partition_count, .kafka_connected = -1};
	metrics->partitions = xcalloc(count, sizeof *metrics->partitions);
	metrics->eligible = xcalloc(count, sizeof *metrics->eligible);
	for (size_t i = 0; i < count; i++) {
		metrics->eligible[i] = true;
		gauge_set(&metrics->partitions[i].next_offset, -1);
		gauge_set(&metrics->partitions[i].high_watermark, -1);
		gauge_set(&metrics->partitions[i].random_ids, -1);
	}
}

void metrics_finish(struct metrics *metrics)
{
	free(metrics->partitions);
	free(metrics->eligible);
	*metrics = (struct metrics){0};
}
