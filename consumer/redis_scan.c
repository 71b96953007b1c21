/* See redis_scan.h. */
#include "redis_scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <hiredis/hiredis.h>

#include "mem.h"
#include "snapshot_redis.h"

#define KEYS_A_CALL "4000"
#define CURSOR_MAX  32

struct redis_scan {
	const struct config_redis *cfg;
	const char *pattern;
	redisContext *context;
	char cursor[CURSOR_MAX];
};

static int failed(const struct redis_scan *scan, const char *what, struct error *err)
{
	return error_set(err, -EIO, "redis %s:%d: walking over its keys: %.200s", scan->cfg->host,
		(int)scan->cfg->port, what);
}

/* An answer of this type, the caller's; NULL: *err says why. */
static redisReply *command(
	struct redis_scan *scan, int type, int argc, const char **argv, struct error *err)
{
	redisReply *reply = redisCommandArgv(scan->context, argc, argv, NULL);

	if (!reply) {
		failed(scan, scan->context->errstr, err);
		return NULL;
	}
	if (reply->type == type)
		return reply;
	failed(scan, reply->type == REDIS_REPLY_ERROR ? reply->str : "an unexpected answer", err);
	freeReplyObject(reply);
	return NULL;
}

static int authenticate(struct redis_scan *scan, struct error *err)
{
	const char *words[3] = {"AUTH", scan->cfg->user, scan->cfg->password};
	bool user = *scan->cfg->user != '\0';
	redisReply *reply;

	if (!user && !*scan->cfg->password)
		return 0;
	if (!user)
		words[1] = scan->cfg->password;
	reply = command(scan, REDIS_REPLY_STATUS, user ? 3 : 2, words, err);
	if (!reply)
		return -EACCES;
	freeReplyObject(reply);
	return 0;
}

static int open_connection(struct redis_scan *scan, struct error *err)
{
	const struct timeval timeout = {
		SNAPSHOT_REDIS_TIMEOUT_MS / 1000, SNAPSHOT_REDIS_TIMEOUT_MS % 1000 * 1000L};

	scan->context = redisConnectWithTimeout(scan->cfg->host, (int)scan->cfg->port, timeout);
	if (!scan->context)
		return failed(scan, "no memory for a connection", err);
	if (scan->context->err || redisSetTimeout(scan->context, timeout) != REDIS_OK)
		return failed(scan, scan->context->errstr, err);
	return authenticate(scan, err);
}

int redis_scan_open(const struct config *cfg, const char *pattern, struct redis_scan **ret_scan,
	struct error *err)
{
	struct redis_scan *scan = xcalloc(1, sizeof *scan);
	int rc;

	scan->cfg = &cfg->redis;
	scan->pattern = pattern;
	scan->cursor[0] = '0';
	rc = open_connection(scan, err);
	if (rc == 0)
		*ret_scan = scan;
	else
		redis_scan_close(scan);
	return rc;
}

void redis_scan_close(struct redis_scan *scan)
{
	if (!scan)
		return;
	if (scan->context)
		redisFree(scan->context);
	free(scan);
}

/* The cursor, and an array of keys. */
static bool is_page(const redisReply *reply)
{
	return reply->elements == 2 && reply->element[0]->type == REDIS_REPLY_STRING &&
	       reply->element[0]->len < CURSOR_MAX && reply->element[1]->type == REDIS_REPLY_ARRAY;
}

int redis_scan_next(struct redis_scan *scan, redis_scan_fn *fn, void *context, bool *ret_ended,
	struct error *err)
{
	const char *words[] = {"SCAN", scan->cursor, "MATCH", scan->pattern, "COUNT", KEYS_A_CALL};
	redisReply *reply = command(scan, REDIS_REPLY_ARRAY, 6, words, err);
	redisReply *keys;

	if (!reply)
		return -EIO;
	if (!is_page(reply)) {
		freeReplyObject(reply);
		return failed(scan, "an unexpected answer", err);
	}
	keys = reply->element[1];
	for (size_t i = 0; i < keys->elements; i++)
		if (keys->element[i]->type == REDIS_REPLY_STRING)
			fn(context, keys->element[i]->str, keys->element[i]->len);
	snprintf(scan->cursor, sizeof scan->cursor, "%s", reply->element[0]->str);
	*ret_ended = strcmp(scan->cursor, "0") == 0;
	freeReplyObject(reply);
	return 0;
}
