/* The rows that wait, against a plain list. */
#include "fixture.h"

#include "splitmix.h"
#include "verify_waiting.h"

#define ROWS 3000

struct plain {
	balance_ref ref;
	int64_t offset, prev_offset;
	bool there;
};

static size_t expect_take(struct plain *list, size_t count, balance_ref ref, int64_t prev_offset)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].there && list[i].ref == ref && list[i].prev_offset == prev_offset)
			return i;
	return count;
}

static bool expect_has(const struct plain *list, size_t count, balance_ref ref, int64_t offset)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].there && list[i].ref == ref && list[i].offset == offset)
			return true;
	return false;
}

static void assert_order(
	const struct verify_waiting *waiting, const struct plain *list, size_t count)
{
	const struct verify_row *row;
	balance_ref ref;
	size_t cursor = 0, at = 0, seen = 0;

	for (; (row = verify_waiting_next(waiting, &cursor, &ref)); cursor++, seen++, at++) {
		while (at < count && !list[at].there)
			at++;
		assert_true(at < count);
		assert_int_equal(row->offset, list[at].offset);
		assert_int_equal(ref, list[at].ref);
	}
	assert_int_equal(seen, waiting->count);
}

static void test_random(void **state)
{
	struct plain *list = calloc(ROWS, sizeof *list);
	struct splitmix random = {11};
	struct verify_waiting waiting;
	size_t count = 0, there = 0;

	verify_waiting_init(&waiting);
	assert_false(verify_waiting_has(&waiting, 0, 0));
	while (count < ROWS) {
		balance_ref ref = (balance_ref)splitmix_below(&random, 5);
		int64_t other = (int64_t)splitmix_below(&random, 3UL * ROWS);
		struct verify_row row = {.offset = (int64_t)count * 3, .prev_offset = other};
		struct verify_row taken;
		size_t expected;

		assert_int_equal(verify_waiting_has(&waiting, ref, other),
			expect_has(list, count, ref, other));
		/* Mostly what is there, sometimes nothing; often enough that it shrinks at times.
		 */
		if (count > 0 && splitmix_below(&random, 5) < 3)
			other = list[splitmix_below(&random, count)].prev_offset;
		expected = expect_take(list, count, ref, other);
		if (verify_waiting_take(&waiting, ref, other, &taken)) {
			assert_true(expected < count);
			assert_int_equal(taken.offset, list[expected].offset);
			list[expected].there = false;
			there--;
		} else {
			assert_int_equal(expected, count);
		}
		if (splitmix_below(&random, 3) == 0)
			continue;
		verify_waiting_add(&waiting, ref, &row);
		list[count++] = (struct plain){ref, row.offset, row.prev_offset, true};
		there++;
		assert_int_equal(waiting.count, there);
		if (count % 100 == 0)
			assert_order(&waiting, list, count);
	}
	verify_waiting_finish(&waiting);
	free(list);
}

static void test_drop(void **state)
{
	struct verify_waiting waiting;
	struct verify_row row = {.prev_offset = 9};
	balance_ref ref;
	size_t cursor = 0;

	verify_waiting_init(&waiting);
	for (row.offset = 0; row.offset < 4; row.offset++)
		verify_waiting_add(&waiting, 1, &row);
	for (; verify_waiting_next(&waiting, &cursor, &ref); cursor++)
		if (cursor != 2)
			verify_waiting_drop(&waiting, cursor);
	assert_int_equal(waiting.count, 1);
	assert_true(verify_waiting_take(&waiting, 1, 9, &row));
	assert_int_equal(row.offset, 2);
	assert_false(verify_waiting_take(&waiting, 1, 9, &row));
	verify_waiting_finish(&waiting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
