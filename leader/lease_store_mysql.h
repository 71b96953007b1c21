/*
 * Leases in MySQL or MariaDB: the real `struct lease_store`.
 *
 * One connection, made when it is needed and again after it was lost.  Failures are -EAGAIN (a
 * lock, a deadlock), -ECONNRESET (the connection; whether the statement was executed is unknown)
 * and -EIO (a person's matter).
 */
#ifndef LEADER_LEASE_STORE_MYSQL_H
#define LEADER_LEASE_STORE_MYSQL_H

#include "db.h"
#include "lease_store.h"

/* Where the server is; the timeouts are set for the TTL.  Does not connect. */
struct lease_store *lease_store_mysql_create(const struct db_options *options, int64_t ttl_ms);

#endif
