#include "apply.h"

#include <assert.h>
#include <stdbool.h>

/* What an event adds to each amount; the rest follows from the bounds of a balance. */
struct effect {
	int8_t available;
	int8_t frozen;
	uint8_t shortfall; /* the refusal when an amount would fall below zero */
};

static const struct effect effects[] = {
	[EVENT_DEPOSIT] = {+1, 0, REFUSAL_NONE},
	[EVENT_WITHDRAW] = {-1, 0, REFUSAL_INSUFFICIENT_AVAILABLE},
	[EVENT_FREEZE] = {-1, +1, REFUSAL_INSUFFICIENT_AVAILABLE},
	[EVENT_UNFREEZE] = {+1, -1, REFUSAL_INSUFFICIENT_FROZEN},
	[EVENT_SETTLE] = {0, -1, REFUSAL_INSUFFICIENT_FROZEN},
};

static bool in_bounds(i128 amount)
{
	return amount >= 0 && amount <= DECIMAL_MAX;
}

enum refusal apply(struct balance *balance, enum event_type type, i128 amount)
{
	const struct effect *effect = &effects[type];
	i128 available = balance->available + effect->available * amount;
	i128 frozen = balance->frozen + effect->frozen * amount;

	assert(type >= EVENT_DEPOSIT && type <= EVENT_SETTLE);
	assert(amount > 0 && amount <= DECIMAL_MAX);
	assert(in_bounds(balance->available) && in_bounds(balance->frozen));

	/* A shortfall is told before an overflow. */
	if (available < 0 || frozen < 0)
		return effect->shortfall;
	if (available > DECIMAL_MAX || frozen > DECIMAL_MAX)
		return REFUSAL_OVERFLOW;

	balance->available = available;
	balance->frozen = frozen;
	balance->version++;
	return REFUSAL_NONE;
}
