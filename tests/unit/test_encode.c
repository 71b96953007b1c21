/*
 * The rows of a flush: what they say, that they are read back as they were, and that it does not
 * matter where the client library cuts them.
 */
#include <stdio.h>

#include "amounts.h"
#include "encode.h"
#include "rows.h"

/* What the encoder wrote, read piece by piece. */
struct text {
	char *bytes;
	size_t length;
};

static struct text read_all(
	const struct flush_request *request, enum store_table table, size_t piece)
{
	struct encoder enc;
	struct text text = {.bytes = malloc(1 << 20)};
	char *buffer = malloc(piece);
	size_t length;

	encode_init(&enc, request, table);
	while ((length = encode_read(&enc, buffer, piece))) {
		assert_true(length <= piece);
		assert_true(text.length + length <= 1 << 20);
		memcpy(text.bytes + text.length, buffer, length);
		text.length += length;
	}
	assert_int_equal(encode_read(&enc, buffer, piece), 0); /* still the end */
	free(buffer);
	return text;
}

/* In one piece, which is compared with the same in pieces of many sizes. */
static struct text read_table(const struct flush_request *request, enum store_table table)
{
	static const size_t pieces[] = {1, 2, 3, 7, 64, 511, 512, 513, 600, 1024, 4096, 65536};
	struct text whole = read_all(request, table, 1 << 20);

	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		struct text text = read_all(request, table, pieces[i]);

		assert_int_equal(text.length, whole.length);
		assert_memory_equal(text.bytes, whole.bytes, whole.length);
		free(text.bytes);
	}
	return whole;
}

/* As many columns as the list of names has. */
static size_t count_columns(const char *names)
{
	size_t count = 1;

	for (; *names; names++)
		count += *names == ',';
	return count;
}

static struct rows read_rows(const struct batch *b, enum store_table table, const char *columns)
{
	struct flush_request request = {.partition = 7, .batch = b};
	struct text text = read_table(&request, table);
	struct rows rows;

	rows_read(&rows, text.bytes, text.length);
	free(text.bytes);
	assert_int_equal(rows.row_count, encode_rows(b, table));
	if (rows.row_count)
		assert_int_equal(rows.columns, count_columns(columns));
	return rows;
}

static void assert_field(const struct rows *rows, size_t row, size_t column, const char *expected)
{
	const struct rows_field *field = rows_at(rows, row, column);

	if (field->null != !expected)
		fail_msg("row %zu column %zu: NULL is %d", row, column, field->null);
	if (expected && (field->length != strlen(expected) || strcmp(field->bytes, expected)))
		fail_msg("row %zu column %zu: \"%s\", not \"%s\"", row, column, field->bytes,
			expected);
}

static void assert_fields(const struct rows *rows, size_t row, const char *const *expected)
{
	for (size_t column = 0; column < rows->columns; column++)
		assert_field(rows, row, column, expected[column]);
}

static void set_id(struct event *event, const char *id)
{
	event->transaction_id_length = (uint8_t)strlen(id);
	memcpy(event->transaction_id, id, strlen(id));
}

static struct record journal_record(int64_t offset, const char *id)
{
	struct record record = {
		.event =
			{
				.account_id = 1001,
				.currency = currency_pack("USDT", 4),
				.amount = amount_of("10.5"),
				.time_ms = INT64_C(1767225600123),
				.type = EVENT_DEPOSIT,
			},
		.message = {.offset = offset},
		.outcome = OUTCOME_APPLIED,
		.available_after = amount_of("10.5"),
		.frozen_after = 0,
		.prev_offset = -1,
	};

	set_id(&record.event, id);
	return record;
}

static void test_journal(void **state)
{
	static const char *const first[] = {"7", "40", "t-1", "1001", "USDT", "DEPOSIT", "10.5",
		"10.5", "0", "SUCCESS", NULL, "2026-01-01 00:00:00.123", NULL};
	static const char *const second[] = {"7", "42", "\\N\\a\\", "9223372036854775807",
		"ABCDEFGHI9", "UNFREEZE", "999999999999999999.999999999999999999",
		"0.000000000000000001", "123456789.000000001", "FAILED", "INSUFFICIENT_FROZEN",
		"9999-12-31 23:59:59.999", "0"};
	static const char *const third[] = {"7", "9223372036854775807", "t-3", "1001", "USDT",
		"DEPOSIT", "10.5", "10.5", "0", "FAILED", "OVERFLOW", "1970-01-01 00:00:00.000",
		"9223372036854775806"};
	struct record records[] = {
		journal_record(40, "t-1"),
		{.outcome = OUTCOME_DUPLICATE, .message = {.offset = 41}},
		journal_record(42, "\\N\\a\\"),
		{.outcome = OUTCOME_DEAD_LETTER, .message = {.offset = 43}},
		journal_record(INT64_MAX, "t-3"),
		{.outcome = OUTCOME_DUPLICATE, .message = {.offset = 45}},
	};
	struct batch b = {
		.records = records, .count = 6, .journal_count = 3, .dead_letter_count = 1};
	struct rows rows;

	records[2].event.account_id = INT64_MAX;
	records[2].event.currency = currency_pack("ABCDEFGHI9", 10);
	records[2].event.type = EVENT_UNFREEZE;
	records[2].event.amount = DECIMAL_MAX;
	records[2].event.time_ms = EVENT_TIME_MAX_MS;
	records[2].available_after = 1;
	records[2].frozen_after = amount_of("123456789.000000001");
	records[2].outcome = OUTCOME_REFUSED;
	records[2].refusal = REFUSAL_INSUFFICIENT_FROZEN;
	records[2].prev_offset = 0;
	records[4].outcome = OUTCOME_REFUSED;
	records[4].refusal = REFUSAL_OVERFLOW;
	records[4].event.time_ms = 0;
	records[4].prev_offset = INT64_MAX - 1;

	rows = read_rows(&b, STORE_JOURNAL, ENCODE_JOURNAL_COLUMNS);
	assert_fields(&rows, 0, first);
	assert_fields(&rows, 1, second);
	assert_fields(&rows, 2, third);
	rows_finish(&rows);
}

/* The bytes themselves, once: what the server is sent. */
static void test_text_of_a_row(void **state)
{
	static const char expected[] =
		"7\t40\tt\\\\1\t1001\tUSDT\tDEPOSIT\t10.5\t10.5\t0\tSUCCESS\t\\N\t"
		"2026-01-01 00:00:00.123\t\\N\n";
	struct record record = journal_record(40, "t\\1");
	struct batch b = {.records = &record, .count = 1, .journal_count = 1};
	struct flush_request request = {.partition = 7, .batch = &b};
	struct text text = read_table(&request, STORE_JOURNAL);

	assert_int_equal(text.length, sizeof(expected) - 1);
	assert_memory_equal(text.bytes, expected, text.length);
	free(text.bytes);
}

/* The longest row there can be still fits where pieces are put together. */
static void test_longest_rows(void **state)
{
	struct record record = journal_record(INT64_MAX, "");
	uint32_t order[] = {0};
	struct touched touched = {.key = {INT64_MAX, currency_pack("ABCDEFGHI9", 10)},
		.after = {DECIMAL_MAX, DECIMAL_MAX, INT64_MAX, INT64_MAX}};
	struct batch b = {.records = &record,
		.count = 1,
		.journal_count = 1,
		.touched = &touched,
		.touched_count = 1,
		.order = order};
	struct flush_request request = {.partition = INT32_MAX, .batch = &b};
	struct text text;

	memset(record.event.transaction_id, '\\', TRANSACTION_ID_MAX);
	record.event.transaction_id_length = TRANSACTION_ID_MAX;
	record.event.account_id = INT64_MAX;
	record.event.currency = touched.key.currency;
	record.event.type = EVENT_WITHDRAW;
	record.event.amount = record.available_after = record.frozen_after = DECIMAL_MAX;
	record.outcome = OUTCOME_REFUSED;
	record.refusal = REFUSAL_INSUFFICIENT_AVAILABLE;
	record.prev_offset = INT64_MAX;
	text = read_table(&request, STORE_JOURNAL);
	assert_true(text.length + DECIMAL_TEXT_MAX <= ENCODE_PIECE_MAX);
	free(text.bytes);
	text = read_table(&request, STORE_BALANCES);
	assert_true(text.length + DECIMAL_TEXT_MAX <= ENCODE_PIECE_MAX);
	free(text.bytes);
}

static void test_balances(void **state)
{
	static const char *const first[] = {
		"1", "BTC", "0.00000001", "0", "0", "7", "12", "2026-01-01 00:00:00.123"};
	static const char *const second[] = {"9223372036854775807", "USDT",
		"999999999999999999.999999999999999999", "5", "9223372036854775807", "7", "13",
		"2026-01-01 00:00:00.123"};
	struct touched touched[] = {
		{.key = {INT64_MAX, currency_pack("USDT", 4)},
			.before = {2, 2, 2, 2},
			.after = {DECIMAL_MAX, amount_of("5"), INT64_MAX, 13}},
		{.key = {1, currency_pack("BTC", 3)},
			.before = {1, 1, 1, 1},
			.after = {amount_of("0.00000001"), 0, 0, 12}},
	};
	uint32_t order[] = {1, 0};
	struct batch b = {.touched = touched,
		.touched_count = 2,
		.order = order,
		.closed_ms = INT64_C(1767225600123)};
	struct rows rows = read_rows(&b, STORE_BALANCES, ENCODE_BALANCES_COLUMNS);

	assert_fields(&rows, 0, first);
	assert_fields(&rows, 1, second);
	rows_finish(&rows);
}

static struct record dead_record(int64_t offset, const char *key, const char *value)
{
	return (struct record){
		.message =
			{
				.offset = offset,
				.timestamp_ms = INT64_C(1767225600123),
				.key = key,
				.key_length = key ? strlen(key) : 0,
				.value = value,
				.value_length = value ? strlen(value) : 0,
			},
		.detail = "ts is given twice",
		.outcome = OUTCOME_DEAD_LETTER,
		.dead_reason = DEAD_MALFORMED,
	};
}

static void test_dead_letters(void **state)
{
	static const char *const first[] = {"7", "1", "MALFORMED", "ts is given twice", "1001",
		"{\"a\":\t\"\\\\b\\n\"\n}", "[[\"h\\\\\",null]]", "2026-01-01 00:00:00.123",
		"2030-01-01 00:00:00.000"};
	static const char *const second[] = {"7", "3", "KEY_MISMATCH", "ts is given twice", NULL,
		NULL, NULL, NULL, "2030-01-01 00:00:00.000"};
	static const char *const third[] = {
		"7", "4", "WRONG_PARTITION", "", "", "", NULL, NULL, "2030-01-01 00:00:00.000"};
	static const char *const fourth[] = {"7", "5", "ID_CONFLICT", "ts is given twice", "\\N",
		"\\N", NULL, "1970-01-01 00:00:00.000", "2030-01-01 00:00:00.000"};
	struct record records[] = {
		dead_record(1, "1001", first[5]), journal_record(2, "t-2"),
		dead_record(3, NULL, NULL), dead_record(4, "", ""),
		dead_record(5, "\\N", "\\N"), /* not to be taken for NULL */
	};
	struct batch b = {.records = records,
		.count = 5,
		.journal_count = 1,
		.dead_letter_count = 4,
		.closed_ms = INT64_C(1893456000000)};
	struct rows rows;

	records[0].message.headers = first[6];
	records[0].message.headers_length = strlen(first[6]);
	records[2].message.timestamp_ms = MESSAGE_NO_TIMESTAMP;
	records[2].dead_reason = DEAD_KEY_MISMATCH;
	records[3].message.timestamp_ms = EVENT_TIME_MAX_MS + 1; /* not a DATETIME */
	records[3].dead_reason = DEAD_WRONG_PARTITION;
	records[3].detail = NULL;
	records[4].message.timestamp_ms = 0;
	records[4].dead_reason = DEAD_ID_CONFLICT;

	rows = read_rows(&b, STORE_DEAD_LETTERS, ENCODE_DEAD_LETTERS_COLUMNS);
	assert_fields(&rows, 0, first);
	assert_fields(&rows, 1, second);
	assert_fields(&rows, 2, third);
	assert_fields(&rows, 3, fourth);
	rows_finish(&rows);
}

/* Again the bytes themselves: four of them have an escape. */
static void test_text_of_a_dead_letter(void **state)
{
	static const char value[] = "a\0b\tc\nd\\e\rf\x1ag'\"\xff";
	static const char expected[] = "7\t1\tMALFORMED\tts is given twice\t\\N\t"
				       "a\\0b\\tc\\nd\\\\e\rf\x1ag'\"\xff\t\\N\t"
				       "2026-01-01 00:00:00.123\t1970-01-01 00:00:00.000\n";
	struct record record = dead_record(1, NULL, NULL);
	struct batch b = {.records = &record, .count = 1, .dead_letter_count = 1};
	struct flush_request request = {.partition = 7, .batch = &b};
	struct text text;

	record.message.value = value;
	record.message.value_length = sizeof(value) - 1;
	text = read_table(&request, STORE_DEAD_LETTERS);
	assert_int_equal(text.length, sizeof(expected) - 1);
	assert_memory_equal(text.bytes, expected, text.length);
	free(text.bytes);
}

/* Every byte, in every pair with those that are escaped, comes back. */
static void test_raw_bytes(void **state)
{
	static const char specials[] = "\0\t\n\\\r\x1aNt0n'\"";
	char *value = malloc(256 * sizeof(specials) * 2);
	size_t length = 0;
	struct record record = dead_record(1, "", "");
	struct batch b = {.records = &record, .count = 1, .dead_letter_count = 1};
	const struct rows_field *field;
	struct rows rows;

	for (int c = 0; c < 256; c++) {
		for (size_t i = 0; i < sizeof(specials); i++) {
			value[length++] = (char)c;
			value[length++] = specials[i];
		}
	}
	record.message.key = record.message.value = record.message.headers = value;
	record.message.key_length = record.message.value_length = length;
	record.message.headers_length = length - 1;
	rows = read_rows(&b, STORE_DEAD_LETTERS, ENCODE_DEAD_LETTERS_COLUMNS);
	for (size_t column = 4; column <= 6; column++) {
		field = rows_at(&rows, 0, column);
		assert_false(field->null);
		assert_int_equal(field->length, column == 6 ? length - 1 : length);
		assert_memory_equal(field->bytes, value, field->length);
	}
	rows_finish(&rows);
	free(value);
}

/* A clock that was never set, or gone mad, does not stop the ledger. */
static void test_strange_clock(void **state)
{
	struct record record = dead_record(1, "", "");
	struct batch b = {.records = &record, .count = 1, .dead_letter_count = 1, .closed_ms = -5};
	struct rows rows = read_rows(&b, STORE_DEAD_LETTERS, ENCODE_DEAD_LETTERS_COLUMNS);

	assert_field(&rows, 0, 8, "1970-01-01 00:00:00.000");
	rows_finish(&rows);
	b.closed_ms = INT64_MAX;
	rows = read_rows(&b, STORE_DEAD_LETTERS, ENCODE_DEAD_LETTERS_COLUMNS);
	assert_field(&rows, 0, 8, "9999-12-31 23:59:59.999");
	rows_finish(&rows);
}

static void test_nothing(void **state)
{
	struct record record = {.outcome = OUTCOME_DUPLICATE};
	struct batch b = {.records = &record, .count = 1, .duplicate_count = 1};
	struct flush_request request = {.batch = &b};
	struct encoder enc;
	char byte;

	for (enum store_table table = STORE_JOURNAL; table <= STORE_DEAD_LETTERS; table++) {
		assert_int_equal(encode_rows(&b, table), 0);
		encode_init(&enc, &request, table);
		assert_int_equal(encode_read(&enc, &byte, 1), 0);
	}
}

/* More rows than any room holds at once: each is there, whole and in order. */
static void test_many_rows(void **state)
{
	enum { COUNT = 1000 };
	struct record *records = calloc(COUNT, sizeof(*records));
	struct batch b = {.records = records, .count = COUNT};
	struct rows rows;
	char text[32];

	for (int i = 0; i < COUNT; i++) {
		snprintf(text, sizeof(text), "t-%d", i);
		records[i] = i % 3 ? journal_record(i, text) : dead_record(i, "1001", "\n\n\n");
		b.journal_count += i % 3 != 0;
		b.dead_letter_count += i % 3 == 0;
	}
	rows = read_rows(&b, STORE_JOURNAL, ENCODE_JOURNAL_COLUMNS);
	for (int i = 0, row = 0; i < COUNT; i++) {
		snprintf(text, sizeof(text), "t-%d", i);
		if (i % 3)
			assert_field(&rows, (size_t)row++, 2, text);
	}
	rows_finish(&rows);
	rows = read_rows(&b, STORE_DEAD_LETTERS, ENCODE_DEAD_LETTERS_COLUMNS);
	for (int i = 0; i < COUNT; i += 3) {
		snprintf(text, sizeof(text), "%d", i);
		assert_field(&rows, (size_t)i / 3, 1, text);
	}
	rows_finish(&rows);
	free(records);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_text_of_a_row),
		cmocka_unit_test(test_longest_rows),
		cmocka_unit_test(test_balances),
		cmocka_unit_test(test_dead_letters),
		cmocka_unit_test(test_text_of_a_dead_letter),
		cmocka_unit_test(test_raw_bytes),
		cmocka_unit_test(test_strange_clock),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_many_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
