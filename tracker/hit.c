/* hit.c -- one request in; out come the answer and the touches to record. */
#include "common/addr.h"
#include "common/ip.h"
#include "common/text.h"
#include "tracker/budget.h"
#include "tracker/hit.h"
#include "tracker/leave.h"

/*
 * Every answer is about one recipient and one moment: nobody may keep it,
 * list it, or learn from a Referer where the reader came from.
 */
#define COMMON "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Robots-Tag: noindex\r\n" \
	"X-Content-Type-Options: nosniff\r\n"

#define TEXT_HEAD "Content-Type: text/plain; charset=utf-8\r\n" COMMON \
	"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
#define GIF_HEAD "Content-Type: image/gif\r\n" COMMON

#define CSS_HEAD "Content-Type: text/css; charset=utf-8\r\n" COMMON

/* No script, nothing from anywhere else; the style sheet is ours, and pictures are in the page or nowhere. */
#define HTML_HEAD "Content-Type: text/html; charset=utf-8\r\n" COMMON \
	"Content-Security-Policy: default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; " \
	"frame-ancestors 'none'\r\nVary: Accept-Language\r\n"
#define SORRY_HEAD HTML_HEAD "Retry-After: 60\r\n"

/* 1 x 1, transparent: the 43 bytes that the whole trade sends. */
static const char gif[43] =
    "GIF89a\1\0\1\0\x80\1\0\0\0\0\xff\xff\xff\x21\xf9\4\1\0\0\1\0,\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0;";

/* A long destination, the metrics, or a page and the one that says sorry in its place, each with its head. */
#define SPARE_MAX (2 * (PAGE_BYTES_MAX + 4096))

void
hit_init(struct hit *h)
{
	*h = (struct hit){ 0 };
	buf_init(&h->text, TOKEN_MAX);
	buf_init(&h->spare, SPARE_MAX);
}

void
hit_free(struct hit *h)
{
	buf_free(&h->text);
	buf_free(&h->spare);
}

static void
answer(struct hit *h, unsigned status, struct span head, struct span body)
{
	h->status = status;
	h->head = head;
	h->body = body;
	h->location = (struct span){ 0 };
}

void
hit_plain(struct hit *h, unsigned status, struct span body)
{
	h->kind = HIT_PAGE;
	h->verdict = ROBOT_NONE;
	h->forged = h->must_last = false;
	h->personal = 0;
	h->repeat = 0;
	h->n = 0;
	answer(h, status, status == 503 ? SPAN(TEXT_HEAD "Retry-After: 60\r\n") : SPAN(TEXT_HEAD), body);
}

void
hit_sorry(struct hit *h)
{
	answer(h, 503, h->sorry_head, h->sorry_body);
}

/* ---- touches ---- */

static void
add_net(struct touch *t, const struct peer *peer)
{
	if (ip_is_v4(peer->b)) {
		t->net[0] = 24;
		memcpy(t->net + 1, peer->b + 12, 3);
	} else {
		t->net[0] = 48;
		memcpy(t->net + 1, peer->b, 6);
	}
}

/*
 * What a campaign's stream keeps on this axis is in its settings; in the
 * general ones when nobody knows it, and when all streams agree, as most do:
 * then nobody needs to look.
 */
static const struct stream *
stream_of(const struct conf *conf, enum axis axis, struct store *store, uint64_t campaign, struct buf *scratch)
{
	const struct stream *s = NULL;

	if (!(axis == AXIS_OPENS ? conf->opens_vary : conf->links_vary) || store == NULL)
		return &conf->stream[0];
	buf_clear(scratch);
	if (store_campaign_names(store, campaign, scratch, NULL) == STORE_OK)
		s = conf_stream(conf, buf_span(scratch));
	return s == NULL ? &conf->stream[0] : s;
}

/* The lowest of what the token says, what the settings allow, and what the recipient agrees to today. */
static enum mode
mode_now(const struct setup *setup, struct store *store, const struct claim *claim, enum axis axis, struct buf *scratch)
{
	const struct stream *stream;
	enum consent consent = CONSENT_UNKNOWN;
	struct profile profile;

	if (claim->mode == MODE_OFF)
		return MODE_OFF;
	stream = stream_of(setup->conf, axis, store, claim->campaign, scratch);
	if (who_is_nobody(&claim->who))
		return mode_min(MODE_ANONYMOUS, mode_min(claim->mode, conf_mode(setup->conf, stream, axis, consent)));
	switch (store == NULL || store_no_consents(store) ? STORE_NONE : store_profile(store, &claim->who, &profile)) {
	case STORE_OK:
		consent = profile_consent(&profile, axis);
		break;
	case STORE_NONE:
		break;
	default:
		/* There may be a denial that we cannot read. */
		consent = CONSENT_DENIED;
		break;
	}
	return mode_min(claim->mode, conf_mode(setup->conf, stream, axis, consent));
}

struct touch *
hit_touch(struct hit *h, enum touch_kind kind, enum mode mode, int64_t when)
{
	struct record *r = &h->record[h->n++];

	*r = (struct record){ .touch = { .kind = (uint8_t)kind, .mode = (uint8_t)mode, .when = when } };
	return &r->touch;
}

/* An open or a click as this mode lets us keep it: a touch says no more than its mode. */
static void
record_hit(struct hit *h, enum mode mode, const struct claim *claim, const struct http_request *r,
    const struct peer *peer, int64_t now)
{
	enum touch_kind kind = h->kind == HIT_OPEN ? TOUCH_OPEN : TOUCH_CLICK;
	struct touch *t;

	if (mode == MODE_OFF)
		return;
	/* Only the last day of an open is kept in this mode; a click has no such day. */
	if (mode == MODE_DAYONLY && kind == TOUCH_OPEN && robot_is_human(h->verdict)) {
		t = hit_touch(h, kind, MODE_DAYONLY, now - now % DAY_MS);
		t->who = claim->who;
	}
	t = hit_touch(h, kind, mode < MODE_IDENTIFIED ? MODE_ANONYMOUS : mode, now);
	t->verdict = (uint8_t)h->verdict;
	t->detail = (uint8_t)h->evidence;
	t->campaign = claim->campaign;
	t->link = claim->link;
	if (kind == TOUCH_CLICK && claim->link != 0)
		h->record[h->n - 1].destination = claim->text;
	if (mode < MODE_IDENTIFIED)
		return;
	t->who = claim->who;
	t->sent = claim->when;
	if (mode == MODE_FULL) {
		t->agent = robot_family(r->agent);
		add_net(t, peer);
	}
}

/* Within `early` of when the message was tagged?  A clock of another machine may say that this is yet to come. */
static bool
is_soon(const struct conf *conf, const struct claim *claim, int64_t now)
{
	int64_t age = now - (int64_t)claim->when * 1000;

	return claim->when != 0 && age >= 0 && age < conf->rules.early;
}

/* It will be charged soon. */
static void
expect_charge(struct hit *h, const struct claim *claim)
{
	if (h->repeats == NULL || who_is_nobody(&claim->who))
		return;
	memcpy(&h->repeat, claim->who.b, sizeof h->repeat);
	h->repeat += claim->campaign * 0x9e3779b97f4a7c15U + (uint64_t)claim->link * 2 + (h->kind == HIT_CLICK);
	budget_expect(h->repeats, h->repeat);
}

static void
see(struct hit *h, const struct setup *setup, struct store *store, const struct claim *claim,
    const struct http_request *r, const struct peer *peer, int64_t now)
{
	struct sighting s = {
		.pixel = h->kind == HIT_OPEN, .head = r->method == HTTP_HEAD, .agent = r->agent, .address = peer->b,
		.soon = is_soon(setup->conf, claim, now),
		.sec_purpose = r->sec_purpose, .purpose = r->purpose, .x_purpose = r->x_purpose, .x_moz = r->x_moz,
	};

	struct judgement j;

	expect_charge(h, claim);
	j = robot_judge(setup->robots, &s);
	/* Nobody sees the link that has no number. */
	if (h->kind == HIT_CLICK && claim->link == 0)
		j = (struct judgement){ ROBOT_SCANNER, EVIDENCE_HONEYPOT };
	h->verdict = j.verdict;
	h->evidence = j.evidence;
	if (!s.head || setup->conf->head_counts)
		record_hit(h, mode_now(setup, store, claim, h->kind == HIT_OPEN ? AXIS_OPENS : AXIS_LINKS, &h->spare),
		    claim, r, peer, now);
}

/* ---- routes ---- */

void
hit_not_found(struct hit *h)
{
	answer(h, 404, SPAN(TEXT_HEAD), SPAN("Not found.\n"));
}

void
hit_forged(struct hit *h)
{
	hit_not_found(h);
	h->forged = true;
}

void
hit_refuse(struct hit *h, struct span body)
{
	answer(h, 400, SPAN(TEXT_HEAD), body);
}

/* Offsets, because the buffer moves while it grows. */
struct rendered {
	size_t head, body, end;
};

static struct rendered
render_page(struct hit *h, const struct template *t, const char *head, enum page page, const struct page_values *values)
{
	struct rendered r = { .head = h->spare.n };

	buf_adds(&h->spare, head);
	buf_addf(&h->spare, "Content-Language: %.*s\r\n", SPAN_ARG(template_tag(t)));
	r.body = h->spare.n;
	page_fill(t, page, values, &h->spare);
	r.end = h->spare.n;
	return r;
}

void
hit_page(struct hit *h, const struct scene *s, unsigned status, enum page page, const struct page_values *values)
{
	const struct template *t = pages_choose(s->setup->pages, s->request->accept_language);
	struct rendered r;

	buf_clear(&h->spare);
	r = render_page(h, t, HTML_HEAD, page, values);
	answer(h, status, span_cut(buf_span(&h->spare), r.head, r.body), span_cut(buf_span(&h->spare), r.body, r.end));
}

void
hit_promise(struct hit *h, const struct scene *s, enum page page, const struct page_values *values)
{
	const struct template *t = pages_choose(s->setup->pages, s->request->accept_language);
	struct rendered good, sorry;
	struct span all;

	buf_clear(&h->spare);
	good = render_page(h, t, HTML_HEAD, page, values);
	sorry = render_page(h, t, SORRY_HEAD, PAGE_SORRY, &(struct page_values){ .stream = values->stream });
	all = buf_span(&h->spare);
	h->must_last = true;
	h->sorry_head = span_cut(all, sorry.head, sorry.body);
	h->sorry_body = span_cut(all, sorry.body, sorry.end);
	answer(h, 200, span_cut(all, good.head, good.body), span_cut(all, good.body, good.end));
}

static void
take_open(struct hit *h, const struct scene *s, struct span token)
{
	struct claim claim;

	if (!token_open(s->setup->sealer, TOKEN_OPEN, token, &claim, &h->text)) {
		hit_forged(h);
		return;
	}
	h->kind = HIT_OPEN;
	answer(h, 200, SPAN(GIF_HEAD), span_make(gif, sizeof gif));
	see(h, s->setup, s->store, &claim, s->request, s->peer, s->now);
}

/* Behind user and password, before the port; empty when it is none that could be translated. */
static struct span
host_of(struct span url)
{
	struct span host = span_from(url, span_find(url, ':') + 3);
	size_t n = 0;

	while (n < host.n && strchr("/\\?#", host.p[n] ? host.p[n] : '/') == NULL)
		n++;
	host = span_cut(host, 0, n);
	while ((n = span_find(host, '@')) < host.n)
		host = span_from(host, n + 1);
	return span_cut(host, 0, span_find(host, ':'));
}

static void
add_escaped(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c > ' ' && c < 0x7f)
			buf_addc(out, (char)c);
		else if (c != '\t' && c != '\r' && c != '\n')
			text_add_percent(out, s.p[i]);
	}
}

/*
 * The destination to the byte, except for what a header cannot hold: tabs and
 * line breaks go, as browsers drop them from a URL, spaces, other controls
 * and bytes beyond ASCII become %XX.  Curly brackets and the like stay:
 * browsers treat them in a Location as in the href that they come from, and
 * %5C is not what a backslash before an @ means.  An international host
 * becomes what DNS is asked for, since not everybody would translate %XX
 * there (RFC 3986 section 3.2.2).
 */
static struct span
location(struct hit *h, struct span url)
{
	struct span host = host_of(url);
	size_t start = (size_t)(host.p - url.p), before, i = 0;

	while (i < url.n && url.p[i] > ' ' && url.p[i] < 0x7f)
		i++;
	if (i == url.n)
		return url;
	buf_clear(&h->spare);
	add_escaped(&h->spare, span_cut(url, 0, start));
	before = h->spare.n;
	if (text_is_ascii(host) || !addr_host(&h->spare, host)) {
		h->spare.n = before; /* what was refused half way is there by half */
		add_escaped(&h->spare, host);
	}
	add_escaped(&h->spare, span_from(url, start + host.n));
	return buf_span(&h->spare);
}

/* Sealed by us, and looked at again all the same: nothing but the web. */
static bool
is_web(struct span url)
{
	return (span_istarts(url, SPAN("http://")) && url.n > 7) || (span_istarts(url, SPAN("https://")) && url.n > 8);
}

static void
take_click(struct hit *h, const struct scene *s, struct span token)
{
	struct claim claim;
	int64_t since;

	if (!token_open(s->setup->sealer, TOKEN_CLICK, token, &claim, &h->text) || !is_web(claim.text)) {
		hit_forged(h);
		return;
	}
	h->kind = HIT_CLICK;
	answer(h, 302, SPAN(COMMON), (struct span){ 0 });
	see(h, s->setup, s->store, &claim, s->request, s->peer, s->now);
	if (s->store != NULL && store_stopped(s->store, claim.campaign, &since) == STORE_OK) {
		hit_page(h, s, 403, PAGE_STOPPED, &(struct page_values){ 0 });
		return;
	}
	h->location = location(h, claim.text);
}

static const struct plain {
	struct span path, head, body;
} plains[] = {
	{ { "/", 1 }, { TEXT_HEAD, sizeof TEXT_HEAD - 1 }, { "This server answers links in mail.\n", 35 } },
	{ { "/healthz", 8 }, { TEXT_HEAD, sizeof TEXT_HEAD - 1 }, { "ok\n", 3 } },
	{ { "/robots.txt", 11 }, { TEXT_HEAD, sizeof TEXT_HEAD - 1 }, { "User-agent: *\nDisallow: /\n", 26 } },
	{ { "/favicon.ico", 12 }, { GIF_HEAD, sizeof GIF_HEAD - 1 }, { gif, sizeof gif } },
};

static const struct plain *
find_plain(struct span path)
{
	for (size_t i = 0; i < sizeof plains / sizeof *plains; i++)
		if (span_eq(path, plains[i].path))
			return &plains[i];
	return NULL;
}

/* It belongs to a setup that may be gone before the answer is written. */
static void
take_style(struct hit *h, const struct scene *s)
{
	buf_clear(&h->spare);
	buf_add(&h->spare, pages_css(s->setup->pages));
	answer(h, 200, SPAN(CSS_HEAD), buf_span(&h->spare));
}

/* The path below the one in tracking_url; a proxy in front may have taken that off already. */
static struct span
below(struct span path, struct span url)
{
	struct span host = span_from(url, span_find(url, ':') + 3); /* behind http:// */
	struct span prefix = span_from(host, span_find(host, '/'));

	if (prefix.n > 0 && path.n > prefix.n && span_starts(path, prefix) && path.p[prefix.n] == '/')
		return span_from(path, prefix.n);
	return path;
}

#define METHODS "Allow: GET, HEAD, OPTIONS\r\n"
#define METHODS_POST "Allow: GET, HEAD, POST, OPTIONS\r\n"

/* Is there more to do than to say what may be asked? */
static bool
allowed(struct hit *h, enum http_method method, bool post)
{
	if (method == HTTP_GET || method == HTTP_HEAD || (post && method == HTTP_POST))
		return true;
	if (method == HTTP_OPTIONS)
		answer(h, 200, post ? SPAN(COMMON METHODS_POST) : SPAN(COMMON METHODS), (struct span){ 0 });
	else
		answer(h, 405, post ? SPAN(TEXT_HEAD METHODS_POST) : SPAN(TEXT_HEAD METHODS), SPAN("Method not allowed.\n"));
	return false;
}

void
hit_take(struct hit *h, const struct setup *setup, struct store *store, const struct http_request *r, struct span body,
    const struct peer *peer, int64_t now)
{
	struct scene scene = { setup, store, r, body, peer, now };
	/* A path in spare is done with when its token is opened. */
	struct span path = below(http_path(&h->spare, r->path), span_of(setup->conf->tracking_url));
	const struct plain *plain;
	bool post = span_starts(path, SPAN("/u/")) || span_starts(path, SPAN("/p/"));

	h->kind = HIT_PAGE;
	h->verdict = ROBOT_NONE;
	h->forged = h->must_last = false;
	h->personal = 0;
	h->repeat = 0;
	h->n = 0;
	if (!allowed(h, r->method, post || span_eq(path, SPAN("*"))))
		return;
	if (span_starts(path, SPAN("/o/")) && span_ends(path, SPAN(".gif")) && path.n > 7)
		take_open(h, &scene, span_cut(path, 3, path.n - 4));
	else if (span_starts(path, SPAN("/c/")))
		take_click(h, &scene, span_from(path, 3));
	else if (span_starts(path, SPAN("/u/")))
		leave_take(h, &scene, TOKEN_LEAVE, span_from(path, 3));
	else if (span_starts(path, SPAN("/p/")))
		leave_take(h, &scene, TOKEN_PREFERENCES, span_from(path, 3));
	else if (span_eq(path, SPAN("/style.css")))
		take_style(h, &scene);
	else if ((plain = find_plain(path)) != NULL)
		answer(h, 200, plain->head, plain->body);
	else
		hit_not_found(h);
}

/* ---- the response ---- */

#define RENDERED_MAX 512 /* all that is neither head, location nor body */

static char *
put_number(char *to, size_t n)
{
	char digits[24];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	return span_put(to, span_make(digits + at, sizeof digits - at));
}

static char *
put_status(char *to, unsigned status)
{
	if (status == 200)
		return span_put(to, SPAN("HTTP/1.1 200 OK\r\n"));
	if (status == 302)
		return span_put(to, SPAN("HTTP/1.1 302 Found\r\n"));
	to = put_number(span_put(to, SPAN("HTTP/1.1 ")), status);
	to = span_put(span_put(to, SPAN(" ")), span_of(http_reason(status)));
	return span_put(to, SPAN("\r\n"));
}

void
hit_render(const struct hit *h, struct buf *out, const char *date, bool head, bool keep, bool http10)
{
	struct span body = head ? SPAN("") : h->body;
	char *start = buf_room(out, RENDERED_MAX + h->head.n + h->location.n + body.n), *to = start;

	if (start == NULL)
		return;
	to = put_status(to, h->status);
	to = span_put(to, SPAN("Date: "));
	to = span_put(to, span_make(date, HTTP_DATE_BYTES - 1));
	to = span_put(to, SPAN("\r\n"));
	to = span_put(to, h->head);
	if (h->location.n > 0) {
		to = span_put(to, SPAN("Location: "));
		to = span_put(to, h->location);
		to = span_put(to, SPAN("\r\n"));
	}
	if (!keep)
		to = span_put(to, SPAN("Connection: close\r\n"));
	else if (http10)
		to = span_put(to, SPAN("Connection: keep-alive\r\n"));
	to = put_number(span_put(to, SPAN("Content-Length: ")), h->body.n);
	to = span_put(span_put(to, SPAN("\r\n\r\n")), body);
	buf_grew(out, (size_t)(to - start));
}
