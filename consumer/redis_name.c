/* See redis_name.h. */
#include "redis_name.h"

#include <stdint.h>
#include <string.h>

bool redis_name_parse(const char *text, size_t length, struct balance_key *ret_key)
{
	static const char prefix[] = "balance:{";
	size_t at = sizeof prefix - 1;
	uint64_t account = 0;

	if (length <= at || memcmp(text, prefix, at) != 0 || text[at] < '1' || text[at] > '9')
		return false;
	for (; at < length && text[at] >= '0' && text[at] <= '9'; at++) {
		if (account > (uint64_t)INT64_MAX / 10)
			return false;
		account = account * 10 + (uint64_t)(text[at] - '0');
	}
	if (account > INT64_MAX || length - at < 3 || memcmp(text + at, "}:", 2) != 0)
		return false;
	ret_key->account_id = (int64_t)account;
	ret_key->currency = currency_pack(text + at + 2, length - at - 2);
	return ret_key->currency != CURRENCY_NONE;
}
