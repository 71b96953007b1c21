/*
 * The touched balances of a batch in the order of the primary key of account_balances: what the
 * database likes best, and no two flushes lock rows in different orders.
 *
 * A radix sort over the account ids, which costs a few nanoseconds a balance where qsort costs a
 * hundred.  Pure.
 */
#ifndef CONSUMER_ORDER_H
#define CONSUMER_ORDER_H

#include "batch.h"

/* What is moved while sorting, in place of the balances themselves. */
struct order_item {
	uint64_t account_id;
	uint32_t index; /* in touched[] */
};

/*
 * Writes the indices of touched[0..count) by account and currency.  The keys are distinct.
 * scratch has room for 2 * count items; nothing in it needs to be kept.
 */
void order_touched(const struct touched *touched, size_t count, struct order_item *scratch,
	uint32_t *ret_order);

/* Negative, 0 or positive: a before, the same as, or after b. */
int balance_key_compare(const struct balance_key *a, const struct balance_key *b);

#endif
