/*
 * Another reader of events, for comparison: yajl for the JSON, and digits as text in place of
 * 128-bit numbers.  It shares nothing with consumer/decode.c but the contract.
 */
#ifndef TESTS_FUZZ_DECODE_ORACLE_H
#define TESTS_FUZZ_DECODE_ORACLE_H

#include <stdbool.h>
#include <stddef.h>

struct oracle_event {
	char transaction_id[65];
	char account_id[20];
	char currency[11];
	char type[9];
	char amount[37]; /* 18 digits before the point and 18 after it, without the point */
	char ts[20];     /* "" if it is not there */
};

/* Whether the bytes are an event. */
bool decode_oracle(const unsigned char *value, size_t length, struct oracle_event *ret_event);

#endif
