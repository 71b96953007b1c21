/*
 * A message's headers as JSON text: an array of [name, value] in their order, a name may come more
 * than once.  A value is a string, null if it is absent, or, where its bytes are not UTF-8,
 * {"base64": "..."}; so are names.  Control characters are escaped, everything else stands as it
 * is.
 *
 * Pure; the text is the struct's and is written anew for each message.
 */
#ifndef CONSUMER_HEADERS_H
#define CONSUMER_HEADERS_H

#include <stddef.h>

struct headers {
	char *text; /* not NUL-terminated */
	size_t length;
	size_t size; /* taken from the system */
};

void headers_init(struct headers *h);
void headers_finish(struct headers *h);

/* One message: begin, add once a header, end; then text[0..length) is the array. */
void headers_begin(struct headers *h);
void headers_add(struct headers *h, const char *name, size_t name_length, const void *value,
	size_t value_length);
void headers_end(struct headers *h);

#endif
