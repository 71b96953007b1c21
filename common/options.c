/*
 * See options.h.
 *
 * Adding an option: a field in config.h, a row here, `ninja manual` for the documents.  The name of
 * the field is the name of the option, and its type is checked against the row's when compiled.
 */
#include "options.h"

#include "config.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define K            INT64_C(1024)
#define M            (1024 * K)
#define G            (1024 * M)

/* clang-format off */
const struct option_section option_sections[] = {
	{"ledger", "The ledger itself.", false},
	{"kafka", "Where events come from.", true},
	{"mysql", "The database, MySQL or MariaDB: journal, balances, offsets and leases.", true},
	{"redis", "The cache for readers.", true},
	{"http", "Metrics, health and status.", false},
	{"consumer", "This instance: what it owns, and how it batches.", false},
	{"lease", "Who owns a partition.", false},
	{"outbox", "`outboxd`: from the table `outbox_events` to Kafka.", false},
	{"log", "Messages on standard error.", false},
};
const size_t option_section_count = COUNT(option_sections);

/* The type that each type of option has in struct config. */
#define C_TEXT char *
#define C_NAME char *
#define C_INT int64_t
#define C_BYTES int64_t
#define C_BOOL bool
#define C_CHOICE default /* any enum */
#define C_PARTITIONS struct config_partitions
#define C_PROPERTIES struct config_properties
#define C_LISTEN struct config_listen

/* The offset of cfg.section.name; does not compile unless the field is of this type. */
#define FIELD(section_, name_, c_type) \
	_Generic(((struct config *)0)->section_.name_, \
		c_type: offsetof(struct config, section_.name_))

#define ROW(section_, name_, type_, fallback_, min_, max_, words_, help_) \
	{.section = #section_, .name = #name_, .type = OPTION_##type_, .fallback = fallback_, \
	 .min = min_, .max = max_, .words = words_, .help = help_, \
	 .offset = FIELD(section_, name_, C_##type_)}

const struct option_row option_rows[] = {
	/* section, name, type, default, least, most, words */
	ROW(ledger, name, NAME, "default", 1, 64, NULL,
		"The ledger's name. Kafka's own tools show its progress as the consumer group "
		"`ledger.<name>`."),

	ROW(kafka, bootstrap_servers, TEXT, "\"127.0.0.1:9092\"", 1, 4096, NULL,
		"Brokers to begin with: `host:port`, separated by commas."),
	ROW(kafka, topic, NAME, "balance-events", 1, 249, NULL,
		"The topic of the balance events. Its `cleanup.policy` must be `delete`."),
	ROW(kafka, properties, PROPERTIES, "{}", 0, 0, NULL,
		"Anything librdkafka knows, by its own names: `security.protocol`, `sasl.*`, "
		"`ssl.*`, `fetch.*` and so on. What correctness rests on is refused."),
	ROW(kafka, password_file, TEXT, "\"\"", 0, 4095, NULL,
		"File whose first line is the password for SASL (librdkafka's `sasl.password`). "
		"`LEDGERD_KAFKA_PASSWORD` wins over it."),
	ROW(kafka, fetch_buffer, BYTES, "32M", 1 * M, 1 * G, NULL,
		"Messages fetched ahead, for each partition. A tenth of a second of its busiest "
		"traffic should fit. A part of `consumer.memory_max`."),

	ROW(mysql, host, TEXT, "127.0.0.1", 1, 255, NULL,
		"Host name or address."),
	ROW(mysql, port, INT, "3306", 1, 65535, NULL,
		"TCP port."),
	ROW(mysql, socket, TEXT, "\"\"", 0, 107, NULL,
		"Path of a Unix socket. If it is given, host and port are not used."),
	ROW(mysql, user, TEXT, "ledger", 1, 128, NULL,
		"User name. The password is in `LEDGERD_MYSQL_PASSWORD` or in "
		"`mysql.password_file`."),
	ROW(mysql, password_file, TEXT, "\"\"", 0, 4095, NULL,
		"File whose first line is the password. `LEDGERD_MYSQL_PASSWORD` wins over it."),
	ROW(mysql, database, TEXT, "ledger", 1, 64, NULL,
		"The database that holds the ledger's tables."),
	ROW(mysql, tls_ca, TEXT, "\"\"", 0, 4095, NULL,
		"File of the certificate authorities (PEM) that the server's certificate is "
		"checked with. Empty: TLS is not asked for."),
	ROW(mysql, tls_verify, BOOL, "true", 0, 0, NULL,
		"With `mysql.tls_ca`: refuse a server whose certificate does not hold. `false` "
		"still encrypts, but anybody may pose as the server."),
	ROW(mysql, connect_timeout_ms, INT, "5000", 100, 60000, "ms",
		"Longest wait for a connection before it is tried again; where a lease depends on "
		"it, no longer than a third of `lease.ttl_ms`."),

	ROW(redis, enabled, BOOL, "true", 0, 0, NULL,
		"Publish balances to Redis. `false`: the database alone has them."),
	ROW(redis, host, TEXT, "127.0.0.1", 1, 255, NULL,
		"Host name or address."),
	ROW(redis, port, INT, "6379", 1, 65535, NULL,
		"TCP port."),
	ROW(redis, user, TEXT, "\"\"", 0, 255, NULL,
		"User name (ACL). Empty: the default user. The password is in "
		"`LEDGERD_REDIS_PASSWORD` or in `redis.password_file`."),
	ROW(redis, password_file, TEXT, "\"\"", 0, 4095, NULL,
		"File whose first line is the password. `LEDGERD_REDIS_PASSWORD` wins over it."),
	ROW(redis, keys_per_call, INT, "250", 1, 1000, "keys",
		"Balances that one call of the script writes."),
	ROW(redis, calls_in_flight, INT, "8", 1, 128, "calls",
		"Calls that are sent before the first is answered."),
	ROW(redis, pending_max, INT, "1000000", 1000, 100000000, "balances",
		"Balances that may wait for Redis while it is away. Above it they are dropped, "
		"and all balances are written again when it is back."),
	ROW(redis, check_interval_ms, INT, "2000", 100, 60000, "ms",
		"Time between two looks at whether Redis was restarted, failed over or emptied."),

	ROW(http, listen, LISTEN, "\"127.0.0.1:9105\"", 0, 0, NULL,
		"Address and port of `/metrics`, `/healthz`, `/readyz` and `/status`. "
		"`0.0.0.0:9105` is every IPv4 address, `[::]:9105` IPv6 too; there is no "
		"password. Empty: no HTTP."),

	ROW(consumer, id, NAME, "\"\"", 0, 128, NULL,
		"Name of this instance; no two may have the same. Empty: host name and process "
		"id."),
	ROW(consumer, partitions, PARTITIONS, "all", 0, 0, NULL,
		"Partitions that this instance may own. Instances that may own the same ones "
		"share them evenly."),
	ROW(consumer, poll_idle_ms, INT, "1000", 10, 60000, "ms",
		"Longest wait for a message when there is nothing to do. A message ends it at "
		"once."),
	ROW(consumer, flush_interval_min_ms, INT, "0", 0, 60000, "ms",
		"Least time between the starts of two flushes of a partition. 0: a flush begins "
		"as soon as the one before has ended, which gives the lowest latency; more "
		"makes fewer, larger transactions."),
	ROW(consumer, batch_max_events, INT, "20000", 1, 100000, "events",
		"Most events of one flush."),
	ROW(consumer, batch_max_bytes, BYTES, "16M", 1 * M, 1 * G, NULL,
		"Most bytes of messages of one flush."),
	ROW(consumer, flushers, INT, "4", 1, 256, "threads",
		"Threads that write to MySQL, each with a connection; as many connections read. "
		"All partitions share them. More helps a database with many cores."),
	ROW(consumer, memory_max, BYTES, "auto", CONFIG_MEMORY_MIN_BYTES, 1024 * G, "auto",
		"Limit for everything that grows: balances, transaction ids, batches, messages "
		"fetched ahead. `auto`: a quarter of the memory of the machine or container."),
	ROW(consumer, dedupe_ids, INT, "1000000", 1000, 1000000000, "ids",
		"Newest transaction ids that each partition remembers in memory. An older "
		"duplicate is still found, by the database, but slower."),
	ROW(consumer, dedupe_prime, INT, "100000", 0, 1000000000, "rows",
		"Newest journal rows that a partition reads at its start to remember their ids, "
		"never more than `consumer.dedupe_ids`. More makes a start slower and the first "
		"duplicates cheaper."),

	ROW(lease, ttl_ms, INT, "10000", 3000, 600000, "ms",
		"How long a partition stays with an instance that is not heard of any more. A "
		"third of it is the time between renewals. Shorter: faster take-over, less "
		"patience with a slow database."),

	ROW(outbox, batch_max_rows, INT, "1000", 1, 10000, "rows",
		"Most rows that `outboxd` sends in one transaction of Kafka."),
	ROW(outbox, batch_max_bytes, BYTES, "4M", 64 * K, 64 * M, NULL,
		"Most bytes of keys and payloads of one such transaction. A single larger row is "
		"sent alone."),
	ROW(outbox, poll_idle_ms, INT, "100", 1, 60000, "ms",
		"Longest time between two looks for new rows while there are none. After the last "
		"row it begins with 2 ms and doubles."),

	ROW(log, level, CHOICE, "info", 0, 0, "debug|info|warn|error",
		"The least important messages that are written."),
	ROW(log, format, CHOICE, "logfmt", 0, 0, "logfmt|json",
		"`logfmt` for people, `json` for collectors; one line a message in both."),
	ROW(log, repeat_ms, INT, "10000", 0, 3600000, "ms",
		"A warning or error that repeats is counted and written at most this often, "
		"with `repeated=N`. 0: each is written."),
};
const size_t option_row_count = COUNT(option_rows);

const struct option_refusal option_refusals[] = {
	{"bootstrap.servers", "use kafka.bootstrap_servers"},
	{"metadata.broker.list", "use kafka.bootstrap_servers"},
	{"group.", "offsets and ownership are in the database, not in a consumer group; "
		"the group's name comes from ledger.name"},
	{"enable.auto.commit", "the offset is committed with the balances, in the database"},
	{"auto.commit.", "the offset is committed with the balances, in the database"},
	{"enable.auto.offset.store", "the offset is committed with the balances, in the database"},
	{"offset.store.", "the offset is committed with the balances, in the database"},
	{"auto.offset.reset", "an offset that Kafka no longer has halts the partition; "
		"`ledgerd resume` goes on from another"},
	{"isolation.level", "events of aborted transactions must never be applied"},
	{"enable.partition.eof", "ledgerd needs it to move on behind aborted transactions"},
	{"check.crcs", "damaged messages must be noticed"},
	{"api.version.request", "librdkafka may then read events of aborted transactions"},
	{"api.version.fallback.ms", "librdkafka may then read events of aborted transactions"},
	{"broker.version.fallback", "librdkafka may then read events of aborted transactions"},
	{"allow.auto.create.topics", "create the topic yourself; its number of partitions decides "
		"where an account lives"},
	{"queued.max.messages.kbytes", "use kafka.fetch_buffer"},
	{"queued.min.messages", "use kafka.fetch_buffer"},
	{"consume.callback.max.messages", "use consumer.batch_max_events"},
	{"partitioner", "an account lives in the partition that murmur2 gives it"},
	{"enable.idempotence", "events must reach the log once and in order"},
	{"acks", "an event is published only when every replica in sync has it"},
	{"request.required.acks", "an event is published only when every replica in sync has it"},
	{"queuing.strategy", "events must reach the log in the order in which they were made"},
	{"transactional.id", "`ledgerd produce` does not use transactions, and `outboxd` names its own "
		"after ledger.name: it shuts out a relay that wakes late"},
	{"enable.gapless.guarantee", "`ledgerd produce` itself waits for every acknowledgement"},
	{"delivery.report.only.error", "`ledgerd produce` itself waits for every acknowledgement"},
	{"enabled_events", "ledgerd itself takes what librdkafka reports"},
	{"log.queue", "ledgerd itself takes what librdkafka reports"},
};
const size_t option_refusal_count = COUNT(option_refusals);
/* clang-format on */

const struct option_section *options_find_section(const char *name)
{
	for (size_t i = 0; i < option_section_count; i++)
		if (strcmp(option_sections[i].name, name) == 0)
			return &option_sections[i];
	return NULL;
}

const struct option_row *options_find(const char *section, const char *name)
{
	for (size_t i = 0; i < option_row_count; i++)
		if (!strcmp(option_rows[i].section, section) && !strcmp(option_rows[i].name, name))
			return &option_rows[i];
	return NULL;
}

const struct option_refusal *options_find_refusal(const char *property)
{
	for (size_t i = 0; i < option_refusal_count; i++) {
		const char *name = option_refusals[i].name;
		size_t length = strlen(name);

		if (name[length - 1] == '.' ? !strncmp(property, name, length)
					    : !strcmp(property, name))
			return &option_refusals[i];
	}
	return NULL;
}

void options_variable(const char *section, const char *name, char ret_variable[OPTIONS_NAME_MAX])
{
	int length = snprintf(ret_variable, OPTIONS_NAME_MAX, "LEDGERD_%s_%s", section, name);

	assert(length < OPTIONS_NAME_MAX);
	for (char *c = ret_variable; *c; c++)
		*c = (char)toupper((unsigned char)*c);
}

/* Suggestions. */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Insertions, deletions, changes and swaps of neighbours that make b of a; large for long names. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][OPTIONS_NAME_MAX]; /* by i % 3: distances of a[0..i) to b[0..j) */
	size_t m = strlen(a), n = strlen(b);

	if (m >= OPTIONS_NAME_MAX || n >= OPTIONS_NAME_MAX)
		return OPTIONS_NAME_MAX;
	for (size_t i = 0; i <= m; i++) {
		size_t *now = rows[i % 3], *one_up = rows[(i + 2) % 3], *two_up = rows[(i + 1) % 3];

		for (size_t j = 0; j <= n; j++) {
			if (i == 0 || j == 0) {
				now[j] = i + j;
				continue;
			}
			now[j] = least(one_up[j - 1] + (a[i - 1] != b[j - 1]),
				least(one_up[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], two_up[j - 2] + 1);
		}
	}
	return rows[m % 3][n];
}

/* How far a name may be from what was meant: a third of it. */
static size_t reach(const char *name)
{
	return strlen(name) / 3 + 1;
}

const struct option_row *options_nearest(const char *section, const char *name)
{
	const struct option_row *best = NULL;
	size_t best_distance = reach(name) + 1;

	for (size_t i = 0; i < option_row_count; i++) {
		const struct option_row *row = &option_rows[i];
		bool other = section && strcmp(row->section, section) != 0;
		size_t d = distance(name, row->name);

		/* Another section's option must be more alike than one of this. */
		if (d <= reach(name) && d + other < best_distance) {
			best = row;
			best_distance = d + other;
		}
	}
	return best;
}

const struct option_section *options_nearest_section(const char *name)
{
	const struct option_section *best = NULL;
	size_t best_distance = reach(name);

	for (size_t i = 0; i < option_section_count; i++) {
		size_t d = distance(name, option_sections[i].name);

		if (d < best_distance || (d == best_distance && !best)) {
			best = &option_sections[i];
			best_distance = d;
		}
	}
	return best;
}

bool options_nearest_variable(const char *variable, char ret_variable[OPTIONS_NAME_MAX])
{
	char candidate[OPTIONS_NAME_MAX];
	size_t best_distance = 5; /* of names that all begin with LEDGERD_ */

	for (size_t i = 0; i < option_row_count + option_section_count; i++) {
		size_t d;

		if (i < option_row_count)
			options_variable(option_rows[i].section, option_rows[i].name, candidate);
		else if (option_sections[i - option_row_count].has_password)
			options_variable(
				option_sections[i - option_row_count].name, "password", candidate);
		else
			continue;
		d = distance(variable, candidate);
		if (d < best_distance) {
			best_distance = d;
			memcpy(ret_variable, candidate, sizeof(candidate));
		}
	}
	return best_distance < 5;
}

/* Words. */

void options_format_bytes(int64_t number, char text[24])
{
	static const struct {
		int64_t size;
		const char *suffix;
	} units[] = {{G, "G"}, {M, "M"}, {K, "K"}};

	for (size_t i = 0; i < COUNT(units); i++)
		if (number > 0 && number % units[i].size == 0) {
			snprintf(
				text, 24, "%" PRId64 "%s", number / units[i].size, units[i].suffix);
			return;
		}
	snprintf(text, 24, "%" PRId64, number);
}

/* "debug, info, warn or error" */
static void choice_range(const struct option_row *option, char *text, size_t bytes)
{
	size_t length = 0;

	for (const char *c = option->words; *c; c++) {
		const char *last = strrchr(option->words, '|');
		char single[2] = {*c, '\0'};
		const char *piece = *c != '|' ? single : c == last ? " or " : ", ";

		length += (size_t)snprintf(text + length, bytes - length, "%s", piece);
		assert(length < bytes);
	}
}

static void byte_range(const struct option_row *option, char *text, size_t bytes)
{
	char min[24], max[24];

	options_format_bytes(option->min, min);
	options_format_bytes(option->max, max);
	snprintf(text, bytes, "%s to %s%s%s", min, max, option->words ? ", or " : "",
		option->words ? option->words : "");
}

static void length_range(const struct option_row *option, char *text, size_t bytes)
{
	if (option->min == 0)
		snprintf(text, bytes, "at most %" PRId64 " characters", option->max);
	else
		snprintf(text, bytes, "%" PRId64 " to %" PRId64 " characters", option->min,
			option->max);
}

void options_range(const struct option_row *option, char *text, size_t bytes)
{
	switch (option->type) {
	case OPTION_TEXT:
	case OPTION_NAME:
		length_range(option, text, bytes);
		break;
	case OPTION_INT:
		snprintf(text, bytes, "%" PRId64 " to %" PRId64 "%s%s", option->min, option->max,
			option->words ? " " : "", option->words ? option->words : "");
		break;
	case OPTION_BYTES:
		byte_range(option, text, bytes);
		break;
	case OPTION_BOOL:
		snprintf(text, bytes, "true or false");
		break;
	case OPTION_CHOICE:
		choice_range(option, text, bytes);
		break;
	case OPTION_PARTITIONS:
		snprintf(text, bytes, "all, or a list such as [0, 3]");
		break;
	case OPTION_PROPERTIES:
		snprintf(text, bytes, "a mapping such as {security.protocol: ssl}");
		break;
	case OPTION_LISTEN:
		snprintf(text, bytes, "host:port, or \"\" for none");
		break;
	}
}

void options_expected(const struct option_row *option, char *text, size_t bytes)
{
	static const char *const what[] = {
		[OPTION_TEXT] = "text, ",
		[OPTION_NAME] = "a name of A-Z a-z 0-9 . _ -, ",
		[OPTION_INT] = "a whole number from ",
		[OPTION_BYTES] = "bytes from ",
		[OPTION_LISTEN] = "",
	};
	char range[100];

	options_range(option, range, sizeof(range));
	snprintf(text, bytes, "%s%s", what[option->type] ? what[option->type] : "", range);
}

bool options_is_secret(const char *property)
{
	static const char *const signs[] = {"password", "secret", "key", "token", "pem",
		"credential", "oauthbearer.config", "oauthbearer.extensions", "kinit.cmd"};

	for (size_t i = 0; i < COUNT(signs); i++)
		if (strcasestr(property, signs[i]))
			return true;
	return false;
}
