/* rekindle series -- who is where between the last newsletter and the sunset, whose message is due, and what came of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/mem.h"
#include "common/text.h"

#define DAY INT64_C(86400)
#define SOON (7 * DAY * 1000)

static int
cannot_read(const struct cli *c, const char *what)
{
	cli_error("cannot read the store in %s: the %s not complete", c->setup->conf->data_dir, what);
	return EXIT_CANNOT;
}

/* ---- the stream ---- */

/* The one whose messages are the series.  NULL: told why there is none, and *status is what to return. */
static const struct stream *
find_stream(struct cli *c, const char *name, int *status)
{
	const struct conf *conf = c->setup->conf;
	const struct stream *found = NULL;
	size_t n = 0;
	uint64_t id;

	*status = EXIT_USAGE;
	for (size_t i = 0; i < conf->nstreams; i++)
		if (conf->stream[i].series && (!name || strcmp(conf->stream[i].name, name) == 0)) {
			found = &conf->stream[i];
			n++;
		}
	if (n == 1 && found->policy.series)
		return found;
	if (n == 1) {
		*status = EXIT_CANNOT;
		cli_error("series = off for stream %s: nobody is in a series", found->name);
	} else if (n > 1)
		cli_error("several streams have series_stream = yes; say which one with --stream NAME");
	else if (!name) {
		*status = EXIT_CANNOT;
		cli_error("there is no series: set series_stream = yes in the [stream NAME] whose messages are the re-engagement series");
	} else if (cli_stream(c, name, &id))
		cli_error("stream %s is not a series; set series_stream = yes in [stream %s]", name, name);
	return NULL;
}

/* Everybody in the store, asked about a message of this stream. */
struct asking {
	struct cli *c;
	const struct stream *stream;
	uint64_t stream_id;
	int64_t now;
};

static struct verdict
ask_at(const struct asking *a, const struct who *who, const struct profile *p, const struct subscription *s, int64_t now)
{
	return verdict_find(&(struct question){ .conf = a->c->setup->conf, .stream = a->stream, .stream_id = a->stream_id,
	    .who = who, .profile = p, .subscription = s, .now = now });
}

/* The same that the milter asks.  False: not inactive, or stopped whatever the class. */
static bool
ask(const struct asking *a, const struct who *who, const struct profile *p, struct verdict *v, struct verdict *soon, bool *stopped)
{
	struct finding f = { .class = engage_class(p, &a->stream->policy, a->now) };
	struct subscription s;
	const struct subscription *sub = NULL;

	*stopped = false;
	if (f.class != ENGAGE_INACTIVE)
		return false;
	if (store_subscription(a->c->store, who, a->stream_id, &s) == STORE_OK)
		sub = &s;
	*v = ask_at(a, who, p, sub, a->now);
	if (soon != NULL)
		*soon = ask_at(a, who, p, sub, a->now + SOON);
	*stopped = status_of(p, sub, &f, a->now) != CAUSE_NONE || v->cause == CAUSE_SOFT_BOUNCED;
	return !*stopped;
}

/* ---- who is where ---- */

struct where {
	struct asking a;
	struct {
		uint64_t people, due, soon;
	} status[SERIES_STATUSES], all;
	uint64_t stopped;
};

static bool
count_person(void *arg, const struct who *who, const struct profile *p)
{
	struct where *w = arg;
	struct verdict v, soon;
	bool stopped, due;

	if (!ask(&w->a, who, p, &v, &soon, &stopped)) {
		w->stopped += stopped;
		return true;
	}
	due = v.cause == CAUSE_NONE;
	w->status[v.series.status].people++;
	w->status[v.series.status].due += due;
	w->status[v.series.status].soon += !due && soon.cause == CAUSE_NONE;
	w->all.people++;
	w->all.due += due;
	w->all.soon += !due && soon.cause == CAUSE_NONE;
	return true;
}

static void
add_count(struct table *t, uint64_t n)
{
	if (n > 0)
		table_addf(t, "%" PRIu64, n);
	else
		table_adds(t, "-");
}

static void
print_where(const struct where *w)
{
	const struct policy *policy = &w->a.stream->policy;
	struct table t = TABLE("lrrr");

	printf("%s%s%s: %u message%s, %u days apart, after %u days without mail; sunset %u days after the last", print_bold(),
	    w->a.stream->name, print_plain(), policy->series_steps, policy->series_steps == 1 ? "" : "s", policy->series_gap_days,
	    policy->rest_days, policy->series_wait_days);
	if (policy->winback_days > 0)
		printf(", win-back %u days later", policy->winback_days);
	printf("\n\n");
	table_adds(&t, "status");
	table_adds(&t, "people");
	table_adds(&t, "due now");
	table_adds(&t, "due in 7 days");
	for (enum series_status s = SERIES_HOLDOUT; s < SERIES_STATUSES; s++) {
		table_adds(&t, series_name(s));
		add_count(&t, w->status[s].people);
		add_count(&t, w->status[s].due);
		add_count(&t, w->status[s].soon);
	}
	table_adds(&t, "all inactive");
	add_count(&t, w->all.people);
	add_count(&t, w->all.due);
	add_count(&t, w->all.soon);
	table_print(&t, "", true);
	table_free(&t);
	if (w->stopped > 0)
		printf("\n%" PRIu64 " more %s inactive, but stopped for another cause\n", w->stopped, w->stopped == 1 ? "is" : "are");
}

static void
emit_where(const struct where *w)
{
	const struct policy *policy = &w->a.stream->policy;
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_string(&e, "stream", w->a.stream->name);
	emit_number(&e, "steps", policy->series_steps);
	emit_number(&e, "rest_days", policy->rest_days);
	emit_number(&e, "gap_days", policy->series_gap_days);
	emit_number(&e, "wait_days", policy->series_wait_days);
	emit_number(&e, "winback_days", policy->winback_days);
	emit_open(&e, "status", '{');
	for (enum series_status s = SERIES_HOLDOUT; s < SERIES_STATUSES; s++) {
		emit_open(&e, series_name(s), '{');
		emit_number(&e, "people", w->status[s].people);
		emit_number(&e, "due", w->status[s].due);
		emit_number(&e, "due_in_7_days", w->status[s].soon);
		emit_close(&e, '}');
	}
	emit_close(&e, '}');
	emit_number(&e, "people", w->all.people);
	emit_number(&e, "due", w->all.due);
	emit_number(&e, "due_in_7_days", w->all.soon);
	emit_number(&e, "stopped", w->stopped);
	emit_close(&e, '}');
	emit_end(&e);
}

static int
where(const struct asking *a)
{
	struct where w = { .a = *a };

	if (store_each_person(a->c->store, count_person, &w) > STORE_NONE)
		return cannot_read(a->c, "figures are");
	if (a->c->json)
		emit_where(&w);
	else
		print_where(&w);
	return w.all.people + w.stopped > 0 ? EXIT_FOUND : EXIT_NOTHING;
}

/* ---- what came of it ---- */

struct group {
	uint64_t people, pressed, clicked, opened;
};

/* One of the control group, whom mail went on to: since when, and for how long at least. */
struct spared {
	struct who who;
	uint32_t first, last; /* seconds */
};

struct results {
	struct asking a;
	struct group series, control;
	struct spared *spared; /* a hash table; first is 0 where nobody is */
	size_t n, slots;
};

/* How somebody came back since this second, if at all: the strongest sign counts. */
static void
count_back(struct group *g, const struct profile *p, const struct finding *f, uint32_t since)
{
	g->people++;
	if (f->last_engaged < since)
		return;
	if (p->chosen >= since)
		g->pressed++;
	else if (f->clicked)
		g->clicked++;
	else
		g->opened++;
}

static bool
count_series(void *arg, const struct who *who, const struct profile *p)
{
	struct results *r = arg;
	struct finding f;
	size_t first = PROFILE_SERIES;

	(void)who;
	while (first > 0 && p->series[first - 1] == 0)
		first--;
	if (first == 0)
		return true;
	f = engage_find(p, &r->a.stream->policy, r->a.now);
	count_back(&r->series, p, &f, p->series[first - 1]);
	return true;
}

/* A who is a keyed hash, so any of its bytes will do. */
static struct spared *
find_spared(const struct results *r, const struct who *who)
{
	size_t i;

	memcpy(&i, who->b, sizeof i);
	for (i &= r->slots - 1; r->spared[i].first != 0; i = (i + 1) & (r->slots - 1))
		if (memcmp(&r->spared[i].who, who, sizeof *who) == 0)
			break;
	return &r->spared[i];
}

static void
grow(struct results *r)
{
	struct spared *old = r->spared;
	size_t n = r->slots;

	r->slots = n > 0 ? 2 * n : 1024;
	r->spared = xcalloc(r->slots, sizeof *r->spared);
	for (size_t i = 0; i < n; i++)
		if (old[i].first != 0)
			*find_spared(r, &old[i].who) = old[i];
	free(old);
}

static bool
take_touch(void *arg, const struct touch *t)
{
	struct results *r = arg;
	uint32_t when = touch_seconds(t);
	struct spared *s;

	if (t->kind != TOUCH_SENT || (t->flags & TOUCH_HOLDOUT) == 0)
		return true;
	if (2 * r->n >= r->slots)
		grow(r);
	s = find_spared(r, &t->who);
	if (s->first == 0) {
		*s = (struct spared){ t->who, when, when };
		r->n++;
	}
	if (when < s->first)
		s->first = when;
	if (when > s->last)
		s->last = when;
	return true;
}

/*
 * To be compared with those who got the series, they must have been silent as
 * long as those were: through the rest, which begins when mail would have
 * stopped.
 */
static void
count_spared(struct results *r, const struct spared *s)
{
	const struct policy *policy = &r->a.stream->policy;
	uint64_t since = s->first + (uint64_t)policy->rest_days * DAY;
	struct finding f;
	struct profile p;

	if (since > (uint64_t)(r->a.now / 1000) || store_profile(r->a.c->store, &s->who, &p) != STORE_OK)
		return;
	f = engage_find(&p, policy, r->a.now);
	if (s->last >= since || f.class == ENGAGE_INACTIVE)
		count_back(&r->control, &p, &f, (uint32_t)since);
}

static bool
count_control(struct results *r)
{
	enum store_result rc = store_each_touch(r->a.c->store, take_touch, r);

	for (size_t i = 0; i < r->slots; i++)
		if (r->spared[i].first != 0)
			count_spared(r, &r->spared[i]);
	return rc <= STORE_NONE;
}

static uint64_t
back(const struct group *g)
{
	return g->pressed + g->clicked + g->opened;
}

static void
group_row(struct table *t, const char *name, const struct group *g)
{
	table_adds(t, name);
	add_count(t, g->people);
	add_count(t, back(g));
	table_rate(t, back(g), g->people);
	add_count(t, g->pressed);
	add_count(t, g->clicked);
	add_count(t, g->opened);
}

static void
print_results(const struct results *r)
{
	static const char *const heads[] = { "", "people", "came back", "share", "by a button", "by a click", "by an open" };
	struct table t = TABLE("lrrrrrr");

	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_adds(&t, heads[i]);
	group_row(&t, "got the series", &r->series);
	group_row(&t, "control group", &r->control);
	table_print(&t, "", true);
	table_free(&t);
}

static void
emit_group(struct emit *e, const char *name, const struct group *g)
{
	emit_open(e, name, '{');
	emit_number(e, "people", g->people);
	emit_number(e, "back", back(g));
	emit_rate(e, "rate", back(g), g->people);
	emit_number(e, "pressed", g->pressed);
	emit_number(e, "clicked", g->clicked);
	emit_number(e, "opened", g->opened);
	emit_close(e, '}');
}

static int
results(const struct asking *a)
{
	struct results r = { .a = *a };
	struct emit e = { 0 };
	bool good = store_each_person(a->c->store, count_series, &r) <= STORE_NONE && count_control(&r);

	free(r.spared);
	if (!good)
		return cannot_read(a->c, "figures are");
	if (a->c->json) {
		emit_open(&e, NULL, '{');
		emit_string(&e, "stream", a->stream->name);
		emit_group(&e, "series", &r.series);
		emit_group(&e, "control_group", &r.control);
		emit_close(&e, '}');
		emit_end(&e);
	} else
		print_results(&r);
	return r.series.people + r.control.people > 0 ? EXIT_FOUND : EXIT_NOTHING;
}

/* ---- export ---- */

struct export {
	struct asking a;
	unsigned statuses;  /* bits by enum series_status; 0: who is due */
	enum series_status step; /* only this one; SERIES_NONE: any */
	enum format format;
	uint64_t written, nameless;
	struct buf name, row;
};

/* The message that is due, or comes next, as --step has it. */
static const char *
step_word(enum series_status s)
{
	switch (s) {
	case SERIES_1:
		return "1";
	case SERIES_2:
		return "2";
	case SERIES_3:
		return "3";
	case SERIES_WINBACK:
		return "win-back";
	default:
		return "";
	}
}

static bool
step_parse(const char *word, enum series_status *step)
{
	for (*step = SERIES_1; *step < SERIES_STATUSES; ++*step)
		if (word[0] != '\0' && strcmp(word, step_word(*step)) == 0)
			return true;
	return false;
}

/* For somebody who never reacted, since we know them. */
static uint64_t
silent_days(const struct export *x, const struct profile *p, const struct finding *f)
{
	int64_t since = f->last_engaged != 0 ? f->last_engaged : p->first_seen, days = (x->a.now / 1000 - since) / DAY;

	return days > 0 ? (uint64_t)days : 0;
}

static void
write_row(struct export *x, const struct profile *p, const struct verdict *v)
{
	const struct finding *f = &v->finding;
	const char *step = step_word(series_coming(&v->series, &x->a.stream->policy));
	unsigned score = engage_score(p, &x->a.stream->policy, x->a.now);
	bool due = v->cause == CAUSE_NONE;
	struct emit e = { 0 };

	if (x->format == FORMAT_TEXT) {
		print_bytes(&x->name);
		putchar('\n');
	} else if (x->format != FORMAT_JSON) {
		buf_clear(&x->row);
		format_address(&x->row, buf_span(&x->name), x->format);
		buf_addf(&x->row, ",%s,%s,%s,%s,%" PRIu64, step, csv_flag(due), series_name(v->series.status), engage_name(f->class),
		    silent_days(x, p, f));
		csv_time(&x->row, f->last_engaged);
		buf_addf(&x->row, ",%u", v->series.sent);
		csv_time(&x->row, v->series.sent > 0 ? p->series[0] : 0);
		csv_time(&x->row, v->series.next);
		buf_addf(&x->row, ",%u.%02u,%s,%s\r\n", score / 100, score % 100, csv_flag(f->at_risk), csv_flag(f->opaque));
		print_bytes(&x->row);
	} else {
		emit_open(&e, NULL, '{');
		emit_text(&e, "address", buf_span(&x->name));
		if (step[0] != '\0')
			emit_string(&e, "step", step);
		else
			emit_null(&e, "step");
		emit_flag(&e, "due", due);
		emit_string(&e, "status", series_name(v->series.status));
		emit_string(&e, "class", engage_name(f->class));
		emit_number(&e, "silent_days", silent_days(x, p, f));
		emit_time(&e, "last_engaged", (int64_t)f->last_engaged * 1000);
		emit_number(&e, "sent", v->series.sent);
		emit_time(&e, "last_series", v->series.sent > 0 ? (int64_t)p->series[0] * 1000 : 0);
		emit_time(&e, "next", (int64_t)v->series.next * 1000);
		emit_number(&e, "score", score);
		emit_flag(&e, "at_risk", f->at_risk);
		emit_flag(&e, "opaque", f->opaque);
		emit_close(&e, '}');
		emit_end(&e);
	}
}

static bool
export_person(void *arg, const struct who *who, const struct profile *p)
{
	struct export *x = arg;
	struct verdict v;
	bool stopped;

	if (!ask(&x->a, who, p, &v, NULL, &stopped))
		return true;
	if (x->statuses != 0 ? (x->statuses >> v.series.status & 1) == 0 : v.cause != CAUSE_NONE)
		return true;
	if (x->step != SERIES_NONE && v.series.status != x->step)
		return true;
	buf_clear(&x->name);
	if (store_name(x->a.c->store, who, &x->name) != STORE_OK) {
		x->nameless++;
		return true;
	}
	x->written++;
	write_row(x, p, &v);
	return !ferror(stdout);
}

static int
export(struct export *x)
{
	enum store_result rc;

	if (x->format == FORMAT_CSV || x->format == FORMAT_SHEET)
		printf("%s,step,due,status,class,silent_days,last_engaged,sent,last_series,next,score,at_risk,opaque\r\n",
		    format_address_column(x->format));
	rc = store_each_person(x->a.c->store, export_person, x);
	if (x->nameless)
		cli_error("%" PRIu64 " more are known by their hash only and cannot be listed", x->nameless);
	buf_free(&x->name);
	buf_free(&x->row);
	if (rc > STORE_NONE)
		return cannot_read(x->a.c, "list is");
	return x->written ? EXIT_FOUND : EXIT_NOTHING;
}

/* ---- the command ---- */

struct words_of_export {
	const char *step, *status, *on, *format;
};

/* False: told why, *status is what to return. */
static bool
read_words(struct cli *c, const struct words_of_export *w, struct export *x)
{
	int64_t on = 0;

	if (w->step && w->status)
		return cli_usage(c, "series export: --step is about who is due, --status about all; not both") && false;
	if (w->step && !step_parse(w->step, &x->step))
		return cli_usage(c, "there is no step \"%s\"; one of 1, 2, 3, win-back", w->step) && false;
	if (w->status && (x->statuses = series_set(span_of(w->status))) == 0)
		return cli_usage(c, "there is no status \"%s\"; one of " SERIES_WORDS, w->status) && false;
	if (w->format && !format_parse(w->format, &x->format))
		return cli_usage(c, "there is no format \"%s\"; one of " FORMAT_WORDS, w->format) && false;
	if (c->json && x->format != FORMAT_JSON)
		return cli_usage(c, "series export: --json or --format %s, not both", w->format) && false;
	if (w->on && !text_time(span_of(w->on), &on))
		return cli_usage(c, "\"%s\" is not a date; write 2026-01-31 or 2026-01-31T12:00:00Z", w->on) && false;
	if (w->on && on < c->now - c->now % (DAY * 1000))
		return cli_usage(c, "--on %s is in the past; who was due then is not kept", w->on) && false;
	x->a.now = on > c->now ? on : c->now;
	return true;
}

int
cmd_series(struct cli *c)
{
	struct words_of_export w = { 0 };
	const char *stream = NULL;
	const struct cli_option options[] = {
		{ "stream", .text = &stream }, { "step", .text = &w.step }, { "status", .text = &w.status },
		{ "on", .text = &w.on }, { "format", .text = &w.format },
	};
	struct export x = { .name = BUF(ADDR_MAX), .row = BUF(8 * ADDR_MAX) };
	const char *word;
	int status;

	if (!cli_options(c, options, sizeof options / sizeof *options, &status))
		return status;
	word = c->nwords > 0 ? c->word[0] : "";
	x.a = (struct asking){ .c = c, .now = c->now };
	x.format = c->json ? FORMAT_JSON : FORMAT_CSV;
	if (c->nwords > 1 || (word[0] != '\0' && strcmp(word, "export") != 0 && strcmp(word, "results") != 0))
		return cli_usage(c, "series: what is \"%s\"?", c->word[c->nwords > 1]);
	if (strcmp(word, "export") != 0 && (w.step || w.status || w.on || w.format))
		return cli_usage(c, "series: --step, --status, --on and --format belong to `series export`");
	if (!read_words(c, &w, &x))
		return EXIT_USAGE;
	if (!cli_setup(c))
		return EXIT_CANNOT;
	if ((x.a.stream = find_stream(c, stream, &status)) == NULL)
		return status;
	x.a.stream_id = stream_id(&c->setup->keys, span_of(x.a.stream->name));
	if (!cli_store(c))
		return EXIT_CANNOT;
	return word[0] == 'e' ? export(&x) : word[0] == 'r' ? results(&x.a) : where(&x.a);
}
