/*
 * See outbox_store_mysql.h.
 *
 * Every comparison with "now" is the server's.  Marking takes the lease's row first: whoever marks
 * holds it, so an acquire waits for it, and two relays cannot mark side by side.
 */
#include "outbox_store_mysql.h"

#include <stdlib.h>

#include "lease_sql.h"
#include "mem.h"

#define NOW LEASE_SQL_NOW

struct outbox_store_mysql {
	struct outbox_store store;
	struct db *db;
};

static struct db *db_of(struct outbox_store *s)
{
	return ((struct outbox_store_mysql *)s)->db;
}

/* Rolls back what a failed call has begun. */
static enum db_result ended(struct db *db, enum db_result result)
{
	if (result != DB_OK)
		db_rollback(db);
	return result;
}

/* The lease ------------------------------------------------------------------------------------ */

static enum db_result mysql_acquire(struct outbox_store *s, const char *holder, int64_t ttl_ms,
	int64_t *ret_epoch, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	*ret_epoch = 0;
	if (result == DB_OK)
		result = db_exec(db, "acquiring the outbox", err,
			"UPDATE outbox_lease SET holder = ?, epoch = " LEASE_SQL_NEW_EPOCH ", "
			"acquired_at = " NOW ", expires_at = " NOW " + INTERVAL ? MICROSECOND "
			"WHERE id = 1 AND (expires_at IS NULL OR expires_at <= " NOW ")",
			SQL_TEXT(holder), SQL_INT(lease_sql_epoch_step()), SQL_INT(ttl_ms * 1000));
	if (result == DB_OK && db_affected(db) == 1)
		*ret_epoch = db_insert_id(db);
	return ended(db, result);
}

static enum db_result extend(
	struct db *db, int64_t epoch, int64_t ttl_ms, bool *ret_held, struct error *err)
{
	enum db_result result = db_exec(db, "renewing the outbox's lease", err,
		"UPDATE outbox_lease SET expires_at = " NOW " + INTERVAL ? MICROSECOND "
		"WHERE id = 1 AND epoch = ?",
		SQL_INT(ttl_ms * 1000), SQL_INT(epoch));

	*ret_held = result == DB_OK && db_affected(db) == 1;
	return result;
}

static enum db_result mysql_renew(
	struct outbox_store *s, int64_t epoch, int64_t ttl_ms, bool *ret_held, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	*ret_held = false;
	if (result == DB_OK)
		result = extend(db, epoch, ttl_ms, ret_held, err);
	return ended(db, result);
}

static enum db_result mysql_release(struct outbox_store *s, int64_t epoch, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	if (result == DB_OK)
		result = db_exec(db, "releasing the outbox", err,
			"UPDATE outbox_lease SET expires_at = " NOW
			" WHERE id = 1 AND epoch = ? AND expires_at > " NOW,
			SQL_INT(epoch));
	return ended(db, result);
}

/* The rows ------------------------------------------------------------------------------------- */

static void build_query(struct sql *q, const char *const *aside, size_t aside_count,
	const struct outbox_batch *batch)
{
	sql_init(q);
	sql_add(q, "SELECT id, event_id, topic, partition_key, payload FROM outbox_events "
		   "WHERE status = 'PENDING'");
	for (size_t i = 0; i < aside_count; i++) {
		const struct sql_value topic = SQL_TEXT(aside[i]);

		sql_build(q, " AND topic <> ?", &topic, 1);
	}
	sql_build(q, " ORDER BY id LIMIT ?", &SQL_INT((int64_t)batch->max_rows), 1);
}

static bool take_row(struct db *db, struct outbox_batch *batch)
{
	struct outbox_row row = {.id = db_int(db, 0)};

	row.event_id = db_text(db, 1, NULL);
	row.topic = db_text(db, 2, NULL);
	row.key = db_null(db, 3) ? NULL : db_text(db, 3, &row.key_length);
	row.payload = db_text(db, 4, &row.payload_length);
	return outbox_batch_add(batch, &row);
}

static enum db_result mysql_pending(struct outbox_store *s, const char *const *aside,
	size_t aside_count, struct outbox_batch *batch, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);
	struct sql q;

	if (result != DB_OK)
		return ended(db, result);
	build_query(&q, aside, aside_count, batch);
	result = db_query_text(db, "reading what is PENDING", err, q.text, q.length);
	sql_finish(&q);
	if (result != DB_OK)
		return ended(db, result);
	while (db_next(db) && take_row(db, batch))
		;
	return ended(db, db_end(db, err));
}

/* Marking -------------------------------------------------------------------------------------- */

static void add_list(struct sql *q, const struct outbox_batch *batch, enum outbox_fate fate,
	struct sql_value (*value)(const struct outbox_row *row))
{
	const char *separator = " IN (";

	for (size_t i = 0; i < batch->count; i++) {
		struct sql_value item;

		if (batch->rows[i].fate != fate)
			continue;
		item = value(&batch->rows[i]);
		sql_add(q, separator);
		sql_add_value(q, &item);
		separator = ", ";
	}
	sql_add(q, ")");
}

static struct sql_value id_of(const struct outbox_row *row)
{
	return SQL_INT(row->id);
}

static struct sql_value event_id_of(const struct outbox_row *row)
{
	return SQL_TEXT(row->event_id);
}

/* An event_id stands for one event: a row that has one of these was sent, whatever its id. */
static enum db_result mark_fate(struct db *db, const struct outbox_batch *batch,
	enum outbox_fate fate, const char *update, struct error *err)
{
	enum db_result result;
	struct sql q;

	if (outbox_batch_count(batch, fate) == 0)
		return DB_OK;
	sql_init(&q);
	sql_add(&q, update);
	sql_add(&q, " WHERE status = 'PENDING' AND id");
	add_list(&q, batch, fate, id_of);
	sql_add(&q, " AND event_id");
	add_list(&q, batch, fate, event_id_of);
	result = db_exec_text(db, "marking rows of the outbox", err, q.text, q.length);
	sql_finish(&q);
	return result;
}

static enum db_result mark_rows(struct db *db, const struct outbox_batch *batch, struct error *err)
{
	enum db_result result = mark_fate(db, batch, OUTBOX_SENT,
		"UPDATE outbox_events FORCE INDEX (PRIMARY) "
		"SET status = 'SENT', sent_at = UTC_TIMESTAMP(3)",
		err);

	if (result == DB_OK)
		result = mark_fate(db, batch, OUTBOX_FAILED,
			"UPDATE outbox_events FORCE INDEX (PRIMARY) SET status = 'FAILED'", err);
	return result;
}

static enum db_result mysql_mark(struct outbox_store *s, int64_t epoch, int64_t ttl_ms,
	const struct outbox_batch *batch, bool *ret_held, struct error *err)
{
	struct db *db = db_of(s);
	enum db_result result = db_ensure(db, err);

	*ret_held = false;
	if (result == DB_OK)
		result = db_begin(db, "marking rows of the outbox", err);
	if (result == DB_OK)
		result = extend(db, epoch, ttl_ms, ret_held, err);
	if (result == DB_OK && !*ret_held) {
		db_rollback(db);
		return DB_OK;
	}
	if (result == DB_OK)
		result = mark_rows(db, batch, err);
	if (result == DB_OK)
		result = db_commit(db, "marking rows of the outbox", err);
	return ended(db, result);
}

/* The store ------------------------------------------------------------------------------------ */

static void mysql_destroy(struct outbox_store *s)
{
	db_destroy(db_of(s));
	free(s);
}

static const struct outbox_store_ops mysql_ops = {
	.acquire = mysql_acquire,
	.renew = mysql_renew,
	.release = mysql_release,
	.pending = mysql_pending,
	.mark = mysql_mark,
	.destroy = mysql_destroy,
};

struct outbox_store *outbox_store_mysql_create(const struct db_options *options, int64_t ttl_ms)
{
	struct outbox_store_mysql *s = xcalloc(1, sizeof *s);
	struct db_options own = *options;

	db_options_set_lease(&own, ttl_ms);
	own.io_timeout_ms = own.idle_timeout_ms;
	own.local_infile = false;
	s->store.ops = &mysql_ops;
	s->db = db_create(&own);
	return &s->store;
}

/* For people ----------------------------------------------------------------------------------- */

static enum db_result read_lease(struct db *db, struct outbox_status *ret_status, struct error *err)
{
	enum db_result result = db_query(db, "reading outbox_lease", err,
		"SELECT holder, epoch, COALESCE(TIMESTAMPDIFF(MICROSECOND, " NOW
		", expires_at) DIV 1000, 0), COALESCE(expires_at > " NOW
		", FALSE) FROM outbox_lease WHERE id = 1");

	if (result != DB_OK)
		return result;
	if (db_next(db)) {
		db_copy(db, 0, ret_status->holder, sizeof ret_status->holder);
		ret_status->epoch = db_int(db, 1);
		ret_status->expires_ms = db_int(db, 2);
		ret_status->held = db_int(db, 3) != 0;
	}
	return db_end(db, err);
}

/* The oldest by its id: created_at is what the application says. */
static enum db_result read_rows(struct db *db, struct outbox_status *ret_status, struct error *err)
{
	enum db_result result = db_query(db, "counting the rows of outbox_events", err,
		"SELECT (SELECT COUNT(*) FROM outbox_events WHERE status = 'PENDING'), "
		"(SELECT COUNT(*) FROM outbox_events WHERE status = 'FAILED'), "
		"COALESCE((SELECT TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(3)) DIV 1000 "
		"FROM outbox_events WHERE status = 'PENDING' ORDER BY id LIMIT 1), 0)");

	if (result != DB_OK)
		return result;
	if (db_next(db)) {
		ret_status->pending = db_int(db, 0);
		ret_status->failed = db_int(db, 1);
		ret_status->oldest_pending_ms = db_int(db, 2);
	}
	return db_end(db, err);
}

enum db_result outbox_store_mysql_status(
	struct db *db, struct outbox_status *ret_status, struct error *err)
{
	enum db_result result;

	*ret_status = (struct outbox_status){0};
	result = read_lease(db, ret_status, err);
	return result == DB_OK ? read_rows(db, ret_status, err) : result;
}
