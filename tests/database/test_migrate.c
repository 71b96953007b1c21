/* The schema on a real server: made once, made again, made by two at once, and refused when it is
 * not the one that this program knows. */
#include "mysql_env.h"

#include "ledger_meta.h"
#include "migrate.h"

#include <pthread.h>
#include <string.h>

static int apply(struct mysql_env *env)
{
	struct error err;
	int count;

	assert_ok(migrate_apply(env->db, NULL, NULL, &count, &err), err);
	return count;
}

static void assert_refused(struct mysql_env *env, const char *expected)
{
	struct error err = {"(nothing)"};

	assert_int_equal(migrate_check(env->db, &err), DB_HALT);
	if (!strstr(err.text, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.text, expected);
}

static void assert_accepted(struct mysql_env *env)
{
	struct error err;

	assert_ok(migrate_check(env->db, &err), err);
}

static void test_an_empty_database_is_migrated_once(void **state)
{
	struct mysql_env *env = *state;
	int64_t version;

	assert_refused(env, "run `ledgerd migrate`");
	assert_true(apply(env) >= 4);
	assert_int_equal(apply(env), 0);
	assert_accepted(env);
	version = mysql_env_int(env, "SELECT schema_version FROM ledger_meta");
	assert_int_equal(version, mysql_env_int(env, "SELECT MAX(number) FROM schema_migrations"));
	assert_int_equal(mysql_env_int(env,
				 "SELECT COUNT(*) FROM schema_migrations WHERE applied_at IS NULL"),
		0);
}

/* The key makes ids unpredictable: two ledgers have two, and it never changes. */
static void test_the_dedupe_key_is_random_and_stays(void **state)
{
	struct mysql_env *env = *state;
	struct ledger_meta first, second;
	struct error err;
	unsigned char none[DEDUPE_KEY_BYTES] = {0};

	apply(env);
	assert_ok(ledger_meta_read(env->db, &first, &err), err);
	assert_memory_not_equal(first.dedupe_key, none, sizeof(none));
	mysql_env_run(env, "DELETE FROM schema_migrations WHERE number = 1");
	assert_int_equal(apply(env), 1);
	assert_ok(ledger_meta_read(env->db, &second, &err), err);
	assert_memory_equal(first.dedupe_key, second.dedupe_key, sizeof(none));
	mysql_env_run(env, "DELETE FROM ledger_meta");
	assert_int_equal(ledger_meta_read(env->db, &second, &err), DB_HALT);
}

struct runner {
	pthread_t thread;
	struct mysql_env *env;
	enum db_result result;
	int count;
	struct error err;
};

static void *run_migration(void *context)
{
	struct runner *runner = context;
	struct db *db = db_create(&runner->env->options);

	runner->result = db_connect(db, &runner->err);
	if (runner->result == DB_OK)
		runner->result = migrate_apply(db, NULL, NULL, &runner->count, &runner->err);
	db_destroy(db);
	db_thread_end();
	return NULL;
}

static void test_several_at_once_take_turns(void **state)
{
	struct runner runners[4] = {0};
	int total = 0;

	for (int i = 0; i < 4; i++) {
		runners[i].env = *state;
		pthread_create(&runners[i].thread, NULL, run_migration, &runners[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(runners[i].thread, NULL);
	for (int i = 0; i < 4; i++) {
		assert_ok(runners[i].result, runners[i].err);
		total += runners[i].count;
	}
	assert_int_equal(total, mysql_env_int(*state, "SELECT COUNT(*) FROM schema_migrations"));
	assert_accepted(*state);
}

/* As a crash between the statements of a migration leaves it. */
static void test_a_migration_that_stopped_midway_is_begun_again(void **state)
{
	struct mysql_env *env = *state;

	apply(env);
	mysql_env_run(env, "DROP TABLE offset_gaps");
	mysql_env_run(env, "UPDATE schema_migrations SET applied_at = NULL WHERE number = 1");
	assert_refused(env, "migration 0001 (ledger) did not finish");
	assert_int_equal(apply(env), 1);
	assert_accepted(env);
	assert_int_equal(mysql_env_int(env, "SELECT COUNT(*) FROM offset_gaps"), 0);
}

static void test_a_failed_migration_is_named(void **state)
{
	struct mysql_env *env = *state;
	struct error err;
	int count;

	apply(env);
	mysql_env_run(env, "DELETE FROM schema_migrations WHERE number = 1");
	mysql_env_run(env, "DROP VIEW balance_statement");
	mysql_env_run(env, "CREATE TABLE balance_statement (a INT)");
	assert_int_equal(migrate_apply(env->db, NULL, NULL, &count, &err), DB_HALT);
	assert_non_null(strstr(err.text, "migration 0001 did not finish"));
	assert_non_null(strstr(err.text, "(ledger), statement 6"));
	assert_int_equal(count, 0);
	assert_refused(env, "did not finish");
	mysql_env_run(env, "DROP TABLE balance_statement");
	assert_int_equal(apply(env), 1);
	assert_accepted(env);
}

static void test_other_schemas_are_refused(void **state)
{
	struct mysql_env *env = *state;
	struct error err;
	int count;

	apply(env);
	mysql_env_run(
		env, "UPDATE schema_migrations SET checksum = REPEAT('0', 64) WHERE number = 2");
	assert_refused(
		env, "migration 0002 (leases) was applied to the database with another text");
	assert_int_equal(migrate_apply(env->db, NULL, NULL, &count, &err), DB_HALT);
	mysql_env_run(env, "DELETE FROM schema_migrations WHERE number = 2");
	assert_refused(env, "migration 0002 (leases) is not in the database yet");
	assert_int_equal(apply(env), 1);
	mysql_env_run(
		env, "INSERT INTO schema_migrations VALUES (999, 'x', REPEAT('0', 64), NULL)");
	assert_refused(env, "migration 999");
	assert_int_equal(migrate_apply(env->db, NULL, NULL, &count, &err), DB_HALT);
	assert_non_null(strstr(err.text, "newer ledgerd"));
}

static void test_tables_of_others_are_left_alone(void **state)
{
	struct mysql_env *env = *state;
	struct error err;
	int count;

	mysql_env_run(env, "CREATE TABLE outbox_events (a INT)");
	assert_int_equal(migrate_apply(env->db, NULL, NULL, &count, &err), DB_HALT);
	assert_non_null(strstr(err.text, "outbox_events"));
	assert_int_equal(mysql_env_int(env, "SELECT COUNT(*) FROM information_schema.TABLES "
					    "WHERE TABLE_SCHEMA = DATABASE()"),
		1);
}

static void test_triggers_and_foreign_keys_are_refused(void **state)
{
	struct mysql_env *env = *state;

	apply(env);
	mysql_env_run(env, "CREATE TRIGGER spy BEFORE DELETE ON account_balances FOR EACH ROW "
			   "SET @deleted = 1");
	assert_refused(env, "trigger spy");
	mysql_env_run(env, "DROP TRIGGER spy");
	mysql_env_run(env,
		"CREATE TABLE users (id INT PRIMARY KEY, account_id BIGINT NOT NULL, "
		"currency_code VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, "
		"CONSTRAINT has_balance FOREIGN KEY (account_id, currency_code) "
		"REFERENCES account_balances (account_id, currency_code)) ENGINE=InnoDB");
	assert_refused(env, "foreign key has_balance");
	mysql_env_run(env, "DROP TABLE users");
	assert_accepted(env);
}

static void test_altered_tables_are_refused(void **state)
{
	struct mysql_env *env = *state;

	apply(env);
	mysql_env_run(env, "ALTER TABLE dead_letters ENGINE=MyISAM");
	assert_refused(env, "engine MyISAM");
	mysql_env_run(env, "ALTER TABLE dead_letters ENGINE=InnoDB");
	mysql_env_run(env, "ALTER TABLE balance_transactions MODIFY transaction_id VARCHAR(64) "
			   "CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL");
	assert_refused(env, "balance_transactions.transaction_id");
	mysql_env_run(env, "ALTER TABLE balance_transactions MODIFY transaction_id VARCHAR(64) "
			   "CHARACTER SET ascii COLLATE ascii_bin NOT NULL");
	mysql_env_run(env, "ALTER TABLE balance_transactions DROP INDEX transaction_account");
	assert_refused(env, "no unique key on (transaction_id,account_id)");
	mysql_env_run(env,
		"ALTER TABLE balance_transactions ADD UNIQUE mine (transaction_id, account_id)");
	assert_accepted(env);
}

/* CONTRACT section 2: what others may read. */
static void test_the_view_has_the_balances_before(void **state)
{
	struct mysql_env *env = *state;
	static const struct {
		const char *type, *status, *before;
	} cases[] = {
		{"DEPOSIT", "SUCCESS", "7.000000000000000000 5.000000000000000000"},
		{"WITHDRAW", "SUCCESS", "13.000000000000000000 5.000000000000000000"},
		{"FREEZE", "SUCCESS", "13.000000000000000000 2.000000000000000000"},
		{"UNFREEZE", "SUCCESS", "7.000000000000000000 8.000000000000000000"},
		{"SETTLE", "SUCCESS", "10.000000000000000000 8.000000000000000000"},
		{"DEPOSIT", "FAILED", "10.000000000000000000 5.000000000000000000"},
		{"SETTLE", "FAILED", "10.000000000000000000 5.000000000000000000"},
	};

	apply(env);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err;

		assert_ok(
			db_exec(env->db, "a row", &err,
				"REPLACE INTO balance_transactions VALUES "
				"(0, 1, 'id', 7, 'USDT', ?, 3, 10, 5, ?, NULL, '2026-01-01', NULL)",
				SQL_TEXT(cases[i].type), SQL_TEXT(cases[i].status)),
			err);
		assert_string_equal(cases[i].before,
			mysql_env_text(env, "SELECT CONCAT(available_before, ' ', frozen_before) "
					    "FROM balance_statement"));
	}
}

static void test_a_database_belongs_to_one_log(void **state)
{
	struct mysql_env *env = *state;
	struct ledger_meta meta;
	struct error err;

	apply(env);
	assert_ok(ledger_meta_read(env->db, &meta, &err), err);
	assert_string_equal(meta.kafka_cluster_id, "");
	assert_int_equal(meta.partitions, 0);
	assert_ok(ledger_meta_claim(env->db, "cluster-A", "balance-events", 4, &meta, &err), err);
	assert_ok(ledger_meta_claim(env->db, "cluster-A", "balance-events", 4, &meta, &err), err);
	assert_string_equal(meta.topic, "balance-events");
	assert_int_equal(meta.partitions, 4);
	assert_int_equal(
		ledger_meta_claim(env->db, "cluster-B", "balance-events", 4, &meta, &err), DB_HALT);
	assert_int_equal(ledger_meta_claim(env->db, "cluster-A", "other", 4, &meta, &err), DB_HALT);
	assert_int_equal(
		ledger_meta_claim(env->db, "cluster-A", "balance-events", 8, &meta, &err), DB_HALT);
	assert_non_null(strstr(err.text, "8 partitions"));
	assert_int_equal(mysql_env_int(env, "SELECT partitions FROM ledger_meta"), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mysql_env_setup_empty, mysql_env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_an_empty_database_is_migrated_once),
		TEST(test_the_dedupe_key_is_random_and_stays),
		TEST(test_several_at_once_take_turns),
		TEST(test_a_migration_that_stopped_midway_is_begun_again),
		TEST(test_a_failed_migration_is_named),
		TEST(test_other_schemas_are_refused),
		TEST(test_tables_of_others_are_left_alone),
		TEST(test_triggers_and_foreign_keys_are_refused),
		TEST(test_altered_tables_are_refused),
		TEST(test_the_view_has_the_balances_before),
		TEST(test_a_database_belongs_to_one_log),
	};

	return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
