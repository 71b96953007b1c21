/*
 * See image_map.h.
 *
 * A word of the index is 0 (free), or the number of an image + 1 under a tag of the key's hash, so
 * that a probe seldom touches an image in vain.  A key's home is hash * words >> 64, so the
 * index may have any size; it is at most half full.
 */
#include "image_map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define NUMBER_BITS       27
#define NUMBER_MASK       ((UINT32_C(1) << NUMBER_BITS) - 1)
#define CAPACITY_MIN      ((size_t)16)
#define PREFETCH_DISTANCE 8

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

static uint64_t key_hash(const struct image_map *map, struct balance_key key)
{
	return mix((uint64_t)key.account_id ^ map->seed ^ mix(key.currency));
}

static size_t home_of(const struct image_map *map, uint64_t hash)
{
	return (size_t)((unsigned __int128)hash * map->capacity >> 63);
}

static bool same_tag(uint32_t word, uint64_t hash)
{
	return ((word ^ (uint32_t)hash << NUMBER_BITS) & ~NUMBER_MASK) == 0;
}

static bool same_key(struct balance_key a, struct balance_key b)
{
	return a.account_id == b.account_id && a.currency == b.currency;
}

void image_map_init(struct image_map *map, uint64_t seed)
{
	*map = (struct image_map){.seed = seed};
}

void image_map_clear(struct image_map *map)
{
	free(map->images);
	free(map->index);
	image_map_init(map, map->seed);
}

void image_map_finish(struct image_map *map)
{
	image_map_clear(map);
}

/* The key's word, or the free one where it belongs.  The capacity is not 0. */
static uint32_t *find_word(const struct image_map *map, struct balance_key key, uint64_t hash)
{
	size_t words = 2 * map->capacity;

	for (size_t at = home_of(map, hash);; at = at + 1 == words ? 0 : at + 1) {
		uint32_t *word = &map->index[at];

		if (!*word)
			return word;
		if (same_tag(*word, hash) &&
			same_key(map->images[(*word & NUMBER_MASK) - 1].key, key))
			return word;
	}
}

static void write_word(uint32_t *word, uint64_t hash, size_t number)
{
	*word = (uint32_t)hash << NUMBER_BITS | (uint32_t)(number + 1);
}

void image_map_prefetch(const struct image_map *map, struct balance_key key)
{
	if (map->capacity)
		__builtin_prefetch(&map->index[home_of(map, key_hash(map, key))]);
}

void image_map_reserve(struct image_map *map, size_t count)
{
	assert(count <= IMAGE_MAP_COUNT_MAX);
	if (count <= map->capacity)
		return;
	map->capacity = count;
	map->images = xrealloc(map->images, count * sizeof *map->images);
	free(map->index);
	map->index = xcalloc(2 * count, sizeof *map->index);
	for (size_t i = 0; i < map->count; i++) {
		uint64_t hash = key_hash(map, map->images[i].key);

		if (i + PREFETCH_DISTANCE < map->count)
			image_map_prefetch(map, map->images[i + PREFETCH_DISTANCE].key);
		write_word(find_word(map, map->images[i].key, hash), hash, i);
	}
}

static void make_room(struct image_map *map)
{
	size_t capacity = map->count * 3 / 2;

	if (map->count < map->capacity)
		return;
	if (capacity < CAPACITY_MIN)
		capacity = CAPACITY_MIN;
	if (capacity > IMAGE_MAP_COUNT_MAX)
		capacity = IMAGE_MAP_COUNT_MAX;
	assert(capacity > map->count);
	image_map_reserve(map, capacity);
}

enum image_put image_map_put(struct image_map *map, const struct snapshot_image *image)
{
	uint64_t hash = key_hash(map, image->key);
	struct snapshot_image *old;
	uint32_t *word;

	make_room(map);
	word = find_word(map, image->key, hash);
	if (!*word) {
		write_word(word, hash, map->count);
		map->images[map->count++] = *image;
		return IMAGE_ADDED;
	}
	old = &map->images[(*word & NUMBER_MASK) - 1];
	if (old->version > image->version)
		return IMAGE_STALE;
	*old = *image;
	return IMAGE_REPLACED;
}

struct snapshot_image *image_map_find(const struct image_map *map, struct balance_key key)
{
	uint32_t word;

	if (!map->capacity)
		return NULL;
	word = *find_word(map, key, key_hash(map, key));
	return word ? &map->images[(word & NUMBER_MASK) - 1] : NULL;
}
