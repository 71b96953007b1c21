/*
 * What is UTF-8, against a table made the other way round: every code point that Unicode has is
 * encoded, which needs no rule about bad bytes.  All of them must be taken, and as many sequences
 * as there are of them, of all that bytes can form: so no other is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "utf8.h"

static size_t encode(uint32_t code, char text[4])
{
	static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (size_t i = length - 1; i > 0; i--, code >>= 6)
		text[i] = (char)(0x80 | code % 64);
	text[0] = (char)(first[length] | code);
	return length;
}

/* A copy with nothing behind it, so that a sanitizer sees a byte too many being read. */
static size_t length_of(const char *text, size_t left)
{
	char *exact = malloc(left);
	size_t length;

	memcpy(exact, text, left);
	length = utf8_length(exact, left);
	free(exact);
	return length;
}

static void every_code_point_is_a_character(void **state)
{
	for (uint32_t code = 0; code <= 0x10ffff; code++) {
		char text[4];
		size_t length = encode(code, text);
		bool surrogate = code >= 0xd800 && code <= 0xdfff;

		assert_int_equal(utf8_length(text, length), surrogate ? 0 : length);
		assert_int_equal(utf8_valid(text, length), !surrogate);
	}
}

static void what_is_cut_off_is_none(void **state)
{
	static const uint32_t codes[] = {0x80, 0x7ff, 0x800, 0xffff, 0x10000, 0x10ffff};

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		char text[4];
		size_t length = encode(codes[i], text);

		for (size_t left = 1; left < length; left++) {
			assert_int_equal(length_of(text, left), 0);
			assert_false(utf8_valid(text, left));
		}
		assert_int_equal(length_of(text, length), length);
	}
}

/* All that bytes can form, but for the fourth, which is one of seven; three of them may follow. */
static void nothing_else_is_one(void **state)
{
	static const unsigned char fourth[] = {0x00, 0x7f, 0x80, 0xa5, 0xbf, 0xc0, 0xff};
	uint32_t found[5] = {0};

	for (uint32_t three = 0; three < 1 << 24; three++) {
		char text[4] = {(char)(three >> 16), (char)(three >> 8), (char)three, 0};
		size_t length = utf8_length(text, 3);

		found[length] += length > 0;
		if ((three >> 16) < 0xe0)
			continue;
		for (size_t i = 0; i < sizeof fourth; i++) {
			text[3] = (char)fourth[i];
			if (length == 0)
				found[4] += utf8_length(text, 4) > 0;
			else
				assert_int_equal(utf8_length(text, 4), length);
		}
	}
	assert_int_equal(found[1], 0x80 << 16);
	assert_int_equal(found[2], (0x800 - 0x80) << 8);
	assert_int_equal(found[3], 0x10000 - 0x800 - 0x800);
	assert_int_equal(found[4], 0x100000 / 64 * 3);
}

static void text_is_good_or_not_as_a_whole(void **state)
{
	assert_true(utf8_valid("", 0));
	assert_true(utf8_valid("a\0z", 3));
	assert_true(utf8_valid("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z", 11));
	assert_false(utf8_valid("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98", 9));
	assert_false(utf8_valid("aaaa\xff", 5));
	assert_false(utf8_valid("\xc3\xc3\xa4", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point_is_a_character),
		cmocka_unit_test(what_is_cut_off_is_none),
		cmocka_unit_test(nothing_else_is_one),
		cmocka_unit_test(text_is_good_or_not_as_a_whole),
	};

	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
