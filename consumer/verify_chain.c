/*
 * See verify_chain.h.
 *
 * balances.h keeps the state of every chain: the balance after the last row that was taken, and
 * that row's offset.  Every entry stays pinned, so none is ever evicted, and their numbers are 0 to
 * count - 1.  An entry that account_balances has too is marked by a version that none can have.
 */
#include "verify_chain.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "digits.h"
#include "mem.h"
#include "murmur2.h"
#include "verify_waiting.h"

#define STORED_MAX     ((INT64_C(1) << 48) - 3) /* largest offset and version that balances.h takes */
#define VERSION_MET    (STORED_MAX + 1)
#define SWEEP_AT_MIN   4096
#define CURRENCIES_MAX ((1u << 24) - 1)

struct verify_chain {
	struct verify_chain_config config;
	struct verify_report *report;
	struct verify_totals *totals;
	size_t *balances_left;
	struct budget budget; /* without a limit: balances_left is the limit */
	struct balances *balances;
	size_t met_count;
	struct verify_waiting waiting;
	size_t sweep_at;  /* so many waiting rows are worth a look at which of them wait in vain */
	int64_t position; /* behind the newest row */
};

struct verify_chain *verify_chain_create(const struct verify_chain_config *config,
	size_t *balances_left, struct verify_report *report, struct verify_totals *totals)
{
	struct verify_chain *chain = xcalloc(1, sizeof *chain);

	assert(config->slice < config->slices);
	chain->config = *config;
	chain->report = report;
	chain->totals = totals;
	chain->balances_left = balances_left;
	chain->sweep_at = SWEEP_AT_MIN;
	budget_init(&chain->budget, SIZE_MAX);
	chain->balances = balances_create(&chain->budget, 0, config->seed);
	verify_waiting_init(&chain->waiting);
	return chain;
}

void verify_chain_destroy(struct verify_chain *chain)
{
	if (!chain)
		return;
	*chain->balances_left += balances_count(chain->balances);
	balances_destroy(chain->balances);
	verify_waiting_finish(&chain->waiting);
	free(chain);
}

int32_t verify_chain_partition_of(int64_t account_id, int32_t partitions)
{
	char text[DIGITS_U64_MAX];

	return murmur2_partition(text, digits_u64((uint64_t)account_id, text), partitions);
}

static bool in_slice(const struct verify_chain *chain, struct balance_key key)
{
	uint64_t mixed;

	if (chain->config.slices == 1)
		return true;
	mixed = ((uint64_t)key.account_id ^ key.currency << 1) * UINT64_C(0xd6e8feb86659fd93);
	return (uint32_t)(mixed >> 32) % chain->config.slices == chain->config.slice;
}

static struct balance_key row_key(const struct verify_row *row)
{
	return (struct balance_key){row->account_id, row->currency};
}

static struct verify_place place_of(const struct verify_chain *chain, const struct verify_row *row)
{
	return (struct verify_place){
		.partition = chain->config.partition,
		.offset = row->offset,
		.account_id = row->account_id,
		.currency = row->currency,
	};
}

/* One row ------------------------------------------------------------------------------------- */

static bool in_bounds(i128 amount)
{
	return amount >= 0 && amount <= DECIMAL_MAX;
}

static const char *reason_text(uint8_t refusal)
{
	const char *text = refusal_text(refusal);

	return text ? text : "NULL";
}

/* "DEPOSIT of 10 on available 2, frozen 0" */
static const char *deed_text(
	char buffer[VERIFY_TEXT_MAX], const struct verify_row *row, const struct balance *before)
{
	return verify_text(buffer, "%s of %s on available %s, frozen %s",
		event_type_text(row->type), VERIFY_AMOUNT(row->amount),
		VERIFY_AMOUNT(before->available), VERIFY_AMOUNT(before->frozen));
}

static void report_status(struct verify_chain *chain, const struct verify_row *row,
	enum refusal refusal, const char *deed)
{
	struct verify_place place = place_of(chain, row);

	verify_report_add(chain->report, VERIFY_OUTCOME, &place, "status and reason in the journal",
		VERIFY_TEXT(
			"%s, %s", row->applied ? "SUCCESS" : "FAILED", reason_text(row->refusal)),
		VERIFY_TEXT(
			"%s, %s (%s)", refusal ? "FAILED" : "SUCCESS", reason_text(refusal), deed));
}

static void report_after(struct verify_chain *chain, const struct verify_row *row, const char *what,
	i128 found, i128 expected, const char *deed)
{
	struct verify_place place = place_of(chain, row);

	verify_report_add(chain->report, VERIFY_OUTCOME, &place, what, VERIFY_AMOUNT(found),
		VERIFY_TEXT("%s (%s)", VERIFY_AMOUNT(expected), deed));
}

/* Takes the row's own word for the amounts after it, if they can be. */
static bool believe(struct balance *balance, const struct verify_row *row)
{
	if (!in_bounds(row->available_after) || !in_bounds(row->frozen_after))
		return false;
	balance->available = row->available_after;
	balance->frozen = row->frozen_after;
	return true;
}

/* The rules and the row disagree.  Whether the balance changed is told by the rules if it is only
 * the amounts that differ, else by the amounts. */
static void go_on(struct balance *balance, const struct verify_row *row,
	const struct balance *after, bool same_status)
{
	struct balance before = *balance;

	*balance = *after;
	if (believe(balance, row) && !same_status)
		balance->version = before.version + (balance->available != before.available ||
							    balance->frozen != before.frozen);
}

/* The row comes next on this balance: what do the rules say? */
static void judge(struct verify_chain *chain, const struct verify_row *row, struct balance *balance)
{
	struct balance after = *balance;
	char deed[VERIFY_TEXT_MAX];
	enum refusal refusal;
	bool same_status;

	if (row->unusable) {
		go_on(balance, row, balance, false);
		return;
	}
	refusal = apply(&after, row->type, row->amount);
	same_status = row->applied == (refusal == REFUSAL_NONE) && row->refusal == refusal;
	if (same_status && row->available_after == after.available &&
		row->frozen_after == after.frozen) {
		*balance = after;
		return;
	}

	deed_text(deed, row, balance);
	if (!same_status)
		report_status(chain, row, refusal, deed);
	if (row->available_after != after.available)
		report_after(
			chain, row, "available_after", row->available_after, after.available, deed);
	if (row->frozen_after != after.frozen)
		report_after(chain, row, "frozen_after", row->frozen_after, after.frozen, deed);
	go_on(balance, row, &after, same_status);
}

static const char *offset_text(char buffer[VERIFY_TEXT_MAX], int64_t offset)
{
	return offset < 0 ? "NULL" : verify_text(buffer, "%" PRId64, offset);
}

/* The row's chain does not lead to it. */
static void report_broken(
	struct verify_chain *chain, const struct verify_row *row, int64_t end_offset)
{
	struct verify_place place = place_of(chain, row);
	char texts[2][VERIFY_TEXT_MAX];

	verify_report_add(chain->report, VERIFY_CHAIN, &place, "prev_offset",
		VERIFY_TEXT("%s, where the account's chain does not end",
			offset_text(texts[0], row->prev_offset)),
		VERIFY_TEXT("%s%s", offset_text(texts[1], end_offset),
			end_offset < 0 ? ": there is no row before it" : ", where it ends"));
}

/* Takes the row as the newest of its balance, and those that waited for it. */
static void take(struct verify_chain *chain, balance_ref ref, const struct verify_row *row,
	struct balance *balance, bool broken)
{
	struct verify_row next = *row;

	if (broken) {
		report_broken(chain, row, balance->last_offset);
		believe(balance, row);
		balance->version += row->applied;
	} else {
		judge(chain, row, balance);
	}
	while (verify_waiting_take(&chain->waiting, ref, next.offset, &next))
		judge(chain, &next, balance);
	balance->last_offset = next.offset;
	balances_set(chain->balances, ref, balance);
}

/* Rows that wait ------------------------------------------------------------------------------ */

/* The row that it follows may still come, or waits itself. */
static bool must_wait(
	const struct verify_chain *chain, balance_ref ref, const struct verify_row *row)
{
	if (row->prev_offset > row->offset && row->prev_offset < chain->config.next_offset)
		return true;
	return verify_waiting_has(&chain->waiting, ref, row->prev_offset);
}

static void take_broken(struct verify_chain *chain, size_t cursor, balance_ref ref,
	const struct verify_row *waiting)
{
	struct verify_row row = *waiting;
	struct balance balance;

	verify_waiting_drop(&chain->waiting, cursor);
	balances_get(chain->balances, ref, &balance);
	take(chain, ref, &row, &balance, true);
}

/* The rows whose turn should have come by now are broken, and with them goes who waits for them. */
static void sweep(struct verify_chain *chain)
{
	const struct verify_row *row;
	balance_ref ref;

	for (size_t i = 0; (row = verify_waiting_next(&chain->waiting, &i, &ref)); i++)
		if (row->prev_offset < chain->position &&
			!verify_waiting_has(&chain->waiting, ref, row->prev_offset))
			take_broken(chain, i, ref, row);
	chain->sweep_at = 2 * chain->waiting.count;
	if (chain->sweep_at < SWEEP_AT_MIN)
		chain->sweep_at = SWEEP_AT_MIN;
}

static int wait_for_row(struct verify_chain *chain, balance_ref ref, const struct verify_row *row,
	struct error *err)
{
	verify_waiting_add(&chain->waiting, ref, row);
	if (chain->waiting.count >= chain->sweep_at ||
		chain->waiting.count > chain->config.waiting_max)
		sweep(chain);
	if (chain->waiting.count <= chain->config.waiting_max)
		return 0;
	return error_set(err, -ENOMEM,
		"partition %" PRId32 ": %zu journal rows up to offset %" PRId64
		" wait for a row that comes later by their prev_offset, the newest at prev_offset "
		"%" PRId64 "; if so many were replayed, raise consumer.memory_max",
		chain->config.partition, chain->waiting.count, row->offset, row->prev_offset);
}

void verify_chain_rows_end(struct verify_chain *chain)
{
	const struct verify_row *row;
	balance_ref ref;
	size_t i = 0;

	chain->position = INT64_MAX;
	sweep(chain);
	/* What is left leads in circles. */
	for (; (row = verify_waiting_next(&chain->waiting, &i, &ref)); i++)
		take_broken(chain, i, ref, row);
}

/* Rows ---------------------------------------------------------------------------------------- */

static int no_room(const struct verify_chain *chain, struct error *err)
{
	return error_set(err, -ENOMEM,
		"partition %" PRId32 ": the journal has more balances than there is memory for; "
		"raise consumer.memory_max",
		chain->config.partition);
}

/* The first row of a balance. */
static int add_balance(struct verify_chain *chain, const struct verify_row *row,
	balance_ref *ret_ref, struct error *err)
{
	static const struct balance empty = {.last_offset = -1};
	int32_t right = verify_chain_partition_of(row->account_id, chain->config.partitions);
	struct verify_place place = place_of(chain, row);

	if (*chain->balances_left == 0 || chain->totals->count >= CURRENCIES_MAX)
		return no_room(chain, err);
	--*chain->balances_left;
	*ret_ref = balances_add(chain->balances, row_key(row), &empty, BALANCE_PIN_EVEN);
	if (right != chain->config.partition)
		verify_report_add(chain->report, VERIFY_PARTITION, &place,
			"the account's partition", VERIFY_TEXT("%" PRId32, chain->config.partition),
			VERIFY_TEXT("%" PRId32, right));
	return 0;
}

void verify_chain_prefetch(const struct verify_chain *chain, const struct verify_row *row)
{
	balances_prefetch(chain->balances, balances_hash(chain->balances, row_key(row)));
}

int verify_chain_row(struct verify_chain *chain, const struct verify_row *row, struct error *err)
{
	struct balance balance;
	balance_ref ref;
	bool follows;

	assert(row->offset >= 0 && row->offset <= STORED_MAX);
	if (row->account_id == 0 || row->currency == CURRENCY_NONE ||
		!in_slice(chain, row_key(row)))
		return 0;
	chain->position = row->offset + 1;
	verify_totals_row(chain->totals, row);
	ref = balances_find(chain->balances, row_key(row));
	if (ref == BALANCE_NONE && add_balance(chain, row, &ref, err) != 0)
		return -ENOMEM;

	balances_get(chain->balances, ref, &balance);
	follows = row->prev_offset == balance.last_offset;
	if (!follows && must_wait(chain, ref, row))
		return wait_for_row(chain, ref, row, err);
	take(chain, ref, row, &balance, !follows);
	return 0;
}

/* Balances ------------------------------------------------------------------------------------ */

bool verify_chain_has(const struct verify_chain *chain, struct balance_key key)
{
	return balances_find(chain->balances, key) != BALANCE_NONE;
}

/* What differs between two sides, in the same order on both. */
struct sides {
	char found[VERIFY_TEXT_MAX];
	char expected[VERIFY_TEXT_MAX];
};

static void append(char *side, const char *name, const char *value)
{
	size_t length = strlen(side);

	snprintf(side + length, VERIFY_TEXT_MAX - length, "%s%s %s", length ? ", " : "", name,
		value);
}

static void compare_amount(struct sides *sides, const char *name, i128 found, i128 expected)
{
	if (found == expected)
		return;
	append(sides->found, name, VERIFY_AMOUNT(found));
	append(sides->expected, name, VERIFY_AMOUNT(expected));
}

static void compare_number(struct sides *sides, const char *name, int64_t found, int64_t expected)
{
	if (found == expected)
		return;
	append(sides->found, name, VERIFY_TEXT("%" PRId64, found));
	append(sides->expected, name, VERIFY_TEXT("%" PRId64, expected));
}

static struct verify_place place_of_balance(int32_t partition, const struct verify_balance *balance)
{
	return (struct verify_place){
		.partition = partition,
		.offset = -1,
		.account_id = balance->account_id,
		.currency = balance->currency,
	};
}

static void report_extra(struct verify_chain *chain, const struct verify_balance *balance)
{
	struct verify_place place = place_of_balance(chain->config.partition, balance);

	verify_report_add(chain->report, VERIFY_BALANCE, &place, "the row in account_balances",
		VERIFY_TEXT("there (available %s, frozen %s, version %" PRId64 ")",
			VERIFY_AMOUNT(balance->available), VERIFY_AMOUNT(balance->frozen),
			balance->version),
		"none: the journal has no row of it in this partition");
}

void verify_chain_balance(struct verify_chain *chain, const struct verify_balance *balance)
{
	struct balance_key key = {balance->account_id, balance->currency};
	struct verify_place place = place_of_balance(chain->config.partition, balance);
	struct sides sides = {0};
	struct balance expected;
	balance_ref ref;

	if (!in_slice(chain, key))
		return;
	chain->report->counts.balances++;
	verify_totals_balance(chain->totals, balance);
	ref = balances_find(chain->balances, key);
	if (ref == BALANCE_NONE) {
		report_extra(chain, balance);
		return;
	}

	balances_get(chain->balances, ref, &expected);
	compare_amount(&sides, "available", balance->available, expected.available);
	compare_amount(&sides, "frozen", balance->frozen, expected.frozen);
	compare_number(&sides, "version", balance->version, expected.version);
	compare_number(&sides, "last_offset", balance->last_offset, expected.last_offset);
	compare_number(&sides, "kafka_partition", balance->partition, chain->config.partition);
	if (sides.found[0])
		verify_report_add(chain->report, VERIFY_BALANCE, &place,
			"the row in account_balances", sides.found, sides.expected);
	expected.version = VERSION_MET;
	balances_set(chain->balances, ref, &expected);
	chain->met_count++;
}

static void report_missing(
	struct verify_chain *chain, balance_ref ref, const struct balance *balance)
{
	struct balance_key key = balances_key(chain->balances, ref);
	struct verify_place place = {chain->config.partition, -1, key.account_id, key.currency};

	verify_report_add(chain->report, VERIFY_BALANCE, &place, "the row in account_balances",
		"missing from this partition",
		VERIFY_TEXT("available %s, frozen %s, version %" PRId64 ", last_offset %" PRId64,
			VERIFY_AMOUNT(balance->available), VERIFY_AMOUNT(balance->frozen),
			balance->version, balance->last_offset));
}

void verify_chain_end(struct verify_chain *chain)
{
	size_t count = balances_count(chain->balances);
	struct balance balance;

	if (chain->met_count == count)
		return;
	for (balance_ref ref = 0; ref < count; ref++) {
		balances_get(chain->balances, ref, &balance);
		if (balance.version != VERSION_MET)
			report_missing(chain, ref, &balance);
	}
}
