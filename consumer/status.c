/* See status.h. */
#include "status.h"

#include "datetime.h"
#include "lease_store.h"
#include "ledger_meta.h"
#include "mem.h"
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* Reading ------------------------------------------------------------------------------------- */

static void read_partition(struct db *db, struct status_partition *ret_partition)
{
	*ret_partition = (struct status_partition){
		.partition = (int32_t)db_int(db, 0),
		.held = db_int(db, 2) != 0,
		.expires_in_ms = db_int(db, 3),
		.epoch = db_int(db, 4),
		.next_offset = db_int(db, 5),
		.redis_offset = db_int(db, 6),
		.high_watermark = -1,
		.lag = -1,
		.halted_reason = db_null(db, 7) ? NULL : xstrdup(db_text(db, 7, NULL)),
	};
	db_copy(db, 1, ret_partition->owner, sizeof(ret_partition->owner));
	db_copy(db, 8, ret_partition->requested_by, sizeof(ret_partition->requested_by));
	db_copy(db, 9, ret_partition->updated_at, sizeof(ret_partition->updated_at));
}

static enum db_result read_partitions(struct db *db, struct status *status, struct error *err)
{
	enum db_result result = db_query(db, "reading the partitions", err,
		"SELECT o.kafka_partition, l.consumer_id, l.expires_at > UTC_TIMESTAMP(6), "
		"TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), l.expires_at) DIV 1000, o.epoch, "
		"o.next_offset, o.redis_offset, o.halted_reason, "
		"IF(l.requested_at > UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND, l.requested_by, NULL), "
		"CONCAT(REPLACE(o.updated_at, ' ', 'T'), 'Z') "
		"FROM partition_offsets o LEFT JOIN leader_locks l ON l.id = o.kafka_partition "
		"ORDER BY o.kafka_partition",
		SQL_INT(LEASE_REQUEST_MS * INT64_C(1000)));
	size_t capacity = 0;

	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		if (status->partition_count == capacity) {
			capacity = capacity ? 2 * capacity : 16;
			status->partitions = xrealloc(
				status->partitions, capacity * sizeof(*status->partitions));
		}
		read_partition(db, &status->partitions[status->partition_count++]);
	}
	return db_end(db, err);
}

static enum db_result read_members(struct db *db, struct status *status, struct error *err)
{
	enum db_result result = db_query(db, "reading the instances", err,
		"SELECT consumer_id, partitions FROM leader_members "
		"WHERE expires_at > UTC_TIMESTAMP(6) ORDER BY consumer_id");
	struct status_member *member;

	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		status->members = xrealloc(
			status->members, (status->member_count + 1) * sizeof(*status->members));
		member = &status->members[status->member_count++];
		db_copy(db, 0, member->consumer_id, sizeof(member->consumer_id));
		member->partitions = xstrdup(db_text(db, 1, NULL));
	}
	return db_end(db, err);
}

static enum db_result read_meta(struct db *db, struct status *status, struct error *err)
{
	struct ledger_meta meta;
	enum db_result result = ledger_meta_read(db, &meta, err);

	if (result != DB_OK)
		return result;
	snprintf(status->server, sizeof(status->server), "%s", db_server(db));
	memcpy(status->kafka_cluster_id, meta.kafka_cluster_id, sizeof(meta.kafka_cluster_id));
	memcpy(status->topic, meta.topic, sizeof(meta.topic));
	status->schema_version = meta.schema_version;
	return DB_OK;
}

/* A watermark is what was heard of last, and may be behind what is committed since. */
static void ask_watermarks(struct status *status, status_watermark_fn *watermark, void *context)
{
	for (size_t i = 0; watermark && i < status->partition_count; i++) {
		struct status_partition *p = &status->partitions[i];

		p->high_watermark = watermark(context, p->partition);
		if (p->high_watermark < 0)
			continue;
		p->lag = p->high_watermark > p->next_offset ? p->high_watermark - p->next_offset
							    : 0;
	}
}

struct progress_sum status_sum(const struct status *status)
{
	struct progress_sum sum = {0};

	for (size_t i = 0; i < status->partition_count; i++) {
		const struct status_partition *p = &status->partitions[i];

		if (p->high_watermark < 0)
			continue;
		sum.committed += p->next_offset;
		sum.end += p->next_offset + p->lag;
		sum.key++;
	}
	return sum;
}

enum db_result status_read(struct db *db, status_watermark_fn *watermark, void *context,
	struct status *ret_status, struct error *err)
{
	enum db_result result = db_ensure(db, err);

	*ret_status = (struct status){
		.backlog = {PROGRESS_UNKNOWN, PROGRESS_UNKNOWN, PROGRESS_UNKNOWN}};
	if (result == DB_OK)
		result = read_meta(db, ret_status, err);
	if (result == DB_OK)
		result = read_partitions(db, ret_status, err);
	if (result == DB_OK)
		result = read_members(db, ret_status, err);
	if (result == DB_OK)
		ask_watermarks(ret_status, watermark, context);
	return result;
}

void status_finish(struct status *status)
{
	for (size_t i = 0; i < status->partition_count; i++)
		free(status->partitions[i].halted_reason);
	for (size_t i = 0; i < status->member_count; i++)
		free(status->members[i].partitions);
	free(status->partitions);
	free(status->members);
	*status = (struct status){0};
}

const char *status_state_text(const struct status_partition *partition)
{
	if (partition->halted_reason)
		return "halted";
	return partition->held ? "owned" : "free";
}

/* For people ---------------------------------------------------------------------------------- */

static void add_known(struct table *table, int64_t number)
{
	if (number < 0)
		table_add(table, "?");
	else
		table_add(table, "%" PRId64, number);
}

static void print_partitions(const struct status *status, FILE *file)
{
	static const char *const titles[] = {">PARTITION", "STATE", "OWNER", ">LEASE", ">EPOCH",
		">NEXT OFFSET", ">LOG END", ">LAG", ">REDIS OFFSET"};
	struct table table;

	table_init(&table, titles, 9);
	for (size_t i = 0; i < status->partition_count; i++) {
		const struct status_partition *p = &status->partitions[i];

		table_add(&table, "%d", (int)p->partition);
		table_add(&table, "%s", status_state_text(p));
		table_add(&table, "%s", p->held ? p->owner : "-");
		if (p->held)
			table_add(&table, "%.1f s", (double)p->expires_in_ms / 1000);
		else
			table_add(&table, "-");
		table_add(&table, "%" PRId64, p->epoch);
		table_add(&table, "%" PRId64, p->next_offset);
		add_known(&table, p->high_watermark);
		add_known(&table, p->lag);
		table_add(&table, "%" PRId64, p->redis_offset);
	}
	table_print(&table, file);
	table_finish(&table);
}

static void print_members(const struct status *status, FILE *file)
{
	static const char *const titles[] = {"INSTANCE", "MAY OWN"};
	struct table table;

	table_init(&table, titles, 2);
	for (size_t i = 0; i < status->member_count; i++) {
		table_add(&table, "%s", status->members[i].consumer_id);
		table_add(&table, "%s", status->members[i].partitions);
	}
	table_print(&table, file);
	table_finish(&table);
}

/* "about 12 min" */
static void print_time_left(int64_t seconds, FILE *file)
{
	if (seconds < 0)
		fputs("not getting closer to the log's end", file);
	else if (seconds < 120)
		fprintf(file, "about %" PRId64 " s left", seconds);
	else if (seconds < 7200)
		fprintf(file, "about %" PRId64 " min left", seconds / 60);
	else
		fprintf(file, "about %.1f h left", (double)seconds / 3600);
}

static void print_backlog(const struct status *status, FILE *file)
{
	const struct progress_report *backlog = &status->backlog;

	if (backlog->per_second < 0 || !progress_is_backlog(backlog))
		return;
	fprintf(file, "\nbacklog: %" PRId64 " events, %" PRId64 " a second, ", backlog->left,
		backlog->per_second);
	print_time_left(backlog->seconds, file);
	fputc('\n', file);
}

void status_print(const struct status *status, FILE *file)
{
	fprintf(file, "%s, schema %d; topic %s, Kafka cluster %s\n\n", status->server,
		status->schema_version, status->topic[0] ? status->topic : "not known yet",
		status->kafka_cluster_id[0] ? status->kafka_cluster_id : "not known yet");
	print_partitions(status, file);
	print_backlog(status, file);
	fputc('\n', file);
	print_members(status, file);
	for (size_t i = 0; i < status->partition_count; i++) {
		const struct status_partition *p = &status->partitions[i];

		if (p->halted_reason)
			fprintf(file, "\npartition %d is halted: %s\n", (int)p->partition,
				p->halted_reason);
		if (p->requested_by[0])
			fprintf(file, "\npartition %d is requested by %s\n", (int)p->partition,
				p->requested_by);
	}
}

/* For programs -------------------------------------------------------------------------------- */

static json_t *known(int64_t number)
{
	return number < 0 ? json_null() : json_integer(number);
}

static json_t *text_or_null(const char *text)
{
	json_t *json = text && text[0] ? json_string(text) : json_null();

	return json ? json : json_string("(not UTF-8; the log has it)");
}

static json_t *json_partition(const struct status_partition *p)
{
	return json_pack("{s:i, s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:s}",
		"partition", (int)p->partition, "state", status_state_text(p), "owner",
		text_or_null(p->held ? p->owner : NULL), "lease_expires_in_ms",
		known(p->held ? p->expires_in_ms : -1), "epoch", (json_int_t)p->epoch,
		"next_offset", (json_int_t)p->next_offset, "redis_offset",
		(json_int_t)p->redis_offset, "high_watermark", known(p->high_watermark), "lag",
		known(p->lag), "halted_reason", text_or_null(p->halted_reason), "requested_by",
		text_or_null(p->requested_by), "updated_at", p->updated_at);
}

static json_t *json_partitions(const struct status *status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < status->partition_count; i++)
		json_array_append_new(list, json_partition(&status->partitions[i]));
	return list;
}

static json_t *json_members(const struct status *status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < status->member_count; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "consumer_id", status->members[i].consumer_id,
				      "partitions", status->members[i].partitions));
	return list;
}

static json_t *json_incident(const struct incident *incident)
{
	char at[DATETIME_LENGTH + 2] = "";

	datetime_format(incident->at_ms, at);
	at[10] = 'T';
	at[DATETIME_LENGTH] = 'Z';
	return json_pack("{s:s, s:i, s:s, s:o}", "at", at, "partition", (int)incident->partition,
		"what", incident->what, "reason", text_or_null(incident->reason));
}

static json_t *json_here(const struct status_here *here)
{
	json_t *incidents = json_array();

	for (size_t i = 0; i < here->incident_count; i++)
		json_array_append_new(incidents, json_incident(&here->incidents[i]));
	return json_pack("{s:s, s:s, s:o}", "consumer_id", here->consumer_id, "version",
		here->version, "incidents", incidents);
}

static json_t *json_backlog(const struct progress_report *backlog)
{
	return json_pack("{s:o, s:o, s:o}", "events", known(backlog->left), "events_per_second",
		known(backlog->per_second), "seconds_left", known(backlog->seconds));
}

char *status_dump(const struct status *status)
{
	json_t *root = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:o}", "server", status->server,
		"schema_version", status->schema_version, "topic", text_or_null(status->topic),
		"kafka_cluster_id", text_or_null(status->kafka_cluster_id), "partitions",
		json_partitions(status), "instances", json_members(status), "backlog",
		json_backlog(&status->backlog));
	char *text;

	if (status->here)
		json_object_set_new(root, "answered_by", json_here(status->here));
	text = json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	return text ? text : xstrdup("{}");
}

enum db_result status_json(struct db *db, status_watermark_fn *watermark, void *context,
	const struct status_here *here, char **ret_json, struct error *err)
{
	struct status status;
	enum db_result result = status_read(db, watermark, context, &status, err);

	status.here = here;
	if (here)
		status.backlog = here->backlog;
	*ret_json = result == DB_OK ? status_dump(&status) : NULL;
	status_finish(&status);
	return result;
}
