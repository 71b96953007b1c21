/*
 * See zipf.h.
 *
 * The ranks of an octave [2^k, 2^(k+1)) get a common upper bound, 2^(-k * exponent).  An octave is
 * drawn by its ranks' number times that bound, a rank in it evenly, and the rank is kept with its
 * true share of the bound, (rank / 2^k)^-exponent, which is the same curve for every octave; else
 * all is drawn again.  That is exact but for the curve, which is a line between ZIPF_STEPS places.
 */
#include "zipf.h"

#include <assert.h>
#include <stddef.h>

typedef unsigned __int128 u128;

#define LOG_BITS  48 /* of a logarithm's fraction */
#define STEP_BITS 22 /* of a place's 32, within a step of the curve */
#define STEP_MASK ((UINT64_C(1) << STEP_BITS) - 1)

_Static_assert(ZIPF_STEPS == 1 << (32 - STEP_BITS), "the steps are all of a place's range");

/* The greatest integer whose square is not above number; number is below 2^126. */
static uint64_t square_root(u128 number)
{
	uint64_t root = 0;

	for (int bit = 62; bit >= 0; bit--) {
		uint64_t next = root | UINT64_C(1) << bit;

		if ((u128)next * next <= number)
			root = next;
	}
	return root;
}

/* log2 of number / 2^62, which is from 1 to below 2, in 2^-LOG_BITS. */
static uint64_t log_2(uint64_t number)
{
	uint64_t log = 0;

	for (int bit = LOG_BITS - 1; bit >= 0; bit--) {
		number = (uint64_t)((u128)number * number >> 62);
		if (number >> 63) {
			number >>= 1;
			log |= UINT64_C(1) << bit;
		}
	}
	return log;
}

/* 2^-power in 2^-95; power in 2^-LOG_BITS. */
static u128 power_of_half(uint64_t power)
{
	uint64_t result = UINT64_C(1) << 63;
	uint64_t root = UINT64_C(1) << 62; /* 1/2, 1/2 to the 1/2, to the 1/4 ... in 2^-63 */
	uint64_t whole = power >> LOG_BITS;

	for (int bit = LOG_BITS - 1; bit >= 0; bit--) {
		root = square_root((u128)root << 63);
		if (power >> bit & 1)
			result = (uint64_t)((u128)result * root >> 63);
	}
	return whole < 96 ? (u128)result << 32 >> whole : 0;
}

/* How many ranks octave k has. */
static inline uint64_t octave_width(uint32_t count, int k)
{
	uint64_t rest = (uint64_t)count + 1 - (UINT64_C(1) << k);

	return rest >> k ? UINT64_C(1) << k : rest;
}

/* Where each octave's share of all draws ends. */
static void share_octaves(struct zipf *zipf, uint64_t exponent)
{
	u128 shares[ZIPF_OCTAVES];
	u128 total = 0;
	int shift = 0;

	for (int k = 0; k < zipf->octaves; k++) {
		u128 height = power_of_half(exponent * (uint64_t)k << (LOG_BITS - 32));

		total += octave_width(zipf->count, k) * (height >> 6); /* 32 bits and 89 */
		shares[k] = total;
	}
	while (total >> shift >> 63)
		shift++;
	for (int k = 0; k < zipf->octaves; k++)
		zipf->limits[k] = (uint64_t)((shares[k] >> shift) * UINT64_MAX / (total >> shift));
}

/* The curve within an octave. */
static void draw_curve(struct zipf *zipf, uint64_t exponent)
{
	const uint64_t step = (UINT64_C(1) << 62) / ZIPF_STEPS;

	for (uint64_t i = 0; i <= ZIPF_STEPS; i++) {
		u128 log = i < ZIPF_STEPS ? log_2((ZIPF_STEPS + i) * step) : (u128)1 << LOG_BITS;

		zipf->heights[i] = (uint64_t)(power_of_half((uint64_t)(log * exponent >> 32)) >>
					      63);
	}
}

void zipf_init(struct zipf *zipf, uint32_t count, double exponent)
{
	uint64_t exponent_q32 = (uint64_t)(exponent * 4294967296.0); /* 2^32: no rounding */

	assert(count >= 1);
	assert(exponent >= 0 && exponent <= ZIPF_EXPONENT_MAX);
	zipf->count = count;
	zipf->octaves = 32 - __builtin_clz(count);
	share_octaves(zipf, exponent_q32);
	draw_curve(zipf, exponent_q32);
}

uint32_t zipf_next(const struct zipf *zipf, struct splitmix *random)
{
	const uint64_t *heights;
	uint64_t draw;
	uint64_t offset;
	uint64_t place; /* of 2^32: where in the octave */
	uint64_t height;
	int k;

	do {
		draw = splitmix_next(random);
		for (k = 0; k < zipf->octaves - 1 && draw >= zipf->limits[k]; k++)
			;
		offset = splitmix_below(random, octave_width(zipf->count, k));
		place = (offset << 32) >> k;
		heights = &zipf->heights[place >> STEP_BITS];
		height = heights[0] -
			 ((heights[0] - heights[1]) * (place & STEP_MASK) >> STEP_BITS);
	} while (splitmix_next(random) >> 32 >= height);
	return (uint32_t)((UINT64_C(1) << k) + offset);
}
