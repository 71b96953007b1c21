/* Currency codes in a word: every character, every length, and the order of the texts. */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "currency.h"

static void assert_round_trip(const char *text)
{
	char back[CURRENCY_LENGTH_MAX + 1];
	currency_t currency = currency_pack(text, strlen(text));

	assert_true(currency != CURRENCY_NONE);
	assert_int_equal(currency_text(currency, back), strlen(text));
	assert_string_equal(back, text);
}

static void test_round_trip(void **state)
{
	static const char *const codes[] = {"USDT", "USD", "A", "Z", "0", "9", "ZZZZZZZZZZ",
		"0000000000", "1INCH", "BTC", "ABCDEFGHIJ", "KLMNOPQRST", "UVWXYZ0123", "456789"};

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		assert_round_trip(codes[i]);
}

/* Every byte, alone and inside a code, is a character of codes or is refused. */
static void test_every_byte(void **state)
{
	for (int c = 0; c < 256; c++) {
		char text[3] = {'A', (char)c, 'B'};
		bool good = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		assert_int_equal(currency_pack(text, 3) != CURRENCY_NONE, good);
		assert_int_equal(currency_pack(text + 1, 1) != CURRENCY_NONE, good);
	}
}

static void test_lengths(void **state)
{
	assert_true(currency_pack("", 0) == CURRENCY_NONE);
	assert_true(currency_pack("ABCDEFGHIJK", 11) == CURRENCY_NONE);
	assert_true(currency_pack("ABCDEFGHIJ", 10) != CURRENCY_NONE);
	assert_true(currency_pack("USDT ", 5) == CURRENCY_NONE);
	assert_true(currency_pack("usdt", 4) == CURRENCY_NONE);
}

/* Balances are sorted by packed codes; the database sorts by the text. */
static void test_order(void **state)
{
	static const char alphabet[] = "0159AKZ";
	char texts[400][4];
	size_t count = 0;

	for (size_t length = 1; length <= 3; length++) {
		size_t all = length == 1 ? 7 : length == 2 ? 49 : 343;

		for (size_t n = 0; n < all; n++) {
			memset(texts[count], 0, sizeof(texts[count]));
			for (size_t i = 0, rest = n; i < length; i++, rest /= 7)
				texts[count][i] = alphabet[rest % 7];
			count++;
		}
	}
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < count; j++) {
			currency_t left = currency_pack(texts[i], strlen(texts[i]));
			currency_t right = currency_pack(texts[j], strlen(texts[j]));
			int order = strcmp(texts[i], texts[j]);

			assert_int_equal(
				(left > right) - (left < right), (order > 0) - (order < 0));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
