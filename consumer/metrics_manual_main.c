/* Writes docs/METRICS.md into the source tree, its only argument. */
#include "metrics.h"

#include <errno.h>
#include <string.h>

int main(int argc, char **argv)
{
	char path[4096];
	FILE *file;
	int failed;

	if (argc != 2) {
		fprintf(stderr, "usage: write-metrics-manual SOURCE_ROOT\n");
		return 2;
	}
	snprintf(path, sizeof path, "%s/docs/METRICS.md", argv[1]);
	file = fopen(path, "w");
	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	metrics_manual_print(file);
	failed = ferror(file);
	if (fclose(file) != 0 || failed) {
		fprintf(stderr, "%s: could not be written\n", path);
		return 1;
	}
	return 0;
}
