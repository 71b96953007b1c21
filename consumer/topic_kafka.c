/*
 * See topic_kafka.h.
 *
 * The partition has its own queue in librdkafka: taken, and cut off from the reader's main queue,
 * before the partition is assigned; later, messages would leak into the main queue.  It is taken
 * anew at every open, since librdkafka may have dropped the old one with a topic that went away.
 * Every assignment has its own version in librdkafka, and what was fetched for an older one is
 * dropped when it is taken from the queue, so nothing of an earlier open can come later.
 *
 * States: closed (no queue), reading, mute (after out-of-range and gone: unassigned, the queue
 * kept for waiting), and waiting to open again after an error.
 *
 * The lock guards `queue` against a wake while it changes; the thread of the topic reads it
 * without. Messages that were handed out are librdkafka's, held here in their order until they are
 * released.
 */
#include "topic_kafka.h"

#include "clock.h"
#include "headers.h"
#include "log.h"
#include "mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_MS 3000
/* librdkafka tells us of a topic that went away while it takes its partitions from their brokers'
 * threads.  Unassigned in that moment, a partition keeps a thread from ever ending (seen
 * with 2.0.2, in half of the cases).  It is over within a millisecond. */
#define SETTLE_US 200000
#define NUDGE_MS  100
#define REOPEN_MS 1000 /* between two attempts after an error */

enum reading { READING, MUTE, REOPENING };

struct topic_kafka {
	struct topic base;
	struct kafka_member member;
	struct kafka_client *client;
	const struct config *cfg;
	const char *name;  /* of the topic */
	int64_t low_water; /* below so many messages in the queue it is about to run dry */

	pthread_mutex_t lock;
	rd_kafka_queue_t *queue; /* NULL: closed */
	atomic_bool woken;

	enum reading reading;
	int64_t next_offset; /* nothing below it is delivered */
	int64_t reopen_ms;   /* REOPENING: when */
	bool at_end;         /* nothing came after the last end */
	int64_t backlog_ms;  /* when the log last had more than was taken from it */

	rd_kafka_message_t **held; /* held[held_begin..held_end), by offset */
	size_t held_begin, held_end, held_max;
	struct headers headers; /* one message's, being written */
};

static struct topic_kafka *self(struct topic *t)
{
	return (struct topic_kafka *)t;
}

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

/* Messages that are held. */

#define DESTROY_AHEAD 8 /* what was held for long is far away: it is fetched so many ahead */

static void destroy_held(struct topic_kafka *t, size_t end)
{
	for (; t->held_begin < end; t->held_begin++) {
		if (t->held_begin + DESTROY_AHEAD < end)
			__builtin_prefetch(t->held[t->held_begin + DESTROY_AHEAD]);
		rd_kafka_message_destroy(t->held[t->held_begin]);
	}
}

/* The place of the first that is held at or after an offset. */
static size_t find_held(const struct topic_kafka *t, int64_t offset)
{
	size_t low = t->held_begin, high = t->held_end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->held[middle]->offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void release_all(struct topic_kafka *t)
{
	destroy_held(t, t->held_end);
}

static void topic_release(struct topic *base, int64_t offset)
{
	struct topic_kafka *t = self(base);

	destroy_held(t, find_held(t, offset));
}

/* Room for `count` more behind those that are held. */
static void make_room(struct topic_kafka *t, size_t count)
{
	size_t held = t->held_end - t->held_begin;

	if (t->held_max - t->held_end >= count)
		return;
	if (held > 0)
		memmove(t->held, t->held + t->held_begin, held * sizeof(t->held[0]));
	t->held_begin = 0;
	t->held_end = held;
	if (t->held_max - held >= count)
		return;
	t->held_max = 2 * (held + count);
	t->held = xrealloc(t->held, t->held_max * sizeof(t->held[0]));
}

/* Assignment. */

static int incremental(struct topic_kafka *t, bool add, int64_t offset, struct error *err)
{
	rd_kafka_t *rk = kafka_client_reader(t->client);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_error_t *failure;
	int rc = 0;

	rd_kafka_topic_partition_list_add(list, t->name, t->member.partition)->offset = offset;
	failure = add ? rd_kafka_incremental_assign(rk, list)
		      : rd_kafka_incremental_unassign(rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (failure) {
		rc = error_set(err, -EIO, "opening %s[%" PRId32 "] at offset %" PRId64 ": %s",
			t->name, t->member.partition, offset, rd_kafka_error_string(failure));
		rd_kafka_error_destroy(failure);
	}
	return rc;
}

/* Takes out what is left, so that it does not stay in memory.  The version of the assignment makes
 * librdkafka drop it; the loop is for what may be newer. */
static void drain(struct topic_kafka *t)
{
	rd_kafka_message_t *message;

	kafka_client_begin(&t->member);
	while ((message = rd_kafka_consume_queue(t->queue, 0)))
		rd_kafka_message_destroy(message);
	kafka_client_end();
}

static void unassign(struct topic_kafka *t)
{
	struct error err;

	if (incremental(t, false, RD_KAFKA_OFFSET_INVALID, &err) != 0)
		log_debug("closing a partition", LI("partition", t->member.partition),
			LS("error", err.text));
	drain(t);
}

static void change_queue(struct topic_kafka *t, rd_kafka_queue_t *queue)
{
	rd_kafka_queue_t *old;

	pthread_mutex_lock(&t->lock);
	old = t->queue;
	t->queue = queue;
	pthread_mutex_unlock(&t->lock);
	if (old)
		rd_kafka_queue_destroy(old);
}

/* With a queue of its own, unassigned; afterwards assigned or as it was. */
static int assign(struct topic_kafka *t, int64_t offset, struct error *err)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_get_partition(
		kafka_client_reader(t->client), t->name, t->member.partition);

	if (!queue)
		return error_set(err, -EIO, "opening %s[%" PRId32 "]: librdkafka has no queue",
			t->name, t->member.partition);
	rd_kafka_queue_forward(queue, NULL);
	change_queue(t, queue);
	atomic_store(&t->member.gone, false);
	return incremental(t, true, offset, err);
}

static void close_log(struct topic_kafka *t)
{
	release_all(t);
	if (!t->queue)
		return;
	if (t->reading == READING)
		unassign(t);
	change_queue(t, NULL);
}

static void topic_close(struct topic *base)
{
	close_log(self(base));
}

static int topic_open(struct topic *base, int64_t offset, struct error *err)
{
	struct topic_kafka *t = self(base);
	int rc;

	assert(offset >= 0);
	close_log(t);
	rc = assign(t, offset, err);
	if (rc != 0) {
		change_queue(t, NULL);
		return rc;
	}
	t->reading = READING;
	t->next_offset = offset;
	t->at_end = false;
	return 0;
}

static void stop_reading(struct topic_kafka *t, enum reading reading)
{
	unassign(t);
	t->reading = reading;
	t->reopen_ms = now_ms() + REOPEN_MS;
}

/* After an error: from the offset that is due, when its time has come. */
static void open_again(struct topic_kafka *t)
{
	struct error err;

	if (t->reading != REOPENING || now_ms() < t->reopen_ms)
		return;
	if (assign(t, t->next_offset, &err) == 0) {
		t->reading = READING;
		t->at_end = false;
		return;
	}
	log_warn("cannot read on", LI("partition", t->member.partition), LS("error", err.text));
	t->reopen_ms = now_ms() + REOPEN_MS;
}

/* Messages. */

static void topic_headers(struct topic *base, struct message *message, struct arena *arena)
{
	struct topic_kafka *t = self(base);
	size_t place = find_held(t, message->offset);
	rd_kafka_headers_t *list;
	const char *name;
	const void *value;
	size_t length;

	assert(place < t->held_end && t->held[place]->offset == message->offset);
	if (rd_kafka_message_headers(t->held[place], &list) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		rd_kafka_header_cnt(list) == 0)
		return;
	headers_begin(&t->headers);
	for (size_t i = 0; rd_kafka_header_get_all(list, i, &name, &value, &length) ==
			   RD_KAFKA_RESP_ERR_NO_ERROR;
		i++)
		headers_add(&t->headers, name, strlen(name), value, length);
	headers_end(&t->headers);
	message->headers = arena_copy(arena, t->headers.text, t->headers.length);
	message->headers_length = t->headers.length;
}

static bool take_message(
	struct topic_kafka *t, const rd_kafka_message_t *m, struct topic_item *item)
{
	if (m->offset < t->next_offset)
		return false; /* a leader's change may repeat some */
	*item = (struct topic_item){.kind = TOPIC_MESSAGE, .message = kafka_client_message(m)};
	t->next_offset = m->offset + 1;
	t->at_end = false;
	return true;
}

static bool take_end(struct topic_kafka *t, const rd_kafka_message_t *m, struct topic_item *item)
{
	if (m->offset < t->next_offset)
		return false;
	*item = (struct topic_item){.kind = TOPIC_END, .end_offset = m->offset};
	t->next_offset = m->offset;
	t->at_end = true;
	return true;
}

static bool take_stop(struct topic_kafka *t, const rd_kafka_message_t *m, enum topic_item_kind kind,
	struct topic_item *item)
{
	log_warn(kind == TOPIC_GONE ? "the topic went away" : "the offset is not in the log",
		LI("partition", t->member.partition), LI("offset", t->next_offset),
		LS("detail", m ? rd_kafka_message_errstr(m) : NULL));
	if (kind == TOPIC_GONE)
		usleep(SETTLE_US);
	stop_reading(t, MUTE);
	kafka_client_forget(t->client, &t->member);
	*item = (struct topic_item){.kind = kind};
	return true;
}

/* What heals by itself, without anything that could have been passed over. */
static bool is_harmless(rd_kafka_resp_err_t code)
{
	switch (code) {
	case RD_KAFKA_RESP_ERR__TRANSPORT:
	case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
	case RD_KAFKA_RESP_ERR__TIMED_OUT:
	case RD_KAFKA_RESP_ERR__RESOLVE:
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		return true;
	default:
		return false;
	}
}

static bool take_error(struct topic_kafka *t, const rd_kafka_message_t *m)
{
	struct error err;

	kafka_error(t->cfg, m->err, &err, "%s[%" PRId32 "] at offset %" PRId64, t->name,
		t->member.partition, t->next_offset);
	log_warn("Kafka does not deliver", LI("partition", t->member.partition),
		LS("error", err.text), LS("detail", rd_kafka_message_errstr(m)));
	if (!is_harmless(m->err))
		stop_reading(t, REOPENING);
	return false;
}

/* Whether it is an item. */
static bool take(struct topic_kafka *t, const rd_kafka_message_t *m, struct topic_item *item)
{
	switch (m->err) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return take_message(t, m, item);
	case RD_KAFKA_RESP_ERR__PARTITION_EOF:
		return take_end(t, m, item);
	case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
	case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
		return take_stop(t, m, TOPIC_OUT_OF_RANGE, item);
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
#if RD_KAFKA_VERSION >= 0x020100ff
	case RD_KAFKA_RESP_ERR__LOG_TRUNCATION:
#endif
		return take_stop(t, m, TOPIC_GONE, item);
	default:
		return take_error(t, m);
	}
}

/* The poll. */

/* First wait for one, then take what is there: the batch call alone would wait until its array is
 * full.  Returns how many came, behind those that are held. */
static size_t consume(struct topic_kafka *t, int timeout_ms, size_t max)
{
	rd_kafka_message_t **news;
	size_t count = 0;
	ssize_t more;

	make_room(t, max);
	news = t->held + t->held_end;
	if (timeout_ms > 0) {
		news[0] = rd_kafka_consume_queue(t->queue, timeout_ms);
		if (!news[0])
			return 0;
		count = 1;
	}
	more = rd_kafka_consume_batch_queue(t->queue, 0, news + count, max - count);
	return count + (more > 0 ? (size_t)more : 0);
}

/* Makes items of what came; messages among them are held, the rest goes back. */
static size_t take_all(struct topic_kafka *t, size_t news, struct topic_item *items)
{
	rd_kafka_message_t **at = t->held + t->held_end;
	size_t count = 0;

	for (size_t i = 0; i < news; i++) {
		rd_kafka_message_t *m = at[i];
		bool taken = t->reading == READING && take(t, m, &items[count]);

		if (taken && items[count].kind == TOPIC_MESSAGE)
			t->held[t->held_end++] = m;
		else
			rd_kafka_message_destroy(m);
		count += taken;
	}
	return count;
}

static int64_t high_watermark(struct topic_kafka *t)
{
	int64_t low, high;

	if (rd_kafka_get_watermark_offsets(kafka_client_reader(t->client), t->name,
		    t->member.partition, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return -1;
	return high < 0 ? -1 : high;
}

/* librdkafka's thread may sleep on a queue that was full: it is woken as long as there is a
 * backlog, and a little longer, so that the log's end is noticed at once. */
static void nudge_if_dry(struct topic_kafka *t)
{
	int64_t queued = (int64_t)rd_kafka_queue_length(t->queue);

	if (t->at_end)
		return;
	if (queued >= t->low_water || high_watermark(t) > t->next_offset + queued)
		t->backlog_ms = now_ms();
	if (queued < t->low_water && now_ms() - t->backlog_ms < NUDGE_MS)
		kafka_client_nudge(t->client, t->member.partition);
}

/* The newest one, if the watch over the log wants one; not what came before the log was left. */
static void show_read(struct topic_kafka *t, const struct topic_item *items, size_t count)
{
	if (t->reading != READING || !atomic_load(&t->member.wanted))
		return;
	while (count > 0 && items[count - 1].kind != TOPIC_MESSAGE)
		count--;
	if (count > 0)
		kafka_client_read(t->client, &t->member, &items[count - 1].message);
}

static int poll_wait_ms(struct topic_kafka *t, int timeout_ms)
{
	int64_t left_ms;

	if (atomic_exchange(&t->woken, false))
		return 0;
	if (t->reading != REOPENING)
		return timeout_ms;
	left_ms = t->reopen_ms - now_ms();
	return left_ms < timeout_ms ? (int)(left_ms > 0 ? left_ms : 0) : timeout_ms;
}

static void drop(struct topic_kafka *t, size_t news)
{
	for (size_t i = 0; i < news; i++)
		rd_kafka_message_destroy(t->held[t->held_end + i]);
}

static size_t topic_poll(struct topic *base, int timeout_ms, struct topic_item *items, size_t max)
{
	struct topic_kafka *t = self(base);
	size_t news, count;

	assert(t->queue && max > 0);
	open_again(t);
	kafka_client_begin(&t->member);
	news = consume(t, poll_wait_ms(t, timeout_ms), max);
	kafka_client_end();
	/* What came with it may be from before or after: it is read again. */
	if (t->reading == READING && atomic_load(&t->member.gone)) {
		drop(t, news);
		return take_stop(t, NULL, TOPIC_GONE, items);
	}
	count = take_all(t, news, items);
	if (t->reading == READING)
		nudge_if_dry(t);
	show_read(t, items, count);
	return count;
}

static void topic_wake(struct topic *base)
{
	struct topic_kafka *t = self(base);

	atomic_store(&t->woken, true);
	pthread_mutex_lock(&t->lock);
	if (t->queue)
		rd_kafka_queue_yield(t->queue);
	pthread_mutex_unlock(&t->lock);
}

static void wake_member(struct kafka_member *member)
{
	topic_wake((struct topic *)((char *)member - offsetof(struct topic_kafka, member)));
}

/* Questions. */

static int topic_watermarks(
	struct topic *base, int64_t *ret_low, int64_t *ret_high, struct error *err)
{
	struct topic_kafka *t = self(base);
	rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(kafka_client_asker(t->client),
		t->name, t->member.partition, ret_low, ret_high, ASK_MS);

	if (code)
		return kafka_error(t->cfg, code, err, "asking for the ends of %s[%" PRId32 "]",
			t->name, t->member.partition);
	kafka_client_begins(t->client, &t->member, *ret_low);
	return 0;
}

static int64_t topic_high_watermark(struct topic *base)
{
	return high_watermark(self(base));
}

int topic_kafka_layout(
	struct kafka_client *client, struct topic_layout *ret_layout, struct error *err)
{
	_Static_assert(sizeof(ret_layout->cluster_id) == KAFKA_CLUSTER_ID_MAX, "one size");

	return kafka_layout(kafka_client_asker(client), kafka_client_config(client), ASK_MS,
		&ret_layout->partitions, ret_layout->cluster_id, err);
}

static int topic_layout(struct topic *base, struct topic_layout *ret_layout, struct error *err)
{
	return topic_kafka_layout(self(base)->client, ret_layout, err);
}

static void topic_mirror(struct topic *base, int64_t next_offset)
{
	struct topic_kafka *t = self(base);

	kafka_client_mirror(t->client, t->member.partition, next_offset);
}

/* Create and destroy. */

static void topic_destroy(struct topic *base)
{
	struct topic_kafka *t = self(base);

	close_log(t);
	kafka_client_leave(t->client, &t->member);
	pthread_mutex_destroy(&t->lock);
	headers_finish(&t->headers);
	free(t->held);
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

struct topic *topic_kafka_create(struct kafka_client *client, int32_t partition)
{
	struct topic_kafka *t = xcalloc(1, sizeof(*t));

	t->base.ops = &ops;
	t->member.partition = partition;
	t->member.wake = wake_member;
	t->client = client;
	t->cfg = kafka_client_config(client);
	t->name = t->cfg->kafka.topic;
	t->low_water = kafka_queued_messages(t->cfg) / 2;
	pthread_mutex_init(&t->lock, NULL);
	headers_init(&t->headers);
	kafka_client_join(client, &t->member);
	return &t->base;
}
