/*
 * How fast a topic's poll alone is: every partition of a topic read to its end, each by a thread of
 * its own, nothing done with the messages.
 *
 *     poll SERVER TOPIC [FETCH_BUFFER] [EVENTS_PER_SECOND [HELD]]
 *
 * With EVENTS_PER_SECOND each partition is read no faster, as a daemon whose database is the limit
 * would: then "dry" counts the polls that had to wait for librdkafka with a backlog.
 * HELD messages stay with the reader before they are released, as those of a daemon's batches do.
 * The time begins with the first message; CPU is the whole process's, librdkafka's threads
 * included.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "mem.h"
#include "topic_kafka.h"

#define ITEMS 2048

struct reader {
	pthread_t thread;
	struct topic *topic;
	double rate;
	int64_t held;
	int64_t events, begin_us, end_us;
	int dry;
	uint64_t bytes;
};

static int64_t now_us(void)
{
	return clock_system.now_us(&clock_system);
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static long resident_mb(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss / 1024;
}

/* As slow as it was told to be. */
static void pace(const struct reader *r)
{
	while (r->rate > 0 && (double)(now_us() - r->begin_us) < (double)r->events / r->rate * 1e6)
		usleep(500);
}

static void *read_all(void *context)
{
	struct reader *r = context;
	struct topic_item *items = xcalloc(ITEMS, sizeof(items[0]));
	struct error err;
	bool end = false;

	if (r->topic->ops->open(r->topic, 0, &err) != 0)
		exit(1);
	while (!end) {
		int64_t asked_us = now_us();
		size_t count = r->topic->ops->poll(r->topic, 1000, items, ITEMS);

		if (r->begin_us == 0 && count > 0)
			r->begin_us = now_us();
		else if (now_us() - asked_us > 20000)
			r->dry++;
		for (size_t i = 0; i < count; i++) {
			end = end || items[i].kind != TOPIC_MESSAGE;
			r->events += items[i].kind == TOPIC_MESSAGE;
			if (items[i].kind == TOPIC_MESSAGE)
				r->bytes += items[i].message.value_length;
		}
		if (r->events % (r->held / 2 + 1) < (int64_t)count)
			r->topic->ops->release(r->topic, r->events - r->held / 2);
		pace(r);
	}
	r->end_us = now_us();
	free(items);
	return NULL;
}

static void report(const struct reader *readers, int32_t partitions, double cpu)
{
	int64_t events = 0, begin_us = INT64_MAX, end_us = 0;
	uint64_t bytes = 0;
	int dry = 0;

	for (int32_t p = 0; p < partitions; p++) {
		events += readers[p].events;
		bytes += readers[p].bytes;
		dry += readers[p].dry;
		if (readers[p].begin_us < begin_us)
			begin_us = readers[p].begin_us;
		if (readers[p].end_us > end_us)
			end_us = readers[p].end_us;
	}
	printf("%d partitions, %.1f M messages of %.0f bytes, %.2f s: %.2f M/s, %.0f ns of CPU a "
	       "message, %d dry, %ld MB resident\n",
		partitions, (double)events / 1e6, (double)bytes / (double)events,
		(double)(end_us - begin_us) / 1e6, (double)events / (double)(end_us - begin_us),
		cpu / (double)events * 1e9, dry, resident_mb());
}

int main(int argc, char **argv)
{
	struct config cfg;
	struct kafka_client *client;
	struct topic_layout layout;
	struct reader *readers;
	struct error err;
	char text[512];
	double cpu;

	if (argc < 3)
		return fputs("usage: poll SERVER TOPIC [FETCH_BUFFER] [EVENTS_PER_SECOND [HELD]]\n",
			       stderr),
		       2;
	snprintf(text, sizeof(text),
		"kafka: {bootstrap_servers: \"%s\", topic: \"%s\", fetch_buffer: %s}\n", argv[1],
		argv[2], argc > 3 ? argv[3] : "32M");
	if (config_parse_buffer(&cfg, "arguments", text, strlen(text), NULL, &err) != 0 ||
		kafka_client_create(&cfg, &client, &err) != 0 ||
		topic_kafka_layout(client, &layout, &err) != 0)
		return fprintf(stderr, "poll: %s\n", err.text), 1;

	readers = xcalloc((size_t)layout.partitions, sizeof(readers[0]));
	cpu = cpu_s();
	for (int32_t p = 0; p < layout.partitions; p++) {
		readers[p].topic = topic_kafka_create(client, p);
		readers[p].rate = argc > 4 ? atof(argv[4]) : 0;
		readers[p].held = argc > 5 ? atoll(argv[5]) : 0;
		pthread_create(&readers[p].thread, NULL, read_all, &readers[p]);
	}
	for (int32_t p = 0; p < layout.partitions; p++)
		pthread_join(readers[p].thread, NULL);
	report(readers, layout.partitions, cpu_s() - cpu);

	for (int32_t p = 0; p < layout.partitions; p++)
		readers[p].topic->ops->destroy(readers[p].topic);
	free(readers);
	kafka_client_destroy(client);
	config_finish(&cfg);
	return 0;
}
