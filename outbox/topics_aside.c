/* See topics_aside.h. */
#include "topics_aside.h"

#include <stdio.h>
#include <string.h>

static struct topic_aside *find(struct topics_aside *aside, const char *name)
{
	for (size_t i = 0; i < aside->count; i++)
		if (strcmp(aside->topics[i].name, name) == 0)
			return &aside->topics[i];
	return NULL;
}

/* A free place, or that of a topic whose time is over; NULL: there is none. */
static struct topic_aside *place(struct topics_aside *aside, int64_t now_ms)
{
	if (aside->count < TOPICS_ASIDE_MAX)
		return &aside->topics[aside->count++];
	for (size_t i = 0; i < aside->count; i++)
		if (aside->topics[i].until_ms <= now_ms)
			return &aside->topics[i];
	return NULL;
}

static struct topic_aside *add(struct topics_aside *aside, const char *name, int64_t now_ms)
{
	struct topic_aside *topic = place(aside, now_ms);

	if (!topic)
		return NULL;
	snprintf(topic->name, sizeof topic->name, "%s", name);
	topic->wait_ms = TOPICS_ASIDE_WAIT_MIN_MS / 2;
	return topic;
}

bool topics_aside_put(struct topics_aside *aside, const char *name, int64_t now_ms)
{
	struct topic_aside *topic = find(aside, name);

	if (!topic)
		topic = add(aside, name, now_ms);
	if (!topic)
		return false;
	topic->wait_ms *= 2;
	if (topic->wait_ms > TOPICS_ASIDE_WAIT_MAX_MS)
		topic->wait_ms = TOPICS_ASIDE_WAIT_MAX_MS;
	topic->until_ms = now_ms + topic->wait_ms;
	return true;
}

size_t topics_aside_now(
	const struct topics_aside *aside, int64_t now_ms, const char *ret_names[TOPICS_ASIDE_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < aside->count; i++)
		if (aside->topics[i].until_ms > now_ms)
			ret_names[count++] = aside->topics[i].name;
	return count;
}

void topics_aside_forget(struct topics_aside *aside, int64_t read_ms)
{
	for (size_t i = aside->count; i-- > 0;)
		if (aside->topics[i].until_ms <= read_ms)
			aside->topics[i] = aside->topics[--aside->count];
}
