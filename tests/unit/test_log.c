/*
 * The log: that every line is one line and says what was meant, whatever the values hold, and that
 * a storm of warnings is counted and not lost.  JSON lines are read back by jansson.
 */
#include "log.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define REPEAT_MS 1000

static struct log log_;
static int64_t now_ms;
static int output; /* a file, so that nothing that is written waits for a reader */

static int64_t test_clock(void)
{
	return now_ms;
}

static int64_t test_wall(void)
{
	return INT64_C(1767225600007) + now_ms; /* 2026-01-01T00:00:00.007Z */
}

static void begin(enum log_level level, enum log_format format, int64_t repeat_ms)
{
	char path[] = "/tmp/test_log.XXXXXX";

	output = mkstemp(path);
	assert_true(output >= 0);
	unlink(path);
	now_ms = 0;
	log_init(&log_, output, level, format, repeat_ms);
	log_.monotonic_ms = test_clock;
	log_.wall_ms = test_wall;
	log_use(&log_);
}

/* What was written since the last call; good until the next. */
static const char *written(void)
{
	static char text[256 * 1024];
	ssize_t length = pread(output, text, sizeof(text) - 1, 0);

	assert_true(length >= 0);
	text[length] = '\0';
	assert_int_equal(ftruncate(output, 0), 0);
	assert_int_equal(lseek(output, 0, SEEK_SET), 0);
	return text;
}

static void end(void)
{
	log_finish(&log_);
	close(output);
}

static void assert_one_line(const char *text)
{
	assert_non_null(strchr(text, '\n'));
	assert_int_equal(strcspn(text, "\n"), strlen(text) - 1);
	assert_in_range(strlen(text), 1, LOG_LINE_MAX);
}

static void test_logfmt(void **state)
{
	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, 0);
	log_info("started");
	assert_string_equal(written(), "ts=2026-01-01T00:00:00.007Z level=info msg=started\n");
	now_ms = 1500;
	log_warn("flush failed", LI("partition", 3), LS("error", "no \"such\" table"),
		LB("again", true), LF("seconds", 0.25), LU("epoch", UINT64_MAX),
		LI("least", INT64_MIN));
	assert_string_equal(written(),
		"ts=2026-01-01T00:00:01.507Z level=warn msg=\"flush failed\" partition=3 "
		"error=\"no \\\"such\\\" table\" again=true seconds=0.25 "
		"epoch=18446744073709551615 "
		"least=-9223372036854775808\n");
	end();
}

static void test_json(void **state)
{
	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON, 0);
	log_error("flush failed", LI("partition", 3), LS("error", "a\nb"), LB("again", false),
		LF("seconds", 1e9), LF("none", NAN), LS("absent", NULL));
	assert_string_equal(written(),
		"{\"ts\":\"2026-01-01T00:00:00.007Z\",\"level\":\"error\",\"msg\":\"flush failed\","
		"\"partition\":3,\"error\":\"a\\nb\",\"again\":false,\"seconds\":1e+09,\"none\":"
		"null,"
		"\"absent\":null}\n");
	end();
}

static int evaluated;

static int count_evaluation(void)
{
	return ++evaluated;
}

static void test_levels(void **state)
{
	(void)state;
	begin(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT, 0);
	evaluated = 0;
	log_debug("a", LI("n", count_evaluation()));
	log_info("b", LI("n", count_evaluation()));
	assert_string_equal(written(), "");
	assert_int_equal(evaluated, 0);
	log_warn("c", LI("n", count_evaluation()));
	log_error("d", LI("n", count_evaluation()));
	assert_int_equal(evaluated, 2);
	assert_true(log_wanted(LOG_LEVEL_ERROR));
	assert_false(log_wanted(LOG_LEVEL_INFO));
	written();
	end();
}

static const struct {
	const char *bytes;
	size_t length;
	const char *logfmt;  /* as it stands in the line */
	const char *decoded; /* as JSON gives it back */
} values[] = {
	{"", 0, "\"\"", ""},
	{"plain-1.2/3", 11, "plain-1.2/3", "plain-1.2/3"},
	{"null", 4, "\"null\"", "null"},
	{"a b", 3, "\"a b\"", "a b"},
	{"a=b", 3, "\"a=b\"", "a=b"},
	{"\"", 1, "\"\\\"\"", "\""},
	{"\\", 1, "\"\\\\\"", "\\"},
	{"x\nlevel=error msg=forged", 24, "\"x\\nlevel=error msg=forged\"",
		"x\nlevel=error msg=forged"},
	{"\r\t\x1b[31m", 7, "\"\\r\\t\\u001b[31m\"", "\r\t\x1b[31m"},
	{"\x7f", 1, "\"\\u007f\"", "\x7f"},
	{"\xc2\x9b", 2, "\"\\u009b\"", "\xc2\x9b"},              /* a C1 control */
	{"\xc3\xa4", 2, "\"\xc3\xa4\"", "\xc3\xa4"},             /* a-umlaut */
	{"\xe2\x82\xac", 3, "\"\xe2\x82\xac\"", "\xe2\x82\xac"}, /* the Euro sign */
	{"\xf0\x9f\x92\xb6", 4, "\"\xf0\x9f\x92\xb6\"", "\xf0\x9f\x92\xb6"},
	{"\xff", 1, "\"\xef\xbf\xbd\"", "\xef\xbf\xbd"},
	{"\xc3", 1, "\"\xef\xbf\xbd\"", "\xef\xbf\xbd"},                             /* cut short */
	{"\xc0\x80", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"", "\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
	{"\xe0\x80\x80", 3, NULL, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	{"\xed\xa0\x80", 3, NULL, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
	{"\xf4\x90\x80\x80", 4, NULL, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	{"a\xe2\x82z", 4, NULL, "a\xef\xbf\xbd\xef\xbf\xbdz"},
};

static void test_values_are_escaped(void **state)
{
	char expected[200];

	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, 0);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const char *text;

		log_info("m", LT("v", values[i].bytes, values[i].length), LI("n", 1));
		snprintf(expected, sizeof(expected), " v=%s n=1\n", values[i].logfmt);
		text = written();
		assert_one_line(text);
		if (values[i].logfmt)
			assert_string_equal(strstr(text, " v="), expected);
	}
	end();
}

/* The text of a field of a JSON line; freed by the caller. */
static char *decoded(const char *line, const char *key)
{
	json_error_t error;
	json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, &error);
	char *text;

	if (!root)
		fail_msg("%s in %s", error.text, line);
	if (!json_is_string(json_object_get(root, key)))
		fail_msg("no text %s in %s", key, line);
	text = strdup(json_string_value(json_object_get(root, key)));
	json_decref(root);
	return text;
}

static void test_values_are_json(void **state)
{
	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON, 0);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const char *text;
		char *value;

		log_info("m", LT("v", values[i].bytes, values[i].length), LI("n", 1));
		text = written();
		assert_one_line(text);
		value = decoded(text, "v");
		assert_string_equal(value, values[i].decoded);
		free(value);
	}
	end();
}

/* Texts of every length around the limit, of characters of every width, alone and after another. */
static void test_long_lines_stay_whole(void **state)
{
	static const char *const fillers[] = {"x", "\n", "\x01", "\xe2\x82\xac", "\xff"};
	char text[3 * LOG_LINE_MAX];

	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON, 0);
	for (size_t f = 0; f < sizeof(fillers) / sizeof(fillers[0]); f++) {
		for (size_t count = 600; count < LOG_LINE_MAX + 10;
			count += count < 3800 ? 97 : 1) {
			size_t width = strlen(fillers[f]);
			const char *line;
			char *value;

			for (size_t i = 0; i < count && (i + 1) * width < sizeof(text); i++)
				memcpy(text + i * width, fillers[f], width + 1);
			log_warn("m", LS("first", text), LS("second", text), LI("n", 1));
			line = written();
			assert_one_line(line);
			value = decoded(line, "first");
			if (!strstr(line, "\"truncated\":true"))
				assert_non_null(strstr(line, ",\"n\":1}"));
			assert_in_range(strlen(value), f == 2 ? 500 : 600, sizeof(text));
			free(value);
		}
	}
	end();
	begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, 0);
	memset(text, 'x', LOG_LINE_MAX);
	text[LOG_LINE_MAX] = '\0';
	log_warn("m", LS("first", text), LI("n", 1));
	assert_one_line(written());
	end();
}

static void test_repeated_warnings_are_counted(void **state)
{
	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, REPEAT_MS);
	for (int i = 0; i < 5; i++, now_ms += 100)
		log_warn("retry", LI("partition", 1), LS("error", "gone"), LI("attempt", i));
	assert_string_equal(written(),
		"ts=2026-01-01T00:00:00.007Z level=warn msg=retry partition=1 "
		"error=gone attempt=0\n");
	now_ms = REPEAT_MS;
	log_warn("retry", LI("partition", 1), LS("error", "gone"), LI("attempt", 5));
	assert_string_equal(written(),
		"ts=2026-01-01T00:00:01.007Z level=warn msg=retry partition=1 "
		"error=gone attempt=5 repeated=5\n");
	now_ms = 2 * REPEAT_MS;
	log_warn("retry", LI("partition", 1), LS("error", "gone"), LI("attempt", 6));
	assert_string_equal(written(),
		"ts=2026-01-01T00:00:02.007Z level=warn msg=retry partition=1 "
		"error=gone attempt=6\n");
	end();
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static void test_different_entries_are_not_held_back(void **state)
{
	(void)state;
	begin(LOG_LEVEL_DEBUG, LOG_FORMAT_LOGFMT, REPEAT_MS);
	log_warn("retry", LI("partition", 1), LS("error", "gone"));
	log_warn("retry", LI("partition", 2), LS("error", "gone"));
	log_warn("retry", LI("partition", 1), LS("error", "full"));
	log_warn("retry", LI("partition", 1), LS("reason", "gone"));
	log_warn("again", LI("partition", 1), LS("error", "gone"));
	log_error("retry", LI("partition", 1), LS("error", "gone"));
	assert_int_equal(count_lines(written()), 6);
	for (int i = 0; i < 3; i++) {
		log_info("applied", LI("version", i));
		log_debug("polled");
	}
	assert_int_equal(count_lines(written()), 6);
	end();
}

/* After a storm there may be silence; what was held back is written all the same. */
static void test_nothing_is_lost(void **state)
{
	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON, REPEAT_MS);
	for (int i = 0; i < 4; i++)
		log_warn("retry", LI("attempt", i));
	written();
	log_tick();
	assert_string_equal(written(), "");
	now_ms = REPEAT_MS;
	log_tick();
	assert_string_equal(written(), "{\"ts\":\"2026-01-01T00:00:01.007Z\",\"level\":\"warn\","
				       "\"msg\":\"retry\",\"attempt\":3,\"repeated\":3}\n");
	log_tick();
	assert_string_equal(written(), "");

	log_warn("retry", LI("attempt", 4));
	log_warn("retry", LI("attempt", 5));
	written();
	now_ms = 3 * REPEAT_MS;
	log_error("another");
	assert_non_null(strstr(written(), "\"attempt\":5}"));

	log_error("last");
	log_error("last");
	written();
	log_finish(&log_);
	assert_non_null(strstr(written(), "\"msg\":\"last\"}"));
	close(output);
}

/* Sums up what the lines stand for: as many as were logged, with more messages than are watched. */
static void test_counts_add_up(void **state)
{
	enum { ENTRIES = 5000, MESSAGES = 3 * LOG_REPEATS };
	uint64_t random = 42;
	size_t sum = 0;
	FILE *file;
	char line[LOG_LINE_MAX];

	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, REPEAT_MS);
	for (int i = 0; i < ENTRIES; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
		now_ms += random >> 60;
		log_warn("retry", LI("partition", (int64_t)(random >> 33) % MESSAGES));
	}
	log_finish(&log_);
	file = fdopen(output, "r");
	rewind(file);
	while (fgets(line, sizeof(line), file)) {
		const char *repeated = strstr(line, "repeated=");

		sum += repeated ? strtoul(repeated + 9, NULL, 10) : 1;
	}
	fclose(file);
	assert_int_equal(sum, ENTRIES);
}

enum { THREADS = 4, LINES = 500 };

static void *log_lines(void *context)
{
	char text[300];

	memset(text, 'a' + (int)(intptr_t)context, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < LINES; i++) {
		log_info("m", LS("text", text));
		log_warn("w", LI("partition", i % 100));
	}
	return NULL;
}

static void test_threads_do_not_mix_lines(void **state)
{
	pthread_t threads[THREADS];
	size_t infos = 0, warnings = 0;
	int ends[2];
	char line[LOG_LINE_MAX + 1];
	FILE *file;

	(void)state;
	begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON, REPEAT_MS);
	assert_int_equal(pipe(ends), 0);
	log_.fd = ends[1];
	file = fdopen(ends[0], "r");
	for (intptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_lines, (void *)i), 0);
	/* 100 partitions, but only LOG_REPEATS are watched: how many warnings come is not certain.
	 */
	while (infos < THREADS * LINES && fgets(line, sizeof(line), file)) {
		char *msg = decoded(line, "msg");

		if (strcmp(msg, "m") == 0) {
			char *text = decoded(line, "text");

			assert_int_equal(strlen(text), 299);
			assert_int_equal(strspn(text, (char[]){text[0], '\0'}), 299);
			infos++;
			free(text);
		} else {
			warnings++;
		}
		free(msg);
	}
	assert_int_equal(infos, THREADS * LINES);
	assert_true(warnings > 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_.fd = output;
	end();
	fclose(file);
	close(ends[1]);
}

/* Before main has made a log, and after it is gone, there is one. */
static void test_there_is_always_a_log(void **state)
{
	(void)state;
	log_use(NULL);
	assert_true(log_wanted(LOG_LEVEL_INFO));
	assert_false(log_wanted(LOG_LEVEL_DEBUG));
	log_tick();
	begin(LOG_LEVEL_ERROR, LOG_FORMAT_JSON, 0);
	assert_false(log_wanted(LOG_LEVEL_INFO));
	end();
	assert_true(log_wanted(LOG_LEVEL_INFO));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logfmt),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_values_are_escaped),
		cmocka_unit_test(test_values_are_json),
		cmocka_unit_test(test_long_lines_stay_whole),
		cmocka_unit_test(test_repeated_warnings_are_counted),
		cmocka_unit_test(test_different_entries_are_not_held_back),
		cmocka_unit_test(test_nothing_is_lost),
		cmocka_unit_test(test_counts_add_up),
		cmocka_unit_test(test_threads_do_not_mix_lines),
		cmocka_unit_test(test_there_is_always_a_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
