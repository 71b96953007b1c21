/*
 * A batch's arena: bytes that live until the whole is reset.  Grows by chunks that never move, so
 * pointers into it stay good; a reset keeps one chunk for the next batch.
 */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first */
	size_t chunk_bytes;         /* size of an ordinary chunk */
	size_t used_bytes;          /* handed out since the last reset */
	size_t held_bytes;          /* taken from the system */
};

void arena_init(struct arena *arena, size_t chunk_bytes);
void arena_finish(struct arena *arena);
void arena_reset(struct arena *arena);

/* Never NULL; aligned to 8 bytes; the bytes are not cleared. */
void *arena_take(struct arena *arena, size_t length);

/* A copy of bytes[0..length). */
void *arena_copy(struct arena *arena, const void *bytes, size_t length);

#endif
