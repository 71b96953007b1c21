/*
 * The rules of the ledger: what an event does to a balance, and when it is refused
 * (CONTRACT section 1, "Effect").  Pure; the only place in the project that changes an amount.
 */
#ifndef CONSUMER_APPLY_H
#define CONSUMER_APPLY_H

#include "event.h"

/* A balance as the rules see it.  0 <= available, frozen <= DECIMAL_MAX at all times. */
struct balance {
	i128 available;
	i128 frozen;
	int64_t version;     /* changes so far */
	int64_t last_offset; /* newest journal row; -1 if there is none */
};

/*
 * Applies an event of this type and amount (1 to DECIMAL_MAX) to *balance: REFUSAL_NONE and the
 * amounts and the version are changed, or the refusal and nothing is.  last_offset is the caller's.
 */
enum refusal apply(struct balance *balance, enum event_type type, i128 amount);

#endif
