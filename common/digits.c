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

size_t digits_u64(uint64_t number, char *text)
{
	size_t length = digits_count(number);
	char *at = text + length;

	while (number >= 100) {
		at -= 2;
		digits_2((unsigned)(number % 100), at);
		number /= 100;
	}
	if (number >= 10)
		digits_2((unsigned)number, text);
	else
		*text = (char)('0' + number);
	return length;
}
