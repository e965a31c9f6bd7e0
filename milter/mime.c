#include "milter/mime.h"

#include <assert.h>
#include <stdlib.h>

#include "common/codec.h"
#include "common/mem.h"

static const char broken[] = "broken MIME";

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_space(char c)
{
	return is_blank(c) || c == '\r' || c == '\n';
}

/* ---- header fields ---- */

/* Where the line at i ends: *next is behind its line break, which may be missing. */
static size_t
line_end(struct span in, size_t i, size_t *next)
{
	size_t lf = i + span_find(span_from(in, i), '\n');

	*next = lf < in.n ? lf + 1 : lf;
	return lf < in.n && lf > i && in.p[lf - 1] == '\r' ? lf - 1 : lf;
}

int
mime_field(struct span in, size_t *at, struct header *field)
{
	size_t i = *at, colon, end, next;

	if (i >= in.n)
		return 0;
	end = line_end(in, i, &next);
	if (end == i) {
		*at = next;
		return 0;
	}
	for (colon = i; colon < end && in.p[colon] > ' ' && in.p[colon] < 0x7f && in.p[colon] != ':';)
		colon++;
	field->name = span_cut(in, i, colon);
	while (colon < end && is_blank(in.p[colon]))
		colon++;
	if (field->name.n == 0 || colon == end || in.p[colon] != ':')
		return -1;
	while (next < in.n && is_blank(in.p[next]))
		end = line_end(in, next, &next);
	field->value = span_cut(in, colon + 1, end);
	*at = next;
	return 1;
}

/* The fields that say what a part is. */
struct entity {
	struct span type, encoding, disposition;
	unsigned ntypes, nencodings, ndispositions;
};

static void
entity_add(struct entity *e, const struct header *h)
{
	if (span_ieq(h->name, SPAN("Content-Type"))) {
		e->type = h->value;
		e->ntypes++;
	} else if (span_ieq(h->name, SPAN("Content-Transfer-Encoding"))) {
		e->encoding = h->value;
		e->nencodings++;
	} else if (span_ieq(h->name, SPAN("Content-Disposition"))) {
		e->disposition = h->value;
		e->ndispositions++;
	}
}

/* ---- structured values: words, comments, parameters ---- */

/* White space and comments.  False for a comment that does not end. */
static bool
skip_comments(struct span in, size_t *i)
{
	unsigned depth = 0;

	for (; *i < in.n; ++*i) {
		char c = in.p[*i];

		if (c == '(')
			depth++;
		else if (depth == 0 && !is_space(c))
			break;
		else if (c == ')')
			depth--;
		else if (c == '\\' && *i + 1 < in.n)
			++*i;
	}
	return depth == 0;
}

/* Lenient: "=" and the like are often left unquoted in boundaries. */
static struct span
word(struct span in, size_t *i, const char *stop)
{
	size_t start = *i;

	while (*i < in.n && !is_space(in.p[*i]) && in.p[*i] != '\0' && strchr(stop, in.p[*i]) == NULL)
		++*i;
	return span_cut(in, start, *i);
}

/* A parameter that may come in RFC 2231 pieces: name*0="..."; name*1*=%41 */
struct value {
	struct buf text;
	bool whole;
	unsigned pieces;
	bool bad;
};

struct content_type {
	struct span type, subtype;
	struct value boundary, charset;
};

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* charset'language'text%20text; only the first piece has the quotes. */
static void
add_extended(struct value *v, struct span s, bool first)
{
	if (first) {
		s = span_from(s, span_find(s, '\'') + 1);
		s = span_from(s, span_find(s, '\'') + 1);
	}
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			buf_addc(&v->text, s.p[i]);
			continue;
		}
		if (i + 2 >= s.n || hex(s.p[i + 1]) < 0 || hex(s.p[i + 2]) < 0) {
			v->bad = true;
			return;
		}
		buf_addc(&v->text, (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2])));
		i += 2;
	}
}

/* `mark` is what stands between the name and "=": "", "*", "*0" or "*0*". */
static void
value_add(struct value *v, struct span mark, struct span text)
{
	bool extended = span_ends(mark, SPAN("*"));
	struct span number = span_cut(mark, 1, mark.n - (extended && mark.n > 1));

	if (number.n == 0) {
		v->bad = v->bad || v->whole || v->pieces > 0;
		v->whole = true;
	} else {
		unsigned n = 0;

		for (size_t i = 0; i < number.n; i++) {
			if (number.n > 3 || number.p[i] < '0' || number.p[i] > '9')
				v->bad = true;
			n = n * 10 + (unsigned)(number.p[i] - '0');
		}
		v->bad = v->bad || v->whole || n != v->pieces;
		v->pieces++;
	}
	if (v->bad)
		return;
	if (extended)
		add_extended(v, text, v->pieces <= 1);
	else
		buf_add(&v->text, text);
}

/* A quoted string, unfolded and unescaped.  False when it does not end. */
static bool
quoted(struct span in, size_t *i, struct buf *out)
{
	for (++*i; *i < in.n; ++*i) {
		char c = in.p[*i];

		if (c == '"') {
			++*i;
			return true;
		}
		if (c == '\\' && *i + 1 < in.n)
			c = in.p[++*i];
		if (c != '\r' && c != '\n')
			buf_addc(out, c);
	}
	return false;
}

static bool
parameter(struct content_type *t, struct span in, size_t *i)
{
	struct span name = word(in, i, "=;()\""), base;
	struct buf text = BUF(4096);
	struct value *v;
	bool good;

	if (name.n == 0 || !skip_comments(in, i) || *i == in.n || in.p[*i] != '=')
		return false;
	++*i;
	good = skip_comments(in, i) && *i < in.n;
	if (good && in.p[*i] == '"')
		good = quoted(in, i, &text);
	else if (good)
		buf_add(&text, word(in, i, ";()\""));
	base = span_cut(name, 0, span_find(name, '*'));
	v = span_ieq(base, SPAN("boundary")) ? &t->boundary : span_ieq(base, SPAN("charset")) ? &t->charset : NULL;
	if (v != NULL) {
		if (text.n == 0 || text.over)
			v->bad = true;
		value_add(v, span_from(name, base.n), buf_span(&text));
		good = good && !v->bad && !v->text.over;
	}
	buf_free(&text);
	return good;
}

/* type "/" subtype *( ";" name "=" value ).  Free t in either case. */
static bool
content_type(struct content_type *t, struct span in)
{
	size_t i = 0;

	*t = (struct content_type){ .boundary.text = BUF(MIME_VALUE_MAX), .charset.text = BUF(MIME_VALUE_MAX) };
	if (!skip_comments(in, &i))
		return false;
	t->type = word(in, &i, "/;()\"=,");
	if (!skip_comments(in, &i) || i == in.n || in.p[i++] != '/' || !skip_comments(in, &i))
		return false;
	t->subtype = word(in, &i, "/;()\"=,");
	if (t->type.n == 0 || t->subtype.n == 0)
		return false;
	for (;;) {
		if (!skip_comments(in, &i))
			return false;
		if (i == in.n)
			return true;
		if (in.p[i] != ';')
			return false;
		++i;
		if (!skip_comments(in, &i))
			return false;
		if (i < in.n && in.p[i] != ';' && !parameter(t, in, &i))
			return false;
	}
}

static void
content_type_free(struct content_type *t)
{
	buf_free(&t->boundary.text);
	buf_free(&t->charset.text);
}

/* The first word of a simple value, comments apart. */
static struct span
first_word(struct span in)
{
	size_t i = 0;

	return skip_comments(in, &i) ? word(in, &i, ";()\"") : SPAN("?");
}

static enum mime_encoding
encoding(const struct entity *e)
{
	static const struct {
		struct span name;
		enum mime_encoding encoding;
	} table[] = {
		{ SPAN("7bit"), MIME_PLAIN }, { SPAN("8bit"), MIME_PLAIN }, { SPAN("binary"), MIME_BINARY },
		{ SPAN("quoted-printable"), MIME_QP }, { SPAN("base64"), MIME_BASE64 },
	};
	struct span name = first_word(e->encoding);

	if (e->nencodings == 0)
		return MIME_PLAIN;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (span_ieq(name, table[i].name))
			return table[i].encoding;
	return MIME_UNKNOWN;
}

/*
 * Charsets in which every byte that is markup means what it means in ASCII.
 * us-ascii is one of them: browsers take it for windows-1252, in queries too.
 * The trail bytes of gbk, gb18030, big5 and shift_jis start at 0x30 or 0x40:
 * letters and digits, @ [ \ ] ^ _ ` { | } ~, but never < > " ' & / or =.
 */
static bool
is_ascii_superset(struct span name)
{
	static const struct span starts[] = {
		SPAN("iso-8859-"), SPAN("iso8859-"), SPAN("iso_8859-"), SPAN("windows-125"), SPAN("cp125"),
		SPAN("euc-"),
	};
	static const struct span names[] = {
		SPAN("us-ascii"), SPAN("ascii"),
		SPAN("latin1"), SPAN("latin2"), SPAN("windows-874"), SPAN("tis-620"), SPAN("koi8-r"), SPAN("koi8-u"),
		SPAN("koi8-ru"), SPAN("ibm866"), SPAN("cp866"), SPAN("macintosh"), SPAN("x-mac-cyrillic"),
		SPAN("gb2312"), SPAN("gbk"), SPAN("cp936"), SPAN("gb18030"), SPAN("big5"), SPAN("big5-hkscs"),
		SPAN("cp950"), SPAN("shift_jis"), SPAN("shift-jis"), SPAN("sjis"), SPAN("windows-31j"), SPAN("cp932"),
		SPAN("ks_c_5601-1987"), SPAN("cp949"),
	};

	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
		if (name.n <= starts[i].n + 4 && span_istarts(name, starts[i]))
			return true;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (span_ieq(name, names[i]))
			return true;
	return false;
}

static bool
is_utf8_name(struct span name)
{
	return span_ieq(name, SPAN("utf-8")) || span_ieq(name, SPAN("utf8"));
}

/* ---- the walk ---- */

struct walk {
	struct mime *mime;
	struct span body;
	size_t cap;
};

/* One entity: its fields and its content. */
struct place {
	struct entity entity;
	size_t start, end;
	size_t fields_end; /* where a new header field belongs */
	unsigned depth;
	bool in_digest;
};

static void walk(struct walk *, const struct place *, const char *leave);

static void
leaf(struct walk *w, const struct place *at, struct mime_part part)
{
	struct mime *m = w->mime;
	struct span e = span_trim(at->entity.encoding);

	if (m->n == MIME_PARTS_MAX) {
		m->leave = "too many parts";
		return;
	}
	if (m->n == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 8;
		m->part = xreallocarray(m->part, w->cap, sizeof *m->part);
	}
	part.start = at->start;
	part.end = at->end;
	part.top = at->depth == 0;
	part.encoding = encoding(&at->entity);
	part.has_encoding = e.n > 0;
	if (!part.top) {
		part.encoding_start = part.has_encoding ? (size_t)(e.p - w->body.p) : at->fields_end;
		part.encoding_end = part.encoding_start + e.n;
	}
	if (at->depth == 0 && m->leave == NULL && part.type == MIME_OTHER)
		m->leave = part.leave;
	m->part[m->n++] = part;
}

/* The next line "--boundary" or "--boundary--" from i on. */
struct delimiter {
	size_t before; /* end of the content before it */
	size_t after;  /* start of the line after it */
	bool closes;
};

/* start: of the multipart; from: of a line. */
static bool
next_delimiter(struct span in, size_t start, size_t from, struct span dashed, struct delimiter *d)
{
	for (;; from += span_find(span_from(in, from), '\n') + 1) {
		size_t i = from + dashed.n, next;

		if (from >= in.n)
			return false;
		if (in.p[from] != '-' || !span_starts(span_from(in, from), dashed))
			continue;
		d->closes = span_starts(span_from(in, i), SPAN("--"));
		i += d->closes ? 2 : 0;
		while (i < in.n && is_blank(in.p[i]))
			i++;
		if (line_end(in, i, &next) == i) {
			d->before = from;
			d->after = next;
			break;
		}
	}
	if (d->before > start) { /* the line break before it is its own */
		d->before--;
		if (d->before > start && in.p[d->before - 1] == '\r')
			d->before--;
	}
	return true;
}

/* One part between two delimiters: its header, then what it is. */
static void
child(struct walk *w, size_t start, size_t end, unsigned depth, bool in_digest)
{
	struct place at = { .end = end, .depth = depth, .in_digest = in_digest };
	struct span in = span_cut(w->body, 0, end);
	struct header h;
	size_t i = start;
	int got;

	at.fields_end = start;
	while ((got = mime_field(in, &i, &h)) > 0) {
		entity_add(&at.entity, &h);
		at.fields_end = i;
	}
	at.start = i;
	if (got < 0) /* a line that is no field: nobody can say where the content starts */
		at = (struct place){ .start = start, .end = end, .fields_end = start, .depth = depth };
	walk(w, &at, got < 0 ? "broken part header" : NULL);
}

static void
multipart(struct walk *w, const struct place *at, struct span boundary, bool digest)
{
	struct buf dashed = BUF(MIME_VALUE_MAX + 2);
	struct span in = span_cut(w->body, 0, at->end);
	struct delimiter d;
	size_t start = at->start, n = 0;
	bool closed = false;

	buf_adds(&dashed, "--");
	buf_add(&dashed, boundary);
	for (; !closed && w->mime->leave == NULL && next_delimiter(in, at->start, start, buf_span(&dashed), &d); n++) {
		if (n > 0)
			child(w, start, d.before > start ? d.before : start, at->depth + 1, digest);
		start = d.after;
		closed = d.closes;
	}
	buf_free(&dashed);
	if (n == 0)
		leaf(w, at, (struct mime_part){ .leave = broken });
	else if (!closed && w->mime->leave == NULL)
		child(w, start, in.n, at->depth + 1, digest);
}

/* Why a multipart must not be looked into, or NULL. */
static const char *
leave_multipart(const struct place *at, const struct content_type *t)
{
	enum mime_encoding e = encoding(&at->entity);

	if (span_ieq(t->subtype, SPAN("signed")))
		return "multipart/signed";
	if (span_ieq(t->subtype, SPAN("encrypted")))
		return "multipart/encrypted";
	if (span_ieq(t->subtype, SPAN("report")))
		return "multipart/report";
	if (t->boundary.text.n == 0 || (e != MIME_PLAIN && e != MIME_BINARY))
		return broken;
	return at->depth >= MIME_DEPTH_MAX ? "nested too deeply" : NULL;
}

/* Why a text/html part must stay as it is, or NULL. */
static const char *
leave_html(const struct place *at, const struct content_type *t, bool *utf8)
{
	struct span charset = span_trim(buf_span(&t->charset.text));

	*utf8 = charset.n == 0 || is_utf8_name(charset);
	if (!*utf8 && !is_ascii_superset(charset))
		return "unknown charset";
	return encoding(&at->entity) == MIME_UNKNOWN ? "unknown transfer encoding" : NULL;
}

static const char *
leave_other(const struct content_type *t)
{
	if (span_ieq(t->type, SPAN("message")))
		return "message/*";
	if (span_ieq(t->type, SPAN("application")) &&
	    (span_ieq(t->subtype, SPAN("pkcs7-mime")) || span_ieq(t->subtype, SPAN("x-pkcs7-mime"))))
		return "application/pkcs7-mime";
	return NULL;
}

static void
walk_type(struct walk *w, const struct place *at, const struct content_type *t)
{
	struct mime_part part = { .type = MIME_OTHER };

	if (span_ieq(t->type, SPAN("multipart"))) {
		part.leave = leave_multipart(at, t);
		if (part.leave != NULL)
			leaf(w, at, part);
		else
			multipart(w, at, buf_span(&t->boundary.text), span_ieq(t->subtype, SPAN("digest")));
		return;
	}
	part.leave = leave_other(t);
	if (span_ieq(t->type, SPAN("text")) && span_ieq(t->subtype, SPAN("plain")))
		part.type = MIME_TEXT;
	if (span_ieq(t->type, SPAN("text")) && span_ieq(t->subtype, SPAN("html"))) {
		part.type = MIME_HTML;
		part.leave = leave_html(at, t, &part.utf8);
	}
	leaf(w, at, part);
}

static void
walk(struct walk *w, const struct place *at, const char *leave)
{
	const struct entity *e = &at->entity;
	struct content_type t;

	if (leave == NULL && (e->ntypes > 1 || e->nencodings > 1 || e->ndispositions > 1))
		leave = "duplicate MIME header";
	if (leave == NULL && e->ndispositions > 0 && !span_ieq(first_word(e->disposition), SPAN("inline")))
		leave = "attachment";
	if (leave == NULL && e->ntypes == 0 && at->in_digest)
		leave = "message/*";
	if (leave != NULL) {
		leaf(w, at, (struct mime_part){ .leave = leave });
		return;
	}
	if (e->ntypes == 0) {
		leaf(w, at, (struct mime_part){ .type = MIME_TEXT });
		return;
	}
	if (content_type(&t, e->type))
		walk_type(w, at, &t);
	else
		leaf(w, at, (struct mime_part){ .leave = "broken Content-Type" });
	content_type_free(&t);
}

void
mime_walk(struct mime *m, const struct message *message)
{
	struct walk w = { .mime = m, .body = message->body };
	struct place top = { .end = message->body.n };

	*m = (struct mime){ 0 };
	for (size_t i = 0; i < message->nheaders; i++)
		entity_add(&top.entity, &message->header[i]);
	walk(&w, &top, NULL);
}

void
mime_free(struct mime *m)
{
	free(m->part);
	*m = (struct mime){ 0 };
}

/* ---- text of a part ---- */

static struct span
content(struct span body, const struct mime_part *part)
{
	return span_cut(body, part->start, part->end);
}

/* How lines end here: as the first one does. */
static struct span
line_break(struct span s, struct span otherwise)
{
	size_t lf = span_find(s, '\n');

	if (lf == s.n)
		return otherwise;
	return lf > 0 && s.p[lf - 1] == '\r' ? SPAN("\r\n") : SPAN("\n");
}

static bool
read_qp(struct span raw, struct mime_text *t)
{
	size_t cap = 0, end, next;
	bool soft;

	for (size_t i = 0; i <= raw.n; i = next) {
		if (t->nlines == cap) {
			cap = cap ? cap * 2 : 64;
			t->line = xreallocarray(t->line, cap, sizeof *t->line);
		}
		t->line[t->nlines] = (struct mime_line){ (uint32_t)i, (uint32_t)t->own.n };
		if (i == raw.n)
			break;
		t->nlines++;
		end = line_end(raw, i, &next);
		if (!qp_read_line(&t->own, span_cut(raw, i, end), &soft))
			return false;
		if (!soft)
			buf_add(&t->own, span_cut(raw, end, next));
	}
	return true;
}

/* Bytes that no HTML in a superset of ASCII has: the charset is lying. */
static const char *
leave_text(struct span text)
{
	if (span_find(text, '\0') < text.n)
		return "NUL in text";
	if (span_find(text, '\033') < text.n)
		return "escape sequences in text";
	return NULL;
}

/* Binary is only edited where its lines are lines. */
static bool
odd_lines(struct span s)
{
	for (size_t i = span_find(s, '\r'); i < s.n; i += 1 + span_find(span_from(s, i + 1), '\r'))
		if (i + 1 == s.n || s.p[i + 1] != '\n')
			return true;
	if (line_break(s, SPAN("\n")).n == 1)
		return span_find(s, '\r') < s.n;
	for (size_t i = span_find(s, '\n'); i < s.n; i += 1 + span_find(span_from(s, i + 1), '\n'))
		if (i == 0 || s.p[i - 1] != '\r')
			return true;
	return false;
}

const char *
mime_read(struct span body, const struct mime_part *part, struct mime_text *t)
{
	struct span raw = content(body, part);

	*t = (struct mime_text){ .own = BUF(raw.n + 1) };
	if (part->leave != NULL)
		return part->leave;
	if (raw.n >= UINT32_MAX)
		return "too large";
	switch (part->encoding) {
	case MIME_PLAIN:
		t->text = raw;
		break;
	case MIME_BINARY:
		t->text = raw;
		if (odd_lines(raw))
			return "binary with odd line breaks";
		break;
	case MIME_QP:
		if (!read_qp(raw, t))
			return "broken quoted-printable";
		t->text = buf_span(&t->own);
		break;
	case MIME_BASE64:
		if (!base64_read(&t->own, raw))
			return "broken base64";
		t->text = buf_span(&t->own);
		break;
	case MIME_UNKNOWN:
		return "unknown transfer encoding";
	}
	if (t->own.over)
		return "too large";
	return leave_text(t->text);
}

void
mime_text_free(struct mime_text *t)
{
	free(t->line);
	buf_free(&t->own);
	*t = (struct mime_text){ 0 };
}

/* ---- edits back into the bytes ---- */

/*
 * Quoted-printable for one line's bytes, without its line break.  A CR or LF
 * among them was encoded and must stay so; qp_add would make a line break of it.
 */
static void
encode_line(struct buf *out, struct span line, struct span eol, bool soft)
{
	for (size_t lf; (lf = span_find(line, '\n')) < line.n; line = span_from(line, lf + 1)) {
		qp_add(out, span_cut(line, 0, lf), eol, true);
		buf_adds(out, "=0A=");
		buf_add(out, eol);
	}
	qp_add(out, line, eol, soft);
}

/* One raw line of quoted-printable: where its text ends, how it ends. */
struct ending {
	size_t text_end;  /* in the decoded text, without a hard line break */
	struct span hard; /* the hard line break, or empty */
	bool soft;
	bool last;        /* without any line break */
};

static struct ending
ending(struct span raw, const struct mime_text *t, size_t k)
{
	struct ending e = { .text_end = t->line[k + 1].text };
	size_t next, end = line_end(raw, t->line[k].raw, &next);
	struct span line = span_cut(raw, t->line[k].raw, end);

	while (line.n > 0 && is_blank(line.p[line.n - 1]))
		line.n--;
	e.soft = span_ends(line, SPAN("="));
	e.last = end == next;
	if (!e.soft) {
		e.hard = span_cut(raw, end, next);
		e.text_end -= e.hard.n;
	}
	return e;
}

/* The last line whose text starts at or before this place; it moves only forward. */
static size_t
line_of(const struct mime_text *t, size_t k, size_t text)
{
	while (k + 1 < t->nlines && t->line[k + 1].text <= text)
		k++;
	return k;
}

/* The last line that an edit touches: the next one too when it takes a hard line break away. */
static size_t
last_line(struct span raw, const struct mime_text *t, size_t k, const struct edit *e)
{
	k = line_of(t, k, e->end > e->start ? e->end - 1 : e->end);
	if (k + 1 < t->nlines && e->end > e->start && e->end == t->line[k + 1].text && ending(raw, t, k).hard.n > 0)
		k++;
	return k;
}

/* Raw lines first .. last with the edits that touch them, as quoted-printable again. */
static void
encode_run(struct buf *out, struct span raw, const struct mime_text *t, size_t first, size_t last,
    const struct edit *edit, size_t n, struct span text)
{
	struct span eol = line_break(span_from(raw, t->line[first].raw), line_break(raw, SPAN("\r\n")));
	size_t from = t->line[first].text, to = t->line[last + 1].text, done = 0, here = 0;
	struct ending e = { 0 };
	struct buf line = BUF(SIZE_MAX / 2);

	for (size_t k = first; k <= last; k++) {
		e = ending(raw, t, k);
		while (here < n && edit[here].end <= e.text_end)
			here++;
		if (e.hard.n == 0 || (here < n && edit[here].start < e.text_end + e.hard.n))
			continue; /* a soft break, or a hard one that an edit takes away */
		splice_range(&line, t->text, from, e.text_end, edit + done, here - done, text);
		encode_line(out, buf_span(&line), eol, false);
		buf_add(out, e.hard);
		buf_clear(&line);
		from = e.text_end + e.hard.n;
		done = here;
	}
	if (from < to || done < n || e.soft) {
		splice_range(&line, t->text, from, to, edit + done, n - done, text);
		encode_line(out, buf_span(&line), eol, e.soft);
		if (e.soft && e.last && span_ends(buf_span(out), eol)) /* it had no line break behind the "=" */
			out->n -= eol.n;
	}
	buf_free(&line);
}

static void
write_qp(struct span raw, size_t base, const struct mime_text *t, const struct edits *in, struct edits *out)
{
	struct buf new = BUF(out->text.max);
	size_t k = 0;

	for (size_t i = 0, j; i < in->n; i = j) {
		size_t first = line_of(t, k, in->edit[i].start);

		k = last_line(raw, t, first, &in->edit[i]);
		for (j = i + 1; j < in->n && line_of(t, k, in->edit[j].start) == k; j++)
			k = last_line(raw, t, k, &in->edit[j]);
		encode_run(&new, raw, t, first, k, in->edit + i, j - i, buf_span(&in->text));
		edits_add(out, base + t->line[first].raw, base + t->line[k + 1].raw, buf_span(&new));
		out->text.over |= new.over;
		buf_clear(&new);
	}
	buf_free(&new);
}

/* White space around the characters stays, and with it the way the part ends. */
static void
write_base64(struct span raw, size_t base, const struct mime_text *t, const struct edits *in, struct edits *out)
{
	struct span old = span_trim(raw), eol = line_break(raw, SPAN("\r\n"));
	struct buf plain = BUF(out->text.max), new = BUF(out->text.max);
	size_t start = old.n > 0 ? base + (size_t)(old.p - raw.p) : base;

	splice(&plain, t->text, in->edit, in->n, buf_span(&in->text));
	base64_add_lines(&new, buf_span(&plain), eol);
	edits_add(out, start, start + old.n, span_cut(buf_span(&new), 0, new.n > eol.n ? new.n - eol.n : 0));
	out->text.over |= plain.over || new.over;
	buf_free(&plain);
	buf_free(&new);
}

/* Would a line that an edit touches become too long? */
static bool
makes_long_line(struct span text, const struct edits *in)
{
	for (size_t i = 0, j; i < in->n; i = j) {
		const char *lf = memrchr(text.p, '\n', in->edit[i].start);
		size_t start = lf ? (size_t)(lf - text.p) + 1 : 0, end, next;
		size_t n = 0, gone = 0;

		end = line_end(text, in->edit[i].end, &next);
		for (j = i; j < in->n && (j == i || in->edit[j].start <= end); j++) {
			if (in->edit[j].end > end)
				end = line_end(text, in->edit[j].end, &next);
			n += in->edit[j].n;
			gone += in->edit[j].end - in->edit[j].start;
		}
		if (end - start - gone + n > MIME_LINE_MAX)
			return true;
	}
	return false;
}

static void
become_qp(struct span body, const struct mime_part *part, const struct mime_text *t, const struct edits *in,
    struct edits *out)
{
	struct span eol = line_break(content(body, part), line_break(body, SPAN("\r\n")));
	struct buf plain = BUF(out->text.max), new = BUF(out->text.max);

	if (!part->top) {
		if (!part->has_encoding)
			buf_adds(&new, "Content-Transfer-Encoding: ");
		buf_adds(&new, "quoted-printable");
		if (!part->has_encoding)
			buf_add(&new, eol);
		edits_add(out, part->encoding_start, part->encoding_end, buf_span(&new));
		buf_clear(&new);
	}
	splice(&plain, t->text, in->edit, in->n, buf_span(&in->text));
	qp_add(&new, buf_span(&plain), eol, false);
	edits_add(out, part->start, part->end, buf_span(&new));
	out->text.over |= plain.over || new.over;
	buf_free(&plain);
	buf_free(&new);
}

bool
mime_write(struct span body, const struct mime_part *part, const struct mime_text *t, const struct edits *in,
    struct edits *out)
{
	struct span text = buf_span(&in->text);

	if (in->n == 0 || in->text.over) {
		out->text.over |= in->text.over;
		return false;
	}
	if (part->encoding == MIME_QP) {
		write_qp(content(body, part), part->start, t, in, out);
		return false;
	}
	if (part->encoding == MIME_BASE64) {
		write_base64(content(body, part), part->start, t, in, out);
		return false;
	}
	if (makes_long_line(t->text, in)) {
		become_qp(body, part, t, in, out);
		return part->top;
	}
	for (size_t i = 0; i < in->n; i++) {
		const struct edit *e = &in->edit[i];

		edits_add(out, part->start + e->start, part->start + e->end, span_cut(text, e->at, e->at + e->n));
	}
	return false;
}
