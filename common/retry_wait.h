/*
 * How long to wait before the next try: capped exponential, with half of it by chance, so that
 * those who failed together do not come back together.
 */
#ifndef COMMON_RETRY_WAIT_H
#define COMMON_RETRY_WAIT_H

#include <stdint.h>

/* attempt: failures in a row before this one, from 0; random: any 64 bits.  Milliseconds. */
static inline int64_t retry_wait_ms(int attempt, int64_t min_ms, int64_t max_ms, uint64_t random)
{
	int64_t ceiling_ms = min_ms;

	for (int i = 0; i < attempt && ceiling_ms < max_ms; i++)
		ceiling_ms *= 2;
	return ceiling_ms / 2 + (int64_t)(random % (uint64_t)ceiling_ms) / 2;
}

#endif
