#include "oracle.h"

#include <stdlib.h>

#include "mem.h"

void oracle_init(struct oracle *oracle)
{
	*oracle = (struct oracle){0};
}

void oracle_finish(struct oracle *oracle)
{
	free(oracle->expected);
}

bool oracle_is_row(const struct expected *expected)
{
	return expected->fate == FATE_SUCCESS || expected->fate == FATE_FAILED;
}

const struct expected *oracle_newest(const struct oracle *oracle, int64_t account, int currency,
	int64_t below, int64_t *ret_offset)
{
	for (int64_t i = below; i-- > 0;) {
		const struct expected *expected = &oracle->expected[i];

		if (oracle_is_row(expected) && expected->intent.account == account &&
			expected->intent.currency == currency) {
			*ret_offset = i;
			return expected;
		}
	}
	*ret_offset = -1;
	return NULL;
}

const struct expected *oracle_version(
	const struct oracle *oracle, int64_t account, int currency, int64_t version, int64_t below)
{
	for (int64_t i = 0; i < below; i++) {
		const struct expected *expected = &oracle->expected[i];

		if (expected->fate == FATE_SUCCESS && expected->version_after == version &&
			expected->intent.account == account &&
			expected->intent.currency == currency)
			return expected;
	}
	return NULL;
}

/* A transaction that the account knows already. */
static const struct expected *known(const struct oracle *oracle, const struct intent *intent)
{
	for (int64_t i = 0; i < oracle->count; i++) {
		const struct expected *expected = &oracle->expected[i];

		if (oracle_is_row(expected) && expected->intent.account == intent->account &&
			expected->intent.id == intent->id)
			return expected;
	}
	return NULL;
}

static bool same_content(const struct intent *a, const struct intent *b)
{
	return a->currency == b->currency && a->kind == b->kind && a->cents == b->cents;
}

static void fail(struct expected *e, const char *reason)
{
	e->fate = FATE_FAILED;
	e->reason = reason;
}

static void change(struct expected *e, __int128 available, __int128 frozen)
{
	if (available > ORACLE_MOST_CENTS || frozen > ORACLE_MOST_CENTS) {
		fail(e, "OVERFLOW");
		return;
	}
	e->fate = FATE_SUCCESS;
	e->available_after = available;
	e->frozen_after = frozen;
	e->version_after++;
}

/* The effect table of the contract, row by row. */
static void decide(struct expected *e)
{
	__int128 amount = e->intent.cents;
	__int128 available = e->available_after;
	__int128 frozen = e->frozen_after;

	if (e->intent.kind == DEPOSIT) {
		change(e, available + amount, frozen);
	} else if (e->intent.kind == WITHDRAW || e->intent.kind == FREEZE) {
		if (available < amount)
			fail(e, "INSUFFICIENT_AVAILABLE");
		else if (e->intent.kind == WITHDRAW)
			change(e, available - amount, frozen);
		else
			change(e, available - amount, frozen + amount);
	} else {
		if (frozen < amount)
			fail(e, "INSUFFICIENT_FROZEN");
		else if (e->intent.kind == UNFREEZE)
			change(e, available + amount, frozen - amount);
		else
			change(e, available, frozen - amount);
	}
}

static void decide_event(const struct oracle *oracle, struct expected *e)
{
	const struct expected *before = known(oracle, &e->intent);
	const struct expected *newest;

	if (before) {
		bool same = same_content(&before->intent, &e->intent);

		e->fate = same ? FATE_DUPLICATE : FATE_DEAD;
		e->reason = same ? NULL : "ID_CONFLICT";
		return;
	}
	newest = oracle_newest(
		oracle, e->intent.account, e->intent.currency, oracle->count, &e->prev_offset);
	if (newest) {
		e->available_after = newest->available_after;
		e->frozen_after = newest->frozen_after;
		e->version_after = newest->version_after;
	}
	decide(e);
}

static void add(struct oracle *oracle, const struct expected *e)
{
	if (oracle->count == oracle->capacity) {
		oracle->capacity = oracle->capacity ? 2 * oracle->capacity : 256;
		oracle->expected = xrealloc(
			oracle->expected, (size_t)oracle->capacity * sizeof *oracle->expected);
	}
	oracle->expected[oracle->count++] = *e;
}

void oracle_append(struct oracle *oracle, const struct intent *intent)
{
	static const char *const dead[] = {
		[MEANS_MALFORMED] = "MALFORMED",
		[MEANS_KEY_MISMATCH] = "KEY_MISMATCH",
		[MEANS_WRONG_PARTITION] = "WRONG_PARTITION",
	};
	struct expected e = {.intent = *intent, .prev_offset = -1};

	if (intent->meaning == MEANS_EVENT) {
		decide_event(oracle, &e);
	} else if (intent->meaning != MEANS_NOTHING) {
		e.fate = FATE_DEAD;
		e.reason = dead[intent->meaning];
	}
	add(oracle, &e);
}

void oracle_skip(struct oracle *oracle, int64_t begin, int64_t end)
{
	int64_t count = oracle->count;

	oracle->count = begin;
	for (int64_t i = begin; i < count; i++) {
		struct intent intent = oracle->expected[i].intent;

		if (i < end)
			add(oracle,
				&(struct expected){
					.intent = intent, .fate = FATE_SKIPPED, .prev_offset = -1});
		else
			oracle_append(oracle, &intent);
	}
}
