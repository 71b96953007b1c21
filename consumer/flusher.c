/*
 * See flusher.h.
 *
 * The lock guards the lists, and which thread drives what; it is held for a moment only, never
 * during a statement.  A flush is in one of three places: `fresh` (submitted, or let go by a
 * group), `failed` (to be tried again, when it is due), or with a thread.
 *
 * An interrupted connection is of no more use (store.h): its thread makes a new one before it
 * takes another flush.  So an interrupt hits the flush that it is meant for and nothing else.
 */
#include "flusher.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "flush_group.h"
#include "mem.h"

#define JOIN_EVENTS  64 /* a group with as many is full; where they cost more than a transaction */
#define JOIN_WAIT_MS 10

struct line {
	struct flusher *first;
	struct flusher *last;
};

struct flusher_thread {
	struct flushers *flushers;
	pthread_t thread;
	struct store *store; /* changed under the lock, by its thread */
	bool connected;
	int64_t used_ms;
	/* Guarded by the lock: */
	struct flusher *driven; /* the first of them */
	bool gathers;           /* they are a group that is not full */
	bool interrupted;       /* a new connection is due */
};

struct flushers {
	struct flushers_config config;
	const struct clock *clock;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct line fresh;
	struct line failed; /* by due_ms */
	int retrying;       /* threads that drive one that has failed before */
	int gathering;      /* threads that drive a group that is not full */
	bool stop;
	struct flusher_thread threads[];
};

/* Lines --------------------------------------------------------------------------------------- */

static struct flusher **place_by_due(struct line *line, int64_t due_ms)
{
	struct flusher **at = &line->first;

	while (*at && (*at)->due_ms <= due_ms)
		at = &(*at)->next;
	return at;
}

static void insert(struct line *line, struct flusher **at, struct flusher *flusher)
{
	flusher->next = *at;
	*at = flusher;
	if (!flusher->next)
		line->last = flusher;
}

static void append(struct line *line, struct flusher *flusher)
{
	insert(line, line->last ? &line->last->next : &line->first, flusher);
}

/* Whether it was there. */
static bool take_out(struct line *line, struct flusher *flusher)
{
	struct flusher *before = NULL;

	for (struct flusher *f = line->first; f; before = f, f = f->next) {
		if (f != flusher)
			continue;
		*(before ? &before->next : &line->first) = f->next;
		if (line->last == f)
			line->last = before;
		return true;
	}
	return false;
}

/* Taking a flush: under the lock -------------------------------------------------------------- */

/* The last thread is for those that have not failed. */
static bool may_retry(const struct flushers *flushers)
{
	return flushers->config.threads == 1 || flushers->retrying < flushers->config.threads - 1;
}

static bool comes_first(const struct flusher *a, const struct flusher *b)
{
	return !b || a->due_ms <= b->due_ms;
}

static size_t events(const struct flusher *flusher)
{
	return flusher->flush.request.batch->count;
}

/* Whether the first in line goes with nobody: the connection has to be made, or a group failed. */
static bool goes_alone(const struct flusher_thread *thread, const struct flusher *first)
{
	return !thread->connected || first->alone;
}

/* How many of those in line make a group, in their order.  *ret_full: no other will join. */
static size_t group_size(const struct flushers *flushers, bool *ret_full)
{
	const struct flusher *f = flushers->fresh.first;
	size_t count = 0, sum = 0;

	while (f && !f->alone && count < FLUSH_GROUP_MAX &&
		(count == 0 || sum + events(f) <= JOIN_EVENTS)) {
		sum += events(f);
		f = f->next;
		count++;
	}
	*ret_full = f || count == FLUSH_GROUP_MAX || sum >= JOIN_EVENTS;
	return count;
}

/* Until when a group that is not full waits for others, while such a one is on its way. */
static int64_t gathers_until_ms(const struct flushers *flushers)
{
	return flushers->gathering == 0 ? INT64_MIN : flushers->fresh.first->due_ms + JOIN_WAIT_MS;
}

static struct flusher *take_first(struct line *line, size_t count)
{
	struct flusher *first = line->first, *last = first;

	while (--count > 0)
		last = last->next;
	line->first = last->next;
	if (!line->first)
		line->last = NULL;
	last->next = NULL;
	return first;
}

/* The next in line; NULL: nobody may go now. */
static struct flusher *choose_fresh(struct flusher_thread *thread, int64_t now_ms)
{
	struct flushers *flushers = thread->flushers;
	bool full = true;
	size_t count = 1;

	if (!flushers->fresh.first)
		return NULL;
	if (!goes_alone(thread, flushers->fresh.first))
		count = group_size(flushers, &full);
	if (!full && now_ms < gathers_until_ms(flushers))
		return NULL;
	thread->gathers = !full;
	flushers->gathering += thread->gathers;
	return take_first(&flushers->fresh, count);
}

/* The failed one that is tried again when it is due; NULL: others come first, or there is none. */
static struct flusher *next_failed(const struct flushers *flushers)
{
	struct flusher *failed = flushers->failed.first;

	if (!failed || !may_retry(flushers) || !comes_first(failed, flushers->fresh.first))
		return NULL;
	return failed;
}

static struct flusher *choose_failed(struct flushers *flushers, int64_t now_ms)
{
	struct flusher *failed = next_failed(flushers);

	if (!failed || failed->due_ms > now_ms)
		return NULL;
	flushers->retrying++;
	return take_first(&flushers->failed, 1);
}

static struct flusher *choose(struct flusher_thread *thread, int64_t now_ms)
{
	struct flusher *failed = choose_failed(thread->flushers, now_ms);

	return failed ? failed : choose_fresh(thread, now_ms);
}

static void wait_until(struct flushers *flushers, int64_t wait_ms)
{
	struct timespec at = clock_deadline(wait_ms);

	pthread_cond_timedwait(&flushers->changed, &flushers->lock, &at);
}

/* How long a thread with nothing to do may sleep. */
static int64_t idle_ms(const struct flusher_thread *thread, int64_t now_ms)
{
	const struct flushers *flushers = thread->flushers;
	const struct flusher *failed = next_failed(flushers);
	int64_t until_ms = thread->used_ms + flushers->config.keepalive_ms;

	if (flushers->fresh.first && gathers_until_ms(flushers) < until_ms)
		until_ms = gathers_until_ms(flushers);
	if (failed && failed->due_ms < until_ms)
		until_ms = failed->due_ms;
	return until_ms > now_ms ? until_ms - now_ms : 0;
}

/* Waits for flushes, but no longer than the connection may be silent.  NULL: for none. */
static struct flusher *next_flush(struct flusher_thread *thread)
{
	struct flushers *flushers = thread->flushers;
	const struct clock *clock = flushers->clock;
	struct flusher *flusher;
	int64_t now_ms;

	pthread_mutex_lock(&flushers->lock);
	for (;;) {
		now_ms = clock->now_ms(clock);
		flusher = choose(thread, now_ms);
		if (flusher || flushers->stop ||
			now_ms - thread->used_ms >= flushers->config.keepalive_ms)
			break;
		wait_until(flushers, idle_ms(thread, now_ms));
	}
	thread->driven = flusher;
	if (flushers->fresh.first)
		pthread_cond_signal(&flushers->changed); /* for those, too, somebody looks */
	pthread_mutex_unlock(&flushers->lock);
	return flusher;
}

/* A thread ------------------------------------------------------------------------------------ */

static int64_t step(const struct clock *clock, struct flusher *flusher)
{
	enum flush_step step = flusher->flush.step;
	int64_t begin_us = clock->now_us(clock);
	int64_t wait_ms = flush_step(&flusher->flush);

	histogram_observe(&flusher->metrics->flush_step[step], &bounds_flush_us,
		clock->now_us(clock) - begin_us);
	return wait_ms;
}

/* Until the flush has ended, or wants to wait for so long. */
static int64_t drive_one(struct flusher_thread *thread, struct flusher *flusher)
{
	const struct clock *clock = thread->flushers->clock;
	int64_t wait_ms = 0;

	flush_lend(&flusher->flush, thread->store, thread->connected);
	while (!flush_ended(&flusher->flush) && wait_ms == 0)
		wait_ms = step(clock, flusher);
	thread->connected = flush_take_back(&flusher->flush);
	return wait_ms;
}

/* One statement: a fence for one of them, the others for all. */
static void step_group(const struct clock *clock, struct flusher *first, struct flush_group *group)
{
	enum flush_step step = group->step;
	const struct flush *fenced = step == FLUSH_FENCE ? group->members[group->fenced] : NULL;
	int64_t begin_us = clock->now_us(clock);

	flush_group_step(group);
	for (struct flusher *f = first; f; f = f->next)
		if (!fenced || fenced == &f->flush)
			histogram_observe(&f->metrics->flush_step[step], &bounds_flush_us,
				clock->now_us(clock) - begin_us);
}

static void drive_group(struct flusher_thread *thread, struct flusher *first)
{
	const struct clock *clock = thread->flushers->clock;
	struct flush *members[FLUSH_GROUP_MAX];
	struct flush_group group;
	size_t count = 0;

	for (struct flusher *f = first; f; f = f->next)
		members[count++] = &f->flush;
	flush_group_start(&group, thread->store, members, count);
	while (!flush_group_ended(&group))
		step_group(clock, first, &group);
	thread->connected = group.connected;
}

/* Until they have ended, or one by itself wants to wait for so long. */
static int64_t drive(struct flusher_thread *thread, struct flusher *first)
{
	const struct clock *clock = thread->flushers->clock;
	int64_t begin_us = clock->now_us(clock);
	int64_t wait_ms = 0;

	for (struct flusher *f = first; f; f = f->next) {
		histogram_observe(
			&f->metrics->flush_queue, &bounds_flush_us, begin_us - f->queued_us);
		if (!f->wanted(f->context))
			flush_abandon(&f->flush);
	}
	if (first->next)
		drive_group(thread, first);
	else
		wait_ms = drive_one(thread, first);
	for (struct flusher *f = first; f; f = f->next)
		if (f->flush.verdict == FLUSH_COMMITTED)
			histogram_observe(&f->metrics->flush_total, &bounds_flush_us,
				clock->now_us(clock) - f->begun_us);
	return wait_ms;
}

/* Under the lock, so that flusher_finish waits for the call: then the partition may be freed. */
static void tell(struct flusher *flusher)
{
	atomic_store(&flusher->busy, false);
	flusher->ended(flusher->context);
}

static void wait_in_line(struct flushers *flushers, struct flusher *flusher, int64_t wait_ms)
{
	const struct clock *clock = flushers->clock;

	flusher->due_ms = clock->now_ms(clock) + wait_ms;
	flusher->queued_us = clock->now_us(clock) + 1000 * wait_ms;
	insert(&flushers->failed, place_by_due(&flushers->failed, flusher->due_ms), flusher);
	pthread_cond_broadcast(&flushers->changed); /* whoever is free then must know when */
}

/* A group did not succeed: whose fault it was, each finds out for itself, and next. */
static void go_alone(struct flushers *flushers, struct flusher *flusher)
{
	flusher->alone = true;
	flusher->queued_us = flushers->clock->now_us(flushers->clock);
	insert(&flushers->fresh, &flushers->fresh.first, flusher);
	pthread_cond_signal(&flushers->changed);
}

static void leave(struct flushers *flushers, struct flusher *flusher, bool group, int64_t wait_ms)
{
	flusher->next = NULL;
	if (!flush_ended(&flusher->flush) && atomic_load(&flusher->flush.abandon))
		flush_step(&flusher->flush); /* nobody would end it: it has left the line */
	if (flush_ended(&flusher->flush))
		tell(flusher);
	else if (group)
		go_alone(flushers, flusher);
	else
		wait_in_line(flushers, flusher, wait_ms);
}

/* The flushes leave the thread.  Whether the thread's connection was cut. */
static bool let_go(
	struct flusher_thread *thread, struct flusher *first, bool retried, int64_t wait_ms)
{
	struct flushers *flushers = thread->flushers;
	struct flusher *next;
	bool interrupted, group = first->next != NULL;

	pthread_mutex_lock(&flushers->lock);
	interrupted = thread->interrupted;
	thread->interrupted = false;
	thread->driven = NULL;
	flushers->gathering -= thread->gathers;
	thread->gathers = false;
	flushers->retrying -= retried;
	if (retried)
		pthread_cond_broadcast(&flushers->changed); /* another may be tried again */
	for (struct flusher *f = first; f; f = next) {
		next = f->next; /* whoever is told may be gone */
		leave(flushers, f, group, wait_ms);
	}
	pthread_mutex_unlock(&flushers->lock);
	return interrupted;
}

static void change_store(struct flusher_thread *thread)
{
	struct flushers *flushers = thread->flushers;
	struct store *store = flushers->config.store_create(flushers->config.context);
	struct store *old = thread->store;

	pthread_mutex_lock(&flushers->lock);
	thread->store = store;
	if (flushers->stop)
		store->ops->interrupt(store);
	pthread_mutex_unlock(&flushers->lock);
	thread->connected = false;
	old->ops->destroy(old);
}

static void keep_alive(struct flusher_thread *thread)
{
	struct store *store = thread->store;
	struct error err;

	if (thread->connected)
		thread->connected = store->ops->ping(store, &err) == STORE_OK;
}

static bool stopping(struct flushers *flushers)
{
	bool stop;

	pthread_mutex_lock(&flushers->lock);
	stop = flushers->stop;
	pthread_mutex_unlock(&flushers->lock);
	return stop;
}

static void *run(void *argument)
{
	struct flusher_thread *thread = argument;
	const struct clock *clock = thread->flushers->clock;

	pthread_setname_np(pthread_self(), "flusher");
	while (!stopping(thread->flushers)) {
		struct flusher *flusher = next_flush(thread);
		bool retried = flusher && flusher->flush.attempt > 0;

		if (!flusher)
			keep_alive(thread);
		else if (let_go(thread, flusher, retried, drive(thread, flusher)))
			change_store(thread);
		thread->used_ms = clock->now_ms(clock);
	}
	return NULL;
}

/* All of them --------------------------------------------------------------------------------- */

static void start_thread(struct flushers *flushers, struct flusher_thread *thread)
{
	int rc;

	thread->flushers = flushers;
	thread->store = flushers->config.store_create(flushers->config.context);
	thread->used_ms = flushers->clock->now_ms(flushers->clock);
	rc = pthread_create(&thread->thread, NULL, run, thread);
	assert(rc == 0);
}

struct flushers *flushers_start(const struct flushers_config *config, const struct clock *clock)
{
	size_t threads = (size_t)config->threads;
	struct flushers *flushers = xcalloc(
		1, sizeof(*flushers) + threads * sizeof(flushers->threads[0]));
	pthread_condattr_t attributes;

	assert(config->threads >= 1 && config->threads <= FLUSHER_THREADS_MAX);
	flushers->config = *config;
	flushers->clock = clock;
	pthread_mutex_init(&flushers->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&flushers->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	for (size_t i = 0; i < threads; i++)
		start_thread(flushers, &flushers->threads[i]);
	return flushers;
}

void flushers_stop(struct flushers *flushers)
{
	pthread_mutex_lock(&flushers->lock);
	assert(!flushers->fresh.first && !flushers->failed.first);
	flushers->stop = true;
	for (int i = 0; i < flushers->config.threads; i++) {
		struct store *store = flushers->threads[i].store;

		store->ops->interrupt(store);
	}
	pthread_cond_broadcast(&flushers->changed);
	pthread_mutex_unlock(&flushers->lock);
	for (int i = 0; i < flushers->config.threads; i++) {
		struct flusher_thread *thread = &flushers->threads[i];

		pthread_join(thread->thread, NULL);
		thread->store->ops->destroy(thread->store);
	}
	pthread_cond_destroy(&flushers->changed);
	pthread_mutex_destroy(&flushers->lock);
	free(flushers);
}

/* A partition's ------------------------------------------------------------------------------- */

void flusher_init(struct flusher *flusher, uint64_t seed)
{
	flush_init(&flusher->flush, NULL, seed);
	atomic_init(&flusher->busy, false);
}

void flusher_finish(struct flusher *flusher)
{
	pthread_mutex_lock(&flusher->flushers->lock);
	assert(!atomic_load(&flusher->busy));
	pthread_mutex_unlock(&flusher->flushers->lock);
	flush_finish(&flusher->flush);
}

void flusher_submit(struct flusher *flusher)
{
	struct flushers *flushers = flusher->flushers;
	const struct clock *clock = flushers->clock;

	assert(!atomic_load(&flusher->busy));
	atomic_store(&flusher->busy, true);
	flusher->begun_us = flusher->queued_us = clock->now_us(clock);
	flusher->due_ms = clock->now_ms(clock);
	flusher->alone = false;
	pthread_mutex_lock(&flushers->lock);
	append(&flushers->fresh, flusher);
	pthread_cond_signal(&flushers->changed);
	pthread_mutex_unlock(&flushers->lock);
}

bool flusher_busy(const struct flusher *flusher)
{
	return atomic_load(&flusher->busy);
}

static bool drives(const struct flusher_thread *thread, const struct flusher *flusher)
{
	for (const struct flusher *f = thread->driven; f; f = f->next)
		if (f == flusher)
			return true;
	return false;
}

/* Under the lock.  The thread that drives it, or NULL: it has ended. */
static struct flusher_thread *end_or_find(struct flusher *flusher)
{
	struct flushers *flushers = flusher->flushers;

	assert(atomic_load(&flusher->flush.abandon));
	if (take_out(&flushers->fresh, flusher) || take_out(&flushers->failed, flusher)) {
		flush_step(&flusher->flush);
		assert(flush_ended(&flusher->flush));
		tell(flusher);
	}
	for (int i = 0; i < flushers->config.threads; i++)
		if (drives(&flushers->threads[i], flusher))
			return &flushers->threads[i];
	return NULL;
}

void flusher_abandoned(struct flusher *flusher)
{
	pthread_mutex_lock(&flusher->flushers->lock);
	end_or_find(flusher);
	pthread_mutex_unlock(&flusher->flushers->lock);
}

void flusher_interrupt(struct flusher *flusher)
{
	struct flusher_thread *thread;

	pthread_mutex_lock(&flusher->flushers->lock);
	thread = end_or_find(flusher);
	if (thread) {
		thread->interrupted = true;
		thread->store->ops->interrupt(thread->store);
	}
	pthread_mutex_unlock(&flusher->flushers->lock);
}
