/* `ledgerd verify`. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "verify.h"

struct line {
	int64_t partition;
	bool from_kafka;
	bool json;
};

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

/* The end of the report.  A failure before anything was looked at has none. */
static void print_end(const struct line *line, const struct verify_report *report,
	int64_t elapsed_ms, int rc, const struct error *err)
{
	bool complete = rc == 0;

	if (line->json)
		verify_report_print_json(
			report, elapsed_ms, complete, complete ? NULL : err->text, stdout);
	else if (complete || report->counts.partitions > 0 || report->differences > 0)
		verify_report_print(report, elapsed_ms, complete, stdout);
	fflush(stdout);
}

static int run(const struct config *config, const struct line *line)
{
	struct verify_options options = {(int32_t)line->partition, line->from_kafka};
	int64_t started_ms = now_ms();
	struct verify_report report;
	struct error err;
	int rc;

	signal(SIGPIPE, SIG_IGN); /* as snapshot_redis.h wants it */
	verify_report_init(
		&report, line->json ? NULL : stdout, isatty(STDERR_FILENO) ? stderr : NULL);
	rc = verify(config, &options, &clock_system, &report, &err);
	print_end(line, &report, now_ms() - started_ms, rc, &err);
	if (rc != 0)
		rc = command_failed("verifying", &err);
	else
		rc = report.differences > 0 ? EXIT_DIFFERENT : EXIT_DONE;
	verify_report_finish(&report);
	return rc;
}

int command_verify(int argc, char **argv)
{
	struct line line = {.partition = -1};
	const struct args_option options[] = {
		{"partition", ARGS_INTEGER, "P", "only this partition", &line.partition, 0,
			INT32_MAX, NULL},
		{"from-kafka", ARGS_FLAG, NULL, "compare every message of the log, too",
			&line.from_kafka, 0, 0, NULL},
		{"json", ARGS_FLAG, NULL, "the result as one JSON object", &line.json, 0, 0, NULL},
		{0},
	};
	static const char *const examples[] = {
		"ledgerd verify",
		"ledgerd verify --partition 3 --from-kafka",
		"ledgerd verify --json | jq .by_kind",
		NULL,
	};
	const struct args_spec spec = {
		.program = "ledgerd verify",
		.usage = "[--partition P] [--from-kafka] [--json]",
		.summary =
			"Checks the ledger's invariants over every row: each account's chain by "
			"the "
			"rules, the\nbalances, the sums of each currency, and Redis; with "
			"--from-kafka every message of the\nlog as well.  Reads only, and may run "
			"beside the daemon.  Exit status 3: a difference\nwas found.",
		.options = options,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = run(&config, &line);
	command_end(&config);
	return status;
}
