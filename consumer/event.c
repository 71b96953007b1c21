/* See event.h. */
#include "event.h"

#include <assert.h>
#include <string.h>

static const char *const event_types[] = {
	[EVENT_DEPOSIT] = "DEPOSIT",
	[EVENT_WITHDRAW] = "WITHDRAW",
	[EVENT_FREEZE] = "FREEZE",
	[EVENT_UNFREEZE] = "UNFREEZE",
	[EVENT_SETTLE] = "SETTLE",
};

static const char *const dead_reasons[] = {
	[DEAD_NONE] = "NONE",
	[DEAD_MALFORMED] = "MALFORMED",
	[DEAD_KEY_MISMATCH] = "KEY_MISMATCH",
	[DEAD_WRONG_PARTITION] = "WRONG_PARTITION",
	[DEAD_ID_CONFLICT] = "ID_CONFLICT",
};

static const char *const refusals[] = {
	[REFUSAL_NONE] = NULL,
	[REFUSAL_INSUFFICIENT_AVAILABLE] = "INSUFFICIENT_AVAILABLE",
	[REFUSAL_INSUFFICIENT_FROZEN] = "INSUFFICIENT_FROZEN",
	[REFUSAL_OVERFLOW] = "OVERFLOW",
};

static const char *const outcomes[] = {
	[OUTCOME_PENDING] = "pending",
	[OUTCOME_APPLIED] = "applied",
	[OUTCOME_REFUSED] = "refused",
	[OUTCOME_DUPLICATE] = "duplicate",
	[OUTCOME_DEAD_LETTER] = "dead_letter",
};

const char *event_type_text(enum event_type type)
{
	assert(type >= EVENT_DEPOSIT && type <= EVENT_SETTLE);
	return event_types[type];
}

const char *dead_reason_text(enum dead_reason reason)
{
	assert(reason <= DEAD_ID_CONFLICT);
	return dead_reasons[reason];
}

const char *refusal_text(enum refusal refusal)
{
	assert(refusal <= REFUSAL_OVERFLOW);
	return refusals[refusal];
}

const char *outcome_text(enum outcome outcome)
{
	assert(outcome <= OUTCOME_DEAD_LETTER);
	return outcomes[outcome];
}

bool event_same(const struct event *a, const struct event *b)
{
	return a->account_id == b->account_id && a->currency == b->currency && a->type == b->type &&
	       a->amount == b->amount && a->transaction_id_length == b->transaction_id_length &&
	       memcmp(a->transaction_id, b->transaction_id, a->transaction_id_length) == 0;
}

enum event_type event_type_parse(const char *text, size_t length)
{
	switch (length) {
	case 6:
		if (!memcmp(text, "FREEZE", 6))
			return EVENT_FREEZE;
		return memcmp(text, "SETTLE", 6) ? 0 : EVENT_SETTLE;
	case 7:
		return memcmp(text, "DEPOSIT", 7) ? 0 : EVENT_DEPOSIT;
	case 8:
		if (!memcmp(text, "WITHDRAW", 8))
			return EVENT_WITHDRAW;
		return memcmp(text, "UNFREEZE", 8) ? 0 : EVENT_UNFREEZE;
	default:
		return 0;
	}
}
