/*
 * A server that speaks just enough of MySQL's protocol to be trusted, and then asks the client for
 * a file, as a hostile or hijacked server would; or says nothing more, as behind a broken network.
 */
#ifndef TESTS_DATABASE_ROGUE_SERVER_H
#define TESTS_DATABASE_ROGUE_SERVER_H

#include <stdbool.h>
#include <stddef.h>

enum rogue_moment {
	ROGUE_AT_FIRST_STATEMENT, /* asks in answer to the first statement */
	ROGUE_AT_LOAD_DATA,       /* lets the client connect, asks in answer to a LOAD DATA */
	ROGUE_SILENT_IN_TLS,      /* offers TLS, then swallows all; leaves after 8 s.  No file. */
};

struct rogue_server;

/* Listens on a port of the loopback and serves one connection in a thread of its own. */
struct rogue_server *rogue_server_start(enum rogue_moment moment, const char *file, int *ret_port);

/* Ends it.  *ret_asked: it came so far; returns how many bytes of files it was sent. */
size_t rogue_server_stop(struct rogue_server *rogue, bool *ret_asked);

#endif
