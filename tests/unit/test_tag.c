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
};

static struct conf *
conf_of(const char *row, const char *settings)
{
	struct buf text = BUF(10000), errors = BUF(10000);
	struct conf *c;

	buf_addf(&text, "tracking_url = " TRACKING "\nprivacy_profile = classic\n%s%s",
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
		if (strcmp(e->name, "Feedback-ID") == 0)
			assert_string_equal(e->value, "a__Bcc__x_e.com__b_c___:x");
	}
	assert_span("destination", t.plan.link[0].destination,
	    SPAN("https://e.com/?utm_campaign=a%0D%0ABcc%3A%20x%40e.com%0A%09b%00c%7F%3A%E2%80%A8"));
	tagged_free(&t);
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
		{ "#top", "not http or https" }, { "", "empty" }, { "https://e.com/{{x}}", "merge tag" },
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
	assert_string_equal(t.plan.part[0].what, "text/plain");
	assert_string_equal(t.plan.part[1].what, "text/html");
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
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_no_header_is_injected),
		cmocka_unit_test(test_clip),
		cmocka_unit_test(test_track_header_warning),
		cmocka_unit_test(test_notes),
	};

	return cmocka_run_group_tests_name("tag", tests, NULL, NULL);
}
