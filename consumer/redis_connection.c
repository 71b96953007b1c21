/* See redis_connection.h. */
#include "redis_connection.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

/* Errors --------------------------------------------------------------------------------------- */

struct remedy {
	const char *prefix; /* of the server's message */
	int code;
	const char *text;
};

static const struct remedy remedies[] = {
	{"NOAUTH", -EACCES,
		"set redis.user and its password (LEDGERD_REDIS_PASSWORD or redis.password_file)"},
	{"WRONGPASS", -EACCES, "redis.user or its password is wrong"},
	{"ERR AUTH", -EACCES, "the server has no password: set none"},
	{"NOPERM", -EACCES, "lua/README.md has the rights that the user needs"},
	{"ERR The user executing the script", -EACCES,
		"lua/README.md has the rights that the user needs"},
	{"DENIED", -EACCES, "the server is in protected mode: give it a password"},
	{"ERR max number of clients", -EAGAIN, "raise its maxclients"},
	{"LOADING", -EAGAIN, "it is reading its data from disk: wait"},
	{"BUSY", -EAGAIN, "somebody's script runs too long: SCRIPT KILL ends it"},
	{"MASTERDOWN", -EAGAIN,
		"it is a replica without a master: redis.host must name the master"},
	{"NOREPLICAS", -EAGAIN, "it wants more replicas (min-replicas-to-write) than it has"},
	{"NOSCRIPT", -EAGAIN, "somebody empties its script cache again and again"},
	{"READONLY", -EROFS, "it is a replica: redis.host must name the master"},
	{"MISCONF", -ENOSPC, "it cannot save its data to disk: its log says why"},
	{"OOM", -ENOSPC, "its memory is full: raise maxmemory"},
	{"MOVED", -ENOTSUP, "Redis Cluster is not supported: name a server that is in none"},
	{"CROSSSLOT", -ENOTSUP, "Redis Cluster is not supported: name a server that is in none"},
	{"CLUSTERDOWN", -ENOTSUP, "Redis Cluster is not supported: name a server that is in none"},
	{"", -EPROTO, "not an answer that was expected"},
};

static const struct remedy *find_remedy(const char *message)
{
	const struct remedy *remedy = remedies;

	while (strncmp(message, remedy->prefix, strlen(remedy->prefix)) != 0)
		remedy++;
	return remedy;
}

int redis_server_error(
	const struct redis_connection *c, const char *doing, const char *message, struct error *err)
{
	const struct remedy *remedy = find_remedy(message);

	return error_set(err, remedy->code, REDIS_SERVER ": %s: %.200s (%s)", REDIS_NAME(c), doing,
		message, remedy->text);
}

int redis_strange_answer(const struct redis_connection *c, const char *doing, struct error *err)
{
	return error_set(err, -EPROTO,
		REDIS_SERVER ": %s: an answer of another kind than expected; is it Redis?",
		REDIS_NAME(c), doing);
}

int redis_not_connected(const struct redis_connection *c, struct error *err)
{
	return error_set(err, -ENOTCONN, REDIS_SERVER ": not connected", REDIS_NAME(c));
}

int redis_broke(const struct redis_connection *c, const char *doing, struct error *err)
{
	const redisContext *context = c->context;

	if (context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
		return error_set(err, -ETIMEDOUT, REDIS_SERVER ": %s: no answer within %d ms",
			REDIS_NAME(c), doing, REDIS_TIMEOUT_MS);
	return error_set(err, context->err == REDIS_ERR_PROTOCOL ? -EPROTO : -ECONNRESET,
		REDIS_SERVER ": %s: %s", REDIS_NAME(c), doing, context->errstr);
}

/* Commands ------------------------------------------------------------------------------------- */

redisReply *redis_command(struct redis_connection *c, const char *doing, int type, int argc,
	const char **argv, int *ret_code, struct error *err)
{
	redisReply *reply;

	*ret_code = 0;
	if (!c->context) {
		*ret_code = redis_not_connected(c, err);
		return NULL;
	}
	reply = redisCommandArgv(c->context, argc, argv, NULL);
	if (!reply) {
		*ret_code = redis_broke(c, doing, err);
		return NULL;
	}
	if (reply->type == type)
		return reply;
	if (reply->type == REDIS_REPLY_ERROR)
		*ret_code = redis_server_error(c, doing, reply->str, err);
	else
		*ret_code = redis_strange_answer(c, doing, err);
	freeReplyObject(reply);
	return NULL;
}

static int authenticate(struct redis_connection *c, struct error *err)
{
	const char *user = c->cfg->user;
	const char *password = c->cfg->password;
	redisReply *reply;
	int r;

	if (!*user && !*password)
		return 0;
	if (*user)
		reply = REDIS_COMMAND(
			c, "logging in", REDIS_REPLY_STATUS, &r, err, "AUTH", user, password);
	else
		reply = REDIS_COMMAND(
			c, "logging in", REDIS_REPLY_STATUS, &r, err, "AUTH", password);
	if (reply)
		freeReplyObject(reply);
	return r;
}

void redis_info_value(const char *info, const char *name, char *value, size_t bytes)
{
	size_t length = strlen(name);

	*value = '\0';
	for (const char *line = info; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) == 0 && line[length] == ':') {
			line += length + 1;
			snprintf(value, bytes, "%.*s", (int)strcspn(line, "\r\n"), line);
			return;
		}
	}
}

/* The connection ------------------------------------------------------------------------------- */

static int open_connection(struct redis_connection *c, struct error *err)
{
	const struct timeval timeout = {REDIS_TIMEOUT_MS / 1000, REDIS_TIMEOUT_MS % 1000 * 1000L};

	c->context = redisConnectWithTimeout(c->cfg->host, (int)c->cfg->port, timeout);
	if (!c->context)
		return error_set(
			err, -ENOMEM, REDIS_SERVER ": no memory for a connection", REDIS_NAME(c));
	if (c->context->err)
		return error_set(err, -ECONNREFUSED,
			REDIS_SERVER ": cannot connect: %s; is it running, and do redis.host and "
				     "redis.port name it?",
			REDIS_NAME(c), c->context->errstr);
	if (redisSetTimeout(c->context, timeout) != REDIS_OK ||
		redisEnableKeepAlive(c->context) != REDIS_OK)
		return redis_broke(c, "connecting", err);
	return 0;
}

int redis_connect(struct redis_connection *c, struct error *err)
{
	int r;

	redis_disconnect(c);
	r = open_connection(c, err);
	if (r == 0)
		r = authenticate(c, err);
	if (r < 0)
		redis_disconnect(c);
	return r;
}

void redis_disconnect(struct redis_connection *c)
{
	if (c->context)
		redisFree(c->context);
	c->context = NULL;
}
