/*
 * The configuration: one YAML file, and over it the environment.
 *
 * Every option is a row of the table in options.c and a field here of the same name:
 * `consumer.batch_max_events` is cfg.consumer.batch_max_events.  A `struct config` owns its texts
 * and lists, is complete and within its ranges when config_load has returned 0, and never changes
 * afterwards, so that every thread may read it.
 *
 * Messages are `FILE:LINE:COLUMN: what; expected what`, or begin with the name of the environment
 * variable.  Passwords and secrets are in no message, and config_print does not print them.
 */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "log.h"

#define CONFIG_DEFAULT_PATH     "/etc/ledgerd/ledgerd.yaml"
#define CONFIG_MEMORY_MIN_BYTES (64 * 1024 * 1024)

/* A property for librdkafka. */
struct config_property {
	char *name;
	char *value;
};

struct config_properties {
	struct config_property *items; /* as they stand in the file, no name twice */
	size_t count;
};

/* The partitions that this instance may own. */
struct config_partitions {
	bool all;
	int32_t *list; /* if not all: ascending, no one twice, at least one */
	size_t count;
};

/* Where to listen: host is a name or an address (IPv6 without brackets); NULL: nowhere. */
struct config_listen {
	char *host;
	int64_t port;
};

struct config_ledger {
	char *name;
};

struct config_kafka {
	char *bootstrap_servers;
	char *topic;
	struct config_properties properties;
	char *password_file; /* "": none */
	char *password; /* for SASL: LEDGERD_KAFKA_PASSWORD, else from password_file, else "" */
	int64_t fetch_buffer; /* bytes a partition */
};

struct config_mysql {
	char *host;
	int64_t port;
	char *socket; /* "": host and port */
	char *user;
	char *password_file; /* "": none */
	char *password; /* no option: LEDGERD_MYSQL_PASSWORD, else from password_file, else "" */
	char *database;
	char *tls_ca; /* "": no TLS */
	bool tls_verify;
	int64_t connect_timeout_ms;
};

struct config_redis {
	bool enabled;
	char *host;
	int64_t port;
	char *user; /* "": the default user */
	char *password_file;
	char *password; /* as for MySQL */
	int64_t keys_per_call;
	int64_t calls_in_flight;
	int64_t pending_max; /* balances */
	int64_t check_interval_ms;
};

struct config_http {
	struct config_listen listen;
};

struct config_consumer {
	char *id; /* "" only before config_load has resolved it */
	struct config_partitions partitions;
	int64_t poll_idle_ms;
	int64_t flush_interval_min_ms;
	int64_t batch_max_events;
	int64_t batch_max_bytes;
	int64_t flushers;   /* threads that write, each with a connection */
	int64_t memory_max; /* bytes; 0 is auto: see config_memory_bytes */
	int64_t dedupe_ids;
	int64_t dedupe_prime; /* never above dedupe_ids */
};

struct config_lease {
	int64_t ttl_ms;
};

struct config_outbox {
	int64_t batch_max_rows;
	int64_t batch_max_bytes;
	int64_t poll_idle_ms;
};

struct config_log {
	enum log_level level;
	enum log_format format;
	int64_t repeat_ms;
};

struct config {
	struct config_ledger ledger;
	struct config_kafka kafka;
	struct config_mysql mysql;
	struct config_redis redis;
	struct config_http http;
	struct config_consumer consumer;
	struct config_lease lease;
	struct config_outbox outbox;
	struct config_log log;
};

/*
 * Defaults, then the file, then the variables of `environment` (as `environ` has them; NULL: none).
 * path NULL is CONFIG_DEFAULT_PATH, where there need be no file.  Reads password files, and names
 * the consumer after host and process if it has no name.
 * 0, or -EINVAL, which is a matter for exit status 2.  Either way the config is to be finished.
 */
int config_load(struct config *cfg, const char *path, char **environment, struct error *err);

/* The same from text[0..length), called `source` in messages, without reading anything else:
 * passwords come from the environment alone, and consumer.id may be "". */
int config_parse_buffer(struct config *cfg, const char *source, const char *text, size_t length,
	char **environment, struct error *err);

void config_finish(struct config *cfg);

/* All options with their values, as YAML that reads back to the same, but for secrets. */
void config_print(const struct config *cfg, FILE *file);

/* consumer.memory_max in bytes; `auto` is a quarter of the memory of the machine, or of the control
 * group that the process is in, if that has less. */
int64_t config_memory_bytes(const struct config *cfg);

/* Whether consumer.partitions has this one. */
bool config_may_own(const struct config *cfg, int32_t partition);

#endif
