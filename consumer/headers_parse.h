/*
 * A dead letter's headers back from the JSON text that headers.h makes: the same names and values,
 * byte for byte, in their order.
 */
#ifndef CONSUMER_HEADERS_PARSE_H
#define CONSUMER_HEADERS_PARSE_H

#include <stddef.h>

#include "error.h"

struct header {
	char *name;
	size_t name_length;
	char *value; /* NULL: absent; may be empty */
	size_t value_length;
};

struct header_list {
	struct header *headers;
	size_t count;
};

/* -EINVAL, and an empty list, for a text of another form.  To be freed either way. */
int headers_parse(const char *text, size_t length, struct header_list *ret_list, struct error *err);
void headers_parse_free(struct header_list *list);

#endif
