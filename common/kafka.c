/*
 * See kafka.h.
 *
 * kafka.fetch_buffer is a number of bytes for people, librdkafka's limits are a number of messages
 * and their payload.  A message costs about 350 bytes beside its payload (measured, 2.0.2), and a
 * fetch may go beyond the limits by the one response that reached them; so half the buffer may be
 * payload, one message is allowed for every 640 bytes, and a response is small.
 */
#include "kafka.h"

#include "log.h"
#include "mem.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MESSAGE_BYTES       640 /* of the fetch buffer, for each message */
#define CLOSE_S             5
#define FETCH_QUEUE_BACKOFF "fetch.queue.backoff.ms" /* since 2.2.0 */
#define FETCH_QUEUE_VERSION 0x020200ff
#define SCRAM_VERSION       0x020601ff

struct setting {
	const char *name;
	const char *value;
};

static const struct setting everybody[] = {
	{"client.id", "ledgerd"},
	{"log.connection.close", "false"}, /* idle connections end all the time */
	{"socket.keepalive.enable", "true"},
	{"reconnect.backoff.max.ms", "2000"},
	{NULL, NULL},
};

static const struct setting reader[] = {
	{"isolation.level", "read_committed"},
	{"auto.offset.reset", "error"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"check.crcs", "true"},
	{"allow.auto.create.topics", "false"},
	{"socket.timeout.ms", "20000"},
	{"topic.metadata.propagation.max.ms",
		"10000"}, /* a topic that is missing for longer is gone */
	{"fetch.wait.max.ms", "50"},
	{"fetch.error.backoff.ms", "250"},
	{"fetch.message.max.bytes", "524288"},
	{NULL, NULL},
};

/* It must see the high watermark, not the last stable offset. */
static const struct setting asker[] = {
	{"isolation.level", "read_uncommitted"},
	{"auto.offset.reset", "error"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"check.crcs", "true"},
	{"allow.auto.create.topics", "false"},
	{"socket.timeout.ms", "20000"},
	{NULL, NULL},
};

/* Over kafka.properties, which are about reading much: it wants one message of each partition, and
 * gets the batch that it is in, however large.  All partitions share a queue, whose length counts
 * against each one's limit; a partition at its limit rests for a second. */
static const struct setting small_fetches[] = {
	{"queued.min.messages", "10000"},
	{"fetch.min.bytes", "1"},
	{"fetch.wait.max.ms", "50"},
	{"fetch.message.max.bytes", "32768"},
	{NULL, NULL},
};

static const struct setting producer[] = {
	{"enable.idempotence", "true"},
	{"partitioner", "murmur2_random"},
	{"compression.type", "lz4"},
	{"linger.ms", "10"},
	{"message.max.bytes", "1000000000"}, /* how much it may be is the topic's matter */
	{"queue.buffering.max.messages", "500000"},
	{"queue.buffering.max.kbytes", "262144"},
	{NULL, NULL},
};

/* Over the producer's: what has piled up while a request was on its way is still sent as one. */
static const struct setting prompt_producer[] = {
	{"linger.ms", "1"},
	{NULL, NULL},
};

/* Over both: who stops in a transaction holds up its readers no longer than this. */
static const struct setting relay[] = {
	{"transaction.timeout.ms", "30000"},
	{"topic.metadata.propagation.max.ms", "5000"},
	{NULL, NULL},
};

static const struct setting *const settings_of[] = {
	[KAFKA_READER] = reader,
	[KAFKA_ASKER] = asker,
	[KAFKA_PRODUCER] = producer,
};

/* Errors. */

int kafka_code(rd_kafka_resp_err_t code)
{
	switch (code) {
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		return -ENOENT;
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		return -EACCES;
	case RD_KAFKA_RESP_ERR__INVALID_ARG:
	case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		return -EINVAL;
	case RD_KAFKA_RESP_ERR__TIMED_OUT:
	case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
	case RD_KAFKA_RESP_ERR__TRANSPORT:
	case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
	case RD_KAFKA_RESP_ERR__WAIT_COORD:
	case RD_KAFKA_RESP_ERR__RETRY:
	case RD_KAFKA_RESP_ERR__IN_PROGRESS:
	case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
	case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
	case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

static void remedy(const struct config *cfg, int code, char *text, size_t bytes)
{
	switch (code) {
	case -EAGAIN:
		snprintf(text, bytes,
			"is %s (kafka.bootstrap_servers) running and reachable, and is "
			"security.protocol in kafka.properties what it expects?",
			cfg->kafka.bootstrap_servers);
		break;
	case -ENOENT:
		snprintf(text, bytes, "create the topic %s (kafka.topic), or name another",
			cfg->kafka.topic);
		break;
	case -EACCES:
		snprintf(text, bytes,
			"check the credentials in kafka.properties and the rights at "
			"Kafka (ACLs) for the topic %s and the group ledger.%s",
			cfg->kafka.topic, cfg->ledger.name);
		break;
	default:
		snprintf(text, bytes, "see the brokers' logs (kafka.bootstrap_servers %s)",
			cfg->kafka.bootstrap_servers);
	}
}

int kafka_error(const struct config *cfg, rd_kafka_resp_err_t code, struct error *err,
	const char *format, ...)
{
	char what[160], what_to_do[320];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	remedy(cfg, kafka_code(code), what_to_do, sizeof(what_to_do));
	return error_set(
		err, kafka_code(code), "%s: %s: %s", what, rd_kafka_err2str(code), what_to_do);
}

/* Refusals. */

/* Entries that repeat must be the same to be counted: times and counts at the end are cut off. */
static size_t stable_length(const char *text)
{
	const char *after = strstr(text, " (after ");

	return after ? (size_t)(after - text) : strlen(text);
}

/* Before 2.6.1, librdkafka repeats its nonce, which Kafka 4 no longer takes (librdkafka 4895). */
static bool has_broken_scram(rd_kafka_t *rk)
{
	char mechanism[32];
	size_t bytes = sizeof(mechanism);

	return rd_kafka_version() < SCRAM_VERSION &&
	       rd_kafka_conf_get(rd_kafka_conf(rk), "sasl.mechanisms", mechanism, &bytes) ==
		       RD_KAFKA_CONF_OK &&
	       strncmp(mechanism, "SCRAM", 5) == 0;
}

static const char *refusal_remedy(rd_kafka_t *rk, rd_kafka_resp_err_t code)
{
	switch (code) {
	case RD_KAFKA_RESP_ERR__SSL:
		return "check ssl.ca.location and the other ssl.* in kafka.properties";
	case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		if (has_broken_scram(rk))
			return "librdkafka before 2.6.1 cannot log in to Kafka 4 by SCRAM: take a "
			       "newer one, or sasl.mechanism PLAIN over TLS; with an older Kafka, "
			       "check sasl.username and the password";
		return "check sasl.username and sasl.mechanism in kafka.properties and the "
		       "password (LEDGERD_KAFKA_PASSWORD or kafka.password_file)";
	case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		return "check the rights at Kafka (ACLs) for the topic and the group";
	default:
		return NULL;
	}
}

int kafka_refusal(rd_kafka_t *rk, int rc, struct error *err)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(queue, 0))) {
		const char *remedy = refusal_remedy(rk, rd_kafka_event_error(event));
		const char *text = rd_kafka_event_error_string(event);

		if (remedy)
			rc = error_set(err, -EACCES, "Kafka refuses us: %.*s; %s",
				(int)stable_length(text), text, remedy);
		rd_kafka_event_destroy(event);
	}
	rd_kafka_queue_destroy(queue);
	return rc;
}

/* The log. */

/* librdkafka heals by itself what it calls an error here: a warning at most. */
static enum log_level level_of(int syslog_level, const char *facility)
{
	if (syslog_level >= 7 || strcmp(facility, "CONFWARN") == 0)
		return LOG_LEVEL_DEBUG;
	return syslog_level >= 5 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
}

static void take_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	const struct log_field fields[] = {
		LS("client", rk ? rd_kafka_name(rk) : NULL),
		LS("facility", facility),
		LT("detail", text, stable_length(text)),
	};

	if (log_wanted(level_of(level, facility)))
		log_write(level_of(level, facility), "librdkafka", fields,
			sizeof(fields) / sizeof(fields[0]));
}

void kafka_log_error(rd_kafka_t *rk, rd_kafka_event_t *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *text = rd_kafka_event_error_string(event);

	switch (code) {
	case RD_KAFKA_RESP_ERR__FATAL:
		log_error("Kafka client failed for good", LS("client", rd_kafka_name(rk)),
			LS("detail", text));
		break;
	case RD_KAFKA_RESP_ERR__AUTHENTICATION:
	case RD_KAFKA_RESP_ERR__SSL:
	case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		log_error("Kafka refuses us", LT("detail", text, stable_length(text)),
			LS("remedy", refusal_remedy(rk, code)));
		break;
	case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		log_warn("no Kafka broker answers", LS("client", rd_kafka_name(rk)));
		break;
	default: /* librdkafka writes the others to its log as well */
		log_debug("Kafka", LS("client", rd_kafka_name(rk)), LS("detail", text));
	}
}

/* Settings. */

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *err)
{
	char text[256];

	if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
		return 0;
	return error_set(err, -EINVAL, "kafka.properties: %s: %s", name, text);
}

static int set_number(rd_kafka_conf_t *conf, const char *name, int64_t value, struct error *err)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	return set(conf, name, text, err);
}

static int set_list(rd_kafka_conf_t *conf, const struct setting *list, struct error *err)
{
	int rc = 0;

	for (; rc == 0 && list->name; list++)
		rc = set(conf, list->name, list->value, err);
	return rc;
}

int64_t kafka_queued_messages(const struct config *cfg)
{
	return cfg->kafka.fetch_buffer / MESSAGE_BYTES;
}

bool kafka_refills_at_once(void)
{
	return rd_kafka_version() >= FETCH_QUEUE_VERSION;
}

static int set_group(rd_kafka_conf_t *conf, const struct config *cfg, struct error *err)
{
	char group[80];

	snprintf(group, sizeof(group), "ledger.%s", cfg->ledger.name);
	return set(conf, "group.id", group, err);
}

static int set_relay(rd_kafka_conf_t *conf, const struct config *cfg, struct error *err)
{
	char id[80];

	snprintf(id, sizeof(id), "outboxd.%s", cfg->ledger.name);
	return set_list(conf, relay, err) == 0 ? set(conf, "transactional.id", id, err) : -EINVAL;
}

static int set_buffer(rd_kafka_conf_t *conf, const struct config *cfg, struct error *err)
{
	int rc = set_number(conf, "queued.min.messages", kafka_queued_messages(cfg), err);

	if (rc == 0)
		rc = set_number(conf, "queued.max.messages.kbytes",
			cfg->kafka.fetch_buffer / 2 / 1024, err);
	if (rc == 0 && kafka_refills_at_once())
		rc = set(conf, FETCH_QUEUE_BACKOFF, "5", err);
	return rc;
}

static bool produces(enum kafka_role role)
{
	return role == KAFKA_PRODUCER || role == KAFKA_PROMPT_PRODUCER || role == KAFKA_RELAY;
}

static int set_all(
	rd_kafka_conf_t *conf, const struct config *cfg, enum kafka_role role, struct error *err)
{
	const struct config_properties *properties = &cfg->kafka.properties;
	int rc = set(conf, "bootstrap.servers", cfg->kafka.bootstrap_servers, err);

	if (rc == 0)
		rc = set_list(conf, everybody, err);
	if (rc == 0)
		rc = set_list(conf, settings_of[produces(role) ? KAFKA_PRODUCER : role], err);
	if (rc == 0 && (role == KAFKA_PROMPT_PRODUCER || role == KAFKA_RELAY))
		rc = set_list(conf, prompt_producer, err);
	if (rc == 0 && role == KAFKA_RELAY)
		rc = set_relay(conf, cfg, err);
	if (rc == 0 && !produces(role))
		rc = set_group(conf, cfg, err);
	if (rc == 0 && role == KAFKA_READER)
		rc = set_buffer(conf, cfg, err);
	for (size_t i = 0; rc == 0 && i < properties->count; i++)
		rc = set(conf, properties->items[i].name, properties->items[i].value, err);
	if (rc == 0 && role == KAFKA_ASKER)
		rc = set_list(conf, small_fetches, err);
	if (rc == 0 && cfg->kafka.password[0])
		rc = set(conf, "sasl.password", cfg->kafka.password, err);
	return rc;
}

/* Takes conf, whatever becomes of it. */
static int make_client(
	rd_kafka_conf_t *conf, enum kafka_role role, rd_kafka_t **ret_rk, struct error *err)
{
	char text[256];
	int rc;

	rd_kafka_conf_set_log_cb(conf, take_log);
	*ret_rk = rd_kafka_new(
		produces(role) ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf, text, sizeof(text));
	if (*ret_rk)
		return 0;
	rc = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__INVALID_ARG ? -EINVAL : -EIO;
	rd_kafka_conf_destroy(conf);
	return error_set(err, rc, "kafka.properties: %s", text);
}

int kafka_open(const struct config *cfg, enum kafka_role role, kafka_error_fn *on_error,
	rd_kafka_t **ret_rk, struct error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int events = RD_KAFKA_EVENT_ERROR |
		     (produces(role) ? RD_KAFKA_EVENT_DR
				     : RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_FETCH);
	int rc = set_all(conf, cfg, role, err);

	if (rc != 0) {
		rd_kafka_conf_destroy(conf);
		return rc;
	}
	rd_kafka_conf_set_events(conf, events);
	rd_kafka_conf_set_error_cb(conf, on_error);
	return make_client(conf, role, ret_rk, err);
}

static void log_relay_error(rd_kafka_t *rk, int code, const char *text, void *context)
{
	const char *remedy = refusal_remedy(rk, code);

	if (remedy)
		log_error("Kafka refuses us", LT("detail", text, stable_length(text)),
			LS("remedy", remedy));
	else
		log_debug("Kafka", LS("client", rd_kafka_name(rk)), LS("detail", text));
}

int kafka_open_relay(const struct config *cfg, kafka_delivered_fn *on_delivered, void *context,
	rd_kafka_t **ret_rk, struct error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int rc = set_all(conf, cfg, KAFKA_RELAY, err);

	if (rc != 0) {
		rd_kafka_conf_destroy(conf);
		return rc;
	}
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
	rd_kafka_conf_set_error_cb(conf, log_relay_error);
	rd_kafka_conf_set_opaque(conf, context);
	return make_client(conf, KAFKA_RELAY, ret_rk, err);
}

/* Closing.  librdkafka 2.0.2 may wait for ever for one of its own threads when the topic was
 * deleted (seen in one of ten): so somebody else waits, and is left behind if it takes too long. */

struct closing {
	rd_kafka_t *rk;
	sem_t closed;
};

static void *run_close(void *context)
{
	struct closing *closing = context;

	/* We are no member of a group that could be left. */
	rd_kafka_destroy_flags(closing->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	sem_post(&closing->closed);
	return NULL;
}

static bool wait_closed(struct closing *closing)
{
	struct timespec until;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLOSE_S;
	do
		rc = sem_clockwait(&closing->closed, CLOCK_MONOTONIC, &until);
	while (rc != 0 && errno == EINTR);
	return rc == 0;
}

void kafka_close(rd_kafka_t *rk)
{
	struct closing *closing;
	pthread_t thread;

	if (!rk)
		return;
	if (rd_kafka_type(rk) == RD_KAFKA_PRODUCER)
		rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	closing = xcalloc(1, sizeof(*closing));
	closing->rk = rk;
	sem_init(&closing->closed, 0, 0);
	if (pthread_create(&thread, NULL, run_close, closing) != 0)
		abort();
	if (!wait_closed(closing)) {
		log_debug("librdkafka does not end: it is left behind");
		pthread_detach(thread);
		return;
	}
	pthread_join(thread, NULL);
	sem_destroy(&closing->closed);
	free(closing);
}

/* Questions. */

static int take_cluster_id(rd_kafka_t *rk, const struct config *cfg, int timeout_ms,
	char ret_cluster_id[KAFKA_CLUSTER_ID_MAX], struct error *err)
{
	char *id = rd_kafka_clusterid(rk, timeout_ms);
	int rc = 0;

	if (!id)
		return kafka_error(
			cfg, RD_KAFKA_RESP_ERR__TIMED_OUT, err, "asking for the cluster's id");
	if (strlen(id) >= KAFKA_CLUSTER_ID_MAX)
		rc = error_set(err, -EIO, "Kafka's cluster id has more than %d characters: %s",
			KAFKA_CLUSTER_ID_MAX - 1, id);
	else
		strcpy(ret_cluster_id, id);
	rd_kafka_mem_free(rk, id);
	return rc;
}

static int take_partitions(const struct config *cfg, const struct rd_kafka_metadata *metadata,
	int32_t *ret_partitions, struct error *err)
{
	const struct rd_kafka_metadata_topic *topic = &metadata->topics[0];
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;

	if (metadata->topic_cnt == 1 && topic->err)
		code = topic->err;
	else if (metadata->topic_cnt == 1 && topic->partition_cnt > 0)
		code = RD_KAFKA_RESP_ERR_NO_ERROR;
	if (code)
		return kafka_error(cfg, code, err, "asking for the topic %s", cfg->kafka.topic);
	*ret_partitions = topic->partition_cnt;
	return 0;
}

int kafka_layout(rd_kafka_t *rk, const struct config *cfg, int timeout_ms, int32_t *ret_partitions,
	char ret_cluster_id[KAFKA_CLUSTER_ID_MAX], struct error *err)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, cfg->kafka.topic, NULL);
	rd_kafka_resp_err_t code;
	int rc;

	if (!topic)
		return kafka_error(
			cfg, rd_kafka_last_error(), err, "the topic %s", cfg->kafka.topic);
	code = rd_kafka_metadata(rk, 0, topic, &metadata, timeout_ms);
	rd_kafka_topic_destroy(topic);
	if (code)
		return kafka_error(cfg, code, err, "asking for the topic %s", cfg->kafka.topic);
	rc = take_partitions(cfg, metadata, ret_partitions, err);
	rd_kafka_metadata_destroy(metadata);
	if (rc == 0)
		rc = take_cluster_id(rk, cfg, timeout_ms, ret_cluster_id, err);
	return rc;
}
