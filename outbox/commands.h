/* The commands of outboxd (cli.h). */
#ifndef OUTBOX_COMMANDS_H
#define OUTBOX_COMMANDS_H

#include "cli.h"

int command_run(int argc, char **argv);
int command_check_config(int argc, char **argv);
int command_status(int argc, char **argv);

#endif
