/* The map of newest images: nothing is lost as it grows, and the last write wins by version. */
#include "image_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "currency.h"

static struct snapshot_image image(int64_t account_id, const char *currency, int64_t version)
{
	struct balance_key key = {account_id, currency_pack(currency, strlen(currency))};

	return (struct snapshot_image){
		key, (i128)version * 10, account_id, version, 1000 + version};
}

static void put(struct image_map *map, int64_t account_id, const char *currency, int64_t version,
	enum image_put expected)
{
	struct snapshot_image new = image(account_id, currency, version);

	assert_int_equal(image_map_put(map, &new), expected);
}

static void assert_has(
	const struct image_map *map, int64_t account_id, const char *currency, int64_t version)
{
	struct snapshot_image expected = image(account_id, currency, version);
	const struct snapshot_image *found = image_map_find(map, expected.key);

	assert_non_null(found);
	assert_memory_equal(found, &expected, sizeof expected);
}

static void test_empty_map_has_nothing_and_takes_no_memory(void **state)
{
	struct image_map map;

	(void)state;
	image_map_init(&map, 1);
	assert_null(image_map_find(&map, image(1, "USDT", 1).key));
	image_map_prefetch(&map, image(1, "USDT", 1).key);
	assert_null(map.images);
	assert_null(map.index);
	image_map_finish(&map);
}

static void test_last_write_wins_by_version(void **state)
{
	struct image_map map;
	struct snapshot_image equal = image(1, "USDT", 5);

	(void)state;
	image_map_init(&map, 1);
	put(&map, 1, "USDT", 5, IMAGE_ADDED);
	put(&map, 1, "USDT", 4, IMAGE_STALE);
	assert_has(&map, 1, "USDT", 5);
	put(&map, 1, "USDT", 6, IMAGE_REPLACED);
	assert_has(&map, 1, "USDT", 6);

	equal = image(1, "USDT", 6);
	equal.available = 777;
	assert_int_equal(image_map_put(&map, &equal), IMAGE_REPLACED);
	assert_true(image_map_find(&map, equal.key)->available == 777);
	assert_int_equal(map.count, 1);
	image_map_finish(&map);
}

static void test_key_is_account_and_currency(void **state)
{
	struct image_map map;

	(void)state;
	image_map_init(&map, 1);
	put(&map, 1, "USDT", 1, IMAGE_ADDED);
	put(&map, 1, "BTC", 2, IMAGE_ADDED);
	put(&map, 2, "USDT", 3, IMAGE_ADDED);
	assert_has(&map, 1, "USDT", 1);
	assert_has(&map, 1, "BTC", 2);
	assert_has(&map, 2, "USDT", 3);
	assert_null(image_map_find(&map, image(2, "BTC", 1).key));
	image_map_finish(&map);
}

/* Every key is found again after growth, in the order in which it came, with its newest image. */
static void test_growth_loses_nothing(void **state)
{
	enum { KEYS = 100000 };
	struct image_map map;

	(void)state;
	image_map_init(&map, 42);
	for (int64_t i = 0; i < KEYS; i++)
		put(&map, i * 7919, i % 2 ? "USDT" : "BTC", 1 + i % 3, IMAGE_ADDED);
	for (int64_t i = 0; i < KEYS; i += 5)
		put(&map, i * 7919, i % 2 ? "USDT" : "BTC", 9, IMAGE_REPLACED);
	assert_int_equal(map.count, KEYS);
	for (int64_t i = 0; i < KEYS; i++) {
		assert_has(&map, i * 7919, i % 2 ? "USDT" : "BTC", i % 5 ? 1 + i % 3 : 9);
		assert_int_equal(map.images[i].key.account_id, i * 7919);
		assert_null(image_map_find(&map, image(i * 7919 + 1, "BTC", 1).key));
	}
	image_map_finish(&map);
}

static size_t bytes_of(const struct image_map *map)
{
	return map->capacity * (sizeof *map->images + 2 * sizeof *map->index);
}

static void test_memory_stays_within_what_is_promised(void **state)
{
	struct image_map map;

	(void)state;
	image_map_init(&map, 7);
	for (int64_t i = 0; i < 50000; i++) {
		put(&map, i, "EUR", 1, IMAGE_ADDED);
		if (map.count > 16)
			assert_true(bytes_of(&map) <= map.count * IMAGE_MAP_BYTES_MAX);
	}
	image_map_clear(&map);
	assert_int_equal(bytes_of(&map), 0);
	assert_null(image_map_find(&map, image(3, "EUR", 1).key));
	put(&map, 3, "EUR", 1, IMAGE_ADDED);
	image_map_finish(&map);
}

static void test_reserve_keeps_what_is_there(void **state)
{
	struct image_map map;

	(void)state;
	image_map_init(&map, 7);
	put(&map, 1, "EUR", 3, IMAGE_ADDED);
	image_map_reserve(&map, 1000);
	assert_int_equal(map.capacity, 1000);
	image_map_reserve(&map, 10);
	assert_int_equal(map.capacity, 1000);
	assert_has(&map, 1, "EUR", 3);
	image_map_finish(&map);
}

/* The seed decides where a key goes: nobody outside can make keys that collide. */
static void test_seed_changes_the_places(void **state)
{
	struct image_map a;
	struct image_map b;
	size_t different = 0;

	(void)state;
	image_map_init(&a, 1);
	image_map_init(&b, 2);
	for (int64_t i = 0; i < 1000; i++) {
		put(&a, i, "EUR", 1, IMAGE_ADDED);
		put(&b, i, "EUR", 1, IMAGE_ADDED);
	}
	assert_int_equal(a.capacity, b.capacity);
	for (size_t i = 0; i < 2 * a.capacity; i++)
		different += a.index[i] != b.index[i];
	assert_true(different > a.capacity / 2);
	image_map_finish(&a);
	image_map_finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_map_has_nothing_and_takes_no_memory),
		cmocka_unit_test(test_last_write_wins_by_version),
		cmocka_unit_test(test_key_is_account_and_currency),
		cmocka_unit_test(test_growth_loses_nothing),
		cmocka_unit_test(test_memory_stays_within_what_is_promised),
		cmocka_unit_test(test_reserve_keeps_what_is_there),
		cmocka_unit_test(test_seed_changes_the_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
