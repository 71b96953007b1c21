/* See mem.h. */
#include "mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t count, size_t bytes)
{
	if (count == 1)
		fprintf(stderr, "out of memory: %zu bytes refused\n", bytes);
	else
		fprintf(stderr, "out of memory: %zu times %zu bytes refused\n", count, bytes);
	abort();
}

void *xmalloc(size_t bytes)
{
	void *memory = malloc(bytes ? bytes : 1);

	if (!memory)
		out_of_memory(1, bytes);
	return memory;
}

void *xcalloc(size_t count, size_t bytes)
{
	void *memory = calloc(count ? count : 1, bytes ? bytes : 1);

	if (!memory)
		out_of_memory(count, bytes);
	return memory;
}

void *xrealloc(void *memory, size_t bytes)
{
	void *moved = realloc(memory, bytes ? bytes : 1);

	if (!moved)
		out_of_memory(1, bytes);
	return moved;
}

char *xstrdup(const char *text)
{
	size_t bytes = strlen(text) + 1;

	return memcpy(xmalloc(bytes), text, bytes);
}
