/* test_hit.c -- requests to answers and touches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/addr.h"
#include "common/fold.h"
#include "common/text.h"
#include "tracker/hit.h"

#define NOW INT64_C(1795348800123)
#define MIDNIGHT (NOW - NOW % DAY_MS)
#define CAMPAIGN 0x1122334455667788
#define CHROME "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
#define APPLE "Mozilla/5.0"

static const struct who somebody = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } };
static const struct peer v4 = { { [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 77 } };
static const struct peer v6 = { { 0x20, 0x01, 0x0d, 0xb8, 0xaa, 0xbb, 0xcc, 0xdd, 0xee } };

static void
make_setup(struct setup *s, const char *settings)
{
	struct buf text = BUF(65536), errors = BUF(65536);

	*s = (struct setup){ .keys = { .identity = { 7 }, .token = { { .id = 'A', .made = "2026-11-22", .bytes = { 9 } } }, .n = 1 } };
	if (strstr(settings, "tracking_url") == NULL)
		buf_adds(&text, "tracking_url = https://t.example\n");
	if (strstr(settings, "privacy_profile") == NULL)
		buf_adds(&text, "privacy_profile = classic\n");
	buf_adds(&text, settings);
	if ((s->conf = conf_parse(buf_span(&text), "t", &errors)) == NULL)
		fail_msg("%s", buf_cstr(&errors));
	assert_non_null(s->sealer = sealer_new(&s->keys));
	if (!setup_load_pages(s, &errors))
		fail_msg("%s", buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
}

static void
free_setup(struct setup *s)
{
	pages_free(s->pages);
	conf_free(s->conf);
	sealer_free(s->sealer);
}

/* "METHOD PREFIX<token>SUFFIX" with these further fields, as a whole request. */
struct ask {
	const char *method, *prefix, *suffix, *fields;
	struct span body;
};

static void
ask(struct hit *h, const struct setup *s, struct store *store, const struct claim *claim, struct ask how, const struct peer *peer)
{
	struct buf text = BUF(65536);
	struct http_scan scan = { 0 };
	struct http_request r;
	int n;

	buf_addf(&text, "%s %s", how.method, how.prefix);
	if (claim != NULL)
		assert_true(token_seal(s->sealer, claim, &text));
	buf_addf(&text, "%s HTTP/1.1\r\nHost: t.example\r\n%s", how.suffix, how.fields);
	if (how.body.n > 0)
		buf_addf(&text, "Content-Length: %zu\r\n", how.body.n);
	buf_adds(&text, "\r\n");
	if ((n = http_read(&scan, &r, buf_span(&text))) <= 0)
		fail_msg("refused with %u: %s", r.status, buf_cstr(&text));
	assert_int_equal((size_t)n, text.n);
	hit_take(h, s, store, &r, how.body, peer, NOW);
	/* Nothing may point into the request. */
	memset(text.p, '#', text.n);
	buf_free(&text);
}

static struct claim
claim_of(enum token_kind kind, enum mode mode, const char *text)
{
	struct claim c = { .kind = kind, .mode = mode, .campaign = CAMPAIGN, .text = span_of(text) };

	if (mode != MODE_ANONYMOUS) {
		c.who = somebody;
		c.when = 1795000000;
	}
	if (kind == TOKEN_CLICK)
		c.link = 7;
	return c;
}

/* ---- what is kept, by mode ---- */

static const struct mode_row {
	const char *says, *settings, *agent;
	enum token_kind kind;
	enum mode token;
	size_t n;          /* touches */
	enum mode mode[2]; /* of each */
} modes[] = {
	{ "classic keeps an open", "", CHROME, TOKEN_OPEN, MODE_FULL, 1, { MODE_IDENTIFIED } },
	{ "classic keeps a click", "", CHROME, TOKEN_CLICK, MODE_FULL, 1, { MODE_IDENTIFIED } },
	{ "the token lowers it", "", CHROME, TOKEN_OPEN, MODE_ANONYMOUS, 1, { MODE_ANONYMOUS } },
	{ "eu: the day for the recipient, the count for the campaign", "privacy_profile = eu\n", CHROME, TOKEN_OPEN,
	    MODE_IDENTIFIED, 2, { MODE_DAYONLY, MODE_ANONYMOUS } },
	{ "eu: a machine's open is no day", "privacy_profile = eu\n", APPLE, TOKEN_OPEN, MODE_IDENTIFIED, 1, { MODE_ANONYMOUS } },
	{ "eu: clicks are anonymous", "privacy_profile = eu\n", CHROME, TOKEN_CLICK, MODE_IDENTIFIED, 1, { MODE_ANONYMOUS } },
	{ "a dayonly click token keeps no day", "", CHROME, TOKEN_CLICK, MODE_DAYONLY, 1, { MODE_ANONYMOUS } },
	{ "strict", "privacy_profile = strict\n", CHROME, TOKEN_OPEN, MODE_FULL, 1, { MODE_ANONYMOUS } },
	{ "the ceiling lowers it", "opens = dayonly\n", CHROME, TOKEN_OPEN, MODE_FULL, 2, { MODE_DAYONLY, MODE_ANONYMOUS } },
	{ "the ceiling of the other axis does not", "links = off\n", CHROME, TOKEN_OPEN, MODE_FULL, 1, { MODE_IDENTIFIED } },
	{ "opens = off", "opens = off\n", CHROME, TOKEN_OPEN, MODE_FULL, 0, { 0 } },
	{ "opens = off, anonymous token", "opens = off\n", CHROME, TOKEN_OPEN, MODE_ANONYMOUS, 0, { 0 } },
	{ "links = off still redirects", "links = off\n", CHROME, TOKEN_CLICK, MODE_FULL, 0, { 0 } },
	{ "a token of mode off", "", CHROME, TOKEN_OPEN, MODE_OFF, 0, { 0 } },
};

static void
test_modes(void **state)
{
	struct hit h;

	(void)state;
	hit_init(&h);
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		const struct mode_row *row = &modes[i];
		bool open = row->kind == TOKEN_OPEN;
		struct claim c = claim_of(row->kind, row->token, open ? "" : "https://a.example/?x=1");
		struct setup s;
		char fields[256];

		make_setup(&s, row->settings);
		snprintf(fields, sizeof fields, "User-Agent: %s\r\n", row->agent);
		ask(&h, &s, NULL, &c, (struct ask){ "GET", open ? "/o/" : "/c/", open ? ".gif" : "", fields, { 0 } }, &v4);
		if (h.status != (open ? 200u : 302u) || h.n != row->n)
			fail_msg("%s: status %u, %zu touches", row->says, h.status, h.n);
		for (size_t k = 0; k < h.n; k++) {
			const struct touch *t = &h.record[k].touch;
			bool named = t->mode >= MODE_DAYONLY, day = t->mode == MODE_DAYONLY;

			if (t->mode != row->mode[k] || who_is_nobody(&t->who) == named || t->kind != (open ? TOUCH_OPEN : TOUCH_CLICK))
				fail_msg("%s: touch %zu has mode %s", row->says, k, mode_name(t->mode));
			/* A touch says no more than its mode allows. */
			if (t->when != (day ? MIDNIGHT : NOW) || t->campaign != (day ? 0 : CAMPAIGN) || (day && t->verdict != 0) ||
			    t->sent != (t->mode >= MODE_IDENTIFIED ? 1795000000u : 0) || t->net[0] != 0 || t->agent != 0 ||
			    t->link != (open || day ? 0 : 7))
				fail_msg("%s: touch %zu says too much or too little", row->says, k);
			if (!open && !span_eq(h.record[k].destination, SPAN("https://a.example/?x=1")))
				fail_msg("%s: destination", row->says);
		}
		free_setup(&s);
	}
	hit_free(&h);
}

static void
test_heads_are_never_counted(void **state)
{
	struct claim c = claim_of(TOKEN_CLICK, MODE_FULL, "https://a.example/");
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "");
	ask(&h, &s, NULL, &c, (struct ask){ "HEAD", "/c/", "", "User-Agent: " CHROME "\r\n", { 0 } }, &v4);
	assert_int_equal(h.status, 302);
	assert_int_equal(h.n, 0);
	assert_true(span_eq(h.location, SPAN("https://a.example/")));
	free_setup(&s);
	hit_free(&h);
}

/* ---- with a store ---- */

static struct store *
store_make(char *dir)
{
	struct buf why = BUF(4096);
	struct store_options options = { .dir = dir, .create = true, .facts_size = 16 << 20, .state_size = 16 << 20 };
	struct store *store;

	assert_non_null(mkdtemp(dir));
	if ((store = store_open(&options, &why)) == NULL)
		fail_msg("%s", buf_cstr(&why));
	buf_free(&why);
	return store;
}

static void
store_end(struct store *store, const char *dir)
{
	char command[300];

	store_close(store);
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

static void
consent(struct store *store, enum axis axis, enum consent what, int64_t when)
{
	struct record r = { .touch = { .kind = TOUCH_CONSENT, .mode = MODE_IDENTIFIED, .when = when, .who = somebody } };

	r.touch.detail = (uint8_t)(axis << 4 | what);
	assert_int_equal(store_append(store, &r, 1, NULL), STORE_OK);
	fold_all(store);
}

static void
test_consent_now(void **state)
{
	char dir[] = "/tmp/test_hit.XXXXXX";
	struct store *store = store_make(dir);
	struct claim c = claim_of(TOKEN_OPEN, MODE_FULL, "");
	struct ask open = { "GET", "/o/", ".gif", "User-Agent: " CHROME "\r\n", { 0 } };
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "privacy_profile = classic\n");

	ask(&h, &s, store, &c, open, &v4);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.record[0].touch.mode, MODE_IDENTIFIED);
	assert_int_equal(h.record[0].touch.net[0], 0);

	consent(store, AXIS_OPENS, CONSENT_GRANTED, NOW - 2000);
	ask(&h, &s, store, &c, open, &v4);
	assert_int_equal(h.record[0].touch.mode, MODE_FULL);
	assert_memory_equal(h.record[0].touch.net, ((uint8_t[]){ 24, 192, 0, 2, 0, 0, 0, 0 }), 8);
	assert_string_equal(robot_family_name(h.record[0].touch.agent), "chrome");
	ask(&h, &s, store, &c, open, &v6);
	assert_memory_equal(h.record[0].touch.net, ((uint8_t[]){ 48, 0x20, 0x01, 0x0d, 0xb8, 0xaa, 0xbb, 0 }), 8);

	/* Withdrawing it also silences mail that is sent already; the other axis is another matter. */
	consent(store, AXIS_OPENS, CONSENT_DENIED, NOW - 1000);
	ask(&h, &s, store, &c, open, &v4);
	assert_int_equal(h.status, 200);
	assert_int_equal(h.n, 0);
	c = claim_of(TOKEN_CLICK, MODE_FULL, "https://a.example/");
	ask(&h, &s, store, &c, (struct ask){ "GET", "/c/", "", "User-Agent: x\r\n", { 0 } }, &v4);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.record[0].touch.mode, MODE_IDENTIFIED);

	free_setup(&s);
	hit_free(&h);
	store_end(store, dir);
}

static void
test_the_campaigns_stream_decides(void **state)
{
	char dir[] = "/tmp/test_hit.XXXXXX";
	struct store *store = store_make(dir);
	struct record sent = { .touch = { .kind = TOUCH_SENT, .mode = MODE_IDENTIFIED, .when = NOW, .who = somebody } };
	struct claim c = claim_of(TOKEN_OPEN, MODE_FULL, "");
	struct ask open = { "GET", "/o/", ".gif", "User-Agent: " CHROME "\r\n", { 0 } };
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "[stream quiet]\nopens = off\n");
	sent.touch.campaign = CAMPAIGN;
	sent.touch.stream = stream_id(&s.keys, SPAN("quiet"));
	sent.stream = SPAN("quiet");
	sent.campaign = SPAN("spring");

	ask(&h, &s, store, &c, open, &v4);
	assert_int_equal(h.n, 1); /* nobody knows the campaign: the general settings */
	assert_int_equal(store_append(store, &sent, 1, NULL), STORE_OK);
	ask(&h, &s, store, &c, open, &v4);
	assert_int_equal(h.n, 0);
	assert_int_equal(h.status, 200);

	free_setup(&s);
	hit_free(&h);
	store_end(store, dir);
}

/* ---- routes and refusals ---- */

static void
test_routes(void **state)
{
	static const struct {
		const char *says, *method, *path;
		unsigned status;
		const char *has; /* in the response */
	} cases[] = {
		{ "health", "GET", "/healthz", 200, "\r\n\r\nok\n" },
		{ "the front page", "GET", "/", 200, "text/plain" },
		{ "robots", "GET", "/robots.txt", 200, "Disallow: /\n" },
		{ "icon", "GET", "/favicon.ico", 200, "image/gif" },
		{ "nothing", "GET", "/nothing", 404, "Not found." },
		{ "no such thing as an admin page here", "GET", "/metrics", 404, "Not found." },
		{ "no token", "GET", "/o/.gif", 404, "Not found." },
		{ "no token, no suffix", "GET", "/o/", 404, "Not found." },
		{ "a pixel without .gif", "GET", "/o/AAAA", 404, "Not found." },
		{ "not a token", "GET", "/o/AAAA.gif", 404, "Not found." },
		{ "not a click token", "GET", "/c/A", 404, "Not found." },
		{ "an empty click token", "GET", "/c/", 404, "Not found." },
		{ "a URL is no token", "GET", "/c/https://evil.example/", 404, "Not found." },
		{ "not a leave token", "GET", "/u/A", 404, "Not found." },
		{ "nor for a POST", "POST", "/u/A", 404, "Not found." },
		{ "a POST where there is none", "POST", "/c/A", 405, "Allow: GET, HEAD, OPTIONS\r\n" },
		{ "DELETE", "DELETE", "/u/A", 405, "Allow: GET, HEAD, POST, OPTIONS\r\n" },
		{ "OPTIONS of the server", "OPTIONS", "*", 200, "Allow: GET, HEAD, POST, OPTIONS\r\n" },
		{ "OPTIONS of a link", "OPTIONS", "/c/A", 200, "Allow: GET, HEAD, OPTIONS\r\n" },
		{ "escapes of letters", "GET", "/he%61lth%7A", 200, "\r\n\r\nok\n" },
		{ "an escaped slash", "GET", "/%2fhealthz", 404, "Not found." },
	};
	struct buf out = BUF(65536);
	char date[HTTP_DATE_BYTES];
	struct setup s;
	struct hit h;

	(void)state;
	http_date(date, 0);
	hit_init(&h);
	make_setup(&s, "");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ask(&h, &s, NULL, NULL, (struct ask){ cases[i].method, cases[i].path, "", "", { 0 } }, &v4);
		buf_clear(&out);
		hit_render(&h, &out, date, false, true, false);
		if (h.status != cases[i].status || h.n != 0 || strstr(buf_cstr(&out), cases[i].has) == NULL ||
		    strstr(buf_cstr(&out), "Location:") != NULL)
			fail_msg("%s: %s", cases[i].says, buf_cstr(&out));
	}
	free_setup(&s);
	hit_free(&h);
	buf_free(&out);
}

static void
test_a_token_of_one_kind_is_no_other(void **state)
{
	static const struct {
		enum token_kind kind;
		const char *prefix, *suffix;
		unsigned status;
	} cases[] = {
		{ TOKEN_OPEN, "/o/", ".gif", 200 }, { TOKEN_OPEN, "/c/", "", 404 }, { TOKEN_OPEN, "/u/", "", 404 },
		{ TOKEN_CLICK, "/o/", ".gif", 404 }, { TOKEN_CLICK, "/c/", "", 302 }, { TOKEN_CLICK, "/u/", "", 404 },
		{ TOKEN_LEAVE, "/o/", ".gif", 404 }, { TOKEN_LEAVE, "/c/", "", 404 }, { TOKEN_LEAVE, "/u/", "", 200 },
		{ TOKEN_MARK, "/o/", ".gif", 404 }, { TOKEN_MARK, "/c/", "", 404 }, { TOKEN_MARK, "/u/", "", 404 },
		{ TOKEN_SPLIT, "/o/", ".gif", 404 }, { TOKEN_SPLIT, "/c/", "", 404 }, { TOKEN_SPLIT, "/u/", "", 404 },
		{ TOKEN_CLICK, "/c/", "A", 404 }, { TOKEN_CLICK, "/c/", "/", 404 }, { TOKEN_CLICK, "/c/", "?fbclid=x", 302 },
		{ TOKEN_OPEN, "/o/", ".gif?src=http://127.0.0.1/x.png", 200 }, { TOKEN_OPEN, "/o/", ".gif/x.gif", 404 },
	};
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct claim c = claim_of(cases[i].kind, MODE_IDENTIFIED, cases[i].kind == TOKEN_OPEN ? "" : "https://a.example/");

		ask(&h, &s, NULL, &c, (struct ask){ "GET", cases[i].prefix, cases[i].suffix, "", { 0 } }, &v4);
		if (h.status != cases[i].status || (h.status == 404 && (h.n != 0 || h.location.n != 0)))
			fail_msg("%c token at %s: %u", cases[i].kind, cases[i].prefix, h.status);
	}
	free_setup(&s);
	hit_free(&h);
}

static void
test_tracking_url_with_a_path(void **state)
{
	static const struct {
		const char *path;
		unsigned status;
	} cases[] = {
		{ "/mail/t/healthz", 200 }, { "/healthz", 200 }, { "/mail/thealthz", 404 }, { "/mail/t", 404 }, { "/mail/t/", 200 },
		{ "/mail/healthz", 404 },
	};
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "tracking_url = https://t.example:8443/mail/t\n");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ask(&h, &s, NULL, NULL, (struct ask){ "GET", cases[i].path, "", "", { 0 } }, &v4);
		if (h.status != cases[i].status)
			fail_msg("%s: %u", cases[i].path, h.status);
	}
	free_setup(&s);
	hit_free(&h);
}

static void
test_location(void **state)
{
	static const struct {
		const char *says, *url, *location; /* NULL: no redirect */
	} cases[] = {
		{ "to the byte", "https://a.example/p%2Fq;x=1/?u=%7b&v=a+b&w=[1]#frag'()*,!~", "https://a.example/p%2Fq;x=1/?u=%7b&v=a+b&w=[1]#frag'()*,!~" },
		{ "what browsers take as it is", "http://a.example/{a}|b^c`d\\e\"<>", "http://a.example/{a}|b^c`d\\e\"<>" },
		{ "a space", "https://a.example/a b", "https://a.example/a%20b" },
		{ "UTF-8", "https://a.example/\xc3\xa9", "https://a.example/%C3%A9" },
		{ "an international host", "http://\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.c\xc3\xb3m/\xe5\xbd\x8c\xe6\x92\x92", "http://xn--80aswg.xn--cm-5ja/%E5%BD%8C%E6%92%92" },
		{ "between user and port, in upper case", "https://u:p@B\xc3\x9c" "CHER.example:8443?q", "https://u:p@xn--bcher-kva.example:8443?q" },
		{ "one that is none", "https://\xff\xfe/a", "https://%FF%FE/a" },
		{ "one that is refused half way", "http://\xc3\xbc.a\r\nb.example/", "http://%C3%BC.ab.example/" },
		{ "an ASCII host stays to the byte", "https://A.Example/\xc3\xa9", "https://A.Example/%C3%A9" },
		{ "a colon in the path", "https://a.example/\xc3\xa9:b@c", "https://a.example/%C3%A9:b@c" },
		{ "a line break is dropped, as browsers do", "https://a.example/\r\nSet-Cookie: x", "https://a.example/Set-Cookie:%20x" },
		{ "a tab too", "https://a.example/\ta", "https://a.example/a" },
		{ "other controls", "https://a.example/\x01\x7f", "https://a.example/%01%7F" },
		{ "letter case of the scheme", "HTTPS://A.example/", "HTTPS://A.example/" },
		{ "javascript", "javascript:alert(1)", NULL },
		{ "ftp", "ftp://a.example/", NULL },
		{ "no scheme", "//a.example/", NULL },
		{ "nothing", "", NULL },
		{ "a scheme alone", "https://", NULL },
		{ "a line break in front", "\nhttps://a.example/", NULL },
	};
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct claim c = claim_of(TOKEN_CLICK, MODE_IDENTIFIED, cases[i].url);

		ask(&h, &s, NULL, &c, (struct ask){ "GET", "/c/", "", "", { 0 } }, &v4);
		if (cases[i].location == NULL ? h.status != 404 || h.location.n != 0 :
		    h.status != 302 || !span_eq(h.location, span_of(cases[i].location)))
			fail_msg("%s: %u %.*s", cases[i].says, h.status, SPAN_ARG(h.location));
	}
	free_setup(&s);
	hit_free(&h);
}

/* ---- unsubscribing ---- */

#define URLENCODED "Content-Type: application/x-www-form-urlencoded\r\n"
#define MULTIPART "Content-Type: multipart/form-data; boundary=xyz\r\n"
#define PART(name, value) "--xyz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static void
test_one_click(void **state)
{
	static const struct {
		const char *says, *fields, *body;
		bool leaves;
	} cases[] = {
		{ "RFC 8058, urlencoded", URLENCODED, "List-Unsubscribe=One-Click", true },
		{ "with a charset", "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n", "List-Unsubscribe=One-Click", true },
		{ "without a type", "", "List-Unsubscribe=One-Click", true },
		{ "escaped", URLENCODED, "List%2DUnsubscribe=One%2dClick", true },
		{ "among others", URLENCODED, "a=b&List-Unsubscribe=One-Click&c", true },
		{ "a line break behind it", URLENCODED, "List-Unsubscribe=One-Click\r\n", true },
		{ "another value", URLENCODED, "List-Unsubscribe=Two-Click", false },
		{ "a longer value", URLENCODED, "List-Unsubscribe=One-Clicks", false },
		{ "a shorter value", URLENCODED, "List-Unsubscribe=One-Clic", false },
		{ "no value", URLENCODED, "List-Unsubscribe", false },
		{ "another name", URLENCODED, "X-List-Unsubscribe=One-Click", false },
		{ "nothing", URLENCODED, "", false },
		{ "RFC 8058, multipart", MULTIPART, PART("List-Unsubscribe", "One-Click") "--xyz--\r\n", true },
		{ "a quoted boundary", "Content-Type: Multipart/Form-Data; charset=x; Boundary=\"xyz\"\r\n", PART("List-Unsubscribe", "One-Click") "--xyz--\r\n", true },
		{ "the second part", MULTIPART, "preamble\r\n" PART("a", "b") PART("List-Unsubscribe", "One-Click") "--xyz--", true },
		{ "no end", MULTIPART, PART("List-Unsubscribe", "One-Click"), true },
		{ "another value in a part", MULTIPART, PART("List-Unsubscribe", "No") "--xyz--\r\n", false },
		{ "name and value in two parts", MULTIPART, PART("List-Unsubscribe", "") PART("x", "One-Click") "--xyz--\r\n", false },
		{ "another boundary", "Content-Type: multipart/form-data; boundary=abc\r\n", PART("List-Unsubscribe", "One-Click"), false },
		{ "no boundary", "Content-Type: multipart/form-data\r\n", PART("List-Unsubscribe", "One-Click"), false },
		{ "only a delimiter", MULTIPART, "--xyz", false },
	};
	struct claim c = claim_of(TOKEN_LEAVE, MODE_IDENTIFIED, "news");
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "privacy_profile = strict\n");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ask(&h, &s, NULL, &c, (struct ask){ "POST", "/u/", "", cases[i].fields, span_of(cases[i].body) }, &v4);
		if (h.status != (cases[i].leaves ? 200u : 400u) || h.n != cases[i].leaves || h.location.n != 0)
			fail_msg("%s: %u, %zu touches", cases[i].says, h.status, h.n);
		if (!cases[i].leaves)
			continue;

		const struct touch *t = &h.record[0].touch;

		assert_true(h.must_last);
		assert_int_equal(t->kind, TOUCH_LEFT);
		assert_true(who_eq(&t->who, &somebody));
		assert_true(t->stream == stream_id(&s.keys, SPAN("news")));
		assert_true(t->campaign == CAMPAIGN && t->when == NOW);
		assert_true(span_eq(h.record[0].stream, SPAN("news")));
	}
	free_setup(&s);
	hit_free(&h);
}

static void
test_get_changes_nothing(void **state)
{
	static const char *const methods[] = { "GET", "HEAD" };
	struct claim c = claim_of(TOKEN_LEAVE, MODE_IDENTIFIED, "a<b>&\"c");
	struct buf out = BUF(65536);
	char date[HTTP_DATE_BYTES];
	struct setup s;
	struct hit h;

	(void)state;
	http_date(date, 0);
	hit_init(&h);
	make_setup(&s, "");
	for (size_t i = 0; i < 2; i++) {
		ask(&h, &s, NULL, &c, (struct ask){ methods[i], "/u/", "?List-Unsubscribe=One-Click", "", { 0 } }, &v4);
		assert_int_equal(h.status, 200);
		assert_int_equal(h.n, 0);
	}
	hit_render(&h, &out, date, false, true, false);
	assert_non_null(strstr(buf_cstr(&out), "<form method=\"post\">"));
	assert_non_null(strstr(buf_cstr(&out), "<html lang=\"en\" dir=\"ltr\">"));
	assert_non_null(strstr(buf_cstr(&out), "a&lt;b&gt;&amp;"));
	assert_null(strstr(buf_cstr(&out), "<script"));
	assert_null(strstr(buf_cstr(&out), "Cookie"));
	free_setup(&s);
	hit_free(&h);
	buf_free(&out);
}

static void
test_leave_from_everything(void **state)
{
	struct claim c = claim_of(TOKEN_LEAVE, MODE_IDENTIFIED, "");
	struct setup s;
	struct hit h;

	(void)state;
	hit_init(&h);
	make_setup(&s, "");
	ask(&h, &s, NULL, &c, (struct ask){ "POST", "/u/", "", URLENCODED, SPAN("List-Unsubscribe=One-Click") }, &v4);
	assert_int_equal(h.n, 1);
	assert_true(h.record[0].touch.stream == 0);

	hit_sorry(&h);
	assert_int_equal(h.status, 503);
	assert_true(span_search(h.head, SPAN("Retry-After: ")) < h.head.n);
	assert_int_equal(h.n, 1); /* still being written: untouched */
	free_setup(&s);
	hit_free(&h);
}

/* ---- the bytes of a response ---- */

static void
test_render(void **state)
{
	static const unsigned char gif[43] = {
		'G', 'I', 'F', '8', '9', 'a', 1, 0, 1, 0, 0x80, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21, 0xf9, 4, 1, 0, 0, 1, 0,
		0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 1, 0, 0x3b,
	};
	static const struct {
		const char *says;
		bool head, keep, http10;
		const char *connection;
	} cases[] = {
		{ "kept", false, true, false, NULL },
		{ "kept, HTTP/1.0", false, true, true, "keep-alive" },
		{ "closed", false, false, false, "close" },
		{ "closed, HTTP/1.0", false, false, true, "close" },
		{ "HEAD", true, true, false, NULL },
	};
	struct claim c = claim_of(TOKEN_OPEN, MODE_IDENTIFIED, "");
	struct buf out = BUF(65536);
	char date[HTTP_DATE_BYTES];
	struct setup s;
	struct hit h;

	(void)state;
	http_date(date, 784111777);
	hit_init(&h);
	make_setup(&s, "");
	ask(&h, &s, NULL, &c, (struct ask){ "GET", "/o/", ".gif", "User-Agent: x\r\n", { 0 } }, &v4);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct span all, body;
		size_t end;

		buf_clear(&out);
		hit_render(&h, &out, date, cases[i].head, cases[i].keep, cases[i].http10);
		all = buf_span(&out);
		end = span_search(all, SPAN("\r\n\r\n"));
		body = span_from(all, end + 4);
		all = span_cut(all, 0, end + 2);
		assert_true(span_starts(all, SPAN("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n")));
		assert_true(span_search(all, SPAN("\r\nContent-Length: 43\r\n")) < all.n);
		assert_true(span_search(all, SPAN("\r\nContent-Type: image/gif\r\n")) < all.n);
		assert_true(span_search(all, SPAN("\r\nCache-Control: no-store\r\n")) < all.n);
		if (cases[i].connection == NULL)
			assert_true(span_search(all, SPAN("Connection:")) == all.n);
		else if (span_search(all, span_of(cases[i].connection)) == all.n)
			fail_msg("%s", cases[i].says);
		if (cases[i].head)
			assert_int_equal(body.n, 0);
		else
			assert_true(span_eq(body, span_make(gif, sizeof gif)));
	}
	free_setup(&s);
	hit_free(&h);
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_heads_are_never_counted),
		cmocka_unit_test(test_consent_now),
		cmocka_unit_test(test_the_campaigns_stream_decides),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_a_token_of_one_kind_is_no_other),
		cmocka_unit_test(test_tracking_url_with_a_path),
		cmocka_unit_test(test_location),
		cmocka_unit_test(test_one_click),
		cmocka_unit_test(test_get_changes_nothing),
		cmocka_unit_test(test_leave_from_everything),
		cmocka_unit_test(test_render),
	};

	return cmocka_run_group_tests_name("hit", tests, NULL, NULL);
}
