/*
 * The plain ledger that a simulation is compared with.
 *
 * It is told what each message means when it is sent, not what its bytes are: it shares no code
 * with the ledger that it judges, knows no batches and no memory limits, and works in cents.  It
 * decides each message as it is appended to the log, so what the database must hold below any
 * offset is known at any time.
 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum meaning {
	MEANS_EVENT = 0,
	MEANS_MALFORMED,
	MEANS_KEY_MISMATCH,
	MEANS_WRONG_PARTITION,
	MEANS_NOTHING, /* a control or aborted record */
};

enum kind { DEPOSIT, WITHDRAW, FREEZE, UNFREEZE, SETTLE };

struct intent {
	enum meaning meaning;
	int64_t account;
	int currency; /* index of a code */
	int64_t id;
	enum kind kind;
	__int128 cents;
};

enum fate { FATE_NONE, FATE_SUCCESS, FATE_FAILED, FATE_DUPLICATE, FATE_DEAD, FATE_SKIPPED };

/* What must become of the message at an offset. */
struct expected {
	struct intent intent;
	enum fate fate;
	const char *reason;       /* of FATE_FAILED and FATE_DEAD, as the contract spells it */
	__int128 available_after; /* of a row */
	__int128 frozen_after;
	int64_t prev_offset; /* -1: none */
	int64_t version_after;
};

/* One partition's log, decided. */
struct oracle {
	struct expected *expected; /* by offset */
	int64_t count;
	int64_t capacity;
};

#define ORACLE_MOST_CENTS (((__int128)1000000000000000000LL) * 100 - 1)

void oracle_init(struct oracle *oracle);
void oracle_finish(struct oracle *oracle);

/* The message at offset `count` means this. */
void oracle_append(struct oracle *oracle, const struct intent *intent);

/* A person gives up the offsets from `begin` to before `end`, where the ledger is now: everything
 * from there on is decided anew without them. */
void oracle_skip(struct oracle *oracle, int64_t begin, int64_t end);

bool oracle_is_row(const struct expected *expected);

/* The row below an offset that gave this balance this version, or NULL. */
const struct expected *oracle_version(
	const struct oracle *oracle, int64_t account, int currency, int64_t version, int64_t below);

/* The newest row of an account and currency below an offset, or NULL. */
const struct expected *oracle_newest(const struct oracle *oracle, int64_t account, int currency,
	int64_t below, int64_t *ret_offset);

#endif
