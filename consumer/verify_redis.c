/*
 * See verify_redis.h.
 *
 * First account_balances in the order of its key, page by page, each compared with Redis at once;
 * then all keys of Redis.  Keys that the first pass has met are remembered while there is memory,
 * so that only the others need a question to the database.
 */
#include "verify_redis.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "digits.h"
#include "mem.h"
#include "redis_name.h"
#include "redis_scan.h"
#include "verify_chain.h"

#define PAGE        4000
#define PATIENCE_MS 5000 /* for the first doubts; halved whenever some stay */
#define AGAIN_MS    200
#define KNOWN_MIN   1000

/* A balance that differed at a look. */
struct doubt {
	struct verify_balance first; /* as the database had it then */
	struct verify_balance now;   /* as it has it by the newest look; version 0: no row */
	struct snapshot_image image;
};

struct verify_redis {
	const struct verify_redis_config *config;
	struct budget budget;
	struct balances *known;
	int64_t patience_ms;

	struct verify_balance page[PAGE];
	size_t page_count;
	struct balance_key page_keys[PAGE];
	struct snapshot_image page_images[PAGE];

	struct doubt doubts[VERIFY_KEYS_MAX];
	size_t doubt_count;
	struct balance_key doubt_keys[VERIFY_KEYS_MAX];
	struct snapshot_image doubt_images[VERIFY_KEYS_MAX];

	struct balance_key
		unknown[VERIFY_KEYS_MAX]; /* keys of Redis that the first pass did not meet */
	bool unknown_found[VERIFY_KEYS_MAX];
	size_t unknown_count;
	struct error *err;
	int rc; /* of what a callback had to do */
};

static int64_t now_ms(const struct verify_redis *r)
{
	return r->config->clock->now_ms(r->config->clock);
}

static void sleep_ms(int64_t ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static struct balance_key key_of(const struct verify_balance *balance)
{
	return (struct balance_key){balance->account_id, balance->currency};
}

static struct verify_place place_of(const struct verify_redis *r, struct balance_key key)
{
	return (struct verify_place){
		.partition = verify_chain_partition_of(key.account_id, r->config->partitions),
		.offset = -1,
		.account_id = key.account_id,
		.currency = key.currency,
	};
}

/* Telling ------------------------------------------------------------------------------------- */

static const char *image_text(
	char buffer[VERIFY_TEXT_MAX], i128 available, i128 frozen, int64_t version)
{
	return verify_text(buffer, "available %s, frozen %s, version %" PRId64,
		VERIFY_AMOUNT(available), VERIFY_AMOUNT(frozen), version);
}

static const char *found_text(char buffer[VERIFY_TEXT_MAX], const struct snapshot_image *image)
{
	if (image->version == 0)
		return "missing";
	if (image->version == SNAPSHOT_UNREADABLE)
		return "in no form that ledgerd writes";
	return image_text(buffer, image->available, image->frozen, image->version);
}

static const char *expected_text(char buffer[VERIFY_TEXT_MAX], const struct verify_balance *balance)
{
	if (balance->version == 0)
		return "none: it is not in account_balances, or never changed";
	return image_text(buffer, balance->available, balance->frozen, balance->version);
}

static void report_doubt(struct verify_redis *r, const struct doubt *doubt)
{
	struct verify_place place = place_of(r, key_of(&doubt->first));
	char texts[2][VERIFY_TEXT_MAX];

	verify_report_add(r->config->report, VERIFY_REDIS, &place, "the hash in Redis",
		found_text(texts[0], &doubt->image), expected_text(texts[1], &doubt->now));
}

/* Looking ------------------------------------------------------------------------------------- */

static bool agrees(const struct verify_balance *balance, const struct snapshot_image *image)
{
	if (balance->version == 0)
		return image->version == 0;
	return image->version == balance->version && image->available == balance->available &&
	       image->frozen == balance->frozen;
}

/* Redis has overtaken the first look and the database has overtaken Redis: it follows. */
static bool moves(const struct doubt *doubt)
{
	return doubt->image.version > doubt->first.version &&
	       doubt->image.version < doubt->now.version;
}

static void take_now(void *context, const struct verify_balance *balance)
{
	struct verify_redis *r = context;

	for (size_t i = 0; i < r->doubt_count; i++)
		if (r->doubts[i].first.account_id == balance->account_id &&
			r->doubts[i].first.currency == balance->currency)
			r->doubts[i].now = *balance;
}

/* Redis first: what it has was in the database before. */
static int look_again(struct verify_redis *r, struct error *err)
{
	struct snapshot *s = r->config->snapshot;
	size_t count = r->doubt_count, kept = 0;
	int rc;

	for (size_t i = 0; i < count; i++) {
		r->doubt_keys[i] = key_of(&r->doubts[i].first);
		r->doubts[i].now.version = 0;
	}
	rc = s->ops->read(s, r->doubt_keys, count, r->doubt_images, err);
	if (rc == 0)
		rc = db_code(verify_journal_balances_of(
			r->config->journal, r->doubt_keys, count, take_now, r, err));
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		struct doubt *doubt = &r->doubts[i];

		doubt->image = r->doubt_images[i];
		if (!agrees(&doubt->now, &doubt->image) && !moves(doubt))
			r->doubts[kept++] = *doubt;
	}
	r->doubt_count = kept;
	return 0;
}

/* Waits for the doubts to vanish, reports those that stay. */
static int settle_doubts(struct verify_redis *r, struct error *err)
{
	int64_t until_ms = now_ms(r) + r->patience_ms;
	int rc = 0;

	while (rc == 0 && r->doubt_count > 0) {
		rc = look_again(r, err);
		if (rc != 0 || r->doubt_count == 0 || now_ms(r) >= until_ms)
			break;
		sleep_ms(AGAIN_MS);
	}
	if (rc == 0 && r->doubt_count > 0)
		r->patience_ms /= 2;
	for (size_t i = 0; rc == 0 && i < r->doubt_count; i++)
		report_doubt(r, &r->doubts[i]);
	r->doubt_count = 0;
	return rc;
}

/* From the database to Redis ------------------------------------------------------------------ */

static void remember(struct verify_redis *r, struct balance_key key)
{
	static const struct balance none = {.last_offset = -1};
	balance_ref ref;

	if (balances_find(r->known, key) != BALANCE_NONE)
		return;
	ref = balances_add(r->known, key, &none, BALANCE_PIN_EVEN);
	balances_unpin(r->known, ref, BALANCE_PIN_EVEN);
}

static void take_balance(void *context, const struct verify_balance *balance)
{
	struct verify_redis *r = context;

	assert(r->page_count < PAGE);
	r->page[r->page_count++] = *balance;
}

/* A balance that never changed and has a key all the same is found with the keys. */
static int compare_balance(struct verify_redis *r, const struct verify_balance *balance,
	const struct snapshot_image *image, struct error *err)
{
	if (balance->version == 0)
		return 0;
	r->config->report->counts.redis_balances++;
	remember(r, key_of(balance));
	if (agrees(balance, image))
		return 0;
	r->doubts[r->doubt_count++] = (struct doubt){.first = *balance};
	return r->doubt_count == VERIFY_KEYS_MAX ? settle_doubts(r, err) : 0;
}

static int compare_page(struct verify_redis *r, struct error *err)
{
	struct snapshot *s = r->config->snapshot;
	int rc;

	for (size_t i = 0; i < r->page_count; i++)
		r->page_keys[i] = key_of(&r->page[i]);
	rc = s->ops->read(s, r->page_keys, r->page_count, r->page_images, err);
	for (size_t i = 0; rc == 0 && i < r->page_count; i++)
		rc = compare_balance(r, &r->page[i], &r->page_images[i], err);
	return rc;
}

static int compare_balances(struct verify_redis *r, struct error *err)
{
	const struct verify_redis_config *config = r->config;
	struct balance_key last;
	bool more = true;
	int rc = 0;

	for (bool first = true; rc == 0 && more; first = false) {
		r->page_count = 0;
		rc = db_code(verify_journal_balances_after(config->journal, first ? NULL : &last,
			config->partition, PAGE, take_balance, r, err));
		more = r->page_count > 0;
		if (rc != 0 || !more)
			break;
		last = key_of(&r->page[r->page_count - 1]);
		rc = compare_page(r, err);
		verify_report_progress(config->report, now_ms(r), "Redis: %" PRId64 " balances",
			config->report->counts.redis_balances);
	}
	return rc == 0 ? settle_doubts(r, err) : rc;
}

/* From Redis to the database ------------------------------------------------------------------ */

static void take_unknown(void *context, const struct verify_balance *balance)
{
	struct verify_redis *r = context;

	for (size_t i = 0; i < r->unknown_count; i++)
		if (r->unknown[i].account_id == balance->account_id &&
			r->unknown[i].currency == balance->currency && balance->version > 0)
			r->unknown_found[i] = true;
}

/* Asks the database, which had every balance before Redis did. */
static int settle_unknown(struct verify_redis *r, struct error *err)
{
	int rc;

	if (r->unknown_count == 0)
		return 0;
	memset(r->unknown_found, 0, sizeof r->unknown_found);
	rc = db_code(verify_journal_balances_of(
		r->config->journal, r->unknown, r->unknown_count, take_unknown, r, err));
	for (size_t i = 0; rc == 0 && i < r->unknown_count; i++) {
		struct verify_place place = place_of(r, r->unknown[i]);

		if (!r->unknown_found[i])
			verify_report_add(r->config->report, VERIFY_REDIS, &place,
				"the key in Redis", "there",
				"none: account_balances has no such balance, or it never changed");
	}
	r->unknown_count = 0;
	return rc;
}

static bool is_ours(const struct verify_redis *r, struct balance_key key)
{
	return r->config->partition < 0 || verify_chain_partition_of(key.account_id,
						   r->config->partitions) == r->config->partition;
}

static void take_key(void *context, const char *text, size_t length)
{
	struct verify_redis *r = context;
	struct balance_key key;

	if (!redis_name_parse(text, length, &key)) {
		verify_report_add(r->config->report, VERIFY_REDIS, &VERIFY_NOWHERE,
			"the name of a key in Redis", VERIFY_TEXT("%.*s", (int)length, text),
			REDIS_NAME_FORM);
		return;
	}
	if (!is_ours(r, key))
		return;
	r->config->report->counts.redis_keys++;
	if (r->rc != 0 || balances_find(r->known, key) != BALANCE_NONE)
		return;
	remember(r, key); /* SCAN may return it again */
	r->unknown[r->unknown_count++] = key;
	if (r->unknown_count == VERIFY_KEYS_MAX)
		r->rc = settle_unknown(r, r->err);
}

static int compare_keys(struct verify_redis *r, struct error *err)
{
	struct redis_scan *scan;
	bool ended = false;
	int rc = redis_scan_open(r->config->cfg, REDIS_NAME_PATTERN, &scan, err);

	if (rc != 0)
		return rc;
	r->err = err;
	while (rc == 0 && !ended) {
		rc = redis_scan_next(scan, take_key, r, &ended, err);
		if (rc == 0)
			rc = r->rc;
		verify_report_progress(r->config->report, now_ms(r), "Redis: %" PRId64 " keys",
			r->config->report->counts.redis_keys);
	}
	redis_scan_close(scan);
	return rc == 0 ? settle_unknown(r, err) : rc;
}

int verify_redis(const struct verify_redis_config *config, struct error *err)
{
	struct verify_redis *r = xcalloc(1, sizeof *r);
	int rc;

	r->config = config;
	r->patience_ms = PATIENCE_MS;
	budget_init(&r->budget, config->memory_bytes);
	r->known = balances_create(&r->budget, KNOWN_MIN, config->seed);
	rc = compare_balances(r, err);
	if (rc == 0)
		rc = compare_keys(r, err);
	balances_destroy(r->known);
	free(r);
	return rc;
}
