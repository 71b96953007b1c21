/*
 * The outbox's tables in memory: for the simulator and the tests.
 *
 * A struct outbox_memory_db is the server: the rows that are committed, the lease, the clock.  A
 * store is one relay's connection.  A call is one transaction: all of it happens, or nothing.  The
 * world commits rows as applications do, in any order of their ids.  Nothing is hidden: a test
 * reads and changes rows as it likes.  For one thread.
 */
#ifndef OUTBOX_OUTBOX_STORE_MEMORY_H
#define OUTBOX_OUTBOX_STORE_MEMORY_H

#include "outbox_store.h"
#include "splitmix.h"

struct outbox_memory_db {
	struct outbox_row
		*rows; /* ascending by id; PENDING, SENT or FAILED; texts are the world's */
	size_t count;
	size_t capacity;
	int64_t next_id;    /* AUTO_INCREMENT: taken by whoever inserts, committed or not */
	int64_t epoch;      /* of the lease */
	int64_t expires_us; /* held while this is in the future */
	int64_t (*now_us)(void *context); /* the server's clock */
	void *context;
	struct splitmix random; /* for epochs */
	uint64_t cuts;          /* so often all connections were broken */
	uint64_t marks;         /* transactions that marked rows */
	int64_t marking_epoch;  /* that the last of them was made under */
};

void outbox_memory_db_init(
	struct outbox_memory_db *db, int64_t (*now_us)(void *context), void *context);
void outbox_memory_db_finish(struct outbox_memory_db *db);

/* An insert commits; its id was taken from next_id before.  The row is copied, its texts are not.
 */
void outbox_memory_db_commit(struct outbox_memory_db *db, const struct outbox_row *row);

/* An independent copy of what is committed.  The next id is that behind the newest row. */
void outbox_memory_db_copy(struct outbox_memory_db *to, const struct outbox_memory_db *from);

/* A fail-over: *db holds what *copy holds, and every connection is broken: its next call fails. */
void outbox_memory_db_restore(struct outbox_memory_db *db, const struct outbox_memory_db *copy);

/* What happens to a call. */
enum outbox_memory_fault {
	OUTBOX_FAULT_NONE = 0,
	OUTBOX_FAULT_RETRY,       /* a transient error; not executed */
	OUTBOX_FAULT_LOST_BEFORE, /* the connection is lost; not executed */
	OUTBOX_FAULT_LOST_AFTER,  /* executed, but the answer is lost with the connection */
};

/* Asked at every call; what is the call's name, as in outbox_store_ops. */
typedef enum outbox_memory_fault outbox_memory_fault_fn(void *context, const char *what);

/* The database outlives the store.  fault NULL: nothing ever fails. */
struct outbox_store *outbox_store_memory_create(
	struct outbox_memory_db *db, outbox_memory_fault_fn *fault, void *context);

#endif
