/*
 * The partitioner: a difference of one bit would send every account to a thread that does not own
 * it.  The hashes are those that kafka-python computes (and, for the texts, Kafka's own tests
 * name).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "murmur2.h"

static const struct {
	const char *key;
	uint32_t hash;
} cases[] = {
	{"", 0x106e08d9},
	{"1", 0x892e6f8f},
	{"21", 0xc5f2f8ec},
	{"abc", 0x1c94221b},
	{"1001", 0x56cfcdb4},
	{"foobar", 0xd0e47bbe},
	{"1000000", 0xac962463},
	{"9223372036854775807", 0xb72ed3bd},
	{"a-little-bit-long-string", 0xc53b1da0},
	{"a-little-bit-longer-string", 0xa768c9c3},
	{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 0xfc7d49cd},
	{"\xff", 0xed6f615b}, /* bytes have no sign */
	{"\x80\xfe", 0x4e7ebd32},
	{"\xff\xfe\xfd", 0x3b85fe24},
	{"\x80\x81\x82\x83\xff", 0x038e9413},
};

static void test_hashes(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(murmur2(cases[i].key, strlen(cases[i].key)), cases[i].hash);
}

/* At any address, and without looking at what follows. */
static void test_place_in_memory(void **state)
{
	char buffer[96];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		size_t length = strlen(cases[i].key);

		for (size_t shift = 0; shift < 8; shift++) {
			memset(buffer, (int)(0x55 + shift), sizeof(buffer));
			memcpy(buffer + shift, cases[i].key, length);
			assert_int_equal(murmur2(buffer + shift, length), cases[i].hash);
		}
	}
}

static void test_partitions(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		size_t length = strlen(cases[i].key);
		int64_t positive = cases[i].hash & 0x7fffffff;

		assert_int_equal(murmur2_partition(cases[i].key, length, 1), 0);
		assert_int_equal(murmur2_partition(cases[i].key, length, 12), positive % 12);
		assert_int_equal(
			murmur2_partition(cases[i].key, length, INT32_MAX), positive % INT32_MAX);
	}
	assert_int_equal(murmur2_partition("1001", 4, 10), 0x56cfcdb4 % 10);
	assert_int_equal(murmur2_partition("1", 1, 10), 0x092e6f8f % 10); /* its top bit was set */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_place_in_memory),
		cmocka_unit_test(test_partitions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
