#include "store_memory.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define GROW(array, count, capacity)                                                               \
	do {                                                                                       \
		if ((count) == (capacity)) {                                                       \
			(capacity) = (capacity) ? 2 * (capacity) : 64;                             \
			(array) = xrealloc((array), (capacity) * sizeof(*(array)));                \
		}                                                                                  \
	} while (0)

/* The server ----------------------------------------------------------------------------------- */

void memory_database_init(
	struct memory_database *db, int32_t partitions, struct partition_offset_row *offsets)
{
	*db = (struct memory_database){.partitions = partitions, .offsets = offsets};
	db->tables = xcalloc((size_t)partitions, sizeof *db->tables);
}

static void dead_letter_free(struct memory_dead_letter *row)
{
	free(row->key);
	free(row->value);
	free(row->headers);
}

void memory_database_finish(struct memory_database *db)
{
	for (int32_t i = 0; i < db->partitions; i++) {
		struct memory_partition *table = &db->tables[i];

		for (size_t k = 0; k < table->dead_letter_count; k++)
			dead_letter_free(&table->dead_letters[k]);
		free(table->dead_letters);
		free(table->journal);
		free(table->gaps);
	}
	free(db->tables);
	free(db->balances);
}

static char *copy_bytes(const char *bytes, size_t length)
{
	char *copy;

	if (!bytes)
		return NULL;
	copy = xmalloc(length + 1);
	memcpy(copy, bytes, length);
	copy[length] = '\0';
	return copy;
}

static void table_copy(struct memory_partition *to, const struct memory_partition *from)
{
	for (size_t i = 0; i < from->journal_count; i++) {
		GROW(to->journal, to->journal_count, to->journal_capacity);
		to->journal[to->journal_count++] = from->journal[i];
	}
	for (size_t i = 0; i < from->dead_letter_count; i++) {
		struct memory_dead_letter row = from->dead_letters[i];

		row.key = copy_bytes(row.key, row.key_length);
		row.value = copy_bytes(row.value, row.value_length);
		row.headers = row.headers ? xstrdup(row.headers) : NULL;
		GROW(to->dead_letters, to->dead_letter_count, to->dead_letter_capacity);
		to->dead_letters[to->dead_letter_count++] = row;
	}
	for (size_t i = 0; i < from->gap_count; i++) {
		GROW(to->gaps, to->gap_count, to->gap_capacity);
		to->gaps[to->gap_count++] = from->gaps[i];
	}
}

void memory_database_copy(struct memory_database *to, const struct memory_database *from,
	struct partition_offset_row *offsets)
{
	memory_database_init(to, from->partitions, offsets);
	for (int32_t i = 0; i < from->partitions; i++) {
		offsets[i] = from->offsets[i];
		offsets[i].locked_by = NULL;
		table_copy(&to->tables[i], &from->tables[i]);
	}
	for (size_t i = 0; i < from->balance_count; i++) {
		GROW(to->balances, to->balance_count, to->balance_capacity);
		to->balances[to->balance_count++] = from->balances[i];
	}
	to->commits = from->commits;
}

void memory_database_fail_over(struct memory_database *db, struct memory_database *copy)
{
	struct memory_database old = *db;

	assert(db->partitions == copy->partitions);
	for (int32_t i = 0; i < db->partitions; i++) {
		struct partition_offset_row row = db->offsets[i];

		db->offsets[i] = copy->offsets[i];
		copy->offsets[i] = row;
		db->offsets[i].locked_by = copy->offsets[i].locked_by = NULL;
	}
	*db = *copy;
	*copy = old;
	copy->offsets = db->offsets;
	db->offsets = old.offsets;
	db->cuts = old.cuts + 1;
	db->commits = old.commits + 1;
}

/* The place of a key, or where it belongs. */
static size_t balance_place(const struct memory_database *db, const struct balance_key *key)
{
	size_t low = 0;
	size_t high = db->balance_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (balance_key_compare(&db->balances[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct store_balance *memory_database_balance(
	const struct memory_database *db, struct balance_key key)
{
	size_t place = balance_place(db, &key);

	if (place == db->balance_count || balance_key_compare(&db->balances[place].key, &key) != 0)
		return NULL;
	return &db->balances[place];
}

static void balance_replace(struct memory_database *db, const struct store_balance *row)
{
	size_t place = balance_place(db, &row->key);

	if (place == db->balance_count ||
		balance_key_compare(&db->balances[place].key, &row->key) != 0) {
		GROW(db->balances, db->balance_count, db->balance_capacity);
		memmove(&db->balances[place + 1], &db->balances[place],
			(db->balance_count - place) * sizeof *db->balances);
		db->balance_count++;
	}
	db->balances[place] = *row;
}

static bool same_id(const struct event *a, const struct event *b)
{
	return a->account_id == b->account_id &&
	       a->transaction_id_length == b->transaction_id_length &&
	       memcmp(a->transaction_id, b->transaction_id, a->transaction_id_length) == 0;
}

static const struct memory_journal_row *find_id(
	const struct memory_database *db, const struct event *event)
{
	for (int32_t i = 0; i < db->partitions; i++)
		for (size_t k = db->tables[i].journal_count; k-- > 0;)
			if (same_id(&db->tables[i].journal[k].event, event))
				return &db->tables[i].journal[k];
	return NULL;
}

/* The place of an offset, or where it belongs: nearly always the end. */
static size_t row_place(const struct memory_partition *table, int64_t offset)
{
	size_t place = table->journal_count;

	while (place > 0 && table->journal[place - 1].offset >= offset)
		place--;
	return place;
}

static size_t letter_place(const struct memory_partition *table, int64_t offset)
{
	size_t place = table->dead_letter_count;

	while (place > 0 && table->dead_letters[place - 1].offset >= offset)
		place--;
	return place;
}

static bool has_offset(const struct memory_partition *table, int64_t offset)
{
	size_t place = row_place(table, offset);

	return place < table->journal_count && table->journal[place].offset == offset;
}

static bool has_letter(const struct memory_partition *table, int64_t offset)
{
	size_t place = letter_place(table, offset);

	return place < table->dead_letter_count && table->dead_letters[place].offset == offset;
}

bool memory_database_delete_row(struct memory_database *db, int32_t partition, int64_t offset)
{
	struct memory_partition *table = &db->tables[partition];
	size_t place = row_place(table, offset);

	if (!has_offset(table, offset))
		return false;
	memmove(&table->journal[place], &table->journal[place + 1],
		(--table->journal_count - place) * sizeof *table->journal);
	return true;
}

bool memory_database_delete_letter(struct memory_database *db, int32_t partition, int64_t offset)
{
	struct memory_partition *table = &db->tables[partition];
	size_t place = letter_place(table, offset);

	if (!has_letter(table, offset))
		return false;
	dead_letter_free(&table->dead_letters[place]);
	memmove(&table->dead_letters[place], &table->dead_letters[place + 1],
		(--table->dead_letter_count - place) * sizeof *table->dead_letters);
	return true;
}

void memory_database_skip(
	struct memory_database *db, int32_t partition, int64_t from_offset, int64_t to_offset)
{
	struct memory_partition *table = &db->tables[partition];

	GROW(table->gaps, table->gap_count, table->gap_capacity);
	table->gaps[table->gap_count++] = (struct memory_gap){from_offset, to_offset};
}

/* A client ------------------------------------------------------------------------------------- */

struct store_memory {
	struct store store;
	struct memory_database *db;
	memory_fault_fn *fault;
	void *context;
	bool connected;
	uint64_t cuts; /* the server's, at the time of the connect */
	atomic_bool interrupted;
	bool open;                          /* a transaction */
	const struct flush_request *staged; /* what commit will make visible */
	bool moved;
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
	m->staged = NULL;
	m->moved = false;
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
		m->moved = *ret_moved;
		m->staged = request;
		if (*ret_moved)
			row->locked_by = m;
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
		if (find_id(m->db, &record->event) ||
			has_offset(&m->db->tables[request->partition], record->message.offset)) {
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
		if (has_letter(&m->db->tables[request->partition], b->records[i].message.offset)) {
			counts->deleted++;
			counts->affected++;
		}
	}
}

static void count_balances(
	struct store_memory *m, const struct flush_request *request, struct store_counts *counts)
{
	const struct batch *b = request->batch;

	counts->records = counts->affected = (int64_t)b->touched_count;
	for (size_t i = 0; i < b->touched_count; i++)
		counts->deleted += memory_database_balance(m->db, b->touched[i].key) != NULL;
	counts->affected += counts->deleted;
}

static enum store_result store_load(struct store *s, const struct flush_request *request,
	enum store_table table, struct store_counts *ret_counts, struct error *err)
{
	struct store_memory *m = self(s);
	const char *const names[] = {"load journal", "load balances", "load dead letters"};

	CALL(m, names[table], err, {
		assert(m->moved && m->staged == request);
		if (table == STORE_JOURNAL)
			count_journal(m, request, ret_counts);
		else if (table == STORE_DEAD_LETTERS)
			count_letters(m, request, ret_counts);
		else
			count_balances(m, request, ret_counts);
		m->loaded[table] = true;
	});
}

/* Makes room at a place that was found by offset. */
#define INSERT(array, place, count)                                                                \
	memmove(&(array)[(place) + 1], &(array)[place], ((count)++ - (place)) * sizeof *(array))

static void commit_record(
	struct store_memory *m, struct memory_partition *table, const struct record *record)
{
	size_t place;

	if (record->outcome == OUTCOME_DEAD_LETTER && m->loaded[STORE_DEAD_LETTERS]) {
		GROW(table->dead_letters, table->dead_letter_count, table->dead_letter_capacity);
		place = letter_place(table, record->message.offset);
		INSERT(table->dead_letters, place, table->dead_letter_count);
		table->dead_letters[place] = (struct memory_dead_letter){
			.offset = record->message.offset,
			.reason = record->dead_reason,
			.key = copy_bytes(record->message.key, record->message.key_length),
			.key_length = record->message.key_length,
			.value = copy_bytes(record->message.value, record->message.value_length),
			.value_length = record->message.value_length,
			.headers = copy_bytes(
				record->message.headers, record->message.headers_length),
		};
	} else if ((record->outcome == OUTCOME_APPLIED || record->outcome == OUTCOME_REFUSED) &&
		   m->loaded[STORE_JOURNAL]) {
		GROW(table->journal, table->journal_count, table->journal_capacity);
		place = row_place(table, record->message.offset);
		INSERT(table->journal, place, table->journal_count);
		table->journal[place] = (struct memory_journal_row){
			.offset = record->message.offset,
			.event = record->event,
			.refusal = record->refusal,
			.available_after = record->available_after,
			.frozen_after = record->frozen_after,
			.prev_offset = record->prev_offset,
		};
	}
}

static void commit_rows(struct store_memory *m)
{
	const struct flush_request *request = m->staged;
	const struct batch *b = request->batch;
	struct partition_offset_row *row = &m->db->offsets[request->partition];

	for (size_t i = 0; i < b->count; i++)
		commit_record(m, &m->db->tables[request->partition], &b->records[i]);
	for (size_t i = 0; m->loaded[STORE_BALANCES] && i < b->touched_count; i++)
		balance_replace(m->db, &(struct store_balance){
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
		if (m->moved) {
			commit_rows(m);
			m->db->commits++;
		}
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
		const struct memory_journal_row *row = find_id(m->db, events[i]);

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
		ret->key = copy_bytes(dead->key, dead->key_length);
		ret->key_length = dead->key_length;
		ret->value = copy_bytes(dead->value, dead->value_length);
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
	size_t place = after_key ? balance_place(m->db, after_key) : 0;

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
		for (size_t i = row_place(table, begin); i < table->journal_count && limit-- > 0;
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
		for (size_t i = letter_place(table, begin);
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
