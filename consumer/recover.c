/*
 * From a lease to a running partition: a machine of steps, each one question to the database or to
 * the log.  Nothing is written here, so a crash after any step leaves nothing behind.
 *
 *   CONNECT     the reader's connection
 *   STATE       epoch, next_offset, redis_offset: the truth
 *   LAYOUT      is the topic still the one that ledger_meta records?
 *   WATERMARKS  is next_offset in the log?  If not for out_of_range_ms: halt
 *   NEWEST      the newest journal row or dead letter
 *   COMPARE     does the log still say the same at its offset?  If not: halt
 *   OLDEST      the oldest row that the log still has, and the same question: rows of another log
 *               may have been written before anybody noticed, and they would agree with it
 *   IDS         the newest transaction ids
 *   REDIS       what changed since redis_offset goes to Redis
 *   OPEN        read the log from next_offset on
 */
#include "partition_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fetch.h"
#include "mem.h"
#include "newest.h"

#define WATERMARKS_AGAIN_MS 500
#define FAR_BEHIND          4 /* times redis.pending_max offsets without a publish: all is written again */
#define COMPARE_POLL_MS     500

static int64_t next(struct partition *p, enum recover_step step)
{
	p->attempt = 0;
	p->recover_step = step;
	return 0;
}

static int64_t next_offset(const struct partition *p)
{
	return p->prepared->begin_offset;
}

/* After a connection was lost, the step that needed it begins again with a new one. */
static int64_t reader_failed(
	struct partition *p, enum store_result result, const char *what, const struct error *err)
{
	if (result != STORE_HALT)
		p->recover_step = RECOVER_CONNECT;
	return partition_reader_failed(p, result, what, err);
}

static int64_t recover_connect(struct partition *p)
{
	struct store *store = p->edges.reader;
	struct error err;
	enum store_result result = store->ops->connect(store, &err);

	p->reader_connected = result == STORE_OK;
	if (result != STORE_OK)
		return reader_failed(p, result, "connecting to MySQL", &err);
	return next(p, RECOVER_STATE);
}

static int64_t recover_state(struct partition *p)
{
	struct store *store = p->edges.reader;
	struct store_partition row;
	struct error err;
	enum store_result result = store->ops->read_partition(
		store, p->config.partition, &row, &err);

	if (result != STORE_OK)
		return reader_failed(p, result, "reading partition_offsets", &err);
	if (row.epoch != p->config.epoch || row.halted) {
		partition_lose(p, row.epoch != p->config.epoch);
		return 0;
	}
	if (row.redis_offset < 0 || row.redis_offset > row.next_offset)
		return partition_halting(p,
			"partition_offsets has redis_offset %" PRId64
			", which is not between 0 and "
			"next_offset %" PRId64
			": it was set by hand; set it to 0, which writes all of "
			"the partition's balances to Redis again",
			row.redis_offset, row.next_offset);
	atomic_store(&p->committed_offset, row.next_offset);
	atomic_store(&p->in_flight_offset, row.next_offset);
	p->redis_offset = row.redis_offset;
	batch_reset(p->prepared, row.next_offset);
	if (row.next_offset == 0)
		balances_begin_complete(p->ledger.balances);
	gauge_set(&p->edges.metrics->next_offset, row.next_offset);
	return next(p, RECOVER_LAYOUT);
}

static int64_t recover_layout(struct partition *p)
{
	int64_t wait_ms = partition_check_layout(p);

	return wait_ms == 0 ? next(p, RECOVER_WATERMARKS) : wait_ms > 0 ? wait_ms : 0;
}

/* The log contradicts the offset.  It must do so for a while: a broker that just became the leader
 * may not know its log's end yet. */
static int64_t out_of_range(struct partition *p, int64_t low, int64_t high)
{
	int64_t now_ms = p->edges.clock->now_ms(p->edges.clock);

	if (p->out_of_range_since_ms < 0)
		p->out_of_range_since_ms = now_ms;
	if (now_ms - p->out_of_range_since_ms < p->config.out_of_range_ms)
		return WATERMARKS_AGAIN_MS;
	p->out_of_range_since_ms = -1;
	if (next_offset(p) < low)
		return partition_halting(p,
			"next_offset is %" PRId64 ", but the log begins at %" PRId64 ": the events "
			"between are no longer in Kafka; see OPERATIONS, \"Offset out of range\"",
			next_offset(p), low);
	return partition_halting(p,
		"next_offset is %" PRId64 ", but the log ends at %" PRId64
		": the topic was truncated "
		"or made anew; see OPERATIONS, \"Offset out of range\"",
		next_offset(p), high);
}

static int64_t recover_watermarks(struct partition *p)
{
	struct topic *topic = p->edges.topic;
	struct error err;
	int64_t low, high;

	if (topic->ops->watermarks(topic, &low, &high, &err) != 0)
		return partition_kafka_failed(p, "asking Kafka for the log's ends", &err);
	if (next_offset(p) < low || next_offset(p) > high)
		return out_of_range(p, low, high);
	p->out_of_range_since_ms = -1;
	p->log_begin = low;
	p->log_end = high;
	gauge_set(&p->edges.metrics->high_watermark, high);
	return next(p, RECOVER_NEWEST);
}

static int64_t beyond_offset(struct partition *p)
{
	return partition_halting(p,
		"the newest row is at offset %" PRId64 ", but next_offset is %" PRId64
		": partition_offsets was set back by hand; see OPERATIONS, \"Rows beyond the "
		"offset\"",
		p->newest.offset, next_offset(p));
}

static int64_t recover_newest(struct partition *p)
{
	struct store *store = p->edges.reader;
	struct error err;
	enum store_result result;
	int64_t wait_ms;

	newest_forget(&p->newest);
	result = store->ops->read_newest(store, p->config.partition, &p->newest, &err);

	if (result != STORE_OK)
		return reader_failed(p, result, "reading the newest row", &err);
	if (p->newest.found && p->newest.offset >= next_offset(p))
		return fetch_confirm(p, &wait_ms) ? beyond_offset(p) : wait_ms;
	if (!p->newest.found || p->newest.offset < p->log_begin)
		return next(p, RECOVER_IDS);
	return next(p, RECOVER_COMPARE);
}

static int64_t disagrees(struct partition *p)
{
	return partition_halting(p,
		"the log has another message at offset %" PRId64
		" than the database: the topic was "
		"deleted, truncated or made anew; see OPERATIONS, \"Another log\"",
		p->newest.offset);
}

static int64_t compare_open(struct partition *p)
{
	struct topic *topic = p->edges.topic;
	struct error err;

	if (topic->ops->open(topic, p->newest.offset, &err) != 0)
		return partition_kafka_failed(p, "opening the log", &err);
	p->compare_opened = true;
	return 0;
}

static int64_t recover_compare(struct partition *p)
{
	struct topic *topic = p->edges.topic;
	struct topic_item item;

	if (!p->compare_opened)
		return compare_open(p);
	if (topic->ops->poll(topic, COMPARE_POLL_MS, &item, 1) == 0)
		return 0;
	switch (item.kind) {
	case TOPIC_MESSAGE:
		if (!newest_agrees(
			    &p->newest, &item.message, p->config.partition, p->config.partitions))
			return disagrees(p);
		break;
	case TOPIC_END:
		return disagrees(p);
	case TOPIC_OUT_OF_RANGE:
	case TOPIC_GONE:
		p->compare_opened = false;
		p->recover_step = RECOVER_LAYOUT;
		return WATERMARKS_AGAIN_MS;
	}
	topic->ops->close(topic);
	p->compare_opened = false;
	return next(p, p->recover_step == RECOVER_COMPARE ? RECOVER_OLDEST : RECOVER_IDS);
}

static int64_t recover_oldest(struct partition *p)
{
	struct store *store = p->edges.reader;
	int64_t newest_offset = p->newest.offset;
	struct error err;
	enum store_result result;

	newest_forget(&p->newest);
	result = store->ops->read_oldest(
		store, p->config.partition, p->log_begin, &p->newest, &err);
	if (result != STORE_OK)
		return reader_failed(p, result, "reading the oldest row", &err);
	if (!p->newest.found || p->newest.offset == newest_offset)
		return next(p, RECOVER_IDS);
	return next(p, RECOVER_COMPARE_OLDEST);
}

struct primed {
	struct dedupe_id *ids;
	size_t count;
	size_t capacity;
	const struct dedupe_key *key;
};

static void prime(void *context, const struct event *event)
{
	struct primed *primed = context;

	if (primed->count < primed->capacity)
		primed->ids[primed->count++] = dedupe_id(primed->key, event);
}

/* They come newest first and are remembered oldest first. */
static int64_t recover_ids(struct partition *p)
{
	struct store *store = p->edges.reader;
	size_t capacity = p->config.dedupe_prime < p->ledger.ids ? p->config.dedupe_prime
								 : p->ledger.ids;
	struct primed primed = {.capacity = capacity, .key = &p->ledger.key};
	struct error err;
	enum store_result result;

	if (capacity == 0)
		return next(p, RECOVER_REDIS);
	primed.ids = xcalloc(capacity, sizeof *primed.ids);
	result = store->ops->recent_transactions(
		store, p->config.partition, capacity, prime, &primed, &err);
	if (result == STORE_OK)
		while (primed.count > 0)
			ledger_learn(&p->ledger, &primed.ids[--primed.count]);
	free(primed.ids);
	if (result != STORE_OK) {
		dedupe_clear(p->ledger.dedupe);
		return reader_failed(p, result, "reading the newest transactions", &err);
	}
	return next(p, RECOVER_REDIS);
}

struct unpublished {
	struct snapshot_image *images;
	size_t count;
	size_t capacity;
};

static void take_image(void *context, const struct store_balance *row)
{
	struct unpublished *unpublished = context;

	if (unpublished->count == unpublished->capacity) {
		unpublished->capacity = unpublished->capacity ? 2 * unpublished->capacity : 256;
		unpublished->images = xrealloc(
			unpublished->images, unpublished->capacity * sizeof *unpublished->images);
	}
	unpublished->images[unpublished->count++] = (struct snapshot_image){
		.key = row->key,
		.available = row->balance.available,
		.frozen = row->balance.frozen,
		.version = row->balance.version,
		.updated_ms = row->updated_ms,
	};
}

/* Too much to be listed: finding what changed would read more rows than writing all again. */
static bool far_behind(const struct partition *p)
{
	return next_offset(p) - p->redis_offset > FAR_BEHIND * (int64_t)p->config.redis_pending_max;
}

static int64_t recover_redis(struct partition *p)
{
	struct store *store = p->edges.reader;
	struct unpublished unpublished = {0};
	struct error err;
	enum store_result result = STORE_OK;
	bool more = far_behind(p);

	if (!p->edges.publisher)
		return next(p, RECOVER_OPEN);
	if (!more)
		result = store->ops->changed_balances(store, p->config.partition, p->redis_offset,
			p->config.redis_pending_max, take_image, &unpublished, &more, &err);
	if (result == STORE_OK)
		publisher_begin(p->edges.publisher, p->config.partition, p->redis_offset,
			next_offset(p), unpublished.images, unpublished.count, more);
	free(unpublished.images);
	if (result != STORE_OK)
		return reader_failed(p, result, "reading what changed since redis_offset", &err);
	return next(p, RECOVER_OPEN);
}

static int64_t recover_open(struct partition *p)
{
	struct topic *topic = p->edges.topic;
	struct error err;

	if (topic->ops->open(topic, next_offset(p), &err) != 0)
		return partition_kafka_failed(p, "opening the log", &err);
	p->attempt = 0;
	partition_set_state(p, PARTITION_RUNNING, "");
	return 0;
}

static int64_t (*const steps[RECOVER_STEPS])(struct partition *p) = {
	[RECOVER_CONNECT] = recover_connect,
	[RECOVER_STATE] = recover_state,
	[RECOVER_LAYOUT] = recover_layout,
	[RECOVER_WATERMARKS] = recover_watermarks,
	[RECOVER_NEWEST] = recover_newest,
	[RECOVER_COMPARE] = recover_compare,
	[RECOVER_OLDEST] = recover_oldest,
	[RECOVER_COMPARE_OLDEST] = recover_compare,
	[RECOVER_IDS] = recover_ids,
	[RECOVER_REDIS] = recover_redis,
	[RECOVER_OPEN] = recover_open,
};

int64_t recover_turn(struct partition *p)
{
	return steps[p->recover_step](p);
}
