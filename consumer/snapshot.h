/*
 * Redis as the publisher sees it: one connection.  The real one is snapshot_redis.c, the one in
 * memory snapshot_memory.c.  Used by the publisher's thread alone.
 *
 * No call retries.  After an error the caller connects again; without a connection every call fails
 * with -ENOTCONN.
 */
#ifndef CONSUMER_SNAPSHOT_H
#define CONSUMER_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "balances.h"
#include "error.h"

/* What is written to balance:{account}:currency. */
struct snapshot_image {
	struct balance_key key;
	i128 available;
	i128 frozen;
	int64_t version; /* above 0 and below SNAPSHOT_VERSION_END */
	int64_t updated_ms;
};

/* What stands at a key. */
#define SNAPSHOT_SEEN_MAX 192
struct snapshot_seen {
	struct snapshot_image image;  /* as `read` gives it */
	char text[SNAPSHOT_SEEN_MAX]; /* another one whenever something else stands there; "none" */
};

#define SNAPSHOT_VERSION_END  (INT64_C(1) << 53) /* Lua's numbers are doubles */
#define SNAPSHOT_UNREADABLE   (-1) /* the version of what is there, but in no form of ours */
#define SNAPSHOT_IDENTITY_MAX 128  /* with the NUL */
#define SNAPSHOT_MARKER_MAX   192  /* with the NUL */

struct snapshot;

struct snapshot_ops {
	/* Closes what there is and connects anew, scripts loaded.  0 or a negative code. */
	int (*connect)(struct snapshot *s, struct error *err);
	void (*disconnect)(struct snapshot *s);
	/* Who this server is: its run id and replication id, without spaces.  Another text means
	 * that another data set may be there. */
	int (*identity)(
		struct snapshot *s, char ret_identity[SNAPSHOT_IDENTITY_MAX], struct error *err);
	/*
	 * A partition's marker is a text of the publisher's, kept beside the balances, so that it
	 * shares their fate; "" if there is none.  write_marker replaces it only if it is still
	 * `expected`; *ret_written: it was.
	 */
	int (*read_marker)(struct snapshot *s, int32_t partition,
		char ret_marker[SNAPSHOT_MARKER_MAX], struct error *err);
	int (*write_marker)(struct snapshot *s, int32_t partition, const char *expected,
		const char *marker, bool *ret_written, struct error *err);
	/*
	 * Writes images, pipelined; a key that has a higher version keeps it, an equal one is
	 * overwritten.  0 when every one is acknowledged; *ret_stale counts those that lost.  After
	 * an error nothing is known of any of them, and sending all again is harmless.  A key that
	 * holds something else than a hash is replaced, and counted in snapshot.replaced.
	 */
	int (*publish)(struct snapshot *s, const struct snapshot_image *images, size_t count,
		size_t *ret_stale, struct error *err);
	/* For sampling and verify: the image of each key; version 0 where there is none, and
	 * SNAPSHOT_UNREADABLE where somebody else has written. */
	int (*read)(struct snapshot *s, const struct balance_key *keys, size_t count,
		struct snapshot_image *ret_images, struct error *err);
	/*
	 * For `snapshot rebuild`, which alone may go back: what stands at each key; and each key
	 * replaced by its image (version 0: deleted), whatever the versions, if what was seen there
	 * still stands there.  ret_done[i]: it was.  In calls of any length.
	 */
	int (*look)(struct snapshot *s, const struct balance_key *keys, size_t count,
		struct snapshot_seen *ret_seen, struct error *err);
	int (*force)(struct snapshot *s, const struct snapshot_seen *seen,
		const struct snapshot_image *images, size_t count, bool *ret_done,
		struct error *err);
	void (*destroy)(struct snapshot *s);
};

/* Every snapshot begins with this. */
struct snapshot {
	const struct snapshot_ops *ops;
	uint64_t replaced; /* keys of another type that publish has replaced so far */
};

#endif
