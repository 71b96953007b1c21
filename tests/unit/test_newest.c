/* Whether the log agrees with a row: every field counts, and nothing is not the same as empty. */
#include "fixture.h"

#include "murmur2.h"
#include "newest.h"

#define VALUE                                                                                      \
	"{\"transaction_id\":\"a\",\"account_id\":7,\"currency\":\"USDT\",\"type\":\"DEPOSIT\","   \
	"\"amount\":\"1.50\",\"ts\":5}"

static const struct message message = {
	.offset = 12,
	.key = "7",
	.key_length = 1,
	.value = VALUE,
	.value_length = sizeof VALUE - 1,
};

static struct store_newest row(void)
{
	return (struct store_newest){
		.found = true,
		.offset = 12,
		.event = {.account_id = 7,
			.currency = fixture_currency("USDT"),
			.amount = amount_of("1.5"),
			.type = EVENT_DEPOSIT,
			.transaction_id_length = 1,
			.transaction_id = "a"},
	};
}

static bool agrees(struct store_newest newest)
{
	return newest_agrees(&newest, &message, 0, 1);
}

#define ASSERT_MATTERS(field, value)                                                               \
	do {                                                                                       \
		struct store_newest other = row();                                                 \
		other.field = (value);                                                             \
		assert_false(agrees(other));                                                       \
	} while (0)

static void test_journal_row(void **state)
{
	assert_true(agrees(row()));
	ASSERT_MATTERS(offset, 13);
	ASSERT_MATTERS(event.account_id, 8);
	ASSERT_MATTERS(event.currency, fixture_currency("USD"));
	ASSERT_MATTERS(event.amount, amount_of("1.51"));
	ASSERT_MATTERS(event.type, EVENT_FREEZE);
	ASSERT_MATTERS(event.transaction_id[0], 'A');
	ASSERT_MATTERS(event.transaction_id_length, 2);
}

/* A row was made from it, but now the message would be none: it belongs to another partition. */
static void test_message_that_would_be_a_dead_letter(void **state)
{
	struct store_newest newest = row();
	int32_t other = 1 - murmur2_partition("7", 1, 2);

	assert_true(newest_agrees(&newest, &message, 1 - other, 2));
	assert_false(newest_agrees(&newest, &message, other, 2));
}

static void test_dead_letter(void **state)
{
	static char empty[] = "", x[] = "x";
	struct message bytes = {.offset = 12, .key = "", .value = NULL};
	struct store_newest letter = {
		.found = true, .offset = 12, .dead_letter = true, .key = empty};

	assert_true(newest_agrees(&letter, &bytes, 0, 1));
	bytes.key = NULL;
	assert_false(newest_agrees(&letter, &bytes, 0, 1));
	bytes.key = "";
	bytes.value = "";
	assert_false(newest_agrees(&letter, &bytes, 0, 1));
	letter.value = x;
	letter.value_length = 1;
	bytes.value = "y";
	bytes.value_length = 1;
	assert_false(newest_agrees(&letter, &bytes, 0, 1));
	bytes.value = "x";
	assert_true(newest_agrees(&letter, &bytes, 0, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_journal_row),
		cmocka_unit_test(test_message_that_would_be_a_dead_letter),
		cmocka_unit_test(test_dead_letter),
	};

	return cmocka_run_group_tests_name("newest", tests, NULL, NULL);
}
