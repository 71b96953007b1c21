/* See rogue_server.h. */
#include "rogue_server.h"

#include "mem.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX      (1 << 20)
#define CAPABILITIES_AT 26 /* in the greeting; 0x0800 of them is TLS */
#define SILENCE_S       8

struct rogue_server {
	pthread_t thread;
	int listener;
	enum rogue_moment moment;
	const char *file;
	bool asked;
	size_t stolen;
	unsigned char sequence;
	unsigned char *packet;
};

static bool receive_all(int fd, void *buffer, size_t length)
{
	return recv(fd, buffer, length, MSG_WAITALL) == (ssize_t)length;
}

/* The length of the next packet, or -1. */
static ssize_t receive_packet(struct rogue_server *rogue, int fd)
{
	unsigned char head[4];
	size_t length;

	if (!receive_all(fd, head, sizeof(head)))
		return -1;
	length = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
	assert(length < PACKET_MAX);
	rogue->sequence = (unsigned char)(head[3] + 1);
	if (length && !receive_all(fd, rogue->packet, length))
		return -1;
	rogue->packet[length] = '\0';
	return (ssize_t)length;
}

static void send_packet(struct rogue_server *rogue, int fd, const void *bytes, size_t length)
{
	unsigned char head[4] = {(unsigned char)length, 0, 0, rogue->sequence++};

	assert(length < 256);
	send(fd, head, sizeof(head), MSG_NOSIGNAL);
	send(fd, bytes, length, MSG_NOSIGNAL);
}

static void send_greeting(struct rogue_server *rogue, int fd)
{
	/* protocol 10, version, thread, half of the salt, capabilities: 4.1, secure, plugin, LOCAL
	 */
	char greeting[] = "\x0a"
			  "8.0.0-rogue\0"
			  "\1\0\0\0"
			  "12345678\0"
			  "\x89\xa2"
			  "\x2d"
			  "\2\0"
			  "\x08\0"
			  "\x15"
			  "\0\0\0\0\0\0\0\0\0\0"
			  "123456789012\0"
			  "mysql_native_password";

	if (rogue->moment == ROGUE_SILENT_IN_TLS)
		greeting[CAPABILITIES_AT + 1] |= 0x08;
	rogue->sequence = 0;
	send_packet(rogue, fd, greeting, sizeof(greeting));
}

static void send_ok(struct rogue_server *rogue, int fd)
{
	send_packet(rogue, fd, "\0\0\0\2\0\0\0", 7);
}

/* A result of one column and no rows. */
static void send_no_rows(struct rogue_server *rogue, int fd)
{
	static const char column[] = "\3def\0\0\0\1a\0\x0c\x2d\0\1\0\0\0\xfd\0\0\0\0";
	static const char end[] = "\xfe\0\0\2";

	send_packet(rogue, fd, "\1", 1);
	send_packet(rogue, fd, column, sizeof(column));
	send_packet(rogue, fd, end, sizeof(end));
	send_packet(rogue, fd, end, sizeof(end));
}

static void ask_for_file(struct rogue_server *rogue, int fd)
{
	char request[200] = "\xfb";
	ssize_t length;

	strncpy(request + 1, rogue->file, sizeof(request) - 2);
	send_packet(rogue, fd, request, strlen(request));
	rogue->asked = true;
	while ((length = receive_packet(rogue, fd)) > 0)
		rogue->stolen += (size_t)length;
	send_ok(rogue, fd);
}

static void answer(struct rogue_server *rogue, int fd)
{
	const char *text = (const char *)rogue->packet + 1;

	if (rogue->moment == ROGUE_AT_FIRST_STATEMENT || strncasecmp(text, "LOAD", 4) == 0)
		ask_for_file(rogue, fd);
	else if (strncasecmp(text, "SHOW", 4) == 0)
		send_no_rows(rogue, fd);
	else
		send_ok(rogue, fd);
}

/* Takes what comes until the client leaves; if that has to be brought about, a test has failed. */
static void keep_silent(int fd)
{
	struct timeval silence = {.tv_sec = SILENCE_S};
	char bytes[512];

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

static void *serve(void *context)
{
	struct rogue_server *rogue = context;
	int fd = accept(rogue->listener, NULL, NULL);

	if (fd < 0)
		return NULL;
	send_greeting(rogue, fd);
	if (rogue->moment == ROGUE_SILENT_IN_TLS) {
		keep_silent(fd);
	} else if (receive_packet(rogue, fd) > 0) {
		send_ok(rogue, fd);
		while (receive_packet(rogue, fd) > 0 && rogue->packet[0] != 1)
			answer(rogue, fd);
	}
	close(fd);
	return NULL;
}

struct rogue_server *rogue_server_start(enum rogue_moment moment, const char *file, int *ret_port)
{
	struct rogue_server *rogue = xcalloc(1, sizeof(*rogue));
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	rogue->moment = moment;
	rogue->file = file;
	rogue->packet = xmalloc(PACKET_MAX);
	rogue->listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(rogue->listener, (struct sockaddr *)&address, length) != 0 ||
		listen(rogue->listener, 1) != 0 ||
		getsockname(rogue->listener, (struct sockaddr *)&address, &length) != 0)
		abort();
	*ret_port = ntohs(address.sin_port);
	pthread_create(&rogue->thread, NULL, serve, rogue);
	return rogue;
}

size_t rogue_server_stop(struct rogue_server *rogue, bool *ret_asked)
{
	size_t stolen;

	shutdown(rogue->listener, SHUT_RDWR);
	pthread_join(rogue->thread, NULL);
	close(rogue->listener);
	*ret_asked = rogue->asked;
	stolen = rogue->stolen;
	free(rogue->packet);
	free(rogue);
	return stolen;
}
