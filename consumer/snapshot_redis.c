/*
 * See snapshot_redis.h.
 *
 * Calls are written as RESP by hand into one buffer that is big enough for any call: formatting
 * through hiredis costs several times as much as the rest of the client.
 */
#include "snapshot_redis.h"
#include "snapshot_redis_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decimal.h"
#include "digits.h"
#include "embed.h"
#include "mem.h"

#define ARGUMENTS        4   /* of a key: available, frozen, version, updated_at */
#define IMAGE_BYTES_MAX  256 /* of a key and its arguments as RESP */
#define CALL_BYTES_MAX   128 /* of what stands before the first key */
#define PUBLISH_ATTEMPTS 3   /* when the script is forgotten again and again */
#define READ_IN_FLIGHT   500
#define MARKER_KEY_MAX   160
#define VERSION_MIN      7 /* of Redis */

extern const struct embed lua_scripts;

/* The connection ------------------------------------------------------------------------------- */

const struct embed_file *snapshot_redis_script(const char *name)
{
	size_t i = 0;

	while (i < lua_scripts.count && strcmp(lua_scripts.files[i].name, name) != 0)
		i++;
	assert(i < lua_scripts.count);
	return &lua_scripts.files[i];
}

static int load_script(struct redis *redis, struct error *err)
{
	const char *doing = "loading the script";
	int r;
	redisReply *reply = REDIS_COMMAND(&redis->link, doing, REDIS_REPLY_STRING, &r, err,
		"SCRIPT", "LOAD", snapshot_redis_script("publish")->text);

	if (!reply)
		return r;
	if (reply->len == SNAPSHOT_SHA_LENGTH)
		memcpy(redis->sha, reply->str, SNAPSHOT_SHA_LENGTH + 1);
	else
		r = redis_strange_answer(&redis->link, doing, err);
	freeReplyObject(reply);
	return r;
}

/* One section's value. */
static int ask_info(struct redis *redis, const char *section, const char *name, char *value,
	size_t bytes, struct error *err)
{
	const char *doing = "asking who it is";
	int r;
	redisReply *reply = REDIS_COMMAND(
		&redis->link, doing, REDIS_REPLY_STRING, &r, err, "INFO", section);

	if (!reply)
		return r;
	redis_info_value(reply->str, name, value, bytes);
	freeReplyObject(reply);
	return *value && !strchr(value, ' ') ? 0 : redis_strange_answer(&redis->link, doing, err);
}

static void snapshot_disconnect(struct snapshot *s)
{
	redis_disconnect(&((struct redis *)s)->link);
}

static int snapshot_connect(struct snapshot *s, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	int r = redis_connect(&redis->link, err);

	if (r == 0)
		r = load_script(redis, err);
	if (r < 0)
		snapshot_disconnect(s);
	return r;
}

static int snapshot_identity(
	struct snapshot *s, char ret_identity[SNAPSHOT_IDENTITY_MAX], struct error *err)
{
	struct redis *redis = (struct redis *)s;
	char run_id[48];
	char replication_id[48];
	int r;

	r = ask_info(redis, "server", "run_id", run_id, sizeof run_id, err);
	if (r == 0)
		r = ask_info(redis, "replication", "master_replid", replication_id,
			sizeof replication_id, err);
	if (r == 0)
		snprintf(ret_identity, SNAPSHOT_IDENTITY_MAX, "%s-%s", run_id, replication_id);
	return r;
}

/* Markers -------------------------------------------------------------------------------------- */

static void marker_key(const struct redis *redis, int32_t partition, char key[MARKER_KEY_MAX])
{
	snprintf(
		key, MARKER_KEY_MAX, "ledgerd:%s:complete:%" PRId32, redis->ledger_name, partition);
}

/* One that cannot be ours could never be replaced: for a person. */
static int copy_marker(const struct redis *redis, const char *key, const redisReply *reply,
	char ret_marker[SNAPSHOT_MARKER_MAX], struct error *err)
{
	*ret_marker = '\0';
	if (reply->type != REDIS_REPLY_STRING)
		return 0;
	if (reply->len >= SNAPSHOT_MARKER_MAX || memchr(reply->str, '\0', reply->len))
		return error_set(err, -EINVAL,
			REDIS_SERVER ": another program has written %s: delete the key",
			REDIS_NAME(&redis->link), key);
	memcpy(ret_marker, reply->str, reply->len + 1);
	return 0;
}

static int snapshot_read_marker(struct snapshot *s, int32_t partition,
	char ret_marker[SNAPSHOT_MARKER_MAX], struct error *err)
{
	struct redis *redis = (struct redis *)s;
	const char *doing = "reading a marker";
	char key[MARKER_KEY_MAX];
	redisReply *reply;
	int r;

	marker_key(redis, partition, key);
	/* MGET, not GET: the answer has the same type whether there is one or not. */
	reply = REDIS_COMMAND(&redis->link, doing, REDIS_REPLY_ARRAY, &r, err, "MGET", key);
	if (!reply)
		return r;
	if (reply->elements == 1)
		r = copy_marker(redis, key, reply->element[0], ret_marker, err);
	else
		r = redis_strange_answer(&redis->link, doing, err);
	freeReplyObject(reply);
	return r;
}

static int snapshot_write_marker(struct snapshot *s, int32_t partition, const char *expected,
	const char *marker, bool *ret_written, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	char doing[MARKER_KEY_MAX + 16];
	char key[MARKER_KEY_MAX];
	redisReply *reply;
	int r;

	marker_key(redis, partition, key);
	snprintf(doing, sizeof doing, "writing %s", key);
	reply = REDIS_COMMAND(&redis->link, doing, REDIS_REPLY_INTEGER, &r, err, "EVAL",
		snapshot_redis_script("marker")->text, "1", key, expected, marker);
	if (!reply)
		return r;
	*ret_written = reply->integer == 1;
	freeReplyObject(reply);
	return 0;
}

/* RESP ----------------------------------------------------------------------------------------- */

static char *put_number(char *at, uint64_t number)
{
	return at + digits_u64(number, at);
}

static char *put_text(char *at, const char *text, size_t length)
{
	memcpy(at, text, length);
	return at + length;
}

/* The head of an array, or of a text of this length. */
static char *put_head(char *at, char kind, size_t number)
{
	*at++ = kind;
	at = put_number(at, number);
	return put_text(at, "\r\n", 2);
}

static char *put_bulk(char *at, const char *text, size_t length)
{
	at = put_head(at, '$', length);
	at = put_text(at, text, length);
	return put_text(at, "\r\n", 2);
}

static char *put_bulk_number(char *at, int64_t number)
{
	char text[20];

	assert(number >= 0);
	return put_bulk(at, text, (size_t)(put_number(text, (uint64_t)number) - text));
}

static char *put_bulk_amount(char *at, i128 amount)
{
	char text[DECIMAL_TEXT_MAX];

	assert(amount >= 0 && amount <= DECIMAL_MAX);
	return put_bulk(at, text, decimal_format(amount, text));
}

/* Writes balance:{account}:currency, NUL-terminated, and returns its length. */
size_t snapshot_redis_key(struct balance_key key, char text[SNAPSHOT_KEY_MAX])
{
	char *at = put_text(text, "balance:{", 9);

	assert(key.account_id > 0);
	at = put_number(at, (uint64_t)key.account_id);
	at = put_text(at, "}:", 2);
	at += currency_text(key.currency, at);
	return (size_t)(at - text);
}

/* EVALSHA of these images; returns its length. */
static size_t format_call(
	const struct redis *redis, const struct snapshot_image *images, size_t count)
{
	char *at = put_head(redis->buffer, '*', 3 + (1 + ARGUMENTS) * count);
	char key[SNAPSHOT_KEY_MAX];

	at = put_bulk(at, "EVALSHA", 7);
	at = put_bulk(at, redis->sha, SNAPSHOT_SHA_LENGTH);
	at = put_bulk_number(at, (int64_t)count);
	assert(at - redis->buffer <= CALL_BYTES_MAX);
	for (size_t i = 0; i < count; i++)
		at = put_bulk(at, key, snapshot_redis_key(images[i].key, key));
	for (size_t i = 0; i < count; i++) {
		assert(images[i].version > 0 && images[i].version < SNAPSHOT_VERSION_END);
		at = put_bulk_amount(at, images[i].available);
		at = put_bulk_amount(at, images[i].frozen);
		at = put_bulk_number(at, images[i].version);
		at = put_bulk_number(at, images[i].updated_ms);
	}
	assert((size_t)(at - redis->buffer) <= CALL_BYTES_MAX + count * IMAGE_BYTES_MAX);
	return (size_t)(at - redis->buffer);
}

/* Publishing ----------------------------------------------------------------------------------- */

/* Images on their way: calls 0 to sent - 1 were sent, 0 to answered - 1 are answered. */
struct pipeline {
	const struct snapshot_image *images;
	size_t count;
	size_t keys_per_call;
	size_t calls_in_flight;
	size_t calls;
	size_t sent;
	size_t answered;
	size_t stale;
	size_t replaced;
	bool no_script;    /* the script was forgotten: nothing of what was sent is known */
	bool failed;       /* a call was refused: nothing more is sent */
	char message[200]; /* the server's, of the first call that was refused */
};

static void pipeline_init(struct pipeline *p, const struct config_redis *cfg,
	const struct snapshot_image *images, size_t count)
{
	size_t keys_per_call = (size_t)cfg->keys_per_call;

	*p = (struct pipeline){
		.images = images,
		.count = count,
		.keys_per_call = keys_per_call,
		.calls_in_flight = (size_t)cfg->calls_in_flight,
		.calls = (count + keys_per_call - 1) / keys_per_call,
	};
}

/* The images of a call; returns how many. */
static size_t call_images(
	const struct pipeline *p, size_t call, const struct snapshot_image **ret_images)
{
	size_t begin = call * p->keys_per_call;
	size_t left = p->count - begin;

	*ret_images = &p->images[begin];
	return left < p->keys_per_call ? left : p->keys_per_call;
}

static bool may_send(const struct pipeline *p)
{
	return p->sent < p->calls && p->sent - p->answered < p->calls_in_flight && !p->failed &&
	       !p->no_script;
}

static int send_call(struct redis *redis, struct pipeline *p)
{
	const struct snapshot_image *images;
	size_t count = call_images(p, p->sent, &images);
	size_t length = format_call(redis, images, count);
	int done = 0;

	if (redisAppendFormattedCommand(redis->link.context, redis->buffer, length) != REDIS_OK)
		return -1;
	while (!done) /* at once: redisGetReply sends only when it has no answer to return */
		if (redisBufferWrite(redis->link.context, &done) != REDIS_OK)
			return -1;
	p->sent++;
	return 0;
}

static void note_refused(struct pipeline *p, const char *message)
{
	if (strncmp(message, "NOSCRIPT", 8) == 0) {
		p->no_script = true;
	} else if (!p->failed) {
		p->failed = true;
		snprintf(p->message, sizeof p->message, "%s", message);
	}
}

/* What the script returns: how many were stale, and how many replaced. */
static bool is_counts(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	       reply->element[0]->type == REDIS_REPLY_INTEGER &&
	       reply->element[1]->type == REDIS_REPLY_INTEGER;
}

static int take_answer(struct redis *redis, struct pipeline *p)
{
	redisReply *reply;

	if (redisGetReply(redis->link.context, (void **)&reply) != REDIS_OK)
		return -1;
	if (is_counts(reply)) {
		p->stale += (size_t)reply->element[0]->integer;
		p->replaced += (size_t)reply->element[1]->integer;
	} else {
		note_refused(p, reply->type == REDIS_REPLY_ERROR ? reply->str : "no counts");
	}
	freeReplyObject(reply);
	p->answered++;
	return 0;
}

/* Until every call is answered, or every one that was sent before a call was refused. */
static int run_pipeline(struct redis *redis, struct pipeline *p)
{
	for (;;) {
		while (may_send(p))
			if (send_call(redis, p) < 0)
				return -1;
		if (p->answered == p->sent)
			return 0;
		if (take_answer(redis, p) < 0)
			return -1;
	}
}

static int snapshot_publish(struct snapshot *s, const struct snapshot_image *images, size_t count,
	size_t *ret_stale, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	struct pipeline p;
	int r;

	if (!redis->link.context)
		return redis_not_connected(&redis->link, err);
	for (int attempt = 0; attempt < PUBLISH_ATTEMPTS; attempt++) {
		pipeline_init(&p, redis->link.cfg, images, count);
		if (run_pipeline(redis, &p) < 0)
			return redis_broke(&redis->link, "writing balances", err);
		s->replaced += p.replaced;
		if (p.failed)
			return redis_server_error(&redis->link, "writing balances", p.message, err);
		if (!p.no_script) {
			*ret_stale = p.stale;
			return 0;
		}
		r = load_script(redis, err);
		if (r < 0)
			return r;
	}
	return redis_server_error(&redis->link, "writing balances", "NOSCRIPT", err);
}

/* Reading -------------------------------------------------------------------------------------- */

static bool parse_number(const redisReply *reply, int64_t *ret_number)
{
	char *end;

	if (reply->type != REDIS_REPLY_STRING || *reply->str < '0' || *reply->str > '9')
		return false;
	errno = 0;
	*ret_number = strtoll(reply->str, &end, 10);
	return errno == 0 && end == reply->str + reply->len;
}

/* An amount as we write it: anything else, `1.50` included, is somebody else's. */
static bool parse_amount(const redisReply *reply, i128 *ret_amount)
{
	char text[DECIMAL_TEXT_MAX];

	return reply->type == REDIS_REPLY_STRING &&
	       decimal_parse_stored(reply->str, reply->len, ret_amount) == DECIMAL_OK &&
	       *ret_amount >= 0 && decimal_format(*ret_amount, text) == reply->len &&
	       memcmp(text, reply->str, reply->len) == 0;
}

static bool is_missing(const redisReply *reply)
{
	for (size_t i = 0; i < reply->elements; i++)
		if (reply->element[i]->type != REDIS_REPLY_NIL)
			return false;
	return true;
}

/* The four fields as we write them. */
static bool parse_fields(const redisReply *reply, struct snapshot_image *image)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements == ARGUMENTS &&
	       parse_amount(reply->element[0], &image->available) &&
	       parse_amount(reply->element[1], &image->frozen) &&
	       parse_number(reply->element[2], &image->version) &&
	       parse_number(reply->element[3], &image->updated_ms) && image->version > 0 &&
	       image->version < SNAPSHOT_VERSION_END;
}

void snapshot_redis_parse(const redisReply *reply, struct snapshot_image *image)
{
	if (parse_fields(reply, image))
		return;
	image->version = SNAPSHOT_UNREADABLE;
	if (reply->type == REDIS_REPLY_ARRAY && is_missing(reply))
		image->version = 0;
}

static int append_read(struct redis *redis, struct balance_key key)
{
	char text[SNAPSHOT_KEY_MAX];

	snapshot_redis_key(key, text);
	return redisAppendCommand(
		redis->link.context, "HMGET %s available frozen version updated_at", text);
}

/* A key of another type reads as unreadable; any other refusal is an error. */
static int take_image(struct redis *redis, struct snapshot_image *image, struct error *err)
{
	const char *doing = "reading balances";
	redisReply *reply;
	int r = 0;

	if (redisGetReply(redis->link.context, (void **)&reply) != REDIS_OK)
		return redis_broke(&redis->link, doing, err);
	if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "WRONGTYPE", 9) != 0)
		r = redis_server_error(&redis->link, doing, reply->str, err);
	else
		snapshot_redis_parse(reply, image);
	freeReplyObject(reply);
	return r;
}

static int read_some(struct redis *redis, const struct balance_key *keys, size_t count,
	struct snapshot_image *ret_images, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < count; i++)
		if (append_read(redis, keys[i]) != REDIS_OK)
			return redis_broke(&redis->link, "reading balances", err);
	for (size_t i = 0; i < count && r == 0; i++) {
		ret_images[i] = (struct snapshot_image){.key = keys[i]};
		r = take_image(redis, &ret_images[i], err);
	}
	return r;
}

static int snapshot_read(struct snapshot *s, const struct balance_key *keys, size_t count,
	struct snapshot_image *ret_images, struct error *err)
{
	struct redis *redis = (struct redis *)s;

	if (!redis->link.context)
		return redis_not_connected(&redis->link, err);
	for (size_t begin = 0; begin < count; begin += READ_IN_FLIGHT) {
		size_t some = count - begin < READ_IN_FLIGHT ? count - begin : READ_IN_FLIGHT;
		int r = read_some(redis, &keys[begin], some, &ret_images[begin], err);

		if (r < 0) {
			snapshot_disconnect(s); /* answers may be left in the connection */
			return r;
		}
	}
	return 0;
}

/* Checking ------------------------------------------------------------------------------------- */

static int check_info(const struct redis *redis, const char *info, struct error *err)
{
	char version[32];
	char cluster[8];
	char role[16];
	char policy[32];
	char maxmemory[24];

	redis_info_value(info, "redis_version", version, sizeof version);
	redis_info_value(info, "cluster_enabled", cluster, sizeof cluster);
	redis_info_value(info, "role", role, sizeof role);
	redis_info_value(info, "maxmemory", maxmemory, sizeof maxmemory);
	redis_info_value(info, "maxmemory_policy", policy, sizeof policy);
	if (strtol(version, NULL, 10) < VERSION_MIN)
		return error_set(err, -EINVAL,
			REDIS_SERVER " is version %s: %d.0 or later is needed",
			REDIS_NAME(&redis->link), version, VERSION_MIN);
	if (strcmp(cluster, "1") == 0)
		return error_set(err, -EINVAL,
			REDIS_SERVER
			" is in cluster mode, which is not supported: name a server that is "
			"not",
			REDIS_NAME(&redis->link));
	if (strcmp(role, "master") != 0)
		return error_set(err, -EINVAL,
			REDIS_SERVER " is a replica: redis.host must name the master",
			REDIS_NAME(&redis->link));
	if (strcmp(maxmemory, "0") != 0 && strncmp(policy, "allkeys", 7) == 0)
		return error_set(err, -EINVAL,
			REDIS_SERVER
			" drops balances when its memory is full: set its maxmemory-policy to "
			"noeviction (now %s)",
			REDIS_NAME(&redis->link), policy);
	return 0;
}

int snapshot_redis_check(struct snapshot *s, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	int r;
	redisReply *reply = REDIS_COMMAND(
		&redis->link, "asking what it is", REDIS_REPLY_STRING, &r, err, "INFO");

	if (!reply)
		return r;
	r = check_info(redis, reply->str, err);
	freeReplyObject(reply);
	return r;
}

/* ---------------------------------------------------------------------------------------------- */

static void snapshot_destroy(struct snapshot *s)
{
	struct redis *redis = (struct redis *)s;

	snapshot_disconnect(s);
	free(redis->buffer);
	free(redis);
}

static const struct snapshot_ops redis_ops = {
	.connect = snapshot_connect,
	.disconnect = snapshot_disconnect,
	.identity = snapshot_identity,
	.read_marker = snapshot_read_marker,
	.write_marker = snapshot_write_marker,
	.publish = snapshot_publish,
	.read = snapshot_read,
	.look = snapshot_redis_look,
	.force = snapshot_redis_force,
	.destroy = snapshot_destroy,
};

static size_t call_bytes_max(const struct config_redis *cfg)
{
	return CALL_BYTES_MAX + (size_t)cfg->keys_per_call * IMAGE_BYTES_MAX;
}

size_t snapshot_redis_bytes_max(const struct config *cfg)
{
	/* The call, and the copy that hiredis sends from, which it doubles as it grows. */
	return sizeof(struct redis) + 3 * call_bytes_max(&cfg->redis);
}

struct snapshot *snapshot_redis_create(const struct config *cfg)
{
	struct redis *redis = xcalloc(1, sizeof *redis);

	assert(cfg->redis.keys_per_call > 0 && cfg->redis.calls_in_flight > 0);
	redis->base.ops = &redis_ops;
	redis->link.cfg = &cfg->redis;
	redis->ledger_name = cfg->ledger.name;
	redis->buffer = xmalloc(call_bytes_max(&cfg->redis));
	return &redis->base;
}
