/* A thread's alarm clock: sleeps until a time has passed or somebody rings.  A ring is not lost. */
#ifndef CONSUMER_WAKEUP_H
#define CONSUMER_WAKEUP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct wakeup {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool rung;
};

void wakeup_init(struct wakeup *wakeup);
void wakeup_finish(struct wakeup *wakeup);

/* Sleeps for at most timeout_ms (0: not at all), less if there was or is a ring. */
void wakeup_wait(struct wakeup *wakeup, int64_t timeout_ms);

/* Any thread. */
void wakeup_ring(struct wakeup *wakeup);

#endif
