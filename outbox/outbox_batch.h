/*
 * Rows of outbox_events on their way to Kafka, and what becomes of each.
 *
 * Bounded by rows and bytes.  The texts are copies and live until the batch is reset.
 */
#ifndef OUTBOX_OUTBOX_BATCH_H
#define OUTBOX_OUTBOX_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

enum outbox_fate {
	OUTBOX_PENDING = 0, /* to be sent, or to be sent again */
	OUTBOX_SENDING,     /* part of the transaction that is open in Kafka */
	OUTBOX_SENT,        /* Kafka has committed it */
	OUTBOX_FAILED,      /* can never be sent: reason */
};

struct outbox_row {
	int64_t id;
	const char *event_id; /* unique for ever; what consumers know a duplicate by */
	const char *topic;
	const char *key; /* NULL: none */
	size_t key_length;
	const char *payload; /* JSON text */
	size_t payload_length;
	enum outbox_fate fate;
	const char *reason; /* of FAILED */
};

struct outbox_batch {
	struct outbox_row *rows; /* ascending by id */
	size_t count;
	size_t max_rows;
	size_t bytes; /* of keys and payloads */
	size_t max_bytes;
	struct arena arena;
};

void outbox_batch_init(struct outbox_batch *batch, size_t max_rows, size_t max_bytes);
void outbox_batch_finish(struct outbox_batch *batch);
void outbox_batch_reset(struct outbox_batch *batch);

/* Copies a row in, as PENDING.  False: it is full.  The first row fits whatever its size. */
bool outbox_batch_add(struct outbox_batch *batch, const struct outbox_row *row);

/* Gives every row with one fate another. */
void outbox_batch_turn(struct outbox_batch *batch, enum outbox_fate from, enum outbox_fate to);

size_t outbox_batch_count(const struct outbox_batch *batch, enum outbox_fate fate);

/* The row can never be sent; copies the reason. */
void outbox_batch_fail(struct outbox_batch *batch, size_t index, const char *reason);

#endif
