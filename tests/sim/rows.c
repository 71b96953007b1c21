#include "rows.h"

#include <string.h>

bool rows_same_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
	if (!a || !b)
		return a == b;
	return a_length == b_length && memcmp(a, b, a_length) == 0;
}

bool rows_same_id(const struct event *a, const struct event *b)
{
	return a->account_id == b->account_id &&
	       a->transaction_id_length == b->transaction_id_length &&
	       memcmp(a->transaction_id, b->transaction_id, a->transaction_id_length) == 0;
}

bool rows_same_content(const struct event *a, const struct event *b)
{
	return a->currency == b->currency && a->type == b->type && a->amount == b->amount;
}

bool rows_same(const struct memory_journal_row *a, const struct memory_journal_row *b)
{
	return a->offset == b->offset && rows_same_id(&a->event, &b->event) &&
	       rows_same_content(&a->event, &b->event) && a->event.time_ms == b->event.time_ms &&
	       a->refusal == b->refusal && a->available_after == b->available_after &&
	       a->frozen_after == b->frozen_after && a->prev_offset == b->prev_offset;
}

bool rows_same_letter(const struct memory_dead_letter *a, const struct memory_dead_letter *b)
{
	return a->offset == b->offset && a->reason == b->reason &&
	       rows_same_bytes(a->key, a->key_length, b->key, b->key_length) &&
	       rows_same_bytes(a->value, a->value_length, b->value, b->value_length);
}

bool rows_same_balance(const struct store_balance *a, const struct store_balance *b)
{
	return balance_key_compare(&a->key, &b->key) == 0 && a->partition == b->partition &&
	       a->balance.available == b->balance.available &&
	       a->balance.frozen == b->balance.frozen && a->balance.version == b->balance.version &&
	       a->balance.last_offset == b->balance.last_offset;
}
