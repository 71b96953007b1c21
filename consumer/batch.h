/*
 * A batch: consecutive messages of a partition on their way into the database.
 *
 * While it is being prepared, messages are taken in and decoded; while it is in the ledger, each
 * record has its outcome and the batch knows every balance that it touched, before and after.
 * Two batches take turns (BALANCE_PIN_EVEN and _ODD).  A closed batch is not changed by anybody
 * until its flush has ended, so the flusher reads it without a lock.
 *
 * The bytes of the messages are their topic's, which keeps them until the batch has been flushed,
 * or copies in the batch's arena (batch_keep); so are headers.
 */
#ifndef CONSUMER_BATCH_H
#define CONSUMER_BATCH_H

#include <stdbool.h>

#include "arena.h"
#include "balances.h"
#include "dedupe.h"
#include "message.h"

/*
 * A message and what becomes of it.  A batch is walked again and again; what most walks look at is
 * in the first line of the cache, down to the event's currency and type.
 */
struct record {
	balance_ref balance; /* BALANCE_NONE until it is resolved */
	uint8_t dead_reason; /* enum dead_reason */
	uint8_t outcome;     /* enum outcome */
	uint8_t refusal;     /* enum refusal */
	struct dedupe_id id;
	struct event event; /* if dead_reason is DEAD_NONE or DEAD_ID_CONFLICT */
	/* of a journal row: */
	i128 available_after;
	i128 frozen_after;
	int64_t prev_offset; /* -1: the first of its account and currency */
	struct message message;
	const char *detail; /* of a dead letter: a constant sentence */
};

_Static_assert(sizeof(struct record) == 256, "whole lines of the cache");

/* A balance that the batch changed, or to which it added a journal row. */
struct touched {
	struct balance_key key;
	balance_ref ref;
	struct balance before; /* last_offset -1: the database has no row for it */
	struct balance after;  /* from batch close on */
};

struct batch {
	struct arena arena;
	struct record *records;
	size_t count;
	size_t capacity;  /* consumer.batch_max_events */
	size_t bytes;     /* of the messages: keys and values */
	size_t bytes_max; /* consumer.batch_max_bytes; one message always fits */
	enum balance_pin pin;
	int64_t begin_offset; /* the next_offset before this batch */
	int64_t end_offset;   /* the next_offset after it */
	int64_t closed_ms;    /* wall clock at the close: updated_at */
	/* counted by the ledger: */
	size_t journal_count;
	size_t dead_letter_count;
	size_t refused_count; /* of the journal's */
	size_t duplicate_count;
	size_t remembered_count; /* ids that dedupe took in for this batch */
	struct touched *touched; /* in the order in which they were met */
	size_t touched_count;
	size_t known_count; /* of them, those that the database has a row for */
	uint32_t *order;    /* from close on: the indices of touched[] by account and currency */
};

void batch_init(struct batch *b, size_t capacity, size_t bytes_max, enum balance_pin pin);
void batch_finish(struct batch *b);

/* Empties it; the next message expected is begin_offset. */
void batch_reset(struct batch *b, int64_t begin_offset);

bool batch_full(const struct batch *b);
bool batch_empty(const struct batch *b); /* no record, and the offset does not move */

/*
 * Takes a message in, undecided, and returns its record.  Its bytes stay where they are.  The batch
 * is not full.  The offset is at or after end_offset, which becomes offset + 1.
 */
struct record *batch_add(struct batch *b, const struct message *message);

/* Copies the message's bytes into the arena: for who releases them before the batch is flushed. */
void batch_keep(struct batch *b, struct record *record);

/* The end of the log as the reader sees it: control and aborted records move the offset, too. */
void batch_advance(struct batch *b, int64_t end_offset);

/* Bytes that a batch may hold at most, for the memory that is printed at start. */
size_t batch_bytes_max(size_t capacity, size_t bytes_max);

#endif
