/* trail.c -- what one recipient left behind in one campaign, judged together. */
#include "common/trail.h"

#include <stdlib.h>

#include "common/codec.h"
#include "common/mem.h"

#define WHEN_MAX (((int64_t)1 << 48) - 1)

void
trail_free(struct trail *t)
{
	free(t->hit);
	free(t->links);
	*t = (struct trail){ 0 };
}

/* ---- gathering ---- */

static bool
is_hit(const struct touch *t)
{
	return t->kind == TOUCH_OPEN || t->kind == TOUCH_CLICK;
}

bool
trail_wants(const struct touch *t)
{
	if (who_is_nobody(&t->who))
		return false;
	if (is_hit(t))
		return t->mode >= MODE_IDENTIFIED && t->verdict != ROBOT_NONE;
	return (t->kind == TOUCH_LEFT || t->kind == TOUCH_DELIVERED) && t->campaign != 0;
}

static void
add_link(struct trail *t, uint16_t link)
{
	size_t need = link / 8u + 1;

	if (t->nlinks < need) {
		t->links = xreallocarray(t->links, need, 1);
		memset(t->links + t->nlinks, 0, need - t->nlinks);
		t->nlinks = need;
	}
	t->links[link / 8u] |= (unsigned char)(1u << link % 8);
}

static int64_t
when_of(const struct touch *t)
{
	return t->when < 1 ? 1 : t->when > WHEN_MAX ? WHEN_MAX : t->when;
}

/* Each moment once: a delivery that is told twice is one. */
static void
add_delivery(struct trail *t, const struct touch *touch)
{
	int64_t when = when_of(touch);

	t->gateway = t->gateway || (touch->detail & DELIVERED_GATEWAY);
	for (size_t i = 0; i < TRAIL_DELIVERIES && t->delivered[i] != when; i++) {
		if (when > t->delivered[i]) {
			int64_t older = t->delivered[i];

			t->delivered[i] = when;
			when = older;
		}
	}
}

/* What nobody knows here has no evidence either, and verdicts without a reason are from elsewhere. */
static struct judgement
judgement_of(const struct touch *t)
{
	enum evidence e = t->detail < EVIDENCES ? (enum evidence)t->detail : EVIDENCE_UNKNOWN;

	if (e == EVIDENCE_NONE && !robot_is_human(t->verdict))
		e = EVIDENCE_UNKNOWN;
	return (struct judgement){ t->verdict, e };
}

void
trail_add(struct trail *t, const struct touch *touch)
{
	if (touch->kind == TOUCH_LEFT) {
		uint32_t s = touch_seconds(touch);

		if (t->left == 0 || s < t->left)
			t->left = s;
		return;
	}
	if (touch->kind == TOUCH_DELIVERED) {
		add_delivery(t, touch);
		return;
	}
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 8;
		t->hit = xreallocarray(t->hit, t->cap, sizeof *t->hit);
	}
	t->hit[t->n++] = (struct trail_hit){
		.when = when_of(touch), .sent = touch->sent, .link = touch->kind == TOUCH_CLICK ? touch->link : 0,
		.click = touch->kind == TOUCH_CLICK, .at_hit = judgement_of(touch), .fresh = true,
	};
	if (touch->kind == TOUCH_CLICK) {
		t->clicks++;
		if (touch->link != 0)
			add_link(t, touch->link);
	} else
		t->opens++;
}

/*
 * By all that a hit says, so that the order is the same wherever it came
 * from.  Hits that are the same in everything are judged in turn: those that were
 * counted before come first, as if the new one had always been behind them.
 */
static int
in_order(const void *a, const void *b)
{
	const struct trail_hit *x = a, *y = b;

	if (x->when != y->when)
		return x->when < y->when ? -1 : 1;
	if (x->click != y->click)
		return x->click ? 1 : -1;
	if (x->link != y->link)
		return x->link < y->link ? -1 : 1;
	if (x->at_hit.verdict != y->at_hit.verdict)
		return x->at_hit.verdict < y->at_hit.verdict ? -1 : 1;
	if (x->at_hit.evidence != y->at_hit.evidence)
		return x->at_hit.evidence < y->at_hit.evidence ? -1 : 1;
	if (x->sent != y->sent)
		return x->sent < y->sent ? -1 : 1;
	if (x->fresh != y->fresh)
		return x->fresh ? 1 : -1;
	return (x->counted.evidence == EVIDENCE_REPEAT) - (y->counted.evidence == EVIDENCE_REPEAT);
}

/* Mostly: hits are told of as they come. */
static bool
is_in_order(const struct trail *t)
{
	for (size_t i = 1; i < t->n; i++)
		if (in_order(&t->hit[i - 1], &t->hit[i]) > 0)
			return false;
	return true;
}

/* Who is in the middle of some hits is in the middle of more of them: what goes now would have gone in any order. */
static void
drop_middle(struct trail *t)
{
	size_t end = t->n - TRAIL_END;

	if (t->n <= TRAIL_HITS)
		return;
	for (size_t i = TRAIL_END; i < end; i++) {
		const struct trail_hit *h = &t->hit[i];

		if (t->gap_first == 0 || h->when < t->gap_first)
			t->gap_first = h->when;
		if (h->when > t->gap_last)
			t->gap_last = h->when;
	}
	t->took_back = true;
	memmove(t->hit + TRAIL_END, t->hit + end, TRAIL_END * sizeof *t->hit);
	t->n = TRAIL_HITS;
}

/* ---- judging: at most TRAIL_HITS hits ---- */

/* May a rule still call it a machine's? */
static bool
is_open_to(const struct trail_hit *h)
{
	return robot_is_human(h->final.verdict) || h->final.verdict == ROBOT_SUSPECT;
}

static void
condemn(struct trail_hit *h, enum evidence e)
{
	if (is_open_to(h))
		h->final = (struct judgement){ ROBOT_SCANNER, e };
}

static bool
near_to(int64_t a, int64_t b, int64_t window)
{
	return a - b <= window && b - a <= window;
}

/*
 * When this hit's message arrived, 0 when nobody told: the first delivery
 * since it was tagged, or for who does not know that, the last one before it.
 */
static int64_t
delivery_of(const struct trail *t, const struct trail_hit *h)
{
	int64_t found = 0;

	for (size_t i = 0; i < TRAIL_DELIVERIES && t->delivered[i] != 0; i++) {
		int64_t d = t->delivered[i];

		if (h->sent == 0 && d <= h->when)
			return d;
		if (h->sent != 0 && d >= (int64_t)h->sent * 1000)
			found = d;
	}
	return found;
}

static void
judge_delivery(const struct trail *t, const struct rules *r, struct trail_hit *h)
{
	int64_t d = delivery_of(t, h);

	if (d == 0 || !is_open_to(h))
		return;
	if (h->when >= d && h->when - d < r->instant)
		condemn(h, EVIDENCE_INSTANT);
	else if (h->when - d < r->early)
		h->final = (struct judgement){ h->final.verdict == ROBOT_SUSPECT ? ROBOT_SCANNER : ROBOT_SUSPECT, EVIDENCE_EARLY };
}

/* Within `early` of when its message was tagged? */
static bool
is_soon(const struct trail_hit *h, const struct rules *r)
{
	int64_t age = h->when - (int64_t)h->sent * 1000;

	return h->sent != 0 && age >= 0 && age < r->early;
}

/* What is fetched ahead, or for a preview, says nothing of who clicks beside it. */
static bool
is_for_burst(const struct trail_hit *h)
{
	return h->click && h->link != 0 && h->at_hit.verdict != ROBOT_PREFETCH && h->at_hit.verdict != ROBOT_PREVIEW;
}

/*
 * Marks the clicks that lie in any window with so many different links.  Of
 * `soon` only those that came soon after the message was tagged are looked at.
 */
static void
mark_bursts(const struct trail *t, const struct rules *r, unsigned links, bool soon, bool burst[TRAIL_HITS])
{
	size_t place[TRAIL_HITS], n = 0, first = 0, different = 0, marked = 0;
	uint16_t seen[TRAIL_HITS]; /* each link once, */
	unsigned times[TRAIL_HITS] = { 0 }; /* how often it is in the window, */
	size_t nseen = 0, of[TRAIL_HITS]; /* and which one a click is */

	for (size_t i = 0; i < t->n; i++) {
		const struct trail_hit *h = &t->hit[i];
		size_t k = 0;

		if (!is_for_burst(h) || (soon && !is_soon(h, r)))
			continue;
		while (k < nseen && seen[k] != h->link)
			k++;
		if (k == nseen)
			seen[nseen++] = h->link;
		place[n] = i;
		of[n++] = k;
	}
	for (size_t i = 0; i < n; i++) {
		different += times[of[i]]++ == 0;
		for (; t->hit[place[i]].when - t->hit[place[first]].when > r->burst_window; first++)
			different -= --times[of[first]] == 0;
		if (different < links)
			continue;
		for (marked = marked > first ? marked : first; marked <= i; marked++)
			burst[place[marked]] = true;
	}
}

/* The opens around a burst are the same machine's: it fetches all of the page. */
static void
judge_bursts(struct trail *t, const struct rules *r)
{
	unsigned sure = r->burst_links < BURST_LINKS_SURE ? r->burst_links : BURST_LINKS_SURE;
	bool burst[TRAIL_HITS] = { false };
	int64_t before = INT64_MIN / 2;

	mark_bursts(t, r, t->gateway ? sure : r->burst_links, false, burst);
	mark_bursts(t, r, sure, true, burst);
	for (size_t i = 0; i < t->n; i++) {
		if (burst[i])
			before = t->hit[i].when;
		if (burst[i] || (!t->hit[i].click && t->hit[i].when - before <= r->burst_window))
			condemn(&t->hit[i], EVIDENCE_BURST);
	}
	before = INT64_MAX / 2;
	for (size_t i = t->n; i-- > 0;) {
		if (burst[i])
			before = t->hit[i].when;
		if (!t->hit[i].click && before - t->hit[i].when <= r->burst_window)
			condemn(&t->hit[i], EVIDENCE_BURST);
	}
}

static void
judge_honeypot(struct trail *t)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->hit[i].at_hit.evidence != EVIDENCE_HONEYPOT)
			continue;
		for (size_t k = 0; k < t->n; k++)
			if (near_to(t->hit[k].when, t->hit[i].when, HONEYPOT_WINDOW))
				condemn(&t->hit[k], EVIDENCE_HONEYPOT);
	}
}

/* What is not kept any more may have been the rest of a burst, or in the hidden link. */
static void
judge_gap(struct trail *t, const struct rules *r)
{
	int64_t window = r->burst_window > HONEYPOT_WINDOW ? r->burst_window : HONEYPOT_WINDOW;

	if (t->gap_first == 0)
		return;
	for (size_t i = 0; i < t->n; i++)
		if (t->hit[i].when >= t->gap_first - window && t->hit[i].when <= t->gap_last + window)
			condemn(&t->hit[i], EVIDENCE_CROWD);
}

static void
fold_back(struct trail *t)
{
	bool person = false;

	for (size_t i = t->n; i-- > 0;) {
		struct trail_hit *h = &t->hit[i];

		if (person && h->click && h->final.verdict == ROBOT_SUSPECT && h->final.evidence == EVIDENCE_MAYBE_NETWORK)
			h->final = (struct judgement){ ROBOT_HUMAN, EVIDENCE_FOLDED_BACK };
		else if (h->click && robot_is_human(h->final.verdict))
			person = true;
	}
}

/* The first of each run counts, and the next one that is `dedupe` later than that. */
static void
damp(struct trail *t, const struct rules *r)
{
	struct {
		const struct trail_hit *counts; /* last */
		bool human;
	} event[TRAIL_HITS];
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct trail_hit *h = &t->hit[i];
		bool human = robot_is_human(h->final.verdict);
		size_t k = 0;

		if (!human && h->final.verdict != ROBOT_PRIVACY_OPEN)
			continue;
		while (k < n && (event[k].human != human || event[k].counts->click != h->click || event[k].counts->link != h->link))
			k++;
		if (k < n && h->when - event[k].counts->when < r->dedupe)
			h->final.evidence = EVIDENCE_REPEAT;
		if (h->final.evidence == EVIDENCE_REPEAT)
			continue;
		event[k].counts = h;
		event[k].human = human;
		n += k == n;
	}
}

void
trail_judge(struct trail *t, const struct rules *r)
{
	if (!is_in_order(t))
		qsort(t->hit, t->n, sizeof *t->hit, in_order);
	drop_middle(t);
	for (size_t i = 0; i < t->n; i++) {
		t->hit[i].final = t->hit[i].at_hit;
		judge_delivery(t, r, &t->hit[i]);
	}
	judge_bursts(t, r);
	judge_honeypot(t);
	judge_gap(t, r);
	if (r->fold_back)
		fold_back(t);
	damp(t, r);
	for (size_t i = 0; i < t->n; i++) {
		const struct trail_hit *h = &t->hit[i];

		t->took_back = t->took_back || (!h->fresh && (h->final.verdict != h->counted.verdict ||
		    h->final.evidence != h->counted.evidence));
	}
}

/* ---- what it adds up to ---- */

void
trail_tally(const struct trail *t, struct tally *y)
{
	uint64_t opens = 0, clicks = 0;

	memset(y, 0, sizeof *y);
	for (size_t i = 0; i < t->n; i++) {
		const struct trail_hit *h = &t->hit[i];
		bool counts = trail_counts(&h->final);

		if (h->click) {
			clicks++;
			y->clicks[h->final.evidence]++;
			y->clicks_human += counts;
		} else {
			opens++;
			y->opens[h->final.evidence]++;
			y->opens_human += counts;
		}
	}
	y->opens_all = (int64_t)t->opens;
	y->clicks_all = (int64_t)t->clicks;
	y->opens[EVIDENCE_CROWD] += (int64_t)(t->opens - opens);
	y->clicks[EVIDENCE_CROWD] += (int64_t)(t->clicks - clicks);
	/* A click implies an open: image blocking hides the pixel, not the reader. */
	y->openers_all = !(t->gone & GONE_OPENER) && t->opens + t->clicks > 0;
	y->openers_human = !(t->gone & GONE_OPENER_HUMAN) && y->opens_human + y->clicks_human > 0;
	y->clickers_all = !(t->gone & GONE_CLICKER) && t->clicks > 0;
	y->clickers_human = !(t->gone & GONE_CLICKER_HUMAN) && y->clicks_human > 0;
	y->left = t->left != 0;
}

/* ---- what went with the facts ---- */

/* Hits that are further apart judge each other no more. */
static int64_t
reach(const struct rules *r)
{
	const int64_t windows[] = { r->early, r->burst_window, r->dedupe, HONEYPOT_WINDOW };
	int64_t most = r->instant;

	for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
		most = windows[i] > most ? windows[i] : most;
	return most;
}

/* How many hits at the head go. */
static size_t
old_hits(const struct trail *t, int64_t before, int64_t apart)
{
	size_t n = 0;

	while (n < t->n && t->hit[n].when < before)
		n++;
	while (n > 0 && n < t->n && t->hit[n].when - t->hit[n - 1].when <= apart)
		n--;
	return n;
}

static void
part_hits(struct trail *t, struct trail *past, size_t old, int64_t future)
{
	size_t kept = 0;

	past->hit = xreallocarray(NULL, t->n + 1, sizeof *past->hit);
	past->cap = t->n + 1;
	for (size_t i = 0; i < t->n; i++) {
		if (i >= old && t->hit[i].when <= future) {
			t->hit[kept++] = t->hit[i];
			continue;
		}
		past->hit[past->n++] = t->hit[i];
		past->opens += !t->hit[i].click;
		past->clicks += t->hit[i].click;
	}
	t->n = kept;
}

/* Those in between that were not kept are known by number alone, and go together. */
static void
part_gap(struct trail *t, struct trail *past, int64_t before)
{
	uint64_t opens = t->opens - past->opens, clicks = t->clicks - past->clicks;

	if (t->gap_first == 0 || t->gap_last >= before)
		return;
	for (size_t i = 0; i < t->n; i++) {
		opens -= !t->hit[i].click;
		clicks -= t->hit[i].click;
	}
	past->opens += opens;
	past->clicks += clicks;
	t->gap_first = t->gap_last = 0;
}

static bool
needs_delivery(const struct trail *t, int64_t delivered)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->hit[i].sent != 0 && (int64_t)t->hit[i].sent * 1000 <= delivered)
			return true;
	return false;
}

static bool
part_deliveries(struct trail *t, int64_t before, int64_t future)
{
	size_t kept = 0, n;

	for (n = 0; n < TRAIL_DELIVERIES && t->delivered[n] != 0; n++)
		if ((t->delivered[n] >= before && t->delivered[n] <= future) || needs_delivery(t, t->delivered[n]))
			t->delivered[kept++] = t->delivered[n];
	if (kept == n)
		return false;
	memset(&t->delivered[kept], 0, (n - kept) * sizeof t->delivered[0]);
	return true;
}

static bool
part_left(struct trail *t, int64_t before)
{
	if (t->left <= LEFT_ONCE || (int64_t)t->left * 1000 >= before)
		return false;
	t->left = LEFT_ONCE;
	return true;
}

bool
trail_part(struct trail *t, const struct rules *r, int64_t before, int64_t future, struct trail *past)
{
	int64_t apart = reach(r);
	size_t old = old_hits(t, before, apart);
	struct tally y;
	bool any;

	*past = (struct trail){ 0 };
	/* What is left may need what lies this far before it. */
	if (old < t->n && t->hit[old].when - apart < before)
		before = t->hit[old].when - apart;
	part_hits(t, past, old, future);
	part_gap(t, past, before);
	any = part_deliveries(t, before, future);
	any = part_left(t, before) || any;
	t->opens -= past->opens;
	t->clicks -= past->clicks;
	t->gateway = t->gateway && (t->n > 0 || t->delivered[0] != 0);
	trail_tally(past, &y);
	t->gone |= (unsigned char)((y.openers_all ? GONE_OPENER : 0) | (y.openers_human ? GONE_OPENER_HUMAN : 0) |
	    (y.clickers_all ? GONE_CLICKER : 0) | (y.clickers_human ? GONE_CLICKER_HUMAN : 0));
	if (past->clicks > 0) {
		free(t->links);
		t->links = NULL;
		t->nlinks = 0;
	}
	return any || past->opens + past->clicks > 0;
}

bool
trail_is_empty(const struct trail *t)
{
	return t->opens + t->clicks == 0 && t->delivered[0] == 0 && t->left == 0 && t->gone == 0;
}

/* ---- on disk ---- */

void
rules_pack(const struct rules *r, unsigned char out[RULES_BYTES])
{
	put_u64(out, (uint64_t)r->instant);
	put_u64(out + 8, (uint64_t)r->early);
	put_u64(out + 16, (uint64_t)r->burst_window);
	put_u64(out + 24, (uint64_t)r->dedupe);
	put_u32(out + 32, r->burst_links);
	put_u32(out + 36, r->fold_back);
}

bool
rules_unpack(struct rules *r, struct span s)
{
	const unsigned char *in = (const unsigned char *)s.p;

	if (s.n != RULES_BYTES)
		return false;
	*r = (struct rules){ .instant = (int64_t)get_u64(in), .early = (int64_t)get_u64(in + 8),
		.burst_window = (int64_t)get_u64(in + 16), .dedupe = (int64_t)get_u64(in + 24),
		.burst_links = get_u32(in + 32), .fold_back = get_u32(in + 36) != 0 };
	return true;
}

/*
 * Version 2, numbers in 7 bits a byte, the lowest first, all but the last with
 * the top bit set:
 *
 *	version 2, flags (gateway, gap, deliveries << 4), hits, gone, a byte each,
 *	bytes of links, opens, clicks, left,
 *	gap: its first, and how long after that its last one, where there is one,
 *	deliveries: the newest, and how long before each of them the next one,
 *	links,
 *	hits: a byte of flags, how long after the one before, and what its flags
 *	do not say: sent, link of a click, verdict and evidence at the hit (a byte
 *	each), the same two as they count
 *
 * There is one spelling of each trail.  Most people leave a few hits that say
 * nearly the same, in 5 bytes each: rows are written anew for each hit, and
 * what is small shares its page with others that are written then.
 */
#define TRAIL_VERSION 2
#define FLAG_GATEWAY 1
#define FLAG_GAP 2
/* Of a hit; the same as the one before, the link as that of the last click, or 0 before the first. */
#define HIT_CLICK 0x80
#define HIT_SAME_SENT 0x40
#define HIT_SAME_LINK 0x20
#define HIT_SAME_AT 0x10
#define HIT_AS_CAME 0x08 /* counts as what it was at the hit */
#define HIT_FLAGS 0xf8

static unsigned char *
put_number(unsigned char *p, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		*p++ = (unsigned char)(v | 0x80);
	*p++ = (unsigned char)v;
	return p;
}

static unsigned char *
put_judgement(unsigned char *p, const struct judgement *j)
{
	*p++ = (unsigned char)j->verdict;
	*p++ = (unsigned char)j->evidence;
	return p;
}

static bool
same_judgement(const struct judgement *a, const struct judgement *b)
{
	return a->verdict == b->verdict && a->evidence == b->evidence;
}

/* `before`: what hits are compared with, and here moves on. */
static unsigned char *
put_hit(unsigned char *p, const struct trail_hit *h, struct trail_hit *before)
{
	bool same_sent = h->sent == before->sent, same_link = h->click && h->link == before->link;
	bool same_at = same_judgement(&h->at_hit, &before->at_hit), as_came = same_judgement(&h->final, &h->at_hit);

	*p++ = (unsigned char)((h->click ? HIT_CLICK : 0) | (same_sent ? HIT_SAME_SENT : 0) | (same_link ? HIT_SAME_LINK : 0) |
	    (same_at ? HIT_SAME_AT : 0) | (as_came ? HIT_AS_CAME : 0));
	p = put_number(p, (uint64_t)(h->when - before->when));
	if (!same_sent)
		p = put_number(p, h->sent);
	if (h->click && !same_link)
		p = put_number(p, h->link);
	if (!same_at)
		p = put_judgement(p, &h->at_hit);
	if (!as_came)
		p = put_judgement(p, &h->final);
	before->when = h->when;
	before->sent = h->sent;
	before->at_hit = h->at_hit;
	if (h->click)
		before->link = h->link;
	return p;
}

void
trail_pack(const struct trail *t, struct buf *out)
{
	unsigned char *start = (unsigned char *)buf_room(out, TRAIL_HEAD_MAX + t->nlinks + TRAIL_HIT_MAX * t->n), *p = start;
	struct trail_hit before = { 0 };
	size_t deliveries = 0;

	if (p == NULL)
		return;
	while (deliveries < TRAIL_DELIVERIES && t->delivered[deliveries] != 0)
		deliveries++;
	*p++ = TRAIL_VERSION;
	*p++ = (unsigned char)((t->gateway ? FLAG_GATEWAY : 0) | (t->gap_first != 0 ? FLAG_GAP : 0) | deliveries << 4);
	*p++ = (unsigned char)t->n;
	*p++ = t->gone;
	p = put_number(p, t->nlinks);
	p = put_number(p, t->opens);
	p = put_number(p, t->clicks);
	p = put_number(p, t->left);
	if (t->gap_first != 0) {
		p = put_number(p, (uint64_t)t->gap_first);
		p = put_number(p, (uint64_t)(t->gap_last - t->gap_first));
	}
	for (size_t i = 0; i < deliveries; i++)
		p = put_number(p, (uint64_t)(i == 0 ? t->delivered[0] : t->delivered[i - 1] - t->delivered[i]));
	if (t->nlinks > 0)
		memcpy(p, t->links, t->nlinks);
	p += t->nlinks;
	for (size_t i = 0; i < t->n; i++)
		p = put_hit(p, &t->hit[i], &before);
	buf_grew(out, (size_t)(p - start));
}

/* What is left to be read; `bad` once it was no trail, and then all that is read is 0. */
struct packed {
	const unsigned char *p, *end;
	bool bad;
};

static unsigned char
take_byte(struct packed *s)
{
	if (s->p < s->end)
		return *s->p++;
	s->bad = true;
	return 0;
}

static uint64_t
take_long_number(struct packed *s, uint64_t max)
{
	uint64_t v = 0;
	unsigned shift = 0;
	unsigned char b;

	do {
		b = take_byte(s);
		if (shift == 63 && b > 1)
			s->bad = true;
		v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
	} while (b > 0x7f && shift < 70 && !s->bad);
	if ((b == 0 && shift > 7) || v > max)
		s->bad = true;
	return s->bad ? 0 : v;
}

/* In its shortest spelling, and not over max. */
static inline uint64_t
take_number(struct packed *s, uint64_t max)
{
	return s->p < s->end && *s->p <= 0x7f && *s->p <= max && !s->bad ? *s->p++ : take_long_number(s, max);
}

/* A moment this long after another one, which may be 0. */
static int64_t
take_later(struct packed *s, int64_t than)
{
	return than + (int64_t)take_number(s, (uint64_t)(WHEN_MAX - than));
}

static struct judgement
take_judgement(struct packed *s)
{
	unsigned char verdict = take_byte(s), e = take_byte(s);

	s->bad = s->bad || e >= EVIDENCES;
	return (struct judgement){ verdict, s->bad ? 0 : e };
}

static void
take_hit(struct packed *s, struct trail_hit *h, struct trail_hit *before)
{
	unsigned char flags = take_byte(s);

	*h = (struct trail_hit){ .click = flags & HIT_CLICK, .sent = before->sent, .at_hit = before->at_hit };
	if ((flags & ~HIT_FLAGS) != 0 || (flags & HIT_SAME_LINK && !h->click))
		s->bad = true;
	h->when = take_later(s, before->when);
	if (!(flags & HIT_SAME_SENT) && (h->sent = (uint32_t)take_number(s, UINT32_MAX)) == before->sent)
		s->bad = true;
	if (h->click) {
		h->link = before->link;
		if (!(flags & HIT_SAME_LINK) && (h->link = (uint16_t)take_number(s, UINT16_MAX)) == before->link)
			s->bad = true;
		before->link = h->link;
	}
	if (!(flags & HIT_SAME_AT)) {
		h->at_hit = take_judgement(s);
		s->bad = s->bad || same_judgement(&h->at_hit, &before->at_hit);
	}
	h->final = h->at_hit;
	if (!(flags & HIT_AS_CAME)) {
		h->final = take_judgement(s);
		s->bad = s->bad || same_judgement(&h->final, &h->at_hit);
	}
	h->counted = h->final;
	before->when = h->when;
	before->sent = h->sent;
	before->at_hit = h->at_hit;
}

static void
take_deliveries(struct packed *s, struct trail *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t max = i == 0 ? WHEN_MAX : t->delivered[i - 1] - 1;
		int64_t v = (int64_t)take_number(s, (uint64_t)max);

		if (v == 0) {
			s->bad = true;
			return;
		}
		t->delivered[i] = i == 0 ? v : t->delivered[i - 1] - v;
	}
}

static void
take_links(struct packed *s, struct trail *t, size_t n)
{
	if (s->bad || n == 0)
		return;
	if ((size_t)(s->end - s->p) < n) {
		s->bad = true;
		return;
	}
	t->links = xmalloc(n);
	t->nlinks = n;
	memcpy(t->links, s->p, n);
	s->p += n;
}

/*
 * Version 1, as an older program left it:
 *
 *	version 1, flags, bytes of links 2, opens 8, clicks 8, left 4, hits 1, gone 1,
 *	gap 6 + 6 when there is one, deliveries 6 each, links,
 *	hits: when 6, link 2, sent 4, click << 7 | verdict, evidence, and both as counted
 */
#define HEAD_BYTES_1 26
#define HIT_BYTES_1 16

static int64_t
get_when(const unsigned char *p)
{
	return (int64_t)get_u32(p) | (int64_t)get_u16(p + 4) << 32;
}

static bool
unpack_hit_1(struct trail_hit *h, const unsigned char *p, int64_t before)
{
	*h = (struct trail_hit){ .when = get_when(p), .sent = get_u32(p + 8), .click = p[12] >> 7,
		.at_hit = { p[12] & 0x7f, p[13] }, .final = { p[14], p[15] }, .counted = { p[14], p[15] } };
	h->link = h->click ? get_u16(p + 6) : 0;
	return h->when >= before && p[13] < EVIDENCES && p[15] < EVIDENCES;
}

static bool
unpack_1(struct trail *t, const unsigned char *p, size_t size)
{
	size_t gap, deliveries, nlinks, n, at = HEAD_BYTES_1;
	struct packed links;
	bool good;

	if (size < HEAD_BYTES_1 || (p[1] & ~(FLAG_GATEWAY | FLAG_GAP | 0xf0)) != 0)
		return false;
	gap = p[1] & FLAG_GAP ? 12 : 0;
	deliveries = p[1] >> 4;
	nlinks = get_u16(p + 2);
	n = p[24];
	if (deliveries > TRAIL_DELIVERIES || n > TRAIL_HITS || p[25] > GONE_ALL || nlinks > TRAIL_LINK_BYTES ||
	    size != HEAD_BYTES_1 + gap + 6 * deliveries + nlinks + HIT_BYTES_1 * n)
		return false;
	*t = (struct trail){ .gateway = p[1] & FLAG_GATEWAY, .opens = get_u64(p + 4), .clicks = get_u64(p + 12),
		.left = get_u32(p + 20), .gone = p[25] };
	if (gap > 0) {
		t->gap_first = get_when(p + at);
		t->gap_last = get_when(p + at + 6);
		at += gap;
	}
	good = gap == 0 || (t->gap_first > 0 && t->gap_last >= t->gap_first);
	for (size_t i = 0; i < deliveries; i++, at += 6) {
		t->delivered[i] = get_when(p + at);
		good = good && t->delivered[i] != 0 && (i == 0 || t->delivered[i] < t->delivered[i - 1]);
	}
	links = (struct packed){ p + at, p + size, false };
	take_links(&links, t, nlinks);
	at += nlinks;
	if (n > 0)
		t->hit = xreallocarray(NULL, n, sizeof *t->hit);
	for (t->cap = n; t->n < n; t->n++, at += HIT_BYTES_1)
		good = unpack_hit_1(&t->hit[t->n], p + at, t->n > 0 ? t->hit[t->n - 1].when : 0) && good;
	return good;
}

static bool
unpack(struct trail *t, const unsigned char *p, size_t size)
{
	struct packed s = { p, p + size, false };
	struct trail_hit before = { 0 };
	unsigned char version = take_byte(&s), flags = take_byte(&s);
	size_t n = take_byte(&s), nlinks;

	t->gone = take_byte(&s);
	if (version != TRAIL_VERSION || (flags & ~(FLAG_GATEWAY | FLAG_GAP | 0xf0)) != 0 || flags >> 4 > TRAIL_DELIVERIES ||
	    n > TRAIL_HITS || t->gone > GONE_ALL)
		return false;
	t->gateway = flags & FLAG_GATEWAY;
	nlinks = (size_t)take_number(&s, TRAIL_LINK_BYTES);
	t->opens = take_number(&s, UINT64_MAX);
	t->clicks = take_number(&s, UINT64_MAX);
	t->left = (uint32_t)take_number(&s, UINT32_MAX);
	if (flags & FLAG_GAP) {
		t->gap_first = take_later(&s, 0);
		t->gap_last = take_later(&s, t->gap_first);
		s.bad = s.bad || t->gap_first == 0;
	}
	take_deliveries(&s, t, flags >> 4);
	take_links(&s, t, nlinks);
	if (s.bad)
		return false;
	if (n > 0)
		t->hit = xreallocarray(NULL, n, sizeof *t->hit);
	for (t->cap = n; t->n < n && !s.bad; t->n++)
		take_hit(&s, &t->hit[t->n], &before);
	return !s.bad && s.p == s.end;
}

bool
trail_unpack(struct trail *t, struct span s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	bool good;

	*t = (struct trail){ 0 };
	good = s.n > 0 && p[0] == 1 ? unpack_1(t, p, s.n) : unpack(t, p, s.n);
	if (!good)
		trail_free(t);
	return good;
}
