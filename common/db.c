/*
 * See db.h.
 *
 * LOCAL INFILE: the handlers below replace the library's, which would open files.  They serve
 * db->load and only while db_load runs; any other request is refused, and the connection closed.
 */
#include "db_private.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utf8.h"

#define REFUSED_FILE 2068 /* CR_LOAD_DATA_LOCAL_INFILE_REJECTED */

/* Failures ------------------------------------------------------------------------------------ */

enum db_result db_not_connected(struct db *db, const char *purpose, struct error *err)
{
	db->number = 2006;
	error_set(err, -ENOTCONN, "%s: not connected to MySQL", purpose);
	return DB_LOST;
}

/* The server is not to blame for what follows. */
enum db_result db_given_up(struct db *db, const char *purpose, struct error *err)
{
	db_disconnect(db);
	db->number = 0;
	error_set(err, -ECANCELED, "%s: given up, as the connection is no longer wanted", purpose);
	return DB_LOST;
}

/* A matter that the server did not call an error. */
enum db_result db_refuse(struct db *db, struct error *err, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	db->number = 0;
	error_set(err, -EINVAL, "%s", text);
	db_disconnect(db);
	return DB_HALT;
}

/* The library's last error.  The server has a say in its text, so what is not printable UTF-8
 * becomes a question mark. */
static const char *library_error(struct db *db, char text[ERROR_TEXT_MAX])
{
	const char *at = mysql_error(db->mysql);
	size_t left = strlen(at), length = 0;

	while (left > 0 && length + 4 < ERROR_TEXT_MAX) {
		size_t bytes = utf8_length(at, left);
		bool printable = bytes > 0 && !iscntrl((unsigned char)*at);

		bytes = bytes > 0 ? bytes : 1;
		if (printable)
			memcpy(text + length, at, bytes);
		else
			text[length] = '?';
		length += printable ? bytes : 1;
		at += bytes;
		left -= bytes;
	}
	text[length] = '\0';
	return text;
}

/* Says what the library's last error was; a connection that is of no more use is closed. */
enum db_result db_failed(struct db *db, const char *purpose, struct error *err)
{
	const char *state = mysql_sqlstate(db->mysql);
	char text[ERROR_TEXT_MAX];
	enum db_result result;

	if (db_is_interrupted(db))
		return db_given_up(db, purpose, err);
	if (db->load.refused[0])
		return db_refuse(db, err,
			"%s: the server asked for this machine's file \"%s\" and did not get it; "
			"do not "
			"trust this server",
			purpose, db->load.refused);
	db->number = mysql_errno(db->mysql);
	result = db_errors_result(db->number, state);
	error_set(err, -EIO, "%s: %s (error %u); %s", purpose, library_error(db, text), db->number,
		db_errors_remedy(db->number, state));
	if (result == DB_LOST)
		db_disconnect(db);
	return result;
}

unsigned db_errno(const struct db *db)
{
	return db->number;
}

int db_code(enum db_result result)
{
	static const int codes[] = {
		[DB_OK] = 0, [DB_RETRY] = -EAGAIN, [DB_LOST] = -ECONNRESET, [DB_HALT] = -EIO};

	return codes[result];
}

const char *db_purpose(char *buffer, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(buffer, DB_PURPOSE_MAX, format, args);
	va_end(args);
	return buffer;
}

int64_t db_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Statements ---------------------------------------------------------------------------------- */

enum db_result db_exec_text(
	struct db *db, const char *purpose, struct error *err, const char *text, size_t length)
{
	assert(!db->result);
	if (!db->mysql)
		return db_not_connected(db, purpose, err);
	db->used_ms = db_now_ms();
	if (mysql_real_query(db->mysql, text, length) != 0)
		return db_failed(db, purpose, err);
	return DB_OK;
}

enum db_result db_query_text(
	struct db *db, const char *purpose, struct error *err, const char *text, size_t length)
{
	enum db_result result = db_exec_text(db, purpose, err, text, length);

	if (result != DB_OK)
		return result;
	db->result = mysql_use_result(db->mysql);
	if (!db->result)
		return db_failed(db, purpose, err);
	db->row = NULL;
	db->row_result = DB_OK;
	snprintf(db->purpose, sizeof(db->purpose), "%s", purpose);
	return DB_OK;
}

static void build(struct db *db, const char *text, const struct sql_value *values, size_t count)
{
	sql_clear(&db->text);
	sql_build(&db->text, text, values, count);
}

enum db_result db_exec_values(struct db *db, const char *purpose, struct error *err,
	const char *text, const struct sql_value *values, size_t count)
{
	build(db, text, values, count);
	return db_exec_text(db, purpose, err, db->text.text, db->text.length);
}

enum db_result db_query_values(struct db *db, const char *purpose, struct error *err,
	const char *text, const struct sql_value *values, size_t count)
{
	build(db, text, values, count);
	return db_query_text(db, purpose, err, db->text.text, db->text.length);
}

int64_t db_affected(const struct db *db)
{
	return (int64_t)mysql_affected_rows(db->mysql);
}

int64_t db_insert_id(const struct db *db)
{
	return (int64_t)mysql_insert_id(db->mysql);
}

enum db_result db_begin(struct db *db, const char *purpose, struct error *err)
{
	return db_exec(db, purpose, err, "START TRANSACTION");
}

enum db_result db_commit(struct db *db, const char *purpose, struct error *err)
{
	return db_exec(db, purpose, err, "COMMIT");
}

void db_rollback(struct db *db)
{
	if (!db->mysql)
		return;
	if (db->result)
		db_end(db, NULL);
	if (db_exec(db, "rolling back", NULL, "ROLLBACK") != DB_OK)
		db_disconnect(db);
}

/* Rows ---------------------------------------------------------------------------------------- */

bool db_next(struct db *db)
{
	if (!db->result)
		return false; /* a failure has closed it */
	db->row = mysql_fetch_row(db->result);
	if (db->row) {
		db->lengths = mysql_fetch_lengths(db->result);
		return true;
	}
	if (mysql_errno(db->mysql) != 0)
		db->row_result = db_failed(db, db->purpose, &db->row_error);
	return false;
}

enum db_result db_end(struct db *db, struct error *err)
{
	if (db->result)
		mysql_free_result(db->result);
	db->result = NULL;
	db->row = NULL;
	if (db->row_result != DB_OK && err)
		*err = db->row_error;
	return db->row_result;
}

bool db_null(const struct db *db, unsigned column)
{
	return db->row[column] == NULL;
}

int64_t db_int(const struct db *db, unsigned column)
{
	return db->row[column] ? strtoll(db->row[column], NULL, 10) : 0;
}

const char *db_text(const struct db *db, unsigned column, size_t *ret_length)
{
	if (ret_length)
		*ret_length = db->row[column] ? db->lengths[column] : 0;
	return db->row[column] ? db->row[column] : "";
}

void db_copy(const struct db *db, unsigned column, char *buffer, size_t size)
{
	snprintf(buffer, size, "%s", db_text(db, column, NULL));
}

/* LOAD DATA LOCAL from memory ----------------------------------------------------------------- */

static int infile_init(void **ret_handle, const char *name, void *context)
{
	struct db *db = context;

	*ret_handle = db;
	if (db->load.read && strcmp(name, DB_INFILE) == 0)
		return 0;
	snprintf(db->load.refused, sizeof(db->load.refused), "%s", name[0] ? name : "?");
	return 1;
}

static int infile_read(void *handle, char *buffer, unsigned capacity)
{
	struct db *db = handle;
	int length = db->load.read(db->load.context, buffer, capacity);

	db->load.failed = length < 0;
	return length;
}

static void infile_end(void *handle)
{
	(void)handle;
}

static int infile_error(void *handle, char *text, unsigned capacity)
{
	(void)handle;
	snprintf(text, capacity, "no bytes for LOAD DATA");
	return REFUSED_FILE;
}

void db_serve_load(struct db *db)
{
	mysql_set_local_infile_handler(
		db->mysql, infile_init, infile_read, infile_end, infile_error, db);
}

static void read_warning(struct db *db, struct db_counts *counts)
{
	if (db_query(db, "reading warnings", NULL, "SHOW WARNINGS LIMIT 1") != DB_OK)
		return;
	if (db_next(db))
		db_copy(db, 2, counts->warning, sizeof(counts->warning));
	db_end(db, NULL);
}

static void read_counts(struct db *db, struct db_counts *counts)
{
	unsigned warnings = mysql_warning_count(db->mysql);

	counts->affected = db_affected(db);
	if (!sql_parse_counts(mysql_info(db->mysql), &counts->info))
		counts->info = (struct sql_counts){.records = -1};
	if (counts->info.warnings < warnings)
		counts->info.warnings = warnings;
	if (counts->info.warnings > 0)
		read_warning(db, counts);
}

enum db_result db_load(struct db *db, const char *purpose, struct error *err, const char *text,
	db_read_fn *read, void *context, struct db_counts *ret_counts)
{
	enum db_result result;

	*ret_counts = (struct db_counts){0};
	db->load = (struct load){.read = read, .context = context};
	result = db_exec_text(db, purpose, err, text, strlen(text));
	db->load.read = NULL;
	if (db->load.failed) {
		db->number = 0;
		error_set(
			err, -EINVAL, "%s: the rows could not be written; this is a bug", purpose);
		return DB_HALT;
	}
	if (result == DB_OK)
		read_counts(db, ret_counts);
	return result;
}
