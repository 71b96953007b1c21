/*
 * Lets test_redis.py drive consumer/snapshot_redis.c, and the whole publisher over it, by lines on
 * standard input; each is answered by one line.
 *
 *     snapshot_redis_tool snapshot          the connection alone
 *         connect | disconnect | identity | check
 *         image ACCOUNT CURRENCY AVAILABLE FROZEN VERSION UPDATED_MS    for the next publish
 *         publish | read ACCOUNT CURRENCY
 *         marker PARTITION | mark PARTITION EXPECTED MARKER    '-' is none, '_' stands for a space
 *     snapshot_redis_tool publisher         a publisher with its thread, and an array for a
 * database begin PARTITION REDIS_OFFSET | end PARTITION commit ACCOUNT AVAILABLE [COUNT] accounts
 * ACCOUNT, ACCOUNT + PARTITIONS ..., one offset each wait MS                             until all
 * that was committed is published offset PARTITION | stats | stop MS snapshot_redis_tool bench KEYS
 * [ROUNDS]    writes KEYS balances ROUNDS times and says how fast
 *
 * The configuration comes from the environment, as for ledgerd (LEDGERD_REDIS_PORT ...).  Accounts
 * of `publisher` belong to partition ACCOUNT % PARTITIONS; currency is USDT.
 */
#include "snapshot_redis.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "array_store.h"
#include "clock.h"
#include "currency.h"
#include "mem.h"
#include "publisher_thread.h"

#define LINE_MAX_BYTES 512
#define IMAGES_MAX     100000
#define PARTITIONS     4
#define COMMIT_MAX     20000

extern char **environ;

static void die(const char *what)
{
	fprintf(stderr, "snapshot_redis_tool: %s\n", what);
	exit(2);
}

static struct balance_key key_of(int64_t account_id, const char *currency)
{
	currency_t packed = currency_pack(currency, strlen(currency));

	if (packed == CURRENCY_NONE)
		die("no currency");
	return (struct balance_key){account_id, packed};
}

static i128 amount_of(const char *text)
{
	i128 amount;

	if (decimal_parse_stored(text, strlen(text), &amount) != DECIMAL_OK)
		die("no amount");
	return amount;
}

static void answer(int r, const struct error *err)
{
	if (r < 0)
		printf("error %d %s\n", r, err->text);
	else
		printf("ok\n");
}

/* The connection ------------------------------------------------------------------------------- */

struct session {
	struct snapshot *s;
	struct snapshot_image *images;
	size_t count;
};

static void do_image(struct session *session, const char *line)
{
	struct snapshot_image *image = &session->images[session->count];
	char currency[CURRENCY_LENGTH_MAX + 1];
	char available[DECIMAL_TEXT_MAX];
	char frozen[DECIMAL_TEXT_MAX];
	int64_t account_id;

	if (session->count == IMAGES_MAX ||
		sscanf(line, "image %" SCNd64 " %10s %39s %39s %" SCNd64 " %" SCNd64, &account_id,
			currency, available, frozen, &image->version, &image->updated_ms) != 6)
		die(line);
	image->key = key_of(account_id, currency);
	image->available = amount_of(available);
	image->frozen = amount_of(frozen);
	session->count++;
	printf("ok\n");
}

static void do_publish(struct session *session)
{
	struct error err;
	size_t stale = 0;
	int r = session->s->ops->publish(session->s, session->images, session->count, &stale, &err);

	session->count = 0;
	if (r < 0)
		answer(r, &err);
	else
		printf("ok stale=%zu\n", stale);
}

static void do_read(struct session *session, const char *line)
{
	char currency[CURRENCY_LENGTH_MAX + 1];
	char available[DECIMAL_TEXT_MAX];
	char frozen[DECIMAL_TEXT_MAX];
	struct snapshot_image image;
	struct balance_key key;
	struct error err;
	int64_t account_id;
	int r;

	if (sscanf(line, "read %" SCNd64 " %10s", &account_id, currency) != 2)
		die(line);
	key = key_of(account_id, currency);
	r = session->s->ops->read(session->s, &key, 1, &image, &err);
	if (r < 0)
		answer(r, &err);
	else
		printf("ok %s %s %" PRId64 " %" PRId64 "\n",
			decimal_text(image.available, available),
			decimal_text(image.frozen, frozen), image.version, image.updated_ms);
}

static void do_identity(struct session *session)
{
	char identity[SNAPSHOT_IDENTITY_MAX];
	struct error err;
	int r = session->s->ops->identity(session->s, identity, &err);

	if (r < 0)
		answer(r, &err);
	else
		printf("ok %s\n", identity);
}

static void do_read_marker(struct session *session, const char *line)
{
	char marker[SNAPSHOT_MARKER_MAX];
	struct error err;
	int r = session->s->ops->read_marker(
		session->s, atoi(line + strlen("marker ")), marker, &err);

	if (r < 0)
		answer(r, &err);
	else
		printf("ok %s\n", marker);
}

static void decode_marker(char *marker)
{
	if (strcmp(marker, "-") == 0)
		*marker = '\0';
	for (char *at = marker; *at; at++)
		if (*at == '_')
			*at = ' ';
}

static void do_write_marker(struct session *session, const char *line)
{
	char expected[SNAPSHOT_MARKER_MAX];
	char marker[SNAPSHOT_MARKER_MAX];
	struct error err;
	bool written = false;
	int partition;
	int r;

	if (sscanf(line, "mark %d %191s %191s", &partition, expected, marker) != 3)
		die(line);
	decode_marker(expected);
	decode_marker(marker);
	r = session->s->ops->write_marker(session->s, partition, expected, marker, &written, &err);
	if (r < 0)
		answer(r, &err);
	else
		printf("ok %s\n", written ? "written" : "kept");
}

static void snapshot_line(struct session *session, const char *line)
{
	struct error err;

	if (strcmp(line, "connect") == 0)
		answer(session->s->ops->connect(session->s, &err), &err);
	else if (strcmp(line, "disconnect") == 0)
		session->s->ops->disconnect(session->s), printf("ok\n");
	else if (strcmp(line, "check") == 0)
		answer(snapshot_redis_check(session->s, &err), &err);
	else if (strcmp(line, "identity") == 0)
		do_identity(session);
	else if (strcmp(line, "publish") == 0)
		do_publish(session);
	else if (strncmp(line, "image ", 6) == 0)
		do_image(session, line);
	else if (strncmp(line, "read ", 5) == 0)
		do_read(session, line);
	else if (strncmp(line, "marker ", 7) == 0)
		do_read_marker(session, line);
	else if (strncmp(line, "mark ", 5) == 0)
		do_write_marker(session, line);
	else
		die(line);
}

static bool read_line(char line[LINE_MAX_BYTES])
{
	fflush(stdout);
	if (!fgets(line, LINE_MAX_BYTES, stdin))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return true;
}

static void run_snapshot(const struct config *cfg)
{
	struct session session = {
		.s = snapshot_redis_create(cfg),
		.images = xcalloc(IMAGES_MAX, sizeof(struct snapshot_image)),
	};
	char line[LINE_MAX_BYTES];

	while (read_line(line))
		snapshot_line(&session, line);
	session.s->ops->destroy(session.s);
	free(session.images);
}

/* The publisher -------------------------------------------------------------------------------- */

struct ledger_world {
	struct array_table table;
	struct publisher_thread *thread;
	struct publisher *pub;
	int64_t next_offset[PARTITIONS];
	bool began[PARTITIONS];
	struct touched *touched;
};

static int64_t now_ms(void)
{
	return clock_system.now_ms(&clock_system);
}

static int64_t committed_version(const struct array_table *table, struct balance_key key)
{
	size_t low = 0;
	size_t high = table->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (table->rows[middle].key.account_id < key.account_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < table->count && table->rows[low].key.account_id == key.account_id
		       ? table->rows[low].balance.version
		       : 0;
}

static void change(
	struct ledger_world *w, int64_t account_id, i128 available, struct touched *ret_touched)
{
	int32_t partition = (int32_t)(account_id % PARTITIONS);
	struct store_balance row = {.key = key_of(account_id, "USDT"), .partition = partition};
	int64_t version = committed_version(&w->table, row.key) + 1;

	row.balance = (struct balance){available, 0, version, w->next_offset[partition]++};
	row.updated_ms = clock_system.wall_ms(&clock_system);
	array_table_put(&w->table, &row);
	*ret_touched = (struct touched){.key = row.key, .after = row.balance};
	ret_touched->before.version = version - 1;
}

static void do_commit(struct ledger_world *w, const char *line)
{
	char available[DECIMAL_TEXT_MAX];
	int32_t partition;
	int64_t account_id;
	size_t count = 1;

	if (sscanf(line, "commit %" SCNd64 " %39s %zu", &account_id, available, &count) < 2 ||
		count > COMMIT_MAX)
		die(line);
	partition = (int32_t)(account_id % PARTITIONS);
	for (size_t i = 0; i < count; i++)
		change(w, account_id + (int64_t)i * PARTITIONS, amount_of(available),
			&w->touched[i]);
	if (w->began[partition])
		publisher_offer(w->pub, partition, w->touched, count,
			clock_system.wall_ms(&clock_system), w->next_offset[partition]);
	printf("ok\n");
}

/* What the database says has changed since the offset, as a new owner reads it. */
static void do_begin(struct ledger_world *w, const char *line)
{
	struct snapshot_image *images = xcalloc(w->table.count + 1, sizeof *images);
	int64_t redis_offset;
	int32_t partition;
	size_t count = 0;

	if (sscanf(line, "begin %" SCNd32 " %" SCNd64, &partition, &redis_offset) != 2)
		die(line);
	for (size_t i = 0; i < w->table.count; i++) {
		const struct store_balance *row = &w->table.rows[i];

		if (row->partition == partition && row->balance.last_offset >= redis_offset)
			images[count++] = (struct snapshot_image){row->key, row->balance.available,
				row->balance.frozen, row->balance.version, row->updated_ms};
	}
	publisher_begin(
		w->pub, partition, redis_offset, w->next_offset[partition], images, count, false);
	w->began[partition] = true;
	free(images);
	printf("ok %zu\n", count);
}

static bool all_published(const struct ledger_world *w)
{
	for (int32_t i = 0; i < PARTITIONS; i++)
		if (w->began[i] && publisher_offset(w->pub, i) < w->next_offset[i])
			return false;
	return true;
}

static void do_wait(struct ledger_world *w, int64_t wait_ms)
{
	const struct timespec pause = {0, 1000000};
	int64_t begin_ms = now_ms();

	while (!all_published(w) && now_ms() - begin_ms < wait_ms)
		nanosleep(&pause, NULL);
	printf("%s after %" PRId64 " ms\n", all_published(w) ? "ok" : "error: not published",
		now_ms() - begin_ms);
}

static void do_stats(const struct ledger_world *w)
{
	struct publisher_stats s;

	publisher_stats(w->pub, &s);
	printf("ok published=%" PRIu64 " stale=%" PRIu64 " failed=%" PRIu64 " rebuilds=%" PRIu64
	       " pending=%" PRIu64 " rebuilding=%" PRIu64 " connected=%d\n",
		s.published, s.stale, s.failed, s.rebuilds, s.pending, s.rebuilding, s.connected);
}

static void publisher_line(struct ledger_world *w, const char *line)
{
	if (strncmp(line, "begin ", 6) == 0) {
		do_begin(w, line);
	} else if (strncmp(line, "end ", 4) == 0) {
		w->began[atoi(line + 4)] = false;
		publisher_end(w->pub, atoi(line + 4));
		printf("ok\n");
	} else if (strncmp(line, "commit ", 7) == 0) {
		do_commit(w, line);
	} else if (strncmp(line, "wait ", 5) == 0) {
		do_wait(w, atoi(line + 5));
	} else if (strncmp(line, "offset ", 7) == 0) {
		printf("ok %" PRId64 "\n", publisher_offset(w->pub, atoi(line + 7)));
	} else if (strcmp(line, "stats") == 0) {
		do_stats(w);
	} else if (strncmp(line, "stop ", 5) == 0) {
		printf("ok %d\n", publisher_thread_stop(w->thread, atoi(line + 5)));
		publisher_thread_start(w->thread, w->pub);
	} else {
		die(line);
	}
}

static void run_publisher(const struct config *cfg)
{
	struct publisher_config config = {
		.partitions = PARTITIONS,
		.pending_max = (size_t)cfg->redis.pending_max,
		.check_interval_ms = cfg->redis.check_interval_ms,
		.seed = (uint64_t)clock_system.now_us(&clock_system),
	};
	struct ledger_world w = {.thread = publisher_thread_create()};
	char line[LINE_MAX_BYTES];

	array_table_init(&w.table);
	w.touched = xcalloc(COMMIT_MAX, sizeof *w.touched);
	w.pub = publisher_create(&config, snapshot_redis_create(cfg), array_store_create(&w.table),
		publisher_thread_wake, w.thread);
	publisher_thread_start(w.thread, w.pub);
	while (read_line(line))
		publisher_line(&w, line);
	publisher_thread_stop(w.thread, 0);
	publisher_destroy(w.pub);
	publisher_thread_destroy(w.thread);
	array_table_finish(&w.table);
	free(w.touched);
}

/* How fast ------------------------------------------------------------------------------------- */

static void bench_round(struct snapshot *s, struct snapshot_image *images, size_t count, int round)
{
	int64_t begin_us = clock_system.now_us(&clock_system);
	struct timespec cpu_begin;
	struct timespec cpu_end;
	struct error err;
	size_t stale;
	double elapsed;
	double cpu;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_begin);
	for (size_t i = 0; i < count; i += PUBLISHER_SLICE_DEFAULT) {
		size_t left = count - i;

		if (s->ops->publish(s, &images[i],
			    left < PUBLISHER_SLICE_DEFAULT ? left : PUBLISHER_SLICE_DEFAULT, &stale,
			    &err) < 0)
			die(err.text);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_end);
	elapsed = (double)(clock_system.now_us(&clock_system) - begin_us) / 1e6;
	cpu = (double)(cpu_end.tv_sec - cpu_begin.tv_sec) +
	      (double)(cpu_end.tv_nsec - cpu_begin.tv_nsec) / 1e9;
	printf("round %d: %zu keys in %.3f s: %.0f keys/s; %.2f us of this side's CPU a key\n",
		round, count, elapsed, (double)count / elapsed, cpu * 1e6 / (double)count);
}

static void run_bench(const struct config *cfg, size_t count, int rounds)
{
	struct snapshot_image *images = xcalloc(count, sizeof *images);
	struct snapshot *s = snapshot_redis_create(cfg);
	uint64_t random = 1;
	struct error err;

	if (s->ops->connect(s, &err) < 0)
		die(err.text);
	for (int round = 1; round <= rounds; round++) {
		for (size_t i = 0; i < count; i++) {
			random = random * UINT64_C(6364136223846793005) + 1;
			images[i] = (struct snapshot_image){key_of((int64_t)i + 1, "USDT"),
				(i128)(random >> 40) * (DECIMAL_ONE / 100), 0, round,
				1767225600000 + round};
		}
		bench_round(s, images, count, round);
	}
	s->ops->destroy(s);
	free(images);
}

int main(int argc, char **argv)
{
	struct config cfg;
	struct error err;

	signal(SIGPIPE, SIG_IGN);
	if (config_parse_buffer(&cfg, "environment", "", 0, environ, &err) != 0)
		die(err.text);
	if (argc == 2 && strcmp(argv[1], "snapshot") == 0)
		run_snapshot(&cfg);
	else if (argc == 2 && strcmp(argv[1], "publisher") == 0)
		run_publisher(&cfg);
	else if (argc >= 3 && strcmp(argv[1], "bench") == 0)
		run_bench(&cfg, (size_t)atol(argv[2]), argc > 3 ? atoi(argv[3]) : 2);
	else
		die("usage: snapshot_redis_tool snapshot | publisher | bench KEYS [ROUNDS]");
	config_finish(&cfg);
	return 0;
}
