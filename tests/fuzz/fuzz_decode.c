/* Any bytes: decode_event and the oracle agree on whether they are an event, and on which. */
#include <string.h>

#include "check.h"
#include "decode.h"
#include "decode_oracle.h"
#include "murmur2.h"

/* An amount's 36 digits, one by one. */
static void spell(i128 amount, char text[37])
{
	text[36] = '\0';
	for (int i = 35; i >= 0; i--, amount /= 10)
		text[i] = (char)('0' + (int)(amount % 10));
	CHECK(amount == 0);
}

static void compare(
	const struct event *event, const struct oracle_event *expected, int64_t timestamp_ms)
{
	char currency[CURRENCY_LENGTH_MAX + 1];
	char account[24];
	char amount[37];

	CHECK(event->transaction_id_length == strlen(expected->transaction_id));
	CHECK(!memcmp(
		event->transaction_id, expected->transaction_id, event->transaction_id_length));
	snprintf(account, sizeof(account), "%lld", (long long)event->account_id);
	CHECK(!strcmp(account, expected->account_id));
	currency_text(event->currency, currency);
	CHECK(!strcmp(currency, expected->currency));
	CHECK(!strcmp(event_type_text(event->type), expected->type));
	spell(event->amount, amount);
	CHECK(!strcmp(amount, expected->amount));
	CHECK(event->time_ms == (*expected->ts ? atoll(expected->ts) : timestamp_ms));
}

/* The same value with its own key, another, and none, in its partition and in another. */
static void check_message(const char *value, size_t length, const char *account)
{
	struct message message = {
		.key = account,
		.key_length = strlen(account),
		.value = value,
		.value_length = length,
	};
	int32_t home = murmur2_partition(account, strlen(account), 7);
	const char *detail = NULL;
	struct event event;

	CHECK(decode_message(&message, home, 7, &event, &detail) == DEAD_NONE);
	CHECK(decode_message(&message, (home + 1) % 7, 7, &event, &detail) == DEAD_WRONG_PARTITION);
	CHECK(detail);
	message.key_length--;
	CHECK(decode_message(&message, home, 7, &event, &detail) == DEAD_KEY_MISMATCH);
	message.key = NULL;
	CHECK(decode_message(&message, home, 7, &event, &detail) == DEAD_KEY_MISMATCH);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int64_t timestamp_ms = 1700000000123;
	struct oracle_event expected;
	struct event event;
	const char *detail = NULL;
	enum dead_reason reason = decode_event(
		(const char *)data, size, timestamp_ms, &event, &detail);
	bool good = decode_oracle(data, size, &expected);

	if ((reason == DEAD_NONE) != good)
		fprintf(stderr, "the oracle says %s; detail: %s\n", good ? "event" : "malformed",
			detail ? detail : "none");
	CHECK((reason == DEAD_NONE) == good);
	CHECK(good || (reason == DEAD_MALFORMED && detail && *detail));
	if (good) {
		compare(&event, &expected, timestamp_ms);
		check_message((const char *)data, size, expected.account_id);
	}
	return 0;
}
