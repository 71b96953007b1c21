/*
 * Metrics: that every observation lands in its bucket, that no count is lost, that /metrics says
 * what is promised and nothing wrong, and that docs/METRICS.md comes from the same table.
 */
#include "metrics.h"

#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem.h"

/* Histograms ---------------------------------------------------------------------------------- */

static const struct histogram_bounds *const all_bounds[] = {
	&bounds_latency_ms, &bounds_flush_us, &bounds_events};

/* What a bucket is, in the plainest words. */
static int naive_bucket(const struct histogram_bounds *bounds, int64_t value)
{
	int i = 0;

	while (i < bounds->count && value > bounds->upper[i])
		i++;
	return i;
}

static void check_bucket(int64_t value)
{
	for (size_t b = 0; b < 3; b++)
		if (histogram_bucket(all_bounds[b], value) != naive_bucket(all_bounds[b], value))
			fail_msg("bounds %zu, value %lld: bucket %d, not %d", b, (long long)value,
				histogram_bucket(all_bounds[b], value),
				naive_bucket(all_bounds[b], value));
}

static void test_every_value_lands_in_its_bucket(void **state)
{
	uint64_t random = 88172645463325252u;

	for (int64_t value = -5; value < 300000; value++)
		check_bucket(value);
	for (size_t b = 0; b < 3; b++)
		for (int i = 0; i < all_bounds[b]->count; i++)
			for (int64_t d = -2; d <= 2; d++)
				check_bucket(all_bounds[b]->upper[i] + d);
	for (int shift = 0; shift < 63; shift++)
		for (int64_t d = -1; d <= 1; d++)
			check_bucket((INT64_C(1) << shift) + d);
	for (int i = 0; i < 1000000; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		check_bucket((int64_t)(random >> (i % 64)));
	}
	check_bucket(INT64_MAX);
	check_bucket(INT64_MIN);
}

/* The search looks at so many bounds and no more. */
static void test_bounds_suit_the_search(void **state)
{
	for (size_t b = 0; b < 3; b++) {
		const struct histogram_bounds *bounds = all_bounds[b];
		int octaves[64] = {0};

		assert_in_range(bounds->count, 1, HISTOGRAM_BUCKETS_MAX);
		for (int i = 0; i < bounds->count; i++) {
			assert_in_range(bounds->upper[i], 1, INT32_MAX);
			assert_true(bounds->upper[i] < bounds->upper[i + 1]);
			octaves[63 - __builtin_clzll((uint64_t)bounds->upper[i])]++;
		}
		assert_int_equal(bounds->upper[bounds->count], INT64_MAX);
		for (int i = 0; i < 64; i++)
			assert_in_range(octaves[i], 0, HISTOGRAM_OCTAVE_MAX);
	}
}

static bool has_bound(const struct histogram_bounds *bounds, int64_t bound)
{
	for (int i = 0; i < bounds->count; i++)
		if (bounds->upper[i] == bound)
			return true;
	return false;
}

/* Dashboards and goals are in terms of these. */
static void test_bounds_that_are_promised(void **state)
{
	static const int64_t latency[] = {1, 5, 10, 20, 50, 100, 1000, 60000};
	static const int64_t flush[] = {500, 1000, 100000, 1000000, 30000000};

	for (size_t i = 0; i < sizeof latency / sizeof latency[0]; i++)
		assert_true(has_bound(&bounds_latency_ms, latency[i]));
	for (size_t i = 0; i < sizeof flush / sizeof flush[0]; i++)
		assert_true(has_bound(&bounds_flush_us, flush[i]));
	assert_int_equal(bounds_latency_ms.upper[0], 1);
	assert_int_equal(bounds_latency_ms.upper[bounds_latency_ms.count - 1], 60000);
	assert_int_equal(bounds_flush_us.upper[0], 500);
	assert_int_equal(bounds_flush_us.upper[bounds_flush_us.count - 1], 30000000);
	assert_true(has_bound(&bounds_events, 20000)); /* the default of batch_max_events */
	assert_true(has_bound(&bounds_events, 100000));
}

static void test_observations_add_up(void **state)
{
	struct histogram h = {0};
	int64_t month_ms = INT64_C(30) * 86400 * 1000;

	histogram_observe(&h, &bounds_latency_ms, 5);
	histogram_observe_many(&h, &bounds_latency_ms, 7, 3);
	histogram_observe(&h, &bounds_latency_ms, -40); /* counts as 0 */
	histogram_observe_many(&h, &bounds_latency_ms, month_ms, 1000000);
	assert_int_equal(counter_read(&h.buckets[naive_bucket(&bounds_latency_ms, 0)]), 1);
	assert_int_equal(counter_read(&h.buckets[naive_bucket(&bounds_latency_ms, 5)]), 1);
	assert_int_equal(counter_read(&h.buckets[naive_bucket(&bounds_latency_ms, 7)]), 3);
	assert_int_equal(counter_read(&h.buckets[bounds_latency_ms.count]), 1000000);
	assert_int_equal(counter_read(&h.sum), 5 + 21 + (uint64_t)month_ms * 1000000);
}

/* Errors by number ---------------------------------------------------------------------------- */

static uint64_t errno_count(const struct errno_counters *c, int number)
{
	for (int i = 0; i < METRICS_ERRNOS; i++)
		if (atomic_load(&c->number[i]) == number)
			return counter_read(&c->count[i]);
	return 0;
}

static void test_errnos_beyond_the_places_are_others(void **state)
{
	struct errno_counters c = {0};

	for (int number = 1000; number < 1000 + METRICS_ERRNOS + 5; number++) {
		errno_counters_add(&c, number);
		errno_counters_add(&c, number);
	}
	errno_counters_add(&c, 0);
	errno_counters_add(&c, 1003);
	assert_int_equal(errno_count(&c, 1000), 2);
	assert_int_equal(errno_count(&c, 1003), 3);
	assert_int_equal(errno_count(&c, 1000 + METRICS_ERRNOS), 0);
	assert_int_equal(counter_read(&c.count[METRICS_ERRNOS]), 5 * 2 + 1);
}

#define ERRNO_ROUNDS 1000000

static void *add_errnos(void *argument)
{
	for (int i = 0; i < ERRNO_ROUNDS; i++)
		errno_counters_add(argument, 1000 + i % (METRICS_ERRNOS + 8));
	return NULL;
}

/* The reader and the flusher of a partition share them: no count is lost, no number has two places.
 */
static void test_errnos_of_two_threads(void **state)
{
	struct errno_counters *c = xcalloc(1, sizeof *c);
	pthread_t threads[2];
	uint64_t sum = 0;

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_errnos, c), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i <= METRICS_ERRNOS; i++)
		sum += counter_read(&c->count[i]);
	assert_int_equal(sum, 2 * ERRNO_ROUNDS);
	for (int i = 0; i < METRICS_ERRNOS; i++)
		assert_int_equal(
			errno_count(c, atomic_load(&c->number[i])), counter_read(&c->count[i]));
	free(c);
}

/* The exposition ------------------------------------------------------------------------------ */

#define NOW_MS INT64_C(1767225600000)

static int64_t fixed_wall_ms(const struct clock *clock)
{
	return NOW_MS;
}

static const struct clock fixed_clock = {.wall_ms = fixed_wall_ms};

static void fixed_publisher(const struct publisher *pub, struct publisher_stats *ret_stats)
{
	*ret_stats = (struct publisher_stats){.published = 700,
		.stale = 8,
		.replaced = 14,
		.failed = 2,
		.rebuilds = 1,
		.pending = 55,
		.rebuilding = 0,
		.connected = true};
}

static bool fixed_process(struct process_stats *ret_stats)
{
	*ret_stats = (struct process_stats){.cpu_us = 12345678,
		.started_ms = 1767225000500,
		.resident_bytes = 4096000,
		.virtual_bytes = 8192000,
		.threads = 9,
		.open_fds = 20,
		.max_fds = -1};
	return true;
}

static const struct metrics_label build[] = {{"version", "1.2.3"}, {"kafka", "a\\b\"c\nd"}};

/* Three partitions: 0 runs, 1 was never ours, 2 may not be owned. */
static void fill(struct metrics *m, struct budget *budget)
{
	struct partition_metrics *p;

	metrics_init(m, 3);
	budget_init(budget, 1000000);
	budget_force(budget, 4321);
	m->eligible[2] = false;
	m->clock = &fixed_clock;
	m->budget = budget;
	m->publisher_stats = fixed_publisher;
	m->process_read = fixed_process;
	m->build = build;
	m->build_count = 2;

	p = &m->partitions[0];
	partition_metrics_enter(p, PARTITION_ACQUIRING);
	partition_metrics_enter(p, PARTITION_RECOVERING);
	partition_metrics_enter(p, PARTITION_RUNNING);
	counter_add(&p->outcomes[OUTCOME_APPLIED], 100);
	counter_add(&p->outcomes[OUTCOME_REFUSED], 20);
	counter_add(&p->outcomes[OUTCOME_DUPLICATE], 3);
	counter_add(&p->outcomes[OUTCOME_DEAD_LETTER], 4);
	counter_add(&p->dead_letters[DEAD_WRONG_PARTITION], 4);
	counter_add(&p->fenced, 1);
	counter_add(&p->drift, 6);
	gauge_set(&p->next_offset, 1000);
	gauge_set(&p->random_ids, 250);
	histogram_observe(&p->flush_queue, &bounds_flush_us, 700);
	gauge_set(&p->high_watermark, 1234);
	gauge_set(&p->epoch, 1767225600000123);
	gauge_set(&p->oldest_event_ms, NOW_MS - 2050);
	gauge_set(&p->balances, 11);
	gauge_set(&p->balances_bytes, 704);
	histogram_observe_many(&p->event_latency, &bounds_latency_ms, 7, 2);
	histogram_observe(&p->event_latency, &bounds_latency_ms, 61500);
	histogram_observe(&p->flush_events, &bounds_events, 127);
	histogram_observe(&p->flush_step[FLUSH_COMMIT], &bounds_flush_us, 1500);
	histogram_observe(&m->partitions[1].flush_step[FLUSH_COMMIT], &bounds_flush_us, 2);
	histogram_observe(&p->flush_total, &bounds_flush_us, 9000);
	errno_counters_add(&p->mysql_retries, 1213);
	errno_counters_add(&p->mysql_retries, 9999);
	errno_counters_add(&m->partitions[1].mysql_retries, 1213);
	errno_counters_add(&m->mysql_retries, 1213);
	errno_counters_add(&m->mysql_retries, 0);
	gauge_set(&m->kafka_connected, 1);
}

static char *text_of(const struct metrics *m)
{
	size_t length;
	char *text = metrics_text(m, &length);

	assert_int_equal(length, strlen(text));
	return text;
}

/* Whether the text has this whole line. */
static bool has_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (const char *at = text; (at = strstr(at, line)); at++)
		if ((at == text || at[-1] == '\n') && at[length] == '\n')
			return true;
	return false;
}

static void assert_lines(const char *text, const char *const *lines, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!has_line(text, lines[i]))
			fail_msg("missing: %s", lines[i]);
}

static void test_says_what_was_counted(void **state)
{
	static const char *const lines[] = {
		"ledger_events_total{partition=\"0\",result=\"applied\"} 100",
		"ledger_events_total{partition=\"0\",result=\"refused\"} 20",
		"ledger_events_total{partition=\"0\",result=\"duplicate\"} 3",
		"ledger_events_total{partition=\"0\",result=\"dead_letter\"} 4",
		"ledger_dead_letters_total{partition=\"0\",reason=\"WRONG_PARTITION\"} 4",
		"ledger_dead_letters_total{partition=\"0\",reason=\"MALFORMED\"} 0",
		"ledger_partition_lag{partition=\"0\"} 234",
		"ledger_next_offset{partition=\"0\"} 1000",
		"ledger_random_ids_ratio{partition=\"0\"} 0.25",
		"ledger_flush_duration_seconds_sum{stage=\"queue\"} 0.0007",
		"ledger_lease_epoch{partition=\"0\"} 1767225600000123",
		"ledger_oldest_event_seconds{partition=\"0\"} 2.05",
		"ledger_partition_state{partition=\"0\",state=\"running\"} 1",
		"ledger_partition_state{partition=\"0\",state=\"idle\"} 0",
		"ledger_partition_transitions_total{partition=\"0\",state=\"recovering\"} 1",
		"ledger_fenced_total{partition=\"0\"} 1",
		"ledger_balance_drift{partition=\"0\"} 6",
		"ledger_balances{partition=\"0\"} 11",
		"ledger_balances_bytes{partition=\"0\"} 704",
		"ledger_event_latency_seconds_bucket{partition=\"0\",le=\"0.005\"} 0",
		"ledger_event_latency_seconds_bucket{partition=\"0\",le=\"0.01\"} 2",
		"ledger_event_latency_seconds_bucket{partition=\"0\",le=\"60\"} 2",
		"ledger_event_latency_seconds_bucket{partition=\"0\",le=\"+Inf\"} 3",
		"ledger_event_latency_seconds_sum{partition=\"0\"} 61.514",
		"ledger_event_latency_seconds_count{partition=\"0\"} 3",
		"ledger_flush_events_bucket{partition=\"0\",le=\"100\"} 0",
		"ledger_flush_events_bucket{partition=\"0\",le=\"200\"} 1",
		"ledger_flush_events_sum{partition=\"0\"} 127",
		"ledger_flush_duration_seconds_bucket{stage=\"commit\",le=\"0.0005\"} 1",
		"ledger_flush_duration_seconds_bucket{stage=\"commit\",le=\"0.002\"} 2",
		"ledger_flush_duration_seconds_sum{stage=\"commit\"} 0.001502",
		"ledger_flush_duration_seconds_count{stage=\"commit\"} 2",
		"ledger_flush_duration_seconds_sum{stage=\"total\"} 0.009",
		"ledger_flush_duration_seconds_count{stage=\"begin\"} 0",
		"ledger_flush_duration_seconds_count{stage=\"fence\"} 0",
		"ledger_flush_duration_seconds_count{stage=\"journal\"} 0",
		"ledger_flush_duration_seconds_count{stage=\"balances\"} 0",
		"ledger_flush_duration_seconds_count{stage=\"dead_letters\"} 0",
		"ledger_mysql_retries_total{errno=\"1205\"} 0",
		"ledger_mysql_retries_total{errno=\"1213\"} 3",
		"ledger_mysql_retries_total{errno=\"9999\"} 1",
		"ledger_mysql_retries_total{errno=\"other\"} 1",
		"ledger_redis_publish_total{result=\"published\"} 700",
		"ledger_redis_publish_total{result=\"stale\"} 8",
		"ledger_redis_publish_total{result=\"replaced\"} 14",
		"ledger_redis_publish_total{result=\"failed\"} 2",
		"ledger_redis_pending 55",
		"ledger_redis_connected 1",
		"ledger_redis_rebuilds_total 1",
		"ledger_redis_rebuilding 0",
		"ledger_kafka_connected 1",
		"ledger_memory_bytes 4321",
		"ledger_memory_max_bytes 1000000",
		"ledger_topic_partitions 3",
		"ledger_build_info{version=\"1.2.3\",kafka=\"a\\\\b\\\"c\\nd\"} 1",
		"process_cpu_seconds_total 12.345678",
		"process_start_time_seconds 1767225000.5",
		"process_resident_memory_bytes 4096000",
		"process_virtual_memory_bytes 8192000",
		"process_threads 9",
		"process_open_fds 20",
	};
	struct budget budget;
	struct metrics m;
	char *text;

	fill(&m, &budget);
	text = text_of(&m);
	assert_lines(text, lines, sizeof lines / sizeof lines[0]);
	assert_null(strstr(text, "process_max_fds 1")); /* no limit: absent */
	assert_null(strstr(text, "process_max_fds -"));
	free(text);
	metrics_finish(&m);
}

/* Names and types that users rely on.  A change here is a breaking change. */
static void test_has_what_is_promised(void **state)
{
	static const char *const types[] = {
		"# TYPE ledger_events_total counter",
		"# TYPE ledger_partition_lag gauge",
		"# TYPE ledger_next_offset gauge",
		"# TYPE ledger_lease_epoch gauge",
		"# TYPE ledger_flush_duration_seconds histogram",
		"# TYPE ledger_flush_events histogram",
		"# TYPE ledger_event_latency_seconds histogram",
		"# TYPE ledger_redis_publish_total counter",
		"# TYPE ledger_redis_pending gauge",
		"# TYPE ledger_balance_drift gauge",
		"# TYPE ledger_partition_state gauge",
		"# TYPE ledger_oldest_event_seconds gauge",
		"# TYPE ledger_fenced_total counter",
		"# TYPE ledger_mysql_retries_total counter",
		"# TYPE ledger_dead_letters_total counter",
		"# TYPE ledger_build_info gauge",
		"# TYPE process_cpu_seconds_total counter",
		"# TYPE process_resident_memory_bytes gauge",
		"# TYPE process_virtual_memory_bytes gauge",
		"# TYPE process_open_fds gauge",
		"# TYPE process_max_fds gauge",
		"# TYPE process_start_time_seconds gauge",
	};
	struct metrics m;
	char *text;

	metrics_init(&m, 1);
	text = text_of(&m);
	assert_lines(text, types, sizeof types / sizeof types[0]);
	free(text);
	metrics_finish(&m);
}

/* Whether a series begins with this. */
static bool has_series(const char *text, const char *begin)
{
	for (const char *at = text; (at = strstr(at, begin)); at++)
		if (at == text || at[-1] == '\n')
			return true;
	return false;
}

static void test_not_ours_is_absent_not_wrong(void **state)
{
	static const char *const gauges[] = {"ledger_partition_lag", "ledger_next_offset",
		"ledger_lease_epoch", "ledger_oldest_event_seconds", "ledger_balances",
		"ledger_balances_bytes"};
	static const enum partition_state lost[] = {PARTITION_FENCED, PARTITION_IDLE};
	struct budget budget;
	struct metrics m;
	char series[100];
	char *text;

	fill(&m, &budget);
	text = text_of(&m);
	assert_false(has_series(text, "ledger_next_offset{partition=\"1\"}"));
	assert_false(has_series(text, "ledger_event_latency_seconds_count{partition=\"1\"}"));
	free(text);
	for (size_t i = 0; i < 2; i++) {
		partition_metrics_enter(&m.partitions[0], lost[i]);
		text = text_of(&m);
		for (size_t g = 0; g < sizeof gauges / sizeof gauges[0]; g++) {
			snprintf(series, sizeof series, "%s{", gauges[g]);
			assert_false(has_series(text, series));
		}
		/* What was counted stays. */
		assert_true(has_line(
			text, "ledger_events_total{partition=\"0\",result=\"applied\"} 100"));
		assert_true(
			has_line(text, "ledger_event_latency_seconds_count{partition=\"0\"} 3"));
		free(text);
	}
	metrics_finish(&m);
}

static void test_not_known_is_absent_not_wrong(void **state)
{
	struct metrics m;
	char *text;

	metrics_init(&m, 1);
	partition_metrics_enter(&m.partitions[0], PARTITION_RECOVERING);
	text = text_of(&m);
	assert_false(has_series(text, "ledger_next_offset{"));
	assert_false(has_series(text, "ledger_partition_lag{"));
	assert_false(has_series(text, "ledger_lease_epoch{"));
	assert_false(has_series(text, "ledger_oldest_event_seconds{")); /* there is no clock */
	assert_false(has_series(text, "ledger_redis_p"));               /* Redis is off */
	assert_false(has_series(text, "ledger_memory_"));
	assert_false(has_series(text, "ledger_build_info"));
	assert_false(has_series(text, "process_"));
	free(text);
	metrics_finish(&m);
}

/* The watermark is as last heard of; a producer's clock may be ahead of ours. */
static void test_nothing_is_below_zero(void **state)
{
	struct metrics m;
	char *text;

	metrics_init(&m, 1);
	m.clock = &fixed_clock;
	partition_metrics_enter(&m.partitions[0], PARTITION_RUNNING);
	gauge_set(&m.partitions[0].next_offset, 50);
	gauge_set(&m.partitions[0].high_watermark, 40);
	gauge_set(&m.partitions[0].oldest_event_ms, NOW_MS + 5000);
	text = text_of(&m);
	assert_true(has_line(text, "ledger_partition_lag{partition=\"0\"} 0"));
	assert_true(has_line(text, "ledger_oldest_event_seconds{partition=\"0\"} 0"));
	free(text);
	metrics_finish(&m);
}

/* rate() sees a counter's first step only if it was there before. */
static void test_counters_are_there_from_the_start(void **state)
{
	static const char *const lines[] = {
		"ledger_events_total{partition=\"1\",result=\"applied\"} 0",
		"ledger_events_total{partition=\"1\",result=\"dead_letter\"} 0",
		"ledger_dead_letters_total{partition=\"1\",reason=\"ID_CONFLICT\"} 0",
		"ledger_fenced_total{partition=\"1\"} 0",
		"ledger_balance_drift{partition=\"1\"} 0",
		"ledger_partition_state{partition=\"1\",state=\"idle\"} 1",
		"ledger_partition_state{partition=\"1\",state=\"halted\"} 0",
	};
	struct metrics m;
	char *text;

	metrics_init(&m, 3);
	m.eligible[2] = false;
	text = text_of(&m);
	assert_lines(text, lines, sizeof lines / sizeof lines[0]);
	assert_null(strstr(text, "result=\"pending\"")); /* no event stays without an outcome */
	assert_null(strstr(text, "partition=\"2\""));
	free(text);
	metrics_finish(&m);
}

/* The partition's thread is gone, its lease given up; the alarm must not go away by itself. */
static void test_a_halt_outlives_the_lease(void **state)
{
	struct metrics m;
	char *text;

	metrics_init(&m, 1);
	gauge_set(&m.partitions[0].halted, 1);
	text = text_of(&m);
	assert_true(has_line(text, "ledger_partition_state{partition=\"0\",state=\"halted\"} 1"));
	assert_true(has_line(text, "ledger_partition_state{partition=\"0\",state=\"idle\"} 0"));
	assert_false(has_series(text, "ledger_next_offset{"));
	free(text);
	metrics_finish(&m);
}

/* The grammar, read by somebody else ----------------------------------------------------------- */

struct reader {
	const struct metrics_family *family;
	size_t families;
	char series[4000][200];
	size_t series_count;
	double bucket; /* of the histogram being read */
	double bound;
};

static void read_header(struct reader *reader, const char *line, const char *next)
{
	const struct metrics_family *family = &metrics_families[reader->families++];
	char expected[400];

	assert_true(reader->families <= metrics_family_count);
	snprintf(expected, sizeof expected, "# HELP %s %s", family->name, family->help);
	assert_string_equal(line, expected);
	snprintf(expected, sizeof expected, "# TYPE %s %s", family->name,
		metrics_type_text(family->type));
	assert_string_equal(next, expected);
	reader->family = family;
}

/* {a="b",c="d"}; values with \\, \" and \n only.  Returns what follows. */
static const char *read_labels(const char *at)
{
	if (*at != '{')
		return at;
	do {
		at++;
		assert_true(islower((unsigned char)*at));
		while (islower((unsigned char)*at) || *at == '_')
			at++;
		assert_memory_equal(at, "=\"", 2);
		for (at += 2; *at != '"'; at++) {
			assert_true(*at != '\0' && *at != '\n');
			if (*at == '\\')
				assert_non_null(strchr("\\\"n", *++at));
		}
		at++;
	} while (*at == ',');
	assert_int_equal(*at, '}');
	return at + 1;
}

static void read_histogram_sample(struct reader *reader, const char *suffix, double value)
{
	const char *le = strstr(suffix, "le=\"");
	double bound = le ? strtod(le + 4, NULL) : 0;

	if (strncmp(suffix, "_bucket{", 8) == 0) {
		assert_non_null(le);
		assert_true(bound > reader->bound);
		assert_true(value >= reader->bucket);
		reader->bound = bound;
		reader->bucket = value;
	} else if (strncmp(suffix, "_sum{", 5) == 0) {
		assert_true(reader->bound > 1e300); /* +Inf came last */
	} else {
		assert_int_equal(strncmp(suffix, "_count{", 7), 0);
		assert_true(value == reader->bucket);
		reader->bound = -1;
		reader->bucket = 0;
	}
}

static void read_sample(struct reader *reader, char *line)
{
	size_t name_length = strlen(reader->family->name);
	const char *suffix = line + name_length;
	char *end;
	const char *value;
	double number;

	assert_memory_equal(line, reader->family->name, name_length);
	value = read_labels(suffix + strcspn(suffix, "{ "));
	assert_int_equal(*value, ' ');
	number = strtod(value + 1, &end);
	assert_int_equal(*end, '\0');
	if (reader->family->type == METRICS_HISTOGRAM)
		read_histogram_sample(reader, suffix, number);
	else
		assert_true(*suffix == '{' || *suffix == ' ');

	line[value - line] = '\0';
	assert_true(reader->series_count < 4000);
	for (size_t i = 0; i < reader->series_count; i++)
		assert_string_not_equal(reader->series[i], line);
	snprintf(reader->series[reader->series_count++], 200, "%s", line);
}

/* Every family with its header, its samples behind it, no series twice. */
static void read_all(char *text)
{
	struct reader *reader = xcalloc(1, sizeof *reader);
	char *lines = text;
	char *line;

	reader->bound = -1;
	assert_int_equal(text[strlen(text) - 1], '\n');
	while ((line = strsep(&lines, "\n")) && lines) {
		if (line[0] == '#')
			read_header(reader, line, strsep(&lines, "\n"));
		else
			read_sample(reader, line);
	}
	assert_int_equal(reader->families, metrics_family_count);
	free(reader);
}

static void test_the_text_is_well_formed(void **state)
{
	struct budget budget;
	struct metrics m;
	char *text;

	fill(&m, &budget);
	text = text_of(&m);
	read_all(text);
	free(text);
	metrics_finish(&m);
}

/* The partitions count while somebody looks: what is seen is whole, and TSan has nothing to say. */
static void *count_on(void *argument)
{
	struct partition_metrics *p = argument;

	for (int i = 0; i < 200000; i++) {
		counter_add(&p->outcomes[OUTCOME_APPLIED], 1);
		histogram_observe(&p->event_latency, &bounds_latency_ms, i % 70000);
		gauge_set(&p->next_offset, i);
	}
	return NULL;
}

static void test_may_be_read_while_it_counts(void **state)
{
	struct budget budget;
	struct metrics m;
	pthread_t thread;
	char *text;

	fill(&m, &budget);
	assert_int_equal(pthread_create(&thread, NULL, count_on, &m.partitions[0]), 0);
	for (int i = 0; i < 20; i++) {
		text = text_of(&m);
		read_all(text);
		free(text);
	}
	pthread_join(thread, NULL);
	text = text_of(&m);
	assert_true(
		has_line(text, "ledger_events_total{partition=\"0\",result=\"applied\"} 200100"));
	assert_true(has_line(text, "ledger_event_latency_seconds_count{partition=\"0\"} 200003"));
	free(text);
	metrics_finish(&m);
}

/* promtool ------------------------------------------------------------------------------------ */

/* Runs promtool on a file with this text; fails with what it says if it says anything. */
static void ask_promtool(const char *what, const char *text)
{
	char path[] = "/tmp/test_metrics.XXXXXX";
	char command[200], said[4000];
	int fd = mkstemp(path);
	FILE *pipe;
	size_t length;
	int status;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	snprintf(command, sizeof command, "promtool check %s %s 2>&1",
		strcmp(what, "metrics") == 0 ? "metrics <" : "rules", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	length = fread(said, 1, sizeof said - 1, pipe);
	said[length] = '\0';
	status = pclose(pipe);
	unlink(path);
	if (status != 0 || (strcmp(what, "metrics") == 0 && length > 0))
		fail_msg("promtool check %s: %s", what, said);
}

static void skip_without_promtool(void)
{
	if (system("command -v promtool >/dev/null 2>&1") != 0)
		skip();
}

static void test_promtool_has_nothing_to_say(void **state)
{
	struct budget budget;
	struct metrics m;
	char *text;

	skip_without_promtool();
	fill(&m, &budget);
	text = text_of(&m);
	ask_promtool("metrics", text);
	free(text);
	metrics_finish(&m);
}

/* The manual ---------------------------------------------------------------------------------- */

static char *read_document(const char *name)
{
	const char *tree = getenv("TREE");
	char path[4096];
	char *text = xcalloc(1, 100000);
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", tree ? tree : ".", name);
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s cannot be read", path);
	assert_in_range(fread(text, 1, 99999, file), 1, 99998);
	fclose(file);
	return text;
}

/* Not inlined: gcc 12 takes the text that open_memstream made for a local's address. */
__attribute__((noinline)) static char *printed_manual(void)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	metrics_manual_print(file);
	fclose(file);
	return text;
}

static void test_the_manual_is_up_to_date(void **state)
{
	char *printed = printed_manual();
	char *there = read_document("docs/METRICS.md");

	if (strcmp(printed, there) != 0)
		fail_msg("docs/METRICS.md is not what the table says; run `ninja manual`");
	free(printed);
	free(there);
}

static bool is_known(const char *name, size_t length)
{
	static const char *const suffixes[] = {"", "_bucket", "_sum", "_count"};
	char series[200];

	for (size_t i = 0; i < metrics_family_count; i++)
		for (size_t s = 0; s < 4; s++) {
			snprintf(series, sizeof series, "%s%s", metrics_families[i].name,
				suffixes[s]);
			if (strlen(series) == length && memcmp(series, name, length) == 0)
				return s == 0 || metrics_families[i].type == METRICS_HISTOGRAM;
		}
	return false;
}

static void check_names(const char *text, const char *begin)
{
	for (const char *at = text; (at = strstr(at, begin));) {
		size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz_");

		if (!is_known(at, length))
			fail_msg("docs/METRICS.md speaks of %.*s", (int)length, at);
		at += length;
	}
}

static void test_the_manual_speaks_of_what_there_is(void **state)
{
	char *text = printed_manual();

	check_names(text, "ledger_");
	check_names(text, "process_");
	for (size_t i = 0; i < metrics_family_count; i++)
		assert_non_null(strstr(text, metrics_families[i].name));
	free(text);
}

/* Everything in backquotes that has a bracket is for Prometheus. */
static void test_the_manuals_expressions_are_valid(void **state)
{
	char *text, *rules = NULL;
	size_t length;
	FILE *file;
	int count = 0;

	skip_without_promtool();
	text = printed_manual();
	file = open_memstream(&rules, &length);
	fputs("groups:\n- name: manual\n  rules:\n", file);
	for (char *at = strchr(text, '`'); at; at = strchr(at, '`')) {
		size_t span = strcspn(++at, "`");

		if (memchr(at, '(', span))
			fprintf(file, "  - record: manual:%d\n    expr: |-\n      %.*s\n", count++,
				(int)span, at);
		at += span + 1;
	}
	fclose(file);
	assert_true(count > 10);
	ask_promtool("rules", rules);
	free(rules);
	free(text);
}

static void test_rows_are_well_formed(void **state)
{
	for (size_t i = 0; i < metrics_family_count; i++) {
		const struct metrics_family *family = &metrics_families[i];
		bool total = strlen(family->name) > 6 &&
			     strcmp(family->name + strlen(family->name) - 6, "_total") == 0;

		assert_int_equal(total, family->type == METRICS_COUNTER);
		assert_true((family->write != NULL) != (family->write_partition != NULL));
		assert_int_equal(family->help[strlen(family->help) - 1], '.');
		assert_null(strpbrk(family->help, "\\\n`|"));
		assert_null(strpbrk(family->reading, "\n|"));
		if (family->unit[0])
			assert_non_null(strstr(family->name, family->unit));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(family->name, metrics_families[j].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_value_lands_in_its_bucket),
		cmocka_unit_test(test_bounds_suit_the_search),
		cmocka_unit_test(test_bounds_that_are_promised),
		cmocka_unit_test(test_observations_add_up),
		cmocka_unit_test(test_errnos_beyond_the_places_are_others),
		cmocka_unit_test(test_errnos_of_two_threads),
		cmocka_unit_test(test_says_what_was_counted),
		cmocka_unit_test(test_has_what_is_promised),
		cmocka_unit_test(test_not_ours_is_absent_not_wrong),
		cmocka_unit_test(test_not_known_is_absent_not_wrong),
		cmocka_unit_test(test_nothing_is_below_zero),
		cmocka_unit_test(test_counters_are_there_from_the_start),
		cmocka_unit_test(test_a_halt_outlives_the_lease),
		cmocka_unit_test(test_the_text_is_well_formed),
		cmocka_unit_test(test_may_be_read_while_it_counts),
		cmocka_unit_test(test_promtool_has_nothing_to_say),
		cmocka_unit_test(test_the_manual_is_up_to_date),
		cmocka_unit_test(test_the_manual_speaks_of_what_there_is),
		cmocka_unit_test(test_the_manuals_expressions_are_valid),
		cmocka_unit_test(test_rows_are_well_formed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
