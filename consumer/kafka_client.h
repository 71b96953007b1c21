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
 * commits the offsets that are to be shown, once a second, one commit at a time, has the asker look
 * every ten seconds whether the logs are still the same (log_anchor.h, log_watch.h), which a commit
 * without an answer holds up too, and wakes the reader when a partition runs dry with more in the
 * log: before 2.2 librdkafka looks at a queue that was full only once a second.  It sleeps while
 * none of this is to be done.
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
#include "message.h"

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

/* A topic as its client knows it: a part of the topic, which clears `gone` with every open. */
struct kafka_member {
	int32_t partition;
	atomic_bool gone;   /* set by the client: topic, partition or queue; or another log */
	atomic_bool wanted; /* set by the client: to be told of a message (kafka_client_read) */
	void (*wake)(struct kafka_member *member);
	/* The client's. */
	uint64_t reader_id; /* another one whenever the anchor was forgotten */
	struct log_anchor anchor;
	struct kafka_member *next;
};

const struct config *kafka_client_config(const struct kafka_client *client);
rd_kafka_t *kafka_client_reader(const struct kafka_client *client);
rd_kafka_t *kafka_client_asker(const struct kafka_client *client);

/* Before the first open, and after the last close. */
void kafka_client_join(struct kafka_client *client, struct kafka_member *member);
void kafka_client_leave(struct kafka_client *client, struct kafka_member *member);

/* A view of librdkafka's message, without headers.  Here, since every message comes by. */
static inline struct message kafka_client_message(const rd_kafka_message_t *m)
{
	rd_kafka_timestamp_type_t type;
	int64_t timestamp_ms = rd_kafka_message_timestamp(m, &type);

	return (struct message){
		.offset = m->offset,
		.timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? MESSAGE_NO_TIMESTAMP
									 : timestamp_ms,
		.key = m->key,
		.key_length = m->key_len,
		.value = m->payload,
		.value_length = m->len,
	};
}

/* For the watch: a message that was read; where the log begins; and that it may be another one from
 * now on, which is somebody else's matter. */
void kafka_client_read(
	struct kafka_client *client, struct kafka_member *member, const struct message *message);
void kafka_client_begins(
	struct kafka_client *client, struct kafka_member *member, int64_t begin_offset);
void kafka_client_forget(struct kafka_client *client, struct kafka_member *member);

/* Around every call that takes from the partition's queue: librdkafka says there, by a callback
 * that does not name the partition, that the partition does not exist. */
void kafka_client_begin(struct kafka_member *member);
void kafka_client_end(void);

/* The partition's queue runs dry, and the log has more. */
void kafka_client_nudge(struct kafka_client *client, int32_t partition);

/* To be shown to Kafka's own tools with the next commit. */
void kafka_client_mirror(struct kafka_client *client, int32_t partition, int64_t next_offset);

#endif
