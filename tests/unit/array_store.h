/*
 * A store that has balances and nothing else: what the publisher and the rebuild need of a
 * database.  Balances are put in by the test; connect, scan_balances and read_balances (sorted
 * keys, none twice) read them, or fail as often as they are told to.
 */
#ifndef TESTS_ARRAY_STORE_H
#define TESTS_ARRAY_STORE_H

#include <pthread.h>

#include "store.h"

/* What several stores may show: the committed balances, ascending by key.  Thread-safe. */
struct array_table {
	pthread_mutex_t lock;
	struct store_balance *rows;
	size_t count;
	size_t capacity;
	unsigned failures; /* so many calls fail next */
	unsigned scans;    /* calls of scan_balances so far */
};

void array_table_init(struct array_table *table);
void array_table_finish(struct array_table *table);

/* Adds the balance, or replaces the one with its key. */
void array_table_put(struct array_table *table, const struct store_balance *row);

/* The table outlives the store. */
struct store *array_store_create(struct array_table *table);

#endif
