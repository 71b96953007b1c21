/*
 * Lets test_redis.py drive consumer/snapshot_redis.c, and the whole publisher over it, by lines on
 * standard input; each is answered by one line.
 *
 *     snapshot_redis_tool snapshot          the connection alone
 *         connect | disconnect | identity | check
 *         image ACCOUNT CURRENCY AVAILABLE FROZEN VERSION UPDATED_MS    for the next publish
 *         publish | replaced | read ACCOUNT CURRENCY
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

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "snapshot_redis_tool: %s\n", what);
	exit(2);
}

/* A line's words. */
#define WORDS_MAX 8
struct words {
	char *at[WORDS_MAX];
	size_t count;
};

static struct words split(char *line)
{
	struct words words = {.count = 0};
	char *rest = line;
	char *word;

	while (words.count < WORDS_MAX && (word = strsep(&rest, " ")))
		words.at[words.count++] = word;
	return words;
}

/* The word of this number; `fallback` if there is none and that is not NULL. */
static const char *word_at(const struct words *words, size_t i, const char *fallback)
{
	if (i < words->count)
		return words->at[i];
	if (!fallback)
		die("too few words");
	return fallback;
}

static int64_t number_of(const char *text)
{
	char *end;
	long long number = strtoll(text, &end, 10);

	if (end == text || *end)
		die("no number");
	return number;
}

static int64_t number_at(const struct words *words, size_t i)
{
	return number_of(word_at(words, i, NULL));
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

static void do_image(struct session *session, const struct words *words)
{
	if (session->count == IMAGES_MAX)
		die("too many images");
	session->images[session->count++] = (struct snapshot_image){
		.key = key_of(number_at(words, 1), word_at(words, 2, NULL)),
		.available = amount_of(word_at(words, 3, NULL)),
		.frozen = amount_of(word_at(words, 4, NULL)),
		.version = number_at(words, 5),
		.updated_ms = number_at(words, 6),
	};
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

static void do_read(struct session *session, const struct words *words)
{
	struct balance_key key = key_of(number_at(words, 1), word_at(words, 2, NULL));
	char available[DECIMAL_TEXT_MAX];
	char frozen[DECIMAL_TEXT_MAX];
	struct snapshot_image image;
	struct error err;
	int r = session->s->ops->read(session->s, &key, 1, &image, &err);

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

static void do_read_marker(struct session *session, const struct words *words)
{
	char marker[SNAPSHOT_MARKER_MAX];
	struct error err;
	int r = session->s->ops->read_marker(
		session->s, (int32_t)number_at(words, 1), marker, &err);

	if (r < 0)
		answer(r, &err);
	else
		printf("ok %s\n", marker);
}

static const char *decode_marker(char *marker)
{
	if (strcmp(marker, "-") == 0)
		*marker = '\0';
	for (char *at = marker; *at; at++)
		if (*at == '_')
			*at = ' ';
	return marker;
}

static void do_write_marker(struct session *session, const struct words *words)
{
	struct error err;
	bool written = false;
	int r;

	if (words->count != 4)
		die("mark PARTITION EXPECTED MARKER");
	r = session->s->ops->write_marker(session->s, (int32_t)number_at(words, 1),
		decode_marker(words->at[2]), decode_marker(words->at[3]), &written, &err);
	if (r < 0)
		answer(r, &err);
	else
		printf("ok %s\n", written ? "written" : "kept");
}

static void do_disconnect(struct session *session)
{
	session->s->ops->disconnect(session->s);
	printf("ok\n");
}

static void snapshot_line(struct session *session, const struct words *words)
{
	const char *what = word_at(words, 0, NULL);
	struct error err;

	if (strcmp(what, "connect") == 0)
		answer(session->s->ops->connect(session->s, &err), &err);
	else if (strcmp(what, "disconnect") == 0)
		do_disconnect(session);
	else if (strcmp(what, "check") == 0)
		answer(snapshot_redis_check(session->s, &err), &err);
	else if (strcmp(what, "identity") == 0)
		do_identity(session);
	else if (strcmp(what, "publish") == 0)
		do_publish(session);
	else if (strcmp(what, "replaced") == 0)
		printf("ok %" PRIu64 "\n", session->s->replaced);
	else if (strcmp(what, "image") == 0)
		do_image(session, words);
	else if (strcmp(what, "read") == 0)
		do_read(session, words);
	else if (strcmp(what, "marker") == 0)
		do_read_marker(session, words);
	else if (strcmp(what, "mark") == 0)
		do_write_marker(session, words);
	else
		die(what);
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

	while (read_line(line)) {
		struct words words = split(line);

		snapshot_line(&session, &words);
	}
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

static void do_commit(struct ledger_world *w, const struct words *words)
{
	int64_t account_id = number_at(words, 1);
	i128 available = amount_of(word_at(words, 2, NULL));
	int64_t count = number_of(word_at(words, 3, "1"));
	int32_t partition = (int32_t)(account_id % PARTITIONS);

	if (count > COMMIT_MAX)
		die("too many accounts");
	for (int64_t i = 0; i < count; i++)
		change(w, account_id + i * PARTITIONS, available, &w->touched[i]);
	if (w->began[partition])
		publisher_offer(w->pub, partition, w->touched, (size_t)count,
			clock_system.wall_ms(&clock_system), w->next_offset[partition]);
	printf("ok\n");
}

static void do_end(struct ledger_world *w, const struct words *words)
{
	int32_t partition = (int32_t)number_at(words, 1);

	w->began[partition] = false;
	publisher_end(w->pub, partition);
	printf("ok\n");
}

static void do_stop(struct ledger_world *w, const struct words *words)
{
	bool nothing_waits = publisher_thread_stop(w->thread, number_at(words, 1));

	publisher_thread_start(w->thread, w->pub);
	printf("ok %d\n", nothing_waits);
}

/* What the database says has changed since the offset, as a new owner reads it. */
static void do_begin(struct ledger_world *w, const struct words *words)
{
	int32_t partition = (int32_t)number_at(words, 1);
	int64_t redis_offset = number_at(words, 2);
	struct snapshot_image *images = xcalloc(w->table.count + 1, sizeof *images);
	size_t count = 0;

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

static void publisher_line(struct ledger_world *w, const struct words *words)
{
	const char *what = word_at(words, 0, NULL);

	if (strcmp(what, "begin") == 0)
		do_begin(w, words);
	else if (strcmp(what, "end") == 0)
		do_end(w, words);
	else if (strcmp(what, "commit") == 0)
		do_commit(w, words);
	else if (strcmp(what, "wait") == 0)
		do_wait(w, number_at(words, 1));
	else if (strcmp(what, "offset") == 0)
		printf("ok %" PRId64 "\n", publisher_offset(w->pub, (int32_t)number_at(words, 1)));
	else if (strcmp(what, "stats") == 0)
		do_stats(w);
	else if (strcmp(what, "stop") == 0)
		do_stop(w, words);
	else
		die(what);
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
	while (read_line(line)) {
		struct words words = split(line);

		publisher_line(&w, &words);
	}
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
		run_bench(&cfg, (size_t)number_of(argv[2]), argc > 3 ? (int)number_of(argv[3]) : 2);
	else
		die("usage: snapshot_redis_tool snapshot | publisher | bench KEYS [ROUNDS]");
	config_finish(&cfg);
	return 0;
}
