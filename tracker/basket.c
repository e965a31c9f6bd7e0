/* basket.c -- copies: the task that made them serves the next hit at once, while it is warm. */
#include "tracker/basket.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/token.h"
#include "tracker/hit.h"

#define WITHIN_MS 2 /* of the first touch in it */
#define RECORDS 64
#define NAMES 8192
#define SPARE 16
static_assert(RECORDS >= HIT_RECORDS && NAMES >= HIT_RECORDS * TOKEN_DESTINATION_MAX, "what one hit has to say fits");

struct basket {
	struct deed deed; /* first, so that one can be had from the other */
	struct basket *next; /* of the spare ones */
	struct baskets *of;
	uint64_t hits; /* that they are of */
	struct record record[RECORDS];
	char *end; /* of names in use */
	char names[NAMES];
};

void
basket_refused(void)
{
	static struct log_rate refused;

	log_rated(&refused, "store: too many touches wait to be written; hits are answered but not recorded");
}

static void
put(struct basket *b, bool kept)
{
	struct baskets *all = b->of;

	if (!kept)
		atomic_fetch_add(all->unrecorded, b->hits);
	pthread_mutex_lock(&all->lock);
	all->out--;
	if (all->nspare < SPARE) {
		b->next = all->spare;
		all->spare = b;
		all->nspare++;
		b = NULL;
	}
	pthread_mutex_unlock(&all->lock);
	free(b);
}

/* On the writer's thread. */
static void
basket_done(struct deed *d, bool kept)
{
	struct basket *b = (struct basket *)d;
	struct baskets *all = b->of;
	bool last = d->next == NULL;

	put(b, kept);
	if (last)
		all->last(all->arg);
}

static struct basket *
take(struct baskets *all)
{
	struct basket *b;

	pthread_mutex_lock(&all->lock);
	if ((b = all->spare) != NULL) {
		all->spare = b->next;
		all->nspare--;
	}
	all->out++;
	pthread_mutex_unlock(&all->lock);
	if (b == NULL)
		b = xmalloc(sizeof *b);
	b->deed = (struct deed){ .done = basket_done, .kept = true, .record = b->record };
	b->of = all;
	b->hits = 0;
	b->end = b->names;
	return b;
}

void
baskets_give(struct baskets *all)
{
	struct basket *b = all->now;

	if (b == NULL)
		return;
	all->now = NULL;
	if (!writer_add(all->writer, &b->deed)) {
		basket_refused();
		put(b, false);
	}
}

static void
set_timer(struct baskets *all)
{
	static const struct timeval within = { 0, WITHIN_MS * 1000 };

	if (all->timed)
		return;
	all->timed = true;
	evtimer_add(&all->timer, &within);
}

/* While the disk hangs only full ones are given: else each of WRITER_WAITING_MAX touches might take one for itself. */
static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct baskets *all = arg;
	bool hangs;

	(void)fd;
	(void)what;
	all->timed = false;
	if (all->now == NULL)
		return;
	pthread_mutex_lock(&all->lock);
	hangs = all->out > SPARE;
	pthread_mutex_unlock(&all->lock);
	if (hangs)
		set_timer(all);
	else
		baskets_give(all);
}

void
baskets_init(struct baskets *all, struct event_base *base, struct writer *writer, _Atomic uint64_t *unrecorded, void (*last)(void *),
    void *arg)
{
	*all = (struct baskets){ .writer = writer, .unrecorded = unrecorded, .last = last, .arg = arg };
	pthread_mutex_init(&all->lock, NULL);
	evtimer_assign(&all->timer, base, on_timer, all);
}

void
baskets_keep(struct baskets *all, const struct record *r, size_t n)
{
	struct basket *b = all->now;
	size_t names = 0;

	for (size_t i = 0; i < n; i++)
		names += record_names(&r[i]);
	if (b != NULL && (b->deed.n + n > RECORDS || names > (size_t)(b->names + NAMES - b->end)))
		baskets_give(all);
	if (all->now == NULL)
		all->now = take(all);
	b = all->now;
	for (size_t i = 0; i < n; i++)
		b->end = record_copy(&b->record[b->deed.n++], &r[i], b->end);
	b->hits++;
	/* Two lines of the cache, so that the next one's place is near by then. */
	__builtin_prefetch(b->record + b->deed.n, 1);
	__builtin_prefetch((char *)(b->record + b->deed.n) + 64, 1);
	set_timer(all);
}

void
baskets_free(struct baskets *all)
{
	struct basket *b;

	while ((b = all->spare) != NULL) {
		all->spare = b->next;
		free(b);
	}
	pthread_mutex_destroy(&all->lock);
}
