#include "world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "borrower.h"
#include "checkers.h"
#include "node.h"
#include "person.h"
#include "replayer.h"

#define START_US INT64_C(1000000000)

/* Telling -------------------------------------------------------------------------------------- */

void world_trace(struct world *w, const char *format, ...)
{
	va_list arguments;

	if (!w->trace)
		return;
	fprintf(w->trace, "%8" PRIu64 " %10.3f s  ", w->steps,
		(double)(w->now_us - START_US) / 1e6);
	va_start(arguments, format);
	vfprintf(w->trace, format, arguments);
	va_end(arguments);
	fputc('\n', w->trace);
}

_Noreturn void world_fail(struct world *w, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "seed %" PRIu64 ", step %" PRIu64 ": ", w->seed, w->steps);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	w->failed = true;
	fflush(NULL);
	abort();
}

/* Birth and death ------------------------------------------------------------------------------ */

static int64_t server_clock(void *context)
{
	return INT64_C(1767225600000000) + ((struct world *)context)->now_us;
}

/* Some worlds are calm, some are not: each kind of fault has its own weather. */
static int64_t weather(struct random *r, int64_t worst)
{
	return random_chance(r, 3000) ? 0 : random_below(r, worst);
}

static void rates_init(struct world *w)
{
	struct random *r = &w->random;

	w->rates = (struct world_rates){
		.store_retry = weather(r, 600),
		.store_lost_before = weather(r, 300),
		.store_lost_after = weather(r, 300),
		.lease_fails = weather(r, 1500),
		.lease_answer_lost = weather(r, 800),
		.redis_fails = weather(r, 800),
		.redis_loses = weather(r, 20),
		.kafka_away = weather(r, 30),
		.crash = weather(r, 30),
		.pause = weather(r, 20),
		.stall = weather(r, 60),
		.stop = weather(r, 15),
		.send = 500 + random_below(r, 4000),
		.truncate = weather(r, 40),
		.borrow = weather(r, 20),
	};
}

void world_init(struct world *w, uint64_t seed, FILE *trace)
{
	*w = (struct world){.seed = seed, .trace = trace, .now_us = START_US};
	random_init(&w->random, seed);
	w->partitions = (int32_t)random_between(&w->random, 1, WORLD_PARTITIONS_MAX);
	w->node_count = (int)random_between(&w->random, 1, WORLD_NODES_MAX);
	w->messages_max = random_between(&w->random, 20, 400);
	w->tight = random_chance(&w->random, 5000);
	rates_init(w);
	w->one_id = random_chance(&w->random, 1000);
	/* After an acquire without an answer one would release the other's: safe, but not alone. */
	if (w->one_id)
		w->rates.lease_fails = w->rates.lease_answer_lost = 0;
	workload_init(&w->workload, random_next(&w->random), w->partitions);
	for (int32_t i = 0; i < w->partitions; i++) {
		memory_log_init(&w->logs[i], w->partitions);
		oracle_init(&w->oracles[i]);
	}
	memory_database_init(&w->db, w->partitions, w->offsets);
	lease_store_memory_db_init(&w->leases, w->offsets, w->partitions, server_clock, w);
	w->redis = snapshot_memory_create(seed);
	for (int i = 0; i < w->node_count; i++)
		w->nodes[i] = node_create(w, i);
	w->borrower = borrower_create(w);
	w->replayer = replayer_create(w);
	world_trace(w, "%d partitions, %d nodes, %" PRId64 " messages, %" PRId64 " accounts",
		w->partitions, w->node_count, w->messages_max, w->workload.accounts);
}

void world_finish(struct world *w)
{
	for (int i = 0; i < w->node_count; i++)
		node_destroy(w->nodes[i]);
	borrower_destroy(w->borrower);
	replayer_destroy(w->replayer);
	snapshot_memory_destroy(w->redis);
	lease_store_memory_db_finish(&w->leases);
	memory_database_finish(&w->db);
	for (int32_t i = 0; i < w->partitions; i++) {
		memory_log_finish(&w->logs[i]);
		oracle_finish(&w->oracles[i]);
	}
}

/* What happens --------------------------------------------------------------------------------- */

static void send(struct world *w)
{
	if (w->sent >= w->messages_max || !random_chance(&w->random, w->rates.send))
		return;
	w->sent++;
	workload_send(&w->workload, w->logs, w->oracles, INT64_C(1767225600000) + w->now_us / 1000);
}

static void restart(struct world *w, int number, const char *why)
{
	world_trace(w, "node %d: %s", number, why);
	node_destroy(w->nodes[number]);
	w->nodes[number] = node_create(w, number);
}

static void disturb_node(struct world *w, int number)
{
	struct random *r = &w->random;

	if (random_chance(r, w->rates.crash)) {
		w->crashes++;
		restart(w, number, "killed");
	} else if (random_chance(r, w->rates.pause)) {
		int64_t seconds = random_between(r, 1, 40);

		w->pauses++;
		world_trace(w, "node %d: stopped for %" PRId64 " s", number, seconds);
		node_pause(w->nodes[number], w->now_us + seconds * 1000000);
	} else if (random_chance(r, w->rates.stall)) {
		w->stalls++;
		node_stall(w->nodes[number]);
	} else if (random_chance(r, w->rates.stop)) {
		w->stops++;
		world_trace(w, "node %d: told to stop", number);
		node_stop(w->nodes[number]);
	}
}

static void disturb_servers(struct world *w)
{
	struct random *r = &w->random;
	struct snapshot_memory_faults *faults = snapshot_memory_faults(w->redis);

	if (random_chance(r, w->rates.redis_fails)) {
		faults->publishes = 1;
		faults->publish_written = (size_t)random_below(r, 5);
		faults->markers_refused = random_chance(r, 2000);
		faults->markers_unsettled = random_chance(r, 2000);
		w->faults++;
	}
	if (random_chance(r, w->rates.redis_loses)) {
		world_trace(w, "Redis loses data");
		if (random_chance(r, 5000))
			snapshot_memory_flushall(w->redis);
		else
			snapshot_memory_restart(w->redis);
		w->faults++;
	}
	if (random_chance(r, w->kafka.away ? 500 : w->rates.kafka_away))
		w->kafka.away = !w->kafka.away;
	w->kafka.at_most = random_chance(r, 5000) ? 0 : (size_t)random_between(r, 2, 5);
}

static void calm_down(struct world *w)
{
	w->calm = true;
	w->kafka = (struct topic_memory_faults){0};
	*snapshot_memory_faults(w->redis) = (struct snapshot_memory_faults){0};
	world_trace(w, "all is sent; no more faults");
}

static void pass_time(struct world *w, bool somebody_acted)
{
	int64_t most_us = somebody_acted ? 3000 : 60000;

	w->now_us += random_below(&w->random, most_us);
	if (!w->calm && random_chance(&w->random, 5))
		w->now_us += random_below(&w->random, 15000000);
}

void world_step(struct world *w)
{
	int number = (int)random_below(&w->random, w->node_count);
	bool acted = node_step(w->nodes[number]);

	w->steps++;
	if (node_stopped(w->nodes[number]))
		restart(w, number, "stopped; started again");
	borrower_step(w->borrower);
	if (w->replayer)
		replayer_step(w->replayer);
	person_act(w);
	check_step(w);
	if (!w->calm) {
		send(w);
		disturb_node(w, number);
		disturb_servers(w);
		if (w->sent == w->messages_max)
			calm_down(w);
	}
	pass_time(w, acted);
}

bool world_at_rest(struct world *w)
{
	if (!w->calm)
		return false;
	for (int32_t i = 0; i < w->partitions; i++)
		if (w->offsets[i].next_offset != w->logs[i].end)
			return false;
	if (w->replayer && !replayer_at_rest(w->replayer))
		return false;
	return check_redis_equal(w) || (w->replayer && replayer_lost_rows(w->replayer));
}
