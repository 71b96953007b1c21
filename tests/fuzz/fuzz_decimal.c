/*
 * Any bytes as an event's amount and as a stored decimal, and any amount as text, against an oracle
 * that knows numbers only as strings of digits: 18 places before the point and 18 behind it.
 */
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "decimal.h"

#define PLACES 36

/* A text taken apart by the grammar of JSON's numbers; digits stand in the text itself. */
struct number {
	bool negative;
	const char *whole, *fraction;
	size_t whole_length, fraction_length;
	long exponent; /* within a million, beyond which all are alike for texts this short */
};

static size_t digits_at(const char *text, size_t left)
{
	size_t length = 0;

	while (length < left && text[length] >= '0' && text[length] <= '9')
		length++;
	return length;
}

/* "e+10", "E5" or nothing, to the end. */
static bool take_exponent(const char *text, size_t left, long *ret_exponent)
{
	bool negative = left > 1 && text[1] == '-';
	size_t skip = left > 1 && (text[1] == '-' || text[1] == '+') ? 2 : 1;

	*ret_exponent = 0;
	if (left == 0)
		return true;
	if ((*text != 'e' && *text != 'E') || left == skip ||
		digits_at(text + skip, left - skip) != left - skip)
		return false;
	for (size_t i = skip; i < left; i++)
		if (*ret_exponent < 1000000)
			*ret_exponent = *ret_exponent * 10 + (text[i] - '0');
	if (negative)
		*ret_exponent = -*ret_exponent;
	return true;
}

/* What stands before an exponent; returns how much of the text that is, 0 if it is no number. */
static size_t take_number(const char *text, size_t length, struct number *number)
{
	size_t at = length && *text == '-';

	number->negative = at;
	number->whole = text + at;
	number->whole_length = digits_at(number->whole, length - at);
	at += number->whole_length;
	number->fraction = text + at;
	number->fraction_length = 0;
	if (!number->whole_length)
		return 0;
	if (at < length && text[at] == '.') {
		number->fraction = text + at + 1;
		number->fraction_length = digits_at(number->fraction, length - at - 1);
		if (!number->fraction_length)
			return 0;
		at += 1 + number->fraction_length;
	}
	return at;
}

/* The digit that stands for 10^place. */
static char digit_of(const struct number *number, long place)
{
	long index = (long)number->whole_length - 1 + number->exponent - place;

	if (index < 0 || index >= (long)(number->whole_length + number->fraction_length))
		return '0';
	if (index < (long)number->whole_length)
		return number->whole[index];
	return number->fraction[index - (long)number->whole_length];
}

/* Whether any place from `first` down to the last digit that is written is not zero. */
static bool any_below(const struct number *number, long first)
{
	long last = number->exponent - (long)number->fraction_length;

	for (long place = first; place >= last; place--)
		if (digit_of(number, place) != '0')
			return true;
	return false;
}

static enum decimal_error place(const struct number *number, char digits[PLACES + 1])
{
	long top = (long)number->whole_length - 1 + number->exponent;

	for (int i = 0; i < PLACES; i++)
		digits[i] = digit_of(number, 17 - i);
	digits[PLACES] = '\0';
	for (long at = top; at >= 18 && at >= number->exponent - (long)number->fraction_length;
		at--)
		if (digit_of(number, at) != '0')
			return DECIMAL_RANGE;
	if (any_below(number, top < -19 ? top : -19))
		return DECIMAL_FRACTION;
	return strspn(digits, "0") == PLACES ? DECIMAL_RANGE : DECIMAL_OK;
}

static enum decimal_error amount_oracle(const char *text, size_t length, char digits[PLACES + 1])
{
	struct number number;
	size_t at = take_number(text, length, &number);

	if (!at || (number.whole_length > 1 && *number.whole == '0') ||
		!take_exponent(text + at, length - at, &number.exponent))
		return DECIMAL_SYNTAX;
	return number.negative ? DECIMAL_RANGE : place(&number, digits);
}

static enum decimal_error stored_oracle(
	const char *text, size_t length, char digits[PLACES + 1], bool *ret_negative)
{
	struct number number;

	if (!length || take_number(text, length, &number) != length)
		return DECIMAL_SYNTAX;
	if (number.whole_length > 18)
		return DECIMAL_RANGE;
	if (number.fraction_length > 18)
		return DECIMAL_FRACTION;
	number.exponent = 0;
	place(&number, digits);
	*ret_negative = number.negative && strspn(digits, "0") < PLACES;
	return DECIMAL_OK;
}

/* The shortest plain text of 36 digits. */
static size_t shortest(const char digits[PLACES + 1], bool negative, char *text)
{
	size_t first = strspn(digits, "0");
	size_t last = PLACES;
	size_t length = 0;

	while (last > 18 && digits[last - 1] == '0')
		last--;
	if (negative)
		text[length++] = '-';
	for (size_t i = first < 17 ? first : 17; i < last; i++) {
		if (i == 18)
			text[length++] = '.';
		text[length++] = digits[i];
	}
	return length;
}

/* An amount that should have these digits: it has, is written so, and is read back from that. */
static void check_amount(i128 amount, const char digits[PLACES + 1], bool negative)
{
	char expected[DECIMAL_TEXT_MAX];
	char *text = malloc(DECIMAL_TEXT_MAX);
	size_t length = shortest(digits, negative, expected);
	i128 rest = negative ? -amount : amount;
	i128 again = 7;

	CHECK(rest >= 0);
	for (int i = PLACES - 1; i >= 0; i--, rest /= 10)
		CHECK((int)(rest % 10) == digits[i] - '0');
	CHECK(rest == 0);
	CHECK(decimal_format(amount, text) == length && !memcmp(text, expected, length));
	CHECK(decimal_parse_stored(text, length, &again) == DECIMAL_OK && again == amount);
	again = 7;
	CHECK(decimal_parse_amount(text, length, &again) ==
		(amount > 0 ? DECIMAL_OK : DECIMAL_RANGE));
	CHECK(again == (amount > 0 ? amount : 7));
	CHECK(strlen(decimal_text(amount, text)) == length);
	free(text);
}

/* Any digits as an amount: the bytes' last ones are the amount's. */
static void check_digits(const uint8_t *data, size_t size)
{
	char digits[PLACES + 1];
	bool negative = size && (data[0] & 1);
	i128 amount = 0;

	for (size_t i = 0; i < PLACES; i++) {
		digits[i] = i < size ? (char)('0' + data[size - 1 - i] % 10) : '0';
		amount = amount * 10 + (digits[i] - '0');
	}
	digits[PLACES] = '\0';
	check_amount(negative ? -amount : amount, digits, negative && amount != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	char digits[PLACES + 1];
	bool negative = false;
	i128 amount = 7;
	enum decimal_error expected = amount_oracle(text, size, digits);

	CHECK(decimal_parse_amount(text, size, &amount) == expected);
	if (expected == DECIMAL_OK)
		check_amount(amount, digits, false);
	else
		CHECK(amount == 7);
	expected = stored_oracle(text, size, digits, &negative);
	CHECK(decimal_parse_stored(text, size, &amount) == expected);
	if (expected == DECIMAL_OK)
		check_amount(amount, digits, negative);
	check_digits(data, size);
	return 0;
}
