/*
 * Whether bytes are UTF-8, by RFC 3629: no surrogates, nothing above U+10FFFF, nothing longer than
 * it needs to be.  Pure.
 */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character that begins at text[0], 1 to 4; 0 if there is none, or it is cut off.
 * `left` bytes are there, at least one; none beyond is read. */
size_t utf8_length(const char *text, size_t left);

/* Whether all of it is UTF-8; nothing is. */
bool utf8_valid(const char *text, size_t length);

#endif
