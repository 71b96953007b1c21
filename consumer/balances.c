#include "balances.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/*
 * Layout.  An entry is 56 bytes; its currency is a number from the table of currencies, split over
 * what two 48-bit fields leave free.  The index is open-addressed with linear probing over 32-bit
 * words: ENTRY_BITS of an entry's number + 1 (0: free) under a tag of the key's hash, so that a
 * probe seldom touches an entry in vain.  A home is hash * capacity >> 64, which lets the index
 * grow by half: between growths it is 0.53 to 0.8 full and costs at most 7.5 bytes an entry.
 */
#define ENTRY_BITS  27
#define ENTRY_MASK  ((UINT32_C(1) << ENTRY_BITS) - 1)
#define ENTRIES_MAX (ENTRY_MASK - 1) /* 134 million a partition */
#define OFFSET_MASK ((UINT64_C(1) << 48) - 1)

/* A chunk is what is taken of the budget at once, a block the address space for many: it begins
 * with a huge page, and chunks of 4096 entries fill seven of these. */
#define CHUNK_BYTES   (CHUNK_ENTRIES * sizeof(struct entry))
#define BLOCK_CHUNKS  ((size_t)64)
#define BLOCK_ENTRIES (BLOCK_CHUNKS * CHUNK_ENTRIES)
#define BLOCK_BYTES   (BLOCK_CHUNKS * CHUNK_BYTES)

#ifndef CHUNK_ENTRIES /* small in the simulator, whose few balances must not all fit */
#define CHUNK_ENTRIES      ((size_t)1 << 12)
#define INDEX_CAPACITY_MIN ((size_t)1 << 12)
#endif

#define CURRENCIES_MAX 65536

#define FLAG_USED 0x80 /* since the clock's hand last passed */
#define FLAG_PINS (BALANCE_PIN_EVEN | BALANCE_PIN_ODD)

_Static_assert(BALANCE_OFFSET_MAX == (int64_t)OFFSET_MASK - 1, "last_offset + 1 fits");

/* What is looked at to find, pin and unpin comes first: mostly, that is one line of the cache. */
struct entry {
	int64_t account_id;
	uint64_t version : 48;
	uint64_t currency_low : 16;
	uint64_t last_offset : 48; /* + 1, so that -1 fits */
	uint64_t currency_high : 8;
	uint64_t flags : 8;
	i128 available;
	i128 frozen;
};

_Static_assert(sizeof(struct entry) == 56, "an entry has no holes");

/* The currencies met so far, numbered. */
struct currencies {
	currency_t *codes; /* by number */
	uint32_t count;
	uint32_t *index;         /* open-addressed: number + 1 */
	uint32_t index_capacity; /* a power of two */
};

struct balances {
	struct budget *budget;
	size_t entries_min;
	uint64_t seed;

	struct entry **blocks;
	size_t chunk_count; /* of the blocks' chunks, those in use */
	size_t count;       /* entries in use: numbers 0 to count - 1 */
	uint32_t hand;      /* of the eviction's clock */

	uint32_t *index;
	size_t index_capacity;

	struct currencies currencies;
	bool complete;
	size_t reserved_bytes; /* taken from the budget at creation: entries_min always fit */
	size_t used_bytes;
};

static struct entry *entry_at(const struct balances *balances, uint32_t number)
{
	return &balances->blocks[number / BLOCK_ENTRIES][number % BLOCK_ENTRIES];
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

uint64_t balances_hash(const struct balances *balances, struct balance_key key)
{
	return mix((uint64_t)key.account_id ^ balances->seed ^ mix(key.currency));
}

/* Currencies ---------------------------------------------------------------------------------- */

static void currencies_init(struct currencies *c)
{
	c->count = 0;
	c->index_capacity = 64;
	c->codes = xcalloc(c->index_capacity, sizeof *c->codes);
	c->index = xcalloc(c->index_capacity, sizeof *c->index);
}

static void currencies_finish(struct currencies *c)
{
	free(c->codes);
	free(c->index);
}

static uint32_t *currency_slot(const struct currencies *c, currency_t code)
{
	uint32_t mask = c->index_capacity - 1;

	for (uint32_t i = (uint32_t)mix(code) & mask;; i = (i + 1) & mask) {
		uint32_t *slot = &c->index[i];

		if (*slot == 0 || c->codes[*slot - 1] == code)
			return slot;
	}
}

static void currencies_grow(struct currencies *c)
{
	c->index_capacity *= 2;
	c->codes = xrealloc(c->codes, c->index_capacity * sizeof *c->codes);
	free(c->index);
	c->index = xcalloc(c->index_capacity, sizeof *c->index);
	for (uint32_t i = 0; i < c->count; i++)
		*currency_slot(c, c->codes[i]) = i + 1;
}

static uint32_t currency_number(struct currencies *c, currency_t code)
{
	uint32_t *slot = currency_slot(c, code);

	if (*slot != 0)
		return *slot - 1;
	if (c->count >= c->index_capacity / 2) {
		currencies_grow(c);
		slot = currency_slot(c, code);
	}
	c->codes[c->count++] = code;
	*slot = c->count;
	return c->count - 1;
}

static uint32_t entry_currency(const struct entry *entry)
{
	return (uint32_t)entry->currency_high << 16 | (uint32_t)entry->currency_low;
}

/* The index ----------------------------------------------------------------------------------- */

static size_t home_of(const struct balances *balances, uint64_t hash)
{
	return (size_t)((unsigned __int128)hash * balances->index_capacity >> 64);
}

static uint32_t word_of(uint64_t hash, uint32_t number)
{
	/* The tag is of the hash's low bits; the home is of its high ones. */
	return (uint32_t)hash << ENTRY_BITS | (number + 1);
}

static struct balance_key key_of(const struct balances *balances, const struct entry *entry)
{
	return (struct balance_key){
		entry->account_id, balances->currencies.codes[entry_currency(entry)]};
}

static uint64_t entry_hash(const struct balances *balances, const struct entry *entry)
{
	return balances_hash(balances, key_of(balances, entry));
}

static size_t next_position(const struct balances *balances, size_t position)
{
	return position + 1 == balances->index_capacity ? 0 : position + 1;
}

static void index_put(struct balances *balances, uint64_t hash, uint32_t number)
{
	size_t position = home_of(balances, hash);

	while (balances->index[position] != 0)
		position = next_position(balances, position);
	balances->index[position] = word_of(hash, number);
}

static void index_alloc(struct balances *balances)
{
	balances->index = xmap(balances->index_capacity * sizeof *balances->index);
}

static void index_free(struct balances *balances)
{
	xunmap(balances->index, balances->index_capacity * sizeof *balances->index);
}

static void index_grow(struct balances *balances)
{
	index_free(balances);
	balances->index_capacity += balances->index_capacity / 2;
	index_alloc(balances);
	for (uint32_t number = 0; number < balances->count; number++)
		index_put(balances, entry_hash(balances, entry_at(balances, number)), number);
}

/* Whether an index that grows by half has room for one entry more at 80 %. */
static bool index_has_room(const struct balances *balances)
{
	return (balances->count + 1) * 5 <= balances->index_capacity * 4;
}

static size_t distance(const struct balances *balances, size_t from, size_t to)
{
	return to >= from ? to - from : to + balances->index_capacity - from;
}

/* Takes an entry out of the index and closes the gap (backward shift). */
static void index_remove(struct balances *balances, uint32_t number)
{
	size_t hole = home_of(balances, entry_hash(balances, entry_at(balances, number)));
	size_t position;

	while ((balances->index[hole] & ENTRY_MASK) != number + 1)
		hole = next_position(balances, hole);

	for (position = next_position(balances, hole); balances->index[position] != 0;
		position = next_position(balances, position)) {
		uint32_t other = (balances->index[position] & ENTRY_MASK) - 1;
		size_t home = home_of(balances, entry_hash(balances, entry_at(balances, other)));

		if (distance(balances, home, position) < distance(balances, hole, position))
			continue;
		balances->index[hole] = balances->index[position];
		hole = position;
	}
	balances->index[hole] = 0;
}

/* Memory -------------------------------------------------------------------------------------- */

static size_t over_reserve(const struct balances *balances, size_t used_bytes)
{
	return used_bytes > balances->reserved_bytes ? used_bytes - balances->reserved_bytes : 0;
}

static bool take(struct balances *balances, size_t bytes)
{
	size_t more = over_reserve(balances, balances->used_bytes + bytes) -
		      over_reserve(balances, balances->used_bytes);

	if (!budget_take(balances->budget, more))
		return false;
	balances->used_bytes += bytes;
	return true;
}

static size_t block_count(const struct balances *balances)
{
	return (balances->chunk_count + BLOCK_CHUNKS - 1) / BLOCK_CHUNKS;
}

/* All chunks are full: one more.  Entries are read at random, so the pages of full ones become
 * huge, but not before: memory that is not used yet would not be in the budget. */
static void add_chunk(struct balances *balances)
{
	size_t blocks = block_count(balances);
	size_t full = balances->chunk_count - (blocks ? (blocks - 1) * BLOCK_CHUNKS : 0);

	if (full > 0)
		xmap_filled(
			balances->blocks[blocks - 1], (full - 1) * CHUNK_BYTES, full * CHUNK_BYTES);
	if (balances->chunk_count++ < blocks * BLOCK_CHUNKS)
		return;
	balances->blocks = xrealloc(balances->blocks, (blocks + 1) * sizeof(*balances->blocks));
	balances->blocks[blocks] = xmap_small(BLOCK_BYTES);
}

static bool make_room_for_entry(struct balances *balances)
{
	if (balances->count < balances->chunk_count * CHUNK_ENTRIES)
		return true;
	if (balances->count + CHUNK_ENTRIES > ENTRIES_MAX || !take(balances, CHUNK_BYTES))
		return false;
	add_chunk(balances);
	return true;
}

static bool make_room_in_index(struct balances *balances)
{
	if (index_has_room(balances))
		return true;
	if (!take(balances, balances->index_capacity / 2 * sizeof *balances->index))
		return false;
	index_grow(balances);
	return true;
}

/* The first entry that nobody pins and nobody used since the hand last passed. */
static uint32_t evict(struct balances *balances)
{
	for (size_t looked = 0; looked <= 2 * balances->count; looked++) {
		uint32_t number = balances->hand;
		struct entry *entry = entry_at(balances, number);

		balances->hand = number + 1 == balances->count ? 0 : number + 1;
		if (entry->flags & FLAG_PINS)
			continue;
		if (entry->flags & FLAG_USED) {
			entry->flags &= (uint8_t)~FLAG_USED;
			continue;
		}
		index_remove(balances, number);
		balances->complete = false;
		return number;
	}
	assert(!"more balances are pinned than entries_min");
	return BALANCE_NONE;
}

/* The interface ------------------------------------------------------------------------------- */

static void tables_init(struct balances *balances)
{
	balances->index_capacity = INDEX_CAPACITY_MIN;
	index_alloc(balances);
	balances->used_bytes = INDEX_CAPACITY_MIN * sizeof *balances->index;
	currencies_init(&balances->currencies);
}

static void tables_finish(struct balances *balances)
{
	for (size_t i = 0; i < block_count(balances); i++)
		xunmap(balances->blocks[i], BLOCK_BYTES);
	free(balances->blocks);
	index_free(balances);
	currencies_finish(&balances->currencies);
	budget_give(balances->budget, over_reserve(balances, balances->used_bytes));
}

size_t balances_bytes_min(size_t entries_min)
{
	return entries_min * BALANCE_BYTES_MAX + CHUNK_BYTES +
	       2 * INDEX_CAPACITY_MIN * sizeof(uint32_t);
}

struct balances *balances_create(struct budget *budget, size_t entries_min, uint64_t seed)
{
	struct balances *balances = xcalloc(1, sizeof *balances);

	balances->budget = budget;
	balances->entries_min = entries_min;
	balances->seed = seed;
	balances->reserved_bytes = balances_bytes_min(entries_min);
	budget_force(budget, balances->reserved_bytes);
	tables_init(balances);
	return balances;
}

void balances_destroy(struct balances *balances)
{
	if (!balances)
		return;
	tables_finish(balances);
	budget_give(balances->budget, balances->reserved_bytes);
	free(balances);
}

void balances_clear(struct balances *balances)
{
	tables_finish(balances);
	*balances = (struct balances){
		.budget = balances->budget,
		.entries_min = balances->entries_min,
		.seed = balances->seed,
		.reserved_bytes = balances->reserved_bytes,
	};
	tables_init(balances);
}

void balances_begin_complete(struct balances *balances)
{
	assert(balances->count == 0);
	balances->complete = true;
}

bool balances_complete(const struct balances *balances)
{
	return balances->complete;
}

void balances_prefetch(const struct balances *balances, uint64_t hash)
{
	__builtin_prefetch(&balances->index[home_of(balances, hash)]);
}

/* The index is there, or nearly.  Of entries with this tag the first is nearly always it. */
void balances_prefetch_entry(const struct balances *balances, uint64_t hash)
{
	uint32_t tag = (uint32_t)hash << ENTRY_BITS;
	size_t position = home_of(balances, hash);
	uint32_t word;

	while ((word = balances->index[position]) != 0 && (word & ~ENTRY_MASK) != tag)
		position = next_position(balances, position);
	if (word != 0)
		__builtin_prefetch(entry_at(balances, (word & ENTRY_MASK) - 1), 1);
}

void balances_prefetch_ref(const struct balances *balances, balance_ref ref)
{
	const struct entry *entry = entry_at(balances, ref);

	__builtin_prefetch(entry, 1);
	__builtin_prefetch((const char *)(entry + 1) - 1, 1); /* most lie over two lines */
}

balance_ref balances_find(const struct balances *balances, struct balance_key key)
{
	return balances_find_hashed(balances, key, balances_hash(balances, key));
}

balance_ref balances_find_hashed(
	const struct balances *balances, struct balance_key key, uint64_t hash)
{
	uint32_t tag = (uint32_t)hash << ENTRY_BITS;
	size_t position = home_of(balances, hash);
	uint32_t word;

	for (; (word = balances->index[position]) != 0;
		position = next_position(balances, position)) {
		uint32_t number = (word & ENTRY_MASK) - 1;
		struct entry *entry;

		if ((word & ~ENTRY_MASK) != tag)
			continue;
		entry = entry_at(balances, number);
		if (entry->account_id == key.account_id &&
			balances->currencies.codes[entry_currency(entry)] == key.currency)
			return number;
	}
	return BALANCE_NONE;
}

balance_ref balances_add(struct balances *balances, struct balance_key key,
	const struct balance *balance, enum balance_pin pin)
{
	uint32_t currency = currency_number(&balances->currencies, key.currency);
	uint32_t number;
	struct entry *entry;

	assert(key.account_id > 0);
	assert(currency >> 24 == 0);
	if (make_room_in_index(balances) && make_room_for_entry(balances))
		number = (uint32_t)balances->count++;
	else
		number = evict(balances);

	entry = entry_at(balances, number);
	*entry = (struct entry){
		.account_id = key.account_id,
		.currency_low = currency & 0xffff,
		.currency_high = currency >> 16 & 0xff,
		.flags = FLAG_USED | pin,
	};
	balances_set(balances, number, balance);
	index_put(balances, balances_hash(balances, key), number);
	return number;
}

void balances_pin(struct balances *balances, balance_ref ref, enum balance_pin pin)
{
	entry_at(balances, ref)->flags |= FLAG_USED | pin;
}

void balances_unpin(struct balances *balances, balance_ref ref, enum balance_pin pin)
{
	entry_at(balances, ref)->flags &= (uint8_t)~pin;
}

void balances_get(const struct balances *balances, balance_ref ref, struct balance *ret_balance)
{
	const struct entry *entry = entry_at(balances, ref);

	assert(entry->account_id != 0);
	ret_balance->available = entry->available;
	ret_balance->frozen = entry->frozen;
	ret_balance->version = (int64_t)entry->version;
	ret_balance->last_offset = (int64_t)entry->last_offset - 1;
}

void balances_set(struct balances *balances, balance_ref ref, const struct balance *balance)
{
	struct entry *entry = entry_at(balances, ref);

	assert(entry->account_id != 0);
	assert(balance->available >= 0 && balance->available <= DECIMAL_MAX);
	assert(balance->frozen >= 0 && balance->frozen <= DECIMAL_MAX);
	assert(balance->version >= 0 && balance->version <= BALANCE_OFFSET_MAX);
	assert(balance->last_offset >= -1 && balance->last_offset <= BALANCE_OFFSET_MAX);
	entry->available = balance->available;
	entry->frozen = balance->frozen;
	entry->version = (uint64_t)balance->version & OFFSET_MASK;
	entry->last_offset = (uint64_t)(balance->last_offset + 1) & OFFSET_MASK;
}

struct balance_key balances_key(const struct balances *balances, balance_ref ref)
{
	return key_of(balances, entry_at(balances, ref));
}

size_t balances_count(const struct balances *balances)
{
	return balances->count;
}

size_t balances_bytes(const struct balances *balances)
{
	return balances->used_bytes;
}

bool balances_crowded(const struct balances *balances)
{
	return balances->currencies.count > CURRENCIES_MAX;
}
