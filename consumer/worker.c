#include "worker.h"

#include <assert.h>
#include <stdlib.h>

#include "log.h"
#include "mem.h"
#include "wakeup.h"

struct worker {
	struct worker_edges edges;
	struct partition *partition;
	struct flusher flusher;
	struct wakeup wakeup;
	pthread_t thread;
	atomic_bool interrupted;
	atomic_bool drained; /* told to drain */
	atomic_bool ended;
	_Atomic int64_t beat_ms;
};

/* What the partition asks of the outside ------------------------------------------------------- */

static void wake(void *context)
{
	struct worker *worker = context;

	worker->edges.topic->ops->wake(worker->edges.topic);
	wakeup_ring(&worker->wakeup);
}

static void submit(void *context)
{
	struct worker *worker = context;

	flusher_submit(&worker->flusher);
}

static bool submitted(void *context)
{
	struct worker *worker = context;

	return flusher_busy(&worker->flusher);
}

static bool lease_valid(void *context, int32_t partition, int64_t now_ms)
{
	struct worker *worker = context;

	return worker->edges.lease_valid(worker->edges.context, partition, now_ms);
}

/* The worker may be waiting for something else when its lease runs out. */
static bool still_ours(void *context)
{
	struct worker *worker = context;
	const struct clock *clock = worker->edges.clock;
	int32_t partition = worker->flusher.flush.request.partition;

	if (lease_valid(worker, partition, clock->now_ms(clock)))
		return true;
	partition_lose(worker->partition, false);
	return false;
}

/* Whatever waits for the database fails now. */
static void interrupt(struct worker *worker)
{
	struct store *reader = worker->edges.reader;

	atomic_store(&worker->interrupted, true);
	reader->ops->interrupt(reader);
	flusher_interrupt(&worker->flusher);
}

static void on_state(void *context, int32_t partition, enum partition_state from,
	enum partition_state to, const char *reason)
{
	struct worker *worker = context;

	if (to == PARTITION_HALTED)
		log_error("partition halted: a person must act, then `ledgerd resume`",
			LI("partition", partition), LS("reason", reason));
	else if (to == PARTITION_FENCED)
		log_warn("partition fenced", LI("partition", partition), LS("reason", reason));
	else
		log_info("partition state", LI("partition", partition),
			LS("from", partition_state_text(from)), LS("to", partition_state_text(to)),
			LS("reason", reason));
	if (to == PARTITION_FENCED || to == PARTITION_HALTED)
		incidents_add(worker->edges.incidents,
			worker->edges.clock->wall_ms(worker->edges.clock), partition,
			partition_state_text(to), reason);
	if (to == PARTITION_FENCED)
		interrupt(worker);
	if (to == PARTITION_HALTED)
		flusher_abandoned(&worker->flusher);
}

static void count_retry(struct worker *worker, const struct store *store)
{
	int number = store->ops->last_errno(store);

	if (number != 0)
		errno_counters_add(&worker->edges.metrics->mysql_retries, number);
}

/* What was asked will not be asked again. */
static bool leaves(const struct worker *worker)
{
	return atomic_load(&worker->interrupted) ||
	       (atomic_load(&worker->drained) &&
		       partition_state(worker->partition) == PARTITION_RECOVERING);
}

static void on_retry(void *context, int32_t partition, const char *what, const struct error *err)
{
	struct worker *worker = context;

	if (leaves(worker))
		return;
	count_retry(worker, worker->edges.reader);
	log_warn("will be tried again", LI("partition", partition), LS("while", what),
		LS("error", err->text));
}

static void on_drift(void *context, int32_t partition, enum drift drift, int64_t balances)
{
	log_error(drift_text(drift), LI("partition", partition), LI("balances", balances));
}

static void on_flush_retry(
	void *context, enum flush_step step, const struct store *store, const struct error *err)
{
	struct worker *worker = context;

	if (atomic_load(&worker->interrupted))
		return;
	count_retry(worker, store);
	log_warn("flush will be tried again",
		LI("partition", worker->flusher.flush.request.partition),
		LS("step", flush_step_text(step)), LS("error", err->text));
}

/* The thread ----------------------------------------------------------------------------------- */

static void *run(void *argument)
{
	struct worker *worker = argument;
	int64_t wait_ms;

	pthread_setname_np(pthread_self(), "worker");
	while (!partition_ended(worker->partition)) {
		wait_ms = partition_turn(worker->partition);
		atomic_store(&worker->beat_ms, worker->edges.clock->now_ms(worker->edges.clock));
		wakeup_wait(&worker->wakeup, wait_ms);
	}
	atomic_store(&worker->ended, true);
	worker->edges.ended(worker->edges.context);
	return NULL;
}

static struct partition_edges partition_edges(struct worker *worker)
{
	return (struct partition_edges){
		.reader = worker->edges.reader,
		.topic = worker->edges.topic,
		.flush = &worker->flusher.flush,
		.submit = submit,
		.submitted = submitted,
		.lease_valid = lease_valid,
		.context = worker,
		.publisher = worker->edges.publisher,
		.clock = worker->edges.clock,
		.budget = worker->edges.budget,
		.metrics = worker->edges.metrics,
		.on_state = on_state,
		.on_retry = on_retry,
		.on_drift = on_drift,
	};
}

struct worker *worker_start(const struct partition_config *config, const struct worker_edges *edges)
{
	struct worker *worker = xcalloc(1, sizeof *worker);
	struct partition_edges inner;
	int rc;

	worker->edges = *edges;
	wakeup_init(&worker->wakeup);
	atomic_init(&worker->interrupted, false);
	atomic_init(&worker->drained, false);
	atomic_init(&worker->ended, false);
	atomic_init(&worker->beat_ms, edges->clock->now_ms(edges->clock));
	worker->flusher.flushers = edges->flushers;
	worker->flusher.metrics = edges->metrics;
	worker->flusher.wanted = still_ours;
	worker->flusher.ended = wake;
	worker->flusher.context = worker;
	flusher_init(&worker->flusher, config->seed);
	worker->flusher.flush.on_retry = on_flush_retry;
	worker->flusher.flush.on_retry_context = worker;

	inner = partition_edges(worker);
	worker->partition = partition_create(config, &inner);
	rc = pthread_create(&worker->thread, NULL, run, worker);
	assert(rc == 0);
	return worker;
}

void worker_join(struct worker *worker)
{
	pthread_join(worker->thread, NULL);
	flusher_finish(&worker->flusher);
	partition_destroy(worker->partition);
	worker->edges.reader->ops->destroy(worker->edges.reader);
	worker->edges.topic->ops->destroy(worker->edges.topic);
	wakeup_finish(&worker->wakeup);
	free(worker);
}

bool worker_ended(const struct worker *worker)
{
	return atomic_load(&worker->ended);
}

void worker_drain(struct worker *worker)
{
	atomic_store(&worker->drained, true);
	partition_drain(worker->partition);
	if (worker->edges.reader_hurry) /* a partition that starts has nothing to flush */
		worker->edges.reader_hurry(worker->edges.reader);
	wake(worker);
}

void worker_lose(struct worker *worker, bool fenced)
{
	partition_lose(worker->partition, fenced);
	interrupt(worker);
	wake(worker);
}

void worker_halt(struct worker *worker, const char *reason)
{
	partition_halt(worker->partition, reason);
	wake(worker);
}

int64_t worker_offset_low(const struct worker *worker)
{
	return partition_offset_low(worker->partition);
}

int64_t worker_offset_high(const struct worker *worker)
{
	return partition_offset_high(worker->partition);
}

int64_t worker_beat_ms(const struct worker *worker)
{
	const struct worker_edges *edges = &worker->edges;

	if (edges->reader_waits && edges->reader_waits(edges->reader))
		return edges->clock->now_ms(edges->clock);
	return atomic_load(&worker->beat_ms);
}
