/*
 * How far this instance's partitions are behind their logs, how fast they come closer, and when
 * they will be there.
 *
 * The time left is honest: it is told from how fast the gap has closed over the last half minute,
 * producers that go on sending included, and it is unknown while the gap grows or stays.  When the
 * instance gets or gives up partitions, everything is measured anew.
 */
#ifndef CONSUMER_PROGRESS_H
#define CONSUMER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_LOOKS   32 /* of one a second */
#define PROGRESS_UNKNOWN INT64_C(-1)

/* The partitions that are looked at, added up. */
struct progress_sum {
	int64_t committed; /* next_offset */
	int64_t end;       /* the logs' ends */
	int64_t key;       /* which partitions these are: the sum of their epochs, say */
};

/* PROGRESS_UNKNOWN: what cannot be told. */
struct progress_report {
	int64_t left;       /* events */
	int64_t per_second; /* events that are committed */
	int64_t seconds;    /* until nothing is left; 0: nothing is */
};

/* What a person is to be told now. */
enum progress_news {
	PROGRESS_NO_NEWS = 0,
	PROGRESS_BEHIND,    /* every ten seconds while there is a backlog of some seconds */
	PROGRESS_CAUGHT_UP, /* once, afterwards */
};

struct progress {
	struct {
		int64_t at_ms;
		struct progress_sum sum;
	} looks[PROGRESS_LOOKS]; /* the newest is looks[(count - 1) % PROGRESS_LOOKS] */
	uint64_t count;
	bool behind;
	int64_t told_ms;
};

/* A look, once a second; now_ms never goes back. */
void progress_look(struct progress *progress, const struct progress_sum *sum, int64_t now_ms);

/* As of the last look.  Nothing is known before there were two. */
struct progress_report progress_report(const struct progress *progress);

enum progress_news progress_news(struct progress *progress, int64_t now_ms);

/* Whether so much is left that people want to know when it is done. */
bool progress_is_backlog(const struct progress_report *report);

#endif
