/*
 * Balance events made up from a seed: for `ledgerd produce --generate`, the benchmarks and the
 * tests.
 *
 * The same configuration gives the same messages, byte for byte, on every machine; a greater count
 * only goes on.  The generator keeps the balances that its own events lead to, so that most of them
 * succeed and it can say what becomes of each, provided that a partition gets them in order and
 * that neither these accounts nor these ids were in use before.  For that it needs 16 bytes an
 * account and currency.
 *
 * Pure: no clock.
 */
#ifndef CONSUMER_GENERATE_H
#define CONSUMER_GENERATE_H

#include <stdbool.h>

#include "error.h"
#include "event.h"
#include "zipf.h"

#define GENERATE_ACCOUNTS_MAX   INT64_C(4000000000)
#define GENERATE_CURRENCIES_MAX 16
#define GENERATE_DECIMALS_MIN   2
#define GENERATE_DECIMALS_MAX   8
#define GENERATE_EVENTS_PER_MS  1000 /* how fast the events' own time goes */
#define GENERATE_RECENT         1024 /* events that may be sent again */
#define GENERATE_VALUE_MAX      320
#define GENERATE_KEY_MAX        20

struct generate_config {
	int64_t count;    /* messages */
	int64_t accounts; /* their ids are 1 to accounts */
	double zipf;      /* exponent of how unevenly accounts are hit; 0: evenly */
	uint64_t seed;
	int64_t start_ms;  /* of the first event; later ones follow in time */
	bool random_ids;   /* UUIDv4; else UUIDv7, in order of time */
	double duplicates; /* shares of the messages, 0 to 1, together at most 1: sent before */
	double overdrafts; /* withdrawals far above any balance */
	double malformed;  /* all kinds of dead letters */
	int decimals;      /* of amounts, GENERATE_DECIMALS_MIN to _MAX */
	const char *const *currencies; /* only looked at by generate_init */
	size_t currency_count;         /* 1 to GENERATE_CURRENCIES_MAX */
};

/* Good for most: 1,000,000 even deposits and withdrawals in USDT over 100,000 accounts. */
extern const struct generate_config generate_defaults;

/* A good event, before it is spelled. */
struct generate_event {
	uint64_t id[2]; /* of the UUID, first half first */
	int64_t account_id;
	i128 amount;
	int64_t time_ms;
	uint8_t currency; /* index */
	uint8_t type;
};

/* What an account has in one currency, in its smallest units. */
struct generate_funds {
	uint64_t available;
	uint64_t frozen;
};

struct generate {
	struct generate_config config;
	char currencies[GENERATE_CURRENCIES_MAX][CURRENCY_LENGTH_MAX + 1];
	struct splitmix random;
	struct zipf zipf;
	uint64_t spread;     /* makes neighbouring ranks distant accounts */
	uint64_t unit;       /* 10^decimals */
	uint64_t chances[3]; /* of 2^32, cumulative: duplicates, overdrafts, malformed */
	int64_t index;       /* of the next message */
	uint64_t defects;    /* malformed messages so far */
	uint64_t repeats;    /* duplicates so far */
	uint64_t recent_count;
	struct generate_event recent[GENERATE_RECENT];
	struct generate_funds *funds; /* by account and currency; owned */
	char key[GENERATE_KEY_MAX];
	char value[GENERATE_VALUE_MAX];
};

/* A message; its bytes are the generator's and good until the next one. */
struct generated {
	const char *key;
	size_t key_length;
	const char *value; /* NULL: a null value */
	size_t value_length;
	enum outcome outcome;         /* what is to become of it */
	enum dead_reason dead_reason; /* of a dead letter */
};

/* 0, or -EINVAL with the reason; then there is nothing to finish. */
int generate_init(struct generate *gen, const struct generate_config *config, struct error *err);
void generate_finish(struct generate *gen);

/* false: that was all. */
bool generate_next(struct generate *gen, struct generated *ret_message);

#endif
