/*
 * What the tests of topic_kafka share: a configuration, a producer that puts numbered messages into
 * a partition, and reading until something comes.
 *
 * Message number n of a partition has the key "<n>" and the value "<partition>:<n>".
 */
#ifndef TESTS_KAFKA_FIXTURE_H
#define TESTS_KAFKA_FIXTURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "clock.h"
#include "config.h"
#include "kafka_client.h"
#include "topic_kafka.h"

#define ITEMS   64
#define WAIT_MS 20000 /* far longer than anything takes, for slow machines */

/* Only errors are logged, everything if FIXTURE_LOG is in the environment. */
void fixture_quiet(void);

/* `more` is YAML that follows the section kafka's first options, or "". */
void fixture_config(struct config *cfg, const char *servers, const char *topic, const char *more);

rd_kafka_t *fixture_producer(const char *servers, const char *transactional_id);

/* One message; waits only for room. */
void fixture_send(rd_kafka_t *producer, const char *topic, int32_t partition, int64_t number);

/* Numbers from..to-1, and waits until all are in the log. */
void fixture_fill(
	rd_kafka_t *producer, const char *topic, int32_t partition, int64_t from, int64_t to);

/* Polls until something comes; 0 if nothing does within WAIT_MS. */
size_t fixture_poll(struct topic *t, struct topic_item *items, size_t max);

void fixture_open(struct topic *t, int64_t offset);

/* Reads up to the first item that is no message, which is returned.  Messages begin at `from`, are
 * consecutive, and number n is at offset n. */
struct topic_item fixture_read(struct topic *t, int32_t partition, int64_t from);

/* A message is what fixture_fill wrote as `number`. */
void fixture_check(const struct message *m, int32_t partition, int64_t number);

int64_t fixture_now_ms(void);

#endif
