#include "arena.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct arena_chunk {
	struct arena_chunk *next;
	size_t capacity;
	size_t used;
	_Alignas(8) char bytes[];
};

static struct arena_chunk *chunk_create(struct arena *arena, size_t capacity)
{
	struct arena_chunk *chunk = xmalloc(sizeof *chunk + capacity);

	chunk->next = arena->chunks;
	chunk->capacity = capacity;
	chunk->used = 0;
	arena->chunks = chunk;
	arena->held_bytes += capacity;
	return chunk;
}

static void chunks_free(struct arena *arena, struct arena_chunk *chunk)
{
	while (chunk) {
		struct arena_chunk *next = chunk->next;

		arena->held_bytes -= chunk->capacity;
		free(chunk);
		chunk = next;
	}
}

void arena_init(struct arena *arena, size_t chunk_bytes)
{
	*arena = (struct arena){.chunk_bytes = chunk_bytes};
}

void arena_finish(struct arena *arena)
{
	chunks_free(arena, arena->chunks);
	arena->chunks = NULL;
}

void arena_reset(struct arena *arena)
{
	struct arena_chunk *keep = arena->chunks;

	arena->used_bytes = 0;
	if (!keep)
		return;
	chunks_free(arena, keep->next);
	keep->next = NULL;
	keep->used = 0;
	if (keep->capacity > arena->chunk_bytes)
		arena_finish(arena);
}

void *arena_take(struct arena *arena, size_t length)
{
	struct arena_chunk *chunk = arena->chunks;
	size_t rounded = (length + 7) & ~(size_t)7;
	void *bytes;

	if (!chunk || chunk->capacity - chunk->used < rounded)
		chunk = chunk_create(
			arena, rounded > arena->chunk_bytes ? rounded : arena->chunk_bytes);
	bytes = chunk->bytes + chunk->used;
	chunk->used += rounded;
	arena->used_bytes += rounded;
	return bytes;
}

void *arena_copy(struct arena *arena, const void *bytes, size_t length)
{
	void *copy = arena_take(arena, length);

	if (length)
		memcpy(copy, bytes, length);
	return copy;
}
