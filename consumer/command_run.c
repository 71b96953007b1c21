/* `ledgerd run`. */
#include "command.h"
#include "daemon.h"

static const char *const examples[] = {
	"ledgerd run -c ledgerd.yaml",
	"LEDGERD_LOG_LEVEL=debug ledgerd run",
	NULL,
};

static const struct args_spec spec = {
	.program = "ledgerd run",
	.usage = "[-c FILE]",
	.summary =
		"Consumes the topic's partitions into the database until it is told to stop.\n"
		"SIGTERM or SIGINT: flush, release the leases, exit 0.  Log entries go to standard\n"
		"error; /metrics, /healthz, /readyz and /status are at http.listen.",
	.examples = examples,
};

int command_run(int argc, char **argv)
{
	struct args args;
	struct config config;
	int status;

	if (!command_begin(&spec, argc, argv, &args, &config, &status))
		return status;
	status = daemon_run(&config);
	command_end(&config);
	return status;
}
