/* The texts that the contract promises and the database's ENUMs hold. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "event.h"

static void test_texts(void **state)
{
	assert_string_equal(event_type_text(EVENT_DEPOSIT), "DEPOSIT");
	assert_string_equal(event_type_text(EVENT_WITHDRAW), "WITHDRAW");
	assert_string_equal(event_type_text(EVENT_FREEZE), "FREEZE");
	assert_string_equal(event_type_text(EVENT_UNFREEZE), "UNFREEZE");
	assert_string_equal(event_type_text(EVENT_SETTLE), "SETTLE");

	assert_string_equal(dead_reason_text(DEAD_MALFORMED), "MALFORMED");
	assert_string_equal(dead_reason_text(DEAD_KEY_MISMATCH), "KEY_MISMATCH");
	assert_string_equal(dead_reason_text(DEAD_WRONG_PARTITION), "WRONG_PARTITION");
	assert_string_equal(dead_reason_text(DEAD_ID_CONFLICT), "ID_CONFLICT");

	assert_null(refusal_text(REFUSAL_NONE));
	assert_string_equal(refusal_text(REFUSAL_INSUFFICIENT_AVAILABLE), "INSUFFICIENT_AVAILABLE");
	assert_string_equal(refusal_text(REFUSAL_INSUFFICIENT_FROZEN), "INSUFFICIENT_FROZEN");
	assert_string_equal(refusal_text(REFUSAL_OVERFLOW), "OVERFLOW");

	assert_string_equal(outcome_text(OUTCOME_APPLIED), "applied");
	assert_string_equal(outcome_text(OUTCOME_REFUSED), "refused");
	assert_string_equal(outcome_text(OUTCOME_DUPLICATE), "duplicate");
	assert_string_equal(outcome_text(OUTCOME_DEAD_LETTER), "dead_letter");
}

static void test_types_are_read_back(void **state)
{
	for (enum event_type type = EVENT_DEPOSIT; type <= EVENT_SETTLE; type++) {
		const char *text = event_type_text(type);

		assert_int_equal(event_type_parse(text, strlen(text)), type);
		assert_int_equal(event_type_parse(text, strlen(text) - 1), 0);
	}
}

static void test_other_types_are_refused(void **state)
{
	static const char *const texts[] = {"", "D", "deposit", "Deposit", "DEPOSIT ", " DEPOSIT",
		"DEPOSIU", "WITHDRAX", "UNFREEZF", "FREEZF", "SETTLF", "FREEZED", "TRANSFER",
		"XXXXXX"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_int_equal(event_type_parse(texts[i], strlen(texts[i])), 0);
	assert_int_equal(event_type_parse("DEPOSI\0", 7), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_types_are_read_back),
		cmocka_unit_test(test_other_types_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
