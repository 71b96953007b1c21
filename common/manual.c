/*
 * See manual.h.
 *
 * Help texts in the table have `code` in backquotes; plain text leaves them away.
 */
#include "manual.h"

#include "options.h"

#include <stdbool.h>
#include <string.h>

/* Words of `text` in lines of at most `width` columns, each begun with `indent`. */
static void print_wrapped(const char *text, const char *indent, size_t width, FILE *file)
{
	size_t column = 0;

	while (*text) {
		size_t length = strcspn(text, " ");
		bool fits = column > 0 && column + 1 + length <= width;

		if (!fits)
			fprintf(file, "%s%s", column > 0 ? "\n" : "", indent);
		column = fits ? column + 1 + length : strlen(indent) + length;
		if (fits)
			putc(' ', file);
		fwrite(text, 1, length, file);
		text += length + (text[length] == ' ');
	}
	putc('\n', file);
}

/* The help text without its backquotes. */
static void plain_help(const char *help, char *text)
{
	for (; *help; help++)
		if (*help != '`')
			*text++ = *help;
	*text = '\0';
}

/* The range of a text is its length alone, which helps nobody before it is too long. */
static bool has_range(const struct option_row *option)
{
	return option->type != OPTION_TEXT && option->type != OPTION_PROPERTIES;
}

/* An option's help, and what its value may be. */
static void describe(const struct option_row *option, char *text, size_t bytes)
{
	char help[600], expected[160];

	plain_help(option->help, help);
	options_expected(option, expected, sizeof(expected));
	if (has_range(option))
		snprintf(text, bytes, "%s Allowed: %s.", help, expected);
	else
		snprintf(text, bytes, "%s", help);
}

static bool in_section(const struct option_row *option, const struct option_section *section)
{
	return strcmp(option->section, section->name) == 0;
}

/* ledgerd --help-config */

void manual_print_help(FILE *file)
{
	char text[800], variable[OPTIONS_NAME_MAX];

	fputs("Options of the configuration file (YAML). An environment variable wins over the\n"
	      "file; its value is read as YAML too.\n",
		file);
	for (size_t i = 0; i < option_row_count; i++) {
		const struct option_row *option = &option_rows[i];

		options_variable(option->section, option->name, variable);
		describe(option, text, sizeof(text));
		fprintf(file, "\n%s.%s: %s\n    %s\n", option->section, option->name,
			option->fallback, variable);
		print_wrapped(text, "    ", 80, file);
	}
	fputs("\nPasswords, in the environment only, as they are (not YAML):\n", file);
	for (size_t i = 0; i < option_section_count; i++) {
		options_variable(option_sections[i].name, "password", variable);
		if (option_sections[i].has_password)
			fprintf(file, "    %s\n", variable);
	}
}

/* deploy/ledgerd.sample.yaml */

void manual_print_sample(FILE *file)
{
	char text[800];

	fputs("# A configuration of ledgerd: every option, with its default. Leave away what you "
	      "do not\n"
	      "# change. Printed by `ninja manual` from the table in common/options.c; "
	      "docs/CONFIG.md says\n"
	      "# the same in more words.\n"
	      "#\n"
	      "# Every option can also come from the environment, LEDGERD_<SECTION>_<OPTION>, "
	      "which wins.\n"
	      "# Passwords never stand here: LEDGERD_KAFKA_PASSWORD, LEDGERD_MYSQL_PASSWORD,\n"
	      "# LEDGERD_REDIS_PASSWORD, or a file that password_file names.\n",
		file);
	for (size_t s = 0; s < option_section_count; s++) {
		putc('\n', file);
		print_wrapped(option_sections[s].help, "# ", 96, file);
		fprintf(file, "%s:\n", option_sections[s].name);
		for (size_t i = 0; i < option_row_count; i++) {
			if (!in_section(&option_rows[i], &option_sections[s]))
				continue;
			describe(&option_rows[i], text, sizeof(text));
			print_wrapped(text, "  # ", 96, file);
			fprintf(file, "  %s: %s\n", option_rows[i].name, option_rows[i].fallback);
		}
	}
}

/* docs/CONFIG.md */

static const char introduction[] =
	"# Configuration\n"
	"\n"
	"`ledgerd` reads one YAML file, `-c FILE`, by default `/etc/ledgerd/ledgerd.yaml`. Every "
	"option\n"
	"has a default; a file holds only what differs. Without a file at the default place, "
	"defaults\n"
	"and the environment are used; a file named by `-c` must exist.\n"
	"\n"
	"```yaml\n"
	"kafka: {bootstrap_servers: \"kafka-1:9092,kafka-2:9092\"}\n"
	"mysql:\n"
	"  host: db.internal\n"
	"  password_file: /run/secrets/ledger-mysql\n"
	"consumer: {partitions: [0, 1, 2, 3], memory_max: 4G}\n"
	"```\n"
	"\n"
	"`ledgerd check-config -c FILE` checks the file and every server that it names;\n"
	"`ledgerd --help-config` prints this list; `deploy/ledgerd.sample.yaml` has every option "
	"with its\n"
	"default. Mistakes are named with their place, and the exit status is 2:\n"
	"\n"
	"```\n"
	"ledgerd.yaml:3:3: unknown option \"mysql.hots\"; did you mean mysql.host?\n"
	"ledgerd.yaml:7:17: lease.ttl_ms is 10; expected a whole number from 3000 to 600000 ms\n"
	"```\n"
	"\n"
	"## Environment\n"
	"\n"
	"Every option can also come from the environment, which wins over the file. The variable "
	"is\n"
	"`LEDGERD_<SECTION>_<OPTION>`, and its value is read as YAML, so that lists and mappings "
	"work and\n"
	"a text with special characters needs quotes of its own:\n"
	"\n"
	"```sh\n"
	"LEDGERD_MYSQL_HOST=db.internal\n"
	"LEDGERD_CONSUMER_PARTITIONS='[0, 1]'\n"
	"LEDGERD_KAFKA_PROPERTIES='{security.protocol: ssl, ssl.ca.location: /etc/kafka/ca.pem}'\n"
	"```\n"
	"\n"
	"A list or mapping replaces the file's. A `LEDGERD_` variable that is no option is a "
	"mistake, as\n"
	"in the file. Only the variables that Kubernetes makes for a service named `ledgerd` or\n"
	"`ledgerd-...` are ignored; a service named `ledgerd-mysql` or `ledgerd-redis` would still "
	"set\n"
	"`LEDGERD_MYSQL_PORT` or `LEDGERD_REDIS_PORT`: give its pods `enableServiceLinks: false`.\n"
	"\n"
	"## Passwords\n"
	"\n"
	"Passwords do not stand in the file. `LEDGERD_KAFKA_PASSWORD`, `LEDGERD_MYSQL_PASSWORD` "
	"and\n"
	"`LEDGERD_REDIS_PASSWORD` are taken as they are (not as YAML). Where they are absent or "
	"empty, the\n"
	"first line of the file that `password_file` names is the password; without either there "
	"is none.\n"
	"Kafka's is librdkafka's `sasl.password`; it wins over one in `kafka.properties`. They are "
	"never\n"
	"logged or printed, nor are `kafka.properties` whose names speak of a secret "
	"(`sasl.password`,\n"
	"`ssl.key.pem`). [SECURITY.md](SECURITY.md) shows connections with passwords and TLS.\n"
	"\n"
	"## Values\n"
	"\n"
	"- Numbers are written in decimal digits without quotes; names that end in `_ms` are "
	"milliseconds.\n"
	"- Bytes are a number, or one with `K`, `M` or `G` (1024, 1024², 1024³): `16M`.\n"
	"- Booleans are `true` and `false`.\n"
	"- Names (`ledger.name`, `kafka.topic`, `consumer.id`) are of letters, digits, `.`, `_` "
	"and `-`.\n"
	"- One document; no anchors, aliases or tags; no name twice.\n";

static void print_table(const struct option_section *section, FILE *file)
{
	char range[160], variable[OPTIONS_NAME_MAX];

	fputs("| option, variable | default | allowed | meaning |\n| --- | --- | --- | --- |\n",
		file);
	for (size_t i = 0; i < option_row_count; i++) {
		const struct option_row *option = &option_rows[i];

		if (!in_section(option, section))
			continue;
		snprintf(range, sizeof(range), "%s",
			option->type == OPTION_TEXT ? "text" : "a mapping");
		if (has_range(option))
			options_range(option, range, sizeof(range));
		options_variable(option->section, option->name, variable);
		fprintf(file, "| `%s.%s`<br>`%s` | `%s` | %s | %s |\n", option->section,
			option->name, variable, option->fallback, range, option->help);
	}
}

static void print_refused_name(const char *name, FILE *file)
{
	fprintf(file, "`%s%s`", name, name[strlen(name) - 1] == '.' ? "*" : "");
}

/* A row for each reason. */
static void print_refusals(FILE *file)
{
	const char *reason = NULL;

	fputs("\n### Refused in `kafka.properties`\n\n"
	      "Correctness rests on these; `ledgerd` sets them itself, or does without.\n\n"
	      "| property | why, or what instead |\n| --- | --- |\n",
		file);
	for (size_t i = 0; i < option_refusal_count; i++) {
		const struct option_refusal *refusal = &option_refusals[i];
		bool same = reason && strcmp(reason, refusal->reason) == 0;

		if (reason && !same)
			fprintf(file, " | %s |\n", reason);
		fputs(same ? ", " : "| ", file);
		print_refused_name(refusal->name, file);
		reason = refusal->reason;
	}
	if (reason)
		fprintf(file, " | %s |\n", reason);
}

void manual_print_markdown(FILE *file)
{
	fputs("<!-- Printed by `ninja manual` from common/options.c and common/manual.c. -->\n\n",
		file);
	fputs(introduction, file);
	for (size_t s = 0; s < option_section_count; s++) {
		const struct option_section *section = &option_sections[s];

		fprintf(file, "\n## %s\n\n%s\n\n", section->name, section->help);
		print_table(section, file);
		if (strcmp(section->name, "kafka") == 0)
			print_refusals(file);
	}
}
