/*
 * See store_mysql.h.
 *
 * Owned: the connection.  Everything that is read is checked on its way in: a balance that is no
 * amount, or negative, is a halt, not a number to go on with.
 *
 * Long lists go in chunks of CHUNK keys, which both servers answer by ranges of the index (MySQL
 * gives up on much longer ones: range_optimizer_max_mem_size).
 */
#include "store_mysql.h"

#include "encode.h"
#include "mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK           1000
#define HALT_REASON_MAX 1000

#define FORMAT                                                                                     \
	" CHARACTER SET binary FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY "  \
	"'\\n' "
#define LOAD(table, columns)                                                                       \
	"LOAD DATA LOCAL INFILE '" DB_INFILE "' REPLACE INTO TABLE " table FORMAT "(" columns ")"

#define EVENT_COLUMNS "account_id, currency_code, type, amount, transaction_id"
#define BALANCE_COLUMNS                                                                            \
	"b.account_id, b.currency_code, b.available, b.frozen, b.version, b.last_offset, "         \
	"b.kafka_partition, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', b.updated_at) DIV 1000"

struct store_mysql {
	struct store store;
	struct db *db;
	struct sql text; /* a statement with a long list */
};

static_assert((int)STORE_OK == DB_OK && (int)STORE_RETRY == DB_RETRY &&
		      (int)STORE_LOST == DB_LOST && (int)STORE_HALT == DB_HALT,
	"a store's results are the database's");

static enum store_result result_of(enum db_result result)
{
	return (enum store_result)result;
}

static struct store_mysql *self(struct store *s)
{
	return (struct store_mysql *)s;
}

static struct db *db_of(struct store *s)
{
	return self(s)->db;
}

/* The connection ------------------------------------------------------------------------------ */

static enum store_result store_connect(struct store *s, struct error *err)
{
	return result_of(db_connect(db_of(s), err));
}

static void store_disconnect(struct store *s)
{
	db_disconnect(db_of(s));
}

static enum store_result store_ping(struct store *s, struct error *err)
{
	return result_of(db_ping(db_of(s), err));
}

static void store_interrupt(struct store *s)
{
	db_interrupt(db_of(s));
}

static int store_last_errno(const struct store *s)
{
	return (int)db_errno(((const struct store_mysql *)s)->db);
}

/* A flush ------------------------------------------------------------------------------------- */

static enum store_result store_begin(struct store *s, struct error *err)
{
	return result_of(db_begin(db_of(s), "beginning a flush", err));
}

static enum store_result store_move_offset(
	struct store *s, const struct flush_request *request, bool *ret_moved, struct error *err)
{
	enum db_result result = db_exec(db_of(s),
		DB_PURPOSE("moving the offset of partition %d", (int)request->partition), err,
		"UPDATE partition_offsets "
		"SET next_offset = ?, redis_offset = ?, updated_at = UTC_TIMESTAMP(3) "
		"WHERE kafka_partition = ? AND epoch = ? AND next_offset = ?",
		SQL_INT(request->end_offset), SQL_INT(request->redis_offset),
		SQL_INT(request->partition), SQL_INT(request->epoch),
		SQL_INT(request->begin_offset));

	*ret_moved = result == DB_OK && db_affected(db_of(s)) == 1;
	return result_of(result);
}

static const struct {
	const char *name;
	const char *text;
} loads[] = {
	[STORE_JOURNAL] = {"balance_transactions",
		LOAD("balance_transactions", ENCODE_JOURNAL_COLUMNS)},
	[STORE_BALANCES] = {"account_balances", LOAD("account_balances", ENCODE_BALANCES_COLUMNS)},
	[STORE_DEAD_LETTERS] = {"dead_letters", LOAD("dead_letters", ENCODE_DEAD_LETTERS_COLUMNS)},
};

static int read_rows(void *context, char *buffer, unsigned capacity)
{
	return (int)encode_read(context, buffer, capacity);
}

static enum store_result store_load(struct store *s, const struct flush_request *request,
	enum store_table table, struct store_counts *ret_counts, struct error *err)
{
	struct encoder encoder;
	struct db_counts counts;
	enum db_result result;

	encode_init(&encoder, request, table);
	result = db_load(db_of(s),
		DB_PURPOSE(
			"writing %s of partition %d", loads[table].name, (int)request->partition),
		err, loads[table].text, read_rows, &encoder, &counts);
	*ret_counts = (struct store_counts){
		.affected = counts.affected,
		.records = counts.info.records,
		.deleted = counts.info.deleted,
		.skipped = counts.info.skipped,
		.warnings = counts.info.warnings,
	};
	memcpy(ret_counts->warning, counts.warning, sizeof(counts.warning));
	return result_of(result);
}

static enum store_result store_commit(struct store *s, struct error *err)
{
	return result_of(db_commit(db_of(s), "committing a flush", err));
}

static void store_rollback(struct store *s)
{
	db_rollback(db_of(s));
}

/* A partition --------------------------------------------------------------------------------- */

static enum store_result read_offset(struct store *s, const char *query, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	struct db *db = db_of(s);
	const char *purpose = DB_PURPOSE("reading the offset of partition %d", (int)partition);
	enum db_result result = db_query(db, purpose, err, query, SQL_INT(partition));
	bool found;

	if (result != DB_OK)
		return result_of(result);
	found = db_next(db);
	if (found)
		*ret_partition = (struct store_partition){
			.epoch = db_int(db, 0),
			.next_offset = db_int(db, 1),
			.redis_offset = db_int(db, 2),
			.halted = db_int(db, 3) != 0,
		};
	result = db_end(db, err);
	if (result != DB_OK || found)
		return result_of(result);
	error_set(err, -ENOENT,
		"partition_offsets has no row for partition %d: somebody has deleted it; restore "
		"it "
		"from a copy of the database",
		(int)partition);
	return STORE_HALT;
}

#define OFFSET_QUERY                                                                               \
	"SELECT epoch, next_offset, redis_offset, halted_reason IS NOT NULL "                      \
	"FROM partition_offsets WHERE kafka_partition = ?"

static enum store_result store_read_partition(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	return read_offset(s, OFFSET_QUERY, partition, ret_partition, err);
}

/* A plain read could come before the COMMIT that it asks about: the row's lock waits for it. */
static enum store_result store_settle(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	enum store_result result = result_of(
		db_begin(db_of(s), "asking whether a flush was committed", err));

	if (result == STORE_OK)
		result = read_offset(s, OFFSET_QUERY " FOR UPDATE", partition, ret_partition, err);
	db_rollback(db_of(s));
	return result;
}

/* Messages may quote what came from outside; the column takes UTF-8 only, of some length. */
static size_t clean_reason(const char *reason, char clean[HALT_REASON_MAX])
{
	size_t length = 0;

	for (; length < HALT_REASON_MAX && reason[length]; length++) {
		bool plain = reason[length] >= ' ' && reason[length] <= '~';

		clean[length] = plain ? reason[length] : '?';
	}
	return length;
}

static enum store_result store_halt(struct store *s, int32_t partition, int64_t epoch,
	const char *reason, bool *ret_written, struct error *err)
{
	char clean[HALT_REASON_MAX];
	size_t length = clean_reason(reason, clean);
	enum db_result result = db_exec(db_of(s),
		DB_PURPOSE("halting partition %d", (int)partition), err,
		"UPDATE partition_offsets SET halted_reason = ?, updated_at = UTC_TIMESTAMP(3) "
		"WHERE kafka_partition = ? AND epoch = ?",
		SQL_SPAN(clean, length), SQL_INT(partition), SQL_INT(epoch));

	*ret_written = result == DB_OK && db_affected(db_of(s)) == 1;
	return result_of(result);
}

/* Values of rows ------------------------------------------------------------------------------ */

/* A row that cannot be: the result is ended, and what is wrong said. */
static enum store_result bad_row(
	struct db *db, struct error *err, const char *what, int64_t account)
{
	char value[64];

	db_copy(db, 1, value, sizeof(value));
	db_end(db, NULL);
	error_set(err, -EINVAL,
		"%s of account %" PRId64
		" (%s): not a value that this program writes; run `ledgerd "
		"verify`, and look for who else writes to the database",
		what, account, value);
	return STORE_HALT;
}

static bool read_amount(struct db *db, unsigned column, i128 *ret_amount)
{
	size_t length;
	const char *text = db_text(db, column, &length);

	return decimal_parse_stored(text, length, ret_amount) == DECIMAL_OK && *ret_amount >= 0 &&
	       *ret_amount <= DECIMAL_MAX;
}

static currency_t read_currency(struct db *db, unsigned column)
{
	size_t length;
	const char *text = db_text(db, column, &length);

	return currency_pack(text, length);
}

/* Columns of BALANCE_COLUMNS. */
static bool read_balance(struct db *db, struct store_balance *ret_row)
{
	*ret_row = (struct store_balance){
		.key = {.account_id = db_int(db, 0), .currency = read_currency(db, 1)},
		.balance = {.version = db_int(db, 4), .last_offset = db_int(db, 5)},
		.partition = (int32_t)db_int(db, 6),
		.updated_ms = db_int(db, 7),
	};
	return ret_row->key.account_id > 0 && ret_row->key.currency != CURRENCY_NONE &&
	       ret_row->balance.version >= 0 && ret_row->balance.version <= BALANCE_OFFSET_MAX &&
	       ret_row->balance.last_offset >= 0 &&
	       ret_row->balance.last_offset <= BALANCE_OFFSET_MAX &&
	       read_amount(db, 2, &ret_row->balance.available) &&
	       read_amount(db, 3, &ret_row->balance.frozen);
}

/* Columns of EVENT_COLUMNS. */
static bool read_event(struct db *db, struct event *ret_event)
{
	size_t type_length, id_length;
	const char *type = db_text(db, 2, &type_length);
	const char *id = db_text(db, 4, &id_length);

	*ret_event = (struct event){
		.account_id = db_int(db, 0),
		.currency = read_currency(db, 1),
		.type = (uint8_t)event_type_parse(type, type_length),
	};
	if (id_length < 1 || id_length > TRANSACTION_ID_MAX)
		return false;
	ret_event->transaction_id_length = (uint8_t)id_length;
	memcpy(ret_event->transaction_id, id, id_length);
	return ret_event->currency != CURRENCY_NONE && ret_event->type != 0 &&
	       read_amount(db, 3, &ret_event->amount) && ret_event->amount > 0;
}

/* Hands each row of a result to fn; *ret_count: how many there were. */
static enum store_result each_balance(
	struct db *db, store_balance_fn *fn, void *context, size_t *ret_count, struct error *err)
{
	struct store_balance row;

	for (*ret_count = 0; db_next(db); ++*ret_count) {
		if (!read_balance(db, &row))
			return bad_row(db, err, "account_balances", db_int(db, 0));
		fn(context, &row);
	}
	return result_of(db_end(db, err));
}

static enum store_result each_transaction(
	struct db *db, store_transaction_fn *fn, void *context, struct error *err)
{
	struct event event;

	while (db_next(db)) {
		if (!read_event(db, &event))
			return bad_row(db, err, "balance_transactions", db_int(db, 0));
		fn(context, &event);
	}
	return result_of(db_end(db, err));
}

/* Lists of keys ------------------------------------------------------------------------------- */

static size_t chunk_size(size_t count)
{
	return count < CHUNK ? count : CHUNK;
}

static int compare_rows(const void *a, const void *b)
{
	return balance_key_compare(
		&((const struct balance_row *)a)->key, &((const struct balance_row *)b)->key);
}

struct row_chunk {
	struct balance_row *rows;
	size_t count;
};

static void fill_row(void *context, const struct store_balance *found)
{
	struct row_chunk *chunk = context;
	struct balance_row key = {.key = found->key};
	struct balance_row *row = bsearch(
		&key, chunk->rows, chunk->count, sizeof(*chunk->rows), compare_rows);

	if (!row) /* nobody asked for it: a currency that compares equal to another */
		return;
	row->balance = found->balance;
	row->updated_ms = found->updated_ms;
	row->found = true;
}

static enum store_result read_chunk(
	struct store *s, struct balance_row *rows, size_t count, struct error *err)
{
	struct row_chunk chunk = {rows, count};
	struct sql *q = &self(s)->text;
	char currency[CURRENCY_LENGTH_MAX + 1];
	enum db_result result;
	size_t found;

	sql_clear(q);
	sql_add(q, "SELECT " BALANCE_COLUMNS
		   " FROM account_balances b WHERE (b.account_id, b.currency_code) IN (");
	for (size_t i = 0; i < count; i++) {
		size_t length = currency_text(rows[i].key.currency, currency);
		struct sql_value key[] = {
			SQL_INT(rows[i].key.account_id), SQL_SPAN(currency, length)};

		sql_build(q, i ? ", (?, ?)" : "(?, ?)", key, 2);
		rows[i].balance = (struct balance){.last_offset = -1};
		rows[i].found = false;
	}
	sql_add(q, ")");
	result = db_query_text(db_of(s), "reading account_balances", err, q->text, q->length);
	if (result != DB_OK)
		return result_of(result);
	return each_balance(db_of(s), fill_row, &chunk, &found, err);
}

static enum store_result store_read_balances(
	struct store *s, struct balance_row *rows, size_t count, struct error *err)
{
	enum store_result result = STORE_OK;

	for (size_t i = 0; i < count && result == STORE_OK; i += CHUNK)
		result = read_chunk(s, rows + i, chunk_size(count - i), err);
	return result;
}

static enum store_result find_chunk(struct store *s, const struct event *const *events,
	size_t count, store_transaction_fn *fn, void *context, struct error *err)
{
	struct sql *q = &self(s)->text;
	enum db_result result;

	sql_clear(q);
	sql_add(q, "SELECT " EVENT_COLUMNS
		   " FROM balance_transactions WHERE (transaction_id, account_id) IN (");
	for (size_t i = 0; i < count; i++) {
		struct sql_value key[] = {
			SQL_SPAN(events[i]->transaction_id, events[i]->transaction_id_length),
			SQL_INT(events[i]->account_id)};

		sql_build(q, i ? ", (?, ?)" : "(?, ?)", key, 2);
	}
	sql_add(q, ")");
	result = db_query_text(db_of(s), "looking for transactions", err, q->text, q->length);
	if (result != DB_OK)
		return result_of(result);
	return each_transaction(db_of(s), fn, context, err);
}

static enum store_result store_find_transactions(struct store *s, const struct event *const *events,
	size_t count, store_transaction_fn *fn, void *context, struct error *err)
{
	enum store_result result = STORE_OK;

	for (size_t i = 0; i < count && result == STORE_OK; i += CHUNK)
		result = find_chunk(s, events + i, chunk_size(count - i), fn, context, err);
	return result;
}

/* The journal's end --------------------------------------------------------------------------- */

static enum store_result store_recent_transactions(struct store *s, int32_t partition, size_t count,
	store_transaction_fn *fn, void *context, struct error *err)
{
	enum db_result result = db_query(db_of(s),
		DB_PURPOSE("reading the newest transactions of partition %d", (int)partition), err,
		"SELECT " EVENT_COLUMNS " FROM balance_transactions WHERE kafka_partition = ? "
		"ORDER BY kafka_offset DESC LIMIT ?",
		SQL_INT(partition), SQL_INT((int64_t)count));

	if (result != DB_OK)
		return result_of(result);
	return each_transaction(db_of(s), fn, context, err);
}

/* At one end of what a table has from `begin` on. */
#define AT_END(columns, table, order)                                                              \
	"SELECT " columns ", kafka_offset FROM " table                                             \
	" WHERE kafka_partition = ? AND kafka_offset >= ? ORDER BY kafka_offset " order " LIMIT 1"

enum end { OLDEST, NEWEST };

static enum store_result transaction_at(struct store *s, enum end end, int32_t partition,
	int64_t begin, struct store_newest *row, struct error *err)
{
	static const char *const queries[] = {
		[OLDEST] = AT_END(EVENT_COLUMNS, "balance_transactions", "ASC"),
		[NEWEST] = AT_END(EVENT_COLUMNS, "balance_transactions", "DESC"),
	};
	struct db *db = db_of(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading a transaction of partition %d", (int)partition), err,
		queries[end], SQL_INT(partition), SQL_INT(begin));

	if (result != DB_OK)
		return result_of(result);
	row->found = db_next(db);
	if (row->found) {
		if (!read_event(db, &row->event))
			return bad_row(db, err, "balance_transactions", db_int(db, 0));
		row->offset = db_int(db, 5);
	}
	return result_of(db_end(db, err));
}

static char *copy_bytes(struct db *db, unsigned column, size_t *ret_length)
{
	const char *bytes = db_text(db, column, ret_length);

	return db_null(db, column) ? NULL : memcpy(xmalloc(*ret_length), bytes, *ret_length);
}

/* Takes the place of a journal row that is further from the end. */
static enum store_result dead_letter_at(struct store *s, enum end end, int32_t partition,
	int64_t begin, struct store_newest *row, struct error *err)
{
	static const char *const queries[] = {
		[OLDEST] = AT_END("message_key, message_value", "dead_letters", "ASC"),
		[NEWEST] = AT_END("message_key, message_value", "dead_letters", "DESC"),
	};
	struct db *db = db_of(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading a dead letter of partition %d", (int)partition), err,
		queries[end], SQL_INT(partition), SQL_INT(begin));

	if (result != DB_OK)
		return result_of(result);
	if (db_next(db) && (!row->found || (db_int(db, 2) > row->offset) == (end == NEWEST))) {
		row->found = true;
		row->dead_letter = true;
		row->offset = db_int(db, 2);
		row->key = copy_bytes(db, 0, &row->key_length);
		row->value = copy_bytes(db, 1, &row->value_length);
	}
	result = db_end(db, err);
	if (result != DB_OK) {
		free(row->key);
		free(row->value);
		*row = (struct store_newest){0};
	}
	return result_of(result);
}

static enum store_result read_at(struct store *s, enum end end, int32_t partition, int64_t begin,
	struct store_newest *ret_row, struct error *err)
{
	enum store_result result;

	*ret_row = (struct store_newest){0};
	result = transaction_at(s, end, partition, begin, ret_row, err);
	if (result == STORE_OK)
		result = dead_letter_at(s, end, partition, begin, ret_row, err);
	return result;
}

static enum store_result store_read_newest(
	struct store *s, int32_t partition, struct store_newest *ret_newest, struct error *err)
{
	return read_at(s, NEWEST, partition, 0, ret_newest, err);
}

static enum store_result store_read_oldest(struct store *s, int32_t partition, int64_t begin,
	struct store_newest *ret_oldest, struct error *err)
{
	return read_at(s, OLDEST, partition, begin, ret_oldest, err);
}

static enum store_result store_has_rows(struct store *s, int32_t partition, int64_t begin,
	int64_t end, bool *ret_has, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("looking for rows of partition %d", (int)partition), err,
		"SELECT EXISTS (SELECT 1 FROM balance_transactions WHERE kafka_partition = ? "
		"AND kafka_offset >= ? AND kafka_offset < ?) "
		"OR EXISTS (SELECT 1 FROM dead_letters WHERE kafka_partition = ? "
		"AND kafka_offset >= ? AND kafka_offset < ?)",
		SQL_INT(partition), SQL_INT(begin), SQL_INT(end), SQL_INT(partition),
		SQL_INT(begin), SQL_INT(end));

	*ret_has = false;
	if (result != DB_OK)
		return result_of(result);
	*ret_has = db_next(db) && db_int(db, 0) != 0;
	return result_of(db_end(db, err));
}

/* For Redis ----------------------------------------------------------------------------------- */

/* Passes on the first `left` rows. */
struct limited {
	store_balance_fn *fn;
	void *context;
	size_t left;
};

static void pass_limited(void *context, const struct store_balance *row)
{
	struct limited *limited = context;

	if (limited->left == 0)
		return;
	limited->left--;
	limited->fn(limited->context, row);
}

/* A refused transaction changes no balance, so the rows of the applied ones are enough. */
static enum store_result store_changed_balances(struct store *s, int32_t partition, int64_t offset,
	size_t limit, store_balance_fn *fn, void *context, bool *ret_more, struct error *err)
{
	struct limited limited = {fn, context, limit};
	enum store_result result;
	size_t count = 0;

	*ret_more = false;
	assert(limit < INT64_MAX);
	result = result_of(db_query(db_of(s),
		DB_PURPOSE("reading the changed balances of partition %d", (int)partition), err,
		"SELECT " BALANCE_COLUMNS " FROM (SELECT DISTINCT account_id, currency_code "
		"FROM balance_transactions WHERE kafka_partition = ? AND kafka_offset >= ? "
		"AND status = 'SUCCESS' LIMIT ?) c STRAIGHT_JOIN account_balances b "
		"ON b.account_id = c.account_id AND b.currency_code = c.currency_code",
		SQL_INT(partition), SQL_INT(offset), SQL_INT((int64_t)limit + 1)));
	if (result != STORE_OK)
		return result;
	result = each_balance(db_of(s), pass_limited, &limited, &count, err);
	*ret_more = result == STORE_OK && count > limit;
	return result;
}

static enum store_result store_scan_balances(struct store *s, const struct balance_key *after,
	size_t limit, store_balance_fn *fn, void *context, struct error *err)
{
	char currency[CURRENCY_LENGTH_MAX + 1] = "";
	int64_t account = after ? after->account_id : -1; /* below the first */
	enum db_result result;
	size_t count;

	if (after)
		currency_text(after->currency, currency);
	result = db_query(db_of(s), "reading account_balances in order", err,
		"SELECT " BALANCE_COLUMNS " FROM account_balances b "
		"WHERE b.account_id > ? OR (b.account_id = ? AND b.currency_code > ?) "
		"ORDER BY b.account_id, b.currency_code LIMIT ?",
		SQL_INT(account), SQL_INT(account), SQL_TEXT(currency), SQL_INT((int64_t)limit));
	if (result != DB_OK)
		return result_of(result);
	return each_balance(db_of(s), fn, context, &count, err);
}

/* For `replay` -------------------------------------------------------------------------------- */

static enum store_result store_snapshot(struct store *s, struct error *err)
{
	static const char purpose[] = "beginning a consistent snapshot";
	enum db_result result = db_exec(
		db_of(s), purpose, err, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");

	if (result == DB_OK)
		result = db_exec(db_of(s), purpose, err,
			"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
	return result_of(result);
}

#define ROW_COLUMNS                                                                                \
	EVENT_COLUMNS ", kafka_offset, available_after, frozen_after, status + 0, reason + 0, "    \
		      "prev_offset, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', event_time) DIV 1000"

enum { STATUS_SUCCESS = 1, STATUS_FAILED = 2 }; /* as sql/0001_ledger.sql lists them */

static bool read_row(struct db *db, struct store_row *ret_row)
{
	int64_t status = db_int(db, 8);
	int64_t reason = db_int(db, 9);

	if (!read_event(db, &ret_row->event))
		return false;
	ret_row->event.time_ms = db_int(db, 11);
	ret_row->offset = db_int(db, 5);
	ret_row->prev_offset = db_null(db, 10) ? -1 : db_int(db, 10);
	if (status != (reason ? STATUS_FAILED : STATUS_SUCCESS) || reason < REFUSAL_NONE ||
		reason > REFUSAL_OVERFLOW || (reason == 0 && !db_null(db, 9)))
		return false;
	ret_row->refusal = (enum refusal)reason;
	return ret_row->event.account_id > 0 && ret_row->offset >= 0 &&
	       ret_row->offset <= BALANCE_OFFSET_MAX && ret_row->prev_offset >= -1 &&
	       read_amount(db, 6, &ret_row->available_after) &&
	       read_amount(db, 7, &ret_row->frozen_after);
}

static enum store_result store_scan_journal(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_row_fn *fn, void *context, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the journal of partition %d", (int)partition), err,
		"SELECT " ROW_COLUMNS " FROM balance_transactions WHERE kafka_partition = ? "
		"AND kafka_offset >= ? ORDER BY kafka_offset LIMIT ?",
		SQL_INT(partition), SQL_INT(begin), SQL_INT((int64_t)limit));
	struct store_row row;

	if (result != DB_OK)
		return result_of(result);
	while (db_next(db)) {
		if (!read_row(db, &row))
			return bad_row(db, err, "balance_transactions", db_int(db, 0));
		fn(context, &row);
	}
	return result_of(db_end(db, err));
}

static enum store_result store_scan_letters(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_letter_fn *fn, void *context, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the dead letters of partition %d", (int)partition), err,
		"SELECT kafka_offset, reason + 0 FROM dead_letters WHERE kafka_partition = ? "
		"AND kafka_offset >= ? ORDER BY kafka_offset LIMIT ?",
		SQL_INT(partition), SQL_INT(begin), SQL_INT((int64_t)limit));

	if (result != DB_OK)
		return result_of(result);
	while (db_next(db))
		fn(context, db_int(db, 0), (enum dead_reason)db_int(db, 1));
	return result_of(db_end(db, err));
}

static enum store_result store_read_gaps(
	struct store *s, int32_t partition, store_gap_fn *fn, void *context, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the gaps of partition %d", (int)partition), err,
		"SELECT from_offset, to_offset FROM offset_gaps WHERE kafka_partition = ? "
		"ORDER BY from_offset",
		SQL_INT(partition));

	if (result != DB_OK)
		return result_of(result);
	while (db_next(db))
		fn(context, db_int(db, 0), db_int(db, 1));
	return result_of(db_end(db, err));
}

static enum store_result accounts_chunk(struct store *s, const int64_t *accounts, size_t count,
	store_balance_fn *fn, void *context, struct error *err)
{
	struct sql *q = &self(s)->text;
	enum db_result result;
	size_t found;

	sql_clear(q);
	sql_add(q, "SELECT " BALANCE_COLUMNS " FROM account_balances b WHERE b.account_id IN (");
	for (size_t i = 0; i < count; i++) {
		struct sql_value account[] = {SQL_INT(accounts[i])};

		sql_build(q, i ? ", ?" : "?", account, 1);
	}
	sql_add(q, ")");
	result = db_query_text(db_of(s), "reading account_balances", err, q->text, q->length);
	if (result != DB_OK)
		return result_of(result);
	return each_balance(db_of(s), fn, context, &found, err);
}

static enum store_result store_read_accounts(struct store *s, const int64_t *accounts, size_t count,
	store_balance_fn *fn, void *context, struct error *err)
{
	enum store_result result = STORE_OK;

	for (size_t i = 0; i < count && result == STORE_OK; i += CHUNK)
		result = accounts_chunk(s, accounts + i, chunk_size(count - i), fn, context, err);
	return result;
}

/* --------------------------------------------------------------------------------------------- */

static void store_destroy(struct store *s)
{
	sql_finish(&self(s)->text);
	db_destroy(db_of(s));
	free(s);
}

static const struct store_ops store_ops = {
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

struct store *store_mysql_create(const struct db_options *options, int64_t ttl_ms)
{
	struct store_mysql *s = xcalloc(1, sizeof(*s));
	struct db_options own = *options;

	db_options_set_lease(&own, ttl_ms);
	own.local_infile = true;
	s->store.ops = &store_ops;
	s->db = db_create(&own);
	sql_init(&s->text);
	return &s->store;
}
