/* The table of states: nothing is left out, nothing is entered from where it must not be. */
#include "fixture.h"

#include "partition_state.h"

static const char *const allowed[] = {
	"idle>acquiring",
	"acquiring>recovering",
	"acquiring>draining",
	"acquiring>fenced",
	"acquiring>halted",
	"recovering>running",
	"recovering>draining",
	"recovering>fenced",
	"recovering>halted",
	"running>recovering",
	"running>draining",
	"running>fenced",
	"running>halted",
	"draining>idle",
	"draining>fenced",
	"draining>halted",
	"fenced>idle",
	"halted>idle",
};

static bool listed(const char *transition)
{
	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
		if (strcmp(allowed[i], transition) == 0)
			return true;
	return false;
}

static void test_transitions(void **state)
{
	char text[64];

	for (int from = 0; from < PARTITION_STATES; from++) {
		for (int to = 0; to < PARTITION_STATES; to++) {
			snprintf(text, sizeof text, "%s>%s", partition_state_text(from),
				partition_state_text(to));
			assert_int_equal(partition_state_allowed(from, to), listed(text));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transitions),
	};

	return cmocka_run_group_tests_name("partition_state", tests, NULL, NULL);
}
