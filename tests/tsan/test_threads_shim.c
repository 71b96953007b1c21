/*
 * librdkafka under ThreadSanitizer: a producer and a consumer against the library's mock cluster.
 * Without threads_shim.c this crashes as soon as the library starts a thread.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOPIC    "balance-events"
#define MESSAGES 1000

static int delivered; /* written by the callback, in rd_kafka_poll's thread */

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	delivered += message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char text[200];

	if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
		fail_msg("%s", text);
}

static rd_kafka_t *create(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char text[200];
	rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);

	if (!rk)
		fail_msg("%s", text);
	return rk;
}

static void produce(rd_kafka_t *producer)
{
	char value[32];

	for (int i = 0; i < MESSAGES; i++) {
		snprintf(value, sizeof value, "%d", i);
		assert_int_equal(
			rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(TOPIC),
				RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(value, strlen(value)),
				RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
			RD_KAFKA_RESP_ERR_NO_ERROR);
	}
	assert_int_equal(rd_kafka_flush(producer, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(delivered, MESSAGES);
}

static void consume(rd_kafka_t *consumer)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	int next = 0;

	rd_kafka_topic_partition_list_add(list, TOPIC, 0)->offset = 0;
	assert_int_equal(rd_kafka_assign(consumer, list), RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_topic_partition_list_destroy(list);
	for (int i = 0; i < 300 && next < MESSAGES; i++) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);

		for (; message; message = rd_kafka_consumer_poll(consumer, 0)) {
			if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
				assert_int_equal(
					strtol(message->payload, NULL, 10), message->offset);
			next += message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
			rd_kafka_message_destroy(message);
		}
	}
	assert_int_equal(next, MESSAGES);
	rd_kafka_consumer_close(consumer);
}

static void test_librdkafka_runs_under_the_sanitizer(void **state)
{
	rd_kafka_conf_t *producer_conf = rd_kafka_conf_new(), *consumer_conf = rd_kafka_conf_new();
	rd_kafka_mock_cluster_t *cluster;
	rd_kafka_t *producer, *consumer;

	set(producer_conf, "test.mock.num.brokers", "1");
	rd_kafka_conf_set_dr_msg_cb(producer_conf, on_delivered);
	producer = create(RD_KAFKA_PRODUCER, producer_conf);
	cluster = rd_kafka_handle_mock_cluster(producer);
	assert_non_null(cluster);
	rd_kafka_mock_topic_create(cluster, TOPIC, 2, 1);
	produce(producer);

	set(consumer_conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster));
	set(consumer_conf, "group.id", "ledger.test");
	consumer = create(RD_KAFKA_CONSUMER, consumer_conf);
	consume(consumer);
	rd_kafka_destroy(consumer);
	rd_kafka_destroy(producer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_librdkafka_runs_under_the_sanitizer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
