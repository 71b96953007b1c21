/* See verify_totals.h. */
#include "verify_totals.h"

#include <stdlib.h>

#include "mem.h"

#define CAPACITY_MIN 64

/* What a type does to the money that there is. */
static const int8_t effects[] = {
	[EVENT_DEPOSIT] = 1,
	[EVENT_WITHDRAW] = -1,
	[EVENT_FREEZE] = 0,
	[EVENT_UNFREEZE] = 0,
	[EVENT_SETTLE] = -1,
};

void verify_totals_init(struct verify_totals *totals)
{
	*totals = (struct verify_totals){.capacity = CAPACITY_MIN};
	totals->slots = xcalloc(totals->capacity, sizeof *totals->slots);
	totals->last = totals->slots;
}

void verify_totals_finish(struct verify_totals *totals)
{
	free(totals->slots);
}

static struct verify_total *slot_of(const struct verify_totals *totals, currency_t currency)
{
	size_t at = (size_t)(currency * UINT64_C(0x9e3779b97f4a7c15) >> 32);

	for (;; at++) {
		struct verify_total *slot = &totals->slots[at & (totals->capacity - 1)];

		if (slot->currency == currency || slot->currency == CURRENCY_NONE)
			return slot;
	}
}

static void grow(struct verify_totals *totals)
{
	struct verify_total *old = totals->slots;
	size_t old_capacity = totals->capacity;

	totals->capacity *= 2;
	totals->slots = xcalloc(totals->capacity, sizeof *totals->slots);
	for (size_t i = 0; i < old_capacity; i++)
		if (old[i].currency != CURRENCY_NONE)
			*slot_of(totals, old[i].currency) = old[i];
	free(old);
}

static struct verify_total *total_of(struct verify_totals *totals, currency_t currency)
{
	if (totals->last->currency == currency)
		return totals->last;
	if (totals->count >= totals->capacity / 2)
		grow(totals);
	totals->last = slot_of(totals, currency);
	totals->count += totals->last->currency == CURRENCY_NONE;
	totals->last->currency = currency;
	return totals->last;
}

void verify_totals_row(struct verify_totals *totals, const struct verify_row *row)
{
	int effect = row->applied && !row->unusable ? effects[row->type] : 0;

	if (effect > 0)
		verify_sum_add(&total_of(totals, row->currency)->journal, row->amount);
	else if (effect < 0)
		verify_sum_subtract(&total_of(totals, row->currency)->journal, row->amount);
}

void verify_totals_balance(struct verify_totals *totals, const struct verify_balance *balance)
{
	struct verify_total *total = total_of(totals, balance->currency);

	verify_sum_add(&total->balances, balance->available);
	verify_sum_add(&total->balances, balance->frozen);
}

static void compare_total(const struct verify_total *total, struct verify_report *report)
{
	struct verify_place place = VERIFY_NOWHERE;
	char found[VERIFY_SUM_TEXT_MAX], expected[VERIFY_SUM_TEXT_MAX];

	if (verify_sum_equal(&total->journal, &total->balances))
		return;
	place.currency = total->currency;
	verify_report_add(report, VERIFY_SUM, &place, "the sum of available and frozen",
		verify_sum_text(&total->balances, found),
		VERIFY_TEXT("%s, the deposits less withdrawals and settlements",
			verify_sum_text(&total->journal, expected)));
}

static int by_currency(const void *a, const void *b)
{
	currency_t left = ((const struct verify_total *)a)->currency;
	currency_t right = ((const struct verify_total *)b)->currency;

	return (left > right) - (left < right);
}

void verify_totals_compare(const struct verify_totals *totals, struct verify_report *report)
{
	struct verify_total *sorted = xcalloc(totals->count + 1, sizeof *sorted);
	size_t count = 0;

	for (size_t i = 0; i < totals->capacity; i++)
		if (totals->slots[i].currency != CURRENCY_NONE)
			sorted[count++] = totals->slots[i];
	qsort(sorted, count, sizeof *sorted, by_currency);
	for (size_t i = 0; i < count; i++)
		compare_total(&sorted[i], report);
	free(sorted);
}
