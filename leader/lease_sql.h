/*
 * What statements about leases have in common, whoever's they are: the server's clock, and a new
 * epoch.
 */
#ifndef LEADER_LEASE_SQL_H
#define LEADER_LEASE_SQL_H

#include <stdint.h>

#define LEASE_SQL_NOW "UTC_TIMESTAMP(6)"

/* Microseconds since the epoch of a DATETIME(6) in UTC. */
#define LEASE_SQL_SINCE_EPOCH(time) "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', " time ")"

/*
 * A new epoch, to be read by db_insert_id; takes lease_sql_epoch_step().  The greater of the
 * server's clock and the old one + that step.
 */
#define LEASE_SQL_NEW_EPOCH                                                                        \
	"LAST_INSERT_ID(GREATEST(epoch + ?, " LEASE_SQL_SINCE_EPOCH(LEASE_SQL_NOW) "))"

/* From 1 to LEASE_EPOCH_STEP_MAX.  Without chance, which never fails, 1 is right, too. */
int64_t lease_sql_epoch_step(void);

#endif
