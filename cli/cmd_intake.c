/* rekindle intake -- one message on standard input, from Postfix: unsubscribes, complaints, bounces. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/mem.h"
#include "common/report.h"

#define ARGUMENTS_MAX 65536
#define QUEUE_SECONDS ((int64_t)10 * 86400) /* the longest that mail servers keep trying */

/*
 * Reads to the end whatever is of use: a pipe that closes early makes the MTA
 * believe that we failed.  False: told why.
 */
static bool
read_mail(struct buf *mail)
{
	char chunk[65536];
	ssize_t n;

	while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			cli_error("cannot read standard input: %s", strerror(errno));
			return false;
		}
		buf_add(mail, span_cut(span_make(chunk, (size_t)n), 0, mail->max - mail->n));
	}
	return true;
}

/*
 * Whom it is about.  A token that names the recipient proves it.  The mark of
 * a message for several proves only that somebody had one of ours in hand, so
 * the address of such a bounce must be one that we sent to, and no longer ago
 * than a bounce can take: else one such mail would do to stop anybody.
 */
static bool
find_who(struct cli *c, const struct report *r, struct who *who)
{
	struct profile p;

	*who = r->claim.who;
	if (!who_is_nobody(who))
		return true;
	return addr_who(&c->setup->keys, r->address, who) && store_profile(c->store, who, &p) == STORE_OK &&
	       p.last_sent != 0 && c->now / 1000 - p.last_sent <= QUEUE_SECONDS;
}

/* A stop wins within its second; one that comes after a release must not be dated before it, whatever the clock does. */
static int64_t
moment(struct cli *c, const struct who *who, uint64_t stream)
{
	struct subscription sub;
	struct profile p;
	bool known, subscribed;
	uint32_t lifted = 0;

	if (store_person(c->store, who, stream, &p, &known, &sub, &subscribed) == STORE_OK) {
		lifted = p.joined > p.released ? p.joined : p.released;
		lifted = sub.joined > lifted ? sub.joined : lifted;
	}
	return (int64_t)lifted * 1000 > c->now ? (int64_t)lifted * 1000 : c->now;
}

/* What a report comes to, and what is said of it. */
static enum touch_kind
kind_of(const struct report *r)
{
	if (r->kind == REPORT_LEAVE)
		return TOUCH_LEFT;
	if (r->kind == REPORT_COMPLAINT)
		return TOUCH_COMPLAINED;
	return r->bounce == BOUNCE_HARD ? TOUCH_BOUNCED : TOUCH_SOFT_BOUNCED;
}

static const char *
said(const struct report *r)
{
	return r->kind == REPORT_LEAVE ? "unsubscribed" : touch_name(kind_of(r));
}

/* No address: what Postfix logs of us is not for everybody. */
static void
say(struct cli *c, const struct report *r)
{
	struct emit e = { 0 };

	if (c->json) {
		emit_open(&e, NULL, '{');
		emit_string(&e, "did", r->kind == REPORT_NOTHING ? "nothing" : said(r));
		if (r->kind == REPORT_NOTHING)
			emit_string(&e, "reason", r->why);
		if (r->kind == REPORT_BOUNCE) {
			emit_string(&e, "bounce", bounce_name(r->bounce));
			emit_string(&e, "status", r->status);
		}
		if (r->claim.text.n > 0)
			emit_text(&e, "stream", r->claim.text);
		emit_close(&e, '}');
		emit_end(&e);
	} else if (r->kind == REPORT_NOTHING)
		printf("nothing to do: %s\n", r->why);
	else
		printf("%s%s%s\n", said(r), r->status[0] != '\0' ? " with status " : "", r->status);
}

/* For the history: by what way we know. */
static void
add_source(struct buf *out, const struct report *r)
{
	if (r->kind == REPORT_LEAVE)
		buf_adds(out, "mail: unsubscribe");
	else if (r->kind == REPORT_COMPLAINT)
		buf_adds(out, "report: complaint");
	else
		buf_addf(out, "report: bounced%s%s", r->status[0] != '\0' ? " with status " : "", r->status);
}

static bool
record(struct cli *c, const struct report *r, const struct who *who)
{
	struct batch *batch = xcalloc(1, sizeof *batch);
	struct record rec = { .touch = { .kind = (uint8_t)kind_of(r), .mode = MODE_IDENTIFIED, .who = *who,
		.campaign = r->claim.campaign, .sent = r->claim.when } };
	struct buf source = BUF(SOURCE_MAX);
	bool ok;

	if (r->claim.text.n > 0) {
		rec.touch.stream = stream_id(&c->setup->keys, r->claim.text);
		rec.stream = r->claim.text;
	}
	if (rec.touch.kind == TOUCH_SOFT_BOUNCED)
		rec.touch.detail = (uint8_t)r->bounce;
	add_source(&source, r);
	rec.source = buf_span(&source);
	rec.touch.when = moment(c, who, rec.touch.stream);
	batch_add(batch, &rec);
	ok = batch_write(c, batch);
	free(batch);
	buf_free(&source);
	return ok;
}

/* False: try again later. */
static bool
take(struct cli *c, struct span mail, struct span to)
{
	struct report r;
	struct who who;
	bool ok = true;

	report_init(&r);
	report_read(&r, &c->setup->keys, c->setup->sealer, mail, to);
	if (r.kind != REPORT_NOTHING) {
		ok = c->store != NULL || cli_store(c);
		if (ok && !find_who(c, &r, &who)) {
			r.kind = REPORT_NOTHING;
			r.why = "nobody knows whose bounce it is";
		}
	}
	if (ok && r.kind != REPORT_NOTHING && (ok = record(c, &r, &who)))
		cli_fold(c);
	if (ok)
		say(c, &r);
	report_free(&r);
	return ok;
}

/*
 * For Postfix every exit status but 0 and EX_TEMPFAIL is a bounce, and a
 * bounce of a bounce helps nobody.  So a mail that says nothing is taken, and
 * whatever is wrong here keeps the mail in the queue until it is mended.
 */
int
cmd_intake(struct cli *c)
{
	struct buf mail = BUF(REPORT_MAIL_MAX), to = BUF(ARGUMENTS_MAX);
	int status;
	bool ok;

	if (!cli_options(c, NULL, 0, &status))
		return status == EXIT_FOUND ? EX_OK : EX_TEMPFAIL;
	for (size_t i = 0; i < c->nwords; i++)
		buf_addf(&to, "%s\n", c->word[i]);
	ok = read_mail(&mail) && cli_setup(c) && take(c, buf_span(&mail), buf_span(&to));
	buf_free(&mail);
	buf_free(&to);
	return ok ? EX_OK : EX_TEMPFAIL;
}
