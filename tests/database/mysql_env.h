/*
 * A database for each test, on the server that LEDGERD_TEST_MYSQL_HOST, _PORT, _USER and _PASSWORD
 * name (with_mysql.py starts one).  Without them the test program ends as failed: a test that did
 * not run must not look like one that passed.
 */
#ifndef TESTS_DATABASE_MYSQL_ENV_H
#define TESTS_DATABASE_MYSQL_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "db.h"

struct mysql_env {
	struct db_options options; /* of the test's database */
	struct db *db;             /* a connection of the test's own, to look and to meddle */
	char database[64];
};

/* For cmocka: a new database with the schema; *state is the struct mysql_env. */
int mysql_env_setup(void **state);
/* The same without the schema. */
int mysql_env_setup_empty(void **state);
int mysql_env_teardown(void **state);

/* Statements that must succeed. */
void mysql_env_run(struct mysql_env *env, const char *text);
int64_t mysql_env_int(struct mysql_env *env, const char *query);
/* Good until the next call. */
const char *mysql_env_text(struct mysql_env *env, const char *query);

/* Ends a connection of somebody else; returns when the server has forgotten it. */
void mysql_env_kill(struct mysql_env *env, int64_t connection_id);

/* Milliseconds, monotonic. */
int64_t mysql_env_now_ms(void);
void mysql_env_sleep_ms(int64_t ms);

#define assert_ok(call, err)                                                                       \
	do {                                                                                       \
		int result_ = (int)(call);                                                         \
		if (result_ != 0)                                                                  \
			fail_msg("%s: %d: %s", #call, result_, (err).text);                        \
	} while (0)

#endif
