/*
 * The relay's stories, in virtual time, on a database and a Kafka in memory: what is sent, when it
 * is marked, and who may send at all.  What chance does between two steps is the simulator's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mem.h"
#include "outbox_sink_memory.h"
#include "outbox_store_memory.h"
#include "relay.h"

#define TTL_MS   9000
#define SENT_MAX 64

/* A relay with its connections. */
struct side {
	struct fixture *fixture;
	struct relay relay;
	struct outbox_store *store;
	struct outbox_sink *sink;
	int64_t due_ms;
	int lost, failed, aside;
	char reason[ERROR_TEXT_MAX]; /* of the last row that failed */
};

struct fixture {
	int64_t now_ms;
	struct outbox_memory_db db;
	struct outbox_memory_log log;
	struct side a, b;
	char sent[SENT_MAX][32]; /* event ids, as they came into the log */
	size_t sent_count;
	const char *refused; /* event id */
	bool refused_late;   /* when it is acknowledged */
	const char *missing; /* topic */
	/* the next call of this name ends like this */
	const char *store_call;
	enum outbox_memory_fault store_fault;
	const char *sink_call;
	enum sink_memory_fault sink_fault;
	bool database_away, kafka_away;
};

static int64_t server_now_us(void *context)
{
	return 1000000 * INT64_C(1000000) + 1000 * ((struct fixture *)context)->now_ms;
}

static enum outbox_memory_fault on_store(void *context, const char *what)
{
	struct fixture *f = ((struct side *)context)->fixture;

	if (f->database_away)
		return OUTBOX_FAULT_LOST_BEFORE;
	if (!f->store_call || strcmp(f->store_call, what) != 0)
		return OUTBOX_FAULT_NONE;
	f->store_call = NULL;
	return f->store_fault;
}

static enum sink_memory_fault on_sink(void *context, const char *what)
{
	struct fixture *f = ((struct side *)context)->fixture;

	if (f->kafka_away)
		return SINK_FAULT_AGAIN;
	if (!f->sink_call || strcmp(f->sink_call, what) != 0)
		return SINK_FAULT_NONE;
	f->sink_call = NULL;
	return f->sink_fault;
}

static enum sink_result on_judge(void *context, const struct outbox_row *row, bool acknowledging)
{
	struct fixture *f = ((struct side *)context)->fixture;

	if (f->missing && strcmp(f->missing, row->topic) == 0)
		return SINK_TOPIC;
	if (f->refused && strcmp(f->refused, row->event_id) == 0 &&
		acknowledging == f->refused_late)
		return SINK_REFUSED;
	return SINK_OK;
}

static void on_append(void *context, const struct outbox_row *row)
{
	struct fixture *f = ((struct side *)context)->fixture;

	assert_true(f->sent_count < SENT_MAX);
	snprintf(f->sent[f->sent_count++], sizeof *f->sent, "%s", row->event_id);
}

static void on_lost(void *context, int64_t epoch, const char *why)
{
	((struct side *)context)->lost++;
}

static void on_failed(void *context, const struct outbox_row *row)
{
	struct side *side = context;

	side->failed++;
	snprintf(side->reason, sizeof side->reason, "%s", row->reason);
}

static void on_aside(void *context, const char *topic, const struct error *err)
{
	((struct side *)context)->aside++;
}

static void side_init(struct fixture *f, struct side *side, size_t rows, size_t bytes)
{
	const struct relay_config config = {
		.holder = "test",
		.ttl_ms = TTL_MS,
		.poll_idle_ms = 100,
		.batch_max_rows = rows,
		.batch_max_bytes = bytes,
		.seed = 1,
	};
	const struct relay_events events = {
		.lost = on_lost, .failed = on_failed, .aside = on_aside, .context = side};
	const struct outbox_sink_memory_world world = {on_sink, on_judge, on_append, side};

	side->fixture = f;
	side->store = outbox_store_memory_create(&f->db, on_store, side);
	side->sink = outbox_sink_memory_create(&f->log, &world, rows);
	relay_init(&side->relay, &config, side->store, side->sink, &events);
}

static void side_finish(struct side *side)
{
	relay_finish(&side->relay);
	side->sink->ops->destroy(side->sink);
	side->store->ops->destroy(side->store);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);

	outbox_memory_db_init(&f->db, server_now_us, f);
	side_init(f, &f->a, 4, 1000);
	side_init(f, &f->b, 4, 1000);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	side_finish(&f->a);
	side_finish(&f->b);
	outbox_memory_db_finish(&f->db);
	free(f);
	return 0;
}

/* The id is taken by an insert that commits now. */
static void commit_row(struct fixture *f, int64_t id, const char *event_id, const char *topic)
{
	struct outbox_row row = {.id = id,
		.event_id = event_id,
		.topic = topic,
		.key = "1",
		.key_length = 1,
		.payload = "{}",
		.payload_length = 2};

	if (f->db.next_id <= id)
		f->db.next_id = id + 1;
	outbox_memory_db_commit(&f->db, &row);
}

static void write_row(struct fixture *f, const char *event_id)
{
	commit_row(f, f->db.next_id, event_id, "t");
}

static void step(struct side *side)
{
	side->due_ms = side->fixture->now_ms + relay_step(&side->relay, side->fixture->now_ms);
}

/* Steps, and time as it asks for, for so long. */
static void run_for(struct side *side, int64_t ms)
{
	struct fixture *f = side->fixture;
	int64_t end_ms = f->now_ms + ms;

	while (f->now_ms < end_ms && !relay_stopped(&side->relay)) {
		step(side);
		if (side->due_ms > f->now_ms)
			f->now_ms = side->due_ms < end_ms ? side->due_ms : end_ms;
	}
}

static void run_until(struct side *side, enum relay_step before)
{
	for (int i = 0; i < 1000; i++) {
		if (side->relay.step == before)
			return;
		step(side);
		if (side->due_ms > side->fixture->now_ms)
			side->fixture->now_ms = side->due_ms;
	}
	fail_msg("it never came to %s", relay_step_text(before));
}

static void assert_sent(const struct fixture *f, const char *expected)
{
	char text[SENT_MAX * 32] = "";

	for (size_t i = 0; i < f->sent_count; i++) {
		strcat(text, i ? " " : "");
		strcat(text, f->sent[i]);
	}
	assert_string_equal(text, expected);
}

static size_t count_fate(const struct fixture *f, enum outbox_fate fate)
{
	size_t count = 0;

	for (size_t i = 0; i < f->db.count; i++)
		count += f->db.rows[i].fate == fate;
	return count;
}

/* The way of a row ----------------------------------------------------------------------------- */

static void test_a_batch_goes_through_its_steps_in_this_order(void **state)
{
	static const enum relay_step order[] = {RELAY_ACQUIRE, RELAY_OPEN, RELAY_PROVE, RELAY_READ,
		RELAY_SEND, RELAY_SEND, RELAY_FLUSH, RELAY_COMMIT, RELAY_MARK, RELAY_READ};
	struct fixture *f = *state;

	write_row(f, "one");
	write_row(f, "two");
	for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
		assert_int_equal(f->a.relay.step, order[i]);
		assert_int_equal(count_fate(f, OUTBOX_SENT), i < 9 ? 0 : 2);
		assert_int_equal(f->sent_count, i < 8 ? 0 : 2);
		step(&f->a);
	}
	assert_sent(f, "one two");
	assert_int_equal(f->a.relay.counts.sent, 2);
	assert_int_equal(f->a.relay.counts.batches, 1);
}

static void test_rows_go_out_by_their_ids_a_batch_at_a_time(void **state)
{
	struct fixture *f = *state;

	commit_row(f, 9, "i", "t");
	for (int64_t id = 1; id <= 8; id++) {
		static const char *const names[] = {"", "a", "b", "c", "d", "e", "f", "g", "h"};

		commit_row(f, id, names[id], "t");
	}
	run_for(&f->a, 100);
	assert_sent(f, "a b c d e f g h i");
	assert_int_equal(f->a.relay.counts.batches, 3);
}

static void test_a_row_that_is_seen_late_is_sent_though_a_later_one_was(void **state)
{
	struct fixture *f = *state;

	commit_row(f, 2, "second", "t");
	run_for(&f->a, 100);
	commit_row(f, 1, "first", "t");
	run_for(&f->a, 200);
	assert_sent(f, "second first");
	assert_int_equal(count_fate(f, OUTBOX_SENT), 2);
}

static void test_the_wait_for_rows_doubles_and_starts_anew_with_the_next_row(void **state)
{
	static const int64_t waits_ms[] = {2, 4, 8, 16, 32, 64, 100, 100};
	struct fixture *f = *state;

	run_until(&f->a, RELAY_READ);
	for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
		step(&f->a);
		assert_int_equal(f->a.due_ms - f->now_ms, waits_ms[i]);
	}
	write_row(f, "one");
	step(&f->a);
	run_until(&f->a, RELAY_READ);
	step(&f->a);
	assert_int_equal(f->a.due_ms - f->now_ms, 2);
}

/* What fails ----------------------------------------------------------------------------------- */

static void test_a_commit_without_an_answer_is_sent_again(void **state)
{
	struct fixture *f = *state;

	f->sink_call = "commit";
	f->sink_fault = SINK_FAULT_LOST_AFTER;
	write_row(f, "one");
	run_until(&f->a, RELAY_COMMIT);
	step(&f->a);
	assert_int_equal(count_fate(f, OUTBOX_SENT), 0);
	assert_int_equal(f->a.relay.step, RELAY_PROVE);
	run_for(&f->a, 1000);
	assert_sent(f, "one one");
	assert_int_equal(count_fate(f, OUTBOX_SENT), 1);
}

static void test_a_mark_without_an_answer_is_made_again_and_nothing_is_sent_twice(void **state)
{
	struct fixture *f = *state;

	f->store_call = "mark";
	f->store_fault = OUTBOX_FAULT_LOST_BEFORE;
	write_row(f, "one");
	run_for(&f->a, 1000);
	assert_sent(f, "one");
	f->store_call = "mark";
	f->store_fault = OUTBOX_FAULT_LOST_AFTER;
	write_row(f, "two");
	run_for(&f->a, 1000);
	assert_sent(f, "one two");
	assert_int_equal(count_fate(f, OUTBOX_SENT), 2);
}

static void test_a_transaction_that_fails_is_aborted_and_sent_again_later_and_later(void **state)
{
	struct fixture *f = *state;
	int64_t waited_ms = 0;

	write_row(f, "one");
	for (int i = 0; i < 12; i++) {
		run_until(&f->a, RELAY_FLUSH);
		f->sink_call = "flush";
		f->sink_fault = SINK_FAULT_ABORT;
		step(&f->a);
		waited_ms = f->a.due_ms - f->now_ms;
		assert_int_equal(f->a.relay.step, RELAY_ABORT);
	}
	assert_in_range(waited_ms, 2000, 5000);
	assert_sent(f, "");
	run_for(&f->a, 10000);
	assert_sent(f, "one");
}

static void test_while_kafka_is_away_the_lease_is_kept(void **state)
{
	struct fixture *f = *state;
	int64_t epoch;

	write_row(f, "one");
	run_until(&f->a, RELAY_COMMIT);
	epoch = f->a.relay.epoch;
	f->kafka_away = true;
	run_for(&f->a, 10 * TTL_MS);
	assert_int_equal(f->db.epoch, epoch);
	assert_true(f->db.expires_us > server_now_us(f));
	f->kafka_away = false;
	run_for(&f->a, 10000);
	assert_sent(f, "one");
	assert_int_equal(f->a.lost, 0);
}

static void check_refused(struct fixture *f, bool late)
{
	f->refused = "large";
	f->refused_late = late;
	write_row(f, "one");
	write_row(f, "large");
	write_row(f, "three");
	run_for(&f->a, 1000);
	assert_sent(f, "one three");
	assert_int_equal(f->db.rows[1].fate, OUTBOX_FAILED);
	assert_int_equal(count_fate(f, OUTBOX_SENT), 2);
	assert_int_equal(f->a.failed, 1);
	assert_int_equal(f->a.relay.counts.failed, 1);
	assert_non_null(strstr(f->a.reason, "does not take this row"));
}

static void test_a_row_that_is_refused_is_failed_and_others_go_on(void **state)
{
	check_refused(*state, false);
}

static void test_the_same_when_kafka_says_so_only_when_it_should_acknowledge(void **state)
{
	check_refused(*state, true);
}

static void test_rows_of_a_missing_topic_wait_and_others_go_on(void **state)
{
	struct fixture *f = *state;

	f->missing = "missing";
	commit_row(f, 1, "one", "missing");
	commit_row(f, 2, "two", "t");
	commit_row(f, 3, "three", "missing");
	run_for(&f->a, 900);
	assert_sent(f, "two");
	assert_int_equal(f->a.aside, 1);
	run_for(&f->a, 1000);
	assert_int_equal(f->a.aside, 2); /* tried again after a second */
	assert_int_equal(count_fate(f, OUTBOX_PENDING), 2);
	assert_int_equal(count_fate(f, OUTBOX_FAILED), 0);
	f->missing = NULL;
	run_for(&f->a, 5000);
	assert_sent(f, "two one three");
}

/* Who may send --------------------------------------------------------------------------------- */

static void test_only_one_of_two_relays_sends(void **state)
{
	struct fixture *f = *state;

	run_until(&f->a, RELAY_READ);
	for (int64_t end_ms = f->now_ms + 3 * TTL_MS; f->now_ms < end_ms; f->now_ms += 10) {
		if (f->now_ms >= f->a.due_ms)
			step(&f->a);
		if (f->now_ms >= f->b.due_ms)
			step(&f->b);
		assert_int_equal(f->b.relay.epoch, 0);
	}
	assert_int_equal(f->a.lost, 0);
}

static void test_one_that_sleeps_with_a_transaction_open_is_shut_out(void **state)
{
	struct fixture *f = *state;

	write_row(f, "one");
	run_until(&f->a, RELAY_COMMIT);
	f->now_ms += TTL_MS + 1;
	write_row(f, "two");
	run_for(&f->b, 1000);
	assert_sent(f, "one two");
	relay_step(&f->a.relay, 0); /* it wakes and commits, believing that no time has passed */
	assert_sent(f, "one two");
	assert_int_equal(f->a.relay.counts.fenced, 1);
	run_for(&f->a, 1000);
	assert_int_equal(f->a.lost, 1);
	assert_int_equal(f->a.relay.epoch, 0);
	assert_int_equal(f->db.epoch, f->b.relay.epoch);
}

static void test_one_that_sleeps_before_marking_marks_nothing(void **state)
{
	struct fixture *f = *state;

	write_row(f, "one");
	run_until(&f->a, RELAY_MARK);
	f->now_ms += TTL_MS + 1;
	run_until(&f->b, RELAY_COMMIT);
	relay_step(&f->a.relay, 0);
	assert_int_equal(count_fate(f, OUTBOX_SENT), 0);
	assert_int_equal(f->a.lost, 1);
	run_for(&f->b, 1000);
	assert_sent(f, "one one");
	assert_int_equal(count_fate(f, OUTBOX_SENT), 1);
}

static void test_one_that_opens_late_proves_its_epoch_before_it_reads(void **state)
{
	struct fixture *f = *state;

	run_until(&f->a, RELAY_OPEN);
	f->now_ms += TTL_MS + 1;
	write_row(f, "one");
	run_until(&f->b, RELAY_FLUSH);
	relay_step(&f->a.relay, 0); /* shuts b out */
	relay_step(&f->a.relay, 0);
	assert_int_equal(f->a.lost, 1);
	assert_int_equal(f->a.relay.step, RELAY_ACQUIRE);
	run_for(&f->b, 1000); /* opens again, as the lease is still its own */
	assert_sent(f, "one");
	assert_int_equal(f->b.lost, 0);
}

static void test_the_lease_is_renewed_at_a_third_and_given_up_at_two_thirds(void **state)
{
	struct fixture *f = *state;
	int64_t expires_us;

	run_until(&f->a, RELAY_READ);
	expires_us = f->db.expires_us;
	run_for(&f->a, TTL_MS / 3 - 1);
	assert_int_equal(f->db.expires_us, expires_us);
	run_for(&f->a, 2);
	assert_true(f->db.expires_us > expires_us);
	f->database_away = true;
	run_for(&f->a, TTL_MS * 2 / 3 - 2);
	assert_int_equal(f->a.lost, 0);
	run_for(&f->a, 10);
	assert_int_equal(f->a.lost, 1);
}

static void test_a_row_is_not_marked_for_another_that_had_its_id(void **state)
{
	struct outbox_memory_db copy;
	struct fixture *f = *state;

	run_until(&f->a, RELAY_READ);
	outbox_memory_db_copy(&copy, &f->db);
	write_row(f, "lost");
	run_until(&f->a, RELAY_MARK);
	outbox_memory_db_restore(&f->db, &copy); /* the same lease, without the row */
	outbox_memory_db_finish(&copy);
	write_row(f, "new");
	assert_int_equal(f->db.rows[0].id, 1);
	run_for(&f->a, 1000);
	assert_sent(f, "lost new");
	assert_int_equal(count_fate(f, OUTBOX_SENT), 1);
}

/* Stopping ------------------------------------------------------------------------------------- */

static void test_told_to_stop_it_ends_the_batch_and_gives_the_lease_up(void **state)
{
	struct fixture *f = *state;

	write_row(f, "one");
	write_row(f, "two");
	run_until(&f->a, RELAY_FLUSH);
	relay_stop(&f->a.relay);
	write_row(f, "three");
	run_for(&f->a, 1000);
	assert_true(relay_stopped(&f->a.relay));
	assert_sent(f, "one two");
	assert_int_equal(count_fate(f, OUTBOX_SENT), 2);
	assert_true(f->db.expires_us <= server_now_us(f));
	run_for(&f->b, 300);
	assert_sent(f, "one two three");
}

static void test_told_to_stop_without_servers_it_stops_when_the_lease_is_over(void **state)
{
	struct fixture *f = *state;
	int64_t begin_ms;

	write_row(f, "one");
	run_until(&f->a, RELAY_COMMIT);
	begin_ms = f->now_ms;
	f->kafka_away = true;
	relay_stop(&f->a.relay);
	run_for(&f->a, 10 * TTL_MS);
	assert_true(relay_stopped(&f->a.relay));
	assert_in_range(f->now_ms - begin_ms, 1, TTL_MS * 2 / 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_batch_goes_through_its_steps_in_this_order),
		TEST(test_rows_go_out_by_their_ids_a_batch_at_a_time),
		TEST(test_a_row_that_is_seen_late_is_sent_though_a_later_one_was),
		TEST(test_the_wait_for_rows_doubles_and_starts_anew_with_the_next_row),
		TEST(test_a_commit_without_an_answer_is_sent_again),
		TEST(test_a_mark_without_an_answer_is_made_again_and_nothing_is_sent_twice),
		TEST(test_a_transaction_that_fails_is_aborted_and_sent_again_later_and_later),
		TEST(test_while_kafka_is_away_the_lease_is_kept),
		TEST(test_a_row_that_is_refused_is_failed_and_others_go_on),
		TEST(test_the_same_when_kafka_says_so_only_when_it_should_acknowledge),
		TEST(test_rows_of_a_missing_topic_wait_and_others_go_on),
		TEST(test_only_one_of_two_relays_sends),
		TEST(test_one_that_sleeps_with_a_transaction_open_is_shut_out),
		TEST(test_one_that_sleeps_before_marking_marks_nothing),
		TEST(test_one_that_opens_late_proves_its_epoch_before_it_reads),
		TEST(test_the_lease_is_renewed_at_a_third_and_given_up_at_two_thirds),
		TEST(test_a_row_is_not_marked_for_another_that_had_its_id),
		TEST(test_told_to_stop_it_ends_the_batch_and_gives_the_lease_up),
		TEST(test_told_to_stop_without_servers_it_stops_when_the_lease_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
