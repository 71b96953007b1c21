/*
 * How long the pure codecs take, in nanoseconds an event or row: decode, encode, generate.
 *
 *     codec [ROUNDS]
 *
 * Every figure is the best of five runs; the inputs are in the cache, as they are in the daemon
 * when a message has just been copied.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "decode.h"
#include "encode.h"
#include "generate.h"
#include "murmur2.h"

#define RUNS 5

static const char example[] =
	"{\"transaction_id\":\"0192f7c0-7b1a-7c3e-9d52-1f0f4f8a2b11\",\"account_id\":1001,"
	"\"currency\":\"USDT\",\"type\":\"DEPOSIT\",\"amount\":\"10.5\",\"ts\":1767225600000}";

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Does `rounds` of what is measured; the sum returned keeps the compiler from leaving it out. */
typedef uint64_t bench_fn(long rounds);

static volatile uint64_t bench_sum;

static uint64_t decode_events(long rounds)
{
	struct event event;
	const char *detail;
	uint64_t sum = 0;

	for (long i = 0; i < rounds; i++) {
		if (decode_event(example, sizeof(example) - 1, 0, &event, &detail) != DEAD_NONE)
			abort();
		sum += (uint64_t)event.account_id;
	}
	return sum;
}

/* The same with a field of other scripts. */
static uint64_t decode_utf8(long rounds)
{
	static const char value[] =
		"{\"transaction_id\":\"0192f7c0-7b1a-7c3e-9d52-1f0f4f8a2b11\",\"account_id\":1001,"
		"\"currency\":\"USDT\",\"type\":\"DEPOSIT\",\"amount\":\"10.5\",\"note\":\""
		"\xc3\xa4\xc3\xb6\xc3\xbc \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e "
		"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xf0\x9f\x98\x80\"}";
	struct event event;
	const char *detail;
	uint64_t sum = 0;

	for (long i = 0; i < rounds; i++) {
		if (decode_event(value, sizeof(value) - 1, 0, &event, &detail) != DEAD_NONE)
			abort();
		sum += (uint64_t)event.account_id;
	}
	return sum;
}

static uint64_t decode_messages(long rounds)
{
	struct message message = {
		.key = "1001",
		.key_length = 4,
		.value = example,
		.value_length = sizeof(example) - 1,
	};
	int32_t partition = murmur2_partition("1001", 4, 12);
	struct event event;
	const char *detail;
	uint64_t sum = 0;

	for (long i = 0; i < rounds; i++) {
		if (decode_message(&message, partition, 12, &event, &detail) != DEAD_NONE)
			abort();
		sum += (uint64_t)event.account_id;
	}
	return sum;
}

/* A flush of 20,000 rows that differ as a day's events do, read as a client library reads. */
#define ROWS       20000
#define ROOM_BYTES 16384

static struct record records[ROWS];
static struct touched touched[ROWS];
static uint32_t order[ROWS];
static struct batch batch = {.records = records,
	.count = ROWS,
	.journal_count = ROWS,
	.touched = touched,
	.touched_count = ROWS,
	.order = order,
	.closed_ms = INT64_C(1767225600123)};

static void fill_batch(void)
{
	const char *detail;
	uint64_t random = 1;

	for (int i = 0; i < ROWS; i++) {
		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		decode_event(example, sizeof(example) - 1, 0, &records[i].event, &detail);
		records[i].event.account_id = (int64_t)(random >> 44);
		records[i].event.amount = (i128)(random >> 48) * (DECIMAL_ONE / 100);
		records[i].event.time_ms += i;
		records[i].message.offset = 1000000 + i;
		records[i].outcome = OUTCOME_APPLIED;
		records[i].available_after = (i128)(random >> 32) * (DECIMAL_ONE / 100);
		records[i].frozen_after = i % 3 ? 0 : records[i].event.amount;
		records[i].prev_offset = i % 5 ? 1000000 - i : -1;
		order[i] = (uint32_t)i;
		touched[i].key.account_id = records[i].event.account_id;
		touched[i].key.currency = records[i].event.currency;
		touched[i].after.available = records[i].available_after;
		touched[i].after.frozen = records[i].frozen_after;
		touched[i].after.version = (int64_t)(random >> 56);
		touched[i].after.last_offset = records[i].message.offset;
	}
}

static uint64_t encode_table(long rounds, enum store_table table)
{
	struct flush_request request = {.partition = 3, .batch = &batch};
	static char room[ROOM_BYTES];
	struct encoder enc;
	uint64_t sum = 0;
	size_t length;

	for (long i = 0; i < rounds; i += ROWS) {
		encode_init(&enc, &request, table);
		while ((length = encode_read(&enc, room, sizeof(room))))
			sum += length;
	}
	return sum;
}

static uint64_t encode_journal(long rounds)
{
	return encode_table(rounds, STORE_JOURNAL);
}

static uint64_t encode_balances(long rounds)
{
	return encode_table(rounds, STORE_BALANCES);
}

/* Made, and of these the second also read: their lengths and digits differ as real ones do. */
static uint64_t generate_events(const struct generate_config *config, bool decode)
{
	static struct generate gen;
	struct generated made;
	const char *detail;
	struct event event;
	uint64_t sum = 0;

	if (generate_init(&gen, config, NULL))
		abort();
	while (generate_next(&gen, &made)) {
		if (decode && decode_event(made.value, made.value_length, 0, &event, &detail))
			abort();
		sum += made.value_length;
	}
	generate_finish(&gen);
	return sum;
}

static uint64_t generate_evenly(long rounds)
{
	struct generate_config config = generate_defaults;

	config.count = rounds;
	return generate_events(&config, false);
}

static uint64_t generate_zipf(long rounds)
{
	struct generate_config config = generate_defaults;

	config.count = rounds;
	config.accounts = 1000000;
	config.zipf = 1;
	return generate_events(&config, false);
}

static uint64_t generate_and_decode(long rounds)
{
	struct generate_config config = generate_defaults;

	config.count = rounds;
	return generate_events(&config, true);
}

static void measure(const char *name, bench_fn *fn, long rounds)
{
	double best = 0;

	for (int run = 0; run < RUNS; run++) {
		int64_t begin = now_ns();
		double each;

		bench_sum = fn(rounds);
		each = (double)(now_ns() - begin) / (double)rounds;
		if (!run || each < best)
			best = each;
	}
	printf("%-28s %8.1f ns\n", name, best);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 2000000;

	measure("decode_event", decode_events, rounds);
	measure("decode_event, not ASCII", decode_utf8, rounds);
	measure("decode_message", decode_messages, rounds);
	fill_batch();
	measure("encode a journal row", encode_journal, rounds);
	measure("encode a balance", encode_balances, rounds);
	measure("generate an event", generate_evenly, rounds);
	measure("generate, Zipf of 1,000,000", generate_zipf, rounds);
	measure("generate and decode_event", generate_and_decode, rounds);
	return 0;
}
