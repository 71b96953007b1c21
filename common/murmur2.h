/* Kafka's partitioner: murmur2 as the Java client computes it
 * (org.apache.kafka.common.utils.Utils). */
#ifndef COMMON_MURMUR2_H
#define COMMON_MURMUR2_H

#include <stddef.h>
#include <stdint.h>

uint32_t murmur2(const void *key, size_t length);

/* The partition of a key: (murmur2 & 0x7fffffff) mod partitions.  partitions >= 1. */
int32_t murmur2_partition(const void *key, size_t length, int32_t partitions);

#endif
