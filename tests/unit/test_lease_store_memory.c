/*
 * The lease store in memory keeps the contract of lease_store.h, on which the simulator's verdicts
 * rest: epochs, expiry by the server's clock, halts, locks, and failures of either kind.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lease_store_memory.h"
#include "mem.h"

#define TTL_MS 1000
#define TTL_US (TTL_MS * 1000)

struct fixture {
	int64_t now_us;
	struct partition_offset_row offsets[3];
	struct lease_db db;
	struct lease_store_memory *a;
	struct lease_store_memory *b;
	struct lease_view view;
};

static int64_t now_us(void *context)
{
	return ((struct fixture *)context)->now_us;
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->now_us = 1000000000;
	lease_store_memory_db_init(&f->db, f->offsets, 3, now_us, f);
	f->a = lease_store_memory_create(&f->db);
	f->b = lease_store_memory_create(&f->db);
	lease_view_init(&f->view);
	assert_int_equal(f->a->store.ops->prepare(&f->a->store, 3, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->a->store.ops->destroy(&f->a->store);
	f->b->store.ops->destroy(&f->b->store);
	lease_view_finish(&f->view);
	lease_store_memory_db_finish(&f->db);
	free(f);
	return 0;
}

static int64_t acquire(struct lease_store_memory *s, const char *consumer_id, int32_t partition)
{
	int64_t epoch = -1;

	assert_int_equal(
		s->store.ops->acquire(&s->store, consumer_id, partition, TTL_MS, &epoch, NULL), 0);
	return epoch;
}

static int release(struct lease_store_memory *s, int32_t partition, int64_t epoch)
{
	return s->store.ops->release(&s->store, partition, epoch, NULL);
}

static int announce(struct lease_store_memory *s, const char *consumer_id)
{
	return s->store.ops->renew(&s->store, consumer_id, true, NULL, 0, TTL_MS, NULL, 0, NULL);
}

static bool renew(struct lease_store_memory *s, const char *consumer_id, int32_t partition,
	int64_t epoch, int64_t *ret_next_offset)
{
	struct lease_renewal renewal = {.partition = partition, .epoch = epoch};

	assert_int_equal(s->store.ops->renew(
				 &s->store, consumer_id, true, NULL, 0, TTL_MS, &renewal, 1, NULL),
		0);
	*ret_next_offset = renewal.ret_next_offset;
	return renewal.ret_held;
}

static const struct lease_view *read_view(struct fixture *f)
{
	assert_int_equal(f->a->store.ops->read(&f->a->store, &f->view, NULL), 0);
	return &f->view;
}

static void test_a_lease_is_exclusive_until_it_expires(void **state)
{
	struct fixture *f = *state;
	int64_t epoch = acquire(f->a, "a", 1);

	assert_true(epoch >= f->now_us);
	assert_int_equal(f->offsets[1].epoch, epoch);
	assert_int_equal(acquire(f->b, "b", 1), 0);
	f->now_us += TTL_US - 1;
	assert_true(read_view(f)->rows[1].held);
	assert_int_equal(acquire(f->b, "b", 1), 0);
	assert_int_equal(f->offsets[1].epoch, epoch);
	f->now_us += 1;
	assert_false(read_view(f)->rows[1].held);
	assert_true(acquire(f->b, "b", 1) > epoch);
	assert_string_equal(read_view(f)->rows[1].consumer_id, "b");
}

static void test_epochs_grow_though_the_clock_goes_back(void **state)
{
	struct fixture *f = *state;
	int64_t epoch = acquire(f->a, "a", 0);

	assert_int_equal(release(f->a, 0, epoch), 0);
	f->now_us -= 500;
	f->db.rows[0].expires_us = 0;
	assert_true(acquire(f->b, "b", 0) > epoch);
	assert_true(f->db.rows[0].epoch <= epoch + LEASE_EPOCH_STEP_MAX);
}

static void test_a_lost_epoch_is_not_handed_out_again_though_the_clock_is_behind(void **state)
{
	struct fixture *f = *state;
	struct partition_offset_row offsets[3] = {{0}};
	struct lease_db copy;
	int64_t lost, epoch = acquire(f->a, "a", 0);

	assert_int_equal(release(f->a, 0, epoch), 0);
	f->now_us -= 500;
	f->db.rows[0].expires_us = 0;
	lease_store_memory_db_init(&copy, offsets, 3, now_us, f);
	lease_store_memory_db_restore(&copy, &f->db);
	lost = acquire(f->a, "a", 0);
	lease_store_memory_db_restore(&f->db, &copy);
	assert_int_equal(f->db.rows[0].epoch, epoch);
	announce(f->b, "b"); /* its connection is broken, and made anew */
	assert_int_not_equal(acquire(f->b, "b", 0), lost);
	lease_store_memory_db_finish(&copy);
}

static void test_renewal_and_release_are_by_epoch_not_by_name(void **state)
{
	struct fixture *f = *state;
	int64_t first = acquire(f->a, "a", 0);
	int64_t next_offset;
	int64_t second;

	f->offsets[0].next_offset = 42;
	f->now_us += TTL_US / 2;
	assert_true(renew(f->a, "a", 0, first, &next_offset));
	assert_int_equal(next_offset, 42);
	assert_int_equal(f->db.rows[0].expires_us, f->now_us + TTL_US);
	f->now_us += TTL_US;
	second = acquire(f->b, "a", 0); /* the same name, another life */
	f->now_us += 10;
	assert_false(renew(f->a, "a", 0, first, &next_offset));
	assert_int_equal(release(f->a, 0, first), 0);
	assert_int_equal(f->db.rows[0].expires_us, f->now_us - 10 + TTL_US);
	assert_int_equal(release(f->b, 0, second), 0);
	assert_false(read_view(f)->rows[0].held);
}

static void test_members_are_those_alive_sorted(void **state)
{
	static const int32_t list[] = {0, 2};
	struct fixture *f = *state;

	assert_int_equal(announce(f->b, "m2"), 0);
	f->now_us += TTL_US / 2;
	assert_int_equal(
		f->a->store.ops->renew(&f->a->store, "m1", false, list, 2, TTL_MS, NULL, 0, NULL),
		0);
	assert_int_equal(announce(f->a, "m3"), 0);
	assert_int_equal(read_view(f)->member_count, 3);
	assert_string_equal(f->view.members[0].consumer_id, "m1");
	assert_string_equal(f->view.members[2].consumer_id, "m3");
	assert_false(f->view.members[0].all);
	assert_int_equal(f->view.members[0].partition_count, 2);
	assert_int_equal(f->view.members[0].partitions[1], 2);
	f->now_us += TTL_US / 2;
	assert_int_equal(read_view(f)->member_count, 2); /* m2 has expired */
	assert_int_equal(f->a->store.ops->withdraw(&f->a->store, "m1", NULL), 0);
	assert_int_equal(read_view(f)->member_count, 1);
	assert_string_equal(f->view.members[0].consumer_id, "m3");
}

static void test_a_halted_partition_is_not_handed_out(void **state)
{
	struct fixture *f = *state;

	f->offsets[2].halted = true;
	assert_int_equal(acquire(f->a, "a", 2), 0);
	assert_true(read_view(f)->rows[2].halted);
}

static void test_a_request_is_shown_while_it_is_fresh(void **state)
{
	struct fixture *f = *state;

	strcpy(f->db.rows[1].requested_by, "replay");
	f->db.rows[1].requested_until_us = f->now_us + 100;
	assert_string_equal(read_view(f)->rows[1].requested_by, "replay");
	f->now_us += 100;
	assert_string_equal(read_view(f)->rows[1].requested_by, "");
}

static struct lease_request ask(
	struct lease_store_memory *s, const char *who, int32_t partition, int64_t epoch)
{
	struct lease_request request = {.partition = partition, .epoch = epoch};

	assert_int_equal(s->store.ops->request(&s->store, who, TTL_MS, &request, NULL), 0);
	return request;
}

static void test_a_requested_partition_is_taken_by_who_asked(void **state)
{
	struct fixture *f = *state;
	struct lease_request request = ask(f->b, "replay-1", 1, 0);
	int64_t epoch;

	assert_string_equal(request.ret_requested_by, "replay-1");
	assert_false(request.ret_held);
	assert_string_equal(ask(f->a, "replay-2", 1, 0).ret_requested_by, "replay-1");
	assert_int_equal(acquire(f->a, "a", 1), 0);
	assert_int_equal(acquire(f->a, "replay-2", 1), 0);
	f->offsets[1].halted = true;
	epoch = acquire(f->b, "replay-1", 1);
	assert_true(epoch > 0);
	f->now_us += TTL_US / 2;
	request = ask(f->b, "replay-1", 1, epoch);
	assert_int_equal(request.ret_epoch, epoch);
	assert_int_equal(f->db.rows[1].expires_us, f->now_us + TTL_US);
	assert_int_equal(f->a->store.ops->unrequest(&f->a->store, "replay-2", 1, NULL), 0);
	assert_string_equal(read_view(f)->rows[1].requested_by, "replay-1");
	assert_true(read_view(f)->rows[1].held);
	assert_int_equal(f->b->store.ops->unrequest(&f->b->store, "replay-1", 1, NULL), 0);
	assert_string_equal(read_view(f)->rows[1].requested_by, "");
	assert_false(read_view(f)->rows[1].held);
	assert_int_equal(acquire(f->a, "a", 1), 0); /* it is halted still */
	f->offsets[1].halted = false;
	assert_true(acquire(f->a, "a", 1) > epoch);
}

static void test_a_request_that_is_not_renewed_lapses(void **state)
{
	struct fixture *f = *state;

	ask(f->b, "replay-1", 1, 0);
	f->now_us += LEASE_REQUEST_MS * 1000 - 1;
	assert_int_equal(acquire(f->a, "a", 1), 0);
	f->now_us += 1;
	assert_string_equal(ask(f->a, "replay-2", 1, 0).ret_requested_by, "replay-2");
	f->now_us += LEASE_REQUEST_MS * 1000;
	assert_true(acquire(f->a, "a", 1) > 0);
	assert_int_equal(ask(f->b, "replay-1", 1, 0).ret_held, true); /* asks, takes nothing */
}

static void test_a_locked_row_is_said_to_be_locked_only_if_it_could_be_had(void **state)
{
	struct fixture *f = *state;
	int64_t epoch = acquire(f->a, "a", 0);
	int64_t got = -1;

	f->offsets[0].locked_by = f;
	assert_int_equal(acquire(f->b, "b", 0), 0); /* held: the lock is not waited for */
	f->now_us += TTL_US;
	assert_int_equal(
		f->b->store.ops->acquire(&f->b->store, "b", 0, TTL_MS, &got, NULL), -EAGAIN);
	assert_int_equal(f->db.rows[0].epoch, epoch);
	f->offsets[0].locked_by = NULL;
	assert_true(acquire(f->b, "b", 0) > epoch);
}

static void test_failures_before_and_after(void **state)
{
	struct fixture *f = *state;
	struct error err;
	int64_t epoch;

	f->a->fail_before = 1;
	assert_int_equal(
		f->a->store.ops->acquire(&f->a->store, "a", 0, TTL_MS, &epoch, &err), -EIO);
	assert_int_equal(f->db.rows[0].epoch, 0);
	f->a->lose_answer = 1;
	assert_int_equal(
		f->a->store.ops->acquire(&f->a->store, "a", 0, TTL_MS, &epoch, &err), -EIO);
	assert_true(f->db.rows[0].epoch > 0);
	f->a->unreachable = true;
	assert_int_equal(f->a->store.ops->read(&f->a->store, &f->view, &err), -EIO);
	f->a->unreachable = false;
	assert_int_equal(read_view(f)->row_count, 3);
}

static void test_a_fail_over_brings_everything_back(void **state)
{
	struct fixture *f = *state;
	struct partition_offset_row offsets[3] = {{0}};
	struct lease_db copy;

	lease_store_memory_db_init(&copy, offsets, 3, now_us, f);
	f->offsets[1].next_offset = 10;
	announce(f->a, "a");
	lease_store_memory_db_restore(&copy, &f->db);
	f->offsets[1].next_offset = 20;
	f->offsets[1].locked_by = f;
	acquire(f->a, "a", 0);
	announce(f->b, "b");
	lease_store_memory_db_restore(&f->db, &copy);
	assert_int_equal(f->offsets[1].next_offset, 10);
	assert_null(f->offsets[1].locked_by);
	assert_int_equal(f->db.rows[0].epoch, 0);
	assert_int_equal(announce(f->a, "a"), -EIO); /* its connection is broken */
	assert_int_equal(read_view(f)->member_count, 1);
	lease_store_memory_db_finish(&copy);
}

#define with_fixture(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		with_fixture(test_a_lease_is_exclusive_until_it_expires),
		with_fixture(test_epochs_grow_though_the_clock_goes_back),
		with_fixture(test_a_lost_epoch_is_not_handed_out_again_though_the_clock_is_behind),
		with_fixture(test_renewal_and_release_are_by_epoch_not_by_name),
		with_fixture(test_members_are_those_alive_sorted),
		with_fixture(test_a_halted_partition_is_not_handed_out),
		with_fixture(test_a_request_is_shown_while_it_is_fresh),
		with_fixture(test_a_requested_partition_is_taken_by_who_asked),
		with_fixture(test_a_request_that_is_not_renewed_lapses),
		with_fixture(test_a_locked_row_is_said_to_be_locked_only_if_it_could_be_had),
		with_fixture(test_failures_before_and_after),
		with_fixture(test_a_fail_over_brings_everything_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
