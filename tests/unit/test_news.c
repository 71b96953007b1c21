/* What the log says, and how often: read back from standard error. */
#include "fixture.h"

#include <unistd.h>

#include "log.h"
#include "news.h"

#define PARTITIONS 4
#define MINUTE_MS  60000

struct world {
	struct metrics metrics;
	struct news news;
	FILE *file;
	int saved;
	int64_t now_ms;
};

static struct world world;

static void begin(void)
{
	world = (struct world){.now_ms = 1000000};
	metrics_init(&world.metrics, PARTITIONS);
	news_init(&world.news, world.now_ms);
	world.file = tmpfile();
	world.saved = dup(STDERR_FILENO);
	dup2(fileno(world.file), STDERR_FILENO);
}

static void finish(void)
{
	dup2(world.saved, STDERR_FILENO);
	close(world.saved);
	fclose(world.file);
	news_finish(&world.news);
	metrics_finish(&world.metrics);
}

/* Lines so far that have this text. */
static int lines_with(const char *text)
{
	char line[2000];
	int count = 0;

	fflush(stderr);
	rewind(world.file);
	while (fgets(line, sizeof line, world.file))
		count += strstr(line, text) != NULL;
	fseek(world.file, 0, SEEK_END);
	return count;
}

static void set_random_ids(int64_t permille)
{
	for (int i = 0; i < PARTITIONS; i++)
		gauge_set(&world.metrics.partitions[i].random_ids, permille);
}

static void pass(int64_t ms)
{
	for (; ms > 0; ms -= 500) {
		world.now_ms += 500;
		news_look(&world.news, &world.metrics, world.now_ms);
	}
}

static void test_random_ids_are_told_once_an_hour(void **state)
{
	begin();
	set_random_ids(900);
	pass(MINUTE_MS - 1000);
	assert_int_equal(lines_with("UUIDv7"), 0);
	pass(MINUTE_MS);
	assert_int_equal(lines_with("UUIDv7"), 1);
	assert_int_equal(lines_with("percent=90"), 1);
	pass(58 * MINUTE_MS);
	assert_int_equal(lines_with("UUIDv7"), 1);
	pass(4 * MINUTE_MS);
	assert_int_equal(lines_with("UUIDv7"), 2);
	finish();
}

/* The first moments after a start, and partitions that cannot tell. */
static void test_what_is_not_lasting_is_not_told(void **state)
{
	begin();
	for (int i = 0; i < 10; i++) {
		set_random_ids(900);
		pass(MINUTE_MS / 2);
		set_random_ids(50);
		pass(MINUTE_MS);
		set_random_ids(-1);
		pass(MINUTE_MS);
	}
	assert_int_equal(lines_with("UUIDv7"), 0);
	finish();
}

static void set_partition(int i, int64_t epoch, int64_t next_offset, int64_t end)
{
	gauge_set(&world.metrics.partitions[i].epoch, epoch);
	gauge_set(&world.metrics.partitions[i].next_offset, next_offset);
	gauge_set(&world.metrics.partitions[i].high_watermark, end);
}

/* Partitions that are not ours, or not known yet, do not count. */
static void test_the_backlog_is_that_of_our_partitions(void **state)
{
	struct progress_report report;

	begin();
	set_partition(1, 0, 5, 900000000);
	set_partition(2, 8, -1, -1);
	for (int64_t i = 0; i <= 20; i++) {
		set_partition(0, 7, 1000 * i, 400000);
		set_partition(3, 9, 4000 * i, 400000);
		pass(1000);
	}
	report = news_backlog(&world.news);
	assert_int_equal(report.left, 700000);
	assert_int_equal(report.per_second, 5000);
	assert_int_equal(report.seconds, 140);
	assert_int_equal(lines_with("msg=\"catching up\""), 2);
	assert_int_equal(lines_with("events_per_second=5000"), 2);
	set_partition(0, 7, 400000, 400000);
	set_partition(3, 9, 400000, 400000);
	pass(1000);
	assert_int_equal(lines_with("msg=\"caught up\""), 1);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_ids_are_told_once_an_hour),
		cmocka_unit_test(test_what_is_not_lasting_is_not_told),
		cmocka_unit_test(test_the_backlog_is_that_of_our_partitions),
	};

	return cmocka_run_group_tests_name("news", tests, NULL, NULL);
}
