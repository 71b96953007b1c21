/* What partition.c (the pipeline) and recover.c (the way to it) share.  Nobody else includes this.
 */
#ifndef CONSUMER_PARTITION_PRIVATE_H
#define CONSUMER_PARTITION_PRIVATE_H

#include <stdatomic.h>

#include "id_spread.h"
#include "partition.h"

#define PARTITION_ITEMS 1024 /* messages taken from the topic at once */

enum recover_step {
	RECOVER_CONNECT = 0,
	RECOVER_STATE,
	RECOVER_LAYOUT,
	RECOVER_WATERMARKS,
	RECOVER_NEWEST,
	RECOVER_COMPARE,
	RECOVER_OLDEST,
	RECOVER_COMPARE_OLDEST,
	RECOVER_IDS,
	RECOVER_REDIS,
	RECOVER_OPEN,
	RECOVER_STEPS,
};

struct partition {
	struct partition_config config;
	struct partition_edges edges;
	enum partition_state state;
	struct ledger ledger;
	struct id_spread id_spread;

	struct batch batches[2];
	struct batch *flying;   /* in the ledger and on its way to the database, or NULL */
	struct batch *prepared; /* being filled */
	size_t resolved;        /* records of *prepared whose balances are known to be in memory */
	bool relearn;           /* *flying was undone: it has ids that the database knows */
	size_t learned;         /* ids that the database taught for the batch at hand */
	bool in_flight;         /* a flush was submitted and its verdict was not taken yet */
	int lookups;            /* batches for which ids are looked up beforehand */
	int64_t flush_started_ms;

	struct topic_item *items; /* of the last poll; those from item_next on wait for room */
	size_t item_count;
	size_t item_next;
	bool wrong_partition; /* *prepared has such a record: ask Kafka for the layout first */
	bool look_again;      /* the topic said that it is not what it was */

	struct balance_key *missing;
	struct balance_row *rows;
	const struct event **events;

	/* recovery */
	enum recover_step recover_step;
	struct store_newest newest; /* the row that the log is compared with; then the oldest */
	bool compare_opened;
	int64_t log_begin;             /* the log's first offset */
	int64_t log_end;               /* where the log ended then */
	int64_t out_of_range_since_ms; /* -1: not */
	int64_t redis_offset;          /* as read at recovery; what is stored while Redis is off */

	bool reader_connected;
	int64_t sampled_ms; /* when memory was last compared with the database */
	int attempt;        /* failures of the reader or Kafka in a row */
	uint64_t random;
	char reason[500]; /* of the halt */

	_Atomic int64_t committed_offset;
	_Atomic int64_t in_flight_offset;
	atomic_bool drain;
	bool leaves_prepared; /* drained while a batch was on its way */
	atomic_int lose;      /* 0, 1: time ran out, 2: fenced */
	atomic_bool halt;     /* halt_reason is set */
	char halt_reason[500];
};

int64_t recover_turn(struct partition *p);

void partition_set_state(struct partition *p, enum partition_state state, const char *reason);

/* Begins to halt: the reason is written to the database by the next turns. */
int64_t partition_halting(struct partition *p, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Back to RECOVERING with empty memory; no flush is on its way. */
void partition_recover(struct partition *p);

uint64_t partition_random(struct partition *p);

/* A call on the reader failed, or Kafka did not answer: how long to wait before it is tried again.
 */
int64_t partition_reader_failed(
	struct partition *p, enum store_result result, const char *what, const struct error *err);
int64_t partition_kafka_failed(struct partition *p, const char *what, const struct error *err);

/* Asks Kafka whether the topic is still the one that ledger_meta records.  0: it is; above 0: wait
 * for so long and ask again; below 0: it is not, and the partition is halting. */
int64_t partition_check_layout(struct partition *p);

#endif
