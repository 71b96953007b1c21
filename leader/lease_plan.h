/*
 * Who should own which partition: a pure function of the leases and the members, so that every
 * instance that sees the same rows comes to the same plan without talking to the others.
 *
 * - Shares of the members differ by at most one where what they may own allows it.
 * - A held lease stays with its owner unless that makes the shares uneven; as few move as possible.
 * - A lease that has expired, or whose holder is no longer a member, counts as nobody's.
 * - A halted partition, one that a replay asks for, and one that no member may own belong to
 * nobody.
 */
#ifndef LEADER_LEASE_PLAN_H
#define LEADER_LEASE_PLAN_H

#include "lease_store.h"

#define LEASE_NOBODY (-1)

/*
 * Writes for each row of the view the index of the member that should own it, or LEASE_NOBODY.
 * ret_owner has row_count places.
 */
void lease_plan(const struct lease_view *view, int *ret_owner);

#endif
