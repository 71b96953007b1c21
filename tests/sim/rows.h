/* Rows of the in-memory database, column by column. */
#ifndef TESTS_SIM_ROWS_H
#define TESTS_SIM_ROWS_H

#include "store_memory.h"

/* NULL is absent, and another thing than no bytes. */
bool rows_same_bytes(const char *a, size_t a_length, const char *b, size_t b_length);

bool rows_same_id(const struct event *a, const struct event *b);

/* Currency, type and amount. */
bool rows_same_content(const struct event *a, const struct event *b);

bool rows_same(const struct memory_journal_row *a, const struct memory_journal_row *b);
bool rows_same_letter(const struct memory_dead_letter *a, const struct memory_dead_letter *b);

/* All but when it was written. */
bool rows_same_balance(const struct store_balance *a, const struct store_balance *b);

#endif
