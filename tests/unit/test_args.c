/* Command lines: every type of option in both spellings, arguments, and what is refused. */
#include "fixture.h"

#include <unistd.h>

#include "args.h"

struct values {
	bool flag;
	const char *text;
	int64_t integer;
	double fraction;
	double real;
	bool given;
};

static enum args_result parse(struct values *values, struct args *args, const char *line)
{
	const struct args_option options[] = {
		{"flag", ARGS_FLAG, NULL, "a flag", &values->flag, 0, 0, NULL},
		{"text", ARGS_TEXT, "TEXT", "a text", &values->text, 0, 0, NULL},
		{"integer", ARGS_INTEGER, "N", "a number", &values->integer, -5, 100,
			&values->given},
		{"fraction", ARGS_FRACTION, "R", "a share", &values->fraction, 0, 0, NULL},
		{"real", ARGS_REAL, "R", "a number", &values->real, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {.program = "ledgerd test",
		.usage = "A [B]",
		.summary = "Tests.",
		.options = options,
		.arguments_min = 1,
		.arguments_max = 2};
	static char buffer[256];
	static char name[] = "test";
	char *argv[20] = {name};
	char *rest = NULL;
	int argc = 1;

	*values = (struct values){.integer = 7};
	snprintf(buffer, sizeof buffer, "%s", line);
	for (char *word = strtok_r(buffer, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	return args_parse(&spec, argc, argv, args);
}

static void test_both_spellings(void **state)
{
	struct values values;
	struct args args;

	assert_int_equal(parse(&values, &args,
				 "--text x --integer=-5 a --flag --fraction 0.25 "
				 "-c f.yaml b --real=1e3"),
		ARGS_OK);
	assert_true(values.flag && values.given);
	assert_string_equal(values.text, "x");
	assert_int_equal(values.integer, -5);
	assert_true(values.fraction == 0.25 && values.real == 1000);
	assert_string_equal(args.config_path, "f.yaml");
	assert_int_equal(args.argument_count, 2);
	assert_string_equal(args.arguments[1], "b");
}

static void test_defaults_stay(void **state)
{
	struct values values;
	struct args args;

	assert_int_equal(parse(&values, &args, "a"), ARGS_OK);
	assert_int_equal(values.integer, 7);
	assert_false(values.given);
	assert_null(args.config_path);
}

static void test_refused(void **state)
{
	static const char *const lines[] = {"", "a b c", "a --integer 101", "a --integer -6",
		"a --integer 1x", "a --integer", "a --integer=", "a --fraction 1.5",
		"a --fraction nan", "a --real -1", "a --real inf", "a --flag=1", "a --nix", "a -x",
		"a -c", "a --text", "a --integer 99999999999999999999", "a --fla"};
	struct values values;
	struct args args;

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		assert_int_equal(parse(&values, &args, lines[i]), ARGS_WRONG);
}

static void test_help(void **state)
{
	struct values values;
	struct args args;
	int output = dup(STDOUT_FILENO);

	fflush(stdout);
	assert_non_null(freopen("/dev/null", "w", stdout)); /* standard output is TAP's */
	assert_int_equal(parse(&values, &args, "--help"), ARGS_HELP);
	assert_int_equal(parse(&values, &args, "--flag -h"), ARGS_HELP);
	assert_int_equal(parse(&values, &args, "--version"), ARGS_HELP);
	fflush(stdout);
	dup2(output, STDOUT_FILENO);
	close(output);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_spellings),
		cmocka_unit_test(test_defaults_stay),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
