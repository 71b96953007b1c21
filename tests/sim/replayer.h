/*
 * Worlds in which rows are deleted by hand and offsets are given up, and somebody runs `replay`,
 * dry or with --apply, interrupted and killed at any step, while the owners run.
 *
 * In such a world what must become of a message is no function of the log alone, so the oracle is
 * not asked.  Instead the world remembers every row that was ever written, by whom and in which
 * order, and everything that was deleted:
 *
 *   - a row that a replay writes is one that was deleted, byte for byte; or its transaction has no
 *     row, deleted ones included, and it is what plain rules say on the balance that there was;
 *   - a dry run commits nothing;
 *   - a deleted row is restored by a range of that offset alone, whatever else is missing;
 *   - the balances are at all times the fold over the rows in the order in which they were applied;
 *   - at the end, each message below next_offset is a row, a dead letter, a duplicate of a row, or
 *     was named by the last replay.
 */
#ifndef TESTS_SIM_REPLAYER_H
#define TESTS_SIM_REPLAYER_H

#include "world.h"

struct replayer;

/* NULL: nobody tampers with this world. */
struct replayer *replayer_create(struct world *w);
void replayer_destroy(struct replayer *replayer);

void replayer_step(struct replayer *replayer);

/* After a commit. */
void replayer_check(struct replayer *replayer);

/* Everything was replayed and compared. */
bool replayer_at_rest(struct replayer *replayer);

/* Rows were deleted that could not be restored: nothing tells Redis of what they did. */
bool replayer_lost_rows(const struct replayer *replayer);

struct replayer_totals {
	uint64_t runs, restored, letters, decided, undecided, deleted, killed;
	uint64_t alone, alone_wider; /* rows that were the whole range; others were missing, too */
};
void replayer_add(const struct replayer *replayer, struct replayer_totals *totals);

#endif
