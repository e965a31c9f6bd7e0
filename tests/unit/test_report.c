#include "common/report.h"
#include "common/addr.h"
#include "common/codec.h"
#include "tests/unit/unit.h"

#define FORGED "the token in its subject or address does not open (cut or forged): nobody is unsubscribed"
#define NOT_FAILED "delayed or delivered, but not failed"
#define NO_TOKEN "no report, and no token in its subject or address: nobody is unsubscribed"

static const struct keys keys = { .identity = { 7 }, .token = { { .id = 'A', .bytes = { 9 } } }, .n = 1 };
static struct who ann; /* ann@example.com */

/*
 * In the texts @u, @f and @m are tokens of Ann's message, @n the unsubscribe
 * token as base64, @h and @t its two halves, @H and @T these as a Q encoder
 * writes them.
 */
static const struct {
	const char *what, *mail, *to;
	enum report_kind kind;
	bool named;          /* the token says who */
	const char *why, *status, *address; /* a status with "soft" or "policy" in front, where the bounce is not hard */
} rows[] = {
	{ "the subject", "To: unsub@example.org\nSubject: unsubscribe @u\n\n", "", REPORT_LEAVE, true, NULL, "", "" },
	{ "and CRLF, and a mailbox line", "From ann Mon Nov 23\r\nSubject: unsubscribe @u\r\n\r\nx\r\n", "", REPORT_LEAVE, true, NULL, "", "" },
	{ "a folded subject", "SUBJECT:\n unsubscribe\n\t@u\n\n", "", REPORT_LEAVE, true, NULL, "", "" },
	{ "words around it", "Subject: Re: unsubscribe @u, please\n\n", "", REPORT_LEAVE, true, NULL, "", "" },
	{ "an encoded word", "Subject: =?utf-8?B?@n?=\n\n", "", REPORT_LEAVE, true, NULL, "", "" },
	{ "two of them, with the token in both", "Subject: =?utf-8?Q?unsubscribe_@H?=\n =?UTF-8?q?@T?=\n\n", "", REPORT_LEAVE, true, NULL, "", "" },
	{ "the extension of the address", "To: <unsub+@u@example.org>\n\n", "", REPORT_LEAVE, true, NULL, "", "" },
	{ "what the MTA says", "To: x@example.org\n\n", "@u\n", REPORT_LEAVE, true, NULL, "", "" },
	{ "a token in the body is none", "Subject: unsubscribe\n\nunsubscribe @u\n", "", REPORT_NOTHING, false,
	    NO_TOKEN, "", "" },
	{ "a token of another kind", "Subject: unsubscribe @f\n\n", "", REPORT_NOTHING, false, FORGED, "", "" },
	{ "a forged token in the address", "To: <unsub+A@u@example.org>\n\n", "", REPORT_NOTHING, false,
	    FORGED, "", "" },
	{ "half a token", "Subject: unsubscribe @h\n\n", "", REPORT_NOTHING, false, FORGED, "", "" },
	{ "nothing", "", "", REPORT_NOTHING, false, NO_TOKEN, "", "" },
	{ "one of ours, forwarded", "Subject: Fwd\nContent-Type: message/rfc822\n\nList-Unsubscribe: <https://t/u/@u>\n\n", "",
	    REPORT_NOTHING, false, NO_TOKEN, "", "" },

#define ARF(type, encoding, enclosed) \
	"Subject: unsubscribe\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"b;=1\"\n\nhello\n" \
	"--b;=1\nContent-Type: text/plain\n\nA complaint.\n--b;=1\nContent-Type: message/feedback-report\n\n" \
	"Feedback-Type: " type "\nVersion: 1\n--b;=1\nContent-Type: message/rfc822\n" encoding "\n" enclosed "\n--b;=1--\n"
	{ "a complaint", ARF("abuse", "", "CFBL-Feedback-ID: @f\nSubject: x\n\nbody"), "", REPORT_COMPLAINT, true, NULL, "", "" },
	{ "known by the URL", ARF("Abuse", "", "List-Unsubscribe: <https://t.example/u/@u>,\n <mailto:u@example.org>\n\n"), "",
	    REPORT_COMPLAINT, true, NULL, "", "" },
	{ "known by the mailto", ARF("fraud", "", "list-unsubscribe: <mailto:u@example.org?subject=unsubscribe%20@u>\n\n"), "",
	    REPORT_COMPLAINT, true, NULL, "", "" },
	{ "quoted-printable", ARF("abuse", "Content-Transfer-Encoding: quoted-printable\n", "List-Unsubscribe: <https://t/u/@h=\n@t>\n\n"), "",
	    REPORT_COMPLAINT, true, NULL, "", "" },
	{ "only the mark", ARF("abuse", "", "X-Rekindle-Id: @m\n\n"), "", REPORT_NOTHING, false,
	    "the message that it is about bears no token of ours", "", "" },
	{ "no spam after all", ARF("not-spam", "", "CFBL-Feedback-ID: @f\n\n"), "", REPORT_NOTHING, true, "feedback, but no complaint", "", "" },
	{ "a report about DMARC", ARF("auth-failure", "", "CFBL-Feedback-ID: @f\n\n"), "", REPORT_NOTHING, true, "feedback, but no complaint", "", "" },
	{ "a token only in the body of what is enclosed", ARF("abuse", "", "Subject: x\n\nCFBL-Feedback-ID: @f\n"), "", REPORT_NOTHING, false,
	    "the message that it is about bears no token of ours", "", "" },

#define DSN(fields, enclosed) \
	"Content-Type: multipart/report; report-type=delivery-status;\n boundary=x\n\n--x\nContent-Type: text/plain\n\n5.1.1\n" \
	"--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n" fields "\n--x\n" \
	"Content-Type: text/rfc822-headers\n\n" enclosed "\n--x--\n"
#define FAILED "Final-Recipient: rfc822; Bob@Example.com\nAction: failed\nStatus: 5.1.1\n"
	{ "a bounce", DSN(FAILED, "List-Unsubscribe: <https://t/u/@u>\n"), "", REPORT_BOUNCE, true, NULL, "5.1.1", "Bob@Example.com" },
	{ "known by the mark", DSN(FAILED, "X-Rekindle-Id: @m\n"), "", REPORT_BOUNCE, false, NULL, "5.1.1", "Bob@Example.com" },
	{ "a better token behind the mark", DSN(FAILED, "X-Rekindle-Id: @m\nCFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL,
	    "5.1.1", "Bob@Example.com" },
	{ "a worse one behind it", DSN(FAILED, "CFBL-Feedback-ID: @f\nX-Rekindle-Id: @m\n"), "", REPORT_BOUNCE, true, NULL, "5.1.1",
	    "Bob@Example.com" },
	{ "the original recipient", DSN("Original-Recipient: rfc822;ann@example.com\n" FAILED, "X-Rekindle-Id: @m\n"), "", REPORT_BOUNCE,
	    false, NULL, "5.1.1", "ann@example.com" },
	{ "not the first group", DSN("Action: delivered\nStatus: 2.0.0\n\n" FAILED, "X-Rekindle-Id: @m\n"), "", REPORT_BOUNCE, false, NULL,
	    "5.1.1", "Bob@Example.com" },
	{ "delayed", DSN("Action: delayed\nStatus: 4.4.1\n", "X-Rekindle-Id: @m\n"), "", REPORT_NOTHING, false, NOT_FAILED, "", "" },
	{ "delayed, and a hard code by mistake", DSN("Action: delayed\nStatus: 5.1.1\n", "X-Rekindle-Id: @m\n"), "", REPORT_NOTHING, false,
	    NOT_FAILED, "", "" },
	{ "policy", DSN("Action: failed\nStatus: 5.7.1\n", "X-Rekindle-Id: @m\n"), "", REPORT_BOUNCE, false, NULL, "policy 5.7.1", "" },
	{ "full", DSN("Action: failed\nStatus: 5.2.2\n", "CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL, "soft 5.2.2", "" },
	{ "the worst of several", DSN("Action: failed\nStatus: 5.2.2\nFinal-Recipient: rfc822; carl@example.com\n\n" FAILED "\n"
		"Action: failed\nStatus: 5.7.1\n", "X-Rekindle-Id: @m\n"), "", REPORT_BOUNCE, false, NULL, "5.1.1", "Bob@Example.com" },
#define OF(address, status) "Final-Recipient: rfc822;" address "\nAction: failed\nStatus: " status "\n\n"
	{ "whose token it is, and not the worst of several", DSN(FAILED "\n" OF("ann@example.com", "5.2.2"), "CFBL-Feedback-ID: @f\n"), "",
	    REPORT_BOUNCE, true, NULL, "soft 5.2.2", "ann@example.com" },
	{ "nor the least harmful", DSN(OF("carl@example.com", "5.2.2") OF("Ann@EXAMPLE.com", "5.1.1") OF("dora@example.com", "5.7.1"),
		"CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL, "5.1.1", "Ann@EXAMPLE.com" },
	{ "by the original recipient", DSN(OF("carl@example.com", "5.2.2") "Original-Recipient: rfc822;ann@example.com\n" FAILED,
		"CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL, "5.1.1", "ann@example.com" },
	{ "by the final one beside another original", DSN(OF("carl@example.com", "5.2.2") "Original-Recipient: rfc822;list@example.com\n"
		OF("ann@example.com", "5.1.1"), "CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL, "5.1.1", "list@example.com" },
	{ "what got there is no bounce", DSN(FAILED "\nFinal-Recipient: rfc822;ann@example.com\nAction: relayed\nStatus: 2.0.0\n",
		"CFBL-Feedback-ID: @f\n"), "", REPORT_NOTHING, true, NOT_FAILED, "", "" },
	{ "two places where one recipient's mail goes: one is full", DSN("Original-Recipient: rfc822;ann@example.com\n" FAILED
		"\nOriginal-Recipient: rfc822;ann@example.com\n" OF("carl@example.com", "5.2.2"), "CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE,
	    true, NULL, "soft 5.2.2", "ann@example.com" },
	{ "none of several by name: the least harmful", DSN(OF("carl@example.com", "5.2.2") FAILED "\n" OF("redacted", "5.7.1")
		OF("dora@example.com", "5.2.2"), "CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL, "policy 5.7.1", "redacted" },
	{ "none of several by name, and one got it", DSN(FAILED "\nAction: delivered\nStatus: 2.0.0\n", "CFBL-Feedback-ID: @f\n"), "",
	    REPORT_NOTHING, true, NOT_FAILED, "", "" },
	{ "none of several by name, and all are gone", DSN(FAILED "\n" OF("carl@example.com", "5.1.1"), "CFBL-Feedback-ID: @f\n"), "",
	    REPORT_BOUNCE, true, NULL, "5.1.1", "Bob@Example.com" },
	{ "a group without an action is nobody's", DSN("Final-Recipient: rfc822;ann@example.com\n\n" FAILED, "CFBL-Feedback-ID: @f\n"), "",
	    REPORT_BOUNCE, true, NULL, "5.1.1", "Bob@Example.com" },
	{ "words that are folded", DSN("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 554 delivery error: dd This user\n"
		"    doesn't have a yahoo.com account\n", "CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL, "5.0.0", "" },
	{ "not even a status", DSN("Action: failed\n", "CFBL-Feedback-ID: @f\n"), "", REPORT_BOUNCE, true, NULL, "soft ", "" },
	{ "of a message that is not ours", DSN(FAILED, "Subject: x\n"), "", REPORT_NOTHING, false,
	    "the message that it is about bears no token of ours", "", "" },
	{ "a subject with a token does not help it", "Subject: @u\n" DSN(FAILED, "Subject: x\n"), "", REPORT_NOTHING, false,
	    "the message that it is about bears no token of ours", "", "" },
	{ "a report inside an enclosed message is somebody else's", "Content-Type: message/rfc822\n\n" DSN(FAILED, "X-Rekindle-Id: @m\n"),
	    "", REPORT_NOTHING, false, NO_TOKEN, "", "" },
};

static void
add_token(struct buf *out, const struct sealer *s, enum token_kind kind)
{
	struct claim c = { .kind = kind, .mode = MODE_IDENTIFIED, .campaign = 7, .who = ann, .when = 1795000000, .text = SPAN("news") };

	if (kind == TOKEN_MARK)
		c.who = (struct who){ { 0 } };
	assert_true(token_seal(s, &c, out));
}

static void
fill(struct buf *out, const struct sealer *s, const char *text)
{
	struct buf token = BUF(4096), word = BUF(4096);

	for (; *text != '\0'; text++) {
		char kind = text[0] == '@' ? text[1] : '\0';
		struct span half;

		if (kind == '\0' || strchr("ufmnhtHT", kind) == NULL) {
			buf_addc(out, *text);
			continue;
		}
		text++;
		buf_clear(&token);
		buf_clear(&word);
		add_token(&token, s, kind == 'f' || kind == 'm' ? (enum token_kind)kind : TOKEN_LEAVE);
		half = ascii_lower(kind) == 'h' ? span_cut(buf_span(&token), 0, 30) : span_from(buf_span(&token), 30);
		if (kind == 'n') {
			buf_adds(&word, "unsubscribe ");
			buf_add(&word, buf_span(&token));
			base64_add_lines(out, buf_span(&word), SPAN(""));
		} else if (kind == 'h' || kind == 't')
			buf_add(out, half);
		else if (kind == 'H' || kind == 'T') {
			for (size_t i = 0; i < half.n; i++)
				buf_addf(out, half.p[i] == '_' ? "=5F" : "%c", half.p[i]);
		} else
			buf_add(out, buf_span(&token));
	}
	buf_free(&token);
	buf_free(&word);
}

static void
test_reports(void **state)
{
	struct sealer *s = sealer_new(&keys);
	struct buf mail = BUF(1 << 20), to = BUF(4096);
	struct report r;

	(void)state;
	assert_true(addr_who(&keys, SPAN("ann@example.com"), &ann));
	report_init(&r);
	for (size_t i = 0; i < COUNT(rows); i++) {
		buf_clear(&mail);
		buf_clear(&to);
		fill(&mail, s, rows[i].mail);
		fill(&to, s, rows[i].to);
		report_read(&r, &keys, s, buf_span(&mail), buf_span(&to));
		if (r.kind != rows[i].kind || (r.why == NULL) != (rows[i].why == NULL) || (r.why != NULL && strcmp(r.why, rows[i].why) != 0))
			fail_msg("%s: kind %d, %s", rows[i].what, r.kind, r.why ? r.why : "-");
		assert_row(rows[i].what, !who_is_nobody(&r.claim.who) == rows[i].named);
		if (r.kind == REPORT_NOTHING)
			continue;
		assert_row(rows[i].what, !rows[i].named || who_eq(&r.claim.who, &ann));
		assert_row(rows[i].what, r.claim.campaign == 7);
		assert_span(rows[i].what, r.claim.text, SPAN("news"));
		buf_clear(&to);
		if (r.kind == REPORT_BOUNCE && r.bounce != BOUNCE_HARD)
			buf_addf(&to, "%s ", bounce_name(r.bounce));
		buf_adds(&to, r.status);
		assert_span(rows[i].what, buf_span(&to), span_of(rows[i].status));
		assert_span(rows[i].what, r.address, span_of(rows[i].address));
	}
	report_free(&r);
	sealer_free(s);
	buf_free(&mail);
	buf_free(&to);
}

/* One more than we look into is not looked into. */
static void
test_limits(void **state)
{
	struct sealer *s = sealer_new(&keys);
	struct buf mail = BUF(4 << 20);
	struct report r;

	(void)state;
	report_init(&r);
	for (int depth = REPORT_DEPTH_MAX; depth <= REPORT_DEPTH_MAX + 1; depth++) {
		buf_clear(&mail);
		for (int i = 0; i < depth; i++)
			buf_addf(&mail, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
		buf_adds(&mail, "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n");
		report_read(&r, &keys, s, buf_span(&mail), SPAN(""));
		assert_int_equal(strcmp(r.why, "the message that it is about bears no token of ours") == 0, depth == REPORT_DEPTH_MAX);
	}
	for (int parts = REPORT_PARTS_MAX - 1; parts <= REPORT_PARTS_MAX; parts++) {
		buf_clear(&mail);
		buf_adds(&mail, "Content-Type: multipart/mixed; boundary=b\n\n");
		for (int i = 1; i < parts; i++)
			buf_adds(&mail, "--b\n\nx\n");
		buf_adds(&mail, "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n--b--\n");
		report_read(&r, &keys, s, buf_span(&mail), SPAN(""));
		assert_int_equal(strcmp(r.why, "the message that it is about bears no token of ours") == 0, parts == REPORT_PARTS_MAX - 1);
	}
	for (int tokens = REPORT_TOKENS_MAX - 1; tokens <= REPORT_TOKENS_MAX; tokens++) {
		buf_clear(&mail);
		buf_adds(&mail, "Subject:");
		for (int i = 0; i < tokens; i++)
			buf_adds(&mail, " aaaaaaaaaaaaaaaaaaaaaaaa");
		buf_adds(&mail, " ");
		add_token(&mail, s, TOKEN_LEAVE);
		buf_adds(&mail, "\n\n");
		report_read(&r, &keys, s, buf_span(&mail), SPAN(""));
		assert_int_equal(r.kind == REPORT_LEAVE, tokens == REPORT_TOKENS_MAX - 1);
	}
	report_free(&r);
	sealer_free(s);
	buf_free(&mail);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reports),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
