/* `ledgerd dead-letters redrive`. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "command.h"
#include "command_dead_letters.h"
#include "log.h"
#include "redrive.h"
#include "table.h"
#include "who.h"

#define LISTED_MAX 20

static const char *const examples[] = {
	"ledgerd dead-letters redrive --reason WRONG_PARTITION --dry-run",
	"ledgerd dead-letters redrive --partition 3 --offset 1044",
	NULL,
};

struct line {
	int64_t partition;
	int64_t offset, from_offset, to_offset;
	const char *reason;
	bool offset_given, from_given, to_given;
	bool all, again, dry_run, json;
};

struct run {
	const struct config *config;
	const struct line *line;
	struct redrive_options options;
	struct redrive_plan plan;
	struct db *db;
	struct producer *producer; /* NULL with --dry-run */
	int64_t published;
	char who[WHO_MAX];
	bool terminal;
};

static volatile sig_atomic_t interrupted;

static void note_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

/* Saying ----------------------------------------------------------------------------------------
 */

/* "MALFORMED 3, ID_CONFLICT 1" */
static void print_counts(const int64_t counts[REDRIVE_REASONS])
{
	const char *comma = "";

	for (int reason = DEAD_MALFORMED; reason < REDRIVE_REASONS; reason++) {
		if (counts[reason] == 0)
			continue;
		printf("%s%s %" PRId64, comma, dead_reason_text((enum dead_reason)reason),
			counts[reason]);
		comma = ", ";
	}
}

static int64_t sum(const int64_t counts[REDRIVE_REASONS])
{
	int64_t total = 0;

	for (int reason = 0; reason < REDRIVE_REASONS; reason++)
		total += counts[reason];
	return total;
}

/* "  <text>: MALFORMED 3", if there are any. */
static void print_some(
	const char *before, const int64_t counts[REDRIVE_REASONS], const char *behind)
{
	if (sum(counts) == 0)
		return;
	printf("  %s: ", before);
	print_counts(counts);
	printf("%s\n", behind);
}

static void say_before(const struct run *run)
{
	const struct redrive_plan *plan = &run->plan;

	printf("%zu dead letters %s published again to topic %s\n", plan->count,
		run->line->dry_run ? "would be" : "will be", run->config->kafka.topic);
	print_some("by reason", plan->by_reason, "");
	print_some("of them, will be dead letters again", plan->again, "");
	print_some("left out, as they would be dead letters again", plan->left_out,
		" (--reason or --offset publishes them all the same)");
	if (plan->before > 0)
		printf("  left out, as they were published again before: %" PRId64 " (--again)\n",
			plan->before);
	fflush(stdout);
}

static void print_plan(const struct redrive_plan *plan)
{
	static const char *const titles[] = {">PARTITION", ">OFFSET", "REASON", "BECOMES"};
	struct table table;

	table_init(&table, titles, 4);
	for (size_t i = 0; i < plan->count && i < LISTED_MAX; i++) {
		const struct redrive_letter *letter = &plan->letters[i];

		table_add(&table, "%d", (int)letter->partition);
		table_add(&table, "%" PRId64, letter->offset);
		table_add(&table, "%s", dead_reason_text(letter->reason));
		table_add(
			&table, "%s", letter->again ? dead_reason_text(letter->again) : "an event");
	}
	if (plan->count > 0)
		table_print(&table, stdout);
	table_finish(&table);
	if (plan->count > LISTED_MAX)
		printf("... and %zu more\n", plan->count - LISTED_MAX);
	puts("nothing was published (--dry-run)");
}

static json_t *json_counts(const int64_t counts[REDRIVE_REASONS])
{
	json_t *json = json_object();

	for (int reason = DEAD_MALFORMED; reason < REDRIVE_REASONS; reason++)
		json_object_set_new(json, dead_reason_text((enum dead_reason)reason),
			json_integer((json_int_t)counts[reason]));
	return json;
}

static void print_json(const struct run *run, const char *failure)
{
	const struct redrive_plan *plan = &run->plan;
	json_t *root = json_pack("{s:I, s:o, s:o, s:o, s:I, s:I, s:s, s:b, s:s?}", "chosen",
		(json_int_t)plan->count, "by_reason", json_counts(plan->by_reason),
		"dead_letters_again", json_counts(plan->again), "left_out",
		json_counts(plan->left_out), "redriven_before", (json_int_t)plan->before,
		"published", (json_int_t)run->published, "by", run->who, "dry_run",
		run->line->dry_run, "failure", failure);
	char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;

	puts(text ? text : "{}");
	free(text);
	json_decref(root);
}

static void finish(const struct run *run, const struct error *err)
{
	const struct line *line = run->line;

	if (run->terminal)
		fputs("\r\033[K", stderr);
	if (!line->dry_run)
		log_info("dead letters redriven", LS("by", run->who),
			LI("partition", line->partition), LS("reason", line->reason),
			LI("chosen", (int64_t)run->plan.count), LI("published", run->published),
			LB("complete", err == NULL));
	if (line->json)
		print_json(run, err ? err->text : NULL);
	else if (line->dry_run && !err)
		print_plan(&run->plan);
	else
		printf("%" PRId64 " published and acknowledged\n", run->published);
	fflush(stdout);
}

/* Doing -----------------------------------------------------------------------------------------
 */

/* Where it goes must be the log that this database belongs to. */
static int open_servers(struct run *run, struct error *err)
{
	const struct config_kafka *kafka = &run->config->kafka;
	struct ledger_meta meta = {0};
	int rc = command_dead_letters_open(run->config, &run->db, &meta, err);

	if (rc == 0)
		rc = ledger_meta_check(&meta, (int32_t)run->line->partition, err);
	run->options.partitions = meta.partitions;
	if (rc == 0 && strcmp(meta.topic, kafka->topic) != 0)
		rc = error_set(err, -1, "this database belongs to topic %s, and kafka.topic is %s",
			meta.topic, kafka->topic);
	if (rc != 0 || run->line->dry_run)
		return rc;
	rc = producer_create(run->config, false, &run->producer, err);
	if (rc == 0 && strcmp(producer_cluster_id(run->producer), meta.kafka_cluster_id) != 0)
		rc = error_set(err, -1,
			"this database belongs to Kafka cluster %s, and kafka.bootstrap_servers "
			"leads to cluster %s: name the right one",
			meta.kafka_cluster_id, producer_cluster_id(run->producer));
	if (rc == 0 && producer_partitions(run->producer) != meta.partitions)
		rc = error_set(err, -1,
			"topic %s has %d partitions, and this database belongs to one with %d; "
			"see \"Growing a topic\" in docs/OPERATIONS.md",
			kafka->topic, (int)producer_partitions(run->producer),
			(int)meta.partitions);
	return rc;
}

static int publish(struct run *run, struct error *err)
{
	size_t at = 0;
	int rc = 0;

	while (rc == 0 && at < run->plan.count) {
		if (interrupted)
			return error_set(err, -1,
				"interrupted: begin again for the rest, what is published is "
				"marked");
		rc = redrive_some(run->db, run->producer, &run->plan, &at, &run->published, err);
		if (run->terminal)
			fprintf(stderr, "\r%zu of %zu   ", at, run->plan.count);
	}
	return rc;
}

static int redrive(struct run *run, struct error *err)
{
	int rc = db_code(redrive_plan(run->db, &run->options, &run->plan, err));

	if (rc != 0)
		return rc;
	if (!run->line->json)
		say_before(run);
	if (!run->line->dry_run)
		rc = publish(run, err);
	finish(run, rc == 0 ? NULL : err);
	return rc;
}

static int run_redrive(
	const struct config *config, const struct line *line, const struct redrive_options *options)
{
	struct sigaction action = {.sa_handler = note_interrupt};
	struct run run = {.config = config, .line = line, .options = *options};
	struct error err;
	int rc;

	run.terminal = isatty(STDERR_FILENO) && !line->dry_run;
	who_text(run.who);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	rc = open_servers(&run, &err);
	if (rc == 0)
		rc = redrive(&run, &err);
	redrive_plan_finish(&run.plan);
	if (run.producer)
		producer_destroy(run.producer);
	db_destroy(run.db);
	return rc == 0 ? EXIT_DONE : command_failed("publishing dead letters again", &err);
}

/* The line --------------------------------------------------------------------------------------
 */

static const char *what_is_wrong(const struct line *line)
{
	bool range = line->from_given || line->to_given;

	if (!line->offset_given && !range && !line->reason && !line->all)
		return "say which: --offset, --from-offset and --to-offset, --reason, or --all";
	if (line->offset_given && (range || line->all))
		return "--offset stands for itself: no range and no --all beside it";
	if ((line->offset_given || range) && line->partition < 0)
		return "offsets are a partition's: give --partition, too";
	return NULL;
}

/* false: told on standard error. */
static bool read_options(const struct line *line, struct redrive_options *options)
{
	const char *wrong = what_is_wrong(line);

	if (wrong)
		fprintf(stderr, "ledgerd dead-letters redrive: %s\n", wrong);
	*options = (struct redrive_options){
		.filter =
			{
				.partition = (int32_t)line->partition,
				.from_offset = line->offset_given ? line->offset
								  : line->from_offset,
				.to_offset = line->offset_given ? line->offset + 1
								: line->to_offset,
			},
		.again = line->again,
		.hopeless = line->offset_given || line->reason,
	};
	return !wrong && command_dead_letters_reason(line->reason, &options->filter.reason);
}

int command_redrive(int argc, char **argv)
{
	struct line line = {.partition = -1, .to_offset = INT64_MAX};
	struct redrive_options redrive_options;
	const struct args_option options[] = {
		{"partition", ARGS_INTEGER, "P", "of this partition", &line.partition, 0, INT32_MAX,
			NULL},
		{"offset", ARGS_INTEGER, "N", "only this one", &line.offset, 0, INT64_MAX - 1,
			&line.offset_given},
		{"from-offset", ARGS_INTEGER, "N", "from this offset", &line.from_offset, 0,
			INT64_MAX, &line.from_given},
		{"to-offset", ARGS_INTEGER, "M", "up to, but without this offset", &line.to_offset,
			0, INT64_MAX, &line.to_given},
		{"reason", ARGS_TEXT, "R", "of this reason: all of them, whether it helps or not",
			&line.reason, 0, 0, NULL},
		{"all", ARGS_FLAG, NULL, "all that can help", &line.all, 0, 0, NULL},
		{"again", ARGS_FLAG, NULL, "also those that were published again before",
			&line.again, 0, 0, NULL},
		{"dry-run", ARGS_FLAG, NULL, "only show which", &line.dry_run, 0, 0, NULL},
		{"json", ARGS_FLAG, NULL, "the result as one JSON object", &line.json, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "ledgerd dead-letters redrive",
		.usage = "[OPTION...]",
		.summary =
			"Publishes dead letters again, byte for byte, to the partition of their key.  "
			"Those that\nwould only become dead letters again (all MALFORMED, say) are left "
			"out, unless --offset\nor --reason asks for them.  An event without `ts` gets "
			"the time of the redrive.",
		.options = options,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = read_options(&line, &redrive_options)
			 ? run_redrive(&config, &line, &redrive_options)
			 : EXIT_USAGE;
	command_end(&config);
	return status;
}
