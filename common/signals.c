#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

static sigset_t stops(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	return set;
}

void signals_block(void)
{
	sigset_t set = stops();

	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int signals_wait(int64_t wait_ms)
{
	struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000};
	sigset_t set = stops();
	int number = sigtimedwait(&set, NULL, &wait);

	return number > 0 ? number : 0;
}
