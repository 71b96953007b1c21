/* Headers as JSON text and back: the same bytes, whatever they are. */
#include "fixture.h"

#include <sodium.h>

#include "headers.h"
#include "headers_parse.h"

#define HEADERS_MAX 6
#define BYTES_MAX   40

/* A header that was put in; value NULL: absent. */
struct expected {
	char name[BYTES_MAX];
	size_t name_length;
	char value[BYTES_MAX];
	size_t value_length;
	bool absent;
};

static void check(const struct expected *expected, size_t count)
{
	struct header_list list;
	struct headers h;
	struct error err;

	headers_init(&h);
	headers_begin(&h);
	for (size_t i = 0; i < count; i++)
		headers_add(&h, expected[i].name, expected[i].name_length,
			expected[i].absent ? NULL : expected[i].value, expected[i].value_length);
	headers_end(&h);
	assert_int_equal(headers_parse(h.text, h.length, &list, &err), 0);
	assert_int_equal(list.count, count);
	for (size_t i = 0; i < count; i++) {
		const struct header *header = &list.headers[i];

		assert_int_equal(header->name_length, expected[i].name_length);
		assert_memory_equal(header->name, expected[i].name, header->name_length);
		assert_int_equal(header->value == NULL, expected[i].absent);
		if (!header->value)
			continue;
		assert_int_equal(header->value_length, expected[i].value_length);
		assert_memory_equal(header->value, expected[i].value, header->value_length);
	}
	headers_parse_free(&list);
	headers_finish(&h);
}

static void test_kinds(void **state)
{
	static const struct expected expected[] = {
		{"trace", 5, "a\"\\/\n\x7f\0z", 8, false}, /* what JSON escapes, a NUL among it */
		{"trace", 5, "", 0, false},                /* the same name again; empty */
		{"", 0, "", 0, true},                      /* absent */
		{"\xff\xfe", 2, "\xc3\x28", 2, false},     /* no UTF-8 */
		{"\xc3\xa4", 2, "\xf0\x9f\x92\xb0", 4, false},
	};

	check(NULL, 0);
	check(expected, 5);
}

static size_t make_up(uint64_t *random, char bytes[BYTES_MAX])
{
	size_t length = fixture_random(random) % BYTES_MAX;
	bool plain = fixture_random(random) % 2;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)(fixture_random(random) % (plain ? 0x80 : 0x100));
	return length;
}

static void test_any_bytes(void **state)
{
	struct expected expected[HEADERS_MAX];
	uint64_t random = 88172645463325252u;

	for (int round = 0; round < 20000; round++) {
		size_t count = fixture_random(&random) % HEADERS_MAX;

		for (size_t i = 0; i < count; i++) {
			expected[i].name_length = make_up(&random, expected[i].name);
			expected[i].value_length = make_up(&random, expected[i].value);
			expected[i].absent = fixture_random(&random) % 8 == 0;
		}
		check(expected, count);
	}
}

/* Somebody wrote to the table: told, and nothing is made of it. */
static void test_other_forms(void **state)
{
	static const char *const texts[] = {"", "{}", "[", "[[\"a\"]]", "[[\"a\",1]]", "[1]",
		"[[null,\"a\"]]", "[[\"a\",{\"base64\":\"*\"}]]", "[[\"a\",{}]]",
		"[[\"a\",\"b\"],[\"c\"]]", "[[\"a\",\"b\",\"c\"]]"};
	struct header_list list;
	struct error err;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		if (headers_parse(texts[i], strlen(texts[i]), &list, &err) == 0)
			fail_msg("taken for headers: %s", texts[i]);
		assert_int_equal(list.count, 0);
		headers_parse_free(&list);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_other_forms),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
