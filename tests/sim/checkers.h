/* What must be true after every step, and what must be true at rest. */
#ifndef TESTS_SIM_CHECKERS_H
#define TESTS_SIM_CHECKERS_H

#include "flush.h"
#include "world.h"

/* The database against the oracle, as far as it is filled; Redis never ahead of the database. */
void check_step(struct world *w);

/* A node has acquired a lease under this epoch: one that nobody ever had. */
void check_acquired(struct world *w, int node, int32_t partition, int64_t epoch);

/* A flush has ended: nobody commits under an epoch that is over. */
void check_flush(struct world *w, const struct flush *f);

/* Whether Redis has exactly the database's balances. */
bool check_redis_equal(struct world *w);

#endif
