/* See memory_database.h. */
#include "memory_database.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define GROW(array, count, capacity)                                                               \
	do {                                                                                       \
		if ((count) == (capacity)) {                                                       \
			(capacity) = (capacity) ? 2 * (capacity) : 64;                             \
			(array) = xrealloc((array), (capacity) * sizeof(*(array)));                \
		}                                                                                  \
	} while (0)

void memory_database_init(
	struct memory_database *db, int32_t partitions, struct partition_offset_row *offsets)
{
	*db = (struct memory_database){.partitions = partitions, .offsets = offsets};
	db->tables = xcalloc((size_t)partitions, sizeof *db->tables);
}

static void dead_letter_free(struct memory_dead_letter *row)
{
	free(row->key);
	free(row->value);
	free(row->headers);
}

void memory_database_finish(struct memory_database *db)
{
	for (int32_t i = 0; i < db->partitions; i++) {
		struct memory_partition *table = &db->tables[i];

		for (size_t k = 0; k < table->dead_letter_count; k++)
			dead_letter_free(&table->dead_letters[k]);
		free(table->dead_letters);
		free(table->journal);
		free(table->gaps);
	}
	free(db->tables);
	free(db->balances);
}

char *memory_copy_bytes(const char *bytes, size_t length)
{
	char *copy;

	if (!bytes)
		return NULL;
	copy = xmalloc(length + 1);
	memcpy(copy, bytes, length);
	copy[length] = '\0';
	return copy;
}

/* The place of an offset, or where it belongs: nearly always the end. */
size_t memory_partition_row_place(const struct memory_partition *table, int64_t offset)
{
	size_t place = table->journal_count;

	while (place > 0 && table->journal[place - 1].offset >= offset)
		place--;
	return place;
}

size_t memory_partition_letter_place(const struct memory_partition *table, int64_t offset)
{
	size_t place = table->dead_letter_count;

	while (place > 0 && table->dead_letters[place - 1].offset >= offset)
		place--;
	return place;
}

bool memory_partition_has_row(const struct memory_partition *table, int64_t offset)
{
	size_t place = memory_partition_row_place(table, offset);

	return place < table->journal_count && table->journal[place].offset == offset;
}

bool memory_partition_has_letter(const struct memory_partition *table, int64_t offset)
{
	size_t place = memory_partition_letter_place(table, offset);

	return place < table->dead_letter_count && table->dead_letters[place].offset == offset;
}

/* Makes room at a place that was found by offset. */
#define INSERT(array, place, count)                                                                \
	memmove(&(array)[(place) + 1], &(array)[place], ((count)++ - (place)) * sizeof *(array))

void memory_partition_put_row(struct memory_partition *table, const struct memory_journal_row *row)
{
	size_t place = memory_partition_row_place(table, row->offset);

	GROW(table->journal, table->journal_count, table->journal_capacity);
	INSERT(table->journal, place, table->journal_count);
	table->journal[place] = *row;
}

void memory_partition_put_letter(
	struct memory_partition *table, enum dead_reason reason, const struct message *message)
{
	size_t place = memory_partition_letter_place(table, message->offset);

	GROW(table->dead_letters, table->dead_letter_count, table->dead_letter_capacity);
	INSERT(table->dead_letters, place, table->dead_letter_count);
	table->dead_letters[place] = (struct memory_dead_letter){
		.offset = message->offset,
		.reason = reason,
		.key = memory_copy_bytes(message->key, message->key_length),
		.key_length = message->key_length,
		.value = memory_copy_bytes(message->value, message->value_length),
		.value_length = message->value_length,
		.headers = memory_copy_bytes(message->headers, message->headers_length),
		.headers_length = message->headers_length,
	};
}

static void table_copy(struct memory_partition *to, const struct memory_partition *from)
{
	for (size_t i = 0; i < from->journal_count; i++)
		memory_partition_put_row(to, &from->journal[i]);
	for (size_t i = 0; i < from->dead_letter_count; i++) {
		const struct memory_dead_letter *row = &from->dead_letters[i];

		memory_partition_put_letter(to, row->reason,
			&(struct message){
				.offset = row->offset,
				.key = row->key,
				.key_length = row->key_length,
				.value = row->value,
				.value_length = row->value_length,
				.headers = row->headers,
				.headers_length = row->headers_length,
			});
	}
	for (size_t i = 0; i < from->gap_count; i++) {
		GROW(to->gaps, to->gap_count, to->gap_capacity);
		to->gaps[to->gap_count++] = from->gaps[i];
	}
}

void memory_database_copy(struct memory_database *to, const struct memory_database *from,
	struct partition_offset_row *offsets)
{
	memory_database_init(to, from->partitions, offsets);
	for (int32_t i = 0; i < from->partitions; i++) {
		offsets[i] = from->offsets[i];
		offsets[i].locked_by = NULL;
		table_copy(&to->tables[i], &from->tables[i]);
	}
	for (size_t i = 0; i < from->balance_count; i++) {
		GROW(to->balances, to->balance_count, to->balance_capacity);
		to->balances[to->balance_count++] = from->balances[i];
	}
	to->commits = from->commits;
}

void memory_database_fail_over(struct memory_database *db, struct memory_database *copy)
{
	struct memory_database old = *db;

	assert(db->partitions == copy->partitions);
	for (int32_t i = 0; i < db->partitions; i++) {
		struct partition_offset_row row = db->offsets[i];

		db->offsets[i] = copy->offsets[i];
		copy->offsets[i] = row;
		db->offsets[i].locked_by = copy->offsets[i].locked_by = NULL;
	}
	*db = *copy;
	*copy = old;
	copy->offsets = db->offsets;
	db->offsets = old.offsets;
	db->cuts = old.cuts + 1;
	db->commits = old.commits + 1;
}

/* The place of a key, or where it belongs. */
size_t memory_database_place(const struct memory_database *db, const struct balance_key *key)
{
	size_t low = 0;
	size_t high = db->balance_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (balance_key_compare(&db->balances[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct store_balance *memory_database_balance(
	const struct memory_database *db, struct balance_key key)
{
	size_t place = memory_database_place(db, &key);

	if (place == db->balance_count || balance_key_compare(&db->balances[place].key, &key) != 0)
		return NULL;
	return &db->balances[place];
}

void memory_database_put_balance(struct memory_database *db, const struct store_balance *row)
{
	size_t place = memory_database_place(db, &row->key);

	if (place == db->balance_count ||
		balance_key_compare(&db->balances[place].key, &row->key) != 0) {
		GROW(db->balances, db->balance_count, db->balance_capacity);
		memmove(&db->balances[place + 1], &db->balances[place],
			(db->balance_count - place) * sizeof *db->balances);
		db->balance_count++;
	}
	db->balances[place] = *row;
}

static bool same_id(const struct event *a, const struct event *b)
{
	return a->account_id == b->account_id &&
	       a->transaction_id_length == b->transaction_id_length &&
	       memcmp(a->transaction_id, b->transaction_id, a->transaction_id_length) == 0;
}

const struct memory_journal_row *memory_database_find_id(
	const struct memory_database *db, const struct event *event)
{
	for (int32_t i = 0; i < db->partitions; i++)
		for (size_t k = db->tables[i].journal_count; k-- > 0;)
			if (same_id(&db->tables[i].journal[k].event, event))
				return &db->tables[i].journal[k];
	return NULL;
}

bool memory_database_delete_row(struct memory_database *db, int32_t partition, int64_t offset)
{
	struct memory_partition *table = &db->tables[partition];
	size_t place = memory_partition_row_place(table, offset);

	if (!memory_partition_has_row(table, offset))
		return false;
	memmove(&table->journal[place], &table->journal[place + 1],
		(--table->journal_count - place) * sizeof *table->journal);
	return true;
}

bool memory_database_delete_letter(struct memory_database *db, int32_t partition, int64_t offset)
{
	struct memory_partition *table = &db->tables[partition];
	size_t place = memory_partition_letter_place(table, offset);

	if (!memory_partition_has_letter(table, offset))
		return false;
	dead_letter_free(&table->dead_letters[place]);
	memmove(&table->dead_letters[place], &table->dead_letters[place + 1],
		(--table->dead_letter_count - place) * sizeof *table->dead_letters);
	return true;
}

void memory_database_skip(
	struct memory_database *db, int32_t partition, int64_t from_offset, int64_t to_offset)
{
	struct memory_partition *table = &db->tables[partition];

	GROW(table->gaps, table->gap_count, table->gap_capacity);
	table->gaps[table->gap_count++] = (struct memory_gap){from_offset, to_offset};
}
