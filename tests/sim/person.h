/*
 * What people do to a world: somebody sets retention too short, so that the beginning of a log goes
 * before it was read; and when the partition has halted, somebody else runs `ledgerd resume`.
 */
#ifndef TESTS_SIM_PERSON_H
#define TESTS_SIM_PERSON_H

#include "world.h"

/* Something now and then; in a calm world only what mends. */
void person_act(struct world *w);

/* Whether a node may halt this partition for this reason: the log's beginning did go. */
bool person_caused(const struct world *w, int32_t partition, const char *reason);

/* Every offset that has no outcome is in one gap, and each gap was agreed on. */
void person_check(struct world *w, int32_t partition);

#endif
