/*
 * The rows of partition_offsets in memory: what the in-memory lease store (leader/) and the
 * in-memory database of a partition (consumer/) share, as the two real ones share the table.
 *
 * The world (a test, the simulator) owns an array with a row a partition, zeroed at first.  A row
 * holds what is committed and nothing else: an open transaction keeps its changes with itself and
 * writes them here when it commits.  While it has changed a row, or read it for update, it is in
 * locked_by; whoever meets another's lock waits or gives up, as with a row lock of the server.
 */
#ifndef LEADER_OFFSETS_MEMORY_H
#define LEADER_OFFSETS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct partition_offset_row {
	int64_t epoch;        /* 0: never owned */
	int64_t next_offset;  /* first offset that is not in the database */
	int64_t redis_offset; /* every balance changed below it has reached Redis */
	bool halted;
	char halted_reason[ERROR_TEXT_MAX]; /* "" unless halted */
	const void *locked_by;              /* the client whose transaction holds the row; NULL */
};

#endif
