/*
 * Writing what was resolved: the log once more, for the bytes of the messages, and flushes that
 * prove the lease.
 */
#include "replay_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "decode.h"

static bool writes(const struct replay_candidate *c)
{
	return c->verdict == REPLAY_RESTORE_ROW || c->verdict == REPLAY_RESTORE_LETTER ||
	       c->verdict == REPLAY_DECIDE;
}

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

int64_t replay_step_reopen(struct replay *r)
{
	const struct replay_candidate *c = next_write(r);
	int64_t wait_ms;

	if (!c)
		return replay_end(r, 0);
	r->opened = false;
	batch_reset(&r->batch, c->offset);
	r->batch_number++;
	wait_ms = replay_open_log(r, c->offset);
	return r->opened ? replay_next(r, REPLAY_WRITE) : wait_ms;
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
	return replay_next(r, REPLAY_FLUSH);
}

static int64_t log_changed(struct replay *r, int64_t offset)
{
	return replay_end(r, error_set(&r->error, -EIO,
				     "partition %" PRId32 ": the message at offset %" PRId64
				     " is not the one that was read before",
				     r->config.partition, offset));
}

int64_t replay_step_write(struct replay *r)
{
	const struct replay_candidate *c;
	const struct message *message;
	int64_t wait_ms;

	while ((c = next_write(r)) && !batch_full(&r->batch)) {
		message = replay_peek(r, &wait_ms);
		if (replay_ended(r))
			return wait_ms;
		if (!message)
			return r->log_ended ? log_changed(r, c->offset) : replay_poll_log(r);
		if (message->offset > c->offset)
			return log_changed(r, c->offset);
		if (message->offset == c->offset) {
			if (!write_message(r, c, message))
				return log_changed(r, c->offset);
			r->candidate_next++;
		}
		r->item_next++;
	}
	return r->batch.count > 0 ? begin_flush(r) : replay_end(r, 0);
}

static void committed(struct replay *r)
{
	for (size_t i = 0; i < r->batch.count; i++)
		r->counts.written[replay_table_at(&r->table, r->batch.records[i].message.offset)
					  ->verdict]++;
	batch_reset(&r->batch, r->batch.end_offset);
	r->batch_number++;
}

static int64_t abandoned(struct replay *r)
{
	if (!atomic_load(&r->interrupted))
		return replay_lease_lost(r);
	return replay_end(r, error_set(&r->error, -EINTR,
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
		return replay_end(r, -EEXIST);
	case FLUSH_FENCED:
		return replay_lease_lost(r);
	case FLUSH_ABANDONED:
		return abandoned(r);
	default:
		r->error = r->edges.flush->error;
		return replay_end(r, -EIO);
	}
}

/* An interrupt lets a flush end, but not one that fails again and again before its COMMIT. */
static bool gives_up(const struct replay *r)
{
	const struct flush *f = r->edges.flush;

	return atomic_load(&r->interrupted) && f->attempt > 0 && f->step < FLUSH_COMMIT;
}

int64_t replay_step_flush(struct replay *r)
{
	struct flush *f = r->edges.flush;
	int64_t wait_ms;

	if (!r->edges.lease_valid(r->edges.context, replay_now_ms(r)) || gives_up(r))
		flush_abandon(f);
	wait_ms = flush_step(f);
	if (!flush_ended(f))
		return wait_ms;
	if (f->verdict != FLUSH_COMMITTED)
		return not_committed(r, f->verdict);
	committed(r);
	r->heard_ms = replay_now_ms(r);
	return replay_next(r, REPLAY_WRITE);
}
