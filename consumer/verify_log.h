/*
 * A partition's log as `verify --from-kafka` reads it: every message that a read_committed reader
 * is given, from the log's beginning to next_offset, in order.
 */
#ifndef CONSUMER_VERIFY_LOG_H
#define CONSUMER_VERIFY_LOG_H

#include <stdbool.h>

#include "clock.h"
#include "topic.h"
#include "verify_report.h"

struct verify_log;

/*
 * Asks for the log's ends and opens it.  The topic and the clock stay the caller's.  A log that
 * ends below next_offset is a difference; one that begins above 0 is noted.  -EAGAIN if Kafka does
 * not answer.
 */
int verify_log_open(struct topic *topic, const struct clock *clock, int32_t partition,
	int64_t next_offset, struct verify_report *report, struct verify_log **ret_log,
	struct error *err);
void verify_log_close(struct verify_log *log);

/* The next message, without headers; NULL when all below next_offset have been passed.  Good until
 * it is passed and another one is asked for. */
int verify_log_message(
	struct verify_log *log, const struct message **ret_message, struct error *err);
void verify_log_pass(struct verify_log *log);

/* Adds its headers to the next message, which is there. */
void verify_log_headers(struct verify_log *log);

/* Whether the log should have a message at this offset; rows below it began are no longer in it.
 * To be asked after verify_log_message. */
bool verify_log_covers(const struct verify_log *log, int64_t offset);

#endif
