/* What cmocka lacks: assertions on 128-bit amounts, and amounts written as text. */
#ifndef TESTS_UNIT_AMOUNTS_H
#define TESTS_UNIT_AMOUNTS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "decimal.h"

/* "10.5" as an amount; fails the test if it is none. */
#define amount_of(text) amount_of_at(text, __FILE__, __LINE__)

#define assert_amount_equal(left, right) assert_amount_equal_at(left, right, __FILE__, __LINE__)

static inline i128 amount_of_at(const char *text, const char *file, int line)
{
	i128 amount = 0;
	size_t length = __builtin_strlen(text);

	if (decimal_parse_stored(text, length, &amount) != DECIMAL_OK) {
		print_error("\"%s\" is no amount\n", text);
		_fail(file, line);
	}
	return amount;
}

static inline void assert_amount_equal_at(i128 left, i128 right, const char *file, int line)
{
	char texts[2][DECIMAL_TEXT_MAX];

	if (left == right)
		return;
	print_error("%s != %s\n", decimal_text(left, texts[0]), decimal_text(right, texts[1]));
	_fail(file, line);
}

#endif
