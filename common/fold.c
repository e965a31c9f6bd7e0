#include "common/fold.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/engage.h"
#include "common/mem.h"
#include "common/text.h"

#define BATCH_LESS 1024  /* so few always fit into a transaction, if there is room at all */
#define SCAN 4096        /* touches read in one go */

/* What a batch adds to one campaign: the sums start from nothing, and what is taken back wraps around below zero. */
struct campaign_change {
	uint64_t id;
	struct campaign sums;
};

struct link_change {
	uint64_t campaign;
	uint16_t link;
	struct link_count sums;
};

struct volume_change {
	uint64_t id;
	uint32_t hour;
	enum volume_kind kind;
	struct volume sums;
};

struct batch {
	struct fold_txn *txn;
	struct rules rules;
	struct touch *touch;
	size_t n;
	struct campaign_change *campaign;
	size_t ncampaigns, capcampaigns;
	uint32_t *slot; /* by campaign: index + 1, or 0 */
	size_t nslots;
	struct link_change *link;
	size_t nlinks, caplinks;
	struct volume_change *volume;
	size_t nvolumes, capvolumes;
	uint32_t *volume_slot; /* by what volume_hash says: index + 1, or 0 */
	size_t nvolume_slots;
	uint32_t receiver; /* group of the recipient at work */
	enum store_result result; /* the first failure; nothing is done after it */
};

static bool
failed(struct batch *b, enum store_result r)
{
	if (r != STORE_OK && r != STORE_NONE && b->result == STORE_OK)
		b->result = r;
	return b->result != STORE_OK;
}

static void
batch_free(struct batch *b)
{
	free(b->touch);
	free(b->campaign);
	free(b->slot);
	free(b->link);
	free(b->volume);
	free(b->volume_slot);
}

/* ---- what an hour gets ---- */

static size_t
volume_hash(const struct volume_change *v)
{
	uint64_t h = (v->id ^ ((uint64_t)v->hour << 1 | v->kind)) * 0x9e3779b97f4a7c15;

	return (size_t)(h >> 32);
}

static uint32_t *
volume_slot(const struct batch *b, const struct volume_change *v)
{
	for (size_t i = volume_hash(v) & (b->nvolume_slots - 1);; i = (i + 1) & (b->nvolume_slots - 1)) {
		const struct volume_change *at = b->volume_slot[i] == 0 ? NULL : &b->volume[b->volume_slot[i] - 1];

		if (at == NULL || (at->id == v->id && at->hour == v->hour && at->kind == v->kind))
			return &b->volume_slot[i];
	}
}

/* Good until the next call. */
static struct volume *
volume_of(struct batch *b, uint32_t hour, enum volume_kind kind, uint64_t id)
{
	const struct volume_change wanted = { .id = id, .hour = hour, .kind = kind };
	uint32_t *slot;

	if (b->nvolumes == b->capvolumes) {
		b->capvolumes = b->capvolumes ? 2 * b->capvolumes : 64;
		b->volume = xreallocarray(b->volume, b->capvolumes, sizeof *b->volume);
		free(b->volume_slot);
		b->nvolume_slots = 4 * b->capvolumes;
		b->volume_slot = xcalloc(b->nvolume_slots, sizeof *b->volume_slot);
		for (size_t i = 0; i < b->nvolumes; i++)
			*volume_slot(b, &b->volume[i]) = (uint32_t)i + 1;
	}
	slot = volume_slot(b, &wanted);
	if (*slot == 0) {
		b->volume[b->nvolumes] = wanted;
		*slot = (uint32_t)++b->nvolumes;
	}
	return &b->volume[*slot - 1].sums;
}

/* Was this recipient stopped, or would have been but for a brake, because of the class? */
static bool
is_stopped_by_class(const struct touch *t)
{
	return t->kind == TOUCH_SKIPPED && (t->detail == CAUSE_INACTIVE || t->detail == CAUSE_SUNSET);
}

static void
add_sent_to(struct volume *v, const struct touch *t)
{
	v->sent++;
	v->tracked += (t->flags & TOUCH_TRACKED) != 0;
	v->spared += (t->flags & TOUCH_SPARED) != 0;
	/* What another system sent takes no part in the volumes of this one. */
	if (t->flags & (TOUCH_EXEMPT | TOUCH_IMPORTED))
		return;
	if (t->flags & TOUCH_SERIES)
		v->series++;
	else if (t->detail < ENGAGE_CLASSES)
		v->sent_class[t->detail]++;
}

static void
add_sent_volume(struct batch *b, const struct touch *t, uint32_t hour)
{
	add_sent_to(volume_of(b, hour, VOLUME_RECEIVER, t->sent), t);
	add_sent_to(volume_of(b, hour, VOLUME_STREAM, t->stream), t);
}

/* A recipient's reports go to the group that is known now: SENT, which says it, comes first in any row of facts. */
static void
add_to_volumes(struct batch *b, const struct touch *t)
{
	uint32_t hour = touch_seconds(t) / 3600, receiver = who_is_nobody(&t->who) ? 0 : b->receiver;

	switch (t->kind) {
	case TOUCH_SENT:
		add_sent_volume(b, t, hour);
		break;
	case TOUCH_SKIPPED:
		if (is_stopped_by_class(t))
			volume_of(b, hour, VOLUME_STREAM, t->stream)->by_class++;
		break;
	case TOUCH_DELIVERED:
		volume_of(b, hour, VOLUME_RECEIVER, receiver)->delivered++;
		break;
	case TOUCH_BOUNCED:
		volume_of(b, hour, VOLUME_RECEIVER, receiver)->bounced++;
		break;
	case TOUCH_SOFT_BOUNCED:
		volume_of(b, hour, VOLUME_RECEIVER, receiver)->soft_bounced++;
		break;
	case TOUCH_COMPLAINED:
		volume_of(b, hour, VOLUME_RECEIVER, receiver)->complained++;
		break;
	case TOUCH_OPEN:
	case TOUCH_CLICK:
		volume_of(b, hour, VOLUME_RECEIVER, 0)->hits++;
		/* It leaves the day, and no trail. */
		if (t->mode == MODE_DAYONLY && !who_is_nobody(&t->who))
			volume_of(b, hour, VOLUME_RECEIVER, receiver)->opens_human++;
		break;
	default:
		break;
	}
}

/* ---- what a campaign gets ---- */

/* Ids are keyed hashes, so any of their bits will do. */
static uint32_t *
slot_of(const struct batch *b, uint64_t id)
{
	for (size_t i = id & (b->nslots - 1);; i = (i + 1) & (b->nslots - 1))
		if (b->slot[i] == 0 || b->campaign[b->slot[i] - 1].id == id)
			return &b->slot[i];
}

/* Good until the next call. */
static struct campaign *
change_of(struct batch *b, uint64_t id)
{
	uint32_t *slot;

	if (b->ncampaigns == b->capcampaigns) {
		b->capcampaigns = b->capcampaigns ? 2 * b->capcampaigns : 16;
		b->campaign = xreallocarray(b->campaign, b->capcampaigns, sizeof *b->campaign);
		free(b->slot);
		b->nslots = 4 * b->capcampaigns;
		b->slot = xcalloc(b->nslots, sizeof *b->slot);
		for (size_t i = 0; i < b->ncampaigns; i++)
			*slot_of(b, b->campaign[i].id) = (uint32_t)i + 1;
	}
	slot = slot_of(b, id);
	if (*slot == 0) {
		b->campaign[b->ncampaigns] = (struct campaign_change){ .id = id };
		*slot = (uint32_t)++b->ncampaigns;
	}
	return &b->campaign[*slot - 1].sums;
}

static struct link_count *
change_link(struct batch *b, uint64_t campaign, uint16_t link)
{
	if (b->nlinks == b->caplinks) {
		b->caplinks = b->caplinks ? 2 * b->caplinks : 256;
		b->link = xreallocarray(b->link, b->caplinks, sizeof *b->link);
	}
	b->link[b->nlinks] = (struct link_change){ .campaign = campaign, .link = link };
	return &b->link[b->nlinks++].sums;
}

static void
add_sent(struct campaign *c, const struct touch *t)
{
	uint32_t when = touch_seconds(t);

	c->sent++;
	if (t->detail < ENGAGE_CLASSES)
		c->sent_class[t->detail]++;
	if (t->flags & TOUCH_TRACKED) {
		c->tracked++;
		c->untold += (t->agent & TOUCH_UNTOLD) != 0;
		c->untold_clicks += (t->agent & TOUCH_UNTOLD_CLICKS) != 0;
	}
	if (t->flags & TOUCH_OBSERVED)
		c->would_skip++;
	c->series += (t->flags & TOUCH_SERIES) != 0;
	c->holdout += (t->flags & TOUCH_HOLDOUT) != 0;
	c->spared += (t->flags & TOUCH_SPARED) != 0;
	c->linked += t->link > 0;
	c->one_link += t->link == 1;
	if (c->first == 0 || when < c->first)
		c->first = when;
	if (when > c->last)
		c->last = when;
}

static void
add_event(struct campaign *c, const struct touch *t)
{
	switch (t->kind) {
	case TOUCH_SENT:
		add_sent(c, t);
		break;
	case TOUCH_SKIPPED:
		c->skipped++;
		c->by_class += is_stopped_by_class(t);
		break;
	case TOUCH_DELIVERED:
		c->delivered++;
		break;
	case TOUCH_BOUNCED:
		c->bounced++;
		break;
	case TOUCH_SOFT_BOUNCED:
		c->soft_bounced += t->detail == BOUNCE_SOFT;
		c->policy_bounced += t->detail == BOUNCE_POLICY;
		break;
	case TOUCH_COMPLAINED:
		c->complained++;
		break;
	default:
		break;
	}
}

/* A hit of nobody in particular stands alone: what its request showed is all there is. */
static void
add_lone_hit(struct batch *b, struct campaign *c, const struct touch *t)
{
	bool human = robot_is_human(t->verdict);
	enum evidence e = t->detail < EVIDENCES ? (enum evidence)t->detail : EVIDENCE_UNKNOWN;
	struct link_count *link;

	if (e == EVIDENCE_NONE && !human)
		e = EVIDENCE_UNKNOWN;
	if (t->kind == TOUCH_OPEN) {
		c->opens_all++;
		c->opens_human += human;
		c->open_by[e]++;
		return;
	}
	c->clicks_all++;
	c->clicks_human += human;
	c->click_by[e]++;
	if (t->link == 0)
		return;
	link = change_link(b, t->campaign, t->link);
	link->clicks_all++;
	link->clicks_human += human;
}

static bool
is_hit(const struct touch *t)
{
	return t->kind == TOUCH_OPEN || t->kind == TOUCH_CLICK;
}

/* All but what a trail says. */
static void
add_to_campaign(struct batch *b, const struct touch *t)
{
	struct campaign *c;

	add_to_volumes(b, t);
	if (t->campaign == 0 || t->kind == 0)
		return;
	c = change_of(b, t->campaign);
	/* All touches of a campaign name the same stream; a maximum commutes whatever they say. */
	if (t->stream > c->stream)
		c->stream = t->stream;
	if (is_hit(t)) {
		if (!trail_wants(t))
			add_lone_hit(b, c, t);
	} else
		add_event(c, t);
}

/* ---- trails ---- */

static void
count_reactions(struct batch *b, const struct trail *t, int64_t sign)
{
	struct volume *v = NULL;
	uint32_t last = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct trail_hit *h = &t->hit[i];
		uint32_t hour = (uint32_t)(h->when / 3600000);

		if (!trail_counts(&h->final))
			continue;
		if (v == NULL || hour != last)
			v = volume_of(b, hour, VOLUME_RECEIVER, b->receiver);
		last = hour;
		*(h->click ? &v->clicks_human : &v->opens_human) += sign;
	}
}

/* Adds what a trail says to its campaign and links, or with sign -1 takes it out again. */
static void
count_trail(struct batch *b, uint64_t campaign, const struct trail *t, uint64_t sign)
{
	struct campaign *c;
	struct tally y;

	count_reactions(b, t, (int64_t)sign);
	if (campaign == 0)
		return;
	c = change_of(b, campaign);
	trail_tally(t, &y);
	c->opens_all += sign * (uint64_t)y.opens_all;
	c->opens_human += sign * (uint64_t)y.opens_human;
	c->clicks_all += sign * (uint64_t)y.clicks_all;
	c->clicks_human += sign * (uint64_t)y.clicks_human;
	c->openers_all += sign * (uint64_t)y.openers_all;
	c->openers_human += sign * (uint64_t)y.openers_human;
	c->clickers_all += sign * (uint64_t)y.clickers_all;
	c->clickers_human += sign * (uint64_t)y.clickers_human;
	c->left += sign * (uint64_t)y.left;
	for (size_t i = 0; i < EVIDENCE_MAX; i++) {
		c->open_by[i] += sign * (uint64_t)y.opens[i];
		c->click_by[i] += sign * (uint64_t)y.clicks[i];
	}
	for (size_t i = 0; i < t->n; i++) {
		const struct trail_hit *h = &t->hit[i];
		struct link_count *link;
		bool again = false;

		if (!h->click || h->link == 0 || !trail_counts(&h->final))
			continue;
		for (size_t k = 0; k < i && !again; k++)
			again = t->hit[k].click && t->hit[k].link == h->link && trail_counts(&t->hit[k].final);
		link = change_link(b, campaign, h->link);
		link->clicks_human += sign;
		link->clickers_human += again || (t->gone & GONE_CLICKER) ? 0 : sign;
	}
}

static bool
has_link(const struct trail *t, uint16_t link)
{
	return link / 8u < t->nlinks && t->links[link / 8u] >> link % 8 & 1;
}

static void
add_to_trail(struct batch *b, struct trail *trail, const struct touch *t)
{
	if (t->kind == TOUCH_CLICK && t->campaign != 0 && t->link != 0) {
		struct link_count *link = change_link(b, t->campaign, t->link);

		link->clicks_all++;
		link->clickers_all += !(trail->gone & GONE_CLICKER) && !has_link(trail, t->link);
	}
	trail_add(trail, t);
}

/* ---- people: the batch in the order of who, campaign, and day where there is no campaign ---- */

static uint32_t
day_of(const struct touch *t)
{
	return t->campaign == 0 ? touch_seconds(t) / 86400 : 0;
}

static int
by_number(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int
by_trail(const void *a, const void *b)
{
	const struct touch *s = a, *t = b;
	int order = memcmp(&s->who, &t->who, sizeof s->who);

	if (order != 0)
		return order;
	return s->campaign != t->campaign ? by_number(s->campaign, t->campaign) : by_number(day_of(s), day_of(t));
}

static void
add_subscription(struct batch *b, const struct touch *t)
{
	struct subscription sub;

	if (failed(b, fold_get_subscription(b->txn, &t->who, t->stream, &sub)))
		return;
	subscription_add(&sub, t);
	failed(b, fold_put_subscription(b->txn, &t->who, t->stream, &sub));
}

/* Judges a trail, now that it has all that is new, and puts it in its place. */
static void
settle_trail(struct batch *b, const struct who *who, uint64_t campaign, uint32_t day, struct trail *trail, struct profile *p,
    bool *took_back)
{
	trail_judge(trail, &b->rules);
	count_trail(b, campaign, trail, 1);
	*took_back = *took_back || trail->took_back;
	for (size_t i = 0; i < trail->n; i++)
		if (trail->hit[i].fresh)
			profile_add_hit(p, trail->hit[i].click, &trail->hit[i].final, (uint32_t)(trail->hit[i].when / 1000));
	failed(b, fold_put_trail(b->txn, who, campaign, day, trail));
}

/* The touches from..to are one recipient's and of one campaign; at least one belongs in its trail. */
static void
add_trail(struct batch *b, size_t from, size_t to, struct profile *p, bool *took_back)
{
	const struct touch *t = &b->touch[from];
	struct trail trail;
	enum store_result r = fold_get_trail(b->txn, &t->who, t->campaign, day_of(t), &trail);

	if (!failed(b, r)) {
		if (r == STORE_OK)
			count_trail(b, t->campaign, &trail, (uint64_t)-1);
		for (size_t i = from; i < to; i++)
			if (trail_wants(&b->touch[i]))
				add_to_trail(b, &trail, &b->touch[i]);
		settle_trail(b, &t->who, t->campaign, day_of(t), &trail, p, took_back);
	}
	trail_free(&trail);
}

static void
add_stands(void *arg, uint64_t campaign, uint32_t day, struct trail *t)
{
	struct profile *p = arg;
	uint64_t opens = t->opens, clicks = t->clicks;

	(void)campaign;
	(void)day;
	for (size_t i = 0; i < t->n; i++) {
		const struct trail_hit *h = &t->hit[i];

		profile_add_hit(p, h->click, &h->final, (uint32_t)(h->when / 1000));
		opens -= !h->click;
		clicks -= h->click;
	}
	profile_add_machines(p, opens, clicks);
}

/* What was taken back cannot be subtracted from maxima: from what stands they are made anew. */
static void
sum_up_anew(struct batch *b, const struct who *who, struct profile *p)
{
	struct profile past;

	failed(b, fold_get_past(b->txn, who, &past));
	profile_forget_hits(p);
	profile_recall_hits(p, &past);
	failed(b, fold_each_trail(b->txn, who, add_stands, p));
}

/* The run of one recipient's touches that starts at i; returns where the next one starts. */
static size_t
add_person(struct batch *b, size_t i)
{
	const struct who who = b->touch[i].who;
	bool took_back = false;
	struct profile p;

	if (failed(b, fold_get_person(b->txn, &who, &p)))
		return b->n;
	/* The group first: hits are counted by it.  Sums commute, so the rest may come in any order. */
	for (size_t k = i; k < b->n && who_eq(&who, &b->touch[k].who); k++)
		if (b->touch[k].kind != 0 && !(is_hit(&b->touch[k]) && trail_wants(&b->touch[k])))
			profile_add(&p, &b->touch[k]);
	b->receiver = p.receiver;
	while (i < b->n && b->result == STORE_OK && who_eq(&who, &b->touch[i].who)) {
		size_t from = i;
		bool trail = false;

		for (; i < b->n && by_trail(&b->touch[from], &b->touch[i]) == 0; i++) {
			const struct touch *t = &b->touch[i];

			if (t->kind == 0)
				continue;
			trail = trail || trail_wants(t);
			if (touch_is_subscription(t))
				add_subscription(b, t);
			add_to_campaign(b, t);
		}
		if (trail)
			add_trail(b, from, i, &p, &took_back);
	}
	if (took_back)
		sum_up_anew(b, &who, &p);
	failed(b, fold_put_person(b->txn, &who, &p));
	return i;
}

/* The first bytes of who: keyed hashes hardly ever have the same. */
static uint64_t
first_of(const struct who *who)
{
	uint64_t v = 0;

	for (size_t i = 0; i < sizeof v; i++)
		v = v << 8 | who->b[i];
	return v;
}

/* The touches are in the order of first_of already. */
static void
sort_touches(struct batch *b)
{
	for (size_t i = 0, end; i < b->n; i = end) {
		uint64_t first = first_of(&b->touch[i].who);
		bool sorted = true;

		for (end = i + 1; end < b->n && first_of(&b->touch[end].who) == first; end++)
			sorted = sorted && by_trail(&b->touch[end - 1], &b->touch[end]) <= 0;
		if (!sorted)
			qsort(b->touch + i, end - i, sizeof *b->touch, by_trail);
	}
}

static void
add_people(struct batch *b)
{
	sort_touches(b);
	for (size_t i = 0; i < b->n && b->result == STORE_OK;) {
		if (who_is_nobody(&b->touch[i].who))
			add_to_campaign(b, &b->touch[i++]);
		else
			i = add_person(b, i);
	}
}

/* ---- campaigns and links ---- */

static int
by_id(const void *a, const void *b)
{
	const struct campaign_change *x = a, *y = b;

	return by_number(x->id, y->id);
}

/* Behind stream, first and last all are counters. */
static void
add_sums(struct campaign *to, const struct campaign *add)
{
	size_t from = offsetof(struct campaign, sent) / sizeof(uint64_t);
	uint64_t sum[sizeof *to / sizeof(uint64_t)], more[sizeof *to / sizeof(uint64_t)];
	struct campaign was = *to;

	memcpy(sum, to, sizeof sum);
	memcpy(more, add, sizeof more);
	for (size_t i = from; i < sizeof sum / sizeof *sum; i++)
		sum[i] += more[i];
	memcpy(to, sum, sizeof sum);
	to->stream = add->stream > was.stream ? add->stream : was.stream;
	to->first = was.first == 0 || (add->first != 0 && add->first < was.first) ? add->first : was.first;
	to->last = add->last > was.last ? add->last : was.last;
}

static void
add_campaigns(struct batch *b)
{
	if (b->ncampaigns > 0)
		qsort(b->campaign, b->ncampaigns, sizeof *b->campaign, by_id);
	for (size_t i = 0; i < b->ncampaigns && b->result == STORE_OK; i++) {
		struct campaign c;

		if (failed(b, fold_get_campaign(b->txn, b->campaign[i].id, &c)))
			return;
		add_sums(&c, &b->campaign[i].sums);
		failed(b, fold_put_campaign(b->txn, b->campaign[i].id, &c));
	}
}

static int
by_link(const void *a, const void *b)
{
	const struct link_change *x = a, *y = b;

	return x->campaign != y->campaign ? by_number(x->campaign, y->campaign) : by_number(x->link, y->link);
}

static void
add_links(struct batch *b)
{
	if (b->nlinks > 0)
		qsort(b->link, b->nlinks, sizeof *b->link, by_link);
	for (size_t i = 0; i < b->nlinks && b->result == STORE_OK;) {
		const struct link_change *first = &b->link[i];
		struct link_count c;

		if (failed(b, fold_get_link(b->txn, first->campaign, first->link, &c)))
			return;
		for (; i < b->nlinks && by_link(first, &b->link[i]) == 0; i++) {
			const struct link_count *add = &b->link[i].sums;

			c.clicks_all += add->clicks_all;
			c.clicks_human += add->clicks_human;
			c.clickers_all += add->clickers_all;
			c.clickers_human += add->clickers_human;
		}
		failed(b, fold_put_link(b->txn, first->campaign, first->link, &c));
	}
}

static int
by_hour(const void *a, const void *b)
{
	const struct volume_change *x = a, *y = b;

	if (x->hour != y->hour)
		return by_number(x->hour, y->hour);
	return x->kind != y->kind ? by_number(x->kind, y->kind) : by_number(x->id, y->id);
}

/* A trail that was taken out and put back as it was has changed nothing. */
static bool
is_nothing(const struct volume *v)
{
	static const struct volume nothing;

	return memcmp(v, &nothing, sizeof nothing) == 0;
}

static void
add_volumes(struct batch *b)
{
	if (b->nvolumes > 0)
		qsort(b->volume, b->nvolumes, sizeof *b->volume, by_hour);
	for (size_t i = 0; i < b->nvolumes && b->result == STORE_OK; i++) {
		const struct volume_change *c = &b->volume[i];
		int64_t sum[sizeof c->sums / sizeof(int64_t)], more[sizeof c->sums / sizeof(int64_t)];
		struct volume v;

		if (is_nothing(&c->sums))
			continue;
		if (failed(b, fold_get_volume(b->txn, c->hour, c->kind, c->id, &v)))
			return;
		memcpy(sum, &v, sizeof sum);
		memcpy(more, &c->sums, sizeof more);
		for (size_t k = 0; k < sizeof sum / sizeof *sum; k++)
			sum[k] += more[k];
		memcpy(&v, sum, sizeof v);
		failed(b, fold_put_volume(b->txn, c->hour, c->kind, c->id, &v));
	}
}

/* What came together for all of these. */
static void
add_counts(struct batch *b)
{
	if (b->result == STORE_OK)
		add_campaigns(b);
	if (b->result == STORE_OK)
		add_links(b);
	if (b->result == STORE_OK)
		add_volumes(b);
}

static enum store_result
get_rules(struct fold_txn *txn, struct rules *rules)
{
	enum store_result r = fold_get_rules(txn, rules);

	if (r == STORE_NONE)
		*rules = RULES_DEFAULT;
	return r;
}

/* ---- what stayed of touches that were taken out of the facts (store_tidy) ---- */

/* Maxima only: to add one that is still among the facts, or twice, changes nothing. */
static bool
add_kept(void *arg, const struct touch *t)
{
	struct batch *b = arg;
	struct profile p;

	if (failed(b, fold_get_person(b->txn, &t->who, &p)))
		return false;
	if (touch_is_subscription(t))
		add_subscription(b, t);
	profile_add(&p, t);
	return !failed(b, fold_put_person(b->txn, &t->who, &p));
}

/* What campaigns owe to people who were forgotten since.  Once, for these are no maxima. */
static bool
add_carried(void *arg, const struct carried *c)
{
	struct batch *b = arg;

	if (c->of_link)
		*change_link(b, c->campaign, c->link) = c->link_sums;
	else
		add_sums(change_of(b, c->campaign), &c->sums);
	return true;
}

/* ---- a row of touches, in the order of recipients ---- */

void
fold_row_free(struct fold_row *row)
{
	free(row->place);
	*row = (struct fold_row){ 0 };
}

static int
by_place(const void *a, const void *b)
{
	const struct fold_place *x = a, *y = b;

	return x->key != y->key ? by_number(x->key, y->key) : by_number(x->value, y->value);
}

/* By key alone, a byte at a time: linear, and what has the same key stays in its order. */
static void
sort_places(struct fold_place *place, size_t n)
{
	struct fold_place *from = place, *to = xreallocarray(NULL, n + 1, sizeof *to), *swap;

	for (unsigned shift = 0; shift < 64; shift += 8) {
		size_t at[257] = { 0 };

		for (size_t i = 0; i < n; i++)
			at[(from[i].key >> shift & 255) + 1]++;
		if (n == 0 || at[(from[0].key >> shift & 255) + 1] == n)
			continue;
		for (size_t k = 1; k < 256; k++)
			at[k] += at[k - 1];
		for (size_t i = 0; i < n; i++)
			to[at[from[i].key >> shift & 255]++] = from[i];
		swap = from;
		from = to;
		to = swap;
	}
	if (from != place) {
		memcpy(place, from, n * sizeof *place);
		to = from;
	}
	free(to);
}

/* The first that is not before it. */
static size_t
find_place(const struct fold_row *row, const struct fold_place *at)
{
	size_t low = 0, high = row->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (by_place(&row->place[middle], at) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
add_place(struct fold_row *row, const struct numbered *t)
{
	struct fold_place place = { first_of(&t->touch.who), t->seq };

	if (by_place(&place, &row->from) < 0)
		return;
	if (row->n == row->cap) {
		row->cap = row->cap ? 2 * row->cap : 1024;
		row->place = xreallocarray(row->place, row->cap, sizeof *row->place);
	}
	row->place[row->n++] = place;
}

/*
 * What is left of a row that somebody has begun, or else as many touches as
 * come next, at most max.  STORE_NONE: all is summed up.
 */
static enum store_result
begin_row(struct store *s, struct fold_row *row, size_t max)
{
	struct numbered *some = xreallocarray(NULL, SCAN, sizeof *some);
	struct sweep sweep;
	enum store_result r = store_sweep(s, &row->folded, &sweep);
	uint64_t at = row->folded;
	bool more = r == STORE_OK || r == STORE_NONE;
	size_t n = 0, seen = 0;

	row->from = (struct fold_place){ sweep.who, sweep.seq };
	row->upto = sweep.upto;
	for (; more; seen += n) {
		size_t want = sweep.upto == 0 && max - seen < SCAN ? max - seen : SCAN;

		if (want == 0 || (r = store_touches(s, at, some, want, &n)) != STORE_OK || n == 0)
			break;
		for (size_t i = 0; i < n && more; i++) {
			if ((more = sweep.upto == 0 || some[i].seq <= sweep.upto))
				add_place(row, &some[i]);
		}
		at = some[n - 1].seq;
	}
	free(some);
	if (r > STORE_NONE)
		return r;
	if (sweep.upto == 0)
		row->upto = seen > 0 || row->folded > 0 ? at : store_last(s); /* all may be gone, but something have stayed of them */
	if (row->upto == row->folded)
		return STORE_NONE;
	sort_places(row->place, row->n);
	return STORE_OK;
}

/* The touches of n places from `start' on, in their order; facts are read in that of the numbers. */
static void
take_touches(struct store *s, struct batch *b, const struct fold_row *row, size_t start, size_t n)
{
	struct fold_place *number = xcalloc(n + 1, sizeof *number);
	struct numbered *some = xcalloc(n + 1, sizeof *some);

	b->touch = xcalloc(n + 1, sizeof *b->touch);
	b->n = n;
	for (size_t i = 0; i < n; i++)
		number[i] = (struct fold_place){ row->place[start + i].value, i };
	sort_places(number, n);
	for (size_t i = 0; i < n; i++)
		some[i].seq = number[i].key;
	failed(b, store_touches_at(s, some, n));
	for (size_t i = 0; i < n; i++)
		b->touch[number[i].value] = some[i].touch;
	free(number);
	free(some);
}

/* Where the row stands, now that nobody else can move it; all is 0 when nobody began.  STORE_MOVED: it is another one. */
static enum store_result
find_start(struct batch *b, const struct fold_row *row, uint64_t folded, struct sweep *sweep, size_t *start)
{
	struct fold_place from;
	enum store_result r = fold_get_sweep(b->txn, sweep);

	if (r > STORE_NONE)
		return r;
	from = (struct fold_place){ sweep->who, sweep->seq };
	if (folded != row->folded || (r == STORE_OK && sweep->upto != row->upto) || by_place(&from, &row->from) < 0)
		return STORE_MOVED;
	*start = find_place(row, &from);
	return STORE_OK;
}

/* ---- an erasure that state did not follow, because somebody died in it ---- */

/* With the state's lock.  STORE_NONE: state has followed.  Until it has nothing is summed up that would be erased with the rest. */
static enum store_result
find_erasing(struct batch *b, struct store *s, uint64_t *number, struct who **who, size_t *n)
{
	enum store_result r = store_erasing(s, number, who, n);
	uint64_t erased;

	if (r == STORE_OK && !failed(b, fold_get_erased(b->txn, &erased)) && erased == *number)
		r = STORE_NONE;
	return r;
}

static void
erase_people(struct batch *b, const struct who *who, size_t n)
{
	for (size_t i = 0; i < n && b->result == STORE_OK; i++)
		failed(b, fold_erase_person(b->txn, &who[i]));
}

/*
 * One transaction: the next max of those people; *at says how many were done,
 * of *n, of the erasure with that number.  STORE_NONE: there is none to finish.
 */
static enum store_result
finish_some(struct store *s, uint64_t *number, size_t *at, size_t max, size_t *n)
{
	struct batch b = { .result = STORE_OK };
	uint64_t folded, was = *number;
	struct who *who = NULL;
	enum store_result r;
	size_t some;

	if ((b.txn = fold_begin(s, &folded)) == NULL)
		return STORE_ERROR;
	r = find_erasing(&b, s, number, &who, n);
	failed(&b, r);
	if (*number != was)
		*at = 0;
	some = r == STORE_OK && *n - *at < max ? *n - *at : max;
	if (r == STORE_OK) {
		erase_people(&b, who + *at, some);
		for (size_t i = *at; i < *at + some && b.result == STORE_OK; i++)
			failed(&b, store_each_kept_of(s, &who[i], add_kept, &b));
	}
	if (r == STORE_OK && *at + some == *n)
		failed(&b, fold_put_erased(b.txn, *number));
	if (r == STORE_OK && b.result == STORE_OK)
		b.result = fold_commit_rest(b.txn);
	else
		fold_abort(b.txn);
	free(who);
	batch_free(&b);
	if (r == STORE_OK && b.result == STORE_OK)
		*at += some;
	return b.result != STORE_OK ? b.result : r;
}

static enum store_result
finish_erasing(struct store *s)
{
	size_t at = 0, max = SIZE_MAX, n;
	uint64_t number;
	enum store_result r;

	if ((r = store_erasing(s, &number, NULL, &n)) != STORE_OK)
		return r;
	/* Nothing is summed up before it: where there is no room for all at once there may be for some, and these make more. */
	do {
		r = finish_some(s, &number, &at, max, &n);
		if (r == STORE_FULL && max > 1 && n - at > 1) {
			max = (n - at < max ? n - at : max) / 2;
			r = STORE_OK;
		}
	} while (r == STORE_OK && at < n);
	if (r <= STORE_NONE)
		(void)store_erased(s, number); /* else the next one does */
	return r <= STORE_NONE ? STORE_OK : r;
}

/* With the state's lock: is there something to finish first? */
static bool
is_erasing(struct batch *b, struct store *s)
{
	uint64_t number;
	size_t n;
	enum store_result r = find_erasing(b, s, &number, NULL, &n);

	return failed(b, r == STORE_OK ? STORE_MOVED : r);
}

/* One transaction: the next max touches of a row; *n says how many there were, also when it fails; *last, whether the row ends there. */
static enum store_result
fold_part(struct store *s, const struct fold_row *row, size_t max, size_t *n, bool *last)
{
	struct batch b = { .result = STORE_OK };
	size_t start = 0, end = 0;
	struct sweep sweep = { 0 };
	uint64_t folded;
	bool first;

	if ((b.txn = fold_begin(s, &folded)) == NULL)
		return STORE_ERROR;
	if (!is_erasing(&b, s) && !failed(&b, find_start(&b, row, folded, &sweep, &start))) {
		end = row->n - start < max ? row->n : start + max;
		take_touches(s, &b, row, start, end - start);
		failed(&b, get_rules(b.txn, &b.rules));
	}
	/* An empty state is a new one or a lost one: then what stayed comes back first. */
	first = sweep.upto == 0 && folded == 0;
	if (first && b.result == STORE_OK)
		failed(&b, store_each_kept(s, add_kept, &b));
	if (first && b.result == STORE_OK)
		failed(&b, store_each_carried(s, add_carried, &b));
	if (b.result == STORE_OK)
		add_people(&b);
	add_counts(&b);
	*last = end == row->n;
	if (b.result == STORE_OK)
		failed(&b, fold_put_sweep(b.txn, *last ? NULL :
		    &(struct sweep){ row->upto, row->place[end].key, row->place[end].value, sweep.done + end - start }));
	if (b.result == STORE_OK)
		b.result = fold_commit(b.txn, *last ? row->upto : folded);
	else
		fold_abort(b.txn);
	batch_free(&b);
	*n = end - start;
	return b.result;
}

enum store_result
fold_sweep(struct store *s, struct fold_row *row, size_t length, size_t max, size_t *n)
{
	enum store_result r;
	size_t tried = max;
	bool last = false;

	*n = 0;
	if (row->upto == 0 && (r = finish_erasing(s)) > STORE_NONE)
		return r;
	if (row->upto == 0 && (r = begin_row(s, row, length)) != STORE_OK) {
		fold_row_free(row);
		return r;
	}
	/* There is a limit of pages in one transaction, too: before the file is called full, try with less. */
	while ((r = fold_part(s, row, tried, n, &last)) == STORE_FULL && *n > BATCH_LESS)
		tried = *n / 4;
	if (r != STORE_OK)
		*n = 0;
	/* What there is no room for is tried again each second, and two million touches are not read anew for that. */
	if (r == STORE_MOVED || (r == STORE_OK && last))
		fold_row_free(row);
	return r;
}

/* ---- other rules ---- */

static bool
same_rules(const struct rules *a, const struct rules *b)
{
	unsigned char x[RULES_BYTES], y[RULES_BYTES];

	rules_pack(a, x);
	rules_pack(b, y);
	return memcmp(x, y, sizeof x) == 0;
}

enum store_result
fold_adopt(struct store *s, const struct rules *rules, bool first_only)
{
	static const struct who from_start;
	struct fold_txn *txn;
	enum store_result r;
	struct rules old;
	uint64_t folded;
	bool known;

	/* Mostly they are the same, and looking is cheaper than waiting for the lock. */
	r = store_rules(s, &old);
	if (r == STORE_OK && (first_only || same_rules(&old, rules)))
		return STORE_OK;
	if ((txn = fold_begin(s, &folded)) == NULL)
		return STORE_ERROR;
	known = (r = fold_get_rules(txn, &old)) == STORE_OK;
	if (r > STORE_NONE || (known && (first_only || same_rules(&old, rules)))) {
		fold_abort(txn);
		return r > STORE_NONE ? r : STORE_OK;
	}
	if ((r = fold_put_rules(txn, rules)) != STORE_OK || (r = fold_put_rejudged(txn, &from_start)) != STORE_OK) {
		fold_abort(txn);
		return r;
	}
	return fold_commit_rest(txn);
}

struct trail_keys {
	struct {
		uint64_t campaign;
		uint32_t day;
	} *key;
	size_t n, cap;
};

static void
take_key(void *arg, uint64_t campaign, uint32_t day, struct trail *t)
{
	struct trail_keys *k = arg;

	(void)t;
	if (k->n == k->cap) {
		k->cap = k->cap ? 2 * k->cap : 16;
		k->key = xreallocarray(k->key, k->cap, sizeof *k->key);
	}
	k->key[k->n].campaign = campaign;
	k->key[k->n++].day = day;
}

static void
rejudge_person(struct batch *b, const struct who *who)
{
	struct trail_keys keys = { 0 };
	bool took_back = false;
	struct profile p;

	failed(b, fold_each_trail(b->txn, who, take_key, &keys));
	failed(b, fold_get_person(b->txn, who, &p));
	b->receiver = p.receiver;
	for (size_t i = 0; i < keys.n && b->result == STORE_OK; i++) {
		struct trail trail;

		if (!failed(b, fold_get_trail(b->txn, who, keys.key[i].campaign, keys.key[i].day, &trail))) {
			count_trail(b, keys.key[i].campaign, &trail, (uint64_t)-1);
			settle_trail(b, who, keys.key[i].campaign, keys.key[i].day, &trail, &p, &took_back);
		}
		trail_free(&trail);
	}
	free(keys.key);
	if (!took_back || b->result != STORE_OK)
		return;
	sum_up_anew(b, who, &p);
	failed(b, fold_put_person(b->txn, who, &p));
}

static enum store_result
rejudge_people(struct store *s, size_t max)
{
	struct batch b = { .result = STORE_OK };
	enum store_result r;
	uint64_t folded;
	struct who who;

	if ((b.txn = fold_begin(s, &folded)) == NULL)
		return STORE_ERROR;
	if ((r = fold_get_rejudged(b.txn, &who)) != STORE_OK) {
		fold_abort(b.txn);
		return r;
	}
	failed(&b, get_rules(b.txn, &b.rules));
	for (size_t i = 0; i < max && b.result == STORE_OK && (r = fold_next_trail(b.txn, &who)) == STORE_OK; i++)
		rejudge_person(&b, &who);
	failed(&b, r);
	add_counts(&b);
	if (b.result == STORE_OK)
		failed(&b, fold_put_rejudged(b.txn, r == STORE_NONE ? NULL : &who));
	if (b.result == STORE_OK)
		b.result = fold_commit_rest(b.txn);
	else
		fold_abort(b.txn);
	batch_free(&b);
	return b.result;
}

enum store_result
fold_rejudge(struct store *s, size_t max)
{
	enum store_result r;

	if (!store_rejudging(s))
		return STORE_NONE;
	if ((r = finish_erasing(s)) > STORE_NONE)
		return r;
	/* A page is written anew for each person: what is nearly full has room for a few of them, and again for a few. */
	while ((r = rejudge_people(s, max)) == STORE_FULL && max > 1)
		max = (max + 3) / 4;
	return r;
}

/* ---- what single hits left behind goes with the facts ---- */

struct aging {
	struct batch *b;
	const struct tidy *how;
	struct trail_keys old;
};

static void
find_old(void *arg, uint64_t campaign, uint32_t day, struct trail *t)
{
	struct aging *a = arg;
	struct trail past;

	if (trail_part(t, &a->b->rules, a->how->before, a->how->future, &past))
		take_key(&a->old, campaign, day, t);
	trail_free(&past);
}

/* Campaigns, links and the profile have counted it, and go on with that. */
static void
age_person(struct batch *b, const struct who *who, const struct tidy *how, bool *any)
{
	struct aging a = { .b = b, .how = how };
	struct profile p;

	failed(b, fold_each_trail(b->txn, who, find_old, &a));
	if (a.old.n > 0 && !failed(b, fold_get_past(b->txn, who, &p))) {
		for (size_t i = 0; i < a.old.n && b->result == STORE_OK; i++) {
			uint64_t campaign = a.old.key[i].campaign;
			uint32_t day = a.old.key[i].day;
			struct trail trail, past = { 0 };

			if (!failed(b, fold_get_trail(b->txn, who, campaign, day, &trail))) {
				trail_part(&trail, &b->rules, how->before, how->future, &past);
				add_stands(&p, campaign, day, &past);
				/* Nobody is counted twice where no campaign counts, and the key would still tell the day. */
				if (campaign == 0)
					trail.gone = 0;
				failed(b, fold_put_trail(b->txn, who, campaign, day, &trail));
			}
			trail_free(&trail);
			trail_free(&past);
		}
		if (b->result == STORE_OK)
			failed(b, fold_put_past(b->txn, who, &p));
		*any = true;
	}
	free(a.old.key);
}

static enum store_result
age_people(struct store *s, const struct tidy *how, struct who *from, size_t max)
{
	struct batch b = { .result = STORE_OK };
	enum store_result r = STORE_OK;
	struct who who = *from;
	bool any = false;
	uint64_t folded;

	if ((b.txn = fold_begin(s, &folded)) == NULL)
		return STORE_ERROR;
	failed(&b, get_rules(b.txn, &b.rules));
	for (size_t i = 0; i < max && b.result == STORE_OK && (r = fold_next_trail(b.txn, &who)) == STORE_OK; i++)
		age_person(&b, &who, how, &any);
	failed(&b, r);
	if (b.result == STORE_OK && any)
		b.result = fold_commit_rest(b.txn);
	else
		fold_abort(b.txn); /* without a flush */
	if (b.result != STORE_OK)
		return b.result;
	*from = who;
	return r;
}

enum store_result
fold_age(struct store *s, const struct tidy *how, struct who *from, size_t max)
{
	enum store_result r;

	while ((r = age_people(s, how, from, max)) == STORE_FULL && max > 1)
		max = (max + 3) / 4;
	return r;
}

/* Others write on meanwhile: what comes after the call is not waited for. */
enum store_result
fold_all(struct store *s)
{
	uint64_t last = store_last(s);
	struct fold_row row = { 0 };
	enum store_result judged, r;
	size_t n;

	do
		judged = fold_rejudge(s, FOLD_REJUDGE);
	while (judged == STORE_OK);
	do
		r = fold_sweep(s, &row, FOLD_SWEEP, FOLD_BATCH, &n);
	while ((r == STORE_OK || r == STORE_MOVED) && store_folded(s) < last);
	fold_row_free(&row);
	if (r != STORE_OK && r != STORE_MOVED && r != STORE_NONE)
		return r;
	return judged == STORE_NONE ? STORE_OK : judged;
}

/* ---- people who are forgotten ---- */

#define FORGET_TRIES 1000 /* others write on: each time there is less to look at */

struct search {
	struct store *store;
	struct forgetting *how;
	struct numbered *touch; /* of those who are to be forgotten */
	size_t n, cap;
	uint64_t upto;
	struct link_of *link;
	size_t nlinks;
	struct touch *keep;
	size_t nkeep, capkeep;
};

int
who_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct who));
}

static bool
is_sought(const struct search *x, const struct who *who)
{
	return !who_is_nobody(who) && bsearch(who, x->how->who, x->how->n, sizeof *who, who_order) != NULL;
}

/* Their touches from x->upto on, to the end. */
static enum store_result
search(struct search *x)
{
	struct numbered *some = xcalloc(SCAN, sizeof *some);
	uint64_t last = store_last(x->store); /* the row may end before it */
	enum store_result r;
	size_t n;

	while ((r = store_touches(x->store, x->upto, some, SCAN, &n)) == STORE_OK && n > 0) {
		for (size_t i = 0; i < n; i++) {
			if (!is_sought(x, &some[i].touch.who))
				continue;
			if (x->n == x->cap) {
				x->cap = x->cap ? 2 * x->cap : 64;
				x->touch = xreallocarray(x->touch, x->cap, sizeof *x->touch);
			}
			x->touch[x->n++] = some[i];
		}
		x->upto = some[n - 1].seq;
	}
	if (r == STORE_OK && x->upto < last)
		x->upto = last;
	free(some);
	return r;
}

/*
 * Only those that are still there: somebody else may have forgotten the same
 * people since we looked, and what campaigns owe them is carried once.
 */
static enum store_result
look_again(struct search *x)
{
	enum store_result r = store_touches_at(x->store, x->touch, x->n);
	size_t n = 0;

	for (size_t i = 0; i < x->n; i++)
		if (x->touch[i].touch.kind != 0)
			x->touch[n++] = x->touch[i];
	x->n = n;
	return r;
}

/* What folding these touches of one trail into an empty state would add to its campaign. */
static void
carry_trail(struct batch *b, size_t from, size_t to)
{
	struct trail trail = { 0 };

	for (size_t i = from; i < to; i++) {
		add_to_campaign(b, &b->touch[i]);
		if (trail_wants(&b->touch[i]))
			add_to_trail(b, &trail, &b->touch[i]);
	}
	trail_judge(&trail, &b->rules);
	count_trail(b, b->touch[from].campaign, &trail, 1);
	trail_free(&trail);
}

static void
carry(struct batch *b, const struct search *x)
{
	b->touch = xcalloc(x->n + 1, sizeof *b->touch);
	b->n = x->n;
	for (size_t i = 0; i < x->n; i++)
		b->touch[i] = x->touch[i].touch;
	qsort(b->touch, b->n, sizeof *b->touch, by_trail);
	for (size_t from = 0, to; from < b->n; from = to) {
		for (to = from; to < b->n && by_trail(&b->touch[from], &b->touch[to]) == 0; to++)
			;
		carry_trail(b, from, to);
	}
	if (b->nlinks > 0)
		qsort(b->link, b->nlinks, sizeof *b->link, by_link);
}

/* Together with what is carried of others.  Nobody else changes that while the state's lock is ours. */
static struct carried *
carried_sums(struct batch *b, struct store *s, size_t *n)
{
	struct carried *all = xcalloc(b->ncampaigns + b->nlinks + 1, sizeof *all), *c = all;

	for (size_t i = 0; i < b->ncampaigns; i++, c++) {
		c->campaign = b->campaign[i].id;
		failed(b, store_carried(s, c));
		add_sums(&c->sums, &b->campaign[i].sums);
	}
	for (size_t i = 0; i < b->nlinks; i++) {
		const struct link_count *add = &b->link[i].sums;

		if (i == 0 || by_link(&b->link[i - 1], &b->link[i]) != 0) {
			*c = (struct carried){ .campaign = b->link[i].campaign, .link = b->link[i].link, .of_link = true };
			failed(b, store_carried(s, c++));
		}
		c[-1].link_sums.clicks_all += add->clicks_all;
		c[-1].link_sums.clicks_human += add->clicks_human;
		c[-1].link_sums.clickers_all += add->clickers_all;
		c[-1].link_sums.clickers_human += add->clickers_human;
	}
	*n = (size_t)(c - all);
	return all;
}

static bool
holds(struct span in, struct span what)
{
	for (size_t i = 0; what.n > 0 && i + what.n <= in.n; i++)
		if (span_ieq(span_cut(in, i, i + what.n), what))
			return true;
	return false;
}

/* Does a destination name whom it was first seen of?  The address may stand there as it is, or with %40. */
static bool
names_person(struct span url, struct span address)
{
	struct buf escaped = BUF(4096);
	size_t at = span_find(address, '@');
	bool found;

	buf_add(&escaped, span_cut(address, 0, at));
	buf_adds(&escaped, "%40");
	buf_add(&escaped, span_from(address, at + 1));
	found = address.n > 0 && at < address.n && (holds(url, address) || holds(url, buf_span(&escaped)));
	buf_free(&escaped);
	return found;
}

static void
search_links(struct search *x)
{
	struct buf address = BUF(4096), url = BUF(8192);

	x->link = xcalloc(x->n + 1, sizeof *x->link);
	for (size_t i = 0; i < x->n; i++) {
		const struct touch *t = &x->touch[i].touch;

		buf_clear(&address);
		buf_clear(&url);
		if (t->kind == TOUCH_CLICK && t->link != 0 && store_name(x->store, &t->who, &address) == STORE_OK &&
		    store_destination(x->store, t->campaign, t->link, &url) == STORE_OK &&
		    names_person(buf_span(&url), buf_span(&address)))
			x->link[x->nlinks++] = (struct link_of){ t->campaign, t->link };
	}
	buf_free(&address);
	buf_free(&url);
}

static void
keep_touch(struct search *x, const struct touch *t)
{
	if (x->nkeep == x->capkeep) {
		x->capkeep = x->capkeep ? 2 * x->capkeep : 64;
		x->keep = xreallocarray(x->keep, x->capkeep, sizeof *x->keep);
	}
	x->keep[x->nkeep++] = *t;
}

static void
keep_stop(struct search *x, const struct who *who, uint64_t stream, enum touch_kind kind, uint32_t stop, uint32_t lifted)
{
	if (stop != 0 && stop >= lifted)
		keep_touch(x, &(struct touch){ .kind = (uint8_t)kind, .mode = MODE_IDENTIFIED, .who = *who, .stream = stream,
			.when = (int64_t)stop * 1000 });
}

static void
keep_hold(struct search *x, const struct who *who, uint64_t stream, uint32_t held, uint32_t released, uint32_t until)
{
	if (until != 0 && x->how->now / 1000 >= until)
		return;
	keep_stop(x, who, stream, TOUCH_HELD, held, released);
	if (held != 0 && held >= released)
		x->keep[x->nkeep - 1].sent = until;
}

static bool
keep_subscription(void *arg, const struct who *who, uint64_t stream, const struct subscription *sub)
{
	keep_stop(arg, who, stream, TOUCH_LEFT, sub->left, sub->joined);
	keep_hold(arg, who, stream, sub->held, sub->released, sub->held_until);
	return true;
}

/* What stays of one who is forgotten. */
static void
keep_of(struct batch *b, struct search *x, const struct who *who)
{
	static const enum axis axes[] = { AXIS_OPENS, AXIS_LINKS };
	size_t before = x->nkeep;
	struct profile p;
	uint32_t lifted;

	if (failed(b, fold_get_person(b->txn, who, &p)))
		return;
	lifted = p.joined > p.released ? p.joined : p.released;
	keep_stop(x, who, 0, TOUCH_COMPLAINED, p.complained, lifted);
	keep_stop(x, who, 0, TOUCH_BOUNCED, p.bounced, lifted);
	keep_stop(x, who, 0, TOUCH_LEFT, p.left, lifted);
	keep_hold(x, who, 0, p.held, p.released, p.held_until);
	failed(b, store_each_subscription_of(x->store, who, keep_subscription, x));
	x->how->stops += x->nkeep > before;
	for (size_t i = 0; i < 2; i++)
		keep_touch(x, &(struct touch){ .kind = TOUCH_CONSENT, .mode = MODE_IDENTIFIED, .who = *who, .when = x->how->now,
			.detail = (uint8_t)(axes[i] << 4 | CONSENT_DENIED) });
}

static void
erase_state(struct batch *b, const struct search *x)
{
	erase_people(b, x->how->who, x->how->n);
	for (size_t i = 0; i < x->nkeep && b->result == STORE_OK; i++)
		add_kept(b, &x->keep[i]);
}

static void
erase_facts(struct batch *b, struct search *x, uint64_t *number)
{
	uint64_t *seq = xcalloc(x->n + 1, sizeof *seq);
	struct erasure e = { .who = x->how->who, .n = x->how->n, .seq = seq, .nseq = x->n, .upto = x->upto, .link = x->link,
		.nlinks = x->nlinks, .keep = x->keep, .nkeep = x->nkeep, .source = x->how->source };
	struct carried *carried = carried_sums(b, x->store, &e.ncarried);

	for (size_t i = 0; i < x->n; i++)
		seq[i] = x->touch[i].seq;
	e.carried = carried;
	if (b->result == STORE_OK)
		failed(b, store_erase(x->store, &e, number));
	free(carried);
	free(seq);
}

/* With the state's lock.  STORE_MOVED: others were faster, and there is more to look at or to sum up first. */
static enum store_result
forget(struct search *x)
{
	struct batch b = { .result = STORE_OK };
	enum store_result r;
	uint64_t folded, number = 0;

	if ((b.txn = fold_begin(x->store, &folded)) == NULL)
		return STORE_ERROR;
	x->nlinks = x->nkeep = 0;
	x->how->stops = 0;
	free(x->link);
	x->link = NULL;
	if ((r = look_again(x)) == STORE_OK && (r = search(x)) == STORE_OK && x->n > 0 && x->touch[x->n - 1].seq > folded)
		r = STORE_MOVED;
	failed(&b, r);
	is_erasing(&b, x->store);
	failed(&b, get_rules(b.txn, &b.rules));
	for (size_t i = 0; i < x->how->n && !x->how->entirely && b.result == STORE_OK; i++)
		keep_of(&b, x, &x->how->who[i]);
	if (b.result == STORE_OK) {
		carry(&b, x);
		search_links(x);
		erase_state(&b, x);
	}
	/* Facts first: what they do not have no state can bring back, and whoever comes next finishes what is only begun. */
	if (b.result == STORE_OK)
		erase_facts(&b, x, &number);
	if (b.result == STORE_OK)
		failed(&b, fold_put_erased(b.txn, number));
	if (b.result == STORE_OK)
		b.result = fold_commit_rest(b.txn);
	else
		fold_abort(b.txn);
	batch_free(&b);
	if (b.result == STORE_OK)
		(void)store_erased(x->store, number);
	return b.result;
}

enum store_result
fold_forget(struct store *s, struct forgetting *how)
{
	struct search x = { .store = s, .how = how, .upto = how->after };
	enum store_result r = search(&x);
	int tries = 0;

	if (r == STORE_OK)
		do
			r = (r = fold_all(s)) == STORE_OK ? forget(&x) : r;
		while (r == STORE_MOVED && ++tries < FORGET_TRIES);
	how->touches = x.n;
	how->after = x.upto;
	free(x.touch);
	free(x.link);
	free(x.keep);
	return r;
}
