/*
 * The schema: bringing it up to date (`ledgerd migrate`), and refusing to work with another one.
 *
 * The migrations are the files of sql/, which are part of the program.  Which of them a database
 * has is in its table schema_migrations, with the checksum of what was applied.
 */
#ifndef CONSUMER_MIGRATE_H
#define CONSUMER_MIGRATE_H

#include "db.h"

/* Called before a migration is applied: its number and name. */
typedef void migrate_progress_fn(void *context, int number, const char *name);

/*
 * Applies the migrations that the database lacks, in order.  db is connected, with the database
 * chosen, and with no short timeouts.  Safe to repeat, and to run from several processes at once:
 * the others wait, for a minute at most.  A migration that failed midway is named, and begun again
 * by the next call.  *ret_count: how many were applied.  progress may be NULL.
 */
enum db_result migrate_apply(struct db *db, migrate_progress_fn *progress, void *context,
	int *ret_count, struct error *err);

/*
 * Whether this program may work with the database: server new enough, local_infile allowed, exactly
 * the migrations that it knows, and tables that are still as they were made, without triggers and
 * foreign keys.  DB_HALT with the remedy if not.  (Triggers are seen only by a user who may make
 * some.)
 */
enum db_result migrate_check(struct db *db, struct error *err);

#endif
