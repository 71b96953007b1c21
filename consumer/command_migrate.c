/* `ledgerd migrate`. */
#include <stdio.h>

#include "command.h"
#include "migrate.h"
#include "servers.h"

static const struct args_spec spec = {
	.program = "ledgerd migrate",
	.usage = "[-c FILE]",
	.summary =
		"Brings the database's schema up to date.  Safe to repeat, and to run from several\n"
		"places at once.  The database itself (mysql.database) must exist.",
};

static void tell(void *context, int number, const char *name)
{
	printf("applying %04d %s\n", number, name);
	fflush(stdout);
}

static enum db_result migrate(const struct config *config, int *ret_count, struct error *err)
{
	struct db_options options;
	struct db *db;
	enum db_result result;

	servers_db_options(config, &options);
	options.local_infile = false;
	db = db_create(&options);
	result = db_connect(db, err);
	if (result == DB_OK)
		result = migrate_apply(db, tell, NULL, ret_count, err);
	db_destroy(db);
	return result;
}

int command_migrate(int argc, char **argv)
{
	struct args args;
	struct config config;
	struct error err;
	int count = 0;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	if (migrate(&config, &count, &err) != DB_OK)
		status = command_failed("migrating", &err);
	else
		status = printf(count ? "%d migrations applied\n" : "the schema is up to date\n",
				 count) < 0;
	command_end(&config);
	return status;
}
