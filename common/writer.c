#include "common/writer.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define BATCH_MAX 20000 /* touches in one transaction; keeps LMDB's list of dirty pages short */
#define REST_MAX_US 5000 /* however slow the disk is */
#define RETRY_MS 1000   /* how often a store that failed is tried again */

struct writer {
	struct store *store;
	struct journal *journal;
	pthread_t thread, mover;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct deed *first, **end; /* waiting, in order */
	bool idle;                 /* the thread waits for one */
	bool waited;               /* somebody waits for one of them to be durable */
	size_t enough;             /* it waits until there are so many, for a moment; 0: it does not */
	bool stopping;
	struct writer_stats stats;
	/* The thread's own: what is written, and a copy of it in one piece for a store without a journal. */
	struct journal_piece *piece;
	struct record *batch;
	size_t piece_cap, batch_cap;

	/* The journal's other end. */
	pthread_cond_t news, room; /* there is something to move; something was moved, or could not be */
	bool moving_idle, fresh, hurry, stop_moving;
	struct record *moving; /* the mover's own */
};

/* ---- deeds become durable ---- */

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
	if (w->first == NULL) {
		w->end = &w->first;
		w->waited = false;
	}
	last->next = NULL;
	return first;
}

/* The lock is held. */
static void
set_failing(struct writer *w, bool failing)
{
	if (w->stats.failing && !failing)
		log_info("store: touches are recorded again, %llu were lost", (unsigned long long)w->stats.lost);
	w->stats.failing = failing;
}

/* As many pieces, with n records in all. */
static bool
write_directly(struct writer *w, size_t pieces, size_t n)
{
	size_t at = 0;
	bool good;

	if (n > w->batch_cap) {
		w->batch_cap = n;
		w->batch = xreallocarray(w->batch, n, sizeof *w->batch);
	}
	for (size_t i = 0; i < pieces; i++)
		for (size_t k = 0; k < w->piece[i].n; k++)
			w->batch[at++] = w->piece[i].record[k];
	good = store_append(w->store, w->batch, n, NULL) == STORE_OK;
	pthread_mutex_lock(&w->lock);
	set_failing(w, !good);
	pthread_mutex_unlock(&w->lock);
	return good;
}

/* There is something in the journal; the lock is held. */
static void
tell_mover(struct writer *w)
{
	w->fresh = true;
	if (w->moving_idle) {
		w->moving_idle = false;
		pthread_cond_signal(&w->news);
	}
}

static bool
is_failing(struct writer *w)
{
	bool failing;

	pthread_mutex_lock(&w->lock);
	failing = w->stats.failing;
	pthread_mutex_unlock(&w->lock);
	return failing;
}

static void
wait_for_room(struct writer *w)
{
	struct timespec until = clock_after(RETRY_MS);

	pthread_mutex_lock(&w->lock);
	w->fresh = w->hurry = true;
	pthread_cond_signal(&w->news);
	if (!w->stats.failing)
		pthread_cond_timedwait(&w->room, &w->lock, &until);
	pthread_mutex_unlock(&w->lock);
}

static bool
write_to_journal(struct writer *w, size_t pieces, size_t n, bool kept)
{
	struct journal_load load;
	bool failing;

	for (;;) {
		failing = is_failing(w);
		journal_load(w->journal, &load);
		switch (journal_put_pieces(w->journal, w->piece, pieces, -1)) {
		case JOURNAL_OK:
			pthread_mutex_lock(&w->lock);
			tell_mover(w);
			pthread_mutex_unlock(&w->lock);
			return kept || journal_flush(w->journal);
		case JOURNAL_FULL:
			if (load.waiting == 0) /* more than it ever takes */
				return write_directly(w, pieces, n);
			if (failing) /* there will be no room soon */
				return false;
			wait_for_room(w);
			break;
		case JOURNAL_BUSY:
		case JOURNAL_ERROR:
			return write_directly(w, pieces, n);
		}
	}
}

static void
add_piece(struct writer *w, size_t at, const struct deed *d)
{
	if (at == w->piece_cap) {
		w->piece_cap = at > 0 ? 2 * at : 64;
		w->piece = xreallocarray(w->piece, w->piece_cap, sizeof *w->piece);
	}
	w->piece[at] = (struct journal_piece){ d->record, d->n };
}

static bool
write_batch(struct writer *w, const struct deed *first, size_t n)
{
	bool kept = true;
	size_t pieces = 0;

	for (const struct deed *d = first; d != NULL; d = d->next) {
		kept &= d->kept;
		add_piece(w, pieces++, d);
	}
	return w->journal != NULL ? write_to_journal(w, pieces, n, kept) : write_directly(w, pieces, n);
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
	pthread_mutex_unlock(&w->lock);
}

/*
 * Waits for a deed or the end; the lock is held.  After a failure it looks
 * every second whether writing works again: whoever sends hits only where
 * /readyz says yes would never send the one that shows it.  With a journal
 * that is the mover's task.
 */
static void
wait_for_work(struct writer *w)
{
	struct timespec until;
	bool good;

	while (w->first == NULL && !w->stopping) {
		w->idle = true;
		if (!w->stats.failing || w->journal != NULL) {
			pthread_cond_wait(&w->wake, &w->lock);
			continue;
		}
		until = clock_after(RETRY_MS);
		if (pthread_cond_timedwait(&w->wake, &w->lock, &until) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&w->lock);
		good = store_try(w->store) == STORE_OK;
		pthread_mutex_lock(&w->lock);
		set_failing(w, !good);
	}
	w->idle = false;
}

/*
 * A flush costs the processor much the same for one touch and for hundreds.
 * So those whose touches one made durable get the time to hear of it and to
 * come again: the next one waits until there are as many, at most for twice as
 * long as that one took.  Where two groups have begun to take turns, they
 * become one: it waits for those who came before beside those who come again.
 * The lock is held.
 */
static void
rest(struct writer *w, size_t had, int64_t us)
{
	struct timespec until = clock_at(us);

	if (2 * w->stats.waiting >= had)
		had += w->stats.waiting;
	w->enough = had;
	while (!w->stopping && w->stats.waiting < had && clock_us() < us)
		pthread_cond_timedwait(&w->wake, &w->lock, &until);
	w->enough = 0;
}

/* Nobody waits for what is here yet: many can share one write.  The lock is held. */
static void
gather(struct writer *w)
{
	struct timespec until = clock_after(WRITER_GATHER_MS);

	w->enough = BATCH_MAX;
	while (!w->stopping && !w->waited && w->stats.waiting < BATCH_MAX)
		if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT)
			break;
	w->enough = 0;
}

static void *
run(void *arg)
{
	struct writer *w = arg;
	int64_t begin, end = 0, took = 0;
	struct deed *d, *next;
	bool durable;
	size_t n = 0;

	for (;;) {
		pthread_mutex_lock(&w->lock);
		wait_for_work(w);
		if (w->first != NULL && !w->waited)
			gather(w);
		else if (w->first != NULL)
			rest(w, n, end + (2 * took < REST_MAX_US ? 2 * took : REST_MAX_US));
		if (w->first == NULL) {
			pthread_mutex_unlock(&w->lock);
			return NULL;
		}
		d = take_batch(w, &n);
		pthread_mutex_unlock(&w->lock);

		begin = clock_us();
		durable = write_batch(w, d, n);
		end = clock_us();
		took = end - begin;
		count_batch(w, n, durable);
		for (; d != NULL; d = next) {
			next = d->next; /* done owns the deed */
			d->done(d, durable);
		}
	}
}

/* ---- from the journal to the store ---- */

static void
moved(struct writer *w, bool good)
{
	pthread_mutex_lock(&w->lock);
	set_failing(w, !good);
	if (!good)
		w->fresh = true; /* it is still there, whatever the other thread finds out about the store */
	pthread_mutex_unlock(&w->lock);
}

/*
 * All that is in the journal now; what comes meanwhile gathers, or a busy
 * daemon would commit without a pause.  Where many do not fit, some may.
 */
static void
move_all(struct writer *w)
{
	size_t max = BATCH_MAX, n;
	enum store_result result;
	uint64_t id = journal_id(w->journal), from, to, mark;
	struct journal_load load;

	journal_load(w->journal, &load);
	while ((from = journal_place(w->journal)) < load.put) {
		n = journal_take(w->journal, w->moving, max, &to);
		if (to == from) { /* it cannot be read now; logged */
			moved(w, false);
			return;
		}
		result = store_append_from(w->store, w->moving, n, id, from, to);
		if (result == STORE_NONE && store_mark(w->store, id, &mark) == STORE_OK && mark > from) {
			journal_moved(w->journal, mark);
			continue;
		}
		if (result == STORE_FULL && n > 1) {
			max = n / 2;
			continue;
		}
		if (result == STORE_OK)
			journal_moved(w->journal, to);
		moved(w, result == STORE_OK);
		if (result != STORE_OK) {
			(void)journal_flush(w->journal); /* no commit takes what was only kept to the disk */
			return;
		}
	}
}

/*
 * Waits for something in the journal, and after a failure for another try.
 * False: this is the end, once all is moved.
 */
static bool
wait_for_news(struct writer *w)
{
	struct timespec until = clock_after(RETRY_MS);
	bool on;

	pthread_mutex_lock(&w->lock);
	while (!w->stop_moving && (w->stats.failing || !w->fresh)) {
		w->moving_idle = !w->stats.failing;
		if (!w->stats.failing)
			pthread_cond_wait(&w->news, &w->lock);
		else if (pthread_cond_timedwait(&w->news, &w->lock, &until) == ETIMEDOUT)
			break;
	}
	w->moving_idle = w->fresh = w->hurry = false;
	on = !w->stop_moving;
	pthread_mutex_unlock(&w->lock);
	return on;
}

/* A commit costs much the same for one touch and for hundreds: the next ones gather for a moment. */
static void
pace(struct writer *w)
{
	struct timespec until = clock_after(WRITER_PACE_MS);

	pthread_mutex_lock(&w->lock);
	pthread_cond_signal(&w->room);
	while (!w->stop_moving && !w->hurry)
		if (pthread_cond_timedwait(&w->news, &w->lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&w->lock);
}

static bool
try_again(struct writer *w)
{
	struct journal_load load;

	journal_load(w->journal, &load);
	if (!is_failing(w) || load.waiting > 0)
		return true;
	moved(w, store_try(w->store) == STORE_OK);
	return false;
}

static void *
move(void *arg)
{
	struct writer *w = arg;
	bool on;

	do {
		on = wait_for_news(w);
		if (try_again(w))
			move_all(w);
		pace(w);
	} while (on);
	return NULL;
}

/* ---- start and stop ---- */

struct writer *
writer_start(struct store *s, const char *dir, const char *other_dir, uint64_t journal_size)
{
	struct writer *w = xcalloc(1, sizeof *w);
	struct buf why = BUF(PATH_MAX + 256);

	w->store = s;
	if (dir != NULL)
		w->journal = journal_open(dir, journal_size, s, &why);
	if (w->journal == NULL && other_dir != NULL && (dir == NULL || strcmp(dir, other_dir) != 0))
		w->journal = journal_open(other_dir, journal_size, s, &why);
	if (w->journal == NULL && (dir != NULL || other_dir != NULL))
		log_warn("store: no journal, touches are written a little slower: %s", buf_cstr(&why));
	buf_free(&why);
	w->end = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	clock_cond(&w->wake);
	clock_cond(&w->news);
	clock_cond(&w->room);
	if (w->journal != NULL) {
		w->moving = xreallocarray(NULL, BATCH_MAX, sizeof *w->moving);
		w->fresh = true; /* what was left in it */
		if (pthread_create(&w->mover, NULL, move, w) != 0)
			fatal("cannot start the journal's thread");
	}
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
	if (w->journal != NULL) {
		pthread_mutex_lock(&w->lock);
		w->stop_moving = true;
		pthread_cond_signal(&w->news);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->mover, NULL);
		journal_close(w->journal);
	}
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->news);
	pthread_cond_destroy(&w->room);
	pthread_mutex_destroy(&w->lock);
	free(w->piece);
	free(w->batch);
	free(w->moving);
	free(w);
}

bool
writer_add_list(struct writer *w, struct deed *first, struct deed *last, size_t n)
{
	bool taken, wake = false;

	pthread_mutex_lock(&w->lock);
	taken = !w->stopping && w->stats.waiting + n <= WRITER_WAITING_MAX;
	if (taken) {
		last->next = NULL;
		*w->end = first;
		w->end = &last->next;
		w->stats.waiting += n;
		wake = w->idle || (w->enough != 0 && (w->stats.waiting >= w->enough || (!first->kept && !w->waited)));
		w->waited |= !first->kept;
		w->idle = false;
	} else
		w->stats.refused += n;
	pthread_mutex_unlock(&w->lock);
	if (wake)
		pthread_cond_signal(&w->wake); /* whom it wakes finds the lock free */
	return taken;
}

bool
writer_add(struct writer *w, struct deed *d)
{
	return writer_add_list(w, d, d, d->n);
}

void
writer_stats(struct writer *w, struct writer_stats *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->stats;
	pthread_mutex_unlock(&w->lock);
	if (w->journal != NULL)
		journal_load(w->journal, &out->journal);
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

static struct vigil *
vigil_new(const struct record *r, size_t n)
{
	struct vigil *v = xcalloc(1, sizeof *v);
	size_t size = 0;
	char *to;

	for (size_t i = 0; i < n; i++)
		size += record_names(&r[i]);
	to = v->bytes = xmalloc(size);
	v->deed.record = xreallocarray(NULL, n, sizeof *r);
	for (size_t i = 0; i < n; i++)
		to = record_copy(&v->deed.record[i], &r[i], to);
	v->deed.n = n;
	v->deed.done = vigil_done;
	v->refs = 2;
	pthread_mutex_init(&v->lock, NULL);
	clock_cond(&v->wake);
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
	until = clock_after(within_ms);
	pthread_mutex_lock(&v->lock);
	while (!v->over && rc == 0)
		rc = pthread_cond_timedwait(&v->wake, &v->lock, &until);
	out = !v->over ? WRITER_LATE : v->durable ? WRITER_DURABLE : WRITER_LOST;
	pthread_mutex_unlock(&v->lock);
	vigil_leave(v);
	return out;
}

enum writer_result
writer_keep(struct writer *w, const struct record *r, size_t n, int64_t within_ms)
{
	if (w->journal == NULL || journal_put(w->journal, r, n, within_ms) != JOURNAL_OK)
		return writer_write(w, r, n, within_ms);
	pthread_mutex_lock(&w->lock);
	w->stats.durable += n;
	tell_mover(w);
	pthread_mutex_unlock(&w->lock);
	return WRITER_KEPT;
}
