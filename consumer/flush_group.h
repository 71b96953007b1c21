/*
 * Several flushes in one transaction: what few events in each of many partitions cost is
 * transactions, and what a transaction costs is statements and its commit.
 *
 *   BEGIN -> FENCE of each -> JOURNAL -> BALANCES -> DEAD_LETTERS of all -> COMMIT -> committed
 *
 * A group decides nothing.  It commits if every statement did exactly what it should; else it rolls
 * back and lets its members go as they were, so that each is driven alone and finds out for itself
 * what is the matter.  After a COMMIT without an answer each settles for itself: the transaction
 * was one, so all find the same.  Nothing that can go wrong with one partition is therefore ever
 * told of another.
 *
 * A group's time is that of a transaction: it never waits and never tries again.
 */
#ifndef CONSUMER_FLUSH_GROUP_H
#define CONSUMER_FLUSH_GROUP_H

#include "flush.h"

#define FLUSH_GROUP_MAX STORE_REQUESTS_MAX

struct flush_group {
	struct store *store;
	bool connected; /* still, afterwards */
	struct flush *members[FLUSH_GROUP_MAX];
	size_t count;
	size_t fenced; /* members whose offset this transaction has moved */
	enum flush_step step;
};

/* Whether a flush may be a member: it has been started, and no step of it was done. */
bool flush_group_takes(const struct flush *f);

/*
 * The store is connected, and lent until the group has ended.  The members (1 to FLUSH_GROUP_MAX,
 * of different partitions) are the group's meanwhile: only flush_abandon may be called on them.
 */
void flush_group_start(
	struct flush_group *g, struct store *store, struct flush *const *members, size_t count);

/*
 * One statement.  Not called once flush_group_ended.  Then every member has ended as
 * FLUSH_COMMITTED, or none has, and all are to be driven on by flush_step.
 */
void flush_group_step(struct flush_group *g);
bool flush_group_ended(const struct flush_group *g);

#endif
