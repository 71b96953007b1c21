/* The names of our keys in Redis, read: balance:{<account>}:<currency>.  Pure. */
#ifndef CONSUMER_REDIS_NAME_H
#define CONSUMER_REDIS_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "balances.h"

#define REDIS_NAME_PATTERN "balance:*" /* as SCAN's MATCH takes it */
#define REDIS_NAME_FORM    "balance:{<account>}:<currency>"

/* The balance that a key is of; false: it has another form than ours, byte for byte. */
bool redis_name_parse(const char *text, size_t length, struct balance_key *ret_key);

#endif
