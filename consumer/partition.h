/*
 * A partition under a lease: from the log to the database.
 *
 * One thread (or the simulator) calls partition_turn again and again.  Its way through the world:
 *
 *     recover:  state -> newest row against the log -> ids -> Redis -> open the log
 *     run:      settle -> poll -> decode -> fetch -> dedupe -> apply -> flush (-> publish)
 *
 * There are two batches: the one that is in the ledger and in flight to the database, and the one
 * that is being prepared behind it.  A prepared batch enters the ledger only when the one before
 * has committed, so an undo never reaches past one batch.
 *
 * A partition lives for one lease.  It ends idle (drained), fenced or halted; everything it knew
 * goes with it.
 */
#ifndef CONSUMER_PARTITION_H
#define CONSUMER_PARTITION_H

#include "clock.h"
#include "flush.h"
#include "ledger.h"
#include "metrics.h"
#include "publisher.h"
#include "sample.h"
#include "topic.h"

struct partition_config {
	int32_t partition;
	int32_t partitions; /* of the topic, as ledger_meta has it */
	char cluster_id[64];
	int64_t epoch;
	size_t batch_max_events;
	size_t batch_max_bytes;
	int64_t poll_idle_ms;
	int64_t flush_interval_min_ms;
	size_t dedupe_ids;
	size_t dedupe_prime;
	size_t redis_pending_max;
	uint64_t seed; /* of hashes and jitter */
	unsigned char key[DEDUPE_KEY_BYTES];
	int64_t out_of_range_ms; /* how long the log must contradict the offset before it halts */
};

/* What the outside does for a partition. */
struct partition_edges {
	struct store *reader; /* the partition's own connection */
	struct topic *topic;
	struct flush *flush; /* the machine; somebody drives it between submit and its end */
	void (*submit)(void *context);    /* a flush was started: drive it */
	bool (*submitted)(void *context); /* it has not ended yet */
	bool (*lease_valid)(void *context, int32_t partition, int64_t now_ms);
	void *context;
	struct publisher *publisher; /* NULL: Redis is off */
	const struct clock *clock;
	struct budget *budget;
	struct partition_metrics *metrics;
	/* A transition, with a reason for people ("" if it speaks for itself). */
	void (*on_state)(void *context, int32_t partition, enum partition_state from,
		enum partition_state to, const char *reason);
	/* A call that failed and is tried again: for the log and the metrics. */
	void (*on_retry)(
		void *context, int32_t partition, const char *what, const struct error *err);
	/* So many balances in memory are not what the database or Redis has. */
	void (*on_drift)(void *context, int32_t partition, enum drift drift, int64_t balances);
};

struct partition;

/* edges are copied; what they point to outlives the partition. */
struct partition *partition_create(
	const struct partition_config *config, const struct partition_edges *edges);

/* The flush has ended; its machine is no longer driven. */
void partition_destroy(struct partition *p);

/*
 * One turn.  May wait in the topic's poll.  Returns for how long to wait before the next turn
 * unless woken, in milliseconds (0: at once).
 */
int64_t partition_turn(struct partition *p);

/* IDLE, FENCED or HALTED was reached, and no flush is on its way. */
bool partition_ended(const struct partition *p);
enum partition_state partition_state(const struct partition *p);

/* From any thread; the next turn obeys.  The caller wakes the thread. */
void partition_drain(struct partition *p);                    /* end the flush and let go */
void partition_lose(struct partition *p, bool fenced);        /* drop everything now */
void partition_halt(struct partition *p, const char *reason); /* write the reason and let go */

/* The offsets that the database may hold if nobody else has written: for the lease's renewal. */
int64_t partition_offset_low(const struct partition *p);
int64_t partition_offset_high(const struct partition *p);

/* Bytes that a partition takes at start: two batches, ids, the least of balances. */
size_t partition_bytes_min(const struct partition_config *config);

#endif
