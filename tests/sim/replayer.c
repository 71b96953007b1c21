/* See replayer.h. */
#include "replayer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "checkers.h"
#include "lease_borrow.h"
#include "mem.h"
#include "replay.h"
#include "rows.h"

#define CENT       ((i128)10000000000000000LL)
#define BLOCK_MAX  8
#define RUN_MAX_US 120000000

/* A row that was ever written. */
struct truth {
	struct memory_journal_row row;
	bool live; /* not deleted */
};

/* A balance as the truth has it. */
struct tail {
	struct balance_key key;
	struct balance balance;
};

struct past {
	struct truth *rows; /* as they were applied */
	size_t count, capacity;
	int64_t next_offset; /* when last looked */
};

struct replayer {
	struct world *w;
	struct clock clock;
	struct past pasts[WORLD_PARTITIONS_MAX];
	struct tail *tails;
	size_t tail_count, tail_capacity;
	int64_t *damaged; /* accounts one of whose deleted transactions was consumed once more */
	size_t damaged_count, damaged_capacity;
	int64_t delete_chance, skip_chance, run_chance;
	/* a run: */
	bool running;
	bool apply;
	bool begun; /* the replay, after the lease */
	bool last;  /* began when nobody tampers any more */
	int32_t partition;
	int64_t from_offset, to_offset;
	int64_t known_offset; /* the range is a deleted row alone; -1: it is not */
	int64_t wait_us, tick_us, paused_until_us;
	struct lease_store_memory *lease_store;
	struct lease_borrow *borrow;
	struct store *reader, *writer;
	struct topic *topic;
	struct flush flush;
	struct replay replay;
	int32_t final; /* partitions that are compared at the end */
	struct replayer_totals totals;
};

#define GROW(array, count, capacity)                                                               \
	do {                                                                                       \
		if ((count) == (capacity)) {                                                       \
			(capacity) = (capacity) ? 2 * (capacity) : 64;                             \
			(array) = xrealloc((array), (capacity) * sizeof(*(array)));                \
		}                                                                                  \
	} while (0)

/* Clock and faults ---------------------------------------------------------------------------- */

static struct world *world_of(const struct clock *clock)
{
	return ((const struct replayer *)((const char *)clock - offsetof(struct replayer, clock)))
		->w;
}

static int64_t clock_us(const struct clock *clock)
{
	return world_of(clock)->now_us;
}

static int64_t clock_ms(const struct clock *clock)
{
	return world_of(clock)->now_us / 1000;
}

static int64_t clock_wall_ms(const struct clock *clock)
{
	return INT64_C(1767225600000) + world_of(clock)->now_us / 1000;
}

static enum memory_fault store_fault(void *context, const char *what)
{
	return world_store_fault(((struct replayer *)context)->w, "the replay", what);
}

static void lease_waits(void *context, bool lock)
{
	const struct replayer *replayer = context;

	if (!lock)
		world_lease_waits(replayer->w, replayer->lease_store);
}

/* The truth ----------------------------------------------------------------------------------- */

static struct truth *truth_at(struct past *past, int64_t offset)
{
	for (size_t i = 0; i < past->count; i++)
		if (past->rows[i].row.offset == offset)
			return &past->rows[i];
	return NULL;
}

/* A row of this transaction, a live one if there is one. */
static struct truth *truth_of(struct past *past, const struct event *event)
{
	struct truth *found = NULL;

	for (size_t i = 0; i < past->count; i++)
		if (rows_same_id(&past->rows[i].row.event, event) && (!found || past->rows[i].live))
			found = &past->rows[i];
	return found;
}

static struct tail *tail_of(struct replayer *replayer, const struct event *event)
{
	struct balance_key key = {event->account_id, event->currency};

	for (size_t i = 0; i < replayer->tail_count; i++)
		if (balance_key_compare(&replayer->tails[i].key, &key) == 0)
			return &replayer->tails[i];
	GROW(replayer->tails, replayer->tail_count, replayer->tail_capacity);
	replayer->tails[replayer->tail_count] = (struct tail){key, {.last_offset = -1}};
	return &replayer->tails[replayer->tail_count++];
}

/* The rules, once more and otherwise. */
static enum refusal rule(struct balance *b, const struct event *event)
{
	i128 amount = event->amount;
	bool takes = event->type == EVENT_WITHDRAW || event->type == EVENT_FREEZE;
	bool thaws = event->type == EVENT_UNFREEZE || event->type == EVENT_SETTLE;
	i128 available = b->available, frozen = b->frozen;

	if (takes && available < amount)
		return REFUSAL_INSUFFICIENT_AVAILABLE;
	if (thaws && frozen < amount)
		return REFUSAL_INSUFFICIENT_FROZEN;
	if (takes)
		available -= amount;
	if (thaws)
		frozen -= amount;
	if (event->type == EVENT_DEPOSIT || event->type == EVENT_UNFREEZE)
		available += amount;
	if (event->type == EVENT_FREEZE)
		frozen += amount;
	if (available > DECIMAL_MAX || frozen > DECIMAL_MAX)
		return REFUSAL_OVERFLOW;
	b->available = available;
	b->frozen = frozen;
	b->version++;
	return REFUSAL_NONE;
}

static bool is_damaged(const struct replayer *replayer, int64_t account)
{
	for (size_t i = 0; i < replayer->damaged_count; i++)
		if (replayer->damaged[i] == account)
			return true;
	return false;
}

/* Was it sent like this? */
static void check_sent(struct replayer *replayer, int32_t p, const struct memory_journal_row *row)
{
	struct world *w = replayer->w;
	const struct intent *intent = &w->oracles[p].expected[row->offset].intent;

	if (intent->meaning != MEANS_EVENT || intent->account != row->event.account_id ||
		intent->cents * CENT != row->event.amount ||
		(int)intent->kind + 1 != (int)row->event.type)
		world_fail(w, "partition %d offset %" PRId64 ": another event than was sent", p,
			row->offset);
}

/* A row that never was there before. */
static void take_new(struct replayer *replayer, int32_t p, const struct memory_journal_row *row)
{
	struct world *w = replayer->w;
	struct past *past = &replayer->pasts[p];
	bool replayed = row->offset < past->next_offset;
	const struct truth *other = truth_of(past, &row->event);
	struct tail *tail = tail_of(replayer, &row->event);

	check_sent(replayer, p, row);
	if (other && (replayed || other->live))
		world_fail(w,
			"partition %d offset %" PRId64 ": its transaction was applied at %" PRId64
			" already",
			p, row->offset, other->row.offset);
	if (other) {
		GROW(replayer->damaged, replayer->damaged_count, replayer->damaged_capacity);
		replayer->damaged[replayer->damaged_count++] = row->event.account_id;
	}
	if (row->prev_offset != tail->balance.last_offset)
		world_fail(w,
			"partition %d offset %" PRId64 ": prev_offset %" PRId64
			", expected %" PRId64,
			p, row->offset, row->prev_offset, tail->balance.last_offset);
	if (rule(&tail->balance, &row->event) != row->refusal ||
		tail->balance.available != row->available_after ||
		tail->balance.frozen != row->frozen_after)
		world_fail(w, "partition %d offset %" PRId64 ": another outcome than the rules'", p,
			row->offset);
	tail->balance.last_offset = row->offset;
	replayer->totals.decided += replayed;
	GROW(past->rows, past->count, past->capacity);
	past->rows[past->count++] = (struct truth){*row, true};
}

static void check_row(struct replayer *replayer, int32_t p, const struct memory_journal_row *row)
{
	struct truth *truth = truth_at(&replayer->pasts[p], row->offset);

	if (!truth) {
		take_new(replayer, p, row);
		return;
	}
	/* A deleted row's redelivery was consumed as new, refused, and deleted, too: nothing is
	 * left that tells of it, and the row behind it follows the one before it. */
	if (!truth->live && is_damaged(replayer, row->event.account_id))
		truth->row.prev_offset = row->prev_offset;
	if (!rows_same(&truth->row, row))
		world_fail(replayer->w,
			"partition %d offset %" PRId64
			": not the row that it was: prev_offset %" PRId64 " (was %" PRId64
			"), refusal %d (was %d)",
			p, row->offset, row->prev_offset, truth->row.prev_offset, row->refusal,
			truth->row.refusal);
	replayer->totals.restored += !truth->live;
	truth->live = true;
}

static void check_letter(
	struct replayer *replayer, int32_t p, const struct memory_dead_letter *letter)
{
	struct world *w = replayer->w;
	const struct intent *intent = &w->oracles[p].expected[letter->offset].intent;
	static const enum dead_reason reasons[] = {
		[MEANS_EVENT] = DEAD_ID_CONFLICT,
		[MEANS_MALFORMED] = DEAD_MALFORMED,
		[MEANS_KEY_MISMATCH] = DEAD_KEY_MISMATCH,
		[MEANS_WRONG_PARTITION] = DEAD_WRONG_PARTITION,
		[MEANS_NOTHING] = DEAD_NONE,
	};

	if (letter->reason != reasons[intent->meaning])
		world_fail(w, "partition %d offset %" PRId64 ": a dead letter, %s", p,
			letter->offset, dead_reason_text(letter->reason));
	if (truth_at(&replayer->pasts[p], letter->offset) &&
		!is_damaged(replayer, intent->account)) /* see check_row */
		world_fail(w, "partition %d offset %" PRId64 ": a dead letter in a row's place", p,
			letter->offset);
}

static void check_balances(struct replayer *replayer)
{
	struct world *w = replayer->w;

	for (size_t i = 0; i < replayer->tail_count; i++) {
		const struct tail *tail = &replayer->tails[i];
		const struct store_balance *row = memory_database_balance(&w->db, tail->key);

		if (!row || row->balance.available != tail->balance.available ||
			row->balance.frozen != tail->balance.frozen ||
			row->balance.version != tail->balance.version ||
			row->balance.last_offset != tail->balance.last_offset)
			world_fail(w, "balance of account %" PRId64 ": not the fold over its rows",
				tail->key.account_id);
	}
	if (w->db.balance_count != replayer->tail_count)
		world_fail(w, "balances without rows");
}

void replayer_check(struct replayer *replayer)
{
	struct world *w = replayer->w;

	for (int32_t p = 0; p < w->partitions; p++) {
		const struct memory_partition *table = &w->db.tables[p];
		struct past *past = &replayer->pasts[p];
		size_t live = 0;

		for (size_t i = 0; i < table->journal_count; i++)
			check_row(replayer, p, &table->journal[i]);
		for (size_t i = 0; i < table->dead_letter_count; i++)
			check_letter(replayer, p, &table->dead_letters[i]);
		for (size_t i = 0; i < past->count; i++)
			live += past->rows[i].live;
		if (live != table->journal_count)
			world_fail(w, "partition %d: rows have gone by themselves", p);
		past->next_offset = w->offsets[p].next_offset;
	}
	check_balances(replayer);
}

/* What people do ------------------------------------------------------------------------------ */

static void delete_rows(struct replayer *replayer)
{
	struct world *w = replayer->w;
	int32_t p = (int32_t)random_below(&w->random, w->partitions);
	struct past *past = &replayer->pasts[p];
	size_t from, count = (size_t)random_between(&w->random, 1, 6);
	size_t step = (size_t)random_between(&w->random, 1, 4);

	if (past->count == 0)
		return;
	from = (size_t)random_below(&w->random, (int64_t)past->count);
	for (; count-- > 0 && from < past->count; from += step) {
		struct truth *truth = &past->rows[from];

		if (!truth->live)
			continue;
		memory_database_delete_row(&w->db, p, truth->row.offset);
		truth->live = false;
		world_count(w, FAULT_ROW_DELETED);
		replayer->totals.deleted++;
		world_trace(w, "partition %d: the row at %" PRId64 " is deleted by hand", p,
			truth->row.offset);
	}
}

static void delete_letter(struct replayer *replayer)
{
	struct world *w = replayer->w;
	int32_t p = (int32_t)random_below(&w->random, w->partitions);
	const struct memory_partition *table = &w->db.tables[p];

	if (table->dead_letter_count == 0)
		return;
	memory_database_delete_letter(&w->db, p,
		table->dead_letters[random_below(&w->random, (int64_t)table->dead_letter_count)]
			.offset);
	world_count(w, FAULT_ROW_DELETED);
	replayer->totals.deleted++;
}

/* As `resume` does with a halted partition: nobody holds it, and whoever did cannot commit. */
static void give_up(struct replayer *replayer)
{
	struct world *w = replayer->w;
	int32_t p = (int32_t)random_below(&w->random, w->partitions);
	struct partition_offset_row *row = &w->offsets[p];
	int64_t at;

	if (row->locked_by || row->next_offset >= w->logs[p].end || p >= w->leases.row_count ||
		w->leases.rows[p].expires_us > w->leases.now_us(w->leases.context))
		return;
	w->leases.rows[p].epoch = ++row->epoch;
	at = random_between(&w->random, row->next_offset + 1, w->logs[p].end);
	world_trace(w, "partition %d: offsets %" PRId64 " to %" PRId64 " are given up", p,
		row->next_offset, at);
	memory_database_skip(&w->db, p, row->next_offset, at);
	row->next_offset = at;
	w->db.commits++;
}

static void tamper(struct replayer *replayer)
{
	struct world *w = replayer->w;

	if (w->calm)
		return;
	if (random_chance(&w->random, replayer->delete_chance))
		delete_rows(replayer);
	if (random_chance(&w->random, replayer->delete_chance))
		delete_letter(replayer);
	if (random_chance(&w->random, replayer->skip_chance))
		give_up(replayer);
}

/* A run --------------------------------------------------------------------------------------- */

static bool lease_valid(void *context, int64_t now_ms)
{
	return lease_borrow_valid(((struct replayer *)context)->borrow, now_ms);
}

/* Killed: its connections are cut. */
static void drop(struct replayer *replayer)
{
	if (replayer->begun) {
		replay_finish(&replayer->replay);
		flush_finish(&replayer->flush);
		replayer->reader->ops->destroy(replayer->reader);
		replayer->writer->ops->destroy(replayer->writer);
		replayer->topic->ops->destroy(replayer->topic);
	}
	if (replayer->borrow)
		lease_borrow_destroy(replayer->borrow);
	replayer->borrow = NULL;
	replayer->begun = replayer->running = false;
}

/* A row is known to be gone, and its offset is what somebody types. */
static void choose_deleted(struct replayer *replayer)
{
	struct world *w = replayer->w;
	const struct past *past = &replayer->pasts[replayer->partition];
	size_t from = past->count > 0 ? (size_t)random_below(&w->random, (int64_t)past->count) : 0;

	for (size_t i = 0; i < past->count; i++) {
		const struct truth *truth = &past->rows[(from + i) % past->count];

		if (truth->live)
			continue;
		replayer->known_offset = replayer->from_offset = truth->row.offset;
		replayer->to_offset = truth->row.offset + 1;
		return;
	}
}

static void choose_range(struct replayer *replayer)
{
	struct world *w = replayer->w;
	int64_t next_offset = w->offsets[replayer->partition].next_offset;

	if (random_chance(&w->random, 4000)) {
		choose_deleted(replayer);
		return;
	}
	if (random_chance(&w->random, 4000))
		replayer->from_offset = random_below(&w->random, next_offset + 1);
	if (random_chance(&w->random, 4000))
		replayer->to_offset = random_between(
			&w->random, replayer->from_offset, next_offset);
}

static void begin_run(struct replayer *replayer)
{
	struct world *w = replayer->w;
	char who[64];

	replayer->running = true;
	replayer->last = w->calm;
	replayer->wait_us = replayer->tick_us = replayer->paused_until_us = 0;
	replayer->from_offset = 0;
	replayer->to_offset = replayer->known_offset = -1;
	if (w->calm) {
		replayer->partition = replayer->final;
		replayer->apply = true;
	} else {
		replayer->partition = (int32_t)random_below(&w->random, w->partitions);
		replayer->apply = random_chance(&w->random, 7000);
		choose_range(replayer);
	}
	replayer->totals.runs++;
	world_count(w, FAULT_REPLAYED);
	if (!replayer->apply)
		return;
	snprintf(who, sizeof who, "replay-%" PRIu64, w->steps);
	replayer->borrow = lease_borrow_create(
		&replayer->lease_store->store, who, replayer->partition, WORLD_TTL_MS);
}

static void begin_replay(struct replayer *replayer)
{
	struct world *w = replayer->w;
	struct replay_config config = {
		.partition = replayer->partition,
		.partitions = w->partitions,
		.from_offset = replayer->from_offset,
		.to_offset = replayer->to_offset,
		.apply = replayer->apply,
		.epoch = replayer->borrow ? lease_borrow_epoch(replayer->borrow) : 0,
		.bytes_max = 1 << 24,
		.batch_max_events = (size_t)random_between(&w->random, 1, 8),
		.batch_max_bytes = 1 << 16,
		.block_rows = (size_t)random_between(&w->random, 1, BLOCK_MAX),
		.key = "simulator",
		.seed = random_next(&w->random),
	};
	struct replay_edges edges = {
		.flush = &replayer->flush,
		.clock = &replayer->clock,
		.lease_valid = lease_valid,
		.context = replayer,
	};

	edges.reader = replayer->reader = store_memory_create(&w->db, store_fault, replayer);
	replayer->writer = store_memory_create(&w->db, store_fault, replayer);
	edges.topic = replayer->topic = topic_memory_create(
		&w->logs[replayer->partition], &w->kafka);
	flush_init(&replayer->flush, replayer->writer, random_next(&w->random));
	replay_init(&replayer->replay, &config, &edges);
	replayer->begun = true;
	world_trace(w, "replay of partition %d from %" PRId64 " to %" PRId64 "%s",
		replayer->partition, replayer->from_offset, replayer->to_offset,
		replayer->apply ? ", applied" : "");
}

static void tick(struct replayer *replayer)
{
	struct world *w = replayer->w;
	struct error err;
	int64_t wait_ms;
	bool failed;

	if (w->now_us < replayer->tick_us)
		return;
	world_lease_faults(w, replayer->lease_store);
	wait_ms = lease_borrow_tick(replayer->borrow, w->now_us / 1000, &failed, &err);
	replayer->tick_us = w->now_us + 1000 * wait_ms;
	world_count_lease_faults(w, replayer->lease_store);
}

static void step_replay(struct replayer *replayer)
{
	struct world *w = replayer->w;
	uint64_t commits = w->db.commits;
	int64_t wait_ms;

	if (w->now_us < replayer->wait_us)
		return;
	if (!w->calm && random_chance(&w->random, 20))
		replay_interrupt(&replayer->replay);
	wait_ms = replay_step(&replayer->replay);
	replayer->wait_us = w->now_us + 1000 * wait_ms;
	if (!replayer->apply && w->db.commits != commits)
		world_fail(w, "a dry replay has committed something");
}

/* At the end ---------------------------------------------------------------------------------- */

static const struct memory_journal_row *live_row(
	struct replayer *replayer, int32_t p, const struct intent *intent)
{
	struct past *past = &replayer->pasts[p];
	char id[32];
	int length = snprintf(id, sizeof id, "tx-%" PRId64, intent->id);

	for (size_t i = 0; i < past->count; i++) {
		const struct event *event = &past->rows[i].row.event;

		if (past->rows[i].live && event->account_id == intent->account &&
			event->transaction_id_length == length &&
			memcmp(event->transaction_id, id, (size_t)length) == 0)
			return &past->rows[i].row;
	}
	return NULL;
}

static bool has_letter(const struct memory_partition *table, int64_t offset)
{
	for (size_t i = 0; i < table->dead_letter_count; i++)
		if (table->dead_letters[i].offset == offset)
			return true;
	return false;
}

/* Neither row nor dead letter. */
static void check_without(struct replayer *replayer, int32_t p, int64_t offset)
{
	struct world *w = replayer->w;
	const struct intent *intent = &w->oracles[p].expected[offset].intent;
	const struct replay_candidate *c = replay_table_at(&replayer->replay.table, offset);
	struct truth *truth = truth_at(&replayer->pasts[p], offset);
	const struct memory_journal_row *row;

	if (!c)
		world_fail(w, "partition %d offset %" PRId64 ": lost, and not named", p, offset);
	if (c->verdict == REPLAY_UNDECIDED) {
		replayer->totals.undecided++;
		if (truth && w->db.tables[p].gap_count == 0 &&
			!is_damaged(replayer, intent->account))
			world_fail(
				w, "partition %d offset %" PRId64 ": could be restored", p, offset);
		return;
	}
	row = intent->meaning == MEANS_EVENT ? live_row(replayer, p, intent) : NULL;
	if (truth && is_damaged(replayer, intent->account))
		truth = NULL; /* see check_row */
	if (truth || c->verdict != REPLAY_DUPLICATE || !row ||
		row->event.amount != intent->cents * CENT ||
		(int)row->event.type != (int)intent->kind + 1)
		world_fail(w, "partition %d offset %" PRId64 ": %s, but it is none", p, offset,
			replay_verdict_text(c->verdict));
}

static void check_all(struct replayer *replayer, int32_t p)
{
	struct world *w = replayer->w;

	for (int64_t i = 0; i < w->offsets[p].next_offset; i++) {
		const struct truth *truth = truth_at(&replayer->pasts[p], i);

		if (w->oracles[p].expected[i].intent.meaning == MEANS_NOTHING)
			continue;
		if ((truth && truth->live) || has_letter(&w->db.tables[p], i))
			continue;
		check_without(replayer, p, i);
	}
}

static bool changed_anything(const struct replay *r)
{
	for (int i = 0; i < REPLAY_VERDICTS; i++)
		if (r->counts.written[i] > 0)
			return true;
	for (size_t i = 0; i < r->table.candidate_count; i++)
		if (r->table.candidates[i].why == REPLAY_WHY_AGAIN)
			return true;
	return false;
}

/* A range of one deleted row is enough to restore it, whatever else is missing. */
static void check_known(struct replayer *replayer)
{
	struct world *w = replayer->w;
	const struct replay *r = &replayer->replay;
	const struct replay_candidate *c = replay_table_at(&r->table, replayer->known_offset);
	const struct intent *intent;

	if (replayer->known_offset < 0 || r->rc != 0)
		return;
	intent = &w->oracles[replayer->partition].expected[replayer->known_offset].intent;
	if (w->db.tables[replayer->partition].gap_count > 0 ||
		is_damaged(replayer, intent->account))
		return; /* it may be told neither way */
	if (r->table.candidate_count != 1 || !c || c->verdict != REPLAY_RESTORE_ROW)
		world_fail(w, "partition %d offset %" PRId64 ": could be restored by itself",
			replayer->partition, replayer->known_offset);
	replayer->totals.alone++;
	replayer->totals.alone_wider += r->outside.rows > 0;
}

static void end_replay(struct replayer *replayer)
{
	struct replay *r = &replayer->replay;

	world_trace(replayer->w,
		"replay of partition %d ends: %d %s; %" PRId64 " restored, %" PRId64
		" decided, %" PRId64 " undecided",
		replayer->partition, r->rc, r->rc ? r->error.text : "",
		r->counts.written[REPLAY_RESTORE_ROW], r->counts.written[REPLAY_DECIDE],
		r->counts.verdicts[REPLAY_UNDECIDED]);
	if (r->rc == 0 && r->counts.conflicts > 0)
		world_fail(replayer->w, "a replay finds rows unlike the log");
	check_known(replayer);
	if (replayer->last && r->rc == 0 &&
		r->end == replayer->w->offsets[replayer->partition].next_offset &&
		replayer->partition == replayer->final && !changed_anything(r)) {
		replayer_check(replayer);
		check_all(replayer, replayer->final++);
	}
	if (!replayer->borrow)
		drop(replayer);
}

/* ------------------------------------------------------------------------------------------- */

static bool sleeps(struct replayer *replayer)
{
	struct world *w = replayer->w;

	if (!w->calm && w->now_us >= replayer->paused_until_us &&
		random_chance(&w->random, w->rates.pause)) {
		replayer->paused_until_us = w->now_us + random_between(&w->random, 1, 40) * 1000000;
		if (replayer->begun &&
			replayer->paused_until_us > w->now_us + (int64_t)WORLD_TTL_MS * 600)
			store_memory_cut(replayer->writer);
	}
	return w->now_us < replayer->paused_until_us;
}

static void give_back(struct replayer *replayer)
{
	int rc = 0;

	world_lease_faults(replayer->w, replayer->lease_store);
	if (replayer->borrow)
		rc = lease_borrow_return(replayer->borrow, NULL);
	world_count_lease_faults(replayer->w, replayer->lease_store);
	if (rc == 0)
		drop(replayer);
}

static void go_on(struct replayer *replayer)
{
	struct world *w = replayer->w;
	enum lease_borrow_state state = LEASE_BORROW_HELD;

	if (replayer->borrow && random_chance(&w->random, 5000))
		tick(replayer);
	if (replayer->borrow)
		state = lease_borrow_state(replayer->borrow);
	if (!replayer->begun && state == LEASE_BORROW_HELD)
		begin_replay(replayer);
	else if (replayer->begun && !replay_ended(&replayer->replay)) {
		step_replay(replayer);
		if (replay_ended(&replayer->replay))
			end_replay(replayer);
	} else if (replayer->begun || state != LEASE_BORROW_ASKING) {
		give_back(replayer);
	}
}

void replayer_step(struct replayer *replayer)
{
	struct world *w = replayer->w;

	tamper(replayer);
	if (!replayer->running) {
		if (w->calm ? replayer->final < w->partitions &&
					!w->offsets[replayer->final].locked_by
			    : random_chance(&w->random, replayer->run_chance))
			begin_run(replayer);
	} else if (!sleeps(replayer)) {
		if (!w->calm && random_chance(&w->random, w->rates.crash)) {
			replayer->totals.killed++;
			world_count(w, FAULT_REPLAY_KILLED);
			world_trace(w, "the replay is killed");
			drop(replayer);
		} else {
			go_on(replayer);
		}
	}
}

bool replayer_at_rest(struct replayer *replayer)
{
	return replayer->final == replayer->w->partitions && !replayer->running;
}

bool replayer_lost_rows(const struct replayer *replayer)
{
	for (int32_t p = 0; p < replayer->w->partitions; p++)
		for (size_t i = 0; i < replayer->pasts[p].count; i++)
			if (!replayer->pasts[p].rows[i].live)
				return true;
	return false;
}

struct replayer *replayer_create(struct world *w)
{
	struct random *r = &w->random;
	struct replayer *replayer;

	if (w->seed % 3 != 0)
		return NULL;
	replayer = xcalloc(1, sizeof *replayer);
	replayer->w = w;
	replayer->clock = (struct clock){clock_ms, clock_us, clock_wall_ms};
	replayer->lease_store = lease_store_memory_create(&w->leases);
	replayer->lease_store->on_wait = lease_waits;
	replayer->lease_store->wait_context = replayer;
	replayer->delete_chance = random_below(r, 60);
	replayer->skip_chance = random_chance(r, 5000) ? 0 : random_below(r, 400);
	replayer->run_chance = random_below(r, 200);
	w->rates.truncate = 0;
	return replayer;
}

void replayer_destroy(struct replayer *replayer)
{
	if (!replayer)
		return;
	drop(replayer);
	replayer->lease_store->store.ops->destroy(&replayer->lease_store->store);
	for (int32_t p = 0; p < WORLD_PARTITIONS_MAX; p++)
		free(replayer->pasts[p].rows);
	free(replayer->tails);
	free(replayer->damaged);
	free(replayer);
}

void replayer_add(const struct replayer *replayer, struct replayer_totals *totals)
{
	if (!replayer)
		return;
	totals->runs += replayer->totals.runs;
	totals->restored += replayer->totals.restored;
	totals->decided += replayer->totals.decided;
	totals->undecided += replayer->totals.undecided;
	totals->alone += replayer->totals.alone;
	totals->alone_wider += replayer->totals.alone_wider;
	totals->deleted += replayer->totals.deleted;
	totals->killed += replayer->totals.killed;
}
