/* What the settings and the message's own wishes do to a message: settings as an administrator writes them. */
#include "tests/unit/tagging.h"
#include "tests/unit/unit.h"

#define HTML "Content-Type: text/html\n"
#define LINK "<a href=\"https://e.com/\">x</a>"

static const struct row {
	const char *name, *settings, *header, *body;
	const char *untouched, *out; /* NULL: tagged, and the same body */
} rows[] = {
	/* the visible URL */
	{ "a link whose text is a URL is skipped", "", HTML, "<a href=\"https://e.com/\">e.com</a>", NULL, "<a href=\"https://e.com/\">e.com</a>[PIXEL]" },
	{ "or tracked", "visible_url = track\n", HTML, "<a href=\"https://e.com/\">e.com</a>", NULL, "<a href=\"[https://e.com/]\">e.com</a>[PIXEL]" },

	/* exclusion lists */
	{ "a domain that is not tracked", "untracked_domains = e.com\n", HTML, LINK "<a href=\"https://a.e.com/\">x</a><a href=\"https://f.com/\">x</a>", NULL,
	    LINK "<a href=\"https://a.e.com/\">x</a><a href=\"[https://f.com/]\">x</a>[PIXEL]" },
	{ "URLs that are not tracked", "untracked_urls = e.com/account/* *.pdf\n", HTML,
	    "<a href=\"https://e.com/account/7\">x</a><a href=\"https://e.com/a.pdf\">x</a><a href=\"https://e.com/a.pdfx\">x</a>", NULL,
	    "<a href=\"https://e.com/account/7\">x</a><a href=\"https://e.com/a.pdf\">x</a><a href=\"[https://e.com/a.pdfx]\">x</a>[PIXEL]" },
	{ "a placeholder among them is a text like others", "untracked_urls = https://{unsubscribe_url}\n", HTML, "<a href=\"https://{unsubscribe_url}\">x</a>" LINK, NULL,
	    "<a href=\"https://{unsubscribe_url}\">x</a><a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "decoded before it is compared", "untracked_urls = e.com/?a&b\n", HTML, "<a href='https://e.com/?a&amp;b'>x</a><a href='https://e.com/?a&amp;amp;b'>x</a>", NULL,
	    "<a href='https://e.com/?a&amp;b'>x</a><a href='[https://e.com/?a&amp;b]'>x</a>[PIXEL]" },

	/* parameters */
	{ "parameters are added", "url_parameters = utm_source=news letter, utm_medium=email\n", HTML, LINK, NULL,
	    "<a href=\"[https://e.com/?utm_source=news%20letter&utm_medium=email]\">x</a>[PIXEL]" },
	{ "existing ones are kept, missing ones added", "url_parameters = utm_source=new, utm_medium=email\n", HTML,
	    "<a href=\"https://e.com/?utm_source=existing#top\">x</a>", NULL, "<a href=\"[https://e.com/?utm_source=existing&utm_medium=email#top]\">x</a>[PIXEL]" },
	{ "with what they stand for", "url_parameters = c={campaign}, s={stream}-{date}\n", HTML, LINK, NULL,
	    "<a href=\"[https://e.com/?c=Spring%20Sale&s=default-2025-11-24]\">x</a>[PIXEL]" },
	{ "only in some domains", "url_parameters = a=b\nurl_parameters_domains = f.com\n", HTML, LINK "<a href=\"https://www.f.com/\">x</a>", NULL,
	    "<a href=\"[https://e.com/]\">x</a><a href=\"[https://www.f.com/?a=b]\">x</a>[PIXEL]" },
	{ "not to links that are not tracked", "url_parameters = a=b\nuntracked_domains = e.com\n", HTML, LINK, NULL, LINK "[PIXEL]" },
	{ "a URL that is an entity away", "url_parameters = a=b\n", HTML, "<a href='https://e.com/?x=1&amp;y=2'>x</a>", NULL,
	    "<a href='[https://e.com/?x=1&y=2&a=b]'>x</a>[PIXEL]" },
	{ "arrays keep their brackets", "url_parameters = utm_source=a\n", HTML, "<a href='https://e.com/?baz[]=1&amp;baz[]=2'>x</a>", NULL,
	    "<a href='[https://e.com/?baz[]=1&baz[]=2&utm_source=a]'>x</a>[PIXEL]" },
	{ "what is there stays to the byte", "url_parameters = p=1\n", HTML, "<a href='http://u:p@e.com:8080/%7e/a b?c d=%2F&amp;&amp;#f?g'>x</a>", NULL,
	    "<a href='[http://u:p@e.com:8080/%7e/a b?c d=%2F&&p=1#f?g]'>x</a>[PIXEL]" },
	{ "in a button for Outlook too", "url_parameters = a=b\n", HTML, "<!--[if mso]><v:rect href='https://e.com/#x'>x</v:rect><![endif]-->", NULL,
	    "<!--[if mso]><v:rect href='[https://e.com/?a=b#x]'>x</v:rect><![endif]-->[PIXEL]" },

	/* the message's own wish */
	{ "no", "", "X-Rekindle-Track: no\n" HTML, LINK, "tracking is off", NULL },
	{ "yes", "", "X-Rekindle-Track: YES \n" HTML, LINK, NULL, "<a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "opens alone", "", "x-rekindle-track: opens\n" HTML, LINK, NULL, LINK "[PIXEL]" },
	{ "links alone", "", "X-Rekindle-Track: links\n" HTML, LINK, NULL, "<a href=\"[https://e.com/]\">x</a>" },
	{ "both, one after the other, is neither", "", "X-Rekindle-Track: links\nX-Rekindle-Track: opens\n" HTML, LINK, "tracking is off", NULL },
	{ "yes does not undo no", "", "X-Rekindle-Track: no\nX-Rekindle-Track: yes\n" HTML, LINK, "tracking is off", NULL },
	{ "what is malformed is no", "", "X-Rekindle-Track: maybe\n" HTML, LINK, "tracking is off", NULL },
	{ "and so is nothing", "", "X-Rekindle-Track:\n" HTML, LINK, "tracking is off", NULL },
	{ "only when asked, and not asked", "track = asked\n", HTML, LINK, "tracking is off", NULL },
	{ "only when asked, and asked", "track = asked\n", "X-Rekindle-Track: yes\n" HTML, LINK, NULL, "<a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "asking for more than the settings allow", "links = off\n", "X-Rekindle-Track: links\n" HTML, LINK, "tracking is off", NULL },
	{ "another header's name", "track_header = X-T\n", "X-T: opens\n" HTML, LINK, NULL, LINK "[PIXEL]" },

	/* signatures */
	{ "signed mail is left alone", "", "DKIM-Signature: v=1\n" HTML, LINK, "signed", NULL },
	{ "or tagged", "signed_mail = tag\n", "DKIM-Signature: v=1\nARC-Seal: x\n" HTML, LINK, NULL, "<a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "but never multipart/signed", "signed_mail = tag\n", "Content-Type: multipart/signed; boundary=b\n", "--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", "multipart/signed", NULL },

	/* the pixel */
	{ "a second pixel at the top", "top_pixel = yes\n", HTML, "<html><body class=x>" LINK "</body></html>", NULL,
	    "<html><body class=x>[PIXEL]<a href=\"[https://e.com/]\">x</a>[PIXEL]</body></html>" },
	{ "behind the first body tag alone", "top_pixel = yes\nlinks = off\n", HTML, "<!-- <body> --><body><body>x</body>", NULL, "<!-- <body> --><body>[PIXEL]<body>x[PIXEL]</body>" },
	{ "not where there is no body tag", "top_pixel = yes\nlinks = off\n", HTML, "<!doctype html><p>x", NULL, "<!doctype html><p>x[PIXEL]" },
	{ "not behind the other one", "top_pixel = yes\nlinks = off\n", HTML, "x</body><body>y", NULL, "x[PIXEL]</body><body>y" },
	{ "not without opens", "top_pixel = yes\nopens = off\n", HTML, "<body>" LINK "</body>", NULL, "<body><a href=\"[https://e.com/]\">x</a></body>" },
	{ "both in the first of two HTML parts alone", "top_pixel = yes\nlinks = off\n", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\n" HTML "\n<body>x</body>\n--b\n" HTML "\n<body>y</body>\n--b--\n", NULL,
	    "--b\n" HTML "\n<body>[PIXEL]x[PIXEL]</body>\n--b\n" HTML "\n<body>y</body>\n--b--\n" },

	/* the link that nobody sees */
	{ "a hidden link", "honeypot = on\n", HTML, "<body>" LINK "</body>", NULL,
	    "<body><a href=\"[https://e.com/]\">x</a><a href=\"[https://e.com/]\" tabindex=\"-1\" aria-hidden=\"true\"></a>[PIXEL]</body>" },
	{ "without the pixel too", "honeypot = on\nopens = off\n", HTML, LINK, NULL,
	    "<a href=\"[https://e.com/]\">x</a><a href=\"[https://e.com/]\" tabindex=\"-1\" aria-hidden=\"true\"></a>" },
	{ "none where there is no link", "honeypot = on\n", HTML, "<p>x", NULL, "<p>x[PIXEL]" },
	{ "none without links", "honeypot = on\nlinks = off\n", HTML, LINK, NULL, LINK "[PIXEL]" },
	{ "none where nobody is told apart", "honeypot = on\nlinks = anonymous\n", HTML, LINK, NULL, "<a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "in the first of two HTML parts alone", "honeypot = on\nopens = off\n", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\n" HTML "\n" LINK "\n--b\n" HTML "\n" LINK "\n--b--\n", NULL,
	    "--b\n" HTML "\n<a href=\"[https://e.com/]\">x</a><a href=\"[https://e.com/]\" tabindex=\"-1\" aria-hidden=\"true\"></a>\n--b\n" HTML
	    "\n<a href=\"[https://e.com/]\">x</a>\n--b--\n" },

	/* the recipient's own pages; the text of their tokens is the stream */
	{ "places for the recipient's own pages", "", HTML,
	    "<a href=\"https://rekindle.invalid/keep\">Keep me</a><A HREF='HTTP://Rekindle.Invalid/Stop/?utm_source=x'>No</A>" LINK, NULL,
	    "<a href=\"[default]\">Keep me</a><A HREF='[default]'>No</A><a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "of a stream by name", "", HTML, "<a href=\"https://rekindle.invalid/less/other.1\">x</a><a href=\"https://rekindle.invalid/less/none\">x</a>" LINK
	    "\n", NULL, "<a href=\"[other.1]\">x</a><a href=\"https://rekindle.invalid/less/none\">x</a><a href=\"[https://e.com/]\">x</a>[PIXEL]\n" },
	{ "in a button for Outlook, and where an opt-out stands", "", HTML,
	    "<!--[if mso]><v:rect href='https://rekindle.invalid/less'>x</v:rect><![endif]--><a href=https://rekindle.invalid/preferences clicktracking=off>x</a>",
	    NULL, "<!--[if mso]><v:rect href='[default]'>x</v:rect><![endif]--><a href=[default]>x</a>[PIXEL]" },
	{ "whatever is tracked", "opens = off\nlinks = off\n", HTML, "<a href=\"https://rekindle.invalid/unsubscribe\" data-skip-click>x</a>" LINK, NULL,
	    "<a href=\"[default]\" data-skip-click>x</a>" LINK },
	{ "where nothing is tracked and no such place is", "opens = off\nlinks = off\n", HTML, LINK, "tracking is off", NULL },
	{ "other words are links like others", "", HTML, "<a href=\"https://rekindle.invalid/keep-me\">x</a><a href=\"https://rekindle.invalid.e.com/keep\">x</a>",
	    NULL, "<a href=\"[https://rekindle.invalid/keep-me]\">x</a><a href=\"[https://rekindle.invalid.e.com/keep]\">x</a>[PIXEL]" },
	{ "in text too", "text_links = yes\nlinks = off\n", "Content-Type: text/plain\n", "Keep me: https://rekindle.invalid/keep.\nhttps://e.com/\n", NULL,
	    "Keep me: [default].\nhttps://e.com/\n" },
	{ "in text that is not looked at", "", "Content-Type: text/plain\n", "https://rekindle.invalid/keep\n", "no text/html part", NULL },

	/* text/plain */
	{ "text is not touched", "", "Content-Type: text/plain\n", "See https://e.com/.\n", "no text/html part", NULL },
	{ "unless asked for", "text_links = yes\n", "Content-Type: text/plain\n", "See https://e.com/.\n", NULL, "See [https://e.com/].\n" },
	{ "without a Content-Type too", "text_links = yes\n", "Subject: x\n", "See https://e.com/.\n", NULL, "See [https://e.com/].\n" },
	{ "the same rules hold", "text_links = yes\nuntracked_domains = f.com\nurl_parameters = a=b\n", "List-Unsubscribe: <https://e.com/leave>\n",
	    "https://e.com/leave https://f.com/ https://e.com/{x}/ {x|https://e.com/} https://e.com/", NULL,
	    "https://e.com/leave https://f.com/ https://e.com/{x}/ {x|https://e.com/} [https://e.com/?a=b]" },
	{ "no links without links", "text_links = yes\nlinks = off\n", "Content-Type: text/plain\n", "https://e.com/", "no text/html part", NULL },
	{ "both parts of an alternative", "text_links = yes\n", "Content-Type: multipart/alternative; boundary=b\n",
	    "--b\n\nhttps://e.com/\n--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", NULL,
	    "--b\n\n[https://e.com/]\n--b\nContent-Type: text/html\n\n<a href=\"[https://e.com/]\">x</a>[PIXEL]\n--b--\n" },
	{ "not in an attachment", "text_links = yes\n", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\nContent-Type: text/plain\nContent-Disposition: attachment\n\nhttps://e.com/\n--b--\n", "no text/html part", NULL },
	{ "not in PGP", "text_links = yes\n", "Content-Type: text/plain\n", "-----BEGIN PGP MESSAGE-----\nhttps://e.com/\n", "inline PGP", NULL },
	{ "the same URL again and again, at both ends of a line and behind text", "text_links = yes\n", "Subject: x\n", "https://e.com/ x https://e.com/\nx https://e.com/.\nhttps://e.com/", NULL,
	    "[https://e.com/] x [https://e.com/]\nx [https://e.com/].\n[https://e.com/]" },
	{ "the same URL, and longer ones", "text_links = yes\n", "Subject: x\n", "http://g.com/ http://g.com/t.html http://g.com/b.cgi?f=t http://g.com/\n", NULL,
	    "[http://g.com/] [http://g.com/t.html] [http://g.com/b.cgi?f=t] [http://g.com/]\n" },
	{ "in brackets and quotes, before punctuation", "text_links = yes\n", "Subject: x\n", "[http://g.com/], (http://g.com/a) {http://g.com} <http://g.com/> 'http://g.com/'; \"http://g.com/\"! http://g.com/?a_b#c_d?", NULL,
	    "[[http://g.com/]], ([http://g.com/a]) {[http://g.com]} <[http://g.com/]> '[http://g.com/]'; \"[http://g.com/]\"! [http://g.com/?a_b#c_d]?" },
	{ "no calendar and no HTML in an attachment", "text_links = yes\n", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\n\nhttps://e.com/\n--b\nContent-Type: text/calendar\n\nURL:https://e.com/\n--b\nContent-Type: text/csv\n\nhttps://e.com/\n--b--\n", NULL,
	    "--b\n\n[https://e.com/]\n--b\nContent-Type: text/calendar\n\nURL:https://e.com/\n--b\nContent-Type: text/csv\n\nhttps://e.com/\n--b--\n" },
	{ "letters beyond ASCII in a UTF-8 text", "text_links = yes\n", "Content-Type: text/plain; charset=utf-8\n", "https://e.com/caf\xc3\xa9 http://\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.\xd1\x80\xd1\x84/", NULL,
	    "[https://e.com/caf\xc3\xa9] [http://\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.\xd1\x80\xd1\x84/]" },
	{ "a letter of another charset behind a URL: nobody can say where it ends", "text_links = yes\n", "Content-Type: text/plain; charset=iso-8859-1\n", "https://e.com/caf\xe9 https://e.com/ x", NULL,
	    "https://e.com/caf\xe9 [https://e.com/] x" },
	{ "an unknown charset of a text", "text_links = yes\n", "Content-Type: text/plain; charset=martian\n", "https://e.com/ x", "no text/html part", NULL },
	{ "a URL that goes on behind a flowed line", "text_links = yes\n", "Content-Type: text/plain; format=flowed; delsp=yes\n", "See https://e.com/a/ \npath now https://e.com/\n", NULL,
	    "See https://e.com/a/ \npath now [https://e.com/]\n" },
	{ "a charset that is not like ASCII stays", "text_links = yes\n", "Content-Type: text/plain; charset=iso-2022-jp\n", "\033$Bhttps://e.com/\033(B\n", "no text/html part", NULL },
};

static struct conf *
conf_of(const char *row, const char *settings)
{
	struct buf text = BUF(10000), errors = BUF(10000);
	struct conf *c;

	buf_addf(&text, "tracking_url = " TRACKING "\nprivacy_profile = classic\n%s%s[stream other.1]\nseries_stream = yes\n",
	    strstr(settings, "list_unsubscribe") ? "" : "list_unsubscribe = off\n", settings);
	c = conf_parse(buf_span(&text), "t", &errors);
	if (c == NULL)
		fail_msg("%s: %s", row, buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
	return c;
}

struct tagged {
	struct rig r;
	struct conf *conf;
	struct buf raw;
	struct header *header;
	struct message message;
	struct plan plan;
};

static void
tag(struct tagged *t, const char *name, const char *settings, const char *header, struct span body, bool explain)
{
	struct addressee to = { .who = { { 7 } } };

	*t = (struct tagged){ .raw = BUF(1 << 20), .conf = conf_of(name, settings) };
	rig_init(&t->r);
	t->r.tagging.conf = t->conf;
	t->r.tagging.stream = &t->conf->stream[0];
	to.opens = conf_mode(t->conf, t->r.tagging.stream, AXIS_OPENS, CONSENT_UNKNOWN);
	to.links = conf_mode(t->conf, t->r.tagging.stream, AXIS_LINKS, CONSENT_UNKNOWN);
	tagging_address(&t->r.tagging, &to, 1, false, 1764000000000);
	t->r.tagging.explain = explain;
	buf_addf(&t->raw, "%s\n", header);
	buf_add(&t->raw, body);
	assert_true(message_split(buf_span(&t->raw), &t->header, &t->message.nheaders, &t->message.body));
	t->message.header = t->header;
	message_tag(&t->message, &t->r.tagging, &t->plan);
}

static void
tagged_free(struct tagged *t)
{
	plan_free(&t->plan);
	conf_free(t->conf);
	rig_free(&t->r);
	free(t->header);
	buf_free(&t->raw);
}

static void
test_settings(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *row = &rows[i];
		struct buf readable = BUF(100000);
		struct tagged t;

		tag(&t, row->name, row->settings, row->header, span_of(row->body), false);
		if (t.plan.untouched != NULL && row->untouched == NULL)
			fail_msg("%s: untouched, %s", row->name, t.plan.untouched);
		assert_row(row->name, (t.plan.untouched == NULL) == (row->untouched == NULL));
		if (row->untouched != NULL)
			assert_span(row->name, span_of(t.plan.untouched), span_of(row->untouched));
		rig_readable(&t.r, t.plan.body_changed ? buf_span(&t.plan.body) : t.message.body, &readable);
		assert_span(row->name, buf_span(&readable), span_of(row->out ? row->out : row->body));
		buf_free(&readable);
		tagged_free(&t);
	}
}

/* Which page it is, and whose; and nobody's, where the message is for several. */
static void
test_own_pages(void **state)
{
	static const struct {
		const char *word;
		enum token_kind kind;
	} pages[] = {
		{ "keep", TOKEN_PREFERENCES }, { "less", TOKEN_PREFERENCES }, { "preferences", TOKEN_PREFERENCES },
		{ "stop", TOKEN_LEAVE }, { "unsubscribe", TOKEN_LEAVE },
	};
	static const struct who nobody;

	(void)state;
	for (size_t i = 0; i < 4 * COUNT(pages); i++) {
		const char *word = pages[i / 4].word;
		bool untracked = i % 4 == 3, several = i % 4 == 1 || untracked, series = i % 4 == 2;
		struct buf body = BUF(1000), text = BUF(1000);
		struct claim claim;
		struct tagged t;
		size_t n;

		buf_addf(&body, "<a href=\"https://rekindle.invalid/%s\">x</a>", word);
		tag(&t, word, "opens = off\nlinks = anonymous\n", HTML, buf_span(&body), false);
		if (several || series) {
			plan_free(&t.plan);
			t.r.tagging.who = several ? nobody : t.r.tagging.who;
			t.r.tagging.stream = &t.conf->stream[series];
			t.r.tagging.links = untracked ? MODE_OFF : t.r.tagging.links;
			message_tag(&t.message, &t.r.tagging, &t.plan);
		}
		if (several) {
			assert_false(t.plan.body_changed);
			assert_true(t.plan.warnings & WARN_OWN_PAGE);
		} else {
			assert_true(t.plan.body_changed);
			assert_int_equal(t.plan.warnings, 0);
			assert_int_equal(t.plan.edited_links + t.plan.nlinks, 0);
			assert_true(rig_url(&t.r, span_from(buf_span(&t.plan.body), strlen("<a href=\"")), &n, &claim, &text));
			assert_int_equal(claim.kind, pages[i / 4].kind);
			assert_memory_equal(&claim.who, &t.r.tagging.who, sizeof claim.who);
			assert_int_equal(claim.campaign, t.r.tagging.campaign);
			/* A series is about all mail. */
			assert_span(word, claim.text, series ? SPAN("") : SPAN("default"));
		}
		tagged_free(&t);
		buf_free(&body);
		buf_free(&text);
	}
}

/* Nobody is counted more closely than the strictest of those who share a body allows. */
static void
test_addressees(void **state)
{
#define ONE(opens, links) { { { 7 } }, opens, links }
	static const struct {
		const char *name, *settings;
		struct addressee to[3];
		size_t n;
		bool shared, somebody;
		enum mode opens, links;
	} cases[] = {
		{ "one", "", { ONE(MODE_FULL, MODE_IDENTIFIED) }, 1, false, true, MODE_FULL, MODE_IDENTIFIED },
		{ "one, and less is kept of all", "opens = dayonly\nlinks = off\n", { ONE(MODE_FULL, MODE_FULL) }, 1, false, true, MODE_DAYONLY, MODE_OFF },
		{ "one of several behind an alias", "", { ONE(MODE_FULL, MODE_IDENTIFIED) }, 1, true, false, MODE_ANONYMOUS, MODE_ANONYMOUS },
		{ "two", "", { ONE(MODE_FULL, MODE_FULL), ONE(MODE_FULL, MODE_FULL) }, 2, false, false, MODE_ANONYMOUS, MODE_ANONYMOUS },
		{ "the first says no to opens", "", { ONE(MODE_OFF, MODE_FULL), ONE(MODE_FULL, MODE_FULL) }, 2, false, false, MODE_OFF, MODE_ANONYMOUS },
		{ "the first says no to links", "", { ONE(MODE_FULL, MODE_OFF), ONE(MODE_FULL, MODE_FULL) }, 2, false, false, MODE_ANONYMOUS, MODE_OFF },
		{ "the last says no", "", { ONE(MODE_FULL, MODE_FULL), ONE(MODE_OFF, MODE_OFF) }, 2, false, false, MODE_OFF, MODE_OFF },
		{ "each of them to something else", "", { ONE(MODE_OFF, MODE_FULL), ONE(MODE_FULL, MODE_FULL), ONE(MODE_FULL, MODE_OFF) }, 3, false, false, MODE_OFF, MODE_OFF },
		{ "nobody is known", "", { { .opens = MODE_OFF } }, 0, false, false, MODE_ANONYMOUS, MODE_ANONYMOUS },
		{ "nobody is known, and nothing is kept of such", "opens = off\n", { { .opens = MODE_OFF } }, 0, false, false, MODE_OFF, MODE_ANONYMOUS },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct conf *conf = conf_of(cases[i].name, cases[i].settings);
		struct tagging t = { .conf = conf, .stream = &conf->stream[0] };

		tagging_address(&t, cases[i].to, cases[i].n, cases[i].shared, 1764000000000);
		assert_row(cases[i].name, t.opens == cases[i].opens && t.links == cases[i].links);
		assert_row(cases[i].name, who_is_nobody(&t.who) == !cases[i].somebody && t.when == (cases[i].somebody ? 1764000000 : 0));
		conf_free(conf);
	}
#undef ONE
}

/* ---- header fields ---- */

#define TOKEN "[default]" /* stands for any token of this text */

static const struct header_row {
	const char *name, *settings, *header, *added; /* fields in order, without the mark */
} header_rows[] = {
	{ "unsubscribing by URL", "list_unsubscribe = add\n", "", "List-Unsubscribe: <" TRACKING "/u/" TOKEN ">\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n" },
	{ "and by mail", "list_unsubscribe = add\nunsubscribe_mailto = u@e.com\n", "",
	    "List-Unsubscribe: <" TRACKING "/u/" TOKEN ">, <mailto:u@e.com?subject=unsubscribe%20" TOKEN ">\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n" },
	{ "not by mail alone", "unsubscribe_mailto = u@e.com\n", "", "" },
	{ "a Feedback-ID", "feedback_id = {campaign}:{stream}:{date}:sender\n", "", "Feedback-ID: Spring_Sale:default:2025-11-24:sender\n" },
	{ "the sender's own stays alone", "feedback_id = a:b\n", "feedback-id: x\n", "" },
	{ "an address for complaints", "cfbl_address = f@e.com\n", "", "CFBL-Address: f@e.com; report=arf\nCFBL-Feedback-ID: " TOKEN "\n" },
	{ "the sender's own address stays alone", "cfbl_address = f@e.com\n", "CFBL-Address: x\n", "" },
	{ "and so does its identifier", "cfbl_address = f@e.com\n", "CFBL-Feedback-ID: x\n", "CFBL-Address: f@e.com; report=arf\n" },
};

/* The fields that are added, our tokens as [text]. */
static void
describe(const struct tagged *t, struct buf *out)
{
	for (size_t i = 0; i < t->plan.nheaders; i++) {
		const struct header_edit *e = &t->plan.header[i];
		struct buf text = BUF(TOKEN_DESTINATION_MAX);
		struct claim c;

		if (e->change != HEADER_ADD || strcmp(e->name, "X-Rekindle-Id") == 0)
			continue;
		buf_addf(out, "%s: ", e->name);
		for (const char *v = e->value; *v; ) {
			size_t n = strspn(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

			if (n > 40 && token_open_any(t->r.sealer, span_make(v, n), &c, &text)) {
				assert_true(who_eq(&c.who, &t->r.tagging.who));
				assert_int_equal(c.kind, strcmp(e->name, "CFBL-Feedback-ID") == 0 ? TOKEN_FEEDBACK : TOKEN_LEAVE);
				buf_addf(out, "[%.*s]", SPAN_ARG(c.text));
				v += n;
			} else {
				buf_addc(out, *v++);
			}
		}
		buf_addc(out, '\n');
		buf_free(&text);
	}
}

static void
test_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(header_rows); i++) {
		const struct header_row *row = &header_rows[i];
		struct buf header = BUF(10000), out = BUF(10000);
		struct tagged t;

		buf_addf(&header, "%s" HTML, row->header);
		tag(&t, row->name, row->settings, buf_cstr(&header), SPAN(LINK), false);
		describe(&t, &out);
		assert_span(row->name, buf_span(&out), span_of(row->added));
		tagged_free(&t);
		buf_free(&header);
		buf_free(&out);
	}
}

/* Nothing that a message or a campaign's name says can begin a header line of its own. */
static void
test_no_header_is_injected(void **state)
{
	static const char evil[] = "a\r\nBcc: x@e.com\n\tb\0c\x7f:\xe2\x80\xa8";
	struct tagged t;
	unsigned identified = 0;

	(void)state;
	tag(&t, "injection", "feedback_id = {campaign}:x\ncfbl_address = f@e.com\nurl_parameters = utm_campaign={campaign}\n",
	    HTML, SPAN(LINK), false);
	plan_free(&t.plan);
	t.r.tagging.campaign_name = span_make(evil, sizeof evil - 1);
	message_tag(&t.message, &t.r.tagging, &t.plan);
	assert_null(t.plan.untouched);
	for (size_t i = 0; i < t.plan.nheaders; i++) {
		const struct header_edit *e = &t.plan.header[i];

		for (const char *p = e->value; *p; p++)
			assert_true(*p >= ' ' && *p <= '~');
		assert_true(strlen(e->name) + 2 + strlen(e->value) <= 998);
		identified += strcmp(e->name, "Feedback-ID") == 0 && strcmp(e->value, "a__Bcc__x_e.com__b_c___:x") == 0;
	}
	assert_int_equal(identified, 1);
	assert_span("destination", t.plan.link[0].destination,
	    SPAN("https://e.com/?utm_campaign=a%0D%0ABcc%3A%20x%40e.com%0A%09b%00c%7F%3A%E2%80%A8"));
	tagged_free(&t);
}

/* As long as a line of a header may be; one more, and it is not added. */
static void
test_longest_field(void **state)
{
	char name[998 - (sizeof "Feedback-ID: :x" - 1) + 1]; /* one more than fits */

	(void)state;
	memset(name, 'a', sizeof name);
	for (size_t over = 0; over < 2; over++) {
		size_t longest = 0;
		struct tagged t;

		tag(&t, "long", "feedback_id = {campaign}:x\n", HTML, SPAN(LINK), false);
		plan_free(&t.plan);
		t.r.tagging.campaign_name = span_make(name, sizeof name - 1 + over);
		message_tag(&t.message, &t.r.tagging, &t.plan);
		for (size_t i = 0; i < t.plan.nheaders; i++)
			if (strcmp(t.plan.header[i].name, "Feedback-ID") == 0)
				longest = strlen("Feedback-ID: ") + strlen(t.plan.header[i].value);
		assert_int_equal(longest, over ? 0 : 998);
		tagged_free(&t);
	}
}

/* ---- what else is in the header ---- */

/* A message, LF alone, and what comes out of it: our tokens as [text], fields of ours behind all others. */
static const struct whole_row {
	const char *name, *settings, *in, *out; /* NULL: the same */
} wholes[] = {
	{ "colons, long fields, folded ones and odd spelling stay", "",
	    "Received: from a.example (a.example [192.0.2.1])\n\tby b.example with ESMTPS id 4F:2X;\n  Sun, 22 Nov 2026 12:34:56 +0000\nSubject: Re: a: b: =?utf-8?q?caf=C3=A9?=  \nfrom:\"A: B\" <a@e.com>\nCc: a@e.com, b@e.com,\n c@e.com\nX-Empty:\nx-long: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\ncontent-TYPE: text/html\n\n" LINK "\n",
	    "Received: from a.example (a.example [192.0.2.1])\n\tby b.example with ESMTPS id 4F:2X;\n  Sun, 22 Nov 2026 12:34:56 +0000\nSubject: Re: a: b: =?utf-8?q?caf=C3=A9?=  \nfrom:\"A: B\" <a@e.com>\nCc: a@e.com, b@e.com,\n c@e.com\nX-Empty:\nx-long: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\ncontent-TYPE: text/html\nX-Rekindle-Id: [default]\n\n<a href=\"[https://e.com/]\">x</a>[PIXEL]\n" },
	{ "signatures stay, folded ones too, although they break", "signed_mail = tag\n",
	    "DKIM-Signature: v=1; a=rsa-sha256; d=e.com; s=x;\n\th=from:subject; bh=abc=;\n b=def==\nDKIM-Signature: v=1\nARC-Seal: i=1;\n cv=none\nSubject: x\n" HTML "\n" LINK,
	    "DKIM-Signature: v=1; a=rsa-sha256; d=e.com; s=x;\n\th=from:subject; bh=abc=;\n b=def==\nDKIM-Signature: v=1\nARC-Seal: i=1;\n cv=none\nSubject: x\n" HTML "X-Rekindle-Id: [default]\n\n<a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "or all of it stays", "", "DKIM-Signature: v=1;\n b=x\n" HTML "\n" LINK "\n", NULL },
	{ "control fields go with their folds, neighbours stay", "", "A: 1\nX-Rekindle-Campaign: x\n y\nB: 2\n z\nX-Rekindle-Track: yes\n" HTML "\n" LINK,
	    "A: 1\nB: 2\n z\n" HTML "X-Rekindle-Id: [default]\n\n<a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "a body that starts with blank lines", "", HTML "\n\n\n" LINK "\n", HTML "X-Rekindle-Id: [default]\n\n\n\n<a href=\"[https://e.com/]\">x</a>[PIXEL]\n" },
	{ "a body that looks like a header", "", HTML "\nTo: x\n\n" LINK, HTML "X-Rekindle-Id: [default]\n\nTo: x\n\n<a href=\"[https://e.com/]\">x</a>[PIXEL]" },
	{ "no blank line before the body", "", HTML "<p>" LINK "\n", HTML "X-Rekindle-Id: [default]\n\n<p><a href=\"[https://e.com/]\">x</a>[PIXEL]\n" },
	{ "no body", "", "A: 1\n" HTML, NULL },
	{ "no header at all", "", "hello\n\n" LINK "\n", NULL },
};

static void
with_line_ends(struct span in, const char *eol, struct buf *out)
{
	for (struct span line; span_split(&in, '\n', &line);) {
		buf_add(out, line);
		buf_adds(out, in.n > 0 || in.p[-1] == '\n' ? eol : "");
	}
}

/* Also the mark, which only a header has. */
static void
whole_readable(const struct rig *r, struct span s, struct buf *out)
{
	static const struct span mark = SPAN("X-Rekindle-Id: ");
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	size_t at = span_search(s, mark), n = 0;
	struct claim c;

	if (at < s.n) {
		struct span token = span_from(s, at + mark.n);

		buf_add(out, span_cut(s, 0, at + mark.n));
		while (n < token.n && token.p[n] != '\r' && token.p[n] != '\n')
			n++;
		assert_true(token_open(r->sealer, TOKEN_MARK, span_cut(token, 0, n), &c, &text));
		buf_addf(out, "[%.*s]", SPAN_ARG(c.text));
		s = span_from(token, n);
	}
	rig_readable(r, s, out);
	buf_free(&text);
}

/* Settings of one row, on a message as it is. */
static void
test_whole_messages(void **state)
{
	static const char *const eols[] = { "\n", "\r\n" };

	(void)state;
	for (size_t i = 0; i < COUNT(wholes) * COUNT(eols); i++) {
		const struct whole_row *row = &wholes[i / COUNT(eols)];
		const char *eol = eols[i % COUNT(eols)];
		struct buf in = BUF(10000), want = BUF(10000), out = BUF(10000), readable = BUF(10000);
		struct message m;
		struct header *h = NULL;
		struct tagged t;
		struct plan p = { 0 };

		tag(&t, row->name, row->settings, HTML, SPAN(LINK), false);
		with_line_ends(span_of(row->in), eol, &in);
		with_line_ends(span_of(row->out ? row->out : row->in), eol, &want);
		if (message_split(buf_span(&in), &h, &m.nheaders, &m.body)) {
			m.header = h;
			message_tag(&m, &t.r.tagging, &p);
		}
		message_apply(buf_span(&in), &p, &out);
		whole_readable(&t.r, buf_span(&out), &readable);
		assert_span(row->name, buf_span(&readable), buf_span(&want));
		plan_free(&p);
		free(h);
		tagged_free(&t);
		buf_free(&in);
		buf_free(&want);
		buf_free(&out);
		buf_free(&readable);
	}
}

/* ---- what is counted ---- */

static void
test_counts(void **state)
{
	static const struct {
		const char *name, *settings, *body;
		size_t different, places, skipped;
	} counts[] = {
		{ "one URL in a text", "text_links = yes\n", "--b\n\nHello world! http://github.com/atech/postal\n--b--\n", 1, 1, 0 },
		{ "one URL in both parts", "text_links = yes\n", "--b\n\nhttps://e.com/\n--b\n" HTML "\n" LINK "\n--b--\n", 1, 2, 0 },
		{ "an area and a link", "", "--b\n" HTML "\n<area href='https://e.com/'>" LINK "\n--b--\n", 1, 2, 0 },
		{ "what differs by a letter's case", "", "--b\n" HTML "\n<a href='https://e.com/a'>x</a><a href='https://e.com/A'>x</a><a href='https://E.com/a'>x</a>\n--b--\n", 3, 3, 0 },
		{ "a link that is skipped gets no token", "untracked_domains = f.com\n", "--b\n" HTML "\n" LINK "<a href='https://f.com/'>x</a><a href='https://e.com/{{x}}'>x</a>\n--b--\n", 1, 1, 2 },
		{ "mailto and fragments are no links of the web", "", "--b\n" HTML "\n" LINK "<a href='mailto:x@e.com'>x</a><a href='#x'>x</a><a href='/x'>x</a>\n--b--\n", 1, 1, 0 },
		{ "parameters make two URLs one", "url_parameters = a=b\n", "--b\n" HTML "\n" LINK "<a href='https://e.com/?a=b'>x</a>\n--b--\n", 1, 2, 0 },
		{ "tracking is off", "opens = off\nlinks = off\n", "--b\n" HTML "\n" LINK "\n--b--\n", 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(counts); i++) {
		struct tagged t;

		tag(&t, counts[i].name, counts[i].settings, "Content-Type: multipart/mixed; boundary=b\n", span_of(counts[i].body), false);
		assert_row(counts[i].name, t.plan.nlinks == counts[i].different);
		assert_row(counts[i].name, t.plan.edited_links == counts[i].places);
		assert_row(counts[i].name, t.plan.skipped_links == counts[i].skipped);
		tagged_free(&t);
	}
}

/*
 * A part that nobody can put back into its charset, once it is tagged, stays
 * as it was; and so does all that was counted in it, so that the next part is
 * as if it had been the first.
 */
static void
test_a_part_is_taken_back(void **state)
{
#define PARTS(first, second) "--b\nContent-Type: text/html; charset=utf-7\n\n" first "\n--b\n" HTML "\n" second "\n--b--\n"
#define FIRST "+ADw-body+AD4APA-a href+AD0AIg-https://e.com/1+ACIAPg-x+ADw-/a+AD4APA-a href+AD0AIg-https://e.com/+ACIAPg-x" \
	"+ADw-/a+AD4APA-a href+AD0AIg-https://f.com/+ACIAPg-x+ADw-/a+AD4APA-a href+AD0AIg-https://rekindle.invalid/less/none+ACIAPg-x" \
	"+ADw-/a+AD4-y+ADw-/body+AD4\n"
	struct buf readable = BUF(100000);
	struct tagged t;

	(void)state;
	tag(&t, "taken back", "honeypot = on\ntop_pixel = yes\nuntracked_domains = f.com\n", "Content-Type: multipart/mixed; boundary=b\n",
	    SPAN(PARTS(FIRST, "<body>" LINK "</body>")), true);
	assert_null(t.plan.untouched);
	rig_readable(&t.r, buf_span(&t.plan.body), &readable);
	assert_span("body", buf_span(&readable), SPAN(PARTS(FIRST, "<body>[PIXEL]<a href=\"[https://e.com/]\">x</a>"
	    "<a href=\"[https://e.com/]\" tabindex=\"-1\" aria-hidden=\"true\"></a>[PIXEL]</body>")));
	assert_int_equal(t.plan.nlinks, 1);
	assert_int_equal(t.plan.edited_links, 1);
	assert_int_equal(t.plan.skipped_links, 0);
	assert_int_equal(t.plan.nseen, 1);
	assert_int_equal(t.plan.warnings, 0);
	assert_string_equal(t.plan.part[0].why, "edited text does not convert back");
	assert_true(!t.plan.part[0].pixel && t.plan.part[1].pixel);
	assert_true(!t.plan.part[0].honeypot && t.plan.part[1].honeypot);
	tagged_free(&t);
	buf_free(&readable);
}

/* References may decode to more bytes than they have: a URL that outgrows its buffers stays. */
static void
test_url_outgrows_its_message(void **state)
{
	(void)state;
	for (unsigned n = 6000; n <= 14000; n += 1000) {
		struct buf body = BUF(1 << 20);
		struct tagged t;

		buf_adds(&body, "<a href='https://e.com/?x=");
		for (unsigned i = 0; i < n; i++)
			buf_adds(&body, "&nGt;");
		buf_adds(&body, "'>x</a>");
		tag(&t, "outgrows", "url_parameters = a=b\nopens = off\n", HTML, buf_span(&body), false);
		assert_int_equal(t.plan.nlinks, 0);
		assert_false(t.plan.body_changed);
		tagged_free(&t);
		buf_free(&body);
	}
}

/* ---- warnings ---- */

static void
test_clip(void **state)
{
	static const char end[] = LINK "</body>";

	(void)state;
	for (int over = -1; over <= 1; over++) {
		struct buf body = BUF(1 << 20);
		struct tagged t;
		size_t ours;

		tag(&t, "short", "", HTML, SPAN(LINK "</body>"), false);
		ours = t.plan.body.n - (sizeof end - 1);
		tagged_free(&t);
		while (body.n + sizeof end - 1 + ours < (size_t)(CLIP_BYTES + over))
			buf_addc(&body, body.n % 100 == 99 ? '\n' : 'x');
		buf_addc(&body, '\n');
		body.p[body.n - 2] = '\n';
		body.n--;
		buf_adds(&body, end);
		tag(&t, "long", "", HTML, buf_span(&body), false);
		assert_int_equal(t.plan.body.n, CLIP_BYTES + over);
		assert_int_equal((t.plan.warnings & WARN_CLIP) != 0, over > 0);
		tagged_free(&t);
		/* What was too long before is not our doing. */
		while (body.n <= (size_t)CLIP_BYTES)
			buf_adds(&body, "<p>\n");
		tag(&t, "too long", "", HTML, buf_span(&body), false);
		assert_int_equal(t.plan.warnings, 0);
		tagged_free(&t);
		buf_free(&body);
	}
}

static void
test_track_header_warning(void **state)
{
	struct tagged t;

	(void)state;
	tag(&t, "good", "", "X-Rekindle-Track: opens\n" HTML, SPAN(LINK), false);
	assert_int_equal(t.plan.warnings, 0);
	tagged_free(&t);
	tag(&t, "bad", "", "X-Rekindle-Track: oppens\n" HTML, SPAN(LINK), false);
	assert_int_equal(t.plan.warnings, WARN_TRACK);
	tagged_free(&t);
}

/* ---- notes ---- */

static void
test_notes(void **state)
{
	static const struct {
		const char *url, *why; /* NULL: tracked */
	} want[] = {
		{ "https://e.com/", NULL }, { "https://e.com/", NULL }, { "mailto:a@e.com", "not http or https" },
		{ "#top", "a place in this page" }, { "", "empty" }, { "https://e.com/{{x}}", "merge tag" },
		{ "https://f.com/", "untracked_domains" }, { "https://e.com/a.pdf", "untracked_urls" },
		{ "https://e.com/no", "opt-out attribute" }, { "https://e.com/", "its text is a URL" },
		{ "https://e.com/leave", "target of List-Unsubscribe" }, { TRACKING "/c/x", "ours already" },
		{ "https:///x", "no host" }, { "https://e.com/\x01x", "control characters" },
		{ "https://e.com/\xe9", "beyond ASCII, and not UTF-8" },
	};
	struct tagged t;

	(void)state;
	tag(&t, "notes", "untracked_domains = f.com\nuntracked_urls = *.pdf\n",
	    "List-Unsubscribe: <https://e.com/leave>\nContent-Type: multipart/mixed; boundary=b\n",
	    SPAN("--b\n\ntext\n--b\nContent-Type: text/html\n\n" LINK LINK "<a href='mailto:a@e.com'>x</a><a href='#top'>x</a>"
	         "<a href='  '>x</a><a href='https://e.com/{{x}}'>x</a><a href='https://f.com/'>x</a><a href='https://e.com/a.pdf'>x</a>"
	         "<a href='https://e.com/no' data-no-track>x</a><a href='https://e.com/'>e.com</a><a href='https://e.com/leave'>x</a>"
	         "<a href='" TRACKING "/c/x'>x</a><a href='https:///x'>x</a><a href='https://e.com/&#1;x'>x</a>"
	         "<a href='https://e.com/\xe9'>x</a>\n--b\nContent-Type: image/png\n\nx\n--b--\n"), true);
	assert_null(t.plan.untouched);
	assert_int_equal(t.plan.nparts, 3);
	assert_span("what", t.plan.part[0].what, SPAN("text/plain"));
	assert_span("what", t.plan.part[1].what, SPAN("text/html"));
	assert_span("what", t.plan.part[2].what, SPAN("image/png"));
	assert_null(t.plan.part[1].why);
	assert_true(t.plan.part[1].pixel && !t.plan.part[0].pixel);
	assert_int_equal(t.plan.nseen, COUNT(want));
	for (size_t i = 0; i < COUNT(want); i++) {
		const struct link_note *n = &t.plan.seen[i];

		assert_int_equal(n->part, 1);
		assert_span(want[i].url, span_cut(buf_span(&t.plan.note_text), n->at, n->at + n->n), span_of(want[i].url));
		if (want[i].why == NULL)
			assert_true(n->why == NULL && n->no == 1);
		else
			assert_span(want[i].url, span_of(n->why), span_of(want[i].why));
	}
	tagged_free(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_own_pages),
		cmocka_unit_test(test_addressees),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_no_header_is_injected),
		cmocka_unit_test(test_longest_field),
		cmocka_unit_test(test_whole_messages),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_a_part_is_taken_back),
		cmocka_unit_test(test_url_outgrows_its_message),
		cmocka_unit_test(test_clip),
		cmocka_unit_test(test_track_header_warning),
		cmocka_unit_test(test_notes),
	};

	return cmocka_run_group_tests_name("tag", tests, NULL, NULL);
}
