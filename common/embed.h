/*
 * Files that are part of the program: SQL migrations, Lua scripts.  The tables are written at build
 * time by sql/embed.py; a table is declared where it is used: `extern const struct embed NAME;`.
 */
#ifndef COMMON_EMBED_H
#define COMMON_EMBED_H

#include <stddef.h>

struct embed_file {
	int number;         /* 1 of 0001_ledger.sql; 0 without a number */
	const char *name;   /* "ledger" */
	const char *text;   /* NUL-terminated */
	size_t length;      /* of text, without the NUL */
	const char *sha256; /* of text, in hexadecimal */
};

struct embed {
	const struct embed_file *files; /* sorted by file name */
	size_t count;
};

#endif
