#include "world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "borrower.h"
#include "checkers.h"
#include "failover.h"
#include "node.h"
#include "person.h"
#include "relays.h"
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

	if (w->trace) {
		fprintf(w->trace, "%8" PRIu64 " ------ here the promise is broken: ", w->steps);
		va_start(arguments, format);
		vfprintf(w->trace, format, arguments);
		va_end(arguments);
		fputc('\n', w->trace);
		fflush(w->trace);
	}
	fprintf(stderr, "seed %" PRIu64 ", step %" PRIu64 ": ", w->seed, w->steps);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	w->failed = true;
	fflush(NULL);
	abort();
}

void world_count(struct world *w, enum fault fault)
{
	w->faults.kinds[fault]++;
}

/* Birth and death ------------------------------------------------------------------------------ */

int64_t world_server_us(const struct world *w)
{
	return INT64_C(1767225600000000) + w->now_us + w->server_skew_us;
}

static int64_t server_clock(void *context)
{
	return world_server_us(context);
}

void world_doubt_leases(struct world *w)
{
	w->leases_doubtful_until_us = w->now_us + INT64_C(1000) * WORLD_TTL_MS * 2 / 3;
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
		.slow = weather(r, 80),
		.server_jump = weather(r, 4),
		.wall_jump = weather(r, 20),
		.kafka_away = weather(r, 30),
		.crash = weather(r, 30),
		.pause = weather(r, 20),
		.stall = weather(r, 60),
		.stop = weather(r, 15),
		.send = 500 + random_below(r, 4000),
		.truncate = weather(r, 40),
		.borrow = weather(r, 20),
	};
	/* Where people change what the log alone does not bring again, nothing goes back. */
	if (w->seed % 3 == 0 || random_chance(r, 3000))
		return;
	w->rates.standby = random_between(r, 5, 300);
	w->rates.fail_over = random_between(r, 2, 150);
	w->rates.truncate = 0;
}

static void servers_init(struct world *w)
{
	memory_database_init(&w->db, w->partitions, w->offsets);
	lease_store_memory_db_init(&w->leases, w->offsets, w->partitions, server_clock, w);
	w->redis = snapshot_memory_create(w->seed);
	for (int i = 0; i < w->node_count; i++)
		w->nodes[i] = node_create(w, i);
	w->borrower = borrower_create(w);
}

void world_init(struct world *w, uint64_t seed, FILE *trace)
{
	*w = (struct world){.seed = seed, .trace = trace, .now_us = START_US};
	random_init(&w->random, seed);
	w->partitions = (int32_t)random_between(&w->random, 1, WORLD_PARTITIONS_MAX);
	w->node_count = (int)random_between(&w->random, 1, WORLD_NODES_MAX);
	w->messages_max = random_chance(&w->random, 200) ? random_between(&w->random, 400, 3000)
							 : random_between(&w->random, 20, 400);
	w->tight = random_chance(&w->random, 5000);
	rates_init(w);
	w->one_id = random_chance(&w->random, 1000);
	/* After an acquire without an answer one would release the other's: safe, but not alone. */
	if (w->one_id)
		w->rates.lease_fails = w->rates.lease_answer_lost = w->rates.standby = 0;
	workload_init(&w->workload, random_next(&w->random), w->partitions, &w->faults);
	for (int32_t i = 0; i < w->partitions; i++) {
		memory_log_init(&w->logs[i], w->partitions);
		oracle_init(&w->oracles[i]);
	}
	servers_init(w);
	w->replayer = replayer_create(w);
	w->relays = relays_create(w);
	world_trace(w, "%d partitions, %d nodes, %" PRId64 " messages, %" PRId64 " accounts",
		w->partitions, w->node_count, w->messages_max, w->workload.accounts);
}

void world_init_again(struct world *w, const struct world *other)
{
	*w = (struct world){
		.seed = other->seed,
		.again = true,
		.calm = true,
		.tight = !other->tight,
		.now_us = START_US,
		.partitions = other->partitions,
		.node_count = 1,
	};
	random_init(&w->random, ~other->seed);
	for (int32_t i = 0; i < w->partitions; i++) {
		w->logs[i] = other->logs[i];
		w->oracles[i] = other->oracles[i];
	}
	servers_init(w);
}

void world_finish(struct world *w)
{
	for (int i = 0; i < w->node_count; i++)
		node_destroy(w->nodes[i]);
	borrower_destroy(w->borrower);
	replayer_destroy(w->replayer);
	relays_destroy(w->relays);
	failover_finish(w);
	snapshot_memory_destroy(w->redis);
	lease_store_memory_db_finish(&w->leases);
	memory_database_finish(&w->db);
	for (int32_t i = 0; i < w->partitions; i++) {
		if (!w->again) {
			memory_log_finish(&w->logs[i]);
			oracle_finish(&w->oracles[i]);
		}
		free(w->epochs[i].epochs);
	}
}

/* What becomes of calls ------------------------------------------------------------------------ */

/* Some calls come so rarely that hardly a seed would ever see them fail. */
static bool is_rare(const char *call)
{
	static const char *const rare[] = {
		"halt", "ping", "has_rows", "settle", "withdraw", "unrequest"};

	for (size_t i = 0; i < sizeof rare / sizeof *rare; i++)
		if (strcmp(call, rare[i]) == 0)
			return true;
	return false;
}

static bool is_slow(struct world *w, const char *call)
{
	if (w->calm || !random_chance(&w->random, (is_rare(call) ? 100 : 1) * w->rates.slow))
		return false;
	w->now_us += random_below(&w->random, INT64_C(1500) * WORLD_TTL_MS);
	return true;
}

static void tell_call(struct world *w, const char *who, const char *call, enum call_fault fault)
{
	faults_call(&w->faults, call, fault);
	world_trace(w, "%s: %s %s", who, call, faults_call_text(fault));
}

enum memory_fault world_store_fault(struct world *w, const char *who, const char *call)
{
	static const enum memory_fault faults[] = {
		[CALL_FAILS] = MEMORY_FAULT_RETRY,
		[CALL_LOST_BEFORE] = MEMORY_FAULT_LOST_BEFORE,
		[CALL_LOST_AFTER] = MEMORY_FAULT_LOST_AFTER,
	};
	const int64_t chances[] = {
		w->rates.store_retry, w->rates.store_lost_before, w->rates.store_lost_after};

	if (is_slow(w, call))
		tell_call(w, who, call, CALL_SLOW);
	for (int fault = CALL_FAILS; fault <= CALL_LOST_AFTER && !w->calm; fault++) {
		if (!random_chance(&w->random, (is_rare(call) ? 20 : 1) * chances[fault]))
			continue;
		tell_call(w, who, call, strcmp(call, "connect") == 0 ? CALL_FAILS : fault);
		return faults[fault];
	}
	return MEMORY_FAULT_NONE;
}

void world_lease_faults(struct world *w, struct lease_store_memory *store)
{
	store->call = NULL;
	store->fail_before = !w->calm && random_chance(&w->random, w->rates.lease_fails);
	store->lose_answer = !w->calm && random_chance(&w->random, w->rates.lease_answer_lost);
}

void world_lease_waits(struct world *w, const struct lease_store_memory *store)
{
	if (!is_slow(w, store->call))
		return;
	faults_lease(&w->faults, store->call, CALL_SLOW);
	world_trace(w, "a %s of leases %s", store->call, faults_call_text(CALL_SLOW));
}

void world_count_lease_faults(struct world *w, const struct lease_store_memory *store)
{
	if (store->call && store->failed_before)
		faults_lease(&w->faults, store->call, CALL_FAILS);
	if (store->call && store->lost_answer)
		faults_lease(&w->faults, store->call, CALL_LOST_AFTER);
}

/* What happens --------------------------------------------------------------------------------- */

static void cents_text(__int128 cents, char text[48])
{
	snprintf(text, 48, "%" PRId64 ".%02d", (int64_t)(cents / 100), (int)(cents % 100));
}

/* The newest message of a partition, and what must become of it. */
static void tell_sent(struct world *w, int32_t p)
{
	static const char *const kinds[] = {"DEPOSIT", "WITHDRAW", "FREEZE", "UNFREEZE", "SETTLE"};
	static const char *const fates[] = {
		[FATE_NONE] = "nothing: its offset is only taken",
		[FATE_SUCCESS] = "applied",
		[FATE_FAILED] = "refused",
		[FATE_DUPLICATE] = "a duplicate",
		[FATE_DEAD] = "a dead letter",
	};
	const struct expected *e = &w->oracles[p].expected[w->oracles[p].count - 1];
	char amount[48], available[48], frozen[48];

	cents_text(e->intent.cents, amount);
	cents_text(e->available_after, available);
	cents_text(e->frozen_after, frozen);
	if (!oracle_is_row(e))
		world_trace(w, "sent to partition %d, offset %" PRId64 ": must become %s", p,
			w->oracles[p].count - 1, e->reason ? e->reason : fates[e->fate]);
	else
		world_trace(w,
			"sent to partition %d, offset %" PRId64 ": tx-%" PRId64
			", %s %s %s, account %" PRId64
			": must be %s%s%s; then %s available, %s frozen",
			p, w->oracles[p].count - 1, e->intent.id, kinds[e->intent.kind], amount,
			workload_currencies[e->intent.currency], e->intent.account, fates[e->fate],
			e->reason ? ", " : "", e->reason ? e->reason : "", available, frozen);
}

static void send(struct world *w)
{
	int64_t counts[WORLD_PARTITIONS_MAX];

	if (w->sent >= w->messages_max || !random_chance(&w->random, w->rates.send))
		return;
	w->sent++;
	for (int32_t p = 0; p < w->partitions; p++)
		counts[p] = w->oracles[p].count;
	workload_send(&w->workload, w->logs, w->oracles, INT64_C(1767225600000) + w->now_us / 1000);
	for (int32_t p = 0; p < w->partitions && w->trace; p++)
		if (w->oracles[p].count != counts[p])
			tell_sent(w, p);
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

	if (random_chance(r, w->rates.crash * (node_settles(w->nodes[number]) ? 20 : 1))) {
		world_count(w, FAULT_KILLED);
		node_count_kill(w->nodes[number]);
		restart(w, number, "killed");
	} else if (random_chance(r, w->rates.pause)) {
		int64_t seconds = random_between(r, 1, 40);

		world_count(w, FAULT_PAUSED);
		world_trace(w, "node %d: stopped for %" PRId64 " s", number, seconds);
		node_pause(w->nodes[number], w->now_us + seconds * 1000000);
	} else if (random_chance(r, w->rates.stall)) {
		node_stall(w->nodes[number]);
	} else if (random_chance(r, w->rates.stop)) {
		world_count(w, FAULT_STOPPED);
		world_trace(w, "node %d: told to stop", number);
		node_stop(w->nodes[number]);
	} else if (random_chance(r, w->rates.wall_jump)) {
		node_wall_jump(w->nodes[number]);
	}
}

/* Its newest writes are lost, markers among them. */
static void redis_fails_over(struct world *w)
{
	struct random *r = &w->random;
	char before[WORLD_PARTITIONS_MAX][SNAPSHOT_MARKER_MAX];
	size_t lost;

	for (int32_t p = 0; p < w->partitions; p++)
		snprintf(before[p], sizeof before[p], "%s", snapshot_memory_marker(w->redis, p));
	/* Often only what came after the newest marker. */
	lost = snapshot_memory_fail_over(
		w->redis, (size_t)random_below(r, random_chance(r, 5000) ? 60 : 5));
	if (random_chance(r, 8000))
		snapshot_memory_cut(w->redis);
	world_trace(w, "Redis fails over to a copy that is %zu writes behind", lost);
	world_count(w, FAULT_REDIS_FAILED_OVER);
	for (int32_t p = 0; p < w->partitions; p++)
		if (strcmp(before[p], snapshot_memory_marker(w->redis, p)) != 0)
			world_count(w, FAULT_REDIS_MARKER_WENT_BACK);
}

static void redis_loses(struct world *w)
{
	switch (random_below(&w->random, 4)) {
	case 0:
		world_trace(w, "Redis is emptied");
		world_count(w, FAULT_REDIS_EMPTIED);
		snapshot_memory_flushall(w->redis);
		break;
	case 1:
		world_trace(w, "Redis is restarted, empty");
		world_count(w, FAULT_REDIS_RESTARTED);
		snapshot_memory_restart(w->redis);
		break;
	default:
		redis_fails_over(w);
	}
}

static void disturb_redis(struct world *w)
{
	struct random *r = &w->random;
	struct snapshot_memory_faults *faults = snapshot_memory_faults(w->redis);

	if (random_chance(r, w->rates.redis_fails)) {
		faults->publishes = 1;
		faults->publish_written = (size_t)random_below(r, 5);
		faults->markers_refused = random_chance(r, 2000);
		faults->markers_unsettled = random_chance(r, 2000);
	}
	if (random_chance(r, w->rates.redis_loses))
		redis_loses(w);
}

static void disturb_kafka(struct world *w)
{
	struct random *r = &w->random;

	if (random_chance(r, w->kafka.away ? 500 : w->rates.kafka_away)) {
		w->kafka.away = !w->kafka.away;
		if (w->kafka.away)
			world_count(w, FAULT_KAFKA_AWAY);
		world_trace(w, "Kafka %s", w->kafka.away ? "goes away" : "is back");
	}
	w->kafka.at_most = random_chance(r, 5000) ? 0 : (size_t)random_between(r, 2, 5);
}

/* Set by hand, or by a time server after a long time without one. */
static void server_clock_jumps(struct world *w)
{
	int64_t by_us = random_between(&w->random, -20000000, 20000000);

	w->server_skew_us += by_us;
	world_count(w, by_us < 0 ? FAULT_SERVER_CLOCK_BACK : FAULT_SERVER_CLOCK_FORWARD);
	world_trace(w, "the database's clock jumps by %.3f s", (double)by_us / 1e6);
	world_doubt_leases(w);
}

static void disturb_servers(struct world *w)
{
	disturb_redis(w);
	disturb_kafka(w);
	failover_step(w);
	if (random_chance(&w->random, w->rates.server_jump))
		server_clock_jumps(w);
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
	if (w->relays)
		relays_step(w->relays);
	person_act(w);
	check_step(w);
	if (!w->calm) {
		send(w);
		disturb_node(w, number);
		disturb_servers(w);
		if (w->sent == w->messages_max && w->now_us >= w->uneasy_until_us)
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
	if (w->relays && !relays_at_rest(w->relays))
		return false;
	return check_redis_equal(w) || (w->replayer && replayer_lost_rows(w->replayer));
}
