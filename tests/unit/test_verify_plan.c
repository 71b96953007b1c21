/* How partitions are grouped: every one once, in order, within the memory. */
#include "fixture.h"

#include "balances.h"
#include "splitmix.h"
#include "verify_chain.h"
#include "verify_plan.h"

#define MIB ((size_t)1 << 20)

static void test_all_at_once(void **state)
{
	const int64_t counts[4] = {1000, 0, 5000, 10};
	struct verify_step step = verify_plan(counts, 0, 3, 64 * MIB);

	assert_int_equal(step.first, 0);
	assert_int_equal(step.last, 3);
	assert_int_equal(step.slices, 1);
	assert_true(verify_plan_balances(&step, 64 * MIB) > 6010L * 9 / 8);
}

static void test_groups(void **state)
{
	const int64_t counts[4] = {700000, 300000, 300000, 10};
	struct verify_step step = verify_plan(counts, 0, 3, 64 * MIB);

	assert_int_equal(step.last, 0);
	step = verify_plan(counts, 1, 3, 64 * MIB);
	assert_int_equal(step.first, 1);
	assert_int_equal(step.last, 3);
}

static void test_slices(void **state)
{
	const int64_t counts[2] = {10, 10L * 1000 * 1000};
	struct verify_step step = verify_plan(counts, 0, 1, 64 * MIB);

	assert_int_equal(step.last, 0);
	assert_int_equal(step.slices, 1);
	step = verify_plan(counts, 1, 1, 64 * MIB);
	assert_int_equal(step.slices, 11);
	assert_true(step.slices * verify_plan_balances(&step, 64 * MIB) > 11UL * 1000 * 1000);
}

/* However little there is, it ends, and nobody divides by nought. */
static void test_no_memory(void **state)
{
	const int64_t counts[2] = {0, 100000};
	struct verify_step step = verify_plan(counts, 0, 1, 0);

	assert_int_equal(step.last, 0);
	step = verify_plan(counts, 1, 1, 0);
	assert_true(step.slices > 100);
	assert_true(verify_plan_balances(&step, 0) > 0);
}

static void test_random(void **state)
{
	struct splitmix random = {5};
	int64_t counts[50];

	for (int round = 0; round < 200; round++) {
		size_t room = (8 + splitmix_below(&random, 200)) * MIB;
		struct verify_step step;

		for (int p = 0; p < 50; p++)
			counts[p] = (int64_t)splitmix_below(
				&random, 2000000 >> splitmix_below(&random, 20));
		for (int32_t p = 0; p < 50; p = step.last + 1) {
			int64_t sum = 0;
			size_t bytes;

			step = verify_plan(counts, p, 49, room);
			assert_int_equal(step.first, p);
			assert_true(step.last >= p && step.last < 50);
			for (int32_t q = p; q <= step.last; q++)
				sum += counts[q];
			assert_true(step.slices == 1 || step.last == p);
			bytes = (size_t)(step.last - p + 1) * VERIFY_CHAIN_BYTES +
				(size_t)(sum / step.slices) * BALANCE_BYTES_MAX;
			assert_true(bytes <= room);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
