/*
 * See lease_plan.h.
 *
 * The plan is the cheapest assignment of partitions to members, where a partition may go only to a
 * member that may own it, and the cost is
 *
 *     weight * (sum of the squares of the shares) + (held partitions that change their owner)
 *
 * with a weight above anything that the second term can reach.  The least sum of squares is what
 * "fair" means when members are restricted: no chain of hand-overs could make two shares more even.
 * Among the fair plans the second term picks one that moves least.
 *
 * It is found by beginning with the owners as they are and improving step by step.  Members are the
 * nodes of a graph; an edge from a to b is the cheapest hand-over of one partition from a to b, and
 * one more node, the pool, stands for the shares: from it to a lies what a share of one less saves,
 * from b to it what a share of one more costs.  A cycle with a negative sum is an improvement; when
 * there is none the plan is the cheapest (the classical theorem on flows of minimal cost).  In
 * the usual case there is nothing to improve, and the cost is one look at each pair.
 *
 * Everything depends on the view alone and ties are broken by position, so all instances agree.
 * A plan that has become true is its own plan: it costs the least and moves nothing.
 *
 * Working memory is taken and freed within the call.
 */
#include "lease_plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define NO_EDGE INT64_MAX

struct edge {
	int64_t cost; /* NO_EDGE: nothing that could be handed over */
	size_t row;
};

struct plan {
	const struct lease_view *view;
	int *owner;         /* a row: the member that should own it; the caller's array */
	int *origin;        /* a row: the member that owns it now, or LEASE_NOBODY */
	int64_t *load;      /* a member: its share */
	struct edge *edges; /* members x members */
	int64_t *distance;  /* a node */
	int *parent;        /* a node */
	int members;
	int64_t weight;
};

static bool may_own(const struct lease_member *member, int32_t partition)
{
	size_t low = 0;
	size_t high = member->partition_count;

	if (member->all)
		return true;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (member->partitions[middle] < partition)
			low = middle + 1;
		else
			high = middle;
	}
	return low < member->partition_count && member->partitions[low] == partition;
}

static bool for_nobody(const struct lease_row *row)
{
	return row->halted || row->requested_by[0];
}

/* The member that holds the lease and may do so. */
static int find_origin(const struct lease_view *view, const struct lease_row *row)
{
	if (!row->held || for_nobody(row))
		return LEASE_NOBODY;
	for (size_t m = 0; m < view->member_count; m++) {
		if (strcmp(view->members[m].consumer_id, row->consumer_id) == 0)
			return may_own(&view->members[m], row->partition) ? (int)m : LEASE_NOBODY;
	}
	return LEASE_NOBODY;
}

static int find_least_loaded(const struct plan *plan, int32_t partition)
{
	int best = LEASE_NOBODY;

	for (int m = 0; m < plan->members; m++) {
		if (!may_own(&plan->view->members[m], partition))
			continue;
		if (best == LEASE_NOBODY || plan->load[m] < plan->load[best])
			best = m;
	}
	return best;
}

/* Where it all begins: owners keep what they have, the rest goes where least is. */
static void begin(struct plan *plan)
{
	const struct lease_view *view = plan->view;

	for (size_t r = 0; r < view->row_count; r++) {
		plan->origin[r] = find_origin(view, &view->rows[r]);
		plan->owner[r] = plan->origin[r];
		if (plan->owner[r] != LEASE_NOBODY)
			plan->load[plan->owner[r]]++;
	}
	for (size_t r = 0; r < view->row_count; r++) {
		if (plan->owner[r] != LEASE_NOBODY || for_nobody(&view->rows[r]))
			continue;
		plan->owner[r] = find_least_loaded(plan, view->rows[r].partition);
		if (plan->owner[r] != LEASE_NOBODY)
			plan->load[plan->owner[r]]++;
	}
}

static int64_t move_cost(const struct plan *plan, size_t row, int member)
{
	return plan->origin[row] != LEASE_NOBODY && plan->origin[row] != member;
}

/* The cheapest hand-over from this member to every other one. */
static void find_edges(struct plan *plan, int from)
{
	struct edge *edges = plan->edges + (size_t)from * plan->members;

	for (int to = 0; to < plan->members; to++)
		edges[to] = (struct edge){.cost = NO_EDGE};
	for (size_t r = 0; r < plan->view->row_count; r++) {
		if (plan->owner[r] != from)
			continue;
		for (int to = 0; to < plan->members; to++) {
			int64_t cost = move_cost(plan, r, to) - move_cost(plan, r, from);

			if (to != from && cost < edges[to].cost &&
				may_own(&plan->view->members[to], plan->view->rows[r].partition))
				edges[to] = (struct edge){.cost = cost, .row = r};
		}
	}
}

static int64_t edge_cost(const struct plan *plan, int from, int to)
{
	int pool = plan->members;

	if (from == pool && to == pool)
		return NO_EDGE;
	if (from == pool) /* a share of n has the square n * n: one less saves 2n - 1 */
		return plan->load[to] ? -plan->weight * (2 * plan->load[to] - 1) : NO_EDGE;
	if (to == pool)
		return plan->weight * (2 * plan->load[from] + 1);
	return plan->edges[(size_t)from * plan->members + to].cost;
}

/* One round of Bellman and Ford's method over all edges.  false: nothing became shorter. */
static bool relax(struct plan *plan)
{
	bool shorter = false;

	for (int from = 0; from <= plan->members; from++) {
		for (int to = 0; to <= plan->members; to++) {
			int64_t cost = edge_cost(plan, from, to);

			if (cost == NO_EDGE || plan->distance[from] + cost >= plan->distance[to])
				continue;
			plan->distance[to] = plan->distance[from] + cost;
			plan->parent[to] = from;
			shorter = true;
		}
	}
	return shorter;
}

/* A node on a cycle of parents, which is a cycle with a negative sum; -1 if there is none. */
static int find_cycle(const struct plan *plan)
{
	for (int start = 0; start <= plan->members; start++) {
		int slow = start;
		int fast = start;

		while (fast >= 0 && plan->parent[fast] >= 0) {
			fast = plan->parent[plan->parent[fast]];
			slow = plan->parent[slow];
			if (fast >= 0 && fast == slow)
				return fast;
		}
	}
	return -1;
}

static int find_improvement(struct plan *plan)
{
	int nodes = plan->members + 1;

	for (int n = 0; n < nodes; n++) {
		plan->distance[n] = 0; /* any node may begin a cycle */
		plan->parent[n] = -1;
	}
	for (int round = 0; round <= nodes; round++) {
		int on_cycle;

		if (!relax(plan))
			return -1;
		on_cycle = find_cycle(plan);
		if (on_cycle >= 0)
			return on_cycle;
	}
	assert(!"distances that fall for ever without a cycle");
	return -1;
}

/* Hands one partition over along each edge of the cycle. */
static void improve(struct plan *plan, int on_cycle)
{
	int pool = plan->members;
	int to = on_cycle;

	do {
		int from = plan->parent[to];

		if (from == pool)
			plan->load[to]--;
		else if (to == pool)
			plan->load[from]++;
		else
			plan->owner[plan->edges[(size_t)from * plan->members + to].row] = to;
		to = from;
	} while (to != on_cycle);
	do { /* only those on the cycle have other partitions now */
		if (to != pool)
			find_edges(plan, to);
		to = plan->parent[to];
	} while (to != on_cycle);
}

void lease_plan(const struct lease_view *view, int *ret_owner)
{
	size_t members = view->member_count;
	struct plan plan = {
		.view = view,
		.owner = ret_owner,
		.origin = xcalloc(view->row_count, sizeof(*plan.origin)),
		.load = xcalloc(members, sizeof(*plan.load)),
		.edges = xcalloc(members * members, sizeof(*plan.edges)),
		.distance = xcalloc(members + 1, sizeof(*plan.distance)),
		.parent = xcalloc(members + 1, sizeof(*plan.parent)),
		.members = (int)members,
		.weight = (int64_t)view->row_count + 1,
	};
	int on_cycle;

	begin(&plan);
	for (int m = 0; m < plan.members; m++)
		find_edges(&plan, m);
	while ((on_cycle = find_improvement(&plan)) >= 0)
		improve(&plan, on_cycle);
	free(plan.origin);
	free(plan.load);
	free(plan.edges);
	free(plan.distance);
	free(plan.parent);
}
