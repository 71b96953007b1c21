/*
 * See snapshot_memory.h.
 *
 * A key that is not there may have an image of version 0 in the map: one that was written and then
 * lost.  The history is a ring of the newest writes, each with what stood there before, so that
 * they can be taken back newest first.
 */
#include "snapshot_memory.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct marker {
	char text[SNAPSHOT_MARKER_MAX];
};

struct contents {
	struct image_map images;
	struct marker *markers; /* by partition */
	int32_t marker_count;
};

struct write {
	bool marker;
	int32_t partition;            /* of a marker */
	struct marker *marker_before; /* freed with the write */
	struct snapshot_image before; /* of a balance; version 0: it was not there */
};

struct snapshot_memory {
	struct contents contents;
	uint64_t identity; /* counts the servers that this one has been */
	uint64_t cuts;
	struct snapshot_memory_faults faults;
	struct write *history; /* a ring of SNAPSHOT_MEMORY_HISTORY */
	size_t history_end;    /* writes so far; the newest is at (end - 1) % the ring's size */
	size_t history_count;  /* writes in the ring */
};

struct snapshot_memory_copy {
	struct contents contents;
};

struct connection {
	struct snapshot base;
	struct snapshot_memory *server;
	bool connected;
	uint64_t cuts; /* the server's, at the time of the connect */
};

/* Contents ------------------------------------------------------------------------------------ */

static void contents_init(struct contents *contents, uint64_t seed)
{
	*contents = (struct contents){0};
	image_map_init(&contents->images, seed);
}

static void contents_finish(struct contents *contents)
{
	image_map_finish(&contents->images);
	free(contents->markers);
}

static void contents_copy(struct contents *to, const struct contents *from)
{
	contents_init(to, from->images.seed);
	image_map_reserve(&to->images, from->images.count);
	for (size_t i = 0; i < from->images.count; i++)
		image_map_put(&to->images, &from->images.images[i]);
	to->marker_count = from->marker_count;
	to->markers = xcalloc((size_t)to->marker_count, sizeof *to->markers);
	for (int32_t i = 0; i < to->marker_count; i++)
		to->markers[i] = from->markers[i];
}

static void contents_replace(struct contents *contents, const struct contents *by)
{
	contents_finish(contents);
	contents_copy(contents, by);
}

static struct marker *marker_of(struct contents *contents, int32_t partition)
{
	assert(partition >= 0);
	if (partition >= contents->marker_count) {
		int32_t count = partition + 1;
		size_t more = (size_t)(count - contents->marker_count);

		contents->markers = xrealloc(
			contents->markers, (size_t)count * sizeof(struct marker));
		memset(&contents->markers[contents->marker_count], 0, more * sizeof(struct marker));
		contents->marker_count = count;
	}
	return &contents->markers[partition];
}

/* The image of the key, of version 0 if it is not there. */
static struct snapshot_image image_of(const struct contents *contents, struct balance_key key)
{
	struct snapshot_image *image = image_map_find(&contents->images, key);

	return image ? *image : (struct snapshot_image){.key = key};
}

/* Puts an image back as it was, whatever its version. */
static void image_force(struct contents *contents, const struct snapshot_image *image)
{
	struct snapshot_image *old = image_map_find(&contents->images, image->key);

	if (old)
		*old = *image;
	else
		image_map_put(&contents->images, image);
}

/* History ------------------------------------------------------------------------------------- */

static void history_add(struct snapshot_memory *server, struct write write)
{
	struct write *slot = &server->history[server->history_end % SNAPSHOT_MEMORY_HISTORY];

	free(slot->marker_before);
	*slot = write;
	server->history_end++;
	if (server->history_count < SNAPSHOT_MEMORY_HISTORY)
		server->history_count++;
}

/* Takes the newest write back. */
static void history_undo(struct snapshot_memory *server)
{
	struct write *write = &server->history[--server->history_end % SNAPSHOT_MEMORY_HISTORY];

	server->history_count--;
	if (write->marker)
		*marker_of(&server->contents, write->partition) = *write->marker_before;
	else
		image_force(&server->contents, &write->before);
	free(write->marker_before);
	write->marker_before = NULL;
}

/* A fail-over goes back to a time after this one. */
static void history_clear(struct snapshot_memory *server)
{
	server->history_count = 0;
}

/* The server ---------------------------------------------------------------------------------- */

struct snapshot_memory *snapshot_memory_create(uint64_t seed)
{
	struct snapshot_memory *server = xcalloc(1, sizeof *server);

	contents_init(&server->contents, seed);
	server->identity = 1;
	server->history = xcalloc(SNAPSHOT_MEMORY_HISTORY, sizeof *server->history);
	return server;
}

void snapshot_memory_destroy(struct snapshot_memory *server)
{
	for (size_t i = 0; i < SNAPSHOT_MEMORY_HISTORY && i < server->history_end; i++)
		free(server->history[i].marker_before);
	free(server->history);
	contents_finish(&server->contents);
	free(server);
}

struct snapshot_memory_faults *snapshot_memory_faults(struct snapshot_memory *server)
{
	return &server->faults;
}

void snapshot_memory_cut(struct snapshot_memory *server)
{
	server->cuts++;
}

void snapshot_memory_flushall(struct snapshot_memory *server)
{
	uint64_t seed = server->contents.images.seed;

	contents_finish(&server->contents);
	contents_init(&server->contents, seed);
	history_clear(server);
}

void snapshot_memory_restart(struct snapshot_memory *server)
{
	snapshot_memory_flushall(server);
	server->identity++;
	snapshot_memory_cut(server);
}

size_t snapshot_memory_fail_over(struct snapshot_memory *server, size_t count)
{
	size_t lost = 0;

	for (; lost < count && server->history_count; lost++)
		history_undo(server);
	server->identity++;
	return lost;
}

struct snapshot_memory_copy *snapshot_memory_save(const struct snapshot_memory *server)
{
	struct snapshot_memory_copy *copy = xcalloc(1, sizeof *copy);

	contents_copy(&copy->contents, &server->contents);
	return copy;
}

void snapshot_memory_restore(
	struct snapshot_memory *server, const struct snapshot_memory_copy *copy)
{
	contents_replace(&server->contents, &copy->contents);
	history_clear(server);
	server->identity++;
	snapshot_memory_cut(server);
}

void snapshot_memory_copy_destroy(struct snapshot_memory_copy *copy)
{
	contents_finish(&copy->contents);
	free(copy);
}

const struct snapshot_image *snapshot_memory_find(
	const struct snapshot_memory *server, struct balance_key key)
{
	const struct snapshot_image *image = image_map_find(&server->contents.images, key);

	return image && image->version ? image : NULL;
}

const char *snapshot_memory_marker(const struct snapshot_memory *server, int32_t partition)
{
	return partition < server->contents.marker_count ? server->contents.markers[partition].text
							 : "";
}

void snapshot_memory_each(
	const struct snapshot_memory *server, snapshot_memory_fn *fn, void *context)
{
	const struct image_map *images = &server->contents.images;

	for (size_t i = 0; i < images->count; i++)
		if (images->images[i].version)
			fn(context, &images->images[i]);
}

static void count_one(void *context, const struct snapshot_image *image)
{
	size_t *count = context;

	(void)image;
	++*count;
}

size_t snapshot_memory_count(const struct snapshot_memory *server)
{
	size_t count = 0;

	snapshot_memory_each(server, count_one, &count);
	return count;
}

void snapshot_memory_tamper(struct snapshot_memory *server, const struct snapshot_image *image)
{
	image_force(&server->contents, image);
}

/* A connection -------------------------------------------------------------------------------- */

/* Counts a fault down; whether it strikes. */
static bool strikes(unsigned *fault)
{
	if (!*fault)
		return false;
	--*fault;
	return true;
}

/* An error as of a broken connection. */
static int broken(struct connection *c, struct error *err)
{
	c->connected = false;
	return error_set(err, -ECONNRESET, "redis in memory: the connection is broken");
}

static int check_connected(struct connection *c, struct error *err)
{
	if (!c->connected)
		return error_set(err, -ENOTCONN, "redis in memory: not connected");
	if (c->server->faults.unreachable || c->cuts != c->server->cuts)
		return broken(c, err);
	return 0;
}

static int memory_connect(struct snapshot *s, struct error *err)
{
	struct connection *c = (struct connection *)s;

	c->connected = false;
	if (c->server->faults.unreachable || strikes(&c->server->faults.connects))
		return error_set(err, -ECONNREFUSED, "redis in memory: cannot be reached");
	c->connected = true;
	c->cuts = c->server->cuts;
	return 0;
}

static void memory_disconnect(struct snapshot *s)
{
	((struct connection *)s)->connected = false;
}

static int memory_identity(
	struct snapshot *s, char ret_identity[SNAPSHOT_IDENTITY_MAX], struct error *err)
{
	struct connection *c = (struct connection *)s;
	int r = check_connected(c, err);

	if (r < 0)
		return r;
	snprintf(ret_identity, SNAPSHOT_IDENTITY_MAX, "memory-%llu",
		(unsigned long long)c->server->identity);
	return 0;
}

static int memory_read_marker(struct snapshot *s, int32_t partition,
	char ret_marker[SNAPSHOT_MARKER_MAX], struct error *err)
{
	struct connection *c = (struct connection *)s;
	int r = check_connected(c, err);

	if (r < 0)
		return r;
	snprintf(ret_marker, SNAPSHOT_MARKER_MAX, "%s",
		snapshot_memory_marker(c->server, partition));
	return 0;
}

/* What lua/marker.lua does. */
static bool replace_marker(
	struct snapshot_memory *server, int32_t partition, const char *expected, const char *text)
{
	struct marker *marker = marker_of(&server->contents, partition);
	struct marker *before;

	if (strcmp(marker->text, expected) != 0)
		return false;
	before = xmalloc(sizeof *before);
	*before = *marker;
	history_add(server,
		(struct write){.marker = true, .partition = partition, .marker_before = before});
	assert(strlen(text) < sizeof marker->text);
	snprintf(marker->text, sizeof marker->text, "%s", text);
	return true;
}

static int memory_write_marker(struct snapshot *s, int32_t partition, const char *expected,
	const char *marker, bool *ret_written, struct error *err)
{
	struct connection *c = (struct connection *)s;
	int r = check_connected(c, err);

	if (r < 0)
		return r;
	if (strikes(&c->server->faults.markers_refused))
		return broken(c, err);
	*ret_written = replace_marker(c->server, partition, expected, marker);
	return strikes(&c->server->faults.markers_unsettled) ? broken(c, err) : 0;
}

/* What lua/publish.lua does; whether the image was stale.  All that is unreadable in here stands
 * for a key of another type. */
static bool write_image(struct connection *c, const struct snapshot_image *image)
{
	struct snapshot_memory *server = c->server;
	struct snapshot_image before = image_of(&server->contents, image->key);

	assert(image->version > 0 && image->version < SNAPSHOT_VERSION_END);
	assert(image->available >= 0 && image->available <= DECIMAL_MAX);
	assert(image->frozen >= 0 && image->frozen <= DECIMAL_MAX);
	if (image_map_put(&server->contents.images, image) == IMAGE_STALE)
		return true;
	history_add(server, (struct write){.before = before});
	c->base.replaced += before.version == SNAPSHOT_UNREADABLE;
	return false;
}

static int memory_publish(struct snapshot *s, const struct snapshot_image *images, size_t count,
	size_t *ret_stale, struct error *err)
{
	struct connection *c = (struct connection *)s;
	int r = check_connected(c, err);
	bool fail;
	size_t written;

	if (r < 0)
		return r;
	fail = strikes(&c->server->faults.publishes);
	written = c->server->faults.publish_written;
	if (!fail || written > count)
		written = count;
	*ret_stale = 0;
	for (size_t i = 0; i < written; i++)
		*ret_stale += write_image(c, &images[i]);
	return fail ? broken(c, err) : 0;
}

static int memory_read(struct snapshot *s, const struct balance_key *keys, size_t count,
	struct snapshot_image *ret_images, struct error *err)
{
	struct connection *c = (struct connection *)s;
	int r = check_connected(c, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		ret_images[i] = image_of(&c->server->contents, keys[i]);
	return 0;
}

/* What lua/force.lua calls `seen`. */
static void seen_text(const struct snapshot_image *image, char text[SNAPSHOT_SEEN_MAX])
{
	char amounts[2][DECIMAL_TEXT_MAX];

	snprintf(text, SNAPSHOT_SEEN_MAX, "none");
	if (image->version)
		snprintf(text, SNAPSHOT_SEEN_MAX, "hash %s %s %" PRId64 " %" PRId64,
			decimal_text(image->available, amounts[0]),
			decimal_text(image->frozen, amounts[1]), image->version, image->updated_ms);
}

static int memory_look(struct snapshot *s, const struct balance_key *keys, size_t count,
	struct snapshot_seen *ret_seen, struct error *err)
{
	struct connection *c = (struct connection *)s;
	int r = check_connected(c, err);

	for (size_t i = 0; r == 0 && i < count; i++) {
		ret_seen[i].image = image_of(&c->server->contents, keys[i]);
		seen_text(&ret_seen[i].image, ret_seen[i].text);
	}
	return r;
}

/* What lua/force.lua does at a key; whether it did. */
static bool force_image(struct snapshot_memory *server, const struct snapshot_seen *seen,
	const struct snapshot_image *image)
{
	struct snapshot_image before = image_of(&server->contents, image->key);
	char text[SNAPSHOT_SEEN_MAX];

	seen_text(&before, text);
	if (strcmp(text, seen->text) != 0)
		return false;
	image_force(&server->contents, image);
	history_add(server, (struct write){.before = before});
	return true;
}

static int memory_force(struct snapshot *s, const struct snapshot_seen *seen,
	const struct snapshot_image *images, size_t count, bool *ret_done, struct error *err)
{
	struct connection *c = (struct connection *)s;
	int r = check_connected(c, err);

	for (size_t i = 0; r == 0 && i < count; i++)
		ret_done[i] = force_image(c->server, &seen[i], &images[i]);
	return r;
}

static void memory_destroy(struct snapshot *s)
{
	free(s);
}

static const struct snapshot_ops memory_ops = {
	.connect = memory_connect,
	.disconnect = memory_disconnect,
	.identity = memory_identity,
	.read_marker = memory_read_marker,
	.write_marker = memory_write_marker,
	.publish = memory_publish,
	.read = memory_read,
	.look = memory_look,
	.force = memory_force,
	.destroy = memory_destroy,
};

struct snapshot *snapshot_memory_open(struct snapshot_memory *server)
{
	struct connection *c = xcalloc(1, sizeof *c);

	c->base.ops = &memory_ops;
	c->server = server;
	return &c->base;
}
