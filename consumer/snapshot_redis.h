/*
 * Redis over hiredis: the snapshot that the daemon uses.
 *
 * One blocking connection (redis_connection.h).  Balances go by EVALSHA of lua/publish.lua,
 * redis.keys_per_call keys a call, redis.calls_in_flight calls ahead of the answers; a server that
 * has forgotten the script is given it again, and the images are sent again.  Markers live at
 * `ledgerd:<ledger.name>:complete:<partition>` (lua/README.md).
 *
 * Errors are negative errno codes, as redis_connection.h has them.
 */
#ifndef CONSUMER_SNAPSHOT_REDIS_H
#define CONSUMER_SNAPSHOT_REDIS_H

#include "config.h"
#include "snapshot.h"

/* For cfg's `redis` and ledger.name; cfg outlives it.  Does not connect yet. */
struct snapshot *snapshot_redis_create(const struct config *cfg);

/* Bytes that it takes at most, for the memory that is printed at start. */
size_t snapshot_redis_bytes_max(const struct config *cfg);

/*
 * For check-config, on a connected snapshot of snapshot_redis_create: whether the server is one
 * that balances may be published to.  -EINVAL with the remedy if it is too old, a replica, in
 * cluster mode, or evicts keys.
 */
int snapshot_redis_check(struct snapshot *s, struct error *err);

#endif
