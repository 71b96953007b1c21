/* The connection: what a session is set to, how failures are told apart, and that no server gets a
 * file of this machine. */
#include "mysql_env.h"
#include "rogue_server.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct db *connect_with(struct mysql_env *env, const struct db_options *options)
{
	struct db *db = db_create(options);
	struct error err;

	(void)env;
	assert_ok(db_connect(db, &err), err);
	return db;
}

static int64_t variable(struct db *db, const char *name)
{
	struct error err;
	int64_t value;

	assert_ok(db_query(db, name, &err, "SHOW SESSION VARIABLES LIKE ?", SQL_TEXT(name)), err);
	assert_true(db_next(db));
	value = db_int(db, 1);
	assert_ok(db_end(db, &err), err);
	return value;
}

static void test_the_session_is_fixed(void **state)
{
	struct mysql_env *env = *state;
	struct db_options options = env->options;
	struct db *db;

	/* A server's defaults that would change what a LOAD DATA means do not reach the session. */
	mysql_env_run(env, "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'");
	mysql_env_run(env, "SET GLOBAL time_zone = '+05:00'");
	db_options_set_lease(&options, 10000);
	db = connect_with(env, &options);
	mysql_env_run(env, "SET GLOBAL sql_mode = DEFAULT");
	mysql_env_run(env, "SET GLOBAL time_zone = 'SYSTEM'");
	assert_int_equal(variable(db, "wait_timeout"), 6);
	assert_int_equal(variable(db, "net_read_timeout"), 6);
	assert_int_equal(variable(db, "net_write_timeout"), 6);
	assert_int_equal(variable(db, "innodb_lock_wait_timeout"), 1);
	db_destroy(env->db);
	env->db = db;
	assert_null(strstr(mysql_env_text(env, "SELECT @@SESSION.sql_mode"), "BACKSLASH"));
	assert_null(strstr(mysql_env_text(env, "SELECT @@SESSION.sql_mode"), "ANSI"));
	assert_non_null(strstr(mysql_env_text(env, "SELECT @@SESSION.sql_mode"), "STRICT_ALL"));
	assert_string_equal(mysql_env_text(env, "SELECT @@SESSION.time_zone"), "+00:00");
	assert_string_equal(mysql_env_text(env, "SELECT @@SESSION.unique_checks"), "1");
	assert_string_equal(
		mysql_env_text(env, "SELECT @@SESSION.character_set_client"), "utf8mb4");
	assert_string_equal(
		mysql_env_text(env, "SELECT TIMEDIFF(NOW(), UTC_TIMESTAMP())"), "00:00:00");
}

/* The lease's rule: the server gives up within the TTL, whatever it is. */
static void test_timeouts_fit_the_ttl(void **state)
{
	static const int64_t ttls_ms[] = {1000, 1500, 2000, 3000, 10000, 15000, 60000};
	struct db_options options = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(ttls_ms) / sizeof(ttls_ms[0]); i++) {
		db_options_set_lease(&options, ttls_ms[i]);
		assert_true(options.idle_timeout_ms >= 1000);
		assert_true(options.idle_timeout_ms <= ttls_ms[i]);
		assert_int_equal(options.idle_timeout_ms % 1000, 0);
		assert_true(options.connect_timeout_ms > 0 &&
			    3 * options.connect_timeout_ms <= 3000 + ttls_ms[i]);
	}
}

static void test_values_come_back_as_they_went(void **state)
{
	struct mysql_env *env = *state;
	char bytes[256];
	struct error err;
	size_t length;

	for (int i = 0; i < 256; i++)
		bytes[i] = (char)i;
	assert_ok(db_query(env->db, "a round trip", &err,
			  "SELECT ?, ?, ?, ?, 'a' UNION ALL SELECT 2, 'x', NULL, '', NULL",
			  SQL_INT(INT64_MIN), SQL_TEXT("it's \\ \"\xf0\x9f\x98\x80\" ?\n"),
			  SQL_NULL, SQL_BYTES(bytes, 256)),
		err);
	assert_true(db_next(env->db));
	assert_true(db_int(env->db, 0) == INT64_MIN);
	assert_string_equal(db_text(env->db, 1, NULL), "it's \\ \"\xf0\x9f\x98\x80\" ?\n");
	assert_true(db_null(env->db, 2));
	assert_int_equal(db_int(env->db, 2), 0);
	assert_memory_equal(db_text(env->db, 3, &length), bytes, 256);
	assert_int_equal(length, 256);
	/* A result that is left early does no harm to the next statement. */
	assert_ok(db_end(env->db, &err), err);
	assert_int_equal(mysql_env_int(env, "SELECT 7"), 7);
}

/* CLIENT_FOUND_ROWS: a row that is matched but not changed counts. */
static void test_affected_rows_are_those_matched(void **state)
{
	struct mysql_env *env = *state;

	mysql_env_run(env, "CREATE TABLE t (a INT PRIMARY KEY, b INT) ENGINE=InnoDB");
	mysql_env_run(env, "INSERT INTO t VALUES (1, 1), (2, 1)");
	mysql_env_run(env, "UPDATE t SET b = 1");
	assert_int_equal(db_affected(env->db), 2);
	mysql_env_run(env, "UPDATE t SET a = LAST_INSERT_ID(77) WHERE a = 1");
	assert_int_equal(db_insert_id(env->db), 77);
}

/* Connections that fail ----------------------------------------------------------------------- */

static void assert_cannot_connect(
	const struct db_options *options, enum db_result expected, const char *says)
{
	struct db *db = db_create(options);
	struct error err = {"(nothing)"};
	int64_t begin_ms = mysql_env_now_ms();

	assert_int_equal(db_connect(db, &err), expected);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
	assert_true(mysql_env_now_ms() - begin_ms < 4000);
	assert_false(db_connected(db));
	/* And nothing can be done with it. */
	assert_int_equal(db_exec(db, "trying", &err, "SELECT 1"), DB_LOST);
	db_rollback(db);
	db_destroy(db);
}

static int listen_on(int *ret_port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void test_failed_connections_say_why(void **state)
{
	struct mysql_env *env = *state;
	struct db_options options = env->options;
	int port;
	int fd = listen_on(&port);

	options.connect_timeout_ms = 1000;
	options.password = "wrong";
	assert_cannot_connect(&options, DB_HALT, "LEDGERD_MYSQL_PASSWORD");
	options.password = env->options.password;
	options.database = "no_such_database";
	assert_cannot_connect(&options, DB_HALT, "create the database");
	options.database = env->options.database;
	options.socket = "/nonexistent/mysql.sock";
	assert_cannot_connect(&options, DB_LOST, "/nonexistent/mysql.sock");
	options.socket = "";
	options.port = port; /* takes the connection, and says nothing */
	assert_cannot_connect(&options, DB_LOST, "127.0.0.1");
	close(fd);
	assert_cannot_connect(&options, DB_LOST, "mysql.port");
}

/* With mysql.tls_ca nothing is sent in the clear: a server without TLS is refused, also when its
 * certificate would not be checked. */
static void test_tls_is_not_given_up(void **state)
{
	struct mysql_env *env = *state;
	struct db_options options = env->options;
	struct db *db;
	struct error err;

	options.tls_ca = "/nonexistent/ca.pem";
	db = db_create(&options);
	assert_int_equal(db_connect(db, &err), DB_LOST);
	db_destroy(db);
	options.tls_verify = false;
	db = db_create(&options);
	if (db_connect(db, &err) == DB_OK) {
		assert_ok(db_query(db, "the cipher", &err, "SHOW STATUS LIKE 'Ssl_cipher'"), err);
		assert_true(db_next(db));
		assert_string_not_equal(db_text(db, 1, NULL), "");
		assert_ok(db_end(db, &err), err);
	} else {
		assert_non_null(strstr(err.text, "does not offer TLS"));
	}
	db_destroy(db);
}

/* A server that stops answering within a statement. */
static void test_silence_is_noticed(void **state)
{
	struct mysql_env *env = *state;
	struct db_options options = env->options;
	int64_t begin_ms = mysql_env_now_ms();
	struct error err;
	struct db *db;

	options.io_timeout_ms = 1000;
	db = connect_with(env, &options);
	assert_int_equal(db_exec(db, "sleeping", &err, "DO SLEEP(8)"), DB_LOST);
	assert_true(mysql_env_now_ms() - begin_ms < 5000);
	assert_false(db_connected(db));
	db_destroy(db);
}

/* A server that offers TLS and falls silent before it is set up: taken or demanded, connecting ends
 * in time. */
static void test_silence_within_tls_is_noticed(void **state)
{
	static const char *const cas[] = {"", "/nonexistent/ca.pem"};
	struct mysql_env *env = *state;
	struct db_options options = env->options;
	int port;
	bool asked;

	options.connect_timeout_ms = 1000;
	options.tls_verify = false;
	for (size_t i = 0; i < sizeof(cas) / sizeof(cas[0]); i++) {
		struct rogue_server *rogue = rogue_server_start(ROGUE_SILENT_IN_TLS, NULL, &port);

		options.port = port;
		options.tls_ca = cas[i];
		assert_cannot_connect(&options, DB_LOST, "127.0.0.1");
		rogue_server_stop(rogue, &asked);
	}
}

/* Interrupting, from another thread ------------------------------------------------------------ */

struct interruption {
	struct db *db;
	int64_t after_ms;
	pthread_t thread;
};

static void *interrupt_later(void *context)
{
	struct interruption *i = context;

	mysql_env_sleep_ms(i->after_ms);
	db_interrupt(i->db);
	return NULL;
}

static void interrupt_after(struct interruption *i, struct db *db, int64_t after_ms)
{
	*i = (struct interruption){.db = db, .after_ms = after_ms};
	assert_int_equal(pthread_create(&i->thread, NULL, interrupt_later, i), 0);
}

/* For good: nothing can be done with it any more, connecting anew included. */
static void assert_of_no_use(struct db *db)
{
	struct error err;

	assert_false(db_connected(db));
	assert_int_equal(db_exec(db, "trying", &err, "DO 1"), DB_LOST);
	assert_int_equal(db_ensure(db, &err), DB_LOST);
	assert_non_null(strstr(err.text, "no longer wanted"));
	assert_int_equal(db_connect(db, &err), DB_LOST);
	assert_int_equal(db_errno(db), 0);
}

static void test_an_interrupted_statement_ends_at_once(void **state)
{
	struct mysql_env *env = *state;
	struct db *db = connect_with(env, &env->options);
	int64_t begin_ms = mysql_env_now_ms();
	struct interruption i;
	struct error err;

	interrupt_after(&i, db, 200);
	assert_int_equal(db_exec(db, "sleeping", &err, "DO SLEEP(20)"), DB_LOST);
	assert_true(mysql_env_now_ms() - begin_ms < 5000);
	assert_int_equal(db_errno(db), 0);
	assert_non_null(strstr(err.text, "sleeping: "));
	pthread_join(i.thread, NULL);
	assert_of_no_use(db);
	db_destroy(db);
}

/* Rows that the server is still making, after the first ones were read. */
static void test_an_interrupted_result_ends_at_once(void **state)
{
	struct mysql_env *env = *state;
	struct db *db = connect_with(env, &env->options);
	int64_t begin_ms = mysql_env_now_ms();
	struct interruption i;
	struct error err;

	assert_ok(db_query(db, "slow rows", &err,
			  "SELECT REPEAT('x', 100000), SLEEP(0.05) FROM "
			  "information_schema.COLLATIONS a, information_schema.COLLATIONS b"),
		err);
	interrupt_after(&i, db, 200);
	while (db_next(db))
		assert_true(mysql_env_now_ms() - begin_ms < 5000);
	assert_int_equal(db_end(db, &err), DB_LOST);
	pthread_join(i.thread, NULL);
	assert_of_no_use(db);
	db_destroy(db);
}

/* A stop does not wait for a server that fell silent while the connection was made. */
static void test_an_interrupted_connect_ends_soon(void **state)
{
	struct mysql_env *env = *state;
	struct db_options options = env->options;
	int64_t begin_ms = mysql_env_now_ms();
	struct rogue_server *rogue;
	struct interruption i;
	struct error err;
	struct db *db;
	bool asked;
	int port;

	rogue = rogue_server_start(ROGUE_SILENT_IN_TLS, NULL, &port);
	options.port = port;
	options.connect_timeout_ms = 2000;
	db = db_create(&options);
	interrupt_after(&i, db, 200);
	assert_int_equal(db_connect(db, &err), DB_LOST);
	assert_true(mysql_env_now_ms() - begin_ms < 4000);
	assert_non_null(strstr(err.text, "no longer wanted"));
	pthread_join(i.thread, NULL);
	assert_of_no_use(db);
	db_destroy(db);
	rogue_server_stop(rogue, &asked);
}

/* Before the first connection, between two, and just when one is made. */
static void test_an_interruption_is_not_forgotten(void **state)
{
	struct mysql_env *env = *state;
	struct db *db = db_create(&env->options);
	struct error err;

	db_interrupt(db);
	db_interrupt(db);
	assert_of_no_use(db);
	db_destroy(db);
	db = connect_with(env, &env->options);
	db_disconnect(db);
	db_interrupt(db);
	assert_of_no_use(db);
	db_destroy(db);
	for (int64_t ms = 0; ms < 10; ms++) {
		struct interruption i;

		db = db_create(&env->options);
		interrupt_after(&i, db, ms / 2);
		while (db_connect(db, &err) == DB_OK)
			;
		pthread_join(i.thread, NULL);
		assert_of_no_use(db);
		db_destroy(db);
	}
}

/* The descriptors are all given back. */
static void test_connections_leave_no_descriptor_open(void **state)
{
	struct mysql_env *env = *state;
	struct db *db = db_create(&env->options);
	struct error err;
	int before = dup(0), after;

	for (int i = 0; i < 5; i++)
		assert_ok(db_connect(db, &err), err);
	db_destroy(db);
	after = dup(0);
	assert_int_equal(after, before + 1);
	close(before);
	close(after);
}

/* The server ends a session that is idle for too long: the row lock of a stopped client goes, too.
 */
static void test_idle_sessions_end(void **state)
{
	struct mysql_env *env = *state;
	struct db_options options = env->options;
	struct error err;
	struct db *db;

	options.idle_timeout_ms = 1000;
	db = connect_with(env, &options);
	mysql_env_sleep_ms(2500);
	assert_int_equal(db_ping(db, &err), DB_LOST);
	assert_ok(db_connect(db, &err), err);
	assert_ok(db_ping(db, &err), err);
	db_destroy(db);
}

static void test_killed_connections_are_lost(void **state)
{
	struct mysql_env *env = *state;
	struct db *db = connect_with(env, &env->options);
	struct error err;
	int64_t id;

	assert_ok(db_query(db, "asking for the id", &err, "SELECT CONNECTION_ID()"), err);
	assert_true(db_next(db));
	id = db_int(db, 0);
	assert_ok(db_end(db, &err), err);
	mysql_env_kill(env, id);
	assert_int_equal(db_exec(db, "doing something", &err, "DO 1"), DB_LOST);
	assert_non_null(strstr(err.text, "doing something: "));
	assert_true(db_errno(db) != 0);
	db_destroy(db);
}

static void test_bad_statements_halt(void **state)
{
	struct mysql_env *env = *state;
	struct error err;

	assert_int_equal(db_exec(env->db, "a typo", &err, "SELEKT 1"), DB_HALT);
	assert_int_equal(db_errno(env->db), 1064);
	assert_int_equal(db_exec(env->db, "no table", &err, "DELETE FROM nothing"), DB_HALT);
	assert_non_null(strstr(err.text, "ledgerd migrate"));
	assert_true(db_connected(env->db));
	assert_int_equal(mysql_env_int(env, "SELECT 1"), 1);
}

/* LOAD DATA ----------------------------------------------------------------------------------- */

struct source {
	const char *text;
	size_t left;
	bool fail;
};

static int read_source(void *context, char *buffer, unsigned capacity)
{
	struct source *source = context;
	size_t length = source->left < capacity ? source->left : capacity;

	if (source->fail && length == 0)
		return -1;
	memcpy(buffer, source->text, length);
	source->text += length;
	source->left -= length;
	return (int)length;
}

#define LOAD_T                                                                                     \
	"LOAD DATA LOCAL INFILE '" DB_INFILE "' REPLACE INTO TABLE t CHARACTER SET binary "        \
	"FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' (a, b)"

static struct db *prepare_load(struct mysql_env *env)
{
	struct db_options options = env->options;

	options.local_infile = true;
	mysql_env_run(env, "CREATE TABLE t (a INT PRIMARY KEY, b DECIMAL(4,2)) ENGINE=InnoDB");
	return connect_with(env, &options);
}

static void test_load_counts(void **state)
{
	struct db *db = prepare_load(*state);
	struct source source = {"1\t1.5\n2\t\\N\n", 11, false};
	struct db_counts counts;
	struct error err;

	assert_ok(db_load(db, "loading", &err, LOAD_T, read_source, &source, &counts), err);
	assert_int_equal(counts.affected, 2);
	assert_int_equal(counts.info.records, 2);
	assert_int_equal(counts.info.deleted, 0);
	assert_int_equal(counts.info.warnings, 0);
	source = (struct source){"2\t3\n3\t1.009\n", 12, false};
	assert_ok(db_load(db, "loading", &err, LOAD_T, read_source, &source, &counts), err);
	assert_int_equal(counts.affected, 3); /* one replaced */
	assert_int_equal(counts.info.records, 2);
	assert_int_equal(counts.info.deleted, 1);
	assert_int_equal(counts.info.warnings, 1); /* excess decimals are rounded */
	assert_non_null(strstr(counts.warning, "truncated"));
	db_destroy(db);
}

/* With REPLACE the server stays strict. */
static void test_load_refuses_bad_rows(void **state)
{
	static const char *const rows[] = {"1\tx\n", "1\t1000\n", "x\t1\n", "1\n", "1\t1\t1\n"};
	static const unsigned numbers[] = {1366, 1264, 1366, 1261, 1262};
	struct db *db = prepare_load(*state);
	struct db_counts counts;
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct source source = {rows[i], strlen(rows[i]), false};

		assert_int_equal(
			db_load(db, "loading", &err, LOAD_T, read_source, &source, &counts),
			DB_HALT);
		assert_int_equal(db_errno(db), numbers[i]);
	}
	assert_int_equal(mysql_env_int(*state, "SELECT COUNT(*) FROM t"), 0);
	db_destroy(db);
}

/* The server keeps the rows that it got: only a rollback takes them back. */
static void test_load_that_breaks_off_is_a_failure(void **state)
{
	struct db *db = prepare_load(*state);
	struct source source = {"1\t1\n", 4, true};
	struct db_counts counts;
	struct error err;

	assert_ok(db_begin(db, "beginning", &err), err);
	assert_int_equal(
		db_load(db, "loading", &err, LOAD_T, read_source, &source, &counts), DB_HALT);
	db_rollback(db);
	assert_true(db_connected(db));
	assert_int_equal(mysql_env_int(*state, "SELECT COUNT(*) FROM t"), 0);
	/* And the connection is as good as before. */
	source = (struct source){"1\t1\n", 4, false};
	assert_ok(db_load(db, "loading", &err, LOAD_T, read_source, &source, &counts), err);
	assert_int_equal(counts.info.records, 1);
	db_destroy(db);
}

/* Outside of db_load, and by another name, nothing is served: not even a file that exists. */
static void test_a_real_server_gets_no_file_either(void **state)
{
	struct db *db = prepare_load(*state);
	struct db_counts counts;
	struct source source = {"1\t1\n", 4, false};
	struct error err;

	assert_int_equal(
		db_exec(db, "stealing", &err,
			"LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t (@x) SET a = 1"),
		DB_HALT);
	assert_non_null(strstr(err.text, "/etc/hostname"));
	assert_false(db_connected(db));
	assert_ok(db_connect(db, &err), err);
	assert_int_equal(db_exec(db, "stealing", &err, LOAD_T), DB_HALT);
	assert_ok(db_connect(db, &err), err);
	assert_int_equal(
		db_load(db, "stealing", &err,
			"LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t (@x) SET a = 2",
			read_source, &source, &counts),
		DB_HALT);
	assert_int_equal(mysql_env_int(*state, "SELECT COUNT(*) FROM t"), 0);
	db_destroy(db);
}

static void meet_rogue(struct mysql_env *env, enum rogue_moment moment, bool local_infile)
{
	struct db_options options = env->options;
	struct source source = {"1\t1\n", 4, false};
	struct db_counts counts;
	struct error err;
	struct rogue_server *rogue;
	enum db_result result;
	struct db *db;
	size_t stolen;
	bool asked;
	int port;

	rogue = rogue_server_start(moment, "/etc/passwd", &port);
	options.port = port;
	options.local_infile = local_infile;
	options.io_timeout_ms = 3000;
	db = db_create(&options);
	result = db_connect(db, &err);
	if (moment == ROGUE_AT_LOAD_DATA) {
		assert_ok(result, err);
		result = db_load(db, "loading", &err, LOAD_T, read_source, &source, &counts);
	}
	db_destroy(db);
	stolen = rogue_server_stop(rogue, &asked);
	assert_true(asked);
	assert_int_equal(stolen, 0);
	assert_true(result == DB_HALT || (!local_infile && result == DB_LOST));
	if (local_infile)
		assert_non_null(strstr(err.text, "/etc/passwd"));
}

static void test_a_rogue_server_gets_nothing(void **state)
{
	meet_rogue(*state, ROGUE_AT_FIRST_STATEMENT, true);
	meet_rogue(*state, ROGUE_AT_FIRST_STATEMENT, false);
	meet_rogue(*state, ROGUE_AT_LOAD_DATA, true);
}

static void test_local_infile_off_says_how_to_set_it(void **state)
{
	struct mysql_env *env = *state;
	struct db_options options = env->options;

	options.local_infile = true;
	mysql_env_run(env, "SET GLOBAL local_infile = OFF");
	assert_cannot_connect(&options, DB_HALT, "SET GLOBAL local_infile=ON");
	mysql_env_run(env, "SET GLOBAL local_infile = ON");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mysql_env_setup_empty, mysql_env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_session_is_fixed),
		TEST(test_timeouts_fit_the_ttl),
		TEST(test_values_come_back_as_they_went),
		TEST(test_affected_rows_are_those_matched),
		TEST(test_failed_connections_say_why),
		TEST(test_tls_is_not_given_up),
		TEST(test_silence_is_noticed),
		TEST(test_silence_within_tls_is_noticed),
		TEST(test_an_interrupted_connect_ends_soon),
		TEST(test_an_interrupted_statement_ends_at_once),
		TEST(test_an_interrupted_result_ends_at_once),
		TEST(test_an_interruption_is_not_forgotten),
		TEST(test_connections_leave_no_descriptor_open),
		TEST(test_idle_sessions_end),
		TEST(test_killed_connections_are_lost),
		TEST(test_bad_statements_halt),
		TEST(test_load_counts),
		TEST(test_load_refuses_bad_rows),
		TEST(test_load_that_breaks_off_is_a_failure),
		TEST(test_a_real_server_gets_no_file_either),
		TEST(test_a_rogue_server_gets_nothing),
		TEST(test_local_infile_off_says_how_to_set_it),
	};

	return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
