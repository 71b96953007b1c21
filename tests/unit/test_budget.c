/* The budget: exact at its limit, from one thread and from several. */
#include "fixture.h"

#include <pthread.h>

#include "budget.h"

static void test_limit(void **state)
{
	struct budget budget;

	budget_init(&budget, 100);
	assert_true(budget_take(&budget, 60));
	assert_false(budget_take(&budget, 41));
	assert_true(budget_take(&budget, 40));
	assert_false(budget_take(&budget, 1));
	assert_true(budget_take(&budget, 0));
	budget_give(&budget, 30);
	assert_int_equal(budget_used(&budget), 70);
	assert_false(budget_take(&budget, SIZE_MAX));
	assert_true(budget_take(&budget, 30));
}

/* What was promised is taken beyond the limit, and then nothing else fits. */
static void test_force(void **state)
{
	struct budget budget;

	budget_init(&budget, 100);
	budget_force(&budget, 150);
	assert_int_equal(budget_used(&budget), 150);
	assert_false(budget_take(&budget, 1));
	assert_true(budget_take(&budget, 0));
	budget_give(&budget, 150);
	assert_true(budget_take(&budget, 100));
}

static void *take_and_give(void *argument)
{
	struct budget *budget = argument;

	for (int i = 0; i < 200000; i++) {
		if (!budget_take(budget, 7))
			continue;
		if (budget_used(budget) > 20)
			abort();
		budget_give(budget, 7);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct budget budget;
	pthread_t threads[4];

	budget_init(&budget, 20);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &budget), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(budget_used(&budget), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_force),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
