/*
 * Topics that cannot be written for the time being, so that their rows do not hold up the others'.
 *
 * Each is left out for a while that doubles from 1 s to a minute as long as it fails.  Nothing in
 * here is remembered beyond the process: the rows are still PENDING.
 */
#ifndef OUTBOX_TOPICS_ASIDE_H
#define OUTBOX_TOPICS_ASIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTBOX_TOPIC_MAX         249 /* bytes: Kafka's limit, and the column's */
#define TOPICS_ASIDE_MAX         16
#define TOPICS_ASIDE_WAIT_MIN_MS 1000
#define TOPICS_ASIDE_WAIT_MAX_MS 60000

struct topics_aside {
	struct topic_aside {
		char name[OUTBOX_TOPIC_MAX + 1];
		int64_t wait_ms; /* the last one */
		int64_t until_ms;
	} topics[TOPICS_ASIDE_MAX];
	size_t count;
};

/* False: there are too many, and it is not put aside. */
bool topics_aside_put(struct topics_aside *aside, const char *name, int64_t now_ms);

/* Those that are left out now: the names are `aside`'s.  Returns how many. */
size_t topics_aside_now(
	const struct topics_aside *aside, int64_t now_ms, const char *ret_names[TOPICS_ASIDE_MAX]);

/* A batch has gone out that was read at read_ms: forgets those that were not left out of it. */
void topics_aside_forget(struct topics_aside *aside, int64_t read_ms);

#endif
