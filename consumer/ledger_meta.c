/* See ledger_meta.h. */
#include "ledger_meta.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "embed.h"

extern const struct embed migrations;

static bool read_key(struct db *db, unsigned column, unsigned char key[DEDUPE_KEY_BYTES])
{
	size_t length;
	const char *bytes = db_text(db, column, &length);

	if (length != DEDUPE_KEY_BYTES)
		return false;
	memcpy(key, bytes, length);
	return true;
}

enum db_result ledger_meta_read(struct db *db, struct ledger_meta *ret_meta, struct error *err)
{
	bool found;
	enum db_result result = db_query(db, "reading ledger_meta", err,
		"SELECT kafka_cluster_id, topic, partitions, schema_version, dedupe_key "
		"FROM ledger_meta WHERE id = 1");

	*ret_meta = (struct ledger_meta){0};
	if (result != DB_OK)
		return result;
	found = db_next(db) && read_key(db, 4, ret_meta->dedupe_key);
	if (found) {
		db_copy(db, 0, ret_meta->kafka_cluster_id, sizeof(ret_meta->kafka_cluster_id));
		db_copy(db, 1, ret_meta->topic, sizeof(ret_meta->topic));
		ret_meta->partitions = (int32_t)db_int(db, 2);
		ret_meta->schema_version = (int)db_int(db, 3);
	}
	result = db_end(db, err);
	if (result != DB_OK || found)
		return result;
	error_set(err, -ENOENT,
		"ledger_meta has no row: somebody has deleted it; restore it from a copy of the "
		"database");
	return DB_HALT;
}

enum db_result ledger_meta_claim(struct db *db, const char *kafka_cluster_id, const char *topic,
	int32_t partitions, struct ledger_meta *ret_meta, struct error *err)
{
	enum db_result result = db_exec(db, "recording the log in ledger_meta", err,
		"UPDATE ledger_meta SET kafka_cluster_id = ?, topic = ?, partitions = ? "
		"WHERE id = 1 AND kafka_cluster_id IS NULL",
		SQL_TEXT(kafka_cluster_id), SQL_TEXT(topic), SQL_INT(partitions));

	if (result == DB_OK)
		result = ledger_meta_read(db, ret_meta, err);
	if (result != DB_OK)
		return result;
	if (strcmp(ret_meta->kafka_cluster_id, kafka_cluster_id) == 0 &&
		strcmp(ret_meta->topic, topic) == 0 && ret_meta->partitions == partitions)
		return DB_OK;
	error_set(err, -EINVAL,
		"this database belongs to topic %s with %d partitions of Kafka cluster %s, but "
		"Kafka "
		"has topic %s with %d partitions in cluster %s: accounts and offsets would not "
		"fit; "
		"name the right log in kafka, or an empty database in mysql.database",
		ret_meta->topic, (int)ret_meta->partitions, ret_meta->kafka_cluster_id, topic,
		(int)partitions, kafka_cluster_id);
	return DB_HALT;
}

int ledger_meta_check(const struct ledger_meta *meta, int32_t partition, struct error *err)
{
	int newest = (int)migrations.count - 1;

	if (meta->schema_version != newest)
		return error_set(err, -EINVAL,
			"the database's schema has version %d, and this program knows %d: %s",
			meta->schema_version, newest,
			meta->schema_version < newest ? "run `ledgerd migrate`"
						      : "use the newer ledgerd");
	if (meta->partitions < 1)
		return error_set(err, -ENOENT,
			"this database belongs to no log yet: `ledgerd run` has never begun with "
			"it");
	if (partition >= meta->partitions)
		return error_set(err, -EINVAL,
			"there is no partition %" PRId32 ": topic %s has 0 to %" PRId32, partition,
			meta->topic, meta->partitions - 1);
	return 0;
}

int ledger_meta_fetch(const struct db_options *options, int32_t partition,
	struct ledger_meta *ret_meta, struct error *err)
{
	struct db *db = db_create(options);
	int rc = db_code(db_connect(db, err));

	if (rc == 0)
		rc = db_code(ledger_meta_read(db, ret_meta, err));
	if (rc == 0)
		rc = ledger_meta_check(ret_meta, partition, err);
	db_destroy(db);
	return rc;
}
