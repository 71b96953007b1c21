/* The table of balances against a plain array, its memory, and what it may evict. */
#include "fixture.h"

#include "balances.h"

#define SEED 7

static struct balance_key key_of(int64_t account)
{
	return (struct balance_key){account, fixture_currency(account % 3 ? "USDT" : "BTC")};
}

static struct balance value_of(int64_t account, int64_t version)
{
	return (struct balance){account * DECIMAL_ONE, DECIMAL_MAX - account, version, account - 1};
}

static void assert_value(const struct balances *balances, int64_t account, int64_t version)
{
	balance_ref ref = balances_find(balances, key_of(account));
	struct balance expected = value_of(account, version);
	struct balance found;

	assert_int_not_equal(ref, BALANCE_NONE);
	balances_get(balances, ref, &found);
	assert_amount_equal(found.available, expected.available);
	assert_amount_equal(found.frozen, expected.frozen);
	assert_int_equal(found.version, version);
	assert_int_equal(found.last_offset, expected.last_offset);
	assert_int_equal(balances_key(balances, ref).account_id, account);
	assert_true(balances_key(balances, ref).currency == key_of(account).currency);
}

static void add(struct balances *balances, int64_t account)
{
	struct balance value = value_of(account, 1);
	balance_ref ref = balances_add(balances, key_of(account), &value, BALANCE_PIN_EVEN);

	balances_unpin(balances, ref, BALANCE_PIN_EVEN);
}

static void test_many(void **state)
{
	struct budget budget;
	struct balances *balances;

	budget_init(&budget, (size_t)1 << 30);
	balances = balances_create(&budget, 100, SEED);
	for (int64_t account = 1; account <= 300000; account++) {
		assert_int_equal(balances_find(balances, key_of(account)), BALANCE_NONE);
		add(balances, account);
	}
	assert_int_equal(balances_count(balances), 300000);
	for (int64_t account = 1; account <= 300000; account++)
		assert_value(balances, account, 1);
	assert_int_equal(balances_find(balances, key_of(300001)), BALANCE_NONE);

	balances_clear(balances);
	assert_int_equal(balances_count(balances), 0);
	assert_int_equal(balances_find(balances, key_of(1)), BALANCE_NONE);
	balances_destroy(balances);
	assert_int_equal(budget_used(&budget), 0);
}

/* The same account in two currencies is two balances. */
static void test_currencies_are_apart(void **state)
{
	struct budget budget;
	struct balances *balances;
	struct balance value = {.available = 5, .last_offset = -1};
	balance_ref refs[2];

	budget_init(&budget, (size_t)1 << 30);
	balances = balances_create(&budget, 100, SEED);
	refs[0] = balances_add(
		balances, (struct balance_key){9, fixture_currency("A")}, &value, BALANCE_PIN_EVEN);
	refs[1] = balances_add(
		balances, (struct balance_key){9, fixture_currency("B")}, &value, BALANCE_PIN_EVEN);
	assert_int_not_equal(refs[0], refs[1]);
	value.available = 6;
	balances_set(balances, refs[1], &value);
	balances_get(balances, refs[0], &value);
	assert_amount_equal(value.available, 5);
	balances_destroy(balances);
}

static void test_bytes_a_balance(void **state)
{
	struct budget budget;
	struct balances *balances;

	budget_init(&budget, (size_t)1 << 30);
	balances = balances_create(&budget, 100, SEED);
	for (int64_t account = 1; account <= 1000000; account++) {
		add(balances, account);
		if (account >= 100000 && account % 1000 == 0)
			assert_true(balances_bytes(balances) <=
				    BALANCE_BYTES_MAX * (size_t)account * 104 / 100);
	}
	assert_true(balances_bytes(balances) <= BALANCE_BYTES_MAX * (size_t)1000000);
	balances_destroy(balances);
}

/* Under a budget: it holds, the newest are there, what is pinned stays, nothing is garbled. */
static void test_eviction(void **state)
{
	struct budget budget;
	struct balances *balances;
	balance_ref pinned[50];
	size_t found = 0;

	budget_init(&budget, (size_t)4 << 20);
	balances = balances_create(&budget, 100, SEED);
	for (int64_t account = 1; account <= 50; account++) {
		struct balance value = value_of(account, 1);

		pinned[account - 1] = balances_add(
			balances, key_of(account), &value, BALANCE_PIN_ODD);
	}
	for (int64_t account = 51; account <= 500000; account++) {
		add(balances, account);
		assert_true(budget_used(&budget) <= budget.max_bytes);
	}
	for (int64_t account = 1; account <= 50; account++) {
		assert_int_equal(balances_find(balances, key_of(account)), pinned[account - 1]);
		assert_value(balances, account, 1);
	}
	for (int64_t account = 51; account <= 500000; account++) {
		if (balances_find(balances, key_of(account)) == BALANCE_NONE)
			continue;
		assert_value(balances, account, 1);
		found++;
	}
	assert_int_equal(found + 50, balances_count(balances));
	assert_true(found > 30000);
	assert_value(balances, 500000, 1);
	balances_destroy(balances);
	assert_int_equal(budget_used(&budget), 0);
}

/* What is not in memory is nowhere, until something was evicted or forgotten. */
static void test_complete(void **state)
{
	struct budget budget;
	struct balances *balances;

	budget_init(&budget, balances_bytes_min(100));
	balances = balances_create(&budget, 100, SEED);
	assert_false(balances_complete(balances));
	balances_begin_complete(balances);
	add(balances, 1);
	assert_true(balances_complete(balances));
	for (int64_t account = 2; balances_find(balances, key_of(1)) != BALANCE_NONE; account++) {
		assert_true(balances_complete(balances));
		add(balances, account);
	}
	assert_false(balances_complete(balances));

	balances_clear(balances);
	balances_begin_complete(balances);
	balances_clear(balances);
	assert_false(balances_complete(balances));
	balances_destroy(balances);
}

/* entries_min always fit, even when others have taken the whole budget. */
static void test_least_is_promised(void **state)
{
	struct budget budget;
	struct balances *balances;

	budget_init(&budget, balances_bytes_min(10000));
	balances = balances_create(&budget, 10000, SEED);
	assert_false(budget_take(&budget, 1));
	for (int64_t account = 1; account <= 9999; account++) {
		struct balance value = value_of(account, 1);

		balances_add(balances, key_of(account), &value, BALANCE_PIN_EVEN);
	}
	for (int64_t account = 1; account <= 9999; account++)
		assert_value(balances, account, 1);
	balances_destroy(balances);
}

/* Random adds, sets and evictions against an array that remembers what each key must have. */
static void test_against_array(void **state)
{
	enum { ACCOUNTS = 60000 };
	struct budget budget;
	struct balances *balances;
	int64_t *versions = calloc(ACCOUNTS + 1, sizeof *versions);
	uint64_t random = 99;

	assert_non_null(versions);
	budget_init(&budget, (size_t)2 << 20);
	balances = balances_create(&budget, 100, SEED);
	for (int i = 0; i < 400000; i++) {
		int64_t account = 1 + (int64_t)(fixture_random(&random) % ACCOUNTS);
		balance_ref ref = balances_find(balances, key_of(account));
		struct balance value;

		if (ref == BALANCE_NONE) {
			value = value_of(account, versions[account]);
			ref = balances_add(balances, key_of(account), &value, BALANCE_PIN_EVEN);
			balances_unpin(balances, ref, BALANCE_PIN_EVEN);
		}
		assert_value(balances, account, versions[account]);
		value = value_of(account, ++versions[account]);
		balances_set(balances, ref, &value);
	}
	free(versions);
	balances_destroy(balances);
}

static void test_crowded(void **state)
{
	struct budget budget;
	struct balances *balances;
	struct balance value = {.last_offset = -1};
	char code[11];

	budget_init(&budget, (size_t)1 << 30);
	balances = balances_create(&budget, 100, SEED);
	for (int i = 0; i < 70000; i++) {
		snprintf(code, sizeof code, "C%d", i);
		balances_add(balances, (struct balance_key){1, fixture_currency(code)}, &value,
			BALANCE_PIN_EVEN);
		if (i == 60000)
			assert_false(balances_crowded(balances));
	}
	assert_true(balances_crowded(balances));
	balances_clear(balances);
	assert_false(balances_crowded(balances));
	balances_destroy(balances);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_currencies_are_apart),
		cmocka_unit_test(test_bytes_a_balance),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_complete),
		cmocka_unit_test(test_least_is_promised),
		cmocka_unit_test(test_against_array),
		cmocka_unit_test(test_crowded),
	};

	return cmocka_run_group_tests_name("balances", tests, NULL, NULL);
}
