/* See outbox_store_memory.h. */
#include "outbox_store_memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lease_store.h"
#include "mem.h"

struct outbox_store_memory {
	struct outbox_store store;
	struct outbox_memory_db *db;
	uint64_t cuts; /* the server's, as far as this connection knows */
	outbox_memory_fault_fn *fault;
	void *context;
	enum outbox_memory_fault present; /* of the call that is being made */
};

/* The server ----------------------------------------------------------------------------------- */

void outbox_memory_db_init(
	struct outbox_memory_db *db, int64_t (*now_us)(void *context), void *context)
{
	*db = (struct outbox_memory_db){.next_id = 1, .now_us = now_us, .context = context};
}

void outbox_memory_db_finish(struct outbox_memory_db *db)
{
	free(db->rows);
	db->rows = NULL;
}

static void make_room(struct outbox_memory_db *db, size_t count)
{
	if (count <= db->capacity)
		return;
	db->capacity = 2 * count;
	db->rows = xrealloc(db->rows, db->capacity * sizeof *db->rows);
}

void outbox_memory_db_commit(struct outbox_memory_db *db, const struct outbox_row *row)
{
	size_t at = db->count;

	assert(row->id > 0 && row->id < db->next_id);
	make_room(db, db->count + 1);
	while (at > 0 && db->rows[at - 1].id > row->id)
		at--;
	assert(at == 0 || db->rows[at - 1].id < row->id);
	memmove(&db->rows[at + 1], &db->rows[at], (db->count - at) * sizeof *db->rows);
	db->rows[at] = *row;
	db->rows[at].fate = OUTBOX_PENDING;
	db->count++;
}

static void copy_rows(struct outbox_memory_db *to, const struct outbox_memory_db *from)
{
	make_room(to, from->count);
	to->count = from->count;
	if (from->count > 0)
		memcpy(to->rows, from->rows, from->count * sizeof *to->rows);
	to->next_id = from->count ? from->rows[from->count - 1].id + 1 : 1;
	to->epoch = from->epoch;
	to->expires_us = from->expires_us;
}

void outbox_memory_db_copy(struct outbox_memory_db *to, const struct outbox_memory_db *from)
{
	outbox_memory_db_init(to, from->now_us, from->context);
	copy_rows(to, from);
}

void outbox_memory_db_restore(struct outbox_memory_db *db, const struct outbox_memory_db *copy)
{
	copy_rows(db, copy);
	db->cuts++;
}

static int64_t new_epoch(struct outbox_memory_db *db)
{
	int64_t now_us = db->now_us(db->context);
	int64_t epoch = db->epoch + 1 + (int64_t)splitmix_below(&db->random, LEASE_EPOCH_STEP_MAX);

	return epoch > now_us ? epoch : now_us;
}

static void extend(struct outbox_memory_db *db, int64_t ttl_ms)
{
	db->expires_us = db->now_us(db->context) + ttl_ms * 1000;
}

/* Whether a statement that asks for this epoch matches the lease. */
static bool is_held(const struct outbox_memory_db *db, int64_t epoch)
{
	return db->epoch == epoch;
}

/* How a call fails ----------------------------------------------------------------------------- */

static struct outbox_store_memory *self(struct outbox_store *s)
{
	return (struct outbox_store_memory *)s;
}

/* Before anything happens. */
static enum db_result enter(struct outbox_store_memory *s, const char *what, struct error *err)
{
	bool broken = s->cuts != s->db->cuts;

	s->present = s->fault ? s->fault(s->context, what) : OUTBOX_FAULT_NONE;
	broken |= s->cuts != s->db->cuts; /* meanwhile */
	s->cuts = s->db->cuts;
	if (broken || s->present == OUTBOX_FAULT_LOST_BEFORE) {
		error_set(err, -1, "the database (in memory) has broken the connection");
		return DB_LOST;
	}
	if (s->present == OUTBOX_FAULT_RETRY) {
		error_set(err, -1, "the database (in memory) was told to fail");
		return DB_RETRY;
	}
	return DB_OK;
}

/* After everything has happened. */
static enum db_result leave(struct outbox_store_memory *s, struct error *err)
{
	if (s->present != OUTBOX_FAULT_LOST_AFTER)
		return DB_OK;
	error_set(err, -1, "the database (in memory) was told to lose the answer");
	return DB_LOST;
}

/* The calls ------------------------------------------------------------------------------------ */

static enum db_result memory_acquire(struct outbox_store *store, const char *holder, int64_t ttl_ms,
	int64_t *ret_epoch, struct error *err)
{
	struct outbox_store_memory *s = self(store);
	enum db_result result = enter(s, "acquire", err);

	*ret_epoch = 0;
	if (result != DB_OK)
		return result;
	if (s->db->expires_us <= s->db->now_us(s->db->context)) {
		s->db->epoch = new_epoch(s->db);
		extend(s->db, ttl_ms);
		*ret_epoch = s->db->epoch;
	}
	result = leave(s, err);
	if (result != DB_OK)
		*ret_epoch = 0;
	return result;
}

static enum db_result memory_renew(struct outbox_store *store, int64_t epoch, int64_t ttl_ms,
	bool *ret_held, struct error *err)
{
	struct outbox_store_memory *s = self(store);
	enum db_result result = enter(s, "renew", err);

	if (result != DB_OK)
		return result;
	*ret_held = is_held(s->db, epoch);
	if (*ret_held)
		extend(s->db, ttl_ms);
	return leave(s, err);
}

static enum db_result memory_release(struct outbox_store *store, int64_t epoch, struct error *err)
{
	struct outbox_store_memory *s = self(store);
	enum db_result result = enter(s, "release", err);

	if (result != DB_OK)
		return result;
	if (is_held(s->db, epoch))
		s->db->expires_us = s->db->now_us(s->db->context);
	return leave(s, err);
}

static bool is_aside(const struct outbox_row *row, const char *const *aside, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(aside[i], row->topic) == 0)
			return true;
	return false;
}

static enum db_result memory_pending(struct outbox_store *store, const char *const *aside,
	size_t aside_count, struct outbox_batch *batch, struct error *err)
{
	struct outbox_store_memory *s = self(store);
	enum db_result result = enter(s, "pending", err);

	if (result != DB_OK)
		return result;
	for (size_t i = 0; i < s->db->count; i++) {
		const struct outbox_row *row = &s->db->rows[i];

		if (row->fate != OUTBOX_PENDING || is_aside(row, aside, aside_count))
			continue;
		if (!outbox_batch_add(batch, row))
			break;
	}
	return leave(s, err);
}

/* Both ascend by id. */
static void mark_rows(struct outbox_memory_db *db, const struct outbox_batch *batch)
{
	size_t at = 0;

	for (size_t i = 0; i < batch->count; i++) {
		const struct outbox_row *from = &batch->rows[i];

		while (at < db->count && db->rows[at].id < from->id)
			at++;
		if (at == db->count)
			return;
		if (db->rows[at].id != from->id || db->rows[at].fate != OUTBOX_PENDING ||
			(from->fate != OUTBOX_SENT && from->fate != OUTBOX_FAILED))
			continue;
		if (strcmp(db->rows[at].event_id, from->event_id) == 0)
			db->rows[at].fate = from->fate;
	}
}

static enum db_result memory_mark(struct outbox_store *store, int64_t epoch, int64_t ttl_ms,
	const struct outbox_batch *batch, bool *ret_held, struct error *err)
{
	struct outbox_store_memory *s = self(store);
	enum db_result result = enter(s, "mark", err);

	if (result != DB_OK)
		return result;
	*ret_held = s->db->epoch == epoch;
	if (*ret_held) {
		extend(s->db, ttl_ms);
		mark_rows(s->db, batch);
		s->db->marks++;
		s->db->marking_epoch = epoch;
	}
	return leave(s, err);
}

static void memory_destroy(struct outbox_store *store)
{
	free(store);
}

static const struct outbox_store_ops memory_ops = {
	.acquire = memory_acquire,
	.renew = memory_renew,
	.release = memory_release,
	.pending = memory_pending,
	.mark = memory_mark,
	.destroy = memory_destroy,
};

struct outbox_store *outbox_store_memory_create(
	struct outbox_memory_db *db, outbox_memory_fault_fn *fault, void *context)
{
	struct outbox_store_memory *s = xcalloc(1, sizeof *s);

	s->store.ops = &memory_ops;
	s->db = db;
	s->cuts = db->cuts;
	s->fault = fault;
	s->context = context;
	return &s->store;
}
