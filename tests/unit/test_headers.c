/* A message's headers as JSON: every byte value, what is and is not UTF-8, read back by jansson. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include <sodium.h>

#include "headers.h"

static void expect(const struct headers *h, const char *expected)
{
	assert_int_equal(h->length, strlen(expected));
	assert_memory_equal(h->text, expected, h->length);
}

static void they_stand_in_their_order(void **state)
{
	struct headers h;

	headers_init(&h);
	headers_begin(&h);
	headers_end(&h);
	expect(&h, "[]");
	headers_begin(&h);
	headers_add(&h, "b", 1, "1", 1);
	headers_add(&h, "a", 1, "2", 1);
	headers_add(&h, "b", 1, "", 0);
	headers_add(&h, "", 0, NULL, 0);
	headers_end(&h);
	expect(&h, "[[\"b\",\"1\"],[\"a\",\"2\"],[\"b\",\"\"],[\"\",null]]");
	headers_finish(&h);
}

static void what_json_may_not_hold_is_escaped(void **state)
{
	struct headers h;

	headers_init(&h);
	headers_begin(&h);
	headers_add(&h, "k\"\\", 3, "a\nb\x7f\0/\xc3\xa4", 8);
	headers_end(&h);
	expect(&h, "[[\"k\\\"\\\\\",\"a\\u000ab\\u007f\\u0000/\xc3\xa4\"]]");
	headers_finish(&h);
}

static void what_is_no_utf8_is_base64(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
		const char *json;
	} cases[] = {
		{"\xff", 1, "{\"base64\":\"/w==\"}"},
		{"a\x80", 2, "{\"base64\":\"YYA=\"}"},
		{"\xc0\x80", 2, "{\"base64\":\"wIA=\"}"},             /* longer than it need be */
		{"\xed\xa0\x80", 3, "{\"base64\":\"7aCA\"}"},         /* a surrogate */
		{"\xf4\x90\x80\x80", 4, "{\"base64\":\"9JCAgA==\"}"}, /* above U+10FFFF */
		{"\xe2\x82", 2, "{\"base64\":\"4oI=\"}"},             /* cut off */
		{"\xe2\x82\xac", 3, "\"\xe2\x82\xac\""},
		{"\xf4\x8f\xbf\xbf", 4, "\"\xf4\x8f\xbf\xbf\""},
		{"\xef\xbf\xbf", 3, "\"\xef\xbf\xbf\""},
	};
	char expected[128];
	struct headers h;

	headers_init(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		headers_begin(&h);
		headers_add(&h, cases[i].bytes, cases[i].length, "v", 1);
		headers_add(&h, "k", 1, cases[i].bytes, cases[i].length);
		headers_end(&h);
		snprintf(expected, sizeof(expected), "[[%s,\"v\"],[\"k\",%s]]", cases[i].json,
			cases[i].json);
		expect(&h, expected);
	}
	headers_finish(&h);
}

/* The bytes that a value of the array stands for; returns how many. */
static size_t bytes_of(const json_t *value, unsigned char *bytes, size_t size)
{
	size_t length = json_string_length(value);
	const char *text;

	if (json_is_string(value)) {
		memcpy(bytes, json_string_value(value), length);
		return length;
	}
	text = json_string_value(json_object_get(value, "base64"));
	assert_int_equal(sodium_base642bin(bytes, size, text, strlen(text), NULL, &length, NULL,
				 sodium_base64_VARIANT_ORIGINAL),
		0);
	return length;
}

static void any_bytes_can_be_read_back(void **state)
{
	unsigned char bytes[300], back[300];
	uint64_t random = 42;
	struct headers h;

	headers_init(&h);
	for (int round = 0; round < 5000; round++) {
		size_t length;
		json_t *array, *pair;

		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		length = (size_t)(random >> 33) % sizeof(bytes);
		for (size_t i = 0; i < length; i++) {
			random = random * 6364136223846793005ULL + 1442695040888963407ULL;
			bytes[i] = (unsigned char)(random >> 40) & (round % 2 ? 0xff : 0x7f);
		}
		headers_begin(&h);
		headers_add(&h, "first", 5, "x", 1);
		headers_add(&h, "name", 4, bytes, length);
		headers_end(&h);
		array = json_loadb(h.text, h.length, JSON_ALLOW_NUL, NULL);
		assert_int_equal(json_array_size(array), 2);
		pair = json_array_get(array, 1);
		assert_int_equal(bytes_of(json_array_get(pair, 1), back, sizeof(back)), length);
		assert_memory_equal(back, bytes, length);
		json_decref(array);
	}
	headers_finish(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_stand_in_their_order),
		cmocka_unit_test(what_json_may_not_hold_is_escaped),
		cmocka_unit_test(what_is_no_utf8_is_base64),
		cmocka_unit_test(any_bytes_can_be_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
