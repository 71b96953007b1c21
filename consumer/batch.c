#include "batch.h"

#include <assert.h>
#include <stdlib.h>

#include "mem.h"

#define ARENA_CHUNK_BYTES_MAX ((size_t)1 << 20)
#define ARENA_CHUNK_BYTES_MIN ((size_t)64 << 10)

/* What a batch may waste in its arena, twice, is small beside what it may hold. */
static size_t chunk_bytes(size_t bytes_max)
{
	size_t bytes = bytes_max / 16;

	if (bytes > ARENA_CHUNK_BYTES_MAX)
		return ARENA_CHUNK_BYTES_MAX;
	return bytes > ARENA_CHUNK_BYTES_MIN ? bytes : ARENA_CHUNK_BYTES_MIN;
}

void batch_init(struct batch *b, size_t capacity, size_t bytes_max, enum balance_pin pin)
{
	assert(capacity > 0);
	*b = (struct batch){.capacity = capacity, .bytes_max = bytes_max, .pin = pin};
	arena_init(&b->arena, chunk_bytes(bytes_max));
	b->records = xmap_small(capacity * sizeof *b->records);
	b->touched = xmap_small(capacity * sizeof *b->touched);
	b->order = xcalloc(capacity, sizeof *b->order);
}

void batch_finish(struct batch *b)
{
	arena_finish(&b->arena);
	xunmap(b->records, b->capacity * sizeof *b->records);
	xunmap(b->touched, b->capacity * sizeof *b->touched);
	free(b->order);
}

void batch_reset(struct batch *b, int64_t begin_offset)
{
	arena_reset(&b->arena);
	b->count = 0;
	b->bytes = 0;
	b->begin_offset = begin_offset;
	b->end_offset = begin_offset;
	b->closed_ms = 0;
	b->journal_count = 0;
	b->dead_letter_count = 0;
	b->refused_count = 0;
	b->duplicate_count = 0;
	b->remembered_count = 0;
	b->touched_count = 0;
	b->known_count = 0;
}

bool batch_full(const struct batch *b)
{
	return b->count == b->capacity || b->bytes >= b->bytes_max;
}

bool batch_empty(const struct batch *b)
{
	return b->end_offset == b->begin_offset;
}

struct record *batch_add(struct batch *b, const struct message *message)
{
	struct record *record = &b->records[b->count];

	assert(!batch_full(b));
	assert(message->offset >= b->end_offset);

	record->message = *message;
	record->balance = BALANCE_NONE;
	record->dead_reason = DEAD_NONE;
	record->detail = NULL;
	record->outcome = OUTCOME_PENDING;
	record->refusal = REFUSAL_NONE;

	b->count++;
	b->bytes += message->key_length + message->value_length;
	b->end_offset = message->offset + 1;
	return record;
}

static const char *copy_bytes(struct batch *b, const char *bytes, size_t length)
{
	return bytes ? arena_copy(&b->arena, bytes, length) : NULL;
}

void batch_keep(struct batch *b, struct record *record)
{
	struct message *message = &record->message;

	message->key = copy_bytes(b, message->key, message->key_length);
	message->value = copy_bytes(b, message->value, message->value_length);
	message->headers = copy_bytes(b, message->headers, message->headers_length);
}

void batch_advance(struct batch *b, int64_t end_offset)
{
	if (end_offset > b->end_offset)
		b->end_offset = end_offset;
}

size_t batch_bytes_max(size_t capacity, size_t bytes_max)
{
	size_t each = sizeof(struct record) + sizeof(struct touched) + sizeof(uint32_t) +
		      MESSAGE_OVERHEAD_BYTES;

	return capacity * each + bytes_max + 2 * chunk_bytes(bytes_max);
}
