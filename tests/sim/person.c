#include "person.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "resume_plan.h"

#define TRUNCATIONS_MAX 3 /* each costs the world half a minute */

/* Deletes some of what was not processed, and perhaps all of it. */
static void truncate_log(struct world *w)
{
	int32_t p = (int32_t)random_below(&w->random, w->partitions);
	int64_t next_offset = w->offsets[p].next_offset;
	struct memory_log *log = &w->logs[p];

	if (w->truncations == TRUNCATIONS_MAX || next_offset >= log->end || w->offsets[p].halted)
		return;
	w->truncations++;
	world_count(w, FAULT_LOG_TRUNCATED);
	w->truncated[p] = true;
	w->uneasy_until_us = w->now_us + INT64_C(2000) * WORLD_OUT_OF_RANGE_MS; /* until it halts */
	memory_log_truncate(log, random_between(&w->random, next_offset + 1, log->end));
	world_trace(w, "partition %d: the log now begins at %" PRId64 ", next_offset is %" PRId64,
		p, log->begin, next_offset);
}

static struct resume_state state_of(const struct world *w, int32_t p)
{
	const struct memory_partition *table = &w->db.tables[p];
	struct resume_state state = {
		.found = true,
		.halted = w->offsets[p].halted,
		.next_offset = w->offsets[p].next_offset,
	};

	if (table->journal_count > 0)
		state.known_end = table->journal[table->journal_count - 1].offset + 1;
	return state;
}

/* Mostly where the log begins; sometimes further on, or where it is not allowed. */
static int64_t choose_offset(struct world *w, const struct resume_state *state, int32_t p)
{
	const struct memory_log *log = &w->logs[p];

	if (random_chance(&w->random, 7000))
		return log->begin;
	return random_between(
		&w->random, state->next_offset - 2 < 0 ? 0 : state->next_offset - 2, log->end + 2);
}

static void resume(struct world *w, int32_t p)
{
	struct resume_state state = state_of(w, p);
	struct resume_log log = {w->logs[p].begin, w->logs[p].end};
	int64_t at_offset = choose_offset(w, &state, p);
	bool allowed = at_offset > state.next_offset && at_offset >= log.low &&
		       at_offset <= log.high;
	struct error err = {0};
	int rc = resume_plan(&state, p, at_offset, &log, &err);

	if ((rc == 0) != allowed)
		world_fail(w, "partition %d: resume at %" PRId64 ": %d %s", p, at_offset, rc,
			err.text);
	if (rc != 0)
		return;
	world_trace(w, "partition %d: resumed at %" PRId64 " from %" PRId64, p, at_offset,
		state.next_offset);
	oracle_skip(&w->oracles[p], state.next_offset, at_offset);
	memory_database_skip(&w->db, p, state.next_offset, at_offset);
	w->offsets[p].next_offset = at_offset;
	w->offsets[p].halted = false;
	w->db.commits++;
	world_count(w, FAULT_RESUMED);
}

void person_act(struct world *w)
{
	if (!w->calm && random_chance(&w->random, w->rates.truncate))
		truncate_log(w);
	for (int32_t p = 0; p < w->partitions; p++)
		if (w->offsets[p].halted && !w->offsets[p].locked_by &&
			random_chance(&w->random, 200))
			resume(w, p);
}

bool person_caused(const struct world *w, int32_t partition, const char *reason)
{
	/* A row was deleted by hand between a flush that met its id and the look for that id. */
	if (w->replayer && strstr(reason, "MySQL has rows for some of them"))
		return true;
	return w->truncated[partition] && strstr(reason, "but the log begins at");
}

void person_check(struct world *w, int32_t partition)
{
	const struct memory_partition *table = &w->db.tables[partition];
	const struct oracle *oracle = &w->oracles[partition];
	int64_t next_offset = w->offsets[partition].next_offset;
	int64_t offset = 0;

	for (size_t i = 0; i < table->gap_count; i++) {
		const struct memory_gap *gap = &table->gaps[i];

		for (; offset < gap->from_offset; offset++)
			if (oracle->expected[offset].fate == FATE_SKIPPED)
				world_fail(w, "partition %d offset %" PRId64 ": in no gap",
					partition, offset);
		for (; offset < gap->to_offset; offset++)
			if (oracle->expected[offset].fate != FATE_SKIPPED)
				world_fail(w, "partition %d offset %" PRId64 ": in a gap",
					partition, offset);
	}
	for (; offset < next_offset; offset++)
		if (oracle->expected[offset].fate == FATE_SKIPPED)
			world_fail(
				w, "partition %d offset %" PRId64 ": in no gap", partition, offset);
}
