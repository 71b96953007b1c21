/* A message as the log delivers it: a view of bytes that somebody else owns. */
#ifndef CONSUMER_MESSAGE_H
#define CONSUMER_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#define MESSAGE_NO_TIMESTAMP   INT64_C(-1)
#define MESSAGE_OVERHEAD_BYTES 350 /* of one that a client holds, beside its bytes (measured) */

struct message {
	int64_t offset;
	int64_t timestamp_ms; /* Kafka's; MESSAGE_NO_TIMESTAMP if it has none */
	const char *key;      /* NULL if absent; may be empty */
	size_t key_length;
	const char *value; /* NULL if absent (a tombstone); may be empty */
	size_t value_length;
	const char *headers; /* JSON text: an array of [name, value], each a string, or null, or
				{"base64": "..."} (headers.h); NULL if there are none, or nobody
				has asked the topic for them */
	size_t headers_length;
};

#endif
