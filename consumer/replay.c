/* See replay.h. */
#include "replay.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "mem.h"
#include "newest.h"
#include "replay_resolve.h"

#define ITEMS_MAX     2000
#define POLL_MS       200
#define SILENCE_MS    30000
#define FAILURES_MAX  30
#define AGAIN_MS      200
#define ACCOUNTS_ONCE 10000
#define WIDEN_MAX     3

static int64_t now_ms(const struct replay *r)
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
	r->items = xcalloc(ITEMS_MAX, sizeof *r->items);
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

static int64_t next(struct replay *r, enum replay_step step)
{
	r->step = step;
	return 0;
}

static int64_t end(struct replay *r, int rc)
{
	r->edges.reader->ops->rollback(r->edges.reader);
	r->edges.topic->ops->close(r->edges.topic);
	r->rc = rc;
	return next(r, REPLAY_ENDED);
}

/* A snapshot does not outlive its connection: the whole is read again. */
static int64_t store_failed(struct replay *r, enum store_result result)
{
	r->edges.reader->ops->rollback(r->edges.reader);
	if (result == STORE_HALT || ++r->failures > FAILURES_MAX)
		return end(r, -EIO);
	r->step = REPLAY_CONNECT;
	return AGAIN_MS;
}

static int64_t kafka_failed(struct replay *r, int rc)
{
	if (rc != -EAGAIN || ++r->failures > FAILURES_MAX)
		return end(r, rc);
	return AGAIN_MS;
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
	return result == STORE_OK ? next(r, REPLAY_SNAPSHOT) : store_failed(r, result);
}

static int64_t step_snapshot(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result = store->ops->snapshot(store, &r->error);

	return result == STORE_OK ? next(r, REPLAY_STATE) : store_failed(r, result);
}

static int64_t refuse_range(struct replay *r)
{
	return end(r,
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
		return store_failed(r, result);
	if (r->config.apply && r->state.epoch != r->config.epoch)
		return end(r, error_set(&r->error, -ESTALE,
				      "partition %" PRId32 " has been taken by another owner",
				      r->config.partition));
	r->end = r->config.to_offset < 0 ? r->state.next_offset : r->config.to_offset;
	if (r->end > r->state.next_offset || r->config.from_offset > r->end)
		return refuse_range(r);
	r->redis_offset = r->state.redis_offset;
	r->table.partition = r->config.partition;
	replay_table_range(&r->table, r->config.from_offset, r->end, r->state.next_offset);
	return next(r, REPLAY_ENDS);
}

static int64_t step_ends(struct replay *r)
{
	struct topic *topic = r->edges.topic;
	int64_t low, high;
	int rc = topic->ops->watermarks(topic, &low, &high, &r->error);

	if (rc != 0)
		return kafka_failed(r, rc);
	if (r->config.from_offset < low)
		return end(r, error_set(&r->error, -ENODATA,
				      "partition %" PRId32 ": Kafka no longer has offset %" PRId64
				      ": its log begins at %" PRId64
				      "; what was before can only come from a copy of the database",
				      r->config.partition, r->config.from_offset, low));
	if (r->table.look_end > high)
		return end(r, error_set(&r->error, -ENODATA,
				      "partition %" PRId32 ": Kafka's log ends at offset %" PRId64
				      ", below %" PRId64 ": the topic was truncated or made anew",
				      r->config.partition, high, r->table.look_end));
	r->log_begin = low;
	replay_table_log(&r->table, low);
	return next(r, REPLAY_GAPS);
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

	return result == STORE_OK ? next(r, REPLAY_NEWEST) : store_failed(r, result);
}

/* Is it the same log?  The range may hold nothing to compare. */
static int64_t step_newest(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result;

	newest_forget(&r->newest);
	result = store->ops->read_newest(store, r->config.partition, &r->newest, &r->error);
	if (result != STORE_OK)
		return store_failed(r, result);
	if (!r->newest.found || r->newest.offset < r->log_begin)
		return next(r, REPLAY_OPEN);
	return next(r, REPLAY_COMPARE);
}

static int64_t silent(struct replay *r)
{
	if (now_ms(r) - r->heard_ms < SILENCE_MS)
		return 0;
	return end(r, error_set(&r->error, -ETIMEDOUT,
			      "partition %" PRId32 ": Kafka has delivered nothing for %d s",
			      r->config.partition, SILENCE_MS / 1000));
}

static int64_t open_log(struct replay *r, int64_t offset)
{
	struct topic *topic = r->edges.topic;
	int rc = topic->ops->open(topic, offset, &r->error);

	if (rc != 0)
		return kafka_failed(r, rc);
	r->heard_ms = now_ms(r);
	r->item_count = r->item_next = 0;
	r->log_ended = false;
	r->opened = true;
	return 0;
}

static int64_t step_compare(struct replay *r)
{
	struct topic *topic = r->edges.topic;
	struct topic_item item;

	if (!r->opened)
		return open_log(r, r->newest.offset);
	if (topic->ops->poll(topic, POLL_MS, &item, 1) == 0)
		return silent(r);
	if (item.kind == TOPIC_MESSAGE &&
		newest_agrees(&r->newest, &item.message, r->config.partition, r->config.partitions))
		return next(r, REPLAY_OPEN);
	return end(
		r, error_set(&r->error, -EINVAL,
			   "partition %" PRId32 ": the log has another message at offset %" PRId64
			   " than the database: the topic was deleted, truncated or made anew",
			   r->config.partition, r->newest.offset));
}

/* Log, journal and dead letters side by side -------------------------------------------------- */

static void begin_rows(struct replay *r, int64_t from)
{
	r->row_count = r->row_next = 0;
	r->rows_from = from;
	r->rows_ended = false;
}

static int64_t step_open(struct replay *r)
{
	int64_t wait_ms;

	begin_rows(r, r->table.look_begin);
	r->letter_count = r->letter_next = 0;
	r->letters_from = r->table.look_begin;
	r->letters_ended = false;
	r->opened = false;
	wait_ms = open_log(r, r->table.look_begin);
	return r->opened ? next(r, REPLAY_FIND) : wait_ms;
}

static void take_row(void *context, const struct store_row *row)
{
	struct replay *r = context;

	r->rows[r->row_count++] = *row;
	r->rows_from = row->offset + 1;
}

static enum store_result read_rows(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result;

	r->row_count = r->row_next = 0;
	result = store->ops->scan_journal(store, r->config.partition, r->rows_from,
		r->config.block_rows, take_row, r, &r->error);
	r->rows_ended = r->row_count < r->config.block_rows;
	return result;
}

static void take_letter(void *context, int64_t offset, enum dead_reason reason)
{
	struct replay *r = context;

	r->letters[r->letter_count++] = (struct replay_letter){offset, reason};
	r->letters_from = offset + 1;
}

static enum store_result read_letters(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result;

	r->letter_count = r->letter_next = 0;
	result = store->ops->scan_letters(store, r->config.partition, r->letters_from,
		r->config.block_rows, take_letter, r, &r->error);
	r->letters_ended = r->letter_count < r->config.block_rows;
	return result;
}

/* Takes what Kafka has; items that are no message are taken in at once. */
static int64_t poll_log(struct replay *r)
{
	struct topic *topic = r->edges.topic;

	topic->ops->release(topic, INT64_MAX);
	r->item_next = 0;
	r->item_count = topic->ops->poll(topic, POLL_MS, r->items, ITEMS_MAX);
	if (r->item_count == 0)
		return silent(r);
	r->heard_ms = now_ms(r);
	return 0;
}

/* The next message to look at, or NULL: none in hand, or the end. */
static const struct message *peek(struct replay *r, int64_t *ret_wait_ms)
{
	*ret_wait_ms = 0;
	while (!r->log_ended && r->item_next < r->item_count) {
		const struct topic_item *item = &r->items[r->item_next];

		if (item->kind == TOPIC_MESSAGE) {
			if (item->message.offset < r->table.look_end)
				return &item->message;
			r->log_ended = true;
		} else if (item->kind == TOPIC_END) {
			r->log_ended = item->end_offset >= r->table.look_end;
			r->item_next++;
		} else {
			*ret_wait_ms = end(r, error_set(&r->error, -ENODATA,
						      "partition %" PRId32
						      ": Kafka has lost the log while it was read",
						      r->config.partition));
			return NULL;
		}
	}
	return NULL;
}

/* What stands at an offset. */
struct at {
	int64_t offset;
	const struct message *message;
	const struct store_row *row;
	const struct replay_letter *letter;
};

static void note_conflict(struct replay *r, int64_t offset, enum replay_conflict_kind kind)
{
	size_t kept = replay_conflicts_kept(r);

	if (r->counts.conflicts++ >= REPLAY_CONFLICTS_MAX)
		return;
	if (kept == r->conflict_capacity) {
		r->conflict_capacity = r->conflict_capacity ? 2 * r->conflict_capacity : 64;
		r->conflicts = xrealloc(r->conflicts, r->conflict_capacity * sizeof *r->conflicts);
	}
	r->conflicts[kept] = (struct replay_conflict){offset, kind};
}

static int conflict(struct replay *r, int64_t offset, enum replay_conflict_kind kind,
	const struct store_row *row, const struct event *event)
{
	int rc = 0;

	if (replay_table_inside(&r->table, offset))
		note_conflict(r, offset, kind);
	if (row)
		rc = replay_table_taint(&r->table, row->event.account_id, offset, &r->error);
	if (rc == 0 && event)
		rc = replay_table_taint(&r->table, event->account_id, offset, &r->error);
	return rc;
}

static int look_at_row(
	struct replay *r, const struct at *at, enum dead_reason reason, const struct event *event)
{
	if (reason != DEAD_NONE)
		return conflict(r, at->offset, REPLAY_CONFLICT_DEAD, at->row, NULL);
	if (!event_same(event, &at->row->event) || event->time_ms != at->row->event.time_ms)
		return conflict(r, at->offset, REPLAY_CONFLICT_CONTENT, at->row, event);
	r->counts.rows += replay_table_inside(&r->table, at->offset);
	return 0;
}

static int look_at_letter(
	struct replay *r, const struct at *at, enum dead_reason reason, const struct event *event)
{
	if (reason == DEAD_NONE && at->letter->reason != DEAD_ID_CONFLICT)
		return conflict(r, at->offset, REPLAY_CONFLICT_LIVE, NULL, event);
	if (reason != DEAD_NONE && at->letter->reason != reason)
		return conflict(r, at->offset, REPLAY_CONFLICT_REASON, NULL, NULL);
	r->counts.letters += replay_table_inside(&r->table, at->offset);
	return 0;
}

static int look_at(struct replay *r, const struct at *at)
{
	enum dead_reason reason;
	const char *detail;
	struct event event;

	if (!at->message)
		return conflict(r, at->offset, REPLAY_CONFLICT_ABSENT, at->row, NULL);
	r->counts.looked++;
	r->counts.messages += replay_table_inside(&r->table, at->offset);
	reason = decode_message(
		at->message, r->config.partition, r->config.partitions, &event, &detail);
	if (at->row && at->letter)
		return conflict(r, at->offset, REPLAY_CONFLICT_TWICE, at->row,
			reason == DEAD_NONE ? &event : NULL);
	if (at->row)
		return look_at_row(r, at, reason, &event);
	if (at->letter)
		return look_at_letter(r, at, reason, &event);
	if (reason != DEAD_NONE)
		return replay_table_dead(&r->table, at->offset, reason, &r->error);
	return replay_table_event(&r->table, at->offset, &event, &r->error);
}

/* The first of the three, and what else stands there. */
static bool heads(struct replay *r, const struct message *message, struct at *at)
{
	const struct store_row *row = r->row_next < r->row_count ? &r->rows[r->row_next] : NULL;
	const struct replay_letter *letter = r->letter_next < r->letter_count
						     ? &r->letters[r->letter_next]
						     : NULL;

	*at = (struct at){.offset = r->table.look_end};
	if (message)
		at->offset = message->offset;
	if (row && row->offset < at->offset)
		at->offset = row->offset;
	if (letter && letter->offset < at->offset)
		at->offset = letter->offset;
	at->message = message && message->offset == at->offset ? message : NULL;
	at->row = row && row->offset == at->offset ? row : NULL;
	at->letter = letter && letter->offset == at->offset ? letter : NULL;
	return at->offset < r->table.look_end;
}

static bool journal_empty(const struct replay *r)
{
	return r->row_next == r->row_count && !r->rows_ended && r->rows_from < r->table.look_end;
}

static bool letters_empty(const struct replay *r)
{
	return r->letter_next == r->letter_count && !r->letters_ended &&
	       r->letters_from < r->table.look_end;
}

static int64_t step_find(struct replay *r)
{
	const struct message *message;
	enum store_result result = STORE_OK;
	int64_t wait_ms;
	struct at at;

	if (journal_empty(r))
		result = read_rows(r);
	else if (letters_empty(r))
		result = read_letters(r);
	if (result != STORE_OK)
		return store_failed(r, result);
	while (!journal_empty(r) && !letters_empty(r)) {
		message = peek(r, &wait_ms);
		if (replay_ended(r))
			return wait_ms;
		if (!message && !r->log_ended && r->table.look_begin < r->table.look_end)
			return poll_log(r);
		if (!heads(r, message, &at)) {
			begin_rows(r, 0);
			return next(r, REPLAY_CHAINS);
		}
		if (look_at(r, &at) != 0)
			return end(r, -ENOMEM);
		r->item_next += at.message != NULL;
		r->row_next += at.row != NULL;
		r->letter_next += at.letter != NULL;
	}
	return 0;
}

/* The accounts -------------------------------------------------------------------------------- */

static int64_t step_chains(struct replay *r)
{
	enum store_result result;

	if (r->rows_ended || r->table.account_count == 0)
		return next(r, REPLAY_BALANCES);
	result = read_rows(r);
	if (result != STORE_OK)
		return store_failed(r, result);
	for (size_t i = 0; i < r->row_count; i++)
		if (replay_table_row(&r->table, &r->rows[i], &r->error) != 0)
			return end(r, -ENOMEM);
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
		begin_rows(r, 0);
		return next(r, r->table.broken_accounts > 0 ? REPLAY_ROWS : REPLAY_RESOLVE);
	}
	result = store->ops->read_accounts(store, accounts, count, take_balance, &read, &r->error);
	if (result != STORE_OK)
		return store_failed(r, result);
	return read.rc == 0 ? 0 : end(r, read.rc);
}

static int64_t step_rows(struct replay *r)
{
	enum store_result result;

	if (r->rows_ended)
		return next(r, REPLAY_RESOLVE);
	result = read_rows(r);
	if (result != STORE_OK)
		return store_failed(r, result);
	for (size_t i = 0; i < r->row_count; i++)
		if (replay_table_collect(&r->table, &r->rows[i], &r->error) != 0)
			return end(r, -ENOMEM);
	return 0;
}

static bool writes(const struct replay_candidate *c)
{
	return c->verdict == REPLAY_RESTORE_ROW || c->verdict == REPLAY_RESTORE_LETTER ||
	       c->verdict == REPLAY_DECIDE;
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
		return next(r, REPLAY_ENDS);
	}
	r->outside = replay_table_keep_range(&r->table);
	count(r);
	r->resolved = true;
	r->failures = 0;
	if (!r->config.apply)
		return end(r, 0);
	if (r->counts.conflicts > r->counts.rows + r->counts.letters)
		return end(r, error_set(&r->error, -EINVAL,
				      "partition %" PRId32
				      ": the database differs from the log at %" PRId64
				      " offsets and agrees at %" PRId64
				      ": is it the same log?  Nothing was written",
				      r->config.partition, r->counts.conflicts,
				      r->counts.rows + r->counts.letters));
	r->edges.reader->ops->rollback(r->edges.reader);
	return next(r, REPLAY_REOPEN);
}

/* Writing ------------------------------------------------------------------------------------- */

/* The next candidate that is to be written, or NULL. */
static struct replay_candidate *next_write(struct replay *r)
{
	while (r->candidate_next < r->table.candidate_count &&
		!writes(&r->table.candidates[r->candidate_next]))
		r->candidate_next++;
	return r->candidate_next < r->table.candidate_count
		       ? &r->table.candidates[r->candidate_next]
		       : NULL;
}

static int64_t step_reopen(struct replay *r)
{
	const struct replay_candidate *c = next_write(r);
	int64_t wait_ms;

	if (!c)
		return end(r, 0);
	r->opened = false;
	batch_reset(&r->batch, c->offset);
	r->batch_number++;
	wait_ms = open_log(r, c->offset);
	return r->opened ? next(r, REPLAY_WRITE) : wait_ms;
}

static struct touched *touch(struct replay *r, uint32_t number)
{
	struct replay_chain *chain = &r->table.chains[number];
	struct batch *b = &r->batch;
	struct touched *touched;

	if (chain->batch == r->batch_number)
		return &b->touched[chain->touched];
	chain->batch = r->batch_number;
	chain->touched = (uint32_t)b->touched_count;
	touched = &b->touched[b->touched_count++];
	*touched = (struct touched){
		.key = {r->table.accounts[chain->account].account_id, chain->currency},
		.ref = BALANCE_NONE,
		.before = chain->written,
	};
	b->known_count += touched->before.last_offset >= 0;
	return touched;
}

static void write_row(struct replay *r, const struct replay_candidate *c, struct record *record)
{
	struct replay_chain *chain = &r->table.chains[c->chain];
	enum refusal refusal;

	record->refusal = c->refusal;
	record->outcome = c->refusal ? OUTCOME_REFUSED : OUTCOME_APPLIED;
	record->available_after = c->available_after;
	record->frozen_after = c->frozen_after;
	record->prev_offset = c->prev_offset;
	r->batch.journal_count++;
	if (c->offset < r->redis_offset)
		r->redis_offset = c->offset;
	if (c->verdict == REPLAY_RESTORE_ROW)
		return;
	/* Decided a second time, on the balance as it is written: it must come to the same. */
	assert(chain->written.last_offset == c->prev_offset);
	touch(r, c->chain);
	refusal = apply(&chain->written, c->type, c->amount);
	assert(refusal == c->refusal && chain->written.available == c->available_after &&
		chain->written.frozen == c->frozen_after);
	chain->written.last_offset = c->offset;
	touch(r, c->chain)->after = chain->written;
}

static bool same_candidate(
	struct replay *r, const struct replay_candidate *c, const struct record *record)
{
	struct dedupe_id id;

	if (c->chain == REPLAY_NONE)
		return record->dead_reason == c->reason;
	if (record->dead_reason != DEAD_NONE)
		return false;
	id = dedupe_id(&r->key, &record->event);
	return id.hash[0] == c->id.hash[0] && id.hash[1] == c->id.hash[1] &&
	       id.fingerprint == c->id.fingerprint;
}

static const char conflict_detail[] =
	"transaction_id is known for this account with another currency, type or amount";

/* A message whose row or dead letter is missing; false: it is not the one that was read before. */
static bool write_message(
	struct replay *r, const struct replay_candidate *c, const struct message *message)
{
	struct topic *topic = r->edges.topic;
	struct record *record = batch_add(&r->batch, message);

	if (c->verdict == REPLAY_RESTORE_LETTER)
		topic->ops->headers(topic, &record->message, &r->batch.arena);
	batch_keep(&r->batch, record);
	record->dead_reason = (uint8_t)decode_message(&record->message, r->config.partition,
		r->config.partitions, &record->event, &record->detail);
	if (!same_candidate(r, c, record))
		return false;
	if (c->verdict != REPLAY_RESTORE_LETTER) {
		write_row(r, c, record);
		return true;
	}
	if (c->reason == DEAD_ID_CONFLICT) {
		record->dead_reason = DEAD_ID_CONFLICT;
		record->detail = conflict_detail;
	}
	record->outcome = OUTCOME_DEAD_LETTER;
	r->batch.dead_letter_count++;
	return true;
}

static int64_t begin_flush(struct replay *r)
{
	struct batch *b = &r->batch;

	order_touched(b->touched, b->touched_count, r->order_scratch, b->order);
	b->closed_ms = r->edges.clock->wall_ms(r->edges.clock);
	r->request = (struct flush_request){
		.partition = r->config.partition,
		.epoch = r->config.epoch,
		.begin_offset = r->state.next_offset,
		.end_offset = r->state.next_offset,
		.redis_offset = r->redis_offset,
		.batch = b,
	};
	flush_start(r->edges.flush, &r->request);
	return next(r, REPLAY_FLUSH);
}

static int64_t log_changed(struct replay *r, int64_t offset)
{
	return end(r, error_set(&r->error, -EIO,
			      "partition %" PRId32 ": the message at offset %" PRId64
			      " is not the one that was read before",
			      r->config.partition, offset));
}

static int64_t step_write(struct replay *r)
{
	const struct replay_candidate *c;
	const struct message *message;
	int64_t wait_ms;

	while ((c = next_write(r)) && !batch_full(&r->batch)) {
		message = peek(r, &wait_ms);
		if (replay_ended(r))
			return wait_ms;
		if (!message)
			return r->log_ended ? log_changed(r, c->offset) : poll_log(r);
		if (message->offset > c->offset)
			return log_changed(r, c->offset);
		if (message->offset == c->offset) {
			if (!write_message(r, c, message))
				return log_changed(r, c->offset);
			r->candidate_next++;
		}
		r->item_next++;
	}
	return r->batch.count > 0 ? begin_flush(r) : end(r, 0);
}

static void committed(struct replay *r)
{
	for (size_t i = 0; i < r->batch.count; i++)
		r->counts.written[replay_table_at(&r->table, r->batch.records[i].message.offset)
					  ->verdict]++;
	batch_reset(&r->batch, r->batch.end_offset);
	r->batch_number++;
}

static int64_t lease_lost(struct replay *r)
{
	return end(r, error_set(&r->error, -ESTALE,
			      "partition %" PRId32
			      ": the lease was lost; run it again: it goes on where it stopped",
			      r->config.partition));
}

static int64_t abandoned(struct replay *r)
{
	if (!atomic_load(&r->interrupted))
		return lease_lost(r);
	return end(r, error_set(&r->error, -EINTR,
			      "interrupted while a flush was tried again and again: %s",
			      r->edges.flush->error.text));
}

static int64_t not_committed(struct replay *r, enum flush_verdict verdict)
{
	switch (verdict) {
	case FLUSH_DUPLICATES:
		error_set(&r->error, -EEXIST,
			"partition %" PRId32
			": rows that were missing are in the database now: somebody else writes to "
			"it; run it again",
			r->config.partition);
		return end(r, -EEXIST);
	case FLUSH_FENCED:
		return lease_lost(r);
	case FLUSH_ABANDONED:
		return abandoned(r);
	default:
		r->error = r->edges.flush->error;
		return end(r, -EIO);
	}
}

/* An interrupt lets a flush end, but not one that fails again and again before its COMMIT. */
static bool gives_up(const struct replay *r)
{
	const struct flush *f = r->edges.flush;

	return atomic_load(&r->interrupted) && f->attempt > 0 && f->step < FLUSH_COMMIT;
}

static int64_t step_flush(struct replay *r)
{
	struct flush *f = r->edges.flush;
	int64_t wait_ms;

	if (!r->edges.lease_valid(r->edges.context, now_ms(r)) || gives_up(r))
		flush_abandon(f);
	wait_ms = flush_step(f);
	if (!flush_ended(f))
		return wait_ms;
	if (f->verdict != FLUSH_COMMITTED)
		return not_committed(r, f->verdict);
	committed(r);
	r->heard_ms = now_ms(r);
	return next(r, REPLAY_WRITE);
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
	[REPLAY_OPEN] = step_open,
	[REPLAY_FIND] = step_find,
	[REPLAY_CHAINS] = step_chains,
	[REPLAY_BALANCES] = step_balances,
	[REPLAY_ROWS] = step_rows,
	[REPLAY_RESOLVE] = step_resolve,
	[REPLAY_REOPEN] = step_reopen,
	[REPLAY_WRITE] = step_write,
	[REPLAY_FLUSH] = step_flush,
};

int64_t replay_step(struct replay *r)
{
	assert(!replay_ended(r));
	if (atomic_load(&r->interrupted) && r->step != REPLAY_FLUSH)
		return end(r, error_set(&r->error, -EINTR, "interrupted"));
	if (r->config.apply && r->step != REPLAY_FLUSH &&
		!r->edges.lease_valid(r->edges.context, now_ms(r)))
		return lease_lost(r);
	return steps[r->step](r);
}
