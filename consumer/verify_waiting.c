/* See verify_waiting.h. */
#include "verify_waiting.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define CAPACITY_MIN 64

struct verify_waiting_node {
	struct verify_row row;
	balance_ref ref;
	bool taken;
	uint32_t next_by_offset; /* place + 1 of the next in the chain; 0: the last */
	uint32_t next_by_prev;
};

_Static_assert(sizeof(struct verify_waiting_node) + 2 * sizeof(uint32_t) <= VERIFY_WAITING_BYTES,
	"what the header promises");

void verify_waiting_init(struct verify_waiting *waiting)
{
	*waiting = (struct verify_waiting){0};
}

void verify_waiting_finish(struct verify_waiting *waiting)
{
	free(waiting->nodes);
	free(waiting->by_offset);
	free(waiting->by_prev);
}

static size_t bucket_of(const struct verify_waiting *waiting, int64_t offset)
{
	uint64_t mixed = (uint64_t)offset * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(mixed >> 32) & (waiting->capacity - 1);
}

static void link_node(struct verify_waiting *waiting, size_t place)
{
	struct verify_waiting_node *node = &waiting->nodes[place];
	uint32_t *offset_head = &waiting->by_offset[bucket_of(waiting, node->row.offset)];
	uint32_t *prev_head = &waiting->by_prev[bucket_of(waiting, node->row.prev_offset)];

	node->next_by_offset = *offset_head;
	node->next_by_prev = *prev_head;
	*offset_head = *prev_head = (uint32_t)place + 1;
}

/* Closes the gaps that taken rows have left, or doubles. */
static void make_room(struct verify_waiting *waiting)
{
	size_t kept = 0;

	if (waiting->count >= waiting->capacity / 2) {
		waiting->capacity = waiting->capacity ? 2 * waiting->capacity : CAPACITY_MIN;
		waiting->nodes = xrealloc(
			waiting->nodes, waiting->capacity * sizeof *waiting->nodes);
	}
	free(waiting->by_offset);
	free(waiting->by_prev);
	waiting->by_offset = xcalloc(waiting->capacity, sizeof *waiting->by_offset);
	waiting->by_prev = xcalloc(waiting->capacity, sizeof *waiting->by_prev);
	for (size_t i = 0; i < waiting->used; i++) {
		if (waiting->nodes[i].taken)
			continue;
		waiting->nodes[kept] = waiting->nodes[i];
		link_node(waiting, kept++);
	}
	waiting->used = kept;
	assert(kept == waiting->count);
}

void verify_waiting_add(
	struct verify_waiting *waiting, balance_ref ref, const struct verify_row *row)
{
	if (waiting->used == waiting->capacity)
		make_room(waiting);
	assert(waiting->used == 0 || waiting->nodes[waiting->used - 1].row.offset < row->offset);
	waiting->nodes[waiting->used] = (struct verify_waiting_node){.row = *row, .ref = ref};
	link_node(waiting, waiting->used++);
	waiting->count++;
}

bool verify_waiting_has(const struct verify_waiting *waiting, balance_ref ref, int64_t offset)
{
	uint32_t at = waiting->count ? waiting->by_offset[bucket_of(waiting, offset)] : 0;

	for (; at != 0; at = waiting->nodes[at - 1].next_by_offset) {
		const struct verify_waiting_node *node = &waiting->nodes[at - 1];

		if (node->row.offset == offset && node->ref == ref && !node->taken)
			return true;
	}
	return false;
}

bool verify_waiting_take(struct verify_waiting *waiting, balance_ref ref, int64_t prev_offset,
	struct verify_row *ret_row)
{
	uint32_t at = waiting->count ? waiting->by_prev[bucket_of(waiting, prev_offset)] : 0;
	struct verify_waiting_node *first = NULL;

	for (; at != 0; at = waiting->nodes[at - 1].next_by_prev) {
		struct verify_waiting_node *node = &waiting->nodes[at - 1];

		if (node->row.prev_offset == prev_offset && node->ref == ref && !node->taken)
			first = node; /* the newest comes first in a chain */
	}
	if (!first)
		return false;
	*ret_row = first->row;
	first->taken = true;
	waiting->count--;
	return true;
}

const struct verify_row *verify_waiting_next(
	const struct verify_waiting *waiting, size_t *cursor, balance_ref *ret_ref)
{
	for (; *cursor < waiting->used; ++*cursor) {
		const struct verify_waiting_node *node = &waiting->nodes[*cursor];

		if (!node->taken) {
			*ret_ref = node->ref;
			return &node->row;
		}
	}
	return NULL;
}

void verify_waiting_drop(struct verify_waiting *waiting, size_t cursor)
{
	assert(cursor < waiting->used && !waiting->nodes[cursor].taken);
	waiting->nodes[cursor].taken = true;
	waiting->count--;
}
