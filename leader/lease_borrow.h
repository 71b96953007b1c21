/*
 * A partition for a while: how a command (`replay --apply`) gets a partition from its running
 * owner, works on it under an epoch of its own, and gives it back.
 *
 * The borrower writes its name as a request beside the lease (leader_locks.requested_by and
 * requested_at).  The request counts for LEASE_REQUEST_MS by the server's clock and is renewed
 * while the borrower waits or works, so that a killed one's lapses by itself.  While it counts, no
 * plan gives the partition to an instance: its owner flushes and releases it, and `acquire` refuses
 * all others.  The borrower takes it by the same rules as everybody: only an expired lease, with a
 * new epoch.  Nothing is ever taken by force.  A halted partition can be borrowed as well, and
 * stays halted.
 *
 *            request         acquire              lease_borrow_return
 *     ASKING ───────> ASKING ───────> HELD ──────────────────────────> ENDED
 *        │ another's request is alive   │ not renewed in time, another epoch, a foreign offset
 *        └────────> REFUSED             └────────> LOST
 *
 * All four may be returned; only ASKING and HELD have something to give back, but a lost one still
 * withdraws its request.
 *
 * One driver calls lease_borrow_tick and lease_borrow_return, each of which calls the store once
 * at most; lease_borrow_valid may be asked from any thread.  What really protects the data is the
 * epoch, which every transaction of the borrower must prove as a flush does.  No clock, thread or
 * log in here.
 */
#ifndef LEADER_LEASE_BORROW_H
#define LEADER_LEASE_BORROW_H

#include "lease_store.h"

enum lease_borrow_state {
	LEASE_BORROW_ASKING, /* waits for the owner to let go, or for a dead owner's lease to expire
			      */
	LEASE_BORROW_HELD,   /* ours under lease_borrow_epoch */
	LEASE_BORROW_REFUSED, /* somebody else's request is alive: lease_borrow_rival */
	LEASE_BORROW_LOST,    /* was ours; drop everything that was read, write nothing more */
	LEASE_BORROW_ENDED,   /* given back, told to the database */
};

struct lease_borrow;

/*
 * who: no two processes may have the same, ever (host, process id and something random); at most
 * LEASE_CONSUMER_ID_MAX bytes; people see it in `ledgerd status`.  ttl_ms as for the leader.  The
 * store stays the caller's, and outlives this.  Calls nothing.
 */
struct lease_borrow *lease_borrow_create(
	struct lease_store *store, const char *who, int32_t partition, int64_t ttl_ms);

/* Gives nothing back: that is what lease_borrow_return is for. */
void lease_borrow_destroy(struct lease_borrow *borrow);

/*
 * Does what is due at now_ms (monotonic, counting suspended time): asks, acquires, renews, or notes
 * that the time is over.  Returns in how many milliseconds it wants to be called again, 0 while
 * there is more to do at once; later than that is harmless until two thirds of the TTL are over.
 * A failure of the store changes no state by itself and is tried again: *ret_failed, *err.
 * Does nothing in REFUSED, LOST and ENDED.
 */
int64_t lease_borrow_tick(
	struct lease_borrow *borrow, int64_t now_ms, bool *ret_failed, struct error *err);

enum lease_borrow_state lease_borrow_state(const struct lease_borrow *borrow);

/* Whether a transaction may begin now.  False at once after two thirds of the TTL.  Any thread. */
bool lease_borrow_valid(const struct lease_borrow *borrow, int64_t now_ms);

/* The epoch that every transaction must prove.  In HELD, and afterwards for messages. */
int64_t lease_borrow_epoch(const struct lease_borrow *borrow);

/* In REFUSED, whose request is alive; in ASKING, who holds the lease as far as is known; or "". */
const char *lease_borrow_rival(const struct lease_borrow *borrow);

/*
 * Withdraws the request and expires the lease at once, if they are still ours, in one transaction;
 * the instances then take the partition back within a moment.  The borrower has ended its own
 * transactions before.  0: ENDED.  Negative: call again, or leave it to expire by itself.
 */
int lease_borrow_return(struct lease_borrow *borrow, struct error *err);

#endif
