/*
 * `replay` against a log and a database in memory.  Each case is a story: messages are consumed by
 * the ledger itself, rows are deleted by hand or offsets skipped, and what a dry run says and an
 * apply does is compared with the database as it was before.
 */
#include "fixture.h"

#include <errno.h>

#include "flush.h"
#include "ledger.h"
#include "mem.h"
#include "replay.h"
#include "store_memory.h"
#include "topic_memory.h"

#define EPOCH 7

static const unsigned char id_secret[DEDUPE_KEY_BYTES] = "replay";

struct story {
	struct memory_log log;
	struct topic_memory_faults faults;
	struct partition_offset_row offsets[1];
	struct memory_database db;
	struct budget budget;
	struct ledger ledger;
	struct replay replay; /* the last one */
	struct store *reader, *writer;
	struct topic *topic;
	struct flush flush;
	bool ran;
	enum replay_step meddle_at; /* before it */
	void (*meddle)(struct story *s);
	int calls; /* of the writer, so far */
	int fault_at;
	enum memory_fault fault;
	bool stuck; /* a row that the writer needs is locked for ever */
};

static int64_t clock_ms(const struct clock *clock)
{
	return 1000;
}

static int64_t clock_wall_ms(const struct clock *clock)
{
	return FIXTURE_TIME_MS;
}

static const struct clock test_clock = {clock_ms, clock_ms, clock_wall_ms};

static bool always(void *context, int64_t now_ms)
{
	return true;
}

static void story_begin(struct story *s)
{
	struct ledger_config config = {.batch_events = 100, .ids = 1000, .seed = 1};

	memset(s, 0, sizeof *s);
	memcpy(config.key, id_secret, sizeof id_secret);
	s->fault_at = -1;
	s->meddle_at = REPLAY_STEPS;
	memory_log_init(&s->log, 1);
	memory_database_init(&s->db, 1, s->offsets);
	s->offsets[0].epoch = EPOCH;
	budget_init(&s->budget, SIZE_MAX);
	ledger_init(&s->ledger, &s->budget, &config);
}

static void replay_end(struct story *s)
{
	if (!s->ran)
		return;
	replay_finish(&s->replay);
	flush_finish(&s->flush);
	s->reader->ops->destroy(s->reader);
	s->writer->ops->destroy(s->writer);
	s->topic->ops->destroy(s->topic);
	s->ran = false;
}

static void story_end(struct story *s)
{
	replay_end(s);
	ledger_finish(&s->ledger);
	memory_database_finish(&s->db);
	memory_log_finish(&s->log);
}

/* The log ------------------------------------------------------------------------------------- */

static void send_in(struct story *s, const char *id, int64_t account, const char *type,
	const char *amount, const char *currency)
{
	char key[24], value[300];
	int key_length = snprintf(key, sizeof key, "%lld", (long long)account);
	int length = snprintf(value, sizeof value,
		"{\"transaction_id\":\"%s\",\"account_id\":%lld,\"currency\":\"%s\","
		"\"type\":\"%s\",\"amount\":\"%s\"}",
		id, (long long)account, currency, type, amount);

	memory_log_append(&s->log, key, (size_t)key_length, value, (size_t)length, FIXTURE_TIME_MS);
}

static void send(struct story *s, const char *id, const char *type, const char *amount)
{
	send_in(s, id, 1, type, amount, "USDT");
}

static void send_junk(struct story *s)
{
	memory_log_append(&s->log, "1", 1, "junk", 4, FIXTURE_TIME_MS);
}

/* The consumer -------------------------------------------------------------------------------- */

static void add_record(struct story *s, struct batch *b, int64_t offset)
{
	const struct memory_log_record *from = &s->log.records[offset];
	struct message message = {.offset = offset,
		.timestamp_ms = from->timestamp_ms,
		.key = from->key,
		.key_length = from->key_length,
		.value = from->value,
		.value_length = from->value_length};
	struct record *record = batch_add(b, &message);

	record->dead_reason = decode_message(
		&record->message, 0, 1, &record->event, &record->detail);
	if (record->dead_reason == DEAD_NONE)
		record->id = dedupe_id(&s->ledger.key, &record->event);
}

static void load_missing(struct story *s, struct batch *b)
{
	struct balance_key keys[100];
	struct balance_row rows[100];
	size_t count = ledger_resolve(&s->ledger, b, 0, keys);

	for (size_t i = 0; i < count; i++) {
		const struct store_balance *found = memory_database_balance(&s->db, keys[i]);

		rows[i] = (struct balance_row){.key = keys[i], .found = found != NULL};
		if (found)
			rows[i].balance = found->balance;
	}
	ledger_load(&s->ledger, b, rows, count);
	assert_int_equal(ledger_resolve(&s->ledger, b, 0, keys), 0);
}

/* What the database knows is told to a fresh ledger, as after a recovery. */
static void learn_journal(struct story *s)
{
	ledger_clear(&s->ledger);
	for (size_t i = 0; i < s->db.tables[0].journal_count; i++) {
		struct dedupe_id id = dedupe_id(&s->ledger.key, &s->db.tables[0].journal[i].event);

		ledger_learn(&s->ledger, &id);
	}
}

/* Everything that is in the log, as a daemon that was just started. */
static void consume(struct story *s)
{
	struct store *store = store_memory_create(&s->db, NULL, NULL);
	struct flush_request request = {.epoch = EPOCH};
	struct flush flush;
	struct batch b;

	learn_journal(s);
	batch_init(&b, 100, 1 << 20, BALANCE_PIN_EVEN);
	batch_reset(&b, s->offsets[0].next_offset);
	for (int64_t i = s->offsets[0].next_offset; i < s->log.end; i++)
		add_record(s, &b, i);
	load_missing(s, &b);
	ledger_dedupe(&s->ledger, &b);
	ledger_apply(&s->ledger, &b, FIXTURE_TIME_MS);
	flush_init(&flush, store, 1);
	request.begin_offset = b.begin_offset;
	request.end_offset = request.redis_offset = b.end_offset;
	request.batch = &b;
	flush_start(&flush, &request);
	while (!flush_ended(&flush))
		flush_step(&flush);
	assert_int_equal(flush.verdict, FLUSH_COMMITTED);
	ledger_commit(&s->ledger, &b);
	flush_finish(&flush);
	store->ops->destroy(store);
	batch_finish(&b);
}

/* `resume --at-offset`: what is in the log and not consumed is not processed. */
static void give_up(struct story *s)
{
	memory_database_skip(&s->db, 0, s->offsets[0].next_offset, s->log.end);
	s->offsets[0].next_offset = s->offsets[0].redis_offset = s->log.end;
}

static void delete_row(struct story *s, int64_t offset)
{
	assert_true(memory_database_delete_row(&s->db, 0, offset));
}

/* The replay ---------------------------------------------------------------------------------- */

static enum memory_fault writer_fault(void *context, const char *what)
{
	struct story *s = context;

	if (s->stuck && strcmp(what, "load journal") == 0)
		return MEMORY_FAULT_RETRY;
	return s->calls++ == s->fault_at ? s->fault : MEMORY_FAULT_NONE;
}

static int replay_range(struct story *s, int64_t from, int64_t to, bool apply)
{
	struct replay_config config = {
		.partitions = 1,
		.from_offset = from,
		.to_offset = to,
		.apply = apply,
		.epoch = EPOCH,
		.bytes_max = 1 << 24,
		.batch_max_events = 2,
		.batch_max_bytes = 1 << 20,
		.block_rows = 3,
		.seed = 99,
	};
	struct replay_edges edges = {.clock = &test_clock, .lease_valid = always};

	replay_end(s);
	memcpy(config.key, id_secret, sizeof id_secret);
	edges.reader = s->reader = store_memory_create(&s->db, NULL, NULL);
	s->calls = 0;
	s->writer = store_memory_create(&s->db, writer_fault, s);
	edges.topic = s->topic = topic_memory_create(&s->log, &s->faults);
	flush_init(&s->flush, s->writer, 1);
	edges.flush = &s->flush;
	replay_init(&s->replay, &config, &edges);
	s->ran = true;
	while (!replay_ended(&s->replay)) {
		if (s->replay.step == s->meddle_at)
			s->meddle(s);
		replay_step(&s->replay);
	}
	return s->replay.rc;
}

/* "R1 D2 ..." of offsets: R restore row, L restore letter, A apply, F refuse, d duplicate, ? */
static void assert_says(struct story *s, const char *expected)
{
	char said[500] = "";

	for (size_t i = 0; i < s->replay.table.candidate_count; i++) {
		const struct replay_candidate *c = &s->replay.table.candidates[i];
		char letter = "-RLAd?"[c->verdict];
		size_t length = strlen(said);

		if (letter == 'A' && c->refusal)
			letter = 'F';
		snprintf(said + length, sizeof said - length, "%s%c%lld", length ? " " : "", letter,
			(long long)c->offset);
	}
	assert_string_equal(said, expected);
}

static void assert_why(struct story *s, enum replay_why why)
{
	assert_int_equal(s->replay.table.accounts[0].why, why);
}

static void dry(struct story *s, const char *expected)
{
	uint64_t commits = s->db.commits;

	assert_int_equal(replay_range(s, 0, -1, false), 0);
	assert_says(s, expected);
	assert_int_equal(s->db.commits, commits);
}

/* Copies of the tables, to compare with. */
struct copy {
	struct partition_offset_row offsets[1];
	struct memory_database db;
};

static void remember(struct copy *copy, const struct story *s)
{
	memory_database_copy(&copy->db, &s->db, copy->offsets);
}

static void assert_same_row(const struct memory_journal_row *a, const struct memory_journal_row *b)
{
	assert_int_equal(a->offset, b->offset);
	assert_int_equal(a->prev_offset, b->prev_offset);
	assert_int_equal(a->refusal, b->refusal);
	assert_true(a->available_after == b->available_after);
	assert_true(a->frozen_after == b->frozen_after);
	assert_true(a->event.amount == b->event.amount);
	assert_int_equal(a->event.type, b->event.type);
	assert_int_equal(a->event.time_ms, b->event.time_ms);
	assert_int_equal(a->event.account_id, b->event.account_id);
	assert_true(a->event.currency == b->event.currency);
	assert_memory_equal(
		a->event.transaction_id, b->event.transaction_id, a->event.transaction_id_length);
}

/* Rows, dead letters and balances are what they were. */
static void assert_as_before(struct copy *copy, const struct story *s)
{
	const struct memory_partition *before = &copy->db.tables[0], *now = &s->db.tables[0];

	assert_int_equal(now->journal_count, before->journal_count);
	for (size_t i = 0; i < now->journal_count; i++)
		assert_same_row(&now->journal[i], &before->journal[i]);
	assert_int_equal(now->dead_letter_count, before->dead_letter_count);
	for (size_t i = 0; i < now->dead_letter_count; i++) {
		assert_int_equal(now->dead_letters[i].offset, before->dead_letters[i].offset);
		assert_int_equal(now->dead_letters[i].reason, before->dead_letters[i].reason);
	}
	assert_int_equal(s->db.balance_count, copy->db.balance_count);
	for (size_t i = 0; i < s->db.balance_count; i++) {
		const struct balance *a = &s->db.balances[i].balance;
		const struct balance *b = &copy->db.balances[i].balance;

		assert_true(a->available == b->available && a->frozen == b->frozen);
		assert_int_equal(a->version, b->version);
		assert_int_equal(a->last_offset, b->last_offset);
	}
	assert_int_equal(s->offsets[0].next_offset, copy->offsets[0].next_offset);
	memory_database_finish(&copy->db);
}

/* What a dry run says is done, the database is as it was, and a second run finds nothing. */
static void mends(struct story *s, struct copy *copy, const char *expected)
{
	dry(s, expected);
	assert_int_equal(replay_range(s, 0, -1, true), 0);
	assert_says(s, expected);
	assert_as_before(copy, s);
	assert_int_equal(replay_range(s, 0, -1, true), 0);
	assert_int_equal(s->replay.counts.verdicts[REPLAY_RESTORE_ROW], 0);
	assert_int_equal(s->replay.counts.verdicts[REPLAY_RESTORE_LETTER], 0);
	assert_int_equal(s->replay.counts.verdicts[REPLAY_DECIDE], 0);
	assert_int_equal(s->replay.counts.verdicts[REPLAY_UNDECIDED], 0);
}

/* Six rows of account 1: two currencies, one refused, and another account among them. */
static void six(struct story *s)
{
	story_begin(s);
	send(s, "a", "DEPOSIT", "10");              /* 0 */
	send_in(s, "b", 1, "DEPOSIT", "5", "BTC");  /* 1 */
	send(s, "c", "WITHDRAW", "3");              /* 2 */
	send(s, "d", "WITHDRAW", "100");            /* 3: refused */
	send_in(s, "e", 2, "DEPOSIT", "1", "USDT"); /* 4 */
	send(s, "f", "FREEZE", "2");                /* 5 */
	send(s, "g", "SETTLE", "1");                /* 6 */
	consume(s);
}

/* What both a dry run and an apply say of a range, and how many rows are missing outside of it. */
static void assert_range(
	struct story *s, int64_t from, int64_t to, const char *expected, int64_t outside)
{
	for (int apply = 0; apply < 2; apply++) {
		assert_int_equal(replay_range(s, from, to, apply), 0);
		assert_says(s, expected);
		assert_int_equal(s->replay.outside.rows, outside);
	}
}

/* Restoring ----------------------------------------------------------------------------------- */

static void test_every_set_of_deleted_rows_is_restored(void **state)
{
	for (unsigned set = 1; set < 128; set++) {
		char expected[100] = "";
		struct story s;
		struct copy copy;

		six(&s);
		remember(&copy, &s);
		for (int i = 0; i < 7; i++) {
			size_t length = strlen(expected);

			if (!(set & 1u << i))
				continue;
			delete_row(&s, i);
			snprintf(expected + length, sizeof expected - length, "%sR%d",
				length ? " " : "", i);
		}
		mends(&s, &copy, expected);
		story_end(&s);
	}
}

static void test_nothing_missing(void **state)
{
	struct story s;

	six(&s);
	dry(&s, "");
	assert_int_equal(s.replay.counts.rows, 7);
	story_end(&s);
}

static void test_dead_letters_are_restored(void **state)
{
	struct story s;
	struct copy copy;

	story_begin(&s);
	send_junk(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "a", "DEPOSIT", "11");
	send(&s, "a", "DEPOSIT", "10");
	consume(&s);
	remember(&copy, &s);
	assert_int_equal(s.db.tables[0].dead_letter_count, 2);
	assert_true(memory_database_delete_letter(&s.db, 0, 0));
	assert_true(memory_database_delete_letter(&s.db, 0, 2));
	mends(&s, &copy, "L0 L2 d3");
	story_end(&s);
}

/* The row, its conflict's dead letter: all gone. */
static void test_row_and_its_conflict(void **state)
{
	struct story s;
	struct copy copy;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	send_in(&s, "a", 1, "DEPOSIT", "10", "BTC");
	consume(&s);
	remember(&copy, &s);
	delete_row(&s, 0);
	assert_true(memory_database_delete_letter(&s.db, 0, 1));
	mends(&s, &copy, "R0 L1");
	story_end(&s);
}

static void test_redelivery_of_a_deleted_row_is_not_applied(void **state)
{
	struct story s;
	struct copy copy;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "b", "DEPOSIT", "1");
	send(&s, "a", "DEPOSIT", "10");
	consume(&s);
	remember(&copy, &s);
	delete_row(&s, 0);
	mends(&s, &copy, "R0 d2");
	/* From behind the row, too. */
	delete_row(&s, 0);
	assert_range(&s, 1, -1, "d2", 1);
	assert_int_equal(s.replay.outside.first, 0);
	assert_int_equal(s.db.tables[0].journal_count, 1);
	story_end(&s);
}

/* What the log no longer has cannot be restored, nor what stands on it. */
static void test_row_that_the_log_no_longer_has(void **state)
{
	struct story s;

	six(&s);
	delete_row(&s, 2);
	delete_row(&s, 5);
	memory_log_truncate(&s.log, 3);
	assert_range(&s, 5, 6, "?5", 0);
	assert_why(&s, REPLAY_WHY_GONE);
	story_end(&s);
}

/* A refused one is not tried again. */
static void test_redelivery_of_a_deleted_refusal(void **state)
{
	struct story s;
	struct copy copy;

	story_begin(&s);
	send(&s, "a", "WITHDRAW", "10");
	send(&s, "b", "DEPOSIT", "100");
	send(&s, "a", "WITHDRAW", "10");
	consume(&s);
	remember(&copy, &s);
	delete_row(&s, 0);
	mends(&s, &copy, "R0 d2");
	story_end(&s);
}

/* A row was deleted, and its redelivery was then applied: there twice already; told, not mended. */
static void test_redelivery_that_was_applied(void **state)
{
	struct story s;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "b", "DEPOSIT", "1");
	consume(&s);
	delete_row(&s, 0);
	send(&s, "a", "DEPOSIT", "10");
	consume(&s);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "?0");
	assert_why(&s, REPLAY_WHY_KNOWN);
	story_end(&s);
}

/* The same, and that row was deleted, too. */
static void test_redelivery_that_was_applied_and_deleted(void **state)
{
	struct story s;

	story_begin(&s);
	send(&s, "a", "WITHDRAW", "10");
	send(&s, "b", "DEPOSIT", "100");
	consume(&s);
	delete_row(&s, 0);
	send(&s, "a", "WITHDRAW", "10");
	send(&s, "c", "DEPOSIT", "1");
	consume(&s);
	delete_row(&s, 1);
	delete_row(&s, 2);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "?0 ?1 ?2");
	assert_why(&s, REPLAY_WHY_KNOWN);
	story_end(&s);
}

/* A refused row leaves no trace in the balances: it must be looked for where it may have stood. */
static void test_refused_row_before_the_range(void **state)
{
	for (int truncated = 0; truncated < 2; truncated++) {
		struct story s;
		struct copy copy;

		story_begin(&s);
		send(&s, "a", "WITHDRAW", "10");
		send(&s, "b", "DEPOSIT", "100");
		send(&s, "c", "DEPOSIT", "100");
		consume(&s);
		remember(&copy, &s);
		delete_row(&s, 0);
		delete_row(&s, 1);
		if (truncated)
			memory_log_truncate(&s.log, 1);
		assert_range(&s, 1, -1, "R1", truncated ? 0 : 1);
		if (truncated) { /* what the log no longer has is not looked for */
			memory_database_finish(&copy.db);
		} else {
			assert_int_equal(s.db.tables[0].journal[0].prev_offset, 0);
			assert_range(&s, 0, 1, "R0", 0);
			assert_as_before(&copy, &s);
		}
		story_end(&s);
	}
}

/* The row that somebody knows to be gone is named, and no other: it is restored whatever else is
 * missing, and the others by runs of their own. */
static void test_each_row_by_a_run_of_its_own(void **state)
{
	for (unsigned set = 1; set < 128; set++)
		for (int step = 1; step < 7; step++) {
			struct story s;
			struct copy copy;
			int left = 0;

			six(&s);
			remember(&copy, &s);
			for (int row = 0; row < 7; row++)
				if (set & 1u << row) {
					delete_row(&s, row);
					left++;
				}
			/* In various orders. */
			for (int i = 0, row = 6; i < 7; i++, row = (row + step) % 7) {
				char expected[8];
				size_t count = s.db.tables[0].journal_count;

				if (!(set & 1u << row))
					continue;
				snprintf(expected, sizeof expected, "R%d", row);
				assert_int_equal(replay_range(&s, row, row + 1, false), 0);
				assert_says(&s, expected);
				assert_int_equal(replay_range(&s, row, row + 1, true), 0);
				assert_says(&s, expected);
				assert_true(s.replay.outside.rows < left--);
				assert_int_equal(s.db.tables[0].journal_count, count + 1);
			}
			assert_int_equal(left, 0);
			assert_as_before(&copy, &s);
			story_end(&s);
		}
}

/* Something else is wrong with the account, outside of the range. */
static void test_row_unlike_the_log_outside(void **state)
{
	struct story s;

	six(&s);
	s.db.tables[0].journal[3].event.amount++;
	delete_row(&s, 0);
	delete_row(&s, 5);
	assert_range(&s, 5, 6, "?5", 1);
	assert_why(&s, REPLAY_WHY_CONFLICT);
	assert_int_equal(s.replay.counts.conflicts, 0);
	assert_int_equal(s.db.tables[0].journal_count, 5);
	story_end(&s);
}

/* Only where rows are missing; and what is counted is the range. */
static void test_no_wider_look_without_need(void **state)
{
	struct story s;

	six(&s);
	assert_range(&s, 2, 4, "", 0);
	assert_int_equal(s.replay.widened, 0);
	delete_row(&s, 0);
	assert_range(&s, 2, 4, "", 0);
	assert_int_equal(s.replay.widened, 0);
	delete_row(&s, 3);
	assert_range(&s, 2, 4, "R3", 1);
	assert_int_equal(s.replay.widened, 1);
	assert_int_equal(s.replay.counts.messages, 2);
	assert_int_equal(s.replay.counts.rows, 1);
	/* Nor at other accounts. */
	delete_row(&s, 4);
	delete_row(&s, 5);
	assert_range(&s, 5, 6, "R5", 1);
	assert_int_equal(s.replay.table.account_count, 1);
	story_end(&s);
}

/* Whatever fails at whichever statement, every row is written once. */
static void test_every_fault_at_every_statement(void **state)
{
	static const enum memory_fault faults[] = {
		MEMORY_FAULT_RETRY, MEMORY_FAULT_LOST_BEFORE, MEMORY_FAULT_LOST_AFTER};

	for (int i = 0; i < 3; i++)
		for (int at = 0;; at++) {
			struct story s;
			struct copy copy;

			six(&s);
			remember(&copy, &s);
			for (int row = 0; row < 7; row++)
				delete_row(&s, row);
			s.fault_at = at;
			s.fault = faults[i];
			assert_int_equal(replay_range(&s, 0, -1, true), 0);
			assert_int_equal(s.replay.counts.written[REPLAY_RESTORE_ROW], 7);
			assert_as_before(&copy, &s);
			story_end(&s);
			if (s.calls < at)
				break;
		}
}

static void test_range_ends_before_the_missing_row(void **state)
{
	struct story s;
	struct copy copy;

	six(&s);
	remember(&copy, &s);
	delete_row(&s, 0);
	delete_row(&s, 5);
	assert_range(&s, 0, 5, "R0", 1);
	assert_int_equal(s.replay.outside.first, 5);
	assert_int_equal(s.db.tables[0].journal_count, 6);
	assert_range(&s, 1, -1, "R5", 0);
	assert_as_before(&copy, &s);
	story_end(&s);
}

static void test_missing_balance_row(void **state)
{
	struct story s;

	six(&s);
	delete_row(&s, 0);
	memmove(&s.db.balances[0], &s.db.balances[1],
		--s.db.balance_count * sizeof *s.db.balances); /* account 1, BTC */
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "?0");
	assert_why(&s, REPLAY_WHY_NO_BALANCE);
	story_end(&s);
}

static void test_changed_version(void **state)
{
	struct story s;

	six(&s);
	delete_row(&s, 0);
	s.db.balances[1].balance.version++;
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "?0");
	assert_why(&s, REPLAY_WHY_VERSION);
	story_end(&s);
}

static void test_changed_balance(void **state)
{
	struct story s;

	six(&s);
	delete_row(&s, 6);
	s.db.balances[1].balance.available++;
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "?6");
	assert_why(&s, REPLAY_WHY_FOLD);
	story_end(&s);
}

/* A row that is not what the log says: its account is left alone, others are not. */
static void test_row_unlike_the_log(void **state)
{
	struct story s;

	six(&s);
	s.db.tables[0].journal[0].event.amount++;
	delete_row(&s, 5);
	delete_row(&s, 4);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "R4 ?5");
	assert_why(&s, REPLAY_WHY_CONFLICT);
	assert_int_equal(s.replay.counts.conflicts, 1);
	assert_int_equal(s.replay.counts.written[REPLAY_RESTORE_ROW], 1);
	story_end(&s);
}

/* Deciding ------------------------------------------------------------------------------------ */

/* 0 consumed, 1 to 4 skipped, 5 consumed. */
static void skipped(struct story *s)
{
	story_begin(s);
	send(s, "a", "DEPOSIT", "10");
	consume(s);
	send(s, "b", "WITHDRAW", "4");  /* 1 */
	send(s, "c", "WITHDRAW", "50"); /* 2 */
	send(s, "b", "WITHDRAW", "4");  /* 3 */
	send_junk(s);                   /* 4 */
	give_up(s);
	send(s, "d", "DEPOSIT", "1"); /* 5 */
	consume(s);
}

static void test_skipped_events_are_decided(void **state)
{
	const struct balance *balance;
	struct story s;

	skipped(&s);
	dry(&s, "A1 F2 d3 L4");
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_int_equal(s.db.tables[0].journal_count, 4);
	assert_int_equal(s.db.tables[0].journal[1].prev_offset, 5);
	assert_int_equal(s.db.tables[0].journal[2].prev_offset, 1);
	balance = &s.db.balances[0].balance;
	assert_true(balance->available == 7 * DECIMAL_ONE);
	assert_int_equal(balance->version, 3);
	assert_int_equal(balance->last_offset, 2);
	assert_int_equal(s.offsets[0].next_offset, 6);
	assert_int_equal(s.offsets[0].redis_offset, 1); /* so that Redis hears of it */
	assert_int_equal(s.db.tables[0].gap_count, 1);
	dry(&s, "d3");
	/* And the consumer goes on from there. */
	send(&s, "e", "WITHDRAW", "7");
	consume(&s);
	assert_int_equal(s.db.tables[0].journal[4].prev_offset, 2);
	assert_true(s.db.balances[0].balance.available == 0);
	story_end(&s);
}

/* The same id came again behind the gap: that one counts. */
static void test_skipped_and_redelivered(void **state)
{
	struct story s;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "b", "DEPOSIT", "10");
	give_up(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "b", "DEPOSIT", "11");
	consume(&s);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "d0 L1");
	story_end(&s);
}

/* A skipped event and a deleted row in one account: first the row, then the event. */
static void test_skipped_event_waits_for_deleted_row(void **state)
{
	struct story s;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "x", "DEPOSIT", "2");
	consume(&s);
	send(&s, "b", "WITHDRAW", "4");
	give_up(&s);
	send(&s, "d", "DEPOSIT", "1");
	consume(&s);
	delete_row(&s, 0);
	assert_range(&s, 2, -1, "?2", 1);
	assert_int_equal(s.replay.table.candidates[0].why, REPLAY_WHY_AGAIN);
	assert_int_equal(s.db.tables[0].journal_count, 2);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "R0 ?2");
	assert_int_equal(s.replay.table.candidates[1].why, REPLAY_WHY_AGAIN);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "A2");
	story_end(&s);
}

/* A deleted row whose redelivery was skipped. */
static void test_skipped_redelivery_of_a_deleted_row(void **state)
{
	struct story s;
	struct copy copy;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "b", "DEPOSIT", "1");
	consume(&s);
	send(&s, "a", "DEPOSIT", "10");
	give_up(&s);
	remember(&copy, &s);
	delete_row(&s, 0);
	mends(&s, &copy, "R0 d2");
	story_end(&s);
}

/* The row that a replay made is deleted: its prev_offset is the larger. */
static void test_deleted_row_of_a_replay(void **state)
{
	for (int newer = 0; newer < 2; newer++) {
		struct story s;
		struct copy copy;

		story_begin(&s);
		send(&s, "a", "DEPOSIT", "10");
		consume(&s);
		send(&s, "b", "WITHDRAW", "4");
		give_up(&s);
		send(&s, "c", "DEPOSIT", "1");
		consume(&s);
		assert_int_equal(replay_range(&s, 0, -1, true), 0);
		if (newer) {
			send(&s, "d", "DEPOSIT", "1");
			send(&s, "b", "WITHDRAW", "4");
			consume(&s);
		}
		remember(&copy, &s);
		delete_row(&s, 1);
		mends(&s, &copy, newer ? "R1 d4" : "R1");
		remember(&copy, &s);
		delete_row(&s, 0);
		delete_row(&s, 1);
		mends(&s, &copy, newer ? "R0 R1 d4" : "R0 R1");
		story_end(&s);
	}
}

/* The same by runs of their own, in either order: each has to look at the other's offset. */
static void test_deleted_row_beside_a_gap_outside(void **state)
{
	for (int first = 1; first <= 2; first++) {
		struct story s;
		struct copy copy;

		story_begin(&s);
		send(&s, "a", "DEPOSIT", "10");
		consume(&s);
		send(&s, "b", "WITHDRAW", "4");
		give_up(&s);
		send(&s, "c", "DEPOSIT", "1");
		consume(&s);
		assert_int_equal(replay_range(&s, 1, 2, true), 0);
		assert_says(&s, "A1");
		remember(&copy, &s);
		delete_row(&s, 1);
		delete_row(&s, 2);
		assert_range(&s, first, first + 1, first == 1 ? "R1" : "R2", 1);
		assert_range(&s, 3 - first, 4 - first, first == 1 ? "R2" : "R1", 0);
		assert_as_before(&copy, &s);
		story_end(&s);
	}
}

/* Rows are missing before and behind a replayed one, whose offset is not its place in the chain. */
static void test_deleted_rows_around_a_replay(void **state)
{
	struct story s;
	struct copy copy;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	consume(&s);
	send(&s, "x", "WITHDRAW", "4");
	give_up(&s);
	send(&s, "b", "DEPOSIT", "1");
	send(&s, "c", "DEPOSIT", "1");
	send(&s, "d", "DEPOSIT", "1");
	consume(&s);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "A1");
	send(&s, "e", "DEPOSIT", "1");
	consume(&s);
	remember(&copy, &s);
	delete_row(&s, 0);
	delete_row(&s, 4);
	mends(&s, &copy, "R0 R4");
	story_end(&s);
}

/* Was the row that of the skipped one, replayed, or of its redelivery?  The balances tell neither.
 */
static void test_replayed_or_redelivered(void **state)
{
	struct story s;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "x", "WITHDRAW", "100");
	give_up(&s);
	send(&s, "b", "DEPOSIT", "1");
	consume(&s);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "A0 F1");
	send(&s, "a", "DEPOSIT", "10");
	send(&s, "c", "DEPOSIT", "1");
	consume(&s);
	delete_row(&s, 0);
	delete_row(&s, 1);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "?0 ?1 ?3");
	assert_why(&s, REPLAY_WHY_ORDER);
	story_end(&s);
}

/* A refused one that was replayed may have stood among deleted rows: nothing is invented. */
static void test_refused_replay_may_hide(void **state)
{
	struct story s;

	story_begin(&s);
	send(&s, "a", "DEPOSIT", "10");
	consume(&s);
	send(&s, "b", "WITHDRAW", "40");
	give_up(&s);
	send(&s, "c", "DEPOSIT", "1");
	consume(&s);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "F1");
	send(&s, "d", "DEPOSIT", "100");
	send(&s, "e", "DEPOSIT", "100");
	consume(&s);
	delete_row(&s, 1);
	delete_row(&s, 3);
	assert_int_equal(replay_range(&s, 0, -1, true), 0);
	assert_says(&s, "?1 ?3");
	assert_why(&s, REPLAY_WHY_REFUSED);
	assert_range(&s, 2, -1, "?3", 0);
	assert_why(&s, REPLAY_WHY_REFUSED);
	story_end(&s);
}

/* Edges --------------------------------------------------------------------------------------- */

static void test_log_no_longer_has_the_offset(void **state)
{
	struct story s;

	six(&s);
	memory_log_truncate(&s.log, 3);
	assert_int_equal(replay_range(&s, 2, -1, false), -ENODATA);
	assert_non_null(strstr(s.replay.error.text, "offset 2"));
	assert_non_null(strstr(s.replay.error.text, "begins at 3"));
	assert_int_equal(replay_range(&s, 3, -1, false), 0);
	assert_int_equal(replay_range(&s, 3, 8, false), -EINVAL);
	story_end(&s);
}

static void test_another_log(void **state)
{
	struct story s;

	six(&s);
	memory_log_recreate(&s.log);
	for (int i = 0; i < 7; i++)
		send_in(&s, "z", 1 + i, "DEPOSIT", "1", "USDT");
	assert_int_equal(replay_range(&s, 0, -1, true), -EINVAL);
	assert_non_null(strstr(s.replay.error.text, "another message at offset 6"));
	story_end(&s);
}

static void test_another_epoch(void **state)
{
	struct story s;

	six(&s);
	delete_row(&s, 0);
	s.offsets[0].epoch++;
	assert_int_equal(replay_range(&s, 0, -1, true), -ESTALE);
	story_end(&s);
}

static void other_owner(struct story *s)
{
	s->offsets[0].epoch = EPOCH + 1;
}

static void other_offset(struct story *s)
{
	s->offsets[0].next_offset++;
}

static void stop(struct story *s)
{
	replay_interrupt(&s->replay);
}

/* Somebody else owns the partition when the first row is to be written: nothing is. */
static void test_fenced_before_the_first_row(void **state)
{
	void (*const meddlers[])(struct story *) = {other_owner, other_offset};

	for (int i = 0; i < 2; i++) {
		struct story s;

		six(&s);
		delete_row(&s, 0);
		s.meddle_at = REPLAY_WRITE;
		s.meddle = meddlers[i];
		assert_int_equal(replay_range(&s, 0, -1, true), -ESTALE);
		assert_int_equal(s.db.tables[0].journal_count, 6);
		story_end(&s);
	}
}

/* Interrupted in a flush: that one is brought to its end, and the next run does the rest. */
static void test_interrupted(void **state)
{
	struct story s;
	struct copy copy;

	six(&s);
	remember(&copy, &s);
	for (int row = 0; row < 7; row++)
		delete_row(&s, row);
	s.meddle_at = REPLAY_FLUSH;
	s.meddle = stop;
	assert_int_equal(replay_range(&s, 0, -1, true), -EINTR);
	assert_int_equal(s.db.tables[0].journal_count, 2);
	assert_int_equal(s.replay.counts.written[REPLAY_RESTORE_ROW], 2);
	s.meddle_at = REPLAY_STEPS;
	mends(&s, &copy, "R2 R3 R4 R5 R6");
	story_end(&s);
}

/* Interrupted in a flush that cannot end: nothing is written, and the interrupt is heard. */
static void test_interrupted_while_a_flush_fails(void **state)
{
	struct story s;
	struct copy copy;

	six(&s);
	remember(&copy, &s);
	delete_row(&s, 3);
	s.stuck = true;
	s.meddle_at = REPLAY_FLUSH;
	s.meddle = stop;
	assert_int_equal(replay_range(&s, 0, -1, true), -EINTR);
	assert_non_null(strstr(s.replay.error.text, "again and again"));
	assert_int_equal(s.db.tables[0].journal_count, 6);
	s.stuck = false;
	s.meddle_at = REPLAY_STEPS;
	mends(&s, &copy, "R3");
	story_end(&s);
}

static void test_little_memory(void **state)
{
	struct dedupe_key key = dedupe_key(id_secret);
	struct replay_table table;
	struct error err;
	int rc = 0;

	replay_table_init(&table, &key, 1, 20000);
	replay_table_range(&table, 0, 1000, 1000);
	for (int64_t i = 0; rc == 0 && i < 1000; i++)
		rc = replay_table_dead(&table, i, DEAD_MALFORMED, &err);
	assert_int_equal(rc, -ENOMEM);
	assert_non_null(strstr(err.text, "--to-offset"));
	replay_table_finish(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_set_of_deleted_rows_is_restored),
		cmocka_unit_test(test_nothing_missing),
		cmocka_unit_test(test_dead_letters_are_restored),
		cmocka_unit_test(test_row_and_its_conflict),
		cmocka_unit_test(test_redelivery_of_a_deleted_row_is_not_applied),
		cmocka_unit_test(test_redelivery_of_a_deleted_refusal),
		cmocka_unit_test(test_redelivery_that_was_applied),
		cmocka_unit_test(test_redelivery_that_was_applied_and_deleted),
		cmocka_unit_test(test_refused_row_before_the_range),
		cmocka_unit_test(test_each_row_by_a_run_of_its_own),
		cmocka_unit_test(test_row_unlike_the_log_outside),
		cmocka_unit_test(test_no_wider_look_without_need),
		cmocka_unit_test(test_row_that_the_log_no_longer_has),
		cmocka_unit_test(test_every_fault_at_every_statement),
		cmocka_unit_test(test_range_ends_before_the_missing_row),
		cmocka_unit_test(test_missing_balance_row),
		cmocka_unit_test(test_changed_version),
		cmocka_unit_test(test_changed_balance),
		cmocka_unit_test(test_row_unlike_the_log),
		cmocka_unit_test(test_skipped_events_are_decided),
		cmocka_unit_test(test_skipped_and_redelivered),
		cmocka_unit_test(test_skipped_event_waits_for_deleted_row),
		cmocka_unit_test(test_skipped_redelivery_of_a_deleted_row),
		cmocka_unit_test(test_deleted_row_of_a_replay),
		cmocka_unit_test(test_deleted_row_beside_a_gap_outside),
		cmocka_unit_test(test_deleted_rows_around_a_replay),
		cmocka_unit_test(test_replayed_or_redelivered),
		cmocka_unit_test(test_refused_replay_may_hide),
		cmocka_unit_test(test_log_no_longer_has_the_offset),
		cmocka_unit_test(test_another_log),
		cmocka_unit_test(test_another_epoch),
		cmocka_unit_test(test_fenced_before_the_first_row),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_interrupted_while_a_flush_fails),
		cmocka_unit_test(test_little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
