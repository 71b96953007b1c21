/*
 * See decimal.h.
 *
 * An amount is kept while it is read as two 64-bit halves: the units and the billionths of
 * billionths, each below 10^18.  What events and databases send nearly always is plain digits with
 * at most 18 on each side; read_plain takes those in one pass.  All else goes by the places of its
 * first and last digit that is not zero.
 */
#include "decimal.h"

#include <assert.h>
#include <stdbool.h>

#include "digits.h"

typedef unsigned __int128 u128;

/* Beyond this an exponent's size no longer matters: no text in memory has that many digits. */
#define EXPONENT_LIMIT INT64_C(100000000000000000)

static inline bool is_digit(char c)
{
	return (unsigned char)(c - '0') < 10;
}

/* Plain digits, at most 18 of them, from *at to before end; returns their number. */
static inline size_t read_digits(const char **at, const char *end, uint64_t *ret_number)
{
	const char *begin = *at;
	const char *stop = end - begin > DECIMAL_DIGITS ? begin + DECIMAL_DIGITS : end;
	const char *next = begin;
	uint64_t number = 0;

	for (; next < stop && is_digit(*next); next++)
		number = number * 10 + (uint64_t)(*next - '0');
	*at = next;
	*ret_number = number;
	return (size_t)(next - begin);
}

/*
 * Digits with an optional fraction, at most 18 on each side, over the whole text.  Returns the
 * number of digits before the point, 0 if the text is anything else.
 */
static inline size_t read_plain(const char *text, const char *end, i128 *ret_amount)
{
	const char *at = text;
	uint64_t units;
	uint64_t fraction = 0;
	size_t whole = read_digits(&at, end, &units);
	size_t places;

	if (!whole)
		return 0;
	if (at < end) {
		if (*at++ != '.')
			return 0;
		places = read_digits(&at, end, &fraction);
		if (!places || at < end)
			return 0;
		fraction *= digits_power[DECIMAL_DIGITS - places];
	}
	*ret_amount = units * DECIMAL_ONE + fraction;
	return whole;
}

/* A number of JSON's grammar in its parts. */
struct number {
	bool negative;
	const char *whole; /* digits before the point */
	size_t whole_length;
	const char *fraction; /* digits after it */
	size_t fraction_length;
	int64_t exponent; /* within EXPONENT_LIMIT */
};

static size_t count_digits(const char *at, const char *end)
{
	const char *begin = at;

	while (at < end && is_digit(*at))
		at++;
	return (size_t)(at - begin);
}

/* The exponent after its 'e', to the end of the text. */
static bool read_exponent(const char *at, const char *end, int64_t *ret_exponent)
{
	bool negative = at < end && *at == '-';
	int64_t exponent = 0;

	if (at < end && (*at == '-' || *at == '+'))
		at++;
	if (at == end || count_digits(at, end) != (size_t)(end - at))
		return false;
	for (; at < end; at++) {
		exponent = exponent * 10 + (*at - '0');
		if (exponent > EXPONENT_LIMIT)
			exponent = EXPONENT_LIMIT;
	}
	*ret_exponent = negative ? -exponent : exponent;
	return true;
}

/* JSON's number grammar over the whole text. */
static bool read_number(const char *at, const char *end, struct number *ret_number)
{
	*ret_number = (struct number){0};
	ret_number->negative = at < end && *at == '-';
	if (ret_number->negative)
		at++;
	ret_number->whole = at;
	ret_number->whole_length = count_digits(at, end);
	if (!ret_number->whole_length || (*at == '0' && ret_number->whole_length > 1))
		return false;
	at += ret_number->whole_length;
	ret_number->fraction = at;
	if (at < end && *at == '.') {
		ret_number->fraction = ++at;
		ret_number->fraction_length = count_digits(at, end);
		if (!ret_number->fraction_length)
			return false;
		at += ret_number->fraction_length;
	}
	if (at == end)
		return true;
	return (*at == 'e' || *at == 'E') && read_exponent(at + 1, end, &ret_number->exponent);
}

static char digit_at(const struct number *number, size_t index)
{
	return index < number->whole_length ? number->whole[index]
					    : number->fraction[index - number->whole_length];
}

/*
 * The value of a number whose digits `first` to `last` are all that counts (neither of these two is
 * zero).  A digit's place is the power of ten that it stands for: 17 to 0 are units, -1 to -18 the
 * fraction.
 */
static enum decimal_error number_value(
	const struct number *number, size_t first, size_t last, i128 *ret_amount)
{
	int64_t place_0 = (int64_t)number->whole_length - 1 + number->exponent;
	int64_t place = place_0 - (int64_t)first;
	uint64_t half[2] = {0, 0}; /* fraction, units */

	if (place >= DECIMAL_DIGITS)
		return DECIMAL_RANGE;
	if (place_0 - (int64_t)last < -DECIMAL_DIGITS)
		return DECIMAL_FRACTION;
	for (size_t i = first; i <= last; i++, place--) {
		uint64_t digit = (uint64_t)(digit_at(number, i) - '0');

		half[place >= 0] += digit *
				    digits_power[place >= 0 ? place : DECIMAL_DIGITS + place];
	}
	*ret_amount = half[1] * DECIMAL_ONE + half[0];
	return DECIMAL_OK;
}

/* Any number of JSON's grammar. */
static enum decimal_error parse_any(const char *text, size_t length, i128 *ret_amount)
{
	struct number number;
	size_t first = 0;
	size_t last;

	if (!read_number(text, text + length, &number))
		return DECIMAL_SYNTAX;
	last = number.whole_length + number.fraction_length - 1;
	while (first < last && digit_at(&number, first) == '0')
		first++;
	while (last > first && digit_at(&number, last) == '0')
		last--;
	if (number.negative || digit_at(&number, first) == '0')
		return DECIMAL_RANGE;
	return number_value(&number, first, last, ret_amount);
}

enum decimal_error decimal_parse_amount(const char *text, size_t length, i128 *ret_amount)
{
	i128 amount;
	size_t whole = read_plain(text, text + length, &amount);

	if (!whole || (whole > 1 && *text == '0') || amount == 0)
		return parse_any(text, length, ret_amount);
	*ret_amount = amount;
	return DECIMAL_OK;
}

/* Why read_plain would not have a stored value. */
static enum decimal_error refuse_stored(const char *at, const char *end)
{
	size_t whole = count_digits(at, end);
	size_t places;

	if (!whole)
		return DECIMAL_SYNTAX;
	at += whole;
	if (at < end) {
		if (*at++ != '.')
			return DECIMAL_SYNTAX;
		places = count_digits(at, end);
		if (!places || at + places < end)
			return DECIMAL_SYNTAX;
	}
	return whole > DECIMAL_DIGITS ? DECIMAL_RANGE : DECIMAL_FRACTION;
}

enum decimal_error decimal_parse_stored(const char *text, size_t length, i128 *ret_amount)
{
	const char *end = text + length;
	const char *at = text;
	i128 amount;

	if (at < end && *at == '-')
		at++;
	if (!read_plain(at, end, &amount))
		return refuse_stored(at, end);
	*ret_amount = at > text ? -amount : amount;
	return DECIMAL_OK;
}

/* The 18 digits of a fraction without the zeros at their end; returns how many are left. */
static size_t format_fraction(uint64_t fraction, char *text)
{
	uint64_t rest = fraction % UINT64_C(10000000000);
	size_t length = 8;

	digits_8((uint32_t)(fraction / UINT64_C(10000000000)), text);
	if (rest) {
		digits_8((uint32_t)(rest / 100), text + 8);
		digits_2((unsigned)(rest % 100), text + 16);
		length = 18;
	}
	while (text[length - 1] == '0')
		length--;
	return length;
}

size_t decimal_format(i128 amount, char *text)
{
	u128 size = amount < 0 ? 0 - (u128)amount : (u128)amount;
	uint64_t one = (uint64_t)DECIMAL_ONE;
	uint64_t units;
	uint64_t fraction;
	char *at = text;

	assert(size <= (u128)DECIMAL_MAX);
	units = size <= UINT64_MAX ? (uint64_t)size / one : (uint64_t)(size / one);
	fraction = (uint64_t)size - units * one; /* modulo 2^64: the difference fits */
	if (amount < 0)
		*at++ = '-';
	at += digits_u64(units, at);
	if (fraction) {
		*at++ = '.';
		at += format_fraction(fraction, at);
	}
	return (size_t)(at - text);
}

const char *decimal_text(i128 amount, char text[DECIMAL_TEXT_MAX])
{
	text[decimal_format(amount, text)] = '\0';
	return text;
}
