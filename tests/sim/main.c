/*
 * The simulator: runs the consumer's core in simulated worlds, one for each seed.
 *
 *     simulator --seeds N [--from SEED]     N worlds, one after the other
 *     simulator --minutes N [--from SEED]   as many as fit into N minutes of a processor
 *     simulator --seed SEED [--trace]       one, and what happens in it
 *
 * It aborts at the first world that breaks a promise, and says how to see it again.  With
 * --every-fault it fails, too, if some kind of fault has not happened in any world (faults.h).
 *
 * Built with planted bugs (planted.py), one of them is switched on by --plant; --list tells them.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "failover.h"
#include "log.h"
#include "replayer.h"
#include "twin.h"
#include "vandal.h"
#include "world.h"
#ifdef PLANTED
#include "planted.h"
#endif

#define STEPS_MAX 3000000

struct totals {
	uint64_t worlds, compared, steps, events, commits;
	struct faults faults;
	struct replayer_totals replays;
	double simulated_seconds;
};

static const struct world *running; /* for `aborted` */

/* A checker has failed, or an assertion, which does not know the seed.  The trace must be complete.
 */
static void aborted(int number)
{
	if (!running)
		return;
	if (!running->failed)
		fprintf(stderr, "seed %" PRIu64 ", step %" PRIu64 ": an assertion failed\n",
			running->seed, running->steps);
	fprintf(stderr, "  to see it happen: --seed %" PRIu64 " --trace\n", running->seed);
	fflush(NULL);
}

static void run(uint64_t seed, FILE *trace, struct totals *totals)
{
	struct world w;
	int64_t start_us;

	running = &w;
	world_init(&w, seed, trace);
	start_us = w.now_us;
	while (!world_at_rest(&w)) {
		world_step(&w);
		if (w.steps > STEPS_MAX)
			world_fail(&w, "not at rest after %d steps", STEPS_MAX);
	}
	failover_visit(&w);
	totals->compared += twin_check(&w);
	if (vandal_visit(&w))
		world_count(&w, FAULT_REDIS_SPOILT);
	replayer_add(w.replayer, &totals->replays);
	totals->worlds++;
	totals->steps += w.steps;
	totals->events += (uint64_t)w.sent;
	totals->commits += w.db.commits;
	faults_add(&totals->faults, &w.faults);
	totals->simulated_seconds += (double)(w.now_us - start_us) / 1e6;
	world_finish(&w);
	running = NULL;
}

/* Of this process on a processor: what a minute of one core is. */
static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void report(const struct totals *t, double seconds)
{
	faults_print(&t->faults);
	printf("%" PRIu64 " worlds at rest, %" PRIu64
	       " of them compared with one without faults: %" PRIu64 " events, %" PRIu64
	       " steps, %" PRIu64 " commits\n",
		t->worlds, t->compared, t->events, t->steps, t->commits);
	printf("%" PRIu64 " replays, %" PRIu64 " killed; %" PRIu64
	       " rows and dead letters deleted by "
	       "hand, %" PRIu64 " rows restored, %" PRIu64 " known by offset alone, %" PRIu64
	       " of them beside others; %" PRIu64 " events decided; %" PRIu64
	       " named as undecided\n",
		t->replays.runs, t->replays.killed, t->replays.deleted, t->replays.restored,
		t->replays.alone, t->replays.alone_wider, t->replays.decided, t->replays.undecided);
	printf("%.0f simulated seconds in %.1f s of a core; in a minute of a core %.0f worlds, "
	       "%.0f events, %.0f simulated seconds\n",
		t->simulated_seconds, seconds, (double)t->worlds * 60 / seconds,
		(double)t->events * 60 / seconds, t->simulated_seconds * 60 / seconds);
}

static _Noreturn void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"usage: simulator --seeds N [--from SEED] | --minutes N [--from SEED] |\n"
		"                 --seed SEED [--trace]; and --every-fault\n");
	exit(status);
}

#ifdef PLANTED
static void plant(const char *name)
{
	planted_bug = planted_find(name);
	if (planted_bug != 0)
		return;
	fprintf(stderr, "there is no planted bug %s; see --list\n", name);
	exit(2);
}

/* Whether it was an option of the planted simulator alone; it has a value. */
static bool planted_option(const char *option, const char *value)
{
	if (strcmp(option, "--list") == 0) {
		planted_list();
		exit(0);
	}
	if (strcmp(option, "--plant") != 0)
		return false;
	plant(value);
	return true;
}
#else
static bool planted_option(const char *option, const char *value)
{
	return false;
}
#endif

/* What is asked for. */
struct order {
	uint64_t from, count;
	double seconds; /* 0: no limit */
	FILE *trace;
	bool every_fault;
};

/* Whether it was an option with a number. */
static bool number_option(struct order *order, const char *option, uint64_t value)
{
	if (strcmp(option, "--seeds") == 0)
		order->count = value;
	else if (strcmp(option, "--from") == 0)
		order->from = value;
	else if (strcmp(option, "--seed") == 0)
		order->from = value, order->count = 1;
	else if (strcmp(option, "--minutes") == 0)
		order->seconds = 60 * (double)value, order->count = UINT64_MAX / 2;
	else
		return false;
	return true;
}

static void read_options(struct order *order, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (number_option(order, argv[i], strtoull(value, NULL, 10)))
			i++;
		else if (strcmp(argv[i], "--trace") == 0)
			order->trace = stdout;
		else if (strcmp(argv[i], "--every-fault") == 0)
			order->every_fault = true;
		else if (planted_option(argv[i], value))
			i++;
		else
			usage(strcmp(argv[i], "--help") == 0 ? 0 : 2);
	}
	if (order->count == 0)
		usage(2);
}

int main(int argc, char **argv)
{
	struct order order = {.from = 1};
	struct totals totals = {0};
	struct log log;
	double begin = seconds_now();

	read_options(&order, argc, argv);
	signal(SIGABRT, aborted);
	log_init(&log, STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT, 0);
	log_use(&log);
	for (uint64_t seed = order.from; seed < order.from + order.count; seed++) {
		run(seed, order.trace, &totals);
		if (order.seconds > 0 && seconds_now() - begin >= order.seconds)
			break;
	}
	report(&totals, seconds_now() - begin);
	log_finish(&log);
	return order.every_fault && !faults_complete(&totals.faults);
}
