/*
 * What `ledgerd resume` may do with a halted partition: the rules alone, for the command and the
 * simulator.  Pure.
 *
 * Without an offset the halt is cleared and nothing else changes.  With one, a person gives up the
 * offsets from next_offset to before it: they become a gap, and the partition goes on behind it.
 */
#ifndef CONSUMER_RESUME_PLAN_H
#define CONSUMER_RESUME_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define RESUME_NO_OFFSET (-1)

/* The partition in the database. */
struct resume_state {
	bool found;
	bool halted;
	int64_t next_offset;
	int64_t known_end; /* behind the newest journal row, dead letter and gap; 0: there is none
			    */
};

/* The log: its first offset, and the one after its last. */
struct resume_log {
	int64_t low;
	int64_t high;
};

/*
 * 0: allowed.  A negative code and what is wrong otherwise: -ENOENT there is no such partition,
 * -EBUSY it is not halted, -ERANGE the offset.  log: NULL without an offset.
 */
int resume_plan(const struct resume_state *state, int32_t partition, int64_t at_offset,
	const struct resume_log *log, struct error *err);

#endif
