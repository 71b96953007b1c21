/* The layout of memory: the defaults fit every usual machine, and what does not fit is said. */
#include "fixture.h"

#include <errno.h>

#include "memory_plan.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static const struct partition_config wanted = {
	.batch_max_events = 20000,
	.batch_max_bytes = 16 * MIB,
	.dedupe_ids = 1000000,
};

static int plan(size_t max_bytes, int32_t partitions, struct memory_plan *ret, struct error *err)
{
	return memory_plan(&wanted, max_bytes, 32 * MIB, 64 * MIB, partitions, ret, err);
}

static void test_defaults_fit(void **state)
{
	struct memory_plan result;
	struct error err;

	assert_int_equal(plan(6 * GIB, 4, &result, &err), 0);
	assert_false(result.lowered);
	assert_int_equal(result.dedupe_ids, 1000000);
	assert_true(result.fixed_bytes + result.balances_bytes == 6 * GIB);
	assert_int_equal(plan(6 * GIB, 64, &result, &err), 0);
	assert_true(result.lowered);
	assert_true(result.fixed_bytes <= 3 * GIB);
	assert_true(result.dedupe_ids >= 100000 && result.fetch_bytes >= 4 * MIB);
	assert_true(result.batch_max_events >= 5000);
}

/* Hundreds of partitions in the quarter of a machine of 24 GiB: half is left for balances, and a
 * batch is still worth a transaction. */
static void test_hundreds_of_partitions_fit(void **state)
{
	struct memory_plan result;
	struct error err;

	assert_int_equal(plan(6 * GIB, 512, &result, &err), 0);
	assert_true(result.lowered);
	assert_true(result.fixed_bytes <= 3 * GIB);
	assert_true(result.balances_bytes >= 3 * GIB);
	assert_true(result.batch_max_events >= 1000 && result.batch_max_bytes >= MIB);
	assert_true(result.dedupe_ids >= 4 * result.batch_max_events);
	assert_true(result.fetch_bytes >= MIB);
}

/* What the plan says is what a partition takes. */
static void test_the_plan_is_kept(void **state)
{
	struct partition_config config = wanted;
	struct memory_plan result;
	struct error err;

	assert_int_equal(plan(6 * GIB, 512, &result, &err), 0);
	config.dedupe_ids = result.dedupe_ids;
	config.batch_max_events = result.batch_max_events;
	config.batch_max_bytes = result.batch_max_bytes;
	assert_int_equal(partition_bytes_min(&config) + result.fetch_bytes, result.partition_bytes);
}

/* Prefetch that is too much for half of the memory is halved until it fits, and no further. */
static void test_prefetch_is_lowered(void **state)
{
	struct partition_config small = {
		.batch_max_events = 100, .batch_max_bytes = MIB, .dedupe_ids = 400};
	struct memory_plan result;
	struct error err;

	assert_int_equal(memory_plan(&small, 256 * MIB, GIB, 0, 1, &result, &err), 0);
	assert_true(result.lowered);
	assert_int_equal(result.fetch_bytes, 64 * MIB);
	assert_true(result.fixed_bytes <= 128 * MIB);
	assert_int_equal(memory_plan(&small, 256 * MIB, 64 * MIB, 0, 1, &result, &err), 0);
	assert_false(result.lowered);
	assert_int_equal(result.fetch_bytes, 64 * MIB);
}

static void test_too_little_is_refused(void **state)
{
	struct memory_plan result;
	struct error err;

	assert_int_equal(plan(256 * MIB, 64, &result, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "consumer.memory_max is 256 MiB"));
	assert_non_null(strstr(err.text, "64 partitions"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_fit),
		cmocka_unit_test(test_hundreds_of_partitions_fit),
		cmocka_unit_test(test_the_plan_is_kept),
		cmocka_unit_test(test_prefetch_is_lowered),
		cmocka_unit_test(test_too_little_is_refused),
	};

	return cmocka_run_group_tests_name("memory_plan", tests, NULL, NULL);
}
