#include "common/fold.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/engage.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/text.h"

#define BATCH 8192       /* touches in one transaction */
#define TIDY_BATCH 20000 /* touches looked at in one go */
#define HOUR_MS ((int64_t)3600 * 1000)
#define CATCH_UP 24      /* how much faster than time itself a clock that is ahead is believed */

/* One touch of the batch, with what the first pass finds out for the second. */
struct item {
	struct touch touch;
	bool new_clicker_all, new_clicker_human; /* of its link */
};

struct batch {
	struct fold_txn *txn;
	struct item *item;
	size_t n;
	enum store_result result; /* the first failure; nothing is done after it */
};

static bool
failed(struct batch *b, enum store_result r)
{
	if (r != STORE_OK && r != STORE_NONE && b->result == STORE_OK)
		b->result = r;
	return b->result != STORE_OK;
}

/* ---- people: the batch in the order of who ---- */

static int
by_who(const void *a, const void *b)
{
	return memcmp(&((const struct item *)a)->touch.who, &((const struct item *)b)->touch.who, sizeof(struct who));
}

static void
add_subscription(struct batch *b, const struct touch *t)
{
	struct subscription sub;

	if (failed(b, fold_get_subscription(b->txn, &t->who, t->stream, &sub)))
		return;
	subscription_add(&sub, t);
	failed(b, fold_put_subscription(b->txn, &t->who, t->stream, &sub));
}

/* The run of one recipient's touches that starts at i; returns where the next one starts. */
static size_t
add_person(struct batch *b, size_t i)
{
	const struct who *who = &b->item[i].touch.who;
	struct profile p;
	size_t end = i;

	if (failed(b, fold_get_person(b->txn, who, &p)))
		return b->n;
	for (; end < b->n && who_eq(who, &b->item[end].touch.who); end++) {
		const struct touch *t = &b->item[end].touch;

		if (touch_is_subscription(t))
			add_subscription(b, t);
		profile_add(&p, t);
	}
	failed(b, fold_put_person(b->txn, who, &p));
	return end;
}

static void
add_people(struct batch *b)
{
	qsort(b->item, b->n, sizeof *b->item, by_who);
	for (size_t i = 0; i < b->n && b->result == STORE_OK;) {
		if (who_is_nobody(&b->item[i].touch.who) || b->item[i].touch.kind == 0)
			i++;
		else
			i = add_person(b, i);
	}
}

/* ---- campaigns: in the order of campaign, who ---- */

static int
by_campaign(const void *a, const void *b)
{
	const struct touch *s = &((const struct item *)a)->touch, *t = &((const struct item *)b)->touch;

	if (s->campaign != t->campaign)
		return s->campaign < t->campaign ? -1 : 1;
	return memcmp(&s->who, &t->who, sizeof s->who);
}

static void
add_sent(struct campaign *c, const struct touch *t)
{
	uint32_t when = touch_seconds(t);

	c->sent++;
	if (t->detail < ENGAGE_CLASSES)
		c->sent_class[t->detail]++;
	if (t->flags & TOUCH_TRACKED)
		c->tracked++;
	if (t->flags & TOUCH_OBSERVED)
		c->would_skip++;
	if (c->first == 0 || when < c->first)
		c->first = when;
	if (when > c->last)
		c->last = when;
}

/* Keeps the earliest; true when there was none before. */
static bool
first_time(uint32_t *first, uint32_t when)
{
	bool none = *first == 0;

	if (none || when < *first)
		*first = when;
	return none;
}

/* What makes opens and clicks unique: each recipient counts once, whichever touch is folded first. */
static void
add_firsts(struct batch *b, struct campaign *c, struct item *item)
{
	const struct touch *t = &item->touch;
	bool human = robot_is_human(t->verdict), opened_all, opened_human;
	uint32_t when = touch_seconds(t);
	struct firsts f;

	if (failed(b, fold_get_firsts(b->txn, t->campaign, &t->who, 0, &f)))
		return;
	opened_all = f.opened_all != 0 || f.clicked_all != 0;
	opened_human = f.opened_human != 0 || f.clicked_human != 0;
	if (t->kind == TOUCH_OPEN) {
		first_time(&f.opened_all, when);
		if (human)
			first_time(&f.opened_human, when);
	} else if (t->kind == TOUCH_CLICK) {
		c->clickers_all += first_time(&f.clicked_all, when);
		if (human)
			c->clickers_human += first_time(&f.clicked_human, when);
	} else
		c->left += first_time(&f.left, when);
	/* A click implies an open: image blocking hides the pixel, not the reader. */
	c->openers_all += !opened_all && (f.opened_all != 0 || f.clicked_all != 0);
	c->openers_human += !opened_human && (f.opened_human != 0 || f.clicked_human != 0);
	if (failed(b, fold_put_firsts(b->txn, t->campaign, &t->who, 0, &f)) || t->kind != TOUCH_CLICK || t->link == 0)
		return;
	if (failed(b, fold_get_firsts(b->txn, t->campaign, &t->who, t->link, &f)))
		return;
	item->new_clicker_all = first_time(&f.clicked_all, when);
	if (human)
		item->new_clicker_human = first_time(&f.clicked_human, when);
	failed(b, fold_put_firsts(b->txn, t->campaign, &t->who, t->link, &f));
}

static void
add_to_campaign(struct batch *b, struct campaign *c, struct item *item)
{
	const struct touch *t = &item->touch;
	bool human = robot_is_human(t->verdict);

	/* All touches of a campaign name the same stream; a maximum commutes whatever they say. */
	if (t->stream > c->stream)
		c->stream = t->stream;
	switch (t->kind) {
	case TOUCH_SENT:
		add_sent(c, t);
		return;
	case TOUCH_SKIPPED:
		c->skipped++;
		return;
	case TOUCH_OPEN:
		c->opens_all++;
		c->opens_human += human;
		break;
	case TOUCH_CLICK:
		c->clicks_all++;
		c->clicks_human += human;
		break;
	case TOUCH_LEFT:
		break;
	default:
		return;
	}
	if (!who_is_nobody(&t->who))
		add_firsts(b, c, item);
}

static void
add_campaigns(struct batch *b)
{
	qsort(b->item, b->n, sizeof *b->item, by_campaign);
	for (size_t i = 0; i < b->n && b->result == STORE_OK;) {
		uint64_t id = b->item[i].touch.campaign;
		struct campaign c;

		if (id == 0) {
			i++;
			continue;
		}
		if (failed(b, fold_get_campaign(b->txn, id, &c)))
			return;
		for (; i < b->n && b->item[i].touch.campaign == id && b->result == STORE_OK; i++)
			add_to_campaign(b, &c, &b->item[i]);
		failed(b, fold_put_campaign(b->txn, id, &c));
	}
}

/* ---- links: in the order of campaign, link ---- */

static int
by_link(const void *a, const void *b)
{
	const struct touch *s = &((const struct item *)a)->touch, *t = &((const struct item *)b)->touch;

	if (s->campaign != t->campaign)
		return s->campaign < t->campaign ? -1 : 1;
	return s->link < t->link ? -1 : s->link > t->link;
}

static bool
is_link_click(const struct touch *t)
{
	return t->kind == TOUCH_CLICK && t->campaign != 0 && t->link != 0;
}

static void
add_links(struct batch *b)
{
	qsort(b->item, b->n, sizeof *b->item, by_link);
	for (size_t i = 0; i < b->n && b->result == STORE_OK;) {
		const struct touch *first = &b->item[i].touch;
		struct link_count c;

		if (!is_link_click(first)) {
			i++;
			continue;
		}
		if (failed(b, fold_get_link(b->txn, first->campaign, first->link, &c)))
			return;
		for (; i < b->n && b->item[i].touch.campaign == first->campaign && b->item[i].touch.link == first->link; i++) {
			const struct item *item = &b->item[i];

			if (!is_link_click(&item->touch))
				continue;
			c.clicks_all++;
			c.clicks_human += robot_is_human(item->touch.verdict);
			c.clickers_all += item->new_clicker_all;
			c.clickers_human += item->new_clicker_human;
		}
		failed(b, fold_put_link(b->txn, first->campaign, first->link, &c));
	}
}

/* ---- what stayed of touches that were taken out of the facts (store_tidy) ---- */

/* Maxima only: to add one that is still among the facts, or twice, changes nothing. */
static bool
add_kept(void *arg, const struct touch *t)
{
	struct batch *b = arg;
	struct profile p;

	if (failed(b, fold_get_person(b->txn, &t->who, &p)))
		return false;
	if (touch_is_subscription(t))
		add_subscription(b, t);
	profile_add(&p, t);
	return !failed(b, fold_put_person(b->txn, &t->who, &p));
}

/* ---- one batch ---- */

static enum store_result
fold_batch(struct store *s, struct batch *b, uint64_t before, uint64_t after)
{
	uint64_t folded;

	if ((b->txn = fold_begin(s, &folded)) == NULL)
		return STORE_ERROR;
	if (folded != before) {
		fold_abort(b->txn);
		return STORE_MOVED;
	}
	/* An empty state is a new one or a lost one: then what stayed comes back first. */
	if (before == 0)
		failed(b, store_each_kept(s, add_kept, b));
	if (b->result == STORE_OK)
		add_people(b);
	if (b->result == STORE_OK)
		add_campaigns(b);
	if (b->result == STORE_OK)
		add_links(b);
	if (b->result == STORE_OK)
		return fold_commit(b->txn, after);
	fold_abort(b->txn);
	return b->result;
}

enum store_result
fold_some(struct store *s, size_t max, size_t *n)
{
	uint64_t before = store_folded(s), after = before;
	struct numbered *touches = xreallocarray(NULL, max, sizeof *touches);
	struct batch b = { .result = STORE_OK };
	enum store_result r;

	*n = 0;
	if ((r = store_touches(s, before, touches, max, &b.n)) != STORE_OK)
		goto out;
	if (b.n > 0)
		after = touches[b.n - 1].seq;
	else if (before == 0)
		after = store_last(s); /* all touches were taken out, but something may have stayed of them */
	if (after == before) {
		r = STORE_NONE;
		goto out;
	}
	b.item = xcalloc(b.n, sizeof *b.item);
	for (size_t i = 0; i < b.n; i++)
		b.item[i].touch = touches[i].touch;
	if ((r = fold_batch(s, &b, before, after)) == STORE_OK)
		*n = b.n;
	free(b.item);
out:
	free(touches);
	return r;
}

enum store_result
fold_all(struct store *s)
{
	enum store_result r;
	size_t n;

	do
		r = fold_some(s, BATCH, &n);
	while (r == STORE_OK || r == STORE_MOVED);
	return r == STORE_NONE ? STORE_OK : r;
}

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
	int64_t believed, stored; /* the time by which is pruned: now, and as it is on disk */
	int64_t passed;           /* CLOCK_BOOTTIME then */
	int64_t watched;          /* when the store was looked after */
};

static int64_t
clock_ms(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * A store that knows no time yet, an empty one or one from before, believes
 * its last touch, if that is not later than the clock.
 */
static void
start_clock(struct fold *f)
{
	int64_t clock = clock_ms(CLOCK_REALTIME);
	struct numbered last;
	uint64_t seq = store_last(f->store);
	size_t n = 0;

	f->passed = clock_ms(CLOCK_BOOTTIME);
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
	int64_t clock = clock_ms(CLOCK_REALTIME), passed = clock_ms(CLOCK_BOOTTIME);

	f->believed = fold_believe(f->believed, clock, passed - f->passed);
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
	struct timespec until;
	int rc = 0;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	pthread_mutex_lock(&f->lock);
	while (!f->stopping && rc == 0)
		rc = pthread_cond_timedwait(&f->wake, &f->lock, &until);
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

static void
tidy(struct fold *f)
{
	struct tidy how;
	enum store_result r;
	bool more;

	believe(f);
	how = (struct tidy){ .before = f->believed - f->keep_facts, .future = clock_ms(CLOCK_REALTIME) + DAY_MS };
	do
		r = store_tidy(f->store, &how, TIDY_BATCH, &more);
	while (r == STORE_OK && more && !is_stopping(f));
}

/* Every second, also while there is much to sum up. */
static void
look_after(struct fold *f)
{
	int64_t now = clock_ms(CLOCK_MONOTONIC);

	if (now < f->watched + 1000)
		return;
	f->watched = now;
	store_watch(f->store);
}

static void *
run(void *arg)
{
	struct fold *f = arg;
	enum store_result r;
	size_t n;

	do {
		do {
			r = fold_some(f->store, BATCH, &n);
			look_after(f);
		} while ((r == STORE_OK || r == STORE_MOVED) && !is_stopping(f));
		tidy(f);
	} while (!pause_or_stop(f));
	return NULL;
}

struct fold *
fold_start(struct store *s, int64_t keep_facts)
{
	struct fold *f = xcalloc(1, sizeof *f);
	pthread_condattr_t attr;

	f->store = s;
	f->keep_facts = keep_facts;
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->wake, &attr);
	pthread_condattr_destroy(&attr);
	start_clock(f);
	store_watch(s);
	if (pthread_create(&f->thread, NULL, run, f) != 0)
		fatal("cannot start the folding thread");
	pthread_setname_np(f->thread, "fold");
	return f;
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
