/*
 * Drift: now and then a few balances in memory are compared with those in the database and in
 * Redis. They can differ only by a bug, or because somebody changed a row or a key by hand; it is
 * counted (ledger_balance_drift) and told.
 *
 * The database is not repaired: that is a person's matter.  Redis is no authority, and is written
 * again from what memory and the database agree on; only a key that is ahead stays, as the last
 * write wins.
 *
 * Redis is the publisher's: what memory and the database agree on is handed to it, and its answer
 * is judged when the next sample is due.
 *
 * What is no drift: a key whose newest version was not published yet when it was read, one that
 * memory has caught up with since, all of a Redis that was just emptied (it is being filled), and
 * whatever was found by an owner that no longer is one.
 */
#ifndef CONSUMER_SAMPLE_H
#define CONSUMER_SAMPLE_H

#include <stdint.h>

struct partition;

enum drift {
	DRIFT_MYSQL = 0,     /* memory and the database differ */
	DRIFT_REDIS_MISSING, /* the key is gone: deleted by hand, or evicted */
	DRIFT_REDIS_BEHIND,  /* a lower version than was written there */
	DRIFT_REDIS_AHEAD,   /* a higher version than memory ever had */
	DRIFT_REDIS_OTHER,   /* other amounts with the right version, or no form of ours */
	DRIFTS,
};

/* What to tell a person: what was found, what was done, what to do. */
const char *drift_text(enum drift drift);

/* Compares if it is time to, and no batch is in the ledger: at most every few seconds, with one
 * query (two if something differs). */
void sample(struct partition *p, int64_t now_ms);

#endif
