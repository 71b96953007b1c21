#include "partition_state.h"

#define TO(state) (1u << PARTITION_##state)

static const struct {
	const char *text;
	unsigned next;
} states[PARTITION_STATES] = {
	[PARTITION_IDLE] = {"idle", TO(ACQUIRING)},
	[PARTITION_ACQUIRING] = {"acquiring",
		TO(RECOVERING) | TO(DRAINING) | TO(FENCED) | TO(HALTED)},
	[PARTITION_RECOVERING] = {"recovering",
		TO(RUNNING) | TO(DRAINING) | TO(FENCED) | TO(HALTED)},
	[PARTITION_RUNNING] = {"running", TO(RECOVERING) | TO(DRAINING) | TO(FENCED) | TO(HALTED)},
	[PARTITION_DRAINING] = {"draining", TO(IDLE) | TO(FENCED) | TO(HALTED)},
	[PARTITION_FENCED] = {"fenced", TO(IDLE)},
	[PARTITION_HALTED] = {"halted", TO(IDLE)},
};

const char *partition_state_text(enum partition_state state)
{
	return states[state].text;
}

bool partition_state_allowed(enum partition_state from, enum partition_state to)
{
	return states[from].next >> to & 1;
}
