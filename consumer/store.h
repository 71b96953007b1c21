/*
 * The database as a partition sees it: one connection, one statement a call.
 *
 * The real one is store_mysql.c, the one in memory store_memory.c; only main chooses.  A store is
 * used by one thread at a time, but for interrupt.  No call retries: a call that fails says what
 * kind of failure it was, by the one table of errors (common/db_errors), and the caller decides.
 * After anything but STORE_OK within a transaction the caller rolls back; after STORE_LOST it
 * connects again.
 */
#ifndef CONSUMER_STORE_H
#define CONSUMER_STORE_H

#include "batch.h"
#include "error.h"
#include "ledger.h"

enum store_result {
	STORE_OK = 0,
	STORE_RETRY, /* transient: deadlock, lock wait, full disk, too many connections ... */
	STORE_LOST,  /* the connection is gone; whether the statement was executed is unknown */
	STORE_HALT, /* a bug or a person's matter: a missing table or grant, a value out of range */
};

/* What a flush writes.  The batch is closed and stays as it is until the flush has ended. */
struct flush_request {
	int32_t partition;
	int64_t epoch;
	int64_t begin_offset; /* next_offset before */
	int64_t end_offset;   /* next_offset after; the same for a replay */
	int64_t redis_offset; /* every balance changed below it has reached Redis */
	const struct batch *batch;
};

/* As many flushes may be in one transaction. */
#define STORE_REQUESTS_MAX 64

enum store_table {
	STORE_JOURNAL,      /* records applied or refused */
	STORE_BALANCES,     /* touched[].after */
	STORE_DEAD_LETTERS, /* records that are dead letters */
};

/* What the server says of a LOAD DATA. */
struct store_counts {
	int64_t affected; /* with REPLACE a replaced row counts twice, an unchanged one once */
	int64_t records;
	int64_t deleted;
	int64_t skipped;
	int64_t warnings;
	char warning[200]; /* the first one's text; "" if there is none or it could not be read */
};

/* A partition's row in partition_offsets. */
struct store_partition {
	int64_t epoch;
	int64_t next_offset;
	int64_t redis_offset;
	bool halted;
};

/* A journal row or dead letter, the newest or the oldest: what the log must still agree with. */
struct store_newest {
	bool found;
	int64_t offset;
	bool dead_letter;
	struct event event; /* of a journal row */
	char *key; /* of a dead letter: its raw bytes, NULL if absent; malloc'd, the caller's */
	size_t key_length;
	char *value;
	size_t value_length;
};

/* A transaction in the journal: event has account, currency, type, amount and id; no time. */
typedef void store_transaction_fn(void *context, const struct event *event);

/* A balance as it is committed. */
struct store_balance {
	struct balance_key key;
	struct balance balance;
	int32_t partition;
	int64_t updated_ms;
};
typedef void store_balance_fn(void *context, const struct store_balance *row);

/* A row of the journal, whole. */
struct store_row {
	int64_t offset;
	struct event event;
	enum refusal refusal; /* REFUSAL_NONE: SUCCESS */
	i128 available_after;
	i128 frozen_after;
	int64_t prev_offset; /* -1: NULL */
};
typedef void store_row_fn(void *context, const struct store_row *row);
typedef void store_letter_fn(void *context, int64_t offset, enum dead_reason reason);
typedef void store_gap_fn(void *context, int64_t from_offset, int64_t to_offset);

struct store;

struct store_ops {
	/* Closes what there is and connects anew, session settings and checks of the server
	 * included. */
	enum store_result (*connect)(struct store *s, struct error *err);
	void (*disconnect)(struct store *s);
	enum store_result (*ping)(struct store *s, struct error *err);
	/* From another thread, for good: the call that waits for the server and every later one,
	 * connect included, ends with STORE_LOST. */
	void (*interrupt)(struct store *s);

	/* A flush, or several in one transaction, in this order; rollback after any of them.
	 * rollback cannot fail: it disconnects. */
	enum store_result (*begin)(struct store *s, struct error *err);
	/* UPDATE partition_offsets SET next_offset, redis_offset WHERE partition, epoch and the old
	 * next_offset match; *ret_moved: exactly one row did. */
	enum store_result (*move_offset)(struct store *s, const struct flush_request *request,
		bool *ret_moved, struct error *err);
	/* LOAD DATA of the rows of `count` requests, 1 to STORE_REQUESTS_MAX, whose offsets have
	 * been moved. */
	enum store_result (*load)(struct store *s, const struct flush_request *const *requests,
		size_t count, enum store_table table, struct store_counts *ret_counts,
		struct error *err);
	enum store_result (*commit)(struct store *s, struct error *err);
	void (*rollback)(struct store *s);
	/* After a COMMIT without an answer, on a new connection: SELECT ... FOR UPDATE, rolled
	 * back. */
	enum store_result (*settle)(struct store *s, int32_t partition,
		struct store_partition *ret_partition, struct error *err);

	/* Reading, READ COMMITTED, each in a transaction of its own. */
	enum store_result (*read_partition)(struct store *s, int32_t partition,
		struct store_partition *ret_partition, struct error *err);
	/* Fills rows[].balance and .found for rows[].key, which are sorted. */
	enum store_result (*read_balances)(
		struct store *s, struct balance_row *rows, size_t count, struct error *err);
	/* Which (account, transaction id) of these events the journal has; fn once for each. */
	enum store_result (*find_transactions)(struct store *s, const struct event *const *events,
		size_t count, store_transaction_fn *fn, void *context, struct error *err);
	/* The newest `count` journal rows of a partition, newest first. */
	enum store_result (*recent_transactions)(struct store *s, int32_t partition, size_t count,
		store_transaction_fn *fn, void *context, struct error *err);
	enum store_result (*read_newest)(struct store *s, int32_t partition,
		struct store_newest *ret_newest, struct error *err);
	/* The same for the oldest at or after `begin`. */
	enum store_result (*read_oldest)(struct store *s, int32_t partition, int64_t begin,
		struct store_newest *ret_oldest, struct error *err);
	/* Whether the journal or dead_letters has a row from `begin` to before `end`. */
	enum store_result (*has_rows)(struct store *s, int32_t partition, int64_t begin,
		int64_t end, bool *ret_has, struct error *err);

	/* For Redis.  The balances of accounts with journal rows at or after `offset`; stops and
	 * says STORE_OK with *ret_more if there are more than `limit`. */
	enum store_result (*changed_balances)(struct store *s, int32_t partition, int64_t offset,
		size_t limit, store_balance_fn *fn, void *context, bool *ret_more,
		struct error *err);
	/* Balances of any partition in key order, at most `limit`, after the key *after (NULL: from
	 * the first). */
	enum store_result (*scan_balances)(struct store *s, const struct balance_key *after,
		size_t limit, store_balance_fn *fn, void *context, struct error *err);

	/* For `replay`.  From here until rollback, everything is read as it is now. */
	enum store_result (*snapshot)(struct store *s, struct error *err);
	/* The partition's rows, dead letters and gaps in the order of their offsets; at most
	 * `limit` from `begin` on. */
	enum store_result (*scan_journal)(struct store *s, int32_t partition, int64_t begin,
		size_t limit, store_row_fn *fn, void *context, struct error *err);
	enum store_result (*scan_letters)(struct store *s, int32_t partition, int64_t begin,
		size_t limit, store_letter_fn *fn, void *context, struct error *err);
	enum store_result (*read_gaps)(struct store *s, int32_t partition, store_gap_fn *fn,
		void *context, struct error *err);
	/* Every balance of these accounts, of any partition. */
	enum store_result (*read_accounts)(struct store *s, const int64_t *accounts, size_t count,
		store_balance_fn *fn, void *context, struct error *err);

	/* Writes halted_reason if the epoch still holds.  *ret_written: it did. */
	enum store_result (*halt)(struct store *s, int32_t partition, int64_t epoch,
		const char *reason, bool *ret_written, struct error *err);
	/* The server's number for the last failure; 0 if it was none of the server's. */
	int (*last_errno)(const struct store *s);
	void (*destroy)(struct store *s);
};

/* Every store begins with this. */
struct store {
	const struct store_ops *ops;
};

#endif
