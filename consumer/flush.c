#include "flush.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "retry_wait.h"

#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 2000

static const char *const step_texts[FLUSH_STEPS] = {
	[FLUSH_IDLE] = "idle",
	[FLUSH_CONNECT] = "connect",
	[FLUSH_BEGIN] = "begin",
	[FLUSH_FENCE] = "fence",
	[FLUSH_JOURNAL] = "journal",
	[FLUSH_BALANCES] = "balances",
	[FLUSH_DEAD_LETTERS] = "dead_letters",
	[FLUSH_COMMIT] = "commit",
	[FLUSH_SETTLE_CONNECT] = "settle_connect",
	[FLUSH_SETTLE] = "settle",
	[FLUSH_ENDED] = "ended",
};

const char *flush_step_text(enum flush_step step)
{
	return step_texts[step];
}

void flush_init(struct flush *f, struct store *store, uint64_t seed)
{
	*f = (struct flush){.store = store, .random = seed | 1};
	atomic_init(&f->abandon, false);
}

void flush_finish(struct flush *f)
{
	if (f->store)
		f->store->ops->disconnect(f->store);
}

void flush_lend(struct flush *f, struct store *store, bool connected)
{
	assert(!f->store);
	f->store = store;
	f->connected = connected;
}

bool flush_take_back(struct flush *f)
{
	bool connected = f->connected;

	f->store = NULL;
	f->connected = false;
	return connected;
}

void flush_start(struct flush *f, const struct flush_request *request)
{
	assert(f->step == FLUSH_IDLE || f->step == FLUSH_ENDED);
	assert(request->end_offset >= request->begin_offset);
	f->request = *request;
	f->verdict = FLUSH_PENDING;
	f->attempt = 0;
	f->step = FLUSH_BEGIN; /* whether there is a connection only the driver may ask */
}

bool flush_ended(const struct flush *f)
{
	return f->step == FLUSH_ENDED;
}

void flush_abandon(struct flush *f)
{
	atomic_store(&f->abandon, true);
}

/* The ways a step ends ------------------------------------------------------------------------ */

static int64_t next(struct flush *f, enum flush_step step)
{
	f->step = step;
	return 0;
}

static int64_t end(struct flush *f, enum flush_verdict verdict)
{
	f->verdict = verdict;
	return next(f, FLUSH_ENDED);
}

static int64_t roll_back(struct flush *f, enum flush_verdict verdict)
{
	f->store->ops->rollback(f->store);
	return end(f, verdict);
}

static int64_t backoff_ms(struct flush *f)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return retry_wait_ms(f->attempt++, BACKOFF_MIN_MS, BACKOFF_MAX_MS, f->random);
}

static int64_t retry(struct flush *f, enum flush_step step)
{
	if (f->on_retry)
		f->on_retry(f->on_retry_context, f->step, f->store, &f->error);
	f->step = step;
	return backoff_ms(f);
}

/* A statement before COMMIT did not succeed: nothing of the flush is in the database. */
static int64_t failed(struct flush *f, enum store_result result)
{
	if (result == STORE_LOST) {
		f->connected = false;
		return retry(f, FLUSH_CONNECT);
	}
	if (f->connected)
		f->store->ops->rollback(f->store);
	if (result == STORE_HALT)
		return end(f, FLUSH_HALTED);
	return retry(f, f->connected ? FLUSH_BEGIN : FLUSH_CONNECT);
}

/* Whether it was committed is to be asked on a new connection.  The old one may hold its locks. */
static int64_t settle_anew(struct flush *f)
{
	f->store->ops->disconnect(f->store);
	f->connected = false;
	return retry(f, FLUSH_SETTLE_CONNECT);
}

/* The steps ----------------------------------------------------------------------------------- */

static int64_t step_connect(struct flush *f)
{
	enum store_result result = f->store->ops->connect(f->store, &f->error);

	f->connected = result == STORE_OK;
	if (!f->connected)
		return failed(f, result == STORE_LOST ? STORE_RETRY : result);
	return next(f, FLUSH_BEGIN);
}

static int64_t step_begin(struct flush *f)
{
	enum store_result result;

	if (!f->connected)
		return next(f, FLUSH_CONNECT);
	result = f->store->ops->begin(f->store, &f->error);
	return result == STORE_OK ? next(f, FLUSH_FENCE) : failed(f, result);
}

/* Proves the epoch, and moves the offset under the row's lock: whoever comes later waits. */
static int64_t step_fence(struct flush *f)
{
	bool moved = false;
	enum store_result result = f->store->ops->move_offset(
		f->store, &f->request, &moved, &f->error);

	if (result != STORE_OK)
		return failed(f, result);
	return moved ? next(f, FLUSH_JOURNAL) : roll_back(f, FLUSH_FENCED);
}

static int64_t unexpected_counts(
	struct flush *f, const char *table, size_t sent, const struct store_counts *counts)
{
	error_set(&f->error, -1,
		"%s: %zu rows were sent to MySQL, but it counts %" PRId64 " records, %" PRId64
		" affected, %" PRId64 " deleted, %" PRId64 " skipped, %" PRId64 " warnings%s%s; "
		"compare the table's columns with sql/, then `ledgerd resume`",
		table, sent, counts->records, counts->affected, counts->deleted, counts->skipped,
		counts->warnings, counts->warning[0] ? ": " : "", counts->warning);
	return roll_back(f, FLUSH_HALTED);
}

static int64_t unknown_rows(struct flush *f, const struct store_counts *counts)
{
	error_set(&f->error, -1,
		"account_balances: %" PRId64 " rows would be replaced, but this partition knows of "
		"%zu only: look for who else writes to the database, and run `ledgerd "
		"verify`",
		counts->deleted, f->request.batch->known_count);
	return roll_back(f, FLUSH_HALTED);
}

static enum store_result load(struct flush *f, enum store_table table, struct store_counts *counts)
{
	const struct flush_request *request = &f->request;

	*counts = (struct store_counts){0};
	return f->store->ops->load(f->store, &request, 1, table, counts, &f->error);
}

/* Every row went in as it was sent, or the flush is rolled back. */
static int64_t step_journal(struct flush *f)
{
	size_t sent = f->request.batch->journal_count;
	struct store_counts counts;
	enum store_result result;

	if (sent == 0)
		return next(f, FLUSH_BALANCES);
	result = load(f, STORE_JOURNAL, &counts);
	if (result != STORE_OK)
		return failed(f, result);
	if (counts.warnings != 0 || counts.skipped != 0 || counts.records != (int64_t)sent)
		return unexpected_counts(f, "balance_transactions", sent, &counts);
	if (counts.deleted != 0 || counts.affected != (int64_t)sent)
		return roll_back(f, FLUSH_DUPLICATES);
	return next(f, FLUSH_BALANCES);
}

/* Absolute values: a row that was there is replaced.  But not one that nobody here knows of. */
static int64_t step_balances(struct flush *f)
{
	size_t sent = f->request.batch->touched_count;
	struct store_counts counts;
	enum store_result result;

	if (sent == 0)
		return next(f, FLUSH_DEAD_LETTERS);
	result = load(f, STORE_BALANCES, &counts);
	if (result != STORE_OK)
		return failed(f, result);
	if (counts.warnings != 0 || counts.skipped != 0 || counts.records != (int64_t)sent)
		return unexpected_counts(f, "account_balances", sent, &counts);
	if (counts.deleted > (int64_t)f->request.batch->known_count)
		return unknown_rows(f, &counts);
	return next(f, FLUSH_DEAD_LETTERS);
}

static int64_t step_dead_letters(struct flush *f)
{
	size_t sent = f->request.batch->dead_letter_count;
	struct store_counts counts;
	enum store_result result;

	if (sent == 0)
		return next(f, FLUSH_COMMIT);
	result = load(f, STORE_DEAD_LETTERS, &counts);
	if (result != STORE_OK)
		return failed(f, result);
	if (counts.warnings != 0 || counts.skipped != 0 || counts.records != (int64_t)sent)
		return unexpected_counts(f, "dead_letters", sent, &counts);
	if (counts.deleted != 0 || counts.affected != (int64_t)sent)
		return roll_back(f, FLUSH_DUPLICATES);
	return next(f, FLUSH_COMMIT);
}

/* Whatever goes wrong with a COMMIT, only the offset tells whether it happened. */
static int64_t step_commit(struct flush *f)
{
	if (f->store->ops->commit(f->store, &f->error) == STORE_OK)
		return end(f, FLUSH_COMMITTED);
	return settle_anew(f);
}

static int64_t step_settle_connect(struct flush *f)
{
	enum store_result result = f->store->ops->connect(f->store, &f->error);

	f->connected = result == STORE_OK;
	return f->connected ? next(f, FLUSH_SETTLE) : settle_anew(f);
}

/* A replay moves no offset: its first row is there, or none of it is.  The lock has been waited
 * for.
 */
static int64_t settle_by_row(struct flush *f)
{
	int64_t offset = f->request.batch->records[0].message.offset;
	bool there;

	if (f->store->ops->has_rows(f->store, f->request.partition, offset, offset + 1, &there,
		    &f->error) != STORE_OK)
		return settle_anew(f);
	return there ? end(f, FLUSH_COMMITTED) : next(f, FLUSH_BEGIN);
}

static int64_t step_settle(struct flush *f)
{
	struct store_partition row;
	enum store_result result = f->store->ops->settle(
		f->store, f->request.partition, &row, &f->error);

	if (result != STORE_OK)
		return settle_anew(f);
	if (row.epoch != f->request.epoch)
		return end(f, FLUSH_FENCED);
	if (f->request.begin_offset == f->request.end_offset &&
		row.next_offset == f->request.end_offset)
		return settle_by_row(f);
	if (row.next_offset == f->request.end_offset)
		return end(f, FLUSH_COMMITTED);
	if (row.next_offset == f->request.begin_offset)
		return next(f, FLUSH_BEGIN);
	return end(f, FLUSH_FENCED);
}

static int64_t (*const steps[FLUSH_STEPS])(struct flush *f) = {
	[FLUSH_CONNECT] = step_connect,
	[FLUSH_BEGIN] = step_begin,
	[FLUSH_FENCE] = step_fence,
	[FLUSH_JOURNAL] = step_journal,
	[FLUSH_BALANCES] = step_balances,
	[FLUSH_DEAD_LETTERS] = step_dead_letters,
	[FLUSH_COMMIT] = step_commit,
	[FLUSH_SETTLE_CONNECT] = step_settle_connect,
	[FLUSH_SETTLE] = step_settle,
};

int64_t flush_step(struct flush *f)
{
	assert(f->step != FLUSH_IDLE && f->step != FLUSH_ENDED);
	if (atomic_load(&f->abandon)) {
		if (f->connected)
			f->store->ops->rollback(f->store);
		return end(f, FLUSH_ABANDONED);
	}
	return steps[f->step](f);
}
