/*
 * The same log once more, read by one instance with another batch size, without a single fault: the
 * two databases must be equal, row by row and column by column, and so must the two Redis.  Only
 * epochs, times of writing, and how far Redis is known to be complete may differ.
 *
 * Not where people have given offsets up, deleted rows or replayed: that is not in the log.
 */
#ifndef TESTS_SIM_TWIN_H
#define TESTS_SIM_TWIN_H

#include "world.h"

/* At rest; false: this world has no twin. */
bool twin_check(const struct world *w);

#endif
