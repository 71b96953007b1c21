/* The store on a real server: what is read back. */
#include "store_world.h"

/* Accounts 1 to count, each with one deposit of its number. */
static void deposit_to_many(struct world *w, int count)
{
	for (int i = 1; i <= count; i++) {
		char id[24], amount[16];

		snprintf(id, sizeof(id), "many-%d", i);
		snprintf(amount, sizeof(amount), "%d", i);
		store_world_add(w, id, i, "DEPOSIT", amount);
	}
	store_world_commit(w);
}

static void test_balances_are_read_in_chunks(void **state)
{
	struct world *w = *state;
	static struct balance_row rows[3500];
	size_t count = 0;

	deposit_to_many(w, 2500);
	for (int64_t account = 1; count < 3500; account++) {
		rows[count++].key = (struct balance_key){account, fixture_currency("BTC")};
		rows[count++].key = (struct balance_key){account, fixture_currency("USDT")};
	}
	assert_ok(w->store->ops->read_balances(w->store, rows, count, &w->err), w->err);
	for (size_t i = 0; i < count; i++) {
		bool usdt = i % 2;

		assert_int_equal(rows[i].found, usdt);
		assert_int_equal(rows[i].balance.version, usdt);
		assert_amount_equal(rows[i].balance.available,
			usdt ? rows[i].key.account_id * DECIMAL_ONE : (i128)0);
		assert_int_equal(
			rows[i].balance.last_offset, usdt ? rows[i].key.account_id - 1 : -1);
	}
	assert_ok(w->store->ops->read_balances(w->store, NULL, 0, &w->err), w->err);
}

/* Money is checked on its way in. */
static void test_impossible_balances_halt(void **state)
{
	struct world *w = *state;
	struct balance_row row = {.key = {1, fixture_currency("USDT")}};

	deposit_to_many(w, 3);
	mysql_env_run(w->env, "UPDATE account_balances SET available = -1 WHERE account_id = 1");
	assert_int_equal(w->store->ops->read_balances(w->store, &row, 1, &w->err), STORE_HALT);
	assert_non_null(strstr(w->err.text, "account_balances of account 1 (USDT)"));
	assert_ok(w->store->ops->ping(w->store, &w->err), w->err);
}

struct found {
	struct event events[EVENTS];
	struct store_balance balances[EVENTS];
	size_t count;
};

static void note_event(void *context, const struct event *event)
{
	struct found *found = context;

	assert_true(found->count < EVENTS);
	found->events[found->count++] = *event;
}

static void note_balance(void *context, const struct store_balance *row)
{
	struct found *found = context;

	assert_true(found->count < EVENTS);
	found->balances[found->count++] = *row;
}

static void test_transactions_are_found_by_id_and_account(void **state)
{
	struct world *w = *state;
	static struct found found;
	static struct event events[3000];
	static const struct event *pointers[3000];

	deposit_to_many(w, 2500);
	for (int i = 0; i < 3000; i++) {
		struct event *event = &events[i];

		/* every third by another account, every fifth in other letters: unknown */
		event->account_id = i + 1 + (i % 3 == 0);
		event->transaction_id_length = (uint8_t)snprintf(event->transaction_id,
			TRANSACTION_ID_MAX, i % 5 ? "many-%d" : "Many-%d", i + 1);
		pointers[i] = event;
	}
	found.count = 0;
	assert_ok(w->store->ops->find_transactions(
			  w->store, pointers, 3000, note_event, &found, &w->err),
		w->err);
	for (size_t i = 0; i < found.count; i++) {
		const struct event *event = &found.events[i];
		int64_t n = event->account_id;

		assert_true(n >= 1 && n <= 2500 && (n - 1) % 3 && (n - 1) % 5);
		assert_true(event->currency == fixture_currency("USDT"));
		assert_int_equal(event->type, EVENT_DEPOSIT);
		assert_amount_equal(event->amount, n * DECIMAL_ONE);
	}
	/* of 2,500 numbers from 0 those divisible by neither 3 nor 5 */
	assert_int_equal(found.count, 2500 - 834 - 500 + 167);
}

static void test_the_newest_transactions_come_first(void **state)
{
	struct world *w = *state;
	static struct found found;

	deposit_to_many(w, 300);
	found.count = 0;
	assert_ok(w->store->ops->recent_transactions(w->store, 0, 100, note_event, &found, &w->err),
		w->err);
	assert_int_equal(found.count, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(found.events[i].account_id, 300 - i);
	found.count = 0;
	assert_ok(w->store->ops->recent_transactions(w->store, 1, 100, note_event, &found, &w->err),
		w->err);
	assert_int_equal(found.count, 0);
}

static void test_the_newest_row_of_either_table(void **state)
{
	struct world *w = *state;
	struct store_newest newest;

	assert_ok(w->store->ops->read_newest(w->store, 0, &newest, &w->err), w->err);
	assert_false(newest.found);
	store_world_add_letter(w, &(struct message){.offset = 0, .key = "k", .key_length = 1});
	store_world_add(w, "one", 1001, "FREEZE", "10.5");
	store_world_commit(w);
	assert_ok(w->store->ops->read_newest(w->store, 0, &newest, &w->err), w->err);
	assert_true(newest.found);
	assert_false(newest.dead_letter);
	assert_int_equal(newest.offset, 1);
	assert_int_equal(newest.event.account_id, 1001);
	assert_int_equal(newest.event.type, EVENT_FREEZE);
	assert_amount_equal(newest.event.amount, amount_of("10.5"));
	assert_int_equal(newest.event.transaction_id_length, 3);
	assert_memory_equal(newest.event.transaction_id, "one", 3);
	store_world_add_letter(w, &(struct message){.offset = 2, .key = "k2", .key_length = 2});
	store_world_commit(w);
	store_world_check_newest(w, &(struct message){.offset = 2, .key = "k2", .key_length = 2});
}

static void assert_has(struct world *w, int32_t partition, int64_t from, int64_t to, bool expected)
{
	bool has = !expected;

	assert_ok(w->store->ops->has_rows(w->store, partition, from, to, &has, &w->err), w->err);
	assert_int_equal(has, expected);
}

static void test_rows_within_a_range(void **state)
{
	struct world *w = *state;

	batch_reset(&w->batch, 0);
	batch_advance(&w->batch, 10);
	store_world_add(w, "one", 1001, "DEPOSIT", "1");
	batch_advance(&w->batch, 20);
	store_world_add_letter(w, &(struct message){.offset = 20});
	store_world_commit(w);
	assert_has(w, 0, 0, 10, false);
	assert_has(w, 0, 0, 11, true);
	assert_has(w, 0, 10, 11, true);
	assert_has(w, 0, 11, 20, false);
	assert_has(w, 0, 11, 21, true);
	assert_has(w, 0, 21, INT64_MAX, false);
	assert_has(w, 1, 0, INT64_MAX, false);
}

static void test_changed_balances_once_each(void **state)
{
	struct world *w = *state;
	static struct found found;
	bool more;

	deposit_to_many(w, 50);
	store_world_add(w, "x-1", 3, "DEPOSIT", "1");
	store_world_add(w, "x-2", 4, "DEPOSIT", "1");
	store_world_add(w, "x-3", 3, "DEPOSIT", "1");
	store_world_add(w, "x-4", 5, "SETTLE", "1"); /* refused: changes nothing */
	store_world_commit(w);
	found.count = 0;
	assert_ok(w->store->ops->changed_balances(
			  w->store, 0, 50, 2, note_balance, &found, &more, &w->err),
		w->err);
	assert_int_equal(found.count, 2);
	assert_false(more);
	for (size_t i = 0; i < 2; i++) {
		int64_t account = found.balances[i].key.account_id;

		assert_true(account == 3 || account == 4);
		assert_int_equal(found.balances[i].balance.version, account == 3 ? 3 : 2);
		assert_int_equal(found.balances[i].updated_ms, FIXTURE_TIME_MS);
		assert_int_equal(found.balances[i].partition, 0);
	}
	found.count = 0;
	assert_ok(w->store->ops->changed_balances(
			  w->store, 0, 0, 10, note_balance, &found, &more, &w->err),
		w->err);
	assert_int_equal(found.count, 10);
	assert_true(more);
	found.count = 0;
	assert_ok(w->store->ops->changed_balances(
			  w->store, 0, 54, 10, note_balance, &found, &more, &w->err),
		w->err);
	assert_int_equal(found.count, 0);
	assert_false(more);
}

static void test_all_balances_in_key_order(void **state)
{
	struct world *w = *state;
	static struct found found;
	struct balance_key after;
	size_t total = 0;

	deposit_to_many(w, 100);
	mysql_env_run(w->env, "INSERT INTO account_balances VALUES "
			      "(50, 'A', 1, 2, 3, 1, 4, '2026-01-02 03:04:05.678'), "
			      "(50, 'ZZ', 1, 2, 3, 1, 4, '2026-01-01')");
	do {
		found.count = 0;
		assert_ok(w->store->ops->scan_balances(w->store, total ? &after : NULL, 7,
				  note_balance, &found, &w->err),
			w->err);
		for (size_t i = 0; i < found.count; i++) {
			const struct balance_key *key = &found.balances[i].key;

			if (total++)
				assert_true(balance_key_compare(&after, key) < 0);
			after = *key;
			if (key->currency != fixture_currency("A"))
				continue;
			assert_amount_equal(found.balances[i].balance.frozen, amount_of("2"));
			assert_int_equal(found.balances[i].partition, 1);
			assert_int_equal(found.balances[i].updated_ms,
				FIXTURE_TIME_MS + 86400000 + 11045678);
		}
	} while (found.count == 7);
	assert_int_equal(total, 102);
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_world_setup, store_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_balances_are_read_in_chunks),
		TEST(test_impossible_balances_halt),
		TEST(test_transactions_are_found_by_id_and_account),
		TEST(test_the_newest_transactions_come_first),
		TEST(test_the_newest_row_of_either_table),
		TEST(test_rows_within_a_range),
		TEST(test_changed_balances_once_each),
		TEST(test_all_balances_in_key_order),
	};

	return cmocka_run_group_tests_name("store_reads_mysql", tests, NULL, NULL);
}
