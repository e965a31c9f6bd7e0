/*
 * With tracking off the body is untouched.  With it on: the same parts, the
 * same HTML outside links and pixel, as many tokens that open as links were
 * edited, one pixel where browsers see it, no line that we made too long, no
 * second tagging.  Conditional comments are the same comments, but for links.
 */
#include <stdint.h>
#include <stdlib.h>

#include "milter/html.h"
#include "milter/mime.h"
#include "tests/unit/tagging.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a message's HTML is without what we may change. */
struct essence {
	struct buf rest;
	size_t links, pixels;
};

static bool
attr_is_ours(const struct rig *r, const struct html *h, const struct html_token *t, const char *name, char kind)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct html_attr a;
	struct claim c;
	bool ours = false;
	size_t n;

	for (size_t i = t->attrs; html_attr(h, &i, &a);)
		if (span_ieq(a.name, span_of(name))) {
			ours = rig_url(r, a.value, &n, &c, &text) && c.kind == (enum token_kind)kind;
			break;
		}
	buf_free(&text);
	return ours;
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

/* Inside a conditional comment links count, and a pixel is a fault like any other. */
static void
boil_conditional(const struct rig *r, struct html h, struct essence *e)
{
	struct html_token t;

	while (html_next(&h, &t)) {
		bool shape = t.kind == HTML_START && (span_istarts(t.name, SPAN("v:")) || span_istarts(t.name, SPAN("w:")));
		bool link = t.kind == HTML_START && (span_ieq(t.name, SPAN("a")) || span_ieq(t.name, SPAN("area")));

		if (link || (shape && has_href(&h, &t))) {
			e->links += attr_is_ours(r, &h, &t, "href", 'c');
			buf_addf(&e->rest, "<%.*s%s>", SPAN_ARG(t.name), t.self_closing ? "/" : "");
		} else {
			buf_add(&e->rest, span_cut(h.in, t.start, t.end));
		}
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

		if (t.kind == HTML_START && span_ieq(t.name, SPAN("img")) && attr_is_ours(r, &h, &t, "src", 'o')) {
			e->pixels++;
		} else if (link) {
			e->links += attr_is_ours(r, &h, &t, "href", 'c');
			buf_adds(&e->rest, t.self_closing ? "<a/>" : "<a>");
		} else if (html_conditional(&h, &t, &inside)) {
			buf_add(&e->rest, span_cut(html, t.start, inside.at));
			boil_conditional(r, inside, e);
		} else {
			buf_add(&e->rest, span_cut(html, t.start, t.end));
		}
	}
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

		if (mime.part[i].type == MIME_HTML && mime_read(m->body, &mime.part[i], &t) == NULL)
			boil_down(r, t.text, e);
		else
			buf_add(&e->rest, span_cut(m->body, mime.part[i].start, mime.part[i].end));
		if (mime.part[i].type == MIME_HTML)
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
	if (after.links != before.links + p->edited_links || after.pixels != before.pixels + p->pixel)
		abort();
	longest = longest_line(m->body);
	if (longest_line(tagged.body) > (longest > MIME_LINE_MAX ? longest : MIME_LINE_MAX))
		abort();
	if (tagged.body.n > m->body.n + MESSAGE_GROWTH_MAX)
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

static void
check(struct rig *r, struct span raw, unsigned flags)
{
	struct header *h = NULL;
	struct message m;
	struct plan p;

	if (!message_split(raw, &h, &m.nheaders, &m.body))
		return;
	m.header = h;
	r->tagging.opens = r->tagging.links = MODE_OFF;
	message_tag(&m, &r->tagging, &p);
	if (p.body_changed || p.nlinks > 0 || p.pixel)
		abort();
	plan_free(&p);

	r->tagging.opens = flags & 1 ? MODE_OFF : MODE_DAYONLY;
	r->tagging.links = flags & 2 ? MODE_ANONYMOUS : MODE_FULL;
	r->stream.list_unsubscribe = flags & 4 ? UNSUBSCRIBE_ADD : flags & 8 ? UNSUBSCRIBE_REPLACE : UNSUBSCRIBE_OFF;
	message_tag(&m, &r->tagging, &p);
	if (p.untouched == NULL)
		check_tagged(r, raw, &m, &p);
	else if (p.body_changed || p.nlinks > 0 || p.pixel)
		abort();
	plan_free(&p);
	free(h);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *headers[] = {
		"", "Content-Type: text/html\r\n\r\n", "Content-Type: text/html; charset=gbk\n\n",
		"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n",
	};
	static struct rig r; /* making keys takes longer than tagging */
	struct buf raw = BUF(64 << 20);

	if (size == 0)
		return 0;
	if (r.sealer == NULL)
		rig_init(&r);
	buf_adds(&raw, headers[(data[0] >> 4) % (sizeof headers / sizeof *headers)]);
	buf_add(&raw, span_make(data + 1, size - 1));
	check(&r, buf_span(&raw), data[0]);
	buf_free(&raw);
	return 0;
}
