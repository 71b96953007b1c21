/*
 * Connections to Kafka: the settings that librdkafka gets for each of the roles that this program
 * has, its log and its errors in this program's log, and the questions that every role may ask.
 *
 * A connection is librdkafka's own rd_kafka_t with threads of its own; whoever opened it closes it,
 * after everything that was made from it.  Nothing here retries.  Waits are bounded by the
 * caller's timeout.
 */
#ifndef COMMON_KAFKA_H
#define COMMON_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

#include "config.h"
#include "error.h"

enum kafka_role {
	KAFKA_READER,   /* fetches as a read_committed reader; never commits an offset */
	KAFKA_ASKER,    /* watermarks, layout, settings, offsets shown to Kafka's tools; fetches
			   little at a time, whatever kafka.properties say */
	KAFKA_PRODUCER, /* idempotent; places keys as the Java client does */
	KAFKA_PROMPT_PRODUCER, /* the same; a message hardly waits for others to come along */
	KAFKA_RELAY,           /* the same, with transactions: kafka_open_relay */
};

#define KAFKA_CLUSTER_ID_MAX 64 /* with the NUL */

/* An error that is not about one message; called by whoever takes it from a queue. */
typedef void kafka_error_fn(rd_kafka_t *rk, int code, const char *text, void *context);

/*
 * Settings: what the role needs, and kafka.properties over it.  Does not wait for a broker.
 * on_error is for queues that are not polled for events; NULL: none.
 * 0, or -EINVAL if librdkafka refuses a property (a matter for exit status 2), -EIO otherwise.
 */
int kafka_open(const struct config *cfg, enum kafka_role role, kafka_error_fn *on_error,
	rd_kafka_t **ret_rk, struct error *err);

/* What became of a message; called from within rd_kafka_poll, _flush, _commit_transaction and
 * _abort_transaction, by whoever calls these.  The message is librdkafka's. */
typedef void kafka_delivered_fn(rd_kafka_t *rk, const rd_kafka_message_t *message, void *context);

/*
 * A producer for `outboxd`, with the transactional.id "outboxd.<ledger.name>": the newest that
 * calls rd_kafka_init_transactions shuts all others out.  Nothing goes to queues: errors go to the
 * log.  As kafka_open otherwise.
 */
int kafka_open_relay(const struct config *cfg, kafka_delivered_fn *on_delivered, void *context,
	rd_kafka_t **ret_rk, struct error *err);

/* Everything made from it is destroyed.  Messages that wait to be sent are dropped.  Takes
 * some seconds at most; then librdkafka's threads are left behind.  NULL is allowed. */
void kafka_close(rd_kafka_t *rk);

/* Most messages and bytes of them that the reader holds for a partition: the share of
 * kafka.fetch_buffer that they may have, librdkafka's own memory for each message counted. */
int64_t kafka_queued_messages(const struct config *cfg);

/* Whether librdkafka itself returns at once to a queue that was full; before 2.2 it may take a
 * second, unless its thread is woken by a request. */
bool kafka_refills_at_once(void);

/*
 * The topic as Kafka has it now: how many partitions, and the cluster's id.
 * -ENOENT if there is no such topic, -EACCES if we may not see it, -EAGAIN if nobody answered.
 */
int kafka_layout(rd_kafka_t *rk, const struct config *cfg, int timeout_ms, int32_t *ret_partitions,
	char ret_cluster_id[KAFKA_CLUSTER_ID_MAX], struct error *err);

/*
 * For clients whose main queue nobody polls, after a call that failed with rc: if Kafka has refused
 * the login or the certificates have failed meanwhile, err says so instead.  -EACCES then, else rc.
 */
int kafka_refusal(rd_kafka_t *rk, int rc, struct error *err);

/* A negative errno for librdkafka's: -EAGAIN, -ENOENT, -EACCES, -EINVAL or -EIO. */
int kafka_code(rd_kafka_resp_err_t code);

/* Writes "<what>: <librdkafka's words>: <remedy>" and returns kafka_code(code). */
int kafka_error(const struct config *cfg, rd_kafka_resp_err_t code, struct error *err,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Writes an error event, which is not about one partition, to the log.  The event stays the
 * caller's. */
void kafka_log_error(rd_kafka_t *rk, rd_kafka_event_t *event);

#endif
