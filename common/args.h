/*
 * Command lines: each command declares its options in a table, from which parsing and a --help that
 * fits a screen come.
 *
 * Long options are written `--name VALUE` or `--name=VALUE`; a command may have arguments of its
 * own
 * (`statement ACCOUNT`).  `-c FILE`, `--help` and `--version` are every command's.
 */
#ifndef COMMON_ARGS_H
#define COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"

enum args_type {
	ARGS_FLAG,     /* bool */
	ARGS_TEXT,     /* const char *, points into argv */
	ARGS_INTEGER,  /* int64_t within [min, max] */
	ARGS_FRACTION, /* double within 0 to 1 */
	ARGS_REAL,     /* double, 0 or more */
};

struct args_option {
	const char *name; /* without the dashes; NULL ends a table */
	enum args_type type;
	const char *argument; /* what the help calls the value; NULL for a flag */
	const char *help;     /* one line, with the default */
	void *value;          /* where it goes: the default before, the value after */
	int64_t min;
	int64_t max;
	bool *given; /* set if the option stands on the line; may be NULL */
};

struct args_spec {
	const char *program; /* "ledgerd produce" */
	const char *usage;   /* what follows the program: "[OPTION...] ACCOUNT [CURRENCY]" */
	const char *summary; /* a few lines */
	const struct args_option *options;
	const char *const *examples; /* NULL-terminated; NULL: none */
	int arguments_min;
	int arguments_max;
};

struct args {
	const char *config_path; /* -c FILE; NULL: the default place */
	const char *arguments[4];
	int argument_count;
};

enum args_result {
	ARGS_OK = 0,
	ARGS_HELP,  /* help or version was asked for and is printed: exit 0 */
	ARGS_WRONG, /* told on standard error: exit 2 */
};

/* Reads argv[1..argc), the words after the command's name. */
enum args_result args_parse(
	const struct args_spec *spec, int argc, char **argv, struct args *ret_args);

void args_print_help(const struct args_spec *spec, FILE *file);

#endif
