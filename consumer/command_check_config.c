/* `ledgerd check-config`: the file, and every server that it names. */
#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "kafka.h"
#include "ledger_meta.h"
#include "migrate.h"
#include "servers.h"
#include "snapshot_redis.h"

#define ASK_MS 10000

static const char *const examples[] = {
	"ledgerd check-config -c ledgerd.yaml",
	NULL,
};

static const struct args_spec spec = {
	.program = "ledgerd check-config",
	.usage = "[-c FILE]",
	.summary =
		"Checks the configuration and every server that it names, and says what to change.\n"
		"Changes nothing.  Exit status 0 if `ledgerd run` would work, 1 if a server needs a\n"
		"change, 2 if the configuration does.",
	.examples = examples,
};

/* Kafka ---------------------------------------------------------------------------------------- */

static const char *entry_value(const rd_kafka_ConfigResource_t *resource, const char *name)
{
	size_t count;
	const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);

	for (size_t i = 0; i < count; i++)
		if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
			return rd_kafka_ConfigEntry_value(entries[i]);
	return NULL;
}

static int judge_cleanup(const struct config *config, rd_kafka_event_t *event, struct error *err)
{
	const rd_kafka_DescribeConfigs_result_t *result =
		event ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
	const rd_kafka_ConfigResource_t **resources;
	const char *policy;
	size_t count;

	if (!result || rd_kafka_event_error(event))
		return error_set(err, -EAGAIN, "Kafka does not tell the settings of topic %s: %s",
			config->kafka.topic,
			event ? rd_kafka_event_error_string(event) : "no answer");
	resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
	if (count != 1 || rd_kafka_ConfigResource_error(resources[0]))
		return error_set(err, -EACCES, "Kafka does not tell the settings of topic %s: %s",
			config->kafka.topic,
			count == 1 ? rd_kafka_ConfigResource_error_string(resources[0])
				   : "no answer");
	policy = entry_value(resources[0], "cleanup.policy");
	if (policy && strcmp(policy, "delete") != 0)
		return error_set(err, -EINVAL,
			"the topic %s has cleanup.policy=%s, which loses events; set it to delete",
			config->kafka.topic, policy);
	return 0;
}

/* Compaction would take events away that the ledger has not seen. */
static int check_cleanup(const struct config *config, rd_kafka_t *rk, struct error *err)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(
		rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(
		RD_KAFKA_RESOURCE_TOPIC, config->kafka.topic);
	rd_kafka_event_t *event;
	int rc;

	rd_kafka_DescribeConfigs(rk, &resource, 1, options, queue);
	event = rd_kafka_queue_poll(queue, ASK_MS);
	rc = judge_cleanup(config, event, err);
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	return rc;
}

struct kafka_layout {
	int32_t partitions; /* 0: not known */
	char cluster_id[KAFKA_CLUSTER_ID_MAX];
};

/* *ret_refused: librdkafka does not take kafka.properties. */
static int check_kafka(
	const struct config *config, struct kafka_layout *ret_layout, bool *ret_refused)
{
	char good[400];
	struct error err;
	rd_kafka_t *rk = NULL;
	int rc = kafka_open(config, KAFKA_READER, NULL, &rk, &err);

	*ret_refused = rc == -EINVAL;
	if (rc == 0)
		rc = kafka_layout(
			rk, config, ASK_MS, &ret_layout->partitions, ret_layout->cluster_id, &err);
	if (rc == 0)
		rc = check_cleanup(config, rk, &err);
	if (rc != 0 && rk)
		rc = kafka_refusal(rk, rc, &err);
	snprintf(good, sizeof good, "%s: topic %s with %" PRId32 " partitions",
		config->kafka.bootstrap_servers, config->kafka.topic, ret_layout->partitions);
	kafka_close(rk);
	return command_checked("kafka", rc, good, &err);
}

/* MySQL ---------------------------------------------------------------------------------------- */

/* The log that the database belongs to must be the one that Kafka has. */
static enum db_result check_meta(const struct config *config, struct db *db,
	const struct kafka_layout *layout, struct error *err)
{
	struct ledger_meta meta;
	enum db_result result = ledger_meta_read(db, &meta, err);

	if (result != DB_OK || meta.kafka_cluster_id[0] == '\0' || layout->partitions == 0)
		return result;
	if (strcmp(meta.topic, config->kafka.topic) == 0 && meta.partitions == layout->partitions &&
		strcmp(meta.kafka_cluster_id, layout->cluster_id) == 0)
		return DB_OK;
	error_set(err, -EINVAL,
		"this database belongs to topic %s with %" PRId32 " partitions in cluster %s, but "
		"Kafka has %s with %" PRId32 " in %s: set mysql.database or kafka.topic, or see "
		"OPERATIONS, \"Growing a topic\"",
		meta.topic, meta.partitions, meta.kafka_cluster_id, config->kafka.topic,
		layout->partitions, layout->cluster_id);
	return DB_HALT;
}

static int check_mysql(const struct config *config, const struct kafka_layout *layout)
{
	struct db_options options;
	struct db *db;
	struct error err;
	enum db_result result;
	char where[300];
	char good[400];
	int wrong;

	servers_db_options(config, &options);
	db = db_create(&options);
	result = db_connect(db, &err);
	if (result == DB_OK)
		result = migrate_check(db, &err);
	if (result == DB_OK)
		result = check_meta(config, db, layout, &err);
	servers_db_name(config, where, sizeof where);
	snprintf(good, sizeof good, "%s: %s, schema up to date", where, db_server(db));
	wrong = command_checked("mysql", result != DB_OK, good, &err);
	db_destroy(db);
	return wrong;
}

/* Redis ---------------------------------------------------------------------------------------- */

static int check_redis(const struct config *config)
{
	struct snapshot *snapshot;
	struct error err;
	char good[300];
	int wrong;
	int rc;

	if (!config->redis.enabled)
		return command_checked("redis", 0, "off (redis.enabled)", NULL);
	snapshot = snapshot_redis_create(config);
	rc = snapshot->ops->connect(snapshot, &err);
	if (rc == 0)
		rc = snapshot_redis_check(snapshot, &err);
	snprintf(good, sizeof good, "%s:%" PRId64, config->redis.host, config->redis.port);
	wrong = command_checked("redis", rc, good, &err);
	snapshot->ops->destroy(snapshot);
	return wrong;
}

/* There need be no file at the default place. */
static const char *file_name(const struct args *args)
{
	if (args->config_path)
		return args->config_path;
	return access(CONFIG_DEFAULT_PATH, F_OK) == 0 ? CONFIG_DEFAULT_PATH
						      : "none at " CONFIG_DEFAULT_PATH
							": defaults and environment";
}

int command_check_config(int argc, char **argv)
{
	struct args args;
	struct config config;
	struct kafka_layout layout = {0};
	bool refused;
	int wrong;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	command_checked("file", 0, file_name(&args), NULL);
	wrong = check_kafka(&config, &layout, &refused);
	wrong += check_mysql(&config, &layout);
	wrong += check_redis(&config);
	command_end(&config);
	if (refused)
		return EXIT_USAGE;
	return wrong ? EXIT_FAILED : EXIT_DONE;
}
