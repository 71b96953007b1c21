/*
 * See leader.h.
 *
 * A tick is one step of a machine that never waits by itself: first what time alone decides (a
 * lease that was not renewed in time is lost), then at most one call of the store, the most urgent:
 *
 *     prepare -> renew (and announce) -> release -> read the view and plan -> acquire
 *
 * One call a tick, so that every call has its own `now`, and no call can delay a renewal by more
 * than its own length.  An acquire may wait a second for a row's lock; so none is begun shortly
 * before a renewal is due: the renewal is sent first.
 *
 * Time.  A lease is believed in from acquire or renewal, counted from *before* it was sent, for two
 * thirds of the TTL; the server counts the whole TTL from when it executed it, which is later.  The
 * third in between is for clocks that run at different speeds and for a flush that has begun.
 *
 * An acquire whose answer was lost.  The row may name us with an epoch that we never learnt.  We
 * never adopt it: a name is not proof (an earlier process with our id may be alive, and two that
 * believe in one epoch both pass the fence).  Instead the lease is "in doubt": when a view shows
 * our name with an epoch above the one that stood there before the attempt, that epoch is released,
 * and the partition acquired anew.  The doubt lasts until a newer epoch is seen, because a COMMIT
 * whose answer was lost may take effect after the next read.  A lease in our name that was never in
 * doubt (a restart under the same id) is left to expire.
 *
 * Threads: one drives leader_tick and owns everything here but the atomics, through which the
 * others ask (valid_until_ms, extended_ms, stopped, settled) and tell (drained, stopping).
 *
 * This file logs nothing and does not start threads.
 */
#include "leader.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define SCAN_MS         250  /* an expired lease is noticed within it */
#define RETRY_PAUSE_MS  300  /* before an acquire that failed is tried again */
#define LET_GO_PAUSE_MS 1000 /* after we lost a lease or gave it up ourselves: no hot loop */
#define ACQUIRE_MAX_MS  1000 /* how long an acquire may take: innodb_lock_wait_timeout */
#define BACKOFF_MIN_MS  50
#define BACKOFF_MAX_MS  500
#define NO_DOUBT        (-1)
#define NEVER           INT64_MIN

enum lease_state {
	LEASE_NONE = 0,  /* not ours, as far as we know */
	LEASE_OWNED,     /* ours, and the instance works on it */
	LEASE_SURPLUS,   /* ours, and the instance was told to let go */
	LEASE_LOST,      /* no longer believed in; the instance was told to drop it */
	LEASE_RELEASING, /* the instance has let go: the database is to be told */
	LEASE_STATES,
};

#define TO(state) (1u << LEASE_##state)

static const unsigned lease_next[LEASE_STATES] = {
	[LEASE_NONE] = TO(OWNED) | TO(RELEASING), /* the latter: in doubt, and found in our name */
	[LEASE_OWNED] = TO(SURPLUS) | TO(LOST) | TO(RELEASING),
	[LEASE_SURPLUS] = TO(LOST) | TO(RELEASING),
	[LEASE_LOST] = TO(RELEASING),
	[LEASE_RELEASING] = TO(NONE),
};

struct lease {
	enum lease_state state;
	int64_t epoch;         /* unless NONE */
	int64_t doubt_epoch;   /* what stood there before an acquire without an answer; NO_DOUBT */
	int64_t not_before_ms; /* not acquired earlier */
	_Atomic int64_t valid_until_ms; /* NEVER unless OWNED or SURPLUS */
	atomic_bool drained;
};

struct leader {
	struct leader_config config; /* with a list of our own */
	int32_t *eligible;
	struct lease_store *store;
	struct leader_events events;

	struct lease *leases; /* one a partition */
	struct lease_renewal *renewals;
	int64_t *lows; /* offset_low for each renewal */

	struct lease_view view;
	int *plan;   /* a row: index of a member, or LEASE_NOBODY */
	int self;    /* our index among the members; LEASE_NOBODY: not in the view */
	bool looked; /* the view was read after the last acquire: a slow read must not starve it */

	bool prepared;
	bool announced; /* the database may know us */
	bool withdrawn;
	bool look_again;  /* an acquire had no answer since the view was read */
	int64_t renew_ms; /* when the next renewal is due */
	int64_t scan_ms;  /* and the next view */
	int64_t retry_ms; /* no call before, after a failure */
	int32_t cursor;   /* where the search for something to acquire goes on */
	int failures;     /* in a row */
	uint64_t random;

	_Atomic int64_t extended_ms; /* start of the last renewal or acquire that succeeded */
	atomic_bool stopping;
	atomic_bool stopped;
	atomic_bool settled;
};

/* A call of the store and what follows from it.  0 or the store's negative code. */
typedef int step_fn(struct leader *leader, int64_t now_ms, struct error *err);

/* A lease -------------------------------------------------------------------------------------- */

static void lease_set(struct lease *lease, enum lease_state state)
{
	assert(lease_next[lease->state] >> state & 1);
	lease->state = state;
	if (state != LEASE_OWNED && state != LEASE_SURPLUS)
		atomic_store(&lease->valid_until_ms, NEVER);
}

/* Renewed until the instance has let go. */
static bool lease_kept(const struct lease *lease)
{
	return lease->state == LEASE_OWNED || lease->state == LEASE_SURPLUS;
}

static int64_t valid_until(const struct leader *leader, int64_t sent_ms)
{
	return sent_ms + leader->config.ttl_ms * 2 / 3;
}

static void lose(struct leader *leader, int32_t partition, bool fenced)
{
	lease_set(&leader->leases[partition], LEASE_LOST);
	leader->events.lost(leader->events.context, partition, fenced);
}

static void give_up(struct leader *leader, int32_t partition)
{
	lease_set(&leader->leases[partition], LEASE_SURPLUS);
	leader->events.surplus(leader->events.context, partition);
}

/* The first partition in this state, or -1. */
static int32_t find_state(const struct leader *leader, enum lease_state state)
{
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		if (leader->leases[p].state == state)
			return p;
	}
	return -1;
}

static bool keeps_any(const struct leader *leader)
{
	return find_state(leader, LEASE_OWNED) >= 0 || find_state(leader, LEASE_SURPLUS) >= 0;
}

static bool has_nothing(const struct leader *leader)
{
	return !keeps_any(leader) && find_state(leader, LEASE_LOST) < 0 &&
	       find_state(leader, LEASE_RELEASING) < 0;
}

/* What time and the instance have decided ------------------------------------------------------ */

static void drop_overdue(struct leader *leader, int64_t now_ms)
{
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		struct lease *lease = &leader->leases[p];

		if (lease_kept(lease) && now_ms >= atomic_load(&lease->valid_until_ms))
			lose(leader, p, false);
	}
}

static void collect_drained(struct leader *leader, int64_t now_ms)
{
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		struct lease *lease = &leader->leases[p];

		if (!atomic_exchange(&lease->drained, false))
			continue;
		assert(lease->state != LEASE_NONE); /* once for each `acquired` */
		if (lease->state != LEASE_SURPLUS)
			lease->not_before_ms = now_ms + LET_GO_PAUSE_MS;
		lease_set(lease, LEASE_RELEASING);
	}
}

static void heed_stop(struct leader *leader, int64_t now_ms)
{
	if (!atomic_load(&leader->stopping))
		return;
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		if (leader->leases[p].state != LEASE_OWNED)
			continue;
		give_up(leader, p);
		leader->renew_ms = now_ms; /* tells the others at once that we may own nothing */
	}
}

/* Stopping, and the database cannot be told: what it knows of us expires by itself. */
static bool in_vain(const struct leader *leader, int64_t now_ms)
{
	return atomic_load(&leader->stopping) && leader->failures &&
	       leader_out_of_reach(leader, now_ms);
}

static void heed_silence(struct leader *leader, int64_t now_ms)
{
	if (!in_vain(leader, now_ms))
		return;
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		if (leader->leases[p].state == LEASE_RELEASING)
			lease_set(&leader->leases[p], LEASE_NONE);
	}
	leader->withdrawn = has_nothing(leader);
}

/* Prepare, announce and renew ------------------------------------------------------------------ */

static int step_prepare(struct leader *leader, int64_t now_ms, struct error *err)
{
	int result = leader->store->ops->prepare(leader->store, leader->config.partitions, err);

	leader->prepared = result >= 0;
	return result;
}

static size_t list_renewals(struct leader *leader)
{
	size_t count = 0;

	for (int32_t p = 0; p < leader->config.partitions; p++) {
		const struct lease *lease = &leader->leases[p];

		if (!lease_kept(lease))
			continue;
		leader->lows[count] = leader->events.offset_low(leader->events.context, p);
		leader->renewals[count++] = (struct lease_renewal){
			.partition = p, .epoch = lease->epoch};
	}
	return count;
}

static void judge_renewal(
	struct leader *leader, const struct lease_renewal *renewal, int64_t low, int64_t sent_ms)
{
	struct lease *lease = &leader->leases[renewal->partition];
	int64_t high = leader->events.offset_high(leader->events.context, renewal->partition);

	if (!renewal->ret_held || renewal->ret_next_offset < low || renewal->ret_next_offset > high)
		lose(leader, renewal->partition, true);
	else
		atomic_store(&lease->valid_until_ms, valid_until(leader, sent_ms));
}

static int step_renew(struct leader *leader, int64_t now_ms, struct error *err)
{
	const struct leader_config *config = &leader->config;
	bool stopping = atomic_load(&leader->stopping); /* then we may own nothing */
	size_t count = list_renewals(leader);
	int result;

	leader->announced = true;
	result = leader->store->ops->renew(leader->store, config->consumer_id,
		!stopping && config->all, stopping ? NULL : leader->eligible,
		stopping ? 0 : config->eligible_count, config->ttl_ms, leader->renewals, count,
		err);
	if (result < 0)
		return result;
	atomic_store(&leader->extended_ms, now_ms);
	leader->renew_ms = now_ms + config->ttl_ms / 3;
	for (size_t i = 0; i < count; i++)
		judge_renewal(leader, &leader->renewals[i], leader->lows[i], now_ms);
	return 0;
}

/* Read the view and plan ----------------------------------------------------------------------- */

static int check_view(struct leader *leader, const struct lease_view *view, struct error *err)
{
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		if ((size_t)p < view->row_count && view->rows[p].partition == p)
			continue;
		leader->prepared = false; /* which makes the missing ones again */
		return error_set(err, -ENOENT,
			"leader_locks has no row for partition %d, though it was made at start; "
			"did somebody delete it?",
			(int)p);
	}
	return 0;
}

static void make_plan(struct leader *leader)
{
	const struct lease_view *view = &leader->view;

	leader->plan = xrealloc(leader->plan, view->row_count * sizeof(*leader->plan));
	lease_plan(view, leader->plan);
	leader->self = LEASE_NOBODY;
	for (size_t m = 0; m < view->member_count; m++) {
		if (strcmp(view->members[m].consumer_id, leader->config.consumer_id) == 0)
			leader->self = (int)m;
	}
}

/* The view against what we believe: another's epoch, and leases in doubt. */
static void compare_row(struct leader *leader, const struct lease_row *row)
{
	struct lease *lease = &leader->leases[row->partition];

	if (lease_kept(lease) && row->epoch != lease->epoch)
		lose(leader, row->partition, true);
	if (lease->doubt_epoch == NO_DOUBT || row->epoch <= lease->doubt_epoch)
		return;
	lease->doubt_epoch = NO_DOUBT;
	if (lease->state == LEASE_NONE && row->held &&
		strcmp(row->consumer_id, leader->config.consumer_id) == 0) {
		lease->epoch = row->epoch;
		lease_set(lease, LEASE_RELEASING);
	}
}

static void give_up_surplus(struct leader *leader)
{
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		if (leader->leases[p].state == LEASE_OWNED && leader->plan[p] != leader->self)
			give_up(leader, p);
	}
}

static int step_scan(struct leader *leader, int64_t now_ms, struct error *err)
{
	struct lease_view view;
	int result;

	lease_view_init(&view);
	result = leader->store->ops->read(leader->store, &view, err);
	if (result >= 0)
		result = check_view(leader, &view, err);
	if (result < 0) {
		lease_view_finish(&view);
		return result;
	}
	lease_view_finish(&leader->view);
	leader->view = view;
	leader->scan_ms = now_ms + SCAN_MS;
	leader->look_again = false;
	leader->looked = true;
	for (int32_t p = 0; p < leader->config.partitions; p++)
		compare_row(leader, &view.rows[p]);
	if (leader->events.viewed)
		leader->events.viewed(leader->events.context, &leader->view);
	make_plan(leader);
	if (leader->self == LEASE_NOBODY)
		leader->renew_ms = now_ms; /* not announced, or forgotten by a fail-over */
	else
		give_up_surplus(leader);
	return 0;
}

/* Acquire, release, withdraw ------------------------------------------------------------------- */

/* A partition that the plan gives us and that can be had; -1: none. */
static int32_t find_candidate(const struct leader *leader, int64_t now_ms)
{
	if (leader->self == LEASE_NOBODY)
		return -1;
	for (int32_t i = 0; i < leader->config.partitions; i++) {
		int32_t p = (leader->cursor + i) % leader->config.partitions;
		const struct lease *lease = &leader->leases[p];

		if (lease->state == LEASE_NONE && leader->plan[p] == leader->self &&
			!leader->view.rows[p].held && now_ms >= lease->not_before_ms)
			return p;
	}
	return -1;
}

static void own(struct leader *leader, int32_t partition, int64_t epoch, int64_t sent_ms)
{
	struct lease *lease = &leader->leases[partition];

	atomic_store(&leader->extended_ms, sent_ms);
	lease->epoch = epoch;
	lease->doubt_epoch = NO_DOUBT;
	lease_set(lease, LEASE_OWNED);
	atomic_store(&lease->valid_until_ms, valid_until(leader, sent_ms));
	leader->events.acquired(leader->events.context, partition, epoch);
}

static int step_acquire(struct leader *leader, int64_t now_ms, struct error *err)
{
	int32_t partition = find_candidate(leader, now_ms);
	struct lease *lease = &leader->leases[partition];
	int64_t epoch = 0;
	int result = leader->store->ops->acquire(leader->store, leader->config.consumer_id,
		partition, leader->config.ttl_ms, &epoch, err);

	leader->cursor = partition + 1;
	leader->looked = false;
	if (result == -EAGAIN) { /* rolled back; the wait for the lock is behind us */
		lease->not_before_ms = now_ms + ACQUIRE_MAX_MS + RETRY_PAUSE_MS;
	} else if (result < 0) {
		lease->not_before_ms = now_ms + RETRY_PAUSE_MS;
		lease->doubt_epoch = leader->view.rows[partition].epoch;
		leader->look_again = true;
		leader->scan_ms = now_ms;
	} else if (epoch == 0) { /* somebody was faster, or it was halted */
		lease->not_before_ms = now_ms + RETRY_PAUSE_MS;
		leader->scan_ms = now_ms;
	} else {
		own(leader, partition, epoch, now_ms);
	}
	return result;
}

static int step_release(struct leader *leader, int64_t now_ms, struct error *err)
{
	int32_t partition = find_state(leader, LEASE_RELEASING);
	struct lease *lease = &leader->leases[partition];
	int result = leader->store->ops->release(leader->store, partition, lease->epoch, err);

	if (result < 0)
		return result;
	lease_set(lease, LEASE_NONE);
	leader->scan_ms = now_ms;
	return 0;
}

static int step_withdraw(struct leader *leader, int64_t now_ms, struct error *err)
{
	int result = 0;

	if (leader->announced)
		result = leader->store->ops->withdraw(
			leader->store, leader->config.consumer_id, err);
	leader->withdrawn = result >= 0;
	return result;
}

/* The tick ------------------------------------------------------------------------------------- */

static step_fn *choose_last_step(const struct leader *leader, int64_t now_ms)
{
	if (leader->withdrawn || in_vain(leader, now_ms))
		return NULL;
	if (now_ms >= leader->renew_ms && keeps_any(leader))
		return step_renew;
	if (find_state(leader, LEASE_RELEASING) >= 0)
		return step_release;
	if (leader->look_again)
		return step_scan;
	if (has_nothing(leader))
		return step_withdraw;
	return NULL;
}

static step_fn *choose_step(const struct leader *leader, int64_t now_ms)
{
	int64_t guard_ms = leader->config.ttl_ms / 6;
	int32_t candidate;

	if (atomic_load(&leader->stopping))
		return choose_last_step(leader, now_ms);
	if (!leader->prepared)
		return step_prepare;
	if (now_ms >= leader->renew_ms)
		return step_renew;
	if (find_state(leader, LEASE_RELEASING) >= 0)
		return step_release;
	candidate = find_candidate(leader, now_ms);
	if (now_ms >= leader->scan_ms && (candidate < 0 || !leader->looked))
		return step_scan;
	if (candidate < 0)
		return NULL;
	if (guard_ms > ACQUIRE_MAX_MS)
		guard_ms = ACQUIRE_MAX_MS;
	return leader->renew_ms - now_ms < guard_ms ? step_renew : step_acquire;
}

/* Capped, exponential, with jitter: between half of the pause and all of it. */
static void back_off(struct leader *leader, int64_t now_ms)
{
	int doublings = leader->failures < 4 ? leader->failures : 4;
	int64_t pause_ms = (int64_t)BACKOFF_MIN_MS << doublings;

	if (pause_ms > BACKOFF_MAX_MS)
		pause_ms = BACKOFF_MAX_MS;
	leader->random ^= leader->random << 13;
	leader->random ^= leader->random >> 7;
	leader->random ^= leader->random << 17;
	pause_ms -= (int64_t)(leader->random % (uint64_t)(pause_ms / 2));
	leader->retry_ms = now_ms + pause_ms;
	leader->failures++;
}

/* false: it failed. */
static bool take_step(struct leader *leader, int64_t now_ms, struct error *err)
{
	step_fn *step = now_ms >= leader->retry_ms ? choose_step(leader, now_ms) : NULL;
	int result;

	if (!step)
		return true;
	result = step(leader, now_ms, err);
	if (result < 0)
		back_off(leader, now_ms);
	else
		leader->failures = 0;
	return result >= 0;
}

static bool is_settled(const struct leader *leader)
{
	if (leader->self == LEASE_NOBODY || atomic_load(&leader->stopping))
		return false;
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		bool ours = leader->plan[p] == leader->self;

		if (leader->leases[p].state != (ours ? LEASE_OWNED : LEASE_NONE))
			return false;
	}
	return true;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When the next thing happens, in milliseconds from now. */
static int64_t next_tick(const struct leader *leader, int64_t now_ms)
{
	int64_t next_ms = now_ms + SCAN_MS;

	if (now_ms < leader->retry_ms)
		next_ms = earlier(next_ms, leader->retry_ms);
	else if (choose_step(leader, now_ms))
		return 0;
	else if (!atomic_load(&leader->stopping))
		next_ms = earlier(next_ms, earlier(leader->renew_ms, leader->scan_ms));
	else if (keeps_any(leader))
		next_ms = earlier(next_ms, leader->renew_ms);
	for (int32_t p = 0; p < leader->config.partitions; p++) {
		if (lease_kept(&leader->leases[p]))
			next_ms = earlier(next_ms, atomic_load(&leader->leases[p].valid_until_ms));
	}
	return next_ms > now_ms ? next_ms - now_ms : 0;
}

int64_t leader_tick(struct leader *leader, int64_t now_ms, bool *ret_failed, struct error *err)
{
	collect_drained(leader, now_ms);
	drop_overdue(leader, now_ms);
	heed_stop(leader, now_ms);
	heed_silence(leader, now_ms); /* before a step that may take long */
	*ret_failed = !take_step(leader, now_ms, err);
	atomic_store(&leader->settled, is_settled(leader));
	atomic_store(&leader->stopped, atomic_load(&leader->stopping) && leader->withdrawn);
	return next_tick(leader, now_ms);
}

/* From outside --------------------------------------------------------------------------------- */

void leader_drained(struct leader *leader, int32_t partition)
{
	atomic_store(&leader->leases[partition].drained, true);
}

bool leader_valid(const struct leader *leader, int32_t partition, int64_t now_ms)
{
	return now_ms < atomic_load(&leader->leases[partition].valid_until_ms);
}

void leader_stop(struct leader *leader)
{
	atomic_store(&leader->stopping, true);
}

bool leader_stopped(const struct leader *leader)
{
	return atomic_load(&leader->stopped);
}

bool leader_out_of_reach(const struct leader *leader, int64_t now_ms)
{
	return now_ms >= atomic_load(&leader->extended_ms) + leader->config.ttl_ms;
}

bool leader_settled(const struct leader *leader)
{
	return atomic_load(&leader->settled);
}

/* From the name, so that instances that fail together do not come back together (FNV-1a). */
static uint64_t seed_of(const char *consumer_id)
{
	uint64_t seed = 14695981039346656037u;

	for (; *consumer_id; consumer_id++)
		seed = (seed ^ (unsigned char)*consumer_id) * 1099511628211u;
	return seed ? seed : 1;
}

struct leader *leader_create(const struct leader_config *config, struct lease_store *store,
	const struct leader_events *events)
{
	struct leader *leader = xcalloc(1, sizeof(*leader));
	size_t partitions = (size_t)config->partitions;

	leader->config = *config;
	leader->eligible = xcalloc(config->eligible_count, sizeof(*leader->eligible));
	for (size_t i = 0; i < config->eligible_count; i++)
		leader->eligible[i] = config->eligible[i];
	leader->config.eligible = leader->eligible;
	leader->store = store;
	leader->events = *events;
	leader->leases = xcalloc(partitions, sizeof(*leader->leases));
	leader->renewals = xcalloc(partitions, sizeof(*leader->renewals));
	leader->lows = xcalloc(partitions, sizeof(*leader->lows));
	for (size_t p = 0; p < partitions; p++) {
		leader->leases[p].doubt_epoch = NO_DOUBT;
		leader->leases[p].not_before_ms = NEVER;
		atomic_init(&leader->leases[p].valid_until_ms, NEVER);
	}
	lease_view_init(&leader->view);
	leader->self = LEASE_NOBODY;
	leader->renew_ms = NEVER;
	leader->scan_ms = NEVER;
	leader->retry_ms = NEVER;
	atomic_init(&leader->extended_ms, NEVER);
	leader->random = seed_of(config->consumer_id);
	return leader;
}

void leader_destroy(struct leader *leader)
{
	lease_view_finish(&leader->view);
	free(leader->plan);
	free(leader->lows);
	free(leader->renewals);
	free(leader->leases);
	free(leader->eligible);
	free(leader);
}
