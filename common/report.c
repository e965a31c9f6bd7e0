#include "common/report.h"

#include "common/addr.h"
#include "common/codec.h"
#include "common/text.h"

#define TOKEN_MIN 24     /* characters; the shortest of ours is longer */
#define FIELD_TEXT 16384 /* of one unfolded field */

/* ---- fields ---- */

/* Takes the next field, folded lines and all; name and value as they are.  False at the end of the header. */
static bool
next_field(struct span *rest, struct span *name, struct span *value)
{
	while (rest->n > 0) {
		size_t end = span_find(*rest, '\n'), colon;
		struct span line;

		if (span_trim(span_cut(*rest, 0, end)).n == 0) {
			*rest = span_from(*rest, end + 1);
			return false;
		}
		while (end + 1 < rest->n && (rest->p[end + 1] == ' ' || rest->p[end + 1] == '\t'))
			end += 1 + span_find(span_from(*rest, end + 1), '\n');
		line = span_cut(*rest, 0, end);
		*rest = span_from(*rest, end + 1);
		colon = span_find(line, ':');
		if (colon == line.n)
			continue;
		*name = span_trim(span_cut(line, 0, colon));
		*value = span_trim(span_from(line, colon + 1));
		return true;
	}
	return false;
}

/* The value of the first field of this name; empty when there is none. */
static struct span
field(struct span header, struct span wanted)
{
	struct span name, value;

	while (next_field(&header, &name, &value))
		if (span_ieq(name, wanted))
			return value;
	return (struct span){ 0 };
}

/* Without line breaks, white space behind each other made one. */
static void
add_unfolded(struct buf *out, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] != '\r' && value.p[i] != '\n')
			buf_addc(out, value.p[i]);
}

static struct span
media_of(struct span type)
{
	return span_trim(span_cut(type, 0, span_find(type, ';')));
}

/* "rfc822; ann@example.com" */
static struct span
address_in(struct span value)
{
	return span_trim(span_from(value, span_find(value, ';') + 1));
}

/* ---- what is found ---- */

struct reading {
	const struct sealer *sealer;
	unsigned parts, tokens;
	bool feedback, delivery;    /* what kind of report it is */
	bool complaint;             /* and what that says */
	struct buf groups;          /* the same of delivery: text, until it is known whose message it was */
	struct claim claim;         /* the best one so far: one with a who */
	struct buf text, own;       /* its text; of a candidate */
};

static bool
is_token_byte(char c)
{
	return ascii_alnum(c) || c == '-' || c == '_';
}

static void
try_token(struct reading *x, struct span token, const char *kinds)
{
	struct claim claim;

	if (token.n < TOKEN_MIN || x->tokens++ >= REPORT_TOKENS_MAX)
		return;
	for (; *kinds != '\0'; kinds++) {
		if (!token_open(x->sealer, (enum token_kind)*kinds, token, &claim, &x->own))
			continue;
		/* Who it was sent to says more than that it was sent. */
		if (x->claim.kind != 0 && (who_is_nobody(&claim.who) || !who_is_nobody(&x->claim.who)))
			return;
		buf_clear(&x->text);
		buf_add(&x->text, claim.text);
		x->claim = claim;
		return;
	}
}

static void
try_tokens(struct reading *x, struct span text, const char *kinds)
{
	size_t start = 0;

	for (size_t i = 0; i <= text.n; i++) {
		if (i < text.n && is_token_byte(text.p[i]))
			continue;
		try_token(x, span_cut(text, start, i), kinds);
		/* "subject=unsubscribe%20TOKEN" */
		if (i < text.n && text.p[i] == '%')
			i += 2;
		start = i + 1;
	}
}

/* ---- an enclosed message: only its header ---- */

static void
read_enclosed(struct reading *x, struct span message)
{
	static const struct {
		struct span name;
		const char *kinds;
	} bearers[] = {
		{ { "CFBL-Feedback-ID", 16 }, "f" }, { { "List-Unsubscribe", 16 }, "u" }, { { "X-Rekindle-Id", 13 }, "m" },
	};
	struct span name, value;
	struct buf text = BUF(FIELD_TEXT);

	while (next_field(&message, &name, &value)) {
		for (size_t i = 0; i < sizeof bearers / sizeof *bearers; i++) {
			if (!span_ieq(name, bearers[i].name))
				continue;
			buf_clear(&text);
			add_unfolded(&text, value);
			try_tokens(x, buf_span(&text), bearers[i].kinds);
		}
	}
	buf_free(&text);
}

/* ---- reports ---- */

static void
read_feedback(struct reading *x, struct span body)
{
	struct span type = field(body, SPAN("Feedback-Type"));

	x->feedback = true;
	if (span_ieq(type, SPAN("abuse")) || span_ieq(type, SPAN("fraud")))
		x->complaint = true;
}

static void
read_delivery(struct reading *x, struct span body)
{
	x->delivery = true;
	buf_add(&x->groups, body);
	buf_adds(&x->groups, "\n\n");
}

/* What a report says of one recipient. */
struct outcome {
	struct span address; /* Original-Recipient, or else Final-Recipient; may be empty */
	bool owners;         /* either is the owner's */
	bool failed;
	enum bounce bounce;
	char status[BOUNCE_CODE_MAX];
};

/* Groups of fields with blank lines between them: one about the message, without an action, then one for each recipient. */
static bool
next_outcome(struct span *groups, const struct keys *keys, const struct who *owner, struct outcome *o)
{
	while (groups->n > 0) {
		struct span name, value, action = { 0 }, status = { 0 }, diagnostic = { 0 };

		*o = (struct outcome){ 0 };
		while (next_field(groups, &name, &value)) {
			bool original = span_ieq(name, SPAN("Original-Recipient"));
			struct who who;

			if (span_ieq(name, SPAN("Action")))
				action = value;
			else if (span_ieq(name, SPAN("Status")))
				status = value;
			else if (span_ieq(name, SPAN("Diagnostic-Code")))
				diagnostic = value;
			else if (original || span_ieq(name, SPAN("Final-Recipient"))) {
				value = address_in(value);
				if (original || o->address.n == 0)
					o->address = value;
				o->owners |= !who_is_nobody(owner) && addr_who(keys, value, &who) && who_eq(&who, owner);
			}
		}
		if (action.n == 0)
			continue;
		if ((o->failed = span_ieq(action, SPAN("failed"))))
			o->bounce = bounce_judge(status, diagnostic, o->status);
		return true;
	}
	return false;
}

/* To the recipient: a full mailbox again and again stops mail for a while, a policy never. */
static int
harm(const struct outcome *o)
{
	static const int of[] = { [BOUNCE_POLICY] = 1, [BOUNCE_SOFT] = 2, [BOUNCE_HARD] = 3 };

	return o->failed ? of[o->bounce] : 0;
}

/* The one that counts (report.h).  Its address points into groups. */
static struct outcome
judge(struct span groups, const struct keys *keys, const struct who *owner)
{
	struct outcome best = { 0 }, o;

	for (bool first = true; next_outcome(&groups, keys, owner, &o); first = false) {
		int more = harm(&o) - harm(&best);

		if (first || (o.owners != best.owners ? o.owners : who_is_nobody(owner) ? more > 0 : more < 0))
			best = o;
	}
	return best;
}

/* ---- MIME, as much of it as reports have ---- */

static void read_entity(struct reading *, struct span entity, unsigned depth);

static void
read_multipart(struct reading *x, struct span body, struct span boundary, unsigned depth)
{
	struct span line, part = { 0 };
	bool inside = false, last = false;

	while (!last && body.n > 0) {
		const char *at = body.p;

		if (!span_split(&body, '\n', &line))
			break;
		if (!span_starts(line, SPAN("--")) || !span_starts(span_from(line, 2), boundary))
			continue;
		line = span_trim(span_from(line, 2 + boundary.n));
		last = span_eq(line, SPAN("--"));
		if (line.n > 0 && !last)
			continue;
		if (inside) {
			part.n = (size_t)(at - part.p);
			read_entity(x, part, depth);
		}
		inside = true;
		part = span_cut(body, 0, 0);
	}
	/* A message that was cut: what there is of the last part. */
	if (inside && !last && part.p != NULL) {
		part.n = (size_t)(body.p + body.n - part.p);
		read_entity(x, part, depth);
	}
}

static struct span
decoded(struct buf *out, struct span body, struct span encoding)
{
	struct span line;
	bool soft;

	if (span_ieq(encoding, SPAN("base64"))) {
		out->max = BASE64_ROOM(body.n);
		return base64_read(out, body) ? buf_span(out) : body;
	}
	if (!span_ieq(encoding, SPAN("quoted-printable")))
		return body;
	out->max = 2 * body.n;
	while (body.n > 0) {
		if (!qp_read_line(out, &body, &soft) && span_split(&body, '\n', &line)) {
			buf_add(out, line);
			buf_addc(out, '\n');
		}
	}
	return buf_span(out);
}

static void
read_leaf(struct reading *x, struct span media, struct span body)
{
	static const struct {
		struct span media;
		void (*read)(struct reading *, struct span);
	} kinds[] = {
		{ { "message/feedback-report", 23 }, read_feedback },
		{ { "message/delivery-status", 23 }, read_delivery },
		{ { "message/global-delivery-status", 30 }, read_delivery },
		{ { "message/rfc822", 14 }, read_enclosed },
		{ { "message/global", 14 }, read_enclosed },
		{ { "message/global-headers", 22 }, read_enclosed },
		{ { "text/rfc822-headers", 19 }, read_enclosed },
		{ { "text/rfc822-header", 18 }, read_enclosed },
	};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (span_ieq(media, kinds[i].media))
			kinds[i].read(x, body);
}

static void
read_entity(struct reading *x, struct span entity, unsigned depth)
{
	struct span body = entity, name, value, type = { 0 }, encoding = { 0 }, boundary;
	struct buf text = BUF(0);

	if (depth > REPORT_DEPTH_MAX || x->parts++ >= REPORT_PARTS_MAX)
		return;
	while (next_field(&body, &name, &value)) {
		if (type.n == 0 && span_ieq(name, SPAN("Content-Type")))
			type = value;
		else if (encoding.n == 0 && span_ieq(name, SPAN("Content-Transfer-Encoding")))
			encoding = value;
	}
	boundary = text_parameter(type, SPAN("boundary"));
	if (span_istarts(media_of(type), SPAN("multipart/"))) {
		if (boundary.n > 0)
			read_multipart(x, body, boundary, depth + 1);
	} else
		read_leaf(x, media_of(type), decoded(&text, body, encoding));
	buf_free(&text);
}

/* ---- unsubscribing by mail ---- */

/* Quoted-printable of its own kind: "_" is a space. */
static void
add_q(struct buf *out, struct span text)
{
	unsigned char byte;

	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '=' && text_hex(span_cut(text, i + 1, i + 3), &byte, 1)) {
			buf_addc(out, (char)byte);
			i += 2;
		} else
			buf_addc(out, text.p[i] == '_' ? ' ' : text.p[i]);
	}
}

/* One encoded word (RFC 2047), `=?charset?B?text?=`; bytes taken, 0 when it is none.  Our tokens are ASCII in any charset. */
static size_t
add_encoded_word(struct buf *out, struct span s)
{
	struct span rest = span_from(s, 2), charset, encoding, text;

	if (!span_starts(s, SPAN("=?")) || !span_split(&rest, '?', &charset) || !span_split(&rest, '?', &encoding))
		return 0;
	text = span_cut(rest, 0, span_search(rest, SPAN("?=")));
	if (text.n == rest.n || span_find(text, ' ') < text.n)
		return 0;
	if (span_ieq(encoding, SPAN("Q")))
		add_q(out, text);
	else if (!span_ieq(encoding, SPAN("B")) || !base64_read(out, text))
		return 0;
	return (size_t)(text.p + text.n + 2 - s.p);
}

/* Adjacent encoded words belong together, whatever white space is between them. */
static void
add_decoded(struct buf *out, struct span s)
{
	while (s.n > 0) {
		size_t took = add_encoded_word(out, s), blanks = 0;

		if (took == 0) {
			buf_addc(out, s.p[0]);
			s = span_from(s, 1);
			continue;
		}
		s = span_from(s, took);
		while (blanks < s.n && (s.p[blanks] == ' ' || s.p[blanks] == '\t'))
			blanks++;
		if (span_starts(span_from(s, blanks), SPAN("=?")))
			s = span_from(s, blanks);
	}
}

static void
read_request(struct reading *x, struct span mail, struct span to)
{
	struct buf folded = BUF(FIELD_TEXT), subject = BUF(2 * FIELD_TEXT);
	struct span name, value;

	add_unfolded(&folded, field(mail, SPAN("Subject")));
	add_decoded(&subject, buf_span(&folded));
	try_tokens(x, buf_span(&subject), "u");
	try_tokens(x, to, "u");
	while (next_field(&mail, &name, &value))
		if (span_ieq(name, SPAN("To")) || span_ieq(name, SPAN("Cc")) || span_ieq(name, SPAN("Delivered-To")) ||
		    span_ieq(name, SPAN("X-Original-To")))
			try_tokens(x, value, "u");
	buf_free(&folded);
	buf_free(&subject);
}

/* ---- all of it ---- */

void
report_init(struct report *r)
{
	*r = (struct report){ 0 };
	buf_init(&r->text, TOKEN_DESTINATION_MAX);
	buf_init(&r->own, 1024);
}

void
report_free(struct report *r)
{
	buf_free(&r->text);
	buf_free(&r->own);
}

static void
conclude(struct report *r, const struct reading *x, const struct outcome *o)
{
	const char *missing = "the message that it is about bears no token of ours";
	bool named = !who_is_nobody(&x->claim.who);

	if (x->delivery && !o->failed)
		r->why = "delayed or delivered, but not failed";
	else if (x->delivery && x->claim.kind == 0)
		r->why = missing;
	else if (x->delivery)
		r->kind = REPORT_BOUNCE;
	else if (x->feedback && !x->complaint)
		r->why = "feedback, but no complaint";
	else if (x->feedback && !named)
		r->why = missing;
	else if (x->feedback)
		r->kind = REPORT_COMPLAINT;
	else if (!named && x->tokens > 0)
		r->why = "the token in its subject or address does not open (cut or forged): nobody is unsubscribed";
	else if (!named)
		r->why = "no report, and no token in its subject or address: nobody is unsubscribed";
	else
		r->kind = REPORT_LEAVE;
}

void
report_read(struct report *r, const struct keys *keys, const struct sealer *sealer, struct span mail, struct span to)
{
	struct reading x = { .sealer = sealer };
	struct outcome o;

	buf_init(&x.groups, 2 * REPORT_MAIL_MAX);
	buf_init(&x.text, TOKEN_DESTINATION_MAX);
	buf_init(&x.own, TOKEN_DESTINATION_MAX);
	if (span_starts(mail, SPAN("From ")))
		mail = span_from(mail, span_find(mail, '\n') + 1);
	mail = span_cut(mail, 0, REPORT_MAIL_MAX);
	read_entity(&x, mail, 0);
	if (!x.delivery && !x.feedback) {
		/* A message that merely encloses one of ours, forwarded to us, asks for nothing. */
		x.claim = (struct claim){ 0 };
		x.tokens = 0;
		read_request(&x, mail, to);
	}
	r->kind = REPORT_NOTHING;
	r->why = NULL;
	o = judge(buf_span(&x.groups), keys, &x.claim.who);
	conclude(r, &x, &o);
	buf_clear(&r->text);
	buf_clear(&r->own);
	buf_add(&r->text, buf_span(&x.text));
	buf_add(&r->own, o.address);
	r->claim = x.claim;
	r->claim.text = buf_span(&r->text);
	r->address = buf_span(&r->own);
	r->bounce = o.bounce;
	memcpy(r->status, o.status, sizeof r->status);
	buf_free(&x.groups);
	buf_free(&x.text);
	buf_free(&x.own);
}
