/*
 * Exact amounts: 128-bit integers in units of 10^-18.
 *
 * An amount never passes through a double.  The largest that is ever stored is
 * DECIMAL_MAX, 10^18 - 10^-18 of a currency's unit, which is below 2^120; the sum of two
 * of them fits an i128 with room to spare, a sum over many balances does not.
 */
#ifndef COMMON_DECIMAL_H
#define COMMON_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

/* Aligned to 8 bytes, so that a struct of amounts has no holes. */
typedef __int128 i128 __attribute__((aligned(8)));

#define DECIMAL_DIGITS   18
#define DECIMAL_ONE      ((i128)1000000000000000000LL)   /* 10^18: one unit of a currency */
#define DECIMAL_MAX      (DECIMAL_ONE * DECIMAL_ONE - 1) /* 10^36 - 1 */
#define DECIMAL_TEXT_MAX 40                              /* "-", 18 digits, ".", 18 digits, NUL */

enum decimal_error {
	DECIMAL_OK = 0,
	DECIMAL_SYNTAX = -1,   /* not in JSON's number grammar */
	DECIMAL_RANGE = -2,    /* negative, zero, or 10^18 and above */
	DECIMAL_FRACTION = -3, /* not a whole multiple of 10^-18 */
};

/*
 * Reads an event's amount: JSON's number grammar over the whole of text[0..length), value above 0,
 * below 10^18, a whole multiple of 10^-18 (CONTRACT section 1).  An exponent of any size is read
 * exactly.  Writes *ret_amount only on DECIMAL_OK.
 */
enum decimal_error decimal_parse_amount(const char *text, size_t length, i128 *ret_amount);

/*
 * Reads a stored DECIMAL(36,18) as a database sends it: digits with an optional fraction, an
 * optional leading '-'; at most 18 digits on each side.
 */
enum decimal_error decimal_parse_stored(const char *text, size_t length, i128 *ret_amount);

/*
 * Writes the plain decimal without trailing zeros ("10.5", "0", "-3") to text, which has room for
 * DECIMAL_TEXT_MAX bytes, and returns its length; no NUL is written.  |amount| <= DECIMAL_MAX.
 */
size_t decimal_format(i128 amount, char *text);

/* The same, NUL-terminated; returns text. */
const char *decimal_text(i128 amount, char text[DECIMAL_TEXT_MAX]);

#endif
