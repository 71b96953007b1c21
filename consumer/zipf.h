/*
 * Ranks by Zipf's law: rank r of 1 to count comes with a probability proportional to r^-exponent.
 *
 * Integers only, so that a seed gives the same ranks on every machine: no libm, no rounding mode,
 * no fused multiply-add.  Neither memory nor time to begin grows with the count.  Relative error of
 * a probability: below 10^-5 for an exponent up to 2.
 */
#ifndef CONSUMER_ZIPF_H
#define CONSUMER_ZIPF_H

#include "splitmix.h"

#define ZIPF_EXPONENT_MAX 8
#define ZIPF_OCTAVES      32
#define ZIPF_STEPS        1024

struct zipf {
	uint32_t count;
	int octaves;                      /* [2^k, 2^(k+1)) with a rank in it */
	uint64_t limits[ZIPF_OCTAVES];    /* of 2^64: where each octave's share ends */
	uint64_t heights[ZIPF_STEPS + 1]; /* of 2^32: (1 + i / ZIPF_STEPS)^-exponent */
};

/* count >= 1; exponent 0 (all ranks alike) to ZIPF_EXPONENT_MAX. */
void zipf_init(struct zipf *zipf, uint32_t count, double exponent);

/* A rank, 1 to count. */
uint32_t zipf_next(const struct zipf *zipf, struct splitmix *random);

#endif
