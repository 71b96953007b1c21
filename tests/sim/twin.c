/* See twin.h. */
#include "twin.h"

#include "rows.h"

#define STEPS_MAX 1000000

static void run(struct world *twin)
{
	while (!world_at_rest(twin)) {
		world_step(twin);
		if (twin->steps > STEPS_MAX)
			world_fail(twin, "not at rest, though there are no faults");
	}
}

static void compare_partition(struct world *twin, const struct world *w, int32_t p)
{
	const struct memory_partition *a = &w->db.tables[p];
	const struct memory_partition *b = &twin->db.tables[p];

	if (w->offsets[p].next_offset != twin->offsets[p].next_offset || w->offsets[p].halted)
		world_fail(twin, "partition %d: another next_offset than without faults", p);
	if (a->journal_count != b->journal_count || a->dead_letter_count != b->dead_letter_count ||
		a->gap_count != b->gap_count)
		world_fail(twin, "partition %d: not as many rows as without faults", p);
	for (size_t i = 0; i < a->journal_count; i++)
		if (!rows_same(&a->journal[i], &b->journal[i]))
			world_fail(twin,
				"partition %d offset %lld: another row than without faults", p,
				(long long)a->journal[i].offset);
	for (size_t i = 0; i < a->dead_letter_count; i++)
		if (!rows_same_letter(&a->dead_letters[i], &b->dead_letters[i]))
			world_fail(twin,
				"partition %d offset %lld: another dead letter than without faults",
				p, (long long)a->dead_letters[i].offset);
}

static bool same_image(const struct snapshot_image *a, const struct snapshot_image *b)
{
	if (!a || !b)
		return a == b;
	return a->version == b->version && a->available == b->available && a->frozen == b->frozen;
}

static void compare_balances(struct world *twin, const struct world *w)
{
	if (w->db.balance_count != twin->db.balance_count)
		world_fail(twin, "not as many balances as without faults");
	for (size_t i = 0; i < w->db.balance_count; i++) {
		const struct store_balance *row = &w->db.balances[i];

		if (!rows_same_balance(row, &twin->db.balances[i]))
			world_fail(twin, "account %lld: another balance than without faults",
				(long long)row->key.account_id);
		if (!same_image(snapshot_memory_find(w->redis, row->key),
			    snapshot_memory_find(twin->redis, row->key)))
			world_fail(twin, "account %lld: another image in Redis than without faults",
				(long long)row->key.account_id);
	}
	if (snapshot_memory_count(w->redis) != snapshot_memory_count(twin->redis))
		world_fail(twin, "not as many keys in Redis as without faults");
}

bool twin_check(const struct world *w)
{
	struct world twin;

	if (w->replayer || w->truncations > 0)
		return false;
	world_init_again(&twin, w);
	run(&twin);
	for (int32_t p = 0; p < w->partitions; p++)
		compare_partition(&twin, w, p);
	compare_balances(&twin, w);
	world_finish(&twin);
	return true;
}
