/*
 * What is counted: one struct a partition, written by that partition's threads without locks and
 * read by /metrics at any time.  A counter has one writer, so an add is a load and a store; where
 * two threads write (struct errno_counters), it is an atomic add.
 *
 * All of it lives as long as the process: a partition that was given up and taken again goes on
 * counting where it was.  Gauges are of the lease: instance.c forgets them when it ends, and they
 * are not shown while the partition is not ours.
 *
 * The names, types and help texts are one table in metrics_text.c, from which /metrics and
 * docs/METRICS.md (metrics_manual.c) come.
 */
#ifndef CONSUMER_METRICS_H
#define CONSUMER_METRICS_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include "budget.h"
#include "clock.h"
#include "event.h"
#include "flush.h"
#include "partition_state.h"
#include "process.h"
#include "publisher.h"

typedef _Atomic uint64_t counter;
typedef _Atomic int64_t gauge;

static inline void counter_add(counter *c, uint64_t n)
{
	atomic_store_explicit(
		c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t counter_read(const counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static inline void gauge_set(gauge *g, int64_t value)
{
	atomic_store_explicit(g, value, memory_order_relaxed);
}

static inline int64_t gauge_read(const gauge *g)
{
	return atomic_load_explicit(g, memory_order_relaxed);
}

/* Histograms ---------------------------------------------------------------------------------- */

#define HISTOGRAM_BUCKETS_MAX 24
#define HISTOGRAM_OCTAVES     32 /* bounds are below 2^31 */
#define HISTOGRAM_OCTAVE_MAX  2  /* bounds from one power of two to before the next, at most */

/* Upper bounds of a family's buckets, in the unit that is observed. */
struct histogram_bounds {
	int count;
	int64_t divisor; /* of the observed unit in one of the metric's: 1000000 for microseconds */
	/* Ascending; INT64_MAX from upper[count] on. */
	int64_t upper[HISTOGRAM_BUCKETS_MAX + HISTOGRAM_OCTAVE_MAX];
	/* How many bounds are below 2^octave: where the search for a value of that size begins. */
	uint8_t below[HISTOGRAM_OCTAVES];
};

extern const struct histogram_bounds bounds_flush_us;
extern const struct histogram_bounds bounds_latency_ms;
extern const struct histogram_bounds bounds_events;

struct histogram {
	counter buckets[HISTOGRAM_BUCKETS_MAX + 1]; /* buckets[bounds->count]: above every bound */
	counter sum; /* wraps in the end, which Prometheus takes for a restart */
};

/* The bucket of a value: the first whose bound is not below it.  Without branches on the value. */
static inline int histogram_bucket(const struct histogram_bounds *bounds, int64_t value)
{
	uint64_t positive = value > 1 ? (uint64_t)value : 1;
	int octave = 63 - __builtin_clzll(positive);
	int i = bounds->below[octave < HISTOGRAM_OCTAVES ? octave : HISTOGRAM_OCTAVES - 1];
	const int64_t *upper = &bounds->upper[i];

	return i + (value > upper[0]) + (value > upper[1]);
}

/* `count` observations of one value.  Below 0 (a producer's clock is ahead) counts as 0. */
static inline void histogram_observe_many(
	struct histogram *h, const struct histogram_bounds *bounds, int64_t value, uint64_t count)
{
	counter_add(&h->buckets[histogram_bucket(bounds, value)], count);
	counter_add(&h->sum, (value > 0 ? (uint64_t)value : 0) * count);
}

static inline void histogram_observe(
	struct histogram *h, const struct histogram_bounds *bounds, int64_t value)
{
	histogram_observe_many(h, bounds, value, 1);
}

/* Errors by number ---------------------------------------------------------------------------- */

#define METRICS_ERRNOS 32

/* MySQL's failures by number: the first METRICS_ERRNOS kinds, the rest together.  Any thread. */
struct errno_counters {
	_Atomic int number[METRICS_ERRNOS]; /* 0: free */
	counter count[METRICS_ERRNOS + 1];  /* the last: the rest, and what has no number */
};

void errno_counters_add(struct errno_counters *c, int number);

/* A partition --------------------------------------------------------------------------------- */

/* One writer: the partition's thread, but where another is named. */
struct partition_metrics {
	counter outcomes[OUTCOME_DEAD_LETTER + 1];
	counter dead_letters[DEAD_ID_CONFLICT + 1];
	counter fenced;
	counter entered[PARTITION_STATES]; /* how often each state was entered */
	gauge state;                       /* enum partition_state; any owner of the transition */
	gauge halted;          /* 1: the database holds a halt, whoever's; the instance */
	gauge next_offset;     /* committed; -1: not known */
	gauge high_watermark;  /* -1: not known */
	gauge epoch;           /* 0: not ours; the instance */
	gauge oldest_event_ms; /* wall clock of the oldest event not yet committed; 0: none */
	gauge random_ids;      /* of 1,000 transaction ids, those in no order (id_spread.h); -1: not
				  known */
	gauge balances;        /* entries in memory */
	gauge balances_bytes;
	struct histogram event_latency; /* ms */
	struct histogram flush_events;
	struct histogram flush_step[FLUSH_STEPS]; /* us; the flusher */
	struct histogram flush_queue;             /* us, waiting for a flusher; the flusher */
	struct histogram flush_total;             /* us, from submit to commit; the flusher */
	struct errno_counters mysql_retries;      /* the flusher and the reader */
	counter drift;                            /* the sampler */
	char apart[64]; /* the next partition's counters are in another cache line */
};

/* A transition: counts it and sets the gauge. */
void partition_metrics_enter(struct partition_metrics *metrics, enum partition_state state);

/* The process --------------------------------------------------------------------------------- */

struct metrics_label {
	const char *name;
	const char *value;
};

/*
 * Where /metrics comes from.  What is NULL is left out.  Everything named here outlives it and may
 * be asked by any thread.
 */
struct metrics {
	int32_t partition_count;              /* of the topic */
	struct partition_metrics *partitions; /* owned */
	bool *eligible;                       /* owned: consumer.partitions has it; at first all */
	struct errno_counters mysql_retries; /* those of no partition: leases, rebuilds, sampling */
	gauge kafka_connected; /* 1: Kafka answered when last asked; 0: it did not; -1: not asked */
	const struct clock *clock;
	const struct budget *budget;
	void (*publisher_stats)(const struct publisher *pub, struct publisher_stats *ret_stats);
	const struct publisher *publisher;
	bool (*process_read)(struct process_stats *ret_stats);
	const struct metrics_label *build; /* of ledger_build_info: version first */
	size_t build_count;
};

/* Every partition of the topic, idle, with gauges that are not known. */
void metrics_init(struct metrics *metrics, int32_t partition_count);
void metrics_finish(struct metrics *metrics);

/* The exposition ------------------------------------------------------------------------------ */

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metrics_scrape;
struct metrics_turn;

/* A row of the table.  Its samples are written once, or once for each partition: one of the two
 * functions, metrics_text.c's own. */
struct metrics_family {
	const char *name;
	enum metrics_type type;
	const char *unit;   /* "seconds"; "" if it has none */
	const char *labels; /* "partition, result"; "" if it has none */
	const char *help;   /* one sentence, plain text */
	const char
		*reading; /* how to read it, Markdown, for docs/METRICS.md; "": help says it all */
	void (*write)(const struct metrics_scrape *scrape);
	void (*write_partition)(
		const struct metrics_scrape *scrape, const struct metrics_turn *turn);
};

extern const struct metrics_family metrics_families[];
extern const size_t metrics_family_count;

const char *metrics_type_text(enum metrics_type type); /* "counter" */

/* Everything in Prometheus' text format (METRICS_CONTENT_TYPE).  Errors are the file's. */
void metrics_write(const struct metrics *metrics, FILE *file);

/* The same as a text of *ret_length bytes, NUL-terminated; the caller frees it. */
char *metrics_text(const struct metrics *metrics, size_t *ret_length);

/* docs/METRICS.md (metrics_manual.c). */
void metrics_manual_print(FILE *file);

#endif
