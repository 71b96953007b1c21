/*
 * What the service manager is told (systemd, Type=notify): that we are ready, that we still live,
 * and a line for `systemctl status`.
 *
 * The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names: see sd_notify(3),
 * which promises that it stays.  It is spoken here, so that no build needs libsystemd.  Without
 * NOTIFY_SOCKET, and when the manager does not listen, all of this does nothing.
 */
#ifndef CONSUMER_NOTIFY_H
#define CONSUMER_NOTIFY_H

#include <stdint.h>

struct notify {
	int fd;              /* -1: nobody wants to know */
	int64_t interval_ms; /* between two signs of life; 0: nobody waits for them */
	int64_t alive_ms;    /* the last sign of life */
	char status[256];    /* the last line */
};

/* Reads NOTIFY_SOCKET and WATCHDOG_USEC. */
void notify_init(struct notify *notify);
void notify_finish(struct notify *notify);

void notify_ready(struct notify *notify);
void notify_stopping(struct notify *notify);

/* Call it often; a sign of life goes out four times in the manager's patience.  A manager that
 * hears none for so long ends the process and starts it anew. */
void notify_alive(struct notify *notify, int64_t now_ms);

/* One line; sent only if it is another than the last one. */
void notify_status(struct notify *notify, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
