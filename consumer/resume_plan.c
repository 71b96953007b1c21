/* See resume_plan.h. */
#include "resume_plan.h"

#include <errno.h>
#include <inttypes.h>

static int check_offset(const struct resume_state *state, int64_t at_offset,
	const struct resume_log *log, struct error *err)
{
	if (at_offset <= state->next_offset)
		return error_set(err, -ERANGE,
			"--at-offset %" PRId64 " is not above next_offset, which is %" PRId64
			": nothing that was processed can be taken back",
			at_offset, state->next_offset);
	if (at_offset > log->high)
		return error_set(err, -ERANGE,
			"--at-offset %" PRId64 " is not in the log, which ends at %" PRId64,
			at_offset, log->high);
	if (at_offset < log->low)
		return error_set(err, -ERANGE,
			"--at-offset %" PRId64 " is not in the log, which begins at %" PRId64
			": the partition would halt again; say --at-offset %" PRId64
			" to go on where the log begins",
			at_offset, log->low, log->low);
	if (at_offset < state->known_end)
		return error_set(err, -ERANGE,
			"--at-offset %" PRId64 " is below rows or gaps that the database has: they "
			"end at %" PRId64 "; see OPERATIONS, \"Rows beyond the offset\"",
			at_offset, state->known_end);
	return 0;
}

int resume_plan(const struct resume_state *state, int32_t partition, int64_t at_offset,
	const struct resume_log *log, struct error *err)
{
	if (!state->found)
		return error_set(err, -ENOENT,
			"there is no partition %d: partition_offsets has no row for it, which "
			"`ledgerd run` makes",
			(int)partition);
	if (!state->halted)
		return error_set(err, -EBUSY,
			"partition %d is not halted (next_offset %" PRId64
			"): there is nothing to resume",
			(int)partition, state->next_offset);
	return at_offset == RESUME_NO_OFFSET ? 0 : check_offset(state, at_offset, log, err);
}
