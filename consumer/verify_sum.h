/*
 * Sums of amounts that no 128 bits hold: the balances of a hundred million accounts, each below
 * 2^120, come to 2^147.  256 bits, exact for 2^120 amounts and more.  Pure; plain memory, {0} is
 * nought.
 */
#ifndef CONSUMER_VERIFY_SUM_H
#define CONSUMER_VERIFY_SUM_H

#include <stdbool.h>

#include "decimal.h"

#define VERIFY_SUM_TEXT_MAX 96

/* Two's complement. */
struct verify_sum {
	unsigned __int128 low;
	__int128 high;
};

/* |amount| < 2^126 */
void verify_sum_add(struct verify_sum *sum, i128 amount);
void verify_sum_subtract(struct verify_sum *sum, i128 amount);

bool verify_sum_equal(const struct verify_sum *a, const struct verify_sum *b);

/* A plain decimal as decimal_text writes it, NUL-terminated; returns text. */
const char *verify_sum_text(const struct verify_sum *sum, char text[VERIFY_SUM_TEXT_MAX]);

#endif
