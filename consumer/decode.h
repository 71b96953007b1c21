/*
 * From a message's bytes to an event, or to the reason why it is none (CONTRACT section 1).
 *
 * Pure: no allocation, no clock, no locale.  The whole value is checked to be one JSON object in
 * UTF-8, also the members that are ignored; amounts are read from their digits.
 */
#ifndef CONSUMER_DECODE_H
#define CONSUMER_DECODE_H

#include "event.h"
#include "message.h"

/*
 * Reads an event from value[0..length).  A missing ts is taken from timestamp_ms (brought into
 * 0..EVENT_TIME_MAX_MS; 0 for MESSAGE_NO_TIMESTAMP).  Returns DEAD_NONE or DEAD_MALFORMED; then
 * *ret_detail is a constant sentence that says what is wrong (never NULL), and *ret_event is
 * unspecified.
 */
enum dead_reason decode_event(const char *value, size_t length, int64_t timestamp_ms,
	struct event *ret_event, const char **ret_detail);

/*
 * The same for a whole message, its key and its place included: DEAD_MALFORMED, then
 * DEAD_KEY_MISMATCH, then DEAD_WRONG_PARTITION for a topic of `partitions` partitions.
 */
enum dead_reason decode_message(const struct message *message, int32_t partition,
	int32_t partitions, struct event *ret_event, const char **ret_detail);

#endif
