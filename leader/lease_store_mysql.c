/*
 * See lease_store_mysql.h.
 *
 * Every comparison with "now" is made by the server, in the statement that acts on it.  The time of
 * a statement is that of its start, so one that has waited for a lock is judged, and expires, too
 * early rather than too late.
 *
 * Locks: acquire takes leader_locks, then partition_offsets; a flush takes partition_offsets alone,
 * so the two cannot deadlock.
 */
#include "lease_store_mysql.h"

#include "lease_sql.h"
#include "mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SINCE_EPOCH LEASE_SQL_SINCE_EPOCH
#define NOW         LEASE_SQL_NOW

/* Whether the request in the row still counts; takes REQUEST_US. */
#define REQUEST_COUNTS                                                                             \
	"COALESCE(requested_by IS NOT NULL "                                                       \
	"AND requested_at > " NOW " - INTERVAL ? MICROSECOND, FALSE)"
#define REQUEST_US SQL_INT(LEASE_REQUEST_MS *INT64_C(1000))

struct lease_store_mysql {
	struct lease_store store;
	struct db *db;
};

static struct db *db_of(struct lease_store *s)
{
	return ((struct lease_store_mysql *)s)->db;
}

/* Rolls back what a failed call has begun, and says how it failed. */
static int give_up(struct db *db, enum db_result result)
{
	db_rollback(db);
	return db_code(result);
}

/* Rows for all partitions --------------------------------------------------------------------- */

/* Marks which of the partitions 0..count-1 have a row. */
static enum db_result find_rows(
	struct db *db, const char *query, bool *found, int32_t count, struct error *err)
{
	enum db_result result = db_query(db, "looking for the partitions' rows", err, query);

	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		int64_t partition = db_int(db, 0);

		if (partition >= 0 && partition < count)
			found[partition] = true;
	}
	return db_end(db, err);
}

/*
 * Adds the rows that are missing.  Rows that are there are not touched: an INSERT that meets one
 * would wait for the flush that has it locked.
 */
static enum db_result add_rows(
	struct db *db, const char *query, const char *insert, int32_t count, struct error *err)
{
	bool *found = xcalloc((size_t)count, sizeof(*found));
	enum db_result result = find_rows(db, query, found, count, err);
	const char *separator = "";
	struct sql q;

	sql_init(&q);
	sql_add(&q, insert);
	for (int32_t p = 0; p < count; p++) {
		if (found[p])
			continue;
		sql_add(&q, separator);
		sql_build(&q, "(?)", &SQL_INT(p), 1);
		separator = ", ";
	}
	if (result == DB_OK && separator[0])
		result = db_exec_text(db, "adding the partitions' rows", err, q.text, q.length);
	sql_finish(&q);
	free(found);
	return result;
}

static int lease_prepare(struct lease_store *s, int32_t partitions, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	if (result == DB_OK)
		result = add_rows(db, "SELECT kafka_partition FROM partition_offsets",
			"INSERT IGNORE INTO partition_offsets (kafka_partition) VALUES ",
			partitions, err);
	if (result == DB_OK)
		result = add_rows(db, "SELECT id FROM leader_locks",
			"INSERT IGNORE INTO leader_locks (id) VALUES ", partitions, err);
	return result == DB_OK ? 0 : give_up(db, result);
}

/* The view ------------------------------------------------------------------------------------ */

static void read_row(struct db *db, struct lease_row *ret_row)
{
	*ret_row = (struct lease_row){
		.partition = (int32_t)db_int(db, 0),
		.epoch = db_int(db, 2),
		.expires_us = db_int(db, 3),
		.held = db_int(db, 4) != 0,
		.halted = db_int(db, 5) != 0,
	};
	db_copy(db, 1, ret_row->consumer_id, sizeof(ret_row->consumer_id));
	db_copy(db, 6, ret_row->requested_by, sizeof(ret_row->requested_by));
}

static enum db_result read_rows(struct db *db, struct lease_view *view, struct error *err)
{
	size_t capacity = 0;
	enum db_result result = db_query(db, "reading leader_locks", err,
		"SELECT l.id, l.consumer_id, l.epoch, " SINCE_EPOCH(
			"l.expires_at") ", "
					"l.expires_at > " NOW ", o.halted_reason IS NOT NULL, "
					"IF(" REQUEST_COUNTS ", requested_by, NULL) "
					"FROM leader_locks l LEFT JOIN partition_offsets o ON o.kafka_partition = l.id "
					"ORDER BY l.id",
		REQUEST_US);

	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		if (view->row_count == capacity) {
			capacity = capacity ? 2 * capacity : 16;
			view->rows = xrealloc(view->rows, capacity * sizeof(*view->rows));
		}
		read_row(db, &view->rows[view->row_count++]);
	}
	return db_end(db, err);
}

/* "0,3" becomes {0, 3}; "all" becomes all. */
static void parse_partitions(const char *text, struct lease_member *member)
{
	size_t count = 1;

	member->all = strcmp(text, "all") == 0;
	if (member->all || !text[0])
		return;
	for (const char *c = text; *c; c++)
		count += *c == ',';
	member->partitions = xcalloc(count, sizeof(*member->partitions));
	for (char *end; *text; text = *end ? end + 1 : end) {
		long partition = strtol(text, &end, 10);

		if (end == text)
			return; /* nothing that this program wrote */
		member->partitions[member->partition_count++] = (int32_t)partition;
	}
}

static enum db_result read_members(struct db *db, struct lease_view *view, struct error *err)
{
	enum db_result result = db_query(db, "reading leader_members", err,
		"SELECT consumer_id, partitions FROM leader_members WHERE expires_at > " NOW
		" ORDER BY consumer_id");
	struct lease_member *member;

	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		view->members = xrealloc(
			view->members, (view->member_count + 1) * sizeof(*view->members));
		member = &view->members[view->member_count++];
		*member = (struct lease_member){0};
		db_copy(db, 0, member->consumer_id, sizeof(member->consumer_id));
		parse_partitions(db_text(db, 1, NULL), member);
	}
	return db_end(db, err);
}

/* The plan counts on one row a partition, without holes. */
static int check_rows(const struct lease_view *view, struct error *err)
{
	for (size_t i = 0; i < view->row_count; i++) {
		if (view->rows[i].partition != (int32_t)i)
			return error_set(err, -EIO,
				"leader_locks has no row for partition %zu, but one for %d; "
				"INSERT INTO leader_locks (id) VALUES (%zu)",
				i, (int)view->rows[i].partition, i);
	}
	return 0;
}

static int lease_read(struct lease_store *s, struct lease_view *view, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	lease_view_finish(view);
	if (result == DB_OK)
		result = read_rows(db, view, err);
	if (result == DB_OK)
		result = read_members(db, view, err);
	return result == DB_OK ? check_rows(view, err) : give_up(db, result);
}

/* Renewing ------------------------------------------------------------------------------------ */

static enum db_result announce(struct db *db, const char *consumer_id, bool all,
	const int32_t *partitions, size_t count, int64_t ttl_ms, struct error *err)
{
	enum db_result result;
	struct sql list;

	sql_init(&list);
	sql_add(&list, all ? "all" : "");
	for (size_t i = 0; !all && i < count; i++) {
		sql_add(&list, i ? "," : "");
		sql_add_value(&list, &SQL_INT(partitions[i]));
	}
	result = db_exec(db, "announcing this instance in leader_members", err,
		"REPLACE INTO leader_members (consumer_id, partitions, expires_at) "
		"VALUES (?, ?, " NOW " + INTERVAL ? MICROSECOND)",
		SQL_TEXT(consumer_id), SQL_SPAN(list.text, list.length), SQL_INT(ttl_ms * 1000));
	sql_finish(&list);
	return result;
}

/* All in one statement.  READ COMMITTED: a row that another has locked is not waited for. */
static enum db_result extend(struct db *db, int64_t ttl_ms, const struct lease_renewal *renewals,
	size_t count, struct error *err)
{
	enum db_result result;
	struct sql q;

	sql_init(&q);
	sql_build(&q,
		"UPDATE leader_locks SET expires_at = " NOW " + INTERVAL ? MICROSECOND WHERE ",
		&SQL_INT(ttl_ms * 1000), 1);
	for (size_t i = 0; i < count; i++) {
		struct sql_value values[] = {
			SQL_INT(renewals[i].partition), SQL_INT(renewals[i].epoch)};

		sql_build(
			&q, i ? " OR (id = ? AND epoch = ?)" : "(id = ? AND epoch = ?)", values, 2);
	}
	result = db_exec_text(db, "renewing leases", err, q.text, q.length);
	sql_finish(&q);
	return result;
}

static void note_renewal(struct db *db, struct lease_renewal *renewals, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (renewals[i].partition != db_int(db, 0))
			continue;
		renewals[i].ret_held = renewals[i].epoch == db_int(db, 1);
		renewals[i].ret_next_offset = db_int(db, 2);
	}
}

/* The rows that `extend` matched are locked by it, so their epochs are still the same here. */
static enum db_result read_renewals(
	struct db *db, struct lease_renewal *renewals, size_t count, struct error *err)
{
	enum db_result result = db_query(db, "reading the renewed leases", err,
		"SELECT l.id, l.epoch, o.next_offset FROM leader_locks l "
		"JOIN partition_offsets o ON o.kafka_partition = l.id");

	if (result != DB_OK)
		return result;
	while (db_next(db))
		note_renewal(db, renewals, count);
	return db_end(db, err);
}

static int lease_renew(struct lease_store *s, const char *consumer_id, const bool all,
	const int32_t *partitions, size_t partition_count, int64_t ttl_ms,
	struct lease_renewal *renewals, size_t count, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	for (size_t i = 0; i < count; i++) {
		renewals[i].ret_held = false;
		renewals[i].ret_next_offset = 0;
	}
	if (result == DB_OK)
		result = db_begin(db, "renewing leases", err);
	if (result == DB_OK)
		result = announce(db, consumer_id, all, partitions, partition_count, ttl_ms, err);
	if (result == DB_OK && count > 0)
		result = extend(db, ttl_ms, renewals, count, err);
	if (result == DB_OK && count > 0)
		result = read_renewals(db, renewals, count, err);
	if (result == DB_OK)
		result = db_commit(db, "renewing leases", err);
	return result == DB_OK ? 0 : give_up(db, result);
}

/* Taking and giving up ------------------------------------------------------------------------ */

/* *ret_epoch is 0 if the lease is held, or the partition somebody else's who requests it. */
static enum db_result take_lock(struct db *db, const char *purpose, const char *consumer_id,
	int32_t partition, int64_t ttl_ms, int64_t *ret_epoch, struct error *err)
{
	enum db_result result = db_exec(db, purpose, err,
		"UPDATE leader_locks SET consumer_id = ?, "
		"epoch = " LEASE_SQL_NEW_EPOCH ", "
		"acquired_at = " NOW ", expires_at = " NOW " + INTERVAL ? MICROSECOND "
		"WHERE id = ? AND (expires_at IS NULL OR expires_at <= " NOW ") "
		"AND (requested_by = ? OR NOT " REQUEST_COUNTS ")",
		SQL_TEXT(consumer_id), SQL_INT(lease_sql_epoch_step()), SQL_INT(ttl_ms * 1000),
		SQL_INT(partition), SQL_TEXT(consumer_id), REQUEST_US);

	*ret_epoch = result == DB_OK && db_affected(db) == 1 ? db_insert_id(db) : 0;
	return result;
}

/* *epoch becomes 0 if the partition is halted and was not asked for by name. */
static enum db_result take_offset(struct db *db, const char *purpose, const char *consumer_id,
	int32_t partition, int64_t *epoch, struct error *err)
{
	enum db_result result = db_exec(db, purpose, err,
		"UPDATE partition_offsets SET epoch = ? WHERE kafka_partition = ? "
		"AND (halted_reason IS NULL OR EXISTS "
		"(SELECT 1 FROM leader_locks WHERE id = ? AND requested_by = ?))",
		SQL_INT(*epoch), SQL_INT(partition), SQL_INT(partition), SQL_TEXT(consumer_id));

	if (result == DB_OK && db_affected(db) != 1)
		*epoch = 0;
	return result;
}

static int lease_acquire(struct lease_store *s, const char *consumer_id, int32_t partition,
	int64_t ttl_ms, int64_t *ret_epoch, struct error *err)
{
	const char *purpose = DB_PURPOSE("acquiring partition %d", (int)partition);
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);
	int64_t epoch = 0;

	*ret_epoch = 0;
	if (result == DB_OK)
		result = db_begin(db, purpose, err);
	if (result == DB_OK)
		result = take_lock(db, purpose, consumer_id, partition, ttl_ms, &epoch, err);
	if (result == DB_OK && epoch)
		result = take_offset(db, purpose, consumer_id, partition, &epoch, err);
	if (result == DB_OK && !epoch) {
		db_rollback(db);
		return 0;
	}
	if (result == DB_OK)
		result = db_commit(db, purpose, err);
	if (result != DB_OK)
		return give_up(db, result);
	*ret_epoch = epoch;
	return 0;
}

static int lease_release(struct lease_store *s, int32_t partition, int64_t epoch, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	if (result == DB_OK)
		result = db_exec(db, DB_PURPOSE("releasing partition %d", (int)partition), err,
			"UPDATE leader_locks SET expires_at = " NOW
			" WHERE id = ? AND epoch = ? AND expires_at > " NOW,
			SQL_INT(partition), SQL_INT(epoch));
	return result == DB_OK ? 0 : give_up(db, result);
}

/* Asking for a partition ---------------------------------------------------------------------- */

/*
 * Assignments are made from left to right, and each sees the ones before it.  The row always
 * matches, so the statement waits for whoever has it locked.
 */
static enum db_result write_request(struct db *db, const char *purpose, const char *who,
	int64_t ttl_ms, const struct lease_request *request, struct error *err)
{
	int64_t epoch = request->epoch ? request->epoch : -1; /* which no row has */

	return db_exec(db, purpose, err,
		"UPDATE leader_locks SET "
		"expires_at = IF(epoch = ?, " NOW " + INTERVAL ? MICROSECOND, expires_at), "
		"requested_by = IF(" REQUEST_COUNTS ", requested_by, ?), "
		"requested_at = IF(requested_by = ?, " NOW ", requested_at) WHERE id = ?",
		SQL_INT(epoch), SQL_INT(ttl_ms * 1000), REQUEST_US, SQL_TEXT(who), SQL_TEXT(who),
		SQL_INT(request->partition));
}

static enum db_result read_request(struct db *db, const char *purpose,
	struct lease_request *request, bool *ret_found, struct error *err)
{
	enum db_result result = db_query(db, purpose, err,
		"SELECT requested_by, consumer_id, l.epoch, expires_at > " NOW ", next_offset "
		"FROM leader_locks l JOIN partition_offsets o ON o.kafka_partition = l.id "
		"WHERE id = ?",
		SQL_INT(request->partition));

	if (result != DB_OK)
		return result;
	*ret_found = db_next(db);
	if (*ret_found) {
		db_copy(db, 0, request->ret_requested_by, sizeof(request->ret_requested_by));
		db_copy(db, 1, request->ret_consumer_id, sizeof(request->ret_consumer_id));
		request->ret_epoch = db_int(db, 2);
		request->ret_held = db_int(db, 3) != 0;
		request->ret_next_offset = db_int(db, 4);
	}
	return db_end(db, err);
}

static int lease_request(struct lease_store *s, const char *who, int64_t ttl_ms,
	struct lease_request *request, struct error *err)
{
	const char *purpose = DB_PURPOSE("asking for partition %d", (int)request->partition);
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);
	bool found = false;

	if (result == DB_OK)
		result = db_begin(db, purpose, err);
	if (result == DB_OK)
		result = write_request(db, purpose, who, ttl_ms, request, err);
	if (result == DB_OK)
		result = read_request(db, purpose, request, &found, err);
	if (result == DB_OK)
		result = db_commit(db, purpose, err);
	if (result != DB_OK)
		return give_up(db, result);
	if (found)
		return 0;
	return error_set(err, -ENOENT,
		"there is no partition %d: leader_locks has no row for it, which `ledgerd run` "
		"makes",
		(int)request->partition);
}

static int lease_unrequest(
	struct lease_store *s, const char *who, int32_t partition, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	if (result == DB_OK)
		result = db_exec(db, DB_PURPOSE("giving partition %d back", (int)partition), err,
			"UPDATE leader_locks SET "
			"expires_at = IF(consumer_id = ? AND expires_at > " NOW ", " NOW
			", expires_at), "
			"requested_at = IF(requested_by = ?, NULL, requested_at), "
			"requested_by = IF(requested_by = ?, NULL, requested_by) WHERE id = ?",
			SQL_TEXT(who), SQL_TEXT(who), SQL_TEXT(who), SQL_INT(partition));
	return result == DB_OK ? 0 : give_up(db, result);
}

static int lease_withdraw(struct lease_store *s, const char *consumer_id, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	if (result == DB_OK)
		result = db_exec(db, "withdrawing from leader_members", err,
			"DELETE FROM leader_members WHERE consumer_id = ?", SQL_TEXT(consumer_id));
	return result == DB_OK ? 0 : give_up(db, result);
}

static void lease_interrupt(struct lease_store *s)
{
	db_interrupt(db_of(s));
}

static void lease_destroy(struct lease_store *s)
{
	db_destroy(db_of(s));
	free(s);
}

static const struct lease_store_ops lease_ops = {
	.prepare = lease_prepare,
	.read = lease_read,
	.renew = lease_renew,
	.acquire = lease_acquire,
	.release = lease_release,
	.request = lease_request,
	.unrequest = lease_unrequest,
	.withdraw = lease_withdraw,
	.interrupt = lease_interrupt,
	.destroy = lease_destroy,
};

struct lease_store *lease_store_mysql_create(const struct db_options *options, int64_t ttl_ms)
{
	struct lease_store_mysql *s = xcalloc(1, sizeof(*s));
	struct db_options own = *options;

	/*
	 * An answer that comes later than this is worth nothing: the owner has stopped by itself.
	 * But "the row is locked" must have come, however short the TTL is.
	 */
	db_options_set_lease(&own, ttl_ms);
	own.io_timeout_ms = own.idle_timeout_ms;
	if (own.io_timeout_ms < 2 * own.lock_timeout_ms)
		own.io_timeout_ms = 2 * own.lock_timeout_ms;
	s->store.ops = &lease_ops;
	s->db = db_create(&own);
	return &s->store;
}
