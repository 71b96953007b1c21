/* See headers.h.  `size` grows and never shrinks: it is as large as the largest so far. */
#include "headers.h"

#include "mem.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
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

/* Length of the UTF-8 character that begins here; 0 if the bytes are none. */
static size_t character_length(const unsigned char *s, size_t left)
{
	uint32_t code;
	size_t length;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (length > left)
		return 0;
	code = s[0] & (0x7f >> length);
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10ffff)))
		return 0;
	return code >= 0xd800 && code <= 0xdfff ? 0 : length;
}

static bool is_utf8(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length;) {
		size_t step = character_length(bytes + i, length - i);

		if (step == 0)
			return false;
		i += step;
	}
	return true;
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
	else if (is_utf8(bytes, length))
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
