/*
 * The one row of ledger_meta: which log this database belongs to, and the key under which ids are
 * remembered.
 */
#ifndef CONSUMER_LEDGER_META_H
#define CONSUMER_LEDGER_META_H

#include "db.h"
#include "dedupe.h"

struct ledger_meta {
	char kafka_cluster_id[65]; /* "": not claimed yet */
	char topic[250];
	int32_t partitions;
	int schema_version;
	unsigned char dedupe_key[DEDUPE_KEY_BYTES];
};

enum db_result ledger_meta_read(struct db *db, struct ledger_meta *ret_meta, struct error *err);

/*
 * Records the log that the database belongs to, if none is recorded, and reads the row: DB_HALT if
 * it is another one, by cluster, topic or number of partitions.  Safe for several at once.
 */
enum db_result ledger_meta_claim(struct db *db, const char *kafka_cluster_id, const char *topic,
	int32_t partitions, struct ledger_meta *ret_meta, struct error *err);

/* Whether a command may work with it: -EINVAL or -ENOENT with the remedy if the schema is another
 * than this program's, no log is recorded, or the log has no such partition (below 0: any). */
int ledger_meta_check(const struct ledger_meta *meta, int32_t partition, struct error *err);

/* Reads and checks it over a connection of its own.  0, or a negative code. */
int ledger_meta_fetch(const struct db_options *options, int32_t partition,
	struct ledger_meta *ret_meta, struct error *err);

#endif
