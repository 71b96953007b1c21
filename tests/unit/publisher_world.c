/* See publisher_world.h. */
#include "publisher_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "currency.h"
#include "log.h"
#include "mem.h"

/* The world ------------------------------------------------------------------------------------ */

struct balance_key world_key(int64_t account_id)
{
	return (struct balance_key){account_id, currency_pack("USDT", 4)};
}

/* What a balance is at a version: nothing else may ever be in Redis. */
i128 world_available(int64_t account_id, int64_t version)
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

void world_start(struct world *w, int owner)
{
	struct publisher_config config = w->config;

	config.seed = ++w->publishers;
	w->pubs[owner] = publisher_create(
		&config, busy_open(w), array_store_create(&w->table), wake, &w->wakes);
}

/* The owner's process dies. */
void world_crash(struct world *w, int owner)
{
	publisher_destroy(w->pubs[owner]);
	w->pubs[owner] = NULL;
	for (int32_t i = 0; i < PARTITIONS; i++) {
		w->truth[i].began[owner] = false;
		if (w->truth[i].owner == owner)
			w->truth[i].owner = -1;
	}
}

void world_init(struct world *w)
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
	world_start(w, 0);
}

void world_finish(struct world *w)
{
	for (int i = 0; i < OWNERS; i++)
		if (w->pubs[i])
			publisher_destroy(w->pubs[i]);
	for (int32_t i = 0; i < PARTITIONS; i++)
		free(w->truth[i].changes);
	snapshot_memory_destroy(w->server);
	array_table_finish(&w->table);
}

int world_set_up(void **state)
{
	static struct world world;

	world_init(&world);
	*state = &world;
	return 0;
}

int world_tear_down(void **state)
{
	world_finish(*state);
	return 0;
}

static struct log errors;

int world_group_set_up(void **state)
{
	log_init(&errors, 2, LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT, 0);
	log_use(&errors);
	return 0;
}

int world_group_tear_down(void **state)
{
	log_finish(&errors);
	return 0;
}

int64_t world_committed(const struct world *w, int64_t account_id)
{
	for (size_t i = 0; i < w->table.count; i++)
		if (w->table.rows[i].key.account_id == account_id)
			return w->table.rows[i].balance.version;
	return 0;
}

int64_t world_in_redis(const struct world *w, int64_t account_id)
{
	const struct snapshot_image *image = snapshot_memory_find(w->server, world_key(account_id));

	return image ? image->version : 0;
}

/* The rows of a flush as the database has them; accounts belong to partition account_id %
 * PARTITIONS. */
struct touched world_change(struct world *w, int64_t account_id)
{
	struct partition_truth *truth = &w->truth[account_id % PARTITIONS];
	int64_t version = world_committed(w, account_id) + 1;
	struct touched touched = {.key = world_key(account_id)};
	struct store_balance row = {.key = touched.key, .partition = account_id % PARTITIONS};

	touched.before.version = version - 1;
	touched.after = (struct balance){
		world_available(account_id, version), 7, version, truth->next_offset};
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
void world_commit(struct world *w, int64_t first, size_t count)
{
	struct partition_truth *truth = &w->truth[first % PARTITIONS];
	struct touched touched[64];

	assert_true(count <= 64 && truth->owner >= 0);
	truth->redis_offset = publisher_offset(
		w->pubs[truth->owner], (int32_t)(first % PARTITIONS));
	for (size_t i = 0; i < count; i++)
		touched[i] = world_change(w, first + (int64_t)i * PARTITIONS);
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
		images[at] = (struct snapshot_image){world_key(c->account_id),
			world_available(c->account_id, c->version), 7, c->version, w->now_ms};
		count += at == count;
	}
	return count;
}

void world_begin_with(struct world *w, int owner, int32_t partition, bool rebuild)
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

void world_begin(struct world *w, int owner, int32_t partition)
{
	world_begin_with(w, owner, partition, false);
}

void world_end(struct world *w, int owner, int32_t partition)
{
	publisher_end(w->pubs[owner], partition);
	w->truth[partition].began[owner] = false;
	if (w->truth[partition].owner == owner)
		w->truth[partition].owner = -1;
}

struct publisher_stats world_stats(const struct world *w, int owner)
{
	struct publisher_stats s;

	publisher_stats(w->pubs[owner], &s);
	return s;
}

/* What must always hold ------------------------------------------------------------------------ */

/* The offset of the partition's marker if it is complete under the server's present identity, or
 * -1. */
int64_t world_marker(const struct world *w, int32_t partition)
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
	int64_t offset = world_marker(w, partition);

	assert_true(offset <= truth->next_offset);
	for (size_t i = 0; i < truth->count; i++) {
		const struct change *c = &truth->changes[i];

		if (c->offset < offset && world_in_redis(w, c->account_id) < c->version)
			fail_msg("marker of partition %d says %" PRId64 ", but account %" PRId64
				 " has version %" PRId64 " and not %" PRId64,
				partition, offset, c->account_id, world_in_redis(w, c->account_id),
				c->version);
	}
}

static void check_image(void *context, const struct snapshot_image *image)
{
	const struct world *w = context;
	int64_t account_id = image->key.account_id;

	assert_true(image->version <= world_committed(w, account_id));
	assert_true(image->available == world_available(account_id, image->version));
	assert_true(image->frozen == 7);
}

void world_check(struct world *w)
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
			assert_true(world_stats(w, owner).pending <= w->config.pending_max);
}

/* Steps ---------------------------------------------------------------------------------------- */

int64_t world_step(struct world *w)
{
	int64_t wait_ms = publisher_step(w->pubs[0], w->now_ms);

	assert_true(wait_ms >= 0);
	world_check(w);
	return wait_ms;
}

/* Steps until there is nothing to do for the moment. */
int64_t world_run(struct world *w)
{
	int64_t wait_ms;

	for (int i = 0; (wait_ms = world_step(w)) == 0; i++)
		assert_true(i < 100000);
	return wait_ms;
}

/* Goes on for so long; nothing wakes the publisher. */
void world_run_for(struct world *w, int64_t ms)
{
	int64_t end_ms = w->now_ms + ms;

	for (;;) {
		int64_t wait_ms = world_run(w);

		if (w->now_ms + wait_ms > end_ms)
			break;
		w->now_ms += wait_ms;
	}
	w->now_ms = end_ms;
}

int64_t world_offset(const struct world *w, int32_t partition)
{
	return publisher_offset(w->pubs[0], partition);
}

/* All that is committed of the partition is in Redis, and the publisher knows it. */
void world_assert_complete(const struct world *w, int32_t partition)
{
	for (size_t i = 0; i < w->table.count; i++) {
		const struct store_balance *row = &w->table.rows[i];

		if (row->partition == partition)
			assert_int_equal(
				world_in_redis(w, row->key.account_id), row->balance.version);
	}
	assert_int_equal(world_offset(w, partition), w->truth[partition].next_offset);
	assert_int_equal(world_marker(w, partition), w->truth[partition].next_offset);
}

/* An owner that has published `count` accounts of partition 1 and is at rest: accounts 1, 5, 9 ...
 */
void world_settle(struct world *w, size_t count)
{
	world_begin(w, 0, 1);
	world_commit(w, 1, count);
	world_run_for(w, 2 * CHECK_MS);
	world_assert_complete(w, 1);
}

/* A big enough rebuild of partition 1 that is under way: the token is written, the scan began. */
void world_begin_rebuild(struct world *w)
{
	world_settle(w, 40);
	snapshot_memory_restart(w->server);
	w->now_ms += CHECK_MS;
	for (int i = 0; snapshot_memory_count(w->server) < 10; i++) {
		w->now_ms += world_step(w);
		assert_true(i < 100);
	}
	assert_int_equal(world_marker(w, 1), -1);
}
