/*
 * The fold along the chains: a sound ledger passes, replayed rows included, and every kind of
 * damage is found where it is, once.
 */
#include "verify_fixture.h"

#include <errno.h>

#include "splitmix.h"

#define A account_in(0, 1)
#define B account_in(0, A + 1)

/* What stands in the tables, and what the fold says of it. */
struct world {
	struct test_ledger ledger;
	struct verify_report report;
	struct verify_totals totals;
	size_t balances_left;
	size_t waiting_max;
	uint32_t slices;
	bool skip_balances;
	struct error err;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	verify_report_init(&w->report, NULL, NULL);
	verify_totals_init(&w->totals);
	w->balances_left = 1000;
	w->waiting_max = 1000;
	w->slices = 1;
	ledger_begin(&w->ledger, 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	verify_report_finish(&w->report);
	verify_totals_finish(&w->totals);
	free(w);
	return 0;
}

static void forget(struct world *w)
{
	verify_report_finish(&w->report);
	verify_report_init(&w->report, NULL, NULL);
	verify_totals_finish(&w->totals);
	verify_totals_init(&w->totals);
}

static int fold_slice(struct world *w, uint32_t slice)
{
	struct verify_chain_config config = {
		.partition = w->ledger.partition,
		.partitions = LEDGER_PARTITIONS,
		.next_offset = w->ledger.next_offset,
		.slice = slice,
		.slices = w->slices,
		.waiting_max = w->waiting_max,
		.seed = 3,
	};
	struct verify_chain *chain = verify_chain_create(
		&config, &w->balances_left, &w->report, &w->totals);
	int rc = 0;

	for (size_t i = 0; i < w->ledger.row_count && rc == 0; i++)
		rc = verify_chain_row(chain, &w->ledger.rows[i], &w->err);
	if (rc == 0)
		verify_chain_rows_end(chain);
	for (size_t i = 0; i < w->ledger.account_count && rc == 0 && !w->skip_balances; i++) {
		struct verify_balance balance = ledger_balance(&w->ledger, &w->ledger.accounts[i]);

		verify_chain_balance(chain, &balance);
	}
	if (rc == 0 && !w->skip_balances)
		verify_chain_end(chain);
	verify_chain_destroy(chain);
	return rc;
}

static int fold(struct world *w)
{
	int rc = 0;

	ledger_sort(&w->ledger);
	for (uint32_t slice = 0; slice < w->slices && rc == 0; slice++)
		rc = fold_slice(w, slice);
	if (rc == 0 && !w->skip_balances)
		verify_totals_compare(&w->totals, &w->report);
	return rc;
}

static void assert_clean(struct world *w)
{
	assert_int_equal(fold(w), 0);
	if (w->report.differences > 0)
		fail_msg("offset %lld: %s is %s, expected %s",
			(long long)w->report.listed[0].place.offset, w->report.listed[0].what,
			w->report.listed[0].found, w->report.listed[0].expected);
}

/* The difference of this kind at this offset (-1: any), which must be there. */
static const struct verify_difference *found(struct world *w, enum verify_kind kind, int64_t offset)
{
	for (size_t i = 0; i < w->report.listed_count; i++)
		if (w->report.listed[i].kind == kind && w->report.listed[i].place.offset == offset)
			return &w->report.listed[i];
	for (size_t i = 0; i < w->report.listed_count; i++)
		print_error("%s offset %lld: %s is %s, expected %s\n",
			verify_kind_text(w->report.listed[i].kind),
			(long long)w->report.listed[i].place.offset, w->report.listed[i].what,
			w->report.listed[i].found, w->report.listed[i].expected);
	fail_msg("no difference %s at offset %lld", verify_kind_text(kind), (long long)offset);
	return NULL;
}

static void assert_says(const struct verify_difference *difference, const char *what,
	const char *text, const char *expected)
{
	assert_string_equal(difference->what, what);
	assert_string_equal(difference->found, text);
	assert_string_equal(difference->expected, expected);
}

/* Two accounts, every type, a refusal of each kind; offsets with holes. */
static void fill(struct world *w)
{
	struct test_ledger *ledger = &w->ledger;

	ledger_append(ledger, 2, A, "USDT", EVENT_DEPOSIT, 100);
	ledger_append(ledger, 3, B, "USDT", EVENT_DEPOSIT, 7);
	ledger_append(ledger, 5, A, "USDT", EVENT_FREEZE, 40);
	ledger_append(ledger, 6, A, "BTC", EVENT_WITHDRAW, 1); /* refused: an empty balance */
	ledger_append(ledger, 8, A, "USDT", EVENT_SETTLE, 30);
	ledger_append(ledger, 9, A, "USDT", EVENT_UNFREEZE, 11); /* refused */
	ledger_append(ledger, 10, B, "USDT", EVENT_WITHDRAW, 2);
	ledger_append(ledger, 12, A, "USDT", EVENT_UNFREEZE, 10);
	ledger_append(ledger, 15, A, "USDT", EVENT_WITHDRAW, 5);
	ledger_append(ledger, 16, A, "USDT", EVENT_DEPOSIT, 1);
}

static void test_clean(void **state)
{
	struct world *w = *state;

	fill(w);
	assert_clean(w);
	assert_int_equal(w->report.counts.balances, 3);
	assert_int_equal(w->balances_left, 1000); /* given back */
}

/* One row's damage is one line: what follows is judged by what the row says. */
static void test_amount(void **state)
{
	struct world *w = *state;
	const struct verify_difference *difference;

	fill(w);
	ledger_row(&w->ledger, 5)->amount += DECIMAL_ONE;
	fold(w);
	assert_int_equal(w->report.by_kind[VERIFY_OUTCOME], 2);
	difference = found(w, VERIFY_OUTCOME, 5);
	assert_int_equal(difference->place.partition, 0);
	assert_int_equal(difference->place.account_id, A);
	assert_says(difference, "available_after", "60",
		"59 (FREEZE of 41 on available 100, frozen 0)");
	assert_int_equal(w->report.differences, 2);
}

static void test_deposit_sum(void **state)
{
	struct world *w = *state;
	const struct verify_difference *difference;

	fill(w);
	ledger_row(&w->ledger, 2)->amount += DECIMAL_ONE / 2;
	fold(w);
	assert_says(found(w, VERIFY_OUTCOME, 2), "available_after", "100",
		"100.5 (DEPOSIT of 100.5 on available 0, frozen 0)");
	difference = found(w, VERIFY_SUM, -1);
	assert_true(difference->place.currency == fixture_currency("USDT"));
	assert_says(difference, "the sum of available and frozen", "71",
		"71.5, the deposits less withdrawals and settlements");
	assert_int_equal(w->report.differences, 2);
}

static void test_status(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 15)->applied = false;
	ledger_row(&w->ledger, 15)->refusal = REFUSAL_OVERFLOW;
	fold(w);
	assert_says(found(w, VERIFY_OUTCOME, 15), "status and reason in the journal",
		"FAILED, OVERFLOW", "SUCCESS, NULL (WITHDRAW of 5 on available 70, frozen 0)");
	assert_int_equal(w->report.by_kind[VERIFY_OUTCOME], 1);
	assert_int_equal(w->report.by_kind[VERIFY_BALANCE], 0);
}

static void test_refused_as_applied(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 9)->applied = true;
	ledger_row(&w->ledger, 9)->refusal = REFUSAL_NONE;
	fold(w);
	assert_says(found(w, VERIFY_OUTCOME, 9), "status and reason in the journal",
		"SUCCESS, NULL",
		"FAILED, INSUFFICIENT_FROZEN (UNFREEZE of 11 on available 60, frozen 10)");
	assert_int_equal(w->report.differences, 1);
}

static void test_reason(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 9)->refusal = REFUSAL_INSUFFICIENT_AVAILABLE;
	fold(w);
	found(w, VERIFY_OUTCOME, 9);
	assert_int_equal(w->report.differences, 1);
}

static void test_type(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 12)->type = EVENT_DEPOSIT;
	fold(w);
	assert_says(found(w, VERIFY_OUTCOME, 12), "frozen_after", "0",
		"10 (DEPOSIT of 10 on available 60, frozen 10)");
	assert_int_equal(w->report.by_kind[VERIFY_OUTCOME], 1);
}

/* The row after it shows that the number before it was wrong: two lines, and no more. */
static void test_after(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 8)->available_after += 1;
	fold(w);
	assert_says(found(w, VERIFY_OUTCOME, 8), "available_after", "60.000000000000000001",
		"60 (SETTLE of 30 on available 60, frozen 40)");
	found(w, VERIFY_OUTCOME, 9);
	assert_int_equal(w->report.differences, 2);
}

static void test_negative_after(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 8)->frozen_after = -1;
	fold(w);
	assert_says(found(w, VERIFY_OUTCOME, 8), "frozen_after", "-0.000000000000000001",
		"10 (SETTLE of 30 on available 60, frozen 40)");
	assert_int_equal(w->report.differences, 1);
}

static void test_unusable(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 8)->unusable = true; /* whoever read it has said so */
	ledger_row(&w->ledger, 8)->type = 0;
	fold(w);
	assert_int_equal(w->report.by_kind[VERIFY_SUM], 1);
	assert_int_equal(w->report.differences, 1);
}

/* Chains -------------------------------------------------------------------------------------- */

static void test_deleted_row(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_delete_row(&w->ledger, 8);
	fold(w);
	assert_says(found(w, VERIFY_CHAIN, 9), "prev_offset",
		"8, where the account's chain does not end", "5, where it ends");
	assert_int_equal(w->report.by_kind[VERIFY_CHAIN], 1);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances", "version 6",
		"version 5");
}

static void test_deleted_first_row(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_delete_row(&w->ledger, 2);
	fold(w);
	assert_says(found(w, VERIFY_CHAIN, 5), "prev_offset",
		"2, where the account's chain does not end", "NULL: there is no row before it");
	assert_int_equal(w->report.by_kind[VERIFY_CHAIN], 1);
	assert_int_equal(w->report.by_kind[VERIFY_OUTCOME], 0);
}

static void test_deleted_last_row(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_delete_row(&w->ledger, 16);
	fold(w);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances",
		"available 66, version 6, last_offset 16",
		"available 65, version 5, last_offset 15");
}

static void test_extra_row(void **state)
{
	struct world *w = *state;
	struct verify_row *row;

	fill(w);
	row = &w->ledger.rows[w->ledger.row_count++];
	*row = *ledger_row(&w->ledger, 10);
	row->offset = 11;
	row->prev_offset = 10;
	row->available_after -= 2 * DECIMAL_ONE;
	fold(w);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances",
		"available 5, version 2, last_offset 10", "available 3, version 3, last_offset 11");
	found(w, VERIFY_SUM, -1);
	assert_int_equal(w->report.differences, 2);
}

static void test_prev_offset(void **state)
{
	struct world *w = *state;
	static const int64_t wrong[] = {-1 /* NULL */, 2 /* an older one */,
		3 /* another account's */, 7 /* no row */, 12 /* itself */,
		16 /* a later one of its own */, 13 /* later, no row */, 99, -2};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ledger_begin(&w->ledger, 0);
		fill(w);
		ledger_row(&w->ledger, 12)->prev_offset = wrong[i];
		fold(w);
		if (w->report.by_kind[VERIFY_CHAIN] != 1)
			fail_msg("prev_offset %lld: %lld differences", (long long)wrong[i],
				(long long)w->report.by_kind[VERIFY_CHAIN]);
		/* 16 leads there by way of 15, in a circle: it may be told at any of them. */
		if (wrong[i] != 16)
			found(w, VERIFY_CHAIN, 12);
		assert_int_equal(w->report.by_kind[VERIFY_OUTCOME], 0);
		forget(w);
	}
}

/* What can be told at once does not wait: a busy account must not fill the memory. */
static void test_broken_at_once(void **state)
{
	struct world *w = *state;
	static const int64_t wrong[] = {-2, 3, 98, 100, 4000, 5000};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ledger_begin(&w->ledger, 0);
		for (int64_t offset = 0; offset < 4000; offset++)
			ledger_append(&w->ledger, offset, A, "USDT", EVENT_DEPOSIT, 1);
		ledger_row(&w->ledger, 100)->prev_offset = wrong[i];
		w->waiting_max = 10;
		assert_int_equal(fold(w), 0);
		found(w, VERIFY_CHAIN, 100);
		assert_int_equal(w->report.differences, 1);
		forget(w);
	}
}

static void test_offset_nought(void **state)
{
	struct world *w = *state;

	ledger_append(&w->ledger, 0, A, "USDT", EVENT_DEPOSIT, 1);
	ledger_append(&w->ledger, 1, A, "USDT", EVENT_DEPOSIT, 1)->prev_offset = -1;
	fold(w);
	assert_says(found(w, VERIFY_CHAIN, 1), "prev_offset",
		"NULL, where the account's chain does not end", "0, where it ends");
}

/* Rows that can be told of no account: whoever read them has said so. */
static void test_no_account(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_append(&w->ledger, 20, A, "EUR", EVENT_DEPOSIT, 1);
	ledger_append(&w->ledger, 21, A, "EUR", EVENT_DEPOSIT, 1);
	ledger_row(&w->ledger, 20)->account_id = 0;
	ledger_row(&w->ledger, 21)->currency = CURRENCY_NONE;
	assert_int_equal(fold(w), 0);
	assert_int_equal(w->report.by_kind[VERIFY_CHAIN], 0);
	found(w, VERIFY_BALANCE, -1);
}

static void test_first_prev_offset(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_row(&w->ledger, 3)->prev_offset = 2;
	fold(w);
	assert_says(found(w, VERIFY_CHAIN, 3), "prev_offset",
		"2, where the account's chain does not end", "NULL: there is no row before it");
	assert_int_equal(w->report.differences, 1);
}

/* The event at 4 was decided after 12 had been: its row follows 12's, and 15's follows it. */
static void fill_replayed(struct world *w)
{
	struct test_ledger *ledger = &w->ledger;

	ledger_append(ledger, 2, A, "USDT", EVENT_DEPOSIT, 100);
	ledger_append(ledger, 5, A, "USDT", EVENT_FREEZE, 40);
	ledger_append(ledger, 8, B, "USDT", EVENT_DEPOSIT, 5);
	ledger_append(ledger, 12, A, "USDT", EVENT_WITHDRAW, 55);
	ledger_append(ledger, 4, A, "USDT", EVENT_WITHDRAW, 10); /* refused: only 5 are left */
	ledger_append(ledger, 6, A, "USDT", EVENT_WITHDRAW, 5);
	ledger_append(ledger, 7, B, "USDT", EVENT_DEPOSIT, 1);
	ledger_append(ledger, 15, A, "USDT", EVENT_DEPOSIT, 50);
	ledger_append(ledger, 16, B, "USDT", EVENT_DEPOSIT, 1);
}

static void test_replayed(void **state)
{
	struct world *w = *state;

	fill_replayed(w);
	assert_clean(w);
}

/* An account that has nothing but replayed rows ends below next_offset. */
static void test_replayed_at_the_end(void **state)
{
	struct world *w = *state;

	fill_replayed(w);
	ledger_append(&w->ledger, 1, B, "USDT", EVENT_WITHDRAW, 7);
	ledger_append(&w->ledger, 0, A, "EUR", EVENT_DEPOSIT, 7);
	assert_clean(w);
}

/* Its first row by offset is not its first in time. */
static void test_replayed_before_the_first(void **state)
{
	struct world *w = *state;

	ledger_append(&w->ledger, 9, A, "USDT", EVENT_DEPOSIT, 3);
	ledger_append(&w->ledger, 1, A, "USDT", EVENT_WITHDRAW, 3);
	ledger_append(&w->ledger, 11, A, "USDT", EVENT_DEPOSIT, 1);
	assert_clean(w);
}

static void test_replayed_damaged(void **state)
{
	struct world *w = *state;

	fill_replayed(w);
	ledger_row(&w->ledger, 6)->available_after += DECIMAL_ONE;
	fold(w);
	assert_says(found(w, VERIFY_OUTCOME, 6), "available_after", "1",
		"0 (WITHDRAW of 5 on available 5, frozen 40)");
	forget(w);

	/* The row that a replayed one follows is gone. */
	ledger_begin(&w->ledger, 0);
	fill_replayed(w);
	ledger_delete_row(&w->ledger, 12);
	fold(w);
	found(w, VERIFY_CHAIN, 4);
	assert_int_equal(w->report.by_kind[VERIFY_CHAIN], 1);
}

static void test_circle(void **state)
{
	struct world *w = *state;

	fill_replayed(w);
	/* 4 follows 6 and 6 follows 4; 15 follows 6. */
	ledger_row(&w->ledger, 4)->prev_offset = 6;
	fold(w);
	assert_int_equal(w->report.by_kind[VERIFY_CHAIN], 1);
	found(w, VERIFY_CHAIN, 4);
}

static void test_fork(void **state)
{
	struct world *w = *state;

	fill_replayed(w);
	ledger_row(&w->ledger, 6)->prev_offset = 12; /* as 4 does */
	fold(w);
	assert_int_equal(w->report.by_kind[VERIFY_CHAIN], 1);
	found(w, VERIFY_CHAIN, 6);
}

/* A busy account whose chain leads astray must not fill the memory: rows wait until the row that
 * they wait for has been passed. */
static void test_waiting_is_bounded(void **state)
{
	struct world *w = *state;

	w->waiting_max = 200;
	for (int64_t offset = 0; offset < 10000; offset++)
		ledger_append(&w->ledger, offset, A, "USDT", EVENT_DEPOSIT, 1);
	ledger_row(&w->ledger, 100)->prev_offset = 250;
	ledger_row(&w->ledger, 250)->account_id = B;
	ledger_row(&w->ledger, 250)->prev_offset = -1;
	assert_int_equal(fold(w), 0);
	found(w, VERIFY_CHAIN, 100);
	forget(w);

	/* As long as it has not been passed, they may all be right. */
	ledger_row(&w->ledger, 250)->account_id = A;
	ledger_row(&w->ledger, 250)->prev_offset = 249;
	ledger_row(&w->ledger, 100)->prev_offset = 5000;
	assert_int_equal(fold(w), -ENOMEM);
	assert_non_null(strstr(w->err.text, "memory_max"));
}

/* A replay of a long gap: many rows wait, all of them rightly. */
static void test_many_replayed(void **state)
{
	struct world *w = *state;

	for (int64_t offset = 6000; offset < 12000; offset++)
		ledger_append(&w->ledger, offset, account_in(0, 1 + offset % 200), "USDT",
			EVENT_DEPOSIT, 1 + offset % 7);
	for (int64_t offset = 0; offset < 6000; offset++)
		ledger_append(&w->ledger, offset, account_in(0, 1 + offset % 200), "USDT",
			EVENT_WITHDRAW, 1 + offset % 5);
	for (int64_t offset = 12000; offset < 18000; offset++)
		ledger_append(&w->ledger, offset, account_in(0, 1 + offset % 200), "USDT",
			EVENT_WITHDRAW, 1 + offset % 11);
	w->waiting_max = 6000;
	assert_clean(w);
}

/* When a sweep comes by, a row that waits for the very next one is not broken. */
static void test_sweep_spares_the_next(void **state)
{
	struct world *w = *state;
	int64_t last = 4095; /* the row that makes the sweep come */

	for (int64_t offset = last + 2; offset < 5000; offset++)
		ledger_append(&w->ledger, offset, A, "USDT", EVENT_DEPOSIT, 1);
	ledger_append(&w->ledger, last + 1, B, "USDT", EVENT_DEPOSIT, 1);
	for (int64_t offset = 0; offset < last; offset++)
		ledger_append(&w->ledger, offset, A, "USDT", EVENT_DEPOSIT, 1);
	ledger_append(&w->ledger, last, B, "USDT", EVENT_DEPOSIT, 1);
	w->waiting_max = 5000;
	assert_clean(w);
}

/* Balances ------------------------------------------------------------------------------------ */

static void test_balance_fields(void **state)
{
	struct world *w = *state;
	struct ledger_account *account;

	fill(w);
	account = ledger_account(&w->ledger, B, "USDT");
	account->frozen = 3;
	account->version = 9;
	fold(w);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances",
		"frozen 3, version 9", "frozen 0, version 2");
	assert_int_equal(found(w, VERIFY_BALANCE, -1)->place.account_id, B);
	assert_int_equal(w->report.by_kind[VERIFY_SUM], 1);
	forget(w);

	account->frozen = -1;
	account->version = 2;
	account->available = 6; /* the sum is right */
	account->last_offset = 3;
	fold(w);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances",
		"available 6, frozen -1, last_offset 3", "available 5, frozen 0, last_offset 10");
	assert_int_equal(w->report.differences, 1);
}

static void test_missing_balance(void **state)
{
	struct world *w = *state;

	fill(w);
	*ledger_account(&w->ledger, B, "USDT") = w->ledger.accounts[--w->ledger.account_count];
	fold(w);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances",
		"missing from this partition", "available 5, frozen 0, version 2, last_offset 10");
	assert_int_equal(w->report.by_kind[VERIFY_BALANCE], 1);
}

static void test_extra_balance(void **state)
{
	struct world *w = *state;

	fill(w);
	ledger_account(&w->ledger, account_in(0, 1000), "USDT")->available = 4;
	fold(w);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances",
		"there (available 4, frozen 0, version 0)",
		"none: the journal has no row of it in this partition");
	found(w, VERIFY_SUM, -1);
}

static void test_balance_partition(void **state)
{
	struct world *w = *state;
	struct verify_chain_config config = {0, LEDGER_PARTITIONS, 100, 0, 1, 100, 3};
	struct verify_chain *chain;
	struct verify_balance balance;

	ledger_append(&w->ledger, 1, A, "USDT", EVENT_DEPOSIT, 1);
	chain = verify_chain_create(&config, &w->balances_left, &w->report, &w->totals);
	assert_int_equal(verify_chain_row(chain, &w->ledger.rows[0], &w->err), 0);
	balance = ledger_balance(&w->ledger, &w->ledger.accounts[0]);
	balance.partition = 2;
	assert_true(verify_chain_has(chain, (struct balance_key){A, balance.currency}));
	assert_false(verify_chain_has(chain, (struct balance_key){B, balance.currency}));
	verify_chain_balance(chain, &balance);
	verify_chain_destroy(chain);
	assert_says(found(w, VERIFY_BALANCE, -1), "the row in account_balances",
		"kafka_partition 2", "kafka_partition 0");
}

static void test_wrong_partition(void **state)
{
	struct world *w = *state;
	int64_t stranger = account_in(3, 1);

	fill(w);
	ledger_append(&w->ledger, 20, stranger, "USDT", EVENT_DEPOSIT, 1);
	ledger_append(&w->ledger, 21, stranger, "USDT", EVENT_DEPOSIT, 1);
	fold(w);
	assert_says(found(w, VERIFY_PARTITION, 20), "the account's partition", "0", "3");
	assert_int_equal(w->report.differences, 1);
}

/* Limits -------------------------------------------------------------------------------------- */

static void test_slices(void **state)
{
	struct world *w = *state;

	for (int64_t offset = 0; offset < 4000; offset++)
		ledger_append(&w->ledger, offset, account_in(0, 1 + offset * 7919 % 200), "USDT",
			EVENT_DEPOSIT, 1);
	w->slices = 3;
	assert_clean(w);
	assert_int_equal(w->report.counts.balances, w->ledger.account_count);
	forget(w);
	w->ledger.accounts[5].available++;
	w->ledger.accounts[6].version++;
	fold(w);
	assert_int_equal(w->report.by_kind[VERIFY_BALANCE], 2);
	assert_int_equal(w->report.by_kind[VERIFY_SUM], 1);
}

static void test_no_room(void **state)
{
	struct world *w = *state;

	fill(w);
	w->balances_left = 2;
	assert_int_equal(fold(w), -ENOMEM);
	assert_non_null(strstr(w->err.text, "memory_max"));
	assert_int_equal(w->balances_left, 2);
}

/* Anything ------------------------------------------------------------------------------------ */

/* A ledger of random deeds, of which some are appended late, at offsets that were left out. */
static void fill_random(struct world *w, struct splitmix *random)
{
	int64_t late[64];
	size_t late_count = 0;
	int64_t offset = 0;

	ledger_begin(&w->ledger, 0);
	for (int i = 0; i < 300; i++) {
		int64_t account = account_in(0, 1 + (int64_t)splitmix_below(random, 24));
		const char *currency = splitmix_below(random, 3) ? "USDT" : "BTC";
		enum event_type type = (enum event_type)(EVENT_DEPOSIT + splitmix_below(random, 5));
		int64_t amount = 1 + (int64_t)splitmix_below(random, 9);
		int64_t place = offset++;

		if (splitmix_below(random, 10) == 0 && late_count < 64)
			late[late_count++] = offset++;
		if (splitmix_below(random, 8) == 0 && late_count > 0)
			place = late[splitmix_below(random, late_count)];
		for (size_t k = 0; k < late_count; k++)
			if (late[k] == place)
				late[k] = late[--late_count];
		if (splitmix_below(random, 2))
			type = EVENT_DEPOSIT;
		ledger_append(&w->ledger, place, account, currency, type, amount);
	}
	ledger_sort(&w->ledger);
}

/* Changes one thing; false: it was no change. */
static bool damage(struct world *w, struct splitmix *random)
{
	struct test_ledger *ledger = &w->ledger;
	struct verify_row *row = &ledger->rows[splitmix_below(random, ledger->row_count)];
	struct ledger_account *account =
		&ledger->accounts[splitmix_below(random, ledger->account_count)];
	struct verify_row before = *row;

	switch (splitmix_below(random, 13)) {
	case 0:
		row->amount += 1;
		return row->applied; /* a larger one is refused just so */
	case 1:
		row->available_after += splitmix_below(random, 2) ? 1 : -1;
		break;
	case 2:
		row->frozen_after += 1;
		break;
	case 3:
		row->applied = !row->applied;
		break;
	case 4:
		row->refusal = (uint8_t)splitmix_below(random, 4);
		return row->refusal != before.refusal;
	case 5:
		row->prev_offset = (int64_t)splitmix_below(random, (uint64_t)ledger->next_offset) -
				   1;
		return row->prev_offset != before.prev_offset;
	case 6:
		row->type = (uint8_t)(EVENT_DEPOSIT + splitmix_below(random, 5));
		return row->type != before.type && row->applied;
	case 7:
		ledger_delete_row(ledger, row->offset);
		break;
	case 8:
		account->available++;
		break;
	case 9:
		account->frozen--;
		break;
	case 10:
		account->version++;
		break;
	case 11:
		account->last_offset--;
		break;
	case 12:
		*account = ledger->accounts[--ledger->account_count];
		break;
	}
	return true;
}

static void test_random(void **state)
{
	struct world *w = *state;
	struct splitmix random = {42};
	size_t damaged = 0;

	for (uint64_t round = 0; round < 400; round++) {
		struct splitmix seed = random;

		fill_random(w, &random);
		assert_clean(w);
		forget(w);
		if (damage(w, &random)) {
			assert_int_equal(fold(w), 0);
			if (w->report.differences == 0)
				fail_msg("round %llu (seed %llu): damage was not found",
					(unsigned long long)round, (unsigned long long)seed.state);
			if (w->report.differences > 8)
				fail_msg("round %llu (seed %llu): one change, %lld differences",
					(unsigned long long)round, (unsigned long long)seed.state,
					(long long)w->report.differences);
			damaged++;
		}
		forget(w);
	}
	assert_true(damaged > 250);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_clean),
		TEST(test_amount),
		TEST(test_deposit_sum),
		TEST(test_status),
		TEST(test_refused_as_applied),
		TEST(test_reason),
		TEST(test_type),
		TEST(test_after),
		TEST(test_negative_after),
		TEST(test_unusable),
		TEST(test_deleted_row),
		TEST(test_deleted_first_row),
		TEST(test_deleted_last_row),
		TEST(test_extra_row),
		TEST(test_prev_offset),
		TEST(test_broken_at_once),
		TEST(test_offset_nought),
		TEST(test_no_account),
		TEST(test_first_prev_offset),
		TEST(test_replayed),
		TEST(test_replayed_at_the_end),
		TEST(test_replayed_before_the_first),
		TEST(test_replayed_damaged),
		TEST(test_circle),
		TEST(test_fork),
		TEST(test_waiting_is_bounded),
		TEST(test_many_replayed),
		TEST(test_sweep_spares_the_next),
		TEST(test_balance_fields),
		TEST(test_missing_balance),
		TEST(test_extra_balance),
		TEST(test_balance_partition),
		TEST(test_wrong_partition),
		TEST(test_slices),
		TEST(test_no_room),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
