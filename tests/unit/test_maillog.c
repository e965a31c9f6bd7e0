#include "common/maillog.h"
#include "tests/unit/unit.h"

#define STAMP "Nov 23 05:28:51 mx "
#define SMTP STAMP "postfix/smtp[4711]: 4F2XyZ1234zABC: "
#define TIMES ", delay=0.41, delays=0.1/0.01/0.2/0.1"
#define SENT ", relay=mx.example.com[192.0.2.1]:25" TIMES ", dsn=2.0.0, status=sent (250 ok)"

static const struct {
	const char *line;
	enum maillog_kind kind;
	const char *id, *to, *orig_to, *host, *address, *status, *text;
} rows[] = {
	{ SMTP "to=<ann@example.com>, relay=mx.example.com[192.0.2.1]:25" TIMES ", dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 9A8B7C6D5E)",
	    MAILLOG_DELIVERED, "4F2XyZ1234zABC", "ann@example.com", "", "mx.example.com", "192.0.2.1", "2.0.0", "250 2.0.0 Ok: queued as 9A8B7C6D5E" },
	{ STAMP "postfix/smtp[1]: 3A4B5C6D7E8: to=<ann@example.com>, orig_to=<all@example.org>, relay=mx[2001:db8::1]:25, conn_use=2" TIMES
		", dsn=5.1.1, status=bounced (host mx[2001:db8::1] said: 550 5.1.1 no (in reply to RCPT TO command))",
	    MAILLOG_BOUNCED, "3A4B5C6D7E8", "ann@example.com", "all@example.org", "mx", "2001:db8::1", "5.1.1",
	    "host mx[2001:db8::1] said: 550 5.1.1 no (in reply to RCPT TO command)" },
	{ SMTP "to=<ann@example.com>, relay=none" TIMES ", dsn=4.4.1, status=deferred (connect to mx[192.0.2.1]:25: Connection timed out)",
	    MAILLOG_DEFERRED, "4F2XyZ1234zABC", "ann@example.com", "", "none", "", "4.4.1", "connect to mx[192.0.2.1]:25: Connection timed out" },
	{ STAMP "postfix/local[9]: 3A4B5C6D7E8: to=<root@mx>, orig_to=<root>, relay=local" TIMES ", dsn=2.0.0, status=sent (delivered to mailbox)",
	    MAILLOG_DELIVERED, "3A4B5C6D7E8", "root@mx", "root", "local", "", "2.0.0", "delivered to mailbox" },
	{ STAMP "postfix/lmtp[9]: 3A4B5C6D7E8: to=<a@b>, relay=mx[private/dovecot-lmtp]" TIMES ", dsn=2.0.0, status=sent (250 2.0.0 <a@b> x Saved)",
	    MAILLOG_DELIVERED, "3A4B5C6D7E8", "a@b", "", "mx", "private/dovecot-lmtp", "2.0.0", "250 2.0.0 <a@b> x Saved" },
	{ STAMP "postfix/error[9]: 3A4B5C6D7E8: to=<a@b>, relay=none" TIMES ", dsn=5.1.1, status=bounced (user unknown)", MAILLOG_BOUNCED, "3A4B5C6D7E8",
	    "a@b", "", "none", "", "5.1.1", "user unknown" },
	/* Names that are given to instances and transports. */
	{ STAMP "postfix-out/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_DELIVERED, "3A4B5C6D7E8", "a@b", "", "mx.example.com", "192.0.2.1", "2.0.0", "250 ok" },
	{ STAMP "postfix/reeng/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_DELIVERED, "3A4B5C6D7E8", "a@b", "", "mx.example.com", "192.0.2.1", "2.0.0", "250 ok" },
	{ STAMP "postfix/smtp: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_DELIVERED, "3A4B5C6D7E8", "a@b", "", "mx.example.com", "192.0.2.1", "2.0.0", "250 ok" },
	/* Stamps. */
	{ "2026-11-23T05:28:51.123456+01:00 mx postfix/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_DELIVERED, "3A4B5C6D7E8", "a@b", "", "mx.example.com",
	    "192.0.2.1", "2.0.0", "250 ok" },
	{ "2026-11-23T05:28:51+0100 mx postfix/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_DELIVERED, "3A4B5C6D7E8", "a@b", "", "mx.example.com",
	    "192.0.2.1", "2.0.0", "250 ok" },
	{ "Nov  3 05:28:51 mx postfix/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_DELIVERED, "3A4B5C6D7E8", "a@b", "", "mx.example.com", "192.0.2.1",
	    "2.0.0", "250 ok" },
	{ "Nix 23 05:28:51 mx postfix/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ "Nov 23 25:28:51 mx postfix/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	/* The end of a message. */
	{ STAMP "postfix/qmgr[1]: 3A4B5C6D7E8: removed", MAILLOG_REMOVED, "3A4B5C6D7E8", "", "", "", "", "", "" },
	{ STAMP "postfix/postsuper[1]: 3A4B5C6D7E8: removed", MAILLOG_REMOVED, "3A4B5C6D7E8", "", "", "", "", "", "" },
	{ STAMP "postfix/qmgr[1]: 3A4B5C6D7E8: from=<n@example.org>, status=expired, returned to sender", MAILLOG_EXPIRED, "3A4B5C6D7E8", "", "", "", "", "", "" },
	{ STAMP "postfix/qmgr[1]: 3A4B5C6D7E8: from=<n@example.org>, status=force-expired, returned to sender", MAILLOG_EXPIRED, "3A4B5C6D7E8", "", "", "",
	    "", "", "" },
	{ STAMP "postfix/qmgr[1]: 3A4B5C6D7E8: from=<n@example.org>, size=1, nrcpt=1 (queue active)", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP "postfix/smtp[1]: 3A4B5C6D7E8: removed", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	/* Who delivers nothing. */
	{ STAMP "postfix/smtpd[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP "postfix/bounce[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP "postfix/discard[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP "smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP "/smtp[1]: 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP "dovecot: lmtp(1): 3A4B5C6D7E8: to=<a@b>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP "postfix/smtp[1]: NOQUEUE: reject: RCPT", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ SMTP "to=<a@b>, relay=none" TIMES ", dsn=2.1.5, status=deliverable (250 ok)", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	/* A filter here, and what only looks like one. */
	{ SMTP "to=<a@b>, relay=127.0.0.1[127.0.0.1]:10024" TIMES ", dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: "
		"queued as 9A8B7C6D5E)", MAILLOG_PASSED_ON, "4F2XyZ1234zABC", "a@b", "", "127.0.0.1", "127.0.0.1", "2.0.0",
	    "250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 9A8B7C6D5E" },
	{ SMTP "to=<a@b>, relay=127.0.0.1[127.0.0.1]:24" TIMES ", dsn=2.0.0, status=sent (250 2.0.0 saved)", MAILLOG_DELIVERED, "4F2XyZ1234zABC", "a@b", "",
	    "127.0.0.1", "127.0.0.1", "2.0.0", "250 2.0.0 saved" },
	{ SMTP "to=<a@b>, relay=127.0.0.1[127.0.0.1]:24" TIMES ", dsn=2.0.0, status=sent (250 queued as <a@b>)", MAILLOG_DELIVERED, "4F2XyZ1234zABC", "a@b", "",
	    "127.0.0.1", "127.0.0.1", "2.0.0", "250 queued as <a@b>" },
	/* Addresses with everything in them. */
	{ SMTP "to=<\"a>, relay=evil, b\"@example.com>" SENT, MAILLOG_DELIVERED, "4F2XyZ1234zABC", "\"a>, relay=evil, b\"@example.com", "", "mx.example.com",
	    "192.0.2.1", "2.0.0", "250 ok" },
	{ SMTP "to=<\"a\\\">, relay=evil\"@example.com>" SENT, MAILLOG_DELIVERED, "4F2XyZ1234zABC", "\"a\\\">, relay=evil\"@example.com", "",
	    "mx.example.com", "192.0.2.1", "2.0.0", "250 ok" },
	{ SMTP "to=<a, b@example.com>" SENT, MAILLOG_DELIVERED, "4F2XyZ1234zABC", "a, b@example.com", "", "mx.example.com", "192.0.2.1", "2.0.0", "250 ok" },
	{ SMTP "to=<jös@пример.example>" SENT, MAILLOG_DELIVERED, "4F2XyZ1234zABC", "jös@пример.example", "", "mx.example.com", "192.0.2.1", "2.0.0", "250 ok" },
	{ SMTP "to=<\"never closed@example.com>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	/* info_log_address_format = internal: somebody else's bounce inside an address. */
	{ SMTP "to=<bob@example.com>, relay=x, dsn=5.1.1, status=bounced (x@example.com>" SENT, MAILLOG_OTHER, "", "", "", "", "", "", "" },
	/* Replies that would like to be more. */
	{ SMTP "to=<a@b>, relay=mx[192.0.2.1]:25" TIMES ", dsn=4.0.0, status=deferred (450 dsn=5.1.1, status=bounced (gone))", MAILLOG_DEFERRED,
	    "4F2XyZ1234zABC", "a@b", "", "mx", "192.0.2.1", "4.0.0", "450 dsn=5.1.1, status=bounced (gone)" },
	{ SMTP "to=<a@b>, relay=mx[192.0.2.1]:25" TIMES ", dsn=4.0.0, status=deferred (450 to=<bob@example.com>, relay=x)", MAILLOG_OTHER, "", "", "", "", "",
	    "", "" },
	{ SMTP "host mx[192.0.2.1] said: 450 to=<bob@example.com>, relay=x, dsn=5.1.1, status=bounced (gone)", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ SMTP "to=<a@b>, relay=mx[192.0.2.1]:25, x y=1, status=bounced (gone)", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	/* Lines that were cut. */
	{ SMTP "to=<a@b>, relay=mx[192.0.2.1]:25" TIMES ", dsn=5.1.1, status=bounced (host mx said: 550 5.1.1 us", MAILLOG_BOUNCED, "4F2XyZ1234zABC", "a@b", "",
	    "mx", "192.0.2.1", "5.1.1", "host mx said: 550 5.1.1 us" },
	{ SMTP "to=<a@b>, relay=mx[192.0.2.1]:25" TIMES ", dsn=5.1.1, stat", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ SMTP "to=<a@b", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ "", MAILLOG_OTHER, "", "", "", "", "", "", "" },
	{ STAMP, MAILLOG_OTHER, "", "", "", "", "", "", "" },
};

static void
test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct maillog m;
		const char *line = rows[i].line;

		maillog_line(span_of(line), &m);
		if (m.kind != rows[i].kind)
			fail_msg("%s: kind %d", line, m.kind);
		if (m.kind == MAILLOG_OTHER)
			continue;
		assert_span(line, m.id, span_of(rows[i].id));
		assert_span(line, m.to, span_of(rows[i].to));
		assert_span(line, m.orig_to, span_of(rows[i].orig_to));
		assert_span(line, m.host, span_of(rows[i].host));
		assert_span(line, m.address, span_of(rows[i].address));
		assert_span(line, m.status, span_of(rows[i].status));
		assert_span(line, m.text, span_of(rows[i].text));
		assert_span(line, m.next, m.kind == MAILLOG_PASSED_ON ? SPAN("9A8B7C6D5E") : SPAN(""));
		assert_row(line, m.delay.n == 0 || span_eq(m.delay, SPAN("0.41")));
	}
}

static void
test_times(void **state)
{
	static const struct {
		const char *stamp;
		struct maillog_time want;
	} times[] = {
		{ "Nov 23 05:28:51", { 0, 11, 23, 5, 28, 51, 0, false, 0 } },
		{ "Jan  1 23:59:60", { 0, 1, 1, 23, 59, 60, 0, false, 0 } },
		{ "Nov 23 05:28:51.123", { 0, 11, 23, 5, 28, 51, 123, false, 0 } },
		{ "2026-11-23T05:28:51Z", { 2026, 11, 23, 5, 28, 51, 0, true, 0 } },
		{ "2026-11-23T05:28:51.98765+05:30", { 2026, 11, 23, 5, 28, 51, 987, true, 330 } },
		{ "2026-11-23T05:28:51-0330", { 2026, 11, 23, 5, 28, 51, 0, true, -210 } },
		{ "2026-13-23T05:28:51Z", { 0 } },
		{ "2026-11-23T05:28:51", { 0 } },
		{ "1795411731", { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(times); i++) {
		struct buf line = BUF(1000);
		struct maillog m;
		const struct maillog_time *t = &times[i].want;

		buf_addf(&line, "%s mx postfix/qmgr[1]: 3A4B5C6D7E8: removed", times[i].stamp);
		maillog_line(buf_span(&line), &m);
		assert_row(times[i].stamp, (m.kind == MAILLOG_REMOVED) == (t->month != 0));
		assert_row(times[i].stamp, m.time.year == t->year && m.time.month == t->month && m.time.day == t->day && m.time.hour == t->hour &&
		    m.time.minute == t->minute && m.time.second == t->second && m.time.ms == t->ms && m.time.zoned == t->zoned && m.time.offset == t->offset);
		buf_free(&line);
	}
}

/* systemd's journal has the stamp and the name beside the message. */
static void
test_message(void **state)
{
	struct maillog m;

	(void)state;
	maillog_message(SPAN("postfix/smtp"), SPAN("3A4B5C6D7E8: to=<a@b>" SENT), &m);
	assert_int_equal(m.kind, MAILLOG_DELIVERED);
	assert_int_equal(m.time.month, 0);
	maillog_message(SPAN("postfix/smtpd"), SPAN("3A4B5C6D7E8: to=<a@b>" SENT), &m);
	assert_int_equal(m.kind, MAILLOG_OTHER);
}

/* A line that ends anywhere reads nothing behind its end, and never says more than the whole line. */
static void
test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t n = 0; n < strlen(rows[i].line); n++) {
			char *copy = memcpy(malloc(n + 1), rows[i].line, n);
			struct maillog m;

			maillog_line(span_make(copy, n), &m);
			if (m.kind != MAILLOG_OTHER && m.kind != rows[i].kind && rows[i].kind != MAILLOG_OTHER && rows[i].kind != MAILLOG_PASSED_ON)
				fail_msg("%.*s: kind %d", (int)n, rows[i].line, m.kind);
			free(copy);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
