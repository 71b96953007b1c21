/*
 * The publisher's thread: calls publisher_step, sleeps for as long as that says, and is woken by
 * offers.
 *
 *     thread = publisher_thread_create();
 *     pub = publisher_create(&config, snapshot, store, publisher_thread_wake, thread);
 *     publisher_thread_start(thread, pub);
 *     ...
 *     publisher_thread_stop(thread, grace_ms);
 *     publisher_destroy(pub);
 *     publisher_thread_destroy(thread);
 */
#ifndef CONSUMER_PUBLISHER_THREAD_H
#define CONSUMER_PUBLISHER_THREAD_H

#include "publisher.h"

struct publisher_thread;

struct publisher_thread *publisher_thread_create(void);
/* After publisher_thread_stop, or if it was never started. */
void publisher_thread_destroy(struct publisher_thread *thread);

/* The publisher's wake function; thread is the wake_context.  Any thread, at any time. */
void publisher_thread_wake(void *thread);

void publisher_thread_start(struct publisher_thread *thread, struct publisher *pub);

/*
 * Goes on until nothing waits, at most for grace_ms, and ends the thread.  What waits still, and a
 * rebuild that is under way, is left to the next owner.  A step that is under way ends first:
 * grace_ms may be exceeded by the timeouts of one call to Redis or the database.  Returns whether
 * nothing waits.
 */
bool publisher_thread_stop(struct publisher_thread *thread, int64_t grace_ms);

#endif
