/*
 * Publishing events: an idempotent producer that places every key as the Java client does, and that
 * has succeeded only when every message is acknowledged.
 */
#ifndef CONSUMER_PRODUCE_H
#define CONSUMER_PRODUCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "headers_parse.h"

struct producer;

/* Waits for Kafka: -ENOENT if there is no such topic, -EAGAIN if nobody answers, -EINVAL for a bad
 * property.  prompt: messages come one by one, and latency matters more than full requests. */
int producer_create(
	const struct config *cfg, bool prompt, struct producer **ret_producer, struct error *err);

/* What was not acknowledged is dropped. */
void producer_destroy(struct producer *producer);

/*
 * Sends a message, waiting while the queue is full.  key NULL: none (partition 0); value NULL: a
 * null value.  The bytes are copied.  A failure that another message met before is returned, too.
 */
int producer_send(struct producer *producer, const char *key, size_t key_length, const char *value,
	size_t value_length, struct error *err);

/* The same with headers.  What is empty stays empty, what is NULL stays absent. */
int producer_send_headers(struct producer *producer, const char *key, size_t key_length,
	const char *value, size_t value_length, const struct header_list *headers,
	struct error *err);

/* How many partitions the topic has, and the id of its cluster. */
int32_t producer_partitions(const struct producer *producer);
const char *producer_cluster_id(const struct producer *producer);

/* Waits until every message is acknowledged, or one has failed. */
int producer_finish(struct producer *producer, struct error *err);

int64_t producer_acknowledged(const struct producer *producer);

#endif
