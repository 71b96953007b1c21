/* `ledgerd statement`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "servers.h"
#include "statement.h"

static const char *const examples[] = {
	"ledgerd statement 1001",
	"ledgerd statement 1001 USDT --limit 5 --json",
	NULL,
};

struct request {
	int64_t account_id;
	const char *currency; /* NULL: all */
	int64_t limit;
	bool json;
};

static bool read_account(const char *text, int64_t *ret_account_id)
{
	char *end;

	errno = 0;
	*ret_account_id = strtoll(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *ret_account_id > 0;
}

static bool read_request(const struct args *args, struct request *request)
{
	if (!read_account(args->arguments[0], &request->account_id)) {
		fprintf(stderr,
			"ledgerd statement: `%s` is no account; expected a whole number from 1 "
			"to 9223372036854775807\n",
			args->arguments[0]);
		return false;
	}
	request->currency = args->argument_count > 1 ? args->arguments[1] : NULL;
	if (request->currency &&
		currency_pack(request->currency, strlen(request->currency)) == CURRENCY_NONE) {
		fprintf(stderr,
			"ledgerd statement: `%s` is no currency; expected 1 to 10 characters "
			"of A-Z and 0-9\n",
			request->currency);
		return false;
	}
	return true;
}

static void print(const struct statement *statement, bool json)
{
	char *text;

	if (!json) {
		statement_print(statement, stdout);
		return;
	}
	text = statement_json(statement);
	puts(text);
	free(text);
}

static int show(const struct config *config, const struct request *request)
{
	struct db_options options;
	struct statement statement = {0};
	struct error err;
	struct db *db;
	enum db_result result;

	servers_db_options(config, &options);
	options.local_infile = false;
	db = db_create(&options);
	result = db_connect(db, &err);
	if (result == DB_OK)
		result = statement_read(db, request->account_id, request->currency,
			(int)request->limit, &statement, &err);
	if (result == DB_OK || statement.row_count > 0)
		print(&statement, request->json);
	statement_finish(&statement);
	db_destroy(db);
	return result == DB_OK ? EXIT_DONE : command_failed("reading the statement", &err);
}

int command_statement(int argc, char **argv)
{
	struct request request = {.limit = 20};
	const struct args_option table[] = {
		{"limit", ARGS_INTEGER, "N", "the newest N transactions (default 20)",
			&request.limit, 1, STATEMENT_LIMIT_MAX, NULL},
		{"json", ARGS_FLAG, NULL, "as JSON, amounts as strings", &request.json, 0, 0, NULL},
		{0},
	};
	const struct args_spec spec = {
		.program = "ledgerd statement",
		.usage = "[OPTION...] ACCOUNT [CURRENCY]",
		.summary =
			"The newest transactions of an account, newest first, each with the balances\n"
			"before and after it.",
		.options = table,
		.examples = examples,
		.arguments_min = 1,
		.arguments_max = 2,
	};
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = read_request(&args, &request) ? show(&config, &request) : EXIT_USAGE;
	command_end(&config);
	return status;
}
