/*
 * What a batch needs from the database before it may enter the ledger: balances that are not in
 * memory, and ids that memory has forgotten.  Each function asks at most one question, over the
 * partition's own connection, and returns for how long to wait before it is called again
 * (milliseconds); 0: done, or the partition is halted now (partition_state tells).
 */
#ifndef CONSUMER_FETCH_H
#define CONSUMER_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

struct partition;

/* The balances of the prepared batch.  May be called while a flush is on its way: what that changes
 * is pinned in memory, so it is never asked for. */
int64_t fetch_balances(struct partition *p);

/* The ids of the prepared batch, while old duplicates are frequent; else nothing. */
int64_t fetch_ids(struct partition *p);

/* The ids of a batch whose flush met rows that were there already: once they are known it is
 * applied again.  If none of its ids is known it is the offsets that are there: the partition
 * halts. */
int64_t fetch_known_ids(struct partition *p);

/* Whether the database still has this owner's epoch, and an offset that its flushes have written.
 */
enum store_result fetch_ownership(struct partition *p, bool *ret_ours, struct error *err);

/*
 * Asked before a halt for what the database holds.  false: it has failed over or another has
 * written, and the partition is lost rather than halted, or it does not answer; *ret_wait_ms, above
 * 0, until the next turn.
 */
bool fetch_confirm(struct partition *p, int64_t *ret_wait_ms);

#endif
