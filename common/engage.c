#include "common/engage.h"

#include "common/text.h"

#define HOUR 3600
#define DAY 86400
#define LOYAL_WINDOW 90 /* days */
#define LOYAL_DAYS 3

/* Where everybody is counted the signs stay in registers. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- names ---- */

static const char *const engage_names[ENGAGE_CLASSES] = {
	[ENGAGE_NEW] = "new",
	[ENGAGE_ENGAGED] = "engaged",
	[ENGAGE_SEMI] = "semi-engaged",
	[ENGAGE_INACTIVE] = "inactive",
};

static const char *const reason_names[] = {
	[REASON_RECENT] = "recent",
	[REASON_COOLING] = "cooling",
	[REASON_GRACE] = "grace",
	[REASON_FEW_SENDS] = "few-sends",
	[REASON_YOUNG] = "young",
	[REASON_UNTRACKED] = "untracked",
	[REASON_SILENT] = "silent",
};

static const char *const cause_names[CAUSES] = {
	[CAUSE_NONE] = "none",
	[CAUSE_COMPLAINED] = "complained",
	[CAUSE_BOUNCED] = "bounced",
	[CAUSE_UNSUBSCRIBED] = "unsubscribed",
	[CAUSE_HELD] = "held",
	[CAUSE_INACTIVE] = "inactive",
	[CAUSE_SOFT_BOUNCED] = "soft-bounced",
	[CAUSE_CAPPED] = "capped",
	[CAUSE_RESTING] = "resting",
	[CAUSE_SUNSET] = "sunset",
	[CAUSE_NOT_DUE] = "not-due",
	[CAUSE_THROTTLED] = "throttled",
	[CAUSE_BRAKED] = "braked",
};

static const char *const action_names[] = {
	[ACTION_SEND] = "send",
	[ACTION_REJECT] = "reject",
	[ACTION_DEFER] = "defer",
	[ACTION_HOLD] = "hold",
	[ACTION_DISCARD] = "discard",
	[ACTION_ROUTE] = "route",
};

const char *
engage_name(enum engage e)
{
	return text_name(engage_names, COUNT(engage_names), e);
}

bool
engage_parse(struct span s, enum engage *e)
{
	size_t i = text_find_name(engage_names, COUNT(engage_names), s);

	if (i == COUNT(engage_names))
		return false;
	*e = (enum engage)i;
	return true;
}

const char *
reason_name(enum reason r)
{
	return text_name(reason_names, COUNT(reason_names), r);
}

const char *
cause_name(enum cause c)
{
	return text_name(cause_names, COUNT(cause_names), c);
}

const char *
action_name(enum action a)
{
	return text_name(action_names, COUNT(action_names), a);
}

bool
action_parse(struct span s, enum action *a)
{
	size_t i = text_find_name(action_names, COUNT(action_names), s);

	if (i == COUNT(action_names))
		return false;
	*a = (enum action)i;
	return true;
}

/* ---- policy ---- */

/*
 * engaged and semi-engaged days; sends without a reaction of those who never
 * and who once reacted; grace: days, sends, and no longer than.
 */
static const unsigned presets[][7] = {
	[PRESET_DAILY] = { 15, 60, 16, 16, 30, 5, 45 },
	[PRESET_WEEKLY] = { 30, 90, 11, 18, 30, 5, 60 },
	[PRESET_MONTHLY] = { 60, 180, 5, 5, 60, 3, 90 },
	[PRESET_QUARTERLY] = { 120, 270, 3, 3, 90, 2, 180 },
};

struct policy
policy_preset(enum preset preset)
{
	const unsigned *v = presets[(size_t)preset < COUNT(presets) ? preset : PRESET_WEEKLY];

	return (struct policy){
		.engaged_days = v[0],
		.semi_days = v[1],
		.inactive_min_sends = v[2],
		.inactive_min_sends_engaged = v[3],
		.new_days = v[4],
		.new_min_sends = v[5],
		.new_max_days = v[6],
		.settle = 120,
		.on = {
			[CAUSE_NONE] = ACTION_SEND,
			[CAUSE_COMPLAINED] = ACTION_REJECT,
			[CAUSE_BOUNCED] = ACTION_REJECT,
			[CAUSE_UNSUBSCRIBED] = ACTION_REJECT,
			[CAUSE_HELD] = ACTION_REJECT,
			[CAUSE_INACTIVE] = ACTION_REJECT,
			[CAUSE_SOFT_BOUNCED] = ACTION_REJECT,
			[CAUSE_CAPPED] = ACTION_REJECT,
			[CAUSE_RESTING] = ACTION_REJECT,
			[CAUSE_SUNSET] = ACTION_REJECT,
			[CAUSE_NOT_DUE] = ACTION_REJECT,
			[CAUSE_THROTTLED] = ACTION_DEFER,
			[CAUSE_BRAKED] = ACTION_DEFER,
		},
		.caps = {
			[CAPS_NEW] = { 1, { { 3, 7 * DAY } } },
			[CAPS_ENGAGED] = { 2, { { 1, 16 * HOUR }, { 7, 7 * DAY } } },
			[CAPS_SEMI] = { 2, { { 1, 72 * HOUR }, { 2, 7 * DAY } } },
			[CAPS_LESS] = { 1, { { 1, 30 * DAY } } },
		},
		.soft_bounces = 3,
		.soft_bounce_days = 30,
		.series = true,
		.rest_days = 30,
		.series_steps = 3,
		.series_gap_days = 7,
		.series_wait_days = 14,
		.holdout = 50,
		.brake = { .share = 5000, .min_share = 200, .complaints = 30, .complaints_warn = 10, .bounces = 500, .bounces_warn = 200,
			.min_sent = 1000 },
		.share_semi = 3000,
		.share_inactive = 500,
		.share_min = 1000,
	};
}

/* ---- class ---- */

/* 65536 * 2^(-i/30), halved every 30. */
/* clang-format off */
static const uint32_t decay[PROFILE_DAYS] = {
	65536, 64039, 62576, 61147, 59751, 58386, 57052, 55749, 54476, 53232, 52016, 50828, 49667, 48533, 47424, 46341,
	45283, 44248, 43238, 42250, 41285, 40342, 39421, 38520, 37641, 36781, 35941, 35120, 34318, 33534, 32768, 32019,
	31288, 30573, 29875, 29193, 28526, 27874, 27238, 26616, 26008, 25414, 24833, 24266, 23712, 23170, 22641, 22124,
	21619, 21125, 20642, 20171, 19710, 19260, 18820, 18390, 17970, 17560, 17159, 16767, 16384, 16009, 15644, 15286,
	14937, 14596, 14263, 13937, 13619, 13308, 13004, 12707, 12416, 12133, 11856, 11585, 11320, 11062, 10809, 10562,
	10321, 10085, 9855, 9630, 9410, 9195, 8985, 8780, 8579, 8383, 8192, 8004, 7822, 7643, 7468, 7298,
	7131, 6968, 6809, 6654, 6502, 6353, 6208, 6066, 5928, 5792, 5660, 5531, 5404, 5281, 5160, 5042,
	4927, 4815, 4705, 4597, 4492, 4390, 4289, 4191, 4096, 4002, 3911, 3821, 3734, 3649, 3565, 3484,
};
/* clang-format on */

/*
 * The last moment at which the last open may have been.  Of a day the whole
 * day counts, for the doubt is the recipient's; where it ends after now that
 * is as good as now.
 */
static int64_t
latest_open(const struct profile *p)
{
	return (int64_t)p->last_open + (profile_open_is_day(p) ? DAY - 1 : 0);
}

static bool
is_settled(uint32_t click, unsigned settle, int64_t now)
{
	int64_t age = now - click;

	return age >= (int64_t)settle || age <= -(int64_t)settle;
}

/*
 * The last click that has settled: until then what follows it may still show
 * that it was a machine's.  One that is far in the future is a clock that was wrong, and counts.
 */
static uint32_t
settled_before(const struct profile *p, unsigned settle, int64_t now)
{
	for (size_t i = 0; i < PROFILE_CLICKS && p->clicked[i] != 0; i++) {
		uint32_t last = p->clicked[i], first = last - p->clicked_before[i];

		if (is_settled(last, settle, now))
			return last;
		if (is_settled(first, settle, now))
			return first;
	}
	return 0;
}

static inline uint32_t
settled_click(const struct profile *p, unsigned settle, int64_t now)
{
	return is_settled(p->last_click, settle, now) ? p->last_click : settled_before(p, settle, now);
}

/* Without a branch, for nobody can foretell whose opens are whose. */
static inline bool
is_opaque(const struct profile *p)
{
	const uint32_t *o = p->opened;

	_Static_assert(PROFILE_OPENS == 5, "all of them, newest first");
	return (o[4] != 0) & (((o[0] | o[1] | o[2] | o[3] | o[4]) & 1) == 0);
}

static int64_t
seconds_of(int64_t now_ms)
{
	return now_ms > 0 ? now_ms / 1000 : 0;
}

/* The days up to this one: with an open, and with a click that counts: none after the day of the last one. */
struct engaged_days {
	uint64_t opened[2], clicked[2];
};

static struct engaged_days
days_of(const struct profile *p, uint32_t click, uint32_t today)
{
	struct engaged_days d;

	days_until(&p->open_days, today, d.opened);
	days_until(&p->click_days, today, d.clicked);
	if (click / DAY < today) {
		uint32_t after = today - click / DAY;

		d.clicked[0] &= after < 64 ? UINT64_MAX << after : 0;
		if (after > 64)
			d.clicked[1] &= after < PROFILE_DAYS ? UINT64_MAX << (after - 64) : 0;
	}
	return d;
}

/* Three engaged days, one with a click, in the 90 up to this one. */
static bool
is_loyal(const struct profile *p, uint32_t click, uint32_t today)
{
	const uint64_t older = ((uint64_t)1 << (LOYAL_WINDOW - 64)) - 1;
	struct engaged_days d;
	unsigned days = 0;

	d = days_of(p, click, today);
	if ((d.clicked[0] | (d.clicked[1] & older)) == 0)
		return false;
	for (unsigned half = 0; half < 2; half++)
		for (uint64_t bits = (d.opened[half] | d.clicked[half]) & (half ? older : UINT64_MAX); bits != 0; bits &= bits - 1)
			if (++days == LOYAL_DAYS)
				return true;
	return false;
}

/* At most so many days ago, the last second included; also in the future, where a clock was wrong. */
static bool
within(int64_t when, unsigned days, int64_t now)
{
	return when != 0 && now - when <= (int64_t)days * DAY;
}

/* What the first bytes of a record tell, which is enough to class most people. */
struct signs {
	uint32_t settled, click; /* the last click that has settled; that or the last choice; 0 none */
	int64_t opened, engaged; /* the last open, the last of both; 0 never */
	uint32_t silent_since;
	int64_t known;           /* for so many seconds */
};

static ALWAYS_INLINE struct signs
signs_of(const struct profile *p, unsigned settle, int64_t now)
{
	struct signs s = { .settled = settled_click(p, settle, now), .opened = latest_open(p) };

	s.click = s.settled > p->chosen ? s.settled : p->chosen;
	s.engaged = s.opened > s.click ? s.opened : s.click;
	/* Who subscribes again is given all the sends anew. */
	s.silent_since = s.engaged > p->affirmed ? (uint32_t)s.engaged : p->affirmed;
	s.known = p->first_seen ? now - p->first_seen : 0;
	return s;
}

/*
 * Engaged within so many days?  Behind a privacy proxy only clicks can be
 * seen, so they are given twice the time.  Opens from before keep theirs: no
 * machine moves anybody down.
 */
static inline bool
is_warm(const struct profile *p, const struct signs *s, unsigned days, int64_t now)
{
	return within(s->engaged, days, now) || (within(s->click, 2 * days, now) && is_opaque(p));
}

/* Never engaged, and known for less than so many days? */
static inline bool
is_young(const struct profile *p, const struct signs *s, int64_t known, unsigned days)
{
	int64_t limit = (int64_t)days * DAY;

	return s->engaged == 0 && (known < limit || (known < 2 * limit && is_opaque(p)));
}

/* Sends in the ring later than this moment. */
static unsigned
count_sends(const struct profile *p, uint32_t since, unsigned *tracked)
{
	unsigned all = 0;

	*tracked = 0;
	for (size_t i = 0; i < PROFILE_SENDS; i++) {
		bool later = (p->sent[i] & ~1u) > since;

		all += later;
		*tracked += later & (p->sent[i] & 1);
	}
	return all;
}

static unsigned
floor_of(const struct policy *policy, const struct signs *s)
{
	return s->engaged ? policy->inactive_min_sends_engaged : policy->inactive_min_sends;
}

/*
 * The rules.  What costs more to look at is looked at last, and mostly not at
 * all: for most people the first bytes of a record say enough.
 */
static ALWAYS_INLINE enum engage
class_of(const struct profile *p, const struct policy *policy, const struct signs *s, int64_t now)
{
	unsigned floor = floor_of(policy, s), silent;

	if (is_warm(p, s, policy->engaged_days, now))
		return ENGAGE_ENGAGED;
	if (is_warm(p, s, policy->semi_days, now))
		return ENGAGE_SEMI;
	if (is_young(p, s, s->known, policy->new_max_days) &&
	    (p->tracked_sends < policy->new_min_sends || is_young(p, s, s->known, policy->new_days)))
		return ENGAGE_NEW;
	/* With fewer at all there were fewer since. */
	if (p->tracked_sends < floor || is_young(p, s, s->known - 1, policy->semi_days))
		return ENGAGE_SEMI;
	count_sends(p, s->silent_since, &silent);
	return silent < floor ? ENGAGE_SEMI : ENGAGE_INACTIVE;
}

/* sends: since the last engagement, of which so many are tracked. */
static enum reason
reason_of(const struct profile *p, const struct policy *policy, const struct signs *s, enum engage class, unsigned sends, unsigned tracked,
    int64_t now)
{
	if (class == ENGAGE_ENGAGED)
		return REASON_RECENT;
	if (class == ENGAGE_NEW)
		return REASON_GRACE;
	if (class == ENGAGE_INACTIVE)
		return REASON_SILENT;
	if (is_warm(p, s, policy->semi_days, now))
		return REASON_COOLING;
	if (p->tracked_sends == 0 || (tracked == 0 && sends > 0))
		return REASON_UNTRACKED;
	return tracked < floor_of(policy, s) ? REASON_FEW_SENDS : REASON_YOUNG;
}

/*
 * No day is engaged after that of the last engagement, so who is loyal now was
 * so then.
 */
static inline void
find_overlays(struct finding *f, const struct profile *p, const struct signs *s, int64_t now)
{
	f->opaque = is_opaque(p);
	if ((p->click_days.bits[0] | p->click_days.bits[1]) == 0 || !is_loyal(p, s->click, (uint32_t)(s->engaged / DAY)))
		return;
	f->loyal = s->engaged >= now || is_loyal(p, s->click, (uint32_t)(now / DAY));
	f->at_risk = f->class == ENGAGE_SEMI || f->class == ENGAGE_INACTIVE;
}

enum engage
engage_class(const struct profile *p, const struct policy *policy, int64_t now_ms)
{
	int64_t now = seconds_of(now_ms);
	struct signs s = signs_of(p, policy->settle, now);

	return class_of(p, policy, &s, now);
}

void
engage_overlays(struct finding *f, const struct profile *p, const struct policy *policy, int64_t now_ms)
{
	int64_t now = seconds_of(now_ms);
	struct signs s = signs_of(p, policy->settle, now);

	find_overlays(f, p, &s, now);
}

struct finding
engage_find(const struct profile *p, const struct policy *policy, int64_t now_ms)
{
	struct finding f = { .class = ENGAGE_NEW, .reason = REASON_GRACE };
	int64_t now = seconds_of(now_ms);

	if (p == NULL)
		return f;

	struct signs s = signs_of(p, policy->settle, now);

	unsigned sends = count_sends(p, s.silent_since, &f.silent_sends);

	f.class = class_of(p, policy, &s, now);
	f.reason = reason_of(p, policy, &s, f.class, sends, f.silent_sends, now);
	find_overlays(&f, p, &s, now);
	f.unsettled = s.settled != p->last_click;
	f.clicked = s.click != 0 && (s.click >= p->last_open ||
		(f.reason == REASON_RECENT && !within(s.opened, policy->engaged_days, now)) ||
		(f.reason == REASON_COOLING && !within(s.opened, policy->semi_days, now)));
	f.last_engaged = f.clicked ? s.click : p->last_open;
	f.silent_since = s.silent_since;
	return f;
}

/* Whole numbers only, so that all machines rank alike. */
unsigned
engage_score(const struct profile *p, const struct policy *policy, int64_t now_ms)
{
	int64_t now = seconds_of(now_ms);
	uint32_t today = (uint32_t)(now / DAY), ago = today - p->last_open / DAY;
	struct engaged_days d = days_of(p, signs_of(p, policy->settle, now).click, today);
	uint64_t sum = 0;

	if (p->last_open / DAY <= today && ago < PROFILE_DAYS && profile_open_is_day(p))
		d.opened[ago / 64] |= (uint64_t)1 << ago % 64;
	for (unsigned half = 0; half < 2; half++)
		for (uint64_t bits = d.opened[half] | d.clicked[half]; bits != 0; bits &= bits - 1) {
			unsigned bit = (unsigned)__builtin_ctzll(bits);

			sum += (d.clicked[half] >> bit & 1 ? 5 : 1) * decay[64 * half + bit];
		}
	return (unsigned)(sum * 100 >> 16);
}

/* ---- cause ---- */

static uint32_t
later(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static bool
stands(uint32_t stop, uint32_t lifted)
{
	return stop != 0 && stop >= lifted;
}

static bool
left_stream(const struct subscription *s)
{
	return s != NULL && stands(s->left, s->joined);
}

/* Stopped by hand, and until when?  until 0: for ever. */
static bool
is_held(uint32_t held, uint32_t released, uint32_t until, int64_t now)
{
	return stands(held, released) && (until == 0 || now < (int64_t)until);
}

static bool
held_in_stream(const struct subscription *s, int64_t now)
{
	return s != NULL && is_held(s->held, s->released, s->held_until, now);
}

/* Of two holds the one that ends last says when; 0 for ever. */
static bool
stream_hold_counts(const struct profile *p, const struct subscription *s, int64_t now)
{
	if (!held_in_stream(s, now))
		return false;
	return !is_held(p->held, p->released, p->held_until, now) || (p->held_until != 0 && s->held_until - 1 > p->held_until - 1);
}

uint32_t
engage_held_until(const struct profile *p, const struct subscription *s, int64_t now_ms)
{
	static const struct profile nothing;
	int64_t now = seconds_of(now_ms);

	if (p == NULL)
		p = &nothing;
	if (stream_hold_counts(p, s, now))
		return s->held_until;
	return is_held(p->held, p->released, p->held_until, now) ? p->held_until : 0;
}

enum cause
engage_cause(const struct profile *p, const struct subscription *s, const struct finding *f, int64_t now_ms)
{
	static const struct profile nothing;
	enum cause by_class = f->class == ENGAGE_INACTIVE ? CAUSE_INACTIVE : CAUSE_NONE;
	int64_t now = seconds_of(now_ms);

	if (p == NULL)
		p = &nothing;
	/* Of most people nothing of the kind was ever said. */
	if (s == NULL && (p->complained | p->bounced | p->left | p->held) == 0)
		return by_class;

	uint32_t lifted = later(p->joined, p->released);

	if (stands(p->complained, lifted))
		return CAUSE_COMPLAINED;
	if (stands(p->bounced, lifted))
		return CAUSE_BOUNCED;
	if (stands(p->left, lifted) || left_stream(s))
		return CAUSE_UNSUBSCRIBED;
	if (is_held(p->held, p->released, p->held_until, now) || held_in_stream(s, now))
		return CAUSE_HELD;
	return by_class;
}

/* ---- words ---- */

static void
add_count(struct buf *b, int64_t n, const char *thing)
{
	buf_addf(b, "%lld %s%s", (long long)n, thing, n == 1 ? "" : "s");
}

static void
add_day(struct buf *b, uint32_t seconds)
{
	text_add_day(b, (int64_t)seconds * 1000);
}

static int64_t
days_since(uint32_t seconds, int64_t now)
{
	return now > seconds ? (now - seconds) / DAY : 0;
}

/* "for 214 days", "since it is known, for 214 days" */
static void
add_silence(struct buf *b, const struct profile *p, const struct finding *f, int64_t now)
{
	if (f->last_engaged != 0) {
		buf_adds(b, "for ");
		add_count(b, days_since(f->last_engaged, now), "day");
	} else {
		buf_adds(b, "ever, known for ");
		add_count(b, days_since(p->first_seen, now), "day");
	}
}

/* The ring ends at PROFILE_SENDS: there may have been more. */
static void
add_silent_sends(struct buf *b, const struct finding *f, const char *thing)
{
	if (f->silent_sends == PROFILE_SENDS)
		buf_adds(b, "at least ");
	add_count(b, f->silent_sends, thing);
}

/* Too few since then to judge.  None at all may still be some of a transactional stream, which are not counted here. */
static void
add_few(struct buf *b, const struct profile *p, const struct finding *f)
{
	if (f->silent_sends > 0) {
		buf_adds(b, ", but over only ");
		add_count(b, f->silent_sends, "tracked send");
		return;
	}
	buf_adds(b, ", but nothing sent ");
	if (f->silent_since != 0) {
		buf_adds(b, "since ");
		add_day(b, f->silent_since);
	} else
		buf_adds(b, "so far");
	if (p->last_sent > f->silent_since)
		buf_adds(b, " except transactional mail");
}

static void
add_last(struct buf *b, const struct finding *f, int64_t now)
{
	buf_adds(b, f->clicked ? "last clicked " : "last opened ");
	if (days_since(f->last_engaged, now) > 0) {
		add_count(b, days_since(f->last_engaged, now), "day");
		buf_adds(b, " ago");
	} else
		buf_adds(b, f->last_engaged / DAY < now / DAY ? "yesterday" : "today");
	buf_adds(b, ", on ");
	add_day(b, f->last_engaged);
}

static void
explain_grace(struct buf *b, const struct profile *p, const struct policy *policy, const struct finding *f, int64_t now)
{
	unsigned factor = f->opaque ? 2 : 1;

	if (p == NULL || p->first_seen == 0) {
		buf_adds(b, "nothing is known yet");
		return;
	}
	buf_adds(b, "known for ");
	add_count(b, days_since(p->first_seen, now), "day");
	buf_adds(b, ", since ");
	add_day(b, p->first_seen);
	buf_adds(b, ", with ");
	add_count(b, p->tracked_sends, "tracked send");
	buf_addf(b, ", no human engagement yet (new below %u days or %u sends, and below %u days)",
	    factor * policy->new_days, policy->new_min_sends, factor * policy->new_max_days);
}

void
engage_explain(
    struct buf *b, const struct profile *p, const struct policy *policy, const struct finding *f, int64_t now_ms)
{
	unsigned factor = f->opaque && f->clicked ? 2 : 1;
	unsigned floor = f->last_engaged ? policy->inactive_min_sends_engaged : policy->inactive_min_sends;
	int64_t now = seconds_of(now_ms);

	buf_addf(b, "%s: ", engage_name(f->class));
	switch (f->reason) {
	case REASON_RECENT:
		add_last(b, f, now);
		buf_addf(b, " (limit %u days)", factor * policy->engaged_days);
		break;
	case REASON_COOLING:
		add_last(b, f, now);
		buf_addf(b, " (engaged up to %u days, semi-engaged up to %u)", factor * policy->engaged_days,
		    factor * policy->semi_days);
		break;
	case REASON_GRACE:
		explain_grace(b, p, policy, f, now);
		break;
	case REASON_FEW_SENDS:
		buf_adds(b, "no human engagement ");
		add_silence(b, p, f, now);
		add_few(b, p, f);
		buf_addf(b, " (inactive from %u sends)", floor);
		break;
	case REASON_YOUNG:
		buf_adds(b, "no human engagement ");
		add_silence(b, p, f, now);
		buf_addf(b, " (inactive after %u days)", (f->opaque ? 2 : 1) * policy->semi_days);
		break;
	case REASON_UNTRACKED:
		buf_adds(b, "nothing sent ");
		buf_adds(b, f->last_engaged ? "since the last engagement on " : "so far");
		if (f->last_engaged)
			add_day(b, f->last_engaged);
		buf_adds(b, " could be tracked, so silence proves nothing");
		break;
	case REASON_SILENT:
		buf_adds(b, "no human engagement ");
		add_silence(b, p, f, now);
		buf_adds(b, ", over ");
		add_silent_sends(b, f, "send");
		if (f->last_engaged)
			buf_addf(b, " (limit %u days, %u sends)", factor * policy->semi_days, floor);
		else
			buf_addf(b, " (limit %u sends)", floor);
		break;
	}
	if (f->opaque)
		buf_adds(b, "; the last opens are all privacy opens, so clicks count, for twice the time");
	if (f->unsettled)
		buf_addf(b, "; the last click is not %u seconds old yet and does not count so far", policy->settle);
	if (f->loyal && !f->at_risk)
		buf_adds(b, "; loyal");
	if (f->at_risk)
		buf_adds(b, "; at risk: was loyal");
}

static void
add_held(struct buf *b, const struct profile *p, const struct subscription *s, int64_t now)
{
	bool stream = stream_hold_counts(p, s, now);
	uint32_t until = stream ? s->held_until : p->held_until;

	buf_adds(b, "recipient held back by hand on ");
	add_day(b, stream ? s->held : p->held);
	if (until != 0) {
		buf_adds(b, ", until ");
		add_day(b, until);
	}
}

void
cause_explain(struct buf *b, enum cause cause, const struct profile *p, const struct subscription *s,
    const struct finding *f, int64_t now_ms)
{
	static const struct profile nothing;
	int64_t now = seconds_of(now_ms);

	if (p == NULL)
		p = &nothing;
	switch (cause) {
	case CAUSE_COMPLAINED:
		buf_adds(b, "recipient complained on ");
		add_day(b, p->complained);
		break;
	case CAUSE_BOUNCED:
		buf_adds(b, "mail to this recipient bounced for good on ");
		add_day(b, p->bounced);
		break;
	case CAUSE_UNSUBSCRIBED:
		buf_adds(b, "recipient unsubscribed on ");
		add_day(b, left_stream(s) ? s->left : p->left);
		break;
	case CAUSE_HELD:
		add_held(b, p, s, now);
		break;
	case CAUSE_INACTIVE:
		buf_adds(b, "recipient inactive, no human engagement ");
		add_silence(b, p, f, now);
		buf_adds(b, ", over ");
		add_silent_sends(b, f, "message");
		break;
	default: /* verdict.c knows more of the others */
		buf_adds(b, "nothing stands in the way");
		break;
	}
}
