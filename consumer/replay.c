/* See replay.h. */
#include "replay_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "newest.h"
#include "replay_resolve.h"

#define FAILURES_MAX  30
#define AGAIN_MS      200
#define ACCOUNTS_ONCE 10000
#define WIDEN_MAX     3

int64_t replay_now_ms(const struct replay *r)
{
	return r->edges.clock->now_ms(r->edges.clock);
}

void replay_init(
	struct replay *r, const struct replay_config *config, const struct replay_edges *edges)
{
	*r = (struct replay){.config = *config, .edges = *edges};
	atomic_init(&r->interrupted, false);
	r->key = dedupe_key(config->key);
	replay_table_init(&r->table, &r->key, config->seed, config->bytes_max);
	r->rows = xcalloc(config->block_rows, sizeof *r->rows);
	r->letters = xcalloc(config->block_rows, sizeof *r->letters);
	r->items = xcalloc(REPLAY_ITEMS_MAX, sizeof *r->items);
	batch_init(&r->batch, config->batch_max_events, config->batch_max_bytes, BALANCE_PIN_EVEN);
	r->order_scratch = xcalloc(2 * config->batch_max_events, sizeof *r->order_scratch);
}

void replay_finish(struct replay *r)
{
	replay_table_finish(&r->table);
	newest_forget(&r->newest);
	batch_finish(&r->batch);
	free(r->order_scratch);
	free(r->rows);
	free(r->letters);
	free(r->items);
	free(r->conflicts);
}

bool replay_ended(const struct replay *r)
{
	return r->step == REPLAY_ENDED;
}

void replay_interrupt(struct replay *r)
{
	atomic_store(&r->interrupted, true);
}

size_t replay_conflicts_kept(const struct replay *r)
{
	return r->counts.conflicts < REPLAY_CONFLICTS_MAX ? (size_t)r->counts.conflicts
							  : REPLAY_CONFLICTS_MAX;
}

const char *replay_conflict_text(enum replay_conflict_kind kind)
{
	static const char *const texts[REPLAY_CONFLICT_KINDS] = {
		[REPLAY_CONFLICT_TWICE] = "in the journal and in dead_letters",
		[REPLAY_CONFLICT_CONTENT] = "the journal row's content is not the message's",
		[REPLAY_CONFLICT_DEAD] = "a journal row, but the message is a dead letter",
		[REPLAY_CONFLICT_LIVE] = "a dead letter, but the message is a good event",
		[REPLAY_CONFLICT_REASON] = "a dead letter with another reason",
		[REPLAY_CONFLICT_ABSENT] = "in the database, but the log has no message there",
	};

	return texts[kind];
}

/* The ways a step ends ------------------------------------------------------------------------ */

int64_t replay_next(struct replay *r, enum replay_step step)
{
	r->step = step;
	return 0;
}

int64_t replay_end(struct replay *r, int rc)
{
	r->edges.reader->ops->rollback(r->edges.reader);
	r->edges.topic->ops->close(r->edges.topic);
	r->rc = rc;
	return replay_next(r, REPLAY_ENDED);
}

/* A snapshot does not outlive its connection: the whole is read again. */
int64_t replay_store_failed(struct replay *r, enum store_result result)
{
	r->edges.reader->ops->rollback(r->edges.reader);
	if (result == STORE_HALT || ++r->failures > FAILURES_MAX)
		return replay_end(r, -EIO);
	r->step = REPLAY_CONNECT;
	return AGAIN_MS;
}

int64_t replay_kafka_failed(struct replay *r, int rc)
{
	if (rc != -EAGAIN || ++r->failures > FAILURES_MAX)
		return replay_end(r, rc);
	return AGAIN_MS;
}

int64_t replay_lease_lost(struct replay *r)
{
	return replay_end(
		r, error_set(&r->error, -ESTALE,
			   "partition %" PRId32
			   ": the lease was lost; run it again: it goes on where it stopped",
			   r->config.partition));
}

/* May it be done at all? ---------------------------------------------------------------------- */

/* What was read, but not what it was read for. */
static void read_again(struct replay *r)
{
	r->counts = (struct replay_counts){0};
	r->opened = r->log_ended = false;
	r->item_count = r->item_next = 0;
	r->account_next = 0;
}

static void start_again(struct replay *r)
{
	size_t bytes_max = r->table.bytes_max;

	replay_table_finish(&r->table);
	replay_table_init(&r->table, &r->key, r->config.seed, bytes_max);
	newest_forget(&r->newest);
	r->widened = 0;
	read_again(r);
}

static int64_t step_connect(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result = store->ops->connect(store, &r->error);

	start_again(r);
	return result == STORE_OK ? replay_next(r, REPLAY_SNAPSHOT)
				  : replay_store_failed(r, result);
}

static int64_t step_snapshot(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result = store->ops->snapshot(store, &r->error);

	return result == STORE_OK ? replay_next(r, REPLAY_STATE) : replay_store_failed(r, result);
}

static int64_t refuse_range(struct replay *r)
{
	return replay_end(r,
		error_set(&r->error, -EINVAL,
			"partition %" PRId32 ": the range from offset %" PRId64 " to %" PRId64
			" is empty or reaches beyond next_offset, %" PRId64
			": what is not below it has not been consumed yet",
			r->config.partition, r->config.from_offset, r->end, r->state.next_offset));
}

static int64_t step_state(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result = store->ops->read_partition(
		store, r->config.partition, &r->state, &r->error);

	if (result != STORE_OK)
		return replay_store_failed(r, result);
	if (r->config.apply && r->state.epoch != r->config.epoch)
		return replay_end(
			r, error_set(&r->error, -ESTALE,
				   "partition %" PRId32 " has been taken by another owner",
				   r->config.partition));
	r->end = r->config.to_offset < 0 ? r->state.next_offset : r->config.to_offset;
	if (r->end > r->state.next_offset || r->config.from_offset > r->end)
		return refuse_range(r);
	r->redis_offset = r->state.redis_offset;
	r->table.partition = r->config.partition;
	replay_table_range(&r->table, r->config.from_offset, r->end, r->state.next_offset);
	return replay_next(r, REPLAY_ENDS);
}

static int64_t step_ends(struct replay *r)
{
	struct topic *topic = r->edges.topic;
	int64_t low, high;
	int rc = topic->ops->watermarks(topic, &low, &high, &r->error);

	if (rc != 0)
		return replay_kafka_failed(r, rc);
	if (r->config.from_offset < low)
		return replay_end(
			r, error_set(&r->error, -ENODATA,
				   "partition %" PRId32 ": Kafka no longer has offset %" PRId64
				   ": its log begins at %" PRId64
				   "; what was before can only come from a copy of the database",
				   r->config.partition, r->config.from_offset, low));
	if (r->table.look_end > high)
		return replay_end(
			r, error_set(&r->error, -ENODATA,
				   "partition %" PRId32 ": Kafka's log ends at offset %" PRId64
				   ", below %" PRId64 ": the topic was truncated or made anew",
				   r->config.partition, high, r->table.look_end));
	r->log_begin = low;
	replay_table_log(&r->table, low);
	return replay_next(r, REPLAY_GAPS);
}

static void take_gap(void *context, int64_t from_offset, int64_t to_offset)
{
	replay_table_gap(&((struct replay *)context)->table, from_offset, to_offset);
}

static int64_t step_gaps(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result = store->ops->read_gaps(
		store, r->config.partition, take_gap, r, &r->error);

	return result == STORE_OK ? replay_next(r, REPLAY_NEWEST) : replay_store_failed(r, result);
}

/* Is it the same log?  The range may hold nothing to compare. */
static int64_t step_newest(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result;

	newest_forget(&r->newest);
	result = store->ops->read_newest(store, r->config.partition, &r->newest, &r->error);
	if (result != STORE_OK)
		return replay_store_failed(r, result);
	if (!r->newest.found || r->newest.offset < r->log_begin)
		return replay_next(r, REPLAY_OPEN);
	return replay_next(r, REPLAY_COMPARE);
}

static int64_t step_compare(struct replay *r)
{
	struct topic *topic = r->edges.topic;
	struct topic_item item;

	if (!r->opened)
		return replay_open_log(r, r->newest.offset);
	if (topic->ops->poll(topic, REPLAY_POLL_MS, &item, 1) == 0)
		return replay_silent(r);
	if (item.kind == TOPIC_MESSAGE &&
		newest_agrees(&r->newest, &item.message, r->config.partition, r->config.partitions))
		return replay_next(r, REPLAY_OPEN);
	return replay_end(
		r, error_set(&r->error, -EINVAL,
			   "partition %" PRId32 ": the log has another message at offset %" PRId64
			   " than the database: the topic was deleted, truncated or made anew",
			   r->config.partition, r->newest.offset));
}

/* The accounts -------------------------------------------------------------------------------- */

static int64_t step_chains(struct replay *r)
{
	enum store_result result;

	if (r->rows_ended || r->table.account_count == 0)
		return replay_next(r, REPLAY_BALANCES);
	result = replay_read_rows(r);
	if (result != STORE_OK)
		return replay_store_failed(r, result);
	for (size_t i = 0; i < r->row_count; i++)
		if (replay_table_row(&r->table, &r->rows[i], &r->error) != 0)
			return replay_end(r, -ENOMEM);
	return 0;
}

struct balances_read {
	struct replay *r;
	int rc;
};

static void take_balance(void *context, const struct store_balance *row)
{
	struct balances_read *read = context;

	if (read->rc == 0)
		read->rc = replay_table_balance(&read->r->table, row, &read->r->error);
}

static int64_t step_balances(struct replay *r)
{
	struct balances_read read = {r, 0};
	struct store *store = r->edges.reader;
	int64_t accounts[ACCOUNTS_ONCE];
	enum store_result result;
	size_t count = 0;

	while (count < ACCOUNTS_ONCE && r->account_next < r->table.account_count)
		accounts[count++] = r->table.accounts[r->account_next++].account_id;
	if (count == 0) {
		replay_table_judge(&r->table);
		replay_begin_rows(r, 0);
		return replay_next(r, r->table.broken_accounts > 0 ? REPLAY_ROWS : REPLAY_RESOLVE);
	}
	result = store->ops->read_accounts(store, accounts, count, take_balance, &read, &r->error);
	if (result != STORE_OK)
		return replay_store_failed(r, result);
	return read.rc == 0 ? 0 : replay_end(r, read.rc);
}

static int64_t step_rows(struct replay *r)
{
	enum store_result result;

	if (r->rows_ended)
		return replay_next(r, REPLAY_RESOLVE);
	result = replay_read_rows(r);
	if (result != STORE_OK)
		return replay_store_failed(r, result);
	for (size_t i = 0; i < r->row_count; i++)
		if (replay_table_collect(&r->table, &r->rows[i], &r->error) != 0)
			return replay_end(r, -ENOMEM);
	return 0;
}

static void count(struct replay *r)
{
	for (size_t i = 0; i < r->table.candidate_count; i++) {
		const struct replay_candidate *c = &r->table.candidates[i];

		assert(c->verdict != REPLAY_PENDING);
		r->counts.verdicts[c->verdict]++;
		r->counts.applied += c->verdict == REPLAY_DECIDE && c->refusal == REFUSAL_NONE;
	}
}

static int64_t step_resolve(struct replay *r)
{
	replay_resolve(&r->table);
	if (r->widened < WIDEN_MAX && replay_table_widen(&r->table, r->widened == WIDEN_MAX - 1)) {
		r->widened++;
		read_again(r);
		return replay_next(r, REPLAY_ENDS);
	}
	r->outside = replay_table_keep_range(&r->table);
	count(r);
	r->resolved = true;
	r->failures = 0;
	if (!r->config.apply)
		return replay_end(r, 0);
	if (r->counts.conflicts > r->counts.rows + r->counts.letters)
		return replay_end(r, error_set(&r->error, -EINVAL,
					     "partition %" PRId32
					     ": the database differs from the log at %" PRId64
					     " offsets and agrees at %" PRId64
					     ": is it the same log?  Nothing was written",
					     r->config.partition, r->counts.conflicts,
					     r->counts.rows + r->counts.letters));
	r->edges.reader->ops->rollback(r->edges.reader);
	return replay_next(r, REPLAY_REOPEN);
}

/* --------------------------------------------------------------------------------------------- */

static int64_t (*const steps[REPLAY_STEPS])(struct replay *r) = {
	[REPLAY_CONNECT] = step_connect,
	[REPLAY_SNAPSHOT] = step_snapshot,
	[REPLAY_STATE] = step_state,
	[REPLAY_ENDS] = step_ends,
	[REPLAY_GAPS] = step_gaps,
	[REPLAY_NEWEST] = step_newest,
	[REPLAY_COMPARE] = step_compare,
	[REPLAY_OPEN] = replay_step_open,
	[REPLAY_FIND] = replay_step_find,
	[REPLAY_CHAINS] = step_chains,
	[REPLAY_BALANCES] = step_balances,
	[REPLAY_ROWS] = step_rows,
	[REPLAY_RESOLVE] = step_resolve,
	[REPLAY_REOPEN] = replay_step_reopen,
	[REPLAY_WRITE] = replay_step_write,
	[REPLAY_FLUSH] = replay_step_flush,
};

int64_t replay_step(struct replay *r)
{
	assert(!replay_ended(r));
	if (atomic_load(&r->interrupted) && r->step != REPLAY_FLUSH)
		return replay_end(r, error_set(&r->error, -EINTR, "interrupted"));
	if (r->config.apply && r->step != REPLAY_FLUSH &&
		!r->edges.lease_valid(r->edges.context, replay_now_ms(r)))
		return replay_lease_lost(r);
	return steps[r->step](r);
}
