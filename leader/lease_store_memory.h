/*
 * The lease store in memory, for tests and the simulator.
 *
 * A `struct lease_db` plays the database: its rows, its members, its clock.  Each instance has a
 * `struct lease_store_memory`, its connection, which can be made to fail in the ways that a real
 * one fails.  A call is one transaction: all of it happens, or nothing.  partition_offsets is
 * shared with the in-memory database of the partitions; the world owns those rows.
 *
 * For one thread.  Nothing here is hidden: a test reads and changes the rows as it likes.
 */
#ifndef LEADER_LEASE_STORE_MEMORY_H
#define LEADER_LEASE_STORE_MEMORY_H

#include "lease_store.h"
#include "offsets_memory.h"

/* A row of leader_locks. */
struct lease_db_row {
	char consumer_id[LEASE_CONSUMER_ID_MAX + 1];
	int64_t epoch;
	int64_t acquired_us;
	int64_t expires_us; /* held while this is in the future */
	char requested_by[LEASE_CONSUMER_ID_MAX + 1];
	int64_t requested_until_us; /* from then on the request is stale and not shown */
};

/* A row of leader_members. */
struct lease_db_member {
	struct lease_member member; /* owns its list */
	int64_t expires_us;
};

struct lease_db {
	struct lease_db_row *rows;
	struct partition_offset_row *offsets; /* the world's, for offset_count partitions */
	int32_t row_count;                    /* rows that `prepare` has made */
	int32_t offset_count;
	struct lease_db_member *members; /* sorted by id; those that are not alive too */
	size_t member_count;
	int64_t (*now_us)(void *context); /* the server's clock */
	void *context;
	uint64_t cuts;   /* so often all connections were broken */
	uint64_t random; /* for epochs */
};

void lease_store_memory_db_init(struct lease_db *db, struct partition_offset_row *offsets,
	int32_t offset_count, int64_t (*now_us)(void *context), void *context);
void lease_store_memory_db_finish(struct lease_db *db);

/*
 * For a fail-over to a copy that is behind: makes *db hold what *copy holds (its offsets, too, in
 * db's own array; locks are gone), and breaks every connection: its next call fails.  A copy is a
 * lease_db with an array of its own.
 */
void lease_store_memory_db_restore(struct lease_db *db, const struct lease_db *copy);

/* The connection of one instance. */
struct lease_store_memory {
	struct lease_store store;
	struct lease_db *db;
	uint64_t cuts;    /* the server's, as far as this connection knows */
	bool unreachable; /* calls fail and nothing happens */
	int fail_before;  /* so many of the next calls fail before they are executed */
	int lose_answer;  /* so many of the next calls are executed and fail all the same */
	const char *call; /* the newest one, "renew", and how it ended: */
	bool failed_before;
	bool lost_answer;
	/* Called where a real call takes time, if set: before and after it is executed, and (lock)
	 * where it waits for a row's lock. */
	void (*on_wait)(void *context, bool lock);
	void *wait_context;
};

/* Destroyed by its ops' destroy. */
struct lease_store_memory *lease_store_memory_create(struct lease_db *db);

#endif
