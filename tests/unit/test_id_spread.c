/* Ids of every kind that producers make: which of them go all over the index? */
#include "fixture.h"

#include "id_spread.h"

#define BATCH 200

static uint64_t state_of_random;

static uint64_t draw(void)
{
	return fixture_random(&state_of_random);
}

typedef void make_id(char id[TRANSACTION_ID_MAX + 1], uint64_t number);

static void random_uuid(char id[TRANSACTION_ID_MAX + 1], uint64_t number)
{
	sprintf(id, "%08x-%04x-4%03x-a%03x-%012llx", (unsigned)(draw() >> 20),
		(unsigned)(draw() >> 20 & 0xffff), (unsigned)(draw() >> 20 & 0xfff),
		(unsigned)(draw() >> 20 & 0xfff),
		(unsigned long long)(draw() >> 16 & 0xffffffffffff));
}

/* Twenty a millisecond, from machines whose clocks differ by up to a second. */
static void ordered_uuid(char id[TRANSACTION_ID_MAX + 1], uint64_t number)
{
	uint64_t ms = UINT64_C(0x0192f7c07b1a) + number / 20 + draw() % 1000;

	sprintf(id, "%08x-%04x-7%03x-a%03x-%012llx", (unsigned)(ms >> 16), (unsigned)(ms & 0xffff),
		(unsigned)(draw() >> 20 & 0xfff), (unsigned)(draw() >> 20 & 0xfff),
		(unsigned long long)(draw() >> 16 & 0xffffffffffff));
}

static void counted(char id[TRANSACTION_ID_MAX + 1], uint64_t number)
{
	sprintf(id, "payments-of-the-european-region-%012llu", (unsigned long long)number);
}

/* Four services, each with its own prefix and counter. */
static void prefixed(char id[TRANSACTION_ID_MAX + 1], uint64_t number)
{
	sprintf(id, "%c-%010llu", (int)('a' + 5 * (draw() % 4)), (unsigned long long)number);
}

static void half_random(char id[TRANSACTION_ID_MAX + 1], uint64_t number)
{
	(draw() >> 30 & 1 ? random_uuid : ordered_uuid)(id, number);
}

/* A hash behind a prefix that all share. */
static void random_behind_a_prefix(char id[TRANSACTION_ID_MAX + 1], uint64_t number)
{
	sprintf(id, "payments-of-the-european-region-%016llx", (unsigned long long)draw());
}

static uint64_t feed(struct id_spread *spread, make_id *make, uint64_t number, int batches)
{
	struct batch b;

	batch_init(&b, BATCH, 1 << 20, BALANCE_PIN_EVEN);
	for (int i = 0; i < batches; i++) {
		batch_reset(&b, 0);
		for (int64_t offset = 0; offset < BATCH; offset++) {
			char id[TRANSACTION_ID_MAX + 1];

			make(id, number++);
			fixture_add(&b, offset, id, 7, "DEPOSIT", "1")->outcome = OUTCOME_APPLIED;
		}
		id_spread_look(spread, &b);
	}
	batch_finish(&b);
	return number;
}

static int measure(make_id *make, int batches)
{
	struct id_spread spread;

	state_of_random = 88172645463325252;
	id_spread_init(&spread, 5);
	feed(&spread, make, 0, batches);
	return id_spread_permille(&spread);
}

static void test_what_is_random_is_seen(void **state)
{
	for (int batches = 100; batches <= 1000; batches *= 10) {
		assert_in_range(measure(random_uuid, batches), 750, 1000);
		assert_in_range(measure(random_behind_a_prefix, batches), 750, 1000);
	}
}

static void test_what_is_ordered_is_not(void **state)
{
	assert_in_range(measure(ordered_uuid, 2000), 0, 150);
	for (int batches = 100; batches <= 1000; batches *= 10) {
		assert_in_range(measure(counted, batches), 0, 50);
		assert_in_range(measure(prefixed, batches), 0, 100);
	}
}

/* Told a little low: the ordered half leaves fewer places to hit. */
static void test_a_half_is_seen(void **state)
{
	assert_in_range(measure(half_random, 1000), 200, 600);
}

/* A producer was changed, for better or worse, after a long time. */
static void test_a_change_is_noticed(void **state)
{
	struct id_spread spread;
	uint64_t number;

	id_spread_init(&spread, 5);
	number = feed(&spread, ordered_uuid, 0, 3000);
	number = feed(&spread, random_uuid, number, 4000);
	assert_in_range(id_spread_permille(&spread), 400, 1000);
	feed(&spread, ordered_uuid, number, 50);
	assert_in_range(id_spread_permille(&spread), 0, 150);
}

static void test_little_tells_nothing(void **state)
{
	assert_int_equal(measure(random_uuid, 30), ID_SPREAD_UNKNOWN);
}

/* Dead letters and duplicates are no rows of the index. */
static void test_only_rows_count(void **state)
{
	struct id_spread spread;
	struct batch b;

	id_spread_init(&spread, 5);
	batch_init(&b, BATCH, 1 << 20, BALANCE_PIN_EVEN);
	for (int64_t i = 0; i < BATCH; i++)
		fixture_add(&b, i, "same", 7, "DEPOSIT", "1")->outcome = i % 2 ? OUTCOME_DEAD_LETTER
									       : OUTCOME_DUPLICATE;
	for (int i = 0; i < 100; i++)
		id_spread_look(&spread, &b);
	assert_int_equal(spread.seen, 0);
	batch_finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_random_is_seen),
		cmocka_unit_test(test_what_is_ordered_is_not),
		cmocka_unit_test(test_a_half_is_seen),
		cmocka_unit_test(test_a_change_is_noticed),
		cmocka_unit_test(test_little_tells_nothing),
		cmocka_unit_test(test_only_rows_count),
	};

	return cmocka_run_group_tests_name("id_spread", tests, NULL, NULL);
}
