/* Whether a command looks at the log that the database was made from. */
#ifndef CONSUMER_SAME_LOG_H
#define CONSUMER_SAME_LOG_H

#include "kafka_client.h"
#include "ledger_meta.h"

/* 0; -EINVAL if Kafka's topic is another by cluster, name or number of partitions; -EAGAIN if Kafka
 * does not answer. */
int same_log(struct kafka_client *kafka, const struct config *cfg, const struct ledger_meta *meta,
	struct error *err);

#endif
