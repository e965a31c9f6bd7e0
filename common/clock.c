#include "common/clock.h"

static int64_t
read_us(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t
clock_read(clockid_t which)
{
	return read_us(which) / 1000;
}

int64_t
clock_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

int64_t
clock_ms(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

void
clock_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct timespec
clock_at(int64_t us)
{
	return (struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
}

struct timespec
clock_after(int64_t ms)
{
	return clock_at(clock_us() + ms * 1000);
}
