/* The outbox's tables in MySQL or MariaDB. */
#ifndef OUTBOX_OUTBOX_STORE_MYSQL_H
#define OUTBOX_OUTBOX_STORE_MYSQL_H

#include "db.h"
#include "outbox_store.h"

/*
 * Connects when it is first used.  The options' texts must outlive the store; its timeouts are set
 * so that a store that is stopped within a transaction holds no lock for longer than the lease of
 * ttl_ms, and no call waits longer than that.
 */
struct outbox_store *outbox_store_mysql_create(const struct db_options *options, int64_t ttl_ms);

/* What people want to know (`outboxd status`). */
struct outbox_status {
	char holder[129];
	int64_t epoch; /* 0: never held */
	bool held;
	int64_t expires_ms; /* from now; below 0: since when it is over */
	int64_t pending;    /* rows */
	int64_t failed;
	int64_t oldest_pending_ms; /* age of the oldest; 0: none */
};

enum db_result outbox_store_mysql_status(
	struct db *db, struct outbox_status *ret_status, struct error *err);

#endif
