#include "common/profile.h"

#include <stddef.h>

#include "common/codec.h"
#include "common/text.h"

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
		uint64_t bits[2] = { d->bits[0], d->bits[1] };

		shift_up(bits, day - d->last);
		*d = (struct days){ day, { bits[0], bits[1] } };
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
	uint32_t add = s;
	uint8_t add_before = 0;

	for (size_t i = 0; i < PROFILE_CLICKS; i++) {
		uint32_t was = p->clicked[i];
		uint8_t before = p->clicked_before[i];
		uint32_t first = was - before;

		if (was != 0 && was / 60 == s / 60) {
			at_most(&p->clicked[i], s);
			p->clicked_before[i] = (uint8_t)(p->clicked[i] - (s < first ? s : first));
			return;
		}
		if (add > was) {
			p->clicked[i] = add;
			p->clicked_before[i] = add_before;
			add = was;
			add_before = before;
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
	memset(p->clicked_before, 0, sizeof p->clicked_before);
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
	memcpy(p->clicked_before, past->clicked_before, sizeof p->clicked_before);
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

#define PROFILE_BYTES_2 296

_Static_assert(sizeof(struct profile) == PROFILE_BYTES, "a profile is its record");
_Static_assert(offsetof(struct profile, consent) == 84 && offsetof(struct profile, sent) == 100 &&
    offsetof(struct profile, clicked) == 216 && offsetof(struct profile, open_days) == 256 &&
    offsetof(struct profile, held_until) == PROFILE_BYTES_2 && offsetof(struct profile, sent_tag) == 372, "no member ever moves");

static const bool is_record = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

/* Numbers of so many bytes, from one member to before another. */
static const struct {
	size_t from, to, size;
} numbers[] = {
	{ offsetof(struct profile, first_seen), offsetof(struct profile, consent), 4 },
	{ offsetof(struct profile, consent), offsetof(struct profile, sent), 8 },
	{ offsetof(struct profile, sent), offsetof(struct profile, clicked_before), 4 },
	{ offsetof(struct profile, open_days.last), offsetof(struct profile, open_days.bits), 4 },
	{ offsetof(struct profile, open_days.bits), offsetof(struct profile, click_days.last), 8 },
	{ offsetof(struct profile, click_days.last), offsetof(struct profile, click_days.bits), 4 },
	{ offsetof(struct profile, click_days.bits), offsetof(struct profile, held_until), 8 },
	{ offsetof(struct profile, held_until), offsetof(struct profile, sent_tag), 4 },
	{ offsetof(struct profile, sent_tag), offsetof(struct profile, unused_end), 2 },
};

/* From the record's order of bytes to the machine's, or back. */
static void
turn(struct profile *p)
{
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !is_record; i++)
		for (size_t at = numbers[i].from; at < numbers[i].to; at += numbers[i].size)
			for (size_t low = at, high = at + numbers[i].size - 1; low < high; low++, high--) {
				unsigned char *b = (unsigned char *)p, was = b[low];

				b[low] = b[high];
				b[high] = was;
			}
}

void
profile_pack(const struct profile *p, unsigned char out[PROFILE_BYTES])
{
	struct profile record = *p;

	record.version = PROFILE_VERSION;
	memset(record.unused, 0, sizeof record.unused);
	memset(record.unused_end, 0, sizeof record.unused_end);
	turn(&record);
	memcpy(out, &record, sizeof record);
}

bool
profile_unpack(struct profile *p, struct span s)
{
	if (s.n == PROFILE_BYTES && s.p[0] == PROFILE_VERSION) {
		memcpy(p, s.p, PROFILE_BYTES);
		turn(p);
		return true;
	}
	if (s.n != PROFILE_BYTES_2 || s.p[0] != 2)
		return false;
	*p = (struct profile){ 0 };
	memcpy(p, s.p, PROFILE_BYTES_2);
	turn(p);
	p->streams = true;
	p->last_regular = p->last_sent;
	return true;
}

/* A record of hits alone: the version, then these parts of a whole one. */
static const struct {
	size_t from, to;
} hits[] = {
	{ offsetof(struct profile, last_open), offsetof(struct profile, sends) },
	{ offsetof(struct profile, opens), offsetof(struct profile, left) },
	{ offsetof(struct profile, opened), offsetof(struct profile, held_until) },
};

_Static_assert(4 + 3 * 4 + 4 * 4 + offsetof(struct profile, held_until) - offsetof(struct profile, opened) == PROFILE_HITS_BYTES,
    "three times, four counts, and what lies before version 3");

void
profile_pack_hits(const struct profile *p, unsigned char out[PROFILE_HITS_BYTES])
{
	unsigned char whole[PROFILE_BYTES];
	size_t at = 4;

	profile_pack(p, whole);
	put_u32(out, PROFILE_VERSION);
	for (size_t i = 0; i < sizeof hits / sizeof hits[0]; at += hits[i].to - hits[i].from, i++)
		memcpy(out + at, whole + hits[i].from, hits[i].to - hits[i].from);
}

bool
profile_unpack_hits(struct profile *p, struct span s)
{
	const unsigned char *in = (const unsigned char *)s.p;
	size_t at = 4;

	*p = (struct profile){ 0 };
	if (s.n != PROFILE_HITS_BYTES || get_u32(in) != PROFILE_VERSION)
		return false;
	for (size_t i = 0; i < sizeof hits / sizeof hits[0]; at += hits[i].to - hits[i].from, i++)
		memcpy((unsigned char *)p + hits[i].from, in + at, hits[i].to - hits[i].from);
	turn(p);
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
