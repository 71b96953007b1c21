/*
 * The vocabulary of the ledger: what a message says (struct event), what may become of it
 * (enum outcome), and why (enum dead_reason, enum refusal).  The texts are what CONTRACT sections
 * 1 and 2 promise and what MySQL stores.
 */
#ifndef CONSUMER_EVENT_H
#define CONSUMER_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "currency.h"
#include "decimal.h"

#define TRANSACTION_ID_MAX 64
#define EVENT_VALUE_MAX    4096                     /* bytes of JSON */
#define EVENT_DEPTH_MAX    64                       /* containers, the outermost object included */
#define EVENT_TIME_MAX_MS  INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

enum event_type {
	EVENT_DEPOSIT = 1,
	EVENT_WITHDRAW,
	EVENT_FREEZE,
	EVENT_UNFREEZE,
	EVENT_SETTLE,
};

/* A well-formed event. */
struct event {
	int64_t account_id; /* 1 to INT64_MAX */
	currency_t currency;
	uint8_t type; /* enum event_type */
	uint8_t transaction_id_length;
	i128 amount;                             /* 1 to DECIMAL_MAX */
	int64_t time_ms;                         /* 0 to EVENT_TIME_MAX_MS */
	char transaction_id[TRANSACTION_ID_MAX]; /* not NUL-terminated */
};

/* In the order in which they are tried; the first that applies is the reason. */
enum dead_reason {
	DEAD_NONE = 0,
	DEAD_MALFORMED,
	DEAD_KEY_MISMATCH,
	DEAD_WRONG_PARTITION,
	DEAD_ID_CONFLICT,
};

enum refusal {
	REFUSAL_NONE = 0,
	REFUSAL_INSUFFICIENT_AVAILABLE,
	REFUSAL_INSUFFICIENT_FROZEN,
	REFUSAL_OVERFLOW,
};

enum outcome {
	OUTCOME_PENDING = 0, /* not decided yet */
	OUTCOME_APPLIED,
	OUTCOME_REFUSED,
	OUTCOME_DUPLICATE,
	OUTCOME_DEAD_LETTER,
};

const char *event_type_text(enum event_type type);     /* "DEPOSIT" */
const char *dead_reason_text(enum dead_reason reason); /* "MALFORMED" */
const char *refusal_text(enum refusal refusal);        /* "OVERFLOW"; NULL for REFUSAL_NONE */
const char *outcome_text(enum outcome outcome);        /* "applied", as the metrics' label has it */

/* One transaction: account, id, currency, type and amount.  Not the time. */
bool event_same(const struct event *a, const struct event *b);

/* 0 if text[0..length) is no event type. */
enum event_type event_type_parse(const char *text, size_t length);

#endif
