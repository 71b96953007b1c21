/*
 * The log of one partition against what the database made of it: `verify --from-kafka`, offset by
 * offset.
 *
 * Whatever stands at an offset is given to verify_match_at: the message, the journal row, the dead
 * letter, each or none.  A message that is in no table should be a duplicate, and an ID_CONFLICT
 * should have something to conflict with: that only the unique index can tell, so these are
 * gathered; when there are VERIFY_LOOKUPS_MAX of them (or nothing else comes) the caller asks for
 * their ids, hands in what was found, and lets them be decided.
 *
 * Pure; bytes are compared by their SHA-256.
 */
#ifndef CONSUMER_VERIFY_MATCH_H
#define CONSUMER_VERIFY_MATCH_H

#include "decode.h"
#include "verify_report.h"
#include "verify_rows.h"

#define VERIFY_LOOKUPS_MAX 1000

/* A message whose outcome rests on another one with its transaction_id. */
struct verify_lookup {
	int64_t offset;
	struct event event;
	bool conflict; /* a dead letter for ID_CONFLICT; else it is in no table: a duplicate? */
	bool in_gap;   /* decided after a person gave its offset up: the other one may come later */
	bool found;
	struct event other;
	int32_t other_partition;
	int64_t other_offset;
};

struct verify_match {
	int32_t partition;
	int32_t partitions;
	struct verify_report *report;
	struct verify_lookup *lookups;
	size_t lookup_count;
};

/* What stands at an offset; what is not there is NULL. */
struct verify_offset {
	int64_t offset;
	const struct message *message;
	const struct verify_row *row;
	const struct verify_content *content; /* of the row */
	const struct verify_letter *letter;
	bool in_gap;
};

void verify_match_init(struct verify_match *match, int32_t partition, int32_t partitions,
	struct verify_report *report);
void verify_match_finish(struct verify_match *match);

/* Looks at the next offset.  There is room for a lookup. */
void verify_match_at(struct verify_match *match, const struct verify_offset *at);

/* Whether the lookups must be decided before the next offset. */
bool verify_match_full(const struct verify_match *match);

/* A row of the journal, of any partition, with account, id and content. */
void verify_match_found(
	struct verify_match *match, const struct event *event, int32_t partition, int64_t offset);

/* Every row that the lookups ask for has been handed in: decides them and forgets them. */
void verify_match_decide(struct verify_match *match);

#endif
