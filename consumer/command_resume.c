/*
 * `ledgerd resume`.
 *
 * It says what it is about to do before it does it, on standard output or as JSON, and leaves a
 * line in the log of who did what.  Kafka is asked only for the ends of the log, and only if
 * offsets are given up: a halt whose cause was removed can be cleared while Kafka is away.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "command.h"
#include "log.h"
#include "resume.h"
#include "same_log.h"
#include "servers.h"
#include "topic_kafka.h"
#include "who.h"

static const char *const examples[] = {
	"ledgerd resume --partition 3 --reason 'grant restored'",
	"ledgerd resume --partition 3 --at-offset 5000 --reason 'INC-17: lost, customers told'",
	NULL,
};

struct line {
	int64_t partition;
	int64_t at_offset;
	const char *reason;
	bool dry_run;
	bool json;
};

/* What is known when it is time to say what will be done. */
struct view {
	struct resume_state state;
	char *halted_reason;
	struct resume_log log;
	char who[WHO_MAX];
};

static bool gives_up(const struct line *line)
{
	return line->at_offset != RESUME_NO_OFFSET;
}

/* Saying ------------------------------------------------------------------------------------- */

static void say(const struct line *line, const struct view *view)
{
	int64_t next_offset = view->state.next_offset;

	printf("partition %" PRId64 " is halted at offset %" PRId64 ": %s\n", line->partition,
		next_offset, view->halted_reason);
	if (!gives_up(line)) {
		printf("will clear the halt; the partition goes on at offset %" PRId64
		       ", and halts again if the cause is still there\n",
			next_offset);
	} else {
		printf("the log has offsets %" PRId64 " to %" PRId64 "\n", view->log.low,
			view->log.high - 1);
		printf("will record offsets %" PRId64 " to %" PRId64 " (%" PRId64
		       ") in offset_gaps as not processed, and go on at offset %" PRId64 "\n",
			next_offset, line->at_offset - 1, line->at_offset - next_offset,
			line->at_offset);
	}
	fflush(stdout);
}

static void print_json(const struct line *line, const struct view *view, bool resumed)
{
	int64_t next_offset = view->state.next_offset;
	json_t *gap = gives_up(line)
			      ? json_pack("{s:I, s:I}", "from_offset", (json_int_t)next_offset,
					"to_offset", (json_int_t)line->at_offset)
			      : json_null();
	json_t *log = gives_up(line) ? json_pack("{s:I, s:I}", "low", (json_int_t)view->log.low,
					       "high", (json_int_t)view->log.high)
				     : json_null();
	json_t *root = json_pack("{s:I, s:s, s:I, s:I, s:o, s:o, s:s, s:s, s:b, s:b}", "partition",
		(json_int_t)line->partition, "halted_reason", view->halted_reason, "next_offset",
		(json_int_t)next_offset, "next_offset_after",
		(json_int_t)(gives_up(line) ? line->at_offset : next_offset), "gap", gap, "log",
		log, "reason", line->reason, "by", view->who, "dry_run", line->dry_run, "resumed",
		resumed);
	char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;

	puts(text ? text : "{}");
	free(text);
	json_decref(root);
}

static void finish(const struct line *line, const struct view *view, bool resumed)
{
	if (line->json)
		print_json(line, view, resumed);
	else
		puts(resumed ? "resumed: a running instance takes it within seconds; see `ledgerd "
			       "status`"
			     : "nothing was changed (--dry-run)");
}

/* Doing -------------------------------------------------------------------------------------- */

/* Both ends of the log, which must be the one that the database was made from. */
static int ask_log(struct kafka_client *kafka, const struct config *config, struct db *db,
	int32_t partition, struct resume_log *ret_log, struct error *err)
{
	struct ledger_meta meta;
	struct topic *topic;
	int rc = db_code(ledger_meta_read(db, &meta, err));

	if (rc == 0)
		rc = ledger_meta_check(&meta, partition, err);
	if (rc == 0)
		rc = same_log(kafka, config, &meta, err);
	if (rc != 0)
		return rc;
	topic = topic_kafka_create(kafka, partition);
	rc = topic->ops->watermarks(topic, &ret_log->low, &ret_log->high, err);
	topic->ops->destroy(topic);
	return rc;
}

/* Returns an exit status. */
static int ask_kafka(const struct config *config, struct db *db, const struct line *line,
	struct resume_log *ret_log)
{
	struct kafka_client *kafka = NULL;
	struct error err;
	int rc;

	if (kafka_client_create(config, &kafka, &err) != 0) {
		command_failed("reading the configuration", &err);
		return EXIT_USAGE;
	}
	rc = ask_log(kafka, config, db, (int32_t)line->partition, ret_log, &err);
	kafka_client_destroy(kafka);
	return rc == 0 ? EXIT_DONE : command_failed("asking Kafka for the log's ends", &err);
}

static int apply(struct db *db, const struct line *line, const struct view *view)
{
	struct resume resume = {(int32_t)line->partition, line->at_offset, line->reason};
	struct error err;
	bool done;
	enum db_result result = resume_apply(
		db, &resume, &view->state, view->halted_reason, &done, &err);

	if (result == DB_OK && !done) {
		error_set(&err, -EAGAIN,
			"the partition has changed meanwhile, nothing was done; say it again");
		result = DB_RETRY;
	}
	if (result != DB_OK)
		return command_failed("resuming", &err);
	if (gives_up(line))
		log_warn("resumed with a gap", LI("partition", line->partition),
			LI("from_offset", view->state.next_offset),
			LI("to_offset", line->at_offset), LS("by", view->who),
			LS("reason", line->reason), LS("halted_reason", view->halted_reason));
	else
		log_warn("resumed", LI("partition", line->partition),
			LI("next_offset", view->state.next_offset), LS("by", view->who),
			LS("reason", line->reason), LS("halted_reason", view->halted_reason));
	return EXIT_DONE;
}

/* Whether it may be done, by what the database and (if need be) Kafka say.  An exit status. */
static int check(
	const struct config *config, struct db *db, const struct line *line, struct view *view)
{
	int32_t partition = (int32_t)line->partition;
	struct error err;
	int status = EXIT_DONE;
	int rc = resume_plan(&view->state, partition, RESUME_NO_OFFSET, NULL, &err);

	if (rc == 0 && gives_up(line)) {
		status = ask_kafka(config, db, line, &view->log);
		if (status == EXIT_DONE)
			rc = resume_plan(
				&view->state, partition, line->at_offset, &view->log, &err);
	}
	return rc == 0 ? status : command_failed("resuming", &err);
}

static int act(
	const struct config *config, struct db *db, const struct line *line, struct view *view)
{
	int status = check(config, db, line, view);

	if (status != EXIT_DONE)
		return status;
	if (!line->json)
		say(line, view);
	if (!line->dry_run)
		status = apply(db, line, view);
	if (status == EXIT_DONE)
		finish(line, view, !line->dry_run);
	return status;
}

static int run(const struct config *config, const struct line *line)
{
	struct db_options options;
	struct view view = {.halted_reason = NULL};
	struct error err;
	struct db *db;
	int status;

	who_text(view.who);
	servers_db_options(config, &options);
	options.local_infile = false;
	db = db_create(&options);
	if (db_connect(db, &err) == DB_OK && resume_read(db, (int32_t)line->partition, &view.state,
						     &view.halted_reason, &err) == DB_OK)
		status = act(config, db, line, &view);
	else
		status = command_failed("reading partition_offsets", &err);
	free(view.halted_reason);
	db_destroy(db);
	return status;
}

/* Characters of a UTF-8 text. */
static size_t count_characters(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

static bool check_line(const struct line *line)
{
	const char *wrong = NULL;

	if (line->partition < 0)
		wrong = "--partition P is missing: which one?";
	else if (!line->reason || !line->reason[0])
		wrong = "--reason TEXT is missing: why, for those who look at it later";
	else if (count_characters(line->reason) > RESUME_REASON_MAX)
		wrong = "--reason is longer than 1000 characters";
	if (wrong)
		fprintf(stderr, "ledgerd resume: %s\n", wrong);
	return !wrong;
}

int command_resume(int argc, char **argv)
{
	struct line line = {.partition = -1, .at_offset = RESUME_NO_OFFSET};
	const struct args_option table[] = {
		{"partition", ARGS_INTEGER, "P", "the halted partition", &line.partition, 0,
			INT32_MAX, NULL},
		{"at-offset", ARGS_INTEGER, "N", "go on here: what is before is given up",
			&line.at_offset, 0, INT64_MAX, NULL},
		{"reason", ARGS_TEXT, "TEXT", "why; is recorded", &line.reason, 0, 0, NULL},
		{"dry-run", ARGS_FLAG, NULL, "only say what would be done", &line.dry_run, 0, 0,
			NULL},
		{"json", ARGS_FLAG, NULL, "as one JSON object", &line.json, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "ledgerd resume",
		.usage = "--partition P [--at-offset N] --reason TEXT",
		.summary =
			"Clears the halt of a partition whose cause was removed; it starts by itself, "
			"and\nhalts again if the cause is still there.  With --at-offset, the offsets "
			"before N\nthat were not processed never will be: they are recorded in "
			"offset_gaps.  N is in\nthe log, and above next_offset.  What each halt "
			"means: docs/OPERATIONS.md.",
		.options = table,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = check_line(&line) ? run(&config, &line) : EXIT_USAGE;
	command_end(&config);
	return status;
}
