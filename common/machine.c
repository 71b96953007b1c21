/* See machine.h. */
#include "machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int64_t group_limit(const char *mount, const char *path)
{
	char name[4096];
	int64_t limit = INT64_MAX;
	FILE *file;

	snprintf(name, sizeof(name), "%s%s/memory.max", mount, path);
	file = fopen(name, "re");
	if (!file)
		return INT64_MAX; /* the root has no such file */
	if (fscanf(file, "%" SCNd64, &limit) != 1 || limit <= 0)
		limit = INT64_MAX; /* "max" */
	fclose(file);
	return limit;
}

int64_t machine_group_bytes(const char *mount, const char *path)
{
	char group[2048];
	int64_t least = INT64_MAX;

	if (snprintf(group, sizeof(group), "%s", path) >= (int)sizeof(group))
		return INT64_MAX;
	for (;;) {
		int64_t limit = group_limit(mount, group);
		char *slash = strrchr(group, '/');

		if (limit < least)
			least = limit;
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* The line of the version 2 hierarchy is "0::/a/b". */
static int64_t own_group_bytes(void)
{
	char line[2048];
	int64_t bytes = INT64_MAX;
	FILE *file = fopen("/proc/self/cgroup", "re");

	if (!file)
		return INT64_MAX;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "0::", 3) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		bytes = machine_group_bytes("/sys/fs/cgroup", line + 3);
	}
	fclose(file);
	return bytes;
}

int64_t machine_memory_bytes(void)
{
	int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	int64_t group = own_group_bytes();

	return group < machine ? group : machine;
}
