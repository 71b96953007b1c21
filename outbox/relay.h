/*
 * The relay: sends what applications wrote into outbox_events to Kafka, as a machine of steps.
 *
 *   ACQUIRE -> OPEN -> PROVE -> READ -> SEND ... -> FLUSH -> COMMIT -> MARK -> READ
 *
 * A step calls one function of an edge.  A thread or the simulator calls relay_step until
 * relay_stopped; between any two steps the process may die or sleep.
 *
 * What holds:
 *   - A row is marked SENT only after Kafka has acknowledged the commit of its transaction.  Until
 *     then it is PENDING, and whoever reads sends it again: at least once, known by event_id.
 *   - Rows are read by status, in the order of their ids, and sent in that order.  So of one topic
 *     and key, a row comes before another for the first time if its id is lower and it could be
 *     seen when the other was read.
 *   - Who sends has opened the sink after it acquired the lease, and has proved the epoch after
 *     that.  A successor acquires a newer epoch before it opens; so once it sends, nothing that an
 *     earlier relay sends or has sent can come behind.
 *   - Marking proves the epoch in its own transaction.
 *
 * A relay believes in its lease for two thirds of the TTL by its own monotonic clock, counted from
 * before it was acquired or renewed.
 */
#ifndef OUTBOX_RELAY_H
#define OUTBOX_RELAY_H

#include <stdatomic.h>

#include "outbox_sink.h"
#include "outbox_store.h"
#include "splitmix.h"
#include "topics_aside.h"

#define RELAY_HOLDER_MAX 128 /* bytes */

enum relay_step {
	RELAY_ACQUIRE = 0,
	RELAY_OPEN,  /* shuts out whoever sent before */
	RELAY_PROVE, /* whether the lease is still ours: before opening again, and after */
	RELAY_READ,
	RELAY_SEND, /* one row */
	RELAY_FLUSH,
	RELAY_COMMIT,
	RELAY_ABORT,
	RELAY_MARK,
	RELAY_RELEASE,
	RELAY_STOPPED,
	RELAY_STEPS,
};

const char *relay_step_text(enum relay_step step); /* "acquire" */

struct relay_config {
	char holder[RELAY_HOLDER_MAX + 1]; /* who has the lease, for people */
	int64_t ttl_ms;
	int64_t poll_idle_ms; /* the longest wait while nothing is PENDING */
	size_t batch_max_rows;
	size_t batch_max_bytes;
	uint64_t seed; /* for jitter */
};

/* What is told; called from within relay_step.  Any of them may be NULL. */
struct relay_events {
	void (*acquired)(void *context, int64_t epoch);
	void (*lost)(void *context, int64_t epoch, const char *why);
	/* A row was marked FAILED. */
	void (*failed)(void *context, const struct outbox_row *row);
	/* A topic is left out for a while. */
	void (*aside)(void *context, const char *topic, const struct error *err);
	/* A step did not succeed and is made again. */
	void (*trouble)(void *context, enum relay_step step, const struct error *err);
	void *context;
};

/* Written by the relay's driver alone, read by anybody. */
struct relay_counts {
	atomic_uint_least64_t sent; /* rows that Kafka has committed; one sent twice counts twice */
	atomic_uint_least64_t failed;
	atomic_uint_least64_t batches; /* transactions committed */
	atomic_uint_least64_t fenced;  /* lost the lease or the sink to another */
	atomic_uint_least64_t troubles;
};

struct relay {
	struct relay_config config;
	struct relay_events events;
	struct outbox_store *store;
	struct outbox_sink *sink;

	enum relay_step step;
	int64_t epoch; /* 0: no lease */
	int64_t valid_until_ms;
	int64_t renew_ms;
	bool open; /* the sink was opened since the lease was acquired */

	struct outbox_batch batch;
	size_t next;  /* row to be sent */
	size_t alone; /* so many rows are sent in a batch of their own: one may be refused */
	int64_t read_ms;
	struct topics_aside aside;

	int64_t idle_ms; /* the last wait for rows */
	int attempt;     /* failures in a row */
	int renew_attempt;
	struct splitmix random;
	struct error error; /* the last failure */
	atomic_bool stop;
	struct relay_counts counts;
};

/* Store and sink stay the caller's, and outlive the relay. */
void relay_init(struct relay *r, const struct relay_config *config, struct outbox_store *store,
	struct outbox_sink *sink, const struct relay_events *events);

/* Drops everything as a crash would, but for a sink that is open, which is closed. */
void relay_finish(struct relay *r);

/*
 * One step; now_ms is monotonic and counts suspended time.  Returns how long to wait before the
 * next one, in milliseconds (0: none); sooner is harmless.  Not called once relay_stopped.
 */
int64_t relay_step(struct relay *r, int64_t now_ms);

/*
 * Ends the batch that is on its way, gives up the lease and stops; while a server is away, it stops
 * when the lease is over, after two thirds of the TTL at most.  Any thread; wake the driver.
 */
void relay_stop(struct relay *r);
bool relay_stopped(const struct relay *r);

#endif
