/*
 * The project's arithmetic as a filter, one operation a line, for decimal_oracle.py.
 *
 *     pair A B                         two amounts as an event spells them
 *       -> A B SUM DIFFERENCE ORDER    plain decimals; OVER for a sum beyond the most that is
 *                                      stored; ORDER is <, = or >
 *     apply AVAILABLE FROZEN TYPE A    the rules of the ledger on a balance
 *       -> AVAILABLE FROZEN RESULT     OK or the reason of the refusal
 *
 * An amount that is refused stands as SYNTAX, RANGE or FRACTION; then nothing follows the two.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"

#define LINE_MAX_BYTES 16384

static enum decimal_error parse_and_print(const char *text, i128 *ret_amount)
{
	enum decimal_error error = decimal_parse_amount(text, strlen(text), ret_amount);
	char plain[DECIMAL_TEXT_MAX];

	if (error == DECIMAL_OK)
		fputs(decimal_text(*ret_amount, plain), stdout);
	else if (error == DECIMAL_SYNTAX)
		fputs("SYNTAX", stdout);
	else
		fputs(error == DECIMAL_RANGE ? "RANGE" : "FRACTION", stdout);
	return error;
}

static void do_pair(const char *left, const char *right)
{
	char plain[DECIMAL_TEXT_MAX];
	i128 a = 0;
	i128 b = 0;
	enum decimal_error error_a = parse_and_print(left, &a);
	enum decimal_error error_b;

	putchar(' ');
	error_b = parse_and_print(right, &b);
	if (error_a == DECIMAL_OK && error_b == DECIMAL_OK) {
		printf(" %s", a + b > DECIMAL_MAX ? "OVER" : decimal_text(a + b, plain));
		printf(" %s %c", decimal_text(a - b, plain), a < b ? '<' : a > b ? '>' : '=');
	}
	putchar('\n');
}

static i128 stored(const char *text)
{
	i128 amount;

	if (decimal_parse_stored(text, strlen(text), &amount) != DECIMAL_OK) {
		fprintf(stderr, "\"%s\" is no stored amount\n", text);
		exit(2);
	}
	return amount;
}

static void do_apply(char *words[])
{
	struct balance balance = {.available = stored(words[1]), .frozen = stored(words[2])};
	enum event_type type = event_type_parse(words[3], strlen(words[3]));
	char plain[2][DECIMAL_TEXT_MAX];
	enum refusal refusal;

	if (!type) {
		fprintf(stderr, "\"%s\" is no type\n", words[3]);
		exit(2);
	}
	refusal = apply(&balance, type, stored(words[4]));
	printf("%s %s %s\n", decimal_text(balance.available, plain[0]),
		decimal_text(balance.frozen, plain[1]), refusal ? refusal_text(refusal) : "OK");
}

int main(void)
{
	static char line[LINE_MAX_BYTES];
	char *words[5];
	int count;

	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line;

		line[strcspn(line, "\n")] = '\0';
		for (count = 0; count < 5 && rest; count++)
			words[count] = strsep(&rest, " ");
		if (count == 3 && !strcmp(words[0], "pair")) {
			do_pair(words[1], words[2]);
		} else if (count == 5 && !strcmp(words[0], "apply")) {
			do_apply(words);
		} else {
			fprintf(stderr, "what is \"%s\"?\n", words[0]);
			return 2;
		}
	}
	return 0;
}
