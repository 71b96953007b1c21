/*
 * Gives every file of a folder to a fuzz target, with any compiler: the corpus as an ordinary test.
 *
 *     replay FOLDER
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The whole file, in memory that ends where it does. */
static int replay(const char *folder, const char *name)
{
	char path[4096];
	char *bytes;
	size_t size;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return -1;
	}
	bytes = malloc(1 << 20);
	size = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	bytes = realloc(bytes, size ? size : 1);
	printf("%s: %zu bytes\n", name, size);
	fflush(stdout);
	LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
	free(bytes);
	return 0;
}

int main(int argc, char **argv)
{
	DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *entry;
	int count = 0;

	if (!folder) {
		fprintf(stderr, "usage: replay FOLDER\n");
		return 2;
	}
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay(argv[1], entry->d_name))
			return 1;
		count++;
	}
	closedir(folder);
	printf("%d inputs\n", count);
	return count ? 0 : 1;
}
