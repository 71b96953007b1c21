/*
 * Watches partition_offsets from a connection of its own, and prints every change that it sees:
 *
 *     bench-watch EVERY_US TOTAL
 *
 * a line of "wall clock in microseconds, partition, next_offset", until the offsets' sum has
 * reached TOTAL.  It looks every EVERY_US microseconds.  The configuration is in the environment,
 * as ledgerd's.
 *
 * InnoDB shows a transaction to others as soon as it is committed in memory, shortly before its
 * log is on the disk and the committer is answered: bench/run adds what that may take.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "mem.h"
#include "servers.h"

#define PARTITIONS_MAX 4096

extern char **environ;

static _Noreturn void fail(const struct error *err)
{
	fprintf(stderr, "bench-watch: %s\n", err->text);
	exit(1);
}

static int64_t wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* Tells what has changed; returns the sum of all offsets. */
static int64_t look(struct db *db, int64_t offsets[PARTITIONS_MAX])
{
	struct error err;
	int64_t sum = 0, now_us;
	enum db_result result = db_query(db, "watching the offsets", &err,
		"SELECT kafka_partition, next_offset FROM partition_offsets WHERE kafka_partition "
		"< ?",
		SQL_INT(PARTITIONS_MAX));

	if (result != DB_OK)
		fail(&err);
	now_us = wall_us();
	while (db_next(db)) {
		int64_t partition = db_int(db, 0), next_offset = db_int(db, 1);

		sum += next_offset;
		if (offsets[partition] == next_offset)
			continue;
		offsets[partition] = next_offset;
		printf("%" PRId64 " %" PRId64 " %" PRId64 "\n", now_us, partition, next_offset);
	}
	if (db_end(db, &err) != DB_OK)
		fail(&err);
	return sum;
}

int main(int argc, char **argv)
{
	struct db_options options;
	struct config cfg;
	struct error err;
	struct db *db;
	int64_t *offsets;
	int64_t total;
	useconds_t every_us;

	if (argc != 3)
		return fputs("usage: bench-watch EVERY_US TOTAL\n", stderr), 2;
	every_us = (useconds_t)strtoul(argv[1], NULL, 10);
	total = strtoll(argv[2], NULL, 10);
	if (config_load(&cfg, "/dev/null", environ, &err) != 0)
		fail(&err);
	servers_db_options(&cfg, &options);
	options.local_infile = false;
	db = db_create(&options);
	offsets = xcalloc(PARTITIONS_MAX, sizeof(offsets[0]));
	if (db_connect(db, &err) != DB_OK)
		fail(&err);
	while (look(db, offsets) < total) {
		fflush(stdout);
		usleep(every_us);
	}
	free(offsets);
	db_destroy(db);
	config_finish(&cfg);
	return 0;
}
