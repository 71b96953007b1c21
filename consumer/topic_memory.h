/*
 * A log in memory: for the simulator and the tests.
 *
 * A struct memory_log is one partition's log; any number of topics read it.  It holds records,
 * some of them control or aborted ones, which a read_committed reader never sees but whose offsets
 * are taken.  The world changes it between calls; there are no threads.
 */
#ifndef CONSUMER_TOPIC_MEMORY_H
#define CONSUMER_TOPIC_MEMORY_H

#include <stdbool.h>

#include "topic.h"

struct memory_log_record {
	bool visible; /* false: a control or aborted record */
	int64_t timestamp_ms;
	char *key; /* NULL: absent; owned */
	size_t key_length;
	char *value;
	size_t value_length;
	char *headers; /* as JSON text; NULL: none */
};

struct memory_log {
	struct memory_log_record *records; /* by offset */
	int64_t begin;                     /* offsets below it are gone */
	int64_t end;
	int64_t capacity;
	int64_t generation; /* counted up when the topic is made anew */
	struct topic_layout layout;
};

void memory_log_init(struct memory_log *log, int32_t partitions);
void memory_log_finish(struct memory_log *log);

/* Copies a message in and returns its offset.  A NULL key or value is absent. */
int64_t memory_log_append(struct memory_log *log, const char *key, size_t key_length,
	const char *value, size_t value_length, int64_t timestamp_ms);

/* Gives a message headers: JSON text as headers.h has it. */
void memory_log_set_headers(struct memory_log *log, int64_t offset, const char *headers);

/* A control or aborted record. */
int64_t memory_log_append_hidden(struct memory_log *log);

/* The log's beginning is deleted up to `begin`. */
void memory_log_truncate(struct memory_log *log, int64_t begin);

/* The topic is deleted and made anew: empty, from offset 0. */
void memory_log_recreate(struct memory_log *log);

/* What a reader may meet.  The world changes these as it likes. */
struct topic_memory_faults {
	bool away;      /* Kafka does not answer: polls are empty, questions fail */
	size_t at_most; /* items a poll returns at most; 0: as many as asked for */
};

/* The log and the faults outlive the topic. */
struct topic *topic_memory_create(struct memory_log *log, const struct topic_memory_faults *faults);

/* What the owner last showed to Kafka's own tools; -1: nothing. */
int64_t topic_memory_mirrored(const struct topic *t);

#endif
