/*
 * A worker whose database hangs: whatever call is made for it, it ends when the lease does, nothing
 * that had no answer counts as done, and nobody who asks the worker is made to wait.
 */
#include "fixture.h"

#include <pthread.h>
#include <time.h>

#include "readers.h"
#include "store_memory.h"
#include "topic_memory.h"
#include "worker.h"

#define EPOCH   7
#define SOON_MS 10000 /* a hang that nobody ends is noticed after so long */

/* Calls that wait until their store is interrupted. */
enum hang { HANG_NONE, HANG_READING, HANG_READING_IDS, HANG_COMMIT, HANG_PING };

struct world {
	struct budget budget;
	struct memory_log log;
	struct topic_memory_faults kafka;
	struct partition_offset_row offsets[1];
	struct memory_database db;
	struct partition_metrics metrics;
	struct store *reader;
	struct readers *readers; /* NULL: the reader is no share of theirs */
	struct store *other;     /* another share */
	pthread_t asker;         /* asks it */
	struct flushers *flushers;
	struct worker *worker;
	atomic_bool lease;
	atomic_bool lease_while_queued; /* as a flusher's thread sees it */
	atomic_int hang;
	atomic_int hanging; /* threads that wait in such a call */
	atomic_bool reader_interrupted;
	atomic_bool flush_interrupted;
	atomic_bool ended;
};

static struct world world;
static struct store_ops sound_ops, hang_ops;

static void sleep_ms(int64_t ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static bool within(int64_t ms, bool (*condition)(void))
{
	for (; ms > 0 && !condition(); ms--)
		sleep_ms(1);
	return condition();
}

static bool hanging(void)
{
	return atomic_load(&world.hanging) > 0;
}

static bool ended(void)
{
	return worker_ended(world.worker);
}

static atomic_bool *interrupted_of(const struct store *s)
{
	return s == world.reader ? &world.reader_interrupted : &world.flush_interrupted;
}

static void wait_interrupted(const struct store *s, enum hang hang)
{
	const atomic_bool *interrupted = interrupted_of(s);

	if (atomic_load(&world.hang) != (int)hang)
		return;
	atomic_fetch_add(&world.hanging, 1);
	while (!atomic_load(interrupted) && atomic_load(&world.hang) == (int)hang)
		sleep_ms(1);
	atomic_fetch_sub(&world.hanging, 1);
}

static enum store_result hang_read_partition(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	wait_interrupted(s, HANG_READING);
	return sound_ops.read_partition(s, partition, ret_partition, err);
}

static enum store_result hang_recent_transactions(struct store *s, int32_t partition, size_t count,
	store_transaction_fn *fn, void *context, struct error *err)
{
	wait_interrupted(s, HANG_READING_IDS);
	return sound_ops.recent_transactions(s, partition, count, fn, context, err);
}

static enum store_result hang_commit(struct store *s, struct error *err)
{
	wait_interrupted(s, HANG_COMMIT);
	return sound_ops.commit(s, err);
}

static enum store_result hang_ping(struct store *s, struct error *err)
{
	wait_interrupted(s, HANG_PING);
	return sound_ops.ping(s, err);
}

static void hang_interrupt(struct store *s)
{
	sound_ops.interrupt(s);
	atomic_store(interrupted_of(s), true);
}

/* Before there are threads that create stores. */
static void set_tables(void)
{
	struct store *s = store_memory_create(&world.db, NULL, NULL);

	sound_ops = *s->ops;
	hang_ops = sound_ops;
	hang_ops.read_partition = hang_read_partition;
	hang_ops.recent_transactions = hang_recent_transactions;
	hang_ops.commit = hang_commit;
	hang_ops.ping = hang_ping;
	hang_ops.interrupt = hang_interrupt;
	sound_ops.destroy(s);
}

static struct store *create_store(void *context)
{
	struct store *s = store_memory_create(&world.db, NULL, NULL);

	s->ops = &hang_ops;
	return s;
}

static bool lease_valid(void *context, int32_t partition, int64_t now_ms)
{
	char name[16];

	pthread_getname_np(pthread_self(), name, sizeof name);
	if (strcmp(name, "flusher") == 0 && !atomic_load(&world.lease_while_queued))
		return false;
	return atomic_load(&world.lease);
}

static void has_ended(void *context)
{
	atomic_store(&world.ended, true);
}

static void begin_world(enum hang hang)
{
	memset(&world, 0, sizeof world);
	world.lease = world.lease_while_queued = true;
	world.hang = (int)hang;
	world.offsets[0].epoch = EPOCH;
	budget_init(&world.budget, (size_t)1 << 30);
	memory_log_init(&world.log, 1);
	memory_log_append(&world.log, "1", 1, "no event", 8, FIXTURE_TIME_MS);
	memory_database_init(&world.db, 1, world.offsets);
	set_tables();
}

static void begin_worker(struct store *reader)
{
	struct flushers_config flushers = {
		.threads = 1, .keepalive_ms = 10, .store_create = create_store};
	struct partition_config config = {
		.partitions = 1,
		.cluster_id = "memory",
		.epoch = EPOCH,
		.batch_max_events = 8,
		.batch_max_bytes = 100000,
		.poll_idle_ms = 10,
		.dedupe_ids = 32,
		.dedupe_prime = 8,
		.redis_pending_max = 10,
		.seed = 3,
		.key = "fixture",
		.out_of_range_ms = 30000,
	};
	struct worker_edges edges = {.clock = &clock_system,
		.budget = &world.budget,
		.metrics = &world.metrics,
		.lease_valid = lease_valid,
		.ended = has_ended};

	edges.reader = world.reader = reader;
	edges.reader_waits = world.readers ? readers_store_waits : NULL;
	edges.reader_hurry = world.readers ? readers_store_hurry : NULL;
	edges.flushers = world.flushers = flushers_start(&flushers, &clock_system);
	edges.topic = topic_memory_create(&world.log, &world.kafka);
	world.worker = worker_start(&config, &edges);
	assert_true(within(SOON_MS, hanging));
}

static void begin(enum hang hang)
{
	begin_world(hang);
	begin_worker(create_store(NULL));
}

/* The worker has ended: joining it takes no time, as the thread of the leases does it. */
static void finish(void)
{
	assert_true(within(SOON_MS, ended));
	worker_join(world.worker);
	flushers_stop(world.flushers);
	assert_true(world.ended);
	assert_int_equal(budget_used(&world.budget), 0);
	memory_database_finish(&world.db);
	memory_log_finish(&world.log);
}

static void test_reading_ends_with_the_lease(void **state)
{
	begin(HANG_READING);
	worker_lose(world.worker, false);
	finish();
}

/* The COMMIT had no answer, so it does not count; the next owner finds out. */
static void test_a_flush_ends_with_the_lease(void **state)
{
	begin(HANG_COMMIT);
	worker_lose(world.worker, false);
	finish();
	assert_int_equal(world.offsets[0].next_offset, 0);
	assert_int_equal(counter_read(&world.metrics.outcomes[OUTCOME_DEAD_LETTER]), 0);
}

/* The thread of the leases may hang itself: the worker heeds the clock alone. */
static void test_a_flush_ends_when_the_lease_has_run_out(void **state)
{
	begin(HANG_COMMIT);
	atomic_store(&world.lease, false);
	finish();
	assert_int_equal(world.offsets[0].next_offset, 0);
}

/* The lease was good when the flush was submitted, and is not when a thread is free for it. */
static void test_a_flush_does_not_begin_without_a_lease(void **state)
{
	begin(HANG_READING);
	atomic_store(&world.lease_while_queued, false);
	atomic_store(&world.hang, HANG_NONE);
	finish();
	assert_int_equal(world.offsets[0].next_offset, 0);
}

/* Everything is flushed, and the flusher waits for an answer that is nobody's. */
static void test_a_drained_worker_does_not_wait_for_the_flushers(void **state)
{
	begin(HANG_PING);
	worker_drain(world.worker);
	finish();
	assert_int_equal(world.offsets[0].next_offset, 1);
}

/* For /healthz: a call that waits for its answer is timed, its own or that of others before it. */
static int64_t beat_age_ms(void)
{
	return clock_system.now_ms(&clock_system) - worker_beat_ms(world.worker);
}

static void test_a_call_without_an_answer_is_no_beat(void **state)
{
	begin(HANG_READING);
	sleep_ms(50);
	assert_true(beat_age_ms() >= 50);
	worker_lose(world.worker, false);
	finish();
}

static bool in_line(void)
{
	return readers_store_waits(world.reader);
}

static void nothing(void *context, const struct event *event)
{
}

static void *ask(void *context)
{
	struct store *s = world.other;
	struct store_partition row;
	struct error err;

	s->ops->read_partition(s, 0, &row, &err);
	s->ops->recent_transactions(s, 0, 1, nothing, NULL, &err);
	return NULL;
}

/* Another partition's question has no answer, and the worker waits for it to end. */
static void begin_in_line(enum hang hang, int connections)
{
	struct readers_config config = {
		.connections = connections, .silence_max_ms = 1000, .store_create = create_store};

	begin_world(hang);
	world.readers = readers_create(&config, &clock_system);
	world.other = readers_store(world.readers);
	pthread_create(&world.asker, NULL, ask, NULL);
	assert_true(within(SOON_MS, hanging));
	begin_worker(readers_store(world.readers));
	assert_true(within(SOON_MS, in_line));
}

static void finish_in_line(void)
{
	atomic_store(&world.hang, HANG_NONE);
	pthread_join(world.asker, NULL);
	finish();
	world.other->ops->destroy(world.other);
	readers_destroy(world.readers);
}

static void test_waiting_for_a_connection_is_not_being_stuck(void **state)
{
	begin_in_line(HANG_READING, 1);
	sleep_ms(500);
	assert_true(beat_age_ms() < 250);
	worker_drain(world.worker);
	finish_in_line();
}

/* A stop does not read what only a start needs, for one partition after the other. */
static void test_a_worker_that_starts_is_drained_at_once(void **state)
{
	begin_in_line(HANG_READING_IDS, 2);
	worker_drain(world.worker);
	assert_true(within(SOON_MS, ended));
	assert_true(hanging());
	finish_in_line();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reading_ends_with_the_lease),
		cmocka_unit_test(test_a_flush_ends_with_the_lease),
		cmocka_unit_test(test_a_flush_ends_when_the_lease_has_run_out),
		cmocka_unit_test(test_a_flush_does_not_begin_without_a_lease),
		cmocka_unit_test(test_a_drained_worker_does_not_wait_for_the_flushers),
		cmocka_unit_test(test_a_call_without_an_answer_is_no_beat),
		cmocka_unit_test(test_waiting_for_a_connection_is_not_being_stuck),
		cmocka_unit_test(test_a_worker_that_starts_is_drained_at_once),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
