/* See status_page.h. */
#include "status_page.h"

#include <assert.h>
#include <string.h>

#include "embed.h"
#include "mem.h"

extern const struct embed status_page;

static const struct embed_file *find(const char *name)
{
	for (size_t i = 0; i < status_page.count; i++)
		if (strcmp(status_page.files[i].name, name) == 0)
			return &status_page.files[i];
	assert(!"embedded");
	return NULL;
}

void status_page_answer(void *context, struct http_response *response)
{
	const struct embed_file *page = find("page");

	response->content_type = "text/html; charset=utf-8";
	response->policy = find("policy")->text;
	response->body = xstrdup(page->text);
	response->length = page->length;
}
