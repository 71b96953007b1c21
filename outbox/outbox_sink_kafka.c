/*
 * See outbox_sink_kafka.h.
 *
 * librdkafka's transactions: each call is bounded by CALL_MS, and one whose time is over says that
 * it can be made again, which goes on with what it had begun.  Delivery reports come by callback,
 * from within these calls, on the caller's thread; so there is nothing to lock.
 *
 * Whether a topic exists is asked before its first row: a message for a topic that is missing would
 * hold the whole transaction up for seconds.
 */
#include "outbox_sink_kafka.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka.h"
#include "mem.h"
#include "topics_aside.h"

#define CALL_MS    1000
#define FULL_MS    100 /* while librdkafka's queue is full */
#define TOPICS_MAX 64

struct outbox_sink_kafka {
	struct outbox_sink sink;
	const struct config *cfg;
	rd_kafka_t *rk; /* NULL: not open */
	bool begun;     /* a transaction */
	char *places;   /* one for each message of a transaction: which it is, as a pointer */
	size_t sent;    /* messages of it, and what was reported of them: */
	size_t reported;
	size_t failed_index;                           /* the first that failed */
	rd_kafka_resp_err_t failed;                    /* NO_ERROR: none did */
	char topics[TOPICS_MAX][OUTBOX_TOPIC_MAX + 1]; /* that are known to exist */
	size_t topic_count;
};

static struct outbox_sink_kafka *self(struct outbox_sink *s)
{
	return (struct outbox_sink_kafka *)s;
}

/* What an error means -------------------------------------------------------------------------- */

/* Whether another producer with our transactional.id has taken over; after a fatal error. */
static bool is_fenced(struct outbox_sink_kafka *s, rd_kafka_resp_err_t code)
{
	if (code == RD_KAFKA_RESP_ERR__FATAL)
		code = rd_kafka_fatal_error(s->rk, NULL, 0);
	return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
	       code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

static enum sink_result fatal(struct outbox_sink_kafka *s, rd_kafka_resp_err_t code)
{
	return is_fenced(s, code) ? SINK_FENCED : SINK_BROKEN;
}

/* Of a call on the transaction; frees the error. */
static enum sink_result transaction_failed(
	struct outbox_sink_kafka *s, const char *what, rd_kafka_error_t *error, struct error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_error_code(error);
	enum sink_result result = SINK_BROKEN;

	error_set(err, -EIO,
		"%s as outboxd.%s: %s: is %s (kafka.bootstrap_servers) reachable, and may we use "
		"this transactional.id (ACLs)?",
		what, s->cfg->ledger.name, rd_kafka_error_string(error),
		s->cfg->kafka.bootstrap_servers);
	if (rd_kafka_error_is_fatal(error) || is_fenced(s, code))
		result = fatal(s, code);
	else if (rd_kafka_error_txn_requires_abort(error))
		result = SINK_ABORT;
	else if (rd_kafka_error_is_retriable(error))
		result = SINK_AGAIN;
	rd_kafka_error_destroy(error);
	return result;
}

static enum sink_result topic_failed(
	const char *topic, rd_kafka_resp_err_t code, enum sink_result result, struct error *err)
{
	const char *remedy = "is Kafka reachable?";

	if (result == SINK_REFUSED)
		remedy = "Kafka allows a-z A-Z 0-9 . _ - in a topic's name";
	else if (kafka_code(code) == -EACCES)
		remedy = "allow outboxd to write to it (ACLs)";
	else if (result == SINK_TOPIC)
		remedy = "create it, or correct the row's topic";
	error_set(err, kafka_code(code), "topic %s: %s: %s", topic, rd_kafka_err2str(code), remedy);
	return result;
}

/* What the error of a message, or of its topic, means for its row. */
static enum sink_result judge(rd_kafka_resp_err_t code)
{
	switch (code) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return SINK_OK;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
	case RD_KAFKA_RESP_ERR__INVALID_ARG:
		return SINK_REFUSED;
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		return SINK_TOPIC;
	default:
		return SINK_ABORT;
	}
}

/* Opening and closing -------------------------------------------------------------------------- */

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *context)
{
	struct outbox_sink_kafka *s = context;

	s->reported++;
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR || s->failed != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	s->failed = message->err;
	s->failed_index = (size_t)((const char *)message->_private - s->places);
}

static void kafka_sink_close(struct outbox_sink *sink)
{
	struct outbox_sink_kafka *s = self(sink);

	kafka_close(s->rk);
	s->rk = NULL;
	s->begun = false;
	s->topic_count = 0;
}

/* Called again while it says AGAIN, it goes on with the same producer. */
static enum sink_result kafka_sink_open(struct outbox_sink *sink, struct error *err)
{
	struct outbox_sink_kafka *s = self(sink);
	rd_kafka_error_t *error;

	if (!s->rk && kafka_open_relay(s->cfg, on_delivered, s, &s->rk, err) != 0)
		return SINK_BROKEN;
	error = rd_kafka_init_transactions(s->rk, CALL_MS);
	if (!error)
		return SINK_OK;
	rd_kafka_poll(s->rk, 0);
	return transaction_failed(s, "opening a producer", error, err);
}

/* Sending -------------------------------------------------------------------------------------- */

static bool is_known(const struct outbox_sink_kafka *s, const char *topic)
{
	for (size_t i = 0; i < s->topic_count; i++)
		if (strcmp(s->topics[i], topic) == 0)
			return true;
	return false;
}

static void learn(struct outbox_sink_kafka *s, const char *topic)
{
	if (s->topic_count == TOPICS_MAX)
		s->topic_count = 0; /* they are asked for again */
	snprintf(s->topics[s->topic_count++], OUTBOX_TOPIC_MAX + 1, "%s", topic);
}

static rd_kafka_resp_err_t ask_topic(struct outbox_sink_kafka *s, const char *topic)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *handle = rd_kafka_topic_new(s->rk, topic, NULL);
	rd_kafka_resp_err_t code;

	if (!handle)
		return rd_kafka_last_error();
	code = rd_kafka_metadata(s->rk, 0, handle, &metadata, CALL_MS);
	rd_kafka_topic_destroy(handle);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return code;
	if (metadata->topic_cnt != 1)
		code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	else
		code = metadata->topics[0].err;
	rd_kafka_metadata_destroy(metadata);
	return code;
}

/* OK, REFUSED, TOPIC or AGAIN. */
static enum sink_result check_topic(
	struct outbox_sink_kafka *s, const char *topic, struct error *err)
{
	rd_kafka_resp_err_t code;
	enum sink_result result;

	if (is_known(s, topic))
		return SINK_OK;
	code = ask_topic(s, topic);
	result = judge(code);
	if (result == SINK_OK) {
		learn(s, topic);
		return SINK_OK;
	}
	if (result == SINK_ABORT) /* nobody answered, or it has no leader yet */
		result = SINK_AGAIN;
	return topic_failed(topic, code, result, err);
}

static enum sink_result begin(struct outbox_sink_kafka *s, struct error *err)
{
	rd_kafka_error_t *error = rd_kafka_begin_transaction(s->rk);

	if (error)
		return transaction_failed(s, "beginning a transaction", error, err);
	s->begun = true;
	s->sent = s->reported = 0;
	s->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
	return SINK_OK;
}

static rd_kafka_resp_err_t produce(struct outbox_sink_kafka *s, const struct outbox_row *row)
{
	return rd_kafka_producev(s->rk, RD_KAFKA_V_TOPIC(row->topic),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_KEY((void *)row->key, row->key_length),
		RD_KAFKA_V_VALUE((void *)row->payload, row->payload_length),
		RD_KAFKA_V_HEADER("event_id", row->event_id, -1),
		RD_KAFKA_V_OPAQUE(&s->places[s->sent]), RD_KAFKA_V_END);
}

static enum sink_result row_failed(struct outbox_sink_kafka *s, const struct outbox_row *row,
	rd_kafka_resp_err_t code, struct error *err)
{
	if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		rd_kafka_poll(s->rk, FULL_MS);
		error_set(err, -EAGAIN, "librdkafka's queue is full");
		return SINK_AGAIN;
	}
	if (code == RD_KAFKA_RESP_ERR__FATAL || is_fenced(s, code)) {
		error_set(err, -EIO, "sending to topic %s: %s", row->topic, rd_kafka_err2str(code));
		return fatal(s, code);
	}
	return topic_failed(row->topic, code, judge(code), err);
}

static enum sink_result kafka_sink_send(
	struct outbox_sink *sink, const struct outbox_row *row, struct error *err)
{
	struct outbox_sink_kafka *s = self(sink);
	enum sink_result result = check_topic(s, row->topic, err);
	rd_kafka_resp_err_t code;

	if (result == SINK_OK && !s->begun)
		result = begin(s, err);
	if (result != SINK_OK)
		return result;
	assert(s->sent < (size_t)s->cfg->outbox.batch_max_rows);
	code = produce(s, row);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return row_failed(s, row, code, err);
	s->sent++;
	return SINK_OK;
}

/* What the first report of a failure means for the transaction. */
static enum sink_result delivery_failed(
	struct outbox_sink_kafka *s, size_t *ret_index, struct error *err)
{
	enum sink_result result = judge(s->failed);

	*ret_index = s->failed_index;
	if (s->failed == RD_KAFKA_RESP_ERR__FATAL || is_fenced(s, s->failed))
		result = fatal(s, s->failed);
	if (result == SINK_TOPIC)
		s->topic_count = 0;
	error_set(err, kafka_code(s->failed), "Kafka does not take it: %s%s",
		rd_kafka_err2str(s->failed),
		judge(s->failed) == SINK_REFUSED
			? "; raise the topic's max.message.bytes and the brokers' limits, or make "
			  "the payload smaller"
			: "");
	return result;
}

/* Also when nothing but the end of an aborted transaction is reported. */
static enum sink_result kafka_sink_flush(
	struct outbox_sink *sink, size_t *ret_index, struct error *err)
{
	struct outbox_sink_kafka *s = self(sink);

	rd_kafka_flush(s->rk, CALL_MS);
	if (s->failed != RD_KAFKA_RESP_ERR_NO_ERROR)
		return delivery_failed(s, ret_index, err);
	if (s->reported == s->sent)
		return SINK_OK;
	error_set(err, -EAGAIN, "Kafka has acknowledged %zu of %zu messages: is %s reachable?",
		s->reported, s->sent, s->cfg->kafka.bootstrap_servers);
	return SINK_AGAIN;
}

static enum sink_result kafka_sink_commit(struct outbox_sink *sink, struct error *err)
{
	struct outbox_sink_kafka *s = self(sink);
	rd_kafka_error_t *error = rd_kafka_commit_transaction(s->rk, CALL_MS);

	if (error)
		return transaction_failed(s, "committing a transaction", error, err);
	s->begun = false;
	return SINK_OK;
}

static enum sink_result kafka_sink_abort(struct outbox_sink *sink, struct error *err)
{
	struct outbox_sink_kafka *s = self(sink);
	rd_kafka_error_t *error;
	enum sink_result result;

	if (!s->begun)
		return SINK_OK;
	error = rd_kafka_abort_transaction(s->rk, CALL_MS);
	if (!error) {
		s->begun = false;
		return SINK_OK;
	}
	result = transaction_failed(s, "aborting a transaction", error, err);
	return result == SINK_ABORT ? SINK_BROKEN : result;
}

static void kafka_sink_destroy(struct outbox_sink *sink)
{
	kafka_sink_close(sink);
	free(self(sink)->places);
	free(sink);
}

static const struct outbox_sink_ops kafka_ops = {
	.open = kafka_sink_open,
	.send = kafka_sink_send,
	.flush = kafka_sink_flush,
	.commit = kafka_sink_commit,
	.abort = kafka_sink_abort,
	.close = kafka_sink_close,
	.destroy = kafka_sink_destroy,
};

struct outbox_sink *outbox_sink_kafka_create(const struct config *cfg)
{
	struct outbox_sink_kafka *s = xcalloc(1, sizeof *s);

	s->sink.ops = &kafka_ops;
	s->cfg = cfg;
	s->places = xcalloc((size_t)cfg->outbox.batch_max_rows, 1);
	return &s->sink;
}
