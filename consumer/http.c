/*
 * See http.h.  libmicrohttpd does the protocol: one thread listens, and each connection has a
 * thread for as long as it lasts, so that nobody waits for a slow client or a slow answer.
 *
 * libmicrohttpd's own timeout begins again with every byte.  So one more thread, the guard, looks
 * at the connections twice a second and shuts down those that have not completed a request for too
 * long. It works on a duplicate of each socket, which is ours until we close it: a number that was
 * closed and given to somebody else, a database connection perhaps, is never shut down by mistake.
 */
#include "http.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

#define BACKLOG         128
#define GUARD_EVERY_MS  500
#define PLAIN_TEXT      "text/plain; charset=utf-8"
#define ALLOWED_METHODS "GET, HEAD"

struct client {
	int socket;       /* a duplicate; -1: free */
	int64_t since_ms; /* when it connected, or its last request was answered */
};

struct http {
	const struct http_route *routes;
	size_t route_count;
	int64_t patience_ms;
	int port;
	struct MHD_Daemon *daemon;

	pthread_t guard;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t stopping;
	bool stop;
	struct client clients[HTTP_CONNECTIONS_MAX];
};

/* The guard ----------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct timespec from_now(int64_t ms)
{
	int64_t at_ms = now_ms() + ms;

	return (struct timespec){at_ms / 1000, at_ms % 1000 * 1000000};
}

/* The library then sees the end of the connection, and drops it. */
static void cut_off_slow(struct http *http)
{
	int64_t before_ms = now_ms() - http->patience_ms;

	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		if (http->clients[i].socket >= 0 && http->clients[i].since_ms < before_ms)
			shutdown(http->clients[i].socket, SHUT_RDWR);
}

static void *guard(void *argument)
{
	struct http *http = argument;

	pthread_mutex_lock(&http->lock);
	while (!http->stop) {
		struct timespec until = from_now(GUARD_EVERY_MS);

		pthread_cond_timedwait(&http->stopping, &http->lock, &until);
		cut_off_slow(http);
	}
	pthread_mutex_unlock(&http->lock);
	return NULL;
}

static void start_guard(struct http *http)
{
	pthread_condattr_t attributes;
	int rc;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&http->stopping, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&http->lock, NULL);
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		http->clients[i].socket = -1;
	rc = pthread_create(&http->guard, NULL, guard, http);
	assert(rc == 0);
}

static void stop_guard(struct http *http)
{
	pthread_mutex_lock(&http->lock);
	http->stop = true;
	pthread_cond_signal(&http->stopping);
	pthread_mutex_unlock(&http->lock);
	pthread_join(http->guard, NULL);
	pthread_cond_destroy(&http->stopping);
	pthread_mutex_destroy(&http->lock);
}

static struct client *add_client(struct http *http, int socket)
{
	struct client *client = NULL;

	pthread_mutex_lock(&http->lock);
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX && !client; i++)
		if (http->clients[i].socket < 0)
			client = &http->clients[i];
	if (client) {
		client->socket = fcntl(socket, F_DUPFD_CLOEXEC, 0);
		client->since_ms = now_ms();
	}
	pthread_mutex_unlock(&http->lock);
	return client;
}

static void remove_client(struct http *http, struct client *client)
{
	pthread_mutex_lock(&http->lock);
	if (client->socket >= 0)
		close(client->socket);
	client->socket = -1;
	pthread_mutex_unlock(&http->lock);
}

/* The library's callbacks --------------------------------------------------------------------- */

static void on_connection(void *context, struct MHD_Connection *connection, void **client,
	enum MHD_ConnectionNotificationCode what)
{
	struct http *http = context;
	const union MHD_ConnectionInfo *info;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		*client = info ? add_client(http, info->connect_fd) : NULL;
	} else if (*client) {
		remove_client(http, *client);
		*client = NULL;
	}
}

/* The next request on this connection has all the time again. */
static void on_completed(void *context, struct MHD_Connection *connection, void **request,
	enum MHD_RequestTerminationCode how)
{
	struct http *http = context;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct client *client = info ? info->socket_context : NULL;

	if (!client)
		return;
	pthread_mutex_lock(&http->lock);
	client->since_ms = now_ms();
	pthread_mutex_unlock(&http->lock);
}

/* Paths are compared as they were sent: "%00" would end one early. */
static size_t on_escapes(void *context, struct MHD_Connection *connection, char *text)
{
	return strlen(text);
}

static void on_log(void *context, const char *format, va_list arguments)
	__attribute__((format(printf, 2, 0)));

/* What the library complains of is what clients do: nothing that a person must see. */
static void on_log(void *context, const char *format, va_list arguments)
{
	char text[500];

	vsnprintf(text, sizeof text, format, arguments);
	log_debug("http", LS("detail", text));
}

/* Answers ------------------------------------------------------------------------------------- */

static const struct http_route *find_route(const struct http *http, const char *path)
{
	for (size_t i = 0; i < http->route_count; i++)
		if (strcmp(http->routes[i].path, path) == 0)
			return &http->routes[i];
	return NULL;
}

static void answer_text(struct http_response *response, unsigned status, const char *text)
{
	response->status = status;
	response->body = xstrdup(text);
	response->length = strlen(text);
}

static void answer_not_found(const struct http *http, struct http_response *response)
{
	char text[1024] = "not found; there are:\n";

	for (size_t i = 0; i < http->route_count; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n",
			http->routes[i].path);
	answer_text(response, MHD_HTTP_NOT_FOUND, text);
}

static bool announces_body(struct MHD_Connection *connection)
{
	const char *length = MHD_lookup_connection_value(
		connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return (length && strcmp(length, "0") != 0) ||
	       MHD_lookup_connection_value(
		       connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

/* What is wrong with the request before its path is looked at; true: it was answered. */
static bool refuse(
	struct MHD_Connection *connection, const char *method, struct http_response *response)
{
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		answer_text(response, MHD_HTTP_METHOD_NOT_ALLOWED,
			"method not allowed; there are: " ALLOWED_METHODS "\n");
	else if (announces_body(connection))
		answer_text(response, MHD_HTTP_CONTENT_TOO_LARGE, "a request has no body here\n");
	else
		return false;
	return true;
}

/* Hands an answer to the library, which frees the body even if this fails. */
static enum MHD_Result send_response(
	struct MHD_Connection *connection, struct http_response *response, bool last)
{
	struct MHD_Response *mhd = MHD_create_response_from_buffer(
		response->length, response->body, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (!mhd) {
		free(response->body);
		return MHD_NO;
	}
	MHD_add_response_header(mhd, MHD_HTTP_HEADER_CONTENT_TYPE, response->content_type);
	MHD_add_response_header(mhd, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(mhd, "X-Content-Type-Options", "nosniff");
	if (response->policy)
		MHD_add_response_header(mhd, "Content-Security-Policy", response->policy);
	if (response->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(mhd, MHD_HTTP_HEADER_ALLOW, ALLOWED_METHODS);
	if (last)
		MHD_add_response_header(mhd, MHD_HTTP_HEADER_CONNECTION, "close");
	result = MHD_queue_response(connection, response->status, mhd);
	MHD_destroy_response(mhd);
	return result;
}

/*
 * The library calls once when the headers are read, and again when the request is complete.  What
 * is refused is answered at the first call, so that its body is never read.
 */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
	const char *path, const char *method, const char *version, const char *upload,
	size_t *upload_length, void **request)
{
	struct http *http = context;
	struct http_response response = {MHD_HTTP_OK, PLAIN_TEXT, NULL, NULL, 0};
	const struct http_route *route;

	if (*request == NULL) {
		*request = http; /* any value: seen */
		if (!refuse(connection, method, &response))
			return MHD_YES;
		return send_response(connection, &response, true);
	}
	route = find_route(http, path);
	if (route)
		route->answer(route->context, &response);
	else
		answer_not_found(http, &response);
	return send_response(connection, &response, false);
}

/* Listening ----------------------------------------------------------------------------------- */

static const char *remedy(int number)
{
	switch (number) {
	case EADDRINUSE:
		return "another process has this port (another ledgerd?); choose another "
		       "http.listen, "
		       "or \"\" for none";
	case EADDRNOTAVAIL:
		return "this machine has no such address; correct http.listen";
	case EACCES:
		return "ports below 1024 need a privilege; choose another http.listen";
	default:
		return "choose another http.listen, or \"\" for none";
	}
}

static int listen_failed(const struct http_config *config, int number, struct error *err)
{
	const char *bracket = strchr(config->host, ':') ? "[]" : "";

	return error_set(err, -number, "http.listen %.1s%s%s:%d: %s: %s", bracket, config->host,
		bracket[0] ? "]" : "", config->port, strerror(number), remedy(number));
}

/* A listening socket, or a negative errno.  "::" takes IPv4 too. */
static int listen_on(const struct addrinfo *address)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, off = 0;
	int number;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (address->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	number = errno;
	close(fd);
	return -number;
}

/* Whether the next address of a name may do what this one could not; a port that is taken is taken.
 */
static bool may_try_next(int rc)
{
	return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL;
}

static int open_listener(const struct http_config *config, struct error *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *addresses;
	char port[16];
	int rc;

	snprintf(port, sizeof port, "%d", config->port);
	rc = getaddrinfo(config->host, port, &hints, &addresses);
	if (rc != 0)
		return error_set(err, -EINVAL,
			"http.listen %s:%d: %s: write an address of this machine", config->host,
			config->port, gai_strerror(rc));
	rc = -EADDRNOTAVAIL;
	for (const struct addrinfo *a = addresses; a && may_try_next(rc); a = a->ai_next)
		rc = listen_on(a);
	freeaddrinfo(addresses);
	return rc >= 0 ? rc : listen_failed(config, -rc, err);
}

static int port_of(int listener)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof address;
	char port[16] = "0";

	getsockname(listener, (struct sockaddr *)&address, &length);
	getnameinfo(
		(struct sockaddr *)&address, length, NULL, 0, port, sizeof port, NI_NUMERICSERV);
	return atoi(port);
}

/* Birth and death ----------------------------------------------------------------------------- */

static struct MHD_Daemon *start_daemon(struct http *http, int listener)
{
	/* The logger first: it hears what is wrong with the others. */
	struct MHD_OptionItem options[] = {
		{MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_log, NULL},
		{MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)on_escapes, NULL},
		{MHD_OPTION_LISTEN_SOCKET, listener, NULL},
		{MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS_MAX, NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_HEADERS_MAX, NULL},
		{MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, http},
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, http},
		{MHD_OPTION_END, 0, NULL},
	};

	return MHD_start_daemon(
		MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_ERROR_LOG, 0,
		NULL, NULL, on_request, http, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

int http_create(const struct http_config *config, struct http **ret_http, struct error *err)
{
	struct http *http;
	int listener;

	*ret_http = NULL;
	if (!config->host || !config->host[0])
		return 0;
	listener = open_listener(config, err);
	if (listener < 0)
		return listener;
	http = xcalloc(1, sizeof *http);
	http->routes = config->routes;
	http->route_count = config->route_count;
	http->patience_ms = config->patience_ms > 0 ? config->patience_ms : HTTP_PATIENCE_MS;
	http->port = port_of(listener);
	start_guard(http);
	http->daemon = start_daemon(http, listener);
	if (!http->daemon) {
		close(listener);
		stop_guard(http);
		free(http);
		return error_set(err, -EAGAIN,
			"http.listen %s:%d: the HTTP threads could not be started: raise the "
			"limits "
			"of threads and open files, or set http.listen to \"\"",
			config->host, config->port);
	}
	*ret_http = http;
	return 0;
}

/* The daemon first: its last callbacks still use the guard's table. */
void http_destroy(struct http *http)
{
	if (!http)
		return;
	MHD_stop_daemon(http->daemon);
	stop_guard(http);
	free(http);
}

int http_port(const struct http *http)
{
	return http->port;
}
