/*
 * An account's statement (`ledgerd statement`): its newest transactions, each with the balances
 * before and after it.
 *
 * Each currency is a chain: from the balance's last_offset along prev_offset, one row by primary
 * key at a time, so that no index by account is needed.  The chains of several currencies are
 * merged by offset, the newest first.
 */
#ifndef CONSUMER_STATEMENT_H
#define CONSUMER_STATEMENT_H

#include <stdio.h>

#include "currency.h"
#include "db.h"

#define STATEMENT_LIMIT_MAX 100000

/* A balance as it is now.  Amounts are plain decimals without trailing zeros. */
struct statement_balance {
	char currency[CURRENCY_LENGTH_MAX + 1];
	char available[48];
	char frozen[48];
	int64_t version;
	int32_t partition;
	int64_t next_offset; /* of the chain that is left to walk; -1: none */
};

struct statement_row {
	int64_t offset;
	int32_t partition;
	char time[32]; /* "2026-01-01T00:00:00.000Z" */
	char transaction_id[65];
	char currency[CURRENCY_LENGTH_MAX + 1];
	char type[16];
	char amount[48];
	char available_before[48], frozen_before[48];
	char available_after[48], frozen_after[48];
	char status[16];
	char reason[32]; /* "" if it was applied */
};

struct statement {
	int64_t account_id;
	struct statement_balance *balances; /* by currency */
	size_t balance_count;
	struct statement_row *rows; /* newest first */
	size_t row_count;
	bool more; /* there are older ones */
};

/*
 * Reads the newest `limit` transactions (1 to STATEMENT_LIMIT_MAX), of one currency or (NULL) of
 * all. An account that is not known has no balances and no rows.  DB_HALT with the offset named if
 * a chain is broken; the rows before the break are there all the same.  Either way to be finished.
 */
enum db_result statement_read(struct db *db, int64_t account_id, const char *currency, size_t limit,
	struct statement *ret_statement, struct error *err);
void statement_finish(struct statement *statement);

void statement_print(const struct statement *statement, FILE *file);

/* One JSON object, amounts and the account as strings; malloc'd, the caller's. */
char *statement_json(const struct statement *statement);

#endif
