#include "array_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct array_store {
	struct store base;
	struct array_table *table;
	bool connected;
};

static bool before(struct balance_key a, struct balance_key b)
{
	return a.account_id != b.account_id ? a.account_id < b.account_id : a.currency < b.currency;
}

/* The number of rows whose key is before this one. */
static size_t rank_of(const struct array_table *table, struct balance_key key)
{
	size_t low = 0;
	size_t high = table->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (before(table->rows[middle].key, key))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void array_table_init(struct array_table *table)
{
	*table = (struct array_table){.rows = NULL};
	pthread_mutex_init(&table->lock, NULL);
}

static void put(struct array_table *table, const struct store_balance *row)
{
	size_t at = rank_of(table, row->key);

	if (at < table->count && !before(row->key, table->rows[at].key)) {
		table->rows[at] = *row;
		return;
	}
	if (table->count == table->capacity) {
		table->capacity = table->capacity ? 2 * table->capacity : 64;
		table->rows = xrealloc(table->rows, table->capacity * sizeof *table->rows);
	}
	memmove(&table->rows[at + 1], &table->rows[at], (table->count - at) * sizeof *table->rows);
	table->rows[at] = *row;
	table->count++;
}

void array_table_put(struct array_table *table, const struct store_balance *row)
{
	pthread_mutex_lock(&table->lock);
	put(table, row);
	pthread_mutex_unlock(&table->lock);
}

void array_table_finish(struct array_table *table)
{
	pthread_mutex_destroy(&table->lock);
	free(table->rows);
}

static enum store_result fail(struct array_store *store, struct error *err)
{
	store->table->failures--;
	store->connected = false;
	error_set(err, 0, "the array store was told to fail");
	return STORE_LOST;
}

static enum store_result array_connect(struct store *s, struct error *err)
{
	struct array_store *store = (struct array_store *)s;

	if (store->table->failures)
		return fail(store, err);
	store->connected = true;
	return STORE_OK;
}

static void array_disconnect(struct store *s)
{
	((struct array_store *)s)->connected = false;
}

static enum store_result scan(struct array_store *store, const struct balance_key *after,
	size_t limit, store_balance_fn *fn, void *context, struct error *err)
{
	const struct array_table *table = store->table;
	size_t at = after ? rank_of(table, *after) : 0;

	assert(store->connected);
	store->table->scans++;
	if (after && at < table->count && !before(*after, table->rows[at].key))
		at++;
	for (size_t i = 0; i < limit && at + i < table->count; i++) {
		if (store->table->failures && i == limit / 2)
			return fail(store, err);
		fn(context, &table->rows[at + i]);
	}
	return store->table->failures ? fail(store, err) : STORE_OK;
}

static enum store_result array_scan(struct store *s, const struct balance_key *after, size_t limit,
	store_balance_fn *fn, void *context, struct error *err)
{
	struct array_store *store = (struct array_store *)s;
	enum store_result result;

	pthread_mutex_lock(&store->table->lock);
	result = scan(store, after, limit, fn, context, err);
	pthread_mutex_unlock(&store->table->lock);
	return result;
}

static enum store_result array_read(
	struct store *s, struct balance_row *rows, size_t count, struct error *err)
{
	struct array_store *store = (struct array_store *)s;
	struct array_table *table = store->table;
	enum store_result result = STORE_OK;

	pthread_mutex_lock(&table->lock);
	assert(store->connected);
	for (size_t i = 0; i < count; i++) {
		size_t at = rank_of(table, rows[i].key);

		assert(i == 0 || before(rows[i - 1].key, rows[i].key));
		if (at == table->count || before(rows[i].key, table->rows[at].key))
			continue;
		rows[i].balance = table->rows[at].balance;
		rows[i].updated_ms = table->rows[at].updated_ms;
		rows[i].found = true;
	}
	if (table->failures)
		result = fail(store, err);
	pthread_mutex_unlock(&table->lock);
	return result;
}

static void array_destroy(struct store *s)
{
	free(s);
}

static const struct store_ops array_ops = {
	.connect = array_connect,
	.disconnect = array_disconnect,
	.scan_balances = array_scan,
	.read_balances = array_read,
	.destroy = array_destroy,
};

struct store *array_store_create(struct array_table *table)
{
	struct array_store *store = xcalloc(1, sizeof *store);

	store->base.ops = &array_ops;
	store->table = table;
	return &store->base;
}
