/* What people and programs are told: an account's statement, and who owns which partition. */
#include "mysql_env.h"

#include "ledger_meta.h"
#include "statement.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* Account 7: a chain in USDT (0, 2, 5), one in BTC (1, 3); a row of account 8 between them. */
static void add_chains(struct mysql_env *env)
{
	mysql_env_run(env,
		"INSERT INTO balance_transactions VALUES "
		"(2, 0, 'u1', 7, 'USDT', 'DEPOSIT', 10.5, 10.5, 0, 'SUCCESS', NULL, "
		"'2026-01-01 00:00:00.001', NULL), "
		"(2, 1, 'b1', 7, 'BTC', 'DEPOSIT', 1, 1, 0, 'SUCCESS', NULL, '2026-01-01', NULL), "
		"(2, 2, 'u2', 7, 'USDT', 'FREEZE', 0.5, 10, 0.5, 'SUCCESS', NULL, '2026-01-01', "
		"0), "
		"(2, 3, 'b2', 7, 'BTC', 'WITHDRAW', 2, 1, 0, 'FAILED', "
		"'INSUFFICIENT_AVAILABLE', '2026-01-01', 1), "
		"(2, 4, 'x', 8, 'USDT', 'DEPOSIT', 2, 2, 0, 'SUCCESS', NULL, '2026-01-01', NULL), "
		"(2, 5, 'u3', 7, 'USDT', 'SETTLE', 0.5, 10, 0, 'SUCCESS', NULL, '2026-01-01', 2)");
	mysql_env_run(env, "INSERT INTO account_balances VALUES "
			   "(7, 'USDT', 10, 0, 3, 2, 5, '2026-01-01'), "
			   "(7, 'BTC', 1, 0, 1, 2, 3, '2026-01-01'), "
			   "(8, 'USDT', 2, 0, 1, 2, 4, '2026-01-01')");
}

static void assert_statement(struct mysql_env *env, int64_t account, const char *currency,
	size_t limit, const char *expected_ids, bool expected_more)
{
	struct statement statement;
	struct error err;
	char *ids = NULL;
	size_t length;
	FILE *file = open_memstream(&ids, &length);

	assert_ok(statement_read(env->db, account, currency, limit, &statement, &err), err);
	for (size_t i = 0; i < statement.row_count; i++)
		fprintf(file, "%s%s", i ? " " : "", statement.rows[i].transaction_id);
	fclose(file);
	assert_string_equal(ids, expected_ids);
	assert_int_equal(statement.more, expected_more);
	statement_finish(&statement);
	free(ids);
}

static void test_chains_are_walked_newest_first(void **state)
{
	struct mysql_env *env = *state;

	add_chains(env);
	assert_statement(env, 7, NULL, 100, "u3 b2 u2 b1 u1", false);
	assert_statement(env, 7, NULL, 3, "u3 b2 u2", true);
	assert_statement(env, 7, "USDT", 100, "u3 u2 u1", false);
	assert_statement(env, 7, "USDT", 3, "u3 u2 u1", false);
	assert_statement(env, 7, "BTC", 1, "b2", true);
	assert_statement(env, 7, "EUR", 100, "", false);
	assert_statement(env, 9, NULL, 100, "", false);
}

static const char *text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "(none)";
}

static void test_a_row_has_the_balances_before_and_after(void **state)
{
	struct mysql_env *env = *state;
	struct statement statement;
	struct error err;
	json_t *root, *row, *balances;
	char *json;

	add_chains(env);
	assert_ok(statement_read(env->db, 7, NULL, 10, &statement, &err), err);
	json = statement_json(&statement);
	root = json_loads(json, 0, NULL);
	assert_non_null(root);
	assert_string_equal(text_at(root, "account_id"), "7");
	assert_true(json_is_false(json_object_get(root, "more")));
	balances = json_object_get(root, "balances");
	assert_int_equal(json_array_size(balances), 2);
	assert_string_equal(text_at(json_array_get(balances, 0), "currency"), "BTC");
	row = json_array_get(json_object_get(root, "transactions"), 2);
	assert_string_equal(text_at(row, "transaction_id"), "u2");
	assert_string_equal(text_at(row, "amount"), "0.5");
	assert_string_equal(text_at(json_object_get(row, "before"), "available"), "10.5");
	assert_string_equal(text_at(json_object_get(row, "before"), "frozen"), "0");
	assert_string_equal(text_at(json_object_get(row, "after"), "available"), "10");
	assert_string_equal(text_at(json_object_get(row, "after"), "frozen"), "0.5");
	assert_true(json_is_null(json_object_get(row, "reason")));
	row = json_array_get(json_object_get(root, "transactions"), 1);
	assert_string_equal(text_at(row, "status"), "FAILED");
	assert_string_equal(text_at(row, "reason"), "INSUFFICIENT_AVAILABLE");
	assert_string_equal(text_at(json_object_get(row, "before"), "available"), "1");
	row = json_array_get(json_object_get(root, "transactions"), 4);
	assert_string_equal(text_at(row, "time"), "2026-01-01T00:00:00.001Z");
	json_decref(root);
	free(json);
	statement_finish(&statement);
}

static char *printed_statement(const struct statement *statement)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	statement_print(statement, file);
	fclose(file);
	return text;
}

static void test_a_statement_reads_as_a_table(void **state)
{
	struct mysql_env *env = *state;
	struct statement statement;
	struct error err;
	char *text;

	add_chains(env);
	assert_ok(statement_read(env->db, 7, "USDT", 2, &statement, &err), err);
	text = printed_statement(&statement);
	assert_string_equal(text, "CURRENCY  AVAILABLE  FROZEN  VERSION  PARTITION\n"
				  "USDT             10       0        3          2\n"
				  "\n"
				  "TIME                      OFFSET  CURRENCY  TYPE    AMOUNT  "
				  "AVAILABLE BEFORE  AFTER  "
				  "FROZEN BEFORE  AFTER  RESULT   TRANSACTION\n"
				  "2026-01-01T00:00:00.000Z       5  USDT      SETTLE     0.5      "
				  "          10     10  "
				  "          0.5      0  SUCCESS  u3\n"
				  "2026-01-01T00:00:00.000Z       2  USDT      FREEZE     0.5      "
				  "        10.5     10  "
				  "            0    0.5  SUCCESS  u2\n"
				  "... and older ones: --limit\n");
	free(text);
	statement_finish(&statement);
	assert_ok(statement_read(env->db, 99, NULL, 2, &statement, &err), err);
	text = printed_statement(&statement);
	assert_string_equal(text, "account 99: no transactions\n");
	free(text);
	statement_finish(&statement);
}

static void test_a_broken_chain_is_named(void **state)
{
	struct mysql_env *env = *state;
	struct statement statement;
	struct error err;

	add_chains(env);
	mysql_env_run(env, "DELETE FROM balance_transactions WHERE kafka_offset = 2");
	assert_int_equal(statement_read(env->db, 7, "USDT", 10, &statement, &err), DB_HALT);
	assert_non_null(strstr(err.text, "offset 2 of partition 2"));
	assert_int_equal(statement.row_count, 1);
	statement_finish(&statement);
	/* A chain that leads to another account's row is as broken. */
	mysql_env_run(
		env, "UPDATE balance_transactions SET prev_offset = 4 WHERE kafka_offset = 5");
	assert_int_equal(statement_read(env->db, 7, "USDT", 10, &statement, &err), DB_HALT);
	statement_finish(&statement);
}

/* Status -------------------------------------------------------------------------------------- */

static void add_partitions(struct mysql_env *env)
{
	struct ledger_meta meta;
	struct error err;

	assert_ok(ledger_meta_claim(env->db, "cluster-A", "balance-events", 3, &meta, &err), err);
	mysql_env_run(env, "INSERT INTO partition_offsets VALUES "
			   "(0, 11, 100, 90, NULL, '2026-01-01 00:00:00.5'), "
			   "(1, 12, 7, 7, 'offset 7 is gone', '2026-01-01'), "
			   "(2, 0, 0, 0, NULL, '2026-01-01')");
	mysql_env_run(env, "INSERT INTO leader_locks VALUES "
			   "(0, 'host-1', 11, '2026-01-01', UTC_TIMESTAMP(6) + INTERVAL 5 SECOND, "
			   "'replay-9', UTC_TIMESTAMP(6)), "
			   "(1, 'host-2', 12, '2026-01-01', '2026-01-01', NULL, NULL), "
			   "(2, '', 0, NULL, NULL, NULL, NULL)");
	mysql_env_run(env, "INSERT INTO leader_members VALUES "
			   "('host-1', 'all', UTC_TIMESTAMP(6) + INTERVAL 5 SECOND), "
			   "('gone', 'all', '2026-01-01')");
}

/* Nothing is known of partition 2; that of partition 1 is older than what is committed. */
static int64_t watermark(void *context, int32_t partition)
{
	static const int64_t watermarks[] = {130, 5, -1};

	assert_non_null(context);
	return watermarks[partition];
}

static void test_status_tells_owners_and_lag(void **state)
{
	struct mysql_env *env = *state;
	struct db *db = db_create(&env->options); /* connects by itself */
	const struct incident incident = {1767225600123, 1, "halted", "offset \"7\" is gone"};
	const struct status_here here = {
		.consumer_id = "host-1",
		.version = "1.2.3",
		.incidents = &incident,
		.incident_count = 1,
	};
	struct error err;
	json_t *root, *p;
	char *json;

	add_partitions(env);
	assert_ok(status_json(db, watermark, env, &here, &json, &err), err);
	root = json_loads(json, 0, NULL);
	p = json_object_get(root, "answered_by");
	assert_string_equal(text_at(p, "consumer_id"), "host-1");
	assert_string_equal(text_at(p, "version"), "1.2.3");
	p = json_array_get(json_object_get(p, "incidents"), 0);
	assert_string_equal(text_at(p, "at"), "2026-01-01T00:00:00.123Z");
	assert_string_equal(text_at(p, "what"), "halted");
	assert_string_equal(text_at(p, "reason"), "offset \"7\" is gone");
	assert_int_equal(json_integer_value(json_object_get(p, "partition")), 1);
	assert_string_equal(text_at(root, "topic"), "balance-events");
	assert_string_equal(text_at(root, "kafka_cluster_id"), "cluster-A");
	assert_int_equal(json_array_size(json_object_get(root, "partitions")), 3);
	assert_int_equal(json_array_size(json_object_get(root, "instances")), 1);
	p = json_array_get(json_object_get(root, "partitions"), 0);
	assert_string_equal(text_at(p, "state"), "owned");
	assert_string_equal(text_at(p, "owner"), "host-1");
	assert_string_equal(text_at(p, "requested_by"), "replay-9");
	assert_string_equal(text_at(p, "updated_at"), "2026-01-01T00:00:00.500Z");
	assert_int_equal(json_integer_value(json_object_get(p, "epoch")), 11);
	assert_int_equal(json_integer_value(json_object_get(p, "next_offset")), 100);
	assert_int_equal(json_integer_value(json_object_get(p, "redis_offset")), 90);
	assert_int_equal(json_integer_value(json_object_get(p, "lag")), 30);
	assert_in_range(json_integer_value(json_object_get(p, "lease_expires_in_ms")), 1, 5000);
	p = json_array_get(json_object_get(root, "partitions"), 1);
	assert_string_equal(text_at(p, "state"), "halted");
	assert_string_equal(text_at(p, "halted_reason"), "offset 7 is gone");
	assert_true(json_is_null(json_object_get(p, "owner")));
	assert_int_equal(json_integer_value(json_object_get(p, "lag")), 0);
	p = json_array_get(json_object_get(root, "partitions"), 2);
	assert_string_equal(text_at(p, "state"), "free");
	assert_true(json_is_null(json_object_get(p, "lag")));
	assert_true(json_is_null(json_object_get(p, "high_watermark")));
	json_decref(root);
	free(json);
	db_destroy(db);
}

static void test_status_reads_as_a_table(void **state)
{
	struct mysql_env *env = *state;
	struct status status;
	struct error err;
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	add_partitions(env);
	assert_ok(status_read(env->db, NULL, NULL, &status, &err), err);
	status.partitions[0].expires_in_ms = 4321;
	status_print(&status, file);
	fclose(file);
	assert_non_null(strstr(text, "topic balance-events, Kafka cluster cluster-A\n"));
	assert_non_null(strstr(text,
		"PARTITION  STATE   OWNER   LEASE  EPOCH  NEXT OFFSET  LOG END  LAG  REDIS OFFSET\n"
		"        0  owned   host-1  4.3 s     11          100        ?    ?            90\n"
		"        1  halted  -           -     12            7        ?    ?             7\n"
		"        2  free    -           -      0            0        ?    ?             "
		"0\n"));
	assert_non_null(strstr(text, "INSTANCE  MAY OWN\nhost-1    all\n"));
	assert_non_null(strstr(text, "partition 1 is halted: offset 7 is gone\n"));
	free(text);
	status_finish(&status);
}

static void test_status_without_a_schema_says_so(void **state)
{
	struct mysql_env *env = *state;
	struct error err;
	char *json;

	mysql_env_run(env, "DROP TABLE ledger_meta");
	assert_int_equal(status_json(env->db, NULL, NULL, NULL, &json, &err), DB_HALT);
	assert_null(json);
	assert_non_null(strstr(err.text, "ledgerd migrate"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mysql_env_setup, mysql_env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_chains_are_walked_newest_first),
		TEST(test_a_row_has_the_balances_before_and_after),
		TEST(test_a_statement_reads_as_a_table),
		TEST(test_a_broken_chain_is_named),
		TEST(test_status_tells_owners_and_lag),
		TEST(test_status_reads_as_a_table),
		TEST(test_status_without_a_schema_says_so),
	};

	return cmocka_run_group_tests_name("reports_mysql", tests, NULL, NULL);
}
