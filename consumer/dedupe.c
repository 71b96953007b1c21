#include "dedupe.h"

#include <assert.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/*
 * A ring of ids in order of arrival, and an open-addressed index of 32-bit ring positions + 1 over
 * it.  24 bytes an id and 4 bytes of index at a load of 0.67: 30 bytes.
 */
struct dedupe {
	size_t capacity;
	size_t count;
	size_t newest; /* ring position after the newest */
	struct dedupe_id *ring;
	uint32_t *index;
	size_t index_capacity;
};

static size_t index_capacity_of(size_t capacity)
{
	return capacity + capacity / 2 + 1;
}

struct dedupe *dedupe_create(size_t capacity)
{
	struct dedupe *dedupe = xcalloc(1, sizeof *dedupe);

	assert(capacity > 0 && capacity < UINT32_MAX);
	dedupe->capacity = capacity;
	dedupe->index_capacity = index_capacity_of(capacity);
	dedupe->ring = xcalloc(capacity, sizeof *dedupe->ring);
	dedupe->index = xcalloc(dedupe->index_capacity, sizeof *dedupe->index);
	return dedupe;
}

void dedupe_destroy(struct dedupe *dedupe)
{
	if (!dedupe)
		return;
	free(dedupe->ring);
	free(dedupe->index);
	free(dedupe);
}

void dedupe_clear(struct dedupe *dedupe)
{
	memset(dedupe->index, 0, dedupe->index_capacity * sizeof *dedupe->index);
	dedupe->count = 0;
	dedupe->newest = 0;
}

/* What makes two events with one id the same one.  No holes: it is hashed as bytes. */
struct content {
	currency_t currency;
	i128 amount;
	uint64_t type;
};

_Static_assert(sizeof(struct content) == 32, "struct content has no holes");

struct dedupe_id dedupe_id(const unsigned char key[DEDUPE_KEY_BYTES], const struct event *event)
{
	unsigned char text[sizeof event->account_id + TRANSACTION_ID_MAX];
	struct content content = {event->currency, event->amount, event->type};
	struct dedupe_id id;

	memcpy(text, &event->account_id, sizeof event->account_id);
	memcpy(text + sizeof event->account_id, event->transaction_id,
		event->transaction_id_length);
	crypto_shorthash_siphashx24((unsigned char *)id.hash, text,
		sizeof event->account_id + event->transaction_id_length, key);
	crypto_shorthash_siphash24(
		(unsigned char *)&id.fingerprint, (unsigned char *)&content, sizeof content, key);
	return id;
}

static size_t home_of(const struct dedupe *dedupe, const struct dedupe_id *id)
{
	return (size_t)((unsigned __int128)id->hash[0] * dedupe->index_capacity >> 64);
}

static size_t next_position(const struct dedupe *dedupe, size_t position)
{
	return position + 1 == dedupe->index_capacity ? 0 : position + 1;
}

static bool same_hash(const struct dedupe_id *a, const struct dedupe_id *b)
{
	return a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

/* The index position that holds this id, or the free one where it belongs. */
static size_t find(const struct dedupe *dedupe, const struct dedupe_id *id)
{
	size_t position = home_of(dedupe, id);

	while (dedupe->index[position] != 0 &&
		!same_hash(&dedupe->ring[dedupe->index[position] - 1], id))
		position = next_position(dedupe, position);
	return position;
}

static size_t distance(const struct dedupe *dedupe, size_t from, size_t to)
{
	return to >= from ? to - from : to + dedupe->index_capacity - from;
}

/* Takes the id at a ring position out of the index and closes the gap (backward shift). */
static void forget(struct dedupe *dedupe, size_t ring_position)
{
	size_t hole = find(dedupe, &dedupe->ring[ring_position]);
	size_t position;

	assert(dedupe->index[hole] == ring_position + 1);
	for (position = next_position(dedupe, hole); dedupe->index[position] != 0;
		position = next_position(dedupe, position)) {
		size_t home = home_of(dedupe, &dedupe->ring[dedupe->index[position] - 1]);

		if (distance(dedupe, home, position) < distance(dedupe, hole, position))
			continue;
		dedupe->index[hole] = dedupe->index[position];
		hole = position;
	}
	dedupe->index[hole] = 0;
	dedupe->count--;
}

static size_t back(const struct dedupe *dedupe, size_t steps)
{
	return dedupe->newest >= steps ? dedupe->newest - steps
				       : dedupe->newest + dedupe->capacity - steps;
}

void dedupe_prefetch(const struct dedupe *dedupe, const struct dedupe_id *id)
{
	__builtin_prefetch(&dedupe->index[home_of(dedupe, id)]);
}

enum dedupe_verdict dedupe_check(const struct dedupe *dedupe, const struct dedupe_id *id)
{
	uint32_t word = dedupe->index[find(dedupe, id)];

	if (word == 0)
		return DEDUPE_NEW;
	return dedupe->ring[word - 1].fingerprint == id->fingerprint ? DEDUPE_SAME
								     : DEDUPE_CONFLICT;
}

void dedupe_remember(struct dedupe *dedupe, const struct dedupe_id *id)
{
	size_t position;

	if (dedupe->count == dedupe->capacity)
		forget(dedupe, back(dedupe, dedupe->count));
	position = find(dedupe, id);
	assert(dedupe->index[position] == 0);
	dedupe->ring[dedupe->newest] = *id;
	dedupe->index[position] = (uint32_t)dedupe->newest + 1;
	dedupe->newest = dedupe->newest + 1 == dedupe->capacity ? 0 : dedupe->newest + 1;
	dedupe->count++;
}

void dedupe_forget_newest(struct dedupe *dedupe, size_t count)
{
	assert(count <= dedupe->count);
	while (count-- > 0) {
		dedupe->newest = back(dedupe, 1);
		forget(dedupe, dedupe->newest);
	}
}

size_t dedupe_count(const struct dedupe *dedupe)
{
	return dedupe->count;
}

size_t dedupe_bytes(size_t capacity)
{
	return capacity * sizeof(struct dedupe_id) + index_capacity_of(capacity) * sizeof(uint32_t);
}
