/* The store on a real server: what a flush writes and how it is fenced, and how failures are told
 * apart. */
#include "store_world.h"

/* Writing ------------------------------------------------------------------------------------- */

static void test_a_flush_writes_every_row_exactly(void **state)
{
	struct world *w = *state;

	store_world_add(w, "a-1", 1001, "DEPOSIT", "10.5");
	store_world_add(w, "a\\\\2'\\\"", 1001, "FREEZE", "0.000000000000000001");
	store_world_add(w, "a-3", 1001, "WITHDRAW", "11");
	store_world_add(w, "a-3", 1001, "WITHDRAW", "11.0"); /* a duplicate: no row */
	store_world_add(w, "b-1", 7, "DEPOSIT", "999999999999999999.999999999999999999");
	store_world_commit(w);
	assert_string_equal(
		mysql_env_text(w->env,
			"SELECT GROUP_CONCAT(CONCAT_WS('|', kafka_offset, transaction_id, "
			"account_id, currency_code, type, amount, available_after, "
			"frozen_after, status, IFNULL(reason, '-'), event_time, "
			"IFNULL(prev_offset, '-')) ORDER BY kafka_offset SEPARATOR '\n') "
			"FROM balance_transactions WHERE kafka_partition = 0"),
		"0|a-1|1001|USDT|DEPOSIT|10.500000000000000000|10.500000000000000000|"
		"0.000000000000000000|SUCCESS|-|2026-01-01 00:00:00.000|-\n"
		"1|a\\2'\"|1001|USDT|FREEZE|0.000000000000000001|10.499999999999999999|"
		"0.000000000000000001|SUCCESS|-|2026-01-01 00:00:00.000|0\n"
		"2|a-3|1001|USDT|WITHDRAW|11.000000000000000000|10.499999999999999999|"
		"0.000000000000000001|FAILED|INSUFFICIENT_AVAILABLE|2026-01-01 00:00:00.000|1\n"
		"4|b-1|7|USDT|DEPOSIT|999999999999999999.999999999999999999|"
		"999999999999999999.999999999999999999|0.000000000000000000|SUCCESS|-|"
		"2026-01-01 00:00:00.000|-");
	assert_string_equal(mysql_env_text(w->env,
				    "SELECT GROUP_CONCAT(CONCAT_WS('|', account_id, currency_code, "
				    "available, frozen, version, kafka_partition, last_offset, "
				    "updated_at) ORDER BY account_id SEPARATOR '\n') "
				    "FROM account_balances"),
		"7|USDT|999999999999999999.999999999999999999|0.000000000000000000|1|0|4|"
		"2026-01-01 00:00:00.000\n"
		"1001|USDT|10.499999999999999999|0.000000000000000001|2|0|2|"
		"2026-01-01 00:00:00.000");
	assert_int_equal(
		mysql_env_int(w->env,
			"SELECT next_offset FROM partition_offsets WHERE kafka_partition = 0"),
		5);
}

static void test_the_counts_are_the_rows_sent(void **state)
{
	struct world *w = *state;
	struct store_counts counts;

	for (int i = 0; i < 1000; i++) {
		char id[16];

		snprintf(id, sizeof(id), "id-%d", i);
		store_world_add(w, id, 1 + i % 100, "DEPOSIT", "1");
	}
	store_world_decide(w);
	store_world_begin(w);
	assert_true(store_world_move(w));
	assert_ok(store_world_load(w, STORE_JOURNAL, &counts), w->err);
	assert_int_equal(counts.records, 1000);
	assert_int_equal(counts.affected, 1000);
	assert_int_equal(counts.deleted + counts.skipped + counts.warnings, 0);
	assert_ok(store_world_load(w, STORE_BALANCES, &counts), w->err);
	assert_int_equal(counts.records, 100);
	assert_int_equal(counts.affected, 100);
	store_world_rollback(w);
	assert_int_equal(mysql_env_int(w->env, "SELECT COUNT(*) FROM balance_transactions"), 0);
	ledger_undo(&w->ledger, &w->batch);
}

/* Ids that memory has forgotten: the unique index is the judge, and a rollback brings back what
 * REPLACE has deleted. */
static void test_old_duplicates_show_in_the_counts(void **state)
{
	struct world *w = *state;
	struct store_counts counts;

	store_world_add(w, "old", 1001, "DEPOSIT", "10");
	store_world_add(w, "other", 1001, "DEPOSIT", "1");
	store_world_commit(w);
	ledger_clear(&w->ledger);
	store_world_add(w, "new", 1001, "DEPOSIT", "1");
	store_world_add(w, "old", 1001, "DEPOSIT", "10");
	store_world_decide(w);
	store_world_begin(w);
	assert_true(store_world_move(w));
	assert_ok(store_world_load(w, STORE_JOURNAL, &counts), w->err);
	assert_int_equal(counts.records, 2);
	assert_int_equal(counts.deleted, 1);
	assert_int_equal(counts.affected, 3);
	store_world_rollback(w);
	assert_int_equal(store_world_run_flush(w), FLUSH_DUPLICATES);
	assert_int_equal(mysql_env_int(w->env, "SELECT kafka_offset FROM balance_transactions "
					       "WHERE transaction_id = 'old'"),
		0);
	assert_int_equal(mysql_env_int(w->env, "SELECT COUNT(*) FROM balance_transactions"), 2);
	assert_int_equal(
		mysql_env_int(w->env,
			"SELECT next_offset FROM partition_offsets WHERE kafka_partition = 0"),
		2);
	ledger_undo(&w->ledger, &w->batch);
}

/* An offset that is in the journal already, under another id. */
static void test_an_offset_twice_shows_in_the_counts(void **state)
{
	struct world *w = *state;

	store_world_add(w, "one", 1001, "DEPOSIT", "10");
	store_world_commit(w);
	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 0");
	batch_reset(&w->batch, 0);
	store_world_add(w, "two", 1002, "DEPOSIT", "10");
	store_world_decide(w);
	assert_int_equal(store_world_run_flush(w), FLUSH_DUPLICATES);
	assert_string_equal(
		mysql_env_text(w->env, "SELECT transaction_id FROM balance_transactions"), "one");
	ledger_undo(&w->ledger, &w->batch);
}

/* `abc` and `ABC` are two transactions; one id may stand in two accounts. */
static void test_ids_differ_by_case_and_account(void **state)
{
	struct world *w = *state;

	store_world_add(w, "abc", 1001, "DEPOSIT", "1");
	store_world_add(w, "ABC", 1001, "DEPOSIT", "1");
	store_world_add(w, "Abc", 1001, "DEPOSIT", "1");
	store_world_add(w, "abc", 1002, "DEPOSIT", "1");
	store_world_commit(w);
	assert_int_equal(mysql_env_int(w->env, "SELECT COUNT(*) FROM balance_transactions"), 4);
	ledger_clear(&w->ledger);
	store_world_add(w, "aBC", 1001, "DEPOSIT", "1");
	store_world_commit(w);
	assert_int_equal(mysql_env_int(w->env, "SELECT COUNT(*) FROM balance_transactions"), 5);
}

/* Every printable id of up to 64 characters goes in and is found again. */
static void test_any_printable_id_is_kept(void **state)
{
	struct world *w = *state;
	char id[TRANSACTION_ID_MAX + 1];
	const char *expected;

	memset(id, 0, sizeof(id));
	for (int c = 0; c < 94; c++) {
		struct event event = {.account_id = 1, .amount = 1, .type = EVENT_DEPOSIT};
		struct message message = {
			.offset = w->batch.end_offset, .key = "1", .key_length = 1};
		struct record *record = batch_add(&w->batch, &message);

		memset(event.transaction_id, '!' + c, TRANSACTION_ID_MAX);
		event.transaction_id_length = (uint8_t)(1 + c % TRANSACTION_ID_MAX);
		event.currency = fixture_currency("A1");
		record->event = event;
		record->id = dedupe_id(&w->ledger.key, &event);
	}
	store_world_commit(w);
	for (int c = 0; c < 94; c++) {
		char query[256];

		snprintf(query, sizeof(query),
			"SELECT HEX(transaction_id) = REPEAT('%02X', %d) FROM balance_transactions "
			"WHERE kafka_offset = %d",
			'!' + c, 1 + c % TRANSACTION_ID_MAX, c);
		expected = mysql_env_text(w->env, query);
		assert_string_equal(expected, "1");
	}
}

/* Dead letters -------------------------------------------------------------------------------- */

static char *random_bytes(size_t length)
{
	uint64_t seed = 88172645463325252u;
	char *bytes = malloc(length);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)(i < 256 ? i : fixture_random(&seed));
	return bytes;
}

static void test_dead_letters_keep_their_bytes(void **state)
{
	struct world *w = *state;
	size_t size = 8 << 20;
	char *bytes = random_bytes(size);
	const struct message messages[] = {
		{.timestamp_ms = 0,
			.key = bytes,
			.key_length = 256,
			.value = bytes,
			.value_length = 256},
		{.timestamp_ms = 1,
			.key = bytes,
			.key_length = 1000,
			.value = bytes,
			.value_length = size},
		{.timestamp_ms = MESSAGE_NO_TIMESTAMP, .key = NULL, .value = "", .value_length = 0},
		{.timestamp_ms = INT64_MAX, .key = "", .value = NULL},
		{.timestamp_ms = -2,
			.key = "\\N",
			.key_length = 2,
			.value = "\\",
			.value_length = 1},
	};

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct message message = messages[i];

		message.offset = w->batch.end_offset;
		message.headers = i ? NULL : "[[\"a\",\"\\u0000\"],[\"b\",null]]";
		message.headers_length = i ? 0 : strlen(message.headers);
		store_world_add_letter(w, &message);
		store_world_commit(w);
		store_world_check_newest(w, &message);
	}
	assert_string_equal(mysql_env_text(w->env, "SELECT message_headers FROM dead_letters "
						   "WHERE kafka_offset = 0"),
		"[[\"a\",\"\\u0000\"],[\"b\",null]]");
	assert_string_equal(
		mysql_env_text(w->env,
			"SELECT CONCAT_WS('|', reason, detail, message_time, created_at, "
			"IFNULL(redriven_at, '-')) FROM dead_letters "
			"WHERE kafka_offset = 1"),
		"MALFORMED|the value is not one JSON object|1970-01-01 00:00:00.001|"
		"2026-01-01 00:00:00.000|-");
	assert_int_equal(mysql_env_int(w->env, "SELECT COUNT(*) FROM dead_letters "
					       "WHERE message_time IS NULL"),
		3);
	assert_int_equal(mysql_env_int(w->env, "SELECT next_offset FROM partition_offsets "
					       "WHERE kafka_partition = 0"),
		5);
	free(bytes);
}

/* Fencing ------------------------------------------------------------------------------------- */

static void test_another_epoch_or_offset_is_fenced(void **state)
{
	struct world *w = *state;

	store_world_add(w, "one", 1001, "DEPOSIT", "10");
	store_world_decide(w);
	mysql_env_run(w->env, "UPDATE partition_offsets SET epoch = 6 WHERE kafka_partition = 0");
	store_world_begin(w);
	assert_false(store_world_move(w));
	store_world_rollback(w);
	assert_int_equal(store_world_run_flush(w), FLUSH_FENCED);
	mysql_env_run(w->env, "UPDATE partition_offsets SET epoch = 5, next_offset = 1 "
			      "WHERE kafka_partition = 0");
	assert_int_equal(store_world_run_flush(w), FLUSH_FENCED);
	mysql_env_run(w->env, "DELETE FROM partition_offsets WHERE kafka_partition = 0");
	assert_int_equal(store_world_run_flush(w), FLUSH_FENCED);
	assert_int_equal(mysql_env_int(w->env, "SELECT COUNT(*) FROM balance_transactions"), 0);
	ledger_undo(&w->ledger, &w->batch);
}

/* A process that was stopped inside its transaction: its successor waits for no longer than the
 * TTL, and it cannot commit when it wakes. */
static void test_a_zombie_lets_go_of_the_row_within_the_ttl(void **state)
{
	struct world *w = *state;
	struct db_options options = w->env->options;
	struct store_counts counts;
	struct error err;
	struct db *successor;
	int64_t begin_ms;
	int tries = 0;

	store_world_add(w, "one", 1001, "DEPOSIT", "10");
	store_world_decide(w);
	store_world_begin(w);
	assert_true(store_world_move(w));
	db_options_set_lease(&options, TTL_MS);
	successor = db_create(&options);
	assert_ok(db_connect(successor, &err), err);
	begin_ms = mysql_env_now_ms();
	while (db_exec(successor, "taking over", &err,
		       "UPDATE partition_offsets SET epoch = 6 WHERE kafka_partition = 0") !=
		DB_OK) {
		assert_int_equal(db_errno(successor), 1205);
		tries++;
	}
	assert_true(tries <= 2);
	assert_true(mysql_env_now_ms() - begin_ms < TTL_MS + 1000);
	db_destroy(successor);
	assert_int_equal(store_world_load(w, STORE_JOURNAL, &counts), STORE_LOST);
	assert_int_equal(store_world_run_flush(w), FLUSH_FENCED);
	assert_int_equal(mysql_env_int(w->env, "SELECT COUNT(*) FROM balance_transactions"), 0);
	ledger_undo(&w->ledger, &w->batch);
}

static void test_a_locked_row_is_tried_again(void **state)
{
	struct world *w = *state;
	struct flush_request request;
	int64_t begin_ms = mysql_env_now_ms();
	bool moved;

	store_world_add(w, "one", 1001, "DEPOSIT", "10");
	store_world_decide(w);
	mysql_env_run(w->env, "START TRANSACTION");
	mysql_env_run(w->env, "UPDATE partition_offsets SET updated_at = '2026-01-01'");
	store_world_begin(w);
	request = store_world_request_of(w);
	assert_int_equal(
		w->store->ops->move_offset(w->store, &request, &moved, &w->err), STORE_RETRY);
	assert_non_null(strstr(w->err.text, "moving the offset of partition 0"));
	assert_int_equal(w->store->ops->last_errno(w->store), 1205);
	assert_true(mysql_env_now_ms() - begin_ms < 3000);
	store_world_rollback(w);
	mysql_env_run(w->env, "ROLLBACK");
	assert_int_equal(store_world_run_flush(w), FLUSH_COMMITTED);
	ledger_commit(&w->ledger, &w->batch);
}

/* Somebody kills the connection of the flush. */
static void kill_others(struct world *w)
{
	mysql_env_kill(
		w->env, mysql_env_int(w->env, "SELECT id FROM information_schema.PROCESSLIST "
					      "WHERE db = DATABASE() AND id <> CONNECTION_ID()"));
}

/* The answer to a COMMIT is lost: the offset tells what became of it. */
static void test_a_lost_commit_is_settled(void **state)
{
	struct world *w = *state;
	struct store_partition row;

	store_world_add(w, "one", 1001, "DEPOSIT", "10");
	store_world_decide(w);
	store_world_begin(w);
	assert_true(store_world_move(w));
	kill_others(w);
	assert_int_equal(w->store->ops->commit(w->store, &w->err), STORE_LOST);
	assert_ok(w->store->ops->connect(w->store, &w->err), w->err);
	assert_ok(w->store->ops->settle(w->store, 0, &row, &w->err), w->err);
	assert_int_equal(row.next_offset, 0);
	assert_int_equal(row.epoch, EPOCH);
	store_world_begin(w);
	assert_true(store_world_move(w));
	assert_ok(w->store->ops->commit(w->store, &w->err), w->err);
	kill_others(w);
	assert_int_equal(w->store->ops->settle(w->store, 0, &row, &w->err), STORE_LOST);
	assert_ok(w->store->ops->connect(w->store, &w->err), w->err);
	assert_ok(w->store->ops->settle(w->store, 0, &row, &w->err), w->err);
	assert_int_equal(row.next_offset, 1);
	ledger_undo(&w->ledger, &w->batch);
}

/* A plain read would see the old offset while the COMMIT is under way; this waits for it. */
static void test_settling_waits_for_the_row(void **state)
{
	struct world *w = *state;
	struct store_partition row;

	mysql_env_run(w->env, "START TRANSACTION");
	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 1 "
			      "WHERE kafka_partition = 0");
	assert_int_equal(w->store->ops->settle(w->store, 0, &row, &w->err), STORE_RETRY);
	assert_ok(w->store->ops->read_partition(w->store, 0, &row, &w->err), w->err);
	assert_int_equal(row.next_offset, 0);
	mysql_env_run(w->env, "COMMIT");
	assert_ok(w->store->ops->settle(w->store, 0, &row, &w->err), w->err);
	assert_int_equal(row.next_offset, 1);
	/* And it has let go of the row again. */
	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 0");
}

static void test_halts_are_written_under_the_epoch(void **state)
{
	struct world *w = *state;
	struct store_partition row;
	char reason[3000];
	bool written;

	assert_ok(w->store->ops->halt(w->store, 0, 4, "not mine", &written, &w->err), w->err);
	assert_false(written);
	assert_ok(w->store->ops->read_partition(w->store, 0, &row, &w->err), w->err);
	assert_false(row.halted);
	assert_ok(w->store->ops->halt(w->store, 0, EPOCH, "it's\n\xff", &written, &w->err), w->err);
	assert_true(written);
	assert_ok(w->store->ops->read_partition(w->store, 0, &row, &w->err), w->err);
	assert_true(row.halted);
	assert_string_equal(mysql_env_text(w->env, "SELECT halted_reason FROM partition_offsets "
						   "WHERE kafka_partition = 0"),
		"it's??");
	memset(reason, 'x', sizeof(reason));
	reason[sizeof(reason) - 1] = '\0';
	assert_ok(w->store->ops->halt(w->store, 0, EPOCH, reason, &written, &w->err), w->err);
	assert_true(written);
}

/* Failures ------------------------------------------------------------------------------------ */

static void test_schema_faults_halt(void **state)
{
	struct world *w = *state;
	struct store_counts counts;

	store_world_add(w, "one", 1001, "DEPOSIT", "10");
	store_world_add_letter(w, &(struct message){.offset = w->batch.end_offset});
	store_world_decide(w);
	mysql_env_run(w->env, "ALTER TABLE account_balances MODIFY currency_code VARCHAR(3) "
			      "CHARACTER SET ascii COLLATE ascii_bin NOT NULL");
	mysql_env_run(w->env, "RENAME TABLE balance_transactions TO elsewhere");
	store_world_begin(w);
	assert_true(store_world_move(w));
	assert_int_equal(store_world_load(w, STORE_BALANCES, &counts), STORE_HALT);
	assert_int_equal(w->store->ops->last_errno(w->store), 1406);
	assert_int_equal(store_world_load(w, STORE_JOURNAL, &counts), STORE_HALT);
	assert_int_equal(w->store->ops->last_errno(w->store), 1146);
	assert_non_null(strstr(w->err.text, "writing balance_transactions of partition 0"));
	store_world_rollback(w);
	assert_int_equal(store_world_run_flush(w), FLUSH_HALTED);
	assert_int_equal(
		mysql_env_int(w->env, "SELECT SUM(next_offset) FROM partition_offsets"), 0);
	ledger_undo(&w->ledger, &w->batch);
}

static void test_a_store_that_is_not_connected_is_lost(void **state)
{
	struct world *w = *state;
	struct store_partition row;

	w->store->ops->disconnect(w->store);
	assert_int_equal(w->store->ops->ping(w->store, &w->err), STORE_LOST);
	assert_int_equal(w->store->ops->begin(w->store, &w->err), STORE_LOST);
	assert_int_equal(w->store->ops->settle(w->store, 0, &row, &w->err), STORE_LOST);
	store_world_rollback(w);
	assert_ok(w->store->ops->connect(w->store, &w->err), w->err);
	assert_ok(w->store->ops->ping(w->store, &w->err), w->err);
	assert_int_equal(w->store->ops->read_partition(w->store, 9, &row, &w->err), STORE_HALT);
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_world_setup, store_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_flush_writes_every_row_exactly),
		TEST(test_the_counts_are_the_rows_sent),
		TEST(test_old_duplicates_show_in_the_counts),
		TEST(test_an_offset_twice_shows_in_the_counts),
		TEST(test_ids_differ_by_case_and_account),
		TEST(test_any_printable_id_is_kept),
		TEST(test_dead_letters_keep_their_bytes),
		TEST(test_another_epoch_or_offset_is_fenced),
		TEST(test_a_zombie_lets_go_of_the_row_within_the_ttl),
		TEST(test_a_locked_row_is_tried_again),
		TEST(test_a_lost_commit_is_settled),
		TEST(test_settling_waits_for_the_row),
		TEST(test_halts_are_written_under_the_epoch),
		TEST(test_schema_faults_halt),
		TEST(test_a_store_that_is_not_connected_is_lost),
	};

	return cmocka_run_group_tests_name("store_mysql", tests, NULL, NULL);
}
