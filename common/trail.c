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

static bool
same_event(const struct trail_hit *a, const struct trail_hit *b)
{
	return a->click == b->click && a->link == b->link &&
	    (a->final.verdict == b->final.verdict ||
	     (robot_is_human(a->final.verdict) && robot_is_human(b->final.verdict)));
}

/* The first of each run counts, and the next one that is `dedupe` later than that. */
static void
damp(struct trail *t, const struct rules *r)
{
	for (size_t i = 0; i < t->n; i++) {
		struct trail_hit *h = &t->hit[i];

		if (!robot_is_human(h->final.verdict) && h->final.verdict != ROBOT_PRIVACY_OPEN)
			continue;
		for (size_t k = i; k-- > 0 && h->when - t->hit[k].when < r->dedupe;) {
			if (t->hit[k].final.evidence != EVIDENCE_REPEAT && same_event(h, &t->hit[k])) {
				h->final.evidence = EVIDENCE_REPEAT;
				break;
			}
		}
	}
}

void
trail_judge(struct trail *t, const struct rules *r)
{
	if (t->n > 0)
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
 * Version 1:
 *
 *	version 1, flags (gateway, gap, deliveries << 4), bytes of links 2, opens 8, clicks 8, left 4, hits 1, gone 1,
 *	gap 6 + 6 when there is one, deliveries 6 each, links,
 *	hits of HIT_BYTES: when 6, link 2, sent 4, click << 7 | verdict, evidence, and both as counted
 */
#define TRAIL_VERSION 1
#define HEAD_BYTES 26
#define HIT_BYTES 16
#define FLAG_GATEWAY 1
#define FLAG_GAP 2

static void
put_when(unsigned char *p, int64_t when)
{
	put_u32(p, (uint32_t)when);
	put_u16(p + 4, (uint16_t)(when >> 32));
}

static int64_t
get_when(const unsigned char *p)
{
	return (int64_t)get_u32(p) | (int64_t)get_u16(p + 4) << 32;
}

static void
pack_hit(const struct trail_hit *h, unsigned char *p)
{
	put_when(p, h->when);
	put_u16(p + 6, h->link);
	put_u32(p + 8, h->sent);
	p[12] = (unsigned char)((unsigned)h->click << 7 | ((unsigned)h->at_hit.verdict & 0x7f));
	p[13] = (unsigned char)h->at_hit.evidence;
	p[14] = (unsigned char)h->final.verdict;
	p[15] = (unsigned char)h->final.evidence;
}

void
trail_pack(const struct trail *t, struct buf *out)
{
	unsigned char p[HEAD_BYTES + 12], hit[HIT_BYTES];
	size_t n = HEAD_BYTES, deliveries = 0;

	while (deliveries < TRAIL_DELIVERIES && t->delivered[deliveries] != 0)
		deliveries++;
	p[0] = TRAIL_VERSION;
	p[1] = (unsigned char)((t->gateway ? FLAG_GATEWAY : 0) | (t->gap_first != 0 ? FLAG_GAP : 0) | deliveries << 4);
	put_u16(p + 2, (uint16_t)t->nlinks);
	put_u64(p + 4, t->opens);
	put_u64(p + 12, t->clicks);
	put_u32(p + 20, t->left);
	p[24] = (unsigned char)t->n;
	p[25] = t->gone;
	if (t->gap_first != 0) {
		put_when(p + n, t->gap_first);
		put_when(p + n + 6, t->gap_last);
		n += 12;
	}
	buf_add(out, span_make(p, n));
	for (size_t i = 0; i < deliveries; i++) {
		put_when(p, t->delivered[i]);
		buf_add(out, span_make(p, 6));
	}
	buf_add(out, span_make(t->links, t->nlinks));
	for (size_t i = 0; i < t->n; i++) {
		pack_hit(&t->hit[i], hit);
		buf_add(out, span_make(hit, sizeof hit));
	}
}

static bool
unpack_hit(struct trail_hit *h, const unsigned char *p)
{
	*h = (struct trail_hit){ .when = get_when(p), .link = get_u16(p + 6), .sent = get_u32(p + 8), .click = p[12] >> 7,
		.at_hit = { p[12] & 0x7f, p[13] }, .final = { p[14], p[15] }, .counted = { p[14], p[15] } };
	return p[13] < EVIDENCES && p[15] < EVIDENCES;
}

bool
trail_unpack(struct trail *t, struct span s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t gap, deliveries, n, at = HEAD_BYTES;
	bool good;

	*t = (struct trail){ 0 };
	if (s.n < HEAD_BYTES || p[0] != TRAIL_VERSION || (p[1] & ~(FLAG_GATEWAY | FLAG_GAP | 0xf0)) != 0)
		return false;
	gap = p[1] & FLAG_GAP ? 12 : 0;
	deliveries = p[1] >> 4;
	t->nlinks = get_u16(p + 2);
	n = p[24];
	if (deliveries > TRAIL_DELIVERIES || n > TRAIL_HITS || p[25] > GONE_ALL ||
	    s.n != HEAD_BYTES + gap + 6 * deliveries + t->nlinks + HIT_BYTES * n) {
		t->nlinks = 0;
		return false;
	}
	t->gateway = p[1] & FLAG_GATEWAY;
	t->opens = get_u64(p + 4);
	t->clicks = get_u64(p + 12);
	t->left = get_u32(p + 20);
	t->gone = p[25];
	if (gap) {
		t->gap_first = get_when(p + at);
		t->gap_last = get_when(p + at + 6);
		at += gap;
	}
	good = gap == 0 || t->gap_first != 0;
	for (size_t i = 0; i < deliveries; i++, at += 6) {
		t->delivered[i] = get_when(p + at);
		good = good && t->delivered[i] != 0;
	}
	if (t->nlinks > 0) {
		t->links = xmalloc(t->nlinks);
		memcpy(t->links, p + at, t->nlinks);
		at += t->nlinks;
	}
	if (n > 0)
		t->hit = xreallocarray(NULL, n, sizeof *t->hit);
	t->cap = n;
	for (; t->n < n; t->n++, at += HIT_BYTES)
		good = unpack_hit(&t->hit[t->n], p + at) && good;
	if (!good)
		trail_free(t);
	return good;
}
