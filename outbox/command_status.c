/* `outboxd status`. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "outbox_store_mysql.h"
#include "servers.h"

static const char *const examples[] = {
	"outboxd status",
	"outboxd status --json | jq .pending",
	NULL,
};

static void print_json(const struct outbox_status *status)
{
	json_t *json = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "holder", status->holder,
		"held", status->held, "epoch", (json_int_t)status->epoch, "expires_ms",
		(json_int_t)status->expires_ms, "pending", (json_int_t)status->pending,
		"oldest_pending_ms", (json_int_t)status->oldest_pending_ms, "failed",
		(json_int_t)status->failed);

	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
}

static void print_text(const struct outbox_status *status)
{
	if (status->held)
		printf("sends     %s, epoch %" PRId64 ", for another %.1f s\n", status->holder,
			status->epoch, (double)status->expires_ms / 1000);
	else if (status->epoch)
		printf("sends     nobody; %s did, until %.1f s ago\n", status->holder,
			(double)-status->expires_ms / 1000);
	else
		printf("sends     nobody ever has\n");
	printf("PENDING   %" PRId64 " rows", status->pending);
	if (status->pending)
		printf(", the oldest for %.1f s", (double)status->oldest_pending_ms / 1000);
	printf("\nFAILED    %" PRId64 " rows\n", status->failed);
}

static int show(const struct config *config, bool json)
{
	struct db_options options;
	struct outbox_status status;
	struct error err;
	enum db_result result;
	struct db *db;

	servers_db_options(config, &options);
	options.local_infile = false;
	db = db_create(&options);
	result = db_connect(db, &err);
	if (result == DB_OK)
		result = outbox_store_mysql_status(db, &status, &err);
	db_destroy(db);
	if (result != DB_OK)
		return command_failed("reading the outbox", &err);
	if (json)
		print_json(&status);
	else
		print_text(&status);
	return EXIT_DONE;
}

int command_status(int argc, char **argv)
{
	bool json = false;
	const struct args_option table[] = {
		{"json", ARGS_FLAG, NULL, "as JSON", &json, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "outboxd status",
		.usage = "[--json]",
		.summary =
			"Which relay sends, and how many rows of outbox_events are PENDING and FAILED.",
		.options = table,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = show(&config, json);
	command_end(&config);
	return status;
}
