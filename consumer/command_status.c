/* `ledgerd status`. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "command.h"
#include "clock.h"
#include "servers.h"
#include "status.h"
#include "topic_kafka.h"

#define BETWEEN_LOOKS_S 2

static const char *const examples[] = {
	"ledgerd status",
	"ledgerd status --json | jq '.partitions[] | select(.lag > 1000)'",
	NULL,
};

/* The log's end as Kafka has it now; -1 where Kafka does not answer: the rest is shown all the
 * same. */
static int64_t high_watermark(void *context, int32_t partition)
{
	struct kafka_client *kafka = context;
	struct topic *topic = topic_kafka_create(kafka, partition);
	struct error err;
	int64_t low, high;
	int rc = topic->ops->watermarks(topic, &low, &high, &err);

	topic->ops->destroy(topic);
	return rc == 0 ? high : -1;
}

static void look(struct progress *progress, const struct status *status)
{
	struct progress_sum sum = status_sum(status);

	progress_look(progress, &sum, clock_system.now_ms(&clock_system));
}

/* With how fast a backlog shrinks, which takes a second look, a while later. */
static enum db_result read_twice(
	struct db *db, struct kafka_client *kafka, struct status *ret_status, struct error *err)
{
	const struct timespec pause = {.tv_sec = BETWEEN_LOOKS_S};
	struct progress progress = {0};
	enum db_result result = status_read(db, high_watermark, kafka, ret_status, err);

	if (result != DB_OK)
		return result;
	look(&progress, ret_status);
	ret_status->backlog = progress_report(&progress);
	if (!progress_is_backlog(&ret_status->backlog))
		return DB_OK;
	nanosleep(&pause, NULL);
	status_finish(ret_status);
	result = status_read(db, high_watermark, kafka, ret_status, err);
	if (result == DB_OK) {
		look(&progress, ret_status);
		ret_status->backlog = progress_report(&progress);
	}
	return result;
}

static int show(const struct config *config, struct kafka_client *kafka, bool json)
{
	struct db_options options;
	struct status status;
	struct error err;
	struct db *db;
	enum db_result result;

	servers_db_options(config, &options);
	options.local_infile = false;
	db = db_create(&options);
	result = read_twice(db, kafka, &status, &err);
	if (result == DB_OK && json) {
		char *text = status_dump(&status);

		puts(text);
		free(text);
	} else if (result == DB_OK) {
		status_print(&status, stdout);
	}
	status_finish(&status);
	db_destroy(db);
	return result == DB_OK ? EXIT_DONE : command_failed("reading the status", &err);
}

int command_status(int argc, char **argv)
{
	bool json = false;
	const struct args_option table[] = {
		{"json", ARGS_FLAG, NULL, "as JSON, as /status of HTTP has it", &json, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "ledgerd status",
		.usage = "[--json]",
		.summary =
			"Partitions, their owners, epochs, offsets and lag, and the instances that are\n"
			"alive.  A lag of ? means that Kafka did not answer.  A backlog is looked at\n"
			"twice, two seconds apart, to tell how long it will take.",
		.options = table,
		.examples = examples,
	};
	struct args args;
	struct config config;
	struct kafka_client *kafka = NULL;
	struct error err;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	if (kafka_client_create(&config, &kafka, &err) == 0) {
		status = show(&config, kafka, json);
		kafka_client_destroy(kafka);
	} else {
		command_failed("reading the configuration", &err);
		status = EXIT_USAGE;
	}
	command_end(&config);
	return status;
}
