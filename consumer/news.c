#include "news.h"

#include "log.h"

#define LOOK_MS           1000
#define RANDOM_IDS        200     /* of 1,000, at least: the ids are random */
#define RANDOM_IDS_FOR_MS 60000   /* for so long: ids of one moment may be in no order */
#define RANDOM_IDS_MS     3600000 /* between two warnings */

void news_init(struct news *news, int64_t now_ms)
{
	*news = (struct news){.ordered_ms = now_ms, .ids_told_ms = now_ms - RANDOM_IDS_MS};
	pthread_mutex_init(&news->lock, NULL);
}

void news_finish(struct news *news)
{
	pthread_mutex_destroy(&news->lock);
}

/* Our partitions, as far as both of their ends are known. */
static struct progress_sum add_up(const struct metrics *metrics)
{
	struct progress_sum sum = {0};

	for (int32_t i = 0; i < metrics->partition_count; i++) {
		const struct partition_metrics *partition = &metrics->partitions[i];
		int64_t epoch = gauge_read(&partition->epoch);
		int64_t next = gauge_read(&partition->next_offset);
		int64_t end = gauge_read(&partition->high_watermark);

		if (epoch == 0 || next < 0 || end < 0)
			continue;
		sum.committed += next;
		sum.end += end > next ? end : next;
		sum.key ^= (int64_t)((uint64_t)epoch * (2 * (uint64_t)i + 1));
	}
	return sum;
}

static void tell_progress(const struct progress_report *report, enum progress_news what)
{
	if (what == PROGRESS_BEHIND && report->seconds >= 0)
		log_info("catching up", LI("events_left", report->left),
			LI("events_per_second", report->per_second),
			LI("seconds_left", report->seconds));
	else if (what == PROGRESS_BEHIND)
		log_warn("not catching up: events come as fast as they are committed, or faster",
			LI("events_left", report->left),
			LI("events_per_second", report->per_second));
	else if (what == PROGRESS_CAUGHT_UP)
		log_info("caught up", LI("events_left", report->left));
}

static void look_at_progress(struct news *news, const struct metrics *metrics, int64_t now_ms)
{
	struct progress_sum sum = add_up(metrics);
	struct progress_report report;
	enum progress_news what;

	pthread_mutex_lock(&news->lock);
	progress_look(&news->progress, &sum, now_ms);
	report = progress_report(&news->progress);
	what = progress_news(&news->progress, now_ms);
	pthread_mutex_unlock(&news->lock);
	tell_progress(&report, what);
}

/* Of 1,000 ids, in the middle of the partitions that can tell; -1: none can. */
static int64_t random_ids(const struct metrics *metrics)
{
	int64_t sum = 0, count = 0;

	for (int32_t i = 0; i < metrics->partition_count; i++) {
		int64_t permille = gauge_read(&metrics->partitions[i].random_ids);

		sum += permille >= 0 ? permille : 0;
		count += permille >= 0;
	}
	return count > 0 ? sum / count : -1;
}

static void look_at_ids(struct news *news, const struct metrics *metrics, int64_t now_ms)
{
	int64_t permille = random_ids(metrics);

	if (permille < RANDOM_IDS)
		news->ordered_ms = now_ms;
	if (now_ms - news->ordered_ms < RANDOM_IDS_FOR_MS ||
		now_ms - news->ids_told_ms < RANDOM_IDS_MS)
		return;
	news->ids_told_ms = now_ms;
	log_warn(
		"transaction ids are in no order: the journal's unique index is written at random, "
		"which takes most of the rate away once it outgrows the database's memory; have "
		"the producers make UUIDv7 or ULIDs",
		LI("percent", permille / 10));
}

void news_look(struct news *news, const struct metrics *metrics, int64_t now_ms)
{
	if (now_ms - news->looked_ms < LOOK_MS)
		return;
	news->looked_ms = now_ms;
	look_at_progress(news, metrics, now_ms);
	look_at_ids(news, metrics, now_ms);
}

struct progress_report news_backlog(struct news *news)
{
	struct progress_report report;

	pthread_mutex_lock(&news->lock);
	report = progress_report(&news->progress);
	pthread_mutex_unlock(&news->lock);
	return report;
}
