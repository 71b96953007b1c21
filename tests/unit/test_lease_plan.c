/*
 * The plan of leases: fair, sticky, and the same for everybody.
 *
 * Small views are compared with an oracle that tries every assignment; large ones are held to the
 * properties themselves: nobody gets what it may not own, no chain of hand-overs makes shares more
 * even, and following the plan step by step, in any order, hands over no more than it first said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lease_plan.h"
#include "mem.h"

#define ROWS_MAX    160
#define MEMBERS_MAX 12

/* A world to plan for, with room for everything. */
struct scene {
	struct lease_row rows[ROWS_MAX];
	struct lease_member members[MEMBERS_MAX];
	int32_t lists[MEMBERS_MAX][ROWS_MAX];
	struct lease_view view;
	int plan[ROWS_MAX];
	uint64_t random;
};

static uint64_t draw(struct scene *scene, uint64_t limit)
{
	scene->random ^= scene->random << 13;
	scene->random ^= scene->random >> 7;
	scene->random ^= scene->random << 17;
	return scene->random % limit;
}

static void scene_init(struct scene *scene, size_t rows, size_t members)
{
	memset(scene, 0, sizeof(*scene));
	scene->view = (struct lease_view){
		.rows = scene->rows,
		.row_count = rows,
		.members = scene->members,
		.member_count = members,
	};
	for (size_t r = 0; r < rows; r++)
		scene->rows[r].partition = (int32_t)r;
	for (size_t m = 0; m < members; m++) {
		snprintf(scene->members[m].consumer_id, sizeof(scene->members[m].consumer_id),
			"member-%02zu", m);
		scene->members[m].all = true;
		scene->members[m].partitions = scene->lists[m];
	}
}

static void hold(struct scene *scene, size_t row, int member)
{
	scene->rows[row].held = member != LEASE_NOBODY;
	if (member != LEASE_NOBODY)
		strcpy(scene->rows[row].consumer_id, scene->members[member].consumer_id);
}

static void restrict_to(struct scene *scene, int member, size_t count, const int32_t *list)
{
	scene->members[member].all = false;
	scene->members[member].partition_count = count;
	for (size_t i = 0; i < count; i++)
		scene->lists[member][i] = list[i];
}

static bool eligible(const struct scene *scene, int member, size_t row)
{
	const struct lease_member *who = &scene->members[member];

	for (size_t i = 0; i < who->partition_count; i++) {
		if (who->partitions[i] == (int32_t)row)
			return true;
	}
	return who->all;
}

static bool for_nobody(const struct scene *scene, size_t row)
{
	return scene->rows[row].halted || scene->rows[row].requested_by[0];
}

/* Who holds a row and may go on doing so; as plain as it can be. */
static int holder(const struct scene *scene, size_t row)
{
	for (int m = 0; m < (int)scene->view.member_count; m++) {
		if (scene->rows[row].held && !for_nobody(scene, row) && eligible(scene, m, row) &&
			strcmp(scene->rows[row].consumer_id, scene->members[m].consumer_id) == 0)
			return m;
	}
	return LEASE_NOBODY;
}

static void draw_members(struct scene *scene, bool restricted)
{
	for (size_t m = 0; m < scene->view.member_count; m++) {
		uint64_t density = draw(scene, 5);

		if (!restricted || draw(scene, 3) == 0)
			continue;
		scene->members[m].all = false;
		for (size_t r = 0; r < scene->view.row_count; r++) {
			if (draw(scene, 4) < density)
				scene->lists[m][scene->members[m].partition_count++] = (int32_t)r;
		}
	}
}

/* Owners: one has much, some have little, some are dead, some own what they may not. */
static void draw_rows(struct scene *scene)
{
	uint64_t members = scene->view.member_count;
	uint64_t favourite = draw(scene, members + 1);

	for (size_t r = 0; r < scene->view.row_count; r++) {
		struct lease_row *row = &scene->rows[r];
		uint64_t who = draw(scene, 2) ? favourite : draw(scene, members + 2);

		row->held = draw(scene, 4) != 0;
		row->epoch = (int64_t)draw(scene, 1000);
		if (who < members)
			strcpy(row->consumer_id, scene->members[who].consumer_id);
		else if (who == members)
			strcpy(row->consumer_id, "dead");
		row->halted = draw(scene, 16) == 0;
		if (draw(scene, 16) == 0)
			strcpy(row->requested_by, "replay");
	}
}

static void scene_draw(
	struct scene *scene, uint64_t seed, size_t rows_max, size_t members_max, bool restricted)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
	size_t rows;
	size_t members;

	scene->random = random;
	for (int i = 0; i < 8; i++)
		draw(scene, 2);
	rows = 1 + draw(scene, rows_max);
	members = draw(scene, members_max + 1);
	random = scene->random;
	scene_init(scene, rows, members);
	scene->random = random;
	draw_members(scene, restricted);
	draw_rows(scene);
}

struct price {
	int64_t squares;
	int64_t moves;
};

static struct price price_of(const struct scene *scene, const int *owners)
{
	int64_t load[MEMBERS_MAX] = {0};
	struct price price = {0};

	for (size_t r = 0; r < scene->view.row_count; r++) {
		int from = holder(scene, r);

		if (owners[r] != LEASE_NOBODY)
			load[owners[r]]++;
		price.moves += from != LEASE_NOBODY && from != owners[r];
	}
	for (size_t m = 0; m < scene->view.member_count; m++)
		price.squares += load[m] * load[m];
	return price;
}

/* The oracle: tries every assignment of rows from `row` on and keeps the best price. */
static void try_all(const struct scene *scene, size_t row, int *owners, struct price *best)
{
	bool somebody = false;
	struct price price;

	if (row == scene->view.row_count) {
		price = price_of(scene, owners);
		if (price.squares < best->squares ||
			(price.squares == best->squares && price.moves < best->moves))
			*best = price;
		return;
	}
	for (int m = 0; m < (int)scene->view.member_count && !for_nobody(scene, row); m++) {
		if (!eligible(scene, m, row))
			continue;
		somebody = true;
		owners[row] = m;
		try_all(scene, row + 1, owners, best);
	}
	if (somebody)
		return;
	owners[row] = LEASE_NOBODY;
	try_all(scene, row + 1, owners, best);
}

static void assert_sound(const struct scene *scene, uint64_t seed)
{
	for (size_t r = 0; r < scene->view.row_count; r++) {
		bool somebody = false;

		for (int m = 0; m < (int)scene->view.member_count; m++)
			somebody = somebody || eligible(scene, m, r);
		somebody = somebody && !for_nobody(scene, r);
		if (somebody != (scene->plan[r] != LEASE_NOBODY))
			fail_msg("seed %lu: row %zu should have %s", seed, r,
				somebody ? "an owner" : "none");
		if (somebody && !eligible(scene, scene->plan[r], r))
			fail_msg("seed %lu: row %zu goes to one that may not own it", seed, r);
	}
}

/* No share can be made more even by any chain of hand-overs. */
static void assert_fair(const struct scene *scene, uint64_t seed)
{
	int members = (int)scene->view.member_count;
	bool reach[MEMBERS_MAX][MEMBERS_MAX] = {{false}};
	int64_t load[MEMBERS_MAX] = {0};

	for (size_t r = 0; r < scene->view.row_count; r++) {
		if (scene->plan[r] == LEASE_NOBODY)
			continue;
		load[scene->plan[r]]++;
		for (int m = 0; m < members; m++)
			reach[scene->plan[r]][m] |= eligible(scene, m, r);
	}
	for (int via = 0; via < members; via++) {
		for (int a = 0; a < members; a++) {
			for (int b = 0; b < members; b++)
				reach[a][b] |= reach[a][via] && reach[via][b];
		}
	}
	for (int a = 0; a < members; a++) {
		for (int b = 0; b < members; b++) {
			if (reach[a][b] && load[a] > load[b] + 1)
				fail_msg("seed %lu: %d has %ld, %d has %ld", seed, a, load[a], b,
					load[b]);
		}
	}
}

/* Without restrictions the fewest moves are known: what is above the even shares, the upper ones
 * given to those who have most. */
static int64_t fewest_moves(const struct scene *scene)
{
	int64_t members = (int64_t)scene->view.member_count;
	int64_t load[MEMBERS_MAX] = {0};
	int64_t rows = 0;
	int64_t moves = 0;
	int64_t upper;

	for (size_t r = 0; r < scene->view.row_count; r++) {
		rows += !for_nobody(scene, r);
		if (holder(scene, r) != LEASE_NOBODY)
			load[holder(scene, r)]++;
	}
	upper = rows % members;
	for (int64_t m = 0; m < members; m++) {
		int64_t share = rows / members;

		if (load[m] > share && upper > 0) {
			share++;
			upper--;
		}
		moves += load[m] > share ? load[m] - share : 0;
	}
	return moves;
}

static void assert_stable(struct scene *scene, uint64_t seed)
{
	int again[ROWS_MAX];

	for (size_t r = 0; r < scene->view.row_count; r++) {
		if (!for_nobody(scene, r))
			hold(scene, r, scene->plan[r]);
	}
	lease_plan(&scene->view, again);
	if (memcmp(again, scene->plan, scene->view.row_count * sizeof(*again)) != 0)
		fail_msg("seed %lu: the plan changes when it has become true", seed);
}

/*
 * Instances act one at a time, in any order, each by a plan of its own for what it sees: an owner
 * releases what it should not have, the planned one takes what is free.
 */
static void assert_converges(struct scene *scene, uint64_t seed)
{
	int64_t promised = price_of(scene, scene->plan).moves;
	size_t rows = scene->view.row_count;
	size_t start = 0;
	int64_t releases = 0;

	for (size_t quiet = 0; quiet < rows;) {
		size_t r = (start + quiet++) % rows;
		int owner = holder(scene, r);

		lease_plan(&scene->view, scene->plan);
		if (owner == scene->plan[r] || for_nobody(scene, r))
			continue;
		releases += owner != LEASE_NOBODY;
		if (releases > promised)
			fail_msg("seed %lu: more than %ld are handed over", seed, promised);
		hold(scene, r, owner == LEASE_NOBODY ? scene->plan[r] : LEASE_NOBODY);
		start = draw(scene, rows);
		quiet = 0;
	}
	assert_int_equal(releases, promised);
	assert_fair(scene, seed);
}

static void test_small_views_are_optimal(void **state)
{
	struct scene *scene = xcalloc(1, sizeof(*scene));

	for (uint64_t seed = 1; seed <= 20000; seed++) {
		struct price best = {INT64_MAX, INT64_MAX};
		struct price price;
		int owners[ROWS_MAX];

		scene_draw(scene, seed, 6, 3, true);
		lease_plan(&scene->view, scene->plan);
		assert_sound(scene, seed);
		price = price_of(scene, scene->plan);
		try_all(scene, 0, owners, &best);
		if (price.squares != best.squares || price.moves != best.moves)
			fail_msg("seed %lu: squares %ld, moves %ld; best %ld, %ld", seed,
				price.squares, price.moves, best.squares, best.moves);
	}
	free(scene);
}

static void test_large_views_hold_the_properties(void **state)
{
	struct scene *scene = xcalloc(1, sizeof(*scene));

	for (uint64_t seed = 1; seed <= 3000; seed++) {
		scene_draw(scene, seed, ROWS_MAX, MEMBERS_MAX, true);
		lease_plan(&scene->view, scene->plan);
		assert_sound(scene, seed);
		assert_fair(scene, seed);
		assert_stable(scene, seed);
	}
	free(scene);
}

static void test_unrestricted_shares_are_even_and_move_least(void **state)
{
	struct scene *scene = xcalloc(1, sizeof(*scene));

	for (uint64_t seed = 1; seed <= 3000; seed++) {
		scene_draw(scene, seed, ROWS_MAX, MEMBERS_MAX, false);
		if (scene->view.member_count == 0)
			continue;
		lease_plan(&scene->view, scene->plan);
		assert_sound(scene, seed);
		assert_fair(scene, seed);
		assert_int_equal(price_of(scene, scene->plan).moves, fewest_moves(scene));
	}
	free(scene);
}

static void test_following_the_plan_converges(void **state)
{
	struct scene *scene = xcalloc(1, sizeof(*scene));

	for (uint64_t seed = 1; seed <= 2000; seed++) {
		scene_draw(scene, seed, 24, 6, seed % 2);
		lease_plan(&scene->view, scene->plan);
		assert_converges(scene, seed);
	}
	free(scene);
}

/* Two instances read the same rows into different memory. */
static void test_the_plan_is_the_same_for_all(void **state)
{
	struct scene *a = xcalloc(1, sizeof(*a));
	struct scene *b = xcalloc(1, sizeof(*b));

	for (uint64_t seed = 1; seed <= 1000; seed++) {
		scene_draw(a, seed, ROWS_MAX, MEMBERS_MAX, true);
		scene_draw(b, seed, ROWS_MAX, MEMBERS_MAX, true);
		memset(b->plan, 0x55, sizeof(b->plan));
		lease_plan(&a->view, a->plan);
		lease_plan(&b->view, b->plan);
		assert_memory_equal(a->plan, b->plan, a->view.row_count * sizeof(*a->plan));
	}
	free(a);
	free(b);
}

/* Stories -------------------------------------------------------------------------------------- */

static size_t share(const struct scene *scene, int member)
{
	size_t count = 0;

	for (size_t r = 0; r < scene->view.row_count; r++)
		count += scene->plan[r] == member;
	return count;
}

static void test_nobody_is_there(void **state)
{
	struct scene scene;

	scene_init(&scene, 4, 0);
	lease_plan(&scene.view, scene.plan);
	assert_int_equal(share(&scene, LEASE_NOBODY), 4);
	scene_init(&scene, 0, 2);
	lease_plan(&scene.view, scene.plan);
}

static void test_a_newcomer_gets_its_half_and_the_rest_stays(void **state)
{
	struct scene scene;

	scene_init(&scene, 64, 2);
	for (size_t r = 0; r < 64; r++)
		hold(&scene, r, 1);
	lease_plan(&scene.view, scene.plan);
	assert_int_equal(share(&scene, 0), 32);
	assert_int_equal(price_of(&scene, scene.plan).moves, 32);
}

static void test_the_dead_ones_partitions_are_shared(void **state)
{
	struct scene scene;

	scene_init(&scene, 9, 3);
	for (size_t r = 0; r < 9; r++)
		hold(&scene, r, (int)r % 3);
	scene.view.member_count = 2; /* the third did not announce itself */
	lease_plan(&scene.view, scene.plan);
	assert_int_equal(price_of(&scene, scene.plan).moves, 0);
	assert_in_range(share(&scene, 0), 4, 5);
	assert_in_range(share(&scene, 1), 4, 5);
}

static void test_a_halted_or_requested_partition_is_nobodys(void **state)
{
	struct scene scene;

	scene_init(&scene, 3, 1);
	for (size_t r = 0; r < 3; r++)
		hold(&scene, r, 0);
	scene.rows[0].halted = true;
	strcpy(scene.rows[2].requested_by, "replay");
	lease_plan(&scene.view, scene.plan);
	assert_int_equal(scene.plan[0], LEASE_NOBODY);
	assert_int_equal(scene.plan[1], 0);
	assert_int_equal(scene.plan[2], LEASE_NOBODY);
}

/* Even shares here need a chain: 0 gives to 1, so that 1 can give to 2. */
static void test_shares_are_evened_through_a_third(void **state)
{
	static const int32_t first[] = {0, 1, 2, 3};
	static const int32_t third[] = {4, 5};
	struct scene scene;

	scene_init(&scene, 6, 3);
	restrict_to(&scene, 0, 4, first);
	restrict_to(&scene, 2, 2, third);
	for (size_t r = 0; r < 6; r++)
		hold(&scene, r, r < 4 ? 0 : 1);
	lease_plan(&scene.view, scene.plan);
	for (int m = 0; m < 3; m++)
		assert_int_equal(share(&scene, m), 2);
	assert_int_equal(scene.plan[4], 2);
	assert_int_equal(scene.plan[5], 2);
	assert_int_equal(price_of(&scene, scene.plan).moves, 4);
}

/* Who stops announces that it may own nothing: all that it has is the others'. */
static void test_one_that_may_own_nothing_gives_all(void **state)
{
	struct scene scene;

	scene_init(&scene, 8, 2);
	restrict_to(&scene, 0, 0, NULL);
	for (size_t r = 0; r < 8; r++)
		hold(&scene, r, (int)r % 2);
	lease_plan(&scene.view, scene.plan);
	assert_int_equal(share(&scene, 1), 8);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_views_are_optimal),
		cmocka_unit_test(test_large_views_hold_the_properties),
		cmocka_unit_test(test_unrestricted_shares_are_even_and_move_least),
		cmocka_unit_test(test_following_the_plan_converges),
		cmocka_unit_test(test_the_plan_is_the_same_for_all),
		cmocka_unit_test(test_nobody_is_there),
		cmocka_unit_test(test_a_newcomer_gets_its_half_and_the_rest_stays),
		cmocka_unit_test(test_the_dead_ones_partitions_are_shared),
		cmocka_unit_test(test_a_halted_or_requested_partition_is_nobodys),
		cmocka_unit_test(test_shares_are_evened_through_a_third),
		cmocka_unit_test(test_one_that_may_own_nothing_gives_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
