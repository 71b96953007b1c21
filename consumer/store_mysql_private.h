/*
 * What store_mysql.c (the connection, flushes, offsets), store_mysql_read.c (by keys, and the ends
 * of the journal) and store_mysql_scan.c (long ranges, for Redis and `replay`) share.  Nobody else
 * includes this.
 *
 * Everything that is read is checked on its way in: a balance that is no amount, or negative, is a
 * halt, not a number to go on with.
 */
#ifndef CONSUMER_STORE_MYSQL_PRIVATE_H
#define CONSUMER_STORE_MYSQL_PRIVATE_H

#include <assert.h>

#include "db.h"
#include "store.h"

/* Long lists go in chunks of so many keys, which both servers answer by ranges of the index (MySQL
 * gives up on much longer ones: range_optimizer_max_mem_size). */
#define STORE_MYSQL_CHUNK 1000

#define STORE_MYSQL_EVENT_COLUMNS "account_id, currency_code, type, amount, transaction_id"
#define STORE_MYSQL_BALANCE_COLUMNS                                                                \
	"b.account_id, b.currency_code, b.available, b.frozen, b.version, b.last_offset, "         \
	"b.kafka_partition, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', b.updated_at) DIV 1000"

struct store_mysql {
	struct store store;
	struct db *db;
	struct sql text; /* a statement with a long list */
};

static inline struct store_mysql *store_mysql_self(struct store *s)
{
	return (struct store_mysql *)s;
}

static inline struct db *store_mysql_db(struct store *s)
{
	return store_mysql_self(s)->db;
}

static_assert((int)STORE_OK == DB_OK && (int)STORE_RETRY == DB_RETRY &&
		      (int)STORE_LOST == DB_LOST && (int)STORE_HALT == DB_HALT,
	"a store's results are the database's");

static inline enum store_result store_mysql_result(enum db_result result)
{
	return (enum store_result)result;
}

static inline size_t store_mysql_chunk(size_t left)
{
	return left < STORE_MYSQL_CHUNK ? left : STORE_MYSQL_CHUNK;
}

/* Rows.  A row that cannot be: the result is ended, and what is wrong said. */
enum store_result store_mysql_bad_row(
	struct db *db, struct error *err, const char *what, int64_t account);

bool store_mysql_read_amount(struct db *db, unsigned column, i128 *ret_amount);

/* Columns of STORE_MYSQL_EVENT_COLUMNS, the first ones. */
bool store_mysql_read_event(struct db *db, struct event *ret_event);

/* Hands each row of a result (STORE_MYSQL_BALANCE_COLUMNS) to fn; *ret_count: how many there were.
 */
enum store_result store_mysql_each_balance(
	struct db *db, store_balance_fn *fn, void *context, size_t *ret_count, struct error *err);

/* See store_ops.  store_mysql_read.c: */
enum store_result store_mysql_read_balances(
	struct store *s, struct balance_row *rows, size_t count, struct error *err);
enum store_result store_mysql_find_transactions(struct store *s, const struct event *const *events,
	size_t count, store_transaction_fn *fn, void *context, struct error *err);
enum store_result store_mysql_recent_transactions(struct store *s, int32_t partition, size_t count,
	store_transaction_fn *fn, void *context, struct error *err);
enum store_result store_mysql_read_newest(
	struct store *s, int32_t partition, struct store_newest *ret_newest, struct error *err);
enum store_result store_mysql_read_oldest(struct store *s, int32_t partition, int64_t begin,
	struct store_newest *ret_oldest, struct error *err);
enum store_result store_mysql_has_rows(struct store *s, int32_t partition, int64_t begin,
	int64_t end, bool *ret_has, struct error *err);

/* store_mysql_scan.c: */
enum store_result store_mysql_changed_balances(struct store *s, int32_t partition, int64_t offset,
	size_t limit, store_balance_fn *fn, void *context, bool *ret_more, struct error *err);
enum store_result store_mysql_scan_balances(struct store *s, const struct balance_key *after,
	size_t limit, store_balance_fn *fn, void *context, struct error *err);
enum store_result store_mysql_snapshot(struct store *s, struct error *err);
enum store_result store_mysql_scan_journal(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_row_fn *fn, void *context, struct error *err);
enum store_result store_mysql_scan_letters(struct store *s, int32_t partition, int64_t begin,
	size_t limit, store_letter_fn *fn, void *context, struct error *err);
enum store_result store_mysql_read_gaps(
	struct store *s, int32_t partition, store_gap_fn *fn, void *context, struct error *err);
enum store_result store_mysql_read_accounts(struct store *s, const int64_t *accounts, size_t count,
	store_balance_fn *fn, void *context, struct error *err);

#endif
