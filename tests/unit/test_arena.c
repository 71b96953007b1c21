/* The arena: what it hands out stays where it is until the reset, and memory is given back. */
#include "fixture.h"

#include "arena.h"

/* Two pieces never overlap, whatever their sizes. */
static void test_no_overlap(void **state)
{
	struct arena arena;
	unsigned char *pieces[400];
	size_t lengths[400];
	uint64_t random = 9;

	arena_init(&arena, 1024);
	for (size_t i = 0; i < 400; i++) {
		lengths[i] = 1 + fixture_random(&random) % 700;
		pieces[i] = arena_take(&arena, lengths[i]);
		memset(pieces[i], (int)(i & 0xff), lengths[i]);
	}
	for (size_t i = 0; i < 400; i++)
		for (size_t k = 0; k < lengths[i]; k++)
			assert_int_equal(pieces[i][k], i & 0xff);
	arena_finish(&arena);
}

/* One huge piece does not stay after the reset; one ordinary chunk does. */
static void test_reset_gives_back(void **state)
{
	struct arena arena;

	arena_init(&arena, 1024);
	arena_take(&arena, 100);
	arena_take(&arena, 1 << 20);
	assert_true(arena.held_bytes > 1 << 20);
	arena_reset(&arena);
	assert_true(arena.held_bytes <= 1024);
	assert_int_equal(arena.used_bytes, 0);
	for (int i = 0; i < 100; i++)
		arena_take(&arena, 1000);
	arena_reset(&arena);
	assert_int_equal(arena.held_bytes, 1024);
	arena_finish(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_overlap),
		cmocka_unit_test(test_reset_gives_back),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
