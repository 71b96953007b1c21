/* Sums beyond 128 bits, against sums of the decimal texts done by hand. */
#include "fixture.h"

#include "splitmix.h"
#include "verify_sum.h"

#define PLACES 60

/* A sum as 60 decimal digits, the lowest first; sign apart. */
struct digits {
	bool negative;
	unsigned char at[PLACES];
};

static struct digits digits_of(i128 amount)
{
	struct digits digits = {.negative = amount < 0};
	unsigned __int128 size = amount < 0 ? -(unsigned __int128)amount
					    : (unsigned __int128)amount;

	for (int i = 0; i < PLACES; i++, size /= 10)
		digits.at[i] = (unsigned char)(size % 10);
	return digits;
}

static int compare_sizes(const struct digits *a, const struct digits *b)
{
	for (int i = PLACES - 1; i >= 0; i--)
		if (a->at[i] != b->at[i])
			return a->at[i] < b->at[i] ? -1 : 1;
	return 0;
}

static struct digits add(const struct digits *a, const struct digits *b)
{
	const struct digits *large = compare_sizes(a, b) >= 0 ? a : b;
	const struct digits *small = large == a ? b : a;
	struct digits sum = {.negative = large->negative};
	int sign = a->negative == b->negative ? 1 : -1;
	int carry = 0;

	for (int i = 0; i < PLACES; i++) {
		int digit = large->at[i] + sign * small->at[i] + carry;

		carry = digit < 0 ? -1 : digit / 10;
		sum.at[i] = (unsigned char)((digit + 10) % 10);
	}
	assert_int_equal(carry, 0);
	return sum;
}

static void text_of(const struct digits *digits, char *text)
{
	int high = PLACES - 1, low = 0;

	while (high > DECIMAL_DIGITS && digits->at[high] == 0)
		high--;
	while (low < DECIMAL_DIGITS && digits->at[low] == 0)
		low++;
	if (digits->negative && (high > DECIMAL_DIGITS || low < DECIMAL_DIGITS || digits->at[high]))
		*text++ = '-';
	for (int i = high; i >= DECIMAL_DIGITS; i--)
		*text++ = (char)('0' + digits->at[i]);
	if (low < DECIMAL_DIGITS)
		*text++ = '.';
	for (int i = DECIMAL_DIGITS - 1; i >= low; i--)
		*text++ = (char)('0' + digits->at[i]);
	*text = '\0';
}

static void assert_sum(const struct verify_sum *sum, const char *expected)
{
	char text[VERIFY_SUM_TEXT_MAX];

	assert_string_equal(verify_sum_text(sum, text), expected);
}

static void test_small(void **state)
{
	struct verify_sum sum = {0};

	assert_sum(&sum, "0");
	verify_sum_add(&sum, amount_of("10.5"));
	assert_sum(&sum, "10.5");
	verify_sum_subtract(&sum, amount_of("10.500000000000000001"));
	assert_sum(&sum, "-0.000000000000000001");
	verify_sum_add(&sum, 1);
	assert_sum(&sum, "0");
	assert_true(verify_sum_equal(&sum, &(struct verify_sum){0}));
}

/* A million of the largest amounts is 2^140. */
static void test_large(void **state)
{
	struct verify_sum sum = {0}, back = {0};

	for (int i = 0; i < 1000000; i++)
		verify_sum_add(&sum, DECIMAL_MAX);
	assert_sum(&sum, "999999999999999999999999.999999999999");
	for (int i = 0; i < 1000000; i++)
		verify_sum_subtract(&back, DECIMAL_MAX);
	assert_sum(&back, "-999999999999999999999999.999999999999");
	assert_false(verify_sum_equal(&sum, &back));
	for (int i = 0; i < 2000000; i++)
		verify_sum_add(&back, DECIMAL_MAX);
	assert_true(verify_sum_equal(&sum, &back));
}

static void test_limbs(void **state)
{
	struct verify_sum minus = {0, -1}, one = {1, 0}, other = {1, 1};

	assert_sum(&minus, "-340282366920938463463.374607431768211456");
	assert_false(verify_sum_equal(&one, &other));
	other.low = 2;
	other.high = 0;
	assert_false(verify_sum_equal(&one, &other));
}

static void test_random(void **state)
{
	struct splitmix random = {7};
	struct verify_sum sum = {0};
	struct digits expected = digits_of(0);
	char text[VERIFY_SUM_TEXT_MAX];

	for (int i = 0; i < 200000; i++) {
		i128 amount = (i128)(((unsigned __int128)splitmix_next(&random) << 64 |
					     splitmix_next(&random)) >>
				     (8 + splitmix_below(&random, 110)));
		struct digits digits;

		if (amount > DECIMAL_MAX)
			amount = DECIMAL_MAX;
		if (splitmix_below(&random, 2))
			amount = -amount;
		digits = digits_of(amount);
		expected = add(&expected, &digits);
		verify_sum_add(&sum, amount);
		text_of(&expected, text);
		assert_sum(&sum, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_limbs),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
