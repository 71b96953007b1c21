/* See notify.h. */
#include "notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Connects to a path, or to an abstract name, which begins with '@'.  -1 if that is not possible.
 */
static int open_socket(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);
	int fd;

	if ((name[0] != '/' && name[0] != '@') || length >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address,
			       offsetof(struct sockaddr_un, sun_path) + (socklen_t)length) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* A manager that cannot take it now misses one line; nothing here ever waits for it. */
static void tell(struct notify *notify, const char *text)
{
	ssize_t sent;

	if (notify->fd < 0)
		return;
	sent = send(notify->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
}

/* The manager's patience is ours only if it means this process. */
static int64_t patience_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");

	if (!usec || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	return strtoll(usec, NULL, 10) / 1000;
}

void notify_init(struct notify *notify)
{
	const char *name = getenv("NOTIFY_SOCKET");

	*notify = (struct notify){
		.fd = name ? open_socket(name) : -1,
		.interval_ms = patience_ms() / 4,
	};
}

void notify_finish(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

void notify_ready(struct notify *notify)
{
	tell(notify, "READY=1");
}

void notify_stopping(struct notify *notify)
{
	tell(notify, "STOPPING=1\nSTATUS=flushing, and giving the leases up");
}

void notify_alive(struct notify *notify, int64_t now_ms)
{
	if (notify->interval_ms <= 0 || now_ms - notify->alive_ms < notify->interval_ms)
		return;
	notify->alive_ms = now_ms;
	tell(notify, "WATCHDOG=1");
}

void notify_status(struct notify *notify, const char *format, ...)
{
	char line[sizeof(notify->status)];
	char text[sizeof(notify->status) + 16];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line, notify->status) == 0)
		return;
	memcpy(notify->status, line, sizeof(line));
	snprintf(text, sizeof(text), "STATUS=%s", line);
	tell(notify, text);
}
