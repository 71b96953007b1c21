/* Which keys of Redis are a balance's: a key that is taken for ours by mistake would be deleted. */
#include "fixture.h"

#include "redis_name.h"

static bool parses(const char *text)
{
	struct balance_key key;

	return redis_name_parse(text, strlen(text), &key);
}

static void test_ours(void **state)
{
	struct balance_key key;

	assert_true(redis_name_parse("balance:{1001}:USDT", 19, &key));
	assert_int_equal(key.account_id, 1001);
	assert_int_equal(key.currency, fixture_currency("USDT"));
	assert_true(redis_name_parse("balance:{9223372036854775807}:A234567890", 40, &key));
	assert_int_equal(key.account_id, INT64_MAX);
	assert_true(parses("balance:{1}:0"));
}

static void test_not_ours(void **state)
{
	static const char *const names[] = {"", "balance:", "balance:{", "balance:{}:USDT",
		"balance:{0}:USDT", "balance:{01}:USDT", "balance:{-1}:USDT", "balance:{1}USDT",
		"balance:{1}:", "balance:{1}:usdt", "balance:{1}:A2345678901", "balance:{1}:U T",
		"balance:{1:USDT", "balance:1:USDT", "balance:{9223372036854775808}:USDT",
		"balance:{92233720368547758070}:USDT", "balances:{1}:USDT", "x:balance:{1}:USDT",
		"balance:{1}:USDT ", "balance:{+1}:USDT", "balance:{1 }:USDT"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (parses(names[i]))
			fail_msg("taken for ours: %s", names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ours),
		cmocka_unit_test(test_not_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
