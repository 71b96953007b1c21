/*
 * SIGTERM and SIGINT as something to wait for, not as something that happens to a thread.
 *
 * Blocked first thing in main, so that every thread that a library starts inherits it: one that
 * does not would take the signal by its default action, and the process would die in the middle of
 * something.  A signal that comes before anybody waits stays pending.
 */
#ifndef COMMON_SIGNALS_H
#define COMMON_SIGNALS_H

#include <stdint.h>

void signals_block(void);

/* Waits for so long at most.  The signal's number; 0: there was none. */
int signals_wait(int64_t wait_ms);

#endif
