/*
 * What publisher.c (the partitions' side) and publisher_step.c (the driver's side) share.  Nobody
 * else includes this.
 *
 * The lock guards what the first part of struct publisher names; it is never held during a call to
 * Redis or the database.  What is in flight meanwhile remembers the generation of its partition: if
 * it is another one afterwards, the partition has begun anew or been dropped, and the answer means
 * nothing to it.
 */
#ifndef CONSUMER_PUBLISHER_PRIVATE_H
#define CONSUMER_PUBLISHER_PRIVATE_H

#include <pthread.h>

#include "image_map.h"
#include "publisher.h"

/* How a partition's balances in Redis stand.
 *
 *     IDLE -> UNCHECKED -> COMPLETE -> WANTED -> TOKEN -> SCANNING -> SCANNED -> COMPLETE
 *
 * From each but IDLE to WANTED when something was lost, and to IDLE when the partition ends. */
enum sync {
	SYNC_IDLE = 0,  /* not ours; what waits is written, but counts for nothing */
	SYNC_UNCHECKED, /* complete if the marker says so, which was not read yet */
	SYNC_COMPLETE,
	SYNC_WANTED,   /* to be rebuilt; offers are not kept, as the scan will see them */
	SYNC_TOKEN,    /* the same, and the token is in Redis: joins the next scan */
	SYNC_SCANNING, /* offers are kept: the scan may have passed their balances */
	SYNC_SCANNED,  /* all are written: the marker may say so */
};

/* A partition's question, and its answer. */
struct probing {
	struct publisher_probe probes[PUBLISHER_PROBES_MAX];
	size_t count; /* 0: none */
	bool answered;
};

/* The publication of one partition's balances. */
struct publication {
	enum sync sync;
	uint64_t generation;
	int64_t offered; /* what changed below was offered, or will be seen by a scan to come */
	int64_t reached; /* what changed below has been written, but for what a scan is to write */
	int64_t published; /* publisher_offset */

	struct image_map pending;
	struct image_map round;
	int64_t round_offset; /* what `reached` is when the round has been written */
	size_t round_taken;   /* images that went into a slice */
	size_t round_written; /* those of them that were acknowledged */

	bool check_due;                   /* the marker is to be read */
	char marker[SNAPSHOT_MARKER_MAX]; /* as last read or written */
	int64_t marker_offset;            /* up to which it says that all is there, or -1 */
	int64_t marker_ms;                /* when it was last written */

	struct probing probing;
};

/* Images of a round that are in a slice. */
struct slice_part {
	int32_t partition;
	uint64_t generation;
	size_t count;
};

/* What one call writes. */
struct slice {
	struct snapshot_image *images;
	size_t count;
	size_t max;
	struct slice_part *parts; /* none if the slice is of a scan */
	size_t part_count;
	bool scan_end; /* the last slice of a scan */
};

/* The scan of all balances for the partitions that are SYNC_SCANNING. */
struct scan {
	bool active;
	bool *members; /* by partition */
	bool started;  /* `after` is set */
	struct balance_key after;
};

/* When a server is tried again. */
struct backoff {
	unsigned attempt;
	int64_t until_ms;
};

struct publisher {
	/* Under the lock. */
	pthread_mutex_t lock;
	struct publication *publications; /* by partition */
	size_t waiting;                   /* balances in all maps; at most pending_max */
	struct publisher_stats stats;     /* but for pending and rebuilding */

	/* Constant. */
	struct publisher_config config;
	void (*wake)(void *);
	void *wake_context;

	/* The driver's own. */
	struct snapshot *snapshot;
	struct store *store;
	bool connected;
	bool greeted; /* the connection was logged */
	struct backoff backoff;
	char identity[SNAPSHOT_IDENTITY_MAX]; /* as last seen; "" before the first time */
	int64_t check_at_ms;
	struct slice slice;
	struct scan scan;
	bool scan_turn;         /* whether the next slice should come from a scan */
	int32_t next_partition; /* whose turn it is */
	bool store_connected;
	struct backoff store_backoff;
	uint64_t tokens;
	uint64_t random;
	uint64_t replaced; /* of the snapshot, as last seen */
};

/* All with the lock held. */

/* Whether offers are kept. */
bool publication_keeps(const struct publication *p);

/* Forgets what waits. */
void publication_drop(struct publisher *pub, struct publication *p);

void publication_want_rebuild(struct publisher *pub, struct publication *p);

/* Moves the offsets as far as what has been written and the marker allow. */
void publication_advance(struct publication *p);

#endif
