/*
 * What most services do: one transaction an event, with the balance's row locked.
 *
 *     bench-row-locks THREADS EVENTS      the configuration is in the environment, as ledgerd's
 *
 * It reads the topic into memory, at most EVENTS messages; then, once a line has come on standard
 * input, THREADS threads take the events in the log's order and do with each, on the ledger's own
 * tables and with its own decoder and rules:
 *
 *     SELECT the balance FOR UPDATE (or INSERT it) · apply · INSERT the journal row
 *     · UPDATE the balance · COMMIT
 *
 * by prepared statements, through the socket where mysql.socket names one.  An id that is known
 * ends the transaction with nothing changed; a deadlock begins it again.  The threads share the
 * events, so two events of one account may change places: what is measured is the cost of the
 * rows' locks, and a service that keeps the order can only be slower.
 *
 * What it does not do: commit the log's offset with the rows, dead letters, Redis, leases.  It
 * prints one line when all is read, and one of JSON at the end.
 */
#include <mysql.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "clock.h"
#include "currency.h"
#include "datetime.h"
#include "decode.h"
#include "mem.h"
#include "topic_kafka.h"

#define ITEMS          2048
#define POLL_MS        1000
#define ER_DUP_ENTRY   1062
#define ER_LOCK_WAIT   1205
#define ER_DEADLOCK    1213
#define THREADS_MAX    256
#define READ_COMMITTED "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
#define UTC            "SET SESSION time_zone = '+00:00'"
#define PARAMETERS_MAX 13
#define TIME_TEXT_MAX  32

/* An event and where it stands in the log. */
struct task {
	struct event event;
	int32_t partition;
	int64_t offset;
};

struct shared {
	const struct config *cfg;
	struct task *tasks;
	size_t count;
	_Atomic size_t next;
	uint32_t *took_us; /* of each task */
	atomic_long duplicates, refused, retried;
};

enum statement { LOCK_BALANCE, NEW_BALANCE, NEW_ROW, SET_BALANCE, STATEMENTS };

static const char *const texts[STATEMENTS] = {
	[LOCK_BALANCE] = "SELECT available, frozen, version, last_offset FROM account_balances "
			 "WHERE account_id = ? AND currency_code = ? FOR UPDATE",
	[NEW_BALANCE] = "INSERT INTO account_balances (account_id, currency_code, available, "
			"frozen, version, kafka_partition, last_offset, updated_at) "
			"VALUES (?, ?, 0, 0, 0, ?, -1, NOW(3))",
	[NEW_ROW] = "INSERT INTO balance_transactions (kafka_partition, kafka_offset, "
		    "transaction_id, account_id, currency_code, type, amount, available_after, "
		    "frozen_after, status, reason, event_time, prev_offset) "
		    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[SET_BALANCE] = "UPDATE account_balances SET available = ?, frozen = ?, version = ?, "
			"last_offset = ?, updated_at = NOW(3) "
			"WHERE account_id = ? AND currency_code = ?",
};

struct worker {
	pthread_t thread;
	struct shared *shared;
	MYSQL *mysql;
	MYSQL_STMT *statements[STATEMENTS];
};

extern char **environ;

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-row-locks: %s: %s\n", what, why);
	exit(1);
}

/* Reading the topic --------------------------------------------------------------------------- */

/* Returns whether the log is at its end, or there are enough. */
static bool take(struct shared *shared, int32_t partition, int32_t partitions, size_t max,
	const struct topic_item *item)
{
	struct task *task = &shared->tasks[shared->count];
	const char *detail;

	if (item->kind == TOPIC_END || shared->count == max)
		return true;
	if (item->kind != TOPIC_MESSAGE)
		fail("reading the log", "it is gone");
	*task = (struct task){.partition = partition, .offset = item->message.offset};
	if (decode_message(&item->message, partition, partitions, &task->event, &detail) ==
		DEAD_NONE)
		shared->count++;
	return false;
}

static void read_partition(struct shared *shared, struct kafka_client *client, int32_t partition,
	int32_t partitions, size_t max)
{
	struct topic *topic = topic_kafka_create(client, partition);
	struct topic_item *items = xcalloc(ITEMS, sizeof(items[0]));
	struct error err;
	bool end = false;

	if (topic->ops->open(topic, 0, &err) != 0)
		fail("reading the log", err.text);
	while (!end) {
		size_t count = topic->ops->poll(topic, POLL_MS, items, ITEMS);

		for (size_t i = 0; i < count && !end; i++)
			end = take(shared, partition, partitions, max, &items[i]);
	}
	free(items);
	topic->ops->destroy(topic);
}

static void read_topic(struct shared *shared, size_t events)
{
	struct kafka_client *client;
	struct topic_layout layout;
	struct error err;

	if (kafka_client_create(shared->cfg, &client, &err) != 0 ||
		topic_kafka_layout(client, &layout, &err) != 0)
		fail("asking for the topic", err.text);
	shared->tasks = xcalloc(events + 1, sizeof(shared->tasks[0]));
	for (int32_t p = 0; p < layout.partitions; p++) /* a share of each */
		read_partition(shared, client, p, layout.partitions,
			events * (size_t)(p + 1) / (size_t)layout.partitions);
	shared->took_us = xcalloc(shared->count + 1, sizeof(shared->took_us[0]));
	kafka_client_destroy(client);
}

/* The partitions' events one after the other would be in the order of one partition only. */
static int by_offset(const void *a, const void *b)
{
	const struct task *left = a, *right = b;

	if (left->offset != right->offset)
		return left->offset < right->offset ? -1 : 1;
	return left->partition - right->partition;
}

/* The statements ------------------------------------------------------------------------------ */

static MYSQL_BIND bind_int(int64_t *value)
{
	return (MYSQL_BIND){.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = value};
}

static MYSQL_BIND bind_text(const char *text, unsigned long length)
{
	return (MYSQL_BIND){
		.buffer_type = MYSQL_TYPE_STRING, .buffer = (void *)text, .buffer_length = length};
}

static MYSQL_BIND bind_string(const char *text)
{
	return text ? bind_text(text, strlen(text)) : (MYSQL_BIND){.buffer_type = MYSQL_TYPE_NULL};
}

/* 0, or the server's error number if it is one that the caller knows what to do about. */
static unsigned run(struct worker *w, enum statement number, MYSQL_BIND *parameters)
{
	MYSQL_STMT *statement = w->statements[number];
	unsigned code;

	if (!mysql_stmt_bind_param(statement, parameters) && !mysql_stmt_execute(statement))
		return 0;
	code = mysql_stmt_errno(statement);
	if (code != ER_DUP_ENTRY && code != ER_LOCK_WAIT && code != ER_DEADLOCK)
		fail(texts[number], mysql_stmt_error(statement));
	return code;
}

static i128 amount(const char *text, unsigned long length)
{
	i128 value;

	if (decimal_parse_stored(text, length, &value) != DECIMAL_OK)
		fail("reading a balance", "no amount");
	return value;
}

/* The locked balance; *ret_found false: there is none. */
static unsigned lock_balance(
	struct worker *w, MYSQL_BIND *key, struct balance *ret, bool *ret_found)
{
	MYSQL_STMT *statement = w->statements[LOCK_BALANCE];
	char available[DECIMAL_TEXT_MAX], frozen[DECIMAL_TEXT_MAX];
	unsigned long lengths[2] = {0};
	MYSQL_BIND row[] = {bind_text(available, sizeof(available)),
		bind_text(frozen, sizeof(frozen)), bind_int(&ret->version),
		bind_int(&ret->last_offset)};
	unsigned code = run(w, LOCK_BALANCE, key);

	if (code)
		return code;
	row[0].length = &lengths[0];
	row[1].length = &lengths[1];
	if (mysql_stmt_bind_result(statement, row))
		fail("reading a balance", mysql_stmt_error(statement));
	*ret_found = mysql_stmt_fetch(statement) == 0;
	if (*ret_found) {
		ret->available = amount(available, lengths[0]);
		ret->frozen = amount(frozen, lengths[1]);
	}
	mysql_stmt_free_result(statement);
	return 0;
}

static unsigned new_row(struct worker *w, const struct task *task, const struct balance *balance,
	const char *currency, enum refusal refusal)
{
	const struct event *event = &task->event;
	char sum[DECIMAL_TEXT_MAX], available[DECIMAL_TEXT_MAX], frozen[DECIMAL_TEXT_MAX];
	char time[TIME_TEXT_MAX];
	int64_t partition = task->partition, offset = task->offset, account = event->account_id;
	int64_t previous = balance->last_offset;
	MYSQL_BIND row[PARAMETERS_MAX] = {
		bind_int(&partition),
		bind_int(&offset),
		bind_text(event->transaction_id, event->transaction_id_length),
		bind_int(&account),
		bind_string(currency),
		bind_string(event_type_text(event->type)),
		bind_string(decimal_text(event->amount, sum)),
		bind_string(decimal_text(balance->available, available)),
		bind_string(decimal_text(balance->frozen, frozen)),
		bind_string(refusal ? "FAILED" : "SUCCESS"),
		bind_string(refusal_text(refusal)),
		bind_text(time, DATETIME_LENGTH),
		previous < 0 ? bind_string(NULL) : bind_int(&previous),
	};

	datetime_format(event->time_ms, time);
	return run(w, NEW_ROW, row);
}

static unsigned set_balance(
	struct worker *w, const struct task *task, struct balance *balance, const char *currency)
{
	char available[DECIMAL_TEXT_MAX], frozen[DECIMAL_TEXT_MAX];
	int64_t offset = task->offset, account = task->event.account_id;
	MYSQL_BIND row[] = {
		bind_string(decimal_text(balance->available, available)),
		bind_string(decimal_text(balance->frozen, frozen)),
		bind_int(&balance->version),
		bind_int(&offset),
		bind_int(&account),
		bind_string(currency),
	};

	return run(w, SET_BALANCE, row);
}

/* An event ------------------------------------------------------------------------------------ */

/* One transaction without its end. */
static unsigned transaction(struct worker *w, const struct task *task, enum refusal *ret_refusal)
{
	char currency[CURRENCY_LENGTH_MAX + 1];
	int64_t account = task->event.account_id, partition = task->partition;
	struct balance balance = {.last_offset = -1};
	bool found = false;
	MYSQL_BIND key[3];
	unsigned code;

	currency_text(task->event.currency, currency);
	key[0] = bind_int(&account);
	key[1] = bind_string(currency);
	key[2] = bind_int(&partition);
	code = lock_balance(w, key, &balance, &found);
	if (code == 0 && !found) {
		code = run(w, NEW_BALANCE, key);
		if (code == ER_DUP_ENTRY) /* another thread was first */
			return ER_DEADLOCK;
	}
	if (code)
		return code;
	*ret_refusal = apply(&balance, task->event.type, task->event.amount);
	code = new_row(w, task, &balance, currency, *ret_refusal);
	return code ? code : set_balance(w, task, &balance, currency);
}

static void do_task(struct worker *w, const struct task *task)
{
	enum refusal refusal = REFUSAL_NONE;
	unsigned code;

	while ((code = transaction(w, task, &refusal)) != 0) {
		if (mysql_rollback(w->mysql))
			fail("rolling back", mysql_error(w->mysql));
		if (code == ER_DUP_ENTRY) {
			atomic_fetch_add(&w->shared->duplicates, 1);
			return;
		}
		atomic_fetch_add(&w->shared->retried, 1);
	}
	if (mysql_commit(w->mysql))
		fail("committing", mysql_error(w->mysql));
	if (refusal)
		atomic_fetch_add(&w->shared->refused, 1);
}

static void connect_worker(struct worker *w)
{
	const struct config_mysql *mysql = &w->shared->cfg->mysql;
	const char *socket = mysql->socket[0] ? mysql->socket : NULL;

	w->mysql = mysql_init(NULL);
	if (!mysql_real_connect(w->mysql, socket ? NULL : mysql->host, mysql->user, mysql->password,
		    mysql->database, (unsigned)mysql->port, socket, 0) ||
		mysql_query(w->mysql, READ_COMMITTED) || mysql_query(w->mysql, UTC) ||
		mysql_autocommit(w->mysql, 0))
		fail("connecting", mysql_error(w->mysql));
	for (int i = 0; i < STATEMENTS; i++) {
		w->statements[i] = mysql_stmt_init(w->mysql);
		if (mysql_stmt_prepare(w->statements[i], texts[i], strlen(texts[i])))
			fail(texts[i], mysql_stmt_error(w->statements[i]));
	}
}

static void *run_worker(void *context)
{
	struct worker *w = context;
	struct shared *shared = w->shared;
	size_t i;

	while ((i = atomic_fetch_add(&shared->next, 1)) < shared->count) {
		int64_t begin_us = clock_system.now_us(&clock_system);

		do_task(w, &shared->tasks[i]);
		shared->took_us[i] = (uint32_t)(clock_system.now_us(&clock_system) - begin_us);
	}
	for (int s = 0; s < STATEMENTS; s++)
		mysql_stmt_close(w->statements[s]);
	mysql_close(w->mysql);
	mysql_thread_end();
	return NULL;
}

/* The result ---------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static double percentile_ms(const struct shared *shared, double part)
{
	return shared->count ? shared->took_us[(size_t)(part * (double)(shared->count - 1))] / 1e3
			     : 0;
}

static void report(struct shared *shared, double seconds)
{
	qsort(shared->took_us, shared->count, sizeof(shared->took_us[0]), by_value);
	printf("{\"events\": %zu, \"seconds\": %.6f, \"events_per_second\": %.1f, "
	       "\"duplicates\": %ld, \"refused\": %ld, \"retried\": %ld, \"p50_ms\": %.3f, "
	       "\"p95_ms\": %.3f, \"p99_ms\": %.3f}\n",
		shared->count, seconds, (double)shared->count / seconds,
		atomic_load(&shared->duplicates), atomic_load(&shared->refused),
		atomic_load(&shared->retried), percentile_ms(shared, 0.5),
		percentile_ms(shared, 0.95), percentile_ms(shared, 0.99));
}

static double measure(struct shared *shared, int threads)
{
	struct worker *workers = xcalloc((size_t)threads, sizeof(workers[0]));
	int64_t begin_us;

	for (int i = 0; i < threads; i++) {
		workers[i].shared = shared;
		connect_worker(&workers[i]);
	}
	puts("prepared");
	fflush(stdout);
	if (getchar() == EOF)
		exit(1); /* whoever measures has gone */
	begin_us = clock_system.now_us(&clock_system);
	for (int i = 0; i < threads; i++)
		pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]);
	for (int i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	free(workers);
	return (double)(clock_system.now_us(&clock_system) - begin_us) / 1e6;
}

int main(int argc, char **argv)
{
	struct shared shared = {0};
	struct config cfg;
	struct error err;
	int threads = argc == 3 ? atoi(argv[1]) : 0;
	long long events = argc == 3 ? atoll(argv[2]) : 0;

	if (threads < 1 || threads > THREADS_MAX || events < 1)
		return fputs("usage: bench-row-locks THREADS EVENTS\n", stderr), 2;
	if (config_load(&cfg, "/dev/null", environ, &err) != 0)
		fail("the configuration", err.text);
	shared.cfg = &cfg;
	read_topic(&shared, (size_t)events);
	qsort(shared.tasks, shared.count, sizeof(shared.tasks[0]), by_offset);
	report(&shared, measure(&shared, threads));
	free(shared.tasks);
	free(shared.took_us);
	config_finish(&cfg);
	return 0;
}
