/*
 * A database in memory: for the simulator and the tests.
 *
 * A struct memory_database is the server: what is committed, and which client's transaction holds
 * which row of partition_offsets.  A store is one client's connection.  LOAD DATA behaves as with
 * REPLACE: a row that meets its like replaces it and is counted as deleted; only commit makes
 * anything visible.  The world decides at every call whether it fails, and how.
 */
#ifndef CONSUMER_STORE_MEMORY_H
#define CONSUMER_STORE_MEMORY_H

#include "memory_database.h"

/* What happens to a call. */
enum memory_fault {
	MEMORY_FAULT_NONE = 0,
	MEMORY_FAULT_RETRY,       /* a transient error; not executed */
	MEMORY_FAULT_LOST_BEFORE, /* the connection is lost; not executed */
	MEMORY_FAULT_LOST_AFTER,  /* executed, but the answer is lost with the connection */
};

/* Asked at every call; what is the call's name, as in store_ops. */
typedef enum memory_fault memory_fault_fn(void *context, const char *what);

/* The database outlives the store.  fault NULL: nothing ever fails. */
struct store *store_memory_create(
	struct memory_database *db, memory_fault_fn *fault, void *context);

/* The server has had enough of a silent client: its transaction is rolled back, its connection cut.
 */
void store_memory_cut(struct store *s);

#endif
