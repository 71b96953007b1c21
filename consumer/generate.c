/* See generate.h. */
#include "generate.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digits.h"
#include "mem.h"

#define FUNDS_MAX (UINT64_C(1) << 62) /* from here on an account no longer gets richer */
#define OVERDRAFT ((i128)900000000000000000LL * DECIMAL_ONE)

static const char *const default_currencies[] = {"USDT"};

const struct generate_config generate_defaults = {
	.count = 1000000,
	.accounts = 100000,
	.seed = 1,
	.start_ms = INT64_C(1767225600000), /* 2026-01-01 */
	.decimals = 2,
	.currencies = default_currencies,
	.currency_count = 1,
};

/* How an event's amount is written; all but the first only where a duplicate is to look different.
 */
enum spelling {
	SPELLING_TEXT = 0, /* "10.5" */
	SPELLING_ZERO,     /* "10.50" */
	SPELLING_NUMBER,   /* 10.5 */
	SPELLING_EXPONENT, /* "10.5e0" */
	SPELLINGS,
};

/* What is wrong with a malformed message; they take turns. */
enum defect {
	DEFECT_BROKEN = 0,
	DEFECT_MISSING_FIELD,
	DEFECT_AMOUNT,
	DEFECT_NULL,
	DEFECT_KEY,
	DEFECT_CONFLICT,
	DEFECTS,
};

static const char *const bad_amounts[] = {
	"\"0\"",
	"\"-1\"",
	"\"1e-19\"",
	"1000000000000000000",
	"\"01\"",
	"\".5\"",
	"null",
	"\"ten\"",
};

static bool is_share(double share)
{
	return share >= 0 && share <= 1; /* and a number */
}

static int check_config(const struct generate_config *c, struct error *err)
{
	int64_t last_ms;

	if (c->count < 0)
		return error_set(err, -EINVAL, "the number of events must not be negative");
	if (c->accounts < 1 || c->accounts > GENERATE_ACCOUNTS_MAX)
		return error_set(err, -EINVAL, "accounts must be 1 to %lld, not %lld",
			(long long)GENERATE_ACCOUNTS_MAX, (long long)c->accounts);
	if (!(c->zipf >= 0 && c->zipf <= ZIPF_EXPONENT_MAX))
		return error_set(err, -EINVAL, "the Zipf exponent must be 0 (even) to %d",
			ZIPF_EXPONENT_MAX);
	if (!is_share(c->duplicates) || !is_share(c->overdrafts) || !is_share(c->malformed) ||
		c->duplicates + c->overdrafts + c->malformed > 1)
		return error_set(err, -EINVAL,
			"the shares of duplicates, overdrafts and malformed events must be 0 to 1, "
			"and "
			"together at most 1");
	if (c->decimals < GENERATE_DECIMALS_MIN || c->decimals > GENERATE_DECIMALS_MAX)
		return error_set(err, -EINVAL, "decimals must be %d to %d, not %d",
			GENERATE_DECIMALS_MIN, GENERATE_DECIMALS_MAX, c->decimals);
	if (c->currency_count < 1 || c->currency_count > GENERATE_CURRENCIES_MAX)
		return error_set(
			err, -EINVAL, "there must be 1 to %d currencies", GENERATE_CURRENCIES_MAX);
	last_ms = EVENT_TIME_MAX_MS - c->count / GENERATE_EVENTS_PER_MS;
	if (c->start_ms < 0 || c->start_ms > last_ms)
		return error_set(err, -EINVAL, "the events' times must be within 1970 and 9999");
	return 0;
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* A factor that takes every rank to an account of its own, neighbours far apart. */
static uint64_t choose_spread(uint64_t accounts)
{
	uint64_t spread = accounts * 618 / 1000 + 1;

	while (greatest_common_divisor(spread, accounts) != 1)
		spread++;
	return spread;
}

static uint64_t chance(double share)
{
	return (uint64_t)(share * 4294967296.0); /* 2^32: no rounding */
}

int generate_init(struct generate *gen, const struct generate_config *config, struct error *err)
{
	int result = check_config(config, err);

	if (result)
		return result;
	memset(gen, 0, sizeof(*gen));
	gen->config = *config;
	gen->random.state = config->seed;
	for (size_t i = 0; i < config->currency_count; i++) {
		currency_t currency = currency_pack(
			config->currencies[i], strlen(config->currencies[i]));

		if (currency == CURRENCY_NONE)
			return error_set(err, -EINVAL,
				"\"%s\" is no currency: expected 1 to 10 characters of "
				"A-Z and 0-9",
				config->currencies[i]);
		currency_text(currency, gen->currencies[i]);
	}
	gen->config.currencies = NULL;
	zipf_init(&gen->zipf, (uint32_t)config->accounts, config->zipf);
	gen->spread = choose_spread((uint64_t)config->accounts);
	gen->unit = digits_power[config->decimals];
	gen->chances[0] = chance(config->duplicates);
	gen->chances[1] = gen->chances[0] + chance(config->overdrafts);
	gen->chances[2] = gen->chances[1] + chance(config->malformed);
	gen->funds = xcalloc(
		(size_t)config->accounts * config->currency_count, sizeof(*gen->funds));
	return 0;
}

void generate_finish(struct generate *gen)
{
	free(gen->funds);
	gen->funds = NULL;
}

static int64_t pick_account(struct generate *gen)
{
	uint64_t accounts = (uint64_t)gen->config.accounts;

	if (gen->config.zipf == 0)
		return 1 + (int64_t)splitmix_below(&gen->random, accounts);
	return 1 + (int64_t)(zipf_next(&gen->zipf, &gen->random) * gen->spread % accounts);
}

static enum event_type pick_type(struct generate *gen)
{
	uint64_t percent = splitmix_below(&gen->random, 100);

	if (percent < 45)
		return EVENT_DEPOSIT;
	if (percent < 70)
		return EVENT_WITHDRAW;
	if (percent < 82)
		return EVENT_FREEZE;
	return percent < 90 ? EVENT_UNFREEZE : EVENT_SETTLE;
}

/* In smallest units: from one of them up to 10, 100, 1,000 or 10,000. */
static uint64_t pick_amount(struct generate *gen)
{
	uint64_t limit = gen->unit * digits_power[1 + splitmix_next(&gen->random) % 4];

	return 1 + splitmix_below(&gen->random, limit);
}

/* A new id: of this time and place in the order, or all random. */
static void make_id(struct generate *gen, int64_t time_ms, struct generate_event *event)
{
	const uint64_t version_4 = UINT64_C(4) << 12;
	const uint64_t version_7 = UINT64_C(7) << 12;
	uint64_t in_ms = (uint64_t)(gen->index % GENERATE_EVENTS_PER_MS);

	if (gen->config.random_ids)
		event->id[0] = (splitmix_next(&gen->random) & ~UINT64_C(0xf000)) | version_4;
	else
		event->id[0] = (uint64_t)time_ms << 16 | version_7 | in_ms;
	event->id[1] = splitmix_next(&gen->random) >> 2 | UINT64_C(1) << 63;
}

static struct generate_event make_event(struct generate *gen)
{
	struct generate_event event = {
		.account_id = pick_account(gen),
		.time_ms = gen->config.start_ms + gen->index / GENERATE_EVENTS_PER_MS,
	};

	if (gen->config.currency_count > 1)
		event.currency = (uint8_t)splitmix_below(&gen->random, gen->config.currency_count);
	make_id(gen, event.time_ms, &event);
	return event;
}

static struct generate_funds *find_funds(struct generate *gen, const struct generate_event *event)
{
	size_t account = (size_t)event->account_id - 1;

	return &gen->funds[account * gen->config.currency_count + event->currency];
}

/* Chooses what the account can afford, but for one in sixteen of the times that it cannot. */
static uint64_t choose_content(
	struct generate *gen, const struct generate_funds *funds, struct generate_event *event)
{
	uint64_t amount = pick_amount(gen);
	uint64_t source;

	event->type = (uint8_t)pick_type(gen);
	if (event->type == EVENT_DEPOSIT && funds->available + funds->frozen > FUNDS_MAX)
		event->type = funds->available >= amount ? EVENT_WITHDRAW : EVENT_SETTLE;
	if (event->type == EVENT_DEPOSIT)
		return amount;
	source = event->type <= EVENT_FREEZE ? funds->available : funds->frozen;
	if (amount <= source || splitmix_below(&gen->random, 16) == 0)
		return amount;
	if (source)
		return 1 + splitmix_below(&gen->random, source);
	event->type = EVENT_DEPOSIT;
	return amount;
}

/* What the ledger will do. */
static enum outcome follow(struct generate_funds *funds, enum event_type type, uint64_t amount)
{
	bool from_available = type == EVENT_WITHDRAW || type == EVENT_FREEZE;
	bool from_frozen = type == EVENT_UNFREEZE || type == EVENT_SETTLE;

	if ((from_available && funds->available < amount) ||
		(from_frozen && funds->frozen < amount))
		return OUTCOME_REFUSED;
	if (from_available)
		funds->available -= amount;
	if (from_frozen)
		funds->frozen -= amount;
	if (type == EVENT_DEPOSIT || type == EVENT_UNFREEZE)
		funds->available += amount;
	if (type == EVENT_FREEZE)
		funds->frozen += amount;
	return OUTCOME_APPLIED;
}

static char *put_text(char *at, const char *text, size_t length)
{
	memcpy(at, text, length);
	return at + length;
}

#define PUT(at, literal) put_text(at, literal, sizeof(literal) - 1)

/* `bytes` last bytes of number in hexadecimal. */
static char *put_hex(char *at, uint64_t number, int bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (int shift = 8 * bytes - 4; shift >= 0; shift -= 4)
		*at++ = digits[number >> shift & 15];
	return at;
}

static char *put_id(char *at, const uint64_t id[2])
{
	at = put_hex(at, id[0] >> 32, 4);
	at = put_hex(PUT(at, "-"), id[0] >> 16, 2);
	at = put_hex(PUT(at, "-"), id[0], 2);
	at = put_hex(PUT(at, "-"), id[1] >> 48, 2);
	return put_hex(PUT(at, "-"), id[1], 6);
}

static size_t spell_amount(i128 amount, enum spelling spelling, char *text)
{
	char *begin = spelling == SPELLING_NUMBER ? text : PUT(text, "\"");
	char *at = begin + decimal_format(amount, begin);

	if (spelling == SPELLING_ZERO)
		at = memchr(begin, '.', (size_t)(at - begin)) ? PUT(at, "0") : PUT(at, ".0");
	if (spelling == SPELLING_EXPONENT)
		at = PUT(at, "e0");
	if (spelling != SPELLING_NUMBER)
		at = PUT(at, "\"");
	return (size_t)(at - text);
}

/* Writes key and value of an event whose amount is this piece of JSON. */
static void write_message(struct generate *gen, const struct generate_event *event,
	const char *amount, size_t amount_length, struct generated *ret_message)
{
	const char *type = event_type_text(event->type);
	const char *currency = gen->currencies[event->currency];
	char *at = gen->value;

	ret_message->key = gen->key;
	ret_message->key_length = digits_i64(event->account_id, gen->key);
	at = PUT(at, "{\"transaction_id\":\"");
	at = put_id(at, event->id);
	at = PUT(at, "\",\"account_id\":");
	at = put_text(at, ret_message->key, ret_message->key_length);
	at = PUT(at, ",\"currency\":\"");
	at = put_text(at, currency, strlen(currency));
	at = PUT(at, "\",\"type\":\"");
	at = put_text(at, type, strlen(type));
	at = PUT(at, "\",\"amount\":");
	at = put_text(at, amount, amount_length);
	at = PUT(at, ",\"ts\":");
	at += digits_i64(event->time_ms, at);
	*at++ = '}';
	ret_message->value = gen->value;
	ret_message->value_length = (size_t)(at - gen->value);
	assert(ret_message->value_length <= sizeof(gen->value));
}

static void write_event(struct generate *gen, const struct generate_event *event,
	enum spelling spelling, struct generated *ret_message)
{
	char amount[DECIMAL_TEXT_MAX + 8];
	size_t length = spell_amount(event->amount, spelling, amount);

	write_message(gen, event, amount, length, ret_message);
}

static void remember(struct generate *gen, const struct generate_event *event)
{
	gen->recent[gen->recent_count++ % GENERATE_RECENT] = *event;
}

/* An event that was sent before; there is one. */
static const struct generate_event *pick_recent(struct generate *gen)
{
	uint64_t count = gen->recent_count;

	assert(count);
	return &gen->recent[splitmix_below(
		&gen->random, count < GENERATE_RECENT ? count : GENERATE_RECENT)];
}

static void next_good(struct generate *gen, struct generated *ret_message)
{
	struct generate_event event = make_event(gen);
	struct generate_funds *funds = find_funds(gen, &event);
	uint64_t amount = choose_content(gen, funds, &event);

	event.amount = amount * (DECIMAL_ONE / gen->unit);
	ret_message->outcome = follow(funds, event.type, amount);
	remember(gen, &event);
	write_event(gen, &event, SPELLING_TEXT, ret_message);
}

static void next_overdraft(struct generate *gen, struct generated *ret_message)
{
	struct generate_event event = make_event(gen);

	event.type = EVENT_WITHDRAW;
	event.amount = OVERDRAFT + pick_amount(gen) * (DECIMAL_ONE / gen->unit);
	ret_message->outcome = OUTCOME_REFUSED;
	remember(gen, &event);
	write_event(gen, &event, SPELLING_TEXT, ret_message);
}

/* Three of four are the same bytes, the others spell the amount in another way. */
static void next_duplicate(struct generate *gen, struct generated *ret_message)
{
	enum spelling spelling = SPELLING_TEXT;
	uint64_t turn = gen->repeats++;

	if (turn % 4 == 3)
		spelling = (enum spelling)(1 + turn / 4 % (SPELLINGS - 1));
	ret_message->outcome = OUTCOME_DUPLICATE;
	write_event(gen, pick_recent(gen), spelling, ret_message);
}

/* A known id with another amount. */
static void write_conflict(struct generate *gen, struct generated *ret_message)
{
	struct generate_event event = *pick_recent(gen);

	event.amount += DECIMAL_ONE / gen->unit;
	ret_message->dead_reason = DEAD_ID_CONFLICT;
	write_event(gen, &event, SPELLING_TEXT, ret_message);
}

static void write_defect(
	struct generate *gen, enum defect defect, uint64_t turn, struct generated *ret_message)
{
	const char *amount = bad_amounts[turn % (sizeof(bad_amounts) / sizeof(*bad_amounts))];
	struct generate_event event = make_event(gen);

	event.type = EVENT_DEPOSIT;
	event.amount = pick_amount(gen) * (DECIMAL_ONE / gen->unit);
	ret_message->dead_reason = DEAD_MALFORMED;
	if (defect == DEFECT_AMOUNT) {
		write_message(gen, &event, amount, strlen(amount), ret_message);
		return;
	}
	write_event(gen, &event, SPELLING_TEXT, ret_message);
	if (defect == DEFECT_BROKEN)
		ret_message->value_length /= 2;
	if (defect == DEFECT_MISSING_FIELD) /* a name that is spelled wrong is another name */
		*(char *)memmem(gen->value, ret_message->value_length, "currency", 8) = 'C';
	if (defect == DEFECT_NULL) {
		ret_message->value = NULL;
		ret_message->value_length = 0;
	}
	if (defect == DEFECT_KEY) {
		ret_message->key_length = digits_i64(event.account_id + 1, gen->key);
		ret_message->dead_reason = DEAD_KEY_MISMATCH;
	}
}

static void next_malformed(struct generate *gen, struct generated *ret_message)
{
	enum defect defect = (enum defect)(gen->defects % DEFECTS);
	uint64_t turn = gen->defects++ / DEFECTS;

	ret_message->outcome = OUTCOME_DEAD_LETTER;
	if (defect == DEFECT_CONFLICT && gen->recent_count)
		write_conflict(gen, ret_message);
	else
		write_defect(
			gen, defect == DEFECT_CONFLICT ? DEFECT_BROKEN : defect, turn, ret_message);
}

bool generate_next(struct generate *gen, struct generated *ret_message)
{
	uint64_t draw;

	if (gen->index == gen->config.count)
		return false;
	*ret_message = (struct generated){.dead_reason = DEAD_NONE};
	draw = gen->chances[2] ? splitmix_next(&gen->random) >> 32 : 0;
	if (draw >= gen->chances[2] || (draw < gen->chances[0] && !gen->recent_count))
		next_good(gen, ret_message);
	else if (draw < gen->chances[0])
		next_duplicate(gen, ret_message);
	else if (draw < gen->chances[1])
		next_overdraft(gen, ret_message);
	else
		next_malformed(gen, ret_message);
	gen->index++;
	return true;
}
