/*
 * See value.h.
 *
 * Reading is strict where a slip would be costly: a number is written without quotes, sizes have
 * one of three suffixes, booleans are true and false.  A text may be any scalar, so that `user:
 * 1001` is what it looks like.
 */
#include "value.h"

#include "mem.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PARTITION_MAX 100000

static void *field_of(const struct config *cfg, const struct option_row *option)
{
	return (char *)cfg + option->offset;
}

/* "<option> is <what is there>; expected <what may be>" */
static int refuse(const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, struct error *err)
{
	char is[80] = "has no value";
	char expected[160];

	options_expected(option, expected, sizeof(expected));
	if (node->kind == TREE_LIST)
		snprintf(is, sizeof(is), "is a list");
	else if (node->kind == TREE_MAP)
		snprintf(is, sizeof(is), "is a mapping");
	else if (option->type == OPTION_PROPERTIES && options_is_secret(node->text))
		snprintf(is, sizeof(is), "is text");
	else if (!tree_is_null(node))
		snprintf(is, sizeof(is), "is %s%.48s%s%s", node->plain ? "" : "\"", node->text,
			strlen(node->text) > 48 ? "..." : "", node->plain ? "" : "\"");
	return tree_error(tree, node, err, "%s.%s %s; expected %s", option->section, option->name,
		is, expected);
}

/* Decimal digits, without a sign other than '-' or leading zeros.  Ends at the first other one. */
static bool parse_number(const char *text, int64_t *ret_number, const char **ret_end)
{
	const char *digits = text + (*text == '-');
	char *end;

	if (!isdigit((unsigned char)*digits) ||
		(*digits == '0' && isdigit((unsigned char)digits[1])))
		return false;
	errno = 0;
	*ret_number = strtoll(text, &end, 10);
	*ret_end = end;
	return errno == 0;
}

static bool parse_int(
	const struct option_row *option, const struct tree_node *node, int64_t *ret_number)
{
	const char *end;

	return node->plain && parse_number(node->text, ret_number, &end) && *end == '\0' &&
	       *ret_number >= option->min && *ret_number <= option->max;
}

static bool parse_bytes(
	const struct option_row *option, const struct tree_node *node, int64_t *ret_bytes)
{
	static const char suffixes[] = "KMG";
	const char *end, *suffix;
	int64_t number;

	if (option->words && strcmp(node->text, option->words) == 0) {
		*ret_bytes = 0; /* auto */
		return true;
	}
	if (!parse_number(node->text, &number, &end))
		return false;
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (*end && (!suffix || end[1]))
		return false;
	if (suffix &&
		__builtin_mul_overflow(number, INT64_C(1024) << 10 * (suffix - suffixes), &number))
		return false;
	*ret_bytes = number;
	return number >= option->min && number <= option->max;
}

static bool parse_bool(const struct tree_node *node, bool *ret_truth)
{
	*ret_truth = strcmp(node->text, "true") == 0;
	return node->plain && (*ret_truth || strcmp(node->text, "false") == 0);
}

static bool parse_choice(
	const struct option_row *option, const struct tree_node *node, int *ret_index)
{
	size_t length = strlen(node->text);
	int index = 0;

	for (const char *word = option->words; *word; index++) {
		size_t word_length = strcspn(word, "|");

		if (word_length == length && memcmp(word, node->text, length) == 0) {
			*ret_index = index;
			return true;
		}
		word += word_length + (word[word_length] == '|');
	}
	return false;
}

static bool is_name_character(char c)
{
	return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

static bool parse_text(
	const struct option_row *option, const struct tree_node *node, char **ret_text)
{
	int64_t length = (int64_t)strlen(node->text);

	if (length < option->min || length > option->max)
		return false;
	for (const char *c = node->text; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
		if (option->type == OPTION_NAME && !is_name_character(*c))
			return false;
	}
	*ret_text = xstrdup(node->text);
	return true;
}

/* host:port, [v6]:port, or nothing. */
static bool parse_listen(const struct tree_node *node, struct config_listen *ret_listen)
{
	const char *text = node->text;
	const char *colon = strrchr(text, ':');
	const char *end;
	size_t length;
	int64_t port;

	*ret_listen = (struct config_listen){0};
	if (*text == '\0')
		return true;
	if (!colon || colon == text || strlen(text) > 255)
		return false;
	if (!parse_number(colon + 1, &port, &end) || *end || port < 1 || port > 65535)
		return false;
	length = (size_t)(colon - text);
	if (text[0] == '[' && text[length - 1] == ']' && length > 2) {
		text++;
		length -= 2;
	} else if (memchr(text, ':', length)) {
		return false; /* IPv6 without brackets */
	}
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f || text[i] == '[' ||
			text[i] == ']')
			return false;
	ret_listen->host = xmalloc(length + 1);
	memcpy(ret_listen->host, text, length);
	ret_listen->host[length] = '\0';
	ret_listen->port = port;
	return true;
}

static int set_scalar(struct config *cfg, const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, struct error *err)
{
	void *field = field_of(cfg, option);
	union {
		int64_t number;
		bool truth;
		int choice;
		char *text;
		struct config_listen listen;
	} value;
	size_t bytes = 0;

	if (node->kind != TREE_SCALAR || tree_is_null(node))
		return refuse(option, tree, node, err);
	if (option->type == OPTION_INT && parse_int(option, node, &value.number))
		bytes = sizeof(value.number);
	else if (option->type == OPTION_BYTES && parse_bytes(option, node, &value.number))
		bytes = sizeof(value.number);
	else if (option->type == OPTION_BOOL && parse_bool(node, &value.truth))
		bytes = sizeof(value.truth);
	else if (option->type == OPTION_CHOICE && parse_choice(option, node, &value.choice))
		bytes = sizeof(value.choice);
	else if (option->type == OPTION_LISTEN && parse_listen(node, &value.listen))
		bytes = sizeof(value.listen);
	else if ((option->type == OPTION_TEXT || option->type == OPTION_NAME) &&
		 parse_text(option, node, &value.text))
		bytes = sizeof(value.text);
	if (bytes == 0)
		return refuse(option, tree, node, err);
	value_clear(cfg, option);
	memcpy(field, &value, bytes);
	return 0;
}

/* Lists of partitions. */

static int compare_partitions(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

static int parse_partition(const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, int32_t *ret_partition, struct error *err)
{
	const char *end;
	int64_t number;

	if (node->kind != TREE_SCALAR)
		return refuse(option, tree, node, err);
	if (!node->plain || !parse_number(node->text, &number, &end) || *end || number < 0 ||
		number > PARTITION_MAX)
		return tree_error(tree, node, err,
			"%s.%s: %.48s is no partition; expected a whole number from 0 to %d",
			option->section, option->name, node->text, PARTITION_MAX);
	*ret_partition = (int32_t)number;
	return 0;
}

/* No one twice.  The list is sorted. */
static int check_distinct(const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, const int32_t *list, size_t count, struct error *err)
{
	for (size_t i = 1; i < count; i++)
		if (list[i] == list[i - 1])
			return tree_error(tree, node, err,
				"%s.%s: %d is listed twice; expected each partition once",
				option->section, option->name, list[i]);
	return 0;
}

static int set_partition_list(struct config_partitions *field, const struct option_row *option,
	const struct tree *tree, const struct tree_node *node, struct error *err)
{
	struct config_partitions value = {0};
	size_t count = 0;
	int rc = 0;

	for (const struct tree_node *item = node->first; item; item = item->next)
		count++;
	if (count == 0)
		return tree_error(tree, node, err,
			"%s.%s is an empty list; expected all, or at least one partition",
			option->section, option->name);
	value.list = xcalloc(count, sizeof(*value.list));
	for (const struct tree_node *item = node->first; item && rc == 0; item = item->next)
		rc = parse_partition(option, tree, item, &value.list[value.count++], err);
	if (rc == 0) {
		qsort(value.list, count, sizeof(*value.list), compare_partitions);
		rc = check_distinct(option, tree, node, value.list, count, err);
	}
	if (rc < 0) {
		free(value.list);
		return rc;
	}
	free(field->list);
	*field = value;
	return 0;
}

static int set_partitions(struct config *cfg, const struct option_row *option,
	const struct tree *tree, const struct tree_node *node, struct error *err)
{
	struct config_partitions *field = field_of(cfg, option);

	if (node->kind == TREE_LIST)
		return set_partition_list(field, option, tree, node, err);
	if (node->kind == TREE_MAP || strcmp(node->text, "all") != 0)
		return refuse(option, tree, node, err);
	value_clear(cfg, option);
	field->all = true;
	return 0;
}

/* Properties for librdkafka. */

static void free_properties(struct config_properties *properties)
{
	for (size_t i = 0; i < properties->count; i++) {
		free(properties->items[i].name);
		free(properties->items[i].value);
	}
	free(properties->items);
}

/* What stands where a name should: a password that was written beside its name is left out. */
static int refuse_name(const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, struct error *err)
{
	bool secret = options_is_secret(node->key);
	int length = 0;

	while (length < 64 && node->key[length] &&
		(!secret || is_name_character(node->key[length])))
		length++;
	return tree_key_error(tree, node, err,
		"%s.%s: \"%.*s%s\" is no property of librdkafka; expected a name such as "
		"security.protocol",
		option->section, option->name, length, node->key, secret ? "..." : "");
}

static int check_property(const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, struct error *err)
{
	const struct option_refusal *refusal = options_find_refusal(node->key);

	if (refusal)
		return tree_key_error(tree, node, err, "%s.%s: %.64s is refused: %s",
			option->section, option->name, node->key, refusal->reason);
	if (node->key[0] == '\0')
		return tree_key_error(tree, node, err,
			"%s.%s: a property without a name; expected "
			"NAME: VALUE",
			option->section, option->name);
	for (const char *c = node->key; *c; c++)
		if (!is_name_character(*c))
			return refuse_name(option, tree, node, err);
	if (node->kind != TREE_SCALAR || tree_is_null(node))
		return tree_error(tree, node, err,
			"%s.%s: %.64s has no value; expected text, a number "
			"or a boolean",
			option->section, option->name, node->key);
	return 0;
}

static int set_properties(struct config *cfg, const struct option_row *option,
	const struct tree *tree, const struct tree_node *node, struct error *err)
{
	struct config_properties *field = field_of(cfg, option);
	struct config_properties value = {0};
	size_t count = 0;

	if (node->kind != TREE_MAP)
		return refuse(option, tree, node, err);
	for (const struct tree_node *item = node->first; item; item = item->next) {
		int rc = check_property(option, tree, item, err);

		if (rc < 0)
			return rc;
		count++;
	}
	value.items = xcalloc(count, sizeof(*value.items));
	for (const struct tree_node *item = node->first; item; item = item->next)
		value.items[value.count++] = (struct config_property){
			.name = xstrdup(item->key),
			.value = xstrdup(item->text),
		};
	free_properties(field);
	*field = value;
	return 0;
}

int value_set(struct config *cfg, const struct option_row *option, const struct tree *tree,
	const struct tree_node *node, struct error *err)
{
	if (option->type == OPTION_PARTITIONS)
		return set_partitions(cfg, option, tree, node, err);
	if (option->type == OPTION_PROPERTIES)
		return set_properties(cfg, option, tree, node, err);
	return set_scalar(cfg, option, tree, node, err);
}

void value_clear(struct config *cfg, const struct option_row *option)
{
	void *field = field_of(cfg, option);

	switch (option->type) {
	case OPTION_TEXT:
	case OPTION_NAME:
		free(*(char **)field);
		*(char **)field = NULL;
		break;
	case OPTION_LISTEN:
		free(((struct config_listen *)field)->host);
		*(struct config_listen *)field = (struct config_listen){0};
		break;
	case OPTION_PARTITIONS:
		free(((struct config_partitions *)field)->list);
		*(struct config_partitions *)field = (struct config_partitions){0};
		break;
	case OPTION_PROPERTIES:
		free_properties(field);
		*(struct config_properties *)field = (struct config_properties){0};
		break;
	case OPTION_INT:
	case OPTION_BYTES:
	case OPTION_BOOL:
	case OPTION_CHOICE:
		break;
	}
}

/* Printing. */

/* The code of a character beyond ASCII that YAML does not read as it is: a control character, a
 * line break, a byte order mark, none at all.  0: it does.  The text is UTF-8. */
static unsigned hard_code(const unsigned char *c)
{
	unsigned code = 0;

	if (*c == 0xc2)
		code = c[1];
	else if ((*c & 0xf0) == 0xe0)
		code = (*c & 0x0fu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu);
	return (code >= 0x80 && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
			       code == 0xfeff || code == 0xfffe || code == 0xffff
		       ? code
		       : 0;
}

static void print_quoted(const char *text, FILE *file)
{
	putc('"', file);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		unsigned hard = hard_code(c);

		if (*c == '"' || *c == '\\') {
			fprintf(file, "\\%c", *c);
		} else if (*c < 0x20 || *c == 0x7f) {
			fprintf(file, "\\x%02x", *c);
		} else if (hard) {
			fprintf(file, "\\u%04x", hard);
			c += hard < 0x800 ? 1 : 2;
		} else {
			putc(*c, file);
		}
	}
	putc('"', file);
}

static void print_partitions(const struct config_partitions *partitions, FILE *file)
{
	if (partitions->all) {
		fputs("all", file);
		return;
	}
	for (size_t i = 0; i < partitions->count; i++)
		fprintf(file, "%s%d", i ? ", " : "[", partitions->list[i]);
	fputs("]", file);
}

static void print_properties(const struct config_properties *properties, FILE *file)
{
	fputs("{", file);
	for (size_t i = 0; i < properties->count; i++) {
		const struct config_property *item = &properties->items[i];

		fprintf(file, "%s%s: ", i ? ", " : "", item->name);
		print_quoted(options_is_secret(item->name) ? "<redacted>" : item->value, file);
	}
	fputs("}", file);
}

static void print_listen(const struct config_listen *listen, FILE *file)
{
	const char *bracket = listen->host && strchr(listen->host, ':') ? "[]" : "";
	char text[280] = ""; /* a host has at most 255 bytes */

	if (listen->host)
		snprintf(text, sizeof(text), "%.1s%s%s:%" PRId64, bracket, listen->host,
			*bracket ? bracket + 1 : "", listen->port);
	print_quoted(text, file);
}

static void print_bytes(const struct option_row *option, int64_t bytes, FILE *file)
{
	char text[24];

	options_format_bytes(bytes, text);
	fputs(bytes == 0 && option->words ? option->words : text, file);
}

static void print_choice(const struct option_row *option, int index, FILE *file)
{
	const char *word = option->words;

	while (index-- > 0)
		word = strchr(word, '|') + 1;
	fprintf(file, "%.*s", (int)strcspn(word, "|"), word);
}

void value_print(const struct config *cfg, const struct option_row *option, FILE *file)
{
	const void *field = field_of(cfg, option);

	switch (option->type) {
	case OPTION_TEXT:
	case OPTION_NAME:
		print_quoted(*(char *const *)field, file);
		break;
	case OPTION_INT:
		fprintf(file, "%" PRId64, *(const int64_t *)field);
		break;
	case OPTION_BYTES:
		print_bytes(option, *(const int64_t *)field, file);
		break;
	case OPTION_BOOL:
		fputs(*(const bool *)field ? "true" : "false", file);
		break;
	case OPTION_CHOICE:
		print_choice(option, *(const int *)field, file);
		break;
	case OPTION_PARTITIONS:
		print_partitions(field, file);
		break;
	case OPTION_PROPERTIES:
		print_properties(field, file);
		break;
	case OPTION_LISTEN:
		print_listen(field, file);
		break;
	}
}
