/* rekindle why -- what we know of one recipient, and what happens to the next message. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/mem.h"
#include "common/text.h"

#define LINE_CAP 4096
#define DAY_SECONDS 86400
#define HITS_SHOWN 10
#define HITS_EMITTED 100

/* One recipient, looked up for one answer. */
struct person {
	struct cli *c;
	struct buf address; /* normal form */
	struct who who;
	bool known;
	int64_t forgotten; /* since when, ms; 0: not.  What is known of them then is what may not be done. */
	struct profile profile;
	struct finding finding;
	unsigned score;
	struct buf explained;
	enum cause status; /* of no particular stream */
	/* Brakes are about many: of the campaign that is asked about, and of everybody at this receiver. */
	const char *campaign; /* NULL: none */
	uint64_t campaign_id;
	struct buf campaign_stream;
	enum brake brake, outage;
	int64_t brake_since, outage_since;
};

static const struct profile *
profile_of(const struct person *p)
{
	return p->known ? &p->profile : NULL;
}

/* One window of a cap that holds for this recipient. */
struct window {
	const struct cap *cap;
	bool of_stream; /* counts this stream's messages, else those of all */
	unsigned sent;
};

/* What one stream would do with the next message. */
struct outlook {
	const struct stream *stream;
	struct verdict verdict;
	struct buf text;
	struct window window[VERDICT_CAPS * CAP_WINDOWS];
	size_t nwindows;
	uint32_t free;       /* seconds: when all of them have room again; 0 now */
	uint32_t held_until; /* of this stream alone; 0: not held, or for ever */
};

static void
look_at_caps(const struct question *q, struct outlook *o)
{
	struct held_caps held[VERDICT_CAPS];
	size_t n = verdict_caps(q, &o->verdict.finding, held);
	uint32_t now = (uint32_t)(q->now / 1000), until;

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < held[i].caps->n; k++) {
			const struct cap *cap = &held[i].caps->cap[k];

			o->window[o->nwindows++] = (struct window){ cap, held[i].tag != 0,
				caps_sent(cap, held[i].tag, q->profile, NULL, 0, now) };
		}
		until = caps_free(held[i].caps, held[i].tag, q->profile, NULL, 0, now);
		if (until > o->free)
			o->free = until;
	}
}

/* As the milter does: not for transactional mail. */
static void
put_brakes(const struct person *p, struct question *q)
{
	bool of_campaign = p->campaign != NULL && span_eq(buf_span(&p->campaign_stream), span_of(q->stream->name));

	if (q->stream->transactional)
		return;
	q->outage = p->outage != BRAKE_NONE || (of_campaign && p->brake == BRAKE_SHARE);
	if (of_campaign && brake_stops(p->brake))
		q->imposed = CAUSE_BRAKED;
}

static void
look_ahead(struct person *p, const struct stream *stream, struct outlook *o)
{
	const struct conf *conf = p->c->setup->conf;
	struct subscription s;
	const struct subscription *sub = NULL;
	uint64_t id = stream_id(&p->c->setup->keys, span_of(stream->name));
	struct question q;

	if (store_subscription(p->c->store, &p->who, id, &s) == STORE_OK)
		sub = &s;
	o->stream = stream;
	q = (struct question){
		.conf = conf,
		.stream = stream,
		.stream_id = id,
		.who = &p->who,
		.profile = profile_of(p),
		.subscription = sub,
		.now = p->c->now,
	};
	put_brakes(p, &q);
	o->verdict = verdict_find(&q);
	o->text = BUF(LINE_CAP);
	print_verdict(&o->text, &q, &o->verdict);
	look_at_caps(&q, o);
	if (o->verdict.cause == CAUSE_HELD && sub != NULL && sub->held >= sub->released)
		o->held_until = sub->held_until;
}

static void
field_when(const struct person *p, const char *label, uint32_t seconds)
{
	struct buf text = BUF(LINE_CAP);

	print_when(&text, (int64_t)seconds * 1000, p->c->now);
	print_field(label, &text);
	buf_free(&text);
}

/* In mode dayonly a recipient keeps the day of the last open and nothing more. */
static void
field_last_open(const struct person *p)
{
	uint32_t at = p->profile.last_open;
	struct buf text = BUF(LINE_CAP);

	if (!profile_open_is_day(&p->profile)) {
		field_when(p, "Last open", at);
		return;
	}
	text_add_day(&text, (int64_t)at * 1000);
	buf_adds(&text, " (only the day is kept)");
	print_field("Last open", &text);
	buf_free(&text);
}

static bool
print_subscription(void *arg, const struct who *who, uint64_t stream, const struct subscription *s)
{
	const struct person *p = arg;
	struct buf text = BUF(LINE_CAP);
	bool left = unsubscribed(s);

	(void)who;
	cli_stream_name(p->c, stream, &text);
	buf_adds(&text, ", ");
	print_when(&text, (int64_t)(left ? s->left : s->joined) * 1000, p->c->now);
	print_field(left ? "Unsubscribed from" : "Subscribed to", &text);
	if (!left && subscription_less(s)) {
		buf_clear(&text);
		cli_stream_name(p->c, stream, &text);
		buf_adds(&text, ", ");
		print_when(&text, (int64_t)s->less * 1000, p->c->now);
		print_field("Wants less of", &text);
	}
	buf_free(&text);
	return true;
}

static void
print_overlays(const struct finding *f)
{
	struct buf text = BUF(LINE_CAP);

	if (f->loyal)
		buf_adds(&text, ", loyal");
	if (f->at_risk)
		buf_adds(&text, ", at-risk");
	if (f->opaque)
		buf_adds(&text, ", opaque (privacy opens only: judged by clicks)");
	if (text.n > 0)
		print_fieldf("Overlays", "%s", buf_cstr(&text) + 2);
	buf_free(&text);
}

static void
field_hits(const char *label, uint32_t opens, uint32_t clicks, const char *note)
{
	print_fieldf(label, "%" PRIu32 " open%s, %" PRIu32 " click%s%s", opens, opens == 1 ? "" : "s", clicks,
	    clicks == 1 ? "" : "s", note);
}

static void
print_soft_bounces(const struct person *p)
{
	const uint32_t *soft = p->profile.soft_bounced;
	struct buf text = BUF(LINE_CAP);
	size_t n = 0;

	while (n < PROFILE_SOFT && soft[n] != 0)
		n++;
	if (n > 0) {
		buf_addf(&text, "%zu%s, the last ", n, n == PROFILE_SOFT ? " or more" : "");
		print_when(&text, (int64_t)soft[0] * 1000, p->c->now);
		print_field("Soft bounces", &text);
	}
	buf_free(&text);
}

/* "resting; re-engage-1 2026-01-31T12:00:00Z" */
static void
add_coming(struct buf *text, const struct outlook *o)
{
	const struct series *s = &o->verdict.series;
	enum series_status coming = series_coming(s, &o->stream->policy);

	buf_adds(text, series_name(s->status));
	if (s->sent > 0)
		buf_addf(text, ", %u message%s sent", s->sent, s->sent == 1 ? "" : "s");
	if (s->due)
		buf_addf(text, "; %s is due", series_name(coming));
	else if (coming != SERIES_NONE) {
		buf_addf(text, "; %s ", series_name(coming));
		text_add_time(text, (int64_t)s->next * 1000);
	} else if (s->status == SERIES_HOLDOUT)
		buf_adds(text, ": of the control group, whose inactivity changes nothing");
}

/* Once for all streams whose policy gives the same: mostly all of them. */
static void
print_series(const struct outlook *o, size_t n)
{
	struct buf text = BUF(LINE_CAP), first = BUF(LINE_CAP);
	struct table t = TABLE("ll");
	bool same = true;

	for (size_t i = 0; i < n; i++) {
		if (o[i].stream->transactional || o[i].verdict.series.status == SERIES_NONE)
			continue;
		buf_clear(&text);
		add_coming(&text, &o[i]);
		if (t.n == 0)
			add_coming(&first, &o[i]);
		same = same && span_eq(buf_span(&text), buf_span(&first));
		table_adds(&t, o[i].stream->name);
		table_add(&t, buf_span(&text));
	}
	if (t.n > 0 && same)
		print_field("Series", &first);
	else if (t.n > 0) {
		printf("\n%sSeries%s\n", print_bold(), print_plain());
		table_print(&t, "  ", false);
	}
	table_free(&t);
	buf_free(&text);
	buf_free(&first);
}

/* "default   2 of 3 in 7d": only of streams that have caps for this class. */
static void
print_caps(const struct outlook *o, size_t n)
{
	struct table t = TABLE("ll");
	struct buf text = BUF(LINE_CAP);

	for (size_t i = 0; i < n; i++) {
		if (o[i].nwindows == 0)
			continue;
		buf_clear(&text);
		for (size_t k = 0; k < o[i].nwindows; k++) {
			const struct window *w = &o[i].window[k];

			buf_addf(&text, "%s%u of %u in ", k > 0 ? ", " : "", w->sent, w->cap->count);
			text_add_duration(&text, (int64_t)w->cap->seconds * 1000);
			buf_adds(&text, w->of_stream ? " of this stream" : "");
		}
		if (o[i].free != 0) {
			buf_adds(&text, "; the next one from ");
			text_add_time(&text, (int64_t)o[i].free * 1000);
		}
		table_adds(&t, o[i].stream->name);
		table_add(&t, buf_span(&text));
	}
	if (t.n > 0) {
		printf("\n%sMessages so far, of how many%s\n", print_bold(), print_plain());
		table_print(&t, "  ", false);
	}
	table_free(&t);
	buf_free(&text);
}

static void
print_evidence(struct person *p)
{
	const struct profile *r = &p->profile;
	const struct finding *f = &p->finding;

	printf("\n%sEvidence%s\n", print_bold(), print_plain());
	if (r->first_seen == 0 && profile_open_is_day(r))
		print_fieldf("First seen", "not kept: only the day of the last open is");
	else
		field_when(p, "First seen", r->first_seen);
	field_when(p, "Last sent", r->last_sent);
	if (r->delivered)
		field_when(p, "Last delivered", r->delivered);
	print_soft_bounces(p);
	field_last_open(p);
	field_when(p, "Last click", r->last_click);
	print_fieldf("Sends", "%" PRIu32 ", of which %" PRIu32 " tracked", r->sends, r->tracked_sends);
	print_fieldf("Silent sends", "%u%s", f->silent_sends, f->silent_sends >= PROFILE_SENDS ? " or more" : "");
	field_hits("By a person", r->opens, r->clicks, profile_open_is_day(r) ? "; where only the day is kept, opens are not counted" : "");
	field_hits("By machines", r->machine_opens, r->machine_clicks, "");
	if (r->last_machine)
		field_when(p, "Last machine", r->last_machine);
	print_overlays(f);
	print_fieldf("Score", "%u.%02u", p->score / 100, p->score % 100);
	print_fieldf("Consent", "opens %s, links %s", consent_name(profile_consent(r, AXIS_OPENS)),
	    consent_name(profile_consent(r, AXIS_LINKS)));
	if (r->left)
		field_when(p, "Unsubscribed", r->left);
	if (r->joined)
		field_when(p, "Subscribed", r->joined);
	if (r->bounced)
		field_when(p, "Bounced", r->bounced);
	if (r->complained)
		field_when(p, "Complained", r->complained);
	if (r->held)
		field_when(p, "Held", r->held);
	if (r->held_until && r->held >= r->released)
		field_when(p, "Held until", r->held_until);
	if (r->released)
		field_when(p, "Released", r->released);
}

/* ---- the last hits ---- */

struct last_hit {
	uint64_t campaign;
	struct trail_hit hit;
};

/* The newest ones, newest first. */
struct last_hits {
	struct last_hit hit[HITS_EMITTED];
	size_t n, max;
	uint64_t all;
};

static bool
take_trail(void *arg, uint64_t campaign, const struct trail *t)
{
	struct last_hits *l = arg;

	l->all += t->opens + t->clicks;
	for (size_t i = 0; i < t->n; i++) {
		struct last_hit add = { campaign, t->hit[i] };

		for (size_t k = 0; k < l->n; k++)
			if (add.hit.when > l->hit[k].hit.when) {
				struct last_hit older = l->hit[k];

				l->hit[k] = add;
				add = older;
			}
		if (l->n < l->max)
			l->hit[l->n++] = add;
	}
	return true;
}

static bool
last_hits(struct person *p, size_t max, struct last_hits *l)
{
	*l = (struct last_hits){ .max = max };
	if (store_each_trail_of(p->c->store, &p->who, take_trail, l) <= STORE_NONE)
		return true;
	cli_error("cannot read the store in %s: the hits are not complete", p->c->setup->conf->data_dir);
	return false;
}

/* Seen as a person's when it came, and not any more. */
static bool
taken_back(const struct trail_hit *h)
{
	return robot_is_human(h->at_hit.verdict) && !robot_is_human(h->final.verdict);
}

static void
add_campaign_name(struct person *p, uint64_t campaign, struct buf *out)
{
	if (campaign == 0)
		buf_addc(out, '-');
	else if (store_campaign_names(p->c->store, campaign, NULL, out) != STORE_OK || out->n == 0) {
		buf_clear(out);
		buf_addf(out, "%016" PRIx64, campaign);
	}
}

static void
print_hits(struct person *p)
{
	struct table t = TABLE("lllll");
	struct buf text = BUF(LINE_CAP);
	struct last_hits l;

	if (!last_hits(p, HITS_SHOWN, &l) || l.n == 0)
		return;
	printf("\n%sLast hits%s (%zu of %" PRIu64 ")\n", print_bold(), print_plain(), l.n, l.all);
	for (size_t i = 0; i < l.n; i++) {
		const struct trail_hit *h = &l.hit[i].hit;

		buf_clear(&text);
		text_add_time(&text, h->when - h->when % 1000);
		table_add(&t, buf_span(&text));
		buf_clear(&text);
		add_campaign_name(p, l.hit[i].campaign, &text);
		table_add(&t, buf_span(&text));
		if (!h->click)
			table_adds(&t, "opened");
		else if (h->link == 0)
			table_adds(&t, "clicked");
		else
			table_addf(&t, "clicked link %u", h->link);
		table_adds(&t, robot_name(h->final.verdict));
		table_addf(&t, "%s%s", evidence_explain(h->final.evidence), taken_back(h) ? "; was counted as a person's before" : "");
	}
	table_print(&t, "  ", false);
	table_free(&t);
	buf_free(&text);
}

static void
emit_hits(struct emit *e, struct person *p)
{
	struct buf name = BUF(LINE_CAP);
	struct last_hits l;

	emit_open(e, "hits", '[');
	if (!last_hits(p, HITS_EMITTED, &l))
		l.n = 0;
	for (size_t i = 0; i < l.n; i++) {
		const struct trail_hit *h = &l.hit[i].hit;

		buf_clear(&name);
		add_campaign_name(p, l.hit[i].campaign, &name);
		emit_open(e, NULL, '{');
		emit_string(e, "type", touch_name(h->click ? TOUCH_CLICK : TOUCH_OPEN));
		emit_time(e, "at", h->when);
		emit_text(e, "campaign", buf_span(&name));
		if (h->click && h->link)
			emit_number(e, "link", h->link);
		emit_string(e, "verdict", robot_name(h->final.verdict));
		emit_string(e, "evidence", evidence_name(h->final.evidence));
		emit_flag(e, "counts", trail_counts(&h->final));
		emit_string(e, "verdict_at_hit", robot_name(h->at_hit.verdict));
		emit_string(e, "evidence_at_hit", evidence_name(h->at_hit.evidence));
		emit_close(e, '}');
	}
	emit_close(e, ']');
	buf_free(&name);
}

static const char *const brake_words[BRAKES] = {
	[BRAKE_NONE] = "no brake is on",
	[BRAKE_HAND] = "stopped by hand, or its links are,",
	[BRAKE_COMPLAINTS] = "stopped for too many complaints",
	[BRAKE_BOUNCES] = "stopped for too many bounces",
	[BRAKE_SHARE] = "too many would be stopped by class, so that nobody is,",
	[BRAKE_OUTAGE] = "readers of this receiver are hardly seen, so that nobody is stopped as inactive,",
	[BRAKE_SILENCE] = "no hit of anybody comes, so that nobody is stopped as inactive,",
};

static void
print_brake(const struct person *p, const char *label, const char *subject, enum brake brake, int64_t since)
{
	struct buf text = BUF(LINE_CAP);

	if (subject != NULL) {
		print_safe(&text, span_of(subject));
		buf_adds(&text, ": ");
	}
	buf_adds(&text, brake_words[brake]);
	if (brake != BRAKE_NONE) {
		buf_adds(&text, " since ");
		print_when(&text, since, p->c->now);
	}
	print_field(label, &text);
	buf_free(&text);
}

static void
print_brakes(const struct person *p)
{
	if (p->campaign != NULL)
		print_brake(p, "Campaign", p->campaign, p->brake, p->brake_since);
	if (p->outage != BRAKE_NONE)
		print_brake(p, "Brake", NULL, p->outage, p->outage_since);
}

static void
emit_brakes(struct emit *e, const struct person *p)
{
	if (p->campaign != NULL) {
		emit_open(e, "campaign", '{');
		emit_string(e, "name", p->campaign);
		emit_text(e, "stream", buf_span(&p->campaign_stream));
		emit_id(e, "id", p->campaign_id);
		emit_string(e, "brake", p->brake == BRAKE_NONE ? "off" : brake_name(p->brake));
		emit_flag(e, "stopped", brake_stops(p->brake));
		emit_time(e, "since", p->brake_since);
		emit_close(e, '}');
	}
	emit_string(e, "brake", p->outage == BRAKE_NONE ? "off" : brake_name(p->outage));
	emit_time(e, "brake_since", p->outage_since);
}

static void
print_person(struct person *p, struct outlook *o, size_t n)
{
	struct buf address = BUF(4 * ADDR_MAX), status = BUF(LINE_CAP);
	struct table t = TABLE("ll");
	uint32_t since = status_since(p->status, profile_of(p), NULL);

	print_safe(&address, buf_span(&p->address));
	printf("%s%s%s\n", print_bold(), buf_cstr(&address), print_plain());
	if (p->forgotten) {
		buf_adds(&status, "new: nobody of this address is known; forgotten on ");
		text_add_day(&status, p->forgotten);
		print_field("Class", &status);
		buf_clear(&status);
	} else if (!p->known)
		print_fieldf("Class", "new: nobody of this address is known");
	else
		print_field("Class", &p->explained);
	buf_adds(&status, status_name(p->status));
	if (since) {
		buf_adds(&status, " since ");
		print_when(&status, (int64_t)since * 1000, p->c->now);
	}
	print_field("Status", &status);
	if (p->status == CAUSE_NONE)
		print_series(o, n);
	print_brakes(p);

	printf("\n%sThe next message%s\n", print_bold(), print_plain());
	for (size_t i = 0; i < n; i++) {
		table_adds(&t, o[i].stream->name);
		table_add(&t, buf_span(&o[i].text));
	}
	table_print(&t, "  ", false);
	if (n == 0)
		printf("  none: the stream is not in the settings any more\n");
	if (p->known && !p->forgotten) {
		print_caps(o, n);
		print_evidence(p);
	}
	store_each_subscription_of(p->c->store, &p->who, print_subscription, p);
	print_hits(p);
	table_free(&t);
	buf_free(&address);
	buf_free(&status);
}

struct emitting {
	struct emit e;
	struct person *p;
};

static bool
emit_subscription(void *arg, const struct who *who, uint64_t stream, const struct subscription *s)
{
	struct emitting *x = arg;
	struct buf name = BUF(1024);

	(void)who;
	cli_stream_name(x->p->c, stream, &name);
	emit_open(&x->e, NULL, '{');
	emit_text(&x->e, "stream", buf_span(&name));
	emit_flag(&x->e, "unsubscribed", unsubscribed(s));
	emit_time(&x->e, "left", (int64_t)s->left * 1000);
	emit_time(&x->e, "joined", (int64_t)s->joined * 1000);
	emit_time(&x->e, "less", subscription_less(s) ? (int64_t)s->less * 1000 : 0);
	emit_close(&x->e, '}');
	buf_free(&name);
	return true;
}

/* Those that there are, newest first. */
static void
emit_moments(struct emit *e, const char *key, const uint32_t *seconds, size_t n)
{
	emit_open(e, key, '[');
	for (size_t i = 0; i < n && seconds[i] != 0; i++)
		emit_time(e, NULL, (int64_t)seconds[i] * 1000);
	emit_close(e, ']');
}

static void
emit_caps(struct emit *e, const struct outlook *o)
{
	emit_open(e, "caps", '[');
	for (size_t i = 0; i < o->nwindows; i++) {
		emit_open(e, NULL, '{');
		emit_number(e, "sent", o->window[i].sent);
		emit_number(e, "of", o->window[i].cap->count);
		emit_number(e, "seconds", o->window[i].cap->seconds);
		emit_string(e, "counts", o->window[i].of_stream ? "stream" : "all");
		emit_close(e, '}');
	}
	emit_close(e, ']');
	emit_time(e, "caps_free", (int64_t)o->free * 1000);
}

static void
emit_series(struct emit *e, const struct outlook *o)
{
	const struct series *s = &o->verdict.series;

	emit_open(e, "series", '{');
	emit_string(e, "status", series_name(s->status));
	emit_flag(e, "due", s->due);
	emit_number(e, "sent", s->sent);
	emit_string(e, "coming", series_name(series_coming(s, &o->stream->policy)));
	emit_time(e, "at", (int64_t)s->next * 1000);
	emit_close(e, '}');
}

static void
emit_evidence(struct emit *e, const struct profile *r, const struct finding *f, unsigned score)
{
	const struct {
		const char *name;
		uint32_t seconds;
	} times[] = {
		{ "first_seen", r->first_seen }, { "last_sent", r->last_sent }, { "last_open", r->last_open },
		{ "last_click", r->last_click }, { "last_machine", r->last_machine }, { "last_engaged", f->last_engaged },
		{ "left", r->left }, { "joined", r->joined }, { "bounced", r->bounced }, { "complained", r->complained },
		{ "held", r->held }, { "held_until", r->held_until }, { "released", r->released },
		{ "last_delivered", r->delivered }, { "last_regular", r->last_regular }, { "last_choice", r->chosen },
	};
	const struct {
		const char *name;
		uint64_t n;
	} counts[] = {
		{ "sends", r->sends }, { "tracked_sends", r->tracked_sends }, { "silent_sends", f->silent_sends },
		{ "opens", r->opens }, { "clicks", r->clicks }, { "machine_opens", r->machine_opens },
		{ "machine_clicks", r->machine_clicks },
	};

	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
		emit_time(e, times[i].name, (int64_t)times[i].seconds * 1000);
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
		emit_number(e, counts[i].name, counts[i].n);
	emit_flag(e, "loyal", f->loyal);
	emit_flag(e, "at_risk", f->at_risk);
	emit_flag(e, "opaque", f->opaque);
	emit_number(e, "score", score);
	emit_moments(e, "soft_bounced", r->soft_bounced, PROFILE_SOFT);
	emit_moments(e, "series_sent", r->series, PROFILE_SERIES);
	if (r->receiver != 0)
		emit_hex(e, "receiver", (const unsigned char[]){ (unsigned char)(r->receiver >> 24), (unsigned char)(r->receiver >> 16),
		    (unsigned char)(r->receiver >> 8), (unsigned char)r->receiver }, 4);
	else
		emit_null(e, "receiver");
	emit_open(e, "consent", '{');
	emit_string(e, "opens", consent_name(profile_consent(r, AXIS_OPENS)));
	emit_string(e, "links", consent_name(profile_consent(r, AXIS_LINKS)));
	emit_close(e, '}');
}

static void
emit_person(struct person *p, struct outlook *o, size_t n)
{
	struct emitting x = { .p = p };
	struct emit *e = &x.e;

	emit_open(e, NULL, '{');
	emit_text(e, "address", buf_span(&p->address));
	emit_hex(e, "who", p->who.b, sizeof p->who.b);
	emit_flag(e, "known", p->known && !p->forgotten);
	emit_time(e, "forgotten", p->forgotten);
	emit_string(e, "class", engage_name(p->finding.class));
	emit_string(e, "reason", reason_name(p->finding.reason));
	emit_text(e, "explanation", buf_span(&p->explained));
	emit_string(e, "status", status_name(p->status));
	emit_brakes(e, p);
	emit_open(e, "next", '[');
	for (size_t i = 0; i < n; i++) {
		emit_open(e, NULL, '{');
		emit_string(e, "stream", o[i].stream->name);
		emit_string(e, "cause", cause_name(o[i].verdict.cause));
		emit_string(e, "action", action_name(o[i].verdict.wanted));
		emit_flag(e, "carried_out", o[i].verdict.action == o[i].verdict.wanted);
		emit_flag(e, "transactional", o[i].stream->transactional);
		emit_flag(e, "series_stream", o[i].stream->series);
		emit_time(e, "next", (int64_t)o[i].verdict.next * 1000);
		emit_flag(e, "holdout", o[i].verdict.holdout);
		emit_time(e, "held_until", (int64_t)o[i].held_until * 1000);
		emit_caps(e, &o[i]);
		emit_series(e, &o[i]);
		emit_text(e, "text", buf_span(&o[i].text));
		emit_close(e, '}');
	}
	emit_close(e, ']');
	emit_evidence(e, &p->profile, &p->finding, p->score);
	emit_open(e, "subscriptions", '[');
	store_each_subscription_of(p->c->store, &p->who, emit_subscription, &x);
	emit_close(e, ']');
	emit_hits(e, p);
	emit_close(e, '}');
	emit_end(e);
}

/* The answer, once the recipient has been looked up. */
static void
tell(struct person *p, const char *only)
{
	const struct conf *conf = p->c->setup->conf;
	struct outlook *o = xcalloc(conf->nstreams, sizeof *o);
	size_t n = 0;

	p->finding = engage_find(profile_of(p), &conf->stream[0].policy, p->c->now);
	p->score = p->known ? engage_score(&p->profile, &conf->stream[0].policy, p->c->now) : 0;
	engage_explain(&p->explained, profile_of(p), &conf->stream[0].policy, &p->finding, p->c->now);
	p->status = status_of(profile_of(p), NULL, &p->finding, p->c->now);
	for (size_t i = 0; i < conf->nstreams; i++)
		if (!only || strcmp(conf->stream[i].name, only) == 0)
			look_ahead(p, &conf->stream[i], &o[n++]);
	if (p->c->json)
		emit_person(p, o, n);
	else
		print_person(p, o, n);
	for (size_t i = 0; i < n; i++)
		buf_free(&o[i].text);
	free(o);
}

static bool
look_up(struct person *p)
{
	enum store_result r = store_profile(p->c->store, &p->who, &p->profile);

	p->known = r == STORE_OK;
	if (p->known)
		p->forgotten = forget_when(p->c, &p->who);
	if (p->known || r == STORE_NONE)
		return true;
	cli_error("cannot read the store in %s", p->c->setup->conf->data_dir);
	return false;
}

/* False: there is no such campaign, which was told. */
static bool
look_at_brakes(struct person *p, const char *stream, int *status)
{
	struct cli *c = p->c;

	p->outage = brakes_of_receiver(c, receivers_of(c->setup->receivers, buf_span(&p->address)), &p->outage_since);
	if (p->campaign == NULL)
		return true;
	if (!brakes_campaign(c, p->campaign, stream, &p->campaign_id, status))
		return false;
	if (store_campaign_names(c->store, p->campaign_id, &p->campaign_stream, NULL) != STORE_OK && stream != NULL)
		buf_adds(&p->campaign_stream, stream);
	p->brake = brakes_of(c, p->campaign_id, &p->brake_since);
	return true;
}

int
cmd_why(struct cli *c)
{
	const char *only = NULL, *campaign = NULL;
	const struct cli_option options[] = { { "stream", .text = &only }, { "campaign", .text = &campaign } };
	struct person p = { .c = c, .address = BUF(ADDR_MAX), .explained = BUF(LINE_CAP), .campaign_stream = BUF(LINE_CAP) };
	bool configured;
	uint64_t id;
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords != 1)
		return cli_usage(c, "why: one address");
	if (!cli_setup(c))
		return EXIT_CANNOT;
	if (!cli_who(c, c->word[0], &p.who))
		return EXIT_USAGE;
	configured = only == NULL || conf_stream(c->setup->conf, span_of(only)) != NULL;
	/* One that is gone from the settings has no next message, but its campaigns may be stopped. */
	if ((configured || campaign != NULL) && !cli_store(c))
		return EXIT_CANNOT;
	if (!configured && (!cli_stream(c, only, &id) || campaign == NULL))
		return EXIT_USAGE;
	status = EXIT_CANNOT;
	addr_normalise(&p.address, span_of(c->word[0]));
	p.campaign = campaign;
	if (look_at_brakes(&p, only, &status) && look_up(&p)) {
		tell(&p, only);
		status = p.known && !p.forgotten ? EXIT_FOUND : EXIT_NOTHING;
	}
	buf_free(&p.address);
	buf_free(&p.explained);
	buf_free(&p.campaign_stream);
	return status;
}
