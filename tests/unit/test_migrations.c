/* The migrations as they are in the program: complete, in order, and with the right checksums. */
#include "embed.h"
#include "sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <sodium.h>

#include <cmocka.h>

extern const struct embed migrations;

static void test_numbers_have_no_holes(void **state)
{
	(void)state;
	assert_true(migrations.count >= 4);
	for (size_t i = 0; i < migrations.count; i++)
		assert_int_equal(migrations.files[i].number, i);
	assert_string_equal(migrations.files[0].name, "schema_migrations");
	assert_string_equal(migrations.files[1].name, "ledger");
}

/* The texts survived their way through C, and the checksums are theirs. */
static void test_checksums_are_of_the_texts(void **state)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	char hex[2 * sizeof(hash) + 1];

	(void)state;
	for (size_t i = 0; i < migrations.count; i++) {
		const struct embed_file *file = &migrations.files[i];

		assert_int_equal(strlen(file->text), file->length);
		crypto_hash_sha256(hash, (const unsigned char *)file->text, file->length);
		sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
		assert_string_equal(hex, file->sha256);
	}
}

static int begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* DDL cannot roll back: a migration that failed midway is run again from its beginning. */
static void test_statements_may_be_repeated(void **state)
{
	(void)state;
	for (size_t i = 0; i < migrations.count; i++) {
		const char *cursor = migrations.files[i].text;
		const char *text;
		size_t length;

		while (sql_next_statement(&cursor, &text, &length)) {
			if (!begins_with(text, "CREATE TABLE IF NOT EXISTS ") &&
				!begins_with(text, "CREATE OR REPLACE ") &&
				!begins_with(text, "INSERT IGNORE "))
				fail_msg("%s: \"%.60s\"", migrations.files[i].name, text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_have_no_holes),
		cmocka_unit_test(test_checksums_are_of_the_texts),
		cmocka_unit_test(test_statements_may_be_repeated),
	};

	return cmocka_run_group_tests_name("migrations", tests, NULL, NULL);
}
