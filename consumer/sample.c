#include "sample.h"

#include <inttypes.h>
#include <stdlib.h>

#include "partition_private.h"

#define SAMPLE_MS       5000
#define SAMPLE_BALANCES 16

static int compare_rows(const void *a, const void *b)
{
	return balance_key_compare(
		&((const struct balance_row *)a)->key, &((const struct balance_row *)b)->key);
}

/* Keys of some balances in memory, sorted, each once. */
static size_t choose(struct partition *p, struct balance_row *ret_rows)
{
	size_t count = balances_count(p->ledger.balances);
	size_t chosen = 0;

	for (size_t i = 0; i < SAMPLE_BALANCES && count > 0; i++) {
		balance_ref ref = (balance_ref)(partition_random(p) % count);

		ret_rows[i] = (struct balance_row){.key = balances_key(p->ledger.balances, ref)};
	}
	if (count == 0)
		return 0;
	qsort(ret_rows, SAMPLE_BALANCES, sizeof *ret_rows, compare_rows);
	for (size_t i = 0; i < SAMPLE_BALANCES; i++)
		if (i == 0 || compare_rows(&ret_rows[i], &ret_rows[chosen - 1]) != 0)
			ret_rows[chosen++] = ret_rows[i];
	return chosen;
}

static bool same(const struct partition *p, const struct balance_row *row)
{
	static const struct balance none = {.last_offset = -1};
	const struct balance *stored = row->found ? &row->balance : &none;
	struct balance balance;

	balances_get(p->ledger.balances, balances_find(p->ledger.balances, row->key), &balance);
	return balance.available == stored->available && balance.frozen == stored->frozen &&
	       balance.version == stored->version && balance.last_offset == stored->last_offset;
}

/* Whether the rows that were read are still this owner's: else another has written since. */
static bool still_ours(struct partition *p)
{
	struct store *store = p->edges.reader;
	struct store_partition row;
	struct error err;

	return store->ops->read_partition(store, p->config.partition, &row, &err) == STORE_OK &&
	       row.epoch == p->config.epoch && row.next_offset == atomic_load(&p->committed_offset);
}

static void compare(struct partition *p, const struct balance_row *rows, size_t count)
{
	int64_t differing = 0;

	for (size_t i = 0; i < count; i++)
		differing += !same(p, &rows[i]);
	if (differing == 0 || !still_ours(p))
		return;
	counter_add(&p->edges.metrics->drift, (uint64_t)differing);
	p->edges.on_drift(p->edges.context, p->config.partition, differing);
}

/* The server ends a session that was silent for long.  A failure here is no matter: next time. */
static bool connected(struct partition *p)
{
	struct store *store = p->edges.reader;
	struct error err;

	if (!p->reader_connected)
		p->reader_connected = store->ops->connect(store, &err) == STORE_OK;
	return p->reader_connected;
}

void sample(struct partition *p, int64_t now_ms)
{
	struct store *store = p->edges.reader;
	struct balance_row rows[SAMPLE_BALANCES];
	struct error err;
	size_t count;

	if (p->flying || now_ms - p->sampled_ms < SAMPLE_MS)
		return;
	p->sampled_ms = now_ms;
	count = choose(p, rows);
	if (count == 0 || !connected(p))
		return;
	p->reader_connected = store->ops->read_balances(store, rows, count, &err) == STORE_OK;
	if (p->reader_connected)
		compare(p, rows, count);
}
