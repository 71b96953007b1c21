/*
 * `ledgerd replay`.
 *
 * The work is replay.h's; here are the servers, the lease, and what people see.  With --apply a
 * thread of its own keeps the lease, whatever a step takes.  SIGINT and SIGTERM are blocked and
 * asked for between two steps, so nothing is ever cut off: a transaction that has begun is brought
 * to its end, and the partition is given back.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "clock.h"
#include "command.h"
#include "lease_borrow.h"
#include "lease_store_mysql.h"
#include "log.h"
#include "replay_report.h"
#include "same_log.h"
#include "servers.h"
#include "signals.h"
#include "store_mysql.h"
#include "topic_kafka.h"
#include "who.h"

#define READER_TTL_MS 3600000 /* nobody waits for the reader's locks: it has none */
#define BLOCK_ROWS    16384
#define PROGRESS_MS   500
#define PAUSE_MS_MAX  200 /* between two looks at signals */
#define RETURN_TRIES  5

static const char *const examples[] = {
	"ledgerd replay --partition 3 --from-offset 120000",
	"ledgerd replay --partition 3 --from-offset 120000 --to-offset 130000 --apply",
	NULL,
};

struct line {
	int64_t partition;
	int64_t from_offset;
	int64_t to_offset;
	bool partition_given;
	bool from_given;
	bool apply;
	bool json;
};

/* What the keeper's thread lets others know of the lease. */
struct lease {
	enum lease_borrow_state state;
	int64_t epoch;
	char rival[LEASE_CONSUMER_ID_MAX + 1];
};

/* The lease, and the thread that keeps it: the borrow's one driver. */
struct keeper {
	struct lease_store *store;
	struct lease_borrow *borrow;
	pthread_t thread;
	atomic_bool stop;
	pthread_mutex_t lock;
	struct lease lease; /* under the lock */
};

struct command_replay {
	const struct config *cfg;
	const struct line *line;
	struct ledger_meta meta;
	struct kafka_client *kafka;
	struct topic *topic;
	struct store *reader;
	struct store *writer;
	struct flush flush;
	struct keeper keeper;
	struct replay replay;
	char who[WHO_MAX];
	int64_t shown_ms;
	bool shown;
};

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

static void pause_ms(int64_t ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

/* Signals ------------------------------------------------------------------------------------- */

static bool told_to_end(void)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, SIGINT) || sigismember(&set, SIGTERM);
}

/* The lease ----------------------------------------------------------------------------------- */

static void publish_lease(struct keeper *keeper)
{
	const struct lease_borrow *borrow = keeper->borrow;

	pthread_mutex_lock(&keeper->lock);
	keeper->lease.state = lease_borrow_state(borrow);
	keeper->lease.epoch = lease_borrow_epoch(borrow);
	snprintf(keeper->lease.rival, sizeof keeper->lease.rival, "%s", lease_borrow_rival(borrow));
	pthread_mutex_unlock(&keeper->lock);
}

static struct lease look_at_lease(struct keeper *keeper)
{
	struct lease lease;

	pthread_mutex_lock(&keeper->lock);
	lease = keeper->lease;
	pthread_mutex_unlock(&keeper->lock);
	return lease;
}

static void *keep(void *argument)
{
	struct keeper *keeper = argument;
	struct error err;
	bool failed;

	while (!atomic_load(&keeper->stop)) {
		int64_t wait_ms = lease_borrow_tick(keeper->borrow, now_ms(), &failed, &err);

		publish_lease(keeper);
		if (failed)
			log_warn("replay: the lease's store failed", LS("error", err.text));
		pause_ms(wait_ms < PAUSE_MS_MAX ? wait_ms + 1 : PAUSE_MS_MAX);
	}
	db_thread_end();
	return NULL;
}

static bool lease_valid(void *context, int64_t at_ms)
{
	return lease_borrow_valid(((struct keeper *)context)->borrow, at_ms);
}

static int keeper_start(struct command_replay *c, struct error *err)
{
	struct keeper *keeper = &c->keeper;
	struct db_options options;
	char name[LEASE_CONSUMER_ID_MAX + 1];
	int rc;

	snprintf(name, sizeof name, "replay %.80s %ld-%08" PRIx32, c->who, (long)getpid(),
		randombytes_random());
	servers_db_options(c->cfg, &options);
	keeper->store = lease_store_mysql_create(&options, c->cfg->lease.ttl_ms);
	keeper->borrow = lease_borrow_create(
		keeper->store, name, (int32_t)c->line->partition, c->cfg->lease.ttl_ms);
	atomic_init(&keeper->stop, false);
	pthread_mutex_init(&keeper->lock, NULL);
	publish_lease(keeper);
	rc = pthread_create(&keeper->thread, NULL, keep, keeper);
	if (rc == 0)
		return 0;
	lease_borrow_destroy(keeper->borrow);
	keeper->borrow = NULL;
	return error_set(err, -rc, "no thread can be started: %s", strerror(rc));
}

/* Whatever happened, the partition goes back. */
static void keeper_stop(struct keeper *keeper)
{
	struct error err;

	if (keeper->borrow) {
		atomic_store(&keeper->stop, true);
		pthread_join(keeper->thread, NULL);
		for (int i = 0; i < RETURN_TRIES; i++) {
			if (lease_borrow_return(keeper->borrow, &err) == 0)
				break;
			pause_ms(PAUSE_MS_MAX);
		}
		if (lease_borrow_state(keeper->borrow) != LEASE_BORROW_ENDED)
			log_warn("replay: the partition could not be given back; its lease expires "
				 "by itself",
				LS("error", err.text));
		lease_borrow_destroy(keeper->borrow);
	}
	if (keeper->store)
		keeper->store->ops->destroy(keeper->store);
}

/* What people see ----------------------------------------------------------------------------- */

static void clear_progress(struct command_replay *c)
{
	if (c->shown)
		fputs("\r\033[K", stderr);
	c->shown = false;
}

static bool progress_due(struct command_replay *c)
{
	if (!isatty(STDERR_FILENO) || now_ms() - c->shown_ms < PROGRESS_MS)
		return false;
	c->shown_ms = now_ms();
	c->shown = true;
	return true;
}

static void show_progress(struct command_replay *c)
{
	static const char *const doing[REPLAY_STEPS] = {
		[REPLAY_FIND] = "reading the log",
		[REPLAY_CHAINS] = "reading the accounts' rows",
		[REPLAY_BALANCES] = "reading balances",
		[REPLAY_ROWS] = "reading broken accounts",
		[REPLAY_RESOLVE] = "deciding",
		[REPLAY_WRITE] = "writing",
		[REPLAY_FLUSH] = "writing",
	};
	const struct replay *r = &c->replay;
	int64_t written = 0;

	if (!progress_due(c))
		return;
	for (int i = 0; i < REPLAY_VERDICTS; i++)
		written += r->counts.written[i];
	fprintf(stderr,
		"\r\033[K%s: %" PRId64 " messages, %zu without an outcome, %" PRId64 " written",
		doing[r->step] ? doing[r->step] : "beginning", r->counts.looked,
		r->table.candidate_count, written);
	fflush(stderr);
}

static void show_waiting(struct command_replay *c, const struct lease *lease)
{
	if (progress_due(c))
		fprintf(stderr, "\r\033[Kwaiting for partition %" PRId64 " from %s",
			c->line->partition, lease->rival);
}

static void say_end(struct command_replay *c)
{
	const struct replay *r = &c->replay;
	char written[160];

	if (c->line->json) {
		replay_report_json(r, stdout);
		return;
	}
	replay_report_written(r, written, sizeof written);
	if (c->line->apply && r->resolved)
		printf("%s: %s\n", r->rc == 0 ? "done" : "not finished", written);
	else if (r->rc == 0)
		puts("nothing was changed; --apply does it");
}

static void log_end(struct command_replay *c)
{
	const struct replay *r = &c->replay;

	if (c->line->apply)
		log_info("replay", LS("by", c->who), LI("partition", r->config.partition),
			LI("from_offset", r->config.from_offset), LI("to_offset", r->end),
			LI("rows_restored", r->counts.written[REPLAY_RESTORE_ROW]),
			LI("dead_letters_restored", r->counts.written[REPLAY_RESTORE_LETTER]),
			LI("decided", r->counts.written[REPLAY_DECIDE]),
			LI("left_alone",
				r->counts.verdicts[REPLAY_UNDECIDED] + r->counts.conflicts),
			LS("result", r->rc == 0 ? "done" : r->error.text));
}

/* The work ------------------------------------------------------------------------------------ */

static int interrupted(struct error *err)
{
	return error_set(err, -EINTR, "interrupted while it waited for the partition");
}

static int borrow(struct command_replay *c, struct error *err)
{
	int rc = keeper_start(c, err);

	if (rc != 0)
		return rc;
	for (;;) {
		struct lease lease = look_at_lease(&c->keeper);

		if (lease.state != LEASE_BORROW_ASKING)
			clear_progress(c);
		switch (lease.state) {
		case LEASE_BORROW_ASKING:
			break;
		case LEASE_BORROW_HELD:
			return 0;
		case LEASE_BORROW_REFUSED:
			return error_set(err, -EBUSY,
				"partition %" PRId64 " is asked for by another one: %s",
				c->line->partition, lease.rival);
		case LEASE_BORROW_LOST:
		case LEASE_BORROW_ENDED:
			return error_set(err, -ESTALE,
				"partition %" PRId64 " was lost again at once; run it again",
				c->line->partition);
		}
		if (told_to_end())
			return interrupted(err);
		show_waiting(c, &lease);
		pause_ms(20);
	}
}

static void replay_configure(struct command_replay *c)
{
	struct replay_config config = {
		.partition = (int32_t)c->line->partition,
		.partitions = c->meta.partitions,
		.from_offset = c->line->from_offset,
		.to_offset = c->line->to_offset,
		.apply = c->line->apply,
		.epoch = c->line->apply ? look_at_lease(&c->keeper).epoch : 0,
		.bytes_max = (size_t)config_memory_bytes(c->cfg) / 4 * 3,
		.batch_max_events = (size_t)c->cfg->consumer.batch_max_events,
		.batch_max_bytes = (size_t)c->cfg->consumer.batch_max_bytes,
		.block_rows = BLOCK_ROWS,
	};
	struct replay_edges edges = {
		.reader = c->reader,
		.flush = &c->flush,
		.topic = c->topic,
		.clock = &clock_system,
		.lease_valid = lease_valid,
		.context = &c->keeper,
	};

	memcpy(config.key, c->meta.dedupe_key, sizeof config.key);
	randombytes_buf(&config.seed, sizeof config.seed);
	replay_init(&c->replay, &config, &edges);
}

/* Says what it will do before the first row is written. */
static void drive(struct command_replay *c)
{
	struct replay *r = &c->replay;
	bool said = c->line->json;
	int64_t wait_ms;

	while (!replay_ended(r)) {
		wait_ms = replay_step(r);
		if (r->resolved && !said) {
			clear_progress(c);
			replay_report_print(r, stdout);
			fflush(stdout);
			said = true;
		}
		if (told_to_end())
			replay_interrupt(r);
		show_progress(c);
		if (wait_ms > 0 && !replay_ended(r))
			pause_ms(wait_ms < PAUSE_MS_MAX ? wait_ms : PAUSE_MS_MAX);
	}
	clear_progress(c);
}

static int work(struct command_replay *c, struct error *err)
{
	int rc = c->line->apply ? borrow(c, err) : 0;

	if (rc != 0)
		return rc;
	replay_configure(c);
	drive(c);
	say_end(c);
	log_end(c);
	rc = c->replay.rc;
	*err = c->replay.error;
	replay_finish(&c->replay);
	return rc;
}

/* The servers --------------------------------------------------------------------------------- */

static int read_meta(struct command_replay *c, struct error *err)
{
	struct db_options options;

	servers_db_options(c->cfg, &options);
	options.local_infile = c->line->apply;
	return ledger_meta_fetch(&options, (int32_t)c->line->partition, &c->meta, err);
}

static int open_servers(struct command_replay *c, struct error *err)
{
	struct db_options options;
	int rc = read_meta(c, err);

	if (rc == 0)
		rc = kafka_client_create(c->cfg, &c->kafka, err);
	if (rc == 0)
		rc = same_log(c->kafka, c->cfg, &c->meta, err);
	if (rc != 0)
		return rc;
	servers_db_options(c->cfg, &options);
	c->reader = store_mysql_create(&options, READER_TTL_MS);
	c->writer = store_mysql_create(&options, c->cfg->lease.ttl_ms);
	c->topic = topic_kafka_create(c->kafka, (int32_t)c->line->partition);
	flush_init(&c->flush, c->writer, randombytes_random());
	return 0;
}

static void close_servers(struct command_replay *c)
{
	if (c->topic) {
		flush_finish(&c->flush); /* its transactions end before the lease does */
		c->topic->ops->destroy(c->topic);
		c->reader->ops->destroy(c->reader);
		c->writer->ops->destroy(c->writer);
	}
	keeper_stop(&c->keeper);
	if (c->kafka)
		kafka_client_destroy(c->kafka);
}

static int run(const struct config *cfg, const struct line *line)
{
	struct command_replay c = {.cfg = cfg, .line = line};
	struct error err;
	int rc;

	signals_block();
	who_text(c.who);
	rc = open_servers(&c, &err);
	if (rc == 0)
		rc = work(&c, &err);
	close_servers(&c);
	return rc == 0 ? EXIT_DONE : command_failed("replay", &err);
}

static bool check_line(const struct line *line)
{
	const char *missing = !line->partition_given ? "--partition P" : "--from-offset N";

	if (!line->partition_given || !line->from_given) {
		fprintf(stderr, "ledgerd replay: %s is needed\n", missing);
		return false;
	}
	if (line->to_offset >= 0 && line->to_offset < line->from_offset) {
		fprintf(stderr, "ledgerd replay: --to-offset is below --from-offset\n");
		return false;
	}
	return true;
}

int command_replay(int argc, char **argv)
{
	struct line line = {.to_offset = -1};
	const struct args_option options[] = {
		{"partition", ARGS_INTEGER, "P", "the partition", &line.partition, 0, INT32_MAX,
			&line.partition_given},
		{"from-offset", ARGS_INTEGER, "N", "the first offset", &line.from_offset, 0,
			BALANCE_OFFSET_MAX, &line.from_given},
		{"to-offset", ARGS_INTEGER, "M", "the offset behind the last (default next_offset)",
			&line.to_offset, 0, BALANCE_OFFSET_MAX, NULL},
		{"apply", ARGS_FLAG, NULL, "do it; without, it is only shown", &line.apply, 0, 0,
			NULL},
		{"json", ARGS_FLAG, NULL, "the result as one JSON object, every offset named",
			&line.json, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "ledgerd replay",
		.usage = "--partition P --from-offset N [--to-offset M] [--apply] [--json]",
		.summary =
			"Compares the log with the journal.  Rows and dead letters that are missing are\n"
			"restored; skipped events are decided on today's balances; what can be told\n"
			"neither way is named and left alone.  Only what is in the range is written;\n"
			"where an account's rows are missing, what is outside is read as well.  With\n"
			"--apply it asks the owner for the partition and gives it back; interrupted, it\n"
			"can be run again.",
		.options = options,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = check_line(&line) ? run(&config, &line) : EXIT_USAGE;
	command_end(&config);
	return status;
}
