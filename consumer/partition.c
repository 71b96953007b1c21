#include "partition_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "fetch.h"
#include "mem.h"
#include "newest.h"
#include "retry_wait.h"
#include "sample.h"

#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 2000

#ifndef FETCH_AT      /* small in the simulator */
#define FETCH_AT 1024 /* unresolved records that are worth a query of their own */
#endif

/* Birth and death ----------------------------------------------------------------------------- */

static struct ledger_config ledger_config(const struct partition_config *config)
{
	struct ledger_config ledger = {.batch_events = config->batch_max_events,
		.ids = config->dedupe_ids,
		.seed = config->seed};

	memcpy(ledger.key, config->key, sizeof ledger.key);
	return ledger;
}

static size_t buffers_bytes(const struct partition_config *config)
{
	return sizeof(struct partition) + PARTITION_ITEMS * sizeof(struct topic_item) +
	       config->batch_max_events * (sizeof(struct balance_key) + sizeof(struct balance_row) +
						  sizeof(struct event *));
}

static size_t batches_bytes(const struct partition_config *config)
{
	return 2 * batch_bytes_max(config->batch_max_events, config->batch_max_bytes) +
	       buffers_bytes(config);
}

size_t partition_bytes_min(const struct partition_config *config)
{
	struct ledger_config ledger = ledger_config(config);

	return ledger_bytes_min(&ledger) + batches_bytes(config);
}

struct partition *partition_create(
	const struct partition_config *config, const struct partition_edges *edges)
{
	struct partition *p = xcalloc(1, sizeof *p);
	struct ledger_config ledger = ledger_config(config);
	size_t events = config->batch_max_events;

	p->config = *config;
	p->edges = *edges;
	p->random = config->seed | 1;
	p->state = PARTITION_ACQUIRING;
	budget_force(edges->budget, batches_bytes(config));
	ledger_init(&p->ledger, edges->budget, &ledger);
	id_spread_init(&p->id_spread, config->seed);
	batch_init(&p->batches[0], events, config->batch_max_bytes, BALANCE_PIN_EVEN);
	batch_init(&p->batches[1], events, config->batch_max_bytes, BALANCE_PIN_ODD);
	p->items = xcalloc(PARTITION_ITEMS, sizeof *p->items);
	p->missing = xcalloc(events, sizeof *p->missing);
	p->rows = xcalloc(events, sizeof *p->rows);
	p->events = xcalloc(events, sizeof *p->events);
	atomic_init(&p->committed_offset, INT64_MIN); /* not known before the state is read */
	atomic_init(&p->in_flight_offset, INT64_MAX);
	p->out_of_range_since_ms = -1;
	p->prepared = &p->batches[0];
	return p;
}

void partition_destroy(struct partition *p)
{
	newest_forget(&p->newest);
	ledger_finish(&p->ledger);
	batch_finish(&p->batches[0]);
	batch_finish(&p->batches[1]);
	budget_give(p->edges.budget, batches_bytes(&p->config));
	free(p->items);
	free(p->missing);
	free(p->rows);
	free(p->events);
	free(p);
}

/* State --------------------------------------------------------------------------------------- */

void partition_set_state(struct partition *p, enum partition_state state, const char *reason)
{
	enum partition_state from = p->state;

	assert(partition_state_allowed(from, state));
	p->state = state;
	partition_metrics_enter(p->edges.metrics, state);
	p->edges.on_state(p->edges.context, p->config.partition, from, state, reason);
}

enum partition_state partition_state(const struct partition *p)
{
	return p->state;
}

bool partition_ended(const struct partition *p)
{
	return p->state == PARTITION_IDLE;
}

void partition_drain(struct partition *p)
{
	atomic_store(&p->drain, true);
}

void partition_lose(struct partition *p, bool fenced)
{
	int none = 0;

	/* In this order: whoever sees the flush abandoned can see why. */
	atomic_compare_exchange_strong(&p->lose, &none, fenced ? 2 : 1);
	flush_abandon(p->edges.flush);
}

void partition_halt(struct partition *p, const char *reason)
{
	bool first = !atomic_load(&p->halt);

	if (!first)
		return;
	snprintf(p->halt_reason, sizeof p->halt_reason, "%s", reason);
	atomic_store(&p->halt, true);
}

int64_t partition_offset_low(const struct partition *p)
{
	return atomic_load(&p->committed_offset);
}

int64_t partition_offset_high(const struct partition *p)
{
	return atomic_load(&p->in_flight_offset);
}

static void fenced(struct partition *p, const char *reason)
{
	counter_add(&p->edges.metrics->fenced, 1);
	flush_abandon(p->edges.flush);
	partition_set_state(p, PARTITION_FENCED, reason);
}

int64_t partition_halting(struct partition *p, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(p->reason, sizeof p->reason, format, arguments);
	va_end(arguments);
	flush_abandon(p->edges.flush);
	partition_set_state(p, PARTITION_HALTED, p->reason);
	return 0;
}

void partition_recover(struct partition *p)
{
	assert(!p->in_flight);
	p->edges.topic->ops->close(p->edges.topic);
	newest_forget(&p->newest);
	ledger_clear(&p->ledger);
	p->flying = NULL;
	p->relearn = false;
	p->learned = 0;
	p->resolved = 0;
	p->item_count = p->item_next = 0;
	p->wrong_partition = false;
	p->look_again = false;
	p->compare_opened = false;
	p->recover_step = RECOVER_CONNECT;
	batch_reset(p->prepared, 0);
}

/* Failures of what is around ------------------------------------------------------------------ */

uint64_t partition_random(struct partition *p)
{
	p->random ^= p->random << 13;
	p->random ^= p->random >> 7;
	p->random ^= p->random << 17;
	return p->random;
}

static int64_t backoff_ms(struct partition *p)
{
	return retry_wait_ms(p->attempt++, BACKOFF_MIN_MS, BACKOFF_MAX_MS, partition_random(p));
}

int64_t partition_reader_failed(
	struct partition *p, enum store_result result, const char *what, const struct error *err)
{
	if (result == STORE_HALT)
		return partition_halting(p, "%s: %s", what, err->text);
	p->edges.on_retry(p->edges.context, p->config.partition, what, err);
	p->reader_connected = false;
	return backoff_ms(p);
}

int64_t partition_kafka_failed(struct partition *p, const char *what, const struct error *err)
{
	p->edges.on_retry(p->edges.context, p->config.partition, what, err);
	return backoff_ms(p);
}

int64_t partition_check_layout(struct partition *p)
{
	struct topic *topic = p->edges.topic;
	struct topic_layout layout;
	struct error err;
	int rc = topic->ops->layout(topic, &layout, &err);

	if (rc != 0)
		return partition_kafka_failed(p, "asking Kafka for the topic", &err) + 1;
	p->attempt = 0;
	if (layout.partitions != p->config.partitions) {
		partition_halting(p,
			"the topic has %" PRId32 " partitions, ledger_meta records %" PRId32
			": accounts would move between partitions; see OPERATIONS, \"Growing a topic\"",
			layout.partitions, p->config.partitions);
		return -1;
	}
	if (strcmp(layout.cluster_id, p->config.cluster_id) != 0) {
		partition_halting(p,
			"this Kafka cluster is %s, ledger_meta records %s: check "
			"kafka.bootstrap_servers, or see OPERATIONS, \"Another Kafka cluster\"",
			layout.cluster_id, p->config.cluster_id);
		return -1;
	}
	return 0;
}

/* Settle: what became of the flush before ----------------------------------------------------- */

static void count_outcomes(struct partition_metrics *metrics, const struct batch *b)
{
	counter_add(&metrics->outcomes[OUTCOME_APPLIED], b->journal_count - b->refused_count);
	counter_add(&metrics->outcomes[OUTCOME_REFUSED], b->refused_count);
	counter_add(&metrics->outcomes[OUTCOME_DUPLICATE], b->duplicate_count);
	counter_add(&metrics->outcomes[OUTCOME_DEAD_LETTER], b->dead_letter_count);
	for (size_t i = 0; i < b->count && b->dead_letter_count > 0; i++)
		if (b->records[i].dead_reason != DEAD_NONE)
			counter_add(&metrics->dead_letters[b->records[i].dead_reason], 1);
	histogram_observe(&metrics->flush_events, &bounds_events, (int64_t)b->count);
}

/* Messages of one producer's batch have one time: they are counted together. */
static void count_latencies(
	struct partition_metrics *metrics, const struct batch *b, int64_t wall_ms)
{
	for (size_t i = 0, begin = 0; i < b->count; i++) {
		int64_t time_ms = b->records[i].message.timestamp_ms;

		if (i + 1 < b->count && b->records[i + 1].message.timestamp_ms == time_ms)
			continue;
		if (time_ms != MESSAGE_NO_TIMESTAMP)
			histogram_observe_many(&metrics->event_latency, &bounds_latency_ms,
				wall_ms - time_ms, i + 1 - begin);
		begin = i + 1;
	}
}

static void publish(struct partition *p, const struct batch *b)
{
	if (p->edges.publisher)
		publisher_offer(p->edges.publisher, p->config.partition, b->touched,
			b->touched_count, b->closed_ms, b->end_offset);
}

static void settle_committed(struct partition *p)
{
	struct batch *b = p->flying;

	ledger_commit(&p->ledger, b);
	atomic_store(&p->committed_offset, b->end_offset);
	publish(p, b);
	count_outcomes(p->edges.metrics, b);
	count_latencies(p->edges.metrics, b, p->edges.clock->wall_ms(p->edges.clock));
	gauge_set(&p->edges.metrics->next_offset, b->end_offset);
	id_spread_look(&p->id_spread, b);
	gauge_set(&p->edges.metrics->random_ids, id_spread_permille(&p->id_spread));
	p->edges.topic->ops->mirror(p->edges.topic, b->end_offset);
	p->edges.topic->ops->release(p->edges.topic, b->end_offset);
	p->flying = NULL;

	if (ledger_crowded(&p->ledger)) {
		ledger_unresolve(&p->ledger, p->prepared);
		balances_clear(p->ledger.balances);
		p->resolved = 0;
	}
}

static void settle_duplicates(struct partition *p)
{
	ledger_undo(&p->ledger, p->flying);
	atomic_store(&p->in_flight_offset, p->flying->begin_offset);
	p->relearn = true;
	p->learned = 0;
}

/* Takes the verdict of a flush that has ended.  false: the partition left its state. */
static bool settle(struct partition *p)
{
	if (!p->in_flight || p->edges.submitted(p->edges.context))
		return true;
	p->in_flight = false;

	switch (p->edges.flush->verdict) {
	case FLUSH_COMMITTED:
		settle_committed(p);
		return true;
	case FLUSH_DUPLICATES:
		settle_duplicates(p);
		return true;
	case FLUSH_FENCED:
		fenced(p, "the epoch or the offset in partition_offsets is another's");
		return false;
	case FLUSH_HALTED:
		partition_halting(p, "flushing offsets %" PRId64 " to %" PRId64 ": %s",
			p->flying->begin_offset, p->flying->end_offset - 1,
			p->edges.flush->error.text);
		return false;
	case FLUSH_ABANDONED:
		assert(atomic_load(&p->lose) != 0);
		return false;
	case FLUSH_PENDING:
		break;
	}
	assert(!"a flush has ended without a verdict");
	return false;
}

/* Poll and decode ----------------------------------------------------------------------------- */

static void ask_for_headers(struct partition *p, struct batch *b, struct record *record)
{
	struct topic *topic = p->edges.topic;

	if (!record->message.headers)
		topic->ops->headers(topic, &record->message, &b->arena);
}

static void decode(struct partition *p, struct record *record)
{
	record->dead_reason = decode_message(&record->message, p->config.partition,
		p->config.partitions, &record->event, &record->detail);
	if (record->dead_reason == DEAD_NONE)
		record->id = dedupe_id(&p->ledger.key, &record->event);
	else
		ask_for_headers(p, p->prepared, record);
	if (record->dead_reason == DEAD_WRONG_PARTITION)
		p->wrong_partition = true;
}

/* Takes the items of the last poll into the batch while it has room. */
static void take_items(struct partition *p)
{
	while (p->item_next < p->item_count && !batch_full(p->prepared)) {
		const struct topic_item *item = &p->items[p->item_next++];

		switch (item->kind) {
		case TOPIC_MESSAGE:
			decode(p, batch_add(p->prepared, &item->message));
			break;
		case TOPIC_END:
			batch_advance(p->prepared, item->end_offset);
			break;
		case TOPIC_OUT_OF_RANGE:
		case TOPIC_GONE:
			p->look_again = true;
			break;
		}
	}
}

static int64_t until_flush_ms(const struct partition *p, int64_t now_ms)
{
	int64_t due_ms = p->flush_started_ms + p->config.flush_interval_min_ms;

	return due_ms > now_ms ? due_ms - now_ms : 0;
}

/* Nothing to do: wait long.  Something waits and may go: do not wait.  A finished flush wakes. */
static int64_t poll_timeout_ms(const struct partition *p, int64_t now_ms)
{
	if (p->relearn)
		return 0;
	if (p->flying || batch_empty(p->prepared))
		return p->config.poll_idle_ms;
	return until_flush_ms(p, now_ms);
}

/* Drains what is there, until the batch is full or the log must be looked at again. */
static void poll(struct partition *p, int64_t now_ms)
{
	struct topic *topic = p->edges.topic;
	int64_t timeout_ms = poll_timeout_ms(p, now_ms);

	for (;;) {
		take_items(p);
		if (p->look_again || batch_full(p->prepared))
			return;
		p->item_next = 0;
		p->item_count = topic->ops->poll(topic, (int)timeout_ms, p->items, PARTITION_ITEMS);
		if (p->item_count == 0)
			return;
		timeout_ms = 0;
	}
}

/* Dedupe, apply, flush ------------------------------------------------------------------------ */

/* Conflicts are found only now; the other dead letters have their headers already. */
static void dedupe(struct partition *p)
{
	struct batch *b = p->flying;

	ledger_dedupe(&p->ledger, b);
	for (size_t i = 0; i < b->count && b->dead_letter_count > 0; i++)
		if (b->records[i].dead_reason == DEAD_ID_CONFLICT)
			ask_for_headers(p, b, &b->records[i]);
}

static void apply_rules(struct partition *p)
{
	const struct clock *clock = p->edges.clock;

	ledger_apply(&p->ledger, p->flying, clock->wall_ms(clock));
}

static int64_t redis_offset(const struct partition *p)
{
	return p->edges.publisher ? publisher_offset(p->edges.publisher, p->config.partition)
				  : p->redis_offset;
}

static void flush(struct partition *p, int64_t now_ms)
{
	struct flush_request request = {
		.partition = p->config.partition,
		.epoch = p->config.epoch,
		.begin_offset = p->flying->begin_offset,
		.end_offset = p->flying->end_offset,
		.redis_offset = redis_offset(p),
		.batch = p->flying,
	};

	assert(request.begin_offset == atomic_load(&p->committed_offset));
	atomic_store(&p->in_flight_offset, request.end_offset);
	p->flush_started_ms = now_ms;
	p->in_flight = true;
	flush_start(p->edges.flush, &request);
	p->edges.submit(p->edges.context);
}

/* The prepared batch enters the ledger; the other one takes its place. */
static void advance(struct partition *p)
{
	p->flying = p->prepared;
	p->prepared = p->flying == &p->batches[0] ? &p->batches[1] : &p->batches[0];
	p->resolved = 0;
	batch_reset(p->prepared, p->flying->end_offset);
}

static void update_gauges(struct partition *p)
{
	struct partition_metrics *metrics = p->edges.metrics;
	const struct batch *oldest = p->flying ? p->flying : p->prepared;
	int64_t high = p->edges.topic->ops->high_watermark(p->edges.topic);

	gauge_set(&metrics->high_watermark, high);
	gauge_set(&metrics->balances, (int64_t)balances_count(p->ledger.balances));
	gauge_set(&metrics->balances_bytes, (int64_t)balances_bytes(p->ledger.balances));
	gauge_set(&metrics->oldest_event_ms,
		oldest->count > 0 && oldest->records[0].message.timestamp_ms > 0
			? oldest->records[0].message.timestamp_ms
			: 0);
}

/* What must be known of the prepared batch before it may enter the ledger. */
static int64_t prepare(struct partition *p)
{
	int64_t wait_ms = fetch_balances(p);

	if (wait_ms > 0 || p->state == PARTITION_HALTED)
		return wait_ms;
	if (p->wrong_partition) {
		wait_ms = partition_check_layout(p);
		if (wait_ms != 0)
			return wait_ms > 0 ? wait_ms : 0;
		p->wrong_partition = false;
	}
	return fetch_ids(p);
}

static bool flush_due(const struct partition *p, int64_t now_ms)
{
	return !p->flying && !batch_empty(p->prepared) && until_flush_ms(p, now_ms) == 0;
}

/* From here on the batch before has committed, or there is none. */
static int64_t enter(struct partition *p, int64_t now_ms)
{
	int64_t wait_ms = p->relearn ? fetch_known_ids(p) : prepare(p);

	if (wait_ms > 0 || p->state == PARTITION_HALTED)
		return wait_ms;
	if (!p->flying)
		advance(p);
	dedupe(p);
	apply_rules(p);
	flush(p, now_ms);
	return 0;
}

/* The log is not what it was: once nothing is in flight, everything is recovered anew. */
static int64_t look_again(struct partition *p)
{
	if (p->in_flight)
		return p->config.poll_idle_ms;
	partition_set_state(p, PARTITION_RECOVERING, "the topic must be looked at again");
	partition_recover(p);
	return 0;
}

/* No room for more: until the flush has ended, which wakes, or the next one may start. */
static int64_t full_wait_ms(const struct partition *p)
{
	if (p->flying)
		return p->config.poll_idle_ms;
	return until_flush_ms(p, p->edges.clock->now_ms(p->edges.clock));
}

/* The way of an event: settle, poll, decode (with poll), fetch, dedupe, apply, flush; publish is
 * part of settling a commit. */
static int64_t run_turn(struct partition *p)
{
	int64_t now_ms = p->edges.clock->now_ms(p->edges.clock);

	if (!settle(p))
		return 0;
	poll(p, now_ms);
	update_gauges(p);
	if (!settle(p))
		return 0;
	if (p->look_again)
		return look_again(p);
	sample(p, now_ms);
	if (p->relearn || flush_due(p, now_ms))
		return enter(p, now_ms);
	if (p->prepared->count - p->resolved >= FETCH_AT)
		return fetch_balances(p);
	return batch_full(p->prepared) ? full_wait_ms(p) : 0;
}

/* Endings ------------------------------------------------------------------------------------- */

static int64_t end(struct partition *p)
{
	p->edges.topic->ops->close(p->edges.topic);
	if (p->edges.publisher)
		publisher_end(p->edges.publisher, p->config.partition);
	partition_set_state(p, PARTITION_IDLE, "");
	return 0;
}

static int64_t await_flush(struct partition *p)
{
	if (p->in_flight && p->edges.submitted(p->edges.context))
		return p->config.poll_idle_ms;
	p->in_flight = false;
	return 0;
}

/* What is in flight ends.  What was prepared behind it stays in the log: the next owner reads it
 * sooner than another flush would end.  If nothing was in flight, what is prepared goes with one
 * last flush; but not if the log may be another one than it was read from. */
static int64_t drain_turn(struct partition *p)
{
	int64_t now_ms = p->edges.clock->now_ms(p->edges.clock);

	if (!settle(p))
		return 0;
	if (p->in_flight)
		return p->config.poll_idle_ms;
	if (p->look_again)
		return end(p);
	if (p->relearn || (!p->leaves_prepared && !p->flying && !batch_empty(p->prepared)))
		return enter(p, now_ms);
	return end(p);
}

static int64_t fenced_turn(struct partition *p)
{
	int64_t wait_ms = await_flush(p);

	return wait_ms > 0 ? wait_ms : end(p);
}

/* Halting's own calls never halt: they are tried until they succeed or the lease ends. */
static enum store_result write_halt(struct partition *p, struct error *err)
{
	struct store *store = p->edges.reader;
	enum store_result result = STORE_OK;
	bool written;

	if (!p->reader_connected)
		result = store->ops->connect(store, err);
	p->reader_connected = result == STORE_OK;
	if (result != STORE_OK)
		return result;
	return store->ops->halt(
		store, p->config.partition, p->config.epoch, p->reason, &written, err);
}

/* The reason goes to the database, unless the lease ends first: then the next owner finds out. */
static int64_t halted_turn(struct partition *p)
{
	int64_t wait_ms = await_flush(p);
	int64_t now_ms = p->edges.clock->now_ms(p->edges.clock);
	struct error err;

	if (wait_ms > 0)
		return wait_ms;
	if (p->edges.lease_valid(p->edges.context, p->config.partition, now_ms) &&
		atomic_load(&p->lose) == 0 && write_halt(p, &err) != STORE_OK) {
		p->edges.on_retry(
			p->edges.context, p->config.partition, "writing halted_reason", &err);
		p->reader_connected = false;
		return backoff_ms(p);
	}
	return end(p);
}

/* Orders from outside come before everything else. */
static void obey(struct partition *p)
{
	int64_t now_ms = p->edges.clock->now_ms(p->edges.clock);
	int lost = atomic_load(&p->lose);

	if (p->state == PARTITION_FENCED || p->state == PARTITION_HALTED ||
		p->state == PARTITION_IDLE)
		return;
	if (lost == 0 && !p->edges.lease_valid(p->edges.context, p->config.partition, now_ms))
		lost = 1;
	if (lost == 2) {
		fenced(p, "partition_offsets holds what this owner did not write");
	} else if (lost == 1) {
		flush_abandon(p->edges.flush);
		partition_set_state(p, PARTITION_FENCED,
			p->state == PARTITION_DRAINING
				? "its last flush did not end before the lease was given up"
				: "the lease was not renewed in time");
	} else if (atomic_load(&p->halt)) {
		partition_halting(p, "%s", p->halt_reason);
	} else if (atomic_load(&p->drain) && p->state != PARTITION_DRAINING) {
		p->leaves_prepared = p->flying != NULL;
		partition_set_state(p, PARTITION_DRAINING, "");
	}
}

int64_t partition_turn(struct partition *p)
{
	obey(p);
	switch (p->state) {
	case PARTITION_ACQUIRING:
		partition_set_state(p, PARTITION_RECOVERING, "");
		partition_recover(p);
		return 0;
	case PARTITION_RECOVERING:
		return recover_turn(p);
	case PARTITION_RUNNING:
		return run_turn(p);
	case PARTITION_DRAINING:
		return drain_turn(p);
	case PARTITION_FENCED:
		return fenced_turn(p);
	case PARTITION_HALTED:
		return halted_turn(p);
	case PARTITION_IDLE:
	case PARTITION_STATES:
		break;
	}
	return 0;
}
