/*
 * What is to be done about each candidate of a `replay`.
 *
 * An account whose chains are all whole has lost nothing, so an id that is nowhere in it has had no
 * effect: the rules decide, on today's balances, in the order of the offsets.
 *
 * In an account with a broken chain rows are missing.  They were once decided by the log alone, so
 * they can be found again: what the chain still has falls into pieces, each of which says by its
 * prev_offset where the missing part before it ended.  The pieces stand in the order of those of
 * their rows that were never skipped (a replayed row has an old offset).  Between two pieces stood
 * the events that are missing there: they are applied to the balances at the end of the one piece,
 * and must lead exactly to those before the next one, or to account_balances; and the number of
 * applied rows must then be the version.  Either all missing rows of an account are found, or none
 * is restored: an id that seems new might be that of a missing one.
 *
 * Of an account that is wanted, candidates outside of the range are evidence like the others, and
 * get their verdicts, which nobody carries out: then some of its rows are restored and others stay
 * missing, its chain stays broken, and nothing of it is decided.  Each row is what it was,
 * whichever of the others are there.
 *
 * A skipped event that was replayed and refused leaves no trace when its row is deleted in the
 * middle of others: where that may have happened, the account is left alone.
 *
 * Pure.
 */
#ifndef CONSUMER_REPLAY_RESOLVE_H
#define CONSUMER_REPLAY_RESOLVE_H

#include "replay_table.h"

/* The table is judged, and the rows of its broken accounts are collected.  Gives every candidate
 * its verdict, and rows their balances; notes what else should be looked at. */
void replay_resolve(struct replay_table *table);

#endif
