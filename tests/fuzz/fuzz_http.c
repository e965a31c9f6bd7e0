/*
 * fuzz_http.c -- promises: a request reads the same whole and in pieces, and so
 * does a body in chunks, whose content is what was framed; no span of an
 * accepted one holds a line break or NUL; a path loses escapes of harmless
 * characters and gets no new delimiter; whatever a token holds,
 * a Location is visible ASCII and begins with http; a response has one head.
 * The first byte chooses the size of the pieces, or that the rest is a
 * destination, a form or a body in chunks.
 */
#include <stdint.h>
#include <stdlib.h>

#include "tracker/hit.h"

#define NOW INT64_C(1795348800123)

static struct setup setup;

static void
require(bool good)
{
	if (!good)
		abort();
}

static void
prepare(void)
{
	struct buf errors = BUF(65536);

	setup.keys = (struct keys){ .identity = { 1 }, .token = { { .id = 'A', .bytes = { 2 } } }, .n = 1 };
	setup.conf = conf_parse(SPAN("tracking_url = https://t.example/x\nprivacy_profile = eu\n"), "fuzz", &errors);
	setup.sealer = sealer_new(&setup.keys);
	require(setup.conf != NULL && setup.sealer != NULL && setup_load_pages(&setup, &errors));
	buf_free(&errors);
}

static void
require_clean(struct span s)
{
	require(span_find(s, '\r') == s.n && span_find(s, '\n') == s.n && span_find(s, '\0') == s.n);
}

static void
require_same(const struct http_request *a, const struct http_request *b)
{
	const struct span x[] = { a->path, a->query, a->host, a->agent, a->sec_purpose, a->purpose, a->x_purpose,
		a->x_moz, a->content_type };
	const struct span y[] = { b->path, b->query, b->host, b->agent, b->sec_purpose, b->purpose, b->x_purpose,
		b->x_moz, b->content_type };

	require(a->chunked == b->chunked && !(a->chunked && a->length > 0));
	require(a->method == b->method && a->http10 == b->http10 && a->keep == b->keep && a->expects == b->expects &&
	    a->length == b->length && a->length <= HTTP_BODY_MAX);
	for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
		require(span_eq(x[i], y[i]));
		require_clean(x[i]);
	}
}

/* What a client would see: one status line, one head, a body as long as promised. */
static void
require_response(const struct hit *h, bool head)
{
	struct buf out = BUF(256 * 1024);
	char date[HTTP_DATE_BYTES];
	struct span all;

	http_date(date, NOW / 1000);
	hit_render(h, &out, date, head, true, false);
	require(!out.over);
	all = buf_span(&out);
	require(span_starts(all, SPAN("HTTP/1.1 ")));
	require(all.n - span_search(all, SPAN("\r\n\r\n")) - 4 == (head ? 0 : h->body.n));
	for (size_t i = 0; i < h->location.n; i++)
		require(h->location.p[i] > ' ' && h->location.p[i] < 0x7f);
	require(h->location.n == 0 || span_istarts(h->location, SPAN("http")));
	require((h->status == 302) == (h->location.n > 0));
	buf_free(&out);
}

static size_t
count_of(struct span s, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == c;
	return n;
}

static void
require_path(struct span path)
{
	struct buf scratch = BUF(HTTP_LINE_MAX);
	struct span out = http_path(&scratch, path);

	require(!scratch.over && out.n <= path.n);
	for (const char *c = "/?#&=+;:@ \\"; *c; c++)
		require(count_of(out, *c) == count_of(path, *c));
	require(path.n - out.n == 2 * (count_of(path, '%') - count_of(out, '%')));
	buf_free(&scratch);
}

/* > 0: what http_chunked says of it whole, after it was compared with what it says of pieces. */
static int
read_chunks(struct span in, size_t step)
{
	struct http_chunks whole = { 0 }, pieces = { 0 };
	int n = http_chunked(&whole, in), m = 0;

	for (size_t have = step < in.n ? step : in.n;; have = in.n - have < step ? in.n : have + step) {
		char *copy = malloc(have + 1);

		if (have > 0)
			memcpy(copy, in.p, have);
		m = http_chunked(&pieces, span_make(copy, have));
		free(copy);
		if (m != 0 || have == in.n)
			break;
	}
	require(m == n && pieces.status == whole.status && (n < 0) == (whole.status != 0));
	require(n <= HTTP_CHUNKED_MAX);
	return n;
}

static void
try_chunks(struct span in, size_t step)
{
	int n = read_chunks(in, step);
	struct buf again = BUF(2 * HTTP_CHUNKED_MAX);
	size_t size;
	char *copy;

	if (n <= 0)
		return;
	copy = malloc((size_t)n);
	memcpy(copy, in.p, (size_t)n);
	size = http_unchunk(copy, (size_t)n);
	require(size <= HTTP_BODY_MAX && size < (size_t)n);
	/* Framed as one chunk it is the same content. */
	if (size > 0)
		buf_addf(&again, "%zx\r\n", size);
	buf_add(&again, span_make(copy, size));
	buf_adds(&again, size > 0 ? "\r\n0\r\n\r\n" : "0\r\n\r\n");
	require(read_chunks(buf_span(&again), step) == (int)again.n);
	require(http_unchunk(again.p, again.n) == size && memcmp(again.p, copy, size) == 0);
	free(copy);
	buf_free(&again);
}

static void
try_request(struct span in, size_t step)
{
	struct http_scan scan = { 0 }, pieces = { 0 };
	struct http_request whole, r = { 0 };
	struct peer peer = { { 0 } };
	struct hit h;
	int n = http_read(&scan, &whole, in), m = 0;
	size_t have;

	for (have = step < in.n ? step : in.n;; have = in.n - have < step ? in.n : have + step) {
		char *copy = malloc(have + 1); /* moved and exact, so that a look past the end is seen */

		if (have > 0)
			memcpy(copy, in.p, have);
		m = http_read(&pieces, &r, span_make(copy, have));
		if (m > 0)
			require_same(&r, &whole);
		free(copy);
		if (m != 0 || have == in.n)
			break;
	}
	require(m == n && (n >= 0 || r.status == whole.status));
	if (n < 0)
		require(whole.status >= 400);
	if (n <= 0)
		return;
	require((size_t)n <= HTTP_HEAD_MAX);
	require_path(whole.path);
	if (whole.chunked)
		try_chunks(span_from(in, (size_t)n), step);
	hit_init(&h);
	hit_take(&h, &setup, NULL, &whole, span_cut(in, (size_t)n, (size_t)n + whole.length), &peer, NOW);
	require(h.location.n == 0); /* nobody can guess a token */
	require_response(&h, whole.method == HTTP_HEAD);
	hit_free(&h);
}

static void
try_destination(struct span url)
{
	struct claim claim = { .kind = TOKEN_CLICK, .mode = MODE_IDENTIFIED, .campaign = 1, .who = { { 1 } }, .link = 1,
		.text = url };
	struct http_request r = { .method = HTTP_GET };
	struct peer peer = { { 0 } };
	struct buf path = BUF(8192);
	struct hit h;

	buf_adds(&path, "/c/");
	if (token_seal(setup.sealer, &claim, &path)) {
		r.path = buf_span(&path);
		hit_init(&h);
		hit_take(&h, &setup, NULL, &r, (struct span){ 0 }, &peer, NOW);
		require(h.status == 302 || h.status == 404);
		require_response(&h, false);
		hit_free(&h);
	}
	buf_free(&path);
}

static void
try_form(struct span in)
{
	struct claim claim = { .kind = TOKEN_LEAVE, .mode = MODE_IDENTIFIED, .campaign = 1, .who = { { 1 } },
		.text = SPAN("news") };
	struct http_request r = { .method = HTTP_POST };
	struct peer peer = { { 0 } };
	struct buf path = BUF(8192);
	size_t line = span_find(in, '\n');
	struct hit h;

	buf_adds(&path, "/u/");
	require(token_seal(setup.sealer, &claim, &path));
	r.path = buf_span(&path);
	r.content_type = span_cut(in, 0, line);
	hit_init(&h);
	hit_take(&h, &setup, NULL, &r, span_from(in, line + 1), &peer, NOW);
	require(h.status == 200 || h.status == 400);
	require((h.status == 200) == (h.n == 1));
	require_response(&h, false);
	hit_free(&h);
	buf_free(&path);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_make(p + 1, n > 0 ? n - 1 : 0);

	if (n == 0)
		return 0;
	if (setup.conf == NULL)
		prepare();
	if (p[0] == 0)
		try_destination(in);
	else if (p[0] == 1)
		try_form(in);
	else if (p[0] == 2)
		try_chunks(in, n % 7 + 1);
	else
		try_request(in, p[0] < 128 ? 1 : p[0] - 126);
	return 0;
}
