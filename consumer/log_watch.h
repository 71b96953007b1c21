/*
 * Looks at what is at the offsets of some marks (log_anchor.h) in their partitions' logs: the
 * partitions are assigned there all at once, the first message of each is the answer, and then they
 * are unassigned.  A look lasts some milliseconds, and Kafka sends one small response's worth of
 * each partition.
 *
 * It does not wait: who owns it hands it what comes from the asker's queue, and ends it when it is
 * done or its time is over.  It owns the asker's assignment.  An error is no answer: it may heal,
 * and if not, the next look asks again.
 */
#ifndef CONSUMER_LOG_WATCH_H
#define CONSUMER_LOG_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kafka.h"
#include "log_anchor.h"

struct log_look {
	int32_t partition;  /* once in a watch */
	uint64_t reader_id; /* the owner's */
	struct log_mark mark;
	enum log_answer answer;
	bool answered;
};

struct log_watch {
	struct log_look *looks; /* NULL: not looking; freed by log_watch_end */
	size_t count;
	size_t waiting; /* for so many answers */
};

/* Takes the looks, one or more. */
void log_watch_begin(struct log_watch *watch, rd_kafka_t *asker, const char *topic,
	struct log_look *looks, size_t count);

/* What came for a partition: a message, or an error instead of it.  Anything is allowed that comes
 * while nothing is looked for, or more of a partition than was asked for. */
void log_watch_take(struct log_watch *watch, int32_t partition, const struct message *message);
void log_watch_take_error(struct log_watch *watch, int32_t partition, rd_kafka_resp_err_t code);

/* Of each partition; those without one stay LOG_SILENT. */
bool log_watch_done(const struct log_watch *watch);

void log_watch_end(struct log_watch *watch, rd_kafka_t *asker);

#endif
