/*
 * The balances of one partition in memory: a hash from (account, currency) to a balance.
 *
 * Entries never move, so a balance's number (balance_ref) is good until the entry is removed; the
 * index holds only numbers.  With both, an entry costs at most BALANCE_BYTES_MAX bytes.  What does
 * not fit the budget is evicted: clean entries that no batch pins and that were not used since the
 * clock's hand last passed.
 *
 * Owned by the partition's thread alone; no locks.
 */
#ifndef CONSUMER_BALANCES_H
#define CONSUMER_BALANCES_H

#include <stdbool.h>
#include <stddef.h>

#include "apply.h"
#include "budget.h"

#define BALANCE_BYTES_MAX  64
#define BALANCE_NONE       UINT32_MAX
#define BALANCE_OFFSET_MAX ((INT64_C(1) << 48) - 2) /* of last_offset and of version */

typedef uint32_t balance_ref;

/* Who pins an entry: the batch in the ledger or the one being prepared. */
enum balance_pin {
	BALANCE_PIN_EVEN = 1,
	BALANCE_PIN_ODD = 2,
};

struct balance_key {
	int64_t account_id;
	currency_t currency;
};

struct balances;

/*
 * Takes memory from budget as it grows; at least `entries_min` entries always fit.  seed: of the
 * hash, random in the daemon, so that nobody can choose account ids that collide.
 */
struct balances *balances_create(struct budget *budget, size_t entries_min, uint64_t seed);
/* What balances_create takes at once. */
size_t balances_bytes_min(size_t entries_min);

void balances_destroy(struct balances *balances);

/* Forgets every entry. */
void balances_clear(struct balances *balances);

/*
 * A new ledger has no balances yet, so all that there are come to be here: what is not in memory is
 * nowhere, until an entry is evicted or all are forgotten.
 */
void balances_begin_complete(struct balances *balances);
bool balances_complete(const struct balances *balances);

/* Bring what a find of a key with this hash will touch into the cache: first the index; a few finds
 * later, what the index leads to.  Then what is behind a reference. */
uint64_t balances_hash(const struct balances *balances, struct balance_key key);
void balances_prefetch(const struct balances *balances, uint64_t hash);
void balances_prefetch_entry(const struct balances *balances, uint64_t hash);
void balances_prefetch_ref(const struct balances *balances, balance_ref ref);

/* BALANCE_NONE if the key is not in memory (the database may know it). */
balance_ref balances_find(const struct balances *balances, struct balance_key key);
/* The same for who has the key's hash already. */
balance_ref balances_find_hashed(
	const struct balances *balances, struct balance_key key, uint64_t hash);

/*
 * Adds a key that is not there, with this balance, and pins it for `pin`.  Evicts if it must;
 * that there is always something to evict is the caller's duty: fewer than entries_min keys may
 * be pinned.
 */
balance_ref balances_add(struct balances *balances, struct balance_key key,
	const struct balance *balance, enum balance_pin pin);

void balances_pin(struct balances *balances, balance_ref ref, enum balance_pin pin);
void balances_unpin(struct balances *balances, balance_ref ref, enum balance_pin pin);

void balances_get(const struct balances *balances, balance_ref ref, struct balance *ret_balance);
void balances_set(struct balances *balances, balance_ref ref, const struct balance *balance);
struct balance_key balances_key(const struct balances *balances, balance_ref ref);

size_t balances_count(const struct balances *balances);
/* Somebody sends more currencies than exist: clear before there are 2^24, or the table asserts. */
bool balances_crowded(const struct balances *balances);

size_t balances_bytes(const struct balances *balances);

#endif
