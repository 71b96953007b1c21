/* Reading ranges, for Redis and for `ledgerd replay`.  See store.h and store_mysql_private.h. */
#include "store_mysql_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

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
enum store_result store_mysql_changed_balances(struct store *s, int32_t partition, int64_t offset,
	size_t limit, store_balance_fn *fn, void *context, bool *ret_more, struct error *err)
{
	struct limited limited = {fn, context, limit};
	enum store_result result;
	size_t count = 0;

	*ret_more = false;
	assert(limit < INT64_MAX);
	result = store_mysql_result(db_query(store_mysql_db(s),
		DB_PURPOSE("reading the changed balances of partition %d", (int)partition), err,
		"SELECT " STORE_MYSQL_BALANCE_COLUMNS
		" FROM (SELECT DISTINCT account_id, currency_code "
		"FROM balance_transactions WHERE kafka_partition = ? AND kafka_offset >= ? "
		"AND status = 'SUCCESS' LIMIT ?) c STRAIGHT_JOIN account_balances b "
		"ON b.account_id = c.account_id AND b.currency_code = c.currency_code",
		SQL_INT(partition), SQL_INT(offset), SQL_INT((int64_t)limit + 1)));
	if (result != STORE_OK)
		return result;
	result = store_mysql_each_balance(store_mysql_db(s), pass_limited, &limited, &count, err);
	*ret_more = result == STORE_OK && count > limit;
	return result;
}

enum store_result store_mysql_scan_balances(struct store *s, const struct balance_key *after,
	size_t limit, store_balance_fn *fn, void *context, struct error *err)
{
	char currency[CURRENCY_LENGTH_MAX + 1] = "";
	int64_t account = after ? after->account_id : -1; /* below the first */
	enum db_result result;
	size_t count;

	if (after)
		currency_text(after->currency, currency);
	result = db_query(store_mysql_db(s), "reading account_balances in order", err,
		"SELECT " STORE_MYSQL_BALANCE_COLUMNS " FROM account_balances b "
		"WHERE b.account_id > ? OR (b.account_id = ? AND b.currency_code > ?) "
		"ORDER BY b.account_id, b.currency_code LIMIT ?",
		SQL_INT(account), SQL_INT(account), SQL_TEXT(currency), SQL_INT((int64_t)limit));
	if (result != DB_OK)
		return store_mysql_result(result);
	return store_mysql_each_balance(store_mysql_db(s), fn, context, &count, err);
}

/* For `replay` -------------------------------------------------------------------------------- */

enum store_result store_mysql_snapshot(struct store *s, struct error *err)
{
	static const char purpose[] = "beginning a consistent snapshot";
	enum db_result result = db_exec(
		store_mysql_db(s), purpose, err, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");

	if (result == DB_OK)
		result = db_exec(store_mysql_db(s), purpose, err,
			"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
	return store_mysql_result(result);
}

#define ROW_COLUMNS                                                                                \
	STORE_MYSQL_EVENT_COLUMNS                                                                  \
	", kafka_offset, available_after, frozen_after, status + 0, reason + 0, prev_offset, "     \
	"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', event_time) DIV 1000"

enum { STATUS_SUCCESS = 1, STATUS_FAILED = 2 }; /* as sql/0001_ledger.sql lists them */

static bool read_row(struct db *db, struct store_row *ret_row)
{
	int64_t status = db_int(db, 8);
	int64_t reason = db_int(db, 9);

	if (!store_mysql_read_event(db, &ret_row->event))
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
	       store_mysql_read_amount(db, 6, &ret_row->available_after) &&
	       store_mysql_read_amount(db, 7, &ret_row->frozen_after);
}

enum store_result store_mysql_scan_journal(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_row_fn *fn, void *context, struct error *err)
{
	struct db *db = store_mysql_db(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the journal of partition %d", (int)partition), err,
		"SELECT " ROW_COLUMNS " FROM balance_transactions WHERE kafka_partition = ? "
		"AND kafka_offset >= ? ORDER BY kafka_offset LIMIT ?",
		SQL_INT(partition), SQL_INT(begin), SQL_INT((int64_t)limit));
	struct store_row row;

	if (result != DB_OK)
		return store_mysql_result(result);
	while (db_next(db)) {
		if (!read_row(db, &row))
			return store_mysql_bad_row(db, err, "balance_transactions", db_int(db, 0));
		fn(context, &row);
	}
	return store_mysql_result(db_end(db, err));
}

enum store_result store_mysql_scan_letters(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_letter_fn *fn, void *context, struct error *err)
{
	struct db *db = store_mysql_db(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the dead letters of partition %d", (int)partition), err,
		"SELECT kafka_offset, reason + 0 FROM dead_letters WHERE kafka_partition = ? "
		"AND kafka_offset >= ? ORDER BY kafka_offset LIMIT ?",
		SQL_INT(partition), SQL_INT(begin), SQL_INT((int64_t)limit));

	if (result != DB_OK)
		return store_mysql_result(result);
	while (db_next(db))
		fn(context, db_int(db, 0), (enum dead_reason)db_int(db, 1));
	return store_mysql_result(db_end(db, err));
}

enum store_result store_mysql_read_gaps(
	struct store *s, int32_t partition, store_gap_fn *fn, void *context, struct error *err)
{
	struct db *db = store_mysql_db(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the gaps of partition %d", (int)partition), err,
		"SELECT from_offset, to_offset FROM offset_gaps WHERE kafka_partition = ? "
		"ORDER BY from_offset",
		SQL_INT(partition));

	if (result != DB_OK)
		return store_mysql_result(result);
	while (db_next(db))
		fn(context, db_int(db, 0), db_int(db, 1));
	return store_mysql_result(db_end(db, err));
}

static enum store_result accounts_chunk(struct store *s, const int64_t *accounts, size_t count,
	store_balance_fn *fn, void *context, struct error *err)
{
	struct sql *q = &store_mysql_self(s)->text;
	enum db_result result;
	size_t found;

	sql_clear(q);
	sql_add(q, "SELECT " STORE_MYSQL_BALANCE_COLUMNS
		   " FROM account_balances b WHERE b.account_id IN (");
	for (size_t i = 0; i < count; i++) {
		struct sql_value account[] = {SQL_INT(accounts[i])};

		sql_build(q, i ? ", ?" : "?", account, 1);
	}
	sql_add(q, ")");
	result = db_query_text(
		store_mysql_db(s), "reading account_balances", err, q->text, q->length);
	if (result != DB_OK)
		return store_mysql_result(result);
	return store_mysql_each_balance(store_mysql_db(s), fn, context, &found, err);
}

enum store_result store_mysql_read_accounts(struct store *s, const int64_t *accounts, size_t count,
	store_balance_fn *fn, void *context, struct error *err)
{
	enum store_result result = STORE_OK;

	for (size_t i = 0; i < count && result == STORE_OK; i += STORE_MYSQL_CHUNK)
		result = accounts_chunk(
			s, accounts + i, store_mysql_chunk(count - i), fn, context, err);
	return result;
}
