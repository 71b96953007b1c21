/* See utf8.h.  What may follow a first byte is table 3-7 of the Unicode standard: only the second
 * byte has limits that depend on the first. */
#include "utf8.h"

#include <assert.h>

/* How many bytes follow this first one; 0: it begins no character of several bytes. */
static size_t followers(unsigned char first)
{
	if (first < 0xc2 || first > 0xf4)
		return 0;
	return first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
}

/* The least and the most that the second byte may be are where a shorter form or a surrogate, or
 * what is beyond Unicode, would begin. */
static bool may_follow(unsigned char first, unsigned char second)
{
	unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;

	return second >= low && second <= high;
}

size_t utf8_length(const char *text, size_t left)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t more;

	assert(left > 0);
	if (bytes[0] < 0x80)
		return 1;
	more = followers(bytes[0]);
	if (more == 0 || more >= left || !may_follow(bytes[0], bytes[1]))
		return 0;
	for (size_t i = 2; i <= more; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	return 1 + more;
}

bool utf8_valid(const char *text, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t step = utf8_length(text + at, length - at);

		if (step == 0)
			return false;
		at += step;
	}
	return true;
}
