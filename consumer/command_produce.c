/* `ledgerd produce`: events from standard input, or made up from a seed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "decode.h"
#include "generate.h"
#include "produce.h"

#define PROGRESS_EVERY 16384 /* messages between two looks at the clock */
#define PROGRESS_MS    200
#define PACE_US        500    /* a sleep when the next message is due later than this */
#define PACE_MAX_US    100000 /* ... and the longest, between two looks at the progress */

static const char *const examples[] = {
	"ledgerd produce < events.jsonl",
	"ledgerd produce --generate 1000000 --accounts 100000 --duplicates 0.01",
	NULL,
};

/* Up to this rate an event does not wait for others.  Beyond it, requests of a few events each cost
 * the broker more than the waiting saves: at 26,000 a second 28 us of CPU an event in place of 17.
 */
#define PROMPT_RATE_MAX 5000

struct run {
	struct producer *producer;
	const struct clock *clock;
	int64_t begin_us;
	int64_t shown_ms;
	int64_t total; /* -1: not known */
	int64_t sent;
	double rate; /* events a second at most; 0: as fast as can be */
	bool terminal;
};

/* Progress and pace ---------------------------------------------------------------------------- */

static int64_t elapsed_us(const struct run *run)
{
	return run->clock->now_us(run->clock) - run->begin_us;
}

static int64_t elapsed_ms(const struct run *run)
{
	return elapsed_us(run) / 1000;
}

static void show_progress(struct run *run)
{
	int64_t now_ms = elapsed_ms(run);

	if (!run->terminal || now_ms - run->shown_ms < PROGRESS_MS)
		return;
	run->shown_ms = now_ms;
	fprintf(stderr, "\r%" PRId64 " events", run->sent);
	if (run->total > 0)
		fprintf(stderr, " of %" PRId64 " (%" PRId64 " %%)", run->total,
			run->sent * 100 / run->total);
	fprintf(stderr, ", %.0f/s   ", (double)run->sent * 1000 / (double)(now_ms + 1));
}

/* Waits until the next message is due, or nearly: a sleep for each of many would cost more than the
 * messages, and half a millisecond's worth of them is no burst. */
static void keep_pace(struct run *run)
{
	double due_us = (double)run->sent * 1e6 / run->rate;
	double early_us;

	while ((early_us = due_us - (double)elapsed_us(run)) >= PACE_US) {
		usleep((useconds_t)(early_us < PACE_MAX_US ? early_us : PACE_MAX_US));
		show_progress(run);
	}
}

static int send(struct run *run, const char *key, size_t key_length, const char *value,
	size_t value_length, struct error *err)
{
	int rc = producer_send(run->producer, key, key_length, value, value_length, err);

	run->sent++;
	if (run->rate > 0)
		keep_pace(run);
	else if (run->sent % PROGRESS_EVERY == 0)
		show_progress(run);
	return rc;
}

/* Where the events come from ------------------------------------------------------------------- */

static int send_generated(struct run *run, struct generate *gen, struct error *err)
{
	struct generated message;
	int rc = 0;

	while (rc == 0 && generate_next(gen, &message))
		rc = send(run, message.key, message.key_length, message.value, message.value_length,
			err);
	return rc;
}

static int send_line(
	struct run *run, const char *line, size_t length, int64_t number, struct error *err)
{
	struct event event;
	const char *detail;
	char key[24];
	int key_length;

	if (decode_event(line, length, 0, &event, &detail) != DEAD_NONE)
		return error_set(err, -EINVAL,
			"line %" PRId64
			" is no balance event: %s; the lines before it were published, "
			"this one and those after it were not",
			number, detail);
	key_length = snprintf(key, sizeof key, "%" PRId64, event.account_id);
	return send(run, key, (size_t)key_length, line, length, err);
}

static int send_lines(struct run *run, FILE *file, struct error *err)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length;
	int64_t number = 0;
	int rc = 0;

	while (rc == 0 && (length = getline(&line, &size, file)) > 0) {
		number++;
		if (line[length - 1] == '\n')
			length--;
		if (length > 0)
			rc = send_line(run, line, (size_t)length, number, err);
	}
	if (rc == 0 && ferror(file))
		rc = error_set(err, -EIO, "reading standard input: %s", strerror(errno));
	free(line);
	return rc;
}

/* The command ---------------------------------------------------------------------------------- */

static int finish(struct run *run, int rc, struct error *err)
{
	struct error late;
	int late_rc = producer_finish(run->producer, &late);
	int64_t ms = elapsed_ms(run) + 1;
	int64_t acknowledged = producer_acknowledged(run->producer);

	if (run->terminal)
		fputc('\n', stderr);
	printf("%" PRId64 " events acknowledged in %.1f s, %.0f/s\n", acknowledged,
		(double)ms / 1000, (double)acknowledged * 1000 / (double)ms);
	/* Messages that were not acknowledged are worse news than a line that was not sent. */
	if (late_rc != 0) {
		rc = late_rc;
		*err = late;
	}
	return rc;
}

/* gen NULL: from standard input. */
static int produce(const struct config *config, struct generate *gen, double rate)
{
	struct run run = {
		.clock = &clock_system,
		.total = gen ? gen->config.count : -1,
		.rate = rate,
		.terminal = isatty(STDERR_FILENO),
	};
	struct error err;
	bool prompt = rate > 0 && rate <= PROMPT_RATE_MAX;
	int rc = producer_create(config, prompt, &run.producer, &err);

	if (rc != 0)
		return command_failed("produce", &err), rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	run.begin_us = run.clock->now_us(run.clock);
	rc = gen ? send_generated(&run, gen, &err) : send_lines(&run, stdin, &err);
	rc = finish(&run, rc, &err);
	producer_destroy(run.producer);
	return rc == 0 ? EXIT_DONE : command_failed("produce", &err);
}

static int produce_generated(
	const struct config *config, const struct generate_config *generate, double rate)
{
	struct generate gen;
	struct error err;
	int status;

	if (generate_init(&gen, generate, &err) != 0)
		return command_failed("produce", &err), EXIT_USAGE;
	status = produce(config, &gen, rate);
	generate_finish(&gen);
	return status;
}

/* "USDT,BTC" in place; returns how many, or 0 if there are too many. */
static size_t split_currencies(char *text, const char **currencies)
{
	size_t count = 0;
	char *rest = NULL;

	for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		if (count == GENERATE_CURRENCIES_MAX)
			return 0;
		currencies[count++] = word;
	}
	return count;
}

int command_produce(int argc, char **argv)
{
	struct generate_config generate = generate_defaults;
	const char *currencies[GENERATE_CURRENCIES_MAX];
	const char *currency_list = "USDT";
	char *currency_words;
	int64_t seed = 1;
	int64_t decimals = generate.decimals;
	double rate = 0;
	bool generated = false;
	bool started = false;
	const struct args_option table[] = {
		{"generate", ARGS_INTEGER, "N", "make up N events in place of reading them",
			&generate.count, 0, INT64_C(1000000000000), &generated},
		{"accounts", ARGS_INTEGER, "N", "over accounts 1 to N (default 100000)",
			&generate.accounts, 1, GENERATE_ACCOUNTS_MAX, NULL},
		{"zipf", ARGS_REAL, "S", "unevenly, with this exponent (default 0: evenly)",
			&generate.zipf, 0, 0, NULL},
		{"seed", ARGS_INTEGER, "N", "the same seed makes the same events (default 1)",
			&seed, 0, INT64_MAX, NULL},
		{"rate", ARGS_REAL, "N", "events a second at most (default: as fast as it goes)",
			&rate, 0, 0, NULL},
		{"start-ms", ARGS_INTEGER, "MS", "time of the first event (default now)",
			&generate.start_ms, 0, EVENT_TIME_MAX_MS, &started},
		{"random-ids", ARGS_FLAG, NULL, "ids that are not ordered by time",
			&generate.random_ids, 0, 0, NULL},
		{"duplicates", ARGS_FRACTION, "R", "this share is sent twice (default 0)",
			&generate.duplicates, 0, 0, NULL},
		{"overdrafts", ARGS_FRACTION, "R", "this share withdraws too much (default 0)",
			&generate.overdrafts, 0, 0, NULL},
		{"malformed", ARGS_FRACTION, "R", "this share is no event at all (default 0)",
			&generate.malformed, 0, 0, NULL},
		{"currencies", ARGS_TEXT, "LIST", "such as USDT,BTC (default USDT)", &currency_list,
			0, 0, NULL},
		{"decimals", ARGS_INTEGER, "N", "of the amounts, 2 to 8 (default 2)", &decimals,
			GENERATE_DECIMALS_MIN, GENERATE_DECIMALS_MAX, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "ledgerd produce",
		.usage = "[OPTION...]",
		.summary =
			"Publishes balance events, JSON lines on standard input or made up from a seed,\n"
			"each under its account's key, and waits until Kafka has acknowledged all.",
		.options = table,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	currency_words = strdup(currency_list);
	generate.currency_count = split_currencies(currency_words, currencies);
	generate.currencies = currencies;
	generate.seed = (uint64_t)seed;
	generate.decimals = (int)decimals;
	if (!started)
		generate.start_ms = clock_system.wall_ms(&clock_system);
	status = generated ? produce_generated(&config, &generate, rate)
			   : produce(&config, NULL, rate);
	free(currency_words);
	command_end(&config);
	return status;
}
