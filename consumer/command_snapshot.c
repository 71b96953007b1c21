/* `ledgerd snapshot rebuild`. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

#include "clock.h"
#include "command.h"
#include "ledger_meta.h"
#include "log.h"
#include "rebuild.h"
#include "redis_name.h"
#include "redis_scan.h"
#include "servers.h"
#include "snapshot_redis.h"
#include "store_mysql.h"
#include "who.h"

/* Of the database's session, while Redis is scanned.  Nobody waits for its locks: it has none. */
#define PATIENCE_MS 3600000
#define PROGRESS_MS 200

static const char *const examples[] = {
	"ledgerd snapshot rebuild",
	"ledgerd snapshot rebuild --partition 3 --json",
	NULL,
};

struct line {
	int64_t partition;
	bool json;
};

/* Everything that a rebuild needs, open. */
struct run {
	const struct config *config;
	const struct line *line;
	struct ledger_meta meta;
	struct store *store;
	struct snapshot *snapshot;
	struct redis_scan *scan;
	char server[300]; /* the database, for messages */
	char who[WHO_MAX];
	int64_t begin_ms;
	int64_t shown_ms;
	bool terminal;
};

static volatile sig_atomic_t interrupted;

static void note_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

/* Opening ---------------------------------------------------------------------------------------
 */

static int read_meta(struct run *run, struct error *err)
{
	struct db_options options;

	servers_db_options(run->config, &options);
	options.local_infile = false;
	return ledger_meta_fetch(&options, (int32_t)run->line->partition, &run->meta, err);
}

static int open_servers(struct run *run, struct error *err)
{
	struct db_options options;
	int rc = read_meta(run, err);

	if (rc != 0)
		return rc;
	servers_db_options(run->config, &options);
	servers_db_name(run->config, run->server, sizeof run->server);
	run->store = store_mysql_create(&options, PATIENCE_MS);
	if (run->store->ops->connect(run->store, err) != STORE_OK)
		return -1;
	run->snapshot = snapshot_redis_create(run->config);
	rc = run->snapshot->ops->connect(run->snapshot, err);
	if (rc == 0)
		rc = snapshot_redis_check(run->snapshot, err);
	if (rc == 0)
		rc = redis_scan_open(run->config, REDIS_NAME_PATTERN, &run->scan, err);
	return rc;
}

static void close_servers(struct run *run)
{
	redis_scan_close(run->scan);
	if (run->snapshot)
		run->snapshot->ops->destroy(run->snapshot);
	if (run->store)
		run->store->ops->destroy(run->store);
}

/* Saying ----------------------------------------------------------------------------------------
 */

static void say_before(const struct run *run)
{
	if (run->line->json)
		return;
	printf("Redis %s:%d is made equal to account_balances of %s on %s", run->config->redis.host,
		(int)run->config->redis.port, run->config->mysql.database, run->server);
	if (run->line->partition >= 0)
		printf(", for the accounts of partition %" PRId64, run->line->partition);
	puts(":\nbalances that are missing or behind are written, others that differ are set back,\n"
	     "keys of no balance are deleted.  Running instances may go on.");
	fflush(stdout);
}

static void show_progress(struct run *run, const struct rebuild_counts *counts)
{
	int64_t now = now_ms();

	if (!run->terminal || now - run->shown_ms < PROGRESS_MS)
		return;
	run->shown_ms = now;
	fprintf(stderr, "\r%" PRId64 " balances: %" PRId64 " written, %" PRId64 " mended   ",
		counts->written + counts->mended + counts->unchanged, counts->written,
		counts->mended);
}

static void print_json(const struct run *run, const struct rebuild_counts *counts,
	int64_t elapsed_ms, const char *failure)
{
	json_t *partition = run->line->partition < 0
				    ? json_null()
				    : json_integer((json_int_t)run->line->partition);
	json_t *root = json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:b, s:s?}", "partition",
		partition, "written", (json_int_t)counts->written, "mended",
		(json_int_t)counts->mended, "deleted", (json_int_t)counts->deleted, "unchanged",
		(json_int_t)counts->unchanged, "foreign", (json_int_t)counts->foreign, "by",
		run->who, "elapsed_ms", (json_int_t)elapsed_ms, "complete", failure == NULL,
		"failure", failure);
	char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;

	puts(text ? text : "{}");
	free(text);
	json_decref(root);
}

static void print_counts(const struct rebuild_counts *counts, int64_t elapsed_ms)
{
	printf("%" PRId64 " written, %" PRId64 " mended, %" PRId64 " keys deleted, %" PRId64
	       " unchanged, in %.1f s\n",
		counts->written, counts->mended, counts->deleted, counts->unchanged,
		(double)elapsed_ms / 1000);
	if (counts->foreign > 0)
		printf("%" PRId64 " keys are named balance:... but not " REDIS_NAME_FORM
		       " (the first: %s);\nthey were left alone: delete them by hand, or "
		       "`ledgerd verify` goes on to name them\n",
			counts->foreign, counts->foreign_key);
}

static void finish(struct run *run, const struct rebuild_counts *counts, const struct error *err)
{
	int64_t elapsed_ms = now_ms() - run->begin_ms;

	if (run->terminal)
		fputs("\r\033[K", stderr);
	log_info("snapshot rebuild", LS("by", run->who), LI("partition", run->line->partition),
		LB("complete", err == NULL), LI("written", counts->written),
		LI("mended", counts->mended), LI("deleted", counts->deleted),
		LI("unchanged", counts->unchanged), LI("foreign", counts->foreign),
		LI("elapsed_ms", elapsed_ms));
	if (run->line->json)
		print_json(run, counts, elapsed_ms, err ? err->text : NULL);
	else
		print_counts(counts, elapsed_ms);
	fflush(stdout);
}

/* Doing -----------------------------------------------------------------------------------------
 */

static int scan_keys(
	void *context, rebuild_key_fn *fn, void *fn_context, bool *ret_ended, struct error *err)
{
	return redis_scan_next(context, fn, fn_context, ret_ended, err);
}

/* An interrupt waits for the batch: a key that was just set back is looked at once more. */
static int rebuild_all(struct run *run, struct rebuild *r, struct error *err)
{
	bool done = false;
	int rc = 0;

	while (rc == 0 && !done) {
		if (interrupted && rebuild_between(r))
			return error_set(err, -1,
				"interrupted: what is written stays; begin again for the rest");
		rc = rebuild_step(r, &done, err);
		show_progress(run, rebuild_counts(r));
	}
	return rc;
}

static int rebuild(struct run *run, struct error *err)
{
	struct rebuild_config config = {
		.store = run->store,
		.snapshot = run->snapshot,
		.scan = scan_keys,
		.scan_context = run->scan,
		.partition = (int32_t)run->line->partition,
		.partitions = run->meta.partitions,
		.memory_bytes = (size_t)config_memory_bytes(run->config) / 2,
	};
	struct rebuild *r;
	int rc;

	randombytes_buf(&config.seed, sizeof config.seed);
	r = rebuild_create(&config);
	log_info("snapshot rebuild begins", LS("by", run->who),
		LI("partition", run->line->partition));
	say_before(run);
	rc = rebuild_all(run, r, err);
	finish(run, rebuild_counts(r), rc == 0 ? NULL : err);
	rebuild_destroy(r);
	return rc;
}

static int run_rebuild(const struct config *config, const struct line *line)
{
	struct sigaction action = {.sa_handler = note_interrupt};
	struct run run = {
		.config = config,
		.line = line,
		.begin_ms = now_ms(),
		.terminal = isatty(STDERR_FILENO),
	};
	struct error err;
	int rc;

	if (!config->redis.enabled) {
		fputs("ledgerd: redis.enabled is false: there is no Redis to rebuild\n", stderr);
		return EXIT_USAGE;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	who_text(run.who);
	rc = open_servers(&run, &err);
	if (rc == 0)
		rc = rebuild(&run, &err);
	close_servers(&run);
	return rc == 0 ? EXIT_DONE : command_failed("rebuilding the snapshot", &err);
}

static int command_rebuild(int argc, char **argv)
{
	struct line line = {.partition = -1};
	const struct args_option options[] = {
		{"partition", ARGS_INTEGER, "P", "only the accounts of this partition",
			&line.partition, 0, INT32_MAX, NULL},
		{"json", ARGS_FLAG, NULL, "the result as one JSON object", &line.json, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "ledgerd snapshot rebuild",
		.usage = "[--partition P] [--json]",
		.summary =
			"Makes Redis equal to the database: writes what is missing or behind, sets back "
			"what is\nahead or was changed by hand, deletes keys of no balance.  Other keys "
			"are left alone.\nIt may run beside the daemon, be interrupted, and begin "
			"again.",
		.options = options,
		.examples = examples,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = run_rebuild(&config, &line);
	command_end(&config);
	return status;
}

int command_snapshot(int argc, char **argv)
{
	static const struct command commands[] = {
		{"rebuild", command_rebuild, "make Redis equal to the database"},
		{0},
	};

	return command_choose("ledgerd snapshot",
		"The balances in Redis, which are a copy of those in the database.", commands, argc,
		argv);
}
