#include "checkers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "node.h"
#include "person.h"
#include "replayer.h"
#include "rows.h"
#include "store.h"

/* A cent is 10^16 of the ledger's units. */
static i128 units(__int128 cents)
{
	return cents * 10000000000000000LL;
}

static int currency_index(currency_t currency)
{
	for (int i = 0; i < WORKLOAD_CURRENCIES; i++)
		if (currency_pack(workload_currencies[i], strlen(workload_currencies[i])) ==
			currency)
			return i;
	return -1;
}

static bool same_id(const struct event *event, int64_t id)
{
	char text[32];
	int length = snprintf(text, sizeof text, "tx-%" PRId64, id);

	return event->transaction_id_length == length &&
	       memcmp(event->transaction_id, text, (size_t)length) == 0;
}

/* Every column of what was sent. */
static bool same_event(const struct world *w, int32_t partition, int64_t offset,
	const struct intent *intent, const struct event *event)
{
	return event->account_id == intent->account &&
	       currency_index(event->currency) == intent->currency &&
	       event->amount == units(intent->cents) && event->type == intent->kind + 1 &&
	       same_id(event, intent->id) &&
	       event->time_ms == w->logs[partition].records[offset].timestamp_ms;
}

static void check_row(struct world *w, int32_t partition, const struct memory_journal_row *row)
{
	const struct expected *e = &w->oracles[partition].expected[row->offset];
	const char *reason = refusal_text(row->refusal);

	if (!oracle_is_row(e))
		world_fail(w, "partition %d offset %lld: a journal row that must not be there",
			partition, (long long)row->offset);
	if (!same_event(w, partition, row->offset, &e->intent, &row->event))
		world_fail(w, "partition %d offset %lld: another event than was sent", partition,
			(long long)row->offset);
	if ((e->fate == FATE_FAILED) != (reason != NULL) ||
		(reason && strcmp(reason, e->reason) != 0))
		world_fail(w, "partition %d offset %lld: %s, expected %s", partition,
			(long long)row->offset, reason ? reason : "applied",
			e->reason ? e->reason : "applied");
	if (row->available_after != units(e->available_after) ||
		row->frozen_after != units(e->frozen_after))
		world_fail(w, "partition %d offset %lld: wrong balances after it", partition,
			(long long)row->offset);
	if (row->prev_offset != e->prev_offset)
		world_fail(w, "partition %d offset %lld: prev_offset %lld, expected %lld",
			partition, (long long)row->offset, (long long)row->prev_offset,
			(long long)e->prev_offset);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_dead_letter(
	struct world *w, int32_t partition, const struct memory_dead_letter *row)
{
	const struct expected *e = &w->oracles[partition].expected[row->offset];
	const struct memory_log_record *sent = &w->logs[partition].records[row->offset];

	if (e->fate != FATE_DEAD || strcmp(e->reason, dead_reason_text(row->reason)) != 0)
		world_fail(w, "partition %d offset %lld: dead letter %s, expected %s", partition,
			(long long)row->offset, dead_reason_text(row->reason),
			e->reason ? e->reason : "none");
	if (!rows_same_bytes(row->value, row->value_length, sent->value, sent->value_length) ||
		!rows_same_bytes(row->key, row->key_length, sent->key, sent->key_length))
		world_fail(w, "partition %d offset %lld: the dead letter has other bytes",
			partition, (long long)row->offset);
	if (!same_text(row->headers, sent->headers))
		world_fail(w, "partition %d offset %lld: the dead letter has other headers",
			partition, (long long)row->offset);
}

/* Every offset below next_offset has had its fate, once and in order; none above. */
static void check_rows(struct world *w, int32_t partition)
{
	const struct memory_partition *table = &w->db.tables[partition];
	int64_t next_offset = w->offsets[partition].next_offset;
	int64_t row = w->checked_rows[partition];
	int64_t dead = w->checked_dead[partition];

	for (int64_t i = w->checked_offset[partition]; i < next_offset; i++) {
		const struct expected *e = &w->oracles[partition].expected[i];

		if (oracle_is_row(e)) {
			if (row >= (int64_t)table->journal_count || table->journal[row].offset != i)
				world_fail(w,
					"partition %d offset %lld: no journal row, but "
					"next_offset is %lld",
					partition, (long long)i, (long long)next_offset);
			check_row(w, partition, &table->journal[row++]);
		} else if (e->fate == FATE_DEAD) {
			if (dead >= (int64_t)table->dead_letter_count ||
				table->dead_letters[dead].offset != i)
				world_fail(w, "partition %d offset %lld: no dead letter", partition,
					(long long)i);
			check_dead_letter(w, partition, &table->dead_letters[dead++]);
		}
	}
	if (row != (int64_t)table->journal_count || dead != (int64_t)table->dead_letter_count)
		world_fail(w, "partition %d: rows at or beyond next_offset %lld, or twice",
			partition, (long long)next_offset);
	w->checked_rows[partition] = row;
	w->checked_dead[partition] = dead;
	w->checked_offset[partition] = next_offset;
}

static void check_balance(struct world *w, const struct store_balance *row)
{
	int64_t offset;
	const struct expected *e = oracle_newest(&w->oracles[row->partition], row->key.account_id,
		currency_index(row->key.currency), w->offsets[row->partition].next_offset, &offset);

	if (!e || row->balance.last_offset != offset ||
		row->balance.available != units(e->available_after) ||
		row->balance.frozen != units(e->frozen_after) ||
		row->balance.version != e->version_after)
		world_fail(w, "balance of account %lld: not what its newest row at %lld says",
			(long long)row->key.account_id, (long long)offset);
}

/* What a row has done to the money that there is. */
static i128 made_by(const struct memory_journal_row *row)
{
	if (row->refusal != REFUSAL_NONE)
		return 0;
	switch (row->event.type) {
	case EVENT_DEPOSIT:
		return row->event.amount;
	case EVENT_WITHDRAW:
	case EVENT_SETTLE:
		return -row->event.amount;
	default:
		return 0;
	}
}

/* Per currency: deposits - withdrawals - settlements = available + frozen, none of it negative. */
static void check_money(struct world *w)
{
	i128 sums[WORKLOAD_CURRENCIES] = {0};

	for (int32_t p = 0; p < w->partitions; p++) {
		const struct memory_partition *table = &w->db.tables[p];

		for (size_t i = 0; i < table->journal_count; i++)
			sums[currency_index(table->journal[i].event.currency)] += made_by(
				&table->journal[i]);
	}
	for (size_t i = 0; i < w->db.balance_count; i++) {
		const struct store_balance *row = &w->db.balances[i];

		if (row->balance.available < 0 || row->balance.frozen < 0)
			world_fail(w, "account %lld: a negative balance",
				(long long)row->key.account_id);
		sums[currency_index(row->key.currency)] -= row->balance.available +
							   row->balance.frozen;
	}
	for (int i = 0; i < WORKLOAD_CURRENCIES; i++)
		if (sums[i] != 0)
			world_fail(w, "%s: money was made or lost", workload_currencies[i]);
}

static void check_offset(struct world *w, int32_t partition)
{
	const struct partition_offset_row *row = &w->offsets[partition];

	if (row->next_offset < w->checked_offset[partition])
		world_fail(w, "partition %d: next_offset went back to %lld", partition,
			(long long)row->next_offset);
	if (row->next_offset > w->logs[partition].end)
		world_fail(w, "partition %d: next_offset is beyond the log", partition);
	if (row->redis_offset > row->next_offset)
		world_fail(w, "partition %d: redis_offset is beyond next_offset", partition);
	if (row->epoch < w->checked_epoch[partition])
		world_fail(w, "partition %d: the epoch went back", partition);
	w->checked_epoch[partition] = row->epoch;
	if (row->next_offset > w->furthest[partition])
		w->furthest[partition] = row->next_offset;
}

/*
 * After the database went back Redis may be ahead, but only in a partition that has not caught up
 * yet, and only with what the log says next of this balance: what the lost commits had.
 */
static bool will_be_caught_up(const struct world *w, const struct snapshot_image *image)
{
	int currency = currency_index(image->key.currency);

	for (int32_t p = 0; p < w->partitions; p++) {
		const struct expected *e;

		if (w->offsets[p].next_offset == w->furthest[p])
			continue;
		e = oracle_version(&w->oracles[p], image->key.account_id, currency, image->version,
			w->furthest[p]);
		if (e && image->available == units(e->available_after) &&
			image->frozen == units(e->frozen_after))
			return true;
	}
	return false;
}

static void check_image(void *context, const struct snapshot_image *image)
{
	struct world *w = context;
	const struct store_balance *row = memory_database_balance(&w->db, image->key);
	int64_t version = row ? row->balance.version : 0;

	if (image->version > version && will_be_caught_up(w, image))
		return;
	if (image->version > version)
		world_fail(w, "Redis is ahead of the database at account %lld",
			(long long)image->key.account_id);
	if (image->version == version && (image->available != row->balance.available ||
						 image->frozen != row->balance.frozen))
		world_fail(w, "Redis has other amounts than the database at account %lld",
			(long long)image->key.account_id);
}

/* Whether it counts against another that this node takes the partition for its own. */
static bool believes(const struct world *w, const struct node *node, int32_t p)
{
	if (!node_believes(node, p))
		return false;
	/* It may not know yet that its lease was lost; but it cannot commit any more. */
	return w->now_us >= w->leases_doubtful_until_us ||
	       (node_epoch(node, p) && node_epoch(node, p) == w->offsets[p].epoch);
}

/* At any time one node at most believes that a partition is its own. */
static void check_believers(struct world *w)
{
	for (int32_t p = 0; p < w->partitions; p++) {
		int believers = 0;

		for (int i = 0; i < w->node_count; i++)
			believers += believes(w, w->nodes[i], p);
		if (believers > 1)
			world_fail(
				w, "partition %d: %d nodes believe in their lease", p, believers);
	}
}

/* The database's own row proves that epochs grow (check_offset), as long as it does not go back. */
void check_acquired(struct world *w, int node, int32_t partition, int64_t epoch)
{
	struct epochs *epochs = &w->epochs[partition];

	for (size_t i = 0; i < epochs->count; i++)
		if (epochs->epochs[i] == epoch)
			world_fail(w, "partition %d: epoch %lld is handed out twice", partition,
				(long long)epoch);
	if (epochs->count == epochs->capacity) {
		epochs->capacity = epochs->capacity ? 2 * epochs->capacity : 16;
		epochs->epochs = xrealloc(
			epochs->epochs, epochs->capacity * sizeof *epochs->epochs);
	}
	epochs->epochs[epochs->count++] = epoch;
	if (w->last_owner[partition] && w->last_owner[partition] != node + 1)
		world_count(w, FAULT_HANDED_OVER);
	w->last_owner[partition] = node + 1;
}

void check_flush(struct world *w, const struct flush *f)
{
	int32_t partition = f->request.partition;

	if (f->verdict == FLUSH_COMMITTED && f->request.epoch != w->offsets[partition].epoch)
		world_fail(w, "partition %d: epoch %lld has committed, but it is the turn of %lld",
			partition, (long long)f->request.epoch,
			(long long)w->offsets[partition].epoch);
}

void check_step(struct world *w)
{
	check_believers(w);
	if (w->db.commits == w->commits_seen)
		return;
	w->commits_seen = w->db.commits;
	for (int32_t i = 0; i < w->partitions; i++) {
		check_offset(w, i);
		if (w->replayer)
			continue;
		check_rows(w, i);
		person_check(w, i);
	}
	if (w->replayer)
		replayer_check(w->replayer);
	for (size_t i = 0; i < w->db.balance_count && !w->replayer; i++)
		check_balance(w, &w->db.balances[i]);
	if (!w->replayer)
		check_money(w);
	snapshot_memory_each(w->redis, check_image, w);
}

bool check_redis_equal(struct world *w)
{
	size_t keys = 0;

	for (size_t i = 0; i < w->db.balance_count; i++) {
		const struct store_balance *row = &w->db.balances[i];
		const struct snapshot_image *image = snapshot_memory_find(w->redis, row->key);

		if (row->balance.version == 0)
			continue;
		keys++;
		if (!image || image->version != row->balance.version)
			return false;
	}
	snapshot_memory_each(w->redis, check_image, w);
	return snapshot_memory_count(w->redis) == keys;
}
