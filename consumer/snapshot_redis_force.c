/*
 * Balances looked at and set as they are, whatever their versions: `snapshot rebuild`'s part of
 * snapshot_redis.h, by lua/force.lua.
 */
#include "snapshot_redis_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "decimal.h"
#include "mem.h"

#define FORCE_KEYS  500 /* of a call */
#define FORCE_WORDS 5   /* of a key: seen, and its ARGUMENTS */

/* The words of a call of lua/force.lua: those before the keys, the keys, five texts for each. */
struct force_call {
	const char *words[3 + FORCE_KEYS * (1 + FORCE_WORDS)];
	char count[8];
	char keys[FORCE_KEYS][SNAPSHOT_KEY_MAX];
	char amounts[FORCE_KEYS][2][DECIMAL_TEXT_MAX];
	char numbers[FORCE_KEYS][2][24];
	int used;
};

static void force_begin(struct force_call *call, size_t count)
{
	snprintf(call->count, sizeof call->count, "%zu", count);
	call->words[0] = "EVAL";
	call->words[1] = snapshot_redis_script("force")->text;
	call->words[2] = call->count;
	call->used = 3;
}

static void force_key(struct force_call *call, size_t i, struct balance_key key)
{
	snapshot_redis_key(key, call->keys[i]);
	call->words[call->used++] = call->keys[i];
}

static void force_image(struct force_call *call, size_t i, const struct snapshot_seen *seen,
	const struct snapshot_image *image)
{
	assert(image->version >= 0 && image->version < SNAPSHOT_VERSION_END);
	snprintf(call->numbers[i][0], sizeof call->numbers[i][0], "%" PRId64, image->version);
	snprintf(call->numbers[i][1], sizeof call->numbers[i][1], "%" PRId64, image->updated_ms);
	call->words[call->used++] = seen->text;
	call->words[call->used++] = decimal_text(image->available, call->amounts[i][0]);
	call->words[call->used++] = decimal_text(image->frozen, call->amounts[i][1]);
	call->words[call->used++] = call->numbers[i][0];
	call->words[call->used++] = call->numbers[i][1];
}

/* The array that the script returns, of this length and the caller's, or NULL and the code. */
static redisReply *force_run(struct redis *redis, struct force_call *call, const char *doing,
	size_t length, int *ret_code, struct error *err)
{
	redisReply *reply = redis_command(
		&redis->link, doing, REDIS_REPLY_ARRAY, call->used, call->words, ret_code, err);

	if (!reply || reply->elements == length)
		return reply;
	freeReplyObject(reply);
	*ret_code = redis_strange_answer(&redis->link, doing, err);
	return NULL;
}

static int look_some(struct redis *redis, struct force_call *call, const struct balance_key *keys,
	size_t count, struct snapshot_seen *ret_seen, struct error *err)
{
	redisReply *reply;
	int r;

	force_begin(call, count);
	for (size_t i = 0; i < count; i++)
		force_key(call, i, keys[i]);
	reply = force_run(redis, call, "looking at balances", 2 * count, &r, err);
	if (!reply)
		return r;
	for (size_t i = 0; i < count; i++) {
		const redisReply *text = reply->element[count + i];

		ret_seen[i].image = (struct snapshot_image){.key = keys[i]};
		snapshot_redis_parse(reply->element[i], &ret_seen[i].image);
		snprintf(ret_seen[i].text, sizeof ret_seen[i].text, "%s",
			text->type == REDIS_REPLY_STRING ? text->str : "?");
	}
	freeReplyObject(reply);
	return 0;
}

int snapshot_redis_look(struct snapshot *s, const struct balance_key *keys, size_t count,
	struct snapshot_seen *ret_seen, struct error *err)
{
	struct force_call *call = xmalloc(sizeof *call);
	int r = 0;

	for (size_t begin = 0; r == 0 && begin < count; begin += FORCE_KEYS) {
		size_t some = count - begin < FORCE_KEYS ? count - begin : FORCE_KEYS;

		r = look_some((struct redis *)s, call, &keys[begin], some, &ret_seen[begin], err);
	}
	free(call);
	return r;
}

static int force_some(struct redis *redis, struct force_call *call,
	const struct snapshot_seen *seen, const struct snapshot_image *images, size_t count,
	bool *ret_done, struct error *err)
{
	redisReply *reply;
	int r;

	force_begin(call, count);
	for (size_t i = 0; i < count; i++)
		force_key(call, i, images[i].key);
	for (size_t i = 0; i < count; i++)
		force_image(call, i, &seen[i], &images[i]);
	reply = force_run(redis, call, "setting balances", count, &r, err);
	if (!reply)
		return r;
	for (size_t i = 0; i < count; i++)
		ret_done[i] = reply->element[i]->type == REDIS_REPLY_INTEGER &&
			      reply->element[i]->integer == 1;
	freeReplyObject(reply);
	return 0;
}

int snapshot_redis_force(struct snapshot *s, const struct snapshot_seen *seen,
	const struct snapshot_image *images, size_t count, bool *ret_done, struct error *err)
{
	struct force_call *call = xmalloc(sizeof *call);
	int r = 0;

	for (size_t begin = 0; r == 0 && begin < count; begin += FORCE_KEYS) {
		size_t some = count - begin < FORCE_KEYS ? count - begin : FORCE_KEYS;

		r = force_some((struct redis *)s, call, &seen[begin], &images[begin], some,
			&ret_done[begin], err);
	}
	free(call);
	return r;
}
