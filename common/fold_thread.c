/* fold_thread.c -- what is done each second: sums, what is old, and a look at the store. */
#include "common/fold.h"

#include <linux/ioprio.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/text.h"

#define TIDY_BATCH 20000 /* touches looked at in one go */
#define CATCH_UP 24      /* how much faster than time itself a clock that is ahead is believed */
#define AGE_BATCH 1000   /* people, each second */
#define NICE 12          /* of 100 % of a processor that hits keep busy, this takes 6 */

/* ---- what time is it? ---- */

/*
 * What is pruned does not come back, so no clock may say at once that all of
 * it is old: one that jumps ahead is believed a day for every hour that has
 * really gone by since.  A daemon that was off for a month prunes with a
 * day's delay then, which harms nobody, and there is time to mend a wrong
 * clock.  One that jumps back is believed: nothing is pruned too early.
 */
int64_t
fold_believe(int64_t believed, int64_t clock, int64_t elapsed)
{
	int64_t most = believed + elapsed * CATCH_UP;

	return clock < most ? clock : most;
}

/* ---- the thread ---- */

struct fold {
	struct store *store;
	int64_t keep_facts;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
	struct rules rules;       /* to be adopted, while wanted */
	bool wanted, hurry;       /* hurry: do not wait for the second to be over */
	int64_t believed, stored; /* the time by which is pruned: now, and as it is on disk */
	int64_t clock, passed;    /* CLOCK_REALTIME and CLOCK_BOOTTIME then */
	int64_t watched;          /* when the store was looked after */
	struct who aged;          /* trails up to this recipient's were looked at; nobody: a round begins */
	int64_t round;            /* when it began (CLOCK_BOOTTIME) */
};

/*
 * A store that knows no time yet, an empty one or one from before, believes
 * its last touch, if that is not later than the clock.
 */
static void
start_clock(struct fold *f)
{
	int64_t clock = clock_read(CLOCK_REALTIME);
	struct numbered last;
	uint64_t seq = store_last(f->store);
	size_t n = 0;

	f->clock = clock;
	f->passed = clock_read(CLOCK_BOOTTIME);
	if (!store_clock(f->store, &f->believed)) {
		f->believed = clock;
		if (seq > 0 && store_touches(f->store, seq - 1, &last, 1, &n) == STORE_OK && n == 1 && last.touch.when < clock &&
		    last.touch.when > 0)
			f->believed = last.touch.when;
	}
	f->stored = 0;
}

static void
believe(struct fold *f)
{
	int64_t clock = clock_read(CLOCK_REALTIME), passed = clock_read(CLOCK_BOOTTIME);

	f->believed = fold_believe(f->believed, clock, passed - f->passed);
	f->clock = clock;
	f->passed = passed;
	/* To the hour, which is no flush to speak of. */
	if (f->believed >= f->stored && f->believed < f->stored + HOUR_MS)
		return;
	f->stored = f->believed;
	store_set_clock(f->store, f->stored);
}

/* Waits a second; true when it is time to end. */
static bool
pause_or_stop(struct fold *f)
{
	struct timespec until = clock_after(1000);
	int rc = 0;
	bool stop;

	pthread_mutex_lock(&f->lock);
	while (!f->stopping && !f->hurry && rc == 0)
		rc = pthread_cond_timedwait(&f->wake, &f->lock, &until);
	f->hurry = false;
	stop = f->stopping;
	pthread_mutex_unlock(&f->lock);
	return stop;
}

static bool
is_stopping(struct fold *f)
{
	bool stop;

	pthread_mutex_lock(&f->lock);
	stop = f->stopping;
	pthread_mutex_unlock(&f->lock);
	return stop;
}

/* By one reading of the clock: with a later one, which may have jumped, what is sound would be from the future, and all of it old. */
static struct tidy
what_is_old(const struct fold *f)
{
	return (struct tidy){ .before = f->believed - f->keep_facts, .future = f->clock + DAY_MS };
}

/* A thousand recipients each second, until all were looked at; once a day. */
static void
age(struct fold *f)
{
	const struct tidy how = what_is_old(f);

	if (who_is_nobody(&f->aged)) {
		if (f->round != 0 && f->passed < f->round + DAY_MS)
			return;
		f->round = f->passed;
	}
	if (fold_age(f->store, &how, &f->aged, AGE_BATCH) == STORE_NONE)
		f->aged = (struct who){ .b = { 0 } };
}

static void
tidy(struct fold *f)
{
	const struct tidy how = what_is_old(f);
	enum store_result r;
	bool more;

	do
		r = store_tidy(f->store, &how, TIDY_BATCH, &more);
	while (r == STORE_OK && more && !is_stopping(f));
	/* Rows of hours long ago may be many after an import: a part of them each second. */
	fold_drop_volumes(f->store, (uint32_t)(f->believed / HOUR_MS > VOLUME_HOURS ? f->believed / HOUR_MS - VOLUME_HOURS : 0));
}

static bool
takes(struct fold *f, struct rules *rules)
{
	bool wanted;

	pthread_mutex_lock(&f->lock);
	wanted = f->wanted;
	f->wanted = false;
	*rules = f->rules;
	pthread_mutex_unlock(&f->lock);
	return wanted;
}

/* What a disk refuses today it may take tomorrow; unless others are wanted by then. */
static void
adopt(struct fold *f)
{
	struct rules rules;

	if (!takes(f, &rules) || fold_adopt(f->store, &rules, false) == STORE_OK)
		return;
	pthread_mutex_lock(&f->lock);
	f->wanted = true;
	pthread_mutex_unlock(&f->lock);
}

/* Every second, also while there is much to sum up. */
static void
look_after(struct fold *f)
{
	int64_t now = clock_ms();

	if (now < f->watched + 1000)
		return;
	f->watched = now;
	store_watch(f->store);
	adopt(f);
}

/*
 * Hits come first: this thread takes what they leave of the processor and,
 * while it folds, of the disk; not while it tidies, since who writes facts
 * may have to wait for that.  On Linux both are the thread's own.  Where it
 * is not allowed, folding is only less polite.
 */
static void
yield_processor(void)
{
	(void)setpriority(PRIO_PROCESS, 0, NICE);
}

static void
yield_disk(bool yield)
{
	int class = yield ? IOPRIO_CLASS_IDLE : IOPRIO_CLASS_NONE;

	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(class, 0));
}

/*
 * A long row is read and sorted by one of the daemons; the others look again
 * in a second, and go on with it when that one ends.
 */
static void
sum_up(struct fold *f, struct fold_row *row)
{
	enum store_result r;
	size_t n;

	if (!store_take_turn(f->store, TURN_FOLD)) {
		fold_row_free(row);
		return;
	}
	do {
		r = fold_sweep(f->store, row, FOLD_SWEEP, FOLD_BATCH, &n);
		look_after(f);
	} while ((r == STORE_OK || r == STORE_MOVED) && !is_stopping(f));
	/* While there is no room for it the row is kept, so that nobody, we or others, reads it again each second. */
	if (r != STORE_FULL)
		store_end_turn(f->store, TURN_FOLD);
}

static void *
run(void *arg)
{
	struct fold *f = arg;
	struct fold_row row = { 0 };

	yield_processor();
	do {
		yield_disk(true);
		adopt(f);
		while (fold_rejudge(f->store, FOLD_REJUDGE) == STORE_OK && !is_stopping(f))
			look_after(f);
		sum_up(f, &row);
		look_after(f);
		believe(f);
		age(f);
		yield_disk(false);
		tidy(f);
	} while (!pause_or_stop(f));
	fold_row_free(&row);
	return NULL;
}

struct fold *
fold_start(struct store *s, int64_t keep_facts, const struct rules *rules)
{
	struct fold *f = xcalloc(1, sizeof *f);

	f->store = s;
	f->keep_facts = keep_facts;
	f->rules = *rules;
	f->wanted = true;
	pthread_mutex_init(&f->lock, NULL);
	clock_cond(&f->wake);
	start_clock(f);
	store_watch(s);
	adopt(f);
	if (pthread_create(&f->thread, NULL, run, f) != 0)
		fatal("cannot start the folding thread");
	pthread_setname_np(f->thread, "fold");
	return f;
}

void
fold_want(struct fold *f, const struct rules *rules)
{
	pthread_mutex_lock(&f->lock);
	f->rules = *rules;
	f->wanted = f->hurry = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

void
fold_stop(struct fold *f)
{
	if (f == NULL)
		return;
	pthread_mutex_lock(&f->lock);
	f->stopping = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
