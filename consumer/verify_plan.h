/*
 * How the balances fit into memory: partitions are verified in groups, all at once if there is room
 * for their balances.  A partition that is too large alone is gone through several times, a slice
 * of its accounts each.  Pure.
 */
#ifndef CONSUMER_VERIFY_PLAN_H
#define CONSUMER_VERIFY_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct verify_step {
	int32_t first; /* partitions first to last */
	int32_t last;
	uint32_t slices; /* above 1 only for a single partition */
};

/*
 * The next group that begins at partition `first` and ends at `last` at most.
 * counts[p]: balances of partition p; room: bytes for all of them.
 */
struct verify_step verify_plan(const int64_t *counts, int32_t first, int32_t last, size_t room);

/* How many balances there is room for beside what a group's chains take themselves. */
size_t verify_plan_balances(const struct verify_step *step, size_t room);

#endif
