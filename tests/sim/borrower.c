#include "borrower.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lease_borrow.h"
#include "mem.h"
#include "node.h"

struct borrower {
	struct world *w;
	struct lease_store_memory *store;
	struct lease_borrow *borrow; /* NULL: it wants nothing now */
	int32_t partition;
	int64_t wait_us;
	int64_t until_us; /* then it gives back */
	int64_t paused_until_us;
	bool in_transaction;
	int64_t next_offset; /* while in one */
};

static void lease_waits(void *context, bool lock)
{
	const struct borrower *borrower = context;

	if (!lock)
		world_lease_waits(borrower->w, borrower->store);
}

struct borrower *borrower_create(struct world *w)
{
	struct borrower *borrower = xcalloc(1, sizeof *borrower);

	borrower->w = w;
	borrower->store = lease_store_memory_create(&w->leases);
	borrower->store->on_wait = lease_waits;
	borrower->store->wait_context = borrower;
	return borrower;
}

static struct partition_offset_row *row_of(const struct borrower *borrower)
{
	return &borrower->w->offsets[borrower->partition];
}

static void end_transaction(struct borrower *borrower)
{
	if (borrower->in_transaction && row_of(borrower)->locked_by == borrower)
		row_of(borrower)->locked_by = NULL;
	borrower->in_transaction = false;
}

/* Killed: the server rolls back, its rows stay. */
static void drop(struct borrower *borrower)
{
	end_transaction(borrower);
	if (borrower->borrow)
		lease_borrow_destroy(borrower->borrow);
	borrower->borrow = NULL;
}

void borrower_destroy(struct borrower *borrower)
{
	drop(borrower);
	borrower->store->store.ops->destroy(&borrower->store->store);
	free(borrower);
}

static void ask(struct borrower *borrower)
{
	struct world *w = borrower->w;
	char who[64];

	borrower->partition = (int32_t)random_below(&w->random, w->partitions);
	borrower->wait_us = 0;
	borrower->until_us = w->now_us + random_below(&w->random, 60000000);
	snprintf(who, sizeof who, "borrower-%" PRIu64, w->steps);
	borrower->borrow = lease_borrow_create(
		&borrower->store->store, who, borrower->partition, WORLD_TTL_MS);
	world_trace(w, "%s asks for partition %d", who, borrower->partition);
}

static void check_alone(struct borrower *borrower)
{
	struct world *w = borrower->w;

	if (w->now_us < w->leases_doubtful_until_us)
		return;
	for (int i = 0; i < w->node_count; i++)
		if (node_believes(w->nodes[i], borrower->partition))
			world_fail(w, "node %d believes in partition %d, which is borrowed", i,
				borrower->partition);
}

/* As a flush that writes nothing: proves the epoch, under the row's lock, in two steps. */
static void work(struct borrower *borrower)
{
	struct world *w = borrower->w;
	struct partition_offset_row *row = row_of(borrower);

	check_alone(borrower);
	if (borrower->in_transaction && row->locked_by != borrower) {
		borrower->in_transaction = false; /* its connection is broken */
	} else if (borrower->in_transaction) {
		if (row->next_offset != borrower->next_offset)
			world_fail(w, "partition %d: next_offset moved while it was borrowed",
				borrower->partition);
		end_transaction(borrower);
		world_count(w, FAULT_BORROWED);
	} else if (!row->locked_by && row->epoch == lease_borrow_epoch(borrower->borrow)) {
		row->locked_by = borrower;
		borrower->in_transaction = true;
		borrower->next_offset = row->next_offset;
	}
}

static void give_back(struct borrower *borrower)
{
	int rc;

	end_transaction(borrower);
	world_lease_faults(borrower->w, borrower->store);
	rc = lease_borrow_return(borrower->borrow, NULL);
	world_count_lease_faults(borrower->w, borrower->store);
	if (rc != 0)
		return;
	world_trace(borrower->w, "partition %d is given back", borrower->partition);
	drop(borrower);
}

static void tick(struct borrower *borrower)
{
	struct world *w = borrower->w;
	struct error err;
	int64_t wait_ms;
	bool failed;

	if (w->now_us < borrower->wait_us)
		return;
	world_lease_faults(w, borrower->store);
	wait_ms = lease_borrow_tick(borrower->borrow, w->now_us / 1000, &failed, &err);
	borrower->wait_us = w->now_us + 1000 * wait_ms;
	world_count_lease_faults(w, borrower->store);
}

/* SIGSTOP: the server ends a transaction that is silent for six tenths of the TTL. */
static bool sleeps(struct borrower *borrower)
{
	struct world *w = borrower->w;

	if (!w->calm && w->now_us >= borrower->paused_until_us &&
		random_chance(&w->random, w->rates.pause)) {
		borrower->paused_until_us = w->now_us + random_between(&w->random, 1, 40) * 1000000;
		if (borrower->paused_until_us > w->now_us + (int64_t)WORLD_TTL_MS * 600)
			end_transaction(borrower);
	}
	return w->now_us < borrower->paused_until_us;
}

static void go_on(struct borrower *borrower)
{
	struct world *w = borrower->w;
	enum lease_borrow_state state;

	if (random_chance(&w->random, 5000)) /* it may act before it looks at its lease */
		tick(borrower);
	state = lease_borrow_state(borrower->borrow);
	if (w->calm || w->now_us >= borrower->until_us || state == LEASE_BORROW_REFUSED ||
		state == LEASE_BORROW_LOST)
		give_back(borrower);
	else if (lease_borrow_valid(borrower->borrow, w->now_us / 1000))
		work(borrower);
}

void borrower_step(struct borrower *borrower)
{
	struct world *w = borrower->w;

	if (!borrower->borrow) {
		if (!w->calm && random_chance(&w->random, w->rates.borrow))
			ask(borrower);
	} else if (!sleeps(borrower)) {
		if (!w->calm && random_chance(&w->random, w->rates.borrow)) {
			world_trace(
				w, "the borrower of partition %d is killed", borrower->partition);
			world_count(w, FAULT_BORROWER_KILLED);
			drop(borrower);
		} else {
			go_on(borrower);
		}
	}
}
