/*
 * Applications that write events into outbox_events, each in a transaction of its own.
 *
 * An insert takes its id at once and becomes visible when its transaction commits, some steps
 * later, or never: so ids become visible out of their order, and have holes.  Most events are the
 * ledger's, and the relay's log is the ledger's own; some go to a topic that does not exist yet,
 * and some can never be sent.
 *
 * What was ever committed is remembered here, whatever the database becomes.
 */
#ifndef TESTS_SIM_OUTBOX_APPS_H
#define TESTS_SIM_OUTBOX_APPS_H

#include "outbox_store_memory.h"
#include "world.h"

#define APPS_TOPIC      "balance-events"
#define APPS_TOPIC_LATE "not-yet"
#define APPS_TOPIC_BAD  "not a topic"

struct app_event {
	char event_id[24];
	const char *topic;
	struct letter letter;
	bool too_large; /* Kafka refuses it; half of them only when it should acknowledge */
	bool late_refusal;
	uint64_t seen_step;    /* at which it became visible; 0: not yet */
	unsigned appearances;  /* in the log */
	unsigned commit_steps; /* of its transaction, until it ends */
	struct outbox_row row;
};

struct outbox_apps {
	struct world *w;
	struct random *random;
	struct outbox_memory_db *db;
	struct app_event **events; /* by number; event_id is "ob-<number>" */
	size_t count;
	size_t max;
	size_t open; /* events from here on may be in a transaction */
	int64_t highest_id;
	int64_t insert_chance;
};

void outbox_apps_init(struct outbox_apps *apps, struct world *w, struct random *random,
	struct outbox_memory_db *db);
void outbox_apps_finish(struct outbox_apps *apps);

/* Somebody inserts, commits or rolls back; in a calm world nobody inserts. */
void outbox_apps_step(struct outbox_apps *apps);

/* The database has failed over: transactions that were open are gone. */
void outbox_apps_lose(struct outbox_apps *apps);

bool outbox_apps_at_rest(const struct outbox_apps *apps);

/* The event of a row, whatever its id; fails the world if there is none. */
struct app_event *outbox_apps_find(const struct outbox_apps *apps, const char *event_id);

bool outbox_apps_sendable(const struct app_event *event);

#endif
