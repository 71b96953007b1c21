/*
 * The flush machine against the database in memory: every fault at every statement, one after the
 * other, and whatever happens the batch is in the database wholly or not at all, once.
 */
#include "fixture.h"

#include "flush.h"
#include "ledger.h"
#include "store_memory.h"

#define EVENTS 8
#define EPOCH  7

struct plan {
	int call;        /* counts the calls */
	int fault_at;    /* from this call on */
	int fault_count; /* so many */
	enum memory_fault fault;
};

struct world {
	struct budget budget;
	struct ledger ledger;
	struct batch batch;
	struct partition_offset_row offsets[1];
	struct memory_database db;
	struct plan plan;
	struct store *store;
	struct flush flush;
	struct flush_request request;
	int retries;
};

static enum memory_fault fault(void *context, const char *what)
{
	struct plan *plan = context;
	int call = plan->call++;

	return call >= plan->fault_at && call < plan->fault_at + plan->fault_count
		       ? plan->fault
		       : MEMORY_FAULT_NONE;
}

static void on_retry(
	void *context, enum flush_step step, const struct store *store, const struct error *err)
{
	struct world *w = context;

	w->retries++;
	assert_non_null(flush_step_text(step));
	assert_true(strlen(err->text) > 0);
}

static void fill(struct world *w)
{
	struct balance_key missing[EVENTS];
	struct balance_row rows[EVENTS];
	size_t count;

	batch_reset(&w->batch, 0);
	fixture_add(&w->batch, 0, "a", 1, "DEPOSIT", "10");
	fixture_add(&w->batch, 1, "b", 1, "WITHDRAW", "3");
	fixture_add(&w->batch, 2, "c", 2, "WITHDRAW", "3");
	fixture_add(&w->batch, 3, "d", 2, "NONSENSE", "3");
	count = ledger_resolve(&w->ledger, &w->batch, 0, missing);
	for (size_t i = 0; i < count; i++)
		rows[i] = (struct balance_row){.key = missing[i]};
	ledger_load(&w->ledger, &w->batch, rows, count);
	ledger_resolve(&w->ledger, &w->batch, 0, missing);
	ledger_dedupe(&w->ledger, &w->batch);
	ledger_apply(&w->ledger, &w->batch, FIXTURE_TIME_MS);
	w->request = (struct flush_request){
		.epoch = EPOCH, .end_offset = 4, .redis_offset = 0, .batch = &w->batch};
}

static void world_init(struct world *w)
{
	struct ledger_config config = {.batch_events = EVENTS, .ids = 100, .seed = 1};

	memset(w, 0, sizeof *w);
	budget_init(&w->budget, (size_t)64 << 20);
	ledger_init(&w->ledger, &w->budget, &config);
	batch_init(&w->batch, EVENTS, 1 << 20, BALANCE_PIN_EVEN);
	w->offsets[0].epoch = EPOCH;
	memory_database_init(&w->db, 1, w->offsets);
	w->store = store_memory_create(&w->db, fault, &w->plan);
	flush_init(&w->flush, w->store, 1);
	w->flush.on_retry = on_retry;
	w->flush.on_retry_context = w;
	fill(w);
}

static void world_finish(struct world *w)
{
	flush_finish(&w->flush);
	w->store->ops->destroy(w->store);
	memory_database_finish(&w->db);
	batch_finish(&w->batch);
	ledger_finish(&w->ledger);
}

static enum flush_verdict run(struct world *w)
{
	int steps = 0;

	flush_start(&w->flush, &w->request);
	while (!flush_ended(&w->flush)) {
		assert_true(flush_step(&w->flush) <= 2000);
		assert_true(steps++ < 100);
	}
	return w->flush.verdict;
}

static void assert_committed_once(const struct world *w)
{
	assert_int_equal(w->db.commits, 1);
	assert_int_equal(w->db.tables[0].journal_count, 3);
	assert_int_equal(w->db.tables[0].dead_letter_count, 1);
	assert_int_equal(w->db.balance_count, 2);
	assert_int_equal(w->offsets[0].next_offset, 4);
	assert_null(w->offsets[0].locked_by);
}

static void assert_untouched(const struct world *w)
{
	assert_int_equal(w->db.commits, 0);
	assert_int_equal(w->db.tables[0].journal_count, 0);
	assert_int_equal(w->db.balance_count, 0);
	assert_int_equal(w->offsets[0].next_offset, 0);
	assert_null(w->offsets[0].locked_by);
}

static void test_commits(void **state)
{
	struct world w;

	world_init(&w);
	assert_int_equal(run(&w), FLUSH_COMMITTED);
	assert_committed_once(&w);
	assert_int_equal(w.retries, 0);
	world_finish(&w);
}

/* One to three failures of each kind, beginning at every call. */
static void test_every_fault_at_every_call(void **state)
{
	for (int kind = MEMORY_FAULT_RETRY; kind <= MEMORY_FAULT_LOST_AFTER; kind++) {
		for (int at = 0; at < 12; at++) {
			for (int count = 1; count <= 3; count++) {
				struct world w;

				world_init(&w);
				w.plan = (struct plan){0, at, count, kind};
				assert_int_equal(run(&w), FLUSH_COMMITTED);
				assert_committed_once(&w);
				assert_true(at > 6 || w.retries > 0);
				world_finish(&w);
			}
		}
	}
}

static void test_another_epoch_fences(void **state)
{
	struct world w;

	world_init(&w);
	w.offsets[0].epoch = EPOCH + 1;
	assert_int_equal(run(&w), FLUSH_FENCED);
	assert_untouched(&w);
	world_finish(&w);
}

static void test_another_offset_fences(void **state)
{
	struct world w;

	world_init(&w);
	w.offsets[0].next_offset = 2;
	assert_int_equal(run(&w), FLUSH_FENCED);
	assert_int_equal(w.db.commits, 0);
	assert_null(w.offsets[0].locked_by);
	world_finish(&w);
}

/* The id of record 0 is in the journal already, from an offset long ago. */
static void test_known_id(void **state)
{
	struct world w;
	struct memory_journal_row old;

	world_init(&w);
	old = (struct memory_journal_row){.offset = -5, .event = w.batch.records[0].event};
	w.db.tables[0].journal = malloc(sizeof old);
	w.db.tables[0].journal[0] = old;
	w.db.tables[0].journal_count = w.db.tables[0].journal_capacity = 1;
	assert_int_equal(run(&w), FLUSH_DUPLICATES);
	assert_int_equal(w.db.commits, 0);
	assert_int_equal(w.offsets[0].next_offset, 0);
	assert_null(w.offsets[0].locked_by);
	world_finish(&w);
}

/* A COMMIT whose answer was lost, and the database has moved on under another owner since. */
static void test_unknown_commit_and_new_owner(void **state)
{
	struct world w;

	world_init(&w);
	w.plan = (struct plan){0, 6, 1, MEMORY_FAULT_LOST_AFTER};
	flush_start(&w.flush, &w.request);
	while (w.flush.step != FLUSH_SETTLE)
		flush_step(&w.flush);
	assert_committed_once(&w);
	w.offsets[0].epoch = EPOCH + 1;
	w.offsets[0].next_offset = 9;
	while (!flush_ended(&w.flush))
		flush_step(&w.flush);
	assert_int_equal(w.flush.verdict, FLUSH_FENCED);
	world_finish(&w);
}

/* Somebody else's transaction holds the row: wait, do not give up. */
static void test_locked_row(void **state)
{
	struct world w;

	world_init(&w);
	w.offsets[0].locked_by = &w;
	flush_start(&w.flush, &w.request);
	for (int i = 0; i < 20; i++)
		flush_step(&w.flush);
	assert_false(flush_ended(&w.flush));
	w.offsets[0].locked_by = NULL;
	while (!flush_ended(&w.flush))
		flush_step(&w.flush);
	assert_int_equal(w.flush.verdict, FLUSH_COMMITTED);
	assert_committed_once(&w);
	world_finish(&w);
}

/* Abandoned before any step, a flush holds nothing and has either committed or not. */
static void test_abandon_at_every_step(void **state)
{
	for (int steps = 0; steps < 7; steps++) {
		struct world w;

		world_init(&w);
		flush_start(&w.flush, &w.request);
		for (int i = 0; i < steps; i++)
			flush_step(&w.flush);
		flush_abandon(&w.flush);
		while (!flush_ended(&w.flush))
			flush_step(&w.flush);
		assert_int_equal(w.flush.verdict, FLUSH_ABANDONED);
		assert_untouched(&w);
		world_finish(&w);
	}
}

/* A server that counts other than was sent: halt, and say what it counted. */
static enum store_result miscount(struct store *s, const struct flush_request *const *requests,
	size_t count, enum store_table table, struct store_counts *ret_counts, struct error *err)
{
	ret_counts->records = ret_counts->affected = (int64_t)requests[0]->batch->journal_count;
	ret_counts->warnings = 1;
	snprintf(ret_counts->warning, sizeof ret_counts->warning,
		"Data truncated for column 'amount'");
	return STORE_OK;
}

static void test_warnings_halt(void **state)
{
	struct world w;
	struct store_ops ops;

	world_init(&w);
	ops = *w.store->ops;
	ops.load = miscount;
	w.store->ops = &ops;
	assert_int_equal(run(&w), FLUSH_HALTED);
	assert_non_null(strstr(w.flush.error.text, "Data truncated"));
	assert_non_null(strstr(w.flush.error.text, "balance_transactions"));
	assert_untouched(&w);
	world_finish(&w);
}

/* A balance that the ledger takes for new is in the database: somebody else's, never overwritten.
 */
static void test_unknown_balance_halts(void **state)
{
	struct world w;
	struct store_balance foreign = {.key = {2, fixture_currency("USDT")},
		.balance = {.available = 5, .version = 1, .last_offset = 3}};

	world_init(&w);
	w.db.balances = calloc(1, sizeof *w.db.balances);
	w.db.balances[0] = foreign;
	w.db.balance_count = w.db.balance_capacity = 1;
	assert_int_equal(run(&w), FLUSH_HALTED);
	assert_non_null(strstr(w.flush.error.text, "account_balances"));
	assert_int_equal(w.db.commits, 0);
	assert_int_equal(w.db.balances[0].balance.available, 5);
	world_finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commits),
		cmocka_unit_test(test_every_fault_at_every_call),
		cmocka_unit_test(test_another_epoch_fences),
		cmocka_unit_test(test_another_offset_fences),
		cmocka_unit_test(test_known_id),
		cmocka_unit_test(test_unknown_commit_and_new_owner),
		cmocka_unit_test(test_locked_row),
		cmocka_unit_test(test_abandon_at_every_step),
		cmocka_unit_test(test_warnings_halt),
		cmocka_unit_test(test_unknown_balance_halts),
	};

	return cmocka_run_group_tests_name("flush", tests, NULL, NULL);
}
