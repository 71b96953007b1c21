/* See verify.h. */
#include "verify.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "kafka_client.h"
#include "ledger_meta.h"
#include "mem.h"
#include "same_log.h"
#include "servers.h"
#include "snapshot_redis.h"
#include "topic_kafka.h"
#include "verify_chain.h"
#include "verify_journal.h"
#include "verify_log.h"
#include "verify_plan.h"
#include "verify_redis.h"
#include "verify_waiting.h"

struct verify {
	const struct config *cfg;
	const struct verify_options *options;
	const struct clock *clock;
	struct verify_report *report;
	struct db *db;
	struct verify_journal *journal;
	struct kafka_client *kafka; /* NULL: not --from-kafka */
	struct ledger_meta meta;
	int32_t first, last; /* the partitions to look at */
	struct verify_totals totals;
	uint64_t seed;
	size_t room;        /* bytes for balances */
	size_t waiting_max; /* rows of a partition that may wait */
	int64_t started_ms;
};

/* A partition's turn. */
struct pass {
	struct verify *v;
	struct verify_chain *chain;
	int32_t partition;
	bool first; /* of its slices: what is not about balances is looked at once */
	struct verify_offsets offsets;
	struct verify_log *log; /* NULL: not compared, or not any more */
	struct verify_match match;
	size_t gap;                          /* the next one that may matter */
	int64_t beyond_count, beyond_newest; /* rows at or above next_offset */
};

static int64_t now_ms(const struct verify *v)
{
	return v->clock->now_ms(v->clock);
}

static void show_progress(const struct verify *v, int32_t partition)
{
	int64_t elapsed_ms = now_ms(v) - v->started_ms;
	int64_t rows = v->report->counts.rows;

	verify_report_progress(v->report, now_ms(v),
		"partition %" PRId32 ": %" PRId64 " journal rows, %" PRId64 " a second", partition,
		rows, elapsed_ms > 0 ? rows * 1000 / elapsed_ms : 0);
}

/* One offset ---------------------------------------------------------------------------------- */

static struct verify_place place_of(const struct pass *pass, int64_t offset)
{
	return (struct verify_place){.partition = pass->partition, .offset = offset};
}

static bool in_gap(struct pass *pass, int64_t offset)
{
	size_t count;
	const struct verify_gap *gaps = verify_journal_gaps(pass->v->journal, &count);

	while (pass->gap < count && gaps[pass->gap].to_offset <= offset)
		pass->gap++;
	return pass->gap < count && gaps[pass->gap].from_offset <= offset;
}

static void note_beyond(struct pass *pass, int64_t offset)
{
	if (offset < pass->offsets.next_offset)
		return;
	pass->beyond_count++;
	pass->beyond_newest = offset;
}

/* What is looked at once. */
static void look_once(struct pass *pass, const struct verify_offset *at)
{
	struct verify_report *report = pass->v->report;
	struct verify_place place = place_of(pass, at->offset);

	report->counts.rows += at->row != NULL;
	report->counts.dead_letters += at->letter != NULL;
	if (at->row || at->letter)
		note_beyond(pass, at->offset);
	if (at->row && at->letter)
		verify_report_add(report, VERIFY_TWICE, &place, "the offset",
			"both in balance_transactions and in dead_letters", "in one of them");
	if (pass->log && (at->message || verify_log_covers(pass->log, at->offset)))
		verify_match_at(&pass->match, at);
}

static int decide_lookups(struct pass *pass, struct error *err)
{
	int rc = db_code(verify_journal_look_up(pass->v->journal, &pass->match, err));

	if (rc == 0)
		verify_match_decide(&pass->match);
	return rc;
}

static int look_at(struct pass *pass, const struct verify_offset *at, struct error *err)
{
	int rc = 0;

	if (pass->first)
		look_once(pass, at);
	if (at->row)
		rc = verify_chain_row(pass->chain, at->row, err);
	if (rc == 0 && verify_match_full(&pass->match))
		rc = decide_lookups(pass, err);
	return rc;
}

/* One partition ------------------------------------------------------------------------------- */

/* What comes next of each source, or NULL. */
struct heads {
	const struct verify_row *row;
	const struct verify_content *content;
	const struct verify_letter *letter;
	const struct message *message;
};

static int read_heads(struct pass *pass, struct heads *heads, struct error *err)
{
	struct verify_journal *journal = pass->v->journal;
	enum db_result result = verify_journal_row(journal, &heads->row, &heads->content, err);

	heads->message = NULL;
	if (result == DB_OK)
		result = verify_journal_letter(journal, &heads->letter, err);
	if (result != DB_OK || !pass->log)
		return db_code(result);
	return verify_log_message(pass->log, &heads->message, err);
}

static int64_t least_offset(const struct heads *heads)
{
	int64_t least = INT64_MAX;

	if (heads->row && heads->row->offset < least)
		least = heads->row->offset;
	if (heads->letter && heads->letter->offset < least)
		least = heads->letter->offset;
	if (heads->message && heads->message->offset < least)
		least = heads->message->offset;
	return least;
}

static struct verify_offset what_stands_at(
	struct pass *pass, const struct heads *heads, int64_t offset)
{
	struct verify_offset at = {.offset = offset, .in_gap = in_gap(pass, offset)};

	if (heads->row && heads->row->offset == offset) {
		at.row = heads->row;
		at.content = heads->content;
	}
	if (heads->letter && heads->letter->offset == offset)
		at.letter = heads->letter;
	if (heads->message && heads->message->offset == offset)
		at.message = heads->message;
	if (at.letter && at.message)
		verify_log_headers(pass->log);
	return at;
}

static void pass_heads(struct pass *pass, const struct verify_offset *at)
{
	if (at->row)
		verify_journal_pass_row(pass->v->journal);
	if (at->letter)
		verify_journal_pass_letter(pass->v->journal);
	if (at->message)
		verify_log_pass(pass->log);
}

/* The three of them merged by offset. */
static int walk(struct pass *pass, struct error *err)
{
	const struct verify_row *ahead;
	struct verify_offset at;
	struct heads heads;
	int64_t offset;
	int rc;

	for (unsigned count = 0;; count++) {
		rc = read_heads(pass, &heads, err);
		offset = least_offset(&heads);
		if (rc != 0 || offset == INT64_MAX)
			break;
		ahead = verify_journal_ahead(pass->v->journal);
		if (ahead)
			verify_chain_prefetch(pass->chain, ahead);
		at = what_stands_at(pass, &heads, offset);
		rc = look_at(pass, &at, err);
		if (rc != 0)
			break;
		pass_heads(pass, &at);
		if (count % 16384 == 0)
			show_progress(pass->v, pass->partition);
	}
	return rc == 0 ? decide_lookups(pass, err) : rc;
}

static void check_gaps(struct pass *pass)
{
	struct verify_report *report = pass->v->report;
	int64_t end = 0;
	size_t count;
	const struct verify_gap *gaps = verify_journal_gaps(pass->v->journal, &count);

	for (size_t i = 0; i < count; i++) {
		struct verify_place place = place_of(pass, gaps[i].from_offset);

		report->counts.gaps++;
		if (gaps[i].from_offset < end || gaps[i].to_offset <= gaps[i].from_offset ||
			gaps[i].to_offset > pass->offsets.next_offset)
			verify_report_add(report, VERIFY_GAP, &place, "to_offset in offset_gaps",
				VERIFY_TEXT("%" PRId64, gaps[i].to_offset),
				VERIFY_TEXT("above from_offset, at most next_offset %" PRId64
					    ", and no gap within another",
					pass->offsets.next_offset));
		end = gaps[i].to_offset;
	}
}

static void check_offsets(struct pass *pass)
{
	const struct verify_offsets *offsets = &pass->offsets;
	struct verify_report *report = pass->v->report;
	struct verify_place place = place_of(pass, -1);

	if (!offsets->found && pass->beyond_count > 0)
		verify_report_add(report, VERIFY_OFFSETS, &place, "the row in partition_offsets",
			"missing", "there: the journal or dead_letters has rows");
	else if (pass->beyond_count > 0)
		verify_report_add(report, VERIFY_OFFSETS, &place, "next_offset",
			VERIFY_TEXT("%" PRId64, offsets->next_offset),
			VERIFY_TEXT("above %" PRId64 ", the newest of %" PRId64
				    " rows of the journal and dead_letters that are not below it",
				pass->beyond_newest, pass->beyond_count));
	if (offsets->redis_offset > offsets->next_offset)
		verify_report_add(report, VERIFY_OFFSETS, &place, "redis_offset",
			VERIFY_TEXT("%" PRId64, offsets->redis_offset),
			VERIFY_TEXT("at most next_offset, %" PRId64, offsets->next_offset));
}

static int walk_with_log(struct pass *pass, struct topic *topic, struct error *err)
{
	struct verify *v = pass->v;
	int rc = 0;

	if (topic)
		rc = verify_log_open(topic, v->clock, pass->partition, pass->offsets.next_offset,
			v->report, &pass->log, err);
	if (rc == 0)
		rc = walk(pass, err);
	verify_log_close(pass->log);
	return rc;
}

static int verify_partition(struct verify *v, struct verify_chain *chain, int32_t partition,
	const struct verify_offsets *offsets, bool first, struct error *err)
{
	struct pass pass = {.v = v, .chain = chain, .partition = partition, .first = first};
	struct topic *topic = NULL;
	int rc;

	pass.offsets = *offsets;
	rc = db_code(verify_journal_choose(v->journal, partition, v->kafka && first, err));
	if (rc != 0)
		return rc;
	if (first)
		check_gaps(&pass);
	verify_match_init(&pass.match, partition, v->meta.partitions, v->report);
	if (v->kafka && first)
		topic = topic_kafka_create(v->kafka, partition);
	rc = walk_with_log(&pass, topic, err);
	if (topic)
		topic->ops->destroy(topic);
	verify_match_finish(&pass.match);
	if (rc != 0)
		return rc;
	verify_chain_rows_end(chain);
	if (first)
		check_offsets(&pass);
	v->report->counts.partitions += first;
	return 0;
}

/* A group of partitions ----------------------------------------------------------------------- */

struct group {
	struct verify *v;
	struct verify_step step;
	uint32_t slice;
	size_t balances_left;
	struct verify_chain **chains; /* of partitions step.first to step.last */
};

static struct verify_chain *chain_of(const struct group *group, int32_t partition)
{
	if (partition < group->step.first || partition > group->step.last)
		return NULL;
	return group->chains[partition - group->step.first];
}

/* To the chain that has its rows; if none has, to that of its own partition. */
static void take_balance(void *context, const struct verify_balance *balance)
{
	const struct group *group = context;
	struct balance_key key = {balance->account_id, balance->currency};
	struct verify_chain *said = chain_of(group, balance->partition);
	struct verify_chain *right = chain_of(
		group, verify_chain_partition_of(balance->account_id, group->v->meta.partitions));

	if ((!said || !verify_chain_has(said, key)) && right)
		said = right;
	if (said)
		verify_chain_balance(said, balance);
	verify_report_progress(group->v->report, now_ms(group->v), "account_balances: %" PRId64,
		group->v->report->counts.balances);
}

static int fold(struct group *group, int32_t partition, struct error *err)
{
	struct verify *v = group->v;
	struct verify_chain_config config = {
		.partition = partition,
		.partitions = v->meta.partitions,
		.slice = group->slice,
		.slices = group->step.slices,
		.waiting_max = v->waiting_max,
		.seed = v->seed,
	};
	struct verify_offsets offsets;
	struct verify_chain *chain;
	int rc = db_code(verify_journal_offsets(v->journal, partition, &offsets, err));

	if (rc != 0)
		return rc;
	config.next_offset = offsets.next_offset;
	chain = verify_chain_create(&config, &group->balances_left, v->report, &v->totals);
	group->chains[partition - group->step.first] = chain;
	return verify_partition(v, chain, partition, &offsets, group->slice == 0, err);
}

static int compare_balances(struct group *group, struct error *err)
{
	const struct verify_step *step = &group->step;
	bool all = step->first == 0 && step->last == group->v->meta.partitions - 1;
	int rc = db_code(verify_journal_balances(
		group->v->journal, all, step->first, step->last, take_balance, group, err));

	for (int32_t p = step->first; rc == 0 && p <= step->last; p++)
		verify_chain_end(chain_of(group, p));
	return rc;
}

/* All in one snapshot. */
static int verify_slice(
	struct verify *v, const struct verify_step *step, uint32_t slice, struct error *err)
{
	size_t count = (size_t)(step->last - step->first) + 1;
	struct group group = {
		.v = v,
		.step = *step,
		.slice = slice,
		.balances_left = verify_plan_balances(step, v->room),
		.chains = xcalloc(count, sizeof *group.chains),
	};
	int rc = db_code(verify_journal_begin(v->journal, err));

	for (int32_t p = step->first; rc == 0 && p <= step->last; p++)
		rc = fold(&group, p, err);
	if (rc == 0)
		rc = compare_balances(&group, err);
	verify_journal_end(v->journal);
	for (size_t i = 0; i < count; i++)
		verify_chain_destroy(group.chains[i]);
	free(group.chains);
	return rc;
}

static int verify_tables(struct verify *v, struct error *err)
{
	int64_t *counts = xcalloc((size_t)v->meta.partitions, sizeof *counts);
	struct verify_step step;
	int rc = db_code(verify_journal_strays(v->journal, v->meta.partitions, err));

	if (rc == 0)
		rc = db_code(verify_journal_count(v->journal, v->meta.partitions, counts, err));
	for (int32_t p = v->first; rc == 0 && p <= v->last; p = step.last + 1) {
		step = verify_plan(counts, p, v->last, v->room);
		for (uint32_t slice = 0; rc == 0 && slice < step.slices; slice++)
			rc = verify_slice(v, &step, slice, err);
	}
	free(counts);
	if (rc == 0)
		verify_totals_compare(&v->totals, v->report);
	return rc;
}

/* Redis --------------------------------------------------------------------------------------- */

static int verify_keys(struct verify *v, struct error *err)
{
	struct verify_redis_config config = {
		.cfg = v->cfg,
		.clock = v->clock,
		.journal = v->journal,
		.snapshot = snapshot_redis_create(v->cfg),
		.report = v->report,
		.partition = v->options->partition,
		.partitions = v->meta.partitions,
		.memory_bytes = v->room,
		.seed = v->seed,
	};
	int rc = config.snapshot->ops->connect(config.snapshot, err);

	if (rc == 0)
		rc = verify_redis(&config, err);
	config.snapshot->ops->destroy(config.snapshot);
	return rc;
}

/* The start ----------------------------------------------------------------------------------- */

static int begin(struct verify *v, struct error *err)
{
	struct db_options options;
	int rc;

	servers_db_options(v->cfg, &options);
	options.local_infile = false;
	v->db = db_create(&options);
	v->journal = verify_journal_create(v->db, v->report);
	rc = db_code(db_connect(v->db, err));
	if (rc == 0)
		rc = db_code(ledger_meta_read(v->db, &v->meta, err));
	if (rc == 0)
		rc = ledger_meta_check(&v->meta, v->options->partition, err);
	if (rc != 0 || !v->options->from_kafka)
		return rc;
	rc = kafka_client_create(v->cfg, &v->kafka, err);
	return rc == 0 ? same_log(v->kafka, v->cfg, &v->meta, err) : rc;
}

static void plan_memory(struct verify *v)
{
	size_t memory = (size_t)config_memory_bytes(v->cfg);

	v->waiting_max = memory / 8 / VERIFY_WAITING_BYTES;
	v->room = memory / 4 * 3;
}

int verify(const struct config *cfg, const struct verify_options *options,
	const struct clock *clock, struct verify_report *report, struct error *err)
{
	struct verify v = {
		.cfg = cfg,
		.options = options,
		.clock = clock,
		.report = report,
		.started_ms = clock->now_ms(clock),
	};
	int rc;

	report->from_kafka = options->from_kafka;
	report->redis = cfg->redis.enabled;
	randombytes_buf(&v.seed, sizeof v.seed);
	plan_memory(&v);
	verify_totals_init(&v.totals);
	rc = begin(&v, err);
	if (rc == 0) {
		v.first = options->partition < 0 ? 0 : options->partition;
		v.last = options->partition < 0 ? v.meta.partitions - 1 : options->partition;
		rc = verify_tables(&v, err);
	}
	if (rc == 0 && cfg->redis.enabled)
		rc = verify_keys(&v, err);
	if (v.kafka)
		kafka_client_destroy(v.kafka);
	verify_journal_destroy(v.journal);
	db_destroy(v.db);
	verify_totals_finish(&v.totals);
	verify_report_wipe(report);
	return rc;
}
