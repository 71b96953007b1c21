/*
 * The transaction ids that a partition remembers: the newest `capacity` ones, oldest forgotten
 * first.  The unique index of the journal is the judge for the rest of history; this saves asking
 * it.
 *
 * An id is a keyed 128-bit hash of account and id (SipHash-2-4 with the ledger's own secret, so
 * that nobody can make two ids collide) with a 64-bit fingerprint of the content: currency, type
 * and amount, by a universal hash: whoever does not know its key, which is made from the same
 * secret, finds two contents of one fingerprint with a chance of 2^-63 a try.  At most
 * DEDUPE_BYTES_MAX bytes an id.  Owned by the partition's thread; no locks.
 */
#ifndef CONSUMER_DEDUPE_H
#define CONSUMER_DEDUPE_H

#include <stddef.h>

#include "event.h"

#define DEDUPE_KEY_BYTES 16 /* of the ledger's secret */
#define DEDUPE_BYTES_MAX 32

struct dedupe_key {
	unsigned char secret[DEDUPE_KEY_BYTES];
	unsigned __int128 content[3]; /* a factor for each word of the content */
};

struct dedupe_id {
	uint64_t hash[2];
	uint64_t fingerprint;
};

enum dedupe_verdict {
	DEDUPE_NEW = 0,
	DEDUPE_SAME,     /* known with this content: a duplicate */
	DEDUPE_CONFLICT, /* known with another */
};

struct dedupe;

struct dedupe *dedupe_create(size_t capacity);
void dedupe_destroy(struct dedupe *dedupe);
void dedupe_clear(struct dedupe *dedupe);

struct dedupe_key dedupe_key(const unsigned char secret[DEDUPE_KEY_BYTES]);

/* The id of an event under the ledger's key. */
struct dedupe_id dedupe_id(const struct dedupe_key *key, const struct event *event);

void dedupe_prefetch(const struct dedupe *dedupe, const struct dedupe_id *id);
enum dedupe_verdict dedupe_check(const struct dedupe *dedupe, const struct dedupe_id *id);

/* Makes room for `count` ids, at most the capacity, by forgetting the oldest: faster than one by
 * one. */
void dedupe_reserve(struct dedupe *dedupe, size_t count);

/* Remembers an id that dedupe_check calls new; forgets the oldest if the capacity is reached. */
void dedupe_remember(struct dedupe *dedupe, const struct dedupe_id *id);

/*
 * Takes back the newest `count` ids.  What they had pushed out stays forgotten: the unique index
 * knows it.
 */
void dedupe_forget_newest(struct dedupe *dedupe, size_t count);

size_t dedupe_count(const struct dedupe *dedupe);
size_t dedupe_bytes(size_t capacity);

#endif
