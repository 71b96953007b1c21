/*
 * Any bytes as a key of Redis: one that is taken for ours is written by us, byte for byte, and
 * each that we write is taken.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "redis_name.h"

static size_t write_name(char *text, size_t bytes, int64_t account, const char *currency)
{
	return (size_t)snprintf(text, bytes, "balance:{%" PRId64 "}:%s", account, currency);
}

/* The form once more, by the letters: the account is compared as text. */
static bool is_ours(const char *text, size_t length)
{
	const char *most = "9223372036854775807";
	size_t digits = 0;
	size_t at = strlen("balance:{");

	if (length < at || memcmp(text, "balance:{", at))
		return false;
	while (at + digits < length && isdigit((unsigned char)text[at + digits]))
		digits++;
	if (digits < 1 || digits > strlen(most) || text[at] == '0' ||
		(digits == strlen(most) && memcmp(text + at, most, digits) > 0))
		return false;
	at += digits;
	if (length - at < 3 || length - at > 12 || memcmp(text + at, "}:", 2))
		return false;
	for (at += 2; at < length; at++)
		if (!isdigit((unsigned char)text[at]) && !(text[at] >= 'A' && text[at] <= 'Z'))
			return false;
	return true;
}

static void check_text(const char *text, size_t length)
{
	struct balance_key key;
	char currency[CURRENCY_LENGTH_MAX + 1];
	char again[64];
	bool ours = redis_name_parse(text, length, &key);

	CHECK(ours == is_ours(text, length));
	if (!ours)
		return;
	CHECK(key.account_id > 0);
	currency_text(key.currency, currency);
	CHECK(write_name(again, sizeof again, key.account_id, currency) == length);
	CHECK(!memcmp(again, text, length));
}

/* A balance made of the bytes. */
static void check_balance(const uint8_t *data, size_t size)
{
	static const char characters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char currency[CURRENCY_LENGTH_MAX + 1] = "";
	struct balance_key key = {0};
	char text[64];
	uint64_t account;
	size_t length;

	if (size < sizeof account + 1)
		return;
	memcpy(&account, data, sizeof account);
	account = account % INT64_MAX + 1;
	for (size_t i = 0; i < CURRENCY_LENGTH_MAX && sizeof account + i < size; i++)
		currency[i] = characters[data[sizeof account + i] % 36];
	length = write_name(text, sizeof text, (int64_t)account, currency);
	CHECK(redis_name_parse(text, length, &key));
	CHECK(key.account_id == (int64_t)account);
	CHECK(key.currency == currency_pack(currency, strlen(currency)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_text((const char *)data, size);
	check_balance(data, size);
	return 0;
}
