#include "log_anchor.h"

#include <assert.h>

#include "murmur2.h"

static const struct log_mark none = {.offset = LOG_MARK_NONE};

void log_anchor_init(struct log_anchor *anchor)
{
	*anchor = (struct log_anchor){.held = none, .next = none};
}

static struct log_mark mark_of(const struct message *message)
{
	return (struct log_mark){
		.offset = message->offset,
		.timestamp_ms = message->timestamp_ms,
		.key_length = message->key_length,
		.value_length = message->value_length,
		.key_hash = murmur2(message->key, message->key_length),
		.value_hash = murmur2(message->value, message->value_length),
	};
}

/* At the offset before it there is nothing; a hash of an empty value is not 0. */
void log_anchor_begins(struct log_anchor *anchor, int64_t begin_offset)
{
	if (anchor->held.offset == LOG_MARK_NONE && begin_offset > 0)
		anchor->held.offset = begin_offset - 1;
}

bool log_anchor_wants(const struct log_anchor *anchor)
{
	return anchor->held.offset == LOG_MARK_NONE || anchor->next.offset == LOG_MARK_NONE;
}

void log_anchor_read(struct log_anchor *anchor, const struct message *message)
{
	assert(log_anchor_wants(anchor));
	if (anchor->held.offset == LOG_MARK_NONE)
		anchor->held = mark_of(message);
	else
		anchor->next = mark_of(message);
}

void log_anchor_answered(struct log_anchor *anchor, enum log_answer answer)
{
	if (answer != LOG_SAME && answer != LOG_ABSENT)
		return;
	if (anchor->next_waited) {
		anchor->held = anchor->next;
		anchor->next = none;
	}
	anchor->next_waited = anchor->next.offset != LOG_MARK_NONE;
}

enum log_answer log_mark_compare(const struct log_mark *mark, const struct message *message)
{
	struct log_mark found = mark_of(message);

	return found.offset == mark->offset && found.timestamp_ms == mark->timestamp_ms &&
			       found.key_length == mark->key_length &&
			       found.value_length == mark->value_length &&
			       found.key_hash == mark->key_hash &&
			       found.value_hash == mark->value_hash
		       ? LOG_SAME
		       : LOG_OTHER;
}
