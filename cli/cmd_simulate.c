/* rekindle simulate -- what other settings would do to the people and campaigns in the store.  Changes nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/mem.h"
#include "common/text.h"

#define DAY 86400
#define WHY_CAP 65536
#define NAME_CAP 4096
#define CAMPAIGNS 5
#define CAMPAIGNS_MAX 1000

/* Something stands in this subscription. */
struct stand {
	struct who who;
	struct subscription subscription;
};

struct stands {
	uint64_t stream;
	struct stand *item;
	size_t n, cap;
};

/* One policy, and what it does to all that are known. */
struct side {
	const struct conf *conf;
	const struct stream *stream;
	uint64_t class[ENGAGE_CLASSES];
	uint64_t cause[CAUSES]; /* of those whose next message would not go out as it is */
	uint64_t stopped, routed, holdout;
};

struct radius {
	uint64_t id, last;
	uint64_t sent, stopped, cause[CAUSES];
};

struct simulation {
	struct cli *c;
	struct conf *other; /* NULL: none */
	const char *stream_name;
	uint64_t stream; /* id of its name */
	struct side before, after;
	uint64_t people, changed, more, fewer;
	uint64_t from_to[ENGAGE_CLASSES][ENGAGE_CLASSES];
	uint64_t cause_class[CAUSES][ENGAGE_CLASSES]; /* after */
	struct stands standings;
	size_t next_standing;
	bool list;
	uint64_t nameless;
	struct buf name, row;
	struct radius *radius; /* room for twice as many as `most' */
	size_t nradius, most;
	uint64_t since;    /* seconds; 0: the newest `most' of them */
	uint64_t campaign; /* 0: none in particular */
	uint64_t *stream_ids; /* of the settings after */
};

/* ---- everybody, if a message went to them now ---- */

static bool
take_standing(void *arg, const struct who *who, uint64_t stream, const struct subscription *s)
{
	struct stands *all = arg;

	if (stream != all->stream || (!unsubscribed(s) && s->held == 0 && !subscription_less(s)))
		return true;
	if (all->n == all->cap) {
		all->cap = all->cap ? 2 * all->cap : 1024;
		all->item = xreallocarray(all->item, all->cap, sizeof *all->item);
	}
	all->item[all->n++] = (struct stand){ *who, *s };
	return true;
}

/* People come in the same order. */
static const struct subscription *
standing_of(struct simulation *s, const struct who *who)
{
	struct stands *all = &s->standings;
	int order = 1;

	while (s->next_standing < all->n && (order = memcmp(&all->item[s->next_standing].who, who, sizeof *who)) < 0)
		s->next_standing++;
	return s->next_standing < all->n && order == 0 ? &all->item[s->next_standing].subscription : NULL;
}

static bool
stops(enum action a)
{
	return !action_goes_out(a);
}

static struct verdict
judge(struct side *side, const struct question *of)
{
	struct question q = *of;
	struct verdict v;

	q.conf = side->conf;
	q.stream = side->stream;
	v = verdict_find(&q);
	side->class[v.finding.class]++;
	side->holdout += v.holdout;
	if (v.wanted != ACTION_SEND)
		side->cause[v.cause]++;
	side->routed += v.wanted == ACTION_ROUTE;
	side->stopped += stops(v.wanted);
	return v;
}

static void
list_person(struct simulation *s, const struct who *who, const struct verdict *before, const struct verdict *after)
{
	buf_clear(&s->name);
	if (store_name(s->c->store, who, &s->name) != STORE_OK) {
		s->nameless++;
		return;
	}
	buf_clear(&s->row);
	text_add_csv(&s->row, buf_span(&s->name));
	buf_addf(&s->row, ",%s,%s,%s,%s,%s,", engage_name(after->finding.class), cause_name(after->cause), action_name(after->wanted),
	    engage_name(before->finding.class), stops(before->wanted) ? cause_name(before->cause) : "none");
	if (after->next)
		text_add_time(&s->row, (int64_t)after->next * 1000);
	buf_adds(&s->row, "\r\n");
	print_bytes(&s->row);
}

static bool
take_person(void *arg, const struct who *who, const struct profile *p)
{
	struct simulation *s = arg;
	struct question q = { .stream_id = s->stream, .who = who, .profile = p, .subscription = standing_of(s, who), .now = s->c->now };
	struct verdict before = judge(&s->before, &q), after = s->other ? judge(&s->after, &q) : before;
	bool was = stops(before.wanted), is = stops(after.wanted);

	s->people++;
	s->from_to[before.finding.class][after.finding.class]++;
	s->changed += before.finding.class != after.finding.class;
	s->more += is && !was;
	s->fewer += was && !is;
	if (is)
		s->cause_class[after.cause][after.finding.class]++;
	if (is && s->list)
		list_person(s, who, &before, &after);
	return !ferror(stdout);
}

/* ---- campaigns that were sent ---- */

static int
by_id(const void *a, const void *b)
{
	const struct radius *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int
newest_first(const void *a, const void *b)
{
	const struct radius *x = a, *y = b;

	if (x->last != y->last)
		return x->last < y->last ? 1 : -1;
	return by_id(a, b);
}

static void
keep_newest(struct simulation *s)
{
	qsort(s->radius, s->nradius, sizeof *s->radius, newest_first);
	if (s->nradius > s->most)
		s->nradius = s->most;
}

static bool
take_campaign(void *arg, uint64_t id, const struct campaign *sums)
{
	struct simulation *s = arg;

	if (sums->sent == 0 || (s->campaign != 0 && s->campaign != id) || sums->last < s->since ||
	    (s->stream_name && sums->stream != s->stream))
		return true;
	/* Twice as many as are wanted gather before the older half makes room: a sort for so many campaigns, not for each. */
	if (s->nradius == 2 * s->most)
		keep_newest(s);
	s->radius[s->nradius++] = (struct radius){ .id = id, .last = sums->last };
	return true;
}

static void
forget_since(uint32_t *sum, uint32_t t)
{
	if (*sum >= t)
		*sum = 0;
}

static void
rewind_days(struct days *d, uint32_t today)
{
	uint64_t bits[2];

	if (d->last < today || today == 0)
		return;
	days_until(d, today - 1, bits);
	*d = (struct days){ .last = bits[0] | bits[1] ? today - 1 : 0, .bits = { bits[0], bits[1] } };
}

/* The last second of the newest day that is set. */
static uint32_t
end_of_last(const struct days *d)
{
	for (uint32_t i = 0; i < PROFILE_DAYS && i <= d->last; i++)
		if (days_has(d, d->last - i))
			return (d->last - i) * DAY + DAY - 1;
	return 0;
}

static void
rewind_ring(uint32_t *ring, size_t n, uint32_t t)
{
	size_t later = 0;

	while (later < n && ring[later] >= t)
		later++;
	memmove(ring, ring + later, (n - later) * sizeof *ring);
	memset(ring + n - later, 0, later * sizeof *ring);
}

static bool
is_of_series(const struct profile *p, uint32_t when)
{
	for (size_t i = 0; i < PROFILE_SERIES; i++)
		if (p->series[i] == when)
			return true;
	return false;
}

/* What a stream's last one was before that is among the newest sends, or not known any more. */
static void
rewind_streams(struct profile *p, uint32_t t)
{
	size_t n = 0;

	for (size_t i = 0; i < PROFILE_STREAMS; i++) {
		uint32_t when = p->stream_sent[i];
		uint16_t tag = p->stream_tag[i];

		p->stream_sent[i] = p->stream_tag[i] = 0;
		if (when < t) {
			p->stream_sent[n] = when;
			p->stream_tag[n++] = tag;
		}
	}
}

/* What was sent at t and since was not sent yet. */
static void
rewind_sends(struct profile *p, uint32_t t)
{
	size_t later = 0, left;

	while (later < PROFILE_SENDS && p->sent[later] != 0 && profile_sent(p, later) >= t) {
		p->sends -= p->sends > 0;
		p->tracked_sends -= p->tracked_sends > 0 && p->sent[later] & 1;
		later++;
	}
	left = PROFILE_SENDS - later;
	memmove(p->sent, p->sent + later, left * sizeof *p->sent);
	memmove(p->sent_tag, p->sent_tag + later, left * sizeof *p->sent_tag);
	memset(p->sent + left, 0, later * sizeof *p->sent);
	memset(p->sent_tag + left, 0, later * sizeof *p->sent_tag);
	rewind_streams(p, t);
	rewind_ring(p->series, PROFILE_SERIES, t);
	p->last_sent = profile_sent(p, 0);
	if (p->last_regular < t)
		return;
	p->last_regular = 0;
	for (size_t i = 0; i < PROFILE_SENDS && p->last_regular == 0; i++)
		if (p->sent[i] != 0 && !is_of_series(p, profile_sent(p, i)))
			p->last_regular = profile_sent(p, i);
}

/*
 * Somebody as they were just before t, as far as sums can tell: engagement to
 * the day, 128 days back; what stood in the way then was not there, for a
 * message went out; and whether opens could be seen, as it is now.
 */
static struct profile
rewound(const struct profile *now, uint32_t t)
{
	struct profile p = *now;
	uint32_t *const lifted[] = { &p.left, &p.joined, &p.bounced, &p.complained, &p.held, &p.released, &p.chosen, &p.affirmed, &p.last_day };

	rewind_sends(&p, t);
	for (size_t i = 0; i < sizeof lifted / sizeof *lifted; i++)
		forget_since(lifted[i], t);
	rewind_ring(p.soft_bounced, PROFILE_SOFT, t);
	if (p.delivered >= t)
		p.delivered = t - 1;
	rewind_days(&p.open_days, t / DAY);
	rewind_days(&p.click_days, t / DAY);
	if (p.last_click >= t) {
		p.last_click = end_of_last(&p.click_days);
		memset(p.clicked, 0, sizeof p.clicked);
		memset(p.clicked_before, 0, sizeof p.clicked_before);
	}
	if (p.last_open >= t) {
		p.last_open = end_of_last(&p.open_days);
		if (p.last_day > p.last_open)
			p.last_open = p.last_day;
	}
	return p;
}

static const struct stream *
stream_by_id(const struct simulation *s, uint64_t id)
{
	const struct conf *conf = s->after.conf;

	for (size_t i = 0; i < conf->nstreams; i++)
		if (s->stream_ids[i] == id)
			return &conf->stream[i];
	return &conf->stream[0];
}

static bool
take_send(void *arg, const struct touch *t)
{
	struct simulation *s = arg;
	const struct radius of = { .id = t->campaign };
	struct radius *r;
	struct profile now, then;
	struct verdict v;
	uint32_t at = touch_seconds(t);

	if (t->kind != TOUCH_SENT || who_is_nobody(&t->who))
		return true;
	r = bsearch(&of, s->radius, s->nradius, sizeof of, by_id);
	if (r == NULL || store_profile(s->c->store, &t->who, &now) != STORE_OK)
		return true;
	then = rewound(&now, at);
	v = verdict_find(&(struct question){ .conf = s->after.conf, .stream = stream_by_id(s, t->stream), .stream_id = t->stream,
	    .who = &t->who, .profile = &then, .now = (int64_t)at * 1000 });
	r->sent++;
	r->stopped += stops(v.wanted);
	if (stops(v.wanted))
		r->cause[v.cause]++;
	return true;
}

static bool
look_back(struct simulation *s)
{
	s->radius = xcalloc(2 * s->most, sizeof *s->radius);
	s->stream_ids = xcalloc(s->after.conf->nstreams, sizeof *s->stream_ids);
	for (size_t i = 0; i < s->after.conf->nstreams; i++)
		s->stream_ids[i] = stream_id(&s->c->setup->keys, span_of(s->after.conf->stream[i].name));
	if (store_each_campaign(s->c->store, take_campaign, s) > STORE_NONE)
		return false;
	keep_newest(s);
	if (s->nradius == 0)
		return true;
	qsort(s->radius, s->nradius, sizeof *s->radius, by_id); /* to find each send's */
	if (store_each_touch(s->c->store, take_send, s) > STORE_NONE)
		return false;
	qsort(s->radius, s->nradius, sizeof *s->radius, newest_first);
	return true;
}

/* ---- answers ---- */

static void
class_rows(const struct simulation *s)
{
	struct table t = TABLE(s->other ? "lrrrr" : "lrr");

	table_adds(&t, "class");
	table_adds(&t, s->other ? "now" : "people");
	table_adds(&t, "share");
	if (s->other) {
		table_adds(&t, "then");
		table_adds(&t, "share");
	}
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++) {
		table_adds(&t, engage_name(i));
		table_addf(&t, "%" PRIu64, s->before.class[i]);
		table_rate(&t, s->before.class[i], s->people);
		if (s->other) {
			table_addf(&t, "%" PRIu64, s->after.class[i]);
			table_rate(&t, s->after.class[i], s->people);
		}
	}
	table_print(&t, "", true);
	table_free(&t);
	if (!s->other) {
		printf("\n");
		return;
	}
	printf("\n%" PRIu64 " of %" PRIu64 " change class", s->changed, s->people);
	for (enum engage i = 0, any = 0; i < ENGAGE_CLASSES; i++)
		for (enum engage k = 0; k < ENGAGE_CLASSES; k++)
			if (i != k && s->from_to[i][k] > 0) {
				printf("%s %" PRIu64 " from %s to %s", any ? "," : ":", s->from_to[i][k], engage_name(i), engage_name(k));
				any = 1;
			}
	printf("\n\n");
}

static void
cause_rows(const struct simulation *s)
{
	struct table t = TABLE(s->other ? "lrrrrrrl" : "lrrrrrl");

	table_adds(&t, "the next message is stopped");
	table_adds(&t, s->other ? "now" : "people");
	if (s->other)
		table_adds(&t, "then");
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++)
		table_adds(&t, engage_name(i));
	table_adds(&t, "action");
	for (enum cause i = CAUSE_NONE + 1; i < CAUSES; i++) {
		if (s->before.cause[i] == 0 && s->after.cause[i] == 0)
			continue;
		table_adds(&t, cause_name(i));
		table_addf(&t, "%" PRIu64, s->before.cause[i]);
		if (s->other)
			table_addf(&t, "%" PRIu64, s->after.cause[i]);
		for (enum engage k = 0; k < ENGAGE_CLASSES; k++)
			table_addf(&t, "%" PRIu64, s->cause_class[i][k]);
		table_adds(&t, action_name(s->after.stream->policy.on[i]));
	}
	table_adds(&t, "all");
	table_addf(&t, "%" PRIu64, s->before.stopped);
	if (s->other)
		table_addf(&t, "%" PRIu64, s->after.stopped);
	for (enum engage k = 0; k < ENGAGE_CLASSES; k++) {
		uint64_t n = 0;

		for (enum cause i = 0; i < CAUSES; i++)
			n += s->cause_class[i][k];
		table_addf(&t, "%" PRIu64, n);
	}
	table_adds(&t, "");
	table_print(&t, "", true);
	table_free(&t);
	printf("\n");
	if (s->other)
		printf("%" PRIu64 " are stopped that are not now, %" PRIu64 " are not that are now; ", s->more, s->fewer);
	printf("%" PRIu64 " are in the control group\n", s->after.holdout);
}

static void
radius_name(const struct simulation *s, const struct radius *r, struct buf *stream, struct buf *out)
{
	buf_clear(stream);
	buf_clear(out);
	if (store_campaign_names(s->c->store, r->id, stream, out) != STORE_OK || out->n == 0) {
		buf_clear(out);
		buf_addf(out, "%016" PRIx64, r->id);
	}
}

static void
radius_rows(const struct simulation *s)
{
	struct table t = TABLE("lllrrrl");
	struct buf text = BUF(NAME_CAP), stream = BUF(NAME_CAP);

	if (s->nradius == 0)
		return;
	table_adds(&t, "campaign");
	table_adds(&t, "stream");
	table_adds(&t, "last sent");
	table_adds(&t, "sent");
	table_adds(&t, "stopped");
	table_adds(&t, "share");
	table_adds(&t, "of these");
	for (size_t i = 0; i < s->nradius; i++) {
		const struct radius *r = &s->radius[i];

		radius_name(s, r, &stream, &text);
		table_add(&t, buf_span(&text));
		table_add(&t, buf_span(&stream));
		buf_clear(&text);
		text_add_day(&text, (int64_t)r->last * 1000);
		table_add(&t, buf_span(&text));
		table_addf(&t, "%" PRIu64, r->sent);
		table_addf(&t, "%" PRIu64, r->stopped);
		table_rate(&t, r->stopped, r->sent);
		buf_clear(&text);
		for (enum cause k = CAUSE_NONE + 1; k < CAUSES; k++)
			if (r->cause[k] > 0)
				buf_addf(&text, "%s%" PRIu64 " %s", text.n > 0 ? ", " : "", r->cause[k], cause_name(k));
		table_add(&t, buf_span(&text));
	}
	putchar('\n');
	table_print(&t, "", true);
	table_free(&t);
	buf_free(&text);
	buf_free(&stream);
}

static void
emit_causes(struct emit *e, const char *key, const uint64_t *n)
{
	emit_open(e, key, '{');
	for (enum cause i = CAUSE_NONE + 1; i < CAUSES; i++)
		emit_number(e, cause_name(i), n[i]);
	emit_close(e, '}');
}

static void
emit_side(struct emit *e, const char *key, const struct side *side)
{
	emit_open(e, key, '{');
	emit_open(e, "class", '{');
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++)
		emit_number(e, engage_name(i), side->class[i]);
	emit_close(e, '}');
	emit_causes(e, "cause", side->cause);
	emit_number(e, "stopped", side->stopped);
	emit_number(e, "routed", side->routed);
	emit_number(e, "control_group", side->holdout);
	emit_close(e, '}');
}

static void
emit_simulation(const struct simulation *s)
{
	struct buf name = BUF(NAME_CAP), stream = BUF(NAME_CAP);
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_number(&e, "people", s->people);
	emit_side(&e, "now", &s->before);
	emit_side(&e, "then", &s->after);
	emit_number(&e, "class_changed", s->changed);
	emit_open(&e, "from", '{');
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++) {
		emit_open(&e, engage_name(i), '{');
		for (enum engage k = 0; k < ENGAGE_CLASSES; k++)
			emit_number(&e, engage_name(k), s->from_to[i][k]);
		emit_close(&e, '}');
	}
	emit_close(&e, '}');
	emit_open(&e, "stopped_by_class", '{');
	for (enum cause i = CAUSE_NONE + 1; i < CAUSES; i++) {
		emit_open(&e, cause_name(i), '{');
		for (enum engage k = 0; k < ENGAGE_CLASSES; k++)
			emit_number(&e, engage_name(k), s->cause_class[i][k]);
		emit_close(&e, '}');
	}
	emit_close(&e, '}');
	emit_number(&e, "newly_stopped", s->more);
	emit_number(&e, "no_longer_stopped", s->fewer);
	emit_open(&e, "campaigns", '[');
	for (size_t i = 0; i < s->nradius; i++) {
		const struct radius *r = &s->radius[i];

		radius_name(s, r, &stream, &name);
		emit_open(&e, NULL, '{');
		emit_text(&e, "campaign", buf_span(&name));
		emit_text(&e, "stream", buf_span(&stream));
		emit_id(&e, "id", r->id);
		emit_time(&e, "last", (int64_t)r->last * 1000);
		emit_number(&e, "sent", r->sent);
		emit_number(&e, "stopped", r->stopped);
		emit_causes(&e, "cause", r->cause);
		emit_close(&e, '}');
	}
	emit_close(&e, ']');
	emit_close(&e, '}');
	emit_end(&e);
	buf_free(&name);
	buf_free(&stream);
}

/* ---- questions ---- */

static const struct stream *
stream_of(const struct conf *conf, const char *name)
{
	const struct stream *stream = name ? conf_stream(conf, span_of(name)) : NULL;

	return stream ? stream : &conf->stream[0];
}

/* The settings that are asked about, read before root is given up.  False: told why. */
static bool
read_other(struct simulation *s, const char *file)
{
	struct buf why = BUF(WHY_CAP);

	s->other = setup_conf(file, &why);
	if (!s->other)
		cli_errors(s->c, &why);
	buf_free(&why);
	return s->other != NULL;
}

static bool
number(const char *text, uint64_t most, uint64_t *n)
{
	char *end;

	*n = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
	return *n > 0 && *n <= most && *end == '\0';
}

/* Before everybody is looked at, which takes its time.  False: told why, in *status too. */
static bool
find_campaign(struct simulation *s, const char *stream, const char *name, int *status)
{
	struct campaign sums;
	enum store_result r;

	s->campaign = campaign_id(&s->c->setup->keys, span_of(stream), span_of(name));
	r = store_campaign(s->c->store, s->campaign, &sums);
	if (r == STORE_OK && sums.sent > 0)
		return true;
	if (r > STORE_NONE) {
		cli_error("cannot read the store in %s", s->c->setup->conf->data_dir);
		return false;
	}
	cli_error("nothing was sent of a campaign \"%s\"%s", name, s->stream_name ? " in this stream" : "; its stream is given with --stream");
	*status = EXIT_NOTHING;
	return false;
}

static bool
work(struct simulation *s, const char *campaign, int *status)
{
	struct cli *c = s->c;
	const char *name = s->stream_name ? s->stream_name : c->setup->conf->stream[0].name;

	if (s->stream_name) {
		if (!(s->other && conf_stream(s->other, span_of(name))) && !cli_stream(c, name, &s->stream)) {
			*status = EXIT_USAGE;
			return false;
		}
	}
	s->stream = stream_id(&c->setup->keys, span_of(name));
	s->standings.stream = s->stream;
	s->before = (struct side){ .conf = c->setup->conf, .stream = stream_of(c->setup->conf, s->stream_name) };
	s->after = s->before;
	if (s->other)
		s->after = (struct side){ .conf = s->other, .stream = stream_of(s->other, s->stream_name) };
	if (campaign && !find_campaign(s, name, campaign, status))
		return false;
	if (s->list)
		fputs("address,class,cause,action,class_now,cause_now,next\r\n", stdout);
	if (store_each_subscription(c->store, take_standing, &s->standings) > STORE_NONE ||
	    store_each_person(c->store, take_person, s) > STORE_NONE || (!s->list && !look_back(s))) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
		return false;
	}
	if (!s->other)
		s->after = s->before;
	return true;
}

int
cmd_simulate(struct cli *c)
{
	struct simulation s = { .c = c, .name = BUF(ADDR_MAX), .row = BUF(8 * ADDR_MAX), .most = CAMPAIGNS };
	const char *file = NULL, *campaign = NULL, *days = NULL;
	const struct cli_option options[] = {
		{ "conf", .text = &file },
		{ "stream", .text = &s.stream_name },
		{ "campaign", .text = &campaign },
		{ "days", .text = &days },
		{ "list", .flag = &s.list },
	};
	uint64_t n;
	int status;

	if (!cli_options(c, options, sizeof options / sizeof *options, &status))
		return status;
	if (c->nwords > 0)
		return cli_usage(c, "simulate: what is \"%s\"?", c->word[0]);
	if (campaign && days)
		return cli_usage(c, "simulate: --campaign or --days, not both");
	if (s.list && (campaign || days))
		return cli_usage(c, "simulate: --list looks at no campaigns");
	if (s.list && c->json)
		return cli_usage(c, "simulate: --list is CSV; without --json");
	if (days) {
		if (!number(days, 36500, &n))
			return cli_usage(c, "simulate: \"%s\" is no number of days", days);
		s.since = c->now / 1000 > (int64_t)(n * DAY) ? (uint64_t)c->now / 1000 - n * DAY : 0;
		s.most = CAMPAIGNS_MAX;
	}
	status = EXIT_CANNOT;
	if (cli_setup(c) && (!file || read_other(&s, file)) && cli_store(c) && work(&s, campaign, &status)) {
		if (s.nameless)
			cli_error("%" PRIu64 " more are known by their hash only and cannot be listed", s.nameless);
		if (c->json && !s.list)
			emit_simulation(&s);
		else if (!s.list) {
			class_rows(&s);
			cause_rows(&s);
			radius_rows(&s);
			printf("\nBrakes and throttling are not in this.\n");
		}
		status = s.people ? EXIT_FOUND : EXIT_NOTHING;
	}
	conf_free(s.other);
	free(s.standings.item);
	free(s.radius);
	free(s.stream_ids);
	buf_free(&s.name);
	buf_free(&s.row);
	return status;
}
