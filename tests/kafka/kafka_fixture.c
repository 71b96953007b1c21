/* See kafka_fixture.h. */
#include "kafka_fixture.h"

#include "log.h"

#include <inttypes.h>
#include <unistd.h>

void fixture_quiet(void)
{
	static struct log log;

	log_init(&log, STDERR_FILENO, getenv("FIXTURE_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR,
		LOG_FORMAT_LOGFMT, 0);
	log_use(&log);
}

void fixture_config(struct config *cfg, const char *servers, const char *topic, const char *more)
{
	char text[1024];
	struct error err;
	int length = snprintf(text, sizeof(text),
		"ledger: {name: test}\nkafka:\n  bootstrap_servers: \"%s\"\n  topic: %s\n%s",
		servers, topic, more);

	if (config_parse_buffer(cfg, "test", text, (size_t)length, NULL, &err) != 0)
		fail_msg("%s", err.text);
}

rd_kafka_t *fixture_producer(const char *servers, const char *transactional_id)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[256];
	rd_kafka_t *rk;

	rd_kafka_conf_set(conf, "bootstrap.servers", servers, text, sizeof(text));
	rd_kafka_conf_set(conf, "linger.ms", "0", text, sizeof(text));
	rd_kafka_conf_set(conf, "max.in.flight", "1", text, sizeof(text));
	rd_kafka_conf_set(conf, "log_level", "0", text, sizeof(text));
	if (transactional_id)
		rd_kafka_conf_set(conf, "transactional.id", transactional_id, text, sizeof(text));
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	assert_non_null(rk);
	return rk;
}

void fixture_send(rd_kafka_t *producer, const char *topic, int32_t partition, int64_t number)
{
	char key[24], value[48];
	int key_length = snprintf(key, sizeof(key), "%" PRId64, number);
	int value_length = snprintf(
		value, sizeof(value), "%" PRId32 ":%" PRId64, partition, number);
	rd_kafka_resp_err_t code;

	while ((code = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic),
			RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY(key, (size_t)key_length),
			RD_KAFKA_V_VALUE(value, (size_t)value_length),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END)) ==
		RD_KAFKA_RESP_ERR__QUEUE_FULL)
		rd_kafka_poll(producer, 10);
	assert_int_equal(code, RD_KAFKA_RESP_ERR_NO_ERROR);
}

void fixture_fill(
	rd_kafka_t *producer, const char *topic, int32_t partition, int64_t from, int64_t to)
{
	for (int64_t number = from; number < to; number++)
		fixture_send(producer, topic, partition, number);
	assert_int_equal(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

int64_t fixture_now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

size_t fixture_poll(struct topic *t, struct topic_item *items, size_t max)
{
	int64_t until_ms = fixture_now_ms() + WAIT_MS;
	size_t count = 0;

	while (count == 0 && fixture_now_ms() < until_ms)
		count = t->ops->poll(t, 200, items, max);
	return count;
}

void fixture_open(struct topic *t, int64_t offset)
{
	struct error err;

	if (t->ops->open(t, offset, &err) != 0)
		fail_msg("%s", err.text);
}

void fixture_check(const struct message *m, int32_t partition, int64_t number)
{
	char key[24], value[48];
	int key_length = snprintf(key, sizeof(key), "%" PRId64, number);
	int value_length = snprintf(
		value, sizeof(value), "%" PRId32 ":%" PRId64, partition, number);

	assert_int_equal(m->key_length, key_length);
	assert_memory_equal(m->key, key, m->key_length);
	assert_int_equal(m->value_length, value_length);
	assert_memory_equal(m->value, value, m->value_length);
}

struct topic_item fixture_read(struct topic *t, int32_t partition, int64_t from)
{
	struct topic_item items[ITEMS];

	for (;;) {
		size_t count = fixture_poll(t, items, ITEMS);

		if (count == 0)
			fail_msg("nothing comes at offset %" PRId64 " of partition %" PRId32, from,
				partition);
		for (size_t i = 0; i < count; i++) {
			if (items[i].kind != TOPIC_MESSAGE)
				return items[i];
			assert_int_equal(items[i].message.offset, from);
			fixture_check(&items[i].message, partition, from);
			from++;
		}
	}
}
