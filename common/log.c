/*
 * See log.h.
 *
 * A line is built in a buffer on the stack: a head (time, level), a body (message, fields) and a
 * tail (repeated=N).  The body alone is kept when an entry is held back.  LINE_RESERVE bytes are
 * kept free while a body is written, so that quotes can always be closed and the tail always fits.
 */
#include "log.h"

#include "mem.h"
#include "utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX     64
#define TAIL_MAX     64
#define LINE_RESERVE 24 /* the closing quote, and `,"truncated":true` */
#define BODY_MAX     (LOG_LINE_MAX - HEAD_MAX - TAIL_MAX)

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static int64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t wall_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

static int64_t monotonic_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

static struct log first_log = {
	.fd = STDERR_FILENO,
	.level = LOG_LEVEL_INFO,
	.format = LOG_FORMAT_LOGFMT,
	.wall_ms = wall_ms,
	.monotonic_ms = monotonic_ms,
	.lock = PTHREAD_MUTEX_INITIALIZER,
};
static struct log *used_log = &first_log;

/* Building a line. */

struct line {
	char *bytes;
	size_t length;
	size_t max; /* nothing is written beyond it */
	bool cut;   /* something did not fit */
};

static void put_bytes(struct line *line, const char *bytes, size_t length)
{
	if (line->cut || line->length + length > line->max) {
		line->cut = true;
		return;
	}
	memcpy(line->bytes + line->length, bytes, length);
	line->length += length;
}

static void put(struct line *line, const char *text)
{
	put_bytes(line, text, strlen(text));
}

static void putf(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void putf(struct line *line, const char *format, ...)
{
	char text[64];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put(line, text);
}

/* One character as it stands between quotes; returns how many bytes of the text it was. */
static size_t put_character(struct line *line, const unsigned char *s, size_t left)
{
	static const char shorts[] = "\"\"\\\\\nn\rr\tt"; /* pairs: character, its escape */
	size_t length = utf8_length((const char *)s, left);

	for (const char *pair = shorts; *pair; pair += 2)
		if (*s == (unsigned char)*pair) {
			char escape[2] = {'\\', pair[1]};

			put_bytes(line, escape, 2);
			return 1;
		}
	if (length == 0)
		put(line, "\xef\xbf\xbd"); /* U+FFFD: this was no UTF-8 */
	else if (*s < 0x20 || *s == 0x7f || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0))
		putf(line, "\\u%04x", length == 1 ? *s : s[1]); /* C0, DEL and C1 controls */
	else
		put_bytes(line, (const char *)s, length);
	return length ? length : 1;
}

static void put_quoted(struct line *line, const char *text, size_t length)
{
	put(line, "\"");
	for (size_t i = 0; i < length && !line->cut;)
		i += put_character(line, (const unsigned char *)text + i, length - i);
	line->bytes[line->length++] = '"'; /* always, within LINE_RESERVE */
}

/* logfmt leaves the quotes away where nothing in the text could be mistaken. */
static bool is_bare(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
			return false;
	}
	return length > 0 && !(length == 4 && memcmp(text, "null", 4) == 0);
}

static void put_text(struct line *line, enum log_format format, const char *text, size_t length)
{
	if (!text)
		put(line, "null");
	else if (format == LOG_FORMAT_LOGFMT && is_bare(text, length) &&
		 line->length + length <= line->max)
		put_bytes(line, text, length);
	else
		put_quoted(line, text, length);
}

static void put_key(struct line *line, enum log_format format, const char *key)
{
	put(line, format == LOG_FORMAT_JSON ? ",\"" : " ");
	put(line, key);
	put(line, format == LOG_FORMAT_JSON ? "\":" : "=");
}

static void put_value(struct line *line, enum log_format format, const struct log_field *field)
{
	switch (field->kind) {
	case LOG_KIND_TEXT:
		put_text(line, format, field->value.text, field->length);
		break;
	case LOG_KIND_INTEGER:
		putf(line, "%" PRId64, field->value.integer);
		break;
	case LOG_KIND_UNSIGNED:
		putf(line, "%" PRIu64, field->value.natural);
		break;
	case LOG_KIND_REAL:
		if (isfinite(field->value.real))
			putf(line, "%.9g", field->value.real);
		else
			put(line, "null");
		break;
	case LOG_KIND_BOOL:
		put(line, field->value.truth ? "true" : "false");
		break;
	}
}

/* A field that does not fit leaves no trace but `cut`; a text that does not fit is shortened. */
static void put_field(struct line *line, enum log_format format, const struct log_field *field)
{
	struct line before = *line;
	bool begun;

	put_key(line, format, field->key);
	begun = !line->cut && line->length + 2 <= line->max;
	put_value(line, format, field);
	if (line->cut && !(begun && field->kind == LOG_KIND_TEXT && field->value.text)) {
		*line = before;
		line->cut = true;
	}
}

/* Message and fields into bytes[0..BODY_MAX); returns the length. */
static size_t format_body(enum log_format format, const char *message,
	const struct log_field *fields, size_t count, char *bytes)
{
	struct line line = {.bytes = bytes, .max = BODY_MAX - LINE_RESERVE};
	struct log_field first = log_field_text("msg", message);

	put_field(&line, format, &first);
	for (size_t i = 0; i < count && !line.cut; i++)
		put_field(&line, format, &fields[i]);
	if (line.cut) {
		line.cut = false;
		line.max = BODY_MAX;
		put_key(&line, format, "truncated");
		put(&line, "true");
	}
	return line.length;
}

static void put_time(struct line *line, int64_t time_ms)
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm parts;
	char text[32];

	gmtime_r(&seconds, &parts);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
	putf(line, "%s.%03dZ", text, (int)(time_ms % 1000));
}

static void write_whole(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t written = write(fd, bytes, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return; /* a log that cannot be written stops nobody */
		bytes += written;
		length -= (size_t)written;
	}
}

static void write_line(
	struct log *log, enum log_level level, const char *body, size_t length, uint64_t repeated)
{
	char bytes[LOG_LINE_MAX];
	struct line line = {.bytes = bytes, .max = sizeof(bytes)};
	bool json = log->format == LOG_FORMAT_JSON;

	put(&line, json ? "{\"ts\":\"" : "ts=");
	put_time(&line, log->wall_ms());
	put(&line, json ? "\",\"level\":\"" : " level=");
	put(&line, level_names[level]);
	put(&line, json ? "\"" : "");
	put_bytes(&line, body, length);
	if (repeated > 1) {
		put_key(&line, log->format, "repeated");
		putf(&line, "%" PRIu64, repeated);
	}
	put(&line, json ? "}\n" : "\n");
	write_whole(log->fd, line.bytes, line.length);
}

/* Repetition. */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
	const unsigned char *s = bytes;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ s[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return (hash ^ 0xff) * UINT64_C(0x100000001b3);
}

/* Of what makes entries the same; never 0. */
static uint64_t identity_of(
	enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
	uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), &level, sizeof(level));

	hash = hash_bytes(hash, message, strlen(message));
	for (size_t i = 0; i < count; i++) {
		const struct log_field *field = &fields[i];

		if (field->kind == LOG_KIND_TEXT && field->value.text) {
			hash = hash_bytes(hash, field->key, strlen(field->key));
			hash = hash_bytes(hash, field->value.text, field->length);
		} else if (field->kind == LOG_KIND_INTEGER && !strcmp(field->key, "partition")) {
			hash = hash_bytes(hash, &field->value.integer, sizeof(int64_t));
		}
	}
	return hash ? hash : 1;
}

static void forget(struct log_repeat *repeat)
{
	free(repeat->body);
	*repeat = (struct log_repeat){0};
}

/* Writes what it held back, if anything, and frees the place. */
static void report(struct log *log, struct log_repeat *repeat)
{
	if (repeat->count > 0)
		write_line(log, repeat->level, repeat->body, repeat->length, repeat->count);
	forget(repeat);
}

static void report_due(struct log *log, int64_t now_ms)
{
	for (size_t i = 0; i < LOG_REPEATS; i++) {
		struct log_repeat *repeat = &log->repeats[i];

		if (repeat->identity && repeat->until_ms <= now_ms)
			report(log, repeat);
	}
}

/* The place of this identity, else a free one, else the one that would be free soonest. */
static struct log_repeat *place_for(struct log *log, uint64_t identity)
{
	struct log_repeat *best = &log->repeats[0];

	for (size_t i = 0; i < LOG_REPEATS; i++) {
		struct log_repeat *repeat = &log->repeats[i];

		if (repeat->identity == identity)
			return repeat;
		if (best->identity && (!repeat->identity || repeat->until_ms < best->until_ms))
			best = repeat;
	}
	return best;
}

/* Counts an entry.  Returns 0 if it is held back, else how many entries its line stands for. */
static uint64_t count_entry(
	struct log *log, enum log_level level, uint64_t identity, const char *body, size_t length)
{
	int64_t now_ms = log->monotonic_ms();
	struct log_repeat *repeat = place_for(log, identity);
	uint64_t entries = 1;

	if (repeat->identity == identity && now_ms < repeat->until_ms) {
		repeat->body = xrealloc(repeat->body, length);
		memcpy(repeat->body, body, length);
		repeat->length = length;
		repeat->level = level;
		repeat->count++;
		return 0;
	}
	if (repeat->identity == identity) {
		entries += repeat->count;
		repeat->count = 0; /* its line stands for them */
	}
	report(log, repeat);
	repeat->identity = identity;
	repeat->until_ms = now_ms + log->repeat_ms;
	report_due(log, now_ms);
	return entries;
}

static void write_limited(
	struct log *log, enum log_level level, uint64_t identity, const char *body, size_t length)
{
	uint64_t entries;

	pthread_mutex_lock(&log->lock);
	entries = count_entry(log, level, identity, body, length);
	if (entries > 0)
		write_line(log, level, body, length, entries);
	pthread_mutex_unlock(&log->lock);
}

/* The public functions. */

void log_init(
	struct log *log, int fd, enum log_level level, enum log_format format, int64_t repeat_ms)
{
	*log = (struct log){
		.fd = fd,
		.level = level,
		.format = format,
		.repeat_ms = repeat_ms,
		.wall_ms = wall_ms,
		.monotonic_ms = monotonic_ms,
	};
	pthread_mutex_init(&log->lock, NULL);
}

void log_finish(struct log *log)
{
	if (used_log == log)
		log_use(NULL);
	for (size_t i = 0; i < LOG_REPEATS; i++)
		report(log, &log->repeats[i]);
	pthread_mutex_destroy(&log->lock);
}

void log_use(struct log *log)
{
	used_log = log ? log : &first_log;
}

void log_tick(void)
{
	struct log *log = used_log;

	if (log->repeat_ms == 0)
		return;
	pthread_mutex_lock(&log->lock);
	report_due(log, log->monotonic_ms());
	pthread_mutex_unlock(&log->lock);
}

bool log_wanted(enum log_level level)
{
	return level >= used_log->level;
}

void log_write(
	enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
	struct log *log = used_log;
	char body[BODY_MAX];
	size_t length = format_body(log->format, message, fields, count, body);

	if (log->repeat_ms > 0 && level >= LOG_LEVEL_WARN)
		write_limited(log, level, identity_of(level, message, fields, count), body, length);
	else
		write_line(log, level, body, length, 1);
}

struct log_field log_field_text(const char *key, const char *text)
{
	return log_field_bytes(key, text, text ? strlen(text) : 0);
}

struct log_field log_field_bytes(const char *key, const char *text, size_t length)
{
	return (struct log_field){key, LOG_KIND_TEXT, {.text = text}, length};
}
