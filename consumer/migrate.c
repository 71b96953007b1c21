/*
 * See migrate.h.
 *
 * DDL cannot be rolled back, so a migration is recorded before it begins (applied_at NULL) and
 * again when it is complete, and every statement may be run twice (sql/README.md).  Whatever a
 * crash or an error leaves is therefore finished by running the migration again from its beginning.
 */
#include "migrate.h"

#include "embed.h"
#include "mem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_WAIT_S 60
#define LOCK_NAME   "CONCAT('ledgerd migrate ', LEFT(SHA2(DATABASE(), 256), 40))"

/* The tables whose rows this program writes. */
#define TABLES                                                                                     \
	"('ledger_meta', 'partition_offsets', 'account_balances', 'balance_transactions', "        \
	"'dead_letters', 'offset_gaps', 'leader_locks', 'leader_members', 'outbox_events', "       \
	"'schema_migrations')"

extern const struct embed migrations;

/* What the database says of each migration. */
enum record_state { RECORD_NONE = 0, RECORD_BEGUN, RECORD_APPLIED, RECORD_OTHER };

struct records {
	enum record_state *states; /* of migrations.files */
	int newest_unknown;        /* a number that this program does not know; 0: none */
};

/* Questions with one answer ------------------------------------------------------------------- */

/* Whether a query has a row; its first two columns, if so, in `found`. */
struct answer {
	bool found;
	char first[128];
	char second[128];
};

static enum db_result ask(
	struct db *db, struct answer *ret_answer, struct error *err, const char *text)
{
	enum db_result result = db_query(db, "checking the schema", err, text);

	*ret_answer = (struct answer){0};
	if (result != DB_OK)
		return result;
	if (db_next(db)) {
		ret_answer->found = true;
		db_copy(db, 0, ret_answer->first, sizeof(ret_answer->first));
		db_copy(db, 1, ret_answer->second, sizeof(ret_answer->second));
	}
	return db_end(db, err);
}

/* Records ------------------------------------------------------------------------------------- */

static void note_record(struct records *records, struct db *db)
{
	int64_t number = db_int(db, 0);
	bool same;

	if (number < 0 || number >= (int64_t)migrations.count) {
		records->newest_unknown = (int)number;
		return;
	}
	same = strcmp(db_text(db, 1, NULL), migrations.files[number].sha256) == 0;
	if (db_null(db, 2))
		records->states[number] = RECORD_BEGUN;
	else
		records->states[number] = same ? RECORD_APPLIED : RECORD_OTHER;
}

static enum db_result read_records(struct db *db, struct records *records, struct error *err)
{
	enum db_result result = db_query(db, "reading schema_migrations", err,
		"SELECT number, checksum, applied_at FROM schema_migrations ORDER BY number");

	if (result != DB_OK)
		return result;
	while (db_next(db))
		note_record(records, db);
	return db_end(db, err);
}

/* What no migration can mend. */
static enum db_result check_records(const struct records *records, struct error *err)
{
	if (records->newest_unknown) {
		error_set(err, -EINVAL,
			"the database has migration %d, this program knows those up to %zu: it was "
			"migrated by a newer ledgerd; run that one here, too",
			records->newest_unknown, migrations.count - 1);
		return DB_HALT;
	}
	for (size_t i = 0; i < migrations.count; i++) {
		if (records->states[i] != RECORD_OTHER)
			continue;
		error_set(err, -EINVAL,
			"migration %04zu (%s) was applied to the database with another text than "
			"this "
			"program's: a file in sql/ was changed after its release; put it back, and "
			"add a "
			"new migration in its place",
			i, migrations.files[i].name);
		return DB_HALT;
	}
	return DB_OK;
}

/* Applying ------------------------------------------------------------------------------------ */

static enum db_result lock(struct db *db, struct error *err)
{
	enum db_result result = db_query(db, "waiting for another migration to end", err,
		"SELECT GET_LOCK(" LOCK_NAME ", ?)", SQL_INT(LOCK_WAIT_S));
	bool taken;

	if (result != DB_OK)
		return result;
	taken = db_next(db) && db_int(db, 0) == 1;
	result = db_end(db, err);
	if (result != DB_OK || taken)
		return result;
	error_set(err, -EAGAIN,
		"another `ledgerd migrate` has been running for %d s; wait for it, then try again",
		LOCK_WAIT_S);
	return DB_RETRY;
}

static void unlock(struct db *db)
{
	struct answer answer;

	if (db_connected(db))
		ask(db, &answer, NULL, "SELECT RELEASE_LOCK(" LOCK_NAME "), 0");
}

/* Tables of these names that somebody else made are left alone. */
static enum db_result check_first(struct db *db, struct error *err)
{
	struct answer table;
	enum db_result result = ask(db, &table, err,
		"SELECT TABLE_NAME, TABLE_SCHEMA FROM information_schema.TABLES "
		"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN " TABLES
		" ORDER BY TABLE_NAME = 'schema_migrations' DESC LIMIT 1");

	if (result != DB_OK || !table.found || strcmp(table.first, "schema_migrations") == 0)
		return result;
	error_set(err, -EEXIST,
		"the database %s has a table %s, but was never migrated by ledgerd: name an empty "
		"one "
		"in mysql.database",
		table.second, table.first);
	return DB_HALT;
}

static enum db_result run_statements(
	struct db *db, const struct embed_file *file, struct error *err)
{
	const char *cursor = file->text;
	enum db_result result = DB_OK;
	const char *text;
	size_t length;

	for (int i = 1; result == DB_OK && sql_next_statement(&cursor, &text, &length); i++)
		result = db_exec_text(db,
			DB_PURPOSE(
				"migration %04d (%s), statement %d", file->number, file->name, i),
			err, text, length);
	if (result != DB_OK)
		error_wrap(err, 0,
			"migration %04d did not finish; remove the cause, then run `ledgerd "
			"migrate` "
			"again, which begins it anew",
			file->number);
	return result;
}

static enum db_result apply_file(struct db *db, const struct embed_file *file, struct error *err)
{
	enum db_result result = db_exec(db, "noting a migration as begun", err,
		"REPLACE INTO schema_migrations (number, name, checksum, applied_at) "
		"VALUES (?, ?, ?, NULL)",
		SQL_INT(file->number), SQL_TEXT(file->name), SQL_TEXT(file->sha256));

	if (result == DB_OK)
		result = run_statements(db, file, err);
	if (result == DB_OK)
		result = db_exec(db, "noting a migration as applied", err,
			"UPDATE schema_migrations SET applied_at = UTC_TIMESTAMP(3) "
			"WHERE number = ?",
			SQL_INT(file->number));
	return result;
}

static enum db_result apply_missing(struct db *db, const struct records *records,
	migrate_progress_fn *progress, void *context, int *ret_count, struct error *err)
{
	enum db_result result = DB_OK;

	for (size_t i = 0; i < migrations.count && result == DB_OK; i++) {
		const struct embed_file *file = &migrations.files[i];

		if (records->states[i] == RECORD_APPLIED)
			continue;
		if (progress)
			progress(context, file->number, file->name);
		result = apply_file(db, file, err);
		*ret_count += result == DB_OK;
	}
	if (result == DB_OK && *ret_count > 0)
		result = db_exec(db, "noting the version of the schema", err,
			"UPDATE ledger_meta SET schema_version = ?",
			SQL_INT((int64_t)migrations.count - 1));
	return result;
}

enum db_result migrate_apply(struct db *db, migrate_progress_fn *progress, void *context,
	int *ret_count, struct error *err)
{
	struct records records = {0};
	enum db_result result = lock(db, err);

	*ret_count = 0;
	if (result != DB_OK)
		return result;
	records.states = xcalloc(migrations.count, sizeof(*records.states));
	result = check_first(db, err);
	if (result == DB_OK)
		result = run_statements(db, &migrations.files[0], err);
	if (result == DB_OK)
		result = read_records(db, &records, err);
	if (result == DB_OK)
		result = check_records(&records, err);
	if (result == DB_OK)
		result = apply_missing(db, &records, progress, context, ret_count, err);
	unlock(db);
	free(records.states);
	return result;
}

/* Checking ------------------------------------------------------------------------------------ */

static enum db_result check_server(struct db *db, struct error *err)
{
	bool old = db_server_version(db) < (db_is_mariadb(db) ? 101100u : 80000u);
	struct answer infile;
	enum db_result result;

	if (old) {
		error_set(err, -EINVAL,
			"the database server is %s; use MySQL 8.0 or later, or MariaDB 10.11 or "
			"later",
			db_server(db));
		return DB_HALT;
	}
	result = ask(db, &infile, err, "SELECT @@GLOBAL.local_infile, 0");
	if (result != DB_OK || strcmp(infile.first, "1") == 0)
		return result;
	error_set(err, -EINVAL, "local_infile is OFF on the database server; %s",
		db_errors_remedy(3948, "HY000"));
	return DB_HALT;
}

static enum db_result check_applied(const struct records *records, struct error *err)
{
	for (size_t i = 0; i < migrations.count; i++) {
		if (records->states[i] == RECORD_APPLIED)
			continue;
		error_set(err, -EINVAL, "migration %04zu (%s) %s: run `ledgerd migrate`", i,
			migrations.files[i].name,
			records->states[i] == RECORD_BEGUN ? "did not finish"
							   : "is not in the database yet");
		return DB_HALT;
	}
	return DB_OK;
}

static enum db_result check_migrations(struct db *db, struct error *err)
{
	struct records records = {0};
	struct answer table;
	enum db_result result = ask(db, &table, err,
		"SELECT TABLE_NAME, 0 FROM information_schema.TABLES "
		"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'schema_migrations'");

	if (result != DB_OK)
		return result;
	if (!table.found) {
		error_set(err, -ENOENT, "the database has no schema yet: run `ledgerd migrate`");
		return DB_HALT;
	}
	records.states = xcalloc(migrations.count, sizeof(*records.states));
	result = read_records(db, &records, err);
	if (result == DB_OK)
		result = check_records(&records, err);
	if (result == DB_OK)
		result = check_applied(&records, err);
	free(records.states);
	return result;
}

#define IN_OUR_TABLES(schema, table) schema " = DATABASE() AND " table " IN " TABLES

/* What must not be there: a query that finds it, and what to say of its two columns. */
static const struct {
	const char *query;
	const char *message;
} forbidden[] = {
	{"SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE " IN_OUR_TABLES(
		 "TABLE_SCHEMA", "TABLE_NAME") " AND NOT (ENGINE <=> 'InnoDB') LIMIT 1",
		"table %s has the engine %s, so that a flush is not one transaction: ALTER TABLE "
		"... "
		"ENGINE=InnoDB"},
	{"SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS "
	 "WHERE " IN_OUR_TABLES("EVENT_OBJECT_SCHEMA", "EVENT_OBJECT_TABLE") " LIMIT 1",
		"table %s has the trigger %s: a flush replaces rows, and would fire it for rows "
		"that "
		"have not changed; DROP TRIGGER"},
	{"SELECT TABLE_NAME, CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS "
	 "WHERE (" IN_OUR_TABLES("CONSTRAINT_SCHEMA", "TABLE_NAME") ") OR (" IN_OUR_TABLES(
		 "UNIQUE_CONSTRAINT_SCHEMA", "REFERENCED_TABLE_NAME") ") LIMIT 1",
		"table %s has the foreign key %s: a flush replaces rows, which deletes them for a "
		"moment; ALTER TABLE ... DROP FOREIGN KEY"},
	{"SELECT CONCAT(TABLE_NAME, '.', COLUMN_NAME), COLLATION_NAME "
	 "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
	 "AND TABLE_NAME IN ('balance_transactions', 'account_balances') "
	 "AND COLUMN_NAME IN ('transaction_id', 'currency_code') "
	 "AND COLLATION_NAME <> 'ascii_bin' LIMIT 1",
		"column %s has the collation %s, which takes different ids for one: change it back "
		"to "
		"ascii_bin, as in sql/0001_ledger.sql"},
};

static enum db_result check_forbidden(struct db *db, struct error *err)
{
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		struct answer what;
		enum db_result result = ask(db, &what, err, forbidden[i].query);

		if (result != DB_OK)
			return result;
		if (!what.found)
			continue;
		error_set(err, -EINVAL, forbidden[i].message, what.first, what.second);
		return DB_HALT;
	}
	return DB_OK;
}

/* The unique keys that correctness rests on. */
static const struct {
	const char *table;
	const char *columns;
} keys[] = {
	{"partition_offsets", "kafka_partition"},
	{"leader_locks", "id"},
	{"account_balances", "account_id,currency_code"},
	{"balance_transactions", "kafka_partition,kafka_offset"},
	{"balance_transactions", "transaction_id,account_id"},
	{"dead_letters", "kafka_partition,kafka_offset"},
};

static enum db_result check_key(
	struct db *db, const char *table, const char *columns, struct error *err)
{
	enum db_result result = db_query(db, "checking the schema", err,
		"SELECT INDEX_NAME FROM information_schema.STATISTICS "
		"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND NON_UNIQUE = 0 "
		"GROUP BY INDEX_NAME "
		"HAVING GROUP_CONCAT(COLUMN_NAME ORDER BY SEQ_IN_INDEX) = ? "
		"AND COUNT(SUB_PART) = 0",
		SQL_TEXT(table), SQL_TEXT(columns));
	bool found;

	if (result != DB_OK)
		return result;
	found = db_next(db);
	result = db_end(db, err);
	if (result != DB_OK || found)
		return result;
	error_set(err, -EINVAL,
		"table %s has no unique key on (%s): somebody has dropped it; put it back as in "
		"sql/",
		table, columns);
	return DB_HALT;
}

enum db_result migrate_check(struct db *db, struct error *err)
{
	enum db_result result = check_server(db, err);

	if (result == DB_OK)
		result = check_migrations(db, err);
	if (result == DB_OK)
		result = check_forbidden(db, err);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && result == DB_OK; i++)
		result = check_key(db, keys[i].table, keys[i].columns, err);
	return result;
}
