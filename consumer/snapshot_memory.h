/*
 * A Redis in memory, for the simulator and the tests: it keeps what lua/publish.lua and
 * lua/marker.lua would keep, and fails, forgets and is replaced when it is told to.
 *
 * One struct snapshot_memory is a server; each snapshot_memory_open is a connection to it, so that
 * several instances may publish into one Redis.  No locks: a test with threads uses one connection,
 * and looks at the server only while nobody publishes.
 */
#ifndef CONSUMER_SNAPSHOT_MEMORY_H
#define CONSUMER_SNAPSHOT_MEMORY_H

#include <stddef.h>

#include "image_map.h"
#include "snapshot.h"

#define SNAPSHOT_MEMORY_HISTORY 65536 /* newest writes that a fail-over can lose */

/* What is to fail next; the caller sets it, each failure counts it down by one. */
struct snapshot_memory_faults {
	bool unreachable;           /* every call fails until it is false again */
	unsigned connects;          /* so many connects */
	unsigned publishes;         /* so many publishes, each after having written */
	size_t publish_written;     /* this many of its images (or all, if there are fewer) */
	unsigned markers_refused;   /* marker writes that fail before they write */
	unsigned markers_unsettled; /* marker writes that write, and whose answer is lost */
};

struct snapshot_memory;
struct snapshot_memory_copy;

struct snapshot_memory *snapshot_memory_create(uint64_t seed);
/* Its connections are destroyed before. */
void snapshot_memory_destroy(struct snapshot_memory *server);

/* A connection; ops->destroy frees it. */
struct snapshot *snapshot_memory_open(struct snapshot_memory *server);

struct snapshot_memory_faults *snapshot_memory_faults(struct snapshot_memory *server);

/* Every connection is broken: its calls fail until it connects again. */
void snapshot_memory_cut(struct snapshot_memory *server);

/* FLUSHALL: balances and markers are gone, the server is the same, connections stay. */
void snapshot_memory_flushall(struct snapshot_memory *server);

/* Another process: nothing is there, it has a new identity, connections are cut. */
void snapshot_memory_restart(struct snapshot_memory *server);

/*
 * A replica takes over that lacks the newest `count` writes (of balances and markers; a call's
 * images are a write each): a new identity.  Connections stay, as when a server is demoted, copies
 * the new master, and is promoted again; cut them for the common case.  Returns how many writes
 * were lost: fewer if the history has no more.
 */
size_t snapshot_memory_fail_over(struct snapshot_memory *server, size_t count);

/* All that the server holds; and a server with a new identity that holds it, connections cut.
 * A copy may be restored any number of times. */
struct snapshot_memory_copy *snapshot_memory_save(const struct snapshot_memory *server);
void snapshot_memory_restore(
	struct snapshot_memory *server, const struct snapshot_memory_copy *copy);
void snapshot_memory_copy_destroy(struct snapshot_memory_copy *copy);

/* For checkers: what is there, NULL if the key is not; good until the next write. */
const struct snapshot_image *snapshot_memory_find(
	const struct snapshot_memory *server, struct balance_key key);
/* "" if there is none. */
const char *snapshot_memory_marker(const struct snapshot_memory *server, int32_t partition);
/* How many keys there are; fn once for each. */
size_t snapshot_memory_count(const struct snapshot_memory *server);
typedef void snapshot_memory_fn(void *context, const struct snapshot_image *image);
void snapshot_memory_each(
	const struct snapshot_memory *server, snapshot_memory_fn *fn, void *context);

/* A key written past the rules: drift, for testing those who look for it.  Version 0 deletes it. */
void snapshot_memory_tamper(struct snapshot_memory *server, const struct snapshot_image *image);

#endif
