/* The table of outboxd's commands, and nothing else. */
#include <signal.h>
#include <stdio.h>

#include "commands.h"
#include "signals.h"

static const struct command commands[] = {
	{"run", command_run, "send what applications wrote into outbox_events to Kafka"},
	{"check-config", command_check_config, "check the configuration and the servers it names"},
	{"status", command_status, "who sends, and what waits"},
	{0},
};

static void print_help(FILE *file)
{
	fputs("usage: outboxd COMMAND [OPTION...]\n\n"
	      "Sends the events that applications wrote into the table outbox_events, in their own\n"
	      "transactions, to Kafka: each at least once, and in order by topic and key.\n\n",
		file);
	command_print(commands, file);
	fputs("\n"
	      "  --help-config  every option of the configuration\n"
	      "  --version\n\n"
	      "`outboxd COMMAND --help` tells more.  The configuration is ledgerd's: -c FILE, by\n"
	      "default /etc/ledgerd/ledgerd.yaml; LEDGERD_<SECTION>_<OPTION> in the environment\n"
	      "wins.  Exit status: 0 done, 1 failed, 2 bad usage or configuration.\n",
		file);
}

int main(int argc, char **argv)
{
	const struct command *command = command_find(commands, argc > 1 ? argv[1] : "");

	if (command && command->run == command_run) /* before any library starts a thread */
		signals_block();
	signal(SIGPIPE, SIG_IGN); /* a server that hangs up is an error, not an end */
	return cli_run("outboxd", commands, print_help, argc, argv);
}
