/*
 * See encode.h.
 *
 * Every put_ function writes at a place that has ENCODE_PIECE_MAX bytes of room and returns the
 * place after what it wrote: the reader's own buffer while that is large enough, else the spill,
 * which is handed out before anything else.
 */
#include "encode.h"

#include <assert.h>
#include <string.h>

#include "digits.h"

#define PREFETCH_DISTANCE 8

_Static_assert(EVENT_TIME_MAX_MS == DATETIME_MAX_MS, "every event's time is a DATETIME");

static inline char *put_bytes(char *at, const char *bytes, size_t length)
{
	memcpy(at, bytes, length);
	return at + length;
}

static inline char *put_text(char *at, const char *text)
{
	return put_bytes(at, text, strlen(text));
}

static inline char *put_null(char *at)
{
	return put_bytes(at, "\\N", 2);
}

static inline char *put_tab(char *at)
{
	*at = '\t';
	return at + 1;
}

static inline char *put_currency(char *at, currency_t currency)
{
	return at + currency_text(currency, at);
}

static inline char *put_integer(char *at, int64_t number)
{
	return at + digits_i64(number, at);
}

static inline char *put_amount(char *at, i128 amount)
{
	assert(amount >= 0); /* no balance is ever negative */
	return at + decimal_format(amount, at);
}

/* Times follow each other: within a second only the last three digits are another row's. */
static inline char *put_time(struct encoder *enc, char *at, int64_t time_ms)
{
	int64_t second = time_ms / 1000;

	if (second != enc->second) {
		datetime_format(second * 1000, enc->time);
		enc->second = second;
	}
	at = put_bytes(at, enc->time, DATETIME_LENGTH);
	digits_3((unsigned)(time_ms - second * 1000), at - 3);
	return at;
}

/* The machine's clock may be wrong; a row with a wrong time is better than none. */
static int64_t closed_ms(const struct batch *b)
{
	if (b->closed_ms < 0)
		return 0;
	return b->closed_ms > DATETIME_MAX_MS ? DATETIME_MAX_MS : b->closed_ms;
}

/* A transaction id: printable, so a backslash is all that may need an escape. */
static char *put_transaction_id(char *at, const struct event *event)
{
	const char *id = event->transaction_id;
	size_t length = event->transaction_id_length;

	if (!memchr(id, '\\', length))
		return put_bytes(at, id, length);
	for (size_t i = 0; i < length; i++) {
		if (id[i] == '\\')
			*at++ = '\\';
		*at++ = id[i];
	}
	return at;
}

static char *put_journal_row(struct encoder *enc, const struct record *record, char *at)
{
	const struct event *event = &record->event;
	bool applied = record->outcome == OUTCOME_APPLIED;

	at = put_bytes(at, enc->partition, enc->partition_length);
	at = put_integer(put_tab(at), record->message.offset);
	at = put_transaction_id(put_tab(at), event);
	at = put_integer(put_tab(at), event->account_id);
	at = put_currency(put_tab(at), event->currency);
	at = put_text(put_tab(at), event_type_text(event->type));
	at = put_amount(put_tab(at), event->amount);
	at = put_amount(put_tab(at), record->available_after);
	at = put_amount(put_tab(at), record->frozen_after);
	at = put_text(put_tab(at), applied ? "SUCCESS" : "FAILED");
	at = put_tab(at);
	at = applied ? put_null(at) : put_text(at, refusal_text(record->refusal));
	at = put_time(enc, put_tab(at), event->time_ms);
	at = put_tab(at);
	at = record->prev_offset < 0 ? put_null(at) : put_integer(at, record->prev_offset);
	*at++ = '\n';
	return at;
}

static char *put_balance_row(struct encoder *enc, const struct touched *touched, char *at)
{
	const struct balance *balance = &touched->after;

	at = put_integer(at, touched->key.account_id);
	at = put_currency(put_tab(at), touched->key.currency);
	at = put_amount(put_tab(at), balance->available);
	at = put_amount(put_tab(at), balance->frozen);
	at = put_integer(put_tab(at), balance->version);
	at = put_bytes(put_tab(at), enc->partition, enc->partition_length);
	at = put_integer(put_tab(at), balance->last_offset);
	at = put_time(enc, put_tab(at), closed_ms(enc->batch));
	*at++ = '\n';
	return at;
}

/* A dead letter's row in its parts; after a part come the raw bytes that it set. */
enum part {
	PART_HEAD = 0,
	PART_DETAIL,
	PART_KEY,
	PART_VALUE,
	PART_HEADERS,
	PART_TAIL,
};

static char *put_head(const struct encoder *enc, const struct record *record, char *at)
{
	at = put_bytes(at, enc->partition, enc->partition_length);
	at = put_integer(put_tab(at), record->message.offset);
	return put_text(put_tab(at), dead_reason_text(record->dead_reason));
}

static char *put_raw(struct encoder *enc, const char *bytes, size_t length, char *at)
{
	at = put_tab(at);
	if (!bytes)
		return put_null(at);
	enc->raw = bytes;
	enc->raw_length = length;
	return at;
}

static char *put_tail(struct encoder *enc, const struct record *record, char *at)
{
	int64_t time_ms = record->message.timestamp_ms;
	bool fits = time_ms >= 0 && time_ms <= DATETIME_MAX_MS;

	at = put_tab(at);
	at = fits ? put_time(enc, at, time_ms) : put_null(at);
	at = put_time(enc, put_tab(at), closed_ms(enc->batch));
	*at++ = '\n';
	enc->letter = NULL;
	return at;
}

static char *put_dead_letter_part(struct encoder *enc, char *at)
{
	const struct record *record = enc->letter;
	const struct message *message = &record->message;
	const char *detail = record->detail ? record->detail : "";

	switch ((enum part)enc->part++) {
	case PART_HEAD:
		return put_head(enc, record, at);
	case PART_DETAIL:
		return put_raw(enc, detail, strlen(detail), at);
	case PART_KEY:
		return put_raw(enc, message->key, message->key_length, at);
	case PART_VALUE:
		return put_raw(enc, message->value, message->value_length, at);
	case PART_HEADERS:
		return put_raw(enc, message->headers, message->headers_length, at);
	case PART_TAIL:
		return put_tail(enc, record, at);
	}
	assert(!"a part of a dead letter");
	return at;
}

/* The next record of the table, or NULL. */
static const struct record *next_record(struct encoder *enc)
{
	bool dead_letters = enc->table == STORE_DEAD_LETTERS;

	while (enc->next < enc->batch->count) {
		const struct record *record = &enc->batch->records[enc->next++];

		assert(record->outcome != OUTCOME_PENDING);
		if (record->outcome == OUTCOME_DUPLICATE)
			continue;
		if ((record->outcome == OUTCOME_DEAD_LETTER) == dead_letters)
			return record;
	}
	return NULL;
}

static const struct touched *next_touched(struct encoder *enc)
{
	const struct batch *b = enc->batch;

	if (enc->next == b->touched_count)
		return NULL;
	if (enc->next + PREFETCH_DISTANCE < b->touched_count)
		__builtin_prefetch(&b->touched[b->order[enc->next + PREFETCH_DISTANCE]].after);
	return &b->touched[b->order[enc->next++]];
}

/* The next row, or part of one; `at` itself if there is none. */
static char *put_next(struct encoder *enc, char *at)
{
	const struct record *record;
	const struct touched *touched;

	if (enc->letter)
		return put_dead_letter_part(enc, at);
	if (enc->table == STORE_BALANCES) {
		touched = next_touched(enc);
		enc->rows += touched != NULL;
		return touched ? put_balance_row(enc, touched, at) : at;
	}
	record = next_record(enc);
	enc->rows += record != NULL;
	if (!record)
		return at;
	if (enc->table == STORE_JOURNAL)
		return put_journal_row(enc, record, at);
	enc->letter = record;
	enc->part = PART_HEAD;
	return put_dead_letter_part(enc, at);
}

/* What follows the backslash, or 0 for a byte that stands for itself. */
static inline char escape_letter(char byte)
{
	switch (byte) {
	case '\0':
		return '0';
	case '\t':
		return 't';
	case '\n':
		return 'n';
	case '\\':
		return '\\';
	default:
		return 0;
	}
}

/* Escapes raw bytes as far as the room goes; an escape that does not fit whole goes by the spill.
 */
static size_t escape_raw(struct encoder *enc, char *buffer, size_t size)
{
	size_t length = 0;

	while (enc->raw_length && length < size) {
		char letter = escape_letter(*enc->raw);

		if (!letter) {
			buffer[length++] = *enc->raw;
		} else if (size - length >= 2) {
			buffer[length++] = '\\';
			buffer[length++] = letter;
		} else {
			enc->spill[0] = '\\';
			enc->spill[1] = letter;
			enc->spill_begin = 0;
			enc->spill_end = 2;
			size = length; /* the spill comes next */
		}
		enc->raw++;
		enc->raw_length--;
	}
	return length;
}

static size_t read_spill(struct encoder *enc, char *buffer, size_t size)
{
	size_t length = enc->spill_end - enc->spill_begin;

	if (length > size)
		length = size;
	memcpy(buffer, enc->spill + enc->spill_begin, length);
	enc->spill_begin += length;
	return length;
}

size_t encode_rows(const struct batch *b, enum store_table table)
{
	switch (table) {
	case STORE_JOURNAL:
		return b->journal_count;
	case STORE_BALANCES:
		return b->touched_count;
	case STORE_DEAD_LETTERS:
		return b->dead_letter_count;
	}
	assert(!"a table");
	return 0;
}

void encode_init(struct encoder *enc, const struct flush_request *request, enum store_table table)
{
	assert(request->partition >= 0);
	*enc = (struct encoder){.batch = request->batch, .table = table, .second = -1};
	enc->partition_length = digits_u64((uint64_t)request->partition, enc->partition);
}

size_t encode_read(struct encoder *enc, char *buffer, size_t size)
{
	size_t length = 0;

	assert(size >= 1);
	while (length < size) {
		if (enc->spill_begin < enc->spill_end) {
			length += read_spill(enc, buffer + length, size - length);
		} else if (enc->raw_length) {
			length += escape_raw(enc, buffer + length, size - length);
		} else {
			bool direct = size - length >= ENCODE_PIECE_MAX;
			char *at = direct ? buffer + length : enc->spill;
			size_t written = (size_t)(put_next(enc, at) - at);

			if (!written) {
				/* The journal has what the ledger decided, no more and no less. */
				assert(enc->rows == encode_rows(enc->batch, enc->table));
				break;
			}
			length += direct ? written : 0;
			enc->spill_begin = 0;
			enc->spill_end = direct ? 0 : written;
		}
	}
	return length;
}
