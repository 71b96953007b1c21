/*
 * Whether a log that is being read is still the one that was read before: the rule.  Pure.
 *
 * A topic that is deleted and made anew has another log under the same name, and a reader whose
 * offset is in it reads on.  So a message that was read is held as an anchor, and log_watch.h looks
 * again and again at what is at its offset.  Another message there is another log.
 *
 * The anchor must not be taken from the new log, or it would agree with it for ever:
 *  - It moves to a message that was read later, so that it stays where the log is being read and
 *    retention seldom reaches it; but only after a look that found the old one in its place, and
 *    that began a whole interval after the new one was read.
 *  - It also moves when its offset is not in the log.  Either retention has deleted it, or the log
 *    is a new one and ends before it; then its reader, which is further on, is out of range itself.
 *    Until it can move it stays: what retention has deleted does not come back, a new log begins
 *    at 0, and so what is found there later is another log's.
 *  - Before anything was read, the offset before the log's beginning is the anchor, and no message
 *    agrees with it.
 *
 * What it does not notice: a new log whose beginning was deleted beyond the anchor; and one whose
 * messages have the same time, key and value at the anchor, a copy.
 */
#ifndef CONSUMER_LOG_ANCHOR_H
#define CONSUMER_LOG_ANCHOR_H

#include <stdbool.h>

#include "message.h"

#define LOG_MARK_NONE INT64_C(-1)

/* What is remembered of a message. */
struct log_mark {
	int64_t offset; /* LOG_MARK_NONE: of no message */
	int64_t timestamp_ms;
	size_t key_length;
	size_t value_length;
	uint32_t key_hash;
	uint32_t value_hash;
};

struct log_anchor {
	struct log_mark held;
	struct log_mark next; /* takes its place; LOG_MARK_NONE: not read yet */
	bool next_waited;     /* a look has ended since it was read */
};

/* What a look at a mark's offset found. */
enum log_answer {
	LOG_SILENT, /* nothing, or an error: nothing can be said */
	LOG_SAME,
	LOG_ABSENT, /* the offset is not in the log */
	LOG_OTHER,
};

void log_anchor_init(struct log_anchor *anchor);

/* The log has told that it begins at this offset. */
void log_anchor_begins(struct log_anchor *anchor, int64_t begin_offset);

/* Whether the next message that is read is wanted. */
bool log_anchor_wants(const struct log_anchor *anchor);

/* A message was read, and is wanted. */
void log_anchor_read(struct log_anchor *anchor, const struct message *message);

/* A look at the mark that is held has ended with this answer. */
void log_anchor_answered(struct log_anchor *anchor, enum log_answer answer);

/* The first message at or behind the mark's offset: LOG_SAME or LOG_OTHER.  A log that is not
 * compacted has no other gaps than those that were there when it was read. */
enum log_answer log_mark_compare(const struct log_mark *mark, const struct message *message);

#endif
