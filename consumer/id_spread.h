/*
 * Whether transaction ids come in the order that the journal's unique index keeps, or all over it.
 *
 * Ids that are ordered by time go to the same few places of the index, one after the other; random
 * ones go to any place, and each needs a page of its own once the index has outgrown the database's
 * memory.  So some ids of all that were seen are remembered, in order, and of a window of new ones
 * it is counted between how many of the remembered ones they fall: random ids fall between nearly
 * all, those of a few producers that each count up between a few.
 *
 * A few ids of each flush are looked at, so that it costs next to nothing an event.
 */
#ifndef CONSUMER_ID_SPREAD_H
#define CONSUMER_ID_SPREAD_H

#include "batch.h"

#define ID_SPREAD_IDS     128 /* remembered, and in a window */
#define ID_SPREAD_UNKNOWN (-1)

struct id_spread_id {
	char text[TRANSACTION_ID_MAX]; /* filled up with zeros, which no id has */
};

struct id_spread {
	struct id_spread_id known[ID_SPREAD_IDS]; /* ascending, once all are there */
	struct id_spread_id window[ID_SPREAD_IDS];
	size_t known_count;
	size_t window_count;
	uint64_t seen; /* ids that were looked at, up to a limit */
	uint64_t random;
	int permille; /* of the last window */
};

void id_spread_init(struct id_spread *spread, uint64_t seed);

/* Looks at some journal rows of a batch that was committed. */
void id_spread_look(struct id_spread *spread, const struct batch *b);

/* How many ids in a thousand go to any place, about; ID_SPREAD_UNKNOWN before some thousands were
 * looked at. */
int id_spread_permille(const struct id_spread *spread);

#endif
