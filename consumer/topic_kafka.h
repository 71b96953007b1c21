/*
 * A partition's log in Kafka, as topic.h wants it.
 *
 * What a reader of the log may rely on, beside topic.h:
 *  - Nothing is ever passed over.  A batch that is damaged (CRC) or that librdkafka cannot read is
 *    an error and not a gap: the log is opened again at the offset that is due, for ever.
 *  - A read_committed reader's offsets have gaps; TOPIC_END comes behind them.  With a transaction
 *    open, TOPIC_END is where it began.
 *  - After TOPIC_OUT_OF_RANGE or TOPIC_GONE nothing comes until it is opened again.
 *  - Headers are JSON as headers.h says.
 */
#ifndef CONSUMER_TOPIC_KAFKA_H
#define CONSUMER_TOPIC_KAFKA_H

#include "kafka_client.h"
#include "topic.h"

/*
 * Does not wait for Kafka, and whether there is such a partition is found out later.  Free it with
 * its destroy, before the client.  One of a partition at a time may be open in a client.
 */
struct topic *topic_kafka_create(struct kafka_client *client, int32_t partition);

/* Kafka's shape of the topic, without a topic. */
int topic_kafka_layout(
	struct kafka_client *client, struct topic_layout *ret_layout, struct error *err);

#endif
