/* Reading by keys, and the ends of the journal.  See store.h and store_mysql_private.h. */
#include "store_mysql_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* Values of rows ------------------------------------------------------------------------------ */

enum store_result store_mysql_bad_row(
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

bool store_mysql_read_amount(struct db *db, unsigned column, i128 *ret_amount)
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

/* Columns of STORE_MYSQL_BALANCE_COLUMNS. */
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
	       store_mysql_read_amount(db, 2, &ret_row->balance.available) &&
	       store_mysql_read_amount(db, 3, &ret_row->balance.frozen);
}

bool store_mysql_read_event(struct db *db, struct event *ret_event)
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
	       store_mysql_read_amount(db, 3, &ret_event->amount) && ret_event->amount > 0;
}

enum store_result store_mysql_each_balance(
	struct db *db, store_balance_fn *fn, void *context, size_t *ret_count, struct error *err)
{
	struct store_balance row;

	for (*ret_count = 0; db_next(db); ++*ret_count) {
		if (!read_balance(db, &row))
			return store_mysql_bad_row(db, err, "account_balances", db_int(db, 0));
		fn(context, &row);
	}
	return store_mysql_result(db_end(db, err));
}

static enum store_result each_transaction(
	struct db *db, store_transaction_fn *fn, void *context, struct error *err)
{
	struct event event;

	while (db_next(db)) {
		if (!store_mysql_read_event(db, &event))
			return store_mysql_bad_row(db, err, "balance_transactions", db_int(db, 0));
		fn(context, &event);
	}
	return store_mysql_result(db_end(db, err));
}

/* Lists of keys ------------------------------------------------------------------------------- */

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
	struct sql *q = &store_mysql_self(s)->text;
	char currency[CURRENCY_LENGTH_MAX + 1];
	enum db_result result;
	size_t found;

	sql_clear(q);
	sql_add(q, "SELECT " STORE_MYSQL_BALANCE_COLUMNS
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
	result = db_query_text(
		store_mysql_db(s), "reading account_balances", err, q->text, q->length);
	if (result != DB_OK)
		return store_mysql_result(result);
	return store_mysql_each_balance(store_mysql_db(s), fill_row, &chunk, &found, err);
}

enum store_result store_mysql_read_balances(
	struct store *s, struct balance_row *rows, size_t count, struct error *err)
{
	enum store_result result = STORE_OK;

	for (size_t i = 0; i < count && result == STORE_OK; i += STORE_MYSQL_CHUNK)
		result = read_chunk(s, rows + i, store_mysql_chunk(count - i), err);
	return result;
}

static enum store_result find_chunk(struct store *s, const struct event *const *events,
	size_t count, store_transaction_fn *fn, void *context, struct error *err)
{
	struct sql *q = &store_mysql_self(s)->text;
	enum db_result result;

	sql_clear(q);
	sql_add(q, "SELECT " STORE_MYSQL_EVENT_COLUMNS
		   " FROM balance_transactions WHERE (transaction_id, account_id) IN (");
	for (size_t i = 0; i < count; i++) {
		struct sql_value key[] = {
			SQL_SPAN(events[i]->transaction_id, events[i]->transaction_id_length),
			SQL_INT(events[i]->account_id)};

		sql_build(q, i ? ", (?, ?)" : "(?, ?)", key, 2);
	}
	sql_add(q, ")");
	result = db_query_text(
		store_mysql_db(s), "looking for transactions", err, q->text, q->length);
	if (result != DB_OK)
		return store_mysql_result(result);
	return each_transaction(store_mysql_db(s), fn, context, err);
}

enum store_result store_mysql_find_transactions(struct store *s, const struct event *const *events,
	size_t count, store_transaction_fn *fn, void *context, struct error *err)
{
	enum store_result result = STORE_OK;

	for (size_t i = 0; i < count && result == STORE_OK; i += STORE_MYSQL_CHUNK)
		result = find_chunk(s, events + i, store_mysql_chunk(count - i), fn, context, err);
	return result;
}

/* The journal's end --------------------------------------------------------------------------- */

enum store_result store_mysql_recent_transactions(struct store *s, int32_t partition, size_t count,
	store_transaction_fn *fn, void *context, struct error *err)
{
	enum db_result result = db_query(store_mysql_db(s),
		DB_PURPOSE("reading the newest transactions of partition %d", (int)partition), err,
		"SELECT " STORE_MYSQL_EVENT_COLUMNS
		" FROM balance_transactions WHERE kafka_partition = ? "
		"ORDER BY kafka_offset DESC LIMIT ?",
		SQL_INT(partition), SQL_INT((int64_t)count));

	if (result != DB_OK)
		return store_mysql_result(result);
	return each_transaction(store_mysql_db(s), fn, context, err);
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
		[OLDEST] = AT_END(STORE_MYSQL_EVENT_COLUMNS, "balance_transactions", "ASC"),
		[NEWEST] = AT_END(STORE_MYSQL_EVENT_COLUMNS, "balance_transactions", "DESC"),
	};
	struct db *db = store_mysql_db(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading a transaction of partition %d", (int)partition), err,
		queries[end], SQL_INT(partition), SQL_INT(begin));

	if (result != DB_OK)
		return store_mysql_result(result);
	row->found = db_next(db);
	if (row->found) {
		if (!store_mysql_read_event(db, &row->event))
			return store_mysql_bad_row(db, err, "balance_transactions", db_int(db, 0));
		row->offset = db_int(db, 5);
	}
	return store_mysql_result(db_end(db, err));
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
	struct db *db = store_mysql_db(s);
	enum db_result result = db_query(db,
		DB_PURPOSE("reading a dead letter of partition %d", (int)partition), err,
		queries[end], SQL_INT(partition), SQL_INT(begin));

	if (result != DB_OK)
		return store_mysql_result(result);
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
	return store_mysql_result(result);
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

enum store_result store_mysql_read_newest(
	struct store *s, int32_t partition, struct store_newest *ret_newest, struct error *err)
{
	return read_at(s, NEWEST, partition, 0, ret_newest, err);
}

enum store_result store_mysql_read_oldest(struct store *s, int32_t partition, int64_t begin,
	struct store_newest *ret_oldest, struct error *err)
{
	return read_at(s, OLDEST, partition, begin, ret_oldest, err);
}

enum store_result store_mysql_has_rows(struct store *s, int32_t partition, int64_t begin,
	int64_t end, bool *ret_has, struct error *err)
{
	struct db *db = store_mysql_db(s);
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
		return store_mysql_result(result);
	*ret_has = db_next(db) && db_int(db, 0) != 0;
	return store_mysql_result(db_end(db, err));
}
