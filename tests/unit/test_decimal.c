/*
 * Amounts: what is read, what is refused and why, and that what is written is read back.  Sums over
 * a million random pairs are compared with another implementation in decimal_oracle.py.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amounts.h"

/* 10^n, for n up to 36. */
static i128 power(int n)
{
	i128 result = 1;

	while (n-- > 0)
		result *= 10;
	return result;
}

static void assert_parses(const char *text, size_t length, i128 expected)
{
	i128 amount = -1;
	enum decimal_error error = decimal_parse_amount(text, length, &amount);

	if (error != DECIMAL_OK)
		fail_msg("\"%.60s\" is refused: %d", text, error);
	assert_amount_equal(amount, expected);
}

static void assert_refused(const char *text, size_t length, enum decimal_error expected)
{
	i128 amount = -1;
	enum decimal_error error = decimal_parse_amount(text, length, &amount);

	if (error != expected)
		fail_msg("\"%.60s\": %d, not %d", text, error, expected);
	assert_amount_equal(amount, -1); /* untouched */
}

static void test_reads_amounts(void **state)
{
	static const struct {
		const char *text;
		const char *amount;
	} cases[] = {
		{"1", "1"}, {"10.5", "10.5"}, {"10.50", "10.5"}, {"0.1", "0.1"},
		{"0.000000000000000001", "0.000000000000000001"},
		{"999999999999999999", "999999999999999999"},
		{"999999999999999999.999999999999999999", "999999999999999999.999999999999999999"},
		{"999999999999999999.9999999999999999990", "999999999999999999.999999999999999999"},
		{"1e3", "1000"}, {"1E3", "1000"}, {"1e+3", "1000"}, {"1e03", "1000"},
		{"1e-3", "0.001"}, {"1e17", "100000000000000000"},
		{"1e-18", "0.000000000000000001"}, {"10e-19", "0.000000000000000001"},
		{"0.1e18", "100000000000000000"}, {"0.01e19", "100000000000000000"},
		{"1.0000000000000000000", "1"},
		{"1.00000000000000000000000000000000000000000000000000", "1"}, {"1.5e0", "1.5"},
		{"1.5e-0", "1.5"}, {"123456789.987654321e-9", "0.123456789987654321"},
		{"123456789.987654321e9", "123456789987654321"},
		{"0.000000000000000000000000000001e30", "1"},
		{"1000000000000000000000000000000e-30", "1"},
		{"18.446744073709551616", "18.446744073709551616"}, /* 2^64 * 10^-18 */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_parses(cases[i].text, strlen(cases[i].text), amount_of(cases[i].amount));
}

static void test_refuses_what_is_no_number(void **state)
{
	static const char *const texts[] = {"", " ", " 1", "1 ", "+1", "-", "--1", "01", "00",
		"00.5", ".5", "1.", "1.e3", "-.5", "1e", "1e+", "1e-", "1e+-3", "1e3.5", "1e 3",
		"e3", ".", "1,5", "1_000", "0x10", "1f", "NaN", "nan", "Infinity", "inf", "1.2.3",
		"1e1e1", "١", "1\n", "- 1", "-01", "1.5a", "999999999999999999a",
		"0.000000000000000001a", "12345678901234567890x", "1/2", "1:2"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_refused(texts[i], strlen(texts[i]), DECIMAL_SYNTAX);
	assert_refused("1\0", 2, DECIMAL_SYNTAX);
	assert_refused("\0", 1, DECIMAL_SYNTAX);
}

static void test_refuses_what_is_out_of_range(void **state)
{
	static const char *const texts[] = {"0", "-0", "0.0", "0e5", "0e-5", "0e99999999999",
		"0e-99999999999", "0.000000000000000000000000", "-1", "-0.5", "-1e-19",
		"-1e99999999999", "1000000000000000000", "1e18", "10e17", "0.1e19", "1e19",
		"1e99999999999999999999999", "1000000000000000000.0000000000000000001",
		"9999999999999999999"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_refused(texts[i], strlen(texts[i]), DECIMAL_RANGE);
}

static void test_refuses_finer_fractions(void **state)
{
	static const char *const texts[] = {"1e-19", "0.1e-18", "0.0000000000000000001",
		"1.0000000000000000001", "999999999999999999.9999999999999999999", "15e-19",
		"1e-99999999999999999999999", "123456789012345678901e-21"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_refused(texts[i], strlen(texts[i]), DECIMAL_FRACTION);
}

/* One digit at every place that an amount has, and one beyond on either side. */
static void test_every_place(void **state)
{
	char text[64];

	for (int place = -19; place <= 18; place++) {
		int length = snprintf(text, sizeof(text), "7e%d", place);

		if (place < -18)
			assert_refused(text, (size_t)length, DECIMAL_FRACTION);
		else if (place > 17)
			assert_refused(text, (size_t)length, DECIMAL_RANGE);
		else
			assert_parses(text, (size_t)length, 7 * power(place + 18));
	}
}

/* Texts as long as a message can be, read by their digits whatever the exponent's size. */
static void test_long_texts(void **state)
{
	enum { LENGTH = 4096 };
	char *text = malloc(LENGTH + 32);
	int tail;

	memset(text, '0', LENGTH);
	text[0] = '1';
	tail = snprintf(text + LENGTH, 32, "e-%d", LENGTH - 1);
	assert_parses(text, (size_t)(LENGTH + tail), DECIMAL_ONE);
	tail = snprintf(text + LENGTH, 32, "e-%d", LENGTH - 1 + 18);
	assert_parses(text, (size_t)(LENGTH + tail), 1);
	tail = snprintf(text + LENGTH, 32, "e-%d", LENGTH - 1 + 19);
	assert_refused(text, (size_t)(LENGTH + tail), DECIMAL_FRACTION);
	tail = snprintf(text + LENGTH, 32, "e-%d", LENGTH - 1 - 18);
	assert_refused(text, (size_t)(LENGTH + tail), DECIMAL_RANGE);

	text[0] = '0';
	text[1] = '.';
	text[LENGTH - 1] = '1'; /* at place -(LENGTH - 2) */
	tail = snprintf(text + LENGTH, 32, "e%d", LENGTH - 2);
	assert_parses(text, (size_t)(LENGTH + tail), DECIMAL_ONE);
	assert_refused(text, LENGTH, DECIMAL_FRACTION);
	text[LENGTH - 1] = '0';
	assert_refused(text, LENGTH, DECIMAL_RANGE);
	text[2] = '1';
	assert_parses(text, LENGTH, DECIMAL_ONE / 10);

	memset(text, '0', LENGTH); /* an exponent with very many zeros before it */
	text[1] = 'e';
	text[0] = '3';
	text[LENGTH - 1] = '2';
	assert_parses(text, LENGTH, 300 * DECIMAL_ONE);
	free(text);
}

static void test_reads_stored_values(void **state)
{
	static const struct {
		const char *text;
		enum decimal_error error;
		const char *written;
	} cases[] = {
		{"0.000000000000000000", DECIMAL_OK, "0"},
		{"10.500000000000000000", DECIMAL_OK, "10.5"},
		{"-10.500000000000000000", DECIMAL_OK, "-10.5"},
		{"-0.000000000000000000", DECIMAL_OK, "0"},
		{"7", DECIMAL_OK, "7"},
		{"007.10", DECIMAL_OK, "7.1"},
		{"999999999999999999.999999999999999999", DECIMAL_OK,
			"999999999999999999.999999999999999999"},
		{"-999999999999999999.999999999999999999", DECIMAL_OK,
			"-999999999999999999.999999999999999999"},
		{"", DECIMAL_SYNTAX, NULL},
		{"-", DECIMAL_SYNTAX, NULL},
		{"+1", DECIMAL_SYNTAX, NULL},
		{"1e3", DECIMAL_SYNTAX, NULL},
		{"1.", DECIMAL_SYNTAX, NULL},
		{".5", DECIMAL_SYNTAX, NULL},
		{"1.5 ", DECIMAL_SYNTAX, NULL},
		{"1.5.5", DECIMAL_SYNTAX, NULL},
		{"--1", DECIMAL_SYNTAX, NULL},
		{"NULL", DECIMAL_SYNTAX, NULL},
		{"1234567890123456789", DECIMAL_RANGE, NULL},
		{"1234567890123456789.5", DECIMAL_RANGE, NULL},
		{"0.1234567890123456789", DECIMAL_FRACTION, NULL},
	};
	char text[DECIMAL_TEXT_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		i128 amount = -77;

		assert_int_equal(
			decimal_parse_stored(cases[i].text, strlen(cases[i].text), &amount),
			cases[i].error);
		if (cases[i].written)
			assert_string_equal(decimal_text(amount, text), cases[i].written);
		else
			assert_amount_equal(amount, -77);
	}
}

static void assert_round_trip(i128 amount)
{
	char text[DECIMAL_TEXT_MAX + 8];
	size_t length;
	i128 back;

	memset(text, '#', sizeof(text));
	length = decimal_format(amount, text);
	assert_true(length < DECIMAL_TEXT_MAX);
	assert_memory_equal(text + DECIMAL_TEXT_MAX, "########", 8);
	assert_null(memchr(text, '\0', sizeof(text)));
	assert_int_equal(decimal_parse_stored(text, length, &back), DECIMAL_OK);
	assert_amount_equal(back, amount);
	assert_true(!memchr(text, '.', length) || text[length - 1] != '0');
	if (amount > 0)
		assert_parses(text, length, amount);
}

/* Around every power of ten and of two that fits, with both signs. */
static void test_writes_what_it_reads(void **state)
{
	for (int n = 0; n <= 36; n++) {
		for (int near = -2; near <= 2; near++) {
			i128 amount = power(n) + near;

			if (amount > DECIMAL_MAX)
				continue;
			assert_round_trip(amount);
			assert_round_trip(-amount);
		}
	}
	for (int bit = 0; bit < 119; bit++) {
		for (int near = -1; near <= 1; near++) {
			assert_round_trip(((i128)1 << bit) + near);
			assert_round_trip(-((i128)1 << bit) - near);
		}
	}
	assert_round_trip(DECIMAL_MAX);
	assert_round_trip(-DECIMAL_MAX);
}

static void test_writes_plain_decimals(void **state)
{
	char text[DECIMAL_TEXT_MAX];

	assert_string_equal(decimal_text(0, text), "0");
	assert_string_equal(decimal_text(1, text), "0.000000000000000001");
	assert_string_equal(decimal_text(-1, text), "-0.000000000000000001");
	assert_string_equal(decimal_text(DECIMAL_ONE, text), "1");
	assert_string_equal(decimal_text(-3 * DECIMAL_ONE, text), "-3");
	assert_string_equal(decimal_text(DECIMAL_ONE * 21 / 2, text), "10.5");
	assert_string_equal(decimal_text(DECIMAL_ONE / 100000000, text), "0.00000001");
	assert_string_equal(decimal_text(DECIMAL_ONE / 1000000000, text), "0.000000001");
	assert_string_equal(decimal_text(DECIMAL_ONE + 10, text), "1.00000000000000001");
	assert_string_equal(
		decimal_text(-DECIMAL_MAX, text), "-999999999999999999.999999999999999999");
	assert_true(strlen(text) + 1 <= DECIMAL_TEXT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_amounts),
		cmocka_unit_test(test_refuses_what_is_no_number),
		cmocka_unit_test(test_refuses_what_is_out_of_range),
		cmocka_unit_test(test_refuses_finer_fractions),
		cmocka_unit_test(test_every_place),
		cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_reads_stored_values),
		cmocka_unit_test(test_writes_what_it_reads),
		cmocka_unit_test(test_writes_plain_decimals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
