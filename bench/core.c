/*
 * What a partition's thread does with an event, stage by stage, in nanoseconds: the whole core with
 * nothing around it.  Messages are made beforehand; nothing is sent to a database.
 *
 *     core [ACCOUNTS [BATCHES]]      default: 1000000 accounts, 200 batches of 20000 events
 *
 * The balances of all accounts are loaded first, so every one that a batch needs is in memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "decode.h"
#include "encode.h"
#include "generate.h"
#include "ledger.h"
#include "mem.h"

#define BATCH_EVENTS 20000
#define DEDUPE_IDS   1000000
#define LOAD_BYTES   65536

enum stage {
	STAGE_DECODE,
	STAGE_RESOLVE,
	STAGE_DEDUPE,
	STAGE_APPLY,
	STAGE_JOURNAL,
	STAGE_BALANCES,
	STAGE_COMMIT,
	STAGES,
};

static const char *const stage_names[STAGES] = {"add and decode", "resolve", "dedupe", "apply",
	"encode journal", "encode balances", "commit"};

struct core {
	struct ledger ledger;
	struct batch batches[2];
	struct balance_key missing[BATCH_EVENTS];
	struct generate generate;
	char *texts; /* of the messages at hand */
	struct message messages[BATCH_EVENTS];
	int64_t offset;
	int64_t ns[STAGES];
	size_t events;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static char *keep(char **at, const char *bytes, size_t length)
{
	char *kept = memcpy(*at, bytes, length);

	*at += length;
	return kept;
}

static void make_messages(struct core *core)
{
	char *at = core->texts;
	struct generated made;

	for (size_t i = 0; i < BATCH_EVENTS; i++) {
		if (!generate_next(&core->generate, &made))
			abort();
		core->messages[i] = (struct message){
			.offset = core->offset++,
			.timestamp_ms = 1,
			.key = keep(&at, made.key, made.key_length),
			.key_length = made.key_length,
			.value = keep(&at, made.value, made.value_length),
			.value_length = made.value_length,
		};
	}
}

static void load_accounts(struct core *core, int64_t accounts)
{
	struct balance_row row = {.key = {.currency = currency_pack("USDT", 4)}};

	for (row.key.account_id = 1; row.key.account_id <= accounts; row.key.account_id++)
		ledger_load(&core->ledger, &core->batches[0], &row, 1);
	for (balance_ref ref = 0; ref < accounts; ref++)
		balances_unpin(core->ledger.balances, ref, BALANCE_PIN_EVEN);
}

static void encode_all(const struct batch *b, enum store_table table)
{
	static char buffer[LOAD_BYTES];
	struct flush_request request = {.batch = b};
	struct encoder encoder;

	encode_init(&encoder, &request, table);
	while (encode_read(&encoder, buffer, sizeof buffer) > 0)
		;
}

static void run_batch(struct core *core, struct batch *b)
{
	int64_t begin[STAGES + 1];

	make_messages(core);
	batch_reset(b, core->messages[0].offset);
	begin[STAGE_DECODE] = now_ns();
	for (size_t i = 0; i < BATCH_EVENTS; i++) {
		struct record *record = batch_add(b, &core->messages[i]);

		record->dead_reason = decode_message(
			&record->message, 0, 1, &record->event, &record->detail);
		record->id = dedupe_id(&core->ledger.key, &record->event);
	}
	begin[STAGE_RESOLVE] = now_ns();
	if (ledger_resolve(&core->ledger, b, 0, core->missing) != 0)
		abort();
	begin[STAGE_DEDUPE] = now_ns();
	ledger_dedupe(&core->ledger, b);
	begin[STAGE_APPLY] = now_ns();
	ledger_apply(&core->ledger, b, 1);
	begin[STAGE_JOURNAL] = now_ns();
	encode_all(b, STORE_JOURNAL);
	begin[STAGE_BALANCES] = now_ns();
	encode_all(b, STORE_BALANCES);
	begin[STAGE_COMMIT] = now_ns();
	ledger_commit(&core->ledger, b);
	begin[STAGES] = now_ns();

	for (int stage = 0; stage < STAGES; stage++)
		core->ns[stage] += begin[stage + 1] - begin[stage];
	core->events += b->count;
}

static void report(const struct core *core)
{
	double total = 0;

	for (int stage = 0; stage < STAGES; stage++) {
		double each = (double)core->ns[stage] / (double)core->events;

		total += each;
		printf("%-16s %7.1f ns/event\n", stage_names[stage], each);
	}
	printf("%-16s %7.1f ns/event\n", "all", total);
}

int main(int argc, char **argv)
{
	struct core *core = xcalloc(1, sizeof *core);
	struct ledger_config config = {.batch_events = BATCH_EVENTS, .ids = DEDUPE_IDS, .seed = 1};
	struct generate_config generate = generate_defaults;
	int64_t accounts = argc > 1 ? atoll(argv[1]) : 1000000;
	int batches = argc > 2 ? atoi(argv[2]) : 200;
	struct budget budget;
	struct error err;

	budget_init(&budget, SIZE_MAX / 2);
	ledger_init(&core->ledger, &budget, &config);
	batch_init(&core->batches[0], BATCH_EVENTS, SIZE_MAX, BALANCE_PIN_EVEN);
	batch_init(&core->batches[1], BATCH_EVENTS, SIZE_MAX, BALANCE_PIN_ODD);
	core->texts = xmalloc((size_t)BATCH_EVENTS * (GENERATE_VALUE_MAX + GENERATE_KEY_MAX));
	generate.count = (int64_t)batches * BATCH_EVENTS;
	generate.accounts = accounts;
	if (generate_init(&core->generate, &generate, &err) < 0)
		abort();
	load_accounts(core, accounts);
	for (int i = 0; i < batches; i++)
		run_batch(core, &core->batches[i % 2]);
	report(core);
	return 0;
}
