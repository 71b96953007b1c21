/*
 * Decimal text of unsigned integers, two digits at a time.  Nothing here writes a NUL; the caller's
 * buffer has the room that is stated.
 */
#ifndef COMMON_DIGITS_H
#define COMMON_DIGITS_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DIGITS_U64_MAX 20 /* characters of the longest number */

/* "00" "01" ... "99" */
extern const char digits_pairs[201];

/* 10^0 to 10^19 */
extern const uint64_t digits_power[20];

/* Exactly two digits; number is below 100. */
static inline void digits_2(unsigned number, char *text)
{
	memcpy(text, digits_pairs + 2 * number, 2);
}

/* Exactly three digits; number is below 1,000. */
static inline void digits_3(unsigned number, char *text)
{
	*text = (char)('0' + number / 100);
	digits_2(number % 100, text + 1);
}

/* Exactly four digits; number is below 10,000. */
static inline void digits_4(unsigned number, char *text)
{
	digits_2(number / 100, text);
	digits_2(number % 100, text + 2);
}

#define DIGITS_ZEROS UINT64_C(0x3030303030303030) /* "00000000" */

/*
 * The eight digits of a number below 10^8, each 0 to 9 in a byte, the first in the lowest.  Parts
 * are divided side by side: two of four digits by 100, then four of two by 10; the factors are the
 * reciprocals, rounded up, and exact for such small numbers.
 */
static inline uint64_t digits_word(uint32_t number)
{
	uint64_t fours = number / 10000 | (uint64_t)(number % 10000) << 32;
	uint64_t hundreds = (fours * 5243 >> 19) & UINT64_C(0x0000007f0000007f);
	uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
	uint64_t tens = (twos * 103 >> 10) & UINT64_C(0x000f000f000f000f);

	return tens | (twos - tens * 10) << 8;
}

/* Exactly eight digits; number is below 10^8. */
static inline void digits_8(uint32_t number, char *text)
{
	uint64_t word = htole64(digits_word(number) | DIGITS_ZEROS);

	memcpy(text, &word, sizeof(word));
}

/* As many digits as it takes; returns how many.  The text has room for DIGITS_U64_MAX characters,
 * and those behind the number may be written over. */
size_t digits_u64(uint64_t number, char *text);

/* The same with a sign where there is one: then no more characters either. */
static inline size_t digits_i64(int64_t number, char *text)
{
	if (number >= 0)
		return digits_u64((uint64_t)number, text);
	*text = '-';
	return 1 + digits_u64(0 - (uint64_t)number, text + 1);
}

#endif
