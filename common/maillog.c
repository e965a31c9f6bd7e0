#include "common/maillog.h"

#include "common/text.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ---- the stamp ---- */

/* n digits; -1 when there are others. */
static int
number(struct span s, size_t from, size_t n)
{
	int value = 0;

	if (from + n > s.n)
		return -1;
	for (size_t i = from; i < from + n; i++) {
		if (!is_digit(s.p[i]))
			return -1;
		value = 10 * value + (s.p[i] - '0');
	}
	return value;
}

/* "05:28:51" with or without ".123456"; bytes taken, 0: none. */
static size_t
read_clock(struct span s, struct maillog_time *t)
{
	size_t n = 8;
	int scale = 100;

	t->hour = number(s, 0, 2);
	t->minute = number(s, 3, 2);
	t->second = number(s, 6, 2);
	if (t->hour < 0 || t->hour > 23 || t->minute < 0 || t->minute > 59 || t->second < 0 || t->second > 60 || s.p[2] != ':' || s.p[5] != ':')
		return 0;
	if (n < s.n && (s.p[n] == '.' || s.p[n] == ','))
		for (n++; n < s.n && is_digit(s.p[n]); n++, scale /= 10)
			t->ms += (s.p[n] - '0') * scale;
	return n;
}

/* "Nov 23 05:28:51 "; bytes taken. */
static size_t
read_traditional(struct span s, struct maillog_time *t)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	size_t n;

	if (s.n < 16 || s.p[3] != ' ' || s.p[6] != ' ')
		return 0;
	for (int i = 0; i < 12; i++)
		if (memcmp(s.p, months + 3 * i, 3) == 0)
			t->month = i + 1;
	t->day = s.p[4] == ' ' ? number(s, 5, 1) : number(s, 4, 2);
	n = read_clock(span_from(s, 7), t);
	if (t->month == 0 || t->day < 1 || t->day > 31 || n == 0)
		return 0;
	return 7 + n;
}

/* "2026-11-23T05:28:51.123456+01:00", "...+0100", "...Z" (RFC 3339, ISO 8601); bytes taken. */
static size_t
read_full(struct span s, struct maillog_time *t)
{
	size_t n;
	int hours, minutes;

	t->year = number(s, 0, 4);
	t->month = number(s, 5, 2);
	t->day = number(s, 8, 2);
	if (t->year < 1970 || t->month < 1 || t->month > 12 || t->day < 1 || t->day > 31 || s.n < 20 || s.p[4] != '-' || s.p[7] != '-' ||
	    s.p[10] != 'T' || (n = read_clock(span_from(s, 11), t)) == 0)
		return 0;
	n += 11;
	if (n >= s.n)
		return 0;
	t->zoned = true;
	if (s.p[n] == 'Z')
		return n + 1;
	hours = number(s, n + 1, 2);
	minutes = n + 3 < s.n && s.p[n + 3] == ':' ? number(s, n + 4, 2) : number(s, n + 3, 2);
	if ((s.p[n] != '+' && s.p[n] != '-') || hours < 0 || minutes < 0)
		return 0;
	t->offset = (60 * hours + minutes) * (s.p[n] == '-' ? -1 : 1);
	return n + (s.p[n + 3] == ':' ? 6 : 5);
}

/* ---- who says it ---- */

enum program { PROGRAM_OTHER, PROGRAM_DELIVERS, PROGRAM_MANAGES };

/* "postfix/reeng/smtp": the last part is the program; a name without parts is no Postfix. */
static enum program
program_of(struct span tag)
{
	static const char *const delivers[] = { "smtp", "lmtp", "local", "virtual", "pipe", "error" };
	static const char *const manages[] = { "qmgr", "oqmgr", "postsuper" };
	size_t slash = tag.n;
	struct span name;

	while (slash > 0 && tag.p[slash - 1] != '/')
		slash--;
	if (slash <= 1)
		return PROGRAM_OTHER;
	name = span_from(tag, slash);
	for (size_t i = 0; i < COUNT(delivers); i++)
		if (span_eq(name, span_of(delivers[i])))
			return PROGRAM_DELIVERS;
	for (size_t i = 0; i < COUNT(manages); i++)
		if (span_eq(name, span_of(manages[i])))
			return PROGRAM_MANAGES;
	return PROGRAM_OTHER;
}

/* ---- what it says ---- */

/* Takes what the rest begins with. */
static bool
take(struct span *rest, struct span what)
{
	if (!span_starts(*rest, what))
		return false;
	*rest = span_from(*rest, what.n);
	return true;
}

/* Takes up to the next `end`, which goes too. */
static bool
take_until(struct span *rest, struct span end, struct span *piece)
{
	size_t at = span_search(*rest, end);

	if (at == rest->n)
		return false;
	*piece = span_cut(*rest, 0, at);
	*rest = span_from(*rest, at + end.n);
	return true;
}

static bool
is_id(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char l = ascii_lower(s.p[i]);

		if (!is_digit(s.p[i]) && (l < 'a' || l > 'z'))
			return false;
	}
	return s.n >= 6 && s.n <= MAILLOG_ID_MAX;
}

/*
 * An address up to ">, ", which a quoted local part may contain as well; a
 * quote that is never closed is no address.
 */
static bool
take_address(struct span *rest, struct span *address)
{
	size_t i = 0;

	if (i < rest->n && rest->p[i] == '"') {
		for (i++; i < rest->n && rest->p[i] != '"'; i++)
			if (rest->p[i] == '\\')
				i++;
		if (i >= rest->n)
			return false;
	}
	i += span_search(span_from(*rest, i), SPAN(">, "));
	if (i >= rest->n)
		return false;
	*address = span_cut(*rest, 0, i);
	*rest = span_from(*rest, i + 3);
	return true;
}

/* "mx.example.com[192.0.2.1]:25", "local", "none", "mx.example.com[private/dovecot-lmtp]" */
static void
read_relay(struct span relay, struct maillog *m)
{
	size_t open = span_find(relay, '[');
	struct span rest = span_from(relay, open + 1);

	m->host = span_cut(relay, 0, open);
	m->address = span_cut(rest, 0, span_find(rest, ']'));
}

static bool
is_loopback(struct span address)
{
	return span_starts(address, SPAN("127.")) || span_eq(address, SPAN("::1"));
}

/* "250 2.0.0 Ok: queued as 4F2X", or with more in front: another Postfix answers, by way of a filter or not. */
static struct span
queued_as(struct span text)
{
	static const struct span mark = { "queued as ", 10 };
	size_t at = text.n;
	struct span id;

	/* The last one: filters put the answer of what is behind them at the end. */
	for (size_t i = 0; i + mark.n <= text.n; i++)
		if (text.p[i] == 'q' && span_starts(span_from(text, i), mark))
			at = i + mark.n;
	id = span_from(text, at);
	for (size_t i = 0; i <= id.n; i++)
		if (i == id.n || id.p[i] == ')' || id.p[i] == ' ') {
			id = span_cut(id, 0, i);
			break;
		}
	return is_id(id) ? id : span_cut(text, 0, 0);
}

/*
 * "to=<a>, orig_to=<b>, relay=c, conn_use=2, delay=1, delays=0/0/0/1,
 * dsn=2.0.0, status=sent (250 ok)".  Keys are taken in their order, and after
 * relay= none of them holds what a stranger chose before the parentheses.
 */
static void
read_delivery(struct span rest, struct maillog *m)
{
	static const struct {
		const char *status;
		enum maillog_kind kind;
	} kinds[] = { { "sent", MAILLOG_DELIVERED }, { "deferred", MAILLOG_DEFERRED }, { "bounced", MAILLOG_BOUNCED } };
	struct span piece, status;
	enum maillog_kind kind = MAILLOG_OTHER;

	if (!take(&rest, SPAN("to=<")) || !take_address(&rest, &m->to))
		return;
	if (take(&rest, SPAN("orig_to=<")) && !take_address(&rest, &m->orig_to))
		return;
	if (!take(&rest, SPAN("relay=")) || !take_until(&rest, SPAN(", "), &piece) || span_find(piece, ' ') < piece.n)
		return;
	read_relay(piece, m);
	while (!take(&rest, SPAN("status="))) {
		if (!take_until(&rest, SPAN(", "), &piece) || span_find(piece, ' ') < piece.n)
			return;
		if (span_starts(piece, SPAN("delay=")))
			m->delay = span_from(piece, 6);
		else if (span_starts(piece, SPAN("dsn=")))
			m->status = span_from(piece, 4);
	}
	status = span_cut(rest, 0, span_find(rest, ' '));
	rest = span_from(rest, status.n);
	for (size_t i = 0; i < COUNT(kinds); i++)
		if (span_eq(status, span_of(kinds[i].status)))
			kind = kinds[i].kind;
	/* A line that was cut lacks the end. */
	if (take(&rest, SPAN(" (")))
		m->text = span_ends(rest, SPAN(")")) ? span_cut(rest, 0, rest.n - 1) : rest;
	/*
	 * An address that Postfix wrote without quotes (info_log_address_format =
	 * internal) may contain all of the above; then what it really says is in
	 * the text.  No server has a reason to say such a thing.
	 */
	if (span_search(m->text, SPAN(">, relay=")) < m->text.n || span_search(m->text, SPAN(">, orig_to=")) < m->text.n)
		return;
	m->kind = kind;
	if (kind == MAILLOG_DELIVERED && is_loopback(m->address)) {
		m->next = queued_as(m->text);
		if (m->next.n > 0)
			m->kind = MAILLOG_PASSED_ON;
	}
}

/* "from=<a>, status=expired, returned to sender", "removed" */
static void
read_end(struct span rest, struct maillog *m)
{
	struct span from;

	if (span_eq(rest, SPAN("removed")))
		m->kind = MAILLOG_REMOVED;
	else if (take(&rest, SPAN("from=<")) && take_address(&rest, &from) &&
	    (span_eq(rest, SPAN("status=expired, returned to sender")) || span_eq(rest, SPAN("status=force-expired, returned to sender"))))
		m->kind = MAILLOG_EXPIRED;
}

static void
read_message(struct span tag, struct span rest, struct maillog *m)
{
	enum program program = program_of(tag);

	if (program == PROGRAM_OTHER || !take_until(&rest, SPAN(": "), &m->id) || !is_id(m->id))
		return;
	if (program == PROGRAM_DELIVERS)
		read_delivery(rest, m);
	else
		read_end(rest, m);
}

void
maillog_message(struct span tag, struct span message, struct maillog *m)
{
	*m = (struct maillog){ 0 };
	read_message(tag, message, m);
}

void
maillog_line(struct span line, struct maillog *m)
{
	struct maillog_time t = { 0 };
	struct span host, tag;
	size_t n;

	*m = (struct maillog){ 0 };
	line = span_cut(line, 0, MAILLOG_LINE_MAX);
	if ((n = read_traditional(line, &t)) == 0) {
		t = (struct maillog_time){ 0 };
		if ((n = read_full(line, &t)) == 0)
			return;
	}
	m->time = t;
	line = span_from(line, n);
	/* " host postfix/smtp[123]: ..." */
	if (!take(&line, SPAN(" ")) || !take_until(&line, SPAN(" "), &host) || !take_until(&line, SPAN(": "), &tag))
		return;
	read_message(span_cut(tag, 0, span_find(tag, '[')), line, m);
}
