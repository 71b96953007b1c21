/* See process.h. */
#include "process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* The kernel's start time is in ticks since boot; the process's age does not move when the wall
 * clock is set, so it is measured against a clock that also began at boot. */
static int64_t started_ms(int64_t started_ticks)
{
	struct timespec since_boot, wall;
	int64_t age_ms;

	clock_gettime(CLOCK_BOOTTIME, &since_boot);
	clock_gettime(CLOCK_REALTIME, &wall);
	age_ms = (int64_t)since_boot.tv_sec * 1000 + since_boot.tv_nsec / 1000000 -
		 started_ticks * 1000 / sysconf(_SC_CLK_TCK);
	return (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000 - age_ms;
}

/* Fields 20, 22, 23 and 24 of proc(5)'s stat, counted from behind the name, which may hold
 * anything. */
static bool read_stat(struct process_stats *stats)
{
	char line[1024];
	const char *fields = NULL;
	int64_t started_ticks, resident_pages;
	FILE *file = fopen("/proc/self/stat", "re");

	if (!file)
		return false;
	if (fgets(line, sizeof line, file))
		fields = strrchr(line, ')');
	fclose(file);
	if (!fields ||
		sscanf(fields + 1,
			" %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d"
			" %" SCNd64 " %*d %" SCNd64 " %" SCNd64 " %" SCNd64,
			&stats->threads, &started_ticks, &stats->virtual_bytes,
			&resident_pages) != 4)
		return false;
	stats->resident_bytes = resident_pages * sysconf(_SC_PAGESIZE);
	stats->started_ms = started_ms(started_ticks);
	return true;
}

static bool count_fds(struct process_stats *stats)
{
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!directory)
		return false;
	stats->open_fds = -1; /* the directory's own */
	while ((entry = readdir(directory)))
		stats->open_fds += entry->d_name[0] != '.';
	closedir(directory);
	return true;
}

bool process_read(struct process_stats *ret_stats)
{
	struct timespec cpu;
	struct rlimit limit;

	*ret_stats = (struct process_stats){0};
	if (!read_stat(ret_stats) || !count_fds(ret_stats))
		return false;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	ret_stats->cpu_us = (int64_t)cpu.tv_sec * 1000000 + cpu.tv_nsec / 1000;
	getrlimit(RLIMIT_NOFILE, &limit);
	ret_stats->max_fds = limit.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_cur;
	return true;
}
