/* See headers.h.  `size` grows and never shrinks: it is as large as the largest so far. */
#include "headers.h"

#include "mem.h"
#include "utf8.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define ESCAPE_MAX 6 /* \u001f */

void headers_init(struct headers *h)
{
	*h = (struct headers){0};
}

void headers_finish(struct headers *h)
{
	free(h->text);
	*h = (struct headers){0};
}

/* Room for `bytes` more. */
static char *reserve(struct headers *h, size_t bytes)
{
	if (h->size - h->length < bytes) {
		h->size = (h->size + bytes) * 2;
		h->text = xrealloc(h->text, h->size);
	}
	return h->text + h->length;
}

static void put(struct headers *h, const char *text)
{
	size_t length = strlen(text);

	memcpy(reserve(h, length), text, length);
	h->length += length;
}

static size_t escape(unsigned char c, char *text)
{
	static const char digits[] = "0123456789abcdef";

	if (c == '"' || c == '\\') {
		text[0] = '\\';
		text[1] = (char)c;
		return 2;
	}
	if (c >= 0x20 && c != 0x7f) {
		text[0] = (char)c;
		return 1;
	}
	memcpy(text, "\\u00", 4);
	text[4] = digits[c >> 4];
	text[5] = digits[c & 15];
	return 6;
}

static void put_string(struct headers *h, const unsigned char *bytes, size_t length)
{
	reserve(h, length * ESCAPE_MAX + 2);
	h->text[h->length++] = '"';
	for (size_t i = 0; i < length; i++)
		h->length += escape(bytes[i], h->text + h->length);
	h->text[h->length++] = '"';
}

static void put_base64(struct headers *h, const unsigned char *bytes, size_t length)
{
	size_t size = sodium_base64_encoded_len(length, sodium_base64_VARIANT_ORIGINAL);

	put(h, "{\"base64\":\"");
	sodium_bin2base64(reserve(h, size), size, bytes, length, sodium_base64_VARIANT_ORIGINAL);
	h->length += size - 1; /* without the NUL */
	put(h, "\"}");
}

static void put_value(struct headers *h, const void *bytes, size_t length)
{
	if (!bytes)
		put(h, "null");
	else if (utf8_valid(bytes, length))
		put_string(h, bytes, length);
	else
		put_base64(h, bytes, length);
}

void headers_begin(struct headers *h)
{
	h->length = 0;
	put(h, "[");
}

void headers_add(struct headers *h, const char *name, size_t name_length, const void *value,
	size_t value_length)
{
	put(h, h->length > 1 ? ",[" : "[");
	put_value(h, name, name_length);
	put(h, ",");
	put_value(h, value, value_length);
	put(h, "]");
}

void headers_end(struct headers *h)
{
	put(h, "]");
}
