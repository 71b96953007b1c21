/*
 * Kafka as the relay sees it: one producer with a fixed transactional.id, one transaction at a
 * time.
 *
 * The real one is outbox_sink_kafka.c, the one in memory outbox_sink_memory.c.  Used by one thread.
 * A call waits for a second or so at most, so that the lease can be renewed meanwhile: what takes
 * longer says SINK_AGAIN, and the same call is made again.
 *
 * Opening shuts out whoever opened before under the same transactional.id, and settles its last
 * transaction: after it, nothing that an earlier relay has sent can come to light any more.
 */
#ifndef OUTBOX_OUTBOX_SINK_H
#define OUTBOX_OUTBOX_SINK_H

#include "error.h"
#include "outbox_batch.h"

enum sink_result {
	SINK_OK = 0,
	SINK_AGAIN,   /* not done yet: the same call again */
	SINK_ABORT,   /* this transaction will not be committed: abort it and send again */
	SINK_BROKEN,  /* unknown what became of the transaction: close and open */
	SINK_FENCED,  /* another has opened since: close, and look at the lease */
	SINK_REFUSED, /* this row can never be sent: too large, or a topic's name that is none */
	SINK_TOPIC,   /* this row's topic cannot be written now: missing, or not allowed */
};

struct outbox_sink;

struct outbox_sink_ops {
	/* OK, AGAIN, BROKEN or FENCED */
	enum sink_result (*open)(struct outbox_sink *s, struct error *err);
	/* Takes a copy; begins the transaction with the first one.  All results. */
	enum sink_result (*send)(
		struct outbox_sink *s, const struct outbox_row *row, struct error *err);
	/*
	 * Waits until Kafka has acknowledged all that was sent.  All results; after REFUSED and
	 * TOPIC, *ret_index says which row it was, counted from the first that was sent, and the
	 * transaction is to be aborted.  REFUSED may hit a row that was only sent together with the
	 * one that is to blame.
	 */
	enum sink_result (*flush)(struct outbox_sink *s, size_t *ret_index, struct error *err);
	/* OK only if Kafka has acknowledged the commit.  AGAIN, ABORT, BROKEN, FENCED. */
	enum sink_result (*commit)(struct outbox_sink *s, struct error *err);
	/* OK, too, if there is no transaction.  AGAIN, BROKEN, FENCED. */
	enum sink_result (*abort)(struct outbox_sink *s, struct error *err);
	/* Drops the producer as a crash would; does not fail.  Also when it is not open. */
	void (*close)(struct outbox_sink *s);
	void (*destroy)(struct outbox_sink *s);
};

/* Every sink begins with this. */
struct outbox_sink {
	const struct outbox_sink_ops *ops;
};

#endif
