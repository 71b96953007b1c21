/* See replay_resolve.h. */
#include "replay_resolve.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define COMPARISONS_MAX 20000000 /* skipped events against the states of a missing part */

static struct replay_candidate *leader_of(
	struct replay_table *table, const struct replay_candidate *c)
{
	return &table->candidates[c->leader];
}

static uint32_t number_of(const struct replay_table *table, const struct replay_candidate *c)
{
	return (uint32_t)(c - table->candidates);
}

static struct replay_candidate *next_of(
	struct replay_table *table, const struct replay_candidate *c)
{
	return c->next == REPLAY_NONE ? NULL : &table->candidates[c->next];
}

static struct replay_candidate *first_of(
	struct replay_table *table, const struct replay_account *account)
{
	return account->first == REPLAY_NONE ? NULL : &table->candidates[account->first];
}

static bool is_primary(struct replay_table *table, const struct replay_candidate *c)
{
	return leader_of(table, c)->primary == number_of(table, c);
}

/* The same transaction is in a row: a duplicate, or a dead letter. */
static void follow(struct replay_candidate *c, uint64_t fingerprint)
{
	bool same = c->id.fingerprint == fingerprint;

	c->verdict = same ? REPLAY_DUPLICATE : REPLAY_RESTORE_LETTER;
	c->reason = same ? DEAD_NONE : DEAD_ID_CONFLICT;
}

static void undecided(struct replay_candidate *c, enum replay_why why)
{
	c->verdict = REPLAY_UNDECIDED;
	c->why = (uint8_t)why;
}

/* Gives a candidate its row on *balance. */
static void put_row(
	struct replay_candidate *c, struct balance *balance, enum replay_verdict verdict)
{
	c->refusal = (uint8_t)apply(balance, c->type, c->amount);
	c->available_after = balance->available;
	c->frozen_after = balance->frozen;
	c->prev_offset = balance->last_offset;
	c->verdict = (uint8_t)verdict;
	balance->last_offset = c->offset;
}

/* A whole account ----------------------------------------------------------------------------- */

static void decide(struct replay_table *table, struct replay_candidate *c)
{
	struct replay_candidate *leader = leader_of(table, c);

	if (leader->known_offset >= 0) {
		follow(c, leader->known_fingerprint);
	} else if (leader->primary != REPLAY_NONE) {
		follow(c, table->candidates[leader->primary].id.fingerprint);
	} else {
		leader->primary = number_of(table, c);
		put_row(c, &table->chains[c->chain].running, REPLAY_DECIDE);
	}
}

static void resolve_whole(struct replay_table *table, const struct replay_account *account)
{
	for (struct replay_candidate *c = first_of(table, account); c; c = next_of(table, c))
		if (replay_table_inside(table, c->offset))
			decide(table, c);
}

/* The pieces of a chain ----------------------------------------------------------------------- */

/* Rows that are still linked.  The last piece of all may have no rows: the balance itself. */
struct piece {
	const struct replay_row *first; /* its prev_offset leads to no row */
	const struct replay_row *last;
	int64_t normal_first, normal_last; /* offsets of its rows that were never skipped; -1 */
	int64_t missing;                   /* the row that should stand before it; -1: none */
};

/* A broken chain while it is looked at. */
struct mend {
	struct replay_table *table;
	struct replay_account *account;
	struct replay_chain *chain;
	const struct replay_row *rows;
	size_t count;
	uint32_t *followers; /* of each row: the row whose prev_offset it is, plus one */
	bool ends;           /* last_offset is that of a row */
	size_t end;
	struct piece *pieces;
	size_t piece_count;
	struct replay_candidate *
		*normals; /* that have an id of their own, and were never skipped */
	size_t normal_count, normal_next;
	struct replay_candidate **skipped;
	size_t skipped_count;
	int64_t restored; /* SUCCESS rows */
	size_t comparisons;
	int64_t look_begin, look_end; /* the candidates of the account are all that are there */
	int64_t need_from, need_to;   /* what would have to be looked at */
};

static bool fail(struct mend *m, enum replay_why why, int64_t offset)
{
	if (m->account->why == REPLAY_WHY_NONE) {
		m->account->why = (uint8_t)why;
		m->account->why_offset = offset;
		m->account->why_currency = m->chain->currency;
	}
	return false;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t greatest(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* True if all from one offset to the other was looked at, as far as the log has it. */
static bool looked_at(struct mend *m, int64_t from, int64_t to, int64_t named)
{
	from = greatest(from, m->table->log_begin);
	to = least(to, m->table->next_offset);
	if (from >= to || (from >= m->look_begin && to <= m->look_end))
		return true;
	m->need_from = least(m->need_from, from);
	m->need_to = greatest(m->need_to, to);
	return fail(m, REPLAY_WHY_FURTHER, named);
}

/* The place of the row at an offset, or `count`. */
static size_t row_at(const struct mend *m, int64_t offset)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->rows[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < m->count && m->rows[low].offset == offset ? low : m->count;
}

static bool link_rows(struct mend *m)
{
	size_t firsts = 0;

	for (size_t i = 0; i < m->count; i++) {
		size_t before = m->count;

		if (m->rows[i].prev_offset < 0)
			firsts++;
		else
			before = row_at(m, m->rows[i].prev_offset);
		if (firsts > 1 || (before < m->count && m->followers[before]))
			return fail(m, REPLAY_WHY_SHAPE, m->rows[i].offset);
		if (before < m->count)
			m->followers[before] = (uint32_t)i + 1;
	}
	m->end = row_at(m, m->chain->balance.last_offset);
	m->ends = m->end < m->count;
	if (m->ends && m->followers[m->end])
		return fail(m, REPLAY_WHY_SHAPE, m->chain->balance.last_offset);
	return true;
}

/* Walks a piece from its first row; returns how many rows it has. */
static size_t walk(const struct mend *m, size_t first, struct piece *piece)
{
	size_t count = 0, at = first;

	*piece = (struct piece){.first = &m->rows[first], .normal_first = -1, .normal_last = -1};
	piece->missing = piece->first->prev_offset;
	for (;; at = m->followers[at] - 1) {
		const struct replay_row *row = &m->rows[at];

		count++;
		piece->last = row;
		if (!replay_table_in_gap(m->table, row->offset)) {
			if (piece->normal_first < 0)
				piece->normal_first = row->offset;
			piece->normal_last = row->offset;
		}
		if (!m->followers[at])
			return count;
	}
}

static bool cut(struct mend *m)
{
	size_t walked = 0;

	for (size_t i = 0; i < m->count; i++)
		if (m->rows[i].prev_offset < 0 || row_at(m, m->rows[i].prev_offset) == m->count)
			walked += walk(m, i, &m->pieces[m->piece_count++]);
	if (walked != m->count)
		return fail(m, REPLAY_WHY_SHAPE, m->rows[0].offset);
	if (!m->ends)
		m->pieces[m->piece_count++] = (struct piece){.normal_first = -1,
			.normal_last = -1,
			.missing = m->chain->balance.last_offset};
	return true;
}

/* Where a piece stands: the beginning and the end are known, the others go by their rows. */
static int64_t rank(const struct mend *m, const struct piece *piece)
{
	if (piece->missing < 0)
		return -1;
	if (!piece->first || (m->ends && piece->last == &m->rows[m->end]))
		return INT64_MAX;
	return piece->normal_first;
}

static void sort(struct mend *m)
{
	/* They come in the order of their first rows' offsets, which is nearly always right. */
	for (size_t i = 1; i < m->piece_count; i++) {
		struct piece piece = m->pieces[i];
		size_t to = i;

		for (; to > 0 && rank(m, &m->pieces[to - 1]) > rank(m, &piece); to--)
			m->pieces[to] = m->pieces[to - 1];
		m->pieces[to] = piece;
	}
}

static bool order(struct mend *m)
{
	int64_t behind = -1;

	sort(m);
	for (size_t i = 0; i < m->piece_count; i++) {
		const struct piece *piece = &m->pieces[i];
		bool last = i == m->piece_count - 1;

		/* Replayed rows only: their place is known if it is the beginning or the end. */
		if (piece->missing >= 0 && piece->normal_first < 0 && !last)
			return fail(m, REPLAY_WHY_ORDER, piece->first->offset);
		if (piece->missing < 0 && i > 0)
			return fail(m, REPLAY_WHY_SHAPE, piece->first->offset);
		if (piece->normal_first < 0)
			continue;
		if (piece->normal_first <= behind)
			return fail(m, REPLAY_WHY_SHAPE, piece->first->offset);
		behind = piece->normal_last;
	}
	/* Where the balance ends, everything ends. */
	if (m->ends && m->pieces[m->piece_count - 1].last != &m->rows[m->end])
		return fail(m, REPLAY_WHY_SHAPE, m->chain->balance.last_offset);
	return true;
}

/* What is missing ----------------------------------------------------------------------------- */

/* Says why the row that a piece points at is not among the candidates. */
static bool missing_elsewhere(struct mend *m, int64_t offset, int64_t behind)
{
	if (offset < m->table->log_begin)
		return fail(m, REPLAY_WHY_GONE, offset);
	if (looked_at(m, offset, offset + 1, offset))
		return fail(m, REPLAY_WHY_NO_EVENT, offset);
	looked_at(m, behind + 1, offset, offset); /* needed as soon as it is found */
	return false;
}

/* Marks the candidates that the chain points at: they had rows, so their ids are theirs. */
static bool point(struct mend *m)
{
	int64_t behind = -1;
	bool good = true;

	for (size_t i = 0; i < m->piece_count; i++) {
		int64_t offset = m->pieces[i].missing;
		struct replay_candidate *c = offset < 0 ? NULL : replay_table_at(m->table, offset);

		if (i > 0)
			behind = greatest(behind, m->pieces[i - 1].normal_last);
		if (offset < 0)
			continue;
		if (!c || c->chain != (uint32_t)(m->chain - m->table->chains)) {
			good = missing_elsewhere(m, offset, behind);
			continue;
		}
		c->pointed = true;
		if (leader_of(m->table, c)->known_offset >= 0 ||
			leader_of(m->table, c)->primary != REPLAY_NONE)
			good = fail(m, REPLAY_WHY_KNOWN, offset);
		else
			leader_of(m->table, c)->primary = number_of(m->table, c);
	}
	return good;
}

static void gather(struct mend *m)
{
	uint32_t chain = (uint32_t)(m->chain - m->table->chains);

	for (struct replay_candidate *c = first_of(m->table, m->account); c;
		c = next_of(m->table, c)) {
		if (c->chain != chain || !is_primary(m->table, c))
			continue;
		if (c->in_gap)
			m->skipped[m->skipped_count++] = c;
		else
			m->normals[m->normal_count++] = c;
	}
}

/* The balances before a row, from those after it; false: they were none that can be. */
static bool before(const struct replay_row *row, struct balance *ret_balance)
{
	struct balance after = {.available = row->available_after, .frozen = row->frozen_after};
	i128 available = after.available, frozen = after.frozen;
	struct balance again;

	if (row->applied) {
		available += row->type == EVENT_WITHDRAW || row->type == EVENT_FREEZE ? row->amount
										      : 0;
		available -= row->type == EVENT_DEPOSIT || row->type == EVENT_UNFREEZE ? row->amount
										       : 0;
		frozen += row->type == EVENT_UNFREEZE || row->type == EVENT_SETTLE ? row->amount
										   : 0;
		frozen -= row->type == EVENT_FREEZE ? row->amount : 0;
	}
	if (available < 0 || frozen < 0 || available > DECIMAL_MAX || frozen > DECIMAL_MAX)
		return false;
	*ret_balance = (struct balance){.available = available, .frozen = frozen};
	again = *ret_balance;
	return (apply(&again, row->type, row->amount) == REFUSAL_NONE) == row->applied &&
	       again.available == after.available && again.frozen == after.frozen;
}

/* Whether a skipped event may hide here: it would have been refused, and left no trace. */
static bool may_hide(struct mend *m, const struct balance *balance, int64_t below)
{
	for (size_t i = 0; i < m->skipped_count && m->skipped[i]->offset < below; i++) {
		const struct replay_candidate *c = m->skipped[i];
		struct balance then = *balance;

		if (c->pointed)
			continue;
		if (++m->comparisons > COMPARISONS_MAX ||
			apply(&then, c->type, c->amount) != REFUSAL_NONE)
			return !fail(m, REPLAY_WHY_REFUSED, c->offset);
	}
	return false;
}

/* Nor can it be told of skipped events that are not looked at, though the log still has them. */
static bool skipped_elsewhere(struct mend *m, int64_t below)
{
	const struct replay_table *table = m->table;
	bool good = true;

	for (size_t i = 0; i < table->gap_count && table->gaps[i].from_offset < below; i++)
		good &= looked_at(m, table->gaps[i].from_offset, table->gaps[i].to_offset,
			table->gaps[i].from_offset);
	return !good;
}

static bool restore(
	struct mend *m, struct replay_candidate *c, struct balance *balance, int64_t below)
{
	/* Its row may as well have been that of a skipped one with this id, replayed before it
	 * came. */
	if (!c->pointed && leader_of(m->table, c)->skipped)
		return fail(m, REPLAY_WHY_ORDER, c->offset);
	put_row(c, balance, REPLAY_RESTORE_ROW);
	m->restored += c->refusal == REFUSAL_NONE;
	return !may_hide(m, balance, below);
}

/* Whether every event that may have stood before a piece was looked at: a refused one elsewhere
 * would not be missed by its effect.  What the log no longer has cannot be restored at
 * all. */
static bool all_there(
	struct mend *m, int64_t behind, const struct replay_candidate *pointed, int64_t below)
{
	int64_t to = pointed->in_gap ? below : pointed->offset + 1;

	return looked_at(m, behind + 1, to, behind + 1);
}

/* The rows between the balances at *balance, behind the row at `behind`, and a piece. */
static bool fold(struct mend *m, const struct piece *piece, int64_t behind, struct balance *balance)
{
	struct replay_candidate *pointed = replay_table_at(m->table, piece->missing);
	int64_t below = piece->normal_first < 0 ? INT64_MAX : piece->normal_first;

	if (!all_there(m, behind, pointed, below))
		return false;
	if (may_hide(m, balance, below) || skipped_elsewhere(m, below))
		return false;
	while (m->normal_next < m->normal_count && m->normals[m->normal_next]->offset < below) {
		struct replay_candidate *c = m->normals[m->normal_next++];

		if (!pointed->in_gap && c->offset > pointed->offset)
			return fail(m, REPLAY_WHY_OUTSIDE, c->offset);
		if (!restore(m, c, balance, below))
			return false;
	}
	if (pointed->in_gap && !restore(m, pointed, balance, below))
		return false;
	if (balance->last_offset != piece->missing)
		return fail(m, REPLAY_WHY_OUTSIDE, piece->missing);
	return true;
}

/* Whether *balance is what a piece, or the balance itself, begins with. */
static bool arrives(struct mend *m, const struct piece *piece, const struct balance *balance)
{
	struct balance expected = m->chain->balance;

	if (piece->first && !before(piece->first, &expected))
		return fail(m, REPLAY_WHY_FOLD, piece->first->offset);
	if (balance->available != expected.available || balance->frozen != expected.frozen)
		return fail(m, REPLAY_WHY_FOLD, piece->missing);
	return true;
}

static bool fold_all(struct mend *m)
{
	struct balance balance = {.last_offset = -1};
	int64_t behind = -1; /* the newest row so far that was never skipped */

	for (size_t i = 0; i < m->piece_count; i++) {
		const struct piece *piece = &m->pieces[i];

		if (piece->missing >= 0 &&
			(!fold(m, piece, behind, &balance) || !arrives(m, piece, &balance)))
			return false;
		if (!piece->last)
			continue;
		balance.available = piece->last->available_after;
		balance.frozen = piece->last->frozen_after;
		balance.last_offset = piece->last->offset;
		if (piece->normal_last > behind)
			behind = piece->normal_last;
		/* Events among the rows of a piece, which is unbroken, had no row. */
		if (m->normal_next < m->normal_count &&
			m->normals[m->normal_next]->offset < piece->normal_last)
			return fail(m, REPLAY_WHY_OUTSIDE, m->normals[m->normal_next]->offset);
	}
	if (m->normal_next < m->normal_count)
		return fail(m, REPLAY_WHY_OUTSIDE, m->normals[m->normal_next]->offset);
	if (m->chain->applied + m->restored != m->chain->balance.version)
		return fail(m, REPLAY_WHY_VERSION, m->chain->balance.last_offset);
	return true;
}

/* A chain ------------------------------------------------------------------------------------- */

static void mend_init(struct mend *m, struct replay_table *table, struct replay_account *account,
	struct replay_chain *chain)
{
	*m = (struct mend){.table = table, .account = account, .chain = chain};
	m->look_begin = m->need_from = account->wanted ? table->look_begin : table->begin;
	m->look_end = m->need_to = account->wanted ? table->look_end : table->end;
	m->rows = chain->count > 0 ? &table->rows[chain->begin] : NULL;
	m->count = chain->count;
	m->followers = xcalloc(m->count + 1, sizeof *m->followers);
	m->pieces = xcalloc(m->count + 1, sizeof *m->pieces);
}

static void mend_finish(struct mend *m)
{
	free(m->followers);
	free(m->pieces);
	free(m->normals);
	free(m->skipped);
}

/* First pass: its pieces, and which candidates they point at. */
static bool open_chain(struct mend *m)
{
	if (m->chain->foreign)
		return fail(m, REPLAY_WHY_PARTITION, m->chain->balance.last_offset);
	if (!m->chain->has_balance)
		return m->count == 0 ||
		       fail(m, REPLAY_WHY_NO_BALANCE, m->rows[m->count - 1].offset);
	return link_rows(m) && cut(m) && order(m) && point(m);
}

static size_t count_candidates(struct mend *m)
{
	size_t count = 0;

	for (struct replay_candidate *c = first_of(m->table, m->account); c;
		c = next_of(m->table, c))
		count++;
	return count;
}

/* Second pass: what is missing between them. */
static bool close_chain(struct mend *m)
{
	size_t count = count_candidates(m);

	m->normals = xcalloc(count + 1, sizeof *m->normals);
	m->skipped = xcalloc(count + 1, sizeof *m->skipped);
	gather(m);
	return fold_all(m);
}

/* A broken account ---------------------------------------------------------------------------- */

/* An id belongs to the row that a chain points at; else to the first that was not skipped. */
static void choose_primaries(struct replay_table *table, const struct replay_account *account)
{
	for (int pass = 0; pass < 2; pass++)
		for (struct replay_candidate *c = first_of(table, account); c;
			c = next_of(table, c)) {
			struct replay_candidate *leader = leader_of(table, c);

			if (c->in_gap == (pass == 1) && leader->known_offset < 0 &&
				leader->primary == REPLAY_NONE)
				leader->primary = number_of(table, c);
		}
}

/* The id has a row.  A later one in a broken account may be a redelivery that was applied again. */
static void name_known(struct replay_candidate *c, const struct replay_candidate *leader, bool good)
{
	if (c->pointed || (!good && leader->known_offset > c->offset))
		undecided(c, REPLAY_WHY_NONE);
	else
		follow(c, leader->known_fingerprint);
}

static void name(struct replay_table *table, struct replay_candidate *c, bool good)
{
	struct replay_candidate *leader = leader_of(table, c);
	struct replay_candidate *primary;

	if (leader->known_offset >= 0) {
		name_known(c, leader, good);
		return;
	}
	primary = &table->candidates[leader->primary];
	if (!good)
		undecided(c, REPLAY_WHY_NONE);
	else if (primary == c && c->in_gap && !c->pointed)
		undecided(c, REPLAY_WHY_AGAIN);
	else if (primary == c)
		assert(c->verdict == REPLAY_RESTORE_ROW);
	else if (primary->in_gap && !primary->pointed)
		undecided(c, REPLAY_WHY_AGAIN);
	else
		follow(c, primary->id.fingerprint);
}

/* An event that was not skipped, and whose id has a later row: its own row was deleted, and its
 * redelivery was then consumed as if it were new.  What stood where cannot be told any more. */
static bool applied_again(struct replay_table *table, struct replay_account *account)
{
	for (struct replay_candidate *c = first_of(table, account); c; c = next_of(table, c)) {
		const struct replay_candidate *leader = leader_of(table, c);
		int64_t row = leader->known_offset;

		if (row < 0)
			row = table->candidates[leader->primary].offset;
		if (c->in_gap || row <= c->offset)
			continue;
		if (account->why == REPLAY_WHY_NONE) {
			account->why = REPLAY_WHY_KNOWN;
			account->why_offset = c->offset;
		}
		return true;
	}
	return false;
}

static bool mend_chains(struct replay_table *table, struct replay_account *account,
	struct mend *mends, size_t count)
{
	bool good = true;

	for (size_t i = 0; i < count; i++)
		good &= open_chain(&mends[i]);
	choose_primaries(table, account);
	good &= !applied_again(table, account);
	if (!good)
		return false;
	/* Each of them, also behind one that fails: it may need a wider look. */
	for (size_t i = 0; i < count; i++)
		good &= close_chain(&mends[i]);
	return good;
}

static bool undecided_inside(struct replay_table *table, const struct replay_account *account)
{
	for (struct replay_candidate *c = first_of(table, account); c; c = next_of(table, c))
		if (c->verdict == REPLAY_UNDECIDED && replay_table_inside(table, c->offset))
			return true;
	return false;
}

/* Notes what a chain would have to be looked at for; the accounts are chosen by the first look. */
static void ask(struct replay_table *table, struct replay_account *account, const struct mend *m)
{
	if (m->need_from == m->look_begin && m->need_to == m->look_end)
		return;
	if (table->wanted && !account->wanted)
		return;
	account->needs = true;
	table->need_from = least(table->need_from, m->need_from);
	table->need_to = greatest(table->need_to, m->need_to);
}

static void resolve_broken(struct replay_table *table, struct replay_account *account)
{
	struct mend *mends;
	size_t count = 0;
	bool good;

	for (uint32_t i = account->chain; i != REPLAY_NONE; i = table->chains[i].next)
		count++;
	mends = xcalloc(count + 1, sizeof *mends);
	count = 0;
	for (uint32_t i = account->chain; i != REPLAY_NONE; i = table->chains[i].next)
		mend_init(&mends[count++], table, account, &table->chains[i]);
	if (account->tainted)
		account->why = REPLAY_WHY_CONFLICT;
	good = mend_chains(table, account, mends, count) && !account->tainted;
	for (struct replay_candidate *c = first_of(table, account); c; c = next_of(table, c))
		name(table, c, good);
	for (size_t i = 0; i < count && !account->tainted && undecided_inside(table, account); i++)
		ask(table, account, &mends[i]);
	while (count > 0)
		mend_finish(&mends[--count]);
	free(mends);
}

/* All ----------------------------------------------------------------------------------------- */

static int compare_rows(const void *a, const void *b)
{
	const struct replay_row *left = a, *right = b;

	if (left->chain != right->chain)
		return left->chain < right->chain ? -1 : 1;
	return (left->offset > right->offset) - (left->offset < right->offset);
}

static void sort_rows(struct replay_table *table)
{
	if (table->row_count > 0)
		qsort(table->rows, table->row_count, sizeof *table->rows, compare_rows);
	for (size_t i = 0; i < table->row_count; i++) {
		struct replay_chain *chain = &table->chains[table->rows[i].chain];

		if (chain->count++ == 0)
			chain->begin = i;
	}
}

void replay_resolve(struct replay_table *table)
{
	sort_rows(table);
	for (size_t i = 0; i < table->account_count; i++) {
		struct replay_account *account = &table->accounts[i];

		if (account->broken)
			resolve_broken(table, account);
		else
			resolve_whole(table, account);
	}
}
