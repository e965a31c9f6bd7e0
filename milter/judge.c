/*
 * judge.c -- what becomes of each recipient of a message.
 *
 * What a cap or the throttle allows is taken at once, before the message is
 * known to go out, and given back when it does not: of two messages that come
 * together one would else be too many.
 */
#include "milter/mail.h"

#include <stdlib.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define WHY_MAX 400

/* ---- sends that the state does not have yet ---- */

/* What is still reserved was not sent. */
void
judge_give_back(const struct mail *m, struct recipient *r)
{
	if (r->reserved != 0)
		recent_drop(m->with->recents, &r->who, r->reserved);
	r->reserved = 0;
	throttle_undo(m->with->throttle, &r->place);
}

/* As its touch will say it. */
static uint32_t
touch_second(int64_t now)
{
	return touch_seconds(&(struct touch){ .when = now });
}

#define SETTLED_LATER 60 /* seconds: a touch may be written late, after its message went on */

/* In order: what was put into the journal goes to the facts, and from there into the sums. */
static struct {
	pthread_mutex_t lock;
	_Atomic uint32_t next; /* not before */
	enum { ASK, MOVING, FOLDING } waits_for;
	uint32_t asked;
	uint64_t place, last;
} settling = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint32_t
steady_seconds(void)
{
	return (uint32_t)(clock_ms() / 1000) + 1;
}

/* Once a second whoever comes along finds out whether the state has caught up with some moment. */
static void
settle_recents(const struct filter *f, uint32_t now)
{
	struct writer_stats w;

	if (now < atomic_load_explicit(&settling.next, memory_order_relaxed) || pthread_mutex_trylock(&settling.lock) != 0)
		return;
	atomic_store_explicit(&settling.next, now + 1, memory_order_relaxed);
	writer_stats(f->writer, &w);
	if (settling.waits_for == ASK) {
		settling.asked = now;
		settling.place = w.journal.put;
		settling.waits_for = MOVING;
	}
	if (settling.waits_for == MOVING && w.journal.moved >= settling.place &&
	    (settling.last = store_last(f->store)) > 0)
		settling.waits_for = FOLDING;
	if (settling.waits_for == FOLDING && store_folded(f->store) >= settling.last) {
		recents_settled(f->recents, settling.asked > SETTLED_LATER ? settling.asked - SETTLED_LATER : 0);
		settling.waits_for = ASK;
	}
	pthread_mutex_unlock(&settling.lock);
}

static void
reserve(const struct mail *m, struct recipient *r, const struct stream *stream, uint64_t stream_id, int64_t now)
{
	struct recent recent[RECENT_FOUND];
	uint16_t tag = profile_tag(stream_id);

	if (r->reserved != 0 || who_is_nobody(&r->who) || stream->transactional)
		return;
	recent_open(m->with->recents, &r->who, tag, recent);
	r->reserved = recent_reserve(m->with->recents, &r->who, (struct recent){ touch_second(now), tag });
	recent_close(m->with->recents, &r->who);
}

void
judge_reserve_rest(struct mail *m, int64_t now)
{
	for (size_t i = 0; i < m->nrecipients; i++)
		if (m->recipient[i].action == ACTION_SEND && !m->recipient[i].again) {
			struct recipient *r = &m->recipient[i];
			const struct throttle_question t = { .setup = m->setup, .stream = m->stream, .stream_id = m->stream_id,
				.class = r->class, .receiver = r->receiver, .now = now };

			reserve(m, r, m->stream, m->stream_id, now);
			throttle_take(m->with->throttle, &t, &r->place);
		}
}

void
judge_keep(struct mail *m)
{
	uint32_t now = steady_seconds();

	for (size_t i = 0; i < m->nrecipients; i++) {
		struct recipient *r = &m->recipient[i];

		if (r->reserved != 0)
			recent_keep(m->with->recents, &r->who, r->reserved, now);
		r->reserved = 0;
		if (r->action != ACTION_SEND)
			throttle_undo(m->with->throttle, &r->place);
		r->place.taken = false;
	}
	settle_recents(m->with, now);
}

/* ---- deciding about a recipient ---- */

/* Is there room for one more now?  It is asked last, of those who would get the message. */
static bool
has_room(struct recipient *r, const struct mail *m, struct question *q, enum engage class, uint32_t first, bool taking)
{
	const struct throttle_question t = {
		.setup = m->setup,
		.stream = q->stream,
		.stream_id = q->stream_id,
		.class = class,
		.receiver = r->receiver,
		.first = first,
		.now = q->now,
		.look = !taking,
	};

	if (throttle_ask(m->with->throttle, &t, &r->place, &q->imposed_until))
		return true;
	q->imposed = CAUSE_THROTTLED;
	return false;
}

/* The verdict and, with taking set, the place under the caps are one step: two messages at once are two steps. */
static struct verdict
decide(struct recipient *r, const struct mail *m, struct question *q, bool taking)
{
	struct brakes_answer brakes;
	struct recent recent[RECENT_FOUND];
	uint16_t tag = profile_tag(q->stream_id);
	struct verdict v;

	if (who_is_nobody(q->who) || q->stream->transactional)
		return verdict_find(q);
	brakes_ask(m->with->brakes, q->stream, q->stream_id, m->campaign_id, r->receiver, q->now, &brakes);
	q->outage = brakes.spare;
	if (brakes.stop != BRAKE_NONE)
		q->imposed = CAUSE_BRAKED;
	q->recent = recent;
	q->nrecent = recent_open(m->with->recents, q->who, tag, recent);
	v = verdict_find(q);
	if (v.cause == CAUSE_NONE && !has_room(r, m, q, v.finding.class, brakes.first, taking))
		v = verdict_find(q);
	if (taking && action_goes_out(v.action))
		r->reserved = recent_reserve(m->with->recents, q->who, (struct recent){ touch_second(q->now), tag });
	recent_close(m->with->recents, q->who);
	q->recent = NULL;
	q->nrecent = 0;
	return v;
}

/* Such a cause comes of messages that were sent, and this very one may be among them. */
static bool
is_of_sends(enum cause c)
{
	return c == CAUSE_CAPPED || c == CAUSE_RESTING || c == CAUSE_NOT_DUE || c == CAUSE_SUNSET || c == CAUSE_THROTTLED ||
	    c == CAUSE_BRAKED;
}

/* By which transport, when it goes out. */
static const char *
route_of(const struct stream *stream, const struct verdict *v)
{
	if (!stream->enforce || stream->transactional)
		return "";
	if (v->action == ACTION_ROUTE)
		return stream->route_slow;
	return stream->route[stream->series ? ENGAGE_INACTIVE : v->finding.class];
}

void
judge_one(struct recipient *r, const struct mail *m, const struct stream *stream, uint64_t stream_id, int64_t now, bool taking)
{
	static struct log_rate rate;
	const struct setup *setup = m->setup;
	struct profile profile = { 0 };
	struct subscription subscription = { 0 };
	bool known = false, subscribed = false, unreadable = false;
	struct question q;
	struct verdict v;

	if (!addr_who(&setup->keys, span_of(r->address), &r->who))
		r->who = (struct who){ 0 };
	else if (store_person(m->with->store, &r->who, stream_id, &profile, &known, &subscription, &subscribed) != STORE_OK) {
		log_rated(&rate, "recipients cannot be looked up; mail goes on, untracked");
		known = subscribed = false;
		unreadable = true;
	}
	q = (struct question){
		.conf = setup->conf,
		.stream = stream,
		.stream_id = stream_id,
		.who = &r->who,
		.profile = known ? &profile : NULL,
		.subscription = subscribed ? &subscription : NULL,
		.now = now,
	};
	r->receiver = receivers_of(setup->receivers, span_of(r->address));
	v = decide(r, m, &q, taking && !m->tagged);
	if (m->tagged && is_of_sends(v.cause)) {
		v.cause = CAUSE_NONE;
		v.wanted = v.action = ACTION_SEND;
	}

	r->class = v.finding.class;
	r->cause = v.cause;
	r->would = v.wanted;
	r->action = v.action;
	r->holdout = v.holdout;
	r->spared = v.spared && v.cause == CAUSE_NONE;
	r->route = route_of(stream, &v);
	r->opens = v.opens;
	r->links = v.links;
	if (unreadable) {
		/* There may be a denial that we cannot read. */
		r->opens = mode_min(r->opens, conf_mode(setup->conf, stream, AXIS_OPENS, CONSENT_DENIED));
		r->links = mode_min(r->links, conf_mode(setup->conf, stream, AXIS_LINKS, CONSENT_DENIED));
	}
	if (r->would != ACTION_SEND) {
		struct buf why = BUF(WHY_MAX);

		verdict_explain(&why, &q, &v);
		r->why = buf_steal(&why);
	}
}

static int
by_who(const void *a, const void *b)
{
	const struct recipient *x = *(const struct recipient *const *)a, *y = *(const struct recipient *const *)b;
	int rc = memcmp(&x->who, &y->who, sizeof x->who);

	return rc != 0 ? rc : (x > y) - (x < y);
}

/*
 * Who stands there twice gets one message, and to delete one of the two
 * would delete both: the first decides.
 */
static void
find_again(struct mail *m)
{
	struct recipient **sorted;

	if (m->nrecipients < 2)
		return;
	sorted = xcalloc(m->nrecipients, sizeof *sorted);
	for (size_t i = 0; i < m->nrecipients; i++) {
		sorted[i] = &m->recipient[i];
		if (!addr_who(&m->setup->keys, span_of(sorted[i]->address), &sorted[i]->who))
			sorted[i]->who = (struct who){ 0 };
	}
	qsort(sorted, m->nrecipients, sizeof *sorted, by_who);
	for (size_t i = 1; i < m->nrecipients; i++)
		sorted[i]->again = !who_is_nobody(&sorted[i]->who) &&
		    memcmp(&sorted[i]->who, &sorted[i - 1]->who, sizeof sorted[i]->who) == 0;
	/* In that order each comes right behind the first of its kind. */
	for (size_t i = 0, first = 0; i < m->nrecipients; i++) {
		if (!sorted[i]->again)
			first = i;
		else
			sorted[i]->first = (size_t)(sorted[first] - m->recipient);
	}
	free(sorted);
}

/* A copy of what was found about the same person before. */
static void
judge_again(struct recipient *r, const struct recipient *first)
{
	char *address = r->address;
	size_t at = r->first;

	*r = *first;
	r->address = address;
	r->why = first->why != NULL ? xstrdup(first->why) : NULL;
	r->reserved = 0;
	r->place = (struct place){ 0 };
	r->again = true;
	r->first = at;
}

void
judge_all(struct mail *m, int64_t now)
{
	find_again(m);
	for (size_t i = 0; i < m->nrecipients; i++) {
		struct recipient *r = &m->recipient[i];

		if (r->again)
			judge_again(r, &m->recipient[r->first]);
		else
			judge_one(r, m, m->stream, m->stream_id, now, m->pass != PASS_FRONT);
	}
}
