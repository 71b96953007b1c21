/*
 * topic_kafka against a real Kafka, for what librdkafka's own cluster in memory does not have:
 * transactions, deleted records, topics that are deleted, made anew and grown.
 *
 * LEDGERD_TEST_KAFKA names the broker (host:port); without it everything is skipped.  Where
 * LEDGERD_TEST_KAFKA_DATA is the folder of its logs (log.dirs), a batch is damaged there, too.
 */
#include "kafka_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

struct world {
	char topic[64]; /* a new one for each test */
	rd_kafka_t *producer;
	struct config cfg;
	struct kafka_client *client;
	struct topic *t; /* of the test, destroyed behind it */
};

static const char *servers(void)
{
	return getenv("LEDGERD_TEST_KAFKA");
}

/* Waits for an admin request's answer, and for what it says of the one thing that was asked for. */
static void admin_wait(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
	const rd_kafka_topic_result_t **results = NULL;
	size_t count = 0;

	assert_non_null(event);
	if (rd_kafka_event_error(event))
		fail_msg("%s", rd_kafka_event_error_string(event));
	if (rd_kafka_event_CreateTopics_result(event))
		results = rd_kafka_CreateTopics_result_topics(
			rd_kafka_event_CreateTopics_result(event), &count);
	else if (rd_kafka_event_DeleteTopics_result(event))
		results = rd_kafka_DeleteTopics_result_topics(
			rd_kafka_event_DeleteTopics_result(event), &count);
	for (size_t i = 0; i < count; i++)
		if (rd_kafka_topic_result_error(results[i]))
			fail_msg("%s", rd_kafka_topic_result_error_string(results[i]));
	rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
}

static void create_topic(struct world *w, int partitions)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(w->producer);
	char text[256];
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
		w->topic, partitions, 1, text, sizeof(text));

	rd_kafka_CreateTopics(w->producer, &topic, 1, NULL, queue);
	admin_wait(queue);
	rd_kafka_NewTopic_destroy(topic);
}

static void delete_topic(struct world *w)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(w->producer);
	rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(w->topic);

	rd_kafka_DeleteTopics(w->producer, &topic, 1, NULL, queue);
	admin_wait(queue);
	rd_kafka_DeleteTopic_destroy(topic);
}

static void grow_topic(struct world *w, size_t partitions)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(w->producer);
	char text[256];
	rd_kafka_NewPartitions_t *grown = rd_kafka_NewPartitions_new(
		w->topic, partitions, text, sizeof(text));

	rd_kafka_CreatePartitions(w->producer, &grown, 1, NULL, queue);
	admin_wait(queue);
	rd_kafka_NewPartitions_destroy(grown);
}

static void delete_records(struct world *w, int64_t before)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(w->producer);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_DeleteRecords_t *records;

	rd_kafka_topic_partition_list_add(list, w->topic, 0)->offset = before;
	records = rd_kafka_DeleteRecords_new(list);
	rd_kafka_DeleteRecords(w->producer, &records, 1, NULL, queue);
	admin_wait(queue);
	rd_kafka_DeleteRecords_destroy(records);
	rd_kafka_topic_partition_list_destroy(list);
}

static int setup(void **state)
{
	static int number;
	struct world *w = calloc(1, sizeof(*w));
	struct error err;

	snprintf(w->topic, sizeof(w->topic), "test-%ld-%d-%d", (long)time(NULL), (int)getpid(),
		number++);
	w->producer = fixture_producer(servers(), NULL);
	create_topic(w, 1);
	fixture_config(&w->cfg, servers(), w->topic, "");
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
	kafka_client_destroy(w->client);
	config_finish(&w->cfg);
	rd_kafka_destroy(w->producer);
	free(w);
	return 0;
}

static void succeed(rd_kafka_error_t *error)
{
	if (error)
		fail_msg("%s", rd_kafka_error_string(error));
}

static void fill_transaction(
	struct world *w, rd_kafka_t *producer, int64_t from, int64_t to, bool commit)
{
	succeed(rd_kafka_begin_transaction(producer));
	fixture_fill(producer, w->topic, 0, from, to);
	succeed(commit ? rd_kafka_commit_transaction(producer, WAIT_MS)
		       : rd_kafka_abort_transaction(producer, WAIT_MS));
}

/* Reads messages whose number is their offset and the end behind them. */
static void expect(struct topic *t, int64_t from, int64_t to, int64_t end)
{
	struct topic_item items[ITEMS];
	int64_t next = from;

	for (;;) {
		size_t count = fixture_poll(t, items, ITEMS);

		if (count == 0)
			fail_msg("nothing comes after %" PRId64, next);
		for (size_t i = 0; i < count; i++) {
			if (items[i].kind == TOPIC_END && next < to)
				continue; /* on the way */
			if (items[i].kind == TOPIC_END && items[i].end_offset < end)
				continue;
			if (items[i].kind == TOPIC_END) {
				assert_int_equal(items[i].end_offset, end);
				assert_int_equal(next, to);
				return;
			}
			assert_int_equal(items[i].kind, TOPIC_MESSAGE);
			assert_int_equal(items[i].message.offset, next);
			fixture_check(&items[i].message, 0, next++);
		}
	}
}

/* Offsets: 0-9 committed, 10 its marker, 11-20 aborted, 21 its marker, 22-31 committed, 32 marker.
 */
static void aborted_transactions_are_gaps(void **state)
{
	struct world *w = *state;
	rd_kafka_t *producer = fixture_producer(servers(), w->topic);
	struct topic *t = make_topic(w, 0);
	int64_t low, high;
	struct error err;

	succeed(rd_kafka_init_transactions(producer, WAIT_MS));
	fixture_open(t, 0);
	fill_transaction(w, producer, 0, 10, true);
	expect(t, 0, 10, 11);
	fill_transaction(w, producer, 11, 21, false);
	expect(t, 11, 11, 22);
	fill_transaction(w, producer, 22, 32, true);
	expect(t, 22, 32, 33);

	/* Read again from within the gap. */
	fixture_open(t, 15);
	expect(t, 22, 32, 33);

	/* An open transaction: the end is where it began, the high watermark behind it. */
	succeed(rd_kafka_begin_transaction(producer));
	fixture_fill(producer, w->topic, 0, 33, 43);
	fixture_open(t, 22);
	expect(t, 22, 32, 33);
	for (int i = 0; i < 50 && t->ops->high_watermark(t) != 43; i++)
		t->ops->poll(t, 100, &(struct topic_item){0}, 1);
	assert_int_equal(t->ops->high_watermark(t), 43);
	assert_int_equal(t->ops->watermarks(t, &low, &high, &err), 0);
	assert_int_equal(low, 0);
	assert_int_equal(high, 43);
	succeed(rd_kafka_commit_transaction(producer, WAIT_MS));
	expect(t, 33, 43, 44);

	rd_kafka_destroy(producer);
}

static void deleted_records_are_out_of_range(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);
	int64_t low, high;
	struct error err;

	fixture_fill(w->producer, w->topic, 0, 0, 100);
	fixture_open(t, 0);
	expect(t, 0, 100, 100);
	delete_records(w, 60);
	fixture_open(t, 59);
	assert_int_equal(fixture_read(t, 0, 59).kind, TOPIC_OUT_OF_RANGE);
	assert_int_equal(t->ops->watermarks(t, &low, &high, &err), 0);
	assert_int_equal(low, 60);
	assert_int_equal(high, 100);
	fixture_open(t, 60);
	expect(t, 60, 100, 100);
}

static void a_deleted_topic_is_gone(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);
	struct topic_item items[ITEMS];
	struct topic_layout layout;
	struct error err;

	fixture_fill(w->producer, w->topic, 0, 0, 100);
	fixture_open(t, 0);
	expect(t, 0, 100, 100);
	delete_topic(w);
	assert_int_equal(fixture_read(t, 0, 100).kind, TOPIC_GONE);
	assert_int_equal(t->ops->layout(t, &layout, &err), -ENOENT);
	assert_non_null(strstr(err.text, w->topic));

	/* Silence until it is opened again, whatever comes. */
	create_topic(w, 1);
	fixture_fill(w->producer, w->topic, 0, 0, 50);
	for (int i = 0; i < 10; i++)
		assert_int_equal(t->ops->poll(t, 100, items, ITEMS), 0);
	fixture_open(t, 0);
	expect(t, 0, 50, 50);
}

/* It must not pass for the old one: gone or out of range, while it is shorter. */
static void a_topic_made_anew_is_noticed(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);
	struct topic_item item;

	fixture_fill(w->producer, w->topic, 0, 0, 100);
	fixture_open(t, 0);
	expect(t, 0, 100, 100);
	delete_topic(w);
	create_topic(w, 1);
	fixture_fill(w->producer, w->topic, 0, 0, 40);
	item = fixture_read(t, 0, 100);
	assert_true(item.kind == TOPIC_GONE || item.kind == TOPIC_OUT_OF_RANGE);
}

/* Deletes it and makes it anew, with so many messages that a reader would read on; and looks. */
static void expect_a_new_log_is_noticed(struct world *w, struct topic *t)
{
	struct topic_item items[ITEMS] = {{0}};
	int64_t until_ms;

	delete_topic(w);
	create_topic(w, 1);
	fixture_fill(w->producer, w->topic, 0, 0, 1000);
	kafka_client_set_watch_interval(w->client, 200);
	until_ms = fixture_now_ms() + WAIT_MS;
	while (items[0].kind != TOPIC_GONE) {
		assert_true(fixture_now_ms() < until_ms);
		t->ops->poll(t, 100, items, ITEMS);
	}
}

/* The new log reaches beyond our offset before we look: librdkafka reads on as if nothing were. A
 * single message was read. */
static void a_longer_topic_made_anew_is_noticed(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);

	fixture_fill(w->producer, w->topic, 0, 0, 1);
	fixture_open(t, 0);
	expect(t, 0, 1, 1);
	expect_a_new_log_is_noticed(w, t);
}

/* What was read before the last open, as a recovery does to compare, is the anchor. */
static void a_topic_made_anew_before_anything_is_read_is_noticed(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);

	fixture_fill(w->producer, w->topic, 0, 0, 100);
	fixture_open(t, 99);
	expect(t, 99, 100, 100);
	fixture_open(t, 100);
	expect_a_new_log_is_noticed(w, t);
}

/* Retention has deleted everything, nothing was read. */
static void a_topic_made_anew_where_all_was_deleted_is_noticed(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);
	struct error err;
	int64_t low, high;

	fixture_fill(w->producer, w->topic, 0, 0, 100);
	delete_records(w, 100);
	assert_int_equal(t->ops->watermarks(t, &low, &high, &err), 0);
	assert_int_equal(low, 100);
	fixture_open(t, 100);
	expect_a_new_log_is_noticed(w, t);
}

/* No false alarm: not while it grows, not when its beginning is deleted, not when all of it is. */
static void the_same_log_stays_the_same(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);

	kafka_client_set_watch_interval(w->client, 20);
	fixture_open(t, 0);
	for (int64_t next = 0; next < 2000; next += 20) {
		fixture_fill(w->producer, w->topic, 0, next, next + 20);
		expect(t, next, next + 20, next + 20);
		usleep(20000);
		if (next % 200 == 0 && next > 0)
			delete_records(w, next % 400 ? next + 20 : next - 100);
	}
	usleep(200000);
	fixture_fill(w->producer, w->topic, 0, 2000, 2001);
	expect(t, 2000, 2001, 2001);
}

static FILE *open_segment(struct world *w)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s-0/00000000000000000000.log",
		getenv("LEDGERD_TEST_KAFKA_DATA"), w->topic);
	file = fopen(path, "r+");
	if (!file)
		fail_msg("%s cannot be opened", path);
	return file;
}

/* Where a message's value is in the partition's first segment: the checksum does not cover all of
 * what is around it. */
static long find_value(struct world *w, const char *value)
{
	static char bytes[64 << 10];
	FILE *file = open_segment(w);
	size_t length = fread(bytes, 1, sizeof(bytes), file);
	const char *found = memmem(bytes, length, value, strlen(value));

	fclose(file);
	if (!found)
		fail_msg("%s is not in the log", value);
	return found - bytes;
}

static void flip_bit(struct world *w, long place)
{
	FILE *file = open_segment(w);
	int byte;

	fseek(file, place, SEEK_SET);
	byte = fgetc(file);
	fseek(file, place, SEEK_SET);
	fputc(byte ^ 4, file);
	fclose(file);
}

/* Behind a damaged batch librdkafka reads on somewhere (it takes bytes within the batch for the
 * next one), which may look like an offset that is not in the log, and halt the partition. */
static void a_damaged_batch_is_waited_for(void **state)
{
	struct world *w = *state;
	struct topic *t = make_topic(w, 0);
	struct topic_item items[ITEMS];
	int64_t next = 0;
	long place;

	if (!getenv("LEDGERD_TEST_KAFKA_DATA"))
		skip();
	for (int64_t batch = 0; batch < 9; batch++)
		fixture_fill(w->producer, w->topic, 0, batch * 10, batch * 10 + 10);
	place = find_value(w, "0:45");
	flip_bit(w, place);
	fixture_open(t, 0);
	for (int64_t until_ms = fixture_now_ms() + 4000; fixture_now_ms() < until_ms;) {
		size_t count = t->ops->poll(t, 100, items, ITEMS);

		for (size_t i = 0; i < count; i++) {
			assert_int_equal(items[i].kind, TOPIC_MESSAGE);
			assert_int_equal(items[i].message.offset, next++);
		}
	}
	assert_in_range(next, 1, 45);
	flip_bit(w, place);
	expect(t, next, 90, 90);
}

static void a_grown_topic_is_seen(void **state)
{
	struct world *w = *state;
	struct topic_layout layout;
	struct error err;

	assert_int_equal(topic_kafka_layout(w->client, &layout, &err), 0);
	assert_int_equal(layout.partitions, 1);
	assert_true(strlen(layout.cluster_id) > 10);
	grow_topic(w, 3);
	for (int i = 0; i < WAIT_MS / 100 && layout.partitions == 1; i++) {
		usleep(100000);
		assert_int_equal(topic_kafka_layout(w->client, &layout, &err), 0);
	}
	assert_int_equal(layout.partitions, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(aborted_transactions_are_gaps),
		TEST(deleted_records_are_out_of_range),
		TEST(a_deleted_topic_is_gone),
		TEST(a_topic_made_anew_is_noticed),
		TEST(a_longer_topic_made_anew_is_noticed),
		TEST(a_topic_made_anew_before_anything_is_read_is_noticed),
		TEST(a_topic_made_anew_where_all_was_deleted_is_noticed),
		TEST(the_same_log_stays_the_same),
		TEST(a_damaged_batch_is_waited_for),
		TEST(a_grown_topic_is_seen),
	};

	if (!servers()) {
		puts("1..0 # SKIP LEDGERD_TEST_KAFKA names no broker");
		return 0;
	}
	fixture_quiet();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
