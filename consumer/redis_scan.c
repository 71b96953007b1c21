/* See redis_scan.h. */
#include "redis_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "redis_connection.h"

#define KEYS_A_CALL "4000"
#define CURSOR_MAX  32

static const char doing[] = "walking over its keys";

struct redis_scan {
	struct redis_connection link;
	const char *pattern;
	char cursor[CURSOR_MAX];
};

int redis_scan_open(const struct config *cfg, const char *pattern, struct redis_scan **ret_scan,
	struct error *err)
{
	struct redis_scan *scan = xcalloc(1, sizeof *scan);
	int rc;

	scan->link.cfg = &cfg->redis;
	scan->pattern = pattern;
	scan->cursor[0] = '0';
	rc = redis_connect(&scan->link, err);
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
	redis_disconnect(&scan->link);
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
	int rc;
	redisReply *reply = REDIS_COMMAND(&scan->link, doing, REDIS_REPLY_ARRAY, &rc, err, "SCAN",
		scan->cursor, "MATCH", scan->pattern, "COUNT", KEYS_A_CALL);
	redisReply *keys;

	if (!reply)
		return rc;
	if (!is_page(reply)) {
		freeReplyObject(reply);
		return redis_strange_answer(&scan->link, doing, err);
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
