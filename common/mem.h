/*
 * Memory that is always there: these return, or end the process with a message that names the size.
 * What may grow is bounded by the configuration beforehand, so that a failure here means that the
 * machine has less memory than it was said to have; no caller could do better.
 *
 * What they return is freed with free().
 */
#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stddef.h>

/* Never NULL, also for 0 bytes. */
void *xmalloc(size_t bytes) __attribute__((malloc, returns_nonnull));

/* Zeroed; ends the process as well when count * bytes overflows. */
void *xcalloc(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull));

void *xrealloc(void *memory, size_t bytes) __attribute__((returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));

/*
 * A zeroed table that is read at random, and large: on huge pages where the machine has them, as
 * walking the page tables costs more than the table's own cache misses.  Memory is used as it is
 * touched.  Given back with xunmap and the same size.
 */
void *xmap(size_t bytes) __attribute__((malloc, returns_nonnull));

/*
 * The same for one that fills from its beginning: on small pages, so that no more is used than was
 * touched.  xmap_filled says that the first `filled` bytes are in use, of which it was told
 * `before` the last time: huge pages that are full now are made of the small ones.
 */
void *xmap_small(size_t bytes) __attribute__((malloc, returns_nonnull));
void xmap_filled(void *table, size_t before, size_t filled);
void xunmap(void *table, size_t bytes);

#endif
