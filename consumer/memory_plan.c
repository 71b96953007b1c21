#include "memory_plan.h"

#include <errno.h>

#define FETCH_BYTES_MIN ((size_t)2 << 20)
#define MIB(bytes)      ((bytes) >> 20)

static size_t partition_bytes(const struct partition_config *wanted, size_t ids, size_t fetch_bytes)
{
	struct partition_config config = *wanted;

	config.dedupe_ids = ids;
	return partition_bytes_min(&config) + fetch_bytes;
}

static bool halve(size_t *value, size_t least)
{
	if (*value <= least)
		return false;
	*value = *value / 2 > least ? *value / 2 : least;
	return true;
}

int memory_plan(const struct partition_config *wanted, size_t max_bytes, size_t fetch_bytes,
	size_t pending_bytes, int32_t partitions, struct memory_plan *ret_plan, struct error *err)
{
	size_t count = (size_t)partitions;
	size_t fetch_wanted = fetch_bytes;
	size_t ids = wanted->dedupe_ids;
	size_t ids_least = 4 * wanted->batch_max_events;
	size_t fixed;
	bool more = true;

	for (;;) {
		fixed = count * partition_bytes(wanted, ids, fetch_bytes) + pending_bytes;
		if (fixed <= max_bytes / 2 || !more)
			break;
		more = halve(&ids, ids_least);
		more |= halve(&fetch_bytes, FETCH_BYTES_MIN);
	}
	if (fixed > max_bytes)
		return error_set(err, -ENOMEM,
			"consumer.memory_max is %zu MiB, but %zu partitions need at least %zu MiB: "
			"raise it, lower consumer.batch_max_events or consumer.batch_max_bytes, or "
			"name fewer partitions in consumer.partitions",
			MIB(max_bytes), count, MIB(fixed) + 1);
	*ret_plan = (struct memory_plan){
		.max_bytes = max_bytes,
		.partition_bytes = partition_bytes(wanted, ids, fetch_bytes),
		.fetch_bytes = fetch_bytes,
		.fixed_bytes = fixed,
		.balances_bytes = max_bytes - fixed,
		.dedupe_ids = ids,
		.lowered = ids < wanted->dedupe_ids || fetch_bytes < fetch_wanted,
	};
	return 0;
}
