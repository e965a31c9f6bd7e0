#include "common/throttle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/text.h"

#define DAY_MINUTES 1440
#define SEED_HOURS 25

/* What one stream sent: 18 kB, so that looking for another one passes it by. */
struct sent {
	uint64_t stream;
	struct pace *by; /* PACE_KINDS */
};

struct receiver {
	uint32_t id;
	struct pace *sent;
};

struct throttle {
	struct store *store;
	pthread_mutex_t lock;
	struct pace by[PACE_KINDS]; /* of all streams */
	struct sent *stream;        /* as many as send */
	size_t nstreams;
	struct receiver *receiver;
	size_t nreceivers;
	_Atomic uint64_t refused;
};

/* Good until the next one that is new. */
static struct sent *
sent_of(struct throttle *t, uint64_t stream)
{
	for (size_t i = 0; i < t->nstreams; i++)
		if (t->stream[i].stream == stream)
			return &t->stream[i];
	t->stream = xreallocarray(t->stream, t->nstreams + 1, sizeof *t->stream);
	t->stream[t->nstreams] = (struct sent){ stream, xcalloc(PACE_KINDS, sizeof(struct pace)) };
	return &t->stream[t->nstreams++];
}

static struct pace *
receiver_of(struct throttle *t, uint32_t id)
{
	for (size_t i = 0; i < t->nreceivers; i++)
		if (t->receiver[i].id == id)
			return t->receiver[i].sent;
	t->receiver = xreallocarray(t->receiver, t->nreceivers + 1, sizeof *t->receiver);
	t->receiver[t->nreceivers] = (struct receiver){ id, xcalloc(1, sizeof(struct pace)) };
	return t->receiver[t->nreceivers++].sent;
}

/* ---- what the store has ---- */

struct hour {
	uint32_t hour;
	enum volume_kind kind;
	uint64_t id;
	int64_t by[PACE_KINDS];
};

struct hours {
	struct hour *hour;
	size_t n, cap;
};

/* What of an hour is not counted here came from before us, or from another process. */
static uint32_t
missing(const struct pace *p, uint32_t hour, int64_t there)
{
	int64_t here = (int64_t)pace_sum(p, hour * 60, hour * 60 + 59);

	return there <= here || there > UINT32_MAX ? 0 : (uint32_t)(there - here);
}

static bool
read_hour(void *arg, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	struct hours *all = arg;
	struct hour h = { hour, kind, id, { [PACE_SEMI] = v->sent_class[ENGAGE_SEMI], [PACE_LOW] = v->series + v->sent_class[ENGAGE_INACTIVE] } };

	h.by[PACE_ALL] = h.by[PACE_SEMI] + h.by[PACE_LOW] + v->sent_class[ENGAGE_NEW] + v->sent_class[ENGAGE_ENGAGED];
	if (h.by[PACE_ALL] <= 0 || (kind == VOLUME_RECEIVER && id == 0))
		return true;
	if (all->n == all->cap) {
		all->cap = all->cap ? 2 * all->cap : 64;
		all->hour = xreallocarray(all->hour, all->cap, sizeof *all->hour);
	}
	all->hour[all->n++] = h;
	return true;
}

/* To the hour is all that is known; the later it counts, the longer the limits hold. */
static void
take_over(struct throttle *t, const struct hour *h, uint32_t minute)
{
	uint32_t at = h->hour * 60 + 59 < minute ? h->hour * 60 + 59 : minute;
	struct sent *sent;
	struct pace *p;

	if (h->kind == VOLUME_RECEIVER) {
		p = receiver_of(t, (uint32_t)h->id);
		pace_add(p, at, missing(p, h->hour, h->by[PACE_ALL]));
		return;
	}
	sent = sent_of(t, h->id);
	for (enum pace_kind k = 0; k < PACE_KINDS; k++) {
		uint32_t n = missing(&sent->by[k], h->hour, h->by[k]);

		pace_add(&sent->by[k], at, n);
		pace_add(&t->by[k], at, n);
	}
}

/* Mail waits for the lock, so the store is read before: what we send meanwhile is only the less that is missing. */
void
throttle_sync(struct throttle *t, int64_t now)
{
	uint32_t minute = (uint32_t)(now / 60000), hour = minute / 60;
	struct hours all = { 0 };

	store_each_volume(t->store, hour < SEED_HOURS ? 0 : hour - SEED_HOURS, hour, read_hour, &all);
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < all.n; i++)
		take_over(t, &all.hour[i], minute);
	pthread_mutex_unlock(&t->lock);
	free(all.hour);
}

struct throttle *
throttle_new(struct store *store)
{
	struct throttle *t = xcalloc(1, sizeof *t);

	t->store = store;
	pthread_mutex_init(&t->lock, NULL);
	throttle_sync(t, clock_read(CLOCK_REALTIME));
	return t;
}

/* ---- asking ---- */

/* The warm-up's volume of this day; false: none holds. */
static bool
warmup_of(const struct stream *stream, uint32_t day, struct warmup *w)
{
	int64_t start;
	uint32_t first;

	if (stream->warmup_start[0] == '\0' || !text_time(span_of(stream->warmup_start), &start))
		return false;
	first = (uint32_t)(start / DAY_MS);
	if (day < first || day - first >= stream->warmup.n)
		return false;
	*w = (struct warmup){ .second_half = 2 * (size_t)(day - first) >= stream->warmup.n, .share_semi = stream->policy.share_semi,
		.share_inactive = stream->policy.share_inactive };
	return text_u64(span_of(stream->warmup.item[day - first]), &w->volume);
}

static bool
warms_up(const struct throttle_question *q, const struct sent *sent, enum pace_kind kind, uint32_t *until)
{
	uint32_t minute = (uint32_t)(q->now / 60000), day = minute / DAY_MINUTES;
	uint64_t today[PACE_KINDS];
	struct warmup w;

	if (!warmup_of(q->stream, day, &w))
		return true;
	for (enum pace_kind k = 0; k < PACE_KINDS; k++)
		today[k] = pace_sum(&sent->by[k], day * DAY_MINUTES, minute);
	*until = (day + 1) * 86400;
	return pace_warm(&w, kind, today);
}

/* A share has no moment at which it is free: more mail to engaged recipients makes room. */
static bool
has_share(const struct throttle *t, const struct throttle_question *q, enum pace_kind kind)
{
	const struct policy *p = &q->stream->policy;
	uint32_t minute = (uint32_t)(q->now / 60000), from = minute - DAY_MINUTES;
	unsigned share = kind == PACE_SEMI ? p->share_semi : p->share_inactive;

	return kind == PACE_ALL || share >= 10000 ||
	    pace_share(pace_sum(&t->by[kind], from, minute), pace_sum(&t->by[PACE_ALL], from, minute), share, p->share_min);
}

static bool
comes_first(const struct throttle_question *q, uint32_t *until)
{
	int64_t start = (int64_t)q->first * 1000 + q->stream->policy.head_start;

	if (q->stream->policy.head_start == 0 || q->class == ENGAGE_ENGAGED || q->first == 0 || q->now >= start)
		return true;
	*until = (uint32_t)((start + 999) / 1000);
	return false;
}

static bool
has_room(struct throttle *t, const struct throttle_question *q, const struct sent *sent, enum pace_kind kind, uint32_t *until)
{
	struct receiver_limit limit;

	if (!comes_first(q, until) || !warms_up(q, sent, kind, until))
		return false;
	*until = 0;
	if (!has_share(t, q, kind))
		return false;
	if (receivers_limit(q->setup->receivers, q->receiver, &limit))
		*until = pace_free(receiver_of(t, q->receiver), limit.count, limit.seconds / 60, (uint32_t)(q->now / 1000));
	return *until == 0;
}

/* With the lock. */
static void
take(struct throttle *t, const struct throttle_question *q, struct sent *sent, enum pace_kind kind, struct place *place)
{
	uint32_t minute = (uint32_t)(q->now / 60000);

	*place = (struct place){ true, kind, minute, q->receiver, q->stream_id };
	for (enum pace_kind k = 0; k < PACE_KINDS; k++)
		if (k == PACE_ALL || k == kind) {
			pace_add(&sent->by[k], minute, 1);
			pace_add(&t->by[k], minute, 1);
		}
	if (q->receiver != 0)
		pace_add(receiver_of(t, q->receiver), minute, 1);
}

bool
throttle_ask(struct throttle *t, const struct throttle_question *q, struct place *place, uint32_t *until)
{
	enum pace_kind kind = pace_kind(q->class, q->stream->series);
	struct sent *sent;
	bool good;

	*place = (struct place){ 0 };
	*until = 0;
	if (q->stream->transactional)
		return true;
	pthread_mutex_lock(&t->lock);
	sent = sent_of(t, q->stream_id);
	good = has_room(t, q, sent, kind, until);
	if (good && !q->look)
		take(t, q, sent, kind, place);
	pthread_mutex_unlock(&t->lock);
	if (!good)
		atomic_fetch_add(&t->refused, 1);
	return good;
}

void
throttle_take(struct throttle *t, const struct throttle_question *q, struct place *place)
{
	if (place->taken || q->stream->transactional)
		return;
	pthread_mutex_lock(&t->lock);
	take(t, q, sent_of(t, q->stream_id), pace_kind(q->class, q->stream->series), place);
	pthread_mutex_unlock(&t->lock);
}

void
throttle_undo(struct throttle *t, struct place *p)
{
	struct sent *sent;

	if (!p->taken)
		return;
	pthread_mutex_lock(&t->lock);
	sent = sent_of(t, p->stream);
	for (enum pace_kind k = 0; k < PACE_KINDS; k++)
		if (k == PACE_ALL || k == p->kind) {
			pace_take(&sent->by[k], p->minute, 1);
			pace_take(&t->by[k], p->minute, 1);
		}
	if (p->receiver != 0)
		pace_take(receiver_of(t, p->receiver), p->minute, 1);
	pthread_mutex_unlock(&t->lock);
	p->taken = false;
}

uint64_t
throttle_count(struct throttle *t)
{
	return atomic_load(&t->refused);
}
