/* What publishing a dead letter again would do, and its bytes on a terminal. */
#include "fixture.h"

#include "dead_letters.h"

#define VALUE(id, account)                                                                         \
	"{\"transaction_id\":\"" id "\",\"account_id\":" account                                   \
	",\"currency\":\"USDT\",\"type\":\"DEPOSIT\",\"amount\":\"1\"}"

static struct dead_bytes bytes_of(const char *text)
{
	return (struct dead_bytes){text, text ? strlen(text) : 0};
}

static enum dead_reason again(enum dead_reason reason, const char *key, const char *value)
{
	struct dead_letter letter = {
		.partition = 0, .reason = reason, .key = bytes_of(key), .value = bytes_of(value)};

	return dead_letters_again(&letter, 7);
}

static void test_again(void **state)
{
	/* Wherever it was: the redrive puts it into the partition of its key. */
	for (int account = 1; account <= 9; account++) {
		char key[8], value[160];

		snprintf(key, sizeof key, "%d", account);
		snprintf(value, sizeof value, VALUE("a", "%d"), account);
		assert_int_equal(again(DEAD_WRONG_PARTITION, key, value), DEAD_NONE);
	}
	assert_int_equal(again(DEAD_ID_CONFLICT, "1", VALUE("a", "1")), DEAD_ID_CONFLICT);
	assert_int_equal(again(DEAD_KEY_MISMATCH, "2", VALUE("a", "1")), DEAD_KEY_MISMATCH);
	assert_int_equal(again(DEAD_KEY_MISMATCH, NULL, VALUE("a", "1")), DEAD_KEY_MISMATCH);
	assert_int_equal(again(DEAD_MALFORMED, "1", "{}"), DEAD_MALFORMED);
	assert_int_equal(again(DEAD_MALFORMED, "1", NULL), DEAD_MALFORMED);
	assert_int_equal(again(DEAD_MALFORMED, "1", VALUE("~a", "1")), DEAD_MALFORMED);
	/* Malformed for an older program, an event for this one. */
	assert_int_equal(again(DEAD_MALFORMED, "1", VALUE("a", "1")), DEAD_NONE);
}

static void test_reasons(void **state)
{
	assert_int_equal(dead_letters_reason("MALFORMED"), DEAD_MALFORMED);
	assert_int_equal(dead_letters_reason("ID_CONFLICT"), DEAD_ID_CONFLICT);
	assert_int_equal(dead_letters_reason("malformed"), DEAD_NONE);
	assert_int_equal(dead_letters_reason(""), DEAD_NONE);
}

static void check_printed(struct dead_bytes bytes, size_t limit, const char *expected, bool whole)
{
	char text[2048] = "";
	FILE *file = fmemopen(text, sizeof text, "w");

	assert_int_equal(dead_letters_print_bytes(&bytes, limit, file), whole);
	fclose(file);
	assert_string_equal(text, expected);
}

static void test_bytes(void **state)
{
	char every[256];

	check_printed(bytes_of("{\"a\": 1}"), 100, "{\"a\": 1}", true);
	check_printed((struct dead_bytes){"\0\n\t\r\\\x1b[2J\x7f\xc3\xa4", 12}, 100,
		"\\x00\\n\\t\\r\\\\\\x1b[2J\\x7f\\xc3\\xa4", true);
	check_printed((struct dead_bytes){NULL, 0}, 100, "NULL", true);
	check_printed(bytes_of(""), 100, "", true);
	check_printed(bytes_of("abcdef"), 6, "abcdef", true);
	check_printed(bytes_of("abcdefg"), 6, "abcdef", false);
	for (int i = 0; i < 256; i++)
		every[i] = (char)i;
	for (int i = 0; i < 256; i++) {
		char text[8] = "";
		FILE *file = fmemopen(text, sizeof text, "w");

		dead_letters_print_bytes(&(struct dead_bytes){&every[i], 1}, 8, file);
		fclose(file);
		for (const char *c = text; *c; c++)
			assert_true(*c >= ' ' && *c <= '~');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
