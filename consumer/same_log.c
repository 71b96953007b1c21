#include "same_log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "topic_kafka.h"

#define TRIES 3

int same_log(struct kafka_client *kafka, const struct config *cfg, const struct ledger_meta *meta,
	struct error *err)
{
	struct topic_layout layout;
	int rc = -EAGAIN;

	for (int i = 0; i < TRIES && rc == -EAGAIN; i++)
		rc = topic_kafka_layout(kafka, &layout, err);
	if (rc != 0)
		return rc;
	if (strcmp(meta->topic, cfg->kafka.topic) == 0 &&
		strcmp(meta->kafka_cluster_id, layout.cluster_id) == 0 &&
		meta->partitions == layout.partitions)
		return 0;
	return error_set(err, -EINVAL,
		"this database belongs to topic %s with %" PRId32
		" partitions of Kafka cluster %s, but kafka names topic %s with %" PRId32
		" partitions in cluster %s: name the right log in kafka",
		meta->topic, meta->partitions, meta->kafka_cluster_id, cfg->kafka.topic,
		layout.partitions, layout.cluster_id);
}
