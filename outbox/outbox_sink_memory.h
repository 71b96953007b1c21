/*
 * Kafka in memory, as the relay needs it: for the simulator and the tests.
 *
 * A struct outbox_memory_log is the cluster with one transactional.id: who opened last, and where
 * committed rows go.  A sink is one relay's producer.  Rows become visible when their transaction
 * is committed, all of them, in the order in which they were sent.  The world decides at every call
 * whether it fails, and about every row whether Kafka takes it.  For one thread.
 */
#ifndef OUTBOX_OUTBOX_SINK_MEMORY_H
#define OUTBOX_OUTBOX_SINK_MEMORY_H

#include "outbox_sink.h"

struct outbox_memory_log {
	uint64_t opened; /* counts; a producer that is not the newest is fenced */
};

enum sink_memory_fault {
	SINK_FAULT_NONE = 0,
	SINK_FAULT_AGAIN, /* not executed; the same call again */
	SINK_FAULT_ABORT, /* not executed; the transaction is to be aborted (of an abort: broken) */
	SINK_FAULT_LOST_BEFORE, /* not executed; nobody knows */
	SINK_FAULT_LOST_AFTER,  /* executed, but nobody knows */
};

/* What the world does; context is the sink's. */
struct outbox_sink_memory_world {
	/* Asked at every call; what is its name, as in outbox_sink_ops.  NULL: nothing fails. */
	enum sink_memory_fault (*fault)(void *context, const char *what);
	/* Whether Kafka takes this row: OK, REFUSED or TOPIC; asked when it is sent, and again when
	 * it is acknowledged.  NULL: it does. */
	enum sink_result (*judge)(void *context, const struct outbox_row *row, bool acknowledging);
	/* A row of a transaction that is being committed; the row is the sink's. */
	void (*append)(void *context, const struct outbox_row *row);
	void *context;
};

/* The log outlives the sink; no more than max_rows are ever sent in a transaction. */
struct outbox_sink *outbox_sink_memory_create(struct outbox_memory_log *log,
	const struct outbox_sink_memory_world *world, size_t max_rows);

#endif
