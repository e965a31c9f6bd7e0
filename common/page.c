#include "common/page.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/page_builtin.h"
#include "common/text.h"

#define RANGES_MAX 32 /* of one Accept-Language; the rest is not looked at */

static const char *const page_names[PAGES] = {
	[PAGE_LEAVE] = "leave",
	[PAGE_LEFT] = "left",
	[PAGE_LEFT_ALL] = "left-all",
	[PAGE_PREFERENCES] = "preferences",
	[PAGE_KEPT] = "kept",
	[PAGE_LESS] = "less",
	[PAGE_JOINED] = "joined",
	[PAGE_SORRY] = "sorry",
	[PAGE_STOPPED] = "stopped",
};

enum value { VALUE_STREAM, VALUE_PREFERENCES, VALUE_UNDO, VALUE_AFTER, VALUES };
static const char *const value_names[VALUES] = {
	[VALUE_STREAM] = "stream",
	[VALUE_PREFERENCES] = "preferences-url",
	[VALUE_UNDO] = "undo",
	[VALUE_AFTER] = "after",
};

/*
 * A template is text, then a mark, text, a mark ... and text.  `name` is a
 * page, or a value behind the pages.  A section that is left out goes on at
 * the piece `to`, its end.
 */
enum mark { MARK_NONE, MARK_VALUE, MARK_SECTION, MARK_INVERTED, MARK_END };

struct piece {
	struct span text; /* before the mark */
	enum mark mark;
	unsigned name;
	unsigned line;
	size_t to;
};

struct template {
	char tag[PAGE_TAG_MAX + 1];
	char *text;
	struct piece *piece;
	size_t n;
};

struct pages {
	struct template *language[PAGE_LANGUAGES_MAX];
	size_t n, standard;
	char *css;
	size_t css_bytes;
};

const char *
page_name(enum page page)
{
	return text_name(page_names, PAGES, page);
}

struct pages *
pages_new(void)
{
	return xcalloc(1, sizeof(struct pages));
}

static void
template_free(struct template *t)
{
	if (t == NULL)
		return;
	free(t->text);
	free(t->piece);
	free(t);
}

void
pages_free(struct pages *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n; i++)
		template_free(p->language[i]);
	free(p->css);
	free(p);
}

/* ---- reading a template ---- */

struct reading {
	struct template *t;
	const char *name;
	struct buf *why;
	size_t open[PAGE_DEPTH_MAX]; /* sections that are not closed yet */
	size_t depth;
	bool seen[PAGES];
	bool good;
};

static void fault(struct reading *, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void
fault(struct reading *r, unsigned line, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	buf_addf(r->why, "%s:%u: %s\n", r->name, line, text);
	r->good = false;
}

static const char *
name_of(unsigned name)
{
	return name < PAGES ? page_names[name] : value_names[name - PAGES];
}

static bool
find_name(struct span s, unsigned *name)
{
	for (unsigned i = 0; i < PAGES + VALUES; i++)
		if (span_eq(s, span_of(name_of(i)))) {
			*name = i;
			return true;
		}
	return false;
}

static void
open_section(struct reading *r, size_t at)
{
	const struct piece *p = &r->t->piece[at];

	if (p->name < PAGES && p->mark == MARK_SECTION)
		r->seen[p->name] = true;
	if (r->depth == PAGE_DEPTH_MAX)
		fault(r, p->line, "more than %d sections inside each other", PAGE_DEPTH_MAX);
	else
		r->open[r->depth++] = at;
}

static void
close_section(struct reading *r, size_t at)
{
	const struct piece *p = &r->t->piece[at];
	struct piece *opened = r->depth > 0 ? &r->t->piece[r->open[r->depth - 1]] : NULL;

	if (opened == NULL) {
		fault(r, p->line, "{{/%s}} closes nothing", name_of(p->name));
		return;
	}
	if (opened->name != p->name)
		fault(r, p->line, "{{/%s}} stands where {{/%s}} must close the section of line %u", name_of(p->name),
		    name_of(opened->name), opened->line);
	opened->to = at;
	r->depth--;
}

/* What stands between the braces. */
static void
read_mark(struct reading *r, struct span inner, unsigned line)
{
	struct piece *p = &r->t->piece[r->t->n - 1];
	struct span cut = span_cut(inner, 0, 40);

	p->line = line;
	p->mark = MARK_VALUE;
	if (span_starts(inner, SPAN("#")))
		p->mark = MARK_SECTION;
	else if (span_starts(inner, SPAN("^")))
		p->mark = MARK_INVERTED;
	else if (span_starts(inner, SPAN("/")))
		p->mark = MARK_END;
	if (p->mark != MARK_VALUE)
		inner = span_from(inner, 1);
	if (!find_name(span_trim(inner), &p->name)) {
		p->mark = MARK_NONE;
		fault(r, line, "{{%.*s}} is not known; values are stream, preferences-url, undo and after, sections those and the pages",
		    SPAN_ARG(cut));
		return;
	}
	if (p->mark == MARK_VALUE && p->name < PAGES) {
		p->mark = MARK_NONE;
		fault(r, line, "{{%.*s}} is a page, not a value; write {{#%.*s}} ... {{/%.*s}}", SPAN_ARG(cut), SPAN_ARG(cut),
		    SPAN_ARG(cut));
	} else if (p->mark == MARK_SECTION || p->mark == MARK_INVERTED)
		open_section(r, r->t->n - 1);
	else if (p->mark == MARK_END)
		close_section(r, r->t->n - 1);
}

static unsigned
lines_in(struct span s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '\n';
	return n;
}

/* Where the last line of a text begins. */
static size_t
line_start(struct span text)
{
	size_t n = text.n;

	while (n > 0 && text.p[n - 1] != '\n')
		n--;
	return n;
}

/* Has a mark between these a line for itself?  That line goes with it, as in Mustache.  fresh: `before` begins a line. */
static bool
stands_alone(struct span before, struct span behind, bool fresh)
{
	size_t end = span_find(behind, '\n');

	return end < behind.n && span_trim(span_cut(behind, 0, end)).n == 0 && (fresh || line_start(before) > 0) &&
	    span_trim(span_from(before, line_start(before))).n == 0;
}

static void
read_pieces(struct reading *r, struct span rest)
{
	unsigned line = 1;
	bool fresh = true;

	for (;;) {
		size_t at = span_search(rest, SPAN("{{"));
		struct span text = span_cut(rest, 0, at), inner = span_from(rest, at + 2);
		size_t end = span_search(inner, SPAN("}}"));

		r->t->piece[r->t->n++] = (struct piece){ .text = text };
		line += lines_in(text);
		if (at == rest.n)
			return;
		if (end == inner.n || lines_in(span_cut(inner, 0, end)) > 0) {
			fault(r, line, "{{ without }} on the same line");
			return;
		}
		if (r->t->n == PAGE_PIECES_MAX) {
			fault(r, line, "more than %d placeholders", PAGE_PIECES_MAX);
			return;
		}
		rest = span_from(inner, end + 2);
		read_mark(r, span_cut(inner, 0, end), line);
		if (r->t->piece[r->t->n - 1].mark >= MARK_SECTION && stands_alone(text, rest, fresh)) {
			r->t->piece[r->t->n - 1].text = span_cut(text, 0, line_start(text));
			rest = span_from(rest, span_find(rest, '\n') + 1);
			line++;
			fresh = true;
		} else
			fresh = false;
	}
}

static void
read_template(struct reading *r, struct span text)
{
	r->t->text = xstrndup(text.p, text.n);
	r->t->piece = xcalloc(PAGE_PIECES_MAX, sizeof *r->t->piece);
	read_pieces(r, span_make(r->t->text, text.n));
	for (size_t i = r->depth; i-- > 0;) {
		const struct piece *p = &r->t->piece[r->open[i]];

		fault(r, p->line, "{{#%s}} is not closed by {{/%s}}", name_of(p->name), name_of(p->name));
	}
	for (unsigned i = 0; i < PAGES && r->good; i++)
		if (!r->seen[i])
			fault(r, 1, "there is no {{#%s}} ... {{/%s}}: what shall that page say?", page_names[i], page_names[i]);
}

static bool
is_tag(struct span tag)
{
	for (size_t i = 0; i < tag.n; i++) {
		char c = ascii_lower(tag.p[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && i > 0 && i + 1 < tag.n)))
			return false;
	}
	return tag.n > 0 && tag.n <= PAGE_TAG_MAX;
}

static struct template *
find_language(const struct pages *p, struct span tag)
{
	for (size_t i = 0; i < p->n; i++)
		if (span_ieq(span_of(p->language[i]->tag), tag))
			return p->language[i];
	return NULL;
}

bool
pages_add(struct pages *pages, struct span tag, struct span text, const char *name, struct buf *why)
{
	struct reading r = { .name = name, .why = why, .good = true };

	if (!is_tag(tag))
		fault(&r, 1, "`%.*s' is not a language; name the file en.html or zh-Hant.html", SPAN_ARG(span_cut(tag, 0, 40)));
	else if (find_language(pages, tag) != NULL)
		fault(&r, 1, "there is another template for %.*s", SPAN_ARG(tag));
	else if (pages->n == PAGE_LANGUAGES_MAX)
		fault(&r, 1, "more than %d languages", PAGE_LANGUAGES_MAX);
	else if (text.n > PAGE_FILE_MAX)
		fault(&r, 1, "larger than %d bytes", PAGE_FILE_MAX);
	else if (!text_is_utf8(text) || span_find(text, '\0') < text.n)
		fault(&r, 1, "is not UTF-8");
	if (!r.good)
		return false;
	r.t = xcalloc(1, sizeof *r.t);
	memcpy(r.t->tag, tag.p, tag.n);
	read_template(&r, text);
	if (r.good)
		pages->language[pages->n++] = r.t;
	else
		template_free(r.t);
	return r.good;
}

void
pages_style(struct pages *p, struct span css)
{
	free(p->css);
	p->css = xstrndup(css.p, css.n);
	p->css_bytes = css.n;
}

void
pages_add_builtin(struct pages *p, bool only_style)
{
	static const struct {
		const char *tag, *text;
	} all[] = { { "en", en_html }, { "de", de_html }, { "mk", mk_html }, { "zh", zh_html } };
	struct buf why = BUF(4096);
	bool good = true;

	for (size_t i = 0; i < sizeof all / sizeof *all && !only_style; i++)
		good = pages_add(p, span_of(all[i].tag), span_of(all[i].text), all[i].tag, &why) && good;
	pages_style(p, span_of(style_css));
	assert(good);
	(void)good;
	buf_free(&why);
}

bool
pages_default(struct pages *p, struct span tag)
{
	for (size_t i = 0; i < p->n; i++)
		if (span_ieq(span_of(p->language[i]->tag), tag)) {
			p->standard = i;
			return true;
		}
	return false;
}

void
pages_list(const struct pages *p, struct buf *out)
{
	for (size_t i = 0; i < p->n; i++)
		buf_addf(out, "%s%s", i > 0 ? ", " : "", p->language[i]->tag);
}

struct span
pages_css(const struct pages *p)
{
	return span_make(p->css, p->css_bytes);
}

struct span
template_tag(const struct template *t)
{
	return span_of(t->tag);
}

/* ---- choosing a language ---- */

struct range {
	struct span tag;
	unsigned weight; /* thousandths */
};

/* "0.8" in thousandths: 0 or 1, and up to three digits behind the point. */
static bool
read_weight(struct span s, unsigned *weight)
{
	unsigned scale = 100, w;

	if (s.n == 0 || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.'))
		return false;
	w = s.p[0] == '1' ? 1000 : 0;
	for (size_t i = 2; i < s.n; i++, scale /= 10) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		w += (unsigned)(s.p[i] - '0') * scale;
	}
	*weight = w;
	return w <= 1000;
}

/* One element of the list; one that is malformed is no wish. */
static bool
read_range(struct span s, struct range *r)
{
	size_t semicolon = span_find(s, ';');
	struct span weight = span_trim(span_from(s, semicolon + 1));

	*r = (struct range){ .tag = span_trim(span_cut(s, 0, semicolon)), .weight = 1000 };
	if (semicolon < s.n && (!span_istarts(weight, SPAN("q=")) || !read_weight(span_from(weight, 2), &r->weight)))
		return false;
	return span_eq(r->tag, SPAN("*")) || is_tag(r->tag);
}

static size_t
read_ranges(struct span header, struct range range[RANGES_MAX])
{
	struct span item;
	size_t n = 0;

	while (n < RANGES_MAX && span_split(&header, ',', &item))
		n += read_range(item, &range[n]);
	return n;
}

/* Does the reader refuse this language, or a wider one that it is a part of? */
static bool
is_refused(const struct range *range, size_t n, struct span tag)
{
	for (size_t i = 0; i < n; i++)
		if (range[i].weight == 0 && span_istarts(tag, range[i].tag) &&
		    (tag.n == range[i].tag.n || tag.p[range[i].tag.n] == '-'))
			return true;
	return false;
}

/* Without its last subtag, and without a single letter that only introduced it. */
static struct span
shorter(struct span tag)
{
	do {
		while (tag.n > 0 && tag.p[tag.n - 1] != '-')
			tag.n--;
		if (tag.n > 0)
			tag.n--;
	} while (tag.n >= 2 && tag.p[tag.n - 2] == '-');
	return tag;
}

static const struct template *
look_up(const struct pages *p, struct span tag, const struct range *range, size_t n)
{
	const struct template *t;

	for (; tag.n > 0; tag = shorter(tag))
		if ((t = find_language(p, tag)) != NULL && !is_refused(range, n, span_of(t->tag)))
			return t;
	return NULL;
}

const struct template *
pages_choose(const struct pages *p, struct span accept_language)
{
	struct range range[RANGES_MAX];
	size_t n = read_ranges(accept_language, range);
	bool tried[RANGES_MAX] = { false };
	const struct template *t;

	/* The heaviest first; of equal ones the first.  "*" asks for nothing in particular. */
	for (size_t turn = 0; turn < n; turn++) {
		size_t best = n;

		for (size_t i = 0; i < n; i++)
			if (!tried[i] && (best == n || range[i].weight > range[best].weight))
				best = i;
		tried[best] = true;
		if (range[best].weight > 0 && (t = look_up(p, range[best].tag, range, n)) != NULL)
			return t;
	}
	return p->n > 0 ? p->language[p->standard] : NULL;
}

/* ---- filling in ---- */

static struct span
value_of(const struct page_values *v, unsigned name)
{
	switch (name - PAGES) {
	case VALUE_STREAM:
		return v->stream;
	case VALUE_PREFERENCES:
		return v->preferences;
	case VALUE_UNDO:
		return v->undo;
	default:
		return v->after;
	}
}

/* As much of a stream's name as is shown; cut between characters. */
static struct span
shown(struct span s)
{
	size_t n = PAGE_STREAM_SHOWN;

	if (s.n <= n)
		return s;
	while (n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return span_cut(s, 0, n);
}

void
page_fill(const struct template *t, enum page page, const struct page_values *values, struct buf *out)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct piece *p = &t->piece[i];

		buf_add(out, p->text);
		if (p->mark == MARK_VALUE)
			text_add_html(out, p->name == PAGES + VALUE_STREAM ? shown(values->stream) : value_of(values, p->name));
		else if (p->mark == MARK_SECTION || p->mark == MARK_INVERTED) {
			bool is = p->name < PAGES ? p->name == page : value_of(values, p->name).n > 0;

			if (is != (p->mark == MARK_SECTION))
				i = p->to; /* the text behind the end is the next piece's */
		}
	}
}
