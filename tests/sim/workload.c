#include "workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "murmur2.h"

const char *const workload_currencies[WORKLOAD_CURRENCIES] = {"USDT", "BTC"};

static const char *const types[] = {"DEPOSIT", "WITHDRAW", "FREEZE", "UNFREEZE", "SETTLE"};

void workload_init(struct workload *w, uint64_t seed, int32_t partitions, struct faults *faults)
{
	struct random *r = &w->random;

	random_init(r, seed);
	w->faults = faults;
	w->partitions = partitions;
	w->accounts = random_between(r, 1, 12);
	w->ids = 0;
	w->duplicate_chance = random_below(r, 4000);
	w->conflict_chance = random_below(r, 500);
	w->malformed_chance = random_below(r, 1000);
	w->hidden_chance = random_below(r, 1500);
	w->huge_chance = random_below(r, 300);
}

static int32_t partition_of(const struct workload *w, const char *key)
{
	return murmur2_partition(key, strlen(key), w->partitions);
}

static struct intent new_event(struct workload *w)
{
	struct random *r = &w->random;
	struct intent intent = {
		.meaning = MEANS_EVENT,
		.account = random_between(r, 1, w->accounts),
		.currency = (int)random_below(r, WORKLOAD_CURRENCIES),
		.id = w->ids++,
		.kind = random_chance(r, 4000) ? DEPOSIT : (enum kind)random_below(r, 5),
		.cents = random_between(r, 1, 100000),
	};

	if (random_chance(r, w->huge_chance))
		intent.cents = ORACLE_MOST_CENTS - 1 - random_below(r, 100000);
	return intent;
}

/* An event of this partition that was sent before, if there is one at a random place. */
static bool old_event(struct workload *w, const struct oracle *oracle, struct intent *ret_intent)
{
	if (oracle->count == 0)
		return false;
	*ret_intent = oracle->expected[random_below(&w->random, oracle->count)].intent;
	return ret_intent->meaning == MEANS_EVENT;
}

static size_t cents_text(__int128 cents, char *text, size_t size, bool long_form)
{
	return (size_t)snprintf(text, size, "%" PRId64 ".%02d%s", (int64_t)(cents / 100),
		(int)(cents % 100), long_form ? "000" : "");
}

static size_t event_text(struct workload *w, const struct intent *intent, char *text, size_t size)
{
	char amount[48];

	cents_text(intent->cents, amount, sizeof amount, random_chance(&w->random, 2000));
	return (size_t)snprintf(text, size,
		"{\"transaction_id\":\"tx-%" PRId64 "\",\"account_id\":%" PRId64
		",\"currency\":\"%s\",\"type\":\"%s\",\"amount\":\"%s\"}",
		intent->id, intent->account, workload_currencies[intent->currency],
		types[intent->kind], amount);
}

static void append(struct memory_log *log, struct oracle *oracle, const struct intent *intent,
	const char *key, const char *value, size_t length, int64_t now_ms)
{
	int64_t offset = memory_log_append(log, key, key ? strlen(key) : 0, value, length, now_ms);
	char headers[48];

	oracle_append(oracle, intent);
	if (offset % 2 == 0) /* the others have none */
		return;
	snprintf(headers, sizeof headers, "[[\"offset\",\"%lld\"]]", (long long)offset);
	memory_log_set_headers(log, offset, headers);
}

/* What the newest message turned out to be. */
static void count_event(struct workload *w, const struct oracle *oracle)
{
	const struct expected *e = &oracle->expected[oracle->count - 1];

	w->faults->kinds[FAULT_SENT_DUPLICATE] += e->fate == FATE_DUPLICATE;
	w->faults->kinds[FAULT_SENT_CONFLICT] += e->fate == FATE_DEAD;
}

static void write_event(struct workload *w, const struct intent *intent, struct letter *ret_letter)
{
	ret_letter->intent = *intent;
	ret_letter->length = event_text(w, intent, ret_letter->value, sizeof ret_letter->value);
	snprintf(ret_letter->key, sizeof ret_letter->key, "%" PRId64, intent->account);
}

void workload_write(struct workload *w, struct letter *ret_letter)
{
	struct intent intent = new_event(w);

	write_event(w, &intent, ret_letter);
}

void workload_deliver(struct workload *w, struct memory_log *logs, struct oracle *oracles,
	const struct letter *letter, int64_t now_ms)
{
	int32_t partition = partition_of(w, letter->key);

	append(&logs[partition], &oracles[partition], &letter->intent, letter->key, letter->value,
		letter->length, now_ms);
	count_event(w, &oracles[partition]);
}

static void send_event(struct workload *w, struct memory_log *logs, struct oracle *oracles,
	const struct intent *intent, int64_t now_ms)
{
	struct letter letter;

	write_event(w, intent, &letter);
	workload_deliver(w, logs, oracles, &letter, now_ms);
}

/* In some partition, with some key, what is no event at all. */
static void send_malformed(
	struct workload *w, struct memory_log *logs, struct oracle *oracles, int64_t now_ms)
{
	static const char *const bad[] = {"", "{", "null", "{\"transaction_id\":\"a\"}", "\xff\xfe",
		"{\"transaction_id\":\"~x\",\"account_id\":1,\"currency\":\"A\",\"type\":\"DEPOSIT\","
		"\"amount\":1}",
		"{\"transaction_id\":\"x\",\"account_id\":1,\"currency\":\"A\",\"type\":\"DEPOSIT\","
		"\"amount\":1e-19}"};
	struct random *r = &w->random;
	int32_t partition = (int32_t)random_below(r, w->partitions);
	const char *value = random_chance(r, 1000) ? NULL : bad[random_below(r, 7)];
	struct intent intent = {.meaning = MEANS_MALFORMED};

	w->faults->kinds[FAULT_SENT_MALFORMED]++;
	append(&logs[partition], &oracles[partition], &intent, random_chance(r, 5000) ? "1" : NULL,
		value, value ? strlen(value) : 0, now_ms);
}

/* A good event under another key, under none, or in a partition that is not its key's. */
static void send_misplaced(
	struct workload *w, struct memory_log *logs, struct oracle *oracles, int64_t now_ms)
{
	struct random *r = &w->random;
	struct intent intent = new_event(w);
	char key[24];
	char value[512];
	size_t length = event_text(w, &intent, value, sizeof value);
	int32_t partition = (int32_t)random_below(r, w->partitions);
	bool keyless = random_chance(r, 3000);

	snprintf(key, sizeof key, "%" PRId64, intent.account + (random_chance(r, 3000) ? 1 : 0));
	intent.meaning = MEANS_KEY_MISMATCH;
	if (!keyless && strtoll(key, NULL, 10) == intent.account)
		intent.meaning = partition_of(w, key) == partition ? MEANS_EVENT
								   : MEANS_WRONG_PARTITION;
	w->faults->kinds[FAULT_SENT_MISPLACED] += intent.meaning != MEANS_EVENT;
	append(&logs[partition], &oracles[partition], &intent, keyless ? NULL : key, value, length,
		now_ms);
}

static void send_hidden(struct workload *w, struct memory_log *logs, struct oracle *oracles)
{
	int32_t partition = (int32_t)random_below(&w->random, w->partitions);
	struct intent nothing = {.meaning = MEANS_NOTHING};

	w->faults->kinds[FAULT_SENT_HIDDEN]++;
	memory_log_append_hidden(&logs[partition]);
	oracle_append(&oracles[partition], &nothing);
}

void workload_send(
	struct workload *w, struct memory_log *logs, struct oracle *oracles, int64_t now_ms)
{
	struct random *r = &w->random;
	struct intent intent;

	if (random_chance(r, w->hidden_chance)) {
		send_hidden(w, logs, oracles);
	} else if (random_chance(r, w->malformed_chance)) {
		if (random_chance(r, 5000))
			send_malformed(w, logs, oracles, now_ms);
		else
			send_misplaced(w, logs, oracles, now_ms);
	} else {
		intent = new_event(w);
		if (random_chance(r, w->duplicate_chance + w->conflict_chance) &&
			old_event(w, &oracles[random_below(r, w->partitions)], &intent) &&
			random_chance(r, w->conflict_chance * 10000 /
						 (w->duplicate_chance + w->conflict_chance)))
			intent.cents++;
		if (intent.meaning != MEANS_EVENT)
			intent = new_event(w);
		send_event(w, logs, oracles, &intent, now_ms);
	}
}
