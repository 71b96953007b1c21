/*
 * From bytes to events: the contract's form, each rule with what just fits and what just does not.
 * tests/fuzz/fuzz_decode.c compares the same reader with another one.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amounts.h"
#include "decode.h"
#include "murmur2.h"

#define ID      "\"transaction_id\":\"t-1\""
#define ACCOUNT "\"account_id\":1001"
#define COIN    "\"currency\":\"USDT\""
#define TYPE    "\"type\":\"DEPOSIT\""
#define AMOUNT  "\"amount\":\"10.5\""
#define TS      "\"ts\":1767225600000"

#define TIMESTAMP_MS INT64_C(1700000000123) /* Kafka's, in these tests */

/* An event with one member in place of the usual one, or added. */
#define WITH_ID(json)      "{" json "," ACCOUNT "," COIN "," TYPE "," AMOUNT "}"
#define WITH_ACCOUNT(json) "{" ID "," json "," COIN "," TYPE "," AMOUNT "}"
#define WITH_COIN(json)    "{" ID "," ACCOUNT "," json "," TYPE "," AMOUNT "}"
#define WITH_TYPE(json)    "{" ID "," ACCOUNT "," COIN "," json "," AMOUNT "}"
#define WITH_AMOUNT(json)  "{" ID "," ACCOUNT "," COIN "," TYPE "," json "}"
#define WITH(json)         "{" ID "," ACCOUNT "," COIN "," TYPE "," AMOUNT "," json "}"

/*
 * Decodes a copy that ends exactly where the value does, so that the sanitizer sees a read past its
 * end.
 */
static enum dead_reason decode_copy(
	const char *value, size_t length, struct event *ret_event, const char **ret_detail)
{
	char *copy = malloc(length + 1);
	enum dead_reason reason;

	memcpy(copy + 1, value, length); /* and not aligned */
	*ret_detail = NULL;
	reason = decode_event(copy + 1, length, TIMESTAMP_MS, ret_event, ret_detail);
	free(copy);
	return reason;
}

static struct event assert_decodes_bytes(const char *value, size_t length)
{
	struct event event;
	const char *detail;

	if (decode_copy(value, length, &event, &detail) != DEAD_NONE)
		fail_msg("refused: %s\n%s", detail, value);
	return event;
}

static struct event assert_decodes(const char *value)
{
	return assert_decodes_bytes(value, strlen(value));
}

static void assert_refused_bytes(const char *value, size_t length, const char *word)
{
	struct event event;
	const char *detail;

	if (decode_copy(value, length, &event, &detail) != DEAD_MALFORMED)
		fail_msg("accepted: %s", value);
	if (!detail || !strstr(detail, word))
		fail_msg(
			"\"%s\" does not name \"%s\"\n%s", detail ? detail : "(null)", word, value);
	assert_true(strlen(detail) <= 255); /* the column */
}

static void assert_refused(const char *value, const char *word)
{
	assert_refused_bytes(value, strlen(value), word);
}

static void assert_id(const struct event *event, const char *id)
{
	assert_int_equal(event->transaction_id_length, strlen(id));
	assert_memory_equal(event->transaction_id, id, strlen(id));
}

static void test_example_of_the_contract(void **state)
{
	struct event event = assert_decodes(
		"{\"transaction_id\":\"0192f7c0-7b1a-7c3e-9d52-1f0f4f8a2b11\",\"account_id\":1001,"
		"\"currency\":\"USDT\",\"type\":\"DEPOSIT\",\"amount\":\"10.5\",\"ts\":"
		"1767225600000}");

	assert_id(&event, "0192f7c0-7b1a-7c3e-9d52-1f0f4f8a2b11");
	assert_int_equal(event.account_id, 1001);
	assert_true(event.currency == currency_pack("USDT", 4));
	assert_int_equal(event.type, EVENT_DEPOSIT);
	assert_amount_equal(event.amount, amount_of("10.5"));
	assert_int_equal(event.time_ms, INT64_C(1767225600000));
}

static void test_any_order_and_spaces(void **state)
{
	struct event event = assert_decodes(" \t\r\n{ " TS " ,\n" AMOUNT "\t,\r" TYPE ", " COIN
					    "  ," ACCOUNT "," ID " } \r\n\t ");

	assert_id(&event, "t-1");
	assert_int_equal(event.account_id, 1001);
	assert_int_equal(event.time_ms, INT64_C(1767225600000));
	assert_decodes("{" ID "," ACCOUNT "," COIN "," TYPE ",\"amount\" :\n\"10.5\"}");
	assert_refused("\v{" ID "," ACCOUNT "," COIN "," TYPE "," AMOUNT "}", "JSON object");
	assert_refused("{\f" ID "," ACCOUNT "," COIN "," TYPE "," AMOUNT "}", "quotes");
	assert_refused("\xef\xbb\xbf" WITH(TS), "JSON object"); /* a byte order mark */
}

static void test_names_and_values_are_unescaped(void **state)
{
	struct event event = assert_decodes(
		"{\"\\u0074ransaction_id\":\"\\u0074\\u002D\\/"
		"1\",\"\\u0061ccount_id\":\"10\\u00301\","
		"\"currenc\\u0079\":\"\\u0055SDT\",\"t\\u0079pe\":\"DEPOSI\\u0054\","
		"\"amoun\\u0074\":\"\\u0031\\u0030.5\",\"t\\u0073\":5}");

	assert_id(&event, "t-/1");
	assert_int_equal(event.account_id, 1001);
	assert_true(event.currency == currency_pack("USDT", 4));
	assert_int_equal(event.type, EVENT_DEPOSIT);
	assert_amount_equal(event.amount, amount_of("10.5"));
	assert_int_equal(event.time_ms, 5);
	event = assert_decodes(WITH_ID("\"transaction_id\":\"a\\\"b\\\\c\""));
	assert_id(&event, "a\"b\\c");
}

static void test_required_fields(void **state)
{
	assert_refused("{" ACCOUNT "," COIN "," TYPE "," AMOUNT "}", "transaction_id is missing");
	assert_refused("{" ID "," COIN "," TYPE "," AMOUNT "}", "account_id is missing");
	assert_refused("{" ID "," ACCOUNT "," TYPE "," AMOUNT "}", "currency is missing");
	assert_refused("{" ID "," ACCOUNT "," COIN "," AMOUNT "}", "type is missing");
	assert_refused("{" ID "," ACCOUNT "," COIN "," TYPE "}", "amount is missing");
	assert_refused("{}", "transaction_id is missing");
	assert_refused("{ }", "transaction_id is missing");
	assert_refused(WITH_COIN("\"Currency\":\"USDT\""), "currency is missing");
	assert_refused(WITH_COIN("\"currency \":\"USDT\""), "currency is missing");
	assert_refused(WITH_COIN("\"currency\\u0000\":\"USDT\""), "currency is missing");
	assert_refused(WITH_COIN("\"\\u0163urrency\":\"USDT\""), "currency is missing");
	assert_refused(WITH_COIN("\"curr\xc3\xa9nc\":\"USDT\""), "currency is missing");
	assert_refused(WITH("\"x\":{" COIN "}") "x", "follows");
	assert_refused(WITH_COIN("\"x\":{" COIN "}"), "currency is missing"); /* only at the top */
}

static void test_known_names_stand_once(void **state)
{
	assert_refused(WITH(ID), "transaction_id is given twice");
	assert_refused(WITH(ACCOUNT), "account_id is given twice");
	assert_refused(WITH("\"account_id\":\"1001\""), "account_id is given twice");
	assert_refused(WITH(COIN), "currency is given twice");
	assert_refused(WITH(TYPE), "type is given twice");
	assert_refused(WITH(AMOUNT), "amount is given twice");
	assert_refused(WITH(TS "," TS), "ts is given twice");
	assert_refused(WITH("\"\\u0061mount\":\"10.5\""), "amount is given twice");
	assert_decodes(WITH("\"x\":1,\"x\":2,\"\":3,\"\":4")); /* others may */
	assert_decodes(WITH("\"x\":{" AMOUNT "," AMOUNT "}"));
}

static void test_transaction_id(void **state)
{
	char json[512];
	char id[80];
	struct event event;

	for (size_t length = 0; length <= 66; length++) {
		memset(id, 'a', length);
		id[length] = '\0';
		snprintf(json, sizeof(json), WITH_ID("\"transaction_id\":\"%s\""), id);
		if (length < 1 || length > 64) {
			assert_refused(json, "transaction_id: expected");
			continue;
		}
		event = assert_decodes(json);
		assert_id(&event, id);
	}
	/* 64 characters remain 64 when they are spelled with six bytes each */
	memset(id, 'u', 64);
	snprintf(json, sizeof(json), WITH_ID("\"transaction_id\":\"%s%s%s%s%s%s%s%s\""),
		"\\u0075\\u0075\\u0075\\u0075", "\\u0075\\u0075\\u0075\\u0075",
		"\\u0075\\u0075\\u0075\\u0075", "\\u0075\\u0075\\u0075\\u0075", "uuuuuuuuuuuu",
		"uuuuuuuuuuuu", "uuuuuuuuuuuu", "uuuuuuuuuuuu");
	event = assert_decodes(json);
	assert_int_equal(event.transaction_id_length, 64);
	assert_memory_equal(event.transaction_id, id, 64);

	assert_decodes(WITH_ID("\"transaction_id\":\"a~\""));
	assert_refused(WITH_ID("\"transaction_id\":\"~a\""), "~");
	assert_refused(WITH_ID("\"transaction_id\":\"\\u007ea\""), "~");
	assert_refused(WITH_ID("\"transaction_id\":1"), "transaction_id: expected a string");
	assert_refused(WITH_ID("\"transaction_id\":null"), "transaction_id: expected a string");
	assert_refused(WITH_ID("\"transaction_id\":[\"a\"]"), "transaction_id: expected a string");
	assert_refused(WITH_ID("\"transaction_id\":{}"), "transaction_id: expected a string");
	assert_refused(WITH_ID("\"transaction_id\":true"), "transaction_id: expected a string");
	assert_refused(WITH_ID("\"transaction_id\":\"\xc3\xa9\""), "transaction_id: expected");
	assert_refused(WITH_ID("\"transaction_id\":\"\\u00e9\""), "transaction_id: expected");
	assert_refused(WITH_ID("\"transaction_id\":\"\\ud800\""), "transaction_id: expected");
	assert_refused(WITH_ID("\"transaction_id\":\"\\u0161\""), "transaction_id: expected");
	assert_refused(WITH_ID("\"transaction_id\":\"\\u6161\""), "transaction_id: expected");
	assert_refused(WITH_ID("\"transaction_id\":\"a\\u0000\""), "transaction_id: expected");
	assert_refused(WITH_ID("\"transaction_id\":\"a\\n\""), "transaction_id: expected");
}

/* Every ASCII character at every place of a word of eight, escaped and as it is. */
static void test_characters_of_transaction_ids(void **state)
{
	char json[256];
	struct event event;

	for (int c = 0; c < 128; c++) {
		for (int place = 0; place < 10; place++) {
			bool good = c > 0x20 && c < 0x7f && (c != '~' || place > 0);

			snprintf(json, sizeof(json),
				WITH_ID("\"transaction_id\":\"%.*s\\u%04X%s\""), place, "aaaaaaaaa",
				(unsigned)c, &"aaaaaaaaa"[place]);
			if (!good) {
				assert_refused(json, "transaction_id: expected");
				continue;
			}
			event = assert_decodes(json);
			assert_int_equal(event.transaction_id[place], c);
			assert_int_equal(event.transaction_id_length, 10);
			if (c == '"' || c == '\\')
				continue;
			snprintf(json, sizeof(json), WITH_ID("\"transaction_id\":\"%.*s%c%s\""),
				place, "aaaaaaaaa", c, &"aaaaaaaaa"[place]);
			event = assert_decodes(json);
			assert_int_equal(event.transaction_id[place], c);
		}
	}
}

static void test_account_id(void **state)
{
	static const char *const good[] = {"1", "7", "1001", "9223372036854775807",
		"1000000000000000000", "\"1\"", "\"1001\"", "\"9223372036854775807\""};
	static const char *const bad[] = {"0", "-1", "-0", "01", "1.0", "1e3", "1E3", "1.5",
		"10e-1", "9223372036854775808", "9999999999999999999", "18446744073709551617",
		"100000000000000000000000", "\"0\"", "\"01\"", "\"-1\"", "\"+1\"", "\"1.0\"",
		"\"1e3\"", "\"\"", "\" 1\"", "\"1 \"", "\"9223372036854775808\"", "\"0x10\"",
		"\"abc\"", "null", "true", "[1]", "{}", "\"1\\u0000\"", "\"\xd9\xa1\"", "1-", "1+1",
		"--1"};
	char json[512];

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct event event;

		snprintf(json, sizeof(json), WITH_ACCOUNT("\"account_id\":%s"), good[i]);
		event = assert_decodes(json);
		assert_int_equal(event.account_id, strtoll(good[i] + (*good[i] == '"'), NULL, 10));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(json, sizeof(json), WITH_ACCOUNT("\"account_id\":%s"), bad[i]);
		assert_refused(json, "account_id: expected");
	}
}

static void test_currency(void **state)
{
	assert_decodes(WITH_COIN("\"currency\":\"A\""));
	assert_decodes(WITH_COIN("\"currency\":\"ABCDEFGHI9\""));
	assert_refused(WITH_COIN("\"currency\":\"\""), "currency: expected");
	assert_refused(WITH_COIN("\"currency\":\"ABCDEFGHIJK\""), "currency: expected");
	assert_refused(WITH_COIN("\"currency\":\"usdt\""), "currency: expected");
	assert_refused(WITH_COIN("\"currency\":\"US T\""), "currency: expected");
	assert_refused(WITH_COIN("\"currency\":\"US\xc3\xa9\""), "currency: expected");
	assert_refused(WITH_COIN("\"currency\":\"US\\u0000\""), "currency: expected");
	assert_refused(WITH_COIN("\"currency\":840"), "currency: expected a string");
	assert_refused(WITH_COIN("\"currency\":null"), "currency: expected a string");
}

static void test_type(void **state)
{
	static const char *const types[] = {"DEPOSIT", "WITHDRAW", "FREEZE", "UNFREEZE", "SETTLE"};
	char json[256];

	for (int i = 0; i < 5; i++) {
		struct event event;

		snprintf(json, sizeof(json), WITH_TYPE("\"type\":\"%s\""), types[i]);
		event = assert_decodes(json);
		assert_int_equal(event.type, EVENT_DEPOSIT + i);
	}
	assert_refused(WITH_TYPE("\"type\":\"deposit\""), "type: expected");
	assert_refused(WITH_TYPE("\"type\":\"TRANSFER\""), "type: expected");
	assert_refused(WITH_TYPE("\"type\":\"\""), "type: expected");
	assert_refused(WITH_TYPE("\"type\":1"), "type: expected");
	assert_refused(WITH_TYPE("\"type\":null"), "type: expected");
}

static void test_amount(void **state)
{
	static const struct {
		const char *json;
		const char *amount; /* NULL: refused */
	} cases[] = {
		{"10.5", "10.5"},
		{"\"10.50\"", "10.5"},
		{"1e3", "1000"},
		{"\"1e3\"", "1000"},
		{"\"1E-3\"", "0.001"},
		{"1.0000000000000000000", "1"},
		{"0.000000000000000001", "0.000000000000000001"},
		{"1e-18", "0.000000000000000001"},
		{"999999999999999999.999999999999999999", "999999999999999999.999999999999999999"},
		{"0.1000000000000000055511151231257827",
			NULL}, /* what a double would make of 0.1 */
		{"0", NULL},
		{"-0", NULL},
		{"0.0", NULL},
		{"-1", NULL},
		{"\"-1\"", NULL},
		{"\"+1\"", NULL},
		{"\"01\"", NULL},
		{"\".5\"", NULL},
		{"\"5.\"", NULL},
		{"\"\"", NULL},
		{"\" 1\"", NULL},
		{"\"1 \"", NULL},
		{"\"1\\u0000\"", NULL},
		{"\"1,5\"", NULL},
		{"\"NaN\"", NULL},
		{"\"0x1\"", NULL},
		{"\"\xd9\xa1\"", NULL},
		{"1e-19", NULL},
		{"1e18", NULL},
		{"1000000000000000000", NULL},
		{"01", NULL},
		{"1.", NULL},
		{"1e", NULL},
		{"1e+", NULL},
		{"1.e1", NULL},
		{"1-1", NULL},
		{"+1", NULL},
		{".5", NULL},
		{"-", NULL},
		{"NaN", NULL},
		{"Infinity", NULL},
		{"null", NULL},
		{"true", NULL},
		{"[]", NULL},
		{"{}", NULL},
	};
	char json[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct event event;

		snprintf(json, sizeof(json), WITH_AMOUNT("\"amount\":%s"), cases[i].json);
		if (!cases[i].amount) {
			assert_refused(json, "amount: expected");
			continue;
		}
		event = assert_decodes(json);
		assert_amount_equal(event.amount, amount_of(cases[i].amount));
	}
	assert_refused(WITH_AMOUNT("\"amount\":-1"), "above 0 and below 10^18");
	assert_refused(WITH_AMOUNT("\"amount\":1e18"), "above 0 and below 10^18");
	assert_refused(WITH_AMOUNT("\"amount\":1e-19"), "at most 18 decimals");
	assert_refused(WITH_AMOUNT("\"amount\":\"one\""), "JSON's grammar");
}

/* An amount that fills the message, as it is and in escapes. */
static void test_long_amounts(void **state)
{
	char json[EVENT_VALUE_MAX + 1];
	struct event event;
	int head = snprintf(
		json, sizeof(json), "{%s,%s,%s,%s,\"amount\":\"1.", ID, ACCOUNT, COIN, TYPE);

	memset(json + head, '0', sizeof(json) - (size_t)head);
	memcpy(json + EVENT_VALUE_MAX - 2, "\"}", 2);
	event = assert_decodes_bytes(json, EVENT_VALUE_MAX);
	assert_amount_equal(event.amount, DECIMAL_ONE);
	for (int at = head; at + 6 < EVENT_VALUE_MAX - 2; at += 6)
		memcpy(json + at, "\\u0030", 6);
	event = assert_decodes_bytes(json, EVENT_VALUE_MAX);
	assert_amount_equal(event.amount, DECIMAL_ONE);
}

static void test_ts(void **state)
{
	static const char *const bad[] = {"-0", "-1", "1e3", "1.0", "0.0", "00", "01",
		"253402300800000", "9999999999999999999", "18446744073709551616", "\"5\"", "null",
		"true", "[]", "{}", "1-", "1e", "2E1"};
	char json[512];
	struct event event = assert_decodes(WITH("\"ts\":0"));

	assert_int_equal(event.time_ms, 0);
	event = assert_decodes(WITH("\"ts\":253402300799999"));
	assert_int_equal(event.time_ms, EVENT_TIME_MAX_MS);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(json, sizeof(json), WITH("\"ts\":%s"), bad[i]);
		assert_refused(json, "ts: expected");
	}
}

static void test_ts_defaults_to_the_timestamp(void **state)
{
	static const int64_t times[][2] = {{0, 0}, {5, 5}, {MESSAGE_NO_TIMESTAMP, 0}, {-77, 0},
		{INT64_MIN, 0}, {EVENT_TIME_MAX_MS, EVENT_TIME_MAX_MS},
		{EVENT_TIME_MAX_MS + 1, EVENT_TIME_MAX_MS}, {INT64_MAX, EVENT_TIME_MAX_MS}};
	static const char value[] = WITH("\"x\":0");
	const char *detail;
	struct event event;

	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		assert_int_equal(
			decode_event(value, sizeof(value) - 1, times[i][0], &event, &detail),
			DEAD_NONE);
		assert_int_equal(event.time_ms, times[i][1]);
	}
}

/* What a member that nobody asked for may be: all of JSON, and nothing else. */
static void test_other_members(void **state)
{
	static const char *const good[] = {"null", "true", "false", "0", "-0", "-0.0e-0", "1e999",
		"1E+5", "123456789012345678901234567890", "\"\"",
		"\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\t\"", "\"\\ud800\"", "\"\\udc00\\ud800\"",
		"\"\\ud83d\\ude00\"", "\"\\uABcd\"", "\"\\u0000\"", "\"\x7f\"", "[]", "{}", "[ ]",
		"{ }", "[1,2]", "[ 1 , 2 ]", "[[],[[]],{}]",
		"{\"a\":{\"b\":[{\"c\":null}]},\"d\":\"\"}", "[true,false,null,\"x\",-1.5e3]",
		"{\"\":0,\"\":1}", "\"12345678\"", "\"1234567\"", "\"123456789\""};
	static const char *const bad[] = {"", "nul", "nulll", "True", "TRUE", "undefined", "NaN",
		"-", "+1", "01", "-01", "1.", ".1", "1e", "1e+", "0x1", "1.5.5", "1e5e5", "--1",
		"- 1", "'a'", "a", "\"", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12G4\"",
		"\"\\u\"", "\"\\U0041\"", "\"\\0\"", "\"\\'\"", "\"\\ud83\"", "\"a\nb\"",
		"\"a\tb\"", "\"\x01\"", "\"\x1f\"", "[", "]", "{", "[1", "[1,", "[1,]", "[,1]",
		"[1 2]", "[1}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{\"a\";1}",
		"{\"a\"=1}", "{1:1}", "{\"a\":1]", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{,}", "[}",
		"{]", "[[]", "[]]", "{}}", "1 2", "\"a\" \"b\"", "/* */ 1", "1 // one",
		"true false", "[1]]", "{\"a\":1}}", "tru", "t", "nullx", "12a", "[1e]", "[-]"};
	char json[512];

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		snprintf(json, sizeof(json), WITH("\"x\":%s"), good[i]);
		assert_decodes(json);
		snprintf(json, sizeof(json), "{\"x\": %s ,%s", good[i], &WITH(TS)[1]);
		assert_decodes(json);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(json, sizeof(json), WITH("\"x\":%s"), bad[i]);
		assert_refused(json, "not valid JSON");
		snprintf(json, sizeof(json), "{\"x\": %s ,%s", bad[i], &WITH(TS)[1]);
		assert_refused(json, "not valid JSON");
	}
}

/* Of all that may follow a backslash, eight characters and u do. */
static void test_escapes(void **state)
{
	for (int c = 0; c < 256; c++) {
		static const char value[] = WITH("\"x\":\"\\?\"");
		char json[sizeof(value)];
		struct event event;
		const char *detail;

		memcpy(json, value, sizeof(value));
		*strchr(json, '?') = (char)c;
		assert_int_equal(decode_copy(json, sizeof(json) - 1, &event, &detail) == DEAD_NONE,
			c && strchr("\"\\/bfnrt", c) != NULL);
	}
}

static void test_utf8(void **state)
{
	static const char *const good[] = {"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xe1\x80\x80",
		"\xec\xbf\xbf", "\xed\x80\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
		"\xef\xbb\xbf", "\xf0\x90\x80\x80", "\xf1\x80\x80\x80", "\xf3\xbf\xbf\xbf",
		"\xf4\x8f\xbf\xbf", "\xf0\x9f\x98\x80", "aaaaaaa\xc3\xa9",
		"\xc3\xa9\xc3\xa9\xc3\xa9z"};
	static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2",
		"\xc2\x7f", "\xc2\xc0", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe1\x80", "\xe1\x80\x7f",
		"\xe1\x80\xc0", "\xe1\x7f\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
		"\xf0\x8f\xbf\xbf", "\xf1\x80\x80", "\xf1\x80\x80\x7f", "\xf1\x80\xc0\x80",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xfe", "\xff",
		"aaaaaaa\xff", "aaaaaaaa\xc3"};
	char json[256];

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		snprintf(json, sizeof(json), WITH("\"x\":\"%s\""), good[i]);
		assert_decodes(json);
		snprintf(json, sizeof(json), WITH("\"%s\":\"x\""), good[i]);
		assert_decodes(json);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(json, sizeof(json), WITH("\"x\":\"%s\""), bad[i]);
		assert_refused(json, "UTF-8");
		snprintf(json, sizeof(json), WITH("\"%s\":\"x\""), bad[i]);
		assert_refused(json, "UTF-8");
	}
	assert_refused(WITH("\"x\":\xc3\xa9"), "not valid JSON");
}

/* Containers, the outermost included: 64 are good, 65 are not. */
static void test_depth(void **state)
{
	char json[1024];

	for (int objects = 0; objects <= 1; objects++) {
		for (int depth = 63; depth <= 65; depth++) {
			int length = snprintf(json, sizeof(json), "{%s,%s,%s,%s,%s,\"x\":", ID,
				ACCOUNT, COIN, TYPE, AMOUNT);

			for (int i = 1; i < depth; i++)
				length += sprintf(json + length, objects ? "{\"y\":" : "[");
			if (objects)
				length += sprintf(json + length, "0");
			for (int i = 1; i < depth; i++)
				length += sprintf(json + length, objects ? "}" : "]");
			sprintf(json + length, "}");
			if (depth <= 64)
				assert_decodes(json);
			else
				assert_refused(json, "deeper than 64");
		}
	}
}

/* Siblings do not add up, and each container is closed by its own kind, at every depth. */
static void test_containers(void **state)
{
	char json[2048];
	int length = snprintf(
		json, sizeof(json), "{%s,%s,%s,%s,%s,\"x\":[", ID, ACCOUNT, COIN, TYPE, AMOUNT);

	for (int i = 0; i < 100; i++)
		length += sprintf(json + length, "[[]],{\"a\":[]},");
	sprintf(json + length, "0]}");
	assert_decodes(json);

	for (int wrong = -1; wrong < 62; wrong++) {
		length = snprintf(json, sizeof(json), "{%s,%s,%s,%s,%s,\"x\":", ID, ACCOUNT, COIN,
			TYPE, AMOUNT);
		for (int i = 0; i < 62; i++)
			length += sprintf(json + length, i % 3 ? "[" : "{\"y\":");
		length += sprintf(json + length, "0");
		for (int i = 61; i >= 0; i--)
			length += sprintf(json + length, (i % 3 != 0) != (i == wrong) ? "]" : "}");
		sprintf(json + length, "}");
		if (wrong < 0)
			assert_decodes(json);
		else
			assert_refused(json, "not valid JSON");
	}
}

/* Cut anywhere, it is refused, and nothing behind the cut is looked at. */
static void test_cut_values(void **state)
{
	static const char value[] = WITH(
		"\"\xc3\xa9\\u00e9\\n\xe1\x80\x80\":\"\xf0\x9f\x98\x80\",\"y\":"
		"[true,false,null,-1.5e+3,{\"z\":\"\\\"\"}],\"ts\":5");

	assert_decodes(value);
	for (size_t length = 0; length < sizeof(value) - 1; length++)
		assert_refused_bytes(value, length, "");
}

static void test_whole_value(void **state)
{
	static const char *const bad[] = {"", " ", "null", "[]", "\"a\"", "1", "{", "}", "{\"",
		"{\"a", "{,}", "{\"a\":1,}", "{\"a\":1,,\"b\":2}", "{\"a\"}", "{1}",
		"[" WITH(TS) "]",
		"{" ID "," ACCOUNT "}{"
		"}",
		"not json", "\xff"};
	static const char event[] = WITH(TS);

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_refused(bad[i], "");
	assert_decodes(event);
	assert_refused_bytes(event, sizeof(event), "follows"); /* its NUL */
	assert_refused(WITH(TS) ",", "follows");
	assert_refused(WITH(TS) " {}", "follows");
	assert_refused(WITH(TS) "}", "follows");
	assert_refused(WITH(TS ","), "quotes");
	assert_refused("{," ID "}", "quotes");
}

static void test_length(void **state)
{
	char json[EVENT_VALUE_MAX + 2];
	static const char event[] = WITH(TS);

	memset(json, ' ', sizeof(json));
	memcpy(json, event, sizeof(event) - 1);
	assert_decodes_bytes(json, EVENT_VALUE_MAX);
	assert_refused_bytes(json, EVENT_VALUE_MAX + 1, "4096");
}

static void test_null_value(void **state)
{
	struct message message = {.key = "1001", .key_length = 4, .timestamp_ms = 1};
	const char *detail = NULL;
	struct event event;

	assert_int_equal(decode_message(&message, 0, 1, &event, &detail), DEAD_MALFORMED);
	assert_non_null(strstr(detail, "null"));
	message.value = "";
	assert_int_equal(decode_message(&message, 0, 1, &event, &detail), DEAD_MALFORMED);
}

static enum dead_reason decode_with_key(
	const char *value, const char *key, size_t length, int32_t partition, int32_t partitions)
{
	struct message message = {
		.key = key,
		.key_length = length,
		.value = value,
		.value_length = strlen(value),
		.timestamp_ms = TIMESTAMP_MS,
	};
	const char *detail = NULL;
	struct event event;
	enum dead_reason reason = decode_message(&message, partition, partitions, &event, &detail);

	if (reason == DEAD_NONE)
		assert_int_equal(event.account_id, 1001);
	else
		assert_non_null(detail);
	return reason;
}

static void test_key(void **state)
{
	static const char *const bad[] = {"", "1", "100", "1002", "10010", "01001", "1001 ",
		" 1001", "+1001", "1001.0", "\"1001\"", "1001\n"};
	static const char value[] = WITH(TS);

	assert_int_equal(decode_with_key(value, "1001", 4, 0, 1), DEAD_NONE);
	assert_int_equal(decode_with_key(value, NULL, 0, 0, 1), DEAD_KEY_MISMATCH);
	assert_int_equal(decode_with_key(value, "1001\0", 5, 0, 1), DEAD_KEY_MISMATCH);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(
			decode_with_key(value, bad[i], strlen(bad[i]), 0, 1), DEAD_KEY_MISMATCH);
	assert_int_equal(decode_with_key(WITH_ACCOUNT("\"account_id\":\"1001\""), "1001", 4, 0, 1),
		DEAD_NONE);
}

/* Each account has one partition; the reasons come in the contract's order. */
static void test_partition(void **state)
{
	static const char value[] = WITH(TS);
	int32_t home = murmur2_partition("1001", 4, 12);

	for (int32_t partition = 0; partition < 12; partition++)
		assert_int_equal(decode_with_key(value, "1001", 4, partition, 12),
			partition == home ? DEAD_NONE : DEAD_WRONG_PARTITION);
	assert_int_equal(decode_with_key("{}", "x", 1, home + 1, 12), DEAD_MALFORMED);
	assert_int_equal(decode_with_key(value, "x", 1, home + 1, 12), DEAD_KEY_MISMATCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example_of_the_contract),
		cmocka_unit_test(test_any_order_and_spaces),
		cmocka_unit_test(test_names_and_values_are_unescaped),
		cmocka_unit_test(test_required_fields),
		cmocka_unit_test(test_known_names_stand_once),
		cmocka_unit_test(test_transaction_id),
		cmocka_unit_test(test_characters_of_transaction_ids),
		cmocka_unit_test(test_account_id),
		cmocka_unit_test(test_currency),
		cmocka_unit_test(test_type),
		cmocka_unit_test(test_amount),
		cmocka_unit_test(test_long_amounts),
		cmocka_unit_test(test_ts),
		cmocka_unit_test(test_ts_defaults_to_the_timestamp),
		cmocka_unit_test(test_other_members),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_cut_values),
		cmocka_unit_test(test_whole_value),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_null_value),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_partition),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
