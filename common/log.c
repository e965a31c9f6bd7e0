#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

/* Set once, before any thread. */
static const char *name = "rekindle";
static bool to_syslog, to_journal;
static enum log_level limit = LOG_LEVEL_INFO;

static const struct {
	const char *word;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error: ", LOG_ERR },
	[LOG_LEVEL_WARN] = { "warning: ", LOG_WARNING },
	[LOG_LEVEL_INFO] = { "", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug: ", LOG_DEBUG },
};

/* systemd names the journal's stream by device and inode, so that a redirected one is not mistaken for it. */
static bool
stderr_is_journal(void)
{
	const char *want = getenv("JOURNAL_STREAM");
	unsigned long dev, ino;
	struct stat st;

	return want != NULL && sscanf(want, "%lu:%lu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	    st.st_dev == dev && st.st_ino == ino;
}

void
log_open(const char *program, bool use_syslog, enum log_level level)
{
	name = program;
	limit = level;
	to_journal = stderr_is_journal();
	to_syslog = use_syslog;
	if (to_syslog)
		openlog(program, LOG_PID | LOG_NDELAY, LOG_MAIL);
}

/* Cuts the line at its end and makes every control byte visible, so that no stranger's text can start a line of its own. */
static void
tidy(char *line)
{
	for (; *line != '\0'; line++)
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			*line = '?';
}

static void
put(enum log_level level, const char *fmt, va_list ap)
{
	char line[2048], when[32], whole[sizeof line + sizeof when + 64];
	struct timespec now;
	struct tm tm;
	size_t n;

	if (level > limit)
		return;
	vsnprintf(line, sizeof line, fmt, ap);
	tidy(line);
	if (to_syslog) {
		syslog(levels[level].priority, "%s%s", levels[level].word, line);
		return;
	}
	if (to_journal)
		snprintf(whole, sizeof whole, "<%d>%s", levels[level].priority, line);
	else {
		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &tm);
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(whole, sizeof whole, "%s.%03ldZ %s: %s%s", when, now.tv_nsec / 1000000, name, levels[level].word, line);
	}
	/* In one write(), so that the lines of threads do not mix; whether anybody reads them is not our concern. */
	n = strlen(whole);
	whole[n++] = '\n';
	if (write(STDERR_FILENO, whole, n) < 0)
		return;
}

#define PUT(level)                     \
	do {                           \
		va_list ap;            \
		va_start(ap, fmt);     \
		put(level, fmt, ap);   \
		va_end(ap);            \
	} while (0)

void
log_error(const char *fmt, ...)
{
	PUT(LOG_LEVEL_ERROR);
}

void
log_warn(const char *fmt, ...)
{
	PUT(LOG_LEVEL_WARN);
}

void
log_info(const char *fmt, ...)
{
	PUT(LOG_LEVEL_INFO);
}

void
log_debug(const char *fmt, ...)
{
	PUT(LOG_LEVEL_DEBUG);
}

void
log_rated(struct log_rate *rate, const char *fmt, ...)
{
	int64_t ms = clock_ms() + 1, next = atomic_load(&rate->next_ms);
	unsigned held;

	if (ms < next || !atomic_compare_exchange_strong(&rate->next_ms, &next, ms + 10000)) {
		atomic_fetch_add(&rate->held, 1);
		return;
	}
	PUT(LOG_LEVEL_WARN);
	if ((held = atomic_exchange(&rate->held, 0)) > 0)
		log_warn("%u more of these before this one", held);
}

static int fatal_status = 1;

void
log_fatal_status(int status)
{
	fatal_status = status;
}

void
fatal(const char *fmt, ...)
{
	PUT(LOG_LEVEL_ERROR);
	exit(fatal_status);
}
