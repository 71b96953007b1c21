/* See outbox_sink_memory.h. */
#include "outbox_sink_memory.h"

#include <assert.h>
#include <stdlib.h>

#include "mem.h"

struct outbox_sink_memory {
	struct outbox_sink sink;
	struct outbox_memory_log *log;
	struct outbox_sink_memory_world world;
	uint64_t producer;         /* what `opened` was when we did; 0: not open */
	struct outbox_batch batch; /* the transaction: rows sent so far */
};

static struct outbox_sink_memory *self(struct outbox_sink *s)
{
	return (struct outbox_sink_memory *)s;
}

static bool is_fenced(const struct outbox_sink_memory *s)
{
	return s->producer != s->log->opened;
}

static enum sink_memory_fault fault_of(struct outbox_sink_memory *s, const char *what)
{
	return s->world.fault ? s->world.fault(s->world.context, what) : SINK_FAULT_NONE;
}

static enum sink_result failed(enum sink_memory_fault fault, struct error *err)
{
	static const enum sink_result results[] = {
		[SINK_FAULT_NONE] = SINK_OK,
		[SINK_FAULT_AGAIN] = SINK_AGAIN,
		[SINK_FAULT_ABORT] = SINK_ABORT,
		[SINK_FAULT_LOST_BEFORE] = SINK_BROKEN,
		[SINK_FAULT_LOST_AFTER] = SINK_BROKEN,
	};

	if (results[fault] != SINK_OK)
		error_set(err, -1, "Kafka (in memory) was told to fail");
	return results[fault];
}

static enum sink_result fenced(struct error *err)
{
	error_set(err, -1, "another producer has opened (in memory)");
	return SINK_FENCED;
}

/* Whether a call gets as far as being executed; if not, *ret_result is its end. */
static bool enter(struct outbox_sink_memory *s, const char *what, enum sink_memory_fault *ret_fault,
	enum sink_result *ret_result, struct error *err)
{
	assert(s->producer);
	*ret_fault = fault_of(s, what);
	*ret_result = failed(*ret_fault, err);
	if (*ret_fault != SINK_FAULT_NONE && *ret_fault != SINK_FAULT_LOST_AFTER)
		return false;
	if (!is_fenced(s))
		return true;
	*ret_result = fenced(err);
	return false;
}

/* A transaction that was open is aborted by it, whoever had it: its rows were never seen. */
static enum sink_result memory_open(struct outbox_sink *sink, struct error *err)
{
	struct outbox_sink_memory *s = self(sink);
	enum sink_memory_fault fault = fault_of(s, "open");

	if (fault != SINK_FAULT_NONE && fault != SINK_FAULT_LOST_AFTER)
		return failed(fault, err);
	outbox_batch_reset(&s->batch);
	s->producer = ++s->log->opened;
	return failed(fault, err);
}

static enum sink_result judge(struct outbox_sink_memory *s, const struct outbox_row *row,
	bool acknowledging, struct error *err)
{
	enum sink_result result = SINK_OK;

	if (s->world.judge)
		result = s->world.judge(s->world.context, row, acknowledging);
	if (result != SINK_OK)
		error_set(err, -1, "Kafka (in memory) does not take this row");
	return result;
}

static enum sink_result memory_send(
	struct outbox_sink *sink, const struct outbox_row *row, struct error *err)
{
	struct outbox_sink_memory *s = self(sink);
	enum sink_memory_fault fault;
	enum sink_result result;

	if (!enter(s, "send", &fault, &result, err))
		return result;
	result = judge(s, row, false, err);
	if (result != SINK_OK)
		return result;
	if (!outbox_batch_add(&s->batch, row))
		assert(!"more rows in a transaction than were said to be");
	return failed(fault, err);
}

static enum sink_result memory_flush(struct outbox_sink *sink, size_t *ret_index, struct error *err)
{
	struct outbox_sink_memory *s = self(sink);
	enum sink_memory_fault fault;
	enum sink_result result;

	if (!enter(s, "flush", &fault, &result, err))
		return result;
	for (*ret_index = 0; *ret_index < s->batch.count; ++*ret_index) {
		result = judge(s, &s->batch.rows[*ret_index], true, err);
		if (result == SINK_REFUSED)
			*ret_index = 0; /* it was sent as one with the others: all are refused */
		if (result != SINK_OK)
			return result;
	}
	return failed(fault, err);
}

static enum sink_result memory_commit(struct outbox_sink *sink, struct error *err)
{
	struct outbox_sink_memory *s = self(sink);
	enum sink_memory_fault fault;
	enum sink_result result;

	if (!enter(s, "commit", &fault, &result, err))
		return result;
	for (size_t i = 0; i < s->batch.count; i++)
		s->world.append(s->world.context, &s->batch.rows[i]);
	outbox_batch_reset(&s->batch);
	return failed(fault, err);
}

static enum sink_result memory_abort(struct outbox_sink *sink, struct error *err)
{
	struct outbox_sink_memory *s = self(sink);
	enum sink_memory_fault fault;
	enum sink_result result;

	if (!enter(s, "abort", &fault, &result, err))
		return result == SINK_ABORT ? SINK_BROKEN : result;
	outbox_batch_reset(&s->batch);
	return failed(fault, err);
}

static void memory_close(struct outbox_sink *sink)
{
	struct outbox_sink_memory *s = self(sink);

	outbox_batch_reset(&s->batch);
	s->producer = 0;
}

static void memory_destroy(struct outbox_sink *sink)
{
	outbox_batch_finish(&self(sink)->batch);
	free(sink);
}

static const struct outbox_sink_ops memory_ops = {
	.open = memory_open,
	.send = memory_send,
	.flush = memory_flush,
	.commit = memory_commit,
	.abort = memory_abort,
	.close = memory_close,
	.destroy = memory_destroy,
};

struct outbox_sink *outbox_sink_memory_create(struct outbox_memory_log *log,
	const struct outbox_sink_memory_world *world, size_t max_rows)
{
	struct outbox_sink_memory *s = xcalloc(1, sizeof *s);

	s->sink.ops = &memory_ops;
	s->log = log;
	s->world = *world;
	outbox_batch_init(&s->batch, max_rows, SIZE_MAX);
	return &s->sink;
}
