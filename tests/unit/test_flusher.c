/*
 * The flusher's thread beside its partition's: flushes start at any moment, also while the thread
 * keeps an idle connection alive, and each is driven to its end, once.
 */
#include "fixture.h"

#include "flusher.h"
#include "store_memory.h"

#define EPOCH   7
#define FLUSHES 20000

static void ended(void *context)
{
	wakeup_ring(context);
}

static void run_flushes(int64_t keepalive_ms)
{
	struct partition_offset_row offsets[1] = {{.epoch = EPOCH}};
	struct partition_metrics *metrics = calloc(1, sizeof *metrics);
	struct flusher *flusher = calloc(1, sizeof *flusher);
	struct memory_database db;
	struct wakeup wakeup;
	struct store *store;
	struct batch batch;

	memory_database_init(&db, 1, offsets);
	store = store_memory_create(&db, NULL, NULL);
	batch_init(&batch, 1, 1 << 20, BALANCE_PIN_EVEN);
	wakeup_init(&wakeup);
	flusher->clock = &clock_system;
	flusher->metrics = metrics;
	flusher->keepalive_ms = keepalive_ms;
	flusher->ended = ended;
	flusher->ended_context = &wakeup;
	flusher_start(flusher, store, 1);
	for (int64_t i = 0; i < FLUSHES; i++) {
		struct flush_request request = {
			.epoch = EPOCH, .begin_offset = i, .end_offset = i + 1, .batch = &batch};

		flush_start(&flusher->flush, &request);
		flusher_submit(flusher);
		while (flusher_busy(flusher))
			wakeup_wait(&wakeup, 1000);
		assert_int_equal(flusher->flush.verdict, FLUSH_COMMITTED);
	}
	flusher_stop(flusher);
	flusher_finish(flusher);
	assert_int_equal(offsets[0].next_offset, FLUSHES);
	assert_int_equal(db.commits, FLUSHES);

	store->ops->destroy(store);
	batch_finish(&batch);
	wakeup_finish(&wakeup);
	memory_database_finish(&db);
	free(flusher);
	free(metrics);
}

static void test_flushes_one_after_the_other(void **state)
{
	run_flushes(1000);
}

/* Pings all the time: each flush starts beside one. */
static void test_flush_starts_beside_a_keepalive(void **state)
{
	run_flushes(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flushes_one_after_the_other),
		cmocka_unit_test(test_flush_starts_beside_a_keepalive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
