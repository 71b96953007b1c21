/*
 * Notices that a partition's log is no longer the one that was read: the topic was deleted and made
 * anew, and the new log already reaches beyond our offset.  A reader of librdkafka just reads on
 * then (measured, 2.0.2; shorter logs are out of range or gone).
 *
 * The sign is Kafka's own answer to "which is the first offset with this time or a later one?",
 * asked for the time of a message that was read: in one log it never changes, until retention
 * deletes that offset.  In a new log it is another one, but for a log whose messages have the times
 * of the old ones, which is a copy.
 *
 * Asks and compares; holds no state.  Waits for Kafka.
 */
#ifndef CONSUMER_LOG_WATCH_H
#define CONSUMER_LOG_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kafka.h"

#define LOG_WATCH_NONE INT64_C(-1)

struct log_watch {
	int32_t partition;
	int64_t time_ms; /* of a message that was read; LOG_WATCH_NONE: not watched */
	int64_t offset;  /* Kafka's answer; LOG_WATCH_NONE: not asked yet */
};

/* Fills the offsets; those that Kafka does not answer stay LOG_WATCH_NONE. */
void log_watch_ask(rd_kafka_t *asker, const char *topic, struct log_watch *watches, size_t count,
	int timeout_ms);

/* Whether the log is another one.  -EAGAIN, and *ret_changed is false, if Kafka does not answer. */
int log_watch_compare(rd_kafka_t *asker, const char *topic, const struct log_watch *watch,
	int timeout_ms, bool *ret_changed);

/* The rule: an answer `before`, one `now` (LOG_WATCH_NONE: no such offset), and where the log
 * begins now. */
bool log_watch_differs(int64_t before, int64_t now, int64_t begin);

#endif
