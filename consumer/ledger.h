/*
 * The ledger of one partition: its balances and the ids it knows, and the one way in which a batch
 * goes through them.
 *
 *     ledger_resolve   finds or asks for the balances that a batch needs (any time)
 *     ledger_dedupe    first pass: duplicates and conflicts
 *     ledger_apply     second pass: the rules; outcomes, after-images, chain offsets
 *     ledger_commit    the flush is in the database: unpin
 *     ledger_undo      the flush was rolled back: as if the batch had never been here
 *
 * At most one batch is between ledger_dedupe and commit or undo.  Pure.
 */
#ifndef CONSUMER_LEDGER_H
#define CONSUMER_LEDGER_H

#include "batch.h"
#include "order.h"

struct ledger_config {
	size_t batch_events; /* consumer.batch_max_events */
	size_t ids;          /* consumer.dedupe_ids; raised to four batches if it is less */
	uint64_t seed;       /* of the balances' hash */
	unsigned char key[DEDUPE_KEY_BYTES]; /* the ledger's own, from the database */
};

struct ledger {
	struct budget *budget;
	struct balances *balances;
	struct dedupe *dedupe;
	size_t ids;
	struct dedupe_key key;     /* of the ids */
	const struct batch *batch; /* the one in the ledger, or NULL */
	uint32_t *touches;         /* while applying: from a balance to its place in touched[] */
	size_t touch_capacity;
	size_t touch_mask; /* of the part that the batch needs */
	struct order_item *order_scratch;
};

/* A balance as the database has it. */
struct balance_row {
	struct balance_key key;
	struct balance balance;
	int64_t updated_ms; /* of the row that was found */
	bool found;         /* no row: an empty balance, version 0, last_offset -1 */
};

/* Takes memory from budget: ledger_bytes_min at once, more for balances as they come. */
void ledger_init(struct ledger *ledger, struct budget *budget, const struct ledger_config *config);
void ledger_finish(struct ledger *ledger);

size_t ledger_ids(const struct ledger_config *config);
size_t ledger_entries_min(const struct ledger_config *config);
size_t ledger_bytes_min(const struct ledger_config *config);

/* Drops everything it knows: after a fence, before a recovery. */
void ledger_clear(struct ledger *ledger);

/*
 * Pins the balances in memory that records from `from` on need.  Keys that are not in memory are
 * written to ret_missing (room for one a record), each once, sorted; returns how many.  While
 * memory is complete (balances_begin_complete) they are nowhere, and are made here.
 */
size_t ledger_resolve(
	struct ledger *ledger, struct batch *b, size_t from, struct balance_key *ret_missing);

/* Takes in what the database had for the missing keys; the batch can then be resolved again. */
void ledger_load(
	struct ledger *ledger, struct batch *b, const struct balance_row *rows, size_t count);

/*
 * Somebody sends more currencies than exist.  With no batch in the ledger: unresolve the batch that
 * is being prepared, clear, and go on.
 */
bool ledger_crowded(const struct ledger *ledger);
void ledger_unresolve(struct ledger *ledger, struct batch *b);

/* A transaction id that the database already has, with its content. */
void ledger_learn(struct ledger *ledger, const struct dedupe_id *id);

void ledger_dedupe(struct ledger *ledger, struct batch *b);
void ledger_apply(struct ledger *ledger, struct batch *b, int64_t now_ms);
void ledger_commit(struct ledger *ledger, struct batch *b);
void ledger_undo(struct ledger *ledger, struct batch *b);

#endif
