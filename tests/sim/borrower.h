/*
 * Somebody who asks for partitions (leader/lease_borrow.h), keeps them for a while and gives them
 * back, and does nothing with them but check that nobody else can commit meanwhile.  It is killed
 * at times, also while it holds one.
 */
#ifndef TESTS_SIM_BORROWER_H
#define TESTS_SIM_BORROWER_H

#include "world.h"

struct borrower *borrower_create(struct world *w);
void borrower_destroy(struct borrower *borrower);

/* One step; in a calm world it gives back and asks for nothing. */
void borrower_step(struct borrower *borrower);

#endif
