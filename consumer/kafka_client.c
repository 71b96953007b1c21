/*
 * See kafka_client.h.
 *
 * The lock guards members and shown offsets, and is never held while librdkafka is asked for
 * anything that waits.  What the thread alone uses is marked.
 */
#include "kafka_client.h"

#include "clock.h"
#include "log.h"
#include "mem.h"
#include "wakeup.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS            1000 /* the thread looks after itself so often, if nothing wakes it */
#define COMMIT_INTERVAL_MS 1000
#define COMMIT_BACKOFF_MS  10000
#define COMMIT_LAST_MS     1000 /* for the last one, at the end */
#define NUDGE_INTERVAL_MS  20
#define NUDGE_TIMEOUT_MS   100
#define NUDGE_BACKOFF_MS   1000
#define WATCH_INTERVAL_MS  10000
#define WATCH_TIMEOUT_MS   3000
#define NOBODY             INT32_C(-1)

/* An offset that is shown, or is to be. */
struct shown {
	int32_t partition;
	int64_t offset;
	bool changed; /* not committed yet */
};

struct kafka_client {
	const struct config *cfg;
	rd_kafka_t *reader;
	rd_kafka_t *asker;
	rd_kafka_queue_t *reader_queue; /* what is not about one partition */
	rd_kafka_queue_t *asker_queue;

	pthread_t thread;
	struct wakeup wakeup;
	atomic_bool stop;
	atomic_int_least32_t dry; /* the partition that was nudged for last, or NOBODY */
	_Atomic uint64_t strays;
	_Atomic int64_t watch_interval_ms;

	pthread_mutex_t lock;
	struct kafka_member *members;
	uint64_t readers;
	struct shown *shown;
	size_t shown_count;

	/* The thread's. */
	bool committing;
	int64_t commit_at_ms;
	int64_t nudge_at_ms;
	struct log_watch watch;
	int64_t watched_ms; /* when the last look began */
};

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

/* Shown offsets. */

/* The offset's place; a new one if the partition has none.  Locked. */
static struct shown *shown_of(struct kafka_client *client, int32_t partition)
{
	for (size_t i = 0; i < client->shown_count; i++)
		if (client->shown[i].partition == partition)
			return &client->shown[i];
	client->shown = xrealloc(
		client->shown, (client->shown_count + 1) * sizeof(client->shown[0]));
	client->shown[client->shown_count] = (struct shown){.partition = partition, .offset = -1};
	return &client->shown[client->shown_count++];
}

void kafka_client_mirror(struct kafka_client *client, int32_t partition, int64_t next_offset)
{
	struct shown *shown;

	pthread_mutex_lock(&client->lock);
	shown = shown_of(client, partition);
	shown->changed = shown->changed || shown->offset != next_offset;
	shown->offset = next_offset;
	pthread_mutex_unlock(&client->lock);
}

/* A list of what changed, taken for committed from now on; NULL if nothing did. */
static rd_kafka_topic_partition_list_t *take_changed(struct kafka_client *client)
{
	rd_kafka_topic_partition_list_t *list = NULL;

	pthread_mutex_lock(&client->lock);
	for (size_t i = 0; i < client->shown_count; i++) {
		struct shown *shown = &client->shown[i];

		if (!shown->changed)
			continue;
		if (!list)
			list = rd_kafka_topic_partition_list_new((int)client->shown_count);
		rd_kafka_topic_partition_list_add(list, client->cfg->kafka.topic, shown->partition)
			->offset = shown->offset;
		shown->changed = false;
	}
	pthread_mutex_unlock(&client->lock);
	return list;
}

/* Locked. */
static bool is_member(const struct kafka_client *client, int32_t partition)
{
	for (const struct kafka_member *m = client->members; m; m = m->next)
		if (m->partition == partition)
			return true;
	return false;
}

/* What failed is shown later, but only of partitions that are still ours. */
static void show_again(struct kafka_client *client, const rd_kafka_topic_partition_list_t *list)
{
	pthread_mutex_lock(&client->lock);
	for (int i = 0; list && i < list->cnt; i++)
		if (is_member(client, list->elems[i].partition))
			shown_of(client, list->elems[i].partition)->changed = true;
	pthread_mutex_unlock(&client->lock);
}

static void commit_failed(struct kafka_client *client, rd_kafka_resp_err_t code,
	const rd_kafka_topic_partition_list_t *list)
{
	struct error err;

	kafka_error(client->cfg, code, &err, "committing to the group ledger.%s",
		client->cfg->ledger.name);
	log_warn("Kafka's tools do not see our offsets", LS("error", err.text));
	show_again(client, list);
	client->commit_at_ms = now_ms() + COMMIT_BACKOFF_MS;
}

static void take_commit(struct kafka_client *client, rd_kafka_event_t *event)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);

	for (int i = 0; !code && list && i < list->cnt; i++)
		code = list->elems[i].err;
	client->committing = false;
	if (code)
		commit_failed(client, code, list);
}

static void commit_due(struct kafka_client *client, int64_t now)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t code;

	if (client->committing || now < client->commit_at_ms)
		return;
	client->commit_at_ms = now + COMMIT_INTERVAL_MS;
	list = take_changed(client);
	if (!list)
		return;
	code = rd_kafka_commit_queue(client->asker, list, client->asker_queue, NULL, NULL);
	client->committing = code == RD_KAFKA_RESP_ERR_NO_ERROR;
	if (code)
		commit_failed(client, code, list);
	rd_kafka_topic_partition_list_destroy(list);
}

/* What is not about one partition. */

static void stray(struct kafka_client *client, int32_t partition)
{
	atomic_fetch_add(&client->strays, 1);
	log_debug("a message came outside its partition's queue", LI("partition", partition));
	pthread_mutex_lock(&client->lock);
	for (struct kafka_member *m = client->members; m; m = m->next)
		if (m->partition == partition && !atomic_exchange(&m->gone, true))
			m->wake(m);
	pthread_mutex_unlock(&client->lock);
}

/* The asker fetches only for the watch. */
static void take_messages(struct kafka_client *client, rd_kafka_t *rk, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *m;

	while ((m = rd_kafka_event_message_next(event))) {
		struct message message = kafka_client_message(m);

		if (rk == client->asker)
			log_watch_take(&client->watch, m->partition, &message);
		else
			stray(client, m->partition);
	}
}

static void take_error(struct kafka_client *client, rd_kafka_t *rk, rd_kafka_event_t *event)
{
	rd_kafka_topic_partition_t *partition = rd_kafka_event_topic_partition(event);

	if (partition && rk == client->asker)
		log_watch_take_error(
			&client->watch, partition->partition, rd_kafka_event_error(event));
	else
		kafka_log_error(rk, event);
	if (partition)
		rd_kafka_topic_partition_destroy(partition);
}

static void serve(struct kafka_client *client, rd_kafka_t *rk, rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(queue, 0))) {
		switch (rd_kafka_event_type(event)) {
		case RD_KAFKA_EVENT_ERROR:
			take_error(client, rk, event);
			break;
		case RD_KAFKA_EVENT_OFFSET_COMMIT:
			take_commit(client, event);
			break;
		case RD_KAFKA_EVENT_FETCH:
			take_messages(client, rk, event);
			break;
		default:
			break;
		}
		rd_kafka_event_destroy(event);
	}
}

/* Dry partitions. */

void kafka_client_nudge(struct kafka_client *client, int32_t partition)
{
	if (!kafka_refills_at_once() && atomic_exchange(&client->dry, partition) == NOBODY)
		wakeup_ring(&client->wakeup);
}

/* Any request to the partition's broker makes that broker's thread look at its queues again. */
static void nudge_due(struct kafka_client *client, int64_t now)
{
	int64_t low, high;
	int32_t partition;
	rd_kafka_resp_err_t code;

	if (now < client->nudge_at_ms)
		return;
	partition = atomic_exchange(&client->dry, NOBODY);
	if (partition == NOBODY)
		return;
	code = rd_kafka_query_watermark_offsets(
		client->reader, client->cfg->kafka.topic, partition, &low, &high, NUDGE_TIMEOUT_MS);
	client->nudge_at_ms = now_ms() + (code ? NUDGE_BACKOFF_MS : NUDGE_INTERVAL_MS);
}

/* Logs that were made anew. */

/* Locked. */
static struct kafka_member *find_reader(struct kafka_client *client, uint64_t reader_id)
{
	struct kafka_member *m = client->members;

	while (m && m->reader_id != reader_id)
		m = m->next;
	return m;
}

static bool is_looked_for(const struct log_look *looks, size_t count, int32_t partition)
{
	for (size_t i = 0; i < count; i++)
		if (looks[i].partition == partition)
			return true;
	return false;
}

/* What there is to look for; freed by the caller. */
static struct log_look *make_looks(struct kafka_client *client, size_t *ret_count)
{
	struct log_look *looks;
	size_t count = 0;

	pthread_mutex_lock(&client->lock);
	for (const struct kafka_member *m = client->members; m; m = m->next)
		count++;
	looks = xcalloc(count, sizeof(looks[0]));
	*ret_count = 0;
	for (struct kafka_member *m = client->members; m; m = m->next)
		if (m->anchor.held.offset != LOG_MARK_NONE && !atomic_load(&m->gone) &&
			!is_looked_for(looks, *ret_count, m->partition))
			looks[(*ret_count)++] = (struct log_look){.partition = m->partition,
				.reader_id = m->reader_id,
				.mark = m->anchor.held};
	pthread_mutex_unlock(&client->lock);
	return looks;
}

/* Locked. */
static void is_another_log(struct kafka_member *member)
{
	log_error("the log is not the one that was read: was the topic made anew?",
		LI("partition", member->partition), LI("offset", member->anchor.held.offset));
	atomic_store(&member->gone, true);
	member->wake(member);
}

static void begin_look(struct kafka_client *client)
{
	size_t count;
	struct log_look *looks = make_looks(client, &count);

	if (count > 0)
		log_watch_begin(
			&client->watch, client->asker, client->cfg->kafka.topic, looks, count);
	else
		free(looks);
}

/* Locked: after each change of the anchor. */
static void tell_wanted(struct kafka_member *member)
{
	atomic_store(&member->wanted, log_anchor_wants(&member->anchor));
}

static void end_look(struct kafka_client *client)
{
	struct log_watch *watch = &client->watch;

	pthread_mutex_lock(&client->lock);
	for (size_t i = 0; i < watch->count; i++) {
		struct kafka_member *m = find_reader(client, watch->looks[i].reader_id);

		if (!m)
			continue;
		log_anchor_answered(&m->anchor, watch->looks[i].answer);
		tell_wanted(m);
		if (watch->looks[i].answer == LOG_OTHER)
			is_another_log(m);
	}
	pthread_mutex_unlock(&client->lock);
	log_watch_end(watch, client->asker);
}

static void watch_due(struct kafka_client *client, int64_t now)
{
	if (client->watch.looks) {
		if (log_watch_done(&client->watch) || now - client->watched_ms >= WATCH_TIMEOUT_MS)
			end_look(client);
	} else if (now - client->watched_ms >= atomic_load(&client->watch_interval_ms)) {
		client->watched_ms = now;
		begin_look(client);
	}
}

void kafka_client_set_watch_interval(struct kafka_client *client, int64_t interval_ms)
{
	atomic_store(&client->watch_interval_ms, interval_ms);
	wakeup_ring(&client->wakeup);
}

void kafka_client_read(
	struct kafka_client *client, struct kafka_member *member, const struct message *message)
{
	pthread_mutex_lock(&client->lock);
	if (log_anchor_wants(&member->anchor))
		log_anchor_read(&member->anchor, message);
	tell_wanted(member);
	pthread_mutex_unlock(&client->lock);
}

void kafka_client_begins(
	struct kafka_client *client, struct kafka_member *member, int64_t begin_offset)
{
	pthread_mutex_lock(&client->lock);
	log_anchor_begins(&member->anchor, begin_offset);
	pthread_mutex_unlock(&client->lock);
}

void kafka_client_forget(struct kafka_client *client, struct kafka_member *member)
{
	pthread_mutex_lock(&client->lock);
	member->reader_id = ++client->readers;
	log_anchor_init(&member->anchor);
	tell_wanted(member);
	pthread_mutex_unlock(&client->lock);
}

/* The thread. */

static int64_t wait_ms(const struct kafka_client *client, int64_t now)
{
	int64_t interval_ms = atomic_load(&client->watch_interval_ms);
	int64_t wait = interval_ms < IDLE_MS ? interval_ms : IDLE_MS;

	if (atomic_load(&client->dry) != NOBODY && client->nudge_at_ms - now < wait)
		wait = client->nudge_at_ms - now;
	return wait > 0 ? wait : 0;
}

static void serve_all(struct kafka_client *client)
{
	serve(client, client->reader, client->reader_queue);
	serve(client, client->asker, client->asker_queue);
}

static void await_commit(struct kafka_client *client, int64_t until_ms)
{
	while (client->committing && now_ms() < until_ms) {
		wakeup_wait(&client->wakeup, until_ms - now_ms());
		serve_all(client);
	}
}

/* Bounded, and may fail: it is for display only. */
static void commit_last(struct kafka_client *client)
{
	int64_t until_ms = now_ms() + COMMIT_LAST_MS;

	await_commit(client, until_ms);
	client->commit_at_ms = 0;
	commit_due(client, now_ms());
	await_commit(client, until_ms);
}

static void *run(void *context)
{
	struct kafka_client *client = context;

	pthread_setname_np(pthread_self(), "kafka-client");
	while (!atomic_load(&client->stop)) {
		serve_all(client);
		commit_due(client, now_ms());
		nudge_due(client, now_ms());
		watch_due(client, now_ms());
		wakeup_wait(&client->wakeup, wait_ms(client, now_ms()));
	}
	serve_all(client);
	if (client->watch.looks)
		log_watch_end(&client->watch, client->asker);
	commit_last(client);
	return NULL;
}

static void ring(rd_kafka_t *rk, void *context)
{
	struct kafka_client *client = context;

	wakeup_ring(&client->wakeup);
}

/* Errors in a partition's queue. */

static _Thread_local struct kafka_member *taking;

void kafka_client_begin(struct kafka_member *member)
{
	taking = member;
}

void kafka_client_end(void)
{
	taking = NULL;
}

static void on_error(rd_kafka_t *rk, int code, const char *text, void *context)
{
	if (taking && kafka_code((rd_kafka_resp_err_t)code) == -ENOENT) {
		atomic_store(&taking->gone, true);
		rd_kafka_yield(rk); /* the call returns at once */
	} else {
		log_warn("Kafka", LS("client", rd_kafka_name(rk)), LS("detail", text));
	}
}

/* Create and destroy. */

static rd_kafka_queue_t *take_queue(struct kafka_client *client, rd_kafka_t *rk)
{
	rd_kafka_queue_t *queue;

	rd_kafka_poll_set_consumer(rk);
	queue = rd_kafka_queue_get_consumer(rk);
	rd_kafka_queue_cb_event_enable(queue, ring, client);
	return queue;
}

static void drop_queue(rd_kafka_queue_t *queue)
{
	rd_kafka_queue_cb_event_enable(queue, NULL, NULL);
	rd_kafka_queue_destroy(queue);
}

int kafka_client_create(
	const struct config *cfg, struct kafka_client **ret_client, struct error *err)
{
	struct kafka_client *client = xcalloc(1, sizeof(*client));
	int rc = kafka_open(cfg, KAFKA_READER, on_error, &client->reader, err);

	client->cfg = cfg;
	if (rc == 0)
		rc = kafka_open(cfg, KAFKA_ASKER, NULL, &client->asker, err);
	if (rc != 0) {
		kafka_close(client->reader);
		free(client);
		return rc;
	}
	atomic_init(&client->dry, NOBODY);
	atomic_init(&client->watch_interval_ms, WATCH_INTERVAL_MS);
	wakeup_init(&client->wakeup);
	pthread_mutex_init(&client->lock, NULL);
	client->reader_queue = take_queue(client, client->reader);
	client->asker_queue = take_queue(client, client->asker);
	if (pthread_create(&client->thread, NULL, run, client) != 0)
		abort();
	*ret_client = client;
	return 0;
}

void kafka_client_destroy(struct kafka_client *client)
{
	if (!client)
		return;
	assert(!client->members);
	atomic_store(&client->stop, true);
	wakeup_ring(&client->wakeup);
	pthread_join(client->thread, NULL);
	drop_queue(client->reader_queue);
	drop_queue(client->asker_queue);
	kafka_close(client->reader);
	kafka_close(client->asker);
	pthread_mutex_destroy(&client->lock);
	wakeup_finish(&client->wakeup);
	free(client->shown);
	free(client);
}

/* Small things. */

bool kafka_client_failed(struct kafka_client *client, struct error *err)
{
	char text[256];
	rd_kafka_resp_err_t code = rd_kafka_fatal_error(client->reader, text, sizeof(text));

	if (code)
		error_set(err, 0, "the Kafka client failed for good: %s: %s: start again",
			rd_kafka_err2name(code), text);
	return code != RD_KAFKA_RESP_ERR_NO_ERROR;
}

uint64_t kafka_client_strays(const struct kafka_client *client)
{
	return atomic_load(&client->strays);
}

const struct config *kafka_client_config(const struct kafka_client *client)
{
	return client->cfg;
}

rd_kafka_t *kafka_client_reader(const struct kafka_client *client)
{
	return client->reader;
}

rd_kafka_t *kafka_client_asker(const struct kafka_client *client)
{
	return client->asker;
}

void kafka_client_join(struct kafka_client *client, struct kafka_member *member)
{
	kafka_client_forget(client, member);
	pthread_mutex_lock(&client->lock);
	member->next = client->members;
	client->members = member;
	pthread_mutex_unlock(&client->lock);
}

void kafka_client_leave(struct kafka_client *client, struct kafka_member *member)
{
	struct kafka_member **at = &client->members;

	pthread_mutex_lock(&client->lock);
	while (*at != member)
		at = &(*at)->next;
	*at = member->next;
	pthread_mutex_unlock(&client->lock);
}
