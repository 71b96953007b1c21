/*
 * Milliseconds since the epoch as MySQL's DATETIME(3), in UTC: "2026-01-01 00:00:00.000".  No
 * time zone, no locale, no C library.
 */
#ifndef COMMON_DATETIME_H
#define COMMON_DATETIME_H

#include <stdint.h>

#define DATETIME_LENGTH 23
#define DATETIME_MAX_MS INT64_C(253402300799999) /* 9999-12-31 23:59:59.999 */

/* Writes DATETIME_LENGTH characters and no NUL.  0 <= time_ms <= DATETIME_MAX_MS. */
void datetime_format(int64_t time_ms, char *text);

#endif
