/*
 * A flush as a machine of steps, one statement each.
 *
 *   CONNECT -> BEGIN -> FENCE -> JOURNAL -> BALANCES -> DEAD_LETTERS -> COMMIT -> committed
 *
 * A thread (flusher.c) or the simulator calls flush_step until flush_ended.  A transient failure
 * rolls back and begins again with the same bytes after a pause; a COMMIT without an answer is
 * settled on a new connection by reading the offset for update.  Between any two steps the process
 * may die: nothing of an uncommitted flush is ever seen by anybody.
 *
 * Several flushes may share a transaction (flush_group.h); alone, a flush does not know of others.
 */
#ifndef CONSUMER_FLUSH_H
#define CONSUMER_FLUSH_H

#include <stdatomic.h>

#include "store.h"

enum flush_verdict {
	FLUSH_PENDING = 0,
	FLUSH_COMMITTED,
	FLUSH_DUPLICATES, /* an id (or an offset) is in the journal already; rolled back */
	FLUSH_FENCED,     /* the epoch or the offset is another's; rolled back */
	FLUSH_HALTED,     /* only a person can help; rolled back; why is in flush.error */
	FLUSH_ABANDONED,  /* flush_abandon was heard; whether it committed is unknown */
};

enum flush_step {
	FLUSH_IDLE = 0,
	FLUSH_CONNECT,
	FLUSH_BEGIN,
	FLUSH_FENCE,
	FLUSH_JOURNAL,
	FLUSH_BALANCES,
	FLUSH_DEAD_LETTERS,
	FLUSH_COMMIT,
	FLUSH_SETTLE_CONNECT, /* the COMMIT's answer was lost */
	FLUSH_SETTLE,
	FLUSH_ENDED,
	FLUSH_STEPS,
};

const char *flush_step_text(enum flush_step step); /* "journal": the metrics' label `stage` */

/* Time spent in each step of the last flush, for the metrics. */
struct flush_timing {
	int64_t step_us[FLUSH_STEPS];
	int64_t total_us;
};

struct flush {
	struct store *store; /* NULL: whoever drives lends one (flush_lend) */
	struct flush_request request;
	enum flush_step step;
	enum flush_verdict verdict;
	bool connected;
	int attempt;     /* failures in a row */
	uint64_t random; /* for jitter */
	atomic_bool abandon;
	struct error error; /* the last failure */
	void (*on_retry)(void *context, enum flush_step step, const struct store *store,
		const struct error *err);
	void *on_retry_context;
};

void flush_init(struct flush *f, struct store *store, uint64_t seed);
void flush_finish(struct flush *f);

/*
 * For drivers that have fewer connections than flushes: lends one, connected or not, for the steps
 * until the flush has ended or wants to wait; then it is taken back, without a transaction that is
 * open.  A flush that waits may go on with another one.  Returns whether it is connected.
 */
void flush_lend(struct flush *f, struct store *store, bool connected);
bool flush_take_back(struct flush *f);

/* Starts a flush; the one before has ended.  The driver's first step comes after it. */
void flush_start(struct flush *f, const struct flush_request *request);

/*
 * One step.  Returns how long to wait before the next one, in milliseconds (0: none).  Not called
 * once flush_ended.
 */
int64_t flush_step(struct flush *f);

bool flush_ended(const struct flush *f);

/* The lease is gone or the process stops: ends before the next statement.  Any thread. */
void flush_abandon(struct flush *f);

#endif
