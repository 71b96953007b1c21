/*
 * What the commands of both programs have in common: each is a function that is given the words
 * after its name and returns the exit status: 0 done, 1 failed, 2 bad usage or configuration,
 * 3 `verify` found a difference.
 */
#ifndef COMMON_CLI_H
#define COMMON_CLI_H

#include <stdio.h>

#include "args.h"
#include "config.h"

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_DIFFERENT = 3,
};

/* A line of a table of commands, which ends with an empty one. */
struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
};

/* The command of this name, or NULL. */
const struct command *command_find(const struct command *commands, const char *name);
/* A line for each. */
void command_print(const struct command *commands, FILE *file);

/*
 * A program: runs the command that argv[1] names, or answers --help (help), --help-config and
 * --version; the exit status.
 */
int cli_run(const char *program, const struct command *commands, void (*help)(FILE *file), int argc,
	char **argv);

/* A command that has commands of its own: runs the one that argv[1] names, or tells which there
 * are. */
int command_choose(const char *program, const char *summary, const struct command *commands,
	int argc, char **argv);

/*
 * What every command begins with: reads the line, loads the configuration, and sets up the log.
 * true: go on; the config is to be finished with command_end.  false: *ret_status is the exit
 * status.
 */
bool command_begin(const struct args_spec *spec, int argc, char **argv, struct args *ret_args,
	struct config *ret_config, int *ret_status);
void command_end(struct config *config);

/* A line of `check-config`: what was checked, and that it is good, or the error.  Returns how many
 * things are wrong: 0 or 1. */
int command_checked(const char *what, int rc, const char *good, const struct error *err);

/* Prints "<program>: <what>: <error>" and returns EXIT_FAILED. */
int command_failed(const char *what, const struct error *err);

#endif
