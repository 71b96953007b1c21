/* See relay.h. */
#include "relay.h"

#include <assert.h>
#include <string.h>

#include "retry_wait.h"

#define LOOK_MS      250 /* at a lease that somebody else holds */
#define RETRY_MIN_MS 20
#define RETRY_MAX_MS 5000
#define RENEW_MAX_MS 500 /* between tries to renew */
#define AGAIN_MAX_MS 250 /* between calls of the sink that go on with what they had begun */
#define POLL_MIN_MS  2

static const char *const step_texts[RELAY_STEPS] = {
	[RELAY_ACQUIRE] = "acquire",
	[RELAY_OPEN] = "open",
	[RELAY_PROVE] = "prove",
	[RELAY_READ] = "read",
	[RELAY_SEND] = "send",
	[RELAY_FLUSH] = "flush",
	[RELAY_COMMIT] = "commit",
	[RELAY_ABORT] = "abort",
	[RELAY_MARK] = "mark",
	[RELAY_RELEASE] = "release",
	[RELAY_STOPPED] = "stopped",
};

const char *relay_step_text(enum relay_step step)
{
	return step_texts[step];
}

void relay_init(struct relay *r, const struct relay_config *config, struct outbox_store *store,
	struct outbox_sink *sink, const struct relay_events *events)
{
	*r = (struct relay){
		.config = *config,
		.events = *events,
		.store = store,
		.sink = sink,
		.random = {config->seed},
	};
	atomic_init(&r->stop, false);
	outbox_batch_init(&r->batch, config->batch_max_rows, config->batch_max_bytes);
}

void relay_finish(struct relay *r)
{
	r->sink->ops->close(r->sink);
	outbox_batch_finish(&r->batch);
}

void relay_stop(struct relay *r)
{
	atomic_store(&r->stop, true);
}

bool relay_stopped(const struct relay *r)
{
	return r->step == RELAY_STOPPED;
}

/* The ways a step ends ------------------------------------------------------------------------ */

static int64_t next(struct relay *r, enum relay_step step)
{
	r->step = step;
	return 0;
}

/* Something was achieved: the next failure is the first. */
static int64_t progress(struct relay *r, enum relay_step step)
{
	r->attempt = 0;
	return next(r, step);
}

static int64_t wait_ms(struct relay *r, int *attempt, int64_t max_ms)
{
	int64_t wait = retry_wait_ms(*attempt, RETRY_MIN_MS, max_ms, splitmix_next(&r->random));

	++*attempt;
	return wait;
}

static void tell_trouble(struct relay *r)
{
	atomic_fetch_add(&r->counts.troubles, 1);
	if (r->events.trouble)
		r->events.trouble(r->events.context, r->step, &r->error);
}

/* Tried again after a pause, from this step on. */
static int64_t retry(struct relay *r, enum relay_step step)
{
	tell_trouble(r);
	r->step = step;
	return wait_ms(r, &r->attempt, RETRY_MAX_MS);
}

static void close_sink(struct relay *r)
{
	r->sink->ops->close(r->sink);
	r->open = false;
}

/* What was not marked is PENDING, for whoever comes next. */
static int64_t lose(struct relay *r, const char *why)
{
	close_sink(r);
	if (r->events.lost)
		r->events.lost(r->events.context, r->epoch, why);
	r->epoch = 0;
	return next(r, RELAY_ACQUIRE);
}

static int64_t lose_to_another(struct relay *r)
{
	atomic_fetch_add(&r->counts.fenced, 1);
	return lose(r, "outbox_lease has another epoch");
}

/* The transaction is given up; opening anew settles it, but first the lease is looked at: to open
 * means to shut out whoever has it now. */
static int64_t reopen(struct relay *r)
{
	close_sink(r);
	return retry(r, RELAY_PROVE);
}

static int64_t put_aside(struct relay *r, size_t index)
{
	const char *topic = r->batch.rows[index].topic;

	if (r->events.aside)
		r->events.aside(r->events.context, topic, &r->error);
	if (topics_aside_put(&r->aside, topic, r->read_ms))
		return next(r, RELAY_ABORT);
	return retry(r, RELAY_ABORT);
}

/* What is the same for all calls of the sink. */
static int64_t sink_failed(struct relay *r, enum sink_result result)
{
	switch (result) {
	case SINK_AGAIN: /* which has waited for a while itself */
		tell_trouble(r);
		return wait_ms(r, &r->attempt, AGAIN_MAX_MS);
	case SINK_ABORT:
		return retry(r, RELAY_ABORT);
	case SINK_FENCED:
		atomic_fetch_add(&r->counts.fenced, 1);
		return reopen(r);
	default:
		return reopen(r);
	}
}

/* The lease ----------------------------------------------------------------------------------- */

static void extend(struct relay *r, int64_t sent_ms)
{
	r->valid_until_ms = sent_ms + r->config.ttl_ms * 2 / 3;
	r->renew_ms = sent_ms + r->config.ttl_ms / 3;
	r->renew_attempt = 0;
}

static int64_t step_acquire(struct relay *r, int64_t now_ms)
{
	int64_t epoch = 0;

	if (atomic_load(&r->stop))
		return next(r, RELAY_STOPPED);
	if (r->store->ops->acquire(
		    r->store, r->config.holder, r->config.ttl_ms, &epoch, &r->error) != DB_OK)
		return retry(r, RELAY_ACQUIRE);
	if (!epoch) {
		r->attempt = 0;
		return LOOK_MS;
	}
	r->epoch = epoch;
	extend(r, now_ms);
	if (r->events.acquired)
		r->events.acquired(r->events.context, epoch);
	return progress(r, RELAY_OPEN);
}

/* Under way: whatever else is to be done is not held up by a renewal that fails. */
static int64_t renew(struct relay *r, int64_t now_ms)
{
	bool held = false;

	if (r->store->ops->renew(r->store, r->epoch, r->config.ttl_ms, &held, &r->error) != DB_OK) {
		tell_trouble(r);
		r->renew_ms = now_ms + wait_ms(r, &r->renew_attempt, RENEW_MAX_MS);
		return 0;
	}
	if (!held)
		return lose_to_another(r);
	extend(r, now_ms);
	return 0;
}

static int64_t step_prove(struct relay *r, int64_t now_ms)
{
	bool held = false;

	if (r->store->ops->renew(r->store, r->epoch, r->config.ttl_ms, &held, &r->error) != DB_OK)
		return retry(r, RELAY_PROVE);
	if (!held)
		return lose_to_another(r);
	extend(r, now_ms);
	return next(r, r->open ? RELAY_READ : RELAY_OPEN);
}

/* So that a successor need not wait; if it fails, the lease expires by itself. */
static int64_t step_release(struct relay *r, int64_t now_ms)
{
	close_sink(r);
	if (r->store->ops->release(r->store, r->epoch, &r->error) != DB_OK)
		tell_trouble(r);
	r->epoch = 0;
	return next(r, RELAY_STOPPED);
}

/* A batch ------------------------------------------------------------------------------------- */

static int64_t step_open(struct relay *r, int64_t now_ms)
{
	enum sink_result result = r->sink->ops->open(r->sink, &r->error);

	if (result != SINK_OK)
		return sink_failed(r, result);
	r->open = true;
	return next(r, RELAY_PROVE);
}

/* Nothing to do: the wait doubles, so that a row hardly waits where many come. */
static int64_t idle(struct relay *r)
{
	r->attempt = 0;
	r->idle_ms = r->idle_ms < POLL_MIN_MS ? POLL_MIN_MS : 2 * r->idle_ms;
	if (r->idle_ms > r->config.poll_idle_ms)
		r->idle_ms = r->config.poll_idle_ms;
	return r->idle_ms;
}

static int64_t step_read(struct relay *r, int64_t now_ms)
{
	const char *aside[TOPICS_ASIDE_MAX];
	size_t aside_count = topics_aside_now(&r->aside, now_ms, aside);

	outbox_batch_reset(&r->batch);
	r->batch.max_rows = r->alone > 0 ? 1 : r->config.batch_max_rows;
	r->next = 0;
	r->read_ms = now_ms;
	if (r->store->ops->pending(r->store, aside, aside_count, &r->batch, &r->error) != DB_OK)
		return retry(r, RELAY_READ);
	if (r->batch.count == 0)
		return idle(r);
	r->idle_ms = 0;
	return next(r, RELAY_SEND);
}

static int64_t step_send(struct relay *r, int64_t now_ms)
{
	struct outbox_row *row = &r->batch.rows[r->next];
	enum sink_result result = r->sink->ops->send(r->sink, row, &r->error);

	if (result == SINK_TOPIC)
		return put_aside(r, r->next);
	if (result != SINK_OK && result != SINK_REFUSED)
		return sink_failed(r, result);
	if (result == SINK_OK)
		row->fate = OUTBOX_SENDING;
	else
		outbox_batch_fail(&r->batch, r->next, r->error.text);
	if (++r->next < r->batch.count)
		return next(r, RELAY_SEND);
	return next(r, outbox_batch_count(&r->batch, OUTBOX_SENDING) ? RELAY_FLUSH : RELAY_MARK);
}

/* The index in the batch of the row that was sent as number `index`. */
static size_t sent_row(const struct relay *r, size_t index)
{
	size_t i = 0;

	for (;; i++) {
		assert(i < r->batch.count);
		if (r->batch.rows[i].fate == OUTBOX_SENDING && index-- == 0)
			return i;
	}
}

/*
 * Kafka refuses what it was sent as one, and not only the row that is to blame.  So a row is failed
 * only if it was alone; else all of them are sent again, each alone.
 */
static int64_t refused(struct relay *r, size_t index)
{
	if (r->batch.count == 1)
		outbox_batch_fail(&r->batch, index, r->error.text);
	else
		r->alone = r->batch.count;
	return next(r, RELAY_ABORT);
}

static int64_t step_flush(struct relay *r, int64_t now_ms)
{
	size_t index = 0;
	enum sink_result result = r->sink->ops->flush(r->sink, &index, &r->error);

	if (result == SINK_OK)
		return next(r, RELAY_COMMIT);
	if (result == SINK_TOPIC)
		return put_aside(r, sent_row(r, index));
	if (result == SINK_REFUSED)
		return refused(r, sent_row(r, index));
	return sink_failed(r, result);
}

static int64_t step_commit(struct relay *r, int64_t now_ms)
{
	enum sink_result result = r->sink->ops->commit(r->sink, &r->error);

	if (result != SINK_OK)
		return sink_failed(r, result);
	outbox_batch_turn(&r->batch, OUTBOX_SENDING, OUTBOX_SENT);
	atomic_fetch_add(&r->counts.sent, outbox_batch_count(&r->batch, OUTBOX_SENT));
	atomic_fetch_add(&r->counts.batches, 1);
	topics_aside_forget(&r->aside, r->read_ms);
	return progress(r, RELAY_MARK);
}

/* What was refused is marked all the same; the others are read and sent again. */
static int64_t step_abort(struct relay *r, int64_t now_ms)
{
	enum sink_result result = r->sink->ops->abort(r->sink, &r->error);

	if (result != SINK_OK)
		return sink_failed(r, result);
	outbox_batch_turn(&r->batch, OUTBOX_SENDING, OUTBOX_PENDING);
	return next(r, outbox_batch_count(&r->batch, OUTBOX_FAILED) ? RELAY_MARK : RELAY_READ);
}

static void tell_failed(struct relay *r)
{
	atomic_fetch_add(&r->counts.failed, outbox_batch_count(&r->batch, OUTBOX_FAILED));
	for (size_t i = 0; i < r->batch.count && r->events.failed; i++)
		if (r->batch.rows[i].fate == OUTBOX_FAILED)
			r->events.failed(r->events.context, &r->batch.rows[i]);
}

/* Made again until it is known to have happened, or the lease is over; twice is harmless. */
static int64_t step_mark(struct relay *r, int64_t now_ms)
{
	bool held = false;

	if (r->store->ops->mark(
		    r->store, r->epoch, r->config.ttl_ms, &r->batch, &held, &r->error) != DB_OK)
		return retry(r, RELAY_MARK);
	if (!held)
		return lose_to_another(r);
	extend(r, now_ms);
	tell_failed(r);
	r->alone -= r->alone > 0;
	return progress(r, RELAY_READ);
}

/* Driving it ---------------------------------------------------------------------------------- */

static int64_t (*const steps[RELAY_STEPS])(struct relay *r, int64_t now_ms) = {
	[RELAY_ACQUIRE] = step_acquire,
	[RELAY_OPEN] = step_open,
	[RELAY_PROVE] = step_prove,
	[RELAY_READ] = step_read,
	[RELAY_SEND] = step_send,
	[RELAY_FLUSH] = step_flush,
	[RELAY_COMMIT] = step_commit,
	[RELAY_ABORT] = step_abort,
	[RELAY_MARK] = step_mark,
	[RELAY_RELEASE] = step_release,
};

/* Nothing of ours is on its way. */
static bool between_batches(const struct relay *r)
{
	return r->step == RELAY_OPEN || r->step == RELAY_PROVE || r->step == RELAY_READ;
}

/* Not beyond the time at which the lease wants to be renewed, or is over. */
static int64_t no_longer(const struct relay *r, int64_t now_ms, int64_t wait, bool stop)
{
	int64_t due_ms = r->valid_until_ms;

	if (!stop && r->renew_ms < due_ms)
		due_ms = r->renew_ms;
	if (!r->epoch || now_ms + wait <= due_ms)
		return wait;
	return due_ms > now_ms ? due_ms - now_ms : 0;
}

int64_t relay_step(struct relay *r, int64_t now_ms)
{
	bool stop = atomic_load(&r->stop);

	assert(r->step != RELAY_STOPPED);
	if (r->epoch && stop && between_batches(r))
		r->step = RELAY_RELEASE;
	if (r->epoch && now_ms >= r->valid_until_ms && r->step != RELAY_RELEASE)
		return lose(r, "it was not renewed in time");
	/* Who stops does not renew: so it ends in time, whatever Kafka does. */
	if (r->epoch && now_ms >= r->renew_ms && !stop && r->step != RELAY_PROVE)
		return renew(r, now_ms);
	return no_longer(r, now_ms, steps[r->step](r, now_ms), stop);
}
