/* Zipf's law: the drawn frequencies are those of the formula, computed with the C library's pow. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <math.h>
#include <cmocka.h>

#include "zipf.h"

#define DRAWS 2000000

static const double exponents[] = {0, 0.25, 0.5, 0.99, 1, 1.01, 1.5, 2, 3.7, ZIPF_EXPONENT_MAX};

/*
 * Chi-square of the drawn ranks against the law, in standard deviations from what chance gives. The
 * ranks are put together until each group expects enough.
 */
static double deviation(const uint32_t *drawn, uint32_t count, double exponent)
{
	double total = 0;
	double chi = 0;
	double expected = 0;
	double seen = 0;
	double groups = 0;

	for (uint32_t rank = 1; rank <= count; rank++)
		total += pow(rank, -exponent);
	for (uint32_t rank = 1; rank <= count; rank++) {
		expected += DRAWS * pow(rank, -exponent) / total;
		seen += drawn[rank];
		if (expected >= 20) {
			chi += (seen - expected) * (seen - expected) / expected;
			groups++;
			expected = seen = 0;
		}
	}
	return groups < 2 ? 0 : (chi - (groups - 1)) / sqrt(2 * (groups - 1));
}

static void check(uint32_t count, double exponent)
{
	struct splitmix random = {.state = count};
	uint32_t *drawn = calloc((size_t)count + 1, sizeof(*drawn));
	struct zipf zipf;
	double far;

	zipf_init(&zipf, count, exponent);
	for (int i = 0; i < DRAWS; i++) {
		uint32_t rank = zipf_next(&zipf, &random);

		assert_in_range(rank, 1, count);
		drawn[rank]++;
	}
	far = deviation(drawn, count, exponent);
	if (far > 5)
		fail_msg("%u ranks, exponent %g: %.1f standard deviations", count, exponent, far);
	free(drawn);
}

static void test_frequencies(void **state)
{
	static const uint32_t counts[] = {1, 2, 3, 7, 8, 1000, 100000};

	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		for (size_t j = 0; j < sizeof(exponents) / sizeof(*exponents); j++)
			check(counts[i], exponents[j]);
}

/* The curve and the octaves' shares themselves, closer than draws could tell. */
static void test_tables(void **state)
{
	for (size_t j = 0; j < sizeof(exponents) / sizeof(*exponents); j++) {
		static struct zipf zipf;
		double sums[ZIPF_OCTAVES];
		double total = 0;

		zipf_init(&zipf, 3000000000, exponents[j]);
		assert_int_equal(zipf.octaves, 32);
		for (int i = 0; i <= ZIPF_STEPS; i++) {
			double exact = pow(1 + (double)i / ZIPF_STEPS, -exponents[j]) *
				       4294967296.0;

			assert_true(fabs((double)zipf.heights[i] - exact) < 2);
		}
		for (int k = 0; k < 32; k++) {
			double width = k < 31 ? ldexp(1, k) : 3000000001 - ldexp(1, 31);

			total += width * pow(2, -k * exponents[j]);
			sums[k] = total;
		}
		for (int k = 0; k < 32; k++)
			assert_true(
				fabs(ldexp((double)zipf.limits[k], -64) - sums[k] / total) < 1e-9);
		assert_true(zipf.limits[31] == UINT64_MAX);
	}
}

/* The largest counts: no overflow, and the far ranks do come. */
static void test_many_ranks(void **state)
{
	struct splitmix random = {.state = 1};
	static struct zipf zipf;
	uint32_t highest = 0;

	zipf_init(&zipf, UINT32_MAX, 0.5);
	for (int i = 0; i < DRAWS; i++) {
		uint32_t rank = zipf_next(&zipf, &random);

		assert_true(rank >= 1);
		highest = rank > highest ? rank : highest;
	}
	assert_true(highest > UINT32_MAX - 10000);
}

static void test_same_on_every_machine(void **state)
{
	static const uint32_t expected[] = {19003, 66, 28, 4935, 17, 3, 2, 53658, 2, 3, 69, 2016};
	struct splitmix random = {.state = 42};
	static struct zipf zipf;

	zipf_init(&zipf, 1000000, 1.0);
	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++)
		assert_int_equal(zipf_next(&zipf, &random), expected[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frequencies),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_many_ranks),
		cmocka_unit_test(test_same_on_every_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
