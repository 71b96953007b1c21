/* Integers as text, against the C library at every length. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "digits.h"

static void assert_written(uint64_t number)
{
	char expected[32];
	char text[32];
	size_t length;
	int expected_length = snprintf(
		expected, sizeof(expected), "%llu", (unsigned long long)number);

	memset(text, '#', sizeof(text));
	length = digits_u64(number, text);
	assert_int_equal(length, expected_length);
	assert_memory_equal(text, expected, length);
	assert_int_equal(text[DIGITS_U64_MAX], '#');
}

static void test_unsigned(void **state)
{
	assert_written(0);
	assert_written(UINT64_MAX);
	for (int n = 0; n < 20; n++)
		for (int near = -2; near <= 2; near++)
			assert_written(digits_power[n] + (uint64_t)(int64_t)near);
	for (int bit = 0; bit < 64; bit++)
		for (int near = -1; near <= 1; near++)
			assert_written((UINT64_C(1) << bit) + (uint64_t)(int64_t)near);
	for (uint64_t number = 0; number < 20000; number++)
		assert_written(number);
}

static void test_signed(void **state)
{
	static const int64_t numbers[] = {0, 1, -1, 10, -10, INT64_MAX, INT64_MIN, INT64_MIN + 1};
	char expected[32];
	char text[32];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		int length = snprintf(expected, sizeof(expected), "%lld", (long long)numbers[i]);

		assert_int_equal(digits_i64(numbers[i], text), length);
		assert_true(length <= DIGITS_U64_MAX);
		assert_memory_equal(text, expected, (size_t)length);
	}
}

static void test_fixed_widths(void **state)
{
	char expected[16];
	char text[16];

	for (unsigned number = 0; number < 10000; number++) {
		snprintf(expected, sizeof(expected), "%04u", number);
		digits_4(number, text);
		assert_memory_equal(text, expected, 4);
		digits_3(number % 1000, text);
		assert_memory_equal(text, expected + 1, 3);
	}
	for (uint32_t number = 0; number < 100000000; number += 99991) {
		snprintf(expected, sizeof(expected), "%08u", number);
		digits_8(number, text);
		assert_memory_equal(text, expected, 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unsigned),
		cmocka_unit_test(test_signed),
		cmocka_unit_test(test_fixed_widths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
