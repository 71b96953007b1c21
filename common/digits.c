/* See digits.h. */
#include "digits.h"

const char digits_pairs[201] = "00010203040506070809"
			       "10111213141516171819"
			       "20212223242526272829"
			       "30313233343536373839"
			       "40414243444546474849"
			       "50515253545556575859"
			       "60616263646566676869"
			       "70717273747576777879"
			       "80818283848586878889"
			       "90919293949596979899";

const uint64_t digits_power[20] = {
	UINT64_C(1),
	UINT64_C(10),
	UINT64_C(100),
	UINT64_C(1000),
	UINT64_C(10000),
	UINT64_C(100000),
	UINT64_C(1000000),
	UINT64_C(10000000),
	UINT64_C(100000000),
	UINT64_C(1000000000),
	UINT64_C(10000000000),
	UINT64_C(100000000000),
	UINT64_C(1000000000000),
	UINT64_C(10000000000000),
	UINT64_C(100000000000000),
	UINT64_C(1000000000000000),
	UINT64_C(10000000000000000),
	UINT64_C(100000000000000000),
	UINT64_C(1000000000000000000),
	UINT64_C(10000000000000000000),
};

/* From its first digit that is not zero, or from the last one.  The zeros before it, the word's low
 * bytes, come to be behind it. */
static size_t put_highest(uint32_t number, char *text)
{
	uint64_t word = digits_word(number);
	unsigned zeros = (unsigned)__builtin_ctzll(word | UINT64_C(1) << 56) / 8;
	unsigned shift = 8 * zeros;

	word |= DIGITS_ZEROS;
	word = htole64(word >> shift | word << (64 - shift) % 64);
	memcpy(text, &word, sizeof(word));
	return sizeof(word) - zeros;
}

size_t digits_u64(uint64_t number, char *text)
{
	size_t length;

	if (number < 10) {
		*text = (char)('0' + number);
		return 1;
	}
	if (number < 100) {
		digits_2((unsigned)number, text);
		return 2;
	}
	if (number < 100000000)
		return put_highest((uint32_t)number, text);
	length = digits_u64(number / 100000000, text);
	digits_8((uint32_t)(number % 100000000), text + length);
	return length + 8;
}
