#include "memory_plan.h"

#include <errno.h>

#define MIB(bytes)       ((bytes) >> 20)
#define FETCH_BYTES_MIN  ((size_t)1 << 20)
#define BATCH_BYTES_MIN  ((size_t)1 << 20)
#define BATCH_EVENTS_MIN ((size_t)1000)
#define IDS_OF_A_BATCH   4 /* ledger_ids */

static size_t partition_bytes(const struct memory_plan *plan)
{
	struct partition_config config = {
		.dedupe_ids = plan->dedupe_ids,
		.batch_max_events = plan->batch_max_events,
		.batch_max_bytes = plan->batch_max_bytes,
	};

	return partition_bytes_min(&config) + plan->fetch_bytes;
}

static void halve(size_t *value, size_t least)
{
	if (*value > least)
		*value = *value / 2 > least ? *value / 2 : least;
}

/* With one of the sizes halved: the first, the second ... */
static struct memory_plan lower(struct memory_plan plan, int which)
{
	switch (which) {
	case 0:
		halve(&plan.dedupe_ids, IDS_OF_A_BATCH * plan.batch_max_events);
		break;
	case 1:
		halve(&plan.fetch_bytes, FETCH_BYTES_MIN);
		break;
	case 2:
		halve(&plan.batch_max_bytes, BATCH_BYTES_MIN);
		break;
	default:
		halve(&plan.batch_max_events, BATCH_EVENTS_MIN);
	}
	plan.partition_bytes = partition_bytes(&plan);
	return plan;
}

/* Halves what saves the most; false: everything is at its least. */
static bool lower_most(struct memory_plan *plan)
{
	size_t before = plan->partition_bytes;
	struct memory_plan best = *plan;

	for (int which = 0; which < 4; which++) {
		struct memory_plan lowered = lower(*plan, which);

		if (lowered.partition_bytes < best.partition_bytes)
			best = lowered;
	}
	*plan = best;
	plan->lowered |= best.partition_bytes < before;
	return best.partition_bytes < before;
}

int memory_plan(const struct partition_config *wanted, size_t max_bytes, size_t fetch_bytes,
	size_t other_bytes, int32_t partitions, struct memory_plan *ret_plan, struct error *err)
{
	size_t count = (size_t)partitions;
	struct memory_plan plan = {
		.max_bytes = max_bytes,
		.fetch_bytes = fetch_bytes,
		.dedupe_ids = wanted->dedupe_ids,
		.batch_max_events = wanted->batch_max_events,
		.batch_max_bytes = wanted->batch_max_bytes,
	};

	plan.partition_bytes = partition_bytes(&plan);
	while (count * plan.partition_bytes + other_bytes > max_bytes / 2 && lower_most(&plan))
		;
	plan.fixed_bytes = count * plan.partition_bytes + other_bytes;
	if (plan.fixed_bytes > max_bytes)
		return error_set(err, -ENOMEM,
			"consumer.memory_max is %zu MiB, but %zu partitions need at least %zu MiB: "
			"raise it, or name fewer partitions in consumer.partitions",
			MIB(max_bytes), count, MIB(plan.fixed_bytes) + 1);
	plan.balances_bytes = max_bytes - plan.fixed_bytes;
	*ret_plan = plan;
	return 0;
}
