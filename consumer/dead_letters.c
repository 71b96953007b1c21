/* See dead_letters.h. */
#include "dead_letters.h"

#include <assert.h>
#include <string.h>

#include "decode.h"
#include "murmur2.h"

#define PAGE      500
#define KEY_SHOWN "200" /* bytes of a key without contents */

enum {
	LETTER_PARTITION,
	LETTER_OFFSET,
	LETTER_REASON,
	LETTER_DETAIL,
	LETTER_MESSAGE_TIME,
	LETTER_CREATED_AT,
	LETTER_REDRIVEN_AT,
	LETTER_KEY,
	LETTER_VALUE, /* its length without contents */
	LETTER_HEADERS,
};

#define TIME(column) "CONCAT(REPLACE(" column ", ' ', 'T'), 'Z')"
#define COLUMNS                                                                                    \
	"kafka_partition, kafka_offset, reason + 0, detail, " TIME("message_time") ", " TIME(      \
		"created_at") ", " TIME("redriven_at")
#define WHERE                                                                                      \
	" FROM dead_letters WHERE (kafka_partition > ? OR (kafka_partition = ? "                   \
	"AND kafka_offset > ?)) AND (? < 0 OR kafka_partition = ?) AND kafka_offset >= ? "         \
	"AND kafka_offset < ? AND (? = 0 OR reason + 0 = ?) AND (? = 0 OR redriven_at IS NULL) "   \
	"ORDER BY kafka_partition, kafka_offset LIMIT ?"

/* Where the next page begins: behind this place. */
struct place {
	int32_t partition;
	int64_t offset;
};

static struct dead_bytes read_bytes(struct db *db, unsigned column)
{
	struct dead_bytes bytes = {0};

	if (!db_null(db, column))
		bytes.bytes = db_text(db, column, &bytes.length);
	return bytes;
}

static struct dead_bytes read_length(struct db *db, unsigned column)
{
	return (struct dead_bytes){NULL, (size_t)db_int(db, column)};
}

static void read_letter(struct db *db, bool contents, struct dead_letter *letter)
{
	int64_t reason = db_int(db, LETTER_REASON);

	*letter = (struct dead_letter){
		.partition = (int32_t)db_int(db, LETTER_PARTITION),
		.offset = db_int(db, LETTER_OFFSET),
		.key = read_bytes(db, LETTER_KEY),
		.value = contents ? read_bytes(db, LETTER_VALUE) : read_length(db, LETTER_VALUE),
		.headers = contents ? read_bytes(db, LETTER_HEADERS)
				    : read_length(db, LETTER_HEADERS),
	};
	if (reason >= DEAD_MALFORMED && reason <= DEAD_ID_CONFLICT)
		letter->reason = (enum dead_reason)reason;
	db_copy(db, LETTER_DETAIL, letter->detail, sizeof letter->detail);
	db_copy(db, LETTER_MESSAGE_TIME, letter->message_time, sizeof letter->message_time);
	db_copy(db, LETTER_CREATED_AT, letter->created_at, sizeof letter->created_at);
	db_copy(db, LETTER_REDRIVEN_AT, letter->redriven_at, sizeof letter->redriven_at);
}

static enum db_result query(struct db *db, const struct dead_letters_filter *filter,
	const struct place *after, int64_t limit, struct error *err)
{
	return db_query(db, "reading dead_letters", err,
		filter->contents ? "SELECT " COLUMNS
				   ", message_key, message_value, message_headers" WHERE
				 : "SELECT " COLUMNS ", LEFT(message_key, " KEY_SHOWN
				   "), LENGTH(message_value), LENGTH(message_headers)" WHERE,
		SQL_INT(after->partition), SQL_INT(after->partition), SQL_INT(after->offset),
		SQL_INT(filter->partition), SQL_INT(filter->partition),
		SQL_INT(filter->from_offset), SQL_INT(filter->to_offset), SQL_INT(filter->reason),
		SQL_INT(filter->reason), SQL_INT(filter->pending), SQL_INT(limit));
}

enum db_result dead_letters_each(struct db *db, const struct dead_letters_filter *filter,
	int64_t limit, dead_letters_fn *fn, void *context, struct error *err)
{
	struct place after = {filter->partition, -1};
	struct dead_letter letter;
	enum db_result result = DB_OK;
	int64_t page = PAGE, count = page;

	while (result == DB_OK && count == page && limit != 0) {
		page = limit > 0 && limit < PAGE ? limit : PAGE;
		result = query(db, filter, &after, page, err);
		if (result != DB_OK)
			return result;
		for (count = 0; db_next(db); count++) {
			read_letter(db, filter->contents, &letter);
			after = (struct place){letter.partition, letter.offset};
			fn(context, &letter);
		}
		limit -= limit > 0 ? count : 0;
		result = db_end(db, err);
	}
	return result;
}

enum db_result dead_letters_mark(
	struct db *db, int32_t partition, const int64_t *offsets, size_t count, struct error *err)
{
	struct sql_value values[DEAD_LETTERS_MARK_MAX];
	enum db_result result;
	struct sql q;

	assert(count > 0 && count <= DEAD_LETTERS_MARK_MAX);
	sql_init(&q);
	values[0] = SQL_INT(partition);
	sql_build(&q,
		"UPDATE dead_letters SET redriven_at = UTC_TIMESTAMP(3) WHERE kafka_partition = ? "
		"AND kafka_offset IN (",
		values, 1);
	for (size_t i = 0; i < count; i++) {
		values[i] = SQL_INT(offsets[i]);
		sql_build(&q, i ? ", ?" : "?", &values[i], 1);
	}
	sql_add(&q, ")");
	result = db_exec_text(db, "marking dead letters as published again", err, q.text, q.length);
	sql_finish(&q);
	return result;
}

enum dead_reason dead_letters_reason(const char *text)
{
	for (enum dead_reason reason = DEAD_MALFORMED; reason <= DEAD_ID_CONFLICT; reason++)
		if (strcmp(dead_reason_text(reason), text) == 0)
			return reason;
	return DEAD_NONE;
}

enum dead_reason dead_letters_again(const struct dead_letter *letter, int32_t partitions)
{
	struct message message = {
		.timestamp_ms = MESSAGE_NO_TIMESTAMP,
		.key = letter->key.bytes,
		.key_length = letter->key.length,
		.value = letter->value.bytes,
		.value_length = letter->value.length,
	};
	struct event event;
	const char *detail;
	int32_t partition = 0;
	enum dead_reason reason;

	if (message.key)
		partition = murmur2_partition(message.key, message.key_length, partitions);
	reason = decode_message(&message, partition, partitions, &event, &detail);
	return reason == DEAD_NONE && letter->reason == DEAD_ID_CONFLICT ? DEAD_ID_CONFLICT
									 : reason;
}

/* Showing ---------------------------------------------------------------------------------------
 */

static int print_byte(unsigned char c, FILE *file)
{
	if (c == '\n')
		return fprintf(file, "\\n");
	if (c == '\t')
		return fprintf(file, "\\t");
	if (c == '\r')
		return fprintf(file, "\\r");
	if (c == '\\')
		return fprintf(file, "\\\\");
	if (c < ' ' || c > '~')
		return fprintf(file, "\\x%02x", c);
	fputc(c, file);
	return 1;
}

bool dead_letters_print_bytes(const struct dead_bytes *bytes, size_t limit, FILE *file)
{
	size_t printed = 0;

	if (!bytes->bytes)
		printed += (size_t)fprintf(file, "NULL");
	for (size_t i = 0; bytes->bytes && i < bytes->length; i++) {
		if (printed >= limit)
			return false;
		printed += (size_t)print_byte((unsigned char)bytes->bytes[i], file);
	}
	return true;
}
