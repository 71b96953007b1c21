/* See redrive.h. */
#include "redrive.h"

#include <inttypes.h>
#include <stdlib.h>

#include "mem.h"

#define SOME_LETTERS DEAD_LETTERS_MARK_MAX
#define SOME_BYTES   (16 << 20)

/* The plan --------------------------------------------------------------------------------------
 */

struct planning {
	const struct redrive_options *options;
	struct redrive_plan *plan;
};

static void plan_letter(void *context, const struct dead_letter *letter)
{
	const struct planning *planning = context;
	struct redrive_plan *plan = planning->plan;
	enum dead_reason again = dead_letters_again(letter, planning->options->partitions);

	if (*letter->redriven_at && !planning->options->again) {
		plan->before++;
		return;
	}
	if (again != DEAD_NONE && !planning->options->hopeless) {
		plan->left_out[again]++;
		return;
	}
	if (plan->count == plan->capacity) {
		plan->capacity = plan->capacity ? 2 * plan->capacity : 64;
		plan->letters = xrealloc(plan->letters, plan->capacity * sizeof *plan->letters);
	}
	plan->letters[plan->count++] = (struct redrive_letter){
		letter->partition, letter->offset, letter->reason, again};
	plan->by_reason[letter->reason]++;
	if (again != DEAD_NONE)
		plan->again[again]++;
}

enum db_result redrive_plan(struct db *db, const struct redrive_options *options,
	struct redrive_plan *ret_plan, struct error *err)
{
	struct dead_letters_filter filter = options->filter;
	struct planning planning = {options, ret_plan};

	*ret_plan = (struct redrive_plan){0};
	filter.contents = true;
	return dead_letters_each(db, &filter, -1, plan_letter, &planning, err);
}

void redrive_plan_finish(struct redrive_plan *plan)
{
	free(plan->letters);
	*plan = (struct redrive_plan){0};
}

/* Publishing ------------------------------------------------------------------------------------
 */

/* One letter on its way to the producer. */
struct sending {
	struct producer *producer;
	size_t bytes;
	int64_t count;
	int rc;
	struct error *err;
};

static void send_letter(void *context, const struct dead_letter *letter)
{
	struct sending *sending = context;
	struct header_list headers = {0};

	if (letter->headers.bytes)
		sending->rc = headers_parse(
			letter->headers.bytes, letter->headers.length, &headers, sending->err);
	if (sending->rc == 0)
		sending->rc = producer_send_headers(sending->producer, letter->key.bytes,
			letter->key.length, letter->value.bytes, letter->value.length, &headers,
			sending->err);
	if (sending->rc != 0)
		error_wrap(sending->err, sending->rc, "partition %d offset %" PRId64,
			(int)letter->partition, letter->offset);
	headers_parse_free(&headers);
	sending->bytes += letter->key.length + letter->value.length + letter->headers.length;
	sending->count++;
}

static int send_planned(struct db *db, const struct redrive_letter *planned,
	struct sending *sending, struct error *err)
{
	struct dead_letters_filter filter = {
		.partition = planned->partition,
		.from_offset = planned->offset,
		.to_offset = planned->offset + 1,
		.contents = true,
	};
	int rc = db_code(dead_letters_each(db, &filter, 1, send_letter, sending, err));

	return rc == 0 ? sending->rc : rc;
}

int redrive_some(struct db *db, struct producer *producer, const struct redrive_plan *plan,
	size_t *at, int64_t *published, struct error *err)
{
	struct sending sending = {.producer = producer, .err = err};
	int64_t offsets[SOME_LETTERS];
	int32_t partition = plan->letters[*at].partition;
	size_t count = 0;
	int rc = 0;

	while (rc == 0 && *at + count < plan->count && count < SOME_LETTERS &&
		sending.bytes < SOME_BYTES && plan->letters[*at + count].partition == partition) {
		const struct redrive_letter *planned = &plan->letters[*at + count];

		offsets[count++] = planned->offset;
		rc = send_planned(db, planned, &sending, err);
	}
	if (rc == 0)
		rc = producer_finish(producer, err);
	if (rc == 0)
		rc = db_code(dead_letters_mark(db, partition, offsets, count, err));
	if (rc != 0)
		return rc;
	*at += count;
	*published += sending.count;
	return 0;
}
