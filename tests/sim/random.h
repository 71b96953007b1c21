/* One seed decides everything that happens in a simulation. */
#ifndef TESTS_SIM_RANDOM_H
#define TESTS_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

static inline void random_init(struct random *r, uint64_t seed)
{
	r->state = seed * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x2545f4914f6cdd1d);
}

/* splitmix64 */
static inline uint64_t random_next(struct random *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 to n - 1; n > 0 */
static inline int64_t random_below(struct random *r, int64_t n)
{
	return (int64_t)(random_next(r) % (uint64_t)n);
}

static inline int64_t random_between(struct random *r, int64_t low, int64_t high)
{
	return low + random_below(r, high - low + 1);
}

/* True so many times in ten thousand. */
static inline bool random_chance(struct random *r, int64_t of_ten_thousand)
{
	return random_below(r, 10000) < of_ten_thousand;
}

#endif
