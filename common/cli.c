#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "manual.h"

/* The process's log: main's, through the one door that log.h describes. */
static struct log process_log;

extern char **environ;

const struct command *command_find(const struct command *commands, const char *name)
{
	for (; commands->name; commands++)
		if (strcmp(commands->name, name) == 0)
			return commands;
	return NULL;
}

void command_print(const struct command *commands, FILE *file)
{
	for (; commands->name; commands++)
		fprintf(file, "  %-14s %s\n", commands->name, commands->help);
}

static void print_choice(
	const char *program, const char *summary, const struct command *commands, FILE *file)
{
	fprintf(file, "usage: %s COMMAND [OPTION...]\n\n%s\n\n", program, summary);
	command_print(commands, file);
	fprintf(file, "\n`%s COMMAND --help` tells more.\n", program);
}

int cli_run(const char *program, const struct command *commands, void (*help)(FILE *file), int argc,
	char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	const struct command *command = command_find(commands, name);

	if (command)
		return command->run(argc - 1, argv + 1);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return help(stdout), EXIT_DONE;
	if (strcmp(name, "--help-config") == 0)
		return manual_print_help(stdout), EXIT_DONE;
	if (strcmp(name, "--version") == 0)
		return printf("%s %s\n", program, LEDGERD_VERSION), EXIT_DONE;
	if (*name)
		fprintf(stderr, "%s: there is no command `%s`\n\n", program, name);
	help(stderr);
	return EXIT_USAGE;
}

int command_choose(const char *program, const char *summary, const struct command *commands,
	int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	const struct command *command = command_find(commands, name);

	if (command)
		return command->run(argc - 1, argv + 1);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return print_choice(program, summary, commands, stdout), EXIT_DONE;
	if (*name)
		fprintf(stderr, "%s: there is no command `%s`\n\n", program, name);
	print_choice(program, summary, commands, stderr);
	return EXIT_USAGE;
}

bool command_begin(const struct args_spec *spec, int argc, char **argv, struct args *ret_args,
	struct config *ret_config, int *ret_status)
{
	enum args_result result = args_parse(spec, argc, argv, ret_args);
	struct error err;

	if (result != ARGS_OK) {
		*ret_status = result == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
		return false;
	}
	if (config_load(ret_config, ret_args->config_path, environ, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		config_finish(ret_config);
		*ret_status = EXIT_USAGE;
		return false;
	}
	log_init(&process_log, STDERR_FILENO, ret_config->log.level, ret_config->log.format,
		ret_config->log.repeat_ms);
	log_use(&process_log);
	return true;
}

void command_end(struct config *config)
{
	log_finish(&process_log);
	config_finish(config);
}

int command_failed(const char *what, const struct error *err)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, err->text);
	return EXIT_FAILED;
}

int command_checked(const char *what, int rc, const char *good, const struct error *err)
{
	if (rc == 0)
		printf("ok      %-6s %s\n", what, good);
	else
		printf("CHANGE  %-6s %s\n", what, err->text);
	fflush(stdout);
	return rc != 0;
}
