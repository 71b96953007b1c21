/* From the configuration to what the edges want to know of their servers. */
#ifndef COMMON_SERVERS_H
#define COMMON_SERVERS_H

#include "config.h"
#include "db.h"

/* The texts stay the configuration's.  No timeouts but the connection's. */
void servers_db_options(const struct config *cfg, struct db_options *ret_options);

/* "127.0.0.1:3306" or the socket's path, for messages. */
void servers_db_name(const struct config *cfg, char *text, size_t size);

#endif
