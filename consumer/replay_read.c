/*
 * The log, the journal and the dead letters as `ledgerd replay` reads them: in blocks, each from
 * where the one before ended.
 */
#include "replay_private.h"

#include <errno.h>
#include <inttypes.h>

#define SILENCE_MS 30000

int64_t replay_silent(struct replay *r)
{
	if (replay_now_ms(r) - r->heard_ms < SILENCE_MS)
		return 0;
	return replay_end(r, error_set(&r->error, -ETIMEDOUT,
				     "partition %" PRId32 ": Kafka has delivered nothing for %d s",
				     r->config.partition, SILENCE_MS / 1000));
}

int64_t replay_open_log(struct replay *r, int64_t offset)
{
	struct topic *topic = r->edges.topic;
	int rc = topic->ops->open(topic, offset, &r->error);

	if (rc != 0)
		return replay_kafka_failed(r, rc);
	r->heard_ms = replay_now_ms(r);
	r->item_count = r->item_next = 0;
	r->log_ended = false;
	r->opened = true;
	return 0;
}

/* Takes what Kafka has; items that are no message are taken in at once. */
int64_t replay_poll_log(struct replay *r)
{
	struct topic *topic = r->edges.topic;

	topic->ops->release(topic, INT64_MAX);
	r->item_next = 0;
	r->item_count = topic->ops->poll(topic, REPLAY_POLL_MS, r->items, REPLAY_ITEMS_MAX);
	if (r->item_count == 0)
		return replay_silent(r);
	r->heard_ms = replay_now_ms(r);
	return 0;
}

/* The next message to look at, or NULL: none in hand, or the end. */
const struct message *replay_peek(struct replay *r, int64_t *ret_wait_ms)
{
	*ret_wait_ms = 0;
	while (!r->log_ended && r->item_next < r->item_count) {
		const struct topic_item *item = &r->items[r->item_next];

		if (item->kind == TOPIC_MESSAGE) {
			if (item->message.offset < r->table.look_end)
				return &item->message;
			r->log_ended = true;
		} else if (item->kind == TOPIC_END) {
			r->log_ended = item->end_offset >= r->table.look_end;
			r->item_next++;
		} else {
			*ret_wait_ms = replay_end(
				r, error_set(&r->error, -ENODATA,
					   "partition %" PRId32
					   ": Kafka has lost the log while it was read",
					   r->config.partition));
			return NULL;
		}
	}
	return NULL;
}

void replay_begin_rows(struct replay *r, int64_t from)
{
	r->row_count = r->row_next = 0;
	r->rows_from = from;
	r->rows_ended = false;
}

static void take_row(void *context, const struct store_row *row)
{
	struct replay *r = context;

	r->rows[r->row_count++] = *row;
	r->rows_from = row->offset + 1;
}

enum store_result replay_read_rows(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result;

	r->row_count = r->row_next = 0;
	result = store->ops->scan_journal(store, r->config.partition, r->rows_from,
		r->config.block_rows, take_row, r, &r->error);
	r->rows_ended = r->row_count < r->config.block_rows;
	return result;
}

void replay_begin_letters(struct replay *r, int64_t from)
{
	r->letter_count = r->letter_next = 0;
	r->letters_from = from;
	r->letters_ended = false;
}

static void take_letter(void *context, int64_t offset, enum dead_reason reason)
{
	struct replay *r = context;

	r->letters[r->letter_count++] = (struct replay_letter){offset, reason};
	r->letters_from = offset + 1;
}

enum store_result replay_read_letters(struct replay *r)
{
	struct store *store = r->edges.reader;
	enum store_result result;

	r->letter_count = r->letter_next = 0;
	result = store->ops->scan_letters(store, r->config.partition, r->letters_from,
		r->config.block_rows, take_letter, r, &r->error);
	r->letters_ended = r->letter_count < r->config.block_rows;
	return result;
}
