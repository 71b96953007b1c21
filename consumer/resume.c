/*
 * See resume.h.
 *
 * The row of partition_offsets is locked first, as by a flush and by an owner that halts, so the
 * three wait for each other.  A borrower that works on the halted partition (lease_borrow.h) is
 * fenced by the moved offset; without a gap its transactions are as good after as before.
 */
#include "resume.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define PURPOSE "resuming the partition"

/* FOR UPDATE in the transaction that acts on it. */
static enum db_result read_offsets(struct db *db, const char *query, int32_t partition,
	struct resume_state *ret_state, char **ret_halted_reason, struct error *err)
{
	enum db_result result = db_query(
		db, "reading partition_offsets", err, query, SQL_INT(partition));

	*ret_state = (struct resume_state){0};
	*ret_halted_reason = NULL;
	if (result != DB_OK)
		return result;
	if (db_next(db)) {
		ret_state->found = true;
		ret_state->next_offset = db_int(db, 0);
		ret_state->halted = !db_null(db, 1);
		if (ret_state->halted)
			*ret_halted_reason = xstrdup(db_text(db, 1, NULL));
	}
	return db_end(db, err);
}

static enum db_result read_known_end(
	struct db *db, int32_t partition, int64_t *ret_end, struct error *err)
{
	enum db_result result = db_query(db, "reading the newest rows", err,
		"SELECT GREATEST("
		"COALESCE((SELECT MAX(kafka_offset) + 1 FROM balance_transactions "
		"WHERE kafka_partition = ?), 0), "
		"COALESCE((SELECT MAX(kafka_offset) + 1 FROM dead_letters "
		"WHERE kafka_partition = ?), 0), "
		"COALESCE((SELECT MAX(to_offset) FROM offset_gaps WHERE kafka_partition = ?), 0))",
		SQL_INT(partition), SQL_INT(partition), SQL_INT(partition));

	*ret_end = 0;
	if (result != DB_OK)
		return result;
	while (db_next(db))
		*ret_end = db_int(db, 0);
	return db_end(db, err);
}

enum db_result resume_read(struct db *db, int32_t partition, struct resume_state *ret_state,
	char **ret_halted_reason, struct error *err)
{
	enum db_result result = read_offsets(db,
		"SELECT next_offset, halted_reason FROM partition_offsets WHERE kafka_partition = ?",
		partition, ret_state, ret_halted_reason, err);

	if (result == DB_OK)
		result = read_known_end(db, partition, &ret_state->known_end, err);
	return result;
}

/* Both halted (only then there is a reason), and at the same place. */
static bool same_state(const struct resume_state *a, const char *a_reason,
	const struct resume_state *b, const char *b_reason)
{
	return a_reason && b_reason && strcmp(a_reason, b_reason) == 0 &&
	       a->next_offset == b->next_offset && a->known_end == b->known_end;
}

/* Reads the same again, now locked. */
static enum db_result prove(struct db *db, const struct resume *resume,
	const struct resume_state *seen, const char *halted_reason, bool *ret_same,
	struct error *err)
{
	struct resume_state state;
	char *reason;
	enum db_result result = read_offsets(db,
		"SELECT next_offset, halted_reason FROM partition_offsets "
		"WHERE kafka_partition = ? FOR UPDATE",
		resume->partition, &state, &reason, err);

	if (result == DB_OK)
		result = read_known_end(db, resume->partition, &state.known_end, err);
	*ret_same = result == DB_OK && same_state(&state, reason, seen, halted_reason);
	free(reason);
	return result;
}

static enum db_result change(struct db *db, const struct resume *resume,
	const struct resume_state *seen, struct error *err)
{
	bool gap = resume->at_offset != RESUME_NO_OFFSET;
	int64_t next_offset = gap ? resume->at_offset : seen->next_offset;
	enum db_result result = DB_OK;

	if (gap)
		result = db_exec(db, "recording the gap in offset_gaps", err,
			"INSERT INTO offset_gaps (kafka_partition, from_offset, to_offset, reason) "
			"VALUES (?, ?, ?, ?)",
			SQL_INT(resume->partition), SQL_INT(seen->next_offset),
			SQL_INT(resume->at_offset), SQL_TEXT(resume->reason));
	if (result != DB_OK)
		return result;
	return db_exec(db, "clearing the halt", err,
		"UPDATE partition_offsets SET next_offset = ?, halted_reason = NULL, "
		"updated_at = UTC_TIMESTAMP(3) WHERE kafka_partition = ?",
		SQL_INT(next_offset), SQL_INT(resume->partition));
}

enum db_result resume_apply(struct db *db, const struct resume *resume,
	const struct resume_state *seen, const char *halted_reason, bool *ret_done,
	struct error *err)
{
	enum db_result result = db_begin(db, PURPOSE, err);

	*ret_done = false;
	if (result == DB_OK)
		result = prove(db, resume, seen, halted_reason, ret_done, err);
	if (result == DB_OK && *ret_done)
		result = change(db, resume, seen, err);
	if (result == DB_OK && *ret_done)
		result = db_commit(db, PURPOSE, err);
	if (result != DB_OK || !*ret_done)
		db_rollback(db);
	*ret_done = *ret_done && result == DB_OK;
	return result;
}
