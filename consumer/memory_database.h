/*
 * The server of the database in memory: what is committed, for the simulator and the tests.
 *
 * Its clients are stores (store_memory.h).  The rows of partition_offsets are the caller's: the
 * leases' store (leader/lease_store_memory.h) shares them.
 */
#ifndef CONSUMER_MEMORY_DATABASE_H
#define CONSUMER_MEMORY_DATABASE_H

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
	size_t headers_length;
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

/* For stores. */

/* The place of a key or an offset, or where it belongs. */
size_t memory_database_place(const struct memory_database *db, const struct balance_key *key);
size_t memory_partition_row_place(const struct memory_partition *table, int64_t offset);
size_t memory_partition_letter_place(const struct memory_partition *table, int64_t offset);

bool memory_partition_has_row(const struct memory_partition *table, int64_t offset);
bool memory_partition_has_letter(const struct memory_partition *table, int64_t offset);

/* The row of this account's transaction, whatever its content; NULL: there is none. */
const struct memory_journal_row *memory_database_find_id(
	const struct memory_database *db, const struct event *event);

/* Replaces the balance of this key, or adds it. */
void memory_database_put_balance(struct memory_database *db, const struct store_balance *row);

/* Adds a row whose offset is not there yet; the message's bytes are copied. */
void memory_partition_put_row(struct memory_partition *table, const struct memory_journal_row *row);
void memory_partition_put_letter(
	struct memory_partition *table, enum dead_reason reason, const struct message *message);

/* A copy with a NUL behind it, freed with free(); NULL for NULL. */
char *memory_copy_bytes(const char *bytes, size_t length);

#endif
