/* The report: lines that name the place, a limit to them, counts, and JSON that is JSON. */
#include "fixture.h"

#include <jansson.h>

#include "verify_report.h"
#include "verify_totals.h"

static char text[65536];

static FILE *open_text(void)
{
	FILE *file = fmemopen(text, sizeof text, "w");

	memset(text, 0, sizeof text);
	assert_non_null(file);
	return file;
}

static void test_lines(void **state)
{
	struct verify_place place = {3, 17, 1001, fixture_currency("USDT")};
	struct verify_report report;
	FILE *file = open_text();

	verify_report_init(&report, file, NULL);
	verify_report_add(&report, VERIFY_OUTCOME, &place, "available_after", "10", "12");
	place = (struct verify_place){3, -1, 0, CURRENCY_NONE};
	verify_report_add(&report, VERIFY_OFFSETS, &place, "next_offset", "5", "6");
	place = VERIFY_NOWHERE;
	place.currency = fixture_currency("BTC");
	verify_report_add(&report, VERIFY_SUM, &place, "the sum", "1", "2");
	verify_report_add(
		&report, VERIFY_REDIS, &VERIFY_NOWHERE, "a key", "a\n\"\x1b[2J\xff", "none");
	verify_report_note(&report, "the log begins at %d", 7);
	fclose(file);
	assert_string_equal(text,
		"partition 3 offset 17 account 1001 USDT: available_after is 10, expected 12\n"
		"partition 3: next_offset is 5, expected 6\n"
		"currency BTC: the sum is 1, expected 2\n"
		"a key is a?\"?[2J?, expected none\n"
		"note: the log begins at 7\n");
	verify_report_finish(&report);
}

static void add_many(struct verify_report *report, int count)
{
	for (int i = 0; i < count; i++) {
		struct verify_place place = {0, i, 5, fixture_currency("USDT")};

		verify_report_add(report, i % 2 ? VERIFY_CHAIN : VERIFY_OUTCOME, &place,
			"it \"is\" \\", "1", "2");
	}
}

static void test_limit(void **state)
{
	struct verify_report report;
	FILE *file;
	size_t lines = 0;

	file = open_text();
	verify_report_init(&report, file, NULL);
	add_many(&report, 1234);
	fclose(file);
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, VERIFY_LISTED_MAX);

	report.counts.rows = 1234567;
	file = open_text();
	verify_report_print(&report, 1940, true, file);
	fclose(file);
	assert_non_null(strstr(text, "and 1,214 more differences\n"));
	assert_non_null(strstr(text, "1,234 differences\n"));
	assert_non_null(strstr(text, "617  chains of prev_offset\n"));
	assert_non_null(strstr(text, " in 1.9 s: 1,234,567 journal rows"));
	verify_report_finish(&report);
}

static void test_incomplete(void **state)
{
	struct verify_report report;
	FILE *file = open_text();

	verify_report_init(&report, NULL, NULL);
	verify_report_print(&report, 5, false, file);
	fclose(file);
	assert_non_null(strstr(text, "NOT COMPLETE"));
	verify_report_finish(&report);
}

static json_t *json_of(const struct verify_report *report, const char *failure)
{
	FILE *file = open_text();
	json_error_t error;
	json_t *root;

	verify_report_print_json(report, 1234, !failure, failure, file);
	fclose(file);
	root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		fail_msg("%s: %s", error.text, text);
	return root;
}

static void test_json(void **state)
{
	struct verify_report report;
	json_t *root, *first;

	verify_report_init(&report, NULL, NULL);
	root = json_of(&report, NULL);
	assert_true(json_is_true(json_object_get(root, "complete")));
	assert_int_equal(json_integer_value(json_object_get(root, "differences")), 0);
	assert_int_equal(json_array_size(json_object_get(root, "listed")), 0);
	assert_null(json_object_get(root, "messages"));
	json_decref(root);

	add_many(&report, 100);
	verify_report_note(&report, "one \"note\"");
	verify_report_note(&report, "two");
	report.from_kafka = report.redis = true;
	root = json_of(&report, "a \"bad\"\nthing");
	assert_true(json_is_false(json_object_get(root, "complete")));
	assert_int_equal(json_integer_value(json_object_get(root, "differences")), 100);
	assert_string_equal(json_string_value(json_object_get(root, "error")), "a \"bad\"?thing");
	assert_int_equal(json_array_size(json_object_get(root, "listed")), VERIFY_LISTED_MAX);
	assert_int_equal(json_array_size(json_object_get(root, "notes")), 2);
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(root, "by_kind"), "journal_chain")),
		50);
	first = json_array_get(json_object_get(root, "listed"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "what")), "it \"is\" \\");
	assert_string_equal(json_string_value(json_object_get(first, "account_id")), "5");
	assert_string_equal(json_string_value(json_object_get(first, "kind")), "journal_outcome");
	json_decref(root);
	verify_report_finish(&report);
}

/* Money in many currencies; only those that differ are named, in alphabetical order. */
static void test_totals(void **state)
{
	struct verify_report report;
	struct verify_totals totals;
	char code[8];

	verify_report_init(&report, NULL, NULL);
	verify_totals_init(&totals);
	for (int i = 0; i < 500; i++) {
		struct verify_row row = {.amount = DECIMAL_ONE * (i + 3), .applied = true};
		struct verify_balance balance = {0};

		snprintf(code, sizeof code, "C%d", i);
		row.currency = balance.currency = fixture_currency(code);
		row.type = EVENT_DEPOSIT;
		verify_totals_row(&totals, &row);
		row.amount = DECIMAL_ONE;
		row.type = EVENT_WITHDRAW;
		verify_totals_row(&totals, &row);
		row.type = EVENT_SETTLE;
		verify_totals_row(&totals, &row);
		row.type = EVENT_FREEZE;
		verify_totals_row(&totals, &row);
		row.type = EVENT_UNFREEZE;
		verify_totals_row(&totals, &row);
		row.type = EVENT_DEPOSIT;
		row.applied = false;
		verify_totals_row(&totals, &row);
		balance.available = DECIMAL_ONE * i + (i == 17 || i == 3 ? 1 : 0);
		balance.frozen = DECIMAL_ONE;
		verify_totals_balance(&totals, &balance);
	}
	verify_totals_compare(&totals, &report);
	assert_int_equal(report.differences, 2);
	assert_true(report.listed[0].place.currency == fixture_currency("C17"));
	assert_string_equal(report.listed[0].found, "18.000000000000000001");
	assert_true(report.listed[1].place.currency == fixture_currency("C3"));
	verify_totals_finish(&totals);
	verify_report_finish(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_totals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
