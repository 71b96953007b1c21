/*
 * An instance whose lease store hangs, or whose rows somebody has locked: stopping it takes the
 * lease's time, not the call's or the lock's.
 */
#include "fixture.h"

#include <errno.h>
#include <time.h>

#include "instance.h"
#include "lease_store_memory.h"
#include "store_memory.h"
#include "topic_memory.h"

#define TTL_MS  3000
#define HANG_MS 20000 /* for a call that nobody interrupts */

struct world {
	struct budget budget;
	struct memory_log log;
	struct topic_memory_faults kafka;
	struct partition_offset_row offsets[1];
	struct memory_database db;
	struct lease_db leases;
	struct lease_store_memory *lease_store;
	struct partition_metrics metrics;
	struct instance *instance;
	atomic_bool hang;
	atomic_bool hanging;
	atomic_bool interrupted;
	atomic_bool locked; /* partition_offsets, by somebody else */
	atomic_int refused; /* flushes that met the lock */
};

static struct world world;
static struct lease_store_ops sound_ops, hang_ops;
static struct store_ops store_ops; /* of a database in memory, but for the lock */
static enum store_result (*sound_move_offset)(
	struct store *s, const struct flush_request *request, bool *ret_moved, struct error *err);

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

static int64_t server_us(void *context)
{
	return clock_system.now_us(&clock_system);
}

static void sleep_ms(int64_t ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static int hang_renew(struct lease_store *s, const char *consumer_id, const bool all,
	const int32_t *partitions, size_t partition_count, int64_t ttl_ms,
	struct lease_renewal *renewals, size_t count, struct error *err)
{
	if (!atomic_load(&world.hang))
		return sound_ops.renew(s, consumer_id, all, partitions, partition_count, ttl_ms,
			renewals, count, err);
	atomic_store(&world.hanging, true);
	for (int64_t ms = 0; ms < HANG_MS && !atomic_load(&world.interrupted); ms++)
		sleep_ms(1);
	return error_set(err, -ECONNRESET, "no answer");
}

static void hang_interrupt(struct lease_store *s)
{
	atomic_store(&world.interrupted, true);
}

static enum store_result move_offset(
	struct store *s, const struct flush_request *request, bool *ret_moved, struct error *err)
{
	if (!atomic_load(&world.locked))
		return sound_move_offset(s, request, ret_moved, err);
	atomic_fetch_add(&world.refused, 1);
	return error_set(err, -1, "locked"), STORE_RETRY;
}

static struct store *create_store(void *context)
{
	struct store *store = store_memory_create(&world.db, NULL, NULL);

	store->ops = &store_ops;
	return store;
}

/* Before there are threads that create stores. */
static void set_store_ops(void)
{
	struct store *store = store_memory_create(&world.db, NULL, NULL);

	store_ops = *store->ops;
	sound_move_offset = store_ops.move_offset;
	store_ops.move_offset = move_offset;
	store_ops.destroy(store);
}

static struct topic *create_topic(void *context, int32_t partition)
{
	return topic_memory_create(&world.log, &world.kafka);
}

static void begin(bool locked)
{
	struct instance_config config = {
		.leader = {.consumer_id = "one", .partitions = 1, .all = true, .ttl_ms = TTL_MS},
		.flushers = 1,
		.keepalive_ms = 1000,
		.partition = {.partitions = 1,
			.cluster_id = "memory",
			.batch_max_events = 8,
			.batch_max_bytes = 100000,
			.poll_idle_ms = 10,
			.dedupe_ids = 32,
			.redis_pending_max = 10,
			.key = "fixture",
			.out_of_range_ms = 30000},
	};
	struct instance_edges edges = {.store_create = create_store,
		.topic_create = create_topic,
		.clock = &clock_system,
		.budget = &world.budget,
		.metrics = &world.metrics};

	memset(&world, 0, sizeof world);
	world.locked = locked;
	budget_init(&world.budget, (size_t)1 << 30);
	memory_log_init(&world.log, 1);
	memory_database_init(&world.db, 1, world.offsets);
	lease_store_memory_db_init(&world.leases, world.offsets, 1, server_us, NULL);
	set_store_ops();
	memory_log_append(&world.log, "1", 1, "no event", 8, FIXTURE_TIME_MS);
	world.lease_store = lease_store_memory_create(&world.leases);
	sound_ops = *world.lease_store->store.ops;
	hang_ops = sound_ops;
	hang_ops.renew = hang_renew;
	hang_ops.interrupt = hang_interrupt;
	world.lease_store->store.ops = &hang_ops;
	edges.lease_store = &world.lease_store->store;
	world.instance = instance_start(&config, &edges);
}

static void finish(void)
{
	instance_destroy(world.instance);
	world.lease_store->store.ops->destroy(&world.lease_store->store);
	lease_store_memory_db_finish(&world.leases);
	memory_database_finish(&world.db);
	memory_log_finish(&world.log);
	assert_int_equal(budget_used(&world.budget), 0);
}

static void until_running(void)
{
	struct instance_health health = {0};

	for (int i = 0; i < 10000 && !(health.settled && health.running == 1); i++) {
		sleep_ms(1);
		instance_health(world.instance, &health);
	}
	assert_int_equal(health.running, 1);
}

static void test_a_stop_releases_the_lease_at_once(void **state)
{
	int64_t begin_ms;

	begin(false);
	until_running();
	begin_ms = now_ms();
	instance_stop(world.instance);
	assert_true(now_ms() - begin_ms < TTL_MS);
	assert_false(world.interrupted);
	assert_true(world.leases.rows[0].expires_us <= server_us(NULL));
	finish();
}

static void test_a_stop_interrupts_a_renewal_that_hangs(void **state)
{
	int64_t begin_ms;

	begin(false);
	until_running();
	atomic_store(&world.hang, true);
	while (!atomic_load(&world.hanging))
		sleep_ms(1);
	begin_ms = now_ms();
	instance_stop(world.instance);
	assert_true(world.interrupted);
	assert_true(world.leases.rows[0].expires_us <= server_us(NULL)); /* by itself */
	assert_true(now_ms() - begin_ms < HANG_MS / 2);
	finish();
}

/* The leases are renewed, so it would wait for as long as the lock is held. */
static void test_a_stop_does_not_wait_for_a_lock(void **state)
{
	int64_t begin_ms;

	begin(true);
	while (!atomic_load(&world.refused))
		sleep_ms(1);
	begin_ms = now_ms();
	instance_stop(world.instance);
	assert_true(now_ms() - begin_ms >= TTL_MS);
	assert_true(now_ms() - begin_ms < 2 * TTL_MS);
	assert_true(world.leases.rows[0].expires_us <= server_us(NULL));
	assert_int_equal(world.offsets[0].next_offset, 0);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stop_releases_the_lease_at_once),
		cmocka_unit_test(test_a_stop_interrupts_a_renewal_that_hangs),
		cmocka_unit_test(test_a_stop_does_not_wait_for_a_lock),
	};

	return cmocka_run_group_tests_name("instance", tests, NULL, NULL);
}
