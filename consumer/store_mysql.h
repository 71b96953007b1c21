/*
 * The database: the real `struct store`, MySQL or MariaDB.
 *
 * What a flush writes goes by LOAD DATA LOCAL with REPLACE out of memory (encode.h); what is read
 * is read by primary key, or by the one unique index.
 */
#ifndef CONSUMER_STORE_MYSQL_H
#define CONSUMER_STORE_MYSQL_H

#include "db.h"
#include "store.h"

/* Where the server is; the timeouts are set for the lease's TTL.  Does not connect. */
struct store *store_mysql_create(const struct db_options *options, int64_t ttl_ms);

#endif
