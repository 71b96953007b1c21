/* The window of remembered ids: what is known, what is forgotten, and taking back. */
#include "fixture.h"

#include "dedupe.h"

static const unsigned char secret[DEDUPE_KEY_BYTES] = "0123456789abcde";
static struct dedupe_key key; /* of the secret */

static struct event event_of(int64_t account, const char *id, const char *amount)
{
	struct event event = {
		.account_id = account,
		.currency = fixture_currency("USDT"),
		.amount = amount_of(amount),
		.type = EVENT_DEPOSIT,
		.transaction_id_length = (uint8_t)strlen(id),
	};

	memcpy(event.transaction_id, id, strlen(id));
	return event;
}

static struct dedupe_id id_of(int64_t account, const char *id, const char *amount)
{
	struct event event = event_of(account, id, amount);

	return dedupe_id(&key, &event);
}

static void test_verdicts(void **state)
{
	struct dedupe *dedupe = dedupe_create(10);
	struct dedupe_id id = id_of(1, "abc", "10.5");
	struct dedupe_id same = id_of(1, "abc", "10.50");
	struct dedupe_id other_content = id_of(1, "abc", "10.51");
	struct dedupe_id other_account = id_of(2, "abc", "10.5");
	struct dedupe_id other_case = id_of(1, "ABC", "10.5");

	assert_int_equal(dedupe_check(dedupe, &id), DEDUPE_NEW);
	dedupe_remember(dedupe, &id);
	assert_int_equal(dedupe_check(dedupe, &same), DEDUPE_SAME);
	assert_int_equal(dedupe_check(dedupe, &other_content), DEDUPE_CONFLICT);
	assert_int_equal(dedupe_check(dedupe, &other_account), DEDUPE_NEW);
	assert_int_equal(dedupe_check(dedupe, &other_case), DEDUPE_NEW);
	dedupe_destroy(dedupe);
}

/* Type, currency and amount make the content; the event's time does not. */
static void test_content(void **state)
{
	struct event event = event_of(1, "abc", "1");
	struct dedupe_id id = dedupe_id(&key, &event);
	struct event changed = event;

	changed.time_ms = 99;
	assert_true(dedupe_id(&key, &changed).fingerprint == id.fingerprint);
	changed.type = EVENT_WITHDRAW;
	assert_true(dedupe_id(&key, &changed).fingerprint != id.fingerprint);
	changed = event;
	changed.currency = fixture_currency("USD");
	assert_true(dedupe_id(&key, &changed).fingerprint != id.fingerprint);
	assert_true(dedupe_id(&key, &changed).hash[0] == id.hash[0]);
}

/* Without the key nobody can tell which ids collide. */
static void test_key_matters(void **state)
{
	struct event event = event_of(1, "abc", "1");
	struct dedupe_key other = dedupe_key((const unsigned char *)"another secret.");

	assert_true(dedupe_id(&key, &event).hash[0] != dedupe_id(&other, &event).hash[0]);
	assert_true(dedupe_id(&key, &event).fingerprint != dedupe_id(&other, &event).fingerprint);
}

/* Contents that differ in any one bit, or in the same bit of two words, have two fingerprints. */
static void test_every_bit_of_the_content_counts(void **state)
{
	struct event event = event_of(1, "abc", "123456.789");
	uint64_t first = dedupe_id(&key, &event).fingerprint;

	for (int bit = 0; bit < 120; bit++) {
		struct event changed = event;

		changed.amount ^= (i128)1 << bit;
		assert_true(dedupe_id(&key, &changed).fingerprint != first);
		changed.currency ^= UINT64_C(1) << bit % 60;
		assert_true(dedupe_id(&key, &changed).fingerprint != first);
		changed.amount ^= (i128)1 << bit;
		assert_true(dedupe_id(&key, &changed).fingerprint != first);
		changed.type = EVENT_SETTLE;
		assert_true(dedupe_id(&key, &changed).fingerprint != first);
	}
}

static struct dedupe_id numbered(uint64_t number)
{
	char id[24];

	snprintf(id, sizeof id, "id-%llu", (unsigned long long)number);
	return id_of(1, id, "1");
}

/* After any number of ids exactly the newest `capacity` are known. */
static void test_window_slides(void **state)
{
	enum { CAPACITY = 1000 };
	struct dedupe *dedupe = dedupe_create(CAPACITY);

	for (uint64_t i = 0; i < 10 * CAPACITY; i++) {
		struct dedupe_id id = numbered(i);

		dedupe_remember(dedupe, &id);
		if (i % 777 != 0)
			continue;
		for (uint64_t k = 0; k <= i; k++) {
			id = numbered(k);
			assert_int_equal(dedupe_check(dedupe, &id),
				k + CAPACITY > i ? DEDUPE_SAME : DEDUPE_NEW);
		}
	}
	assert_int_equal(dedupe_count(dedupe), CAPACITY);
	dedupe_clear(dedupe);
	assert_int_equal(dedupe_count(dedupe), 0);
	dedupe_destroy(dedupe);
}

/* Taking back the newest leaves the rest known, at every fill and across the ring's seam. */
static void test_forget_newest(void **state)
{
	enum { CAPACITY = 100 };
	struct dedupe *dedupe = dedupe_create(CAPACITY);
	uint64_t next = 0;

	for (int round = 0; round < 500; round++) {
		size_t batch = (size_t)round % 40;

		for (size_t i = 0; i < batch; i++) {
			struct dedupe_id id = numbered(next + i);

			dedupe_remember(dedupe, &id);
		}
		if (round % 3 == 0) {
			dedupe_forget_newest(dedupe, batch);
			for (size_t i = 0; i < batch; i++) {
				struct dedupe_id id = numbered(next + i);

				assert_int_equal(dedupe_check(dedupe, &id), DEDUPE_NEW);
			}
		} else {
			next += batch;
		}
		/* 40 may have been pushed out and taken back twice over. */
		for (uint64_t k = next > 20 ? next - 20 : 0; k < next; k++) {
			struct dedupe_id id = numbered(k);

			assert_int_equal(dedupe_check(dedupe, &id), DEDUPE_SAME);
		}
	}
	dedupe_destroy(dedupe);
}

/* Room for many at once: the oldest go, at every fill and capacity, and nobody else. */
static void test_reserve(void **state)
{
	static const size_t capacities[] = {1, 2, 3, 63, 64, 65, 100, 1000};

	for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
		size_t capacity = capacities[c];
		struct dedupe *dedupe = dedupe_create(capacity);
		uint64_t next = 0;

		for (size_t round = 0; round < 300; round++) {
			size_t batch = round * 7 % (capacity + 1);
			size_t kept;

			dedupe_reserve(dedupe, batch);
			kept = dedupe_count(dedupe);
			assert_true(kept + batch <= capacity);
			assert_true(kept + batch == capacity || kept == next);
			for (uint64_t k = next > 2 * capacity ? next - 2 * capacity : 0; k < next;
				k++) {
				struct dedupe_id id = numbered(k);

				assert_int_equal(dedupe_check(dedupe, &id),
					k + kept >= next ? DEDUPE_SAME : DEDUPE_NEW);
			}
			for (size_t i = 0; i < batch; i++) {
				struct dedupe_id id = numbered(next++);

				dedupe_remember(dedupe, &id);
			}
		}
		dedupe_destroy(dedupe);
	}
}

static void test_bytes_an_id(void **state)
{
	assert_true(dedupe_bytes(1000000) <= DEDUPE_BYTES_MAX * (size_t)1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_key_matters),
		cmocka_unit_test(test_every_bit_of_the_content_counts),
		cmocka_unit_test(test_window_slides),
		cmocka_unit_test(test_forget_newest),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_bytes_an_id),
	};

	key = dedupe_key(secret);
	return cmocka_run_group_tests_name("dedupe", tests, NULL, NULL);
}
