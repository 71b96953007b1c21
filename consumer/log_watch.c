/* See log_watch.h. */
#include "log_watch.h"

#include <errno.h>

bool log_watch_differs(int64_t before, int64_t now, int64_t begin)
{
	return before != now && begin <= before;
}

static rd_kafka_topic_partition_list_t *questions(
	const char *topic, const struct log_watch *watches, size_t count)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);

	for (size_t i = 0; i < count; i++)
		if (watches[i].time_ms >= 0)
			rd_kafka_topic_partition_list_add(list, topic, watches[i].partition)
				->offset = watches[i].time_ms;
	return list;
}

/* librdkafka writes the answer over the question, and leaves a question that was not answered. */
static bool is_answered(const rd_kafka_topic_partition_t *element, const struct log_watch *watch)
{
	return element && !element->err && element->offset != watch->time_ms;
}

void log_watch_ask(rd_kafka_t *asker, const char *topic, struct log_watch *watches, size_t count,
	int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list = questions(topic, watches, count);
	const rd_kafka_topic_partition_t *answer;

	if (list->cnt > 0 &&
		rd_kafka_offsets_for_times(asker, list, timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR)
		for (size_t i = 0; i < count; i++) {
			answer = rd_kafka_topic_partition_list_find(
				list, topic, watches[i].partition);
			if (is_answered(answer, &watches[i]) && answer->offset >= 0)
				watches[i].offset = answer->offset;
		}
	rd_kafka_topic_partition_list_destroy(list);
}

int log_watch_compare(rd_kafka_t *asker, const char *topic, const struct log_watch *watch,
	int timeout_ms, bool *ret_changed)
{
	rd_kafka_topic_partition_list_t *list = questions(topic, watch, 1);
	bool answered = rd_kafka_offsets_for_times(asker, list, timeout_ms) ==
				RD_KAFKA_RESP_ERR_NO_ERROR &&
			is_answered(&list->elems[0], watch);
	int64_t now = answered && list->elems[0].offset >= 0 ? list->elems[0].offset
							     : LOG_WATCH_NONE;
	int64_t begin, end;

	rd_kafka_topic_partition_list_destroy(list);
	*ret_changed = false;
	if (!answered)
		return -EAGAIN;
	if (now == watch->offset)
		return 0;
	/* After the answer: a log that retention cut meanwhile is no other one. */
	if (rd_kafka_query_watermark_offsets(asker, topic, watch->partition, &begin, &end,
		    timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return -EAGAIN;
	*ret_changed = log_watch_differs(watch->offset, now, begin);
	return 0;
}
