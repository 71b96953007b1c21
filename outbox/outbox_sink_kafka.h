/* The outbox's way into Kafka: one transactional producer, "outboxd.<ledger.name>". */
#ifndef OUTBOX_OUTBOX_SINK_KAFKA_H
#define OUTBOX_OUTBOX_SINK_KAFKA_H

#include "config.h"
#include "outbox_sink.h"

/* The config outlives the sink, and no more than outbox.batch_max_rows are sent in a transaction.
 * Nothing is done before the first open. */
struct outbox_sink *outbox_sink_kafka_create(const struct config *cfg);

#endif
