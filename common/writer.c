#include "common/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/log.h"
#include "common/mem.h"

#define BATCH_MAX 20000 /* touches in one transaction; keeps LMDB's list of dirty pages short */

struct writer {
	struct store *store;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct deed *first, **end; /* waiting, in order */
	bool idle;                 /* the thread waits for one */
	bool stopping;
	struct writer_stats stats;
	struct record *batch; /* the thread's own */
	size_t cap;
};

/* Takes deeds off the queue until a batch is full; the lock is held.  *n is the number of records. */
static struct deed *
take_batch(struct writer *w, size_t *n)
{
	struct deed *first = w->first, *last = NULL;

	*n = 0;
	for (struct deed *d = first; d != NULL; d = d->next) {
		if (last != NULL && *n + d->n > BATCH_MAX)
			break;
		*n += d->n;
		last = d;
	}
	w->first = last->next;
	if (w->first == NULL)
		w->end = &w->first;
	last->next = NULL;
	return first;
}

static bool
write_batch(struct writer *w, const struct deed *first, size_t n)
{
	size_t at = 0;

	if (n > w->cap) {
		w->cap = n;
		w->batch = xreallocarray(w->batch, n, sizeof *w->batch);
	}
	for (const struct deed *d = first; d != NULL; d = d->next)
		for (size_t i = 0; i < d->n; i++)
			w->batch[at++] = d->record[i];
	return store_append(w->store, w->batch, n, NULL) == STORE_OK;
}

/* The lock is held. */
static void
set_failing(struct writer *w, bool failing)
{
	if (w->stats.failing && !failing)
		log_info("store: touches are recorded again, %llu were lost", (unsigned long long)w->stats.lost);
	w->stats.failing = failing;
}

static void
count_batch(struct writer *w, size_t n, bool durable)
{
	pthread_mutex_lock(&w->lock);
	w->stats.waiting -= n;
	w->stats.batches++;
	if (durable)
		w->stats.durable += n;
	else
		w->stats.lost += n;
	set_failing(w, !durable);
	pthread_mutex_unlock(&w->lock);
}

/*
 * Waits for a deed or the end; the lock is held.  After a failure it looks
 * every second whether writing works again: whoever sends hits only where
 * /readyz says yes would never send the one that shows it.
 */
static void
wait_for_work(struct writer *w)
{
	struct timespec until;
	bool good;

	while (w->first == NULL && !w->stopping) {
		w->idle = true;
		if (!w->stats.failing) {
			pthread_cond_wait(&w->wake, &w->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		if (pthread_cond_timedwait(&w->wake, &w->lock, &until) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&w->lock);
		good = store_try(w->store) == STORE_OK;
		pthread_mutex_lock(&w->lock);
		set_failing(w, !good);
	}
	w->idle = false;
}

static void *
run(void *arg)
{
	struct writer *w = arg;
	struct deed *d, *next;
	bool durable;
	size_t n;

	for (;;) {
		pthread_mutex_lock(&w->lock);
		wait_for_work(w);
		if (w->first == NULL) {
			pthread_mutex_unlock(&w->lock);
			return NULL;
		}
		d = take_batch(w, &n);
		pthread_mutex_unlock(&w->lock);

		durable = write_batch(w, d, n);
		count_batch(w, n, durable);
		for (; d != NULL; d = next) {
			next = d->next; /* done owns the deed */
			d->done(d, durable);
		}
	}
}

struct writer *
writer_start(struct store *s)
{
	struct writer *w = xcalloc(1, sizeof *w);
	pthread_condattr_t attr;

	w->store = s;
	w->end = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&w->thread, NULL, run, w) != 0)
		fatal("cannot start the writer's thread");
	return w;
}

void
writer_stop(struct writer *w)
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w->batch);
	free(w);
}

bool
writer_add(struct writer *w, struct deed *d)
{
	bool taken, wake = false;

	pthread_mutex_lock(&w->lock);
	taken = !w->stopping && w->stats.waiting + d->n <= WRITER_WAITING_MAX;
	if (taken) {
		d->next = NULL;
		*w->end = d;
		w->end = &d->next;
		w->stats.waiting += d->n;
		wake = w->idle;
		w->idle = false;
	} else
		w->stats.refused += d->n;
	pthread_mutex_unlock(&w->lock);
	if (wake)
		pthread_cond_signal(&w->wake); /* whom it wakes finds the lock free */
	return taken;
}

void
writer_stats(struct writer *w, struct writer_stats *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->stats;
	pthread_mutex_unlock(&w->lock);
}

/* ---- waiting for it ---- */

/* Shared by the one who waits and the writer; the last to leave frees it, since the one who waits may give up first. */
struct vigil {
	struct deed deed;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic unsigned refs;
	bool over, durable;
	char *bytes; /* copies of the records' names */
};

static void
vigil_leave(struct vigil *v)
{
	if (atomic_fetch_sub(&v->refs, 1) > 1)
		return;
	pthread_cond_destroy(&v->wake);
	pthread_mutex_destroy(&v->lock);
	free(v->deed.record);
	free(v->bytes);
	free(v);
}

static void
vigil_done(struct deed *d, bool durable)
{
	struct vigil *v = (struct vigil *)d; /* its first member */

	pthread_mutex_lock(&v->lock);
	v->over = true;
	v->durable = durable;
	pthread_mutex_unlock(&v->lock);
	pthread_cond_signal(&v->wake);
	vigil_leave(v);
}

static size_t
names_size(const struct record *r)
{
	return r->address.n + r->stream.n + r->campaign.n + r->destination.n + r->source.n;
}

static struct span
move_name(struct span s, char **to)
{
	struct span copy = span_make(*to, s.n);

	if (s.n)
		memcpy(*to, s.p, s.n);
	*to += s.n;
	return copy;
}

static struct vigil *
vigil_new(const struct record *r, size_t n)
{
	struct vigil *v = xcalloc(1, sizeof *v);
	pthread_condattr_t attr;
	size_t size = 0;
	char *to;

	for (size_t i = 0; i < n; i++)
		size += names_size(&r[i]);
	to = v->bytes = xmalloc(size);
	v->deed.record = xreallocarray(NULL, n, sizeof *r);
	for (size_t i = 0; i < n; i++) {
		struct record *copy = &v->deed.record[i];

		*copy = r[i];
		copy->address = move_name(r[i].address, &to);
		copy->stream = move_name(r[i].stream, &to);
		copy->campaign = move_name(r[i].campaign, &to);
		copy->destination = move_name(r[i].destination, &to);
		copy->source = move_name(r[i].source, &to);
	}
	v->deed.n = n;
	v->deed.done = vigil_done;
	v->refs = 2;
	pthread_mutex_init(&v->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&v->wake, &attr);
	pthread_condattr_destroy(&attr);
	return v;
}

enum writer_result
writer_write(struct writer *w, const struct record *r, size_t n, int64_t within_ms)
{
	struct vigil *v = vigil_new(r, n);
	enum writer_result out;
	struct timespec until;
	int rc = 0;

	if (!writer_add(w, &v->deed)) {
		vigil_leave(v);
		vigil_leave(v);
		return WRITER_LOST;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += within_ms / 1000;
	until.tv_nsec += within_ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&v->lock);
	while (!v->over && rc == 0)
		rc = pthread_cond_timedwait(&v->wake, &v->lock, &until);
	out = !v->over ? WRITER_LATE : v->durable ? WRITER_DURABLE : WRITER_LOST;
	pthread_mutex_unlock(&v->lock);
	vigil_leave(v);
	return out;
}
