/* log.h -- one line per event: subject, verb, facts. */
#ifndef REKINDLE_LOG_H
#define REKINDLE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/*
 * Lines go to standard error: with a time, or, when standard error is the
 * systemd journal, with the priority prefix <N> that it understands; or to
 * syslog(3), facility mail.  Before log_open: standard error, level info.
 */
void log_open(const char *program, bool to_syslog, enum log_level);

#define LOG_PRINTF __attribute__((format(printf, 1, 2)))
void log_error(const char *fmt, ...) LOG_PRINTF;
void log_warn(const char *fmt, ...) LOG_PRINTF;  /* somebody should look */
void log_info(const char *fmt, ...) LOG_PRINTF;
void log_debug(const char *fmt, ...) LOG_PRINTF; /* the only level with addresses and tokens */

/* For what strangers can cause: at most one line in ten seconds, which says how many were held back. */
struct log_rate {
	_Atomic int64_t next_ms;
	_Atomic unsigned held;
};
void log_rated(struct log_rate *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Cannot start: says why and exits with status 1, or the one that was given. */
void log_fatal_status(int);
void fatal(const char *fmt, ...) LOG_PRINTF __attribute__((noreturn));

#endif
