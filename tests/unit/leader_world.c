/* See leader_world.h. */
#include "leader_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mem.h"

#define broken(world, format, ...)                                                                 \
	fail_msg("seed %lu, %.3f s: " format, (world)->seed, (double)(world)->now_us / 1e6,        \
		__VA_ARGS__)

uint64_t world_draw(struct world *world, uint64_t limit)
{
	world->random ^= world->random << 13;
	world->random ^= world->random >> 7;
	world->random ^= world->random << 17;
	return world->random % limit;
}

static int64_t server_now_us(void *context)
{
	return ((struct world *)context)->now_us;
}

int64_t instance_now_ms(const struct instance *instance)
{
	return (instance->world->now_us - instance->boot_us) * instance->clock_percent / 100000;
}

bool instance_valid(const struct instance *instance, int32_t partition)
{
	return instance->running &&
	       leader_valid(instance->leader, partition, instance_now_ms(instance));
}

static int64_t borrower_now_ms(const struct borrower *borrower)
{
	return (borrower->world->now_us - borrower->boot_us) / 1000;
}

bool borrower_valid(const struct borrower *borrower)
{
	return borrower->running && lease_borrow_valid(borrower->borrow, borrower_now_ms(borrower));
}

/* What must always hold --------------------------------------------------------------------------
 */

static void check_partition(const struct world *world, int32_t p)
{
	int believers = 0;
	int writers = 0;

	for (int i = 0; i < WORLD_INSTANCES_MAX; i++) {
		const struct instance *instance = &world->instances[i];

		if (!instance_valid(instance, p))
			continue;
		believers++;
		writers += instance->works[p].epoch == world->offsets[p].epoch;
	}
	for (int i = 0; i < WORLD_BORROWERS_MAX; i++) {
		const struct borrower *borrower = &world->borrowers[i];

		if (borrower->partition != p || !borrower_valid(borrower))
			continue;
		believers++;
		writers += lease_borrow_epoch(borrower->borrow) == world->offsets[p].epoch;
	}
	if (writers > 1)
		broken(world, "%d instances may commit to partition %d", writers, p);
	if (believers > 1 && world->now_us > world->doubtful_until_us)
		broken(world, "%d instances believe in partition %d", believers, p);
}

static void check(const struct world *world)
{
	for (int32_t p = 0; p < world->partitions; p++)
		check_partition(world, p);
}

/* What a leader tells its instance ------------------------------------------------------------- */

static void on_acquired(void *context, int32_t p, int64_t epoch)
{
	struct instance *instance = context;
	struct world *world = instance->world;

	if (instance->works[p].mine)
		broken(world, "partition %d acquired twice", p);
	if (epoch <= world->last_epoch[p])
		broken(world, "partition %d: epoch %ld after %ld", p, epoch, world->last_epoch[p]);
	world->last_epoch[p] = epoch;
	instance->works[p] = (struct work){
		.mine = true, .epoch = epoch, .acquired_us = world->now_us};
	instance->acquired++;
}

static void on_surplus(void *context, int32_t p)
{
	struct instance *instance = context;
	struct work *work = &instance->works[p];

	if (work->mine && (work->surplus || work->lost))
		broken(instance->world, "partition %d: surplus twice or after lost", p);
	work->surplus = work->mine;
	instance->surplus++;
}

static void on_lost(void *context, int32_t p, bool fenced)
{
	struct instance *instance = context;
	struct work *work = &instance->works[p];

	if (work->mine && work->lost)
		broken(instance->world, "partition %d: lost twice", p);
	work->lost = work->mine;
	instance->lost_fenced += fenced;
	instance->lost_time += !fenced;
}

static int64_t offset_low(void *context, int32_t p)
{
	const struct work *work = &((struct instance *)context)->works[p];

	return work->known ? work->next_offset : INT64_MIN;
}

static int64_t offset_high(void *context, int32_t p)
{
	const struct work *work = &((struct instance *)context)->works[p];

	if (!work->known)
		return INT64_MAX;
	return work->flush_end ? work->flush_end : work->next_offset;
}

/* What an instance does with a partition --------------------------------------------------------
 */

static void roll_back(struct instance *instance, int32_t p)
{
	struct partition_offset_row *row = &instance->world->offsets[p];

	if (row->locked_by == &instance->works[p])
		row->locked_by = NULL;
	instance->works[p].flush_end = 0;
	instance->works[p].commit_unknown = false;
}

static void let_go(struct instance *instance, int32_t p)
{
	roll_back(instance, p);
	instance->works[p].mine = false;
	leader_drained(instance->leader, p);
	instance->tick_us = instance->world->now_us; /* wakes the driver */
}

static void flush_begin(struct instance *instance, int32_t p)
{
	struct world *world = instance->world;
	struct partition_offset_row *row = &world->offsets[p];
	struct work *work = &instance->works[p];

	if (!instance_valid(instance, p) || row->locked_by)
		return;
	if (row->epoch != work->epoch || row->next_offset != work->next_offset) {
		let_go(instance, p); /* fenced */
		return;
	}
	row->locked_by = work;
	work->flush_end = work->next_offset + 1 + (int64_t)world_draw(world, 100);
	work->flush_begun_us = world->now_us;
}

static void flush_commit(struct instance *instance, int32_t p)
{
	struct world *world = instance->world;
	struct partition_offset_row *row = &world->offsets[p];
	struct work *work = &instance->works[p];

	if (row->locked_by != work) { /* the server has ended the transaction */
		roll_back(instance, p);
		return;
	}
	if (row->epoch != work->epoch || row->next_offset != work->next_offset)
		broken(world, "partition %d changed under a lock", p);
	row->next_offset = work->flush_end;
	row->locked_by = NULL;
	world->commits++;
	if (world_draw(world, 8) == 0) {
		work->commit_unknown = true;
		return;
	}
	work->next_offset = work->flush_end;
	work->flush_end = 0;
}

/* The offset says whether a COMMIT without an answer took place. */
static void flush_settle(struct instance *instance, int32_t p)
{
	const struct partition_offset_row *row = &instance->world->offsets[p];
	struct work *work = &instance->works[p];

	if (row->locked_by)
		return;
	if (row->epoch != work->epoch ||
		(row->next_offset != work->next_offset && row->next_offset != work->flush_end)) {
		let_go(instance, p);
		return;
	}
	work->next_offset = row->next_offset;
	work->flush_end = 0;
	work->commit_unknown = false;
}

static void work_step(struct instance *instance, int32_t p)
{
	struct work *work = &instance->works[p];

	if (work->lost || instance->world->offsets[p].halted) {
		let_go(instance, p);
	} else if (!work->known) {
		work->next_offset = instance->world->offsets[p].next_offset;
		work->known = instance->world->offsets[p].epoch == work->epoch;
		if (!work->known)
			let_go(instance, p);
	} else if (work->commit_unknown) {
		flush_settle(instance, p);
	} else if (work->flush_end) {
		flush_commit(instance, p);
	} else if (work->surplus) {
		if (!instance->reluctant)
			let_go(instance, p);
	} else if (!instance->idle) {
		flush_begin(instance, p);
	}
}

/* Time ----------------------------------------------------------------------------------------- */

static void take_time(struct world *world, bool lock)
{
	if (lock)
		world->now_us += 1000000;
	else if (world->hang_us_max && world_draw(world, 200) == 0)
		world->now_us += (int64_t)world_draw(world, (uint64_t)world->hang_us_max);
	else
		world->now_us += 1 + (int64_t)world_draw(world, (uint64_t)world->latency_us_max);
	check(world);
}

static void on_wait(void *context, bool lock)
{
	struct instance *instance = context;

	instance->calls++;
	take_time(instance->world, lock);
}

static void on_borrower_wait(void *context, bool lock)
{
	struct borrower *borrower = context;

	borrower->calls++;
	take_time(borrower->world, lock);
}

/* The server ends a transaction whose client is silent. */
static void server_step(struct world *world)
{
	for (int i = 0; i < WORLD_INSTANCES_MAX; i++) {
		for (int32_t p = 0; p < world->partitions; p++) {
			const struct work *work = &world->instances[i].works[p];

			if (world->offsets[p].locked_by == work &&
				world->now_us - work->flush_begun_us > world->ttl_ms * 600)
				world->offsets[p].locked_by = NULL;
		}
	}
	for (int i = 0; i < WORLD_BORROWERS_MAX; i++) {
		const struct borrower *borrower = &world->borrowers[i];

		if (world->offsets[borrower->partition].locked_by == borrower &&
			world->now_us - borrower->begun_us > world->ttl_ms * 600)
			world->offsets[borrower->partition].locked_by = NULL;
	}
}

/* What a borrower does ------------------------------------------------------------------------- */

static void borrower_roll_back(struct borrower *borrower)
{
	struct partition_offset_row *row = &borrower->world->offsets[borrower->partition];

	if (row->locked_by == borrower)
		row->locked_by = NULL;
	borrower->begun_us = 0;
}

/* A transaction that proves the epoch, in two steps. */
static void borrower_work(struct borrower *borrower)
{
	struct partition_offset_row *row = &borrower->world->offsets[borrower->partition];

	if (borrower->begun_us) {
		borrower->commits += row->locked_by == borrower;
		borrower_roll_back(borrower);
	} else if (borrower_valid(borrower) && !row->locked_by &&
		   row->epoch == lease_borrow_epoch(borrower->borrow)) {
		row->locked_by = borrower;
		borrower->begun_us = borrower->world->now_us;
	}
}

static void borrower_tick(struct borrower *borrower)
{
	struct world *world = borrower->world;
	bool held = lease_borrow_state(borrower->borrow) == LEASE_BORROW_HELD;
	int calls = borrower->calls;
	struct error err;
	bool failed;
	int64_t wait_ms = lease_borrow_tick(
		borrower->borrow, borrower_now_ms(borrower), &failed, &err);

	assert_in_range(wait_ms, 0, world->ttl_ms);
	if (borrower->calls > calls + 3) /* before, after, and a lock */
		broken(world, "%d calls of the store in a tick", borrower->calls - calls);
	world->borrowed += !held && lease_borrow_state(borrower->borrow) == LEASE_BORROW_HELD;
	borrower->tick_us = world->now_us + wait_ms * 1000;
}

static void borrower_step(struct borrower *borrower)
{
	struct world *world = borrower->world;
	enum lease_borrow_state state;

	if (!borrower->running || world->now_us < borrower->paused_until_us)
		return;
	if (borrower->returning) {
		borrower_roll_back(borrower);
		if (lease_borrow_return(borrower->borrow, NULL) == 0)
			world_kill_borrower(borrower);
		return;
	}
	if (world->now_us >= borrower->tick_us)
		borrower_tick(borrower);
	state = lease_borrow_state(borrower->borrow);
	if (state == LEASE_BORROW_HELD && world_draw(world, 4) == 0)
		borrower_work(borrower);
	else if (state == LEASE_BORROW_LOST)
		borrower_roll_back(borrower);
}

void instance_tick(struct instance *instance)
{
	struct error err;
	bool failed;
	int64_t wait_ms = leader_tick(instance->leader, instance_now_ms(instance), &failed, &err);

	assert_in_range(wait_ms, 0, 1000);
	instance->failures += failed;
	instance->tick_us = instance->world->now_us + wait_ms * 100000 / instance->clock_percent;
}

static void instance_step(struct instance *instance)
{
	struct world *world = instance->world;

	if (!instance->running || world->now_us < instance->paused_until_us)
		return;
	instance->store->unreachable = world->now_us < instance->unreachable_until_us;
	for (int i = 0; i < 4 && world->now_us >= instance->tick_us; i++)
		instance_tick(instance);
	for (int32_t p = 0; p < world->partitions; p++) {
		if (instance->works[p].mine && !instance->store->unreachable &&
			world_draw(world, 4) == 0)
			work_step(instance, p);
		else if (instance->works[p].mine && instance->works[p].lost)
			let_go(instance, p);
	}
	if (leader_stopped(instance->leader))
		world_kill(instance);
}

void world_step(struct world *world)
{
	int first = (int)world_draw(world, WORLD_INSTANCES_MAX);

	world->now_us += WORLD_STEP_US;
	server_step(world);
	for (int i = 0; i < WORLD_INSTANCES_MAX; i++) {
		check(world);
		instance_step(&world->instances[(first + i) % WORLD_INSTANCES_MAX]);
	}
	for (int i = 0; i < WORLD_BORROWERS_MAX; i++) {
		check(world);
		borrower_step(&world->borrowers[i]);
	}
	check(world);
}

void world_run(struct world *world, int64_t ms)
{
	int64_t until_us = world->now_us + ms * 1000;

	while (world->now_us < until_us)
		world_step(world);
}

/* Who is there --------------------------------------------------------------------------------- */

void world_init(struct world *world, int32_t partitions, uint64_t seed)
{
	memset(world, 0, sizeof(*world));
	world->now_us = 1767225600000000;
	world->partitions = partitions;
	world->ttl_ms = WORLD_TTL_MS;
	world->latency_us_max = 3000;
	world->seed = seed;
	world->random = seed * 0x9e3779b97f4a7c15u + 1;
	for (int i = 0; i < 8; i++)
		world_draw(world, 2);
	lease_store_memory_db_init(&world->db, world->offsets, partitions, server_now_us, world);
}

void world_finish(struct world *world)
{
	for (int i = 0; i < WORLD_INSTANCES_MAX; i++) {
		if (world->instances[i].running)
			world_kill(&world->instances[i]);
	}
	for (int i = 0; i < WORLD_BORROWERS_MAX; i++) {
		if (world->borrowers[i].running)
			world_kill_borrower(&world->borrowers[i]);
	}
	lease_store_memory_db_finish(&world->db);
}

struct instance *world_start(
	struct world *world, int index, const char *consumer_id, const int32_t *list, size_t count)
{
	struct instance *instance = &world->instances[index];
	struct leader_config config = {
		.partitions = world->partitions,
		.all = !list,
		.eligible = list,
		.eligible_count = list ? count : 0,
		.ttl_ms = world->ttl_ms,
	};
	struct leader_events events = {
		.acquired = on_acquired,
		.surplus = on_surplus,
		.lost = on_lost,
		.offset_low = offset_low,
		.offset_high = offset_high,
		.context = instance,
	};

	assert_false(instance->running);
	snprintf(config.consumer_id, sizeof(config.consumer_id), "%s", consumer_id);
	memset(instance, 0, sizeof(*instance));
	instance->world = world;
	snprintf(instance->consumer_id, sizeof(instance->consumer_id), "%s", consumer_id);
	instance->running = true;
	instance->boot_us = world->now_us - (int64_t)world_draw(world, 1000000000);
	instance->clock_percent = 100;
	instance->store = lease_store_memory_create(&world->db);
	instance->store->on_wait = on_wait;
	instance->store->wait_context = instance;
	instance->leader = leader_create(&config, &instance->store->store, &events);
	return instance;
}

void world_kill(struct instance *instance)
{
	for (int32_t p = 0; p < instance->world->partitions; p++) {
		roll_back(instance, p);
		instance->works[p].mine = false;
	}
	leader_destroy(instance->leader);
	instance->store->store.ops->destroy(&instance->store->store);
	instance->running = false;
}

struct borrower *world_borrow(struct world *world, int index, const char *who, int32_t partition)
{
	struct borrower *borrower = &world->borrowers[index];

	assert_false(borrower->running);
	*borrower = (struct borrower){
		.world = world,
		.running = true,
		.partition = partition,
		.boot_us = world->now_us - (int64_t)world_draw(world, 1000000000),
		.store = lease_store_memory_create(&world->db),
	};
	borrower->store->on_wait = on_borrower_wait;
	borrower->store->wait_context = borrower;
	borrower->borrow = lease_borrow_create(
		&borrower->store->store, who, partition, world->ttl_ms);
	return borrower;
}

void world_kill_borrower(struct borrower *borrower)
{
	borrower_roll_back(borrower);
	lease_borrow_destroy(borrower->borrow);
	borrower->store->store.ops->destroy(&borrower->store->store);
	borrower->running = false;
}

int world_owner(const struct world *world, int32_t partition)
{
	for (int i = 0; i < WORLD_INSTANCES_MAX; i++) {
		if (instance_valid(&world->instances[i], partition))
			return i;
	}
	return -1;
}

int world_owned(const struct world *world, int index)
{
	int count = 0;

	for (int32_t p = 0; p < world->partitions; p++)
		count += world_owner(world, p) == index;
	return count;
}

bool world_settled(const struct world *world)
{
	for (int i = 0; i < WORLD_INSTANCES_MAX; i++) {
		if (world->instances[i].running && !leader_settled(world->instances[i].leader))
			return false;
	}
	return true;
}

int64_t world_settle(struct world *world, int64_t limit_ms)
{
	int64_t begun_us = world->now_us;

	while (!world_settled(world)) {
		if (world->now_us > begun_us + limit_ms * 1000)
			broken(world, "not settled after %ld ms", limit_ms);
		world_step(world);
	}
	return (world->now_us - begun_us) / 1000;
}

struct lease_db *world_copy(const struct world *world)
{
	struct lease_db *copy = xcalloc(1, sizeof(*copy));
	size_t partitions = (size_t)world->partitions;

	lease_store_memory_db_init(copy, xcalloc(partitions, sizeof(struct partition_offset_row)),
		world->partitions, NULL, NULL);
	lease_store_memory_db_restore(copy, &world->db);
	return copy;
}

void world_fail_over(struct world *world, const struct lease_db *copy)
{
	lease_store_memory_db_restore(&world->db, copy);
	world->doubtful_until_us = world->now_us + world->ttl_ms * 1000;
}

void world_forget(struct lease_db *copy)
{
	if (!copy)
		return;
	free(copy->offsets);
	lease_store_memory_db_finish(copy);
	free(copy);
}
