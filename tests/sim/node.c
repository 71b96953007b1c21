#include "node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "checkers.h"
#include "leader.h"
#include "mem.h"
#include "partition_private.h"
#include "vandal.h"
#include "person.h"

/* What worker.c is in the daemon, without its threads. */
struct sim_worker {
	struct node *node;
	int32_t number;
	struct partition *partition;
	struct flush flush;
	bool submitted;
	int64_t flush_wait_us; /* the machine's pause ends */
	int64_t turn_wait_us;
	int64_t flush_silent_us; /* the flusher's session has been silent since */
	struct store *reader;
	struct store *flush_store;
	struct topic *topic;
};

struct node {
	struct world *w;
	int number;
	uint64_t life; /* distinguishes its lives */
	struct clock clock;
	struct budget budget;
	struct partition_metrics metrics[WORLD_PARTITIONS_MAX];
	struct partition_config config;

	struct lease_store_memory *lease_store;
	struct leader *leader;
	int64_t leader_wait_us;

	struct snapshot *snapshot;
	struct store *publisher_store;
	struct publisher *publisher;
	int64_t publisher_wait_us;

	struct sim_worker *workers[WORLD_PARTITIONS_MAX];
	int64_t paused_until_us;
	bool cut; /* while paused, the server lost patience */
};

/* Clocks: the world's time, through a struct clock that knows its node ------------------------- */

static struct world *world_of(const struct clock *clock)
{
	return ((const struct node *)((const char *)clock - offsetof(struct node, clock)))->w;
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
	return INT64_C(1767225600000) + world_of(clock)->now_us / 1000;
}

/* Faults --------------------------------------------------------------------------------------- */

static enum memory_fault store_fault(void *context, const char *what)
{
	struct node *node = context;
	struct world *w = node->w;
	enum memory_fault fault = MEMORY_FAULT_NONE;

	if (w->calm)
		return MEMORY_FAULT_NONE;
	if (random_chance(&w->random, w->rates.store_retry))
		fault = MEMORY_FAULT_RETRY;
	else if (random_chance(&w->random, w->rates.store_lost_before))
		fault = MEMORY_FAULT_LOST_BEFORE;
	else if (random_chance(&w->random, w->rates.store_lost_after))
		fault = MEMORY_FAULT_LOST_AFTER;
	if (fault != MEMORY_FAULT_NONE) {
		w->faults++;
		world_trace(w, "node %d: fault %d at %s", node->number, fault, what);
	}
	return fault;
}

static void lease_faults(struct node *node)
{
	struct world *w = node->w;

	node->lease_store->fail_before = !w->calm &&
					 random_chance(&w->random, w->rates.lease_fails);
	node->lease_store->lose_answer = !w->calm &&
					 random_chance(&w->random, w->rates.lease_answer_lost);
}

/* A partition's outside ------------------------------------------------------------------------ */

static void submit(void *context)
{
	struct sim_worker *worker = context;

	worker->submitted = true;
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
	worker->reader = store_memory_create(&w->db, store_fault, node);
	worker->flush_store = store_memory_create(&w->db, store_fault, node);
	worker->topic = topic_memory_create(&w->logs[partition], &w->kafka);
	flush_init(&worker->flush, worker->flush_store, random_next(&w->random));
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
	check_acquired(node->w, partition, epoch);
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
	node->publisher_store = store_memory_create(&node->w->db, store_fault, node);
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

	switch (random_below(&w->random, 5)) {
	case 0:
		node->leader_wait_us = until_us;
		break;
	case 1:
		node->publisher_wait_us = until_us;
		break;
	case 2:
		if (worker)
			worker->turn_wait_us = until_us;
		break;
	case 3:
		if (worker)
			worker->flush_wait_us = until_us;
		break;
	default: /* the flusher is the first to wake: nobody has told it that the lease is gone */
		node->leader_wait_us = until_us;
		if (worker) {
			worker->turn_wait_us = until_us;
			worker->flush_wait_us = until_us - random_below(&w->random, 1000000);
		}
	}
	world_trace(w, "node %d: a thread stalls for %lld ms", node->number,
		(long long)(until_us - w->now_us) / 1000);
}

static bool step_leader(struct node *node)
{
	struct world *w = node->w;
	struct error err = {0};
	bool failed = false;

	if (w->now_us < node->leader_wait_us)
		return false;
	lease_faults(node);
	node->leader_wait_us = w->now_us +
			       1000 * leader_tick(node->leader, w->now_us / 1000, &failed, &err);
	if (failed)
		world_trace(w, "node %d: leader: %s", node->number, err.text);
	return true;
}

static bool step_publisher(struct node *node)
{
	struct world *w = node->w;

	if (w->now_us < node->publisher_wait_us)
		return false;
	node->publisher_wait_us = INT64_MAX;
	node->publisher_wait_us = w->now_us +
				  1000 * publisher_step(node->publisher, w->now_us / 1000);
	return true;
}

static bool step_flush(struct sim_worker *worker)
{
	struct world *w = worker->node->w;
	enum flush_step step = worker->flush.step;

	if (!worker->submitted || w->now_us < worker->flush_wait_us) {
		if (w->now_us - worker->flush_silent_us > (int64_t)WORLD_TTL_MS * 600)
			store_memory_cut(worker->flush_store);
		return false;
	}
	worker->flush_silent_us = w->now_us;
	worker->flush_wait_us = w->now_us + 1000 * flush_step(&worker->flush);
	if (flush_ended(&worker->flush)) {
		check_flush(w, &worker->flush);
		worker->submitted = false;
		worker->turn_wait_us = 0;
		world_trace(w, "node %d: flush of partition %d, %lld to %lld: verdict %d after %s",
			worker->node->number, worker->number,
			(long long)worker->flush.request.begin_offset,
			(long long)worker->flush.request.end_offset, worker->flush.verdict,
			flush_step_text(step));
	}
	return true;
}

static bool step_turn(struct sim_worker *worker)
{
	struct node *node = worker->node;
	struct world *w = node->w;

	if (w->now_us < worker->turn_wait_us)
		return false;
	worker->turn_wait_us = w->now_us + 1000 * partition_turn(worker->partition);
	if (!partition_ended(worker->partition))
		return true;
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
