/*
 * The table of metric families, and the text that Prometheus reads.
 *
 * A family is a row: what it is called, what it means, and the function that writes its samples.
 * The order of the rows is the order of /metrics and of docs/METRICS.md.  Rules:
 *
 * - A counter's series is there from the start, at 0, so that its first step is not lost.
 * - A gauge that is not known, or of a partition that is not ours, is absent: never a wrong number.
 * - A partition that this instance may not own has no series at all.
 *
 * Nothing is locked: a scrape sees each number as it is at some moment of the scrape.
 */
#include "metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct metrics_scrape {
	const struct metrics *metrics;
	FILE *file;
	const struct metrics_family *family; /* being written */
	int64_t wall_ms;                     /* -1: there is no clock */
	bool redis;
	struct publisher_stats publisher;
	bool process_known;
	struct process_stats process;
};

/* Samples ------------------------------------------------------------------------------------- */

static void put_value(const char *value, FILE *file)
{
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", file);
		else if (*value == '\\' || *value == '"')
			fprintf(file, "\\%c", *value);
		else
			putc(*value, file);
	}
}

/* name_suffix{label="value",...} and a space; a label without a value is left out. */
static void put_series(const struct metrics_scrape *scrape, const char *suffix,
	const struct metrics_label *labels, size_t count)
{
	char before = '{';

	fprintf(scrape->file, "%s%s", scrape->family->name, suffix);
	for (size_t i = 0; i < count; i++) {
		if (!labels[i].value)
			continue;
		fprintf(scrape->file, "%c%s=\"", before, labels[i].name);
		put_value(labels[i].value, scrape->file);
		putc('"', scrape->file);
		before = ',';
	}
	fputs(before == ',' ? "} " : " ", scrape->file);
}

/* value / divisor (a power of ten), exactly, without trailing zeros. */
static void format_quotient(uint64_t value, int64_t divisor, char text[48])
{
	uint64_t rest = value % (uint64_t)divisor;
	int length = sprintf(text, "%" PRIu64, value / (uint64_t)divisor);

	if (rest == 0)
		return;
	text[length++] = '.';
	for (uint64_t base = (uint64_t)divisor / 10; base > 0 && rest != 0; base /= 10) {
		/* cppcheck-suppress zerodivcond ; it takes base > 0 for no condition */
		text[length++] = (char)('0' + rest / base);
		rest %= base;
	}
	text[length] = '\0';
}

static void put_quotient(const struct metrics_scrape *scrape, int64_t value, int64_t divisor)
{
	char text[48];

	format_quotient((uint64_t)(value < 0 ? -value : value), divisor, text);
	fprintf(scrape->file, "%s%s\n", value < 0 ? "-" : "", text);
}

/* One sample; labels may be NULL. */
static void sample(const struct metrics_scrape *scrape, const struct metrics_label *labels,
	size_t count, int64_t value)
{
	put_series(scrape, "", labels, count);
	fprintf(scrape->file, "%" PRId64 "\n", value);
}

static void sample_counter(const struct metrics_scrape *scrape, const struct metrics_label *labels,
	size_t count, uint64_t value)
{
	put_series(scrape, "", labels, count);
	fprintf(scrape->file, "%" PRIu64 "\n", value);
}

static void sample_one_label(
	const struct metrics_scrape *scrape, const char *name, const char *value, uint64_t number)
{
	sample_counter(scrape, &(struct metrics_label){name, value}, 1, number);
}

static void sample_quotient(const struct metrics_scrape *scrape, const struct metrics_label *labels,
	size_t count, int64_t value, int64_t divisor)
{
	put_series(scrape, "", labels, count);
	put_quotient(scrape, value, divisor);
}

/* Histograms ---------------------------------------------------------------------------------- */

/* A histogram as it was at one moment, or the sum of several. */
struct counted {
	uint64_t buckets[HISTOGRAM_BUCKETS_MAX + 1];
	uint64_t sum;
};

/* Returns how many observations were added. */
static uint64_t add_up(struct counted *counted, const struct histogram *h)
{
	uint64_t count = 0;

	for (int i = 0; i <= HISTOGRAM_BUCKETS_MAX; i++) {
		uint64_t bucket = counter_read(&h->buckets[i]);

		counted->buckets[i] += bucket;
		count += bucket;
	}
	counted->sum += counter_read(&h->sum);
	return count;
}

/* The count is that of the buckets just read, so that _count and +Inf always agree. */
static void sample_histogram(const struct metrics_scrape *scrape, const char *name,
	const char *value, const struct histogram_bounds *bounds, const struct counted *counted)
{
	char bound[48];
	struct metrics_label labels[2] = {{name, value}, {"le", bound}};
	char total[48];
	uint64_t count = 0;

	for (int i = 0; i < bounds->count; i++) {
		count += counted->buckets[i];
		format_quotient((uint64_t)bounds->upper[i], bounds->divisor, bound);
		put_series(scrape, "_bucket", labels, 2);
		fprintf(scrape->file, "%" PRIu64 "\n", count);
	}
	count += counted->buckets[bounds->count];
	strcpy(bound, "+Inf");
	put_series(scrape, "_bucket", labels, 2);
	fprintf(scrape->file, "%" PRIu64 "\n", count);
	put_series(scrape, "_sum", labels, 1);
	format_quotient(counted->sum, bounds->divisor, total);
	fprintf(scrape->file, "%s\n", total);
	put_series(scrape, "_count", labels, 1);
	fprintf(scrape->file, "%" PRIu64 "\n", count);
}

/* Partitions ---------------------------------------------------------------------------------- */

/* A partition whose turn it is. */
struct metrics_turn {
	const struct partition_metrics *counted;
	enum partition_state state;
	bool ours; /* its gauges mean something */
	char number[16];
};

/* Idle, or fenced: another may own it, and what we knew is no longer true. */
static bool is_ours(enum partition_state state)
{
	return state != PARTITION_IDLE && state != PARTITION_FENCED;
}

static struct metrics_turn take_turn(const struct metrics *metrics, int32_t partition)
{
	struct metrics_turn turn = {.counted = &metrics->partitions[partition]};

	turn.state = (enum partition_state)gauge_read(&turn.counted->state);
	turn.ours = is_ours(turn.state);
	/* A halt outlives the lease: it is shown until somebody resumes the partition. */
	if (turn.state == PARTITION_IDLE && gauge_read(&turn.counted->halted) != 0)
		turn.state = PARTITION_HALTED;
	snprintf(turn.number, sizeof turn.number, "%" PRId32, partition);
	return turn;
}

static void sample_of(
	const struct metrics_scrape *scrape, const struct metrics_turn *turn, int64_t value)
{
	sample(scrape, &(struct metrics_label){"partition", turn->number}, 1, value);
}

static void sample_count(
	const struct metrics_scrape *scrape, const struct metrics_turn *turn, const counter *c)
{
	sample_one_label(scrape, "partition", turn->number, counter_read(c));
}

static void sample_labelled(const struct metrics_scrape *scrape, const struct metrics_turn *turn,
	const char *name, const char *value, uint64_t number)
{
	struct metrics_label labels[] = {{"partition", turn->number}, {name, value}};

	sample_counter(scrape, labels, 2, number);
}

static void write_events(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	for (int i = OUTCOME_APPLIED; i <= OUTCOME_DEAD_LETTER; i++)
		sample_labelled(scrape, turn, "result", outcome_text((enum outcome)i),
			counter_read(&turn->counted->outcomes[i]));
}

static void write_dead_letters(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	for (int i = DEAD_MALFORMED; i <= DEAD_ID_CONFLICT; i++)
		sample_labelled(scrape, turn, "reason", dead_reason_text((enum dead_reason)i),
			counter_read(&turn->counted->dead_letters[i]));
}

/* The watermark is as last heard of, and may be behind what was committed. */
static void write_lag(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	int64_t next_offset = gauge_read(&turn->counted->next_offset);
	int64_t high = gauge_read(&turn->counted->high_watermark);

	if (turn->ours && next_offset >= 0 && high >= 0)
		sample_of(scrape, turn, high > next_offset ? high - next_offset : 0);
}

static void write_oldest_event(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	struct metrics_label label = {"partition", turn->number};
	int64_t oldest_ms = gauge_read(&turn->counted->oldest_event_ms);
	int64_t age_ms = oldest_ms > 0 ? scrape->wall_ms - oldest_ms : 0;

	if (turn->ours && scrape->wall_ms >= 0)
		sample_quotient(scrape, &label, 1, age_ms > 0 ? age_ms : 0, 1000);
}

static void write_random_ids(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	struct metrics_label label = {"partition", turn->number};
	int64_t permille = gauge_read(&turn->counted->random_ids);

	if (turn->ours && permille >= 0)
		sample_quotient(scrape, &label, 1, permille, 1000);
}

static void write_next_offset(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	int64_t next_offset = gauge_read(&turn->counted->next_offset);

	if (turn->ours && next_offset >= 0)
		sample_of(scrape, turn, next_offset);
}

static void write_state(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	for (int i = 0; i < PARTITION_STATES; i++)
		sample_labelled(scrape, turn, "state",
			partition_state_text((enum partition_state)i), i == (int)turn->state);
}

static void write_transitions(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	for (int i = 0; i < PARTITION_STATES; i++)
		sample_labelled(scrape, turn, "state",
			partition_state_text((enum partition_state)i),
			counter_read(&turn->counted->entered[i]));
}

static void write_epoch(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	int64_t epoch = gauge_read(&turn->counted->epoch);

	if (turn->ours && epoch > 0)
		sample_of(scrape, turn, epoch);
}

static void write_fenced(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	sample_count(scrape, turn, &turn->counted->fenced);
}

static void write_drift(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	sample_count(scrape, turn, &turn->counted->drift);
}

static void write_balances(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	if (turn->ours)
		sample_of(scrape, turn, gauge_read(&turn->counted->balances));
}

static void write_balances_bytes(
	const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	if (turn->ours)
		sample_of(scrape, turn, gauge_read(&turn->counted->balances_bytes));
}

/* A histogram has many series: a partition that was never ours has none. */
static void write_partition_histogram(const struct metrics_scrape *scrape,
	const struct metrics_turn *turn, const struct histogram_bounds *bounds,
	const struct histogram *h)
{
	struct counted counted = {0};

	if (add_up(&counted, h) > 0 || turn->ours)
		sample_histogram(scrape, "partition", turn->number, bounds, &counted);
}

static void write_latency(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	write_partition_histogram(scrape, turn, &bounds_latency_ms, &turn->counted->event_latency);
}

static void write_flush_events(const struct metrics_scrape *scrape, const struct metrics_turn *turn)
{
	write_partition_histogram(scrape, turn, &bounds_events, &turn->counted->flush_events);
}

/* The process's partitions together ----------------------------------------------------------- */

/* `offset`: of the stage's histogram in struct partition_metrics. */
static void write_flush_stage(const struct metrics_scrape *scrape, const char *stage, size_t offset)
{
	const struct metrics *metrics = scrape->metrics;
	struct counted counted = {0};

	for (int32_t i = 0; i < metrics->partition_count; i++)
		add_up(&counted, (const void *)((const char *)&metrics->partitions[i] + offset));
	sample_histogram(scrape, "stage", stage, &bounds_flush_us, &counted);
}

static void write_flush_duration(const struct metrics_scrape *scrape)
{
	size_t steps = offsetof(struct partition_metrics, flush_step);

	write_flush_stage(scrape, "queue", offsetof(struct partition_metrics, flush_queue));
	for (size_t i = FLUSH_CONNECT; i < FLUSH_ENDED; i++)
		write_flush_stage(scrape, flush_step_text((enum flush_step)i),
			steps + i * sizeof(struct histogram));
	write_flush_stage(scrape, "total", offsetof(struct partition_metrics, flush_total));
}

struct retries {
	int number;
	uint64_t count;
};

/* What every installation meets sooner or later: there from the start.  Lock wait, deadlock, no
 * server (socket, TCP), server gone, connection lost. */
static const int usual_errnos[] = {1205, 1213, 2002, 2003, 2006, 2013};

#define USUAL_ERRNOS (sizeof usual_errnos / sizeof usual_errnos[0])

/* The retries by number, of all partitions; [0] are those without one.  Made anew for each scrape.
 */
struct retry_table {
	struct retries *rows;
	size_t count;
};

static struct retries *find_retries(struct retry_table *table, int number)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->rows[i].number == number)
			return &table->rows[i];
	table->rows[table->count] = (struct retries){.number = number};
	return &table->rows[table->count++];
}

static void add_retries(struct retry_table *table, const struct errno_counters *c)
{
	for (int i = 0; i < METRICS_ERRNOS; i++) {
		int number = atomic_load_explicit(&c->number[i], memory_order_relaxed);

		if (number != 0)
			find_retries(table, number)->count += counter_read(&c->count[i]);
	}
	find_retries(table, 0)->count += counter_read(&c->count[METRICS_ERRNOS]);
}

static int compare_retries(const void *a, const void *b)
{
	const struct retries *one = a, *other = b;

	return (one->number > other->number) - (one->number < other->number);
}

static void write_retries(const struct metrics_scrape *scrape)
{
	const struct metrics *metrics = scrape->metrics;
	size_t sources = (size_t)metrics->partition_count + 1;
	struct retry_table table = {
		xcalloc(1 + USUAL_ERRNOS + sources * METRICS_ERRNOS, sizeof *table.rows), 0};
	char number[16];

	for (size_t i = 0; i < USUAL_ERRNOS; i++)
		find_retries(&table, usual_errnos[i]);
	add_retries(&table, &metrics->mysql_retries);
	for (int32_t i = 0; i < metrics->partition_count; i++)
		add_retries(&table, &metrics->partitions[i].mysql_retries);
	qsort(table.rows, table.count, sizeof *table.rows, compare_retries);
	for (size_t i = 0; i < table.count; i++) {
		snprintf(number, sizeof number, "%d", table.rows[i].number);
		sample_one_label(scrape, "errno", table.rows[i].number ? number : "other",
			table.rows[i].count);
	}
	free(table.rows);
}

/* Redis, memory, the process ------------------------------------------------------------------ */

static void write_redis_publish(const struct metrics_scrape *scrape)
{
	if (!scrape->redis)
		return;
	sample_one_label(scrape, "result", "published", scrape->publisher.published);
	sample_one_label(scrape, "result", "stale", scrape->publisher.stale);
	sample_one_label(scrape, "result", "replaced", scrape->publisher.replaced);
	sample_one_label(scrape, "result", "failed", scrape->publisher.failed);
}

/* A family of one series without labels, of one number. */
#define WRITE_NUMBER(function, known, number)                                                      \
	static void function(const struct metrics_scrape *scrape)                                  \
	{                                                                                          \
		if (known)                                                                         \
			sample(scrape, NULL, 0, (int64_t)(number));                                \
	}

WRITE_NUMBER(write_redis_pending, scrape->redis, scrape->publisher.pending)
WRITE_NUMBER(write_redis_connected, scrape->redis, scrape->publisher.connected)
WRITE_NUMBER(write_redis_rebuilds, scrape->redis, scrape->publisher.rebuilds)
WRITE_NUMBER(write_redis_rebuilding, scrape->redis, scrape->publisher.rebuilding)
WRITE_NUMBER(write_kafka_connected, gauge_read(&scrape->metrics->kafka_connected) >= 0,
	gauge_read(&scrape->metrics->kafka_connected))
WRITE_NUMBER(write_memory, scrape->metrics->budget, budget_used(scrape->metrics->budget))
WRITE_NUMBER(write_memory_max, scrape->metrics->budget, scrape->metrics->budget->max_bytes)
WRITE_NUMBER(write_topic_partitions, true, scrape->metrics->partition_count)
WRITE_NUMBER(write_resident, scrape->process_known, scrape->process.resident_bytes)
WRITE_NUMBER(write_virtual, scrape->process_known, scrape->process.virtual_bytes)
WRITE_NUMBER(write_threads, scrape->process_known, scrape->process.threads)
WRITE_NUMBER(write_open_fds, scrape->process_known, scrape->process.open_fds)
WRITE_NUMBER(write_max_fds, scrape->process_known && scrape->process.max_fds >= 0,
	scrape->process.max_fds)

static void write_cpu(const struct metrics_scrape *scrape)
{
	if (scrape->process_known)
		sample_quotient(scrape, NULL, 0, scrape->process.cpu_us, 1000000);
}

static void write_start(const struct metrics_scrape *scrape)
{
	if (scrape->process_known)
		sample_quotient(scrape, NULL, 0, scrape->process.started_ms, 1000);
}

static void write_build(const struct metrics_scrape *scrape)
{
	if (scrape->metrics->build_count > 0)
		sample(scrape, scrape->metrics->build, scrape->metrics->build_count, 1);
}

/* The table ----------------------------------------------------------------------------------- */

const struct metrics_family metrics_families[] = {
	{"ledger_events_total", METRICS_COUNTER, "", "partition, result",
		"Events whose outcome was committed.",
		"`result` is `applied`, `refused` (no funds), `duplicate` or `dead_letter`. The "
		"sum of all four is the throughput: `sum(rate(ledger_events_total[1m]))`. "
		"Counted at the commit, never for a flush that was rolled back.",
		.write_partition = write_events},
	{"ledger_dead_letters_total", METRICS_COUNTER, "", "partition, reason",
		"Events that became dead letters, by reason.",
		"`MALFORMED` and `KEY_MISMATCH`: a producer is broken. `WRONG_PARTITION`: a "
		"producer uses another partitioner than murmur2. `ID_CONFLICT`: a transaction id "
		"was used for two different transactions. `ledgerd dead-letters list` shows "
		"them. Any increase deserves a look: `increase(ledger_dead_letters_total[15m]) > "
		"0`.",
		.write_partition = write_dead_letters},
	{"ledger_event_latency_seconds", METRICS_HISTOGRAM, "seconds", "partition",
		"From an event's Kafka timestamp to its commit in MySQL.",
		"`histogram_quantile(0.99, sum by (le) "
		"(rate(ledger_event_latency_seconds_bucket[5m])))` is the P99. It includes the "
		"time that an event waited in Kafka, so after an outage it is as long as the "
		"outage; above 60 s everything is in the last bucket. A producer whose clock is "
		"ahead counts as 0. Absent where the partition was never ours.",
		.write_partition = write_latency},
	{"ledger_partition_lag", METRICS_GAUGE, "", "partition",
		"Offsets between the committed one and the high watermark.",
		"Records of open and aborted transactions and control records are in it, so a "
		"few may stand while a producer's transaction is open. It should return to about "
		"0: alert when it does not fall for minutes. Absent while the partition is not "
		"ours, or not known yet.",
		.write_partition = write_lag},
	{"ledger_oldest_event_seconds", METRICS_GAUGE, "seconds", "partition",
		"Age of the oldest event that was read and is not committed yet; 0 if there is "
		"none.",
		"The best single alarm: it grows as long as MySQL does not take what Kafka "
		"gives, whatever the reason: `max(ledger_oldest_event_seconds) > 30`. After an "
		"outage it jumps to the age of the backlog and falls as that is worked off.",
		.write_partition = write_oldest_event},
	{"ledger_next_offset", METRICS_GAUGE, "", "partition",
		"First offset that is not in MySQL yet.",
		"It never falls, but when the database was restored from an older copy. At the "
		"end of the log it is the log's end. Absent while the partition is not ours.",
		.write_partition = write_next_offset},
	{"ledger_random_ids_ratio", METRICS_GAUGE, "", "partition",
		"Share of the transaction ids that are in no order, about.",
		"Near 0: ids are ordered by time, or counted, and the journal's unique index is "
		"written at a few places. Near 1: they are random (UUIDv4, hashes), and once the "
		"index outgrows the database's memory the rate falls to a fraction; producers "
		"should make UUIDv7 or ULIDs. A mixture is told a little low. Some ids of each "
		"flush are looked at; absent before some thousands were. Just after a start it "
		"may be high for a minute, as ids of one moment are in no order.",
		.write_partition = write_random_ids},
	{"ledger_partition_state", METRICS_GAUGE, "", "partition, state",
		"1 for the state that the partition is in at this instance, 0 for the others.",
		"`running` is normal, `idle` means that another instance has it, or nobody. "
		"`halted` needs a person: `max by (partition) "
		"(ledger_partition_state{state=\"halted\"}) == 1`; the reason is in `ledgerd "
		"status`. Over all instances, a partition that nobody runs: "
		"`sum(ledger_partition_state{state=\"running\"}) < max(ledger_topic_partitions)`.",
		.write_partition = write_state},
	{"ledger_partition_transitions_total", METRICS_COUNTER, "", "partition, state",
		"How often the partition entered a state at this instance.",
		"A steady rate of `acquiring` means that leases move to and fro: instances start "
		"and stop, or renewals come too late (`lease.ttl_ms`).",
		.write_partition = write_transitions},
	{"ledger_lease_epoch", METRICS_GAUGE, "", "partition",
		"Epoch of the lease under which this instance owns the partition.",
		"Microseconds since 1970 when the lease was taken, so its age is `time() - "
		"ledger_lease_epoch / 1e6`. Two instances that show the same partition have "
		"different epochs; only the higher one can commit. Absent while the partition is "
		"not ours.",
		.write_partition = write_epoch},
	{"ledger_fenced_total", METRICS_COUNTER, "", "partition",
		"How often this owner found that another epoch or offset was in the database.",
		"The fence worked: nothing was committed twice. It should be 0; a few after a "
		"fail-over of the database or a long pause of the process are expected, a steady "
		"rate is not.",
		.write_partition = write_fenced},
	{"ledger_flush_duration_seconds", METRICS_HISTOGRAM, "seconds", "stage",
		"Time of one statement of a flush, and of the whole flush (stage total).",
		"Of all partitions of this instance. `queue` is the wait for a thread: if it is "
		"long and the database has cores to spare, raise `consumer.flushers`. `journal` "
		"and `balances` are the loads, "
		"`commit` is mostly the database's fsync, `fence` waits while another owner's "
		"transaction is open; `connect`, `settle_connect` and `settle` only happen after "
		"an error. `total` is from the hand-over to the commit, with all waits, "
		"repeats and pauses, of flushes that committed; so do not add `total` to the others. "
		"Where the time goes: `sum by (stage) "
		"(rate(ledger_flush_duration_seconds_sum[5m]))`.",
		.write = write_flush_duration},
	{"ledger_flush_events", METRICS_HISTOGRAM, "", "partition",
		"Events of a flush that was committed.",
		"Small at low load, because a flush begins as soon as the one before has ended. "
		"Near `consumer.batch_max_events` for long: the database is the bottleneck, or a "
		"backlog is worked off. Absent where the partition was never ours.",
		.write_partition = write_flush_events},
	{"ledger_mysql_retries_total", METRICS_COUNTER, "", "errno",
		"Failures of MySQL after which the same was tried again, by error number.",
		"1205 lock wait and 1213 deadlock: rare and harmless, unless something else "
		"writes to these tables. 2002, 2003, 2006, 2013: the server is not there, or was "
		"restarted. `other`: errors without a number, and those beyond the first 32 "
		"kinds of a partition. Failures that need a person halt the partition and are "
		"not counted here.",
		.write = write_retries},
	{"ledger_redis_publish_total", METRICS_COUNTER, "", "result",
		"Balances written to Redis, by result.",
		"`published`: written. `stale`: a newer version was there already, which is "
		"normal after a crash or a rebuild. `replaced`: those of the published ones at "
		"whose key another program had put something else than a hash. `failed` counts "
		"attempts of many balances at once that ended in an error and are tried again. "
		"Absent with `redis.enabled: false`.",
		.write = write_redis_publish},
	{"ledger_redis_pending", METRICS_GAUGE, "", "",
		"Balances that wait to be written to Redis.",
		"A few thousand at most while Redis is there. While it is away it grows up to "
		"`redis.pending_max`; beyond, all balances are written again when it is back.",
		.write = write_redis_pending},
	{"ledger_redis_connected", METRICS_GAUGE, "", "", "1 if there is a connection to Redis.",
		"", .write = write_redis_connected},
	{"ledger_redis_rebuilds_total", METRICS_COUNTER, "", "",
		"How often all balances of a partition had to be written to Redis again.",
		"Redis was restarted, failed over, emptied, or away for too long.",
		.write = write_redis_rebuilds},
	{"ledger_redis_rebuilding", METRICS_GAUGE, "", "",
		"Partitions whose balances are being written to Redis again.",
		"While it is not 0, Redis may lack balances or hold old ones.",
		.write = write_redis_rebuilding},
	{"ledger_kafka_connected", METRICS_GAUGE, "", "", "1 if Kafka answered when last asked.",
		"It is asked once a minute, and once a second while it does not answer. Without "
		"Kafka nothing new is read, lag is not known, and nothing is lost.",
		.write = write_kafka_connected},
	{"ledger_balance_drift", METRICS_GAUGE, "", "partition",
		"Balances found to differ since start, by sampling memory against MySQL and "
		"Redis.",
		"Must be 0: `max(ledger_balance_drift) > 0` should wake somebody. The log says "
		"which copy differs, and `ledgerd verify` what. A balance that is missing, older "
		"or altered in Redis is written there again by itself; one that is newer there "
		"is counted again and again, until `ledgerd snapshot rebuild`. Never falls "
		"before a restart.",
		.write_partition = write_drift},
	{"ledger_balances", METRICS_GAUGE, "", "partition", "Balances in memory.",
		"Balances that do not fit are loaded from MySQL when an event needs them. Absent "
		"while the partition is not ours.",
		.write_partition = write_balances},
	{"ledger_balances_bytes", METRICS_GAUGE, "bytes", "partition", "Memory of the balances.",
		"Absent while the partition is not ours.", .write_partition = write_balances_bytes},
	{"ledger_memory_bytes", METRICS_GAUGE, "bytes", "", "Memory taken of consumer.memory_max.",
		"Near `ledger_memory_max_bytes` is not a fault: balances are then evicted and "
		"loaded again, which costs latency.",
		.write = write_memory},
	{"ledger_memory_max_bytes", METRICS_GAUGE, "bytes", "",
		"Limit for everything that grows (consumer.memory_max).", "",
		.write = write_memory_max},
	{"ledger_topic_partitions", METRICS_GAUGE, "", "", "Partitions of the topic.", "",
		.write = write_topic_partitions},
	{"ledger_build_info", METRICS_GAUGE, "", "version",
		"1; the labels say which build this is.",
		"`count by (version) (ledger_build_info)` shows a roll-out.", .write = write_build},
	{"process_cpu_seconds_total", METRICS_COUNTER, "seconds", "",
		"User and system CPU time of the process.",
		"`rate(process_cpu_seconds_total[5m])` is the number of cores in use.",
		.write = write_cpu},
	{"process_resident_memory_bytes", METRICS_GAUGE, "bytes", "",
		"Resident memory of the process.",
		"Above `ledger_memory_max_bytes` by what does not grow: code, stacks, the client "
		"libraries.",
		.write = write_resident},
	{"process_virtual_memory_bytes", METRICS_GAUGE, "bytes", "",
		"Virtual memory of the process.", "", .write = write_virtual},
	{"process_threads", METRICS_GAUGE, "", "", "Threads of the process.", "",
		.write = write_threads},
	{"process_open_fds", METRICS_GAUGE, "", "", "Open file descriptors.", "",
		.write = write_open_fds},
	{"process_max_fds", METRICS_GAUGE, "", "", "Limit of open file descriptors.",
		"Absent if there is none.", .write = write_max_fds},
	{"process_start_time_seconds", METRICS_GAUGE, "seconds", "",
		"When the process started, since 1970.",
		"`changes(process_start_time_seconds[1h])` counts restarts.", .write = write_start},
};

const size_t metrics_family_count = sizeof metrics_families / sizeof metrics_families[0];

const char *metrics_type_text(enum metrics_type type)
{
	static const char *const texts[] = {"counter", "gauge", "histogram"};

	return texts[type];
}

/* The whole ----------------------------------------------------------------------------------- */

/* What is asked once for the whole scrape, so that its numbers belong together. */
static struct metrics_scrape begin_scrape(const struct metrics *metrics, FILE *file)
{
	struct metrics_scrape scrape = {.metrics = metrics, .file = file, .wall_ms = -1};

	if (metrics->clock)
		scrape.wall_ms = metrics->clock->wall_ms(metrics->clock);
	scrape.redis = metrics->publisher_stats != NULL;
	if (scrape.redis)
		metrics->publisher_stats(metrics->publisher, &scrape.publisher);
	if (metrics->process_read)
		scrape.process_known = metrics->process_read(&scrape.process);
	return scrape;
}

static void write_partitions(const struct metrics_scrape *scrape)
{
	for (int32_t i = 0; i < scrape->metrics->partition_count; i++) {
		struct metrics_turn turn = take_turn(scrape->metrics, i);

		if (scrape->metrics->eligible[i])
			scrape->family->write_partition(scrape, &turn);
	}
}

/* A family may have no series now; its HELP and TYPE say that it exists. */
void metrics_write(const struct metrics *metrics, FILE *file)
{
	struct metrics_scrape scrape = begin_scrape(metrics, file);

	for (size_t i = 0; i < metrics_family_count; i++) {
		const struct metrics_family *family = &metrics_families[i];

		scrape.family = family;
		fprintf(file, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help,
			family->name, metrics_type_text(family->type));
		if (family->write)
			family->write(&scrape);
		else
			write_partitions(&scrape);
	}
}

char *metrics_text(const struct metrics *metrics, size_t *ret_length)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, ret_length);
	bool written;

	assert(file);
	metrics_write(metrics, file);
	written = !ferror(file);
	fclose(file);
	assert(written && text);
	return text;
}
