/* The order of touched balances, against qsort. */
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
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
