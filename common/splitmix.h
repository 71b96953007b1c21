/*
 * Numbers that look random and are the same for a seed on every machine: splitmix64, a counter that
 * is stirred.  For test data and jitter; never for secrets.
 */
#ifndef COMMON_SPLITMIX_H
#define COMMON_SPLITMIX_H

#include <stdint.h>

struct splitmix {
	uint64_t state; /* at first the seed; any value is good */
};

static inline uint64_t splitmix_next(struct splitmix *random)
{
	uint64_t mixed = random->state += UINT64_C(0x9e3779b97f4a7c15);

	mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
	return mixed ^ mixed >> 31;
}

/* 0 to limit - 1; limit >= 1.  Even but for less than limit / 2^64. */
static inline uint64_t splitmix_below(struct splitmix *random, uint64_t limit)
{
	return (uint64_t)((unsigned __int128)splitmix_next(random) * limit >> 64);
}

#endif
