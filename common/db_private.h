/*
 * What db.c (statements, rows, LOAD DATA, failures) and db_connect.c (the connection) share. Nobody
 * else includes this.
 *
 * Owned: the MYSQL handle, made anew for each connection, and the open result.
 */
#ifndef COMMON_DB_PRIVATE_H
#define COMMON_DB_PRIVATE_H

#include <pthread.h>

#include <mysql.h>

#include "db.h"

/* What a running LOAD DATA is fed from. */
struct load {
	db_read_fn *read; /* NULL: none is running */
	void *context;
	bool failed;
	char refused[128]; /* the file that the server asked for and did not get */
};

struct db {
	struct db_options options; /* its texts are copies */
	MYSQL *mysql;              /* NULL: not connected */
	MYSQL_RES *result;         /* open between db_query and db_end */
	MYSQL_ROW row;
	unsigned long *lengths;
	enum db_result row_result; /* how reading the rows went */
	struct error row_error;
	char purpose[DB_PURPOSE_MAX]; /* of the open result */
	struct load load;
	struct sql text; /* the statement that is being put together */
	unsigned number; /* of the last failure */
	int64_t used_ms; /* monotonic: when the last statement began */
	char server[64];
	bool is_mariadb;
	unsigned long version;

	pthread_mutex_t lock; /* guards what follows: all that another thread may touch */
	int socket;           /* a duplicate of the connection's; -1: there is none */
	bool interrupted;
};

/* Failures: what a call returns, and what *err and db_errno say of it. */

/* There is no connection. */
enum db_result db_not_connected(struct db *db, const char *purpose, struct error *err);

/* It was interrupted, and is closed: the server is not to blame. */
enum db_result db_given_up(struct db *db, const char *purpose, struct error *err);

/* The library's last error; a connection that is of no more use is closed. */
enum db_result db_failed(struct db *db, const char *purpose, struct error *err);

/* A matter that the server did not call an error; the connection is closed. */
enum db_result db_refuse(struct db *db, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

bool db_is_interrupted(struct db *db);

/* Monotonic, counting suspended time. */
int64_t db_now_ms(void);

/* Before it connects: LOAD DATA LOCAL reads what db_load gives, and no file. */
void db_serve_load(struct db *db);

#endif
