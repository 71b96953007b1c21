/*
 * The journal of one partition folded along its chains, and compared with account_balances.
 *
 *     verify_chain_row       each journal row, in the order of the offsets
 *     verify_chain_rows_end  there are no more: what still waits is broken
 *     verify_chain_balance   each row of account_balances
 *     verify_chain_end       balances that should have been there and were not
 *
 * A row is its balance's next if its prev_offset is the offset of the row before it: then the rules
 * (apply.h) say what its status, reason and balances after must be.  A row whose prev_offset leads
 * to one that comes later in the log (after a `replay`) waits for that one.  So each chain is
 * walked from its first row to its last, each row once, and ends at the row where account_balances
 * says.
 *
 * A difference is named once: after it, what the row itself says counts, so that one wrong row is
 * not reported for each that follows.
 *
 * In memory are the balances (64 bytes each, taken from a count that the chains of a run share) and
 * the rows that wait.  With slices, only the accounts of one are looked at.  Pure.
 */
#ifndef CONSUMER_VERIFY_CHAIN_H
#define CONSUMER_VERIFY_CHAIN_H

#include "error.h"
#include "verify_report.h"
#include "verify_rows.h"
#include "verify_totals.h"
#include "balances.h"

/* A chain takes so much before the first balance. */
#define VERIFY_CHAIN_BYTES ((size_t)512 * 1024)

struct verify_chain_config {
	int32_t partition;
	int32_t partitions;
	int64_t next_offset;
	uint32_t slice; /* of slices; 0 of 1: all */
	uint32_t slices;
	size_t waiting_max; /* rows */
	uint64_t seed;      /* of the balances' hash */
};

struct verify_chain;

/* *balances_left, report and totals are shared, and outlive it. */
struct verify_chain *verify_chain_create(const struct verify_chain_config *config,
	size_t *balances_left, struct verify_report *report, struct verify_totals *totals);
void verify_chain_destroy(struct verify_chain *chain);

/* Brings what a row will touch into the cache. */
void verify_chain_prefetch(const struct verify_chain *chain, const struct verify_row *row);

/* -ENOMEM, with the remedy, if there are more balances or rows that wait than there is room for. */
int verify_chain_row(struct verify_chain *chain, const struct verify_row *row, struct error *err);
void verify_chain_rows_end(struct verify_chain *chain);

/* Whether the journal has rows of this balance. */
bool verify_chain_has(const struct verify_chain *chain, struct balance_key key);
void verify_chain_balance(struct verify_chain *chain, const struct verify_balance *balance);
void verify_chain_end(struct verify_chain *chain);

/* The partition that an account belongs to. */
int32_t verify_chain_partition_of(int64_t account_id, int32_t partitions);

#endif
