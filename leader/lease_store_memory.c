/* See lease_store_memory.h. */
#include "lease_store_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

static void copy_id(char to[LEASE_CONSUMER_ID_MAX + 1], const char *id)
{
	assert(strlen(id) <= LEASE_CONSUMER_ID_MAX);
	snprintf(to, LEASE_CONSUMER_ID_MAX + 1, "%s", id);
}

static int32_t *copy_partitions(const int32_t *partitions, size_t count)
{
	int32_t *copy = xcalloc(count, sizeof(*copy));

	if (count)
		memcpy(copy, partitions, count * sizeof(*copy));
	return copy;
}

/* The database ------------------------------------------------------------------------------- */

void lease_store_memory_db_init(struct lease_db *db, struct partition_offset_row *offsets,
	int32_t offset_count, int64_t (*now_us)(void *context), void *context)
{
	*db = (struct lease_db){
		.rows = xcalloc((size_t)offset_count, sizeof(*db->rows)),
		.offsets = offsets,
		.offset_count = offset_count,
		.now_us = now_us,
		.context = context,
	};
}

static void forget_members(struct lease_db *db)
{
	for (size_t m = 0; m < db->member_count; m++)
		free(db->members[m].member.partitions);
	free(db->members);
	db->members = NULL;
	db->member_count = 0;
}

void lease_store_memory_db_finish(struct lease_db *db)
{
	forget_members(db);
	free(db->rows);
}

void lease_store_memory_db_restore(struct lease_db *db, const struct lease_db *copy)
{
	assert(db->offset_count == copy->offset_count);
	forget_members(db);
	db->cuts++;
	db->row_count = copy->row_count;
	db->member_count = copy->member_count;
	db->members = xcalloc(copy->member_count, sizeof(*db->members));
	for (size_t m = 0; m < copy->member_count; m++) {
		const struct lease_member *from = &copy->members[m].member;

		db->members[m] = copy->members[m];
		db->members[m].member.partitions = copy_partitions(
			from->partitions, from->partition_count);
	}
	for (int32_t p = 0; p < copy->offset_count; p++) {
		db->rows[p] = copy->rows[p];
		db->offsets[p] = copy->offsets[p];
		db->offsets[p].locked_by = NULL;
	}
}

/* Where this member stands, or should stand. */
static size_t find_member(const struct lease_db *db, const char *consumer_id, bool *ret_found)
{
	size_t m = 0;

	while (m < db->member_count && strcmp(db->members[m].member.consumer_id, consumer_id) < 0)
		m++;
	*ret_found = m < db->member_count &&
		     strcmp(db->members[m].member.consumer_id, consumer_id) == 0;
	return m;
}

static struct lease_db_member *add_member(struct lease_db *db, const char *consumer_id)
{
	bool found;
	size_t m = find_member(db, consumer_id, &found);

	if (found)
		return &db->members[m];
	db->members = xrealloc(db->members, (db->member_count + 1) * sizeof(*db->members));
	memmove(db->members + m + 1, db->members + m,
		(db->member_count - m) * sizeof(*db->members));
	db->member_count++;
	db->members[m] = (struct lease_db_member){0};
	copy_id(db->members[m].member.consumer_id, consumer_id);
	return &db->members[m];
}

static void remove_member(struct lease_db *db, const char *consumer_id)
{
	bool found;
	size_t m = find_member(db, consumer_id, &found);

	if (!found)
		return;
	free(db->members[m].member.partitions);
	db->member_count--;
	memmove(db->members + m, db->members + m + 1,
		(db->member_count - m) * sizeof(*db->members));
}

/* How a call fails --------------------------------------------------------------------------- */

static void wait_a_while(struct lease_store_memory *s, bool lock)
{
	if (s->on_wait)
		s->on_wait(s->wait_context, lock);
}

/* Before anything happens. */
static int enter(struct lease_store_memory *s, const char *call, struct error *err)
{
	bool broken = s->cuts != s->db->cuts; /* the next call connects anew */

	s->call = call;
	s->failed_before = s->lost_answer = false;
	wait_a_while(s, false);
	s->cuts = s->db->cuts;
	if (!s->unreachable && !s->fail_before && !broken)
		return 0;
	s->failed_before = true;
	if (!s->unreachable && s->fail_before)
		s->fail_before--;
	return error_set(err, -EIO, "lease store in memory: told to fail");
}

/* After everything has happened. */
static int leave(struct lease_store_memory *s, int result, struct error *err)
{
	wait_a_while(s, false);
	if (!s->lose_answer)
		return result;
	s->lose_answer--;
	s->lost_answer = true;
	return error_set(err, -EIO, "lease store in memory: told to lose the answer");
}

/* The calls ---------------------------------------------------------------------------------- */

static int memory_prepare(struct lease_store *store, int32_t partitions, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	int result = enter(s, "prepare", err);

	if (result < 0)
		return result;
	assert(partitions <= s->db->offset_count);
	if (s->db->row_count < partitions)
		s->db->row_count = partitions;
	return leave(s, 0, err);
}

static void read_row(const struct lease_db *db, int32_t partition, struct lease_row *ret_row)
{
	const struct lease_db_row *row = &db->rows[partition];
	int64_t now_us = db->now_us(db->context);

	*ret_row = (struct lease_row){
		.partition = partition,
		.epoch = row->epoch,
		.expires_us = row->expires_us,
		.held = row->expires_us > now_us,
		.halted = db->offsets[partition].halted,
	};
	copy_id(ret_row->consumer_id, row->consumer_id);
	if (row->requested_until_us > now_us)
		copy_id(ret_row->requested_by, row->requested_by);
}

static void read_members(const struct lease_db *db, struct lease_view *view)
{
	view->members = xcalloc(db->member_count, sizeof(*view->members));
	for (size_t m = 0; m < db->member_count; m++) {
		const struct lease_member *from = &db->members[m].member;
		struct lease_member *to = &view->members[view->member_count];

		if (db->members[m].expires_us <= db->now_us(db->context))
			continue;
		*to = *from;
		to->partitions = copy_partitions(from->partitions, from->partition_count);
		view->member_count++;
	}
}

static int memory_read(struct lease_store *store, struct lease_view *view, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	int result = enter(s, "read", err);

	if (result < 0)
		return result;
	lease_view_finish(view);
	view->row_count = (size_t)s->db->row_count;
	view->rows = xcalloc(view->row_count, sizeof(*view->rows));
	for (int32_t p = 0; p < s->db->row_count; p++)
		read_row(s->db, p, &view->rows[p]);
	read_members(s->db, view);
	return leave(s, 0, err);
}

static void announce(struct lease_db *db, const char *consumer_id, bool all,
	const int32_t *partitions, size_t partition_count, int64_t expires_us)
{
	struct lease_db_member *row = add_member(db, consumer_id);

	free(row->member.partitions);
	row->member.all = all;
	row->member.partitions = copy_partitions(partitions, partition_count);
	row->member.partition_count = partition_count;
	row->expires_us = expires_us;
}

static int memory_renew(struct lease_store *store, const char *consumer_id, const bool all,
	const int32_t *partitions, size_t partition_count, int64_t ttl_ms,
	struct lease_renewal *renewals, size_t count, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	struct lease_db *db = s->db;
	int64_t expires_us;
	int result = enter(s, "renew", err);

	if (result < 0)
		return result;
	expires_us = db->now_us(db->context) + ttl_ms * 1000;
	announce(db, consumer_id, all, partitions, partition_count, expires_us);
	for (size_t i = 0; i < count; i++) {
		struct lease_db_row *row = &db->rows[renewals[i].partition];

		renewals[i].ret_held = row->epoch == renewals[i].epoch;
		renewals[i].ret_next_offset = db->offsets[renewals[i].partition].next_offset;
		if (renewals[i].ret_held)
			row->expires_us = expires_us;
	}
	return leave(s, 0, err);
}

static bool request_counts(const struct lease_db *db, const struct lease_db_row *row)
{
	return row->requested_by[0] && row->requested_until_us > db->now_us(db->context);
}

static bool can_be_taken(const struct lease_db *db, const char *consumer_id, int32_t partition)
{
	const struct lease_db_row *row = &db->rows[partition];
	bool ours = strcmp(row->requested_by, consumer_id) == 0;

	if (row->expires_us > db->now_us(db->context))
		return false;
	return ours || (!request_counts(db, row) && !db->offsets[partition].halted);
}

/* splitmix64 */
static int64_t epoch_step(struct lease_db *db)
{
	uint64_t z = db->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return 1 + (int64_t)((z ^ z >> 31) % LEASE_EPOCH_STEP_MAX);
}

static int64_t take(struct lease_db *db, const char *consumer_id, int32_t partition, int64_t ttl_ms)
{
	struct lease_db_row *row = &db->rows[partition];
	int64_t now_us = db->now_us(db->context);

	copy_id(row->consumer_id, consumer_id);
	row->epoch += epoch_step(db);
	if (row->epoch < now_us)
		row->epoch = now_us;
	row->acquired_us = now_us;
	row->expires_us = now_us + ttl_ms * 1000;
	db->offsets[partition].epoch = row->epoch;
	return row->epoch;
}

static int memory_acquire(struct lease_store *store, const char *consumer_id, int32_t partition,
	int64_t ttl_ms, int64_t *ret_epoch, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	const struct partition_offset_row *offset = &s->db->offsets[partition];
	int result = enter(s, "acquire", err);

	if (result < 0)
		return result;
	if (can_be_taken(s->db, consumer_id, partition) && offset->locked_by)
		wait_a_while(s, true);
	*ret_epoch = 0;
	if (!can_be_taken(s->db, consumer_id, partition))
		return leave(s, 0, err);
	if (offset->locked_by)
		return error_set(err, -EAGAIN, "partition %d: its row is locked", (int)partition);
	*ret_epoch = take(s->db, consumer_id, partition, ttl_ms);
	return leave(s, 0, err);
}

static void read_request(const struct lease_db *db, struct lease_request *request)
{
	const struct lease_db_row *row = &db->rows[request->partition];

	copy_id(request->ret_requested_by, row->requested_by);
	copy_id(request->ret_consumer_id, row->consumer_id);
	request->ret_epoch = row->epoch;
	request->ret_held = row->expires_us > db->now_us(db->context);
	request->ret_next_offset = db->offsets[request->partition].next_offset;
}

static int memory_request(struct lease_store *store, const char *who, int64_t ttl_ms,
	struct lease_request *request, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	struct lease_db_row *row = &s->db->rows[request->partition];
	int result = enter(s, "request", err);
	int64_t now_us;

	if (result < 0)
		return result;
	if (request->partition >= s->db->row_count)
		return error_set(err, -ENOENT, "there is no partition %d", (int)request->partition);
	now_us = s->db->now_us(s->db->context);
	if (request->epoch && row->epoch == request->epoch)
		row->expires_us = now_us + ttl_ms * 1000;
	if (!request_counts(s->db, row))
		copy_id(row->requested_by, who);
	if (strcmp(row->requested_by, who) == 0)
		row->requested_until_us = now_us + LEASE_REQUEST_MS * INT64_C(1000);
	read_request(s->db, request);
	return leave(s, 0, err);
}

static void expire(struct lease_db *db, int32_t partition)
{
	struct lease_db_row *row = &db->rows[partition];

	if (row->expires_us > db->now_us(db->context))
		row->expires_us = db->now_us(db->context);
}

static int memory_unrequest(
	struct lease_store *store, const char *who, int32_t partition, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	struct lease_db_row *row = &s->db->rows[partition];
	int result = enter(s, "unrequest", err);

	if (result < 0)
		return result;
	if (strcmp(row->consumer_id, who) == 0)
		expire(s->db, partition);
	if (strcmp(row->requested_by, who) == 0) {
		row->requested_by[0] = '\0';
		row->requested_until_us = 0;
	}
	return leave(s, 0, err);
}

static int memory_release(
	struct lease_store *store, int32_t partition, int64_t epoch, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	int result = enter(s, "release", err);

	if (result < 0)
		return result;
	if (s->db->rows[partition].epoch == epoch)
		expire(s->db, partition);
	return leave(s, 0, err);
}

static int memory_withdraw(struct lease_store *store, const char *consumer_id, struct error *err)
{
	struct lease_store_memory *s = (struct lease_store_memory *)store;
	int result = enter(s, "withdraw", err);

	if (result < 0)
		return result;
	remove_member(s->db, consumer_id);
	return leave(s, 0, err);
}

static void memory_interrupt(struct lease_store *store)
{
	((struct lease_store_memory *)store)->unreachable = true;
}

static void memory_destroy(struct lease_store *store)
{
	free(store);
}

static const struct lease_store_ops memory_ops = {
	.prepare = memory_prepare,
	.read = memory_read,
	.renew = memory_renew,
	.acquire = memory_acquire,
	.release = memory_release,
	.request = memory_request,
	.unrequest = memory_unrequest,
	.withdraw = memory_withdraw,
	.interrupt = memory_interrupt,
	.destroy = memory_destroy,
};

struct lease_store_memory *lease_store_memory_create(struct lease_db *db)
{
	struct lease_store_memory *s = xcalloc(1, sizeof(*s));

	s->store.ops = &memory_ops;
	s->db = db;
	s->cuts = db->cuts;
	return s;
}
