#include "flusher.h"

#include <assert.h>

static void step(struct flusher *flusher)
{
	struct flush *f = &flusher->flush;
	enum flush_step step = f->step;
	int64_t begin_us = flusher->clock->now_us(flusher->clock);
	int64_t wait_ms = flush_step(f);

	histogram_observe(&flusher->metrics->flush_step[step], &bounds_flush_us,
		flusher->clock->now_us(flusher->clock) - begin_us);
	if (wait_ms > 0 && !atomic_load(&f->abandon))
		wakeup_wait(&flusher->wakeup, wait_ms);
}

static void drive(struct flusher *flusher)
{
	int64_t begin_us = flusher->clock->now_us(flusher->clock);

	while (!flush_ended(&flusher->flush))
		step(flusher);
	if (flusher->flush.verdict == FLUSH_COMMITTED)
		histogram_observe(&flusher->metrics->flush_total, &bounds_flush_us,
			flusher->clock->now_us(flusher->clock) - begin_us);
	atomic_store(&flusher->busy, false);
	flusher->ended(flusher->ended_context);
}

static void *run(void *argument)
{
	struct flusher *flusher = argument;
	int64_t used_ms = flusher->clock->now_ms(flusher->clock);

	pthread_setname_np(pthread_self(), "flusher");
	while (!atomic_load(&flusher->stop)) {
		if (!atomic_load(&flusher->busy))
			wakeup_wait(&flusher->wakeup, flusher->keepalive_ms);
		if (atomic_load(&flusher->busy)) {
			drive(flusher);
			used_ms = flusher->clock->now_ms(flusher->clock);
		} else if (flusher->clock->now_ms(flusher->clock) - used_ms >=
			   flusher->keepalive_ms) {
			flush_keepalive(&flusher->flush);
			used_ms = flusher->clock->now_ms(flusher->clock);
		}
	}
	return NULL;
}

void flusher_start(struct flusher *flusher, struct store *store, uint64_t seed)
{
	int rc;

	flush_init(&flusher->flush, store, seed);
	wakeup_init(&flusher->wakeup);
	atomic_init(&flusher->busy, false);
	atomic_init(&flusher->stop, false);
	rc = pthread_create(&flusher->thread, NULL, run, flusher);
	assert(rc == 0);
}

void flusher_submit(struct flusher *flusher)
{
	assert(!atomic_load(&flusher->busy));
	atomic_store(&flusher->busy, true);
	wakeup_ring(&flusher->wakeup);
}

bool flusher_busy(const struct flusher *flusher)
{
	return atomic_load(&flusher->busy);
}

void flusher_interrupt(struct flusher *flusher)
{
	wakeup_ring(&flusher->wakeup);
}

void flusher_stop(struct flusher *flusher)
{
	assert(!atomic_load(&flusher->busy));
	atomic_store(&flusher->stop, true);
	wakeup_ring(&flusher->wakeup);
	pthread_join(flusher->thread, NULL);
}

void flusher_finish(struct flusher *flusher)
{
	flush_finish(&flusher->flush);
	wakeup_finish(&flusher->wakeup);
}
