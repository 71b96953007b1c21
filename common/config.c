/*
 * See config.h.
 *
 * A value comes from the default in the table, the file or the environment, in this order, each
 * over the one before, all by the same value_set.  Every field of an option is set from the first
 * moment on, so that an error may return at any point.
 */
#include "config.h"

#include "machine.h"
#include "mem.h"
#include "options.h"
#include "tree.h"
#include "value.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX       "LEDGERD_"
#define PASSWORD_MAX 4096

/* Defaults. */

static void set_default(struct config *cfg, const struct option_row *option)
{
	struct tree tree;
	const char *text = option->fallback;
	int rc = tree_parse(&tree, option->name, true, text, strlen(text), NULL);

	if (rc == 0)
		rc = value_set(cfg, option, &tree, tree.root, NULL);
	assert(rc == 0); /* or the table has a default that is not allowed */
	tree_finish(&tree);
}

static void set_defaults(struct config *cfg)
{
	*cfg = (struct config){0};
	for (size_t i = 0; i < option_row_count; i++)
		set_default(cfg, &option_rows[i]);
	cfg->kafka.password = xstrdup("");
	cfg->mysql.password = xstrdup("");
	cfg->redis.password = xstrdup("");
}

/* The file. */

/* "one, two, three": the names of a section's options, or of the sections if it is NULL. */
static void list_names(const char *section, char *text, size_t bytes)
{
	size_t length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < (section ? option_row_count : option_section_count); i++) {
		const char *name = section ? option_rows[i].name : option_sections[i].name;

		if (section && strcmp(option_rows[i].section, section) != 0)
			continue;
		length += (size_t)snprintf(
			text + length, bytes - length, "%s%s", length ? ", " : "", name);
		assert(length < bytes);
	}
}

static int unknown_option(const struct option_section *section, const struct tree *tree,
	const struct tree_node *node, struct error *err)
{
	const struct option_row *nearest = options_nearest(section->name, node->key);
	char names[300];

	if (section->has_password && strcmp(node->key, "password") == 0) {
		options_variable(section->name, "password", names);
		return tree_key_error(tree, node, err,
			"%s.password has no place in a file that others may "
			"read; expected the password in the environment variable %s, or in the "
			"first line "
			"of the file that %s.password_file names",
			section->name, names, section->name);
	}
	if (nearest)
		return tree_key_error(tree, node, err,
			"unknown option \"%s.%.64s\"; did you mean %s.%s?", section->name,
			node->key, nearest->section, nearest->name);
	list_names(section->name, names, sizeof(names));
	return tree_key_error(tree, node, err, "unknown option \"%s.%.64s\"; expected one of %s",
		section->name, node->key, names);
}

static int read_section(struct config *cfg, const struct option_section *section,
	const struct tree *tree, const struct tree_node *node, struct error *err)
{
	if (tree_is_null(node))
		return 0; /* a heading under which all is commented out */
	if (node->kind != TREE_MAP)
		return tree_error(tree, node, err,
			"%s is a %s; expected a mapping of options, such as "
			"%s: {...}",
			section->name, node->kind == TREE_LIST ? "list" : "single value",
			section->name);
	for (const struct tree_node *item = node->first; item; item = item->next) {
		const struct option_row *option = options_find(section->name, item->key);
		int rc;

		if (!option)
			return unknown_option(section, tree, item, err);
		rc = value_set(cfg, option, tree, item, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int unknown_section(const struct tree *tree, const struct tree_node *node, struct error *err)
{
	const struct option_section *section = options_nearest_section(node->key);
	const char *dot = strchr(node->key, '.');
	const struct option_row *option = options_nearest(NULL, dot ? dot + 1 : node->key);
	char names[200];

	if (section && !dot)
		return tree_key_error(tree, node, err,
			"unknown section \"%.64s\"; did you mean %s?", node->key, section->name);
	if (option)
		return tree_key_error(tree, node, err,
			"unknown section \"%.64s\"; an option stands in its "
			"section, expected %s: {%s: ...}",
			node->key, option->section, option->name);
	list_names(NULL, names, sizeof(names));
	return tree_key_error(
		tree, node, err, "unknown section \"%.64s\"; expected one of %s", node->key, names);
}

static int read_root(struct config *cfg, const struct tree *tree, struct error *err)
{
	const struct tree_node *root = tree->root;

	if (!root || tree_is_null(root))
		return 0;
	if (root->kind != TREE_MAP)
		return tree_error(tree, root, err,
			"a %s; expected a mapping of sections, such as "
			"kafka: {topic: balance-events}",
			root->kind == TREE_LIST ? "list" : "single value");
	for (const struct tree_node *item = root->first; item; item = item->next) {
		const struct option_section *section = options_find_section(item->key);
		int rc;

		if (!section)
			return unknown_section(tree, item, err);
		rc = read_section(cfg, section, tree, item, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_text(
	struct config *cfg, const char *source, const char *text, size_t length, struct error *err)
{
	struct tree tree;
	int rc = tree_parse(&tree, source, false, text, length, err);

	if (rc == 0)
		rc = read_root(cfg, &tree, err);
	tree_finish(&tree);
	return rc;
}

/* At most `max` bytes of a file into text; how many, or a negative errno. */
static ssize_t read_bytes(const char *path, char *text, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got = fd < 0 ? -errno : 1;

	while (fd >= 0 && got > 0 && length < max) {
		got = read(fd, text + length, max - length);
		if (got > 0)
			length += (size_t)got;
		else if (got < 0)
			got = errno == EINTR ? 1 : -errno;
	}
	if (fd >= 0)
		close(fd);
	return got < 0 ? got : (ssize_t)length;
}

static int read_file(struct config *cfg, const char *path, struct error *err)
{
	const char *name = path ? path : CONFIG_DEFAULT_PATH;
	size_t max = TREE_BYTES_MAX + 1; /* one more shows that it is too long */
	char *text = xmalloc(max);
	ssize_t length = read_bytes(name, text, max);
	int rc = 0;

	if (length >= 0)
		rc = read_text(cfg, name, text, (size_t)length, err);
	else if (path || length != -ENOENT)
		rc = error_set(err, -EINVAL, "%s: %s; expected a configuration file%s", name,
			strerror((int)-length), path ? "" : " or none");
	free(text);
	return rc;
}

/* The environment. */

/* The value of NAME in "NAME=value", or NULL if the entry is another's. */
static const char *value_of(const char *entry, const char *variable)
{
	size_t length = strlen(variable);

	return strncmp(entry, variable, length) == 0 && entry[length] == '=' ? entry + length + 1
									     : NULL;
}

static const struct option_row *find_variable(const char *entry, const char **ret_value)
{
	char variable[OPTIONS_NAME_MAX];

	for (size_t i = 0; i < option_row_count; i++) {
		options_variable(option_rows[i].section, option_rows[i].name, variable);
		*ret_value = value_of(entry, variable);
		if (*ret_value)
			return &option_rows[i];
	}
	return NULL;
}

static bool is_password(const char *entry)
{
	char variable[OPTIONS_NAME_MAX];

	for (size_t i = 0; i < option_section_count; i++) {
		options_variable(option_sections[i].name, "password", variable);
		if (option_sections[i].has_password && value_of(entry, variable))
			return true;
	}
	return false;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text);

	return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

/* Kubernetes gives every pod the addresses of a service named "ledgerd" or "ledgerd-..." in
 * variables of these forms; nobody has chosen them, so they are no mistake. */
static bool is_service_link(const char *name, const char *value)
{
	const char *port = strstr(name, "_PORT_");

	return ends_with(name, "_SERVICE_HOST") || ends_with(name, "_SERVICE_PORT") ||
	       strstr(name, "_SERVICE_PORT_") || (port && port[6] >= '0' && port[6] <= '9') ||
	       (ends_with(name, "_PORT") && strstr(value, "://"));
}

static int unknown_variable(const char *entry, struct error *err)
{
	const char *equals = strchr(entry, '=');
	int length = (int)(equals ? (size_t)(equals - entry) : strlen(entry));
	char name[128], nearest[OPTIONS_NAME_MAX];

	snprintf(name, sizeof(name), "%.*s", length, entry);
	for (char *c = name; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?'; /* as tree.c does: a message is one line */
	if (is_service_link(name, equals ? equals + 1 : ""))
		return 0;
	if (options_nearest_variable(name, nearest))
		return error_set(err, -EINVAL, "unknown environment variable %s; did you mean %s?",
			name, nearest);
	return error_set(err, -EINVAL,
		"unknown environment variable %s; expected " PREFIX
		"<SECTION>_<OPTION>, see ledgerd --help-config",
		name);
}

static int read_variable(
	struct config *cfg, const struct option_row *option, const char *value, struct error *err)
{
	char empty[] = "";
	const struct tree_node nothing = {.kind = TREE_SCALAR, .text = empty};
	char variable[OPTIONS_NAME_MAX];
	struct error inner;
	struct tree tree;
	int rc;

	options_variable(option->section, option->name, variable);
	rc = tree_parse(&tree, variable, true, value, strlen(value), &inner);
	if (rc < 0)
		error_set(err, rc, "%s; the value is read as YAML, so that text may need quotes",
			inner.text);
	if (rc == 0)
		rc = value_set(cfg, option, &tree, tree.root ? tree.root : &nothing, err);
	tree_finish(&tree);
	return rc;
}

static int read_environment(struct config *cfg, char **environment, struct error *err)
{
	for (char **entry = environment; entry && *entry; entry++) {
		const struct option_row *option;
		const char *value;
		int rc;

		if (strncmp(*entry, PREFIX, strlen(PREFIX)) != 0 || is_password(*entry))
			continue;
		option = find_variable(*entry, &value);
		rc = option ? read_variable(cfg, option, value, err)
			    : unknown_variable(*entry, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Passwords. */

/* The variable's password replaces *password; empty or absent: it stays. */
static void take_password(const char *section, char **environment, char **password)
{
	char variable[OPTIONS_NAME_MAX];

	options_variable(section, "password", variable);
	for (char **entry = environment; entry && *entry; entry++) {
		const char *value = value_of(*entry, variable);

		if (value && *value) {
			free(*password);
			*password = xstrdup(value);
		}
	}
}

/* The first line of the file, if there is one to read and no password yet. */
static int read_password_file(
	const char *section, const char *path, char **password, struct error *err)
{
	char text[PASSWORD_MAX + 1];
	ssize_t length;
	size_t line;

	if (**password || !*path)
		return 0;
	length = read_bytes(path, text, PASSWORD_MAX);
	if (length < 0)
		return error_set(err, -EINVAL,
			"%s.password_file: %s: %s; expected a file whose first line is "
			"the password",
			section, path, strerror((int)-length));
	text[length] = '\0';
	line = strcspn(text, "\r\n");
	if (line == 0 || line == PASSWORD_MAX || (line < (size_t)length && text[line] == '\0'))
		return error_set(err, -EINVAL,
			"%s.password_file: %s: the first line is %s; expected the "
			"password",
			section, path,
			line == 0              ? "empty"
			: line == PASSWORD_MAX ? "too long"
					       : "not text");
	text[line] = '\0';
	free(*password);
	*password = xstrdup(text);
	explicit_bzero(text, sizeof(text));
	return 0;
}

static int read_password_files(struct config *cfg, struct error *err)
{
	int rc = read_password_file("kafka", cfg->kafka.password_file, &cfg->kafka.password, err);

	if (rc == 0)
		rc = read_password_file(
			"mysql", cfg->mysql.password_file, &cfg->mysql.password, err);
	if (rc == 0)
		rc = read_password_file(
			"redis", cfg->redis.password_file, &cfg->redis.password, err);
	return rc;
}

/* Whether it holds certificates is found out by the client library. */
static int check_tls_ca(const struct config *cfg, struct error *err)
{
	const char *path = cfg->mysql.tls_ca;

	if (!*path || !cfg->mysql.tls_verify || access(path, R_OK) == 0)
		return 0;
	return error_set(err, -EINVAL,
		"mysql.tls_ca: %s: %s; expected a file of certificate authorities (PEM)", path,
		strerror(errno));
}

/* What depends on more than one option. */

/* "host-pid", in the characters and the length that consumer.id may have. */
static void name_consumer(struct config *cfg)
{
	char host[100] = "host";
	char name[128];

	gethostname(host, sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	for (char *c = host; *c; c++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-",
			    *c))
			*c = '-';
	snprintf(name, sizeof(name), "%s-%d", host, (int)getpid());
	free(cfg->consumer.id);
	cfg->consumer.id = xstrdup(name);
}

static void settle(struct config *cfg)
{
	if (cfg->consumer.dedupe_prime > cfg->consumer.dedupe_ids)
		cfg->consumer.dedupe_prime = cfg->consumer.dedupe_ids;
}

/* The public functions. */

static int finish_parsing(struct config *cfg, char **environment, struct error *err)
{
	int rc = read_environment(cfg, environment, err);

	take_password("kafka", environment, &cfg->kafka.password);
	take_password("mysql", environment, &cfg->mysql.password);
	take_password("redis", environment, &cfg->redis.password);
	settle(cfg);
	return rc;
}

int config_load(struct config *cfg, const char *path, char **environment, struct error *err)
{
	int rc;

	set_defaults(cfg);
	rc = read_file(cfg, path, err);
	if (rc == 0)
		rc = finish_parsing(cfg, environment, err);
	if (rc == 0)
		rc = read_password_files(cfg, err);
	if (rc == 0)
		rc = check_tls_ca(cfg, err);
	if (rc == 0 && !*cfg->consumer.id)
		name_consumer(cfg);
	return rc;
}

int config_parse_buffer(struct config *cfg, const char *source, const char *text, size_t length,
	char **environment, struct error *err)
{
	int rc;

	set_defaults(cfg);
	rc = read_text(cfg, source, text, length, err);
	return rc < 0 ? rc : finish_parsing(cfg, environment, err);
}

static void free_password(char *password)
{
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
}

void config_finish(struct config *cfg)
{
	for (size_t i = 0; i < option_row_count; i++)
		value_clear(cfg, &option_rows[i]);
	free_password(cfg->kafka.password);
	free_password(cfg->mysql.password);
	free_password(cfg->redis.password);
	*cfg = (struct config){0};
}

void config_print(const struct config *cfg, FILE *file)
{
	const char *section = "";

	for (size_t i = 0; i < option_row_count; i++) {
		const struct option_row *option = &option_rows[i];

		if (strcmp(option->section, section) != 0)
			fprintf(file, "%s:\n", option->section);
		section = option->section;
		fprintf(file, "  %s: ", option->name);
		value_print(cfg, option, file);
		fputs("\n", file);
	}
}

int64_t config_memory_bytes(const struct config *cfg)
{
	int64_t quarter;

	if (cfg->consumer.memory_max > 0)
		return cfg->consumer.memory_max;
	quarter = machine_memory_bytes() / 4;
	return quarter > CONFIG_MEMORY_MIN_BYTES ? quarter : CONFIG_MEMORY_MIN_BYTES;
}

bool config_may_own(const struct config *cfg, int32_t partition)
{
	const struct config_partitions *p = &cfg->consumer.partitions;

	for (size_t i = 0; i < p->count; i++)
		if (p->list[i] == partition)
			return true;
	return p->all;
}
