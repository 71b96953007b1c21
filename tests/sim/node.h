/* One instance in the simulation: a leader, a publisher, and the partitions that it owns. */
#ifndef TESTS_SIM_NODE_H
#define TESTS_SIM_NODE_H

#include "world.h"

struct node *node_create(struct world *w, int number);

/* SIGKILL: its connections are cut, its memory is gone, nothing is written. */
void node_destroy(struct node *node);

/* It takes the partition for its own now. */
bool node_believes(const struct node *node, int32_t partition);

/* It has the partition, and this balance of it in memory. */
bool node_remembers(const struct node *node, int32_t partition, struct balance_key key);

/* Counts where it is in its work: it is about to be killed. */
void node_count_kill(const struct node *node);

/* A flush of one of its partitions is on its way. */
bool node_flushes(const struct node *node);

/* One of its flushes does not know whether it has committed: no step is passed more rarely. */
bool node_settles(const struct node *node);

/* One of its flushes has met an old duplicate, and the id is not known yet. */
bool node_relearns(const struct node *node);

/* The epoch under which it works on the partition; 0: it does not. */
int64_t node_epoch(const struct node *node, int32_t partition);

/* Its wall clock is set. */
void node_wall_jump(struct node *node);

/* SIGTERM. */
void node_stop(struct node *node);
bool node_stopped(const struct node *node);

/* SIGSTOP until then; the server cuts its silent connections meanwhile. */
void node_pause(struct node *node, int64_t until_us);

/* One of its threads gets no processor for up to twice the TTL, while the others run on. */
void node_stall(struct node *node);

/* One step of one of its parts, chosen at random; false: it sleeps. */
bool node_step(struct node *node);

#endif
