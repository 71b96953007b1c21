/* Tables that fill from their beginning: what is in them stays, and full pages become huge ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "mem.h"

#define HUGE_BYTES ((size_t)2 << 20)
#define COLLAPSE   25 /* MADV_COLLAPSE */

/* Of the mapping that the table is in: bytes on huge pages. */
static size_t huge_bytes(const void *table)
{
	static const char name[] = "AnonHugePages:";
	FILE *maps = fopen("/proc/self/smaps", "re");
	char line[512];
	size_t kib = 0;
	unsigned long begin, end;
	bool here = false;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
			here = begin <= (uintptr_t)table && (uintptr_t)table < end;
		else if (here && strncmp(line, name, sizeof(name) - 1) == 0)
			kib = strtoul(line + sizeof(name) - 1, NULL, 10);
	}
	fclose(maps);
	return kib << 10;
}

/* Whether this kernel can, and has huge pages left. */
static bool can_collapse(void)
{
	char *table = xmap_small(HUGE_BYTES);
	bool can;

	memset(table, 1, HUGE_BYTES);
	can = madvise(table, HUGE_BYTES, COLLAPSE) == 0;
	xunmap(table, HUGE_BYTES);
	return can;
}

static void test_full_pages_become_huge(void **state)
{
	size_t bytes = 4 * HUGE_BYTES;
	size_t step = HUGE_BYTES * 3 / 8;
	size_t filled = 0;
	unsigned char *table = xmap_small(bytes);

	assert_int_equal((uintptr_t)table % HUGE_BYTES, 0);
	for (; filled + step <= 3 * HUGE_BYTES - step; filled += step) {
		memset(table + filled, 7, step);
		xmap_filled(table, filled, filled + step);
	}
	for (size_t i = 0; i < bytes; i++)
		if (table[i] != (i < filled ? 7 : 0))
			fail_msg("byte %zu is %d", i, table[i]);
	if (can_collapse())
		assert_true(huge_bytes(table) >= filled / HUGE_BYTES * HUGE_BYTES);
	xunmap(table, bytes);
}

/* Nothing is in use that was not touched. */
static void test_the_rest_takes_no_memory(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = 4 * HUGE_BYTES;
	unsigned char *resident = calloc(bytes / page, 1);
	char *table = xmap_small(bytes);
	size_t count = 0;

	assert_non_null(resident);
	memset(table, 1, HUGE_BYTES + 1);
	xmap_filled(table, 0, HUGE_BYTES + 1);
	assert_int_equal(mincore(table, bytes, resident), 0);
	for (size_t i = 0; i < bytes / page; i++)
		count += resident[i] & 1;
	assert_int_equal(count, HUGE_BYTES / page + 1);
	xunmap(table, bytes);
	free(resident);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_pages_become_huge),
		cmocka_unit_test(test_the_rest_takes_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
