/*
 * See readers.h.
 *
 * The lock guards the connections, the line of those who wait, and what each store holds; it is
 * never held during a call.  A connection that was interrupted is of no more use (store.h): who
 * gives it back makes a new one.
 */
#include "readers.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "mem.h"

struct connection {
	struct store *store; /* changed by who gives it back, before anybody else sees it */
	bool connected;
	bool interrupted;
	int64_t used_ms;
	struct connection *next; /* while it is free */
};

/* A partition's store. */
struct share {
	struct store store;
	struct readers *readers;
	struct connection *held; /* NULL: none */
	bool interrupted;
	bool hurried; /* reads no more than it must */
	int number;   /* the server's, of the last failure */
	/* Waiting: */
	bool waiting;
	bool patient; /* reads much */
	struct share *next;
	pthread_cond_t granted;
};

struct readers {
	struct readers_config config;
	const struct clock *clock;
	pthread_mutex_t lock;
	struct connection *free; /* the one used last comes first: few stay warm */
	int free_count;
	int patient_count;  /* lent to calls that read much */
	struct share *line; /* first come, first served */
	struct connection connections[];
};

static struct share *share_of(struct store *s)
{
	return (struct share *)s;
}

/* The line: under the lock -------------------------------------------------------------------- */

/* Those that read much have all connections but one at most; more than one need not be free for
 * them, as those who ask for little may keep all the others busy. */
static bool may_take(const struct readers *readers, const struct share *share)
{
	int connections = readers->config.connections;

	return !share->patient || connections == 1 || readers->patient_count < connections - 1;
}

static void take(struct readers *readers, struct share *share)
{
	share->held = readers->free;
	readers->free = share->held->next;
	readers->free_count--;
	readers->patient_count += share->patient;
}

static void put_back(struct readers *readers, struct connection *connection)
{
	connection->next = readers->free;
	readers->free = connection;
	readers->free_count++;
}

/* Serves those who can be served. */
static void serve(struct readers *readers)
{
	struct share **at = &readers->line;

	while (*at && readers->free_count > 0) {
		struct share *share = *at;

		if (!may_take(readers, share)) {
			at = &share->next;
			continue;
		}
		*at = share->next;
		share->waiting = false;
		take(readers, share);
		pthread_cond_signal(&share->granted);
	}
}

static void leave_line(struct readers *readers, struct share *share)
{
	struct share **at = &readers->line;

	for (; *at != share; at = &(*at)->next)
		assert(*at); /* whoever waits stands in the line */
	*at = share->next;
	share->waiting = false;
}

static void wait_in_line(struct readers *readers, struct share *share)
{
	struct share **end = &readers->line;

	while (*end)
		end = &(*end)->next;
	share->next = NULL;
	share->waiting = true;
	*end = share;
	serve(readers);
	while (share->waiting)
		pthread_cond_wait(&share->granted, &readers->lock);
}

/* Borrowing ----------------------------------------------------------------------------------- */

static enum store_result not_wanted(struct share *share, struct error *err)
{
	share->number = 0;
	error_set(err, -ECANCELED, "given up, as the answer is no longer wanted");
	return STORE_LOST;
}

static bool may_ask(const struct share *share)
{
	return !share->interrupted && !(share->patient && share->hurried);
}

/* Whether a connection was lent; not after an interrupt. */
static bool hold(struct share *share, bool patient)
{
	struct readers *readers = share->readers;

	pthread_mutex_lock(&readers->lock);
	assert(!share->held);
	share->patient = patient;
	if (may_ask(share))
		wait_in_line(readers, share);
	pthread_mutex_unlock(&readers->lock);
	return share->held != NULL;
}

/* A new connection in place of one that was interrupted; nobody else looks at it. */
static void renew(struct readers *readers, struct connection *connection)
{
	connection->store->ops->destroy(connection->store);
	connection->store = readers->config.store_create(readers->config.context);
	connection->connected = false;
	connection->interrupted = false;
}

static void give_back(struct share *share, enum store_result result)
{
	struct readers *readers = share->readers;
	struct connection *connection = share->held;

	if (result != STORE_OK)
		share->number = connection->store->ops->last_errno(connection->store);
	if (result == STORE_LOST)
		connection->connected = false;
	connection->used_ms = readers->clock->now_ms(readers->clock);
	pthread_mutex_lock(&readers->lock);
	share->held = NULL;
	pthread_mutex_unlock(&readers->lock);
	if (connection->interrupted) /* nobody can interrupt it any more */
		renew(readers, connection);
	pthread_mutex_lock(&readers->lock);
	readers->patient_count -= share->patient;
	put_back(readers, connection);
	serve(readers);
	pthread_mutex_unlock(&readers->lock);
}

static enum store_result make_sure(
	const struct readers *readers, struct connection *connection, struct error *err)
{
	struct store *store = connection->store;
	int64_t silent_ms = readers->clock->now_ms(readers->clock) - connection->used_ms;
	enum store_result result = STORE_OK;

	if (connection->connected && silent_ms >= readers->config.silence_max_ms)
		connection->connected = store->ops->ping(store, err) == STORE_OK;
	if (!connection->connected)
		result = store->ops->connect(store, err);
	connection->connected = result == STORE_OK;
	return result;
}

/* STORE_OK: *ret_store is lent until give_back. */
static enum store_result borrow(
	struct share *share, bool patient, struct store **ret_store, struct error *err)
{
	enum store_result result;

	if (!hold(share, patient))
		return not_wanted(share, err);
	result = make_sure(share->readers, share->held, err);
	*ret_store = share->held->store;
	if (result != STORE_OK)
		give_back(share, result);
	return result;
}

/* The store ----------------------------------------------------------------------------------- */

/* Makes a call on `lent`, a connection that is borrowed for it; the value is its result. */
#define LEND(s, patient, err, call)                                                                \
	({                                                                                         \
		struct store *lent;                                                                \
		enum store_result result_ = borrow(share_of(s), (patient), &lent, (err));          \
		if (result_ == STORE_OK) {                                                         \
			result_ = lent->ops->call;                                                 \
			give_back(share_of(s), result_);                                           \
		}                                                                                  \
		result_;                                                                           \
	})

/* Whether there is a connection: it is not kept. */
static enum store_result share_connect(struct store *s, struct error *err)
{
	struct store *lent;
	enum store_result result = borrow(share_of(s), false, &lent, err);

	if (result == STORE_OK)
		give_back(share_of(s), result);
	return result;
}

/* Under the lock.  Whoever waits leaves the line at once, so that no connection is lent to it any
 * more: that one would not know of the interrupt. */
static void end_call(struct share *share)
{
	if (share->held) {
		share->held->interrupted = true;
		share->held->store->ops->interrupt(share->held->store);
	} else if (share->waiting) {
		leave_line(share->readers, share);
		pthread_cond_signal(&share->granted);
	}
}

static void share_interrupt(struct store *s)
{
	struct share *share = share_of(s);
	struct readers *readers = share->readers;

	pthread_mutex_lock(&readers->lock);
	share->interrupted = true;
	end_call(share);
	pthread_mutex_unlock(&readers->lock);
}

static enum store_result share_read_partition(struct store *s, int32_t partition,
	struct store_partition *ret_partition, struct error *err)
{
	return LEND(s, false, err, read_partition(lent, partition, ret_partition, err));
}

static enum store_result share_read_balances(
	struct store *s, struct balance_row *rows, size_t count, struct error *err)
{
	return LEND(s, false, err, read_balances(lent, rows, count, err));
}

static enum store_result share_find_transactions(struct store *s, const struct event *const *events,
	size_t count, store_transaction_fn *fn, void *context, struct error *err)
{
	return LEND(s, false, err, find_transactions(lent, events, count, fn, context, err));
}

static enum store_result share_recent_transactions(struct store *s, int32_t partition, size_t count,
	store_transaction_fn *fn, void *context, struct error *err)
{
	return LEND(s, true, err, recent_transactions(lent, partition, count, fn, context, err));
}

static enum store_result share_read_newest(
	struct store *s, int32_t partition, struct store_newest *ret_newest, struct error *err)
{
	return LEND(s, false, err, read_newest(lent, partition, ret_newest, err));
}

static enum store_result share_read_oldest(struct store *s, int32_t partition, int64_t begin,
	struct store_newest *ret_oldest, struct error *err)
{
	return LEND(s, false, err, read_oldest(lent, partition, begin, ret_oldest, err));
}

static enum store_result share_changed_balances(struct store *s, int32_t partition, int64_t offset,
	size_t limit, store_balance_fn *fn, void *context, bool *ret_more, struct error *err)
{
	return LEND(s, true, err,
		changed_balances(lent, partition, offset, limit, fn, context, ret_more, err));
}

static enum store_result share_halt(struct store *s, int32_t partition, int64_t epoch,
	const char *reason, bool *ret_written, struct error *err)
{
	return LEND(s, false, err, halt(lent, partition, epoch, reason, ret_written, err));
}

static int share_last_errno(const struct store *s)
{
	return ((const struct share *)s)->number;
}

static void share_destroy(struct store *s)
{
	assert(!share_of(s)->held);
	pthread_cond_destroy(&share_of(s)->granted);
	free(s);
}

static const struct store_ops share_ops = {
	.connect = share_connect,
	.interrupt = share_interrupt,
	.read_partition = share_read_partition,
	.read_balances = share_read_balances,
	.find_transactions = share_find_transactions,
	.recent_transactions = share_recent_transactions,
	.read_newest = share_read_newest,
	.read_oldest = share_read_oldest,
	.changed_balances = share_changed_balances,
	.halt = share_halt,
	.last_errno = share_last_errno,
	.destroy = share_destroy,
};

struct store *readers_store(struct readers *readers)
{
	struct share *share = xcalloc(1, sizeof(*share));

	share->store.ops = &share_ops;
	share->readers = readers;
	pthread_cond_init(&share->granted, NULL);
	return &share->store;
}

bool readers_store_waits(struct store *store)
{
	struct share *share = share_of(store);
	bool waits;

	pthread_mutex_lock(&share->readers->lock);
	waits = share->waiting;
	pthread_mutex_unlock(&share->readers->lock);
	return waits;
}

void readers_store_hurry(struct store *store)
{
	struct share *share = share_of(store);
	struct readers *readers = share->readers;

	pthread_mutex_lock(&readers->lock);
	share->hurried = true;
	if (share->patient)
		end_call(share);
	pthread_mutex_unlock(&readers->lock);
}

struct readers *readers_create(const struct readers_config *config, const struct clock *clock)
{
	size_t count = (size_t)config->connections;
	struct readers *readers = xcalloc(
		1, sizeof(*readers) + count * sizeof(readers->connections[0]));

	assert(config->connections > 0);
	readers->config = *config;
	readers->clock = clock;
	pthread_mutex_init(&readers->lock, NULL);
	for (size_t i = 0; i < count; i++) {
		readers->connections[i].store = config->store_create(config->context);
		put_back(readers, &readers->connections[i]);
	}
	return readers;
}

void readers_destroy(struct readers *readers)
{
	assert(readers->free_count == readers->config.connections);
	for (int i = 0; i < readers->config.connections; i++) {
		struct store *store = readers->connections[i].store;

		store->ops->destroy(store);
	}
	pthread_mutex_destroy(&readers->lock);
	free(readers);
}
