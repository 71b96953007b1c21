/*
 * For the tests of `verify`: a ledger of small whole amounts, kept by rules that are written down
 * here once more, and what it would have left in the tables.
 */
#ifndef TESTS_UNIT_VERIFY_FIXTURE_H
#define TESTS_UNIT_VERIFY_FIXTURE_H

#include "fixture.h"

#include "verify_chain.h"

#define LEDGER_ROWS_MAX     20000
#define LEDGER_ACCOUNTS_MAX 64
#define LEDGER_PARTITIONS   4

struct ledger_account {
	int64_t account_id;
	currency_t currency;
	int64_t available, frozen; /* whole units */
	int64_t version;
	int64_t last_offset;
};

/* One partition's. */
struct test_ledger {
	int32_t partition;
	struct verify_row
		rows[LEDGER_ROWS_MAX]; /* as they were appended, or by offset when sorted */
	size_t row_count;
	struct ledger_account accounts[LEDGER_ACCOUNTS_MAX];
	size_t account_count;
	int64_t next_offset;
};

/* The first account at or above `from` whose partition this is. */
static inline int64_t account_in(int32_t partition, int64_t from)
{
	while (verify_chain_partition_of(from, LEDGER_PARTITIONS) != partition)
		from++;
	return from;
}

static inline void ledger_begin(struct test_ledger *ledger, int32_t partition)
{
	ledger->partition = partition;
	ledger->row_count = ledger->account_count = 0;
	ledger->next_offset = 0;
}

static inline struct ledger_account *ledger_account(
	struct test_ledger *ledger, int64_t account_id, const char *currency)
{
	currency_t code = fixture_currency(currency);
	struct ledger_account *account = ledger->accounts;

	for (; account < ledger->accounts + ledger->account_count; account++)
		if (account->account_id == account_id && account->currency == code)
			return account;
	assert_true(ledger->account_count < LEDGER_ACCOUNTS_MAX);
	ledger->account_count++;
	*account = (struct ledger_account){account_id, code, 0, 0, 0, -1};
	return account;
}

/* What an event does by CONTRACT section 1, for amounts far below the limit. */
static inline enum refusal ledger_rule(
	struct ledger_account *account, enum event_type type, int64_t amount)
{
	int64_t available = account->available, frozen = account->frozen;

	switch (type) {
	case EVENT_DEPOSIT:
		available += amount;
		break;
	case EVENT_WITHDRAW:
		available -= amount;
		break;
	case EVENT_FREEZE:
		available -= amount;
		frozen += amount;
		break;
	case EVENT_UNFREEZE:
		available += amount;
		frozen -= amount;
		break;
	case EVENT_SETTLE:
		frozen -= amount;
		break;
	}
	if (available < 0)
		return REFUSAL_INSUFFICIENT_AVAILABLE;
	if (frozen < 0)
		return REFUSAL_INSUFFICIENT_FROZEN;
	account->available = available;
	account->frozen = frozen;
	account->version++;
	return REFUSAL_NONE;
}

/* Appends a row to its account's chain, at any offset that is free. */
static inline struct verify_row *ledger_append(struct test_ledger *ledger, int64_t offset,
	int64_t account_id, const char *currency, enum event_type type, int64_t amount)
{
	struct ledger_account *account = ledger_account(ledger, account_id, currency);
	enum refusal refusal = ledger_rule(account, type, amount);
	struct verify_row *row = &ledger->rows[ledger->row_count++];

	assert_true(ledger->row_count <= LEDGER_ROWS_MAX);
	*row = (struct verify_row){
		.offset = offset,
		.prev_offset = account->last_offset,
		.account_id = account_id,
		.currency = account->currency,
		.amount = amount * DECIMAL_ONE,
		.available_after = account->available * DECIMAL_ONE,
		.frozen_after = account->frozen * DECIMAL_ONE,
		.type = type,
		.refusal = refusal,
		.applied = refusal == REFUSAL_NONE,
	};
	account->last_offset = offset;
	if (offset >= ledger->next_offset)
		ledger->next_offset = offset + 1;
	return row;
}

static inline int ledger_compare_rows(const void *a, const void *b)
{
	const struct verify_row *left = a, *right = b;

	return (left->offset > right->offset) - (left->offset < right->offset);
}

static inline void ledger_sort(struct test_ledger *ledger)
{
	qsort(ledger->rows, ledger->row_count, sizeof ledger->rows[0], ledger_compare_rows);
}

static inline struct verify_row *ledger_row(struct test_ledger *ledger, int64_t offset)
{
	for (size_t i = 0; i < ledger->row_count; i++)
		if (ledger->rows[i].offset == offset)
			return &ledger->rows[i];
	fail_msg("no row at offset %lld", (long long)offset);
	return NULL;
}

static inline void ledger_delete_row(struct test_ledger *ledger, int64_t offset)
{
	struct verify_row *row = ledger_row(ledger, offset);
	size_t behind = (size_t)(ledger->rows + ledger->row_count - row - 1);

	memmove(row, row + 1, behind * sizeof *row);
	ledger->row_count--;
}

static inline struct verify_balance ledger_balance(
	const struct test_ledger *ledger, const struct ledger_account *account)
{
	return (struct verify_balance){
		.account_id = account->account_id,
		.currency = account->currency,
		.available = account->available * DECIMAL_ONE,
		.frozen = account->frozen * DECIMAL_ONE,
		.version = account->version,
		.last_offset = account->last_offset,
		.partition = ledger->partition,
	};
}

#endif
