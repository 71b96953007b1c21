/* The order of touched balances and of keys, against qsort. */
#include "fixture.h"

#include <stdlib.h>

#include "order.h"
#include "splitmix.h"

#define COUNT_MAX 3000

static struct touched touched[COUNT_MAX];
static struct order_item scratch[2 * COUNT_MAX];
static uint32_t order[COUNT_MAX];
static uint32_t expected[COUNT_MAX];

static int compare(const void *a, const void *b)
{
	return balance_key_compare(
		&touched[*(const uint32_t *)a].key, &touched[*(const uint32_t *)b].key);
}

static void assert_ordered(size_t count)
{
	for (uint32_t i = 0; i < count; i++)
		expected[i] = i;
	qsort(expected, count, sizeof expected[0], compare);
	order_touched(touched, count, scratch, order);
	assert_memory_equal(order, expected, count * sizeof order[0]);
}

static bool is_known(size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (balance_key_compare(&touched[i].key, &touched[count].key) == 0)
			return true;
	return false;
}

/* Ids of every length, few enough accounts that many have several currencies. */
static void test_against_qsort(void **state)
{
	static const char *const codes[] = {"USDT", "BTC", "A", "0", "ZZZZZZZZZZ", "ETH"};
	struct splitmix random = {.state = 1};

	for (int bits = 1; bits <= 63; bits++) {
		size_t count = 0;

		for (int tries = 0; tries < 400; tries++) {
			uint64_t id = splitmix_next(&random) >> (64 - bits);

			touched[count].key = (struct balance_key){id == 0 ? 1 : (int64_t)id,
				fixture_currency(codes[splitmix_below(&random, 6)])};
			count += !is_known(count);
		}
		assert_ordered(count);
	}
}

static int compare_keys(const void *a, const void *b)
{
	return balance_key_compare(a, b);
}

/* The same keys, many of them more than once: sorted, each once. */
static void test_keys_against_qsort(void **state)
{
	static const char *const codes[] = {"USDT", "BTC", "A", "0", "ZZZZZZZZZZ", "ETH"};
	static struct balance_key keys[COUNT_MAX], sorted[COUNT_MAX];
	struct splitmix random = {.state = 2};

	for (int bits = 1; bits <= 63; bits++) {
		size_t count = splitmix_below(&random, 400), distinct = 0;

		for (size_t i = 0; i < count; i++) {
			uint64_t id = splitmix_next(&random) >> (64 - bits);

			keys[i] = (struct balance_key){id == 0 ? 1 : (int64_t)id,
				fixture_currency(codes[splitmix_below(&random, 6)])};
			if (i > 0 && splitmix_below(&random, 3) == 0)
				keys[i] = keys[splitmix_below(&random, i)];
		}
		memcpy(sorted, keys, count * sizeof keys[0]);
		qsort(sorted, count, sizeof sorted[0], compare_keys);
		for (size_t i = 0; i < count; i++)
			if (i == 0 || balance_key_compare(&sorted[i], &sorted[distinct - 1]) != 0)
				sorted[distinct++] = sorted[i];
		assert_int_equal(order_keys(keys, count, scratch), distinct);
		assert_memory_equal(keys, sorted, distinct * sizeof keys[0]);
	}
}

static void test_ends(void **state)
{
	order[0] = 7;
	assert_ordered(0);
	touched[0].key = (struct balance_key){INT64_MAX, fixture_currency("USD")};
	assert_ordered(1);
	touched[1].key = (struct balance_key){1, fixture_currency("USD")};
	assert_ordered(2);
	for (size_t i = 0; i < COUNT_MAX; i++)
		touched[i].key = (struct balance_key){
			(int64_t)(COUNT_MAX - i), fixture_currency("USD")};
	assert_ordered(COUNT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_qsort),
		cmocka_unit_test(test_keys_against_qsort),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
