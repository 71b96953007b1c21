/*
 * What snapshot_redis.c (publishing, reading, markers) and snapshot_redis_force.c (`snapshot
 * rebuild`) share.  Nobody else includes this.
 */
#ifndef CONSUMER_SNAPSHOT_REDIS_PRIVATE_H
#define CONSUMER_SNAPSHOT_REDIS_PRIVATE_H

#include "embed.h"
#include "redis_connection.h"
#include "snapshot.h"

#define SNAPSHOT_SHA_LENGTH 40
#define SNAPSHOT_KEY_MAX    48

struct redis {
	struct snapshot base;
	struct redis_connection link;
	const char *ledger_name;
	char sha[SNAPSHOT_SHA_LENGTH + 1];
	char *buffer; /* for one call */
};

/* A script of lua/ by its name without ending, which must exist. */
const struct embed_file *snapshot_redis_script(const char *name);

/* Writes balance:{account}:currency, NUL-terminated, and returns its length. */
size_t snapshot_redis_key(struct balance_key key, char text[SNAPSHOT_KEY_MAX]);

/* The four fields of a balance's hash as we write them; version 0: there is none;
 * SNAPSHOT_UNREADABLE: it is something else. */
void snapshot_redis_parse(const redisReply *reply, struct snapshot_image *image);

/* See snapshot_ops. */
int snapshot_redis_look(struct snapshot *s, const struct balance_key *keys, size_t count,
	struct snapshot_seen *ret_seen, struct error *err);
int snapshot_redis_force(struct snapshot *s, const struct snapshot_seen *seen,
	const struct snapshot_image *images, size_t count, bool *ret_done, struct error *err);

#endif
