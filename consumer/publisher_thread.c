/*
 * See publisher_thread.h.  The lock guards the struct; it is not held during a step.
 */
#include "publisher_thread.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "mem.h"

struct publisher_thread {
	struct publisher *pub;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* woken or stop */
	bool woken;
	bool stop;
	int64_t deadline_ms; /* of the stop */
};

struct publisher_thread *publisher_thread_create(void)
{
	struct publisher_thread *t = xcalloc(1, sizeof *t);
	pthread_condattr_t attributes;

	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return t;
}

void publisher_thread_destroy(struct publisher_thread *thread)
{
	assert(!thread->started);
	pthread_cond_destroy(&thread->changed);
	pthread_mutex_destroy(&thread->lock);
	free(thread);
}

void publisher_thread_wake(void *thread)
{
	struct publisher_thread *t = thread;

	pthread_mutex_lock(&t->lock);
	t->woken = true;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static bool nothing_waits(const struct publisher *pub)
{
	struct publisher_stats stats;

	publisher_stats(pub, &stats);
	return stats.pending == 0;
}

/* Sleeps until it is woken, at most wait_ms.  Called with the lock held. */
static void sleep_until_woken(struct publisher_thread *t, int64_t wait_ms)
{
	struct timespec until = clock_deadline(wait_ms);

	while (!t->woken)
		if (pthread_cond_timedwait(&t->changed, &t->lock, &until) != 0)
			break;
	t->woken = false;
}

/* Whether the thread has done what it was to do before the end.  Called with the lock held. */
static bool finished(struct publisher_thread *t, int64_t now_ms)
{
	return t->stop && (now_ms >= t->deadline_ms || nothing_waits(t->pub));
}

static void *run(void *context)
{
	struct publisher_thread *t = context;

	pthread_setname_np(pthread_self(), "publisher");
	pthread_mutex_lock(&t->lock);
	for (;;) {
		int64_t now_ms = clock_system.now_ms(&clock_system);
		int64_t wait_ms;

		if (finished(t, now_ms))
			break;
		pthread_mutex_unlock(&t->lock);
		wait_ms = publisher_step(t->pub, now_ms);
		pthread_mutex_lock(&t->lock);
		if (t->stop && wait_ms > t->deadline_ms - now_ms)
			wait_ms = t->deadline_ms - now_ms;
		if (wait_ms > 0)
			sleep_until_woken(t, wait_ms);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

void publisher_thread_start(struct publisher_thread *thread, struct publisher *pub)
{
	int r;

	assert(!thread->started);
	thread->pub = pub;
	thread->stop = false;
	r = pthread_create(&thread->thread, NULL, run, thread);
	assert(r == 0);
	(void)r;
	thread->started = true;
}

bool publisher_thread_stop(struct publisher_thread *thread, int64_t grace_ms)
{
	assert(thread->started);
	pthread_mutex_lock(&thread->lock);
	thread->deadline_ms = clock_system.now_ms(&clock_system) + grace_ms;
	thread->stop = true;
	thread->woken = true;
	pthread_cond_signal(&thread->changed);
	pthread_mutex_unlock(&thread->lock);

	pthread_join(thread->thread, NULL);
	thread->started = false;
	return nothing_waits(thread->pub);
}
