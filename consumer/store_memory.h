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

#include "offsets_memory.h"
#include "store.h"

struct memory_journal_row {
	int64_t offset;
	struct event event;
	enum refusal refusal; /* REFUSAL_NONE: SUCCESS */
	i128 available_after;
	i128 frozen_after;
	int64_t prev_offset;
};

struct memory_dead_letter {
	int64_t offset;
	enum dead_reason reason;
	char *key; /* NULL: absent */
	size_t key_length;
	char *value;
	size_t value_length;
	char *headers; /* JSON text; NULL: none */
};

struct memory_gap {
	int64_t from_offset;
	int64_t to_offset; /* exclusive */
};

/* Rows of one partition, ascending by offset. */
struct memory_partition {
	struct memory_journal_row *journal;
	size_t journal_count;
	size_t journal_capacity;
	struct memory_dead_letter *dead_letters;
	size_t dead_letter_count;
	size_t dead_letter_capacity;
	struct memory_gap *gaps;
	size_t gap_count;
	size_t gap_capacity;
};

struct memory_database {
	int32_t partitions;
	struct partition_offset_row *offsets; /* by partition; shared with the leases' store */
	struct memory_partition *tables;      /* by partition */
	struct store_balance *balances;       /* ascending by key */
	size_t balance_count;
	size_t balance_capacity;
	uint64_t commits;
	uint64_t cuts; /* so often all connections were broken */
};

void memory_database_init(
	struct memory_database *db, int32_t partitions, struct partition_offset_row *offsets);
void memory_database_finish(struct memory_database *db);

/* An independent copy of what is committed: to fail over to later. */
void memory_database_copy(struct memory_database *to, const struct memory_database *from,
	struct partition_offset_row *offsets);

/*
 * A fail-over: *db holds from now on what *copy held, offsets included, and *copy what *db held.
 * Locks are gone, and every connection to *db is broken: its next call is lost, and nothing that it
 * has begun is seen by anybody.
 */
void memory_database_fail_over(struct memory_database *db, struct memory_database *copy);

const struct store_balance *memory_database_balance(
	const struct memory_database *db, struct balance_key key);

/* What a person does by hand: deletes the row at this offset (false: there is none), or skips
 * offsets. */
bool memory_database_delete_row(struct memory_database *db, int32_t partition, int64_t offset);
bool memory_database_delete_letter(struct memory_database *db, int32_t partition, int64_t offset);
void memory_database_skip(
	struct memory_database *db, int32_t partition, int64_t from_offset, int64_t to_offset);

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
