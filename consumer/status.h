/*
 * Who owns which partition, and how far it is (`ledgerd status`, and /status of HTTP): read from
 * the database, so that every instance says the same.
 */
#ifndef CONSUMER_STATUS_H
#define CONSUMER_STATUS_H

#include <stdio.h>

#include "db.h"
#include "incidents.h"
#include "progress.h"

/* The log's high watermark of a partition; -1: not known. */
typedef int64_t status_watermark_fn(void *context, int32_t partition);

struct status_partition {
	int32_t partition;
	char owner[129]; /* who holds the lease, or held it last; "" */
	bool held;
	int64_t expires_in_ms; /* of a lease that is held */
	int64_t epoch;
	int64_t next_offset;
	int64_t redis_offset;
	int64_t high_watermark; /* -1: not known */
	int64_t lag;            /* -1: not known */
	char *halted_reason;    /* NULL: not halted */
	char requested_by[129]; /* who asks for it now (`replay --apply`); "" */
	char updated_at[32];    /* "2026-01-01T00:00:00.000Z" */
};

struct status_member {
	char consumer_id[129];
	char *partitions; /* "all", or a list */
};

/* The instance that answers, as only itself knows it. */
struct status_here {
	const char *consumer_id;
	const char *version;
	const struct incident *incidents; /* the newest first */
	size_t incident_count;
	struct progress_report backlog; /* of its own partitions */
};

struct status {
	char server[64]; /* "MariaDB 10.11.19" */
	char kafka_cluster_id[65];
	char topic[250];
	int schema_version;
	struct status_partition *partitions;
	size_t partition_count;
	struct status_member *members; /* those alive */
	size_t member_count;
	struct progress_report backlog; /* of the partitions whose log end is known */
	const struct status_here *here; /* NULL: no instance answers, but the command */
};

/* Connects if need be.  watermark may be NULL.  To be finished, also after a failure. */
enum db_result status_read(struct db *db, status_watermark_fn *watermark, void *context,
	struct status *ret_status, struct error *err);
void status_finish(struct status *status);

/* What is committed and what the logs have, of all partitions whose log end is known. */
struct progress_sum status_sum(const struct status *status);

/* "owned", "free" or "halted" */
const char *status_state_text(const struct status_partition *partition);

void status_print(const struct status *status, FILE *file);

/* One JSON object; malloc'd, the caller's. */
char *status_dump(const struct status *status);

/* Read and dumped in one.  here may be NULL. */
enum db_result status_json(struct db *db, status_watermark_fn *watermark, void *context,
	const struct status_here *here, char **ret_json, struct error *err);

#endif
