/* The outbox's tables on a real server, with two clients: who may mark, and what is marked. */
#include "mysql_env.h"

#include "outbox_store_mysql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TTL_MS INT64_C(2000)

struct world {
	struct mysql_env *env;
	struct outbox_store *a;
	struct outbox_store *b;
	struct outbox_batch batch;
	struct error err;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	void *env;

	mysql_env_setup(&env);
	w->env = env;
	w->a = outbox_store_mysql_create(&w->env->options, TTL_MS);
	w->b = outbox_store_mysql_create(&w->env->options, TTL_MS);
	outbox_batch_init(&w->batch, 3, 1000);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	void *env = w->env;

	outbox_batch_finish(&w->batch);
	w->a->ops->destroy(w->a);
	w->b->ops->destroy(w->b);
	free(w);
	return mysql_env_teardown(&env);
}

static int64_t acquire(struct world *w, struct outbox_store *s)
{
	int64_t epoch = -1;

	assert_ok(s->ops->acquire(s, "holder", TTL_MS, &epoch, &w->err), w->err);
	return epoch;
}

static void read_pending(struct world *w, const char *const *aside, size_t count)
{
	outbox_batch_reset(&w->batch);
	assert_ok(w->a->ops->pending(w->a, aside, count, &w->batch, &w->err), w->err);
}

static bool mark(struct world *w, struct outbox_store *s, int64_t epoch)
{
	bool held = false;

	assert_ok(s->ops->mark(s, epoch, TTL_MS, &w->batch, &held, &w->err), w->err);
	return held;
}

static void insert_three(struct world *w)
{
	mysql_env_run(w->env,
		"INSERT INTO outbox_events (id, event_id, topic, partition_key, payload) VALUES "
		"(1, 'one', 't', 'k\xc3\xa9y', '{\"a\": \"1.50\"}'), (2, 'two', 'u', NULL, '{}'), "
		"(4, 'four', 't', '', '[1]'), (3, 'three', 't', 'k', '{}')");
}

static int64_t count(struct world *w, const char *status)
{
	char query[100];

	snprintf(query, sizeof(query), "SELECT COUNT(*) FROM outbox_events WHERE status = '%s'",
		status);
	return mysql_env_int(w->env, query);
}

static void test_one_holds_the_lease_until_it_expires_or_is_released(void **state)
{
	struct world *w = *state;
	int64_t first = acquire(w, w->a);
	int64_t second;

	assert_true(first > INT64_C(1000000000000000)); /* the clock, in microseconds */
	assert_int_equal(acquire(w, w->b), 0);
	assert_ok(w->a->ops->release(w->a, first, &w->err), w->err);
	second = acquire(w, w->b);
	assert_true(second > first);
	assert_ok(w->a->ops->release(w->a, first, &w->err), w->err); /* not its own any more */
	assert_int_equal(acquire(w, w->a), 0);
	mysql_env_sleep_ms(TTL_MS + 100);
	assert_true(acquire(w, w->a) > second);
}

static void test_a_new_epoch_is_above_an_old_one_of_the_future(void **state)
{
	struct world *w = *state;

	mysql_env_run(w->env, "UPDATE outbox_lease SET epoch = 9000000000000000");
	assert_in_range(acquire(w, w->a), INT64_C(9000000000000001), INT64_C(9000000001000000));
}

static void test_renewing_is_by_epoch_also_when_nothing_changes(void **state)
{
	struct world *w = *state;
	int64_t epoch = acquire(w, w->a);
	bool held = false;

	for (int i = 0; i < 3; i++) {
		assert_ok(w->a->ops->renew(w->a, epoch, TTL_MS, &held, &w->err), w->err);
		assert_true(held);
	}
	assert_ok(w->a->ops->renew(w->a, epoch - 1, TTL_MS, &held, &w->err), w->err);
	assert_false(held);
}

static void test_rows_are_read_by_status_in_the_order_of_their_ids(void **state)
{
	static const char *const aside[] = {"u", "it's"};
	struct world *w = *state;

	insert_three(w);
	read_pending(w, NULL, 0);
	assert_int_equal(w->batch.count, 3); /* as many as fit */
	assert_string_equal(w->batch.rows[0].event_id, "one");
	assert_string_equal(w->batch.rows[0].topic, "t");
	assert_int_equal(w->batch.rows[0].key_length, 4);
	assert_memory_equal(w->batch.rows[0].key, "k\xc3\xa9y", 4);
	assert_memory_equal(
		w->batch.rows[0].payload, "{\"a\": \"1.50\"}", w->batch.rows[0].payload_length);
	assert_null(w->batch.rows[1].key);
	assert_int_equal(w->batch.rows[2].id, 3);
	read_pending(w, aside, 2);
	assert_int_equal(w->batch.count, 3);
	assert_int_equal(w->batch.rows[2].id, 4);
	assert_non_null(w->batch.rows[2].key); /* empty, but not absent */
}

static void test_marking_proves_the_epoch(void **state)
{
	struct world *w = *state;
	int64_t epoch = acquire(w, w->a);

	insert_three(w);
	read_pending(w, NULL, 0);
	outbox_batch_turn(&w->batch, OUTBOX_PENDING, OUTBOX_SENT);
	outbox_batch_fail(&w->batch, 1, "too large");
	assert_false(mark(w, w->b, epoch - 1));
	assert_int_equal(count(w, "PENDING"), 4);
	assert_true(mark(w, w->a, epoch));
	assert_true(mark(w, w->a, epoch)); /* again: harmless */
	assert_int_equal(count(w, "SENT"), 2);
	assert_string_equal(
		mysql_env_text(w->env, "SELECT GROUP_CONCAT(event_id) FROM outbox_events "
				       "WHERE status = 'FAILED' AND sent_at IS NULL"),
		"two");
	assert_string_equal(mysql_env_text(w->env,
				    "SELECT event_id FROM outbox_events WHERE status = 'PENDING'"),
		"four");
	assert_int_equal(
		mysql_env_int(w->env, "SELECT COUNT(*) FROM outbox_events WHERE sent_at BETWEEN "
				      "UTC_TIMESTAMP() - INTERVAL 1 MINUTE AND UTC_TIMESTAMP(3)"),
		2);
}

static void test_what_is_only_being_sent_is_not_marked(void **state)
{
	struct world *w = *state;
	int64_t epoch = acquire(w, w->a);

	insert_three(w);
	read_pending(w, NULL, 0);
	outbox_batch_turn(&w->batch, OUTBOX_PENDING, OUTBOX_SENDING);
	assert_true(mark(w, w->a, epoch));
	assert_int_equal(count(w, "PENDING"), 4);
}

static void test_a_row_is_not_marked_for_another_that_had_its_id(void **state)
{
	struct world *w = *state;
	int64_t epoch = acquire(w, w->a);

	insert_three(w);
	read_pending(w, NULL, 0);
	outbox_batch_turn(&w->batch, OUTBOX_PENDING, OUTBOX_SENT);
	mysql_env_run(w->env, "UPDATE outbox_events SET event_id = 'new' WHERE id = 1");
	assert_true(mark(w, w->a, epoch));
	assert_string_equal(
		mysql_env_text(w->env, "SELECT status FROM outbox_events WHERE id = 1"), "PENDING");
	assert_int_equal(count(w, "SENT"), 2);
}

static void test_the_status_is_that_of_the_tables(void **state)
{
	struct world *w = *state;
	struct outbox_status status;
	int64_t epoch;

	assert_ok(outbox_store_mysql_status(w->env->db, &status, &w->err), w->err);
	assert_int_equal(status.epoch, 0);
	assert_false(status.held);
	assert_int_equal(status.pending, 0);
	assert_int_equal(status.oldest_pending_ms, 0);
	epoch = acquire(w, w->a);
	insert_three(w);
	mysql_env_run(w->env, "UPDATE outbox_events SET created_at = UTC_TIMESTAMP(3) - INTERVAL 1 "
			      "HOUR, status = IF(id = 1, 'FAILED', 'PENDING')");
	assert_ok(outbox_store_mysql_status(w->env->db, &status, &w->err), w->err);
	assert_string_equal(status.holder, "holder");
	assert_int_equal(status.epoch, epoch);
	assert_true(status.held);
	assert_in_range(status.expires_ms, 1, TTL_MS);
	assert_int_equal(status.pending, 3);
	assert_int_equal(status.failed, 1);
	assert_in_range(status.oldest_pending_ms, 3600000, 3700000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_holds_the_lease_until_it_expires_or_is_released),
		TEST(test_a_new_epoch_is_above_an_old_one_of_the_future),
		TEST(test_renewing_is_by_epoch_also_when_nothing_changes),
		TEST(test_rows_are_read_by_status_in_the_order_of_their_ids),
		TEST(test_marking_proves_the_epoch),
		TEST(test_what_is_only_being_sent_is_not_marked),
		TEST(test_a_row_is_not_marked_for_another_that_had_its_id),
		TEST(test_the_status_is_that_of_the_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
