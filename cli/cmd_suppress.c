/* rekindle suppress -- stop and release recipients by hand, and say who is stopped, since when, and by whom. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/csv.h"
#include "common/mem.h"
#include "common/text.h"

struct suppress {
	struct cli *c;
	bool remove;
	enum touch_kind kind;   /* when adding */
	uint32_t until;         /* of a hold, seconds; 0: for ever */
	const char *stream;     /* NULL: everything */
	uint64_t stream_id;
	struct buf source;
	struct span address;    /* the one at hand */
	struct batch *batch;
	uint64_t done, already, bad;
};

static const struct {
	const char *word;
	enum touch_kind kind;
} causes[] = {
	{ "held", TOUCH_HELD }, { "unsubscribed", TOUCH_LEFT }, { "complained", TOUCH_COMPLAINED }, { "bounced", TOUCH_BOUNCED },
};
#define CAUSE_WORDS "held, unsubscribed, complained, bounced"

bool
suppress_kind(const char *word, enum touch_kind *kind)
{
	for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++)
		if (strcmp(causes[i].word, word) == 0) {
			*kind = causes[i].kind;
			return true;
		}
	return false;
}

const char *
suppress_word(enum touch_kind kind)
{
	for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++)
		if (causes[i].kind == kind)
			return causes[i].word;
	return touch_name(kind);
}

/* ---- what stands ---- */

static uint32_t
later(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static void
add_standing(struct standing *out, size_t *n, enum touch_kind kind, uint32_t stop, uint32_t lifted, uint32_t until, int64_t now)
{
	if (stop != 0 && stop >= lifted && (until == 0 || now / 1000 < until))
		out[(*n)++] = (struct standing){ kind, stop, until };
}

size_t
suppress_standing(const struct profile *p, const struct subscription *s, int64_t now, struct standing out[STANDING_MAX])
{
	size_t n = 0;

	if (p) {
		add_standing(out, &n, TOUCH_COMPLAINED, p->complained, later(p->joined, p->released), 0, now);
		add_standing(out, &n, TOUCH_BOUNCED, p->bounced, later(p->joined, p->released), 0, now);
		add_standing(out, &n, TOUCH_LEFT, p->left, later(p->joined, p->released), 0, now);
		add_standing(out, &n, TOUCH_HELD, p->held, p->released, p->held_until, now);
		return n;
	}
	add_standing(out, &n, TOUCH_LEFT, s->left, s->joined, 0, now);
	add_standing(out, &n, TOUCH_HELD, s->held, s->released, s->held_until, now);
	return n;
}

struct wanted {
	uint64_t stream;
	const struct standing *standing;
	struct buf *out;
};

/* Of several within the second the last one. */
static bool
take_source(void *arg, const struct touch *t, struct span source)
{
	struct wanted *w = arg;

	if (t->kind == w->standing->kind && touch_seconds(t) == w->standing->since &&
	    (w->stream ? t->stream == w->stream : !touch_is_subscription(t))) {
		buf_clear(w->out);
		buf_add(w->out, source);
	}
	return true;
}

void
suppress_source(struct cli *c, const struct who *who, const uint64_t *stream, const struct standing *standing, struct buf *out)
{
	struct wanted w = { stream ? *stream : 0, standing, out };

	(void)store_each_history_of(c->store, who, take_source, &w);
}

/* ---- add, remove ---- */

/* Is there nothing left to do for this touch? */
static bool
already(const struct suppress *s, const struct profile *p, const struct subscription *sub)
{
	struct standing all[STANDING_MAX];
	size_t n = suppress_standing(s->stream ? NULL : p, sub, s->c->now, all);

	if (s->remove)
		return n == 0;
	/* Only the cause that is to be added: the others do not make up for it. */
	for (size_t i = 0; i < n; i++)
		if (all[i].kind == s->kind && all[i].until == s->until)
			return true;
	return false;
}

/*
 * Records know seconds, and of two opposite touches in the same second one
 * wins by rule.  What a person asks for last must win: so it comes at least
 * a second after what it undoes.
 */
static int64_t
moment(const struct suppress *s, const struct profile *p, const struct subscription *sub)
{
	const uint32_t stops[] = { p->left, p->bounced, p->complained, p->held, sub->left, sub->held };
	const uint32_t lifts[] = { p->released, p->joined, sub->joined, sub->released, s->kind == TOUCH_HELD ? p->held : 0,
		s->kind == TOUCH_HELD ? sub->held : 0 };
	const uint32_t *against = s->remove ? stops : lifts;
	size_t n = s->remove ? sizeof stops / sizeof stops[0] : sizeof lifts / sizeof lifts[0];
	uint32_t last = 0;

	for (size_t i = 0; i < n; i++)
		last = later(last, against[i]);
	return (int64_t)last * 1000 >= s->c->now - 1000 ? ((int64_t)last + 1) * 1000 : s->c->now;
}

/* Streams that still have this recipient stopped after a release of everything. */
static bool
note_left(void *arg, const struct who *who, uint64_t stream, const struct subscription *sub)
{
	struct suppress *s = arg;
	struct standing all[STANDING_MAX];
	struct buf name = BUF(1024);

	(void)who;
	if (suppress_standing(NULL, sub, s->c->now, all) > 0) {
		cli_stream_name(s->c, stream, &name);
		cli_error("%.*s is still %s%s%s; --stream %s lifts that too", SPAN_ARG(s->address), suppress_word(all[0].kind),
		    all[0].kind == TOUCH_LEFT ? " from " : " for ", buf_cstr(&name), buf_cstr(&name));
	}
	buf_free(&name);
	return true;
}

/* One address.  False: cannot go on, told why. */
static bool
one(void *arg, struct span address, const char *where)
{
	struct suppress *s = arg;
	struct cli *c = s->c;
	struct record r = { .address = address, .source = buf_span(&s->source) };
	struct profile p;
	struct subscription sub;
	bool known, subscribed;
	enum store_result result;

	if (!cli_who_at(c, address, where, &r.touch.who)) {
		s->bad++;
		return true;
	}
	if (batch_has(s->batch, &r.touch.who)) {
		s->already++;
		return true;
	}
	result = store_person(c->store, &r.touch.who, s->stream_id, &p, &known, &sub, &subscribed);
	if (result > STORE_NONE) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
		return false;
	}
	s->address = address;
	if (s->remove && !s->stream)
		store_each_subscription_of(c->store, &r.touch.who, note_left, s);
	if (already(s, &p, &sub)) {
		s->already++;
		return true;
	}
	r.touch.kind = s->remove ? TOUCH_RELEASED : s->kind;
	r.touch.mode = MODE_IDENTIFIED;
	r.touch.when = moment(s, &p, &sub);
	r.touch.sent = s->until;
	if (s->stream) {
		r.touch.stream = s->stream_id;
		r.stream = span_of(s->stream);
	}
	batch_add(s->batch, &r);
	s->done++;
	if (s->batch->n < BATCH_MAX)
		return true;
	if (!batch_write(c, s->batch))
		return false;
	cli_fold(c);
	return true;
}

static void
say(const struct suppress *s)
{
	if (!s->c->json) {
		printf("%s %" PRIu64 ", %s already %" PRIu64 "\n", s->remove ? "released" : "stopped", s->done,
		    s->remove ? "free" : "stopped", s->already);
		return;
	}
	emit_tally(s->done, s->already, s->bad);
}

/* Options as they were given; NULL: not. */
struct asked {
	const char *stream, *reason, *as, *until, *for_, *cause, *format, *at;
	bool csv, dry_run, strict;
};

/* False: told why, status. */
static bool
read_until(struct cli *c, const struct asked *a, uint32_t *until, int *status)
{
	int64_t ms = 0, longer;

	*until = 0;
	*status = EXIT_USAGE;
	if (!a->until && !a->for_)
		return true;
	if (a->until && a->for_) {
		cli_usage(c, "suppress add: --until or --for, not both");
		return false;
	}
	if (a->until && !text_time(span_of(a->until), &ms)) {
		cli_usage(c, "\"%s\" is not a date; write 2026-01-31 or 2026-01-31T12:00:00Z", a->until);
		return false;
	}
	if (a->for_) {
		if (!text_duration(span_of(a->for_), &longer) || longer > UINT32_MAX * (int64_t)1000) {
			cli_usage(c, "\"%s\" is no time to wait; write 30d or 12h", a->for_);
			return false;
		}
		ms = c->now + longer;
	}
	if (ms <= c->now || ms / 1000 > UINT32_MAX) {
		cli_usage(c, "suppress add: it would be over %s", ms <= c->now ? "already" : "after 2106");
		return false;
	}
	*until = (uint32_t)(ms / 1000);
	return true;
}

/* False: told why, status. */
static bool
read_kind(struct cli *c, struct suppress *s, const struct asked *a, int *status)
{
	const char *as = a->as, *reason = a->reason;

	/* Before there was --as, --reason was its name. */
	if (!as && reason && suppress_kind(reason, &s->kind)) {
		as = reason;
		reason = NULL;
	}
	*status = EXIT_USAGE;
	if (s->remove && (as || a->until || a->for_)) {
		cli_usage(c, "suppress remove: lifts every cause, at once; %s belongs to add", as ? "--as" : "--until");
		return false;
	}
	if (!as)
		as = s->stream && !a->until && !a->for_ ? "unsubscribed" : "held";
	if (!suppress_kind(as, &s->kind)) {
		cli_usage(c, "there is no cause \"%s\"; one of " CAUSE_WORDS, as);
		return false;
	}
	if (s->stream && s->kind != TOUCH_LEFT && s->kind != TOUCH_HELD) {
		cli_usage(c, "%s goes for every stream; only held and unsubscribed know --stream", as);
		return false;
	}
	if (!read_until(c, a, &s->until, status))
		return false;
	if (s->until && s->kind != TOUCH_HELD) {
		cli_usage(c, "only a hold ends by itself; %s does not", as);
		return false;
	}
	if (!cli_source(&s->source, span_of(reason))) {
		cli_usage(c, "--reason: one line of UTF-8, together with your name at most %d bytes", CLI_SOURCE_MAX);
		return false;
	}
	return true;
}

static int
change(struct cli *c, bool remove, const struct asked *a)
{
	struct suppress s = { .c = c, .remove = remove, .stream = a->stream, .source = BUF(4096) };
	int status;
	bool ok;

	if (a->cause || a->format || a->at || a->csv || a->dry_run || a->strict)
		return cli_usage(c, "suppress %s: takes --stream, --reason%s", c->word[0], remove ? "" : ", --as, --until and --for");
	if (c->nwords < 2)
		return cli_usage(c, "suppress %s: which address? (- reads them from standard input)", c->word[0]);
	if (!read_kind(c, &s, a, &status))
		goto out;
	status = EXIT_CANNOT;
	if (!cli_store(c))
		goto out;
	status = EXIT_USAGE;
	if (s.stream && !cli_stream(c, s.stream, &s.stream_id))
		goto out;

	s.batch = xcalloc(1, sizeof *s.batch);
	ok = cli_addresses(c, 1, one, &s);
	if (s.batch->n > 0 && !batch_write(c, s.batch))
		ok = false;
	free(s.batch);
	cli_fold(c);
	status = EXIT_CANNOT;
	if (!ok)
		goto out;
	say(&s);
	if (!s.bad)
		status = s.done || (!remove && s.already) ? EXIT_FOUND : EXIT_NOTHING;
out:
	buf_free(&s.source);
	return status;
}

/* ---- list, export ---- */

struct stopped {
	struct cli *c;
	struct emit e;
	bool csv, sheet;          /* sheet: in which nothing is a formula */
	enum touch_kind cause;    /* 0: all */
	const uint64_t *stream;   /* only this one; NULL: everything and all of them */
	uint64_t n;
};

static void
add_time(struct buf *out, uint32_t seconds)
{
	buf_clear(out);
	if (seconds)
		text_add_time(out, (int64_t)seconds * 1000);
}

static void
list_csv(struct span address, struct span stream, const struct standing *s, struct span source, bool sheet)
{
	struct buf line = BUF(65536), since = BUF(64), until = BUF(64), address_text = BUF(4096), source_text = BUF(8192);

	if (sheet) {
		csv_text(&address_text, address);
		csv_text(&source_text, source);
		address = buf_span(&address_text);
		source = buf_span(&source_text);
	}
	add_time(&since, s->since);
	add_time(&until, s->until);
	csv_write(&line, ',', (const struct span[]){ address, span_of(suppress_word(s->kind)), stream, buf_span(&since),
		buf_span(&until), source }, 6);
	print_bytes(&line);
	buf_free(&line);
	buf_free(&since);
	buf_free(&until);
	buf_free(&address_text);
	buf_free(&source_text);
}

static void
emit_standing(struct emit *e, struct span stream, const struct standing *s, struct span source)
{
	emit_string(e, "reason", suppress_word(s->kind));
	if (stream.n)
		emit_text(e, "stream", stream);
	emit_time(e, "since", (int64_t)s->since * 1000);
	emit_time(e, "until", (int64_t)s->until * 1000);
	if (source.n)
		emit_text(e, "source", source);
	else
		emit_null(e, "source");
}

/* Columns of fixed width, the address last: a list of millions is written as it is read. */
static void
list_line(struct span address, struct span stream, const struct standing *s)
{
	struct buf safe = BUF(4096), day = BUF(64), until = BUF(64);

	text_add_day(&day, (int64_t)s->since * 1000);
	if (s->until) {
		buf_adds(&until, " until ");
		text_add_day(&until, (int64_t)s->until * 1000);
	}
	print_safe(&safe, address);
	printf("%-12s  %s  %-20.*s  %s%s\n", suppress_word(s->kind), buf_cstr(&day), SPAN_ARG(stream), buf_cstr(&safe),
	    buf_cstr(&until));
	buf_free(&safe);
	buf_free(&day);
	buf_free(&until);
}

static void
list_one(struct stopped *l, const struct who *who, const uint64_t *stream, const struct standing *s)
{
	struct buf name = BUF(ADDR_MAX), of = BUF(1024), source = BUF(4096);
	bool known = store_name(l->c->store, who, &name) == STORE_OK;

	l->n++;
	if (!known)
		text_add_hex(&name, who->b, sizeof who->b);
	if (stream)
		cli_stream_name(l->c, *stream, &of);
	if (l->csv || l->c->json)
		suppress_source(l->c, who, stream, s, &source);
	if (l->csv) {
		list_csv(buf_span(&name), buf_span(&of), s, buf_span(&source), l->sheet);
	} else if (l->c->json) {
		emit_open(&l->e, NULL, '{');
		if (known)
			emit_text(&l->e, "address", buf_span(&name));
		emit_hex(&l->e, "who", who->b, sizeof who->b);
		emit_standing(&l->e, buf_span(&of), s, buf_span(&source));
		emit_close(&l->e, '}');
	} else {
		list_line(buf_span(&name), stream ? buf_span(&of) : SPAN("everything"), s);
	}
	buf_free(&name);
	buf_free(&of);
	buf_free(&source);
}

static void
list_all(struct stopped *l, const struct who *who, const uint64_t *stream, const struct profile *p, const struct subscription *sub)
{
	struct standing all[STANDING_MAX];
	size_t n = suppress_standing(p, sub, l->c->now, all);

	for (size_t i = 0; i < n; i++)
		if (!l->cause || l->cause == all[i].kind)
			list_one(l, who, stream, &all[i]);
}

static bool
list_person(void *arg, const struct who *who, const struct profile *p)
{
	list_all(arg, who, NULL, p, NULL);
	return !ferror(stdout);
}

static bool
list_subscription(void *arg, const struct who *who, uint64_t stream, const struct subscription *sub)
{
	struct stopped *l = arg;

	if (!l->stream || *l->stream == stream)
		list_all(l, who, &stream, NULL, sub);
	return !ferror(stdout);
}

static int
list(struct cli *c, const struct asked *a, bool csv)
{
	struct stopped l = { .c = c, .csv = csv };
	uint64_t stream;
	bool ok = true;

	if (c->nwords > 1 || a->reason || a->as || a->until || a->for_ || a->at || a->dry_run || a->strict)
		return cli_usage(c, "suppress %s: takes --stream, --cause and --format, and nothing else", c->word[0]);
	if (a->format && (!csv || (strcmp(a->format, "csv") != 0 && strcmp(a->format, "spreadsheet") != 0)))
		return cli_usage(c, "suppress %s: there is --format csv and --format spreadsheet, where it is CSV", c->word[0]);
	l.sheet = a->format && a->format[0] == 's';
	if (csv && c->json)
		return cli_usage(c, "suppress %s: CSV or JSON, not both", c->word[0]);
	if (a->cause && !suppress_kind(a->cause, &l.cause))
		return cli_usage(c, "there is no cause \"%s\"; one of " CAUSE_WORDS, a->cause);
	if (!cli_store(c))
		return EXIT_CANNOT;
	if (a->stream && !cli_stream(c, a->stream, &stream))
		return EXIT_USAGE;
	if (a->stream)
		l.stream = &stream;
	if (csv)
		printf("%s,reason,stream,since,until,source\r\n", format_address_column(l.sheet ? FORMAT_SHEET : FORMAT_CSV));
	else if (c->json)
		emit_open(&l.e, NULL, '[');
	if (!l.stream)
		ok = store_each_person(c->store, list_person, &l) <= STORE_NONE;
	ok = ok && store_each_subscription(c->store, list_subscription, &l) <= STORE_NONE;
	if (c->json) {
		emit_close(&l.e, ']');
		emit_end(&l.e);
	}
	if (!ok) {
		cli_error("cannot read the store in %s: the list is not complete", c->setup->conf->data_dir);
		return EXIT_CANNOT;
	}
	if (l.n == 0 && !csv && !c->json)
		cli_error("nobody is stopped%s", a->cause || a->stream ? ", of those that were asked for" : "");
	return l.n ? EXIT_FOUND : EXIT_NOTHING;
}

/* ---- show ---- */

struct shown {
	struct cli *c;
	struct emit e;
	struct table *table;
	uint64_t n;
};

static const char *
deed(const struct touch *t)
{
	static const char *const words[TOUCH_KINDS] = {
		[TOUCH_LEFT] = "unsubscribed", [TOUCH_JOINED] = "subscribed", [TOUCH_BOUNCED] = "bounced",
		[TOUCH_COMPLAINED] = "complained", [TOUCH_HELD] = "held", [TOUCH_RELEASED] = "released",
		[TOUCH_KEPT] = "keep me", [TOUCH_LESS] = "less often",
	};

	return t->kind < TOUCH_KINDS && words[t->kind] ? words[t->kind] : touch_name((enum touch_kind)t->kind);
}

static bool
show_line(void *arg, const struct touch *t, struct span source)
{
	struct shown *x = arg;
	struct buf text = BUF(1024);

	if (t->kind == TOUCH_CONSENT)
		return true;
	x->n++;
	if (x->c->json) {
		emit_open(&x->e, NULL, '{');
		emit_time(&x->e, "at", t->when);
		emit_string(&x->e, "type", touch_name((enum touch_kind)t->kind));
		if (t->stream) {
			cli_stream_name(x->c, t->stream, &text);
			emit_text(&x->e, "stream", buf_span(&text));
		}
		emit_time(&x->e, "until", (int64_t)t->sent * 1000);
		if (source.n)
			emit_text(&x->e, "source", source);
		else
			emit_null(&x->e, "source");
		emit_close(&x->e, '}');
	} else {
		text_add_time(&text, t->when - t->when % 1000);
		table_add(x->table, buf_span(&text));
		buf_clear(&text);
		buf_adds(&text, deed(t));
		if (t->sent) {
			buf_adds(&text, " until ");
			text_add_day(&text, (int64_t)t->sent * 1000);
		}
		table_add(x->table, buf_span(&text));
		buf_clear(&text);
		if (touch_is_subscription(t))
			cli_stream_name(x->c, t->stream, &text);
		else
			buf_adds(&text, "everything");
		table_add(x->table, buf_span(&text));
		table_add(x->table, source);
	}
	buf_free(&text);
	return true;
}

static void
show_standing(struct shown *x, const struct who *who, const uint64_t *stream, const struct profile *p, const struct subscription *sub)
{
	struct standing all[STANDING_MAX];
	size_t n = suppress_standing(p, sub, x->c->now, all);

	for (size_t i = 0; i < n; i++) {
		struct buf of = BUF(1024), source = BUF(4096), text = BUF(8192);

		x->n++;
		if (stream)
			cli_stream_name(x->c, *stream, &of);
		suppress_source(x->c, who, stream, &all[i], &source);
		if (x->c->json) {
			emit_open(&x->e, NULL, '{');
			emit_standing(&x->e, buf_span(&of), &all[i], buf_span(&source));
			emit_close(&x->e, '}');
		} else {
			buf_addf(&text, "%s, %s, since ", suppress_word(all[i].kind), stream ? buf_cstr(&of) : "everything");
			print_when(&text, (int64_t)all[i].since * 1000, x->c->now);
			if (all[i].until) {
				buf_adds(&text, " until ");
				text_add_time(&text, (int64_t)all[i].until * 1000);
			}
			if (source.n) {
				buf_adds(&text, "; ");
				print_safe(&text, buf_span(&source));
			}
			print_field("Stopped", &text);
		}
		buf_free(&of);
		buf_free(&source);
		buf_free(&text);
	}
}


static bool
show_subscription(void *arg, const struct who *who, uint64_t stream, const struct subscription *sub)
{
	show_standing(arg, who, &stream, NULL, sub);
	return true;
}

static bool
show_person(struct shown *x, struct span address, const struct who *who, const struct profile *p)
{
	struct table t = TABLE("llll");
	struct buf safe = BUF(4 * ADDR_MAX);
	bool ok;

	x->table = &t;
	if (x->c->json) {
		emit_open(&x->e, NULL, '{');
		emit_text(&x->e, "address", address);
		emit_hex(&x->e, "who", who->b, sizeof who->b);
		emit_open(&x->e, "stopped", '[');
	} else {
		print_safe(&safe, address);
		printf("%s%s%s\n", print_bold(), buf_cstr(&safe), print_plain());
	}
	show_standing(x, who, NULL, p, NULL);
	ok = store_each_subscription_of(x->c->store, who, show_subscription, x) <= STORE_NONE;
	if (x->c->json) {
		emit_close(&x->e, ']');
		emit_open(&x->e, "history", '[');
	} else if (x->n == 0) {
		print_fieldf("Stopped", "no");
	}
	ok = store_each_history_of(x->c->store, who, show_line, x) <= STORE_NONE && ok;
	if (x->c->json) {
		emit_close(&x->e, ']');
		emit_close(&x->e, '}');
		emit_end(&x->e);
	} else if (t.n > 0) {
		printf("\n  %sHistory%s\n", print_bold(), print_plain());
		table_print(&t, "  ", false);
	}
	table_free(&t);
	buf_free(&safe);
	return ok;
}

static int
show(struct cli *c, const struct asked *a)
{
	struct shown x = { .c = c };
	struct buf name = BUF(ADDR_MAX);
	struct profile p = { 0 };
	struct who who;
	int status = EXIT_CANNOT;

	if (c->nwords != 2 || a->stream || a->reason || a->as || a->until || a->for_ || a->cause || a->format || a->at || a->csv ||
	    a->dry_run || a->strict)
		return cli_usage(c, "suppress show: one address, and nothing else");
	if (!cli_setup(c))
		return EXIT_CANNOT;
	if (!cli_who(c, c->word[1], &who))
		return EXIT_USAGE;
	if (!cli_store(c))
		return EXIT_CANNOT;
	if (store_name(c->store, &who, &name) != STORE_OK) {
		buf_clear(&name);
		addr_normalise(&name, span_of(c->word[1]));
	}
	if (store_profile(c->store, &who, &p) <= STORE_NONE && show_person(&x, buf_span(&name), &who, &p))
		status = x.n ? EXIT_FOUND : EXIT_NOTHING;
	else
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
	buf_free(&name);
	return status;
}

int
cmd_suppress(struct cli *c)
{
	struct asked a = { 0 };
	const struct cli_option options[] = {
		{ "stream", .text = &a.stream }, { "reason", .text = &a.reason }, { "as", .text = &a.as }, { "until", .text = &a.until },
		{ "for", .text = &a.for_ }, { "cause", .text = &a.cause }, { "format", .text = &a.format }, { "at", .text = &a.at },
		{ "csv", .flag = &a.csv }, { "dry-run", .flag = &a.dry_run }, { "strict", .flag = &a.strict },
	};
	int status;

	if (!cli_options(c, options, sizeof options / sizeof options[0], &status))
		return status;
	if (c->nwords == 0)
		return cli_usage(c, "suppress: one of add, remove, list, show, export, import");
	if (strcmp(c->word[0], "add") == 0)
		return change(c, false, &a);
	if (strcmp(c->word[0], "remove") == 0)
		return change(c, true, &a);
	if (strcmp(c->word[0], "list") == 0)
		return list(c, &a, a.csv);
	if (strcmp(c->word[0], "export") == 0)
		return list(c, &a, true);
	if (strcmp(c->word[0], "show") == 0)
		return show(c, &a);
	if (strcmp(c->word[0], "import") == 0) {
		if (c->nwords > 2 || a.reason || a.until || a.for_ || a.cause || a.csv)
			return cli_usage(c, "suppress import: one file, with --format, --as, --stream, --at, --dry-run or --strict");
		return suppress_import(c, &(struct suppress_import){ c->nwords == 2 ? c->word[1] : NULL, a.format, a.stream, a.as, a.at,
			a.dry_run, a.strict });
	}
	return cli_usage(c, "suppress: what is \"%s\"; one of add, remove, list, show, export, import", c->word[0]);
}
