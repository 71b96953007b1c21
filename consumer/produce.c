#include "produce.h"

#include <errno.h>
#include <stdlib.h>

#include "kafka.h"
#include "mem.h"
#include "murmur2.h"

#define ASK_MS         10000
#define FULL_WAIT_MS   20 /* while the queue is full */
#define FINISH_WAIT_MS 100
#define REPORTS_EVERY  4096 /* messages between two looks at the reports */

struct producer {
	const struct config *cfg;
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	rd_kafka_queue_t *reports;
	int32_t partitions;
	char cluster_id[KAFKA_CLUSTER_ID_MAX];
	int64_t sent;
	int64_t acknowledged;
	rd_kafka_resp_err_t failure; /* of the first message that failed */
};

int producer_create(
	const struct config *cfg, bool prompt, struct producer **ret_producer, struct error *err)
{
	struct producer *producer = xcalloc(1, sizeof *producer);
	enum kafka_role role = prompt ? KAFKA_PROMPT_PRODUCER : KAFKA_PRODUCER;
	int rc = kafka_open(cfg, role, NULL, &producer->rk, err);

	producer->cfg = cfg;
	if (rc == 0)
		rc = kafka_layout(producer->rk, cfg, ASK_MS, &producer->partitions,
			producer->cluster_id, err);
	if (rc != 0) {
		if (producer->rk)
			rc = kafka_refusal(producer->rk, rc, err);
		producer_destroy(producer);
		return rc;
	}
	producer->topic = rd_kafka_topic_new(producer->rk, cfg->kafka.topic, NULL);
	producer->reports = rd_kafka_queue_get_main(producer->rk);
	*ret_producer = producer;
	return 0;
}

void producer_destroy(struct producer *producer)
{
	if (producer->reports)
		rd_kafka_queue_destroy(producer->reports);
	if (producer->topic)
		rd_kafka_topic_destroy(producer->topic);
	kafka_close(producer->rk);
	free(producer);
}

/* Delivery reports: one event stands for many messages. */
static void take_report(struct producer *producer, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message;

	while ((message = rd_kafka_event_message_next(event))) {
		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			producer->acknowledged++;
		else if (producer->failure == RD_KAFKA_RESP_ERR_NO_ERROR)
			producer->failure = message->err;
	}
}

static void take_reports(struct producer *producer, int timeout_ms)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(producer->reports, timeout_ms))) {
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
			take_report(producer, event);
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			kafka_log_error(producer->rk, event);
		rd_kafka_event_destroy(event);
		timeout_ms = 0;
	}
}

static int failed(struct producer *producer, struct error *err)
{
	return kafka_error(producer->cfg, producer->failure, err, "publishing to %s",
		producer->cfg->kafka.topic);
}

static int32_t partition_of(const struct producer *producer, const char *key, size_t key_length)
{
	return key ? murmur2_partition(key, key_length, producer->partitions) : 0;
}

/* A message that was not taken; 0: there is room now, send it again. */
static int make_room(struct producer *producer, rd_kafka_resp_err_t code, struct error *err)
{
	if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		producer->failure = code;
		return failed(producer, err);
	}
	take_reports(producer, FULL_WAIT_MS);
	return 0;
}

/* A message that was taken. */
static int sent(struct producer *producer, struct error *err)
{
	if (++producer->sent % REPORTS_EVERY == 0)
		take_reports(producer, 0);
	return producer->failure ? failed(producer, err) : 0;
}

int producer_send(struct producer *producer, const char *key, size_t key_length, const char *value,
	size_t value_length, struct error *err)
{
	int32_t partition = partition_of(producer, key, key_length);
	int rc;

	while (rd_kafka_produce(producer->topic, partition, RD_KAFKA_MSG_F_COPY, (void *)value,
		       value_length, key, key_length, NULL) != 0) {
		rc = make_room(producer, rd_kafka_last_error(), err);
		if (rc != 0)
			return rc;
	}
	return sent(producer, err);
}

static rd_kafka_headers_t *make_headers(const struct header_list *list)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(list->count);

	for (size_t i = 0; i < list->count; i++) {
		const struct header *header = &list->headers[i];

		rd_kafka_header_add(headers, header->name, (ssize_t)header->name_length,
			header->value, (ssize_t)header->value_length);
	}
	return headers;
}

int producer_send_headers(struct producer *producer, const char *key, size_t key_length,
	const char *value, size_t value_length, const struct header_list *headers,
	struct error *err)
{
	rd_kafka_headers_t *made = make_headers(headers);
	rd_kafka_resp_err_t code;
	int rc = 0;

	while (rc == 0) {
		code = rd_kafka_producev(producer->rk, RD_KAFKA_V_RKT(producer->topic),
			RD_KAFKA_V_PARTITION(partition_of(producer, key, key_length)),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_length),
			RD_KAFKA_V_VALUE((void *)value, value_length), RD_KAFKA_V_HEADERS(made),
			RD_KAFKA_V_END);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR) /* the headers are librdkafka's now */
			return sent(producer, err);
		rc = make_room(producer, code, err);
	}
	rd_kafka_headers_destroy(made);
	return rc;
}

int32_t producer_partitions(const struct producer *producer)
{
	return producer->partitions;
}

const char *producer_cluster_id(const struct producer *producer)
{
	return producer->cluster_id;
}

int producer_finish(struct producer *producer, struct error *err)
{
	while (producer->acknowledged < producer->sent && !producer->failure)
		take_reports(producer, FINISH_WAIT_MS);
	return producer->failure ? failed(producer, err) : 0;
}

int64_t producer_acknowledged(const struct producer *producer)
{
	return producer->acknowledged;
}
