#include "instance.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "mem.h"
#include "readers.h"
#include "wakeup.h"

#define STOP_LOOK_MS 20   /* between two looks whether the thread has ended */
#define STUCK_MS     1000 /* a tick that takes longer waits for the database */
#define NEVER        INT64_MAX

struct instance {
	struct instance_config config;
	struct instance_edges edges;
	struct leader *leader;
	struct flushers *flushers;
	struct readers *readers;
	struct wakeup wakeup;
	pthread_t thread;
	atomic_bool ended;
	/* When a stop no longer waits for the workers; NEVER: no stop. */
	_Atomic int64_t give_up_ms;

	pthread_mutex_t lock;    /* guards what follows; only the thread changes it */
	struct worker **workers; /* by partition; NULL: not ours */
	char leader_error[ERROR_TEXT_MAX];
	_Atomic int64_t beat_ms;
};

/* What the leader tells ------------------------------------------------------------------------ */

static void worker_has_ended(void *context)
{
	struct instance *instance = context;

	wakeup_ring(&instance->wakeup);
}

static bool lease_valid(void *context, int32_t partition, int64_t now_ms)
{
	struct instance *instance = context;

	return leader_valid(instance->leader, partition, now_ms);
}

static void set_worker(struct instance *instance, int32_t partition, struct worker *worker)
{
	pthread_mutex_lock(&instance->lock);
	instance->workers[partition] = worker;
	pthread_mutex_unlock(&instance->lock);
}

static void acquired(void *context, int32_t partition, int64_t epoch)
{
	struct instance *instance = context;
	const struct instance_edges *edges = &instance->edges;
	struct partition_config config = instance->config.partition;
	struct worker_edges worker_edges = {
		.reader = readers_store(instance->readers),
		.reader_waits = readers_store_waits,
		.reader_hurry = readers_store_hurry,
		.flushers = instance->flushers,
		.topic = edges->topic_create(edges->context, partition),
		.publisher = edges->publisher,
		.clock = edges->clock,
		.budget = edges->budget,
		.metrics = &edges->metrics[partition],
		.incidents = edges->incidents,
		.lease_valid = lease_valid,
		.ended = worker_has_ended,
		.context = instance,
	};

	assert(instance->workers[partition] == NULL);
	log_info("lease acquired", LI("partition", partition), LI("epoch", epoch));
	config.partition = partition;
	config.epoch = epoch;
	config.seed ^= (uint64_t)epoch;
	gauge_set(&edges->metrics[partition].epoch, epoch);
	partition_metrics_enter(&edges->metrics[partition], PARTITION_ACQUIRING);
	set_worker(instance, partition, worker_start(&config, &worker_edges));
}

static void surplus(void *context, int32_t partition)
{
	struct instance *instance = context;

	if (instance->workers[partition])
		worker_drain(instance->workers[partition]);
	else
		leader_drained(instance->leader, partition);
}

static void lost(void *context, int32_t partition, bool fenced)
{
	struct instance *instance = context;

	log_warn("lease lost", LI("partition", partition), LB("fenced", fenced));
	if (instance->workers[partition])
		worker_lose(instance->workers[partition], fenced);
	else
		leader_drained(instance->leader, partition);
}

static int64_t offset_low(void *context, int32_t partition)
{
	struct instance *instance = context;
	struct worker *worker = instance->workers[partition];

	return worker ? worker_offset_low(worker) : INT64_MIN;
}

static int64_t offset_high(void *context, int32_t partition)
{
	struct instance *instance = context;
	struct worker *worker = instance->workers[partition];

	return worker ? worker_offset_high(worker) : INT64_MAX;
}

static void viewed(void *context, const struct lease_view *view)
{
	struct instance *instance = context;

	for (size_t i = 0; i < view->row_count; i++)
		gauge_set(&instance->edges.metrics[view->rows[i].partition].halted,
			view->rows[i].halted);
}

/* The thread ----------------------------------------------------------------------------------- */

static void clear_gauges(struct partition_metrics *metrics)
{
	gauge_set(&metrics->epoch, 0);
	gauge_set(&metrics->next_offset, -1);
	gauge_set(&metrics->high_watermark, -1);
	gauge_set(&metrics->oldest_event_ms, 0);
	gauge_set(&metrics->random_ids, -1);
	gauge_set(&metrics->balances, 0);
	gauge_set(&metrics->balances_bytes, 0);
}

static void reap(struct instance *instance)
{
	for (int32_t i = 0; i < instance->config.leader.partitions; i++) {
		struct worker *worker = instance->workers[i];

		if (!worker || !worker_ended(worker))
			continue;
		set_worker(instance, i, NULL);
		worker_join(worker);
		clear_gauges(&instance->edges.metrics[i]);
		leader_drained(instance->leader, i);
		log_info("lease given up", LI("partition", i));
	}
}

/* A stop takes a lease's time at most: what a lock or a full disk keeps from being flushed then is
 * the next owner's, who reads it again. */
static void give_up(struct instance *instance, int64_t now_ms)
{
	if (now_ms < atomic_load(&instance->give_up_ms))
		return;
	atomic_store(&instance->give_up_ms, NEVER);
	for (int32_t i = 0; i < instance->config.leader.partitions; i++) {
		if (!instance->workers[i])
			continue;
		log_warn(
			"could not be flushed in time: left to the next owner", LI("partition", i));
		worker_lose(instance->workers[i], false);
	}
}

static int64_t tick(struct instance *instance)
{
	const struct clock *clock = instance->edges.clock;
	struct error err = {0};
	bool failed = false;
	int64_t wait_ms = leader_tick(instance->leader, clock->now_ms(clock), &failed, &err);

	if (failed)
		log_warn("leases: will be tried again", LS("error", err.text));
	pthread_mutex_lock(&instance->lock);
	snprintf(instance->leader_error, sizeof instance->leader_error, "%s",
		failed ? err.text : "");
	pthread_mutex_unlock(&instance->lock);
	return wait_ms;
}

static bool idle(const struct instance *instance)
{
	for (int32_t i = 0; i < instance->config.leader.partitions; i++)
		if (instance->workers[i])
			return false;
	return true;
}

static void *run(void *argument)
{
	struct instance *instance = argument;
	const struct clock *clock = instance->edges.clock;

	pthread_setname_np(pthread_self(), "instance");
	while (!leader_stopped(instance->leader) || !idle(instance)) {
		int64_t wait_ms;

		atomic_store(&instance->beat_ms, clock->now_ms(clock));
		reap(instance);
		give_up(instance, clock->now_ms(clock));
		wait_ms = tick(instance);
		wakeup_wait(&instance->wakeup, wait_ms);
	}
	atomic_store(&instance->ended, true);
	return NULL;
}

static void share_connections(struct instance *instance)
{
	const struct instance_config *config = &instance->config;
	const struct instance_edges *edges = &instance->edges;
	struct flushers_config flushers = {
		.threads = config->flushers,
		.keepalive_ms = config->keepalive_ms,
		.store_create = edges->store_create,
		.context = edges->context,
	};
	struct readers_config readers = {
		.connections = config->flushers,
		.silence_max_ms = config->keepalive_ms,
		.store_create = edges->store_create,
		.context = edges->context,
	};

	instance->flushers = flushers_start(&flushers, edges->clock);
	instance->readers = readers_create(&readers, edges->clock);
}

struct instance *instance_start(
	const struct instance_config *config, const struct instance_edges *edges)
{
	struct instance *instance = xcalloc(1, sizeof *instance);
	struct leader_events events = {
		.acquired = acquired,
		.surplus = surplus,
		.lost = lost,
		.offset_low = offset_low,
		.offset_high = offset_high,
		.viewed = viewed,
		.context = instance,
	};
	int rc;

	instance->config = *config;
	instance->edges = *edges;
	instance->workers = xcalloc((size_t)config->leader.partitions, sizeof(*instance->workers));
	pthread_mutex_init(&instance->lock, NULL);
	wakeup_init(&instance->wakeup);
	atomic_init(&instance->beat_ms, edges->clock->now_ms(edges->clock));
	atomic_init(&instance->ended, false);
	atomic_init(&instance->give_up_ms, NEVER);
	for (int32_t i = 0; i < config->leader.partitions; i++)
		clear_gauges(&edges->metrics[i]);
	share_connections(instance);
	instance->leader = leader_create(&config->leader, edges->lease_store, &events);
	rc = pthread_create(&instance->thread, NULL, run, instance);
	assert(rc == 0);
	return instance;
}

/* The leader has waited for an answer for so long that no lease is left to be released. */
static bool hangs(const struct instance *instance)
{
	int64_t now_ms = instance->edges.clock->now_ms(instance->edges.clock);

	return now_ms - atomic_load(&instance->beat_ms) > STUCK_MS &&
	       leader_out_of_reach(instance->leader, now_ms);
}

void instance_stop(struct instance *instance)
{
	const struct clock *clock = instance->edges.clock;
	struct lease_store *store = instance->edges.lease_store;
	struct timespec pause = {.tv_nsec = STOP_LOOK_MS * 1000000};

	atomic_store(&instance->give_up_ms, clock->now_ms(clock) + instance->config.leader.ttl_ms);
	leader_stop(instance->leader);
	wakeup_ring(&instance->wakeup);
	while (!atomic_load(&instance->ended)) {
		if (hangs(instance))
			store->ops->interrupt(store);
		nanosleep(&pause, NULL);
	}
	pthread_join(instance->thread, NULL);
	flushers_stop(instance->flushers);
	readers_destroy(instance->readers);
}

void instance_destroy(struct instance *instance)
{
	leader_destroy(instance->leader);
	wakeup_finish(&instance->wakeup);
	pthread_mutex_destroy(&instance->lock);
	free(instance->workers);
	free(instance);
}

/* Asked from outside --------------------------------------------------------------------------- */

void instance_halt(struct instance *instance, const char *reason)
{
	pthread_mutex_lock(&instance->lock);
	for (int32_t i = 0; i < instance->config.leader.partitions; i++)
		if (instance->workers[i])
			worker_halt(instance->workers[i], reason);
	pthread_mutex_unlock(&instance->lock);
}

static void count_worker(
	const struct instance *instance, int32_t partition, struct instance_health *health)
{
	const struct worker *worker = instance->workers[partition];
	int64_t state = gauge_read(&instance->edges.metrics[partition].state);

	if (!worker)
		return;
	health->owned++;
	health->running += state == PARTITION_RUNNING;
	if (worker_beat_ms(worker) < health->oldest_worker_beat_ms)
		health->oldest_worker_beat_ms = worker_beat_ms(worker);
}

void instance_health(struct instance *instance, struct instance_health *ret_health)
{
	*ret_health = (struct instance_health){
		.leader_beat_ms = atomic_load(&instance->beat_ms),
		.oldest_worker_beat_ms = INT64_MAX,
		.settled = leader_settled(instance->leader),
	};
	pthread_mutex_lock(&instance->lock);
	for (int32_t i = 0; i < instance->config.leader.partitions; i++)
		count_worker(instance, i, ret_health);
	memcpy(ret_health->leader_error, instance->leader_error, ERROR_TEXT_MAX);
	pthread_mutex_unlock(&instance->lock);
}
