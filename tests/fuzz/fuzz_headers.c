/*
 * A message's headers as text and back, and any bytes as such a text.
 *
 * Read as pieces, the input is names and values in turn: a byte's low seven bits are the length of
 * the piece behind it, its high bit says "absent" of a value.  What they become must be JSON, by
 * yajl's word, and lead back to the same bytes.  Read as text, what is taken must survive the same.
 */
#include <stdbool.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "check.h"
#include "headers.h"
#include "headers_parse.h"

#define HEADERS_MAX 64

static void check_json(const char *text, size_t length)
{
	yajl_handle yajl = yajl_alloc(NULL, NULL, NULL);

	CHECK(yajl_parse(yajl, (const unsigned char *)text, length) == yajl_status_ok);
	CHECK(yajl_complete_parse(yajl) == yajl_status_ok);
	yajl_free(yajl);
	for (size_t i = 0; i < length; i++)
		CHECK((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

static void check_same(const struct header *a, const struct header *b)
{
	CHECK(a->name_length == b->name_length && !memcmp(a->name, b->name, a->name_length));
	CHECK(!a->value == !b->value && a->value_length == b->value_length);
	CHECK(!a->value || !memcmp(a->value, b->value, a->value_length));
}

static void check_round_trip(const struct header *headers, size_t count)
{
	struct header_list list;
	struct headers h;
	struct error err;

	headers_init(&h);
	for (int twice = 0; twice < 2; twice++) { /* the text's memory is used again */
		headers_begin(&h);
		for (size_t i = 0; i < count; i++)
			headers_add(&h, headers[i].name, headers[i].name_length, headers[i].value,
				headers[i].value_length);
		headers_end(&h);
		check_json(h.text, h.length);
		CHECK(headers_parse(h.text, h.length, &list, &err) == 0 && list.count == count);
		for (size_t i = 0; i < count; i++)
			check_same(&list.headers[i], &headers[i]);
		headers_parse_free(&list);
	}
	headers_finish(&h);
}

/* The next piece, in memory of its own that ends where it does. */
static const uint8_t *take_piece(const uint8_t *at, const uint8_t *end, bool may_be_absent,
	char **ret_bytes, size_t *ret_length)
{
	bool absent = may_be_absent && at < end && *at & 0x80;
	size_t length = at < end && !absent ? *at & 0x7f : 0;

	at += at < end;
	if (length > (size_t)(end - at))
		length = (size_t)(end - at);
	*ret_bytes = absent ? NULL : malloc(length);
	*ret_length = length;
	if (length)
		memcpy(*ret_bytes, at, length);
	return at + length;
}

static void check_pieces(const uint8_t *data, size_t size)
{
	struct header headers[HEADERS_MAX] = {0};
	const uint8_t *at = data;
	const uint8_t *end = data + size;
	size_t count = 0;

	while (at < end && count < HEADERS_MAX) {
		struct header *header = &headers[count++];

		at = take_piece(at, end, false, &header->name, &header->name_length);
		at = take_piece(at, end, true, &header->value, &header->value_length);
	}
	check_round_trip(headers, count);
	for (size_t i = 0; i < count; i++) {
		free(headers[i].name);
		free(headers[i].value);
	}
}

static void check_text(const char *text, size_t length)
{
	struct header_list list;
	struct error err = {0};
	int rc = headers_parse(text, length, &list, &err);

	if (rc == 0)
		check_round_trip(list.headers, list.count);
	else
		CHECK(*err.text && !list.headers && !list.count);
	headers_parse_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_pieces(data, size);
	check_text((const char *)data, size);
	return 0;
}
