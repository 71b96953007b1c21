#include "node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "checkers.h"
#include "flush_group.h"
#include "leader.h"
#include "mem.h"
#include "partition_private.h"
#include "vandal.h"
#include "person.h"

/* Who asks the database. */
struct caller {
	struct node *node;
	const char *who;   /* "the flusher" */
	int32_t partition; /* -1: all */
};

/* What worker.c is in the daemon, without its threads. */
struct sim_worker {
	struct node *node;
	int32_t number;
	struct partition *partition;
	struct flush flush;
	bool submitted;
	bool grouped;          /* its flush is a member of the node's group */
	bool alone;            /* a group with it did not succeed */
	int64_t flush_wait_us; /* the machine's pause ends */
	int64_t turn_wait_us;
	int64_t flush_silent_us; /* the flusher's session has been silent since */
	struct caller reading, flushing;
	struct store *reader;
	struct store *flush_store;
	struct topic *topic;
};

struct node {
	struct world *w;
	int number;
	uint64_t life; /* distinguishes its lives */
	struct clock clock;
	int64_t wall_skew_ms;
	struct budget budget;
	struct partition_metrics metrics[WORLD_PARTITIONS_MAX];
	struct partition_config config;

	struct lease_store_memory *lease_store;
	struct leader *leader;
	int64_t leader_wait_us;

	struct snapshot *snapshot;
	struct caller rebuilding;
	struct store *publisher_store;
	struct publisher *publisher;
	int64_t publisher_wait_us;

	struct sim_worker *workers[WORLD_PARTITIONS_MAX];
	struct flush_group group;
	struct sim_worker *driver; /* whose connection the group has; NULL: there is none */
	int64_t paused_until_us;
	bool cut; /* while paused, the server lost patience */
};

/* Clocks: the world's time, through a struct clock that knows its node ------------------------- */

static const struct node *node_of(const struct clock *clock)
{
	return (const struct node *)((const char *)clock - offsetof(struct node, clock));
}

static struct world *world_of(const struct clock *clock)
{
	return node_of(clock)->w;
}

static int64_t now_us(const struct clock *clock)
{
	return world_of(clock)->now_us;
}

static int64_t now_ms(const struct clock *clock)
{
	return world_of(clock)->now_us / 1000;
}

static int64_t wall_ms(const struct clock *clock)
{
	return INT64_C(1767225600000) + world_of(clock)->now_us / 1000 +
	       node_of(clock)->wall_skew_ms;
}

/* Faults --------------------------------------------------------------------------------------- */

static enum memory_fault store_fault(void *context, const char *what)
{
	const struct caller *caller = context;
	char who[64];

	snprintf(who, sizeof who, "node %d, %s of partition %d", caller->node->number, caller->who,
		caller->partition);
	return world_store_fault(caller->node->w, who, what);
}

/* A call of the leases' store takes its time. */
static void lease_waits(void *context, bool lock)
{
	struct node *node = context;

	if (!lock)
		world_lease_waits(node->w, node->lease_store);
}

/* A partition's outside ------------------------------------------------------------------------ */

static void submit(void *context)
{
	struct sim_worker *worker = context;

	worker->submitted = true;
	worker->alone = false;
	worker->flush_wait_us = 0;
}

static bool submitted(void *context)
{
	return ((struct sim_worker *)context)->submitted;
}

static bool lease_valid(void *context, int32_t partition, int64_t at_ms)
{
	return leader_valid(((struct sim_worker *)context)->node->leader, partition, at_ms);
}

static void on_state(void *context, int32_t partition, enum partition_state from,
	enum partition_state to, const char *reason)
{
	struct sim_worker *worker = context;
	struct world *w = worker->node->w;

	world_trace(w, "node %d: partition %d %s -> %s %s", worker->node->number, partition,
		partition_state_text(from), partition_state_text(to), reason);
	if (to == PARTITION_HALTED && !person_caused(w, partition, reason))
		world_fail(w, "node %d halted partition %d: %s", worker->node->number, partition,
			reason);
}

static void on_retry(void *context, int32_t partition, const char *what, const struct error *err)
{
	struct sim_worker *worker = context;

	world_trace(worker->node->w, "node %d: partition %d: %s: %s", worker->node->number,
		partition, what, err->text);
}

/* Of a flush: it is told what failed when it fails. */
static void on_flush_retry(
	void *context, enum flush_step step, const struct store *store, const struct error *err)
{
	struct sim_worker *worker = context;

	if (strstr(err->text, "lock wait"))
		world_count(worker->node->w, FAULT_LOCK_WAIT);
}

static void on_drift(void *context, int32_t partition, enum drift drift, int64_t balances)
{
	struct sim_worker *worker = context;

	vandal_drift(worker->node->w, worker->node->number, partition, drift, balances);
}

static struct partition_edges edges_of(struct sim_worker *worker)
{
	struct node *node = worker->node;

	return (struct partition_edges){
		.reader = worker->reader,
		.topic = worker->topic,
		.flush = &worker->flush,
		.submit = submit,
		.submitted = submitted,
		.lease_valid = lease_valid,
		.context = worker,
		.publisher = node->publisher,
		.clock = &node->clock,
		.budget = &node->budget,
		.metrics = &node->metrics[worker->number],
		.on_state = on_state,
		.on_retry = on_retry,
		.on_drift = on_drift,
	};
}

/* What is not taken yet, nobody gets. */
static void tighten(struct node *node)
{
	if (node->w->tight)
		node->budget.max_bytes = budget_used(&node->budget);
}

static struct sim_worker *worker_create(struct node *node, int32_t partition, int64_t epoch)
{
	struct world *w = node->w;
	struct sim_worker *worker = xcalloc(1, sizeof *worker);
	struct partition_config config = node->config;
	struct partition_edges edges;

	worker->node = node;
	worker->number = partition;
	worker->reading = (struct caller){node, "the reader", partition};
	worker->flushing = (struct caller){node, "the flusher", partition};
	worker->reader = store_memory_create(&w->db, store_fault, &worker->reading);
	worker->flush_store = store_memory_create(&w->db, store_fault, &worker->flushing);
	worker->topic = topic_memory_create(&w->logs[partition], &w->kafka);
	flush_init(&worker->flush, worker->flush_store, random_next(&w->random));
	worker->flush.on_retry = on_flush_retry;
	worker->flush.on_retry_context = worker;
	config.partition = partition;
	config.epoch = epoch;
	config.seed = random_next(&w->random);
	edges = edges_of(worker);
	worker->partition = partition_create(&config, &edges);
	tighten(node);
	return worker;
}

static void worker_destroy(struct sim_worker *worker)
{
	partition_destroy(worker->partition);
	flush_finish(&worker->flush);
	worker->reader->ops->destroy(worker->reader);
	worker->flush_store->ops->destroy(worker->flush_store);
	worker->topic->ops->destroy(worker->topic);
	tighten(worker->node);
	free(worker);
}

/* What the leader tells ------------------------------------------------------------------------ */

static void acquired(void *context, int32_t partition, int64_t epoch)
{
	struct node *node = context;

	assert(!node->workers[partition]);
	check_acquired(node->w, node->number, partition, epoch);
	world_trace(node->w, "node %d: acquired partition %d, epoch %lld", node->number, partition,
		(long long)epoch);
	node->workers[partition] = worker_create(node, partition, epoch);
}

static void surplus(void *context, int32_t partition)
{
	struct node *node = context;

	if (node->workers[partition])
		partition_drain(node->workers[partition]->partition);
}

static void lost(void *context, int32_t partition, bool fenced)
{
	struct node *node = context;

	world_trace(node->w, "node %d: lost partition %d%s", node->number, partition,
		fenced ? " (fenced)" : "");
	if (node->workers[partition])
		partition_lose(node->workers[partition]->partition, fenced);
}

static int64_t offset_low(void *context, int32_t partition)
{
	struct node *node = context;

	return node->workers[partition] ? partition_offset_low(node->workers[partition]->partition)
					: INT64_MIN;
}

static int64_t offset_high(void *context, int32_t partition)
{
	struct node *node = context;

	return node->workers[partition] ? partition_offset_high(node->workers[partition]->partition)
					: INT64_MAX;
}

/* The node ------------------------------------------------------------------------------------- */

static void ring(void *context)
{
	((struct node *)context)->publisher_wait_us = 0;
}

static void partition_config_init(struct node *node)
{
	struct world *w = node->w;

	node->config = (struct partition_config){
		.partitions = w->partitions,
		.cluster_id = "memory",
		.batch_max_events = (size_t)random_between(&w->random, 1, 16),
		.batch_max_bytes = (size_t)random_between(&w->random, 100, 5000),
		.poll_idle_ms = 1000,
		.flush_interval_min_ms = random_chance(&w->random, 3000)
						 ? random_between(&w->random, 1, 500)
						 : 0,
		.dedupe_ids = (size_t)random_between(&w->random, 1, 100),
		.dedupe_prime = (size_t)random_below(&w->random, 50),
		.redis_pending_max = (size_t)random_between(&w->random, 1, 50),
		.key = "simulator",
		.out_of_range_ms = WORLD_OUT_OF_RANGE_MS,
	};
}

static void leader_start(struct node *node)
{
	struct leader_config config = {
		.partitions = node->w->partitions,
		.all = true,
		.ttl_ms = WORLD_TTL_MS,
	};
	struct leader_events events = {
		.acquired = acquired,
		.surplus = surplus,
		.lost = lost,
		.offset_low = offset_low,
		.offset_high = offset_high,
		.context = node,
	};

	snprintf(config.consumer_id, sizeof config.consumer_id, "node-%d-%llu",
		node->w->one_id ? 0 : node->number,
		node->w->one_id ? 0 : (unsigned long long)node->life);
	node->lease_store = lease_store_memory_create(&node->w->leases);
	node->lease_store->on_wait = lease_waits;
	node->lease_store->wait_context = node;
	node->leader = leader_create(&config, &node->lease_store->store, &events);
}

static void publisher_start(struct node *node)
{
	struct publisher_config config = {
		.partitions = node->w->partitions,
		.pending_max = (size_t)random_between(&node->w->random, 4, 60),
		.check_interval_ms = 2000,
		.slice_max = (size_t)random_between(&node->w->random, 1, 20),
		.seed = random_next(&node->w->random),
	};

	node->snapshot = snapshot_memory_open(node->w->redis);
	node->rebuilding = (struct caller){node, "the publisher", -1};
	node->publisher_store = store_memory_create(&node->w->db, store_fault, &node->rebuilding);
	node->publisher = publisher_create(
		&config, node->snapshot, node->publisher_store, ring, node);
}

struct node *node_create(struct world *w, int number)
{
	struct node *node = xcalloc(1, sizeof *node);

	node->w = w;
	node->number = number;
	node->life = w->steps;
	node->clock = (struct clock){now_ms, now_us, wall_ms};
	budget_init(&node->budget, (size_t)1 << 30);
	partition_config_init(node);
	publisher_start(node);
	leader_start(node);
	return node;
}

void node_destroy(struct node *node)
{
	for (int32_t i = 0; i < node->w->partitions; i++)
		if (node->workers[i])
			worker_destroy(node->workers[i]);
	leader_destroy(node->leader);
	node->lease_store->store.ops->destroy(&node->lease_store->store);
	publisher_destroy(node->publisher);
	free(node);
}

bool node_believes(const struct node *node, int32_t partition)
{
	return leader_valid(node->leader, partition, node->w->now_us / 1000);
}

bool node_remembers(const struct node *node, int32_t partition, struct balance_key key)
{
	const struct sim_worker *worker = node->workers[partition];

	return worker && balances_find(worker->partition->ledger.balances, key) != BALANCE_NONE;
}

void node_count_kill(const struct node *node)
{
	struct faults *faults = &node->w->faults;

	for (int32_t i = 0; i < node->w->partitions; i++) {
		const struct sim_worker *worker = node->workers[i];

		if (!worker)
			continue;
		faults->flushing[worker->submitted ? worker->flush.step : FLUSH_IDLE]++;
		if (partition_state(worker->partition) == PARTITION_RECOVERING)
			faults->recovering[worker->partition->recover_step]++;
		if (node->publisher->publications[i].sync != SYNC_IDLE)
			faults->publishing[node->publisher->publications[i].sync]++;
	}
}

bool node_flushes(const struct node *node)
{
	for (int32_t i = 0; i < node->w->partitions; i++)
		if (node->workers[i] && node->workers[i]->submitted)
			return true;
	return false;
}

bool node_settles(const struct node *node)
{
	for (int32_t i = 0; i < node->w->partitions; i++)
		if (node->workers[i] && node->workers[i]->submitted &&
			(node->workers[i]->flush.step == FLUSH_SETTLE ||
				node->workers[i]->flush.step == FLUSH_SETTLE_CONNECT))
			return true;
	return false;
}

bool node_relearns(const struct node *node)
{
	for (int32_t i = 0; i < node->w->partitions; i++)
		if (node->workers[i] && node->workers[i]->partition->relearn)
			return true;
	return false;
}

int64_t node_epoch(const struct node *node, int32_t partition)
{
	const struct sim_worker *worker = node->workers[partition];

	return worker ? worker->partition->config.epoch : 0;
}

void node_wall_jump(struct node *node)
{
	struct world *w = node->w;
	int64_t by_ms = random_between(&w->random, -100000000, 100000000);

	node->wall_skew_ms += by_ms;
	world_count(w, by_ms < 0 ? FAULT_WALL_CLOCK_BACK : FAULT_WALL_CLOCK_FORWARD);
	world_trace(w, "node %d: its wall clock jumps by %lld s", node->number,
		(long long)by_ms / 1000);
}

void node_stop(struct node *node)
{
	leader_stop(node->leader);
	node->leader_wait_us = 0;
}

bool node_stopped(const struct node *node)
{
	return leader_stopped(node->leader);
}

void node_pause(struct node *node, int64_t until_us)
{
	node->paused_until_us = until_us;
	node->cut = false;
}

/* A session that is silent for six tenths of the TTL is ended by the server. */
static void cut_when_silent(struct node *node)
{
	int64_t left_us = node->paused_until_us - node->w->now_us;

	if (node->cut || left_us > (int64_t)WORLD_TTL_MS * 400)
		return;
	node->cut = true;
	world_count(node->w, FAULT_SILENT);
	for (int32_t i = 0; i < node->w->partitions; i++) {
		if (!node->workers[i])
			continue;
		store_memory_cut(node->workers[i]->reader);
		store_memory_cut(node->workers[i]->flush_store);
	}
}

void node_stall(struct node *node)
{
	struct world *w = node->w;
	int64_t until_us = w->now_us + random_below(&w->random, 2 * WORLD_TTL_MS * 1000);
	struct sim_worker *worker = node->workers[random_below(&w->random, w->partitions)];
	enum fault fault = worker ? (enum fault)random_between(
					    &w->random, FAULT_STALLED_LEADER, FAULT_STALLED_ALL)
				  : (enum fault)random_between(&w->random, FAULT_STALLED_LEADER,
					    FAULT_STALLED_PUBLISHER);

	world_count(w, fault);
	world_trace(w, "node %d: %s, for %lld ms (partition %d)", node->number, faults_text(fault),
		(long long)(until_us - w->now_us) / 1000, worker ? worker->number : -1);
	if (fault == FAULT_STALLED_LEADER || fault == FAULT_STALLED_ALL)
		node->leader_wait_us = until_us;
	if (fault == FAULT_STALLED_PUBLISHER)
		node->publisher_wait_us = until_us;
	if (fault == FAULT_STALLED_PARTITION || fault == FAULT_STALLED_ALL)
		worker->turn_wait_us = until_us;
	if (fault == FAULT_STALLED_FLUSHER)
		worker->flush_wait_us = until_us;
	if (fault == FAULT_STALLED_ALL) /* nobody has told the flusher that the lease is gone */
		worker->flush_wait_us = until_us - random_below(&w->random, 1000000);
}

static bool step_leader(struct node *node)
{
	struct world *w = node->w;
	struct error err = {0};
	bool failed = false;
	int64_t wait_ms;

	if (w->now_us < node->leader_wait_us)
		return false;
	world_lease_faults(w, node->lease_store);
	wait_ms = leader_tick(node->leader, w->now_us / 1000, &failed, &err);
	node->leader_wait_us = w->now_us + 1000 * wait_ms;
	world_count_lease_faults(w, node->lease_store);
	if (failed && strstr(err.text, "its row is locked"))
		world_count(w, FAULT_LOCK_WAIT);
	if (failed)
		world_trace(w, "node %d: leader: %s", node->number, err.text);
	return true;
}

static bool step_publisher(struct node *node)
{
	struct world *w = node->w;
	const struct snapshot_memory_faults *faults = snapshot_memory_faults(w->redis);
	struct snapshot_memory_faults before = *faults;
	struct publisher_stats stats;
	uint64_t published;
	int64_t wait_ms;

	if (w->now_us < node->publisher_wait_us)
		return false;
	node->publisher_wait_us = INT64_MAX;
	publisher_stats(node->publisher, &stats);
	published = stats.published;
	wait_ms = publisher_step(node->publisher, w->now_us / 1000);
	publisher_stats(node->publisher, &stats);
	if (stats.published > published)
		world_trace(w, "node %d: writes %llu balances to Redis", node->number,
			(unsigned long long)(stats.published - published));
	node->publisher_wait_us = w->now_us + 1000 * wait_ms;
	if (before.publishes > faults->publishes)
		world_count(w, FAULT_REDIS_FAILS);
	if (before.markers_refused > faults->markers_refused)
		world_count(w, FAULT_REDIS_MARKER_REFUSED);
	if (before.markers_unsettled > faults->markers_unsettled)
		world_count(w, FAULT_REDIS_MARKER_UNSETTLED);
	return true;
}

static void tell_verdict(struct sim_worker *worker, enum flush_step step)
{
	static const char *const verdicts[] = {
		[FLUSH_COMMITTED] = "it is committed",
		[FLUSH_DUPLICATES] = "an id of it was in the journal before: rolled back",
		[FLUSH_FENCED] = "the epoch or the offset is another's: rolled back",
		[FLUSH_HALTED] = "only a person can help",
		[FLUSH_ABANDONED] = "the lease is over: given up",
	};
	const struct flush *flush = &worker->flush;
	struct world *w = worker->node->w;

	if (flush->verdict == FLUSH_DUPLICATES)
		world_count(w, FAULT_UNDONE);
	if (flush->verdict == FLUSH_FENCED &&
		flush->request.epoch != w->offsets[worker->number].epoch)
		world_count(w, FAULT_ZOMBIE);
	if (flush->verdict == FLUSH_ABANDONED)
		world_count(w, FAULT_EXPIRED);
	if (flush->verdict == FLUSH_COMMITTED && step == FLUSH_SETTLE)
		world_count(w, FAULT_SETTLED_DONE);
	world_trace(w, "node %d: flush of partition %d, offsets %lld to %lld, epoch %lld: %s (%s)",
		worker->node->number, worker->number, (long long)flush->request.begin_offset,
		(long long)flush->request.end_offset, (long long)flush->request.epoch,
		verdicts[flush->verdict], flush_step_text(step));
}

static void keep_alive(struct sim_worker *worker)
{
	struct store *store = worker->flush_store;
	struct error err;

	if (worker->flush.connected)
		worker->flush.connected = store->ops->ping(store, &err) == STORE_OK;
}

/* Between two flushes it keeps its session alive; a stalled one cannot. */
static void idle_flusher(struct sim_worker *worker)
{
	struct world *w = worker->node->w;
	int64_t silent_us = w->now_us - worker->flush_silent_us;

	if (silent_us > (int64_t)WORLD_TTL_MS * 600) {
		store_memory_cut(worker->flush_store);
	} else if (!worker->submitted && w->now_us >= worker->flush_wait_us &&
		   silent_us > (int64_t)WORLD_TTL_MS * 200) {
		keep_alive(worker);
		worker->flush_silent_us = w->now_us;
	}
}

static void take_verdict(struct sim_worker *worker, enum flush_step step)
{
	if (!flush_ended(&worker->flush))
		return;
	check_flush(worker->node->w, &worker->flush);
	worker->submitted = false;
	worker->turn_wait_us = 0;
	tell_verdict(worker, step);
}

/* Several flushes in one transaction ----------------------------------------------------------- */

static bool may_join(const struct sim_worker *worker)
{
	return worker && worker->submitted && !worker->alone && flush_group_takes(&worker->flush);
}

/* Of this flush and others that were submitted, if there are any. */
static void begin_group(struct sim_worker *worker)
{
	struct node *node = worker->node;
	struct flush *members[WORLD_PARTITIONS_MAX];
	size_t count = 0;

	for (int32_t i = 0; i < node->w->partitions; i++)
		if (may_join(node->workers[i]))
			members[count++] = &node->workers[i]->flush;
	if (count < 2)
		return;
	for (int32_t i = 0; i < node->w->partitions; i++)
		if (may_join(node->workers[i]))
			node->workers[i]->grouped = true;
	node->driver = worker;
	flush_group_start(&node->group, worker->flush_store, members, count);
}

static void end_group(struct node *node, enum flush_step step)
{
	struct world *w = node->w;
	struct sim_worker *driver = node->driver;

	driver->flush.connected = node->group.connected;
	world_count(w, flush_ended(&driver->flush)                  ? FAULT_JOINED
		       : driver->flush.step == FLUSH_SETTLE_CONNECT ? FAULT_JOINT_UNKNOWN
								    : FAULT_SPLIT);
	world_trace(w, "node %d: a transaction of %zu flushes ends with its %s", node->number,
		node->group.count, flush_step_text(step));
	node->driver = NULL;
	for (int32_t i = 0; i < w->partitions; i++) {
		struct sim_worker *worker = node->workers[i];

		if (!worker || !worker->grouped)
			continue;
		worker->grouped = false;
		worker->alone = true;
		take_verdict(worker, step);
	}
}

static void step_group(struct node *node)
{
	enum flush_step step = node->group.step;

	flush_group_step(&node->group);
	if (flush_group_ended(&node->group))
		end_group(node, step);
}

static bool step_flush(struct sim_worker *worker)
{
	struct node *node = worker->node;
	struct world *w = node->w;
	enum flush_step step = worker->flush.step;

	if (!worker->submitted || w->now_us < worker->flush_wait_us ||
		(worker->grouped && worker != node->driver)) {
		idle_flusher(worker);
		return false;
	}
	worker->flush_silent_us = w->now_us;
	if (!node->driver && may_join(worker) && worker->flush.connected)
		begin_group(worker);
	if (worker == node->driver) {
		step_group(node);
		return true;
	}
	worker->flush_wait_us = w->now_us + 1000 * flush_step(&worker->flush);
	take_verdict(worker, step);
	return true;
}

static bool step_turn(struct sim_worker *worker)
{
	struct node *node = worker->node;
	struct world *w = node->w;
	int64_t wait_ms;

	if (w->now_us < worker->turn_wait_us)
		return false;
	wait_ms = partition_turn(worker->partition);
	worker->turn_wait_us = w->now_us + 1000 * wait_ms;
	if (!partition_ended(worker->partition))
		return true;
	assert(!worker->grouped);
	node->workers[worker->number] = NULL;
	leader_drained(node->leader, worker->number);
	node->leader_wait_us = 0;
	worker_destroy(worker);
	return true;
}

bool node_step(struct node *node)
{
	struct world *w = node->w;
	struct sim_worker *worker;

	if (w->now_us < node->paused_until_us) {
		cut_when_silent(node);
		return false;
	}
	switch (random_below(&w->random, 8)) {
	case 0:
		return step_leader(node);
	case 1:
		return step_publisher(node);
	default:
		worker = node->workers[random_below(&w->random, w->partitions)];
		if (!worker)
			return false;
		return random_chance(&w->random, 5000) ? step_flush(worker) : step_turn(worker);
	}
}
