/*
 * The page at / of HTTP, for people: consumer/page/, which is part of the program.  It is always
 * the same; its script asks /status, /metrics and /readyz for what it shows.
 */
#ifndef CONSUMER_STATUS_PAGE_H
#define CONSUMER_STATUS_PAGE_H

#include "http.h"

/* A route's answer. */
void status_page_answer(void *context, struct http_response *response);

#endif
