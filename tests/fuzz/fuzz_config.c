/*
 * Any bytes as a configuration file, and as variables of the environment.
 *
 * The input is the file, and behind each byte 0x1f an entry of the environment ("NAME=value").
 * What is taken must be within the table of options, whose rules are written here once more, and
 * must read back the same after it was printed.  What is refused names its place: a line and a
 * column that the file has, or a variable.  The password is in neither.
 */
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "config.h"
#include "options.h"

#define SOURCE      "fuzz.yaml"
#define SEPARATOR   0x1f
#define ENTRIES_MAX 8
#define PASSWORD    "hunter2-Zq8vX"

struct input {
	const char *file;
	size_t file_length;
	char *entries[ENTRIES_MAX + 2]; /* as environ has them */
	bool told;                      /* the bytes themselves have the password */
};

/* The password is always there; the bytes' own entries stand behind it. */
static void input_init(struct input *in, const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	const uint8_t *at = size ? memchr(data, SEPARATOR, size) : NULL;
	size_t count = 0;

	*in = (struct input){
		.file = (const char *)data, .file_length = at ? (size_t)(at - data) : size};
	in->told = memmem(data, size, PASSWORD, strlen(PASSWORD));
	in->entries[count++] = strdup("LEDGERD_MYSQL_PASSWORD=" PASSWORD);
	while (at && count <= ENTRIES_MAX) {
		const uint8_t *begin = at + 1;

		at = memchr(begin, SEPARATOR, (size_t)(end - begin));
		in->entries[count++] = strndup(
			(const char *)begin, (size_t)((at ? at : end) - begin));
	}
}

static void input_finish(struct input *in)
{
	for (char **entry = in->entries; *entry; entry++)
		free(*entry);
}

/* What is taken ------------------------------------------------------------------------------- */

static bool is_name(const char *text)
{
	return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				 "0123456789._-")] == '\0';
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

static void check_text(const struct option_row *option, const char *text)
{
	CHECK(text);
	CHECK((int64_t)strlen(text) >= option->min && (int64_t)strlen(text) <= option->max);
	CHECK(!has_control(text));
	CHECK(option->type != OPTION_NAME || is_name(text));
}

static void check_choice(const struct option_row *option, unsigned choice)
{
	unsigned words = 1;

	for (const char *c = option->words; *c; c++)
		words += *c == '|';
	CHECK(choice < words);
}

static void check_partitions(const struct config_partitions *partitions)
{
	CHECK(partitions->all == (partitions->count == 0));
	CHECK(!partitions->all == !!partitions->list);
	for (size_t i = 0; i < partitions->count; i++) {
		CHECK(partitions->list[i] >= 0 && partitions->list[i] <= 100000);
		CHECK(i == 0 || partitions->list[i] > partitions->list[i - 1]);
	}
}

static void check_properties(const struct config_properties *properties)
{
	for (size_t i = 0; i < properties->count; i++) {
		const char *name = properties->items[i].name;

		CHECK(*name && is_name(name) && properties->items[i].value);
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(name, properties->items[j].name) != 0);
		for (size_t j = 0; j < option_refusal_count; j++) {
			const char *refused = option_refusals[j].name;
			size_t length = strlen(refused);

			CHECK(refused[length - 1] == '.' ? strncmp(name, refused, length) != 0
							 : strcmp(name, refused) != 0);
		}
	}
}

static void check_listen(const struct config_listen *listen)
{
	if (!listen->host)
		return;
	CHECK(*listen->host && strlen(listen->host) <= 255 && !has_control(listen->host));
	CHECK(!strpbrk(listen->host, "[] "));
	CHECK(listen->port >= 1 && listen->port <= 65535);
}

static void check_option(const struct config *cfg, const struct option_row *option)
{
	const void *field = (const char *)cfg + option->offset;
	int64_t number;

	switch (option->type) {
	case OPTION_TEXT:
	case OPTION_NAME:
		check_text(option, *(char *const *)field);
		break;
	case OPTION_INT:
	case OPTION_BYTES:
		number = *(const int64_t *)field;
		CHECK((number >= option->min && number <= option->max) ||
			(number == 0 && option->type == OPTION_BYTES && option->words));
		break;
	case OPTION_BOOL:
		CHECK(*(const unsigned char *)field <= 1);
		break;
	case OPTION_CHOICE:
		check_choice(option, *(const unsigned *)field);
		break;
	case OPTION_PARTITIONS:
		check_partitions(field);
		break;
	case OPTION_PROPERTIES:
		check_properties(field);
		break;
	case OPTION_LISTEN:
		check_listen(field);
		break;
	}
}

static char *print(const struct config *cfg, size_t *ret_length)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, ret_length);

	config_print(cfg, file);
	fclose(file);
	return text;
}

/* Printed, read and printed again: the same text. */
static void check_printed(const struct config *cfg, const struct input *in)
{
	size_t length, again_length;
	char *text = print(cfg, &length);
	char *again;
	struct config copy;
	struct error err;
	int rc = config_parse_buffer(&copy, SOURCE, text, length, NULL, &err);

	if (rc != 0)
		fprintf(stderr, "%s\n%s\n", err.text, text);
	CHECK(rc == 0);
	again = print(&copy, &again_length);
	CHECK(length == again_length && !memcmp(text, again, length));
	CHECK(in->told || !strstr(text, PASSWORD));
	config_finish(&copy);
	free(text);
	free(again);
}

/* What is refused ----------------------------------------------------------------------------- */

/* Lines of the file as YAML counts them; a break of any kind is one here, "\r\n" two. */
static int count_lines(const char *text, size_t length)
{
	int lines = 1;

	for (size_t i = 0; i < length; i++)
		lines += text[i] == '\n' || text[i] == '\r' ||
			 (i + 1 < length && !memcmp(text + i, "\xc2\x85", 2)) ||
			 (i + 2 < length && (!memcmp(text + i, "\xe2\x80\xa8", 3) ||
						    !memcmp(text + i, "\xe2\x80\xa9", 3)));
	return lines;
}

static bool names_place(const struct input *in, const char *message)
{
	int line, column, length = 0;

	if (sscanf(message, SOURCE ":%d:%d: %n", &line, &column, &length) != 2 || !length)
		return false;
	/* The end of a last line without a break is the line behind it, to libyaml. */
	CHECK(line >= 1 && line <= count_lines(in->file, in->file_length) + 1);
	CHECK(column >= 1 && column <= (int)in->file_length + 1);
	CHECK(message[length]);
	return true;
}

/* "LEDGERD_MYSQL_PORT: ...", or "unknown environment variable LEDGERD_..." */
static bool names_variable(const struct input *in, const char *message)
{
	static const char unknown[] = "unknown environment variable LEDGERD_";

	if (!strncmp(message, unknown, sizeof unknown - 1))
		return true;
	for (char *const *entry = in->entries; *entry; entry++) {
		size_t length = strcspn(*entry, "=");

		if (!strncmp(message, *entry, length) && !strncmp(message + length, ": ", 2))
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config cfg;
	struct error err = {0};
	struct input in;
	int rc;

	input_init(&in, data, size);
	rc = config_parse_buffer(&cfg, SOURCE, in.file, in.file_length, in.entries, &err);
	if (rc == 0) {
		for (size_t i = 0; i < option_row_count; i++)
			check_option(&cfg, &option_rows[i]);
		CHECK(cfg.consumer.dedupe_prime <= cfg.consumer.dedupe_ids);
		CHECK(*cfg.mysql.password);
		check_printed(&cfg, &in);
	} else {
		if (!names_place(&in, err.text) && !names_variable(&in, err.text))
			fprintf(stderr, "%s\n", err.text);
		CHECK(names_place(&in, err.text) || names_variable(&in, err.text));
		CHECK(!has_control(err.text));
		CHECK(in.told || !strstr(err.text, PASSWORD));
	}
	config_finish(&cfg);
	input_finish(&in);
	return 0;
}
