/*
 * The rebuild of Redis beside an owner: a database as an array, a Redis in memory, and an owner
 * that commits and publishes between any two steps.
 *
 * After every step of the rebuild: what it wrote was committed, and what an owner had published
 * there is not replaced by anything older.  When owner and rebuild have ended, Redis is the
 * database.  What Redis holds at first is made up from the seed: keys that are missing, behind,
 * ahead (as after a database that was restored), tampered with, unreadable, or of no balance.
 */
#include "fixture.h"

#include "array_store.h"
#include "rebuild.h"
#include "snapshot_memory.h"

#define ACCOUNTS 7 /* 1 to 5 have rows at first, 6 and 7 come later or never */
#define VERSIONS 64
#define SEEDS    2000

struct world {
	uint64_t random;
	struct array_table table;
	struct snapshot_memory *server;
	struct snapshot *owner;
	struct store *store;
	struct snapshot *snapshot;
	struct rebuild *rebuild;
	struct snapshot_image history[ACCOUNTS + 1][VERSIONS]; /* committed, by version */
	int64_t version[ACCOUNTS + 1];
	bool pending[ACCOUNTS + 1]; /* not published yet */
	bool row[ACCOUNTS + 1];
	int64_t now_ms;
	int scanned; /* accounts that the walk over the keys has passed */
};

static unsigned chance(struct world *w, unsigned bound)
{
	return (unsigned)(fixture_random(&w->random) % bound);
}

static struct balance_key key_of(int account)
{
	return (struct balance_key){account, fixture_currency("USDT")};
}

/* The same version has the same amounts whenever it is committed: the log decides. */
static struct snapshot_image image_at(struct world *w, int account, int64_t version)
{
	return (struct snapshot_image){
		key_of(account), 1000 * account + version, version % 3, version, ++w->now_ms};
}

static const struct snapshot_image *in_redis(const struct world *w, int account)
{
	return snapshot_memory_find(w->server, key_of(account));
}

static bool same_balance(const struct snapshot_image *a, const struct snapshot_image *b)
{
	return a->version == b->version && a->available == b->available && a->frozen == b->frozen;
}

static bool same(const struct snapshot_image *a, const struct snapshot_image *b)
{
	return same_balance(a, b) && a->updated_ms == b->updated_ms;
}

/* The owner -------------------------------------------------------------------------------------
 */

static void commit(struct world *w, int account, int64_t version)
{
	struct snapshot_image image = image_at(w, account, version);
	struct store_balance row = {.key = image.key,
		.balance = {image.available, image.frozen, version, 1},
		.updated_ms = image.updated_ms};

	if (version == 0)
		row.balance.available = row.balance.frozen = 0;
	array_table_put(&w->table, &row);
	w->row[account] = true;
	w->version[account] = version;
	w->history[account][version] = image;
	w->pending[account] = version > 0;
}

static void publish(struct world *w, int account)
{
	struct error err;
	size_t stale;

	if (!w->pending[account])
		return;
	w->pending[account] = false;
	assert_int_equal(w->owner->ops->publish(w->owner, &w->history[account][w->version[account]],
				 1, &stale, &err),
		0);
}

static void owner_acts(struct world *w)
{
	int account = 1 + (int)chance(w, ACCOUNTS);

	if (chance(w, 2))
		publish(w, account);
	else if (w->version[account] < VERSIONS - 1)
		commit(w, account, w->version[account] + 1);
}

/* The world -------------------------------------------------------------------------------------
 */

static int scan(
	void *context, rebuild_key_fn *fn, void *fn_context, bool *ret_ended, struct error *err)
{
	struct world *w = context;
	char name[48];

	w->scanned++;
	if (in_redis(w, w->scanned)) {
		int length = snprintf(name, sizeof name, "balance:{%d}:USDT", w->scanned);

		fn(fn_context, name, (size_t)length);
		if (chance(w, 4) == 0) /* SCAN may name a key twice */
			fn(fn_context, name, (size_t)length);
	}
	if (w->scanned == 3)
		fn(fn_context, "balance:of\nmine", 15);
	*ret_ended = w->scanned == ACCOUNTS;
	return 0;
}

static void rebuild_begin(struct world *w)
{
	struct rebuild_config config = {.store = w->store,
		.snapshot = w->snapshot,
		.scan = scan,
		.scan_context = w,
		.partition = -1,
		.partitions = 1,
		.batch_max = 1 + chance(w, 4),
		.seed = w->random};

	w->scanned = 0;
	w->rebuild = rebuild_create(&config);
}

/* What stands in Redis before anybody acts. */
static void tamper(struct world *w, int account)
{
	struct snapshot_image image = image_at(w, account, 1 + chance(w, VERSIONS - 1));

	switch (chance(w, 6)) {
	case 0: /* missing */
		return;
	case 1: /* behind, right, or ahead with what the log will bring again */
		break;
	case 2:
		image.available += 5;
		break;
	case 3: /* the same version, other amounts */
		image.version = w->version[account];
		break;
	case 4:
		image.version = SNAPSHOT_UNREADABLE;
		break;
	case 5:
		if (w->version[account] > 0)
			image = w->history[account][w->version[account]];
		break;
	}
	if (image.version != 0)
		snapshot_memory_tamper(w->server, &image);
}

static void world_begin(struct world *w, uint64_t seed)
{
	struct error err;

	*w = (struct world){.random = seed * 2654435761u + 88172645463325252u};
	array_table_init(&w->table);
	w->server = snapshot_memory_create(seed);
	w->owner = snapshot_memory_open(w->server);
	w->snapshot = snapshot_memory_open(w->server);
	w->store = array_store_create(&w->table);
	assert_int_equal(w->owner->ops->connect(w->owner, &err), 0);
	assert_int_equal(w->snapshot->ops->connect(w->snapshot, &err), 0);
	assert_int_equal(w->store->ops->connect(w->store, &err), STORE_OK);
	for (int account = 1; account <= ACCOUNTS - 2; account++)
		commit(w, account, chance(w, 4) ? chance(w, VERSIONS / 2) : 0);
	for (int account = 1; account <= ACCOUNTS; account++)
		tamper(w, account);
	rebuild_begin(w);
}

static void world_end(struct world *w)
{
	rebuild_destroy(w->rebuild);
	w->owner->ops->destroy(w->owner);
	w->snapshot->ops->destroy(w->snapshot);
	w->store->ops->destroy(w->store);
	snapshot_memory_destroy(w->server);
	array_table_finish(&w->table);
}

/* An image that was committed, by its very bytes. */
static bool is_committed(const struct world *w, int account, const struct snapshot_image *image)
{
	return image->version > 0 && image->version <= w->version[account] &&
	       same(image, &w->history[account][image->version]);
}

static void check_step(const struct world *w, int account, const struct snapshot_image *before,
	const struct snapshot_image *after)
{
	if (same(before, after))
		return;
	if (after->version != 0 && !is_committed(w, account, after))
		fail_msg("account %d: version %lld was never committed", account,
			(long long)after->version);
	if (is_committed(w, account, before) && after->version < before->version)
		fail_msg("account %d: version %lld of an owner became %lld", account,
			(long long)before->version, (long long)after->version);
}

static bool step(struct world *w)
{
	struct snapshot_image before[ACCOUNTS + 1] = {0};
	struct snapshot_image after[ACCOUNTS + 1] = {0};
	struct error err;
	bool done;

	for (int a = 1; a <= ACCOUNTS; a++)
		if (in_redis(w, a))
			before[a] = *in_redis(w, a);
	if (rebuild_step(w->rebuild, &done, &err) != 0)
		fail_msg("%s", err.text);
	for (int a = 1; a <= ACCOUNTS; a++) {
		if (in_redis(w, a))
			after[a] = *in_redis(w, a);
		check_step(w, a, &before[a], &after[a]);
	}
	return done;
}

static void check_equal(struct world *w)
{
	for (int a = 1; a <= ACCOUNTS; a++) {
		const struct snapshot_image *image = in_redis(w, a);

		if (w->version[a] == 0 && image)
			fail_msg("account %d: a key that should not be", a);
		if (w->version[a] > 0 &&
			(!image || !same_balance(image, &w->history[a][w->version[a]])))
			fail_msg("account %d: Redis has version %lld, the database %lld", a,
				image ? (long long)image->version : 0LL, (long long)w->version[a]);
	}
}

static void run(uint64_t seed, bool owner, bool interrupted)
{
	struct world w;
	bool done = false;

	world_begin(&w, seed);
	for (unsigned steps = 0; !done; steps++) {
		while (owner && chance(&w, 2))
			owner_acts(&w);
		if (interrupted && steps < 60 && chance(&w, 8) == 0) {
			rebuild_destroy(w.rebuild);
			rebuild_begin(&w);
		}
		done = step(&w);
	}
	for (int a = 1; a <= ACCOUNTS; a++)
		publish(&w, a);
	check_equal(&w);
	world_end(&w);
}

/* Nobody else writes: Redis is the database at once, without the owner's help. */
static void test_alone(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS / 10; seed++) {
		struct world w;
		const struct rebuild_counts *counts;

		world_begin(&w, seed);
		while (!step(&w))
			;
		check_equal(&w);
		counts = rebuild_counts(w.rebuild);
		assert_int_equal(counts->foreign, 1);
		assert_string_equal(counts->foreign_key, "balance:of?mine");
		rebuild_destroy(w.rebuild);
		rebuild_begin(&w); /* and again: nothing is left to do */
		while (!step(&w))
			;
		counts = rebuild_counts(w.rebuild);
		assert_int_equal(counts->written + counts->mended + counts->deleted, 0);
		world_end(&w);
	}
}

static void test_beside_an_owner(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed, true, false);
}

static void test_interrupted_and_repeated(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed, true, true);
}

static void tampered(struct world *w, int account, int64_t version, i128 more)
{
	struct snapshot_image image = w->history[account][w->version[account]];

	image.key = key_of(account);
	image.version = version;
	image.available += more;
	snapshot_memory_tamper(w->server, &image);
}

static void test_counts(void **state)
{
	const struct rebuild_counts *counts;
	struct world w;

	world_begin(&w, 1);
	snapshot_memory_flushall(w.server);
	for (int account = 1; account <= 5; account++)
		commit(&w, account, account == 5 ? 0 : 10);
	tampered(&w, 2, 10, 1);  /* other amounts: mended */
	tampered(&w, 3, 12, 0);  /* ahead: mended */
	tampered(&w, 4, 10, 0);  /* right */
	tampered(&w, 5, 1, 0);   /* never changed: deleted */
	tampered(&w, 6, 3, 100); /* no row: deleted */
	while (!step(&w))
		;
	counts = rebuild_counts(w.rebuild);
	assert_int_equal(counts->written, 1); /* of account 1 */
	assert_int_equal(counts->mended, 2);
	assert_int_equal(counts->deleted, 2);
	assert_int_equal(counts->unchanged, 1);
	check_equal(&w);
	world_end(&w);
}

/* Only the balances of one partition are looked at, by the key's hash, rows or no rows. */
static void test_partition(void **state)
{
	struct rebuild_config config;
	struct world w;
	int64_t done_in[2];

	for (int32_t partition = 0; partition < 2; partition++) {
		world_begin(&w, 3);
		snapshot_memory_flushall(w.server);
		for (int account = 1; account <= 5; account++)
			commit(&w, account, 3);
		tampered(&w, 6, 3, 1);
		tampered(&w, 7, 3, 1);
		rebuild_destroy(w.rebuild);
		config = (struct rebuild_config){.store = w.store,
			.snapshot = w.snapshot,
			.scan = scan,
			.scan_context = &w,
			.partition = partition,
			.partitions = 2};
		w.scanned = 0;
		w.rebuild = rebuild_create(&config);
		while (!step(&w))
			;
		done_in[partition] = rebuild_counts(w.rebuild)->written +
				     rebuild_counts(w.rebuild)->deleted;
		world_end(&w);
	}
	assert_true(done_in[0] > 0 && done_in[1] > 0);
	assert_int_equal(done_in[0] + done_in[1], 7);
}

#define MANY 20000

static int rows_in_redis(const struct world *w)
{
	int count = 0;

	for (int account = 1; account <= ACCOUNTS; account++)
		count += w->version[account] > 0;
	return count;
}

static int scan_twice(
	void *context, rebuild_key_fn *fn, void *fn_context, bool *ret_ended, struct error *err)
{
	char name[48];

	for (int i = 0; i < 2 * MANY; i++) {
		int length = snprintf(name, sizeof name, "balance:{%d}:USDT", 1 + i % MANY);

		fn(fn_context, name, (size_t)length);
	}
	*ret_ended = true;
	return 0;
}

/* SCAN may name keys again; with so little memory they are no longer known, and are in one batch.
 */
static void test_named_twice(void **state)
{
	struct rebuild_config config;
	struct world w;

	world_begin(&w, 1);
	snapshot_memory_flushall(w.server);
	for (int account = 1; account <= MANY; account++) {
		struct snapshot_image image = {key_of(account), 1, 1, 1, 1};

		snapshot_memory_tamper(w.server, &image);
	}
	rebuild_destroy(w.rebuild);
	config = (struct rebuild_config){.store = w.store,
		.snapshot = w.snapshot,
		.scan = scan_twice,
		.partition = -1,
		.partitions = 1,
		.batch_max = 2 * MANY};
	w.rebuild = rebuild_create(&config);
	while (!step(&w))
		;
	assert_int_equal(snapshot_memory_count(w.server), rows_in_redis(&w));
	world_end(&w);
}

/* A program that writes what no database has, again and again: told, not followed for ever. */
static void test_somebody_else(void **state)
{
	struct error err;
	struct world w;
	bool done = false;
	int rc = 0;

	world_begin(&w, 1);
	snapshot_memory_flushall(w.server);
	commit(&w, 1, 5);
	for (int i = 0; rc == 0 && !done && i < 100000; i++) {
		tampered(&w, 1, 100 + i, 1);
		rc = rebuild_step(w.rebuild, &done, &err);
	}
	assert_true(rc < 0);
	assert_non_null(strstr(err.text, "balance:{1}:USDT"));
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_partition),
		cmocka_unit_test(test_named_twice),
		cmocka_unit_test(test_somebody_else),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_beside_an_owner),
		cmocka_unit_test(test_interrupted_and_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
