/*
 * The flushers' threads beside those of the partitions: every flush is driven to its end, once, and
 * what one partition's flush waits for holds up no other.
 */
#include "fixture.h"

#include <pthread.h>
#include <time.h>

#include "flusher.h"
#include "store_memory.h"
#include "wakeup.h"

#define EPOCH      7
#define PARTITIONS 8
#define SOON_MS    10000 /* what has not happened by then does not happen */
#define A_WHILE    100   /* ms in which nothing is to happen */

/* The database's answers by partition: what a call of the fence or of COMMIT does first. */
enum mood { MOOD_SOUND, MOOD_LOCKED, MOOD_HANG, MOOD_COMMIT_UNKNOWN };

/* A partition's side. */
struct user {
	struct flusher flusher;
	struct wakeup wakeup;
	atomic_int mood;
	atomic_int locked; /* tries that met a lock */
	atomic_int ends;
	atomic_bool unwanted;
	int64_t next_offset;
};

static struct world {
	struct partition_offset_row offsets[PARTITIONS];
	struct memory_database db;
	pthread_mutex_t lock; /* the database in memory is for one thread */
	struct partition_metrics *metrics;
	struct batch batch;
	struct flushers *flushers;
	struct user users[PARTITIONS];
	atomic_int stores;
	atomic_int hanging;
	atomic_bool ping_hangs;
} world;

static struct store_ops sound; /* of a database in memory */

/* A store that hangs until it is interrupted, and is one for several threads' database. */
struct connection {
	struct store store;
	struct store *inner;
	int32_t partition; /* of the flush at hand */
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

#define LOCKED(call)                                                                               \
	({                                                                                         \
		enum store_result result_;                                                         \
		pthread_mutex_lock(&world.lock);                                                   \
		result_ = call;                                                                    \
		pthread_mutex_unlock(&world.lock);                                                 \
		result_;                                                                           \
	})

static enum store_result do_connect(struct store *s, struct error *err)
{
	return LOCKED(sound.connect(self(s)->inner, err));
}

static void do_disconnect(struct store *s)
{
	pthread_mutex_lock(&world.lock);
	sound.disconnect(self(s)->inner);
	pthread_mutex_unlock(&world.lock);
}

static enum store_result do_ping(struct store *s, struct error *err)
{
	if (atomic_load(&world.ping_hangs))
		hang(self(s));
	return LOCKED(sound.ping(self(s)->inner, err));
}

static void do_interrupt(struct store *s)
{
	atomic_store(&self(s)->interrupted, true);
	sound.interrupt(self(s)->inner);
}

static enum store_result do_begin(struct store *s, struct error *err)
{
	return LOCKED(sound.begin(self(s)->inner, err));
}

static enum store_result do_move_offset(
	struct store *s, const struct flush_request *request, bool *ret_moved, struct error *err)
{
	enum mood mood = (enum mood)atomic_load(&world.users[request->partition].mood);

	self(s)->partition = request->partition;
	if (mood == MOOD_HANG)
		hang(self(s));
	if (mood == MOOD_LOCKED) {
		atomic_fetch_add(&world.hanging, 1);
		sleep_ms(A_WHILE); /* the server's patience with locks */
		atomic_fetch_sub(&world.hanging, 1);
		atomic_fetch_add(&world.users[request->partition].locked, 1);
		return error_set(err, -1, "locked"), STORE_RETRY;
	}
	return LOCKED(sound.move_offset(self(s)->inner, request, ret_moved, err));
}

/* The COMMIT is refused in a way that leaves the transaction open. */
static enum store_result do_commit(struct store *s, struct error *err)
{
	int unknown = MOOD_COMMIT_UNKNOWN;

	if (atomic_compare_exchange_strong(
		    &world.users[self(s)->partition].mood, &unknown, MOOD_SOUND))
		return error_set(err, -1, "no answer"), STORE_RETRY;
	return LOCKED(sound.commit(self(s)->inner, err));
}

static void do_rollback(struct store *s)
{
	pthread_mutex_lock(&world.lock);
	sound.rollback(self(s)->inner);
	pthread_mutex_unlock(&world.lock);
}

static enum store_result do_settle(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	return LOCKED(sound.settle(self(s)->inner, partition, ret_partition, err));
}

static void do_destroy(struct store *s)
{
	do_disconnect(s);
	sound.destroy(self(s)->inner);
	free(s);
}

static const struct store_ops ops = {
	.connect = do_connect,
	.disconnect = do_disconnect,
	.ping = do_ping,
	.interrupt = do_interrupt,
	.begin = do_begin,
	.move_offset = do_move_offset,
	.commit = do_commit,
	.rollback = do_rollback,
	.settle = do_settle,
	.destroy = do_destroy,
};

static struct store *create(void *context)
{
	struct connection *c = calloc(1, sizeof *c);

	c->inner = store_memory_create(&world.db, NULL, NULL);
	c->store.ops = &ops;
	atomic_fetch_add(&world.stores, 1);
	return &c->store;
}

/* A flush's end, told by any thread. */
static void ended(void *context)
{
	struct user *user = context;

	atomic_fetch_add(&user->ends, 1);
	wakeup_ring(&user->wakeup);
}

static bool wanted(void *context)
{
	struct user *user = context;

	return !atomic_load(&user->unwanted);
}

static void user_begin(struct user *user)
{
	wakeup_init(&user->wakeup);
	user->flusher.flushers = world.flushers;
	user->flusher.metrics = &world.metrics[user - world.users];
	user->flusher.ended = ended;
	user->flusher.wanted = wanted;
	user->flusher.context = user;
	flusher_init(&user->flusher, 1);
}

static void learn_sound(void)
{
	struct store *store = store_memory_create(&world.db, NULL, NULL);

	sound = *store->ops;
	store->ops->destroy(store);
}

static void begin(int threads, int64_t keepalive_ms)
{
	struct flushers_config config = {
		.threads = threads, .keepalive_ms = keepalive_ms, .store_create = create};

	memset(&world, 0, sizeof world);
	for (int i = 0; i < PARTITIONS; i++)
		world.offsets[i].epoch = EPOCH;
	pthread_mutex_init(&world.lock, NULL);
	memory_database_init(&world.db, PARTITIONS, world.offsets);
	learn_sound();
	world.metrics = calloc(PARTITIONS, sizeof *world.metrics);
	batch_init(&world.batch, 1, 1 << 20, BALANCE_PIN_EVEN);
	world.flushers = flushers_start(&config, &clock_system);
	for (int i = 0; i < PARTITIONS; i++)
		user_begin(&world.users[i]);
}

static void finish(void)
{
	for (int i = 0; i < PARTITIONS; i++) {
		flusher_finish(&world.users[i].flusher);
		wakeup_finish(&world.users[i].wakeup);
	}
	flushers_stop(world.flushers);
	batch_finish(&world.batch);
	memory_database_finish(&world.db);
	pthread_mutex_destroy(&world.lock);
	free(world.metrics);
}

static void submit(struct user *user)
{
	struct flush_request request = {
		.partition = (int32_t)(user - world.users),
		.epoch = EPOCH,
		.begin_offset = user->next_offset,
		.end_offset = user->next_offset + 1,
		.batch = &world.batch,
	};

	flush_start(&user->flusher.flush, &request);
	flusher_submit(&user->flusher);
}

static bool has_ended(struct user *user, int64_t within_ms)
{
	for (; within_ms > 0 && flusher_busy(&user->flusher); within_ms--)
		wakeup_wait(&user->wakeup, 1);
	return !flusher_busy(&user->flusher);
}

static void assert_commits(struct user *user)
{
	submit(user);
	assert_true(has_ended(user, SOON_MS));
	assert_int_equal(user->flusher.flush.verdict, FLUSH_COMMITTED);
	user->next_offset++;
}

static void wait_hanging(int count)
{
	for (int ms = 0; ms < SOON_MS && atomic_load(&world.hanging) < count; ms++)
		sleep_ms(1);
	assert_int_equal(atomic_load(&world.hanging), count);
}

/* Many partitions, few threads ---------------------------------------------------------------- */

#define FLUSHES 3000

static void *use(void *context)
{
	struct user *user = context;

	for (int i = 0; i < FLUSHES; i++)
		assert_commits(user);
	return NULL;
}

static void run_all(int threads, int64_t keepalive_ms)
{
	pthread_t users[PARTITIONS];

	begin(threads, keepalive_ms);
	for (int i = 0; i < PARTITIONS; i++)
		pthread_create(&users[i], NULL, use, &world.users[i]);
	for (int i = 0; i < PARTITIONS; i++)
		pthread_join(users[i], NULL);
	finish();
	assert_int_equal(atomic_load(&world.stores), threads);
	assert_true(world.db.commits < FLUSHES * PARTITIONS); /* some were joined */
	for (int i = 0; i < PARTITIONS; i++) {
		assert_int_equal(world.offsets[i].next_offset, FLUSHES);
		assert_int_equal(atomic_load(&world.users[i].ends), FLUSHES);
	}
}

static void test_every_flush_is_driven_to_its_end(void **state)
{
	run_all(3, 1000);
}

/* Pings all the time: each flush is taken beside one. */
static void test_flushes_beside_keepalives(void **state)
{
	run_all(2, 0);
}

static void test_one_thread_is_enough(void **state)
{
	run_all(1, 1000);
}

/* What one waits for holds up no other -------------------------------------------------------- */

/* Until it has had a try by itself: the first may have been with others. */
static void wait_locked(struct user *user)
{
	for (int ms = 0; ms < SOON_MS && atomic_load(&user->locked) < 2; ms++)
		sleep_ms(1);
	assert_true(atomic_load(&user->locked) >= 2);
}

/* More partitions wait for locks than there are threads. */
static void test_locked_rows_leave_a_thread_to_the_others(void **state)
{
	begin(3, 1000);
	for (int i = 1; i < PARTITIONS; i++) {
		atomic_store(&world.users[i].mood, MOOD_LOCKED);
		submit(&world.users[i]);
	}
	for (int i = 1; i < PARTITIONS; i++)
		wait_locked(&world.users[i]);
	for (int i = 0; i < 20; i++) {
		submit(&world.users[0]);
		assert_true(has_ended(&world.users[0], A_WHILE / 2));
		world.users[0].next_offset++;
		sleep_ms(A_WHILE / 5);
	}
	for (int i = 1; i < PARTITIONS; i++)
		atomic_store(&world.users[i].mood, MOOD_SOUND);
	for (int i = 1; i < PARTITIONS; i++) {
		assert_true(has_ended(&world.users[i], SOON_MS));
		assert_int_equal(world.users[i].flusher.flush.verdict, FLUSH_COMMITTED);
	}
	finish();
}

/* The thread whose connection is cut goes on with a new one; the others never notice. */
static void test_an_interrupt_hits_one_flush(void **state)
{
	begin(2, 1000);
	atomic_store(&world.users[1].mood, MOOD_HANG);
	submit(&world.users[1]);
	wait_hanging(1);
	assert_commits(&world.users[0]);
	flush_abandon(&world.users[1].flusher.flush);
	flusher_interrupt(&world.users[1].flusher);
	assert_true(has_ended(&world.users[1], SOON_MS));
	assert_int_equal(world.users[1].flusher.flush.verdict, FLUSH_ABANDONED);
	for (int i = 2; i < PARTITIONS; i++)
		assert_commits(&world.users[i]);
	finish();
	assert_int_equal(atomic_load(&world.stores), 3);
	assert_int_equal(world.offsets[1].next_offset, 0);
}

/* All threads hang: what waits for one ends when it is told to, and nothing else is hurt. */
static void test_a_flush_that_waits_can_be_abandoned(void **state)
{
	begin(1, 1000);
	atomic_store(&world.users[1].mood, MOOD_HANG);
	submit(&world.users[1]);
	wait_hanging(1);
	submit(&world.users[2]);
	submit(&world.users[3]);
	flush_abandon(&world.users[2].flusher.flush);
	flusher_interrupt(&world.users[2].flusher);
	assert_false(flusher_busy(&world.users[2].flusher));
	assert_int_equal(world.users[2].flusher.flush.verdict, FLUSH_ABANDONED);
	assert_int_equal(atomic_load(&world.hanging), 1);
	assert_true(flusher_busy(&world.users[3].flusher));
	flush_abandon(&world.users[1].flusher.flush);
	flusher_interrupt(&world.users[1].flusher);
	assert_true(has_ended(&world.users[3], SOON_MS));
	assert_int_equal(world.users[3].flusher.flush.verdict, FLUSH_COMMITTED);
	finish();
}

/* The lease ran out while the flush waited for a thread, and its partition's thread waits itself.
 */
static void test_a_flush_that_is_not_wanted_any_more_does_not_begin(void **state)
{
	begin(1, 1000);
	atomic_store(&world.users[1].mood, MOOD_HANG);
	submit(&world.users[1]);
	wait_hanging(1);
	submit(&world.users[2]);
	submit(&world.users[3]);
	atomic_store(&world.users[2].unwanted, true);
	flush_abandon(&world.users[1].flusher.flush);
	flusher_interrupt(&world.users[1].flusher);
	assert_true(has_ended(&world.users[2], SOON_MS));
	assert_int_equal(world.users[2].flusher.flush.verdict, FLUSH_ABANDONED);
	assert_true(has_ended(&world.users[3], SOON_MS));
	assert_int_equal(world.users[3].flusher.flush.verdict, FLUSH_COMMITTED);
	finish();
	assert_int_equal(world.offsets[2].next_offset, 0);
}

/* Between two attempts, too. */
static void test_a_pause_ends_when_the_flush_is_abandoned(void **state)
{
	begin(2, 1000);
	atomic_store(&world.users[1].mood, MOOD_LOCKED);
	submit(&world.users[1]);
	sleep_ms(5 * A_WHILE);
	flush_abandon(&world.users[1].flusher.flush);
	flusher_abandoned(&world.users[1].flusher);
	assert_true(has_ended(&world.users[1], 2 * A_WHILE));
	assert_int_equal(world.users[1].flusher.flush.verdict, FLUSH_ABANDONED);
	finish();
}

/* The connection of an unknown COMMIT may still hold the transaction: no other flush gets it, and
 * whoever settles does not wait for its locks. */
static void test_an_unknown_commit_is_settled_on_a_new_connection(void **state)
{
	begin(3, 1000);
	for (int i = 0; i < 50; i++) {
		atomic_store(&world.users[1].mood, MOOD_COMMIT_UNKNOWN);
		submit(&world.users[1]);
		assert_commits(&world.users[0]);
		assert_true(has_ended(&world.users[1], SOON_MS));
		assert_int_equal(world.users[1].flusher.flush.verdict, FLUSH_COMMITTED);
		world.users[1].next_offset++;
	}
	finish();
	assert_int_equal(world.offsets[1].next_offset, 50);
	assert_true(world.db.commits >= 50 && world.db.commits <= 100);
}

/* No flush is on its way, but every thread waits for an answer. */
static void test_a_stop_ends_what_hangs(void **state)
{
	begin(2, 10);
	for (int i = 0; i < PARTITIONS; i++)
		assert_commits(&world.users[i]);
	atomic_store(&world.ping_hangs, true);
	for (int ms = 0; ms < SOON_MS && atomic_load(&world.hanging) == 0; ms++)
		sleep_ms(1);
	finish();
	assert_int_equal(atomic_load(&world.hanging), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_flush_is_driven_to_its_end),
		cmocka_unit_test(test_flushes_beside_keepalives),
		cmocka_unit_test(test_one_thread_is_enough),
		cmocka_unit_test(test_locked_rows_leave_a_thread_to_the_others),
		cmocka_unit_test(test_an_interrupt_hits_one_flush),
		cmocka_unit_test(test_a_flush_that_waits_can_be_abandoned),
		cmocka_unit_test(test_a_flush_that_is_not_wanted_any_more_does_not_begin),
		cmocka_unit_test(test_a_pause_ends_when_the_flush_is_abandoned),
		cmocka_unit_test(test_an_unknown_commit_is_settled_on_a_new_connection),
		cmocka_unit_test(test_a_stop_ends_what_hangs),
	};

	return cmocka_run_group_tests_name("flusher", tests, NULL, NULL);
}
