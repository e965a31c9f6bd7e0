#include "common/brake.h"

#include "common/text.h"

#define WHOLE 10000u /* hundredths of a percent */
#define BASE_REACTIONS 50
#define BASE_HITS 100

static const char *const names[BRAKES] = {
	[BRAKE_NONE] = "none",
	[BRAKE_HAND] = "hand",
	[BRAKE_COMPLAINTS] = "complaints",
	[BRAKE_BOUNCES] = "bounces",
	[BRAKE_SHARE] = "share",
	[BRAKE_OUTAGE] = "outage",
	[BRAKE_SILENCE] = "silence",
};

const char *
brake_name(enum brake b)
{
	return text_name(names, BRAKES, b);
}

static uint64_t
most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A share of 100 % is never exceeded, and so no limit; of 0 for a warning there is none either. */
static bool
exceeds(uint64_t part, uint64_t of, unsigned limit)
{
	return limit > 0 && limit < WHOLE && (double)part * WHOLE >= (double)of * limit;
}

struct brake_rate
brake_find(enum brake b, const struct brake_counts *c, const struct brake_limits *l, bool was)
{
	struct brake_rate r = { .minimum = l->min_sent };
	unsigned warn = 0;

	switch (b) {
	case BRAKE_COMPLAINTS:
		r.part = c->complained;
		r.of = c->delivered >= c->sent / 2 ? c->delivered : c->sent;
		r.limit = l->complaints;
		warn = l->complaints_warn;
		break;
	case BRAKE_BOUNCES:
		r.part = c->bounced;
		r.of = most(c->sent, c->delivered);
		r.limit = l->bounces;
		warn = l->bounces_warn;
		break;
	case BRAKE_SHARE:
		r.part = c->by_class + c->spared;
		r.of = c->sent + c->skipped;
		r.limit = l->share;
		r.minimum = l->min_share;
		break;
	default:
		return r;
	}
	if (r.of < r.minimum || r.of == 0)
		return r;
	/* At most the share may be stopped, which is not yet too much when it is met. */
	if (b == BRAKE_SHARE)
		r.level = l->share < WHOLE && (double)r.part * WHOLE > (double)r.of * l->share * (was ? 0.9 : 1.0) ? BRAKE_ON : BRAKE_OFF;
	else
		r.level = exceeds(r.part, r.of, r.limit) ? BRAKE_ON : exceeds(r.part, r.of, warn) ? BRAKE_WARN : BRAKE_OFF;
	return r;
}

void
outage_add(struct outage *o, unsigned ago, int64_t tracked, int64_t reactions, int64_t hits, const struct outage_limits *l)
{
	if (ago < 24)
		o->reactions += reactions;
	else if (ago < 24 + OUTAGE_BASE_HOURS)
		o->reactions_base += reactions;
	if (ago >= OUTAGE_LAG_HOURS && ago < 24 + OUTAGE_LAG_HOURS)
		o->sent += tracked;
	else if (ago >= 24 + OUTAGE_LAG_HOURS && ago < OUTAGE_HOURS)
		o->sent_base += tracked;
	if (ago < l->silence)
		o->hits += hits;
	if (ago >= 24 && ago < 24 + OUTAGE_BASE_HOURS)
		o->hits_base += hits;
	if (ago >= l->silence && ago < 24)
		o->sent_now += tracked;
}

bool
outage_find(const struct outage *o, const struct outage_limits *l, bool was)
{
	double usual, limit;

	if (l->share == 0 || o->sent_base < (int64_t)l->min * 14 || o->sent_base == 0 || o->reactions_base < BASE_REACTIONS)
		return false;
	if (o->sent < (int64_t)l->min || o->sent <= 0)
		return was;
	usual = (double)o->reactions_base / (double)o->sent_base;
	limit = usual * l->share / WHOLE * (was ? 1.5 : 1.0);
	return (double)o->reactions < (double)o->sent * limit;
}

bool
outage_silent(const struct outage *o, const struct outage_limits *l)
{
	double usual = (double)o->hits_base / OUTAGE_BASE_HOURS * l->silence;

	return l->silence > 0 && l->silence < 24 && o->hits <= 0 && usual >= BASE_HITS && o->sent_now >= (int64_t)l->min;
}

/* ---- words ---- */

static void
add_percent(struct buf *b, double hundredths)
{
	buf_addf(b, "%.2f %%", hundredths / 100);
}

void
brake_explain(struct buf *b, const struct brake_rate *r)
{
	add_percent(b, r->of == 0 ? 0 : (double)r->part * WHOLE / (double)r->of);
	buf_addf(b, " of %llu (limit ", (unsigned long long)r->of);
	add_percent(b, r->limit);
	buf_adds(b, ")");
}

void
outage_explain(struct buf *b, const struct outage *o, const struct outage_limits *l)
{
	buf_addf(b, "reactions per message %.3f, usually %.3f (limit ", o->sent > 0 ? (double)o->reactions / (double)o->sent : 0,
	    o->sent_base > 0 ? (double)o->reactions_base / (double)o->sent_base : 0);
	add_percent(b, l->share);
	buf_adds(b, " of it)");
}
