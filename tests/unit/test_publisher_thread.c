/* The publisher's thread: it works by itself, wakes at once, and ends in time. */
#include "publisher_thread.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "array_store.h"
#include "clock.h"
#include "currency.h"
#include "log.h"
#include "snapshot_memory.h"

#define PARTITIONS 4
#define LONG_MS    60000

struct fixture {
	struct array_table table;
	struct snapshot_memory *server;
	struct publisher_thread *thread;
	struct publisher *pub;
};

static int set_up(void **state)
{
	static struct fixture f;
	struct publisher_config config = {PARTITIONS, 100000, LONG_MS, 16, 1};

	array_table_init(&f.table);
	f.server = snapshot_memory_create(1);
	f.thread = publisher_thread_create();
	f.pub = publisher_create(&config, snapshot_memory_open(f.server),
		array_store_create(&f.table), publisher_thread_wake, f.thread);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	publisher_destroy(f->pub);
	publisher_thread_destroy(f->thread);
	snapshot_memory_destroy(f->server);
	array_table_finish(&f->table);
	return 0;
}

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

static void sleep_ms(int64_t ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static struct balance_key key_of(int64_t account_id)
{
	return (struct balance_key){account_id, currency_pack("USDT", 4)};
}

/* Commits and offers version `version` of an account; the offset after it is the version. */
static void commit(struct fixture *f, int64_t account_id, int64_t version)
{
	struct touched touched = {.key = key_of(account_id)};
	struct store_balance row = {.key = touched.key, .partition = account_id % PARTITIONS};

	touched.before.version = version - 1;
	touched.after = (struct balance){version, 0, version, version};
	row.balance = touched.after;
	array_table_put(&f->table, &row);
	publisher_offer(f->pub, row.partition, &touched, 1, 1, version);
}

static void begin_all(struct fixture *f)
{
	for (int32_t i = 0; i < PARTITIONS; i++)
		publisher_begin(f->pub, i, 0, 0, NULL, 0, false);
}

/* Waits until the partition is published up to the offset; for how long it had to. */
static int64_t wait_for(struct fixture *f, int32_t partition, int64_t offset)
{
	int64_t begin_ms = now_ms();

	while (publisher_offset(f->pub, partition) < offset) {
		assert_true(now_ms() - begin_ms < 20000);
		sleep_ms(1);
	}
	return now_ms() - begin_ms;
}

static void wait_for_rebuilds(struct fixture *f)
{
	int64_t begin_ms = now_ms();
	struct publisher_stats stats;

	do {
		sleep_ms(1);
		publisher_stats(f->pub, &stats);
		assert_true(now_ms() - begin_ms < 20000);
	} while (stats.rebuilds < PARTITIONS || stats.rebuilding);
}

static void test_offers_are_published_at_once(void **state)
{
	struct fixture *f = *state;

	publisher_thread_start(f->thread, f->pub);
	begin_all(f);
	for (int64_t version = 1; version <= 3; version++) {
		commit(f, 1, version);
		assert_true(wait_for(f, 1, version) < 10000); /* LONG_MS if it were not woken */
	}
	assert_true(publisher_thread_stop(f->thread, LONG_MS));
	assert_int_equal(snapshot_memory_find(f->server, key_of(1))->version, 3);
}

static void test_stop_finishes_what_waits(void **state)
{
	struct fixture *f = *state;
	int64_t begin_ms;

	publisher_thread_start(f->thread, f->pub);
	begin_all(f);
	wait_for_rebuilds(f); /* of a Redis that was never seen before */
	for (int64_t account_id = 1; account_id <= 5000; account_id++)
		commit(f, account_id, account_id);
	begin_ms = now_ms();
	assert_true(publisher_thread_stop(f->thread, LONG_MS));
	assert_true(now_ms() - begin_ms < LONG_MS / 2);
	for (int64_t account_id = 1; account_id <= 5000; account_id++)
		assert_non_null(snapshot_memory_find(f->server, key_of(account_id)));
}

/* A Redis that does not answer must not keep the process from ending. */
static void test_stop_gives_up_in_time(void **state)
{
	struct fixture *f = *state;
	int64_t begin_ms;
	int64_t took_ms;

	snapshot_memory_faults(f->server)->unreachable = true;
	publisher_thread_start(f->thread, f->pub);
	begin_all(f);
	commit(f, 1, 1);
	begin_ms = now_ms();
	assert_false(publisher_thread_stop(f->thread, 300));
	took_ms = now_ms() - begin_ms;
	assert_in_range(took_ms, 300, 10000);
}

static void test_stop_without_work_is_immediate(void **state)
{
	struct fixture *f = *state;
	int64_t begin_ms;

	publisher_thread_start(f->thread, f->pub);
	sleep_ms(50); /* asleep until the next look at the server */
	begin_ms = now_ms();
	assert_true(publisher_thread_stop(f->thread, LONG_MS));
	assert_true(now_ms() - begin_ms < 10000);
}

struct producer {
	struct fixture *f;
	int32_t partition;
};

static void *produce(void *context)
{
	struct producer *p = context;

	for (int64_t version = 1; version <= 2000; version++) {
		commit(p->f, p->partition + PARTITIONS * (1 + version % 50), version);
		if (version % 700 == 0) {
			publisher_end(p->f->pub, p->partition);
			publisher_begin(p->f->pub, p->partition, version, version, NULL, 0, true);
		}
	}
	return NULL;
}

/* Offers from the partitions' threads while the publisher works; ThreadSanitizer looks on. */
static void test_several_threads_offer(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[PARTITIONS];
	struct producer producers[PARTITIONS];

	publisher_thread_start(f->thread, f->pub);
	begin_all(f);
	for (int32_t i = 0; i < PARTITIONS; i++) {
		producers[i] = (struct producer){f, i};
		assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
	}
	for (int32_t i = 0; i < PARTITIONS; i++)
		pthread_join(threads[i], NULL);
	for (int32_t i = 0; i < PARTITIONS; i++)
		wait_for(f, i, 2000);
	assert_true(publisher_thread_stop(f->thread, LONG_MS));
	for (size_t i = 0; i < f->table.count; i++) {
		const struct store_balance *row = &f->table.rows[i];
		const struct snapshot_image *image = snapshot_memory_find(f->server, row->key);

		assert_non_null(image);
		assert_int_equal(image->version, row->balance.version);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_offers_are_published_at_once),
		TEST(test_stop_finishes_what_waits),
		TEST(test_stop_gives_up_in_time),
		TEST(test_stop_without_work_is_immediate),
		TEST(test_several_threads_offer),
	};
	struct log log;
	int r;

	log_init(&log, 2, LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT, 0);
	log_use(&log);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	log_finish(&log);
	return r;
}
