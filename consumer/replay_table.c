/* See replay_table.h. */
#include "replay_table.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "splitmix.h"

void replay_table_init(
	struct replay_table *table, const struct dedupe_key *key, uint64_t seed, size_t bytes_max)
{
	*table = (struct replay_table){.key = key, .seed = seed, .bytes_max = bytes_max};
}

void replay_table_finish(struct replay_table *table)
{
	free(table->candidates);
	free(table->accounts);
	free(table->chains);
	free(table->rows);
	free(table->gaps);
	free(table->wanted);
	free(table->by_account.slots);
	free(table->by_id.slots);
}

/* The range ----------------------------------------------------------------------------------- */

void replay_table_range(struct replay_table *table, int64_t begin, int64_t end, int64_t next_offset)
{
	table->begin = table->look_begin = table->need_from = begin;
	table->end = table->look_end = table->need_to = end;
	table->next_offset = next_offset;
}

void replay_table_log(struct replay_table *table, int64_t log_begin)
{
	table->log_begin = log_begin;
	if (table->look_begin < log_begin)
		table->look_begin = table->need_from = log_begin;
}

bool replay_table_inside(const struct replay_table *table, int64_t offset)
{
	return offset >= table->begin && offset < table->end;
}

static int compare_ids(const void *a, const void *b)
{
	const int64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static bool wants(const struct replay_table *table, int64_t account_id)
{
	return table->wanted_count > 0 && bsearch(&account_id, table->wanted, table->wanted_count,
						  sizeof *table->wanted, compare_ids);
}

/* Something outside of the range, of an account that is not looked at there. */
static bool ignores(const struct replay_table *table, int64_t account_id, int64_t offset)
{
	return !replay_table_inside(table, offset) && !wants(table, account_id);
}

static void remember_wanted(struct replay_table *table)
{
	table->wanted = xcalloc(table->account_count, sizeof *table->wanted);
	for (size_t i = 0; i < table->account_count; i++)
		if (table->accounts[i].needs)
			table->wanted[table->wanted_count++] = table->accounts[i].account_id;
	qsort(table->wanted, table->wanted_count, sizeof *table->wanted, compare_ids);
}

static void empty_index(struct replay_index *index)
{
	if (index->slots)
		memset(index->slots, 0xff, index->capacity * sizeof *index->slots);
}

/* All but the range, and the accounts that are wanted. */
static void empty(struct replay_table *table)
{
	table->candidate_count = table->account_count = table->chain_count = 0;
	table->row_count = table->gap_count = table->broken_accounts = 0;
	empty_index(&table->by_account);
	empty_index(&table->by_id);
}

bool replay_table_widen(struct replay_table *table, bool whole)
{
	if (table->need_from >= table->look_begin && table->need_to <= table->look_end)
		return false;
	if (!table->wanted)
		remember_wanted(table);
	table->look_begin = whole ? table->log_begin : table->need_from;
	table->look_end = whole ? table->next_offset : table->need_to;
	table->need_from = table->look_begin;
	table->need_to = table->look_end;
	empty(table);
	return true;
}

static void count_outside(const struct replay_candidate *c, struct replay_outside *outside)
{
	if (c->verdict != REPLAY_RESTORE_ROW && !c->pointed)
		return;
	if (outside->rows++ == 0)
		outside->first = c->offset;
	outside->last = c->offset;
}

struct replay_outside replay_table_keep_range(struct replay_table *table)
{
	struct replay_outside outside = {.first = -1, .last = -1};
	size_t kept = 0;

	for (size_t i = 0; i < table->candidate_count; i++) {
		const struct replay_candidate *c = &table->candidates[i];

		if (replay_table_inside(table, c->offset))
			table->candidates[kept++] = *c;
		else
			count_outside(c, &outside);
	}
	table->candidate_count = kept;
	return outside;
}

/* Memory -------------------------------------------------------------------------------------- */

static size_t bytes(const struct replay_table *table)
{
	return table->candidate_capacity * sizeof *table->candidates +
	       table->account_capacity * sizeof *table->accounts +
	       table->chain_capacity * sizeof *table->chains +
	       table->row_capacity * sizeof *table->rows +
	       table->wanted_count * sizeof *table->wanted +
	       (table->by_account.capacity + table->by_id.capacity) * sizeof(uint32_t);
}

static int no_room(const struct replay_table *table, struct error *err)
{
	return error_set(err, -ENOMEM,
		"there is no memory for what is missing from offset %" PRId64 " to %" PRId64
		" (%zu messages, %zu accounts, %zu rows of theirs): take a smaller range with "
		"--to-offset, or raise consumer.memory_max",
		table->begin, table->end, table->candidate_count, table->account_count,
		table->row_count);
}

/* Room for one more. */
static int grow(struct replay_table *table, void *array, size_t count, size_t *capacity,
	size_t size, struct error *err)
{
	size_t wanted = *capacity ? *capacity + *capacity / 2 : 64;
	void **place = array;

	if (count < *capacity)
		return 0;
	if (bytes(table) + (wanted - *capacity) * size > table->bytes_max || wanted >= REPLAY_NONE)
		return no_room(table, err);
	*place = xrealloc(*place, wanted * size);
	*capacity = wanted;
	return 0;
}

#define GROW(table, array, name, err)                                                              \
	grow((table), &(table)->array, (table)->name##_count, &(table)->name##_capacity,           \
		sizeof *(table)->array, (err))

/* Finding ------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t number)
{
	return splitmix_next(&(struct splitmix){number});
}

static uint64_t account_hash(const struct replay_table *table, int64_t account_id)
{
	return mix((uint64_t)account_id ^ table->seed);
}

/* Doubles an index that is half full; the caller adds again what was in it. */
static bool index_full(struct replay_index *index, size_t count)
{
	if (2 * (count + 1) <= index->capacity)
		return false;
	index->capacity = index->capacity ? 2 * index->capacity : 256;
	index->slots = xrealloc(index->slots, index->capacity * sizeof *index->slots);
	memset(index->slots, 0xff, index->capacity * sizeof *index->slots);
	return true;
}

static void account_link(struct replay_table *table, uint32_t number)
{
	struct replay_index *index = &table->by_account;
	size_t mask = index->capacity - 1;
	size_t place = account_hash(table, table->accounts[number].account_id) & mask;

	while (index->slots[place] != REPLAY_NONE)
		place = (place + 1) & mask;
	index->slots[place] = number;
}

static uint32_t account_find(const struct replay_table *table, int64_t account_id)
{
	const struct replay_index *index = &table->by_account;
	size_t mask = index->capacity - 1;

	if (index->capacity == 0)
		return REPLAY_NONE;
	for (size_t place = account_hash(table, account_id) & mask;
		index->slots[place] != REPLAY_NONE; place = (place + 1) & mask)
		if (table->accounts[index->slots[place]].account_id == account_id)
			return index->slots[place];
	return REPLAY_NONE;
}

static int account_of(
	struct replay_table *table, int64_t account_id, uint32_t *ret_number, struct error *err)
{
	*ret_number = account_find(table, account_id);
	if (*ret_number != REPLAY_NONE)
		return 0;
	if (GROW(table, accounts, account, err) != 0)
		return -ENOMEM;
	if (index_full(&table->by_account, table->account_count))
		for (uint32_t i = 0; i < table->account_count; i++)
			account_link(table, i);
	*ret_number = (uint32_t)table->account_count++;
	table->accounts[*ret_number] = (struct replay_account){.account_id = account_id,
		.wanted = wants(table, account_id),
		.chain = REPLAY_NONE,
		.first = REPLAY_NONE,
		.last = REPLAY_NONE};
	account_link(table, *ret_number);
	return 0;
}

static int chain_of(struct replay_table *table, uint32_t account, currency_t currency,
	uint32_t *ret_number, struct error *err)
{
	for (uint32_t i = table->accounts[account].chain; i != REPLAY_NONE;
		i = table->chains[i].next) {
		if (table->chains[i].currency != currency)
			continue;
		*ret_number = i;
		return 0;
	}
	if (GROW(table, chains, chain, err) != 0)
		return -ENOMEM;
	*ret_number = (uint32_t)table->chain_count++;
	table->chains[*ret_number] = (struct replay_chain){
		.account = account,
		.next = table->accounts[account].chain,
		.currency = currency,
		.balance = {.last_offset = -1},
	};
	table->accounts[account].chain = *ret_number;
	return 0;
}

static bool same_id(const struct dedupe_id *a, const struct dedupe_id *b)
{
	return a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

/* The slot of an id: its leader's, or an empty one. */
static uint32_t *id_slot(const struct replay_table *table, const struct dedupe_id *id)
{
	const struct replay_index *index = &table->by_id;
	size_t mask = index->capacity - 1;
	size_t place = id->hash[0] & mask;

	while (index->slots[place] != REPLAY_NONE &&
		!same_id(&table->candidates[index->slots[place]].id, id))
		place = (place + 1) & mask;
	return &index->slots[place];
}

static void id_link(struct replay_table *table, uint32_t number)
{
	uint32_t *slot;

	if (index_full(&table->by_id, table->candidate_count))
		for (uint32_t i = 0; i < number; i++)
			if (table->candidates[i].chain != REPLAY_NONE &&
				table->candidates[i].leader == i)
				*id_slot(table, &table->candidates[i].id) = i;
	slot = id_slot(table, &table->candidates[number].id);
	if (*slot == REPLAY_NONE)
		*slot = number;
	table->candidates[number].leader = *slot;
}

struct replay_candidate *replay_table_at(const struct replay_table *table, int64_t offset)
{
	size_t low = 0, high = table->candidate_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->candidates[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == table->candidate_count || table->candidates[low].offset != offset)
		return NULL;
	return &table->candidates[low];
}

bool replay_table_in_gap(const struct replay_table *table, int64_t offset)
{
	size_t low = 0, high = table->gap_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->gaps[middle].to_offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < table->gap_count && table->gaps[low].from_offset <= offset;
}

/* Candidates ---------------------------------------------------------------------------------- */

void replay_table_gap(struct replay_table *table, int64_t from_offset, int64_t to_offset)
{
	if (table->gap_count == table->gap_capacity) {
		table->gap_capacity = table->gap_capacity ? 2 * table->gap_capacity : 16;
		table->gaps = xrealloc(table->gaps, table->gap_capacity * sizeof *table->gaps);
	}
	table->gaps[table->gap_count++] = (struct replay_gap){from_offset, to_offset};
}

static int add(struct replay_table *table, int64_t offset, struct error *err)
{
	assert(table->candidate_count == 0 ||
		table->candidates[table->candidate_count - 1].offset < offset);
	if (GROW(table, candidates, candidate, err) != 0)
		return -ENOMEM;
	table->candidates[table->candidate_count++] = (struct replay_candidate){
		.offset = offset,
		.chain = REPLAY_NONE,
		.next = REPLAY_NONE,
		.leader = REPLAY_NONE,
		.primary = REPLAY_NONE,
		.known_offset = -1,
		.in_gap = replay_table_in_gap(table, offset),
	};
	return 0;
}

int replay_table_dead(
	struct replay_table *table, int64_t offset, enum dead_reason reason, struct error *err)
{
	struct replay_candidate *c;

	if (!replay_table_inside(table, offset))
		return 0;
	if (add(table, offset, err) != 0)
		return -ENOMEM;
	c = &table->candidates[table->candidate_count - 1];
	c->reason = (uint8_t)reason;
	c->verdict = REPLAY_RESTORE_LETTER;
	return 0;
}

int replay_table_event(
	struct replay_table *table, int64_t offset, const struct event *event, struct error *err)
{
	struct replay_account *account;
	struct replay_candidate *c;
	uint32_t number, chain, place;

	if (ignores(table, event->account_id, offset))
		return 0;
	if (account_of(table, event->account_id, &number, err) != 0 ||
		chain_of(table, number, event->currency, &chain, err) != 0 ||
		add(table, offset, err) != 0)
		return -ENOMEM;
	place = (uint32_t)table->candidate_count - 1;
	c = &table->candidates[place];
	c->chain = chain;
	c->amount = event->amount;
	c->type = event->type;
	c->id = dedupe_id(table->key, event);
	id_link(table, place);
	table->candidates[c->leader].skipped |= c->in_gap;

	account = &table->accounts[number];
	if (account->first == REPLAY_NONE)
		account->first = place;
	else
		table->candidates[account->last].next = place;
	account->last = place;
	return 0;
}

int replay_table_taint(
	struct replay_table *table, int64_t account_id, int64_t offset, struct error *err)
{
	uint32_t number;

	if (ignores(table, account_id, offset))
		return 0;
	if (account_of(table, account_id, &number, err) != 0)
		return -ENOMEM;
	table->accounts[number].tainted = true;
	table->accounts[number].why_offset = offset;
	return 0;
}

/* Chains -------------------------------------------------------------------------------------- */

static void add_to(const struct replay_table *table, uint64_t sum[2], int64_t offset)
{
	uint64_t first = mix((uint64_t)offset ^ table->seed);

	sum[0] += first;
	sum[1] += mix(first + (uint64_t)offset);
}

static void meet_id(struct replay_table *table, const struct store_row *row)
{
	struct dedupe_id id = dedupe_id(table->key, &row->event);
	uint32_t leader = table->by_id.capacity ? *id_slot(table, &id) : REPLAY_NONE;

	if (leader == REPLAY_NONE)
		return;
	table->candidates[leader].known_offset = row->offset;
	table->candidates[leader].known_fingerprint = id.fingerprint;
}

int replay_table_row(struct replay_table *table, const struct store_row *row, struct error *err)
{
	uint32_t account = account_find(table, row->event.account_id);
	struct replay_chain *chain;
	uint32_t number;

	if (account == REPLAY_NONE)
		return 0;
	if (chain_of(table, account, row->event.currency, &number, err) != 0)
		return -ENOMEM;
	chain = &table->chains[number];
	chain->rows++;
	chain->applied += row->refusal == REFUSAL_NONE;
	add_to(table, chain->row_sum, row->offset);
	if (row->prev_offset < 0)
		chain->firsts++;
	else
		add_to(table, chain->pointer_sum, row->prev_offset);
	meet_id(table, row);
	return 0;
}

int replay_table_balance(
	struct replay_table *table, const struct store_balance *row, struct error *err)
{
	uint32_t account = account_find(table, row->key.account_id);
	struct replay_chain *chain;
	uint32_t number;

	if (account == REPLAY_NONE)
		return 0;
	if (chain_of(table, account, row->key.currency, &number, err) != 0)
		return -ENOMEM;
	chain = &table->chains[number];
	chain->has_balance = true;
	chain->foreign = row->partition != table->partition;
	chain->balance = row->balance;
	add_to(table, chain->pointer_sum, row->balance.last_offset);
	return 0;
}

static bool whole(const struct replay_chain *chain)
{
	if (chain->foreign)
		return false;
	if (!chain->has_balance)
		return chain->rows == 0;
	return chain->firsts == 1 && chain->applied == chain->balance.version &&
	       memcmp(chain->row_sum, chain->pointer_sum, sizeof chain->row_sum) == 0;
}

void replay_table_judge(struct replay_table *table)
{
	table->broken_accounts = 0;
	for (size_t i = 0; i < table->account_count; i++)
		table->accounts[i].broken = table->accounts[i].tainted;
	for (size_t i = 0; i < table->chain_count; i++) {
		struct replay_chain *chain = &table->chains[i];

		chain->broken = !whole(chain);
		chain->running = chain->written = chain->balance;
		table->accounts[chain->account].broken |= chain->broken;
	}
	for (size_t i = 0; i < table->account_count; i++)
		table->broken_accounts += table->accounts[i].broken;
}

int replay_table_collect(struct replay_table *table, const struct store_row *row, struct error *err)
{
	uint32_t account = account_find(table, row->event.account_id);
	uint32_t number;

	if (account == REPLAY_NONE || !table->accounts[account].broken)
		return 0;
	if (chain_of(table, account, row->event.currency, &number, err) != 0 ||
		GROW(table, rows, row, err) != 0)
		return -ENOMEM;
	table->rows[table->row_count++] = (struct replay_row){
		.chain = number,
		.applied = row->refusal == REFUSAL_NONE,
		.type = row->event.type,
		.amount = row->event.amount,
		.available_after = row->available_after,
		.frozen_after = row->frozen_after,
		.offset = row->offset,
		.prev_offset = row->prev_offset,
	};
	return 0;
}

/* Texts --------------------------------------------------------------------------------------- */

const char *replay_verdict_text(enum replay_verdict verdict)
{
	static const char *const texts[REPLAY_VERDICTS] = {
		[REPLAY_PENDING] = "pending",
		[REPLAY_RESTORE_ROW] = "restore_row",
		[REPLAY_RESTORE_LETTER] = "restore_dead_letter",
		[REPLAY_DECIDE] = "apply",
		[REPLAY_DUPLICATE] = "duplicate",
		[REPLAY_UNDECIDED] = "undecided",
	};

	return texts[verdict];
}

/* What comes before the offset, and after it. */
static const char *const why_texts[REPLAY_WHYS][2] = {
	[REPLAY_WHY_NONE] = {"", ""},
	[REPLAY_WHY_CONFLICT] = {"the row at offset ", " differs from the log"},
	[REPLAY_WHY_NO_BALANCE] = {"journal rows up to offset ",
		", but no row in account_balances"},
	[REPLAY_WHY_PARTITION] = {"account_balances has it in another partition, last_offset ", ""},
	[REPLAY_WHY_SHAPE] = {"no chain at offset ", ": prev_offset or last_offset was changed"},
	[REPLAY_WHY_GONE] = {"the row at offset ",
		" is missing, and the log no longer has that offset"},
	[REPLAY_WHY_FURTHER] = {"rows at offset ",
		" and near it may be missing, too: take them into the range"},
	[REPLAY_WHY_NO_EVENT] = {"the chain points at offset ",
		", where the log has no such event"},
	[REPLAY_WHY_KNOWN] = {"the row at offset ",
		" is missing, but its transaction is in another row: it may be applied twice"},
	[REPLAY_WHY_ORDER] = {"after an earlier replay, where offset ",
		" stood in the chain cannot be told"},
	[REPLAY_WHY_REFUSED] = {"the skipped event at offset ",
		" may have been replayed and refused among the missing rows"},
	[REPLAY_WHY_FOLD] = {"the missing events up to offset ",
		" do not lead to the balances behind them"},
	[REPLAY_WHY_VERSION] = {"the applied rows up to offset ",
		" are not as many as the version"},
	[REPLAY_WHY_OUTSIDE] = {"the event at offset ", " is in no chain and in no gap"},
	[REPLAY_WHY_AGAIN] = {"run again once the rows are restored: it can be decided then", ""},
};

const char *replay_why_text(enum replay_why why, int64_t offset, char text[REPLAY_WHY_MAX])
{
	const char *const *parts = why_texts[why];

	if (parts[1][0] || why == REPLAY_WHY_PARTITION)
		snprintf(text, REPLAY_WHY_MAX, "%s%" PRId64 "%s", parts[0], offset, parts[1]);
	else
		snprintf(text, REPLAY_WHY_MAX, "%s", parts[0]);
	return text;
}
