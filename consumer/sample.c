#include "sample.h"

#include <assert.h>
#include <stdlib.h>

#include "fetch.h"
#include "partition_private.h"
#include "publisher.h"

#define SAMPLE_MS       5000
#define SAMPLE_BALANCES PUBLISHER_PROBES_MAX

static const char *const texts[DRIFTS] = {
	[DRIFT_MYSQL] =
		"balances in memory are not what MySQL has: run `ledgerd verify`; a restart "
		"reads them anew",
	[DRIFT_REDIS_MISSING] = "balances that were written to redis are missing there: deleted by "
				"hand, or evicted, unless its maxmemory-policy is noeviction; they "
				"are written again",
	[DRIFT_REDIS_BEHIND] = "balances in redis are older than what was written there: another "
			       "program writes to it; they are written again",
	[DRIFT_REDIS_AHEAD] = "balances in redis are newer than MySQL's: another program writes to "
			      "it; run `ledgerd snapshot rebuild`",
	[DRIFT_REDIS_OTHER] = "balances in redis are not as they were written: another program "
			      "writes to it; they are written again",
};

const char *drift_text(enum drift drift)
{
	assert(drift >= 0 && drift < DRIFTS);
	return texts[drift];
}

static int compare_rows(const void *a, const void *b)
{
	return balance_key_compare(
		&((const struct balance_row *)a)->key, &((const struct balance_row *)b)->key);
}

/* Keys of some balances in memory, or of all if they are few; sorted, each once. */
static size_t choose(struct partition *p, struct balance_row *ret_rows)
{
	size_t count = balances_count(p->ledger.balances);
	size_t drawn = count < SAMPLE_BALANCES ? count : SAMPLE_BALANCES;
	size_t chosen = 0;

	for (size_t i = 0; i < drawn; i++) {
		balance_ref ref = (balance_ref)(count > drawn ? partition_random(p) % count : i);

		ret_rows[i] = (struct balance_row){.key = balances_key(p->ledger.balances, ref)};
	}
	qsort(ret_rows, drawn, sizeof *ret_rows, compare_rows);
	for (size_t i = 0; i < drawn; i++)
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

/* Whether this is still the owner: else another has written since. */
static bool still_ours(struct partition *p)
{
	struct error err;
	bool ours;

	return fetch_ownership(p, &ours, &err) == STORE_OK && ours;
}

static void tell(struct partition *p, enum drift drift, int64_t balances)
{
	counter_add(&p->edges.metrics->drift, (uint64_t)balances);
	p->edges.on_drift(p->edges.context, p->config.partition, drift, balances);
}

/* The database --------------------------------------------------------------------------------- */

static void compare(struct partition *p, const struct balance_row *rows, size_t count)
{
	int64_t differing = 0;

	for (size_t i = 0; i < count; i++)
		differing += !same(p, &rows[i]);
	if (differing > 0 && still_ours(p))
		tell(p, DRIFT_MYSQL, differing);
}

/* Redis ---------------------------------------------------------------------------------------- */

/* What memory and the database agree on, and Redis should have: nothing of version 0. */
static void ask(struct partition *p, const struct balance_row *rows, size_t count)
{
	const struct clock *clock = p->edges.clock;
	struct publisher_probe probes[SAMPLE_BALANCES];
	size_t asked = 0;

	for (size_t i = 0; i < count; i++) {
		const struct balance *balance = &rows[i].balance;

		if (rows[i].found && balance->version > 0 && same(p, &rows[i]))
			probes[asked++] = (struct publisher_probe){
				.image = {rows[i].key, balance->available, balance->frozen,
					balance->version, clock->wall_ms(clock)},
				.last_offset = balance->last_offset,
			};
	}
	if (asked > 0)
		publisher_probe(p->edges.publisher, p->config.partition, probes, asked);
}

/*
 * Whether the balance has moved on, to what Redis has at least; or nobody can tell.  Before the
 * partition has come to where the log ended when it began, the log may still bring that version:
 * the database has failed over to a copy that is behind, and Redis was told of what it has lost.
 */
static bool caught_up(const struct partition *p, const struct snapshot_image *found)
{
	balance_ref ref = balances_find(p->ledger.balances, found->key);
	struct balance balance;

	if (ref == BALANCE_NONE || atomic_load(&p->committed_offset) < p->log_end)
		return true;
	balances_get(p->ledger.balances, ref, &balance);
	return balance.version >= found->version;
}

/* DRIFTS: none. */
static enum drift judge(const struct partition *p, const struct publisher_probe *probe)
{
	const struct snapshot_image *image = &probe->image;
	const struct snapshot_image *found = &probe->found;

	if (!probe->covered)
		return DRIFTS;
	if (found->version == 0)
		return DRIFT_REDIS_MISSING;
	if (found->version == SNAPSHOT_UNREADABLE)
		return DRIFT_REDIS_OTHER;
	if (found->version > image->version)
		return caught_up(p, found) ? DRIFTS : DRIFT_REDIS_AHEAD;
	if (found->version < image->version)
		return DRIFT_REDIS_BEHIND;
	return found->available == image->available && found->frozen == image->frozen
		       ? DRIFTS
		       : DRIFT_REDIS_OTHER;
}

/* What is to be there by now: with no batch in the ledger, memory holds what was committed. */
static struct snapshot_image newest(const struct partition *p, struct snapshot_image image)
{
	balance_ref ref = balances_find(p->ledger.balances, image.key);
	struct balance balance;

	if (ref == BALANCE_NONE)
		return image;
	balances_get(p->ledger.balances, ref, &balance);
	image.available = balance.available;
	image.frozen = balance.frozen;
	image.version = balance.version;
	return image;
}

static void tell_all(struct partition *p, const int64_t found[DRIFTS])
{
	for (int drift = 0; drift < DRIFTS; drift++)
		if (found[drift] > 0)
			tell(p, drift, found[drift]);
}

/* What the publisher has found since the last time. */
static void compare_redis(struct partition *p)
{
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	struct snapshot_image mended[PUBLISHER_PROBES_MAX];
	int64_t found[DRIFTS] = {0};
	size_t count = publisher_probed(p->edges.publisher, p->config.partition, probes);
	size_t differing = 0;

	for (size_t i = 0; i < count; i++) {
		enum drift drift = judge(p, &probes[i]);

		if (drift == DRIFTS)
			continue;
		found[drift]++;
		mended[differing++] = newest(p, probes[i].image);
	}
	if (differing == 0 || !still_ours(p))
		return;
	tell_all(p, found);
	publisher_mend(p->edges.publisher, p->config.partition, mended, differing);
}

/* ---------------------------------------------------------------------------------------------- */

/* The server ends a session that was silent for long.  A failure here is no matter: next time. */
static bool connected(struct partition *p)
{
	struct store *store = p->edges.reader;
	struct error err;

	if (!p->reader_connected)
		p->reader_connected = store->ops->connect(store, &err) == STORE_OK;
	return p->reader_connected;
}

static bool read_rows(struct partition *p, struct balance_row *rows, size_t count)
{
	struct store *store = p->edges.reader;
	struct error err;

	p->reader_connected = store->ops->read_balances(store, rows, count, &err) == STORE_OK;
	return p->reader_connected;
}

void sample(struct partition *p, int64_t now_ms)
{
	struct balance_row rows[SAMPLE_BALANCES];
	size_t count;

	if (p->flying || now_ms - p->sampled_ms < SAMPLE_MS)
		return;
	p->sampled_ms = now_ms;
	count = choose(p, rows);
	if (count == 0 || !connected(p))
		return;
	if (p->edges.publisher)
		compare_redis(p);
	if (!read_rows(p, rows, count))
		return;
	compare(p, rows, count);
	if (p->edges.publisher)
		ask(p, rows, count);
}
