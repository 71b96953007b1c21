/*
 * topic_kafka against librdkafka's own cluster in memory: a partition's queue through many opens,
 * wakes from other threads, ends, offsets out of range, partitions that are none, errors of
 * brokers. Guards what the ledger rests on: in order, each once, from the offset asked for, nothing
 * passed over, nothing from an earlier open.
 */
#include "kafka_fixture.h"

#include <errno.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <unistd.h>

#define BROKERS    3
#define PARTITIONS 12
#define TOPIC      "events"

struct world {
	rd_kafka_t *producer; /* the mock cluster lives in it, too */
	rd_kafka_mock_cluster_t *cluster;
	struct config cfg;
	struct kafka_client *client;
	struct topic *t; /* of the test, destroyed behind it */
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct error err;

	w->producer = fixture_producer("127.0.0.1:1", NULL);
	w->cluster = rd_kafka_mock_cluster_new(w->producer, BROKERS);
	rd_kafka_mock_topic_create(w->cluster, TOPIC, PARTITIONS, 1);
	fixture_config(&w->cfg, rd_kafka_mock_cluster_bootstraps(w->cluster), TOPIC,
		"  fetch_buffer: 1M\n  properties: {fetch.wait.max.ms: 10}\n");
	rd_kafka_brokers_add(w->producer, rd_kafka_mock_cluster_bootstraps(w->cluster));
	if (kafka_client_create(&w->cfg, &w->client, &err) != 0)
		fail_msg("%s", err.text);
	*state = w;
	return 0;
}

static struct topic *make_topic(struct world *w, int32_t partition)
{
	w->t = topic_kafka_create(w->client, partition);
	return w->t;
}

static void drop_topic(struct world *w)
{
	if (w->t)
		w->t->ops->destroy(w->t);
	w->t = NULL;
}

static int teardown(void **state)
{
	struct world *w = *state;

	drop_topic(w);
	assert_int_equal(kafka_client_strays(w->client), 0);
	assert_false(kafka_client_failed(w->client, NULL));
	kafka_client_destroy(w->client);
	config_finish(&w->cfg);
	rd_kafka_mock_cluster_destroy(w->cluster);
	rd_kafka_destroy(w->producer);
	free(w);
	return 0;
}

static void reads_to_the_end_and_on(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 2);
	struct topic_item item;

	fixture_fill(w->producer, TOPIC, 2, 0, 500);
	fixture_open(t, 0);
	item = fixture_read(t, 2, 0);
	assert_int_equal(item.kind, TOPIC_END);
	assert_int_equal(item.end_offset, 500);
	assert_int_equal(t->ops->high_watermark(t), 500);

	fixture_fill(w->producer, TOPIC, 2, 500, 510);
	item = fixture_read(t, 2, 500);
	assert_int_equal(item.kind, TOPIC_END);
	assert_int_equal(item.end_offset, 510);
}

static void an_empty_partition_has_an_end(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);
	struct topic_item item;

	fixture_open(t, 0);
	item = fixture_read(t, 0, 0);
	assert_int_equal(item.kind, TOPIC_END);
	assert_int_equal(item.end_offset, 0);
}

/* What is fetched ahead for one open must never be seen by the next. */
static void every_open_begins_where_it_was_asked_to(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 1);
	struct topic_item items[ITEMS];
	uint64_t random = 88172645463325252ULL;

	fixture_fill(w->producer, TOPIC, 1, 0, 3000);
	for (int round = 0; round < 300; round++) {
		int64_t offset, polls;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		offset = (int64_t)(random % 3001);
		polls = (int64_t)(random >> 32) % 5;
		fixture_open(t, offset);
		for (int64_t next = offset; polls-- > 0;) {
			size_t count = t->ops->poll(t, (int)(random >> 48) % 30, items, ITEMS);

			for (size_t i = 0; i < count; i++) {
				if (items[i].kind == TOPIC_END) {
					assert_int_equal(items[i].end_offset, 3000);
					assert_int_equal(next, 3000);
					continue;
				}
				assert_int_equal(items[i].kind, TOPIC_MESSAGE);
				assert_int_equal(items[i].message.offset, next);
				fixture_check(&items[i].message, 1, next++);
			}
		}
		if (round % 3 == 0)
			t->ops->close(t);
	}
}

static void messages_stay_until_the_next_poll(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 3);
	struct topic_item items[ITEMS];
	size_t count;

	fixture_fill(w->producer, TOPIC, 3, 0, 200);
	fixture_open(t, 0);
	count = fixture_poll(t, items, ITEMS);
	usleep(100000); /* while the next ones arrive */
	assert_int_not_equal(count, 0);
	for (size_t i = 0; i < count; i++)
		fixture_check(&items[i].message, 3, (int64_t)i);
}

static void keys_and_values_may_be_absent_or_empty(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 4);
	struct topic_item items[2];
	char empty[1] = "";
	size_t count = 0;

	rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(4),
		RD_KAFKA_V_TIMESTAMP(1767225600123), RD_KAFKA_V_END);
	rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(4),
		RD_KAFKA_V_KEY("", 0), RD_KAFKA_V_VALUE(empty, 0), RD_KAFKA_V_END);
	rd_kafka_flush(w->producer, WAIT_MS);
	fixture_open(t, 0);
	while (count < 2)
		count = fixture_poll(t, items, 2) == 2 ? 2 : (fixture_open(t, 0), 0);
	assert_null(items[0].message.key);
	assert_null(items[0].message.value);
	assert_int_equal(items[0].message.timestamp_ms, 1767225600123);
	assert_non_null(items[1].message.key);
	assert_non_null(items[1].message.value);
	assert_int_equal(items[1].message.key_length, 0);
	assert_int_equal(items[1].message.value_length, 0);
}

static void headers_are_json(void **state)
{
	static const char expected[] = "[[\"trace\",\"a\\\"b\"],[\"none\",null],[\"raw\",{"
				       "\"base64\":\"/wA=\"}],[\"trace\",\"\"]]";
	struct world *w = *state;
	struct topic *t = make_topic(w, 5);
	struct topic_item items[2];
	struct arena arena;

	arena_init(&arena, 1000);
	rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(5),
		RD_KAFKA_V_HEADER("trace", "a\"b", 3), RD_KAFKA_V_HEADER("none", NULL, 0),
		RD_KAFKA_V_HEADER("raw", "\xff\0", 2), RD_KAFKA_V_HEADER("trace", "", 0),
		RD_KAFKA_V_END);
	fixture_send(w->producer, TOPIC, 5, 1);
	rd_kafka_flush(w->producer, WAIT_MS);
	fixture_open(t, 0);
	assert_int_equal(fixture_poll(t, items, 1), 1);
	assert_int_equal(fixture_poll(t, items + 1, 1), 1);
	for (int i = 0; i < 2; i++) {
		assert_null(items[i].message.headers);
		t->ops->headers(t, &items[i].message, &arena);
	}
	assert_int_equal(items[0].message.headers_length, sizeof(expected) - 1);
	assert_memory_equal(items[0].message.headers, expected, sizeof(expected) - 1);
	assert_null(items[1].message.headers);
	arena_finish(&arena);
}

/* Bytes and headers are there until the release, through polls that come between. */
static void messages_stay_until_they_are_released(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 6);
	struct topic_item items[600 + 7];
	struct arena arena;
	size_t count = 0, released = 0;

	arena_init(&arena, 1000);
	fixture_fill(w->producer, TOPIC, 6, 0, 600);
	fixture_open(t, 0);
	while (count < 600) {
		count += fixture_poll(t, items + count, 7);
		if (count < released + 100)
			continue;
		for (size_t i = released; i < count && i < 600; i++) {
			fixture_check(&items[i].message, 6, (int64_t)i);
			t->ops->headers(t, &items[i].message, &arena);
			assert_null(items[i].message.headers);
		}
		released += 50;
		t->ops->release(t, (int64_t)released);
	}
	arena_finish(&arena);
}

/* Out of range and gone. */

static void too_high_an_offset_is_out_of_range(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 6);
	struct topic_item items[ITEMS];

	fixture_fill(w->producer, TOPIC, 6, 0, 10);
	fixture_open(t, 11);
	assert_int_equal(fixture_poll(t, items, ITEMS), 1);
	assert_int_equal(items[0].kind, TOPIC_OUT_OF_RANGE);

	/* Then silence, also when the log reaches the offset. */
	fixture_fill(w->producer, TOPIC, 6, 10, 20);
	for (int i = 0; i < 5; i++)
		assert_int_equal(t->ops->poll(t, 100, items, ITEMS), 0);
	fixture_open(t, 11);
	items[0] = fixture_read(t, 6, 11);
	assert_int_equal(items[0].kind, TOPIC_END);
	assert_int_equal(items[0].end_offset, 20);
}

static void a_partition_that_is_none_is_gone(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 99);
	struct topic_item items[ITEMS];
	int64_t low, high;
	struct error err;

	fixture_open(t, 0);
	assert_int_equal(fixture_poll(t, items, ITEMS), 1);
	assert_int_equal(items[0].kind, TOPIC_GONE);
	assert_int_equal(t->ops->watermarks(t, &low, &high, &err), -ENOENT);
	assert_int_equal(t->ops->high_watermark(t), -1);
}

/* Wakes. */

static void a_wake_before_the_poll_ends_it(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 7);
	struct topic_item items[ITEMS];
	int64_t begin_ms;

	t->ops->wake(t); /* while it is closed */
	fixture_open(t, 0);
	assert_int_equal(t->ops->poll(t, 5000, items, ITEMS), 0);
	assert_int_equal(fixture_read(t, 7, 0).kind, TOPIC_END);
	for (int i = 0; i < 20; i++) {
		t->ops->wake(t);
		begin_ms = fixture_now_ms();
		assert_int_equal(t->ops->poll(t, 5000, items, ITEMS), 0);
		assert_true(fixture_now_ms() - begin_ms < 2000);
	}
}

struct pong {
	struct topic *t;
	atomic_int ping, pong;
	int rounds;
};

static void *serve_pings(void *context)
{
	struct pong *p = context;
	struct topic_item items[ITEMS];

	while (atomic_load(&p->pong) < p->rounds) {
		p->t->ops->poll(p->t, 30000, items, ITEMS);
		atomic_store(&p->pong, atomic_load(&p->ping));
	}
	return NULL;
}

/* Each wake must end a poll of 30 s, whether it came before it or into it. */
static void wakes_from_another_thread_are_not_lost(void **state)
{
	struct world *w = *state;
	struct pong p = {.t = make_topic(w, 8), .rounds = 3000};
	pthread_t thread;
	int64_t begin_ms;

	fixture_open(p.t, 0);
	assert_int_equal(fixture_read(p.t, 8, 0).kind, TOPIC_END);
	begin_ms = fixture_now_ms();
	pthread_create(&thread, NULL, serve_pings, &p);
	for (int i = 1; i <= p.rounds; i++) {
		atomic_store(&p.ping, i);
		p.t->ops->wake(p.t);
		while (atomic_load(&p.pong) < i)
			sched_yield();
		if (i % 100 == 0)
			usleep(1000); /* so that it surely waits */
	}
	pthread_join(thread, NULL);
	assert_true(fixture_now_ms() - begin_ms < 25000);
}

static void a_poll_without_a_wake_waits_its_time(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 7);
	struct topic_item items[ITEMS];
	int64_t begin_ms;

	fixture_open(t, 0);
	assert_int_equal(fixture_read(t, 7, 0).kind, TOPIC_END);
	begin_ms = fixture_now_ms();
	assert_int_equal(t->ops->poll(t, 300, items, ITEMS), 0);
	assert_in_range(fixture_now_ms() - begin_ms, 290, 2000);
}

/* Many partitions, each in a thread of its own, opened and closed beside each other. */

struct reader {
	struct world *w;
	int32_t partition;
	pthread_t thread;
	int ends;
};

static void *read_rounds(void *context)
{
	struct reader *r = context;
	struct topic *t = topic_kafka_create(r->w->client, r->partition);

	for (int round = 0; round < 10; round++) {
		struct topic_item item;

		fixture_open(t, round * 50);
		item = fixture_read(t, r->partition, round * 50);
		r->ends += item.kind == TOPIC_END && item.end_offset == 1000;
		t->ops->mirror(t, item.end_offset);
		t->ops->close(t);
	}
	t->ops->destroy(t);
	return NULL;
}

static void many_partitions_do_not_mix(void **state)
{
	struct world *w = *state;
	struct reader readers[PARTITIONS];

	for (int32_t p = 0; p < PARTITIONS; p++)
		fixture_fill(w->producer, TOPIC, p, 0, 1000);
	for (int32_t p = 0; p < PARTITIONS; p++) {
		readers[p] = (struct reader){.w = w, .partition = p};
		pthread_create(&readers[p].thread, NULL, read_rounds, &readers[p]);
	}
	for (int32_t p = 0; p < PARTITIONS; p++) {
		pthread_join(readers[p].thread, NULL);
		assert_int_equal(readers[p].ends, 10);
	}
}

/* Brokers that fail. */

static void a_new_leader_neither_loses_nor_repeats(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 9);
	struct topic_item item;

	fixture_fill(w->producer, TOPIC, 9, 0, 100);
	fixture_open(t, 0);
	assert_int_equal(fixture_read(t, 9, 0).kind, TOPIC_END);
	for (int i = 1; i <= 6; i++) {
		rd_kafka_mock_partition_set_leader(w->cluster, TOPIC, 9, i % BROKERS + 1);
		fixture_fill(w->producer, TOPIC, 9, i * 100, i * 100 + 100);
		do
			item = fixture_read(t, 9, i * 100);
		while (item.kind == TOPIC_END && item.end_offset < i * 100 + 100);
		assert_int_equal(item.kind, TOPIC_END);
	}
}

/* An error that librdkafka hands over may have passed something over: read on from what is due. */
static void after_an_error_it_reads_on_from_what_is_due(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 10);
	struct topic_item item;

	fixture_fill(w->producer, TOPIC, 10, 0, 100);
	fixture_open(t, 40);
	rd_kafka_mock_push_request_errors(w->cluster, 1 /* Fetch */, 2, RD_KAFKA_RESP_ERR_UNKNOWN,
		RD_KAFKA_RESP_ERR_INVALID_MSG);
	item = fixture_read(t, 10, 40);
	assert_int_equal(item.kind, TOPIC_END);
	assert_int_equal(item.end_offset, 100);
}

static void brokers_that_are_away_are_waited_for(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 11);
	struct topic_item items[ITEMS];
	struct topic_layout layout;
	struct error err;

	fixture_fill(w->producer, TOPIC, 11, 0, 100);
	fixture_open(t, 0);
	assert_int_equal(fixture_read(t, 11, 0).kind, TOPIC_END);
	for (int32_t broker = 1; broker <= BROKERS; broker++)
		rd_kafka_mock_broker_set_down(w->cluster, broker);
	assert_int_equal(t->ops->layout(t, &layout, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "kafka.bootstrap_servers"));
	for (int i = 0; i < 5; i++)
		assert_int_equal(t->ops->poll(t, 100, items, ITEMS), 0);
	t->ops->close(t);
	fixture_open(t, 50); /* does not wait either */
	for (int32_t broker = 1; broker <= BROKERS; broker++)
		rd_kafka_mock_broker_set_up(w->cluster, broker);
	assert_int_equal(fixture_read(t, 11, 50).kind, TOPIC_END);
}

/* Questions. */

static void the_layout_is_kafkas(void **state)
{
	struct world *w = *state;
	struct topic_layout layout;
	struct error err;

	assert_int_equal(topic_kafka_layout(w->client, &layout, &err), 0);
	assert_int_equal(layout.partitions, PARTITIONS);
	assert_true(strlen(layout.cluster_id) > 0);
}

static void watermarks_are_the_logs_ends(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 3);
	int64_t low, high;
	struct error err;

	fixture_fill(w->producer, TOPIC, 3, 0, 77);
	assert_int_equal(t->ops->watermarks(t, &low, &high, &err), 0);
	assert_int_equal(low, 0);
	assert_int_equal(high, 77);
}

/* Offsets for Kafka's own tools. */

static int64_t committed(struct world *w, int32_t partition)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	char text[256];
	rd_kafka_t *rk;
	int64_t offset;

	rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(w->cluster),
		text, sizeof(text));
	rd_kafka_conf_set(conf, "group.id", "ledger.test", text, sizeof(text));
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
	assert_non_null(rk);
	rd_kafka_topic_partition_list_add(list, TOPIC, partition);
	assert_int_equal(rd_kafka_committed(rk, list, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
	offset = list->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(rk);
	return offset;
}

static void mirrored_offsets_are_committed(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 3);
	int64_t until_ms = fixture_now_ms() + WAIT_MS;

	for (int64_t offset = 1; offset <= 100; offset++)
		t->ops->mirror(t, offset);
	while (committed(w, 3) != 100 && fixture_now_ms() < until_ms)
		usleep(200000);
	assert_int_equal(committed(w, 3), 100);
}

/* Also when the end comes before the next commit is due. */
static void the_last_offsets_are_committed_at_the_end(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 3);
	struct error err;

	t->ops->mirror(t, 5);
	drop_topic(w);
	usleep(1500000);
	t = make_topic(w, 3);
	t->ops->mirror(t, 6);
	drop_topic(w);
	kafka_client_destroy(w->client);
	assert_int_equal(committed(w, 3), 6);
	assert_int_equal(kafka_client_create(&w->cfg, &w->client, &err), 0);
}

/* In one instance of librdkafka, a commit without an answer would hold up every assignment. */
static void a_coordinator_that_fails_holds_up_nothing(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 1);
	int64_t begin_ms = fixture_now_ms();
	rd_kafka_resp_err_t errors[200];

	for (size_t i = 0; i < 200; i++)
		errors[i] = i % 2 ? RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
				  : RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
	rd_kafka_mock_push_request_errors_array(w->cluster, 8 /* OffsetCommit */, 200, errors);
	rd_kafka_mock_push_request_errors_array(w->cluster, 10 /* FindCoordinator */, 200, errors);
	fixture_fill(w->producer, TOPIC, 1, 0, 100);
	for (int i = 0; i < 20; i++) {
		t->ops->mirror(t, i);
		fixture_open(t, i);
		assert_int_equal(fixture_read(t, 1, i).kind, TOPIC_END);
		usleep(100000);
	}
	assert_true(fixture_now_ms() - begin_ms < 15000);
	rd_kafka_mock_clear_request_errors(w->cluster, 8);
	rd_kafka_mock_clear_request_errors(w->cluster, 10);
}

static void a_wrong_property_is_named(void **state)
{
	struct world *w = *state;
	struct kafka_client *client = NULL;
	struct config cfg;
	struct error err;

	fixture_config(&cfg, "127.0.0.1:1", TOPIC, "  properties: {fetch.wait.max.msx: 5}\n");
	assert_int_equal(kafka_client_create(&cfg, &client, &err), -EINVAL);
	assert_non_null(strstr(err.text, "kafka.properties: fetch.wait.max.msx: "));
	config_finish(&cfg);
	fixture_config(&cfg, "127.0.0.1:1", TOPIC, "  properties: {fetch.wait.max.ms: -5}\n");
	assert_int_equal(kafka_client_create(&cfg, &client, &err), -EINVAL);
	config_finish(&cfg);
	assert_non_null(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void assert_setting(rd_kafka_t *rk, const char *name, const char *wanted)
{
	char value[64];
	size_t bytes = sizeof(value);

	assert_int_equal(
		rd_kafka_conf_get(rd_kafka_conf(rk), name, value, &bytes), RD_KAFKA_CONF_OK);
	assert_string_equal(value, wanted);
}

static void a_prompt_producer_is_as_safe_and_hardly_lingers(void **state)
{
	struct config cfg;
	struct error err;
	rd_kafka_t *rk;

	fixture_config(&cfg, "127.0.0.1:1", TOPIC, "");
	assert_int_equal(kafka_open(&cfg, KAFKA_PROMPT_PRODUCER, NULL, &rk, &err), 0);
	assert_setting(rk, "linger.ms", "1");
	assert_setting(rk, "enable.idempotence", "true");
	assert_setting(rk, "partitioner", "murmur2_random");
	kafka_close(rk);
	config_finish(&cfg);
	fixture_config(&cfg, "127.0.0.1:1", TOPIC, "  properties: {linger.ms: 7}\n");
	assert_int_equal(kafka_open(&cfg, KAFKA_PROMPT_PRODUCER, NULL, &rk, &err), 0);
	assert_setting(rk, "linger.ms", "7");
	kafka_close(rk);
	config_finish(&cfg);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_to_the_end_and_on),
		TEST(an_empty_partition_has_an_end),
		TEST(every_open_begins_where_it_was_asked_to),
		TEST(messages_stay_until_the_next_poll),
		TEST(keys_and_values_may_be_absent_or_empty),
		TEST(headers_are_json),
		TEST(messages_stay_until_they_are_released),
		TEST(too_high_an_offset_is_out_of_range),
		TEST(a_partition_that_is_none_is_gone),
		TEST(a_wake_before_the_poll_ends_it),
		TEST(wakes_from_another_thread_are_not_lost),
		TEST(a_poll_without_a_wake_waits_its_time),
		TEST(many_partitions_do_not_mix),
		TEST(a_new_leader_neither_loses_nor_repeats),
		TEST(after_an_error_it_reads_on_from_what_is_due),
		TEST(brokers_that_are_away_are_waited_for),
		TEST(the_layout_is_kafkas),
		TEST(watermarks_are_the_logs_ends),
		TEST(mirrored_offsets_are_committed),
		TEST(the_last_offsets_are_committed_at_the_end),
		TEST(a_coordinator_that_fails_holds_up_nothing),
		TEST(a_wrong_property_is_named),
		cmocka_unit_test(a_prompt_producer_is_as_safe_and_hardly_lingers),
	};

	fixture_quiet();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
