#include "milter/answer.h"

#include <string.h>

#include "common/text.h"

#define DIGITS_MAX 4  /* of a netstring's length: ANSWER_REQUEST_MAX has as many */
#define TEXT_MAX 300  /* %XX makes three of each */
#define WORDS_MAX 64  /* around it */

_Static_assert(3 * TEXT_MAX + WORDS_MAX <= ANSWER_MAX, "an answer has room");

/* ---- reading ---- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A policy request begins with a letter, too; Postfix's with "request=". */
static enum answer_protocol
protocol_of(struct span in)
{
	static const struct span get = SPAN("get ");

	if (in.n == 0)
		return ANSWER_UNKNOWN;
	if (is_digit(in.p[0]))
		return ANSWER_SOCKETMAP;
	if (span_starts(in, get))
		return ANSWER_TCP;
	return span_starts(get, in) ? ANSWER_UNKNOWN : ANSWER_POLICY;
}

/* The end of what `end` ends, behind it; 0 when it has not come, and the next search goes on where this one stopped. */
static size_t
find_end(struct answer_reader *r, struct span in, struct span end)
{
	size_t from = r->seen, at = span_search(span_from(in, from), end);

	if (from + at < in.n)
		return from + at + end.n;
	r->seen = in.n >= end.n ? in.n - end.n + 1 : 0;
	return 0;
}

static int
not_whole(struct span in)
{
	return in.n < ANSWER_REQUEST_MAX ? 0 : -1;
}

/* The key is all behind the first space: addresses may have more of them, names of tables none. */
static int
read_socketmap(struct span in, struct lookup *q)
{
	size_t digits = 0, n = 0, space;
	struct span text;

	while (digits < in.n && is_digit(in.p[digits])) {
		if (digits == DIGITS_MAX)
			return -1;
		n = 10 * n + (size_t)(in.p[digits++] - '0');
	}
	if (digits + n + 2 > ANSWER_REQUEST_MAX || (digits > 1 && in.p[0] == '0'))
		return -1;
	if (digits == in.n)
		return 0;
	if (digits == 0 || in.p[digits] != ':')
		return -1;
	if (in.n < digits + n + 2)
		return 0;
	text = span_cut(in, digits + 1, digits + 1 + n);
	space = span_find(text, ' ');
	if (in.p[digits + 1 + n] != ',' || space == text.n)
		return -1;
	q->map = span_cut(text, 0, space);
	q->key = span_from(text, space + 1);
	return (int)(digits + n + 2);
}

static bool
decode(struct buf *room, struct span text)
{
	unsigned char byte;

	buf_clear(room);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] != '%') {
			buf_addc(room, text.p[i]);
			continue;
		}
		if (!text_hex(span_cut(text, i + 1, i + 3), &byte, 1))
			return false;
		buf_addc(room, (char)byte);
		i += 2;
	}
	return !room->over;
}

static int
read_tcp(struct answer_reader *r, struct span in, struct buf *room, struct lookup *q)
{
	static const struct span get = SPAN("get ");
	size_t end = find_end(r, in, SPAN("\n"));

	if (end == 0)
		return not_whole(in);
	if (end > ANSWER_REQUEST_MAX || !span_starts(in, get) || !decode(room, span_cut(in, get.n, end - 1)))
		return -1;
	q->key = buf_span(room);
	return (int)end;
}

/* Of attributes that are there twice the first one counts, as Postfix has it. */
static int
read_policy(struct answer_reader *r, struct span in, struct lookup *q)
{
	const struct {
		struct span name;
		struct span *value;
	} wanted[] = {
		{ SPAN("protocol_state"), &q->state }, { SPAN("recipient"), &q->key }, { SPAN("sender"), &q->sender },
		{ SPAN("sasl_username"), &q->login }, { SPAN("client_address"), &q->client }, { SPAN("policy_context"), &q->context },
	};
	size_t end = find_end(r, in, SPAN("\n\n"));
	struct span rest = span_cut(in, 0, end), line;
	bool ours = false;

	if (end == 0)
		return not_whole(in);
	if (end > ANSWER_REQUEST_MAX)
		return -1;
	rest.n--; /* with the end of its last line */
	while (span_split(&rest, '\n', &line)) {
		size_t eq = span_find(line, '=');
		struct span name = span_cut(line, 0, eq), value = span_from(line, eq + 1);

		if (eq == 0 || eq == line.n)
			return -1;
		ours = ours || (span_eq(name, SPAN("request")) && span_eq(value, SPAN("smtpd_access_policy")));
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
			if (wanted[i].value->p == NULL && span_eq(name, wanted[i].name))
				*wanted[i].value = value;
	}
	return ours ? (int)end : -1;
}

int
answer_read(struct answer_reader *r, struct span in, struct buf *room, struct lookup *q)
{
	int n = 0;

	if (r->protocol == ANSWER_UNKNOWN)
		r->protocol = protocol_of(in);
	*q = (struct lookup){ .protocol = r->protocol };
	switch (r->protocol) {
	case ANSWER_UNKNOWN:
		break;
	case ANSWER_SOCKETMAP:
		n = read_socketmap(in, q);
		break;
	case ANSWER_TCP:
		n = read_tcp(r, in, room, q);
		break;
	case ANSWER_POLICY:
		n = read_policy(r, in, q);
		break;
	}
	if (n > 0)
		r->seen = 0;
	return n;
}

/* ---- writing ---- */

/* What stands before the text, where there is one: in tables, and in actions of access(5). */
static const struct words {
	struct span socketmap, tcp, policy;
	bool table_tells, policy_tells;
} words[] = {
	[ANSWER_NONE] = { SPAN("NOTFOUND "), SPAN("500 none"), SPAN("DUNNO"), false, false },
	[ANSWER_ROUTE] = { SPAN("OK "), SPAN("200 "), SPAN("DUNNO"), true, false },
	[ANSWER_REJECT] = { SPAN("OK error:5.7.1 "), SPAN("200 error:5.7.1%20"), SPAN("550 5.7.1 "), true, true },
	[ANSWER_DEFER] = { SPAN("OK retry:4.7.1 "), SPAN("200 retry:4.7.1%20"), SPAN("451 4.7.1 "), true, true },
	[ANSWER_DISCARD] = { SPAN("OK discard:"), SPAN("200 discard:"), SPAN("550 5.7.1 "), true, true },
	[ANSWER_HOLD] = { SPAN("NOTFOUND "), SPAN("500 none"), SPAN("HOLD "), false, true },
	[ANSWER_LATER] = { SPAN("TEMP "), SPAN("400 "), SPAN("451 4.3.0 "), true, true },
	[ANSWER_WRONG] = { SPAN("PERM "), SPAN("400 "), SPAN("DUNNO"), true, false },
};

/*
 * What follows writes to where there is room for all of an answer, and gives
 * the end back: printf, or to ask for the room of each byte, takes longer than
 * to find out what to say.
 */

/* Of a netstring; less than a thousand. */
static char *
put_length(char *to, size_t n)
{
	if (n >= 100)
		*to++ = (char)('0' + n / 100);
	if (n >= 10)
		*to++ = (char)('0' + n / 10 % 10);
	*to++ = (char)('0' + n % 10);
	*to++ = ':';
	return to;
}

static char *
put_text(char *to, struct span text)
{
	for (size_t i = 0; i < text.n; i++)
		to[i] = text.p[i] >= ' ' && text.p[i] < 0x7f ? text.p[i] : '?';
	return to + text.n;
}

static char *
put_quoted(char *to, struct span text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == ' ' || text.p[i] == '%')
			to = span_put(to, text.p[i] == ' ' ? SPAN("%20") : SPAN("%25"));
		else
			to = put_text(to, span_cut(text, i, i + 1));
	return to;
}

void
answer_write(struct buf *out, enum answer_protocol protocol, enum answer answer, struct span text)
{
	const struct words *w = &words[answer];
	char *room = buf_room(out, ANSWER_MAX), *to = room;
	struct span colon = SPAN("");

	if (room == NULL)
		return;
	if (protocol == ANSWER_POLICY ? !w->policy_tells : !w->table_tells)
		text.n = 0;
	text = span_cut(text, 0, TEXT_MAX);
	/* A transport alone gets a colon: without a next hop it is the recipient's domain. */
	if (answer == ANSWER_ROUTE && span_find(text, ':') == text.n)
		colon = SPAN(":");
	switch (protocol) {
	case ANSWER_UNKNOWN:
		break;
	case ANSWER_SOCKETMAP:
		to = put_length(to, w->socketmap.n + text.n + colon.n);
		to = put_text(span_put(to, w->socketmap), text);
		to = span_put(span_put(to, colon), SPAN(","));
		break;
	case ANSWER_TCP:
		to = put_quoted(span_put(to, w->tcp), text);
		to = span_put(span_put(to, colon), SPAN("\n"));
		break;
	case ANSWER_POLICY:
		to = span_put(span_put(to, SPAN("action=")), w->policy);
		to = span_put(put_text(to, text), SPAN("\n\n"));
		break;
	}
	buf_grew(out, (size_t)(to - room));
}
