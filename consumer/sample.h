/*
 * Drift: now and then a few balances in memory are compared with the database's.  They can differ
 * only by a bug, or because somebody changed a row by hand; it is counted (ledger_balance_drift)
 * and told, and nothing is repaired: that is a person's matter.
 */
#ifndef CONSUMER_SAMPLE_H
#define CONSUMER_SAMPLE_H

#include <stdint.h>

struct partition;

/* Compares if it is time to, and no batch is in the ledger.  One query, at most every few seconds.
 */
void sample(struct partition *p, int64_t now_ms);

#endif
