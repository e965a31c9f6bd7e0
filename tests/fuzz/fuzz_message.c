/*
 * With tracking off the body is untouched, but for places of the recipient's
 * own pages, which become these and nothing else.  With it on, whatever the settings:
 * the same parts, the same HTML outside links and pixel, in a link the same
 * attributes but for opting out, and every tracked link leads where it led;
 * text/plain is the same text when its tracked URLs are read as what they lead
 * to.  As many tokens that open as links were edited, one pixel, or two, where
 * browsers see it, no line that we made too long, no more bytes than tokens
 * need, no second tagging.  Conditional comments are the same comments, but
 * for links.  The plan is the same when it is to be explained.  A message that
 * says the same again and again is tagged in no time (-timeout sees to that).
 */
#include <stdint.h>
#include <stdlib.h>

#include "milter/html.h"
#include "milter/links.h"
#include "milter/mime.h"
#include "tests/unit/tagging.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PARAMETER "abc=d"

/* What a message's texts are without what we may change. */
struct essence {
	struct buf rest;
	size_t links, pixels, honeypots, own;
};

/*
 * A URL without the parameter, and without what keeps parameters apart, so
 * that it does not matter where it was put.
 */
static void
add_destination(const struct rig *r, struct buf *out, struct span url)
{
	struct buf b = BUF(1 << 20);
	size_t i;

	for (i = 0; i < url.n; i++)
		if (r->stream.url_parameters.n == 0 || (url.p[i] != '?' && url.p[i] != '&'))
			buf_addc(&b, url.p[i]);
	url = buf_span(&b);
	for (; r->stream.url_parameters.n > 0 && (i = span_search(url, SPAN(PARAMETER))) < url.n; url = span_from(url, i + strlen(PARAMETER)))
		buf_add(out, span_cut(url, 0, i));
	buf_add(out, url);
	buf_free(&b);
}

static bool
attr_is_ours(const struct rig *r, const struct html_attr *a, char kind, struct buf *text)
{
	struct claim c;
	size_t n;

	return rig_url(r, a->value, &n, &c, text) && c.kind == (enum token_kind)kind;
}

static bool
is_pixel(const struct rig *r, const struct html *h, const struct html_token *t)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct html_attr a;
	bool ours = false;

	for (size_t i = t->attrs; html_attr(h, &i, &a);)
		if (span_ieq(a.name, SPAN("src"))) {
			ours = attr_is_ours(r, &a, 'o', &text);
			break;
		}
	buf_free(&text);
	return ours;
}

/* Attributes that say no to tracking go, wherever that is possible. */
static bool
is_opt_out(struct span name)
{
	static const char *const names[] = {
		"data-no-track", "clicktracking", "disable-tracking", "data-msys-clicktrack", "mautic:disable-tracking",
		"data-skip-click", "data-mg-notrack",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (span_ieq(name, span_of(names[i])))
			return true;
	return false;
}

/* A place for the recipient's own page; the rig knows no stream by name. */
static enum token_kind
own_kind(struct span url)
{
	static const char *const words[] = { "keep", "less", "preferences", "stop", "unsubscribe" };
	size_t slashes = span_istarts(url, SPAN("https://")) ? 8 : 7;

	if (!span_istarts(url, SPAN("http://")) && slashes == 7)
		return 0;
	url = span_from(url, slashes);
	if (!span_istarts(url, SPAN("rekindle.invalid/")))
		return 0;
	url = span_from(url, strlen("rekindle.invalid/"));
	for (size_t i = 0; i < url.n; i++)
		if (url.p[i] == '?' || url.p[i] == '#')
			url.n = i;
	for (size_t end = 0; end < 3; end++) { /* "keep", "keep/" and "keep//" */
		for (size_t i = 0; i < 5; i++)
			if (span_ieq(url, span_of(words[i])))
				return i < 3 ? TOKEN_PREFERENCES : TOKEN_LEAVE;
		if (!span_ends(url, SPAN("/")))
			break;
		url.n--;
	}
	return 0;
}

/* Where an href leads: white space around it and line breaks inside it are not part of that. */
static void
add_href(const struct rig *r, const struct html_attr *a, struct essence *e)
{
	struct buf text = BUF(1 << 20), plain = BUF(1 << 20);
	enum token_kind own;
	struct span s;

	for (int i = 0; i < 2; i++) {
		own = i == 0 ? TOKEN_PREFERENCES : TOKEN_LEAVE;
		if (attr_is_ours(r, a, (char)own, &text)) {
			if (!span_eq(buf_span(&text), span_of(r->stream.name)))
				abort();
			buf_addf(&e->rest, "[%c]", own);
			e->own++;
			buf_free(&text);
			return;
		}
	}
	if (attr_is_ours(r, a, 'c', &text)) {
		e->links++;
		buf_add(&plain, buf_span(&text));
	} else {
		buf_clear(&text);
		charref_decode(&text, a->value, true);
		for (size_t i = 0; i < text.n; i++)
			if (strchr("\t\r\n", text.p[i]) == NULL || text.p[i] == '\0')
				buf_addc(&plain, text.p[i]);
	}
	s = buf_span(&plain);
	while (s.n > 0 && (unsigned char)s.p[0] <= ' ')
		s = span_from(s, 1);
	while (s.n > 0 && (unsigned char)s.p[s.n - 1] <= ' ')
		s.n--;
	if ((own = own_kind(s)) != 0)
		buf_addf(&e->rest, "[%c]", own);
	else
		add_destination(r, &e->rest, s);
	buf_free(&text);
	buf_free(&plain);
}

static void
boil_link(const struct rig *r, const struct html *h, const struct html_token *t, struct essence *e)
{
	struct html_attr a;
	bool first = true;

	buf_addf(&e->rest, "<%.*s", SPAN_ARG(t->name));
	for (size_t i = t->attrs; html_attr(h, &i, &a);) {
		if (is_opt_out(a.name))
			continue;
		buf_addc(&e->rest, ' ');
		buf_add(&e->rest, a.name);
		buf_addc(&e->rest, a.has_value ? '=' : ' ');
		if (first && span_ieq(a.name, SPAN("href"))) {
			first = false;
			add_href(r, &a, e);
		} else {
			buf_add(&e->rest, a.value);
		}
	}
	buf_adds(&e->rest, t->self_closing ? "/>" : ">");
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

/* The link that nobody sees, and its end right behind it. */
static bool
is_honeypot(const struct rig *r, struct html *h, const struct html_token *t)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct html_token end;
	struct html_attr a;
	size_t i = t->attrs, n;
	struct claim c;
	bool is;

	is = html_attr(h, &i, &a) && span_eq(a.name, SPAN("href")) && rig_url(r, a.value, &n, &c, &text) &&
	    c.kind == TOKEN_CLICK && c.link == 0;
	buf_free(&text);
	if (is && (!html_next(h, &end) || end.kind != HTML_END || !span_eq(end.name, SPAN("a"))))
		abort();
	return is;
}

/* Inside a conditional comment links count, and a pixel is a fault like any other. */
static void
boil_conditional(const struct rig *r, struct html h, struct essence *e)
{
	struct html_token t;

	while (html_next(&h, &t)) {
		bool shape = t.kind == HTML_START && (span_istarts(t.name, SPAN("v:")) || span_istarts(t.name, SPAN("w:")));
		bool link = t.kind == HTML_START && (span_ieq(t.name, SPAN("a")) || span_ieq(t.name, SPAN("area")));

		if (link || (shape && has_href(&h, &t)))
			boil_link(r, &h, &t, e);
		else
			buf_add(&e->rest, span_cut(h.in, t.start, t.end));
	}
	buf_adds(&e->rest, "<![endif]-->");
}

static void
boil_down(const struct rig *r, struct span html, struct essence *e)
{
	struct html h, inside;
	struct html_token t;

	html_init(&h, html);
	while (html_next(&h, &t)) {
		bool link = t.kind == HTML_START && (span_ieq(t.name, SPAN("a")) || span_ieq(t.name, SPAN("area")));

		if (t.kind == HTML_START && span_ieq(t.name, SPAN("img")) && is_pixel(r, &h, &t)) {
			e->pixels++;
		} else if (link && is_honeypot(r, &h, &t)) {
			e->honeypots++;
		} else if (link) {
			boil_link(r, &h, &t, e);
		} else if (html_conditional(&h, &t, &inside)) {
			buf_add(&e->rest, span_cut(html, t.start, inside.at));
			boil_conditional(r, inside, e);
		} else {
			buf_add(&e->rest, span_cut(html, t.start, t.end));
		}
	}
}

/* Text with tracked URLs as what they lead to. */
static void
boil_text(const struct rig *r, struct span s, struct essence *e)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX), all = BUF(64 << 20);
	struct claim c;
	size_t n;

	for (size_t i = 0; i < s.n;) {
		if (s.p[i] == 'h' && rig_url(r, span_from(s, i), &n, &c, &text) && c.kind == TOKEN_CLICK) {
			buf_add(&all, c.text);
			e->links++;
			i += n;
		} else {
			buf_addc(&all, s.p[i++]);
		}
	}
	add_destination(r, &e->rest, buf_span(&all));
	buf_free(&text);
	buf_free(&all);
}

static size_t
boil_message(const struct rig *r, const struct message *m, struct essence *e)
{
	struct mime mime;
	size_t n;

	*e = (struct essence){ .rest = BUF(64 << 20) };
	mime_walk(&mime, m);
	n = mime.n;
	for (size_t i = 0; i < n; i++) {
		struct mime_text t;

		bool text = mime.part[i].type == MIME_HTML || (mime.part[i].type == MIME_TEXT && r->stream.text_links);

		if (!text || mime_read(m->body, &mime.part[i], &t) != NULL)
			buf_add(&e->rest, span_cut(m->body, mime.part[i].start, mime.part[i].end));
		else if (mime.part[i].type == MIME_HTML)
			boil_down(r, t.text, e);
		else
			boil_text(r, t.text, e);
		if (text)
			mime_text_free(&t);
	}
	mime_free(&mime);
	return n;
}

static size_t
longest_line(struct span s)
{
	struct span line;
	size_t n = 0;

	while (span_split(&s, '\n', &line)) {
		if (span_ends(line, SPAN("\r")))
			line.n--;
		n = line.n > n ? line.n : n;
	}
	return n;
}

static void
check_tagged(const struct rig *r, struct span raw, const struct message *m, const struct plan *p)
{
	struct essence before, after;
	struct buf out = BUF(64 << 20);
	struct header *h = NULL;
	struct message tagged;
	struct plan again;
	size_t longest;

	message_apply(raw, p, &out);
	if (out.over || !message_split(buf_span(&out), &h, &tagged.nheaders, &tagged.body))
		abort();
	tagged.header = h;
	if (p->body_changed && !span_eq(tagged.body, buf_span(&p->body)))
		abort();
	if (boil_message(r, m, &before) != boil_message(r, &tagged, &after))
		abort();
	if (!span_eq(buf_span(&before.rest), buf_span(&after.rest)))
		abort();
	if (after.links != before.links + p->edited_links)
		abort();
	if (after.pixels < before.pixels + p->pixel || after.pixels > before.pixels + p->pixel * (1u + r->stream.top_pixel))
		abort();
	if (after.honeypots != before.honeypots + p->honeypot || p->honeypot > r->stream.honeypot)
		abort();
	longest = longest_line(m->body);
	if (longest_line(tagged.body) > (longest > MIME_LINE_MAX ? longest : MIME_LINE_MAX))
		abort();
	/* A part may become quoted-printable, and a whole URL takes the place of nothing. */
	if (tagged.body.n > m->body.n + MESSAGE_GROWTH_MAX || tagged.body.n > 4 * m->body.n + (p->edited_links + after.own + 3) * (TRACKED_URL_MAX + 1000))
		abort();
	message_tag(&tagged, &r->tagging, &again);
	if (tagged.nheaders <= MESSAGE_HEADERS_MAX && (again.untouched == NULL || strcmp(again.untouched, "already tagged") != 0))
		abort();
	plan_free(&again);
	buf_free(&before.rest);
	buf_free(&after.rest);
	buf_free(&out);
	free(h);
}

/* All of a plan that is carried out or counted. */
static void
add_plan(struct buf *out, const struct plan *p)
{
	buf_addf(out, "%s %d %d %u %zu %zu\n", p->untouched ? p->untouched : "", p->body_changed, p->pixel, p->warnings,
	    p->edited_links, p->skipped_links);
	for (size_t i = 0; i < p->nlinks; i++)
		buf_addf(out, "%u %.*s\n", p->link[i].no, SPAN_ARG(p->link[i].destination));
	for (size_t i = 0; i < p->nheaders; i++)
		buf_addf(out, "%d %u %s: %s\n", p->header[i].change, p->header[i].index, p->header[i].name, p->header[i].value);
	buf_add(out, buf_span(&p->body));
}

static void
check_explained(struct rig *r, const struct message *m, const struct plan *p)
{
	struct buf one = BUF(64 << 20), two = BUF(64 << 20);
	struct plan q;
	size_t tracked = 0;

	r->tagging.explain = true;
	message_tag(m, &r->tagging, &q);
	r->tagging.explain = false;
	add_plan(&one, p);
	add_plan(&two, &q);
	if (!span_eq(buf_span(&one), buf_span(&two)))
		abort();
	for (size_t i = 0; i < q.nseen; i++)
		tracked += q.seen[i].why == NULL && q.seen[i].no > 0; /* 0: the recipient's own page */
	if (q.untouched == NULL && tracked != q.edited_links)
		abort();
	plan_free(&q);
	buf_free(&one);
	buf_free(&two);
}

static void
set(struct rig *r, unsigned flags, unsigned settings)
{
	static char parameter[] = PARAMETER, pattern[] = "*e*.pdf*", *parameters[] = { parameter }, *patterns[] = { pattern };

	r->tagging.opens = flags & 1 ? MODE_OFF : MODE_DAYONLY;
	r->tagging.links = flags & 2 ? MODE_ANONYMOUS : MODE_FULL;
	r->stream.list_unsubscribe = flags & 4 ? UNSUBSCRIBE_ADD : flags & 8 ? UNSUBSCRIBE_REPLACE : UNSUBSCRIBE_OFF;
	r->stream.text_links = settings & 1;
	r->stream.top_pixel = settings & 2;
	r->stream.visible_url = settings & 4;
	r->stream.tag_signed = settings & 8;
	r->stream.honeypot = settings & 64;
	r->stream.url_parameters = (struct list){ parameters, settings & 16 ? 1 : 0, NULL };
	r->stream.untracked_urls = (struct list){ patterns, settings & 32 ? 1 : 0, NULL };
}

/* Where such a place ends in plain text is a matter of plain.c: that it breaks nothing is all that is asked. */
static bool
has_own_in_text(const struct rig *r, const struct message *m)
{
	struct mime mime;
	bool has = false;

	mime_walk(&mime, m);
	for (size_t i = 0; i < mime.n && r->stream.text_links; i++) {
		struct mime_text t;

		if (mime.part[i].type != MIME_TEXT)
			continue;
		mime_read(m->body, &mime.part[i], &t);
		has = has || span_isearch(t.text, SPAN("rekindle.invalid")) < t.text.n;
		mime_text_free(&t);
	}
	mime_free(&mime);
	return has;
}

static void
check(struct rig *r, struct span raw, unsigned flags, unsigned settings)
{
	struct header *h = NULL;
	struct message m;
	struct plan p;
	bool has_own;

	if (!message_split(raw, &h, &m.nheaders, &m.body))
		return;
	m.header = h;
	set(r, flags, settings);
	r->tagging.opens = r->tagging.links = MODE_OFF;
	message_tag(&m, &r->tagging, &p);
	has_own = has_own_in_text(r, &m);
	if (p.edited_links > 0 || p.nlinks > 0 || p.pixel || (p.untouched != NULL && p.body_changed))
		abort();
	if (p.untouched == NULL && !has_own)
		check_tagged(r, raw, &m, &p);
	plan_free(&p);

	set(r, flags, settings);
	message_tag(&m, &r->tagging, &p);
	if (p.untouched != NULL && (p.body_changed || p.nlinks > 0 || p.pixel))
		abort();
	if (p.untouched == NULL && !has_own)
		check_tagged(r, raw, &m, &p);
	check_explained(r, &m, &p);
	plan_free(&p);
	free(h);
}

/* The same again and again behind one header: time must not grow faster than the message. */
static void
check_long(struct rig *r, struct span head, struct span unit, unsigned flags, unsigned settings)
{
	struct buf raw = BUF(4 << 20);
	struct header *h = NULL;
	struct message m;
	struct plan p;

	buf_add(&raw, head);
	while (unit.n > 0 && raw.n < 300000)
		buf_add(&raw, unit);
	if (message_split(buf_span(&raw), &h, &m.nheaders, &m.body)) {
		m.header = h;
		set(r, flags, settings);
		message_tag(&m, &r->tagging, &p);
		plan_free(&p);
		free(h);
	}
	buf_free(&raw);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *headers[] = {
		"", "Content-Type: text/html\r\n\r\n", "Content-Type: text/html; charset=gbk\n\n",
		"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n",
		"Content-Type: text/plain; charset=utf-8\r\n\r\n",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
		"DKIM-Signature: v=1;\r\n b=x\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n",
	};
	static struct rig r; /* making keys takes longer than tagging */
	struct buf raw = BUF(64 << 20);
	struct span head, body;
	unsigned flags, settings;

	if (size < 2)
		return 0;
	flags = data[size - 1]; /* at the end, so that a message as it is is an input: "\n" puts no header before it */
	settings = data[size - 2];
	if (r.sealer == NULL)
		rig_init(&r);
	head = span_of(headers[(flags >> 4) % (sizeof headers / sizeof *headers)]);
	body = span_make(data, size - 2);
	buf_add(&raw, head);
	buf_add(&raw, body);
	check(&r, buf_span(&raw), flags, settings);
	if (settings >> 6 == 3 && size % 32 == 0)
		check_long(&r, head, body, flags, settings);
	buf_free(&raw);
	return 0;
}
