/*
 * What the files of `ledgerd replay` share: replay.c (the steps, and what comes before and after
 * the comparison), replay_read.c, replay_find.c and replay_write.c.  Nobody else includes this.
 */
#ifndef CONSUMER_REPLAY_PRIVATE_H
#define CONSUMER_REPLAY_PRIVATE_H

#include "replay.h"

#define REPLAY_ITEMS_MAX 2000 /* messages taken from the topic at once */
#define REPLAY_POLL_MS   200

int64_t replay_now_ms(const struct replay *r);

/* The ways a step ends: each returns what the step returns, a waiting time in ms. */

int64_t replay_next(struct replay *r, enum replay_step step);
/* For good, with this code; r->error is the caller's. */
int64_t replay_end(struct replay *r, int rc);
int64_t replay_lease_lost(struct replay *r);
/* Once more after a while, or the end: too many failures, or one that waiting does not mend. */
int64_t replay_store_failed(struct replay *r, enum store_result result);
int64_t replay_kafka_failed(struct replay *r, int rc);

/* The log (replay_read.c). */

/* From here on; r->opened says whether it is open now. */
int64_t replay_open_log(struct replay *r, int64_t offset);
/* Takes what Kafka has. */
int64_t replay_poll_log(struct replay *r);
/* Nothing came: the end, when that has lasted too long. */
int64_t replay_silent(struct replay *r);
/*
 * The next message to look at, or NULL: none in hand (poll), r->log_ended, or the step has ended
 * with *ret_wait_ms (replay_ended).
 */
const struct message *replay_peek(struct replay *r, int64_t *ret_wait_ms);

/* The database, in blocks of config.block_rows: into r->rows and r->letters. */

void replay_begin_rows(struct replay *r, int64_t from);
enum store_result replay_read_rows(struct replay *r);
void replay_begin_letters(struct replay *r, int64_t from);
enum store_result replay_read_letters(struct replay *r);

/* Steps that have a file of their own. */

int64_t replay_step_open(struct replay *r);
int64_t replay_step_find(struct replay *r);
int64_t replay_step_reopen(struct replay *r);
int64_t replay_step_write(struct replay *r);
int64_t replay_step_flush(struct replay *r);

#endif
