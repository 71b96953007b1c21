/*
 * What `verify` reads from MySQL, in one snapshot: everything between verify_journal_begin and
 * verify_journal_end is as it was at one moment, however long it takes and whatever a daemon does
 * meanwhile.
 *
 * Journal rows and dead letters come in the order of their offsets, in blocks, so that memory is
 * bounded and other questions may be asked in between.  Values that this program does not write are
 * reported as they are met; rows that have some are marked unusable.
 *
 * The connection stays the caller's, and is nobody else's while a journal is used.
 */
#ifndef CONSUMER_VERIFY_JOURNAL_H
#define CONSUMER_VERIFY_JOURNAL_H

#include "balances.h"
#include "db.h"
#include "verify_match.h"
#include "verify_report.h"
#include "verify_rows.h"

struct verify_journal;

struct verify_journal *verify_journal_create(struct db *db, struct verify_report *report);
void verify_journal_destroy(struct verify_journal *journal);

enum db_result verify_journal_begin(struct verify_journal *journal, struct error *err);
void verify_journal_end(struct verify_journal *journal);

/* Reports rows of partitions that the topic does not have. */
enum db_result verify_journal_strays(
	struct verify_journal *journal, int32_t partitions, struct error *err);

enum db_result verify_journal_offsets(struct verify_journal *journal, int32_t partition,
	struct verify_offsets *ret_offsets, struct error *err);

/* Chooses the partition whose rows, letters and gaps come next.  content: what is compared with the
 * log is read, too. */
enum db_result verify_journal_choose(
	struct verify_journal *journal, int32_t partition, bool content, struct error *err);

/* The next row, and its content if that is read; NULL: there are no more.  Good until it is passed
 * and another one is asked for. */
enum db_result verify_journal_row(struct verify_journal *journal, const struct verify_row **ret_row,
	const struct verify_content **ret_content, struct error *err);
void verify_journal_pass_row(struct verify_journal *journal);

/* A row soon to come, or NULL. */
const struct verify_row *verify_journal_ahead(const struct verify_journal *journal);

enum db_result verify_journal_letter(
	struct verify_journal *journal, const struct verify_letter **ret_letter, struct error *err);
void verify_journal_pass_letter(struct verify_journal *journal);

/* Gaps of the chosen partition, ascending. */
const struct verify_gap *verify_journal_gaps(
	const struct verify_journal *journal, size_t *ret_count);

/* Hands the journal rows with the ids of the match's lookups to it. */
enum db_result verify_journal_look_up(
	struct verify_journal *journal, struct verify_match *match, struct error *err);

/* How many balances there are of each partition. */
enum db_result verify_journal_count(
	struct verify_journal *journal, int32_t partitions, int64_t *ret_counts, struct error *err);

/* Hands each balance of the partitions first to last to fn; all of the table if `all`. */
typedef void verify_balance_fn(void *context, const struct verify_balance *balance);
enum db_result verify_journal_balances(struct verify_journal *journal, bool all, int32_t first,
	int32_t last, verify_balance_fn *fn, void *context, struct error *err);

/*
 * For Redis, outside of a snapshot: at most `limit` balances behind `after` (NULL: from the first),
 * of one partition or (-1) of all, in the order of their keys; and the balances of up to
 * VERIFY_KEYS_MAX keys.
 */
#define VERIFY_KEYS_MAX 1000
enum db_result verify_journal_balances_after(struct verify_journal *journal,
	const struct balance_key *after, int32_t partition, size_t limit, verify_balance_fn *fn,
	void *context, struct error *err);
enum db_result verify_journal_balances_of(struct verify_journal *journal,
	const struct balance_key *keys, size_t count, verify_balance_fn *fn, void *context,
	struct error *err);

#endif
