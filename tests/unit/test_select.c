/* Which mail is campaign mail: one row is one sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "milter/select.h"

#define NOW INT64_C(1769860800000) /* 2026-01-31T12:00:00Z */

static const char settings[] =
    "data_dir = /tmp\nkey_file = /tmp/keys\ntracking_url = https://t.example.org\nprivacy_profile = classic\n"
    "campaign_header = X-Campaign\nstream_header = X-Stream\ncampaign = none\n";

static struct conf *
conf_of(const char *streams)
{
	struct buf text = BUF(1 << 20), errors = BUF(1 << 16);
	struct conf *c;

	buf_adds(&text, settings);
	buf_adds(&text, streams);
	c = conf_parse(buf_span(&text), "test", &errors);
	if (c == NULL)
		fail_msg("%s", buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
	return c;
}

/* "Name: value\n" lines; a folded line begins with a space. */
static size_t
headers_of(const char *text, struct header *out)
{
	struct span rest = span_of(text);
	size_t n = 0;

	while (rest.n > 0) {
		size_t colon = span_find(rest, ':'), end = span_find(rest, '\n');

		while (end + 1 < rest.n && rest.p[end + 1] == ' ')
			end += 1 + span_find(span_from(rest, end + 1), '\n');
		out[n++] = (struct header){ span_cut(rest, 0, colon), span_cut(rest, colon + 1, end) };
		rest = span_from(rest, end + 1);
	}
	return n;
}

struct row {
	const char *sentence, *streams;
	struct {
		const char *client, *login, *sender, *daemon;
	} envelope;
	const char *headers;
	const char *stream, *campaign; /* NULL: nobody selects it */
	bool by_envelope;
};

static const struct row rows[] = {
	{ "ordinary mail is nobody's", "[stream a]\nmatch_login = news\n", { 0 }, "Subject: x\n", NULL, NULL, false },
	{ "the campaign header alone gives the default stream", "[stream a]\nmatch_login = news\n", { 0 },
	    "x-campaign: Spring\n", "default", "Spring", false },
	{ "an empty campaign header selects, and names nothing", "", { 0 }, "X-Campaign: \n", "default", "none",
	    false },
	{ "the stream header names a stream of ours", "[stream a]\n[stream b]\n", { 0 }, "X-Stream:  b \n", "b", "none",
	    false },
	{ "a stream that is not ours is not believed", "[stream a]\n", { 0 }, "X-Stream: c\n", NULL, NULL, false },
	{ "the stream header is stronger than the rules", "[stream a]\nmatch_login = news\n[stream b]\n",
	    { .login = "news" }, "X-Stream: b\nX-Campaign: x\n", "b", "x", false },

	{ "a login selects", "[stream a]\nmatch_login = other news\n", { .login = "news" }, "", "a", "none", true },
	{ "a login is exact", "[stream a]\nmatch_login = news\n", { .login = "News" }, "", NULL, NULL, false },
	{ "no login is not the empty login", "[stream a]\nmatch_login = news\n", { .login = "" }, "", NULL, NULL,
	    false },
	{ "the daemon's name selects", "[stream a]\nmatch_daemon = CAMPAIGN\n", { .daemon = "CAMPAIGN" }, "", "a",
	    "none", true },
	{ "the daemon's name is exact", "[stream a]\nmatch_daemon = CAMPAIGN\n", { .daemon = "CAMPAIGNS" }, "", NULL,
	    NULL, false },
	{ "the first of two streams in the file wins", "[stream a]\nmatch_daemon = D\n[stream b]\nmatch_login = l\n",
	    { .login = "l", .daemon = "D" }, "", "a", "none", true },

	{ "the sender's domain selects", "[stream a]\nmatch_sender_domain = example.org\n",
	    { .sender = "<x@Example.ORG>" }, "", "a", "none", true },
	{ "without brackets too", "[stream a]\nmatch_sender_domain = example.org\n", { .sender = "x@example.org" }, "",
	    "a", "none", true },
	{ "a final dot is no other domain", "[stream a]\nmatch_sender_domain = example.org\n",
	    { .sender = "x@example.org." }, "", "a", "none", true },
	{ "a domain below is another one", "[stream a]\nmatch_sender_domain = example.org\n",
	    { .sender = "x@a.example.org" }, "", NULL, NULL, false },
	{ "with a dot before it, it is not", "[stream a]\nmatch_sender_domain = .example.org\n",
	    { .sender = "x@a.example.org" }, "", "a", "none", true },
	{ "with a dot before it, the domain itself stays", "[stream a]\nmatch_sender_domain = .example.org\n",
	    { .sender = "x@example.org" }, "", "a", "none", true },
	{ "a domain that ends alike is another one", "[stream a]\nmatch_sender_domain = .example.org\n",
	    { .sender = "x@badexample.org" }, "", NULL, NULL, false },
	{ "the last at sign counts", "[stream a]\nmatch_sender_domain = example.org\n",
	    { .sender = "<\"x@other.net\"@example.org>" }, "", "a", "none", true },
	{ "the null sender has no domain", "[stream a]\nmatch_sender_domain = example.org\n", { .sender = "<>" }, "",
	    NULL, NULL, false },

	{ "a header that is there", "[stream a]\nmatch_header = X-Mailer\n", { 0 }, "x-mailer:\n", "a", "none", false },
	{ "a header that is not", "[stream a]\nmatch_header = X-Mailer\n", { 0 }, "X-Mailers: x\n", NULL, NULL, false },
	{ "a header that contains the text, whatever its case", "[stream a]\nmatch_header = X-Mailer: MailBlast\n",
	    { 0 }, "X-Mailer: the mailblast 3\n", "a", "none", false },
	{ "a header that contains another text", "[stream a]\nmatch_header = X-Mailer: MailBlast\n", { 0 },
	    "X-Mailer: mailblas\n", NULL, NULL, false },
	{ "the second field of that name may fit", "[stream a]\nmatch_header = X: two\n", { 0 }, "X: one\nX: two\n",
	    "a", "none", false },
	{ "a folded value is one line", "[stream a]\nmatch_header = X: one two\n", { 0 }, "X: one\n two\n", "a", "none",
	    false },
	{ "List-Unsubscribe", "[stream a]\nmatch_list_unsubscribe = yes\n", { 0 }, "list-unsubscribe: <mailto:x@y>\n",
	    "a", "none", false },
	{ "no List-Unsubscribe", "[stream a]\nmatch_list_unsubscribe = yes\n", { 0 }, "List-Unsubscribe-Post: x\n",
	    NULL, NULL, false },

	{ "behind a stream that asks for headers the envelope cannot say",
	    "[stream receipts]\nmatch_header = X-Receipt\ntransactional = yes\n[stream news]\nmatch_login = news\n",
	    { .login = "news" }, "X-Receipt: 1\n", "receipts", "none", false },
	{ "and before it, it can", "[stream news]\nmatch_login = news\n[stream other]\nmatch_header = X-Other\n",
	    { .login = "news" }, "X-Other: 1\n", "news", "none", true },

	{ "where only the stream header names a stream the envelope cannot say",
	    "[stream news]\nmatch_login = shop\nenforce = on\n[stream receipts]\ntransactional = yes\n", { .login = "shop" },
	    "X-Stream: receipts\n", "receipts", "none", false },
	{ "nor when that one stops as well: who left one has not left the other",
	    "[stream news]\nmatch_login = shop\n[stream offers]\n", { .login = "shop" }, "", "news", "none", false },
	{ "one with rules of its own does not matter",
	    "[stream news]\nmatch_login = shop\nenforce = on\n[stream receipts]\nmatch_daemon = R\ntransactional = yes\n", { .login = "shop" },
	    "", "news", "none", true },

	{ "a stranger's campaign header", "", { .client = "198.51.100.7" }, "X-Campaign: x\n", NULL, NULL, false },
	{ "a client without an address is a stranger", "", { .client = "" }, "X-Campaign: x\n", NULL, NULL, false },
	{ "a stranger's stream header", "[stream a]\n", { .client = "198.51.100.7" }, "X-Stream: a\n", NULL, NULL, false },
	{ "a stranger's sender address", "[stream a]\nmatch_sender_domain = example.org\n",
	    { .client = "198.51.100.7", .sender = "x@example.org" }, "", NULL, NULL, false },
	{ "a stranger's List-Unsubscribe", "[stream a]\nmatch_list_unsubscribe = yes\n", { .client = "198.51.100.7" },
	    "List-Unsubscribe: <mailto:x@y>\n", NULL, NULL, false },
	{ "a stranger's header", "[stream a]\nmatch_header = X\n", { .client = "198.51.100.7" }, "X: y\n", NULL, NULL, false },
	{ "who logged in is no stranger", "", { .client = "198.51.100.7", .login = "l" }, "X-Campaign: x\n", "default", "x",
	    false },
	{ "nor who comes in at a listener of ours", "[stream a]\nmatch_daemon = D\n[stream b]\nmatch_header = X\n",
	    { .client = "198.51.100.7", .daemon = "D" }, "X-Stream: b\n", "b", "none", true },
	{ "nor who is in a stream's network", "[stream a]\nmatch_network = 198.51.100.0/24\n",
	    { .client = "198.51.100.7" }, "X-Campaign: x\n", "a", "x", true },
	{ "the machine itself over IPv6", "", { .client = "IPv6:::1" }, "X-Campaign: x\n", "default", "x", false },

	{ "a template with a date", "[stream a]\nmatch_login = l\ncampaign = weekly-{date}\n", { .login = "l" }, "",
	    "a", "weekly-2026-01-31", true },
	{ "with two dates", "[stream a]\nmatch_login = l\ncampaign = {date}/{date}x\n", { .login = "l" }, "", "a",
	    "2026-01-31/2026-01-31x", true },
	{ "the header's name is stronger than the template", "[stream a]\nmatch_login = l\ncampaign = weekly-{date}\n",
	    { .login = "l" }, "X-Campaign: special\n", "a", "special", true },
	{ "a folded name is one line, and tabs are spaces", "", { 0 }, "X-Campaign: spring\n \tsale\r\n", "default",
	    "spring  sale", false },
	{ "control bytes go, RFC 2047 words stay", "", { 0 }, "X-Campaign: a\001b\177 =?utf-8?Q?=C3?=\n", "default",
	    "ab =?utf-8?Q?=C3?=", false },
};

static void
test_select(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row *r = &rows[i];
		struct conf *c = conf_of(r->streams);
		struct header header[8];
		struct message m = {
			.header = header, .nheaders = headers_of(r->headers, header), .body = SPAN("x\r\n")
		};
		struct envelope e = { span_of(r->envelope.client != NULL ? r->envelope.client : "127.0.0.1"),
			span_of(r->envelope.login),
			span_of(r->envelope.sender), span_of(r->envelope.daemon) };
		struct buf campaign = BUF(1024);
		const struct stream *s = select_message(c, &e, &m, NOW, &campaign), *at_rcpt = select_envelope(c, &e);

		if ((s == NULL) != (r->stream == NULL) || (s != NULL && strcmp(s->name, r->stream) != 0))
			fail_msg("%s: stream is %s", r->sentence, s != NULL ? s->name : "none");
		if (s != NULL && strcmp(buf_cstr(&campaign), r->campaign) != 0)
			fail_msg("%s: campaign is %s", r->sentence, buf_cstr(&campaign));
		if (s == NULL && campaign.n != 0)
			fail_msg("%s: a campaign without a stream", r->sentence);
		if ((at_rcpt != NULL) != r->by_envelope)
			fail_msg("%s: at RCPT it is %s", r->sentence, at_rcpt != NULL ? at_rcpt->name : "none");
		buf_free(&campaign);
		conf_free(c);
	}
}

static const struct {
	const char *network, *client;
	bool in;
} networks[] = {
	{ "192.0.2.7", "192.0.2.7", true },
	{ "192.0.2.7", "192.0.2.8", false },
	{ "192.0.2.0/24", "192.0.2.255", true },
	{ "192.0.2.0/24", "192.0.3.0", false },
	{ "192.0.2.0/23", "192.0.3.255", true },
	{ "192.0.2.0/23", "192.0.4.0", false },
	{ "192.0.2.128/25", "192.0.2.127", false },
	{ "192.0.2.7/32", "192.0.2.7", true },
	{ "192.0.2.6/32", "192.0.2.7", false },
	{ "0.0.0.0/0", "203.0.113.1", true },
	{ "0.0.0.0/0", "2001:db8::1", false },
	{ "2001:db8::/32", "2001:db8:ffff::1", true },
	{ "2001:db8::/32", "2001:db9::", false },
	{ "2001:db8::/32", "IPv6:2001:db8::1", true },
	{ "2001:db8::1", "2001:0DB8:0:0::1", true },
	{ "2001:db8::1/127", "2001:db8::", true },
	{ "2001:db8::1/128", "2001:db8::", false },
	{ "::/0", "192.0.2.7", false },
	{ "192.0.2.0/24", "::ffff:192.0.2.9", true },
	{ "192.0.2.0/24", "::ffff:192.0.3.9", false },
	{ "::ffff:192.0.2.0/120", "192.0.2.9", true },
	{ "::ffff:192.0.2.0/120", "192.0.3.9", false },
	{ "192.0.2.0/24", "", false },
	{ "192.0.2.0/24", "unknown", false },
	{ "192.0.2.0/24", "192.0.2.1\n", false },
	{ "192.0.2.0/24", "192.0.2.1.192.0.2.1.192.0.2.1.192.0.2.1.192.0.2.1", false },
};

static void
test_network(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
		char rule[128], *item = rule;
		struct stream s = { .match_network = { &item, 1, NULL } };
		struct conf c = { .stream = &s, .nstreams = 1 };
		struct envelope e = { .client = span_of(networks[i].client) };

		snprintf(rule, sizeof rule, "%s", networks[i].network);
		if ((select_envelope(&c, &e) != NULL) != networks[i].in)
			fail_msg(
			    "%s in %s: %s", networks[i].client, networks[i].network, networks[i].in ? "no" : "yes");
	}
}

static const char *const bad_networks[] = { "", "/", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/x", "192.0.2/24",
	"::/129", "::ffff:192.0.2.0/95", "::ffff:192.0.2.0/129", "192.0.2.0/-1", "192.0.2.0/4294967296" };

static void
test_bad_network_matches_nobody(void **state)
{
	static const char *const clients[] = { "192.0.2.0", "::", "::ffff:192.0.2.0" };

	(void)state;
	for (size_t i = 0; i < sizeof bad_networks / sizeof *bad_networks; i++)
		for (size_t k = 0; k < sizeof clients / sizeof *clients; k++) {
			char rule[128], *item = rule;
			struct stream s = { .match_network = { &item, 1, NULL } };
			struct conf c = { .stream = &s, .nstreams = 1 };
			struct envelope e = { .client = span_of(clients[k]) };

			snprintf(rule, sizeof rule, "%s", bad_networks[i]);
			if (select_envelope(&c, &e) != NULL)
				fail_msg("%s is in %s", clients[k], rule);
		}
}

/* A name of `fill` bytes and then this. */
static const struct {
	const char *sentence;
	size_t fill;
	const char *tail;
	size_t n;
} names[] = {
	{ "200 bytes stay", 199, "x", 200 },
	{ "201 do not", 200, "x", 200 },
	{ "a character that ends at 200 stays", 198, "\xc3\xa9zz", 200 },
	{ "one that would be split goes", 199, "\xc3\xa9zz", 199 },
	{ "one of four bytes that would be split goes", 197, "\xf0\x9f\x98\x80", 197 },
	{ "one of four bytes that ends there stays", 196, "\xf0\x9f\x98\x80z", 200 },
	{ "bytes that are no characters are cut all the same", 190,
	    "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 200 },
	{ "no space is left at the end", 199, " zzz", 199 },
};

static void
test_name_is_cut(void **state)
{
	struct conf *c = conf_of("");

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct buf value = BUF(4096), campaign = BUF(4096);
		struct envelope e = { .client = SPAN("127.0.0.1") };

		for (size_t k = 0; k < names[i].fill; k++)
			buf_addc(&value, 'a');
		buf_adds(&value, names[i].tail);
		struct header h = { SPAN("X-Campaign"), buf_span(&value) };
		struct message m = { .header = &h, .nheaders = 1 };

		buf_adds(&campaign, "before");
		assert_non_null(select_message(c, &e, &m, NOW, &campaign));
		if (campaign.n != 6 + names[i].n ||
		    !span_eq(span_from(buf_span(&campaign), 6), span_cut(h.value, 0, names[i].n)))
			fail_msg("%s: %zu bytes", names[i].sentence, campaign.n - 6);
		buf_free(&value);
		buf_free(&campaign);
	}
	conf_free(c);
}

/* What is left of full opens and links when a message says this; the profile is classic, the ceilings are full. */
static const struct {
	const char *sentence, *headers;
	bool good;
	enum mode opens, links;
} consent_rows[] = {
	{ "no header lowers nothing", "Subject: x\n", true, MODE_FULL, MODE_FULL },
	{ "granted lowers nothing", "X-Rekindle-Consent: granted\n", true, MODE_FULL, MODE_FULL },
	{ "denied turns all off", "x-rekindle-consent: denied\n", true, MODE_OFF, MODE_OFF },
	{ "unknown is as if nobody had asked", "X-Rekindle-Consent: unknown\n", true, MODE_IDENTIFIED, MODE_IDENTIFIED },
	{ "each axis has its own", "X-Rekindle-Consent: opens=granted;\n links=denied\n", true, MODE_FULL, MODE_OFF },
	{ "of several the strictest", "X-Rekindle-Consent: opens=unknown\nX-Rekindle-Consent: links=denied\nX-Rekindle-Consent: granted\n",
	    true, MODE_IDENTIFIED, MODE_OFF },
	{ "malformed is denied", "X-Rekindle-Consent: yes please\n", false, MODE_OFF, MODE_OFF },
	{ "empty is malformed", "X-Rekindle-Consent:\n", false, MODE_OFF, MODE_OFF },
	{ "one good one does not mend it", "X-Rekindle-Consent: opens\nX-Rekindle-Consent: granted\n", false, MODE_OFF, MODE_OFF },
	{ "a header that begins alike is another one", "X-Rekindle-Consents: denied\n", true, MODE_FULL, MODE_FULL },
};

static void
test_consent(void **state)
{
	struct conf *c = conf_of("opens = full\nlinks = full\n");

	(void)state;
	for (size_t i = 0; i < sizeof consent_rows / sizeof *consent_rows; i++) {
		struct header header[10];
		struct message m = { .header = header, .nheaders = headers_of(consent_rows[i].headers, header) };
		enum mode opens = MODE_FULL, links = MODE_FULL, low_opens = MODE_OFF, low_links = MODE_ANONYMOUS;
		enum consent said[2];

		if (select_consent(c, &m, said) != consent_rows[i].good)
			fail_msg("%s", consent_rows[i].sentence);
		select_lower(c, &c->stream[0], said, &opens, &links);
		if (opens != consent_rows[i].opens || links != consent_rows[i].links)
			fail_msg("%s: %s %s", consent_rows[i].sentence, mode_name(opens), mode_name(links));
		/* Whatever it says, nothing is raised. */
		select_lower(c, &c->stream[0], said, &low_opens, &low_links);
		if (low_opens != MODE_OFF || low_links > MODE_ANONYMOUS)
			fail_msg("%s: raised", consent_rows[i].sentence);
	}
	conf_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_select),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_bad_network_matches_nobody),
		cmocka_unit_test(test_name_is_cut),
		cmocka_unit_test(test_consent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
