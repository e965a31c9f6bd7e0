#include "common/profile.h"

#include <stddef.h>

#include "common/codec.h"
#include "common/text.h"

#define PROFILE_VERSION 3
#define DAY 86400u

/*
 * All sums here commute.  A later change must keep that: nothing may depend
 * on what was added before, only on the set of touches.
 */

/* ---- days ---- */

/* Bits of i days later: 0 .. 127 places up. */
static void
shift_up(uint64_t bits[2], uint32_t i)
{
	if (i >= PROFILE_DAYS) {
		bits[0] = bits[1] = 0;
	} else if (i >= 64) {
		bits[1] = bits[0] << (i - 64);
		bits[0] = 0;
	} else if (i > 0) {
		bits[1] = bits[1] << i | bits[0] >> (64 - i);
		bits[0] <<= i;
	}
}

static void
days_add(struct days *d, uint32_t day)
{
	if (day > d->last) {
		shift_up(d->bits, day - d->last);
		d->last = day;
	}
	if (d->last - day < PROFILE_DAYS)
		d->bits[(d->last - day) / 64] |= (uint64_t)1 << (d->last - day) % 64;
}

bool
days_has(const struct days *d, uint32_t day)
{
	if (day > d->last || d->last - day >= PROFILE_DAYS)
		return false;
	return d->bits[(d->last - day) / 64] >> (d->last - day) % 64 & 1;
}

static void
shift_down(uint64_t bits[2], uint32_t i)
{
	if (i >= PROFILE_DAYS) {
		bits[0] = bits[1] = 0;
	} else if (i >= 64) {
		bits[0] = bits[1] >> (i - 64);
		bits[1] = 0;
	} else if (i > 0) {
		bits[0] = bits[0] >> i | bits[1] << (64 - i);
		bits[1] >>= i;
	}
}

/* Only the newest n of them. */
static void
keep_days(uint64_t bits[2], uint32_t n)
{
	if (n < 64)
		bits[0] &= ((uint64_t)1 << n) - 1;
	if (n < PROFILE_DAYS)
		bits[1] &= n <= 64 ? 0 : ((uint64_t)1 << (n - 64)) - 1;
}

void
days_until(const struct days *d, uint32_t day, uint64_t bits[2])
{
	bits[0] = d->bits[0];
	bits[1] = d->bits[1];
	if (day >= d->last)
		shift_up(bits, day - d->last);
	else
		shift_down(bits, d->last - day);
	/* There is no day before the first. */
	if (day < PROFILE_DAYS)
		keep_days(bits, day + 1);
}

unsigned
days_count(const struct days *d, uint32_t from, uint32_t to)
{
	uint64_t bits[2];

	if (to > d->last)
		to = d->last;
	if (to < from)
		return 0;
	days_until(d, to, bits);
	if (to - from < PROFILE_DAYS)
		keep_days(bits, to - from + 1);
	return (unsigned)(__builtin_popcountll(bits[0]) + __builtin_popcountll(bits[1]));
}

/* ---- sums ---- */

static void
at_most(uint32_t *sum, uint32_t v)
{
	if (v > *sum)
		*sum = v;
}

static void
count(uint32_t *sum)
{
	if (*sum != UINT32_MAX)
		++*sum;
}

/* The newest k of all values ever put in, with repetitions, newest first. */
static void
keep_newest(uint32_t *ring, size_t k, uint32_t v)
{
	for (size_t i = 0; i < k; i++) {
		if (v > ring[i]) {
			uint32_t older = ring[i];

			ring[i] = v;
			v = older;
		}
	}
}

static uint32_t
marked(uint32_t s, bool mark)
{
	return (s & ~1u) | mark;
}

uint16_t
profile_tag(uint64_t stream)
{
	uint16_t tag = (uint16_t)((stream ^ stream >> 16 ^ stream >> 32 ^ stream >> 48) & 0xfffe);

	return tag != 0 ? tag : 2;
}

/* The newest sends with their tags; of those at the same time the larger tag first. */
static void
keep_send(struct profile *p, uint32_t v, uint16_t tag)
{
	for (size_t i = 0; i < PROFILE_SENDS; i++) {
		uint32_t older = p->sent[i];
		uint16_t older_tag = p->sent_tag[i];

		if (v > older || (v == older && tag > older_tag)) {
			p->sent[i] = v;
			p->sent_tag[i] = tag;
			v = older;
			tag = older_tag;
		}
	}
}

/*
 * The last send of each stream, of those streams alone that had the newest: so
 * that many messages of others push none of them out.  Who was pushed out by
 * newer ones would be so in any order.
 */
static void
keep_stream(struct profile *p, uint32_t v, uint16_t tag)
{
	const uint16_t added = tag;

	for (size_t i = 0; i < PROFILE_STREAMS; i++) {
		uint32_t older = p->stream_sent[i];
		uint16_t older_tag = p->stream_tag[i];

		if (v > older || (v == older && tag > older_tag)) {
			p->stream_sent[i] = v;
			p->stream_tag[i] = tag;
			v = older;
			tag = older_tag;
		}
		if (older_tag == added)
			return;
	}
}

static void
add_sent(struct profile *p, const struct touch *t, uint32_t s)
{
	bool tracked = t->flags & TOUCH_TRACKED, exempt = t->flags & TOUCH_EXEMPT, series = t->flags & TOUCH_SERIES;

	count(&p->sends);
	if (tracked)
		count(&p->tracked_sends);
	if (s > p->last_sent)
		p->receiver = t->sent;
	else if (s == p->last_sent)
		at_most(&p->receiver, t->sent);
	at_most(&p->last_sent, s);
	if (!exempt && !series)
		at_most(&p->last_regular, s);
	if (series)
		keep_newest(p->series, PROFILE_SERIES, s);
	if (exempt)
		return;
	keep_send(p, marked(s, tracked), (uint16_t)(profile_tag(t->stream) | (s & 1)));
	keep_stream(p, s, profile_tag(t->stream));
}

/* Held until then, of the last time; at the same second the longer one wins. */
static void
add_held(uint32_t *held, uint32_t *until, const struct touch *t, uint32_t s)
{
	if (s > *held)
		*until = t->sent;
	else if (s == *held && *until != 0 && (t->sent == 0 || t->sent > *until))
		*until = t->sent;
	at_most(held, s);
}

/* The day on which somebody read something, and nothing else; what machines do is not even dated. */
static void
add_day_only(struct profile *p, const struct touch *t, uint32_t s)
{
	uint32_t midnight = s - s % DAY;

	if (t->verdict == ROBOT_NONE || robot_is_human(t->verdict)) {
		at_most(&p->last_day, midnight ? midnight : 1);
		at_most(&p->last_open, p->last_day);
	}
}

/* The newest minutes with a click, and the first and the last click of each. */
static void
add_minute(struct profile *p, uint32_t s)
{
	struct clicked add = { .last = s };

	for (size_t i = 0; i < PROFILE_CLICKS; i++) {
		struct clicked *c = &p->clicked[i], was = *c;
		uint32_t first = was.last - was.before;

		if (was.last != 0 && was.last / 60 == s / 60) {
			at_most(&c->last, s);
			c->before = (uint8_t)(c->last - (s < first ? s : first));
			return;
		}
		if (add.last > was.last) {
			*c = add;
			add = was;
		}
	}
}

static void
add_open(struct profile *p, const struct judgement *j, uint32_t s)
{
	bool repeated = j->evidence == EVIDENCE_REPEAT;

	if (!robot_is_human(j->verdict)) {
		if (!repeated)
			count(&p->machine_opens);
		at_most(&p->last_machine, s);
		if (j->verdict == ROBOT_PRIVACY_OPEN && !repeated)
			keep_newest(p->opened, PROFILE_OPENS, marked(s, false));
		return;
	}
	at_most(&p->last_open, s);
	days_add(&p->open_days, s / DAY);
	if (repeated)
		return;
	count(&p->opens);
	keep_newest(p->opened, PROFILE_OPENS, marked(s, true));
}

/* One that is folded back has a later one beside it, which is what must settle. */
static void
add_click(struct profile *p, const struct judgement *j, uint32_t s)
{
	bool repeated = j->evidence == EVIDENCE_REPEAT;

	if (!robot_is_human(j->verdict)) {
		if (!repeated)
			count(&p->machine_clicks);
		at_most(&p->last_machine, s);
		return;
	}
	if (!repeated)
		count(&p->clicks);
	if (j->evidence == EVIDENCE_FOLDED_BACK)
		return;
	at_most(&p->last_click, s);
	add_minute(p, s);
	days_add(&p->click_days, s / DAY);
}

static void
seen(struct profile *p, uint32_t s)
{
	if (p->first_seen == 0 || s < p->first_seen)
		p->first_seen = s;
}

void
profile_add_hit(struct profile *p, bool click, const struct judgement *j, uint32_t s)
{
	seen(p, s);
	if (j->verdict == ROBOT_NONE)
		return;
	if (click)
		add_click(p, j, s);
	else
		add_open(p, j, s);
}

static void
add_count(uint32_t *sum, uint64_t n)
{
	*sum = n > UINT32_MAX - *sum ? UINT32_MAX : *sum + (uint32_t)n;
}

void
profile_add_machines(struct profile *p, uint64_t opens, uint64_t clicks)
{
	add_count(&p->machine_opens, opens);
	add_count(&p->machine_clicks, clicks);
}

void
profile_forget_hits(struct profile *p)
{
	p->last_open = p->last_day;
	p->last_click = p->last_machine = p->opens = p->clicks = p->machine_opens = p->machine_clicks = 0;
	memset(p->opened, 0, sizeof p->opened);
	memset(p->clicked, 0, sizeof p->clicked);
	p->open_days = p->click_days = (struct days){ 0 };
}

void
profile_recall_hits(struct profile *p, const struct profile *past)
{
	at_most(&p->last_open, past->last_open);
	p->last_click = past->last_click;
	p->last_machine = past->last_machine;
	p->opens = past->opens;
	p->clicks = past->clicks;
	p->machine_opens = past->machine_opens;
	p->machine_clicks = past->machine_clicks;
	memcpy(p->opened, past->opened, sizeof p->opened);
	memcpy(p->clicked, past->clicked, sizeof p->clicked);
	p->open_days = past->open_days;
	p->click_days = past->click_days;
}

/* A button that was pressed on a page of ours. */
static bool
is_choice(const struct touch *t)
{
	return t->kind == TOUCH_KEPT || t->kind == TOUCH_LESS;
}

/* At the same second the stricter answer wins. */
static const enum consent consent_ranks[] = { CONSENT_UNKNOWN, CONSENT_GRANTED, CONSENT_UNKNOWN, CONSENT_DENIED };

static void
add_consent(struct profile *p, const struct touch *t, uint32_t s)
{
	unsigned axis = t->detail >> 4, given = t->detail & 15, rank = 3;

	if (axis > AXIS_LINKS || given > CONSENT_GRANTED)
		return;
	while (consent_ranks[rank] != given)
		rank--;

	uint64_t v = (uint64_t)s << 2 | rank;

	if (v > p->consent[axis])
		p->consent[axis] = v;
}

enum consent
profile_consent(const struct profile *p, enum axis axis)
{
	return consent_ranks[p->consent[axis] & 3];
}

static void
add_standing(struct profile *p, const struct touch *t, uint32_t s)
{
	switch (t->kind) {
	case TOUCH_LEFT:
		at_most(&p->left, s);
		break;
	case TOUCH_JOINED:
		at_most(&p->joined, s);
		break;
	case TOUCH_BOUNCED:
		at_most(&p->bounced, s);
		break;
	case TOUCH_COMPLAINED:
		at_most(&p->complained, s);
		break;
	case TOUCH_HELD:
		add_held(&p->held, &p->held_until, t, s);
		break;
	case TOUCH_DELIVERED:
		at_most(&p->delivered, s);
		break;
	case TOUCH_SOFT_BOUNCED:
		if (t->detail == BOUNCE_SOFT)
			keep_newest(p->soft_bounced, PROFILE_SOFT, s);
		break;
	case TOUCH_RELEASED:
		at_most(&p->released, s);
		break;
	default:
		break;
	}
}

void
profile_add(struct profile *p, const struct touch *t)
{
	bool hit = t->kind == TOUCH_OPEN || t->kind == TOUCH_CLICK;
	uint32_t s = touch_seconds(t);

	p->streams = p->streams || touch_is_subscription(t);
	if (hit && t->mode < MODE_IDENTIFIED) {
		if (t->mode == MODE_DAYONLY)
			add_day_only(p, t, s);
		return;
	}

	if (hit) {
		profile_add_hit(p, t->kind == TOUCH_CLICK, &(struct judgement){ t->verdict, EVIDENCE_NONE }, s);
		return;
	}
	seen(p, s);
	if (t->kind == TOUCH_JOINED || is_choice(t))
		at_most(&p->affirmed, s);
	if (t->kind == TOUCH_SENT)
		add_sent(p, t, s);
	else if (is_choice(t))
		at_most(&p->chosen, s);
	else if (t->kind == TOUCH_CONSENT)
		add_consent(p, t, s);
	else if (!touch_is_subscription(t))
		add_standing(p, t, s);
}

/* ---- on disk ---- */

/* 32-bit sums, from one member of a profile to another, as they are stored. */
#define NSUMS 20
#define NLATER 19
#define SPREAD(first, last) ((offsetof(struct profile, last) - offsetof(struct profile, first)) / 4 + 1)

_Static_assert(SPREAD(first_seen, chosen) == NSUMS, "sums lie as they are stored");
_Static_assert(SPREAD(held_until, stream_sent) + PROFILE_STREAMS - 1 == NLATER, "and so do those of version 3");

#define AT_SUMS 4
#define AT_CONSENT (AT_SUMS + 4 * NSUMS)
#define AT_SENT (AT_CONSENT + 2 * 8)
#define AT_OPENED (AT_SENT + 4 * PROFILE_SENDS)
#define AT_CLICKED (AT_OPENED + 4 * PROFILE_OPENS)
#define AT_BEFORE (AT_CLICKED + 4 * PROFILE_CLICKS)
#define AT_OPEN_DAYS (AT_BEFORE + PROFILE_CLICKS)
#define AT_CLICK_DAYS (AT_OPEN_DAYS + 20)
#define AT_LATER (AT_CLICK_DAYS + 20) /* version 2 ends here */
#define AT_TAGS (AT_LATER + 4 * NLATER)
#define AT_STREAMS (AT_TAGS + 2 * PROFILE_SENDS)
#define AT_END (AT_STREAMS + 2 * PROFILE_STREAMS)
#define PROFILE_BYTES_2 296
#define HIT_SUMS (4 * (3 + 4)) /* in a record of hits alone, behind its version */

_Static_assert(AT_END <= PROFILE_BYTES, "a profile fits its record");
_Static_assert(AT_SUMS + HIT_SUMS + AT_LATER - AT_OPENED == PROFILE_HITS_BYTES, "and so do hits alone");

/* On most machines nothing but a copy. */
static void
put_words(unsigned char *out, const uint32_t *v, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(out, v, 4 * n);
#else
	for (size_t i = 0; i < n; i++)
		put_u32(out + 4 * i, v[i]);
#endif
}

static void
get_words(uint32_t *v, const unsigned char *in, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(v, in, 4 * n);
#else
	for (size_t i = 0; i < n; i++)
		v[i] = get_u32(in + 4 * i);
#endif
}

static void
put_days(unsigned char *out, const struct days *d)
{
	put_u32(out, d->last);
	put_u64(out + 4, d->bits[0]);
	put_u64(out + 12, d->bits[1]);
}

static struct days
get_days(const unsigned char *in)
{
	return (struct days){ get_u32(in), { get_u64(in + 4), get_u64(in + 12) } };
}

/* What lies from AT_OPENED to AT_LATER. */
static void
put_hits(unsigned char *out, const struct profile *p)
{
	put_words(out, p->opened, PROFILE_OPENS);
	for (size_t i = 0; i < PROFILE_CLICKS; i++) {
		put_u32(out + AT_CLICKED - AT_OPENED + 4 * i, p->clicked[i].last);
		out[AT_BEFORE - AT_OPENED + i] = p->clicked[i].before;
	}
	put_days(out + AT_OPEN_DAYS - AT_OPENED, &p->open_days);
	put_days(out + AT_CLICK_DAYS - AT_OPENED, &p->click_days);
}

static void
get_hits(struct profile *p, const unsigned char *in)
{
	get_words(p->opened, in, PROFILE_OPENS);
	for (size_t i = 0; i < PROFILE_CLICKS; i++)
		p->clicked[i] = (struct clicked){ get_u32(in + AT_CLICKED - AT_OPENED + 4 * i), in[AT_BEFORE - AT_OPENED + i] };
	p->open_days = get_days(in + AT_OPEN_DAYS - AT_OPENED);
	p->click_days = get_days(in + AT_CLICK_DAYS - AT_OPENED);
}

void
profile_pack(const struct profile *p, unsigned char out[PROFILE_BYTES])
{
	memset(out, 0, PROFILE_BYTES);
	out[0] = PROFILE_VERSION;
	out[1] = p->streams;
	put_words(out + AT_SUMS, &p->first_seen, NSUMS);
	for (size_t i = 0; i < 2; i++)
		put_u64(out + AT_CONSENT + 8 * i, p->consent[i]);
	put_words(out + AT_SENT, p->sent, PROFILE_SENDS);
	put_hits(out + AT_OPENED, p);
	put_words(out + AT_LATER, &p->held_until, NLATER);
	for (size_t i = 0; i < PROFILE_SENDS; i++)
		put_u16(out + AT_TAGS + 2 * i, p->sent_tag[i]);
	for (size_t i = 0; i < PROFILE_STREAMS; i++)
		put_u16(out + AT_STREAMS + 2 * i, p->stream_tag[i]);
}

bool
profile_unpack(struct profile *p, struct span s)
{
	const unsigned char *in = (const unsigned char *)s.p;
	bool now = s.n == PROFILE_BYTES && in[0] == PROFILE_VERSION;

	if (!now && (s.n != PROFILE_BYTES_2 || in[0] != 2))
		return false;
	p->streams = !now || in[1] != 0;
	get_words(&p->first_seen, in + AT_SUMS, NSUMS);
	for (size_t i = 0; i < 2; i++)
		p->consent[i] = get_u64(in + AT_CONSENT + 8 * i);
	get_words(p->sent, in + AT_SENT, PROFILE_SENDS);
	get_hits(p, in + AT_OPENED);
	if (!now) {
		memset(&p->held_until, 0, sizeof *p - offsetof(struct profile, held_until));
		p->last_regular = p->last_sent;
		return true;
	}
	get_words(&p->held_until, in + AT_LATER, NLATER);
	for (size_t i = 0; i < PROFILE_SENDS; i++)
		p->sent_tag[i] = get_u16(in + AT_TAGS + 2 * i);
	for (size_t i = 0; i < PROFILE_STREAMS; i++)
		p->stream_tag[i] = get_u16(in + AT_STREAMS + 2 * i);
	return true;
}

void
profile_pack_hits(const struct profile *p, unsigned char out[PROFILE_HITS_BYTES])
{
	put_u32(out, PROFILE_VERSION);
	put_words(out + AT_SUMS, &p->last_open, 3);
	put_words(out + AT_SUMS + 12, &p->opens, 4);
	put_hits(out + AT_SUMS + HIT_SUMS, p);
}

bool
profile_unpack_hits(struct profile *p, struct span s)
{
	const unsigned char *in = (const unsigned char *)s.p;

	*p = (struct profile){ 0 };
	if (s.n != PROFILE_HITS_BYTES || get_u32(in) != PROFILE_VERSION)
		return false;
	get_words(&p->last_open, in + AT_SUMS, 3);
	get_words(&p->opens, in + AT_SUMS + 12, 4);
	get_hits(p, in + AT_SUMS + HIT_SUMS);
	return true;
}

/* ---- subscriptions ---- */

#define SUBSCRIPTION_BYTES_1 8
#define SUBSCRIPTION_BYTES_2 16

void
subscription_pack(const struct subscription *s, unsigned char out[SUBSCRIPTION_BYTES])
{
	put_u32(out, s->left);
	put_u32(out + 4, s->joined);
	put_u32(out + 8, s->less);
	put_u32(out + 12, s->kept);
	put_u32(out + 16, s->held);
	put_u32(out + 20, s->released);
	put_u32(out + 24, s->held_until);
}

bool
subscription_unpack(struct subscription *s, struct span in)
{
	const unsigned char *p = (const unsigned char *)in.p;

	if (in.n != SUBSCRIPTION_BYTES && in.n != SUBSCRIPTION_BYTES_1 && in.n != SUBSCRIPTION_BYTES_2)
		return false;
	*s = (struct subscription){ .left = get_u32(p), .joined = get_u32(p + 4) };
	if (in.n >= SUBSCRIPTION_BYTES_2) {
		s->less = get_u32(p + 8);
		s->kept = get_u32(p + 12);
	}
	if (in.n == SUBSCRIPTION_BYTES) {
		s->held = get_u32(p + 16);
		s->released = get_u32(p + 20);
		s->held_until = get_u32(p + 24);
	}
	return true;
}

void
subscription_add(struct subscription *s, const struct touch *t)
{
	uint32_t when = touch_seconds(t);

	if (!touch_is_subscription(t))
		return;
	if (t->kind == TOUCH_HELD) {
		add_held(&s->held, &s->held_until, t, when);
		return;
	}
	at_most(t->kind == TOUCH_LEFT ? &s->left : &s->joined, when);
	if (t->kind == TOUCH_RELEASED)
		at_most(&s->released, when);
	if (is_choice(t))
		at_most(t->kind == TOUCH_LESS ? &s->less : &s->kept, when);
}

bool
subscription_less(const struct subscription *s)
{
	return s->less != 0 && s->less >= s->kept;
}

bool
touch_is_subscription(const struct touch *t)
{
	return t->stream != 0 &&
	    (t->kind == TOUCH_LEFT || t->kind == TOUCH_JOINED || t->kind == TOUCH_HELD || t->kind == TOUCH_RELEASED || is_choice(t));
}
