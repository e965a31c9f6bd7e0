/*
 * Promises of Postfix's log: what is found lies in the line; whatever a
 * remote server says, or a recipient's quoted local part, the line is about
 * the same message, recipient and outcome, or about nothing.  And of a
 * bounce's judgement: addresses in a reply change nothing, and what is to be
 * tried again is never hard.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/bounce.h"
#include "common/buf.h"
#include "common/maillog.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static void
inside(struct span line, struct span piece)
{
	must(piece.n == 0 || (piece.p >= line.p && piece.p + piece.n <= line.p + line.n));
}

static void
check_any(struct span line)
{
	struct maillog m;

	maillog_line(line, &m);
	inside(line, m.id);
	inside(line, m.to);
	inside(line, m.orig_to);
	inside(line, m.host);
	inside(line, m.address);
	inside(line, m.delay);
	inside(line, m.status);
	inside(line, m.text);
	inside(line, m.next);
	must(m.kind == MAILLOG_OTHER || (m.id.n > 0 && m.id.n <= MAILLOG_ID_MAX && m.time.month > 0));
	must((m.kind == MAILLOG_PASSED_ON) == (m.next.n > 0) || m.kind == MAILLOG_OTHER);
}

/* The input as the remote server's words. */
static void
check_reply(struct span reply)
{
	struct buf line = BUF(1 << 20);
	struct maillog m;

	buf_adds(&line, "Nov 23 05:28:51 mx postfix/smtp[1]: 3A4B5C6D7E8: to=<ann@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1,"
			" delays=1/0/0/0, dsn=4.0.0, status=deferred (");
	buf_add(&line, reply);
	buf_addc(&line, ')');
	maillog_line(buf_span(&line), &m);
	must(span_eq(m.id, SPAN("3A4B5C6D7E8")) && span_eq(m.to, SPAN("ann@example.com")) && m.orig_to.n == 0);
	must(m.kind == MAILLOG_DEFERRED || m.kind == MAILLOG_OTHER);
	must(span_eq(m.status, SPAN("4.0.0")) && span_eq(m.host, SPAN("mx.example.com")));
	buf_free(&line);
}

/* The input as a local part, as Postfix quotes it. */
static void
check_address(struct span local)
{
	struct buf line = BUF(1 << 20), address = BUF(1 << 20);
	struct maillog m;

	buf_addc(&address, '"');
	for (size_t i = 0; i < local.n; i++) {
		if (local.p[i] == '"' || local.p[i] == '\\')
			buf_addc(&address, '\\');
		buf_addc(&address, local.p[i]);
	}
	buf_adds(&address, "\"@example.com");
	buf_adds(&line, "Nov 23 05:28:51 mx postfix/smtp[1]: 3A4B5C6D7E8: to=<");
	buf_add(&line, buf_span(&address));
	buf_adds(&line, ">, relay=none, delay=1, delays=1/0/0/0, dsn=5.4.4, status=bounced (Host not found)");
	if (line.n <= MAILLOG_LINE_MAX) {
		maillog_line(buf_span(&line), &m);
		must(m.kind == MAILLOG_BOUNCED && span_eq(m.to, buf_span(&address)));
	}
	buf_free(&line);
	buf_free(&address);
}

static void
check_bounce(struct span text)
{
	struct buf more = BUF(1 << 20);
	char code[BOUNCE_CODE_MAX], again[BOUNCE_CODE_MAX];
	enum bounce b = bounce_judge(SPAN("5.0.0"), text, code);

	must(code[0] != '\0');
	must(b != BOUNCE_HARD || code[0] != '4');
	buf_adds(&more, "550 <user.unknown.spamhaus@quota.example>: ");
	buf_add(&more, span_cut(text, 0, 1000));
	b = bounce_judge(SPAN("5.0.0"), buf_span(&more), code);
	buf_clear(&more);
	buf_adds(&more, "550 <x.xxxxxxxxxxxxxxxxxxxx@xxxxxx.xxxxxxx>: ");
	buf_add(&more, span_cut(text, 0, 1000));
	must(b == bounce_judge(SPAN("5.0.0"), buf_span(&more), again) && strcmp(code, again) == 0);
	buf_free(&more);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_make(p, n);

	check_any(in);
	check_reply(in);
	check_address(in);
	check_bounce(in);
	return 0;
}
