/*
 * The HTTP server, from the other end of a raw socket: what it answers, and that no client, however
 * slow, large, rude or numerous, keeps the others from their answer.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem.h"

#define LARGE_BYTES (4 << 20)

/* The server ---------------------------------------------------------------------------------- */

static void answer_hello(void *context, struct http_response *response)
{
	response->content_type = "text/x-hello";
	response->policy = "default-src 'none'";
	response->body = xstrdup(context);
	response->length = strlen(context);
}

static void answer_sick(void *context, struct http_response *response)
{
	response->status = 503;
	response->body = xstrdup("not ready: everything\n");
	response->length = strlen(response->body);
}

static void answer_empty(void *context, struct http_response *response)
{
}

static void answer_large(void *context, struct http_response *response)
{
	response->body = xmalloc(LARGE_BYTES);
	memset(response->body, 'x', LARGE_BYTES);
	response->length = LARGE_BYTES;
}

static atomic_int held; /* requests that are inside answer_held */
static atomic_bool let_go;

static void answer_held(void *context, struct http_response *response)
{
	atomic_fetch_add(&held, 1);
	while (!atomic_load(&let_go))
		usleep(1000);
	atomic_fetch_sub(&held, 1);
}

static char hello[] = "hello, world\n";

static const struct http_route routes[] = {
	{"/hello", answer_hello, hello},
	{"/sick", answer_sick, NULL},
	{"/empty", answer_empty, NULL},
	{"/large", answer_large, NULL},
	{"/held", answer_held, NULL},
};

static struct http *start(const char *host, int64_t patience_ms)
{
	const struct http_config config = {.host = host,
		.routes = routes,
		.route_count = sizeof routes / sizeof routes[0],
		.patience_ms = patience_ms};
	struct http *http;
	struct error err;

	if (http_create(&config, &http, &err) != 0)
		fail_msg("%s", err.text);
	return http;
}

/* The client ---------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int dial(const struct http *http)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)http_port(http)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval timeout = {20, 0};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything until the server closes; the caller frees it. */
static char *hear_all(int fd)
{
	size_t size = 8192 + LARGE_BYTES, length = 0;
	char *text = xmalloc(size);
	ssize_t got;

	while ((got = recv(fd, text + length, size - 1 - length, 0)) > 0)
		length += (size_t)got;
	if (got < 0 && errno != ECONNRESET)
		fail_msg("recv: %s", strerror(errno));
	text[length] = '\0';
	return text;
}

/* One answer with a Content-Length, the connection staying open. */
static char *hear_one(int fd)
{
	char *text = xcalloc(1, 8192);
	const char *body, *announced;
	size_t length = 0;

	for (;;) {
		ssize_t got = recv(fd, text + length, 1, 0);

		assert_int_equal(got, 1);
		assert_true(++length < 8191);
		body = strstr(text, "\r\n\r\n");
		announced = strcasestr(text, "content-length: ");
		if (body && announced &&
			length == (size_t)(body + 4 - text) + (size_t)atoi(announced + 16))
			return text;
	}
}

static char *ask(const struct http *http, const char *request)
{
	int fd = dial(http);
	char *text;

	say(fd, request);
	text = hear_all(fd);
	close(fd);
	return text;
}

static int status_of(const char *answer)
{
	int status = 0;

	if (sscanf(answer, "HTTP/1.%*d %d ", &status) != 1)
		return 0;
	return status;
}

static const char *body_of(const char *answer)
{
	const char *body = strstr(answer, "\r\n\r\n");

	return body ? body + 4 : "";
}

static bool has_header(const char *answer, const char *line)
{
	const char *at = strcasestr(answer, line);

	return at && at < body_of(answer) && at[-1] == '\n' && at[strlen(line)] == '\r';
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void assert_well(const struct http *http)
{
	char *answer = ask(http, GET("/hello"));

	assert_int_equal(status_of(answer), 200);
	assert_string_equal(body_of(answer), "hello, world\n");
	free(answer);
}

static void assert_status(const struct http *http, const char *request, int status)
{
	char *answer = ask(http, request);

	if (status_of(answer) != status)
		fail_msg("%.60s: answered %.60s", request, answer);
	free(answer);
	assert_well(http);
}

/* What it answers ----------------------------------------------------------------------------- */

static void test_get(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	char *answer = ask(http, GET("/hello"));

	assert_int_equal(status_of(answer), 200);
	assert_true(has_header(answer, "Content-Type: text/x-hello"));
	assert_true(has_header(answer, "Content-Length: 13"));
	assert_true(has_header(answer, "Cache-Control: no-store"));
	assert_true(has_header(answer, "X-Content-Type-Options: nosniff"));
	assert_true(has_header(answer, "Content-Security-Policy: default-src 'none'"));
	assert_string_equal(body_of(answer), "hello, world\n");
	free(answer);
	assert_status(http, GET("/hello?name=value&x"), 200);
	assert_status(http, "GET /hello HTTP/1.0\r\n\r\n", 200);
	http_destroy(http);
}

static void test_other_statuses_and_empty_bodies(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	char *answer = ask(http, GET("/sick"));

	assert_int_equal(status_of(answer), 503);
	assert_true(has_header(answer, "Content-Type: text/plain; charset=utf-8"));
	assert_null(strcasestr(answer, "Content-Security-Policy"));
	assert_string_equal(body_of(answer), "not ready: everything\n");
	free(answer);
	answer = ask(http, GET("/empty"));
	assert_int_equal(status_of(answer), 200);
	assert_true(has_header(answer, "Content-Length: 0"));
	assert_string_equal(body_of(answer), "");
	free(answer);
	http_destroy(http);
}

static void test_head_has_the_length_and_no_body(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	char *answer = ask(http, "HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

	assert_int_equal(status_of(answer), 200);
	assert_true(has_header(answer, "Content-Length: 13"));
	assert_string_equal(body_of(answer), "");
	free(answer);
	http_destroy(http);
}

static void test_an_unknown_path_is_told_the_known_ones(void **state)
{
	static const char *const paths[] = {"GET / HTTP/1.0\r\n\r\n", "GET /hell HTTP/1.0\r\n\r\n",
		"GET /hello/ HTTP/1.0\r\n\r\n", "GET //hello HTTP/1.0\r\n\r\n",
		"GET /hello%00 HTTP/1.0\r\n\r\n", "GET /../hello HTTP/1.0\r\n\r\n"};
	struct http *http = start("127.0.0.1", 0);

	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		char *answer = ask(http, paths[i]);

		assert_in_range(status_of(answer), 400, 404);
		if (status_of(answer) == 404)
			assert_string_equal(body_of(answer),
				"not found; there are:\n/hello\n/sick\n/empty\n/large\n/held\n");
		free(answer);
	}
	http_destroy(http);
}

static void test_only_get_and_head(void **state)
{
	static const char *const methods[] = {
		"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get"};
	struct http *http = start("127.0.0.1", 0);
	char request[200];

	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
		char *answer;

		snprintf(request, sizeof request,
			"%s /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", methods[i]);
		answer = ask(http, request);
		assert_int_equal(status_of(answer), 405);
		assert_true(has_header(answer, "Allow: GET, HEAD"));
		free(answer);
	}
	assert_well(http);
	http_destroy(http);
}

/* A body is refused when it is announced; not a byte of it is waited for. */
static void test_no_upload(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	int64_t begin_ms = now_ms();

	assert_status(
		http, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", 405);
	assert_status(
		http, "GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", 413);
	assert_status(
		http, "GET /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413);
	assert_true(now_ms() - begin_ms < 5000);
	http_destroy(http);
}

static void test_keep_alive(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	int fd = dial(http);

	for (int i = 0; i < 50; i++) {
		char *answer;

		say(fd, i % 2 ? "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
			      : "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
		answer = hear_one(fd);
		assert_int_equal(status_of(answer), i % 2 ? 404 : 200);
		free(answer);
	}
	close(fd);
	http_destroy(http);
}

static void test_pipelined(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	char *answer = ask(http,
		"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /sick HTTP/1.1\r\nHost: x\r\n\r\n" GET(
			"/hello"));
	const char *first = strstr(answer, "HTTP/1.1 200"),
		   *second = strstr(answer, "HTTP/1.1 503");

	assert_ptr_equal(first, answer);
	assert_non_null(second);
	assert_non_null(strstr(second, "HTTP/1.1 200"));
	free(answer);
	http_destroy(http);
}

/* Rude clients -------------------------------------------------------------------------------- */

static void test_malformed_requests(void **state)
{
	static const char *const requests[] = {
		"\r\n\r\n\r\n\r\n",
		"GET\r\n\r\n",
		"GET /hello\r\n\r\n",
		"GET /hello HTTP/9.9\r\n\r\n",
		"GET /hello HTTP/1.1\r\nno colon here\r\n\r\n",
		"GET /hello HTTP/1.1\r\n: no name\r\n\r\n",
		"GET /hello HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET /hello HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
		"\x16\x03\x01\x02\x01\x01\xfc\x03\x03 a TLS client\r\n\r\n",
		"\xff\xfe\xfd\r\n\r\n",
		"GET /%zz%%%%00%fe HTTP/1.1\r\nHost: x\r\n\r\n",
	};
	struct http *http = start("127.0.0.1", 1500); /* empty lines are no request yet */

	for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
		int fd = dial(http);
		char *answer;

		say(fd, requests[i]);
		shutdown(fd, SHUT_WR);
		answer = hear_all(fd); /* anything, or nothing */
		close(fd);
		free(answer);
		assert_well(http);
	}
	assert_status(
		http, "GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: nothing\r\n\r\n", 400);
	http_destroy(http);
}

static void test_huge_headers(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	int fd = dial(http);
	char line[1000];
	char *answer;

	memset(line, 'a', sizeof line - 1);
	memcpy(line, "X-Long: ", 8);
	memcpy(line + sizeof line - 3, "\r\n", 3);
	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 1000; i++)
		if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
			break; /* it has heard enough */
	answer = hear_all(fd);
	close(fd);
	assert_true(status_of(answer) == 431 || status_of(answer) == 0);
	free(answer);
	assert_well(http);
	http_destroy(http);
}

static void test_a_huge_path(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	size_t size = 3 * HTTP_HEADERS_MAX;
	char *request = xmalloc(size + 100);
	int fd = dial(http);
	char *answer;

	memset(request, 'a', size);
	memcpy(request, "GET /", 5);
	strcpy(request + size, " HTTP/1.1\r\nHost: x\r\n\r\n");
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		assert_true(errno == EPIPE || errno == ECONNRESET);
	answer = hear_all(fd);
	close(fd);
	assert_true(status_of(answer) == 414 || status_of(answer) == 0);
	free(answer);
	free(request);
	assert_well(http);
	http_destroy(http);
}

static void test_clients_that_go_away(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	struct linger reset = {1, 0};

	for (int i = 0; i < 100; i++) {
		int fd = dial(http);

		if (i % 3 > 0)
			say(fd, i % 3 == 1 ? "GET /large HTTP/1.1\r\nHo" : GET("/large"));
		if (i % 2)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(fd);
	}
	assert_well(http);
	http_destroy(http);
}

/* Slow clients -------------------------------------------------------------------------------- */

/* Whether the server has closed this connection. */
static bool is_cut(int fd)
{
	struct pollfd poll_fd = {fd, POLLIN, 0};
	char byte[4096];

	while (poll(&poll_fd, 1, 0) == 1) {
		ssize_t got = recv(fd, byte, sizeof byte, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN))
			return true;
	}
	return false;
}

static void assert_quick(const struct http *http)
{
	int64_t begin_ms = now_ms();

	assert_well(http);
	assert_true(now_ms() - begin_ms < 3000);
}

/* Bytes that trickle in for ever do not hold a connection for ever, and hold up nobody meanwhile.
 */
static void test_slow_requests(void **state)
{
	struct http *http = start("127.0.0.1", 1500);
	int64_t begin_ms = now_ms();
	int fds[20];
	int cut = 0;

	for (int i = 0; i < 20; i++) {
		fds[i] = dial(http);
		say(fds[i], "GET /hello HTTP/1.1\r\nX-Slow: ");
	}
	while (cut < 20) {
		assert_quick(http);
		cut = 0;
		for (int i = 0; i < 20; i++) {
			send(fds[i], "z", 1, MSG_NOSIGNAL);
			cut += is_cut(fds[i]);
		}
		assert_true(cut == 0 || now_ms() - begin_ms >= 1400);
		assert_true(now_ms() - begin_ms < 15000);
		usleep(100000);
	}
	for (int i = 0; i < 20; i++)
		close(fds[i]);
	http_destroy(http);
}

/* Nor does a client that asks for a lot and does not read it, or one that never asks. */
static void test_slow_readers_and_idle_ones(void **state)
{
	struct http *http = start("127.0.0.1", 1500);
	int64_t begin_ms = now_ms();
	int reader = dial(http), idle = dial(http), kept = dial(http);
	char *answer;

	say(reader, GET("/large"));
	say(kept, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	answer = hear_one(kept);
	free(answer);
	while (!is_cut(idle) || !is_cut(kept)) {
		assert_quick(http);
		assert_true(now_ms() - begin_ms < 15000);
		usleep(100000);
	}
	assert_true(now_ms() - begin_ms >= 1400);
	answer = hear_all(reader);
	assert_true(strlen(answer) < LARGE_BYTES);
	free(answer);
	close(reader);
	close(idle);
	close(kept);
	http_destroy(http);
}

/* A connection that is used is kept, however long. */
static void test_patience_begins_anew_with_each_request(void **state)
{
	struct http *http = start("127.0.0.1", 4000);
	int fd = dial(http);

	for (int i = 0; i < 10; i++) {
		char *answer;

		say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
		answer = hear_one(fd);
		assert_int_equal(status_of(answer), 200);
		free(answer);
		usleep(500000);
	}
	close(fd);
	http_destroy(http);
}

/* Full of clients that say nothing: the next one waits, and is served when they are cut off. */
static void test_full(void **state)
{
	struct http *http = start("127.0.0.1", 1500);
	int fds[HTTP_CONNECTIONS_MAX + 20];
	int64_t begin_ms = now_ms();
	bool served = false;

	for (int i = 0; i < HTTP_CONNECTIONS_MAX + 20; i++)
		fds[i] = dial(http);
	while (!served) {
		char *answer = ask(http, GET("/hello")); /* it may be turned away, but soon */

		served = status_of(answer) == 200;
		free(answer);
		assert_true(now_ms() - begin_ms < 15000);
		usleep(20000);
	}
	for (int i = 0; i < HTTP_CONNECTIONS_MAX + 20; i++)
		close(fds[i]);
	assert_well(http);
	http_destroy(http);
}

/* Answers that take their time do not keep the others waiting. */
static void *ask_held(void *argument)
{
	free(ask(argument, GET("/held")));
	return NULL;
}

#define HELD 20

static void test_slow_answers_hold_up_nobody(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	pthread_t threads[HELD];

	atomic_store(&let_go, false);
	for (int i = 0; i < HELD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_held, http), 0);
	while (atomic_load(&held) < HELD)
		usleep(1000);
	for (int i = 0; i < 50; i++)
		assert_quick(http);
	atomic_store(&let_go, true);
	for (int i = 0; i < HELD; i++)
		pthread_join(threads[i], NULL);
	http_destroy(http);
}

/* Many clients -------------------------------------------------------------------------------- */

#define PARALLEL 100

static void *ask_twenty_times(void *argument)
{
	const struct http *http = argument;
	intptr_t wrong = 0;

	for (int i = 0; i < 20; i++) {
		char *answer = ask(http, GET("/hello"));

		wrong += status_of(answer) != 200 || strcmp(body_of(answer), "hello, world\n") != 0;
		free(answer);
	}
	return (void *)wrong;
}

static void test_a_hundred_at_once(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	pthread_t threads[PARALLEL];
	intptr_t all_wrong = 0;

	for (int i = 0; i < PARALLEL; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_twenty_times, http), 0);
	for (int i = 0; i < PARALLEL; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		all_wrong += (intptr_t)wrong;
	}
	assert_int_equal(all_wrong, 0);
	http_destroy(http);
}

static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1000; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_no_descriptor_is_left_behind(void **state)
{
	int before = count_fds();
	struct http *http = start("127.0.0.1", 0);

	for (int i = 0; i < 200; i++)
		assert_well(http);
	close(dial(http));
	http_destroy(http);
	assert_int_equal(count_fds(), before);
}

static void test_ends_with_connections_open(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	int idle = dial(http), slow = dial(http);
	int64_t begin_ms;

	say(slow, "GET /hel");
	usleep(50000);
	begin_ms = now_ms();
	http_destroy(http);
	assert_true(now_ms() - begin_ms < 3000);
	close(idle);
	close(slow);
}

/* Listening ----------------------------------------------------------------------------------- */

static int try_create(const char *host, int port, struct http **ret_http, struct error *err)
{
	const struct http_config config = {
		.host = host, .port = port, .routes = routes, .route_count = 1};

	return http_create(&config, ret_http, err);
}

static void test_off(void **state)
{
	struct http *http;
	struct error err;

	assert_int_equal(try_create(NULL, 0, &http, &err), 0);
	assert_null(http);
	assert_int_equal(try_create("", 0, &http, &err), 0);
	assert_null(http);
	http_destroy(http);
}

static void assert_refused(const char *host, int port, int rc, const char *message)
{
	struct http *http;
	struct error err;

	assert_int_equal(try_create(host, port, &http, &err), rc);
	assert_null(http);
	assert_string_equal(err.text, message);
}

static void test_a_port_that_is_taken_is_named_with_the_remedy(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	char message[300];

	snprintf(message, sizeof message,
		"http.listen 127.0.0.1:%d: Address already in use: another process has this port "
		"(another ledgerd?); choose another http.listen, or \"\" for none",
		http_port(http));
	assert_refused("127.0.0.1", http_port(http), -EADDRINUSE, message);
	http_destroy(http);
}

static void test_addresses_that_are_not_ours(void **state)
{
	struct http *http;
	struct error err;

	assert_refused("192.0.2.1", 9105, -EADDRNOTAVAIL,
		"http.listen 192.0.2.1:9105: Cannot assign requested address: this machine has no "
		"such address; correct http.listen");
	assert_int_equal(try_create("no.such.host.invalid", 9105, &http, &err), -EINVAL);
	assert_non_null(strstr(err.text, "http.listen no.such.host.invalid:9105: "));
}

static void test_the_port_is_free_again(void **state)
{
	struct http *http = start("127.0.0.1", 0);
	int port = http_port(http);
	struct error err;

	assert_well(http);
	http_destroy(http);
	if (try_create("127.0.0.1", port, &http, &err) != 0)
		fail_msg("%s", err.text);
	assert_well(http);
	http_destroy(http);
}

static void test_names_and_every_address(void **state)
{
	static const char *const hosts[] = {"localhost", "0.0.0.0", "::"};
	struct error err;

	for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
		struct http *http;
		int rc = try_create(hosts[i], 0, &http, &err);

		if (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL)
			continue; /* no IPv6 here */
		assert_int_equal(rc, 0);
		if (i > 0)
			assert_well(http); /* by IPv4; "::" takes both */
		http_destroy(http);
	}
}

static void test_ipv6(void **state)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct http *http;
	struct error err;
	char *answer;
	int fd;

	if (try_create("::1", 0, &http, &err) != 0) {
		assert_non_null(strstr(err.text, "http.listen [::1]:0: "));
		skip();
	}
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	address.sin6_port = htons((uint16_t)http_port(http));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	say(fd, GET("/hello"));
	answer = hear_all(fd);
	assert_int_equal(status_of(answer), 200);
	free(answer);
	close(fd);
	http_destroy(http);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_other_statuses_and_empty_bodies),
		cmocka_unit_test(test_head_has_the_length_and_no_body),
		cmocka_unit_test(test_an_unknown_path_is_told_the_known_ones),
		cmocka_unit_test(test_only_get_and_head),
		cmocka_unit_test(test_no_upload),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_malformed_requests),
		cmocka_unit_test(test_huge_headers),
		cmocka_unit_test(test_a_huge_path),
		cmocka_unit_test(test_clients_that_go_away),
		cmocka_unit_test(test_slow_requests),
		cmocka_unit_test(test_slow_readers_and_idle_ones),
		cmocka_unit_test(test_patience_begins_anew_with_each_request),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_slow_answers_hold_up_nobody),
		cmocka_unit_test(test_a_hundred_at_once),
		cmocka_unit_test(test_no_descriptor_is_left_behind),
		cmocka_unit_test(test_ends_with_connections_open),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_a_port_that_is_taken_is_named_with_the_remedy),
		cmocka_unit_test(test_addresses_that_are_not_ours),
		cmocka_unit_test(test_the_port_is_free_again),
		cmocka_unit_test(test_names_and_every_address),
		cmocka_unit_test(test_ipv6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
