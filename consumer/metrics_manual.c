/* docs/METRICS.md, printed from the table in metrics_text.c. */
#include "metrics.h"

static const char introduction[] =
	"<!-- Printed by `ninja manual` from consumer/metrics_text.c and "
	"consumer/metrics_manual.c. -->\n"
	"\n"
	"# Metrics\n"
	"\n"
	"`ledgerd` serves them at `http://<http.listen>/metrics` (by default `127.0.0.1:9105`) in\n"
	"Prometheus' text format. Prometheus needs no more than:\n"
	"\n"
	"```yaml\n"
	"scrape_configs:\n"
	"  - job_name: ledgerd\n"
	"    static_configs: [{targets: [\"127.0.0.1:9105\"]}]\n"
	"```\n"
	"\n"
	"- Series of a partition are there for the partitions that the instance may own\n"
	"  (`consumer.partitions`). Counters are there from the start, at 0, and keep their value "
	"when\n"
	"  the partition moves to another instance: sum them over the instances.\n"
	"- Gauges of a partition that the instance does not own now, and what is not known, are "
	"absent,\n"
	"  never wrong: the highest of all instances, by partition, is the truth.\n"
	"- All times are in seconds, all sizes in bytes.\n"
	"\n"
	"## What to alert on\n"
	"\n"
	"The rules are in [ledgerd.rules.yml](../deploy/prometheus/ledgerd.rules.yml), an example of "
	"what\n"
	"scrapes in [scrape.yml](../deploy/prometheus/scrape.yml); what each alert means and what to "
	"do is in\n"
	"[OPERATIONS](OPERATIONS.md). A dashboard for Grafana:\n"
	"[ledgerd.json](../deploy/grafana/ledgerd.json).\n"
	"\n"
	"## All metrics\n"
	"\n"
	"| name | type | labels | meaning |\n"
	"| --- | --- | --- | --- |\n";

/* "partition, result" as `partition`, `result`. */
static void print_labels(const struct metrics_family *family, FILE *file)
{
	if (!family->labels[0])
		return;
	putc('`', file);
	for (const char *c = family->labels; *c; c++) {
		if (*c == ',')
			fputs("`, `", file);
		else if (*c != ' ')
			putc(*c, file);
	}
	putc('`', file);
}

static void print_row(const struct metrics_family *family, FILE *file)
{
	fprintf(file, "| [`%s`](#%s) | %s | ", family->name, family->name,
		metrics_type_text(family->type));
	print_labels(family, file);
	fprintf(file, " | %s |\n", family->help);
}

static void print_section(const struct metrics_family *family, FILE *file)
{
	fprintf(file, "\n### %s\n\n%s", family->name, family->help);
	if (family->unit[0])
		fprintf(file, " In %s.", family->unit);
	fputs("\n", file);
	if (family->reading[0])
		fprintf(file, "\n%s\n", family->reading);
}

static void print_bounds(const char *name, const struct histogram_bounds *bounds, FILE *file)
{
	fprintf(file, "- `%s`:", name);
	for (int i = 0; i < bounds->count; i++)
		fprintf(file, " %g", (double)bounds->upper[i] / (double)bounds->divisor);
	fputs("\n", file);
}

void metrics_manual_print(FILE *file)
{
	fputs(introduction, file);
	for (size_t i = 0; i < metrics_family_count; i++)
		print_row(&metrics_families[i], file);
	fputs("\n## How to read them\n", file);
	for (size_t i = 0; i < metrics_family_count; i++)
		print_section(&metrics_families[i], file);
	fputs("\n## Bounds of the histograms\n\n", file);
	print_bounds("ledger_event_latency_seconds", &bounds_latency_ms, file);
	print_bounds("ledger_flush_duration_seconds", &bounds_flush_us, file);
	print_bounds("ledger_flush_events", &bounds_events, file);
}
