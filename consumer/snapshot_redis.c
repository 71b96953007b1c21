/*
 * See snapshot_redis.h.
 *
 * Calls are written as RESP by hand into one buffer that is big enough for any call: formatting
 * through hiredis costs several times as much as the rest of the client.
 */
#include "snapshot_redis.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <hiredis/hiredis.h>

#include "decimal.h"
#include "embed.h"
#include "mem.h"

#define SHA_LENGTH       40
#define ARGUMENTS        4   /* of a key: available, frozen, version, updated_at */
#define IMAGE_BYTES_MAX  256 /* of a key and its arguments as RESP */
#define CALL_BYTES_MAX   128 /* of what stands before the first key */
#define PUBLISH_ATTEMPTS 3   /* when the script is forgotten again and again */
#define READ_IN_FLIGHT   500
#define KEY_MAX          48
#define MARKER_KEY_MAX   160
#define VERSION_MIN      7 /* of Redis */

extern const struct embed lua_scripts;

struct redis {
	struct snapshot base;
	const struct config_redis *cfg;
	const char *ledger_name;
	redisContext *context; /* NULL: not connected */
	char sha[SHA_LENGTH + 1];
	char *buffer; /* for one call */
};

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

#define SERVER      "redis %s:%d"
#define NAME(redis) (redis)->cfg->host, (int)(redis)->cfg->port

static int server_error(
	const struct redis *redis, const char *doing, const char *message, struct error *err)
{
	const struct remedy *remedy = find_remedy(message);

	return error_set(err, remedy->code, SERVER ": %s: %.200s (%s)", NAME(redis), doing, message,
		remedy->text);
}

static int strange_answer(const struct redis *redis, const char *doing, struct error *err)
{
	return error_set(err, -EPROTO,
		SERVER ": %s: an answer of another kind than expected; is it Redis?", NAME(redis),
		doing);
}

static int not_connected(const struct redis *redis, struct error *err)
{
	return error_set(err, -ENOTCONN, SERVER ": not connected", NAME(redis));
}

/* The connection broke in the last call of hiredis. */
static int connection_error(const struct redis *redis, const char *doing, struct error *err)
{
	const redisContext *context = redis->context;

	if (context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
		return error_set(err, -ETIMEDOUT, SERVER ": %s: no answer within %d ms",
			NAME(redis), doing, SNAPSHOT_REDIS_TIMEOUT_MS);
	return error_set(err, context->err == REDIS_ERR_PROTOCOL ? -EPROTO : -ECONNRESET,
		SERVER ": %s: %s", NAME(redis), doing, context->errstr);
}

/* Small commands ------------------------------------------------------------------------------- */

/* One command.  Returns the reply, which is of this type and the caller's, or NULL and the code. */
static redisReply *command(struct redis *redis, const char *doing, int type, int argc,
	const char **argv, int *ret_code, struct error *err)
{
	redisReply *reply;

	*ret_code = 0;
	if (!redis->context) {
		*ret_code = not_connected(redis, err);
		return NULL;
	}
	reply = redisCommandArgv(redis->context, argc, argv, NULL);
	if (!reply) {
		*ret_code = connection_error(redis, doing, err);
		return NULL;
	}
	if (reply->type == type)
		return reply;
	if (reply->type == REDIS_REPLY_ERROR)
		*ret_code = server_error(redis, doing, reply->str, err);
	else
		*ret_code = strange_answer(redis, doing, err);
	freeReplyObject(reply);
	return NULL;
}

#define COMMAND(redis, doing, type, ret_code, err, ...)                                            \
	command((redis), (doing), (type), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),  \
		(const char *[]){__VA_ARGS__}, (ret_code), (err))

static const struct embed_file *script(const char *name)
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
	redisReply *reply = COMMAND(redis, doing, REDIS_REPLY_STRING, &r, err, "SCRIPT", "LOAD",
		script("publish")->text);

	if (!reply)
		return r;
	if (reply->len == SHA_LENGTH)
		memcpy(redis->sha, reply->str, SHA_LENGTH + 1);
	else
		r = strange_answer(redis, doing, err);
	freeReplyObject(reply);
	return r;
}

static int authenticate(struct redis *redis, struct error *err)
{
	const char *user = redis->cfg->user;
	const char *password = redis->cfg->password;
	redisReply *reply;
	int r;

	if (!*user && !*password)
		return 0;
	if (*user)
		reply = COMMAND(
			redis, "logging in", REDIS_REPLY_STATUS, &r, err, "AUTH", user, password);
	else
		reply = COMMAND(redis, "logging in", REDIS_REPLY_STATUS, &r, err, "AUTH", password);
	if (reply)
		freeReplyObject(reply);
	return r;
}

/* The value of a line "name:value" of INFO, or "" if there is none; cut where it does not fit. */
static void info_value(const char *info, const char *name, char *value, size_t bytes)
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

/* One section's value. */
static int ask_info(struct redis *redis, const char *section, const char *name, char *value,
	size_t bytes, struct error *err)
{
	const char *doing = "asking who it is";
	int r;
	redisReply *reply = COMMAND(redis, doing, REDIS_REPLY_STRING, &r, err, "INFO", section);

	if (!reply)
		return r;
	info_value(reply->str, name, value, bytes);
	freeReplyObject(reply);
	return *value && !strchr(value, ' ') ? 0 : strange_answer(redis, doing, err);
}

/* The connection ------------------------------------------------------------------------------- */

static void redis_disconnect(struct snapshot *s)
{
	struct redis *redis = (struct redis *)s;

	if (redis->context)
		redisFree(redis->context);
	redis->context = NULL;
}

static int redis_open(struct redis *redis, struct error *err)
{
	const struct timeval timeout = {
		SNAPSHOT_REDIS_TIMEOUT_MS / 1000, SNAPSHOT_REDIS_TIMEOUT_MS % 1000 * 1000L};

	redis->context = redisConnectWithTimeout(redis->cfg->host, (int)redis->cfg->port, timeout);
	if (!redis->context)
		return error_set(err, -ENOMEM, SERVER ": no memory for a connection", NAME(redis));
	if (redis->context->err)
		return error_set(err, -ECONNREFUSED,
			SERVER ": cannot connect: %s; is it running, and do redis.host and "
			       "redis.port name it?",
			NAME(redis), redis->context->errstr);
	if (redisSetTimeout(redis->context, timeout) != REDIS_OK ||
		redisEnableKeepAlive(redis->context) != REDIS_OK)
		return connection_error(redis, "connecting", err);
	return 0;
}

static int redis_connect(struct snapshot *s, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	int r;

	redis_disconnect(s);
	r = redis_open(redis, err);
	if (r == 0)
		r = authenticate(redis, err);
	if (r == 0)
		r = load_script(redis, err);
	if (r < 0)
		redis_disconnect(s);
	return r;
}

static int redis_identity(
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
			SERVER ": another program has written %s: delete the key", NAME(redis),
			key);
	memcpy(ret_marker, reply->str, reply->len + 1);
	return 0;
}

static int redis_read_marker(struct snapshot *s, int32_t partition,
	char ret_marker[SNAPSHOT_MARKER_MAX], struct error *err)
{
	struct redis *redis = (struct redis *)s;
	const char *doing = "reading a marker";
	char key[MARKER_KEY_MAX];
	redisReply *reply;
	int r;

	marker_key(redis, partition, key);
	/* MGET, not GET: the answer has the same type whether there is one or not. */
	reply = COMMAND(redis, doing, REDIS_REPLY_ARRAY, &r, err, "MGET", key);
	if (!reply)
		return r;
	if (reply->elements == 1)
		r = copy_marker(redis, key, reply->element[0], ret_marker, err);
	else
		r = strange_answer(redis, doing, err);
	freeReplyObject(reply);
	return r;
}

static int redis_write_marker(struct snapshot *s, int32_t partition, const char *expected,
	const char *marker, bool *ret_written, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	char doing[MARKER_KEY_MAX + 16];
	char key[MARKER_KEY_MAX];
	redisReply *reply;
	int r;

	marker_key(redis, partition, key);
	snprintf(doing, sizeof doing, "writing %s", key);
	reply = COMMAND(redis, doing, REDIS_REPLY_INTEGER, &r, err, "EVAL", script("marker")->text,
		"1", key, expected, marker);
	if (!reply)
		return r;
	*ret_written = reply->integer == 1;
	freeReplyObject(reply);
	return 0;
}

/* RESP ----------------------------------------------------------------------------------------- */

static char *put_number(char *at, uint64_t number)
{
	char digits[20];
	size_t length = 0;

	do {
		digits[length++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (length)
		*at++ = digits[--length];
	return at;
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
static size_t balance_key(struct balance_key key, char text[KEY_MAX])
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
	char key[KEY_MAX];

	at = put_bulk(at, "EVALSHA", 7);
	at = put_bulk(at, redis->sha, SHA_LENGTH);
	at = put_bulk_number(at, (int64_t)count);
	assert(at - redis->buffer <= CALL_BYTES_MAX);
	for (size_t i = 0; i < count; i++)
		at = put_bulk(at, key, balance_key(images[i].key, key));
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

	if (redisAppendFormattedCommand(redis->context, redis->buffer, length) != REDIS_OK)
		return -1;
	while (!done) /* at once: redisGetReply sends only when it has no answer to return */
		if (redisBufferWrite(redis->context, &done) != REDIS_OK)
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

	if (redisGetReply(redis->context, (void **)&reply) != REDIS_OK)
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

static int redis_publish(struct snapshot *s, const struct snapshot_image *images, size_t count,
	size_t *ret_stale, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	struct pipeline p;
	int r;

	if (!redis->context)
		return not_connected(redis, err);
	for (int attempt = 0; attempt < PUBLISH_ATTEMPTS; attempt++) {
		pipeline_init(&p, redis->cfg, images, count);
		if (run_pipeline(redis, &p) < 0)
			return connection_error(redis, "writing balances", err);
		s->replaced += p.replaced;
		if (p.failed)
			return server_error(redis, "writing balances", p.message, err);
		if (!p.no_script) {
			*ret_stale = p.stale;
			return 0;
		}
		r = load_script(redis, err);
		if (r < 0)
			return r;
	}
	return server_error(redis, "writing balances", "NOSCRIPT", err);
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

static void parse_image(const redisReply *reply, struct snapshot_image *image)
{
	if (parse_fields(reply, image))
		return;
	image->version = SNAPSHOT_UNREADABLE;
	if (reply->type == REDIS_REPLY_ARRAY && is_missing(reply))
		image->version = 0;
}

static int append_read(struct redis *redis, struct balance_key key)
{
	char text[KEY_MAX];

	balance_key(key, text);
	return redisAppendCommand(
		redis->context, "HMGET %s available frozen version updated_at", text);
}

/* A key of another type reads as unreadable; any other refusal is an error. */
static int take_image(struct redis *redis, struct snapshot_image *image, struct error *err)
{
	const char *doing = "reading balances";
	redisReply *reply;
	int r = 0;

	if (redisGetReply(redis->context, (void **)&reply) != REDIS_OK)
		return connection_error(redis, doing, err);
	if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "WRONGTYPE", 9) != 0)
		r = server_error(redis, doing, reply->str, err);
	else
		parse_image(reply, image);
	freeReplyObject(reply);
	return r;
}

static int read_some(struct redis *redis, const struct balance_key *keys, size_t count,
	struct snapshot_image *ret_images, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < count; i++)
		if (append_read(redis, keys[i]) != REDIS_OK)
			return connection_error(redis, "reading balances", err);
	for (size_t i = 0; i < count && r == 0; i++) {
		ret_images[i] = (struct snapshot_image){.key = keys[i]};
		r = take_image(redis, &ret_images[i], err);
	}
	return r;
}

static int redis_read(struct snapshot *s, const struct balance_key *keys, size_t count,
	struct snapshot_image *ret_images, struct error *err)
{
	struct redis *redis = (struct redis *)s;

	if (!redis->context)
		return not_connected(redis, err);
	for (size_t begin = 0; begin < count; begin += READ_IN_FLIGHT) {
		size_t some = count - begin < READ_IN_FLIGHT ? count - begin : READ_IN_FLIGHT;
		int r = read_some(redis, &keys[begin], some, &ret_images[begin], err);

		if (r < 0) {
			redis_disconnect(s); /* answers may be left in the connection */
			return r;
		}
	}
	return 0;
}

/* Forcing -------------------------------------------------------------------------------------- */

#define FORCE_KEYS  500 /* of a call */
#define FORCE_WORDS 5   /* of a key: seen, and its ARGUMENTS */

/* The words of a call of lua/force.lua: those before the keys, the keys, five texts for each. */
struct force_call {
	const char *words[3 + FORCE_KEYS * (1 + FORCE_WORDS)];
	char count[8];
	char keys[FORCE_KEYS][KEY_MAX];
	char amounts[FORCE_KEYS][2][DECIMAL_TEXT_MAX];
	char numbers[FORCE_KEYS][2][24];
	int used;
};

static void force_begin(struct force_call *call, size_t count)
{
	snprintf(call->count, sizeof call->count, "%zu", count);
	call->words[0] = "EVAL";
	call->words[1] = script("force")->text;
	call->words[2] = call->count;
	call->used = 3;
}

static void force_key(struct force_call *call, size_t i, struct balance_key key)
{
	balance_key(key, call->keys[i]);
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
	redisReply *reply = command(
		redis, doing, REDIS_REPLY_ARRAY, call->used, call->words, ret_code, err);

	if (!reply || reply->elements == length)
		return reply;
	freeReplyObject(reply);
	*ret_code = strange_answer(redis, doing, err);
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
		parse_image(reply->element[i], &ret_seen[i].image);
		snprintf(ret_seen[i].text, sizeof ret_seen[i].text, "%s",
			text->type == REDIS_REPLY_STRING ? text->str : "?");
	}
	freeReplyObject(reply);
	return 0;
}

static int redis_look(struct snapshot *s, const struct balance_key *keys, size_t count,
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

static int redis_force(struct snapshot *s, const struct snapshot_seen *seen,
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

/* Checking ------------------------------------------------------------------------------------- */

static int check_info(const struct redis *redis, const char *info, struct error *err)
{
	char version[32];
	char cluster[8];
	char role[16];
	char policy[32];
	char maxmemory[24];

	info_value(info, "redis_version", version, sizeof version);
	info_value(info, "cluster_enabled", cluster, sizeof cluster);
	info_value(info, "role", role, sizeof role);
	info_value(info, "maxmemory", maxmemory, sizeof maxmemory);
	info_value(info, "maxmemory_policy", policy, sizeof policy);
	if (strtol(version, NULL, 10) < VERSION_MIN)
		return error_set(err, -EINVAL, SERVER " is version %s: %d.0 or later is needed",
			NAME(redis), version, VERSION_MIN);
	if (strcmp(cluster, "1") == 0)
		return error_set(err, -EINVAL,
			SERVER " is in cluster mode, which is not supported: name a server that is "
			       "not",
			NAME(redis));
	if (strcmp(role, "master") != 0)
		return error_set(err, -EINVAL,
			SERVER " is a replica: redis.host must name the master", NAME(redis));
	if (strcmp(maxmemory, "0") != 0 && strncmp(policy, "allkeys", 7) == 0)
		return error_set(err, -EINVAL,
			SERVER
			" drops balances when its memory is full: set its maxmemory-policy to "
			"noeviction (now %s)",
			NAME(redis), policy);
	return 0;
}

int snapshot_redis_check(struct snapshot *s, struct error *err)
{
	struct redis *redis = (struct redis *)s;
	int r;
	redisReply *reply = COMMAND(
		redis, "asking what it is", REDIS_REPLY_STRING, &r, err, "INFO");

	if (!reply)
		return r;
	r = check_info(redis, reply->str, err);
	freeReplyObject(reply);
	return r;
}

/* ---------------------------------------------------------------------------------------------- */

static void redis_destroy(struct snapshot *s)
{
	struct redis *redis = (struct redis *)s;

	redis_disconnect(s);
	free(redis->buffer);
	free(redis);
}

static const struct snapshot_ops redis_ops = {
	.connect = redis_connect,
	.disconnect = redis_disconnect,
	.identity = redis_identity,
	.read_marker = redis_read_marker,
	.write_marker = redis_write_marker,
	.publish = redis_publish,
	.read = redis_read,
	.look = redis_look,
	.force = redis_force,
	.destroy = redis_destroy,
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
	redis->cfg = &cfg->redis;
	redis->ledger_name = cfg->ledger.name;
	redis->buffer = xmalloc(call_bytes_max(&cfg->redis));
	return &redis->base;
}
