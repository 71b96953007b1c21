/*
 * One or two relays of the outbox (outbox/relay.h) beside the ledger, in every third world.
 *
 * They send what applications have written (outbox_apps.h) into the ledger's own log, so that
 * whatever the relay does is judged by the ledger's checkers as well: an event that comes twice
 * must be a duplicate there.  A step is one call of an edge.  A relay is killed between two, or
 * sleeps between two and wakes believing that no time has passed; calls fail, lose their answers
 * and take long.  The outbox's tables fail over with the rest of the database.
 *
 * What is checked, beside the ledger:
 *   - nothing is in the log that was never committed in the database, and byte for byte;
 *   - of one topic and key, the first appearances are in the order of the ids, of what could be
 *     seen when the batch was read;
 *   - nobody sends under an epoch once somebody has sent under a newer one;
 *   - nobody marks under an epoch that is not the lease's, and no epoch is handed out twice;
 *   - no row is SENT that is not in the log, none is FAILED that could be sent;
 *   - at rest nothing is PENDING.
 */
#ifndef TESTS_SIM_RELAYS_H
#define TESTS_SIM_RELAYS_H

#include "world.h"

/* NULL: this world has none. */
struct relays *relays_create(struct world *w);
void relays_destroy(struct relays *relays);

void relays_step(struct relays *relays);
bool relays_at_rest(const struct relays *relays);

/* A copy of the tables stops following; takes over; is given up. */
void relays_stop_following(struct relays *relays);
void relays_fail_over(struct relays *relays);

#endif
