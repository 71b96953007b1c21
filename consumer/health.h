/*
 * /healthz and /readyz as text: one line for each thing that was looked at, and the HTTP status
 * that goes with them.  Pure: who looks, and at what, is the caller's matter.
 *
 * A health check restarts the process, so it only asks whether our own loops still turn; a
 * readiness check asks for everything that is needed to do the work.
 */
#ifndef CONSUMER_HEALTH_H
#define CONSUMER_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A loop that should turn at least every limit_ms. */
struct health_beat {
	const char *name;     /* "leader" */
	int64_t last_beat_ms; /* when it last did, by the same clock as now_ms */
	int64_t limit_ms;
};

/* Something that must hold. */
struct health_condition {
	const char *name; /* "mysql" */
	bool ok;
	const char *
		detail; /* what is wrong, or more about what is right; NULL or "": nothing to say */
};

/*
 * Both return 200 if all is well, else 503, and give the text in *ret_body (NUL-terminated, the
 * caller frees it).  Each line is one of
 *
 *     ok mysql
 *     ok leases: 3 of 3 partitions
 *     not ready: kafka: 127.0.0.1:9092 does not answer
 *     stuck: leader: no sign of life for 31000 ms, at most 30000 are allowed
 *
 * in the order given; with nothing to look at, the text is "ok".
 */
int health_live(const struct health_beat *beats, size_t count, int64_t now_ms, char **ret_body);
int health_ready(const struct health_condition *conditions, size_t count, char **ret_body);

#endif
