/*
 * The database as the relay sees it: the table outbox_events, and the relay's lease in
 * outbox_lease.
 *
 * The real one is outbox_store_mysql.c, the one in memory outbox_store_memory.c.  Used by one
 * thread.  Each call is one transaction on a connection that the store makes when it needs one; no
 * call retries.  Anything but DB_OK leaves open whether it happened: every call may be made again.
 */
#ifndef OUTBOX_OUTBOX_STORE_H
#define OUTBOX_OUTBOX_STORE_H

#include "db_errors.h"
#include "error.h"
#include "outbox_batch.h"

struct outbox_store;

struct outbox_store_ops {
	/*
	 * Takes the lease if it has expired by the server's clock.  The new epoch is the greater of
	 * the server's clock in microseconds and the old one + 1 to LEASE_EPOCH_STEP_MAX, so that a
	 * copy of the database that is behind hands none out twice.  *ret_epoch is 0 if somebody
	 * holds it.
	 */
	enum db_result (*acquire)(struct outbox_store *s, const char *holder, int64_t ttl_ms,
		int64_t *ret_epoch, struct error *err);
	/* Extends the lease if this epoch is still the newest.  *ret_held: it is. */
	enum db_result (*renew)(struct outbox_store *s, int64_t epoch, int64_t ttl_ms,
		bool *ret_held, struct error *err);
	/* Expires the lease at once, if this epoch still holds it. */
	enum db_result (*release)(struct outbox_store *s, int64_t epoch, struct error *err);
	/*
	 * Adds PENDING rows in the order of their ids, as many as fit; none of the topics in
	 * `aside`.  By status alone: ids become visible out of order, so that there is no last one.
	 */
	enum db_result (*pending)(struct outbox_store *s, const char *const *aside,
		size_t aside_count, struct outbox_batch *batch, struct error *err);
	/*
	 * In one transaction: proves the epoch under the lease's lock and extends it, then marks
	 * the batch's SENT and FAILED rows, those that are still PENDING.  A row is known by its id
	 * and its event_id: after a fail-over to a copy that is behind, the id may be another
	 * row's.  Not *ret_held: nothing was marked.
	 */
	enum db_result (*mark)(struct outbox_store *s, int64_t epoch, int64_t ttl_ms,
		const struct outbox_batch *batch, bool *ret_held, struct error *err);
	void (*destroy)(struct outbox_store *s);
};

/* Every store begins with this. */
struct outbox_store {
	const struct outbox_store_ops *ops;
};

#endif
