/*
 * See decode_oracle.h.
 *
 * yajl is laxer than the contract in four things, which are checked here: it lets overlong and
 * surrogate UTF-8 pass, takes vertical tab and form feed for spaces, makes a question mark of half
 * a surrogate pair, and has no limits of length and depth.
 */
#include "decode_oracle.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#define LENGTH_MAX 4096
#define DEPTH_MAX  64

static const char *const names[] = {
	"transaction_id", "account_id", "currency", "type", "amount", "ts"};

enum { TRANSACTION_ID, ACCOUNT_ID, CURRENCY, TYPE, AMOUNT, TS, NAMES };

struct state {
	struct oracle_event *event;
	int depth;
	bool ended; /* the outermost object is closed */
	int name;   /* of the member of the outermost object under way; -1: another */
	bool seen[NAMES];
};

/* A character's code, loosely, and its length; 0 if it does not even look like one. */
static size_t read_code(const unsigned char *at, size_t left, uint32_t *ret_code)
{
	size_t length = *at < 0x80   ? 1
			: *at < 0xc0 ? 0
			: *at < 0xe0 ? 2
			: *at < 0xf0 ? 3
			: *at < 0xf8 ? 4
				     : 0;

	if (!length || length > left)
		return 0;
	*ret_code = length == 1 ? *at : *at & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if (at[i] >> 6 != 2)
			return 0;
		*ret_code = *ret_code << 6 | (at[i] & 0x3f);
	}
	return length;
}

/* UTF-8, each character as short as its code allows, and none a surrogate. */
static bool is_utf8(const unsigned char *at, size_t left)
{
	while (left) {
		uint32_t code;
		size_t length = read_code(at, left, &code);
		size_t needed;

		if (!length || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return false;
		needed = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
		if (length != needed)
			return false;
		at += length;
		left -= length;
	}
	return true;
}

static bool has_strange_control(const unsigned char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] < 0x20 && !memchr("\t\n\r", text[i], 3))
			return true;
	return false;
}

/* Escapes of a first half of a pair without a second become another character beyond ASCII. */
static void mend_surrogates(unsigned char *text, size_t length)
{
	for (size_t i = 0; i + 1 < length; i++) {
		if (text[i] != '\\')
			continue;
		if (text[i + 1] == 'u' && i + 6 <= length && (text[i + 2] | 0x20) == 'd' &&
			memchr("89abAB", text[i + 3], 6) &&
			(i + 8 > length || memcmp(text + i + 6, "\\u", 2)))
			memcpy(text + i + 2, "0f", 2); /* the last two stay: they must be digits */
		i++;
	}
}

static bool all_of(const char *text, size_t length, const char *set)
{
	for (size_t i = 0; i < length; i++)
		if (!text[i] || !strchr(set, text[i]))
			return false;
	return true;
}

static bool take(char *to, const char *text, size_t length)
{
	memcpy(to, text, length);
	to[length] = '\0';
	return true;
}

/* Digits without leading zeros, not above this limit. */
static bool take_integer(char *to, const char *text, size_t length, const char *limit)
{
	size_t digits = strlen(limit);

	if (length < 1 || length > digits || !all_of(text, length, "0123456789"))
		return false;
	if (length > 1 && *text == '0')
		return false;
	return !(length == digits && memcmp(text, limit, digits) > 0) && take(to, text, length);
}

/* Puts a number's digits where they belong; false if one that is not zero belongs nowhere. */
static bool place_digits(char *amount, const char *digits, size_t length, long place)
{
	for (size_t i = 0; i < length; i++, place--) {
		if (digits[i] == '0')
			continue;
		if (place > 17 || place < -18)
			return false;
		amount[17 - place] = digits[i];
	}
	return true;
}

/* A number of JSON's grammar. */
static bool take_amount(char *amount, const char *text, size_t length)
{
	char copy[LENGTH_MAX + 1];
	char *exponent;
	char *point;
	long shift = 0;
	size_t whole;

	take(copy, text, length);
	exponent = strpbrk(copy, "eE");
	if (exponent) {
		shift = strtol(exponent + 1, NULL, 10); /* as far as a long goes */
		shift = shift > 1000000 ? 1000000 : shift < -1000000 ? -1000000 : shift;
		*exponent = '\0';
	}
	point = strchr(copy, '.');
	whole = point ? (size_t)(point - copy) : strlen(copy);
	memset(amount, '0', 36);
	amount[36] = '\0';
	if (*copy == '-' || !place_digits(amount, copy, whole, (long)whole - 1 + shift))
		return false;
	if (point && !place_digits(amount, point + 1, strlen(point + 1), shift - 1))
		return false;
	return strspn(amount, "0") < 36;
}

static int only_number(void *context, const char *text, size_t length)
{
	*(size_t *)context = length;
	return 1;
}

/* Whether the whole text is one number, by yajl's word. */
static bool is_number(const char *text, size_t length)
{
	static const yajl_callbacks callbacks = {.yajl_number = only_number};
	size_t seen = 0;
	yajl_handle yajl = yajl_alloc(&callbacks, NULL, &seen);
	bool good = yajl_parse(yajl, (const unsigned char *)text, length) == yajl_status_ok &&
		    yajl_complete_parse(yajl) == yajl_status_ok;

	yajl_free(yajl);
	return good && length && seen == length;
}

static bool take_string(struct state *s, const char *text, size_t length)
{
	static const char *const types[] = {"DEPOSIT", "WITHDRAW", "FREEZE", "UNFREEZE", "SETTLE"};

	switch (s->name) {
	case TRANSACTION_ID:
		if (length < 1 || length > 64 || *text == '~')
			return false;
		for (size_t i = 0; i < length; i++)
			if (text[i] <= ' ' || text[i] > '~')
				return false;
		return take(s->event->transaction_id, text, length);
	case ACCOUNT_ID:
		return take_integer(s->event->account_id, text, length, "9223372036854775807") &&
		       *text != '0';
	case CURRENCY:
		return length >= 1 && length <= 10 &&
		       all_of(text, length, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") &&
		       take(s->event->currency, text, length);
	case TYPE:
		for (int i = 0; i < 5; i++)
			if (length == strlen(types[i]) && !memcmp(text, types[i], length))
				return take(s->event->type, text, length);
		return false;
	case AMOUNT:
		return is_number(text, length) && take_amount(s->event->amount, text, length);
	default:
		return s->name < 0;
	}
}

/* At the top there is one object, and nothing else. */
static bool at_top_value(const struct state *s)
{
	return s->depth == 1;
}

static int on_string(void *context, const unsigned char *text, size_t length)
{
	struct state *s = context;

	if (s->depth > 1)
		return 1;
	return at_top_value(s) && take_string(s, (const char *)text, length);
}

static int on_number(void *context, const char *text, size_t length)
{
	struct state *s = context;

	if (s->depth > 1)
		return 1;
	if (!at_top_value(s))
		return 0;
	switch (s->name) {
	case ACCOUNT_ID:
		return take_string(s, text, length);
	case AMOUNT:
		return take_amount(s->event->amount, text, length);
	case TS:
		return take_integer(s->event->ts, text, length, "253402300799999");
	default:
		return s->name < 0;
	}
}

static int on_other(struct state *s)
{
	return s->depth > 1 || (at_top_value(s) && s->name < 0);
}

static int on_null(void *context)
{
	return on_other(context);
}

static int on_boolean(void *context, int value)
{
	return on_other(context);
}

static int on_start_map(void *context)
{
	struct state *s = context;

	if (s->depth == 0 ? s->ended : !on_other(s))
		return 0;
	return ++s->depth <= DEPTH_MAX;
}

static int on_start_array(void *context)
{
	struct state *s = context;

	return on_other(s) && ++s->depth <= DEPTH_MAX;
}

static int on_end(void *context)
{
	struct state *s = context;

	s->ended = --s->depth == 0;
	return 1;
}

static int on_map_key(void *context, const unsigned char *text, size_t length)
{
	struct state *s = context;

	if (s->depth != 1)
		return 1;
	s->name = -1;
	for (int i = 0; i < NAMES; i++) {
		if (length != strlen(names[i]) || memcmp(text, names[i], length))
			continue;
		s->name = i;
		if (s->seen[i])
			return 0;
		s->seen[i] = true;
	}
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_map,
	.yajl_map_key = on_map_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end,
};

/* The object, whose brace is the last byte that is not a space, is open before it and closed by it.
 */
static bool parse(struct state *s, const unsigned char *text, size_t length)
{
	yajl_handle yajl = yajl_alloc(&callbacks, NULL, s);
	bool good;

	while (length && memchr(" \t\n\r", text[length - 1], 4))
		length--;
	good = length && yajl_parse(yajl, text, length - 1) == yajl_status_ok && !s->ended &&
	       yajl_parse(yajl, text + length - 1, 1) == yajl_status_ok && s->ended &&
	       yajl_complete_parse(yajl) == yajl_status_ok;
	yajl_free(yajl);
	return good;
}

bool decode_oracle(const unsigned char *value, size_t length, struct oracle_event *ret_event)
{
	struct state state = {.event = ret_event};
	unsigned char copy[LENGTH_MAX];
	bool good;

	memset(ret_event, 0, sizeof(*ret_event));
	if (length > LENGTH_MAX || !is_utf8(value, length) || has_strange_control(value, length))
		return false;
	memcpy(copy, value, length);
	mend_surrogates(copy, length);
	good = parse(&state, copy, length);
	for (int i = 0; i < TS; i++)
		good = good && state.seen[i];
	return good;
}
