/*
 * `ledgerd dead-letters redrive`: publishes dead letters again, key, value and headers byte for
 * byte, to the partition of their key.
 *
 * First a plan: which letters, counted by reason; then, some at a time, they are read, published,
 * acknowledged, and marked (redriven_at).  An end in between leaves some that are published and not
 * marked: the next redrive publishes them a second time, which is harmless, as an event counts
 * once. The plan also bounds the work: a letter that becomes a dead letter again is not met a
 * second time.
 *
 * By default a letter is published only if it can become something else: the decoder of this
 * program, asked about the key's own partition, takes it for an event.  That is so for every
 * WRONG_PARTITION.  An ID_CONFLICT stays one.  The message's time is that of the redrive (an old
 * one could be deleted by the topic's retention before it is read), so an event without `ts` gets
 * that.
 */
#ifndef CONSUMER_REDRIVE_H
#define CONSUMER_REDRIVE_H

#include "dead_letters.h"
#include "produce.h"

#define REDRIVE_REASONS (DEAD_ID_CONFLICT + 1)

struct redrive_letter {
	int32_t partition;
	int64_t offset;
	enum dead_reason reason;
	enum dead_reason again; /* what it will become; DEAD_NONE: an event */
};

struct redrive_plan {
	struct redrive_letter *letters; /* to be published, by partition and offset */
	size_t count;
	size_t capacity;
	int64_t by_reason[REDRIVE_REASONS]; /* of them */
	int64_t again[REDRIVE_REASONS];     /* of them: will be dead letters again, by which */
	int64_t left_out[REDRIVE_REASONS];  /* would be dead letters again, by which */
	int64_t before;                     /* left out, as published again before */
};

struct redrive_options {
	struct dead_letters_filter filter; /* .contents is set here */
	int32_t partitions;                /* of the topic */
	bool again;                        /* also those that were published again before */
	bool hopeless;                     /* also those that will be dead letters again */
};

/* To be finished either way. */
enum db_result redrive_plan(struct db *db, const struct redrive_options *options,
	struct redrive_plan *ret_plan, struct error *err);
void redrive_plan_finish(struct redrive_plan *plan);

/* Publishes and marks the next letters of the plan from *at on, and moves *at behind them;
 * *published counts those that were still there. */
int redrive_some(struct db *db, struct producer *producer, const struct redrive_plan *plan,
	size_t *at, int64_t *published, struct error *err);

#endif
