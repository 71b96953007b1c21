#include "fetch.h"

#include <assert.h>
#include <inttypes.h>

#include "partition_private.h"

#define NOT_OURS_MS    1  /* until the next turn sees that the partition is lost */
#define LOOKUP_BATCHES 64 /* after an old duplicate, ids are looked up for so many batches */

/* The reader, connected; else how long to wait in *ret_wait_ms. */
static struct store *reader(struct partition *p, int64_t *ret_wait_ms)
{
	struct store *store = p->edges.reader;
	enum store_result result;
	struct error err;

	if (p->reader_connected)
		return store;
	result = store->ops->connect(store, &err);
	if (result != STORE_OK) {
		*ret_wait_ms = partition_reader_failed(p, result, "connecting to MySQL", &err);
		return NULL;
	}
	p->reader_connected = true;
	return store;
}

/* Whose it is ---------------------------------------------------------------------------------- */

enum store_result fetch_ownership(struct partition *p, bool *ret_ours, struct error *err)
{
	struct store *store = p->edges.reader;
	struct store_partition row;
	enum store_result result = store->ops->read_partition(
		store, p->config.partition, &row, err);

	*ret_ours = result == STORE_OK && row.epoch == p->config.epoch &&
		    (row.next_offset == atomic_load(&p->committed_offset) ||
			    row.next_offset == atomic_load(&p->in_flight_offset));
	return result;
}

bool fetch_confirm(struct partition *p, int64_t *ret_wait_ms)
{
	struct error err;
	bool ours;
	enum store_result result = fetch_ownership(p, &ours, &err);

	*ret_wait_ms = NOT_OURS_MS;
	if (result != STORE_OK)
		*ret_wait_ms = partition_reader_failed(
			p, result, "reading partition_offsets", &err);
	else if (!ours)
		partition_lose(p, true);
	return ours;
}

/* Balances ------------------------------------------------------------------------------------- */

/* Rows that this partition has not written yet: somebody else writes to the database, or an account
 * came from another partition.  NULL: there are none. */
static const struct balance_row *find_foreign(const struct partition *p, size_t count)
{
	int64_t committed = p->flying ? p->flying->begin_offset : p->prepared->begin_offset;

	for (size_t i = 0; i < count; i++)
		if (p->rows[i].found && p->rows[i].balance.last_offset >= committed)
			return &p->rows[i];
	return NULL;
}

static int64_t halt_for_foreign(struct partition *p, const struct balance_row *row)
{
	char currency[CURRENCY_LENGTH_MAX + 1];

	currency_text(row->key.currency, currency);
	return partition_halting(p,
		"account_balances has last_offset %" PRId64 " for account %" PRId64 " (%s), which "
		"this partition has not reached: look for who else writes to the database, and run "
		"`ledgerd verify`",
		row->balance.last_offset, row->key.account_id, currency);
}

static int64_t load_missing(struct partition *p, size_t missing)
{
	int64_t wait_ms = 0;
	struct store *store = reader(p, &wait_ms);
	const struct balance_row *foreign;
	enum store_result result;
	struct error err;

	if (!store)
		return wait_ms;
	for (size_t i = 0; i < missing; i++)
		p->rows[i] = (struct balance_row){.key = p->missing[i]};
	result = store->ops->read_balances(store, p->rows, missing, &err);
	if (result != STORE_OK)
		return partition_reader_failed(p, result, "loading balances", &err);
	p->attempt = 0;
	foreign = find_foreign(p, missing);
	if (foreign)
		return fetch_confirm(p, &wait_ms) ? halt_for_foreign(p, foreign) : wait_ms;
	ledger_load(&p->ledger, p->prepared, p->rows, missing);
	return 0;
}

int64_t fetch_balances(struct partition *p)
{
	size_t missing = ledger_resolve(&p->ledger, p->prepared, p->resolved, p->missing);
	int64_t wait_ms;

	if (missing > 0) {
		wait_ms = load_missing(p, missing);
		if (wait_ms > 0 || p->state == PARTITION_HALTED)
			return wait_ms;
		missing = ledger_resolve(&p->ledger, p->prepared, p->resolved, p->missing);
		assert(missing == 0);
	}
	p->resolved = p->prepared->count;
	return 0;
}

/* Ids ------------------------------------------------------------------------------------------ */

static void learn(void *context, const struct event *event)
{
	struct partition *p = context;
	struct dedupe_id id = dedupe_id(&p->ledger.key, event);

	if (dedupe_check(p->ledger.dedupe, &id) != DEDUPE_NEW)
		return;
	ledger_learn(&p->ledger, &id);
	p->learned++;
}

/*
 * Asks the database for the ids of a batch that memory does not know.  A call that fails halfway
 * has taught some of them, so p->learned is counted over all attempts.
 */
static int64_t look_up(struct partition *p, const struct batch *b)
{
	int64_t wait_ms = 0;
	struct store *store = reader(p, &wait_ms);
	enum store_result result;
	struct error err;
	size_t count = 0;

	if (!store)
		return wait_ms;
	for (size_t i = 0; i < b->count; i++) {
		const struct record *record = &b->records[i];

		if (record->dead_reason == DEAD_NONE &&
			dedupe_check(p->ledger.dedupe, &record->id) == DEDUPE_NEW)
			p->events[count++] = &record->event;
	}
	result = store->ops->find_transactions(store, p->events, count, learn, p, &err);
	if (result != STORE_OK)
		return partition_reader_failed(p, result, "looking up transaction ids", &err);
	p->attempt = 0;
	return 0;
}

/* A flush has met a row, and it is none of a known id: its offset is there already. */
static int64_t halt_for_rows(struct partition *p)
{
	return partition_halting(p,
		"offsets %" PRId64 " to %" PRId64
		" are not below next_offset, but MySQL has rows for some of them: "
		"partition_offsets was set back by hand, or two ledgers share this database; see "
		"OPERATIONS, \"Rows beyond the offset\"",
		p->flying->begin_offset, p->flying->end_offset - 1);
}

int64_t fetch_known_ids(struct partition *p)
{
	int64_t wait_ms = look_up(p, p->flying);

	if (wait_ms > 0 || p->state == PARTITION_HALTED)
		return wait_ms;
	if (p->learned == 0)
		return fetch_confirm(p, &wait_ms) ? halt_for_rows(p) : wait_ms;
	p->lookups = LOOKUP_BATCHES;
	p->learned = 0;
	p->relearn = false;
	return 0;
}

int64_t fetch_ids(struct partition *p)
{
	int64_t wait_ms;

	if (p->lookups == 0)
		return 0;
	wait_ms = look_up(p, p->prepared);
	if (wait_ms > 0 || p->state == PARTITION_HALTED)
		return wait_ms;
	p->lookups = p->learned > 0 ? LOOKUP_BATCHES : p->lookups - 1;
	p->learned = 0;
	return 0;
}
