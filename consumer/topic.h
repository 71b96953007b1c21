/*
 * The log as a partition sees it.
 *
 * The real one is topic_kafka.c, the one in memory topic_memory.c.  A topic is one partition's
 * reader and is used by that partition's thread alone, but for topic_wake, which any thread may
 * call.  Messages arrive as a read_committed reader sees them, in offset order, each once, and
 * never below the offset asked for.
 *
 * A message's bytes stay the topic's: nothing is copied of what is only looked at.  They are good
 * until release, open or close.  Headers are read by few and cost as much as all the rest, so they
 * are asked for by message.
 */
#ifndef CONSUMER_TOPIC_H
#define CONSUMER_TOPIC_H

#include "arena.h"
#include "error.h"
#include "message.h"

enum topic_item_kind {
	TOPIC_MESSAGE,
	TOPIC_END, /* nothing after end_offset now: control and aborted records are behind it */
	TOPIC_OUT_OF_RANGE, /* the offset asked for is not in the log */
	TOPIC_GONE, /* unknown topic or partition, or made anew: look again from the start */
};

struct topic_item {
	enum topic_item_kind kind;
	struct message message; /* TOPIC_MESSAGE: good until it is released */
	int64_t end_offset;     /* TOPIC_END */
};

struct topic_layout {
	int32_t partitions;
	char cluster_id[64];
};

struct topic;

struct topic_ops {
	/* Starts reading at this offset, wherever it was before.  0 or a negative code. */
	int (*open)(struct topic *t, int64_t offset, struct error *err);
	void (*close)(struct topic *t);
	/*
	 * Waits until something is there, the timeout has passed, or somebody calls wake; then
	 * takes what is there without waiting, at most `max` items.  Returns how many (0 or more).
	 */
	size_t (*poll)(struct topic *t, int timeout_ms, struct topic_item *items, size_t max);
	/* Adds its headers to a message that was not released yet; they are in the arena. */
	void (*headers)(struct topic *t, struct message *message, struct arena *arena);
	/* Messages below this offset are not needed any more (INT64_MAX: all that came). */
	void (*release)(struct topic *t, int64_t offset);
	/* Ends a poll that waits, or the next one. */
	void (*wake)(struct topic *t);
	/* First offset in the log, and the one after its last.  -EAGAIN if Kafka did not answer. */
	int (*watermarks)(struct topic *t, int64_t *ret_low, int64_t *ret_high, struct error *err);
	/* The high watermark as last heard of, without asking; -1 if it is not known. */
	int64_t (*high_watermark)(struct topic *t);
	/* The topic's shape as Kafka has it now.  -EAGAIN if it did not answer, -ENOENT if there is
	 * no such topic. */
	int (*layout)(struct topic *t, struct topic_layout *ret_layout, struct error *err);
	/* Shows the offset to Kafka's own tools (group ledger.<name>); never waits, never fails. */
	void (*mirror)(struct topic *t, int64_t next_offset);
	void (*destroy)(struct topic *t);
};

/* Every topic begins with this. */
struct topic {
	const struct topic_ops *ops;
};

#endif
