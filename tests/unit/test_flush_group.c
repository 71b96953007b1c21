/*
 * Flushes of several partitions in one transaction, against the database in memory: every fault at
 * every statement, and what is the matter with one partition is told of that one, while the others
 * are committed, once.
 */
#include "fixture.h"

#include "flush_group.h"
#include "ledger.h"
#include "store_memory.h"

#define PARTITIONS 3
#define EVENTS     8
#define EPOCH      7

struct plan {
	int call;
	int fault_at; /* from this call on */
	int fault_count;
	enum memory_fault fault;
};

struct partition {
	struct budget budget;
	struct ledger ledger;
	struct batch batch;
	struct flush flush;
	struct flush_request request;
};

struct world {
	struct partition partitions[PARTITIONS];
	struct partition_offset_row offsets[PARTITIONS];
	struct memory_database db;
	struct plan plan;
	struct store *store;
	bool connected;
	int told; /* failures of which somebody was told */
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

	w->told++;
	assert_ptr_equal(store, w->store);
	assert_true(strlen(err->text) > 0);
}

/* Two events of one account, and what is none, from the offset `begin` on. */
static void fill(struct partition *p, int number, int64_t begin)
{
	struct balance_key missing[EVENTS];
	struct balance_row rows[EVENTS];
	char id[16];
	size_t count;

	batch_reset(&p->batch, begin);
	snprintf(id, sizeof id, "a-%d-%d", number, (int)begin);
	fixture_add(&p->batch, begin, id, 100 + number, "DEPOSIT", "10");
	id[0] = 'b';
	fixture_add(&p->batch, begin + 1, id, 100 + number, "WITHDRAW", "3");
	fixture_add(&p->batch, begin + 2, "c", 100 + number, "NONSENSE", "3");
	count = ledger_resolve(&p->ledger, &p->batch, 0, missing);
	for (size_t i = 0; i < count; i++)
		rows[i] = (struct balance_row){.key = missing[i]};
	ledger_load(&p->ledger, &p->batch, rows, count);
	ledger_resolve(&p->ledger, &p->batch, 0, missing);
	ledger_dedupe(&p->ledger, &p->batch);
	ledger_apply(&p->ledger, &p->batch, FIXTURE_TIME_MS);
	p->request = (struct flush_request){
		.partition = number,
		.epoch = EPOCH,
		.begin_offset = begin,
		.end_offset = begin + 3,
		.batch = &p->batch,
	};
	flush_start(&p->flush, &p->request);
}

static void partition_begin(struct world *w, int number)
{
	struct ledger_config config = {.batch_events = EVENTS, .ids = 100, .seed = 1};
	struct partition *p = &w->partitions[number];

	budget_init(&p->budget, (size_t)64 << 20);
	ledger_init(&p->ledger, &p->budget, &config);
	batch_init(&p->batch, EVENTS, 1 << 20, BALANCE_PIN_EVEN);
	w->offsets[number].epoch = EPOCH;
	flush_init(&p->flush, NULL, 1);
	p->flush.on_retry = on_retry;
	p->flush.on_retry_context = w;
	fill(p, number, 0);
}

static void begin(struct world *w)
{
	struct error err;

	memset(w, 0, sizeof *w);
	w->plan.fault_at = 1000;
	memory_database_init(&w->db, PARTITIONS, w->offsets);
	w->store = store_memory_create(&w->db, fault, &w->plan);
	for (int i = 0; i < PARTITIONS; i++)
		partition_begin(w, i);
	assert_int_equal(w->store->ops->connect(w->store, &err), STORE_OK);
	w->connected = true;
	w->plan.call = 0;
}

static void finish(struct world *w)
{
	for (int i = 0; i < PARTITIONS; i++) {
		flush_finish(&w->partitions[i].flush);
		batch_finish(&w->partitions[i].batch);
		ledger_finish(&w->partitions[i].ledger);
	}
	w->store->ops->destroy(w->store);
	memory_database_finish(&w->db);
}

static void drive_alone(struct world *w, struct flush *flush)
{
	int steps = 0;

	flush_lend(flush, w->store, w->connected);
	while (!flush_ended(flush)) {
		flush_step(flush);
		assert_true(steps++ < 100);
	}
	w->connected = flush_take_back(flush);
}

/* The group; whether it was committed. */
static bool drive_group(struct world *w)
{
	struct flush *members[PARTITIONS];
	struct flush_group group;
	size_t ended = 0;

	for (int i = 0; i < PARTITIONS; i++)
		members[i] = &w->partitions[i].flush;
	flush_group_start(&group, w->store, members, PARTITIONS);
	while (!flush_group_ended(&group))
		flush_group_step(&group);
	w->connected = group.connected;
	for (int i = 0; i < PARTITIONS; i++) {
		ended += flush_ended(members[i]);
		assert_int_equal(members[i]->verdict,
			flush_ended(members[i]) ? FLUSH_COMMITTED : FLUSH_PENDING);
	}
	assert_true(ended == 0 || ended == PARTITIONS);
	return ended > 0;
}

/* The group, and then those that it let go. */
static void drive(struct world *w)
{
	if (drive_group(w))
		return;
	for (int i = 0; i < PARTITIONS; i++)
		drive_alone(w, &w->partitions[i].flush);
}

static void assert_verdict(const struct world *w, int number, enum flush_verdict verdict)
{
	const struct memory_partition *table = &w->db.tables[number];
	bool committed = verdict == FLUSH_COMMITTED;

	assert_int_equal(w->partitions[number].flush.verdict, verdict);
	assert_int_equal(table->journal_count, committed ? 2 : 0);
	assert_int_equal(table->dead_letter_count, committed ? 1 : 0);
	assert_int_equal(w->offsets[number].next_offset, committed ? 3 : 0);
	assert_null(w->offsets[number].locked_by);
}

/* All but this one were committed (-1: all). */
static void assert_others_committed(const struct world *w, int but)
{
	for (int i = 0; i < PARTITIONS; i++)
		if (i != but)
			assert_verdict(w, i, FLUSH_COMMITTED);
}

static void test_commits_at_once(void **state)
{
	struct world w;

	begin(&w);
	assert_true(drive_group(&w));
	assert_others_committed(&w, -1);
	assert_int_equal(w.db.commits, 1);
	assert_int_equal(w.db.balance_count, PARTITIONS);
	assert_int_equal(w.plan.call, 1 + PARTITIONS + 3 + 1);
	for (int i = 0; i < PARTITIONS; i++) {
		ledger_commit(&w.partitions[i].ledger, &w.partitions[i].batch);
		fill(&w.partitions[i], i, 3);
	}
	assert_true(drive_group(&w)); /* over balances that are there */
	assert_int_equal(w.db.commits, 2);
	assert_int_equal(w.db.balance_count, PARTITIONS);
	assert_int_equal(w.db.balances[0].balance.version, 4);
	assert_int_equal(w.told, 0);
	finish(&w);
}

static void test_every_fault_at_every_call(void **state)
{
	for (int kind = MEMORY_FAULT_RETRY; kind <= MEMORY_FAULT_LOST_AFTER; kind++) {
		for (int at = 0; at < 16; at++) {
			for (int count = 1; count <= 3; count++) {
				struct world w;

				begin(&w);
				w.plan = (struct plan){0, at, count, kind};
				drive(&w);
				assert_others_committed(&w, -1);
				assert_int_equal(w.db.balance_count, PARTITIONS);
				assert_true(at > 7 || w.told > 0);
				finish(&w);
			}
		}
	}
}

/* The answer to COMMIT is lost, and one partition has another owner when it asks. */
static void test_an_unknown_commit_is_settled_by_each(void **state)
{
	struct world w;

	begin(&w);
	w.plan = (struct plan){0, 7, 1, MEMORY_FAULT_LOST_AFTER};
	assert_false(drive_group(&w));
	assert_int_equal(w.db.commits, 1);
	w.offsets[1].epoch++;
	for (int i = 0; i < PARTITIONS; i++)
		drive_alone(&w, &w.partitions[i].flush);
	assert_int_equal(w.db.commits, 1);
	assert_others_committed(&w, 1);
	assert_int_equal(w.partitions[1].flush.verdict, FLUSH_FENCED);
	finish(&w);
}

static void test_one_is_fenced(void **state)
{
	for (int which = 0; which < PARTITIONS; which++) {
		struct world w;

		begin(&w);
		w.offsets[which].epoch++;
		drive(&w);
		assert_others_committed(&w, which);
		assert_verdict(&w, which, FLUSH_FENCED);
		assert_int_equal(w.told, 0);
		finish(&w);
	}
}

static void test_one_has_a_known_id(void **state)
{
	struct world w;

	begin(&w);
	memory_partition_put_row(
		&w.db.tables[2], &(struct memory_journal_row){.offset = -5,
					 .event = w.partitions[1].batch.records[0].event});
	drive(&w);
	assert_int_equal(w.partitions[1].flush.verdict, FLUSH_DUPLICATES);
	assert_int_equal(w.offsets[1].next_offset, 0);
	assert_verdict(&w, 0, FLUSH_COMMITTED);
	assert_int_equal(w.partitions[2].flush.verdict, FLUSH_COMMITTED);
	finish(&w);
}

static struct store_balance balance_of(const struct world *w, int number)
{
	return (struct store_balance){
		.key = w->partitions[number].batch.touched[0].key,
		.balance = {.available = 5, .version = 1, .last_offset = 3},
		.partition = number,
	};
}

static void test_one_would_replace_an_unknown_balance(void **state)
{
	struct world w;
	struct store_balance foreign;

	begin(&w);
	foreign = balance_of(&w, 1);
	memory_database_put_balance(&w.db, &foreign);
	drive(&w);
	assert_others_committed(&w, 1);
	assert_verdict(&w, 1, FLUSH_HALTED);
	assert_non_null(strstr(w.partitions[1].flush.error.text, "account_balances"));
	finish(&w);
}

static void test_one_is_abandoned_at_every_step(void **state)
{
	for (int steps = 0; steps < 8; steps++) {
		struct world w;
		struct flush *members[PARTITIONS];
		struct flush_group group;

		begin(&w);
		for (int i = 0; i < PARTITIONS; i++)
			members[i] = &w.partitions[i].flush;
		flush_group_start(&group, w.store, members, PARTITIONS);
		for (int i = 0; i < steps; i++)
			flush_group_step(&group);
		assert_false(flush_group_ended(&group));
		flush_abandon(members[2]);
		flush_group_step(&group);
		assert_true(flush_group_ended(&group));
		w.connected = group.connected;
		for (int i = 0; i < PARTITIONS; i++)
			drive_alone(&w, members[i]);
		assert_others_committed(&w, 2);
		assert_verdict(&w, 2, FLUSH_ABANDONED);
		finish(&w);
	}
}

/* A server that counts other than was sent. */
static enum store_result miscount(struct store *s, const struct flush_request *const *requests,
	size_t count, enum store_table table, struct store_counts *ret_counts, struct error *err)
{
	ret_counts->records = ret_counts->affected = (int64_t)(2 * count);
	ret_counts->warnings = 1;
	snprintf(ret_counts->warning, sizeof ret_counts->warning, "Data truncated");
	return STORE_OK;
}

static void test_warnings_halt_each(void **state)
{
	struct world w;
	struct store_ops ops;

	begin(&w);
	ops = *w.store->ops;
	ops.load = miscount;
	w.store->ops = &ops;
	assert_false(drive_group(&w));
	for (int i = 0; i < PARTITIONS; i++) {
		drive_alone(&w, &w.partitions[i].flush);
		assert_verdict(&w, i, FLUSH_HALTED);
	}
	finish(&w);
}

static void test_only_what_has_just_been_started_may_join(void **state)
{
	struct world w;
	struct flush *flush;

	begin(&w);
	flush = &w.partitions[0].flush;
	assert_true(flush_group_takes(flush));
	w.plan = (struct plan){0, 0, 1, MEMORY_FAULT_RETRY};
	flush_lend(flush, w.store, true);
	assert_true(flush_step(flush) > 0); /* wants to wait: it has failed */
	assert_false(flush_group_takes(flush));
	while (!flush_ended(flush))
		flush_step(flush);
	w.connected = flush_take_back(flush);
	assert_false(flush_group_takes(flush));
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commits_at_once),
		cmocka_unit_test(test_every_fault_at_every_call),
		cmocka_unit_test(test_an_unknown_commit_is_settled_by_each),
		cmocka_unit_test(test_one_is_fenced),
		cmocka_unit_test(test_one_has_a_known_id),
		cmocka_unit_test(test_one_would_replace_an_unknown_balance),
		cmocka_unit_test(test_one_is_abandoned_at_every_step),
		cmocka_unit_test(test_warnings_halt_each),
		cmocka_unit_test(test_only_what_has_just_been_started_may_join),
	};

	return cmocka_run_group_tests_name("flush_group", tests, NULL, NULL);
}
