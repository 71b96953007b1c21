/*
 * See lease_borrow.h.
 *
 * A tick calls the store once at most:
 *
 *     ASKING  request, every ASK_MS; as soon as it shows that nobody holds the lease: acquire
 *     HELD    request, which renews the lease as well, at a third of the TTL
 *
 * An acquire whose answer was lost may have put our name into the row under an epoch that we never
 * learnt.  As in leader.c that epoch is not adopted: the next request, which waits for whatever is
 * still being committed there, shows our name, and that lease is given up and acquired anew.  No
 * other process has our name, so it is nobody else's.
 *
 * Memory: one block, freed by lease_borrow_destroy.
 */
#include "lease_borrow.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define ASK_MS 250
#define NEVER  INT64_MIN

struct lease_borrow {
	struct lease_store *store;
	char who[LEASE_CONSUMER_ID_MAX + 1];
	int32_t partition;
	int64_t ttl_ms;

	enum lease_borrow_state state;
	int64_t epoch;                  /* 0: none */
	_Atomic int64_t valid_until_ms; /* NEVER unless HELD */
	int64_t next_ms;                /* no call before */
	bool is_free;                   /* the last request saw nobody hold the lease: acquire */
	int64_t stray_epoch;            /* of a lease in our name whose acquire had no answer; 0 */
	int64_t next_offset;            /* in HELD, as the first renewal read it; -1: not yet */
	char rival[LEASE_CONSUMER_ID_MAX + 1];
};

struct lease_borrow *lease_borrow_create(
	struct lease_store *store, const char *who, int32_t partition, int64_t ttl_ms)
{
	struct lease_borrow *borrow = xcalloc(1, sizeof(*borrow));

	assert(who[0] && strlen(who) <= LEASE_CONSUMER_ID_MAX);
	borrow->store = store;
	snprintf(borrow->who, sizeof(borrow->who), "%s", who);
	borrow->partition = partition;
	borrow->ttl_ms = ttl_ms;
	borrow->next_ms = NEVER;
	borrow->next_offset = -1;
	atomic_init(&borrow->valid_until_ms, NEVER);
	return borrow;
}

void lease_borrow_destroy(struct lease_borrow *borrow)
{
	free(borrow);
}

static void set_state(struct lease_borrow *borrow, enum lease_borrow_state state)
{
	borrow->state = state;
	if (state != LEASE_BORROW_HELD)
		atomic_store(&borrow->valid_until_ms, NEVER);
}

static int64_t renewal_ms(const struct lease_borrow *borrow)
{
	int64_t shorter_ms = borrow->ttl_ms < LEASE_REQUEST_MS ? borrow->ttl_ms : LEASE_REQUEST_MS;

	return shorter_ms / 3;
}

static void extend(struct lease_borrow *borrow, int64_t sent_ms)
{
	atomic_store(&borrow->valid_until_ms, sent_ms + borrow->ttl_ms * 2 / 3);
}

/* Asking --------------------------------------------------------------------------------------- */

/* What our own request has shown. */
static void judge_answer(
	struct lease_borrow *borrow, const struct lease_request *request, int64_t now_ms)
{
	bool ours = request->ret_held && strcmp(request->ret_consumer_id, borrow->who) == 0;

	if (strcmp(request->ret_requested_by, borrow->who) != 0) {
		memcpy(borrow->rival, request->ret_requested_by, sizeof(borrow->rival));
		set_state(borrow, LEASE_BORROW_REFUSED);
		return;
	}
	snprintf(borrow->rival, sizeof(borrow->rival), "%s",
		request->ret_held && !ours ? request->ret_consumer_id : "");
	borrow->is_free = !request->ret_held;
	borrow->stray_epoch = ours ? request->ret_epoch : 0;
	borrow->next_ms = borrow->is_free || ours ? now_ms : now_ms + ASK_MS;
}

static int ask(struct lease_borrow *borrow, int64_t now_ms, struct error *err)
{
	struct lease_request request = {.partition = borrow->partition};
	int result = borrow->store->ops->request(
		borrow->store, borrow->who, borrow->ttl_ms, &request, err);

	if (result >= 0)
		judge_answer(borrow, &request, now_ms);
	return result;
}

static int release_stray(struct lease_borrow *borrow, int64_t now_ms, struct error *err)
{
	int result = borrow->store->ops->release(
		borrow->store, borrow->partition, borrow->stray_epoch, err);

	borrow->stray_epoch = 0; /* if it failed, the next request shows it again */
	borrow->next_ms = now_ms;
	return result;
}

static int acquire(struct lease_borrow *borrow, int64_t now_ms, struct error *err)
{
	int64_t epoch = 0;
	int result = borrow->store->ops->acquire(
		borrow->store, borrow->who, borrow->partition, borrow->ttl_ms, &epoch, err);

	borrow->is_free = false;
	borrow->next_ms = now_ms + ASK_MS;
	if (result >= 0 && epoch) {
		borrow->epoch = epoch;
		borrow->rival[0] = '\0';
		borrow->next_ms = now_ms; /* at once: what next_offset is under this epoch */
		set_state(borrow, LEASE_BORROW_HELD);
		extend(borrow, now_ms);
	}
	return result;
}

/* Holding -------------------------------------------------------------------------------------- */

static int renew(struct lease_borrow *borrow, int64_t now_ms, struct error *err)
{
	struct lease_request request = {.partition = borrow->partition, .epoch = borrow->epoch};
	int result = borrow->store->ops->request(
		borrow->store, borrow->who, borrow->ttl_ms, &request, err);

	if (result < 0)
		return result;
	if (borrow->next_offset < 0)
		borrow->next_offset = request.ret_next_offset;
	if (request.ret_epoch != borrow->epoch || request.ret_next_offset != borrow->next_offset)
		set_state(borrow, LEASE_BORROW_LOST);
	else
		extend(borrow, now_ms);
	borrow->next_ms = now_ms + renewal_ms(borrow);
	return 0;
}

/* The tick ------------------------------------------------------------------------------------- */

static int64_t wait_ms(const struct lease_borrow *borrow, int64_t now_ms)
{
	int64_t next_ms = borrow->next_ms;

	if (borrow->state != LEASE_BORROW_ASKING && borrow->state != LEASE_BORROW_HELD)
		return ASK_MS;
	if (borrow->state == LEASE_BORROW_HELD && atomic_load(&borrow->valid_until_ms) < next_ms)
		next_ms = atomic_load(&borrow->valid_until_ms);
	return next_ms > now_ms ? next_ms - now_ms : 0;
}

static int take_step(struct lease_borrow *borrow, int64_t now_ms, struct error *err)
{
	if (borrow->state == LEASE_BORROW_HELD)
		return renew(borrow, now_ms, err);
	if (borrow->stray_epoch)
		return release_stray(borrow, now_ms, err);
	return borrow->is_free ? acquire(borrow, now_ms, err) : ask(borrow, now_ms, err);
}

int64_t lease_borrow_tick(
	struct lease_borrow *borrow, int64_t now_ms, bool *ret_failed, struct error *err)
{
	*ret_failed = false;
	if (borrow->state == LEASE_BORROW_HELD && !lease_borrow_valid(borrow, now_ms))
		set_state(borrow, LEASE_BORROW_LOST);
	if (borrow->state != LEASE_BORROW_ASKING && borrow->state != LEASE_BORROW_HELD)
		return ASK_MS;
	if (now_ms < borrow->next_ms)
		return wait_ms(borrow, now_ms);
	*ret_failed = take_step(borrow, now_ms, err) < 0;
	if (*ret_failed)
		borrow->next_ms = now_ms + ASK_MS;
	return wait_ms(borrow, now_ms);
}

enum lease_borrow_state lease_borrow_state(const struct lease_borrow *borrow)
{
	return borrow->state;
}

bool lease_borrow_valid(const struct lease_borrow *borrow, int64_t now_ms)
{
	return now_ms < atomic_load(&borrow->valid_until_ms);
}

int64_t lease_borrow_epoch(const struct lease_borrow *borrow)
{
	return borrow->epoch;
}

const char *lease_borrow_rival(const struct lease_borrow *borrow)
{
	return borrow->rival;
}

/* Giving back ---------------------------------------------------------------------------------- */

int lease_borrow_return(struct lease_borrow *borrow, struct error *err)
{
	int result;

	if (borrow->state == LEASE_BORROW_ENDED)
		return 0;
	if (borrow->state != LEASE_BORROW_REFUSED)
		set_state(borrow,
			LEASE_BORROW_LOST); /* whatever the answer: nothing is written now */
	result = borrow->store->ops->unrequest(borrow->store, borrow->who, borrow->partition, err);
	if (result >= 0)
		set_state(borrow, LEASE_BORROW_ENDED);
	return result;
}
