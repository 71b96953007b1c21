/*
 * `ledgerd resume` in the database: reads what a halted partition looks like, and clears the halt
 * in one transaction that proves that nothing of it has changed since.  resume_plan.h has the
 * rules.
 */
#ifndef CONSUMER_RESUME_H
#define CONSUMER_RESUME_H

#include "db.h"
#include "resume_plan.h"

#define RESUME_REASON_MAX 1000 /* characters: offset_gaps.reason */

struct resume {
	int32_t partition;
	int64_t at_offset;  /* RESUME_NO_OFFSET: no gap */
	const char *reason; /* why, in a person's words */
};

/* *ret_halted_reason: malloc'd, the caller's; NULL unless halted. */
enum db_result resume_read(struct db *db, int32_t partition, struct resume_state *ret_state,
	char **ret_halted_reason, struct error *err);

/*
 * Clears the halt, and with an offset records the gap and moves next_offset.  `seen` and
 * `halted_reason` are what the person was shown; *ret_done is false, and nothing is changed, if the
 * partition is no longer so.  DB_LOST leaves open whether it was done: say it again.
 */
enum db_result resume_apply(struct db *db, const struct resume *resume,
	const struct resume_state *seen, const char *halted_reason, bool *ret_done,
	struct error *err);

#endif
