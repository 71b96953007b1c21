#include "clock.h"

static int64_t read_us(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t now_us(const struct clock *clock)
{
	return read_us(CLOCK_BOOTTIME);
}

static int64_t now_ms(const struct clock *clock)
{
	return read_us(CLOCK_BOOTTIME) / 1000;
}

static int64_t wall_ms(const struct clock *clock)
{
	return read_us(CLOCK_REALTIME) / 1000;
}

const struct clock clock_system = {now_ms, now_us, wall_ms};

struct timespec clock_deadline(int64_t timeout_ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += timeout_ms / 1000;
	at.tv_nsec += timeout_ms % 1000 * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}
