/* See incidents.h. */
#include "incidents.h"

#include <stdio.h>

void incidents_init(struct incidents *incidents)
{
	*incidents = (struct incidents){0};
	pthread_mutex_init(&incidents->lock, NULL);
}

void incidents_finish(struct incidents *incidents)
{
	pthread_mutex_destroy(&incidents->lock);
}

void incidents_add(struct incidents *incidents, int64_t at_ms, int32_t partition, const char *what,
	const char *reason)
{
	struct incident *incident;

	if (!incidents)
		return;
	pthread_mutex_lock(&incidents->lock);
	incident = &incidents->ring[incidents->added++ % INCIDENTS_MAX];
	incident->at_ms = at_ms;
	incident->partition = partition;
	incident->what = what;
	snprintf(incident->reason, sizeof(incident->reason), "%s", reason);
	pthread_mutex_unlock(&incidents->lock);
}

size_t incidents_read(struct incidents *incidents, struct incident ret_list[INCIDENTS_MAX])
{
	size_t count;

	pthread_mutex_lock(&incidents->lock);
	count = incidents->added < INCIDENTS_MAX ? (size_t)incidents->added : INCIDENTS_MAX;
	for (size_t i = 0; i < count; i++)
		ret_list[i] = incidents->ring[(incidents->added - 1 - i) % INCIDENTS_MAX];
	pthread_mutex_unlock(&incidents->lock);
	return count;
}
