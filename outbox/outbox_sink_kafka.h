/* The outbox's way into Kafka: one transactional producer, "outboxd.<ledger.name>". */
#ifndef OUTBOX_OUTBOX_SINK_KAFKA_H
#define OUTBOX_OUTBOX_SINK_KAFKA_H

#include "config.h"
#include "outbox_sink.h"

/* The config outlives the sink.  Nothing is done before the first open. */
struct outbox_sink *outbox_sink_kafka_create(const struct config *cfg);

#endif
