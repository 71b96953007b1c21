/*
 * The publisher: after a commit, the newest version of every changed balance goes to Redis.
 *
 * Partitions offer their committed images (any thread); the newest per balance waits in a map.
 * One driver (publisher_thread.c in the daemon, the simulator in tests) calls publisher_step.
 *
 * - A round is all that waits for a partition, taken at once while new images wait behind it.
 *   It goes out in slices; a slice that fails is sent again (last write wins), and when the whole
 *   round is acknowledged, all that changed up to the round's offset has reached Redis.
 * - A marker is a text that each partition keeps in Redis beside the balances: under which identity
 *   of the server, and up to which offset, the partition is complete there.  It is replaced only if
 *   it is still the one last seen, and publisher_offset moves only after it.  So a Redis that was
 *   emptied, restarted, failed over, or is another one that once held a copy, tells by itself that
 *   it is not complete.
 * - A rebuild reads all balances of a partition from the database and writes them again: when the
 *   marker or the server's identity is not the one expected, and when more than pending_max
 *   balances wait, which are dropped then.  First the marker is replaced by a token that exists
 *   only once; only over that token is a rebuild declared complete.  Partitions that need one share
 *   a scan; rounds go on between its slices.
 * - Probes are balances of which a partition wants to know what Redis has (sample.h).  They are
 *   read while the partition is complete, and count only if the marker is still the expected one
 *   after that: a Redis that was emptied has no drift but all to learn.
 *
 * Invariants: an image is offered only after its commit, so Redis is never ahead of the database;
 * publisher_offset never covers a balance that is not in the Redis that the marker speaks of; it
 * never goes back; what waits is never more than pending_max balances.
 *
 * At a crash between any two steps, the next owner begins from the stored redis_offset, and
 * compares the marker: below its offset all is there, and what changed since is published again.
 *
 * Not here: how it is written (snapshot_redis.c), whether what a probe found is as it should be
 * (sample.c), keys that should not be in Redis at all (`ledgerd snapshot rebuild`).
 */
#ifndef CONSUMER_PUBLISHER_H
#define CONSUMER_PUBLISHER_H

#include "snapshot.h"
#include "store.h"

#define PUBLISHER_SLICE_DEFAULT      8192
#define PUBLISHER_BACKOFF_MIN_MS     50
#define PUBLISHER_BACKOFF_MAX_MS     2000
#define PUBLISHER_MARKER_INTERVAL_MS 200 /* the least time between two markers of a partition */
#define PUBLISHER_PROBES_MAX         16

struct publisher;

struct publisher_config {
	int32_t partitions;        /* of the topic */
	size_t pending_max;        /* balances, of all partitions; should hold several flushes */
	int64_t check_interval_ms; /* between looks at the server's identity and the markers */
	size_t slice_max;          /* balances that one step writes; 0: PUBLISHER_SLICE_DEFAULT */
	uint64_t seed; /* of hashes, jitter and tokens: never the same for two instances */
};

/* For the metrics; counters are since start. */
struct publisher_stats {
	uint64_t published;  /* images written */
	uint64_t stale;      /* images that lost to a higher version */
	uint64_t replaced;   /* published, in place of something else than a hash */
	uint64_t failed;     /* slices that ended in an error */
	uint64_t rebuilds;   /* begun, each partition counted */
	uint64_t pending;    /* balances that wait now */
	uint64_t rebuilding; /* partitions that need a rebuild now */
	bool connected;
};

/*
 * snapshot and store are the publisher's own from now on; store is used for rebuilds alone.
 * wake(wake_context) is called, with no lock held, when there is something to do.
 */
struct publisher *publisher_create(const struct publisher_config *config, struct snapshot *snapshot,
	struct store *store, void (*wake)(void *), void *wake_context);
void publisher_destroy(struct publisher *pub);

/* Bytes that a publisher may take at most, for the memory that is printed at start. */
size_t publisher_bytes_max(const struct publisher_config *config);

/*
 * A partition begins (its owner has recovered): its balances are complete in Redis up to
 * redis_offset, and what changed from there to next_offset is in `images` (version 0 is left out).
 * With `rebuild` there were too many to list: all are written again.  A partition that had begun
 * before begins anew.
 */
void publisher_begin(struct publisher *pub, int32_t partition, int64_t redis_offset,
	int64_t next_offset, const struct snapshot_image *images, size_t count, bool rebuild);

/*
 * A flush was committed: these balances changed, below next_offset.  Left out are those whose
 * version is as before.  Only between publisher_begin and publisher_end, in the order of the
 * commits.
 */
void publisher_offer(struct publisher *pub, int32_t partition, const struct touched *touched,
	size_t count, int64_t updated_ms, int64_t next_offset);

/*
 * A partition ends.  What waits for it is still written, so that readers need not wait for the next
 * owner (who publishes it again; the last write wins), but counts for nothing, and is dropped when
 * the partition begins anew.
 */
void publisher_end(struct publisher *pub, int32_t partition);

/* Every balance of the partition changed below this offset has reached Redis.  Between begin and
 * end. */
int64_t publisher_offset(const struct publisher *pub, int32_t partition);

/* What Redis should have, and has. */
struct publisher_probe {
	struct snapshot_image image; /* as it was committed */
	int64_t last_offset;         /* of the event that made it so */
	/* Filled in by publisher_probed. */
	struct snapshot_image found; /* version 0: nothing; SNAPSHOT_UNREADABLE: no form of ours */
	bool covered; /* all up to last_offset had been published before, and nothing newer waited
		       */
};

/*
 * Asks what Redis has of these balances, at most PUBLISHER_PROBES_MAX; between publisher_begin and
 * publisher_end.  It is read when the partition is complete in Redis.  While an earlier question
 * has no answer yet, it stays and this one is dropped.
 */
void publisher_probe(struct publisher *pub, int32_t partition, const struct publisher_probe *probes,
	size_t count);

/* The answer, once; 0: there is none (yet). */
size_t publisher_probed(struct publisher *pub, int32_t partition,
	struct publisher_probe ret_probes[PUBLISHER_PROBES_MAX]);

/* Writes committed images again; a newer one that waits or is in Redis stays. */
void publisher_mend(struct publisher *pub, int32_t partition, const struct snapshot_image *images,
	size_t count);

/*
 * Does one thing: connects, looks at the server, reads or writes a marker, reads probes, takes a
 * slice, or writes one.  Returns for how long the driver may sleep if nothing wakes it, in
 * milliseconds; 0: there is more to do.  now_ms is monotonic.  Failures are logged here, and tried
 * again later.
 */
int64_t publisher_step(struct publisher *pub, int64_t now_ms);

void publisher_stats(const struct publisher *pub, struct publisher_stats *ret_stats);

#endif
