/*
 * Journal rows that were read before the row that their chain puts in front of them: after a
 * replay, a row's prev_offset may be the larger.  Few, as a rule: as many as the replay has
 * journalled.
 *
 * Rows are added in the order of their offsets and found by it, or by prev_offset.  Pure.
 */
#ifndef CONSUMER_VERIFY_WAITING_H
#define CONSUMER_VERIFY_WAITING_H

#include <stddef.h>

#include "balances.h"
#include "verify_rows.h"

#define VERIFY_WAITING_BYTES 160 /* at most, a row */

struct verify_waiting_node;

struct verify_waiting {
	struct verify_waiting_node *nodes; /* by offset, those that were taken included */
	uint32_t *by_offset;               /* heads of chains: place + 1 */
	uint32_t *by_prev;
	size_t capacity; /* of each of the three: 0, or a power of two */
	size_t used;     /* nodes up to here */
	size_t count;    /* rows that wait */
};

void verify_waiting_init(struct verify_waiting *waiting);
void verify_waiting_finish(struct verify_waiting *waiting);

/* row->offset is above those of all before it. */
void verify_waiting_add(
	struct verify_waiting *waiting, balance_ref ref, const struct verify_row *row);

/* Whether the row of this balance at this offset waits. */
bool verify_waiting_has(const struct verify_waiting *waiting, balance_ref ref, int64_t offset);

/* Takes out the first row of this balance whose prev_offset this is; false if there is none. */
bool verify_waiting_take(struct verify_waiting *waiting, balance_ref ref, int64_t prev_offset,
	struct verify_row *ret_row);

/* The next row at or behind *cursor, which begins at 0; NULL: none.  Nothing is added between
 * calls, but rows may be taken. */
const struct verify_row *verify_waiting_next(
	const struct verify_waiting *waiting, size_t *cursor, balance_ref *ret_ref);

/* Takes out what verify_waiting_next has just returned. */
void verify_waiting_drop(struct verify_waiting *waiting, size_t cursor);

#endif
