/* The commands of ledgerd (cli.h). */
#ifndef CONSUMER_COMMAND_H
#define CONSUMER_COMMAND_H

#include "cli.h"

int command_run(int argc, char **argv);
int command_migrate(int argc, char **argv);
int command_check_config(int argc, char **argv);
int command_produce(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_status(int argc, char **argv);
int command_statement(int argc, char **argv);
int command_snapshot(int argc, char **argv);
int command_dead_letters(int argc, char **argv);

#endif
