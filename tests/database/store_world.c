/* See store_world.h. */
#include "store_world.h"

int store_world_setup(void **state)
{
	struct ledger_config config = {.batch_events = EVENTS, .ids = 4 * EVENTS, .seed = 1};
	struct world *w = calloc(1, sizeof(*w));
	void *env;

	mysql_env_setup(&env);
	w->env = env;
	budget_init(&w->budget, 1 << 30);
	ledger_init(&w->ledger, &w->budget, &config);
	batch_init(&w->batch, EVENTS, 64 << 20, BALANCE_PIN_EVEN);
	batch_reset(&w->batch, 0);
	w->store = store_mysql_create(&w->env->options, TTL_MS);
	assert_ok(w->store->ops->connect(w->store, &w->err), w->err);
	flush_init(&w->flush, w->store, 1);
	mysql_env_run(w->env, "INSERT INTO partition_offsets (kafka_partition, epoch) "
			      "VALUES (0, 5), (1, 5)");
	*state = w;
	return 0;
}

int store_world_teardown(void **state)
{
	struct world *w = *state;
	void *env = w->env;

	flush_finish(&w->flush);
	w->store->ops->destroy(w->store);
	batch_finish(&w->batch);
	ledger_finish(&w->ledger);
	free(w);
	return mysql_env_teardown(&env);
}

/* The next batch, of events that test_... adds. */
struct record *store_world_add(
	struct world *w, const char *id, int64_t account, const char *type, const char *amount)
{
	return fixture_add(&w->batch, w->batch.end_offset, id, account, type, amount);
}

/* Through the ledger, balances from the database. */
void store_world_decide(struct world *w)
{
	struct balance_key *missing = calloc(EVENTS, sizeof(*missing));
	struct balance_row *rows = calloc(EVENTS, sizeof(*rows));
	size_t count = ledger_resolve(&w->ledger, &w->batch, 0, missing);

	for (size_t i = 0; i < count; i++)
		rows[i].key = missing[i];
	assert_ok(w->store->ops->read_balances(w->store, rows, count, &w->err), w->err);
	ledger_load(&w->ledger, &w->batch, rows, count);
	assert_int_equal(ledger_resolve(&w->ledger, &w->batch, 0, missing), 0);
	ledger_dedupe(&w->ledger, &w->batch);
	ledger_apply(&w->ledger, &w->batch, FIXTURE_TIME_MS);
	free(missing);
	free(rows);
}

struct flush_request store_world_request_of(struct world *w)
{
	return (struct flush_request){
		.partition = 0,
		.epoch = EPOCH,
		.begin_offset = w->batch.begin_offset,
		.end_offset = w->batch.end_offset,
		.redis_offset = w->batch.begin_offset,
		.batch = &w->batch,
	};
}

enum flush_verdict store_world_run_flush(struct world *w)
{
	struct flush_request request = store_world_request_of(w);
	int64_t pause_ms;

	flush_start(&w->flush, &request);
	while (!flush_ended(&w->flush)) {
		pause_ms = flush_step(&w->flush);
		if (pause_ms)
			mysql_env_sleep_ms(pause_ms);
	}
	return w->flush.verdict;
}

/* Decides the batch, flushes it and begins the next one. */
void store_world_commit(struct world *w)
{
	store_world_decide(w);
	if (store_world_run_flush(w) != FLUSH_COMMITTED)
		fail_msg("verdict %d: %s", w->flush.verdict, w->flush.error.text);
	ledger_commit(&w->ledger, &w->batch);
	batch_reset(&w->batch, w->batch.end_offset);
}

enum store_result store_world_load(
	struct world *w, enum store_table table, struct store_counts *ret_counts)
{
	const struct flush_request request = store_world_request_of(w);
	const struct flush_request *one = &request;

	return w->store->ops->load(w->store, &one, 1, table, ret_counts, &w->err);
}

void store_world_begin(struct world *w)
{
	assert_ok(w->store->ops->begin(w->store, &w->err), w->err);
}

bool store_world_move(struct world *w)
{
	struct flush_request request = store_world_request_of(w);
	bool moved;

	assert_ok(w->store->ops->move_offset(w->store, &request, &moved, &w->err), w->err);
	return moved;
}

void store_world_rollback(struct world *w)
{
	w->store->ops->rollback(w->store);
}

struct record *store_world_add_letter(struct world *w, const struct message *message)
{
	struct record *record = batch_add(&w->batch, message);

	batch_keep(&w->batch, record);
	record->dead_reason = DEAD_MALFORMED;
	record->detail = "the value is not one JSON object";
	return record;
}

void store_world_check_newest(struct world *w, const struct message *message)
{
	struct store_newest newest;

	assert_ok(w->store->ops->read_newest(w->store, 0, &newest, &w->err), w->err);
	assert_true(newest.found && newest.dead_letter);
	assert_int_equal(newest.offset, message->offset);
	assert_int_equal(newest.key != NULL, message->key != NULL);
	assert_int_equal(newest.value != NULL, message->value != NULL);
	assert_int_equal(newest.key_length, message->key_length);
	assert_int_equal(newest.value_length, message->value_length);
	if (message->key_length)
		assert_memory_equal(newest.key, message->key, message->key_length);
	if (message->value_length)
		assert_memory_equal(newest.value, message->value, message->value_length);
	free(newest.key);
	free(newest.value);
}
