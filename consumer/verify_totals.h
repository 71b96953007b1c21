/*
 * A currency's money, added up twice: what the journal says was deposited, less what was withdrawn
 * and settled, and what account_balances holds.  The two are equal.  Pure.
 */
#ifndef CONSUMER_VERIFY_TOTALS_H
#define CONSUMER_VERIFY_TOTALS_H

#include "verify_report.h"
#include "verify_rows.h"
#include "verify_sum.h"

struct verify_total {
	currency_t currency; /* CURRENCY_NONE: a free slot */
	struct verify_sum journal;
	struct verify_sum balances;
};

/* One slot a currency, found by its hash. */
struct verify_totals {
	struct verify_total *slots;
	size_t capacity; /* a power of two */
	size_t count;
	struct verify_total *last; /* that was asked for */
};

void verify_totals_init(struct verify_totals *totals);
void verify_totals_finish(struct verify_totals *totals);

/* A row that was applied; others change nothing. */
void verify_totals_row(struct verify_totals *totals, const struct verify_row *row);
void verify_totals_balance(struct verify_totals *totals, const struct verify_balance *balance);

/* Names the currencies that differ, in alphabetical order. */
void verify_totals_compare(const struct verify_totals *totals, struct verify_report *report);

#endif
