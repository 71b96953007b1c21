/* Leases on a real server, with two clients: who gets a partition, who keeps it, and when. */
#include "mysql_env.h"

#include "lease_store_mysql.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TTL_MS     INT64_C(2000)
#define PARTITIONS 4

struct world {
	struct mysql_env *env;
	struct lease_store *a;
	struct lease_store *b;
	struct lease_view view;
	struct error err;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	void *env;

	mysql_env_setup(&env);
	w->env = env;
	w->a = lease_store_mysql_create(&w->env->options, TTL_MS);
	w->b = lease_store_mysql_create(&w->env->options, TTL_MS);
	lease_view_init(&w->view);
	assert_ok(w->a->ops->prepare(w->a, PARTITIONS, &w->err), w->err);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	void *env = w->env;

	lease_view_finish(&w->view);
	w->a->ops->destroy(w->a);
	w->b->ops->destroy(w->b);
	free(w);
	return mysql_env_teardown(&env);
}

static int64_t acquire(struct world *w, struct lease_store *s, const char *id, int32_t partition)
{
	int64_t epoch = -1;

	assert_ok(s->ops->acquire(s, id, partition, TTL_MS, &epoch, &w->err), w->err);
	return epoch;
}

static const struct lease_row *row_of(struct world *w, int32_t partition)
{
	assert_ok(w->b->ops->read(w->b, &w->view, &w->err), w->err);
	assert_true((size_t)partition < w->view.row_count);
	assert_int_equal(w->view.rows[partition].partition, partition);
	return &w->view.rows[partition];
}

static struct lease_renewal renew(
	struct world *w, struct lease_store *s, const char *id, int32_t partition, int64_t epoch)
{
	struct lease_renewal renewal = {.partition = partition, .epoch = epoch};

	assert_ok(s->ops->renew(s, id, true, NULL, 0, TTL_MS, &renewal, 1, &w->err), w->err);
	return renewal;
}

static int64_t server_us(struct world *w)
{
	return mysql_env_int(
		w->env, "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))");
}

static void test_prepare_adds_what_is_missing(void **state)
{
	struct world *w = *state;

	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 7");
	mysql_env_run(w->env, "DELETE FROM leader_locks WHERE id = 2");
	assert_ok(w->a->ops->prepare(w->a, PARTITIONS + 1, &w->err), w->err);
	assert_ok(w->a->ops->prepare(w->a, PARTITIONS, &w->err), w->err);
	assert_ok(w->a->ops->read(w->a, &w->view, &w->err), w->err);
	assert_int_equal(w->view.row_count, PARTITIONS + 1);
	assert_int_equal(mysql_env_int(w->env, "SELECT SUM(next_offset) FROM partition_offsets"),
		7 * PARTITIONS);
	assert_int_equal(
		mysql_env_int(w->env, "SELECT COUNT(*) FROM partition_offsets"), PARTITIONS + 1);
}

/* Another instance is flushing while this one starts. */
static void test_prepare_does_not_wait_for_locks(void **state)
{
	struct world *w = *state;

	mysql_env_run(w->env, "START TRANSACTION");
	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 1");
	mysql_env_run(w->env, "UPDATE leader_locks SET epoch = 1");
	assert_ok(w->b->ops->prepare(w->b, PARTITIONS, &w->err), w->err);
	mysql_env_run(w->env, "ROLLBACK");
}

static void test_a_free_lease_is_taken_once(void **state)
{
	struct world *w = *state;
	int64_t before_us = server_us(w);
	int64_t epoch = acquire(w, w->a, "a", 0);
	const struct lease_row *row;

	assert_true(epoch >= before_us && epoch <= server_us(w));
	assert_int_equal(acquire(w, w->b, "b", 0), 0);
	assert_int_equal(acquire(w, w->a, "a", 0), 0); /* not even by the same name */
	row = row_of(w, 0);
	assert_string_equal(row->consumer_id, "a");
	assert_int_equal(row->epoch, epoch);
	assert_true(row->held && !row->halted);
	assert_int_equal(row->expires_us, epoch + TTL_MS * 1000);
	assert_int_equal(mysql_env_int(w->env, "SELECT epoch FROM partition_offsets "
					       "WHERE kafka_partition = 0"),
		epoch);
	assert_false(row_of(w, 1)->held);
	assert_string_equal(row_of(w, 1)->consumer_id, "");
}

struct contender {
	pthread_t thread;
	struct lease_store *store;
	char id[16];
	int64_t epochs[PARTITIONS];
};

static void *contend(void *context)
{
	struct contender *c = context;
	struct error err;

	for (int32_t p = 0; p < PARTITIONS; p++) {
		while (c->store->ops->acquire(c->store, c->id, p, 60000, &c->epochs[p], &err) ==
			-EAGAIN)
			;
	}
	return NULL;
}

static void test_of_many_one_wins(void **state)
{
	struct world *w = *state;
	struct contender contenders[8] = {0};

	for (int i = 0; i < 8; i++) {
		contenders[i].store = lease_store_mysql_create(&w->env->options, 60000);
		snprintf(contenders[i].id, sizeof(contenders[i].id), "c%d", i);
		pthread_create(&contenders[i].thread, NULL, contend, &contenders[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(contenders[i].thread, NULL);
		contenders[i].store->ops->destroy(contenders[i].store);
	}
	for (int32_t p = 0; p < PARTITIONS; p++) {
		const struct lease_row *row = row_of(w, p);
		int winners = 0;

		for (int i = 0; i < 8; i++) {
			if (!contenders[i].epochs[p])
				continue;
			winners++;
			assert_string_equal(row->consumer_id, contenders[i].id);
			assert_int_equal(row->epoch, contenders[i].epochs[p]);
		}
		assert_int_equal(winners, 1);
	}
}

static void test_an_expired_lease_is_taken_over(void **state)
{
	struct world *w = *state;
	int64_t first = acquire(w, w->a, "a", 0);
	int64_t expires_us = row_of(w, 0)->expires_us;
	int64_t second = 0;

	/* Neither before the server's clock says so, nor later. */
	while (second == 0) {
		int64_t begin_us = server_us(w);

		second = acquire(w, w->b, "b", 0);
		assert_true(second ? server_us(w) >= expires_us : begin_us < expires_us);
		mysql_env_sleep_ms(20);
	}
	assert_true(second > first);
	/* The old owner is told, and does not lengthen what is another's now. */
	assert_false(renew(w, w->a, "a", 0, first).ret_held);
	assert_ok(w->a->ops->release(w->a, 0, first, &w->err), w->err);
	assert_true(row_of(w, 0)->held);
	assert_string_equal(row_of(w, 0)->consumer_id, "b");
}

/* A database that was restored from an old copy, or a clock that went back. */
/* Also beyond the clock, and then by chance: another server does not come by the same one. */
static void test_epochs_only_grow(void **state)
{
	struct world *w = *state;
	int64_t future = server_us(w) + 3600 * INT64_C(1000000);
	struct error err;
	int64_t epochs[2];

	assert_ok(db_exec(w->env->db, "a future epoch", &err, "UPDATE leader_locks SET epoch = ?",
			  SQL_INT(future)),
		err);
	for (int i = 0; i < 2; i++) {
		epochs[i] = acquire(w, w->a, "a", i);
		assert_true(epochs[i] > future && epochs[i] <= future + LEASE_EPOCH_STEP_MAX);
	}
	assert_int_not_equal(epochs[0], epochs[1]);
}

static void test_a_renewal_lengthens_and_reports(void **state)
{
	struct world *w = *state;
	struct lease_renewal renewals[3] = {
		{.partition = 0, .epoch = acquire(w, w->a, "a", 0)},
		{.partition = 1, .epoch = 12345},
		{.partition = 3, .epoch = acquire(w, w->a, "a", 3)},
	};
	int64_t expires_us = row_of(w, 0)->expires_us;

	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 10 + kafka_partition");
	mysql_env_sleep_ms(300);
	assert_ok(w->a->ops->renew(w->a, "a", true, NULL, 0, TTL_MS, renewals, 3, &w->err), w->err);
	assert_true(renewals[0].ret_held && !renewals[1].ret_held && renewals[2].ret_held);
	assert_int_equal(renewals[0].ret_next_offset, 10);
	assert_int_equal(renewals[1].ret_next_offset, 11);
	assert_int_equal(renewals[2].ret_next_offset, 13);
	assert_true(row_of(w, 0)->expires_us >= expires_us + 300000);
	assert_false(row_of(w, 1)->held);
	/* Renewing what has run out, but nobody has taken, keeps it. */
	mysql_env_sleep_ms(TTL_MS + 100);
	assert_false(row_of(w, 0)->held);
	assert_true(renew(w, w->a, "a", 0, renewals[0].epoch).ret_held);
	assert_true(row_of(w, 0)->held);
}

static void test_a_released_lease_is_free_at_once(void **state)
{
	struct world *w = *state;
	int64_t epoch = acquire(w, w->a, "a", 0);

	assert_ok(w->a->ops->release(w->a, 0, epoch + 1, &w->err), w->err);
	assert_true(row_of(w, 0)->held);
	assert_ok(w->a->ops->release(w->a, 0, epoch, &w->err), w->err);
	assert_false(row_of(w, 0)->held);
	assert_true(acquire(w, w->b, "b", 0) > epoch);
}

static void test_a_halted_partition_is_nobodys(void **state)
{
	struct world *w = *state;

	mysql_env_run(w->env, "UPDATE partition_offsets SET halted_reason = 'why' "
			      "WHERE kafka_partition = 2");
	assert_int_equal(acquire(w, w->a, "a", 2), 0);
	assert_true(row_of(w, 2)->halted);
	assert_false(row_of(w, 2)->held);
	assert_int_equal(row_of(w, 2)->epoch, 0);
	mysql_env_run(w->env, "UPDATE partition_offsets SET halted_reason = NULL");
	assert_true(acquire(w, w->a, "a", 2) > 0);
}

/* A stopped owner sits on partition_offsets: nothing is taken by halves. */
static void test_a_locked_offset_means_again(void **state)
{
	struct world *w = *state;
	int64_t begin_ms = mysql_env_now_ms();
	int64_t epoch;

	mysql_env_run(w->env, "START TRANSACTION");
	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 1 "
			      "WHERE kafka_partition = 0");
	assert_int_equal(w->a->ops->acquire(w->a, "a", 0, TTL_MS, &epoch, &w->err), -EAGAIN);
	assert_non_null(strstr(w->err.text, "acquiring partition 0"));
	assert_true(mysql_env_now_ms() - begin_ms < 2500);
	assert_false(row_of(w, 0)->held);
	assert_int_equal(row_of(w, 0)->epoch, 0);
	assert_true(acquire(w, w->a, "a", 1) > 0); /* the others are not in its way */
	mysql_env_run(w->env, "ROLLBACK");
	assert_true(acquire(w, w->a, "a", 0) > 0);
}

/* Rows that somebody else has locked do not hold up the renewals of others. */
static void test_renewals_pass_locked_rows(void **state)
{
	struct world *w = *state;
	struct lease_renewal renewals[2] = {
		{.partition = 1, .epoch = acquire(w, w->a, "a", 1)},
		{.partition = 3, .epoch = acquire(w, w->a, "a", 3)},
	};

	mysql_env_run(w->env, "START TRANSACTION");
	mysql_env_run(w->env, "UPDATE leader_locks SET consumer_id = 'x' WHERE id IN (0, 2)");
	mysql_env_run(w->env, "UPDATE partition_offsets SET next_offset = 1");
	assert_ok(w->a->ops->renew(w->a, "a", true, NULL, 0, TTL_MS, renewals, 2, &w->err), w->err);
	assert_true(renewals[0].ret_held && renewals[1].ret_held);
	mysql_env_run(w->env, "ROLLBACK");
}

static void test_members_announce_and_withdraw(void **state)
{
	static const int32_t some[] = {0, 3, 12};
	struct world *w = *state;

	assert_ok(w->b->ops->renew(w->b, "b", false, some, 3, TTL_MS, NULL, 0, &w->err), w->err);
	assert_ok(w->a->ops->renew(w->a, "a'\\", true, NULL, 0, TTL_MS, NULL, 0, &w->err), w->err);
	assert_ok(
		w->a->ops->renew(w->a, "nothing", false, some, 0, 60000, NULL, 0, &w->err), w->err);
	assert_ok(w->a->ops->read(w->a, &w->view, &w->err), w->err);
	assert_int_equal(w->view.member_count, 3);
	assert_string_equal(w->view.members[0].consumer_id, "a'\\");
	assert_true(w->view.members[0].all);
	assert_string_equal(w->view.members[1].consumer_id, "b");
	assert_false(w->view.members[1].all);
	assert_int_equal(w->view.members[1].partition_count, 3);
	assert_memory_equal(w->view.members[1].partitions, some, sizeof(some));
	assert_int_equal(w->view.members[2].partition_count, 0);
	assert_ok(w->a->ops->withdraw(w->a, "a'\\", &w->err), w->err);
	mysql_env_sleep_ms(TTL_MS + 100);
	assert_ok(w->a->ops->read(w->a, &w->view, &w->err), w->err);
	assert_int_equal(w->view.member_count, 1); /* b has not renewed */
	assert_string_equal(w->view.members[0].consumer_id, "nothing");
}

static struct lease_request ask(
	struct world *w, struct lease_store *s, const char *who, int32_t partition, int64_t epoch)
{
	struct lease_request request = {.partition = partition, .epoch = epoch};

	assert_ok(s->ops->request(s, who, TTL_MS, &request, &w->err), w->err);
	return request;
}

static void test_a_requested_partition_is_taken_by_who_asked(void **state)
{
	struct world *w = *state;
	struct lease_request request;
	int64_t epoch, expires_us;

	mysql_env_run(
		w->env, "UPDATE partition_offsets SET next_offset = 9 WHERE kafka_partition = 1");
	request = ask(w, w->b, "replay-1", 1, 0);
	assert_string_equal(request.ret_requested_by, "replay-1");
	assert_false(request.ret_held);
	assert_int_equal(request.ret_next_offset, 9);
	assert_string_equal(row_of(w, 1)->requested_by, "replay-1");
	assert_string_equal(row_of(w, 0)->requested_by, "");
	assert_string_equal(ask(w, w->a, "replay-2", 1, 0).ret_requested_by, "replay-1");
	assert_int_equal(acquire(w, w->a, "a", 1), 0);
	assert_int_equal(acquire(w, w->a, "replay-2", 1), 0);
	mysql_env_run(w->env,
		"UPDATE partition_offsets SET halted_reason = 'x' WHERE kafka_partition = 1");
	epoch = acquire(w, w->b, "replay-1", 1);
	assert_true(epoch > 0);
	assert_int_equal(mysql_env_int(w->env,
				 "SELECT epoch FROM partition_offsets WHERE kafka_partition = 1"),
		epoch);
	expires_us = row_of(w, 1)->expires_us;
	mysql_env_sleep_ms(300);
	request = ask(w, w->b, "replay-1", 1, epoch);
	assert_int_equal(request.ret_epoch, epoch);
	assert_string_equal(request.ret_consumer_id, "replay-1");
	assert_true(row_of(w, 1)->expires_us >= expires_us + 300000); /* asking renews it */
	assert_true(row_of(w, 1)->held);
	assert_ok(w->a->ops->unrequest(w->a, "replay-2", 1, &w->err), w->err);
	assert_true(row_of(w, 1)->held);
	assert_string_equal(row_of(w, 1)->requested_by, "replay-1");
	assert_ok(w->b->ops->unrequest(w->b, "replay-1", 1, &w->err), w->err);
	assert_false(row_of(w, 1)->held);
	assert_string_equal(row_of(w, 1)->requested_by, "");
	assert_int_equal(acquire(w, w->a, "a", 1), 0); /* it is halted still */
	mysql_env_run(w->env, "UPDATE partition_offsets SET halted_reason = NULL");
	assert_true(acquire(w, w->a, "a", 1) > epoch);
}

static void test_a_request_that_is_not_renewed_lapses(void **state)
{
	struct world *w = *state;
	struct lease_request request = {.partition = PARTITIONS};
	int64_t epoch;

	ask(w, w->a, "replay-1", 1, 0);
	mysql_env_run(w->env, "UPDATE leader_locks SET "
			      "requested_at = UTC_TIMESTAMP(6) - INTERVAL 11 SECOND");
	assert_string_equal(row_of(w, 1)->requested_by, "");
	epoch = acquire(w, w->a, "a", 1);
	assert_true(epoch > 0);
	/* It asks, and takes nothing: not even with the epoch 0, which rows begin with. */
	request = ask(w, w->b, "replay-2", 1, 0);
	assert_string_equal(request.ret_requested_by, "replay-2");
	assert_string_equal(request.ret_consumer_id, "a");
	assert_true(request.ret_held);
	assert_int_equal(request.ret_epoch, epoch);
	assert_false(ask(w, w->b, "replay-3", 0, 0).ret_held);
	request.partition = PARTITIONS;
	assert_int_equal(w->b->ops->request(w->b, "replay-4", TTL_MS, &request, &w->err), -ENOENT);
	/* A hand that wrote a name without a time blocks nobody. */
	mysql_env_run(w->env,
		"UPDATE leader_locks SET requested_by = 'somebody', requested_at = NULL WHERE id = 2");
	assert_true(acquire(w, w->a, "a", 2) > 0);
}

/* The clock is UTC, whatever the server's zone is. */
static void test_the_zone_of_the_server_does_not_matter(void **state)
{
	struct world *w = *state;
	int64_t epoch;

	mysql_env_run(w->env, "SET GLOBAL time_zone = '-11:30'");
	epoch = acquire(w, w->a, "a", 0);
	mysql_env_run(w->env, "SET GLOBAL time_zone = 'SYSTEM'");
	assert_true(llabs(epoch - server_us(w)) < 10000000);
	assert_int_equal(acquire(w, w->b, "b", 0), 0);
	assert_int_equal(mysql_env_int(w->env, "SELECT ABS(TIMESTAMPDIFF(SECOND, acquired_at, "
					       "UTC_TIMESTAMP(6))) < 10 FROM leader_locks "
					       "WHERE id = 0"),
		1);
}

/* Nobody asked for longer than the server keeps an idle session: that is no failure. */
static void test_silence_is_no_failure(void **state)
{
	struct world *w = *state;
	int64_t epoch = acquire(w, w->a, "a", 0);

	mysql_env_sleep_ms(2500);
	assert_true(renew(w, w->a, "a", 0, epoch).ret_held);
}

static void test_a_lost_connection_is_made_anew(void **state)
{
	struct world *w = *state;
	int64_t epoch = acquire(w, w->a, "a", 0);
	struct lease_renewal renewal = {.partition = 0, .epoch = epoch};

	mysql_env_kill(
		w->env, mysql_env_int(w->env, "SELECT id FROM information_schema.PROCESSLIST "
					      "WHERE db = DATABASE() AND id <> CONNECTION_ID()"));
	assert_int_equal(w->a->ops->renew(w->a, "a", true, NULL, 0, TTL_MS, &renewal, 1, &w->err),
		-ECONNRESET);
	assert_true(renew(w, w->a, "a", 0, epoch).ret_held);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_prepare_adds_what_is_missing),
		TEST(test_prepare_does_not_wait_for_locks),
		TEST(test_a_free_lease_is_taken_once),
		TEST(test_of_many_one_wins),
		TEST(test_an_expired_lease_is_taken_over),
		TEST(test_epochs_only_grow),
		TEST(test_a_renewal_lengthens_and_reports),
		TEST(test_a_released_lease_is_free_at_once),
		TEST(test_a_halted_partition_is_nobodys),
		TEST(test_a_locked_offset_means_again),
		TEST(test_renewals_pass_locked_rows),
		TEST(test_members_announce_and_withdraw),
		TEST(test_a_requested_partition_is_taken_by_who_asked),
		TEST(test_a_request_that_is_not_renewed_lapses),
		TEST(test_the_zone_of_the_server_does_not_matter),
		TEST(test_silence_is_no_failure),
		TEST(test_a_lost_connection_is_made_anew),
	};

	return cmocka_run_group_tests_name("lease_mysql", tests, NULL, NULL);
}
