/*
 * `ledgerd verify`: proves that the tables, Redis and (if asked) the log say the same
 * (CONTRACT section 2, "Invariants").  Reads only; a daemon may run meanwhile.
 *
 *     verify_journal   MySQL, in one snapshot          verify_chain   the rules, along every chain
 *     verify_log       Kafka                           verify_match   the log against the rows
 *     verify_redis     Redis                           verify_totals  a currency's money
 *     verify_plan      what fits into memory           verify_report  what was found
 *
 * Differences are no errors: they are in the report.  An error is what keeps it from looking.
 */
#ifndef CONSUMER_VERIFY_H
#define CONSUMER_VERIFY_H

#include "clock.h"
#include "config.h"
#include "error.h"
#include "verify_report.h"

struct verify_options {
	int32_t partition; /* -1: all */
	bool from_kafka;
};

/* 0, or a negative code: then the report has what was found until then. */
int verify(const struct config *cfg, const struct verify_options *options,
	const struct clock *clock, struct verify_report *report, struct error *err);

#endif
