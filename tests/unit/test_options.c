/*
 * The table of options: that it has what is promised to users, that what is printed from it is what
 * stands in the tree, and that slips get a useful suggestion.
 */
#include "config.h"
#include "manual.h"
#include "options.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Names and defaults that users rely on.  A change here is a breaking change. */
static const struct {
	const char *section, *name, *fallback;
} promised[] = {
	{"ledger", "name", "default"},
	{"kafka", "bootstrap_servers", "\"127.0.0.1:9092\""},
	{"kafka", "topic", "balance-events"},
	{"kafka", "properties", "{}"},
	{"mysql", "host", "127.0.0.1"},
	{"mysql", "port", "3306"},
	{"mysql", "socket", "\"\""},
	{"mysql", "user", "ledger"},
	{"mysql", "password_file", "\"\""},
	{"mysql", "database", "ledger"},
	{"mysql", "tls_ca", "\"\""},
	{"redis", "enabled", "true"},
	{"redis", "host", "127.0.0.1"},
	{"redis", "port", "6379"},
	{"redis", "password_file", "\"\""},
	{"http", "listen", "\"127.0.0.1:9105\""},
	{"consumer", "id", "\"\""},
	{"consumer", "partitions", "all"},
	{"consumer", "poll_idle_ms", "1000"},
	{"consumer", "flush_interval_min_ms", "0"},
	{"consumer", "batch_max_events", "20000"},
	{"consumer", "batch_max_bytes", "16M"},
	{"consumer", "memory_max", "auto"},
	{"lease", "ttl_ms", "10000"},
	{"log", "level", "info"},
	{"log", "format", "logfmt"},
};

static void test_has_what_is_promised(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(promised) / sizeof(promised[0]); i++) {
		const struct option_row *row = options_find(promised[i].section, promised[i].name);

		if (!row)
			fail_msg("%s.%s is missing", promised[i].section, promised[i].name);
		assert_string_equal(row->fallback, promised[i].fallback);
	}
	assert_null(options_find("kafka", "password"));
	assert_null(options_find("mysql", "password"));
	assert_null(options_find("redis", "password"));
}

static void test_rows_are_well_formed(void **state)
{
	size_t section = 0;

	(void)state;
	for (size_t i = 0; i < option_row_count; i++) {
		const struct option_row *row = &option_rows[i];

		/* Grouped by section, in the order of the sections. */
		while (strcmp(option_sections[section].name, row->section) != 0)
			assert_true(++section < option_section_count);
		assert_ptr_equal(options_find(row->section, row->name), row);
		for (const char *c = row->name; *c; c++)
			assert_true(islower((unsigned char)*c) || *c == '_');
		assert_true(row->min <= row->max);
		assert_int_equal(row->help[strlen(row->help) - 1], '.');
		if (row->type == OPTION_INT && row->words && !strcmp(row->words, "ms"))
			assert_string_equal(row->name + strlen(row->name) - 3, "_ms");
	}
	assert_int_equal(section, option_section_count - 1);
}

/* value.c stores a choice as an int. */
static void test_choices_are_ints(void **state)
{
	(void)state;
	assert_int_equal(sizeof(enum log_level), sizeof(int));
	assert_int_equal(sizeof(enum log_format), sizeof(int));
	assert_string_equal(options_find("log", "level")->words, "debug|info|warn|error");
	assert_int_equal(LOG_LEVEL_DEBUG, 0);
	assert_int_equal(LOG_LEVEL_ERROR, 3);
	assert_string_equal(options_find("log", "format")->words, "logfmt|json");
	assert_int_equal(LOG_FORMAT_LOGFMT, 0);
}

static void test_variables_are_distinct(void **state)
{
	char a[OPTIONS_NAME_MAX], b[OPTIONS_NAME_MAX];

	(void)state;
	options_variable("consumer", "flush_interval_min_ms", a);
	assert_string_equal(a, "LEDGERD_CONSUMER_FLUSH_INTERVAL_MIN_MS");
	for (size_t i = 0; i < option_row_count; i++) {
		options_variable(option_rows[i].section, option_rows[i].name, a);
		for (size_t j = 0; j < i; j++) {
			options_variable(option_rows[j].section, option_rows[j].name, b);
			assert_string_not_equal(a, b);
		}
	}
}

static void test_says_what_is_expected(void **state)
{
	static const struct {
		const char *section, *name, *expected;
	} cases[] = {
		{"mysql", "port", "a whole number from 1 to 65535"},
		{"lease", "ttl_ms", "a whole number from 3000 to 600000 ms"},
		{"consumer", "memory_max", "bytes from 64M to 1024G, or auto"},
		{"consumer", "batch_max_bytes", "bytes from 1M to 1G"},
		{"redis", "enabled", "true or false"},
		{"log", "level", "debug, info, warn or error"},
		{"log", "format", "logfmt or json"},
		{"kafka", "topic", "a name of A-Z a-z 0-9 . _ -, 1 to 249 characters"},
		{"mysql", "socket", "text, at most 107 characters"},
		{"http", "listen", "host:port, or \"\" for none"},
		{"consumer", "partitions", "all, or a list such as [0, 3]"},
	};
	char text[160];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		options_expected(options_find(cases[i].section, cases[i].name), text, sizeof(text));
		assert_string_equal(text, cases[i].expected);
	}
}

static void test_formats_bytes(void **state)
{
	static const struct {
		int64_t number;
		const char *text;
	} cases[] = {{0, "0"}, {1, "1"}, {1023, "1023"}, {1024, "1K"}, {1536, "1536"},
		{16 << 20, "16M"}, {INT64_C(3) << 30, "3G"}, {(1 << 30) + 1024, "1048577K"}};
	char text[24];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		options_format_bytes(cases[i].number, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void assert_nearest(const char *section, const char *name, const char *expected)
{
	const struct option_row *row = options_nearest(section, name);
	char found[OPTIONS_NAME_MAX] = "nothing";

	if (row)
		snprintf(found, sizeof(found), "%s.%s", row->section, row->name);
	assert_string_equal(found, expected);
}

static void test_suggests_the_nearest(void **state)
{
	char variable[OPTIONS_NAME_MAX];

	(void)state;
	assert_nearest("mysql", "hots", "mysql.host");
	assert_nearest("redis", "hots", "redis.host");
	assert_nearest("redis", "prot", "redis.port");
	assert_nearest("kafka", "topics", "kafka.topic");
	assert_nearest("kafka", "ttl_ms", "lease.ttl_ms");
	assert_nearest("kafka", "port", "mysql.port");
	assert_nearest("consumer", "batch_max_event", "consumer.batch_max_events");
	assert_nearest(NULL, "listen", "http.listen");
	assert_nearest("consumer", "threads", "nothing");
	assert_nearest("consumer", "", "nothing");
	assert_nearest("log",
		"a_name_that_is_longer_than_any_that_was_ever_given_to_an_option_here", "nothing");

	assert_string_equal(options_nearest_section("kakfa")->name, "kafka");
	assert_string_equal(options_nearest_section("leases")->name, "lease");
	assert_null(options_nearest_section("postgres"));

	assert_true(options_nearest_variable("LEDGERD_MYSQL_HOTS", variable));
	assert_string_equal(variable, "LEDGERD_MYSQL_HOST");
	assert_true(options_nearest_variable("LEDGERD_REDIS_PASWORD", variable));
	assert_string_equal(variable, "LEDGERD_REDIS_PASSWORD");
	assert_false(options_nearest_variable("LEDGERD_SOMETHING_ELSE", variable));
}

/* A setting of librdkafka that loses, repeats or reorders events must not get through. */
static void test_refuses_what_correctness_rests_on(void **state)
{
	static const char *const refused[] = {"isolation.level", "enable.auto.commit",
		"auto.commit.enable", "auto.commit.interval.ms", "enable.auto.offset.store",
		"offset.store.method", "auto.offset.reset", "enable.partition.eof", "check.crcs",
		"group.id", "group.instance.id", "bootstrap.servers", "metadata.broker.list",
		"partitioner", "enable.idempotence", "acks", "request.required.acks",
		"transactional.id", "queued.max.messages.kbytes", "delivery.report.only.error",
		"queuing.strategy", "api.version.request", "broker.version.fallback"};
	static const char *const allowed[] = {"client.id", "linger.ms", "security.protocol",
		"sasl.password", "ssl.ca.location", "fetch.wait.max.ms", "fetch.message.max.bytes",
		"message.timeout.ms", "debug", "compression.codec", "groupid",
		"partition.assignment.strategy"};

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (!options_find_refusal(refused[i]))
			fail_msg("%s is not refused", refused[i]);
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (options_find_refusal(allowed[i]))
			fail_msg("%s is refused", allowed[i]);
}

static void test_knows_secrets(void **state)
{
	(void)state;
	assert_true(options_is_secret("sasl.password"));
	assert_true(options_is_secret("ssl.key.pem"));
	assert_true(options_is_secret("ssl_key"));
	assert_true(options_is_secret("sasl.oauthbearer.client.secret"));
	assert_true(options_is_secret("SASL.PASSWORD"));
	assert_false(options_is_secret("sasl.username"));
	assert_false(options_is_secret("client.id"));
}

/* What a printing function prints; freed by the caller. */
static char *printed(void (*print)(FILE *file))
{
	char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);

	print(file);
	fclose(file);
	return text;
}

/* A file of the source tree. */
static char *stored(const char *name)
{
	char path[4096];
	char *text = calloc(1, 256 * 1024);
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", getenv("TREE") ? getenv("TREE") : ".", name);
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s cannot be read (TREE names the source tree)", path);
	fread(text, 1, 256 * 1024 - 1, file);
	fclose(file);
	return text;
}

static void assert_stored(const char *name, void (*print)(FILE *file))
{
	char *expected = printed(print);
	char *text = stored(name);

	if (strcmp(expected, text) != 0)
		fail_msg("%s is not what the table gives; run: ninja manual", name);
	free(expected);
	free(text);
}

static void test_documents_are_those_of_the_table(void **state)
{
	(void)state;
	assert_stored("docs/CONFIG.md", manual_print_markdown);
	assert_stored("deploy/ledgerd.sample.yaml", manual_print_sample);
}

static void test_documents_have_every_option(void **state)
{
	char *help = printed(manual_print_help);
	char *markdown = printed(manual_print_markdown);

	(void)state;
	for (size_t i = 0; i < option_row_count; i++) {
		char name[OPTIONS_NAME_MAX], variable[OPTIONS_NAME_MAX];

		snprintf(name, sizeof(name), "%s.%s", option_rows[i].section, option_rows[i].name);
		options_variable(option_rows[i].section, option_rows[i].name, variable);
		assert_non_null(strstr(help, name));
		assert_non_null(strstr(help, variable));
		assert_non_null(strstr(markdown, name));
		assert_non_null(strstr(markdown, variable));
	}
	assert_non_null(strstr(help, "LEDGERD_MYSQL_PASSWORD\n"));
	for (const char *line = help; *line;) {
		size_t length = strcspn(line, "\n");

		assert_in_range(length, 0, 80);
		line += length + 1;
	}
	free(help);
	free(markdown);
}

static void test_sample_gives_the_defaults(void **state)
{
	char *sample = printed(manual_print_sample);
	char *texts[2] = {NULL, NULL};
	size_t lengths[2];
	struct error err;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct config cfg;
		FILE *file = open_memstream(&texts[i], &lengths[i]);
		const char *text = i == 0 ? sample : "";

		if (config_parse_buffer(&cfg, "sample", text, strlen(text), NULL, &err) < 0)
			fail_msg("%s", err.text);
		config_print(&cfg, file);
		fclose(file);
		config_finish(&cfg);
	}
	assert_string_equal(texts[0], texts[1]);
	free(texts[0]);
	free(texts[1]);
	free(sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_has_what_is_promised),
		cmocka_unit_test(test_rows_are_well_formed),
		cmocka_unit_test(test_choices_are_ints),
		cmocka_unit_test(test_variables_are_distinct),
		cmocka_unit_test(test_says_what_is_expected),
		cmocka_unit_test(test_formats_bytes),
		cmocka_unit_test(test_suggests_the_nearest),
		cmocka_unit_test(test_refuses_what_correctness_rests_on),
		cmocka_unit_test(test_knows_secrets),
		cmocka_unit_test(test_documents_are_those_of_the_table),
		cmocka_unit_test(test_documents_have_every_option),
		cmocka_unit_test(test_sample_gives_the_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
