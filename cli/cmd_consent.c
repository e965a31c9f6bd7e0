/* rekindle consent -- what recipients agreed to, said for them by hand, and how it is known. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/mem.h"
#include "common/text.h"

#define CLOCK_SLACK 60000 /* ms: two machines' clocks */

static const enum axis axes[] = { AXIS_OPENS, AXIS_LINKS };

/* ---- grant, deny, reset ---- */

struct saying {
	struct cli *c;
	enum consent consent;
	bool axis[2];       /* by enum axis: is it about this one? */
	const int64_t *at;  /* NULL: now */
	bool evidence;      /* worth keeping although it changes nothing */
	struct buf source;
	struct batch *batch;
	uint64_t done, already, overtaken, bad;
};

static uint32_t
since(const struct profile *p, enum axis axis)
{
	return (uint32_t)(p->consent[axis] >> 2);
}

/*
 * Records know seconds, and of two in the same second the stricter one wins.
 * What a person says last must win: so it comes at least a second after what
 * it takes back.
 */
static int64_t
moment(const struct saying *s, const struct profile *p, enum axis axis)
{
	int64_t last = (int64_t)since(p, axis) * 1000;

	if (s->at)
		return *s->at;
	if (profile_consent(p, axis) == s->consent || last < s->c->now - 1000)
		return s->c->now;
	return last + 1000;
}

/* Who says that it was so long ago may be told that something else was said since.  Is it so? */
static bool
tell_if_outdated(const struct saying *s, struct span address, const struct profile *p, const struct touch *t, enum axis axis)
{
	struct profile after = *p;
	struct buf day = BUF(64);

	profile_add(&after, t);
	if (profile_consent(&after, axis) == s->consent)
		return false;
	text_add_time(&day, (int64_t)since(p, axis) * 1000);
	cli_error("%.*s: %s: still %s, which was said on %s", SPAN_ARG(address), axis_name(axis),
	    consent_name(profile_consent(p, axis)), buf_cstr(&day));
	buf_free(&day);
	return true;
}

enum said { SAID_NOTHING, SAID_TOO_EARLY, SAID };

/* Is there something to write, and does it count now? */
static enum said
say_axis(struct saying *s, struct span address, const struct who *who, const struct profile *p, enum axis axis)
{
	struct record r = {
		.touch = {
			.kind = TOUCH_CONSENT,
			.mode = MODE_IDENTIFIED,
			.detail = (uint8_t)(axis << 4 | s->consent),
			.who = *who,
		},
		.address = address,
		.source = buf_span(&s->source),
	};

	if (!s->axis[axis] || (!s->evidence && profile_consent(p, axis) == s->consent))
		return SAID_NOTHING;
	r.touch.when = moment(s, p, axis);
	batch_add(s->batch, &r);
	return tell_if_outdated(s, address, p, &r.touch, axis) ? SAID_TOO_EARLY : SAID;
}

/* One address.  False: cannot go on, told why. */
static bool
one(void *arg, struct span address, const char *where)
{
	struct saying *s = arg;
	struct cli *c = s->c;
	struct profile p = { 0 };
	struct who who;
	enum said most = SAID_NOTHING;

	if (!cli_who_at(c, address, where, &who)) {
		s->bad++;
		return true;
	}
	if (batch_has(s->batch, &who)) {
		s->already++;
		return true;
	}
	if (store_profile(c->store, &who, &p) > STORE_NONE) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
		return false;
	}
	for (size_t i = 0; i < 2; i++) {
		enum said said = say_axis(s, address, &who, &p, axes[i]);

		most = said > most ? said : most;
	}
	s->done += most == SAID;
	s->overtaken += most == SAID_TOO_EARLY;
	s->already += most == SAID_NOTHING;
	if (s->batch->n + 2 <= BATCH_MAX)
		return true;
	if (!batch_write(c, s->batch))
		return false;
	cli_fold(c);
	return true;
}

static void
tell(const struct saying *s)
{
	static const char *const done[] = {
		[CONSENT_UNKNOWN] = "reset", [CONSENT_DENIED] = "denied", [CONSENT_GRANTED] = "granted",
	};
	struct emit e = { 0 };

	if (!s->c->json) {
		printf("%s %" PRIu64 ", already %s %" PRIu64, done[s->consent], s->done, consent_name(s->consent),
		    s->already);
		if (s->overtaken)
			printf(", overtaken by what was said later %" PRIu64, s->overtaken);
		putchar('\n');
		return;
	}
	emit_open(&e, NULL, '{');
	emit_number(&e, "done", s->done);
	emit_number(&e, "already", s->already);
	emit_number(&e, "overtaken", s->overtaken);
	emit_number(&e, "bad", s->bad);
	emit_close(&e, '}');
	emit_end(&e);
}

static int
change(struct saying *s, const char *note)
{
	struct cli *c = s->c;
	bool ok;

	if (c->nwords < 2)
		return cli_usage(c, "consent %s: which address? (- reads them from standard input)", c->word[0]);
	if (!cli_source(&s->source, span_of(note)))
		return cli_usage(c, "--note: one line of UTF-8, together with your name at most %d bytes", CLI_SOURCE_MAX);
	if (!cli_store(c))
		return EXIT_CANNOT;

	s->batch = xcalloc(1, sizeof *s->batch);
	ok = cli_addresses(c, 1, one, s);
	if (!batch_write(c, s->batch))
		ok = false;
	free(s->batch);
	cli_fold(c);
	if (!ok)
		return EXIT_CANNOT;
	tell(s);
	if (s->bad)
		return EXIT_CANNOT;
	return s->done || (s->consent != CONSENT_UNKNOWN && s->already) ? EXIT_FOUND : EXIT_NOTHING;
}

/* ---- show ---- */

struct line {
	int64_t when;
	enum axis axis;
	enum consent consent;
	char *source;
	size_t nsource;
};

struct history {
	struct line *line;
	size_t n, cap;
};

static bool
add_line(void *arg, const struct touch *t, struct span source)
{
	struct history *h = arg;

	if (t->kind != TOUCH_CONSENT)
		return true;
	if (h->n == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 16;
		h->line = xreallocarray(h->line, h->cap, sizeof *h->line);
	}
	h->line[h->n++] = (struct line){ t->when, (enum axis)(t->detail >> 4), (enum consent)(t->detail & 15), xstrndup(source.n ? source.p : "", source.n), source.n };
	return true;
}

static void
history_free(struct history *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->line[i].source);
	free(h->line);
}

/* What is behind the consent that stands; NULL when nobody knows any more, or nothing was said. */
static const struct line *
standing(const struct history *h, const struct profile *p, enum axis axis)
{
	for (size_t i = h->n; i-- > 0;) {
		const struct line *l = &h->line[i];
		int64_t second = l->when < 1000 ? 1 : l->when / 1000; /* as in profile.c */

		if (l->axis == axis && second == since(p, axis) && l->consent == profile_consent(p, axis))
			return l;
	}
	return NULL;
}

static void
emit_source(struct emit *e, const struct line *l)
{
	if (l && l->nsource > 0)
		emit_text(e, "source", span_make(l->source, l->nsource));
	else
		emit_null(e, "source");
}

static void
show_json(struct span address, const struct who *who, const struct profile *p, const struct history *h)
{
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_text(&e, "address", address);
	emit_hex(&e, "who", who->b, sizeof who->b);
	for (size_t i = 0; i < 2; i++) {
		emit_open(&e, axis_name(axes[i]), '{');
		emit_string(&e, "value", consent_name(profile_consent(p, axes[i])));
		emit_time(&e, "since", (int64_t)since(p, axes[i]) * 1000);
		emit_source(&e, standing(h, p, axes[i]));
		emit_close(&e, '}');
	}
	emit_open(&e, "history", '[');
	for (size_t i = 0; i < h->n; i++) {
		const struct line *l = &h->line[i];

		emit_open(&e, NULL, '{');
		emit_time(&e, "at", l->when);
		emit_string(&e, "axis", axis_name(l->axis));
		emit_string(&e, "value", consent_name(l->consent));
		emit_source(&e, l);
		emit_close(&e, '}');
	}
	emit_close(&e, ']');
	emit_close(&e, '}');
	emit_end(&e);
}

static void
show_axis(const char *label, const struct cli *c, const struct profile *p, const struct history *h, enum axis axis)
{
	const struct line *l = standing(h, p, axis);
	struct buf text = BUF(4096);

	buf_adds(&text, consent_name(profile_consent(p, axis)));
	if (since(p, axis) > 0) {
		buf_adds(&text, " since ");
		print_when(&text, (int64_t)since(p, axis) * 1000, c->now);
	}
	if (l && l->nsource > 0) {
		buf_adds(&text, "; ");
		print_safe(&text, span_make(l->source, l->nsource));
	}
	print_field(label, &text);
	buf_free(&text);
}

static void
show_text(const struct cli *c, struct span address, const struct profile *p, const struct history *h)
{
	struct table t = TABLE("llll");
	struct buf text = BUF(4096);

	print_safe(&text, address);
	printf("%s%s%s\n", print_bold(), buf_cstr(&text), print_plain());
	show_axis("Opens", c, p, h, AXIS_OPENS);
	show_axis("Links", c, p, h, AXIS_LINKS);
	if (h->n > 0)
		printf("\n  %sHistory%s\n", print_bold(), print_plain());
	for (size_t i = 0; i < h->n; i++) {
		const struct line *l = &h->line[i];

		buf_clear(&text);
		text_add_time(&text, l->when);
		table_add(&t, buf_span(&text));
		table_adds(&t, axis_name(l->axis));
		table_adds(&t, consent_name(l->consent));
		table_add(&t, span_make(l->source, l->nsource));
	}
	table_print(&t, "  ", false);
	table_free(&t);
	buf_free(&text);
}

static int
show(struct cli *c)
{
	struct buf name = BUF(ADDR_MAX);
	struct history h = { 0 };
	struct profile p = { 0 };
	struct who who;
	int status = EXIT_CANNOT;

	if (!cli_setup(c))
		return EXIT_CANNOT;
	if (!cli_who(c, c->word[1], &who))
		return EXIT_USAGE;
	if (!cli_store(c))
		return EXIT_CANNOT;
	if (store_profile(c->store, &who, &p) > STORE_NONE ||
	    store_each_history_of(c->store, &who, add_line, &h) > STORE_NONE) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
		goto out;
	}
	if (store_name(c->store, &who, &name) != STORE_OK) {
		buf_clear(&name);
		buf_adds(&name, c->word[1]);
	}
	if (c->json)
		show_json(buf_span(&name), &who, &p, &h);
	else
		show_text(c, buf_span(&name), &p, &h);
	status = h.n > 0 || p.consent[AXIS_OPENS] || p.consent[AXIS_LINKS] ? EXIT_FOUND : EXIT_NOTHING;
out:
	history_free(&h);
	buf_free(&name);
	return status;
}

int
cmd_consent(struct cli *c)
{
	static const struct {
		const char *word;
		enum consent consent;
	} words[] = { { "grant", CONSENT_GRANTED }, { "deny", CONSENT_DENIED }, { "reset", CONSENT_UNKNOWN } };
	const char *at = NULL, *note = NULL;
	bool opens = false, links = false;
	const struct cli_option options[] = {
		{ "opens", .flag = &opens }, { "links", .flag = &links }, { "at", .text = &at }, { "note", .text = &note },
	};
	struct saying s = { .c = c, .source = BUF(4096) };
	int64_t when;
	int status;

	if (!cli_options(c, options, sizeof options / sizeof options[0], &status))
		return status;
	if (c->nwords == 0)
		return cli_usage(c, "consent: one of grant, deny, reset, show, import");
	if (strcmp(c->word[0], "show") == 0) {
		if (c->nwords != 2 || opens || links || at || note)
			return cli_usage(c, "consent show: one address, and nothing else");
		return show(c);
	}
	if (strcmp(c->word[0], "import") == 0) {
		if (c->nwords > 2 || opens || links || at || note)
			return cli_usage(c, "consent import: one file, and nothing else");
		return import_file(c, c->nwords == 2 ? c->word[1] : NULL, true);
	}
	if (at) {
		if (!text_time(span_of(at), &when))
			return cli_usage(c, "\"%s\" is not a date; write 2026-01-31 or 2026-01-31T12:00:00Z", at);
		if (when < 0 || when > c->now + CLOCK_SLACK)
			return cli_usage(c, "%s is %s", at, when < 0 ? "before 1970" : "in the future");
		/* Today's letter is not older than what was said this morning: it is said now. */
		if (strlen(at) != 10 || when / DAY_MS != c->now / DAY_MS)
			s.at = &when;
	}
	s.axis[AXIS_OPENS] = opens || !links;
	s.axis[AXIS_LINKS] = links || !opens;
	s.evidence = at || note;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(c->word[0], words[i].word) == 0) {
			s.consent = words[i].consent;
			status = change(&s, note);
			buf_free(&s.source);
			return status;
		}
	return cli_usage(c, "consent: what is \"%s\"; one of grant, deny, reset, show, import", c->word[0]);
}
