/*
 * See rebuild.h.
 *
 * A batch is three arrays side by side.  A balance leaves it when Redis is seen, or written, to
 * have what the database has; what is left goes through another round.
 */
#include "rebuild.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digits.h"
#include "mem.h"
#include "murmur2.h"
#include "redis_name.h"

#define BATCH_DEFAULT 2000
#define ROUNDS_MAX    50 /* somebody else writes what is not ours, again and again */
#define KNOWN_MIN     1000

enum step { STEP_FETCH, STEP_LOOK, STEP_ASK, STEP_WRITE, STEP_FORCE };

/* What Redis has, beside what the database has. */
enum verdict { RIGHT, BEHIND, WRONG };

/* A balance of the batch, and what was found. */
struct entry {
	struct snapshot_image image; /* the database's; version 0: none */
	bool known;                  /* the image is of use: else the database must be asked */
	bool counted;
	enum verdict verdict;
};

struct rebuild {
	struct rebuild_config config;
	struct rebuild_counts counts;
	struct budget budget;
	struct balances *known; /* keys that were met */

	enum step step;
	unsigned round; /* of the batch */

	bool rows_ended; /* the first pass is over */
	bool rows_started;
	struct balance_key rows_after;
	bool keys_ended;
	struct balance_key *keys; /* of Redis, that wait to be a batch */
	size_t key_count, key_capacity;

	size_t count; /* of the batch */
	struct entry *entries;
	struct snapshot_seen *seen;
	struct balance_key *keys_of_call;
	struct balance_row *rows;
	struct snapshot_image *images;
	bool *done;
};

struct rebuild *rebuild_create(const struct rebuild_config *config)
{
	struct rebuild *r = xcalloc(1, sizeof *r);
	size_t least = balances_bytes_min(KNOWN_MIN);
	size_t max;

	r->config = *config;
	if (!r->config.batch_max)
		r->config.batch_max = BATCH_DEFAULT;
	max = r->config.batch_max;
	budget_init(&r->budget, config->memory_bytes > least ? config->memory_bytes : least);
	r->known = balances_create(&r->budget, KNOWN_MIN, config->seed);
	r->entries = xcalloc(max, sizeof *r->entries);
	r->seen = xcalloc(max, sizeof *r->seen);
	r->keys_of_call = xcalloc(max, sizeof *r->keys_of_call);
	r->rows = xcalloc(max, sizeof *r->rows);
	r->images = xcalloc(max, sizeof *r->images);
	r->done = xcalloc(max, sizeof *r->done);
	return r;
}

void rebuild_destroy(struct rebuild *r)
{
	balances_destroy(r->known);
	free(r->keys);
	free(r->entries);
	free(r->seen);
	free(r->keys_of_call);
	free(r->rows);
	free(r->images);
	free(r->done);
	free(r);
}

const struct rebuild_counts *rebuild_counts(const struct rebuild *r)
{
	return &r->counts;
}

bool rebuild_between(const struct rebuild *r)
{
	return r->step == STEP_FETCH;
}

/* What the batch is made of ---------------------------------------------------------------------
 */

static bool is_ours(const struct rebuild *r, struct balance_key key)
{
	char text[DIGITS_U64_MAX];
	size_t length = digits_i64(key.account_id, text);

	return r->config.partition < 0 ||
	       murmur2_partition(text, length, r->config.partitions) == r->config.partition;
}

/* Whether the key was met before; now it was. */
static bool meet(struct rebuild *r, struct balance_key key)
{
	static const struct balance none = {.last_offset = -1};

	if (balances_find(r->known, key) != BALANCE_NONE)
		return true;
	balances_unpin(
		r->known, balances_add(r->known, key, &none, BALANCE_PIN_EVEN), BALANCE_PIN_EVEN);
	return false;
}

static void add_entry(struct rebuild *r, const struct snapshot_image *image, bool known)
{
	assert(r->count < r->config.batch_max);
	r->entries[r->count++] = (struct entry){.image = *image, .known = known};
}

static void take_row(void *context, const struct store_balance *row)
{
	struct rebuild *r = context;
	struct snapshot_image image = {row->key, row->balance.available, row->balance.frozen,
		row->balance.version, row->updated_ms};

	r->rows_after = row->key;
	r->rows_started = true;
	r->rows_ended = false;
	if (!is_ours(r, row->key))
		return;
	meet(r, row->key);
	add_entry(r, &image, true);
}

static int fetch_rows(struct rebuild *r, struct error *err)
{
	struct store *s = r->config.store;
	struct balance_key after = r->rows_after;

	r->rows_ended = true;
	if (s->ops->scan_balances(s, r->rows_started ? &after : NULL, r->config.batch_max, take_row,
		    r, err) != STORE_OK)
		return -EIO;
	return 0;
}

static void take_foreign(struct rebuild *r, const char *text, size_t length)
{
	if (r->counts.foreign++ > 0)
		return;
	if (length >= sizeof r->counts.foreign_key)
		length = sizeof r->counts.foreign_key - 1;
	for (size_t i = 0; i < length; i++)
		r->counts.foreign_key[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
}

static void take_key(void *context, const char *text, size_t length)
{
	struct rebuild *r = context;
	struct balance_key key;

	if (!redis_name_parse(text, length, &key)) {
		take_foreign(r, text, length);
		return;
	}
	if (!is_ours(r, key) || meet(r, key))
		return;
	if (r->key_count == r->key_capacity) {
		r->key_capacity = r->key_capacity ? 2 * r->key_capacity : 1024;
		r->keys = xrealloc(r->keys, r->key_capacity * sizeof *r->keys);
	}
	r->keys[r->key_count++] = key;
}

/* The newest of the keys that wait, once there are enough for a batch. */
static int fetch_keys(struct rebuild *r, struct error *err)
{
	int rc = 0;

	if (!r->keys_ended && r->key_count < r->config.batch_max)
		return r->config.scan(r->config.scan_context, take_key, r, &r->keys_ended, err);
	while (r->key_count > 0 && r->count < r->config.batch_max) {
		struct snapshot_image unknown = {.key = r->keys[--r->key_count]};

		add_entry(r, &unknown, false);
	}
	return rc;
}

static int fetch(struct rebuild *r, bool *ret_done, struct error *err)
{
	int rc = r->rows_ended ? fetch_keys(r, err) : fetch_rows(r, err);

	if (rc != 0)
		return rc;
	r->round = 0;
	if (r->count > 0)
		r->step = STEP_LOOK;
	else
		*ret_done = r->rows_ended && r->keys_ended && r->key_count == 0;
	return 0;
}

/* Judging ---------------------------------------------------------------------------------------
 */

static bool is_there(const struct snapshot_seen *seen)
{
	return strcmp(seen->text, "none") != 0;
}

/* Not by its time: a refused transaction gives the row a new one, and changes nothing else. */
static bool is_same(const struct snapshot_image *a, const struct snapshot_image *b)
{
	return a->version == b->version && a->available == b->available && a->frozen == b->frozen;
}

static enum verdict judge(const struct snapshot_seen *seen, const struct snapshot_image *image)
{
	if (!is_there(seen))
		return image->version == 0 ? RIGHT : BEHIND;
	if (image->version == 0 || seen->image.version < 0 || seen->image.version > image->version)
		return WRONG;
	return is_same(&seen->image, image) ? RIGHT : BEHIND;
}

static void count_entry(struct rebuild *r, size_t i)
{
	const struct snapshot_seen *seen = &r->seen[i];
	struct entry *entry = &r->entries[i];
	bool same_version = is_there(seen) && seen->image.version == entry->image.version;

	if (entry->counted)
		return;
	entry->counted = true;
	if (entry->verdict == WRONG && entry->image.version == 0)
		r->counts.deleted++;
	else if (entry->verdict == WRONG || (entry->verdict == BEHIND && same_version))
		r->counts.mended++;
	else if (entry->verdict == BEHIND)
		r->counts.written++;
	else if (entry->image.version > 0)
		r->counts.unchanged++;
}

/* Counts the entries with this verdict, and lets them go. */
static void settle(struct rebuild *r, enum verdict verdict)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->count; i++) {
		if (r->entries[i].known && r->entries[i].verdict == verdict) {
			count_entry(r, i);
			continue;
		}
		r->entries[kept] = r->entries[i];
		r->seen[kept++] = r->seen[i];
	}
	r->count = kept;
}

/* A round ---------------------------------------------------------------------------------------
 */

static int too_many_rounds(const struct rebuild *r, struct error *err)
{
	char currency[CURRENCY_LENGTH_MAX + 1];

	currency_text(r->entries[0].image.key.currency, currency);
	return error_set(err, -EBUSY,
		"balance:{%" PRId64
		"}:%s in Redis changes again and again, to what the database does not have: find "
		"out who else writes to it (or whether this is the database that the instances "
		"write to), and begin again",
		r->entries[0].image.key.account_id, currency);
}

/* An image that was read before this look cannot tell that Redis is ahead. */
static int look(struct rebuild *r, struct error *err)
{
	struct snapshot *s = r->config.snapshot;
	int rc;

	if (r->round++ == ROUNDS_MAX)
		return too_many_rounds(r, err);
	for (size_t i = 0; i < r->count; i++)
		r->keys_of_call[i] = r->entries[i].image.key;
	rc = s->ops->look(s, r->keys_of_call, r->count, r->seen, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < r->count; i++) {
		struct entry *entry = &r->entries[i];

		entry->verdict = judge(&r->seen[i], &entry->image);
		if (entry->verdict == WRONG)
			entry->known = false;
	}
	settle(r, RIGHT);
	return 0;
}

static int compare_rows(const void *a, const void *b)
{
	return balance_key_compare(
		&((const struct balance_row *)a)->key, &((const struct balance_row *)b)->key);
}

static struct snapshot_image image_of(const struct balance_row *row)
{
	struct snapshot_image image = {.key = row->key};

	if (row->found && row->balance.version > 0)
		image = (struct snapshot_image){row->key, row->balance.available,
			row->balance.frozen, row->balance.version, row->updated_ms};
	return image;
}

/* The rows to ask for, sorted; each once, although SCAN may name a key twice.  How many. */
static size_t unknown_rows(struct rebuild *r)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < r->count; i++)
		if (!r->entries[i].known)
			r->rows[count++] = (struct balance_row){.key = r->entries[i].image.key};
	qsort(r->rows, count, sizeof *r->rows, compare_rows);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || compare_rows(&r->rows[kept - 1], &r->rows[i]) != 0)
			r->rows[kept++] = r->rows[i];
	return kept;
}

static int ask(struct rebuild *r, struct error *err)
{
	struct store *s = r->config.store;
	size_t count = unknown_rows(r);

	if (count == 0)
		return 0;
	if (s->ops->read_balances(s, r->rows, count, err) != STORE_OK)
		return -EIO;
	for (size_t i = 0; i < r->count; i++) {
		struct entry *entry = &r->entries[i];
		struct balance_row key = {.key = entry->image.key};

		if (entry->known)
			continue;
		entry->image = image_of(bsearch(&key, r->rows, count, sizeof key, compare_rows));
		entry->known = true;
		entry->verdict = judge(&r->seen[i], &entry->image);
	}
	settle(r, RIGHT);
	return 0;
}

static int write_behind(struct rebuild *r, struct error *err)
{
	struct snapshot *s = r->config.snapshot;
	size_t count = 0, stale;
	int rc;

	for (size_t i = 0; i < r->count; i++)
		if (r->entries[i].verdict == BEHIND)
			r->images[count++] = r->entries[i].image;
	if (count == 0)
		return 0;
	rc = s->ops->publish(s, r->images, count, &stale, err);
	if (rc == 0)
		settle(r, BEHIND);
	return rc;
}

/* What is left of the batch.  Whatever comes of it, it is looked at and asked for once more. */
static int force_wrong(struct rebuild *r, struct error *err)
{
	struct snapshot *s = r->config.snapshot;
	int rc;

	for (size_t i = 0; i < r->count; i++)
		r->images[i] = r->entries[i].image;
	rc = s->ops->force(s, r->seen, r->images, r->count, r->done, err);
	for (size_t i = 0; rc == 0 && i < r->count; i++) {
		if (r->done[i])
			count_entry(r, i);
		r->entries[i].known = false;
	}
	return rc;
}

int rebuild_step(struct rebuild *r, bool *ret_done, struct error *err)
{
	int rc = 0;

	*ret_done = false;
	switch (r->step) {
	case STEP_FETCH:
		return fetch(r, ret_done, err);
	case STEP_LOOK:
		rc = look(r, err);
		r->step = STEP_ASK;
		break;
	case STEP_ASK:
		rc = ask(r, err);
		r->step = STEP_WRITE;
		break;
	case STEP_WRITE:
		rc = write_behind(r, err);
		r->step = STEP_FORCE;
		break;
	case STEP_FORCE:
		rc = force_wrong(r, err);
		r->step = STEP_LOOK;
		break;
	}
	if (r->count == 0)
		r->step = STEP_FETCH;
	return rc;
}
