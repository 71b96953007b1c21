/* The table of commands, and nothing else. */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>

#include "command.h"
#include "signals.h"

static const struct command commands[] = {
	{"run", command_run, "consume the topic into the database"},
	{"migrate", command_migrate, "bring the database's schema up to date"},
	{"check-config", command_check_config, "check the configuration and the servers it names"},
	{"produce", command_produce, "publish events, or make some up"},
	{"status", command_status, "partitions, owners, offsets, lag"},
	{"verify", command_verify, "check every row against the rules, Redis and the log"},
	{"replay", command_replay, "put back what is missing of the log in the database"},
	{"resume", command_resume, "let a halted partition go on"},
	{"statement", command_statement, "the newest transactions of an account"},
	{"snapshot", command_snapshot, "make Redis equal to the database"},
	{"dead-letters", command_dead_letters, "what was no event; publish it again"},
	{0},
};

static void print_help(FILE *file)
{
	fputs("usage: ledgerd COMMAND [OPTION...]\n\n"
	      "A batch ledger between Kafka and MySQL: balance events in, exact balances out.\n\n",
		file);
	command_print(commands, file);
	fputs("\n"
	      "  --help-config  every option of the configuration\n"
	      "  --version\n\n"
	      "`ledgerd COMMAND --help` tells more.  The configuration is -c FILE, by default\n"
	      "/etc/ledgerd/ledgerd.yaml; LEDGERD_<SECTION>_<OPTION> in the environment wins.\n"
	      "Exit status: 0 done, 1 failed, 2 bad usage or configuration, 3 `verify` found a\n"
	      "difference.\n",
		file);
}

int main(int argc, char **argv)
{
	const struct command *command = command_find(commands, argc > 1 ? argv[1] : "");

	if (command && command->run == command_run) /* before any library starts a thread */
		signals_block();
	signal(SIGPIPE, SIG_IGN); /* a server or a reader that hangs up is an error, not an end */
	if (sodium_init() < 0) {
		fputs("ledgerd: libsodium cannot begin: is there a source of randomness?\n",
			stderr);
		return EXIT_FAILED;
	}
	return cli_run("ledgerd", commands, print_help, argc, argv);
}
