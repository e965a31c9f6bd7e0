/* rekindle export -- all touches as JSON lines that `rekindle import` reads back. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/bounce.h"
#include "common/addr.h"
#include "common/engage.h"
#include "common/mem.h"
#include "common/text.h"

#define NAME_CAP 4096
#define URL_CAP 8192

struct export {
	struct cli *c;
	int64_t since;
	enum touch_kind only; /* 0: all */
	uint64_t n;
	struct buf scratch;
	/* Of the campaign that was looked up last: touches of one campaign come in runs. */
	uint64_t campaign;
	struct buf stream, name;
};

static void
emit_who(struct export *x, struct emit *e, const struct who *who)
{
	if (who_is_nobody(who))
		return;
	buf_clear(&x->scratch);
	if (store_name(x->c->store, who, &x->scratch) == STORE_OK)
		emit_text(e, "address", buf_span(&x->scratch));
	else
		emit_hex(e, "who", who->b, sizeof who->b);
}

static void
look_up_campaign(struct export *x, uint64_t campaign)
{
	if (x->campaign == campaign)
		return;
	x->campaign = campaign;
	buf_clear(&x->stream);
	buf_clear(&x->name);
	if (store_campaign_names(x->c->store, campaign, &x->stream, &x->name) != STORE_OK)
		buf_clear(&x->name);
}

/*
 * By name where import finds the same ids again; else by id.  A touch whose
 * own stream is another than its campaign's (an unsubscription from
 * everything, say) keeps both apart.
 */
static void
emit_campaign(struct export *x, struct emit *e, const struct touch *t)
{
	bool hit = t->kind == TOUCH_OPEN || t->kind == TOUCH_CLICK;

	if (t->campaign) {
		look_up_campaign(x, t->campaign);
		if (x->name.n > 0
		    && (stream_id(&x->c->setup->keys, buf_span(&x->stream)) == t->stream || (hit && t->stream == 0))) {
			emit_text(e, "stream", buf_span(&x->stream));
			emit_text(e, "campaign", buf_span(&x->name));
			return;
		}
		emit_id(e, "campaign_id", t->campaign);
	}
	if (t->stream == 0)
		return;
	buf_clear(&x->scratch);
	if (store_stream_name(x->c->store, t->stream, &x->scratch) == STORE_OK)
		emit_text(e, "stream", buf_span(&x->scratch));
	else
		emit_id(e, "stream_id", t->stream);
}

static void
emit_hit(struct export *x, struct emit *e, const struct touch *t)
{
	char address[INET6_ADDRSTRLEN];
	uint8_t bytes[16] = { 0 };

	if (t->kind == TOUCH_CLICK) {
		buf_clear(&x->scratch);
		if (t->link)
			emit_number(e, "link", t->link);
		if (t->link && store_destination(x->c->store, t->campaign, t->link, &x->scratch) == STORE_OK)
			emit_text(e, "url", buf_span(&x->scratch));
	}
	/* Only the day of an open (dayonly) has none. */
	if (t->verdict != ROBOT_NONE)
		emit_string(e, "verdict", robot_name((enum robot)t->verdict));
	if (t->detail != EVIDENCE_NONE && t->detail < EVIDENCES)
		emit_string(e, "evidence", evidence_name((enum evidence)t->detail));
	if (t->sent)
		emit_time(e, "sent", (int64_t)t->sent * 1000);
	if (t->agent)
		emit_string(e, "agent", robot_family_name(t->agent));
	if (t->net[0] == 0)
		return;
	memcpy(bytes, t->net + 1, sizeof t->net - 1);
	if (inet_ntop(t->net[0] <= 32 ? AF_INET : AF_INET6, bytes, address, sizeof address)) {
		buf_clear(&x->scratch);
		buf_addf(&x->scratch, "%s/%u", address, t->net[0]);
		emit_text(e, "net", buf_span(&x->scratch));
	}
}

static void
emit_touch(struct export *x, struct emit *e, const struct touch *t)
{
	emit_open(e, NULL, '{');
	emit_string(e, "type", touch_name((enum touch_kind)t->kind));
	emit_time(e, "at", t->when);
	emit_who(x, e, &t->who);
	emit_campaign(x, e, t);
	switch (t->kind) {
	case TOUCH_SENT:
		if (t->detail < ENGAGE_CLASSES)
			emit_string(e, "class", engage_name((enum engage)t->detail));
		emit_flag(e, "tracked", t->flags & TOUCH_TRACKED);
		if (t->agent & TOUCH_UNTOLD)
			emit_string(e, "untold", "all");
		else if (t->agent & TOUCH_UNTOLD_CLICKS)
			emit_string(e, "untold", "clicks");
		if (t->flags & TOUCH_OBSERVED)
			emit_flag(e, "observed", true);
		if (t->flags & TOUCH_SERIES)
			emit_flag(e, "series", true);
		if (t->flags & TOUCH_EXEMPT)
			emit_flag(e, "exempt", true);
		if (t->flags & TOUCH_HOLDOUT)
			emit_flag(e, "holdout", true);
		if (t->link)
			emit_number(e, "links", t->link);
		break;
	case TOUCH_SKIPPED:
		if (t->detail < CAUSES)
			emit_string(e, "cause", cause_name((enum cause)t->detail));
		break;
	case TOUCH_OPEN:
	case TOUCH_CLICK:
		emit_hit(x, e, t);
		break;
	case TOUCH_DELIVERED:
		if (t->detail & DELIVERED_GATEWAY)
			emit_flag(e, "gateway", true);
		break;
	case TOUCH_SOFT_BOUNCED:
		emit_string(e, "bounce", bounce_name((enum bounce)t->detail));
		break;
	case TOUCH_CONSENT:
		emit_string(e, "axis", axis_name((enum axis)(t->detail >> 4)));
		emit_string(e, "value", consent_name((enum consent)(t->detail & 15)));
		break;
	case TOUCH_HELD:
		if (t->sent)
			emit_time(e, "until", (int64_t)t->sent * 1000);
		break;
	}
	buf_clear(&x->scratch);
	if (touch_is_said(t) && store_source(x->c->store, t, &x->scratch) == STORE_OK && x->scratch.n > 0)
		emit_text(e, "source", buf_span(&x->scratch));
	emit_string(e, "mode", mode_name((enum mode)t->mode));
	if (t->flags & TOUCH_IMPORTED)
		emit_flag(e, "imported", true);
	emit_close(e, '}');
	x->n++;
}

static void
write_line(struct export *x, const struct touch *t)
{
	struct emit e = { 0 };

	emit_touch(x, &e, t);
	emit_end(&e);
}

static bool
wanted(const struct export *x, const struct touch *t)
{
	return t->when >= x->since && (!x->only || x->only == t->kind);
}

static bool
export_touch(void *arg, const struct touch *t)
{
	struct export *x = arg;

	if (wanted(x, t))
		write_line(x, t);
	return !ferror(stdout);
}

static bool
export_all(struct export *x)
{
	/*
	 * What outlives the row of facts: the day of the last open, which is all
	 * that mode dayonly keeps, and what recipients said before the oldest fact.
	 */
	return store_each_touch(x->c->store, export_touch, x) <= STORE_NONE &&
	    store_each_kept(x->c->store, export_touch, x) <= STORE_NONE;
}

/* ---- one person ---- */

struct person {
	struct export *x;
	struct emit e;
	struct who who;
	bool any, ok;
};

static void
emit_seconds(struct emit *e, const char *key, uint32_t s)
{
	emit_time(e, key, (int64_t)s * 1000);
}

static void
emit_times(struct emit *e, const char *key, const uint32_t *s, size_t n)
{
	emit_open(e, key, '[');
	for (size_t i = 0; i < n && s[i] != 0; i++)
		emit_seconds(e, NULL, s[i]);
	emit_close(e, ']');
}

static void
emit_days(struct emit *e, const char *key, const struct days *d)
{
	struct buf day = BUF(64);

	emit_open(e, key, '[');
	for (uint32_t i = 0; i < PROFILE_DAYS && i < d->last; i++) {
		if (!days_has(d, d->last - i))
			continue;
		buf_clear(&day);
		text_add_day(&day, (int64_t)(d->last - i) * DAY_MS);
		emit_text(e, NULL, buf_span(&day));
	}
	emit_close(e, ']');
	buf_free(&day);
}

static void
emit_newest_hits(struct emit *e, const struct profile *p)
{
	uint32_t opened[PROFILE_OPENS];

	for (size_t i = 0; i < PROFILE_OPENS; i++)
		opened[i] = p->opened[i] & ~1u; /* a mark (profile.h) */
	emit_times(e, "newest_opens", opened, PROFILE_OPENS);
	emit_times(e, "newest_clicks", p->clicked, PROFILE_CLICKS);
	emit_days(e, "days_with_opens", &p->open_days);
	emit_days(e, "days_with_clicks", &p->click_days);
}

/* The part of the profile that is of hits which are not listed any more. */
static void
emit_past(struct emit *e, const struct profile *p)
{
	emit_open(e, "past", '{');
	emit_seconds(e, "last_open", p->last_open);
	emit_seconds(e, "last_click", p->last_click);
	emit_seconds(e, "last_machine", p->last_machine);
	emit_number(e, "opens", p->opens);
	emit_number(e, "clicks", p->clicks);
	emit_number(e, "machine_opens", p->machine_opens);
	emit_number(e, "machine_clicks", p->machine_clicks);
	emit_newest_hits(e, p);
	emit_close(e, '}');
}

static void
emit_profile(struct emit *e, const struct profile *p)
{
	const struct {
		const char *name;
		uint32_t seconds;
	} times[] = {
		{ "first_seen", p->first_seen }, { "last_sent", p->last_sent }, { "last_regular", p->last_regular },
		{ "last_delivered", p->delivered }, { "last_open", p->last_open }, { "last_open_day", p->last_day },
		{ "last_click", p->last_click }, { "last_machine", p->last_machine }, { "last_choice", p->chosen },
		{ "last_affirmed", p->affirmed }, { "left", p->left }, { "joined", p->joined }, { "bounced", p->bounced },
		{ "complained", p->complained }, { "held", p->held }, { "held_until", p->held_until }, { "released", p->released },
	};
	const struct {
		const char *name;
		uint32_t n;
	} counts[] = {
		{ "sends", p->sends }, { "tracked_sends", p->tracked_sends }, { "opens", p->opens }, { "clicks", p->clicks },
		{ "machine_opens", p->machine_opens }, { "machine_clicks", p->machine_clicks },
	};
	uint32_t sent[PROFILE_SENDS];

	emit_open(e, "profile", '{');
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
		emit_seconds(e, times[i].name, times[i].seconds);
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
		emit_number(e, counts[i].name, counts[i].n);
	for (size_t i = 0; i < PROFILE_SENDS; i++)
		sent[i] = profile_sent(p, i);
	emit_times(e, "newest_sends", sent, PROFILE_SENDS);
	emit_times(e, "newest_sends_of_streams", p->stream_sent, PROFILE_STREAMS);
	emit_times(e, "newest_series_sends", p->series, PROFILE_SERIES);
	emit_times(e, "newest_soft_bounces", p->soft_bounced, PROFILE_SOFT);
	emit_newest_hits(e, p);
	if (p->receiver)
		emit_number(e, "receiver_group", p->receiver);
	emit_open(e, "consent", '{');
	emit_string(e, "opens", consent_name(profile_consent(p, AXIS_OPENS)));
	emit_string(e, "links", consent_name(profile_consent(p, AXIS_LINKS)));
	emit_close(e, '}');
	emit_close(e, '}');
}

static bool
emit_subscription(void *arg, const struct who *who, uint64_t stream, const struct subscription *s)
{
	struct person *p = arg;

	(void)who;
	p->any = true;
	buf_clear(&p->x->scratch);
	cli_stream_name(p->x->c, stream, &p->x->scratch);
	emit_open(&p->e, NULL, '{');
	emit_text(&p->e, "stream", buf_span(&p->x->scratch));
	emit_seconds(&p->e, "left", s->left);
	emit_seconds(&p->e, "joined", s->joined);
	emit_seconds(&p->e, "less", s->less);
	emit_seconds(&p->e, "kept", s->kept);
	emit_seconds(&p->e, "held", s->held);
	emit_seconds(&p->e, "held_until", s->held_until);
	emit_seconds(&p->e, "released", s->released);
	emit_close(&p->e, '}');
	return true;
}

/* Stream, campaign and source of a line are in emit_touch only for what is there still: here they are the line's own. */
static bool
emit_line_of_history(void *arg, const struct touch *t, struct span source)
{
	struct person *p = arg;

	p->any = true;
	emit_open(&p->e, NULL, '{');
	emit_string(&p->e, "type", touch_name((enum touch_kind)t->kind));
	emit_time(&p->e, "at", t->when);
	if (t->kind == TOUCH_CONSENT) {
		emit_string(&p->e, "axis", axis_name((enum axis)(t->detail >> 4)));
		emit_string(&p->e, "value", consent_name((enum consent)(t->detail & 15)));
	}
	emit_campaign(p->x, &p->e, t);
	if (t->sent)
		emit_seconds(&p->e, "until", t->sent);
	if (source.n)
		emit_text(&p->e, "source", source);
	else
		emit_null(&p->e, "source");
	emit_close(&p->e, '}');
	return true;
}

static void
emit_trail_hit(struct person *p, uint64_t campaign, const struct trail_hit *h)
{
	struct export *x = p->x;

	emit_open(&p->e, NULL, '{');
	emit_string(&p->e, "type", touch_name(h->click ? TOUCH_CLICK : TOUCH_OPEN));
	emit_time(&p->e, "at", h->when);
	if (h->click && h->link) {
		emit_number(&p->e, "link", h->link);
		buf_clear(&x->scratch);
		if (store_destination(x->c->store, campaign, h->link, &x->scratch) == STORE_OK)
			emit_text(&p->e, "url", buf_span(&x->scratch));
	}
	emit_string(&p->e, "verdict", robot_name(h->final.verdict));
	emit_string(&p->e, "evidence", evidence_name(h->final.evidence));
	emit_string(&p->e, "verdict_at_hit", robot_name(h->at_hit.verdict));
	emit_string(&p->e, "evidence_at_hit", evidence_name(h->at_hit.evidence));
	emit_flag(&p->e, "counts", trail_counts(&h->final));
	emit_close(&p->e, '}');
}

/* What is still known of hits that went with their facts. */
static void
emit_gone(struct emit *e, const struct trail *t)
{
	static const char *const words[] = { "opened", "opened_by_a_person", "clicked", "clicked_by_a_person" };

	emit_open(e, "earlier", '[');
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (t->gone >> i & 1)
			emit_string(e, NULL, words[i]);
	if (t->left == LEFT_ONCE)
		emit_string(e, NULL, "left");
	emit_close(e, ']');
}

static bool
emit_trail(void *arg, uint64_t campaign, const struct trail *t)
{
	struct person *p = arg;

	p->any = true;
	emit_open(&p->e, NULL, '{');
	emit_campaign(p->x, &p->e, &(struct touch){ .kind = TOUCH_OPEN, .campaign = campaign });
	emit_number(&p->e, "opens", t->opens);
	emit_number(&p->e, "clicks", t->clicks);
	emit_open(&p->e, "delivered", '[');
	for (size_t i = 0; i < TRAIL_DELIVERIES && t->delivered[i] != 0; i++)
		emit_time(&p->e, NULL, t->delivered[i]);
	emit_close(&p->e, ']');
	emit_flag(&p->e, "through_a_gateway", t->gateway);
	emit_seconds(&p->e, "left", t->left == LEFT_ONCE ? 0 : t->left);
	emit_gone(&p->e, t);
	emit_open(&p->e, "hits", '[');
	for (size_t i = 0; i < t->n; i++)
		emit_trail_hit(p, campaign, &t->hit[i]);
	emit_close(&p->e, ']');
	emit_close(&p->e, '}');
	return true;
}

static bool
emit_kept(void *arg, const struct touch *t)
{
	struct person *p = arg;

	p->any = true;
	emit_touch(p->x, &p->e, t);
	return true;
}

static bool
emit_if_theirs(void *arg, const struct touch *t)
{
	struct person *p = arg;

	return (!who_eq(&t->who, &p->who) || emit_kept(p, t)) && !ferror(stdout);
}

static bool
export_person(struct export *x, const struct who *who)
{
	struct person p = { .x = x, .e.lines = true, .who = *who };
	struct store *s = x->c->store;
	struct profile profile = { 0 };
	enum store_result r;
	bool ok;

	emit_open(&p.e, NULL, '{');
	r = store_profile(s, &p.who, &profile);
	p.any = r == STORE_OK;
	buf_clear(&x->scratch);
	if (store_name(s, &p.who, &x->scratch) == STORE_OK) {
		p.any = true;
		emit_text(&p.e, "address", buf_span(&x->scratch));
	} else {
		emit_null(&p.e, "address");
	}
	emit_hex(&p.e, "who", p.who.b, sizeof p.who.b);
	emit_time(&p.e, "exported", x->c->now);
	emit_profile(&p.e, &profile);
	emit_open(&p.e, "subscriptions", '[');
	ok = store_each_subscription_of(s, &p.who, emit_subscription, &p) <= STORE_NONE;
	emit_close(&p.e, ']');
	emit_open(&p.e, "history", '[');
	ok = store_each_history_of(s, &p.who, emit_line_of_history, &p) <= STORE_NONE && ok;
	emit_close(&p.e, ']');
	emit_open(&p.e, "campaigns", '[');
	ok = store_each_trail_of(s, &p.who, emit_trail, &p) <= STORE_NONE && ok;
	emit_close(&p.e, ']');
	if (store_past(s, &p.who, &profile) == STORE_OK)
		emit_past(&p.e, &profile);
	emit_open(&p.e, "touches", '[');
	ok = store_each_touch(s, emit_if_theirs, &p) <= STORE_NONE && ok;
	emit_close(&p.e, ']');
	emit_open(&p.e, "kept", '[');
	ok = store_each_kept_of(s, &p.who, emit_kept, &p) <= STORE_NONE && ok;
	emit_close(&p.e, ']');
	emit_close(&p.e, '}');
	emit_end(&p.e);
	x->n = p.any;
	return ok && r <= STORE_NONE;
}

int
cmd_export(struct cli *c)
{
	const char *since = NULL, *type = NULL, *person = NULL;
	const struct cli_option options[] = { { "since", .text = &since }, { "type", .text = &type }, { "person", .text = &person } };
	struct who who;
	struct export x = {
		.c = c, .since = INT64_MIN, .scratch = BUF(URL_CAP), .stream = BUF(NAME_CAP), .name = BUF(NAME_CAP),
	};
	int status;

	if (!cli_options(c, options, 3, &status))
		return status;
	if (c->nwords > 0)
		return cli_usage(c, "export: what is \"%s\"? It writes to standard output", c->word[0]);
	if (since && !text_time(span_of(since), &x.since))
		return cli_usage(c, "\"%s\" is not a date; write 2026-01-31 or 2026-01-31T12:00:00Z", since);
	if (type && !touch_word(span_of(type), &x.only))
		return cli_usage(c, "there is no type \"%s\"; one of " TOUCH_WORDS, type);
	if (person && (since || type))
		return cli_usage(c, "export --person: all that is stored; without --since and --type");
	if (!cli_setup(c))
		return EXIT_CANNOT;
	if (person && !cli_who(c, person, &who))
		return EXIT_USAGE;
	if (!cli_store(c))
		return EXIT_CANNOT;
	status = EXIT_FOUND;
	if (!(person ? export_person(&x, &who) : export_all(&x))) {
		cli_error("cannot read the store in %s: the export is not complete", c->setup->conf->data_dir);
		status = EXIT_CANNOT;
	} else if (x.n == 0) {
		status = EXIT_NOTHING;
	}
	buf_free(&x.scratch);
	buf_free(&x.stream);
	buf_free(&x.name);
	return status;
}
