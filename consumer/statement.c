/* See statement.h. */
#include "statement.h"

#include "decimal.h"
#include "mem.h"
#include "table.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* A DECIMAL as the server writes it, without the trailing zeros. */
static void copy_amount(struct db *db, unsigned column, char text[48])
{
	char plain[DECIMAL_TEXT_MAX];
	size_t length;
	const char *stored = db_text(db, column, &length);
	i128 amount;

	if (decimal_parse_stored(stored, length, &amount) == DECIMAL_OK)
		snprintf(text, 48, "%s", decimal_text(amount, plain));
	else
		snprintf(text, 48, "%.47s", stored);
}

static void read_balance(struct db *db, struct statement_balance *ret_balance)
{
	*ret_balance = (struct statement_balance){
		.version = db_int(db, 3),
		.partition = (int32_t)db_int(db, 4),
		.next_offset = db_int(db, 5),
	};
	db_copy(db, 0, ret_balance->currency, sizeof(ret_balance->currency));
	copy_amount(db, 1, ret_balance->available);
	copy_amount(db, 2, ret_balance->frozen);
}

static enum db_result read_balances(
	struct db *db, struct statement *statement, const char *currency, struct error *err)
{
	enum db_result result = db_query(db, "reading the account's balances", err,
		"SELECT currency_code, available, frozen, version, kafka_partition, last_offset "
		"FROM account_balances WHERE account_id = ? AND (? IS NULL OR currency_code = ?) "
		"ORDER BY currency_code",
		SQL_INT(statement->account_id), SQL_TEXT(currency), SQL_TEXT(currency));

	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		size_t count = ++statement->balance_count;

		statement->balances = xrealloc(
			statement->balances, count * sizeof(*statement->balances));
		read_balance(db, &statement->balances[count - 1]);
	}
	return db_end(db, err);
}

/* The chain whose next row is the newest, or NULL. */
static struct statement_balance *newest_chain(const struct statement *statement)
{
	struct statement_balance *newest = NULL;

	for (size_t i = 0; i < statement->balance_count; i++) {
		struct statement_balance *chain = &statement->balances[i];

		if (chain->next_offset >= 0 &&
			(!newest || chain->next_offset > newest->next_offset))
			newest = chain;
	}
	return newest;
}

static void read_row(
	struct db *db, const struct statement_balance *chain, struct statement_row *ret_row)
{
	*ret_row = (struct statement_row){
		.offset = chain->next_offset, .partition = chain->partition};
	memcpy(ret_row->currency, chain->currency, sizeof(ret_row->currency));
	db_copy(db, 0, ret_row->time, sizeof(ret_row->time));
	db_copy(db, 1, ret_row->transaction_id, sizeof(ret_row->transaction_id));
	db_copy(db, 2, ret_row->type, sizeof(ret_row->type));
	copy_amount(db, 3, ret_row->amount);
	copy_amount(db, 4, ret_row->available_before);
	copy_amount(db, 5, ret_row->frozen_before);
	copy_amount(db, 6, ret_row->available_after);
	copy_amount(db, 7, ret_row->frozen_after);
	db_copy(db, 8, ret_row->status, sizeof(ret_row->status));
	db_copy(db, 9, ret_row->reason, sizeof(ret_row->reason));
}

static enum db_result broken_chain(
	const struct statement *statement, const struct statement_balance *chain, struct error *err)
{
	error_set(err, -ENOENT,
		"account %" PRId64 ", %s: the journal has no row of it at offset %" PRId64
		" of partition %d, where its chain leads; run `ledgerd verify`",
		statement->account_id, chain->currency, chain->next_offset, (int)chain->partition);
	return DB_HALT;
}

/* Reads the chain's next row, and moves it on. */
static enum db_result walk(struct db *db, struct statement *statement,
	struct statement_balance *chain, struct error *err)
{
	bool found;
	enum db_result result = db_query(db, "reading the account's transactions", err,
		"SELECT CONCAT(REPLACE(event_time, ' ', 'T'), 'Z'), transaction_id, type, amount, "
		"available_before, frozen_before, "
		"available_after, frozen_after, status, reason, prev_offset FROM balance_statement "
		"WHERE kafka_partition = ? AND kafka_offset = ? AND account_id = ? "
		"AND currency_code = ?",
		SQL_INT(chain->partition), SQL_INT(chain->next_offset),
		SQL_INT(statement->account_id), SQL_TEXT(chain->currency));

	if (result != DB_OK)
		return result;
	found = db_next(db);
	if (found) {
		read_row(db, chain, &statement->rows[statement->row_count++]);
		chain->next_offset = db_null(db, 10) ? -1 : db_int(db, 10);
	}
	result = db_end(db, err);
	if (result != DB_OK || found)
		return result;
	return broken_chain(statement, chain, err);
}

enum db_result statement_read(struct db *db, int64_t account_id, const char *currency, size_t limit,
	struct statement *ret_statement, struct error *err)
{
	struct statement_balance *chain;
	enum db_result result;

	assert(limit >= 1 && limit <= STATEMENT_LIMIT_MAX);
	*ret_statement = (struct statement){.account_id = account_id};
	ret_statement->rows = xcalloc(limit, sizeof(*ret_statement->rows));
	/* One view for balances and rows: a flush in between would not show half. */
	result = db_exec(
		db, "beginning to read", err, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
	if (result == DB_OK)
		result = db_begin(db, "beginning to read", err);
	if (result == DB_OK)
		result = read_balances(db, ret_statement, currency, err);
	while (result == DB_OK && ret_statement->row_count < limit &&
		(chain = newest_chain(ret_statement)))
		result = walk(db, ret_statement, chain, err);
	ret_statement->more = newest_chain(ret_statement) != NULL;
	db_rollback(db);
	return result;
}

void statement_finish(struct statement *statement)
{
	free(statement->balances);
	free(statement->rows);
	*statement = (struct statement){0};
}

/* For people ---------------------------------------------------------------------------------- */

static void print_balances(const struct statement *statement, FILE *file)
{
	static const char *const titles[] = {
		"CURRENCY", ">AVAILABLE", ">FROZEN", ">VERSION", ">PARTITION"};
	struct table table;

	table_init(&table, titles, 5);
	for (size_t i = 0; i < statement->balance_count; i++) {
		const struct statement_balance *balance = &statement->balances[i];

		table_add(&table, "%s", balance->currency);
		table_add(&table, "%s", balance->available);
		table_add(&table, "%s", balance->frozen);
		table_add(&table, "%" PRId64, balance->version);
		table_add(&table, "%d", (int)balance->partition);
	}
	table_print(&table, file);
	table_finish(&table);
}

static void print_rows(const struct statement *statement, FILE *file)
{
	static const char *const titles[] = {"TIME", ">OFFSET", "CURRENCY", "TYPE", ">AMOUNT",
		">AVAILABLE BEFORE", ">AFTER", ">FROZEN BEFORE", ">AFTER", "RESULT", "TRANSACTION"};
	struct table table;

	table_init(&table, titles, 11);
	for (size_t i = 0; i < statement->row_count; i++) {
		const struct statement_row *row = &statement->rows[i];

		table_add(&table, "%s", row->time);
		table_add(&table, "%" PRId64, row->offset);
		table_add(&table, "%s", row->currency);
		table_add(&table, "%s", row->type);
		table_add(&table, "%s", row->amount);
		table_add(&table, "%s", row->available_before);
		table_add(&table, "%s", row->available_after);
		table_add(&table, "%s", row->frozen_before);
		table_add(&table, "%s", row->frozen_after);
		table_add(&table, "%s", row->reason[0] ? row->reason : row->status);
		table_add(&table, "%s", row->transaction_id);
	}
	table_print(&table, file);
	table_finish(&table);
}

void statement_print(const struct statement *statement, FILE *file)
{
	if (statement->balance_count == 0) {
		fprintf(file, "account %" PRId64 ": no transactions\n", statement->account_id);
		return;
	}
	print_balances(statement, file);
	fputc('\n', file);
	print_rows(statement, file);
	if (statement->more)
		fprintf(file, "... and older ones: --limit\n");
}

/* For programs -------------------------------------------------------------------------------- */

static json_t *json_balances(const struct statement *statement)
{
	json_t *list = json_array();

	for (size_t i = 0; i < statement->balance_count; i++) {
		const struct statement_balance *balance = &statement->balances[i];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:I, s:i}", "currency", balance->currency,
				      "available", balance->available, "frozen", balance->frozen,
				      "version", (json_int_t)balance->version, "partition",
				      (int)balance->partition));
	}
	return list;
}

static json_t *json_before_after(const char *available, const char *frozen)
{
	return json_pack("{s:s, s:s}", "available", available, "frozen", frozen);
}

static json_t *json_rows(const struct statement *statement)
{
	json_t *list = json_array();

	for (size_t i = 0; i < statement->row_count; i++) {
		const struct statement_row *row = &statement->rows[i];

		json_array_append_new(list,
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:i, s:I, s:s, s:o, s:o}",
				"transaction_id", row->transaction_id, "currency", row->currency,
				"type", row->type, "amount", row->amount, "status", row->status,
				"reason", row->reason[0] ? row->reason : NULL, "partition",
				(int)row->partition, "offset", (json_int_t)row->offset, "time",
				row->time, "before",
				json_before_after(row->available_before, row->frozen_before),
				"after",
				json_before_after(row->available_after, row->frozen_after)));
	}
	return list;
}

char *statement_json(const struct statement *statement)
{
	char account[24];
	json_t *root;
	char *text;

	snprintf(account, sizeof(account), "%" PRId64, statement->account_id);
	root = json_pack("{s:s, s:o, s:o, s:b}", "account_id", account, "balances",
		json_balances(statement), "transactions", json_rows(statement), "more",
		(int)statement->more);
	text = json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	return text ? text : xstrdup("{}");
}
