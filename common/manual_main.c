/* Writes the documents that come from the table of options into the source tree, its only argument.
 */
#include "manual.h"

#include <errno.h>
#include <string.h>

static int write_document(const char *root, const char *name, void (*print)(FILE *file))
{
	char path[4096];
	FILE *file;
	int failed;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "w");
	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	print(file);
	failed = ferror(file);
	if (fclose(file) != 0 || failed) {
		fprintf(stderr, "%s: could not be written\n", path);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: write-manual SOURCE_ROOT\n");
		return 2;
	}
	return write_document(argv[1], "docs/CONFIG.md", manual_print_markdown) |
	       write_document(argv[1], "deploy/ledgerd.sample.yaml", manual_print_sample);
}
