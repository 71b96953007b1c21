#include "ledger.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* How many records ahead memory is asked for: first an index, then what it leads to. */
#define PREFETCH_FAR  16
#define PREFETCH_NEAR 8
#define NO_TOUCH      UINT32_MAX

/* Of an account that nothing happened to yet. */
static const struct balance no_balance = {.last_offset = -1};

static const char conflict_detail[] =
	"transaction_id is known for this account with another currency, type or amount";

void ledger_init(struct ledger *ledger, struct budget *budget, const struct ledger_config *config)
{
	size_t ids = ledger_ids(config);

	*ledger = (struct ledger){.budget = budget, .ids = ids};
	ledger->key = dedupe_key(config->key);
	ledger->balances = balances_create(budget, ledger_entries_min(config), config->seed);
	ledger->dedupe = dedupe_create(ids);
	budget_force(budget, dedupe_bytes(ids));

	ledger->touch_capacity = 1;
	while (ledger->touch_capacity < 2 * config->batch_events)
		ledger->touch_capacity *= 2;
	ledger->touches = xcalloc(ledger->touch_capacity, sizeof *ledger->touches);
	ledger->order_scratch = xcalloc(2 * config->batch_events, sizeof *ledger->order_scratch);
}

void ledger_finish(struct ledger *ledger)
{
	budget_give(ledger->budget, dedupe_bytes(ledger->ids));
	balances_destroy(ledger->balances);
	dedupe_destroy(ledger->dedupe);
	free(ledger->touches);
	free(ledger->order_scratch);
}

size_t ledger_ids(const struct ledger_config *config)
{
	/* The batch, the ids learned for it, and the same again for one that came before. */
	size_t ids_min = 4 * config->batch_events;

	return config->ids > ids_min ? config->ids : ids_min;
}

size_t ledger_entries_min(const struct ledger_config *config)
{
	/* Two batches pin their balances; the clock needs one that is free. */
	return 2 * config->batch_events + 1;
}

size_t ledger_bytes_min(const struct ledger_config *config)
{
	return balances_bytes_min(ledger_entries_min(config)) + dedupe_bytes(ledger_ids(config));
}

void ledger_clear(struct ledger *ledger)
{
	balances_clear(ledger->balances);
	dedupe_clear(ledger->dedupe);
	ledger->batch = NULL;
}

/* Resolving ----------------------------------------------------------------------------------- */

static struct balance_key record_key(const struct record *record)
{
	return (struct balance_key){record->event.account_id, record->event.currency};
}

/* Whether the record has a balance to be found still. */
static bool unresolved(const struct record *record)
{
	return record->dead_reason == DEAD_NONE && record->balance == BALANCE_NONE;
}

/* Finds and pins its balance; makes it if it is nowhere else.  false: the database must be asked.
 */
static bool resolve_record(
	struct ledger *ledger, const struct batch *b, struct record *record, uint64_t hash)
{
	struct balance_key key = record_key(record);

	record->balance = balances_find_hashed(ledger->balances, key, hash);
	if (record->balance != BALANCE_NONE)
		balances_pin(ledger->balances, record->balance, b->pin);
	else if (balances_complete(ledger->balances))
		record->balance = balances_add(ledger->balances, key, &no_balance, b->pin);
	return record->balance != BALANCE_NONE;
}

/* Three walks in one, so that a record's hash is computed once: the first is PREFETCH_FAR ahead of
 * the last. */
size_t ledger_resolve(
	struct ledger *ledger, struct batch *b, size_t from, struct balance_key *ret_missing)
{
	uint64_t hashes[PREFETCH_FAR];
	size_t missing = 0;

	for (size_t far = from; far < b->count + PREFETCH_FAR; far++) {
		size_t near = far - (PREFETCH_FAR - PREFETCH_NEAR);
		size_t i = far - PREFETCH_FAR;

		if (far >= from + PREFETCH_FAR && unresolved(&b->records[i]) &&
			!resolve_record(ledger, b, &b->records[i], hashes[i % PREFETCH_FAR]))
			ret_missing[missing++] = record_key(&b->records[i]);
		if (far >= from + PREFETCH_FAR - PREFETCH_NEAR && near < b->count)
			balances_prefetch_entry(ledger->balances, hashes[near % PREFETCH_FAR]);
		if (far < b->count) {
			hashes[far % PREFETCH_FAR] = balances_hash(
				ledger->balances, record_key(&b->records[far]));
			balances_prefetch(ledger->balances, hashes[far % PREFETCH_FAR]);
		}
	}
	return order_keys(ret_missing, missing, ledger->order_scratch);
}

void ledger_load(
	struct ledger *ledger, struct batch *b, const struct balance_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct balance_row *row = &rows[i];

		assert(balances_find(ledger->balances, row->key) == BALANCE_NONE);
		balances_add(ledger->balances, row->key, row->found ? &row->balance : &no_balance,
			b->pin);
	}
}

void ledger_unresolve(struct ledger *ledger, struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		b->records[i].balance = BALANCE_NONE;
}

bool ledger_crowded(const struct ledger *ledger)
{
	return balances_crowded(ledger->balances);
}

/* Duplicates ---------------------------------------------------------------------------------- */

void ledger_learn(struct ledger *ledger, const struct dedupe_id *id)
{
	if (dedupe_check(ledger->dedupe, id) == DEDUPE_NEW)
		dedupe_remember(ledger->dedupe, id);
}

static void dedupe_record(struct ledger *ledger, struct batch *b, struct record *record)
{
	switch (dedupe_check(ledger->dedupe, &record->id)) {
	case DEDUPE_NEW:
		dedupe_remember(ledger->dedupe, &record->id);
		b->remembered_count++;
		return;
	case DEDUPE_SAME:
		record->outcome = OUTCOME_DUPLICATE;
		b->duplicate_count++;
		return;
	case DEDUPE_CONFLICT:
		record->dead_reason = DEAD_ID_CONFLICT;
		record->detail = conflict_detail;
		return;
	}
}

void ledger_dedupe(struct ledger *ledger, struct batch *b)
{
	assert(ledger->batch == NULL);
	ledger->batch = b;
	dedupe_reserve(ledger->dedupe, b->count);

	for (size_t i = 0; i < b->count; i++) {
		struct record *record = &b->records[i];

		if (i + PREFETCH_FAR < b->count)
			dedupe_prefetch(ledger->dedupe, &record[PREFETCH_FAR].id);
		if (record->dead_reason == DEAD_NONE)
			dedupe_record(ledger, b, record);
		if (record->dead_reason != DEAD_NONE) {
			record->outcome = OUTCOME_DEAD_LETTER;
			b->dead_letter_count++;
		}
	}
}

/* The rules ----------------------------------------------------------------------------------- */

/* A table for the batch at hand: a small batch does not pay for the largest. */
static void clear_touches(struct ledger *ledger, size_t count)
{
	size_t capacity = 1;

	while (capacity < 2 * count)
		capacity *= 2;
	assert(capacity <= ledger->touch_capacity);
	ledger->touch_mask = capacity - 1;
	memset(ledger->touches, 0xff, capacity * sizeof *ledger->touches);
}

static size_t touch_home(const struct ledger *ledger, balance_ref ref)
{
	return ref * UINT64_C(0x9e3779b97f4a7c15) >> 32 & ledger->touch_mask;
}

static struct touched *touch(struct ledger *ledger, struct batch *b, const struct record *record)
{
	size_t mask = ledger->touch_mask;
	size_t position = touch_home(ledger, record->balance);
	struct touched *touched;

	for (; ledger->touches[position] != NO_TOUCH; position = (position + 1) & mask) {
		touched = &b->touched[ledger->touches[position]];
		if (touched->ref == record->balance)
			return touched;
	}

	ledger->touches[position] = (uint32_t)b->touched_count;
	touched = &b->touched[b->touched_count++];
	touched->key = record_key(record);
	touched->ref = record->balance;
	balances_get(ledger->balances, touched->ref, &touched->before);
	touched->after = touched->before;
	b->known_count += touched->before.last_offset >= 0;
	return touched;
}

static void apply_record(struct ledger *ledger, struct batch *b, struct record *record)
{
	struct touched *touched = touch(ledger, b, record);
	struct balance *balance = &touched->after;

	assert(record->message.offset > balance->last_offset);
	record->refusal = apply(balance, record->event.type, record->event.amount);
	record->outcome = record->refusal ? OUTCOME_REFUSED : OUTCOME_APPLIED;
	record->available_after = balance->available;
	record->frozen_after = balance->frozen;
	record->prev_offset = balance->last_offset;
	balance->last_offset = record->message.offset;
	balances_set(ledger->balances, touched->ref, balance);
	b->journal_count++;
	b->refused_count += record->refusal != REFUSAL_NONE;
}

static void prefetch_balance(const struct ledger *ledger, const struct record *record)
{
	if (record->balance != BALANCE_NONE)
		balances_prefetch_ref(ledger->balances, record->balance);
}

static void prefetch_touch(const struct ledger *ledger, const struct record *record)
{
	__builtin_prefetch(&ledger->touches[touch_home(ledger, record->balance)], 1);
	prefetch_balance(ledger, record);
}

void ledger_apply(struct ledger *ledger, struct batch *b, int64_t now_ms)
{
	assert(ledger->batch == b && b->touched_count == 0);
	clear_touches(ledger, b->count);
	for (size_t i = 0; i < b->count; i++) {
		if (i + PREFETCH_NEAR < b->count)
			prefetch_touch(ledger, &b->records[i + PREFETCH_NEAR]);
		if (b->records[i].outcome == OUTCOME_PENDING)
			apply_record(ledger, b, &b->records[i]);
	}
	order_touched(b->touched, b->touched_count, ledger->order_scratch, b->order);
	b->closed_ms = now_ms;
	assert(b->journal_count + b->dead_letter_count + b->duplicate_count == b->count);
}

/* The end ------------------------------------------------------------------------------------- */

void ledger_commit(struct ledger *ledger, struct batch *b)
{
	assert(ledger->batch == b);
	for (size_t i = 0; i < b->count; i++) {
		if (i + PREFETCH_FAR < b->count)
			prefetch_balance(ledger, &b->records[i + PREFETCH_FAR]);
		if (b->records[i].balance != BALANCE_NONE)
			balances_unpin(ledger->balances, b->records[i].balance, b->pin);
	}
	ledger->batch = NULL;
}

static void undo_record(struct record *record)
{
	if (record->dead_reason == DEAD_ID_CONFLICT) {
		record->dead_reason = DEAD_NONE;
		record->detail = NULL;
	}
	record->outcome = OUTCOME_PENDING;
	record->refusal = REFUSAL_NONE;
}

void ledger_undo(struct ledger *ledger, struct batch *b)
{
	assert(ledger->batch == b);
	for (size_t i = 0; i < b->touched_count; i++)
		balances_set(ledger->balances, b->touched[i].ref, &b->touched[i].before);
	for (size_t i = 0; i < b->count; i++)
		undo_record(&b->records[i]);
	dedupe_forget_newest(ledger->dedupe, b->remembered_count);

	b->remembered_count = 0;
	b->journal_count = 0;
	b->refused_count = 0;
	b->dead_letter_count = 0;
	b->duplicate_count = 0;
	b->touched_count = 0;
	b->known_count = 0;
	ledger->batch = NULL;
}
