/* A batch of the outbox is bounded, and its rows are copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "outbox_batch.h"

static struct outbox_row row_of(int64_t id, const char *payload)
{
	return (struct outbox_row){
		.id = id,
		.event_id = "e",
		.topic = "t",
		.key = "key",
		.key_length = 3,
		.payload = payload,
		.payload_length = strlen(payload),
		.fate = OUTBOX_SENT,
	};
}

static void test_rows_are_copies_and_pending(void **state)
{
	struct outbox_batch batch;
	char payload[] = "{\"a\":1}";
	struct outbox_row row = row_of(7, payload);

	outbox_batch_init(&batch, 2, 100);
	assert_true(outbox_batch_add(&batch, &row));
	memset(payload, 'x', sizeof payload - 1);
	assert_int_equal(batch.rows[0].id, 7);
	assert_memory_equal(batch.rows[0].payload, "{\"a\":1}", 7);
	assert_memory_equal(batch.rows[0].key, "key", 3);
	assert_int_equal(batch.rows[0].fate, OUTBOX_PENDING);
	outbox_batch_finish(&batch);
}

static void test_a_row_without_key_has_none(void **state)
{
	struct outbox_batch batch;
	struct outbox_row row = row_of(7, "{}");

	row.key = NULL;
	row.key_length = 0;
	outbox_batch_init(&batch, 1, 100);
	assert_true(outbox_batch_add(&batch, &row));
	assert_null(batch.rows[0].key);
	outbox_batch_finish(&batch);
}

static void test_it_is_bounded_by_rows_and_by_bytes(void **state)
{
	struct outbox_batch batch;
	struct outbox_row small = row_of(1, "1");
	struct outbox_row large = row_of(2, "12345678901234567890");

	outbox_batch_init(&batch, 3, 20);
	assert_true(outbox_batch_add(&batch, &large)); /* the first one fits, whatever its size */
	assert_false(outbox_batch_add(&batch, &small));
	outbox_batch_reset(&batch);
	for (int i = 0; i < 3; i++)
		assert_true(outbox_batch_add(&batch, &small));
	assert_int_equal(batch.bytes, 12);
	assert_false(outbox_batch_add(&batch, &small)); /* there is room, but no row */
	outbox_batch_finish(&batch);
}

static void test_fates_turn_together_but_for_what_has_failed(void **state)
{
	struct outbox_batch batch;
	struct outbox_row row = row_of(1, "1");

	outbox_batch_init(&batch, 3, 100);
	for (int i = 0; i < 3; i++)
		outbox_batch_add(&batch, &row);
	outbox_batch_fail(&batch, 1, "too large");
	outbox_batch_turn(&batch, OUTBOX_PENDING, OUTBOX_SENDING);
	assert_int_equal(outbox_batch_count(&batch, OUTBOX_SENDING), 2);
	assert_int_equal(batch.rows[1].fate, OUTBOX_FAILED);
	assert_string_equal(batch.rows[1].reason, "too large");
	outbox_batch_finish(&batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_are_copies_and_pending),
		cmocka_unit_test(test_a_row_without_key_has_none),
		cmocka_unit_test(test_it_is_bounded_by_rows_and_by_bytes),
		cmocka_unit_test(test_fates_turn_together_but_for_what_has_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
