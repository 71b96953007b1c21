/* The states of a partition and the transitions that are allowed (DESIGN, "Lease and fencing"). */
#ifndef CONSUMER_PARTITION_STATE_H
#define CONSUMER_PARTITION_STATE_H

#include <stdbool.h>

enum partition_state {
	PARTITION_IDLE = 0,   /* somebody else's or nobody's */
	PARTITION_ACQUIRING,  /* the lease is ours; threads and memory are being set up */
	PARTITION_RECOVERING, /* reading offset, newest row, ids; comparing with the log */
	PARTITION_RUNNING,
	PARTITION_DRAINING, /* the last flushes before it is given up */
	PARTITION_FENCED,   /* another epoch, or our time ran out: all memory is dropped */
	PARTITION_HALTED,   /* a person must act: `ledgerd resume` */
	PARTITION_STATES,
};

const char *partition_state_text(enum partition_state state); /* "running" */

bool partition_state_allowed(enum partition_state from, enum partition_state to);

#endif
