/*
 * See murmur2.h.  Java reads the words as little-endian on every machine, and its bytes have no
 * sign here either.
 */
#include "murmur2.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define SEED       UINT32_C(0x9747b28c)
#define MULTIPLIER UINT32_C(0x5bd1e995)

static uint32_t load_word(const unsigned char *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof(word));
	return le32toh(word);
}

uint32_t murmur2(const void *key, size_t length)
{
	const unsigned char *at = key;
	uint32_t hash = SEED ^ (uint32_t)length;
	uint32_t tail = 0;

	for (; length >= 4; length -= 4, at += 4) {
		uint32_t word = load_word(at) * MULTIPLIER;

		word = (word ^ word >> 24) * MULTIPLIER;
		hash = hash * MULTIPLIER ^ word;
	}
	for (size_t i = 0; i < length; i++)
		tail |= (uint32_t)at[i] << 8 * i;
	if (length)
		hash = (hash ^ tail) * MULTIPLIER;
	hash = (hash ^ hash >> 13) * MULTIPLIER;
	return hash ^ hash >> 15;
}

int32_t murmur2_partition(const void *key, size_t length, int32_t partitions)
{
	assert(partitions >= 1);
	return (int32_t)((murmur2(key, length) & UINT32_C(0x7fffffff)) % (uint32_t)partitions);
}
