/*
 * The configuration: what a file and an environment give, and what is said of every kind of
 * mistake. The messages are tested word for word, since they are what a user has.
 */
#include "config.h"
#include "machine.h"
#include "options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The environment is never written to; only environ itself is not const. */
static int parse(
	struct config *cfg, const char *text, const char *const *environment, struct error *err)
{
	err->text[0] = '\0';
	return config_parse_buffer(cfg, "f.yaml", text, strlen(text), (char **)environment, err);
}

static struct config parsed(const char *text, const char *const *environment)
{
	struct config cfg;
	struct error err;

	if (parse(&cfg, text, environment, &err) != 0)
		fail_msg("%s", err.text);
	return cfg;
}

static void assert_refused(const char *text, const char *const *environment, const char *message)
{
	struct config cfg;
	struct error err;

	assert_int_equal(parse(&cfg, text, environment, &err), -EINVAL);
	assert_string_equal(err.text, message);
	config_finish(&cfg);
}

static char *print(const struct config *cfg)
{
	char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);

	config_print(cfg, file);
	fclose(file);
	return text;
}

static void test_defaults(void **state)
{
	struct config cfg = parsed("", NULL);

	(void)state;
	assert_string_equal(cfg.ledger.name, "default");
	assert_string_equal(cfg.kafka.bootstrap_servers, "127.0.0.1:9092");
	assert_string_equal(cfg.kafka.topic, "balance-events");
	assert_int_equal(cfg.kafka.properties.count, 0);
	assert_int_equal(cfg.kafka.fetch_buffer, 32 << 20);
	assert_string_equal(cfg.mysql.host, "127.0.0.1");
	assert_int_equal(cfg.mysql.port, 3306);
	assert_string_equal(cfg.mysql.socket, "");
	assert_string_equal(cfg.mysql.user, "ledger");
	assert_string_equal(cfg.mysql.password_file, "");
	assert_string_equal(cfg.mysql.password, "");
	assert_string_equal(cfg.mysql.database, "ledger");
	assert_string_equal(cfg.mysql.tls_ca, "");
	assert_true(cfg.mysql.tls_verify);
	assert_int_equal(cfg.mysql.connect_timeout_ms, 5000);
	assert_true(cfg.redis.enabled);
	assert_string_equal(cfg.redis.host, "127.0.0.1");
	assert_int_equal(cfg.redis.port, 6379);
	assert_string_equal(cfg.redis.user, "");
	assert_string_equal(cfg.redis.password_file, "");
	assert_string_equal(cfg.redis.password, "");
	assert_int_equal(cfg.redis.keys_per_call, 250);
	assert_int_equal(cfg.redis.calls_in_flight, 8);
	assert_int_equal(cfg.redis.pending_max, 1000000);
	assert_int_equal(cfg.redis.check_interval_ms, 2000);
	assert_string_equal(cfg.http.listen.host, "127.0.0.1");
	assert_int_equal(cfg.http.listen.port, 9105);
	assert_string_equal(cfg.consumer.id, "");
	assert_true(cfg.consumer.partitions.all);
	assert_int_equal(cfg.consumer.poll_idle_ms, 1000);
	assert_int_equal(cfg.consumer.flush_interval_min_ms, 0);
	assert_int_equal(cfg.consumer.batch_max_events, 20000);
	assert_int_equal(cfg.consumer.batch_max_bytes, 16 << 20);
	assert_int_equal(cfg.consumer.memory_max, 0);
	assert_int_equal(cfg.consumer.dedupe_ids, 1000000);
	assert_int_equal(cfg.consumer.dedupe_prime, 100000);
	assert_int_equal(cfg.lease.ttl_ms, 10000);
	assert_int_equal(cfg.log.level, LOG_LEVEL_INFO);
	assert_int_equal(cfg.log.format, LOG_FORMAT_LOGFMT);
	assert_int_equal(cfg.log.repeat_ms, 10000);
	config_finish(&cfg);
}

/* Every option with another value, in several ways of writing YAML. */
static const char other_values[] =
	"%YAML 1.1\n"
	"---\n"
	"ledger: {name: eu-1.blue_green}\n"
	"kafka:\n"
	"  bootstrap_servers: 'a:9092,b:9092'\n"
	"  topic: events\n"
	"  properties:\n"
	"    client.id: ledger-1\n"
	"    fetch.wait.max.ms: 20\n"
	"    socket.keepalive.enable: true\n"
	"    ssl.ca.location: \"/a \\\"b\\\"\"\n"
	"  fetch_buffer: 1048576\n"
	"mysql: {host: db, port: 3307, socket: /run/s.sock, user: 1001, password_file: \"\",\n"
	"  database: l2, tls_ca: /ca.pem, tls_verify: false, connect_timeout_ms: 100}\n"
	"redis: {enabled: false, host: r, port: 1, user: u, keys_per_call: 1000,\n"
	"  calls_in_flight: 1, pending_max: 1000, check_interval_ms: 60000}\n"
	"http: {listen: \"[::1]:80\"}\n"
	"# a comment\n"
	"consumer:\n"
	"    id: one\n"
	"    partitions: [7, 0,\n"
	"       100000, 3]\n"
	"    poll_idle_ms: 10\n"
	"    flush_interval_min_ms: 60000\n"
	"    batch_max_events: 1\n"
	"    batch_max_bytes: 1G\n"
	"    memory_max: 65536K\n"
	"    dedupe_ids: 1000000000\n"
	"    dedupe_prime: 0\n"
	"lease: {ttl_ms: 3000}\n"
	"log: {level: error, format: json, repeat_ms: 0}\n"
	"...\n";

static void test_reads_every_option(void **state)
{
	struct config cfg = parsed(other_values, NULL);

	(void)state;
	assert_string_equal(cfg.ledger.name, "eu-1.blue_green");
	assert_string_equal(cfg.kafka.bootstrap_servers, "a:9092,b:9092");
	assert_string_equal(cfg.kafka.topic, "events");
	assert_int_equal(cfg.kafka.properties.count, 4);
	assert_string_equal(cfg.kafka.properties.items[0].name, "client.id");
	assert_string_equal(cfg.kafka.properties.items[0].value, "ledger-1");
	assert_string_equal(cfg.kafka.properties.items[1].value, "20");
	assert_string_equal(cfg.kafka.properties.items[2].value, "true");
	assert_string_equal(cfg.kafka.properties.items[3].value, "/a \"b\"");
	assert_int_equal(cfg.kafka.fetch_buffer, 1 << 20);
	assert_string_equal(cfg.mysql.host, "db");
	assert_int_equal(cfg.mysql.port, 3307);
	assert_string_equal(cfg.mysql.socket, "/run/s.sock");
	assert_string_equal(cfg.mysql.user, "1001");
	assert_string_equal(cfg.mysql.database, "l2");
	assert_string_equal(cfg.mysql.tls_ca, "/ca.pem");
	assert_false(cfg.mysql.tls_verify);
	assert_int_equal(cfg.mysql.connect_timeout_ms, 100);
	assert_false(cfg.redis.enabled);
	assert_string_equal(cfg.redis.user, "u");
	assert_int_equal(cfg.redis.pending_max, 1000);
	assert_string_equal(cfg.http.listen.host, "::1");
	assert_int_equal(cfg.http.listen.port, 80);
	assert_string_equal(cfg.consumer.id, "one");
	assert_false(cfg.consumer.partitions.all);
	assert_int_equal(cfg.consumer.partitions.count, 4);
	assert_int_equal(cfg.consumer.partitions.list[0], 0);
	assert_int_equal(cfg.consumer.partitions.list[1], 3);
	assert_int_equal(cfg.consumer.partitions.list[2], 7);
	assert_int_equal(cfg.consumer.partitions.list[3], 100000);
	assert_true(config_may_own(&cfg, 7));
	assert_false(config_may_own(&cfg, 1));
	assert_int_equal(cfg.consumer.batch_max_bytes, 1 << 30);
	assert_int_equal(cfg.consumer.memory_max, 64 << 20);
	assert_int_equal(config_memory_bytes(&cfg), 64 << 20);
	assert_int_equal(cfg.consumer.dedupe_ids, 1000000000);
	assert_int_equal(cfg.lease.ttl_ms, 3000);
	assert_int_equal(cfg.log.level, LOG_LEVEL_ERROR);
	assert_int_equal(cfg.log.format, LOG_FORMAT_JSON);
	assert_int_equal(cfg.log.repeat_ms, 0);
	config_finish(&cfg);
}

static void test_prints_what_reads_back(void **state)
{
	const char *const texts[] = {"", other_values, "http: {listen: \"\"}",
		"http: {listen: h:1}", "http: {listen: 'a\"\\b:1'}",
		/* what YAML does not read as it is, and a neighbour of each that it does */
		"mysql: {user: \"\\x80\\x85\\x9f\\xa0 \\u2027\\u2028\\u2029\\u202a\"}",
		"mysql: {user: \"\\ufefe\\ufeff\\uff00 \\ufffd\\ufffe\\uffff\\U00010000\"}"};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct config a = parsed(texts[i], NULL);
		char *first = print(&a);
		struct config b = parsed(first, NULL);
		char *second = print(&b);

		assert_string_equal(first, second);
		free(first);
		free(second);
		config_finish(&a);
		config_finish(&b);
	}
}

/* Takes the printed value of each option apart from its default's, so that none is forgotten. */
static void test_every_option_comes_from_the_environment(void **state)
{
	struct config other = parsed(other_values, NULL);
	char *text = print(&other);
	char *environment[64] = {NULL};
	char section[32] = "";
	size_t count = 0;
	struct config cfg;
	char *again;

	(void)state;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char variable[OPTIONS_NAME_MAX], name[64];

		if (line[0] != ' ') {
			snprintf(section, sizeof(section), "%.*s", (int)strcspn(line, ":"), line);
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(line + 2, ":"), line + 2);
		options_variable(section, name, variable);
		assert_true(asprintf(&environment[count++], "%s=%s", variable,
				    strchr(line, ' ') + 4 + strlen(name)) > 0);
	}
	assert_int_equal(count, option_row_count);
	cfg = parsed("mysql: {host: from-the-file}", (const char *const *)environment);
	free(text);
	text = print(&other);
	again = print(&cfg);
	assert_string_equal(text, again);
	for (size_t i = 0; i < count; i++)
		free(environment[i]);
	free(text);
	free(again);
	config_finish(&cfg);
	config_finish(&other);
}

static void test_environment_wins(void **state)
{
	const char *const environment[] = {"PATH=/bin", "LEDGERD_MYSQL_HOST=other",
		"LEDGERD_REDIS_USER=", "LEDGERD_KAFKA_PROPERTIES={client.id: b}",
		"LEDGERD_CONSUMER_PARTITIONS=[2]", "LEDGERDX=1", NULL};
	struct config cfg = parsed("mysql: {host: here, port: 1}\nredis: {user: u}\n"
				   "kafka: {properties: {client.id: a, linger.ms: 1}}\n",
		environment);

	(void)state;
	assert_string_equal(cfg.mysql.host, "other");
	assert_int_equal(cfg.mysql.port, 1);
	assert_string_equal(cfg.redis.user, "");
	assert_int_equal(cfg.kafka.properties.count, 1); /* replaced, not merged */
	assert_string_equal(cfg.kafka.properties.items[0].value, "b");
	assert_int_equal(cfg.consumer.partitions.count, 1);
	assert_false(cfg.consumer.partitions.all);
	config_finish(&cfg);
}

static void test_a_section_may_be_empty(void **state)
{
	static const char *const texts[] = {"kafka:\nmysql:\n  # port: 1\n", "---\n", "# nothing\n",
		"{}", "null", "kafka: {}", "\xef\xbb\xbfkafka:\n",
		"kafka:\r\n  topic: balance-events\r\n"};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct config cfg = parsed(texts[i], NULL);

		assert_string_equal(cfg.kafka.topic, "balance-events");
		config_finish(&cfg);
	}
}

static const struct {
	const char *text, *message;
} mistakes[] = {
	/* Names. */
	{"mysql:\n  hots: db",
		"f.yaml:2:3: unknown option \"mysql.hots\"; did you mean mysql.host?"},
	{"kafka: {ttl_ms: 1}",
		"f.yaml:1:9: unknown option \"kafka.ttl_ms\"; did you mean lease.ttl_ms?"},
	{"lease: {threads: 1}",
		"f.yaml:1:9: unknown option \"lease.threads\"; expected one of ttl_ms"},
	{"\n\nkakfa: {}", "f.yaml:3:1: unknown section \"kakfa\"; did you mean kafka?"},
	{"listen: x", "f.yaml:1:1: unknown section \"listen\"; an option stands in its section, "
		      "expected http: {listen: ...}"},
	{"kafka.topic: x", "f.yaml:1:1: unknown section \"kafka.topic\"; an option stands in its "
			   "section, expected kafka: {topic: ...}"},
	{"postgres: x", "f.yaml:1:1: unknown section \"postgres\"; expected one of ledger, kafka, "
			"mysql, redis, http, consumer, lease, outbox, log"},
	{"log: {level: info, level: warn}",
		"f.yaml:1:20: \"level\" is given twice, first in line 1; "
		"expected each name once"},
	{"log: {}\nhttp: {}\nlog: {}", "f.yaml:3:1: \"log\" is given twice, first in line 1; "
				       "expected each name once"},
	{"mysql: {password: hunter2}",
		"f.yaml:1:9: mysql.password has no place in a file that others "
		"may read; expected the password in the environment variable "
		"LEDGERD_MYSQL_PASSWORD, "
		"or in the first line of the file that mysql.password_file names"},
	/* Types and ranges. */
	{"mysql: {port: abc}",
		"f.yaml:1:15: mysql.port is abc; expected a whole number from 1 to 65535"},
	{"mysql: {port: \"3306\"}",
		"f.yaml:1:15: mysql.port is \"3306\"; expected a whole number from "
		"1 to 65535"},
	{"mysql: {port: 0}",
		"f.yaml:1:15: mysql.port is 0; expected a whole number from 1 to 65535"},
	{"mysql: {port: 65536}",
		"f.yaml:1:15: mysql.port is 65536; expected a whole number from 1 to "
		"65535"},
	{"mysql: {port: -1}",
		"f.yaml:1:15: mysql.port is -1; expected a whole number from 1 to 65535"},
	{"mysql: {port: 0x10}",
		"f.yaml:1:15: mysql.port is 0x10; expected a whole number from 1 to 65535"},
	{"mysql: {port: 010}",
		"f.yaml:1:15: mysql.port is 010; expected a whole number from 1 to 65535"},
	{"mysql: {port: 3306.0}",
		"f.yaml:1:15: mysql.port is 3306.0; expected a whole number from 1 to "
		"65535"},
	{"mysql: {port: 99999999999999999999}", "f.yaml:1:15: mysql.port is 99999999999999999999; "
						"expected a whole number from 1 to 65535"},
	{"mysql: {port: }",
		"f.yaml:1:15: mysql.port has no value; expected a whole number from 1 to "
		"65535"},
	{"mysql: {port: [1]}",
		"f.yaml:1:15: mysql.port is a list; expected a whole number from 1 to "
		"65535"},
	{"mysql:\n  host:\n    name: db",
		"f.yaml:3:5: mysql.host is a mapping; expected text, 1 to 255 "
		"characters"},
	{"mysql: {host: ~}",
		"f.yaml:1:15: mysql.host has no value; expected text, 1 to 255 characters"},
	{"mysql: {host: \"\"}",
		"f.yaml:1:15: mysql.host is \"\"; expected text, 1 to 255 characters"},
	{"mysql: {host: \"a\\nb\"}", "f.yaml:1:15: mysql.host is \"a?b\"; expected text, 1 to 255 "
				     "characters"},
	{"kafka: {topic: a b}",
		"f.yaml:1:16: kafka.topic is a b; expected a name of A-Z a-z 0-9 . _ -, "
		"1 to 249 characters"},
	{"redis: {enabled: yes}", "f.yaml:1:18: redis.enabled is yes; expected true or false"},
	{"redis: {enabled: \"true\"}",
		"f.yaml:1:18: redis.enabled is \"true\"; expected true or false"},
	{"log: {level: warning}",
		"f.yaml:1:14: log.level is warning; expected debug, info, warn or error"},
	{"log: {level: \"\"}",
		"f.yaml:1:14: log.level is \"\"; expected debug, info, warn or error"},
	{"log: {level: \"info|warn\"}",
		"f.yaml:1:14: log.level is \"info|warn\"; expected debug, info, "
		"warn or error"},
	{"kafka: {fetch_buffer: 16MB}",
		"f.yaml:1:23: kafka.fetch_buffer is 16MB; expected bytes from 1M "
		"to 1G"},
	{"kafka: {fetch_buffer: 16m}",
		"f.yaml:1:23: kafka.fetch_buffer is 16m; expected bytes from 1M "
		"to 1G"},
	{"kafka: {fetch_buffer: 1.5G}",
		"f.yaml:1:23: kafka.fetch_buffer is 1.5G; expected bytes from 1M "
		"to 1G"},
	{"kafka: {fetch_buffer: auto}",
		"f.yaml:1:23: kafka.fetch_buffer is auto; expected bytes from 1M "
		"to 1G"},
	{"kafka: {fetch_buffer: 1025M}",
		"f.yaml:1:23: kafka.fetch_buffer is 1025M; expected bytes from "
		"1M to 1G"},
	{"consumer: {memory_max: 63M}",
		"f.yaml:1:24: consumer.memory_max is 63M; expected bytes from 64M "
		"to 1024G, or auto"},
	{"consumer: {memory_max: 0}",
		"f.yaml:1:24: consumer.memory_max is 0; expected bytes from 64M "
		"to 1024G, or auto"},
	{"consumer: {memory_max: 9007199254740993G}",
		"f.yaml:1:24: consumer.memory_max is "
		"9007199254740993G; expected bytes from 64M to 1024G, or auto"},
	/* Listening. */
	{"http: {listen: 9105}",
		"f.yaml:1:16: http.listen is 9105; expected host:port, or \"\" for none"},
	{"http: {listen: \":9105\"}",
		"f.yaml:1:16: http.listen is \":9105\"; expected host:port, or \"\" "
		"for none"},
	{"http: {listen: \"::1:80\"}",
		"f.yaml:1:16: http.listen is \"::1:80\"; expected host:port, or "
		"\"\" for none"},
	{"http: {listen: \"a:0\"}",
		"f.yaml:1:16: http.listen is \"a:0\"; expected host:port, or \"\" for "
		"none"},
	{"http: {listen: \"a b:1\"}",
		"f.yaml:1:16: http.listen is \"a b:1\"; expected host:port, or \"\" "
		"for none"},
	{"http: {listen: }",
		"f.yaml:1:16: http.listen has no value; expected host:port, or \"\" for none"},
	/* Partitions. */
	{"consumer: {partitions: some}",
		"f.yaml:1:24: consumer.partitions is some; expected all, or a list "
		"such as [0, 3]"},
	{"consumer: {partitions: 3}",
		"f.yaml:1:24: consumer.partitions is 3; expected all, or a list such "
		"as [0, 3]"},
	{"consumer: {partitions: []}",
		"f.yaml:1:24: consumer.partitions is an empty list; expected all, or "
		"at least one partition"},
	{"consumer: {partitions: [1, x]}",
		"f.yaml:1:28: consumer.partitions: x is no partition; expected a "
		"whole number from 0 to 100000"},
	{"consumer: {partitions: [1, -1]}",
		"f.yaml:1:28: consumer.partitions: -1 is no partition; expected "
		"a whole number from 0 to 100000"},
	{"consumer: {partitions: [100001]}",
		"f.yaml:1:25: consumer.partitions: 100001 is no partition; "
		"expected a whole number from 0 to 100000"},
	{"consumer: {partitions: [1, [2]]}",
		"f.yaml:1:28: consumer.partitions is a list; expected all, or a "
		"list such as [0, 3]"},
	{"consumer: {partitions: [3, 1, 3]}",
		"f.yaml:1:24: consumer.partitions: 3 is listed twice; expected "
		"each partition once"},
	/* Properties. */
	{"kafka:\n  properties:\n    group.id: x",
		"f.yaml:3:5: kafka.properties: group.id is refused: "
		"offsets and ownership are in the database, not in a consumer group; the group's "
		"name "
		"comes from ledger.name"},
	{"kafka: {properties: {bootstrap.servers: x}}",
		"f.yaml:1:22: kafka.properties: bootstrap.servers is "
		"refused: use kafka.bootstrap_servers"},
	{"kafka: {properties: {a: [1]}}",
		"f.yaml:1:25: kafka.properties: a has no value; expected text, a "
		"number or a boolean"},
	{"kafka: {properties: {a: }}",
		"f.yaml:1:25: kafka.properties: a has no value; expected text, a "
		"number or a boolean"},
	{"kafka: {properties: {a b: 1}}",
		"f.yaml:1:22: kafka.properties: \"a b\" is no property of "
		"librdkafka; expected a name such as security.protocol"},
	{"kafka: {properties: {\"\": 1}}",
		"f.yaml:1:22: kafka.properties: a property without a name; "
		"expected NAME: VALUE"},
	{"kafka: {properties: [a]}",
		"f.yaml:1:21: kafka.properties is a list; expected a mapping such as "
		"{security.protocol: ssl}"},
	/* Nesting. */
	{"- a", "f.yaml:1:1: a list; expected a mapping of sections, such as kafka: {topic: "
		"balance-events}"},
	{"just text", "f.yaml:1:1: a single value; expected a mapping of sections, such as kafka: "
		      "{topic: "
		      "balance-events}"},
	{"kafka: topic",
		"f.yaml:1:8: kafka is a single value; expected a mapping of options, such as "
		"kafka: {...}"},
	{"kafka: [topic]",
		"f.yaml:1:8: kafka is a list; expected a mapping of options, such as kafka: "
		"{...}"},
	{"a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}", "f.yaml:1:32: nested too deep"},
	/* YAML that is none, or more than is needed. */
	{"kafka: {topic: a",
		"f.yaml:2:1: not valid YAML: did not find expected ',' or '}' (while parsing a "
		"flow mapping)"},
	{"mysql:\n\thost: a",
		"f.yaml:2:1: not valid YAML: found character that cannot start any token "
		"(while scanning for the next token)"},
	{"mysql: {user: @a}",
		"f.yaml:1:15: not valid YAML: found character that cannot start any token "
		"(while scanning for the next token)"},
	{"mysql: {user: \"\\q\"}",
		"f.yaml:1:16: not valid YAML: found unknown escape character (while "
		"parsing a quoted scalar)"},
	{"mysql: {user: \xff}", "f.yaml:1:15: not valid YAML: invalid leading UTF-8 octet"},
	{"# \xc3\xa4\nmysql: {user: \x01}",
		"f.yaml:2:15: not valid YAML: control characters are not "
		"allowed"},
	{"mysql: {user: \"a\\0b\"}", "f.yaml:1:15: a NUL byte in a value"},
	{"mysql: {user: &a b}",
		"f.yaml:1:15: anchors (&) and aliases (*) are not supported; write the "
		"value out, or in quotes if it is text"},
	{"mysql: {user: *a}",
		"f.yaml:1:15: anchors (&) and aliases (*) are not supported; write the value "
		"out, or in quotes if it is text"},
	{"mysql: &m {}", "f.yaml:1:8: anchors (&) and aliases (*) are not supported; write the "
			 "value out, or "
			 "in quotes if it is text"},
	{"mysql: {<<: *m}",
		"f.yaml:1:13: anchors (&) and aliases (*) are not supported; write the value "
		"out, or in quotes if it is text"},
	{"mysql: {port: !!int \"1\"}",
		"f.yaml:1:15: tags (!) are not supported; write the value without "
		"one, or in quotes if it is text"},
	{"log: {}\n---\nlog: {}", "f.yaml:2:1: a second document; expected one"},
	{"? [a]\n: b", "f.yaml:1:3: a key that is not text; expected NAME: VALUE"},
};

static void test_names_every_mistake(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(mistakes); i++)
		assert_refused(mistakes[i].text, NULL, mistakes[i].message);
}

/* The two messages that docs/CONFIG.md shows. */
static void test_documents_show_real_messages(void **state)
{
	(void)state;
	assert_refused("kafka: {topic: a}\nmysql:\n  hots: db\n", NULL,
		"f.yaml:3:3: unknown option \"mysql.hots\"; did you mean mysql.host?");
	assert_refused("\n\n\n\n\n\nlease: {ttl_ms: 10}", NULL,
		"f.yaml:7:17: lease.ttl_ms is 10; expected a whole number from 3000 to 600000 ms");
}

static void test_refuses_nul_bytes_and_long_texts(void **state)
{
	static const char nul[] = "log: {}\n# \0";
	size_t length = 1024 * 1024 + 1;
	char *spaces = malloc(length);
	struct config cfg;
	struct error err;

	(void)state;
	assert_int_equal(config_parse_buffer(&cfg, "f", nul, sizeof(nul) - 1, NULL, &err), -EINVAL);
	assert_string_equal(err.text, "f:2:3: a NUL byte; expected YAML in UTF-8");
	config_finish(&cfg);
	memset(spaces, ' ', length);
	assert_int_equal(config_parse_buffer(&cfg, "f", spaces, length, NULL, &err), -EINVAL);
	assert_string_equal(err.text, "f: 1048577 bytes; expected at most 1048576");
	config_finish(&cfg);
	assert_int_equal(config_parse_buffer(&cfg, "f", spaces, length - 1, NULL, &err), 0);
	config_finish(&cfg);
	free(spaces);
}

static void test_names_mistakes_in_the_environment(void **state)
{
	static const struct {
		const char *entry, *message;
	} cases[] = {
		{"LEDGERD_MYSQL_PORT=x",
			"LEDGERD_MYSQL_PORT: mysql.port is x; expected a whole number from "
			"1 to 65535"},
		{"LEDGERD_MYSQL_PORT=",
			"LEDGERD_MYSQL_PORT: mysql.port is \"\"; expected a whole number "
			"from 1 to 65535"},
		{"LEDGERD_MYSQL_PORT=tcp://10.0.0.1:3306",
			"LEDGERD_MYSQL_PORT: mysql.port is "
			"tcp://10.0.0.1:3306; expected a whole number from 1 to 65535"},
		{"LEDGERD_MYSQL_USER=@a",
			"LEDGERD_MYSQL_USER: not valid YAML: found character that cannot start "
			"any token (while scanning for the next token); the value is read as YAML, "
			"so that "
			"text may need quotes"},
		{"LEDGERD_MYSQL_HOTS=x",
			"unknown environment variable LEDGERD_MYSQL_HOTS; did you mean "
			"LEDGERD_MYSQL_HOST?"},
		{"LEDGERD_MYSQL_PASSWROD=secret",
			"unknown environment variable LEDGERD_MYSQL_PASSWROD; did "
			"you mean LEDGERD_MYSQL_PASSWORD?"},
		{"LEDGERD_URL=http://x", "unknown environment variable LEDGERD_URL; expected "
					 "LEDGERD_<SECTION>_<OPTION>, see ledgerd --help-config"},
		{"LEDGERD_\n\x1bX=x", "unknown environment variable LEDGERD_\?\?X; expected "
				      "LEDGERD_<SECTION>_<OPTION>, see ledgerd --help-config"},
		{"LEDGERD_HTTP_PASSWORD=secret",
			"unknown environment variable LEDGERD_HTTP_PASSWORD; "
			"expected LEDGERD_<SECTION>_<OPTION>, see ledgerd --help-config"},
		{"LEDGERD_", "unknown environment variable LEDGERD_; expected "
			     "LEDGERD_<SECTION>_<OPTION>, "
			     "see ledgerd --help-config"},
		{"LEDGERD_KAFKA_PROPERTIES={acks: 1}",
			"LEDGERD_KAFKA_PROPERTIES: kafka.properties: acks is "
			"refused: an event is published only when every replica in sync has "
			"it"},
		/* A password in the wrong place is not shown. */
		{"LEDGERD_KAFKA_PROPERTIES=sasl.password=secret",
			"LEDGERD_KAFKA_PROPERTIES: kafka.properties is text; "
			"expected a mapping such as {security.protocol: ssl}"},
		{"LEDGERD_KAFKA_PROPERTIES={sasl.password secret}",
			"LEDGERD_KAFKA_PROPERTIES: kafka.properties: \"sasl.password...\" is no "
			"property of librdkafka; expected a name such as security.protocol"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *const environment[] = {cases[i].entry, NULL};

		assert_refused("", environment, cases[i].message);
	}
}

/* A Kubernetes service named "ledgerd" must not stop its own pods from starting. */
static void test_ignores_service_links(void **state)
{
	const char *const environment[] = {"LEDGERD_SERVICE_HOST=10.0.0.1",
		"LEDGERD_SERVICE_PORT=9105", "LEDGERD_SERVICE_PORT_METRICS=9105",
		"LEDGERD_PORT=tcp://10.0.0.1:9105", "LEDGERD_PORT_9105_TCP=tcp://10.0.0.1:9105",
		"LEDGERD_PORT_9105_TCP_PROTO=tcp", "LEDGERD_PORT_9105_TCP_ADDR=10.0.0.1",
		"LEDGERD_METRICS_SERVICE_HOST=10.0.0.2", NULL};
	struct config cfg = parsed("", environment);

	(void)state;
	config_finish(&cfg);
}

static void test_primes_no_more_ids_than_it_keeps(void **state)
{
	struct config cfg = parsed("consumer: {dedupe_ids: 1000}", NULL);

	(void)state;
	assert_int_equal(cfg.consumer.dedupe_prime, 1000);
	config_finish(&cfg);
}

static void test_keeps_secrets(void **state)
{
	const char *const environment[] = {"LEDGERD_MYSQL_PASSWORD=hunter2: [",
		"LEDGERD_REDIS_PASSWORD= hunter2 ", "LEDGERD_KAFKA_PASSWORD=hunter2", NULL};
	struct config cfg = parsed(
		"kafka: {properties: {sasl.password: hunter2, ssl.key.pem: hunter2, "
		"sasl.username: bob}}",
		environment);
	char *text = print(&cfg);

	(void)state;
	assert_string_equal(cfg.mysql.password, "hunter2: [");
	assert_string_equal(cfg.redis.password, " hunter2 ");
	assert_string_equal(cfg.kafka.password, "hunter2");
	assert_null(strstr(text, "hunter2"));
	assert_non_null(strstr(text, "sasl.password: \"<redacted>\""));
	assert_non_null(strstr(text, "sasl.username: \"bob\""));
	free(text);
	config_finish(&cfg);
}

/* Files. */

static char directory[] = "/tmp/test_config.XXXXXX";

static const char *path_of(const char *name)
{
	static char paths[4][256];
	static size_t next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static const char *write_file(const char *name, const char *text, size_t length)
{
	const char *path = path_of(name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	return path;
}

static const char *write_text(const char *name, const char *text)
{
	return write_file(name, text, strlen(text));
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	char command[300];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static void test_loads_a_file(void **state)
{
	const char *path = write_text("a.yaml", "kafka: {topic: t}\n");
	const char *const environment[] = {"LEDGERD_KAFKA_TOPIC=u", NULL};
	char host[65] = "", suffix[32];
	struct config cfg;
	struct error err;

	(void)state;
	assert_int_equal(config_load(&cfg, path, NULL, &err), 0);
	assert_string_equal(cfg.kafka.topic, "t");
	gethostname(host, sizeof(host) - 1);
	snprintf(suffix, sizeof(suffix), "-%d", (int)getpid());
	assert_int_equal(strlen(cfg.consumer.id), strlen(host) + strlen(suffix));
	assert_string_equal(cfg.consumer.id + strlen(host), suffix);
	config_finish(&cfg);

	assert_int_equal(config_load(&cfg, path, (char **)environment, &err), 0);
	assert_string_equal(cfg.kafka.topic, "u");
	config_finish(&cfg);
}

static void test_default_place_may_be_empty(void **state)
{
	const char *const environment[] = {"LEDGERD_CONSUMER_ID=me", NULL};
	struct config cfg;
	struct error err;

	(void)state;
	if (access(CONFIG_DEFAULT_PATH, F_OK) == 0)
		skip();
	assert_int_equal(config_load(&cfg, NULL, (char **)environment, &err), 0);
	assert_string_equal(cfg.consumer.id, "me");
	config_finish(&cfg);
}

static void assert_load_refused(const char *path, const char *message)
{
	char expected[600];
	struct config cfg;
	struct error err;

	assert_int_equal(config_load(&cfg, path, NULL, &err), -EINVAL);
	snprintf(expected, sizeof(expected), "%s%s", path, message);
	assert_string_equal(err.text, expected);
	config_finish(&cfg);
}

static void test_names_files_that_cannot_be_read(void **state)
{
	char *text = calloc(1, 1024 * 1024 + 1);

	(void)state;
	assert_load_refused(path_of("none.yaml"), ": No such file or directory; expected a "
						  "configuration file");
	assert_load_refused(directory, ": Is a directory; expected a configuration file");
	assert_load_refused(write_text("b.yaml", "kafka: {topic: 'a b'}"),
		":1:16: kafka.topic is \"a b\"; "
		"expected a name of A-Z a-z 0-9 . _ -, 1 to 249 characters");
	memset(text, '\n', 1024 * 1024 + 1);
	assert_load_refused(write_file("long.yaml", text, 1024 * 1024 + 1),
		": 1048577 bytes; expected at "
		"most 1048576");
	free(text);
}

/* Loads a config whose mysql.password_file holds these bytes. */
static int load_with_password(struct config *cfg, const char *bytes, size_t length,
	const char *const *environment, struct error *err)
{
	const char *password = write_file("password", bytes, length);
	char text[400];

	snprintf(text, sizeof(text), "mysql: {password_file: %s}", password);
	return config_load(cfg, write_text("p.yaml", text), (char **)environment, err);
}

static void test_reads_password_files(void **state)
{
	static const char *const texts[] = {"secret", "secret\n", "secret\r\n", "secret\nmore\n"};
	const char *const environment[] = {"LEDGERD_MYSQL_PASSWORD=other", NULL};
	const char *const empty[] = {"LEDGERD_MYSQL_PASSWORD=", NULL};
	struct config cfg;
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		assert_int_equal(
			load_with_password(&cfg, texts[i], strlen(texts[i]), empty, &err), 0);
		assert_string_equal(cfg.mysql.password, "secret");
		assert_string_equal(cfg.redis.password, "");
		config_finish(&cfg);
	}
	assert_int_equal(load_with_password(&cfg, "secret", 6, environment, &err), 0);
	assert_string_equal(cfg.mysql.password, "other");
	config_finish(&cfg);
}

static void test_names_bad_password_files(void **state)
{
	static char longest[5000];
	const struct {
		const char *bytes;
		size_t length;
		const char *message;
	} cases[] = {
		{"", 0, "the first line is empty; expected the password"},
		{"\nsecret", 7, "the first line is empty; expected the password"},
		{"sec\0ret", 7, "the first line is not text; expected the password"},
		{longest, sizeof(longest), "the first line is too long; expected the password"},
	};
	const char *const absent[] = {"LEDGERD_REDIS_PASSWORD_FILE=/nowhere/password", NULL};
	struct config cfg;
	struct error err;

	(void)state;
	memset(longest, 'x', sizeof(longest));
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(
			load_with_password(&cfg, cases[i].bytes, cases[i].length, NULL, &err),
			-EINVAL);
		assert_non_null(strstr(err.text, "mysql.password_file: "));
		assert_non_null(strstr(err.text, cases[i].message));
		assert_null(strstr(err.text, "sec"));
		config_finish(&cfg);
	}
	assert_int_equal(
		config_load(&cfg, write_text("c.yaml", ""), (char **)absent, &err), -EINVAL);
	assert_string_equal(err.text,
		"redis.password_file: /nowhere/password: No such file or directory; "
		"expected a file whose first line is the password");
	config_finish(&cfg);
}

static void test_names_a_missing_authority(void **state)
{
	const char *const absent[] = {"LEDGERD_MYSQL_TLS_CA=/nowhere/ca.pem", NULL};
	const char *const unused[] = {
		"LEDGERD_MYSQL_TLS_CA=/nowhere/ca.pem", "LEDGERD_MYSQL_TLS_VERIFY=false", NULL};
	struct config cfg;
	struct error err;

	(void)state;
	assert_int_equal(
		config_load(&cfg, write_text("t.yaml", ""), (char **)absent, &err), -EINVAL);
	assert_string_equal(err.text, "mysql.tls_ca: /nowhere/ca.pem: No such file or directory; "
				      "expected a file of certificate authorities (PEM)");
	config_finish(&cfg);
	assert_int_equal(config_load(&cfg, write_text("t.yaml", ""), (char **)unused, &err), 0);
	config_finish(&cfg);
}

/* Memory. */

static void test_auto_is_a_quarter(void **state)
{
	struct config cfg = parsed("", NULL);
	int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

	(void)state;
	assert_in_range(config_memory_bytes(&cfg), CONFIG_MEMORY_MIN_BYTES, machine / 4);
	assert_in_range(machine_memory_bytes(), 1, machine);
	config_finish(&cfg);
}

/* A container's limit may be set on a group above the one that the process is in. */
static void test_finds_the_least_limit_of_the_groups(void **state)
{
	(void)state;
	assert_int_equal(mkdir(path_of("a"), 0700), 0);
	assert_int_equal(mkdir(path_of("a/b"), 0700), 0);
	assert_true(machine_group_bytes(directory, "/a/b") == INT64_MAX);
	write_text("a/b/memory.max", "max\n");
	assert_true(machine_group_bytes(directory, "/a/b") == INT64_MAX);
	write_text("a/memory.max", "2000000\n");
	assert_int_equal(machine_group_bytes(directory, "/a/b"), 2000000);
	write_text("memory.max", "1000000\n");
	assert_int_equal(machine_group_bytes(directory, "/a/b"), 1000000);
	assert_int_equal(machine_group_bytes(directory, "/"), 1000000);
	write_text("a/b/memory.max", "500000\n");
	assert_int_equal(machine_group_bytes(directory, "/a/b"), 500000);
}

/* Whatever the bytes: a config, or a message that begins with the place.  The sanitizers watch. */
static void test_damaged_text_is_named_or_read(void **state)
{
	static const char bytes[] = "\n :{}[]\"'#&*!-\xc3\xff\0"
				    "0a,|>?%@`";
	uint64_t random = 88172645463325252u;
	size_t refused = 0;

	(void)state;
	for (int round = 0; round < 4000; round++) {
		char text[sizeof(other_values)];
		size_t length = sizeof(other_values) - 1;
		struct config cfg;
		struct error err;
		int rc;

		memcpy(text, other_values, sizeof(text));
		for (int change = 0; change <= round % 4; change++) {
			random ^= random << 13; /* xorshift */
			random ^= random >> 7;
			random ^= random << 17;
			text[random % length] = bytes[(random >> 32) % sizeof(bytes)];
		}
		if (round % 3 == 0)
			length = (random >> 20) % length;
		rc = config_parse_buffer(&cfg, "f.yaml", text, length, NULL, &err);
		if (rc != 0) {
			assert_int_equal(rc, -EINVAL);
			assert_memory_equal(err.text, "f.yaml:", 7);
			refused++;
		}
		config_finish(&cfg);
	}
	assert_in_range(refused, 1000, 3900);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_reads_every_option),
		cmocka_unit_test(test_prints_what_reads_back),
		cmocka_unit_test(test_every_option_comes_from_the_environment),
		cmocka_unit_test(test_environment_wins),
		cmocka_unit_test(test_a_section_may_be_empty),
		cmocka_unit_test(test_names_every_mistake),
		cmocka_unit_test(test_documents_show_real_messages),
		cmocka_unit_test(test_refuses_nul_bytes_and_long_texts),
		cmocka_unit_test(test_names_mistakes_in_the_environment),
		cmocka_unit_test(test_ignores_service_links),
		cmocka_unit_test(test_primes_no_more_ids_than_it_keeps),
		cmocka_unit_test(test_keeps_secrets),
		cmocka_unit_test(test_loads_a_file),
		cmocka_unit_test(test_default_place_may_be_empty),
		cmocka_unit_test(test_names_files_that_cannot_be_read),
		cmocka_unit_test(test_reads_password_files),
		cmocka_unit_test(test_names_bad_password_files),
		cmocka_unit_test(test_names_a_missing_authority),
		cmocka_unit_test(test_auto_is_a_quarter),
		cmocka_unit_test(test_finds_the_least_limit_of_the_groups),
		cmocka_unit_test(test_damaged_text_is_named_or_read),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
