/*
 * A connection to Redis over hiredis, blocking, with timeouts: logging in, commands one by one, and
 * errors that name the server and the remedy.
 *
 * Errors are negative errno codes: -EACCES and -ENOTSUP are a person's, -ETIMEDOUT, -ECONNRESET,
 * -ECONNREFUSED, -EAGAIN, -EROFS and -ENOSPC pass by themselves or with the server's state, -EPROTO
 * is an answer that nobody expects.  No TLS (hiredis 0.14 has none) and no Redis Cluster.  The
 * process must ignore SIGPIPE.
 */
#ifndef CONSUMER_REDIS_CONNECTION_H
#define CONSUMER_REDIS_CONNECTION_H

#include <hiredis/hiredis.h>

#include "config.h"
#include "error.h"

#define REDIS_TIMEOUT_MS 5000 /* to connect, and for an answer */

struct redis_connection {
	const struct config_redis *cfg; /* outlives it */
	redisContext *context;          /* NULL: not connected */
};

/* Connects anew and logs in; not connected if it fails. */
int redis_connect(struct redis_connection *c, struct error *err);
void redis_disconnect(struct redis_connection *c);

/*
 * One command; doing says in messages what it is for.  Returns the reply, which is of this type and
 * the caller's, or NULL and the code.
 */
redisReply *redis_command(struct redis_connection *c, const char *doing, int type, int argc,
	const char **argv, int *ret_code, struct error *err);

#define REDIS_COMMAND(c, doing, type, ret_code, err, ...)                                          \
	redis_command((c), (doing), (type),                                                        \
		sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                            \
		(const char *[]){__VA_ARGS__}, (ret_code), (err))

/* The value of a line "name:value" of INFO, or "" if there is none; cut where it does not fit. */
void redis_info_value(const char *info, const char *name, char *value, size_t bytes);

/* The name of the server, for messages. */
#define REDIS_SERVER  "redis %s:%d"
#define REDIS_NAME(c) (c)->cfg->host, (int)(c)->cfg->port

/* What went wrong, as a code and a message: the server refused; it answered what nobody expects;
 * there is no connection; it broke in the last call of hiredis. */
int redis_server_error(const struct redis_connection *c, const char *doing, const char *message,
	struct error *err);
int redis_strange_answer(const struct redis_connection *c, const char *doing, struct error *err);
int redis_not_connected(const struct redis_connection *c, struct error *err);
int redis_broke(const struct redis_connection *c, const char *doing, struct error *err);

#endif
