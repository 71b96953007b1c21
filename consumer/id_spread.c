#include "id_spread.h"

#include <stdlib.h>
#include <string.h>

#define LOOKS_A_BATCH 32

/* Older ids are slowly forgotten, so that a producer that changes its ids is noticed after some
 * hundred thousand that were looked at. */
#define SEEN_MAX (UINT64_C(1) << 17)

/* Fewer come from one moment, in which ids of several machines are in no order. */
#define SEEN_LEAST (16 * ID_SPREAD_IDS)

void id_spread_init(struct id_spread *spread, uint64_t seed)
{
	*spread = (struct id_spread){.random = seed | 1, .permille = ID_SPREAD_UNKNOWN};
}

static uint64_t next_random(struct id_spread *spread)
{
	spread->random ^= spread->random << 13;
	spread->random ^= spread->random >> 7;
	spread->random ^= spread->random << 17;
	return spread->random;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct id_spread_id));
}

static void sort_known(struct id_spread *spread)
{
	qsort(spread->known, ID_SPREAD_IDS, sizeof(spread->known[0]), compare);
}

/* How many of the known ids are below. */
static size_t place(const struct id_spread *spread, const struct id_spread_id *id)
{
	size_t begin = 0, end = ID_SPREAD_IDS;

	while (begin < end) {
		size_t middle = (begin + end) / 2;

		if (compare(&spread->known[middle], id) < 0)
			begin = middle + 1;
		else
			end = middle;
	}
	return begin;
}

static size_t count_places(const struct id_spread *spread)
{
	bool hit[ID_SPREAD_IDS + 1] = {false};
	size_t places = 0;

	for (size_t i = 0; i < ID_SPREAD_IDS; i++)
		hit[place(spread, &spread->window[i])] = true;
	for (size_t i = 0; i <= ID_SPREAD_IDS; i++)
		places += hit[i];
	return places;
}

/*
 * If a share q of n ids goes to any of n places, which are as wide as chance makes them, some
 * n q / (1 + q) of these are hit; so of h that were hit, q = h / (n - h).  One is what order needs.
 */
static int permille_of(size_t places)
{
	size_t hit = places - 1;

	return hit < ID_SPREAD_IDS / 2 ? (int)(hit * 1000 / (ID_SPREAD_IDS - hit)) : 1000;
}

/* Each id that was ever seen is among the known ones with the same chance, but for the oldest. */
static void remember(struct id_spread *spread)
{
	for (size_t i = 0; i < ID_SPREAD_IDS; i++) {
		uint64_t slot;

		spread->seen += spread->seen < SEEN_MAX;
		slot = next_random(spread) % spread->seen;
		if (slot < ID_SPREAD_IDS)
			spread->known[slot] = spread->window[i];
	}
	sort_known(spread);
}

static void add(struct id_spread *spread, const struct event *event)
{
	struct id_spread_id id = {{0}};

	memcpy(id.text, event->transaction_id, event->transaction_id_length);
	if (spread->known_count < ID_SPREAD_IDS) {
		spread->known[spread->known_count++] = id;
		spread->seen++;
		if (spread->known_count == ID_SPREAD_IDS)
			sort_known(spread);
		return;
	}
	spread->window[spread->window_count++] = id;
	if (spread->window_count < ID_SPREAD_IDS)
		return;
	if (spread->seen >= SEEN_LEAST)
		spread->permille = permille_of(count_places(spread));
	remember(spread);
	spread->window_count = 0;
}

void id_spread_look(struct id_spread *spread, const struct batch *b)
{
	size_t step = b->count / LOOKS_A_BATCH + 1;

	for (size_t i = 0; i < b->count; i += step) {
		const struct record *record = &b->records[i];

		if (record->outcome == OUTCOME_APPLIED || record->outcome == OUTCOME_REFUSED)
			add(spread, &record->event);
	}
}

int id_spread_permille(const struct id_spread *spread)
{
	return spread->permille;
}
