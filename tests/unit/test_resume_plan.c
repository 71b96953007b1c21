/* Which halts a person may clear, and which offsets may be given up: nothing that was processed is
 * taken back, and nothing is agreed to that would halt again at once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "resume_plan.h"

/* Halted at 100; the log has 150 to 199. */
static const struct resume_state halted = {.found = true, .halted = true, .next_offset = 100};
static const struct resume_log log_gone = {.low = 150, .high = 200};
static const struct resume_log log_whole = {.low = 0, .high = 200};

static void expect(const struct resume_state *state, const struct resume_log *log,
	int64_t at_offset, int code, const char *words)
{
	struct error err = {0};

	assert_int_equal(resume_plan(state, 3, at_offset, log, &err), code);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void test_offsets_at_each_end(void **state)
{
	expect(&halted, &log_gone, 149, -ERANGE, "begins at 150");
	expect(&halted, &log_gone, 150, 0, "");
	expect(&halted, &log_gone, 200, 0, "");
	expect(&halted, &log_gone, 201, -ERANGE, "ends at 200");
	expect(&halted, &log_whole, 0, -ERANGE, "which is 100");
	expect(&halted, &log_whole, 100, -ERANGE, "not above next_offset");
	expect(&halted, &log_whole, 101, 0, "");
}

static void test_the_log_is_not_asked_for_without_an_offset(void **state)
{
	expect(&halted, NULL, RESUME_NO_OFFSET, 0, "");
}

static void test_only_a_halted_partition(void **state)
{
	struct resume_state running = {.found = true, .next_offset = 100};
	struct resume_state missing = {0};

	expect(&running, NULL, RESUME_NO_OFFSET, -EBUSY, "partition 3 is not halted");
	expect(&running, &log_whole, 150, -EBUSY, "not halted");
	expect(&missing, NULL, RESUME_NO_OFFSET, -ENOENT, "no partition 3");
}

static void test_rows_beyond_the_offset_are_not_passed_over(void **state)
{
	struct resume_state set_back = halted;

	set_back.known_end = 120;
	expect(&set_back, &log_whole, 119, -ERANGE, "they end at 120");
	expect(&set_back, &log_whole, 120, 0, "");
	expect(&set_back, NULL, RESUME_NO_OFFSET, 0, ""); /* halts again; the help says so */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offsets_at_each_end),
		cmocka_unit_test(test_the_log_is_not_asked_for_without_an_offset),
		cmocka_unit_test(test_only_a_halted_partition),
		cmocka_unit_test(test_rows_beyond_the_offset_are_not_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
