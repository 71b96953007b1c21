/* See relays.h. */
#include "relays.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "outbox_apps.h"
#include "outbox_sink_memory.h"
#include "relay.h"

#define RELAYS_MAX 2

/* Chances are of ten thousand, at each call or step. */
struct relay_rates {
	int64_t store_fails, store_lost_before, store_lost_after;
	int64_t sink_again, sink_abort, sink_lost_before, sink_lost_after;
	int64_t slow, kill, pause, stop;
};

struct relay_node {
	struct relays *relays;
	int number;
	bool exists;
	struct relay relay;
	struct outbox_store *store;
	struct outbox_sink *sink;
	int64_t wait_us;         /* nothing is done before */
	int64_t paused_until_us; /* 0: it is not */
	int64_t asleep_since_ms;
	uint64_t read_step; /* at which it last read what is PENDING */
};

struct relays {
	struct world *w;
	struct random random;
	struct relay_rates rates;
	struct outbox_memory_db db;
	struct outbox_memory_db copy; /* that no longer follows */
	bool has_copy;
	struct outbox_memory_log log;
	struct outbox_apps apps;
	struct relay_node nodes[RELAYS_MAX];
	int node_count;
	bool late_topic; /* APPS_TOPIC_LATE exists by now */

	/* for the checkers */
	uint64_t marks_seen;
	int64_t sent_epoch; /* the newest that was the lease's when somebody sent under it */
	int64_t *epochs;    /* that were ever handed out */
	size_t epoch_count;
	int last_owner; /* a node's number + 1; 0: none yet */
};

/* What a step checks -------------------------------------------------------------------------- */

static void check_bytes(
	const struct relays *relays, const struct app_event *event, const struct outbox_row *row)
{
	if (event->seen_step == 0)
		world_fail(relays->w, "outbox: %s is in the log, but was never committed",
			row->event_id);
	if (!outbox_apps_sendable(event))
		world_fail(
			relays->w, "outbox: %s is in the log, which Kafka refused", row->event_id);
	if (strcmp(row->topic, event->topic) != 0 || row->key_length != strlen(event->letter.key) ||
		memcmp(row->key, event->letter.key, row->key_length) != 0 ||
		row->payload_length != event->letter.length ||
		memcmp(row->payload, event->letter.value, row->payload_length) != 0)
		world_fail(relays->w, "outbox: %s was changed on its way", row->event_id);
}

/* Rows that are before this one, and could be seen when it was read, are in the log by now. */
static void check_order(const struct relays *relays, const struct relay_node *node,
	const struct app_event *event, const struct outbox_row *row)
{
	for (size_t i = 0; i < relays->db.count && relays->db.rows[i].id < row->id; i++) {
		const struct outbox_row *before = &relays->db.rows[i];
		const struct app_event *other = outbox_apps_find(&relays->apps, before->event_id);

		if (other->topic == event->topic && other->appearances == 0 &&
			strcmp(other->letter.key, event->letter.key) == 0 &&
			outbox_apps_sendable(other) && other->seen_step < node->read_step)
			world_fail(relays->w, "outbox: key %s: %s comes before %s",
				event->letter.key, row->event_id, before->event_id);
	}
}

static void check_sender(struct relays *relays, const struct relay_node *node)
{
	int64_t epoch = node->relay.epoch;

	if (epoch < relays->sent_epoch)
		world_fail(relays->w,
			"outbox: relay %d sends under epoch %" PRId64 " after one under %" PRId64,
			node->number, epoch, relays->sent_epoch);
	if (epoch == relays->db.epoch)
		relays->sent_epoch = epoch;
}

static void check_row(const struct relays *relays, const struct outbox_row *row)
{
	const struct app_event *event = outbox_apps_find(&relays->apps, row->event_id);

	if (row->fate == OUTBOX_SENT && event->appearances == 0)
		world_fail(relays->w, "outbox: %s, id %" PRId64 ", is SENT, but not in the log",
			row->event_id, row->id);
	if (row->fate == OUTBOX_FAILED && outbox_apps_sendable(event))
		world_fail(relays->w, "outbox: %s is FAILED, but could be sent", row->event_id);
}

static void check_marks(struct relays *relays)
{
	if (relays->db.marks == relays->marks_seen)
		return;
	relays->marks_seen = relays->db.marks;
	if (relays->db.marking_epoch != relays->db.epoch)
		world_fail(relays->w,
			"outbox: rows are marked under epoch %" PRId64
			", but the lease has %" PRId64,
			relays->db.marking_epoch, relays->db.epoch);
	for (size_t i = 0; i < relays->db.count; i++)
		check_row(relays, &relays->db.rows[i]);
}

static void check_acquired(struct relays *relays, int64_t epoch)
{
	for (size_t i = 0; i < relays->epoch_count; i++)
		if (relays->epochs[i] == epoch)
			world_fail(
				relays->w, "outbox: epoch %" PRId64 " is handed out again", epoch);
	relays->epochs = xrealloc(
		relays->epochs, (relays->epoch_count + 1) * sizeof *relays->epochs);
	relays->epochs[relays->epoch_count++] = epoch;
}

/* What the relays tell ------------------------------------------------------------------------- */

static void on_acquired(void *context, int64_t epoch)
{
	struct relay_node *node = context;
	struct relays *relays = node->relays;

	world_trace(relays->w, "relay %d: has the lease, epoch %" PRId64, node->number, epoch);
	check_acquired(relays, epoch);
	if (relays->last_owner && relays->last_owner != node->number + 1)
		world_count(relays->w, FAULT_RELAY_HANDED_OVER);
	relays->last_owner = node->number + 1;
}

static void on_lost(void *context, int64_t epoch, const char *why)
{
	struct relay_node *node = context;

	world_count(node->relays->w, FAULT_RELAY_LOST);
	world_trace(node->relays->w, "relay %d: has lost the lease, epoch %" PRId64 ": %s",
		node->number, epoch, why);
}

static void on_failed(void *context, const struct outbox_row *row)
{
	struct relay_node *node = context;

	world_count(node->relays->w, FAULT_OUTBOX_FAILED);
	world_trace(node->relays->w, "relay %d: %s is FAILED", node->number, row->event_id);
}

static void on_aside(void *context, const char *topic, const struct error *err)
{
	struct relay_node *node = context;

	world_count(node->relays->w, FAULT_OUTBOX_TOPIC_MISSING);
	world_trace(node->relays->w, "relay %d: leaves topic %s out", node->number, topic);
}

/* The log -------------------------------------------------------------------------------------- */

static void on_append(void *context, const struct outbox_row *row)
{
	struct relay_node *node = context;
	struct relays *relays = node->relays;
	struct world *w = relays->w;
	struct app_event *event = outbox_apps_find(&relays->apps, row->event_id);

	world_trace(w, "relay %d: %s, key %s, is in the log%s", node->number, event->event_id,
		event->letter.key, event->appearances ? ", again" : "");
	check_bytes(relays, event, row);
	check_sender(relays, node);
	if (event->appearances == 0)
		check_order(relays, node, event, row);
	else
		world_count(w, FAULT_OUTBOX_SENT_AGAIN);
	event->appearances++;
	if (strcmp(event->topic, APPS_TOPIC) == 0)
		workload_deliver(&w->workload, w->logs, w->oracles, &event->letter,
			INT64_C(1767225600000) + w->now_us / 1000);
}

static enum sink_result on_judge(void *context, const struct outbox_row *row, bool acknowledging)
{
	const struct relay_node *node = context;
	const struct relays *relays = node->relays;
	const struct app_event *event = outbox_apps_find(&relays->apps, row->event_id);

	if (acknowledging != event->late_refusal)
		return SINK_OK;
	if (!outbox_apps_sendable(event))
		return SINK_REFUSED;
	if (!relays->late_topic && strcmp(event->topic, APPS_TOPIC_LATE) == 0)
		return SINK_TOPIC;
	return SINK_OK;
}

/* What becomes of calls ------------------------------------------------------------------------ */

/* Some come so rarely that hardly a seed would ever see them fail. */
static int64_t boost(const char *call)
{
	return strcmp(call, "release") == 0 || strcmp(call, "abort") == 0 ? 10 : 1;
}

static bool happens(struct relays *relays, const char *call, int64_t chance)
{
	return !relays->w->calm && random_chance(&relays->random, boost(call) * chance);
}

static void tell(const struct relay_node *node, const char *call, enum call_fault fault)
{
	faults_outbox(&node->relays->w->faults, call, fault);
	world_trace(
		node->relays->w, "relay %d: %s %s", node->number, call, faults_call_text(fault));
}

static void wait_long(struct relay_node *node, const char *call)
{
	struct relays *relays = node->relays;

	if (!happens(relays, call, relays->rates.slow))
		return;
	tell(node, call, CALL_SLOW);
	relays->w->now_us += random_below(&relays->random, INT64_C(1500) * WORLD_TTL_MS);
}

static enum outbox_memory_fault on_store(void *context, const char *what)
{
	struct relay_node *node = context;
	struct relays *relays = node->relays;
	const int64_t chances[] = {relays->rates.store_fails, relays->rates.store_lost_before,
		relays->rates.store_lost_after};
	static const enum outbox_memory_fault faults[] = {
		OUTBOX_FAULT_RETRY, OUTBOX_FAULT_LOST_BEFORE, OUTBOX_FAULT_LOST_AFTER};

	wait_long(node, what);
	if (strcmp(what, "pending") == 0)
		node->read_step = relays->w->steps + 1;
	for (int fault = CALL_FAILS; fault <= CALL_LOST_AFTER; fault++) {
		if (!happens(relays, what, chances[fault]))
			continue;
		tell(node, what, fault);
		return faults[fault];
	}
	return OUTBOX_FAULT_NONE;
}

static enum sink_memory_fault on_sink(void *context, const char *what)
{
	struct relay_node *node = context;
	struct relays *relays = node->relays;
	const int64_t chances[] = {relays->rates.sink_again, relays->rates.sink_lost_before,
		relays->rates.sink_lost_after};
	static const enum sink_memory_fault faults[] = {
		SINK_FAULT_AGAIN, SINK_FAULT_LOST_BEFORE, SINK_FAULT_LOST_AFTER};

	wait_long(node, what);
	if (relays->w->kafka.away)
		return SINK_FAULT_AGAIN;
	for (int fault = CALL_FAILS; fault <= CALL_LOST_AFTER; fault++) {
		if (!happens(relays, what, chances[fault]))
			continue;
		tell(node, what, fault);
		return faults[fault];
	}
	/* There is nothing to abort before it is open. */
	if (strcmp(what, "open") != 0 && happens(relays, what, relays->rates.sink_abort))
		return SINK_FAULT_ABORT;
	return SINK_FAULT_NONE;
}

/* Birth and death ------------------------------------------------------------------------------ */

static int64_t server_clock(void *context)
{
	return world_server_us(context);
}

static void start(struct relays *relays, int number)
{
	struct relay_node *node = &relays->nodes[number];
	struct random *r = &relays->random;
	const struct relay_events events = {on_acquired, on_lost, on_failed, on_aside, NULL, node};
	const struct outbox_sink_memory_world world = {on_sink, on_judge, on_append, node};
	struct relay_config config = {
		.ttl_ms = WORLD_TTL_MS,
		.poll_idle_ms = random_between(r, 1, 1000),
		.batch_max_rows = (size_t)random_between(r, 1, 12),
		.batch_max_bytes = (size_t)random_between(r, 1, 4000),
		.seed = random_next(r),
	};

	snprintf(config.holder, sizeof config.holder, "relay-%d", number);
	*node = (struct relay_node){.relays = relays, .number = number, .exists = true};
	node->store = outbox_store_memory_create(&relays->db, on_store, node);
	node->sink = outbox_sink_memory_create(&relays->log, &world, config.batch_max_rows);
	relay_init(&node->relay, &config, node->store, node->sink, &events);
}

static void drop(struct relay_node *node)
{
	relay_finish(&node->relay);
	node->sink->ops->destroy(node->sink);
	node->store->ops->destroy(node->store);
}

static int64_t weather(struct random *r, int64_t worst)
{
	return random_chance(r, 3000) ? 0 : random_below(r, worst);
}

static void rates_init(struct relays *relays)
{
	struct random *r = &relays->random;

	relays->rates = (struct relay_rates){
		.store_fails = weather(r, 500),
		.store_lost_before = weather(r, 300),
		.store_lost_after = weather(r, 300),
		.sink_again = weather(r, 1000),
		.sink_abort = weather(r, 300),
		.sink_lost_before = weather(r, 200),
		.sink_lost_after = weather(r, 200),
		.slow = weather(r, 40),
		.kill = weather(r, 100),
		.pause = weather(r, 100),
		.stop = weather(r, 20),
	};
}

struct relays *relays_create(struct world *w)
{
	struct relays *relays;

	if (w->seed % 3 != 1)
		return NULL;
	relays = xcalloc(1, sizeof *relays);
	relays->w = w;
	random_init(&relays->random, w->seed ^ UINT64_C(0x6f7574626f78));
	rates_init(relays);
	outbox_memory_db_init(&relays->db, server_clock, w);
	outbox_apps_init(&relays->apps, w, &relays->random, &relays->db);
	relays->node_count = (int)random_between(&relays->random, 1, RELAYS_MAX);
	for (int i = 0; i < relays->node_count; i++)
		start(relays, i);
	return relays;
}

void relays_destroy(struct relays *relays)
{
	if (!relays)
		return;
	for (int i = 0; i < relays->node_count; i++)
		drop(&relays->nodes[i]);
	if (relays->has_copy)
		outbox_memory_db_finish(&relays->copy);
	outbox_memory_db_finish(&relays->db);
	outbox_apps_finish(&relays->apps);
	free(relays->epochs);
	free(relays);
}

/* What happens --------------------------------------------------------------------------------- */

static void restart(struct relays *relays, struct relay_node *node)
{
	drop(node);
	start(relays, node->number);
}

static void kill_node(struct relays *relays, struct relay_node *node)
{
	world_count(relays->w, FAULT_RELAY_KILLED);
	relays->w->faults.relaying[node->relay.step]++;
	world_trace(relays->w, "relay %d: killed before it could %s", node->number,
		relay_step_text(node->relay.step));
	restart(relays, node);
}

static void pause_node(struct relays *relays, struct relay_node *node)
{
	int64_t seconds = random_between(&relays->random, 1, 40);

	world_count(relays->w, FAULT_RELAY_PAUSED);
	world_trace(relays->w, "relay %d: stopped before it could %s, for %" PRId64 " s",
		node->number, relay_step_text(node->relay.step), seconds);
	node->asleep_since_ms = relays->w->now_us / 1000;
	node->paused_until_us = relays->w->now_us + seconds * 1000000;
}

static void disturb(struct relays *relays, struct relay_node *node)
{
	struct random *r = &relays->random;

	if (relays->w->calm)
		return;
	if (random_chance(r, relays->rates.kill)) {
		kill_node(relays, node);
	} else if (random_chance(r, relays->rates.pause) && !node->paused_until_us) {
		pause_node(relays, node);
	} else if (random_chance(r, relays->rates.stop)) {
		world_count(relays->w, FAULT_RELAY_STOPPED);
		world_trace(relays->w, "relay %d: told to stop", node->number);
		relay_stop(&node->relay);
		node->wait_us = 0;
	}
}

static void act(struct relays *relays, struct relay_node *node)
{
	struct world *w = relays->w;
	int64_t now_ms = node->paused_until_us ? node->asleep_since_ms : w->now_us / 1000;
	uint64_t fenced = node->relay.counts.fenced;
	int64_t wait_ms;

	node->paused_until_us = 0;
	wait_ms = relay_step(&node->relay, now_ms);
	node->wait_us = w->now_us + 1000 * wait_ms;
	if (node->relay.counts.fenced != fenced)
		world_count(w, FAULT_RELAY_FENCED);
	check_marks(relays);
	if (!relay_stopped(&node->relay))
		return;
	world_trace(w, "relay %d: stopped; started again", node->number);
	restart(relays, node);
}

void relays_step(struct relays *relays)
{
	struct world *w = relays->w;
	struct relay_node *node;

	outbox_apps_step(&relays->apps);
	relays->late_topic |= w->calm || random_chance(&relays->random, 10);
	node = &relays->nodes[random_below(&relays->random, relays->node_count)];
	disturb(relays, node);
	if (w->now_us >= node->paused_until_us && w->now_us >= node->wait_us)
		act(relays, node);
}

bool relays_at_rest(const struct relays *relays)
{
	if (!outbox_apps_at_rest(&relays->apps))
		return false;
	for (size_t i = 0; i < relays->db.count; i++)
		if (relays->db.rows[i].fate == OUTBOX_PENDING)
			return false;
	return true;
}

/* Failing over --------------------------------------------------------------------------------- */

void relays_stop_following(struct relays *relays)
{
	if (relays->has_copy)
		outbox_memory_db_finish(&relays->copy);
	outbox_memory_db_copy(&relays->copy, &relays->db);
	relays->has_copy = true;
}

static size_t done(const struct outbox_memory_db *db)
{
	size_t count = 0;

	for (size_t i = 0; i < db->count; i++)
		count += db->rows[i].fate != OUTBOX_PENDING;
	return count;
}

void relays_fail_over(struct relays *relays)
{
	struct world *w = relays->w;

	if (relays->db.count > relays->copy.count)
		world_count(w, FAULT_OUTBOX_LOST);
	if (done(&relays->db) > done(&relays->copy))
		world_count(w, FAULT_OUTBOX_WENT_BACK);
	world_trace(w, "outbox: goes back from %zu rows, %zu of them done, to %zu and %zu",
		relays->db.count, done(&relays->db), relays->copy.count, done(&relays->copy));
	outbox_memory_db_restore(&relays->db, &relays->copy);
	outbox_memory_db_finish(&relays->copy);
	relays->has_copy = false;
	outbox_apps_lose(&relays->apps);
	if (relays->sent_epoch > relays->db.epoch)
		relays->sent_epoch = relays->db.epoch;
}
