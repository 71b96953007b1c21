/* See health.h. */
#include "health.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define STATUS_OK          200
#define STATUS_UNAVAILABLE 503

struct body {
	FILE *file;
	size_t length;
	bool well;
};

static void begin(struct body *body, char **ret_text)
{
	*ret_text = NULL;
	body->file = open_memstream(ret_text, &body->length);
	body->well = true;
	assert(body->file);
}

static int end(struct body *body, size_t count)
{
	int failed;

	if (count == 0)
		fputs("ok\n", body->file);
	failed = ferror(body->file);
	failed |= fclose(body->file);
	assert(!failed);
	return body->well ? STATUS_OK : STATUS_UNAVAILABLE;
}

/* Details come from servers; whatever they hold, a condition stays one line. */
static void put_line(struct body *body, const char *text)
{
	for (; *text; text++)
		putc((unsigned char)*text < ' ' ? ' ' : *text, body->file);
	putc('\n', body->file);
}

int health_live(const struct health_beat *beats, size_t count, int64_t now_ms, char **ret_body)
{
	struct body body;

	begin(&body, ret_body);
	for (size_t i = 0; i < count; i++) {
		int64_t age_ms = now_ms - beats[i].last_beat_ms;

		if (age_ms <= beats[i].limit_ms) {
			fprintf(body.file, "ok %s\n", beats[i].name);
			continue;
		}
		fprintf(body.file,
			"stuck: %s: no sign of life for %" PRId64 " ms, at most %" PRId64
			" are allowed\n",
			beats[i].name, age_ms, beats[i].limit_ms);
		body.well = false;
	}
	return end(&body, count);
}

int health_ready(const struct health_condition *conditions, size_t count, char **ret_body)
{
	struct body body;

	begin(&body, ret_body);
	for (size_t i = 0; i < count; i++) {
		const char *detail = conditions[i].detail ? conditions[i].detail : "";

		fprintf(body.file, "%s%s%s",
			conditions[i].ok ? "ok " : "not ready: ", conditions[i].name,
			detail[0] ? ": " : "");
		put_line(&body, detail);
		body.well = body.well && conditions[i].ok;
	}
	return end(&body, count);
}
