/*
 * Any bytes as a dead letter's key, value and headers, cut by a reader of any room: LOAD DATA's
 * rules give them back.
 *
 * The first four bytes choose the room and where the bytes are divided.
 */
#include "check.h"
#include "encode.h"
#include "../unit/rows.h"

static void check_field(
	const struct rows *rows, size_t row, size_t column, const char *bytes, size_t length)
{
	const struct rows_field *field = rows_at(rows, row, column);

	CHECK(field->null == !bytes);
	CHECK(!bytes || (field->length == length && !memcmp(field->bytes, bytes, length)));
}

/* Reads all rows in pieces of `room` bytes. */
static size_t read_rows(
	const struct flush_request *request, size_t room, char *text, size_t text_size)
{
	char *piece = malloc(room);
	struct encoder enc;
	size_t length = 0;
	size_t got;

	encode_init(&enc, request, STORE_DEAD_LETTERS);
	while ((got = encode_read(&enc, piece, room))) {
		CHECK(got <= room && length + got <= text_size);
		memcpy(text + length, piece, got);
		length += got;
	}
	free(piece);
	return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record records[2] = {0};
	struct batch b = {.records = records, .count = 2, .dead_letter_count = 2};
	struct flush_request request = {.partition = 1, .batch = &b};
	struct message *message = &records[0].message;
	size_t text_size = 4 * size + 1024;
	char *text = malloc(text_size);
	struct rows rows;
	size_t room;

	if (size >= 4) {
		room = 1 + (data[0] | (size_t)data[1] << 8) % 2048;
		message->value = (const char *)data + 4;
		message->value_length = (size - 4) * data[2] / 255;
		message->key = message->value + message->value_length;
		message->key_length = (size - 4 - message->value_length) * data[3] / 255;
		message->headers = data[3] & 1 ? message->key + message->key_length : NULL;
		message->headers_length = size - 4 - message->value_length - message->key_length;
		records[0].outcome = records[1].outcome = OUTCOME_DEAD_LETTER;
		records[0].dead_reason = records[1].dead_reason = DEAD_MALFORMED;
		records[1].message.key = records[1].message.value = message->value;
		records[1].message.key_length = message->value_length;

		rows_read(&rows, text, read_rows(&request, room, text, text_size));
		CHECK(rows.row_count == 2 && rows.columns == 9);
		check_field(&rows, 0, 4, message->key, message->key_length);
		check_field(&rows, 0, 5, message->value, message->value_length);
		check_field(&rows, 0, 6, message->headers, message->headers_length);
		check_field(&rows, 1, 4, message->value, message->value_length);
		check_field(&rows, 1, 5, message->value, 0);
		check_field(&rows, 1, 6, NULL, 0);
		check_field(&rows, 1, 8, "1970-01-01 00:00:00.000", 23);
		rows_finish(&rows);
	}
	free(text);
	return 0;
}
