/* See replay_report.h. */
#include "replay_report.h"

#include <inttypes.h>

#include "table.h"

static const struct replay_chain *chain_of(const struct replay *r, const struct replay_candidate *c)
{
	return c->chain == REPLAY_NONE ? NULL : &r->table.chains[c->chain];
}

static int64_t account_of(const struct replay *r, const struct replay_chain *chain)
{
	return r->table.accounts[chain->account].account_id;
}

static const char *why_text(
	const struct replay *r, const struct replay_candidate *c, char text[REPLAY_WHY_MAX])
{
	const struct replay_account *account;

	if (c->verdict != REPLAY_UNDECIDED)
		return "";
	account = &r->table.accounts[chain_of(r, c)->account];
	if (c->why != REPLAY_WHY_NONE)
		return replay_why_text(c->why, c->offset, text);
	return replay_why_text(account->why, account->why_offset, text);
}

static const char *amount_text(i128 amount, char text[DECIMAL_TEXT_MAX + 1])
{
	text[decimal_format(amount, text)] = '\0';
	return text;
}

/* For people ---------------------------------------------------------------------------------- */

static const char *outcome_text_of(const struct replay_candidate *c)
{
	switch ((enum replay_verdict)c->verdict) {
	case REPLAY_RESTORE_ROW:
		return c->refusal ? "restore the row, FAILED" : "restore the row";
	case REPLAY_RESTORE_LETTER:
		return "restore the dead letter";
	case REPLAY_DECIDE:
		return c->refusal ? "refuse it now" : "apply it now";
	case REPLAY_UNDECIDED:
		return "leave it alone";
	default:
		return "";
	}
}

static void add_candidate(
	const struct replay *r, const struct replay_candidate *c, struct table *table)
{
	const struct replay_chain *chain = chain_of(r, c);
	char currency[CURRENCY_LENGTH_MAX + 1] = "";
	char amount[DECIMAL_TEXT_MAX + 1] = "";
	char why[REPLAY_WHY_MAX];

	table_add(table, "%" PRId64, c->offset);
	table_add(table, "%s", outcome_text_of(c));
	if (chain) {
		currency_text(chain->currency, currency);
		table_add(table, "%" PRId64, account_of(r, chain));
		table_add(table, "%s", event_type_text(c->type));
		table_add(table, "%s %s", amount_text(c->amount, amount), currency);
	} else {
		table_add(table, "-");
		table_add(table, "-");
		table_add(table, "-");
	}
	if (c->verdict == REPLAY_RESTORE_LETTER)
		table_add(table, "%s", dead_reason_text(c->reason));
	else if (c->refusal && c->verdict != REPLAY_UNDECIDED)
		table_add(table, "%s", refusal_text(c->refusal));
	else
		table_add(table, "%s", why_text(r, c, why));
}

static void print_candidates(const struct replay *r, FILE *file)
{
	static const char *const titles[] = {
		">offset", "what to do", ">account", "type", ">amount", "why"};
	int64_t shown = 0, all = 0;
	struct table table;

	table_init(&table, titles, sizeof titles / sizeof *titles);
	for (size_t i = 0; i < r->table.candidate_count; i++) {
		const struct replay_candidate *c = &r->table.candidates[i];

		if (c->verdict == REPLAY_DUPLICATE || all++ >= REPLAY_REPORT_ROWS)
			continue;
		add_candidate(r, c, &table);
		shown++;
	}
	if (shown > 0)
		table_print(&table, file);
	if (all > shown)
		fprintf(file, "... and %" PRId64 " more; --json has all\n", all - shown);
	if (shown > 0)
		fputc('\n', file);
	table_finish(&table);
}

static void print_conflicts(const struct replay *r, FILE *file)
{
	int64_t shown = r->counts.conflicts < REPLAY_REPORT_ROWS ? r->counts.conflicts
								 : REPLAY_REPORT_ROWS;

	for (int64_t i = 0; i < shown; i++)
		fprintf(file, "offset %" PRId64 ": %s; left alone\n", r->conflicts[i].offset,
			replay_conflict_text(r->conflicts[i].kind));
	if (r->counts.conflicts > shown)
		fprintf(file, "... and %" PRId64 " more such; --json has the first %d\n",
			r->counts.conflicts - shown, REPLAY_CONFLICTS_MAX);
}

static void print_outside(const struct replay *r, FILE *file)
{
	const struct replay_outside *outside = &r->outside;

	if (outside->rows > 0)
		fprintf(file,
			"  also missing outside of the range: %" PRId64
			" journal rows of these accounts\n"
			"    (--from-offset %" PRId64 " --to-offset %" PRId64 ")\n",
			outside->rows, outside->first, outside->last + 1);
}

void replay_report_print(const struct replay *r, FILE *file)
{
	const struct replay_counts *n = &r->counts;

	print_candidates(r, file);
	print_conflicts(r, file);
	fprintf(file,
		"partition %" PRId32 ", offsets %" PRId64 " to %" PRId64 ": %" PRId64 " messages\n"
		"  in order               %" PRId64 " journal rows, %" PRId64 " dead letters\n"
		"  duplicates             %" PRId64 "\n"
		"  rows to restore        %" PRId64 "\n"
		"  dead letters missing   %" PRId64 "\n"
		"  to be decided now      %" PRId64 " (%" PRId64 " applied, %" PRId64 " refused)\n"
		"  left alone             %" PRId64 " undecided, %" PRId64 " unlike the log\n",
		r->config.partition, r->config.from_offset, r->end, n->messages, n->rows,
		n->letters, n->verdicts[REPLAY_DUPLICATE], n->verdicts[REPLAY_RESTORE_ROW],
		n->verdicts[REPLAY_RESTORE_LETTER], n->verdicts[REPLAY_DECIDE], n->applied,
		n->verdicts[REPLAY_DECIDE] - n->applied, n->verdicts[REPLAY_UNDECIDED],
		n->conflicts);
	print_outside(r, file);
}

void replay_report_written(const struct replay *r, char *text, size_t size)
{
	snprintf(text, size,
		"%" PRId64 " journal rows restored, %" PRId64 " dead letters restored, %" PRId64
		" events decided",
		r->counts.written[REPLAY_RESTORE_ROW], r->counts.written[REPLAY_RESTORE_LETTER],
		r->counts.written[REPLAY_DECIDE]);
}

/* JSON ---------------------------------------------------------------------------------------- */

static void json_text(const char *name, const char *text, FILE *file)
{
	fprintf(file, ",\"%s\":\"", name);
	for (; *text; text++) {
		unsigned char letter = (unsigned char)*text;

		if (letter == '"' || letter == '\\')
			fputc('\\', file);
		if (letter < ' ')
			fprintf(file, "\\u%04x", letter);
		else
			fputc(letter, file);
	}
	fputc('"', file);
}

static void json_row(const struct replay *r, const struct replay_candidate *c, FILE *file)
{
	char amount[DECIMAL_TEXT_MAX + 1];

	json_text("status", c->refusal ? "FAILED" : "SUCCESS", file);
	if (c->refusal)
		json_text("reason", refusal_text(c->refusal), file);
	json_text("available_after", amount_text(c->available_after, amount), file);
	json_text("frozen_after", amount_text(c->frozen_after, amount), file);
	if (c->prev_offset < 0)
		fputs(",\"prev_offset\":null", file);
	else
		fprintf(file, ",\"prev_offset\":%" PRId64, c->prev_offset);
}

static void json_candidate(const struct replay *r, const struct replay_candidate *c, FILE *file)
{
	const struct replay_chain *chain = chain_of(r, c);
	char currency[CURRENCY_LENGTH_MAX + 1];
	char amount[DECIMAL_TEXT_MAX + 1];
	char why[REPLAY_WHY_MAX];

	fprintf(file, "{\"offset\":%" PRId64, c->offset);
	json_text("action", replay_verdict_text(c->verdict), file);
	if (chain) {
		currency_text(chain->currency, currency);
		fprintf(file, ",\"account_id\":%" PRId64, account_of(r, chain));
		json_text("currency", currency, file);
		json_text("type", event_type_text(c->type), file);
		json_text("amount", amount_text(c->amount, amount), file);
	}
	if (c->in_gap)
		fputs(",\"skipped\":true", file);
	if (c->verdict == REPLAY_RESTORE_LETTER)
		json_text("reason", dead_reason_text(c->reason), file);
	else if (c->verdict == REPLAY_RESTORE_ROW || c->verdict == REPLAY_DECIDE)
		json_row(r, c, file);
	else if (c->verdict == REPLAY_UNDECIDED)
		json_text("why", why_text(r, c, why), file);
	fputc('}', file);
}

static void json_counts(const char *name, const int64_t counts[REPLAY_VERDICTS], FILE *file)
{
	fprintf(file, ",\"%s\":{", name);
	for (int i = REPLAY_RESTORE_ROW; i < REPLAY_VERDICTS; i++)
		fprintf(file, "%s\"%s\":%" PRId64, i > REPLAY_RESTORE_ROW ? "," : "",
			replay_verdict_text(i), counts[i]);
	fputc('}', file);
}

static void json_offsets(const struct replay *r, FILE *file)
{
	fputs(",\"offsets\":[", file);
	for (size_t i = 0; i < r->table.candidate_count; i++) {
		if (i > 0)
			fputs(",\n", file);
		json_candidate(r, &r->table.candidates[i], file);
	}
	fputs("],\"conflicts\":[", file);
	for (size_t i = 0; i < replay_conflicts_kept(r); i++) {
		fprintf(file, "%s{\"offset\":%" PRId64, i > 0 ? ",\n" : "", r->conflicts[i].offset);
		json_text("what", replay_conflict_text(r->conflicts[i].kind), file);
		fputc('}', file);
	}
	fputc(']', file);
}

static void json_outside(const struct replay *r, FILE *file)
{
	const struct replay_outside *outside = &r->outside;

	fprintf(file, ",\"missing_outside\":{\"rows\":%" PRId64, outside->rows);
	if (outside->rows > 0)
		fprintf(file, ",\"from_offset\":%" PRId64 ",\"to_offset\":%" PRId64, outside->first,
			outside->last + 1);
	fputc('}', file);
}

void replay_report_json(const struct replay *r, FILE *file)
{
	const struct replay_counts *n = &r->counts;

	fprintf(file,
		"{\"partition\":%" PRId32 ",\"from_offset\":%" PRId64 ",\"to_offset\":%" PRId64
		",\"apply\":%s,\"complete\":%s",
		r->config.partition, r->config.from_offset, r->end,
		r->config.apply ? "true" : "false", r->rc == 0 ? "true" : "false");
	if (r->rc != 0)
		json_text("error", r->error.text, file);
	fprintf(file,
		",\"messages\":%" PRId64 ",\"in_order\":{\"journal_rows\":%" PRId64
		",\"dead_letters\":%" PRId64 "}",
		n->messages, n->rows, n->letters);
	json_counts("actions", n->verdicts, file);
	fprintf(file, ",\"decided\":{\"applied\":%" PRId64 ",\"refused\":%" PRId64 "}", n->applied,
		n->verdicts[REPLAY_DECIDE] - n->applied);
	json_counts("written", n->written, file);
	if (r->resolved) {
		json_outside(r, file);
		json_offsets(r, file);
	}
	fputs("}\n", file);
}
