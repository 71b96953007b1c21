/*
 * What `verify` found: every difference is counted by its kind, and the first ones are named, one
 * line each: where, what was found, what was expected.  Amounts may be shown, as this is the
 * command's output and no log.
 *
 *     partition 0 offset 17 account 1001 USDT: available_after is 10, expected 12 (...)
 *
 * A report owns copies of all its texts.  Pure but for the file that lines are printed to.
 */
#ifndef CONSUMER_VERIFY_REPORT_H
#define CONSUMER_VERIFY_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "currency.h"
#include "decimal.h"
#include "error.h"

#define VERIFY_LISTED_MAX 20
#define VERIFY_TEXT_MAX   200

enum verify_kind {
	VERIFY_OFFSETS,       /* partition_offsets, and rows at or above next_offset */
	VERIFY_PARTITION,     /* an account's rows in a partition that is not its own */
	VERIFY_VALUE,         /* a value that this program does not write */
	VERIFY_OUTCOME,       /* a journal row: status, reason or the balances after it */
	VERIFY_CHAIN,         /* a journal row: prev_offset */
	VERIFY_BALANCE,       /* account_balances */
	VERIFY_SUM,           /* a currency's sums */
	VERIFY_TWICE,         /* an offset both in the journal and in dead_letters */
	VERIFY_GAP,           /* offset_gaps */
	VERIFY_LOG_CONTENT,   /* a row has another content than its message */
	VERIFY_LOG_OUTCOME,   /* a message became something else than the rules give */
	VERIFY_LOG_NO_RECORD, /* a row without a message */
	VERIFY_LOG_END,       /* the log ends too early */
	VERIFY_REDIS,         /* a key of Redis */
	VERIFY_KINDS,
};

/* Where: what does not apply is -1, 0 or CURRENCY_NONE. */
struct verify_place {
	int32_t partition;
	int64_t offset;
	int64_t account_id;
	currency_t currency;
};

#define VERIFY_NOWHERE ((struct verify_place){.partition = -1, .offset = -1})

struct verify_difference {
	enum verify_kind kind;
	struct verify_place place;
	char what[64];
	char found[VERIFY_TEXT_MAX];
	char expected[VERIFY_TEXT_MAX];
};

/* What was looked at. */
struct verify_counts {
	int64_t partitions;
	int64_t rows;
	int64_t dead_letters;
	int64_t gaps;
	int64_t balances;
	int64_t messages;   /* delivered by the log */
	int64_t duplicates; /* of them */
	int64_t skipped;    /* of them: in a gap, and in no table */
	int64_t redis_balances;
	int64_t redis_keys;
};

struct verify_report {
	FILE *file;          /* where lines go at once; NULL: nowhere */
	FILE *terminal;      /* for a line of progress; NULL: none */
	bool progress;       /* that line stands there, and must be wiped before another one */
	int64_t progress_ms; /* when it was written */
	bool from_kafka, redis;
	struct verify_counts counts;
	int64_t by_kind[VERIFY_KINDS];
	int64_t differences;
	struct verify_difference *listed;
	size_t listed_count;
	char **notes;
	size_t note_count;
};

/* The files stay the caller's. */
void verify_report_init(struct verify_report *report, FILE *file, FILE *terminal);
void verify_report_finish(struct verify_report *report);

/* "<what> is <found>, expected <expected>"; bytes that are not printable become '?'. */
void verify_report_add(struct verify_report *report, enum verify_kind kind,
	const struct verify_place *place, const char *what, const char *found,
	const char *expected);

/* Something to know that is no difference. */
void verify_report_note(struct verify_report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* How far it is, a few times a second at most.  now_ms: monotonic. */
void verify_report_progress(struct verify_report *report, int64_t now_ms, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Wipes the line of progress. */
void verify_report_wipe(struct verify_report *report);

/* "journal_chain", as JSON has it */
const char *verify_kind_text(enum verify_kind kind);

/* A formatted text that lives as long as the enclosing block. */
#define VERIFY_TEXT(...) verify_text((char[VERIFY_TEXT_MAX]){0}, __VA_ARGS__)
const char *verify_text(char buffer[VERIFY_TEXT_MAX], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* An amount, for the same time. */
#define VERIFY_AMOUNT(amount) decimal_text((amount), (char[DECIMAL_TEXT_MAX]){0})

/* The summary behind the lines.  complete: everything was looked at. */
void verify_report_print(
	const struct verify_report *report, int64_t elapsed_ms, bool complete, FILE *file);

/* The whole as one JSON object, and a newline. */
void verify_report_print_json(const struct verify_report *report, int64_t elapsed_ms, bool complete,
	const char *failure, FILE *file);

#endif
