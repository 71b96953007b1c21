/*
 * What a `replay` knows: the messages that have no outcome in the database (candidates), the
 * accounts that they belong to, and the chains of those accounts.
 *
 *     replay_table_dead, _event   each candidate, in the order of the offsets
 *     replay_table_row            each journal row of the partition, in any order
 *     replay_table_balance        each balance of the accounts
 *     replay_table_judge          which chains are broken
 *     replay_table_collect        the rows of the broken accounts, in the order of the offsets
 *
 * The range limits what is written and reported, not what is evidence.  Where a broken account
 * needs more, replay_table_widen says so, and all is read once more: for the accounts that are
 * wanted, messages outside of the range are candidates as well, until replay_table_keep_range.
 *
 * A chain is whole if each of its rows is pointed at exactly once (by prev_offset, or by
 * last_offset of its balance), nothing else is pointed at, exactly one row has no prev_offset, and
 * the rows that are SUCCESS are as many as the balance's version.  It is told by keyed sums of the
 * offsets against sums of the pointers, 128 bits each, so that it takes no memory a row.
 *
 * All currencies of an account are looked at, because a transaction id is unique in the account: an
 * id that is nowhere is new only if no row of the account is missing.
 *
 * Memory is bounded: -ENOMEM, with the remedy.  Pure.
 */
#ifndef CONSUMER_REPLAY_TABLE_H
#define CONSUMER_REPLAY_TABLE_H

#include "store.h"

#define REPLAY_NONE UINT32_MAX

/* What becomes of a candidate. */
enum replay_verdict {
	REPLAY_PENDING = 0,
	REPLAY_RESTORE_ROW,    /* a journal row is missing: as it was */
	REPLAY_RESTORE_LETTER, /* a dead letter is missing */
	REPLAY_DECIDE,         /* its effect is nowhere: decided on today's balance */
	REPLAY_DUPLICATE,      /* nothing to do */
	REPLAY_UNDECIDED,      /* it can be told neither way; why */
	REPLAY_VERDICTS,
};

/* Why not.  The texts are replay_why_text's. */
enum replay_why {
	REPLAY_WHY_NONE = 0,
	REPLAY_WHY_CONFLICT,   /* a row of the account differs from the log */
	REPLAY_WHY_NO_BALANCE, /* rows, but no row in account_balances */
	REPLAY_WHY_PARTITION,  /* the balance is of another partition */
	REPLAY_WHY_SHAPE,      /* pointed at twice, two beginnings, in a circle */
	REPLAY_WHY_GONE,       /* the row at why_offset is missing, and the log begins behind it */
	REPLAY_WHY_FURTHER,    /* why_offset must be looked at, too (replay_table_widen does) */
	REPLAY_WHY_NO_EVENT,   /* the row at why_offset is missing, and the log has no such event */
	REPLAY_WHY_KNOWN,      /* the chain points at it, but its id is in another row */
	REPLAY_WHY_ORDER,      /* replayed rows: which one followed which cannot be told */
	REPLAY_WHY_REFUSED,    /* a skipped event may have been replayed, and refused, in between */
	REPLAY_WHY_FOLD,       /* the rules do not lead to the balances behind the missing rows */
	REPLAY_WHY_VERSION,    /* the version is not the number of SUCCESS rows */
	REPLAY_WHY_OUTSIDE,    /* the event at why_offset is in no chain and in no gap */
	REPLAY_WHY_AGAIN,      /* when the account's rows are restored, it can be decided */
	REPLAY_WHYS,
};

struct replay_candidate {
	int64_t offset;
	i128 amount;
	struct dedupe_id id;
	uint32_t chain;   /* REPLAY_NONE: dead by its own bytes */
	uint32_t next;    /* of the account, in the order of the offsets; REPLAY_NONE: the last */
	uint32_t leader;  /* the first candidate with this id */
	uint32_t primary; /* of a leader: the candidate whose row the id has, or REPLAY_NONE */
	int64_t known_offset; /* of a leader: the row in the journal with this id; -1: none */
	uint64_t known_fingerprint;
	uint8_t type;
	uint8_t reason; /* enum dead_reason */
	uint8_t verdict;
	uint8_t why;
	uint8_t refusal; /* of a row that is restored or decided */
	bool in_gap;
	bool skipped; /* of a leader: a candidate with this id is in a gap */
	bool pointed; /* a chain points at this offset, and there is no row */
	int64_t prev_offset;
	i128 available_after;
	i128 frozen_after;
};

/* An account in one currency. */
struct replay_chain {
	uint32_t account;
	uint32_t next; /* of the account, or REPLAY_NONE */
	currency_t currency;
	struct balance balance; /* as it is committed; last_offset -1: there is none */
	struct balance running; /* while deciding */
	struct balance written; /* while writing */
	bool has_balance;
	bool foreign; /* the balance is of another partition */
	bool broken;
	int64_t rows, firsts, applied;
	uint64_t row_sum[2], pointer_sum[2];
	size_t begin, count; /* of a broken account: its rows in `rows` */
	uint64_t batch;      /* the number of the batch that touched it last */
	uint32_t touched;    /* where */
};

struct replay_account {
	int64_t account_id;
	uint32_t chain;       /* the first, or REPLAY_NONE */
	uint32_t first, last; /* candidates */
	bool tainted;         /* a row or letter of it is not what the log says */
	bool broken;          /* a chain of it, or tainted */
	bool wanted;          /* it is looked at outside of the range, too */
	bool needs;           /* to be */
	uint8_t why;          /* if it could not be mended */
	currency_t why_currency;
	int64_t why_offset;
};

/* A row of a broken account. */
struct replay_row {
	uint32_t chain;
	bool applied;
	uint8_t type;
	i128 amount;
	i128 available_after;
	i128 frozen_after;
	int64_t offset;
	int64_t prev_offset;
};

struct replay_index {
	uint32_t *slots;
	size_t capacity; /* 0, or a power of two */
};

struct replay_gap {
	int64_t from_offset;
	int64_t to_offset;
};

struct replay_table {
	const struct dedupe_key *key; /* of the ids */
	uint64_t seed;
	int32_t partition;
	int64_t begin, end;           /* the range */
	int64_t look_begin, look_end; /* what is read for accounts that are wanted */
	int64_t need_from, need_to;   /* what should be */
	int64_t log_begin, next_offset;
	int64_t *wanted; /* accounts, sorted */
	size_t wanted_count;
	size_t bytes_max;
	struct replay_candidate *candidates;
	size_t candidate_count, candidate_capacity;
	struct replay_account *accounts;
	size_t account_count, account_capacity;
	struct replay_chain *chains;
	size_t chain_count, chain_capacity;
	struct replay_row *rows;
	size_t row_count, row_capacity;
	struct replay_gap *gaps;
	size_t gap_count, gap_capacity;
	struct replay_index by_account, by_id;
	size_t broken_accounts;
};

/* Journal rows that are missing outside of the range. */
struct replay_outside {
	int64_t rows;
	int64_t first, last;
};

/* key: of the ids; seed: of the hashes; it outlives the table. */
void replay_table_init(
	struct replay_table *table, const struct dedupe_key *key, uint64_t seed, size_t bytes_max);
void replay_table_finish(struct replay_table *table);

/* Before anything is added. */
void replay_table_range(
	struct replay_table *table, int64_t begin, int64_t end, int64_t next_offset);
void replay_table_log(struct replay_table *table, int64_t log_begin);
bool replay_table_inside(const struct replay_table *table, int64_t offset);

void replay_table_gap(struct replay_table *table, int64_t from_offset, int64_t to_offset);
int replay_table_dead(
	struct replay_table *table, int64_t offset, enum dead_reason reason, struct error *err);
int replay_table_event(
	struct replay_table *table, int64_t offset, const struct event *event, struct error *err);
/* The account is left alone: something of it differs from the log.  What is outside of the range
 * matters to accounts that are wanted only, here as everywhere. */
int replay_table_taint(
	struct replay_table *table, int64_t account_id, int64_t offset, struct error *err);

int replay_table_row(struct replay_table *table, const struct store_row *row, struct error *err);
int replay_table_balance(
	struct replay_table *table, const struct store_balance *row, struct error *err);
void replay_table_judge(struct replay_table *table);
int replay_table_collect(
	struct replay_table *table, const struct store_row *row, struct error *err);

/* After replay_resolve.  Whether accounts of undecided messages need a wider look: then they are
 * wanted, look_begin and look_end are widened to what they need or to the whole log, and the table
 * is empty for the next reading of the same snapshot. */
bool replay_table_widen(struct replay_table *table, bool whole);

/* The verdicts stand: forgets the candidates outside of the range.  Links between candidates, and
 * their ids, lead nowhere from now on. */
struct replay_outside replay_table_keep_range(struct replay_table *table);

/* The candidate at an offset, or NULL. */
struct replay_candidate *replay_table_at(const struct replay_table *table, int64_t offset);
bool replay_table_in_gap(const struct replay_table *table, int64_t offset);

const char *replay_verdict_text(enum replay_verdict verdict); /* "restore row" */

/* A sentence that names the offset; size: REPLAY_WHY_MAX. */
#define REPLAY_WHY_MAX 192
const char *replay_why_text(enum replay_why why, int64_t offset, char text[REPLAY_WHY_MAX]);

#endif
