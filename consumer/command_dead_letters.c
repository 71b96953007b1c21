/* `ledgerd dead-letters list` and `show`; the table of the three. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "command.h"
#include "command_dead_letters.h"
#include "mem.h"
#include "murmur2.h"
#include "servers.h"
#include "table.h"

#define KEY_CHARS   24
#define VALUE_CHARS 4096

int command_dead_letters_open(const struct config *config, struct db **ret_db,
	struct ledger_meta *meta, struct error *err)
{
	struct db_options options;
	int rc;

	servers_db_options(config, &options);
	options.local_infile = false;
	*ret_db = db_create(&options);
	rc = db_code(db_connect(*ret_db, err));
	if (rc == 0)
		rc = db_code(ledger_meta_read(*ret_db, meta, err));
	return rc == 0 ? ledger_meta_check(meta, -1, err) : rc;
}

bool command_dead_letters_reason(const char *text, enum dead_reason *ret_reason)
{
	*ret_reason = text ? dead_letters_reason(text) : DEAD_NONE;
	if (!text || *ret_reason != DEAD_NONE)
		return true;
	fprintf(stderr,
		"ledgerd dead-letters: --reason is `%s`; expected MALFORMED, KEY_MISMATCH, "
		"WRONG_PARTITION or ID_CONFLICT\n",
		text);
	return false;
}

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

/* As headers.h has it: a string, {"base64": "..."} if it is no UTF-8, null. */
static json_t *json_bytes(const struct dead_bytes *bytes)
{
	json_t *json;
	char *base64;
	size_t size;

	if (!bytes->bytes)
		return json_null();
	json = json_stringn(bytes->bytes, bytes->length);
	if (json)
		return json;
	size = sodium_base64_encoded_len(bytes->length, sodium_base64_VARIANT_ORIGINAL);
	base64 = xmalloc(size);
	sodium_bin2base64(base64, size, (const unsigned char *)bytes->bytes, bytes->length,
		sodium_base64_VARIANT_ORIGINAL);
	json = json_pack("{s:s}", "base64", base64);
	free(base64);
	return json;
}

static json_t *json_time(const char *text)
{
	return *text ? json_string(text) : json_null();
}

static json_t *json_letter(const struct dead_letter *letter)
{
	return json_pack("{s:i, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:I}", "partition",
		(int)letter->partition, "offset", (json_int_t)letter->offset, "reason",
		letter->reason ? dead_reason_text(letter->reason) : "?", "detail",
		json_bytes(&(struct dead_bytes){letter->detail, strlen(letter->detail)}),
		"message_time", json_time(letter->message_time), "created_at",
		json_time(letter->created_at), "redriven_at", json_time(letter->redriven_at), "key",
		json_bytes(&letter->key), "value_bytes", (json_int_t)letter->value.length);
}

static void print_json(json_t *root)
{
	char *text = json_dumps(root, JSON_INDENT(2));

	puts(text ? text : "{}");
	free(text);
	json_decref(root);
}

/* list ------------------------------------------------------------------------------------------
 */

struct list {
	struct table table;
	json_t *array;
	int64_t limit;
	int64_t count;
};

/* The key in one line, cut. */
static void key_text(const struct dead_bytes *key, char *text, size_t size)
{
	FILE *file = fmemopen(text, size, "w");
	bool whole;

	if (!file)
		return;
	whole = dead_letters_print_bytes(key, KEY_CHARS, file);
	fputs(whole ? "" : "...", file);
	fclose(file);
}

static void list_letter(void *context, const struct dead_letter *letter)
{
	struct list *list = context;
	char key[KEY_CHARS + 16] = "";

	if (++list->count > list->limit)
		return;
	json_array_append_new(list->array, json_letter(letter));
	key_text(&letter->key, key, sizeof key);
	table_add(&list->table, "%d", (int)letter->partition);
	table_add(&list->table, "%" PRId64, letter->offset);
	table_add(&list->table, "%s", or_dash(letter->message_time));
	table_add(&list->table, "%s", letter->reason ? dead_reason_text(letter->reason) : "?");
	table_add(&list->table, "%s", or_dash(letter->redriven_at));
	table_add(&list->table, "%s", key);
	table_add(&list->table, "%zu", letter->value.length);
	table_add(&list->table, "%s", letter->detail);
}

static void print_list(struct list *list, bool json)
{
	bool more = list->count > list->limit;

	if (json) {
		print_json(json_pack("{s:O, s:b}", "dead_letters", list->array, "more", more));
		return;
	}
	if (list->count == 0)
		puts("no dead letters");
	else
		table_print(&list->table, stdout);
	if (more)
		puts("... and more: --limit, --from-offset");
}

static int list_letters(const struct config *config, const struct dead_letters_filter *filter,
	int64_t limit, bool json)
{
	static const char *const titles[] = {
		">PARTITION", ">OFFSET", "TIME", "REASON", "REDRIVEN", "KEY", ">BYTES", "DETAIL"};
	struct list list = {.array = json_array(), .limit = limit};
	struct ledger_meta meta = {0};
	struct error err;
	struct db *db;
	int rc = command_dead_letters_open(config, &db, &meta, &err);

	table_init(&list.table, titles, 8);
	if (rc == 0)
		rc = db_code(dead_letters_each(db, filter, limit + 1, list_letter, &list, &err));
	if (rc == 0)
		print_list(&list, json);
	table_finish(&list.table);
	json_decref(list.array);
	db_destroy(db);
	return rc == 0 ? EXIT_DONE : command_failed("listing the dead letters", &err);
}

static int command_list(int argc, char **argv)
{
	struct dead_letters_filter filter = DEAD_LETTERS_ALL;
	const char *reason = NULL;
	int64_t partition = -1, limit = 100;
	bool json = false;
	const struct args_option options[] = {
		{"partition", ARGS_INTEGER, "P", "of this partition", &partition, 0, INT32_MAX,
			NULL},
		{"reason", ARGS_TEXT, "R", "MALFORMED, KEY_MISMATCH, WRONG_PARTITION, ID_CONFLICT",
			&reason, 0, 0, NULL},
		{"from-offset", ARGS_INTEGER, "N", "at this offset and after it",
			&filter.from_offset, 0, INT64_MAX, NULL},
		{"pending", ARGS_FLAG, NULL, "only those that were not published again",
			&filter.pending, 0, 0, NULL},
		{"limit", ARGS_INTEGER, "N", "the first N (default 100)", &limit, 1,
			DEAD_LETTERS_LIMIT_MAX, NULL},
		{"json", ARGS_FLAG, NULL, "as JSON; bytes that are no UTF-8 as base64", &json, 0, 0,
			NULL},
		{0},
	};
	static const char *const examples[] = {
		"ledgerd dead-letters list --pending",
		"ledgerd dead-letters list --reason MALFORMED --partition 3 --json",
		NULL,
	};
	const struct args_spec spec = {
		.program = "ledgerd dead-letters list",
		.usage = "[OPTION...]",
		.summary =
			"Messages that were no event, or none that could be applied, by partition and "
			"offset.",
		.options = options,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	filter.partition = (int32_t)partition;
	if (command_dead_letters_reason(reason, &filter.reason))
		status = list_letters(&config, &filter, limit, json);
	else
		status = EXIT_USAGE;
	command_end(&config);
	return status;
}

/* show ------------------------------------------------------------------------------------------
 */

struct show {
	int32_t partitions;
	bool json;
	bool raw;
	bool found;
};

static void print_bytes(const char *name, const struct dead_bytes *bytes)
{
	printf("%-13s ", name);
	if (!dead_letters_print_bytes(bytes, VALUE_CHARS, stdout))
		printf(" ... (%zu bytes in all; --raw writes the value)", bytes->length);
	putchar('\n');
}

/* What publishing it again would do. */
static void print_again(const struct dead_letter *letter, int32_t partitions)
{
	enum dead_reason again = dead_letters_again(letter, partitions);

	if (again != DEAD_NONE)
		printf("%-13s would be a dead letter again: %s\n", "redrive",
			dead_reason_text(again));
	else
		printf("%-13s would be an event of partition %d\n", "redrive",
			(int)murmur2_partition(letter->key.bytes, letter->key.length, partitions));
}

static void print_letter(const struct dead_letter *letter, int32_t partitions)
{
	struct dead_bytes detail = {letter->detail, strlen(letter->detail)};

	printf("%-13s %d\n%-13s %" PRId64 "\n", "partition", (int)letter->partition, "offset",
		letter->offset);
	printf("%-13s %s\n", "reason", letter->reason ? dead_reason_text(letter->reason) : "?");
	print_bytes("detail", &detail);
	printf("%-13s %s\n%-13s %s\n%-13s %s\n", "message_time", or_dash(letter->message_time),
		"created_at", or_dash(letter->created_at), "redriven_at",
		or_dash(letter->redriven_at));
	print_again(letter, partitions);
	print_bytes("key", &letter->key);
	print_bytes("headers", &letter->headers);
	printf("%-13s %zu\n", "value_bytes", letter->value.length);
	print_bytes("value", &letter->value);
}

static json_t *json_headers(const struct dead_letter *letter)
{
	json_t *json = NULL;

	if (letter->headers.bytes)
		json = json_loadb(
			letter->headers.bytes, letter->headers.length, JSON_ALLOW_NUL, NULL);
	return json ? json : json_null();
}

static void show_letter(void *context, const struct dead_letter *letter)
{
	struct show *show = context;
	enum dead_reason again = dead_letters_again(letter, show->partitions);
	json_t *json;

	show->found = true;
	if (show->raw) {
		if (letter->value.bytes)
			fwrite(letter->value.bytes, 1, letter->value.length, stdout);
		return;
	}
	if (!show->json) {
		print_letter(letter, show->partitions);
		return;
	}
	json = json_letter(letter);
	json_object_set_new(json, "value", json_bytes(&letter->value));
	json_object_set_new(json, "headers", json_headers(letter));
	json_object_set_new(json, "redrive_becomes",
		again == DEAD_NONE ? json_null() : json_string(dead_reason_text(again)));
	print_json(json);
}

static bool read_number(const char *text, int64_t max, int64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoll(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *ret_number >= 0 && *ret_number <= max;
}

static int show(const struct config *config, struct show *show, int64_t partition, int64_t offset)
{
	struct dead_letters_filter filter = {
		.partition = (int32_t)partition,
		.from_offset = offset,
		.to_offset = offset + 1,
		.contents = true,
	};
	struct ledger_meta meta = {0};
	struct error err;
	struct db *db;
	int rc = command_dead_letters_open(config, &db, &meta, &err);

	show->partitions = meta.partitions;
	if (rc == 0)
		rc = db_code(dead_letters_each(db, &filter, 1, show_letter, show, &err));
	if (rc == 0 && !show->found)
		rc = error_set(&err, -ENOENT,
			"partition %" PRId64 " has no dead letter at offset %" PRId64
			"; see `ledgerd dead-letters list`",
			partition, offset);
	db_destroy(db);
	return rc == 0 ? EXIT_DONE : command_failed("showing a dead letter", &err);
}

static int command_show(int argc, char **argv)
{
	struct show line = {0};
	int64_t partition, offset;
	const struct args_option options[] = {
		{"json", ARGS_FLAG, NULL, "as JSON; bytes that are no UTF-8 as base64", &line.json,
			0, 0, NULL},
		{"raw", ARGS_FLAG, NULL, "only the value, byte for byte", &line.raw, 0, 0, NULL},
		{0},
	};
	static const char *const examples[] = {
		"ledgerd dead-letters show 3 1044",
		"ledgerd dead-letters show 3 1044 --raw > value.bin",
		NULL,
	};
	const struct args_spec spec = {
		.program = "ledgerd dead-letters show",
		.usage = "[--json | --raw] PARTITION OFFSET",
		.summary = "A dead letter, with what was wrong with it.  What is not printable is "
			   "escaped (\\x1b).",
		.options = options,
		.examples = examples,
		.arguments_min = 2,
		.arguments_max = 2,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	if (read_number(args.arguments[0], INT32_MAX, &partition) &&
		read_number(args.arguments[1], INT64_MAX - 1, &offset)) {
		status = show(&config, &line, partition, offset);
	} else {
		fputs("ledgerd dead-letters show: expected a partition and an offset, two whole "
		      "numbers\n",
			stderr);
		status = EXIT_USAGE;
	}
	command_end(&config);
	return status;
}

int command_dead_letters(int argc, char **argv)
{
	static const struct command commands[] = {
		{"list", command_list, "which there are, and why"},
		{"show", command_show, "one of them, byte for byte"},
		{"redrive", command_redrive, "publish them again"},
		{0},
	};

	return command_choose("ledgerd dead-letters",
		"Messages that could not become a transaction: put aside with their bytes and the "
		"reason.",
		commands, argc, argv);
}
