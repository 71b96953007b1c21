/*
 * A small HTTP server for those who look in: Prometheus, Kubernetes' probes, curl, browsers.
 *
 * It answers GET and HEAD on a fixed table of paths, and knows nothing of what they mean.  Nobody
 * waits for another's request or answer.  There is no upload, headers are limited, at most
 * HTTP_CONNECTIONS_MAX connections are open, and one whose request is not read and answered within
 * HTTP_PATIENCE_MS is cut off, however busily its bytes trickle.
 *
 * No passwords, no TLS: it is to listen where only those who may look can reach it.
 */
#ifndef CONSUMER_HTTP_H
#define CONSUMER_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define HTTP_CONNECTIONS_MAX 128
#define HTTP_PATIENCE_MS     20000
#define HTTP_HEADERS_MAX     8192 /* bytes of a request, about */

/* An answer.  body is malloc'd, and freed by http; NULL is an empty one. */
struct http_response {
	unsigned status;          /* at first 200 */
	const char *content_type; /* a constant; at first plain text */
	const char *policy;       /* a constant: Content-Security-Policy; NULL: none */
	char *body;
	size_t length;
};

/*
 * Called for each request, by the connection's own thread: several at once.  While it waits for
 * something, only its own client waits; http_destroy waits for it, too.
 */
struct http_route {
	const char *path; /* "/metrics"; a query is not part of it */
	void (*answer)(void *context, struct http_response *response);
	void *context;
};

struct http_config {
	const char *host; /* name or address, IPv6 without brackets; NULL or "": HTTP is off */
	int port;         /* 0: any free one */
	const struct http_route *routes; /* outlive the server */
	size_t route_count;
	int64_t patience_ms; /* 0: HTTP_PATIENCE_MS */
};

struct http;

/*
 * Listens and starts the threads, which inherit the caller's blocked signals.  Returns 0, and NULL
 * in *ret_http if HTTP is off; or a negative errno, with a message that names the address and the
 * remedy.
 */
int http_create(const struct http_config *config, struct http **ret_http, struct error *err);

/* Ends all connections; an answer that is being made is waited for.  NULL is allowed. */
void http_destroy(struct http *http);

/* The port that is listened on. */
int http_port(const struct http *http);

#endif
