/*
 * What was done to a world, counted by kind.
 *
 * Chance alone proves nothing: a kind of fault that no seed meets is a kind that is not tested.  So
 * each has a counter, the summary prints them all, and `simulator --every-fault` fails if one of
 * them has stayed 0.
 */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include <stdbool.h>

#include "flush.h"
#include "partition_private.h"
#include "publisher_private.h"
#include "relay.h"
#include "store_memory.h"

/* Name, and what the summary says. */
#define FAULT_TABLE(FAULT)                                                                         \
	FAULT(KILLED, "an instance is killed, and started with another batch size")                \
	FAULT(PAUSED, "an instance is stopped, and wakes up late")                                 \
	FAULT(ZOMBIE, "a flush of an owner that is none any more is fenced")                       \
	FAULT(EXPIRED, "a lease ends while a flush is on its way")                                 \
	FAULT(STALLED_LEADER, "a leader's thread stalls")                                          \
	FAULT(STALLED_PUBLISHER, "a publisher's thread stalls: it writes late")                    \
	FAULT(STALLED_PARTITION, "a partition's thread stalls")                                    \
	FAULT(STALLED_FLUSHER, "a flusher's thread stalls, in a transaction or not")               \
	FAULT(STALLED_ALL, "all threads of a partition stall, and the flusher wakes first")        \
	FAULT(STOPPED, "an instance is told to stop, and started with another batch size")         \
	FAULT(HANDED_OVER, "a partition goes from one instance to another")                        \
	FAULT(LOCK_WAIT, "a statement waits for the row of another's transaction")                 \
	FAULT(SILENT, "the server ends a session that was silent for too long")                    \
	FAULT(DB_FAILED_OVER, "the database fails over to a copy that is behind")                  \
	FAULT(DB_FAILED_OVER_FLUSHING, "the same, while a flush is on its way")                    \
	FAULT(DB_FAILED_OVER_IDLE, "the same, when nothing is left to do")                         \
	FAULT(DB_WENT_BACK, "next_offset of a partition goes back with it")                        \
	FAULT(DB_LOST_EPOCH, "an epoch that was handed out is lost with it")                       \
	FAULT(SERVER_CLOCK_FORWARD, "the database's clock jumps forward")                          \
	FAULT(SERVER_CLOCK_BACK, "the database's clock jumps back")                                \
	FAULT(WALL_CLOCK_FORWARD, "the wall clock of an instance jumps forward")                   \
	FAULT(WALL_CLOCK_BACK, "the wall clock of an instance jumps back")                         \
	FAULT(REDIS_EMPTIED, "Redis is emptied")                                                   \
	FAULT(REDIS_RESTARTED, "Redis is restarted, empty")                                        \
	FAULT(REDIS_FAILED_OVER, "Redis fails over to a copy that is behind")                      \
	FAULT(REDIS_MARKER_WENT_BACK, "a partition's marker goes back with it")                    \
	FAULT(REDIS_FAILS, "Redis fails in the middle of a write")                                 \
	FAULT(REDIS_MARKER_REFUSED, "a marker is not written")                                     \
	FAULT(REDIS_MARKER_UNSETTLED, "a marker is written, and the answer lost")                  \
	FAULT(REDIS_SPOILT, "a key of Redis is changed by hand, and found")                        \
	FAULT(KAFKA_AWAY, "Kafka goes away")                                                       \
	FAULT(LOG_TRUNCATED, "the beginning of a log is deleted before it was read")               \
	FAULT(RESUMED, "a person gives offsets up")                                                \
	FAULT(SENT_DUPLICATE, "a producer sends an event again")                                   \
	FAULT(SENT_CONFLICT, "a producer uses an id again for another event")                      \
	FAULT(SENT_MALFORMED, "a producer sends what is no event")                                 \
	FAULT(SENT_MISPLACED, "a producer uses the wrong key or partition")                        \
	FAULT(SENT_HIDDEN, "offsets are taken by aborted and control records")                     \
	FAULT(UNDONE, "a batch meets an old duplicate, is undone and applied again")               \
	FAULT(SETTLED_DONE, "a COMMIT without an answer is found to have happened")                \
	FAULT(JOINED, "flushes of several partitions are committed in one transaction")            \
	FAULT(SPLIT, "such a transaction fails, and each is tried alone")                          \
	FAULT(JOINT_UNKNOWN, "such a COMMIT has no answer, and each is settled alone")             \
	FAULT(BORROWED, "somebody borrows a partition and commits there")                          \
	FAULT(BORROWER_KILLED, "a borrower is killed")                                             \
	FAULT(ROW_DELETED, "a row or dead letter is deleted by hand")                              \
	FAULT(REPLAYED, "a replay is run")                                                         \
	FAULT(REPLAY_KILLED, "a replay is killed")                                                 \
	FAULT(OUTBOX_OUT_OF_ORDER, "a row of the outbox can be seen after one with a higher id")   \
	FAULT(OUTBOX_ROLLED_BACK, "an insert into the outbox is rolled back: a hole in its ids")   \
	FAULT(OUTBOX_LOST, "rows of the outbox are lost in a fail-over of the database")           \
	FAULT(OUTBOX_WENT_BACK, "rows of the outbox are PENDING again after it")                   \
	FAULT(OUTBOX_ID_AGAIN, "an id of a row that was lost is given to another")                 \
	FAULT(OUTBOX_SENT_AGAIN, "a row of the outbox is sent once more")                          \
	FAULT(OUTBOX_FAILED, "a row of the outbox can never be sent")                              \
	FAULT(OUTBOX_TOPIC_MISSING, "a topic is missing; its rows wait, others go on")             \
	FAULT(RELAY_KILLED, "a relay is killed")                                                   \
	FAULT(RELAY_PAUSED, "a relay is stopped, and wakes up late")                               \
	FAULT(RELAY_STOPPED, "a relay is told to stop")                                            \
	FAULT(RELAY_LOST, "a relay loses its lease")                                               \
	FAULT(RELAY_FENCED, "a relay is shut out by another, in the database or in Kafka")         \
	FAULT(RELAY_HANDED_OVER, "the outbox goes from one relay to another")

#define FAULT_NAME(name, text) FAULT_##name,
enum fault { FAULT_TABLE(FAULT_NAME) FAULTS };
#undef FAULT_NAME

#define FAULT_CALLS_MAX  26
#define FAULT_LEASES_MAX 8
#define FAULT_OUTBOX_MAX 10

enum call_fault { CALL_FAILS, CALL_LOST_BEFORE, CALL_LOST_AFTER, CALL_SLOW, CALL_FAULTS };

struct faults {
	uint64_t kinds[FAULTS];
	uint64_t calls[FAULT_CALLS_MAX][CALL_FAULTS];   /* of the database, by its name */
	uint64_t leases[FAULT_LEASES_MAX][CALL_FAULTS]; /* of the leases' store */
	uint64_t outbox[FAULT_OUTBOX_MAX][CALL_FAULTS]; /* of the relay's store and sink */
	/* where an instance was when it was killed */
	uint64_t flushing[FLUSH_STEPS];
	uint64_t recovering[RECOVER_STEPS];
	uint64_t publishing[SYNC_SCANNED + 1];
	uint64_t relaying[RELAY_STEPS]; /* the same for a relay */
};

void faults_call(struct faults *faults, const char *call, enum call_fault fault);
void faults_lease(struct faults *faults, const char *call, enum call_fault fault);
void faults_outbox(struct faults *faults, const char *call, enum call_fault fault);

/* What a trace says of it. */
const char *faults_text(enum fault fault);
const char *faults_call_text(enum call_fault fault);

void faults_add(struct faults *total, const struct faults *faults);
void faults_print(const struct faults *faults);

/* Names on stderr what has never happened; true: all has. */
bool faults_complete(const struct faults *faults);

#endif
