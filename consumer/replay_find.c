/*
 * Log, journal and dead letters side by side, offset by offset: what has no outcome, and where the
 * database contradicts the log.
 */
#include "replay_private.h"

#include <errno.h>

#include "decode.h"
#include "mem.h"

int64_t replay_step_open(struct replay *r)
{
	int64_t wait_ms;

	replay_begin_rows(r, r->table.look_begin);
	replay_begin_letters(r, r->table.look_begin);
	r->opened = false;
	wait_ms = replay_open_log(r, r->table.look_begin);
	return r->opened ? replay_next(r, REPLAY_FIND) : wait_ms;
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

int64_t replay_step_find(struct replay *r)
{
	const struct message *message;
	enum store_result result = STORE_OK;
	int64_t wait_ms;
	struct at at;

	if (journal_empty(r))
		result = replay_read_rows(r);
	else if (letters_empty(r))
		result = replay_read_letters(r);
	if (result != STORE_OK)
		return replay_store_failed(r, result);
	while (!journal_empty(r) && !letters_empty(r)) {
		message = replay_peek(r, &wait_ms);
		if (replay_ended(r))
			return wait_ms;
		if (!message && !r->log_ended && r->table.look_begin < r->table.look_end)
			return replay_poll_log(r);
		if (!heads(r, message, &at)) {
			replay_begin_rows(r, 0);
			return replay_next(r, REPLAY_CHAINS);
		}
		if (look_at(r, &at) != 0)
			return replay_end(r, -ENOMEM);
		r->item_next += at.message != NULL;
		r->row_next += at.row != NULL;
		r->letter_next += at.letter != NULL;
	}
	return 0;
}
