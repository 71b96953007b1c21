/*
 * The publisher against a Redis in memory and an array for a database.
 *
 * What must hold at every moment (check_world, called after every single step): a marker that says
 * "complete up to M" under the server's present identity is true; Redis has no version that was not
 * committed, and none with other amounts; publisher_offset does not go back and is never beyond the
 * marker that it rests on.  The last test drives several publishers through random faults with a
 * seed and holds them to that; the tests before it tell the rules one by one.
 */
#include "publisher.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "array_store.h"
#include "currency.h"
#include "log.h"
#include "mem.h"
#include "snapshot_memory.h"

#define PARTITIONS 4
#define CHECK_MS   INT64_C(1000)
#define OWNERS     2
#define PENDING    1000
#define SLICE      ((size_t)4)

/* A balance that got this version by the event at this offset. */
struct change {
	int64_t account_id;
	int64_t offset;
	int64_t version;
};

struct partition_truth {
	struct change *changes;
	size_t count;
	size_t capacity;
	int64_t next_offset;
	int64_t redis_offset; /* as stored by the newest flush */
	int owner;            /* -1: nobody */
	bool began[OWNERS];   /* who thinks that it owns the partition */
	int64_t seen[OWNERS]; /* the newest publisher_offset of each */
};

struct world {
	struct array_table table;
	struct snapshot_memory *server;
	struct publisher *pubs[OWNERS];
	struct publisher_config config;
	struct partition_truth truth[PARTITIONS];
	int64_t now_ms;
	uint64_t random;
	uint64_t publishers; /* made so far: each has a seed of its own */
	unsigned wakes;
	unsigned marker_writes;
	uint64_t probed;                         /* answers that count, in random_probe */
	char marker_at_end[SNAPSHOT_MARKER_MAX]; /* of partition 1, for test_end_during_a_call */
	void (*meanwhile)(struct world *w);      /* what other threads do during a call to Redis */
};

/* The world ------------------------------------------------------------------------------------ */

static struct balance_key key_of(int64_t account_id)
{
	return (struct balance_key){account_id, currency_pack("USDT", 4)};
}

/* What a balance is at a version: nothing else may ever be in Redis. */
static i128 available_of(int64_t account_id, int64_t version)
{
	return (i128)account_id * 1000000 + version;
}

static void wake(void *context)
{
	++*(unsigned *)context;
}

/* A connection to the Redis in memory, during whose calls other threads may do something. */
struct busy {
	struct snapshot base;
	struct snapshot *inner;
	struct world *w;
};

static void meanwhile(struct busy *busy)
{
	if (busy->w->meanwhile)
		busy->w->meanwhile(busy->w);
}

static int busy_connect(struct snapshot *s, struct error *err)
{
	struct busy *busy = (struct busy *)s;

	return busy->inner->ops->connect(busy->inner, err);
}

static void busy_disconnect(struct snapshot *s)
{
	struct busy *busy = (struct busy *)s;

	busy->inner->ops->disconnect(busy->inner);
}

static int busy_identity(
	struct snapshot *s, char ret_identity[SNAPSHOT_IDENTITY_MAX], struct error *err)
{
	struct busy *busy = (struct busy *)s;

	return busy->inner->ops->identity(busy->inner, ret_identity, err);
}

static int busy_read_marker(struct snapshot *s, int32_t partition,
	char ret_marker[SNAPSHOT_MARKER_MAX], struct error *err)
{
	struct busy *busy = (struct busy *)s;
	int r = busy->inner->ops->read_marker(busy->inner, partition, ret_marker, err);

	meanwhile(busy);
	return r;
}

static int busy_write_marker(struct snapshot *s, int32_t partition, const char *expected,
	const char *marker, bool *ret_written, struct error *err)
{
	struct busy *busy = (struct busy *)s;
	int r;

	busy->w->marker_writes++;
	r = busy->inner->ops->write_marker(
		busy->inner, partition, expected, marker, ret_written, err);
	meanwhile(busy);
	return r;
}

static int busy_publish(struct snapshot *s, const struct snapshot_image *images, size_t count,
	size_t *ret_stale, struct error *err)
{
	struct busy *busy = (struct busy *)s;
	int r = busy->inner->ops->publish(busy->inner, images, count, ret_stale, err);

	s->replaced = busy->inner->replaced;
	meanwhile(busy);
	return r;
}

static int busy_read(struct snapshot *s, const struct balance_key *keys, size_t count,
	struct snapshot_image *ret_images, struct error *err)
{
	struct busy *busy = (struct busy *)s;
	int r = busy->inner->ops->read(busy->inner, keys, count, ret_images, err);

	meanwhile(busy);
	return r;
}

static void busy_destroy(struct snapshot *s)
{
	struct busy *busy = (struct busy *)s;

	busy->inner->ops->destroy(busy->inner);
	free(busy);
}

static const struct snapshot_ops busy_ops = {
	.connect = busy_connect,
	.disconnect = busy_disconnect,
	.identity = busy_identity,
	.read_marker = busy_read_marker,
	.write_marker = busy_write_marker,
	.publish = busy_publish,
	.read = busy_read,
	.destroy = busy_destroy,
};

static struct snapshot *busy_open(struct world *w)
{
	struct busy *busy = xcalloc(1, sizeof *busy);

	*busy = (struct busy){{&busy_ops, 0}, snapshot_memory_open(w->server), w};
	return &busy->base;
}

static void start(struct world *w, int owner)
{
	struct publisher_config config = w->config;

	config.seed = ++w->publishers;
	w->pubs[owner] = publisher_create(
		&config, busy_open(w), array_store_create(&w->table), wake, &w->wakes);
}

/* The owner's process dies. */
static void crash(struct world *w, int owner)
{
	publisher_destroy(w->pubs[owner]);
	w->pubs[owner] = NULL;
	for (int32_t i = 0; i < PARTITIONS; i++) {
		w->truth[i].began[owner] = false;
		if (w->truth[i].owner == owner)
			w->truth[i].owner = -1;
	}
}

static void init(struct world *w)
{
	*w = (struct world){
		.config = {PARTITIONS, PENDING, CHECK_MS, SLICE, 0},
		.server = snapshot_memory_create(1),
		.now_ms = 1000000,
		.random = 1,
	};
	array_table_init(&w->table);
	for (int32_t i = 0; i < PARTITIONS; i++)
		w->truth[i].owner = -1;
	start(w, 0);
}

static void finish(struct world *w)
{
	for (int i = 0; i < OWNERS; i++)
		if (w->pubs[i])
			publisher_destroy(w->pubs[i]);
	for (int32_t i = 0; i < PARTITIONS; i++)
		free(w->truth[i].changes);
	snapshot_memory_destroy(w->server);
	array_table_finish(&w->table);
}

static int set_up(void **state)
{
	static struct world world;

	init(&world);
	*state = &world;
	return 0;
}

static int tear_down(void **state)
{
	finish(*state);
	return 0;
}

static int64_t committed_version(const struct world *w, int64_t account_id)
{
	for (size_t i = 0; i < w->table.count; i++)
		if (w->table.rows[i].key.account_id == account_id)
			return w->table.rows[i].balance.version;
	return 0;
}

static int64_t redis_version(const struct world *w, int64_t account_id)
{
	const struct snapshot_image *image = snapshot_memory_find(w->server, key_of(account_id));

	return image ? image->version : 0;
}

/* The rows of a flush as the database has them; accounts belong to partition account_id %
 * PARTITIONS. */
static struct touched change(struct world *w, int64_t account_id)
{
	struct partition_truth *truth = &w->truth[account_id % PARTITIONS];
	int64_t version = committed_version(w, account_id) + 1;
	struct touched touched = {.key = key_of(account_id)};
	struct store_balance row = {.key = touched.key, .partition = account_id % PARTITIONS};

	touched.before.version = version - 1;
	touched.after = (struct balance){
		available_of(account_id, version), 7, version, truth->next_offset};
	row.balance = touched.after;
	row.updated_ms = w->now_ms;
	array_table_put(&w->table, &row);
	if (truth->count == truth->capacity) {
		truth->capacity = truth->capacity ? 2 * truth->capacity : 64;
		truth->changes = xrealloc(truth->changes, truth->capacity * sizeof(struct change));
	}
	truth->changes[truth->count++] = (struct change){account_id, truth->next_offset++, version};
	return touched;
}

/* A flush of the partition's owner that changes accounts first, first + PARTITIONS, ... */
static void commit(struct world *w, int64_t first, size_t count)
{
	struct partition_truth *truth = &w->truth[first % PARTITIONS];
	struct touched touched[64];

	assert_true(count <= 64 && truth->owner >= 0);
	truth->redis_offset = publisher_offset(
		w->pubs[truth->owner], (int32_t)(first % PARTITIONS));
	for (size_t i = 0; i < count; i++)
		touched[i] = change(w, first + (int64_t)i * PARTITIONS);
	publisher_offer(w->pubs[truth->owner], (int32_t)(first % PARTITIONS), touched, count,
		w->now_ms, truth->next_offset);
}

/* The newest images of the accounts that changed at or after the offset. */
static size_t images_from(
	const struct world *w, int32_t partition, int64_t offset, struct snapshot_image *images)
{
	const struct partition_truth *truth = &w->truth[partition];
	size_t count = 0;

	for (size_t i = 0; i < truth->count; i++) {
		const struct change *c = &truth->changes[i];
		size_t at = 0;

		if (c->offset < offset)
			continue;
		while (at < count && images[at].key.account_id != c->account_id)
			at++;
		images[at] = (struct snapshot_image){key_of(c->account_id),
			available_of(c->account_id, c->version), 7, c->version, w->now_ms};
		count += at == count;
	}
	return count;
}

static void begin_with(struct world *w, int owner, int32_t partition, bool rebuild)
{
	struct partition_truth *truth = &w->truth[partition];
	struct snapshot_image *images = xcalloc(truth->count + 1, sizeof *images);
	size_t count = rebuild ? 0 : images_from(w, partition, truth->redis_offset, images);

	publisher_begin(w->pubs[owner], partition, truth->redis_offset, truth->next_offset, images,
		count, rebuild);
	truth->owner = owner;
	truth->began[owner] = true;
	truth->seen[owner] = truth->redis_offset;
	free(images);
}

static void begin(struct world *w, int owner, int32_t partition)
{
	begin_with(w, owner, partition, false);
}

static void end(struct world *w, int owner, int32_t partition)
{
	publisher_end(w->pubs[owner], partition);
	w->truth[partition].began[owner] = false;
	if (w->truth[partition].owner == owner)
		w->truth[partition].owner = -1;
}

static struct publisher_stats stats(const struct world *w, int owner)
{
	struct publisher_stats s;

	publisher_stats(w->pubs[owner], &s);
	return s;
}

/* What must always hold ------------------------------------------------------------------------ */

/* The offset of the partition's marker if it is complete under the server's present identity, or
 * -1. */
static int64_t complete_offset(const struct world *w, int32_t partition)
{
	struct snapshot *s = snapshot_memory_open(w->server);
	bool *unreachable = &snapshot_memory_faults(w->server)->unreachable;
	unsigned *connects = &snapshot_memory_faults(w->server)->connects;
	bool was_unreachable = *unreachable;
	unsigned had_connects = *connects;
	char identity[SNAPSHOT_IDENTITY_MAX];
	char format[SNAPSHOT_MARKER_MAX];
	int64_t offset = -1;

	*unreachable = false;
	*connects = 0;
	assert_int_equal(s->ops->connect(s, NULL), 0);
	assert_int_equal(s->ops->identity(s, identity, NULL), 0);
	s->ops->destroy(s);
	*unreachable = was_unreachable;
	*connects = had_connects;

	snprintf(format, sizeof format, "complete %s %%" SCNd64, identity);
	if (sscanf(snapshot_memory_marker(w->server, partition), format, &offset) != 1)
		return -1;
	return offset;
}

static void check_marker(const struct world *w, int32_t partition)
{
	const struct partition_truth *truth = &w->truth[partition];
	int64_t offset = complete_offset(w, partition);

	assert_true(offset <= truth->next_offset);
	for (size_t i = 0; i < truth->count; i++) {
		const struct change *c = &truth->changes[i];

		if (c->offset < offset && redis_version(w, c->account_id) < c->version)
			fail_msg("marker of partition %d says %" PRId64 ", but account %" PRId64
				 " has version %" PRId64 " and not %" PRId64,
				partition, offset, c->account_id, redis_version(w, c->account_id),
				c->version);
	}
}

static void check_image(void *context, const struct snapshot_image *image)
{
	const struct world *w = context;
	int64_t account_id = image->key.account_id;

	assert_true(image->version <= committed_version(w, account_id));
	assert_true(image->available == available_of(account_id, image->version));
	assert_true(image->frozen == 7);
}

static void check_world(struct world *w)
{
	snapshot_memory_each(w->server, check_image, w);
	for (int32_t i = 0; i < PARTITIONS; i++) {
		check_marker(w, i);
		for (int owner = 0; owner < OWNERS; owner++) {
			int64_t offset;

			if (!w->truth[i].began[owner])
				continue;
			offset = publisher_offset(w->pubs[owner], i);
			assert_true(offset >= w->truth[i].seen[owner]);
			assert_true(offset <= w->truth[i].next_offset);
			w->truth[i].seen[owner] = offset;
		}
	}
	for (int owner = 0; owner < OWNERS; owner++)
		if (w->pubs[owner])
			assert_true(stats(w, owner).pending <= w->config.pending_max);
}

/* Steps ---------------------------------------------------------------------------------------- */

static int64_t step(struct world *w)
{
	int64_t wait_ms = publisher_step(w->pubs[0], w->now_ms);

	assert_true(wait_ms >= 0);
	check_world(w);
	return wait_ms;
}

/* Steps until there is nothing to do for the moment. */
static int64_t run(struct world *w)
{
	int64_t wait_ms;

	for (int i = 0; (wait_ms = step(w)) == 0; i++)
		assert_true(i < 100000);
	return wait_ms;
}

/* Goes on for so long; nothing wakes the publisher. */
static void run_for(struct world *w, int64_t ms)
{
	int64_t end_ms = w->now_ms + ms;

	for (;;) {
		int64_t wait_ms = run(w);

		if (w->now_ms + wait_ms > end_ms)
			break;
		w->now_ms += wait_ms;
	}
	w->now_ms = end_ms;
}

static int64_t offset_of(const struct world *w, int32_t partition)
{
	return publisher_offset(w->pubs[0], partition);
}

/* All that is committed of the partition is in Redis, and the publisher knows it. */
static void assert_complete(const struct world *w, int32_t partition)
{
	for (size_t i = 0; i < w->table.count; i++) {
		const struct store_balance *row = &w->table.rows[i];

		if (row->partition == partition)
			assert_int_equal(
				redis_version(w, row->key.account_id), row->balance.version);
	}
	assert_int_equal(offset_of(w, partition), w->truth[partition].next_offset);
	assert_int_equal(complete_offset(w, partition), w->truth[partition].next_offset);
}

/* An owner that has published `count` accounts of partition 1 and is at rest: accounts 1, 5, 9 ...
 */
static void settle(struct world *w, size_t count)
{
	begin(w, 0, 1);
	commit(w, 1, count);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
}

/* Rounds --------------------------------------------------------------------------------------- */

static void test_newest_version_of_each_balance_is_written_once(void **state)
{
	struct world *w = *state;
	uint64_t before;

	settle(w, 3);
	before = stats(w, 0).published;
	for (int i = 0; i < 10; i++)
		commit(w, 1, 3);
	assert_int_equal(stats(w, 0).pending, 3);
	run_for(w, CHECK_MS);
	assert_int_equal(redis_version(w, 1), 11);
	assert_int_equal(stats(w, 0).published, before + 3);
	assert_int_equal(stats(w, 0).pending, 0);
	assert_complete(w, 1);
}

/* The offset is for the next owner: it may move only when nothing below is missing any more. */
static void test_offset_moves_only_after_the_whole_round(void **state)
{
	struct world *w = *state;
	int64_t before;

	settle(w, 3);
	before = offset_of(w, 1);
	commit(w, 1, SLICE * 3);
	for (int i = 0; stats(w, 0).pending; i++) {
		assert_int_equal(offset_of(w, 1), before);
		assert_int_equal(complete_offset(w, 1), before);
		assert_int_equal(step(w), 0);
		assert_true(i < 20);
	}
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
}

static void test_a_step_writes_one_slice(void **state)
{
	struct world *w = *state;

	settle(w, 1);
	commit(w, 1, SLICE * 5);
	for (int i = 0; stats(w, 0).pending; i++) {
		uint64_t before = stats(w, 0).published;

		step(w);
		assert_true(stats(w, 0).published - before <= SLICE);
		assert_true(i < 20);
	}
}

/* A partition with much to write must not keep the others waiting. */
static void test_partitions_take_turns(void **state)
{
	struct world *w = *state;

	settle(w, 1);
	begin(w, 0, 2);
	run_for(w, 2 * CHECK_MS);
	commit(w, 1, SLICE * 10);
	commit(w, 2, 1);
	for (int i = 0; i < 4; i++)
		step(w);
	assert_int_equal(redis_version(w, 2), 1);
	assert_true(stats(w, 0).pending >= SLICE * 8);
}

static void test_offers_during_a_round_wait_for_the_next(void **state)
{
	struct world *w = *state;

	settle(w, 2 * SLICE);
	commit(w, 1, 2 * SLICE);
	step(w);
	step(w); /* the first half of the round is out */
	commit(w, 1, 2 * SLICE);
	assert_int_equal(stats(w, 0).pending, 4 * SLICE);
	run_for(w, CHECK_MS);
	assert_int_equal(redis_version(w, 1), 3);
	assert_complete(w, 1);
}

static void test_what_did_not_change_is_not_written(void **state)
{
	struct world *w = *state;
	struct touched same = {.key = key_of(1)}; /* a journal row that was refused */
	struct touched never = {.key = key_of(5)};
	struct publisher_stats before;

	settle(w, 1);
	before = stats(w, 0);
	same.before.version = same.after.version = 1;
	w->truth[1].next_offset += 2;
	publisher_offer(w->pubs[0], 1, &same, 1, w->now_ms, w->truth[1].next_offset - 1);
	publisher_offer(w->pubs[0], 1, &never, 1, w->now_ms, w->truth[1].next_offset);
	assert_int_equal(stats(w, 0).pending, 0);
	run_for(w, CHECK_MS);
	assert_int_equal(stats(w, 0).published, before.published);
	assert_complete(w, 1); /* the offset moves nevertheless */
}

static void test_failed_slice_is_sent_again(void **state)
{
	struct world *w = *state;
	int64_t before;

	settle(w, 1);
	before = offset_of(w, 1);
	commit(w, 1, SLICE);
	for (size_t written = 0; written <= SLICE; written++) {
		snapshot_memory_faults(w->server)->publishes = 1;
		snapshot_memory_faults(w->server)->publish_written = written;
		w->now_ms += run(w);
		assert_int_equal(stats(w, 0).failed, written + 1);
		assert_int_equal(offset_of(w, 1), before);
		assert_int_equal(stats(w, 0).pending, SLICE);
	}
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
}

/* Under steady load something always waits; the offset must move on all the same. */
static void test_offset_moves_under_steady_load(void **state)
{
	struct world *w = *state;
	int64_t before;

	settle(w, 1);
	before = offset_of(w, 1);
	for (int i = 0; i < 60; i++) {
		commit(w, 1, SLICE);
		step(w);
		w->now_ms += 20;
		assert_true(stats(w, 0).pending > 0);
	}
	assert_true(offset_of(w, 1) > before + (int64_t)(30 * SLICE));
}

static void test_marker_follows_by_itself_but_not_for_every_round(void **state)
{
	struct world *w = *state;
	unsigned before;

	settle(w, 1);
	before = w->marker_writes;
	for (int i = 0; i < 100; i++) {
		commit(w, 1, 1);
		run(w);
	}
	assert_int_equal(w->marker_writes, before + 1);
	assert_in_range(run(w), 1, PUBLISHER_MARKER_INTERVAL_MS);
	run_for(w, PUBLISHER_MARKER_INTERVAL_MS);
	run(w);
	assert_complete(w, 1);
	assert_int_equal(w->marker_writes, before + 2);
}

static void test_wakes_its_driver(void **state)
{
	struct world *w = *state;
	unsigned before = w->wakes;

	begin(w, 0, 1);
	assert_true(w->wakes > before);
	run(w);
	before = w->wakes;
	commit(w, 1, 1);
	assert_true(w->wakes > before);
}

/* Beginning and ending ------------------------------------------------------------------------- */

/* What a crash kept from being published, the next owner publishes; without reading everything. */
static void test_next_owner_publishes_from_the_stored_offset(void **state)
{
	struct world *w = *state;
	unsigned scans;

	settle(w, 4);
	commit(w, 1, 2); /* stores the offset so far */
	commit(w, 1, 4);
	crash(w, 0);
	scans = w->table.scans;
	start(w, 0);
	begin(w, 0, 1);
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(w->table.scans, scans);
	assert_int_equal(stats(w, 0).published, 4);
}

static void test_first_owner_ever_writes_all(void **state)
{
	struct world *w = *state;

	for (int64_t account_id = 1; account_id < 100; account_id += PARTITIONS)
		change(w, account_id);
	w->truth[1].redis_offset = w->truth[1].next_offset; /* as if Redis were another one */
	begin(w, 0, 1);
	run_for(w, CHECK_MS);
	assert_int_equal(stats(w, 0).rebuilds, 1);
	assert_complete(w, 1);
}

static void test_too_many_to_list_writes_all(void **state)
{
	struct world *w = *state;

	settle(w, 4);
	commit(w, 1, 4);
	end(w, 0, 1);
	begin_with(w, 0, 1, true);
	assert_int_equal(stats(w, 0).rebuilding, 1);
	run_for(w, CHECK_MS);
	assert_int_equal(stats(w, 0).rebuilds, 2); /* the first one is settle's */
	assert_int_equal(stats(w, 0).rebuilding, 0);
	assert_complete(w, 1);
}

/* redis.host was changed to another server and back: the first one is intact, but old. */
static void test_server_that_once_held_a_copy_is_not_trusted(void **state)
{
	struct world *w = *state;
	struct snapshot_memory *first = w->server;
	struct snapshot_memory *second = snapshot_memory_create(2);

	settle(w, 4);
	crash(w, 0);
	w->server = second;
	start(w, 0);
	begin(w, 0, 1);
	commit(w, 1, 4);
	run_for(w, 2 * CHECK_MS);
	commit(w, 5, 1); /* stores the offset that was reached in the second */
	run_for(w, 2 * CHECK_MS);
	crash(w, 0);
	w->server = first;
	start(w, 0);
	begin(w, 0, 1);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	snapshot_memory_destroy(second);
}

/* A clean stop: the last flush reaches Redis although its partition is not ours any more. */
static void test_what_waits_is_written_after_the_end(void **state)
{
	struct world *w = *state;
	int64_t marked;

	settle(w, 4);
	commit(w, 1, 10);
	step(w);
	end(w, 0, 1);
	marked = complete_offset(w, 1);
	run_for(w, CHECK_MS);
	assert_int_equal(redis_version(w, 37), 1);
	assert_int_equal(stats(w, 0).pending, 0);
	assert_int_equal(complete_offset(w, 1), marked); /* is not ours to write */
	begin(w, 0, 1);
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
}

static void test_waiting_of_an_ended_partition_is_dropped_first_without_a_rebuild(void **state)
{
	struct world *w = *state;

	w->config.pending_max = 50;
	crash(w, 0);
	start(w, 0);
	begin(w, 0, 2);
	settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	commit(w, 1, 40);
	end(w, 0, 1);
	commit(w, 2, 20);
	assert_int_equal(stats(w, 0).pending, 20);
	assert_int_equal(stats(w, 0).rebuilding, 0);
	begin(w, 0, 1); /* and the next owner has it from the database */
	snapshot_memory_faults(w->server)->unreachable = false;
	run_for(w, 3 * CHECK_MS);
	assert_complete(w, 1);
	assert_complete(w, 2);
}

/* The slice that is out when a partition ends says nothing about the partition that begins anew. */
static void test_answer_for_an_ended_partition_means_nothing(void **state)
{
	struct world *w = *state;

	settle(w, 2);
	commit(w, 1, 2);
	step(w); /* the slice is taken */
	end(w, 0, 1);
	begin(w, 0, 1);
	commit(w, 9, SLICE);
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
}

/* Without waiting for the next check. */
static void test_begin_reads_the_marker_at_once(void **state)
{
	struct world *w = *state;

	settle(w, 4);
	commit(w, 1, 2);
	end(w, 0, 1);
	begin(w, 0, 1);
	w->now_ms += PUBLISHER_MARKER_INTERVAL_MS;
	run(w);
	assert_complete(w, 1);
}

static void end_and_begin(struct world *w)
{
	w->meanwhile = NULL;
	end(w, 0, 1);
	begin(w, 0, 1);
	commit(w, 9, SLICE);
}

/* Whatever call is under way when a partition ends and begins anew, its answer is not for the new
 * one. */
static void test_partition_begins_anew_during_a_call(void **state)
{
	for (int after = 0; after < 20; after++) {
		struct world *w = *state;

		settle(w, 10);
		snapshot_memory_restart(w->server);
		commit(w, 1, 2);
		for (int i = 0; i < after; i++)
			w->now_ms += step(w);
		w->meanwhile = end_and_begin;
		run_for(w, 2 * CHECK_MS);
		assert_null(w->meanwhile);
		assert_complete(w, 1);
		finish(w);
		init(w);
	}
}

/* Losing Redis --------------------------------------------------------------------------------- */

static void test_emptied_redis_is_noticed_and_filled(void **state)
{
	struct world *w = *state;

	settle(w, 20);
	snapshot_memory_flushall(w->server);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 2);
}

static void test_emptied_redis_stops_the_offset_at_once(void **state)
{
	struct world *w = *state;
	int64_t before;

	settle(w, 20);
	before = offset_of(w, 1);
	snapshot_memory_flushall(w->server);
	commit(w, 1, 1);
	while (snapshot_memory_count(w->server) < 20) {
		assert_int_equal(offset_of(w, 1), before);
		if (step(w) > 0)
			w->now_ms += 10;
	}
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
}

/* Emptied while it was being filled: what came before is gone again. */
static void test_emptied_during_a_rebuild_is_rebuilt_again(void **state)
{
	for (int after = 0; after < 25; after++) {
		struct world *w = *state;

		settle(w, 20);
		snapshot_memory_restart(w->server);
		w->now_ms += CHECK_MS;
		for (int i = 0; i < after; i++)
			w->now_ms += step(w);
		snapshot_memory_flushall(w->server);
		run_for(w, 3 * CHECK_MS);
		assert_complete(w, 1);
		finish(w);
		init(w);
	}
}

static void test_restarted_redis_is_filled(void **state)
{
	struct world *w = *state;

	settle(w, 20);
	commit(w, 1, 3);
	snapshot_memory_restart(w->server);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
}

/* Demoted, resynchronized and promoted again under an open connection: only the identity tells. */
static void test_fail_over_is_noticed_without_a_broken_connection(void **state)
{
	struct world *w = *state;

	settle(w, 4);
	commit(w, 1, 4);
	run_for(w, CHECK_MS);
	snapshot_memory_fail_over(w->server, 3);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 2);
}

static void test_reconnect_looks_who_is_there_before_it_writes(void **state)
{
	struct world *w = *state;

	settle(w, 20);
	snapshot_memory_fail_over(w->server, 3);
	snapshot_memory_cut(w->server);
	commit(w, 1, 1);
	for (int i = 0; stats(w, 0).rebuilding == 0; i++) {
		w->now_ms += step(w);
		assert_true(i < 10);
	}
	assert_true(w->now_ms < 1000000 + 3 * CHECK_MS);
	assert_int_equal(redis_version(w, 1), 1);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
}

static void test_older_copy_is_filled(void **state)
{
	struct world *w = *state;
	struct snapshot_memory_copy *copy;

	settle(w, 10);
	copy = snapshot_memory_save(w->server);
	commit(w, 1, 4);
	run_for(w, CHECK_MS);
	snapshot_memory_restore(w->server, copy);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	snapshot_memory_copy_destroy(copy);
}

static void test_broken_connection_alone_is_no_reason_to_rebuild(void **state)
{
	struct world *w = *state;

	settle(w, 20);
	for (int i = 0; i < 10; i++) {
		commit(w, 1, 2 * SLICE);
		step(w);
		snapshot_memory_cut(w->server);
		run_for(w, 3 * CHECK_MS);
		assert_complete(w, 1);
	}
	assert_int_equal(stats(w, 0).rebuilds, 1);
}

static void test_lost_answer_to_a_marker_is_no_reason_to_rebuild(void **state)
{
	struct world *w = *state;

	settle(w, 20);
	commit(w, 1, 1);
	snapshot_memory_faults(w->server)->markers_unsettled = 1;
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	commit(w, 1, 1);
	snapshot_memory_faults(w->server)->markers_refused = 1;
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 1);
}

/* Rebuilds ------------------------------------------------------------------------------------- */

/* A big enough rebuild of partition 1 that is under way: the token is written, the scan began. */
static void begin_rebuild(struct world *w)
{
	settle(w, 40);
	snapshot_memory_restart(w->server);
	w->now_ms += CHECK_MS;
	for (int i = 0; snapshot_memory_count(w->server) < 10; i++) {
		w->now_ms += step(w);
		assert_true(i < 100);
	}
	assert_int_equal(complete_offset(w, 1), -1);
}

/* Adds balances of a partition that nobody owns here. */
static void add_others(struct world *w, int32_t partition, size_t count)
{
	for (size_t i = 0; i < count; i++)
		change(w, partition + (int64_t)(i * PARTITIONS) + PARTITIONS);
}

static void test_rebuild_writes_only_what_it_is_for(void **state)
{
	struct world *w = *state;
	uint64_t before;

	settle(w, 10);
	add_others(w, 2, 30);
	begin(w, 0, 3);
	commit(w, 3, 10);
	run_for(w, 2 * CHECK_MS);
	before = stats(w, 0).published;
	end(w, 0, 1);
	begin_with(w, 0, 1, true);
	run_for(w, 2 * CHECK_MS);
	assert_int_equal(stats(w, 0).published - before, 10);
	assert_int_equal(redis_version(w, 6), 0);
	assert_complete(w, 1);
	assert_complete(w, 3);
}

static void test_partitions_share_a_scan(void **state)
{
	struct world *w = *state;
	unsigned scans;

	add_others(w, 2, 40);
	scans = w->table.scans;
	for (int32_t i = 0; i < PARTITIONS; i++)
		begin(w, 0, i);
	run_for(w, CHECK_MS);
	assert_int_equal(w->table.scans - scans, 40 / SLICE + 1);
	assert_int_equal(stats(w, 0).rebuilds, PARTITIONS);
	for (int32_t i = 0; i < PARTITIONS; i++)
		assert_complete(w, i);
}

/* One that comes while others are scanned was not scanned from the beginning: it waits. */
static void test_late_partition_has_a_scan_of_its_own(void **state)
{
	struct world *w = *state;

	begin_rebuild(w);
	add_others(w, 2, 5);
	w->truth[2].redis_offset = w->truth[2].next_offset;
	begin(w, 0, 2);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	assert_complete(w, 2);
}

static void test_rounds_go_on_during_a_rebuild(void **state)
{
	struct world *w = *state;

	begin_rebuild(w);
	commit(w, 1 + 39 * PARTITIONS, 1); /* the last one of the scan */
	for (int i = 0; redis_version(w, 1 + 39 * PARTITIONS) < 2; i++) {
		w->now_ms += step(w);
		assert_true(i < 6);
	}
	assert_int_equal(complete_offset(w, 1), -1);
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
}

/* The scan must go on when there is always something newer to write. */
static void test_rebuild_ends_under_steady_load(void **state)
{
	struct world *w = *state;

	begin_rebuild(w);
	for (int i = 0; complete_offset(w, 1) < 0; i++) {
		commit(w, 1, SLICE);
		w->now_ms += step(w);
		assert_true(i < 200);
	}
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
}

static void test_balances_behind_the_scan_are_not_forgotten(void **state)
{
	struct world *w = *state;

	begin_rebuild(w);
	assert_int_equal(redis_version(w, 1), 1);
	commit(w, 1, 1);
	run_for(w, CHECK_MS);
	assert_int_equal(redis_version(w, 1), 2);
	assert_complete(w, 1);
}

static void test_rebuild_goes_on_after_a_broken_connection(void **state)
{
	struct world *w = *state;
	unsigned scans;

	begin_rebuild(w);
	scans = w->table.scans;
	snapshot_memory_cut(w->server);
	run_for(w, 3 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 2);
	assert_true(w->table.scans - scans <= 30 / SLICE + 2);
}

static void test_rebuild_begins_again_on_another_server(void **state)
{
	struct world *w = *state;

	begin_rebuild(w);
	snapshot_memory_fail_over(w->server, 5);
	snapshot_memory_cut(w->server);
	run_for(w, 3 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 3);
}

static void test_next_owner_finishes_a_rebuild(void **state)
{
	struct world *w = *state;

	begin_rebuild(w);
	crash(w, 0);
	start(w, 0);
	begin(w, 0, 1);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 1);
}

static void test_rounds_go_on_while_the_database_is_away(void **state)
{
	struct world *w = *state;

	begin_rebuild(w);
	w->table.failures = 5;
	commit(w, 1, 1);
	for (int i = 0; redis_version(w, 1) < 2; i++) {
		w->now_ms += step(w);
		assert_true(i < 10);
	}
	assert_true(w->table.failures > 0);
	run_for(w, 20 * CHECK_MS);
	assert_int_equal(w->table.failures, 0);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 2);
}

/* Rows of a scan that failed are not used. */
static void test_failed_scan_is_read_again(void **state)
{
	struct world *w = *state;
	uint64_t before;

	begin_rebuild(w);
	before = stats(w, 0).published - snapshot_memory_count(w->server);
	for (int i = 0; i < 3; i++) {
		w->table.failures = 1;
		while (w->table.failures)
			w->now_ms += step(w);
	}
	run_for(w, 10 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).published - before, 40);
}

static void test_scan_ends_with_its_last_partition(void **state)
{
	struct world *w = *state;
	unsigned scans;

	begin_rebuild(w);
	scans = w->table.scans;
	end(w, 0, 1);
	run_for(w, 2 * CHECK_MS);
	assert_true(w->table.scans <= scans + 1);
	begin(w, 0, 1);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
}

/* Limits --------------------------------------------------------------------------------------- */

static void test_too_many_waiting_drops_the_largest_and_rebuilds(void **state)
{
	struct world *w = *state;

	w->config.pending_max = 50;
	crash(w, 0);
	start(w, 0);
	begin(w, 0, 2);
	settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	commit(w, 2, 10);
	commit(w, 1, 40);
	assert_int_equal(stats(w, 0).pending, 50);
	assert_int_equal(stats(w, 0).rebuilding, 0);
	commit(w, 42, 1); /* one too many, of partition 2; but partition 1 has most */
	assert_int_equal(stats(w, 0).pending, 11);
	assert_int_equal(stats(w, 0).rebuilding, 1);
	commit(w, 1, 40);
	commit(w, 161, 40); /* not kept: the scan will see them */
	assert_int_equal(stats(w, 0).pending, 11);
	run_for(w, 3 * CHECK_MS);
	assert_false(stats(w, 0).connected);

	snapshot_memory_faults(w->server)->unreachable = false;
	run_for(w, 4 * CHECK_MS);
	assert_complete(w, 1);
	assert_complete(w, 2);
	assert_int_equal(stats(w, 0).rebuilds, 3); /* two at first */
}

static void test_overflow_during_a_rebuild_begins_it_again(void **state)
{
	struct world *w = *state;

	w->config.pending_max = 50;
	crash(w, 0);
	start(w, 0);
	begin_rebuild(w);
	commit(w, 1, 40);
	commit(w, 161, 40);
	assert_int_equal(stats(w, 0).rebuilding, 1);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).rebuilds, 3);
}

static void overflow(struct world *w)
{
	w->meanwhile = NULL;
	commit(w, 1, 50);
	commit(w, 201, 50);
}

/* What was dropped while a call was under way must not be forgotten because the call went well. */
static void test_overflow_during_a_call(void **state)
{
	for (int after = 0; after < 30; after++) {
		struct world *w = *state;

		w->config.pending_max = 50;
		crash(w, 0);
		start(w, 0);
		settle(w, 10);
		snapshot_memory_flushall(w->server);
		w->now_ms += CHECK_MS;
		for (int i = 0; i < after; i++) {
			if (i == after / 2)
				commit(w, 1, 2);
			w->now_ms += step(w);
		}
		w->meanwhile = overflow;
		run_for(w, 2 * CHECK_MS);
		assert_null(w->meanwhile);
		assert_complete(w, 1);
		finish(w);
		init(w);
	}
}

static void end_all(struct world *w)
{
	w->meanwhile = NULL;
	end(w, 0, 1);
	snprintf(w->marker_at_end, sizeof w->marker_at_end, "%s",
		snapshot_memory_marker(w->server, 1));
}

static void test_end_during_a_call(void **state)
{
	for (int after = 0; after < 20; after++) {
		struct world *w = *state;

		settle(w, 10);
		snapshot_memory_flushall(w->server);
		w->now_ms += CHECK_MS;
		for (int i = 0; i < after; i++)
			w->now_ms += step(w);
		w->meanwhile = end_all;
		run_for(w, 2 * CHECK_MS);
		assert_null(w->meanwhile);
		assert_int_equal(stats(w, 0).rebuilding, 0);
		assert_int_equal(stats(w, 0).pending, 0);
		assert_string_equal(snapshot_memory_marker(w->server, 1), w->marker_at_end);
		finish(w);
		init(w);
	}
}

static void test_backoff_grows_to_its_cap_and_starts_over(void **state)
{
	struct world *w = *state;
	int64_t longest_ms = 0;

	settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	commit(w, 1, 1);
	for (int i = 0; i < 20; i++) {
		int64_t wait_ms = run(w);
		int64_t base_ms = (int64_t)PUBLISHER_BACKOFF_MIN_MS << (i < 10 ? i : 10);

		if (base_ms > PUBLISHER_BACKOFF_MAX_MS)
			base_ms = PUBLISHER_BACKOFF_MAX_MS;
		assert_in_range(wait_ms, base_ms / 2, base_ms);
		assert_int_equal(step(w), wait_ms); /* woken early: the rest of the pause */
		if (wait_ms > longest_ms)
			longest_ms = wait_ms;
		w->now_ms += wait_ms;
	}
	assert_true(longest_ms > PUBLISHER_BACKOFF_MAX_MS / 2);
	snapshot_memory_faults(w->server)->unreachable = false;
	run_for(w, 3 * CHECK_MS);
	assert_complete(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	commit(w, 1, 1);
	assert_in_range(run(w), 1, PUBLISHER_BACKOFF_MIN_MS);
}

/* A server that takes connections and refuses to be written to must not be hammered. */
static void test_backoff_grows_when_only_writing_fails(void **state)
{
	struct world *w = *state;
	int64_t wait_ms = 0;

	settle(w, 1);
	commit(w, 1, 1);
	snapshot_memory_faults(w->server)->publishes = 1000;
	for (int i = 0; i < 10; i++)
		w->now_ms += wait_ms = run(w);
	assert_true(wait_ms >= PUBLISHER_BACKOFF_MAX_MS / 2);
	snapshot_memory_faults(w->server)->publishes = 0;
	run_for(w, 3 * CHECK_MS);
	assert_complete(w, 1);
}

static void test_idle_publisher_sleeps_until_the_next_check(void **state)
{
	struct world *w = *state;

	settle(w, 1);
	run_for(w, CHECK_MS);
	assert_in_range(run(w), 1, CHECK_MS);
	w->now_ms += run(w);
	assert_int_equal(run(w), CHECK_MS);
}

/* Several instances ---------------------------------------------------------------------------- */

static void test_stopped_owner_that_wakes_leaves_the_next_one_alone(void **state)
{
	struct world *w = *state;

	settle(w, 4);
	commit(w, 1, 4);
	step(w); /* stops with a slice in its hands */
	w->truth[1].owner = -1;
	start(w, 1);
	begin(w, 1, 1);
	for (int i = 0; i < 3; i++) {
		commit(w, 1, 4);
		w->now_ms += CHECK_MS;
		for (int j = 0; j < 50; j++)
			publisher_step(w->pubs[1], w->now_ms);
	}
	assert_int_equal(redis_version(w, 1), 5);
	run_for(w, 3 * CHECK_MS); /* and wakes */
	assert_int_equal(redis_version(w, 1), 5);
	assert_int_equal(publisher_offset(w->pubs[1], 1), w->truth[1].next_offset);
	assert_int_equal(stats(w, 0).rebuilds, 1);
	for (int j = 0; j < 50; j++)
		publisher_step(w->pubs[1], w->now_ms);
	assert_int_equal(stats(w, 1).rebuilds, 0);
	assert_true(stats(w, 0).stale > 0);
}

static void run_second(struct world *w)
{
	for (int i = 0; i < 100; i++) {
		publisher_step(w->pubs[1], w->now_ms);
		w->now_ms += 10;
		check_world(w);
	}
}

/* What waited from before is older than what the owner in between has published. */
static void test_partition_comes_back_while_its_last_round_waits(void **state)
{
	struct world *w = *state;

	settle(w, 4);
	commit(w, 1, 4);
	step(w); /* the slice is taken */
	end(w, 0, 1);
	start(w, 1);
	begin(w, 1, 1);
	commit(w, 1, 4);
	run_second(w);
	commit(w, 1, 1); /* stores the offset so far */
	run_second(w);
	end(w, 1, 1);
	begin(w, 0, 1);
	run_for(w, 2 * CHECK_MS);
	assert_complete(w, 1);
}

/* Probes --------------------------------------------------------------------------------------- */

/* Asks for accounts first, first + PARTITIONS, ... as they are committed. */
static void probe(struct world *w, int64_t first, size_t count)
{
	struct publisher_probe probes[PUBLISHER_PROBES_MAX] = {0};

	for (size_t i = 0; i < count; i++) {
		int64_t account_id = first + (int64_t)i * PARTITIONS;
		const struct partition_truth *truth = &w->truth[account_id % PARTITIONS];
		int64_t version = committed_version(w, account_id);

		probes[i].image = (struct snapshot_image){key_of(account_id),
			available_of(account_id, version), 7, version, w->now_ms};
		for (size_t j = 0; j < truth->count; j++)
			if (truth->changes[j].account_id == account_id)
				probes[i].last_offset = truth->changes[j].offset;
	}
	publisher_probe(w->pubs[0], (int32_t)(first % PARTITIONS), probes, count);
}

static size_t answers(struct world *w, struct publisher_probe *probes)
{
	return publisher_probed(w->pubs[0], 1, probes);
}

static void test_probes_are_answered_once(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	unsigned wakes;

	settle(w, 3);
	wakes = w->wakes;
	probe(w, 1, 3);
	assert_true(w->wakes > wakes);
	assert_int_equal(answers(w, probes), 0);
	run(w);
	assert_int_equal(answers(w, probes), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(probes[i].found.key.account_id, 1 + 4 * i);
		assert_int_equal(probes[i].found.version, 1);
		assert_true(probes[i].found.available == available_of(1 + 4 * (int64_t)i, 1));
		assert_true(probes[i].covered);
	}
	assert_int_equal(answers(w, probes), 0);
}

static void test_probe_tells_what_was_changed_by_hand(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	struct snapshot_image gone = {.key = key_of(1)};
	struct snapshot_image ahead = {key_of(5), 1, 2, 3, 4};
	struct snapshot_image strange = {.key = key_of(9), .version = SNAPSHOT_UNREADABLE};

	settle(w, 3);
	snapshot_memory_tamper(w->server, &gone);
	snapshot_memory_tamper(w->server, &ahead);
	snapshot_memory_tamper(w->server, &strange);
	probe(w, 1, 3);
	assert_int_equal(publisher_step(w->pubs[0], w->now_ms), 0);
	assert_int_equal(answers(w, probes), 3);
	assert_int_equal(probes[0].found.version, 0);
	assert_int_equal(probes[1].found.version, 3);
	assert_true(probes[1].found.available == 1 && probes[1].found.frozen == 2);
	assert_int_equal(probes[2].found.version, SNAPSHOT_UNREADABLE);
	for (size_t i = 0; i < 3; i++)
		assert_true(probes[i].covered);
}

/* What waits, is on its way, or has no marker behind it, may be missing. */
static void test_probe_covers_only_what_was_published(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	settle(w, 3);
	commit(w, 1, 2);
	for (int steps = 0; steps < 2; steps++) { /* it waits; it is in a slice */
		probe(w, 1, 3);
		step(w);
		assert_int_equal(answers(w, probes), 3);
		assert_false(probes[0].covered);
		assert_false(probes[1].covered);
		assert_true(probes[2].covered);
		step(w);
	}
	run(w); /* with a marker */
	commit(w, 1, 1);
	run(w); /* too soon for the next one */
	assert_int_equal(stats(w, 0).pending, 0);
	probe(w, 1, 3);
	run(w);
	assert_int_equal(answers(w, probes), 3);
	assert_false(probes[0].covered);
	assert_true(probes[1].covered && probes[2].covered);
	run_for(w, CHECK_MS);
	probe(w, 1, 3);
	run(w);
	assert_int_equal(answers(w, probes), 3);
	assert_true(probes[0].covered && probes[1].covered && probes[2].covered);
}

static void test_first_probe_is_the_one_that_is_answered(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	settle(w, 3);
	probe(w, 1, 1);
	probe(w, 5, 2);
	run(w);
	assert_int_equal(answers(w, probes), 1);
	assert_int_equal(probes[0].found.key.account_id, 1);
}

/* All is missing, and nothing of it is drift: it is being filled. */
static void test_probe_of_an_emptied_redis_means_nothing(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	settle(w, 10);
	snapshot_memory_flushall(w->server);
	probe(w, 1, 10);
	run(w);
	assert_int_equal(answers(w, probes), 0);
	run_for(w, CHECK_MS / 2); /* it was noticed by that, before the next check */
	assert_int_equal(stats(w, 0).rebuilds, 2);
	assert_complete(w, 1);
	probe(w, 1, 10);
	run(w);
	assert_int_equal(answers(w, probes), 10);
}

/* Neither does what a fail-over lost, with the marker that spoke of it. */
static void test_probe_after_a_fail_over_means_nothing(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	settle(w, 4);
	commit(w, 1, 4);
	run_for(w, CHECK_MS / 2);
	assert_complete(w, 1);
	assert_int_equal(snapshot_memory_fail_over(w->server, 3), 3);
	probe(w, 1, 4);
	run(w);
	assert_int_equal(answers(w, probes), 0);
}

static void test_probe_waits_for_a_connection(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	settle(w, 1);
	snapshot_memory_faults(w->server)->unreachable = true;
	probe(w, 1, 1);
	run_for(w, CHECK_MS);
	assert_int_equal(answers(w, probes), 0);
	snapshot_memory_faults(w->server)->unreachable = false;
	run_for(w, 2 * PUBLISHER_BACKOFF_MAX_MS);
	assert_int_equal(answers(w, probes), 1);
}

/* The database has gone back: Redis is ahead of it until the log has brought the same again. */
static void test_probe_behind_the_marker_means_nothing(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	int64_t marker;

	settle(w, 8);
	marker = complete_offset(w, 1);
	publisher_begin(w->pubs[0], 1, marker - 4, marker - 4, NULL, 0, false);
	for (int i = 0; i < 10; i++)
		publisher_step(w->pubs[0], w->now_ms);
	probe(w, 1, 2);
	for (int i = 0; i < 10; i++)
		publisher_step(w->pubs[0], w->now_ms);
	assert_int_equal(answers(w, probes), 0);
	publisher_offer(w->pubs[0], 1, NULL, 0, w->now_ms, marker);
	probe(w, 1, 2);
	for (int i = 0; i < 10; i++)
		publisher_step(w->pubs[0], w->now_ms);
	assert_int_equal(answers(w, probes), 2);
}

static void begin_anew(struct world *w)
{
	w->meanwhile = NULL;
	end(w, 0, 1);
	begin(w, 0, 1);
}

static void test_partition_begins_anew_during_a_probe(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	settle(w, 3);
	probe(w, 1, 3);
	w->meanwhile = begin_anew;
	run(w);
	assert_null(w->meanwhile);
	assert_int_equal(answers(w, probes), 0);
}

static void mend(struct world *w, int64_t account_id, int64_t version)
{
	struct snapshot_image image = {
		key_of(account_id), available_of(account_id, version), 7, version, w->now_ms};

	publisher_mend(w->pubs[0], 1, &image, 1);
}

static void test_mended_is_written_again(void **state)
{
	struct world *w = *state;
	struct snapshot_image gone = {.key = key_of(1)};

	settle(w, 3);
	snapshot_memory_tamper(w->server, &gone);
	mend(w, 1, 1);
	assert_int_equal(stats(w, 0).pending, 1);
	for (int i = 0; stats(w, 0).pending; i++) {
		publisher_step(w->pubs[0], w->now_ms);
		assert_true(i < 10);
	}
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
}

/* Or the same drift would be told twice. */
static void test_probe_does_not_cover_what_is_being_mended(void **state)
{
	struct world *w = *state;
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];

	settle(w, 3);
	mend(w, 1, 1);
	for (int steps = 0; steps < 2; steps++) { /* it waits; it is in a slice */
		probe(w, 1, 3);
		step(w);
		assert_int_equal(answers(w, probes), 3);
		assert_false(probes[0].covered);
		assert_true(probes[1].covered && probes[2].covered);
		step(w);
	}
	assert_int_equal(stats(w, 0).pending, 0);
	probe(w, 1, 3);
	step(w);
	assert_int_equal(answers(w, probes), 3);
	assert_true(probes[0].covered);
}

/* A newer image waits, or is in Redis already. */
static void test_mending_never_goes_back(void **state)
{
	struct world *w = *state;

	settle(w, 1);
	commit(w, 1, 1);
	mend(w, 1, 1);
	assert_int_equal(stats(w, 0).pending, 1);
	run_for(w, CHECK_MS);
	assert_int_equal(redis_version(w, 1), 2);
	mend(w, 1, 1);
	run_for(w, CHECK_MS);
	assert_int_equal(redis_version(w, 1), 2);
	assert_complete(w, 1);
}

static void test_replaced_keys_are_counted(void **state)
{
	struct world *w = *state;
	struct snapshot_image strange = {.key = key_of(5), .version = SNAPSHOT_UNREADABLE};

	settle(w, 3);
	snapshot_memory_tamper(w->server, &strange);
	commit(w, 1, 3);
	while (stats(w, 0).pending)
		publisher_step(w->pubs[0], w->now_ms);
	assert_int_equal(stats(w, 0).replaced, 1);
	run_for(w, CHECK_MS);
	assert_complete(w, 1);
	assert_int_equal(stats(w, 0).replaced, 1);
}

/* Random faults -------------------------------------------------------------------------------- */

static uint64_t random_below(struct world *w, uint64_t bound)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % bound;
}

/* A partition gets an owner: by a hand-over, or from one that does not know it yet. */
static void random_handover(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int owner = (int)random_below(w, OWNERS);
	struct partition_truth *truth = &w->truth[partition];

	if (!w->pubs[owner])
		return;
	if (truth->owner >= 0 && random_below(w, 2))
		end(w, truth->owner, partition);
	begin_with(w, owner, partition, random_below(w, 8) == 0);
}

static void random_crash(struct world *w)
{
	int owner = (int)random_below(w, OWNERS);

	if (w->pubs[owner])
		crash(w, owner);
	start(w, owner);
}

static void random_end(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int owner = (int)random_below(w, OWNERS);

	if (w->truth[partition].began[owner])
		end(w, owner, partition);
}

static void random_commit(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int64_t first = partition + PARTITIONS * (1 + (int64_t)random_below(w, 30));

	if (w->truth[partition].owner >= 0)
		commit(w, first, 1 + random_below(w, 12));
}

static void random_meanwhile(struct world *w)
{
	switch (random_below(w, 8)) {
	case 0:
		random_end(w);
		break;
	case 1:
		random_handover(w);
		break;
	case 2:
	case 3:
		random_commit(w);
		break;
	}
}

static void random_steps(struct world *w)
{
	w->meanwhile = random_below(w, 2) ? random_meanwhile : NULL;
	for (uint64_t i = random_below(w, 12); i; i--) {
		int owner = (int)random_below(w, OWNERS);

		if (w->pubs[owner])
			publisher_step(w->pubs[owner], w->now_ms);
		check_world(w);
	}
	w->meanwhile = NULL;
}

/* A version that an owner once published: whatever happens to Redis, it is never missed there. */
static void random_probe(struct world *w)
{
	int32_t partition = (int32_t)random_below(w, PARTITIONS);
	int owner = (int)random_below(w, OWNERS);
	const struct partition_truth *truth = &w->truth[partition];
	struct publisher_probe probes[PUBLISHER_PROBES_MAX] = {0};
	size_t count;

	if (!w->pubs[owner] || !truth->began[owner])
		return;
	for (count = 0; count < 4 && truth->count; count++) {
		const struct change *c = &truth->changes[random_below(w, truth->count)];

		probes[count].image = (struct snapshot_image){key_of(c->account_id),
			available_of(c->account_id, c->version), 7, c->version, w->now_ms};
		probes[count].last_offset = c->offset;
	}
	publisher_probe(w->pubs[owner], partition, probes, count);
	for (int i = 0; i < 4; i++)
		random_steps(w);
	if (!w->truth[partition].began[owner])
		return;
	count = publisher_probed(w->pubs[owner], partition, probes);
	for (size_t i = 0; i < count; i++) {
		const struct snapshot_image *found = &probes[i].found;

		w->probed += probes[i].covered;
		if (probes[i].covered && found->version < probes[i].image.version)
			fail_msg("account %" PRId64 " is missed in vain: version %" PRId64
				 " of %" PRId64,
				found->key.account_id, found->version, probes[i].image.version);
	}
}

static void random_fault(struct world *w)
{
	struct snapshot_memory_faults *faults = snapshot_memory_faults(w->server);
	struct snapshot_memory_copy *copy;

	switch (random_below(w, 12)) {
	case 0:
		snapshot_memory_flushall(w->server);
		break;
	case 1:
		snapshot_memory_restart(w->server);
		break;
	case 2:
		snapshot_memory_fail_over(w->server, random_below(w, 30));
		break;
	case 3:
		snapshot_memory_fail_over(w->server, random_below(w, 30));
		snapshot_memory_cut(w->server);
		break;
	case 4:
		snapshot_memory_cut(w->server);
		break;
	case 5:
		faults->unreachable = !faults->unreachable;
		break;
	case 6:
		faults->publishes = 1 + (unsigned)random_below(w, 3);
		faults->publish_written = random_below(w, SLICE + 1);
		break;
	case 7:
		faults->markers_refused = 1;
		break;
	case 8:
		faults->markers_unsettled = 1;
		break;
	case 9:
		faults->connects = 1 + (unsigned)random_below(w, 3);
		break;
	case 10:
		w->table.failures = 1 + (unsigned)random_below(w, 3);
		break;
	case 11:
		copy = snapshot_memory_save(w->server);
		random_commit(w);
		random_steps(w);
		snapshot_memory_restore(w->server, copy);
		snapshot_memory_copy_destroy(copy);
		break;
	}
}

static void random_life(struct world *w)
{
	for (int i = 0; i < 150; i++) {
		uint64_t die = random_below(w, 100);

		if (die < 40)
			random_commit(w);
		else if (die < 50)
			random_handover(w);
		else if (die < 53)
			random_crash(w);
		else if (die < 57)
			random_end(w);
		else if (die < 67)
			random_fault(w);
		else if (die < 80)
			random_probe(w);
		w->now_ms += (int64_t)random_below(w, 200);
		check_world(w);
		random_steps(w);
	}
}

/* When everything works again, and each partition has one owner, Redis becomes equal. */
static void heal(struct world *w)
{
	*snapshot_memory_faults(w->server) = (struct snapshot_memory_faults){0};
	w->table.failures = 0;
	for (int owner = 0; owner < OWNERS; owner++)
		if (w->pubs[owner])
			crash(w, owner);
	start(w, 0);
	for (int32_t i = 0; i < PARTITIONS; i++)
		begin(w, 0, i);
	run_for(w, 2 * CHECK_MS);
	for (int32_t i = 0; i < PARTITIONS; i++)
		assert_complete(w, i);
}

static void test_random_faults(void **state)
{
	const char *seed_text = getenv("PUBLISHER_SEED");
	const char *rounds_text = getenv("PUBLISHER_LIVES");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	uint64_t lives = rounds_text ? strtoull(rounds_text, NULL, 10) : 200;

	uint64_t probed = 0;

	(void)state;
	for (uint64_t life = seed; life < seed + lives; life++) {
		static struct world world;

		print_message("# PUBLISHER_SEED=%" PRIu64 " PUBLISHER_LIVES=1\n", life);
		init(&world);
		world.random = life * UINT64_C(0x9e3779b97f4a7c15) | 1;
		world.config.pending_max = 20 + random_below(&world, 60);
		crash(&world, 0);
		start(&world, 0);
		random_life(&world);
		heal(&world);
		finish(&world);
		probed += world.probed;
	}
	print_message("# %" PRIu64 " probes that count\n", probed);
	assert_true(probed >= lives / 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_newest_version_of_each_balance_is_written_once),
		TEST(test_offset_moves_only_after_the_whole_round),
		TEST(test_a_step_writes_one_slice),
		TEST(test_partitions_take_turns),
		TEST(test_offers_during_a_round_wait_for_the_next),
		TEST(test_what_did_not_change_is_not_written),
		TEST(test_failed_slice_is_sent_again),
		TEST(test_offset_moves_under_steady_load),
		TEST(test_marker_follows_by_itself_but_not_for_every_round),
		TEST(test_wakes_its_driver),
		TEST(test_next_owner_publishes_from_the_stored_offset),
		TEST(test_first_owner_ever_writes_all),
		TEST(test_too_many_to_list_writes_all),
		TEST(test_server_that_once_held_a_copy_is_not_trusted),
		TEST(test_what_waits_is_written_after_the_end),
		TEST(test_waiting_of_an_ended_partition_is_dropped_first_without_a_rebuild),
		TEST(test_answer_for_an_ended_partition_means_nothing),
		TEST(test_begin_reads_the_marker_at_once),
		TEST(test_partition_begins_anew_during_a_call),
		TEST(test_emptied_redis_is_noticed_and_filled),
		TEST(test_emptied_redis_stops_the_offset_at_once),
		TEST(test_emptied_during_a_rebuild_is_rebuilt_again),
		TEST(test_restarted_redis_is_filled),
		TEST(test_fail_over_is_noticed_without_a_broken_connection),
		TEST(test_reconnect_looks_who_is_there_before_it_writes),
		TEST(test_older_copy_is_filled),
		TEST(test_broken_connection_alone_is_no_reason_to_rebuild),
		TEST(test_lost_answer_to_a_marker_is_no_reason_to_rebuild),
		TEST(test_rebuild_writes_only_what_it_is_for),
		TEST(test_partitions_share_a_scan),
		TEST(test_late_partition_has_a_scan_of_its_own),
		TEST(test_rounds_go_on_during_a_rebuild),
		TEST(test_rebuild_ends_under_steady_load),
		TEST(test_balances_behind_the_scan_are_not_forgotten),
		TEST(test_rebuild_goes_on_after_a_broken_connection),
		TEST(test_rebuild_begins_again_on_another_server),
		TEST(test_next_owner_finishes_a_rebuild),
		TEST(test_rounds_go_on_while_the_database_is_away),
		TEST(test_failed_scan_is_read_again),
		TEST(test_scan_ends_with_its_last_partition),
		TEST(test_too_many_waiting_drops_the_largest_and_rebuilds),
		TEST(test_overflow_during_a_rebuild_begins_it_again),
		TEST(test_overflow_during_a_call),
		TEST(test_end_during_a_call),
		TEST(test_backoff_grows_to_its_cap_and_starts_over),
		TEST(test_backoff_grows_when_only_writing_fails),
		TEST(test_idle_publisher_sleeps_until_the_next_check),
		TEST(test_stopped_owner_that_wakes_leaves_the_next_one_alone),
		TEST(test_partition_comes_back_while_its_last_round_waits),
		TEST(test_probes_are_answered_once),
		TEST(test_probe_tells_what_was_changed_by_hand),
		TEST(test_probe_covers_only_what_was_published),
		TEST(test_first_probe_is_the_one_that_is_answered),
		TEST(test_probe_of_an_emptied_redis_means_nothing),
		TEST(test_probe_after_a_fail_over_means_nothing),
		TEST(test_probe_waits_for_a_connection),
		TEST(test_probe_behind_the_marker_means_nothing),
		TEST(test_partition_begins_anew_during_a_probe),
		TEST(test_mended_is_written_again),
		TEST(test_probe_does_not_cover_what_is_being_mended),
		TEST(test_mending_never_goes_back),
		TEST(test_replaced_keys_are_counted),
		cmocka_unit_test(test_random_faults),
	};
	struct log log;
	int r;

	log_init(&log, 2, LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT, 0);
	log_use(&log);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	log_finish(&log);
	return r;
}
