#include "common/listing.h"

#include "common/bounce.h"
#include "common/csv.h"
#include "common/text.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NAMES 6

/*
 * Names of columns and words of reasons are compared without case, spaces and
 * marks: "Email Address", EMAIL_ADDRESS and emailAddress are the same.
 */
struct list_format {
	const char *name;
	const char *needs[NAMES]; /* a list with all of these columns is of this kind; the first kind that fits is it */
	/* Where a row says it: the first of these columns that is there. */
	const char *address[NAMES], *reason[NAMES], *when[NAMES], *detail[NAMES], *until, *stream;
	enum touch_kind without_reason; /* what a row without a reason says; 0: it must have one */
	bool smtp;                      /* the reason is an SMTP reply: its code tells a dead address from a refusal */
	bool text;                      /* fields as csv_text has them */
	const char *nobody;             /* a list of people who are not stopped at all */
};

static const struct list_format formats[] = {
	{ "rekindle", .needs = { "address", "reason", "stream", "since" }, .address = { "address" }, .reason = { "reason" },
	    .when = { "since" }, .detail = { "source" }, .until = "until", .stream = "stream" },
	{ "rekindle", .needs = { "addresstext", "reason", "stream", "since" }, .address = { "addresstext" }, .reason = { "reason" },
	    .when = { "since" }, .detail = { "source" }, .until = "until", .stream = "stream", .text = true },
	{ "mailchimp", .needs = { "emailaddress", "cleantime" }, .address = { "emailaddress" }, .when = { "cleantime" },
	    .detail = { "cleancampaigntitle" }, .without_reason = TOUCH_BOUNCED },
	{ "mailchimp", .needs = { "emailaddress", "unsubtime" }, .address = { "emailaddress" }, .when = { "unsubtime" },
	    .detail = { "unsubreasonother", "unsubreason", "unsubcampaigntitle" }, .without_reason = TOUCH_LEFT },
	{ "mailchimp", .needs = { "emailaddress", "memberrating" }, .address = { "emailaddress" },
	    .nobody = "this is the list of subscribed members; unsubscribed and cleaned ones are in files of their own" },
	{ "sendgrid", .needs = { "email", "created", "status", "reason" }, .address = { "email" }, .when = { "created" },
	    .reason = { "status" }, .detail = { "reason" }, .smtp = true },
	{ "sendgrid", .needs = { "email", "created", "reason" }, .address = { "email" }, .when = { "created" },
	    .detail = { "reason" }, .without_reason = TOUCH_BOUNCED }, /* invalid addresses */
	{ "sendgrid", .needs = { "email", "created", "ip" }, .address = { "email" }, .when = { "created" },
	    .without_reason = TOUCH_COMPLAINED },
	{ "sendgrid", .needs = { "email", "created" }, .address = { "email" }, .when = { "created" },
	    .without_reason = TOUCH_LEFT },
	{ "postmark", .needs = { "emailaddress", "suppressionreason" }, .address = { "emailaddress" },
	    .reason = { "suppressionreason" }, .when = { "createdat" }, .detail = { "origin" } },
	{ "mailgun", .needs = { "address", "code", "error" }, .address = { "address" }, .reason = { "code" },
	    .when = { "createdat" }, .detail = { "error" }, .smtp = true },
	{ "mailgun", .needs = { "address", "tags", "createdat" }, .address = { "address" }, .when = { "createdat" },
	    .detail = { "tags" }, .without_reason = TOUCH_LEFT },
	{ "mailgun", .needs = { "address", "createdat" }, .address = { "address" }, .when = { "createdat" },
	    .without_reason = TOUCH_COMPLAINED },
	{ "sparkpost", .needs = { "recipient", "source" }, .address = { "recipient" }, .reason = { "source" },
	    .when = { "created", "updated" }, .detail = { "description" } },
	{ "ses", .needs = { "emailaddress", "reason" }, .address = { "emailaddress" }, .reason = { "reason" },
	    .when = { "lastupdatetime" } },
	{ "brevo", .needs = { "email", "blockedat", "reason" }, .address = { "email" }, .reason = { "reason" },
	    .when = { "blockedat" }, .detail = { "senderemail", "sender" } },
	{ "klaviyo", .needs = { "email", "reason", "timestamp" }, .address = { "email" }, .reason = { "reason" },
	    .when = { "timestamp" } },
	{ "listmonk", .needs = { "uuid", "email", "status" }, .address = { "email" }, .reason = { "status" },
	    .when = { "updatedat", "createdat" } },
	{ "mautic", .needs = { "email", "channel", "reason" }, .address = { "email" }, .reason = { "reason" },
	    .when = { "dateadded" }, .detail = { "comments" } },
	{ "generic", .needs = { "email" }, .address = { "email" }, .reason = { "reason", "status", "type" },
	    .when = { "date", "timestamp", "createdat", "created" }, .detail = { "comment", "description", "detail" } },
	{ "generic", .needs = { "address" }, .address = { "address" }, .reason = { "reason", "status", "type" },
	    .when = { "date", "timestamp", "createdat", "created" }, .detail = { "comment", "description", "detail" } },
	{ "generic", .needs = { "addresstext" }, .address = { "addresstext" }, .text = true },
	{ "generic", .needs = { "emailaddress" }, .address = { "emailaddress" }, .reason = { "reason", "status", "type" },
	    .when = { "date", "timestamp", "createdat", "created" }, .detail = { "comment", "description", "detail" } },
};
static const struct list_format plain = { .name = "plain" };

/* What the words of all systems mean here.  0: nobody is to be stopped for it, and why not. */
static const struct word {
	const char *word;
	enum touch_kind kind;
	const char *why;
} words[] = {
	{ "bounced", TOUCH_BOUNCED, NULL }, { "bounce", TOUCH_BOUNCED, NULL }, { "hardbounce", TOUCH_BOUNCED, NULL },
	{ "hardbounced", TOUCH_BOUNCED, NULL }, { "bouncerule", TOUCH_BOUNCED, NULL }, { "invalid", TOUCH_BOUNCED, NULL },
	{ "invalidemail", TOUCH_BOUNCED, NULL }, { "cleaned", TOUCH_BOUNCED, NULL },
	{ "complained", TOUCH_COMPLAINED, NULL }, { "complaint", TOUCH_COMPLAINED, NULL },
	{ "spamcomplaint", TOUCH_COMPLAINED, NULL }, { "spamreport", TOUCH_COMPLAINED, NULL },
	{ "spam", TOUCH_COMPLAINED, NULL }, { "abuse", TOUCH_COMPLAINED, NULL },
	{ "contactflaggedasspam", TOUCH_COMPLAINED, NULL },
	{ "unsubscribed", TOUCH_LEFT, NULL }, { "unsubscribe", TOUCH_LEFT, NULL }, { "listunsubscribe", TOUCH_LEFT, NULL },
	{ "unsubscribelink", TOUCH_LEFT, NULL }, { "unsubscribedviama", TOUCH_LEFT, NULL },
	{ "unsubscribedviaemail", TOUCH_LEFT, NULL }, { "unsubscribedviaapi", TOUCH_LEFT, NULL },
	{ "blocklisted", TOUCH_LEFT, NULL }, { "blacklisted", TOUCH_LEFT, NULL }, { "optout", TOUCH_LEFT, NULL },
	{ "left", TOUCH_LEFT, NULL },
	{ "held", TOUCH_HELD, NULL }, { "manual", TOUCH_HELD, NULL }, { "manualsuppression", TOUCH_HELD, NULL },
	{ "manuallyadded", TOUCH_HELD, NULL }, { "usersuppressed", TOUCH_HELD, NULL }, { "adminblocked", TOUCH_HELD, NULL },
	{ "compliance", TOUCH_HELD, NULL }, { "disabled", TOUCH_HELD, NULL },
	{ "softbounce", 0, "the mail was refused for a while, not the address" },
	{ "softbounced", 0, "the mail was refused for a while, not the address" },
	{ "block", 0, "the mail was refused, not the address" }, { "blocked", 0, "the mail was refused, not the address" },
	{ "enabled", 0, "is not suppressed there" }, { "subscribed", 0, "is not suppressed there" },
	{ "active", 0, "is not suppressed there" }, { "confirmed", 0, "is not suppressed there" },
};

/* Mautic has numbers. */
static const struct word mautic_words[] = {
	{ "0", 0, "is not suppressed there" }, { "1", TOUCH_LEFT, NULL }, { "2", TOUCH_BOUNCED, NULL }, { "3", TOUCH_HELD, NULL },
};

static bool
is_mark(char c)
{
	return c == ' ' || c == '_' || c == '-' || c == '.' || c == '\t';
}

/* Is text this word, but for case, spaces and marks? */
static bool
is_word(struct span text, const char *word)
{
	size_t k = 0;

	for (size_t i = 0; i < text.n; i++) {
		if (is_mark(text.p[i]))
			continue;
		if (word[k] == '\0' || ascii_lower(text.p[i]) != word[k++])
			return false;
	}
	return word[k] == '\0' && k > 0;
}

static size_t
column(const struct span *field, size_t n, const char *name)
{
	for (size_t i = 0; name != NULL && i < n; i++)
		if (is_word(field[i], name))
			return i;
	return LIST_NO_COLUMN;
}

static size_t
first_column(const struct span *field, size_t n, const char *const names[NAMES])
{
	for (size_t i = 0; i < NAMES && names[i] != NULL; i++) {
		size_t c = column(field, n, names[i]);

		if (c != LIST_NO_COLUMN)
			return c;
	}
	return LIST_NO_COLUMN;
}

static bool
fits(const struct list_format *f, const struct span *field, size_t n)
{
	for (size_t i = 0; i < NAMES && f->needs[i] != NULL; i++)
		if (column(field, n, f->needs[i]) == LIST_NO_COLUMN)
			return false;
	return true;
}

void
listing_free(struct listing *l)
{
	buf_free(&l->plain);
}

const char *
listing_name(const struct listing *l)
{
	return l->format->name;
}

void
listing_names(struct buf *out)
{
	for (size_t i = 0; i < COUNT(formats); i++)
		if (i == 0 || strcmp(formats[i].name, formats[i - 1].name) != 0)
			buf_addf(out, "%s, ", formats[i].name);
	buf_adds(out, plain.name);
}

static bool
is_format(struct span name)
{
	for (size_t i = 0; i < COUNT(formats); i++)
		if (span_eq(name, span_of(formats[i].name)))
			return true;
	return name.n == 0 || span_eq(name, span_of(plain.name));
}

static bool
refuse(struct buf *why, const char *text)
{
	buf_adds(why, text);
	return false;
}

static enum list_row
skip(struct buf *why, const char *text)
{
	buf_adds(why, text);
	return LIST_SKIP;
}

static enum list_row
bad(struct buf *why, const char *text)
{
	buf_adds(why, text);
	return LIST_BAD;
}

bool
listing_find(struct listing *l, const struct span *field, size_t n, struct span name, struct buf *why)
{
	*l = (struct listing){ NULL, 0, LIST_NO_COLUMN, LIST_NO_COLUMN, LIST_NO_COLUMN, LIST_NO_COLUMN, LIST_NO_COLUMN, false, BUF(0) };
	if (!is_format(name)) {
		buf_addf(why, "there is no format \"%.*s\"; one of ", SPAN_ARG(span_cut(name, 0, 50)));
		listing_names(why);
		return false;
	}
	for (size_t i = 0; i < COUNT(formats) && l->format == NULL; i++)
		if ((name.n == 0 || span_eq(name, span_of(formats[i].name))) && fits(&formats[i], field, n))
			l->format = &formats[i];
	if (l->format == NULL && (name.n == 0 || span_eq(name, span_of(plain.name))) && n > 0 &&
	    span_find(field[0], '@') < field[0].n) {
		l->format = &plain;
		l->headless = true;
		return true;
	}
	if (l->format == NULL)
		return refuse(why, "the first line has no columns that are known; rekindle(1) says which are");
	if (l->format->nobody != NULL)
		return refuse(why, l->format->nobody);
	l->address = first_column(field, n, l->format->address);
	l->reason = first_column(field, n, l->format->reason);
	l->when = first_column(field, n, l->format->when);
	l->detail = first_column(field, n, l->format->detail);
	l->until = column(field, n, l->format->until);
	l->stream = column(field, n, l->format->stream);
	return true;
}

/* ---- dates ---- */

static bool
take_number(struct span *s, size_t min, size_t max, unsigned *out)
{
	size_t n = 0;

	*out = 0;
	while (n < s->n && n < max && s->p[n] >= '0' && s->p[n] <= '9')
		*out = *out * 10 + (unsigned)(s->p[n++] - '0');
	*s = span_from(*s, n);
	return n >= min;
}

static bool
take_char(struct span *s, const char *one_of)
{
	if (s->n == 0 || s->p[0] == '\0' || strchr(one_of, s->p[0]) == NULL)
		return false;
	*s = span_from(*s, 1);
	return true;
}

static bool
take_month(struct span *s, unsigned *month)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (*month = 1; *month <= 12; ++*month)
		if (span_ieq(span_cut(*s, 0, 3), span_make(names + 3 * (*month - 1), 3))) {
			*s = span_from(*s, 3);
			return true;
		}
	return false;
}

/* "21 Oct 2011", after "Fri, " or not */
static bool
take_mail_day(struct span *s, unsigned *y, unsigned *m, unsigned *d)
{
	size_t comma = span_find(*s, ',');

	if (comma < 4)
		*s = span_trim(span_from(*s, comma + 1));
	return take_number(s, 1, 2, d) && take_char(s, " -") && take_month(s, m) && take_char(s, " -") && take_number(s, 4, 4, y);
}

/* "2026-01-31", "31.01.2026", "31-01-2026", "01/31/2026", "31/01/2026" where it can mean only one day */
static bool
take_day(struct span *s, unsigned *y, unsigned *m, unsigned *d)
{
	unsigned first;
	bool slash;

	if (!take_number(s, 1, 4, &first) || s->n == 0)
		return false;
	slash = s->p[0] == '/';
	if (first > 31) {
		*y = first;
		return take_char(s, "-/") && take_number(s, 1, 2, m) && take_char(s, "-/") && take_number(s, 1, 2, d);
	}
	*d = first;
	if (!take_char(s, "./-") || !take_number(s, 1, 2, m) || !take_char(s, "./-") || !take_number(s, 4, 4, y))
		return false;
	if (slash && *d <= 12 && *m <= 12 && *d != *m)
		return false;
	if (slash && *m > 12) {
		*d = *m;
		*m = first;
	}
	return true;
}

/* " 12:00", " 12:00:00.5", "T12:00:00+01:00", " 12:00:00 +0100", " 12:00:00 GMT", " 1:05 PM"; out is as text_time reads it. */
static bool
add_clock(struct span s, struct buf *out)
{
	unsigned h = 0, min = 0, sec = 0, zone;
	char sign = '+';

	if (s.n > 0 && (!take_char(&s, " T") || !take_number(&s, 1, 2, &h) || !take_char(&s, ":") || !take_number(&s, 2, 2, &min)))
		return false;
	if (take_char(&s, ":") && !take_number(&s, 2, 2, &sec))
		return false;
	if (take_char(&s, ".") && !take_number(&s, 1, 9, &zone))
		return false;
	s = span_trim(s);
	if (span_ieq(s, SPAN("am")) || span_ieq(s, SPAN("pm"))) {
		if (h < 1 || h > 12)
			return false;
		h = h % 12 + (ascii_lower(s.p[0]) == 'p' ? 12 : 0);
		s = SPAN("");
	}
	buf_addf(out, "T%02u:%02u:%02u", h, min, sec);
	if (s.n == 0 || span_ieq(s, SPAN("GMT")) || span_ieq(s, SPAN("UTC")) || span_ieq(s, SPAN("Z"))) {
		buf_addc(out, 'Z');
		return true;
	}
	sign = s.p[0];
	if (!take_char(&s, "+-") || !take_number(&s, 2, 2, &h))
		return false;
	(void)take_char(&s, ":");
	if (s.n == 0)
		s = SPAN("00");
	if (!take_number(&s, 2, 2, &min) || (s.n > 0 && !take_char(&s, " ")))
		return false;
	buf_addf(out, "%c%02u:%02u", sign, h, min);
	return s.n == 0 || s.p[0] == '(' || span_eq(s, SPAN("UTC")); /* +0100 (CET), +0000 UTC */
}

bool
listing_time(struct span s, int64_t *ms)
{
	struct buf iso = BUF(64);
	struct span rest;
	unsigned y, m, d;
	bool good;

	s = span_trim(s);
	if (text_time(s, ms))
		return true;
	if (!(rest = s, take_day(&rest, &y, &m, &d)) && !(rest = s, take_mail_day(&rest, &y, &m, &d)))
		return false;
	buf_addf(&iso, "%04u-%02u-%02u", y, m, d);
	good = add_clock(rest, &iso) && text_time(buf_span(&iso), ms);
	buf_free(&iso);
	return good;
}

/* ---- rows ---- */

static struct span
at(const struct span *field, size_t n, size_t i)
{
	return i < n ? span_trim(field[i]) : SPAN("");
}

static bool
find_word(const struct word *list, size_t n, struct span text, const struct word **out)
{
	for (size_t i = 0; i < n; i++)
		if (is_word(text, list[i].word)) {
			*out = &list[i];
			return true;
		}
	return false;
}

/* For good, but not what. */
static bool
says_nothing(struct span status)
{
	return span_eq(status, SPAN("550")) || span_eq(status, SPAN("5.0.0")) || span_eq(status, SPAN("5.1.0"));
}

/*
 * A list of replies has dead addresses, and mail that was refused for what it
 * or its sender was: that says nothing about the address.  Where the reply
 * does not tell, the list itself does: it is one of bounces.
 */
static enum list_row
read_reply(struct span status, struct span text, struct listed *out, struct buf *why)
{
	char counted[BOUNCE_CODE_MAX];
	struct span s = status;
	unsigned code = 0;

	out->kind = TOUCH_BOUNCED;
	if (!take_number(&s, 1, 3, &code))
		return bad(why, "the status is neither like 5.1.1 nor like 550");
	/* Mailgun's own: not sent, for it bounced (605), complained (607) or unsubscribed (606) before. */
	if (code >= 605 && code <= 607) {
		out->kind = code == 605 ? TOUCH_BOUNCED : code == 606 ? TOUCH_LEFT : TOUCH_COMPLAINED;
		return LIST_STOP;
	}
	switch (bounce_judge(status, text, counted)) {
	case BOUNCE_POLICY:
		return skip(why, "the mail was refused, not the address");
	case BOUNCE_SOFT:
		if (text.n == 0 && says_nothing(status))
			return LIST_STOP;
		return skip(why, "the reply does not say that the address is dead");
	default:
		return LIST_STOP;
	}
}

static enum list_row
read_reason(const struct listing *l, struct span reason, enum touch_kind as, struct listed *out, struct buf *why)
{
	const struct word *w;

	if (l->format->smtp)
		return read_reply(reason, out->detail, out, why);
	if (find_word(words, COUNT(words), reason, &w) ||
	    (strcmp(l->format->name, "mautic") == 0 && find_word(mautic_words, COUNT(mautic_words), reason, &w))) {
		out->kind = w->kind;
		/* Of a manual suppression Postmark's origin says whose wish it was. */
		if (w->kind == TOUCH_HELD && is_word(out->detail, "recipient"))
			out->kind = TOUCH_LEFT;
		return w->kind == 0 ? skip(why, w->why) : LIST_STOP;
	}
	out->kind = as ? as : reason.n == 0 ? l->format->without_reason : 0;
	if (out->kind != 0)
		return LIST_STOP;
	if (reason.n == 0)
		buf_adds(why, "it says no reason; --as says what such rows mean");
	else
		buf_addf(why, "nobody here knows the reason \"%.*s\"; --as says what such rows mean",
		    SPAN_ARG(span_cut(reason, 0, 100)));
	return LIST_BAD;
}

static enum list_row
bad_date(struct span text, struct buf *why)
{
	buf_addf(why, "\"%.*s\" is not a date, or could be two; write 2026-01-31", SPAN_ARG(span_cut(text, 0, 50)));
	return LIST_BAD;
}

/* A spreadsheet's apostrophes go. */
static void
make_plain(struct listing *l, struct listed *row)
{
	size_t n;

	buf_clear(&l->plain);
	l->plain.max = row->address.n + row->detail.n;
	csv_plain(&l->plain, row->address);
	n = l->plain.n;
	csv_plain(&l->plain, row->detail);
	row->address = span_cut(buf_span(&l->plain), 0, n);
	row->detail = span_from(buf_span(&l->plain), n);
}

enum list_row
listing_read(struct listing *l, const struct span *field, size_t n, enum touch_kind as, struct listed *out, struct buf *why)
{
	struct span when = at(field, n, l->when), until = at(field, n, l->until);
	enum list_row r;

	*out = (struct listed){ .address = at(field, n, l->address), .stream = at(field, n, l->stream),
		.detail = at(field, n, l->detail) };
	if (l->format->text)
		make_plain(l, out);
	for (size_t i = 0; i < n; i++)
		if (!text_is_utf8(field[i]))
			return bad(why, "it is not UTF-8");
	if (out->address.n == 0)
		return bad(why, "the address is missing");
	if ((r = read_reason(l, at(field, n, l->reason), as, out, why)) != LIST_STOP)
		return r;
	if (when.n > 0 && !listing_time(when, &out->when))
		return bad_date(when, why);
	if (until.n > 0 && !listing_time(until, &out->until))
		return bad_date(until, why);
	return LIST_STOP;
}
