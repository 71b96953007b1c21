/* See outbox_batch.h. */
#include "outbox_batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define ARENA_CHUNK_BYTES ((size_t)256 * 1024)

void outbox_batch_init(struct outbox_batch *batch, size_t max_rows, size_t max_bytes)
{
	assert(max_rows > 0);
	*batch = (struct outbox_batch){.max_rows = max_rows, .max_bytes = max_bytes};
	batch->rows = xcalloc(max_rows, sizeof *batch->rows);
	arena_init(&batch->arena, ARENA_CHUNK_BYTES);
}

void outbox_batch_finish(struct outbox_batch *batch)
{
	arena_finish(&batch->arena);
	free(batch->rows);
}

void outbox_batch_reset(struct outbox_batch *batch)
{
	batch->count = 0;
	batch->bytes = 0;
	arena_reset(&batch->arena);
}

static const char *copy_text(struct outbox_batch *batch, const char *text)
{
	return arena_copy(&batch->arena, text, strlen(text) + 1);
}

bool outbox_batch_add(struct outbox_batch *batch, const struct outbox_row *row)
{
	size_t bytes = row->key_length + row->payload_length;
	struct outbox_row *to;

	if (batch->count == batch->max_rows)
		return false;
	if (batch->count > 0 && batch->bytes + bytes > batch->max_bytes)
		return false;
	to = &batch->rows[batch->count++];
	batch->bytes += bytes;
	*to = *row;
	to->event_id = copy_text(batch, row->event_id);
	to->topic = copy_text(batch, row->topic);
	if (row->key)
		to->key = arena_copy(&batch->arena, row->key, row->key_length);
	to->payload = arena_copy(&batch->arena, row->payload, row->payload_length);
	to->fate = OUTBOX_PENDING;
	to->reason = NULL;
	return true;
}

void outbox_batch_turn(struct outbox_batch *batch, enum outbox_fate from, enum outbox_fate to)
{
	for (size_t i = 0; i < batch->count; i++)
		if (batch->rows[i].fate == from)
			batch->rows[i].fate = to;
}

size_t outbox_batch_count(const struct outbox_batch *batch, enum outbox_fate fate)
{
	size_t count = 0;

	for (size_t i = 0; i < batch->count; i++)
		count += batch->rows[i].fate == fate;
	return count;
}

void outbox_batch_fail(struct outbox_batch *batch, size_t index, const char *reason)
{
	assert(index < batch->count);
	batch->rows[index].fate = OUTBOX_FAILED;
	batch->rows[index].reason = copy_text(batch, reason);
}
