/*
 * The newest image of each balance, by account and currency: what waits for Redis, or what a Redis
 * in memory holds.
 *
 * Images lie in one array, in the order in which their keys came, so that they can be handed on as
 * they are; an open-addressed index finds them.  Nothing is ever removed but all at once.  At most
 * IMAGE_MAP_BYTES_MAX bytes an image, and none while it is empty.
 *
 * Pure; owned by its embedder, who also does the locking.  Pointers to images are good until the
 * next put.
 */
#ifndef CONSUMER_IMAGE_MAP_H
#define CONSUMER_IMAGE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "snapshot.h"

#define IMAGE_MAP_COUNT_MAX (((size_t)1 << 27) - 2)
#define IMAGE_MAP_BYTES_MAX ((sizeof(struct snapshot_image) + 8) * 3 / 2)

struct image_map {
	struct snapshot_image *images; /* images[0..count) */
	size_t count;
	size_t capacity;
	uint32_t *index; /* two words for each image of the capacity */
	uint64_t seed;
};

/* seed: of the hash, random in the daemon, so that nobody can choose account ids that collide. */
void image_map_init(struct image_map *map, uint64_t seed);
void image_map_finish(struct image_map *map);

/* Forgets all images and gives the memory back. */
void image_map_clear(struct image_map *map);

/* Makes room for `count` images in all. */
void image_map_reserve(struct image_map *map, size_t count);

/* Brings what a put or find of this key will touch first into the cache. */
void image_map_prefetch(const struct image_map *map, struct balance_key key);

/*
 * The last write wins, by version: keeps the image unless the map has one with a higher version; an
 * equal one is overwritten.
 */
enum image_put {
	IMAGE_ADDED,
	IMAGE_REPLACED,
	IMAGE_STALE, /* the map has a higher version, and kept it */
};
enum image_put image_map_put(struct image_map *map, const struct snapshot_image *image);

/* NULL if the key is not there. */
struct snapshot_image *image_map_find(const struct image_map *map, struct balance_key key);

#endif
