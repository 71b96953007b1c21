/* See verify_match.h. */
#include "verify_match.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "datetime.h"
#include "mem.h"

_Static_assert(VERIFY_HASH_BYTES == crypto_hash_sha256_BYTES, "SHA-256");
_Static_assert(VERIFY_TIME_CHARS == DATETIME_LENGTH, "one form of times");

void verify_match_init(struct verify_match *match, int32_t partition, int32_t partitions,
	struct verify_report *report)
{
	*match = (struct verify_match){
		.partition = partition, .partitions = partitions, .report = report};
	match->lookups = xcalloc(VERIFY_LOOKUPS_MAX, sizeof *match->lookups);
}

void verify_match_finish(struct verify_match *match)
{
	free(match->lookups);
}

bool verify_match_full(const struct verify_match *match)
{
	return match->lookup_count == VERIFY_LOOKUPS_MAX;
}

/* Telling ------------------------------------------------------------------------------------- */

static struct verify_place place_at(const struct verify_match *match, int64_t offset)
{
	return (struct verify_place){.partition = match->partition, .offset = offset};
}

static struct verify_place place_of(
	const struct verify_match *match, int64_t offset, const struct event *event)
{
	struct verify_place place = place_at(match, offset);

	place.account_id = event->account_id;
	place.currency = event->currency;
	return place;
}

/* "DEPOSIT of 10.5 USDT, transaction abc" */
static const char *event_text(char buffer[VERIFY_TEXT_MAX], const struct event *event)
{
	char currency[CURRENCY_LENGTH_MAX + 1];

	currency_text(event->currency, currency);
	return verify_text(buffer, "%s of %s %s, transaction %.*s", event_type_text(event->type),
		VERIFY_AMOUNT(event->amount), currency, (int)event->transaction_id_length,
		event->transaction_id);
}

static void outcome_differs(struct verify_match *match, const struct verify_place *place,
	const char *found, const char *expected)
{
	verify_report_add(
		match->report, VERIFY_LOG_OUTCOME, place, "the message's outcome", found, expected);
}

static void content_differs(struct verify_match *match, const struct verify_place *place,
	const char *what, const char *found, const char *expected)
{
	verify_report_add(match->report, VERIFY_LOG_CONTENT, place, what, found,
		VERIFY_TEXT("%s, as in the log", expected));
}

/* A journal row ------------------------------------------------------------------------------- */

static void compare_key(struct verify_match *match, const struct verify_place *place,
	const struct verify_row *row, const struct event *event)
{
	char texts[2][CURRENCY_LENGTH_MAX + 1] = {"?", "?"};

	if (row->account_id != event->account_id)
		content_differs(match, place, "account_id",
			VERIFY_TEXT("%" PRId64, row->account_id),
			VERIFY_TEXT("%" PRId64, event->account_id));
	if (row->currency == event->currency)
		return;
	if (row->currency != CURRENCY_NONE)
		currency_text(row->currency, texts[0]);
	currency_text(event->currency, texts[1]);
	content_differs(match, place, "currency_code", texts[0], texts[1]);
}

static void compare_deed(struct verify_match *match, const struct verify_place *place,
	const struct verify_row *row, const struct event *event)
{
	if (row->type != event->type)
		content_differs(match, place, "type",
			row->type ? event_type_text(row->type) : "none",
			event_type_text(event->type));
	if (row->amount != event->amount)
		content_differs(match, place, "amount", VERIFY_AMOUNT(row->amount),
			VERIFY_AMOUNT(event->amount));
}

static void compare_content(struct verify_match *match, const struct verify_place *place,
	const struct verify_content *content, const struct event *event)
{
	char time[VERIFY_TIME_CHARS];

	if (content->transaction_id_length != event->transaction_id_length ||
		memcmp(content->transaction_id, event->transaction_id,
			event->transaction_id_length) != 0)
		content_differs(match, place, "transaction_id",
			VERIFY_TEXT("%.*s", (int)content->transaction_id_length,
				content->transaction_id),
			VERIFY_TEXT(
				"%.*s", (int)event->transaction_id_length, event->transaction_id));
	datetime_format(event->time_ms, time);
	if (memcmp(content->event_time, time, sizeof time) != 0)
		content_differs(match, place, "event_time",
			VERIFY_TEXT("%.*s", VERIFY_TIME_CHARS, content->event_time),
			VERIFY_TEXT("%.*s", VERIFY_TIME_CHARS, time));
}

static void match_row(struct verify_match *match, const struct verify_offset *at,
	enum dead_reason reason, const struct event *event, const char *detail)
{
	struct verify_place place = place_at(match, at->offset);

	place.account_id = at->row->account_id;
	place.currency = at->row->currency;
	if (reason != DEAD_NONE) {
		outcome_differs(match, &place, "a journal row",
			VERIFY_TEXT("a dead letter, %s (%s)", dead_reason_text(reason), detail));
		return;
	}
	compare_key(match, &place, at->row, event);
	compare_deed(match, &place, at->row, event);
	compare_content(match, &place, at->content, event);
}

/* A dead letter ------------------------------------------------------------------------------- */

static const char *bytes_text(char buffer[VERIFY_TEXT_MAX], bool present, int64_t length)
{
	return present ? verify_text(buffer, "%" PRId64 " bytes", length) : "NULL";
}

static void compare_bytes(struct verify_match *match, const struct verify_place *place,
	const char *what, const struct verify_bytes *found, const char *bytes, size_t length)
{
	uint8_t hash[VERIFY_HASH_BYTES];
	char texts[2][VERIFY_TEXT_MAX];

	if (!bytes && !found->present)
		return;
	if (bytes && found->present && found->length == (int64_t)length) {
		crypto_hash_sha256(hash, (const unsigned char *)bytes, length);
		if (memcmp(hash, found->hash, sizeof hash) == 0)
			return;
	}
	verify_report_add(match->report, VERIFY_LOG_CONTENT, place, what,
		VERIFY_TEXT("%s", bytes_text(texts[0], found->present, found->length)),
		VERIFY_TEXT("the log's %s", bytes_text(texts[1], bytes != NULL, (int64_t)length)));
}

static void compare_time(struct verify_match *match, const struct verify_place *place,
	const struct verify_letter *letter, int64_t time_ms)
{
	char time[VERIFY_TIME_CHARS + 1] = "";

	if (time_ms >= 0 && time_ms <= DATETIME_MAX_MS)
		datetime_format(time_ms, time);
	if (strcmp(time, letter->message_time) != 0)
		content_differs(match, place, "message_time in dead_letters",
			letter->message_time[0] ? letter->message_time : "NULL",
			time[0] ? time : "NULL");
}

static void look_up(struct verify_match *match, const struct verify_offset *at,
	const struct event *event, bool conflict)
{
	assert(match->lookup_count < VERIFY_LOOKUPS_MAX);
	match->lookups[match->lookup_count++] = (struct verify_lookup){
		.offset = at->offset,
		.event = *event,
		.conflict = conflict,
		.in_gap = at->in_gap,
	};
}

static void match_letter(struct verify_match *match, const struct verify_offset *at,
	enum dead_reason reason, const struct event *event)
{
	const struct verify_letter *letter = at->letter;
	const struct message *message = at->message;
	struct verify_place place = place_at(match, at->offset);

	compare_bytes(match, &place, "message_key in dead_letters", &letter->key, message->key,
		message->key_length);
	compare_bytes(match, &place, "message_value in dead_letters", &letter->value,
		message->value, message->value_length);
	compare_bytes(match, &place, "message_headers in dead_letters", &letter->headers,
		message->headers, message->headers_length);
	compare_time(match, &place, letter, message->timestamp_ms);
	if (reason == DEAD_NONE && letter->reason == DEAD_ID_CONFLICT) {
		if (!at->row)
			look_up(match, at, event, true);
		return;
	}
	if (reason != letter->reason)
		outcome_differs(match, &place,
			VERIFY_TEXT("a dead letter, %s", dead_reason_text(letter->reason)),
			reason ? VERIFY_TEXT("a dead letter, %s", dead_reason_text(reason))
			       : "no dead letter for this reason: it is well formed");
}

/* Any offset ---------------------------------------------------------------------------------- */

/* The message is in no table. */
static void match_nothing(struct verify_match *match, const struct verify_offset *at,
	enum dead_reason reason, const struct event *event, const char *detail)
{
	struct verify_place place = place_at(match, at->offset);

	if (at->in_gap)
		match->report->counts.skipped++;
	else if (reason == DEAD_NONE)
		look_up(match, at, event, false);
	else
		outcome_differs(match, &place, "in no table",
			VERIFY_TEXT("a dead letter, %s (%s)", dead_reason_text(reason), detail));
}

static void no_message(struct verify_match *match, const struct verify_offset *at)
{
	struct verify_place place = place_at(match, at->offset);

	if (at->row) {
		place.account_id = at->row->account_id;
		place.currency = at->row->currency;
		verify_report_add(match->report, VERIFY_LOG_NO_RECORD, &place,
			"the row in balance_transactions", "there",
			"none: the log has no message here");
	}
	if (at->letter)
		verify_report_add(match->report, VERIFY_LOG_NO_RECORD, &place,
			"the row in dead_letters", "there", "none: the log has no message here");
}

void verify_match_at(struct verify_match *match, const struct verify_offset *at)
{
	enum dead_reason reason;
	const char *detail = "";
	struct event event;

	if (!at->message) {
		no_message(match, at);
		return;
	}
	match->report->counts.messages++;
	reason = decode_message(at->message, match->partition, match->partitions, &event, &detail);
	if (at->row)
		match_row(match, at, reason, &event, detail);
	if (at->letter)
		match_letter(match, at, reason, &event);
	if (!at->row && !at->letter)
		match_nothing(match, at, reason, &event, detail);
}

/* Lookups ------------------------------------------------------------------------------------- */

static bool same_id(const struct event *a, const struct event *b)
{
	return a->account_id == b->account_id &&
	       a->transaction_id_length == b->transaction_id_length &&
	       memcmp(a->transaction_id, b->transaction_id, a->transaction_id_length) == 0;
}

void verify_match_found(
	struct verify_match *match, const struct event *event, int32_t partition, int64_t offset)
{
	for (size_t i = 0; i < match->lookup_count; i++) {
		struct verify_lookup *lookup = &match->lookups[i];

		if (!same_id(&lookup->event, event))
			continue;
		lookup->found = true;
		lookup->other = *event;
		lookup->other_partition = partition;
		lookup->other_offset = offset;
	}
}

static bool same_content(const struct event *a, const struct event *b)
{
	return a->currency == b->currency && a->type == b->type && a->amount == b->amount;
}

/* A message was decided by another one, which must have come before it. */
static void check_order(struct verify_match *match, const struct verify_lookup *lookup,
	const struct verify_place *place, const char *outcome)
{
	if (lookup->in_gap || lookup->other_offset < lookup->offset)
		return;
	outcome_differs(match, place,
		VERIFY_TEXT("%s of offset %" PRId64 ", which comes later", outcome,
			lookup->other_offset),
		"the first of the two to be in the journal");
}

static void decide_duplicate(struct verify_match *match, const struct verify_lookup *lookup)
{
	struct verify_place place = place_of(match, lookup->offset, &lookup->event);
	char texts[2][VERIFY_TEXT_MAX];

	if (!lookup->found) {
		outcome_differs(match, &place, "in no table",
			VERIFY_TEXT("a journal row, %s", event_text(texts[0], &lookup->event)));
	} else if (!same_content(&lookup->event, &lookup->other)) {
		outcome_differs(match, &place, "in no table",
			VERIFY_TEXT("a dead letter, ID_CONFLICT (offset %" PRId64 ": %s)",
				lookup->other_offset, event_text(texts[1], &lookup->other)));
	} else {
		match->report->counts.duplicates++;
		check_order(match, lookup, &place, "a duplicate");
	}
}

static void decide_conflict(struct verify_match *match, const struct verify_lookup *lookup)
{
	struct verify_place place = place_of(match, lookup->offset, &lookup->event);

	if (!lookup->found)
		outcome_differs(match, &place, "a dead letter, ID_CONFLICT",
			"a journal row: no other has this transaction_id");
	else if (same_content(&lookup->event, &lookup->other))
		outcome_differs(match, &place, "a dead letter, ID_CONFLICT",
			VERIFY_TEXT("a duplicate of offset %" PRId64, lookup->other_offset));
	else
		check_order(match, lookup, &place, "a dead letter, ID_CONFLICT because");
}

void verify_match_decide(struct verify_match *match)
{
	for (size_t i = 0; i < match->lookup_count; i++) {
		if (match->lookups[i].conflict)
			decide_conflict(match, &match->lookups[i]);
		else
			decide_duplicate(match, &match->lookups[i]);
	}
	match->lookup_count = 0;
}
