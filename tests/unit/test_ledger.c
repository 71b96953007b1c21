/* A batch's way through the ledger: outcomes, chains, and that an undo leaves no trace. */
#include "fixture.h"

#include "ledger.h"

#define EVENTS 64

struct world {
	struct budget budget;
	struct ledger ledger;
	struct batch batch;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct ledger_config config = {.batch_events = EVENTS, .ids = 1000, .seed = 1};

	budget_init(&w->budget, (size_t)64 << 20);
	ledger_init(&w->ledger, &w->budget, &config);
	batch_init(&w->batch, EVENTS, 1 << 20, BALANCE_PIN_EVEN);
	batch_reset(&w->batch, 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	batch_finish(&w->batch);
	ledger_finish(&w->ledger);
	assert_int_equal(budget_used(&w->budget), 0);
	free(w);
	return 0;
}

/* Every balance that is missing is one the database does not have. */
static void resolve(struct world *w)
{
	struct balance_key missing[EVENTS];
	struct balance_row rows[EVENTS];
	size_t count = ledger_resolve(&w->ledger, &w->batch, 0, missing);

	for (size_t i = 0; i < count; i++)
		rows[i] = (struct balance_row){.key = missing[i]};
	ledger_load(&w->ledger, &w->batch, rows, count);
	assert_int_equal(ledger_resolve(&w->ledger, &w->batch, 0, missing), 0);
}

static void decide(struct world *w)
{
	resolve(w);
	ledger_dedupe(&w->ledger, &w->batch);
	ledger_apply(&w->ledger, &w->batch, FIXTURE_TIME_MS);
}

static void commit(struct world *w)
{
	int64_t end = w->batch.end_offset;

	ledger_commit(&w->ledger, &w->batch);
	batch_reset(&w->batch, end);
}

static struct balance balance_of(const struct world *w, int64_t account)
{
	struct balance_key key = {account, fixture_currency("USDT")};
	struct balance balance;

	balances_get(w->ledger.balances, balances_find(w->ledger.balances, key), &balance);
	return balance;
}

static void test_outcomes(void **state)
{
	struct world *w = *state;
	struct batch *b = &w->batch;

	fixture_add(b, 0, "a", 1, "DEPOSIT", "10");
	fixture_add(b, 1, "b", 1, "WITHDRAW", "11");   /* refused */
	fixture_add(b, 2, "a", 1, "DEPOSIT", "10.00"); /* duplicate */
	fixture_add(b, 3, "a", 1, "DEPOSIT", "12");    /* conflict */
	fixture_add(b, 4, "b", 1, "WITHDRAW", "11");   /* duplicate of a refusal */
	fixture_add(b, 5, "a", 2, "DEPOSIT", "3");     /* another account's id */
	fixture_add(b, 6, "c", 1, "FREEZE", "4");
	fixture_add(b, 7, "d", 1, "DEPOSIT", "bad"); /* malformed */
	decide(w);

	static const enum outcome expected[] = {OUTCOME_APPLIED, OUTCOME_REFUSED, OUTCOME_DUPLICATE,
		OUTCOME_DEAD_LETTER, OUTCOME_DUPLICATE, OUTCOME_APPLIED, OUTCOME_APPLIED,
		OUTCOME_DEAD_LETTER};
	for (size_t i = 0; i < b->count; i++)
		assert_int_equal(b->records[i].outcome, expected[i]);
	assert_int_equal(b->records[1].refusal, REFUSAL_INSUFFICIENT_AVAILABLE);
	assert_int_equal(b->records[3].dead_reason, DEAD_ID_CONFLICT);
	assert_int_equal(b->records[7].dead_reason, DEAD_MALFORMED);
	assert_int_equal(b->journal_count, 4);
	assert_int_equal(b->refused_count, 1);
	assert_int_equal(b->dead_letter_count, 2);
	assert_int_equal(b->duplicate_count, 2);
	assert_int_equal(b->touched_count, 2);
	assert_int_equal(b->closed_ms, FIXTURE_TIME_MS);
}

/* Each row points at the one before it, refused ones included; the balance at the last. */
static void test_chain(void **state)
{
	struct world *w = *state;
	struct batch *b = &w->batch;

	fixture_add(b, 10, "a", 1, "DEPOSIT", "10");
	fixture_add(b, 11, "b", 2, "DEPOSIT", "10");
	fixture_add(b, 12, "c", 1, "WITHDRAW", "99");
	decide(w);
	assert_int_equal(b->records[0].prev_offset, -1);
	assert_int_equal(b->records[1].prev_offset, -1);
	assert_int_equal(b->records[2].prev_offset, 10);
	commit(w);

	fixture_add(b, 20, "d", 1, "WITHDRAW", "4");
	decide(w);
	assert_int_equal(b->records[0].prev_offset, 12);
	assert_amount_equal(b->records[0].available_after, amount_of("6"));
	assert_int_equal(b->touched[0].after.last_offset, 20);
	assert_int_equal(b->touched[0].after.version, 2);
	commit(w);
	assert_int_equal(balance_of(w, 1).last_offset, 20);
	assert_int_equal(balance_of(w, 2).last_offset, 11);
}

/* An undone batch has never been there: decided again it comes out the same. */
static void test_undo(void **state)
{
	struct world *w = *state;
	struct batch *b = &w->batch;
	struct balance before;

	fixture_add(b, 0, "a", 1, "DEPOSIT", "10");
	decide(w);
	commit(w);
	before = balance_of(w, 1);

	fixture_add(b, 1, "b", 1, "WITHDRAW", "4");
	fixture_add(b, 2, "a", 1, "DEPOSIT", "11");
	fixture_add(b, 3, "c", 5, "DEPOSIT", "1");
	for (int round = 0; round < 3; round++) {
		decide(w);
		assert_int_equal(b->records[0].outcome, OUTCOME_APPLIED);
		assert_int_equal(b->records[1].dead_reason, DEAD_ID_CONFLICT);
		assert_amount_equal(balance_of(w, 1).available, amount_of("6"));
		assert_int_equal(balance_of(w, 5).last_offset, 3);
		ledger_undo(&w->ledger, b);
		assert_amount_equal(balance_of(w, 1).available, before.available);
		assert_int_equal(balance_of(w, 1).version, before.version);
		assert_int_equal(balance_of(w, 1).last_offset, before.last_offset);
		assert_int_equal(balance_of(w, 5).last_offset, -1);
		assert_int_equal(dedupe_count(w->ledger.dedupe), 1);
		assert_int_equal(b->records[1].dead_reason, DEAD_NONE);
		assert_int_equal(b->records[1].outcome, OUTCOME_PENDING);
	}
}

/* What the database taught after an undo turns an event into a duplicate, or a dead letter. */
static void test_learned(void **state)
{
	struct world *w = *state;
	struct batch *b = &w->batch;
	struct dedupe_id same, other;

	same = fixture_add(b, 0, "old", 1, "DEPOSIT", "10")->id;
	other = fixture_add(b, 1, "older", 1, "DEPOSIT", "7")->id;
	other.fingerprint++;
	decide(w);
	assert_int_equal(b->journal_count, 2);
	ledger_undo(&w->ledger, b);

	ledger_learn(&w->ledger, &same);
	ledger_learn(&w->ledger, &other);
	ledger_learn(&w->ledger, &other);
	decide(w);
	assert_int_equal(b->records[0].outcome, OUTCOME_DUPLICATE);
	assert_int_equal(b->records[1].dead_reason, DEAD_ID_CONFLICT);
	assert_int_equal(b->touched_count, 0);
	assert_amount_equal(balance_of(w, 1).available, 0);
}

/* Touched balances leave in the order of the primary key, each once. */
static void test_touched_sorted(void **state)
{
	struct world *w = *state;
	struct batch *b = &w->batch;
	char id[16];

	for (int i = 0; i < EVENTS; i++) {
		snprintf(id, sizeof id, "i%d", i);
		fixture_add(b, i, id, 1 + (i * 37) % 16, "DEPOSIT", "1");
	}
	decide(w);
	assert_int_equal(b->touched_count, 16);
	for (size_t i = 0; i < b->touched_count; i++) {
		assert_int_equal(b->touched[b->order[i]].key.account_id, i + 1);
		assert_int_equal(b->touched[i].after.version, EVENTS / 16);
	}
}

/* Missing balances are asked for once each, in order; what the database had is used. */
static void test_missing(void **state)
{
	struct world *w = *state;
	struct balance_key missing[EVENTS];
	struct balance_row row = {.found = true};

	fixture_add(&w->batch, 100, "a", 7, "WITHDRAW", "5");
	fixture_add(&w->batch, 101, "b", 3, "DEPOSIT", "5");
	fixture_add(&w->batch, 102, "c", 7, "WITHDRAW", "5");
	fixture_add(&w->batch, 103, "d", 9, "DEPOSIT", "nonsense");
	assert_int_equal(ledger_resolve(&w->ledger, &w->batch, 0, missing), 2);
	assert_int_equal(missing[0].account_id, 3);
	assert_int_equal(missing[1].account_id, 7);

	row.key = missing[1];
	row.balance = (struct balance){amount_of("8"), 0, 41, 55};
	ledger_load(&w->ledger, &w->batch, &row, 1);
	row = (struct balance_row){.key = missing[0]};
	ledger_load(&w->ledger, &w->batch, &row, 1);
	decide(w);
	assert_int_equal(w->batch.records[0].outcome, OUTCOME_APPLIED);
	assert_int_equal(w->batch.records[0].prev_offset, 55);
	assert_int_equal(w->batch.records[2].outcome, OUTCOME_REFUSED);
	assert_int_equal(balance_of(w, 7).version, 42);
	assert_int_equal(balance_of(w, 3).version, 1);
}

/* A new ledger has all balances that there are: those of new accounts are made, not asked for. */
static void test_complete(void **state)
{
	struct world *w = *state;
	struct balance_key missing[EVENTS];

	balances_begin_complete(w->ledger.balances);
	for (int64_t i = 0; i < EVENTS - 1; i++)
		fixture_add(&w->batch, 100 + i, (char[]){(char)('!' + i), '\0'}, 1 + i % 40,
			"DEPOSIT", "5");
	fixture_add(&w->batch, 100 + EVENTS, "d", 99, "DEPOSIT", "nonsense");
	assert_int_equal(ledger_resolve(&w->ledger, &w->batch, 0, missing), 0);
	assert_int_equal(balances_count(w->ledger.balances), 40);
	decide(w);
	assert_int_equal(w->batch.records[0].prev_offset, -1);
	assert_int_equal(w->batch.records[40].prev_offset, 100);
	assert_int_equal(balance_of(w, 1).version, 2);
	assert_int_equal(balance_of(w, 30).version, 1);
	assert_int_equal(w->batch.known_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_outcomes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_learned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_touched_sorted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_complete, setup, teardown),
	};

	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
