/*
 * See verify_journal.h.
 *
 * Blocks are read by key (offset above the last one's), not as one endless result, because a result
 * that is open keeps its connection from answering anything else.  ENUMs are read as numbers, which
 * are those of event.h: sql/0001_ledger.sql lists them in the same order.
 */
#include "verify_journal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define ROWS_MAX    16384 /* of a block */
#define LETTERS_MAX 1024
#define AHEAD       12
#define OFFSET_MAX  ((INT64_C(1) << 48) - 3) /* what verify_chain.h takes */

enum { STATUS_SUCCESS = 1, STATUS_FAILED = 2 };

struct verify_journal {
	struct db *db;
	struct verify_report *report;
	struct sql text; /* a statement with a long list */

	int32_t partition;
	bool content;

	struct verify_row *rows;
	struct verify_content *contents;
	size_t row_count, row_next;
	int64_t rows_after; /* the newest offset that was read */
	bool rows_ended;

	struct verify_letter *letters;
	size_t letter_count, letter_next;
	int64_t letters_after;
	bool letters_ended;

	struct verify_gap *gaps;
	size_t gap_count;
};

struct verify_journal *verify_journal_create(struct db *db, struct verify_report *report)
{
	struct verify_journal *journal = xcalloc(1, sizeof *journal);

	journal->db = db;
	journal->report = report;
	journal->rows = xcalloc(ROWS_MAX, sizeof *journal->rows);
	journal->contents = xcalloc(ROWS_MAX, sizeof *journal->contents);
	journal->letters = xcalloc(LETTERS_MAX, sizeof *journal->letters);
	sql_init(&journal->text);
	return journal;
}

void verify_journal_destroy(struct verify_journal *journal)
{
	if (!journal)
		return;
	sql_finish(&journal->text);
	free(journal->rows);
	free(journal->contents);
	free(journal->letters);
	free(journal->gaps);
	free(journal);
}

enum db_result verify_journal_begin(struct verify_journal *journal, struct error *err)
{
	static const char purpose[] = "beginning a consistent snapshot";
	enum db_result result = db_exec(
		journal->db, purpose, err, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");

	if (result == DB_OK)
		result = db_exec(journal->db, purpose, err,
			"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
	return result;
}

void verify_journal_end(struct verify_journal *journal)
{
	db_rollback(journal->db);
}

/* Values -------------------------------------------------------------------------------------- */

static void report_value(struct verify_journal *journal, const struct verify_place *place,
	unsigned column, const char *what)
{
	struct db *db = journal->db;

	verify_report_add(journal->report, VERIFY_VALUE, place, what,
		VERIFY_TEXT("\"%.60s\"", db_null(db, column) ? "NULL" : db_text(db, column, NULL)),
		"a value that ledgerd writes");
}

/* Digits of a BIGINT without a sign, as nearly all are; anything else by the library. */
static int64_t read_number(struct db *db, unsigned column)
{
	size_t length;
	const char *text = db_text(db, column, &length);
	int64_t number = 0;

	if (length > 18)
		return db_int(db, column);
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return db_int(db, column);
		number = number * 10 + (text[i] - '0');
	}
	return number;
}

static currency_t read_currency(struct db *db, unsigned column)
{
	size_t length;
	const char *text = db_text(db, column, &length);

	return currency_pack(text, length);
}

/* DECIMAL(36,18) holds nothing that an i128 does not. */
static i128 read_amount(struct db *db, unsigned column)
{
	size_t length;
	const char *text = db_text(db, column, &length);
	i128 amount = -1;

	return decimal_parse_stored(text, length, &amount) == DECIMAL_OK ? amount : -1;
}

static void read_time(struct db *db, unsigned column, char time[VERIFY_TIME_CHARS])
{
	size_t length;
	const char *text = db_text(db, column, &length);

	memset(time, '?', VERIFY_TIME_CHARS);
	memcpy(time, text, length < VERIFY_TIME_CHARS ? length : VERIFY_TIME_CHARS);
}

/* Rows ---------------------------------------------------------------------------------------- */

enum {
	ROW_OFFSET,
	ROW_PREV,
	ROW_ACCOUNT,
	ROW_CURRENCY,
	ROW_TYPE,
	ROW_AMOUNT,
	ROW_AVAILABLE,
	ROW_FROZEN,
	ROW_STATUS,
	ROW_REASON,
	ROW_TIME,
	ROW_ID,
};

#define ROW_COLUMNS                                                                                \
	"kafka_offset, prev_offset, account_id, currency_code, type + 0, amount, "                 \
	"available_after, frozen_after, status + 0, reason + 0"

static void read_content(struct db *db, struct verify_content *content)
{
	size_t length;
	const char *id = db_text(db, ROW_ID, &length);

	read_time(db, ROW_TIME, content->event_time);
	if (length > TRANSACTION_ID_MAX)
		length = TRANSACTION_ID_MAX;
	content->transaction_id_length = (uint8_t)length;
	memcpy(content->transaction_id, id, length);
}

static void bad_value(
	struct verify_journal *journal, struct verify_row *row, unsigned column, const char *what)
{
	struct verify_place place = {
		journal->partition, row->offset, row->account_id, row->currency};

	report_value(journal, &place, column, what);
	row->unusable = true;
}

/* What no chain could be told of. */
static void check_key(struct verify_journal *journal, struct verify_row *row)
{
	if (row->account_id < 1) {
		row->account_id = 0;
		bad_value(journal, row, ROW_ACCOUNT, "account_id in the journal");
	}
	if (row->currency == CURRENCY_NONE)
		bad_value(journal, row, ROW_CURRENCY, "currency_code in the journal");
}

static void check_values(struct verify_journal *journal, struct verify_row *row, int64_t status)
{
	if (row->type < EVENT_DEPOSIT || row->type > EVENT_SETTLE) {
		row->type = 0;
		bad_value(journal, row, ROW_TYPE, "type in the journal");
	}
	if (row->amount <= 0 || row->amount > DECIMAL_MAX)
		bad_value(journal, row, ROW_AMOUNT, "amount in the journal");
	if (status != STATUS_SUCCESS && status != STATUS_FAILED)
		bad_value(journal, row, ROW_STATUS, "status in the journal");
	if (row->refusal > REFUSAL_OVERFLOW ||
		(row->refusal == 0 && !db_null(journal->db, ROW_REASON)))
		bad_value(journal, row, ROW_REASON, "reason in the journal");
	if (!db_null(journal->db, ROW_PREV) && row->prev_offset < 0)
		row->prev_offset = -2; /* never that of another row, nor NULL */
}

/* false: it has no offset that can be. */
static bool read_row(struct verify_journal *journal, struct verify_row *row)
{
	struct db *db = journal->db;
	int64_t status = read_number(db, ROW_STATUS);

	*row = (struct verify_row){
		.offset = read_number(db, ROW_OFFSET),
		.prev_offset = db_null(db, ROW_PREV) ? -1 : read_number(db, ROW_PREV),
		.account_id = read_number(db, ROW_ACCOUNT),
		.currency = read_currency(db, ROW_CURRENCY),
		.amount = read_amount(db, ROW_AMOUNT),
		.available_after = read_amount(db, ROW_AVAILABLE),
		.frozen_after = read_amount(db, ROW_FROZEN),
		.type = (uint8_t)read_number(db, ROW_TYPE),
		.refusal = (uint8_t)read_number(db, ROW_REASON),
		.applied = status == STATUS_SUCCESS,
	};
	if (row->offset < 0 || row->offset > OFFSET_MAX) {
		report_value(journal, &(struct verify_place){journal->partition, -1, 0, 0},
			ROW_OFFSET, "kafka_offset in the journal");
		return false;
	}
	check_key(journal, row);
	check_values(journal, row, status);
	return true;
}

static enum db_result read_rows(struct verify_journal *journal, struct error *err)
{
	struct db *db = journal->db;
	enum db_result result;
	size_t seen = 0;

	journal->row_count = journal->row_next = 0;
	result = db_query(db, DB_PURPOSE("reading the journal of partition %d", journal->partition),
		err,
		journal->content ? "SELECT " ROW_COLUMNS ", event_time, transaction_id "
				   "FROM balance_transactions "
				   "WHERE kafka_partition = ? AND kafka_offset > ? "
				   "ORDER BY kafka_offset LIMIT ?"
				 : "SELECT " ROW_COLUMNS " FROM balance_transactions "
				   "WHERE kafka_partition = ? AND kafka_offset > ? "
				   "ORDER BY kafka_offset LIMIT ?",
		SQL_INT(journal->partition), SQL_INT(journal->rows_after), SQL_INT(ROWS_MAX));
	if (result != DB_OK)
		return result;
	for (; db_next(db); seen++) {
		journal->rows_after = read_number(db, ROW_OFFSET);
		if (journal->content)
			read_content(db, &journal->contents[journal->row_count]);
		journal->row_count += read_row(journal, &journal->rows[journal->row_count]);
	}
	journal->rows_ended = seen < ROWS_MAX;
	return db_end(db, err);
}

enum db_result verify_journal_row(struct verify_journal *journal, const struct verify_row **ret_row,
	const struct verify_content **ret_content, struct error *err)
{
	enum db_result result = DB_OK;

	while (journal->row_next == journal->row_count && !journal->rows_ended && result == DB_OK)
		result = read_rows(journal, err);
	if (journal->row_next == journal->row_count) {
		*ret_row = NULL;
		*ret_content = NULL;
		return result;
	}
	*ret_row = &journal->rows[journal->row_next];
	*ret_content = &journal->contents[journal->row_next];
	return result;
}

void verify_journal_pass_row(struct verify_journal *journal)
{
	assert(journal->row_next < journal->row_count);
	journal->row_next++;
}

const struct verify_row *verify_journal_ahead(const struct verify_journal *journal)
{
	size_t place = journal->row_next + AHEAD;

	return place < journal->row_count ? &journal->rows[place] : NULL;
}

/* Dead letters -------------------------------------------------------------------------------- */

enum {
	LETTER_OFFSET,
	LETTER_REASON,
	LETTER_KEY,
	LETTER_VALUE = LETTER_KEY + 2,
	LETTER_HEADERS = LETTER_VALUE + 2,
	LETTER_TIME = LETTER_HEADERS + 2,
};

#define HASHED(column) "LENGTH(" column "), UNHEX(SHA2(" column ", 256))"

static void read_bytes(struct db *db, unsigned column, struct verify_bytes *bytes)
{
	size_t length;
	const char *hash = db_text(db, column + 1, &length);

	bytes->present = !db_null(db, column);
	bytes->length = read_number(db, column);
	if (length == VERIFY_HASH_BYTES)
		memcpy(bytes->hash, hash, VERIFY_HASH_BYTES);
}

static void read_letter(struct verify_journal *journal, struct verify_letter *letter)
{
	struct db *db = journal->db;
	int64_t reason = read_number(db, LETTER_REASON);

	*letter = (struct verify_letter){.offset = read_number(db, LETTER_OFFSET)};
	if (reason >= DEAD_MALFORMED && reason <= DEAD_ID_CONFLICT)
		letter->reason = (enum dead_reason)reason;
	else
		report_value(journal,
			&(struct verify_place){journal->partition, letter->offset, 0, 0},
			LETTER_REASON, "reason in dead_letters");
	if (!journal->content)
		return;
	read_bytes(db, LETTER_KEY, &letter->key);
	read_bytes(db, LETTER_VALUE, &letter->value);
	read_bytes(db, LETTER_HEADERS, &letter->headers);
	if (!db_null(db, LETTER_TIME))
		read_time(db, LETTER_TIME, letter->message_time);
}

static enum db_result read_letters(struct verify_journal *journal, struct error *err)
{
	struct db *db = journal->db;
	enum db_result result;

	journal->letter_count = journal->letter_next = 0;
	result = db_query(db,
		DB_PURPOSE("reading the dead letters of partition %d", journal->partition), err,
		journal->content
			? "SELECT kafka_offset, reason + 0, " HASHED("message_key") ", " HASHED(
				  "message_value") ", " HASHED("message_headers") ", message_time "
										  "FROM "
										  "dead_letters "
										  "WHERE "
										  "kafka_partition "
										  "= ? AND "
										  "kafka_offset > "
										  "? "
										  "ORDER BY "
										  "kafka_offset "
										  "LIMIT ?"
			: "SELECT kafka_offset, reason + 0 FROM dead_letters "
			  "WHERE kafka_partition = ? AND kafka_offset > ? "
			  "ORDER BY kafka_offset LIMIT ?",
		SQL_INT(journal->partition), SQL_INT(journal->letters_after), SQL_INT(LETTERS_MAX));
	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		struct verify_letter *letter = &journal->letters[journal->letter_count++];

		read_letter(journal, letter);
		journal->letters_after = letter->offset;
	}
	journal->letters_ended = journal->letter_count < LETTERS_MAX;
	return db_end(db, err);
}

enum db_result verify_journal_letter(
	struct verify_journal *journal, const struct verify_letter **ret_letter, struct error *err)
{
	enum db_result result = DB_OK;

	if (journal->letter_next == journal->letter_count && !journal->letters_ended)
		result = read_letters(journal, err);
	*ret_letter = journal->letter_next < journal->letter_count
			      ? &journal->letters[journal->letter_next]
			      : NULL;
	return result;
}

void verify_journal_pass_letter(struct verify_journal *journal)
{
	assert(journal->letter_next < journal->letter_count);
	journal->letter_next++;
}

/* A partition --------------------------------------------------------------------------------- */

static enum db_result read_gaps(struct verify_journal *journal, struct error *err)
{
	struct db *db = journal->db;
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the gaps of partition %d", journal->partition), err,
		"SELECT from_offset, to_offset FROM offset_gaps WHERE kafka_partition = ? "
		"ORDER BY from_offset",
		SQL_INT(journal->partition));

	journal->gap_count = 0;
	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		size_t count = ++journal->gap_count;

		journal->gaps = xrealloc(journal->gaps, count * sizeof *journal->gaps);
		journal->gaps[count - 1] = (struct verify_gap){db_int(db, 0), db_int(db, 1)};
	}
	return db_end(db, err);
}

enum db_result verify_journal_choose(
	struct verify_journal *journal, int32_t partition, bool content, struct error *err)
{
	journal->partition = partition;
	journal->content = content;
	journal->row_count = journal->row_next = 0;
	journal->rows_after = -INT64_MAX;
	journal->rows_ended = false;
	journal->letter_count = journal->letter_next = 0;
	journal->letters_after = -INT64_MAX;
	journal->letters_ended = false;
	return read_gaps(journal, err);
}

const struct verify_gap *verify_journal_gaps(
	const struct verify_journal *journal, size_t *ret_count)
{
	*ret_count = journal->gap_count;
	return journal->gaps;
}

enum db_result verify_journal_offsets(struct verify_journal *journal, int32_t partition,
	struct verify_offsets *ret_offsets, struct error *err)
{
	struct db *db = journal->db;
	enum db_result result = db_query(db,
		DB_PURPOSE("reading the offset of partition %d", (int)partition), err,
		"SELECT next_offset, redis_offset FROM partition_offsets WHERE kafka_partition = ?",
		SQL_INT(partition));

	*ret_offsets = (struct verify_offsets){0};
	if (result != DB_OK)
		return result;
	if (db_next(db))
		*ret_offsets = (struct verify_offsets){true, db_int(db, 0), db_int(db, 1)};
	return db_end(db, err);
}

/* Rows of no partition ------------------------------------------------------------------------ */

static enum db_result count_strays(struct verify_journal *journal, const char *table,
	const char *query, int32_t partitions, struct error *err)
{
	struct db *db = journal->db;
	enum db_result result = db_query(
		db, "looking for rows of no partition", err, query, SQL_INT(partitions));

	if (result != DB_OK)
		return result;
	if (db_next(db) && db_int(db, 0) > 0)
		verify_report_add(journal->report, VERIFY_PARTITION, &VERIFY_NOWHERE,
			VERIFY_TEXT(
				"kafka_partition of %" PRId64 " rows of %s", db_int(db, 0), table),
			VERIFY_TEXT("%s", db_text(db, 1, NULL)),
			VERIFY_TEXT("0 to %" PRId32, partitions - 1));
	return db_end(db, err);
}

#define STRAYS(table)                                                                              \
	table, "SELECT COUNT(*), MAX(kafka_partition) FROM " table                                 \
	       " WHERE kafka_partition < 0 OR kafka_partition >= ?"

enum db_result verify_journal_strays(
	struct verify_journal *journal, int32_t partitions, struct error *err)
{
	enum db_result result = count_strays(
		journal, STRAYS("balance_transactions"), partitions, err);

	if (result == DB_OK)
		result = count_strays(journal, STRAYS("dead_letters"), partitions, err);
	if (result == DB_OK)
		result = count_strays(journal, STRAYS("offset_gaps"), partitions, err);
	return result;
}

/* Lookups ------------------------------------------------------------------------------------- */

static void add_lookups(struct sql *q, const struct verify_match *match)
{
	sql_clear(q);
	sql_add(q, "SELECT transaction_id, account_id, currency_code, type + 0, amount, "
		   "kafka_partition, kafka_offset FROM balance_transactions "
		   "WHERE (transaction_id, account_id) IN (");
	for (size_t i = 0; i < match->lookup_count; i++) {
		const struct event *event = &match->lookups[i].event;
		struct sql_value id[] = {
			SQL_SPAN(event->transaction_id, event->transaction_id_length),
			SQL_INT(event->account_id)};

		sql_build(q, i ? ", (?, ?)" : "(?, ?)", id, 2);
	}
	sql_add(q, ")");
}

/* false: values that can be no event; the row itself is reported where its turn comes. */
static bool read_event(struct db *db, struct event *event)
{
	size_t length;
	const char *id = db_text(db, 0, &length);

	*event = (struct event){
		.account_id = read_number(db, 1),
		.currency = read_currency(db, 2),
		.type = (uint8_t)read_number(db, 3),
		.amount = read_amount(db, 4),
		.transaction_id_length = (uint8_t)length,
	};
	if (length > TRANSACTION_ID_MAX)
		return false;
	memcpy(event->transaction_id, id, length);
	return event->currency != CURRENCY_NONE && event->type >= EVENT_DEPOSIT &&
	       event->type <= EVENT_SETTLE && event->amount >= 0;
}

enum db_result verify_journal_look_up(
	struct verify_journal *journal, struct verify_match *match, struct error *err)
{
	struct db *db = journal->db;
	struct sql *q = &journal->text;
	struct event event;
	enum db_result result;

	if (match->lookup_count == 0)
		return DB_OK;
	add_lookups(q, match);
	result = db_query_text(db, "looking for transactions", err, q->text, q->length);
	if (result != DB_OK)
		return result;
	while (db_next(db))
		if (read_event(db, &event))
			verify_match_found(
				match, &event, (int32_t)read_number(db, 5), read_number(db, 6));
	return db_end(db, err);
}

/* Balances ------------------------------------------------------------------------------------ */

#define BALANCE_COLUMNS                                                                            \
	"account_id, currency_code, available, frozen, version, last_offset, kafka_partition"

static void read_balance(struct verify_journal *journal, struct verify_balance *balance)
{
	struct db *db = journal->db;
	struct verify_place place = VERIFY_NOWHERE;

	*balance = (struct verify_balance){
		.account_id = read_number(db, 0),
		.currency = read_currency(db, 1),
		.available = read_amount(db, 2),
		.frozen = read_amount(db, 3),
		.version = read_number(db, 4),
		.last_offset = read_number(db, 5),
		.partition = (int32_t)read_number(db, 6),
	};
	place.partition = balance->partition;
	balance->unusable = balance->account_id < 1 || balance->currency == CURRENCY_NONE;
	if (balance->account_id < 1)
		report_value(journal, &place, 0, "account_id in account_balances");
	place.account_id = balance->account_id;
	if (balance->currency == CURRENCY_NONE)
		report_value(journal, &place, 1, "currency_code in account_balances");
}

static enum db_result each_balance(
	struct verify_journal *journal, verify_balance_fn *fn, void *context, struct error *err)
{
	struct verify_balance balance;

	while (db_next(journal->db)) {
		read_balance(journal, &balance);
		if (!balance.unusable)
			fn(context, &balance);
	}
	return db_end(journal->db, err);
}

enum db_result verify_journal_balances(struct verify_journal *journal, bool all, int32_t first,
	int32_t last, verify_balance_fn *fn, void *context, struct error *err)
{
	static const char purpose[] = "reading account_balances";
	enum db_result result;

	if (all)
		result = db_query(journal->db, purpose, err,
			"SELECT " BALANCE_COLUMNS " FROM account_balances");
	else
		result = db_query(journal->db, purpose, err,
			"SELECT " BALANCE_COLUMNS " FROM account_balances "
			"WHERE kafka_partition >= ? AND kafka_partition <= ?",
			SQL_INT(first), SQL_INT(last));
	return result == DB_OK ? each_balance(journal, fn, context, err) : result;
}

enum db_result verify_journal_count(
	struct verify_journal *journal, int32_t partitions, int64_t *ret_counts, struct error *err)
{
	struct db *db = journal->db;
	enum db_result result = db_query(db, "counting account_balances", err,
		"SELECT kafka_partition, COUNT(*) FROM account_balances GROUP BY kafka_partition");

	memset(ret_counts, 0, (size_t)partitions * sizeof *ret_counts);
	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		int64_t partition = db_int(db, 0);

		if (partition >= 0 && partition < partitions)
			ret_counts[partition] = db_int(db, 1);
		else
			verify_report_add(journal->report, VERIFY_PARTITION, &VERIFY_NOWHERE,
				VERIFY_TEXT("kafka_partition of %" PRId64
					    " rows of account_balances",
					db_int(db, 1)),
				VERIFY_TEXT("%" PRId64, partition),
				VERIFY_TEXT("0 to %" PRId32, partitions - 1));
	}
	return db_end(db, err);
}

enum db_result verify_journal_balances_after(struct verify_journal *journal,
	const struct balance_key *after, int32_t partition, size_t limit, verify_balance_fn *fn,
	void *context, struct error *err)
{
	char currency[CURRENCY_LENGTH_MAX + 1] = "";
	int64_t account = after ? after->account_id : -INT64_MAX;
	enum db_result result;

	if (after)
		currency_text(after->currency, currency);
	result = db_query(journal->db, "reading account_balances in order", err,
		"SELECT " BALANCE_COLUMNS " FROM account_balances "
		"WHERE (account_id > ? OR (account_id = ? AND currency_code > ?)) "
		"AND (? < 0 OR kafka_partition = ?) "
		"ORDER BY account_id, currency_code LIMIT ?",
		SQL_INT(account), SQL_INT(account), SQL_TEXT(currency), SQL_INT(partition),
		SQL_INT(partition), SQL_INT((int64_t)limit));
	return result == DB_OK ? each_balance(journal, fn, context, err) : result;
}

enum db_result verify_journal_balances_of(struct verify_journal *journal,
	const struct balance_key *keys, size_t count, verify_balance_fn *fn, void *context,
	struct error *err)
{
	struct sql *q = &journal->text;
	char currency[CURRENCY_LENGTH_MAX + 1];
	enum db_result result;

	assert(count > 0 && count <= VERIFY_KEYS_MAX);
	sql_clear(q);
	sql_add(q, "SELECT " BALANCE_COLUMNS
		   " FROM account_balances WHERE (account_id, currency_code) IN (");
	for (size_t i = 0; i < count; i++) {
		size_t length = currency_text(keys[i].currency, currency);
		struct sql_value key[] = {SQL_INT(keys[i].account_id), SQL_SPAN(currency, length)};

		sql_build(q, i ? ", (?, ?)" : "(?, ?)", key, 2);
	}
	sql_add(q, ")");
	result = db_query_text(journal->db, "reading account_balances", err, q->text, q->length);
	return result == DB_OK ? each_balance(journal, fn, context, err) : result;
}
