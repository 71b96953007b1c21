/* See datetime.h. */
#include "datetime.h"

#include <assert.h>

#include "digits.h"

#define DAY_MS          86400000
#define DAYS_TO_1970    719468 /* from 1 March of the year 0 */
#define DAYS_IN_4_YEARS 1461
#define DAYS_IN_400     146097

struct date {
	unsigned year, month, day;
};

/*
 * The calendar's years are counted from 1 March, so that the leap day is the last of its year. Four
 * times the days makes the lengths of a year and of a century whole numbers; five times those of a
 * year makes months of 30.6 days whole, which is how they alternate from March on.
 */
static struct date date_of_day(uint32_t day)
{
	uint32_t quarters = 4 * (day + DAYS_TO_1970) + 3;
	uint32_t century = quarters / DAYS_IN_400;
	uint32_t in_century = quarters % DAYS_IN_400 | 3;
	uint32_t fifths = 5 * (in_century % DAYS_IN_4_YEARS / 4) + 2;
	uint32_t month = fifths / 153; /* 0 is March */

	return (struct date){
		.year = 100 * century + in_century / DAYS_IN_4_YEARS + (month >= 10),
		.month = month < 10 ? month + 3 : month - 9,
		.day = fifths % 153 / 5 + 1,
	};
}

void datetime_format(int64_t time_ms, char *text)
{
	struct date date;
	unsigned ms;

	assert(time_ms >= 0 && time_ms <= DATETIME_MAX_MS);
	date = date_of_day((uint32_t)(time_ms / DAY_MS));
	ms = (unsigned)(time_ms % DAY_MS);
	memcpy(text, "....-..-.. ..:..:......", DATETIME_LENGTH);
	digits_4(date.year, text);
	digits_2(date.month, text + 5);
	digits_2(date.day, text + 8);
	digits_2(ms / 3600000, text + 11);
	digits_2(ms / 60000 % 60, text + 14);
	digits_2(ms / 1000 % 60, text + 17);
	digits_3(ms % 1000, text + 20);
}
