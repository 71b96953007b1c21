/* What must be true after every step, and what must be true at rest. */
#ifndef TESTS_SIM_CHECKERS_H
#define TESTS_SIM_CHECKERS_H

#include "world.h"

/* The database against the oracle, as far as it is filled; Redis never ahead of the database. */
void check_step(struct world *w);

/* Whether Redis has exactly the database's balances. */
bool check_redis_equal(struct world *w);

#endif
