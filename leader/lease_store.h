/*
 * Where leases are kept: leader_locks, leader_members and partition_offsets in the database.
 *
 * The real one is lease_store_mysql.c, the one in memory lease_store_memory.c.  Used by one
 * thread, but for interrupt.  All times are the server's clock, in microseconds since the epoch;
 * the store is the only one that compares them with "now".  No call retries.  A negative code is a
 * failure after which nothing is known of the statement: the leader then reads the view again
 * before it believes anything.
 */
#ifndef LEADER_LEASE_STORE_H
#define LEADER_LEASE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define LEASE_CONSUMER_ID_MAX 128

/*
 * How long a request for a partition counts after it was last renewed.  The same for everybody, so
 * that whoever reads the rows judges alike.
 */
#define LEASE_REQUEST_MS 10000

/*
 * By how much, at most, a new epoch is above the old one where the server's clock is behind that: a
 * part of it by chance, so that a server which has taken over from one that was further on does not
 * come by the same epoch again.
 */
#define LEASE_EPOCH_STEP_MAX 1000000

/* A partition's lease and offset. */
struct lease_row {
	int32_t partition;
	char consumer_id[LEASE_CONSUMER_ID_MAX + 1]; /* "" if it was never held */
	int64_t epoch;
	int64_t expires_us;
	bool held;   /* expires_us is in the server's future */
	bool halted; /* partition_offsets.halted_reason is set: nobody takes it until `resume` */
	char requested_by[LEASE_CONSUMER_ID_MAX + 1]; /* whose request counts now; "" */
};

/* An instance that is alive: it announced itself within the TTL. */
struct lease_member {
	char consumer_id[LEASE_CONSUMER_ID_MAX + 1];
	bool all;            /* may own every partition */
	int32_t *partitions; /* else these, ascending (none: it is stopping); owned by the view */
	size_t partition_count;
};

struct lease_view {
	struct lease_row *rows; /* one a partition, ascending by partition, 0 to row_count - 1 */
	size_t row_count;
	struct lease_member *members; /* those alive, sorted by id */
	size_t member_count;
};

void lease_view_init(struct lease_view *view);
void lease_view_finish(struct lease_view *view);

/* A lease that its owner renews. */
struct lease_renewal {
	int32_t partition;
	int64_t epoch;
	bool ret_held;           /* the row still has this epoch, and now a new expiry */
	int64_t ret_next_offset; /* partition_offsets.next_offset, as it is committed */
};

/* A request for a partition, beside its lease (lease_borrow.h). */
struct lease_request {
	int32_t partition;
	int64_t epoch; /* of the lease that is renewed with it; 0: it is not ours yet */
	char ret_requested_by[LEASE_CONSUMER_ID_MAX + 1]; /* whose request counts now */
	char ret_consumer_id[LEASE_CONSUMER_ID_MAX + 1];  /* the lease as it is now */
	int64_t ret_epoch;
	bool ret_held;
	int64_t ret_next_offset; /* partition_offsets.next_offset, as it is committed */
};

struct lease_store;

struct lease_store_ops {
	/* Makes sure that rows for partitions 0..partitions-1 exist. */
	int (*prepare)(struct lease_store *s, int32_t partitions, struct error *err);
	/* Replaces what *view holds. */
	int (*read)(struct lease_store *s, struct lease_view *view, struct error *err);
	/*
	 * In one transaction: announces this instance for ttl_ms and renews these leases (by epoch,
	 * not by name) for ttl_ms; a lease that another epoch has taken is not renewed and not
	 * held.  An instance that is stopping is announced as one that may own nothing: not all,
	 * and no list.
	 */
	int (*renew)(struct lease_store *s, const char *consumer_id, const bool all,
		const int32_t *partitions, size_t partition_count, int64_t ttl_ms,
		struct lease_renewal *renewals, size_t count, struct error *err);
	/*
	 * Takes a partition whose lease has expired by the server's clock, that is not halted, and
	 * that nobody else requests.  Who requests it may take a halted one as well.  The new epoch
	 * is the greater of the server's clock in microseconds and the old one + 1 to
	 * LEASE_EPOCH_STEP_MAX, written to leader_locks and partition_offsets in one transaction.
	 * *ret_epoch is 0 if somebody else holds it.  -EAGAIN when a row is locked (a stopped owner
	 * inside its transaction).
	 */
	int (*acquire)(struct lease_store *s, const char *consumer_id, int32_t partition,
		int64_t ttl_ms, int64_t *ret_epoch, struct error *err);
	/* Expires a lease at once, if this epoch still holds it. */
	int (*release)(struct lease_store *s, int32_t partition, int64_t epoch, struct error *err);
	/*
	 * In one transaction: writes or renews who's request, unless somebody else's counts, and
	 * renews the lease for ttl_ms if request->epoch still holds it.  It waits for whoever is
	 * changing the row, so what it returns is settled: no earlier call of ours whose answer was
	 * lost takes effect later.  -ENOENT: there is no such partition.
	 */
	int (*request)(struct lease_store *s, const char *who, int64_t ttl_ms,
		struct lease_request *request, struct error *err);
	/* Withdraws who's request, and expires the lease at once if it is in this name. */
	int (*unrequest)(
		struct lease_store *s, const char *who, int32_t partition, struct error *err);
	/* This instance is no longer a member. */
	int (*withdraw)(struct lease_store *s, const char *consumer_id, struct error *err);
	/* From another thread, for good: the call that waits for the server and every later one
	 * fails. */
	void (*interrupt)(struct lease_store *s);
	void (*destroy)(struct lease_store *s);
};

/* Every lease store begins with this. */
struct lease_store {
	const struct lease_store_ops *ops;
};

#endif
