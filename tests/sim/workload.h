/* What producers send: mostly good events, and everything that may go wrong with one. */
#ifndef TESTS_SIM_WORKLOAD_H
#define TESTS_SIM_WORKLOAD_H

#include "faults.h"
#include "oracle.h"
#include "random.h"
#include "topic_memory.h"

#define WORKLOAD_CURRENCIES 2

extern const char *const workload_currencies[WORKLOAD_CURRENCIES];

struct workload {
	struct random random;
	struct faults *faults; /* what was sent, counted */
	int32_t partitions;
	int64_t accounts;
	int64_t ids;              /* handed out so far */
	int64_t duplicate_chance; /* of ten thousand */
	int64_t conflict_chance;
	int64_t malformed_chance;
	int64_t hidden_chance;
	int64_t huge_chance;
};

/* The seed chooses the rates. */
void workload_init(struct workload *w, uint64_t seed, int32_t partitions, struct faults *faults);

/* Appends one message to one of the logs, and tells that log's oracle what it means. */
void workload_send(
	struct workload *w, struct memory_log *logs, struct oracle *oracles, int64_t now_ms);

/* A good event, and what it means. */
struct letter {
	struct intent intent;
	char key[24];
	char value[512];
	size_t length;
};

/* For who sends by another way (outbox_apps.h): makes a new event up, and appends one. */
void workload_write(struct workload *w, struct letter *ret_letter);
void workload_deliver(struct workload *w, struct memory_log *logs, struct oracle *oracles,
	const struct letter *letter, int64_t now_ms);

#endif
