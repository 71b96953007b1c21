/* The rules: every type, every refusal, and every boundary of an amount. */
#include "fixture.h"

#include "apply.h"

struct rule {
	const char *available, *frozen;
	enum event_type type;
	const char *amount;
	enum refusal refusal;
	const char *available_after, *frozen_after;
};

#define TINY   "0.000000000000000001"
#define MOST   "999999999999999999.999999999999999999"
#define ALMOST "999999999999999999.999999999999999998"

static const struct rule rules[] = {
	{"0", "0", EVENT_DEPOSIT, "10.5", REFUSAL_NONE, "10.5", "0"},
	{"0", "3", EVENT_DEPOSIT, MOST, REFUSAL_NONE, MOST, "3"},
	{TINY, "0", EVENT_DEPOSIT, MOST, REFUSAL_OVERFLOW, TINY, "0"},
	{ALMOST, "0", EVENT_DEPOSIT, TINY, REFUSAL_NONE, MOST, "0"},
	{MOST, "0", EVENT_DEPOSIT, TINY, REFUSAL_OVERFLOW, MOST, "0"},

	{"10", "0", EVENT_WITHDRAW, "10", REFUSAL_NONE, "0", "0"},
	{"10", "5", EVENT_WITHDRAW,
		"10."
		"000000000000000001",
		REFUSAL_INSUFFICIENT_AVAILABLE, "10", "5"},
	{"0", "5", EVENT_WITHDRAW, TINY, REFUSAL_INSUFFICIENT_AVAILABLE, "0", "5"},
	{MOST, "0", EVENT_WITHDRAW, MOST, REFUSAL_NONE, "0", "0"},

	{"10", "0", EVENT_FREEZE, "4", REFUSAL_NONE, "6", "4"},
	{"10", "0", EVENT_FREEZE, "11", REFUSAL_INSUFFICIENT_AVAILABLE, "10", "0"},
	{"10", MOST, EVENT_FREEZE, TINY, REFUSAL_OVERFLOW, "10", MOST},
	/* Both apply: the shortfall is told. */
	{"0", MOST, EVENT_FREEZE, TINY, REFUSAL_INSUFFICIENT_AVAILABLE, "0", MOST},

	{"6", "4", EVENT_UNFREEZE, "4", REFUSAL_NONE, "10", "0"},
	{"6", "4", EVENT_UNFREEZE, "4.1", REFUSAL_INSUFFICIENT_FROZEN, "6", "4"},
	{MOST, "4", EVENT_UNFREEZE, TINY, REFUSAL_OVERFLOW, MOST, "4"},
	{MOST, "0", EVENT_UNFREEZE, TINY, REFUSAL_INSUFFICIENT_FROZEN, MOST, "0"},

	{"6", "4", EVENT_SETTLE, "4", REFUSAL_NONE, "6", "0"},
	{"6", "4", EVENT_SETTLE, "4.000000000000000001", REFUSAL_INSUFFICIENT_FROZEN, "6", "4"},
	{MOST, MOST, EVENT_SETTLE, MOST, REFUSAL_NONE, MOST, "0"},
};

static void test_rules(void **state)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		const struct rule *rule = &rules[i];
		struct balance balance = {
			amount_of(rule->available), amount_of(rule->frozen), 7, 42};

		assert_int_equal(
			apply(&balance, rule->type, amount_of(rule->amount)), rule->refusal);
		assert_amount_equal(balance.available, amount_of(rule->available_after));
		assert_amount_equal(balance.frozen, amount_of(rule->frozen_after));
		assert_int_equal(balance.version, rule->refusal ? 7 : 8);
		assert_int_equal(balance.last_offset, 42);
	}
}

/* Deposits less withdrawals and settlements are what is there, whatever the order. */
static void test_money_is_conserved(void **state)
{
	uint64_t random = 20260101;
	struct balance balance = {.last_offset = -1};
	i128 in = 0;

	for (int i = 0; i < 200000; i++) {
		enum event_type type = EVENT_DEPOSIT + (int)(fixture_random(&random) % 5);
		i128 amount = 1 + (i128)(fixture_random(&random) % 1000000) * DECIMAL_ONE / 7;

		if (apply(&balance, type, amount) != REFUSAL_NONE)
			continue;
		if (type == EVENT_DEPOSIT)
			in += amount;
		else if (type == EVENT_WITHDRAW || type == EVENT_SETTLE)
			in -= amount;
		assert_amount_equal(balance.available + balance.frozen, in);
		assert_true(balance.available >= 0 && balance.frozen >= 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_money_is_conserved),
	};

	return cmocka_run_group_tests_name("apply", tests, NULL, NULL);
}
