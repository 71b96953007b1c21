/* Messages: written, prefixed, and cut where they are too long. */
#include "error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_set_and_wrap(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(error_set(&err, -7, "port %d is taken", 9105), -7);
	assert_string_equal(err.text, "port 9105 is taken");
	assert_int_equal(error_wrap(&err, -8, "http.%s", "listen"), -8);
	assert_string_equal(err.text, "http.listen: port 9105 is taken");
}

static void test_no_error_wanted(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, -1, "a"), -1);
	assert_int_equal(error_wrap(NULL, -2, "a"), -2);
}

static void test_long_texts_are_cut(void **state)
{
	char text[2 * ERROR_TEXT_MAX];
	struct error err;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	for (size_t length = ERROR_TEXT_MAX - 3; length < ERROR_TEXT_MAX + 3; length++) {
		int cut = length >= ERROR_TEXT_MAX;

		error_set(&err, -1, "%.*s", (int)length, text);
		assert_int_equal(strlen(err.text), cut ? ERROR_TEXT_MAX - 1 : length);
		assert_int_equal(strcmp(err.text + strlen(err.text) - 3, "...") == 0, cut);
	}
	error_set(&err, -1, "%.500s", text);
	error_wrap(&err, -1, "%.100s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_string_equal(err.text + ERROR_TEXT_MAX - 4, "...");
	error_wrap(&err, -1, "%s", text);
	assert_string_equal(err.text + ERROR_TEXT_MAX - 4, "...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_and_wrap),
		cmocka_unit_test(test_no_error_wanted),
		cmocka_unit_test(test_long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
