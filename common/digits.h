/*
 * Decimal text of unsigned integers, two digits at a time.  Nothing here writes a NUL; the caller's
 * buffer has the room that is stated.
 */
#ifndef COMMON_DIGITS_H
#define COMMON_DIGITS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DIGITS_U64_MAX 20 /* characters of the longest number */

/* "00" "01" ... "99" */
extern const char digits_pairs[201];

/* 10^0 to 10^19 */
extern const uint64_t digits_power[20];

/* How many digits a number has: 1 to 20; 0 has one. */
static inline size_t digits_count(uint64_t number)
{
	unsigned bits = 64 - (unsigned)__builtin_clzll(number | 1);
	unsigned guess = bits * 1233 >> 12; /* log10(2) = 1233 / 4096 and a little */

	return guess + (number >= digits_power[guess]) + (number == 0);
}

/* Exactly two digits; number is below 100. */
static inline void digits_2(unsigned number, char *text)
{
	memcpy(text, digits_pairs + 2 * number, 2);
}

/* Exactly four digits; number is below 10,000. */
static inline void digits_4(unsigned number, char *text)
{
	digits_2(number / 100, text);
	digits_2(number % 100, text + 2);
}

/* Exactly eight digits; number is below 10^8. */
static inline void digits_8(uint32_t number, char *text)
{
	digits_4(number / 10000, text);
	digits_4(number % 10000, text + 4);
}

/* As many digits as it takes, at most DIGITS_U64_MAX; returns how many. */
size_t digits_u64(uint64_t number, char *text);

/* The same with a sign where there is one: at most DIGITS_U64_MAX characters. */
static inline size_t digits_i64(int64_t number, char *text)
{
	if (number >= 0)
		return digits_u64((uint64_t)number, text);
	*text = '-';
	return 1 + digits_u64(0 - (uint64_t)number, text + 1);
}

#endif
