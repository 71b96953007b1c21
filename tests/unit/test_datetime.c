/* Times as text against the C library's calendar: every day there is, and every second of one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "datetime.h"

#define DAY_MS INT64_C(86400000)

static void assert_like_gmtime(int64_t time_ms)
{
	time_t seconds = time_ms / 1000;
	char text[DATETIME_LENGTH + 2];
	char expected[80];
	struct tm tm;

	assert_non_null(gmtime_r(&seconds, &tm));
	snprintf(expected, sizeof(expected), "%04d-%02d-%02d %02d:%02d:%02d.%03d#",
		tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		(int)(time_ms % 1000));
	memset(text, '#', sizeof(text));
	datetime_format(time_ms, text);
	text[DATETIME_LENGTH + 1] = '\0';
	assert_string_equal(text, expected);
}

static void test_known_times(void **state)
{
	char text[DATETIME_LENGTH + 1] = "";

	datetime_format(0, text);
	assert_string_equal(text, "1970-01-01 00:00:00.000");
	datetime_format(DATETIME_MAX_MS, text);
	assert_string_equal(text, "9999-12-31 23:59:59.999");
	datetime_format(INT64_C(1767225600000), text);
	assert_string_equal(text, "2026-01-01 00:00:00.000");
	datetime_format(INT64_C(951782399999), text);
	assert_string_equal(text, "2000-02-28 23:59:59.999");
	datetime_format(INT64_C(951782400000), text);
	assert_string_equal(text, "2000-02-29 00:00:00.000");
}

/* The last millisecond of every day and the first of the next. */
static void test_every_day(void **state)
{
	for (int64_t day = 0; day * DAY_MS <= DATETIME_MAX_MS; day++) {
		assert_like_gmtime(day * DAY_MS);
		assert_like_gmtime(day * DAY_MS + DAY_MS - 1);
	}
}

static void test_every_second_of_a_day(void **state)
{
	for (int64_t ms = 0; ms < DAY_MS; ms += 997)
		assert_like_gmtime(INT64_C(20454) * DAY_MS + ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_times),
		cmocka_unit_test(test_every_day),
		cmocka_unit_test(test_every_second_of_a_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
