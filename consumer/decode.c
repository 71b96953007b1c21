/*
 * See decode.h.
 *
 * A strict JSON reader for one shape of object.  It walks the bytes once: each read_ and skip_
 * function takes the place of the next byte and returns the place after what it read, or NULL when
 * the text is not what it has to be; reader.detail then says why.  Strings are first only checked
 * and measured, as bytes between their quotes; the few that are wanted and hold escapes are
 * unescaped afterwards.
 *
 * The value is first copied, with zeros behind it: a zero has a place nowhere in JSON, so whatever
 * walks the bytes stops at the end by itself, and whole words can be looked at.
 */
#include "decode.h"

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "digits.h"
#include "murmur2.h"
#include "utf8.h"

enum field {
	FIELD_OTHER = 0,
	FIELD_TRANSACTION_ID,
	FIELD_ACCOUNT_ID,
	FIELD_CURRENCY,
	FIELD_TYPE,
	FIELD_AMOUNT,
	FIELD_TS,
	FIELDS,
};

#define FIELD_BIT(field) (1U << (field))
#define FIELDS_REQUIRED                                                                            \
	(FIELD_BIT(FIELD_TRANSACTION_ID) | FIELD_BIT(FIELD_ACCOUNT_ID) |                           \
		FIELD_BIT(FIELD_CURRENCY) | FIELD_BIT(FIELD_TYPE) | FIELD_BIT(FIELD_AMOUNT))

static const char *const missing_details[FIELDS] = {
	[FIELD_TRANSACTION_ID] = "transaction_id is missing",
	[FIELD_ACCOUNT_ID] = "account_id is missing",
	[FIELD_CURRENCY] = "currency is missing",
	[FIELD_TYPE] = "type is missing",
	[FIELD_AMOUNT] = "amount is missing",
};

static const char *const twice_details[FIELDS] = {
	[FIELD_TRANSACTION_ID] = "transaction_id is given twice",
	[FIELD_ACCOUNT_ID] = "account_id is given twice",
	[FIELD_CURRENCY] = "currency is given twice",
	[FIELD_TYPE] = "type is given twice",
	[FIELD_AMOUNT] = "amount is given twice",
	[FIELD_TS] = "ts is given twice",
};

static const char *const value_details[FIELDS] = {
	[FIELD_TRANSACTION_ID] =
		"transaction_id: expected a string of 1 to 64 characters of printable "
		"ASCII without space, not beginning with ~",
	[FIELD_ACCOUNT_ID] =
		"account_id: expected an integer from 1 to 9223372036854775807 without "
		"leading zeros, fraction or exponent, as JSON number or string",
	[FIELD_CURRENCY] = "currency: expected a string of 1 to 10 characters of A-Z and 0-9",
	[FIELD_TYPE] =
		"type: expected one of the strings DEPOSIT, WITHDRAW, FREEZE, UNFREEZE, SETTLE",
	[FIELD_AMOUNT] = "amount: expected a number in JSON's grammar, as JSON number or string",
	[FIELD_TS] = "ts: expected a JSON number in plain digits from 0 to 253402300799999",
};

static const char amount_range_detail[] = "amount: expected a value above 0 and below 10^18";
static const char amount_fraction_detail[] = "amount: expected at most 18 decimals";

/* The bytes between a string's quotes, or what they stand for. */
struct text {
	const char *bytes;
	size_t length;
	bool escaped; /* holds backslashes */
};

struct reader {
	const char *end;
	const char *detail; /* once something is wrong */
	struct event *event;
	unsigned seen; /* FIELD_BITs */
	char unescaped[EVENT_VALUE_MAX];
	char value[EVENT_VALUE_MAX + sizeof(uint64_t)];
};

static const char *fail(struct reader *r, const char *detail)
{
	r->detail = detail;
	return NULL;
}

static const char *fail_field(struct reader *r, enum field field)
{
	return fail(r, value_details[field]);
}

/* The next byte; 0 at the end, where nothing that is read goes on. */
static inline int peek(const char *at)
{
	return (unsigned char)*at;
}

static inline bool is_space(int c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static inline const char *skip_space(const char *at)
{
	while (is_space(peek(at)))
		at++;
	return at;
}

/*
 * A bit at the top of each of the eight bytes that may not stand in a string as they are: quote,
 * backslash, control characters and what is not ASCII.  Bytes after the first such one may be
 * marked wrongly.
 */
static inline uint64_t marks(uint64_t word)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t quote = word ^ ones * '"';
	uint64_t backslash = word ^ ones * '\\';

	return ((word - ones * ' ') | (quote - ones) | (backslash - ones) | word) & ones * 0x80;
}

/* The first byte of a string that is not plain: at the end, the zero behind it. */
static inline const char *skip_plain(const char *at)
{
	uint64_t word;

	for (;; at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		word = marks(le64toh(word));
		if (word)
			return at + __builtin_ctzll(word) / 8;
	}
}

/* A character that is not ASCII. */
static const char *skip_utf8(struct reader *r, const char *at)
{
	size_t length = utf8_length(at, (size_t)(r->end - at));

	return length ? at + length : fail(r, "not valid UTF-8");
}

static int hex_value(int c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* From a backslash to the end of its escape. */
static const char *skip_escape(struct reader *r, const char *at)
{
	static const char detail[] = "not valid JSON: an unknown escape in a string";
	int c = peek(at + 1);

	if (c != 'u')
		return c > 0 && strchr("\"\\/bfnrt", c) ? at + 2 : fail(r, detail);
	at += 2;
	for (int i = 0; i < 4; i++, at++)
		if (hex_value(peek(at)) < 0)
			return fail(r, detail);
	return at;
}

/* The rest of a string that is not all plain, from the first byte that is not to the closing quote.
 */
static const char *skip_unplain(struct reader *r, const char *at, bool *ret_escaped)
{
	for (int c = peek(at); c != '"'; c = peek(at)) {
		if (c == '\\') {
			*ret_escaped = true;
			at = skip_escape(r, at);
		} else if (c >= 0x80) {
			at = skip_utf8(r, at);
		} else {
			return fail(r, at == r->end
					       ? "not valid JSON: a string without an end"
					       : "not valid JSON: a control character in a string");
		}
		if (!at)
			return NULL;
		at = skip_plain(at);
	}
	return at;
}

/* From after a string's opening quote to after its closing one. */
static inline const char *read_string(struct reader *r, const char *at, struct text *ret_text)
{
	ret_text->bytes = at;
	ret_text->escaped = false;
	at = skip_plain(at);
	if (peek(at) != '"') {
		at = skip_unplain(r, at, &ret_text->escaped);
		if (!at)
			return NULL;
	}
	ret_text->length = (size_t)(at - ret_text->bytes);
	return at + 1;
}

/* What an escape stands for; 0xff for all but ASCII, because no text that is wanted has more. */
static char escaped_character(const char *at)
{
	static const char letters[] = "bfnrt";
	static const char meanings[] = "\b\f\n\r\t";
	const char *letter;
	int code = 0;

	if (at[1] == 'u') {
		for (int i = 2; i < 6; i++)
			code = code * 16 + hex_value((unsigned char)at[i]);
		return (char)(code < 0x80 ? code : 0xff);
	}
	letter = strchr(letters, at[1]);
	return letter ? meanings[letter - letters] : at[1];
}

/* Replaces a string that read_string has checked by what it stands for. */
static void unescape(struct reader *r, struct text *text)
{
	const char *at = text->bytes;
	const char *end = at + text->length;
	size_t length = 0;

	while (at < end) {
		bool escape = *at == '\\';

		assert(length < sizeof(r->unescaped));
		r->unescaped[length++] = escape ? escaped_character(at) : *at;
		at += !escape ? 1 : at[1] == 'u' ? 6 : 2;
	}
	assert(length < sizeof(r->unescaped));
	r->unescaped[length] = '\0'; /* as behind the value */
	text->bytes = r->unescaped;
	text->length = length;
	text->escaped = false;
}

static inline enum field find_field(const struct text *name)
{
	const char *bytes = name->bytes;

	switch (name->length) {
	case 2:
		return memcmp(bytes, "ts", 2) ? FIELD_OTHER : FIELD_TS;
	case 4:
		return memcmp(bytes, "type", 4) ? FIELD_OTHER : FIELD_TYPE;
	case 6:
		return memcmp(bytes, "amount", 6) ? FIELD_OTHER : FIELD_AMOUNT;
	case 8:
		return memcmp(bytes, "currency", 8) ? FIELD_OTHER : FIELD_CURRENCY;
	case 10:
		return memcmp(bytes, "account_id", 10) ? FIELD_OTHER : FIELD_ACCOUNT_ID;
	case 14:
		return memcmp(bytes, "transaction_id", 14) ? FIELD_OTHER : FIELD_TRANSACTION_ID;
	default:
		return FIELD_OTHER;
	}
}

/* From a member's name to its value. */
static inline const char *read_name(struct reader *r, const char *at, struct text *ret_name)
{
	if (peek(at) != '"')
		return fail(r, "not valid JSON: expected a name in quotes");
	at = read_string(r, at + 1, ret_name);
	if (!at)
		return NULL;
	at = skip_space(at);
	if (peek(at) != ':')
		return fail(r, "not valid JSON: expected a colon after a name");
	return skip_space(at + 1);
}

static const char *skip_digits(struct reader *r, const char *at)
{
	if (!is_digit(peek(at)))
		return fail(r, "not valid JSON: a number without digits");
	while (is_digit(peek(at)))
		at++;
	return at;
}

static const char *skip_number(struct reader *r, const char *at)
{
	if (peek(at) == '-')
		at++;
	at = peek(at) == '0' ? at + 1 : skip_digits(r, at);
	if (at && peek(at) == '.')
		at = skip_digits(r, at + 1);
	if (at && (peek(at) | 0x20) == 'e') {
		at++;
		if (peek(at) == '+' || peek(at) == '-')
			at++;
		at = skip_digits(r, at);
	}
	return at;
}

static const char *skip_word(struct reader *r, const char *at, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(r->end - at) < length || memcmp(at, word, length))
		return fail(r, "not valid JSON: expected a value");
	return at + length;
}

static const char *skip_scalar(struct reader *r, const char *at)
{
	struct text text;

	switch (peek(at)) {
	case '"':
		return read_string(r, at + 1, &text);
	case 't':
		return skip_word(r, at, "true");
	case 'f':
		return skip_word(r, at, "false");
	case 'n':
		return skip_word(r, at, "null");
	case '-':
	case '0' ... '9':
		return skip_number(r, at);
	default:
		return fail(r, "not valid JSON: expected a value");
	}
}

/* The containers around a value: a bit for each that is an object, by its depth - 1. */
struct nest {
	uint64_t objects;
	int depth;
};

static inline bool in_object(const struct nest *nest)
{
	return nest->objects >> (nest->depth - 1) & 1;
}

/*
 * Steps into a container.  *ret_due: it is not empty, and the place returned is that of its first
 * value.
 */
static const char *enter(struct reader *r, const char *at, struct nest *nest, bool *ret_due)
{
	bool object = *at == '{';
	struct text name;

	_Static_assert(EVENT_DEPTH_MAX <= 64, "a bit for each");
	if (nest->depth == EVENT_DEPTH_MAX)
		return fail(r, "nested deeper than 64");
	at = skip_space(at + 1);
	*ret_due = peek(at) != (object ? '}' : ']');
	if (!*ret_due)
		return at + 1;
	nest->depth++;
	nest->objects &= ~(UINT64_C(1) << (nest->depth - 1));
	nest->objects |= (uint64_t)object << (nest->depth - 1);
	return object ? read_name(r, at, &name) : at;
}

/*
 * After a value: to the next one of its container, or out of the containers that end here, at most
 * down to depth 1.
 */
static const char *leave(struct reader *r, const char *at, struct nest *nest)
{
	struct text name;

	while (nest->depth > 1) {
		bool object = in_object(nest);

		at = skip_space(at);
		if (peek(at) == ',') {
			at = skip_space(at + 1);
			return object ? read_name(r, at, &name) : at;
		}
		if (peek(at) != (object ? '}' : ']'))
			return fail(
				r, "not valid JSON: expected a comma or the end of a container");
		nest->depth--;
		at++;
	}
	return at;
}

/* Any value of a member of the event's own object. */
static const char *skip_value(struct reader *r, const char *at)
{
	struct nest nest = {.objects = 1, .depth = 1};
	bool due;

	do {
		int c = peek(at);

		due = false;
		at = c == '{' || c == '[' ? enter(r, at, &nest, &due) : skip_scalar(r, at);
		if (at && !due)
			at = leave(r, at, &nest);
	} while (at && nest.depth > 1);
	return at;
}

/* The string that a known field must be, unescaped. */
static inline const char *read_text(
	struct reader *r, const char *at, enum field field, struct text *ret_text)
{
	if (peek(at) != '"')
		return fail_field(r, field);
	at = read_string(r, at + 1, ret_text);
	if (at && ret_text->escaped)
		unescape(r, ret_text);
	return at;
}

/* The same for a field that may be a number as well: then the text is all that could belong to one.
 * Its form is the caller's to check; what follows it is a space, a comma or a brace, or wrong. */
static inline const char *read_numeric(
	struct reader *r, const char *at, enum field field, struct text *ret_text)
{
	int c = peek(at);

	if (c != '-' && !is_digit(c))
		return read_text(r, at, field, ret_text);
	ret_text->bytes = at;
	do
		c = peek(++at);
	while (is_digit(c) || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E');
	ret_text->length = (size_t)(at - ret_text->bytes);
	return at;
}

/* Plain digits without leading zeros, up to `max` (below 10^19): to the place after them, or NULL.
 */
static inline const char *read_digits(const char *at, int64_t max, int64_t *ret_number)
{
	const char *begin = at;
	uint64_t number = 0;

	for (; is_digit(peek(at)); at++)
		number = number * 10 + (uint64_t)(*at - '0');
	*ret_number = (int64_t)number;
	if (at == begin || at - begin > 19 || (*begin == '0' && at - begin > 1) ||
		number > (uint64_t)max)
		return NULL;
	return at;
}

/* Whether a number that was plain digits so far goes on otherwise. */
static inline bool number_goes_on(const char *at)
{
	return *at == '.' || *at == '-' || *at == '+' || (*at | 0x20) == 'e';
}

/* Whether all bytes are 0x21 to 0x7e. */
static inline bool is_printable(const char *bytes, size_t length)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t bad = 0;
	uint64_t word;
	size_t i = 0;

	for (; i + sizeof(word) <= length; i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		bad |= (word - ones * 0x21) | (word + ones) | word;
	}
	for (; i < length; i++)
		bad |= (uint64_t)((unsigned char)(bytes[i] - 0x21) > 0x7e - 0x21) << 7;
	return !(bad & ones * 0x80);
}

static inline const char *read_transaction_id(struct reader *r, const char *at)
{
	struct event *event = r->event;
	struct text text;

	at = read_text(r, at, FIELD_TRANSACTION_ID, &text);
	if (!at)
		return NULL;
	if (text.length < 1 || text.length > TRANSACTION_ID_MAX || *text.bytes == '~' ||
		!is_printable(text.bytes, text.length))
		return fail_field(r, FIELD_TRANSACTION_ID);
	memcpy(event->transaction_id, text.bytes, text.length);
	event->transaction_id_length = (uint8_t)text.length;
	return at;
}

/* The same as a string, which may be escaped. */
static const char *read_account_text(struct reader *r, const char *at)
{
	struct text text;
	const char *end;

	at = read_text(r, at, FIELD_ACCOUNT_ID, &text);
	if (!at)
		return NULL;
	end = read_digits(text.bytes, INT64_MAX, &r->event->account_id);
	if (end != text.bytes + text.length || r->event->account_id == 0)
		return fail_field(r, FIELD_ACCOUNT_ID);
	return at;
}

static inline const char *read_account_id(struct reader *r, const char *at)
{
	if (!is_digit(peek(at)))
		return read_account_text(r, at);
	at = read_digits(at, INT64_MAX, &r->event->account_id);
	if (!at || number_goes_on(at) || r->event->account_id == 0)
		return fail_field(r, FIELD_ACCOUNT_ID);
	return at;
}

static inline const char *read_currency(struct reader *r, const char *at)
{
	struct text text;

	at = read_text(r, at, FIELD_CURRENCY, &text);
	if (!at)
		return NULL;
	r->event->currency = currency_pack(text.bytes, text.length);
	return r->event->currency == CURRENCY_NONE ? fail_field(r, FIELD_CURRENCY) : at;
}

static inline const char *read_type(struct reader *r, const char *at)
{
	struct text text;

	at = read_text(r, at, FIELD_TYPE, &text);
	if (!at)
		return NULL;
	r->event->type = (uint8_t)event_type_parse(text.bytes, text.length);
	return r->event->type ? at : fail_field(r, FIELD_TYPE);
}

static inline const char *read_amount(struct reader *r, const char *at)
{
	struct text text;

	at = read_numeric(r, at, FIELD_AMOUNT, &text);
	if (!at)
		return NULL;
	switch (decimal_parse_amount(text.bytes, text.length, &r->event->amount)) {
	case DECIMAL_OK:
		return at;
	case DECIMAL_RANGE:
		return fail(r, amount_range_detail);
	case DECIMAL_FRACTION:
		return fail(r, amount_fraction_detail);
	default:
		return fail_field(r, FIELD_AMOUNT);
	}
}

static inline const char *read_ts(struct reader *r, const char *at)
{
	at = read_digits(at, EVENT_TIME_MAX_MS, &r->event->time_ms);
	return at && !number_goes_on(at) ? at : fail_field(r, FIELD_TS);
}

static inline const char *read_value(struct reader *r, const char *at, enum field field)
{
	if (field != FIELD_OTHER && r->seen & FIELD_BIT(field))
		return fail(r, twice_details[field]);
	r->seen |= FIELD_BIT(field);
	switch (field) {
	case FIELD_TRANSACTION_ID:
		return read_transaction_id(r, at);
	case FIELD_ACCOUNT_ID:
		return read_account_id(r, at);
	case FIELD_CURRENCY:
		return read_currency(r, at);
	case FIELD_TYPE:
		return read_type(r, at);
	case FIELD_AMOUNT:
		return read_amount(r, at);
	case FIELD_TS:
		return read_ts(r, at);
	default:
		return skip_value(r, at);
	}
}

/* The members of the event's object, from after its opening brace to after the closing one. */
static const char *read_members(struct reader *r, const char *at)
{
	struct text name;

	at = skip_space(at);
	if (peek(at) == '}')
		return at + 1;
	for (;;) {
		at = read_name(r, at, &name);
		if (at && name.escaped)
			unescape(r, &name);
		if (at)
			at = read_value(r, at, find_field(&name));
		if (!at)
			return NULL;
		at = skip_space(at);
		if (peek(at) == '}')
			return at + 1;
		if (peek(at) != ',')
			return fail(r, "not valid JSON: expected a comma or the end of the object");
		at = skip_space(at + 1);
	}
}

/* The whole value. */
static bool read_object(struct reader *r, const char *at)
{
	at = skip_space(at);
	if (peek(at) != '{')
		return fail(r, "expected a JSON object");
	at = read_members(r, at + 1);
	if (!at)
		return false;
	if (skip_space(at) != r->end)
		return fail(r, "not valid JSON: something follows the object");
	if ((r->seen & FIELDS_REQUIRED) != FIELDS_REQUIRED)
		return fail(r, missing_details[__builtin_ctz(FIELDS_REQUIRED & ~r->seen)]);
	return true;
}

/* Kafka's timestamp, brought into what an event's time may be. */
static int64_t default_time(int64_t timestamp_ms)
{
	if (timestamp_ms < 0) /* MESSAGE_NO_TIMESTAMP included */
		return 0;
	return timestamp_ms > EVENT_TIME_MAX_MS ? EVENT_TIME_MAX_MS : timestamp_ms;
}

enum dead_reason decode_event(const char *value, size_t length, int64_t timestamp_ms,
	struct event *ret_event, const char **ret_detail)
{
	struct reader reader; /* its buffers are not cleared: 8 KiB a message */

	if (!value || length > EVENT_VALUE_MAX) {
		*ret_detail = value ? "the value is longer than 4096 bytes"
				    : "the value is null: expected a JSON object";
		return DEAD_MALFORMED;
	}
	memcpy(reader.value, value, length);
	memset(reader.value + length, 0, sizeof(uint64_t));
	reader.end = reader.value + length;
	reader.detail = NULL;
	reader.event = ret_event;
	reader.seen = 0;
	ret_event->time_ms = default_time(timestamp_ms);
	if (read_object(&reader, reader.value))
		return DEAD_NONE;
	assert(reader.detail);
	*ret_detail = reader.detail;
	return DEAD_MALFORMED;
}

/* Whether the key is the account id's decimal text, byte for byte. */
static bool key_matches(const struct message *message, int64_t account_id)
{
	char text[DIGITS_U64_MAX];
	size_t length = digits_u64((uint64_t)account_id, text);

	return message->key && message->key_length == length && !memcmp(message->key, text, length);
}

enum dead_reason decode_message(const struct message *message, int32_t partition,
	int32_t partitions, struct event *ret_event, const char **ret_detail)
{
	if (decode_event(message->value, message->value_length, message->timestamp_ms, ret_event,
		    ret_detail) != DEAD_NONE)
		return DEAD_MALFORMED;
	if (!key_matches(message, ret_event->account_id)) {
		*ret_detail = message->key ? "the key is not the account_id in decimal text"
					   : "the key is absent: expected the account_id";
		return DEAD_KEY_MISMATCH;
	}
	if (murmur2_partition(message->key, message->key_length, partitions) != partition) {
		*ret_detail = "the key belongs to another partition: the producer must use murmur2";
		return DEAD_WRONG_PARTITION;
	}
	return DEAD_NONE;
}
