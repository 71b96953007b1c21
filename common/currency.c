/* See currency.h. */
#include "currency.h"

#include <assert.h>

#define CHARACTER_BITS 6

/* By its number; 0 is no character. */
static const char characters[] = "\0000123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* 1 to 36, or 0 for what no currency code has. */
static inline unsigned character_number(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (unsigned)(c - 'A') + 11;
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') + 1 : 0;
}

currency_t currency_pack(const char *text, size_t length)
{
	currency_t currency = 0;

	if (length < 1 || length > CURRENCY_LENGTH_MAX)
		return CURRENCY_NONE;
	for (size_t i = 0; i < length; i++) {
		unsigned number = character_number(text[i]);

		if (!number)
			return CURRENCY_NONE;
		currency = currency << CHARACTER_BITS | number;
	}
	return currency << CHARACTER_BITS * (CURRENCY_LENGTH_MAX - length);
}

size_t currency_text(currency_t currency, char text[CURRENCY_LENGTH_MAX + 1])
{
	int shift = CHARACTER_BITS * (CURRENCY_LENGTH_MAX - 1);
	size_t length = 0;

	for (; shift >= 0; shift -= CHARACTER_BITS) {
		unsigned number = currency >> shift & 63;

		if (!number)
			break;
		assert(number < sizeof(characters) - 1);
		text[length++] = characters[number];
	}
	text[length] = '\0';
	return length;
}
