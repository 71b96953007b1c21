/*
 * Dead letters as people and programs look at them: read from the database, shown, judged, and
 * marked as published again.  The bytes are raw: nothing of them is trusted.
 */
#ifndef CONSUMER_DEAD_LETTERS_H
#define CONSUMER_DEAD_LETTERS_H

#include <stdbool.h>
#include <stdio.h>

#include "db.h"
#include "event.h"

#define DEAD_LETTERS_LIMIT_MAX 1000000

/* Bytes of a column; NULL and 0 if it is NULL. */
struct dead_bytes {
	const char *bytes;
	size_t length;
};

struct dead_letter {
	int32_t partition;
	int64_t offset;
	enum dead_reason reason;
	char detail[256];
	char message_time[32]; /* Kafka's, "2026-01-01T00:00:00.000Z"; "": it has none that fits */
	char created_at[32];
	char redriven_at[32]; /* "": not published again */
	struct dead_bytes key;
	struct dead_bytes value;   /* only the length, unless contents were asked for */
	struct dead_bytes headers; /* JSON text (headers.h); as value */
};

/* Which: what is not wanted is -1, DEAD_NONE, false; offsets from 0 to INT64_MAX. */
struct dead_letters_filter {
	int32_t partition;
	int64_t from_offset;
	int64_t to_offset; /* exclusive */
	enum dead_reason reason;
	bool pending;  /* only what was not published again */
	bool contents; /* with value and headers */
};

/* Everything. */
#define DEAD_LETTERS_ALL ((struct dead_letters_filter){.partition = -1, .to_offset = INT64_MAX})

/* A letter is good for the length of the call. */
typedef void dead_letters_fn(void *context, const struct dead_letter *letter);

/* Hands the first `limit` letters to fn, by partition and offset; all of them if it is below 0. */
enum db_result dead_letters_each(struct db *db, const struct dead_letters_filter *filter,
	int64_t limit, dead_letters_fn *fn, void *context, struct error *err);

/* Sets redriven_at of these letters of a partition: 1 to DEAD_LETTERS_MARK_MAX. */
#define DEAD_LETTERS_MARK_MAX 200
enum db_result dead_letters_mark(
	struct db *db, int32_t partition, const int64_t *offsets, size_t count, struct error *err);

/* The reason of this name ("MALFORMED"); DEAD_NONE: there is none. */
enum dead_reason dead_letters_reason(const char *text);

/*
 * What the message would become if it were published again, to the partition of its key: the reason
 * why it would be a dead letter again, or DEAD_NONE.  An ID_CONFLICT stays one.  Pure.
 */
enum dead_reason dead_letters_again(const struct dead_letter *letter, int32_t partitions);

/* The bytes for people, in one line: what is printable ASCII as it is, the rest escaped.  Stops
 * after about `limit` characters; whether all of it was printed. */
bool dead_letters_print_bytes(const struct dead_bytes *bytes, size_t limit, FILE *file);

#endif
