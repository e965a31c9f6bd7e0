#include "milter/tag.h"

#include <stdlib.h>

#include "common/mem.h"
#include "common/scan.h"
#include "common/text.h"
#include "milter/charref.h"
#include "milter/fields.h"
#include "milter/html.h"
#include "milter/plain.h"

#define VISIBLE_MAX 2000    /* link text that is looked at to see whether it is a URL */
#define TARGETS_MAX 16384   /* List-Unsubscribe targets, all together */
#define TARGET_COUNT_MAX 64 /* of them; every link is compared with each */
#define PARAMETERS_MAX 8192
#define NOTES_MAX (4 * 1024 * 1024)

/* ---- what all texts share ---- */

/* The targets in < >, white space inside dropped, as folding puts it there. */
static void
collect_targets(struct tagger *w, const struct message *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->nheaders; i++) {
		struct span s = m->header[i].value;

		if (!span_ieq(m->header[i].name, SPAN("List-Unsubscribe")))
			continue;
		for (size_t open; (open = span_find(s, '<')) < s.n && n < TARGET_COUNT_MAX; n++) {
			s = span_from(s, open + 1);
			buf_addc(&w->targets, '\n');
			for (; s.n > 0 && s.p[0] != '>'; s = span_from(s, 1))
				if ((unsigned char)s.p[0] > ' ')
					buf_addc(&w->targets, s.p[0]);
		}
	}
}

/* Percent-encoded values of the stream's URL parameters. */
static void
collect_parameters(struct tagger *w)
{
	const struct list *list = &w->tagging->stream->url_parameters;

	for (size_t i = 0; i < list->n; i++) {
		struct span pair = span_of(list->item[i]);
		size_t eq = span_find(pair, '=');

		buf_add(&w->parameters, span_cut(pair, 0, eq + 1));
		fields_fill(&w->parameters, span_from(pair, eq + 1), w->tagging, url_encode);
		buf_addc(&w->parameters, '\n');
	}
}

void
tag_start(struct tagger *w, const struct message *m, const struct tagging *t, struct plan *p)
{
	*w = (struct tagger){
		.tagging = t,
		.plan = p,
		.targets = BUF(TARGETS_MAX),
		.parameters = BUF(PARAMETERS_MAX),
		.scratch = BUF(m->body.n + TRACKED_URL_MAX * 6 + 1024),
		.url = BUF(m->body.n + PARAMETERS_MAX),
		.visible = BUF(VISIBLE_MAX),
	};
	links_init(&w->links, t);
	w->has_own = url_split(span_of(t->conf->tracking_url), &w->own);
	collect_targets(w, m);
	collect_parameters(w);
}

void
tag_end(struct tagger *w)
{
	struct plan *p = w->plan;

	p->nlinks = w->links.n;
	p->link = p->nlinks ? xcalloc(p->nlinks, sizeof *p->link) : NULL;
	p->text = w->links.text; /* destinations lie still now */
	w->links.text = BUF(0);
	for (size_t i = 0; i < p->nlinks; i++) {
		const struct link *l = &w->links.link[i];

		p->link[i] = (struct tagged_link){ (uint16_t)(i + 1), span_cut(buf_span(&p->text), l->at, l->at + l->n), l->hash };
	}
	links_free(&w->links);
	buf_free(&w->targets);
	buf_free(&w->parameters);
	buf_free(&w->scratch);
	buf_free(&w->url);
	buf_free(&w->visible);
}

struct tag_place
tag_here(const struct tagger *w)
{
	const struct plan *p = w->plan;

	return (struct tag_place){ w->links.n, p->edited_links, p->skipped_links, p->nseen, p->pixel, p->honeypot, p->warnings };
}

void
tag_undo(struct tagger *w, const struct tag_place *place)
{
	struct plan *p = w->plan;

	links_cut(&w->links, place->links);
	p->edited_links = place->edited;
	p->skipped_links = place->skipped;
	p->nseen = place->seen;
	p->pixel = place->pixel;
	p->honeypot = place->honeypot;
	p->warnings = place->warnings;
}

/* ---- which links are tracked ---- */

/* Made by us: the tracker's place, and a letter for the kind: /c/ /o/ /u/ and those that come later. */
static bool
is_ours(const struct tagger *w, const struct url *u)
{
	struct span rest;

	if (!w->has_own || !span_ieq(u->authority, w->own.authority) || !span_starts(u->path, w->own.path))
		return false;
	rest = span_from(u->path, w->own.path.n);
	return rest.n >= 3 && rest.p[0] == '/' && rest.p[1] >= 'a' && rest.p[1] <= 'z' && rest.p[2] == '/';
}

static bool
in_domains(const struct list *list, struct span host)
{
	for (size_t i = 0; i < list->n; i++)
		if (url_in_domain(host, span_of(list->item[i])))
			return true;
	return false;
}

static bool
fits_one(const struct list *patterns, struct span url)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (url_fits(url, span_of(patterns->item[i])))
			return true;
	return false;
}

static bool
is_target(const struct tagger *w, struct span url)
{
	struct span rest = buf_span(&w->targets), target;

	while (span_split(&rest, '\n', &target))
		if (target.n > 0 && span_eq(target, url))
			return true;
	return false;
}

/* Why a web URL stays as it is, wherever it stands, or NULL. */
static const char *
leave_url(const struct tagger *w, struct span url, const struct url *u, bool utf8)
{
	const struct stream *stream = w->tagging->stream;

	if (scan_control(url, 0) < url.n)
		return "control characters";
	if (!text_is_ascii(url) && (!utf8 || !text_is_utf8(url)))
		return "beyond ASCII, and not UTF-8";
	if (url_has_merge_tag(url))
		return "merge tag";
	if (is_ours(w, u))
		return "ours already";
	if (is_target(w, url))
		return "target of List-Unsubscribe";
	if (in_domains(&stream->untracked_domains, u->host))
		return "untracked_domains";
	if (fits_one(&stream->untracked_urls, url))
		return "untracked_urls";
	return NULL;
}

/* The destination: the URL, and the parameters that it does not have yet. */
static struct span
with_parameters(struct tagger *w, struct span url, const struct url *u)
{
	const struct list *domains = &w->tagging->stream->url_parameters_domains;
	struct span rest = buf_span(&w->parameters), pair;
	struct buf longer = BUF(w->url.max);

	if (rest.n == 0 || url.n > TOKEN_DESTINATION_MAX || (domains->n > 0 && !in_domains(domains, u->host)))
		return url;
	while (span_split(&rest, '\n', &pair)) {
		if (pair.n == 0 || url_has_parameter(url, span_cut(pair, 0, span_find(pair, '='))))
			continue;
		url_add_parameter(&longer, url, pair);
		buf_clear(&w->url);
		buf_add(&w->url, buf_span(&longer));
		buf_clear(&longer);
		url = buf_span(&w->url);
	}
	buf_free(&longer);
	return url;
}

static void
note(struct tagger *w, struct span url, const char *why, uint16_t no)
{
	struct plan *p = w->plan;

	if (!w->tagging->explain || p->note_text.n + url.n > NOTES_MAX)
		return;
	if (p->nseen == p->seen_cap) {
		p->seen_cap = p->seen_cap ? 2 * p->seen_cap : 64;
		p->seen = xreallocarray(p->seen, p->seen_cap, sizeof *p->seen);
	}
	p->seen[p->nseen++] = (struct link_note){ p->nparts, why, no, p->note_text.n, url.n };
	buf_add(&p->note_text, url);
}

static const char *
no_web(struct span url)
{
	size_t colon = span_find(url, ':'), i = 0;

	while (i < url.n && url.p[i] != '/' && url.p[i] != '?' && url.p[i] != '#')
		i++;
	if (url.n == 0)
		return "empty";
	if (url.p[0] == '#')
		return "a place in this page";
	return colon < i ? "not http or https" : "relative";
}

/*
 * The tracked URL for this one, or empty when it stays.  Either way it is
 * counted and noted; `why` is a reason of the caller's to leave it.
 */
static struct span
track(struct tagger *w, struct span url, bool utf8, const char *why)
{
	struct span tracked = SPAN("");
	uint16_t no = 0;
	struct url u;

	if (!url_is_web(url)) {
		note(w, url, no_web(url), 0);
		return tracked;
	}
	if (!url_split(url, &u))
		why = "no host";
	if (why == NULL)
		why = leave_url(w, url, &u, utf8);
	if (why == NULL && w->plan->edited_links == MESSAGE_LINKS_MAX)
		why = "too many links";
	if (why == NULL) {
		tracked = links_url(&w->links, with_parameters(w, url, &u), &no);
		if (tracked.n == 0)
			why = "too long";
	}
	note(w, url, why, no);
	if (why == NULL)
		w->plan->edited_links++;
	else
		w->plan->skipped_links++;
	return tracked;
}

/* ---- the recipient's own pages ---- */

/*
 * Senders write https://rekindle.invalid/keep and the like where the page of
 * the recipient belongs, and the name of a stream behind it when it is not
 * about this one.  Editors take that for a link, and a message that never
 * came by here leads nowhere (RFC 6761).  stream is empty where none is named.
 */
static bool
find_own_page(struct span url, enum token_kind *kind, struct span *stream)
{
	static const struct {
		struct span word;
		enum token_kind kind;
	} pages[] = {
		{ SPAN("keep"), TOKEN_PREFERENCES }, { SPAN("less"), TOKEN_PREFERENCES },
		{ SPAN("preferences"), TOKEN_PREFERENCES }, { SPAN("stop"), TOKEN_LEAVE }, { SPAN("unsubscribe"), TOKEN_LEAVE },
	};
	static const struct span places[] = { SPAN("https://rekindle.invalid/"), SPAN("http://rekindle.invalid/") };
	size_t place = span_istarts(url, places[0]) ? places[0].n : span_istarts(url, places[1]) ? places[1].n : 0, slash;

	if (place == 0)
		return false;
	url = span_from(url, place);
	url = span_cut(url, 0, span_find(url, '?'));
	url = span_cut(url, 0, span_find(url, '#'));
	slash = span_find(url, '/');
	*stream = span_from(url, slash < url.n ? slash + 1 : url.n);
	if (span_ends(*stream, SPAN("/")))
		stream->n--;
	for (size_t k = 0; k < sizeof pages / sizeof *pages; k++)
		if (span_ieq(span_cut(url, 0, slash), pages[k].word)) {
			*kind = pages[k].kind;
			return true;
		}
	return false;
}

/* The URL of the page, or empty: a message for several is nobody's own. */
static struct span
own_page(struct tagger *w, struct span url, enum token_kind kind, struct span stream)
{
	const struct tagging *t = w->tagging;
	struct claim claim = links_claim(t, kind, MODE_IDENTIFIED);
	const char *why = NULL;

	claim.text = stream.n > 0 ? stream : fields_stream(t);
	buf_clear(&w->url);
	if (who_is_nobody(&t->who))
		why = "the message is nobody's own";
	else if (stream.n > 0 && conf_stream(t->conf, stream) == NULL)
		why = "no such stream";
	else if (w->own_pages == MESSAGE_LINKS_MAX)
		why = "too many links";
	else if (!links_add_url(t, &w->url, &claim, ""))
		why = "too long";
	w->own_pages += why == NULL;
	note(w, url, why, 0);
	if (why != NULL)
		w->plan->warnings |= WARN_OWN_PAGE;
	return buf_span(&w->url);
}

/* ---- links in HTML ---- */

/*
 * The value of an href as browsers take it: references decoded once, spaces
 * and controls at both ends dropped, tabs and line breaks dropped everywhere.
 */
static struct span
href_url(struct buf *b, struct span raw)
{
	size_t n = 0, start = 0;

	buf_clear(b);
	charref_decode(b, raw, true);
	if (b->over)
		return SPAN("");
	n = scan_control(buf_span(b), 0);
	for (size_t i = n; i < b->n; i++)
		if (b->p[i] != '\t' && b->p[i] != '\r' && b->p[i] != '\n')
			b->p[n++] = b->p[i];
	b->n = n;
	while (start < n && (unsigned char)b->p[start] <= ' ')
		start++;
	while (n > start && (unsigned char)b->p[n - 1] <= ' ')
		n--;
	return span_cut(buf_span(b), start, n);
}

static bool
is_link(struct span name)
{
	return (name.n == 1 && ascii_lower(name.p[0]) == 'a') || (name.n == 4 && span_ieq(name, SPAN("area")));
}

static bool
has_href(const struct html *h, const struct html_token *t)
{
	struct html_attr a;

	for (size_t i = t->attrs; html_attr(h, &i, &a);)
		if (span_ieq(a.name, SPAN("href")))
			return true;
	return false;
}

/* A button that only Outlook sees: `<v:roundrect href="...">` inside a conditional comment. */
static inline bool
is_shape_link(const struct html *h, const struct html_token *t)
{
	return h->conditional && t->name.n >= 3 && t->name.p[1] == ':' &&
	    (ascii_lower(t->name.p[0]) == 'v' || ascii_lower(t->name.p[0]) == 'w') && has_href(h, t);
}

/* Each link also ends at the next of its kind, so that all of them together are read at most once more. */
static bool
ends_link(const struct html *h, const struct html_token *t, struct span name)
{
	if (t->kind == HTML_END)
		return span_ieq(t->name, name);
	return t->kind == HTML_START && (is_link(name) ? span_ieq(t->name, name) : is_shape_link(h, t));
}

/* Is the text from behind the start tag of this name to the end of the link a URL? */
static bool
shows_url(struct buf *text, const struct html *h, struct span name)
{
	struct html_token t;
	struct html after;

	html_copy(&after, h);
	buf_clear(text);
	while (!text->over && html_next(&after, &t)) {
		if (ends_link(&after, &t, name))
			break;
		if (t.kind == HTML_TEXT && t.cdata)
			buf_add(text, span_cut(after.in, t.start, t.end));
		else if (t.kind == HTML_TEXT && !t.raw)
			charref_decode(text, span_cut(after.in, t.start, t.end), false);
	}
	return !text->over && url_is_shown(buf_span(text));
}

struct scan {
	struct tagger *w;
	bool utf8;
	struct html *html;
	struct edits *edits;
	enum { HEAD_NOT_YET, HEAD_INSIDE } head;
	/* Where a pixel may go: behind <body>, before the last end tags, and the last place that is not inside something. */
	size_t body_start, body_end, html_end, end;
	bool has_body_start, has_body_end, has_html_end;
	bool begun, cut_off; /* there is content; the text ends inside of something */
};

/* Why this place of a link keeps its URL, or NULL. */
static const char *
leave_tag(const struct scan *s, const struct html_token *t, bool opt_out)
{
	bool has_text = is_link(t->name) ? span_ieq(t->name, SPAN("a")) : !t->self_closing; /* shapes are XML */

	if (s->head == HEAD_INSIDE)
		return "in the head";
	if (opt_out)
		return "opt-out attribute";
	if (has_text && !s->w->tagging->stream->visible_url && shows_url(&s->w->visible, s->html, t->name))
		return "its text is a URL";
	return NULL;
}

/* Opt-out attributes of ours and of other senders. */
static bool
is_opt_out(const struct html_attr *a)
{
	static const struct {
		struct span name, value;
	} table[] = {
		{ SPAN("data-no-track"), SPAN("") }, { SPAN("clicktracking"), SPAN("off") },
		{ SPAN("disable-tracking"), SPAN("") }, { SPAN("data-msys-clicktrack"), SPAN("0") },
		{ SPAN("mautic:disable-tracking"), SPAN("") }, { SPAN("data-skip-click"), SPAN("") },
		{ SPAN("data-mg-notrack"), SPAN("") },
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (span_ieq(a->name, table[i].name))
			return table[i].value.n == 0 || span_ieq(span_trim(a->value), table[i].value);
	return false;
}

static bool
is_html_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/*
 * Takes an attribute out, and the white space before it where what comes
 * after keeps its neighbours apart.  Before a "=", which would then become
 * the value of the attribute before, it stays.  A ">" right behind a "--"
 * would end a comment around the tag, and one right behind a "/" the element:
 * there the white space stays, or the attribute where there is none.
 */
static void
strip(struct scan *s, const struct html_token *t, const struct html_attr *a)
{
	struct span in = s->html->in;
	size_t start = a->start, after = a->end;

	while (after < t->end && is_html_space(in.p[after]))
		after++;
	if (in.p[after] == '=')
		return;
	if (after > a->end || (in.p[after] == '>' && !s->html->conditional))
		while (start > t->attrs && is_html_space(in.p[start - 1]))
			start--;
	if (in.p[start - 1] == '/') {
		if (start == a->start)
			return;
		start = a->start;
	}
	edits_add(s->edits, start, a->end, SPAN(""));
}

static void
rewrite(struct scan *s, const struct html_token *t, const struct html_attr *href, bool opt_out)
{
	struct tagger *w = s->w;
	struct span url = href_url(&w->scratch, href->value), tracked = SPAN("");
	size_t start = (size_t)(href->value.p - s->html->in.p);
	enum token_kind kind;
	struct span stream;
	bool quote;

	if (find_own_page(url, &kind, &stream))
		tracked = own_page(w, url, kind, stream);
	else if (w->tagging->links > MODE_OFF)
		tracked = track(w, url, s->utf8, url_is_web(url) ? leave_tag(s, t, opt_out) : NULL);
	if (tracked.n == 0)
		return;
	/* Without quotes, the tag's ">" would end a comment around it. */
	quote = s->html->conditional && href->quote == 0 && span_ends(tracked, SPAN("--"));
	buf_clear(&w->scratch);
	buf_adds(&w->scratch, quote ? "\"" : "");
	text_add_html(&w->scratch, tracked);
	buf_adds(&w->scratch, quote ? "\"" : "");
	edits_add(s->edits, start, start + href->value.n, buf_span(&w->scratch));
}

/* Of several hrefs browsers take the first. */
static void
link_tag(struct scan *s, const struct html_token *t)
{
	struct html_attr a, href = { 0 };
	bool opt_out = false;

	for (size_t i = t->attrs; html_attr(s->html, &i, &a);) {
		if (href.name.n == 0 && span_ieq(a.name, SPAN("href")))
			href = a;
		if (s->head != HEAD_INSIDE && s->w->tagging->links > MODE_OFF && is_opt_out(&a)) {
			opt_out = true;
			strip(s, t, &a);
		}
	}
	if (href.has_value)
		rewrite(s, t, &href, opt_out);
}

/* A head ends at its end tag or at the first thing that no head has; only a link does not end it. */
static bool
ends_head(struct span name)
{
	static const struct span inside[] = {
		SPAN("a"), SPAN("area"), SPAN("base"), SPAN("basefont"), SPAN("bgsound"), SPAN("link"), SPAN("meta"),
		SPAN("noframes"), SPAN("noscript"), SPAN("script"), SPAN("style"), SPAN("template"), SPAN("title"),
		SPAN("html"), SPAN("head"),
	};

	for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
		if (span_ieq(name, inside[i]))
			return false;
	return true;
}

static void
start_tag(struct scan *s, const struct html_token *t)
{
	if (span_ieq(t->name, SPAN("head")))
		s->head = HEAD_INSIDE;
	else if (s->head == HEAD_INSIDE && ends_head(t->name))
		s->head = HEAD_NOT_YET;
	if (!s->has_body_start && span_ieq(t->name, SPAN("body"))) {
		s->body_start = t->end;
		s->has_body_start = true;
	}
	if (is_link(t->name) || is_shape_link(s->html, t))
		link_tag(s, t);
}

static void
end_tag(struct scan *s, const struct html_token *t)
{
	if (span_ieq(t->name, SPAN("head"))) {
		s->head = HEAD_NOT_YET;
	} else if (span_ieq(t->name, SPAN("body"))) {
		s->body_end = t->start;
		s->has_body_end = true;
	} else if (span_ieq(t->name, SPAN("html"))) {
		s->html_end = t->start;
		s->has_html_end = true;
	}
}

/* Links inside a conditional comment.  Nothing else in there, no </body> and no end of the head, counts outside. */
static void
scan_conditional(struct scan *outer, const struct html_token *comment)
{
	struct html inside;
	struct html_token t;
	struct scan s;

	if (!html_conditional(outer->html, comment, &inside))
		return;
	s = *outer;
	s.html = &inside;
	while (html_next(&inside, &t)) {
		if (t.kind == HTML_START)
			start_tag(&s, &t);
		else if (t.kind == HTML_END)
			end_tag(&s, &t);
	}
	outer->html->lost |= inside.lost;
}

static void
scan_html(struct scan *s)
{
	static const struct span mark = SPAN("\xef\xbb\xbf");
	struct html_token t;

	if (span_starts(s->html->in, mark)) /* browsers drop it: no text that would begin the body */
		s->end = s->html->at = mark.n;
	while (html_next(s->html, &t)) {
		if (t.kind == HTML_START)
			start_tag(s, &t);
		else if (t.kind == HTML_END)
			end_tag(s, &t);
		else if (t.kind == HTML_COMMENT)
			scan_conditional(s, &t);
		s->begun = s->begun || (t.kind == HTML_START && ends_head(t.name)) ||
		    (t.kind == HTML_TEXT && !t.raw && span_trim(span_cut(s->html->in, t.start, t.end)).n > 0);
		s->cut_off = t.kind == HTML_CUT || t.open || t.raw || s->html->raw != HTML_DATA;
		if (!s->cut_off)
			s->end = t.end;
	}
	while (s->end > 0 && is_html_space(s->html->in.p[s->end - 1]))
		s->end--;
	if (span_ends(span_cut(s->html->in, 0, s->end), SPAN("</"))) /* it would make a comment of the pixel */
		s->end -= 2;
}

/* ---- what is added at the end: the pixel, and the link that nobody sees ---- */

/* False: nothing can be put there. */
static bool
find_end(const struct scan *s, size_t *at)
{
	*at = s->has_body_end ? s->body_end : s->has_html_end ? s->html_end : s->end;
	/*
	 * In front of an open <title> it would begin the body, and take the title
	 * there; in front of an open CDATA section in svg or math it would end
	 * these, and what is in the section would be markup.
	 */
	return *at != s->end || !s->cut_off || (s->begun && s->html->depth == 0);
}

/* Where the end is, and the URL of this claim, with a suffix, in w->url.  False: nothing can be added. */
static bool
url_at_end(const struct scan *s, const struct claim *claim, const char *suffix, size_t *at)
{
	struct tagger *w = s->w;

	if (!find_end(s, at))
		return false;
	buf_clear(&w->url);
	buf_clear(&w->scratch);
	return links_add_url(w->tagging, &w->url, claim, suffix);
}

/*
 * An empty link, that no reader sees, hears or reaches by key: only what
 * follows links without looking goes there.  Where somebody does all the
 * same it leads to the message's first destination.
 */
static bool
add_honeypot(struct scan *s)
{
	struct tagger *w = s->w;
	const struct tagging *t = w->tagging;
	struct claim claim = links_claim(t, TOKEN_CLICK, links_mode(t, t->links));
	size_t at;

	/* Who is not told apart cannot be told from a machine by this either. */
	if (claim.mode < MODE_IDENTIFIED || w->links.n == 0)
		return false;
	claim.text = span_cut(buf_span(&w->links.text), w->links.link[0].at, w->links.link[0].at + w->links.link[0].n);
	if (!url_at_end(s, &claim, "", &at))
		return false;
	buf_adds(&w->scratch, "<a href=\"");
	text_add_html(&w->scratch, buf_span(&w->url));
	buf_adds(&w->scratch, "\" tabindex=\"-1\" aria-hidden=\"true\"></a>");
	edits_add(s->edits, at, at, buf_span(&w->scratch));
	return true;
}

static bool
add_pixel(struct scan *s)
{
	struct tagger *w = s->w;
	const struct tagging *t = w->tagging;
	struct claim claim = links_claim(t, TOKEN_OPEN, links_mode(t, t->opens));
	size_t at;

	if (!url_at_end(s, &claim, ".gif", &at))
		return false;
	buf_adds(&w->scratch, "<img src=\"");
	text_add_html(&w->scratch, buf_span(&w->url));
	buf_adds(&w->scratch, "\" width=\"1\" height=\"1\" alt=\"\" style=\"border:0\" />");
	if (t->stream->top_pixel && s->has_body_start && s->body_start <= at)
		edits_add(s->edits, s->body_start, s->body_start, buf_span(&w->scratch));
	edits_add(s->edits, at, at, buf_span(&w->scratch));
	return true;
}

static size_t
size_after(struct span text, const struct edits *edits)
{
	size_t n = text.n + edits->text.n;

	for (size_t i = 0; i < edits->n; i++)
		n -= edits->edit[i].end - edits->edit[i].start;
	return n;
}

const char *
tag_html(struct tagger *w, struct span text, bool utf8, struct edits *edits)
{
	struct html html;
	struct scan s = { .w = w, .utf8 = utf8, .html = &html, .edits = edits };

	html_init(&html, text);
	scan_html(&s);
	if (html.lost)
		return "svg that only a browser can follow";
	if (w->tagging->stream->honeypot && !w->plan->honeypot)
		w->plan->honeypot = add_honeypot(&s);
	if (w->tagging->opens > MODE_OFF && !w->plan->pixel)
		w->plan->pixel = add_pixel(&s);
	if (text.n <= CLIP_BYTES && size_after(text, edits) > CLIP_BYTES)
		w->plan->warnings |= WARN_CLIP;
	return NULL;
}

/* ---- text/plain ---- */

void
tag_plain(struct tagger *w, struct span text, bool utf8, struct edits *edits)
{
	struct plain_url u;

	for (size_t at = 0; plain_next(text, utf8, &at, &u);) {
		struct span url = span_cut(text, u.start, u.end);
		const char *why = u.placeholder ? "merge tag" : u.unclear ? "where it ends is not clear" : NULL;
		struct span tracked = SPAN("");
		enum token_kind kind;
		struct span stream;

		if (find_own_page(url, &kind, &stream))
			tracked = own_page(w, url, kind, stream);
		else if (w->tagging->links > MODE_OFF && w->tagging->stream->text_links)
			tracked = track(w, url, utf8, why);
		if (tracked.n > 0)
			edits_add(edits, u.start, u.end, tracked);
	}
}
