/* What the commands of `ledgerd dead-letters` share. */
#ifndef CONSUMER_COMMAND_DEAD_LETTERS_H
#define CONSUMER_COMMAND_DEAD_LETTERS_H

#include "config.h"
#include "dead_letters.h"
#include "ledger_meta.h"

int command_redrive(int argc, char **argv);

/* The database, connected, and what it belongs to.  To be destroyed either way. */
int command_dead_letters_open(const struct config *config, struct db **ret_db,
	struct ledger_meta *meta, struct error *err);

/* --reason R, or NULL: any.  false: told on standard error. */
bool command_dead_letters_reason(const char *text, enum dead_reason *ret_reason);

#endif
