/*
 * A person who changes a key of Redis by hand, when the world has come to rest: the instances must
 * find it by sampling, tell what it is, once, and mend it; one that is ahead they tell again and
 * again, and leave alone.  Who still had something to write may have mended it unseen (vandal.c).
 * Until the vandal comes nothing ever drifts.
 */
#ifndef TESTS_SIM_VANDAL_H
#define TESTS_SIM_VANDAL_H

#include "world.h"

/* To be called at rest, for some worlds; returns whether something was spoilt, and found. */
bool vandal_visit(struct world *w);

/* An instance has found drift. */
void vandal_drift(
	struct world *w, int number, int32_t partition, enum drift drift, int64_t balances);

#endif
