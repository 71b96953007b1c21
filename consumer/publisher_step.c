/*
 * See publisher.h.  This is the driver's side: publisher_step, and what it does, in that order.
 *
 *     connect -> identity -> markers read -> tokens -> markers written -> probes
 *         -> a slice written or taken
 *
 * A partition's marker is one of
 *
 *     complete <identity> <offset>   on this server, all that changed below the offset is there
 *     rebuild <seed>-<number>        a token: somebody is writing all balances
 */
#include "publisher_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

/* Failures and when to try again --------------------------------------------------------------- */

static uint64_t next_random(struct publisher *pub)
{
	uint64_t x = pub->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Twice as long each time; a random half of it, so that instances do not come back as one. */
static int64_t backoff_wait(struct publisher *pub, struct backoff *backoff, int64_t now_ms)
{
	int64_t wait_ms = PUBLISHER_BACKOFF_MIN_MS;

	for (unsigned i = 0; i < backoff->attempt && wait_ms < PUBLISHER_BACKOFF_MAX_MS; i++)
		wait_ms *= 2;
	if (wait_ms > PUBLISHER_BACKOFF_MAX_MS)
		wait_ms = PUBLISHER_BACKOFF_MAX_MS;
	wait_ms -= (int64_t)(next_random(pub) % (uint64_t)(wait_ms / 2 + 1));
	backoff->attempt++;
	backoff->until_ms = now_ms + wait_ms;
	return wait_ms;
}

static void set_connected(struct publisher *pub, bool connected)
{
	pub->connected = connected;
	pthread_mutex_lock(&pub->lock);
	pub->stats.connected = connected;
	pthread_mutex_unlock(&pub->lock);
}

/* Whatever it was: what waits goes on waiting, and a new connection looks at the server again. */
static int64_t redis_failed(
	struct publisher *pub, const char *what, const struct error *err, int64_t now_ms)
{
	int64_t wait_ms = backoff_wait(pub, &pub->backoff, now_ms);

	pub->snapshot->ops->disconnect(pub->snapshot);
	set_connected(pub, false);
	log_warn("redis failed; balances wait, and are sent again", LS("doing", what),
		LS("error", err->text), LI("retry_ms", wait_ms));
	return wait_ms;
}

static void store_failed(struct publisher *pub, const struct error *err, int64_t now_ms)
{
	int64_t wait_ms = backoff_wait(pub, &pub->store_backoff, now_ms);

	pub->store->ops->disconnect(pub->store);
	pub->store_connected = false;
	log_warn("the rebuild of redis waits for the database", LS("error", err->text),
		LI("retry_ms", wait_ms));
}

/* Connecting, and who the server is ------------------------------------------------------------ */

static int64_t connect_redis(struct publisher *pub, int64_t now_ms)
{
	struct error err;

	if (now_ms < pub->backoff.until_ms)
		return pub->backoff.until_ms - now_ms;
	if (pub->snapshot->ops->connect(pub->snapshot, &err) < 0)
		return redis_failed(pub, "connecting", &err, now_ms);
	set_connected(pub, true);
	pub->greeted = false;
	pub->check_at_ms = now_ms;
	return 0;
}

/* Nothing that was written counts any more. */
static int want_rebuild_all(struct publisher *pub)
{
	int partitions = 0;

	for (int32_t i = 0; i < pub->config.partitions; i++) {
		if (pub->publications[i].sync != SYNC_IDLE) {
			publication_want_rebuild(pub, &pub->publications[i]);
			partitions++;
		}
	}
	return partitions;
}

static void become_another(struct publisher *pub)
{
	int partitions;

	pthread_mutex_lock(&pub->lock);
	partitions = want_rebuild_all(pub);
	pthread_mutex_unlock(&pub->lock);
	log_warn("redis was restarted or has failed over: all balances are written again",
		LI("partitions", partitions));
}

static int64_t check_identity(struct publisher *pub, int64_t now_ms)
{
	char identity[SNAPSHOT_IDENTITY_MAX];
	struct error err;

	if (pub->snapshot->ops->identity(pub->snapshot, identity, &err) < 0)
		return redis_failed(pub, "asking who it is", &err, now_ms);
	assert(*identity && !strchr(identity, ' '));
	if (strcmp(identity, pub->identity) != 0) {
		if (*pub->identity)
			become_another(pub);
		memcpy(pub->identity, identity, sizeof pub->identity);
	}
	if (!pub->greeted)
		log_info("connected to redis", LS("identity", identity));
	pub->greeted = true;
	pub->check_at_ms = now_ms + pub->config.check_interval_ms;
	pthread_mutex_lock(&pub->lock);
	for (int32_t i = 0; i < pub->config.partitions; i++)
		pub->publications[i].check_due = pub->publications[i].sync != SYNC_IDLE;
	pthread_mutex_unlock(&pub->lock);
	return 0;
}

/* Markers -------------------------------------------------------------------------------------- */

/* A marker that is to be read or replaced: what of the publication must hold afterwards still. */
struct marker_job {
	int32_t partition;
	uint64_t generation;
	char expected[SNAPSHOT_MARKER_MAX];
	char text[SNAPSHOT_MARKER_MAX];
	int64_t offset; /* that the text speaks of */
};

static bool needs_check(const struct publication *p, int64_t now_ms)
{
	return p->check_due;
}

static bool needs_token(const struct publication *p, int64_t now_ms)
{
	return p->sync == SYNC_WANTED;
}

static bool needs_marker(const struct publication *p, int64_t now_ms)
{
	return p->sync == SYNC_SCANNED ||
	       (p->sync == SYNC_COMPLETE && p->reached > p->marker_offset &&
		       now_ms >= p->marker_ms + PUBLISHER_MARKER_INTERVAL_MS);
}

/* The first partition that is in need. */
static bool find_job(struct publisher *pub,
	bool (*needs)(const struct publication *p, int64_t now_ms), int64_t now_ms,
	struct marker_job *ret_job)
{
	bool found = false;

	pthread_mutex_lock(&pub->lock);
	for (int32_t i = 0; i < pub->config.partitions && !found; i++) {
		const struct publication *p = &pub->publications[i];

		if (p->sync == SYNC_IDLE || !needs(p, now_ms))
			continue;
		found = true;
		ret_job->partition = i;
		ret_job->generation = p->generation;
		ret_job->offset = p->reached;
		memcpy(ret_job->expected, p->marker, sizeof p->marker);
	}
	pthread_mutex_unlock(&pub->lock);
	return found;
}

/* The publication if it is still the one that the job was for, or NULL.  With the lock held. */
static struct publication *job_publication(struct publisher *pub, const struct marker_job *job)
{
	struct publication *p = &pub->publications[job->partition];

	return p->sync != SYNC_IDLE && p->generation == job->generation ? p : NULL;
}

/* The offset of a marker that says "complete" for this server, else -1. */
static int64_t marker_offset(const struct publisher *pub, const char *marker)
{
	static const char complete[] = "complete ";
	size_t length = strlen(pub->identity);
	char *end;
	long long offset;

	if (strncmp(marker, complete, sizeof complete - 1) != 0)
		return -1;
	marker += sizeof complete - 1;
	if (strncmp(marker, pub->identity, length) != 0 || marker[length] != ' ')
		return -1;
	offset = strtoll(marker + length + 1, &end, 10);
	return *end == '\0' && offset >= 0 ? offset : -1;
}

static void set_marker(
	struct publisher *pub, struct publication *p, const char marker[SNAPSHOT_MARKER_MAX])
{
	memcpy(p->marker, marker, sizeof p->marker);
	p->marker_offset = marker_offset(pub, marker);
}

/* Whether the marker that was read is one under which the publication may go on. */
static bool marker_holds(const struct publication *p, bool same)
{
	switch (p->sync) {
	case SYNC_UNCHECKED:
	case SYNC_COMPLETE: /* another than ours: of another owner, who has published more */
		return p->marker_offset >= p->published;
	case SYNC_TOKEN:
	case SYNC_SCANNING:
	case SYNC_SCANNED:
		return same;
	case SYNC_IDLE:
	case SYNC_WANTED:
		break;
	}
	return true;
}

/* Takes in the marker that Redis has; whether it began a rebuild. */
static bool take_marker(struct publisher *pub, const struct marker_job *job)
{
	struct publication *p = job_publication(pub, job);
	bool same;

	if (!p)
		return false;
	same = strcmp(p->marker, job->text) == 0;
	set_marker(pub, p, job->text);
	p->check_due = false;
	if (!marker_holds(p, same)) {
		publication_want_rebuild(pub, p);
		return true;
	}
	if (p->sync == SYNC_UNCHECKED)
		p->sync = SYNC_COMPLETE;
	publication_advance(p);
	return false;
}

static int64_t check_marker(struct publisher *pub, struct marker_job *job, int64_t now_ms)
{
	struct error err;
	bool rebuild;

	if (pub->snapshot->ops->read_marker(pub->snapshot, job->partition, job->text, &err) < 0)
		return redis_failed(pub, "reading a marker", &err, now_ms);
	pthread_mutex_lock(&pub->lock);
	rebuild = take_marker(pub, job);
	pthread_mutex_unlock(&pub->lock);
	if (rebuild)
		log_info("redis does not have all balances of a partition: they are written again",
			LI("partition", job->partition), LS("marker", job->text));
	return 0;
}

/* Replaces the marker; *ret_written is false also if the publication has changed meanwhile. */
static int64_t replace_marker(struct publisher *pub, const struct marker_job *job, int64_t now_ms,
	enum sync next, bool *ret_written)
{
	struct publication *p;
	struct error err;
	bool written;

	*ret_written = false;
	if (pub->snapshot->ops->write_marker(
		    pub->snapshot, job->partition, job->expected, job->text, &written, &err) < 0)
		return redis_failed(pub, "writing a marker", &err, now_ms);
	pthread_mutex_lock(&pub->lock);
	p = job_publication(pub, job);
	if (p && written) {
		set_marker(pub, p, job->text);
		p->marker_ms = now_ms;
		p->sync = next;
		publication_advance(p);
		*ret_written = true;
	} else if (p) {
		p->check_due = true;
	}
	pthread_mutex_unlock(&pub->lock);
	return 0;
}

static int64_t write_token(struct publisher *pub, struct marker_job *job, int64_t now_ms)
{
	bool written;

	snprintf(job->text, sizeof job->text, "rebuild %016" PRIx64 "-%" PRIu64, pub->config.seed,
		++pub->tokens);
	return replace_marker(pub, job, now_ms, SYNC_TOKEN, &written);
}

static int64_t write_marker(struct publisher *pub, struct marker_job *job, int64_t now_ms)
{
	bool rebuilt = strncmp(job->expected, "rebuild ", strlen("rebuild ")) == 0;
	bool written;
	int64_t wait_ms;

	snprintf(job->text, sizeof job->text, "complete %s %" PRId64, pub->identity, job->offset);
	wait_ms = replace_marker(pub, job, now_ms, SYNC_COMPLETE, &written);
	if (written && rebuilt)
		log_info("redis has all balances of a partition again",
			LI("partition", job->partition));
	return wait_ms;
}

/* Probes --------------------------------------------------------------------------------------- */

/* What is asked of Redis, and what of the publication must hold afterwards still. */
struct probe_job {
	int32_t partition;
	uint64_t generation;
	struct probing probing;
};

/* Whether Redis has been told all up to the probe's event, and nothing of it is on its way. */
static bool covers(const struct publication *p, const struct publisher_probe *probe)
{
	struct balance_key key = probe->image.key;

	return probe->last_offset < p->published && !image_map_find(&p->pending, key) &&
	       !image_map_find(&p->round, key);
}

static void fill_job(struct probe_job *job, int32_t partition, const struct publication *p)
{
	*job = (struct probe_job){partition, p->generation, p->probing};
	for (size_t i = 0; i < p->probing.count; i++)
		job->probing.probes[i].covered = covers(p, &p->probing.probes[i]);
}

static bool find_probes(struct publisher *pub, struct probe_job *ret_job)
{
	bool found = false;

	pthread_mutex_lock(&pub->lock);
	for (int32_t i = 0; i < pub->config.partitions && !found; i++) {
		const struct publication *p = &pub->publications[i];

		if (p->sync != SYNC_COMPLETE || p->probing.count == 0 || p->probing.answered)
			continue;
		found = true;
		fill_job(ret_job, i, p);
	}
	pthread_mutex_unlock(&pub->lock);
	return found;
}

static int ask_redis(struct publisher *pub, struct probe_job *job, struct error *err)
{
	struct balance_key keys[PUBLISHER_PROBES_MAX];
	struct snapshot_image found[PUBLISHER_PROBES_MAX];
	int r;

	for (size_t i = 0; i < job->probing.count; i++)
		keys[i] = job->probing.probes[i].image.key;
	r = pub->snapshot->ops->read(pub->snapshot, keys, job->probing.count, found, err);
	for (size_t i = 0; r == 0 && i < job->probing.count; i++)
		job->probing.probes[i].found = found[i];
	job->probing.answered = r == 0;
	return r;
}

/*
 * The marker was read after the balances.  If it is another one, what they were means nothing: the
 * server was emptied, or somebody else publishes.  Neither if it speaks of what this owner has not
 * committed yet: the database has gone back, and the log brings the same versions again.
 */
static void take_probes(struct publisher *pub, const struct probe_job *job, const char *marker)
{
	struct publication *p = &pub->publications[job->partition];

	if (p->sync != SYNC_COMPLETE || p->generation != job->generation)
		return;
	p->probing.count = 0;
	if (strcmp(p->marker, marker) != 0)
		p->check_due = true;
	else if (p->marker_offset <= p->offered)
		p->probing = job->probing;
}

static int64_t read_probes(struct publisher *pub, struct probe_job *job, int64_t now_ms)
{
	char marker[SNAPSHOT_MARKER_MAX];
	struct error err;

	if (ask_redis(pub, job, &err) < 0 ||
		pub->snapshot->ops->read_marker(pub->snapshot, job->partition, marker, &err) < 0)
		return redis_failed(pub, "reading balances", &err, now_ms);
	pthread_mutex_lock(&pub->lock);
	take_probes(pub, job, marker);
	pthread_mutex_unlock(&pub->lock);
	return 0;
}

/* Rounds --------------------------------------------------------------------------------------- */

/* What waits becomes the round, if there is none. */
static void begin_round(struct publication *p)
{
	struct image_map swap = p->round;

	if (p->round.count || !p->pending.count)
		return;
	p->round = p->pending;
	p->pending = swap;
	p->round_offset = p->offered;
}

/* Adds what fits of a partition's round. */
static void take_part(struct publisher *pub, int32_t partition)
{
	struct publication *p = &pub->publications[partition];
	struct slice *slice = &pub->slice;
	size_t room = slice->max - slice->count;
	size_t count;

	begin_round(p);
	count = p->round.count - p->round_taken;
	if (count > room)
		count = room;
	if (!count)
		return;
	memcpy(&slice->images[slice->count], &p->round.images[p->round_taken],
		count * sizeof *slice->images);
	slice->count += count;
	slice->parts[slice->part_count++] = (struct slice_part){partition, p->generation, count};
	p->round_taken += count;
}

static void reset_slice(struct slice *slice)
{
	slice->count = 0;
	slice->part_count = 0;
	slice->scan_end = false;
}

/* A slice of what the partitions offered, each in its turn. */
static bool take_rounds(struct publisher *pub)
{
	reset_slice(&pub->slice);
	pthread_mutex_lock(&pub->lock);
	for (int32_t i = 0; i < pub->config.partitions && pub->slice.count < pub->slice.max; i++) {
		take_part(pub, pub->next_partition);
		if (++pub->next_partition == pub->config.partitions)
			pub->next_partition = 0;
	}
	pthread_mutex_unlock(&pub->lock);
	return pub->slice.count > 0;
}

/* A part of a round was acknowledged. */
static void part_written(struct publisher *pub, const struct slice_part *part)
{
	struct publication *p = &pub->publications[part->partition];

	if (p->generation != part->generation)
		return;
	p->round_written += part->count;
	assert(p->round_written <= p->round_taken && p->round_taken <= p->round.count);
	if (p->round_written < p->round.count)
		return;
	pub->waiting -= p->round.count;
	image_map_clear(&p->round);
	p->round_taken = 0;
	p->round_written = 0;
	assert(p->round_offset >= p->reached);
	p->reached = p->round_offset;
	publication_advance(p);
}

/* The scan ------------------------------------------------------------------------------------- */

static size_t count_in(const struct publisher *pub, enum sync sync)
{
	size_t count = 0;

	for (int32_t i = 0; i < pub->config.partitions; i++)
		count += pub->publications[i].sync == sync;
	return count;
}

/* All partitions whose token is written join. */
static void begin_scan(struct publisher *pub)
{
	for (int32_t i = 0; i < pub->config.partitions; i++) {
		struct publication *p = &pub->publications[i];

		pub->scan.members[i] = p->sync == SYNC_TOKEN;
		if (!pub->scan.members[i])
			continue;
		p->sync = SYNC_SCANNING;
		pub->stats.rebuilds++;
		pub->scan.active = true;
		pub->scan.started = false;
	}
}

/* Whether there is something to scan for. */
static bool scan_wanted(struct publisher *pub)
{
	bool active;
	size_t begun = 0;

	pthread_mutex_lock(&pub->lock);
	if (pub->scan.active && count_in(pub, SYNC_SCANNING) == 0)
		pub->scan.active = false; /* they have ended, or must begin again */
	if (!pub->scan.active) {
		begin_scan(pub);
		begun = count_in(pub, SYNC_SCANNING);
	}
	active = pub->scan.active;
	pthread_mutex_unlock(&pub->lock);
	if (begun)
		log_info("the balances of partitions are read from the database and written to "
			 "redis",
			LU("partitions", begun));
	return active;
}

static void end_scan(struct publisher *pub)
{
	pub->scan.active = false;
	pub->store->ops->disconnect(pub->store);
	pub->store_connected = false;
	pthread_mutex_lock(&pub->lock);
	for (int32_t i = 0; i < pub->config.partitions; i++)
		if (pub->publications[i].sync == SYNC_SCANNING)
			pub->publications[i].sync = SYNC_SCANNED;
	pthread_mutex_unlock(&pub->lock);
}

struct scan_rows {
	struct publisher *pub;
	size_t count;
	struct balance_key last;
};

static bool key_after(struct balance_key a, struct balance_key b)
{
	return a.account_id != b.account_id ? a.account_id > b.account_id : a.currency > b.currency;
}

static void take_row(void *context, const struct store_balance *row)
{
	struct scan_rows *rows = context;
	struct publisher *pub = rows->pub;
	struct slice *slice = &pub->slice;

	rows->count++;
	rows->last = row->key;
	if (row->partition < 0 || row->partition >= pub->config.partitions ||
		!pub->scan.members[row->partition] || row->balance.version == 0)
		return;
	assert(slice->count < slice->max);
	slice->images[slice->count++] = (struct snapshot_image){row->key, row->balance.available,
		row->balance.frozen, row->balance.version, row->updated_ms};
}

static enum store_result read_rows(struct publisher *pub, struct scan_rows *rows, struct error *err)
{
	const struct store_ops *ops = pub->store->ops;
	enum store_result result;

	if (!pub->store_connected) {
		result = ops->connect(pub->store, err);
		if (result != STORE_OK)
			return result;
		pub->store_connected = true;
	}
	return ops->scan_balances(pub->store, pub->scan.started ? &pub->scan.after : NULL,
		pub->slice.max, take_row, rows, err);
}

/* A slice of the rows that follow; whether there was something to do. */
static bool take_scan(struct publisher *pub, int64_t now_ms)
{
	struct scan_rows rows = {.pub = pub};
	struct error err;

	if (now_ms < pub->store_backoff.until_ms || !scan_wanted(pub))
		return false;
	reset_slice(&pub->slice);
	if (read_rows(pub, &rows, &err) != STORE_OK) {
		reset_slice(&pub->slice);
		store_failed(pub, &err, now_ms);
		return true;
	}
	pub->store_backoff.attempt = 0;
	if (rows.count) {
		assert(!pub->scan.started || key_after(rows.last, pub->scan.after));
		pub->scan.after = rows.last;
		pub->scan.started = true;
	}
	pub->slice.scan_end = rows.count < pub->slice.max;
	if (pub->slice.scan_end && pub->slice.count == 0)
		end_scan(pub);
	return true;
}

/* Slices --------------------------------------------------------------------------------------- */

/* Keys of another type that the newest publish replaced. */
static uint64_t take_replaced(struct publisher *pub)
{
	uint64_t replaced = pub->snapshot->replaced - pub->replaced;

	pub->replaced = pub->snapshot->replaced;
	if (replaced)
		log_warn("keys of redis that belong to balances were of another type and have been "
			 "replaced: another program writes there",
			LU("keys", replaced));
	return replaced;
}

static int64_t write_slice(struct publisher *pub, int64_t now_ms)
{
	struct slice *slice = &pub->slice;
	size_t stale = 0;
	uint64_t replaced;
	struct error err;
	int r = pub->snapshot->ops->publish(
		pub->snapshot, slice->images, slice->count, &stale, &err);

	replaced = take_replaced(pub);
	pthread_mutex_lock(&pub->lock);
	pub->stats.replaced += replaced;
	if (r < 0) {
		pub->stats.failed++;
	} else {
		pub->stats.published += slice->count - stale;
		pub->stats.stale += stale;
		for (size_t i = 0; i < slice->part_count; i++)
			part_written(pub, &slice->parts[i]);
	}
	pthread_mutex_unlock(&pub->lock);
	if (r < 0)
		return redis_failed(pub, "writing balances", &err, now_ms);
	pub->backoff.attempt = 0;
	slice->count = 0;
	if (slice->scan_end)
		end_scan(pub);
	return 0;
}

/* Rounds and the scan take turns, so that neither waits for the other. */
static bool take_slice(struct publisher *pub, int64_t now_ms)
{
	pub->scan_turn = !pub->scan_turn;
	if (pub->scan_turn)
		return take_scan(pub, now_ms) || take_rounds(pub);
	return take_rounds(pub) || take_scan(pub, now_ms);
}

/* How long until something is due by itself. */
static int64_t idle_ms(struct publisher *pub, int64_t now_ms)
{
	int64_t until_ms = pub->check_at_ms;

	pthread_mutex_lock(&pub->lock);
	for (int32_t i = 0; i < pub->config.partitions; i++) {
		const struct publication *p = &pub->publications[i];
		int64_t at_ms = p->marker_ms + PUBLISHER_MARKER_INTERVAL_MS;

		if (p->sync == SYNC_COMPLETE && p->reached > p->marker_offset && at_ms < until_ms)
			until_ms = at_ms;
	}
	if ((pub->scan.active || count_in(pub, SYNC_TOKEN)) &&
		pub->store_backoff.until_ms < until_ms)
		until_ms = pub->store_backoff.until_ms;
	pthread_mutex_unlock(&pub->lock);
	return until_ms > now_ms ? until_ms - now_ms : 0;
}

int64_t publisher_step(struct publisher *pub, int64_t now_ms)
{
	struct marker_job job;
	struct probe_job probes;

	if (!pub->connected)
		return connect_redis(pub, now_ms);
	if (now_ms >= pub->check_at_ms)
		return check_identity(pub, now_ms);
	if (find_job(pub, needs_check, now_ms, &job))
		return check_marker(pub, &job, now_ms);
	if (find_job(pub, needs_token, now_ms, &job))
		return write_token(pub, &job, now_ms);
	if (find_job(pub, needs_marker, now_ms, &job))
		return write_marker(pub, &job, now_ms);
	if (find_probes(pub, &probes))
		return read_probes(pub, &probes, now_ms);
	if (pub->slice.count)
		return write_slice(pub, now_ms);
	if (take_slice(pub, now_ms))
		return 0;
	return idle_ms(pub, now_ms);
}
