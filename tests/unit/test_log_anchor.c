/* What makes a log another one, and that an anchor never moves into another log. */
#include "fixture.h"

#include "log_anchor.h"

static struct message message_at(int64_t offset)
{
	return (struct message){
		.offset = offset,
		.timestamp_ms = 1000 + offset,
		.key = "7",
		.key_length = 1,
		.value = "value",
		.value_length = 5,
	};
}

static void read_at(struct log_anchor *anchor, int64_t offset)
{
	struct message message = message_at(offset);

	if (log_anchor_wants(anchor))
		log_anchor_read(anchor, &message);
}

static struct log_anchor anchor_at(int64_t offset)
{
	struct log_anchor anchor;

	log_anchor_init(&anchor);
	read_at(&anchor, offset);
	assert_int_equal(anchor.held.offset, offset);
	return anchor;
}

#define ASSERT_MATTERS(field, other)                                                               \
	do {                                                                                       \
		struct message found = message_at(12);                                             \
		found.field = (other);                                                             \
		assert_int_equal(log_mark_compare(&anchor.held, &found), LOG_OTHER);               \
	} while (0)

static void test_every_field_matters(void **state)
{
	struct log_anchor anchor = anchor_at(12);
	struct message same = message_at(12);

	assert_int_equal(log_mark_compare(&anchor.held, &same), LOG_SAME);
	ASSERT_MATTERS(offset, 13);
	ASSERT_MATTERS(timestamp_ms, 1);
	ASSERT_MATTERS(key, "8");
	ASSERT_MATTERS(key_length, 0);
	ASSERT_MATTERS(value, "VALUE");
	ASSERT_MATTERS(value_length, 4);
}

/* Only when two looks have found the old one in its place, the first of which ended after the new
 * one was read: the second began then, too. */
static void test_moves_after_a_whole_interval(void **state)
{
	struct log_anchor anchor = anchor_at(5);

	assert_true(log_anchor_wants(&anchor));
	read_at(&anchor, 9);
	assert_false(log_anchor_wants(&anchor));
	read_at(&anchor, 10);
	log_anchor_answered(&anchor, LOG_SAME);
	assert_int_equal(anchor.held.offset, 5);
	log_anchor_answered(&anchor, LOG_SAME);
	assert_int_equal(anchor.held.offset, 9);
	assert_true(log_anchor_wants(&anchor));
	read_at(&anchor, 20);
	log_anchor_answered(&anchor, LOG_SAME);
	assert_int_equal(anchor.held.offset, 9);
	log_anchor_answered(&anchor, LOG_SAME);
	assert_int_equal(anchor.held.offset, 20);
}

static void test_stays_while_nothing_can_be_said(void **state)
{
	struct log_anchor anchor = anchor_at(5);

	read_at(&anchor, 9);
	for (int i = 0; i < 5; i++) {
		log_anchor_answered(&anchor, LOG_SILENT);
		log_anchor_answered(&anchor, LOG_OTHER);
	}
	assert_int_equal(anchor.held.offset, 5);
	log_anchor_answered(&anchor, LOG_SAME);
	assert_int_equal(anchor.held.offset, 5);
}

/* Retention may delete the anchor of a quiet log; it stays until something else was read. */
static void test_stays_when_deleted_until_it_can_move(void **state)
{
	struct log_anchor anchor = anchor_at(5);

	for (int i = 0; i < 5; i++)
		log_anchor_answered(&anchor, LOG_ABSENT);
	assert_int_equal(anchor.held.offset, 5);
	read_at(&anchor, 9);
	log_anchor_answered(&anchor, LOG_ABSENT);
	assert_int_equal(anchor.held.offset, 5);
	log_anchor_answered(&anchor, LOG_ABSENT);
	assert_int_equal(anchor.held.offset, 9);
}

/* Nothing was read yet: what is found before the beginning, which was deleted, is another log's. */
static void test_no_message_agrees_with_a_deleted_beginning(void **state)
{
	struct log_anchor anchor;
	struct message found = {.offset = 99};

	log_anchor_init(&anchor);
	log_anchor_begins(&anchor, 0);
	assert_int_equal(anchor.held.offset, LOG_MARK_NONE);
	log_anchor_begins(&anchor, 100);
	assert_int_equal(anchor.held.offset, 99);
	assert_int_equal(log_mark_compare(&anchor.held, &found), LOG_OTHER);
	read_at(&anchor, 120);
	log_anchor_begins(&anchor, 110);
	assert_int_equal(anchor.held.offset, 99);
	log_anchor_answered(&anchor, LOG_ABSENT);
	log_anchor_answered(&anchor, LOG_ABSENT);
	assert_int_equal(anchor.held.offset, 120);
}

/* A message that was read is the better anchor. */
static void test_a_beginning_replaces_no_message(void **state)
{
	struct log_anchor anchor = anchor_at(120);

	log_anchor_begins(&anchor, 100);
	assert_int_equal(anchor.held.offset, 120);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field_matters),
		cmocka_unit_test(test_moves_after_a_whole_interval),
		cmocka_unit_test(test_stays_while_nothing_can_be_said),
		cmocka_unit_test(test_stays_when_deleted_until_it_can_move),
		cmocka_unit_test(test_no_message_agrees_with_a_deleted_beginning),
		cmocka_unit_test(test_a_beginning_replaces_no_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
