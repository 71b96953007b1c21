#include "daemon.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "health.h"
#include "http.h"
#include "instance.h"
#include "kafka_client.h"
#include "lease_store_mysql.h"
#include "ledger_meta.h"
#include "log.h"
#include "memory_plan.h"
#include "migrate.h"
#include "news.h"
#include "notify.h"
#include "publisher_thread.h"
#include "servers.h"
#include "signals.h"
#include "snapshot_redis.h"
#include "status.h"
#include "status_page.h"
#include "store_mysql.h"
#include "topic_kafka.h"

#define WATCH_MS        500   /* between two looks of the main loop */
#define LAYOUT_CHECK_MS 60000 /* between two questions about the topic's shape */
#define SERVER_AGAIN_MS 1000  /* between two attempts at the start */
#define QUESTION_TIMEOUT_MS                                                                        \
	5000 /* for a server that answers nothing at the start, and in /status */
#define PUBLISH_GRACE_MS      3000  /* for Redis at the end */
#define BEAT_LIMIT_MS         60000 /* a loop that is silent for longer is not alive */
#define OUT_OF_RANGE_MS       30000
#define REDIS_OFF_PENDING     1
#define PROCESS_EXTRA_BYTES   ((size_t)8 << 20) /* code and buffers that are not touched yet */
#define PARTITION_EXTRA_BYTES ((size_t)128 << 10)

struct daemon {
	const struct config *cfg;
	const struct clock *clock;
	struct db_options db_options;
	struct budget budget;
	struct memory_plan memory;
	struct metrics metrics;
	bool metrics_ready;
	struct incidents incidents;
	struct news news;
	struct ledger_meta meta;
	uint64_t seed;

	struct config kafka_cfg; /* cfg, with the fetch buffer that the memory allows */
	struct kafka_client *kafka;
	struct lease_store *lease_store;
	struct publisher *publisher; /* NULL: Redis is off */
	struct store *publisher_store;
	struct publisher_thread *publisher_thread;
	struct instance *instance;
	struct http *http;
	struct notify notify;

	pthread_mutex_t lock; /* guards what HTTP reads while main changes it */
	_Atomic int64_t beat_ms;
	int64_t layout_checked_ms;
	struct error kafka_error; /* "" while Kafka answers */
	bool layout_differs;
};

static int64_t now_ms(const struct daemon *d)
{
	return d->clock->now_ms(d->clock);
}

/* Signals -------------------------------------------------------------------------------------- */

/* Waits for so long; true if the process is told to end. */
static bool told_to_stop(int64_t wait_ms)
{
	int number = signals_wait(wait_ms);

	if (number == 0)
		return false;
	log_info("stopping", LS("signal", strsignal(number)));
	return true;
}

/* HTTP ----------------------------------------------------------------------------------------- */

static void answer_metrics(void *context, struct http_response *response)
{
	struct daemon *d = context;

	pthread_mutex_lock(&d->lock);
	response->content_type = METRICS_CONTENT_TYPE;
	if (d->metrics_ready)
		response->body = metrics_text(&d->metrics, &response->length);
	else
		response->status = 503;
	pthread_mutex_unlock(&d->lock);
}

static void set_body(struct http_response *response, int status, char *body)
{
	response->status = (unsigned)status;
	response->body = body;
	response->length = strlen(body);
}

/* 200 if our own loops turn, else 503; *ret_body says which. */
static int look_alive(struct daemon *d, char **ret_body)
{
	struct instance_health health = {
		.leader_beat_ms = now_ms(d), .oldest_worker_beat_ms = INT64_MAX};
	/* A database that does not answer is not our loops' fault: see db_options_set_lease. */
	int64_t silence_ms = 3 * d->cfg->lease.ttl_ms;
	struct health_beat beats[3];

	pthread_mutex_lock(&d->lock);
	if (d->instance)
		instance_health(d->instance, &health);
	pthread_mutex_unlock(&d->lock);
	beats[0] = (struct health_beat){"main", atomic_load(&d->beat_ms), BEAT_LIMIT_MS};
	beats[1] = (struct health_beat){
		"leader", health.leader_beat_ms, BEAT_LIMIT_MS + silence_ms};
	beats[2] = (struct health_beat){"partitions", health.oldest_worker_beat_ms,
		BEAT_LIMIT_MS + silence_ms + d->cfg->consumer.poll_idle_ms};
	return health_live(
		beats, health.oldest_worker_beat_ms == INT64_MAX ? 2 : 3, now_ms(d), ret_body);
}

static void answer_healthz(void *context, struct http_response *response)
{
	char *body;
	int status = look_alive(context, &body);

	set_body(response, status, body);
}

static int halted_partitions(const struct daemon *d)
{
	int halted = 0;

	for (int32_t i = 0; d->metrics_ready && i < d->metrics.partition_count; i++)
		halted += gauge_read(&d->metrics.partitions[i].halted) != 0;
	return halted;
}

static struct health_condition redis_condition(const struct daemon *d)
{
	struct publisher_stats stats = {.connected = false};

	if (!d->cfg->redis.enabled)
		return (struct health_condition){"redis", true, "off"};
	if (d->publisher)
		publisher_stats(d->publisher, &stats);
	return (struct health_condition){"redis", stats.connected,
		stats.connected ? "" : "not connected; balances wait to be published"};
}

static void answer_readyz(void *context, struct http_response *response)
{
	struct daemon *d = context;
	struct instance_health health = {.leader_error = "starting"};
	char halted[64];
	char *body;
	int status;

	pthread_mutex_lock(&d->lock);
	if (d->instance)
		instance_health(d->instance, &health);
	snprintf(halted, sizeof halted, "%d", halted_partitions(d));

	const struct health_condition conditions[] = {
		{"mysql", health.leader_error[0] == '\0', health.leader_error},
		{"kafka", d->instance && d->kafka_error.text[0] == '\0', d->kafka_error.text},
		redis_condition(d),
		{"leases", health.settled, health.settled ? "" : "not settled yet"},
		{"partitions", health.running == health.owned,
			health.running == health.owned ? "" : "some are not running yet"},
		{"halted", halted_partitions(d) == 0, halted},
	};

	status = health_ready(conditions, sizeof conditions / sizeof *conditions, &body);
	pthread_mutex_unlock(&d->lock);
	set_body(response, status, body);
}

static int64_t high_watermark(void *context, int32_t partition)
{
	const struct daemon *d = context;

	return d->metrics_ready ? gauge_read(&d->metrics.partitions[partition].high_watermark) : -1;
}

/* A connection for one question, which nobody waits for long. */
static struct db *questioner(const struct daemon *d)
{
	struct db_options options = d->db_options;

	options.io_timeout_ms = QUESTION_TIMEOUT_MS;
	return db_create(&options);
}

static void answer_status(void *context, struct http_response *response)
{
	struct daemon *d = context;
	struct db *db = questioner(d);
	struct incident incidents[INCIDENTS_MAX];
	struct status_here here = {d->cfg->consumer.id, LEDGERD_VERSION, incidents,
		incidents_read(&d->incidents, incidents), {0}};
	struct error err;
	char *json = NULL;

	here.backlog = news_backlog(&d->news);
	response->content_type = "application/json";
	if (status_json(db, high_watermark, d, &here, &json, &err) != DB_OK) {
		response->status = 503;
		response->content_type = "text/plain; charset=utf-8";
		json = strdup(err.text);
	}
	response->body = json;
	response->length = json ? strlen(json) : 0;
	db_destroy(db);
	db_thread_end();
}

static int http_start(struct daemon *d, struct error *err)
{
	static struct http_route routes[5];
	struct http_config config = {
		.host = d->cfg->http.listen.host,
		.port = (int)d->cfg->http.listen.port,
		.routes = routes,
		.route_count = sizeof routes / sizeof *routes,
	};

	routes[0] = (struct http_route){"/metrics", answer_metrics, d};
	routes[1] = (struct http_route){"/healthz", answer_healthz, d};
	routes[2] = (struct http_route){"/readyz", answer_readyz, d};
	routes[3] = (struct http_route){"/status", answer_status, d};
	routes[4] = (struct http_route){"/", status_page_answer, NULL};
	return http_create(&config, &d->http, err);
}

/* The database --------------------------------------------------------------------------------- */

/* One attempt: is the schema ours, and which log does the database belong to? */
static enum db_result read_meta(struct daemon *d, struct error *err)
{
	struct db *db = questioner(d);
	struct topic_layout layout;
	enum db_result result = db_connect(db, err);

	if (result == DB_OK)
		result = migrate_check(db, err);
	if (result == DB_OK)
		result = ledger_meta_read(db, &d->meta, err);
	if (result == DB_OK && d->meta.kafka_cluster_id[0] == '\0') {
		int rc = topic_kafka_layout(d->kafka, &layout, err);

		result = rc == 0 ? ledger_meta_claim(db, layout.cluster_id, d->cfg->kafka.topic,
					   layout.partitions, &d->meta, err)
				 : DB_RETRY;
	}
	if (result == DB_OK && strcmp(d->meta.topic, d->cfg->kafka.topic) != 0)
		result =
			DB_HALT +
			0 * error_set(err, -1,
				    "this database belongs to the topic %s, but kafka.topic is %s: set "
				    "kafka.topic or mysql.database",
				    d->meta.topic, d->cfg->kafka.topic);
	db_destroy(db);
	return result;
}

/* 0; 1 if a person must act; -1 if the process was told to end. */
static int await_meta(struct daemon *d)
{
	struct error err;

	for (;;) {
		enum db_result result = read_meta(d, &err);

		atomic_store(&d->beat_ms, now_ms(d));
		if (result == DB_OK)
			return 0;
		if (result == DB_HALT) {
			log_error("cannot start", LS("error", err.text));
			return 1;
		}
		log_warn("waiting for the servers", LS("error", err.text));
		notify_status(&d->notify, "waiting for the servers: %s", err.text);
		notify_alive(&d->notify, now_ms(d));
		log_tick();
		if (told_to_stop(SERVER_AGAIN_MS))
			return -1;
	}
}

/* Memory --------------------------------------------------------------------------------------- */

static struct partition_config partition_config(const struct daemon *d)
{
	const struct config_consumer *consumer = &d->cfg->consumer;
	struct partition_config config = {
		.partitions = d->meta.partitions,
		.batch_max_events = (size_t)consumer->batch_max_events,
		.batch_max_bytes = (size_t)consumer->batch_max_bytes,
		.poll_idle_ms = consumer->poll_idle_ms,
		.flush_interval_min_ms = consumer->flush_interval_min_ms,
		.dedupe_ids = (size_t)consumer->dedupe_ids,
		.dedupe_prime = (size_t)consumer->dedupe_prime,
		.redis_pending_max = (size_t)d->cfg->redis.pending_max,
		.seed = d->seed,
		.out_of_range_ms = OUT_OF_RANGE_MS,
	};

	memcpy(config.cluster_id, d->meta.kafka_cluster_id, sizeof config.cluster_id - 1);
	memcpy(config.key, d->meta.dedupe_key, sizeof config.key);
	return config;
}

static struct publisher_config publisher_config(const struct daemon *d)
{
	return (struct publisher_config){
		.partitions = d->meta.partitions,
		.pending_max = (size_t)d->cfg->redis.pending_max,
		.check_interval_ms = d->cfg->redis.check_interval_ms,
		.seed = d->seed + 1,
	};
}

static int32_t eligible_count(const struct daemon *d)
{
	int32_t count = 0;

	for (int32_t i = 0; i < d->meta.partitions; i++)
		count += config_may_own(d->cfg, i);
	return count;
}

/* What the process has before any partition, and what each takes beside its batches, ids and
 * balances: its thread, and librdkafka's books.  Measured, not planned. */
static size_t process_bytes(const struct daemon *d)
{
	struct process_stats stats = {0};

	process_read(&stats);
	return (size_t)stats.resident_bytes + PROCESS_EXTRA_BYTES +
	       (size_t)eligible_count(d) * PARTITION_EXTRA_BYTES;
}

static int plan_memory(struct daemon *d, struct error *err)
{
	struct partition_config wanted = partition_config(d);
	struct publisher_config publisher = publisher_config(d);
	size_t pending_bytes = d->cfg->redis.enabled ? publisher_bytes_max(&publisher) : 0;
	size_t own_bytes = process_bytes(d);
	const struct memory_plan *plan = &d->memory;
	int rc = memory_plan(&wanted, (size_t)config_memory_bytes(d->cfg),
		(size_t)d->cfg->kafka.fetch_buffer, pending_bytes + own_bytes, eligible_count(d),
		&d->memory, err);

	if (rc != 0)
		return rc;
	budget_init(&d->budget, plan->max_bytes);
	/* What its users do not count themselves.  Partitions that are not ours yet will be. */
	budget_force(&d->budget,
		own_bytes + pending_bytes + (size_t)eligible_count(d) * plan->fetch_bytes);
	log_info("memory", LU("max_bytes", plan->max_bytes), LI("partitions", eligible_count(d)),
		LU("partition_bytes", plan->partition_bytes), LU("fetch_bytes", plan->fetch_bytes),
		LU("redis_pending_bytes", pending_bytes), LU("process_bytes", own_bytes),
		LU("balances_bytes", plan->balances_bytes),
		LU("balances", plan->balances_bytes / BALANCE_BYTES_MAX),
		LU("dedupe_ids", plan->dedupe_ids), LU("batch_max_events", plan->batch_max_events),
		LU("batch_max_bytes", plan->batch_max_bytes));
	if (plan->lowered)
		log_warn("ids remembered, batches or prefetched bytes are less than configured, so "
			 "that all partitions fit; raise consumer.memory_max for more");
	return 0;
}

/* A client with a smaller fetch buffer than configured, if the plan says so; nothing was read yet.
 */
static int limit_fetch(struct daemon *d, struct error *err)
{
	if (d->memory.fetch_bytes >= (size_t)d->cfg->kafka.fetch_buffer)
		return 0;
	kafka_client_destroy(d->kafka);
	d->kafka = NULL;
	d->kafka_cfg = *d->cfg;
	d->kafka_cfg.kafka.fetch_buffer = (int64_t)d->memory.fetch_bytes;
	return kafka_client_create(&d->kafka_cfg, &d->kafka, err);
}

/* Subsystems ----------------------------------------------------------------------------------- */

static void metrics_start(struct daemon *d)
{
	static const struct metrics_label build[] = {{"version", LEDGERD_VERSION}};

	pthread_mutex_lock(&d->lock);
	metrics_init(&d->metrics, d->meta.partitions);
	for (int32_t i = 0; i < d->meta.partitions; i++)
		d->metrics.eligible[i] = config_may_own(d->cfg, i);
	d->metrics.clock = d->clock;
	d->metrics.budget = &d->budget;
	d->metrics.build = build;
	d->metrics.build_count = 1;
	d->metrics.process_read = process_read;
	d->metrics_ready = true;
	pthread_mutex_unlock(&d->lock);
}

static void publisher_start(struct daemon *d)
{
	struct publisher_config config = publisher_config(d);
	struct publisher *publisher;

	if (!d->cfg->redis.enabled)
		return;
	d->publisher_thread = publisher_thread_create();
	d->publisher_store = store_mysql_create(&d->db_options, d->cfg->lease.ttl_ms);
	publisher = publisher_create(&config, snapshot_redis_create(d->cfg), d->publisher_store,
		publisher_thread_wake, d->publisher_thread);
	publisher_thread_start(d->publisher_thread, publisher);
	pthread_mutex_lock(&d->lock);
	d->publisher = publisher;
	d->metrics.publisher = publisher;
	d->metrics.publisher_stats = publisher_stats;
	pthread_mutex_unlock(&d->lock);
}

static struct store *create_store(void *context)
{
	struct daemon *d = context;

	return store_mysql_create(&d->db_options, d->cfg->lease.ttl_ms);
}

static struct topic *create_topic(void *context, int32_t partition)
{
	struct daemon *d = context;

	return topic_kafka_create(d->kafka, partition);
}

static struct leader_config leader_config(const struct daemon *d)
{
	struct leader_config config = {
		.partitions = d->meta.partitions,
		.all = d->cfg->consumer.partitions.all,
		.eligible = d->cfg->consumer.partitions.list,
		.eligible_count = d->cfg->consumer.partitions.count,
		.ttl_ms = d->cfg->lease.ttl_ms,
	};

	snprintf(config.consumer_id, sizeof config.consumer_id, "%s", d->cfg->consumer.id);
	return config;
}

/* More than there are partitions would have nothing to do. */
static int flusher_count(const struct daemon *d)
{
	int64_t wanted = d->cfg->consumer.flushers;
	int32_t partitions = eligible_count(d);

	return (int)(wanted < partitions ? wanted : partitions > 0 ? partitions : 1);
}

static void instance_begin(struct daemon *d)
{
	struct instance *instance;
	struct instance_config config = {
		.leader = leader_config(d),
		.partition = partition_config(d),
		.flushers = flusher_count(d),
		.keepalive_ms = d->cfg->lease.ttl_ms / 5,
	};
	struct instance_edges edges = {
		.store_create = create_store,
		.topic_create = create_topic,
		.context = d,
		.lease_store = d->lease_store,
		.publisher = d->publisher,
		.clock = d->clock,
		.budget = &d->budget,
		.metrics = d->metrics.partitions,
		.incidents = &d->incidents,
	};

	config.partition.dedupe_ids = d->memory.dedupe_ids;
	config.partition.batch_max_events = d->memory.batch_max_events;
	config.partition.batch_max_bytes = d->memory.batch_max_bytes;
	instance = instance_start(&config, &edges);
	pthread_mutex_lock(&d->lock);
	d->instance = instance;
	pthread_mutex_unlock(&d->lock);
}

/* The loop ------------------------------------------------------------------------------------- */

static void halt_for_layout(struct daemon *d, const struct topic_layout *layout)
{
	char reason[300];

	if (layout->partitions == d->meta.partitions &&
		strcmp(layout->cluster_id, d->meta.kafka_cluster_id) == 0)
		return;
	snprintf(reason, sizeof reason,
		"the topic has %" PRId32 " partitions in cluster %s, ledger_meta records %" PRId32
		" in %s: see OPERATIONS, \"Growing a topic\"",
		layout->partitions, layout->cluster_id, d->meta.partitions,
		d->meta.kafka_cluster_id);
	instance_halt(d->instance, reason);
}

/* Every minute, and every second while Kafka does not answer. */
static void check_layout(struct daemon *d)
{
	struct topic_layout layout;
	struct error err = {0};
	bool away = d->kafka_error.text[0] != '\0';

	if (now_ms(d) - d->layout_checked_ms < (away ? SERVER_AGAIN_MS : LAYOUT_CHECK_MS))
		return;
	d->layout_checked_ms = now_ms(d);
	if (topic_kafka_layout(d->kafka, &layout, &err) == 0)
		halt_for_layout(d, &layout);
	else
		log_warn("Kafka does not answer", LS("error", err.text));
	gauge_set(&d->metrics.kafka_connected, err.text[0] == '\0');
	pthread_mutex_lock(&d->lock);
	d->kafka_error = err;
	pthread_mutex_unlock(&d->lock);
}

/* A service manager starts us anew if our loops do not turn; a server that is away is no reason. */
static void tell_manager(struct daemon *d)
{
	struct instance_health health;
	char *body;

	if (look_alive(d, &body) == 200)
		notify_alive(&d->notify, now_ms(d));
	free(body);
	instance_health(d->instance, &health);
	notify_status(&d->notify, "partitions: %d owned, %d running, %d halted%s%s", health.owned,
		health.running, halted_partitions(d), health.leader_error[0] ? "; " : "",
		health.leader_error);
}

/* Watches until the process is told to end; 1 if it cannot go on. */
static int watch(struct daemon *d)
{
	struct error err;

	while (!told_to_stop(WATCH_MS)) {
		atomic_store(&d->beat_ms, now_ms(d));
		check_layout(d);
		news_look(&d->news, &d->metrics, now_ms(d));
		tell_manager(d);
		log_tick();
		if (kafka_client_failed(d->kafka, &err)) {
			log_error("librdkafka gave up; start again", LS("error", err.text));
			return 1;
		}
	}
	return 0;
}

/* Beginning and end ---------------------------------------------------------------------------- */

/* Redis gets what waits for it, but no rebuild waits for a database that hangs. */
static void publisher_stop(struct daemon *d)
{
	if (!d->publisher)
		return;
	d->publisher_store->ops->interrupt(d->publisher_store);
	publisher_thread_stop(d->publisher_thread, PUBLISH_GRACE_MS);
}

static void stop(struct daemon *d)
{
	notify_stopping(&d->notify);
	if (d->instance)
		instance_stop(d->instance);
	publisher_stop(d);
	http_destroy(d->http);
	if (d->instance)
		instance_destroy(d->instance);
	if (d->publisher)
		publisher_destroy(d->publisher);
	if (d->publisher_thread)
		publisher_thread_destroy(d->publisher_thread);
	if (d->lease_store)
		d->lease_store->ops->destroy(d->lease_store);
	if (d->kafka)
		kafka_client_destroy(d->kafka);
	if (d->metrics_ready)
		metrics_finish(&d->metrics);
	incidents_finish(&d->incidents);
	news_finish(&d->news);
	pthread_mutex_destroy(&d->lock);
}

static int refuse(const struct error *err)
{
	log_error("cannot start", LS("error", err->text));
	return 2;
}

static int run(struct daemon *d)
{
	struct error err;
	int rc;

	if (http_start(d, &err) != 0 || kafka_client_create(d->cfg, &d->kafka, &err) != 0)
		return refuse(&err);
	notify_ready(&d->notify); /* what is missing now, we wait for */
	rc = await_meta(d);
	if (rc != 0)
		return rc > 0 ? 1 : 0;
	if (plan_memory(d, &err) != 0 || limit_fetch(d, &err) != 0)
		return refuse(&err);
	d->lease_store = lease_store_mysql_create(&d->db_options, d->cfg->lease.ttl_ms);
	metrics_start(d);
	publisher_start(d);
	instance_begin(d);
	return watch(d);
}

int daemon_run(const struct config *cfg)
{
	struct daemon d = {.cfg = cfg, .clock = &clock_system};
	int rc;

	pthread_mutex_init(&d.lock, NULL);
	incidents_init(&d.incidents);
	news_init(&d.news, now_ms(&d));
	randombytes_buf(&d.seed, sizeof d.seed);
	atomic_init(&d.beat_ms, now_ms(&d));
	servers_db_options(cfg, &d.db_options);
	notify_init(&d.notify);
	log_info("ledgerd starts", LS("version", LEDGERD_VERSION), LS("consumer", cfg->consumer.id),
		LS("topic", cfg->kafka.topic));
	rc = run(&d);
	stop(&d);
	notify_finish(&d.notify);
	log_info("ledgerd ends", LI("status", rc));
	return rc;
}
