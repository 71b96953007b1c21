/* See headers_parse.h. */
#include "headers_parse.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "mem.h"

/* false: no base64. */
static bool copy_base64(const json_t *json, char **ret_bytes, size_t *ret_length)
{
	const char *text = json_string_value(json);
	size_t length = json_string_length(json);

	*ret_bytes = xmalloc(length + 1);
	if (sodium_base642bin((unsigned char *)*ret_bytes, length, text, length, NULL, ret_length,
		    NULL, sodium_base64_VARIANT_ORIGINAL) == 0)
		return true;
	free(*ret_bytes);
	*ret_bytes = NULL;
	return false;
}

/* A string, or {"base64": "..."}; NULL for null. */
static bool copy_bytes(const json_t *json, char **ret_bytes, size_t *ret_length)
{
	const json_t *base64 = json_object_get(json, "base64");

	*ret_bytes = NULL;
	*ret_length = 0;
	if (json_is_null(json))
		return true;
	if (json_is_string(base64))
		return copy_base64(base64, ret_bytes, ret_length);
	if (!json_is_string(json))
		return false;
	*ret_length = json_string_length(json);
	*ret_bytes = xmalloc(*ret_length + 1);
	memcpy(*ret_bytes, json_string_value(json), *ret_length + 1);
	return true;
}

static bool copy_header(const json_t *json, struct header *header)
{
	return json_array_size(json) == 2 &&
	       copy_bytes(json_array_get(json, 0), &header->name, &header->name_length) &&
	       header->name &&
	       copy_bytes(json_array_get(json, 1), &header->value, &header->value_length);
}

int headers_parse(const char *text, size_t length, struct header_list *ret_list, struct error *err)
{
	json_t *root = json_loadb(text, length, JSON_ALLOW_NUL, NULL);
	bool good = json_is_array(root);

	*ret_list = (struct header_list){0};
	if (good)
		ret_list->headers = xcalloc(json_array_size(root), sizeof *ret_list->headers);
	for (size_t i = 0; good && i < json_array_size(root); i++)
		good = copy_header(json_array_get(root, i), &ret_list->headers[ret_list->count++]);
	json_decref(root);
	if (good)
		return 0;
	headers_parse_free(ret_list);
	return error_set(err, -EINVAL, "the headers are no array of [name, value]");
}

void headers_parse_free(struct header_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->headers[i].name);
		free(list->headers[i].value);
	}
	free(list->headers);
	*list = (struct header_list){0};
}
