#include "newest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"

static bool same_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
	if (!a || !b)
		return a == b;
	return a_length == b_length && memcmp(a, b, a_length) == 0;
}

bool newest_agrees(const struct store_newest *newest, const struct message *message,
	int32_t partition, int32_t partitions)
{
	struct event event;
	const char *detail;

	assert(newest->found);
	if (message->offset != newest->offset)
		return false;
	if (newest->dead_letter)
		return same_bytes(message->key, message->key_length, newest->key,
			       newest->key_length) &&
		       same_bytes(message->value, message->value_length, newest->value,
			       newest->value_length);
	return decode_message(message, partition, partitions, &event, &detail) == DEAD_NONE &&
	       event_same(&event, &newest->event);
}

void newest_forget(struct store_newest *newest)
{
	free(newest->key);
	free(newest->value);
	*newest = (struct store_newest){0};
}
