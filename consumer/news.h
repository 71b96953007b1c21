/*
 * What the process's numbers say that a person should read in the log without asking: how a backlog
 * is worked off, and when it will be done; and that transaction ids are random.
 *
 * The main loop looks; HTTP asks for the backlog.  A mutex guards what both use.
 */
#ifndef CONSUMER_NEWS_H
#define CONSUMER_NEWS_H

#include <pthread.h>

#include "metrics.h"
#include "progress.h"

struct news {
	pthread_mutex_t lock;
	struct progress progress;
	int64_t looked_ms;
	int64_t ordered_ms; /* when ids were last seen in order, or it was not known */
	int64_t ids_told_ms;
};

void news_init(struct news *news, int64_t now_ms);
void news_finish(struct news *news);

/* Looks once a second at most, and logs what is new. */
void news_look(struct news *news, const struct metrics *metrics, int64_t now_ms);

/* Of the partitions that are ours.  Any thread. */
struct progress_report news_backlog(struct news *news);

#endif
