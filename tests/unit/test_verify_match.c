/* The log against the rows: what every message should have become, and every way it did not. */
#include "fixture.h"

#include <assert.h>
#include <sodium.h>

#include "datetime.h"
#include "verify_match.h"

#define ACCOUNT    INT64_C(1001)
#define PARTITIONS 1

static struct verify_report report;
static struct verify_match match;

static int setup(void **state)
{
	verify_report_init(&report, NULL, NULL);
	verify_match_init(&match, 0, PARTITIONS, &report);
	return 0;
}

static int teardown(void **state)
{
	verify_match_finish(&match);
	verify_report_finish(&report);
	return 0;
}

/* A message, and the rows that are right for it. */
struct scene {
	char value[512];
	struct message message;
	struct event event;
	struct verify_row row;
	struct verify_content content;
	struct verify_letter letter;
	struct verify_offset at;
};

static struct verify_bytes hashed(const char *bytes, size_t length)
{
	struct verify_bytes hash = {.present = bytes != NULL, .length = (int64_t)length};

	if (bytes)
		crypto_hash_sha256(hash.hash, (const unsigned char *)bytes, length);
	return hash;
}

static void set_message(struct scene *s, int64_t offset)
{
	const char *detail;
	enum dead_reason reason;

	s->message.offset = s->at.offset = offset;
	s->message.value = s->value;
	s->message.value_length = strlen(s->value);
	reason = decode_message(&s->message, 0, PARTITIONS, &s->event, &detail);
	s->letter = (struct verify_letter){
		.offset = offset,
		.reason = reason ? reason : DEAD_ID_CONFLICT,
		.key = hashed(s->message.key, s->message.key_length),
		.value = hashed(s->message.value, s->message.value_length),
		.headers = hashed(s->message.headers, s->message.headers_length),
	};
	datetime_format(s->message.timestamp_ms, s->letter.message_time);
	if (reason != DEAD_NONE)
		return;
	s->row = (struct verify_row){
		.offset = offset,
		.account_id = s->event.account_id,
		.currency = s->event.currency,
		.amount = s->event.amount,
		.type = s->event.type,
	};
	datetime_format(s->event.time_ms, s->content.event_time);
	s->content.transaction_id_length = s->event.transaction_id_length;
	memcpy(s->content.transaction_id, s->event.transaction_id, TRANSACTION_ID_MAX);
}

static void scene(struct scene *s, int64_t offset, const char *id, const char *amount)
{
	*s = (struct scene){
		.message = {.timestamp_ms = FIXTURE_TIME_MS,
			.key = "1001",
			.key_length = 4,
			.headers = "[[\"a\",\"b\"]]",
			.headers_length = 11},
	};
	snprintf(s->value, sizeof s->value,
		"{\"transaction_id\":\"%s\",\"account_id\":1001,\"currency\":\"USDT\","
		"\"type\":\"DEPOSIT\",\"amount\":\"%s\"}",
		id, amount);
	set_message(s, offset);
}

static void malformed(struct scene *s, int64_t offset)
{
	scene(s, offset, "x", "1");
	strcpy(s->value, "no JSON");
	set_message(s, offset);
}

enum present { MESSAGE = 1, ROW = 2, LETTER = 4, GAP = 8 };

static void look(struct scene *s, int present)
{
	s->at.message = present & MESSAGE ? &s->message : NULL;
	s->at.row = present & ROW ? &s->row : NULL;
	s->at.content = present & ROW ? &s->content : NULL;
	s->at.letter = present & LETTER ? &s->letter : NULL;
	s->at.in_gap = present & GAP;
	verify_match_at(&match, &s->at);
}

static void assert_only(
	enum verify_kind kind, const char *what, const char *found, const char *expected)
{
	assert_int_equal(report.differences, 1);
	assert_int_equal(report.listed[0].kind, kind);
	assert_string_equal(report.listed[0].what, what);
	assert_string_equal(report.listed[0].found, found);
	assert_string_equal(report.listed[0].expected, expected);
}

/* What is right ------------------------------------------------------------------------------- */

static void test_row(void **state)
{
	struct scene s;

	scene(&s, 5, "a", "10.50");
	look(&s, MESSAGE | ROW);
	assert_int_equal(report.differences, 0);
	assert_int_equal(match.lookup_count, 0);
	assert_int_equal(report.counts.messages, 1);
}

static void test_letter(void **state)
{
	struct scene s;

	malformed(&s, 5);
	look(&s, MESSAGE | LETTER);
	s.message.value = NULL; /* a tombstone, without key, headers and time */
	s.message.value_length = 0;
	s.message.key = NULL;
	s.message.headers = NULL;
	s.message.timestamp_ms = MESSAGE_NO_TIMESTAMP;
	s.letter = (struct verify_letter){.offset = 5, .reason = DEAD_MALFORMED};
	look(&s, MESSAGE | LETTER);
	s.message.timestamp_ms = 0;
	strcpy(s.letter.message_time, "1970-01-01 00:00:00.000");
	look(&s, MESSAGE | LETTER);
	s.message.timestamp_ms = DATETIME_MAX_MS;
	strcpy(s.letter.message_time, "9999-12-31 23:59:59.999");
	look(&s, MESSAGE | LETTER);
	assert_int_equal(report.differences, 0);
}

static void test_duplicate(void **state)
{
	struct scene first, second;

	scene(&first, 5, "a", "10.5");
	scene(&second, 9, "a", "10.50");
	look(&second, MESSAGE);
	assert_int_equal(match.lookup_count, 1);
	verify_match_found(&match, &first.event, 0, 5);
	verify_match_decide(&match);
	assert_int_equal(report.differences, 0);
	assert_int_equal(report.counts.duplicates, 1);
	assert_int_equal(match.lookup_count, 0);
}

static void test_conflict(void **state)
{
	struct scene first, second;

	scene(&first, 5, "a", "10.5");
	scene(&second, 9, "a", "10.6");
	look(&second, MESSAGE | LETTER);
	verify_match_found(&match, &first.event, 0, 5);
	verify_match_decide(&match);
	assert_int_equal(report.differences, 0);
	assert_int_equal(report.counts.duplicates, 0);
}

static void test_gap(void **state)
{
	struct scene s;

	malformed(&s, 5);
	look(&s, MESSAGE | GAP);
	scene(&s, 6, "a", "1");
	look(&s, MESSAGE | GAP);
	assert_int_equal(report.differences, 0);
	assert_int_equal(report.counts.skipped, 2);
	assert_int_equal(match.lookup_count, 0);
	look(&s, MESSAGE | ROW | GAP); /* replayed */
	assert_int_equal(report.differences, 0);
}

/* What is wrong ------------------------------------------------------------------------------- */

static void test_row_content(void **state)
{
	static const struct {
		const char *what, *found, *expected;
	} cases[] = {
		{"account_id", "7", "1001, as in the log"},
		{"currency_code", "BTC", "USDT, as in the log"},
		{"type", "SETTLE", "DEPOSIT, as in the log"},
		{"amount", "10.500000000000000001", "10.5, as in the log"},
		{"transaction_id", "ab", "a, as in the log"},
		{"transaction_id", "b", "a, as in the log"},
		{"event_time", "2026-01-01 00:00:00.001", "2026-01-01 00:00:00.000, as in the log"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct scene s;

		setup(state);
		scene(&s, 5, "a", "10.5");
		if (i == 0)
			s.row.account_id = 7;
		else if (i == 1)
			s.row.currency = fixture_currency("BTC");
		else if (i == 2)
			s.row.type = EVENT_SETTLE;
		else if (i == 3)
			s.row.amount++;
		else if (i == 4)
			s.content.transaction_id_length = 2, s.content.transaction_id[1] = 'b';
		else if (i == 5)
			s.content.transaction_id[0] = 'b';
		else
			s.content.event_time[22] = '1';
		look(&s, MESSAGE | ROW);
		assert_only(VERIFY_LOG_CONTENT, cases[i].what, cases[i].found, cases[i].expected);
		assert_int_equal(report.listed[0].place.offset, 5);
		if (i < sizeof cases / sizeof *cases - 1)
			teardown(state);
	}
}

static void test_letter_content(void **state)
{
	for (int i = 0; i < 6; i++) {
		struct scene s;

		setup(state);
		malformed(&s, 5);
		if (i == 0)
			s.letter.value.hash[31] ^= 1;
		else if (i == 1)
			s.letter.value.length++;
		else if (i == 2)
			s.letter.key.present = false;
		else if (i == 3)
			s.message.key = NULL;
		else if (i == 4)
			s.letter.headers.hash[0] ^= 1;
		else
			s.letter.message_time[0] = '\0';
		look(&s, MESSAGE | LETTER);
		assert_int_equal(report.differences, 1);
		assert_int_equal(report.by_kind[VERIFY_LOG_CONTENT], 1);
		if (i == 1) {
			assert_string_equal(report.listed[0].found, "8 bytes");
			assert_string_equal(report.listed[0].expected, "the log's 7 bytes");
		}
		if (i == 3)
			assert_string_equal(report.listed[0].expected, "the log's NULL");
		if (i == 5)
			assert_string_equal(report.listed[0].expected,
				"2026-01-01 00:00:00.000, as in the log");
		if (i == 2)
			assert_string_equal(report.listed[0].found, "NULL");
		if (i < 5)
			teardown(state);
	}
}

static void test_letter_reason(void **state)
{
	struct scene s;

	malformed(&s, 5);
	s.letter.reason = DEAD_ID_CONFLICT;
	look(&s, MESSAGE | LETTER);
	assert_only(VERIFY_LOG_OUTCOME, "the message's outcome", "a dead letter, ID_CONFLICT",
		"a dead letter, MALFORMED");
	assert_int_equal(match.lookup_count, 0);
}

static void test_well_formed_letter(void **state)
{
	struct scene s;

	scene(&s, 5, "a", "1");
	s.letter.reason = DEAD_WRONG_PARTITION;
	look(&s, MESSAGE | LETTER);
	assert_only(VERIFY_LOG_OUTCOME, "the message's outcome", "a dead letter, WRONG_PARTITION",
		"no dead letter for this reason: it is well formed");
}

static void test_row_of_a_dead_letter(void **state)
{
	struct scene s;

	scene(&s, 5, "a", "1");
	s.message.key = "1002";
	look(&s, MESSAGE | ROW);
	assert_int_equal(report.differences, 1);
	assert_int_equal(report.listed[0].kind, VERIFY_LOG_OUTCOME);
	assert_non_null(strstr(report.listed[0].expected, "a dead letter, KEY_MISMATCH ("));
}

static void test_missing_letter(void **state)
{
	struct scene s;

	malformed(&s, 5);
	look(&s, MESSAGE);
	assert_int_equal(report.differences, 1);
	assert_string_equal(report.listed[0].found, "in no table");
	assert_non_null(strstr(report.listed[0].expected, "a dead letter, MALFORMED ("));
}

static void test_missing_row(void **state)
{
	struct scene s;

	scene(&s, 5, "a", "1.50");
	look(&s, MESSAGE);
	verify_match_decide(&match);
	assert_only(VERIFY_LOG_OUTCOME, "the message's outcome", "in no table",
		"a journal row, DEPOSIT of 1.5 USDT, transaction a");
	assert_int_equal(report.listed[0].place.account_id, ACCOUNT);
}

static void test_missing_conflict(void **state)
{
	struct scene first, second;

	scene(&first, 5, "a", "1");
	scene(&second, 6, "a", "2");
	look(&second, MESSAGE);
	verify_match_found(&match, &first.event, 0, 5);
	verify_match_decide(&match);
	assert_only(VERIFY_LOG_OUTCOME, "the message's outcome", "in no table",
		"a dead letter, ID_CONFLICT (offset 5: DEPOSIT of 1 USDT, transaction a)");
}

/* The later of two copies is in the journal, and the first one nowhere. */
static void test_order(void **state)
{
	struct scene first, second;

	scene(&first, 5, "a", "1");
	scene(&second, 9, "a", "1");
	look(&first, MESSAGE);
	verify_match_found(&match, &second.event, 0, 9);
	verify_match_decide(&match);
	assert_only(VERIFY_LOG_OUTCOME, "the message's outcome",
		"a duplicate of offset 9, which comes later",
		"the first of the two to be in the journal");
}

static void test_false_conflict(void **state)
{
	struct scene first, second;

	scene(&first, 5, "a", "1");
	scene(&second, 9, "a", "1.0");
	look(&second, MESSAGE | LETTER);
	verify_match_found(&match, &first.event, 0, 5);
	verify_match_decide(&match);
	assert_only(VERIFY_LOG_OUTCOME, "the message's outcome", "a dead letter, ID_CONFLICT",
		"a duplicate of offset 5");
	teardown(state);
	setup(state);

	look(&second, MESSAGE | LETTER);
	verify_match_decide(&match);
	assert_only(VERIFY_LOG_OUTCOME, "the message's outcome", "a dead letter, ID_CONFLICT",
		"a journal row: no other has this transaction_id");
	teardown(state);
	setup(state);

	/* In a gap, the other one may have come later. */
	second.event.amount++;
	second.at.offset = 1;
	look(&second, MESSAGE | LETTER | GAP);
	scene(&first, 5, "a", "7");
	verify_match_found(&match, &first.event, 0, 5);
	verify_match_decide(&match);
	assert_int_equal(report.differences, 0);
}

static void test_no_message(void **state)
{
	struct scene s;

	scene(&s, 5, "a", "1");
	look(&s, ROW);
	assert_only(VERIFY_LOG_NO_RECORD, "the row in balance_transactions", "there",
		"none: the log has no message here");
	look(&s, LETTER);
	assert_int_equal(report.by_kind[VERIFY_LOG_NO_RECORD], 2);
	assert_int_equal(report.counts.messages, 0);
}

static void test_many_lookups(void **state)
{
	struct scene s;
	char id[16];

	for (int i = 0; i < VERIFY_LOOKUPS_MAX; i++) {
		assert_false(verify_match_full(&match));
		snprintf(id, sizeof id, "id%d", i / 2);
		scene(&s, 1000 + i, id, "1");
		look(&s, MESSAGE);
	}
	assert_true(verify_match_full(&match));
	for (int i = 0; i < VERIFY_LOOKUPS_MAX / 2; i++) {
		if (i == 77)
			continue;
		snprintf(id, sizeof id, "id%d", i);
		scene(&s, i, id, "1");
		verify_match_found(&match, &s.event, 0, i);
	}
	verify_match_decide(&match);
	assert_int_equal(report.counts.duplicates, VERIFY_LOOKUPS_MAX - 2);
	assert_int_equal(report.differences, 2);
	assert_int_equal(report.listed[0].place.offset, 1000 + 154);
	assert_int_equal(report.listed[1].place.offset, 1000 + 155);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_row),
		TEST(test_letter),
		TEST(test_duplicate),
		TEST(test_conflict),
		TEST(test_gap),
		cmocka_unit_test_teardown(test_row_content, teardown),
		cmocka_unit_test_teardown(test_letter_content, teardown),
		TEST(test_letter_reason),
		TEST(test_well_formed_letter),
		TEST(test_row_of_a_dead_letter),
		TEST(test_missing_letter),
		TEST(test_missing_row),
		TEST(test_missing_conflict),
		TEST(test_order),
		TEST(test_false_conflict),
		TEST(test_no_message),
		TEST(test_many_lookups),
	};

	assert(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
