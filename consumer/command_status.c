/* `ledgerd status`. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "servers.h"
#include "status.h"
#include "topic_kafka.h"

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
	result = status_read(db, high_watermark, kafka, &status, &err);
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
			"alive.  A lag of - means that Kafka did not answer.",
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
