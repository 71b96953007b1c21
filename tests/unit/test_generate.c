/*
 * Generated events: the same for a seed on every machine, as many of each kind as asked for, and
 * with the outcome that the generator names, judged by the real decoder and the real rules.
 */
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amounts.h"
#include "apply.h"
#include "decode.h"
#include "generate.h"

static struct generate *start(const struct generate_config *config)
{
	struct generate *gen = malloc(sizeof(*gen));
	struct error err;

	if (generate_init(gen, config, &err))
		fail_msg("%s", err.text);
	return gen;
}

static void stop(struct generate *gen)
{
	generate_finish(gen);
	free(gen);
}

/* FNV-1a over keys and values, with a mark for what is absent. */
static uint64_t checksum(const struct generate_config *config)
{
	struct generate *gen = start(config);
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	struct generated message;

	while (generate_next(gen, &message)) {
		for (size_t i = 0; i < message.key_length; i++)
			hash = (hash ^ (unsigned char)message.key[i]) * UINT64_C(0x100000001b3);
		hash = (hash ^ (message.value ? 256 : 257)) * UINT64_C(0x100000001b3);
		for (size_t i = 0; i < message.value_length; i++)
			hash = (hash ^ (unsigned char)message.value[i]) * UINT64_C(0x100000001b3);
		hash = (hash ^ 258) * UINT64_C(0x100000001b3);
	}
	stop(gen);
	return hash;
}

static const char *const three_currencies[] = {"USDT", "BTC", "EUR"};

static struct generate_config simple_config(int64_t count)
{
	struct generate_config config = generate_defaults;

	config.count = count;
	config.accounts = 1000;
	return config;
}

/* Everything at once. */
static struct generate_config mixed_config(int64_t count)
{
	struct generate_config config = simple_config(count);

	config.zipf = 1.1;
	config.seed = 77;
	config.duplicates = 0.1;
	config.overdrafts = 0.05;
	config.malformed = 0.15;
	config.decimals = 8;
	config.currencies = three_currencies;
	config.currency_count = 3;
	return config;
}

static void test_first_message(void **state)
{
	static const char expected[] =
		"{\"transaction_id\":\"019b76da-a800-7000-afba-e3685963bb19\",\"account_id\":567,"
		"\"currency\":\"USDT\",\"type\":\"DEPOSIT\",\"amount\":\"444.36\",\"ts\":"
		"1767225600000}";
	struct generate_config config = simple_config(1);
	struct generate *gen = start(&config);
	struct generated message;

	assert_true(generate_next(gen, &message));
	assert_int_equal(message.outcome, OUTCOME_APPLIED);
	assert_int_equal(message.key_length, 3);
	assert_memory_equal(message.key, "567", 3);
	assert_int_equal(message.value_length, sizeof(expected) - 1);
	assert_memory_equal(message.value, expected, sizeof(expected) - 1);
	assert_false(generate_next(gen, &message));
	stop(gen);
}

static void test_known_checksums(void **state)
{
	struct generate_config config = simple_config(100000);

	assert_true(checksum(&config) == UINT64_C(0xf44ee425fa49eeea));
	config.random_ids = true;
	assert_true(checksum(&config) == UINT64_C(0x581729efa3a4207c));
	config = mixed_config(100000);
	assert_true(checksum(&config) == UINT64_C(0x6139cb68cd7dec62));
}

static void test_seeds_differ(void **state)
{
	struct generate_config config = simple_config(1000);
	struct generate_config other = config;

	assert_true(checksum(&config) == checksum(&other));
	other.seed++;
	assert_true(checksum(&config) != checksum(&other));
}

/* A longer run begins like a shorter one. */
static void test_count_only_ends(void **state)
{
	struct generate_config config = mixed_config(1000);
	struct generate_config longer = mixed_config(5000);
	struct generate *gen = start(&config);
	struct generate *more = start(&longer);
	struct generated message;
	struct generated same;

	while (generate_next(gen, &message)) {
		assert_true(generate_next(more, &same));
		assert_int_equal(message.value_length, same.value_length);
		if (message.value)
			assert_memory_equal(message.value, same.value, message.value_length);
		assert_memory_equal(message.key, same.key, message.key_length);
	}
	stop(gen);
	stop(more);
}

/* A ledger of the plainest kind: ids in a tree, balances in an array. */
struct plain_ledger {
	void *ids;
	struct balance *balances; /* by account, in three currencies */
	size_t counts[5];         /* by outcome */
	size_t reasons[5];        /* by dead_reason */
};

static int compare_ids(const void *left, const void *right)
{
	const struct event *a = left;
	const struct event *b = right;
	int order = memcmp(a->transaction_id, b->transaction_id, 36);

	return order ? order : (a->account_id > b->account_id) - (a->account_id < b->account_id);
}

static enum outcome judge_event(
	struct plain_ledger *ledger, const struct event *event, enum dead_reason *ret_reason)
{
	struct event *copy = malloc(sizeof(*copy));
	struct event *known;
	int currency = 0;

	*copy = *event;
	assert_int_equal(event->transaction_id_length, 36);
	known = *(struct event **)tsearch(copy, &ledger->ids, compare_ids);
	if (known != copy) {
		free(copy);
		if (known->amount == event->amount && known->type == event->type &&
			known->currency == event->currency)
			return OUTCOME_DUPLICATE;
		*ret_reason = DEAD_ID_CONFLICT;
		return OUTCOME_DEAD_LETTER;
	}
	while (event->currency !=
		currency_pack(three_currencies[currency], strlen(three_currencies[currency])))
		currency++;
	return apply(&ledger->balances[event->account_id * 3 + currency], event->type,
		       event->amount)
		       ? OUTCOME_REFUSED
		       : OUTCOME_APPLIED;
}

static void judge(struct plain_ledger *ledger, const struct generated *made)
{
	struct message message = {
		.timestamp_ms = MESSAGE_NO_TIMESTAMP,
		.key = made->key,
		.key_length = made->key_length,
		.value = made->value,
		.value_length = made->value_length,
	};
	enum outcome outcome = OUTCOME_DEAD_LETTER;
	const char *detail = "";
	struct event event;
	enum dead_reason reason = decode_message(&message, 0, 1, &event, &detail);

	if (reason == DEAD_NONE)
		outcome = judge_event(ledger, &event, &reason);
	if (outcome != made->outcome || reason != made->dead_reason)
		fail_msg("%s, not %s: %.*s %s", outcome_text(outcome), outcome_text(made->outcome),
			(int)made->value_length, made->value, detail);
	ledger->counts[outcome]++;
	ledger->reasons[reason]++;
}

static struct plain_ledger judge_all(const struct generate_config *config)
{
	struct plain_ledger ledger = {
		.balances = calloc((size_t)(config->accounts + 1) * 3, sizeof(struct balance)),
	};
	struct generate *gen = start(config);
	struct generated message;

	while (generate_next(gen, &message))
		judge(&ledger, &message);
	stop(gen);
	free(ledger.balances);
	tdestroy(ledger.ids, free);
	return ledger;
}

static void assert_share(size_t count, int64_t of, double share)
{
	double seen = (double)count / (double)of;

	if (seen < share * 0.95 || seen > share * 1.05)
		fail_msg("%zu of %lld are not %g", count, (long long)of, share);
}

static void test_good_events(void **state)
{
	struct generate_config config = simple_config(200000);
	struct plain_ledger ledger = judge_all(&config);

	assert_int_equal(ledger.counts[OUTCOME_DEAD_LETTER] + ledger.counts[OUTCOME_DUPLICATE], 0);
	assert_true(ledger.counts[OUTCOME_APPLIED] > 190000); /* most succeed */
	assert_true(ledger.counts[OUTCOME_REFUSED] > 500);    /* not all */
}

static void test_shares(void **state)
{
	struct generate_config config = mixed_config(200000);
	struct plain_ledger ledger = judge_all(&config);

	assert_share(ledger.counts[OUTCOME_DUPLICATE], config.count, 0.10);
	assert_share(ledger.counts[OUTCOME_DEAD_LETTER], config.count, 0.15);
	assert_share(ledger.reasons[DEAD_MALFORMED], config.count, 0.15 * 4 / 6);
	assert_share(ledger.reasons[DEAD_KEY_MISMATCH], config.count, 0.15 / 6);
	assert_share(ledger.reasons[DEAD_ID_CONFLICT], config.count, 0.15 / 6);
	assert_true(ledger.counts[OUTCOME_REFUSED] > 10000); /* overdrafts and some more */
	assert_true(ledger.counts[OUTCOME_REFUSED] < 16000);
}

static void test_extreme_shares(void **state)
{
	struct generate_config config = mixed_config(5000);
	struct plain_ledger ledger;

	config.duplicates = 1;
	config.overdrafts = config.malformed = 0;
	ledger = judge_all(&config);
	assert_int_equal(ledger.counts[OUTCOME_DUPLICATE], 4999);
	config.duplicates = 0;
	config.malformed = 1;
	ledger = judge_all(&config);
	assert_int_equal(ledger.counts[OUTCOME_DEAD_LETTER], 5000);
	config.malformed = 0;
	config.overdrafts = 1;
	config.accounts = 1;
	config.random_ids = true;
	ledger = judge_all(&config);
	assert_int_equal(ledger.counts[OUTCOME_REFUSED], 5000);
}

/* One account, many events: its funds stay within what a balance may hold. */
static void test_one_account(void **state)
{
	struct generate_config config = simple_config(300000);

	config.accounts = 1;
	config.decimals = 8;
	assert_int_equal(judge_all(&config).counts[OUTCOME_DEAD_LETTER], 0);
}

/* A UUID's version and variant, and the order of version 7. */
static void test_ids(void **state)
{
	for (int random_ids = 0; random_ids <= 1; random_ids++) {
		struct generate_config config = simple_config(3000);
		struct generated message;
		struct generate *gen;
		char last[37] = "";

		config.random_ids = random_ids;
		gen = start(&config);
		while (generate_next(gen, &message)) {
			const char *id = message.value + strlen("{\"transaction_id\":\"");

			assert_int_equal(strspn(id, "0123456789abcdef-"), 36);
			assert_int_equal(id[8] + id[13] + id[18] + id[23], 4 * '-');
			assert_int_equal(id[14], random_ids ? '4' : '7');
			assert_non_null(strchr("89ab", id[19]));
			if (!random_ids)
				assert_true(memcmp(last, id, 36) < 0);
			memcpy(last, id, 36);
		}
		if (!random_ids)
			assert_memory_equal(
				last, "019b76da-a802-7", 15); /* 2026-01-01, 2 ms later */
		stop(gen);
	}
}

/* Every account is hit, and with an exponent some far more than others. */
static void test_accounts(void **state)
{
	for (int zipf = 0; zipf <= 1; zipf++) {
		struct generate_config config = simple_config(200000);
		struct generate *gen;
		struct generated message;
		size_t hits[1001] = {0};
		size_t most = 0;

		config.zipf = zipf;
		gen = start(&config);
		while (generate_next(gen, &message)) {
			char key[GENERATE_KEY_MAX + 1] = "";

			memcpy(key, message.key, message.key_length);
			assert_in_range(atoi(key), 1, 1000);
			hits[atoi(key)]++;
		}
		for (int i = 1; i <= 1000; i++) {
			assert_true(hits[i] > 0);
			most = hits[i] > most ? hits[i] : most;
		}
		assert_in_range(most, zipf ? 24000 : 200, zipf ? 30000 : 300);
		stop(gen);
	}
}

static void assert_config_refused(const struct generate_config *config, const char *word)
{
	struct generate *gen = malloc(sizeof(*gen));
	struct error err = {""};

	assert_true(generate_init(gen, config, &err) < 0);
	if (!strstr(err.text, word))
		fail_msg("\"%s\" does not name %s", err.text, word);
	free(gen);
}

static void test_configurations(void **state)
{
	static const char *const bad_currencies[] = {"USDT", "usd"};
	struct generate_config config = simple_config(-1);

	assert_config_refused(&config, "number of events");
	config = simple_config(1);
	config.accounts = 0;
	assert_config_refused(&config, "accounts");
	config = simple_config(1);
	config.zipf = -1;
	assert_config_refused(&config, "Zipf");
	config.zipf = 1e300;
	assert_config_refused(&config, "Zipf");
	config.zipf = __builtin_nan("");
	assert_config_refused(&config, "Zipf");
	config = simple_config(1);
	config.duplicates = config.malformed = 0.6;
	assert_config_refused(&config, "shares");
	config.malformed = __builtin_nan("");
	assert_config_refused(&config, "shares");
	config = simple_config(1);
	config.decimals = 9;
	assert_config_refused(&config, "decimals");
	config = simple_config(1);
	config.currencies = bad_currencies;
	config.currency_count = 2;
	assert_config_refused(&config, "\"usd\"");
	config.currency_count = 0;
	assert_config_refused(&config, "currencies");
	config = simple_config(10000);
	config.start_ms = EVENT_TIME_MAX_MS;
	assert_config_refused(&config, "times");
	config.start_ms = -1;
	assert_config_refused(&config, "times");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_message),
		cmocka_unit_test(test_known_checksums),
		cmocka_unit_test(test_seeds_differ),
		cmocka_unit_test(test_count_only_ends),
		cmocka_unit_test(test_good_events),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_extreme_shares),
		cmocka_unit_test(test_one_account),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_accounts),
		cmocka_unit_test(test_configurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
