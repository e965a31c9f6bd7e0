/*
 * year.h -- a year of weekly campaigns to people whose behaviour is known, through the real policy: verdicts,
 * trails, sums.  Deterministic; in memory.  For a program that prints it, and for a test.
 *
 * At the start nobody is known.  Who dies or leaves was a reader before.
 */
#ifndef REKINDLE_YEAR_H
#define REKINDLE_YEAR_H

#include "common/verdict.h"

#define YEAR_WEEKS 52
#define YEAR_DAY INT64_C(86400)
#define YEAR_START INT64_C(1767605400) /* Monday 2026-01-05T09:30:00Z, seconds */
#define YEAR_LINKS 8

enum group {
	GROUP_READERS,       /* read 40 to 95 % of the messages; away for two to three weeks, twice */
	GROUP_OCCASIONAL,    /* 5 to 20 % */
	GROUP_SEASONAL,      /* 70 %, during eight to twelve weeks */
	GROUP_NO_IMAGES,     /* readers whose program loads no images */
	GROUP_APPLE_READERS, /* readers, whose opens cannot be told from those of a machine */
	GROUP_GATEWAY_READERS, /* readers behind a gateway that follows links */
	GROUP_SILENT,        /* nobody looks; the mailbox is good */
	GROUP_APPLE_SILENT,
	GROUP_GATEWAY_SILENT,
	GROUP_DEAD_BOUNCE,   /* half of these are dead from the start, the others from some week on: no such user */
	GROUP_DEAD_FULL,     /* mailbox full */
	GROUP_DEAD_TRAP,     /* takes everything, and nobody is there */
	GROUP_LEAVERS,       /* readers who unsubscribe or complain in some week */
	GROUPS
};

static const struct {
	const char *name;
	unsigned share; /* of 1000 */
} year_groups[GROUPS] = {
	[GROUP_READERS] = { "readers", 250 },
	[GROUP_OCCASIONAL] = { "occasional readers", 170 },
	[GROUP_SEASONAL] = { "seasonal readers", 40 },
	[GROUP_NO_IMAGES] = { "readers without images", 20 },
	[GROUP_APPLE_READERS] = { "readers, Apple", 120 },
	[GROUP_GATEWAY_READERS] = { "readers, gateway", 50 },
	[GROUP_SILENT] = { "silent", 80 },
	[GROUP_APPLE_SILENT] = { "silent, Apple", 80 },
	[GROUP_GATEWAY_SILENT] = { "silent, gateway", 50 },
	[GROUP_DEAD_BOUNCE] = { "dead, bounces", 50 },
	[GROUP_DEAD_FULL] = { "dead, mailbox full", 15 },
	[GROUP_DEAD_TRAP] = { "dead, never bounces", 25 },
	[GROUP_LEAVERS] = { "unsubscribers", 50 },
};

struct year_sums {
	uint64_t people, offered, sent, series; /* messages: of campaigns, those that went out, and those of the series */
	uint64_t dead_offered, dead_sent;       /* after they died; the series as well */
	uint64_t after_leaving;                 /* sent after they left */
	uint64_t stopped, returned;             /* people who were ever stopped for silence, and came back from that */
	uint64_t unread;                        /* messages withheld that would have been read */
	uint64_t holdout;
	uint64_t end[CAUSES];                   /* by what stands in the way at the end */
	uint64_t class[ENGAGE_CLASSES];         /* of the others */
};

struct year {
	struct year_sums group[GROUPS], all;
};

/* ---- one recipient ---- */

struct year_message {
	struct trail trail;
	uint64_t campaign;
};

struct year_hit {
	int64_t when; /* ms */
	size_t message;
	struct touch touch;
};

#define YEAR_MESSAGES (2 * YEAR_WEEKS)
#define YEAR_HITS 2000

struct year_person {
	uint64_t random;
	enum group group;
	double reads, clicks;    /* of messages that arrive, of those that are read */
	unsigned change;         /* week in which they die or leave; 0 from the start, YEAR_WEEKS never */
	unsigned away[2], away_weeks[2], season, season_weeks;
	bool complains;
	unsigned gateway;        /* of 10: 0-4 follows all links at once, 5-7 two of them a little later, 8-9 one, much later */
	bool left, bounced;
	struct who who;
	struct profile profile;
	struct year_message message[YEAR_MESSAGES];
	size_t nmessages;
	struct year_hit hit[YEAR_HITS];
	size_t nhits;
};

struct year_world {
	struct conf conf;
	struct stream news, series;
	struct robots *robots;
	bool filter; /* else all hits are taken for a person's */
};

static inline double
year_dice(struct year_person *p)
{
	p->random ^= p->random << 13;
	p->random ^= p->random >> 7;
	p->random ^= p->random << 17;
	return (double)(p->random * 0x2545f4914f6cdd1d >> 11) / (double)((uint64_t)1 << 53);
}

static inline unsigned
year_below(struct year_person *p, unsigned n)
{
	return (unsigned)(year_dice(p) * n);
}

static inline void
year_be(struct year_person *p, uint64_t number, enum group group)
{
	*p = (struct year_person){ .random = (number + 1) * 0x9e3779b97f4a7c15, .group = group, .change = YEAR_WEEKS };
	for (size_t i = 0; i < sizeof p->who.b; i++)
		p->who.b[i] = (uint8_t)year_below(p, 256);
	p->who.b[0] |= 1;
	p->reads = 0.4 + 0.55 * year_dice(p);
	p->clicks = 0.05 + 0.25 * year_dice(p);
	for (size_t i = 0; i < 2; i++) {
		p->away[i] = 1 + year_below(p, YEAR_WEEKS - 4);
		p->away_weeks[i] = 2 + year_below(p, 2);
	}
	p->gateway = year_below(p, 10);
	p->season = year_below(p, YEAR_WEEKS);
	p->season_weeks = 8 + year_below(p, 5);
	if (group == GROUP_OCCASIONAL)
		p->reads = 0.05 + 0.15 * year_dice(p);
	else if (group == GROUP_SEASONAL)
		p->reads = 0.7;
	else if (group == GROUP_SILENT || group == GROUP_APPLE_SILENT || group == GROUP_GATEWAY_SILENT)
		p->reads = 0;
	else if (group == GROUP_LEAVERS)
		p->change = 1 + year_below(p, YEAR_WEEKS - 1);
	else if (group >= GROUP_DEAD_BOUNCE && group <= GROUP_DEAD_TRAP)
		p->change = year_below(p, 2) ? 0 : 1 + year_below(p, YEAR_WEEKS - 1);
	p->complains = year_below(p, 5) == 0;
}

static inline bool
year_is_dead(const struct year_person *p, unsigned week)
{
	return p->group >= GROUP_DEAD_BOUNCE && p->group <= GROUP_DEAD_TRAP && week >= p->change;
}

static inline bool
year_reads(struct year_person *p, unsigned week)
{
	bool reads = year_dice(p) < p->reads;

	if (year_is_dead(p, week) || p->left)
		return false;
	for (size_t i = 0; i < 2; i++)
		if (p->group != GROUP_OCCASIONAL && week >= p->away[i] && week < p->away[i] + p->away_weeks[i])
			return false;
	if (p->group == GROUP_SEASONAL && (week + YEAR_WEEKS - p->season) % YEAR_WEEKS >= p->season_weeks)
		return false;
	return reads;
}

/* ---- what comes back ---- */

#define YEAR_CHROME "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
#define YEAR_SAFARI "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
#define YEAR_GMAIL "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"

static inline void
year_hit(const struct year_world *w, struct year_person *p, size_t message, int64_t sent, int64_t when, unsigned link, const char *agent)
{
	struct sighting s = { .pixel = link == 0, .agent = span_of(agent), .soon = when - sent < w->conf.rules.early };
	struct judgement j = robot_judge(w->robots, &s);

	if (p->nhits == YEAR_HITS)
		return;
	p->hit[p->nhits++] = (struct year_hit){ when, message, { .kind = link ? TOUCH_CLICK : TOUCH_OPEN, .verdict = (uint8_t)j.verdict,
	    .detail = (uint8_t)j.evidence, .mode = MODE_IDENTIFIED, .link = (uint16_t)link, .when = when, .who = p->who,
	    .campaign = p->message[message].campaign, .sent = (uint32_t)(sent / 1000) } };
}

/* Of a message that arrived: machines at once, people in their own time.  All in milliseconds. */
static inline void
year_react(const struct year_world *w, struct year_person *p, size_t message, int64_t sent, unsigned week, bool series)
{
	bool apple = p->group == GROUP_APPLE_READERS || p->group == GROUP_APPLE_SILENT;
	bool gateway = p->group == GROUP_GATEWAY_READERS || p->group == GROUP_GATEWAY_SILENT;
	int64_t delivered = sent + 1000 + (int64_t)year_below(p, 4000), at;

	profile_add(&p->profile, &(struct touch){ .kind = TOUCH_DELIVERED, .when = delivered });
	trail_add(&p->message[message].trail, &(struct touch){ .kind = TOUCH_DELIVERED, .when = delivered, .who = p->who, .campaign = 1 });
	if (gateway && p->gateway < 5) {
		year_hit(w, p, message, sent, delivered + 500, 0, YEAR_CHROME);
		for (unsigned i = 1; i <= YEAR_LINKS; i++)
			year_hit(w, p, message, sent, delivered + 600 + 200 * i, i, YEAR_CHROME);
	} else if (gateway && p->gateway < 8) {
		at = delivered + 20000 + year_below(p, 60000);
		year_hit(w, p, message, sent, at, 1, YEAR_CHROME);
		year_hit(w, p, message, sent, at + 1500, 2, YEAR_CHROME);
	} else if (gateway)
		year_hit(w, p, message, sent, delivered + 120000 + year_below(p, 1800000), 1, YEAR_CHROME);
	/* Apple loads the images of most messages, whoever looks at them. */
	if (apple && year_below(p, 10) < 9)
		year_hit(w, p, message, sent, delivered + 60000 + (int64_t)year_below(p, 6 * 3600) * 1000, 0, "Mozilla/5.0");
	if (!year_reads(p, week))
		return;
	at = delivered + 300000 + (int64_t)year_below(p, 3 * 86400) * 1000;
	if (!apple && p->group != GROUP_NO_IMAGES)
		year_hit(w, p, message, sent, at, 0, p->random & 1 ? YEAR_GMAIL : YEAR_CHROME);
	if (year_dice(p) < p->clicks)
		year_hit(w, p, message, sent, at + 10000 + year_below(p, 60000), 1 + year_below(p, YEAR_LINKS), apple ? YEAR_SAFARI : YEAR_CHROME);
	/* "Do you still want this?": three in ten of those who read it say so. */
	if (series && year_below(p, 10) < 3)
		profile_add(&p->profile, &(struct touch){ .kind = TOUCH_KEPT, .when = at + 20000 });
	if (p->group == GROUP_LEAVERS && week >= p->change && !p->left) {
		p->left = true;
		profile_add(&p->profile, &(struct touch){ .kind = p->complains ? TOUCH_COMPLAINED : TOUCH_LEFT, .when = at + 5000 });
	}
}

/* Sums up what has come by now, as the fold does. */
static inline void
year_fold(const struct year_world *w, struct year_person *p, int64_t now)
{
	bool took_back = false;
	size_t kept = 0;

	for (size_t i = 0; i < p->nhits; i++) {
		if (p->hit[i].when > now)
			p->hit[kept++] = p->hit[i];
		else if (!w->filter)
			profile_add_hit(&p->profile, p->hit[i].touch.kind == TOUCH_CLICK, &(struct judgement){ ROBOT_HUMAN, EVIDENCE_NONE },
			    (uint32_t)(p->hit[i].when / 1000));
		else
			trail_add(&p->message[p->hit[i].message].trail, &p->hit[i].touch);
	}
	if (kept == p->nhits)
		return;
	p->nhits = kept;
	for (size_t i = 0; i < p->nmessages; i++) {
		struct trail *t = &p->message[i].trail;
		bool fresh = false;

		for (size_t k = 0; k < t->n; k++)
			fresh = fresh || t->hit[k].fresh;
		if (!fresh)
			continue;
		trail_judge(t, &w->conf.rules);
		took_back = took_back || t->took_back;
		t->took_back = false;
		for (size_t k = 0; k < t->n; k++) {
			struct trail_hit *h = &t->hit[k];

			if (h->fresh)
				profile_add_hit(&p->profile, h->click, &h->final, (uint32_t)(h->when / 1000));
			h->fresh = false;
			h->counted = h->final;
		}
	}
	if (!took_back)
		return;
	profile_forget_hits(&p->profile);
	for (size_t i = 0; i < p->nmessages; i++)
		for (size_t k = 0; k < p->message[i].trail.n; k++) {
			const struct trail_hit *h = &p->message[i].trail.hit[k];

			profile_add_hit(&p->profile, h->click, &h->final, (uint32_t)(h->when / 1000));
		}
}

/* ---- a year ---- */

static inline void
year_send(const struct year_world *w, struct year_person *p, struct year_sums *s, int64_t now, unsigned week, bool series)
{
	bool dead = year_is_dead(p, week);
	size_t message = p->nmessages;

	if (series)
		s->series++;
	else
		s->sent++;
	s->dead_sent += dead;
	s->after_leaving += p->left;
	if (message == YEAR_MESSAGES)
		return;
	p->message[p->nmessages++] = (struct year_message){ .campaign = 1 + message };
	profile_add(&p->profile, &(struct touch){ .kind = TOUCH_SENT, .flags = (uint8_t)(TOUCH_TRACKED | (series ? TOUCH_SERIES : 0)),
	    .stream = series ? 2 : 1, .when = now });
	if (dead && p->group == GROUP_DEAD_BOUNCE)
		profile_add(&p->profile, &(struct touch){ .kind = TOUCH_BOUNCED, .when = now + 2000 });
	else if (dead && p->group == GROUP_DEAD_FULL)
		profile_add(&p->profile, &(struct touch){ .kind = TOUCH_SOFT_BOUNCED, .when = now + 5 * 86400 * INT64_C(1000) });
	else
		year_react(w, p, message, now, week, series);
}

static inline struct verdict
year_ask(const struct year_world *w, struct year_person *p, int64_t now, bool series)
{
	year_fold(w, p, now);
	return verdict_find(&(struct question){ .conf = &w->conf, .stream = series ? &w->series : &w->news, .stream_id = series ? 2 : 1,
	    .who = &p->who, .profile = &p->profile, .now = now });
}

static inline bool
year_is_silence(enum cause c)
{
	return c == CAUSE_INACTIVE || c == CAUSE_SUNSET;
}

static inline void
year_live(const struct year_world *w, struct year_person *p, struct year_sums *s)
{
	bool stopped = false, returned = false;
	struct verdict v;

	s->people++;
	for (unsigned day = 0; day < 7 * YEAR_WEEKS; day++) {
		unsigned week = day / 7;
		int64_t now = (YEAR_START + day * YEAR_DAY + year_below(p, 3600)) * 1000;

		/* The series is tried on every day, for who is stopped: its list is made anew each day. */
		if (day % 7 != 0) {
			if (stopped && !returned && year_ask(w, p, now, true).cause == CAUSE_NONE)
				year_send(w, p, s, now, week, true);
			continue;
		}
		s->offered++;
		s->dead_offered += year_is_dead(p, week);
		v = year_ask(w, p, now, false);
		if (v.cause == CAUSE_NONE)
			year_send(w, p, s, now, week, false);
		else if (!p->left)
			s->unread += year_reads(p, week);
		returned = stopped && !year_is_silence(v.cause) && v.cause != CAUSE_SOFT_BOUNCED;
		if (year_is_silence(v.cause))
			stopped = true;
		if (day == 0)
			s->holdout += series_holdout(&p->who, &w->news.policy);
	}
	v = year_ask(w, p, (YEAR_START + 7 * YEAR_WEEKS * YEAR_DAY) * 1000, false);
	s->stopped += stopped;
	s->returned += stopped && !year_is_silence(v.cause);
	s->end[v.cause]++;
	s->class[v.finding.class] += v.cause == CAUSE_NONE;
	for (size_t i = 0; i < p->nmessages; i++)
		trail_free(&p->message[i].trail);
}

static inline void
year_add(struct year_sums *all, const struct year_sums *s)
{
	const uint64_t *from = (const uint64_t *)s;
	uint64_t *to = (uint64_t *)all;

	for (size_t i = 0; i < sizeof *s / sizeof *from; i++)
		to[i] += from[i];
}

/* The policy is what ships: a file that says only what has no default, with a stream for the series, and enforced. */
static inline struct year
year_run(const struct conf *conf, uint64_t people, bool filter)
{
	static struct year_person person;
	static char news[] = "news", series[] = "series";
	struct year_world w = { .conf = *conf, .robots = robots_new(), .filter = filter };
	struct year y = { 0 };

	robots_own_agents(w.robots);
	w.news = conf->stream[0];
	w.news.name = news;
	w.news.enforce = true;
	w.series = w.news;
	w.series.name = series;
	w.series.series = true;
	for (uint64_t n = 0, group = 0, until = 0; n < people; n++) {
		while (n * 1000 / people >= until + year_groups[group].share)
			until += year_groups[group++].share;
		year_be(&person, n, (enum group)group);
		year_live(&w, &person, &y.group[group]);
	}
	for (size_t i = 0; i < GROUPS; i++)
		year_add(&y.all, &y.group[i]);
	robots_free(w.robots);
	return y;
}

#endif
