/*
 * `ledgerd run`: the subsystems in their order, a loop that watches over them, and their end.
 *
 *     metrics, HTTP       first, so that a start that waits for a server can be watched
 *     MySQL               schema checked, the log that the database belongs to read or claimed
 *     memory              laid out and printed
 *     publisher           its thread, its connections to Redis and MySQL
 *     instance            leases, and a worker for each partition
 *
 * A server that is away is waited for; a schema or a configuration that does not fit ends the
 * process with a message.
 */
#ifndef CONSUMER_DAEMON_H
#define CONSUMER_DAEMON_H

#include "config.h"

/*
 * Runs until SIGTERM or SIGINT, which flush and release the leases; the caller has blocked them
 * (signals.h).  The exit status: 0 after a clean end, 1 if it could not run, 2 if the configuration
 * does not fit what it finds.
 */
int daemon_run(const struct config *cfg);

#endif
