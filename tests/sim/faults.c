#include "faults.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FAULT_TEXT(name, text) [FAULT_##name] = (text),
static const char *const kinds[FAULTS] = {FAULT_TABLE(FAULT_TEXT)};
#undef FAULT_TEXT

static const char *const calls[FAULT_CALLS_MAX] = {"connect", "begin", "move_offset",
	"load journal", "load balances", "load dead letters", "commit", "settle", "read_partition",
	"read_balances", "find_transactions", "recent_transactions", "read_newest", "read_oldest",
	"changed_balances", "scan_balances", "halt", "ping", "has_rows", "snapshot", "scan_journal",
	"scan_letters", "read_gaps", "read_accounts"};

static const char *const leases[FAULT_LEASES_MAX] = {
	"prepare", "read", "renew", "acquire", "release", "withdraw", "request", "unrequest"};

static const char *const outbox[FAULT_OUTBOX_MAX] = {"acquire", "renew", "release", "pending",
	"mark", "open", "send", "flush", "commit", "abort"};

static const char *const recover_steps[RECOVER_STEPS] = {
	[RECOVER_CONNECT] = "connect",
	[RECOVER_STATE] = "state",
	[RECOVER_LAYOUT] = "layout",
	[RECOVER_WATERMARKS] = "watermarks",
	[RECOVER_NEWEST] = "newest",
	[RECOVER_COMPARE] = "compare",
	[RECOVER_OLDEST] = "oldest",
	[RECOVER_COMPARE_OLDEST] = "compare_oldest",
	[RECOVER_IDS] = "ids",
	[RECOVER_REDIS] = "redis",
	[RECOVER_OPEN] = "open",
};

static const char *const syncs[SYNC_SCANNED + 1] = {
	[SYNC_UNCHECKED] = "unchecked",
	[SYNC_COMPLETE] = "complete",
	[SYNC_WANTED] = "wanted",
	[SYNC_TOKEN] = "token",
	[SYNC_SCANNING] = "scanning",
	[SYNC_SCANNED] = "scanned",
};

static size_t place_of(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count && names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	assert(!"a call that is in no table");
	return 0;
}

void faults_call(struct faults *faults, const char *call, enum call_fault fault)
{
	faults->calls[place_of(calls, FAULT_CALLS_MAX, call)][fault]++;
}

void faults_lease(struct faults *faults, const char *call, enum call_fault fault)
{
	faults->leases[place_of(leases, FAULT_LEASES_MAX, call)][fault]++;
}

void faults_outbox(struct faults *faults, const char *call, enum call_fault fault)
{
	faults->outbox[place_of(outbox, FAULT_OUTBOX_MAX, call)][fault]++;
}

const char *faults_text(enum fault fault)
{
	return kinds[fault];
}

const char *faults_call_text(enum call_fault fault)
{
	static const char *const texts[CALL_FAULTS] = {
		[CALL_FAILS] = "fails, as in a deadlock; nothing is executed",
		[CALL_LOST_BEFORE] = "is not executed: the connection breaks",
		[CALL_LOST_AFTER] = "is executed, but the connection breaks before the answer",
		[CALL_SLOW] = "takes long",
	};

	return texts[fault];
}

/* All counters are of one type. */
void faults_add(struct faults *total, const struct faults *faults)
{
	uint64_t *to = (uint64_t *)total;
	const uint64_t *from = (const uint64_t *)faults;

	for (size_t i = 0; i < sizeof *total / sizeof *to; i++)
		to[i] += from[i];
}

/* Printing ------------------------------------------------------------------------------------- */

static void print_calls(const char *title, const char *const *names, size_t count,
	const uint64_t counts[][CALL_FAULTS])
{
	printf("%-24s %9s %12s %12s %9s\n", title, "fails", "lost before", "answer lost", "slow");
	for (size_t i = 0; i < count && names[i]; i++)
		printf("  %-22s %9" PRIu64 " %12" PRIu64 " %12" PRIu64 " %9" PRIu64 "\n", names[i],
			counts[i][CALL_FAILS], counts[i][CALL_LOST_BEFORE],
			counts[i][CALL_LOST_AFTER], counts[i][CALL_SLOW]);
}

static void print_kills(
	const char *title, const char *const *names, size_t count, const uint64_t *counts)
{
	printf("killed %s:", title);
	for (size_t i = 0; i < count; i++)
		if (names[i])
			printf(" %s %" PRIu64, names[i], counts[i]);
	printf("\n");
}

static void flush_names(const char *names[FLUSH_STEPS])
{
	for (int i = 0; i < FLUSH_STEPS; i++)
		names[i] = i == FLUSH_ENDED ? NULL : flush_step_text(i);
}

/* A relay that was told to stop releases in the step in which it hears of it. */
static void relay_names(const char *names[RELAY_STEPS])
{
	for (int i = 0; i < RELAY_STEPS; i++)
		names[i] = i == RELAY_RELEASE || i == RELAY_STOPPED ? NULL : relay_step_text(i);
}

void faults_print(const struct faults *faults)
{
	const char *flush_steps[FLUSH_STEPS];
	const char *relay_steps[RELAY_STEPS];

	flush_names(flush_steps);
	relay_names(relay_steps);
	for (int i = 0; i < FAULTS; i++)
		printf("%9" PRIu64 "  %s\n", faults->kinds[i], kinds[i]);
	print_calls("calls of the database", calls, FAULT_CALLS_MAX, faults->calls);
	print_calls("calls of the leases", leases, FAULT_LEASES_MAX, faults->leases);
	print_calls("calls of the relay", outbox, FAULT_OUTBOX_MAX, faults->outbox);
	print_kills("before a flush's", flush_steps, FLUSH_STEPS, faults->flushing);
	print_kills("before recovery's", recover_steps, RECOVER_STEPS, faults->recovering);
	print_kills("while Redis was", syncs, SYNC_SCANNED + 1, faults->publishing);
	print_kills("before a relay's", relay_steps, RELAY_STEPS, faults->relaying);
}

/* Completeness --------------------------------------------------------------------------------- */

static bool has(uint64_t count, const char *group, const char *name, const char *how)
{
	if (count == 0)
		fprintf(stderr, "never happened: %s%s %s\n", group, name, how);
	return count > 0;
}

/* A connect only fails. */
static bool calls_complete(const char *group, const char *const *names, size_t count,
	const uint64_t counts[][CALL_FAULTS])
{
	bool all = true;

	for (size_t i = 0; i < count && names[i]; i++)
		for (int fault = 0; fault < CALL_FAULTS; fault++)
			if (fault == CALL_FAILS || strcmp(names[i], "connect") != 0)
				all &= has(
					counts[i][fault], group, names[i], faults_call_text(fault));
	return all;
}

/* The leases' store is asked in whole transactions: a failure is one before anything happened. */
static bool leases_complete(const struct faults *faults)
{
	bool all = true;

	for (size_t i = 0; i < FAULT_LEASES_MAX; i++) {
		all &= has(faults->leases[i][CALL_FAILS], "leases: ", leases[i], "fails");
		all &= has(faults->leases[i][CALL_LOST_AFTER], "leases: ", leases[i],
			"is executed without an answer");
		all &= has(faults->leases[i][CALL_SLOW], "leases: ", leases[i], "takes long");
	}
	return all;
}

static bool kills_complete(
	const char *group, const char *const *names, size_t count, const uint64_t *counts)
{
	bool all = true;

	for (size_t i = 0; i < count; i++)
		if (names[i])
			all &= has(counts[i], group, names[i], "");
	return all;
}

bool faults_complete(const struct faults *faults)
{
	const char *flush_steps[FLUSH_STEPS];
	const char *relay_steps[RELAY_STEPS];
	bool all = true;

	flush_names(flush_steps);
	relay_names(relay_steps);
	for (int i = 0; i < FAULTS; i++)
		all &= has(faults->kinds[i], "", kinds[i], "");
	all &= calls_complete("database: ", calls, FAULT_CALLS_MAX, faults->calls);
	all &= calls_complete("outbox: ", outbox, FAULT_OUTBOX_MAX, faults->outbox);
	all &= leases_complete(faults);
	all &= kills_complete(
		"a kill before a flush's ", flush_steps, FLUSH_STEPS, faults->flushing);
	all &= kills_complete(
		"a kill before recovery's ", recover_steps, RECOVER_STEPS, faults->recovering);
	all &= kills_complete(
		"a kill while Redis was ", syncs, SYNC_SCANNED + 1, faults->publishing);
	all &= kills_complete(
		"a kill before a relay's ", relay_steps, RELAY_STEPS, faults->relaying);
	return all;
}
