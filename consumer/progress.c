#include "progress.h"

#define TELL_EVERY_MS  10000
#define BACKLOG_EVENTS 50000
#define BACKLOG_S      5 /* less is what batches of a busy log look like */
#define SPAN_LEAST_MS  900

static int64_t left_of(const struct progress_sum *sum)
{
	return sum->end > sum->committed ? sum->end - sum->committed : 0;
}

void progress_look(struct progress *progress, const struct progress_sum *sum, int64_t now_ms)
{
	uint64_t last = (progress->count - 1) % PROGRESS_LOOKS;

	if (progress->count > 0 && progress->looks[last].sum.key != sum->key)
		progress->count = 0;
	progress->looks[progress->count % PROGRESS_LOOKS].at_ms = now_ms;
	progress->looks[progress->count % PROGRESS_LOOKS].sum = *sum;
	progress->count++;
}

/* Between the oldest look that is kept and the newest. */
static void measure(const struct progress *progress, struct progress_report *report)
{
	uint64_t oldest = progress->count > PROGRESS_LOOKS ? progress->count % PROGRESS_LOOKS : 0;
	uint64_t newest = (progress->count - 1) % PROGRESS_LOOKS;
	const struct progress_sum *then = &progress->looks[oldest].sum;
	const struct progress_sum *now = &progress->looks[newest].sum;
	int64_t span_ms = progress->looks[newest].at_ms - progress->looks[oldest].at_ms;
	int64_t closed = left_of(then) - left_of(now);

	if (span_ms < SPAN_LEAST_MS)
		return;
	report->per_second = (now->committed - then->committed) * 1000 / span_ms;
	if (report->left > 0 && closed > 0)
		report->seconds = (report->left * span_ms / closed + 999) / 1000;
}

struct progress_report progress_report(const struct progress *progress)
{
	struct progress_report report = {PROGRESS_UNKNOWN, PROGRESS_UNKNOWN, PROGRESS_UNKNOWN};

	if (progress->count == 0)
		return report;
	report.left = left_of(&progress->looks[(progress->count - 1) % PROGRESS_LOOKS].sum);
	if (report.left == 0)
		report.seconds = 0;
	measure(progress, &report);
	return report;
}

bool progress_is_backlog(const struct progress_report *report)
{
	return report->left >= BACKLOG_EVENTS && report->left / BACKLOG_S >= report->per_second;
}

enum progress_news progress_news(struct progress *progress, int64_t now_ms)
{
	struct progress_report report = progress_report(progress);

	if (report.per_second == PROGRESS_UNKNOWN)
		return PROGRESS_NO_NEWS;
	if (progress_is_backlog(&report)) {
		if (progress->behind && now_ms - progress->told_ms < TELL_EVERY_MS)
			return PROGRESS_NO_NEWS;
		progress->behind = true;
		progress->told_ms = now_ms;
		return PROGRESS_BEHIND;
	}
	if (!progress->behind || report.left >= BACKLOG_EVENTS)
		return PROGRESS_NO_NEWS;
	progress->behind = false;
	return PROGRESS_CAUGHT_UP;
}
