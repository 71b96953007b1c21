#include "topic_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* The log -------------------------------------------------------------------------------------- */

void memory_log_init(struct memory_log *log, int32_t partitions)
{
	*log = (struct memory_log){.layout = {.partitions = partitions, .cluster_id = "memory"}};
}

static void records_free(struct memory_log *log)
{
	for (int64_t i = 0; i < log->end; i++) {
		free(log->records[i].key);
		free(log->records[i].value);
		free(log->records[i].headers);
	}
	log->end = 0;
	log->begin = 0;
}

void memory_log_finish(struct memory_log *log)
{
	records_free(log);
	free(log->records);
}

static char *copy_bytes(const char *bytes, size_t length)
{
	char *copy;

	if (!bytes)
		return NULL;
	copy = xmalloc(length + 1);
	memcpy(copy, bytes, length);
	copy[length] = '\0';
	return copy;
}

static int64_t append(struct memory_log *log, struct memory_log_record record)
{
	if (log->end == log->capacity) {
		log->capacity = log->capacity ? 2 * log->capacity : 64;
		log->records = xrealloc(log->records, (size_t)log->capacity * sizeof *log->records);
	}
	log->records[log->end] = record;
	return log->end++;
}

int64_t memory_log_append(struct memory_log *log, const char *key, size_t key_length,
	const char *value, size_t value_length, int64_t timestamp_ms)
{
	return append(log, (struct memory_log_record){
				   .visible = true,
				   .timestamp_ms = timestamp_ms,
				   .key = copy_bytes(key, key_length),
				   .key_length = key_length,
				   .value = copy_bytes(value, value_length),
				   .value_length = value_length,
			   });
}

void memory_log_set_headers(struct memory_log *log, int64_t offset, const char *headers)
{
	struct memory_log_record *record = &log->records[offset];

	assert(offset >= 0 && offset < log->end && record->visible);
	free(record->headers);
	record->headers = copy_bytes(headers, strlen(headers));
}

int64_t memory_log_append_hidden(struct memory_log *log)
{
	return append(log, (struct memory_log_record){.visible = false});
}

void memory_log_truncate(struct memory_log *log, int64_t begin)
{
	assert(begin <= log->end);
	if (begin > log->begin)
		log->begin = begin;
}

void memory_log_recreate(struct memory_log *log)
{
	records_free(log);
	log->generation++;
}

/* A reader ------------------------------------------------------------------------------------- */

/* A message that was handed out.  Its bytes are copies, so that who uses them after their release
 * is found out. */
struct held {
	int64_t offset;
	char *key;
	char *value;
	char *headers;
};

struct topic_memory {
	struct topic topic;
	struct memory_log *log;
	const struct topic_memory_faults *faults;
	bool opened;
	bool told_end; /* the end that was told last is still the end */
	int64_t position;
	int64_t generation; /* of the log when it was opened */
	int64_t mirrored;
	struct held *held; /* by offset */
	size_t held_count;
	size_t held_max;
};

static struct topic_memory *self(struct topic *t)
{
	return (struct topic_memory *)t;
}

static void topic_release(struct topic *t, int64_t offset)
{
	struct topic_memory *m = self(t);
	size_t count = 0;

	for (; count < m->held_count && m->held[count].offset < offset; count++) {
		free(m->held[count].key);
		free(m->held[count].value);
		free(m->held[count].headers);
	}
	m->held_count -= count;
	if (count > 0)
		memmove(m->held, m->held + count, m->held_count * sizeof *m->held);
}

static void topic_close(struct topic *t)
{
	topic_release(t, INT64_MAX);
	self(t)->opened = false;
}

static int topic_open(struct topic *t, int64_t offset, struct error *err)
{
	struct topic_memory *m = self(t);

	topic_close(t);
	if (m->faults->away)
		return error_set(err, -EAGAIN, "Kafka (in memory) is away");
	m->opened = true;
	m->told_end = false;
	m->position = offset;
	m->generation = m->log->generation;
	return 0;
}

static const struct held *hold(
	struct topic_memory *m, const struct memory_log_record *record, int64_t offset)
{
	struct held *held;

	if (m->held_count == m->held_max) {
		m->held_max = m->held_max ? 2 * m->held_max : 64;
		m->held = xrealloc(m->held, m->held_max * sizeof *m->held);
	}
	held = &m->held[m->held_count++];
	held->offset = offset;
	held->key = copy_bytes(record->key, record->key_length);
	held->value = copy_bytes(record->value, record->value_length);
	held->headers = record->headers ? xstrdup(record->headers) : NULL;
	return held;
}

static void view(struct topic_memory *m, struct topic_item *item, int64_t offset)
{
	const struct memory_log_record *record = &m->log->records[offset];
	const struct held *held = hold(m, record, offset);

	*item = (struct topic_item){
		.kind = TOPIC_MESSAGE,
		.message =
			{
				.offset = offset,
				.timestamp_ms = record->timestamp_ms,
				.key = held->key,
				.key_length = record->key_length,
				.value = held->value,
				.value_length = record->value_length,
			},
	};
}

static size_t poll_messages(struct topic_memory *m, struct topic_item *items, size_t max)
{
	size_t count = 0;

	while (count < max && m->position < m->log->end) {
		if (m->log->records[m->position].visible)
			view(m, &items[count++], m->position);
		m->position++;
		m->told_end = false;
	}
	return count;
}

static size_t topic_poll(struct topic *t, int timeout_ms, struct topic_item *items, size_t max)
{
	struct topic_memory *m = self(t);
	size_t count;

	if (!m->opened || m->faults->away || max == 0)
		return 0;
	if (m->generation != m->log->generation) {
		items[0] = (struct topic_item){.kind = TOPIC_GONE};
		return 1;
	}
	if (m->position < m->log->begin || m->position > m->log->end) {
		items[0] = (struct topic_item){.kind = TOPIC_OUT_OF_RANGE};
		return 1;
	}
	if (m->faults->at_most > 0 && max > m->faults->at_most)
		max = m->faults->at_most;
	count = poll_messages(m, items, max);
	if (count < max && m->position == m->log->end && !m->told_end) {
		m->told_end = true;
		items[count++] = (struct topic_item){.kind = TOPIC_END, .end_offset = m->position};
	}
	return count;
}

static void topic_headers(struct topic *t, struct message *message, struct arena *arena)
{
	struct topic_memory *m = self(t);
	size_t i = 0;

	while (i < m->held_count && m->held[i].offset != message->offset)
		i++;
	assert(i < m->held_count);
	if (!m->held[i].headers)
		return;
	message->headers_length = strlen(m->held[i].headers);
	message->headers = arena_copy(arena, m->held[i].headers, message->headers_length);
}

static void topic_wake(struct topic *t)
{
}

static int topic_watermarks(struct topic *t, int64_t *ret_low, int64_t *ret_high, struct error *err)
{
	struct topic_memory *m = self(t);

	if (m->faults->away)
		return error_set(err, -EAGAIN, "Kafka (in memory) is away");
	*ret_low = m->log->begin;
	*ret_high = m->log->end;
	return 0;
}

static int64_t topic_high_watermark(struct topic *t)
{
	return self(t)->log->end;
}

static int topic_layout(struct topic *t, struct topic_layout *ret_layout, struct error *err)
{
	struct topic_memory *m = self(t);

	if (m->faults->away)
		return error_set(err, -EAGAIN, "Kafka (in memory) is away");
	*ret_layout = m->log->layout;
	return 0;
}

static void topic_mirror(struct topic *t, int64_t next_offset)
{
	self(t)->mirrored = next_offset;
}

static void topic_destroy(struct topic *t)
{
	topic_close(t);
	free(self(t)->held);
	free(t);
}

static const struct topic_ops ops = {
	.open = topic_open,
	.close = topic_close,
	.poll = topic_poll,
	.headers = topic_headers,
	.release = topic_release,
	.wake = topic_wake,
	.watermarks = topic_watermarks,
	.high_watermark = topic_high_watermark,
	.layout = topic_layout,
	.mirror = topic_mirror,
	.destroy = topic_destroy,
};

struct topic *topic_memory_create(struct memory_log *log, const struct topic_memory_faults *faults)
{
	struct topic_memory *m = xcalloc(1, sizeof *m);

	m->topic.ops = &ops;
	m->log = log;
	m->faults = faults;
	m->mirrored = -1;
	return &m->topic;
}

int64_t topic_memory_mirrored(const struct topic *t)
{
	return ((const struct topic_memory *)t)->mirrored;
}
