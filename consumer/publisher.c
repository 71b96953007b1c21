/*
 * See publisher.h.  This is the partitions' side: what they offer, and how far it is published.
 */
#include "publisher_private.h"

#include <assert.h>
#include <stdlib.h>

#include "log.h"
#include "mem.h"

#define PREFETCH_DISTANCE 8
#define NEVER_MS          (INT64_MIN / 2)

static void publication_init(struct publication *p, uint64_t seed)
{
	*p = (struct publication){.marker_offset = -1, .marker_ms = NEVER_MS};
	image_map_init(&p->pending, seed);
	image_map_init(&p->round, seed);
}

static void publication_finish(struct publication *p)
{
	image_map_finish(&p->pending);
	image_map_finish(&p->round);
}

struct publisher *publisher_create(const struct publisher_config *config, struct snapshot *snapshot,
	struct store *store, void (*wake)(void *), void *wake_context)
{
	struct publisher *pub = xcalloc(1, sizeof *pub);
	size_t partitions = (size_t)config->partitions;

	assert(config->partitions > 0 && config->pending_max > 0 && config->check_interval_ms > 0);
	pub->config = *config;
	pub->snapshot = snapshot;
	pub->store = store;
	pub->wake = wake;
	pub->wake_context = wake_context;
	pub->random = config->seed;
	pthread_mutex_init(&pub->lock, NULL);
	pub->publications = xcalloc(partitions, sizeof *pub->publications);
	for (size_t i = 0; i < partitions; i++)
		publication_init(&pub->publications[i], config->seed);
	pub->slice.max = config->slice_max ? config->slice_max : PUBLISHER_SLICE_DEFAULT;
	pub->slice.images = xcalloc(pub->slice.max, sizeof *pub->slice.images);
	pub->slice.parts = xcalloc(partitions, sizeof *pub->slice.parts);
	pub->scan.members = xcalloc(partitions, sizeof *pub->scan.members);
	return pub;
}

void publisher_destroy(struct publisher *pub)
{
	for (int32_t i = 0; i < pub->config.partitions; i++)
		publication_finish(&pub->publications[i]);
	pub->snapshot->ops->destroy(pub->snapshot);
	pub->store->ops->destroy(pub->store);
	pthread_mutex_destroy(&pub->lock);
	free(pub->publications);
	free(pub->slice.images);
	free(pub->slice.parts);
	free(pub->scan.members);
	free(pub);
}

size_t publisher_bytes_max(const struct publisher_config *config)
{
	size_t slice = config->slice_max ? config->slice_max : PUBLISHER_SLICE_DEFAULT;
	size_t a_partition = sizeof(struct publication) + sizeof(struct slice_part) + sizeof(bool);

	return sizeof(struct publisher) + (size_t)config->partitions * a_partition +
	       (config->pending_max + 1) * IMAGE_MAP_BYTES_MAX +
	       slice * sizeof(struct snapshot_image);
}

static struct publication *publication_of(const struct publisher *pub, int32_t partition)
{
	assert(partition >= 0 && partition < pub->config.partitions);
	return &pub->publications[partition];
}

bool publication_keeps(const struct publication *p)
{
	return p->sync == SYNC_UNCHECKED || p->sync == SYNC_COMPLETE || p->sync == SYNC_SCANNING ||
	       p->sync == SYNC_SCANNED;
}

static size_t waiting_of(const struct publication *p)
{
	return p->pending.count + p->round.count;
}

void publication_drop(struct publisher *pub, struct publication *p)
{
	assert(pub->waiting >= waiting_of(p));
	pub->waiting -= waiting_of(p);
	image_map_clear(&p->pending);
	image_map_clear(&p->round);
	p->round_taken = 0;
	p->round_written = 0;
	p->generation++;
}

void publication_want_rebuild(struct publisher *pub, struct publication *p)
{
	assert(p->sync != SYNC_IDLE);
	publication_drop(pub, p);
	p->sync = SYNC_WANTED;
}

void publication_advance(struct publication *p)
{
	int64_t covered;

	if (publication_keeps(p) && waiting_of(p) == 0)
		p->reached = p->offered;
	covered = p->reached < p->marker_offset ? p->reached : p->marker_offset;
	if (p->sync == SYNC_COMPLETE && covered > p->published)
		p->published = covered;
	assert(p->published <= p->offered && p->reached <= p->offered);
}

/* Drops the partition for which most waits. */
static void drop_largest(struct publisher *pub)
{
	struct publication *largest = &pub->publications[0];

	for (int32_t i = 1; i < pub->config.partitions; i++)
		if (waiting_of(&pub->publications[i]) > waiting_of(largest))
			largest = &pub->publications[i];
	if (largest->sync == SYNC_IDLE)
		publication_drop(pub, largest);
	else
		publication_want_rebuild(pub, largest);
}

/* Takes an image in; `*dropped` becomes true if a partition had to be dropped for it. */
static void put(struct publisher *pub, struct publication *p, const struct snapshot_image *image,
	bool *dropped)
{
	enum image_put result = image_map_put(&p->pending, image);

	assert(image->version > 0 && image->version < SNAPSHOT_VERSION_END);
	assert(result != IMAGE_STALE); /* offers come in the order of their commits */
	if (result == IMAGE_ADDED && ++pub->waiting > pub->config.pending_max) {
		drop_largest(pub);
		*dropped = true;
	}
	assert(pub->waiting <= pub->config.pending_max);
}

static void warn_dropped(const struct publisher *pub)
{
	log_warn("too many balances wait for redis: those of a partition were dropped, and will "
		 "all be "
		 "read from the database and written again",
		LU("pending_max", pub->config.pending_max));
}

static void put_images(struct publisher *pub, struct publication *p,
	const struct snapshot_image *images, size_t count, bool *dropped)
{
	for (size_t i = 0; i < count && publication_keeps(p); i++)
		if (images[i].version > 0)
			put(pub, p, &images[i], dropped);
}

void publisher_begin(struct publisher *pub, int32_t partition, int64_t redis_offset,
	int64_t next_offset, const struct snapshot_image *images, size_t count, bool rebuild)
{
	struct publication *p = publication_of(pub, partition);
	bool dropped = false;

	assert(0 <= redis_offset && redis_offset <= next_offset);
	pthread_mutex_lock(&pub->lock);
	publication_drop(pub, p);
	p->sync = rebuild ? SYNC_WANTED : SYNC_UNCHECKED;
	p->offered = next_offset;
	p->reached = redis_offset;
	p->published = redis_offset;
	p->check_due = true;
	p->marker_offset = -1;
	p->probing.count = 0;
	put_images(pub, p, images, count, &dropped);
	publication_advance(p);
	pthread_mutex_unlock(&pub->lock);

	if (dropped)
		warn_dropped(pub);
	pub->wake(pub->wake_context);
}

static bool changed(const struct touched *touched)
{
	return touched->after.version != touched->before.version;
}

/* Room at once for all that a flush changed, if nothing waits yet. */
static void make_room(
	struct publisher *pub, struct publication *p, const struct touched *touched, size_t count)
{
	size_t room = pub->config.pending_max - pub->waiting + 1;
	size_t need = 0;

	if (p->pending.count)
		return;
	for (size_t i = 0; i < count; i++)
		need += changed(&touched[i]);
	image_map_reserve(&p->pending, need < room ? need : room);
}

static void put_touched(struct publisher *pub, struct publication *p, const struct touched *touched,
	size_t count, int64_t updated_ms, bool *dropped)
{
	make_room(pub, p, touched, count);
	for (size_t i = 0; i < count && publication_keeps(p); i++) {
		const struct touched *t = &touched[i];

		if (i + PREFETCH_DISTANCE < count)
			image_map_prefetch(&p->pending, touched[i + PREFETCH_DISTANCE].key);
		if (changed(t))
			put(pub, p,
				&(struct snapshot_image){t->key, t->after.available,
					t->after.frozen, t->after.version, updated_ms},
				dropped);
	}
}

void publisher_offer(struct publisher *pub, int32_t partition, const struct touched *touched,
	size_t count, int64_t updated_ms, int64_t next_offset)
{
	struct publication *p = publication_of(pub, partition);
	bool dropped = false;

	pthread_mutex_lock(&pub->lock);
	assert(p->sync != SYNC_IDLE && next_offset >= p->offered);
	p->offered = next_offset;
	if (publication_keeps(p))
		put_touched(pub, p, touched, count, updated_ms, &dropped);
	publication_advance(p);
	pthread_mutex_unlock(&pub->lock);

	if (dropped)
		warn_dropped(pub);
	pub->wake(pub->wake_context);
}

void publisher_end(struct publisher *pub, int32_t partition)
{
	struct publication *p = publication_of(pub, partition);

	pthread_mutex_lock(&pub->lock);
	p->sync = SYNC_IDLE;
	p->check_due = false;
	pthread_mutex_unlock(&pub->lock);
}

void publisher_probe(struct publisher *pub, int32_t partition, const struct publisher_probe *probes,
	size_t count)
{
	struct publication *p = publication_of(pub, partition);
	struct probing *probing = &p->probing;

	assert(count <= PUBLISHER_PROBES_MAX);
	pthread_mutex_lock(&pub->lock);
	assert(p->sync != SYNC_IDLE);
	if (probing->count == 0 || probing->answered) {
		for (size_t i = 0; i < count; i++)
			probing->probes[i] = probes[i];
		probing->count = count;
		probing->answered = false;
	}
	pthread_mutex_unlock(&pub->lock);
	pub->wake(pub->wake_context);
}

size_t publisher_probed(struct publisher *pub, int32_t partition,
	struct publisher_probe ret_probes[PUBLISHER_PROBES_MAX])
{
	struct probing *probing = &publication_of(pub, partition)->probing;
	size_t count;

	pthread_mutex_lock(&pub->lock);
	count = probing->answered ? probing->count : 0;
	for (size_t i = 0; i < count; i++)
		ret_probes[i] = probing->probes[i];
	if (count)
		*probing = (struct probing){0};
	pthread_mutex_unlock(&pub->lock);
	return count;
}

static bool newer_waits(const struct publication *p, const struct snapshot_image *image)
{
	const struct snapshot_image *waiting = image_map_find(&p->pending, image->key);

	return waiting && waiting->version > image->version;
}

void publisher_mend(
	struct publisher *pub, int32_t partition, const struct snapshot_image *images, size_t count)
{
	struct publication *p = publication_of(pub, partition);
	bool dropped = false;

	pthread_mutex_lock(&pub->lock);
	assert(p->sync != SYNC_IDLE);
	for (size_t i = 0; i < count && publication_keeps(p); i++)
		if (!newer_waits(p, &images[i]))
			put(pub, p, &images[i], &dropped);
	pthread_mutex_unlock(&pub->lock);

	if (dropped)
		warn_dropped(pub);
	pub->wake(pub->wake_context);
}

int64_t publisher_offset(const struct publisher *pub, int32_t partition)
{
	const struct publication *p = publication_of(pub, partition);
	pthread_mutex_t *lock = (pthread_mutex_t *)&pub->lock;
	int64_t offset;

	pthread_mutex_lock(lock);
	assert(p->sync != SYNC_IDLE);
	offset = p->published;
	pthread_mutex_unlock(lock);
	return offset;
}

void publisher_stats(const struct publisher *pub, struct publisher_stats *ret_stats)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&pub->lock;

	pthread_mutex_lock(lock);
	*ret_stats = pub->stats;
	ret_stats->pending = pub->waiting;
	ret_stats->rebuilding = 0;
	for (int32_t i = 0; i < pub->config.partitions; i++)
		ret_stats->rebuilding += pub->publications[i].sync >= SYNC_WANTED;
	pthread_mutex_unlock(lock);
}
