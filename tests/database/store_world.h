/*
 * A partition's ledger with a real store, in a database of its own: events go in, batches are
 * decided with balances from the database and flushed by the flush's own steps.
 */
#ifndef TESTS_DATABASE_STORE_WORLD_H
#define TESTS_DATABASE_STORE_WORLD_H

#include "mysql_env.h"

#include "fixture.h"
#include "flush.h"
#include "ledger.h"
#include "store_mysql.h"

#define EVENTS ((size_t)4000)
#define TTL_MS 2000
#define EPOCH  5

/* A partition's ledger with a store, at epoch EPOCH. */
struct world {
	struct mysql_env *env;
	struct store *store;
	struct budget budget;
	struct ledger ledger;
	struct batch batch;
	struct flush flush;
	struct error err;
};

/* For cmocka: *state is the struct world. */
int store_world_setup(void **state);
int store_world_teardown(void **state);

/* Add to the batch: an event in USDT, and a message that is a dead letter. */
struct record *store_world_add(
	struct world *w, const char *id, int64_t account, const char *type, const char *amount);
struct record *store_world_add_letter(struct world *w, const struct message *message);

/* Takes the batch through the ledger. */
void store_world_decide(struct world *w);

/* Flushes a batch that is decided, to the end. */
struct flush_request store_world_request_of(struct world *w);
enum flush_verdict store_world_run_flush(struct world *w);

/* Decides the batch, flushes it, which must succeed, and begins the next one. */
void store_world_commit(struct world *w);

/* A flush's statements one by one; begin and move must succeed. */
void store_world_begin(struct world *w);
bool store_world_move(struct world *w);
enum store_result store_world_load(
	struct world *w, enum store_table table, struct store_counts *ret_counts);
void store_world_rollback(struct world *w);

/* The newest row of partition 0 is this dead letter. */
void store_world_check_newest(struct world *w, const struct message *message);

#endif
