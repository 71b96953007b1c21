/* `outboxd check-config`: the file, and the two servers that a relay needs. */
#include <errno.h>
#include <stdio.h>

#include "commands.h"
#include "kafka.h"
#include "outbox_store_mysql.h"
#include "servers.h"

#define ASK_MS 10000

static const char *const examples[] = {
	"outboxd check-config -c ledgerd.yaml",
	NULL,
};

static const struct args_spec spec = {
	.program = "outboxd check-config",
	.usage = "[-c FILE]",
	.summary =
		"Checks the configuration, Kafka, and the outbox's tables, and says what to change.\n"
		"Changes nothing.  Exit status 0 if `outboxd run` would work, 1 if a server needs a\n"
		"change, 2 if the configuration does.",
	.examples = examples,
};

/* Only that a broker answers: which topics there are to be is the rows' matter. */
static int check_kafka(const struct config *config, bool *ret_refused)
{
	const struct rd_kafka_metadata *metadata;
	struct error err;
	rd_kafka_t *rk = NULL;
	int rc = kafka_open_relay(config, NULL, NULL, &rk, &err);
	rd_kafka_resp_err_t code;

	*ret_refused = rc == -EINVAL;
	if (rc == 0) {
		code = rd_kafka_metadata(rk, 0, NULL, &metadata, ASK_MS);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
			rd_kafka_metadata_destroy(metadata);
		else
			rc = kafka_error(config, code, &err, "asking for the brokers");
	}
	kafka_close(rk);
	return command_checked("kafka", rc, config->kafka.bootstrap_servers, &err);
}

static int check_mysql(const struct config *config)
{
	struct db_options options;
	struct outbox_status status;
	struct error err;
	enum db_result result;
	char where[300];
	struct db *db;

	servers_db_options(config, &options);
	options.local_infile = false;
	db = db_create(&options);
	result = db_connect(db, &err);
	if (result == DB_OK)
		result = outbox_store_mysql_status(db, &status, &err);
	servers_db_name(config, where, sizeof where);
	db_destroy(db);
	return command_checked("mysql", result != DB_OK, where, &err);
}

int command_check_config(int argc, char **argv)
{
	struct args args;
	struct config config;
	bool refused;
	int wrong;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	wrong = check_kafka(&config, &refused);
	wrong += check_mysql(&config);
	command_end(&config);
	if (refused)
		return EXIT_USAGE;
	return wrong ? EXIT_FAILED : EXIT_DONE;
}
