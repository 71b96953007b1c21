/* See outbox_apps.h. */
#include "outbox_apps.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define COMMIT_STEPS_MAX 60 /* of a transaction that takes its time */

void outbox_apps_init(struct outbox_apps *apps, struct world *w, struct random *random,
	struct outbox_memory_db *db)
{
	*apps = (struct outbox_apps){
		.w = w,
		.random = random,
		.db = db,
		.max = (size_t)random_between(random, 5, 100),
		.insert_chance = random_between(random, 200, 3000),
	};
}

void outbox_apps_finish(struct outbox_apps *apps)
{
	for (size_t i = 0; i < apps->count; i++)
		free(apps->events[i]);
	free(apps->events);
}

static const char *choose_topic(struct outbox_apps *apps)
{
	if (random_chance(apps->random, 300))
		return APPS_TOPIC_BAD;
	return random_chance(apps->random, 1000) ? APPS_TOPIC_LATE : APPS_TOPIC;
}

static struct app_event *write_event(struct outbox_apps *apps)
{
	struct app_event *event = xcalloc(1, sizeof *event);
	struct random *r = apps->random;

	snprintf(event->event_id, sizeof event->event_id, "ob-%zu", apps->count);
	event->topic = choose_topic(apps);
	event->too_large = random_chance(r, 400);
	event->late_refusal = random_chance(r, 5000);
	event->commit_steps = random_chance(r, 5000) ? 0
						     : (unsigned)random_below(r, COMMIT_STEPS_MAX);
	workload_write(&apps->w->workload, &event->letter);
	event->row = (struct outbox_row){
		.id = apps->db->next_id++,
		.event_id = event->event_id,
		.topic = event->topic,
		.key = event->letter.key,
		.key_length = strlen(event->letter.key),
		.payload = event->letter.value,
		.payload_length = event->letter.length,
	};
	return event;
}

static void insert(struct outbox_apps *apps)
{
	struct app_event *event = write_event(apps);

	if (event->row.id <= apps->highest_id)
		world_count(apps->w, FAULT_OUTBOX_ID_AGAIN);
	else
		apps->highest_id = event->row.id;
	apps->events = xrealloc(apps->events, (apps->count + 1) * sizeof *apps->events);
	apps->events[apps->count++] = event;
}

static bool in_transaction(const struct app_event *event)
{
	return event->row.id != 0 && event->seen_step == 0;
}

static void roll_back(struct app_event *event)
{
	event->row.id = 0;
}

/* Whether a row with a higher id could be seen before. */
static bool comes_late(const struct outbox_apps *apps, int64_t id)
{
	return apps->db->count > 0 && apps->db->rows[apps->db->count - 1].id > id;
}

static void commit(struct outbox_apps *apps, struct app_event *event)
{
	struct world *w = apps->w;

	if (comes_late(apps, event->row.id))
		world_count(w, FAULT_OUTBOX_OUT_OF_ORDER);
	world_trace(w, "outbox: %s can be seen, id %" PRId64 ", topic %s, key %s%s",
		event->event_id, event->row.id, event->topic, event->letter.key,
		event->too_large ? ", too large" : "");
	outbox_memory_db_commit(apps->db, &event->row);
	event->seen_step = w->steps + 1; /* 0 is "not yet" */
}

static void go_on(struct outbox_apps *apps, struct app_event *event)
{
	if (!in_transaction(event))
		return;
	if (event->commit_steps > 0) {
		event->commit_steps--;
	} else if (random_chance(apps->random, 500)) {
		world_count(apps->w, FAULT_OUTBOX_ROLLED_BACK);
		roll_back(event);
	} else {
		commit(apps, event);
	}
}

void outbox_apps_step(struct outbox_apps *apps)
{
	if (!apps->w->calm && apps->count < apps->max &&
		random_chance(apps->random, apps->insert_chance))
		insert(apps);
	for (size_t i = apps->open; i < apps->count; i++)
		go_on(apps, apps->events[i]);
	while (apps->open < apps->count && !in_transaction(apps->events[apps->open]))
		apps->open++;
}

void outbox_apps_lose(struct outbox_apps *apps)
{
	for (size_t i = apps->open; i < apps->count; i++)
		if (in_transaction(apps->events[i]))
			roll_back(apps->events[i]);
}

bool outbox_apps_at_rest(const struct outbox_apps *apps)
{
	return apps->open == apps->count;
}

struct app_event *outbox_apps_find(const struct outbox_apps *apps, const char *event_id)
{
	size_t number = strtoull(event_id + 3, NULL, 10);

	if (strncmp(event_id, "ob-", 3) != 0 || number >= apps->count)
		world_fail(apps->w, "outbox: nobody has written %s", event_id);
	return apps->events[number];
}

bool outbox_apps_sendable(const struct app_event *event)
{
	return !event->too_large && strcmp(event->topic, APPS_TOPIC_BAD) != 0;
}
