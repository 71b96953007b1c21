/* The Redis in memory keeps what the scripts keep, and fails as it is told: the simulator rests on
 * it. */
#include "snapshot_memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "currency.h"

struct fixture {
	struct snapshot_memory *server;
	struct snapshot *s;
	struct error err;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->server = snapshot_memory_create(1);
	f->s = snapshot_memory_open(f->server);
	assert_int_equal(f->s->ops->connect(f->s, &f->err), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	f->s->ops->destroy(f->s);
	snapshot_memory_destroy(f->server);
	free(f);
	return 0;
}

static struct balance_key key(int64_t account_id)
{
	return (struct balance_key){account_id, currency_pack("USDT", 4)};
}

static struct snapshot_image image(int64_t account_id, int64_t version, i128 available)
{
	return (struct snapshot_image){key(account_id), available, 2, version, 3};
}

/* Publishes images of accounts 1 to count, all of this version; the code. */
static int publish(struct fixture *f, size_t count, int64_t version, size_t *ret_stale)
{
	struct snapshot_image images[16];

	for (size_t i = 0; i < count; i++)
		images[i] = image((int64_t)i + 1, version, (i128)version * 100);
	return f->s->ops->publish(f->s, images, count, ret_stale, &f->err);
}

static void publish_well(struct fixture *f, size_t count, int64_t version)
{
	size_t stale;

	assert_int_equal(publish(f, count, version, &stale), 0);
	assert_int_equal(stale, 0);
}

/* 0 if the key is not there. */
static int64_t version_of(const struct fixture *f, int64_t account_id)
{
	const struct snapshot_image *found = snapshot_memory_find(f->server, key(account_id));

	return found ? found->version : 0;
}

static void identity_of(struct fixture *f, char identity[SNAPSHOT_IDENTITY_MAX])
{
	assert_int_equal(f->s->ops->identity(f->s, identity, &f->err), 0);
}

static bool replace_marker(struct fixture *f, const char *expected, const char *marker)
{
	bool written;

	assert_int_equal(f->s->ops->write_marker(f->s, 2, expected, marker, &written, &f->err), 0);
	return written;
}

static void assert_marker(struct fixture *f, int32_t partition, const char *expected)
{
	char marker[SNAPSHOT_MARKER_MAX];

	assert_int_equal(f->s->ops->read_marker(f->s, partition, marker, &f->err), 0);
	assert_string_equal(marker, expected);
	assert_string_equal(snapshot_memory_marker(f->server, partition), expected);
}

static void test_higher_version_wins_equal_overwrites_lower_loses(void **state)
{
	struct fixture *f = *state;
	struct snapshot_image images[] = {image(1, 4, 40), image(2, 6, 60), image(3, 5, 51)};
	size_t stale;

	publish_well(f, 3, 5);
	assert_int_equal(f->s->ops->publish(f->s, images, 3, &stale, &f->err), 0);
	assert_int_equal(stale, 1);
	assert_int_equal(version_of(f, 1), 5);
	assert_true(snapshot_memory_find(f->server, key(1))->available == 500);
	assert_int_equal(version_of(f, 2), 6);
	assert_int_equal(version_of(f, 3), 5);
	assert_true(snapshot_memory_find(f->server, key(3))->available == 51);
}

static void test_read_says_what_is_there(void **state)
{
	struct fixture *f = *state;
	struct balance_key keys[] = {key(2), key(9)};
	struct snapshot_image found[2];

	publish_well(f, 3, 7);
	assert_int_equal(f->s->ops->read(f->s, keys, 2, found, &f->err), 0);
	assert_int_equal(found[0].version, 7);
	assert_true(found[0].available == 700 && found[0].frozen == 2);
	assert_int_equal(found[0].updated_ms, 3);
	assert_int_equal(found[1].version, 0);
	assert_int_equal(found[1].key.account_id, 9);
}

static void test_marker_is_replaced_only_if_it_is_the_expected_one(void **state)
{
	struct fixture *f = *state;

	assert_marker(f, 2, "");
	assert_false(replace_marker(f, "a", "b"));
	assert_true(replace_marker(f, "", "a"));
	assert_false(replace_marker(f, "", "b"));
	assert_marker(f, 2, "a");
	assert_true(replace_marker(f, "a", "b"));
	assert_marker(f, 2, "b");
	assert_marker(f, 1, "");
}

static void test_without_a_connection_nothing_works(void **state)
{
	struct fixture *f = *state;
	char text[SNAPSHOT_MARKER_MAX];
	size_t stale;

	f->s->ops->disconnect(f->s);
	assert_int_equal(publish(f, 1, 1, &stale), -ENOTCONN);
	assert_int_equal(f->s->ops->identity(f->s, text, &f->err), -ENOTCONN);
	assert_int_equal(f->s->ops->read_marker(f->s, 0, text, &f->err), -ENOTCONN);
	assert_int_equal(version_of(f, 1), 0);
}

static void test_cut_breaks_connections_until_they_connect_again(void **state)
{
	struct fixture *f = *state;
	size_t stale;

	publish_well(f, 1, 1);
	snapshot_memory_cut(f->server);
	assert_true(publish(f, 1, 2, &stale) < 0);
	assert_int_equal(version_of(f, 1), 1);
	assert_int_equal(f->s->ops->connect(f->s, &f->err), 0);
	publish_well(f, 1, 2);
}

static void test_unreachable_server_refuses_everything(void **state)
{
	struct fixture *f = *state;
	size_t stale;

	snapshot_memory_faults(f->server)->unreachable = true;
	assert_true(publish(f, 1, 1, &stale) < 0);
	assert_true(f->s->ops->connect(f->s, &f->err) < 0);
	snapshot_memory_faults(f->server)->unreachable = false;
	snapshot_memory_faults(f->server)->connects = 1;
	assert_true(f->s->ops->connect(f->s, &f->err) < 0);
	assert_int_equal(f->s->ops->connect(f->s, &f->err), 0);
	publish_well(f, 1, 1);
}

static void test_publish_fails_after_some_were_written(void **state)
{
	struct fixture *f = *state;
	size_t stale;

	snapshot_memory_faults(f->server)->publishes = 1;
	snapshot_memory_faults(f->server)->publish_written = 2;
	assert_true(publish(f, 5, 1, &stale) < 0);
	assert_int_equal(snapshot_memory_count(f->server), 2);
	assert_int_equal(publish(f, 5, 1, &stale), -ENOTCONN);

	assert_int_equal(f->s->ops->connect(f->s, &f->err), 0);
	publish_well(f, 5, 1);
	assert_int_equal(snapshot_memory_count(f->server), 5);
}

static void test_marker_write_fails_before_or_after(void **state)
{
	struct fixture *f = *state;
	bool written;

	snapshot_memory_faults(f->server)->markers_refused = 1;
	assert_true(f->s->ops->write_marker(f->s, 2, "", "a", &written, &f->err) < 0);
	assert_string_equal(snapshot_memory_marker(f->server, 2), "");
	assert_int_equal(f->s->ops->connect(f->s, &f->err), 0);
	snapshot_memory_faults(f->server)->markers_unsettled = 1;
	assert_true(f->s->ops->write_marker(f->s, 2, "", "a", &written, &f->err) < 0);
	assert_string_equal(snapshot_memory_marker(f->server, 2), "a");
}

static void test_flushall_takes_the_data_but_not_the_identity(void **state)
{
	struct fixture *f = *state;
	char before[SNAPSHOT_IDENTITY_MAX];
	char after[SNAPSHOT_IDENTITY_MAX];

	publish_well(f, 3, 1);
	assert_true(replace_marker(f, "", "a"));
	identity_of(f, before);
	snapshot_memory_flushall(f->server);
	identity_of(f, after);
	assert_string_equal(before, after);
	assert_int_equal(snapshot_memory_count(f->server), 0);
	assert_marker(f, 2, "");
}

static void test_restart_takes_all(void **state)
{
	struct fixture *f = *state;
	char before[SNAPSHOT_IDENTITY_MAX];
	char after[SNAPSHOT_IDENTITY_MAX];
	size_t stale;

	publish_well(f, 3, 1);
	identity_of(f, before);
	snapshot_memory_restart(f->server);
	assert_true(publish(f, 1, 1, &stale) < 0);
	assert_int_equal(f->s->ops->connect(f->s, &f->err), 0);
	identity_of(f, after);
	assert_string_not_equal(before, after);
	assert_int_equal(snapshot_memory_count(f->server), 0);
}

static void test_fail_over_loses_the_newest_writes(void **state)
{
	struct fixture *f = *state;
	char before[SNAPSHOT_IDENTITY_MAX];
	char after[SNAPSHOT_IDENTITY_MAX];

	publish_well(f, 2, 1);
	assert_true(replace_marker(f, "", "a"));
	publish_well(f, 3, 2); /* two replaced, one new */
	assert_true(replace_marker(f, "a", "b"));
	identity_of(f, before);

	assert_int_equal(snapshot_memory_fail_over(f->server, 3), 3);
	identity_of(f, after);
	assert_string_not_equal(before, after);
	assert_marker(f, 2, "a");
	assert_int_equal(version_of(f, 1), 2);
	assert_int_equal(version_of(f, 2), 1);
	assert_int_equal(version_of(f, 3), 0);
	assert_int_equal(snapshot_memory_count(f->server), 2);

	assert_int_equal(snapshot_memory_fail_over(f->server, 100), 4);
	assert_int_equal(snapshot_memory_count(f->server), 0);
	assert_marker(f, 2, "");
}

static void test_history_is_a_ring(void **state)
{
	struct fixture *f = *state;

	for (int64_t i = 1; i <= SNAPSHOT_MEMORY_HISTORY / 16 + 1; i++)
		publish_well(f, 16, i);
	assert_int_equal(snapshot_memory_fail_over(f->server, SIZE_MAX), SNAPSHOT_MEMORY_HISTORY);
	assert_int_equal(version_of(f, 1), 1);
	assert_int_equal(version_of(f, 16), 1);
}

static void test_copy_is_restored_as_another_server(void **state)
{
	struct fixture *f = *state;
	char before[SNAPSHOT_IDENTITY_MAX];
	char after[SNAPSHOT_IDENTITY_MAX];
	struct snapshot_memory_copy *copy;

	publish_well(f, 2, 1);
	assert_true(replace_marker(f, "", "a"));
	copy = snapshot_memory_save(f->server);
	publish_well(f, 3, 2);
	assert_true(replace_marker(f, "a", "b"));
	identity_of(f, before);

	for (int i = 0; i < 2; i++) {
		snapshot_memory_restore(f->server, copy);
		assert_int_equal(f->s->ops->connect(f->s, &f->err), 0);
		identity_of(f, after);
		assert_string_not_equal(before, after);
		assert_int_equal(version_of(f, 1), 1);
		assert_int_equal(version_of(f, 3), 0);
		assert_marker(f, 2, "a");
		publish_well(f, 3, 2);
	}
	snapshot_memory_copy_destroy(copy);
}

static void test_tampering_is_past_the_rules(void **state)
{
	struct fixture *f = *state;
	struct snapshot_image older = image(1, 2, 1);

	publish_well(f, 2, 5);
	snapshot_memory_tamper(f->server, &older);
	assert_int_equal(version_of(f, 1), 2);
	snapshot_memory_tamper(f->server, &(struct snapshot_image){.key = key(2)});
	assert_null(snapshot_memory_find(f->server, key(2)));
	assert_int_equal(snapshot_memory_count(f->server), 1);
}

static void test_two_connections_share_the_server(void **state)
{
	struct fixture *f = *state;
	struct snapshot *other = snapshot_memory_open(f->server);
	struct snapshot_image newer = image(1, 9, 1);
	size_t stale;

	assert_int_equal(other->ops->connect(other, &f->err), 0);
	assert_int_equal(other->ops->publish(other, &newer, 1, &stale, &f->err), 0);
	assert_int_equal(publish(f, 1, 5, &stale), 0);
	assert_int_equal(stale, 1);
	assert_int_equal(version_of(f, 1), 9);
	other->ops->destroy(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_higher_version_wins_equal_overwrites_lower_loses),
		TEST(test_read_says_what_is_there),
		TEST(test_marker_is_replaced_only_if_it_is_the_expected_one),
		TEST(test_without_a_connection_nothing_works),
		TEST(test_cut_breaks_connections_until_they_connect_again),
		TEST(test_unreachable_server_refuses_everything),
		TEST(test_publish_fails_after_some_were_written),
		TEST(test_marker_write_fails_before_or_after),
		TEST(test_flushall_takes_the_data_but_not_the_identity),
		TEST(test_restart_takes_all),
		TEST(test_fail_over_loses_the_newest_writes),
		TEST(test_history_is_a_ring),
		TEST(test_copy_is_restored_as_another_server),
		TEST(test_tampering_is_past_the_rules),
		TEST(test_two_connections_share_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
