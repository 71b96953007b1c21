/*
 * A partition's life against the edges in memory, turn by turn: recovering, halting, learning old
 * ids, draining and losing its lease.  The simulator does the same at random; here each way is
 * walked once, and by its name.
 */
#include "fixture.h"

#include "log.h"
#include "partition.h"
#include "snapshot_memory.h"
#include "store_memory.h"
#include "topic_memory.h"

#define EPOCH           7
#define OUT_OF_RANGE_MS 30000

struct world {
	int64_t now_ms;
	struct clock clock;
	struct budget budget;
	struct memory_log log;
	struct topic_memory_faults kafka;
	struct partition_offset_row offsets[1];
	struct memory_database db;
	struct partition_metrics metrics;
	struct store *reader;
	struct store *flush_store;
	struct topic *topic;
	struct flush flush;
	struct snapshot_memory *redis; /* NULL: off */
	struct publisher *publisher;
	struct partition *p;
	int64_t flush_interval_min_ms;
	bool submitted;
	bool lease;
	int64_t drifted[DRIFTS];
	char reason[500]; /* of the last transition that had one */
	enum partition_state last;
};

static struct world *world_of(const struct clock *clock)
{
	return (struct world *)((char *)clock - offsetof(struct world, clock));
}

static int64_t now_ms(const struct clock *clock)
{
	return world_of(clock)->now_ms;
}

static int64_t now_us(const struct clock *clock)
{
	return world_of(clock)->now_ms * 1000;
}

static int64_t wall_ms(const struct clock *clock)
{
	return FIXTURE_TIME_MS;
}

static void submit(void *context)
{
	((struct world *)context)->submitted = true;
}

static bool submitted(void *context)
{
	return ((struct world *)context)->submitted;
}

static bool lease_valid(void *context, int32_t partition, int64_t at_ms)
{
	return ((struct world *)context)->lease;
}

static void on_state(void *context, int32_t partition, enum partition_state from,
	enum partition_state to, const char *reason)
{
	struct world *w = context;

	w->last = to == PARTITION_IDLE ? from : to;
	if (reason[0])
		snprintf(w->reason, sizeof w->reason, "%s", reason);
}

static void on_retry(void *context, int32_t partition, const char *what, const struct error *err)
{
}

static void on_drift(void *context, int32_t partition, enum drift drift, int64_t balances)
{
	((struct world *)context)->drifted[drift] += balances;
}

static void ignore_wake(void *context)
{
}

static void open_partition(struct world *w)
{
	struct partition_config config = {.partitions = 1,
		.cluster_id = "memory",
		.epoch = EPOCH,
		.batch_max_events = 8,
		.batch_max_bytes = 100000,
		.poll_idle_ms = 10,
		.flush_interval_min_ms = w->flush_interval_min_ms,
		.dedupe_ids = 32,
		.redis_pending_max = 10,
		.seed = 3,
		.key = "fixture",
		.out_of_range_ms = OUT_OF_RANGE_MS};
	struct partition_edges edges = {.reader = w->reader,
		.topic = w->topic,
		.flush = &w->flush,
		.submit = submit,
		.submitted = submitted,
		.lease_valid = lease_valid,
		.context = w,
		.publisher = w->publisher,
		.clock = &w->clock,
		.budget = &w->budget,
		.metrics = &w->metrics,
		.on_state = on_state,
		.on_retry = on_retry,
		.on_drift = on_drift};

	flush_init(&w->flush, w->flush_store, 1);
	w->submitted = false;
	w->p = partition_create(&config, &edges);
}

static void close_partition(struct world *w)
{
	partition_destroy(w->p);
	flush_finish(&w->flush);
	w->p = NULL;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	w->now_ms = 1000000;
	w->clock = (struct clock){now_ms, now_us, wall_ms};
	w->lease = true;
	budget_init(&w->budget, (size_t)1 << 30);
	memory_log_init(&w->log, 1);
	w->offsets[0].epoch = EPOCH;
	memory_database_init(&w->db, 1, w->offsets);
	w->reader = store_memory_create(&w->db, NULL, NULL);
	w->flush_store = store_memory_create(&w->db, NULL, NULL);
	w->topic = topic_memory_create(&w->log, &w->kafka);
	open_partition(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	close_partition(w);
	assert_int_equal(budget_used(&w->budget), 0);
	w->reader->ops->destroy(w->reader);
	w->flush_store->ops->destroy(w->flush_store);
	w->topic->ops->destroy(w->topic);
	memory_database_finish(&w->db);
	memory_log_finish(&w->log);
	free(w);
	return 0;
}

static void send(struct world *w, const char *id, int64_t account, const char *amount)
{
	char key[24], value[256];

	snprintf(key, sizeof key, "%lld", (long long)account);
	snprintf(value, sizeof value,
		"{\"transaction_id\":\"%s\",\"account_id\":%lld,\"currency\":\"USDT\","
		"\"type\":\"DEPOSIT\",\"amount\":\"%s\"}",
		id, (long long)account, amount);
	memory_log_append(&w->log, key, strlen(key), value, strlen(value), FIXTURE_TIME_MS);
}

/* Turns and flush steps until the partition ends, or for so many rounds. */
static void turn(struct world *w, int rounds)
{
	while (rounds-- > 0 && !partition_ended(w->p)) {
		w->now_ms += partition_turn(w->p);
		if (w->publisher)
			publisher_step(w->publisher, w->now_ms);
		if (!w->submitted)
			continue;
		w->now_ms += flush_step(&w->flush);
		w->submitted = !flush_ended(&w->flush);
	}
}

static void assert_halted(const struct world *w, const char *words)
{
	assert_true(partition_ended(w->p));
	assert_int_equal(w->last, PARTITION_HALTED);
	assert_true(w->offsets[0].halted);
	assert_non_null(strstr(w->offsets[0].halted_reason, words));
}

/* A new life under the next epoch. */
static void restart(struct world *w)
{
	close_partition(w);
	w->offsets[0].halted = false;
	open_partition(w);
}

static void test_consumes_from_the_beginning(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 30; i++) {
		char id[16];

		snprintf(id, sizeof id, "t%d", i);
		send(w, id, 1 + i % 5, "2.5");
	}
	memory_log_append_hidden(&w->log);
	turn(w, 300);
	assert_int_equal(partition_state(w->p), PARTITION_RUNNING);
	assert_int_equal(w->offsets[0].next_offset, 31);
	assert_int_equal(w->db.tables[0].journal_count, 30);
	assert_int_equal(w->db.balance_count, 5);
	assert_int_equal(topic_memory_mirrored(w->topic), 31);
	assert_int_equal(counter_read(&w->metrics.outcomes[OUTCOME_APPLIED]), 30);
	assert_int_equal(partition_offset_low(w->p), 31);
	assert_int_equal(partition_offset_high(w->p), 31);
}

/* "old", and so many after it that memory forgets its id. */
static void send_old(struct world *w)
{
	send(w, "old", 1, "1");
	for (int i = 0; i < 100; i++) {
		char id[16];

		snprintf(id, sizeof id, "t%d", i);
		send(w, id, 1, "1");
	}
}

/* Ids that memory has forgotten: the flush meets them, they are learned, it is applied again. */
static void test_old_duplicates(void **state)
{
	struct world *w = *state;

	send_old(w);
	send(w, "old", 1, "1.0");
	send(w, "old", 1, "2");
	send(w, "new", 1, "1");
	turn(w, 800);
	assert_int_equal(w->offsets[0].next_offset, w->log.end);
	assert_int_equal(counter_read(&w->metrics.outcomes[OUTCOME_DUPLICATE]), 1);
	assert_int_equal(counter_read(&w->metrics.dead_letters[DEAD_ID_CONFLICT]), 1);
	assert_int_equal(w->db.tables[0].journal_count, 102);
	assert_amount_equal(w->db.balances[0].balance.available, amount_of("102"));
}

static void send_with_headers(struct world *w, const char *id, const char *amount)
{
	char headers[64];

	send(w, id, 1, amount);
	snprintf(headers, sizeof headers, "[[\"offset\",\"%lld\"]]", (long long)w->log.end - 1);
	memory_log_set_headers(&w->log, w->log.end - 1, headers);
}

/* Whenever it is found that a message is a dead letter, it has its own headers. */
static void test_headers_of_dead_letters(void **state)
{
	struct world *w = *state;
	struct memory_partition *table = &w->db.tables[0];
	char headers[64];

	send_with_headers(w, "old", "1");
	for (int i = 0; i < 100; i++) {
		char id[16];

		snprintf(id, sizeof id, "t%d", i);
		send_with_headers(w, id, "1");
	}
	send_with_headers(w, "old", "2"); /* memory has forgotten it: found by the flush */
	send_with_headers(w, "t99", "2"); /* remembered */
	send_with_headers(w, "same-batch", "1");
	send_with_headers(w, "same-batch", "2");
	send_with_headers(w, "malformed", "-"); /* found while it is decoded */
	send(w, "none", 1, "-");
	turn(w, 800);
	assert_int_equal(w->offsets[0].next_offset, w->log.end);
	assert_int_equal(table->dead_letter_count, 5);
	assert_int_equal(counter_read(&w->metrics.dead_letters[DEAD_ID_CONFLICT]), 3);
	for (size_t i = 0; i < 4; i++) {
		snprintf(headers, sizeof headers, "[[\"offset\",\"%lld\"]]",
			(long long)table->dead_letters[i].offset);
		assert_string_equal(table->dead_letters[i].headers, headers);
	}
	assert_null(table->dead_letters[4].headers);
}

/* It waits for the least time between two flushes, and for nothing else. */
static void test_drain_flushes_what_is_prepared(void **state)
{
	struct world *w = *state;

	close_partition(w);
	w->flush_interval_min_ms = 1000000;
	open_partition(w);
	turn(w, 30);
	send(w, "a", 1, "1");
	turn(w, 1);
	send(w, "b", 1, "1");
	turn(w, 30); /* `a` is flushed; the clock stands still */
	assert_int_equal(w->offsets[0].next_offset, 1);
	partition_drain(w->p);
	turn(w, 60);
	assert_true(partition_ended(w->p));
	assert_int_equal(w->last, PARTITION_DRAINING);
	assert_int_equal(w->offsets[0].next_offset, 2);
}

/* The next owner has it from the log sooner than another flush would end. */
static void test_drain_leaves_what_is_behind_a_flush(void **state)
{
	struct world *w = *state;

	turn(w, 30);
	send(w, "a", 1, "1");
	partition_turn(w->p); /* polled and handed over, not flushed yet */
	send(w, "b", 1, "1");
	partition_turn(w->p); /* prepared behind it */
	partition_drain(w->p);
	turn(w, 60);
	assert_true(partition_ended(w->p));
	assert_int_equal(w->last, PARTITION_DRAINING);
	assert_int_equal(w->offsets[0].next_offset, 1);
	assert_int_equal(w->db.tables[0].journal_count, 1);
}

/* The topic was made anew while a flush was on its way that met an old id: its batch is not applied
 * again, since the offsets may be another log's by now; the next owner compares and decides. */
static void test_drain_leaves_what_may_be_of_another_log(void **state)
{
	struct world *w = *state;

	send_old(w);
	turn(w, 800);
	assert_int_equal(w->offsets[0].next_offset, 101);
	send(w, "old", 1, "1"); /* memory has forgotten it */
	partition_turn(w->p);   /* handed over, not flushed yet */
	memory_log_recreate(&w->log);
	partition_turn(w->p); /* and the log says that it is another */
	partition_drain(w->p);
	turn(w, 60);
	assert_true(partition_ended(w->p));
	assert_int_equal(w->last, PARTITION_DRAINING);
	assert_int_equal(w->offsets[0].next_offset, 101);
}

static void test_lease_that_ran_out(void **state)
{
	struct world *w = *state;

	turn(w, 30);
	send(w, "a", 1, "1");
	partition_turn(w->p);
	w->lease = false;
	turn(w, 30);
	assert_true(partition_ended(w->p));
	assert_int_equal(w->last, PARTITION_FENCED);
	assert_int_equal(w->db.commits, 0);
	assert_int_equal(counter_read(&w->metrics.fenced), 0);
}

static void test_another_epoch(void **state)
{
	struct world *w = *state;

	turn(w, 30);
	w->offsets[0].epoch++;
	send(w, "a", 1, "1");
	turn(w, 30);
	assert_true(partition_ended(w->p));
	assert_int_equal(w->last, PARTITION_FENCED);
	assert_int_equal(w->db.commits, 0);
	assert_int_equal(counter_read(&w->metrics.fenced), 1);
}

/* The beginning of the log is gone: halts, but only when it has been so for a while. */
static void test_log_that_begins_later(void **state)
{
	struct world *w = *state;
	int64_t begin_ms = w->now_ms;

	send(w, "a", 1, "1");
	send(w, "b", 1, "1");
	memory_log_truncate(&w->log, 1);
	turn(w, 10);
	assert_false(partition_ended(w->p));
	turn(w, 500);
	assert_halted(w, "the log begins at 1");
	assert_true(w->now_ms - begin_ms >= OUT_OF_RANGE_MS);
}

/* A topic made anew while running, shorter than what was read. */
static void test_log_that_ends_earlier(void **state)
{
	struct world *w = *state;

	send(w, "a", 1, "1");
	send(w, "b", 1, "1");
	turn(w, 60);
	memory_log_recreate(&w->log);
	turn(w, 1000);
	assert_halted(w, "the log ends at 0");
}

/* A topic made anew while nobody looked, longer than before: its messages are others. */
static void test_another_log(void **state)
{
	struct world *w = *state;

	send(w, "a", 1, "1");
	send(w, "b", 1, "1");
	turn(w, 60);
	memory_log_recreate(&w->log);
	for (int i = 0; i < 5; i++) {
		char id[16];

		snprintf(id, sizeof id, "new%d", i);
		send(w, id, 1, "1");
	}
	restart(w);
	turn(w, 200);
	assert_halted(w, "another message");
	assert_int_equal(w->db.tables[0].journal_count, 2);
}

static void test_rows_beyond_the_offset(void **state)
{
	struct world *w = *state;

	send(w, "a", 1, "1");
	send(w, "b", 1, "1");
	turn(w, 60);
	w->offsets[0].next_offset = 1;
	restart(w);
	turn(w, 100);
	assert_halted(w, "next_offset is 1");
}

/* Another number of partitions halts before the first WRONG_PARTITION becomes a dead letter. */
static void test_topic_that_grew(void **state)
{
	struct world *w = *state;

	turn(w, 30);
	w->log.layout.partitions = 2;
	restart(w);
	turn(w, 100);
	assert_halted(w, "has 2 partitions");
}

static void test_another_cluster(void **state)
{
	struct world *w = *state;

	snprintf(w->log.layout.cluster_id, sizeof w->log.layout.cluster_id, "elsewhere");
	turn(w, 100);
	assert_halted(w, "elsewhere");
}

static void test_halt_from_outside(void **state)
{
	struct world *w = *state;

	turn(w, 30);
	partition_halt(w->p, "somebody said so");
	turn(w, 30);
	assert_halted(w, "somebody said so");
}

/* While Kafka is away nothing happens; then it goes on. */
static void test_kafka_away(void **state)
{
	struct world *w = *state;

	send(w, "a", 1, "1");
	w->kafka.away = true;
	turn(w, 100);
	assert_int_equal(w->offsets[0].next_offset, 0);
	assert_false(partition_ended(w->p));
	w->kafka.away = false;
	turn(w, 100);
	assert_int_equal(w->offsets[0].next_offset, 1);
}

/* A balance that was changed by hand is noticed by sampling, and nothing is repaired. */
static void test_drift(void **state)
{
	struct world *w = *state;

	send(w, "a", 1, "1");
	turn(w, 60);
	w->db.balances[0].balance.available += 1;
	w->now_ms += 10000;
	turn(w, 5);
	assert_int_equal(w->drifted[DRIFT_MYSQL], 1);
	assert_int_equal(counter_read(&w->metrics.drift), 1);
}

/* With Redis ----------------------------------------------------------------------------------- */

static int setup_redis(void **state)
{
	struct publisher_config config = {1, 100, 1000, 0, 5};
	struct world *w;

	setup(state);
	w = *state;
	close_partition(w);
	w->redis = snapshot_memory_create(1);
	w->publisher = publisher_create(&config, snapshot_memory_open(w->redis),
		store_memory_create(&w->db, NULL, NULL), ignore_wake, NULL);
	open_partition(w);
	return 0;
}

static int teardown_redis(void **state)
{
	struct world *w = *state;
	struct publisher *publisher = w->publisher;
	struct snapshot_memory *redis = w->redis;

	publisher_destroy(publisher);
	snapshot_memory_destroy(redis);
	return teardown(state);
}

/* Three accounts in memory, in the database and in Redis; the second has version 2. */
static void send_three(struct world *w)
{
	send(w, "a", 1, "1");
	send(w, "b", 2, "2");
	send(w, "c", 3, "3");
	send(w, "d", 2, "2");
	turn(w, 200);
	assert_int_equal(w->offsets[0].next_offset, 4);
	assert_int_equal(snapshot_memory_count(w->redis), 3);
}

static struct snapshot_image image_of(struct world *w, int64_t account)
{
	struct balance_key key = {account, currency_pack("USDT", 4)};
	const struct snapshot_image *image = snapshot_memory_find(w->redis, key);

	return image ? *image : (struct snapshot_image){.key = key};
}

/* So many samples, and what comes of them. */
static void let_sample(struct world *w, int samples)
{
	for (int i = 0; i < samples; i++) {
		w->now_ms += 5000;
		turn(w, 20);
	}
}

static int64_t drifts(const struct world *w)
{
	int64_t sum = 0;

	for (int i = 0; i < DRIFTS; i++)
		sum += w->drifted[i];
	assert_int_equal(counter_read(&w->metrics.drift), sum);
	return sum;
}

/* What Redis has of the second account is spoilt; it must be told as this, and be mended. */
static void spoil(struct world *w, struct snapshot_image wrong, enum drift drift)
{
	struct snapshot_image right = image_of(w, 2);
	struct snapshot_image mended;

	snapshot_memory_tamper(w->redis, &wrong);
	let_sample(w, 20);
	assert_int_equal(w->drifted[drift], 1);
	assert_int_equal(drifts(w), 1);
	mended = image_of(w, 2);
	assert_int_equal(mended.version, right.version);
	assert_true(mended.available == right.available && mended.frozen == right.frozen);
}

static void test_redis_that_agrees_is_no_drift(void **state)
{
	struct world *w = *state;

	send_three(w);
	let_sample(w, 20);
	assert_int_equal(drifts(w), 0);
}

static void test_key_missing_in_redis(void **state)
{
	struct world *w = *state;
	struct snapshot_image image;

	send_three(w);
	image = image_of(w, 2);
	image.version = 0;
	spoil(w, image, DRIFT_REDIS_MISSING);
}

static void test_key_behind_in_redis(void **state)
{
	struct world *w = *state;
	struct snapshot_image image;

	send_three(w);
	image = image_of(w, 2);
	image.version--;
	spoil(w, image, DRIFT_REDIS_BEHIND);
}

static void test_other_available_in_redis(void **state)
{
	struct world *w = *state;
	struct snapshot_image image;

	send_three(w);
	image = image_of(w, 2);
	image.available++;
	spoil(w, image, DRIFT_REDIS_OTHER);
}

static void test_other_frozen_in_redis(void **state)
{
	struct world *w = *state;
	struct snapshot_image image;

	send_three(w);
	image = image_of(w, 2);
	image.frozen++;
	spoil(w, image, DRIFT_REDIS_OTHER);
}

static void test_no_form_of_ours_in_redis(void **state)
{
	struct world *w = *state;
	struct snapshot_image image;

	send_three(w);
	image = image_of(w, 2);
	image.version = SNAPSHOT_UNREADABLE;
	spoil(w, image, DRIFT_REDIS_OTHER);
}

/* It is told as long as it lasts, and left to a person: the last write wins. */
static void test_key_ahead_in_redis(void **state)
{
	struct world *w = *state;
	struct snapshot_image image;
	int64_t told;

	send_three(w);
	image = image_of(w, 2);
	image.version += 1;
	snapshot_memory_tamper(w->redis, &image);
	let_sample(w, 20);
	told = drifts(w);
	assert_true(told > 1 && told <= 20);
	assert_int_equal(w->drifted[DRIFT_REDIS_AHEAD], told);
	assert_int_equal(image_of(w, 2).version, 3);
}

/* What was found is judged by what the balance has become since. */
static void test_balance_that_moved_on_is_no_drift(void **state)
{
	struct world *w = *state;

	send_three(w);
	for (int i = 0; i < 20; i++) {
		char id[16];

		snprintf(id, sizeof id, "more-%d", i);
		send(w, id, 1 + i % 3, "1");
		let_sample(w, 1);
	}
	assert_int_equal(drifts(w), 0);
}

/* Redis is emptied while it is sampled: it is filled again, and nothing has drifted. */
static void test_emptied_redis_is_no_drift(void **state)
{
	struct world *w = *state;

	send_three(w);
	for (int i = 0; i < 20; i++) {
		snapshot_memory_flushall(w->redis);
		let_sample(w, 1);
		turn(w, 100);
		assert_int_equal(snapshot_memory_count(w->redis), 3);
	}
	assert_int_equal(drifts(w), 0);
}

/* Another owner has written there since: what this one finds is none of its business. */
static void test_owner_no_more_tells_no_drift(void **state)
{
	struct world *w = *state;
	struct snapshot_image image;

	send_three(w);
	image = image_of(w, 2);
	image.version += 1;
	snapshot_memory_tamper(w->redis, &image);
	w->offsets[0].epoch++;
	let_sample(w, 20);
	assert_int_equal(drifts(w), 0);
}

#define LIFE(test)  cmocka_unit_test_setup_teardown(test, setup, teardown)
#define REDIS(test) cmocka_unit_test_setup_teardown(test, setup_redis, teardown_redis)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE(test_consumes_from_the_beginning),
		LIFE(test_old_duplicates),
		LIFE(test_headers_of_dead_letters),
		LIFE(test_drain_flushes_what_is_prepared),
		LIFE(test_drain_leaves_what_is_behind_a_flush),
		LIFE(test_drain_leaves_what_may_be_of_another_log),
		LIFE(test_lease_that_ran_out),
		LIFE(test_another_epoch),
		LIFE(test_log_that_begins_later),
		LIFE(test_log_that_ends_earlier),
		LIFE(test_another_log),
		LIFE(test_rows_beyond_the_offset),
		LIFE(test_topic_that_grew),
		LIFE(test_another_cluster),
		LIFE(test_halt_from_outside),
		LIFE(test_kafka_away),
		LIFE(test_drift),
		REDIS(test_redis_that_agrees_is_no_drift),
		REDIS(test_key_missing_in_redis),
		REDIS(test_key_behind_in_redis),
		REDIS(test_other_available_in_redis),
		REDIS(test_other_frozen_in_redis),
		REDIS(test_no_form_of_ours_in_redis),
		REDIS(test_key_ahead_in_redis),
		REDIS(test_balance_that_moved_on_is_no_drift),
		REDIS(test_emptied_redis_is_no_drift),
		REDIS(test_owner_no_more_tells_no_drift),
	};
	struct log log;
	int r;

	log_init(&log, 2, LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT, 0);
	log_use(&log);
	r = cmocka_run_group_tests_name("partition", tests, NULL, NULL);
	log_finish(&log);
	return r;
}
