/*
 * The process's connections to Kafka, which its topics (topic_kafka.h) share.
 *
 * Two instances of librdkafka: the reader fetches as a read_committed reader; the asker looks up
 * watermarks and the topic's shape, and shows offsets to Kafka's own tools.  They are apart because
 * in librdkafka a commit that has not been answered holds up every new assignment, and because only
 * a read_uncommitted client is told the high watermark (a read_committed one: the last stable
 * offset).
 *
 * The client has one thread.  It serves what is not about one partition (errors, commits' results),
 * commits the offsets that are to be shown, once a second, one commit at a time, looks every ten
 * seconds whether the logs are still the same (log_watch.h), and wakes the reader when a partition
 * runs dry with more in the log: before 2.2 librdkafka looks at a queue that was full only once a
 * second.  It sleeps while none of this is to be done.
 *
 * All functions but create and destroy are for any thread.
 */
#ifndef CONSUMER_KAFKA_CLIENT_H
#define CONSUMER_KAFKA_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "kafka.h"
#include "log_watch.h"

struct kafka_client;

/* The configuration outlives the client.  Does not wait for a broker.  -EINVAL if librdkafka
 * refuses a property (exit status 2). */
int kafka_client_create(
	const struct config *cfg, struct kafka_client **ret_client, struct error *err);

/* Shows the last offsets if Kafka answers within a second, and frees.  Its topics are destroyed. */
void kafka_client_destroy(struct kafka_client *client);

/*
 * librdkafka gave up for good (ERR__FATAL; for a reader without a group this should never happen):
 * no topic delivers anything any more.  The client and its topics must be made anew, or the process
 * started again.  *err is written if it did.
 */
bool kafka_client_failed(struct kafka_client *client, struct error *err);

/* Messages that came outside their partition's queue; anything but 0 is a bug or a topic that was
 * removed under us.  Their topics say TOPIC_GONE. */
uint64_t kafka_client_strays(const struct kafka_client *client);

/* How often the logs are watched, for tests. */
void kafka_client_set_watch_interval(struct kafka_client *client, int64_t interval_ms);

/* For topics. */

/* A topic as its client knows it: a part of the topic. */
struct kafka_member {
	int32_t partition;
	atomic_bool gone;        /* set by the client: topic, partition or queue; or another log */
	_Atomic int64_t read_ms; /* Kafka's time of the newest message read; LOG_WATCH_NONE: none */
	void (*wake)(struct kafka_member *member);
	/* The client's. */
	uint64_t open_id; /* no two opens have the same */
	struct log_watch watch;
	struct kafka_member *next;
};

const struct config *kafka_client_config(const struct kafka_client *client);
rd_kafka_t *kafka_client_reader(const struct kafka_client *client);
rd_kafka_t *kafka_client_asker(const struct kafka_client *client);

/* Before the first open, and after the last close. */
void kafka_client_join(struct kafka_client *client, struct kafka_member *member);
void kafka_client_leave(struct kafka_client *client, struct kafka_member *member);

/* Before each open: what was known of the log is forgotten. */
void kafka_client_opening(struct kafka_client *client, struct kafka_member *member);

/* Around every call that takes from the partition's queue: librdkafka says there, by a callback
 * that does not name the partition, that the partition does not exist. */
void kafka_client_begin(struct kafka_member *member);
void kafka_client_end(void);

/* The partition's queue runs dry, and the log has more. */
void kafka_client_nudge(struct kafka_client *client, int32_t partition);

/* To be shown to Kafka's own tools with the next commit. */
void kafka_client_mirror(struct kafka_client *client, int32_t partition, int64_t next_offset);

#endif
