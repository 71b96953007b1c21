/*
 * The options of ledgerd: one table, from which come parsing (config.c), the names of environment
 * variables, `ledgerd --help-config`, docs/CONFIG.md and deploy/ledgerd.sample.yaml (manual.c).
 *
 * Nothing here reads or writes anything; the table is constant.
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
	OPTION_TEXT,       /* char *: min to max bytes, no control characters */
	OPTION_NAME,       /* char *: min to max characters of A-Z a-z 0-9 . _ - */
	OPTION_INT,        /* int64_t: min to max */
	OPTION_BYTES,      /* int64_t: min to max, or with K, M, G; 0 is `auto` if allowed */
	OPTION_BOOL,       /* bool */
	OPTION_CHOICE,     /* an enum: the index in words */
	OPTION_PARTITIONS, /* struct config_partitions */
	OPTION_PROPERTIES, /* struct config_properties */
	OPTION_LISTEN,     /* struct config_listen */
};

struct option_row {
	const char *section;
	const char *name;
	enum option_type type;
	size_t offset;        /* of the field in struct config */
	const char *fallback; /* the default, as YAML */
	int64_t min, max;     /* see the type */
	const char *words; /* INT: the unit or NULL; BYTES: "auto" or NULL; CHOICE: "one|other" */
	const char *help;  /* one or more sentences; `code` in backquotes */
};

struct option_section {
	const char *name;
	const char *help;
	bool has_password; /* LEDGERD_<SECTION>_PASSWORD exists, in the environment only */
};

/* A librdkafka property that kafka.properties may not have. */
struct option_refusal {
	const char *name;   /* one that ends in '.' stands for all that begin so */
	const char *reason; /* why, or what to do instead; completes "NAME is refused: " */
};

/* Rows are grouped by section, in the order of option_sections. */
extern const struct option_row option_rows[];
extern const size_t option_row_count;
extern const struct option_section option_sections[];
extern const size_t option_section_count;
extern const struct option_refusal option_refusals[];
extern const size_t option_refusal_count;

/* Room for an option's full name or its variable, with the NUL. */
#define OPTIONS_NAME_MAX 64

/* NULL if there is none. */
const struct option_section *options_find_section(const char *name);
const struct option_row *options_find(const char *section, const char *name);
const struct option_refusal *options_find_refusal(const char *property);

/* "LEDGERD_<SECTION>_<NAME>". */
void options_variable(const char *section, const char *name, char ret_variable[OPTIONS_NAME_MAX]);

/* What somebody who wrote this may have meant: an option (of any section, but best of this one), a
 * section, a variable.  NULL or false if nothing is near. */
const struct option_row *options_nearest(const char *section, const char *name);
const struct option_section *options_nearest_section(const char *name);
bool options_nearest_variable(const char *variable, char ret_variable[OPTIONS_NAME_MAX]);

/* What a value may be: in short ("1 to 65535"), and as it completes "expected " ("a whole number
 * from 1 to 65535").  160 bytes are enough. */
void options_range(const struct option_row *option, char *text, size_t bytes);
void options_expected(const struct option_row *option, char *text, size_t bytes);

/* A number of bytes as people write it: 16M, or the digits where no suffix fits. */
void options_format_bytes(int64_t number, char text[24]);

/* Whether the value of this librdkafka property may be a secret, by its name. */
bool options_is_secret(const char *property);

#endif
