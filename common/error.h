/*
 * What went wrong, in words: a message that names the thing and the remedy.
 *
 * Functions that can fail take a `struct error *err`, return 0 or a negative code, and write the
 * message only when they fail.  It is plain memory: nothing to free, copied by assignment.  NULL is
 * allowed where the text is not wanted.  This file does not log: a message is logged once, at the
 * top.
 */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

#define ERROR_TEXT_MAX 512 /* with the NUL; a longer text ends in "..." */

struct error {
	char text[ERROR_TEXT_MAX];
};

/* Writes the message and returns code, so that a function may end in `return error_set(...)`. */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "<message>: " before the text that is there, and returns code. */
int error_wrap(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
