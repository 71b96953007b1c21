/*
 * The log: one line an entry on standard error, as logfmt or JSON, for people and their collectors.
 *
 *     log_warn("flush failed", LI("partition", p), LS("error", err.text));
 *     ts=2026-01-01T00:00:00.123Z level=warn msg="flush failed" partition=3 error="..."
 *
 * An entry has a message, which is a constant text, and typed fields.  Values are escaped, so that
 * nothing that comes from outside can begin a line of its own; a line has at most LOG_LINE_MAX
 * bytes and is written by one write(2), so that lines of several processes do not mix.
 *
 * A warning or error that repeats is counted instead of written for `repeat_ms`, and then written
 * once with repeated=N: the number of entries that this line stands for.  Entries are the same when
 * level, message, text fields and the field "partition" are the same; other numbers are taken for
 * measurements.  Debug and info entries are never held back.
 *
 * This is the one thing in the program that is global: a log must be reachable from everywhere, and
 * handing it through every function would hide what they do.  main owns the `struct log` and names
 * it with log_use; until then entries go to standard error as logfmt, from level info.
 *
 * All functions are thread-safe except log_init, log_use and log_finish.  Callers keep amounts and
 * ids out of everything above level debug, and passwords out of everything.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 4096 /* PIPE_BUF: a pipe takes it whole */
#define LOG_REPEATS  256  /* different messages that are watched for repetition at once */

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

enum log_kind { LOG_KIND_TEXT, LOG_KIND_INTEGER, LOG_KIND_UNSIGNED, LOG_KIND_REAL, LOG_KIND_BOOL };

struct log_field {
	const char *key; /* a constant: a-z, 0-9 and _ */
	enum log_kind kind;
	union {
		const char *text;
		int64_t integer;
		uint64_t natural;
		double real;
		bool truth;
	} value;
	size_t length; /* of text */
};

/* Text (NUL-terminated; NULL is written as null), and text of a given length. */
#define LS(k, v)         log_field_text((k), (v))
#define LT(k, v, length) log_field_bytes((k), (v), (length))
#define LI(k, v)         ((struct log_field){(k), LOG_KIND_INTEGER, {.integer = (v)}, 0})
#define LU(k, v)         ((struct log_field){(k), LOG_KIND_UNSIGNED, {.natural = (v)}, 0})
#define LF(k, v)         ((struct log_field){(k), LOG_KIND_REAL, {.real = (v)}, 0})
#define LB(k, v)         ((struct log_field){(k), LOG_KIND_BOOL, {.truth = (v)}, 0})

/* The fields are not evaluated when the level is not written. */
#define log_debug(...) LOG_ENTRY(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  LOG_ENTRY(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  LOG_ENTRY(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) LOG_ENTRY(LOG_LEVEL_ERROR, __VA_ARGS__)

/* An entry that is held back, waiting for its window to end. */
struct log_repeat {
	uint64_t identity; /* hash of what makes entries the same; 0: free */
	int64_t until_ms;  /* end of the window, monotonic */
	uint64_t count;    /* entries since the last line */
	enum log_level level;
	char *body; /* the last of them, without time and level; NULL if count is 0 */
	size_t length;
};

/* The fields are log.c's own; a test may set the clocks after log_init. */
struct log {
	int fd;
	enum log_level level;
	enum log_format format;
	int64_t repeat_ms;
	int64_t (*wall_ms)(void); /* since the epoch */
	int64_t (*monotonic_ms)(void);
	pthread_mutex_t lock; /* guards repeats */
	struct log_repeat repeats[LOG_REPEATS];
};

/* Entries below `level` are dropped.  repeat_ms 0: nothing is held back.  fd stays the caller's. */
void log_init(
	struct log *log, int fd, enum log_level level, enum log_format format, int64_t repeat_ms);

/* Writes what is held back, and frees; a log in use is no longer used. */
void log_finish(struct log *log);

/* Names the process's log; NULL: the one that there is at start. */
void log_use(struct log *log);

/* Writes what was held back and whose time has come; the first of any other warning does so, too.
 * Call it now and then: a storm of warnings may be followed by silence. */
void log_tick(void);

/* What the macros above are made of. */
bool log_wanted(enum log_level level);
void log_write(
	enum log_level level, const char *message, const struct log_field *fields, size_t count);
struct log_field log_field_text(const char *key, const char *text);
struct log_field log_field_bytes(const char *key, const char *text, size_t length);

/* The fields stand behind an empty one, so that there may be none. */
#define LOG_ENTRY(level, message, ...)                                                             \
	do {                                                                                       \
		if (log_wanted(level)) {                                                           \
			const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};               \
			log_write((level), (message), log_fields_ + 1,                             \
				sizeof(log_fields_) / sizeof(log_fields_[0]) - 1);                 \
		}                                                                                  \
	} while (0)

#endif
