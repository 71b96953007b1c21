/*
 * A currency code in one machine word: 1 to 10 characters of A-Z and 0-9, six bits each, the first
 * character highest.  Packed codes therefore sort as their texts do in ASCII; 0 is no currency.
 */
#ifndef COMMON_CURRENCY_H
#define COMMON_CURRENCY_H

#include <stddef.h>
#include <stdint.h>

#define CURRENCY_LENGTH_MAX 10
#define CURRENCY_NONE       UINT64_C(0)

typedef uint64_t currency_t;

/* CURRENCY_NONE if text[0..length) is no currency code. */
currency_t currency_pack(const char *text, size_t length);

/* Writes the code, NUL-terminated, and returns its length.  currency is a packed code. */
size_t currency_text(currency_t currency, char text[CURRENCY_LENGTH_MAX + 1]);

#endif
