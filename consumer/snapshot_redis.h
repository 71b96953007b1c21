/* PLACEHOLDER so that the tree configures; `redis` replaces this file. */
#ifndef CONSUMER_SNAPSHOT_REDIS_H
#define CONSUMER_SNAPSHOT_REDIS_H

#include "config.h"
#include "snapshot.h"

/* cfg outlives it; host, port, user, password, keys_per_call, calls_in_flight, ledger.name. */
struct snapshot *snapshot_redis_create(const struct config *cfg);

#endif
