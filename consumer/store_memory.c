/* See store_memory.h. */
#include "store_memory.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct store_memory {
	struct store store;
	struct memory_database *db;
	memory_fault_fn *fault;
	void *context;
	bool connected;
	uint64_t cuts; /* the server's, at the time of the connect */
	atomic_bool interrupted;
	bool open;                                              /* a transaction */
	const struct flush_request *staged[STORE_REQUESTS_MAX]; /* what commit will make visible */
	size_t staged_count;
	bool loaded[STORE_DEAD_LETTERS + 1];
	struct memory_database *view; /* a snapshot, or NULL */
	struct partition_offset_row *view_offsets;
};

/* What this client reads. */
static const struct memory_database *seen(const struct store_memory *m)
{
	return m->view ? m->view : m->db;
}

static void forget_view(struct store_memory *m)
{
	if (!m->view)
		return;
	memory_database_finish(m->view);
	free(m->view);
	free(m->view_offsets);
	m->view = NULL;
}

static struct store_memory *self(struct store *s)
{
	return (struct store_memory *)s;
}

static void unlock_rows(struct store_memory *m)
{
	for (int32_t i = 0; i < m->db->partitions; i++)
		if (m->db->offsets[i].locked_by == m)
			m->db->offsets[i].locked_by = NULL;
}

static void forget_transaction(struct store_memory *m)
{
	unlock_rows(m);
	forget_view(m);
	m->open = false;
	m->staged_count = 0;
	memset(m->loaded, 0, sizeof m->loaded);
}

void store_memory_cut(struct store *s)
{
	forget_transaction(self(s));
	self(s)->connected = false;
}

static enum store_result fail(
	struct store_memory *m, enum store_result result, const char *what, struct error *err)
{
	error_set(err, -1, "%s: the simulated server says no", what);
	if (result == STORE_LOST)
		store_memory_cut(&m->store);
	return result;
}

/* Decides the fate of a call.  STORE_OK: execute it; then after() decides of the answer. */
static enum store_result before(
	struct store_memory *m, const char *what, enum memory_fault *ret_fault, struct error *err)
{
	*ret_fault = m->fault ? m->fault(m->context, what) : MEMORY_FAULT_NONE;
	if (!m->connected || m->cuts != m->db->cuts || atomic_load(&m->interrupted) ||
		*ret_fault == MEMORY_FAULT_LOST_BEFORE)
		return fail(m, STORE_LOST, what, err);
	if (*ret_fault == MEMORY_FAULT_RETRY)
		return fail(m, STORE_RETRY, what, err);
	return STORE_OK;
}

static enum store_result after(
	struct store_memory *m, const char *what, enum memory_fault fault, struct error *err)
{
	return fault == MEMORY_FAULT_LOST_AFTER ? fail(m, STORE_LOST, what, err) : STORE_OK;
}

/* A call that only reads or only sets the client's own state: its answer may be lost, too. */
#define CALL(m, what, err, body)                                                                   \
	do {                                                                                       \
		enum memory_fault fault_;                                                          \
		enum store_result result_ = before((m), (what), &fault_, (err));                   \
		if (result_ != STORE_OK)                                                           \
			return result_;                                                            \
		body;                                                                              \
		return after((m), (what), fault_, (err));                                          \
	} while (0)

static enum store_result store_connect(struct store *s, struct error *err)
{
	struct store_memory *m = self(s);

	store_memory_cut(s);
	if (atomic_load(&m->interrupted))
		return fail(m, STORE_LOST, "connect", err);
	if (m->fault && m->fault(m->context, "connect") != MEMORY_FAULT_NONE)
		return fail(m, STORE_RETRY, "connect", err);
	m->connected = true;
	m->cuts = m->db->cuts;
	return STORE_OK;
}

static void store_disconnect(struct store *s)
{
	store_memory_cut(s);
}

static enum store_result store_ping(struct store *s, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "ping", err, (void)0);
}

static void store_interrupt(struct store *s)
{
	atomic_store(&self(s)->interrupted, true);
}

static enum store_result store_begin(struct store *s, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "begin", err, {
		forget_transaction(m);
		m->open = true;
	});
}

static enum store_result store_move_offset(
	struct store *s, const struct flush_request *request, bool *ret_moved, struct error *err)
{
	struct store_memory *m = self(s);
	struct partition_offset_row *row = &m->db->offsets[request->partition];

	assert(m->open || !m->connected);
	if (row->locked_by && row->locked_by != m)
		return fail(m, STORE_RETRY, "move_offset (lock wait)", err);
	CALL(m, "move_offset", err, {
		*ret_moved = row->epoch == request->epoch &&
			row->next_offset == request->begin_offset;
		if (*ret_moved) {
			assert(m->staged_count < STORE_REQUESTS_MAX);
			m->staged[m->staged_count++] = request;
			row->locked_by = m;
		}
	});
}

static void count_journal(
	struct store_memory *m, const struct flush_request *request, struct store_counts *counts)
{
	const struct batch *b = request->batch;

	for (size_t i = 0; i < b->count; i++) {
		const struct record *record = &b->records[i];

		if (record->outcome != OUTCOME_APPLIED && record->outcome != OUTCOME_REFUSED)
			continue;
		counts->records++;
		counts->affected++;
		if (memory_database_find_id(m->db, &record->event) ||
			memory_partition_has_row(
				&m->db->tables[request->partition], record->message.offset)) {
			counts->deleted++;
			counts->affected++;
		}
	}
}

static void count_letters(
	struct store_memory *m, const struct flush_request *request, struct store_counts *counts)
{
	const struct batch *b = request->batch;

	for (size_t i = 0; i < b->count; i++) {
		if (b->records[i].outcome != OUTCOME_DEAD_LETTER)
			continue;
		counts->records++;
		counts->affected++;
		if (memory_partition_has_letter(
			    &m->db->tables[request->partition], b->records[i].message.offset)) {
			counts->deleted++;
			counts->affected++;
		}
	}
}

static void count_balances(
	struct store_memory *m, const struct flush_request *request, struct store_counts *counts)
{
	const struct batch *b = request->batch;

	for (size_t i = 0; i < b->touched_count; i++) {
		counts->records++;
		counts->affected++;
		if (memory_database_balance(m->db, b->touched[i].key)) {
			counts->deleted++;
			counts->affected++;
		}
	}
}

static void count(struct store_memory *m, const struct flush_request *request,
	enum store_table table, struct store_counts *counts)
{
	if (table == STORE_JOURNAL)
		count_journal(m, request, counts);
	else if (table == STORE_DEAD_LETTERS)
		count_letters(m, request, counts);
	else
		count_balances(m, request, counts);
}

static enum store_result store_load(struct store *s, const struct flush_request *const *requests,
	size_t request_count, enum store_table table, struct store_counts *ret_counts,
	struct error *err)
{
	struct store_memory *m = self(s);
	const char *const names[] = {"load journal", "load balances", "load dead letters"};

	CALL(m, names[table], err, {
		assert(request_count == m->staged_count);
		for (size_t i = 0; i < request_count; i++) {
			assert(m->staged[i] == requests[i]);
			count(m, requests[i], table, ret_counts);
		}
		m->loaded[table] = true;
	});
}

static void commit_record(
	struct store_memory *m, struct memory_partition *table, const struct record *record)
{
	if (record->outcome == OUTCOME_DEAD_LETTER && m->loaded[STORE_DEAD_LETTERS])
		memory_partition_put_letter(table, record->dead_reason, &record->message);
	else if ((record->outcome == OUTCOME_APPLIED || record->outcome == OUTCOME_REFUSED) &&
		 m->loaded[STORE_JOURNAL])
		memory_partition_put_row(table, &(struct memory_journal_row){
							.offset = record->message.offset,
							.event = record->event,
							.refusal = record->refusal,
							.available_after = record->available_after,
							.frozen_after = record->frozen_after,
							.prev_offset = record->prev_offset,
						});
}

static void commit_rows(struct store_memory *m, const struct flush_request *request)
{
	const struct batch *b = request->batch;
	struct partition_offset_row *row = &m->db->offsets[request->partition];

	for (size_t i = 0; i < b->count; i++)
		commit_record(m, &m->db->tables[request->partition], &b->records[i]);
	for (size_t i = 0; m->loaded[STORE_BALANCES] && i < b->touched_count; i++)
		memory_database_put_balance(m->db, &(struct store_balance){
							   .key = b->touched[i].key,
							   .balance = b->touched[i].after,
							   .partition = request->partition,
							   .updated_ms = b->closed_ms,
						   });
	row->next_offset = request->end_offset;
	row->redis_offset = request->redis_offset;
}

static enum store_result store_commit(struct store *s, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "commit", err, {
		for (size_t i = 0; i < m->staged_count; i++)
			commit_rows(m, m->staged[i]);
		m->db->commits += m->staged_count > 0;
		forget_transaction(m);
	});
}

static void store_rollback(struct store *s)
{
	forget_transaction(self(s));
}

static void read_row(const struct store_memory *m, int32_t partition, struct store_partition *ret)
{
	const struct partition_offset_row *row = &seen(m)->offsets[partition];

	*ret = (struct store_partition){
		.epoch = row->epoch,
		.next_offset = row->next_offset,
		.redis_offset = row->redis_offset,
		.halted = row->halted,
	};
}

static enum store_result store_settle(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	struct store_memory *m = self(s);

	if (m->db->offsets[partition].locked_by)
		return fail(m, STORE_RETRY, "settle (lock wait)", err);
	CALL(m, "settle", err, read_row(m, partition, ret_partition));
}

static enum store_result store_read_partition(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "read_partition", err, read_row(m, partition, ret_partition));
}

static enum store_result store_read_balances(
	struct store *s, struct balance_row *rows, size_t count, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "read_balances", err, for (size_t i = 0; i < count; i++) {
		const struct store_balance *row = memory_database_balance(m->db, rows[i].key);

		rows[i].found = row != NULL;
		if (row) {
			rows[i].balance = row->balance;
			rows[i].updated_ms = row->updated_ms;
		}
	});
}

static enum store_result store_find_transactions(struct store *s, const struct event *const *events,
	size_t count, store_transaction_fn *fn, void *context, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "find_transactions", err, for (size_t i = 0; i < count; i++) {
		const struct memory_journal_row *row = memory_database_find_id(m->db, events[i]);

		if (row)
			fn(context, &row->event);
	});
}

static enum store_result store_recent_transactions(struct store *s, int32_t partition, size_t count,
	store_transaction_fn *fn, void *context, struct error *err)
{
	struct store_memory *m = self(s);
	const struct memory_partition *table = &m->db->tables[partition];

	CALL(m, "recent_transactions", err,
		for (size_t i = table->journal_count; i-- > 0 && count > 0; count--)
			fn(context, &table->journal[i].event));
}

static void take_row(const struct memory_journal_row *row, const struct memory_dead_letter *dead,
	struct store_newest *ret)
{
	*ret = (struct store_newest){.found = row || dead, .dead_letter = dead != NULL};
	if (row) {
		ret->offset = row->offset;
		ret->event = row->event;
	} else if (dead) {
		ret->offset = dead->offset;
		ret->key = memory_copy_bytes(dead->key, dead->key_length);
		ret->key_length = dead->key_length;
		ret->value = memory_copy_bytes(dead->value, dead->value_length);
		ret->value_length = dead->value_length;
	}
}

static void newest_row(const struct memory_partition *table, struct store_newest *ret)
{
	const struct memory_journal_row *row = NULL;
	const struct memory_dead_letter *dead = NULL;

	if (table->journal_count > 0)
		row = &table->journal[table->journal_count - 1];
	if (table->dead_letter_count > 0)
		dead = &table->dead_letters[table->dead_letter_count - 1];
	if (row && dead && dead->offset < row->offset)
		dead = NULL;
	take_row(dead ? NULL : row, dead, ret);
}

static void oldest_row(
	const struct memory_partition *table, int64_t begin, struct store_newest *ret)
{
	size_t row = 0, dead = 0;

	while (row < table->journal_count && table->journal[row].offset < begin)
		row++;
	while (dead < table->dead_letter_count && table->dead_letters[dead].offset < begin)
		dead++;
	if (row < table->journal_count &&
		(dead == table->dead_letter_count ||
			table->journal[row].offset < table->dead_letters[dead].offset))
		take_row(&table->journal[row], NULL, ret);
	else
		take_row(NULL, dead < table->dead_letter_count ? &table->dead_letters[dead] : NULL,
			ret);
}

static enum store_result store_read_newest(
	struct store *s, int32_t partition, struct store_newest *ret_newest, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "read_newest", err, newest_row(&seen(m)->tables[partition], ret_newest));
}

static enum store_result store_read_oldest(struct store *s, int32_t partition, int64_t begin,
	struct store_newest *ret_oldest, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "read_oldest", err, oldest_row(&m->db->tables[partition], begin, ret_oldest));
}

static enum store_result store_has_rows(struct store *s, int32_t partition, int64_t begin,
	int64_t end, bool *ret_has, struct error *err)
{
	struct store_memory *m = self(s);
	const struct memory_partition *table = &m->db->tables[partition];

	CALL(m, "has_rows", err, {
		*ret_has = false;
		for (size_t i = 0; i < table->journal_count; i++)
			*ret_has |= table->journal[i].offset >= begin && table->journal[i].offset < end;
		for (size_t i = 0; i < table->dead_letter_count; i++)
			*ret_has |= table->dead_letters[i].offset >= begin &&
				table->dead_letters[i].offset < end;
	});
}

static bool changed_since(
	const struct memory_partition *table, const struct balance_key *key, int64_t offset)
{
	for (size_t i = table->journal_count; i-- > 0 && table->journal[i].offset >= offset;)
		if (table->journal[i].event.account_id == key->account_id &&
			table->journal[i].event.currency == key->currency)
			return true;
	return false;
}

static enum store_result store_changed_balances(struct store *s, int32_t partition, int64_t offset,
	size_t limit, store_balance_fn *fn, void *context, bool *ret_more, struct error *err)
{
	struct store_memory *m = self(s);
	size_t told = 0;

	CALL(m, "changed_balances", err, {
		*ret_more = false;
		for (size_t i = 0; i < m->db->balance_count && !*ret_more; i++) {
			if (!changed_since(&m->db->tables[partition], &m->db->balances[i].key, offset))
				continue;
			*ret_more = told == limit;
			if (told++ < limit)
				fn(context, &m->db->balances[i]);
		}
	});
}

static enum store_result store_scan_balances(struct store *s, const struct balance_key *after_key,
	size_t limit, store_balance_fn *fn, void *context, struct error *err)
{
	struct store_memory *m = self(s);
	size_t place = after_key ? memory_database_place(m->db, after_key) : 0;

	CALL(m, "scan_balances", err, {
		if (after_key && place < m->db->balance_count &&
			balance_key_compare(&m->db->balances[place].key, after_key) == 0)
			place++;
		for (size_t i = 0; i < limit && place + i < m->db->balance_count; i++)
			fn(context, &m->db->balances[place + i]);
	});
}

static enum store_result store_snapshot(struct store *s, struct error *err)
{
	struct store_memory *m = self(s);

	CALL(m, "snapshot", err, {
		forget_transaction(m);
		m->view = xcalloc(1, sizeof *m->view);
		m->view_offsets = xcalloc((size_t)m->db->partitions, sizeof *m->view_offsets);
		memory_database_copy(m->view, m->db, m->view_offsets);
	});
}

static struct store_row whole_row(const struct memory_journal_row *row)
{
	return (struct store_row){row->offset, row->event, row->refusal, row->available_after,
		row->frozen_after, row->prev_offset};
}

static enum store_result store_scan_journal(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_row_fn *fn, void *context, struct error *err)
{
	struct store_memory *m = self(s);
	const struct memory_partition *table = &seen(m)->tables[partition];

	CALL(m, "scan_journal", err, {
		for (size_t i = memory_partition_row_place(table, begin); i < table->journal_count && limit-- > 0;
			i++) {
			struct store_row row = whole_row(&table->journal[i]);

			fn(context, &row);
		}
	});
}

static enum store_result store_scan_letters(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_letter_fn *fn, void *context, struct error *err)
{
	struct store_memory *m = self(s);
	const struct memory_partition *table = &seen(m)->tables[partition];

	CALL(m, "scan_letters", err, {
		for (size_t i = memory_partition_letter_place(table, begin);
			i < table->dead_letter_count && limit-- > 0; i++)
			fn(context, table->dead_letters[i].offset, table->dead_letters[i].reason);
	});
}

static enum store_result store_read_gaps(
	struct store *s, int32_t partition, store_gap_fn *fn, void *context, struct error *err)
{
	struct store_memory *m = self(s);
	const struct memory_partition *table = &seen(m)->tables[partition];

	CALL(m, "read_gaps", err, for (size_t i = 0; i < table->gap_count; i++)
		fn(context, table->gaps[i].from_offset, table->gaps[i].to_offset));
}

static enum store_result store_read_accounts(struct store *s, const int64_t *accounts, size_t count,
	store_balance_fn *fn, void *context, struct error *err)
{
	struct store_memory *m = self(s);
	const struct memory_database *db = seen(m);

	CALL(m, "read_accounts", err, for (size_t k = 0; k < db->balance_count; k++)
		for (size_t i = 0; i < count; i++)
			if (db->balances[k].key.account_id == accounts[i])
				fn(context, &db->balances[k]));
}

static enum store_result store_halt(struct store *s, int32_t partition, int64_t epoch,
	const char *reason, bool *ret_written, struct error *err)
{
	struct store_memory *m = self(s);
	struct partition_offset_row *row = &m->db->offsets[partition];

	if (row->locked_by)
		return fail(m, STORE_RETRY, "halt (lock wait)", err);
	CALL(m, "halt", err, {
		*ret_written = row->epoch == epoch;
		if (*ret_written) {
			row->halted = true;
			snprintf(row->halted_reason, sizeof row->halted_reason, "%s", reason);
		}
	});
}

static int store_last_errno(const struct store *s)
{
	return 0;
}

static void store_destroy(struct store *s)
{
	store_memory_cut(s);
	free(s);
}

static const struct store_ops ops = {
	.connect = store_connect,
	.disconnect = store_disconnect,
	.ping = store_ping,
	.interrupt = store_interrupt,
	.begin = store_begin,
	.move_offset = store_move_offset,
	.load = store_load,
	.commit = store_commit,
	.rollback = store_rollback,
	.settle = store_settle,
	.read_partition = store_read_partition,
	.read_balances = store_read_balances,
	.find_transactions = store_find_transactions,
	.recent_transactions = store_recent_transactions,
	.read_newest = store_read_newest,
	.read_oldest = store_read_oldest,
	.has_rows = store_has_rows,
	.changed_balances = store_changed_balances,
	.scan_balances = store_scan_balances,
	.snapshot = store_snapshot,
	.scan_journal = store_scan_journal,
	.scan_letters = store_scan_letters,
	.read_gaps = store_read_gaps,
	.read_accounts = store_read_accounts,
	.halt = store_halt,
	.last_errno = store_last_errno,
	.destroy = store_destroy,
};

struct store *store_memory_create(struct memory_database *db, memory_fault_fn *fault, void *context)
{
	struct store_memory *m = xcalloc(1, sizeof *m);

	m->store.ops = &ops;
	m->db = db;
	m->fault = fault;
	m->context = context;
	return &m->store;
}
