#include "dedupe.h"

#include <assert.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/*
 * A ring of ids in order of arrival, and an open-addressed index over it: 24 bytes an id, and at
 * most half of the index's words of 4 bytes in use, together 32.  A word is a ring position + 1
 * (0: free) under as many bits of the hash as it leaves free, so that a probe seldom touches the
 * ring in vain: that is far away, and in no order that a cache would know.
 */
struct dedupe {
	size_t capacity;
	size_t count;
	size_t newest; /* ring position after the newest */
	struct dedupe_id *ring;
	uint32_t *index;
	size_t index_capacity;
	uint32_t position_mask; /* of a word; the tag is above it */
};

/* When many ids are forgotten, what each needs is fetched so many ids ahead. */
#define INDEX_AHEAD 32
#define RING_AHEAD  16

static size_t index_capacity_of(size_t capacity)
{
	return 2 * capacity;
}

/* All bits that positions up to capacity need. */
static uint32_t position_mask_of(size_t capacity)
{
	return UINT32_MAX >> __builtin_clz((uint32_t)capacity);
}

struct dedupe *dedupe_create(size_t capacity)
{
	struct dedupe *dedupe = xcalloc(1, sizeof *dedupe);

	assert(capacity > 0 && capacity <= INT32_MAX);
	dedupe->capacity = capacity;
	dedupe->position_mask = position_mask_of(capacity);
	dedupe->index_capacity = index_capacity_of(capacity);
	dedupe->ring = xmap(capacity * sizeof *dedupe->ring);
	dedupe->index = xmap(dedupe->index_capacity * sizeof *dedupe->index);
	return dedupe;
}

void dedupe_destroy(struct dedupe *dedupe)
{
	if (!dedupe)
		return;
	xunmap(dedupe->ring, dedupe->capacity * sizeof *dedupe->ring);
	xunmap(dedupe->index, dedupe->index_capacity * sizeof *dedupe->index);
	free(dedupe);
}

void dedupe_clear(struct dedupe *dedupe)
{
	memset(dedupe->index, 0, dedupe->index_capacity * sizeof *dedupe->index);
	dedupe->count = 0;
	dedupe->newest = 0;
}

/* The factors are hashes of their numbers: no id is a text of one byte. */
struct dedupe_key dedupe_key(const unsigned char secret[DEDUPE_KEY_BYTES])
{
	struct dedupe_key key;

	memcpy(key.secret, secret, sizeof key.secret);
	for (unsigned char i = 0; i < 3; i++)
		crypto_shorthash_siphashx24((unsigned char *)&key.content[i], &i, 1, secret);
	return key;
}

/*
 * Multilinear hashing: the words of the content times the key's, summed up modulo 2^128; the upper
 * half of that.  Two contents differ in some word by an odd number times 2^t, t < 64, so over all
 * keys their difference is spread evenly over the multiples of 2^t, and is one of those below 2^64
 * with a chance of 2^-63 (Lemire and Kaser, "Strongly universal string hashing is fast").
 */
static uint64_t fingerprint(const struct dedupe_key *key, const struct event *event)
{
	uint64_t head = event->currency << 3 | event->type;
	unsigned __int128 amount = (unsigned __int128)event->amount;
	unsigned __int128 sum = key->content[0] * head + key->content[1] * (uint64_t)amount +
				key->content[2] * (uint64_t)(amount >> 64);

	_Static_assert(CURRENCY_LENGTH_MAX * 6 + 3 < 64 && EVENT_SETTLE < 8, "both fit the head");
	return (uint64_t)(sum >> 64);
}

struct dedupe_id dedupe_id(const struct dedupe_key *key, const struct event *event)
{
	unsigned char text[sizeof event->account_id + TRANSACTION_ID_MAX];
	struct dedupe_id id;

	memcpy(text, &event->account_id, sizeof event->account_id);
	memcpy(text + sizeof event->account_id, event->transaction_id,
		event->transaction_id_length);
	crypto_shorthash_siphashx24((unsigned char *)id.hash, text,
		sizeof event->account_id + event->transaction_id_length, key->secret);
	id.fingerprint = fingerprint(key, event);
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

/* The home is of the hash's first half, the tag of its second. */
static uint32_t tag_of(const struct dedupe *dedupe, const struct dedupe_id *id)
{
	return (uint32_t)id->hash[1] & ~dedupe->position_mask;
}

/* The id that a word of the index stands for. */
static const struct dedupe_id *at(const struct dedupe *dedupe, uint32_t word)
{
	return &dedupe->ring[(word & dedupe->position_mask) - 1];
}

/* The index position that holds this id, or the free one where it belongs. */
static size_t find(const struct dedupe *dedupe, const struct dedupe_id *id)
{
	uint32_t tag = tag_of(dedupe, id);
	size_t position = home_of(dedupe, id);
	uint32_t word;

	for (; (word = dedupe->index[position]) != 0; position = next_position(dedupe, position))
		if ((word & ~dedupe->position_mask) == tag && same_hash(at(dedupe, word), id))
			break;
	return position;
}

/* The index position that holds the id of this ring position; it is there. */
static size_t find_at(const struct dedupe *dedupe, size_t ring_position)
{
	const struct dedupe_id *id = &dedupe->ring[ring_position];
	uint32_t word = tag_of(dedupe, id) | ((uint32_t)ring_position + 1);
	size_t position = home_of(dedupe, id);

	while (dedupe->index[position] != word) {
		assert(dedupe->index[position] != 0);
		position = next_position(dedupe, position);
	}
	return position;
}

static size_t distance(const struct dedupe *dedupe, size_t from, size_t to)
{
	return to >= from ? to - from : to + dedupe->index_capacity - from;
}

/* Takes the id at a ring position out of the index and closes the gap (backward shift). */
static void forget(struct dedupe *dedupe, size_t ring_position)
{
	size_t hole = find_at(dedupe, ring_position);
	size_t position;

	for (position = next_position(dedupe, hole); dedupe->index[position] != 0;
		position = next_position(dedupe, position)) {
		size_t home = home_of(dedupe, at(dedupe, dedupe->index[position]));

		if (distance(dedupe, home, position) < distance(dedupe, hole, position))
			continue;
		dedupe->index[hole] = dedupe->index[position];
		hole = position;
	}
	dedupe->index[hole] = 0;
	dedupe->count--;
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
	return at(dedupe, word)->fingerprint == id->fingerprint ? DEDUPE_SAME : DEDUPE_CONFLICT;
}

/* The ring position of an id, the newest being the first: 1 to count. */
static size_t back(const struct dedupe *dedupe, size_t steps)
{
	return dedupe->newest >= steps ? dedupe->newest - steps
				       : dedupe->newest + dedupe->capacity - steps;
}

/* What forgetting the oldest will touch, for the one that is `steps` back. */
static void prefetch_index(const struct dedupe *dedupe, size_t steps)
{
	dedupe_prefetch(dedupe, &dedupe->ring[back(dedupe, steps)]);
}

static void prefetch_followers(const struct dedupe *dedupe, size_t steps)
{
	size_t position = home_of(dedupe, &dedupe->ring[back(dedupe, steps)]);

	for (; dedupe->index[position] != 0; position = next_position(dedupe, position))
		__builtin_prefetch(at(dedupe, dedupe->index[position]));
}

void dedupe_reserve(struct dedupe *dedupe, size_t count)
{
	assert(count <= dedupe->capacity);
	while (dedupe->capacity - dedupe->count < count) {
		if (dedupe->count > INDEX_AHEAD)
			prefetch_index(dedupe, dedupe->count - INDEX_AHEAD);
		if (dedupe->count > RING_AHEAD)
			prefetch_followers(dedupe, dedupe->count - RING_AHEAD);
		forget(dedupe, back(dedupe, dedupe->count));
	}
}

void dedupe_remember(struct dedupe *dedupe, const struct dedupe_id *id)
{
	size_t position;

	if (dedupe->count == dedupe->capacity)
		forget(dedupe, back(dedupe, dedupe->count));
	position = find(dedupe, id);
	assert(dedupe->index[position] == 0);
	dedupe->ring[dedupe->newest] = *id;
	dedupe->index[position] = tag_of(dedupe, id) | ((uint32_t)dedupe->newest + 1);
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
