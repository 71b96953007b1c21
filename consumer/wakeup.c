#include "wakeup.h"

#include <errno.h>
#include <time.h>

void wakeup_init(struct wakeup *wakeup)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&wakeup->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&wakeup->lock, NULL);
	wakeup->rung = false;
}

void wakeup_finish(struct wakeup *wakeup)
{
	pthread_cond_destroy(&wakeup->changed);
	pthread_mutex_destroy(&wakeup->lock);
}

static struct timespec deadline(int64_t timeout_ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += timeout_ms / 1000;
	at.tv_nsec += timeout_ms % 1000 * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

void wakeup_wait(struct wakeup *wakeup, int64_t timeout_ms)
{
	struct timespec at = deadline(timeout_ms);

	pthread_mutex_lock(&wakeup->lock);
	while (timeout_ms > 0 && !wakeup->rung)
		if (pthread_cond_timedwait(&wakeup->changed, &wakeup->lock, &at) == ETIMEDOUT)
			break;
	wakeup->rung = false;
	pthread_mutex_unlock(&wakeup->lock);
}

void wakeup_ring(struct wakeup *wakeup)
{
	pthread_mutex_lock(&wakeup->lock);
	wakeup->rung = true;
	pthread_cond_signal(&wakeup->changed);
	pthread_mutex_unlock(&wakeup->lock);
}
