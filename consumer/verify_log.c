/* See verify_log.h. */
#include "verify_log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "mem.h"

#define ITEMS_MAX     2000
#define POLL_MS       200
#define HEADERS_BYTES ((size_t)64 << 10) /* that are taken at once */
#define SILENCE_MS    30000              /* without anything new: Kafka does not deliver */
#define END_TRIES     5                  /* a new leader may not know its log's end yet */
#define END_AGAIN_MS  1000

struct verify_log {
	struct topic *topic;
	const struct clock *clock;
	struct verify_report *report;
	int32_t partition;
	int64_t begin;    /* nothing below it is in the log (any more) */
	int64_t end;      /* nothing at or above it is asked for */
	int64_t position; /* the next offset that may come */
	struct topic_item items[ITEMS_MAX];
	size_t count, next;
	struct arena arena; /* headers of the items */
	bool ended;
};

static int64_t now_ms(const struct verify_log *log)
{
	return log->clock->now_ms(log->clock);
}

static void sleep_ms(int64_t ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static struct verify_place place_of(const struct verify_log *log, int64_t offset)
{
	return (struct verify_place){.partition = log->partition, .offset = offset};
}

/* The ends, once the log's end is where it should be, or has had time to be. */
static int ask_ends(struct verify_log *log, int64_t next_offset, int64_t *ret_low,
	int64_t *ret_high, struct error *err)
{
	int rc = -EAGAIN;

	for (int i = 0; i < END_TRIES; i++) {
		if (i > 0)
			sleep_ms(END_AGAIN_MS);
		rc = log->topic->ops->watermarks(log->topic, ret_low, ret_high, err);
		if (rc == 0 && *ret_high >= next_offset)
			return 0;
	}
	return rc;
}

static void note_begin(struct verify_log *log, int64_t next_offset)
{
	if (log->begin == 0 || next_offset == 0)
		return;
	if (log->begin >= next_offset)
		verify_report_note(log->report,
			"partition %" PRId32 ": the log begins at offset %" PRId64
			"; nothing below next_offset %" PRId64 " is left in it to compare",
			log->partition, log->begin, next_offset);
	else
		verify_report_note(log->report,
			"partition %" PRId32 ": the log begins at offset %" PRId64
			"; what is below it was checked by the journal's own balances only",
			log->partition, log->begin);
}

static int open_log(struct verify_log *log, int64_t next_offset, struct error *err)
{
	struct verify_place place = place_of(log, -1);
	int64_t high = 0;
	int rc = ask_ends(log, next_offset, &log->begin, &high, err);

	if (rc != 0)
		return rc;
	note_begin(log, next_offset);
	if (high < next_offset)
		verify_report_add(log->report, VERIFY_LOG_END, &place, "the end of the log",
			VERIFY_TEXT("offset %" PRId64, high),
			VERIFY_TEXT("%" PRId64 " or above, as next_offset in MySQL", next_offset));
	log->end = high < next_offset ? high : next_offset;
	log->position = log->begin;
	log->ended = log->begin >= log->end;
	return log->ended ? 0 : log->topic->ops->open(log->topic, log->begin, err);
}

int verify_log_open(struct topic *topic, const struct clock *clock, int32_t partition,
	int64_t next_offset, struct verify_report *report, struct verify_log **ret_log,
	struct error *err)
{
	struct verify_log *log = xcalloc(1, sizeof *log);
	int rc;

	log->topic = topic;
	log->clock = clock;
	log->report = report;
	log->partition = partition;
	arena_init(&log->arena, HEADERS_BYTES);
	rc = open_log(log, next_offset, err);
	if (rc == 0)
		*ret_log = log;
	else
		free(log); /* the arena is empty */
	return rc;
}

void verify_log_close(struct verify_log *log)
{
	if (!log)
		return;
	log->topic->ops->close(log->topic);
	arena_finish(&log->arena);
	free(log);
}

/* The oldest messages were deleted while we read: on from where the log begins now. */
static int skip_to_begin(struct verify_log *log, struct error *err)
{
	int64_t low, high;
	int rc = log->topic->ops->watermarks(log->topic, &low, &high, err);

	if (rc != 0)
		return rc;
	if (low <= log->position)
		return error_set(err, -EIO,
			"partition %" PRId32 ": Kafka refuses offset %" PRId64
			", although its log reaches from %" PRId64 " to %" PRId64
			": was the topic made anew?",
			log->partition, log->position, low, high);
	verify_report_note(log->report,
		"partition %" PRId32 ": the log was deleted up to offset %" PRId64
		" while it was read; offsets %" PRId64 " to %" PRId64 " were not compared",
		log->partition, low, log->position, low - 1);
	log->begin = log->position = low;
	log->ended = low >= log->end;
	return log->ended ? 0 : log->topic->ops->open(log->topic, low, err);
}

/* Takes an item that is no message. */
static int take_sign(struct verify_log *log, struct error *err)
{
	const struct topic_item *item = &log->items[log->next++];

	switch (item->kind) {
	case TOPIC_END:
		log->position = item->end_offset;
		log->ended = item->end_offset >= log->end;
		return 0;
	case TOPIC_OUT_OF_RANGE:
		log->next = log->count = 0;
		return skip_to_begin(log, err);
	case TOPIC_MESSAGE:
	case TOPIC_GONE:
		break;
	}
	return error_set(err, -ENOENT,
		"partition %" PRId32 ": the topic has gone away, or was made anew", log->partition);
}

/* Waits for items; position moves on when something comes. */
static int poll_items(struct verify_log *log, struct error *err)
{
	int64_t give_up_ms = now_ms(log) + SILENCE_MS;

	log->next = 0;
	log->topic->ops->release(log->topic, log->position);
	arena_reset(&log->arena);
	do {
		log->count = log->topic->ops->poll(log->topic, POLL_MS, log->items, ITEMS_MAX);
		if (log->count > 0)
			return 0;
	} while (now_ms(log) < give_up_ms);
	return error_set(err, -ETIMEDOUT,
		"partition %" PRId32 ": Kafka has delivered nothing from offset %" PRId64
		" on for %d s; is it reachable, or is a producer's transaction left open?",
		log->partition, log->position, SILENCE_MS / 1000);
}

int verify_log_message(
	struct verify_log *log, const struct message **ret_message, struct error *err)
{
	int rc = 0;

	*ret_message = NULL;
	while (rc == 0 && !log->ended) {
		const struct topic_item *item = &log->items[log->next];

		if (log->next == log->count) {
			rc = poll_items(log, err);
		} else if (item->kind == TOPIC_MESSAGE) {
			log->position = item->message.offset;
			log->ended = item->message.offset >= log->end;
			*ret_message = log->ended ? NULL : &item->message;
			return 0;
		} else {
			rc = take_sign(log, err);
		}
	}
	return rc;
}

void verify_log_pass(struct verify_log *log)
{
	assert(log->next < log->count && log->items[log->next].kind == TOPIC_MESSAGE);
	log->position = log->items[log->next++].message.offset + 1;
}

void verify_log_headers(struct verify_log *log)
{
	assert(log->next < log->count && log->items[log->next].kind == TOPIC_MESSAGE);
	log->topic->ops->headers(log->topic, &log->items[log->next].message, &log->arena);
}

bool verify_log_covers(const struct verify_log *log, int64_t offset)
{
	return offset >= log->begin && offset < log->end;
}
