/* See verify_sum.h. */
#include "verify_sum.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "digits.h"

typedef unsigned __int128 u128;

#define LIMBS 4 /* of 64 bits, the lowest first */

void verify_sum_add(struct verify_sum *sum, i128 amount)
{
	u128 before = sum->low;

	sum->low += (u128)amount;
	sum->high += (amount < 0 ? -1 : 0) + (sum->low < before);
}

void verify_sum_subtract(struct verify_sum *sum, i128 amount)
{
	verify_sum_add(sum, -amount);
}

bool verify_sum_equal(const struct verify_sum *a, const struct verify_sum *b)
{
	return a->low == b->low && a->high == b->high;
}

static struct verify_sum negated(const struct verify_sum *sum)
{
	u128 low = ~sum->low + 1;

	return (struct verify_sum){low, (__int128)(~(u128)sum->high + (low == 0))};
}

/* Divides by 10^18 in place and returns the rest. */
static uint64_t divide(uint64_t limbs[LIMBS])
{
	uint64_t one = (uint64_t)DECIMAL_ONE;
	uint64_t rest = 0;

	for (int i = LIMBS - 1; i >= 0; i--) {
		u128 part = (u128)rest << 64 | limbs[i];

		limbs[i] = (uint64_t)(part / one);
		rest = (uint64_t)(part % one);
	}
	return rest;
}

/* Exactly 18 digits. */
static void put_18(uint64_t number, char *text)
{
	digits_2((unsigned)(number / UINT64_C(10000000000000000)), text);
	digits_8((uint32_t)(number / UINT64_C(100000000) % UINT64_C(100000000)), text + 2);
	digits_8((uint32_t)(number % UINT64_C(100000000)), text + 10);
}

/* Groups of 18 digits, the highest first, without zeros in front. */
static char *put_units(uint64_t limbs[LIMBS], char *at)
{
	uint64_t groups[6];
	size_t count = 0;

	do {
		assert(count < sizeof(groups) / sizeof(groups[0]));
		groups[count++] = divide(limbs);
	} while (limbs[0] | limbs[1] | limbs[2] | limbs[3]);

	at += digits_u64(groups[--count], at);
	for (; count > 0; at += DECIMAL_DIGITS)
		put_18(groups[--count], at);
	return at;
}

static char *put_fraction(uint64_t fraction, char *at)
{
	if (fraction == 0)
		return at;
	*at++ = '.';
	put_18(fraction, at);
	at += DECIMAL_DIGITS;
	while (at[-1] == '0')
		at--;
	return at;
}

const char *verify_sum_text(const struct verify_sum *sum, char text[VERIFY_SUM_TEXT_MAX])
{
	struct verify_sum size = sum->high < 0 ? negated(sum) : *sum;
	uint64_t limbs[LIMBS] = {(uint64_t)size.low, (uint64_t)(size.low >> 64),
		(uint64_t)(u128)size.high, (uint64_t)((u128)size.high >> 64)};
	uint64_t fraction = divide(limbs);
	char *at = text;

	if (sum->high < 0)
		*at++ = '-';
	at = put_units(limbs, at);
	at = put_fraction(fraction, at);
	*at = '\0';
	return text;
}
