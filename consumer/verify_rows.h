/*
 * What `verify` reads, as plain memory: rows of the journal and of account_balances, dead letters,
 * gaps.  Whoever read a row has checked its values; one that this program would not write has been
 * reported there, and is marked `unusable`.
 */
#ifndef CONSUMER_VERIFY_ROWS_H
#define CONSUMER_VERIFY_ROWS_H

#include <stdbool.h>

#include "event.h"

#define VERIFY_HASH_BYTES 32 /* SHA-256 */
#define VERIFY_TIME_CHARS 23 /* "2026-01-01 00:00:00.000" */

/* A journal row, as far as the chains need it. */
struct verify_row {
	int64_t offset;
	int64_t prev_offset; /* -1: NULL */
	int64_t account_id;  /* 0: none that can be */
	currency_t currency; /* CURRENCY_NONE: none that can be */
	i128 amount;
	i128 available_after;
	i128 frozen_after;
	uint8_t type;    /* enum event_type */
	uint8_t refusal; /* enum refusal: the reason */
	bool applied;    /* the status is SUCCESS */
	bool unusable;
};

/* The rest of it, which is compared with the log. */
struct verify_content {
	char event_time[VERIFY_TIME_CHARS];
	uint8_t transaction_id_length;
	char transaction_id[TRANSACTION_ID_MAX];
};

/* Raw bytes, by their hash: a column of a dead letter. */
struct verify_bytes {
	bool present; /* not NULL */
	uint8_t hash[VERIFY_HASH_BYTES];
	int64_t length;
};

struct verify_letter {
	int64_t offset;
	enum dead_reason reason; /* DEAD_NONE: none that can be */
	struct verify_bytes key, value, headers;
	char message_time[VERIFY_TIME_CHARS + 1]; /* "": NULL */
};

/* Offsets that a person gave up. */
struct verify_gap {
	int64_t from_offset;
	int64_t to_offset; /* exclusive */
};

struct verify_balance {
	int64_t account_id;
	currency_t currency;
	i128 available; /* may be negative */
	i128 frozen;
	int64_t version;
	int64_t last_offset;
	int32_t partition;
	bool unusable;
};

/* A row of partition_offsets. */
struct verify_offsets {
	bool found;
	int64_t next_offset;
	int64_t redis_offset;
};

#endif
