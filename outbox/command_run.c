/*
 * `outboxd run`: one thread, which steps the relay and waits for a signal as long as the relay
 * wants to wait.  All that is decided is decided by the relay; here are its edges, and what is
 * logged.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "commands.h"
#include "kafka.h"
#include "log.h"
#include "outbox_sink_kafka.h"
#include "outbox_store_mysql.h"
#include "relay.h"
#include "servers.h"
#include "signals.h"

#define REPORT_MS 60000

static const char *const examples[] = {
	"outboxd run -c ledgerd.yaml",
	"LEDGERD_LOG_LEVEL=debug outboxd run",
	NULL,
};

static const struct args_spec spec = {
	.program = "outboxd run",
	.usage = "[-c FILE]",
	.summary =
		"Sends the rows of outbox_events to Kafka until it is told to stop.  Several may run:\n"
		"one sends, the others wait for its lease.  SIGTERM or SIGINT: end the batch, release\n"
		"the lease, exit 0.  Log entries go to standard error.",
	.examples = examples,
};

/* What is logged ------------------------------------------------------------------------------- */

static void log_acquired(void *context, int64_t epoch)
{
	log_info("this relay sends now", LI("epoch", epoch));
}

static void log_lost(void *context, int64_t epoch, const char *why)
{
	log_warn("the lease is lost: another relay may send", LS("why", why), LI("epoch", epoch));
}

static void log_failed(void *context, const struct outbox_row *row)
{
	log_error("a row can never be sent, and is FAILED: see OPERATIONS, \"A FAILED row\"",
		LI("id", row->id), LS("event_id", row->event_id), LS("topic", row->topic),
		LS("reason", row->reason));
}

static void log_aside(void *context, const char *topic, const struct error *err)
{
	log_warn("the rows of a topic wait: see OPERATIONS, \"A topic that waits\"",
		LS("topic", topic), LS("error", err->text));
}

static void log_trouble(void *context, enum relay_step step, const struct error *err)
{
	log_warn("the outbox waits: tried again", LS("step", relay_step_text(step)),
		LS("error", err->text));
}

static void report(const struct relay *r)
{
	log_info("outbox", LB("sending", r->epoch != 0), LU("sent", r->counts.sent),
		LU("batches", r->counts.batches), LU("failed", r->counts.failed),
		LU("fenced", r->counts.fenced), LU("troubles", r->counts.troubles));
}

/* The relay ------------------------------------------------------------------------------------ */

static void configure(const struct config *config, struct relay_config *ret_config)
{
	*ret_config = (struct relay_config){
		.ttl_ms = config->lease.ttl_ms,
		.poll_idle_ms = config->outbox.poll_idle_ms,
		.batch_max_rows = (size_t)config->outbox.batch_max_rows,
		.batch_max_bytes = (size_t)config->outbox.batch_max_bytes,
		.seed = (uint64_t)clock_system.wall_ms(&clock_system) ^ (uint64_t)getpid() << 32,
	};
	snprintf(ret_config->holder, sizeof ret_config->holder, "%s", config->consumer.id);
}

/* Signals are looked at between any two steps. */
static void drive(struct relay *r)
{
	int64_t report_ms = clock_system.now_ms(&clock_system) + REPORT_MS;

	while (!relay_stopped(r)) {
		int64_t now_ms = clock_system.now_ms(&clock_system);
		int64_t wait_ms = relay_step(r, now_ms);
		int number = signals_wait(wait_ms);

		if (number) {
			log_info("told to stop", LS("signal", strsignal(number)));
			relay_stop(r);
		}
		log_tick();
		if (now_ms < report_ms)
			continue;
		report_ms = now_ms + REPORT_MS;
		report(r);
	}
}

static void relay_until_stopped(const struct config *config)
{
	const struct relay_events events = {
		.acquired = log_acquired,
		.lost = log_lost,
		.failed = log_failed,
		.aside = log_aside,
		.trouble = log_trouble,
	};
	struct db_options options;
	struct relay_config relay_config;
	struct outbox_store *store;
	struct outbox_sink *sink = outbox_sink_kafka_create(config);
	struct relay r;

	servers_db_options(config, &options);
	store = outbox_store_mysql_create(&options, config->lease.ttl_ms);
	configure(config, &relay_config);
	relay_init(&r, &relay_config, store, sink, &events);
	log_info("outboxd begins", LS("version", LEDGERD_VERSION),
		LS("holder", relay_config.holder));
	drive(&r);
	report(&r);
	relay_finish(&r);
	sink->ops->destroy(sink);
	store->ops->destroy(store);
}

/* A property that librdkafka does not take will not become right by trying again. */
static int check_properties(const struct config *config)
{
	struct error err;
	rd_kafka_t *rk = NULL;
	int rc = kafka_open_relay(config, NULL, NULL, &rk, &err);

	kafka_close(rk);
	if (rc == 0)
		return EXIT_DONE;
	command_failed("opening a producer", &err);
	return rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

int command_run(int argc, char **argv)
{
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = check_properties(&config);
	if (status == EXIT_DONE)
		relay_until_stopped(&config);
	command_end(&config);
	return status;
}
