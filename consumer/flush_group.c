#include "flush_group.h"

#include <assert.h>

#include "encode.h"

bool flush_group_takes(const struct flush *f)
{
	return f->step == FLUSH_BEGIN && f->attempt == 0;
}

void flush_group_start(
	struct flush_group *g, struct store *store, struct flush *const *members, size_t count)
{
	assert(count >= 1 && count <= FLUSH_GROUP_MAX);
	*g = (struct flush_group){
		.store = store, .connected = true, .count = count, .step = FLUSH_BEGIN};
	for (size_t i = 0; i < count; i++) {
		assert(flush_group_takes(members[i]));
		g->members[i] = members[i];
	}
}

bool flush_group_ended(const struct flush_group *g)
{
	return g->step == FLUSH_ENDED;
}

/* The ways a step ends ------------------------------------------------------------------------ */

static void end(struct flush_group *g, enum flush_step members, enum flush_verdict verdict)
{
	for (size_t i = 0; i < g->count; i++) {
		g->members[i]->step = members;
		g->members[i]->verdict = verdict;
	}
	g->step = FLUSH_ENDED;
}

/* Nothing of it is in the database: each member begins anew, alone. */
static void split(struct flush_group *g)
{
	if (g->connected)
		g->store->ops->rollback(g->store);
	end(g, FLUSH_BEGIN, FLUSH_PENDING);
}

/* One of the members says that it will be tried again, with its error. */
static void tell(const struct flush_group *g, const struct flush *member)
{
	if (member->on_retry)
		member->on_retry(member->on_retry_context, g->step, g->store, &member->error);
}

/* A statement before COMMIT did not succeed. */
static void failed(struct flush_group *g, enum store_result result, const struct flush *member)
{
	tell(g, member);
	g->connected = result != STORE_LOST;
	split(g);
}

/* What was committed is to be asked on new connections.  The old one may hold its locks. */
static void settle_each(struct flush_group *g)
{
	tell(g, g->members[0]);
	g->store->ops->disconnect(g->store);
	g->connected = false;
	end(g, FLUSH_SETTLE_CONNECT, FLUSH_PENDING);
}

/* The steps ----------------------------------------------------------------------------------- */

static void step_begin(struct flush_group *g)
{
	struct flush *first = g->members[0];
	enum store_result result = g->store->ops->begin(g->store, &first->error);

	if (result != STORE_OK)
		failed(g, result, first);
	else
		g->step = FLUSH_FENCE;
}

static void step_fence(struct flush_group *g)
{
	struct flush *member = g->members[g->fenced];
	bool moved = false;
	enum store_result result = g->store->ops->move_offset(
		g->store, &member->request, &moved, &member->error);

	if (result != STORE_OK)
		failed(g, result, member);
	else if (!moved)
		split(g);
	else if (++g->fenced == g->count)
		g->step = FLUSH_JOURNAL;
}

static size_t rows(const struct flush_group *g, enum store_table table)
{
	size_t sum = 0;

	for (size_t i = 0; i < g->count; i++)
		sum += encode_rows(g->members[i]->request.batch, table);
	return sum;
}

static size_t known(const struct flush_group *g)
{
	size_t sum = 0;

	for (size_t i = 0; i < g->count; i++)
		sum += g->members[i]->request.batch->known_count;
	return sum;
}

/* No more and no less: where a flush alone leaves room, whose row it was would not be known. */
static bool as_expected(const struct flush_group *g, enum store_table table,
	const struct store_counts *counts, size_t sent)
{
	size_t replaced = table == STORE_BALANCES ? known(g) : 0;

	return counts->warnings == 0 && counts->skipped == 0 && counts->records == (int64_t)sent &&
	       counts->deleted == (int64_t)replaced;
}

static void load(struct flush_group *g, enum store_table table, enum flush_step next)
{
	const struct flush_request *requests[FLUSH_GROUP_MAX];
	size_t sent = rows(g, table);
	struct store_counts counts = {0};
	enum store_result result;

	if (sent == 0) {
		g->step = next;
		return;
	}
	for (size_t i = 0; i < g->count; i++)
		requests[i] = &g->members[i]->request;
	result = g->store->ops->load(
		g->store, requests, g->count, table, &counts, &g->members[0]->error);
	if (result != STORE_OK)
		failed(g, result, g->members[0]);
	else if (as_expected(g, table, &counts, sent))
		g->step = next;
	else
		split(g);
}

static void step_commit(struct flush_group *g)
{
	if (g->store->ops->commit(g->store, &g->members[0]->error) == STORE_OK)
		end(g, FLUSH_ENDED, FLUSH_COMMITTED);
	else
		settle_each(g);
}

static bool abandoned(const struct flush_group *g)
{
	for (size_t i = 0; i < g->count; i++)
		if (atomic_load(&g->members[i]->abandon))
			return true;
	return false;
}

void flush_group_step(struct flush_group *g)
{
	if (abandoned(g)) {
		split(g);
		return;
	}
	switch (g->step) {
	case FLUSH_BEGIN:
		step_begin(g);
		return;
	case FLUSH_FENCE:
		step_fence(g);
		return;
	case FLUSH_JOURNAL:
		load(g, STORE_JOURNAL, FLUSH_BALANCES);
		return;
	case FLUSH_BALANCES:
		load(g, STORE_BALANCES, FLUSH_DEAD_LETTERS);
		return;
	case FLUSH_DEAD_LETTERS:
		load(g, STORE_DEAD_LETTERS, FLUSH_COMMIT);
		return;
	case FLUSH_COMMIT:
		step_commit(g);
		return;
	default:
		assert(!"a group has no such step");
	}
}
