/* test_leave.c -- what recipients say on our pages, and what is recorded of it. */
#include "tests/unit/unit.h"

#include "common/addr.h"
#include "common/fold.h"
#include "tracker/leave.h"

#define NOW INT64_C(1795348800123)
#define SECOND ((uint32_t)(NOW / 1000))
#define CAMPAIGN 0x1122334455667788

static const struct who somebody = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } };

struct bench {
	struct setup setup;
	struct store *store;
	char *dir;
	struct hit hit;
};

static void
bench_start(struct bench *b)
{
	struct buf why = BUF(65536);

	*b = (struct bench){ .dir = temp_make() };
	b->setup.keys = (struct keys){ .identity = { 7 }, .token = { { .id = 'A', .made = "2026-11-22", .bytes = { 9 } } }, .n = 1 };
	b->setup.conf = conf_parse(SPAN("tracking_url = https://t.example\nprivacy_profile = strict\n[stream weekly]\nstream_title = Wöchentlich & mehr\n"), "t", &why);
	assert_non_null(b->setup.conf);
	b->setup.sealer = sealer_new(&b->setup.keys);
	assert_true(setup_load_pages(&b->setup, &why));
	b->store = store_open(&(struct store_options){ .dir = b->dir, .create = true, .facts_size = 16 << 20, .state_size = 16 << 20 }, &why);
	assert_non_null(b->store);
	hit_init(&b->hit);
	buf_free(&why);
}

static void
bench_stop(struct bench *b)
{
	hit_free(&b->hit);
	store_close(b->store);
	temp_remove(b->dir);
	pages_free(b->setup.pages);
	conf_free(b->setup.conf);
	sealer_free(b->setup.sealer);
}

static void
ask(struct bench *b, enum http_method method, enum token_kind kind, const char *stream, const char *body, const char *languages)
{
	struct claim claim = { .kind = kind, .mode = MODE_IDENTIFIED, .campaign = CAMPAIGN, .who = somebody,
		.when = 1795000000, .text = span_of(stream) };
	struct http_request r = { .method = method, .accept_language = span_of(languages) };
	struct peer peer = { { 0 } };
	struct buf path = BUF(8192);

	buf_addf(&path, "/%c/", kind);
	assert_true(token_seal(b->setup.sealer, &claim, &path));
	r.path = buf_span(&path);
	hit_take(&b->hit, &b->setup, b->store, &r, span_of(body), &peer, NOW);
	memset(path.p, '#', path.n); /* nothing may point into the request */
	buf_free(&path);
}

static bool
shows(const struct bench *b, const char *text)
{
	return span_search(b->hit.body, span_of(text)) < b->hit.body.n;
}

/* ---- choices ---- */

struct said {
	enum touch_kind kind;
	bool stream; /* of the token's; else everything */
	int at;      /* seconds from now */
};

static const struct {
	const char *what;
	struct said before[2];
	enum token_kind token;
	const char *stream, *body;
	unsigned status;
	struct said want[HIT_RECORDS];
	const char *title; /* of the page */
} rows[] = {
	{ "one-click", { { 0 } }, 'u', "news", "List-Unsubscribe=One-Click", 200, { { TOUCH_LEFT, true, 0 } }, "You are unsubscribed" },
	{ "one-click of a token without a stream", { { 0 } }, 'u', "", "List-Unsubscribe=One-Click", 200,
	    { { TOUCH_LEFT, false, 0 } }, "unsubscribed from everything" },
	{ "one-click on the other page", { { 0 } }, 'p', "news", "List-Unsubscribe=One-Click", 200, { { TOUCH_LEFT, true, 0 } },
	    "You are unsubscribed" },
	{ "one-click wins over a choice", { { 0 } }, 'u', "news", "choice=keep&List-Unsubscribe=One-Click", 200,
	    { { TOUCH_LEFT, true, 0 } }, "You are unsubscribed" },
	{ "stop", { { 0 } }, 'p', "news", "choice=stop", 200, { { TOUCH_LEFT, true, 0 } }, "You are unsubscribed" },
	{ "stop all", { { 0 } }, 'u', "news", "choice=stop-all", 200, { { TOUCH_LEFT, false, 0 } }, "unsubscribed from everything" },
	{ "keep", { { 0 } }, 'p', "news", "choice=keep", 200, { { TOUCH_KEPT, true, 0 } }, "You stay subscribed" },
	{ "keep without a stream", { { 0 } }, 'p', "", "choice=keep", 200, { { TOUCH_KEPT, false, 0 } }, "You stay subscribed" },
	{ "less", { { 0 } }, 'p', "news", "choice=less", 200, { { TOUCH_LESS, true, 0 } }, "less often" },
	{ "less of nothing in particular", { { 0 } }, 'p', "", "choice=less", 400, { { 0 } }, "Expected choice=keep" },
	{ "undo", { { TOUCH_LEFT, true, -60 } }, 'u', "news", "choice=undo", 200, { { TOUCH_JOINED, true, 0 } }, "subscribed again" },
	{ "undo all", { { TOUCH_LEFT, false, -60 } }, 'u', "news", "choice=undo-all", 200,
	    { { TOUCH_JOINED, false, 0 } }, "subscribed again" },
	{ "undo all, and the stream was left long before", { { TOUCH_LEFT, true, -86400 }, { TOUCH_LEFT, false, -60 } }, 'u', "news",
	    "choice=undo-all", 200, { { TOUCH_JOINED, false, 0 } }, "You are unsubscribed" },
	{ "undo without a stream", { { TOUCH_LEFT, false, -60 } }, 'u', "", "choice=undo-all", 200, { { TOUCH_JOINED, false, 0 } },
	    "subscribed again" },

	/* The stop wins at the same second, so what lifts it has to come behind it. */
	{ "undo at the same second", { { TOUCH_LEFT, true, 0 } }, 'u', "news", "choice=undo", 200, { { TOUCH_JOINED, true, 1 } },
	    "subscribed again" },
	{ "undo of what is not summed up yet", { { 0 } }, 'u', "news", "choice=undo&after=1795348800", 200,
	    { { TOUCH_JOINED, true, 1 } }, "subscribed again" },
	{ "keep at the second of a stop", { { TOUCH_LEFT, true, 0 } }, 'p', "news", "choice=keep", 200, { { TOUCH_KEPT, true, 1 } },
	    "You stay subscribed" },
	{ "keep at the second of a less", { { TOUCH_LESS, true, 0 } }, 'p', "news", "choice=keep", 200, { { TOUCH_KEPT, true, 1 } },
	    "You stay subscribed" },
	{ "stop behind an undo that was put off", { { 0 } }, 'u', "news", "choice=stop&after=1795348801", 200,
	    { { TOUCH_LEFT, true, 1 } }, "You are unsubscribed" },
	{ "stop when the clock has jumped back", { { TOUCH_JOINED, true, 3600 } }, 'u', "news", "List-Unsubscribe=One-Click", 200,
	    { { TOUCH_LEFT, true, 3600 } }, "You are unsubscribed" },
	{ "stop all when it has", { { TOUCH_RELEASED, false, 3600 } }, 'u', "news", "choice=stop-all", 200,
	    { { TOUCH_LEFT, false, 3600 } }, "unsubscribed from everything" },
	{ "five seconds ahead are believed", { { 0 } }, 'u', "news", "choice=stop&after=1795348805", 200, { { TOUCH_LEFT, true, 5 } },
	    "You are unsubscribed" },
	{ "six are not", { { 0 } }, 'u', "news", "choice=stop&after=1795348806", 200, { { TOUCH_LEFT, true, 0 } },
	    "You are unsubscribed" },
	{ "nor is nonsense", { { 0 } }, 'u', "news", "choice=undo&after=99999999999999999999", 200, { { TOUCH_JOINED, true, 0 } },
	    "subscribed again" },

	/* What stands for everything would make the page a lie. */
	{ "keep after stop all", { { TOUCH_LEFT, false, -60 } }, 'p', "news", "choice=keep", 200,
	    { { TOUCH_KEPT, true, 0 }, { TOUCH_JOINED, false, 0 } }, "You stay subscribed" },
	{ "less after stop all", { { TOUCH_LEFT, false, -60 } }, 'p', "news", "choice=less", 200,
	    { { TOUCH_LESS, true, 0 }, { TOUCH_JOINED, false, 0 } }, "less often" },
	{ "undo after stop and stop all", { { TOUCH_LEFT, true, -60 }, { TOUCH_LEFT, false, -30 } }, 'u', "news", "choice=undo", 200,
	    { { TOUCH_JOINED, true, 0 }, { TOUCH_JOINED, false, 0 } }, "subscribed again" },
	{ "keep after stop all and release", { { TOUCH_LEFT, false, -60 }, { TOUCH_RELEASED, false, -50 } }, 'p', "news",
	    "choice=keep", 200, { { TOUCH_KEPT, true, 0 } }, "You stay subscribed" },
	{ "a complaint is not lifted by a link", { { TOUCH_COMPLAINED, false, -60 } }, 'p', "news", "choice=keep", 200, { { 0 } },
	    "unsubscribed from everything" },
	{ "nor a bounce", { { TOUCH_BOUNCED, false, -60 } }, 'u', "news", "choice=undo-all", 200, { { 0 } },
	    "unsubscribed from everything" },
	{ "nor what was held by hand", { { TOUCH_HELD, false, -60 } }, 'p', "news", "choice=less", 200, { { 0 } },
	    "unsubscribed from everything" },
	{ "but who complained can still stop", { { TOUCH_COMPLAINED, false, -60 } }, 'u', "news", "choice=stop", 200,
	    { { TOUCH_LEFT, true, 0 } }, "You are unsubscribed" },

	{ "no such choice", { { 0 } }, 'p', "news", "choice=stopp", 400, { { 0 } }, "Expected choice=keep" },
	{ "a choice in capitals is none", { { 0 } }, 'p', "news", "choice=STOP", 400, { { 0 } }, "Expected choice=keep" },
	{ "no choice", { { 0 } }, 'p', "news", "x=y", 400, { { 0 } }, "Expected choice=keep" },
	{ "an empty form", { { 0 } }, 'u', "news", "", 400, { { 0 } }, "Expected List-Unsubscribe=One-Click" },
	{ "a long one", { { 0 } }, 'u', "news", "choice=stopstopstopstopstop", 400, { { 0 } }, "Expected List-Unsubscribe=One-Click" },
};

static void
seed(struct bench *b, const struct said *said, const char *stream)
{
	for (size_t i = 0; i < 2 && said[i].kind != 0; i++) {
		struct record r = { .touch = { .kind = (uint8_t)said[i].kind, .mode = MODE_IDENTIFIED, .who = somebody,
			.when = NOW + said[i].at * 1000 } };

		if (said[i].stream)
			r.touch.stream = stream_id(&b->setup.keys, span_of(stream));
		assert_int_equal(store_append(b->store, &r, 1, NULL), STORE_OK);
	}
	assert_int_equal(fold_all(b->store), STORE_OK);
}

static void
test_choices(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct said *want = rows[i].want;
		struct bench b;
		size_t n = 0;

		bench_start(&b);
		seed(&b, rows[i].before, rows[i].stream);
		ask(&b, HTTP_POST, rows[i].token, rows[i].stream, rows[i].body, "");
		while (n < HIT_RECORDS && want[n].kind != 0)
			n++;
		if (b.hit.status != rows[i].status || b.hit.n != n)
			fail_msg("%s: %u, %zu touches", rows[i].what, b.hit.status, b.hit.n);
		for (size_t k = 0; k < n; k++) {
			const struct touch *t = &b.hit.record[k].touch;
			uint64_t stream = want[k].stream ? stream_id(&b.setup.keys, span_of(rows[i].stream)) : 0;

			assert_row(rows[i].what, t->kind == want[k].kind && t->stream == stream && t->mode == MODE_IDENTIFIED);
			assert_row(rows[i].what, touch_seconds(t) == SECOND + (uint32_t)want[k].at);
			assert_row(rows[i].what, who_eq(&t->who, &somebody) && t->campaign == CAMPAIGN && t->sent == 1795000000);
			assert_span(rows[i].what, b.hit.record[k].stream, span_of(want[k].stream ? rows[i].stream : ""));
			assert_span(rows[i].what, b.hit.record[k].source,
			    span_of(strstr(rows[i].body, "One-Click") != NULL ? "one-click" : "page"));
		}
		/* A 200 with something to record is a promise; and no redirect, whatever it is. */
		assert_row(rows[i].what, b.hit.must_last == (n > 0) && b.hit.location.n == 0);
		assert_row(rows[i].what, (b.hit.kind == HIT_LEAVE) == (n > 0 && want[0].kind == TOUCH_LEFT));
		assert_row(rows[i].what, shows(&b, rows[i].title));
		/* What was recorded and what stands agree with what the page said. */
		if (n > 0) {
			struct subscription sub;
			struct profile p;
			bool known, subscribed, stopped;

			assert_int_equal(store_append(b.store, b.hit.record, n, NULL), STORE_OK);
			fold_all(b.store);
			store_person(b.store, &somebody, stream_id(&b.setup.keys, span_of(rows[i].stream)), &p, &known, &sub, &subscribed);
			stopped = engage_cause(&p, &sub, &(struct finding){ .class = ENGAGE_NEW }, INT64_MAX) != CAUSE_NONE;
			assert_row(rows[i].what, stopped == (strstr(rows[i].title, "unsubscribed") != NULL));
		}
		bench_stop(&b);
	}
}

/* ---- pages ---- */

static void
test_get_and_head_change_nothing(void **state)
{
	static const enum http_method methods[] = { HTTP_GET, HTTP_HEAD };
	struct bench b;

	(void)state;
	bench_start(&b);
	for (size_t i = 0; i < COUNT(methods); i++) {
		ask(&b, methods[i], TOKEN_LEAVE, "news", "List-Unsubscribe=One-Click", "");
		assert_int_equal(b.hit.status, 200);
		assert_int_equal(b.hit.n, 0);
		assert_true(shows(&b, "value=\"One-Click\""));
		assert_true(shows(&b, "value=\"stop-all\""));
		assert_true(shows(&b, "href=\"../p/A"));
		ask(&b, methods[i], TOKEN_PREFERENCES, "news", "choice=stop", "");
		assert_int_equal(b.hit.status, 200);
		assert_int_equal(b.hit.n, 0);
		assert_true(shows(&b, "value=\"keep\"") && shows(&b, "value=\"less\"") && shows(&b, "value=\"stop\""));
	}
	ask(&b, HTTP_GET, TOKEN_LEAVE, "", "", ""); /* then one button is for everything */
	assert_false(shows(&b, "value=\"stop-all\""));
	ask(&b, HTTP_GET, TOKEN_PREFERENCES, "", "", "");
	assert_false(shows(&b, "value=\"less\"") || shows(&b, "value=\"stop\""));
	ask(&b, HTTP_GET, TOKEN_LEAVE, "a<b>&\"c", "", "");
	assert_true(shows(&b, "a&lt;b&gt;&amp;&quot;c"));
	assert_false(shows(&b, "<b>"));
	ask(&b, HTTP_GET, TOKEN_LEAVE, "weekly", "", "");
	assert_true(shows(&b, "<strong>Wöchentlich &amp; mehr</strong>"));
	bench_stop(&b);
}

/* The link on the one page is a token of the other, for the same recipient and stream. */
static void
test_the_link_to_the_preferences(void **state)
{
	struct buf text = BUF(TOKEN_MAX);
	struct claim claim;
	struct span link;
	struct bench b;

	(void)state;
	bench_start(&b);
	ask(&b, HTTP_GET, TOKEN_LEAVE, "news", "", "");
	link = span_from(b.hit.body, span_search(b.hit.body, SPAN("../p/")) + 5);
	link = span_cut(link, 0, span_find(link, '"'));
	assert_false(token_open(b.setup.sealer, TOKEN_LEAVE, link, &claim, &text));
	assert_true(token_open(b.setup.sealer, TOKEN_PREFERENCES, link, &claim, &text));
	assert_true(who_eq(&claim.who, &somebody) && claim.campaign == CAMPAIGN);
	assert_span("stream", claim.text, SPAN("news"));
	buf_free(&text);
	bench_stop(&b);
}

static void
test_languages(void **state)
{
	static const struct {
		const char *accept, *lang, *header, *sorry;
	} languages[] = {
		{ "", "<html lang=\"en\"", "Content-Language: en\r\n", "Please try again" },
		{ "fr", "<html lang=\"en\"", "Content-Language: en\r\n", "Please try again" },
		{ "de-AT,en;q=0.5", "<html lang=\"de\"", "Content-Language: de\r\n", "noch einmal" },
		{ "mk", "<html lang=\"mk\"", "Content-Language: mk\r\n", "Обидете се повторно" },
		{ "zh-CN", "<html lang=\"zh\"", "Content-Language: zh\r\n", "请再试一次" },
	};
	struct bench b;

	(void)state;
	bench_start(&b);
	for (size_t i = 0; i < COUNT(languages); i++) {
		ask(&b, HTTP_POST, TOKEN_LEAVE, "news", "choice=stop", languages[i].accept);
		assert_row(languages[i].accept, shows(&b, languages[i].lang));
		assert_false(shows(&b, "<title>\n") || shows(&b, "\n</title>"));
		assert_row(languages[i].accept, span_search(b.hit.head, span_of(languages[i].header)) < b.hit.head.n);
		assert_row(languages[i].accept, span_search(b.hit.head, SPAN("Vary: Accept-Language\r\n")) < b.hit.head.n);
		assert_row(languages[i].accept, span_search(b.hit.head, SPAN("Retry-After")) == b.hit.head.n);
		/* What is said when it could not be recorded is in the same language. */
		hit_sorry(&b.hit);
		assert_int_equal(b.hit.status, 503);
		assert_row(languages[i].accept, shows(&b, languages[i].lang) && shows(&b, languages[i].sorry));
		assert_row(languages[i].accept, span_search(b.hit.head, SPAN("Retry-After: ")) < b.hit.head.n);
		assert_int_equal(b.hit.n, 1); /* still being written: untouched */
	}
	bench_stop(&b);
}

static void
test_tokens_of_other_kinds(void **state)
{
	static const enum token_kind kinds[] = { TOKEN_OPEN, TOKEN_CLICK, TOKEN_MARK, TOKEN_FEEDBACK };
	struct peer peer = { { 0 } };
	struct bench b;

	(void)state;
	bench_start(&b);
	for (size_t i = 0; i < COUNT(kinds); i++) {
		for (int k = 0; k < 2; k++) {
			struct claim claim = { .kind = kinds[i], .mode = MODE_IDENTIFIED, .campaign = CAMPAIGN, .who = somebody };
			struct http_request r = { .method = HTTP_POST };
			struct buf path = BUF(8192);

			buf_adds(&path, k == 0 ? "/u/" : "/p/");
			assert_true(token_seal(b.setup.sealer, &claim, &path));
			r.path = buf_span(&path);
			hit_take(&b.hit, &b.setup, b.store, &r, SPAN("List-Unsubscribe=One-Click"), &peer, NOW);
			assert_int_equal(b.hit.status, 404);
			assert_int_equal(b.hit.n, 0);
			buf_free(&path);
		}
	}
	bench_stop(&b);
}

/* ---- a stopped campaign ---- */

static void
visit(struct bench *b, enum token_kind kind, enum mode mode, const char *text)
{
	struct claim claim = { .kind = kind, .mode = mode, .campaign = CAMPAIGN, .link = kind == TOKEN_CLICK, .text = span_of(text) };
	struct http_request r = { .method = HTTP_GET, .accept_language = SPAN("de") };
	struct peer peer = { { 0 } };
	struct buf path = BUF(8192);

	if (mode != MODE_ANONYMOUS)
		claim.who = somebody;
	buf_addf(&path, "/%c/", kind);
	assert_true(token_seal(b->setup.sealer, &claim, &path));
	if (kind == TOKEN_OPEN)
		buf_adds(&path, ".gif");
	r.path = buf_span(&path);
	hit_take(&b->hit, &b->setup, b->store, &r, (struct span){ 0 }, &peer, NOW);
	buf_free(&path);
}

static void
test_a_stopped_campaign(void **state)
{
	struct bench b;

	(void)state;
	bench_start(&b);
	visit(&b, TOKEN_CLICK, MODE_FULL, "https://shop.example/");
	assert_int_equal(b.hit.status, 302);

	assert_int_equal(store_stop_campaign(b.store, CAMPAIGN, NOW), STORE_OK);
	for (int i = 0; i < 2; i++) {
		visit(&b, TOKEN_CLICK, i ? MODE_ANONYMOUS : MODE_FULL, "https://shop.example/");
		assert_int_equal(b.hit.status, 403);
		assert_int_equal(b.hit.location.n, 0);
		assert_int_equal(b.hit.n, 1); /* who ran into it is a fact all the same */
		assert_true(shows(&b, "abgeschaltet") && shows(&b, "<html lang=\"de\""));
		assert_false(shows(&b, "shop.example"));
	}
	visit(&b, TOKEN_OPEN, MODE_FULL, "");
	assert_int_equal(b.hit.status, 200);
	assert_true(span_starts(b.hit.body, SPAN("GIF89a")));
	ask(&b, HTTP_POST, TOKEN_LEAVE, "news", "List-Unsubscribe=One-Click", "");
	assert_int_equal(b.hit.status, 200);
	assert_int_equal(b.hit.n, 1);

	assert_int_equal(store_stop_campaign(b.store, CAMPAIGN, 0), STORE_OK);
	visit(&b, TOKEN_CLICK, MODE_FULL, "https://shop.example/");
	assert_int_equal(b.hit.status, 302);
	bench_stop(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_get_and_head_change_nothing),
		cmocka_unit_test(test_the_link_to_the_preferences),
		cmocka_unit_test(test_languages),
		cmocka_unit_test(test_tokens_of_other_kinds),
		cmocka_unit_test(test_a_stopped_campaign),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
