/*
 * Requests to a real HTTP server on the loopback, whose library parses them before http.c sees
 * them.
 *
 * An input that begins with 'R' is sent as it is: whatever it is answered begins like an answer,
 * and the next client is served.  From all others a request is put together: the lines of the input
 * are method, path, query and Content-Length, and what they must be answered is known: a path is
 * compared as it was sent, without its query; what is neither GET nor HEAD, or announces a body, is
 * refused.  One that is not refused leaves the connection fit for the next request.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "http.h"
#include "mem.h"

#define ANSWER_MAX   65536
#define NEXT_REQUEST "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static const char *const paths[] = {"/", "/hello", "/metrics"};

/* The body of each is its path. */
static void answer(void *context, struct http_response *response)
{
	response->body = xstrdup(context);
	response->length = strlen(context);
}

/* Started once; it ends with the process. */
static int server_port(void)
{
	static struct http_route routes[3];
	static struct http *http;
	const struct http_config config = {.host = "127.0.0.1", .routes = routes, .route_count = 3};
	struct error err;

	for (size_t i = 0; i < 3 && !http; i++)
		routes[i] = (struct http_route){paths[i], answer, (void *)(intptr_t)paths[i]};
	if (!http)
		CHECK(http_create(&config, &http, &err) == 0);
	return http_port(http);
}

/* A new connection: sends, and reads to its end.  Returns the length of what came, with a NUL. */
static size_t ask(const char *request, size_t length, bool half_close, char got[ANSWER_MAX])
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)server_port()),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval timeout = {10, 0};
	struct linger reset = {1, 0}; /* no port is left waiting */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t total = 0;
	ssize_t part;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
	send(fd, request, length, MSG_NOSIGNAL); /* it may hang up before it has read all */
	if (half_close)
		shutdown(fd, SHUT_WR);
	while (total < ANSWER_MAX - 1 &&
		(part = recv(fd, got + total, ANSWER_MAX - 1 - total, 0)) > 0)
		total += (size_t)part;
	close(fd);
	got[total] = '\0';
	return total;
}

/* The status of an answer, and where it ends; 0 if it is none. */
static int read_answer(const char *got, bool without_body, const char **ret_body, const char **end)
{
	const char *length = strcasestr(got, "\r\ncontent-length: ");
	int status;

	*ret_body = strstr(got, "\r\n\r\n");
	if (sscanf(got, "HTTP/1.%*1[01] %3d ", &status) != 1 || !*ret_body || !length ||
		length > *ret_body)
		return 0;
	*ret_body += 4;
	*end = *ret_body + (without_body ? 0 : atol(length + 18));
	return status;
}

static void check_next(const char *got)
{
	const char *body, *end;

	CHECK(read_answer(got, false, &body, &end) == 200);
	CHECK(!strcmp(body, "/hello"));
}

static void check_raw(const char *request, size_t length)
{
	static const int statuses[] = {
		200, 400, 404, 405, 408, 411, 413, 414, 417, 431, 500, 501, 505};
	char *got = malloc(ANSWER_MAX);
	bool known = false;
	int status = 0;

	if (ask(request, length, true, got)) {
		CHECK(sscanf(got, "HTTP/1.%*1[01] %3d ", &status) == 1);
		for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
			known = known || status == statuses[i];
		CHECK(known);
	}
	ask(NEXT_REQUEST, strlen(NEXT_REQUEST), false, got);
	check_next(got);
	free(got);
}

/* The next line's characters from `first` to `last` but `without`, and the rest of the input. */
static const char *take_line(const char *at, const char *end, char first, char last, char without,
	char *text, size_t bytes)
{
	size_t length = 0;

	for (; at < end && *at != '\n'; at++)
		if (*at >= first && *at <= last && *at != without && length < bytes - 1)
			text[length++] = *at;
	text[length] = '\0';
	return at < end ? at + 1 : end;
}

static int expected_status(
	const char *method, const char *path, const char *length, const char **ret_body)
{
	*ret_body = NULL;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return 405;
	if (*length && strcmp(length, "0") != 0)
		return 413;
	for (size_t i = 0; i < 3; i++)
		if (strcmp(path, paths[i]) == 0)
			*ret_body = paths[i];
	return *ret_body ? 200 : 404;
}

static void check_built(const char *at, const char *end)
{
	char method[17], path[600], query[300], length[7], request[2048];
	char *got = malloc(ANSWER_MAX);
	const char *expected_body, *body, *answer_end;
	bool head, refused;
	int expected;

	at = take_line(at, end, 'A', 'Z', '\0', method, sizeof method);
	at = take_line(at, end, '!', '~', '?', path, sizeof path);
	at = take_line(at, end, '!', '~', '\0', query, sizeof query);
	take_line(at, end, '0', '9', '\0', length, sizeof length);
	if (!*method)
		strcpy(method, "GET");
	if (!*path)
		strcpy(path, "/hello");
	expected = expected_status(method, path, length, &expected_body);
	head = strcmp(method, "HEAD") == 0;
	refused = expected == 405 || expected == 413;
	snprintf(request, sizeof request, "%s %s%s%s HTTP/1.1\r\nHost: x\r\n%s%s%s\r\n%s", method,
		path, *query ? "?" : "", query, *length ? "Content-Length: " : "", length,
		*length ? "\r\n" : "", refused ? "" : NEXT_REQUEST);
	ask(request, strlen(request), false, got);
	if (read_answer(got, head, &body, &answer_end) != expected)
		fprintf(stderr, "%s\nexpected %d, got\n%s\n", request, expected, got);
	CHECK(read_answer(got, head, &body, &answer_end) == expected);
	if (expected_body && !head)
		CHECK(!strncmp(body, expected_body, strlen(expected_body)));
	if (refused)
		CHECK(*answer_end == '\0');
	else
		check_next(answer_end);
	free(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	if (size && *text == 'R')
		check_raw(text + 1, size - 1);
	else
		check_built(text, text + size);
	return 0;
}
