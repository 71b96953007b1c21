/*
 * Keys in the order of the primary key of account_balances.  For the touched balances of a batch it
 * is what the database likes best, and no two flushes lock rows in different orders; those that are
 * asked for are looked up in their order, each once.
 *
 * A radix sort over the account ids, which costs a few nanoseconds a balance where qsort costs a
 * hundred.  Pure.
 */
#ifndef CONSUMER_ORDER_H
#define CONSUMER_ORDER_H

#include "batch.h"

/* What is moved while sorting. */
struct order_item {
	uint64_t account_id;
	uint64_t rest; /* the index in touched[], or the currency */
};

/*
 * Writes the indices of touched[0..count) by account and currency.  The keys are distinct.
 * scratch has room for 2 * count items; nothing in it needs to be kept.
 */
void order_touched(const struct touched *touched, size_t count, struct order_item *scratch,
	uint32_t *ret_order);

/* Sorts keys[0..count) and drops what is there twice; returns how many are left.  scratch as above.
 */
size_t order_keys(struct balance_key *keys, size_t count, struct order_item *scratch);

/* Negative, 0 or positive: a before, the same as, or after b. */
int balance_key_compare(const struct balance_key *a, const struct balance_key *b);

#endif
