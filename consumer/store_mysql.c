/*
 * The connection, flushes and offsets.  See store_mysql.h.
 *
 * Owned: the connection.
 */
#include "store_mysql.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "encode.h"
#include "mem.h"
#include "store_mysql_private.h"

#define HALT_REASON_MAX 1000

#define FORMAT                                                                                     \
	" CHARACTER SET binary FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY "  \
	"'\\n' "
#define LOAD(table, columns)                                                                       \
	"LOAD DATA LOCAL INFILE '" DB_INFILE "' REPLACE INTO TABLE " table FORMAT "(" columns ")"

/* The connection ------------------------------------------------------------------------------ */

static enum store_result store_connect(struct store *s, struct error *err)
{
	return store_mysql_result(db_connect(store_mysql_db(s), err));
}

static void store_disconnect(struct store *s)
{
	db_disconnect(store_mysql_db(s));
}

static enum store_result store_ping(struct store *s, struct error *err)
{
	return store_mysql_result(db_ping(store_mysql_db(s), err));
}

static void store_interrupt(struct store *s)
{
	db_interrupt(store_mysql_db(s));
}

static int store_last_errno(const struct store *s)
{
	return (int)db_errno(((const struct store_mysql *)s)->db);
}

/* A flush ------------------------------------------------------------------------------------- */

static enum store_result store_begin(struct store *s, struct error *err)
{
	return store_mysql_result(db_begin(store_mysql_db(s), "beginning a flush", err));
}

static enum store_result store_move_offset(
	struct store *s, const struct flush_request *request, bool *ret_moved, struct error *err)
{
	enum db_result result = db_exec(store_mysql_db(s),
		DB_PURPOSE("moving the offset of partition %d", (int)request->partition), err,
		"UPDATE partition_offsets "
		"SET next_offset = ?, redis_offset = ?, updated_at = UTC_TIMESTAMP(3) "
		"WHERE kafka_partition = ? AND epoch = ? AND next_offset = ?",
		SQL_INT(request->end_offset), SQL_INT(request->redis_offset),
		SQL_INT(request->partition), SQL_INT(request->epoch),
		SQL_INT(request->begin_offset));

	*ret_moved = result == DB_OK && db_affected(store_mysql_db(s)) == 1;
	return store_mysql_result(result);
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

/* The rows of one request after the other's. */
struct sender {
	struct encoder encoder;
	enum store_table table;
	const struct flush_request *const *next;
	size_t left; /* requests that are still to be begun */
};

static int send_rows(void *context, char *buffer, unsigned capacity)
{
	struct sender *sender = context;
	size_t length;

	while ((length = encode_read(&sender->encoder, buffer, capacity)) == 0) {
		if (sender->left == 0)
			return 0;
		encode_init(&sender->encoder, *sender->next++, sender->table);
		sender->left--;
	}
	return (int)length;
}

static enum store_result store_load(struct store *s, const struct flush_request *const *requests,
	size_t count, enum store_table table, struct store_counts *ret_counts, struct error *err)
{
	struct sender sender = {.table = table, .next = requests + 1, .left = count - 1};
	struct db_counts counts;
	enum db_result result;

	encode_init(&sender.encoder, requests[0], table);
	result = db_load(store_mysql_db(s),
		DB_PURPOSE("writing %s of partition %d%s", loads[table].name,
			(int)requests[0]->partition, count > 1 ? " and others" : ""),
		err, loads[table].text, send_rows, &sender, &counts);
	*ret_counts = (struct store_counts){
		.affected = counts.affected,
		.records = counts.info.records,
		.deleted = counts.info.deleted,
		.skipped = counts.info.skipped,
		.warnings = counts.info.warnings,
	};
	memcpy(ret_counts->warning, counts.warning, sizeof(counts.warning));
	return store_mysql_result(result);
}

static enum store_result store_commit(struct store *s, struct error *err)
{
	return store_mysql_result(db_commit(store_mysql_db(s), "committing a flush", err));
}

static void store_rollback(struct store *s)
{
	db_rollback(store_mysql_db(s));
}

/* A partition --------------------------------------------------------------------------------- */

static enum store_result read_offset(struct store *s, const char *query, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	struct db *db = store_mysql_db(s);
	const char *purpose = DB_PURPOSE("reading the offset of partition %d", (int)partition);
	enum db_result result = db_query(db, purpose, err, query, SQL_INT(partition));
	bool found;

	if (result != DB_OK)
		return store_mysql_result(result);
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
		return store_mysql_result(result);
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
	enum store_result result = store_mysql_result(
		db_begin(store_mysql_db(s), "asking whether a flush was committed", err));

	if (result == STORE_OK)
		result = read_offset(s, OFFSET_QUERY " FOR UPDATE", partition, ret_partition, err);
	db_rollback(store_mysql_db(s));
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
	enum db_result result = db_exec(store_mysql_db(s),
		DB_PURPOSE("halting partition %d", (int)partition), err,
		"UPDATE partition_offsets SET halted_reason = ?, updated_at = UTC_TIMESTAMP(3) "
		"WHERE kafka_partition = ? AND epoch = ?",
		SQL_SPAN(clean, length), SQL_INT(partition), SQL_INT(epoch));

	*ret_written = result == DB_OK && db_affected(store_mysql_db(s)) == 1;
	return store_mysql_result(result);
}

/* --------------------------------------------------------------------------------------------- */

static void store_destroy(struct store *s)
{
	sql_finish(&store_mysql_self(s)->text);
	db_destroy(store_mysql_db(s));
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
	.read_balances = store_mysql_read_balances,
	.find_transactions = store_mysql_find_transactions,
	.recent_transactions = store_mysql_recent_transactions,
	.read_newest = store_mysql_read_newest,
	.read_oldest = store_mysql_read_oldest,
	.has_rows = store_mysql_has_rows,
	.changed_balances = store_mysql_changed_balances,
	.scan_balances = store_mysql_scan_balances,
	.snapshot = store_mysql_snapshot,
	.scan_journal = store_mysql_scan_journal,
	.scan_letters = store_mysql_scan_letters,
	.read_gaps = store_mysql_read_gaps,
	.read_accounts = store_mysql_read_accounts,
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
