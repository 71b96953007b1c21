/*
 * What an error number of MySQL, MariaDB or their client library means for us: the one table.
 *
 * Pure: numbers in, a class and a sentence for people out.  Numbers are spelled out, as neither
 * client library's header has those of the other server.
 */
#ifndef COMMON_DB_ERRORS_H
#define COMMON_DB_ERRORS_H

#include <stddef.h>

enum db_result {
	DB_OK = 0,
	DB_RETRY, /* transient, and the connection is good: roll back, wait, the same again */
	DB_LOST,  /* connect again; whether the statement was executed is unknown */
	DB_HALT,  /* a bug or a person's matter: the same again would fail again */
};

struct db_error {
	unsigned number;
	enum db_result result;
	const char *remedy; /* a sentence for people, without a full stop */
};

/* NULL if the number is not in the table. */
const struct db_error *db_errors_find(unsigned number);

/*
 * The class of an error.  A number that is not in the table goes by its kind: an error of the
 * client library or of SQLSTATE class 08 (connection) is DB_LOST, one of class 40 (rolled back)
 * DB_RETRY, and any other DB_HALT: what nobody knows must not be tried for ever.
 */
enum db_result db_errors_result(unsigned number, const char *sqlstate);

/* What a person can do about it; never NULL. */
const char *db_errors_remedy(unsigned number, const char *sqlstate);

const char *db_errors_text(enum db_result result); /* "retry" */

/* The whole table, sorted by number: for tests and the manual. */
const struct db_error *db_errors_table(size_t *ret_count);

#endif
