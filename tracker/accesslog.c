/* accesslog.c -- one line for each answer, in the combined format. */
#include "tracker/accesslog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ip.h"
#include "common/log.h"
#include "common/mem.h"

#define NAME_SHOWN 24 /* bytes of a path; a token is longer */

/* ---- a line ---- */

/* The touch of a hit, when as much of it is kept as a line says. */
static const struct touch *
full_touch(const struct hit *h)
{
	return h->n > 0 && h->record[h->n - 1].touch.mode == MODE_FULL ? &h->record[h->n - 1].touch : NULL;
}

static void
add_v4(struct buf *out, const uint8_t *b)
{
	buf_addf(out, "%u.%u.%u.0", b[0], b[1], b[2]);
}

/* Zeros are a client on a unix socket whom no proxy named, or this machine: nothing to show. */
static void
add_v6(struct buf *out, const uint8_t *b)
{
	static const uint8_t nowhere[6];

	if (memcmp(b, nowhere, sizeof nowhere) == 0)
		buf_addc(out, '-');
	else
		buf_addf(out, "%x:%x:%x::", b[0] << 8 | b[1], b[2] << 8 | b[3], b[4] << 8 | b[5]);
}

static void
add_peer(struct buf *out, const struct peer *p)
{
	if (ip_is_v4(p->b))
		add_v4(out, p->b + 12);
	else
		add_v6(out, p->b);
}

/* A page, or a token that did not open, is about nobody; a recipient's own page is not. */
static bool
add_source(struct buf *out, const struct access *a)
{
	const struct touch *t = full_touch(a->hit);

	if (a->hit->kind == HIT_PAGE && a->hit->personal == 0)
		add_peer(out, a->peer);
	else if (t == NULL || (t->net[0] != 24 && t->net[0] != 48)) {
		buf_addc(out, '-');
		return t != NULL;
	} else if (t->net[0] == 24)
		add_v4(out, t->net + 1);
	else
		add_v6(out, t->net + 1);
	return true;
}

static void
add_time(struct buf *out, int64_t ms)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	buf_addf(out, " - - [%02d/%.3s/%d:%02d:%02d:%02d +0000] \"", tm.tm_mday, months + (size_t)tm.tm_mon % 12 * 3,
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Anything may be in a path that strangers make up, an address too: only what looks like the name of a file is shown. */
static void
add_path(struct buf *out, struct span path)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	struct span name = span_from(path, 1);
	size_t n = 0;

	/* OPTIONS of the server: no path at all. */
	if (span_eq(path, SPAN("*"))) {
		buf_addc(out, '*');
		return;
	}
	while (n < name.n && memchr(plain, name.p[n], sizeof plain - 1) != NULL)
		n++;
	buf_addc(out, '/');
	if (n > NAME_SHOWN || (n < name.n && name.p[n] != '/'))
		n = 0;
	buf_add(out, span_cut(name, 0, n));
	if (n < name.n)
		buf_adds(out, n > 0 ? "/*" : "*");
}

static void
add_request(struct buf *out, const struct access *a)
{
	static const char *const methods[] = { [HTTP_GET] = "GET ", [HTTP_HEAD] = "HEAD ", [HTTP_POST] = "POST " };
	static const char *const paths[HIT_KINDS] = { [HIT_OPEN] = "/o/-.gif", [HIT_CLICK] = "/c/-" };

	if (!a->read) {
		buf_addc(out, '-');
		return;
	}
	buf_adds(out, a->method < sizeof methods / sizeof *methods && methods[a->method] != NULL ? methods[a->method] : "OTHER ");
	if (a->hit->kind < HIT_KINDS && paths[a->hit->kind] != NULL)
		buf_adds(out, paths[a->hit->kind]);
	else if (a->hit->personal != 0)
		buf_addf(out, "/%c/-", a->hit->personal);
	else
		add_path(out, a->path);
	buf_adds(out, a->http10 ? " HTTP/1.0" : " HTTP/1.1");
}

void
accesslog_line(struct buf *out, const struct access *a)
{
	bool tell = add_source(out, a);

	add_time(out, a->now);
	add_request(out, a);
	buf_addf(out, "\" %u %zu \"-\" \"%s\"\n", a->hit->status, a->method == HTTP_HEAD && a->read ? 0 : a->hit->body.n,
	    tell && a->read ? robot_family_name(a->agent) : "-");
}

/* ---- the file ---- */

struct accesslog {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	struct buf waiting;
	char *path;              /* "" none */
	char *name;              /* the same for messages, with its place in the settings */
	bool reopen, stopping;
	_Atomic bool on;
	uint64_t nwaiting;       /* lines */
	struct accesslog_stats stats;
	struct log_rate rate;
	/* The thread's own. */
	int fd;
	bool torn;               /* a full disk took only a part of the last line */
};

/* The one that is open stays when the other one cannot be had.  False: errno says why. */
static bool
open_file(struct accesslog *a, const char *path)
{
	int fd = -1;

	if (*path != '\0' && (fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640)) < 0)
		return false;
	if (a->fd >= 0)
		close(a->fd);
	a->fd = fd;
	a->torn = false;
	return true;
}

/* All or none would be simplest, but a disk that fills up takes a part.  How many bytes were written. */
static size_t
write_some(int fd, struct span s)
{
	size_t done = 0;
	ssize_t n;

	while (done < s.n && ((n = write(fd, s.p + done, s.n - done)) > 0 || (n < 0 && errno == EINTR)))
		done += n > 0 ? (size_t)n : 0;
	return done;
}

/* How many lines went to the file whole. */
static uint64_t
write_lines(struct accesslog *a, struct span lines)
{
	uint64_t whole = 0;
	size_t n;

	/* What is left of a line that a full disk cut stays by itself. */
	if (a->fd < 0 || (a->torn && write_some(a->fd, SPAN("\n")) == 0))
		return 0;
	n = write_some(a->fd, lines);
	for (size_t i = 0; i < n; i++)
		whole += lines.p[i] == '\n';
	a->torn = n > 0 && lines.p[n - 1] != '\n';
	if (n < lines.n)
		log_rated(&a->rate, "access_log: lines are lost: %s", strerror(errno));
	return whole;
}

/* Until there is something to do, and then a second for more to come.  The lock is held. */
static void
wait_for_lines(struct accesslog *a)
{
	struct timespec until;

	while (!a->stopping && !a->reopen && a->waiting.n == 0)
		pthread_cond_wait(&a->wake, &a->lock);
	until = clock_after(1000);
	while (!a->stopping && !a->reopen && a->waiting.n < ACCESSLOG_WAITING_MAX / 2)
		if (pthread_cond_timedwait(&a->wake, &a->lock, &until) == ETIMEDOUT)
			break;
}

/* One round: what has gathered, to the file; then the other one, where the name leads to another. */
static void
take_round(struct accesslog *a, struct buf *mine)
{
	struct buf full = a->waiting;
	uint64_t n = a->nwaiting, whole;
	char *path = a->reopen ? xstrdup(a->path) : NULL, *name = path != NULL ? xstrdup(a->name) : NULL;

	a->waiting = *mine;
	a->nwaiting = 0;
	a->reopen = false;
	pthread_mutex_unlock(&a->lock);
	whole = write_lines(a, buf_span(&full));
	if (path != NULL && !open_file(a, path))
		log_error("%s: %s%s", name, strerror(errno), a->fd >= 0 ? "; the old file stays" : "");
	free(path);
	free(name);
	buf_clear(&full);
	*mine = full;
	pthread_mutex_lock(&a->lock);
	a->stats.written += whole;
	a->stats.lost += n - whole;
}

static void *
run(void *arg)
{
	struct accesslog *a = arg;
	struct buf mine = BUF(ACCESSLOG_WAITING_MAX);

	pthread_mutex_lock(&a->lock);
	do {
		wait_for_lines(a);
		take_round(a, &mine);
	} while (!a->stopping || a->waiting.n > 0);
	pthread_mutex_unlock(&a->lock);
	buf_free(&mine);
	return NULL;
}

/* The lock is held, or nobody else is there yet. */
static void
take_name(struct accesslog *a, const struct conf *conf)
{
	struct buf name = BUF(2 * PATH_MAX + 64);

	conf_blame(conf, "access_log", &name);
	buf_adds(&name, conf->access_log);
	free(a->path);
	free(a->name);
	a->path = xstrdup(conf->access_log);
	a->name = buf_steal(&name);
	atomic_store(&a->on, *a->path != '\0');
}

struct accesslog *
accesslog_start(const struct conf *conf)
{
	struct accesslog *a = xcalloc(1, sizeof *a);

	a->fd = -1;
	take_name(a, conf);
	buf_init(&a->waiting, ACCESSLOG_WAITING_MAX);
	if (!open_file(a, a->path))
		fatal("%s: %s", a->name, strerror(errno));
	pthread_mutex_init(&a->lock, NULL);
	clock_cond(&a->wake);
	if (pthread_create(&a->thread, NULL, run, a) != 0)
		fatal("cannot start the access log's thread");
	return a;
}

void
accesslog_stop(struct accesslog *a)
{
	if (a == NULL)
		return;
	pthread_mutex_lock(&a->lock);
	a->stopping = true;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	if (a->fd >= 0)
		close(a->fd);
	pthread_cond_destroy(&a->wake);
	pthread_mutex_destroy(&a->lock);
	buf_free(&a->waiting);
	free(a->path);
	free(a->name);
	free(a);
}

void
accesslog_reopen(struct accesslog *a, const struct conf *conf)
{
	pthread_mutex_lock(&a->lock);
	take_name(a, conf);
	a->reopen = true;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
}

bool
accesslog_on(struct accesslog *a)
{
	return a != NULL && atomic_load_explicit(&a->on, memory_order_relaxed);
}

void
accesslog_add(struct accesslog *a, struct span line)
{
	bool wake = false;
	size_t before;

	pthread_mutex_lock(&a->lock);
	before = a->waiting.n;
	if (before + line.n > ACCESSLOG_WAITING_MAX)
		a->stats.lost++;
	else {
		buf_add(&a->waiting, line);
		a->nwaiting++;
		wake = before == 0 || (before < ACCESSLOG_WAITING_MAX / 2 && a->waiting.n >= ACCESSLOG_WAITING_MAX / 2);
	}
	pthread_mutex_unlock(&a->lock);
	if (wake)
		pthread_cond_signal(&a->wake);
}

void
accesslog_stats(struct accesslog *a, struct accesslog_stats *out)
{
	pthread_mutex_lock(&a->lock);
	*out = a->stats;
	pthread_mutex_unlock(&a->lock);
}
