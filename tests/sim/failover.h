/*
 * A database that fails over to an asynchronous copy.
 *
 * Now and then the copy stops following; some steps later it takes over.  Offsets, leases, members,
 * journal, balances, dead letters and gaps go back together, all connections break, and the copy's
 * clock is another one.  What must come of it:
 *
 *   - no epoch that was lost ever commits, and none is handed out twice;
 *   - the log fills the gap again, to the same rows, column by column (checkers.c);
 *   - meanwhile, and only then, Redis may be ahead, but with nothing that the log would not bring;
 *   - an owner that has nothing to do notices, too.
 *
 * Not in worlds in which people delete rows, replay, or give offsets up: what they did is lost, and
 * nothing brings it again.
 */
#ifndef TESTS_SIM_FAILOVER_H
#define TESTS_SIM_FAILOVER_H

#include "world.h"

/* The copy stops following, or takes over, if its time has come. */
void failover_step(struct world *w);

/* At rest: a copy that is behind takes over, and nothing is sent any more. */
void failover_visit(struct world *w);

void failover_finish(struct world *w);

#endif
