/* See error.h. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Marks a text that did not fit; `length` is the one that it would have had. */
static void mark_cut(struct error *err, int length)
{
	if (length >= (int)sizeof(err->text))
		memcpy(err->text + sizeof(err->text) - 4, "...", 4);
}

int error_set(struct error *err, int code, const char *format, ...)
{
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	mark_cut(err, vsnprintf(err->text, sizeof(err->text), format, args));
	va_end(args);
	return code;
}

int error_wrap(struct error *err, int code, const char *format, ...)
{
	struct error inner;
	struct error prefix;
	va_list args;

	if (!err)
		return code;
	inner = *err;
	va_start(args, format);
	mark_cut(&prefix, vsnprintf(prefix.text, sizeof(prefix.text), format, args));
	va_end(args);
	mark_cut(err, snprintf(err->text, sizeof(err->text), "%s: %s", prefix.text, inner.text));
	return code;
}
