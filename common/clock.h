/* clock.h -- what time it is, how long things take, and waiting by the clock that nobody sets. */
#ifndef REKINDLE_CLOCK_H
#define REKINDLE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds: CLOCK_REALTIME's since 1970, those of others since some fixed moment. */
int64_t clock_read(clockid_t);
/* The clock that nobody sets; for differences only. */
int64_t clock_ms(void);
int64_t clock_us(void);

/* Makes a condition whose timed waits end at a clock_after(). */
void clock_cond(pthread_cond_t *);
struct timespec clock_after(int64_t ms);
struct timespec clock_at(int64_t us); /* of clock_us */

#endif
