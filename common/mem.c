/* See mem.h. */
#include "mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_BYTES ((size_t)2 << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; the C library may be older */
#endif

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

/* Begins where a huge page may: what was mapped before and behind it goes back. */
void *xmap_small(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t mapped = bytes + page + HUGE_BYTES;
	char *memory = mmap(
		NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (memory == MAP_FAILED)
		out_of_memory(1, mapped);
	before = -(uintptr_t)memory % HUGE_BYTES;
	if (before > 0)
		munmap(memory, before);
	memory += before;
	bytes = (bytes + page - 1) / page * page;
	munmap(memory + bytes, mapped - before - bytes);
	return memory;
}

void *xmap(size_t bytes)
{
	void *memory = xmap_small(bytes);

	madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

/* A kernel that cannot, or has none left, leaves the small pages. */
void xmap_filled(void *table, size_t before, size_t filled)
{
	size_t from = before / HUGE_BYTES * HUGE_BYTES;
	size_t to = filled / HUGE_BYTES * HUGE_BYTES;

	if (to > from)
		madvise((char *)table + from, to - from, MADV_COLLAPSE);
}

void xunmap(void *table, size_t bytes)
{
	munmap(table, bytes);
}
