/* See mysql_env.h. */
#include "mysql_env.h"

#include "mem.h"
#include "migrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	if (!value) {
		fprintf(stderr, "%s is not set: name a server, or run this through with_mysql.py\n",
			name);
		exit(1);
	}
	return value;
}

static void must(enum db_result result, const struct error *err)
{
	if (result != DB_OK)
		fail_msg("%s", err->text);
}

void mysql_env_run(struct mysql_env *env, const char *text)
{
	struct error err;

	must(db_exec_text(env->db, text, &err, text, strlen(text)), &err);
}

const char *mysql_env_text(struct mysql_env *env, const char *query)
{
	static char text[4096];
	struct error err;

	must(db_query_text(env->db, query, &err, query, strlen(query)), &err);
	snprintf(text, sizeof(text), "(no row)");
	if (db_next(env->db))
		snprintf(text, sizeof(text), "%s",
			db_null(env->db, 0) ? "NULL" : db_text(env->db, 0, NULL));
	must(db_end(env->db, &err), &err);
	return text;
}

int64_t mysql_env_int(struct mysql_env *env, const char *query)
{
	const char *text = mysql_env_text(env, query);
	char *end;
	int64_t number = strtoll(text, &end, 10);

	if (end == text || *end)
		fail_msg("%s: %s is no number", query, text);
	return number;
}

void mysql_env_kill(struct mysql_env *env, int64_t connection_id)
{
	char kill[64], count[128];

	snprintf(kill, sizeof(kill), "KILL %d", (int)connection_id);
	snprintf(count, sizeof(count),
		"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE id = %d",
		(int)connection_id);
	mysql_env_run(env, kill);
	for (int i = 0; i < 1000 && mysql_env_int(env, count) > 0; i++)
		mysql_env_sleep_ms(20);
	assert_int_equal(mysql_env_int(env, count), 0);
}

/* Makes the database over a connection without one, then connects to it. */
static void make_database(struct mysql_env *env)
{
	static int count;
	char text[128];
	struct error err;
	struct db *db = db_create(&env->options);

	snprintf(env->database, sizeof(env->database), "ledger_test_%d_%d", (int)getpid(), ++count);
	snprintf(text, sizeof(text), "CREATE DATABASE %s", env->database);
	must(db_connect(db, &err), &err);
	must(db_exec_text(db, text, &err, text, strlen(text)), &err);
	db_destroy(db);
	env->options.database = env->database;
	env->db = db_create(&env->options);
	must(db_connect(env->db, &err), &err);
}

int mysql_env_setup_empty(void **state)
{
	struct mysql_env *env = xcalloc(1, sizeof(*env));

	env->options = (struct db_options){
		.host = setting("LEDGERD_TEST_MYSQL_HOST"),
		.port = strtol(setting("LEDGERD_TEST_MYSQL_PORT"), NULL, 10),
		.socket = "",
		.user = setting("LEDGERD_TEST_MYSQL_USER"),
		.password = setting("LEDGERD_TEST_MYSQL_PASSWORD"),
		.database = "",
		.tls_ca = "",
		.tls_verify = true,
		.connect_timeout_ms = 5000,
	};
	*state = env;
	make_database(env);
	return 0;
}

int mysql_env_setup(void **state)
{
	struct mysql_env *env;
	struct error err;
	int count;

	mysql_env_setup_empty(state);
	env = *state;
	must(migrate_apply(env->db, NULL, NULL, &count, &err), &err);
	return 0;
}

int mysql_env_teardown(void **state)
{
	struct mysql_env *env = *state;
	char text[128];
	struct error err;

	db_rollback(env->db);
	if (!db_connected(env->db))
		must(db_connect(env->db, &err), &err);
	snprintf(text, sizeof(text), "DROP DATABASE %s", env->database);
	mysql_env_run(env, text);
	db_destroy(env->db);
	free(env);
	return 0;
}

int64_t mysql_env_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void mysql_env_sleep_ms(int64_t ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}
