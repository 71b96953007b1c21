/* What several tests of the core need: cmocka's headers, messages in words, a random source. */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "amounts.h"
#include "batch.h"
#include "decode.h"

#define FIXTURE_TIME_MS INT64_C(1767225600000)

static inline uint64_t fixture_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline currency_t fixture_currency(const char *text)
{
	return currency_pack(text, strlen(text));
}

/* Adds an event's message to a batch and decodes it, as a partition does. */
static inline struct record *fixture_add(struct batch *b, int64_t offset, const char *id,
	int64_t account, const char *type, const char *amount)
{
	static const unsigned char secret[DEDUPE_KEY_BYTES] = "fixture";
	struct dedupe_key key = dedupe_key(secret);
	char key_text[24];
	char value[512];
	struct message message = {.offset = offset, .timestamp_ms = FIXTURE_TIME_MS};
	struct record *record;

	message.key = key_text;
	message.key_length = (size_t)snprintf(
		key_text, sizeof key_text, "%lld", (long long)account);
	message.value = value;
	message.value_length = (size_t)snprintf(value, sizeof value,
		"{\"transaction_id\":\"%s\",\"account_id\":%lld,\"currency\":\"USDT\","
		"\"type\":\"%s\",\"amount\":\"%s\"}",
		id, (long long)account, type, amount);
	record = batch_add(b, &message);
	batch_keep(b, record);
	record->dead_reason = decode_message(
		&record->message, 0, 1, &record->event, &record->detail);
	if (record->dead_reason == DEAD_NONE)
		record->id = dedupe_id(&key, &record->event);
	return record;
}

#endif
