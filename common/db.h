/*
 * One connection to MySQL or MariaDB: the only file that knows the client library.
 *
 * Statements are constants with `?` for values (sql.h); each is run for a `purpose`, which begins
 * the message if it fails: "moving the offset of partition 3".  Every function says what kind of
 * failure it was by the one table (db_errors.h) and never tries again.
 *
 * The session is fixed on connect: strict, UTC, READ COMMITTED, autocommit, affected rows are those
 * matched, no LOAD DATA but from this program's memory: a server that asks for a file gets nothing.
 *
 * A struct db is used by one thread at a time, but for db_interrupt.  Rows are read from the wire
 * as they come, so one result is open at most: db_query, db_next until false, db_end.
 */
#ifndef COMMON_DB_H
#define COMMON_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db_errors.h"
#include "error.h"
#include "sql.h"

/* Timeouts of 0 leave the server's or the library's own; they are rounded up to whole seconds. */
struct db_options {
	const char *host;
	int64_t port;
	const char *socket; /* "": host and port */
	const char *user;
	const char *password;
	const char *database; /* "": none is chosen */
	const char *tls_ca;   /* "": no TLS */
	bool tls_verify;      /* check the server's certificate and name */
	bool local_infile;    /* db_load will be called: the server must allow it */
	int64_t connect_timeout_ms;
	int64_t idle_timeout_ms; /* the server ends a session that is silent for so long, and rolls
				    back */
	int64_t net_timeout_ms;  /* the server's patience within a statement, for our bytes */
	int64_t io_timeout_ms;   /* our patience with the server */
	int64_t lock_timeout_ms; /* waiting for a row lock */
};

/*
 * Timeouts for a connection that holds row locks which the next owner of a lease may need: the
 * server ends the session, and with it the locks, within 6/10 of the TTL; our own waits for locks
 * are short, and a log-in, which may not be interrupted, takes a third of the TTL at most.
 */
void db_options_set_lease(struct db_options *options, int64_t ttl_ms);

struct db;

/* Copies the options; does not connect. */
struct db *db_create(const struct db_options *options);
void db_destroy(struct db *db);

/* Closes what there is and connects anew. */
enum db_result db_connect(struct db *db, struct error *err);
void db_disconnect(struct db *db);
bool db_connected(const struct db *db);

/*
 * Ends the use of a connection from another thread, for good: the call that waits for the server
 * fails at once, and every later one, db_connect included, with DB_LOST and db_errno 0.  Only a
 * log-in may go on (with Connector/C it does); connect_timeout_ms bounds it.  Whether a statement
 * that was under way is executed is unknown, as after any lost connection.
 */
void db_interrupt(struct db *db);
enum db_result db_ping(struct db *db, struct error *err);

/* Connects if there is no connection, or none that still holds after a silence in which the server
 * may have ended the session.  Not within a transaction. */
enum db_result db_ensure(struct db *db, struct error *err);

/* The number of the last failure, 0 if it was none of the database's. */
unsigned db_errno(const struct db *db);

/* "MariaDB 10.11.19"; of the last connection, "" before it. */
const char *db_server(const struct db *db);
bool db_is_mariadb(const struct db *db);
/* 101119 is 10.11.19 */
unsigned long db_server_version(const struct db *db);

/*
 * db_exec(db, purpose, err, "UPDATE t SET a = ? WHERE b = ?", SQL_INT(1), SQL_TEXT("x")): a
 * statement without rows.  db_query: one with rows.
 */
#define db_exec(db, purpose, err, ...)  DB_CALL(db_exec_values, db, purpose, err, __VA_ARGS__)
#define db_query(db, purpose, err, ...) DB_CALL(db_query_values, db, purpose, err, __VA_ARGS__)

/* The same for a statement that was put together with sql.h. */
enum db_result db_exec_text(
	struct db *db, const char *purpose, struct error *err, const char *text, size_t length);
enum db_result db_query_text(
	struct db *db, const char *purpose, struct error *err, const char *text, size_t length);

/* Rows that the last statement matched (UPDATE) or changed. */
int64_t db_affected(const struct db *db);

/* LAST_INSERT_ID(expression) of the last statement, or the row's number that it inserted. */
int64_t db_insert_id(const struct db *db);

/* The next row; false at the end or at a failure: db_end tells. */
bool db_next(struct db *db);

/* Ends a result, rows that were not read included. */
enum db_result db_end(struct db *db, struct error *err);

/* Columns of the row, from 0.  A NULL is 0, "" and true.  Texts are good until db_next or db_end.
 */
bool db_null(const struct db *db, unsigned column);
int64_t db_int(const struct db *db, unsigned column);
const char *db_text(const struct db *db, unsigned column, size_t *ret_length); /* or NULL */

/* Copies a text, cut to the size of the buffer. */
void db_copy(const struct db *db, unsigned column, char *buffer, size_t size);

enum db_result db_begin(struct db *db, const char *purpose, struct error *err);
enum db_result db_commit(struct db *db, const char *purpose, struct error *err);

/* Cannot fail: a connection that does not take it is closed. */
void db_rollback(struct db *db);

/* Bytes for a LOAD DATA: fills buffer and returns how many; 0 at the end, -1 on failure. */
typedef int db_read_fn(void *context, char *buffer, unsigned capacity);

/* A LOAD DATA's outcome. */
struct db_counts {
	struct sql_counts info;
	int64_t affected;
	char warning[200]; /* the first one's text */
};

/*
 * Runs "LOAD DATA LOCAL INFILE '" DB_INFILE "' ..." with what `read` delivers.  If read fails, the
 * server keeps what it got: the result is DB_HALT, and the caller rolls back as after any failure.
 */
#define DB_INFILE "ledgerd"
enum db_result db_load(struct db *db, const char *purpose, struct error *err, const char *text,
	db_read_fn *read, void *context, struct db_counts *ret_counts);

/* A purpose with numbers in it, for the length of the enclosing block. */
#define DB_PURPOSE(...) db_purpose((char[DB_PURPOSE_MAX]){0}, __VA_ARGS__)
#define DB_PURPOSE_MAX  96
const char *db_purpose(char *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For functions that say -EAGAIN for DB_RETRY, -ECONNRESET for DB_LOST and -EIO for DB_HALT. */
int db_code(enum db_result result);

/* A thread that used a connection calls this before it ends. */
void db_thread_end(void);

/* What db_exec and db_query are made of: values[0] only makes an empty list possible. */
enum db_result db_exec_values(struct db *db, const char *purpose, struct error *err,
	const char *text, const struct sql_value *values, size_t count);
enum db_result db_query_values(struct db *db, const char *purpose, struct error *err,
	const char *text, const struct sql_value *values, size_t count);
#define DB_CALL(function, db, purpose, err, text, ...)                                             \
	function((db), (purpose), (err), (text),                                                   \
		(const struct sql_value[]){SQL_NULL, ##__VA_ARGS__} + 1,                           \
		sizeof((const struct sql_value[]){SQL_NULL, ##__VA_ARGS__}) /                      \
				sizeof(struct sql_value) -                                         \
			1)

#endif
