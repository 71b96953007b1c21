#include "order.h"

#include <assert.h>
#include <string.h>

#define DIGIT_BITS 11
#define DIGITS     (1 << DIGIT_BITS)

int balance_key_compare(const struct balance_key *a, const struct balance_key *b)
{
	if (a->account_id != b->account_id)
		return a->account_id < b->account_id ? -1 : 1;
	if (a->currency != b->currency)
		return a->currency < b->currency ? -1 : 1;
	return 0;
}

static unsigned digit_of(uint64_t account_id, int shift)
{
	return account_id >> shift & (DIGITS - 1);
}

/* One pass: by the digit at `shift`; what is equal there keeps its order. */
static void sort_by_digit(
	const struct order_item *from, struct order_item *to, size_t count, int shift)
{
	uint32_t starts[DIGITS] = {0};
	uint32_t start = 0;

	for (size_t i = 0; i < count; i++)
		starts[digit_of(from[i].account_id, shift)]++;
	for (size_t digit = 0; digit < DIGITS; digit++) {
		uint32_t found = starts[digit];

		starts[digit] = start;
		start += found;
	}
	for (size_t i = 0; i < count; i++)
		to[starts[digit_of(from[i].account_id, shift)]++] = from[i];
}

/* The currencies of one account, few as they are, by insertion. */
static void sort_currencies(const struct touched *touched, uint32_t *order, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		uint32_t index = order[i];
		size_t at = i;

		while (at > 0 &&
			balance_key_compare(&touched[order[at - 1]].key, &touched[index].key) > 0) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = index;
	}
}

static struct order_item *sort_accounts(
	struct order_item *items, struct order_item *other, size_t count, uint64_t highest)
{
	for (int shift = 0; shift < 64 && highest >> shift != 0; shift += DIGIT_BITS) {
		struct order_item *sorted = other;

		sort_by_digit(items, sorted, count, shift);
		other = items;
		items = sorted;
	}
	return items;
}

void order_touched(const struct touched *touched, size_t count, struct order_item *scratch,
	uint32_t *ret_order)
{
	struct order_item *items = scratch;
	uint64_t highest = 0;
	size_t begin = 0;

	assert(count <= UINT32_MAX);
	for (size_t i = 0; i < count; i++) {
		assert(touched[i].key.account_id > 0);
		items[i] = (struct order_item){(uint64_t)touched[i].key.account_id, i};
		highest |= items[i].account_id;
	}
	items = sort_accounts(items, scratch + count, count, highest);
	for (size_t i = 0; i < count; i++) {
		ret_order[i] = (uint32_t)items[i].rest;
		if (i + 1 == count || items[i + 1].account_id != items[i].account_id) {
			sort_currencies(touched, ret_order + begin, i + 1 - begin);
			begin = i + 1;
		}
	}
}

/* One account's currencies, from keys[begin] on. */
static size_t insert_currency(
	struct balance_key *keys, size_t begin, size_t end, currency_t currency)
{
	struct balance_key key = {keys[begin].account_id, currency};
	size_t at = end;

	while (at > begin && keys[at - 1].currency > currency)
		at--;
	if (at > begin && keys[at - 1].currency == currency)
		return end;
	memmove(&keys[at + 1], &keys[at], (end - at) * sizeof *keys);
	keys[at] = key;
	return end + 1;
}

size_t order_keys(struct balance_key *keys, size_t count, struct order_item *scratch)
{
	struct order_item *items = scratch;
	uint64_t highest = 0;
	size_t begin = 0, end = 0;

	for (size_t i = 0; i < count; i++) {
		assert(keys[i].account_id > 0);
		items[i] = (struct order_item){(uint64_t)keys[i].account_id, keys[i].currency};
		highest |= items[i].account_id;
	}
	items = sort_accounts(items, scratch + count, count, highest);
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && items[i].account_id == items[i - 1].account_id) {
			end = insert_currency(keys, begin, end, items[i].rest);
			continue;
		}
		begin = end;
		keys[end++] = (struct balance_key){(int64_t)items[i].account_id, items[i].rest};
	}
	return end;
}
