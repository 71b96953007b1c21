/*
 * `ledgerd replay`: a part of a partition's log against what the database has of it, and what is
 * missing put back.
 *
 * A machine of steps, each one question to the log or to the database, or one statement of a flush.
 * What is to be done about each message without an outcome is told by replay_resolve.h.
 *
 *   CONNECT -> SNAPSHOT -> STATE -> ENDS -> GAPS -> NEWEST -> COMPARE    may it be done at all?
 *   OPEN -> FIND       log, journal and dead letters side by side: what has no outcome?
 *   CHAINS -> BALANCES -> ROWS    the journal of the accounts concerned; once more for broken ones
 *   RESOLVE            ends a dry run; back to ENDS if accounts need a wider look
 *   REOPEN -> WRITE <-> FLUSH     the log again, for its bytes; the rows in flush transactions
 *
 * The range limits what is written and reported.  A missing row of a broken account may need
 * evidence from outside of it: then all is read again, in the same snapshot, over as much of the
 * log as such accounts need, three times at most, the last time over the whole log.
 *
 * Everything up to RESOLVE is read in one snapshot of the database.  With `apply`, the partition is
 * the caller's under `epoch` before the first step, so nothing changes behind the snapshot; each
 * transaction proves the epoch and that next_offset is the one that was read.  A crash between any
 * two steps leaves whole transactions; a second run finds what they did.  A flush begins only while
 * the lease is valid.
 *
 * Restored rows and dead letters change no balance.  A row that is decided now has the balance's
 * last_offset as its prev_offset and becomes its last_offset.  redis_offset is lowered to the first
 * row in the same transaction, so that the next owner publishes the balances; also those of
 * restored rows, which may have been deleted before an owner read them for that.
 *
 * Pure.  Owned: the table, the batch.  Edges stay the caller's.
 */
#ifndef CONSUMER_REPLAY_H
#define CONSUMER_REPLAY_H

#include "clock.h"
#include "flush.h"
#include "replay_table.h"
#include "topic.h"

struct replay_config {
	int32_t partition;
	int32_t partitions;
	int64_t from_offset;
	int64_t to_offset; /* -1: next_offset */
	bool apply;
	int64_t epoch; /* with apply */
	size_t bytes_max;
	size_t batch_max_events;
	size_t batch_max_bytes;
	size_t block_rows; /* read at once */
	unsigned char key[DEDUPE_KEY_BYTES];
	uint64_t seed;
};

struct replay_edges {
	struct store *reader;
	struct flush *flush; /* with apply: idle, over a store of its own */
	struct topic *topic;
	const struct clock *clock;
	bool (*lease_valid)(void *context, int64_t now_ms); /* with apply */
	void *context;
};

/* What the database has differs from the log. */
enum replay_conflict_kind {
	REPLAY_CONFLICT_TWICE,   /* in the journal and in dead_letters */
	REPLAY_CONFLICT_CONTENT, /* the row has another content */
	REPLAY_CONFLICT_DEAD,    /* a row, but the message is a dead letter */
	REPLAY_CONFLICT_LIVE,    /* a dead letter, but the message is a good event */
	REPLAY_CONFLICT_REASON,  /* a dead letter with another reason */
	REPLAY_CONFLICT_ABSENT,  /* a row or a dead letter, but the log has no message */
	REPLAY_CONFLICT_KINDS,
};

struct replay_conflict {
	int64_t offset;
	enum replay_conflict_kind kind;
};

/* All are counted, the first ones are kept: another log would differ everywhere. */
#define REPLAY_CONFLICTS_MAX 1000000

const char *replay_conflict_text(enum replay_conflict_kind kind);

enum replay_step {
	REPLAY_CONNECT = 0,
	REPLAY_SNAPSHOT,
	REPLAY_STATE,
	REPLAY_ENDS,
	REPLAY_GAPS,
	REPLAY_NEWEST,
	REPLAY_COMPARE,
	REPLAY_OPEN,
	REPLAY_FIND,
	REPLAY_CHAINS,
	REPLAY_BALANCES,
	REPLAY_ROWS,
	REPLAY_RESOLVE,
	REPLAY_REOPEN,
	REPLAY_WRITE,
	REPLAY_FLUSH,
	REPLAY_ENDED,
	REPLAY_STEPS,
};

struct replay_counts {
	int64_t looked;   /* messages that were read */
	int64_t messages; /* of the range, like all that follows */
	int64_t rows;     /* that agree with the log */
	int64_t letters;  /* the same */
	int64_t conflicts;
	int64_t verdicts[REPLAY_VERDICTS];
	int64_t applied;                  /* of REPLAY_DECIDE */
	int64_t written[REPLAY_VERDICTS]; /* committed */
};

struct replay_letter {
	int64_t offset;
	enum dead_reason reason;
};

struct replay {
	struct replay_config config;
	struct dedupe_key key; /* of the ids */
	struct replay_edges edges;
	enum replay_step step;
	struct replay_table table;
	struct store_partition state;
	int64_t end; /* of the range */
	int64_t log_begin;
	int widened; /* how often */
	struct replay_outside outside;
	int failures;
	bool opened; /* COMPARE */
	struct store_newest newest;
	/* FIND, CHAINS, ROWS: */
	struct store_row *rows;
	size_t row_count, row_next;
	int64_t rows_from;
	bool rows_ended;
	struct replay_letter *letters;
	size_t letter_count, letter_next;
	int64_t letters_from;
	bool letters_ended;
	struct topic_item *items;
	size_t item_count, item_next;
	bool log_ended;
	int64_t heard_ms; /* when Kafka last delivered anything */
	size_t account_next;
	/* WRITE: */
	struct batch batch;
	struct order_item *order_scratch;
	uint64_t batch_number;
	size_t candidate_next;
	int64_t redis_offset;
	struct flush_request request;
	struct replay_counts counts;
	struct replay_conflict *conflicts;
	size_t conflict_capacity;
	bool resolved; /* the verdicts stand */
	atomic_bool interrupted;
	int rc; /* when it has ended */
	struct error error;
};

void replay_init(
	struct replay *r, const struct replay_config *config, const struct replay_edges *edges);
void replay_finish(struct replay *r);

/* One step; returns how long to wait before the next one, in milliseconds.  Not once it has ended.
 */
int64_t replay_step(struct replay *r);
bool replay_ended(const struct replay *r);

/* Ends before the next step, or, in a flush, when that is committed.  Any thread, any signal. */
void replay_interrupt(struct replay *r);

/* How many of the conflicts are kept. */
size_t replay_conflicts_kept(const struct replay *r);

#endif
