/*
 * The ceiling of an end-to-end run: the flush transactions of a topic, made beforehand, and then
 * sent with nothing else to do.
 *
 *     bench-ceiling          the configuration is in the environment, as ledgerd's
 *
 * Each partition has a thread.  First it reads its log to the end and does with it what ledgerd
 * does: batches of consumer.batch_max_events, decode, dedupe, apply, encode; the bytes of each
 * LOAD DATA are kept.  Then, once a line has come on standard input, it sends them, one flush after
 * the other, with ledgerd's own flush machine and store: the same sessions, statements and checks.
 * Only what the store would encode comes from memory: encode_init and encode_read are replaced at
 * link time (meson.build).
 *
 * The schema is there and its tables are empty, but for a row of partition_offsets a partition,
 * with epoch 1 and next_offset 0.  The time is from the first commit to the last, as bench/run
 * takes it of ledgerd.  It prints one line when all is prepared, and one of JSON at the end.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "decode.h"
#include "encode.h"
#include "flush.h"
#include "ledger.h"
#include "mem.h"
#include "servers.h"
#include "store_mysql.h"
#include "topic_kafka.h"

#define ITEMS       2048
#define POLL_MS     1000
#define EPOCH       1
#define TABLES      (STORE_DEAD_LETTERS + 1)
#define BUFFER_SIZE ((size_t)1 << 16)

/* A flush to come.  The batch is first, so that it can be found from what the store is given; only
 * its counts and offsets are of use, the records are gone. */
struct prepared {
	struct batch batch;
	char *bytes[TABLES];
	size_t lengths[TABLES];
	int64_t committed_us;
};

struct sender {
	pthread_t thread;
	int32_t partition;
	int32_t partitions;
	const struct config *cfg;
	struct kafka_client *client;
	struct topic *topic;        /* while it prepares */
	pthread_barrier_t *barrier; /* all are prepared; and again: go */
	struct budget budget;
	struct ledger ledger;
	struct batch batch; /* being prepared */
	struct balance_key *missing;
	struct balance_row *rows;
	struct prepared *flushes;
	size_t count;
};

extern char **environ;

static _Noreturn void fail(const char *what, const struct error *err)
{
	fprintf(stderr, "bench-ceiling: %s: %s\n", what, err->text);
	exit(1);
}

/* What the store sends ------------------------------------------------------------------------ */

void __real_encode_init(
	struct encoder *enc, const struct flush_request *request, enum store_table table);
void __wrap_encode_init(
	struct encoder *enc, const struct flush_request *request, enum store_table table);
size_t __real_encode_read(struct encoder *enc, char *buffer, size_t size);
size_t __wrap_encode_read(struct encoder *enc, char *buffer, size_t size);

void __wrap_encode_init(
	struct encoder *enc, const struct flush_request *request, enum store_table table)
{
	enc->batch = request->batch;
	enc->table = table;
	enc->next = 0;
}

size_t __wrap_encode_read(struct encoder *enc, char *buffer, size_t size)
{
	const struct prepared *flush = (const struct prepared *)enc->batch;
	size_t left = flush->lengths[enc->table] - enc->next;
	size_t length = left < size ? left : size;

	memcpy(buffer, flush->bytes[enc->table] + enc->next, length);
	enc->next += length;
	return length;
}

/* Preparing ----------------------------------------------------------------------------------- */

static void encode_rows_of(const struct sender *s, struct prepared *flush, enum store_table table)
{
	struct flush_request request = {.partition = s->partition, .batch = &s->batch};
	size_t capacity = BUFFER_SIZE, length;
	struct encoder enc;

	flush->bytes[table] = xmalloc(capacity);
	__real_encode_init(&enc, &request, table);
	while ((length = __real_encode_read(&enc, flush->bytes[table] + flush->lengths[table],
			capacity - flush->lengths[table]))) {
		flush->lengths[table] += length;
		if (flush->lengths[table] == capacity) {
			capacity *= 2;
			flush->bytes[table] = xrealloc(flush->bytes[table], capacity);
		}
	}
}

/* A new ledger: no balance is in the database. */
static void resolve(struct sender *s)
{
	size_t missing = ledger_resolve(&s->ledger, &s->batch, 0, s->missing);

	for (size_t i = 0; i < missing; i++)
		s->rows[i] = (struct balance_row){.key = s->missing[i]};
	ledger_load(&s->ledger, &s->batch, s->rows, missing);
	ledger_resolve(&s->ledger, &s->batch, 0, s->missing);
}

/* The batch is full, or the log is at its end. */
static void keep_flush(struct sender *s)
{
	struct prepared *flush;

	if (batch_empty(&s->batch))
		return;
	resolve(s);
	ledger_dedupe(&s->ledger, &s->batch);
	ledger_apply(&s->ledger, &s->batch, clock_system.wall_ms(&clock_system));

	s->flushes = xrealloc(s->flushes, (s->count + 1) * sizeof(s->flushes[0]));
	flush = &s->flushes[s->count++];
	*flush = (struct prepared){.batch = s->batch};
	for (enum store_table table = 0; table < TABLES; table++)
		encode_rows_of(s, flush, table);

	ledger_commit(&s->ledger, &s->batch);
	s->topic->ops->release(s->topic, s->batch.end_offset);
	batch_reset(&s->batch, s->batch.end_offset);
}

/* Returns whether the log is at its end. */
static bool take(struct sender *s, const struct topic_item *item)
{
	struct record *record;

	switch (item->kind) {
	case TOPIC_MESSAGE:
		if (batch_full(&s->batch))
			keep_flush(s);
		record = batch_add(&s->batch, &item->message);
		record->dead_reason = decode_message(&record->message, s->partition, s->partitions,
			&record->event, &record->detail);
		if (record->dead_reason == DEAD_NONE)
			record->id = dedupe_id(&s->ledger.key, &record->event);
		return false;
	case TOPIC_END:
		batch_advance(&s->batch, item->end_offset);
		return true;
	case TOPIC_OUT_OF_RANGE:
	case TOPIC_GONE:
		break;
	}
	fprintf(stderr, "bench-ceiling: partition %d: the log is gone\n", (int)s->partition);
	exit(1);
}

static void prepare_init(struct sender *s, int64_t ids)
{
	size_t events = (size_t)s->cfg->consumer.batch_max_events;
	struct ledger_config config = {.batch_events = events, .ids = (size_t)ids, .seed = 1};

	budget_init(&s->budget, SIZE_MAX);
	ledger_init(&s->ledger, &s->budget, &config);
	batch_init(&s->batch, events, (size_t)s->cfg->consumer.batch_max_bytes, BALANCE_PIN_EVEN);
	s->missing = xcalloc(events, sizeof(s->missing[0]));
	s->rows = xcalloc(events, sizeof(s->rows[0]));
}

static void prepare_finish(struct sender *s)
{
	batch_finish(&s->batch);
	ledger_finish(&s->ledger);
	free(s->missing);
	free(s->rows);
}

static void prepare(struct sender *s)
{
	struct topic *topic = s->topic = topic_kafka_create(s->client, s->partition);
	struct topic_item *items = xcalloc(ITEMS, sizeof(items[0]));
	int64_t low, high;
	struct error err;
	bool end = false;

	if (topic->ops->watermarks(topic, &low, &high, &err) != 0 ||
		topic->ops->open(topic, 0, &err) != 0)
		fail("reading the log", &err);
	prepare_init(s, high + 1); /* so that no id is forgotten */
	while (!end) {
		size_t count = topic->ops->poll(topic, POLL_MS, items, ITEMS);

		for (size_t i = 0; i < count; i++)
			end = take(s, &items[i]);
	}
	keep_flush(s);
	prepare_finish(s);
	free(items);
	topic->ops->destroy(topic);
}

/* Sending ------------------------------------------------------------------------------------- */

static void send_flush(struct sender *s, struct flush *f, struct prepared *flush)
{
	struct flush_request request = {
		.partition = s->partition,
		.epoch = EPOCH,
		.begin_offset = flush->batch.begin_offset,
		.end_offset = flush->batch.end_offset,
		.batch = &flush->batch,
	};
	int64_t wait_ms = 0;

	flush_start(f, &request);
	while (!flush_ended(f) && wait_ms == 0)
		wait_ms = flush_step(f);
	if (wait_ms != 0)
		fail("a flush was to be tried again", &f->error);
	if (f->verdict != FLUSH_COMMITTED) {
		if (f->verdict != FLUSH_HALTED)
			error_set(&f->error, -1, "fenced or duplicates: the database is not new");
		fail("a flush was not committed", &f->error);
	}
	flush->committed_us = clock_system.now_us(&clock_system);
}

static void send_flushes(struct sender *s)
{
	struct db_options options;
	struct store *store;
	struct flush f;

	servers_db_options(s->cfg, &options);
	store = store_mysql_create(&options, s->cfg->lease.ttl_ms);
	flush_init(&f, store, 1);
	for (size_t i = 0; i < s->count; i++)
		send_flush(s, &f, &s->flushes[i]);
	flush_finish(&f);
	store->ops->destroy(store);
	db_thread_end();
}

static void *run(void *context)
{
	struct sender *s = context;

	prepare(s);
	pthread_barrier_wait(s->barrier);
	pthread_barrier_wait(s->barrier);
	send_flushes(s);
	return NULL;
}

/* The result ---------------------------------------------------------------------------------- */

struct total {
	size_t flushes, events, first_events, bytes;
	int64_t begin_us, first_us, last_us;
};

static void add(struct total *total, const struct prepared *flush)
{
	if (total->first_us == 0 || flush->committed_us < total->first_us) {
		total->first_us = flush->committed_us;
		total->first_events = (size_t)(flush->batch.end_offset - flush->batch.begin_offset);
	}
	if (flush->committed_us > total->last_us)
		total->last_us = flush->committed_us;
	total->events += (size_t)(flush->batch.end_offset - flush->batch.begin_offset);
	for (int table = 0; table < TABLES; table++)
		total->bytes += flush->lengths[table];
	total->flushes++;
}

static void report(const struct sender *senders, int32_t partitions, int64_t begin_us)
{
	struct total total = {.begin_us = begin_us};
	double seconds;

	for (int32_t p = 0; p < partitions; p++)
		for (size_t i = 0; i < senders[p].count; i++)
			add(&total, &senders[p].flushes[i]);
	seconds = (double)(total.last_us - total.first_us) / 1e6;
	printf("{\"events\": %zu, \"flushes\": %zu, \"bytes\": %zu, \"first_commit_seconds\": "
	       "%.6f, \"seconds\": %.6f, \"events_per_second\": %.1f}\n",
		total.events, total.flushes, total.bytes,
		(double)(total.first_us - total.begin_us) / 1e6, seconds,
		seconds > 0 ? (double)(total.events - total.first_events) / seconds : 0);
}

static void finish(struct sender *senders, int32_t partitions)
{
	for (int32_t p = 0; p < partitions; p++) {
		for (size_t i = 0; i < senders[p].count; i++)
			for (int table = 0; table < TABLES; table++)
				free(senders[p].flushes[i].bytes[table]);
		free(senders[p].flushes);
	}
	free(senders);
}

/* Nothing but the senders is left when they begin: Kafka's client has gone, too. */
static void measure(const struct config *cfg, struct kafka_client *client, int32_t partitions)
{
	struct sender *senders = xcalloc((size_t)partitions, sizeof(senders[0]));
	pthread_barrier_t barrier;
	int64_t begin_us;

	pthread_barrier_init(&barrier, NULL, (unsigned)partitions + 1);
	for (int32_t p = 0; p < partitions; p++) {
		senders[p] = (struct sender){.partition = p,
			.partitions = partitions,
			.cfg = cfg,
			.client = client,
			.barrier = &barrier};
		pthread_create(&senders[p].thread, NULL, run, &senders[p]);
	}
	pthread_barrier_wait(&barrier);
	kafka_client_destroy(client);
	puts("prepared");
	fflush(stdout);
	if (getchar() == EOF)
		exit(1); /* whoever measures has gone */
	begin_us = clock_system.now_us(&clock_system);
	pthread_barrier_wait(&barrier);
	for (int32_t p = 0; p < partitions; p++)
		pthread_join(senders[p].thread, NULL);
	report(senders, partitions, begin_us);
	pthread_barrier_destroy(&barrier);
	finish(senders, partitions);
}

int main(void)
{
	struct config cfg;
	struct kafka_client *client;
	struct topic_layout layout;
	struct error err;

	if (config_load(&cfg, "/dev/null", environ, &err) != 0 ||
		kafka_client_create(&cfg, &client, &err) != 0 ||
		topic_kafka_layout(client, &layout, &err) != 0)
		fail("starting", &err);
	measure(&cfg, client, layout.partitions);
	config_finish(&cfg);
	return 0;
}
