#include "milter/fields.h"

#include "common/mem.h"
#include "common/text.h"
#include "milter/links.h"

#define FIELD_MAX 998 /* octets of a header line (RFC 5322) */

static const char mark_name[] = "X-Rekindle-Id";

/* ---- what the message says ---- */

/* "no" and "no; comment", but not "none". */
static bool
says_no(struct span value)
{
	value = span_trim(value);
	value = span_cut(value, 0, span_find(value, ';'));
	value = span_cut(value, 0, span_find(value, '('));
	return span_ieq(span_trim(value), SPAN("no"));
}

const char *
fields_leave(const struct message *m, const struct stream *stream)
{
	for (size_t i = 0; i < m->nheaders; i++) {
		struct span name = m->header[i].name;

		if (!stream->tag_signed && (span_ieq(name, SPAN("DKIM-Signature")) || span_ieq(name, SPAN("ARC-Seal")) ||
		    span_ieq(name, SPAN("ARC-Message-Signature"))))
			return "signed";
		if (span_ieq(name, SPAN("Auto-Submitted")) && !says_no(m->header[i].value))
			return "Auto-Submitted";
	}
	return NULL;
}

bool
fields_bear_mark(const struct message *m, const struct sealer *sealer)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct claim claim;
	bool found = false;

	for (size_t i = 0; i < m->nheaders && !found; i++)
		found = span_ieq(m->header[i].name, span_of(mark_name)) &&
		    token_open(sealer, TOKEN_MARK, span_trim(m->header[i].value), &claim, &text);
	buf_free(&text);
	return found;
}

bool
fields_track(const struct message *m, const struct tagging *t, enum mode *opens, enum mode *links)
{
	bool track_opens = true, track_links = true, good = true, asked = false;

	for (size_t i = 0; i < m->nheaders; i++) {
		struct span value = span_trim(m->header[i].value);
		bool yes = span_ieq(value, SPAN("yes"));

		if (!span_ieq(m->header[i].name, span_of(t->conf->track_header)))
			continue;
		asked = true;
		track_opens = track_opens && (yes || span_ieq(value, SPAN("opens")));
		track_links = track_links && (yes || span_ieq(value, SPAN("links")));
		good = good && (yes || span_ieq(value, SPAN("opens")) || span_ieq(value, SPAN("links")) ||
		    span_ieq(value, SPAN("no")));
	}
	if (!asked)
		track_opens = track_links = !t->stream->track_asked;
	if (!track_opens)
		*opens = MODE_OFF;
	if (!track_links)
		*links = MODE_OFF;
	return good;
}

/* ---- edits ---- */

void
fields_edit(struct plan *p, enum header_change change, unsigned index, struct span name, struct span value)
{
	p->header = xreallocarray(p->header, p->nheaders + 1, sizeof *p->header);
	p->header[p->nheaders++] = (struct header_edit){
		change, index, xstrndup(name.p, name.n), xstrndup(value.n ? value.p : "", value.n),
	};
}

/* Only what we made ourselves gets here; a byte that has no place in a header means that we are wrong. */
static bool
add(struct plan *p, const char *name, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < ' ' || value.p[i] > '~')
			return false;
	if (value.n == 0 || strlen(name) + 2 + value.n > FIELD_MAX)
		return false;
	fields_edit(p, HEADER_ADD, 0, span_of(name), value);
	return true;
}

/* Which one of its name is header i?  From 1. */
static unsigned
ordinal(const struct message *m, size_t i)
{
	unsigned n = 1;

	for (size_t j = 0; j < i; j++)
		n += span_ieq(m->header[j].name, m->header[i].name);
	return n;
}

/* One that the settings name. */
static bool
is_named(const struct conf *c, struct span name)
{
	const char *const own[] = { c->campaign_header, c->stream_header, c->consent_header, c->track_header };

	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (own[i] != NULL && span_ieq(name, span_of(own[i])))
			return true;
	return false;
}

bool
fields_is_control(const struct conf *c, struct span name)
{
	return is_named(c, name) || span_istarts(name, SPAN("X-Rekindle-"));
}

/* Does the signature with this value list the field? */
static bool
covers(struct span signature, struct span name)
{
	struct span tag, field;

	while (span_split(&signature, ';', &tag)) {
		size_t eq = span_find(tag, '=');

		if (!span_eq(span_trim(span_cut(tag, 0, eq)), SPAN("h")))
			continue;
		for (tag = span_from(tag, eq + 1); span_split(&tag, ':', &field);)
			if (span_ieq(span_trim(field), name))
				return true;
	}
	return false;
}

static bool
is_signed(const struct message *m, struct span name)
{
	for (size_t i = 0; i < m->nheaders; i++)
		if (span_ieq(m->header[i].name, SPAN("DKIM-Signature")) && covers(m->header[i].value, name))
			return true;
	return false;
}

void
fields_delete_control(struct plan *p, const struct message *m, const struct conf *conf, bool keep_signed)
{
	for (size_t i = m->nheaders; i-- > 0;) {
		struct span name = m->header[i].name;

		if (fields_is_control(conf, name) && !(keep_signed && is_named(conf, name) && is_signed(m, name)))
			fields_edit(p, HEADER_DELETE, ordinal(m, i), name, SPAN(""));
	}
}

static void
delete_all(struct plan *p, const struct message *m, struct span name)
{
	for (size_t i = m->nheaders; i-- > 0;)
		if (span_ieq(m->header[i].name, name))
			fields_edit(p, HEADER_DELETE, ordinal(m, i), m->header[i].name, SPAN(""));
}

/* ---- templates ---- */

void
fields_fill(struct buf *out, struct span s, const struct tagging *t, void (*add_text)(struct buf *, struct span))
{
	struct buf date = BUF(32);
	const struct {
		struct span name, value;
	} known[] = {
		{ SPAN("{campaign}"), t->campaign_name }, { SPAN("{stream}"), span_of(t->stream->name) },
		{ SPAN("{date}"), (text_add_day(&date, t->now), buf_span(&date)) },
	};

	while (s.n > 0) {
		size_t brace = span_find(s, '{'), k = 0;

		add_text(out, span_cut(s, 0, brace));
		s = span_from(s, brace);
		while (k < sizeof known / sizeof *known && !span_starts(s, known[k].name))
			k++;
		if (k < sizeof known / sizeof *known)
			add_text(out, known[k].value);
		s = span_from(s, k < sizeof known / sizeof *known ? known[k].name.n : 1);
	}
	buf_free(&date);
}

/* ---- List-Unsubscribe, RFC 8058 and 2369 ---- */

struct span
fields_stream(const struct tagging *t)
{
	return t->stream->series ? SPAN("") : span_of(t->stream->name);
}

/* RFC 8058: both or none. */
static void
add_unsubscribe(struct plan *p, const struct message *m, const struct tagging *t)
{
	bool replace = t->stream->list_unsubscribe == UNSUBSCRIBE_REPLACE;
	struct claim claim = links_claim(t, TOKEN_LEAVE, MODE_IDENTIFIED);
	struct buf value = BUF(FIELD_MAX), token = BUF(FIELD_MAX);
	const char *mailto = t->stream->unsubscribe_mailto;

	if (t->stream->list_unsubscribe == UNSUBSCRIBE_OFF || t->stream->transactional || who_is_nobody(&t->who))
		return;
	if (!replace && (message_header(m, SPAN("List-Unsubscribe")) != NULL ||
	    message_header(m, SPAN("List-Unsubscribe-Post")) != NULL))
		return;
	claim.text = fields_stream(t);
	if (token_seal(t->sealer, &claim, &token)) {
		buf_addf(&value, "<%s/%c/%.*s>", t->conf->tracking_url, TOKEN_LEAVE, SPAN_ARG(buf_span(&token)));
		if (mailto != NULL && mailto[0] != '\0')
			buf_addf(&value, ", <mailto:%s?subject=unsubscribe%%20%.*s>", mailto, SPAN_ARG(buf_span(&token)));
	}
	if (value.n > 0 && !value.over) {
		if (replace) {
			delete_all(p, m, SPAN("List-Unsubscribe"));
			delete_all(p, m, SPAN("List-Unsubscribe-Post"));
		}
		if (add(p, "List-Unsubscribe", buf_span(&value)))
			add(p, "List-Unsubscribe-Post", SPAN("List-Unsubscribe=One-Click"));
	}
	buf_free(&token);
	buf_free(&value);
}

/* ---- Feedback-ID, CFBL ---- */

/* Identifiers of a Feedback-ID hold no colon, and no white space. */
static void
add_identifier(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		bool plain = ascii_alnum(s.p[i]) || s.p[i] == '-' || s.p[i] == '.';

		if (((unsigned char)s.p[i] & 0xc0) != 0x80) /* one for a character of several bytes */
			buf_addc(out, plain ? s.p[i] : '_');
	}
}

static void
add_feedback_id(struct plan *p, const struct message *m, const struct tagging *t)
{
	struct buf value = BUF(FIELD_MAX);
	struct span rest = span_of(t->stream->feedback_id), part;

	if (rest.n == 0 || message_header(m, SPAN("Feedback-ID")) != NULL)
		return;
	while (span_split(&rest, ':', &part)) {
		fields_fill(&value, part, t, add_identifier);
		if (rest.n > 0)
			buf_addc(&value, ':');
	}
	if (!value.over)
		add(p, "Feedback-ID", buf_span(&value));
	buf_free(&value);
}

/* RFC 9477. */
static void
add_cfbl(struct plan *p, const struct message *m, const struct tagging *t)
{
	struct claim claim = links_claim(t, TOKEN_FEEDBACK, links_mode(t, MODE_IDENTIFIED));
	struct buf value = BUF(FIELD_MAX);

	if (t->stream->cfbl_address == NULL || t->stream->cfbl_address[0] == '\0' ||
	    message_header(m, SPAN("CFBL-Address")) != NULL)
		return;
	buf_addf(&value, "%s; report=arf", t->stream->cfbl_address);
	if (add(p, "CFBL-Address", buf_span(&value)) && message_header(m, SPAN("CFBL-Feedback-ID")) == NULL) {
		claim.text = span_of(t->stream->name);
		buf_clear(&value);
		if (token_seal(t->sealer, &claim, &value))
			add(p, "CFBL-Feedback-ID", buf_span(&value));
	}
	buf_free(&value);
}

void
fields_add(struct plan *p, const struct message *m, const struct tagging *t)
{
	add_unsubscribe(p, m, t);
	add_feedback_id(p, m, t);
	add_cfbl(p, m, t);
}

bool
fields_add_mark(struct plan *p, const struct tagging *t)
{
	/* A bounce that has nothing but the mark is about whom the mark names: else one mail of ours would do to stop anybody. */
	struct claim claim = links_claim(t, TOKEN_MARK, links_mode(t, MODE_IDENTIFIED));
	struct buf value = BUF(FIELD_MAX);
	bool made;

	claim.text = span_of(t->stream->name);
	made = token_seal(t->sealer, &claim, &value) && add(p, mark_name, buf_span(&value));
	buf_free(&value);
	return made;
}
