/*
 * policy.h -- what the policy promises, of any life and any policy that bytes can spell: for a test over
 * random bytes, and for a fuzzer.
 */
#ifndef REKINDLE_POLICY_H
#define REKINDLE_POLICY_H

#include <stdlib.h>

#include "common/verdict.h"

#define LIFE_TOUCHES 80
#define LIFE_DAY ((int64_t)86400)
#define LIFE_NOW INT64_C(1767268800) /* 2026-01-01T12:00:00Z, seconds */
#define LIFE_NEWS 7
#define LIFE_OTHER 8
#define LIFE_SERIES 9

/* Somebody's touches, none of them later than now, and what is asked about them. */
struct life {
	struct touch touch[LIFE_TOUCHES];
	size_t n;
	int64_t now; /* seconds */
	char name[8];
	struct stream stream, series;
	struct conf conf;
	struct who who;
};

/* ---- bytes ---- */

struct life_bytes {
	const uint8_t *p;
	size_t n;
};

/* 0 when there are no more. */
static inline unsigned
life_byte(struct life_bytes *b)
{
	if (b->n == 0)
		return 0;
	b->n--;
	return *b->p++;
}

static inline unsigned
life_below(struct life_bytes *b, unsigned n)
{
	unsigned v = life_byte(b);

	return (v << 8 | life_byte(b)) % n;
}

/* Clicks fall on the same second of a minute, so that no two of a minute are apart. */
static inline struct touch
life_touch(struct life_bytes *b, int64_t now, unsigned some)
{
	/* All of them, or the first ones: with so many that stop everything nobody would ever be inactive. */
	static const uint8_t kinds[] = { TOUCH_SENT, TOUCH_SENT, TOUCH_SENT, TOUCH_SENT, TOUCH_SENT, TOUCH_SENT, TOUCH_SOFT_BOUNCED,
		TOUCH_OPEN, TOUCH_OPEN, TOUCH_OPEN, TOUCH_CLICK, TOUCH_CLICK, TOUCH_KEPT, TOUCH_LESS, TOUCH_LEFT, TOUCH_JOINED, TOUCH_BOUNCED, TOUCH_COMPLAINED,
		TOUCH_HELD, TOUCH_RELEASED, TOUCH_DELIVERED, TOUCH_SKIPPED };
	static const uint8_t verdicts[] = { ROBOT_HUMAN, ROBOT_PROXY_OPEN, ROBOT_PRIVACY_OPEN, ROBOT_PRIVACY_OPEN, ROBOT_SCANNER,
		ROBOT_SUSPECT, ROBOT_PREFETCH, ROBOT_PREVIEW };
	unsigned kind = life_byte(b), how = life_byte(b), days = life_byte(b);
	struct touch t = {
		.kind = kinds[kind % some],
		.verdict = verdicts[how % sizeof verdicts],
		.mode = how & 0x70 ? MODE_IDENTIFIED : MODE_DAYONLY,
		.stream = how & 0x80 ? LIFE_NEWS : how & 8 ? LIFE_OTHER : 0,
		.detail = how & 1 ? BOUNCE_POLICY : BOUNCE_SOFT,
	};
	int64_t at = now - (int64_t)(days * days / (kind & 0x80 ? 40 : 400)) * LIFE_DAY - (int64_t)life_below(b, 1440) * 60;

	if (t.kind == TOUCH_SENT) {
		if (t.stream == 0)
			t.stream = LIFE_SERIES;
		t.flags = (uint8_t)((how & 7 ? TOUCH_TRACKED : 0) | (t.stream == LIFE_SERIES ? TOUCH_SERIES : 0) | (how == 1 ? TOUCH_EXEMPT : 0));
		t.sent = how & 3;
	} else if (t.kind == TOUCH_HELD && how & 1)
		t.sent = (uint32_t)(at + (int64_t)(how & 0x7e) * LIFE_DAY);
	/* Of a day nothing but the day is told. */
	if ((t.kind == TOUCH_OPEN || t.kind == TOUCH_CLICK) && t.mode == MODE_DAYONLY) {
		at -= at % LIFE_DAY;
		t.verdict = ROBOT_NONE;
	}
	t.when = at * 1000;
	return t;
}

static inline struct caps
life_caps(struct life_bytes *b)
{
	static const uint32_t windows[] = { 1, 60, 3600, 16 * 3600, 86400, 3 * 86400, 7 * 86400, 30 * 86400 };
	struct caps caps = { .n = life_byte(b) % 4 };

	for (size_t i = 0; i < caps.n; i++)
		caps.cap[i] = (struct cap){ 1 + life_byte(b) % CAP_COUNT_MAX, windows[life_byte(b) % 8] };
	return caps;
}

/* One that the settings could say; half of the time a preset's. */
static inline struct policy
life_policy(struct life_bytes *b)
{
	struct policy p = policy_preset((enum preset)(life_byte(b) % 4));

	p.settle = life_byte(b) % 2 ? 120 : life_below(b, SETTLE_MAX + 1);
	p.holdout = life_byte(b) % 4 ? 0 : life_below(b, 1001);
	if (life_byte(b) % 2)
		return p;
	p.engaged_days = 1 + life_byte(b);
	p.semi_days = p.engaged_days + 1 + life_byte(b);
	p.inactive_min_sends = 1 + life_byte(b) % PROFILE_SENDS;
	p.inactive_min_sends_engaged = 1 + life_byte(b) % PROFILE_SENDS;
	p.new_days = 1 + life_byte(b);
	p.new_max_days = p.new_days + life_byte(b);
	p.new_min_sends = 1 + life_byte(b) % PROFILE_SENDS;
	for (size_t i = 0; i < CAPS_KINDS; i++)
		p.caps[i] = life_caps(b);
	for (size_t i = 0; i < ENGAGE_CLASSES; i++)
		p.stream_caps[i] = life_caps(b);
	p.soft_bounces = life_byte(b) % (PROFILE_SOFT + 1);
	p.soft_bounce_days = 1 + life_byte(b) % 90;
	p.series = life_byte(b) % 4 != 0;
	p.rest_days = life_byte(b) % 90;
	p.series_steps = 1 + life_byte(b) % 3;
	p.series_gap_days = 1 + life_byte(b) % 30;
	p.series_wait_days = 1 + life_byte(b) % 30;
	p.winback_days = life_byte(b) % 3 ? 0 : 1 + life_byte(b);
	for (size_t i = CAUSE_NONE + 1; i < CAUSES; i++)
		p.on[i] = (enum action)(life_byte(b) % (ACTION_ROUTE + 1));
	return p;
}

static inline void
life_make(struct life *l, struct span bytes)
{
	struct life_bytes b = { (const uint8_t *)bytes.p, bytes.n };
	unsigned how = life_byte(&b), some = (const unsigned[]){ 22, 12, 10, 6, 7, 12, 14, 7 }[life_byte(&b) % 8];

	*l = (struct life){ .now = LIFE_NOW, .name = "news", .conf = { .privacy_profile = PRIVACY_CLASSIC } };
	l->who.b[0] = 1;
	l->who.b[12] = (uint8_t)life_byte(&b);
	l->who.b[13] = (uint8_t)(how >> 6);
	l->stream = (struct stream){ .name = l->name, .policy = life_policy(&b), .enforce = how & 1, .transactional = (how & 0x1e) == 0x1e,
		.opens = MODE_FULL, .links = MODE_FULL };
	l->series = l->stream;
	l->series.series = true;
	l->series.transactional = false;
	while (b.n > 0 && l->n < LIFE_TOUCHES)
		l->touch[l->n++] = life_touch(&b, l->now, some);
}

static inline struct profile
life_profile(const struct life *l)
{
	struct profile p = { 0 };

	for (size_t i = 0; i < l->n; i++)
		profile_add(&p, &l->touch[i]);
	return p;
}

static inline struct subscription
life_subscription(const struct life *l)
{
	struct subscription s = { 0 };

	for (size_t i = 0; i < l->n; i++)
		if (l->touch[i].stream == LIFE_NEWS)
			subscription_add(&s, &l->touch[i]);
	return s;
}

/* ---- the classes, from the touches and not from their sum ---- */

struct life_facts {
	int64_t opened, clicked; /* the last moment of each that counts; 0 never.  Of a day its last second */
	int64_t affirmed, first;
	unsigned sends, silent; /* tracked; silent among the newest that are kept */
	bool opaque;
};

static inline bool
life_is_human(const struct touch *t)
{
	return t->verdict == ROBOT_HUMAN || t->verdict == ROBOT_PROXY_OPEN;
}

static inline int
life_newest_first(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? 1 : *x > *y ? -1 : 0;
}

/* Opens to two seconds, the human one of two: that is what a profile keeps. */
static inline bool
life_opaque(const struct life *l)
{
	uint32_t opens[LIFE_TOUCHES];
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct touch *t = &l->touch[i];

		if (t->kind == TOUCH_OPEN && t->mode >= MODE_IDENTIFIED && (life_is_human(t) || t->verdict == ROBOT_PRIVACY_OPEN))
			opens[n++] = ((uint32_t)(t->when / 1000) & ~1u) | life_is_human(t);
	}
	qsort(opens, n, sizeof *opens, life_newest_first);
	for (size_t i = 0; i < PROFILE_OPENS; i++)
		if (i >= n || opens[i] & 1)
			return false;
	return true;
}

static inline void
life_latest(int64_t *most, int64_t v)
{
	if (v > *most)
		*most = v;
}

static inline struct life_facts
life_look(const struct life *l)
{
	struct life_facts f = { .opaque = life_opaque(l) };
	int64_t day = 0, silent_since, opens_on_day = 0;
	uint32_t sent[LIFE_TOUCHES];
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct touch *t = &l->touch[i];
		int64_t at = t->when / 1000;
		bool hit = t->kind == TOUCH_OPEN || t->kind == TOUCH_CLICK;

		if (!(hit && t->mode == MODE_DAYONLY) && (f.first == 0 || at < f.first))
			f.first = at;
		if (t->kind == TOUCH_KEPT || t->kind == TOUCH_LESS || t->kind == TOUCH_JOINED)
			life_latest(&f.affirmed, at);
		if (t->kind == TOUCH_KEPT || t->kind == TOUCH_LESS)
			life_latest(&f.clicked, at);
		else if (hit && t->mode == MODE_DAYONLY)
			life_latest(&day, at);
		else if (t->kind == TOUCH_OPEN && life_is_human(t))
			life_latest(&f.opened, at);
		else if (t->kind == TOUCH_CLICK && life_is_human(t) && l->now - at >= l->stream.policy.settle)
			life_latest(&f.clicked, at);
		f.sends += t->kind == TOUCH_SENT && t->flags & TOUCH_TRACKED;
	}
	/* A day is kept as its midnight, which an open of that day that is kept exactly outweighs. */
	for (size_t i = 0; i < l->n; i++) {
		const struct touch *t = &l->touch[i];

		opens_on_day |= t->kind == TOUCH_OPEN && t->mode >= MODE_IDENTIFIED && life_is_human(t) && t->when / 1000 / LIFE_DAY == day / LIFE_DAY;
	}
	if (day > f.opened && day != 0)
		f.opened = day + (opens_on_day ? 0 : LIFE_DAY - 1);
	silent_since = f.opened > f.clicked ? f.opened : f.clicked;
	life_latest(&silent_since, f.affirmed);
	for (size_t i = 0; i < l->n; i++)
		if (l->touch[i].kind == TOUCH_SENT && !(l->touch[i].flags & TOUCH_EXEMPT))
			sent[n++] = ((uint32_t)(l->touch[i].when / 1000) & ~1u) | ((l->touch[i].flags & TOUCH_TRACKED) != 0);
	qsort(sent, n, sizeof *sent, life_newest_first);
	for (size_t i = 0; i < n && i < PROFILE_SENDS; i++)
		f.silent += (sent[i] & ~1u) > silent_since && sent[i] & 1;
	return f;
}

/* What makes each class, each by itself: exactly one of them is true. */
static inline void
life_classes(const struct life *l, bool is[ENGAGE_CLASSES])
{
	const struct policy *p = &l->stream.policy;
	struct life_facts f = life_look(l);
	unsigned twice = f.opaque ? 2 : 1;
	bool ever = f.opened != 0 || f.clicked != 0;
	bool recent = (f.opened != 0 && l->now - f.opened <= p->engaged_days * LIFE_DAY) ||
	    (f.clicked != 0 && l->now - f.clicked <= twice * p->engaged_days * LIFE_DAY);
	bool cooling = (f.opened != 0 && l->now - f.opened <= p->semi_days * LIFE_DAY) ||
	    (f.clicked != 0 && l->now - f.clicked <= twice * p->semi_days * LIFE_DAY);
	int64_t known = f.first != 0 ? l->now - f.first : 0;
	bool fresh = !ever && known < twice * p->new_max_days * LIFE_DAY &&
	    (known < twice * p->new_days * LIFE_DAY || f.sends < p->new_min_sends);
	bool silent = f.silent >= (ever ? p->inactive_min_sends_engaged : p->inactive_min_sends) &&
	    (ever || known > twice * p->semi_days * LIFE_DAY);

	is[ENGAGE_ENGAGED] = recent;
	is[ENGAGE_INACTIVE] = !recent && !cooling && !fresh && silent;
	is[ENGAGE_NEW] = fresh;
	is[ENGAGE_SEMI] = !recent && !fresh && (cooling || !silent);
}

/* ---- promises: NULL, or the one that was broken ---- */

/* Nobody is stopped for being new or semi-engaged, so between those there is no up and down. */
static inline int
life_rank(const struct profile *p, const struct policy *policy, int64_t now)
{
	static const int rank[ENGAGE_CLASSES] = { [ENGAGE_ENGAGED] = 2, [ENGAGE_NEW] = 1, [ENGAGE_SEMI] = 1, [ENGAGE_INACTIVE] = 0 };

	return rank[engage_find(p, policy, now * 1000).class];
}

static inline bool
life_same(const struct finding *f, const struct finding *g)
{
	return f->class == g->class && f->reason == g->reason && f->loyal == g->loyal && f->at_risk == g->at_risk && f->opaque == g->opaque &&
	    f->clicked == g->clicked && f->unsettled == g->unsettled && f->last_engaged == g->last_engaged &&
	    f->silent_since == g->silent_since && f->silent_sends == g->silent_sends;
}

/* Who counts everybody looks at less, and sees the same. */
static inline bool
life_counts(const struct profile *p, const struct policy *policy, int64_t ms)
{
	struct finding f = engage_find(p, policy, ms);
	struct finding g = { .class = engage_class(p, policy, ms) };

	engage_overlays(&g, p, policy, ms);
	return g.class == f.class && g.loyal == f.loyal && g.at_risk == f.at_risk && g.opaque == f.opaque;
}

/* Later on, just when a class may end, and before and after that; some moments of each life. */
static inline const char *
life_other_moment(const struct life *l, const struct profile *p)
{
	const struct policy *policy = &l->stream.policy;
	const uint32_t from[] = { p->last_open, p->last_open + LIFE_DAY - 1, p->last_click, p->chosen, p->first_seen };
	const unsigned days[] = { policy->engaged_days, policy->semi_days, policy->new_days, policy->new_max_days };
	struct life later = *l;

	for (size_t i = l->n % 17; i < 5 * 4 * 2 * 3; i += 17) {
		bool is[ENGAGE_CLASSES];

		later.now = (int64_t)from[i % 5] + (int64_t)days[i / 5 % 4] * (int64_t)(1 + i / 20 % 2) * LIFE_DAY + (int64_t)(i / 40) - 1;
		if (!life_counts(p, policy, later.now * 1000))
			return "counted is what is found";
		if (later.now < l->now)
			continue;
		life_classes(&later, is);
		if (!is[engage_class(p, policy, later.now * 1000)])
			return "the class is what the touches say, to the second";
	}
	return NULL;
}

static inline const char *
promise_partition(const struct life *l)
{
	struct profile p = life_profile(l), again;
	unsigned char bytes[PROFILE_BYTES], same[PROFILE_BYTES];
	bool is[ENGAGE_CLASSES];
	const char *broken;
	struct finding f = engage_find(&p, &l->stream.policy, l->now * 1000), g;

	life_classes(l, is);
	if (is[ENGAGE_NEW] + is[ENGAGE_ENGAGED] + is[ENGAGE_SEMI] + is[ENGAGE_INACTIVE] != 1)
		return "everybody is in one class and no more";
	if (!is[f.class])
		return "the class is what the touches say";
	if ((broken = life_other_moment(l, &p)) != NULL)
		return broken;
	profile_pack(&p, bytes);
	if (!profile_unpack(&again, span_make(bytes, sizeof bytes)))
		return "what is packed is read";
	g = engage_find(&again, &l->stream.policy, l->now * 1000);
	profile_pack(&again, same);
	if (!life_same(&f, &g) || engage_score(&p, &l->stream.policy, l->now * 1000) != engage_score(&again, &l->stream.policy, l->now * 1000) ||
	    memcmp(bytes, same, sizeof bytes) != 0)
		return "what is stored is what was summed up";
	return NULL;
}

/*
 * Settings that are at least as patient with who was engaged as with who never
 * was; the presets are.  With others who reacted long ago has less time
 * than who never did, because the settings say so.
 */
static inline bool
life_is_patient(const struct policy *p)
{
	return 2 * p->new_days <= p->semi_days && p->new_min_sends <= p->inactive_min_sends_engaged &&
	    p->inactive_min_sends <= p->inactive_min_sends_engaged;
}

/* One more sign of life, at any time since they are known. */
static inline const char *
promise_people_never_lower(const struct life *l, struct touch t)
{
	struct profile before = life_profile(l), after = before;
	const struct policy *policy = &l->stream.policy;
	bool opaque = engage_find(&before, policy, l->now * 1000).opaque;

	if (!life_is_patient(policy) || before.first_seen == 0 || touch_seconds(&t) < before.first_seen)
		return NULL;
	t.kind = t.kind == TOUCH_KEPT || t.kind == TOUCH_LESS || t.kind == TOUCH_CLICK ? t.kind : TOUCH_OPEN;
	t.verdict = ROBOT_HUMAN;
	/* Of a day of which nothing else is known all of it counts, until a moment of it is known. */
	if (t.kind == TOUCH_OPEN && touch_seconds(&t) / LIFE_DAY == before.last_day / LIFE_DAY)
		return NULL;
	profile_add(&after, &t);
	/* An open that is seen shows that opens can be seen: then clicks have no longer time than others'. */
	if (opaque && !engage_find(&after, policy, l->now * 1000).opaque)
		return NULL;
	return life_rank(&after, policy, l->now) < life_rank(&before, policy, l->now) ? "people's engagement never lowers a class" : NULL;
}

static inline const char *
promise_machines_never_raise(const struct life *l, struct touch t)
{
	static const uint8_t machines[] = { ROBOT_SCANNER, ROBOT_SUSPECT, ROBOT_PREFETCH, ROBOT_PREVIEW };
	struct profile before = life_profile(l), after = before;
	struct policy policy = l->stream.policy, twice = policy;
	struct finding f, g;

	t.kind = t.kind == TOUCH_CLICK ? TOUCH_CLICK : TOUCH_OPEN;
	t.mode = MODE_IDENTIFIED;
	t.verdict = machines[t.when / 60000 % 4];
	profile_add(&after, &t);
	f = engage_find(&before, &policy, l->now * 1000);
	g = engage_find(&after, &policy, l->now * 1000);
	if (life_rank(&after, &policy, l->now) > life_rank(&before, &policy, l->now))
		return "machines never raise a class";
	if (after.first_seen == before.first_seen && (!life_same(&f, &g) ||
		engage_score(&before, &policy, l->now * 1000) != engage_score(&after, &policy, l->now * 1000)))
		return "machines change nothing at all";
	/* Privacy opens say that opens cannot be seen: that gives time, and no more. */
	t.kind = TOUCH_OPEN;
	t.verdict = ROBOT_PRIVACY_OPEN;
	after = before;
	profile_add(&after, &t);
	twice.engaged_days *= 2;
	twice.semi_days *= 2;
	twice.new_days *= 2;
	twice.new_max_days *= 2;
	g = engage_find(&after, &policy, l->now * 1000);
	if (life_rank(&after, &policy, l->now) > life_rank(&before, g.opaque && !f.opaque ? &twice : &policy, l->now))
		return "privacy opens give time, and no more";
	if (f.last_engaged == 0 && f.class != ENGAGE_ENGAGED && g.class == ENGAGE_ENGAGED)
		return "nobody is engaged by machines";
	return NULL;
}

static inline struct question
life_question(const struct life *l, bool series, const struct profile *p, const struct subscription *s, int64_t ms)
{
	return (struct question){ .conf = &l->conf, .stream = series ? &l->series : &l->stream,
		.stream_id = series ? LIFE_SERIES : LIFE_NEWS, .who = &l->who, .profile = p, .subscription = s, .now = ms };
}

/* What the verdict says, it means. */
static inline const char *
promise_verdict(const struct question *q)
{
	struct verdict v = verdict_find(q);
	const struct policy *policy = &q->stream->policy;
	bool own_word = v.cause == CAUSE_UNSUBSCRIBED || v.cause == CAUSE_COMPLAINED;
	struct question at = *q;
	struct verdict before, then;
	struct buf why = BUF(2000);

	verdict_explain(&why, q, &v);
	for (size_t i = 0; i < why.n; i++)
		if (why.p[i] < ' ' || why.p[i] > '~') {
			buf_free(&why);
			return "words are ASCII, in one line";
		}
	buf_free(&why);
	if ((unsigned)v.cause >= CAUSES || (unsigned)v.finding.class >= ENGAGE_CLASSES || (unsigned)v.series.status >= SERIES_STATUSES)
		return "a verdict is one of those that there are";
	if (q->stream->transactional && (v.cause != CAUSE_NONE || v.action != ACTION_SEND))
		return "transactional mail goes out";
	if (v.wanted != (v.cause == CAUSE_NONE ? ACTION_SEND : policy->on[v.cause]))
		return "what is wanted is what the settings say";
	if (v.action != (q->stream->enforce || own_word ? v.wanted : ACTION_SEND))
		return "observing, nothing is carried out but what recipients asked for";
	if (v.cause == CAUSE_NONE || v.next == 0 || v.next > UINT32_MAX - 2)
		return NULL;
	if (v.next <= q->now / 1000)
		return "what comes next is not over";
	/* Who is in another class by then has other limits. */
	at.now = (int64_t)v.next * 1000 - 1;
	before = verdict_find(&at);
	at.now++;
	then = verdict_find(&at);
	if (before.finding.class != v.finding.class || then.finding.class != v.finding.class || before.finding.loyal != v.finding.loyal ||
	    then.finding.loyal != v.finding.loyal)
		return NULL;
	if (before.cause == CAUSE_NONE)
		return "stopped until then";
	if (then.cause == v.cause)
		return "and then no longer for that";
	return NULL;
}

#define LIFE_SENDS 300

/*
 * Messages of two streams and receipts at any times, each sent when the caps
 * say so; the profile learns of them late, or early.  Then, by counting: no
 * window has more than it may.
 */
static inline const char *
promise_caps(struct span bytes)
{
	struct life_bytes b = { (const uint8_t *)bytes.p, bytes.n };
	struct caps caps = life_caps(&b), own = life_caps(&b);
	static const uint64_t streams[] = { LIFE_NEWS, LIFE_OTHER, 0 };
	struct recent sent[LIFE_SENDS];
	size_t n = 0, summed = 0, none = 0;
	struct profile p = { 0 };
	uint32_t now = LIFE_NOW;

	while (b.n > 0 && n < LIFE_SENDS) {
		unsigned how = life_byte(&b), wait = life_byte(&b);
		uint64_t stream = streams[how % 3];
		uint16_t tag = stream ? profile_tag(stream) : 0;
		uint32_t free, until;

		now += how & 0x80 ? wait * 1800 : how & 0x40 ? wait * 60 : wait / 64;
		/* The daemon remembers the newest of those that the sums may lack, and some that they have. */
		if (how & 0x20 || n - summed >= PROFILE_SENDS)
			for (; summed < n; summed++)
				profile_add(&p, &(struct touch){ .kind = TOUCH_SENT, .when = (int64_t)sent[summed].when * 1000 + (how & 7),
				    .stream = sent[summed].tag == profile_tag(LIFE_NEWS) ? LIFE_NEWS : LIFE_OTHER,
				    .flags = (uint8_t)((sent[summed].tag ? 0 : TOUCH_EXEMPT) | (how & 0x10 ? TOUCH_TRACKED : 0)) });
		none = summed < (how & 8 ? 5 : 0) ? 0 : summed - (how & 8 ? 5 : 0);
		/* It remembers by time: of one second all or none, for nothing else tells them from those in the sums. */
		while (none > 0 && none < n && sent[none - 1].when == sent[none].when)
			none--;
		if (stream == 0) {
			sent[n++] = (struct recent){ now, 0 };
			continue;
		}
		free = caps_free(&caps, 0, &p, sent + none, n - none, now);
		until = caps_free(&own, tag, &p, sent + none, n - none, now);
		until = until > free ? until : free;
		if (until == 0) {
			sent[n++] = (struct recent){ now, tag };
			continue;
		}
		if (until <= now)
			return "a cap that is not free is free later";
		if (caps_free(&caps, 0, &p, sent + none, n - none, until - 1) == 0 &&
		    caps_free(&own, tag, &p, sent + none, n - none, until - 1) == 0)
			return "a cap is not free before it says";
		if (caps_free(&caps, 0, &p, sent + none, n - none, until) != 0 || caps_free(&own, tag, &p, sent + none, n - none, until) != 0)
			return "a cap is free when it says";
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < caps.n + own.n && sent[i].tag != 0; k++) {
			const struct cap *c = k < caps.n ? &caps.cap[k] : &own.cap[k - caps.n];
			unsigned in = 0, all = 0;
			bool of_all = k < caps.n;

			for (size_t j = 0; j <= i; j++) {
				bool within = sent[i].when - sent[j].when < c->seconds;

				all += within && sent[j].tag != 0;
				in += within && sent[j].tag != 0 && (of_all || sent[j].tag == sent[i].tag);
			}
			/* Of more than that a profile knows the newest alone, and of each stream the last. */
			if (in > c->count && (of_all || c->count == 1 || all <= PROFILE_SENDS))
				return "no more in any window than may be";
		}
	return NULL;
}

/* Some years, with a newsletter and a message of the series tried at any times, and now and then a sign of life. */
static inline const char *
promise_series(const struct life *l, struct span bytes)
{
	struct life_bytes b = { (const uint8_t *)bytes.p, bytes.n };
	const struct policy *policy = &l->series.policy;
	struct profile p = life_profile(l);
	uint32_t silence = 0;
	unsigned sent = 0, most = policy->series_steps + (policy->winback_days > 0);
	int64_t now = l->now + LIFE_DAY;

	/* From the next silence on: what was sent before any policy is nobody's fault. */
	profile_add(&p, &(struct touch){ .kind = TOUCH_KEPT, .when = now * 1000 });
	while (b.n > 0) {
		unsigned how = life_byte(&b);
		bool series = how & 1;
		struct question q;
		struct verdict v;

		now += 1 + (int64_t)(how >> 2) * 7000;
		if (how == 254)
			profile_add(&p, &(struct touch){ .kind = TOUCH_OPEN, .verdict = ROBOT_HUMAN, .mode = MODE_IDENTIFIED, .when = now * 1000 });
		q = life_question(l, series, &p, NULL, now * 1000);
		v = verdict_find(&q);
		if (v.finding.silent_since != silence) {
			silence = v.finding.silent_since;
			sent = 0;
		}
		if (v.cause != CAUSE_NONE)
			continue;
		if (series && ++sent > most)
			return "the series ends";
		if (series && v.finding.class != ENGAGE_INACTIVE)
			return "the series is for who is inactive";
		if (!series && v.finding.class == ENGAGE_INACTIVE && !v.holdout && !l->stream.transactional)
			return "who is inactive gets the series and nothing else";
		profile_add(&p, &(struct touch){ .kind = TOUCH_SENT, .flags = (uint8_t)(TOUCH_TRACKED | (series ? TOUCH_SERIES : 0)),
		    .stream = series ? LIFE_SERIES : LIFE_NEWS, .when = now * 1000 });
	}
	return NULL;
}

static inline const char *
promise_life(struct span bytes)
{
	struct life l;
	struct profile p;
	struct subscription s;
	const char *broken;

	life_make(&l, bytes);
	if ((broken = promise_partition(&l)) != NULL)
		return broken;
	if (l.n > 0) {
		struct touch t = l.touch[--l.n];

		if ((broken = promise_people_never_lower(&l, t)) != NULL || (broken = promise_machines_never_raise(&l, t)) != NULL)
			return broken;
	}
	p = life_profile(&l);
	s = life_subscription(&l);
	for (int i = 0; i < 8; i++) {
		struct question q = life_question(&l, i & 1, i & 2 ? NULL : &p, i & 4 ? &s : NULL, l.now * 1000);

		if ((broken = promise_verdict(&q)) != NULL)
			return broken;
	}
	return NULL;
}

/* Those that take many sends to see. */
static inline const char *
promise_sends(struct span bytes)
{
	const char *broken;
	struct life l;

	if ((broken = promise_caps(bytes)) != NULL)
		return broken;
	life_make(&l, bytes);
	return promise_series(&l, bytes);
}

#endif
