/*
 * Whether the log still says what the database has of it: the question of every recovery, and of a
 * replay before it trusts the log.  Pure.
 */
#ifndef CONSUMER_NEWEST_H
#define CONSUMER_NEWEST_H

#include "store.h"

/* Whether the message at the row's offset is the one that the row or dead letter was made from. The
 * row was found; another offset is another message. */
bool newest_agrees(const struct store_newest *newest, const struct message *message,
	int32_t partition, int32_t partitions);

/* Frees what a store put into it. */
void newest_forget(struct store_newest *newest);

#endif
