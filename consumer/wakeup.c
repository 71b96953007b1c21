#include "wakeup.h"

#include <errno.h>

#include "clock.h"

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

void wakeup_wait(struct wakeup *wakeup, int64_t timeout_ms)
{
	struct timespec at = clock_deadline(timeout_ms);

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
