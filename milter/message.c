#include "milter/message.h"

#include <stdlib.h>

#include "common/mem.h"
#include "common/text.h"
#include "milter/charref.h"
#include "milter/html.h"
#include "milter/mime.h"
#include "milter/splice.h"

#define VISIBLE_MAX 2000   /* link text that is looked at to see whether it is a URL */
#define TARGETS_MAX 16384  /* List-Unsubscribe targets, all together */
#define TARGET_COUNT_MAX 64 /* of them; every link is compared with each */

static const char mark_name[] = "X-Rekindle-Id";

/* One destination.  Offsets, because both buffers grow. */
struct link {
	uint64_t hash;
	size_t at, n;         /* in plan->text */
	size_t url_at, url_n; /* in work->urls: the tracked URL, escaped for an attribute */
};

struct work {
	const struct message *message;
	const struct tagging *tagging;
	struct plan *plan;
	struct edits edits;   /* of the body */
	struct buf targets;   /* List-Unsubscribe targets, each behind a line feed */
	struct link *link;
	size_t nlinks, cap;
	struct buf urls;
	uint32_t *slot;       /* hash table: link index + 1, or 0 */
	size_t nslots;
	struct buf scratch;
};

/* ---- header fields ---- */

const struct header *
message_header(const struct message *m, struct span name)
{
	for (size_t i = 0; i < m->nheaders; i++)
		if (span_ieq(m->header[i].name, name))
			return &m->header[i];
	return NULL;
}

void
tagging_address(struct tagging *t, const struct addressee *to, size_t n, bool shared, uint32_t when)
{
	t->opens = t->stream->opens;
	t->links = t->stream->links;
	for (size_t i = 0; i < n; i++) {
		t->opens = mode_min(t->opens, to[i].opens);
		t->links = mode_min(t->links, to[i].links);
	}
	if (n == 0) {
		t->opens = conf_mode(t->conf, t->stream, AXIS_OPENS, CONSENT_UNKNOWN);
		t->links = conf_mode(t->conf, t->stream, AXIS_LINKS, CONSENT_UNKNOWN);
	}
	t->who = (struct who){ 0 };
	if (n == 1 && !shared)
		t->who = to[0].who;
	t->when = when;
	if (who_is_nobody(&t->who)) {
		t->opens = mode_min(t->opens, MODE_ANONYMOUS);
		t->links = mode_min(t->links, MODE_ANONYMOUS);
		t->when = 0;
	}
}

static void
add_edit(struct plan *p, enum header_change change, unsigned index, struct span name, struct span value)
{
	p->header = xreallocarray(p->header, p->nheaders + 1, sizeof *p->header);
	p->header[p->nheaders++] = (struct header_edit){
		change, index, xstrndup(name.p, name.n), xstrndup(value.n ? value.p : "", value.n),
	};
}

/* Only what we made ourselves gets here; a byte that has no place in a header means that we are wrong. */
static bool
add_header(struct work *w, const char *name, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < ' ' || value.p[i] > '~')
			return false;
	add_edit(w->plan, HEADER_ADD, 0, span_of(name), value);
	return true;
}

/* Which one of its name is header i?  From 1. */
static unsigned
ordinal(const struct message *m, size_t i)
{
	unsigned n = 1;

	for (size_t j = 0; j < i; j++)
		n += span_ieq(m->header[j].name, m->header[i].name);
	return n;
}

static bool
is_control(const struct conf *conf, struct span name)
{
	return span_istarts(name, SPAN("X-Rekindle-")) ||
	    (conf->campaign_header != NULL && span_ieq(name, span_of(conf->campaign_header))) ||
	    (conf->stream_header != NULL && span_ieq(name, span_of(conf->stream_header))) ||
	    (conf->consent_header != NULL && span_ieq(name, span_of(conf->consent_header)));
}

static void
delete_control(const struct message *m, const struct conf *conf, struct plan *p)
{
	for (size_t i = m->nheaders; i-- > 0;)
		if (is_control(conf, m->header[i].name))
			add_edit(p, HEADER_DELETE, ordinal(m, i), m->header[i].name, SPAN(""));
}

static void
delete_all(struct work *w, struct span name)
{
	const struct message *m = w->message;

	for (size_t i = m->nheaders; i-- > 0;)
		if (span_ieq(m->header[i].name, name))
			add_edit(w->plan, HEADER_DELETE, ordinal(m, i), m->header[i].name, SPAN(""));
}

static bool
bears_mark(const struct message *m, const struct sealer *sealer)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct claim claim;
	bool found = false;

	for (size_t i = 0; i < m->nheaders && !found; i++)
		found = span_ieq(m->header[i].name, span_of(mark_name)) &&
		    token_open(sealer, TOKEN_MARK, span_trim(m->header[i].value), &claim, &text);
	buf_free(&text);
	return found;
}

/* "no" and "no; comment", but not "none". */
static bool
says_no(struct span value)
{
	value = span_trim(value);
	value = span_cut(value, 0, span_find(value, ';'));
	value = span_cut(value, 0, span_find(value, '('));
	return span_ieq(span_trim(value), SPAN("no"));
}

/* Why its header forbids to touch this message, or NULL. */
static const char *
leave_message(const struct message *m)
{
	for (size_t i = 0; i < m->nheaders; i++) {
		struct span name = m->header[i].name;

		if (span_ieq(name, SPAN("DKIM-Signature")) || span_ieq(name, SPAN("ARC-Seal")))
			return "signed";
		if (span_ieq(name, SPAN("Auto-Submitted")) && !says_no(m->header[i].value))
			return "Auto-Submitted";
	}
	return NULL;
}

/* ---- URLs ---- */

struct url {
	struct span authority; /* without user and password */
	struct span host;      /* and without port */
	struct span path;      /* from the "/", "?" or "#" on */
};

/* Only what browsers and we read alike: http(s), two slashes, a host. */
static bool
url_split(struct span s, struct url *u)
{
	size_t i, at;

	if (span_istarts(s, SPAN("http://")))
		s = span_from(s, 7);
	else if (span_istarts(s, SPAN("https://")))
		s = span_from(s, 8);
	else
		return false;
	for (i = 0; i < s.n && strchr("/\\?#", s.p[i] ? s.p[i] : 'x') == NULL;)
		i++;
	u->authority = span_cut(s, 0, i);
	u->path = span_from(s, i);
	while ((at = span_find(u->authority, '@')) < u->authority.n)
		u->authority = span_from(u->authority, at + 1);
	u->host = u->authority;
	if (u->host.n > 0 && u->host.p[0] == '[')
		u->host = span_cut(u->host, 0, span_find(u->host, ']') + 1);
	else
		u->host = span_cut(u->host, 0, span_find(u->host, ':'));
	if (span_ends(u->host, SPAN(".")))
		u->host.n--;
	return u->host.n > 0;
}

/* Made by us: the tracker's place, and a letter for the kind: /c/ /o/ /u/ and those that come later. */
static bool
is_ours(const struct conf *conf, const struct url *u)
{
	struct url own;
	struct span rest;

	if (!url_split(span_of(conf->tracking_url), &own) || !span_ieq(u->authority, own.authority) ||
	    !span_starts(u->path, own.path))
		return false;
	rest = span_from(u->path, own.path.n);
	return rest.n >= 3 && rest.p[0] == '/' && rest.p[1] >= 'a' && rest.p[1] <= 'z' && rest.p[2] == '/';
}

static bool
is_in_domain(struct span host, struct span domain)
{
	if (span_starts(domain, SPAN(".")))
		domain = span_from(domain, 1);
	return domain.n > 0 && span_iends(host, domain) &&
	    (host.n == domain.n || host.p[host.n - domain.n - 1] == '.');
}

static bool
is_untracked(const struct stream *stream, const struct url *u)
{
	for (size_t i = 0; i < stream->untracked_domains.n; i++)
		if (is_in_domain(u->host, span_of(stream->untracked_domains.item[i])))
			return true;
	return false;
}

/* A placeholder that somebody still fills in, or forgot to: {{x}} {x} ${x} {% x %} %%x%% *|x|* [[x]]. */
static bool
has_merge_tag(struct span s)
{
	static const struct {
		struct span open, close;
	} tags[] = {
		{ SPAN("{"), SPAN("}") }, { SPAN("%%"), SPAN("%%") }, { SPAN("*|"), SPAN("|*") },
		{ SPAN("[["), SPAN("]]") },
	};

	for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
		struct span rest = span_from(s, span_search(s, tags[i].open));

		rest = span_from(rest, tags[i].open.n);
		if (rest.n > 0 && span_search(rest, tags[i].close) < rest.n)
			return true;
	}
	return false;
}

static bool
has_control(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return true;
	return false;
}

static bool
is_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 0x7f)
			return false;
	return true;
}

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
	for (size_t i = 0; i < b->n; i++)
		if (b->p[i] != '\t' && b->p[i] != '\r' && b->p[i] != '\n')
			b->p[n++] = b->p[i];
	b->n = n;
	while (start < n && (unsigned char)b->p[start] <= ' ')
		start++;
	while (n > start && (unsigned char)b->p[n - 1] <= ' ')
		n--;
	return span_cut(buf_span(b), start, n);
}

/* ---- link text that is itself a URL ---- */

static struct span
trim_text(struct span s)
{
	struct span before;

	do {
		before = s = span_trim(s);
		if (span_starts(s, SPAN("\xc2\xa0")))
			s = span_from(s, 2);
		if (span_ends(s, SPAN("\xc2\xa0")))
			s.n -= 2;
	} while (s.n < before.n);
	return s;
}

static bool
is_letter(char c)
{
	char l = ascii_lower(c);

	return (l >= 'a' && l <= 'z') || (unsigned char)c > 0x7f;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Two labels or more, the last of letters. */
static bool
is_host(struct span s)
{
	struct span label = SPAN("");
	size_t n = 0;

	if (span_ends(s, SPAN(".")))
		return false;
	while (span_split(&s, '.', &label)) {
		if (label.n == 0)
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!is_letter(label.p[i]) && !is_digit(label.p[i]) && label.p[i] != '-')
				return false;
		n++;
	}
	if (n < 2 || label.n < 2)
		return false;
	for (size_t i = 0; i < label.n && !span_istarts(label, SPAN("xn--")); i++)
		if (!is_letter(label.p[i]))
			return false;
	return true;
}

static bool
looks_like_url(struct span s)
{
	size_t i;

	s = trim_text(s);
	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ')
			return false;
	if ((span_istarts(s, SPAN("http://")) && s.n > 7) || (span_istarts(s, SPAN("https://")) && s.n > 8) ||
	    (span_istarts(s, SPAN("www.")) && s.n > 4))
		return true;
	for (i = 0; i < s.n && strchr("/?#:", s.p[i] ? s.p[i] : 'x') == NULL;)
		i++;
	return is_host(span_cut(s, 0, i));
}

static bool
is_link(struct span name)
{
	return span_ieq(name, SPAN("a")) || span_ieq(name, SPAN("area"));
}

/* A button that only Outlook sees: `<v:roundrect href="...">` inside a conditional comment. */
static bool
is_shape_link(const struct html *h, const struct html_token *t)
{
	struct html_attr a;

	if (!h->conditional || t->name.n < 3 ||
	    (!span_istarts(t->name, SPAN("v:")) && !span_istarts(t->name, SPAN("w:"))))
		return false;
	for (size_t i = t->attrs; html_attr(h, &i, &a);)
		if (span_ieq(a.name, SPAN("href")))
			return true;
	return false;
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
shows_url(struct html after, struct span name)
{
	struct buf text = BUF(VISIBLE_MAX);
	struct html_token t;
	bool shows;

	while (!text.over && html_next(&after, &t)) {
		if (ends_link(&after, &t, name))
			break;
		if (t.kind == HTML_TEXT && !t.raw)
			charref_decode(&text, span_cut(after.in, t.start, t.end), false);
	}
	shows = !text.over && looks_like_url(buf_span(&text));
	buf_free(&text);
	return shows;
}

/* ---- tracked links ---- */

/* Appends tracking_url "/" kind "/" token end, ready for a quoted attribute. */
static bool
add_url(struct work *w, struct buf *out, const struct claim *claim, const char *end)
{
	struct buf url = BUF(TRACKED_URL_MAX);
	bool made;

	buf_adds(&url, w->tagging->conf->tracking_url);
	buf_addf(&url, "/%c/", claim->kind);
	made = token_seal(w->tagging->sealer, claim, &url);
	buf_adds(&url, end);
	made = made && !url.over;
	if (made)
		text_add_html(out, buf_span(&url));
	buf_free(&url);
	return made;
}

/* What a URL of ours says of this recipient: nothing at all when it is anonymous. */
static struct claim
claim_for(const struct work *w, enum token_kind kind, enum mode mode)
{
	const struct tagging *t = w->tagging;
	struct claim c = { .kind = kind, .mode = mode, .campaign = t->campaign };

	if (mode > MODE_ANONYMOUS) {
		c.who = t->who;
		c.when = t->when;
	}
	return c;
}

static enum mode
effective(const struct tagging *t, enum mode mode)
{
	return who_is_nobody(&t->who) ? mode_min(mode, MODE_ANONYMOUS) : mode;
}

static uint64_t
hash(struct span s)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
	return h ^ h >> 32;
}

static struct span
destination(const struct work *w, const struct link *l)
{
	return span_cut(buf_span(&w->plan->text), l->at, l->at + l->n);
}

/* The slot of this destination, or the free one where it belongs. */
static uint32_t *
find_slot(struct work *w, struct span dest, uint64_t h)
{
	for (size_t i = h & (w->nslots - 1);; i = (i + 1) & (w->nslots - 1)) {
		uint32_t no = w->slot[i];

		if (no == 0 || (w->link[no - 1].hash == h && span_eq(destination(w, &w->link[no - 1]), dest)))
			return &w->slot[i];
	}
}

static void
grow_table(struct work *w)
{
	w->cap = w->cap ? w->cap * 2 : 64;
	w->nslots = w->cap * 2;
	w->link = xreallocarray(w->link, w->cap, sizeof *w->link);
	free(w->slot);
	w->slot = xcalloc(w->nslots, sizeof *w->slot);
	for (size_t i = 0; i < w->nlinks; i++)
		*find_slot(w, destination(w, &w->link[i]), w->link[i].hash) = (uint32_t)i + 1;
}

/* The tracked URL for this destination; the same one each time.  Empty when it cannot be made. */
static struct span
tracked(struct work *w, struct span dest)
{
	uint64_t h = hash(dest);
	struct claim claim;
	struct link *l;
	uint32_t *slot;

	if (w->nlinks == w->cap)
		grow_table(w);
	slot = find_slot(w, dest, h);
	if (*slot == 0) {
		l = &w->link[w->nlinks];
		*l = (struct link){ .hash = h, .at = w->plan->text.n, .n = dest.n, .url_at = w->urls.n };
		claim = claim_for(w, TOKEN_CLICK, effective(w->tagging, w->tagging->links));
		claim.link = (uint16_t)(w->nlinks + 1);
		claim.text = dest;
		if (!add_url(w, &w->urls, &claim, "") || w->urls.over)
			return SPAN("");
		l->url_n = w->urls.n - l->url_at;
		buf_add(&w->plan->text, dest);
		*slot = (uint32_t)++w->nlinks;
	}
	l = &w->link[*slot - 1];
	return span_cut(buf_span(&w->urls), l->url_at, l->url_at + l->url_n);
}

static bool
is_target(struct work *w, struct span url)
{
	struct span rest = buf_span(&w->targets), target;

	while (span_split(&rest, '\n', &target))
		if (target.n > 0 && span_eq(target, url))
			return true;
	return false;
}

/* ---- one HTML text ---- */

struct scan {
	struct work *w;
	const struct mime_part *part;
	struct html html;
	struct edits *edits;
	enum { HEAD_NOT_YET, HEAD_INSIDE } head;
	/* Where a pixel may go: before the last end tags, and the last place that is not inside something. */
	size_t body_end, html_end, end;
	bool has_body_end, has_html_end;
};

/* Why a link stays as it is: true. */
static bool
stays(struct scan *s, const struct html_token *t, struct span url, const struct url *u)
{
	struct work *w = s->w;
	bool has_text = is_link(t->name) ? span_ieq(t->name, SPAN("a")) : !t->self_closing; /* shapes are XML */

	if (s->head == HEAD_INSIDE || has_control(url) || has_merge_tag(url))
		return true;
	if (!is_ascii(url) && (!s->part->utf8 || !text_is_utf8(url)))
		return true;
	return is_ours(w->tagging->conf, u) || is_untracked(w->tagging->stream, u) || is_target(w, url) ||
	    (has_text && shows_url(s->html, t->name));
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
	struct span in = s->html.in;
	size_t start = a->start, after = a->end;

	while (after < t->end && is_html_space(in.p[after]))
		after++;
	if (in.p[after] == '=')
		return;
	if (after > a->end || (in.p[after] == '>' && !s->html.conditional))
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
	struct work *w = s->w;
	struct span url = href_url(&w->scratch, href->value), new;
	size_t start = (size_t)(href->value.p - s->html.in.p);
	struct url u;

	if (!span_istarts(url, SPAN("http://")) && !span_istarts(url, SPAN("https://")))
		return;
	if (opt_out || w->plan->edited_links == MESSAGE_LINKS_MAX || !url_split(url, &u) ||
	    stays(s, t, url, &u) || (new = tracked(w, url)).n == 0) {
		w->plan->skipped_links++;
		return;
	}
	if (s->html.conditional && href->quote == 0 && span_ends(new, SPAN("--"))) { /* the tag's ">" would end the comment */
		buf_clear(&w->scratch);
		buf_addc(&w->scratch, '"');
		buf_add(&w->scratch, new);
		buf_addc(&w->scratch, '"');
		new = buf_span(&w->scratch);
	}
	edits_add(s->edits, start, start + href->value.n, new);
	w->plan->edited_links++;
}

/* Of several hrefs browsers take the first. */
static void
link_tag(struct scan *s, const struct html_token *t)
{
	struct html_attr a, href = { 0 };
	bool opt_out = false;

	for (size_t i = t->attrs; html_attr(&s->html, &i, &a);) {
		if (href.name.n == 0 && span_ieq(a.name, SPAN("href")))
			href = a;
		if (s->head != HEAD_INSIDE && is_opt_out(&a)) {
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
	if (s->w->tagging->links > MODE_OFF && (is_link(t->name) || is_shape_link(&s->html, t)))
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
scan_conditional(const struct scan *outer, const struct html_token *comment)
{
	struct scan s = *outer;
	struct html_token t;

	if (!html_conditional(&outer->html, comment, &s.html))
		return;
	while (html_next(&s.html, &t)) {
		if (t.kind == HTML_START)
			start_tag(&s, &t);
		else if (t.kind == HTML_END)
			end_tag(&s, &t);
	}
}

static void
scan_html(struct scan *s)
{
	struct html_token t;

	while (html_next(&s->html, &t)) {
		if (t.kind == HTML_START)
			start_tag(s, &t);
		else if (t.kind == HTML_END)
			end_tag(s, &t);
		else if (t.kind == HTML_COMMENT)
			scan_conditional(s, &t);
		if (t.kind != HTML_CUT && !t.open && !t.raw && s->html.raw == HTML_DATA)
			s->end = t.end;
	}
	while (s->end > 0 && is_html_space(s->html.in.p[s->end - 1]))
		s->end--;
	if (span_ends(span_cut(s->html.in, 0, s->end), SPAN("</"))) /* it would make a comment of the pixel */
		s->end -= 2;
}

static void
add_pixel(struct scan *s)
{
	struct work *w = s->w;
	struct claim claim = claim_for(w, TOKEN_OPEN, effective(w->tagging, w->tagging->opens));
	size_t at = s->has_body_end ? s->body_end : s->has_html_end ? s->html_end : s->end;

	buf_clear(&w->scratch);
	buf_adds(&w->scratch, "<img src=\"");
	if (!add_url(w, &w->scratch, &claim, ".gif"))
		return;
	buf_adds(&w->scratch, "\" width=\"1\" height=\"1\" alt=\"\" style=\"border:0\" />");
	edits_add(s->edits, at, at, buf_span(&w->scratch));
	w->plan->pixel = true;
}

/* ---- inline PGP ---- */

static const char inline_pgp[] = "inline PGP";

static bool
has_pgp(struct span text)
{
	static const struct span armour = SPAN("-----BEGIN PGP");

	for (size_t i; (i = span_search(text, armour)) < text.n; text = span_from(text, i + 1))
		if (i == 0 || text.p[i - 1] == '\n' || text.p[i - 1] == '>')
			return true;
	return false;
}

static bool
part_has_pgp(struct span body, const struct mime_part *part)
{
	struct mime_text text;
	bool found;

	if (part->type == MIME_OTHER || part->leave != NULL)
		return false;
	found = mime_read(body, part, &text) == NULL && has_pgp(text.text);
	mime_text_free(&text);
	return found;
}

/* ---- the parts ---- */

static const char *
tag_part(struct work *w, const struct mime_part *part)
{
	struct mime_text text;
	const char *why = mime_read(w->message->body, part, &text);
	struct edits edits;
	struct scan s = { .w = w, .part = part, .edits = &edits };

	edits_init(&edits, MESSAGE_GROWTH_MAX);
	if (why == NULL && has_pgp(text.text))
		why = inline_pgp;
	if (why == NULL && span_trim(text.text).n > 0) {
		html_init(&s.html, text.text);
		scan_html(&s);
		if (w->tagging->opens > MODE_OFF && !w->plan->pixel)
			add_pixel(&s);
		if (mime_write(w->message->body, part, &text, &edits, &w->edits)) {
			const struct header *h = message_header(w->message, SPAN("Content-Transfer-Encoding"));

			add_edit(w->plan, h ? HEADER_REPLACE : HEADER_ADD, h ? 1 : 0,
			    SPAN("Content-Transfer-Encoding"), SPAN("quoted-printable"));
		}
	}
	edits_free(&edits);
	mime_text_free(&text);
	return why;
}

/* ---- List-Unsubscribe ---- */

/* The targets in < >, white space inside dropped, as folding puts it there. */
static void
collect_targets(struct work *w)
{
	const struct message *m = w->message;
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

/* RFC 8058: both or none. */
static void
add_unsubscribe(struct work *w)
{
	const struct tagging *t = w->tagging;
	bool replace = t->stream->list_unsubscribe == UNSUBSCRIBE_REPLACE;
	struct claim claim = claim_for(w, TOKEN_LEAVE, MODE_IDENTIFIED);

	if (t->stream->list_unsubscribe == UNSUBSCRIBE_OFF || t->stream->transactional || who_is_nobody(&t->who))
		return;
	if (!replace && (message_header(w->message, SPAN("List-Unsubscribe")) != NULL ||
	    message_header(w->message, SPAN("List-Unsubscribe-Post")) != NULL))
		return;
	claim.text = span_of(t->stream->name);
	buf_clear(&w->scratch);
	buf_addf(&w->scratch, "<%s/%c/", t->conf->tracking_url, TOKEN_LEAVE);
	if (!token_seal(t->sealer, &claim, &w->scratch))
		return;
	buf_addc(&w->scratch, '>');
	if (replace) {
		delete_all(w, SPAN("List-Unsubscribe"));
		delete_all(w, SPAN("List-Unsubscribe-Post"));
	}
	if (add_header(w, "List-Unsubscribe", buf_span(&w->scratch)))
		add_header(w, "List-Unsubscribe-Post", SPAN("List-Unsubscribe=One-Click"));
}

static bool
add_mark(struct work *w)
{
	struct claim claim = claim_for(w, TOKEN_MARK, MODE_ANONYMOUS);

	claim.text = span_of(w->tagging->stream->name);
	buf_clear(&w->scratch);
	return token_seal(w->tagging->sealer, &claim, &w->scratch) && add_header(w, mark_name, buf_span(&w->scratch));
}

/* ---- the message ---- */

/* All parts, then the header.  Why nothing was done, or NULL. */
static const char *
tag_parts(struct work *w, const struct mime *mime)
{
	const struct tagging *t = w->tagging;
	bool tracking = t->opens > MODE_OFF || t->links > MODE_OFF, seen = false;
	const char *why = tracking ? "no text/html part" : "tracking is off";
	size_t control = w->plan->nheaders;

	collect_targets(w);
	for (size_t i = 0; i < mime->n; i++) {
		const struct mime_part *part = &mime->part[i];
		const char *leave;

		if (!tracking || part->type != MIME_HTML) {
			if (part_has_pgp(w->message->body, part))
				return inline_pgp;
			continue;
		}
		leave = tag_part(w, part);
		if (leave == inline_pgp)
			return leave;
		if (!seen || leave == NULL) /* the first one speaks for all, unless another could be tagged */
			why = leave ? leave : "nothing to tag";
		seen = true;
	}
	if (w->edits.text.over || w->urls.over || w->plan->text.over)
		return "grows too much";
	add_unsubscribe(w);
	return w->edits.n == 0 && w->plan->nheaders == control ? why : NULL;
}

static const char *
tag_body(struct work *w)
{
	struct plan *p = w->plan;
	struct mime mime;
	const char *why;

	mime_walk(&mime, w->message);
	why = mime.leave != NULL ? mime.leave : tag_parts(w, &mime);
	mime_free(&mime);
	if (why != NULL)
		return why;
	if (w->edits.n > 0) {
		splice(&p->body, w->message->body, w->edits.edit, w->edits.n, buf_span(&w->edits.text));
		if (p->body.over)
			return "grows too much";
		p->body_changed = true;
	}
	return add_mark(w) ? NULL : "no mark";
}

/* Destinations lie still now: let the plan point at them. */
static void
list_links(struct work *w)
{
	struct plan *p = w->plan;

	p->nlinks = w->nlinks;
	p->link = p->nlinks ? xcalloc(p->nlinks, sizeof *p->link) : NULL;
	for (size_t i = 0; i < p->nlinks; i++)
		p->link[i] = (struct tagged_link){ (uint16_t)(i + 1), destination(w, &w->link[i]) };
}

/* Everything but the first n header edits never happened. */
static void
undo(struct plan *p, size_t n)
{
	while (p->nheaders > n) {
		struct header_edit *e = &p->header[--p->nheaders];

		free(e->name);
		free(e->value);
	}
	buf_free(&p->body);
	buf_free(&p->text);
	p->body_changed = p->pixel = false;
	p->edited_links = 0;
}

static void
tag(const struct message *m, const struct tagging *t, struct plan *p)
{
	struct work w = { .message = m, .tagging = t, .plan = p };
	size_t control = p->nheaders;

	edits_init(&w.edits, 4 * m->body.n + MESSAGE_GROWTH_MAX);
	w.targets = BUF(TARGETS_MAX);
	w.urls = BUF(MESSAGE_LINKS_MAX * (size_t)TRACKED_URL_MAX);
	w.scratch = BUF(m->body.n + TRACKED_URL_MAX * 6 + 1024);
	p->untouched = tag_body(&w);
	if (p->untouched != NULL)
		undo(p, control);
	else
		list_links(&w);
	edits_free(&w.edits);
	buf_free(&w.targets);
	buf_free(&w.urls);
	buf_free(&w.scratch);
	free(w.link);
	free(w.slot);
}

void
message_leave(const struct message *m, const struct conf *conf, const char *why, struct plan *p)
{
	*p = (struct plan){ .untouched = why };
	delete_control(m, conf, p);
}

void
message_tag(const struct message *m, const struct tagging *t, struct plan *p)
{
	*p = (struct plan){
		.body = BUF(m->body.n + MESSAGE_GROWTH_MAX),
		.text = BUF(MESSAGE_LINKS_MAX * (size_t)TOKEN_DESTINATION_MAX),
	};
	if (m->nheaders > MESSAGE_HEADERS_MAX) {
		p->untouched = "too many header fields";
		return;
	}
	if (bears_mark(m, t->sealer)) {
		p->untouched = "already tagged";
		return;
	}
	delete_control(m, t->conf, p);
	p->untouched = leave_message(m);
	if (p->untouched == NULL)
		tag(m, t, p);
}

void
plan_free(struct plan *p)
{
	undo(p, 0);
	free(p->header);
	free(p->link);
	*p = (struct plan){ 0 };
}

/* ---- raw messages ---- */

/* Counts the header fields, and stores them when there is room for them; *body is where they end. */
static size_t
fields(struct span raw, size_t *body, struct header *out)
{
	struct header h;
	size_t n = 0;

	for (*body = 0; mime_field(raw, body, &h) > 0; n++)
		if (out != NULL)
			out[n] = h;
	return n;
}

bool
message_split(struct span raw, struct header **headers, size_t *n, struct span *body)
{
	size_t at;

	*n = fields(raw, &at, NULL);
	if (*n == 0 || *n > MESSAGE_HEADERS_MAX)
		return false;
	*headers = xcalloc(*n, sizeof **headers);
	fields(raw, &at, *headers);
	*body = span_from(raw, at);
	return true;
}

/* The field that an edit means, among those that are still there; n when there is none. */
static size_t
edited_field(const struct header *h, const struct header_edit **done, size_t n, const struct header_edit *e)
{
	unsigned index = 0;

	for (size_t i = 0; i < n && e->change != HEADER_ADD; i++)
		if (span_ieq(h[i].name, span_of(e->name)) && (done[i] == NULL || done[i]->change != HEADER_DELETE) &&
		    ++index == e->index)
			return i;
	return n;
}

/* How lines end here. */
static struct span
line_break(struct span raw)
{
	size_t lf = span_find(raw, '\n');

	return lf < raw.n && (lf == 0 || raw.p[lf - 1] != '\r') ? SPAN("\n") : SPAN("\r\n");
}

static void
add_field(struct buf *out, struct span name, const char *value, struct span eol)
{
	buf_add(out, name);
	buf_adds(out, ": ");
	buf_adds(out, value);
	buf_add(out, eol);
}

/* The old fields, each as it was, changed or gone, then the new ones. */
static void
apply_headers(struct span raw, const struct header *h, size_t n, const struct plan *p, struct buf *out)
{
	struct span eol = line_break(raw);
	const struct header_edit **done = xcalloc(n, sizeof *done);

	for (size_t i = 0; i < p->nheaders; i++) {
		size_t k = edited_field(h, done, n, &p->header[i]);

		if (k < n)
			done[k] = &p->header[i];
	}
	for (size_t i = 0; i < n; i++) {
		const char *end = i + 1 < n ? h[i + 1].name.p : raw.p + raw.n;

		if (done[i] == NULL)
			buf_add(out, span_make(h[i].name.p, (size_t)(end - h[i].name.p)));
		else if (done[i]->change == HEADER_REPLACE)
			add_field(out, h[i].name, done[i]->value, eol);
	}
	for (size_t i = 0; i < p->nheaders; i++) {
		if (p->header[i].change != HEADER_ADD)
			continue;
		if (out->n > 0 && !span_ends(buf_span(out), SPAN("\n"))) /* a message that ends in its header */
			buf_add(out, eol);
		add_field(out, span_of(p->header[i].name), p->header[i].value, eol);
	}
	free(done);
}

void
message_apply(struct span raw, const struct plan *p, struct buf *out)
{
	struct header *h;
	struct span body;
	const char *end;
	size_t n, head;

	if (!message_split(raw, &h, &n, &body)) {
		buf_add(out, raw);
		return;
	}
	/* The header ends with its last field's line break; what comes then, up to the body, is the blank line. */
	end = h[n - 1].value.p + h[n - 1].value.n;
	head = (size_t)(end - raw.p);
	if (head < raw.n && raw.p[head] == '\r')
		head++;
	if (head < raw.n && raw.p[head] == '\n')
		head++;
	apply_headers(span_cut(raw, 0, head), h, n, p, out);
	buf_add(out, span_cut(raw, head, raw.n - body.n));
	if (head == raw.n - body.n && body.n > 0 && p->nheaders > 0)
		buf_add(out, line_break(raw)); /* a body without a blank line before it, as mail servers add one */
	buf_add(out, p->body_changed ? buf_span(&p->body) : body);
	free(h);
}
