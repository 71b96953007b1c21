/* See verify_report.h. */
#include "verify_report.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define PROGRESS_MS 200 /* between two lines of progress */

/* Names for programs, and what a summary calls them. */
static const struct {
	const char *name;
	const char *help;
} kinds[VERIFY_KINDS] = {
	[VERIFY_OFFSETS] = {"offsets", "partition_offsets, or rows at or above next_offset"},
	[VERIFY_PARTITION] = {"partition", "rows in a partition that is not their account's"},
	[VERIFY_VALUE] = {"value", "values that ledgerd does not write"},
	[VERIFY_OUTCOME] = {"journal_outcome", "journal rows against the rules"},
	[VERIFY_CHAIN] = {"journal_chain", "chains of prev_offset"},
	[VERIFY_BALANCE] = {"balance", "account_balances against the journal"},
	[VERIFY_SUM] = {"sum", "sums of a currency"},
	[VERIFY_TWICE] = {"twice", "offsets both in the journal and in dead_letters"},
	[VERIFY_GAP] = {"gap", "offset_gaps"},
	[VERIFY_LOG_CONTENT] = {"log_content", "rows against their messages"},
	[VERIFY_LOG_OUTCOME] = {"log_outcome", "outcomes of messages"},
	[VERIFY_LOG_NO_RECORD] = {"log_no_record", "rows without a message"},
	[VERIFY_LOG_END] = {"log_end", "the log's end"},
	[VERIFY_REDIS] = {"redis", "Redis against account_balances"},
};

const char *verify_kind_text(enum verify_kind kind)
{
	assert(kind < VERIFY_KINDS);
	return kinds[kind].name;
}

void verify_report_init(struct verify_report *report, FILE *file, FILE *terminal)
{
	*report = (struct verify_report){.file = file, .terminal = terminal};
	report->listed = xcalloc(VERIFY_LISTED_MAX, sizeof *report->listed);
}

void verify_report_finish(struct verify_report *report)
{
	for (size_t i = 0; i < report->note_count; i++)
		free(report->notes[i]);
	free(report->notes);
	free(report->listed);
}

const char *verify_text(char buffer[VERIFY_TEXT_MAX], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(buffer, VERIFY_TEXT_MAX, format, args);
	va_end(args);
	return buffer;
}

/* Texts may quote what stands in a damaged database. */
static void copy_clean(char *copy, size_t size, const char *text)
{
	size_t length = 0;

	for (; length < size - 1 && text[length]; length++)
		copy[length] = text[length] >= ' ' && text[length] <= '~' ? text[length] : '?';
	copy[length] = '\0';
}

static void print_place(const struct verify_place *place, FILE *file)
{
	const char *blank = "";
	char currency[CURRENCY_LENGTH_MAX + 1];

	if (place->partition >= 0) {
		fprintf(file, "partition %" PRId32, place->partition);
		blank = " ";
	}
	if (place->offset >= 0) {
		fprintf(file, "%soffset %" PRId64, blank, place->offset);
		blank = " ";
	}
	if (place->account_id > 0) {
		fprintf(file, "%saccount %" PRId64, blank, place->account_id);
		blank = " ";
	}
	if (place->currency != CURRENCY_NONE) {
		currency_text(place->currency, currency);
		fprintf(file, "%s%s%s", blank, place->account_id > 0 ? "" : "currency ", currency);
		blank = " ";
	}
	if (*blank)
		fputs(": ", file);
}

void verify_report_wipe(struct verify_report *report)
{
	if (report->progress)
		fputs("\r\033[K", report->terminal);
	report->progress = false;
}

void verify_report_progress(struct verify_report *report, int64_t now_ms, const char *format, ...)
{
	va_list args;

	if (!report->terminal || now_ms - report->progress_ms < PROGRESS_MS)
		return;
	fputs("\r\033[K", report->terminal);
	va_start(args, format);
	vfprintf(report->terminal, format, args);
	va_end(args);
	fflush(report->terminal);
	report->progress = true;
	report->progress_ms = now_ms;
}

void verify_report_add(struct verify_report *report, enum verify_kind kind,
	const struct verify_place *place, const char *what, const char *found, const char *expected)
{
	struct verify_difference *difference;

	assert(kind < VERIFY_KINDS);
	report->by_kind[kind]++;
	report->differences++;
	if (report->listed_count == VERIFY_LISTED_MAX)
		return;

	difference = &report->listed[report->listed_count++];
	*difference = (struct verify_difference){.kind = kind, .place = *place};
	copy_clean(difference->what, sizeof difference->what, what);
	copy_clean(difference->found, sizeof difference->found, found);
	copy_clean(difference->expected, sizeof difference->expected, expected);

	if (!report->file)
		return;
	verify_report_wipe(report);
	print_place(place, report->file);
	fprintf(report->file, "%s is %s, expected %s\n", difference->what, difference->found,
		difference->expected);
	fflush(report->file);
}

void verify_report_note(struct verify_report *report, const char *format, ...)
{
	char text[512], clean[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	copy_clean(clean, sizeof clean, text);
	report->notes = xrealloc(report->notes, (report->note_count + 1) * sizeof *report->notes);
	report->notes[report->note_count++] = xstrdup(clean);

	if (!report->file)
		return;
	verify_report_wipe(report);
	fprintf(report->file, "note: %s\n", clean);
	fflush(report->file);
}

/* For people ---------------------------------------------------------------------------------- */

/* "1,234,567" */
static const char *grouped(int64_t number, char text[32])
{
	char plain[24];
	int length = snprintf(plain, sizeof plain, "%" PRId64, number);
	char *at = text;

	for (int i = 0; i < length; i++) {
		*at++ = plain[i];
		if (plain[i] != '-' && i + 1 < length && (length - i - 1) % 3 == 0)
			*at++ = ',';
	}
	*at = '\0';
	return text;
}

#define GROUPED(number) grouped((number), (char[32]){0})

static void print_kinds(const struct verify_report *report, FILE *file)
{
	for (size_t i = 0; i < VERIFY_KINDS; i++)
		if (report->by_kind[i] > 0)
			fprintf(file, "  %12s  %s\n", GROUPED(report->by_kind[i]), kinds[i].help);
}

static void print_counts(const struct verify_report *report, int64_t elapsed_ms, FILE *file)
{
	const struct verify_counts *counts = &report->counts;

	fprintf(file,
		"%s partition%s in %" PRId64 ".%" PRId64 " s: %s journal rows, %s balances, "
		"%s dead letters, %s gaps",
		GROUPED(counts->partitions), counts->partitions == 1 ? "" : "s", elapsed_ms / 1000,
		elapsed_ms % 1000 / 100, GROUPED(counts->rows), GROUPED(counts->balances),
		GROUPED(counts->dead_letters), GROUPED(counts->gaps));
	if (report->from_kafka)
		fprintf(file, "; %s messages of the log (%s duplicates, %s in gaps)",
			GROUPED(counts->messages), GROUPED(counts->duplicates),
			GROUPED(counts->skipped));
	if (report->redis)
		fprintf(file, "; Redis: %s balances, %s keys", GROUPED(counts->redis_balances),
			GROUPED(counts->redis_keys));
	fputc('\n', file);
}

void verify_report_print(
	const struct verify_report *report, int64_t elapsed_ms, bool complete, FILE *file)
{
	int64_t unnamed = report->differences - (int64_t)report->listed_count;

	if (unnamed > 0)
		fprintf(file, "and %s more differences\n", GROUPED(unnamed));
	print_counts(report, elapsed_ms, file);
	if (report->differences == 0) {
		fputs(complete ? "no differences\n" : "no differences so far; NOT COMPLETE\n",
			file);
		return;
	}
	fprintf(file, "%s %s%s\n", GROUPED(report->differences),
		report->differences == 1 ? "difference" : "differences",
		complete ? "" : "; NOT COMPLETE");
	print_kinds(report, file);
}

/* For programs -------------------------------------------------------------------------------- */

/* Texts are printable ASCII: see copy_clean. */
static void json_text(const char *text, FILE *file)
{
	fputc('"', file);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', file);
		fputc(*text, file);
	}
	fputc('"', file);
}

static void json_difference(const struct verify_difference *difference, FILE *file)
{
	const struct verify_place *place = &difference->place;
	char currency[CURRENCY_LENGTH_MAX + 1];

	fprintf(file, "{\"kind\": \"%s\"", verify_kind_text(difference->kind));
	if (place->partition >= 0)
		fprintf(file, ", \"partition\": %" PRId32, place->partition);
	if (place->offset >= 0)
		fprintf(file, ", \"offset\": %" PRId64, place->offset);
	if (place->account_id > 0)
		fprintf(file, ", \"account_id\": \"%" PRId64 "\"", place->account_id);
	if (place->currency != CURRENCY_NONE) {
		currency_text(place->currency, currency);
		fprintf(file, ", \"currency\": \"%s\"", currency);
	}
	fputs(", \"what\": ", file);
	json_text(difference->what, file);
	fputs(", \"found\": ", file);
	json_text(difference->found, file);
	fputs(", \"expected\": ", file);
	json_text(difference->expected, file);
	fputc('}', file);
}

static void json_kinds(const struct verify_report *report, FILE *file)
{
	const char *comma = "";

	fputs("  \"by_kind\": {", file);
	for (size_t i = 0; i < VERIFY_KINDS; i++) {
		if (report->by_kind[i] == 0)
			continue;
		fprintf(file, "%s\"%s\": %" PRId64, comma, kinds[i].name, report->by_kind[i]);
		comma = ", ";
	}
	fputs("},\n", file);
}

static void json_counts(const struct verify_report *report, FILE *file)
{
	const struct verify_counts *counts = &report->counts;

	fprintf(file,
		"  \"partitions\": %" PRId64 ", \"journal_rows\": %" PRId64
		", \"balances\": %" PRId64 ", \"dead_letters\": %" PRId64 ", \"gaps\": %" PRId64
		",\n",
		counts->partitions, counts->rows, counts->balances, counts->dead_letters,
		counts->gaps);
	if (report->from_kafka)
		fprintf(file,
			"  \"messages\": %" PRId64 ", \"duplicates\": %" PRId64
			", \"messages_in_gaps\": %" PRId64 ",\n",
			counts->messages, counts->duplicates, counts->skipped);
	if (report->redis)
		fprintf(file, "  \"redis_balances\": %" PRId64 ", \"redis_keys\": %" PRId64 ",\n",
			counts->redis_balances, counts->redis_keys);
}

static void json_failure(const char *failure, FILE *file)
{
	char clean[ERROR_TEXT_MAX];

	copy_clean(clean, sizeof clean, failure);
	fputs("  \"error\": ", file);
	json_text(clean, file);
	fputs(",\n", file);
}

void verify_report_print_json(const struct verify_report *report, int64_t elapsed_ms, bool complete,
	const char *failure, FILE *file)
{
	fprintf(file,
		"{\n  \"complete\": %s, \"differences\": %" PRId64 ", \"seconds\": %" PRId64
		".%03" PRId64 ",\n",
		complete ? "true" : "false", report->differences, elapsed_ms / 1000,
		elapsed_ms % 1000);
	if (failure)
		json_failure(failure, file);
	json_counts(report, file);
	json_kinds(report, file);
	fputs("  \"notes\": [", file);
	for (size_t i = 0; i < report->note_count; i++) {
		fputs(i ? ", " : "", file);
		json_text(report->notes[i], file);
	}
	fputs("],\n  \"listed\": [", file);
	for (size_t i = 0; i < report->listed_count; i++) {
		fputs(i ? ",\n    " : "\n    ", file);
		json_difference(&report->listed[i], file);
	}
	fputs(report->listed_count ? "\n  ]\n}\n" : "]\n}\n", file);
}
