#include "args.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX (int)(sizeof(((struct args *)0)->arguments) / sizeof(char *))
#define HELP_COLUMN   26

/* Help ----------------------------------------------------------------------------------------- */

static void print_option(FILE *file, const char *name, const char *argument, const char *help)
{
	char left[64];

	snprintf(left, sizeof left, "%s%s%s", name, argument ? " " : "", argument ? argument : "");
	fprintf(file, "  %-*s %s\n", HELP_COLUMN, left, help);
}

void args_print_help(const struct args_spec *spec, FILE *file)
{
	const struct args_option *option;
	char name[48];

	fprintf(file, "usage: %s %s\n\n%s\n\n", spec->program, spec->usage, spec->summary);
	for (option = spec->options; option && option->name; option++) {
		snprintf(name, sizeof name, "--%s", option->name);
		print_option(file, name, option->argument, option->help);
	}
	print_option(file, "-c", "FILE", "configuration (default /etc/ledgerd/ledgerd.yaml)");
	print_option(file, "--help", NULL, "this page");
	if (!spec->examples)
		return;
	fputs("\nexamples:\n", file);
	for (const char *const *example = spec->examples; *example; example++)
		fprintf(file, "  %s\n", *example);
}

/* Values --------------------------------------------------------------------------------------- */

static enum args_result wrong(const struct args_spec *spec, const char *what, const char *detail)
{
	fprintf(stderr, "%s: %s%s; see `%s --help`\n", spec->program, what, detail, spec->program);
	return ARGS_WRONG;
}

static enum args_result wrong_value(const struct args_spec *spec, const struct args_option *option,
	const char *text, const char *expected)
{
	fprintf(stderr, "%s: --%s is `%s`; expected %s\n", spec->program, option->name, text,
		expected);
	return ARGS_WRONG;
}

static enum args_result read_integer(
	const struct args_spec *spec, const struct args_option *option, const char *text)
{
	char expected[96];
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	snprintf(expected, sizeof expected, "a whole number from %" PRId64 " to %" PRId64,
		option->min, option->max);
	if (errno || end == text || *end || value < option->min || value > option->max)
		return wrong_value(spec, option, text, expected);
	*(int64_t *)option->value = value;
	return ARGS_OK;
}

static enum args_result read_real(const struct args_spec *spec, const struct args_option *option,
	const char *text, bool fraction)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (errno || end == text || *end || !(value >= 0) || (fraction && value > 1) ||
		value > 1e18)
		return wrong_value(spec, option, text,
			fraction ? "a fraction from 0 to 1" : "a number, 0 or more");
	*(double *)option->value = value;
	return ARGS_OK;
}

static enum args_result read_value(
	const struct args_spec *spec, const struct args_option *option, const char *text)
{
	if (option->given)
		*option->given = true;
	switch (option->type) {
	case ARGS_FLAG:
		*(bool *)option->value = true;
		return ARGS_OK;
	case ARGS_TEXT:
		*(const char **)option->value = text;
		return ARGS_OK;
	case ARGS_INTEGER:
		return read_integer(spec, option, text);
	case ARGS_FRACTION:
		return read_real(spec, option, text, true);
	case ARGS_REAL:
		return read_real(spec, option, text, false);
	}
	return ARGS_WRONG;
}

/* The line ------------------------------------------------------------------------------------- */

static const struct args_option *find(const struct args_spec *spec, const char *name, size_t length)
{
	for (const struct args_option *option = spec->options; option && option->name; option++)
		if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
			return option;
	return NULL;
}

/* A long option at argv[*at]; moves *at to the last word that belongs to it. */
static enum args_result read_option(const struct args_spec *spec, int argc, char **argv, int *at)
{
	const char *word = argv[*at];
	const char *name = word + 2;
	const char *equals = strchr(name, '=');
	const struct args_option *option = find(
		spec, name, equals ? (size_t)(equals - name) : strlen(name));

	if (!option)
		return wrong(spec, "there is no option ", word);
	if (option->type == ARGS_FLAG)
		return equals ? wrong(spec, "this option takes no value: ", word)
			      : read_value(spec, option, NULL);
	if (equals)
		return read_value(spec, option, equals + 1);
	if (*at + 1 == argc)
		return wrong(spec, "this option needs a value: ", word);
	return read_value(spec, option, argv[++*at]);
}

static enum args_result read_argument(const struct args_spec *spec, struct args *args, char *word)
{
	assert(spec->arguments_max <= ARGUMENTS_MAX);
	if (args->argument_count == spec->arguments_max)
		return wrong(spec, "this is one argument too many: ", word);
	args->arguments[args->argument_count++] = word;
	return ARGS_OK;
}

static enum args_result read_word(
	const struct args_spec *spec, struct args *args, int argc, char **argv, int *at)
{
	char *word = argv[*at];

	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		args_print_help(spec, stdout);
		return ARGS_HELP;
	}
	if (strcmp(word, "--version") == 0) {
		printf("ledgerd %s\n", LEDGERD_VERSION);
		return ARGS_HELP;
	}
	if (strcmp(word, "-c") == 0) {
		if (*at + 1 == argc)
			return wrong(spec, "this option needs a file: ", word);
		args->config_path = argv[++*at];
		return ARGS_OK;
	}
	if (strncmp(word, "--", 2) == 0 && word[2])
		return read_option(spec, argc, argv, at);
	if (word[0] == '-' && word[1])
		return wrong(spec, "there is no option ", word);
	return read_argument(spec, args, word);
}

enum args_result args_parse(
	const struct args_spec *spec, int argc, char **argv, struct args *ret_args)
{
	*ret_args = (struct args){0};
	for (int at = 1; at < argc; at++) {
		enum args_result result = read_word(spec, ret_args, argc, argv, &at);

		if (result != ARGS_OK)
			return result;
	}
	if (ret_args->argument_count < spec->arguments_min)
		return wrong(spec, "an argument is missing: ", spec->usage);
	return ARGS_OK;
}
