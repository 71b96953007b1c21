#include "command.h"

#include <stdio.h>
#include <unistd.h>

#include "log.h"

/* The process's log: main's, through the one door that log.h describes. */
static struct log process_log;

extern char **environ;

bool command_begin(const struct args_spec *spec, int argc, char **argv, struct args *ret_args,
	struct config *ret_config, int *ret_status)
{
	enum args_result result = args_parse(spec, argc, argv, ret_args);
	struct error err;

	if (result != ARGS_OK) {
		*ret_status = result == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
		return false;
	}
	if (config_load(ret_config, ret_args->config_path, environ, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		config_finish(ret_config);
		*ret_status = EXIT_USAGE;
		return false;
	}
	log_init(&process_log, STDERR_FILENO, ret_config->log.level, ret_config->log.format,
		ret_config->log.repeat_ms);
	log_use(&process_log);
	return true;
}

void command_end(struct config *config)
{
	log_finish(&process_log);
	config_finish(config);
}

int command_failed(const char *what, const struct error *err)
{
	fprintf(stderr, "ledgerd: %s: %s\n", what, err->text);
	return EXIT_FAILED;
}
