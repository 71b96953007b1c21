/*
 * Partitions that share a few connections for reading: nobody waits for ever, nobody is hurt by
 * another's interrupt, and a connection that broke is made anew.
 */
#include "fixture.h"

#include <pthread.h>
#include <time.h>

#include "readers.h"
#include "store_memory.h"

#define PARTITIONS 8
#define SOON_MS    10000
#define A_WHILE    100

static struct world {
	struct partition_offset_row offsets[PARTITIONS];
	struct memory_database db;
	pthread_mutex_t lock; /* the database in memory is for one thread */
	struct readers *readers;
	struct store *stores[PARTITIONS];
	atomic_int created;
	atomic_int connects;
	atomic_int in_use;
	atomic_int in_use_max;
	atomic_int hanging;
	atomic_int hang;    /* the partition whose questions have no answer; -1: none */
	atomic_bool broken; /* the server has ended all sessions */
} world;

static struct store_ops sound; /* of a database in memory */

struct connection {
	struct store store;
	struct store *inner;
	atomic_bool interrupted;
};

static struct connection *self(struct store *s)
{
	return (struct connection *)s;
}

static void sleep_ms(int64_t ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static void hang(struct connection *c)
{
	atomic_fetch_add(&world.hanging, 1);
	while (!atomic_load(&c->interrupted))
		sleep_ms(1);
	atomic_fetch_sub(&world.hanging, 1);
}

static enum store_result do_connect(struct store *s, struct error *err)
{
	enum store_result result;

	pthread_mutex_lock(&world.lock);
	result = sound.connect(self(s)->inner, err);
	pthread_mutex_unlock(&world.lock);
	atomic_fetch_add(&world.connects, 1);
	return result;
}

static enum store_result do_ping(struct store *s, struct error *err)
{
	if (atomic_load(&world.broken))
		return error_set(err, -1, "gone"), STORE_LOST;
	return STORE_OK;
}

static void do_interrupt(struct store *s)
{
	atomic_store(&self(s)->interrupted, true);
	sound.interrupt(self(s)->inner);
}

static enum store_result do_read_partition(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	int in_use = atomic_fetch_add(&world.in_use, 1) + 1;
	int most = atomic_load(&world.in_use_max);
	enum store_result result;

	while (in_use > most && !atomic_compare_exchange_weak(&world.in_use_max, &most, in_use))
		;
	if (atomic_load(&world.hang) == partition)
		hang(self(s));
	pthread_mutex_lock(&world.lock);
	result = sound.read_partition(self(s)->inner, partition, ret_partition, err);
	pthread_mutex_unlock(&world.lock);
	atomic_fetch_sub(&world.in_use, 1);
	return result;
}

/* Reads much. */
static enum store_result do_recent_transactions(struct store *s, int32_t partition, size_t count,
	store_transaction_fn *fn, void *context, struct error *err)
{
	hang(self(s));
	return error_set(err, -1, "interrupted"), STORE_LOST;
}

static int do_last_errno(const struct store *s)
{
	return 2013;
}

static void do_destroy(struct store *s)
{
	sound.destroy(self(s)->inner);
	free(s);
}

static const struct store_ops ops = {
	.connect = do_connect,
	.ping = do_ping,
	.interrupt = do_interrupt,
	.read_partition = do_read_partition,
	.recent_transactions = do_recent_transactions,
	.last_errno = do_last_errno,
	.destroy = do_destroy,
};

static struct store *create(void *context)
{
	struct connection *c = calloc(1, sizeof *c);

	c->inner = store_memory_create(&world.db, NULL, NULL);
	c->store.ops = &ops;
	atomic_fetch_add(&world.created, 1);
	return &c->store;
}

static void learn_sound(void)
{
	struct store *store = store_memory_create(&world.db, NULL, NULL);

	sound = *store->ops;
	store->ops->destroy(store);
}

static void begin(int connections, int64_t silence_max_ms)
{
	struct readers_config config = {.connections = connections,
		.silence_max_ms = silence_max_ms,
		.store_create = create};

	memset(&world, 0, sizeof world);
	world.hang = -1;
	pthread_mutex_init(&world.lock, NULL);
	for (int i = 0; i < PARTITIONS; i++)
		world.offsets[i].next_offset = 100 + i;
	memory_database_init(&world.db, PARTITIONS, world.offsets);
	learn_sound();
	world.readers = readers_create(&config, &clock_system);
	for (int i = 0; i < PARTITIONS; i++)
		world.stores[i] = readers_store(world.readers);
}

static void finish(void)
{
	for (int i = 0; i < PARTITIONS; i++)
		world.stores[i]->ops->destroy(world.stores[i]);
	readers_destroy(world.readers);
	memory_database_finish(&world.db);
	pthread_mutex_destroy(&world.lock);
}

static enum store_result read_offset(int partition, int64_t *ret_offset)
{
	struct store *store = world.stores[partition];
	struct store_partition row = {0};
	struct error err;
	enum store_result result = store->ops->read_partition(store, partition, &row, &err);

	*ret_offset = row.next_offset;
	return result;
}

static void assert_reads(int partition)
{
	int64_t offset;

	assert_int_equal(read_offset(partition, &offset), STORE_OK);
	assert_int_equal(offset, 100 + partition);
}

/* A question in a thread of its own. */
struct asker {
	pthread_t thread;
	int partition;
	bool much;
	atomic_bool answered;
	enum store_result result;
};

static void *ask(void *context)
{
	struct asker *asker = context;
	struct store *store = world.stores[asker->partition];
	struct error err;
	int64_t offset;

	asker->result = asker->much ? store->ops->recent_transactions(
					      store, asker->partition, 1, NULL, NULL, &err)
				    : read_offset(asker->partition, &offset);
	atomic_store(&asker->answered, true);
	return NULL;
}

static void ask_beside(struct asker *asker, int partition, bool much)
{
	*asker = (struct asker){.partition = partition, .much = much};
	pthread_create(&asker->thread, NULL, ask, asker);
}

static enum store_result join(struct asker *asker)
{
	pthread_join(asker->thread, NULL);
	return asker->result;
}

static void interrupt(int partition)
{
	world.stores[partition]->ops->interrupt(world.stores[partition]);
}

static void wait_hanging(int count)
{
	for (int ms = 0; ms < SOON_MS && atomic_load(&world.hanging) < count; ms++)
		sleep_ms(1);
	assert_int_equal(atomic_load(&world.hanging), count);
}

static void *read_many(void *context)
{
	int partition = (int)((struct store **)context - world.stores);

	for (int i = 0; i < 500; i++)
		assert_reads(partition);
	return NULL;
}

static void test_few_connections_serve_many_partitions(void **state)
{
	pthread_t threads[PARTITIONS];

	begin(3, 1000);
	for (int i = 0; i < PARTITIONS; i++)
		pthread_create(&threads[i], NULL, read_many, &world.stores[i]);
	for (int i = 0; i < PARTITIONS; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&world.in_use_max) <= 3);
	assert_int_equal(atomic_load(&world.created), 3);
	assert_true(atomic_load(&world.connects) <= 3);
	finish();
}

/* The connection that hung is made anew; the partition that was interrupted gets none any more. */
static void test_an_interrupt_hits_its_own_partition(void **state)
{
	struct asker hung, next;
	int64_t offset;

	begin(1, 1000);
	atomic_store(&world.hang, 3);
	ask_beside(&hung, 3, false);
	wait_hanging(1);
	ask_beside(&next, 4, false);
	interrupt(5);
	sleep_ms(A_WHILE);
	assert_false(atomic_load(&hung.answered));
	assert_false(atomic_load(&next.answered));
	interrupt(3);
	assert_int_equal(join(&hung), STORE_LOST);
	assert_int_equal(join(&next), STORE_OK);
	assert_int_equal(read_offset(3, &offset), STORE_LOST);
	assert_int_equal(read_offset(5, &offset), STORE_LOST);
	assert_int_equal(world.stores[3]->ops->last_errno(world.stores[3]), 0);
	assert_reads(6);
	assert_int_equal(atomic_load(&world.created), 2);
	finish();
}

/* A lease that is lost is not waited for. */
static void test_an_interrupt_ends_the_wait_for_a_connection(void **state)
{
	struct asker hung, waiting;

	begin(1, 1000);
	atomic_store(&world.hang, 3);
	ask_beside(&hung, 3, false);
	wait_hanging(1);
	ask_beside(&waiting, 4, false);
	sleep_ms(A_WHILE);
	interrupt(4);
	assert_int_equal(join(&waiting), STORE_LOST);
	assert_false(atomic_load(&hung.answered));
	interrupt(3);
	assert_int_equal(join(&hung), STORE_LOST);
	finish();
}

/* Partitions that start do not keep those that run waiting. */
static void test_who_reads_much_leaves_a_connection(void **state)
{
	struct asker much[3];

	begin(3, 1000);
	for (int i = 0; i < 3; i++)
		ask_beside(&much[i], i, true);
	wait_hanging(2);
	sleep_ms(A_WHILE);
	assert_int_equal(atomic_load(&world.hanging), 2);
	assert_reads(5);
	for (int i = 0; i < 3; i++)
		interrupt(i);
	for (int i = 0; i < 3; i++)
		assert_int_equal(join(&much[i]), STORE_LOST);
	finish();
}

/* Those that run ask again and again: there may never be a moment in which two are free. */
static void test_who_reads_much_needs_one_connection_only(void **state)
{
	struct asker hung, much;

	begin(2, 1000);
	atomic_store(&world.hang, 3);
	ask_beside(&hung, 3, false);
	wait_hanging(1);
	ask_beside(&much, 4, true);
	wait_hanging(2);
	interrupt(3);
	assert_int_equal(join(&hung), STORE_LOST);
	assert_reads(5);
	interrupt(4);
	assert_int_equal(join(&much), STORE_LOST);
	finish();
}

/* Whether it waits or is being answered; what is short is asked as ever. */
static void test_who_is_in_a_hurry_reads_much_no_more(void **state)
{
	struct asker much, waiting;

	begin(2, 1000);
	ask_beside(&much, 1, true);
	wait_hanging(1);
	ask_beside(&waiting, 2, true);
	sleep_ms(A_WHILE);
	readers_store_hurry(world.stores[2]);
	assert_int_equal(join(&waiting), STORE_LOST);
	assert_false(atomic_load(&much.answered));
	readers_store_hurry(world.stores[1]);
	assert_int_equal(join(&much), STORE_LOST);
	ask_beside(&much, 1, true);
	assert_int_equal(join(&much), STORE_LOST);
	assert_reads(1);
	assert_reads(2);
	finish();
}

static void test_a_hurry_does_not_end_a_short_question(void **state)
{
	struct asker asker;

	begin(2, 1000);
	atomic_store(&world.hang, 3);
	ask_beside(&asker, 3, false);
	wait_hanging(1);
	readers_store_hurry(world.stores[3]);
	sleep_ms(A_WHILE);
	assert_false(atomic_load(&asker.answered));
	interrupt(3);
	assert_int_equal(join(&asker), STORE_LOST);
	finish();
}

static void test_a_silent_connection_is_tried_first(void **state)
{
	begin(1, 10);
	assert_reads(0);
	sleep_ms(20);
	assert_reads(1);
	assert_int_equal(atomic_load(&world.connects), 1);
	atomic_store(&world.broken, true);
	sleep_ms(20);
	assert_reads(2);
	assert_int_equal(atomic_load(&world.connects), 2);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_connections_serve_many_partitions),
		cmocka_unit_test(test_an_interrupt_hits_its_own_partition),
		cmocka_unit_test(test_an_interrupt_ends_the_wait_for_a_connection),
		cmocka_unit_test(test_who_reads_much_leaves_a_connection),
		cmocka_unit_test(test_who_reads_much_needs_one_connection_only),
		cmocka_unit_test(test_who_is_in_a_hurry_reads_much_no_more),
		cmocka_unit_test(test_a_hurry_does_not_end_a_short_question),
		cmocka_unit_test(test_a_silent_connection_is_tried_first),
	};

	return cmocka_run_group_tests_name("readers", tests, NULL, NULL);
}
