/* A batch: its limits, its offsets, and that it owns the bytes that it keeps. */
#include "fixture.h"

static struct message message_of(int64_t offset, char *value)
{
	return (struct message){.offset = offset,
		.timestamp_ms = FIXTURE_TIME_MS,
		.key = "1",
		.key_length = 1,
		.value = value,
		.value_length = strlen(value)};
}

static void test_owns_what_it_keeps(void **state)
{
	struct batch b;
	char value[] = "value";
	struct message message = message_of(5, value);
	struct record *record;

	batch_init(&b, 4, 1000, BALANCE_PIN_EVEN);
	batch_reset(&b, 3);
	record = batch_add(&b, &message);
	batch_keep(&b, record);
	memset(value, 'x', sizeof value - 1);
	assert_memory_equal(record->message.value, "value", 5);
	assert_null(record->message.headers);
	batch_finish(&b);
}

/* A null value, an empty one and none are three things. */
static void test_absent_and_empty(void **state)
{
	struct batch b;
	struct message message = {.offset = 0, .key = "", .key_length = 0};
	struct record *record;

	batch_init(&b, 4, 1000, BALANCE_PIN_EVEN);
	batch_reset(&b, 0);
	record = batch_add(&b, &message);
	batch_keep(&b, record);
	assert_non_null(record->message.key);
	assert_null(record->message.value);
	batch_finish(&b);
}

static void test_full_by_count_and_by_bytes(void **state)
{
	struct batch b;
	char value[] = "0123456789";
	char huge[5001];
	struct message message = message_of(0, value);

	memset(huge, 'x', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	batch_init(&b, 3, 1000, BALANCE_PIN_EVEN);
	batch_reset(&b, 0);
	assert_true(batch_empty(&b));
	for (message.offset = 0; message.offset < 3; message.offset++) {
		assert_false(batch_full(&b));
		batch_add(&b, &message);
	}
	assert_true(batch_full(&b));

	batch_reset(&b, 3);
	message = message_of(3, huge);
	assert_false(batch_full(&b)); /* one message always fits */
	batch_add(&b, &message);
	assert_true(batch_full(&b));
	batch_finish(&b);
}

/* Gaps in the offsets, and an end that moves without a record. */
static void test_offsets(void **state)
{
	struct batch b;
	char value[] = "v";
	struct message message = message_of(17, value);

	batch_init(&b, 4, 1000, BALANCE_PIN_EVEN);
	batch_reset(&b, 10);
	batch_add(&b, &message);
	assert_int_equal(b.begin_offset, 10);
	assert_int_equal(b.end_offset, 18);
	batch_advance(&b, 12);
	assert_int_equal(b.end_offset, 18);
	batch_advance(&b, 20);
	assert_int_equal(b.end_offset, 20);

	batch_reset(&b, 20);
	assert_true(batch_empty(&b));
	batch_advance(&b, 22);
	assert_false(batch_empty(&b));
	assert_int_equal(b.count, 0);
	batch_finish(&b);
}

/* What is printed as a batch's memory is what a full one takes, whoever keeps the messages. */
static void test_bytes_max(void **state)
{
	struct batch b;
	char value[101];
	struct message message;

	memset(value, 'x', sizeof value - 1);
	value[sizeof value - 1] = '\0';
	message = message_of(0, value);
	batch_init(&b, 50000, 4 << 20, BALANCE_PIN_EVEN);
	batch_reset(&b, 0);
	for (; !batch_full(&b); message.offset++)
		batch_keep(&b, batch_add(&b, &message));
	assert_true(b.arena.held_bytes + 50000 * (sizeof(struct record) + sizeof(struct touched)) <=
		    batch_bytes_max(50000, 4 << 20));
	batch_finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owns_what_it_keeps),
		cmocka_unit_test(test_absent_and_empty),
		cmocka_unit_test(test_full_by_count_and_by_bytes),
		cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_bytes_max),
	};

	return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
