/*
 * See vandal.h.
 *
 * Only what is in an owner's memory is sampled.  So a few more messages are sent first, and the
 * victim is a balance that an owner has in memory then: with nothing more to come, nobody evicts
 * it. If the partition changes hands meanwhile, the vandal goes home.
 *
 * A vandal in a hurry does not wait until nobody has anything left to write.  Then a rebuild may
 * write the right image before anybody has looked, and nobody is to know; or a former owner that
 * slept writes what it had on its way, an older image, where nothing readable is left to stand
 * against it, and the drift that is found is another one.  All the same it must come right.
 */
#include "vandal.h"

#include "node.h"

#define CHANCE      3000
#define HURRY       5000
#define MESSAGES    20
#define PATIENCE_US INT64_C(600000000)
#define TWICE_US    INT64_C(20000000) /* three samples and more */
#define SETTLE_US   INT64_C(60000000) /* longer than anybody sleeps, and then writes */

/* And waits until they have had their outcome; false: it takes too long. */
static bool send_some(struct world *w)
{
	int64_t end_us = w->now_us + PATIENCE_US;

	for (int i = 0; i < MESSAGES; i++)
		workload_send(&w->workload, w->logs, w->oracles,
			INT64_C(1767225600000) + w->now_us / 1000);
	while (!world_at_rest(w) && w->now_us < end_us)
		world_step(w);
	return world_at_rest(w);
}

static bool is_remembered(const struct world *w, const struct store_balance *row)
{
	for (int i = 0; i < w->node_count; i++)
		if (node_believes(w->nodes[i], row->partition) &&
			node_remembers(w->nodes[i], row->partition, row->key))
			return true;
	return false;
}

/* A balance that its partition's owner has in memory. */
static const struct store_balance *choose(struct world *w)
{
	size_t count = w->db.balance_count;
	size_t first = count ? (size_t)random_below(&w->random, (int64_t)count) : 0;

	for (size_t i = 0; i < count; i++) {
		const struct store_balance *row = &w->db.balances[(first + i) % count];

		if (row->balance.version > 0 && is_remembered(w, row))
			return row;
	}
	return NULL;
}

/* What the vandal writes instead of this; *ret_drift: what it will be found to be. */
static struct snapshot_image spoil(
	struct world *w, struct snapshot_image image, enum drift *ret_drift)
{
	*ret_drift = (enum drift)random_between(&w->random, DRIFT_REDIS_MISSING, DRIFT_REDIS_OTHER);
	if (*ret_drift == DRIFT_REDIS_BEHIND && image.version == 1)
		*ret_drift = DRIFT_REDIS_MISSING;
	switch (*ret_drift) {
	case DRIFT_REDIS_MISSING:
		image.version = 0;
		break;
	case DRIFT_REDIS_BEHIND:
		image.version -= 1;
		break;
	case DRIFT_REDIS_AHEAD:
		image.version += random_between(&w->random, 1, 5);
		break;
	default:
		if (random_chance(&w->random, 5000))
			image.version = SNAPSHOT_UNREADABLE;
		else
			image.available += 1;
	}
	return image;
}

static bool is_there(struct world *w, const struct snapshot_image *image)
{
	const struct snapshot_image *found = snapshot_memory_find(w->redis, image->key);

	return found && found->version == image->version && found->available == image->available &&
	       found->frozen == image->frozen;
}

static bool changed_hands(const struct world *w)
{
	return w->offsets[w->vandal.partition].epoch != w->vandal.epoch;
}

static bool mended_it(struct world *w)
{
	return is_there(w, &w->vandal.right);
}

/* Or somebody wrote it again in time. */
static bool found_it(struct world *w)
{
	return w->vandal.found > 0 || (w->vandal.hurry && mended_it(w));
}

static bool never(struct world *w)
{
	return false;
}

/* Steps until it is so, or the time is over; false: it is not so. */
static bool wait_until(struct world *w, bool (*done)(struct world *w), int64_t most_us)
{
	int64_t end_us = w->now_us + most_us;

	while (!done(w) && w->now_us < end_us && !changed_hands(w))
		world_step(w);
	return done(w);
}

/* The change is made, and whatever must come of it comes, unless the partition changes hands. */
static void spoil_and_watch(struct world *w)
{
	struct vandal *vandal = &w->vandal;
	struct snapshot_image wrong = spoil(w, vandal->right, &vandal->expected);

	vandal->at_work = true;
	vandal->unreadable = wrong.version == 0 || wrong.version == SNAPSHOT_UNREADABLE;
	snapshot_memory_tamper(w->redis, &wrong);
	world_trace(w, "a vandal changes a key of partition %d: %s", vandal->partition,
		drift_text(vandal->expected));
	if (!wait_until(w, found_it, PATIENCE_US) && !changed_hands(w))
		world_fail(w, "a key of Redis was changed by hand, and nobody has found it");
	if (vandal->expected == DRIFT_REDIS_AHEAD)
		snapshot_memory_tamper(w->redis, &vandal->right);
	if (!wait_until(w, mended_it, PATIENCE_US) && !changed_hands(w))
		world_fail(w, "a key of Redis was changed by hand, and nobody has mended it");
	wait_until(w, never, TWICE_US);
	if (changed_hands(w))
		return;
	if (vandal->found > 1 && vandal->expected != DRIFT_REDIS_AHEAD)
		world_fail(w, "drift in Redis was told %u times", vandal->found);
	if (!mended_it(w))
		world_fail(w, "a key of Redis was mended and spoilt again");
}

bool vandal_visit(struct world *w)
{
	const struct store_balance *row;

	if (w->replayer || !random_chance(&w->random, CHANCE))
		return false;
	if (!send_some(w))
		world_fail(w, "not at rest after some more messages");
	row = choose(w);
	if (!row)
		return false;
	w->vandal = (struct vandal){
		.hurry = random_chance(&w->random, HURRY),
		.partition = row->partition,
		.epoch = w->offsets[row->partition].epoch,
		.right = {row->key, row->balance.available, row->balance.frozen,
			row->balance.version, row->updated_ms},
	};
	if (!w->vandal.hurry)
		wait_until(w, never, SETTLE_US);
	if (!changed_hands(w))
		spoil_and_watch(w);
	return w->vandal.found > 0;
}

/* The lower version may be the one that the owner has asked for: then it has other amounts. */
static bool expects(const struct vandal *vandal, int32_t partition, enum drift drift)
{
	if (!vandal->at_work || partition != vandal->partition)
		return false;
	if (drift == DRIFT_REDIS_BEHIND && vandal->hurry && vandal->unreadable)
		return true; /* a former owner wrote there before anybody looked */
	return drift == vandal->expected ||
	       (drift == DRIFT_REDIS_OTHER && vandal->expected == DRIFT_REDIS_BEHIND);
}

void vandal_drift(
	struct world *w, int number, int32_t partition, enum drift drift, int64_t balances)
{
	world_trace(w, "node %d: partition %d: %s", number, partition, drift_text(drift));
	/* A row that was deleted before it was published: nothing tells the next owner of it. */
	if (w->replayer && (drift == DRIFT_REDIS_MISSING || drift == DRIFT_REDIS_BEHIND))
		return;
	if (!expects(&w->vandal, partition, drift) || balances != 1)
		world_fail(w, "node %d: partition %d: %lld balances drifted: %s", number, partition,
			(long long)balances, drift_text(drift));
	w->vandal.found++;
}
