/* See log_watch.h. */
#include "log_watch.h"

#include <stdlib.h>

#include "log.h"

/* NULL: everything is unassigned. */
static void assign(rd_kafka_t *asker, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t code = rd_kafka_assign(asker, list);

	if (code)
		log_warn(
			"the watch over the logs cannot look", LS("error", rd_kafka_err2str(code)));
}

void log_watch_begin(struct log_watch *watch, rd_kafka_t *asker, const char *topic,
	struct log_look *looks, size_t count)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);

	*watch = (struct log_watch){.looks = looks, .count = count, .waiting = count};
	for (size_t i = 0; i < count; i++)
		rd_kafka_topic_partition_list_add(list, topic, looks[i].partition)->offset =
			looks[i].mark.offset;
	assign(asker, list);
	rd_kafka_topic_partition_list_destroy(list);
}

static void answer(struct log_watch *watch, struct log_look *look, enum log_answer answer)
{
	look->answer = answer;
	look->answered = true;
	watch->waiting--;
}

/* The partition's look; NULL if there is none, or if it has its answer. */
static struct log_look *find_waiting(const struct log_watch *watch, int32_t partition)
{
	for (size_t i = 0; i < watch->count; i++)
		if (watch->looks[i].partition == partition)
			return watch->looks[i].answered ? NULL : &watch->looks[i];
	return NULL;
}

void log_watch_take(struct log_watch *watch, int32_t partition, const struct message *message)
{
	struct log_look *look = find_waiting(watch, partition);

	if (look)
		answer(watch, look, log_mark_compare(&look->mark, message));
}

/* At the log's end there is nothing to compare: the partition's reader, which is further on, is out
 * of range itself. */
void log_watch_take_error(struct log_watch *watch, int32_t partition, rd_kafka_resp_err_t code)
{
	struct log_look *look = find_waiting(watch, partition);

	if (look && code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
		answer(watch, look, LOG_ABSENT);
	else if (look && code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		answer(watch, look, LOG_SILENT);
}

bool log_watch_done(const struct log_watch *watch)
{
	return watch->waiting == 0;
}

void log_watch_end(struct log_watch *watch, rd_kafka_t *asker)
{
	assign(asker, NULL);
	free(watch->looks);
	*watch = (struct log_watch){0};
}
